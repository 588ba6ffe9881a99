//! `Installation`: a bundle that is installed, and with what.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LocalRef, PorterStatus};
use crate::crd;
use crate::zero::is_zero;

/// The desired state of an installation.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[kube(group = "getporter.org", version = "v1", kind = "Installation", plural = "installations", namespaced)]
#[kube(status = "PorterStatus", derive = "PartialEq", derive = "Default", attr = "cfg_attr(all(), serde(default))")]
#[kube(doc = "Installation is a bundle that is installed.")]
#[kube(printcolumn(name = "Porter Name", type_ = "string", json_path = ".spec.name"))]
#[kube(printcolumn(name = "Porter Namespace", type_ = "string", json_path = ".spec.namespace"))]
#[kube(printcolumn(name = "Last Action", type_ = "string", json_path = ".status.action.name"))]
#[kube(printcolumn(name = "Last Status", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct InstallationSpec {
    /// The AgentConfig of the same namespace that its runs use, in place of the one named default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub agent_config: Option<LocalRef>,
    /// The version of the schema of Porter's document.
    pub schema_version: String,
    /// The name in Porter.
    pub name: String,
    /// The namespace in Porter. May be empty.
    pub namespace: String,
    /// Whether it should be uninstalled.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uninstalled: bool,
    /// The bundle.
    pub bundle: Bundle,
    /// Labels in Porter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Parameters by name; any JSON value.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "crd::any_object")]
    pub parameters: Option<Value>,
    /// The names in Porter of the credential sets. The last one wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credential_sets: Vec<String>,
    /// The names in Porter of the parameter sets. The last one wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameter_sets: Vec<String>,
}

/// A reference to a bundle: the digest wins over the version, and the version over the tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// The OCI repository.
    pub repository: String,
    /// The semantic version, whose tag is `v<version>`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: Option<String>,
    /// The digest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub digest: Option<String>,
    /// The tag.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tag: Option<String>,
}
