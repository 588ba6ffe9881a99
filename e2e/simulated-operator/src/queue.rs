//! Work that waits for the one worker of a kind.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// The first delay after a failure, and the longest; each failure in a row doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(5);
const LONGEST_DELAY: Duration = Duration::from_secs(1000);

/// A queue in which each key waits at most once.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    order: VecDeque<Key>,
    waiting: HashSet<Key>,
    failures: HashMap<Key, u32>,
}

impl Queue {
    pub(crate) fn push(&self, key: Key) {
        let mut inner = self.lock();
        if inner.waiting.insert(key.clone()) {
            inner.order.push_back(key);
            self.ready.notify_one();
        }
    }

    /// The next key. It can be queued again from then on.
    pub(crate) async fn pop(&self) -> Key {
        loop {
            {
                let mut inner = self.lock();
                if let Some(key) = inner.order.pop_front() {
                    inner.waiting.remove(&key);
                    return key;
                }
            }
            self.ready.notified().await;
        }
    }

    pub(crate) fn succeeded(&self, key: &Key) {
        self.lock().failures.remove(key);
    }

    /// Queues the key again after a delay.
    pub(crate) fn failed(self: &Arc<Self>, key: Key) {
        let failures = {
            let mut inner = self.lock();
            let failures = inner.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures
        };
        let queue = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(delay(failures)).await;
            queue.push(key);
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn delay(failures: u32) -> Duration {
    FIRST_DELAY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_a_limit() {
        let table = [(1, 5), (2, 10), (3, 20), (11, 5120), (18, 655_360), (19, 1_000_000), (40, 1_000_000)];
        for (failures, milliseconds) in table {
            assert_eq!(delay(failures), Duration::from_millis(milliseconds), "{failures}");
        }
    }

    #[tokio::test]
    async fn a_key_waits_once() {
        let queue = Queue::default();
        let key = |name: &str| ("ns".to_owned(), name.to_owned());
        for name in ["a", "b", "a"] {
            queue.push(key(name));
        }
        assert_eq!(queue.pop().await, key("a"));
        queue.push(key("a"));
        assert_eq!(queue.pop().await, key("b"));
        assert_eq!(queue.pop().await, key("a"));
    }
}
