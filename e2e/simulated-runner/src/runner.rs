//! Pods in, bundle actions out.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kubelet;
use crate::porter_model::{Exit, Files, Identity, Outcome, Porter, Reference, Registry, RunRequest, Secrets};

const JOB_TYPE: &str = "getporter.org/jobType";
const RUN: &str = "simulated-runner/run";

/// What may differ from one runner to the next.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Play only pods of this namespace.
    pub namespace: Option<String>,
    /// How long a bundle action takes when no script says so.
    pub action_time: Duration,
}

/// Plays pods until it is told to stop. Clones share everything, the Porter database too.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    porter: Porter,
    scripts: BTreeMap<String, Script>,
    /// What runs for a bundle pod, by the id of the run.
    requests: BTreeMap<u64, (RunRequest, usize)>,
    executions: Vec<Execution>,
    commands: Vec<PorterCommand>,
}

/// How the actions of a bundle go.
struct Script {
    fail: usize,
    time: Option<Duration>,
    held: watch::Sender<bool>,
}

impl Default for Script {
    fn default() -> Self {
        Self { fail: 0, time: None, held: watch::Sender::new(false) }
    }
}

/// A command that Porter was given, by an agent's pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PorterCommand {
    /// The Kubernetes namespace of the pod.
    pub kube_namespace: String,
    /// The AgentAction that it ran for.
    pub agent_action: String,
    /// What follows `porter`.
    pub arguments: Vec<String>,
    /// When it began.
    pub started: Timestamp,
    /// Its exit code; none while it runs, and for ever when its pod was killed.
    pub exit: Option<i32>,
    /// Why, for people. Holds no value of a parameter or secret.
    pub message: String,
}

/// A bundle action that was carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Porter's namespace and the installation's name.
    pub installation: Identity,
    /// The Kubernetes namespace that it ran in.
    pub kube_namespace: String,
    /// The AgentAction that it ran for.
    pub agent_action: String,
    /// `install`, `upgrade`, `uninstall` or a custom one.
    pub action: String,
    /// The bundle, as the document named it.
    pub bundle: Reference,
    /// The digest that ran.
    pub digest: String,
    /// The parameters that the bundle got.
    pub parameters: BTreeMap<String, Value>,
    /// When its pod began.
    pub started: Timestamp,
    /// When its pod ended.
    pub finished: Option<Timestamp>,
    /// How its pod ended.
    pub succeeded: Option<bool>,
    /// Another action of the same installation ran at the same time.
    pub overlapping: bool,
}

impl Runner {
    /// Begins to play pods, in tasks of the runtime that asks, until `shutdown`.
    pub fn start(client: Client, options: Options, shutdown: CancellationToken) -> Self {
        let runner = Self { shared: Arc::new(Shared { client, options, state: Mutex::default() }) };
        tokio::spawn(runner.clone().watch(shutdown));
        runner
    }

    /// The next `times` actions of the bundle fail.
    pub fn fail_next(&self, repository: &str, times: usize) {
        self.script(repository, |script| script.fail = times);
    }

    /// From now on, each action of the bundle takes so long.
    pub fn set_action_time(&self, repository: &str, time: Duration) {
        self.script(repository, |script| script.time = Some(time));
    }

    /// Actions of the bundle do not end until [`Runner::release`].
    pub fn hold(&self, repository: &str) {
        self.script(repository, |script| script.held.send_replace(true));
    }

    /// Ends what [`Runner::hold`] holds.
    pub fn release(&self, repository: &str) {
        self.script(repository, |script| script.held.send_replace(false));
    }

    /// Changes what can be pulled.
    pub fn with_registry<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        change(&mut self.state().porter.registry)
    }

    /// All bundle actions so far, in the order of their begin.
    pub fn executions(&self) -> Vec<Execution> {
        self.state().executions.clone()
    }

    /// All commands of Porter so far, in the order of their begin.
    pub fn commands(&self) -> Vec<PorterCommand> {
        self.state().commands.clone()
    }

    /// Whether Porter's record says that the installation is installed.
    pub fn is_installed(&self, porter_namespace: &str, name: &str) -> bool {
        self.state().porter.is_installed(&(porter_namespace.to_owned(), name.to_owned()))
    }

    /// The installations of which Porter keeps a record: namespace and name.
    pub fn records(&self) -> Vec<Identity> {
        self.state().porter.installations().cloned().collect()
    }

    fn script<T>(&self, repository: &str, change: impl FnOnce(&mut Script) -> T) -> T {
        change(self.state().scripts.entry(repository.to_owned()).or_default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(self, shutdown: CancellationToken) {
        let pods: Api<Pod> = match &self.shared.options.namespace {
            Some(namespace) => Api::namespaced(self.shared.client.clone(), namespace),
            None => Api::all(self.shared.client.clone()),
        };
        let config = watcher::Config::default().labels(JOB_TYPE);
        let mut events = pin!(watcher(pods, config).default_backoff());
        let mut played: HashMap<String, CancellationToken> = HashMap::new();
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                None => return,
                Some(Err(error)) => tracing::debug!(%error, "watch of pods failed"),
                Some(Ok(Event::Apply(pod) | Event::InitApply(pod))) => {
                    let uid = pod.uid().unwrap_or_default();
                    if pod.metadata.deletion_timestamp.is_some() {
                        if let Some(playing) = played.get(&uid) {
                            playing.cancel();
                        }
                    } else if kubelet::is_open(&pod) && !played.contains_key(&uid) {
                        let killed = shutdown.child_token();
                        played.insert(uid, killed.clone());
                        let runner = self.clone();
                        tokio::spawn(async move {
                            tokio::select! {
                                () = killed.cancelled() => runner.killed(&pod),
                                () = runner.play(&pod) => {}
                            }
                        });
                    }
                }
                Some(Ok(Event::Delete(pod))) => {
                    if let Some(playing) = played.remove(&pod.uid().unwrap_or_default()) {
                        playing.cancel();
                    }
                }
                Some(Ok(Event::Init | Event::InitDone)) => {}
            }
        }
    }

    async fn play(&self, pod: &Pod) {
        let namespace = pod.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.shared.client.clone(), &namespace);
        let outcome = async {
            kubelet::running(&pods, pod).await?;
            let exit = match pod.labels().get(JOB_TYPE).map(String::as_str) {
                Some("porter-agent") => self.agent(pod, &namespace).await?,
                Some("bundle-installer") => self.bundle(pod).await,
                _ => return Ok(()),
            };
            kubelet::ended(&pods, pod, exit.code, &exit.message).await?;
            anyhow::Ok(())
        };
        if let Err(error) = outcome.await {
            tracing::debug!(namespace, pod = pod.name_any(), "{error:#}");
        }
    }

    /// A pod was taken away while it ran.
    fn killed(&self, pod: &Pod) {
        let mut state = self.state();
        let id = pod.annotations().get(RUN).and_then(|id| id.parse::<u64>().ok());
        let number = id.and_then(|id| state.requests.get(&id)).map(|(_, number)| *number);
        if let Some(execution) = number.and_then(|number| state.executions.get_mut(number)) {
            execution.finished.get_or_insert_with(Timestamp::now);
        }
    }

    /// Porter, in the pod of an agent.
    async fn agent(&self, pod: &Pod, namespace: &str) -> Result<Exit> {
        let container =
            pod.spec.as_ref().and_then(|spec| spec.containers.first()).context("a pod without container")?;
        let arguments = container.args.clone().unwrap_or_default();
        let agent_action = pod.labels().get("getporter.org/resourceName").cloned().unwrap_or_default();
        let files = self.workdir(pod, namespace).await?;
        let secrets = self.secrets(namespace).await?;
        let number = {
            let mut state = self.state();
            state.commands.push(PorterCommand {
                kube_namespace: namespace.to_owned(),
                agent_action: agent_action.clone(),
                arguments: arguments.clone(),
                started: Timestamp::now(),
                exit: None,
                message: String::new(),
            });
            state.commands.len() - 1
        };
        let outcome = self.state().porter.begin(&arguments, &files, &secrets);
        let (exit, ran) = match outcome {
            Outcome::Exit(exit) => (exit, None),
            Outcome::Run(request) => {
                let action = request.action.clone();
                (self.run_bundle(pod, namespace, request).await?, Some(action))
            }
        };
        tracing::info!(
            namespace,
            "porter {} -> {}, {}: {}",
            arguments.join(" "),
            exit.code,
            ran.as_deref().unwrap_or("nothing ran"),
            exit.message
        );
        let mut state = self.state();
        if let Some(command) = state.commands.get_mut(number) {
            command.exit = Some(exit.code);
            command.message.clone_from(&exit.message);
        }
        Ok(exit)
    }

    /// The files of the Secret that is mounted as the working folder.
    async fn workdir(&self, pod: &Pod, namespace: &str) -> Result<Files> {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        let volume = volumes.iter().find(|volume| volume.name == "porter-workdir");
        let secret = volume.and_then(|volume| volume.secret.as_ref()).and_then(|secret| secret.secret_name.as_deref());
        let secret = secret.context("the pod has no volume porter-workdir of a Secret")?;
        let secrets: Api<Secret> = Api::namespaced(self.shared.client.clone(), namespace);
        let data = secrets.get(secret).await?.data.unwrap_or_default();
        Ok(data.into_iter().map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes.0).into_owned())).collect())
    }

    /// The values that Porter's Kubernetes plugin would find in the namespace.
    async fn secrets(&self, namespace: &str) -> Result<Secrets> {
        let secrets: Api<Secret> = Api::namespaced(self.shared.client.clone(), namespace);
        let listed = secrets.list(&ListParams::default().labels("!getporter.org/managed")).await?;
        let value = |secret: Secret| {
            let value = secret.data.as_ref()?.get("value")?;
            Some((secret.name_any(), String::from_utf8_lossy(&value.0).into_owned()))
        };
        Ok(listed.into_iter().filter_map(value).collect())
    }

    /// Makes the Job of a bundle action and waits for its end.
    async fn run_bundle(&self, pod: &Pod, namespace: &str, request: RunRequest) -> Result<Exit> {
        let labels = bundle_labels(pod);
        let agent_action = labels.get("getporter.org/resourceName").cloned().unwrap_or_default();
        {
            let mut state = self.state();
            let number = state.executions.len();
            state.requests.insert(request.id, (request.clone(), number));
            state.executions.push(Execution {
                installation: request.installation.clone(),
                kube_namespace: namespace.to_owned(),
                agent_action,
                action: request.action.clone(),
                bundle: request.bundle.clone(),
                digest: request.digest.clone(),
                parameters: request.parameters.clone(),
                started: Timestamp::now(),
                finished: None,
                succeeded: None,
                overlapping: false,
            });
            mark_overlaps(&mut state.executions);
        }
        let jobs: Api<Job> = Api::namespaced(self.shared.client.clone(), namespace);
        let job = jobs.create(&PostParams::default(), &bundle_job(&request, &labels)?).await?;
        let succeeded = loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            // A Job that somebody deletes fails the run, as it does for the driver.
            let Some(job) = jobs.get_opt(&job.name_any()).await? else { break false };
            let conditions = job.status.and_then(|status| status.conditions).unwrap_or_default();
            let is =
                |type_: &str| conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True");
            if is("Complete") || is("Failed") {
                break is("Complete");
            }
        };
        Ok(self.state().porter.finish(&request, succeeded))
    }

    /// The image of the bundle, in the pod of its own Job.
    async fn bundle(&self, pod: &Pod) -> Exit {
        let id = pod.annotations().get(RUN).and_then(|id| id.parse().ok());
        let Some((request, number)) = id.and_then(|id: u64| self.state().requests.get(&id).cloned()) else {
            return Exit { code: 1, message: "nobody knows this run".to_owned() };
        };
        let repository = request.bundle.repository;
        let (time, mut held) = self.script(&repository, |script| (script.time, script.held.subscribe()));
        tokio::time::sleep(time.unwrap_or(self.shared.options.action_time)).await;
        // The sender lives as long as the scripts do.
        let _ = held.wait_for(|held| !held).await;
        let failed = self.script(&repository, |script| {
            let failed = script.fail > 0;
            script.fail = script.fail.saturating_sub(1);
            failed
        });
        if let Some(execution) = self.state().executions.get_mut(number) {
            execution.finished = Some(Timestamp::now());
            execution.succeeded = Some(!failed);
        }
        let message = if failed { "the bundle failed, as told" } else { "" };
        Exit { code: i32::from(failed), message: message.to_owned() }
    }
}

/// Marks the newest execution and those of the same installation that are not over.
fn mark_overlaps(executions: &mut [Execution]) {
    let Some((newest, earlier)) = executions.split_last_mut() else { return };
    for other in earlier.iter_mut().filter(|other| other.installation == newest.installation) {
        if other.finished.is_none() {
            other.overlapping = true;
            newest.overlapping = true;
        }
    }
}

/// The labels that the agent is told to give to all that it makes.
fn bundle_labels(pod: &Pod) -> BTreeMap<String, String> {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let env = container.and_then(|container| container.env.as_deref()).unwrap_or_default();
    let labels = env.iter().find(|variable| variable.name == "LABELS").and_then(|variable| variable.value.as_deref());
    let pairs = labels.unwrap_or_default().split(' ').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn bundle_job(request: &RunRequest, labels: &BTreeMap<String, String>) -> Result<Job> {
    let name = request.installation.1.to_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(50).collect();
    let name = format!("{}-", name.trim_matches('-'));
    let annotations = json!({RUN: request.id.to_string()});
    let job = json!({
        "metadata": {"generateName": name, "labels": labels},
        "spec": {
            "completions": 1, "backoffLimit": 0,
            "template": {
                "metadata": {"generateName": name, "labels": labels, "annotations": annotations},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{
                        "name": "invocation", "command": ["/cnab/app/run"],
                        "image": format!("{}@{}", request.bundle.repository, request.digest),
                        "env": [{"name": "CNAB_ACTION", "value": request.action}],
                    }],
                },
            },
        },
    });
    Ok(serde_json::from_value(job)?)
}
