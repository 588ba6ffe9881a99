//! [`Outcome`]: how everything stands, for conditions and counts.

use std::collections::BTreeSet;

use api::InstallationsSummary;

use crate::input::SetRun;
use crate::step::Subject;

/// How everything stands once the due steps of a plan are done.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Not written yet, and why.
    pub waiting: Vec<Told>,
    /// Written, and its run is not over.
    pub running: Vec<Told>,
    /// Its run failed.
    pub failed: Vec<Told>,
    /// May not be written.
    pub refused: Vec<Told>,
    /// The runs of sets that ended well: they are handed in again with the next plan.
    pub ran: BTreeSet<SetRun>,
    /// Counts of the installations.
    pub summary: InstallationsSummary,
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
    /// Not written yet.
    Waiting(String),
    /// May not be written.
    Refused(String),
}

impl Outcome {
    /// Adds how an object or a set stands.
    pub(crate) fn add(&mut self, subject: &Subject, standing: Standing) {
        let told = |message| Told { subject: subject.clone(), message };
        match standing {
            Standing::Ready => {}
            Standing::Pending(message) | Standing::Running(message) => self.running.push(told(message)),
            Standing::Failed(message) => self.failed.push(told(message)),
            Standing::Waiting(message) => self.waiting.push(told(message)),
            Standing::Refused(message) => self.refused.push(told(message)),
        }
    }

    /// Adds how an installation stands, and counts it. One that may not be written counts as failed.
    pub(crate) fn add_installation(&mut self, subject: &Subject, standing: Standing) {
        self.summary.total += 1;
        match &standing {
            Standing::Ready => self.summary.ready += 1,
            Standing::Running(_) => self.summary.running += 1,
            Standing::Failed(_) | Standing::Refused(_) => self.summary.failed += 1,
            Standing::Waiting(_) | Standing::Pending(_) => self.summary.waiting += 1,
        }
        self.add(subject, standing);
    }

    /// Counts an installation that left the source.
    pub(crate) fn add_removed(&mut self) {
        self.summary.removed += 1;
    }
}
