//! What a revision means for the bundles: the plan of the local mode, and what it comes to.
//!
//! Guarantee: what is told follows from the ledger and from what is desired alone. The documents on disk say only what is
//! put right, so a run that was interrupted between the two tells the same when it is done again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use api::porter::Installation;
use api::{Adoption, Asked, BundleRelease, Removed, SyncRef};
use jiff::{SignedDuration, Timestamp};
use plan::{Action, Guard, Input, Live, LiveInstallation, LiveObject, LiveSet, Plan, Reason, Removal, Subject};
use porter::Desired;
use serde_json::Value;

use crate::documents;
use crate::store::{State, Store};

/// How many hexadecimal digits of a digest are shown.
const SHORT_DIGEST: usize = 12;

/// What happens to one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BundleAction {
    /// It was not there.
    Install { name: String, version: String },
    /// It runs with another spec.
    Upgrade { name: String, version: String },
    /// It left the source, or its document says so.
    Uninstall { name: String },
    /// No bundle runs.
    Unchanged { name: String },
}

impl fmt::Display for BundleAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install { name, version } => write!(f, "install {name} {version}"),
            Self::Upgrade { name, version } => write!(f, "upgrade {name} {version}"),
            Self::Uninstall { name } => write!(f, "uninstall {name}"),
            Self::Unchanged { name } => write!(f, "unchanged {name}"),
        }
    }
}

/// A plan, and what it comes to.
#[derive(Debug)]
pub(crate) struct Planned {
    /// The plan.
    pub(crate) plan: Plan,
    /// One an installation, in the order of the plan.
    pub(crate) actions: Vec<BundleAction>,
    /// The ledger once it is done.
    pub(crate) releases: Vec<BundleRelease>,
    /// What may not be written; the rest is not written either then.
    pub(crate) refused: Vec<String>,
}

/// What is to be done so that the directory holds what is desired.
///
/// Where Porter is made to do it, a release stays in the ledger until it has: one that left the source is marked, and one
/// that comes back while it is uninstalled is new only after that.
///
/// # Errors
/// When a document cannot be read.
pub(crate) fn plan(store: &Store, state: &State, desired: &Desired, revision: &str) -> anyhow::Result<Planned> {
    let live = live(store, desired)?;
    let of_ours = |id: &&manifest::ObjectId| state.files.contains(&documents::object_file(id));
    let inventory: BTreeSet<_> =
        desired.objects.iter().chain(&desired.sets).map(|object| &object.id).filter(of_ours).cloned().collect();
    let plan = plan::plan(&Input {
        sync: &SyncRef { name: "flux-porter".to_owned(), namespace: "flux-porter".to_owned() },
        revision,
        origin_revision: None,
        desired,
        releases: &state.releases,
        live: &live,
        inventory: &inventory,
        removal: Removal::Local,
        adoption: Adoption::Never,
        agent: plan::Agent::None,
        retries: 0,
        rollback: false,
        force: None,
        guard: Guard::OPEN,
        keep_record: false,
        max_actions: usize::MAX,
        retry: SignedDuration::ZERO,
        now: Timestamp::UNIX_EPOCH,
    });
    Ok(conclude(plan, state, revision))
}

/// The documents as they stand on disk. One that holds another installation than it should counts as missing: nothing but
/// the ledger says what is installed.
fn live(store: &Store, desired: &Desired) -> anyhow::Result<Live> {
    let read = |file: &str| -> anyhow::Result<Option<Value>> {
        Ok(store.document(file)?.and_then(|content| documents::parse(file, &content)))
    };
    let mut live = Live::default();
    for object in &desired.objects {
        if let Some(found) = read(&documents::object_file(&object.id))? {
            live.objects.insert(object.id.clone(), LiveObject { object: found });
        }
    }
    for set in &desired.sets {
        if let Some(found) = read(&documents::object_file(&set.id))? {
            live.sets.insert(set.id.clone(), LiveSet { object: found, actions: Vec::new(), ran: None });
        }
    }
    for wanted in &desired.installations {
        let file = documents::installation_file(&wanted.id.kube_namespace, &wanted.object_name);
        let object = read(&file)?.and_then(|found| serde_json::from_value::<Installation>(found).ok());
        let same = |object: &Installation| {
            object.spec.namespace == wanted.id.porter_namespace && object.spec.name == wanted.id.name
        };
        if let Some(object) = object.filter(same) {
            let found = LiveInstallation { object, actions: Vec::new(), bundle_job: None };
            live.installations.insert((wanted.id.kube_namespace.clone(), wanted.object_name.clone()), found);
        }
    }
    Ok(live)
}

fn conclude(plan: Plan, state: &State, revision: &str) -> Planned {
    let mut releases: BTreeMap<_, BundleRelease> =
        state.releases.iter().map(|release| (release.installation_id(), release.clone())).collect();
    let mut actions = Vec::new();
    let mut told = BTreeSet::new();
    let mut refused = Vec::new();
    for step in &plan.steps {
        if let Reason::Refused(refusal) = &step.reason {
            refused.push(refusal.to_string());
            continue;
        }
        let Subject::Installation(id) = &step.subject else { continue };
        let name = id.name.clone();
        let action = match &step.action {
            Action::UninstallInstallation { .. } => {
                let gone = releases.remove(id);
                if let (Some(_), Some(release)) = (&state.porter, &gone) {
                    let mut left = release.clone();
                    left.spec.removed.get_or_insert_with(|| Removed { revision: revision.to_owned(), prune: true });
                    releases.insert(id.clone(), left);
                }
                // Its document said so before it went: there is nothing left to run.
                match gone.is_some_and(|release| is_uninstalled(&release.spec.asked)) {
                    true => BundleAction::Unchanged { name },
                    false => BundleAction::Uninstall { name },
                }
            }
            Action::RecordRelease(record) => {
                let new = record.release.spec.asked.clone();
                let old = releases.get(id).cloned();
                if !old.as_ref().is_some_and(plan::local::is_leaving) {
                    let mut release = (*record.release).clone();
                    release.status = old.as_ref().and_then(|old| old.status.clone());
                    releases.insert(id.clone(), release);
                }
                compared(name, old.map(|release| release.spec.asked).as_ref(), &new)
            }
            Action::ApplyInstallation(_) | Action::Unchanged => BundleAction::Unchanged { name },
            _ => continue,
        };
        // Of the steps of an installation, the first decides: what is applied after it was recorded is the same action.
        if told.insert(id.clone()) {
            actions.push(action);
        }
    }
    Planned { plan, actions, releases: releases.into_values().collect(), refused }
}

fn compared(name: String, old: Option<&Asked>, new: &Asked) -> BundleAction {
    let installed = old.filter(|old| !is_uninstalled(old));
    match (old, installed, is_uninstalled(new)) {
        (Some(_), None, true) => BundleAction::Unchanged { name },
        (_, _, true) => BundleAction::Uninstall { name },
        (_, None, false) => BundleAction::Install { name, version: version(&new.spec) },
        (_, Some(old), false) if old.digest == new.digest => BundleAction::Unchanged { name },
        (_, Some(_), false) => BundleAction::Upgrade { name, version: version(&new.spec) },
    }
}

fn is_uninstalled(asked: &Asked) -> bool {
    asked.spec["uninstalled"].as_bool().unwrap_or(false)
}

/// The bundle's version, else its tag, else the beginning of its digest.
pub(crate) fn version(spec: &Value) -> String {
    let field = |name: &str| spec["bundle"][name].as_str().filter(|text| !text.is_empty());
    let short = |digest: &str| {
        let (algorithm, hex) = digest.split_once(':').unwrap_or(("sha256", digest));
        format!("{algorithm}:{}", hex.chars().take(SHORT_DIGEST).collect::<String>())
    };
    field("version").or(field("tag")).map(str::to_owned).or(field("digest").map(short)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(spec: Value) -> Asked {
        let digest = porter::digest(&spec);
        Asked {
            revision: "r".into(),
            origin_revision: None,
            file: "f".into(),
            line: 1,
            depends_on: Vec::new(),
            digest,
            spec,
            inputs: None,
        }
    }

    #[test]
    fn what_runs_follows_from_what_was_and_what_is_asked() {
        let one = json!({"bundle": {"version": "1.0.0", "tag": "x"}});
        let two = json!({"bundle": {"tag": "x"}, "parameters": {"a": 1}});
        let gone = json!({"bundle": {"tag": "x"}, "uninstalled": true});
        let gone_too = json!({"bundle": {"tag": "y"}, "uninstalled": true});
        for (old, new, action) in [
            (None, &one, "install m 1.0.0"),
            (None, &gone, "uninstall m"),
            (Some(&one), &one, "unchanged m"),
            (Some(&one), &two, "upgrade m x"),
            (Some(&one), &gone, "uninstall m"),
            (Some(&gone), &gone_too, "unchanged m"),
            (Some(&gone), &two, "install m x"),
        ] {
            let old = old.map(|spec| asked(spec.clone()));
            let told = compared("m".to_owned(), old.as_ref(), &asked(new.clone())).to_string();
            assert_eq!(told, action);
        }
    }

    #[test]
    fn a_version_is_the_first_that_is_given() {
        for (bundle, shown) in [
            (json!({"version": "0.1.3", "tag": "latest", "digest": "sha256:aa"}), "0.1.3"),
            (json!({"tag": "latest", "digest": "sha256:aa"}), "latest"),
            (json!({"digest": "sha256:0123456789abcdef"}), "sha256:0123456789ab"),
        ] {
            assert_eq!(version(&json!({"bundle": bundle})), shown);
        }
    }
}
