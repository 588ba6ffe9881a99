//! A commit of an object database to a [`FileTree`], without a checkout.

use git2::{ObjectType, Oid, Repository, Tree};
use manifest::{FileTree, PathError};

use super::GitError;

const SYMBOLIC_LINK: i32 = 0o120_000;

/// The files of a commit. Symbolic links, submodules and files whose names are no UTF-8 are passed over.
pub(super) fn files(repository: &Repository, commit: Oid) -> Result<FileTree, GitError> {
    let mut files = FileTree::new();
    let tree = repository.find_commit(commit)?.tree()?;
    add(repository, &tree, "", &mut files)?;
    Ok(files)
}

fn add(repository: &Repository, tree: &Tree<'_>, prefix: &str, files: &mut FileTree) -> Result<(), GitError> {
    for entry in tree.iter() {
        let Ok(name) = entry.name() else { continue };
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        match entry.kind() {
            Some(ObjectType::Tree) => add(repository, &repository.find_tree(entry.id())?, &path, files)?,
            Some(ObjectType::Blob) if entry.filemode() != SYMBOLIC_LINK => {
                let blob = repository.find_blob(entry.id())?;
                match files.insert(&path, blob.content().to_vec()) {
                    // No path that a document could be at, or be named by.
                    Ok(()) | Err(PathError::Character(_)) => {}
                    Err(error) => return Err(GitError::Protocol(format!("a tree of the commit is damaged: {error}"))),
                }
            }
            _ => {}
        }
    }
    Ok(())
}
