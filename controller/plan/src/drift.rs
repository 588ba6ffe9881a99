//! What stands otherwise than asked, among what we own.
//!
//! We own the whole spec of the Porter kinds, the data of ConfigMaps and Secrets, and the labels and annotations that we
//! set, or set before: those are in `metadata.managedFields` as ours. Others, finalizers and status are not ours. An
//! annotation of an Installation that is gone tells nothing, for the operator wipes them. Values that the operator drops
//! when it writes an object back (`false`, `""`, `{}`, `[]`) equal an absent one, but not inside `parameters`, which it
//! keeps as they are. `1` equals `1.0`.
//!
//! The result is paths of fields, never their values: those may be secrets.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::write::is_owner_label;

/// Where the specs of two Installations differ.
#[must_use]
pub fn installation_spec(asked: &Value, live: &Value) -> Vec<String> {
    let mut found = Found::default();
    found.compare("spec", Some(asked), Some(live), Rule::Porter);
    found.paths
}

/// Which of our labels a live object lacks, or has with another value.
pub fn labels<'a>(asked: impl IntoIterator<Item = (&'a str, &'a str)>, live: &BTreeMap<String, String>) -> Vec<String> {
    asked
        .into_iter()
        .filter(|(key, value)| live.get(*key).map(String::as_str) != Some(*value))
        .map(|(key, _)| format!("metadata.labels[{key}]"))
        .collect()
}

/// Which annotations that are asked a live object lacks, or has with another value.
pub fn annotations(asked: &BTreeMap<String, String>, live: &BTreeMap<String, String>) -> Vec<String> {
    let other = asked.iter().filter(|(key, value)| live.get(*key) != Some(value));
    other.map(|(key, _)| format!("metadata.annotations[{key}]")).collect()
}

/// Which labels and annotations of a live object we applied, by its managedFields, that are not asked any more.
pub fn left_behind(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    metadata: &Value,
) -> Vec<String> {
    let entries = metadata["managedFields"].as_array().into_iter().flatten();
    let ours = entries.filter(|entry| {
        entry["manager"] == api::FIELD_MANAGER && entry["operation"] == "Apply" && entry["subresource"].is_null()
    });
    let fields: Vec<&Value> = ours.map(|entry| &entry["fieldsV1"]["f:metadata"]).collect();
    let mut found = Vec::new();
    for (part, asked) in [("labels", labels), ("annotations", annotations)] {
        let applied = fields.iter().filter_map(|fields| fields[format!("f:{part}")].as_object());
        let keys: BTreeSet<&str> =
            applied.flat_map(|keys| keys.keys()).filter_map(|key| key.strip_prefix("f:")).collect();
        let left = keys.into_iter().filter(|key| !asked.contains_key(*key) && !is_owner_label(key));
        found.extend(left.map(|key| format!("metadata.{part}[{key}]")));
    }
    found
}

/// Where a live object differs from the one that is asked, its metadata aside.
#[must_use]
pub fn object(asked: &Value, live: &Value) -> Vec<String> {
    let mut found = Found::default();
    let kind = asked["kind"].as_str().unwrap_or_default();
    match kind {
        "ConfigMap" | "Secret" => {
            let (asked, live) = (with_defaults(kind, asked), with_defaults(kind, live));
            found.fields("", &asked, &live, Rule::Data);
        }
        "CredentialSet" | "ParameterSet" | "PorterConfig" | "Installation" => {
            found.compare("spec", asked.get("spec"), live.get("spec"), Rule::Porter);
        }
        "AgentConfig" => {
            let (asked, live) = (with_defaults(kind, asked), with_defaults(kind, live));
            found.compare("spec", asked.get("spec"), live.get("spec"), Rule::Porter);
        }
        // A kind whose server-side defaults we do not know: only what is asked counts.
        _ => {
            let content = content(asked);
            for (key, value) in &content {
                found.compare(key, Some(value), live.get(key), Rule::Asked);
            }
        }
    }
    found.paths
}

/// The value with every field left out that the operator would drop; `parameters` of an Installation's spec stay, unless there
/// are none: `{"debug": false}` asks for something.
#[must_use]
pub fn without_empty(value: &Value) -> Value {
    let kept = |(key, value): (&String, &Value)| match value {
        Value::Object(parameters) if key == "parameters" => {
            (!parameters.is_empty()).then(|| (key.clone(), value.clone()))
        }
        value => (!is_dropped(value)).then(|| (key.clone(), without_empty(value))),
    };
    match value {
        Value::Object(fields) => fields.iter().filter_map(kept).collect::<Map<_, _>>().into(),
        Value::Array(items) => items.iter().map(without_empty).collect(),
        scalar => scalar.clone(),
    }
}

/// How fields are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A value that the operator drops equals an absent one.
    Porter,
    /// The fields of an object of the core group: an empty map or list equals an absent one, and no deeper.
    Data,
    /// Everything counts.
    Exact,
    /// What is asked counts; what else is there does not.
    Asked,
}

#[derive(Default)]
struct Found {
    paths: Vec<String>,
}

impl Found {
    fn compare(&mut self, path: &str, asked: Option<&Value>, live: Option<&Value>, rule: Rule) {
        let absent = |value: Option<&Value>| match (rule, value) {
            (_, None) => true,
            (Rule::Porter | Rule::Asked, Some(value)) => is_dropped(value),
            (Rule::Data, Some(value)) => is_dropped(value) && !value.is_string(),
            (Rule::Exact, Some(_)) => false,
        };
        match (asked, live) {
            (None, _) if rule == Rule::Asked => {}
            (Some(Value::Object(asked)), Some(Value::Object(live))) => self.fields(path, asked, live, rule),
            (asked, live) if absent(asked) && absent(live) => {}
            (Some(asked), Some(live)) if same(asked, live, rule) => {}
            _ => self.paths.push(path.to_owned()),
        }
    }

    fn fields(&mut self, path: &str, asked: &Map<String, Value>, live: &Map<String, Value>, rule: Rule) {
        let keys: BTreeSet<&String> = asked.keys().chain(live.keys()).collect();
        for key in keys {
            let rule = match rule {
                Rule::Porter if path == "spec" && key == "parameters" => {
                    let none = Value::Object(Map::new());
                    let or_none = |value: Option<&Value>| value.cloned().unwrap_or_else(|| none.clone());
                    self.compare(
                        "spec.parameters",
                        Some(&or_none(asked.get(key))),
                        Some(&or_none(live.get(key))),
                        Rule::Exact,
                    );
                    continue;
                }
                Rule::Data if !path.is_empty() => Rule::Exact,
                rule => rule,
            };
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.compare(&path, asked.get(key), live.get(key), rule);
        }
    }
}

fn same(asked: &Value, live: &Value, rule: Rule) -> bool {
    match (asked, live) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64().is_some_and(|one| other.as_f64() == Some(one))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other, rule))
        }
        (Value::Object(_), Value::Object(_)) => {
            let mut found = Found::default();
            found.compare("", Some(asked), Some(live), rule);
            found.paths.is_empty()
        }
        _ => asked == live,
    }
}

/// Whether the operator, written in Go, leaves the value out when it writes the object. A number may be behind a pointer,
/// as `retryLimit: 0` is, and then stays.
fn is_dropped(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_dropped),
    }
}

fn content(object: &Value) -> Map<String, Value> {
    let mut content = object.as_object().cloned().unwrap_or_default();
    content.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
    content
}

/// What the API server makes of the object: defaults filled in, `stringData` moved to `data`.
fn with_defaults(kind: &str, object: &Value) -> Map<String, Value> {
    let mut content = content(object);
    match kind {
        "Secret" => {
            match (content.remove("stringData"), or_empty(&mut content, "data")) {
                (Some(Value::Object(texts)), Some(data)) => {
                    let encode = |text: Value| Value::String(BASE64.encode(text.as_str().unwrap_or_default()));
                    data.extend(texts.into_iter().map(|(key, text)| (key, encode(text))));
                }
                // Nothing that an API server would take: it differs from whatever stands.
                (Some(texts), _) => drop(content.insert("stringData".to_owned(), texts)),
                (None, _) => {}
            }
            content.entry("type").or_insert_with(|| "Opaque".into());
        }
        "AgentConfig" => {
            if let Some(spec) = or_empty(&mut content, "spec") {
                spec.entry("ttlSecondsAfterFinished").or_insert_with(|| 600.into());
            }
        }
        _ => {}
    }
    content
}

/// A field that is a map, made where it is absent or null; `None` when it is something else.
fn or_empty<'a>(content: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let field = content.entry(key).or_insert(Value::Null);
    if field.is_null() {
        *field = Value::Object(Map::new());
    }
    field.as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn specs_differ_in_what_the_operator_keeps() {
        let none: [&str; 0] = [];
        for (asked, live, paths) in [
            (json!({"name": "a"}), json!({"name": "a"}), &none[..]),
            (
                json!({"name": "a"}),
                json!({"name": "a", "uninstalled": false, "labels": {}, "agentConfig": {"name": ""}}),
                &none,
            ),
            (json!({"name": "a", "credentialSets": []}), json!({"name": "a"}), &none),
            (json!({"uninstalled": true}), json!({}), &["spec.uninstalled"]),
            (json!({}), json!({"uninstalled": true}), &["spec.uninstalled"]),
            (json!({"bundle": {"tag": "v1"}}), json!({"bundle": {"tag": "v2"}}), &["spec.bundle.tag"]),
            (json!({"parameters": {"n": 1}}), json!({"parameters": {"n": 1.0}}), &none),
            (json!({"parameters": {"n": [1, {"m": 2}]}}), json!({"parameters": {"n": [1.0, {"m": 2.0}]}}), &none),
            (json!({"parameters": {"n": "1"}}), json!({"parameters": {"n": 1}}), &["spec.parameters.n"]),
            (json!({"parameters": {"n": ""}}), json!({"parameters": {}}), &["spec.parameters.n"]),
            (json!({"parameters": {"n": ""}}), json!({}), &["spec.parameters.n"]),
            (json!({"parameters": {}}), json!({}), &none),
            (json!({"parameters": {"a": {"b": false}}}), json!({"parameters": {"a": {}}}), &["spec.parameters.a.b"]),
            (json!({"parameterSets": ["a", "b"]}), json!({"parameterSets": ["b", "a"]}), &["spec.parameterSets"]),
        ] {
            assert_eq!(installation_spec(&asked, &live), paths, "{asked} {live}");
        }
    }

    #[test]
    fn what_the_operator_would_drop_is_left_out() {
        let spec = json!({"name": "a", "bundle": {"tag": "", "version": "1"}, "labels": {"e": ""}, "list": [{"f": false, "g": 0}]});
        let kept = json!({"name": "a", "bundle": {"version": "1"}, "list": [{"g": 0}]});
        assert_eq!(without_empty(&spec), kept);
        // Of parameters each is asked for, whatever its value.
        for parameters in [json!({"debug": false}), json!({"b": "", "c": {"d": []}}), json!({"n": 1, "m": null})] {
            assert_eq!(without_empty(&json!({"parameters": parameters})), json!({"parameters": parameters}));
        }
        for none in [json!({}), Value::Null] {
            assert_eq!(without_empty(&json!({"parameters": none})), json!({}));
        }
    }

    #[test]
    fn objects_differ_in_what_we_own() {
        let none: [&str; 0] = [];
        for (asked, live, paths) in [
            (
                json!({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "x"}}),
                json!({"kind": "Secret", "metadata": {"name": "s", "annotations": {"b": "c"}}, "type": "Opaque", "data": {"a": "eA=="}}),
                &none[..],
            ),
            (
                json!({"kind": "Secret", "stringData": {"a": "x"}}),
                json!({"kind": "Secret", "type": "Opaque", "data": {"a": "eQ=="}}),
                &["data.a"],
            ),
            // Documents of the local mode are edited by hand, and no API server has seen them.
            (
                json!({"kind": "Secret", "stringData": {"a": "x"}, "data": "x"}),
                json!({"kind": "Secret", "type": "Opaque", "data": {"a": "eA=="}}),
                &["data", "stringData"],
            ),
            (
                json!({"kind": "Secret", "stringData": {"a": "x"}, "data": null}),
                json!({"kind": "Secret", "type": "Opaque", "data": {"a": "eA=="}}),
                &none,
            ),
            (json!({"kind": "Secret", "stringData": "x"}), json!({"kind": "Secret"}), &["stringData"]),
            (json!({"kind": "AgentConfig", "spec": "x"}), json!({"kind": "AgentConfig", "spec": {}}), &["spec"]),
            (json!({"kind": "ConfigMap", "data": {"a": ""}}), json!({"kind": "ConfigMap", "data": {}}), &["data.a"]),
            (json!({"kind": "ConfigMap"}), json!({"kind": "ConfigMap", "data": {}, "immutable": false}), &none),
            (
                json!({"kind": "ConfigMap", "data": {"a": "1"}}),
                json!({"kind": "ConfigMap", "data": {"a": "1", "b": "2"}}),
                &["data.b"],
            ),
            (
                json!({"kind": "AgentConfig", "spec": {"retryLimit": 0}}),
                json!({"kind": "AgentConfig", "spec": {"retryLimit": 0, "ttlSecondsAfterFinished": 600}, "status": {"ready": true}}),
                &none,
            ),
            (
                json!({"kind": "AgentConfig", "spec": {"retryLimit": 0}}),
                json!({"kind": "AgentConfig", "spec": {"ttlSecondsAfterFinished": 600}}),
                &["spec.retryLimit"],
            ),
            (
                json!({"kind": "AgentAction", "spec": {"args": ["x"]}}),
                json!({"kind": "AgentAction", "spec": {"args": ["x"], "defaulted": 3}}),
                &none,
            ),
            (
                json!({"kind": "CredentialSet", "spec": {"credentials": [{"name": "a", "source": {"secret": "b"}}]}}),
                json!({"kind": "CredentialSet", "spec": {"credentials": [{"name": "a", "source": {"secret": "c"}}]}}),
                &["spec.credentials"],
            ),
            (
                json!({"kind": "ParameterSet", "spec": {"name": "a"}}),
                json!({"kind": "ParameterSet", "spec": {"name": "a", "labels": {"b": "c"}}, "status": {"phase": "x"}}),
                &["spec.labels"],
            ),
            (
                json!({"kind": "AgentConfig", "spec": {"retryLimit": 0}}),
                json!({"kind": "AgentConfig", "spec": {"retryLimit": 0, "ttlSecondsAfterFinished": 60, "volumeSize": "1Gi"}}),
                &["spec.ttlSecondsAfterFinished", "spec.volumeSize"],
            ),
        ] {
            assert_eq!(object(&asked, &live), paths, "{asked} {live}");
        }
    }

    #[test]
    fn labels_of_others_do_not_count() {
        let live = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("z".to_owned(), "9".to_owned())]);
        assert!(labels([("a", "1")], &live).is_empty());
        assert_eq!(labels([("a", "2"), ("b", "1")], &live), ["metadata.labels[a]", "metadata.labels[b]"]);
    }
}
