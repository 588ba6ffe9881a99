//! [`Outcome`]: how everything stands, for conditions and counts.
//!
//! Invariant: each installation of the source is counted once, and each subject that is not as it is asked is in one of the
//! lists, with what is to be said of it; no value is in that. It may not know conditions and their reasons: which list counts
//! for more is told elsewhere.

use std::collections::BTreeSet;

use api::{InstallationsSummary, SyncRef};
use jiff::Timestamp;

use crate::input::SetRun;
use crate::step::Subject;

/// How everything stands once the due steps of a plan are done.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Not written yet, and why.
    pub waiting: Vec<Told>,
    /// Of those, the ones that wait for what failed.
    pub stopped: Vec<Told>,
    /// Written, and its run is not over.
    pub running: Vec<Told>,
    /// Its run failed.
    pub failed: Vec<Told>,
    /// What is asked failed, and what ran well before stands again.
    pub rolled_back: Vec<Told>,
    /// May not be written.
    pub refused: Vec<Told>,
    /// Left the source, and is not gone yet.
    pub uninstalling: Vec<Told>,
    /// Of those, the ones that another sync takes over: nothing is left to be done here.
    pub handed: BTreeSet<Subject>,
    /// Of those, the ones that nobody confirmed yet: nothing is done until somebody does.
    pub unconfirmed: BTreeSet<Subject>,
    /// Left the source, and its uninstall failed. It is tried again.
    pub uninstall_failed: Vec<Told>,
    /// Given up with this plan: in a namespace that is being deleted nothing can be uninstalled.
    pub abandoned: Vec<Subject>,
    /// Nothing of this revision is written, since it would uninstall too much.
    pub blocked: Option<Blocked>,
    /// What was uninstalled since the last confirmation, with what is about to be. It is to be stored before any step runs.
    pub pruned: BTreeSet<String>,
    /// What is written to the ledger decides what comes next: plan again at once.
    pub again: bool,
    /// When, at the soonest, something is due again that no event need follow: the next try of what failed, or a look at what
    /// waits for another sync or for the operator.
    pub retry_at: Option<Timestamp>,
    /// What has runs begin more than once: a sentence for each AgentConfig.
    pub unsafe_agents: Vec<String>,
    /// What is known of the runs of sets: it is handed in again with the next plan.
    pub ran: BTreeSet<SetRun>,
    /// Counts of the installations.
    pub summary: InstallationsSummary,
}

/// A revision that would uninstall more than may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The installations that it no longer has, as they print.
    pub installations: Vec<String>,
    /// How many would have been uninstalled since the last confirmation.
    pub count: usize,
    /// How many may be.
    pub allowed: usize,
    /// Of how many.
    pub total: usize,
    /// Another sync that may ask for some of them, which is not known yet.
    pub unread: Option<SyncRef>,
    /// What a confirmation says.
    pub confirmation: String,
}

/// One subject, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it is about.
    pub subject: Subject,
    /// What is to be said, without the subject.
    pub message: String,
}

/// How one desired thing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Written, and its run, if it has one, ended well.
    Ready,
    /// Written, and its run has not begun.
    Pending(String),
    /// Written, and its run is on.
    Running(String),
    /// Its run failed.
    Failed(String),
    /// What is asked failed, and what ran well before stands again.
    RolledBack(String),
    /// Not written yet.
    Waiting(String),
    /// Not written yet, since what it depends on failed.
    Stopped(String),
    /// May not be written.
    Refused(String),
}

impl Outcome {
    /// Something is due again then.
    pub(crate) fn retry(&mut self, at: Timestamp) {
        self.retry_at = Some(self.retry_at.map_or(at, |other| other.min(at)));
    }

    /// Adds how an object or a set stands.
    pub(crate) fn add(&mut self, subject: &Subject, standing: Standing) {
        let told = |message| Told { subject: subject.clone(), message };
        match standing {
            Standing::Ready => {}
            Standing::Pending(message) | Standing::Running(message) => self.running.push(told(message)),
            Standing::Failed(message) => self.failed.push(told(message)),
            Standing::RolledBack(message) => self.rolled_back.push(told(message)),
            Standing::Waiting(message) => self.waiting.push(told(message)),
            Standing::Stopped(message) => {
                self.stopped.push(told(message.clone()));
                self.waiting.push(told(message));
            }
            Standing::Refused(message) => self.refused.push(told(message)),
        }
    }

    /// Adds how an installation stands, and counts it. One that may not be written counts as failed.
    pub(crate) fn add_installation(&mut self, subject: &Subject, standing: Standing) {
        self.summary.total += 1;
        match &standing {
            Standing::Ready => self.summary.ready += 1,
            Standing::Running(_) => self.summary.running += 1,
            Standing::Failed(_) | Standing::RolledBack(_) | Standing::Refused(_) => self.summary.failed += 1,
            Standing::Waiting(_) | Standing::Stopped(_) | Standing::Pending(_) => self.summary.waiting += 1,
        }
        self.add(subject, standing);
    }

    /// Adds an installation that is on its way out.
    pub(crate) fn add_uninstalling(&mut self, subject: &Subject, message: String, failed: bool) {
        self.summary.uninstalling += 1;
        let told = Told { subject: subject.clone(), message };
        if failed { &mut self.uninstall_failed } else { &mut self.uninstalling }.push(told);
    }

    /// Counts an installation that left the source and stays.
    pub(crate) fn add_removed(&mut self) {
        self.summary.removed += 1;
    }
}
