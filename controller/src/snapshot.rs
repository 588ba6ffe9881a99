//! From the mirrors to the [`Live`] state that a plan is made of: a copy of just the objects that one sync concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::bundle_release::BundleRelease;
use api::{BundleSync, InstallationId};
use k8s_openapi::api::batch::v1::Job;
use kube::{Resource, ResourceExt};
use manifest::ObjectId;
use plan::{Live, LiveInstallation, LiveObject, LiveSet};
use porter::{Desired, DesiredObject};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::mirror::{Key, Mirror};

/// What Porter's kubernetes driver labels the Job of a bundle with (getporter/operator: `jobType`).
const BUNDLE_JOB: (&str, &str) = ("getporter.org/jobType", "bundle-installer");

/// What one sync concerns.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Releases of the sync, and those of others that stand where one of its own would.
    pub releases: Vec<BundleRelease>,
    /// The live objects.
    pub live: Live,
    /// The inventory of the sync.
    pub inventory: BTreeSet<ObjectId>,
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

        let mut live = Live::default();
        for key in objects {
            let Some(object) = cluster.installations.get(&key)? else { continue };
            let actions = cluster.actions_for("Installation", &key);
            let bundle_job_active = actions
                .iter()
                .any(|action| cluster.jobs_of(&Key::of(action.as_ref())).iter().any(|job| is_active_bundle_job(job)));
            let installation = LiveInstallation {
                object: (*object).clone(),
                actions: actions.iter().map(|action| (**action).clone()).collect(),
                bundle_job_active,
            };
            live.installations.insert((key.namespace, key.name), installation);
        }
        for set in &desired.sets {
            if let Some(object) = object(cluster, set)? {
                let key = Key::new(&set.id.namespace, &set.id.name);
                let actions = cluster.actions_for(&set.id.kind, &key);
                let actions = actions.iter().map(|action| (**action).clone()).collect();
                live.sets.insert(set.id.clone(), LiveSet { object, actions });
            }
        }
        for other in &desired.objects {
            if let Some(object) = object(cluster, other)? {
                live.objects.insert(other.id.clone(), LiveObject { object });
            }
        }
        Ok(Self {
            releases: releases.into_values().map(|release| (*release).clone()).collect(),
            live,
            inventory: inventory(sync),
        })
    }
}

/// Where the release of an installation stands.
fn release_key(id: &InstallationId) -> Key {
    Key::new(&id.kube_namespace, BundleRelease::object_name(id))
}

fn object(cluster: &Cluster, desired: &DesiredObject) -> Result<Option<Value>, String> {
    let key = Key::new(&desired.id.namespace, &desired.id.name);
    match desired.id.kind.as_str() {
        "CredentialSet" => json(&cluster.credential_sets, &key),
        "ParameterSet" => json(&cluster.parameter_sets, &key),
        "AgentConfig" => json(&cluster.agent_configs, &key),
        "PorterConfig" => json(&cluster.porter_configs, &key),
        "AgentAction" => json(&cluster.agent_actions, &key),
        "ConfigMap" => json(&cluster.config_maps, &key),
        "Secret" => json(&cluster.secrets, &key),
        // Interpretation lets no other kind pass.
        kind => Err(format!("kind {kind} is not watched")),
    }
}

fn json<K>(mirror: &Mirror<K>, key: &Key) -> Result<Option<Value>, String>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + 'static,
{
    let Some(object) = mirror.get(key)? else { return Ok(None) };
    let value = serde_json::to_value(object.as_ref());
    value.map(Some).map_err(|error| format!("{} {key} cannot be read: {error}", mirror.kind()))
}

fn is_active_bundle_job(job: &Job) -> bool {
    let bundle = job.labels().get(BUNDLE_JOB.0).is_some_and(|kind| kind == BUNDLE_JOB.1);
    bundle && !is_final(job)
}

/// A Job without a final condition may still start a pod, whatever its counts say.
fn is_final(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.status == "True" && (c.type_ == "Complete" || c.type_ == "Failed"))
}

/// The inventory in Flux's form: `<namespace>_<name>_<group>_<Kind>`. None of the parts can hold an underscore.
fn inventory(sync: &BundleSync) -> BTreeSet<ObjectId> {
    let entries = sync.status.as_ref().and_then(|status| status.inventory.as_ref()).map(|inventory| &inventory.entries);
    let parse = |id: &str| {
        let mut parts = id.rsplitn(4, '_').map(str::to_owned);
        let (kind, group, name, namespace) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(ObjectId { group, kind, namespace, name })
    };
    entries.into_iter().flatten().filter_map(|entry| parse(&entry.id)).collect()
}
