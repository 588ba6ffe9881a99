//! That the simulated Porter operator does what the real one was recorded doing.
//!
//! Each file in `conformance/operator/` is a scenario: steps, and what was seen when they ran against the operator v1.1.0 with real
//! servers and played pods. Compared are what stands at the end, the AgentActions with their arguments and files, the
//! Jobs, how many pods ran, the events, and the history of each status: a list of runs, each `[observedGeneration, last
//! phase]`, within which the states must come in the operator's order; states may be missing, for watch events merge. Of
//! an object whose status `flickers` each state seen must be a recorded one, in any order. [`EXCEPTED`] names what was
//! recorded and is not compared.
//!
//! `conformance/sequences.json` holds sequences that were tried with the real Porter in the pods; they run on both
//! simulations together.
//!
//! `PORTER_OPERATOR=<manager binary>` compares the real operator instead; `outputs` then needs Porter's API server with the
//! outputs of [`known_outputs`] at `porter-grpc-service:3001`, and runs only where `PORTER_GRPC` says that it is there.
//! `CONFORMANCE=<name>,...` runs only some.

#[path = "conformance/sequences.rs"]
mod sequences;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use e2e::process::{Process, Program};
use e2e::{Environment, PATIENCE, User, dynamic, eventually};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use simulated_operator::Output;
use simulated_runner::kubelet;
use tokio_util::sync::CancellationToken;

const PORTER: (&str, &str) = ("getporter.org", "v1");
/// Names the binary of a real operator.
const OPERATOR: &str = "PORTER_OPERATOR";
const WATCHED: [(&str, &str, &str); 6] = [
    (PORTER.0, PORTER.1, "Installation"),
    (PORTER.0, PORTER.1, "CredentialSet"),
    (PORTER.0, PORTER.1, "ParameterSet"),
    (PORTER.0, PORTER.1, "AgentConfig"),
    (PORTER.0, PORTER.1, "AgentAction"),
    ("batch", "v1", "Job"),
];
/// How long the end must stay as it is.
const QUIET: Duration = Duration::from_secs(3);

/// Recorded, and not compared.
const EXCEPTED: [(&str, &str); 1] = [(
    "sets_frozen",
    "a freeze of the operator after a write conflict of its own; it cannot be had at will, and the simulation reads live",
)];
/// How many scenarios were recorded.
const RECORDED: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    #[expect(dead_code, reason = "for whoever reads the file")]
    what: String,
    /// So many of each item and entry with `{n}` in it.
    #[expect(dead_code, reason = "expanded before the scenario is read")]
    #[serde(default)]
    each: usize,
    /// It disturbs others.
    #[serde(default)]
    alone: bool,
    steps: Vec<Step>,
    /// How the first, second, ... pod ends; those after the last as the last.
    #[serde(default)]
    pods: Vec<String>,
    /// Objects whose status goes back and forth.
    #[serde(default)]
    flickers: BTreeSet<String>,
    /// AgentActions that come or not, by timing.
    #[serde(default)]
    may: BTreeSet<String>,
    /// The statuses of InstallationOutputs.
    #[serde(default)]
    outputs: BTreeMap<String, Value>,
    end: End,
    actions: BTreeMap<String, Value>,
    jobs: Vec<Value>,
    metadata: BTreeMap<String, Value>,
    history: BTreeMap<String, Vec<(i64, String)>>,
    events: BTreeSet<(String, String, String)>,
}

/// One of them is set.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Step {
    apply: Option<Value>,
    /// What the refusal of `apply` says, and its code.
    refused: Option<String>,
    code: Option<u16>,
    delete: Option<String>,
    delete_namespace: bool,
    patch: Option<String>,
    with: Value,
    r#await: Option<String>,
    until: String,
    generation: Option<i64>,
    await_pods: Option<usize>,
    wait: Option<u64>,
    hold: bool,
    release: bool,
    restart_operator: bool,
}

/// What stands at the end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    /// Generation and phase of each object, by kind and name.
    objects: BTreeMap<String, (i64, String)>,
    jobs: Option<usize>,
    /// Those without an owner, which nobody removes.
    secrets: Option<usize>,
    claims: Option<usize>,
    /// At least, at most.
    pods: (usize, usize),
}

#[tokio::test(flavor = "multi_thread")]
async fn behaves_as_recorded() -> Result<()> {
    let environment = Environment::shared().await;
    let real = match std::env::var_os(OPERATOR) {
        Some(_) => Some(Arc::new(tokio::sync::Mutex::new(real_operator(environment)?))),
        None => None,
    };
    let recorder = Recorder::start(&environment.client(User::Test).await?);
    // The real one has one worker a kind for all, and what it was recorded with is one scenario. The simulated one waits
    // for the garbage collector most of the time.
    let room = Arc::new(tokio::sync::Semaphore::new(if real.is_some() { 6 } else { 20 }));
    let mut together = tokio::task::JoinSet::new();
    let mut alone = Vec::new();
    let only = std::env::var("CONFORMANCE").ok();
    let selected = |name: &str| only.as_ref().is_none_or(|only| only.split(',').any(|wanted| wanted == name));
    for (name, steps) in sequences::all()? {
        if selected(&name) {
            together.spawn(in_turn(Arc::clone(&room), sequences::play(environment, name, steps, real.clone())));
        }
    }
    for (name, scenario) in scenarios()? {
        if !selected(&name) {
            continue;
        }
        if name == "outputs" && real.is_some() && std::env::var_os("PORTER_GRPC").is_none() {
            println!("SKIPPED outputs: {OPERATOR} is set, and PORTER_GRPC does not tell that there is a server for it");
            continue;
        }
        let apart = Scenario::read(&scenario, "").with_context(|| name.clone())?.alone;
        let play = play(environment, name.clone(), scenario, Arc::clone(&recorder), real.clone());
        if apart {
            alone.push(play);
        } else {
            together.spawn(in_turn(Arc::clone(&room), play));
        }
    }
    let mut outcomes = together.join_all().await;
    for play in alone {
        outcomes.push(play.await);
    }
    outcomes.sort_by(|left, right| left.0.cmp(&right.0));
    let mut failed = Vec::new();
    for (name, seconds, differences) in &outcomes {
        println!("{} {name} ({seconds:.1} s)", if differences.is_empty() { "ok  " } else { "FAIL" });
        failed.extend(differences.iter().map(|difference| format!("{name}: {difference}")));
    }
    println!("{} scenarios and sequences", outcomes.len());
    ensure!(failed.is_empty(), "{} differences:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// Waits for its turn first.
async fn in_turn<T>(room: Arc<tokio::sync::Semaphore>, play: impl Future<Output = T>) -> T {
    let _turn = room.acquire().await;
    play.await
}

/// The texts of the scenarios by their names.
fn scenarios() -> Result<BTreeMap<String, String>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/operator");
    let mut scenarios = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        scenarios.insert(name, std::fs::read_to_string(&path)?);
    }
    ensure!(scenarios.len() + EXCEPTED.len() == RECORDED, "{} scenarios", scenarios.len());
    for (name, reason) in EXCEPTED {
        ensure!(!scenarios.contains_key(name), "{name} is excepted");
        println!("EXCEPTED {name}: {reason}");
    }
    Ok(scenarios)
}

impl Scenario {
    fn read(text: &str, namespace: &str) -> Result<Self> {
        let mut scenario: Value = serde_json::from_str(&text.replace("${namespace}", namespace))?;
        if let Some(count) = scenario["each"].as_u64() {
            multiply(&mut scenario, count);
        }
        Ok(serde_json::from_value(scenario)?)
    }
}

/// Puts `count` items or entries, with 00, 01, ..., in the place of each with `{n}` in it.
fn multiply(value: &mut Value, count: u64) {
    const PLACE: &str = "{n}";
    let numbered = |value: &Value, number: u64| -> Value {
        let text = value.to_string().replace(PLACE, &format!("{number:02}"));
        serde_json::from_str(&text).unwrap_or_default()
    };
    match value {
        Value::Array(items) => {
            let copies = |mut item: Value| match item.to_string().contains(PLACE) {
                true => (0..count).map(|number| numbered(&item, number)).collect(),
                false => {
                    multiply(&mut item, count);
                    vec![item]
                }
            };
            *items = std::mem::take(items).into_iter().flat_map(copies).collect();
        }
        Value::Object(map) => {
            let copies = |(key, mut value): (String, Value)| match key.contains(PLACE) {
                true => {
                    let copy = |number| (key.replace(PLACE, &format!("{number:02}")), numbered(&value, number));
                    (0..count).map(copy).collect::<Vec<_>>()
                }
                false => {
                    multiply(&mut value, count);
                    vec![(key, value)]
                }
            };
            *map = std::mem::take(map).into_iter().flat_map(copies).collect();
        }
        _ => {}
    }
}

/// Plays a scenario and tells what differs.
async fn play(
    environment: &'static Environment,
    name: String,
    scenario: String,
    recorder: Arc<Recorder>,
    real: Option<RealOperator>,
) -> (String, f64, Vec<String>) {
    let started = Instant::now();
    let outcome = async {
        let namespace = environment.namespace(&name.replace('_', "-")).await?;
        let scenario = Scenario::read(&scenario, &namespace)?;
        let client = environment.client(User::Test).await?;
        let player = PodPlayer::start(environment.client(User::Runner).await?, &namespace, scenario.pods.clone());
        let mut operator = Operator::start(environment, &namespace, real).await?;
        let cluster = Cluster { client, namespace };
        for step in &scenario.steps {
            cluster.step(step, &player, environment, &mut operator).await.with_context(|| format!("{step:?}"))?;
        }
        compare(&cluster, &scenario, &recorder, &player).await
    };
    let differences = outcome.await.unwrap_or_else(|error: anyhow::Error| vec![format!("{error:#}")]);
    (name, started.elapsed().as_secs_f64(), differences)
}

struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    fn api(&self, kind: &str) -> Api<DynamicObject> {
        dynamic(self.client.clone(), &self.namespace, PORTER.0, PORTER.1, kind)
    }

    /// The API and the name of `KIND/NAME`, or of `AgentAction of KIND/NAME/GENERATION` and `Job of ...` the same.
    async fn named(&self, object: &str) -> Result<(Api<DynamicObject>, String)> {
        let Some((kind, key)) = object.split_once(" of ") else {
            let (kind, name) = object.split_once('/').context("an object is KIND/NAME")?;
            return Ok((self.api(kind), name.to_owned()));
        };
        let actions = self.api("AgentAction").list(&ListParams::default()).await?;
        let action = actions.into_iter().find(|action| action_key(action) == key);
        let action = action.with_context(|| format!("there is no AgentAction of {key}"))?.name_any();
        if kind == "AgentAction" {
            return Ok((self.api(kind), action));
        }
        let jobs = dynamic(self.client.clone(), &self.namespace, "batch", "v1", "Job");
        let of_action = ListParams::default().labels(&format!("getporter.org/resourceName={action}"));
        let job = jobs.list(&of_action).await?.items.pop().with_context(|| format!("there is no Job of {key}"))?;
        Ok((jobs, job.name_any()))
    }

    async fn step(
        &self,
        step: &Step,
        player: &PodPlayer,
        environment: &Environment,
        operator: &mut Operator,
    ) -> Result<()> {
        if let Some(object) = &step.apply {
            let kind = object["kind"].as_str().context("no kind")?;
            let name = object["metadata"]["name"].as_str().context("no name")?;
            let parameters = PatchParams::apply("conformance").force();
            match (self.api(kind).patch(name, &parameters, &Patch::Apply(object)).await, &step.refused) {
                (Ok(_), None) => {}
                (Err(kube::Error::Api(status)), Some(refusal)) => {
                    let said = (status.message.contains(refusal), Some(status.code));
                    ensure!(said == (true, step.code), "refused with {status:?}");
                }
                (Ok(_), Some(refusal)) => bail!("it was not refused: {refusal}"),
                (Err(error), _) => return Err(error.into()),
            }
        }
        if let Some(object) = &step.delete {
            let (api, name) = self.named(object).await?;
            // What is in the background goes later, as with kubectl.
            api.delete(&name, &DeleteParams::background()).await?;
        }
        if step.delete_namespace {
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        }
        if let Some(object) = &step.patch {
            let (api, name) = self.named(object).await?;
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&step.with)).await?;
        }
        if let Some(object) = &step.r#await {
            eventually(PATIENCE, &format!("{object} to be {}", step.until), || async {
                let found = match self.named(object).await {
                    Ok((api, name)) => api.get_opt(&name).await?,
                    Err(_) if step.until == "Gone" => None,
                    Err(error) => return Err(error),
                };
                reached(found.as_ref(), &step.until, step.generation)
            })
            .await?;
        }
        if let Some(count) = step.await_pods {
            eventually(PATIENCE, &format!("{count} pods"), || async {
                if player.ran() == count { Ok(()) } else { bail!("{} pods", player.ran()) }
            })
            .await?;
        }
        if let Some(seconds) = step.wait {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        if step.hold || step.release {
            player.hold.send_replace(step.hold);
        }
        if step.restart_operator {
            operator.restart(environment, &self.namespace).await?;
        }
        Ok(())
    }

    /// What stands now, in the form of [`End`].
    async fn end(&self, pods: usize) -> Result<Value> {
        let mut objects = Map::new();
        for kind in ["Installation", "CredentialSet", "ParameterSet", "AgentAction"] {
            for object in self.api(kind).list(&ListParams::default()).await? {
                let name = if kind == "AgentAction" {
                    format!("AgentAction of {}", action_key(&object))
                } else {
                    format!("{kind}/{}", object.name_any())
                };
                let phase = object.data.pointer("/status/phase").cloned().unwrap_or_default();
                if objects.insert(name.clone(), json!([object.metadata.generation, phase])).is_some() {
                    bail!("there are two {name}");
                }
            }
        }
        let managed = ListParams::default().labels("getporter.org/managed");
        let unowned = |metadata: &ObjectMeta| metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
        let jobs = dynamic(self.client.clone(), &self.namespace, "batch", "v1", "Job");
        Ok(json!({
            "objects": objects,
            "jobs": jobs.list(&ListParams::default()).await?.items.len(),
            "secrets": secrets.list(&managed).await?.iter().filter(|secret| unowned(&secret.metadata)).count(),
            "claims": claims.list(&managed).await?.iter().filter(|claim| unowned(&claim.metadata)).count(),
            "pods": pods,
        }))
    }
}

fn reached(object: Option<&DynamicObject>, until: &str, generation: Option<i64>) -> Result<()> {
    let Some(object) = object else {
        ensure!(until == "Gone", "it is not there");
        return Ok(());
    };
    let status = object.data.get("status").cloned().unwrap_or_default();
    let current = status["observedGeneration"].as_i64() == object.metadata.generation
        && generation.is_none_or(|generation| object.metadata.generation == Some(generation));
    let is = if until == "Ready" { status["ready"] == true } else { status["phase"] == until };
    ensure!(current && is, "generation {:?}, status {status}", object.metadata.generation);
    Ok(())
}

async fn compare(
    cluster: &Cluster,
    scenario: &Scenario,
    recorder: &Recorder,
    player: &PodPlayer,
) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let End { objects, jobs, secrets, claims, pods: (least, most) } = &scenario.end;
    // Without what is a matter of timing.
    let settled = |end: &Value| {
        let mut end = end.clone();
        for object in &scenario.flickers {
            if let Some(phase) = end["objects"].get_mut(object).and_then(|object| object.get_mut(1)) {
                phase.take();
            }
        }
        for (field, recorded) in [("jobs", jobs), ("secrets", secrets), ("claims", claims)] {
            if recorded.is_none() {
                end[field].take();
            }
        }
        end
    };
    let recorded = json!({"objects": objects, "jobs": jobs, "secrets": secrets, "claims": claims, "pods": null});
    let recorded = settled(&recorded);
    let as_recorded = |end: &Value| {
        let mut end = settled(end);
        let pods = end["pods"].take();
        end == recorded && pods.as_u64().is_some_and(|pods| (*least as u64..=*most as u64).contains(&pods))
    };
    // The garbage collector looks for kinds that are new to it every 30 seconds.
    let end = eventually(PATIENCE, &format!("the end {:?}", scenario.end), || async {
        let end = cluster.end(player.ran()).await?;
        if as_recorded(&end) { Ok(end) } else { bail!("{end}") }
    })
    .await;
    match end {
        Err(error) => differences.push(format!("{error:#}")),
        // Where pods go on running, nothing stays.
        Ok(_) if least != most => {}
        Ok(end) => {
            tokio::time::sleep(QUIET).await;
            let later = cluster.end(player.ran()).await?;
            if settled(&later) != settled(&end) {
                differences.push(format!("the end did not last: {end} became {later}"));
            }
        }
    }

    // The real operator looks at what concerns nobody else when it comes to it.
    let seen = eventually(PATIENCE, "what was recorded to be seen", || async {
        let left = differing(cluster, scenario, recorder).await?;
        if left.is_empty() { Ok(()) } else { bail!("{}", left.join("\n")) }
    });
    differences.extend(seen.await.err().map(|error| format!("{error:#}")));
    Ok(differences)
}

/// What was seen otherwise than it was recorded, but for the end.
async fn differing(cluster: &Cluster, scenario: &Scenario, recorder: &Recorder) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let repeating = scenario.end.pods.0 != scenario.end.pods.1;
    let seen = recorder.of(&cluster.namespace, &scenario.may);
    let mut differ = |what: &str, seen: &Value, recorded: &Value| {
        if seen != recorded {
            differences.push(format!("{what}\n  seen     {seen}\n  recorded {recorded}"));
        }
    };
    let actions = seen.actions();
    differ("AgentActions", &json!(actions), &json!(scenario.actions));
    let as_set = |jobs: &[Value]| json!(jobs.iter().map(Value::to_string).collect::<BTreeSet<_>>());
    differ("Jobs", &as_set(&seen.jobs()), &as_set(&scenario.jobs));
    differ("metadata", &json!(cluster.metadata().await?), &json!(scenario.metadata));
    differ("events", &json!(cluster.events().await?), &json!(scenario.events));
    differ("outputs", &json!(cluster.outputs().await?), &json!(scenario.outputs));
    differ(
        "objects with a status",
        &json!(seen.histories.keys().collect::<Vec<_>>()),
        &json!(scenario.history.keys().collect::<Vec<_>>()),
    );
    for (object, recorded) in &scenario.history {
        let history = seen.histories.get(object).map(Vec::as_slice).unwrap_or_default();
        let compared = match scenario.flickers.contains(object) {
            true => flickers(history, recorded),
            false => follows(history, recorded, repeating),
        };
        if let Err(error) = compared {
            differences.push(format!("history of {object}: {error:#}"));
        }
    }
    Ok(differences)
}

impl Cluster {
    /// Finalizers and annotations of what stands.
    async fn metadata(&self) -> Result<BTreeMap<String, Value>> {
        let mut metadata = BTreeMap::new();
        for kind in ["Installation", "CredentialSet", "ParameterSet"] {
            for object in self.api(kind).list(&ListParams::default()).await? {
                let told = json!({"finalizers": object.finalizers(), "annotations": object.annotations()});
                metadata.insert(format!("{kind}/{}", object.name_any()), told);
            }
        }
        Ok(metadata)
    }

    /// The statuses of InstallationOutputs, without times.
    async fn outputs(&self) -> Result<BTreeMap<String, Value>> {
        let told = |object: DynamicObject| {
            let mut status = object.data.get("status").cloned().unwrap_or_default();
            for condition in status["conditions"].as_array_mut().into_iter().flatten() {
                condition.as_object_mut().map(|condition| condition.remove("lastTransitionTime"));
            }
            (format!("InstallationOutput/{}", object.name_any()), status)
        };
        Ok(self.api("InstallationOutput").list(&ListParams::default()).await?.into_iter().map(told).collect())
    }

    /// Object, type and reason of the events of the operator.
    async fn events(&self) -> Result<BTreeSet<(String, String, String)>> {
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_porter = |event: k8s_openapi::api::core::v1::Event| {
            let about = event.involved_object;
            (about.api_version.as_deref() == Some("getporter.org/v1")).then(|| {
                let object = format!("{}/{}", about.kind.unwrap_or_default(), about.name.unwrap_or_default());
                (object, event.type_.unwrap_or_default(), event.reason.unwrap_or_default())
            })
        };
        Ok(events.list(&ListParams::default()).await?.into_iter().filter_map(of_porter).collect())
    }
}

/// A status, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
struct State {
    generation: i64,
    /// The place in a run, which only rises.
    rank: u8,
    phase: String,
}

impl State {
    fn of(status: &Value) -> Result<Self> {
        let generation = status["observedGeneration"].as_i64().unwrap_or_default();
        let phase = status["phase"].as_str().unwrap_or_default();
        if let Some(ready) = status["ready"].as_bool() {
            let phase = if ready { "Ready" } else { "NotReady" };
            return Ok(Self { generation, rank: u8::from(ready), phase: phase.to_owned() });
        }
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let conditions: Vec<_> = conditions.iter().filter_map(|condition| condition["type"].as_str()).collect();
        let rank = match (phase, conditions.as_slice()) {
            ("Unknown", []) if status["action"].is_null() => 0,
            ("Unknown", []) => 1,
            ("Pending", ["Scheduled"]) => 2,
            ("Running", ["Scheduled", "Started"]) => 3,
            ("Pending", ["Scheduled", "Started"]) => 4,
            ("Succeeded", ["Scheduled", "Started", "Completed"]) | ("Failed", ["Scheduled", "Started", "Failed"]) => 5,
            _ => bail!("no state of the operator: {status}"),
        };
        Ok(Self { generation, rank, phase: phase.to_owned() })
    }
}

/// Whether statuses are those of the recorded runs.
///
/// `repeating` runs count once: how often they come is a rate. How far a run came that a new generation cut short, is
/// a matter of timing.
fn follows(history: &[Value], recorded: &[(i64, String)], repeating: bool) -> Result<()> {
    let mut runs: Vec<(i64, String)> = Vec::new();
    let mut last: Option<State> = None;
    for status in history {
        let state = State::of(status)?;
        let told = (state.generation, state.phase.clone());
        match &last {
            Some(last) if last.generation == state.generation && last.rank <= state.rank => {
                if let Some(run) = runs.last_mut() {
                    *run = told;
                }
            }
            _ => runs.push(told),
        }
        last = Some(state);
    }
    let is_final = |phase: &str| matches!(phase, "Succeeded" | "Failed" | "Ready");
    if repeating {
        // The last one is still on.
        if runs.len() > 1 {
            runs.pop_if(|(_, phase)| !is_final(phase));
        }
        runs.dedup();
    }
    let mut left = runs.iter().peekable();
    for (index, (generation, phase)) in recorded.iter().enumerate() {
        let is_last = index + 1 == recorded.len();
        let came = left.next_if(|run| {
            let cut_short = !is_last && !is_final(&run.1) && !is_final(phase);
            run.0 == *generation && (run.1 == *phase || cut_short)
        });
        // A run that came to no end leaves no trace when its watch events were merged.
        ensure!(came.is_some() || (!is_final(phase) && !is_last), "runs {runs:?}, recorded {recorded:?}");
    }
    ensure!(left.peek().is_none(), "runs {runs:?}, recorded {recorded:?}");
    Ok(())
}

/// Whether each status is one of the recorded.
fn flickers(history: &[Value], recorded: &[(i64, String)]) -> Result<()> {
    for status in history {
        let state = State::of(status)?;
        let state = (state.generation, state.phase);
        ensure!(recorded.contains(&state), "{state:?} was never recorded, only {recorded:?}");
    }
    Ok(())
}

/// Kind, name and generation of what an AgentAction is for; its own, when it is for nothing.
fn action_key(action: &DynamicObject) -> String {
    let label = |name: &str| action.labels().get(&format!("getporter.org/{name}")).cloned();
    let own_generation = action.metadata.generation.unwrap_or_default().to_string();
    format!(
        "{}/{}/{}",
        label("resourceKind").unwrap_or_else(|| "AgentAction".to_owned()),
        label("resourceName").unwrap_or_else(|| action.name_any()),
        label("resourceGeneration").unwrap_or(own_generation)
    )
}

/// Every watch event of every namespace.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<(&'static str, DynamicObject)>>,
}

/// What was seen in one namespace.
struct Seen {
    objects: Vec<(&'static str, DynamicObject)>,
    histories: BTreeMap<String, Vec<Value>>,
}

impl Recorder {
    fn start(client: &Client) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        for (group, version, kind) in WATCHED {
            let resource = kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let recorder = Arc::clone(&recorder);
            tokio::spawn(async move {
                let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
                while let Some(event) = events.next().await {
                    if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
                        lock(&recorder.seen).push((kind, object));
                    }
                }
            });
        }
        recorder
    }

    /// What was seen in a namespace, without those AgentActions and their Jobs.
    fn of(&self, namespace: &str, without: &BTreeSet<String>) -> Seen {
        let seen = lock(&self.seen);
        let of_namespace = |(_, object): &&(&str, DynamicObject)| object.namespace().as_deref() == Some(namespace);
        let mut objects: Vec<_> = seen.iter().filter(of_namespace).cloned().collect();
        let is_without =
            |(kind, object): &(&str, DynamicObject)| *kind == "AgentAction" && without.contains(&action_key(object));
        let left_out: BTreeSet<_> =
            objects.iter().filter(|seen| is_without(seen)).map(|(_, action)| action.name_any()).collect();
        objects.retain(|(kind, object)| match *kind {
            "AgentAction" => !left_out.contains(&object.name_any()),
            "Job" => object.labels().get("getporter.org/resourceName").is_none_or(|name| !left_out.contains(name)),
            _ => true,
        });
        let mut histories: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (kind, object) in objects.iter().filter(|(kind, _)| *kind != "Job") {
            let Some(status) = object.data.get("status").filter(|status| status.get("observedGeneration").is_some())
            else {
                continue;
            };
            let name = match *kind {
                "AgentAction" => action_key(object),
                kind => format!("{kind}/{}", object.name_any()),
            };
            histories.entry(name).or_default().push(status.clone());
        }
        Seen { objects, histories }
    }
}

impl Seen {
    fn actions(&self) -> BTreeMap<String, Value> {
        let told = |(kind, action): &(&'static str, DynamicObject)| {
            (*kind == "AgentAction").then(|| {
                let spec = &action.data["spec"];
                let files: BTreeMap<_, _> = spec["files"].as_object().into_iter().flatten().collect();
                let files: BTreeMap<_, _> = files.into_iter().map(|(name, text)| (name, decoded(text))).collect();
                let own = action.labels().keys().filter(|label| !label.starts_with("getporter.org/"));
                let owners = action.owner_references().iter();
                let owners: Vec<_> = owners.map(|owner| format!("{}/{}", owner.kind, owner.name)).collect();
                let told = json!({
                    "args": spec["args"], "files": files, "labels": own.collect::<Vec<_>>(),
                    "annotations": action.annotations(), "owners": owners,
                });
                (action_key(action), told)
            })
        };
        // The first time that each was seen counts.
        self.objects.iter().rev().filter_map(told).collect()
    }

    fn jobs(&self) -> Vec<Value> {
        let actions = self.objects.iter().filter(|(kind, _)| *kind == "AgentAction");
        let keys: BTreeMap<_, _> = actions.map(|(_, action)| (action.name_any(), action_key(action))).collect();
        let told = |(kind, job): &(&'static str, DynamicObject)| {
            (*kind == "Job").then(|| {
                let spec = &job.data["spec"];
                let container = &spec["template"]["spec"]["containers"][0];
                let action = job.labels().get("getporter.org/resourceName").and_then(|name| keys.get(name));
                let own = job.labels().keys().filter(|label| !label.starts_with("getporter.org/"));
                let mut told = json!({
                    "action": action, "backoffLimit": spec["backoffLimit"], "ttl": spec["ttlSecondsAfterFinished"],
                    "image": container["image"], "args": container["args"], "labels": own.collect::<Vec<_>>(),
                });
                let volumes = spec["template"]["spec"]["volumes"].as_array().into_iter().flatten();
                for volume in volumes.filter(|volume| volume["name"] == "porter-plugins") {
                    let claim = volume["persistentVolumeClaim"]["claimName"].as_str().unwrap_or_default();
                    let hash = claim.strip_prefix("porter-").filter(|hash| hash.len() == 32);
                    told["plugins"] = if hash.is_some() { "porter-<hash>" } else { "temporary" }.into();
                }
                told
            })
        };
        self.objects.iter().filter_map(told).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn decoded(text: &Value) -> String {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap_or_default());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// Lets each pod of a namespace run for a moment and end as told.
struct PodPlayer {
    ran: Arc<Mutex<BTreeSet<String>>>,
    hold: tokio::sync::watch::Sender<bool>,
    _stop: tokio_util::sync::DropGuard,
}

impl PodPlayer {
    fn start(client: Client, namespace: &str, results: Vec<String>) -> Self {
        let (hold, held) = tokio::sync::watch::channel(false);
        let ran = Arc::new(Mutex::new(BTreeSet::new()));
        let stop = CancellationToken::new();
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let known = Arc::clone(&ran);
        let watching = async move {
            let mut events = pin!(watcher(pods.clone(), watcher::Config::default()).default_backoff());
            while let Some(event) = events.next().await {
                let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else { continue };
                let number = {
                    let mut known = lock(&known);
                    if !kubelet::is_open(&pod) || !known.insert(pod.uid().unwrap_or_default()) {
                        continue;
                    }
                    known.len() - 1
                };
                let result = results.get(number).or(results.last());
                let code = i32::from(result.is_some_and(|result| result == "Failed"));
                let (pods, mut held) = (pods.clone(), held.clone());
                tokio::spawn(async move {
                    kubelet::running(&pods, &pod).await?;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    let _ = held.wait_for(|held| !held).await;
                    kubelet::ended(&pods, &pod, code).await
                });
            }
        };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(watching).await });
        Self { ran, hold, _stop: stop.drop_guard() }
    }

    fn ran(&self) -> usize {
        lock(&self.ran).len()
    }
}

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
type RealOperator = Arc<tokio::sync::Mutex<Process>>;

/// What is compared. Each scenario has a simulated one for its own namespace: one worker a kind is all that there is.
enum Operator {
    Simulated { shutdown: CancellationToken, running: tokio::task::JoinHandle<Result<()>> },
    Real(RealOperator),
}

impl Operator {
    async fn start(environment: &Environment, namespace: &str, real: Option<RealOperator>) -> Result<Self> {
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

    async fn restart(&mut self, environment: &Environment, namespace: &str) -> Result<()> {
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

fn real_operator(environment: &Environment) -> Result<Process> {
    let binary = std::env::var_os(OPERATOR).with_context(|| format!("{OPERATOR} is not set"))?;
    Program::new("operator", binary.as_ref(), &environment.logs().join("operator.log"))
        .args(["--metrics-bind-address=0", "--health-probe-bind-address=0"])
        .env("KUBECONFIG", environment.kubeconfig(User::Operator))
        .start()
}
