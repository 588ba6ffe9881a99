//! Chaos: while installations live, SIGKILL takes the controller within 50 ms of writes, and the API server and
//! source-controller freeze, die and come back. Nobody may tell from the end that it happened.
//!
//! Each flow of `flows.rs` is played once in peace, and then again and again under kills. Every time the end has to be
//! the one in peace: the objects, the ledger, and the bundle actions of each installation in their order. No two actions
//! of one installation may ever have been on at once, and no Installation deleted while Porter had it installed.
//!
//! `CHAOS_KILLS` is the number of kills, `CHAOS_SEED` repeats the choices of a run (not the moments at which servers
//! answer), `CHAOS_FLOWS=NAME,...` plays only some. From 300 kills on, each kind of write has to be hit five times.

mod end;
mod flows;
mod kills;
mod outages;
#[path = "../world/mod.rs"]
mod world;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use e2e::{ControllerOptions, Environment};
use futures::stream::{self, StreamExt as _};
use serde_json::Value;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use flows::{FLOWS, Flow, Life};
use kills::{Kills, Table};
use writes::Writes;

/// Kills in the test command.
const FEW: usize = 32;
/// With fewer kills than so many for each flow, only some are played.
const OF_A_FLOW: usize = 8;
/// From so many on, the table has to be full.
const MANY: usize = 300;
/// Kills of one life.
const MOST_IN_A_LIFE: usize = 9;
/// Lives at a time.
const SIDE_BY_SIDE: usize = 6;
/// How long an end may take that is the right one.
const SETTLES: Duration = Duration::from_secs(60);
/// How long nothing may change for it to be the end.
const STILL: Duration = Duration::from_secs(2);

/// What all lives share.
struct Chaos {
    writes: Arc<Writes>,
    table: Table,
    /// Held while a life begins, and while a server is away: what a life needs to begin is made by requests that nobody
    /// repeats.
    beginning: RwLock<()>,
    lives: AtomicUsize,
}

fn number(variable: &str) -> Result<Option<u64>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    Ok(Some(text.parse().with_context(|| format!("{variable}={text} is no number"))?))
}

/// The flows that are asked for, or else as many as that number of kills is enough for.
fn chosen(seed: u64, kills: usize) -> Result<Vec<&'static Flow>> {
    if let Ok(names) = std::env::var("CHAOS_FLOWS") {
        let flow = |name| FLOWS.iter().find(|flow| flow.name == name).with_context(|| format!("no flow {name}"));
        return names.split(',').map(flow).collect();
    }
    let mut flows: Vec<_> = FLOWS.iter().collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut flows);
    flows.truncate(kills / OF_A_FLOW);
    Ok(flows)
}

/// How a life in peace went.
struct Peace {
    end: Value,
    writes: usize,
}

impl Chaos {
    /// One life, from the first commit to its end. `chaos` says when the controller dies, and how it is in peace.
    async fn live(&self, flow: &Flow, chaos: Option<(fastrand::Rng, &Peace)>) -> Result<Peace> {
        let mut life = {
            let _calm = self.beginning.read().await;
            Life::begin(flow.name).await?
        };
        let namespace = life.world.namespace.clone();
        life.world.controller.kill()?;
        let environment = life.world.environment;
        let mut controller = environment.launch_controller(ControllerOptions::watching(&namespace)).await?;
        let over = CancellationToken::new();
        let flowing = async {
            let outcome = (flow.play)(&life).await;
            over.cancel();
            outcome
        };
        let mut kills = Kills::new(&self.writes, &namespace);
        let expected = chaos.as_ref().map(|(_, peace)| &peace.end);
        let killing = async {
            match &chaos {
                Some((random, peace)) => {
                    kills.kill(&mut controller, random.clone(), peace.writes, &self.table, &over).await
                }
                None => Ok(()),
            }
        };
        let (flowed, killed) = tokio::join!(flowing, killing);
        let outcome = async {
            killed?;
            flowed?;
            let end = life.end(expected).await?;
            if let Some(expected) = expected.filter(|expected| **expected != end) {
                bail!("it ended otherwise:\n{}", end::difference(expected, &end));
            }
            self.writes.unsafe_deletes(&life)?;
            Ok(Peace { end, writes: self.writes.count(&namespace) })
        };
        let outcome: Result<Peace> = outcome.await;
        self.table.count(&kills, outcome.is_ok());
        let place = || format!("{} in {namespace}, log {}", flow.name, controller.log().display());
        outcome.map_err(|error| anyhow!("{}: {error:#}; {kills}", place()))
    }

    /// Plays the flow of this number in chaos, and says how it went wrong.
    async fn again(&self, flow: &Flow, number: usize, seed: u64, peace: &Peace) -> Option<String> {
        let random = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
        self.lives.fetch_add(1, Ordering::Relaxed);
        let wrong = self.live(flow, Some((random, peace))).await.err().map(|error| format!("{error:#}"));
        println!(
            "life {number}, {}: {} kills so far; {}",
            flow.name,
            self.table.total(),
            wrong.as_deref().unwrap_or("well")
        );
        wrong
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kills_and_outages_change_neither_the_end_nor_the_actions() -> Result<()> {
    let seed = number("CHAOS_SEED")?.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let kills = number("CHAOS_KILLS")?.map_or(Ok(FEW), usize::try_from)?;
    println!("CHAOS_SEED={seed} CHAOS_KILLS={kills}");
    let flows = chosen(seed, kills)?;
    let environment = Environment::shared().await;
    let chaos = Chaos {
        writes: Writes::follow(&environment.folder().join("audit.log"))?,
        table: Table::new(kills),
        beginning: RwLock::default(),
        lives: AtomicUsize::new(0),
    };
    let peaceful = |flow: &'static Flow| async { (flow.name, chaos.live(flow, None).await) };
    let ends: Vec<(&str, Result<Peace>)> =
        stream::iter(flows.iter().copied()).map(peaceful).buffer_unordered(SIDE_BY_SIDE).collect().await;
    let mut expected = BTreeMap::new();
    for (name, end) in ends {
        expected.insert(name, end.context("in peace")?);
    }
    let kinds = chaos.writes.kinds();

    let over = CancellationToken::new();
    let storm = async {
        let wrong: Vec<String> = stream::iter(0..)
            // Each flow at least once.
            .take_while(|number| std::future::ready(*number < flows.len() || chaos.table.total() < kills))
            .map(|number| {
                let flow = flows[number % flows.len()];
                let (chaos, expected) = (&chaos, &expected[flow.name]);
                async move { chaos.again(flow, number, seed, expected).await }
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        over.cancel();
        wrong
    };
    let (wrong, outages) = tokio::join!(storm, outages::happen(environment, seed, &chaos.beginning, &over));
    println!("{} lives of {} flows\n{}\noutages: {}", chaos.lives.into_inner(), flows.len(), chaos.table, outages?);
    ensure!(wrong.is_empty(), "CHAOS_SEED={seed}: {} lives went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    let rare = chaos.table.rarer_than(5, &kinds);
    ensure!(kills < MANY || rare.is_empty(), "fewer than five kills at {rare:?}");
    Ok(())
}
