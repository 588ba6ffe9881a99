//! Sequences that were tried on the real operator with the real Porter, on both simulations together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use e2e::{Environment, PATIENCE, User, dynamic, eventually};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use simulated_runner::{Options, Runner};
use tokio_util::sync::CancellationToken;

use crate::operators::{Operator, RealOperator};

const BUNDLE: &str = "example.test/mysql";
/// What Porter was asked, its exit code, the bundle action that ran.
type Ran = (String, Option<i32>, Option<String>);

/// What is done, in the order of the fields, and what Porter ran because of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Step {
    /// The namespace's `ttlSecondsAfterFinished`.
    ttl: Option<i32>,
    /// The next actions of the bundle that fail.
    fail: usize,
    hold: bool,
    release: bool,
    delete_installation: bool,
    /// Deletes AgentActions that nothing owns.
    delete_actions: bool,
    /// Deletes the AgentActions of earlier generations.
    delete_superseded: bool,
    /// Deletes the AgentAction of the current generation.
    delete_current: bool,
    /// Applies the Installation with these fields besides the usual ones.
    apply: Option<Value>,
    /// Creates an AgentAction.
    action: Option<String>,
    /// The same, with the Installation's document.
    action_with_document: Option<String>,
    /// The condition that what was applied or created comes to.
    until: Option<String>,
    /// The bundle action that begins.
    until_running: Option<String>,
    /// The bundle action that ends although its agent is gone.
    finished: Option<String>,
    wait: Option<u64>,
    /// All commands that began since the last time that this was asked.
    ran: Option<Vec<Ran>>,
    /// Some of them.
    contains: Vec<Ran>,
}

pub(crate) fn all() -> Result<BTreeMap<String, Vec<Step>>> {
    Ok(serde_json::from_str(include_str!("sequences.json"))?)
}

/// Plays a sequence and tells what differs.
pub(crate) async fn play(
    environment: &'static Environment,
    name: String,
    steps: Vec<Step>,
    real: Option<RealOperator>,
) -> (String, f64, Vec<String>) {
    let started = Instant::now();
    let shutdown = CancellationToken::new();
    let outcome = async {
        let mut sequence = Sequence::start(environment, &name, &shutdown).await?;
        let _operator = Operator::start(environment, &sequence.namespace, real).await?;
        for (number, step) in steps.iter().enumerate() {
            sequence.step(step).await.with_context(|| format!("step {number}"))?;
        }
        anyhow::Ok(Vec::new())
    };
    let differences = outcome.await.unwrap_or_else(|error| vec![format!("{error:#}")]);
    shutdown.cancel();
    (format!("sequence {name}"), started.elapsed().as_secs_f64(), differences)
}

struct Sequence {
    client: Client,
    namespace: String,
    runner: Runner,
    /// Commands that were accounted for.
    told: usize,
}

impl Sequence {
    async fn start(environment: &Environment, name: &str, shutdown: &CancellationToken) -> Result<Self> {
        let namespace = environment.namespace(&name.replace('_', "-")).await?;
        let options = Options { namespace: Some(namespace.clone()), action_time: Duration::from_millis(100) };
        let runner = Runner::start(environment.client(User::Runner).await?, options, shutdown.clone());
        let sequence = Self { client: environment.client(User::Test).await?, namespace, runner, told: 0 };
        sequence.apply("AgentConfig", "default", json!({"retryLimit": 0})).await?;
        Ok(sequence)
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        dynamic(self.client.clone(), &self.namespace, "getporter.org", "v1", kind)
    }

    async fn apply(&self, kind: &str, name: &str, spec: Value) -> Result<DynamicObject> {
        let object = json!({"apiVersion": "getporter.org/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let parameters = PatchParams::apply("conformance").force();
        Ok(self.api(kind).patch(name, &parameters, &Patch::Apply(&object)).await?)
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        if let Some(ttl) = step.ttl {
            self.apply("AgentConfig", "default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": ttl})).await?;
        }
        if step.fail > 0 {
            self.runner.fail_next(BUNDLE, step.fail);
        }
        if step.hold {
            self.runner.hold(BUNDLE);
        }
        if step.release {
            self.runner.release(BUNDLE);
        }
        if step.delete_installation {
            self.api("Installation").delete("mysql", &DeleteParams::default()).await?;
            eventually(PATIENCE, "the AgentActions of the Installation to be collected", || async {
                let actions = self.actions().await?;
                let owned = actions.iter().filter(|action| !action.owner_references().is_empty()).count();
                if owned == 0 { Ok(()) } else { bail!("{owned} are left") }
            })
            .await?;
        }
        if step.delete_actions || step.delete_superseded || step.delete_current {
            self.delete_actions(step).await?;
        }
        let mut made = None;
        if let Some(patch) = &step.apply {
            made = Some(("Installation", self.apply("Installation", "mysql", document(patch)).await?));
        }
        if let Some(command) = &step.action {
            made = Some(("AgentAction", self.create_action(command, json!({})).await?));
        }
        if let Some(command) = &step.action_with_document {
            let text = document(&json!({"parameters": {"size": 2}})).to_string();
            let text = base64::engine::general_purpose::STANDARD.encode(text);
            made = Some(("AgentAction", self.create_action(command, json!({"installation.yaml": text})).await?));
        }
        if let (Some(condition), Some((kind, object))) = (&step.until, made) {
            self.reaches(kind, &object, condition).await?;
        }
        if let Some(action) = &step.until_running {
            eventually(PATIENCE, &format!("{action} to run"), || async {
                let executions = self.runner.executions();
                match executions.last() {
                    Some(last) if last.action == *action && last.finished.is_none() => Ok(()),
                    last => bail!("{last:?}"),
                }
            })
            .await?;
        }
        if let Some(action) = &step.finished {
            eventually(PATIENCE, &format!("{action} to end"), || async {
                let executions = self.runner.executions();
                match executions.last() {
                    Some(last) if last.action == *action && last.succeeded == Some(true) => Ok(()),
                    last => bail!("{last:?}"),
                }
            })
            .await?;
        }
        if let Some(seconds) = step.wait {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        self.account(step).await
    }

    /// Compares what Porter was asked since the last time.
    async fn account(&mut self, step: &Step) -> Result<()> {
        let commands = || -> Vec<Ran> {
            let commands = self.runner.commands();
            let commands = commands.get(self.told..).unwrap_or_default().iter();
            commands.map(|command| (command.arguments.join(" "), command.exit, command.ran.clone())).collect()
        };
        if let Some(ran) = &step.ran {
            // The order in which two that run side by side begin is not told.
            let sorted = |mut commands: Vec<Ran>| {
                commands.sort();
                commands
            };
            let recorded = sorted(ran.clone());
            eventually(PATIENCE, &format!("{recorded:?}"), || async {
                let seen = sorted(commands());
                if seen == recorded { Ok(()) } else { bail!("{seen:?}") }
            })
            .await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let seen = sorted(commands());
            ensure!(seen == recorded, "more ran: {seen:?}");
        }
        for wanted in &step.contains {
            eventually(PATIENCE, &format!("{wanted:?}"), || async {
                let seen = commands();
                ensure!(seen.contains(wanted), "it is not among {seen:?}");
                Ok(())
            })
            .await?;
        }
        if step.ran.is_some() || !step.contains.is_empty() {
            self.told = self.runner.commands().len();
        }
        Ok(())
    }

    async fn actions(&self) -> Result<Vec<DynamicObject>> {
        Ok(self.api("AgentAction").list(&ListParams::default()).await?.items)
    }

    async fn delete_actions(&self, step: &Step) -> Result<()> {
        let current = self.api("Installation").get_opt("mysql").await?.and_then(|object| object.metadata.generation);
        for action in self.actions().await? {
            let generation =
                action.labels().get("getporter.org/resourceGeneration").and_then(|value| value.parse::<i64>().ok());
            let chosen = match generation {
                None => step.delete_actions,
                generation if generation == current => step.delete_current,
                Some(_) => step.delete_superseded,
            };
            if chosen {
                self.api("AgentAction").delete(&action.name_any(), &DeleteParams::default()).await?;
            }
        }
        Ok(())
    }

    async fn create_action(&self, command: &str, files: Value) -> Result<DynamicObject> {
        let args: Vec<_> = command.split(' ').collect();
        let action: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "getporter.org/v1", "kind": "AgentAction", "metadata": {"generateName": "ours-"},
            "spec": {"args": args, "files": files},
        }))?;
        Ok(self.api("AgentAction").create(&PostParams::default(), &action).await?)
    }

    async fn reaches(&self, kind: &str, object: &DynamicObject, condition: &str) -> Result<()> {
        let name = object.name_any();
        eventually(PATIENCE, &format!("{kind}/{name} to be {condition}"), || async {
            let object = self.api(kind).get(&name).await?;
            let status = object.data.get("status").cloned().unwrap_or_default();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let current = status["observedGeneration"].as_i64() == object.metadata.generation;
            let reached = conditions.iter().any(|reached| reached["type"] == condition);
            if current && reached { Ok(()) } else { bail!("{status}") }
        })
        .await
    }
}

fn document(patch: &Value) -> Value {
    let mut document = json!({
        "schemaVersion": "1.0.2", "name": "mysql", "namespace": "dev",
        "bundle": {"repository": BUNDLE, "version": "0.1.0"},
    });
    for (key, value) in patch.as_object().into_iter().flatten() {
        document[key] = value.clone();
    }
    document
}
