//! [`Input`]: all that a plan is made of.
//!
//! Invariant: data. Equal inputs give equal plans, so whatever decides anything is in here, the time too. An object that does not
//! stand here does not exist, as far as the plan knows: who makes an input leaves out nothing that is desired or that a
//! release names. It may not know where any of it was read.

use std::collections::{BTreeMap, BTreeSet};

use api::porter::{AgentAction, Installation};
use api::{Adoption, Agent, BundleRelease, Percentage, SyncRef};
use jiff::{SignedDuration, Timestamp};
use manifest::ObjectId;
use porter::Desired;
use serde_json::Value;

/// All that a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The BundleSync that owns what is applied.
    pub sync: &'a SyncRef,
    /// The artifact's revision, as Flux writes it.
    pub revision: &'a str,
    /// Revision of the source that the artifact was made from, where it is another one.
    pub origin_revision: Option<&'a str>,
    /// What the source asks for.
    pub desired: &'a Desired,
    /// The releases of this sync, and those of others that have the name of a desired installation's release.
    pub releases: &'a [BundleRelease],
    /// What stands in the cluster.
    pub live: &'a Live,
    /// What the sync applied before, by its inventory. It tells a new object from a deleted one and is no proof that an
    /// object is ours: only the owner labels are.
    pub inventory: &'a BTreeSet<ObjectId>,
    /// What happens to an installation that left the source.
    pub removal: Removal,
    /// What becomes of objects that are asked for and that somebody else made.
    pub adoption: Adoption,
    /// Who sees to it that each run happens once.
    pub agent: Agent,
    /// How many may be uninstalled.
    pub guard: Guard<'a>,
    /// Whether Porter's record of what was uninstalled is kept.
    pub keep_record: bool,
    /// How many bundle actions may be on at once; at least one.
    pub max_actions: usize,
    /// How soon what failed is tried again; each time in a row twice as long.
    pub retry: SignedDuration,
    /// How often a failed run is tried again. An uninstall is for as long as it fails.
    pub retries: i32,
    /// When it may not be tried again, a failed upgrade returns to the last spec that ran well.
    pub rollback: bool,
    /// That all installations run again.
    pub force: Option<Force<'a>>,
    /// The time of this plan: what is due by it is due. A run whose AgentAction does not say when it ended has ended then.
    pub now: Timestamp,
}

/// The value of `reconcile.fluxcd.io/forceAt` on the sync, where `requestedAt` has the same.
#[derive(Clone, Copy, Debug)]
pub struct Force<'a> {
    /// The value.
    pub at: &'a str,
    /// Every release that there was has noted it: those that are new since have nothing to run again.
    pub handled: bool,
}

/// How many installations may be uninstalled, counted by Porter identity.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    /// Without a confirmation: that part of all that the sync had since the last one, and at least one. `None`: all.
    pub limit: Option<Percentage>,
    /// Each needs a confirmation.
    pub ask: bool,
    /// What this revision no longer has is confirmed.
    pub confirmed: bool,
    /// What a confirmation says.
    pub confirmation: &'a str,
    /// Those that were uninstalled since the last confirmation, as [`api::InstallationId`] prints them.
    pub pruned: &'a BTreeSet<String>,
}

impl Guard<'_> {
    /// Whether each waits for a confirmation.
    pub(crate) fn asks(&self) -> bool {
        self.ask && !self.confirmed
    }
}

impl Guard<'static> {
    /// All may be uninstalled.
    pub const OPEN: Self =
        Self { limit: None, ask: false, confirmed: false, confirmation: "", pruned: &BTreeSet::new() };
}

/// What happens to an installation that left the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Its release is marked, the Installation stays, nothing runs. Runs are observed and waited for.
    Keep,
    /// It is let go of: the Installation stays, its release goes.
    Orphan,
    /// It is uninstalled, then deleted; so is what else left the source, after it.
    Uninstall,
    /// The sync is suspended: nothing is asked for. What somebody deletes is not held for longer than a run of it is on.
    Suspended,
    /// Local mode, where documents are the result and no operator runs them: it is uninstalled at once, and nothing
    /// waits for a run.
    Local,
}

/// The state of the cluster, as far as it matters: every object that is desired or that a release names, where it exists.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Installations by Kubernetes namespace and object name.
    pub installations: BTreeMap<(String, String), LiveInstallation>,
    /// What is left of Installations that are gone, by Kubernetes namespace and object name.
    pub remains: BTreeMap<(String, String), Remains>,
    /// Another BundleSync of which it is not known whether it asks for what this one no longer has.
    pub unread: Option<SyncRef>,
    /// Other BundleSyncs that ask for an installation which this one no longer has, by Kubernetes namespace and name of
    /// the release.
    pub claimed: BTreeMap<(String, String), SyncRef>,
    /// Releases of other BundleSyncs that do not ask for them any more, or of which that is not known yet, by Kubernetes
    /// namespace and name.
    pub leaving: BTreeSet<(String, String)>,
    /// Of those, the ones whose BundleSync lets nothing go before something else is ready, perhaps this one.
    pub yielded: BTreeSet<(String, String)>,
    /// Objects of other BundleSyncs that those do not ask for any more.
    pub freed: BTreeSet<ObjectId>,
    /// Installations that no release knows and that we applied, by Kubernetes namespace and object name.
    pub recoverable: BTreeSet<(String, String)>,
    /// BundleSyncs that releases and objects name as their owner, and that do not exist.
    pub absent_owners: BTreeSet<SyncRef>,
    /// CredentialSets and ParameterSets, AgentConfigs and PorterConfigs.
    pub sets: BTreeMap<ObjectId, LiveSet>,
    /// All other kinds.
    pub objects: BTreeMap<ObjectId, LiveObject>,
    /// Of both, those that so many plans in a row have written that somebody has to undo it.
    pub contested: BTreeSet<ObjectId>,
    /// Objects of the inventory that are not desired any more, of any kind.
    pub dropped: BTreeMap<ObjectId, LiveSet>,
    /// Of those that are sets: an Installation, of whomever, that names it.
    pub users: BTreeMap<ObjectId, String>,
    /// Our own AgentActions, by Kubernetes namespace and name of the release.
    pub ours: BTreeMap<(String, String), Vec<AgentAction>>,
    /// Why AgentActions failed, or do not get on, by Kubernetes namespace and name: what is known of it, at least of each
    /// failure that no release has noted yet.
    pub why: BTreeMap<(String, String), Why>,
    /// AgentConfigs, ours and those that they are made of, by Kubernetes namespace and name, as JSON.
    pub agents: BTreeMap<(String, String), Value>,
    /// The sets that installations name and that are in the cluster, whoever made them. `None` where nobody looks.
    pub inputs: Option<BTreeMap<SetName, InputSet>>,
    /// Kubernetes namespaces that are being deleted: nothing can be made or run in them.
    pub terminating: BTreeSet<String>,
}

/// Why an AgentAction failed, or does not get on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// As its Jobs and pods show it, for people.
    pub reason: String,
    /// The last lines of its log, where they may be read.
    pub log: Option<String>,
}

/// An Installation and its runs.
#[derive(Clone, Debug)]
pub struct LiveInstallation {
    /// The object.
    pub object: Installation,
    /// AgentActions that name it by their labels, of any generation and owner, in any order.
    pub actions: Vec<AgentAction>,
    /// The name of an active Job with the label `jobType=bundle-installer` that belongs to it, or to an earlier
    /// Installation of the same name: such a Job has no owner, and goes on when its Installation is deleted.
    pub bundle_job: Option<String>,
}

/// What is left of an Installation that is gone, until the garbage collector has come and the bundle has ended.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// AgentActions that name it by their labels.
    pub actions: Vec<AgentAction>,
    /// The name of an active Job of its runs, the agent's or the bundle's.
    pub job: Option<String>,
}

/// A set, or an agent or Porter configuration, and its runs.
#[derive(Clone, Debug)]
pub struct LiveSet {
    /// The object as JSON.
    pub object: Value,
    /// AgentActions that name it by their labels, of any generation and owner, in any order.
    pub actions: Vec<AgentAction>,
    /// What was noted of its runs.
    pub ran: Option<SetRun>,
}

/// A kind of set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKind {
    /// A ParameterSet.
    Parameters,
    /// A CredentialSet.
    Credentials,
}

impl SetKind {
    /// The kind of its object.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Parameters => "ParameterSet",
            Self::Credentials => "CredentialSet",
        }
    }

    /// The field of an Installation's spec that names sets of the kind.
    #[must_use]
    pub const fn list(self) -> &'static str {
        match self {
            Self::Parameters => "parameterSets",
            Self::Credentials => "credentialSets",
        }
    }
}

/// A set as an installation names it. Porter looks for it in the installation's own namespace in Porter, then in the global one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetName {
    /// The Kubernetes namespace.
    pub kube_namespace: String,
    /// Its kind.
    pub kind: SetKind,
    /// The installation's namespace in Porter.
    pub porter_namespace: String,
    /// Its name in Porter.
    pub name: String,
}

impl SetName {
    /// The sets that the spec of an Installation names.
    #[must_use]
    pub fn all(kube_namespace: &str, spec: &Value) -> Vec<Self> {
        let named = |kind: SetKind| {
            let names = spec[kind.list()].as_array().into_iter().flatten().filter_map(Value::as_str);
            names.map(move |name| Self {
                kube_namespace: kube_namespace.to_owned(),
                kind,
                porter_namespace: spec["namespace"].as_str().unwrap_or_default().to_owned(),
                name: name.to_owned(),
            })
        };
        [SetKind::Parameters, SetKind::Credentials].into_iter().flat_map(named).collect()
    }
}

/// A set that installations name, and what it gives.
#[derive(Clone, Debug)]
pub struct InputSet {
    /// Its object.
    pub id: ObjectId,
    /// Its object and its runs.
    pub live: LiveSet,
    /// A keyed digest of all that it gives, as [`api::Inputs`] says.
    pub digest: String,
    /// The names of the Secrets in its namespace that this was read from.
    pub secrets: BTreeSet<String>,
    /// What is missing of it: a sentence each, without values, and what to do.
    pub faults: Vec<String>,
}

/// What is known of the runs of a generation of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetRun {
    /// The set.
    pub id: ObjectId,
    /// Its uid: a deleted and newly made set has another.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// It is to run well yet. Otherwise it did, and Porter knows it, whatever later runs of the same generation show, which
    /// begin when the Job of the first expires.
    pub awaited: bool,
    /// How often it was run again because it failed.
    pub retries: i32,
    /// The AgentAction that goes once it is over, for the operator to run the set again.
    pub again: Option<String>,
    /// The value of `reconcile.fluxcd.io/forceAt` on the sync that was taken in last.
    pub forced_at: Option<String>,
}

/// An object of another kind.
#[derive(Clone, Debug)]
pub struct LiveObject {
    /// The object as JSON.
    pub object: Value,
}
