//! The local mode with a porter CLI (`flux-porter run --apply porter`): what one installation needs next.
//!
//! What differs from a cluster, since there is no operator: nothing runs a document again on its own, so none has to be
//! made harmless first and no AgentAction has to go; Porter itself tells what it has, so nothing is concluded from what
//! others ran; and whoever asks for the next command has waited for the last one. Which command does what is the same
//! ([`Purpose`]), and so is the ledger: a release whose `status.runs` name Porter's runs in place of AgentActions.
//!
//! Guarantee: what is next follows from the ledger and from what Porter tells. So a crash between two commands changes
//! nothing, once the command that may have been on is accounted for by [`note`].

use api::{BundleRelease, BundleState, Run, RunResult};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::command::{Purpose, file};
use crate::pause::next_try;
use crate::uninstall::uninstalled;

/// How the record of an installation stands, by Porter's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// No install has succeeded.
    Defined,
    /// One has, and no uninstall since.
    Installed,
    /// An uninstall succeeded last.
    Uninstalled,
}

/// How a run of Porter's stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is on; or its porter was killed, which nobody can tell from it.
    Running,
    /// It ended well.
    Succeeded,
    /// It ended otherwise.
    Failed,
}

/// A run that Porter remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PorterRun {
    /// Its id.
    pub id: String,
    /// `install`, `upgrade`, `uninstall` or an action of the bundle's own.
    pub action: String,
    /// How it stands.
    pub status: Status,
}

/// What Porter has of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its record.
    pub kept: Kept,
    /// Its runs, oldest first.
    pub runs: Vec<PorterRun>,
}

impl Held {
    /// The last run that changed what is installed.
    fn last(&self) -> Option<&PorterRun> {
        self.runs.iter().rev().find(|run| matches!(run.action.as_str(), "install" | "upgrade" | "uninstall"))
    }

    /// What Porter has; `None` when nothing ever ran, though there is a record.
    #[must_use]
    pub fn bundle(&self) -> Option<BundleState> {
        let uninstalled = |run: &PorterRun| run.action == "uninstall" && run.status == Status::Succeeded;
        match self.kept {
            Kept::Defined => self.last().map(|_| BundleState::Tried),
            Kept::Installed => Some(BundleState::Installed),
            Kept::Uninstalled if self.last().is_none_or(uninstalled) => Some(BundleState::Uninstalled),
            Kept::Uninstalled => Some(BundleState::Reinstalling),
        }
    }
}

/// What the source asks for, with what it names.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The digest of the spec, and of the sets that it names.
    pub digest: String,
    /// Since the last run that succeeded a credential set has changed, of which Porter sees no difference.
    pub credentials_changed: bool,
}

/// What a command makes the bundle do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It is not installed, and then is.
    Install,
    /// It is installed, and runs with another spec.
    Upgrade,
    /// It is or may be installed, and then is not.
    Uninstall,
    /// No bundle runs: Porter's record goes.
    Forget,
}

impl Does {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Install, Self::Upgrade, Self::Uninstall, Self::Forget];

    /// As it is written down.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Uninstall => "uninstall",
            Self::Forget => "forget",
        }
    }
}

/// A porter command, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PorterCommand {
    /// Its arguments; a file among them has the name that [`PorterCommand::file`] gives.
    pub arguments: Vec<String>,
    /// The file that it reads.
    pub file: Option<(String, Vec<u8>)>,
    /// What the bundle does.
    pub does: Does,
}

/// What an installation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: Porter has what is asked.
    Settled,
    /// Nothing, and the ledger may forget it.
    Gone,
    /// The end of a run, by its id, that was not begun from here.
    Foreign(String),
    /// A command.
    Run(PorterCommand),
}

/// When a command that is next may be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// Now.
    Now,
    /// Then.
    At(Timestamp),
    /// Not before something is changed: it failed too often.
    Never,
}

/// Whether what is asked of an installation is what ran last, and ran well: then Porter need not be asked.
#[must_use]
pub fn is_settled(release: &BundleRelease, wanted: &Wanted) -> bool {
    let last = release.status.as_ref().and_then(|status| status.runs.first());
    let well = |run: &Run| run.result == Some(RunResult::Succeeded) && run.digest == wanted.digest;
    release.spec.removed.is_none() && last.is_some_and(well)
}

/// Whether an installation left the source and its uninstall was begun: it comes to its end then.
#[must_use]
pub fn is_leaving(release: &BundleRelease) -> bool {
    let last = release.status.as_ref().and_then(|status| status.runs.first());
    release.spec.removed.is_some() && last.is_some_and(|run| run.uninstall)
}

/// What an installation needs next. One that left the source is uninstalled, then Porter's record of it goes.
#[must_use]
pub fn next(release: &BundleRelease, wanted: &Wanted, held: Option<&Held>) -> Next {
    let ours = |run: &PorterRun| runs(release).any(|known| known.action == run.id);
    let last = held.and_then(Held::last);
    if let Some(run) = last.filter(|run| run.status == Status::Running && !ours(run)) {
        return Next::Foreign(run.id.clone());
    }
    let bundle = held.and_then(Held::bundle);
    let asked = &release.spec.asked.spec;
    if release.spec.removed.is_some() {
        let spec = uninstalled(release, release.status.as_ref().unwrap_or(&api::BundleReleaseStatus::default()));
        return match (Purpose::to_remove(bundle, false), held) {
            (Some(purpose), _) => Next::Run(command(release, purpose, &spec, Does::Uninstall)),
            (None, Some(_)) => Next::Run(never_ran(release)),
            (None, None) => Next::Gone,
        };
    }
    if asked["uninstalled"] == true {
        // Its record stays, as its document does.
        let purpose = Purpose::to_remove(bundle, true);
        return purpose.map_or(Next::Settled, |purpose| Next::Run(command(release, purpose, asked, Does::Uninstall)));
    }
    let installed = bundle == Some(BundleState::Installed);
    // Of a failed upgrade, and of another credential, Porter sees no difference.
    let seen = installed && last.is_none_or(|run| run.status == Status::Succeeded) && !wanted.credentials_changed;
    let purpose = if seen { Purpose::Apply } else { Purpose::again(false, bundle) };
    Next::Run(command(release, purpose, asked, if installed { Does::Upgrade } else { Does::Install }))
}

/// When the next command may be run, by how often the same has failed.
#[must_use]
pub fn due(release: &BundleRelease, wanted: &Wanted, first: SignedDuration, retries: usize, now: Timestamp) -> Try {
    let removed = release.spec.removed.is_some();
    let same = |run: &&Run| {
        run.result == Some(RunResult::Failed) && if removed { run.uninstall } else { run.digest == wanted.digest }
    };
    let failures = runs(release).take_while(same).count();
    let Some(failed_at) = runs(release).next().and_then(|run| run.finished.as_ref()).filter(|_| failures > 0) else {
        return Try::Now;
    };
    if failures > retries && !removed {
        return Try::Never;
    }
    match next_try(failed_at.0, first, i32::try_from(failures).unwrap_or(i32::MAX)) {
        at if now < at => Try::At(at),
        _ => Try::Now,
    }
}

/// A command that was run, as it is noted.
#[derive(Clone, Copy, Debug)]
pub struct Ran<'a> {
    /// What was wanted.
    pub wanted: &'a str,
    /// What it did.
    pub does: Does,
    /// Porter's run, where the bundle ran.
    pub run: Option<&'a str>,
    /// When it was begun.
    pub started: Timestamp,
    /// When it was over, as far as is known.
    pub finished: Timestamp,
    /// How it ended.
    pub result: RunResult,
}

/// Notes in the ledger what a command came to, and what Porter has since.
pub fn note(release: &mut BundleRelease, ran: &Ran<'_>, held: Option<&Held>) {
    let uninstall = matches!(ran.does, Does::Uninstall | Does::Forget);
    let status = release.status.get_or_insert_default();
    status.bundle = held.and_then(Held::bundle);
    if ran.result == RunResult::Succeeded && !uninstall {
        status.succeeded = Some(release.spec.asked.clone());
    }
    let run = Run {
        action: ran.run.unwrap_or_default().to_owned(),
        generation: 0,
        digest: ran.wanted.to_owned(),
        revision: release.spec.asked.revision.clone(),
        started: Some(ran.started.into()),
        finished: Some(ran.finished.into()),
        uninstall,
        result: Some(ran.result),
        reason: None,
        log: None,
    };
    status.runs.insert(0, run);
    status.runs.truncate(BundleRelease::MAX_RUNS);
}

/// Porter's document of the spec of a set.
#[must_use]
pub fn set_document(spec: &Value) -> Vec<u8> {
    file(spec).0
}

fn runs(release: &BundleRelease) -> impl Iterator<Item = &Run> {
    release.status.iter().flat_map(|status| &status.runs)
}

fn command(release: &BundleRelease, purpose: Purpose, spec: &Value, does: Does) -> PorterCommand {
    let words = purpose.words(&release.spec.installation, "");
    PorterCommand {
        arguments: words.into_iter().map(str::to_owned).collect(),
        file: purpose.file().map(|name| (name.to_owned(), file(spec).0)),
        does: if purpose == Purpose::Forget { Does::Forget } else { does },
    }
}

/// A record of which no bundle ever ran, since Porter writes it before it looks up credentials: without force it cannot be
/// deleted, and an uninstall would run a bundle that was never installed.
fn never_ran(release: &BundleRelease) -> PorterCommand {
    let mut forget = command(release, Purpose::Forget, &Value::Null, Does::Forget);
    forget.arguments.push("--force".to_owned());
    forget
}
