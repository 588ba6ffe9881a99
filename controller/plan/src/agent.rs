//! The AgentConfigs that make a run happen once.
//!
//! The operator runs an AgentAction again each time its finished Job expires, and starts a failed pod anew; by its defaults
//! that is after ten minutes, and six times. So what we write names an AgentConfig of ours, with no second pod and a Job
//! that never expires: `porter-flux`, which the operator lays field by field over the namespace's `default`; or, where a
//! document names one, a kept copy of that with these two fields, `porter-flux-NAME`. The copy
//! outlives what it was made of: with less in it, a command could run with another database of Porter's.
//!
//! The operator waits only for the config that an object names. So the first apply waits for the one beneath it too.
//!
//! A config that was ready and changes can stay unready for ever: the operator (v1.1.0) writes "not ready" and then, made from an
//! older copy in its cache, a "ready" that says nothing new. So it is asked to look again.
//!
//! Invariant: which of the two names an object has is no difference to what is asked. So a change of `spec.agent`, or a
//! version of ours that named none, causes no run by itself, nor with a change of labels: [`asked`] turns a live spec into what
//! a document says.

use std::collections::BTreeSet;

use api::Agent;
use api::porter::{AgentConfig, DEFAULT_CONFIG, LocalRef, RETRY, SYSTEM_NAMESPACE};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::name::{MAX_NAME, short};
use crate::object::is_run;
use crate::planner::Planner;
use crate::step::{Action, Apply, Due, Precondition, Reason, Subject, WaitFor};
use crate::write::{body, id};

/// What an AgentAction that runs once needs: no second pod, and a Job that never expires.
const ONCE: (i32, i32) = (0, i32::MAX);
/// How long the operator has to look at an object again before it is asked once more.
const PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// The AgentConfig of ours for a document that names this one, or none.
#[must_use]
pub fn name(asked: Option<&str>) -> String {
    let Some(asked) = asked else { return api::AGENT_CONFIG.to_owned() };
    let name = format!("{}-{asked}", api::AGENT_CONFIG);
    if name.len() <= MAX_NAME {
        return name;
    }
    format!("{}-{}", name.get(..MAX_NAME - 9).unwrap_or_default(), short(&json!(asked)))
}

/// A spec as a document has it, whichever AgentConfig of ours it names. `known` is what the document says.
pub(crate) fn asked(spec: &mut Value, known: Option<&str>) {
    let Some(live) = spec["agentConfig"]["name"].as_str() else { return };
    if live == name(known) {
        match known {
            Some(known) => spec["agentConfig"] = json!({"name": known}),
            None => {
                spec.as_object_mut().map(|fields| fields.remove("agentConfig"));
            }
        }
    }
}

/// A spec with the AgentConfig that stands.
pub(crate) fn kept(spec: &Value, stands: Option<&LocalRef>) -> Value {
    let mut spec = spec.clone();
    match stands.filter(|stands| !stands.name.is_empty()) {
        Some(stands) => spec["agentConfig"] = json!({"name": stands.name}),
        None => {
            spec.as_object_mut().map(|fields| fields.remove("agentConfig"));
        }
    }
    spec
}

/// The AgentConfig that a spec names.
pub(crate) fn of(spec: &Value) -> Option<&str> {
    spec["agentConfig"]["name"].as_str().filter(|name| !name.is_empty())
}

impl Planner<'_> {
    /// The spec as it is written: with the AgentConfig that makes its run happen once.
    pub(crate) fn with_agent(&self, spec: &Value) -> Value {
        let mut spec = spec.clone();
        if self.manages_agents() {
            spec["agentConfig"] = json!({"name": name(of(&spec))});
        }
        spec
    }

    /// What a spec with this AgentConfig waits for before it is written.
    pub(crate) fn agent_wait(&mut self, kube_namespace: &str, asked: Option<&str>) -> Option<WaitFor> {
        if !self.manages_agents() {
            return None;
        }
        self.base_wait(kube_namespace, asked).or_else(|| self.ours_wait(kube_namespace, asked))
    }

    fn manages_agents(&self) -> bool {
        self.input.agent == Agent::Managed && self.runs_are_awaited()
    }

    /// The config beneath ours: as long as it is not ready, the operator would run with half of it.
    fn base_wait(&self, kube_namespace: &str, asked: Option<&str>) -> Option<WaitFor> {
        let agents = &self.input.live.agents;
        let find = |namespace: &str, name: &str| agents.get(&(namespace.to_owned(), name.to_owned()));
        let base = asked.unwrap_or(DEFAULT_CONFIG);
        let places = [Some(kube_namespace), asked.is_none().then_some(SYSTEM_NAMESPACE)];
        let found = places.into_iter().flatten().find_map(|place| Some((place, find(place, base)?)));
        let name = base.to_owned();
        match found {
            None => Some(WaitFor::NoAgent { namespace: kube_namespace.to_owned(), name }),
            Some((place, live)) if !is_ready(live) => Some(WaitFor::Agent { namespace: place.to_owned(), name }),
            Some(_) => None,
        }
    }

    /// Whether our AgentConfig is as it has to be, and the operator has taken it in. It is applied otherwise.
    pub(crate) fn ours_wait(&mut self, kube_namespace: &str, asked: Option<&str>) -> Option<WaitFor> {
        let name = name(asked);
        let wait = WaitFor::Agent { namespace: kube_namespace.to_owned(), name: name.clone() };
        let (retries, ttl) = ONCE;
        let find = |name: &str| self.input.live.agents.get(&(kube_namespace.to_owned(), name.to_owned()));
        let live = find(&name);
        let mut spec = match (asked, asked.and_then(find).or(live)) {
            (None, _) => json!({}),
            (Some(_), Some(copied)) => copied["spec"].clone(),
            (Some(missing), None) if self.manages_agents() => {
                return Some(WaitFor::NoAgent { namespace: kube_namespace.to_owned(), name: missing.to_owned() });
            }
            // To the operator one that is not there is as one with nothing in it.
            (Some(_), None) => json!({}),
        };
        spec["retryLimit"] = retries.into();
        spec["ttlSecondsAfterFinished"] = ttl.into();
        let stands = live.is_some_and(|live| match asked {
            // Others may add to the one that all share.
            None => live["spec"]["retryLimit"] == retries && live["spec"]["ttlSecondsAfterFinished"] == ttl,
            Some(_) => crate::drift::object(&json!({"kind": "AgentConfig", "spec": spec}), live).is_empty(),
        });
        let asked_again = match live.filter(|_| stands) {
            Some(live) if is_ready(live) => return None,
            Some(live) => match self.ask_again(live) {
                Some(now) => Some(now),
                None => return Some(wait),
            },
            None => None,
        };
        let id = id::<AgentConfig>(kube_namespace, &name);
        let mut body = body::<AgentConfig>(json!({"name": id.name, "namespace": id.namespace}), spec);
        if let Some(now) = asked_again {
            body["metadata"]["annotations"] = json!({RETRY: now.to_string()});
        }
        let metadata = live.map_or(&Value::Null, |live| &live["metadata"]);
        let precondition = Precondition::seen(metadata["resourceVersion"].as_str(), metadata["uid"].as_str());
        let subject = Subject::Object(id.clone());
        // The source may ask for it itself.
        if !self.sets.contains_key(&id) && self.agents.insert(id.clone()) {
            self.push(&subject, Action::ApplySet(Apply { id, body, precondition }), Reason::Agent, Due::Now);
        }
        Some(wait)
    }

    /// When the operator is asked to look again at a config of ours whose change it lost: now, or not.
    fn ask_again(&mut self, live: &Value) -> Option<Timestamp> {
        let (metadata, now) = (&live["metadata"], self.input.now);
        let taken_in = live["status"]["observedGeneration"] == metadata["generation"];
        // A new one is not lost, and plugins take their time.
        if !taken_in || metadata["generation"] == 1 || !live["spec"]["pluginConfigFile"].is_null() {
            return None;
        }
        let asked = metadata["annotations"][RETRY].as_str().and_then(|asked| asked.parse::<Timestamp>().ok());
        let next = asked.and_then(|asked| asked.checked_add(PAUSE).ok()).filter(|next| now < *next);
        let Some(next) = next else { return Some(now) };
        self.plan.outcome.retry(next);
        None
    }
}

/// How long a finished Job has to stay for its run to count as one that happens once, in seconds: ten years.
const LONG: i64 = 10 * 365 * 24 * 60 * 60;
/// What Kubernetes takes for a `backoffLimit` that is not there.
const DEFAULT_RETRIES: i64 = 6;

impl Planner<'_> {
    /// With `agent: None`, what has runs begin more than once: by each AgentConfig that a document runs with, laid over
    /// those beneath field by field, as the operator does.
    pub(crate) fn unsafe_agents(&mut self) {
        if self.input.agent != Agent::None || !self.runs_are_awaited() {
            return;
        }
        let desired = self.input.desired;
        let installations = desired.installations.iter().map(|d| (d.id.kube_namespace.as_str(), of(&d.spec)));
        let objects = desired.sets.iter().chain(&desired.objects).filter(|object| is_run(&object.id));
        let objects = objects.map(|object| (object.id.namespace.as_str(), of(&object.body["spec"])));
        let named: BTreeSet<(&str, Option<&str>)> = installations.chain(objects).collect();
        let told = named.into_iter().filter_map(|(namespace, name)| self.hazard(namespace, name));
        self.plan.outcome.unsafe_agents = told.collect();
    }

    fn hazard(&self, namespace: &str, name: Option<&str>) -> Option<String> {
        let layers = layers(namespace, name).filter_map(|(namespace, name)| {
            self.input.live.agents.get(&(namespace.to_owned(), name.to_owned())).map(|live| &live["spec"])
        });
        let layers: Vec<&Value> = layers.collect();
        // Nothing runs then, which is told where it is waited for.
        if layers.is_empty() {
            return None;
        }
        let last = |field: &str| layers.iter().rev().find_map(|spec| spec[field].as_i64());
        let mut hazards = Vec::new();
        match last("ttlSecondsAfterFinished") {
            Some(seconds) if seconds >= LONG => {}
            Some(seconds) => hazards.push(format!(
                "each run begins again when its Job expires (ttlSecondsAfterFinished is {seconds}), also one of an older generation"
            )),
            // Without it a Job stays; the CRD fills it in.
            None => {}
        }
        let retries = last("retryLimit").unwrap_or(DEFAULT_RETRIES);
        if retries > 0 {
            hazards.push(format!(
                "a failed run begins again up to {retries} times (retryLimit), and a failed upgrade looks like a success then"
            ));
        }
        let config = name.unwrap_or(DEFAULT_CONFIG);
        (!hazards.is_empty()).then(|| {
            format!(
                "AgentConfig {namespace}/{config}: {}; set ttlSecondsAfterFinished to {} and retryLimit to 0 there, or spec.agent to Managed",
                hazards.join("; "),
                i32::MAX
            )
        })
    }
}

/// The AgentConfigs that the operator lays over each other for what names this one, or none, in that order: namespaces and
/// names.
fn layers<'a>(namespace: &'a str, named: Option<&'a str>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let beneath = [(SYSTEM_NAMESPACE, DEFAULT_CONFIG), (namespace, DEFAULT_CONFIG)];
    beneath.into_iter().chain(named.map(|named| (namespace, named)))
}

/// What keeps the operator from running what names this AgentConfig, or none: there is none to lay over another, or one is
/// not ready. `find` gives one as JSON, by namespace and name.
#[must_use]
pub fn hindrance(namespace: &str, named: Option<&str>, find: impl Fn(&str, &str) -> Option<Value>) -> Option<String> {
    let found =
        layers(namespace, named).filter_map(|(namespace, name)| Some((namespace, name, find(namespace, name)?)));
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return Some(missing(namespace, DEFAULT_CONFIG));
    }
    let (namespace, name, _) = found.iter().find(|(_, _, live)| !is_ready(live))?;
    Some(not_ready(namespace, name))
}

/// That there is no AgentConfig, and what to do.
pub(crate) fn missing(namespace: &str, name: &str) -> String {
    format!("there is no AgentConfig {namespace}/{name}, and nothing can run without it; set up the namespace")
}

/// That an AgentConfig is not ready, and what to do.
pub(crate) fn not_ready(namespace: &str, name: &str) -> String {
    format!(
        "AgentConfig {namespace}/{name} is not ready; see its status, and the AgentActions of its name; if it was changed and \
         stays so, let the operator look again: kubectl annotate agentconfig {name} -n {namespace} --overwrite {RETRY}=\"$(date +%s)\""
    )
}

fn is_ready(live: &Value) -> bool {
    live["status"]["ready"] == true && live["status"]["observedGeneration"] == live["metadata"]["generation"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_objects() {
        assert_eq!(name(None), "porter-flux");
        assert_eq!(name(Some("fast")), "porter-flux-fast");
        let long = "x".repeat(63);
        assert!(name(Some(&long)).len() <= MAX_NAME && name(Some(&long)) != name(Some(&long[1..])));
    }

    #[test]
    fn what_keeps_a_run_from_beginning_is_told() {
        let config =
            |ready: bool| json!({"metadata": {"generation": 2}, "status": {"ready": ready, "observedGeneration": 2}});
        let stale = json!({"metadata": {"generation": 2}, "status": {"ready": true, "observedGeneration": 1}});
        let system = "porter-operator-system/default";
        let none = "there is no AgentConfig apps/default";
        for (named, stand, told) in [
            (None, vec![], Some(none)),
            (None, vec![("apps/default", config(true))], None),
            (None, vec![(system, config(true))], None),
            (None, vec![("apps/fast", config(true))], Some(none)),
            (None, vec![("apps/default", stale)], Some("AgentConfig apps/default is not ready")),
            (Some("fast"), vec![("apps/fast", config(true))], None),
            (
                Some("fast"),
                vec![("apps/default", config(true)), ("apps/fast", config(false))],
                Some("AgentConfig apps/fast is not ready"),
            ),
            (
                Some("fast"),
                vec![(system, config(false)), ("apps/fast", config(true))],
                Some("AgentConfig porter-operator-system/default is not ready"),
            ),
        ] {
            let find = |namespace: &str, name: &str| {
                let stands = stand.iter().find(|(place, _)| *place == format!("{namespace}/{name}"));
                stands.map(|(_, live)| live.clone())
            };
            let now = hindrance("apps", named, find);
            assert!(
                match (&now, told) {
                    (Some(now), Some(told)) => now.starts_with(told),
                    (now, told) => now.is_none() && told.is_none(),
                },
                "{named:?} {stand:?}: {now:?}"
            );
        }
    }

    #[test]
    fn which_of_the_two_is_named_is_no_difference() {
        let cases = [
            (json!({}), None, json!({})),
            (json!({"agentConfig": {"name": "porter-flux"}}), None, json!({})),
            (json!({"agentConfig": {"name": "fast"}}), Some("fast"), json!({"agentConfig": {"name": "fast"}})),
            (
                json!({"agentConfig": {"name": "porter-flux-fast"}}),
                Some("fast"),
                json!({"agentConfig": {"name": "fast"}}),
            ),
            (
                json!({"agentConfig": {"name": "porter-flux-slow"}}),
                Some("fast"),
                json!({"agentConfig": {"name": "porter-flux-slow"}}),
            ),
            (json!({"agentConfig": {"name": "slow"}}), None, json!({"agentConfig": {"name": "slow"}})),
        ];
        for (mut live, known, expected) in cases {
            asked(&mut live, known);
            assert_eq!(live, expected, "{known:?}");
        }
    }
}
