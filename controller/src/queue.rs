//! The work queue: which object is reconciled next, and when.
//!
//! Guarantees: a key is handed out at most once at a time; a key that is added while it is being worked on comes again
//! afterwards; of several times asked for one key the earliest wins; keys whose time has come are handed out in the order
//! of those times, so none starves. `kube::runtime`'s scheduler gives neither the last (it takes any of the pending) nor
//! isolation from a panic, which is why this is our own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A queue of keys with a time each.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<K> {
    /// By time, then by order of arrival.
    due: BTreeMap<(Instant, u64), K>,
    /// Where a waiting key stands in `due`.
    waiting: HashMap<K, (Instant, u64)>,
    running: HashSet<K>,
    /// Keys that were added while running.
    again: HashMap<K, Instant>,
    arrivals: u64,
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                due: BTreeMap::new(),
                waiting: HashMap::new(),
                running: HashSet::new(),
                again: HashMap::new(),
                arrivals: 0,
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// Asks for `key` now.
    pub fn add(&self, key: K) {
        self.add_after(key, Duration::ZERO);
    }

    /// Asks for `key` after a delay.
    pub fn add_after(&self, key: K, delay: Duration) {
        let at = Instant::now() + delay;
        let mut state = self.lock();
        if state.running.contains(&key) {
            let again = state.again.entry(key).or_insert(at);
            *again = at.min(*again);
            return;
        }
        if let Some(place) = state.waiting.get(&key).copied() {
            if place.0 <= at {
                return;
            }
            state.due.remove(&place);
        }
        state.arrivals += 1;
        let place = (at, state.arrivals);
        state.due.insert(place, key.clone());
        state.waiting.insert(key, place);
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for the next key whose time has come. The caller must give it back with [`Queue::done`].
    pub async fn next(&self) -> K {
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut state = self.lock();
                match state.due.first_key_value() {
                    Some((place, _)) if place.0 <= Instant::now() => {
                        if let Some((_, key)) = state.due.pop_first() {
                            state.waiting.remove(&key);
                            state.running.insert(key.clone());
                            return key;
                        }
                        None
                    }
                    Some((place, _)) => Some(place.0),
                    None => None,
                }
            };
            match next {
                Some(at) => tokio::select! { () = tokio::time::sleep_until(at) => {}, () = changed => {} },
                None => changed.await,
            }
        }
    }

    /// Gives a key back; it comes again when it was added meanwhile, or after `delay` when one is given.
    pub fn done(&self, key: K, delay: Option<Duration>) {
        let again = {
            let mut state = self.lock();
            state.running.remove(&key);
            state.again.remove(&key)
        };
        if let Some(at) = again {
            self.add_after(key.clone(), at.saturating_duration_since(Instant::now()));
        }
        if let Some(delay) = delay {
            self.add_after(key, delay);
        }
    }

    /// Keys that wait or run, for the metrics.
    pub fn depth(&self) -> usize {
        let state = self.lock();
        let now = Instant::now();
        state.due.keys().take_while(|(at, _)| *at <= now).count() + state.running.len()
    }

    /// A panic of another holder leaves the maps whole: every change above is a few infallible statements.
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_come_in_the_order_of_their_times_and_the_earliest_wins() {
        let queue = Queue::default();
        queue.add_after("late", Duration::from_secs(60));
        queue.add_after("b", Duration::from_secs(2));
        queue.add_after("a", Duration::from_secs(1));
        queue.add_after("late", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(30));
        let mut order = Vec::new();
        for _ in 0..3 {
            let key = queue.next().await;
            queue.done(key, None);
            order.push(key);
        }
        assert_eq!(order, ["a", "b", "late"]);
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_runs_once_at_a_time_and_comes_again_when_added_meanwhile() {
        let queue = Queue::default();
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().await, "b");
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err(), "a is still running");
        queue.done("a", Some(Duration::from_secs(600)));
        assert_eq!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await, Ok("a"));
    }
}
