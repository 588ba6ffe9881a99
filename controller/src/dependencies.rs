//! `spec.dependsOn`: whether what a BundleSync depends on is ready.
//!
//! The rule is Flux's: it exists, its status speaks of its generation, it is ready, and, when it is made of the same source,
//! it has applied the artifact that is to be applied now. An expression replaces all of that.
//!
//! Who waits is woken by a change of what it waits for. Kinds of Flux are watched from the first time on that one of them
//! is asked for. It may not write anything, nor know what is done once all are ready.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::dependency::{HelmRelease, Kustomization};
use api::{BundleSync, Dependency, DependencyKind, condition};
use kube::ResourceExt;
use serde_json::Value;
use tokio::sync::Notify;

use crate::cluster::{Cluster, Watched};
use crate::expression::{Expression, Fault};
use crate::mirror::{Key, Mirror};
use crate::queue::Queue;

/// What the controller's flags say of all dependencies.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Only those of the sync's own namespace may be named.
    pub own_namespace: bool,
    /// What is depended on has to be ready as well, where a `readyExpr` is given.
    pub additive: bool,
}

/// Why a BundleSync may not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// Something is not ready yet.
    NotReady(String),
    /// It is not known whether something is.
    Unsynced(String),
    /// Only a change of the BundleSync helps.
    Wrong {
        /// One of [`condition`].
        reason: &'static str,
        /// What is told.
        message: String,
    },
}

/// A kind that is watched once somebody asks for it.
pub struct OnDemand<K> {
    /// What the watch has brought.
    pub mirror: Arc<Mirror<K>>,
    /// Told when it is asked for.
    pub asked: Arc<Notify>,
}

impl<K: Watched> OnDemand<K> {
    /// Nothing is watched yet. `trim` takes out of an object what is not worth its memory.
    pub fn new(trim: fn(&mut K)) -> Self {
        Self { mirror: Arc::new(Mirror::new(|_| Vec::new(), trim)), asked: Arc::default() }
    }

    fn get(&self, key: &Key) -> Result<Option<Value>, Unmet>
    where
        K: serde::Serialize,
    {
        self.asked.notify_one();
        self.mirror.synced().map_err(Unmet::Unsynced)?;
        let object = self.mirror.get(key).map_err(Unmet::NotReady)?;
        Ok(object.map(|object| json(object.as_ref())))
    }
}

/// The BundleSyncs that wait for what they depend on.
#[derive(Debug, Default)]
pub struct Awaiting(Mutex<HashSet<Key>>);

impl Awaiting {
    /// One waits from now on.
    pub fn begin(&self, sync: &Key) {
        self.lock().insert(sync.clone());
    }

    /// It waits no longer, or is gone.
    pub fn end(&self, sync: &Key) {
        self.lock().remove(sync);
    }

    /// Whether it waits.
    pub fn has(&self, sync: &Key) -> bool {
        self.lock().contains(sync)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Key> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The group, in the index of BundleSyncs, of those that depend on something.
pub fn dependants_group(kind: DependencyKind, key: &Key) -> String {
    format!("depends on {kind}/{key}")
}

/// What a BundleSync depends on.
pub fn key_of(sync: &BundleSync, dependency: &Dependency) -> Key {
    let namespace = dependency.namespace.clone().or_else(|| sync.namespace()).unwrap_or_default();
    Key::new(namespace, &dependency.name)
}

impl Cluster {
    /// Puts those into the queue that wait for something.
    pub fn wake_dependants(&self, kind: DependencyKind, key: &Key, queue: &Queue<Key>) {
        for sync in self.syncs.group(&dependants_group(kind, key)) {
            let sync = Key::of(sync.as_ref());
            if self.awaiting.has(&sync) {
                queue.add(sync);
            }
        }
    }

    /// Whether a BundleSync waits for what it depends on, and another BundleSync is among that.
    pub fn awaits(&self, sync: &Key, other: &Key) -> bool {
        let depends = |sync: &BundleSync| {
            let mut on = sync.spec.depends_on.iter().filter(|on| on.kind == DependencyKind::BundleSync);
            on.any(|on| key_of(sync, on) == *other)
        };
        self.awaiting.has(sync) && self.syncs.get(sync).ok().flatten().is_some_and(|sync| depends(&sync))
    }

    /// Whether all that a BundleSync depends on is ready for an artifact of this revision.
    ///
    /// # Errors
    /// The first that is not.
    pub fn dependencies_met(&self, sync: &BundleSync, revision: &str, rules: Rules) -> Result<(), Unmet> {
        let namespace = sync.namespace().unwrap_or_default();
        let wrong = |reason, message| Unmet::Wrong { reason, message };
        for (index, dependency) in sync.spec.depends_on.iter().enumerate() {
            let key = key_of(sync, dependency);
            if rules.own_namespace && key.namespace != namespace {
                let message = format!(
                    "can't depend on {}/{key}: cross-namespace references are blocked by --no-cross-namespace-refs",
                    dependency.kind
                );
                return Err(wrong(condition::ACCESS_DENIED, message));
            }
            if dependency.kind == DependencyKind::BundleSync && key == Key::of(sync) {
                let message = format!("spec.dependsOn[{index}] is this BundleSync itself: remove it");
                return Err(wrong(condition::DEPENDENCY_NOT_READY, message));
            }
            if let Some(Err(why)) = dependency.ready_expr.as_deref().map(Expression::parse) {
                return Err(invalid(index, &why));
            }
        }
        for (index, dependency) in sync.spec.depends_on.iter().enumerate() {
            self.is_met((index, dependency), sync, revision, rules)?;
        }
        Ok(())
    }

    fn is_met(
        &self,
        (index, dependency): (usize, &Dependency),
        sync: &BundleSync,
        revision: &str,
        rules: Rules,
    ) -> Result<(), Unmet> {
        let key = key_of(sync, dependency);
        let named = format!("dependency {}/{key}", dependency.kind);
        let not_ready = |why: String| Err(Unmet::NotReady(format!("{named} {why}")));
        if !self.scope.has(&key.namespace) {
            return not_ready("is in a namespace that is not watched: see --watch-all-namespaces".to_owned());
        }
        let found = match dependency.kind {
            DependencyKind::BundleSync => {
                self.syncs.get(&key).map_err(Unmet::NotReady)?.map(|sync| json(sync.as_ref()))
            }
            DependencyKind::Kustomization => self.kustomizations.get(&key)?,
            DependencyKind::HelmRelease => self.helm_releases.get(&key)?,
        };
        let Some(found) = found else {
            let chosen = match (dependency.kind, self.selector.as_str()) {
                (DependencyKind::BundleSync, selector) if !selector.is_empty() => {
                    " among those of --watch-label-selector"
                }
                _ => "",
            };
            return not_ready(format!("not found{chosen}"));
        };
        let why = match &dependency.ready_expr {
            None => unready(&json(sync), &found, revision),
            Some(expression) => {
                let why = unlike(expression, rules.additive, &json(sync), &found, revision);
                why.map_err(|why| invalid(index, &why))?
            }
        };
        match why {
            None => Ok(()),
            Some(why) => not_ready(self.circle(sync, dependency).unwrap_or(why)),
        }
    }

    /// The circle of BundleSyncs that depend on one another, in which none can become ready before all others.
    fn circle(&self, sync: &BundleSync, dependency: &Dependency) -> Option<String> {
        if dependency.kind != DependencyKind::BundleSync {
            return None;
        }
        let (own, first) = (Key::of(sync), key_of(sync, dependency));
        let mut seen: HashSet<Key> = HashSet::from([first.clone()]);
        let mut next: Vec<Vec<Key>> = vec![vec![first]];
        while let Some(path) = next.pop() {
            let Some(of) = path.last().and_then(|last| self.syncs.get(last).ok().flatten()) else { continue };
            let others = of.spec.depends_on.iter().filter(|other| other.kind == DependencyKind::BundleSync);
            for other in others.map(|other| key_of(&of, other)) {
                if other == own {
                    let names: Vec<String> =
                        std::iter::once(&own).chain(&path).chain([&own]).map(ToString::to_string).collect();
                    return Some(format!(
                        "is not ready, and never will be: they depend on one another: {}",
                        names.join(" -> ")
                    ));
                }
                if seen.insert(other.clone()) {
                    next.push(path.iter().cloned().chain([other]).collect());
                }
            }
        }
        None
    }
}

fn invalid(index: usize, why: &str) -> Unmet {
    let message = format!("spec.dependsOn[{index}].readyExpr: {why}");
    Unmet::Wrong { reason: condition::INVALID_CEL_EXPRESSION, message }
}

/// Why something is not what an expression says that it has to be; and, where that comes on top, why it is not ready.
///
/// # Errors
/// When the expression is none.
fn unlike(
    expression: &str,
    additive: bool,
    own: &Value,
    dependency: &Value,
    revision: &str,
) -> Result<Option<String>, String> {
    match Expression::parse(expression)?.holds(own, dependency) {
        Ok(true) if additive => Ok(unready(own, dependency, revision)),
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some("is not ready: its readyExpr is false".to_owned())),
        Err(Fault::Evaluation(why)) => Ok(Some(format!("is not ready: its readyExpr has no result: {why}"))),
        Err(Fault::Invalid(why)) => Err(why),
    }
}

/// Why an object is not ready for one that depends on it; `revision` is of the artifact that this one applies.
fn unready(own: &Value, dependency: &Value, revision: &str) -> Option<String> {
    let text = |path: &str| dependency.pointer(path).and_then(Value::as_str);
    if text("/metadata/deletionTimestamp").is_some() {
        return Some("is being deleted".to_owned());
    }
    let observed = dependency.pointer("/status/observedGeneration").and_then(Value::as_i64);
    let conditions = dependency.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == condition::READY);
    let suspended = match dependency.pointer("/spec/suspend") == Some(&Value::Bool(true)) {
        true => "; it is suspended",
        false => "",
    };
    match ready {
        Some(ready) if ready["status"] == "True" => {}
        // What waits quotes nothing of what waits itself: messages would grow along the chain, and round a circle for ever.
        Some(ready) if ready["reason"] == condition::DEPENDENCY_NOT_READY => {
            return Some(format!("is not ready: it waits for what it depends on itself{suspended}"));
        }
        Some(ready) => {
            let message = ready["message"].as_str().unwrap_or_default();
            return Some(format!("is not ready: {message}{suspended}"));
        }
        None => return Some(format!("is not ready: it has no condition yet{suspended}")),
    }
    if observed != dependency.pointer("/metadata/generation").and_then(Value::as_i64) {
        return Some(format!("is not ready: its last change is not observed yet{suspended}"));
    }
    let applied = text("/status/lastAppliedRevision");
    let same = source(own).is_some() && source(own) == source(dependency);
    (same && applied != Some(revision)).then(|| {
        format!(
            "is not up to date: it is of the same source, which is at {revision}, and has applied {}{suspended}",
            applied.unwrap_or("nothing")
        )
    })
}

/// Kind, namespace and name of the source of an object.
fn source(object: &Value) -> Option<(&str, &str, &str)> {
    let reference = object.pointer("/spec/sourceRef")?;
    let own = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let namespace = reference["namespace"].as_str().filter(|namespace| !namespace.is_empty()).or(own)?;
    Some((reference["kind"].as_str()?, namespace, reference["name"].as_str()?))
}

/// What the API server holds reads as JSON again.
fn json(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

/// The mirrors of the kinds of Flux.
pub fn on_demand() -> (OnDemand<Kustomization>, OnDemand<HelmRelease>) {
    (OnDemand::new(Kustomization::trim), OnDemand::new(HelmRelease::trim))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_expression_stands_in_for_readiness_unless_it_is_added_to_it() {
        let own = json!({"metadata": {"namespace": "ns"}});
        let other = |ready: &str| {
            json!({"metadata": {"name": "a", "namespace": "ns", "generation": 1},
                   "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": ready, "message": "why"}]}})
        };
        let (holds, fails) = ("dep.metadata.name == 'a'", "dep.metadata.name == 'b'");
        for (expression, additive, ready, told) in [
            (holds, false, "False", None),
            (holds, true, "False", Some("is not ready: why")),
            (holds, true, "True", None),
            (fails, false, "True", Some("is not ready: its readyExpr is false")),
            (fails, true, "True", Some("is not ready: its readyExpr is false")),
        ] {
            let why = unlike(expression, additive, &own, &other(ready), "r1").unwrap();
            assert_eq!(why.as_deref(), told, "{expression}, additive {additive}, Ready={ready}");
        }
        assert!(unlike("dep.", false, &own, &other("True"), "r1").is_err());
    }

    #[test]
    fn ready_is_what_flux_takes_for_it() {
        let own =
            json!({"metadata": {"namespace": "ns"}, "spec": {"sourceRef": {"kind": "GitRepository", "name": "fleet"}}});
        let other = |source: Value, edit: &dyn Fn(&mut Value)| {
            let mut object = json!({
                "metadata": {"name": "a", "namespace": "ns", "generation": 2}, "spec": {"sourceRef": source},
                "status": {"observedGeneration": 2, "lastAppliedRevision": "r1",
                           "conditions": [{"type": "Reconciling", "status": "False"}, {"type": "Ready", "status": "True", "message": "fine"}]},
            });
            edit(&mut object);
            object
        };
        let elsewhere = || json!({"kind": "GitRepository", "name": "other"});
        let fleet = || json!({"kind": "GitRepository", "name": "fleet", "namespace": "ns"});
        let same = |_: &mut Value| {};
        for (what, object, expected) in [
            ("another source", other(elsewhere(), &same), None),
            ("no source", other(Value::Null, &same), None),
            (
                "the same name in another namespace",
                other(json!({"kind": "GitRepository", "name": "fleet", "namespace": "b"}), &same),
                None,
            ),
            ("the same source at another revision", other(fleet(), &same), Some("which is at r2, and has applied r1")),
            (
                "the same source at this revision",
                other(fleet(), &|o| o["status"]["lastAppliedRevision"] = json!("r2")),
                None,
            ),
            (
                "nothing applied",
                other(fleet(), &|o| o["status"]["lastAppliedRevision"] = Value::Null),
                Some("has applied nothing"),
            ),
            (
                "not ready",
                other(elsewhere(), &|o| o["status"]["conditions"][1]["status"] = json!("False")),
                Some("is not ready: fine"),
            ),
            (
                "unknown",
                other(elsewhere(), &|o| o["status"]["conditions"][1]["status"] = json!("Unknown")),
                Some("is not ready: fine"),
            ),
            ("no condition", other(elsewhere(), &|o| o["status"] = json!({})), Some("has no condition yet")),
            (
                "an old status",
                other(elsewhere(), &|o| o["metadata"]["generation"] = json!(3)),
                Some("not observed yet"),
            ),
            (
                "being deleted",
                other(elsewhere(), &|o| o["metadata"]["deletionTimestamp"] = json!("t")),
                Some("is being deleted"),
            ),
            ("suspended, and ready", other(elsewhere(), &|o| o["spec"]["suspend"] = json!(true)), None),
            ("suspended, and behind", other(fleet(), &|o| o["spec"]["suspend"] = json!(true)), Some("it is suspended")),
        ] {
            let why = unready(&own, &object, "r2");
            let holds = match (&why, expected) {
                (Some(why), Some(expected)) => why.contains(expected),
                (why, expected) => why.is_none() && expected.is_none(),
            };
            assert!(holds, "{what}: {why:?}");
        }
    }
}
