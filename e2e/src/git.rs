//! A git server over smart HTTP, and repositories to push to.
//!
//! The server hands each request to `git http-backend` in the way of a web server that speaks CGI, so clients meet
//! git's own protocol.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;

/// More than any test pushes at once.
const MAX_REQUEST: usize = 256 << 20;

/// Serves every repository below a folder, for reading and pushing, to anybody on the loopback interface.
#[derive(Clone, Debug)]
pub struct GitServer {
    repositories: PathBuf,
    clones: PathBuf,
    url: String,
}

impl GitServer {
    /// Serves on a free loopback port for as long as the runtime it was started on lives.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let repositories = folder.join("repositories");
        let clones = folder.join("clones");
        std::fs::create_dir_all(&repositories)?;
        std::fs::create_dir_all(&clones)?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot open a port for the git server")?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(serve).with_state(Arc::new(repositories.clone()));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the git server ended");
            }
        });
        Ok(Self { repositories, clones, url })
    }

    /// Makes an empty repository with the branch `main`. The name may hold slashes.
    ///
    /// # Errors
    /// When git fails, or the repository exists.
    pub async fn create(&self, name: &str) -> Result<GitRepository> {
        let bare = self.repositories.join(format!("{name}.git"));
        ensure!(!bare.exists(), "there is a git repository {name} already");
        std::fs::create_dir_all(&bare)?;
        git(&bare, ["init", "--quiet", "--bare", "--initial-branch=main"]).await?;
        git(&bare, ["config", "http.receivepack", "true"]).await?;
        let url = format!("{}/{name}.git", self.url);
        let clone = self.clones.join(name);
        std::fs::create_dir_all(&clone)?;
        git(&clone, ["init", "--quiet", "--initial-branch=main"]).await?;
        git(&clone, ["remote", "add", "origin", &url]).await?;
        Ok(GitRepository { url, clone: Arc::new(tokio::sync::Mutex::new(clone)) })
    }
}

/// A repository on the [`GitServer`], with a clone to commit in.
#[derive(Clone, Debug)]
pub struct GitRepository {
    url: String,
    clone: Arc<tokio::sync::Mutex<PathBuf>>,
}

impl GitRepository {
    /// Where clients fetch from and push to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A commit to be made, on `main` unless told otherwise. Nothing happens before [`Commit::push`].
    pub fn commit(&self, message: &str) -> Commit<'_> {
        Commit { repository: self, message: message.to_owned(), branch: "main".to_owned(), changes: BTreeMap::new() }
    }
}

/// Changes that become one commit.
#[derive(Debug)]
#[must_use = "nothing is committed before `push`"]
pub struct Commit<'a> {
    repository: &'a GitRepository,
    message: String,
    branch: String,
    changes: BTreeMap<String, Option<Vec<u8>>>,
}

impl Commit<'_> {
    /// Commits on another branch; one that does not exist yet starts at the commit that was pushed last.
    pub fn branch(mut self, branch: &str) -> Self {
        self.branch = branch.to_owned();
        self
    }

    /// Writes a file, over what is there.
    pub fn write(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.changes.insert(path.to_owned(), Some(content.into()));
        self
    }

    /// Removes a file or a folder.
    pub fn remove(mut self, path: &str) -> Self {
        self.changes.insert(path.to_owned(), None);
        self
    }

    /// Commits and pushes; gives the commit's full hash. A commit that changes nothing is made too.
    ///
    /// # Errors
    /// When git fails, or a path to remove is not there.
    pub async fn push(self) -> Result<String> {
        let clone = self.repository.clone.lock().await;
        let branch = self.branch.as_str();
        let current = git(&clone, ["symbolic-ref", "--short", "HEAD"]).await?;
        if current != branch && git(&clone, ["switch", "--quiet", branch]).await.is_err() {
            git(&clone, ["switch", "--quiet", "--create", branch]).await?;
        }
        for (path, content) in &self.changes {
            let file = clone.join(path);
            match content {
                Some(content) => {
                    if let Some(folder) = file.parent() {
                        std::fs::create_dir_all(folder)?;
                    }
                    std::fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
                }
                None if file.is_dir() => std::fs::remove_dir_all(&file)?,
                None => std::fs::remove_file(&file).with_context(|| format!("cannot remove {path}"))?,
            }
        }
        git(&clone, ["add", "--all", "--force", "."]).await?;
        git(&clone, ["commit", "--quiet", "--allow-empty", "-m", &self.message]).await?;
        git(&clone, ["push", "--quiet", "origin", branch]).await?;
        git(&clone, ["rev-parse", "HEAD"]).await
    }
}

/// Runs git in `folder`, whatever the configuration of whoever runs the tests, and gives its trimmed output.
async fn git<A: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = A>) -> Result<String> {
    let mut command = Command::new("git");
    isolate(&mut command).current_dir(folder).args(arguments).stdin(Stdio::null());
    let output = command.output().await.context("cannot run git; is it installed?")?;
    if !output.status.success() {
        let arguments: Vec<_> = command.as_std().get_args().map(OsStr::to_string_lossy).collect();
        bail!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn isolate(command: &mut Command) -> &mut Command {
    for person in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{person}_NAME"), "Test").env(format!("GIT_{person}_EMAIL"), "test@example.com");
    }
    for variable in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GIT_DIR"] {
        command.env_remove(variable);
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .kill_on_drop(true)
}

async fn serve(State(repositories): State<Arc<PathBuf>>, request: Request) -> Response<Body> {
    match backend(&repositories, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!("the git server: {error:#}");
            let mut response = Response::new(Body::from(format!("{error:#}\n")));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// One request as RFC 3875 asks: variables and standard input in, headers and a body out.
async fn backend(repositories: &Path, request: Request) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_REQUEST).await.context("cannot read the request")?;
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let mut command = Command::new("git");
    isolate(&mut command)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", repositories)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "test")
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = header(name) {
            command.env(variable, value);
        }
    }
    let mut child = command.spawn().context("cannot run git http-backend; is git installed?")?;
    let mut input = child.stdin.take().context("git http-backend has no standard input")?;
    // Both at once: a pipe holds less than either may be.
    let (_, output) = tokio::join!(
        async move {
            let _ = input.write_all(&body).await;
        },
        child.wait_with_output()
    );
    let output = output?;
    response(&output.stdout).with_context(|| format!("git http-backend: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The answer of a CGI program: header lines, an empty line, the body.
fn response(output: &[u8]) -> Result<Response<Body>> {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").context("its answer has no end of headers")?;
    let (head, body) = (output.get(..end).unwrap_or_default(), output.get(end + 4..).unwrap_or_default());
    let mut response = Response::new(Body::from(body.to_vec()));
    for line in std::str::from_utf8(head)?.split("\r\n") {
        let (name, value) = line.split_once(':').with_context(|| format!("it sent the header line {line:?}"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            *response.status_mut() = value.split(' ').next().unwrap_or_default().parse()?;
        } else {
            response.headers_mut().append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
    }
    Ok(response)
}
