//! A repository behind HTTP: its branches are asked for at each look, a new commit is fetched whole, without its history,
//! into a bare repository that holds just that one.
//!
//! libgit2 could fetch by itself only through a transport that needs `unsafe` code to be registered.

use std::error::Error as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use git2::Oid;
use manifest::FileTree;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response};
use tokio::sync::Mutex;
use url::Url;

use super::smart_http::{Advertisement, PackHead};
use super::{GitError, Revision, commit};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// More than the branches and tags of the largest public repositories need.
const MAX_ADVERTISEMENT: usize = 64 << 20;
/// Points at the commit once the whole of it is in the cache.
const FETCHED: &str = "refs/flux-porter/fetched";

/// Where a repository is, and what is known of it since the last look.
#[derive(Debug)]
pub(crate) struct RemoteRepository {
    url: Url,
    branch: Option<String>,
    cache: PathBuf,
    client: Client,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    /// Where the server answered, after redirects.
    base: Url,
    advertisement: Advertisement,
}

impl RemoteRepository {
    pub(super) fn new(url: Url, branch: Option<String>, cache: PathBuf) -> Result<Self, GitError> {
        let client = Client::builder()
            .user_agent(concat!("git/flux-porter-", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build()
            .map_err(|error| failed(&url, error))?;
        Ok(Self { url, branch, cache, client, seen: Mutex::new(None) })
    }

    pub(super) async fn revision(&self) -> Result<Revision, GitError> {
        let mut url = below(&self.url, "info/refs");
        url.set_query(Some("service=git-upload-pack"));
        // reqwest takes credentials out of the URL and sends them as basic authentication.
        let response = self.client.get(url).header(ACCEPT, "*/*").send().await;
        let mut response = self.accepted(response, "application/x-git-upload-pack-advertisement")?;
        let base = self.base_after_redirects(response.url());
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| failed(&self.url, error))? {
            if answer.len() + piece.len() > MAX_ADVERTISEMENT {
                return Err(GitError::Protocol("the list of branches does not end".to_owned()));
            }
            answer.extend_from_slice(&piece);
        }
        let advertisement = Advertisement::parse(&answer)?;
        let revision = advertisement.revision(self.branch.as_deref())?;
        *self.seen.lock().await = Some(Seen { base, advertisement });
        Ok(revision)
    }

    pub(super) async fn tree(&self, revision: &Revision, path: &str) -> anyhow::Result<FileTree> {
        if let Some(repository) = self.cached(revision.commit) {
            return commit::files(&repository, revision.commit, path);
        }
        let repository = self.fetch(revision.commit).await?;
        commit::files(&repository, revision.commit, path)
    }

    fn cached(&self, commit: Oid) -> Option<git2::Repository> {
        let repository = git2::Repository::open_bare(&self.cache).ok()?;
        let fetched = repository.find_reference(FETCHED).ok()?.target();
        (fetched == Some(commit)).then_some(repository)
    }

    async fn fetch(&self, commit: Oid) -> Result<git2::Repository, GitError> {
        let seen = self.seen.lock().await;
        let seen = seen.as_ref().ok_or_else(|| GitError::Protocol("the branches were not asked for".to_owned()))?;
        let request = self
            .client
            .post(below(&seen.base, "git-upload-pack"))
            .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
            .header(ACCEPT, "application/x-git-upload-pack-result")
            .body(seen.advertisement.request(commit));
        let mut response = self.accepted(request.send().await, "application/x-git-upload-pack-result")?;

        if self.cache.exists() {
            fs::remove_dir_all(&self.cache).map_err(|error| self.unwritable(error))?;
        }
        let repository = git2::Repository::init_bare(&self.cache)?;
        {
            let objects = repository.odb()?;
            let mut writer = objects.packwriter()?;
            let mut head = PackHead::default();
            while let Some(piece) = response.chunk().await.map_err(|error| failed(&self.url, error))? {
                writer.write_all(head.push(&piece)?).map_err(|error| self.unwritable(error))?;
            }
            if !head.is_done() {
                return Err(GitError::Protocol("the answer broke off before the pack".to_owned()));
            }
            writer.commit()?;
        }
        repository.find_commit(commit)?;
        repository.reference(FETCHED, commit, true, "fetched")?;
        Ok(repository)
    }

    fn accepted(&self, response: reqwest::Result<Response>, content_type: &str) -> Result<Response, GitError> {
        let response = response.map_err(|error| failed(&self.url, error))?;
        if !response.status().is_success() {
            return Err(GitError::Status { server: server(&self.url), status: response.status().as_u16() });
        }
        let given = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if given.split(';').next() != Some(content_type) {
            return Err(GitError::Protocol(format!("its type is {given:?}: is the URL that of a git repository?")));
        }
        Ok(response)
    }

    /// Where the server that was asked sent us, with the credentials when it is still the same server.
    fn base_after_redirects(&self, answered: &Url) -> Url {
        let mut base = answered.clone();
        base.set_query(None);
        let path = base.path().trim_end_matches("/info/refs").to_owned();
        base.set_path(&path);
        if base.origin() == self.url.origin() {
            // Neither fails for http and https.
            let _ = base.set_username(self.url.username());
            let _ = base.set_password(self.url.password());
        }
        base
    }

    fn unwritable(&self, error: std::io::Error) -> GitError {
        GitError::Cache { path: self.cache.clone(), error }
    }
}

fn below(url: &Url, path: &str) -> Url {
    let mut below = url.clone();
    below.set_query(None);
    below.set_fragment(None);
    below.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
    below
}

fn server(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn failed(url: &Url, error: reqwest::Error) -> GitError {
    let error = error.without_url();
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        told.push_str(&format!(": {next}"));
        cause = next.source();
    }
    GitError::Http { server: server(url), error: told }
}
