//! Credential and parameter sets: as their documents have them, and with the values of their secrets.
//!
//! Invariant: a message names an entry and its key, and never holds a value. It may not know who names a set.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Decided, Identity, Secrets};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetKind {
    Credentials,
    Parameters,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Set(BTreeMap<String, Source>);

#[derive(Clone, Debug)]
enum Source {
    Secret(String),
    Value(Value),
}

impl Set {
    /// What it has entries for.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// The values, looked up in the secrets.
    pub(super) fn resolve(&self, secrets: &Secrets) -> Decided<BTreeMap<String, Value>> {
        let resolve = |(name, source): (&String, &Source)| {
            let value = match source {
                Source::Value(value) => value.clone(),
                Source::Secret(key) => {
                    let found = secrets.get(&secret_name(key)).cloned();
                    Value::String(found.ok_or_else(|| format!("the secret {key} of {name} was not found"))?)
                }
            };
            Ok((name.clone(), value))
        };
        self.0.iter().map(resolve).collect()
    }
}

pub(super) fn read_set(kind: SetKind, text: &str) -> Decided<(Identity, Set)> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct SetDocument {
        name: String,
        namespace: Option<String>,
        credentials: Vec<Entry>,
        parameters: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        #[serde(default)]
        source: Map<String, Value>,
    }
    let document: SetDocument = serde_saphyr::from_str(text).map_err(|error| format!("invalid set: {error}"))?;
    let entries = match kind {
        SetKind::Credentials => document.credentials,
        SetKind::Parameters => document.parameters,
    };
    let mut sources = BTreeMap::new();
    for entry in entries {
        let mut source = entry.source.into_iter();
        let source = match (source.next(), source.next()) {
            (Some((key, Value::String(secret))), None) if key == "secret" => Source::Secret(secret),
            (Some((key, value)), None) if key == "value" => Source::Value(value),
            _ => return Err(format!("{}: not a valid source", entry.name)),
        };
        sources.insert(entry.name, source);
    }
    Ok(((document.namespace.unwrap_or_default(), document.name), Set(sources)))
}

/// The name of the Kubernetes Secret that Porter's plugin reads for a key.
pub fn secret_name(key: &str) -> String {
    let clean = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-' { c } else { '-' };
    let name: String = key.to_lowercase().chars().map(clean).collect();
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let name = if edge(name.chars().next()) { name } else { format!("000{}", name.get(1..).unwrap_or_default()) };
    if edge(name.chars().last()) { name } else { format!("{}000", &name[..name.len() - 1]) }
}
