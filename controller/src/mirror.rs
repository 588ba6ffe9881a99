//! A mirror of one kind: what the API server holds, kept by a watch, with our own writes visible at once.
//!
//! Guarantees: a watch takes no object back to an older resourceVersion, so a reconcile reads what an earlier one wrote even
//! when the watch lags; a list has the last word on all that was written before it began, so a delete is seen also when it
//! happened while the watch was down, and so is a store that was set back; an object that does not read as its kind is
//! kept as poisoned, by name, and hides no other.
//! It may not know what an object means: the wiring hands in the index, what is left out of an object, and what to do on
//! a change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use api::SyncRef;
use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use tokio::time::Instant;

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

impl From<&SyncRef> for Key {
    fn from(sync: &SyncRef) -> Self {
        Self::new(&sync.namespace, &sync.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How long a watch may be broken before nothing is decided by what it brought.
const BROKEN: Duration = Duration::from_secs(60);

/// What a mirror gives an index: the groups that an object belongs to.
pub type IndexFn<K> = fn(&K) -> Vec<String>;

/// Takes out of an object what is not worth its memory.
pub type TrimFn<K> = fn(&mut K);

/// The objects of one kind.
pub struct Mirror<K> {
    kind: &'static str,
    index: IndexFn<K>,
    trim: TrimFn<K>,
    state: RwLock<State<K>>,
}

struct State<K> {
    synced: bool,
    problem: Option<Problem>,
    objects: HashMap<Key, Arc<K>>,
    poisoned: HashMap<Key, String>,
    groups: HashMap<String, BTreeSet<Key>>,
    /// While a list is on.
    list: Option<List>,
}

/// A list in progress.
#[derive(Default)]
struct List {
    /// Keys that it has named.
    named: HashSet<Key>,
    /// Keys that we wrote since it began. It is a consistent read, so it has all that was written before, and may lack
    /// these.
    written: HashSet<Key>,
}

/// Why a watch brings nothing.
struct Problem {
    text: String,
    since: Instant,
}

impl<K> State<K> {
    /// The list in progress has this key. Says whether it knows better than what stands.
    fn named(&mut self, key: &Key) -> bool {
        let Some(list) = &mut self.list else { return false };
        list.named.insert(key.clone());
        !list.written.contains(key)
    }
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
    pub fn new(index: IndexFn<K>, trim: TrimFn<K>) -> Self {
        Self {
            // Of metadata alone the type is `PartialObjectMeta<...::Kind>`.
            kind: std::any::type_name::<K>().rsplit("::").next().unwrap_or("object").trim_end_matches('>'),
            index,
            trim,
            state: RwLock::new(State {
                synced: false,
                problem: None,
                objects: HashMap::new(),
                poisoned: HashMap::new(),
                groups: HashMap::new(),
                list: None,
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

    /// `Ok` once the first list is complete, and while the watch has not been broken for long; else what it waits for.
    ///
    /// # Errors
    /// The watch's problem, as a sentence for a condition.
    pub fn synced(&self) -> Result<(), String> {
        let state = self.read();
        match (&state.problem, state.synced) {
            (Some(problem), synced) if !synced || problem.since.elapsed() >= BROKEN => {
                Err(format!("cannot watch {}: {}", self.kind, problem.text))
            }
            (_, true) => Ok(()),
            (_, false) => Err(format!("waiting for the list of {} from the API server", self.kind)),
        }
    }

    /// Takes in what the API server answered to a write of ours.
    pub fn record_write(&self, mut object: K) {
        (self.trim)(&mut object);
        let key = Key::of(&object);
        let mut state = self.write();
        if let Some(list) = &mut state.list {
            list.written.insert(key.clone());
        }
        self.put(&mut state, key, object);
    }

    /// The API server answered a request of the watch. It may bring nothing for hours after that, and be well.
    pub fn answered(&self) {
        self.write().problem = None;
    }

    /// Follows a watch until the stream ends, calling `act` for each change that is not an echo of our own write.
    /// Errors of the watch are told in [`Mirror::synced`] and in the log, and the stream is asked again after a pause.
    pub async fn follow<S>(&self, events: S, mut act: impl FnMut(Change<K>))
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
                    for change in self.take(event) {
                        act(change);
                    }
                }
                Err(error) => {
                    let problem = explain(&error);
                    if self.failed(problem.clone()) {
                        tracing::warn!(kind = self.kind, error = %problem, "watch failed, trying again");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Notes a problem of the watch, and says whether it is another than before.
    fn failed(&self, text: String) -> bool {
        let mut state = self.write();
        let since = state.problem.as_ref().map_or_else(Instant::now, |problem| problem.since);
        let old = state.problem.replace(Problem { text: text.clone(), since });
        old.is_none_or(|old| old.text != text)
    }

    fn take(&self, event: watcher::Event<DeserializeGuard<K>>) -> Vec<Change<K>> {
        let mut state = self.write();
        if is_answer(&event) {
            state.problem = None;
        }
        match event {
            watcher::Event::Init => {
                state.list = Some(List::default());
                Vec::new()
            }
            watcher::Event::InitApply(guard) => self.apply(&mut state, guard, true).into_iter().collect(),
            watcher::Event::Apply(guard) => self.apply(&mut state, guard, false).into_iter().collect(),
            watcher::Event::InitDone => {
                let List { named, written } = state.list.take().unwrap_or_default();
                let gone: Vec<Key> = state
                    .objects
                    .keys()
                    .filter(|key| !named.contains(*key) && !written.contains(*key))
                    .cloned()
                    .collect();
                state.poisoned.retain(|key, _| named.contains(key));
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

    fn apply(&self, state: &mut State<K>, guard: DeserializeGuard<K>, listing: bool) -> Option<Change<K>> {
        match guard.0 {
            Ok(mut object) => {
                (self.trim)(&mut object);
                let key = Key::of(&object);
                state.poisoned.remove(&key);
                let old = state.objects.get(&key).cloned();
                if listing && state.named(&key) {
                    // Whatever its version: a store that was set back has begun to count again.
                    state.objects.remove(&key);
                }
                self.put(state, key, object).map(|new| Change::Applied { old, new })
            }
            Err(invalid) => {
                let key = Key::new(
                    invalid.metadata.namespace.clone().unwrap_or_default(),
                    invalid.metadata.name.clone().unwrap_or_default(),
                );
                if listing {
                    state.named(&key);
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

    fn mirror(index: IndexFn<ConfigMap>) -> Mirror<ConfigMap> {
        Mirror::new(index, |map| map.metadata.managed_fields = None)
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
        mirror.take(event).iter().map(name).collect()
    }

    #[test]
    fn our_own_write_is_seen_at_once_and_its_echo_is_no_change() {
        let mirror = mirror(|map| vec![map.name_any()]);
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
        let mirror = mirror(|_| vec!["all".into()]);
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
        let mirror = mirror(|_| Vec::new());
        let started = tokio::time::Instant::now();
        mirror.follow(futures::stream::iter(attempts), |_| {}).await;
        assert_eq!(started.elapsed().as_millis(), 500 + 1000 + 2000 + 4000);
        take(&mirror, watcher::Event::Init);
        assert!(mirror.synced().unwrap_err().contains("install its CRD"), "{:?}", mirror.synced());
        take(&mirror, watcher::Event::InitDone);
        assert_eq!(mirror.synced(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_stays_broken_is_told_and_one_that_is_merely_silent_is_well() {
        let broken = || {
            let status = Status::failure("away", "ServiceUnavailable").with_code(503);
            Err(watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status))))
        };
        let mirror = mirror(|_| Vec::new());
        take(&mirror, watcher::Event::Init);
        take(&mirror, watcher::Event::InitDone);
        // Pauses of 0.5, 1, 2, 4, 8, 10 ... seconds.
        mirror.follow(futures::stream::iter((0..5).map(|_| broken())), |_| {}).await;
        assert_eq!(mirror.synced(), Ok(()), "a short break is none");
        mirror.follow(futures::stream::iter((0..9).map(|_| broken())), |_| {}).await;
        assert!(mirror.synced().unwrap_err().ends_with("cannot watch ConfigMap: away"), "{:?}", mirror.synced());
        mirror.answered();
        assert_eq!(mirror.synced(), Ok(()));
        tokio::time::advance(Duration::from_secs(7200)).await;
        assert_eq!(mirror.synced(), Ok(()), "silence");
        mirror.follow(futures::stream::iter([broken()]), |_| {}).await;
        assert_eq!(mirror.synced(), Ok(()), "a new break");
    }

    #[test]
    fn a_list_has_the_last_word_on_what_was_written_before_it() {
        let mirror = mirror(|_| vec!["all".into()]);
        take(&mirror, watcher::Event::Init);
        take(&mirror, watcher::Event::InitDone);
        // Written, and deleted by somebody while the watch was down.
        mirror.record_write(object("ghost", "7"));
        // Written before the store was set back.
        mirror.record_write(object("back", "900"));
        take(&mirror, watcher::Event::Init);
        mirror.record_write(object("now", "9"));
        mirror.record_write(object("newer", "10"));
        let seen: Vec<_> = [
            watcher::Event::InitApply(guarded("back", "3")),
            watcher::Event::InitApply(guarded("newer", "8")),
            watcher::Event::InitDone,
        ]
        .into_iter()
        .flat_map(|event| take(&mirror, event))
        .collect();
        assert_eq!(seen, ["applied back@3", "deleted ghost"]);
        let mut stands: Vec<_> =
            mirror.all().iter().map(|map| format!("{}@{}", map.name_any(), map.resource_version().unwrap())).collect();
        stands.sort();
        assert_eq!(stands, ["back@3", "newer@10", "now@9"]);
        assert_eq!(mirror.group("all").len(), 3);
        // Between two lists nothing is remembered of writes.
        mirror.record_write(object("later", "20"));
        assert!(mirror.read().list.is_none());
    }

    #[test]
    fn what_we_wrote_is_trimmed_like_what_we_watched() {
        let mirror = mirror(|_| Vec::new());
        let mut written = object("a", "1");
        written.metadata.managed_fields = Some(vec![Default::default()]);
        mirror.record_write(written);
        assert!(mirror.get(&Key::new("ns", "a")).unwrap().unwrap().metadata.managed_fields.is_none());
    }

    #[test]
    fn a_poisoned_object_is_told_by_name() {
        let mirror = mirror(|_| Vec::new());
        let mut metadata = object("bad", "1").metadata;
        metadata.resource_version = Some("1".into());
        let invalid = kube::core::error_boundary::InvalidObject { error: "missing field".into(), metadata };
        take(&mirror, watcher::Event::Apply(DeserializeGuard(Err(invalid))));
        assert!(mirror.get(&Key::new("ns", "bad")).unwrap_err().contains("ns/bad"));
    }
}
