//! porter-flux to look at and to play with: `hack/run.sh`.

mod existing;
mod local;
mod show;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Shows a git push becoming a run of a Porter bundle, then stays up until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "hack/run.sh")]
struct Arguments {
    /// End after the demonstration.
    #[arg(long)]
    once: bool,

    /// Use the cluster of this file, which has Flux and Porter's operator, in place of one on this machine.
    #[arg(long, requires = "git_url")]
    kubeconfig: Option<PathBuf>,

    /// The repository to sync from, as the cluster reaches it. Without credentials.
    #[arg(long, requires = "kubeconfig")]
    git_url: Option<String>,

    /// The branch to sync from.
    #[arg(long, default_value = "main")]
    git_branch: String,

    /// The folder of the repository that holds the Porter documents or resources.
    #[arg(long, default_value = "./")]
    path: String,

    /// Where the source, the BundleSync and the installations go.
    #[arg(long, default_value = "demo")]
    namespace: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match (&arguments.kubeconfig, &arguments.git_url) {
        (Some(kubeconfig), Some(url)) => existing::run(kubeconfig, url, &arguments).await,
        _ => local::run(arguments.once).await,
    }
}

/// Until Ctrl-C, unless only the demonstration was asked for.
async fn stay(once: bool) -> Result<()> {
    if !once {
        println!("\nCtrl-C ends it.");
        tokio::signal::ctrl_c().await?;
        println!();
    }
    Ok(())
}
