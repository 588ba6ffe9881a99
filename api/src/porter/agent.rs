//! `AgentAction`, one run of a Porter command, and `AgentConfig`, how runs are set up.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, Volume, VolumeMount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::LocalRef;
use crate::Condition;
use crate::crd::{self, SpecIs};
use crate::zero::is_zero;

/// A Porter command to run.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[kube(group = "getporter.org", version = "v1", kind = "AgentAction", plural = "agentactions", namespaced)]
#[kube(
    status = "AgentActionStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))"
)]
#[kube(doc = "AgentAction is one run of a Porter command.")]
#[serde(rename_all = "camelCase")]
pub struct AgentActionSpec {
    /// The AgentConfig of the same namespace that the run uses, in place of the one named default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub agent_config: Option<LocalRef>,
    /// In place of the agent's own entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The arguments of the porter command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Files in the working directory, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "files")]
    pub files: BTreeMap<String, ByteString>,
    /// Environment variables of the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Sources of environment variables of the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<EnvFromSource>,
    /// Volume mounts of the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Volumes of the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
}

fn files(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "format": "byte"}
    })
}

/// How far a run is. Its conditions say whether it is final; a recreated Job clears them.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentActionStatus {
    /// The generation that the operator has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The Job of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<LocalRef>,
    /// Unknown, Pending, Running, Succeeded or Failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Scheduled, Started, Completed, Failed: each `True` once it is reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crd::condition_list")]
    pub conditions: Vec<Condition>,
}

/// How runs are set up. The operator merges it, field by field, over those of the namespace and of the system.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[kube(group = "getporter.org", version = "v1", kind = "AgentConfig", plural = "agentconfigs", namespaced)]
#[kube(
    status = "AgentConfigStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))"
)]
#[kube(doc = "AgentConfig sets up runs of Porter.")]
#[serde(rename_all = "camelCase")]
pub struct AgentConfigSpec {
    /// The repository of the agent's image.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub porter_repository: Option<String>,
    /// The tag or the digest of the agent's image.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub porter_version: Option<String>,
    /// The service account of the agent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub service_account: Option<String>,
    /// The storage class of the volume that the agent and the bundle share.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub storage_class_name: Option<String>,
    /// The size of that volume.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub volume_size: Option<String>,
    /// How many seconds a finished Job stays. When it goes, the operator runs its AgentAction again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ttl_seconds_after_finished: Option<i32>,
    /// When the agent's image is pulled.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pull_policy: Option<String>,
    /// The service account of the bundle.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub installation_service_account: Option<String>,
    /// How often a failed Job starts another pod. Zero is a value: absent means Kubernetes' default of six.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_limit: Option<i32>,
    /// The plugins that runs need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_config_file: Option<PluginConfigFile>,
}

/// The plugins that runs need.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginConfigFile {
    /// The version of the schema of Porter's document.
    pub schema_version: String,
    /// Plugins by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, Plugin>,
}

/// Where a plugin is downloaded, and in which version.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// A feed of versions.
    #[serde(default, rename = "feedURL", skip_serializing_if = "is_zero")]
    pub feed_url: Option<String>,
    /// The base of its downloads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub url: Option<String>,
    /// A mirror of Porter's own downloads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mirror: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: Option<String>,
}

/// How far an AgentConfig is set up.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentConfigStatus {
    /// The generation that the operator has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The AgentAction that installs its plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<LocalRef>,
    /// Unknown, Pending, Running, Succeeded or Failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Copied from that AgentAction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crd::condition_list")]
    pub conditions: Vec<Condition>,
    /// Whether runs may use it.
    #[serde(default)]
    pub ready: bool,
}

/// The CRD of AgentAction as the operator ships it.
///
/// The types of pods in it are those of an older Kubernetes than the one that this crate is built for, and Go's notion
/// of them (an atomic reference, a quantity that may be a number) is not in the derived schema.
pub(super) fn action_crd() -> CustomResourceDefinition {
    crd::edit_schema(crd::generate::<AgentAction>(SpecIs::Optional), |schema| {
        for (parent, newer) in NEWER_POD_FIELDS {
            if let Some(Value::Object(fields)) = schema.pointer_mut(parent) {
                fields.remove(newer);
            }
        }
        if let Some(metadata) = schema.pointer_mut(CLAIM_METADATA) {
            *metadata = json!({"type": "object"});
        }
        if let Some(spec) = schema.pointer_mut("/properties/spec") {
            in_the_manner_of_go(spec, "spec");
        }
    })
}

/// Fields of pods that Kubernetes has and the operator's CRD has not.
const NEWER_POD_FIELDS: [(&str, &str); 4] = [
    ("/properties/spec/properties/env/items/properties/valueFrom/properties", "fileKeyRef"),
    ("/properties/spec/properties/volumeMounts/items/properties", "recursiveReadOnly"),
    ("/properties/spec/properties/volumes/items/properties", "image"),
    (
        "/properties/spec/properties/volumes/items/properties/projected/properties/sources/items/properties",
        "podCertificate",
    ),
];
/// An object's metadata is not expanded in a CRD.
const CLAIM_METADATA: &str = "/properties/spec/properties/volumes/items/properties/ephemeral/properties/\
                              volumeClaimTemplate/properties/metadata";
/// References whose name has a default, the empty one, and which server-side apply replaces as a whole.
const NAME_REFERENCES: [&str; 6] =
    ["configMap", "configMapKeyRef", "configMapRef", "nodePublishSecretRef", "secretKeyRef", "secretRef"];
/// What else server-side apply replaces as a whole.
const ATOMIC: [&str; 5] = ["dataSource", "fieldRef", "labelSelector", "resourceFieldRef", "selector"];
/// How Go writes a quantity.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

fn in_the_manner_of_go(schema: &mut Value, field: &str) {
    let Some(schema) = schema.as_object_mut() else { return };
    if schema.contains_key("x-kubernetes-int-or-string") {
        schema.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
        schema.insert("pattern".into(), QUANTITY.into());
    }
    let names_an_object = NAME_REFERENCES.contains(&field) || (field == "secret" && !has_field(schema, "secretName"));
    if names_an_object && let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| name != "name");
        if required.is_empty() {
            schema.remove("required");
        }
    }
    let is_object = schema.get("type").is_some_and(|type_| type_ == "object");
    if is_object && (names_an_object || ATOMIC.contains(&field)) {
        schema.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        fields.iter_mut().for_each(|(name, child)| in_the_manner_of_go(child, name));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(key) {
            in_the_manner_of_go(child, field);
        }
    }
}

fn has_field(schema: &serde_json::Map<String, Value>, field: &str) -> bool {
    schema.get("properties").and_then(|fields| fields.get(field)).is_some()
}

pub(super) fn config_crd() -> CustomResourceDefinition {
    crd::edit_schema(crd::generate::<AgentConfig>(SpecIs::Optional), |schema| {
        if let Some(Value::Object(ttl)) = schema.pointer_mut("/properties/spec/properties/ttlSecondsAfterFinished") {
            ttl.insert("default".into(), json!(600));
        }
        if let Some(Value::Object(status)) = schema.pointer_mut("/properties/status") {
            status.insert("required".into(), json!(["ready"]));
        }
    })
}
