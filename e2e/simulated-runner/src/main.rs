//! The simulation of Porter's pods as a process. It finds its API server by `KUBECONFIG`, and tells each command that
//! Porter was given as a line of its log.

use std::time::Duration;

use clap::Parser;
use kube::Client;
use simulated_runner::{Options, Runner, run};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Plays the pods of Porter's Jobs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Play only this namespace.
    #[arg(long)]
    namespace: Option<String>,
    /// How long each bundle action takes, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    action_milliseconds: u64,
    /// Repositories of bundles whose next action fails. Once for each time that one is named.
    #[arg(long)]
    fail: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let action_time = Duration::from_millis(arguments.action_milliseconds);
    let options = Options { namespace: arguments.namespace, action_time };
    let shutdown = CancellationToken::new();
    let runner = Runner::default();
    for repository in &arguments.fail {
        let times = arguments.fail.iter().filter(|other| *other == repository).count();
        runner.fail_next(repository, times);
    }
    let running = run(Client::try_default().await?, options, runner, shutdown.clone());
    tracing::info!("the simulation of Porter's pods runs");
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        ended = running => return ended,
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    shutdown.cancel();
    Ok(())
}
