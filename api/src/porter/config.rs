//! `PorterConfig`: the configuration file of the Porter that a run starts.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crd::{self, SpecIs};
use crate::zero::is_zero;

/// Porter's configuration. Its fields are named as in Porter's own file.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[kube(group = "getporter.org", version = "v1", kind = "PorterConfig", plural = "porterconfigs", namespaced)]
#[kube(
    status = "PorterConfigStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))"
)]
#[kube(doc = "PorterConfig configures the Porter that a run starts.")]
#[serde(rename_all = "kebab-case")]
pub struct PorterConfigSpec {
    /// debug, info, warn or error.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub verbosity: Option<String>,
    /// The default namespace in Porter.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub namespace: Option<String>,
    /// The experimental features that are on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experimental: Vec<String>,
    /// The build driver.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub build_driver: Option<String>,
    /// The name of the storage to use.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub default_storage: Option<String>,
    /// The name of the secret store to use.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub default_secrets: Option<String>,
    /// The storage plugin, where no storage is named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub default_storage_plugin: Option<String>,
    /// The secrets plugin, where no secret store is named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub default_secrets_plugin: Option<String>,
    /// The storages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<PluginStanza>,
    /// The secret stores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<PluginStanza>,
    /// Tracing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
}

/// A named configuration of a plugin.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct PluginStanza {
    /// Its name.
    pub name: String,
    /// The plugin and its implementation.
    pub plugin: String,
    /// What the plugin is given.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "crd::any_object")]
    pub config: Option<Value>,
}

/// Where traces are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Telemetry {
    /// Whether traces are sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub enabled: bool,
    /// Where to.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub endpoint: Option<String>,
    /// grpc or http/protobuf.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub protocol: Option<String>,
    /// Whether without TLS.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub insecure: bool,
    /// A file of trusted certificates.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub certificate: Option<String>,
    /// Headers of each request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long a request may take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: Option<String>,
    /// gzip, or none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub compression: Option<String>,
    /// How long connecting may take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_timeout: Option<String>,
    /// A file that traces go to instead.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redirect_to_file: Option<String>,
}

/// Nobody writes a status, but the CRD has the subresource.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct PorterConfigStatus {}

pub(super) fn porter_config_crd() -> CustomResourceDefinition {
    crd::edit_schema(crd::generate::<PorterConfig>(SpecIs::Optional), |schema| {
        if let Some(Value::Object(fields)) = schema.pointer_mut("/properties") {
            fields.remove("status");
        }
    })
}
