//! The kinds of Porter's operator, `getporter.org/v1`.
//!
//! Guarantee: what is serialized holds no empty or zero value. The operator drops such values when it writes an object
//! back, and each drop is a new generation, hence another bundle run; so they must never be sent.
//! Fields that the CRDs require are written even when empty.
//!
//! The CRDs do not require a spec, so an object without one is read as one with an empty spec: a single such object
//! must not take a watch down. (kube's derive refuses the plain attribute for that, hence the `cfg_attr` below it.)

mod agent;
mod config;
mod installation;
mod output;
mod set;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use agent::{
    AgentAction, AgentActionSpec, AgentActionStatus, AgentConfig, AgentConfigSpec, AgentConfigStatus, Plugin,
    PluginConfigFile,
};
pub use config::{PluginStanza, PorterConfig, PorterConfigSpec, PorterConfigStatus, Telemetry};
/// A file of an AgentAction.
pub use k8s_openapi::ByteString;

pub use installation::{Bundle, Installation, InstallationSpec};
pub use output::{InstallationOutput, InstallationOutputSpec, InstallationOutputStatus, Output};
pub use set::{
    Credential, CredentialSet, CredentialSetSpec, CredentialSource, Parameter, ParameterSet, ParameterSetSpec,
    ParameterSource,
};

use crate::Condition;
use crate::crd::{self, SpecIs};
use crate::zero::Zero;

/// The API group of Porter's operator.
pub const GROUP: &str = "getporter.org";
/// The version of its kinds.
pub const VERSION: &str = "v1";
/// The finalizer that the operator puts on what it handles.
pub const FINALIZER: &str = "getporter.org/finalizer";
/// The prefix of the operator's own labels and annotations. Never put one of them on an object: the operator copies an
/// object's labels over those of its actions and then no longer recognises them.
pub const RESERVED_PREFIX: &str = "getporter.org/";

/// The annotation by which the operator looks at an object again: any new value.
pub const RETRY: &str = "getporter.org/retry";
/// The AgentConfig of a namespace that everything runs with which names none.
pub const DEFAULT_CONFIG: &str = "default";
/// The namespace whose `default` stands beneath those of all namespaces, fixed in the operator.
pub const SYSTEM_NAMESPACE: &str = "porter-operator-system";

/// Labels that the operator puts on the AgentActions, Jobs and Secrets that it makes.
pub mod label {
    /// Always `true`.
    pub const MANAGED: &str = "getporter.org/managed";
    /// The kind of the resource that an action is for.
    pub const RESOURCE_KIND: &str = "getporter.org/resourceKind";
    /// The name of the resource that an action is for.
    pub const RESOURCE_NAME: &str = "getporter.org/resourceName";
    /// The generation of the resource that an action is for.
    pub const RESOURCE_GENERATION: &str = "getporter.org/resourceGeneration";
    /// What a Job is: `porter-agent`, or [`JOB_TYPE_INSTALLER`].
    pub const JOB_TYPE: &str = "getporter.org/jobType";
    /// [`JOB_TYPE`] of the Job that runs the bundle's image.
    pub const JOB_TYPE_INSTALLER: &str = "bundle-installer";
}

/// Condition types of the operator's kinds. Each is either `True` or absent.
pub mod condition {
    /// A Job exists.
    pub const SCHEDULED: &str = "Scheduled";
    /// The Job ended well. Final.
    pub const COMPLETED: &str = "Completed";
    /// The Job failed. Final.
    pub const FAILED: &str = "Failed";
}

/// The CRDs of Porter's operator, version 1.1.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        crd::generate::<Installation>(SpecIs::Optional),
        crd::generate::<CredentialSet>(SpecIs::Optional),
        crd::generate::<ParameterSet>(SpecIs::Optional),
        agent::action_crd(),
        agent::config_crd(),
        config::porter_config_crd(),
        crd::generate::<InstallationOutput>(SpecIs::Optional),
    ]
}

/// The name of an object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LocalRef {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

impl LocalRef {
    /// A reference to the object of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl JsonSchema for LocalRef {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LocalRef".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "x-kubernetes-map-type": "atomic",
            "properties": {"name": {"description": "The name of the object.", "type": "string"}}
        })
    }
}

/// The status of the resources that the operator applies to Porter.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PorterStatus {
    /// The generation that the operator has seen. It says nothing about whether that generation has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The newest AgentAction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<LocalRef>,
    /// Unknown, Pending, Running, Succeeded or Failed. It flickers and goes back: never decide anything by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Copied from the newest AgentAction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crd::condition_list")]
    pub conditions: Vec<Condition>,
}

/// Whether a condition of that type is `True`.
pub fn has_condition(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// A reference to nothing says no more than none.
impl Zero for LocalRef {
    fn is_zero(&self) -> bool {
        self.name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::Resource;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    /// What is read from `given` and written again.
    fn rewritten<K: Serialize + DeserializeOwned>(given: &Value) -> Value {
        let object: K = serde_json::from_value(given.clone()).unwrap_or_else(|error| panic!("{given}: {error}"));
        serde_json::to_value(object).expect("JSON")
    }

    #[test]
    fn no_empty_value_is_written() {
        let reference = json!({"schemaVersion": "1.0.2", "name": "a", "namespace": "", "bundle": {"repository": "r"}});
        let cases = [
            json!({"uninstalled": false}),
            json!({"agentConfig": {}}),
            json!({"agentConfig": {"name": ""}}),
            json!({"labels": {}}),
            json!({"parameters": {}}),
            json!({"parameters": null}),
            json!({"credentialSets": []}),
            json!({"parameterSets": [], "uninstalled": false}),
            json!({"bundle": {"repository": "r", "version": "", "digest": "", "tag": ""}}),
        ];
        for case in cases {
            let mut given = reference.clone();
            for (key, value) in case.as_object().expect("an object") {
                given[key] = value.clone();
            }
            assert_eq!(rewritten::<InstallationSpec>(&given), reference, "{case}");
        }
    }

    #[test]
    fn what_is_given_is_written() {
        let installation = json!({
            "agentConfig": {"name": "single-run"},
            "schemaVersion": "1.0.2", "name": "a", "namespace": "dev", "uninstalled": true,
            "bundle": {"repository": "r", "version": "1.0.0", "digest": "sha256:00", "tag": "t"},
            "labels": {"team": "x"},
            // An empty or false parameter is a value.
            "parameters": {"empty": "", "none": null, "off": false, "zero": 0, "list": [], "map": {}},
            "credentialSets": ["b", "a"], "parameterSets": ["p"]
        });
        assert_eq!(rewritten::<InstallationSpec>(&installation), installation);
        let set = json!({
            "schemaVersion": "1.0.1", "name": "p", "namespace": "", "parameters": [
                {"name": "a", "source": {"value": "1"}}, {"name": "b", "source": {"secret": "s"}}
            ]
        });
        assert_eq!(rewritten::<ParameterSetSpec>(&set), set);
        // Zero retries is not the default, which is six.
        let config = json!({"retryLimit": 0, "ttlSecondsAfterFinished": 2147483647});
        assert_eq!(rewritten::<AgentConfigSpec>(&config), config);
        let action = json!({
            "args": ["installation", "apply", "installation.yaml"],
            "files": {"installation.yaml": "bmFtZTogYQo="},
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"key": "k", "name": "s"}}}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]
        });
        assert_eq!(rewritten::<AgentActionSpec>(&action), action);
        let config = json!({
            "default-storage": "db", "build-driver": "buildkit",
            "storage": [{"name": "db", "plugin": "mongodb", "config": {"url": "mongodb://db"}}],
            "telemetry": {"enabled": true, "redirect-to-file": "trace.json", "start-timeout": "1s"}
        });
        assert_eq!(rewritten::<PorterConfigSpec>(&config), config);
    }

    #[test]
    fn an_object_without_spec_or_status_is_read() {
        fn check<K: Resource<DynamicType = ()> + DeserializeOwned>() {
            for object in [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "a"}, "status": {}})] {
                let read: K = serde_json::from_value(object.clone()).unwrap_or_else(|e| panic!("{object}: {e}"));
                assert_eq!(read.meta().name.as_deref(), Some("a"));
            }
        }
        check::<Installation>();
        check::<CredentialSet>();
        check::<ParameterSet>();
        check::<AgentAction>();
        check::<AgentConfig>();
        check::<PorterConfig>();
        check::<InstallationOutput>();
    }

    #[test]
    fn a_condition_counts_only_when_it_is_true() {
        let action: AgentAction = serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "status": {"phase": "Unknown", "conditions": [
                {"type": "Completed", "status": "True", "reason": "JobCompleted", "message": "",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Failed", "status": "False", "reason": "JobFailed", "message": "",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ]}
        }))
        .expect("an AgentAction");
        let conditions = action.status.expect("a status").conditions;
        assert!(has_condition(&conditions, condition::COMPLETED));
        assert!(!has_condition(&conditions, condition::FAILED));
        assert!(!has_condition(&conditions, condition::SCHEDULED));
    }

    #[test]
    fn output_values_are_not_printed() {
        let output = Output { name: "token".into(), type_: "string".into(), sensitive: true, value: "hunter2".into() };
        let status = InstallationOutputStatus { outputs: vec![output], ..InstallationOutputStatus::default() };
        assert!(!format!("{status:?}").contains("hunter2"));
    }
}
