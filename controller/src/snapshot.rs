//! From the mirrors to the [`Live`] state that a plan is made of: a copy of just the objects that one sync concerns.
//!
//! Invariant: it makes no request, and changes nothing; two snapshots of mirrors that did not change are equal. An object that
//! stands and cannot be read is an error, never absent: of what is absent the plan makes a new one. It may not know what is
//! done with it, but whose an object is it tells as labels and releases have it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::bundle_release::BundleRelease;
use api::porter::{AgentAction, DEFAULT_CONFIG, SYSTEM_NAMESPACE, label};
use api::{BundleSync, InstallationId, PorterIdentity, SyncRef};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use manifest::ObjectId;
use plan::{Live, LiveInstallation, LiveObject, LiveSet, Remains, SetKind, SetRun};
use porter::Desired;
use serde_json::Value;

use crate::cluster::{AnyMirror, Cluster};
use crate::mirror::Key;

/// What one sync concerns.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Releases of the sync, and those of others that stand where one of its own would.
    pub releases: Vec<BundleRelease>,
    /// The live objects.
    pub live: Live,
    /// The inventory of the sync.
    pub inventory: BTreeSet<ObjectId>,
    /// Of that, what another sync asks for and has not taken over yet.
    pub handed: BTreeSet<ObjectId>,
}

impl Snapshot {
    /// Reads the mirrors.
    ///
    /// # Errors
    /// When an object that the sync concerns stands on the API server and cannot be read: nothing may be decided then.
    pub fn take(cluster: &Cluster, sync: &BundleSync, desired: &Desired) -> Result<Self, String> {
        let mut releases: BTreeMap<Key, Arc<BundleRelease>> =
            cluster.releases.group(&Key::of(sync).to_string()).into_iter().map(|r| (Key::of(r.as_ref()), r)).collect();
        let mut objects: BTreeSet<Key> = BTreeSet::new();
        for installation in &desired.installations {
            let key = release_key(&installation.id);
            if let Some(release) = cluster.releases.get(&key)? {
                releases.insert(key, release);
            }
            objects.insert(Key::new(&installation.id.kube_namespace, &installation.object_name));
        }
        for release in releases.values() {
            objects.insert(Key::new(release.namespace().unwrap_or_default(), &release.spec.object_name));
        }

        // And those whose release is lost, with the release that has their identity.
        for key in cluster.held_installations(&Key::of(sync)) {
            if let Some(object) = cluster.installations.get(&key)? {
                let held = PorterIdentity { namespace: object.spec.namespace.clone(), name: object.spec.name.clone() };
                let of = release_key(&InstallationId::of(&key.namespace, held));
                if let Some(release) = cluster.releases.get(&of)? {
                    releases.insert(of, release);
                }
            }
            objects.insert(key);
        }

        let mut live = Live::default();
        for key in releases.keys() {
            let commands = cluster.commands_for(key);
            if !commands.is_empty() {
                let commands = commands.iter().map(|action| (**action).clone()).collect();
                live.ours.insert((key.namespace.clone(), key.name.clone()), commands);
            }
        }
        for key in agents(desired, releases.values()) {
            if let Some(config) = cluster.agent_configs.json(&key)? {
                live.agents.insert((key.namespace, key.name), config);
            }
        }
        for key in objects {
            let mut actions = cluster.actions_for("Installation", &key);
            let own = releases.iter().filter(|(_, release)| is_of(release, &key));
            let commands: Vec<_> = own.flat_map(|(release, _)| cluster.commands_for(release)).collect();
            let known = actions.iter().chain(&commands).cloned().collect::<Vec<_>>();
            let job = active_job(cluster, &key, &known, releases.values());
            actions.retain(|action| !commands.iter().any(|command| command.name_any() == action.name_any()));
            let actions = actions.iter().map(|action| (**action).clone()).collect();
            match cluster.installations.get(&key)? {
                Some(object) => {
                    let installation = LiveInstallation { object: (*object).clone(), actions, bundle_job: job };
                    live.installations.insert((key.namespace, key.name), installation);
                }
                None => drop(live.remains.insert((key.namespace, key.name), Remains { actions, job })),
            }
        }
        let ran = set_runs(sync);
        let with_runs = |id: &ObjectId, object: Value| {
            let actions = cluster.actions_for(&id.kind, &Key::new(&id.namespace, &id.name));
            let actions = actions.iter().map(|action| (**action).clone()).collect();
            LiveSet { object, actions, ran: ran.get(id).cloned() }
        };
        for set in &desired.sets {
            if let Some(object) = object(cluster, &set.id)? {
                live.sets.insert(set.id.clone(), with_runs(&set.id, object));
            }
        }
        for other in &desired.objects {
            if let Some(object) = object(cluster, &other.id)? {
                live.objects.insert(other.id.clone(), LiveObject { object });
            }
        }
        let wanted: BTreeSet<&ObjectId> =
            desired.sets.iter().chain(&desired.objects).map(|object| &object.id).collect();
        let inventory = inventory(sync);
        let key = Key::of(sync);
        let mut handed = BTreeSet::new();
        for id in inventory.iter().filter(|id| !wanted.contains(id)) {
            if let Some(object) = object(cluster, id)? {
                if cluster.is_claimed(id, &key) {
                    let owner = SyncRef::owner_by(&object["metadata"]);
                    handed.extend((owner == Some(SyncRef::from(sync))).then(|| id.clone()));
                    continue;
                }
                if let Some(user) = user(cluster, id, &object) {
                    live.users.insert(id.clone(), user);
                }
                live.dropped.insert(id.clone(), with_runs(id, object));
            }
        }
        for id in wanted {
            let stands = live.sets.get(id).map(|set| &set.object).or_else(|| live.objects.get(id).map(|o| &o.object));
            let owner = stands.and_then(|object| SyncRef::owner_by(&object["metadata"]));
            let owner = owner.as_ref().map(Key::from);
            if owner.is_some_and(|owner| owner != key && cluster.frees(id, &owner)) {
                live.freed.insert(id.clone());
            }
        }
        let owners = releases.values().map(|release| release.spec.sync.clone()).chain(owners(&live));
        live.absent_owners = owners.filter(|owner| cluster.is_absent(&Key::from(owner))).collect();
        Ok(Self {
            releases: releases.into_values().map(|release| (*release).clone()).collect(),
            live,
            inventory,
            handed,
        })
    }

    /// Whether any other object than installations left the source, or is another sync's that it asks for.
    pub fn concerns_others(&self, sync: &SyncRef) -> bool {
        !self.live.dropped.is_empty() || owners_of_objects(&self.live).any(|owner| owner != *sync)
    }

    /// Installations with our labels and finalizer that no release has.
    pub fn unrecorded(&self, sync: &BundleSync) -> Vec<Key> {
        let recorded: BTreeSet<(Option<String>, &String)> =
            self.releases.iter().map(|release| (release.namespace(), &release.spec.object_name)).collect();
        let owner = SyncRef::from(sync);
        let installations = self.live.installations.values().map(|live| &live.object);
        let unrecorded = installations.filter(|object| {
            api::is_held(*object)
                && SyncRef::owner_of(*object).as_ref() == Some(&owner)
                && !recorded.contains(&(object.namespace(), &object.name_any()))
        });
        unrecorded.map(Key::of).collect()
    }

    /// Namespaces in which something is being deleted: they may be so themselves.
    pub fn suspects(&self, sync: &BundleSync) -> BTreeSet<String> {
        let live = &self.live;
        let installations = live
            .installations
            .values()
            .map(|installation| &installation.object.metadata)
            .chain(self.releases.iter().map(|release| &release.metadata))
            .chain([&sync.metadata]);
        let deleting = installations.filter(|metadata| metadata.deletion_timestamp.is_some());
        deleting.filter_map(|metadata| metadata.namespace.clone()).collect()
    }
}

/// The AgentConfigs that what is asked runs with: those that it names, those of the namespace, and ours.
fn agents<'a>(desired: &Desired, releases: impl Iterator<Item = &'a Arc<BundleRelease>>) -> BTreeSet<Key> {
    let name = |spec: &Value| spec.pointer("/agentConfig/name").and_then(Value::as_str).map(str::to_owned);
    let installations = desired.installations.iter().map(|d| (d.id.kube_namespace.clone(), name(&d.spec)));
    let objects = desired.sets.iter().chain(&desired.objects);
    let objects = objects.map(|object| (object.id.namespace.clone(), name(&object.body["spec"])));
    let asked = releases.flat_map(|release| {
        let succeeded = release.status.iter().filter_map(|status| status.succeeded.as_ref());
        let specs = succeeded.chain([&release.spec.asked]).map(|asked| &asked.spec);
        specs.map(|spec| (release.namespace().unwrap_or_default(), name(spec))).collect::<Vec<_>>()
    });
    let mut keys = BTreeSet::from([Key::new(SYSTEM_NAMESPACE, DEFAULT_CONFIG)]);
    for (namespace, named) in installations.chain(objects).chain(asked) {
        keys.insert(Key::new(&namespace, plan::agent::name(named.as_deref())));
        keys.insert(Key::new(&namespace, named.as_deref().unwrap_or(DEFAULT_CONFIG)));
    }
    keys
}

/// An Installation that names a set.
fn user(cluster: &Cluster, id: &ObjectId, set: &Value) -> Option<String> {
    let kind = [SetKind::Parameters, SetKind::Credentials].into_iter().find(|kind| kind.kind() == id.kind)?;
    cluster.user_of(kind, &id.namespace, set.pointer("/spec/name")?.as_str()?)
}

fn is_of(release: &BundleRelease, installation: &Key) -> bool {
    release.namespace().as_ref() == Some(&installation.namespace) && release.spec.object_name == installation.name
}

/// Where the release of an installation stands.
pub fn release_key(id: &InstallationId) -> Key {
    Key::new(&id.kube_namespace, BundleRelease::object_name(id))
}

/// What stands of an object of the source. Never an Installation: it has a release, and does not go as other objects do.
fn object(cluster: &Cluster, id: &ObjectId) -> Result<Option<Value>, String> {
    let mirror = cluster.mirror_of(&id.kind).filter(|_| id.kind != "Installation");
    mirror.ok_or_else(|| format!("kind {} is not watched", id.kind))?.json(&Key::new(&id.namespace, &id.name))
}

/// A Job because of which the Installation may not get a new spec, or be made again: one of a bundle, or any of a run
/// whose AgentAction is gone, since the agent's can still make one of the bundle.
fn active_job<'a>(
    cluster: &Cluster,
    installation: &Key,
    actions: &[Arc<AgentAction>],
    releases: impl Iterator<Item = &'a Arc<BundleRelease>>,
) -> Option<String> {
    let known = actions.iter().flat_map(|action| cluster.jobs_of(&Key::of(action.as_ref())));
    let own: Vec<_> = releases.filter(|release| is_of(release, installation)).collect();
    let noted = own
        .iter()
        .filter_map(|release| release.status.as_ref())
        .flat_map(|status| status.runs.iter().filter(|run| run.result.is_none()))
        .filter(|run| !actions.iter().any(|action| action.name_any() == run.action))
        .flat_map(|run| cluster.jobs_of(&Key::new(&installation.namespace, &run.action)));
    let commands = own.iter().flat_map(|release| cluster.orphaned_commands(&Key::of(release.as_ref())));
    let orphaned = noted.chain(cluster.orphaned_jobs(installation)).chain(commands);
    let mut active = known.filter(|job| is_active_bundle_job(job)).chain(orphaned.filter(|job| !is_final(job)));
    active.next().map(|job| job.name_any())
}

/// Whom the labels of live objects name as their owners.
fn owners(live: &Live) -> Vec<SyncRef> {
    let installations = live.installations.values().filter_map(|live| SyncRef::owner_of(&live.object));
    installations.chain(owners_of_objects(live)).collect()
}

/// The syncs that have the sets and other objects that are asked for.
fn owners_of_objects(live: &Live) -> impl Iterator<Item = SyncRef> {
    let objects = live.sets.values().map(|set| &set.object).chain(live.objects.values().map(|other| &other.object));
    objects.filter_map(|object| SyncRef::owner_by(&object["metadata"]))
}

fn is_active_bundle_job(job: &Job) -> bool {
    is_bundle_job(job) && !is_final(job)
}

/// Whether a Job is one of a bundle, and not of the agent.
pub fn is_bundle_job(job: &Job) -> bool {
    job.labels().get(label::JOB_TYPE).is_some_and(|kind| kind == label::JOB_TYPE_INSTALLER)
}

/// A Job without a final condition may still start a pod, whatever its counts say.
pub fn is_final(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.status == "True" && (c.type_ == "Complete" || c.type_ == "Failed"))
}

fn inventory(sync: &BundleSync) -> BTreeSet<ObjectId> {
    let entries = sync.status.as_ref().and_then(|status| status.inventory.as_ref()).map(|inventory| &inventory.entries);
    entries.into_iter().flatten().filter_map(|entry| object_id(&entry.id)).collect()
}

fn set_runs(sync: &BundleSync) -> BTreeMap<ObjectId, SetRun> {
    let runs = sync.status.as_ref().map(|status| status.set_runs.as_slice()).unwrap_or_default();
    let parse = |run: &api::SetRun| {
        let id = object_id(&run.id)?;
        let api::SetRun { uid, generation, awaited, retries, again, forced_at, .. } = run.clone();
        Some((id.clone(), SetRun { id, uid, generation, awaited, retries, again, forced_at }))
    };
    runs.iter().filter_map(parse).collect()
}

/// An object in Flux's form: `<namespace>_<name>_<group>_<Kind>`. None of the parts can hold an underscore.
pub(crate) fn object_id(text: &str) -> Option<ObjectId> {
    let mut parts = text.rsplitn(4, '_').map(str::to_owned);
    let (kind, group, name, namespace) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(ObjectId { group, kind, namespace, name })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::Scope;

    /// Whoever writes an inventory could else have it deleted, and nothing uninstalled.
    #[test]
    fn an_installation_is_not_dropped_as_an_object_of_the_inventory() {
        let cluster = Cluster::new(Scope::All, "", true);
        for (kind, is_read) in [("ParameterSet", true), ("Installation", false), ("Pod", false)] {
            let stands = json!({"metadata": {"name": "mysql", "namespace": "apps", "resourceVersion": "1"}});
            cluster.record_json(kind, stands);
            let id = ObjectId {
                group: api::porter::GROUP.into(),
                kind: kind.into(),
                namespace: "apps".into(),
                name: "mysql".into(),
            };
            assert_eq!(object(&cluster, &id).is_ok_and(|found| found.is_some()), is_read, "{kind}");
        }
    }
}
