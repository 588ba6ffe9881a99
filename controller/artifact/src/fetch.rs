//! [`Fetcher`]: one download for all who ask for a digest, with retries, a deadline and a cache.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use manifest::FileTree;
use reqwest::header::{ACCEPT_ENCODING, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::sync::{Semaphore, mpsc};
use url::Url;

use crate::body::{Body, Chunk};
use crate::cache::{self, Cache};
use crate::digest::Digest;
use crate::error::{FetchError, Limit};
use crate::memory::{Memory, Unpacked};
use crate::unpack::{Limits, UnpackError, unpack};

/// Chunks of a body that may wait for the unpacking thread: some hundred KiB, and the connection waits with them.
const CHUNKS: usize = 16;
/// Redirects that are followed.
const REDIRECTS: usize = 3;

/// The artifact of a source, as its `status.artifact` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactRef {
    /// Where the archive is.
    pub url: String,
    /// `algorithm:hex` over the compressed archive; bare hex means SHA-256.
    pub digest: String,
    /// For log lines only; two revisions of one digest are one tree.
    pub revision: String,
}

/// How artifacts are fetched. Every field has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What an artifact may cost.
    pub limits: Limits,
    /// For one download, all attempts included, however long those who ask would wait; 60 s.
    pub timeout: Duration,
    /// For a connection to open; 5 s.
    pub connect_timeout: Duration,
    /// Silence on a connection after which the attempt is given up; 15 s.
    pub read_timeout: Duration,
    /// Attempts after the first; 9. The deadline ends them as well.
    pub retries: usize,
    /// The wait before the first retry; it doubles, with jitter; 500 ms.
    pub min_delay: Duration,
    /// The longest wait between attempts; 10 s.
    pub max_delay: Duration,
    /// Downloads at the same time; 16. Who joins one that is under way, or finds its artifact in the cache, waits for none.
    pub concurrent: usize,
    /// Budget of the cache, in bytes of names and contents; 128 MiB. 0 keeps nothing.
    pub cache_bytes: usize,
    /// Budget of all trees that there are at a time, in bytes; 512 MiB. What is cached counts, and gives way.
    pub memory_bytes: u64,
    /// Replaces the host (and port) of URLs: the value of `SOURCE_CONTROLLER_LOCALHOST`, to run outside the cluster.
    pub source_controller_host: Option<String>,
    /// The same for URLs that hold `//source-watcher`: the value of `SOURCE_WATCHER_LOCALHOST`.
    pub source_watcher_host: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(15),
            retries: 9,
            min_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(10),
            concurrent: 16,
            cache_bytes: 128 << 20,
            memory_bytes: 512 << 20,
            source_controller_host: None,
            source_watcher_host: None,
        }
    }
}

/// Counts since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Downloads that were begun; retries are not counted again.
    pub downloads: u64,
    /// Downloads that gave no tree.
    pub failures: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Requests that the cache answered.
    pub cache_hits: u64,
    /// Requests that joined a download under way.
    pub joined: u64,
    /// Compressed bytes received.
    pub bytes_downloaded: u64,
    /// Bytes of the names and contents of the trees made.
    pub bytes_unpacked: u64,
    /// Trees in the cache now.
    pub cached_trees: u64,
    /// Bytes in the cache now.
    pub cached_bytes: u64,
}

/// The HTTP client that artifacts need: bodies arrive as they are on the server, since the digest is over those bytes.
/// Proxies of the environment are not used: artifacts are served inside the cluster.
///
/// # Errors
/// When the TLS backend cannot be set up.
pub fn http_client(options: &Options) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(concat!("porter-flux/", env!("CARGO_PKG_VERSION")))
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .no_proxy()
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
        .build()
}

/// Fetches artifacts. Clones share the cache, the downloads under way and the counts.
#[derive(Clone)]
pub struct Fetcher {
    shared: Arc<Inner>,
}

struct Inner {
    options: Options,
    client: reqwest::Client,
    places: Semaphore,
    memory: Memory,
    state: Mutex<State>,
    counts: Counts,
}

struct State {
    cache: Cache<Unpacked>,
    flights: HashMap<Digest, Flight>,
}

type Outcome = Result<Arc<Unpacked>, FetchError>;

/// A download under way. It is driven by those who wait for it, and ends with the last of them.
struct Flight {
    url: String,
    told: Arc<Mutex<Told>>,
    outcome: WeakShared<BoxFuture<'static, Outcome>>,
}

#[derive(Default)]
struct Counts {
    downloads: AtomicU64,
    failures: AtomicU64,
    retries: AtomicU64,
    cache_hits: AtomicU64,
    joined: AtomicU64,
    bytes_downloaded: AtomicU64,
    bytes_unpacked: AtomicU64,
}

fn count(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// What a request is to wait for.
enum Found {
    Tree(Arc<Unpacked>),
    Flight { url: String, told: Arc<Mutex<Told>>, outcome: Shared<BoxFuture<'static, Outcome>> },
}

impl Fetcher {
    /// A fetcher with an empty cache. The client should be one of [`http_client`]; one that decompresses bodies makes
    /// every digest wrong.
    #[must_use]
    pub fn new(options: Options, client: reqwest::Client) -> Self {
        let state = Mutex::new(State { cache: Cache::new(options.cache_bytes), flights: HashMap::new() });
        let (places, memory) = (Semaphore::new(options.concurrent), Memory::new(options.memory_bytes));
        Self { shared: Arc::new(Inner { options, client, places, memory, state, counts: Counts::default() }) }
    }

    /// The tree of an artifact: from the cache, from a download under way, or downloaded; within the time given.
    ///
    /// Dropping the future, or the end of its time, stops the download when nobody else waits for it.
    ///
    /// # Errors
    /// See [`FetchError`]. An error is not kept: the next call tries again.
    pub async fn fetch(&self, request: &ArtifactRef, within: Duration) -> Result<Arc<Unpacked>, FetchError> {
        let digest: Digest =
            request.digest.parse().map_err(|error| FetchError::NoDigest { url: shown_text(&request.url), error })?;
        let url = self.shared.options.locate(&request.url)?;
        let mut waits_for = None;
        let outcome = tokio::time::timeout(within, self.outcome(&url, &digest, &mut waits_for)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            let last = waits_for.and_then(|told| locked(&told).last.clone());
            Err(FetchError::Deadline { url: shown(&url), timeout: rounded(within), last })
        });
        if let Err(error) = &outcome {
            tracing::debug!(revision = request.revision, %error, "artifact not fetched");
        }
        outcome
    }

    /// Waits for a download, and notes what that one has to tell.
    async fn outcome(&self, url: &Url, digest: &Digest, waits_for: &mut Option<Arc<Mutex<Told>>>) -> Outcome {
        loop {
            match self.find(url, digest) {
                Found::Tree(tree) => return Ok(tree),
                Found::Flight { url: theirs, told, outcome } => {
                    let ours = theirs == url.as_str();
                    *waits_for = ours.then_some(told);
                    match outcome.await {
                        // Another URL failed; that says nothing of this one.
                        Err(_) if !ours => {}
                        outcome => return outcome,
                    }
                }
            }
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let counts = &self.shared.counts;
        let state = self.shared.state();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            downloads: read(&counts.downloads),
            failures: read(&counts.failures),
            retries: read(&counts.retries),
            cache_hits: read(&counts.cache_hits),
            joined: read(&counts.joined),
            bytes_downloaded: read(&counts.bytes_downloaded),
            bytes_unpacked: read(&counts.bytes_unpacked),
            cached_trees: state.cache.len() as u64,
            cached_bytes: state.cache.size() as u64,
        }
    }

    /// Looks and begins under one lock, so that two requests cannot both begin.
    fn find(&self, url: &Url, digest: &Digest) -> Found {
        let counts = &self.shared.counts;
        let mut state = self.shared.state();
        if let Some(tree) = state.cache.get(digest) {
            count(&counts.cache_hits, 1);
            return Found::Tree(tree);
        }
        if let Some(flight) = state.flights.get(digest)
            && let Some(outcome) = flight.outcome.upgrade()
            // One that is over took itself off the list, unless it panicked.
            && outcome.peek().is_none()
        {
            count(&counts.joined, 1);
            return Found::Flight { url: flight.url.clone(), told: Arc::clone(&flight.told), outcome };
        }
        count(&counts.downloads, 1);
        let inner = Arc::clone(&self.shared);
        let told = Arc::new(Mutex::new(Told::default()));
        let outcome = {
            let (url, digest, told) = (url.clone(), digest.clone(), Arc::clone(&told));
            async move { inner.fly(url, digest, &told).await }.boxed().shared()
        };
        state.flights.retain(|_, flight| flight.outcome.upgrade().is_some());
        if let Some(weak) = outcome.downgrade() {
            let flight = Flight { url: url.as_str().to_owned(), told: Arc::clone(&told), outcome: weak };
            state.flights.insert(digest.clone(), flight);
        }
        Found::Flight { url: url.as_str().to_owned(), told, outcome }
    }
}

impl Options {
    /// The URL to ask, with the host that stands for the one inside the cluster.
    fn locate(&self, given: &str) -> Result<Url, FetchError> {
        let unusable = |reason: String| FetchError::Url { url: shown_text(given), reason };
        let mut url = Url::parse(given).map_err(|error| unusable(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(unusable("only http and https are served by sources".to_owned()));
        }
        let host = if given.contains("//source-watcher") {
            self.source_watcher_host.as_deref()
        } else {
            self.source_controller_host.as_deref()
        };
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            let override_error =
                |reason: String| unusable(format!("the host {host:?} that replaces its own: {reason}"));
            let other = Url::parse(&format!("{}://{host}/", url.scheme()))
                .map_err(|error| override_error(error.to_string()))?;
            url.set_host(other.host_str()).map_err(|error| override_error(error.to_string()))?;
            url.set_port(other.port()).map_err(|()| override_error("its port cannot be used".to_owned()))?;
        }
        Ok(url)
    }
}

/// A URL as it may be told: without user, password, query and fragment.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // These fail only for URLs without a host, which have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn shown_text(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.split(['?', '#']).next().unwrap_or_default().to_owned(), |url| shown(&url))
}

/// To tenths of a second: who asks gives what is left of a time, and means that time.
fn rounded(time: Duration) -> Duration {
    Duration::from_millis(100 * u64::try_from((time.as_millis() + 50) / 100).unwrap_or(u64::MAX / 100))
}

/// What became of one attempt.
enum Failure {
    /// Another attempt may do better; not before this time, if the server named one.
    Again {
        reason: String,
        after: Option<Duration>,
    },
    Final(FetchError),
}

/// What the attempts so far leave for the error that ends them.
#[derive(Default)]
struct Told {
    attempts: u32,
    last: Option<String>,
}

/// No code panics while it holds one of these locks, and what they guard is whole between two statements.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// The whole of a download, then its end: into the cache, off the list.
    async fn fly(&self, url: Url, digest: Digest, told: &Mutex<Told>) -> Outcome {
        let outcome = self.downloaded(&url, &digest, told).await.map(Arc::new);
        let mut state = self.state();
        state.flights.remove(&digest);
        match &outcome {
            Ok(tree) => {
                count(&self.counts.bytes_unpacked, tree.size() as u64);
                if !self.memory.is_short() {
                    state.cache.insert(digest, Arc::clone(tree));
                }
            }
            Err(_) => count(&self.counts.failures, 1),
        }
        outcome
    }

    /// A place among the downloads is waited for, however long: each who asks has a time of its own.
    async fn downloaded(&self, url: &Url, digest: &Digest, told: &Mutex<Told>) -> Result<Unpacked, FetchError> {
        if self.places.available_permits() == 0 {
            locked(told).last =
                Some(format!("it waited for one of {} other downloads to end", self.options.concurrent));
        }
        // Never closed.
        let _place = self.places.acquire().await;
        self.download(url, digest, told).await
    }

    /// Attempts until one gives an answer, the retries are used up or the time is over.
    async fn download(&self, url: &Url, digest: &Digest, told: &Mutex<Told>) -> Result<Unpacked, FetchError> {
        let told = || locked(told);
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.options.min_delay)
            .with_max_delay(self.options.max_delay)
            .with_max_times(self.options.retries)
            .with_jitter();
        let attempts = (|| async {
            {
                let mut progress = told();
                progress.attempts += 1;
                if progress.attempts > 1 {
                    count(&self.counts.retries, 1);
                }
            }
            self.attempt(url, digest).await
        })
        .retry(backoff)
        .when(|failure| matches!(failure, Failure::Again { .. }))
        .adjust(|failure, delay| match failure {
            Failure::Again { after: Some(after), .. } => delay.map(|delay| delay.max(*after)),
            _ => delay,
        })
        .notify(|failure, _| {
            if let Failure::Again { reason, .. } = failure {
                told().last = Some(reason.clone());
            }
        });
        match tokio::time::timeout(self.options.timeout, attempts).await {
            Ok(Ok(tree)) => Ok(tree),
            Ok(Err(Failure::Final(error))) => Err(error),
            Ok(Err(Failure::Again { reason, .. })) => {
                Err(FetchError::Transient { url: shown(url), reason, attempts: told().attempts })
            }
            Err(_) => {
                Err(FetchError::Deadline { url: shown(url), timeout: self.options.timeout, last: told().last.take() })
            }
        }
    }

    /// One request. The body goes to a thread of its own, chunk by chunk, and the tree comes back.
    async fn attempt(&self, url: &Url, digest: &Digest) -> Result<Unpacked, Failure> {
        let request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        let mut response = request.send().await.map_err(|error| request_failure(url, error))?;
        accept(url, &response)?;
        let max = self.options.limits.download_bytes;
        let too_large =
            || Failure::Final(FetchError::TooLarge { url: shown(url), limit: Limit::DownloadBytes, max, entry: None });
        if response.content_length().is_some_and(|length| length > max) {
            return Err(too_large());
        }
        let most = self.options.limits.most_unpacked(response.content_length());
        let share = self.memory.share(most, || self.state().cache.drop_oldest()).await;
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let unpacking = {
            let (algorithm, limits) = (digest.algorithm(), self.options.limits.clone());
            // The thread has the share: it may go on for a moment after nobody waits for it.
            tokio::task::spawn_blocking(move || (verify_and_unpack(Body::new(receiver, algorithm), &limits), share))
        };
        let mut received = 0;
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    let length = bytes.len() as u64;
                    received += length;
                    count(&self.counts.bytes_downloaded, length);
                    if received > max {
                        return Err(too_large());
                    }
                    if sender.send(Chunk::Data(bytes)).await.is_err() {
                        break; // The thread has seen enough and says why.
                    }
                }
                Ok(None) => {
                    let _ = sender.send(Chunk::End).await; // Refused only when the thread ended, as above.
                    break;
                }
                Err(error) => return Err(Failure::Again { reason: causes(error), after: None }),
            }
        }
        drop(sender);
        let ((unpacked, actual), share) = unpacking
            .await
            .map_err(|error| Failure::Final(FetchError::Internal { url: shown(url), reason: error.to_string() }))?;
        let tree = judge(url, digest, unpacked, actual)?;
        let bytes = cache::cost(&tree) as u64;
        Ok(share.keep(tree, bytes))
    }
}

/// Runs on a thread of its own. The digest is there when the body came to its end, whatever the archive was worth.
fn verify_and_unpack(mut body: Body, limits: &Limits) -> (Result<FileTree, UnpackError>, Option<Digest>) {
    let unpacked = unpack(&mut body, limits);
    let digest = match unpacked {
        // The rest of a bomb is not worth reading.
        Err(UnpackError::TooLarge { .. } | UnpackError::Lost) => None,
        Ok(_) | Err(UnpackError::Invalid { .. }) => body.finish(),
    };
    (unpacked, digest)
}

/// The digest has the first word: of content that is not the source's it does not matter what is wrong with it.
fn judge(
    url: &Url,
    expected: &Digest,
    unpacked: Result<FileTree, UnpackError>,
    actual: Option<Digest>,
) -> Result<FileTree, Failure> {
    let url = shown(url);
    if let Err(UnpackError::TooLarge { limit, max, entry }) = unpacked {
        return Err(Failure::Final(FetchError::TooLarge { url, limit, max, entry }));
    }
    match actual {
        Some(actual) if actual == *expected => {}
        Some(actual) => return Err(Failure::Final(FetchError::Digest { url, expected: expected.clone(), actual })),
        None => return Err(Failure::Again { reason: "the body broke off".to_owned(), after: None }),
    }
    unpacked.map_err(|error| match error {
        UnpackError::Invalid { entry, reason } => Failure::Final(FetchError::Archive { url, entry, reason }),
        UnpackError::TooLarge { limit, max, entry } => Failure::Final(FetchError::TooLarge { url, limit, max, entry }),
        UnpackError::Lost => Failure::Again { reason: "the body broke off".to_owned(), after: None },
    })
}

/// Whether a status brings a body that is worth reading.
fn accept(url: &Url, response: &Response) -> Result<(), Failure> {
    let status = response.status();
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(Failure::Final(FetchError::NotFound { url: shown(url) })),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(again(response)),
        _ if status.is_server_error() => Err(again(response)),
        _ => Err(Failure::Final(FetchError::Refused { url: shown(url), reason: format!("the server says {status}") })),
    }
}

fn again(response: &Response) -> Failure {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Failure::Again { reason: format!("the server says {}", response.status()), after: seconds.map(Duration::from_secs) }
}

fn request_failure(url: &Url, error: reqwest::Error) -> Failure {
    if error.is_builder() {
        return Failure::Final(FetchError::Url { url: shown(url), reason: causes(error) });
    }
    if error.is_redirect() {
        return Failure::Final(FetchError::Refused { url: shown(url), reason: causes(error) });
    }
    Failure::Again { reason: causes(error), after: None }
}

/// The error and what is behind it, without the URL that the caller names.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
