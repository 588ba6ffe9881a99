//! The hash that kustomize puts behind the name of a generated ConfigMap or Secret.
//!
//! It is that of kustomize's `hasher` package: SHA-256 of a compact JSON text with sorted keys in Go's escaping, of
//! which the first ten hexadecimal digits count, with the digits that could spell words replaced. The name is always
//! empty in that text, so that only the content counts.

use std::fmt::Write as _;

use manifest::Diagnostic;
use manifest::yaml::{self, Node};
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use crate::go_json;
use crate::limits::Budget;
use crate::resmap::ResMap;
use crate::schema::Schemas;

/// Puts the hash behind the names of all resources that need one.
pub(crate) fn add(resources: &mut ResMap, schemas: &Schemas, budget: &Budget<'_>) -> Result<(), Diagnostic> {
    budget.work(resources.len()).map_err(Diagnostic::general)?;
    for resource in resources.resources_mut().iter_mut().filter(|resource| resource.needs_hash) {
        budget.remember(resource)?;
        resource.store_previous_id(schemas);
        let name = format!("{}-{}", resource.name(), suffix(&resource.node));
        resource.set_name(&name);
    }
    Ok(())
}

/// The suffix for a resource, without the dash.
fn suffix(node: &Node) -> String {
    let mut text = String::new();
    match node.get("kind").and_then(Node::as_str) {
        Some("ConfigMap") => {
            text.push('{');
            if let Some(binary) = node.get("binaryData").filter(|binary| binary.as_mapping().is_some()) {
                text.push_str("\"binaryData\":");
                json(&mut text, binary);
                text.push(',');
            }
            field(&mut text, "data", node);
            text.push_str(",\"kind\":\"ConfigMap\",\"name\":\"\"}");
        }
        Some("Secret") => {
            text.push('{');
            field(&mut text, "data", node);
            text.push_str(",\"kind\":\"Secret\",\"name\":\"\"");
            if let Some(strings) = node.get("stringData").filter(|strings| strings.as_mapping().is_some()) {
                text.push_str(",\"stringData\":");
                json(&mut text, strings);
            }
            text.push(',');
            field(&mut text, "type", node);
            text.push('}');
        }
        _ => json(&mut text, node),
    }
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    digest[..10]
        .chars()
        .map(|digit| match digit {
            '0' => 'g',
            '1' => 'h',
            '3' => 'k',
            'a' => 'm',
            'e' => 't',
            other => other,
        })
        .collect()
}

/// A field with its value, which is the empty string when there is none.
fn field(out: &mut String, name: &str, node: &Node) {
    let _ = write!(out, "\"{name}\":");
    match node.get(name) {
        Some(value) => match value.as_scalar() {
            Some(scalar) => go_json::write(out, &Value::from(scalar.text.as_str()), None),
            None => json(out, value),
        },
        None => out.push_str("\"\""),
    }
}

/// As Go reads it: all numbers are float64.
fn json(out: &mut String, node: &Node) {
    match node.to_json() {
        Ok(value) => go_json::write(out, &as_floats(value), None),
        // An infinite number, which JSON cannot say: only the text tells it apart.
        Err(_) => out.push_str(&yaml::to_string(node)),
    }
}

fn as_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().and_then(Number::from_f64).map_or(Value::Null, Value::Number),
        Value::Array(items) => items.into_iter().map(as_floats).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, as_floats(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use manifest::yaml;

    use super::*;

    /// Each row was hashed by kustomize v5.8.1.
    #[test]
    fn content_has_the_hash_that_kustomize_gives_it() {
        for (content, expected) in [
            ("{kind: ConfigMap, metadata: {name: any}}", "6ct58987ht"),
            ("{kind: ConfigMap, data: {a: b}}", "4h2mbtbbt6"),
            ("{kind: ConfigMap, data: {z: ü, a: '<b> & \"c\"'}}", "hggh4d4hh2"),
            ("{kind: ConfigMap, data: {a: \"1\\n2\\t3\"}}", "4fbkfcbgc4"),
            ("{kind: ConfigMap, binaryData: {x.bin: //4=}}", "mc6tt9kf9h"),
            (
                "{kind: ConfigMap, data: {a: b, f: 1.0, g: 1e22, h: 0.0000001, i: 9007199254740993, j: 12.5}}",
                "8m9t66f2g5",
            ),
            ("{apiVersion: v1, kind: ConfigMap, data: {a: 2020-01-01}}", "mmg9g99mmf"),
            ("{kind: Secret, data: {}, type: Opaque}", "46f8b28mk5"),
            ("{kind: Secret, data: {a: Yg==}, type: Opaque}", "k695gkmbtk"),
            ("{kind: Secret, data: {a: Yg==}, type: kubernetes.io/x}", "g9hm272kth"),
        ] {
            let node = yaml::parse("t", content.as_bytes()).unwrap().remove(0).node;
            assert_eq!(suffix(&node), expected, "{content}");
        }
    }
}
