//! What sets give, as keyed digests: what the plan compares to know whether an installation has to run again.
//!
//! Guarantees: a Secret is read once for each version of it, and no other than a set names that an installation of ours names;
//! of what it holds a keyed digest is kept, and nothing is told. The key is random, and lies in a Secret beside the
//! controller: who reads a digest in a status can try no password by it. When that Secret is lost, there is a new key, and what
//! was digested with the old one is compared with nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use api::{BundleRelease, BundleReleaseStatus, ReleaseState};
use aws_lc_rs::{hmac, rand};
use futures::{StreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use manifest::ObjectId;
use plan::{InputSet, SetName};
use porter::Desired;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::cluster::Cluster;
use crate::mirror::Key;
use crate::sets::{Found, SecretVersion, Source, secret_name};
use crate::writer::{RequestError, Writer};

/// The Secret that holds the key.
const KEY_SECRET: &str = "porter-flux-controller-inputs";
/// Where in it.
const KEY: &str = "key";
/// Bytes of the key.
const KEY_LENGTH: usize = 32;
/// Where Porter's kubernetes plugin looks in a Secret.
const VALUE: &str = "value";
/// Secrets that are read at the same time.
const AT_ONCE: usize = 8;
/// Hexadecimal digits that tell one key from another.
const KEY_ID: usize = 8;

/// How digests are made. Losing it costs a request for each Secret.
pub struct SetDigests {
    secret: Key,
    key: OnceCell<Digester>,
    known: Mutex<HashMap<Key, Known>>,
}

/// What is known of one version of a Secret.
#[derive(Clone)]
struct Known {
    uid: Option<String>,
    version: Option<String>,
    /// The digest of its value; `None` where it has none.
    value: Option<String>,
}

/// What is known of a Secret that a set names.
enum Holds {
    Value(String),
    NoKey,
    Missing,
    /// Why it cannot be read.
    Refused(String),
}

struct Digester {
    key: hmac::Key,
    id: String,
}

impl Digester {
    fn new(key: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut id = hex::encode(hmac::sign(&key, b"key"));
        id.truncate(KEY_ID);
        Self { key, id }
    }

    /// The digest of a value, wherever it comes from.
    fn value(&self, value: &[u8]) -> String {
        let message = [b"value".as_slice(), value].concat();
        hex::encode(hmac::sign(&self.key, &message))
    }

    fn set(&self, way: &str, given: &Value) -> String {
        let message = format!("set{given}");
        format!("{way}:{}:{}", self.id, hex::encode(hmac::sign(&self.key, message.as_bytes())))
    }
}

impl SetDigests {
    /// Nothing is known yet. The key is in, or comes into, that namespace.
    pub fn new(namespace: &str) -> Self {
        Self { secret: Key::new(namespace, KEY_SECRET), key: OnceCell::new(), known: Mutex::default() }
    }

    /// The sets that the installations of a sync name, with what they give.
    ///
    /// # Errors
    /// When there is no key, or a Secret cannot be read for now.
    pub async fn observe(
        &self,
        cluster: &Cluster,
        writer: &Writer,
        desired: &Desired,
        releases: &[BundleRelease],
    ) -> Result<BTreeMap<SetName, InputSet>, RequestError> {
        let mut found = BTreeMap::new();
        for name in named(desired, releases) {
            let set = cluster
                .set_named(&name)
                .map_err(|error| RequestError::refused(format!("read {}", name.name), error))?;
            found.extend(set.map(|set| (name, set)));
        }
        if found.is_empty() {
            return Ok(BTreeMap::new());
        }
        let digester = self.key.get_or_try_init(|| self.key(writer)).await?;
        let secrets: BTreeSet<Key> =
            found.values().filter(|set| follows(cluster, set)).flat_map(|set| secrets_of(set).into_values()).collect();
        let read = stream::iter(secrets).map(|secret| async {
            let holds = self.holds(cluster, writer, digester, &secret).await?;
            Ok::<_, RequestError>((secret, holds))
        });
        let read: Vec<_> = read.buffer_unordered(AT_ONCE).collect().await;
        let read: HashMap<Key, Holds> = read.into_iter().collect::<Result<_, _>>()?;
        let input = |set: Found| {
            let read = follows(cluster, &set).then_some(&read);
            input_set(digester, set, read)
        };
        Ok(found.into_iter().map(|(name, set)| (name, input(set))).collect())
    }

    /// What a Secret holds; it is asked for when it is another version than the one that is known.
    async fn holds(
        &self,
        cluster: &Cluster,
        writer: &Writer,
        digester: &Digester,
        secret: &Key,
    ) -> Result<Holds, RequestError> {
        let Some(stands) = version_of(cluster, secret) else {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(secret);
            return Ok(Holds::Missing);
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(secret).cloned();
        if let Some(known) = known.filter(|known| known.is_of(&stands)) {
            return Ok(known.value.map_or(Holds::NoKey, Holds::Value));
        }
        let mut asked = Secret::default();
        (asked.metadata.namespace, asked.metadata.name) = (Some(secret.namespace.clone()), Some(secret.name.clone()));
        let read = match writer.read(&asked).await {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(Holds::Missing),
            Err(error) if error.is_unreachable() => return Err(error),
            Err(error) => return Ok(Holds::Refused(error.to_string())),
        };
        let value = read.data.as_ref().and_then(|data| data.get(VALUE)).map(|value| digester.value(&value.0));
        let known = Known { uid: read.uid(), version: read.resource_version(), value: value.clone() };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|secret, _| version_of(cluster, secret).is_some());
        all.insert(secret.clone(), known);
        drop(all);
        Ok(value.map_or(Holds::NoKey, Holds::Value))
    }

    /// The key, which is made where there is none.
    async fn key(&self, writer: &Writer) -> Result<Digester, RequestError> {
        let Key { namespace, name } = &self.secret;
        if let Some(data) = writer.secret(namespace, name).await? {
            return self.usable(&data);
        }
        let mut key = [0; KEY_LENGTH];
        rand::fill(&mut key).map_err(|_| {
            RequestError::refused(format!("make Secret/{}", self.secret), "the system gives no random bytes".to_owned())
        })?;
        let mut secret = Secret {
            type_: Some("Opaque".to_owned()),
            immutable: Some(true),
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(key.to_vec()))])),
            ..Secret::default()
        };
        (secret.metadata.namespace, secret.metadata.name) = (Some(namespace.clone()), Some(name.clone()));
        secret.labels_mut().insert("app.kubernetes.io/part-of".to_owned(), "porter-flux".to_owned());
        match writer.create(&secret).await {
            Ok(_) => Ok(Digester::new(&key)),
            // Another replica was first.
            Err(error) if error.is_conflict() => {
                self.usable(&writer.secret(namespace, name).await?.unwrap_or_default())
            }
            Err(error) => Err(error),
        }
    }

    fn usable(&self, data: &BTreeMap<String, ByteString>) -> Result<Digester, RequestError> {
        match data.get(KEY) {
            Some(key) if key.0.len() == KEY_LENGTH => Ok(Digester::new(&key.0)),
            _ => Err(RequestError::refused(
                format!("use Secret/{}", self.secret),
                format!("it has no {KEY_LENGTH} bytes under {KEY}; delete it, and it is made anew"),
            )),
        }
    }
}

impl Known {
    /// Whether it is as new as what stands, which may lag behind what was read.
    fn is_of(&self, stands: &SecretVersion) -> bool {
        let number = |version: &Option<String>| version.as_ref().and_then(|version| version.parse::<u64>().ok());
        let version = stands.resource_version();
        self.uid == stands.uid()
            && (self.version == version
                || matches!((number(&self.version), number(&version)), (Some(read), Some(seen)) if read > seen))
    }
}

/// What installations name that are asked for, and what they named when they ran well: they may return to that. And what those
/// name that are being uninstalled, for which the document counts that they are uninstalled with.
fn named(desired: &Desired, releases: &[BundleRelease]) -> BTreeSet<SetName> {
    let asked = desired.installations.iter();
    let mut names: BTreeSet<SetName> =
        asked.flat_map(|asked| SetName::all(&asked.id.kube_namespace, &asked.spec)).collect();
    for release in releases.iter().filter(|release| !desired.installations.is_empty() && release.spec.removed.is_none())
    {
        let namespace = release.namespace().unwrap_or_default();
        let good = release.status.iter().filter_map(|status| status.succeeded.as_ref());
        names.extend(good.flat_map(|good| SetName::all(&namespace, &good.spec)));
    }
    for release in releases {
        if let Some(status) = release.status.as_ref().filter(|status| is_being_uninstalled(status)) {
            let asked = status.succeeded.as_ref().unwrap_or(&release.spec.asked);
            names.extend(SetName::all(&release.namespace().unwrap_or_default(), &asked.spec));
        }
    }
    names
}

fn is_being_uninstalled(status: &BundleReleaseStatus) -> bool {
    status.uninstall.is_some() && status.state != Some(ReleaseState::Uninstalled)
}

/// A Secret as it is mirrored, without what it holds.
fn version_of(cluster: &Cluster, secret: &Key) -> Option<Arc<SecretVersion>> {
    cluster.secret_versions.as_ref()?.get(secret).ok().flatten()
}

/// Whether what the Secrets hold that a set names can be known.
fn follows(cluster: &Cluster, set: &Found) -> bool {
    cluster.secret_versions.is_some() && cluster.reads_secrets(&set.id.namespace)
}

/// The Secrets that a set names, by their keys.
fn secrets_of(set: &Found) -> BTreeMap<&str, Key> {
    let keys = set.entries.iter().filter_map(|(_, source)| match source {
        Source::Secret(key) => Some((key.as_str(), Key::new(&set.id.namespace, secret_name(key)))),
        Source::Value(_) => None,
    });
    keys.collect()
}

/// What a set gives. `read` is what its Secrets hold, where that can be known. The order of its values is no part of it, nor
/// whether one comes from a Secret.
fn input_set(digester: &Digester, set: Found, read: Option<&HashMap<Key, Holds>>) -> InputSet {
    let secrets = secrets_of(&set);
    let mut faults = Vec::new();
    let mut given: Vec<(&String, Value)> = Vec::new();
    for (name, source) in &set.entries {
        let of = match (source, read) {
            (Source::Value(value), _) => json!(digester.value(value.as_bytes())),
            (Source::Secret(key), None) => json!({"key": digester.value(key.as_bytes())}),
            (Source::Secret(key), Some(read)) => {
                let secret = secrets.get(key.as_str());
                match secret.and_then(|secret| read.get(secret)) {
                    Some(Holds::Value(value)) => json!(value),
                    holds => {
                        faults.extend(secret.map(|secret| fault(&set.id, name, secret, holds)));
                        json!(null)
                    }
                }
            }
        };
        given.push((name, of));
    }
    // Of two of one name, the order counts.
    given.sort_by_key(|(name, _)| *name);
    let digest = digester.set(if read.is_some() { "secrets" } else { "sets" }, &json!(given));
    let secrets = if read.is_some() { secrets.into_values().map(|key| key.name).collect() } else { BTreeSet::new() };
    InputSet { id: set.id, digest, secrets, faults, live: set.live }
}

fn fault(id: &ObjectId, entry: &str, secret: &Key, holds: Option<&Holds>) -> String {
    let place = format!("{id}, {entry}");
    match holds {
        Some(Holds::NoKey) => format!(
            "{place}: Secret {secret} has no key `{VALUE}`, under which Porter looks for what it holds; put it there"
        ),
        Some(Holds::Refused(why)) => format!("{place}: Secret {secret} may not be read: {why}"),
        _ => format!("{place}: there is no Secret {secret}; make it, with what it holds under the key `{VALUE}`"),
    }
}

#[cfg(test)]
mod tests {
    use plan::LiveSet;

    use super::*;

    fn set(entries: &[(&str, Source)]) -> Found {
        let id = ObjectId {
            group: "getporter.org".into(),
            kind: "CredentialSet".into(),
            namespace: "apps".into(),
            name: "creds".into(),
        };
        let live = LiveSet { object: Value::Null, actions: Vec::new(), ran: None };
        Found { live, id, entries: entries.iter().map(|(name, source)| ((*name).to_owned(), source.clone())).collect() }
    }

    fn secret(name: &str) -> Source {
        Source::Secret(name.into())
    }

    fn value(value: &str) -> Source {
        Source::Value(value.into())
    }

    /// What the Secrets `one` and `two` hold, which is `1` and `2`; `empty` has another key.
    fn read(digester: &Digester) -> HashMap<Key, Holds> {
        HashMap::from([
            (Key::new("apps", "one"), Holds::Value(digester.value(b"1"))),
            (Key::new("apps", "two"), Holds::Value(digester.value(b"2"))),
            (Key::new("apps", "empty"), Holds::NoKey),
            (Key::new("apps", "locked"), Holds::Refused("no right".into())),
        ])
    }

    #[test]
    fn what_gives_the_same_has_the_same_digest() {
        let digester = Digester::new(&[7; KEY_LENGTH]);
        let read = read(&digester);
        let digest = |entries: &[(&str, Source)]| input_set(&digester, set(entries), Some(&read)).digest;
        let one = digest(&[("a", secret("one")), ("b", secret("two"))]);
        for (what, entries, same) in [
            ("the same", vec![("a", secret("one")), ("b", secret("two"))], true),
            ("another order", vec![("b", secret("two")), ("a", secret("one"))], true),
            ("the same value, written in the set", vec![("a", value("1")), ("b", secret("two"))], true),
            ("the key in capitals", vec![("a", secret("One")), ("b", secret("two"))], true),
            ("another value", vec![("a", secret("two")), ("b", secret("two"))], false),
            ("changed places", vec![("a", secret("two")), ("b", secret("one"))], false),
            ("one less", vec![("a", secret("one"))], false),
            ("one more", vec![("a", secret("one")), ("b", secret("two")), ("c", value(""))], false),
            ("none", vec![], false),
        ] {
            assert_eq!(digest(&entries) == one, same, "{what}");
        }
        let two_of_a_name = |first, second| digest(&[("a", value(first)), ("a", value(second))]);
        assert_ne!(two_of_a_name("1", "2"), two_of_a_name("2", "1"));
    }

    #[test]
    fn digests_say_by_which_key_and_what_they_are_of() {
        let (one, other) = (Digester::new(&[1; KEY_LENGTH]), Digester::new(&[2; KEY_LENGTH]));
        let entries = [("a", secret("one"))];
        let followed = input_set(&one, set(&entries), Some(&read(&one)));
        let alone = input_set(&one, set(&entries), None);
        let elsewhere = input_set(&other, set(&entries), Some(&read(&other)));
        let way = |set: &InputSet| set.digest.rsplit_once(':').map(|(way, _)| way.to_owned()).unwrap();
        assert_eq!(way(&followed), format!("secrets:{}", one.id));
        assert_eq!(way(&alone), format!("sets:{}", one.id));
        assert_eq!(way(&elsewhere), format!("secrets:{}", other.id));
        assert_ne!(followed.digest, elsewhere.digest);
        assert_eq!(followed.secrets, BTreeSet::from(["one".to_owned()]));
        assert!(alone.secrets.is_empty() && alone.faults.is_empty());
    }

    #[test]
    fn what_is_missing_is_told_with_what_to_do() {
        let digester = Digester::new(&[7; KEY_LENGTH]);
        let read = read(&digester);
        for (key, told) in [
            ("one", ""),
            (
                "nosuch",
                "CredentialSet/apps/creds, token: there is no Secret apps/nosuch; make it, with what it holds under the key `value`",
            ),
            (
                "empty",
                "CredentialSet/apps/creds, token: Secret apps/empty has no key `value`, under which Porter looks for what it holds; put it there",
            ),
            ("locked", "CredentialSet/apps/creds, token: Secret apps/locked may not be read: no right"),
        ] {
            let input = input_set(&digester, set(&[("token", secret(key))]), Some(&read));
            assert_eq!(input.faults.join(""), told);
        }
    }

    /// Also of a sync that is being deleted, and asks for nothing.
    #[test]
    fn what_is_being_uninstalled_names_what_its_uninstall_reads() {
        let spec = |set: &str| json!({"namespace": "dev", "credentialSets": [set]});
        let asked = |set: &str| json!({"revision": "main@sha1:1", "file": "a.yaml", "line": 1, "digest": "d", "spec": spec(set)});
        let begun = json!({"attempts": 0, "failures": 0});
        for (what, status, named_then) in [
            ("it ran well before", json!({"uninstall": begun, "succeeded": asked("good")}), Some("good")),
            ("it never ran well", json!({"uninstall": begun}), Some("asked")),
            ("not begun", json!({"succeeded": asked("good")}), None),
            ("over", json!({"uninstall": begun, "state": "Uninstalled"}), None),
        ] {
            let release: BundleRelease = serde_json::from_value(json!({
                "apiVersion": "flux.getporter.org/v1alpha1", "kind": "BundleRelease",
                "metadata": {"name": "mysql-1", "namespace": "apps"},
                "spec": {
                    "sync": {"name": "fleet", "namespace": "flux-system"}, "objectName": "mysql",
                    "installation": {"name": "mysql", "namespace": "dev"}, "asked": asked("asked"),
                    "removed": {"revision": "main@sha1:2", "prune": true},
                },
                "status": status,
            }))
            .unwrap();
            let names: Vec<String> = named(&Desired::default(), &[release]).into_iter().map(|set| set.name).collect();
            assert_eq!(names, named_then.into_iter().collect::<Vec<_>>(), "{what}");
        }
    }

    #[test]
    fn a_version_is_read_once_though_the_watch_lags() {
        let known = Known { uid: Some("u".into()), version: Some("10".into()), value: None };
        for (uid, version, holds) in
            [("u", "10", true), ("u", "9", true), ("u", "11", false), ("v", "10", false), ("u", "x", false)]
        {
            let mut stands = SecretVersion::default();
            (stands.metadata.uid, stands.metadata.resource_version) = (Some(uid.into()), Some(version.into()));
            assert_eq!(known.is_of(&stands), holds, "{uid} {version}");
        }
    }
}
