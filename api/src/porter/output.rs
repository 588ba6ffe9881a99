//! `InstallationOutput`: what the last run of an installation put out.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Condition;
use crate::crd;
use crate::zero::is_zero;

/// The installation that the outputs are of.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[kube(group = "getporter.org", version = "v1", kind = "InstallationOutput", plural = "installationoutputs")]
#[kube(
    status = "InstallationOutputStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))"
)]
#[kube(namespaced, doc = "InstallationOutput holds the outputs of an installation.")]
#[kube(printcolumn(name = "Porter Name", type_ = "string", json_path = ".spec.name"))]
#[kube(printcolumn(name = "Porter Namespace", type_ = "string", json_path = ".spec.namespace"))]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Output Names", type_ = "string", json_path = ".status.outputNames", priority = 1))]
pub struct InstallationOutputSpec {
    /// Its name in Porter.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub name: String,
    /// Its namespace in Porter.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub namespace: String,
}

/// The outputs.
#[derive(Clone, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstallationOutputStatus {
    /// Succeeded, or Failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub phase: String,
    /// InstallationOutputSucceeded, once the outputs are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crd::condition_list")]
    pub conditions: Vec<Condition>,
    /// The outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// The names of the outputs, with commas between.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output_names: String,
}

/// One output. Its value may be a secret, so it is not printed.
#[derive(Clone, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its type in the bundle.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether the bundle declares it as sensitive.
    pub sensitive: bool,
    /// Its value, as text.
    pub value: String,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("name", &self.name)
            .field("type", &self.type_)
            .field("sensitive", &self.sensitive)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for InstallationOutputStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstallationOutputStatus")
            .field("phase", &self.phase)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}
