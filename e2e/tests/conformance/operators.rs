//! The operator that is compared: the simulated one, or a real binary.
//!
//! Invariant: a namespace has one operator at a time. It may not know which scenario it serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use e2e::process::{Process, Program};
use e2e::{Environment, User};
use simulated_operator::Output;
use tokio_util::sync::CancellationToken;

/// Names the binary of a real operator.
pub(crate) const OPERATOR: &str = "PORTER_OPERATOR";

/// What Porter's API server would tell, of one installation.
fn known_outputs() -> BTreeMap<String, Vec<Output>> {
    let output = |name: &str, sensitive: bool, value: &str| Output {
        name: name.to_owned(),
        r#type: "string".to_owned(),
        sensitive,
        value: value.to_owned(),
    };
    let outputs = vec![output("host", false, "db.example.test"), output("password", true, "hunter2")];
    BTreeMap::from([("with-outputs".to_owned(), outputs)])
}

/// The real one handles all namespaces.
pub(crate) type RealOperator = Arc<tokio::sync::Mutex<Process>>;

/// What is compared. Each scenario has a simulated one for its own namespace: one worker a kind is all that there is.
pub(crate) enum Operator {
    Simulated { shutdown: CancellationToken, running: tokio::task::JoinHandle<Result<()>> },
    Real(RealOperator),
}

impl Operator {
    pub(crate) async fn start(environment: &Environment, namespace: &str, real: Option<RealOperator>) -> Result<Self> {
        if let Some(real) = real {
            return Ok(Self::Real(real));
        }
        let shutdown = CancellationToken::new();
        let client = environment.client(User::Operator).await?;
        let options = simulated_operator::Options {
            namespace: Some(namespace.to_owned()),
            outputs: known_outputs(),
            ..simulated_operator::Options::default()
        };
        let running = tokio::spawn(simulated_operator::run(client, options, shutdown.clone()));
        Ok(Self::Simulated { shutdown, running })
    }

    pub(crate) async fn restart(&mut self, environment: &Environment, namespace: &str) -> Result<()> {
        match self {
            Self::Simulated { shutdown, running } => {
                shutdown.cancel();
                running.await??;
                *self = Self::start(environment, namespace, None).await?;
            }
            Self::Real(process) => {
                let mut process = process.lock().await;
                process.kill()?;
                *process = real_operator(environment)?;
            }
        }
        Ok(())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Self::Simulated { shutdown, .. } = self {
            shutdown.cancel();
        }
    }
}

pub(crate) fn real_operator(environment: &Environment) -> Result<Process> {
    let binary = std::env::var_os(OPERATOR).with_context(|| format!("{OPERATOR} is not set"))?;
    Program::new("operator", binary.as_ref(), &environment.logs().join("operator.log"))
        .args(["--metrics-bind-address=0", "--health-probe-bind-address=0"])
        .env("KUBECONFIG", environment.kubeconfig(User::Operator))
        .start()
}
