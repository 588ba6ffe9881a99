//! SIGKILL, and the table of what it hit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::ControllerProcess;
use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::MOST_IN_A_LIFE;
use crate::writes::{Write, Writes};

/// How near to a write a kill has to be.
const NEAR: Duration = Duration::from_millis(50);
/// The longest wait between a write and the kill that it causes: the rest of [`NEAR`] goes into seeing it.
const MOST_MILLISECONDS: u64 = 40;
/// A kind of write is hit whenever it is seen, and at once, until this part of all kills was: it may not come often.
const RARE: usize = 60;
/// The longest wait then.
const SOON: u64 = 15;
/// The longest time without a controller, in milliseconds.
const LONGEST_DEATH: u64 = 400;

/// What was hit, by all lives.
pub(crate) struct Table {
    rare: usize,
    rows: Mutex<BTreeMap<String, Row>>,
    total: Mutex<usize>,
}

#[derive(Clone, Copy, Default)]
struct Row {
    /// Kills that this kind of write was the reason of.
    aimed: usize,
    /// Kills within 50 ms after it.
    after: usize,
    /// Kills after which it was the first write: those that came before it.
    before: usize,
    /// Of all these, those whose life ended wrongly.
    wrong: usize,
}

impl Table {
    /// Of so many kills.
    pub(crate) fn new(kills: usize) -> Self {
        Self { rare: (kills / RARE).max(1), rows: Mutex::default(), total: Mutex::default() }
    }

    pub(crate) fn total(&self) -> usize {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a life was killed at.
    pub(crate) fn count(&self, kills: &Kills, well: bool) {
        let writes = kills.writes.of(&kills.namespace);
        let mut rows = self.rows();
        for kill in &kills.at {
            let near = |write: &&Write| write.at <= *kill && kill.duration_since(write.at).unsigned_abs() <= NEAR;
            let after: BTreeSet<_> = writes.iter().filter(near).map(|write| &write.kind).collect();
            for kind in &after {
                rows.entry((*kind).clone()).or_default().after += 1;
            }
            let next = writes.iter().find(|write| write.at > *kill).map(|write| &write.kind);
            if let Some(kind) = next {
                rows.entry(kind.clone()).or_default().before += 1;
            }
            for kind in after.into_iter().chain(next).filter(|_| !well) {
                rows.entry(kind.clone()).or_default().wrong += 1;
            }
        }
    }

    /// Of these kinds, those that were not hit so often.
    pub(crate) fn rarer_than(&self, times: usize, kinds: &BTreeSet<String>) -> Vec<String> {
        let rows = self.rows();
        let hits = |kind: &String| rows.get(kind).map_or(0, |row| row.after + row.before);
        kinds.iter().filter(|kind| hits(kind) < times).cloned().collect()
    }

    /// Whether a kind of write was rarely aimed at.
    fn wants(&self, kind: &str) -> bool {
        self.rows().get(kind).is_none_or(|row| row.aimed < self.rare)
    }

    fn aim(&self, write: &Write) {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        if write.ours {
            self.rows().entry(write.kind.clone()).or_default().aimed += 1;
        }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} kills\n{:<34} within 50 ms after | before | ended wrongly", self.total(), "kind of write")?;
        for (kind, row) in &*self.rows() {
            writeln!(f, "{kind:<34} {:>18} | {:>6} | {:>13}", row.after, row.before, row.wrong)?;
        }
        Ok(())
    }
}

/// The kills of one life.
pub(crate) struct Kills {
    writes: Arc<Writes>,
    namespace: String,
    at: Vec<Timestamp>,
}

impl Kills {
    pub(crate) fn new(writes: &Arc<Writes>, namespace: &str) -> Self {
        Self { writes: writes.clone(), namespace: namespace.to_owned(), at: Vec::new() }
    }

    /// Kills, and starts again, until it is over or was often enough. In peace there are as many `writes`, of whomever.
    ///
    /// # Errors
    /// When the controller ended by itself.
    pub(crate) async fn kill(
        &mut self,
        controller: &mut ControllerProcess,
        mut random: fastrand::Rng,
        writes: usize,
        table: &Table,
        over: &CancellationToken,
    ) -> Result<()> {
        let times = random.usize(3..=MOST_IN_A_LIFE);
        for _ in 0..times {
            let passes = random.usize(0..=writes * 2 / times);
            let Some(write) = over.run_until_cancelled(self.write(passes, table)).await else { return Ok(()) };
            let write = write?;
            let longest = if write.ours && table.wants(&write.kind) { SOON } else { MOST_MILLISECONDS };
            table.aim(&write);
            tokio::time::sleep(Duration::from_millis(random.u64(0..=longest))).await;
            controller.check().context("it ended by itself")?;
            self.at.push(Timestamp::now());
            tokio::task::block_in_place(|| controller.kill())?;
            tokio::time::sleep(Duration::from_millis(random.u64(0..=LONGEST_DEATH))).await;
            controller.launch_again()?;
        }
        Ok(())
    }

    /// The write to kill at: the one after so many others of anybody, or one of a kind that was hit rarely.
    async fn write(&self, mut passes: usize, table: &Table) -> Result<Write> {
        let mut news = self.writes.listen();
        loop {
            let write = match news.recv().await {
                Ok(write) => write,
                Err(RecvError::Lagged(_)) => continue,
                Err(closed) => return Err(closed.into()),
            };
            if write.namespace != self.namespace {
                continue;
            }
            if passes == 0 || (write.ours && table.wants(&write.kind)) {
                return Ok(write);
            }
            passes -= 1;
        }
    }
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "killed {} times", self.at.len())?;
        let writes = self.writes.of(&self.namespace);
        let mut kills = self.at.iter().peekable();
        for write in &writes {
            while let Some(kill) = kills.next_if(|kill| **kill < write.at) {
                write!(f, "\n  {kill} KILL")?;
            }
            write!(f, "\n  {} {} {}", write.at, write.kind, write.name)?;
        }
        kills.try_for_each(|kill| write!(f, "\n  {kill} KILL"))
    }
}
