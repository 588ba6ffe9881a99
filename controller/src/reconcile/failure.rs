//! Why a reconcile did not come to its end, how soon it is tried again, and the time that it has.
//!
//! Invariant: what is told here may be read by whoever may read the sync: no value of a Secret.

use std::sync::Arc;
use std::time::Duration;

use api::condition;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::listed;
use crate::build::Recipe;
use crate::conditions::Verdict;
use crate::writer::RequestError;

/// How soon a request that the API server did not answer is made again.
pub(super) const UNREACHABLE: Duration = Duration::from_secs(10);

/// Why a reconcile did not come to its end.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) verdict: Verdict,
    pub(super) again: Again,
}

/// How soon what failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// After the time that the sync asks for.
    Asked,
    /// After this time, or the one that the sync asks for when that is shorter.
    Soon(Duration),
    /// The watches have not brought everything yet. Just after the start that is no failure.
    Unsynced,
    /// What the plan was made of had changed.
    Stale,
}

impl Failure {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed { reason, message: message.into() }, again: Again::Asked }
    }

    /// Only a change of the sync helps.
    pub(super) fn stalled(reason: &'static str, message: String) -> Self {
        Self { verdict: Verdict::Stalled { reason, message }, again: Again::Asked }
    }

    /// What the plan was made of had changed.
    pub(super) fn stale(errors: impl Iterator<Item = String>) -> Self {
        let message = listed("changed meanwhile, planning again", errors);
        Self { verdict: Verdict::Progressing { message }, again: Again::Stale }
    }

    pub(super) fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    pub(super) fn soon(self, again: Duration) -> Self {
        self.again(Again::Soon(again))
    }

    /// The same without what the Secrets hold that the recipe has variables from: an API server quotes what it refuses.
    pub(super) fn hiding(mut self, recipe: &Recipe) -> Self {
        if let Verdict::Failed { message, .. } | Verdict::Progressing { message } = &mut self.verdict {
            *message = recipe.hide(message);
        }
        self
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let failure = Self::new(condition::RECONCILIATION_FAILED, error.to_string());
        if error.is_unreachable() { failure.soon(UNREACHABLE) } else { failure }
    }
}

/// What is left of `spec.timeout`. Waiting for a worker does not count: the time of other syncs is not this one's.
pub(super) struct Budget {
    timeout: Duration,
    ends: Instant,
}

impl Budget {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, ends: Instant::now() + timeout }
    }

    pub(super) fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    pub(super) async fn worker(&mut self, workers: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let before = Instant::now();
        // Never closed.
        let worker = workers.clone().acquire_owned().await.ok();
        self.ends += before.elapsed();
        worker
    }

    pub(super) fn over(&self, reason: &'static str, what: &str) -> Failure {
        Failure::new(reason, format!("{what} did not end within {} s", self.timeout.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_worker_takes_nothing_of_the_timeout() {
        let workers = Arc::new(Semaphore::new(1));
        let mut first = Budget::new(Duration::from_secs(30));
        let held = first.worker(&workers).await;
        let mut second = Budget::new(Duration::from_secs(30));
        let waits = async {
            let _worker = second.worker(&workers).await;
            second.left()
        };
        let works = async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            drop(held);
        };
        let (left, ()) = tokio::join!(waits, works);
        assert_eq!(left, Duration::from_secs(30));
        assert_eq!(first.left(), Duration::ZERO);
    }
}
