//! The fields that the operator's CRDs have, and the check of a document against them.
//!
//! The API server drops a field that a CRD lacks without a word, or answers a server-side apply with status 500: either
//! way nobody learns which line of which file is wrong. So each kind is checked here first.

use manifest::yaml::{Node, Scalar, ScalarKind, Value};
use manifest::{Diagnostic, Location};

/// The type of a field.
#[derive(Debug)]
pub(crate) enum Type {
    Text,
    Bool,
    Int,
    /// A list of one type.
    List(&'static Type),
    /// A mapping of free keys to one type.
    Map(&'static Type),
    Object(&'static Shape),
    /// A mapping with anything in it.
    AnyMapping,
}

/// The fields of a mapping.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) fields: &'static [Field],
    /// Fields that people write and that the CRD lacks, each with what to do about it.
    pub(crate) refused: &'static [(&'static str, &'static str)],
}

/// A field of a mapping.
#[derive(Debug)]
pub(crate) struct Field {
    name: &'static str,
    value: Type,
    required: bool,
}

const fn field(name: &'static str, value: Type) -> Field {
    Field { name, value, required: false }
}

const fn required(name: &'static str, value: Type) -> Field {
    Field { name, value, required: true }
}

const fn shape(fields: &'static [Field]) -> Shape {
    Shape { fields, refused: &[] }
}

const TEXTS: Type = Type::List(&Type::Text);
const ANYTHING: Type = Type::List(&Type::AnyMapping);
const REFERENCE: Type = Type::Object(&shape(&[field("name", Type::Text)]));
const NOT_IN_THE_RESOURCE: &str =
    "is a part of Porter's own record, and no field of the operator's resource: remove it";
const NO_SET_LABELS: &str = "cannot be kept: the operator's sets have no labels, remove them";

/// The shape of `spec` of a kind of the group `getporter.org`, for the kinds that a source may hold.
pub(crate) fn spec(kind: &str) -> Option<&'static Shape> {
    match kind {
        "Installation" => Some(&INSTALLATION),
        "CredentialSet" => Some(&CREDENTIAL_SET),
        "ParameterSet" => Some(&PARAMETER_SET),
        "AgentAction" => Some(&AGENT_ACTION),
        "AgentConfig" => Some(&AGENT_CONFIG),
        "PorterConfig" => Some(&PORTER_CONFIG),
        _ => None,
    }
}

static INSTALLATION: Shape = Shape {
    fields: &[
        field("agentConfig", REFERENCE),
        field("bundle", Type::Object(&BUNDLE)),
        field("credentialSets", TEXTS),
        field("labels", Type::Map(&Type::Text)),
        field("name", Type::Text),
        field("namespace", Type::Text),
        field("parameterSets", TEXTS),
        field("parameters", Type::AnyMapping),
        field("schemaVersion", Type::Text),
        field("uninstalled", Type::Bool),
    ],
    refused: &[
        ("active", "is of an older schema: remove it, or write uninstalled: true to have the bundle uninstalled"),
        ("schemaType", NOT_IN_THE_RESOURCE),
        ("id", NOT_IN_THE_RESOURCE),
        ("custom", NOT_IN_THE_RESOURCE),
        ("status", NOT_IN_THE_RESOURCE),
        ("_calculated", NOT_IN_THE_RESOURCE),
    ],
};

static BUNDLE: Shape = shape(&[
    field("digest", Type::Text),
    field("repository", Type::Text),
    field("tag", Type::Text),
    field("version", Type::Text),
]);

static CREDENTIAL_SET: Shape = Shape {
    fields: &[
        field("agentConfig", REFERENCE),
        required("credentials", Type::List(&Type::Object(&CREDENTIAL))),
        field("name", Type::Text),
        field("namespace", Type::Text),
        field("schemaVersion", Type::Text),
    ],
    refused: &[("labels", NO_SET_LABELS), ("schemaType", NOT_IN_THE_RESOURCE), ("status", NOT_IN_THE_RESOURCE)],
};

static CREDENTIAL: Shape = shape(&[required("name", Type::Text), required("source", Type::Object(&CREDENTIAL_SOURCE))]);

const ONLY_SECRET: &str = "is not available where the operator runs the bundle: put the credential in a secret store, and name it with source.secret";

static CREDENTIAL_SOURCE: Shape = Shape {
    fields: &[field("secret", Type::Text)],
    refused: &[("value", ONLY_SECRET), ("env", ONLY_SECRET), ("path", ONLY_SECRET), ("command", ONLY_SECRET)],
};

static PARAMETER_SET: Shape = Shape {
    fields: &[
        field("agentConfig", REFERENCE),
        field("name", Type::Text),
        field("namespace", Type::Text),
        required("parameters", Type::List(&Type::Object(&PARAMETER))),
        field("schemaVersion", Type::Text),
    ],
    refused: &[("labels", NO_SET_LABELS), ("schemaType", NOT_IN_THE_RESOURCE), ("status", NOT_IN_THE_RESOURCE)],
};

static PARAMETER: Shape = shape(&[required("name", Type::Text), required("source", Type::Object(&PARAMETER_SOURCE))]);

const ONLY_SECRET_OR_VALUE: &str = "is not available where the operator runs the bundle: use source.value, or put it in a secret store and use source.secret";

static PARAMETER_SOURCE: Shape = Shape {
    fields: &[field("secret", Type::Text), field("value", Type::Text)],
    refused: &[("env", ONLY_SECRET_OR_VALUE), ("path", ONLY_SECRET_OR_VALUE), ("command", ONLY_SECRET_OR_VALUE)],
};

static AGENT_ACTION: Shape = shape(&[
    field("agentConfig", REFERENCE),
    field("args", TEXTS),
    field("command", TEXTS),
    field("env", Type::List(&Type::Object(&VARIABLE))),
    field("envFrom", ANYTHING),
    field("files", Type::Map(&Type::Text)),
    field("volumeMounts", ANYTHING),
    field("volumes", ANYTHING),
]);

/// An API server that refuses one quotes its value.
static VARIABLE: Shape =
    shape(&[required("name", Type::Text), field("value", Type::Text), field("valueFrom", Type::AnyMapping)]);

static AGENT_CONFIG: Shape = shape(&[
    field("installationServiceAccount", Type::Text),
    field("pluginConfigFile", Type::Object(&PLUGIN_CONFIG)),
    field("porterRepository", Type::Text),
    field("porterVersion", Type::Text),
    field("pullPolicy", Type::Text),
    field("retryLimit", Type::Int),
    field("serviceAccount", Type::Text),
    field("storageClassName", Type::Text),
    field("ttlSecondsAfterFinished", Type::Int),
    field("volumeSize", Type::Text),
]);

static PLUGIN_CONFIG: Shape =
    shape(&[field("plugins", Type::Map(&Type::Object(&PLUGIN))), required("schemaVersion", Type::Text)]);

static PLUGIN: Shape = shape(&[
    field("feedURL", Type::Text),
    field("mirror", Type::Text),
    field("url", Type::Text),
    field("version", Type::Text),
]);

static PORTER_CONFIG: Shape = shape(&[
    field("build-driver", Type::Text),
    field("default-secrets", Type::Text),
    field("default-secrets-plugin", Type::Text),
    field("default-storage", Type::Text),
    field("default-storage-plugin", Type::Text),
    field("experimental", TEXTS),
    field("namespace", Type::Text),
    field("secrets", Type::List(&Type::Object(&PLUGIN_USE))),
    field("storage", Type::List(&Type::Object(&PLUGIN_USE))),
    field("telemetry", Type::Object(&TELEMETRY)),
    field("verbosity", Type::Text),
]);

static PLUGIN_USE: Shape =
    shape(&[field("config", Type::AnyMapping), required("name", Type::Text), required("plugin", Type::Text)]);

static TELEMETRY: Shape = shape(&[
    field("certificate", Type::Text),
    field("compression", Type::Text),
    field("enabled", Type::Bool),
    field("endpoint", Type::Text),
    field("headers", Type::Map(&Type::Text)),
    field("insecure", Type::Bool),
    field("protocol", Type::Text),
    field("redirect-to-file", Type::Text),
    field("start-timeout", Type::Text),
    field("timeout", Type::Text),
]);

/// The body of a ConfigMap beside `apiVersion`, `kind` and `metadata`.
pub(crate) static CONFIG_MAP: Shape = shape(&[
    field("binaryData", Type::Map(&Type::Text)),
    field("data", Type::Map(&Type::Text)),
    field("immutable", Type::Bool),
]);

/// The body of a Secret beside `apiVersion`, `kind` and `metadata`.
pub(crate) static SECRET: Shape = Shape {
    fields: &[
        field("data", Type::Map(&Type::Text)),
        field("immutable", Type::Bool),
        field("stringData", Type::Map(&Type::Text)),
        field("type", Type::Text),
    ],
    refused: &[(
        "sops",
        "says that the Secret is encrypted with SOPS, which a BundleSync does not decrypt yet: apply it with Flux's Kustomization",
    )],
};

/// Notes every field of a mapping that the shape lacks, that has another type, or that is required and missing.
/// A field that is null is not there. `near` is the place for a node that has none.
pub(crate) fn check(shape: &Shape, node: &Node, near: &Location, path: &str, faults: &mut Vec<Diagnostic>) {
    let here = node.at.as_ref().unwrap_or(near);
    let Some(entries) = node.as_mapping() else {
        wrong_type(node, here, path, "a mapping", faults);
        return;
    };
    for (key, value) in entries {
        let name = &*key.name;
        let path = join(path, name);
        let at = key.at.as_ref().or(value.at.as_ref()).unwrap_or(here);
        if let Some(field) = shape.fields.iter().find(|field| field.name == name) {
            if !value.is_null() {
                check_value(&field.value, value, at, &path, faults);
            }
        } else if let Some((_, advice)) = shape.refused.iter().find(|(refused, _)| *refused == name) {
            faults.push(Diagnostic::at(at.clone(), format!("{path} {advice}")));
        } else {
            let known: Vec<&str> = shape.fields.iter().map(|field| field.name).collect();
            let message = format!("{path} is no field here: correct or remove it; known are {}", known.join(", "));
            faults.push(Diagnostic::at(at.clone(), message));
        }
    }
    for field in shape.fields.iter().filter(|field| field.required) {
        if node.get(field.name).is_none_or(Node::is_null) {
            faults.push(Diagnostic::at(here.clone(), format!("{} is missing: add it", join(path, field.name))));
        }
    }
}

fn check_value(expected: &Type, node: &Node, near: &Location, path: &str, faults: &mut Vec<Diagnostic>) {
    let at = node.at.as_ref().unwrap_or(near);
    match (expected, &node.value) {
        (Type::Text, Value::Scalar(Scalar { kind: ScalarKind::String, .. }))
        | (Type::Bool, Value::Scalar(Scalar { kind: ScalarKind::Bool, .. })) => {}
        (Type::Int, Value::Scalar(_)) if node.as_i64().is_some_and(|value| i32::try_from(value).is_ok()) => {}
        (Type::AnyMapping, Value::Mapping(_)) => check_numbers(node, at, path, faults),
        (Type::List(item), Value::Sequence(items)) => {
            for (index, node) in items.iter().enumerate() {
                check_value(item, node, at, &format!("{path}[{index}]"), faults);
            }
        }
        (Type::Map(value), Value::Mapping(entries)) => {
            for (key, node) in entries {
                check_value(value, node, key.at.as_ref().unwrap_or(at), &join(path, &key.name), faults);
            }
        }
        (Type::Object(shape), Value::Mapping(_)) => check(shape, node, at, path, faults),
        (expected, _) => wrong_type(node, at, path, expected.name(), faults),
    }
}

/// Notes each number that does not come out of the operator as it went in: it reads them all into float64.
fn check_numbers(node: &Node, near: &Location, path: &str, faults: &mut Vec<Diagnostic>) {
    let at = node.at.as_ref().unwrap_or(near);
    match &node.value {
        Value::Scalar(_) if !survives_float(node) => {
            let message = format!(
                "{path} is a number that the operator would change (it keeps numbers as float64): put it in quotes"
            );
            faults.push(Diagnostic::at(at.clone(), message));
        }
        Value::Scalar(_) => {}
        Value::Sequence(items) => {
            for (index, node) in items.iter().enumerate() {
                check_numbers(node, at, &format!("{path}[{index}]"), faults);
            }
        }
        Value::Mapping(entries) => {
            for (key, node) in entries {
                check_numbers(node, key.at.as_ref().unwrap_or(at), &join(path, &key.name), faults);
            }
        }
    }
}

/// Beyond 2^53 a float64 that is exact is still printed with other digits (2^60 as 1.152921504606847e+18).
fn survives_float(node: &Node) -> bool {
    const LARGEST: i64 = 1 << 53;
    match node.as_scalar().map(|scalar| scalar.kind) {
        Some(ScalarKind::Int) => node.as_i64().is_some_and(|value| (-LARGEST..=LARGEST).contains(&value)),
        Some(ScalarKind::Float) => node.exact_number(),
        _ => true,
    }
}

fn wrong_type(node: &Node, at: &Location, path: &str, expected: &str, faults: &mut Vec<Diagnostic>) {
    let quote = match node.as_scalar() {
        Some(scalar) if expected == Type::Text.name() && scalar.kind != ScalarKind::Null => ": put it in quotes",
        _ => "",
    };
    let message = format!("{path} has to be {expected}, and is {}{quote}", node.type_name());
    faults.push(Diagnostic::at(at.clone(), message));
}

impl Type {
    fn name(&self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Bool => "true or false",
            Self::Int => "a 32-bit integer",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Object(_) | Self::AnyMapping => "a mapping",
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
