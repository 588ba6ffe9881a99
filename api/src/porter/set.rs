//! `CredentialSet` and `ParameterSet`: where the values that a bundle needs come from.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalRef, PorterStatus};
use crate::zero::is_zero;

/// The desired state of a credential set.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[kube(group = "getporter.org", version = "v1", kind = "CredentialSet", plural = "credentialsets", namespaced)]
#[kube(status = "PorterStatus", derive = "PartialEq", derive = "Default", attr = "cfg_attr(all(), serde(default))")]
#[kube(doc = "CredentialSet says where the credentials of a bundle are.")]
#[serde(rename_all = "camelCase")]
pub struct CredentialSetSpec {
    /// The AgentConfig of the same namespace that its runs use, in place of the one named default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub agent_config: Option<LocalRef>,
    /// The version of the schema of Porter's document.
    pub schema_version: String,
    /// The name in Porter.
    pub name: String,
    /// The namespace in Porter. May be empty.
    pub namespace: String,
    /// Where each credential is.
    pub credentials: Vec<Credential>,
}

/// Where one credential is.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Credential {
    /// Its name in the bundle.
    pub name: String,
    /// Its source.
    pub source: CredentialSource,
}

/// The source of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct CredentialSource {
    /// The key in Porter's secret store.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub secret: Option<String>,
}

/// The desired state of a parameter set.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[kube(group = "getporter.org", version = "v1", kind = "ParameterSet", plural = "parametersets", namespaced)]
#[kube(status = "PorterStatus", derive = "PartialEq", derive = "Default", attr = "cfg_attr(all(), serde(default))")]
#[kube(doc = "ParameterSet says what the parameters of a bundle are, or where.")]
#[serde(rename_all = "camelCase")]
pub struct ParameterSetSpec {
    /// The AgentConfig of the same namespace that its runs use, in place of the one named default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub agent_config: Option<LocalRef>,
    /// The version of the schema of Porter's document.
    pub schema_version: String,
    /// The name in Porter.
    pub name: String,
    /// The namespace in Porter. May be empty.
    pub namespace: String,
    /// What each parameter is, or where.
    pub parameters: Vec<Parameter>,
}

/// What one parameter is, or where.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name in the bundle.
    pub name: String,
    /// Its source.
    pub source: ParameterSource,
}

/// The source of a parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ParameterSource {
    /// The key in Porter's secret store.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub secret: Option<String>,
    /// The value itself, as text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub value: Option<String>,
}
