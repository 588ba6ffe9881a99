//! Trees by digest within a budget of bytes; the one that was used longest ago goes first.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use manifest::FileTree;

use crate::digest::Digest;

/// What a file costs beside its name and content: its header and padding, which stay in the memory that contents are
/// slices of, and the nodes of the tree.
const FILE_OVERHEAD: usize = 1024;

/// What a tree takes in memory.
pub(crate) fn cost(tree: &FileTree) -> usize {
    tree.size() + tree.len() * FILE_OVERHEAD
}

/// Least recently used first. A tree that exceeds the whole budget is not kept.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    budget: usize,
    size: usize,
    clock: u64,
    trees: HashMap<Digest, Kept<T>>,
    by_use: BTreeMap<u64, Digest>,
}

#[derive(Debug)]
struct Kept<T> {
    tree: Arc<T>,
    size: usize,
    used: u64,
}

impl<T: Deref<Target = FileTree>> Cache<T> {
    pub(crate) fn new(budget: usize) -> Self {
        Self { budget, size: 0, clock: 0, trees: HashMap::new(), by_use: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, digest: &Digest) -> Option<Arc<T>> {
        let kept = self.trees.get_mut(digest)?;
        self.clock += 1;
        self.by_use.remove(&kept.used);
        self.by_use.insert(self.clock, digest.clone());
        kept.used = self.clock;
        Some(Arc::clone(&kept.tree))
    }

    pub(crate) fn insert(&mut self, digest: Digest, tree: Arc<T>) {
        let size = cost(&tree);
        self.remove(&digest);
        if size > self.budget {
            return;
        }
        while self.size + size > self.budget && self.drop_oldest() {}
        self.clock += 1;
        self.size += size;
        self.by_use.insert(self.clock, digest.clone());
        self.trees.insert(digest, Kept { tree, size, used: self.clock });
    }

    /// Gives up the tree that was used longest ago; `false` when there is none.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let Some((_, oldest)) = self.by_use.pop_first() else { return false };
        self.remove(&oldest);
        true
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn len(&self) -> usize {
        self.trees.len()
    }

    fn remove(&mut self, digest: &Digest) {
        if let Some(kept) = self.trees.remove(digest) {
            self.by_use.remove(&kept.used);
            self.size -= kept.size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: u8) -> Digest {
        format!("{of:064x}").parse().unwrap()
    }

    struct Tree(FileTree);

    impl Deref for Tree {
        type Target = FileTree;

        fn deref(&self) -> &FileTree {
            &self.0
        }
    }

    fn tree(bytes: usize) -> Arc<Tree> {
        let mut tree = FileTree::new();
        tree.insert("f", vec![0; bytes - 1 - FILE_OVERHEAD]).unwrap();
        Arc::new(Tree(tree))
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = Cache::new(10_000);
        for of in [1, 2, 3] {
            cache.insert(digest(of), tree(3000));
        }
        assert!(cache.get(&digest(1)).is_some());
        cache.insert(digest(4), tree(5000));
        let kept: Vec<u8> = (1..=4).filter(|of| cache.get(&digest(*of)).is_some()).collect();
        assert_eq!((kept, cache.size(), cache.len()), (vec![1, 4], 8000, 2));
    }

    #[test]
    fn what_exceeds_the_budget_is_not_kept_and_displaces_nothing() {
        let mut cache = Cache::new(10_000);
        cache.insert(digest(1), tree(10_000));
        cache.insert(digest(2), tree(10_001));
        assert!(cache.get(&digest(1)).is_some() && cache.get(&digest(2)).is_none());
    }

    #[test]
    fn the_same_digest_again_counts_once() {
        let mut cache = Cache::new(10_000);
        cache.insert(digest(1), tree(4000));
        cache.insert(digest(1), tree(4000));
        assert_eq!((cache.size(), cache.len(), cache.by_use.len()), (4000, 1, 1));
    }
}
