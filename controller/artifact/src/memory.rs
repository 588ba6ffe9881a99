//! [`Memory`]: the bytes of all unpacked artifacts that there may be at a time, whether they are being unpacked, built from
//! or kept for the next who asks.
//!
//! Guarantee: an artifact is unpacked only within a share of the budget that is large enough for whatever it may hold, and
//! its tree keeps what it really takes until the last user has dropped it. Who waits for a share holds none, and nobody
//! who holds one waits for another, so it comes. One artifact that may take more than the whole budget takes all of it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use manifest::FileTree;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A permit of the semaphore is a KiB: it counts no more than 2^32 at once.
const UNIT: u64 = 1024;

/// The files of an artifact, and their share of the memory.
#[derive(Debug)]
pub struct Unpacked {
    tree: FileTree,
    _share: Share,
}

impl Deref for Unpacked {
    type Target = FileTree;

    fn deref(&self) -> &FileTree {
        &self.tree
    }
}

/// A part of the budget; it goes back when dropped.
#[derive(Debug)]
pub(crate) struct Share(Option<OwnedSemaphorePermit>);

impl Share {
    /// The tree with what it takes of the share; the rest goes back.
    pub(crate) fn keep(mut self, tree: FileTree, bytes: u64) -> Unpacked {
        if let Some(permit) = &mut self.0 {
            let spare = permit.num_permits().saturating_sub(permits(bytes) as usize);
            drop(permit.split(spare));
        }
        Unpacked { tree, _share: self }
    }
}

#[derive(Debug)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    total: u32,
    waiting: AtomicUsize,
}

/// Counts one who waits, for as long as it lives: a future may be dropped at any time.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Memory {
    pub(crate) fn new(bytes: u64) -> Self {
        let total = permits(bytes);
        Self { free: Arc::new(Semaphore::new(total as usize)), total, waiting: AtomicUsize::new(0) }
    }

    /// Whether somebody waits: nothing should be kept then that nobody uses.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Waits for a share. `release` gives up something that nobody uses, and says whether there was anything.
    pub(crate) async fn share(&self, bytes: u64, mut release: impl FnMut() -> bool) -> Share {
        let wanted = permits(bytes).min(self.total);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waits = Waits(&self.waiting);
        while self.free.available_permits() < wanted as usize && release() {}
        // Never closed.
        Share(Arc::clone(&self.free).acquire_many_owned(wanted).await.ok())
    }
}

fn permits(bytes: u64) -> u32 {
    // No semaphore has as many permits as u32 can count on a 32-bit machine.
    const MOST: u32 = 1 << 28;
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(MOST).min(MOST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_held_never_exceeds_the_budget() {
        let memory = Memory::new(100 << 10);
        let first = memory.share(70 << 10, || false).await;
        let none = tokio::time::timeout(Duration::from_secs(60), memory.share(40 << 10, || false)).await;
        assert!(none.is_err() && !memory.is_short());
        // The tree takes less than it might have.
        let first = first.keep(FileTree::new(), 50 << 10);
        let second = memory.share(40 << 10, || false).await;
        let mut third = std::pin::pin!(memory.share(1 << 30, || false));
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut third).await.is_err());
        assert!(memory.is_short());
        drop((first, second));
        // More than there is: all of it.
        assert_eq!(third.await.0.unwrap().num_permits(), 100);
    }

    #[tokio::test]
    async fn what_nobody_uses_makes_room() {
        let memory = Memory::new(100 << 10);
        let mut kept = Vec::new();
        for _ in 0..4 {
            kept.push(memory.share(25 << 10, || false).await.keep(FileTree::new(), 25 << 10));
        }
        let share = memory.share(50 << 10, || kept.pop().is_some()).await;
        assert_eq!((kept.len(), share.0.unwrap().num_permits()), (2, 50));
    }
}
