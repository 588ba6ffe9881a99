//! What one reconcile of a sync leaves behind for the next.
//!
//! Invariant: losing it costs a download, a pause or an event, never a run: nothing here decides what is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use manifest::ObjectId;
use tokio::time::Instant;

use super::asked::Asked;
use super::correction::Stood;
use super::failure::{Again, Failure};
use super::{Reconciler, doubled};
use crate::conditions::Verdict;
use crate::mirror::Key;

/// How many plans in a row are made at once, and may write the same object, before that is taken to be for nothing.
const AT_ONCE: u32 = 2;

/// What the last reconcile of a sync left behind. Losing it costs a download, never a run.
#[derive(Clone, Default)]
pub struct Memory {
    /// What the last build came to.
    pub(super) asked: Option<Asked>,
    /// The next try of what failed was asked for.
    retry_asked: bool,
    /// Since when it is waited for the same thing.
    progressing: Option<(String, Instant)>,
    /// Plans in a row that turned out stale.
    pub(super) stale: u32,
    /// Plans in a row that were to be made again at once.
    again: u32,
    /// The objects that the last plan wrote, and how many plans in a row did.
    written: BTreeMap<ObjectId, u32>,
    /// The digest of what is being made true, and since when.
    begun: Option<(String, Instant)>,
    /// What stands as it is asked.
    pub(super) stood: Stood,
}

impl Memory {
    /// What a reconcile leaves behind that came to its end, or did not: plans in a row are counted that were stale, and
    /// what runs or waits after a failure is waited for anew.
    pub(super) fn after(&mut self, ended: &Result<(), Failure>) {
        let stale = matches!(ended, Err(Failure { again: Again::Stale, .. }));
        self.stale = if stale { self.stale.saturating_add(1) } else { 0 };
        if matches!(ended, Err(Failure { verdict: Verdict::Failed { .. } | Verdict::Stalled { .. }, .. })) {
            self.waits_anew();
        }
    }

    /// How soon a plan is made again that asks for it, or not: at once, but where one follows the other what is written is
    /// never what stands next.
    pub(super) fn plans_again(&mut self, asked: bool) -> Option<Duration> {
        self.again = if asked { self.again.saturating_add(1) } else { 0 };
        match self.again.checked_sub(AT_ONCE) {
            _ if !asked => None,
            None | Some(0) => Some(Duration::ZERO),
            Some(more) => Some(doubled(more)),
        }
    }

    /// Takes in the objects that a plan wrote.
    pub(super) fn wrote(&mut self, objects: &BTreeSet<ObjectId>) {
        let times = |id: &ObjectId| self.written.get(id).copied().unwrap_or_default().saturating_add(1);
        self.written = objects.iter().map(|id| (id.clone(), times(id))).collect();
    }

    /// The objects that never stand as they are written.
    pub(super) fn contested(&self) -> BTreeSet<ObjectId> {
        self.written.iter().filter(|(_, times)| **times > AT_ONCE).map(|(id, _)| id.clone()).collect()
    }

    /// Whether what failed is tried again without a pause. That holds from the request until it was tried, or nothing is to
    /// be: the first plan may only prepare it.
    pub(super) fn retries_now(&mut self, asked: bool) -> bool {
        self.retry_asked |= asked;
        self.retry_asked
    }

    /// How long it took to make a digest true, or to fail, since a reconcile began with it.
    pub(super) fn took(&mut self, digest: &str, began: Instant, ended: bool) -> Duration {
        let since = match self.begun.take() {
            Some((of, since)) if of == digest => since,
            _ => began,
        };
        if !ended {
            self.begun = Some((digest.to_owned(), since));
        }
        since.elapsed()
    }

    /// How long it has been waited for what is to become of a revision.
    pub(super) fn waits(&mut self, revision: &str) -> Duration {
        let since = match &self.progressing {
            Some((of, since)) if of == revision => *since,
            _ => Instant::now(),
        };
        self.progressing = Some((revision.to_owned(), since));
        since.elapsed()
    }

    /// What failed was tried again.
    pub(super) fn tried(&mut self) {
        self.retry_asked = false;
    }

    /// What runs or waits from here on is waited for anew.
    pub(super) fn waits_anew(&mut self) {
        self.progressing = None;
    }
}

impl Reconciler {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Key, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes what is remembered of a sync.
    pub(super) fn remember<T>(&self, sync: &Key, with: impl FnOnce(&mut Memory) -> T) -> T {
        with(self.lock().entry(sync.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use api::condition;

    use super::super::failure::UNREACHABLE;
    use super::*;

    #[test]
    fn plans_that_come_to_nothing_one_after_the_other_are_made_less_and_less_often() {
        let mut memory = Memory::default();
        let mut pauses = |asked: &[bool]| {
            let pauses = asked.iter().map(|asked| memory.plans_again(*asked).map(|pause| pause.as_millis()));
            pauses.collect::<Vec<_>>()
        };
        assert_eq!(pauses(&[true; 5]), [0, 0, 500, 1_000, 2_000].map(Some));
        assert_eq!(pauses(&[true; 8]).last(), Some(&Some(32_000)));
        assert_eq!(pauses(&[false, true, true, false]), [None, Some(0), Some(0), None]);
    }

    #[test]
    fn what_plan_after_plan_writes_is_changed_by_somebody() {
        let id = |name: &str| ObjectId {
            group: String::new(),
            kind: "Secret".to_owned(),
            namespace: "apps".to_owned(),
            name: name.to_owned(),
        };
        let mut memory = Memory::default();
        for (written, contested) in [
            (["a", "b"].as_slice(), [].as_slice()),
            (&["a", "b"], &[]),
            (&["a"], &["a"]),
            (&["a", "b"], &["a"]),
            (&[], &[]),
            (&["a"], &[]),
        ] {
            memory.wrote(&written.iter().map(|name| id(name)).collect());
            assert_eq!(memory.contested(), contested.iter().map(|name| id(name)).collect(), "{written:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_after_a_failure_is_waited_for_anew() {
        let failure = |again| Failure::new(condition::RECONCILIATION_FAILED, "refused").again(again);
        let stale = || Failure { verdict: Verdict::Progressing { message: "changed".into() }, again: Again::Stale };
        let denied = Verdict::Stalled { reason: condition::ACCESS_DENIED, message: "no".into() };
        for (ended, waited, in_a_row) in [
            (Ok(()), 60, 0),
            (Err(stale()), 60, 1),
            (Err(failure(Again::Asked)), 0, 0),
            (Err(failure(Again::Soon(UNREACHABLE))), 0, 0),
            (Err(failure(Again::Unsynced)), 0, 0),
            (Err(Failure { verdict: denied, again: Again::Asked }), 0, 0),
        ] {
            let mut memory = Memory::default();
            assert_eq!(memory.waits("a"), Duration::ZERO);
            tokio::time::sleep(Duration::from_secs(60)).await;
            memory.after(&ended);
            assert_eq!((memory.waits("a").as_secs(), memory.stale), (waited, in_a_row), "{ended:?}");
            assert_eq!(memory.waits("b"), Duration::ZERO);
        }
    }
}
