//! The controller under test, as a process of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::binaries::workspace_binary;
use crate::cluster::CONTROLLER_NAMESPACE;
use crate::environment::{Environment, free_ports};
use crate::eventually::eventually;
use crate::process::{Process, Program};
use crate::user::User;

/// Names another controller binary than the one that cargo built.
const BINARY: &str = "PORTER_FLUX_CONTROLLER";

/// How to start the controller.
#[derive(Clone, Debug, Default)]
pub struct ControllerOptions {
    /// Watch only this namespace. Tests that run side by side each want their own.
    pub namespace: Option<String>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further environment variables.
    pub variables: Vec<(String, String)>,
}

impl ControllerOptions {
    /// A controller for one namespace.
    pub fn watching(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::default() }
    }
}

/// A running controller. Dropping it kills it.
#[derive(Debug)]
pub struct ControllerProcess {
    program: Program,
    process: Process,
    health: String,
    metrics: String,
}

impl ControllerProcess {
    pub(crate) async fn start(environment: &Environment, options: ControllerOptions, number: u32) -> Result<Self> {
        let binary = match std::env::var_os(BINARY) {
            Some(binary) => PathBuf::from(binary),
            None => workspace_binary("porter-flux-controller")?,
        };
        let storage = environment.source_controller().await?.address();
        let [metrics, health] = free_ports().await?;
        let log = environment.logs().join(format!("porter-flux-controller-{number}.log"));
        let mut program = Program::new("porter-flux-controller", &binary, &log)
            .arg(format!("--metrics-addr=127.0.0.1:{metrics}"))
            .arg(format!("--health-addr=127.0.0.1:{health}"))
            .args(["--events-addr=", "--log-level=debug"])
            .arg(format!("--watch-all-namespaces={}", options.namespace.is_none()))
            .args(&options.arguments)
            .env("KUBECONFIG", environment.kubeconfig(User::Controller))
            .env("SOURCE_CONTROLLER_LOCALHOST", storage)
            .env("RUNTIME_NAMESPACE", options.namespace.as_deref().unwrap_or(CONTROLLER_NAMESPACE));
        for (name, value) in &options.variables {
            program = program.env(name, value);
        }
        let process = program.start()?;
        let mut controller = Self {
            program,
            process,
            health: format!("http://127.0.0.1:{health}"),
            metrics: format!("http://127.0.0.1:{metrics}/metrics"),
        };
        controller.wait_until_ready().await?;
        Ok(controller)
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When it has ended, or is not ready within half a minute.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.health);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let process = &mut self.process;
        let mut ended = None;
        let outcome = eventually(Duration::from_secs(30), "porter-flux-controller to be ready", || {
            if let Err(error) = process.check() {
                ended.get_or_insert(error);
            }
            let (gone, http, url) = (ended.is_some(), http.clone(), url.clone());
            async move {
                if gone {
                    return Ok(());
                }
                let response = http.get(&url).send().await?;
                let status = response.status();
                if status.is_success() { Ok(()) } else { bail!("{status} {}", response.text().await?) }
            }
        })
        .await;
        match ended {
            Some(error) => Err(error),
            None => outcome,
        }
    }

    /// Kills it without a warning, as a node that goes down does.
    ///
    /// # Errors
    /// When the operating system cannot tell how it ended.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// When it has not ended within half a minute, or ended with a failure.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.signal("TERM")?;
        let process = &mut self.process;
        let status = eventually(Duration::from_secs(30), "porter-flux-controller to stop", || {
            let ended = process.ended();
            async move { ended?.context("it runs") }
        })
        .await?;
        if status.success() { Ok(()) } else { bail!("porter-flux-controller ended with {status}") }
    }

    /// Sends a signal by its name without SIG, such as `STOP` and `CONT`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        self.process.signal(signal)
    }

    /// Starts it again, the same way and with the same log, after [`Self::kill`] or [`Self::stop`].
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = self.program.start()?;
        self.wait_until_ready().await
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Its metrics in the Prometheus text format.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(http.get(&self.metrics).send().await?.error_for_status()?.text().await?)
    }
}
