//! [`Desired`]: what a path of a source asks for, filled in and valid.
//!
//! Everything here can be written to the API server as it stands: no empty value that the operator would drop again,
//! no namespace left open, no name that the operator cannot handle.

use std::collections::BTreeMap;

use api::bundle_release::InstallationId;
use manifest::{ObjectId, Origin};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::invoke::Invoke;

/// All that a path of a source asks for. Installations are in the order of their identity; sets and objects in the order
/// in which they are used (a config before a set, a Secret before an action), then of namespace and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Porter installations; no two with one identity.
    pub installations: Vec<DesiredInstallation>,
    /// What installations need before they run: AgentConfigs and PorterConfigs, then credential and parameter sets.
    pub sets: Vec<DesiredObject>,
    /// Everything else: ConfigMaps and Secrets, which go before the sets that name them, and AgentActions.
    pub objects: Vec<DesiredObject>,
}

/// A Porter installation as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredInstallation {
    /// Kubernetes namespace, Porter namespace and Porter name.
    pub id: InstallationId,
    /// `metadata.name` of the Installation.
    pub object_name: String,
    /// `metadata.labels`, without the owner labels.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`, without those that are meant for us.
    pub annotations: BTreeMap<String, String>,
    /// The installations of the same source that have to succeed before it runs; in order, each once, and no cycle.
    pub depends_on: Vec<InstallationId>,
    /// The custom action that is to run once.
    pub invoke: Option<Invoke>,
    /// `spec`, complete, and without a value that the operator drops.
    pub spec: Value,
    /// The document it came from.
    pub origin: Origin,
}

/// Any other object as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredObject {
    /// Group, kind, namespace (filled in) and name.
    pub id: ObjectId,
    /// `apiVersion`.
    pub api_version: String,
    /// Porter namespace and Porter name, of a credential or parameter set.
    pub porter_identity: Option<(String, String)>,
    /// The whole object, without owner labels and `status`.
    pub body: Value,
    /// The document it came from.
    pub origin: Origin,
}

impl Desired {
    /// The sets of this source that an installation names, in the order in which it names them: of two sets with the name,
    /// the one in its own Porter namespace before the global one (as Porter looks them up), and the one in its own
    /// Kubernetes namespace before another. A name that no document of the source defines is left out.
    #[must_use]
    pub fn sets_of(&self, installation: &DesiredInstallation) -> Vec<&DesiredObject> {
        let named = |kind: &'static str, names: Vec<String>| {
            names.into_iter().filter_map(move |name| self.set(kind, installation, &name))
        };
        named("CredentialSet", installation.credential_sets())
            .chain(named("ParameterSet", installation.parameter_sets()))
            .collect()
    }

    fn set(&self, kind: &str, installation: &DesiredInstallation, name: &str) -> Option<&DesiredObject> {
        let rank = |set: &DesiredObject| -> Option<(bool, bool)> {
            let (porter_namespace, porter_name) = set.porter_identity.as_ref()?;
            let own = *porter_namespace == installation.id.porter_namespace;
            let known = set.id.kind == kind && porter_name == name && (own || porter_namespace.is_empty());
            known.then_some((!own, set.id.namespace != installation.id.kube_namespace))
        };
        self.sets.iter().filter_map(|set| Some((rank(set)?, set))).min_by_key(|(rank, _)| *rank).map(|(_, set)| set)
    }
}

impl DesiredInstallation {
    /// The Porter names of the credential sets it uses, in its order.
    #[must_use]
    pub fn credential_sets(&self) -> Vec<String> {
        self.names("credentialSets")
    }

    /// The Porter names of the parameter sets it uses, in its order.
    #[must_use]
    pub fn parameter_sets(&self) -> Vec<String> {
        self.names("parameterSets")
    }

    /// Whether the document asks for the installation to be uninstalled.
    #[must_use]
    pub fn uninstalled(&self) -> bool {
        self.spec.get("uninstalled").and_then(Value::as_bool).unwrap_or(false)
    }

    fn names(&self, field: &str) -> Vec<String> {
        let list = self.spec.get(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }
}

/// `sha256:<hex>` of a value's canonical JSON: keys in the order of their bytes, no white space.
#[must_use]
pub fn digest(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    format!("sha256:{}", hex::encode(Sha256::digest(text.as_bytes())))
}

/// Does not lean on the order of `serde_json`'s maps, which a feature of any crate in the build can change.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            out.push('{');
            for (index, (key, field)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(field, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_is_of_the_content_and_not_of_its_order() {
        let one = digest(&json!({"b": [1, "x"], "a": {"d": null, "c": true}}));
        let other = digest(&json!({"a": {"c": true, "d": null}, "b": [1, "x"]}));
        assert_eq!(one, other);
        assert_ne!(one, digest(&json!({"b": ["x", 1], "a": {"d": null, "c": true}})));
        // echo -n '{}' | sha256sum
        assert_eq!(digest(&json!({})), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }
}
