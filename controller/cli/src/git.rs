//! A git repository as a source: which commit a branch is at, and the files of that commit.
//!
//! A repository on this machine is opened where it is and only read; one behind HTTP is fetched into a bare repository of
//! ours. Nothing is ever checked out.
//!
//! Invariant: credentials in a URL go to the server that it names and nowhere else, no message holds them.

mod commit;
mod local;
mod pkt_line;
mod remote;
mod smart_http;

use std::fmt;
use std::path::{Path, PathBuf};

use git2::Oid;
use manifest::FileTree;
use url::Url;

/// A commit, and the branch that it was found at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    /// The branch, or `HEAD` when that names none.
    pub(crate) branch: String,
    /// The commit.
    pub(crate) commit: Oid,
}

/// `main@sha1:<commit>`, as Flux writes it.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@sha1:{}", self.branch, self.commit)
    }
}

/// Why a repository cannot be followed, now or at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// The address is none that can be followed.
    #[error("--repo: {0}")]
    Address(String),
    /// The repository has no such branch.
    #[error("the repository has no branch {0}; push it, or name another with --branch")]
    NoBranch(String),
    /// `HEAD` leads nowhere.
    #[error("the repository has no commit at its HEAD yet; push one, or name a branch with --branch")]
    NoHead,
    /// libgit2 says no.
    #[error("cannot read the repository: {}", .0.message())]
    Git(git2::Error),
    /// The server cannot be reached, or the answer broke off. Without the URL, which may hold credentials.
    #[error("cannot fetch from {server}: {error}")]
    Http {
        /// Scheme, host and port.
        server: String,
        /// What went wrong, with its causes.
        error: String,
    },
    /// The server answered with an error.
    #[error("{server} answered {status}{}", advice(*status))]
    Status {
        /// Scheme, host and port.
        server: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server does not speak git's smart protocol, or refuses.
    #[error("unexpected answer of the git server: {0}")]
    Protocol(String),
    /// The cache cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Cache {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Not as the source of the error: its message is told in ours.
impl From<git2::Error> for GitError {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "; put a user and a token that may read the repository into the URL",
        404 => "; is the URL right, and may the user read the repository?",
        _ => "",
    }
}

/// Where a repository is.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// On this machine.
    Local(PathBuf),
    /// Behind HTTP.
    Remote(Url),
}

impl Address {
    /// Reads a path or URL.
    ///
    /// # Errors
    /// When it is of a kind that is not supported.
    pub(crate) fn parse(typed: &str) -> Result<Self, GitError> {
        if !typed.contains("://") {
            let path = Path::new(typed);
            let looks_like_ssh = typed.split_once(':').is_some_and(|(host, _)| host.contains('@'));
            if looks_like_ssh && !path.exists() {
                return Err(GitError::Address("SSH is not supported; give an https:// URL".to_owned()));
            }
            return Ok(Self::Local(path.to_owned()));
        }
        let url = Url::parse(typed).map_err(|error| GitError::Address(format!("the URL is wrong: {error}")))?;
        match url.scheme() {
            "file" => {
                let path = url.to_file_path();
                Ok(Self::Local(path.map_err(|()| GitError::Address("file:// needs an absolute path".into()))?))
            }
            "http" | "https" => Ok(Self::Remote(url)),
            scheme => Err(GitError::Address(format!(
                "{scheme}:// is not supported; give a path, or a file://, http:// or https:// URL"
            ))),
        }
    }

    /// Where a directory of the repository is checked out on this machine, or all of a repository without a work tree;
    /// nothing when it is elsewhere, or cannot be read.
    pub(crate) fn work_tree(&self, path: &str) -> Option<PathBuf> {
        match self {
            Self::Local(repository) => local::work_tree(repository, path),
            Self::Remote(_) => None,
        }
    }
}

/// A repository that can be followed.
#[derive(Debug)]
pub(crate) enum Repository {
    /// On this machine.
    Local(local::LocalRepository),
    /// Behind HTTP.
    Remote(Box<remote::RemoteRepository>),
}

impl Repository {
    /// The repository at an address; `branch` is followed, or else what `HEAD` names. It is not looked at yet.
    ///
    /// # Errors
    /// When nothing can be asked over HTTP.
    pub(crate) fn new(address: Address, branch: Option<String>, cache: PathBuf) -> Result<Self, GitError> {
        Ok(match address {
            Address::Local(path) => Self::Local(local::LocalRepository::new(path, branch)),
            Address::Remote(url) => Self::Remote(Box::new(remote::RemoteRepository::new(url, branch, cache)?)),
        })
    }

    /// The commit that the branch is at now.
    ///
    /// # Errors
    /// When the repository cannot be read, or lacks the branch.
    pub(crate) async fn revision(&self) -> Result<Revision, GitError> {
        match self {
            Self::Local(local) => local.revision(),
            Self::Remote(remote) => remote.revision().await,
        }
    }

    /// What a build of a directory of a commit needs. Symbolic links and submodules are passed over.
    ///
    /// # Errors
    /// When the commit cannot be read or fetched, or holds more than a build may use.
    pub(crate) async fn tree(&self, revision: &Revision, path: &str) -> anyhow::Result<FileTree> {
        match self {
            Self::Local(local) => local.tree(revision, path),
            Self::Remote(remote) => remote.tree(revision, path).await,
        }
    }
}
