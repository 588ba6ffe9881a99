//! The hash that kustomize puts behind the name of a generated ConfigMap or Secret.
//!
//! It is that of kustomize's `hasher` package: SHA-256 of a compact JSON text with sorted keys in Go's escaping, of
//! which the first ten hexadecimal digits count, with the digits that could spell words replaced. The name is always
//! empty in that text, so that only the content counts.

use std::fmt::Write as _;

use manifest::yaml::{Node, ScalarKind, Value};
use sha2::{Digest, Sha256};

/// The suffix for a resource, without the dash.
pub(crate) fn suffix(node: &Node) -> String {
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
        Some(value) => match &value.value {
            Value::Scalar(scalar) => string(out, &scalar.text),
            _ => json(out, value),
        },
        None => out.push_str("\"\""),
    }
}

fn json(out: &mut String, node: &Node) {
    match &node.value {
        Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::String | ScalarKind::Timestamp => string(out, &scalar.text),
            ScalarKind::Null => out.push_str("null"),
            ScalarKind::Bool => out.push_str(if scalar.as_bool() == Some(true) { "true" } else { "false" }),
            ScalarKind::Int | ScalarKind::Float => match node.to_json().ok().and_then(|value| value.as_f64()) {
                Some(value) => out.push_str(&number(value)),
                None => out.push_str(&scalar.text),
            },
        },
        Value::Sequence(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json(out, item);
            }
            out.push(']');
        }
        Value::Mapping(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
            out.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                string(out, &key.name);
                out.push(':');
                json(out, value);
            }
            out.push('}');
        }
    }
}

/// A number as Go's `encoding/json` writes what it has read: a float64, with an exponent only when it is very large or
/// very small.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    value.to_string()
}

/// A string as Go's `encoding/json` writes it.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('"');
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
            ("{kind: Secret, data: {}, type: Opaque}", "46f8b28mk5"),
            ("{kind: Secret, data: {a: Yg==}, type: Opaque}", "k695gkmbtk"),
            ("{kind: Secret, data: {a: Yg==}, type: kubernetes.io/x}", "g9hm272kth"),
        ] {
            let node = yaml::parse("t", content.as_bytes()).unwrap().remove(0).node;
            assert_eq!(suffix(&node), expected, "{content}");
        }
    }
}
