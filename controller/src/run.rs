//! Wiring: from the arguments to a running controller, and to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use artifact::{Fetcher, Limits, Options};
use futures::FutureExt;
use kube::{Client, Config};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::args::Args;
use crate::cluster::{Cluster, Scope};
use crate::events::Events;
use crate::inputs::SetDigests;
use crate::leader::Leadership;
use crate::log;
use crate::metrics::Metrics;
use crate::mirror::Key;
use crate::notifier::Notifier;
use crate::queue::Queue;
use crate::reconcile::{Next, Reasons, Reconciler};
use crate::server;
use crate::writer::Writer;

/// How long the API server may take to begin the answer to a list, or to the start of a watch.
const WATCH_ANSWER: Duration = Duration::from_secs(30);
/// Silence on a connection after which it is taken for dead.
const SILENCE: Duration = Duration::from_secs(150);
/// How long posts to notification-controller may take that wait in the end.
const LAST_POSTS: Duration = Duration::from_secs(5);
/// How soon a sync whose reconcile panicked is tried again.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Runs the controller until `stop` is cancelled, then lets what runs come to its end.
///
/// # Errors
/// When there is no way to reach a cluster, or an address cannot be served on. An API server that is down is no error:
/// it is waited for. When the lead is lost: what another controller writes is then not in what was seen here.
pub async fn run(args: Args, stop: CancellationToken) -> anyhow::Result<()> {
    let mut config = Config::infer().await.context("no cluster: set KUBECONFIG, or run inside one")?;
    // Its default retries one call for minutes; every request here has a deadline instead.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    // Longer than the pauses of a watch that is well: the API server sends a bookmark about once a minute.
    config.read_timeout = Some(SILENCE);
    let client = Client::try_from(config).context("the client for the API server cannot be made")?;

    for flag in args.without_effect.given() {
        tracing::info!(flag, "the flag has no effect in this controller");
    }
    for gate in &args.feature_gates.without_effect {
        tracing::info!(gate, "the feature gate has no effect in this controller");
    }
    let metrics = Arc::new(Metrics::default());
    let leadership = Leadership::start(&args, client.clone())?;
    let writer = Writer::new(client.clone(), args.api_timeout, leadership.claim(), metrics.clone());
    let options = fetch_options(&args);
    let http = artifact::http_client(&options).context("the HTTP client cannot be made")?;
    let fetcher = Fetcher::new(options, http.clone());
    let scope = if args.watch_all_namespaces { Scope::All } else { Scope::Namespace(args.runtime_namespace.clone()) };
    let cluster = Arc::new(Cluster::new(scope, &args.watch_label_selector, args.watch_secrets));
    let queue = Arc::new(Queue::default());
    let (posts, stop_posts) = (TaskTracker::new(), CancellationToken::new());
    let notifier = Notifier::start(http, &args.events_addr, &posts, stop_posts.clone());
    let reconciler = Arc::new(Reconciler {
        cluster: cluster.clone(),
        queue: queue.clone(),
        fetcher: fetcher.clone(),
        writer: writer.clone(),
        events: Events::new(writer, notifier),
        workers: Arc::new(Semaphore::new(usize::from(args.concurrent))),
        requeue_dependency: args.requeue_dependency,
        jitter: args.interval_jitter_percentage,
        no_cross_namespace_refs: args.no_cross_namespace_refs,
        additive_ready_expr: args.feature_gates.additive_cel_dependency_check,
        reasons: Reasons::new(args.run_log_lines),
        inputs: SetDigests::new(&args.runtime_namespace),
        keep_leftovers: args.keep_agent_leftovers,
        strict_substitution: args.feature_gates.strict_post_build_substitutions,
        started: tokio::time::Instant::now(),
        memory: std::sync::Mutex::default(),
    });

    let servers = TaskTracker::new();
    let stop_servers = CancellationToken::new();
    let (cannot_serve, mut failed_server) = mpsc::channel(1);
    let serve = |address, routes| {
        let (stop_servers, cannot_serve) = (stop_servers.clone(), cannot_serve.clone());
        servers.spawn(async move {
            if let Err(error) = server::serve(address, routes, stop_servers).await {
                // Of two, the first is told.
                let _ = cannot_serve.try_send(anyhow::anyhow!("cannot serve on {address}: {error}"));
            }
        });
    };
    if let Some(address) = args.health_addr.0 {
        let (cluster, claim) = (cluster.clone(), leadership.claim());
        // Who stands by is ready to lead.
        let ready = move || if claim.is_held() { cluster.synced() } else { Ok(()) };
        serve(address, server::health(Arc::new(ready)));
    }
    if let Some(address) = args.metrics_addr.0 {
        let (metrics, queue, fetcher) = (metrics.clone(), queue.clone(), fetcher.clone());
        serve(
            address,
            server::metrics(Arc::new(move || metrics.render(queue.depth(), fetcher.statistics().downloads))),
        );
    }

    let (watches, reconciles) = (TaskTracker::new(), TaskTracker::new());
    let stop_watches = CancellationToken::new();
    let work = async {
        leadership.won().await;
        // Only now: what another controller wrote before would be missing from what was seen earlier.
        let variables =
            Some(args.watch_configs_label_selector.as_str()).filter(|_| !args.feature_gates.disable_config_watchers);
        cluster.watch(&client, WATCH_ANSWER, variables, &queue, &watches, &stop_watches);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), scope = ?cluster.scope, "started");
        dispatch(&queue, &reconciler, &metrics, &reconciles).await;
    };
    let (mut lost, mut failed) = (false, None);
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => tracing::info!("stopping"),
        // A sender stays here: it waits for an error, and not for the end of all senders.
        error = failed_server.recv() => failed = error,
        () = leadership.lost() => lost = true,
    }
    // Without the lead, what is under way ends with the process, and can write nothing.
    if !lost {
        reconciles.close();
        let ended = tokio::time::timeout(args.graceful_shutdown_timeout, reconciles.wait()).await.is_ok();
        if !ended {
            tracing::warn!("reconciles were cut off; what they were doing is resumed at the next start");
        }
        leadership.end(ended).await;
    }
    posts.close();
    stop_posts.cancel();
    if tokio::time::timeout(LAST_POSTS, posts.wait()).await.is_err() {
        tracing::warn!("events were not posted: notification-controller did not answer in time");
    }
    anyhow::ensure!(!lost, "another controller may lead by now: the lease was not renewed in time");
    stop_watches.cancel();
    stop_servers.cancel();
    watches.close();
    servers.close();
    watches.wait().await;
    failed.map_or(Ok(()), Err)
}

/// What is done with a key of the queue.
trait Reconcile: Send + Sync + 'static {
    /// Reconciles one object, and says when it is to be looked at again.
    fn reconcile(&self, key: &Key) -> impl Future<Output = Next> + Send;

    /// Tells that this panicked.
    fn report_panic(&self, key: &Key) -> impl Future<Output = ()> + Send;
}

impl Reconcile for Reconciler {
    fn reconcile(&self, key: &Key) -> impl Future<Output = Next> + Send {
        Reconciler::reconcile(self, key)
    }

    fn report_panic(&self, key: &Key) -> impl Future<Output = ()> + Send {
        Reconciler::report_panic(self, key)
    }
}

/// Hands out keys for ever. A reconcile is a task of its own: neither its panic nor its slowness reaches another.
async fn dispatch(
    queue: &Arc<Queue<Key>>,
    reconciler: &Arc<impl Reconcile>,
    metrics: &Arc<Metrics>,
    tasks: &TaskTracker,
) {
    loop {
        let key = queue.next().await;
        let (queue, reconciler, metrics) = (queue.clone(), reconciler.clone(), metrics.clone());
        let span = log::span(&key);
        let work = async move {
            let started = Instant::now();
            let next = match AssertUnwindSafe(reconciler.reconcile(&key)).catch_unwind().await {
                Ok(next) => next,
                Err(_) => {
                    metrics.panicked();
                    // What it panicked of may be in what is told of it, too: the key comes again all the same.
                    if AssertUnwindSafe(reconciler.report_panic(&key)).catch_unwind().await.is_err() {
                        tracing::error!("the panic was not told");
                    }
                    Next::After(AFTER_PANIC)
                }
            };
            match next {
                Next::Gone => metrics.forget(&key.namespace, &key.name),
                Next::OnEvent | Next::After(_) => metrics.reconciled(&key.namespace, &key.name, started.elapsed()),
            }
            queue.done(key, if let Next::After(time) = next { Some(time) } else { None });
        };
        tasks.spawn(work.instrument(span));
    }
}

fn fetch_options(args: &Args) -> Options {
    Options {
        limits: Limits {
            download_bytes: args.artifact_max_download_bytes,
            entries: args.artifact_max_entries,
            file_bytes: args.artifact_max_file_bytes,
            unpacked_bytes: args.artifact_max_unpacked_bytes,
            compression_ratio: args.artifact_max_compression_ratio,
        },
        cache_bytes: args.artifact_cache_bytes,
        concurrent: usize::from(args.concurrent_fetches),
        memory_bytes: args.artifact_memory_bytes,
        retries: usize::from(args.http_retry),
        source_controller_host: args.source_controller_localhost.clone(),
        source_watcher_host: args.source_watcher_localhost.clone(),
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Panics over some names, in its report too over others; notes what it was asked for.
    #[derive(Default)]
    struct Fragile {
        asked: Mutex<Vec<String>>,
    }

    impl Fragile {
        fn note(&self, what: &str, key: &Key) -> usize {
            let mut asked = self.asked.lock().unwrap();
            asked.push(format!("{what} {}", key.name));
            asked.iter().filter(|asked| asked.ends_with(&key.name)).count()
        }
    }

    impl Reconcile for Fragile {
        async fn reconcile(&self, key: &Key) -> Next {
            let times = self.note("reconcile", key);
            match key.name.as_str() {
                "hangs" => std::future::pending().await,
                "panics" | "panics-twice" if times < 3 => panic!("on purpose"),
                _ => Next::OnEvent,
            }
        }

        async fn report_panic(&self, key: &Key) {
            self.note("report", key);
            if key.name == "panics-twice" {
                panic!("on purpose, in the report");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_a_hang_stay_with_their_own_object() {
        let (queue, fragile, metrics) =
            (Arc::<Queue<Key>>::default(), Arc::new(Fragile::default()), Arc::new(Metrics::default()));
        let names = ["hangs", "panics", "panics-twice", "well"];
        for name in names {
            queue.add(Key::new("ns", name));
        }
        let tasks = TaskTracker::new();
        let work = dispatch(&queue, &fragile, &metrics, &tasks);
        let _ = tokio::time::timeout(AFTER_PANIC / 2, work).await;
        let mut first = std::mem::take(&mut *fragile.asked.lock().unwrap());
        first.sort();
        assert_eq!(
            first,
            [
                "reconcile hangs",
                "reconcile panics",
                "reconcile panics-twice",
                "reconcile well",
                "report panics",
                "report panics-twice"
            ]
        );
        assert!(metrics.render(0, 0).contains("porter_flux_reconcile_panics_total 2"), "{}", metrics.render(0, 0));

        // Both come again, and what is well does while they wait.
        queue.add(Key::new("ns", "well"));
        fragile
            .asked
            .lock()
            .unwrap()
            .extend(["x panics", "x panics", "x panics-twice", "x panics-twice"].map(str::to_owned));
        let work = dispatch(&queue, &fragile, &metrics, &tasks);
        let _ = tokio::time::timeout(AFTER_PANIC, work).await;
        let asked = fragile.asked.lock().unwrap();
        let again: Vec<&String> = asked.iter().skip(4).collect();
        assert_eq!(again, ["reconcile well", "reconcile panics", "reconcile panics-twice"]);
    }
}
