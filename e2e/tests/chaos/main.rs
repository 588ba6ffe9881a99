//! Chaos: while installations live, SIGKILL takes the controller within 50 ms of writes, and the API server and
//! source-controller freeze, die and come back. Nobody may tell from the end that it happened.
//!
//! Each flow of `flows.rs` is played once in peace, and then again and again under kills. Every time the end has to be
//! the one in peace: the objects, the ledger, and the bundle actions of each installation in their order. The flow itself
//! says which bundle actions run, in peace and under kills, and none may begin after those. No two actions of one
//! installation may ever have been on at once, no Installation deleted while Porter had it installed or may have had, none of
//! ours be out of the ledger, and nothing forgotten that was made for a run.
//!
//! `CHAOS_KILLS` is the number of kills. Without it each flow is played in chaos once, with one at least, and only some of
//! them, by chance, in peace before: of the others the end has to be sound. `CHAOS_SEED` repeats the choices of a run (not
//! the moments at which servers answer), `CHAOS_FLOWS=NAME,...` plays only some, and `CHAOS_SIDE_BY_SIDE` so many at a time.
//! All flows together have to come by each kind of step. From 300 kills on, each kind of write that there is in peace has to
//! be hit five times: rare ones are aimed at, in the flows that have them.

mod end;
mod flows;
mod kills;
mod outages;
#[path = "../world/mod.rs"]
mod world;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use e2e::{ControllerOptions, Environment};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use flows::{FLOWS, Flow, Life};
use kills::{Kills, Table};
use writes::Writes;

/// From so many kills on, the table has to be full.
const MANY: usize = 300;
/// How often each kind of write has to be hit then.
const FULL: usize = 5;
/// How often it is aimed at: not each of these hits.
const AIMED: usize = 8;
/// Kills of one life by chance, and as many that are aimed. Where there are few, it is one by chance.
const MOST_IN_A_LIFE: usize = 8;
/// Flows that are played in peace too, where no number of kills is asked for.
const SOME: usize = 2;
/// The writes in a life, where nobody has counted them: rather too few.
const WRITES: (usize, usize) = (30, 150);
/// Lives at a time, where nobody says how many.
const SIDE_BY_SIDE: u64 = 8;
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

/// The flows that are asked for, in an order by chance.
fn chosen(seed: u64) -> Result<Vec<&'static Flow>> {
    let mut flows: Vec<_> = FLOWS.iter().collect();
    if let Ok(names) = std::env::var("CHAOS_FLOWS") {
        let flow = |name| FLOWS.iter().find(|flow| flow.name == name).with_context(|| format!("no flow {name}"));
        flows = names.split(',').map(flow).collect::<Result<_>>()?;
    }
    fastrand::Rng::with_seed(seed).shuffle(&mut flows);
    Ok(flows)
}

/// How a life in peace went.
struct Peace {
    end: Value,
    /// Of the controller, and of whomever.
    writes: (usize, usize),
    /// The kinds of those of the controller.
    kinds: BTreeSet<String>,
}

/// When the controller dies in a life.
struct Chance<'a> {
    random: fastrand::Rng,
    /// How the life is in peace, where it is known.
    peace: Option<&'a Peace>,
    /// The most kills by chance, and the most that are aimed.
    most: (usize, usize),
}

/// What the next life is to be.
struct Plan {
    flows: Vec<&'static Flow>,
    /// Where many kills are asked for, of all flows.
    peace: BTreeMap<&'static str, Peace>,
    /// All kinds of writes.
    kinds: BTreeSet<String>,
    seed: u64,
    kills: usize,
}

impl Plan {
    /// Whether there is to be a life of this number: each flow has one, and then there are more until there were as many
    /// kills as asked, and, where there are many, each kind of write was hit. That cannot be waited for without an end.
    fn goes_on(&self, number: usize, table: &Table) -> bool {
        let total = table.total();
        let full = || self.kills < MANY || table.rarer_than(FULL, &self.kinds).is_empty();
        number < self.flows.len() || total < self.kills || (total < self.kills * 3 / 2 && !full())
    }

    /// Every second life is of the flow with the rarest kind of write.
    fn flow(&self, number: usize, table: &Table) -> &'static Flow {
        let by_turns = self.flows[number % self.flows.len()];
        if number < self.flows.len() || number.is_multiple_of(2) {
            return by_turns;
        }
        let rarest = |flow: &&&Flow| self.peace.get(flow.name).map(|peace| table.rarest(&peace.kinds));
        self.flows.iter().min_by_key(rarest).copied().unwrap_or(by_turns)
    }

    fn most_in_a_life(&self) -> (usize, usize) {
        if self.kills < MANY { (1, 0) } else { (MOST_IN_A_LIFE, MOST_IN_A_LIFE) }
    }
}

impl Chaos {
    /// A life in peace.
    async fn peace(&self, flow: &'static Flow) -> Result<(&'static str, Peace)> {
        Ok((flow.name, self.live(flow, None).await.with_context(|| format!("{} in peace", flow.name))?))
    }

    /// One life, from the first commit to its end.
    async fn live(&self, flow: &'static Flow, chaos: Option<Chance<'_>>) -> Result<Peace> {
        let life = {
            let _calm = self.beginning.read().await;
            Life::begin(flow).await?
        };
        let namespace = life.world.namespace.clone();
        let mut controller = life.world.environment.launch_controller(ControllerOptions::watching(&namespace)).await?;
        let over = CancellationToken::new();
        let flowing = async {
            let outcome = (flow.play)(&life).await;
            over.cancel();
            outcome
        };
        let mut kills = Kills::new(&self.writes, &namespace);
        let peace = chaos.as_ref().and_then(|chance| chance.peace);
        let expected = peace.map(|peace| &peace.end);
        let killing = async {
            let Some(Chance { random, most, .. }) = &chaos else { return Ok(()) };
            let writes = peace.map_or(WRITES, |peace| peace.writes);
            kills.kill(&mut controller, random.clone(), *most, writes, &self.table, &over).await
        };
        let (flowed, killed) = tokio::join!(flowing, killing);
        let outcome = async {
            killed?;
            flowed?;
            let end = life.end(expected).await?;
            if let Some(expected) = expected.filter(|expected| **expected != end) {
                bail!("it ended otherwise:\n{}", end::difference(expected, &end));
            }
            end::is_sound(&end)?;
            life.ran_no_others()?;
            self.writes.unsafe_deletes(&life)?;
            ensure!(chaos.is_none() || kills.count() > 0, "nobody killed the controller");
            Ok(Peace { end, writes: self.writes.count(&namespace), kinds: self.writes.kinds(&namespace) })
        };
        let outcome: Result<Peace> = outcome.await;
        self.table.count(&kills, outcome.is_ok());
        let place = || format!("{} in {namespace}, log {}", flow.name, controller.log().display());
        outcome.map_err(|error| anyhow!("{}: {error:#}; {kills}", place()))
    }

    /// The life of this number, in chaos; says how it went wrong.
    async fn again(&self, number: usize, plan: &Plan) -> Option<String> {
        let flow = plan.flow(number, &self.table);
        let random = fastrand::Rng::with_seed(plan.seed.wrapping_add(number as u64));
        self.lives.fetch_add(1, Ordering::Relaxed);
        let chaos = Chance { random, peace: plan.peace.get(flow.name), most: plan.most_in_a_life() };
        let wrong = self.live(flow, Some(chaos)).await.err().map(|error| format!("{error:#}"));
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
    let kills = usize::try_from(number("CHAOS_KILLS")?.unwrap_or_default())?;
    let side_by_side = usize::try_from(number("CHAOS_SIDE_BY_SIDE")?.unwrap_or(SIDE_BY_SIDE))?.max(1);
    let flows = chosen(seed)?;
    println!("CHAOS_SEED={seed} CHAOS_KILLS={kills}: {} flows", flows.len());
    let environment = Environment::shared().await;
    let chaos = Chaos {
        writes: Writes::follow(&environment.folder().join("audit.log"))?,
        table: Table::wanting(AIMED),
        beginning: RwLock::default(),
        lives: AtomicUsize::new(0),
    };
    let in_peace = flows.iter().copied().take(if kills == 0 { SOME } else { flows.len() });
    let peace = stream::iter(in_peace).map(|flow| chaos.peace(flow)).buffer_unordered(side_by_side);
    let peace: BTreeMap<_, _> = peace.try_collect().await?;
    let kinds: BTreeSet<String> = peace.values().flat_map(|peace| peace.kinds.clone()).collect();
    let all = flows.len() == FLOWS.len();
    let missing = writes::missing(&kinds);
    ensure!(!all || kills < MANY || missing.is_empty(), "no flow comes by {missing:?}");
    let plan = Plan { flows, peace, kinds, seed, kills };

    let over = CancellationToken::new();
    let storm = async {
        let wrong: Vec<String> = stream::iter(0..)
            .take_while(|number| std::future::ready(plan.goes_on(*number, &chaos.table)))
            .map(|number| chaos.again(number, &plan))
            .buffer_unordered(side_by_side)
            .filter_map(std::future::ready)
            .collect()
            .await;
        over.cancel();
        wrong
    };
    let rounds = if kills == 0 { 1 } else { usize::MAX };
    let (wrong, outages) = tokio::join!(storm, outages::happen(environment, seed, rounds, &chaos.beginning, &over));
    let (lives, flows) = (chaos.lives.into_inner(), plan.flows.len());
    println!("{lives} lives of {flows} flows\n{}\noutages: {}", chaos.table, outages?);
    ensure!(wrong.is_empty(), "CHAOS_SEED={seed}: {} lives went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    let missing = writes::missing(&chaos.writes.all_kinds());
    ensure!(!all || missing.is_empty(), "no life came by {missing:?}");
    let rare = chaos.table.rarer_than(FULL, &plan.kinds);
    ensure!(kills < MANY || rare.is_empty(), "fewer than {FULL} kills at {rare:?}");
    Ok(())
}
