//! [`Plan`] and [`Step`]: what is to be done, why, and whether it is due; and how that reads for people, in one place.
//!
//! Invariant: data. A step holds all that carries it out (bodies whole, what must still be true of an object), and no value of
//! a parameter or a Secret is in its text: fields are named by their paths. It may not know how a step is carried out, nor why
//! the planner chose it.

use std::fmt;

use api::porter::AgentAction;
use api::{BundleRelease, BundleReleaseStatus, InstallationId, Resource, SyncRef};
use jiff::Timestamp;
use manifest::ObjectId;
use serde_json::Value;

use crate::outcome::Outcome;
use crate::write::id_of;

/// What is to be done, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps. A step that fails stops the later steps with its subject; those of other subjects go on.
    pub steps: Vec<Step>,
    /// How everything stands once the due steps are done.
    pub outcome: Outcome,
}

impl Plan {
    /// The steps that write something now.
    pub fn due(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_due())
    }

    /// Whether there is nothing to write now.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.due().next().is_none()
    }
}

/// One thing to do.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is about.
    pub subject: Subject,
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Whether it is due.
    pub due: Due,
}

impl Step {
    /// Whether it writes something, now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.due == Due::Now && !matches!(self.action, Action::Unchanged | Action::Refuse)
    }

    /// What is done to what, without the reason.
    #[must_use]
    pub fn told(&self) -> String {
        match (&self.action, &self.subject) {
            (Action::Run(action), subject) => format!("run porter {} for {subject}", action.spec.args.join(" ")),
            // What goes is often not the subject itself: an AgentAction of it.
            (Action::Delete(delete), Subject::Installation(_)) => format!("delete {} of {}", delete.id, self.subject),
            (action, subject) => format!("{} {subject}", action.verb()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.told(), self.reason)?;
        match &self.due {
            Due::Now => Ok(()),
            Due::Waiting(wait) => write!(f, "; waits: {wait}"),
        }
    }
}

/// What a step is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A Porter installation.
    Installation(InstallationId),
    /// Any other object.
    Object(ObjectId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installation(id) => write!(f, "installation {id}"),
            Self::Object(id) => write!(f, "{id}"),
        }
    }
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Apply a ConfigMap, a Secret or another object without a run.
    ApplyObject(Apply),
    /// Apply a set, or an agent or Porter configuration.
    ApplySet(Apply),
    /// Write in the ledger what is going to be asked.
    RecordRelease(Record),
    /// Apply an Installation.
    ApplyInstallation(Apply),
    /// Run a Porter command: an AgentAction of ours. It must not exist: of its name there is only ever one.
    Run(Box<AgentAction>),
    /// Delete an object of ours.
    Delete(Delete),
    /// Take our finalizer off an Installation.
    LiftFinalizer(Lift),
    /// Write in the ledger that an installation left the source. The spec of the release, whole.
    MarkRemoved(Box<BundleRelease>),
    /// Uninstall: local mode only.
    UninstallInstallation {
        /// Which.
        id: InstallationId,
        /// `metadata.name` of its Installation.
        object_name: String,
    },
    /// Write the status of a release: a run ended, or a state changed.
    ReleaseStatus {
        /// Kubernetes namespace of the release.
        namespace: String,
        /// Name of the release.
        name: String,
        /// The status, whole.
        status: Box<BundleReleaseStatus>,
    },
    /// Nothing is written, since somebody else's would be overwritten. The reason is [`Reason::Refused`].
    Refuse,
    /// Nothing is to be done.
    Unchanged,
}

impl Action {
    /// The action as a word or two, for people.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::ApplyObject(_) | Self::ApplySet(_) | Self::ApplyInstallation(_) => "apply",
            Self::RecordRelease(_) => "record",
            Self::Run(_) => "run a command for",
            Self::Delete(_) => "delete",
            Self::LiftFinalizer(_) => "lift the finalizer of",
            Self::MarkRemoved(_) => "mark removed",
            Self::UninstallInstallation { .. } => "uninstall",
            Self::ReleaseStatus { .. } => "report",
            Self::Refuse => "refuse",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The deletion of an object, as it was seen and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Group, kind, namespace and name.
    pub id: ObjectId,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

impl Delete {
    /// The deletion of an object as it is here.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let metadata = object.meta();
        Self {
            id: id_of(object),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// The removal of our finalizer from an object, as it was seen and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lift {
    /// Group, kind, namespace and name.
    pub id: ObjectId,
    /// Its resourceVersion.
    pub resource_version: String,
    /// The finalizers that stay.
    pub finalizers: Vec<String>,
    /// Whether the labels go too that say whose it is.
    pub disown: bool,
}

/// A server-side apply of all that we own of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Apply {
    /// Group, kind, namespace and name.
    pub id: ObjectId,
    /// The object with its owner labels, without a resourceVersion.
    pub body: Value,
    /// What must still be true of the object.
    pub precondition: Precondition,
}

/// What must still be true of an object when it is written: what was seen when the write was planned. Of an Installation
/// this is what keeps a spec from being written into a run that began unseen, or over what somebody else made meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// It does not exist.
    Absent,
    /// It has this `metadata.resourceVersion`, and was not deleted meanwhile: a server-side apply with a uid creates
    /// nothing (kube-apiserver `pkg/endpoints/handlers/patch.go`, `applyPatch`). Without a uid, that of an object which
    /// was never stored, it would.
    Version {
        /// The resourceVersion.
        version: String,
        /// The uid.
        uid: Option<String>,
    },
}

impl Precondition {
    /// A version that no object has: the API server's store is at 1 before the first write of all.
    ///
    /// A server-side apply creates what does not exist, whatever version it carries, and refuses with a conflict what exists
    /// at another one (kube-apiserver `pkg/registry/generic/registry/store.go`, `Update`): so this one only ever creates.
    const NEVER: &str = "1";

    /// As an object was seen.
    #[must_use]
    pub fn seen(resource_version: Option<&str>, uid: Option<&str>) -> Self {
        let seen = |version: &str| Self::Version { version: version.to_owned(), uid: uid.map(str::to_owned) };
        resource_version.map_or(Self::Absent, seen)
    }

    /// The `metadata.resourceVersion` that says so in a server-side apply.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        match self {
            Self::Absent => Self::NEVER,
            Self::Version { version, .. } => version,
        }
    }
}

impl Apply {
    /// The object with the precondition in its metadata, as it goes to the API server.
    #[must_use]
    pub fn request_body(&self) -> Value {
        let mut body = self.body.clone();
        body["metadata"]["resourceVersion"] = self.precondition.resource_version().into();
        if let Precondition::Version { uid: Some(uid), .. } = &self.precondition {
            body["metadata"]["uid"] = uid.as_str().into();
        }
        body
    }
}

/// The spec of a release as it is to be.
#[derive(Clone, Debug)]
pub struct Record {
    /// The release: metadata (namespace, name, owner labels) and the whole spec; no status.
    pub release: Box<BundleRelease>,
    /// It does not exist yet: it must be created, not applied, so that of two owners only one gets it. When it exists
    /// by then, the plan is stale.
    pub create: bool,
}

/// Why a step is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The source has it, and nothing of it exists.
    New,
    /// The source asks for another spec than before.
    Changed {
        /// The revision that asked for the spec until now.
        since: String,
    },
    /// We applied it before, and it is gone.
    Missing,
    /// It stands there otherwise than asked.
    Drift {
        /// Paths of the fields; never their values.
        fields: Vec<String>,
    },
    /// What is asked failed and was given up.
    RolledBack,
    /// It depends on other installations than before. That runs nothing.
    Reordered,
    /// It is back in the source.
    Returned,
    /// Its Installation stands there with our labels, and its release is missing.
    Unrecorded,
    /// The sync that had it has it no longer.
    TakenOver {
        /// Whose it was.
        from: SyncRef,
    },
    /// Another object name for the same Porter installation.
    Moved {
        /// The object name until now.
        from: String,
    },
    /// It is no longer in the source.
    Left,
    /// The bundle has to be uninstalled before anything of it is deleted.
    Uninstall,
    /// An uninstall failed.
    Retry,
    /// Its run failed.
    RunAgain,
    /// It is asked for by hand.
    Forced,
    /// Its sets give something else than to its last run.
    Inputs {
        /// Which.
        sets: Vec<ObjectId>,
    },
    /// The document asks for a custom action.
    Invoked {
        /// Its name.
        action: String,
    },
    /// An install was tried and none succeeded: the document alone uninstalls nothing.
    NeverInstalled,
    /// A command failed: Porter is asked whether it has a record.
    Asks,
    /// It is uninstalled, and Porter still has its record.
    Forget,
    /// Porter has its record as uninstalled: a plain apply installs nothing.
    Reinstall,
    /// A newer one is there, or its result is noted: its Job would run again once it expires.
    Superseded,
    /// It is uninstalled.
    Uninstalled,
    /// Somebody deletes it, and nothing of it runs.
    Deleted,
    /// Its namespace is being deleted.
    Abandoned,
    /// What we have run has to run once.
    Agent,
    /// What was seen of its runs.
    Observed,
    /// Everything is as asked.
    AsAsked,
    /// It may not be written.
    Refused(Refusal),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new in the source"),
            Self::Changed { since } => write!(f, "the source asks for another spec than at {since}"),
            Self::Missing => f.write_str("it was applied before and is gone"),
            Self::Drift { fields } => write!(f, "differs from what is asked in {}", fields.join(", ")),
            Self::RolledBack => f.write_str("what is asked failed: what ran well before stands again"),
            Self::Reordered => f.write_str("it depends on other installations than before"),
            Self::Returned => f.write_str("back in the source"),
            Self::Unrecorded => f.write_str("its release is missing"),
            Self::TakenOver { from } => write!(f, "BundleSync {from} has it no longer"),
            Self::Moved { from } => write!(f, "its object was named {from}"),
            Self::Left => f.write_str("no longer in the source"),
            Self::Uninstall => f.write_str("no longer in the source: the bundle is uninstalled first"),
            Self::Retry => f.write_str("its uninstall failed"),
            Self::RunAgain => f.write_str("its run failed"),
            Self::Invoked { action } => write!(f, "{} asks for {action}", api::INVOKE),
            Self::Forced => write!(f, "{} asks for it", api::FORCE_AT),
            Self::Inputs { sets } => {
                let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
                write!(f, "something else than at its last run is given by {}", sets.join(", "))
            }
            Self::NeverInstalled => f.write_str("an install was tried and none succeeded"),
            Self::Asks => f.write_str("whether Porter has a record of it"),
            Self::Forget => f.write_str("it is uninstalled and Porter has its record"),
            Self::Reinstall => f.write_str("it was uninstalled, and Porter kept its record"),
            Self::Superseded => f.write_str("it could run again"),
            Self::Uninstalled => f.write_str("it is uninstalled"),
            Self::Deleted => f.write_str("it is being deleted and nothing of it runs"),
            Self::Abandoned => f.write_str("its namespace is being deleted"),
            Self::Agent => f.write_str("what runs with it runs once"),
            Self::Observed => f.write_str("its state changed"),
            Self::AsAsked => f.write_str("as asked"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// Why something may not be written, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another sync has the release.
    #[error(
        "{subject} is owned by BundleSync {owner}; remove it from this source, or from that of {owner}, after which this BundleSync takes it over"
    )]
    OwnedBy {
        /// What.
        subject: Subject,
        /// Whose it is.
        owner: SyncRef,
    },
    /// Another sync has the object.
    #[error(
        "{id} is owned by BundleSync {owner}; take it out of one of the two sources, and label it {}={} and {}={} to hand it over",
        api::OWNER_NAME_LABEL,
        sync.name,
        api::OWNER_NAMESPACE_LABEL,
        sync.namespace
    )]
    ObjectOwnedBy {
        /// What.
        id: ObjectId,
        /// Whose it is.
        owner: SyncRef,
        /// This sync.
        sync: SyncRef,
    },
    /// An object that somebody else made.
    #[error("{id} exists already and isn't managed by this BundleSync: {}", how_to_adopt(keeper.as_deref(), sync))]
    Exists {
        /// The object.
        id: ObjectId,
        /// Who looks after it.
        keeper: Option<String>,
        /// This sync.
        sync: SyncRef,
    },
    /// The object holds another Porter installation.
    #[error(
        "{object} holds Porter installation {holds}, not {asked}, which would stay installed without a document; give {asked} another metadata.name"
    )]
    OtherIdentity {
        /// The Installation object.
        object: ObjectId,
        /// What it holds.
        holds: String,
        /// What the document wants in it.
        asked: String,
    },
    /// The object of an installation has another name than before, and the old object is somebody else's by now.
    #[error(
        "{subject} is held by {object}, which is not this BundleSync's any more; keep metadata.name, or delete that object first (that runs no bundle action)"
    )]
    Renamed {
        /// The installation.
        subject: Subject,
        /// Its object until now.
        object: ObjectId,
    },
}

fn how_to_adopt(keeper: Option<&str>, sync: &SyncRef) -> String {
    match keeper {
        Some(keeper) => {
            format!("{keeper} looks after it; take it out there, after which spec.adoption Always takes it over")
        }
        None => format!(
            "spec.adoption is Never; delete it (that runs no bundle action), or label it {}={} and {}={} to hand it over",
            api::OWNER_NAME_LABEL,
            sync.name,
            api::OWNER_NAMESPACE_LABEL,
            sync.namespace
        ),
    }
}

/// Whether a step is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// Not before something else has happened.
    Waiting(WaitFor),
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// The operator is about to start the run of a generation.
    Start {
        /// Generation of the object that is to be written.
        generation: i64,
    },
    /// A run is on.
    Run {
        /// The AgentAction.
        action: String,
        /// Generation it is of.
        generation: i64,
    },
    /// A Job of the bundle is on.
    Job {
        /// Its name.
        name: String,
    },
    /// A set that the installation names.
    Set {
        /// The set.
        id: ObjectId,
        /// What is missing.
        wait: SetWait,
    },
    /// The object is being deleted.
    Deletion,
    /// An AgentAction of ours is on.
    Command {
        /// The AgentAction.
        action: String,
    },
    /// An AgentConfig that is not ready.
    Agent {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An AgentConfig that is not there.
    NoAgent {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A confirmation.
    Confirmation {
        /// What it says.
        value: String,
    },
    /// The object of an installation holds another one.
    OtherInstallation {
        /// The object.
        object: ObjectId,
    },
    /// Another sync, which may ask for it.
    Reading {
        /// Which.
        sync: SyncRef,
    },
    /// Another sync, which asks for it and takes it over.
    Handover {
        /// Which.
        sync: SyncRef,
    },
    /// The sync that has it, which lets it go.
    Release {
        /// Which.
        sync: SyncRef,
    },
    /// The next try of what failed.
    Retry {
        /// When it is due.
        at: Timestamp,
    },
    /// Another installation, which has the object, or is the same one to Porter in another namespace, has to be uninstalled.
    Uninstall {
        /// That installation.
        id: InstallationId,
    },
    /// An installation that it depends on.
    Dependency {
        /// Which.
        id: InstallationId,
        /// How that stands.
        wait: DependencyWait,
    },
    /// An installation that depends on it, or did.
    Dependant {
        /// Which.
        id: InstallationId,
        /// It is to be uninstalled, rather than to succeed without.
        goes: bool,
    },
    /// That fewer bundle actions of the BundleSync are on.
    Turn {
        /// How many may be.
        max: usize,
    },
    /// Another installation, which has the object, has to leave it for its own.
    Move {
        /// That installation.
        id: InstallationId,
    },
    /// All that may still use the object.
    Users,
    /// An Installation that names the set.
    User {
        /// The Installation.
        name: String,
    },
    /// The namespace is being deleted.
    Namespace,
}

/// How an installation stands that another one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencyWait {
    /// It is to succeed yet.
    Awaited,
    /// It failed.
    Failed,
    /// It may not be written.
    Refused,
    /// It waits for one that failed itself.
    Stopped,
}

/// What an installation waits for in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetWait {
    /// To be written.
    Write,
    /// It is written again and again, and never stands as it is asked.
    Contested,
    /// The operator is about to start its run.
    Start,
    /// Its run is on.
    Run {
        /// The AgentAction.
        action: String,
    },
    /// Its run failed. It is tried again within the limit, and by hand.
    Failed {
        /// The AgentAction.
        action: String,
    },
    /// It may not be written.
    Refused,
}

impl fmt::Display for WaitFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { generation } => write!(f, "the operator has not run generation {generation} yet"),
            Self::Run { action, generation } => {
                write!(f, "AgentAction {action} of generation {generation} is not over")
            }
            Self::Job { name } => write!(f, "Job {name} of the bundle is active"),
            Self::Set { id, wait: SetWait::Write } => write!(f, "{id} is not applied yet"),
            Self::Set { id, wait: SetWait::Contested } => write!(
                f,
                "{id} is changed by somebody each time it is written; see its metadata.managedFields and the cluster's mutating \
                 webhooks"
            ),
            Self::Set { id, wait: SetWait::Start } => write!(f, "the operator has not run {id} yet"),
            Self::Set { id, wait: SetWait::Run { action } } => write!(f, "AgentAction {action} of {id} is not over"),
            Self::Set { id, wait: SetWait::Failed { action } } => write!(f, "AgentAction {action} of {id} failed"),
            Self::Set { id, wait: SetWait::Refused } => write!(f, "{id} may not be applied"),
            Self::Deletion => f.write_str("the object is being deleted"),
            Self::Command { action } => write!(f, "AgentAction {action} is not over"),
            Self::Agent { namespace, name } => f.write_str(&crate::agent::not_ready(namespace, name)),
            Self::NoAgent { namespace, name } => f.write_str(&crate::agent::missing(namespace, name)),
            Self::Confirmation { value } => write!(f, "the annotation {}={value} has to confirm it", api::CONFIRM),
            Self::OtherInstallation { object } => {
                write!(f, "{object} holds another Porter installation: put its spec.name and spec.namespace back")
            }
            Self::Reading { sync } => {
                write!(
                    f,
                    "BundleSync {sync} may ask for it, but could not be built yet as it and its source stand: mend or suspend \
                     it; once it has failed for spec.timeout, and for ten minutes, nothing waits for it"
                )
            }
            Self::Handover { sync } => write!(f, "BundleSync {sync} asks for it, and takes it over"),
            Self::Release { sync } => write!(f, "BundleSync {sync}, which had it, has to let it go"),
            Self::Retry { at } => write!(f, "it is tried again at {at}"),
            Self::Uninstall { id } => write!(f, "installation {id} has to be uninstalled first"),
            Self::Dependency { id, wait } => {
                let stands = match wait {
                    DependencyWait::Awaited => "has to succeed first",
                    DependencyWait::Failed => "failed",
                    DependencyWait::Refused => "may not be applied",
                    DependencyWait::Stopped => "is stopped by another one",
                };
                write!(f, "installation {id}, which it depends on, {stands}")
            }
            Self::Dependant { id, goes: true } => {
                write!(f, "installation {id}, which depends on it, has to be uninstalled first")
            }
            Self::Dependant { id, goes: false } => {
                write!(f, "installation {id}, which depended on it, has to succeed without it first")
            }
            Self::Turn { max } => {
                write!(f, "bundle actions that are on, of which there may be {max} (spec.maxConcurrentActions)")
            }
            Self::Move { id } => write!(f, "installation {id} has to leave its Installation first"),
            Self::Users => f.write_str("the installations come first"),
            Self::User { name } => write!(f, "Installation {name} names it"),
            Self::Namespace => f.write_str("its namespace is being deleted"),
        }
    }
}
