//! By what an object of each kind is found in its mirror: groups, which are strings.
//!
//! Guarantee: who asks for a group, and who is in it, go through the same function. It may not know who asks.

use api::build::SubstituteKind;
use api::porter::{AgentAction, Installation, label};
use api::{BundleRelease, BundleSync, RELEASE_LABEL, SourceKind, SyncRef};
use k8s_openapi::api::batch::v1::Job;
use kube::{Resource, ResourceExt};

use crate::dependencies::{dependants_group, key_of};
use crate::mirror::Key;
use crate::sets;

pub(super) fn no_index<K>(_: &K) -> Vec<String> {
    Vec::new()
}

/// A release is found by its sync, by its Installation, and by the sets that it names.
pub(super) fn release_index(release: &BundleRelease) -> Vec<String> {
    let sync = Key::from(&release.spec.sync).to_string();
    let object = Key::new(release.namespace().unwrap_or_default(), &release.spec.object_name);
    [sync, installation_group(&object)].into_iter().chain(sets::release_groups(release)).collect()
}

pub(super) fn installation_group(installation: &Key) -> String {
    format!("of Installation/{installation}")
}

/// The group of the things that are for one object.
pub(super) fn resource_group(namespace: &str, kind: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

pub(super) fn resource_index<K: ResourceExt>(object: &K) -> Vec<String> {
    let text = |name: &str| object.labels().get(name).map(String::as_str);
    match (text(label::RESOURCE_KIND), text(label::RESOURCE_NAME)) {
        (Some(kind), Some(name)) => vec![resource_group(&object.namespace().unwrap_or_default(), kind, name)],
        _ => Vec::new(),
    }
}

/// An Installation is found by the sets that it names; and what has our finalizer by its owner, whether a release knows it
/// or not.
pub(super) fn installation_index(installation: &Installation) -> Vec<String> {
    let owner = owner(installation).filter(|_| api::is_held(installation));
    sets::installation_groups(installation).chain(owner.iter().map(held_group)).collect()
}

pub(super) fn held_group(owner: &Key) -> String {
    format!("held for/{owner}")
}

/// An AgentAction of the operator's names its object, one of ours its release.
pub(super) fn action_index(action: &AgentAction) -> Vec<String> {
    let mut groups = resource_index(action);
    groups.extend(commands_group(action));
    groups
}

/// The group of what we have run for a release beside its document.
pub(super) fn commands_group<K: ResourceExt>(object: &K) -> Option<String> {
    let release = object.labels().get(RELEASE_LABEL)?;
    Some(release_group(&Key::new(object.namespace().unwrap_or_default(), release)))
}

pub(super) fn release_group(release: &Key) -> String {
    format!("commands for/{release}")
}

/// How the operator names an AgentAction: the name of its object, a `-` and five characters, with the name cut where
/// the API server cuts a `generateName`.
const GENERATED: usize = 5;
const LONGEST_BASE: usize = 63 - GENERATED;

/// A Job tells its AgentAction by its labels. When that is gone, the object that it was for is told by its name alone; or,
/// of one of ours, the release by its label, which the operator copies down.
pub(super) fn job_index(job: &Job) -> Vec<String> {
    let mut groups = resource_index(job);
    groups.extend(commands_group(job));
    if let Some(action) = job.labels().get(label::RESOURCE_NAME)
        && let Some(base) = action.len().checked_sub(GENERATED).and_then(|length| action.get(..length))
    {
        groups.push(action_base_group(&job.namespace().unwrap_or_default(), base));
    }
    groups.extend(owner(job).as_ref().map(jobs_group));
    groups
}

/// The AgentAction that a Job is of, by its labels.
pub fn action_of(job: &Job) -> Key {
    let action = job.labels().get(label::RESOURCE_NAME).cloned().unwrap_or_default();
    Key::new(job.namespace().unwrap_or_default(), action)
}

pub(super) fn jobs_group(owner: &Key) -> String {
    format!("run for/{owner}")
}

/// The group of the Jobs of an object, by the name that its AgentActions begin with.
pub(super) fn orphans_group(object: &Key) -> String {
    let mut base = format!("{}-", object.name);
    base.truncate(LONGEST_BASE);
    action_base_group(&object.namespace, &base)
}

fn action_base_group(namespace: &str, base: &str) -> String {
    format!("AgentActions of/{namespace}/{base}")
}

pub(super) fn source_group(kind: SourceKind, key: &Key) -> String {
    format!("{kind:?}/{key}")
}

/// A sync is found by what it reads: its source, the ConfigMaps and Secrets that it takes variables from, and what it
/// depends on.
pub(super) fn sync_index(sync: &BundleSync) -> Vec<String> {
    let namespace = sync.namespace().unwrap_or_default();
    let references = sync.spec.post_build.iter().flat_map(|post_build| &post_build.substitute_from);
    let variables = references.map(|from| variables_group(from.kind, &Key::new(&namespace, &from.name)));
    let dependencies = sync.spec.depends_on.iter().map(|other| dependants_group(other.kind, &key_of(sync, other)));
    let source = source_group(sync.spec.source_ref.kind, &source_key(sync));
    std::iter::once(source).chain(variables).chain(dependencies).collect()
}

pub(super) fn variables_group(kind: SubstituteKind, key: &Key) -> String {
    format!("variables of {kind:?}/{key}")
}

/// The source that a sync reads.
pub fn source_key(sync: &BundleSync) -> Key {
    let reference = &sync.spec.source_ref;
    let namespace = reference.namespace.clone().or_else(|| sync.namespace()).unwrap_or_default();
    Key::new(namespace, &reference.name)
}

/// The sync that an applied object names as its owner; the operator copies these labels down to what it makes of it.
pub(super) fn owner<K: Resource>(object: &K) -> Option<Key> {
    SyncRef::owner_of(object).as_ref().map(Key::from)
}
