//! That the simulated Porter operator does what the real one was recorded doing.
//!
//! Each file in `operator/` is a scenario: steps, and what was seen when they ran against the operator v1.1.0 with real
//! servers and played pods. Compared are what stands at the end, the AgentActions with their arguments and files, the
//! Jobs, how many pods ran, the events, and the history of each status: a list of runs, each `[observedGeneration, last
//! phase]`, within which the states must come in the operator's order; states may be missing, for watch events merge. Of
//! an object whose status `flickers` each state seen must be a recorded one, in any order. [`scenario::EXCEPTED`] names
//! what was recorded and is not compared.
//!
//! `sequences.json` holds sequences that were tried with the real Porter in the pods; they run on both simulations
//! together.
//!
//! `PORTER_OPERATOR=<manager binary>` compares the real operator instead; `outputs` then needs Porter's API server with the
//! outputs of `operators.rs` at `porter-grpc-service:3001`, and runs only where `PORTER_GRPC` says that it is there.
//! `CONFORMANCE=<name>,...` runs only some.

mod cluster;
mod compare;
mod history;
mod operators;
mod pods;
mod recorder;
mod scenario;
mod sequences;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::{Environment, User};
use kube::ResourceExt;
use kube::api::DynamicObject;

use cluster::Cluster;
use compare::compare;
use operators::{OPERATOR, Operator, RealOperator, real_operator};
use pods::PodPlayer;
use recorder::Recorder;
use scenario::{Scenario, scenarios};

const PORTER: (&str, &str) = ("getporter.org", "v1");

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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
