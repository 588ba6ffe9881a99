//! The text of a scalar that holds JSON or YAML, written anew after a value within it was set.

use manifest::yaml::{self, Node};
use serde_json::{Number, Value};

use crate::hash::string;

/// In the notation of the text as it was: JSON in one line or indented, keys sorted; or else YAML.
///
/// Nothing when what there is now cannot be said in JSON.
pub(super) fn write(node: &Node, before: &str) -> Option<String> {
    if !before.trim_start().starts_with(['{', '[']) {
        return Some(yaml::to_string(node).trim().to_owned());
    }
    let value = node.to_json().ok()?;
    let indented = before.contains('\n') && before.contains("  ");
    let mut out = String::new();
    json(&mut out, &value, indented.then_some(0));
    Some(out)
}

/// JSON as Go's `encoding/json` prints it; `depth` is that of the value when lines are broken.
fn json(out: &mut String, value: &Value, depth: Option<usize>) {
    let inner = depth.map(|depth| depth + 1);
    let line = |out: &mut String, depth: Option<usize>| {
        if let Some(depth) = depth {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(value) => number(out, value),
        Value::String(text) => string(out, text),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(entries) if entries.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, inner);
                json(out, item, inner);
            }
            line(out, depth);
            out.push(']');
        }
        Value::Object(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, inner);
                string(out, key);
                out.push_str(if inner.is_some() { ": " } else { ":" });
                json(out, value, inner);
            }
            line(out, depth);
            out.push('}');
        }
    }
}

/// Floats have an exponent below 10^-6 and from 10^21 on.
fn number(out: &mut String, number: &Number) {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) if float != 0.0 && !(1e-6..1e21).contains(&float.abs()) => {
            let text = format!("{float:e}");
            out.push_str(&if text.contains("e-") { text } else { text.replace('e', "e+") });
        }
        Some(float) => out.push_str(&float.to_string()),
        None => out.push_str(&number.to_string()),
    }
}
