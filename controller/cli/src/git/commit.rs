//! A commit of an object database as a source, without a checkout.

use std::path::Path;

use anyhow::Context as _;
use git2::{ObjectType, Oid, Repository, Tree, TreeEntry};
use manifest::FileTree;

use super::GitError;
use crate::reach::{self, Files, Kind, join};

const SYMBOLIC_LINK: i32 = 0o120_000;

/// What a build of a directory of a commit needs. Symbolic links, submodules and files whose names are no UTF-8, or no
/// paths of a source, are passed over.
pub(super) fn files(repository: &Repository, commit: Oid, path: &str) -> anyhow::Result<FileTree> {
    let tree = repository.find_commit(commit).and_then(|commit| commit.tree()).map_err(GitError::from)?;
    // Of a path that leads outside, the build tells.
    let Ok(path) = FileTree::clean(path) else { return Ok(FileTree::new()) };
    Ok(reach::read(Commit { repository, tree }, &path)?.tree)
}

struct Commit<'r> {
    repository: &'r Repository,
    tree: Tree<'r>,
}

impl Commit<'_> {
    fn id(&self, path: &str) -> anyhow::Result<Oid> {
        let entry = self.tree.get_path(Path::new(path)).map_err(GitError::from);
        Ok(entry.with_context(|| format!("cannot read {path}"))?.id())
    }
}

impl Files for Commit<'_> {
    fn kind(&mut self, path: &str) -> Option<Kind> {
        if path.is_empty() {
            return Some(Kind::Directory);
        }
        kind_of(&self.tree.get_path(Path::new(path)).ok()?)
    }

    fn entries(&self, directory: &str) -> anyhow::Result<Vec<(String, Kind)>> {
        let below = match directory {
            "" => self.tree.clone(),
            directory => self.repository.find_tree(self.id(directory)?).map_err(GitError::from)?,
        };
        let entries = below.iter().filter_map(|entry| {
            let name = entry.name().ok().filter(|name| FileTree::clean(name).is_ok_and(|clean| clean == *name))?;
            Some((join(directory, name), kind_of(&entry).filter(|kind| *kind != Kind::Link)?))
        });
        Ok(entries.collect())
    }

    fn size(&self, path: &str) -> anyhow::Result<u64> {
        let (size, _) = self.repository.odb()?.read_header(self.id(path)?).map_err(GitError::from)?;
        Ok(size.try_into()?)
    }

    fn content(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let blob = self.repository.find_blob(self.id(path)?).map_err(GitError::from)?;
        Ok(blob.content().to_vec())
    }

    fn is_outside(&self, _: &str, _: &str) -> bool {
        false
    }
}

fn kind_of(entry: &TreeEntry<'_>) -> Option<Kind> {
    match entry.kind() {
        Some(ObjectType::Tree) => Some(Kind::Directory),
        Some(ObjectType::Blob) if entry.filemode() == SYMBOLIC_LINK => Some(Kind::Link),
        Some(ObjectType::Blob) => Some(Kind::File),
        _ => None,
    }
}
