//! ParameterSets and CredentialSets as what installations are given: which one an installation names, which Secrets it names,
//! and whom a change of it concerns.
//!
//! It may not know what a Secret holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::porter::{
    AgentAction, Credential, CredentialSet, DEFAULT_CONFIG, Installation, Parameter, ParameterSet, PorterConfig,
    SYSTEM_NAMESPACE, label,
};
use api::{BundleRelease, ReleaseState};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use manifest::ObjectId;
use plan::{LiveSet, SetKind, SetName};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::{Cluster, Watched};
use crate::mirror::{Key, Mirror};

/// The secrets plugin of Porter that reads Secrets of the cluster, and what the operator configures when nobody says otherwise.
const KUBERNETES_SECRETS: &str = "kubernetes.secrets";
/// The option of that plugin that has it look in another namespace than the agent's.
const OTHER_NAMESPACE: &str = "namespace";

/// All of a Secret but what it holds and says: enough to know whether it changed.
pub type SecretVersion = PartialObjectMeta<Secret>;

/// Leaves name, uid and version of a Secret. Its annotations may hold all that it holds: `kubectl apply` writes it there.
pub fn keep_version(secret: &mut SecretVersion) {
    let metadata = std::mem::take(&mut secret.metadata);
    secret.metadata.name = metadata.name;
    secret.metadata.namespace = metadata.namespace;
    secret.metadata.uid = metadata.uid;
    secret.metadata.resource_version = metadata.resource_version;
}

/// One value that a set gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry<'a> {
    /// Its name in the bundle.
    pub name: &'a str,
    /// Its key in Porter's secret store.
    pub secret: Option<&'a str>,
    /// Or the value itself.
    pub value: Option<&'a str>,
}

/// A kind of set.
pub trait PorterSet: Watched + Serialize {
    /// Which.
    const KIND: SetKind;
    /// Its namespace and name in Porter.
    fn identity(&self) -> (&str, &str);
    /// What it gives, in its order.
    fn entries(&self) -> Vec<Entry<'_>>;
}

impl PorterSet for ParameterSet {
    const KIND: SetKind = SetKind::Parameters;

    fn identity(&self) -> (&str, &str) {
        (&self.spec.namespace, &self.spec.name)
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries = Vec::new();
        for Parameter { name, source } in &self.spec.parameters {
            entries.push(Entry { name, secret: source.secret.as_deref(), value: source.value.as_deref() });
        }
        entries
    }
}

impl PorterSet for CredentialSet {
    const KIND: SetKind = SetKind::Credentials;

    fn identity(&self) -> (&str, &str) {
        (&self.spec.namespace, &self.spec.name)
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries = Vec::new();
        for Credential { name, source } in &self.spec.credentials {
            entries.push(Entry { name, secret: source.secret.as_deref(), value: None });
        }
        entries
    }
}

/// The name of the Secret in which Porter's kubernetes plugin looks for a key of its store.
pub fn secret_name(key: &str) -> String {
    let clean = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-') { c } else { '-' };
    let ends = |c: &char| c.is_ascii_alphanumeric();
    let mut name: String = key.to_lowercase().chars().map(clean).collect();
    if name.chars().next().filter(ends).is_none() {
        name = format!("000{}", name.get(1..).unwrap_or_default());
    }
    if name.chars().last().filter(ends).is_none() {
        name.pop();
        name.push_str("000");
    }
    name
}

/// A set is found by its name in Porter, and by the Secrets that it names.
pub fn set_index<K: PorterSet>(set: &K) -> Vec<String> {
    let namespace = set.namespace().unwrap_or_default();
    let secrets = set.entries().into_iter().filter_map(|entry| entry.secret.map(secret_name));
    let secrets: BTreeSet<String> = secrets.map(|name| secret_group(&Key::new(&namespace, name))).collect();
    std::iter::once(named_group(K::KIND, &namespace, set.identity().1)).chain(secrets).collect()
}

fn secret_group(secret: &Key) -> String {
    format!("given by Secret/{secret}")
}

fn named_group(kind: SetKind, namespace: &str, name: &str) -> String {
    format!("{}/{namespace}/{name}", kind.kind())
}

/// The groups of a release by the sets that it names.
pub fn release_groups(release: &BundleRelease) -> BTreeSet<String> {
    let namespace = release.namespace().unwrap_or_default();
    let succeeded = release.status.iter().filter_map(|status| status.succeeded.as_ref());
    let names = succeeded.chain([&release.spec.asked]).flat_map(|asked| SetName::all(&namespace, &asked.spec));
    names.map(|name| named_group(name.kind, &namespace, &name.name)).collect()
}

/// The groups of an Installation by the sets that it names.
pub fn installation_groups(installation: &Installation) -> impl Iterator<Item = String> {
    let namespace = installation.namespace().unwrap_or_default();
    let spec = &installation.spec;
    let sets = [(SetKind::Credentials, &spec.credential_sets), (SetKind::Parameters, &spec.parameter_sets)];
    sets.into_iter().flat_map(move |(kind, names)| {
        let namespace = namespace.clone();
        names.iter().map(move |name| named_group(kind, &namespace, name))
    })
}

/// A set in the cluster that an installation names.
pub struct Found {
    /// Its object and its runs.
    pub live: LiveSet,
    /// The object's kind and place.
    pub id: ObjectId,
    /// What it gives: the names in the bundle with the key in Porter's secret store, or the value.
    pub entries: Vec<(String, Source)>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A key of Porter's secret store.
    Secret(String),
    /// The set itself.
    Value(String),
}

impl Source {
    fn of(entry: &Entry<'_>) -> Self {
        match (entry.secret, entry.value) {
            (Some(secret), _) => Self::Secret(secret.to_owned()),
            (None, value) => Self::Value(value.unwrap_or_default().to_owned()),
        }
    }
}

impl Cluster {
    /// Where all sets of a Kubernetes namespace have their values from.
    pub fn sources(&self, namespace: &str) -> BTreeSet<Source> {
        fn of<K: PorterSet>(mirror: &Mirror<K>, namespace: &str) -> Vec<Source> {
            let mut sets = mirror.all();
            sets.retain(|set| set.namespace().as_deref() == Some(namespace));
            sets.iter().flat_map(|set| set.entries().iter().map(Source::of).collect::<Vec<_>>()).collect()
        }
        of(&self.credential_sets, namespace).into_iter().chain(of(&self.parameter_sets, namespace)).collect()
    }

    /// The set that an installation names, in its own Kubernetes namespace. One that is being deleted is none.
    ///
    /// # Errors
    /// When it stands there and cannot be read.
    pub fn set_named(&self, name: &SetName) -> Result<Option<Found>, String> {
        match name.kind {
            SetKind::Parameters => self.found(&self.parameter_sets, name),
            SetKind::Credentials => self.found(&self.credential_sets, name),
        }
    }

    fn found<K: PorterSet>(&self, mirror: &Mirror<K>, name: &SetName) -> Result<Option<Found>, String> {
        let mut all = mirror.group(&named_group(name.kind, &name.kube_namespace, &name.name));
        let rank = |set: &Arc<K>| {
            let namespace = set.identity().0;
            (namespace == name.porter_namespace, namespace.is_empty())
        };
        all.retain(|set| rank(set) != (false, false) && set.meta().deletion_timestamp.is_none());
        let first = all.iter().min_by_key(|set| (!rank(set).0, set.name_any()));
        let Some(set) = first else { return Ok(None) };
        let key = Key::of(set.as_ref());
        let object = serde_json::to_value(set.as_ref());
        let object: Value = object.map_err(|error| format!("{} {key} cannot be read: {error}", mirror.kind()))?;
        let actions = self.actions_for(name.kind.kind(), &key).iter().map(|action| (**action).clone()).collect();
        let id = ObjectId {
            group: api::porter::GROUP.to_owned(),
            kind: name.kind.kind().to_owned(),
            namespace: key.namespace,
            name: key.name,
        };
        let entries = set.entries().iter().map(|entry| (entry.name.to_owned(), Source::of(entry))).collect();
        Ok(Some(Found { live: LiveSet { object, actions, ran: None }, id, entries }))
    }

    /// Whether Porter's secret store in a namespace is the Secrets of that namespace, as far as its configuration says.
    pub fn reads_secrets(&self, namespace: &str) -> bool {
        let config = |namespace: &str| self.porter_configs.get(&Key::new(namespace, DEFAULT_CONFIG)).ok().flatten();
        let layers: Vec<Arc<PorterConfig>> =
            [config(namespace), config(SYSTEM_NAMESPACE)].into_iter().flatten().collect();
        let named = layers.iter().find_map(|layer| layer.spec.default_secrets.as_deref());
        let Some(named) = named.filter(|named| !named.is_empty()) else {
            let plugin = layers.iter().find_map(|layer| layer.spec.default_secrets_plugin.as_deref());
            return plugin.is_none_or(|plugin| plugin == KUBERNETES_SECRETS);
        };
        // The list is laid over the one beneath it whole.
        let stores = layers.iter().map(|layer| &layer.spec.secrets).find(|stores| !stores.is_empty());
        let store = stores.into_iter().flatten().find(|store| store.name == named);
        store.is_some_and(|store| {
            let other = store.config.as_ref().and_then(|config| config.get(OTHER_NAMESPACE)?.as_str());
            store.plugin == KUBERNETES_SECRETS && other.is_none_or(|other| other.is_empty() || other == namespace)
        })
    }

    /// An Installation, of whomever, that names a set; or one of ours whose last spec that ran well does, which is what an
    /// uninstall runs with.
    pub fn user_of(&self, kind: SetKind, namespace: &str, name: &str) -> Option<String> {
        let group = named_group(kind, namespace, name);
        if let Some(user) = self.installations.group(&group).first() {
            return Some(user.name_any());
        }
        let over = |release: &BundleRelease| {
            release.status.as_ref().is_some_and(|status| status.state == Some(ReleaseState::Uninstalled))
        };
        let users = self.releases.group(&group);
        users.iter().find(|release| !over(release)).map(|release| release.spec.object_name.clone())
    }

    /// The syncs whose installations name a set.
    pub fn users_of<K: PorterSet>(&self, old: Option<&K>, set: &K) -> BTreeSet<Key> {
        // What the operator writes to its status says nothing new.
        let same = |old: &K| {
            let (old, set) = (old.meta(), set.meta());
            old.generation == set.generation && old.deletion_timestamp == set.deletion_timestamp
        };
        if old.is_some_and(same) {
            return BTreeSet::new();
        }
        let namespace = set.namespace().unwrap_or_default();
        let names = [old, Some(set)].into_iter().flatten().map(|set| set.identity().1);
        let releases = names.flat_map(|name| self.releases.group(&named_group(K::KIND, &namespace, name)));
        releases.map(|release| Key::from(&release.spec.sync)).collect()
    }

    /// The syncs whom an AgentAction concerns by what it is for: installations wait for the run of a set, and an Installation
    /// for all of its own. Those from before it was ours have no labels of ours.
    pub fn awaiting_run(&self, _: Option<&AgentAction>, action: &AgentAction) -> BTreeSet<Key> {
        let of = |name: &str| action.labels().get(name).map(String::as_str).unwrap_or_default();
        let key = Key::new(action.namespace().unwrap_or_default(), of(label::RESOURCE_NAME));
        match of(label::RESOURCE_KIND) {
            "ParameterSet" => self.users_at(&self.parameter_sets, &key),
            "CredentialSet" => self.users_at(&self.credential_sets, &key),
            "Installation" => self.holders_of(&key),
            _ => BTreeSet::new(),
        }
    }

    /// The syncs whom a Job concerns by the AgentAction that it carries out.
    pub fn awaiting_job(&self, _: Option<&Job>, job: &Job) -> BTreeSet<Key> {
        let action = job.labels().get(label::RESOURCE_NAME).map(String::as_str).unwrap_or_default();
        let action = self.agent_actions.get(&Key::new(job.namespace().unwrap_or_default(), action)).ok().flatten();
        action.map(|action| self.awaiting_run(None, &action)).unwrap_or_default()
    }

    fn users_at<K: PorterSet>(&self, mirror: &Mirror<K>, key: &Key) -> BTreeSet<Key> {
        let set = mirror.get(key).ok().flatten();
        set.map(|set| self.users_of(None, set.as_ref())).unwrap_or_default()
    }

    /// The syncs whose installations are given what a Secret holds.
    pub fn given_by(&self, secret: &Key) -> BTreeSet<Key> {
        let group = secret_group(secret);
        let parameters = self.parameter_sets.group(&group);
        let credentials = self.credential_sets.group(&group);
        let of_parameters = parameters.iter().flat_map(|set| self.users_of(None, set.as_ref()));
        of_parameters.chain(credentials.iter().flat_map(|set| self.users_of(None, set.as_ref()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::Scope;

    #[test]
    fn a_key_becomes_the_name_of_a_secret() {
        for (key, name) in [
            ("mysql-password", "mysql-password"),
            ("My_Key", "my-key"),
            ("a.b c", "a.b-c"),
            ("_key", "000key"),
            ("key_", "key000"),
            ("", "000"),
        ] {
            assert_eq!(secret_name(key), name, "{key}");
        }
    }

    fn config(namespace: &str, spec: &Value) -> PorterConfig {
        let metadata = json!({"name": "default", "namespace": namespace, "resourceVersion": "1"});
        serde_json::from_value(json!({
            "apiVersion": "getporter.org/v1", "kind": "PorterConfig", "metadata": metadata, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn secrets_are_followed_only_where_porter_reads_them() {
        let store = |plugin: &str, config: Value| json!({"default-secrets": "s", "secrets": [{"name": "s", "plugin": plugin, "config": config}]});
        for (own, system, reads) in [
            (None, None, true),
            (Some(json!({"verbosity": "debug"})), None, true),
            (Some(json!({"default-secrets-plugin": "kubernetes.secrets"})), None, true),
            (Some(json!({"default-secrets-plugin": "azure.keyvault"})), None, false),
            (None, Some(json!({"default-secrets-plugin": "azure.keyvault"})), false),
            (
                Some(json!({"default-secrets-plugin": "kubernetes.secrets"})),
                Some(json!({"default-secrets-plugin": "azure.keyvault"})),
                true,
            ),
            (Some(store("kubernetes.secrets", json!({}))), None, true),
            (Some(store("kubernetes.secrets", json!({"namespace": "vault"}))), None, false),
            (Some(store("hashicorp.vault", json!({}))), None, false),
            (Some(json!({"default-secrets": "s"})), Some(store("kubernetes.secrets", json!({}))), true),
            (Some(json!({"default-secrets": "nosuch"})), None, false),
        ] {
            let cluster = Cluster::new(Scope::All, "", true);
            for (namespace, spec) in [("apps", &own), (SYSTEM_NAMESPACE, &system)] {
                spec.iter().for_each(|spec| cluster.porter_configs.record_write(config(namespace, spec)));
            }
            assert_eq!(cluster.reads_secrets("apps"), reads, "{own:?} over {system:?}");
        }
    }

    #[test]
    fn a_set_is_the_one_of_the_installations_own_namespace_in_porter() {
        let cluster = Cluster::new(Scope::All, "", true);
        for (object, porter) in [("global", ""), ("own", "dev"), ("other", "prod")] {
            let set: ParameterSet = serde_json::from_value(json!({
                "apiVersion": "getporter.org/v1", "kind": "ParameterSet",
                "metadata": {"name": object, "namespace": "apps", "resourceVersion": "1"},
                "spec": {"schemaVersion": "1.0.1", "name": "tuning", "namespace": porter, "parameters": []},
            }))
            .unwrap();
            cluster.parameter_sets.record_write(set);
        }
        let named = |porter: &str, kube: &str, kind| {
            let name = SetName {
                kube_namespace: kube.to_owned(),
                kind,
                porter_namespace: porter.to_owned(),
                name: "tuning".to_owned(),
            };
            cluster.set_named(&name).unwrap().map(|found| found.id.name)
        };
        assert_eq!(named("dev", "apps", SetKind::Parameters).as_deref(), Some("own"));
        assert_eq!(named("test", "apps", SetKind::Parameters).as_deref(), Some("global"));
        assert_eq!(named("dev", "other", SetKind::Parameters), None);
        assert_eq!(named("dev", "apps", SetKind::Credentials), None);
    }

    #[test]
    fn what_runs_for_an_installation_concerns_who_has_it_whatever_its_labels_say() {
        let cluster = Cluster::new(Scope::All, "", true);
        let release: BundleRelease = serde_json::from_value(json!({
            "apiVersion": "flux.getporter.org/v1alpha1", "kind": "BundleRelease",
            "metadata": {"name": "mysql-1", "namespace": "apps", "resourceVersion": "1"},
            "spec": {
                "sync": {"name": "fleet", "namespace": "flux-system"}, "objectName": "db",
                "installation": {"name": "mysql", "namespace": "dev"},
                "asked": {"revision": "main@sha1:1", "file": "a.yaml", "line": 1, "digest": "d", "spec": {}},
            },
        }))
        .unwrap();
        cluster.releases.record_write(release);
        let labels = |kind: &str, name: &str| json!({label::RESOURCE_KIND: kind, label::RESOURCE_NAME: name});
        let metadata = |name: &str, labels: Value| json!({"name": name, "namespace": "apps", "labels": labels});
        for (kind, name, concerned) in
            [("Installation", "db", true), ("Installation", "mysql", false), ("ParameterSet", "db", false)]
        {
            let run = format!("{name}-of-{kind}");
            let action: AgentAction = serde_json::from_value(json!({
                "apiVersion": "getporter.org/v1", "kind": "AgentAction",
                "metadata": metadata(&run, labels(kind, name)), "spec": {},
            }))
            .unwrap();
            let expected: BTreeSet<Key> = concerned.then(|| Key::new("flux-system", "fleet")).into_iter().collect();
            assert_eq!(cluster.awaiting_run(None, &action), expected, "{kind} {name}");
            cluster.agent_actions.record_write(action);
            for (of, expected) in [(run.as_str(), expected), ("gone", BTreeSet::new())] {
                let metadata = metadata("job", labels("AgentAction", of));
                let job: Job = serde_json::from_value(json!({"metadata": metadata})).unwrap();
                assert_eq!(cluster.awaiting_job(None, &job), expected, "{kind} {name} {of}");
            }
        }
    }

    #[test]
    fn nothing_of_what_a_secret_holds_is_kept() {
        let mut secret: SecretVersion = serde_json::from_value(json!({
            "metadata": {
                "name": "a", "namespace": "apps", "uid": "1", "resourceVersion": "7", "labels": {"x": "hunter2"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"},
            },
        }))
        .unwrap();
        keep_version(&mut secret);
        assert_eq!(
            serde_json::to_value(&secret).unwrap()["metadata"],
            json!({
                "name": "a", "namespace": "apps", "uid": "1", "resourceVersion": "7",
            })
        );
    }
}
