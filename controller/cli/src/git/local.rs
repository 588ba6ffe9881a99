//! A repository on this machine, with or without a work tree: opened where it is, and only read.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, RepositoryOpenFlags};
use manifest::FileTree;

use super::{GitError, Revision, commit};

/// Where a repository is. It is opened for each look, so it may be replaced in the meantime.
#[derive(Debug)]
pub(crate) struct LocalRepository {
    path: PathBuf,
    branch: Option<String>,
}

impl LocalRepository {
    pub(super) fn new(path: PathBuf, branch: Option<String>) -> Self {
        Self { path, branch }
    }

    pub(super) fn revision(&self) -> Result<Revision, GitError> {
        let repository = self.open()?;
        let branch = match &self.branch {
            Some(branch) => branch.clone(),
            None => {
                let head = repository.find_reference("HEAD")?;
                let target = head.symbolic_target()?.map(str::to_owned);
                match target.as_deref().and_then(|target| target.strip_prefix("refs/heads/")) {
                    Some(branch) => branch.to_owned(),
                    None => {
                        let commit = head.peel_to_commit().map_err(|_| GitError::NoHead)?.id();
                        return Ok(Revision { branch: "HEAD".to_owned(), commit });
                    }
                }
            }
        };
        let found = repository.find_reference(&format!("refs/heads/{branch}"));
        match found.and_then(|reference| reference.peel_to_commit()) {
            Ok(commit) => Ok(Revision { branch, commit: commit.id() }),
            Err(error) if error.code() == ErrorCode::NotFound && self.branch.is_none() => Err(GitError::NoHead),
            Err(error) if error.code() == ErrorCode::NotFound => Err(GitError::NoBranch(branch)),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn tree(&self, revision: &Revision, path: &str) -> anyhow::Result<FileTree> {
        commit::files(&self.open()?, revision.commit, path)
    }

    fn open(&self) -> Result<git2::Repository, GitError> {
        open(&self.path)
    }
}

/// This directory and no other: not the repository that it may lie in.
fn open(path: &Path) -> Result<git2::Repository, GitError> {
    let ceilings: [&str; 0] = [];
    Ok(git2::Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, ceilings)?)
}

/// Where a directory of a repository is checked out, or all of a bare one.
pub(super) fn work_tree(repository: &Path, path: &str) -> Option<PathBuf> {
    let repository = open(repository).ok()?;
    let path = FileTree::clean(path).ok()?;
    let place = repository.workdir().map_or_else(|| repository.path().to_owned(), |root| root.join(path));
    Some(place.canonicalize().unwrap_or(place))
}
