//! The controller under test, as a process of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::binaries::workspace_binary;
use crate::cluster::CONTROLLER_NAMESPACE;
use crate::environment::{Environment, free_ports};
use crate::eventually::{PATIENCE, eventually};
use crate::process::{Process, Program};
use crate::user::User;

/// Names another controller binary than the one that cargo built.
const BINARY: &str = "PORTER_FLUX_CONTROLLER";

/// How long one of its answers may take.
const ANSWER: Duration = Duration::from_secs(10);

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
        Ok(Self {
            program,
            process,
            health: format!("http://127.0.0.1:{health}"),
            metrics: format!("http://127.0.0.1:{metrics}/metrics"),
        })
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When it has ended, or is not ready in time.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.process.check()?;
            let last = match self.unready().await {
                Ok(None) => return Ok(()),
                Ok(Some((code, why))) => format!("{code} {why}"),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                bail!("porter-flux-controller is not ready after {} s: {last}", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What `/readyz` says: nothing when it is ready, else the code and why not.
    ///
    /// # Errors
    /// When it has ended, or does not answer.
    pub async fn unready(&mut self) -> Result<Option<(u16, String)>> {
        self.process.check()?;
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER).build()?;
        let response = http.get(format!("{}/readyz", self.health)).send().await?;
        let status = response.status();
        Ok(if status.is_success() { None } else { Some((status.as_u16(), response.text().await?)) })
    }

    /// Fails, with the end of its log, when it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
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
    /// When it has not ended in time, or ended with a failure.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.signal("TERM")?;
        let process = &mut self.process;
        let status = eventually(PATIENCE, "porter-flux-controller to stop", || {
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
        self.launch_again()?;
        self.wait_until_ready().await
    }

    /// The same without waiting until it is ready.
    ///
    /// # Errors
    /// When the supervisor cannot be started.
    pub fn launch_again(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = self.program.start()?;
        Ok(())
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
