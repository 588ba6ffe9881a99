//! Pods in, bundle actions out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kubelet;
use crate::porter_model::{
    self, Exit, Files, Identity, Outcome, Porter, Reference, Registry, RunRequest, Secrets, Version,
};
use crate::real_porter::{Next, RealPorter, Running};

const JOB_TYPE: &str = "getporter.org/jobType";
/// On the pod of a bundle: which execution it is, counted from 0.
const EXECUTION: &str = "simulated-runner/execution";

/// What may differ from one runner to the next.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Play only pods of this namespace.
    pub namespace: Option<String>,
    /// How long a bundle action takes when no script says so.
    pub action_time: Duration,
}

/// What the bundles do, and what was done: the script and the record of [`run`]. Clones share everything, the Porter
/// databases too.
///
/// There is one database for each storage that Porter's configuration names, and without a PorterConfig that is one for
/// all Kubernetes namespaces, as in a cluster: there, installations of the same name meet. Each runner has its own, so
/// tests with a runner each do not meet.
#[derive(Clone, Debug, Default)]
pub struct Runner {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What the databases are known by, in Porter's configuration.
    storages: Vec<String>,
    /// Their contents, when Porter is simulated.
    porters: Vec<Porter>,
    /// In the place of the simulated one.
    real: Option<Arc<RealPorter>>,
    /// What all of them pull from.
    registry: Registry,
    scripts: BTreeMap<String, Script>,
    evictions: usize,
    executions: Vec<Execution>,
    commands: Vec<PorterCommand>,
}

impl State {
    /// The number of a database.
    fn database(&mut self, storage: String) -> usize {
        if let Some(known) = self.storages.iter().position(|known| *known == storage) {
            return known;
        }
        self.storages.push(storage);
        self.storages.len() - 1
    }

    /// A database, with the registry, and a CLI of that version.
    fn porter(&mut self, database: usize, version: Version) -> &mut Porter {
        if self.porters.len() <= database {
            self.porters.resize_with(database + 1, Porter::default);
        }
        let porter = &mut self.porters[database];
        porter.registry = self.registry.clone();
        porter.version = version;
        porter
    }
}

/// How the actions of a bundle go.
#[derive(Debug)]
struct Script {
    fail: usize,
    time: Option<Duration>,
    held: watch::Sender<bool>,
    /// Its next failure is that it takes too much memory.
    greedy: bool,
    /// Its image cannot be pulled while it is held.
    unpullable: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self { fail: 0, time: None, held: watch::Sender::new(false), greedy: false, unpullable: false }
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
    /// The bundle action that ran, once it is over.
    pub ran: Option<String>,
    /// Why, for people. Holds no value of a parameter or secret.
    pub message: String,
}

/// A bundle action that was begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Porter's namespace and the installation's name.
    pub installation: Identity,
    /// Which of the runner's Porter databases it is in, counted from 0.
    pub database: usize,
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
    /// When Porter began it.
    pub started: Timestamp,
    /// When its pod ended or was taken away.
    pub finished: Option<Timestamp>,
    /// How its pod ended; none while it runs, and for ever when it was taken away.
    pub succeeded: Option<bool>,
    /// Another action of the same installation ran at the same time.
    pub overlapping: bool,
}

impl Runner {
    /// Begins to play pods, in a task of the runtime that asks, until `shutdown`.
    pub fn start(client: Client, options: Options, shutdown: CancellationToken) -> Self {
        let runner = Self::default();
        let played = runner.clone();
        tokio::spawn(async move {
            if let Err(error) = run(client, options, played, shutdown).await {
                // Who started it sees of it that nothing runs, and most have no log.
                eprintln!("simulated-runner: pods are played no longer: {error:#}");
            }
        });
        runner
    }

    /// The next `times` actions of the bundle fail. What counts is when they end.
    pub fn fail_next(&self, repository: &str, times: usize) {
        self.script(repository, |script| script.fail = times);
    }

    /// From now on, each action of the bundle takes so long.
    pub fn delay(&self, repository: &str, time: Duration) {
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

    /// The next action of the bundle fails, for its container takes too much memory.
    pub fn kill_next(&self, repository: &str) {
        self.script(repository, |script| (script.fail, script.greedy) = (1, true));
    }

    /// As [`Runner::hold`], and until [`Runner::release`] its image cannot be pulled.
    pub fn unpublish(&self, repository: &str) {
        self.script(repository, |script| script.unpullable = true);
        self.hold(repository);
    }

    /// The next so many pods of agents are evicted as soon as they run.
    pub fn evict_next(&self, times: usize) {
        self.state().evictions = times;
    }

    /// Changes what can be pulled.
    pub fn with_registry<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        change(&mut self.state().registry)
    }

    /// All bundle actions so far, in the order of their begin.
    pub fn executions(&self) -> Vec<Execution> {
        self.state().executions.clone()
    }

    /// The pairs of actions of one installation of which the second began while the first was on.
    pub fn overlaps(&self) -> Vec<(Execution, Execution)> {
        let executions = self.executions();
        let mut pairs = Vec::new();
        for (number, second) in executions.iter().enumerate() {
            let earlier = executions.iter().take(number).filter(|first| first.is_same_installation(second));
            let on = earlier.filter(|first| first.finished.is_none_or(|finished| finished > second.started));
            pairs.extend(on.map(|first| (first.clone(), second.clone())));
        }
        pairs
    }

    /// All commands of Porter so far, in the order of their begin.
    pub fn commands(&self) -> Vec<PorterCommand> {
        self.state().commands.clone()
    }

    /// Whether the record of any of Porter's databases says that the installation is installed.
    pub fn is_installed(&self, porter_namespace: &str, name: &str) -> bool {
        let identity = (porter_namespace.to_owned(), name.to_owned());
        self.installations().contains(&(identity, true))
    }

    /// The installations of which Porter keeps a record, of all its databases: namespace and name.
    pub fn records(&self) -> Vec<Identity> {
        self.installations().into_iter().map(|(identity, _)| identity).collect()
    }

    /// The same, each with whether its record says that it is installed. With a real porter this takes a second or more, and
    /// the thread that asks.
    pub fn installations(&self) -> Vec<(Identity, bool)> {
        let (real, databases) = {
            let state = self.state();
            let Some(real) = state.real.clone() else {
                let of = |porter: &Porter| {
                    let told = |identity: &Identity| (identity.clone(), porter.is_installed(identity));
                    porter.installations().map(told).collect::<Vec<_>>()
                };
                return state.porters.iter().flat_map(of).collect();
            };
            (real, state.storages.len())
        };
        let listed = |database| {
            real.installations(database).unwrap_or_else(|error| {
                tracing::error!("the records of Porter cannot be read: {error:#}");
                Vec::new()
            })
        };
        (0..databases).flat_map(listed).collect()
    }

    fn script<T>(&self, repository: &str, change: impl FnOnce(&mut Script) -> T) -> T {
        change(self.state().scripts.entry(repository.to_owned()).or_default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, number: usize, succeeded: Option<bool>) {
        let mut state = self.state();
        let Some(execution) = state.executions.get_mut(number).filter(|execution| execution.finished.is_none()) else {
            return;
        };
        execution.finished = Some(Timestamp::now());
        execution.succeeded = succeeded;
        tracing::info!(
            namespace = execution.kube_namespace,
            porter_namespace = execution.installation.0,
            installation = execution.installation.1,
            action = execution.action,
            bundle = %execution.bundle,
            succeeded,
            "bundle action ended"
        );
    }
}

impl Execution {
    fn is_same_installation(&self, other: &Self) -> bool {
        (self.database, &self.installation) == (other.database, &other.installation)
    }
}

/// Plays the pods of Porter's Jobs until `shutdown`.
///
/// # Errors
/// When the environment names a real porter without what it needs, or the watch of pods ends by itself; it does not, an
/// API server that is away is waited for.
pub async fn run(client: Client, options: Options, runner: Runner, shutdown: CancellationToken) -> Result<()> {
    let real = RealPorter::from_environment()?.map(Arc::new);
    if let Some(real) = &real {
        real.prepare().await?;
    }
    runner.state().real.clone_from(&real);
    let pods: Api<Pod> = match &options.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let player = Player { client, action_time: options.action_time, runner };
    let mut events = pin!(watcher(pods, watcher::Config::default().labels(JOB_TYPE)));
    let mut played: HashMap<String, CancellationToken> = HashMap::new();
    let mut listed = HashSet::new();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            event = events.next() => event.context("the watch of pods ended")?,
        };
        match event {
            Err(error) => {
                tracing::debug!(%error, "the watch of pods failed and begins again");
                tokio::time::sleep(kubelet::AGAIN).await;
            }
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitDone) => played.retain(|uid, playing| {
                let there = listed.contains(uid);
                if !there {
                    playing.cancel();
                }
                there
            }),
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                let uid = pod.uid().unwrap_or_default();
                listed.insert(uid.clone());
                if pod.metadata.deletion_timestamp.is_some() {
                    if let Some(playing) = played.get(&uid) {
                        playing.cancel();
                    }
                } else if kubelet::is_open(&pod) && !played.contains_key(&uid) {
                    let killed = shutdown.child_token();
                    played.insert(uid, killed.clone());
                    let (player, shutdown) = (player.clone(), shutdown.clone());
                    tokio::spawn(async move {
                        let ended = killed.run_until_cancelled(player.play(&pod)).await;
                        if let Some(number) = execution(&pod).filter(|_| ended.is_none() && !shutdown.is_cancelled()) {
                            player.runner.end(number, None);
                        }
                    });
                }
            }
            Ok(Event::Delete(pod)) => {
                if let Some(playing) = played.remove(&pod.uid().unwrap_or_default()) {
                    playing.cancel();
                }
            }
        }
    }
}

/// Which execution a bundle's pod is.
fn execution(pod: &Pod) -> Option<usize> {
    pod.annotations().get(EXECUTION).and_then(|number| number.parse().ok())
}

#[derive(Clone)]
struct Player {
    client: Client,
    action_time: Duration,
    runner: Runner,
}

impl Player {
    async fn play(&self, pod: &Pod) {
        let namespace = pod.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let outcome = async {
            let exit = match (pod.labels().get(JOB_TYPE).map(String::as_str), execution(pod)) {
                (Some("porter-agent"), _) => {
                    kubelet::running(&pods, pod).await?;
                    if self.evicts() {
                        return Ok(kubelet::evicted(&pods, pod).await?);
                    }
                    self.agent(pod, &namespace).await?
                }
                (Some("bundle-installer"), Some(number)) => {
                    let (unpullable, mut held) = self
                        .of_bundle(number, |script| (std::mem::take(&mut script.unpullable), script.held.subscribe()));
                    if unpullable {
                        kubelet::cannot_pull(&pods, pod).await?;
                        // The sender lives as long as the scripts do.
                        let _ = held.wait_for(|held| !held).await;
                    }
                    kubelet::running(&pods, pod).await?;
                    let exit = self.bundle(number).await;
                    if exit.code != 0 && self.of_bundle(number, |script| std::mem::take(&mut script.greedy)) {
                        return Ok(kubelet::out_of_memory(&pods, pod).await?);
                    }
                    exit
                }
                // Somebody else's.
                _ => return Ok(()),
            };
            kubelet::ended(&pods, pod, exit.code).await?;
            anyhow::Ok(())
        };
        if let Err(error) = outcome.await {
            // Mostly a pod or namespace that went meanwhile.
            tracing::warn!(namespace, pod = pod.name_any(), "a pod is played no further: {error:#}");
        }
    }

    fn evicts(&self) -> bool {
        let mut state = self.runner.state();
        let evicts = state.evictions > 0;
        state.evictions = state.evictions.saturating_sub(1);
        evicts
    }

    /// Of the bundle of an execution.
    fn of_bundle<T>(&self, number: usize, change: impl FnOnce(&mut Script) -> T) -> T {
        let execution = self.runner.executions().get(number).map(|execution| execution.bundle.repository.clone());
        self.runner.script(&execution.unwrap_or_default(), change)
    }

    /// Porter, in the pod of an agent.
    async fn agent(&self, pod: &Pod, namespace: &str) -> Result<Exit> {
        let container =
            pod.spec.as_ref().and_then(|spec| spec.containers.first()).context("a pod without container")?;
        let arguments = container.args.clone().unwrap_or_default();
        let agent_action = agent_action(pod);
        let files = self.workdir(pod, namespace).await?;
        let secrets = self.secrets(namespace).await?;
        let number = {
            let mut state = self.runner.state();
            state.commands.push(PorterCommand {
                kube_namespace: namespace.to_owned(),
                agent_action: agent_action.clone(),
                arguments: arguments.clone(),
                started: Timestamp::now(),
                exit: None,
                ran: None,
                message: String::new(),
            });
            state.commands.len() - 1
        };
        let database = self.database(pod, namespace).await?;
        let real = self.runner.state().real.clone();
        let (exit, ran) = match real {
            Some(real) => {
                let registry = self.runner.state().registry.clone();
                let running = real.begin(database, &arguments, &files, &secrets, &registry)?;
                self.real_porter(pod, namespace, database, &real, running, (&arguments, &files)).await?
            }
            None => {
                let version = Version::of_image(container.image.as_deref().unwrap_or_default());
                let outcome = self.runner.state().porter(database, version).begin(&arguments, &files, &secrets);
                match outcome {
                    Outcome::Exit(exit) => (exit, None),
                    Outcome::Run(request) => {
                        let succeeded = self.run_bundle(pod, namespace, database, &request).await?;
                        let exit = self.runner.state().porter(database, version).finish(&request, succeeded);
                        (exit, Some(request.action))
                    }
                }
            }
        };
        tracing::info!(
            namespace,
            agent_action,
            command = arguments.join(" "),
            exit = exit.code,
            ran,
            message = exit.message,
            "porter ended"
        );
        let mut state = self.runner.state();
        if let Some(command) = state.commands.get_mut(number) {
            command.exit = Some(exit.code);
            command.ran = ran;
            command.message.clone_from(&exit.message);
        }
        Ok(exit)
    }

    /// The real CLI, from its begin to its end.
    async fn real_porter(
        &self,
        pod: &Pod,
        namespace: &str,
        database: usize,
        real: &RealPorter,
        mut running: Running,
        asked: (&[String], &Files),
    ) -> Result<(Exit, Option<String>)> {
        let mut ran = None;
        loop {
            match running.next().await? {
                Next::Exit(code) => return Ok((Exit { code, message: format!("porter ended with {code}") }, ran)),
                Next::Action(operation) => {
                    let (identity, bundle) = (operation.installation(), porter_model::asked_for(asked.0, asked.1));
                    let bundle = real.bundle(database, &identity, bundle, &operation.image);
                    let request = RunRequest::of(
                        identity,
                        &operation.action,
                        bundle,
                        operation.image.content_digest,
                        operation.parameters,
                    );
                    running.finish(self.run_bundle(pod, namespace, database, &request).await?)?;
                    ran = Some(request.action);
                }
            }
        }
    }

    /// The database that Porter's configuration in the pod names.
    async fn database(&self, pod: &Pod, namespace: &str) -> Result<usize> {
        let config = self.mounted(pod, namespace, "porter-config").await?.remove("config.yaml").unwrap_or_default();
        let config: Value = serde_saphyr::from_str(&config).unwrap_or_default();
        let default = &config["default-storage"];
        let storage = config["storage"].as_array().into_iter().flatten().find(|storage| storage["name"] == *default);
        // Without the name, by which it is found and no more.
        let storage = storage.map(|storage| json!([storage["plugin"], storage["config"]]));
        let storage = storage.unwrap_or_else(|| config["default-storage-plugin"].clone());
        Ok(self.runner.state().database(storage.to_string()))
    }

    /// The files in the folder that Porter runs in.
    async fn workdir(&self, pod: &Pod, namespace: &str) -> Result<Files> {
        self.mounted(pod, namespace, "porter-workdir").await
    }

    /// The files of the Secret that is mounted as a volume.
    async fn mounted(&self, pod: &Pod, namespace: &str, volume: &str) -> Result<Files> {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        let found = volumes.iter().find(|found| found.name == volume);
        let secret = found.and_then(|found| found.secret.as_ref()).and_then(|secret| secret.secret_name.as_deref());
        let secret = secret.with_context(|| format!("the pod has no volume {volume} of a Secret"))?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let data = kubelet::persist(|| secrets.get(secret)).await?.data.unwrap_or_default();
        Ok(data.into_iter().map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes.0).into_owned())).collect())
    }

    /// The values that Porter's Kubernetes plugin would find in the namespace.
    async fn secrets(&self, namespace: &str) -> Result<Secrets> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let list = ListParams::default().labels("!getporter.org/managed");
        let listed = kubelet::persist(|| secrets.list(&list)).await?;
        let value = |secret: Secret| {
            let value = secret.data.as_ref()?.get("value")?;
            Some((secret.name_any(), String::from_utf8_lossy(&value.0).into_owned()))
        };
        Ok(listed.into_iter().filter_map(value).collect())
    }

    /// Makes the Job of a bundle action, waits for its end, and tells whether it succeeded.
    async fn run_bundle(&self, pod: &Pod, namespace: &str, database: usize, request: &RunRequest) -> Result<bool> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let number = self.record(namespace, agent_action(pod), database, request);
        let job = bundle_job(request, number, pod)?;
        // In a task of its own: an agent that is killed now leaves its Job all the same, or never began an action.
        let (runner, creating) = (self.runner.clone(), jobs.clone());
        let created = tokio::spawn(async move {
            let parameters = PostParams::default();
            let created = kubelet::persist(|| create_once(&creating, &parameters, &job)).await;
            if created.is_err() {
                runner.end(number, Some(false));
            }
            created
        });
        let job = created.await??.name_any();
        let succeeded = loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            // A Job that somebody deletes fails the run, as it does for the driver.
            let Some(job) = kubelet::persist(|| jobs.get_opt(&job)).await? else { break false };
            let conditions = job.status.and_then(|status| status.conditions).unwrap_or_default();
            let is =
                |type_: &str| conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True");
            if is("Complete") || is("Failed") {
                break is("Complete");
            }
        };
        // Where no pod did: it never came.
        self.runner.end(number, Some(succeeded));
        Ok(succeeded)
    }

    fn record(&self, namespace: &str, agent_action: String, database: usize, request: &RunRequest) -> usize {
        let mut state = self.runner.state();
        state.executions.push(Execution {
            installation: request.installation.clone(),
            database,
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
        state.executions.len() - 1
    }

    /// The image of the bundle, in the pod of its own Job.
    async fn bundle(&self, number: usize) -> Exit {
        let repository = {
            let state = self.runner.state();
            state.executions.get(number).map(|execution| execution.bundle.repository.clone())
        };
        let Some(repository) = repository else {
            return Exit { code: 1, message: "the runner that began this action is gone".to_owned() };
        };
        let (time, mut held) = self.runner.script(&repository, |script| (script.time, script.held.subscribe()));
        tokio::time::sleep(time.unwrap_or(self.action_time)).await;
        // The sender lives as long as the scripts do.
        let _ = held.wait_for(|held| !held).await;
        let failed = self.runner.script(&repository, |script| {
            let failed = script.fail > 0;
            script.fail = script.fail.saturating_sub(1);
            failed
        });
        self.runner.end(number, Some(!failed));
        let message = if failed { "the bundle failed, as told" } else { "" };
        Exit { code: i32::from(failed), message: message.to_owned() }
    }
}

/// Marks the newest execution and those of the same installation that are not over.
fn mark_overlaps(executions: &mut [Execution]) {
    let Some((newest, earlier)) = executions.split_last_mut() else { return };
    for other in earlier.iter_mut().filter(|other| other.finished.is_none()) {
        if other.is_same_installation(newest) {
            other.overlapping = true;
            newest.overlapping = true;
        }
    }
}

fn agent_action(pod: &Pod) -> String {
    pod.labels().get("getporter.org/resourceName").cloned().unwrap_or_default()
}

/// The labels that the agent is told to give to all that it makes.
fn bundle_labels(pod: &Pod) -> BTreeMap<String, String> {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let env = container.and_then(|container| container.env.as_deref()).unwrap_or_default();
    let labels = env.iter().find(|variable| variable.name == "LABELS").and_then(|variable| variable.value.as_deref());
    let pairs = labels.unwrap_or_default().split(' ').filter_map(|pair| pair.split_once('='));
    let mut labels: BTreeMap<_, _> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    labels.insert(JOB_TYPE.to_owned(), "bundle-installer".to_owned());
    labels
}

/// Creates a Job, or finds that it was created: the answer to the first request may have been lost.
async fn create_once(jobs: &Api<Job>, parameters: &PostParams, job: &Job) -> Result<Job, kube::Error> {
    match jobs.create(parameters, job).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => jobs.get(&job.name_any()).await,
        created => created,
    }
}

fn bundle_job(request: &RunRequest, number: usize, agent: &Pod) -> Result<Job> {
    let labels = bundle_labels(agent);
    let name = request.installation.1.to_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(50).collect();
    let name = format!("{}-", name.trim_matches('-'));
    // What makes it unique is chosen here and not by the API server, so that asking twice makes one.
    let unique: String = agent.uid().unwrap_or_default().chars().take(8).collect();
    let annotations = json!({EXECUTION: number.to_string()});
    let job = json!({
        "metadata": {"name": format!("{name}{unique}"), "generateName": name, "labels": labels},
        "spec": {
            "completions": 1,
            "backoffLimit": 0,
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
