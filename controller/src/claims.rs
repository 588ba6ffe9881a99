//! What the last build of each BundleSync asks for.
//!
//! What leaves the source of one sync goes only once it is known that no other asks for it: a document that moves between
//! two of them in one commit is a move, whichever is reconciled first.
//!
//! Invariant: what is told here is of the artifact and the generation it is told with. It may not know what stands in the
//! cluster, nor who owns what: that is the ledger's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use manifest::ObjectId;

use crate::mirror::Key;

/// Which releases and objects each BundleSync asks for.
#[derive(Debug, Default)]
pub struct Claims {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    read: HashMap<Key, Read>,
    /// Who asks for a release.
    asking: BTreeMap<Key, BTreeSet<Key>>,
    /// Who asks for an object.
    objects: BTreeMap<ObjectId, BTreeSet<Key>>,
    /// Since when, without a break, it has not been known what a sync asks for, though it was tried.
    failing: HashMap<Key, Instant>,
}

#[derive(Debug)]
struct Read {
    digest: String,
    generation: Option<i64>,
    releases: BTreeSet<Key>,
    objects: BTreeSet<ObjectId>,
}

impl Claims {
    /// A sync, at this generation, asks for these releases and objects in an artifact of this digest.
    pub fn tell(
        &self,
        sync: &Key,
        digest: &str,
        generation: Option<i64>,
        releases: BTreeSet<Key>,
        objects: BTreeSet<ObjectId>,
    ) {
        let mut inner = self.lock();
        inner.forget(sync);
        for release in &releases {
            inner.asking.entry(release.clone()).or_default().insert(sync.clone());
        }
        for object in &objects {
            inner.objects.entry(object.clone()).or_default().insert(sync.clone());
        }
        inner.read.insert(sync.clone(), Read { digest: digest.to_owned(), generation, releases, objects });
    }

    /// It was tried to know what a sync asks for, and failed.
    pub fn tell_failed(&self, sync: &Key) {
        self.lock().failing.entry(sync.clone()).or_insert_with(Instant::now);
    }

    /// How long that has failed.
    pub fn failing(&self, sync: &Key) -> Option<Duration> {
        self.lock().failing.get(sync).map(Instant::elapsed)
    }

    /// A sync asks for nothing: it is gone.
    pub fn forget(&self, sync: &Key) {
        self.lock().forget(sync);
    }

    /// Whether it is known what a sync, at this generation, asks for in an artifact of this digest.
    pub fn has_read(&self, sync: &Key, digest: &str, generation: Option<i64>) -> bool {
        self.lock().read.get(sync).is_some_and(|read| read.digest == digest && read.generation == generation)
    }

    /// Whether it is known what a sync, at this generation, asked for last.
    pub fn is_known(&self, sync: &Key, generation: Option<i64>) -> bool {
        self.lock().read.get(sync).is_some_and(|read| read.generation == generation)
    }

    /// Who asks for a release.
    pub fn asking(&self, release: &Key) -> Vec<Key> {
        self.lock().asking.get(release).into_iter().flatten().cloned().collect()
    }

    /// Who asks for an object.
    pub fn asking_for(&self, object: &ObjectId) -> Vec<Key> {
        self.lock().objects.get(object).into_iter().flatten().cloned().collect()
    }

    /// Who asks for a release in one of these namespaces.
    pub fn asking_in(&self, has: impl Fn(&String) -> bool) -> Vec<Key> {
        let inner = self.lock();
        let releases = inner.asking.iter().filter(|(release, _)| has(&release.namespace));
        releases.flat_map(|(_, syncs)| syncs).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, sync: &Key) {
        self.failing.remove(sync);
        let Some(read) = self.read.remove(sync) else { return };
        read.releases.iter().for_each(|release| take(&mut self.asking, release, sync));
        read.objects.iter().for_each(|object| take(&mut self.objects, object, sync));
    }
}

fn take<K: Ord>(asking: &mut BTreeMap<K, BTreeSet<Key>>, of: &K, sync: &Key) {
    if let Some(syncs) = asking.get_mut(of) {
        syncs.remove(sync);
        if syncs.is_empty() {
            asking.remove(of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_last_counts() {
        let key = |name: &str| Key::new("ns", name);
        let some = |names: &[&str]| names.iter().map(|name| key(name)).collect::<BTreeSet<_>>();
        let object = |name: &str| ObjectId {
            group: String::new(),
            kind: "Secret".to_owned(),
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        };
        let claims = Claims::default();
        claims.tell_failed(&key("a"));
        assert!(claims.failing(&key("a")).is_some());
        claims.tell(&key("a"), "one", Some(1), some(&["x", "y"]), [object("o")].into());
        assert!(claims.failing(&key("a")).is_none());
        assert_eq!(claims.asking_for(&object("o")), [key("a")]);
        claims.tell(&key("b"), "one", Some(1), some(&["y"]), BTreeSet::new());
        assert_eq!(claims.asking(&key("y")), [key("a"), key("b")]);
        claims.tell(&key("a"), "two", Some(1), some(&["x"]), BTreeSet::new());
        assert!(claims.asking_for(&object("o")).is_empty());
        assert_eq!(claims.asking(&key("y")), [key("b")]);
        for (sync, digest, generation, known) in [
            ("a", "two", Some(1), true),
            ("a", "one", Some(1), false),
            ("a", "two", Some(2), false),
            ("c", "two", Some(1), false),
        ] {
            assert_eq!(claims.has_read(&key(sync), digest, generation), known, "{sync} {digest} {generation:?}");
        }
        assert_eq!(claims.asking_in(|namespace| namespace == "ns"), [key("a"), key("b")]);
        assert!(claims.asking_in(|namespace| namespace == "other").is_empty());
        claims.forget(&key("a"));
        assert!(claims.asking(&key("x")).is_empty() && !claims.has_read(&key("a"), "two", Some(1)));
        assert!(
            claims.lock().asking.len() == 1 && claims.lock().read.len() == 1,
            "nothing is kept of what is forgotten"
        );
    }
}
