//! Porter's documents, written as the operator writes them.
//!
//! The files of an AgentAction are part of what is recorded, so they are compared byte by byte. The operator uses Go's
//! yaml.v3: four spaces of indent, lists indented below their key, sorted maps, numbers in the `%g` form, and quotes
//! only around strings that would be read as something else.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use crate::kinds::{CredentialSetSpec, InstallationSpec, Mapping, ParameterSetSpec};

pub(crate) fn installation(spec: &InstallationSpec) -> String {
    let mut map = Ordered::default();
    map.put("schemaVersion", &spec.schema_version);
    map.put("name", &spec.name);
    map.put("namespace", &spec.namespace);
    map.put_unless_empty("uninstalled", &spec.uninstalled);
    let mut bundle = Ordered::default();
    bundle.put("repository", &spec.bundle.repository);
    bundle.put_unless_empty("version", &spec.bundle.version);
    bundle.put_unless_empty("digest", &spec.bundle.digest);
    bundle.put_unless_empty("tag", &spec.bundle.tag);
    map.0.push(("bundle".to_owned(), Item::Map(bundle)));
    map.put_unless_empty("labels", &spec.labels);
    map.put_unless_empty("credentialSets", &spec.credential_sets);
    map.put_unless_empty("parameterSets", &spec.parameter_sets);
    map.put_unless_empty("parameters", &spec.parameters);
    map.text()
}

pub(crate) fn credential_set(spec: &CredentialSetSpec) -> String {
    set(&spec.schema_version, &spec.name, &spec.namespace, "credentials", &spec.credentials)
}

pub(crate) fn parameter_set(spec: &ParameterSetSpec) -> String {
    set(&spec.schema_version, &spec.name, &spec.namespace, "parameters", &spec.parameters)
}

/// The file that names plugins to install, each with all its fields.
pub(crate) fn plugins(schema_version: &Value, plugins: &serde_json::Map<String, Value>) -> String {
    let mut named = Ordered::default();
    for (name, plugin) in plugins {
        let mut fields = Ordered::default();
        for field in ["feedURL", "url", "mirror", "version"] {
            fields.put(&field.to_lowercase(), &plugin[field].as_str().unwrap_or_default());
        }
        named.0.push((name.clone(), Item::Map(fields)));
    }
    let mut map = Ordered::default();
    map.put("schemaType", &"Plugins");
    map.put("schemaVersion", schema_version);
    map.0.push(("plugins".to_owned(), Item::Map(named)));
    map.text()
}

fn set(schema_version: &str, name: &str, namespace: &str, field: &str, entries: &[Mapping]) -> String {
    let mut map = Ordered::default();
    map.put("schemaVersion", &schema_version);
    map.put("name", &name);
    map.put("namespace", &namespace);
    let entries = entries.iter().map(|entry| {
        let mut map = Ordered::default();
        map.put("name", &entry.name);
        let mut source = Ordered::default();
        source.put_unless_empty("secret", &entry.source.secret);
        source.put_unless_empty("value", &entry.source.value);
        map.0.push(("source".to_owned(), Item::Map(source)));
        Item::Map(map)
    });
    map.0.push((field.to_owned(), Item::List(entries.collect())));
    map.text()
}

/// Any JSON value in this form.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    write_item(&mut text, &Item::from(value), 0, Place::Root);
    text
}

#[derive(Debug)]
enum Item {
    Scalar(String),
    List(Vec<Item>),
    Map(Ordered),
}

/// A map in the order of its fields.
#[derive(Debug, Default)]
struct Ordered(Vec<(String, Item)>);

impl Ordered {
    fn put(&mut self, key: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.0.push((key.to_owned(), Item::from(&value)));
    }

    fn put_unless_empty(&mut self, key: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        let empty = match &value {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Number(_) => false,
        };
        if !empty {
            self.0.push((key.to_owned(), Item::from(&value)));
        }
    }

    fn text(self) -> String {
        let mut text = String::new();
        write_item(&mut text, &Item::Map(self), 0, Place::Root);
        text
    }
}

impl From<&Value> for Item {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Scalar("null".to_owned()),
            Value::Bool(value) => Self::Scalar(value.to_string()),
            Value::Number(number) => Self::Scalar(general(number.as_f64().unwrap_or(f64::NAN))),
            Value::String(text) => Self::Scalar(string(text)),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(map) => {
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_by(|left, right| left.0.cmp(right.0));
                Self::Map(Ordered(keys.into_iter().map(|(key, value)| (key.clone(), Self::from(value))).collect()))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    /// Behind `key:`.
    Value,
    /// Behind `- `.
    Entry,
}

fn write_item(text: &mut String, item: &Item, indent: usize, place: Place) {
    let separator = if place == Place::Value { " " } else { "" };
    match item {
        Item::Scalar(scalar) => {
            let mut lines = scalar.split('\n');
            let _ = writeln!(text, "{separator}{}", lines.next().unwrap_or_default());
            for line in lines {
                let indent = if line.is_empty() { 0 } else { indent };
                let _ = writeln!(text, "{:indent$}{line}", "");
            }
        }
        Item::List(items) if items.is_empty() => {
            let _ = writeln!(text, "{separator}[]");
        }
        Item::Map(map) if map.0.is_empty() => {
            let _ = writeln!(text, "{separator}{{}}");
        }
        Item::List(items) => {
            if place == Place::Value {
                text.push('\n');
            }
            for (index, item) in items.iter().enumerate() {
                let indent_here = if index == 0 && place == Place::Entry { 0 } else { indent };
                let _ = write!(text, "{:indent_here$}- ", "");
                // Maps and lists in a list go on two columns further in, behind the dash.
                write_item(text, item, indent + 2, Place::Entry);
            }
        }
        Item::Map(map) => {
            if place == Place::Value {
                text.push('\n');
            }
            for (index, (key, value)) in map.0.iter().enumerate() {
                let indent_here = if index == 0 && place == Place::Entry { 0 } else { indent };
                let _ = write!(text, "{:indent_here$}{}:", "", string(key));
                // Back to a multiple of four, which a map in a list is not at.
                write_item(text, value, (indent + 4) / 4 * 4, Place::Value);
            }
        }
    }
}

/// Go's `%g` with as many digits as are needed: an exponent below 1e-4 and from 1e+06 on.
fn general(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn string(text: &str) -> String {
    if text.contains('\n') && !text.starts_with([' ', '\n', '\t']) && text.chars().all(printable) {
        // A literal; what follows the last line break is told by the mark.
        let (body, mark) = match text.strip_suffix('\n') {
            None => (text, "|-"),
            Some(body) if body.ends_with('\n') => (body, "|+"),
            Some(body) => (body, "|"),
        };
        return format!("{mark}\n{body}");
    }
    if read_as_another_type(text) || !text.chars().all(|c| printable(c) && c != '\n') {
        return quoted(text);
    }
    if plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn printable(c: char) -> bool {
    c == '\n' || c >= ' ' && c != '\u{7f}' && c != '\u{feff}'
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if !printable(c) => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What a reader would take for null, a boolean of any YAML version, a number, a date or a merge key.
fn read_as_another_type(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let word = matches!(
        lower.as_str(),
        "" | "~"
            | "null"
            | "true"
            | "false"
            | "y"
            | "n"
            | "yes"
            | "no"
            | "on"
            | "off"
            | ".nan"
            | ".inf"
            | "+.inf"
            | "-.inf"
    );
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text).replace('_', "");
    let number = !digits.is_empty()
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && (digits.parse::<f64>().is_ok()
            || ["0x", "0o", "0b"].iter().any(|prefix| {
                digits
                    .strip_prefix(prefix)
                    .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_hexdigit()))
            }));
    let base_60 = text.contains(':') && text.split(':').all(|part| !part.is_empty() && part.parse::<f64>().is_ok());
    word || text == "<<" || number || base_60 || is_date(text)
}

fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let day = rest.split(['T', 't', ' ']).next().unwrap_or_default();
    year.len() == 4 && number(year) && month.len() <= 2 && number(month) && day.len() <= 2 && number(day)
}

fn plain(text: &str) -> bool {
    let first = text.chars().next().unwrap_or(' ');
    let second = text.chars().nth(1);
    let indicator = match first {
        '-' | '?' | ':' => second.is_none_or(|c| c == ' '),
        _ => "#,[]{}&*!|>'\"%@`".contains(first),
    };
    !(indicator
        || text.starts_with(' ')
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
        || text.contains('\t')
        || text.starts_with("---")
        || text.starts_with("..."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars() {
        let table = [
            (json!("a"), "a"),
            (json!("1.10"), "\"1.10\""),
            (json!("yes"), "\"yes\""),
            (json!(""), "\"\""),
            (json!("a: b"), "'a: b'"),
            (json!("it's # x"), "'it''s # x'"),
            (json!("2024-01-01"), "\"2024-01-01\""),
            (json!("x=y"), "x=y"),
            (json!(1), "1"),
            (json!(999_999), "999999"),
            (json!(1_000_000), "1e+06"),
            (json!(1_234_567), "1.234567e+06"),
            (json!(9_007_199_254_740_993_u64), "9.007199254740992e+15"),
            (json!(1.1), "1.1"),
            (json!(0.00001), "1e-05"),
            (json!(-3), "-3"),
            (json!(true), "true"),
            (json!(null), "null"),
        ];
        for (value, text) in table {
            assert_eq!(to_yaml(&value).trim_end(), text, "{value}");
        }
    }

    #[test]
    fn an_installation() {
        let spec = json!({
            "schemaVersion": "1.0.2", "name": "mysql", "namespace": "dev", "uninstalled": true,
            "bundle": {"repository": "example.test/mysql", "version": "0.1.0"},
            "labels": {"b": "1", "a": "x"},
            "credentialSets": ["creds"],
            "parameters": {"nested": {"l": [1, "2", null, {"k": ["v"]}], "b": true}, "text": "one\ntwo"},
        });
        let text = "schemaVersion: 1.0.2\nname: mysql\nnamespace: dev\nuninstalled: true\nbundle:\n    \
                    repository: example.test/mysql\n    version: 0.1.0\nlabels:\n    a: x\n    b: \"1\"\n\
                    credentialSets:\n    - creds\nparameters:\n    nested:\n        b: true\n        l:\n            \
                    - 1\n            - \"2\"\n            - null\n            - k:\n                - v\n    \
                    text: |-\n        one\n        two\n";
        assert_eq!(installation(&serde_json::from_value(spec).unwrap()), text);
    }

    #[test]
    fn a_set() {
        let spec = json!({
            "schemaVersion": "1.0.1", "name": "creds", "namespace": "dev",
            "credentials": [{"name": "token", "source": {"secret": "tok"}}],
        });
        let text = "schemaVersion: 1.0.1\nname: creds\nnamespace: dev\ncredentials:\n    - name: token\n      source:\n        secret: tok\n";
        assert_eq!(credential_set(&serde_json::from_value(spec).unwrap()), text);
    }
}
