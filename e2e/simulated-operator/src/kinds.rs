//! The kinds that the operator knows, and their typed forms.
//!
//! The forms are this crate's own, not those of the `api` crate: a mistake there must show here.

use std::collections::BTreeMap;

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Installation,
    CredentialSet,
    ParameterSet,
    AgentConfig,
    AgentAction,
    Job,
}

impl Kind {
    pub(crate) const RECONCILED: [Self; 5] =
        [Self::Installation, Self::CredentialSet, Self::ParameterSet, Self::AgentConfig, Self::AgentAction];
    pub(crate) const WATCHED: [Self; 6] =
        [Self::Installation, Self::CredentialSet, Self::ParameterSet, Self::AgentConfig, Self::AgentAction, Self::Job];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Installation => "Installation",
            Self::CredentialSet => "CredentialSet",
            Self::ParameterSet => "ParameterSet",
            Self::AgentConfig => "AgentConfig",
            Self::AgentAction => "AgentAction",
            Self::Job => "Job",
        }
    }

    /// The reconciled kind of that name.
    pub(crate) fn reconciled(name: &str) -> Option<Self> {
        Self::RECONCILED.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn resource(self) -> ApiResource {
        let (group, version) = if self == Self::Job { ("batch", "v1") } else { ("getporter.org", "v1") };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, self.name()))
    }

    /// The object as the operator writes it back: its spec went through the typed form.
    ///
    /// # Errors
    /// When the spec does not have the form, which the CRD does not let happen.
    pub(crate) fn rewritten(self, object: &DynamicObject) -> Result<DynamicObject, serde_json::Error> {
        let mut object = object.clone();
        let Some(spec) = object.data.get_mut("spec") else { return Ok(object) };
        *spec = match self {
            Self::Installation => through::<InstallationSpec>(spec.take())?,
            Self::CredentialSet => through::<CredentialSetSpec>(spec.take())?,
            Self::ParameterSet => through::<ParameterSetSpec>(spec.take())?,
            Self::AgentConfig => through::<AgentConfigSpec>(spec.take())?,
            Self::AgentAction => through::<AgentActionSpec>(spec.take())?,
            Self::Job => spec.take(),
        };
        Ok(object)
    }
}

fn through<T: Serialize + for<'de> Deserialize<'de>>(spec: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(spec)?)
}

/// Go's `omitempty`: false, an empty string, nothing, an empty list or map.
fn omitted<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An object of the same namespace. A reference that is there stays, even when its name is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LocalReference {
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstallationSpec {
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) agent_config: Option<LocalReference>,
    #[serde(default)]
    pub(crate) schema_version: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) uninstalled: bool,
    pub(crate) bundle: Bundle,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Raw JSON in the original, so an empty object stays.
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) parameters: Option<Value>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) credential_sets: Vec<String>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) parameter_sets: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bundle {
    #[serde(default)]
    pub(crate) repository: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) version: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) digest: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) tag: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CredentialSetSpec {
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) agent_config: Option<LocalReference>,
    #[serde(default)]
    pub(crate) schema_version: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) credentials: Vec<Mapping>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParameterSetSpec {
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) agent_config: Option<LocalReference>,
    #[serde(default)]
    pub(crate) schema_version: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) parameters: Vec<Mapping>,
}

/// One entry of a set. A credential has no `value`; the CRD sees to that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mapping {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) source: Source,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Source {
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) secret: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) value: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentConfigSpec {
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) porter_repository: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) porter_version: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) service_account: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) storage_class_name: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) volume_size: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) ttl_seconds_after_finished: Option<i32>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) pull_policy: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) installation_service_account: String,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) retry_limit: Option<i32>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) plugin_config_file: Option<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentActionSpec {
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) agent_config: Option<LocalReference>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) command: Vec<String>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) args: Vec<String>,
    /// Base64, by file name.
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) files: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) env: Vec<Value>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) env_from: Vec<Value>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) volume_mounts: Vec<Value>,
    #[serde(default, skip_serializing_if = "omitted")]
    pub(crate) volumes: Vec<Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rewrite_drops_what_is_empty_and_keeps_empty_parameters() {
        let bundle = json!({"repository": "r"});
        let table = [
            (json!({"uninstalled": false}), json!({})),
            (json!({"uninstalled": true}), json!({"uninstalled": true})),
            (json!({"labels": {}, "credentialSets": [], "parameterSets": []}), json!({})),
            (json!({"parameters": {}}), json!({"parameters": {}})),
            (json!({"parameters": {"a": "", "b": 0}}), json!({"parameters": {"a": "", "b": 0}})),
            (json!({"namespace": ""}), json!({"namespace": ""})),
        ];
        for (extra, left) in table {
            let spec = |more: &Value| {
                let mut spec = json!({"schemaVersion": "1.0.2", "name": "n", "namespace": "dev", "bundle": bundle});
                for (key, value) in more.as_object().unwrap() {
                    spec[key] = value.clone();
                }
                spec
            };
            let object = DynamicObject::new("n", &Kind::Installation.resource()).data(json!({"spec": spec(&extra)}));
            let rewritten = Kind::Installation.rewritten(&object).unwrap();
            assert_eq!(rewritten.data["spec"], spec(&left), "{extra}");
        }
    }
}
