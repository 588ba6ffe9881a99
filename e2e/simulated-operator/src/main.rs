//! The simulated Porter operator as a process. It finds its API server by `KUBECONFIG`.

use clap::Parser;
use kube::Client;
use simulated_operator::{Options, run};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// A simulation of the Porter operator v1.1.0.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the AgentConfig and the PorterConfig named default hold for all namespaces.
    #[arg(long, default_value = "porter-operator-system")]
    system_namespace: String,
    /// Handle only this namespace.
    #[arg(long)]
    namespace: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let options =
        Options { system_namespace: arguments.system_namespace, namespace: arguments.namespace, ..Options::default() };
    let client = Client::try_default().await?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(client, options, shutdown.clone()));
    tracing::info!("the simulated Porter operator runs");
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    shutdown.cancel();
    running.await?
}
