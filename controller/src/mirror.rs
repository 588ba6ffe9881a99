//! A mirror of one kind: what the API server holds, kept by a watch, with our own writes visible at once.
//!
//! Guarantees: an object never goes back to an older resourceVersion, so a reconcile reads what an earlier one wrote even
//! when the watch lags; a delete is seen also when it happened while the watch was down; an object that does not read as
//! its kind is kept as poisoned, by name, and hides no other.
//! It may not know what an object means: the wiring hands in the index and what to do on a change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of(object: &impl ResourceExt) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How long a write of ours outlives a list that does not have it yet.
const WRITE_GRACE: Duration = Duration::from_secs(30);

/// What a mirror gives an index: the groups that an object belongs to.
pub type IndexFn<K> = fn(&K) -> Vec<String>;

/// The objects of one kind.
pub struct Mirror<K> {
    kind: &'static str,
    index: IndexFn<K>,
    state: RwLock<State<K>>,
}

struct State<K> {
    synced: bool,
    problem: Option<String>,
    objects: HashMap<Key, Arc<K>>,
    poisoned: HashMap<Key, String>,
    groups: HashMap<String, BTreeSet<Key>>,
    /// Keys that the list in progress has named.
    listed: HashSet<Key>,
    written: HashMap<Key, Instant>,
}

/// A change that a watch brought, for the wiring to act on.
#[derive(Debug)]
pub enum Change<K> {
    /// An object is new, or changed by somebody else than us.
    Applied {
        /// What stood before.
        old: Option<Arc<K>>,
        /// What stands now.
        new: Arc<K>,
    },
    /// An object is gone.
    Deleted(Arc<K>),
    /// The first list is complete.
    Synced,
}

impl<K> Mirror<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    /// An empty mirror, not synced yet.
    pub fn new(index: IndexFn<K>) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self {
            kind: std::any::type_name::<K>().rsplit("::").next().unwrap_or("object"),
            index,
            state: RwLock::new(State {
                synced: false,
                problem: None,
                objects: HashMap::new(),
                poisoned: HashMap::new(),
                groups: HashMap::new(),
                listed: HashSet::new(),
                written: HashMap::new(),
            }),
        }
    }

    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The object, or why it cannot be read.
    ///
    /// # Errors
    /// When the object stands there and does not read as its kind.
    pub fn get(&self, key: &Key) -> Result<Option<Arc<K>>, String> {
        let state = self.read();
        match state.poisoned.get(key) {
            Some(error) => Err(format!("{} {key} on the API server cannot be read: {error}", self.kind)),
            None => Ok(state.objects.get(key).cloned()),
        }
    }

    /// The objects of a group of the index, in the order of their names.
    pub fn group(&self, group: &str) -> Vec<Arc<K>> {
        let state = self.read();
        let keys = state.groups.get(group).into_iter().flatten();
        keys.filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// `Ok` once the first list is complete; else what it waits for.
    ///
    /// # Errors
    /// The watch's problem, as a sentence for a condition.
    pub fn synced(&self) -> Result<(), String> {
        let state = self.read();
        match (&state.problem, state.synced) {
            (_, true) => Ok(()),
            (Some(problem), false) => Err(format!("cannot watch {}: {problem}", self.kind)),
            (None, false) => Err(format!("waiting for the list of {} from the API server", self.kind)),
        }
    }

    /// Takes in what the API server answered to a write of ours.
    pub fn record_write(&self, object: K) {
        let key = Key::of(&object);
        let mut state = self.write();
        state.written.insert(key.clone(), Instant::now());
        self.put(&mut state, key, object);
    }

    /// Follows a watch until the stream ends, calling `act` for each change that is not an echo of our own write.
    /// Errors of the watch are told in [`Mirror::synced`] and in the log, and the stream is asked again after a pause.
    pub async fn follow<S>(&self, events: S, trim: fn(&mut K), mut act: impl FnMut(Change<K>))
    where
        S: Stream<Item = Result<watcher::Event<DeserializeGuard<K>>, watcher::Error>>,
    {
        const FIRST_PAUSE: Duration = Duration::from_millis(500);
        const LONGEST_PAUSE: Duration = Duration::from_secs(10);
        let mut pause = FIRST_PAUSE;
        futures::pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if is_answer(&event) {
                        pause = FIRST_PAUSE;
                    }
                    for change in self.take(event, trim) {
                        act(change);
                    }
                }
                Err(error) => {
                    let problem = explain(&error);
                    if self.write().problem.replace(problem.clone()).as_ref() != Some(&problem) {
                        tracing::warn!(kind = self.kind, error = %problem, "watch failed, trying again");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn take(&self, event: watcher::Event<DeserializeGuard<K>>, trim: fn(&mut K)) -> Vec<Change<K>> {
        let mut state = self.write();
        if is_answer(&event) {
            state.problem = None;
        }
        match event {
            watcher::Event::Init => {
                state.listed.clear();
                Vec::new()
            }
            watcher::Event::InitApply(guard) => self.apply(&mut state, guard, trim, true).into_iter().collect(),
            watcher::Event::Apply(guard) => self.apply(&mut state, guard, trim, false).into_iter().collect(),
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut state.listed);
                state.written.retain(|_, at| at.elapsed() < WRITE_GRACE);
                let gone: Vec<Key> = state
                    .objects
                    .keys()
                    .filter(|key| !listed.contains(*key) && !state.written.contains_key(*key))
                    .cloned()
                    .collect();
                state.poisoned.retain(|key, _| listed.contains(key));
                let mut changes: Vec<Change<K>> =
                    gone.iter().filter_map(|key| self.remove(&mut state, key)).map(Change::Deleted).collect();
                if !std::mem::replace(&mut state.synced, true) {
                    changes.push(Change::Synced);
                }
                changes
            }
            watcher::Event::Delete(guard) => {
                let (key, version) = match &guard.0 {
                    Ok(object) => (Key::of(object), object.resource_version()),
                    Err(invalid) => (
                        Key::new(
                            invalid.metadata.namespace.clone().unwrap_or_default(),
                            invalid.metadata.name.clone().unwrap_or_default(),
                        ),
                        invalid.metadata.resource_version.clone(),
                    ),
                };
                state.poisoned.remove(&key);
                let stands = state.objects.get(&key).and_then(|object| object.resource_version());
                // A new object of that name, which we made, is not what was deleted.
                if newer(stands.as_deref(), version.as_deref()) {
                    return Vec::new();
                }
                self.remove(&mut state, &key).map(Change::Deleted).into_iter().collect()
            }
        }
    }

    fn apply(
        &self,
        state: &mut State<K>,
        guard: DeserializeGuard<K>,
        trim: fn(&mut K),
        listing: bool,
    ) -> Option<Change<K>> {
        match guard.0 {
            Ok(mut object) => {
                trim(&mut object);
                let key = Key::of(&object);
                if listing {
                    state.listed.insert(key.clone());
                }
                state.poisoned.remove(&key);
                let old = state.objects.get(&key).cloned();
                self.put(state, key, object).map(|new| Change::Applied { old, new })
            }
            Err(invalid) => {
                let key = Key::new(
                    invalid.metadata.namespace.clone().unwrap_or_default(),
                    invalid.metadata.name.clone().unwrap_or_default(),
                );
                if listing {
                    state.listed.insert(key.clone());
                }
                tracing::warn!(kind = self.kind, object = %key, error = %invalid.error, "object cannot be read");
                state.poisoned.insert(key, invalid.error);
                None
            }
        }
    }

    /// Stores an object unless what stands is as new; `None` then.
    fn put(&self, state: &mut State<K>, key: Key, object: K) -> Option<Arc<K>> {
        let version = object.resource_version();
        if let Some(stands) = state.objects.get(&key) {
            let stands = stands.resource_version();
            if stands == version || newer(stands.as_deref(), version.as_deref()) {
                return None;
            }
        }
        self.unindex(state, &key);
        for group in (self.index)(&object) {
            state.groups.entry(group).or_default().insert(key.clone());
        }
        let object = Arc::new(object);
        state.objects.insert(key, object.clone());
        Some(object)
    }

    fn remove(&self, state: &mut State<K>, key: &Key) -> Option<Arc<K>> {
        self.unindex(state, key);
        state.objects.remove(key)
    }

    fn unindex(&self, state: &mut State<K>, key: &Key) {
        let Some(old) = state.objects.get(key) else { return };
        for group in (self.index)(old) {
            if let Some(keys) = state.groups.get_mut(&group) {
                keys.remove(key);
                if keys.is_empty() {
                    state.groups.remove(&group);
                }
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State<K>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an event came from the API server. `Init` only says that it is about to be asked.
fn is_answer<K>(event: &watcher::Event<K>) -> bool {
    !matches!(event, watcher::Event::Init)
}

/// Whether the first resourceVersion is after the second. Versions that are no numbers are never "newer".
fn newer(a: Option<&str>, b: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|version| version.parse::<u64>().ok());
    matches!((number(a), number(b)), (Some(a), Some(b)) if a > b)
}

fn explain(error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        other => return other.to_string(),
    };
    match status.code {
        404 => "the API server does not serve this kind; install its CRD".to_owned(),
        403 => format!("the controller may not list it: {}", status.message),
        _ => status.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::Status;

    fn object(name: &str, version: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.into());
        map.metadata.namespace = Some("ns".into());
        map.metadata.resource_version = Some(version.into());
        map
    }

    fn guarded(name: &str, version: &str) -> DeserializeGuard<ConfigMap> {
        DeserializeGuard(Ok(object(name, version)))
    }

    fn take(mirror: &Mirror<ConfigMap>, event: watcher::Event<DeserializeGuard<ConfigMap>>) -> Vec<String> {
        let name = |change: &Change<ConfigMap>| match change {
            Change::Applied { new, .. } => {
                format!("applied {}@{}", new.name_any(), new.resource_version().unwrap_or_default())
            }
            Change::Deleted(old) => format!("deleted {}", old.name_any()),
            Change::Synced => "synced".to_owned(),
        };
        mirror.take(event, |_| {}).iter().map(name).collect()
    }

    #[test]
    fn our_own_write_is_seen_at_once_and_its_echo_is_no_change() {
        let mirror = Mirror::<ConfigMap>::new(|map| vec![map.name_any()]);
        take(&mirror, watcher::Event::Init);
        assert!(mirror.synced().is_err());
        assert_eq!(take(&mirror, watcher::Event::InitDone), ["synced"]);
        mirror.record_write(object("a", "5"));
        assert!(mirror.get(&Key::new("ns", "a")).unwrap().is_some());
        assert_eq!(take(&mirror, watcher::Event::Apply(guarded("a", "4"))), [""; 0], "older");
        assert_eq!(take(&mirror, watcher::Event::Apply(guarded("a", "5"))), [""; 0], "echo");
        assert_eq!(take(&mirror, watcher::Event::Apply(guarded("a", "6"))), ["applied a@6"]);
        assert_eq!(mirror.group("a").len(), 1);
    }

    #[test]
    fn a_delete_during_a_gap_is_seen_and_one_of_an_older_object_is_not() {
        let mirror = Mirror::<ConfigMap>::new(|_| vec!["all".into()]);
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(guarded("a", "1")),
            watcher::Event::InitApply(guarded("b", "2")),
            watcher::Event::InitDone,
        ] {
            take(&mirror, event);
        }
        take(&mirror, watcher::Event::Init);
        take(&mirror, watcher::Event::InitApply(guarded("b", "2")));
        mirror.record_write(object("c", "9"));
        assert_eq!(take(&mirror, watcher::Event::InitDone), ["deleted a"], "c was written after the list began");
        assert_eq!(mirror.group("all").len(), 2);
        assert_eq!(take(&mirror, watcher::Event::Delete(guarded("c", "8"))), [""; 0]);
        assert_eq!(take(&mirror, watcher::Event::Delete(guarded("c", "10"))), ["deleted c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_is_asked_again_ever_more_seldom() {
        let refused = || Err(watcher::Error::WatchError(Box::new(Status::failure("no", "NotFound").with_code(404))));
        // Each attempt begins with `Init`, which is no answer yet.
        let attempts = (0..4).flat_map(|_| [Ok(watcher::Event::Init), refused()]);
        let mirror = Mirror::<ConfigMap>::new(|_| Vec::new());
        let started = tokio::time::Instant::now();
        mirror.follow(futures::stream::iter(attempts), |_| {}, |_| {}).await;
        assert_eq!(started.elapsed().as_millis(), 500 + 1000 + 2000 + 4000);
        take(&mirror, watcher::Event::Init);
        assert!(mirror.synced().unwrap_err().contains("install its CRD"), "{:?}", mirror.synced());
        take(&mirror, watcher::Event::InitDone);
        assert_eq!(mirror.synced(), Ok(()));
    }

    #[test]
    fn a_poisoned_object_is_told_by_name() {
        let mirror = Mirror::<ConfigMap>::new(|_| Vec::new());
        let mut metadata = object("bad", "1").metadata;
        metadata.resource_version = Some("1".into());
        let invalid = kube::core::error_boundary::InvalidObject { error: "missing field".into(), metadata };
        take(&mirror, watcher::Event::Apply(DeserializeGuard(Err(invalid))));
        assert!(mirror.get(&Key::new("ns", "bad")).unwrap_err().contains("ns/bad"));
    }
}
