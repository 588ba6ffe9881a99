//! The two parts of a cluster that are played: the Porter operator, and the kubelet with Porter in its pods.

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use anyhow::{Context, Result};
use simulated_runner::Runner;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::OPERATOR_NAMESPACE;
use crate::environment::{Environment, free_ports};
use crate::process::{Process, Program};
use crate::user::User;

/// Names the binary of a real Porter operator, to be run in place of the simulated one.
const OPERATOR: &str = "PORTER_OPERATOR";

/// Something that plays. Dropping it ends it.
#[derive(Debug)]
pub(crate) enum Simulation {
    /// In this process.
    Task { _end: DropGuard },
    /// The real thing, as a process of its own.
    Process { _process: Process },
}

impl Simulation {
    pub(crate) async fn operator(environment: &Environment) -> Result<Self> {
        if let Some(binary) = std::env::var_os(OPERATOR) {
            return real_operator(environment, Path::new(&binary)).await;
        }
        let end = CancellationToken::new();
        let kubeconfig = environment.config(User::Operator).await?;
        let shutdown = end.clone();
        environment.spawn(async move {
            let options = simulated_operator::Options {
                system_namespace: OPERATOR_NAMESPACE.to_owned(),
                ..simulated_operator::Options::default()
            };
            let outcome = async {
                let client = kube::Client::try_from(kubeconfig)?;
                simulated_operator::run(client, options, shutdown).await
            };
            if let Err(error) = outcome.await {
                eprintln!("e2e: the simulated operator ended: {error:#}");
            }
        })?;
        Ok(Self::Task { _end: end.drop_guard() })
    }
}

async fn real_operator(environment: &Environment, binary: &Path) -> Result<Simulation> {
    let [metrics, health] = free_ports().await?;
    let process = Program::new("porter-operator", binary, &environment.logs().join("porter-operator.log"))
        .arg(format!("--metrics-bind-address=127.0.0.1:{metrics}"))
        .arg(format!("--health-probe-bind-address=127.0.0.1:{health}"))
        .env("KUBECONFIG", environment.kubeconfig(User::Operator))
        .start()
        .with_context(|| format!("cannot start {OPERATOR}={}", binary.display()))?;
    Ok(Simulation::Process { _process: process })
}

/// The kubelet and Porter of a namespace, or of all, with a Porter database of their own. Dropping it ends them: what
/// runs then never ends.
pub struct PlayedRunner {
    runner: Runner,
    _end: DropGuard,
}

impl PlayedRunner {
    pub(crate) async fn start(environment: &Environment, options: simulated_runner::Options) -> Result<Self> {
        let end = CancellationToken::new();
        let config = environment.config(User::Runner).await?;
        let shutdown = end.clone();
        let started = environment.spawn(async move {
            let client = kube::Client::try_from(config)?;
            Ok::<_, kube::Error>(Runner::start(client, options, shutdown))
        })?;
        Ok(Self { runner: started.await??, _end: end.drop_guard() })
    }
}

impl Deref for PlayedRunner {
    type Target = Runner;

    fn deref(&self) -> &Runner {
        &self.runner
    }
}

impl fmt::Debug for PlayedRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlayedRunner").finish_non_exhaustive()
    }
}
