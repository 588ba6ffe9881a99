//! SIGKILL, and the table of what it hit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::ControllerProcess;
use jiff::Timestamp;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::writes::{Write, Writes};

/// How near to a write a kill has to be.
const NEAR: Duration = Duration::from_millis(50);
/// The longest wait between a write and the kill that it causes: the rest of [`NEAR`] goes into seeing it.
const MOST_MILLISECONDS: u64 = 40;
/// The longest wait when it is aimed at that kind of write.
const SOON: u64 = 15;
/// The longest time without a controller, in milliseconds.
const LONGEST_DEATH: u64 = 400;

/// What was hit, by all lives.
pub(crate) struct Table {
    wanted: usize,
    rows: Mutex<BTreeMap<String, Row>>,
    total: Mutex<usize>,
}

#[derive(Clone, Copy, Default)]
struct Row {
    /// Kills within 50 ms after this kind of write.
    after: usize,
    /// Kills after which it was the first write: those that came before it.
    before: usize,
    /// Of all these, those whose life ended wrongly.
    wrong: usize,
    /// Kills that this kind of write was the reason of, in lives that are not counted yet.
    aimed: usize,
}

impl Row {
    fn hits(self) -> usize {
        self.after + self.before
    }
}

impl Table {
    /// Each kind of write is aimed at, whenever it is seen, until it was hit so often.
    pub(crate) fn wanting(wanted: usize) -> Self {
        Self { wanted, rows: Mutex::default(), total: Mutex::default() }
    }

    pub(crate) fn total(&self) -> usize {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a life was killed at.
    pub(crate) fn count(&self, kills: &Kills, well: bool) {
        let writes = kills.writes.of(&kills.namespace);
        let mut rows = self.rows();
        for kind in &kills.aimed {
            rows.entry(kind.clone()).or_default().aimed -= 1;
        }
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
        let hits = |kind: &String| rows.get(kind).copied().unwrap_or_default().hits();
        kinds.iter().filter(|kind| hits(kind) < times).cloned().collect()
    }

    /// How often the rarest of these kinds was hit, or is going to be.
    pub(crate) fn rarest(&self, kinds: &BTreeSet<String>) -> usize {
        kinds.iter().map(|kind| self.known(kind)).min().unwrap_or(usize::MAX)
    }

    fn killed(&self) {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    fn wants(&self, write: &Write) -> bool {
        write.ours && self.known(&write.kind) < self.wanted
    }

    fn known(&self, kind: &str) -> usize {
        self.rows().get(kind).map_or(0, |row| row.hits() + row.aimed)
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
    /// The kinds of writes that some were aimed at.
    aimed: Vec<String>,
}

impl Kills {
    pub(crate) fn new(writes: &Arc<Writes>, namespace: &str) -> Self {
        Self { writes: writes.clone(), namespace: namespace.to_owned(), at: Vec::new(), aimed: Vec::new() }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.at.len()
    }

    /// Kills, and starts again, until it is over or was often enough: after so many writes as chance has it, and at kinds that
    /// the table wants, each up to a number of times. In peace there are about as many writes
    /// of the controller, and of whomever.
    ///
    /// # Errors
    /// When the controller ended by itself.
    pub(crate) async fn kill(
        &mut self,
        controller: &mut ControllerProcess,
        mut random: fastrand::Rng,
        (by_chance, mut aimed): (usize, usize),
        (of_ours, of_all): (usize, usize),
        table: &Table,
        over: &CancellationToken,
    ) -> Result<()> {
        let mut by_chance = random.usize(1..=by_chance);
        // Those of others come while bundles run.
        let ours = random.bool();
        let writes = if ours { of_ours } else { of_all };
        // One comes in the first half of a life at least, so that none goes without.
        let longest = writes * 2 / by_chance.max(4);
        let mut passes = random.usize(0..=longest);
        let mut news = self.writes.listen();
        while by_chance + aimed > 0 {
            let Some(write) = over.run_until_cancelled(self.next(&mut news)).await else { return Ok(()) };
            let write = write?;
            let wait = if aimed > 0 && table.wants(&write) {
                aimed -= 1;
                table.rows().entry(write.kind.clone()).or_default().aimed += 1;
                self.aimed.push(write.kind);
                SOON
            } else if passes == 0 && by_chance > 0 && (write.ours || !ours) {
                by_chance -= 1;
                passes = random.usize(0..=longest);
                MOST_MILLISECONDS
            } else {
                passes = passes.saturating_sub(usize::from(write.ours || !ours));
                continue;
            };
            tokio::time::sleep(Duration::from_millis(random.u64(0..=wait))).await;
            controller.check().context("it ended by itself")?;
            table.killed();
            self.at.push(Timestamp::now());
            tokio::task::block_in_place(|| controller.kill())?;
            tokio::time::sleep(Duration::from_millis(random.u64(0..=LONGEST_DEATH))).await;
            controller.launch_again()?;
            // What was written meanwhile is none.
            news = self.writes.listen();
        }
        Ok(())
    }

    /// The next write of anybody in the namespace.
    async fn next(&self, news: &mut Receiver<Write>) -> Result<Write> {
        loop {
            match news.recv().await {
                Ok(write) if write.namespace == self.namespace => return Ok(write),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(closed) => return Err(closed.into()),
            }
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
