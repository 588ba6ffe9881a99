//! The scenarios as they lie in `operator/`: what is done, and what was seen.
//!
//! Guarantee: a scenario that was recorded is read, or is [`EXCEPTED`] by name; a field that nobody reads is refused. It may
//! not know how they are played.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// Recorded, and not compared.
pub(crate) const EXCEPTED: [(&str, &str); 1] = [(
    "sets_frozen",
    "a freeze of the operator after a write conflict of its own; it cannot be had at will, and the simulation reads live",
)];
/// How many scenarios were recorded.
const RECORDED: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    #[expect(dead_code, reason = "for whoever reads the file")]
    what: String,
    /// So many of each item and entry with `{n}` in it.
    #[expect(dead_code, reason = "expanded before the scenario is read")]
    #[serde(default)]
    each: usize,
    /// It disturbs others.
    #[serde(default)]
    pub(crate) alone: bool,
    pub(crate) steps: Vec<Step>,
    /// How the first, second, ... pod ends; those after the last as the last.
    #[serde(default)]
    pub(crate) pods: Vec<String>,
    /// Objects whose status goes back and forth.
    #[serde(default)]
    pub(crate) flickers: BTreeSet<String>,
    /// AgentActions that come or not, by timing.
    #[serde(default)]
    pub(crate) may: BTreeSet<String>,
    /// The statuses of InstallationOutputs.
    #[serde(default)]
    pub(crate) outputs: BTreeMap<String, Value>,
    pub(crate) end: End,
    pub(crate) actions: BTreeMap<String, Value>,
    pub(crate) jobs: Vec<Value>,
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) history: BTreeMap<String, Vec<(i64, String)>>,
    pub(crate) events: BTreeSet<(String, String, String)>,
}

/// One of them is set.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Step {
    pub(crate) apply: Option<Value>,
    /// What the refusal of `apply` says, and its code.
    pub(crate) refused: Option<String>,
    pub(crate) code: Option<u16>,
    pub(crate) delete: Option<String>,
    pub(crate) delete_namespace: bool,
    pub(crate) patch: Option<String>,
    pub(crate) with: Value,
    pub(crate) r#await: Option<String>,
    pub(crate) until: String,
    pub(crate) generation: Option<i64>,
    pub(crate) await_pods: Option<usize>,
    pub(crate) wait: Option<u64>,
    pub(crate) hold: bool,
    pub(crate) release: bool,
    pub(crate) restart_operator: bool,
}

/// What stands at the end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    /// Generation and phase of each object, by kind and name.
    pub(crate) objects: BTreeMap<String, (i64, String)>,
    pub(crate) jobs: Option<usize>,
    /// Those without an owner, which nobody removes.
    pub(crate) secrets: Option<usize>,
    pub(crate) claims: Option<usize>,
    /// At least, at most.
    pub(crate) pods: (usize, usize),
}

/// The texts of the scenarios by their names.
pub(crate) fn scenarios() -> Result<BTreeMap<String, String>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/operator");
    let mut scenarios = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        scenarios.insert(name, std::fs::read_to_string(&path)?);
    }
    ensure!(scenarios.len() + EXCEPTED.len() == RECORDED, "{} scenarios", scenarios.len());
    for (name, reason) in EXCEPTED {
        ensure!(!scenarios.contains_key(name), "{name} is excepted");
        println!("EXCEPTED {name}: {reason}");
    }
    Ok(scenarios)
}

impl Scenario {
    pub(crate) fn read(text: &str, namespace: &str) -> Result<Self> {
        let mut scenario: Value = serde_json::from_str(&text.replace("${namespace}", namespace))?;
        if let Some(count) = scenario["each"].as_u64() {
            multiply(&mut scenario, count);
        }
        Ok(serde_json::from_value(scenario)?)
    }
}

/// Puts `count` items or entries, with 00, 01, ..., in the place of each with `{n}` in it.
fn multiply(value: &mut Value, count: u64) {
    const PLACE: &str = "{n}";
    let numbered = |value: &Value, number: u64| -> Value {
        let text = value.to_string().replace(PLACE, &format!("{number:02}"));
        serde_json::from_str(&text).unwrap_or_default()
    };
    match value {
        Value::Array(items) => {
            let copies = |mut item: Value| match item.to_string().contains(PLACE) {
                true => (0..count).map(|number| numbered(&item, number)).collect(),
                false => {
                    multiply(&mut item, count);
                    vec![item]
                }
            };
            *items = std::mem::take(items).into_iter().flat_map(copies).collect();
        }
        Value::Object(map) => {
            let copies = |(key, mut value): (String, Value)| match key.contains(PLACE) {
                true => {
                    let copy = |number| (key.replace(PLACE, &format!("{number:02}")), numbered(&value, number));
                    (0..count).map(copy).collect::<Vec<_>>()
                }
                false => {
                    multiply(&mut value, count);
                    vec![(key, value)]
                }
            };
            *map = std::mem::take(map).into_iter().flat_map(copies).collect();
        }
        _ => {}
    }
}
