//! From the derived schemas to the CustomResourceDefinitions that are installed.
//!
//! The derived ones are close, but not what an API server should get: an `Option` is `nullable`, which lets `null`
//! through where other clients expect a value or nothing, and unsigned integers have formats that Kubernetes does not
//! know. Both are put right here, for every CRD alike.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::{BundleRelease, BundleSync};

const HEADER: &str = "# Generated from api/src by hack/generate.sh. Do not edit.\n---\n";

/// The label that says which product an object belongs to.
///
/// Flux's own objects have `flux` there, and `flux uninstall` deletes whatever has it, in its namespace and of cluster
/// scope. A deleted CRD takes every BundleSync and BundleRelease along, and with them the ledger of what runs; so the
/// CRDs have a value of their own and stay.
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "porter-flux");

/// The CRDs of the kinds that porter-flux defines.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        with_default_status(generate::<BundleSync>(SpecIs::Required), json!({"observedGeneration": -1})),
        generate::<BundleRelease>(SpecIs::Required),
    ];
    for crd in &mut crds {
        crd.metadata.labels = Some([(PART_OF.0.to_owned(), PART_OF.1.to_owned())].into());
    }
    crds
}

/// A CRD as the file in which it is installed: its name, and its text.
///
/// # Errors
/// Only when the CRD is no YAML, which a generated one always is.
pub fn file(crd: &CustomResourceDefinition) -> Result<(String, String), serde_saphyr::ser::Error> {
    let mut crd_json = serde_json::to_value(crd).unwrap_or_default();
    whole_numbers(&mut crd_json);
    let yaml = serde_saphyr::to_string(&crd_json)?;
    let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
    Ok((name, format!("{HEADER}{yaml}")))
}

/// JSON schema limits are floats in Rust, and whole numbers to people.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0) {
                *value = json!(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Whether an object may be without a spec.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpecIs {
    Required,
    Optional,
}

/// The CRD of a kind, as an API server should have it.
pub(crate) fn generate<K: CustomResourceExt>(spec: SpecIs) -> CustomResourceDefinition {
    edit_schema(K::crd(), |schema| {
        tidy(schema);
        if let Some(schema) = schema.as_object_mut() {
            match spec {
                SpecIs::Required => schema.insert("required".into(), json!(["spec"])),
                SpecIs::Optional => schema.remove("required"),
            };
        }
        // An absent spec is read as an empty one, but the server must not add it.
        if let Some(spec) = schema.pointer_mut("/properties/spec").and_then(Value::as_object_mut) {
            spec.remove("default");
        }
    })
}

/// Puts `default` on the status, so that a status that nobody has written yet is told from an observed one.
fn with_default_status(crd: CustomResourceDefinition, default: Value) -> CustomResourceDefinition {
    edit_schema(crd, |schema| {
        if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
            status.insert("default".into(), default.clone());
        }
    })
}

pub(crate) fn edit_schema(mut crd: CustomResourceDefinition, edit: impl Fn(&mut Value)) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        let mut value = serde_json::to_value(&*schema).expect("a schema is JSON");
        edit(&mut value);
        *schema = serde_json::from_value(value).expect("an edited schema is still a schema");
    }
    crd
}

/// Walks a schema, and only its schemas: a property may be called `nullable`.
fn tidy(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("nullable");
    if schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        schema.remove("format");
    }
    for key in ["properties", "patternProperties", "definitions"] {
        if let Some(children) = schema.get_mut(key).and_then(Value::as_object_mut) {
            children.values_mut().for_each(tidy);
        }
    }
    for key in ["items", "additionalProperties", "not"] {
        if let Some(child) = schema.get_mut(key) {
            tidy(child);
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        if let Some(children) = schema.get_mut(key).and_then(Value::as_array_mut) {
            children.iter_mut().for_each(tidy);
        }
    }
}

/// The schema of an object of which nothing more is known, and nothing is dropped.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// The schema of conditions of which each type occurs once.
pub(crate) fn condition_map(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = condition_list(generator);
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), json!(["type"]));
    schema
}

/// The schema of conditions, with the limits that the API conventions of Kubernetes set.
pub(crate) fn condition_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "description": "Condition is one aspect of the current state of this resource.",
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "description": "When the condition last changed.",
                    "type": "string", "format": "date-time"
                },
                "message": {"description": "The details, for people.", "type": "string", "maxLength": 32768},
                "observedGeneration": {
                    "description": "The generation that the condition speaks of.",
                    "type": "integer", "format": "int64", "minimum": 0
                },
                "reason": {
                    "description": "Why the condition last changed, in one word.",
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "type": {
                    "type": "string", "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                }
            }
        }
    })
}
