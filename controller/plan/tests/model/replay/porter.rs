//! What the porter CLI was recorded deciding, in its own words: `porter-recorded.json` of the simulated runner.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{document, excepted};
use crate::events::Ends;
use crate::porter::Begun;
use crate::state::Model;

const RECORDED: &str = include_str!("../../../../../e2e/simulated-runner/tests/porter-recorded.json");

const NO_REGISTRY: &str = "the model has no registry: a bundle is as its document names it";
const NO_DEFINITION: &str =
    "the model has no definitions of bundles: any parameter will do, and no credential is asked for";
const NEVER_ASKED: &str = "the planner has no such question";

const EXCEPTED: &[(&str, &str)] = &[
    ("apply_to", NO_DEFINITION),
    ("bad_schema_version", "refused when documents are read"),
    ("credential_missing", NO_DEFINITION),
    ("dry_run", NEVER_ASKED),
    ("namespace_missing", "the model has one Porter namespace"),
    ("no_bundle", NO_REGISTRY),
    ("no_reference", "refused when documents are read"),
    ("outputs", NO_DEFINITION),
    ("parameter_missing", NO_DEFINITION),
    ("parameter_number_forms", NO_DEFINITION),
    ("parameter_unknown", NO_DEFINITION),
    ("parameter_wrong_type", NO_DEFINITION),
    ("tag_moved", NO_REGISTRY),
    ("tag_to_same_digest", NO_REGISTRY),
    ("uninstall_bundle_gone", NO_REGISTRY),
    ("uninstall_invalid_parameter", NO_DEFINITION),
];

/// A value of a set as a number.
fn number(entries: &Value) -> i64 {
    let text = entries.to_string();
    text.bytes().fold(0, |number, byte| number * 31 % 1_000_003 + i64::from(byte))
}

/// Exit code and the bundle action that ran.
fn run(model: &mut Model, step: &Value, next: Ends) -> (i32, Option<&'static str>) {
    let args: Vec<String> = step["run"].as_str().unwrap().split(' ').map(str::to_owned).collect();
    match (args[0].as_str(), args[1].as_str()) {
        ("credentials" | "parameters", "apply") => {
            model.known.insert(step["set"].as_str().unwrap().to_owned(), number(&step["entries"]));
            (0, None)
        }
        ("parameters", "delete") => {
            model.known.remove(&args[2]);
            (0, None)
        }
        _ => {
            let document = document("example.test/mysql", &step["with"]);
            let of = document["name"].as_str().unwrap();
            let begun = model.begins(of, &args, Some(&document));
            let action = match begun {
                Begun::Acts(action, _) => Some(action),
                _ => None,
            };
            let asks = matches!(begun, Begun::Asks);
            let well = model.ends(of, &args, begun, if asks { Ends::Well } else { next });
            (i32::from(!well), action)
        }
    }
}

#[test]
fn porter_decides_as_recorded() {
    let scenarios: BTreeMap<String, Value> = serde_json::from_str(RECORDED).unwrap();
    let replayed = excepted(&scenarios, EXCEPTED);
    let mut steps_of_all = 0;
    for (scenario, steps) in &replayed {
        let (mut model, mut next) = (Model::new(), Ends::Well);
        for (number, step) in steps.as_array().unwrap().iter().enumerate() {
            if let Some(told) = step.get("next") {
                next = if told == "ok" { Ends::Well } else { Ends::Badly };
                continue;
            }
            let fields: &Map<String, Value> = step.as_object().unwrap();
            assert!(!fields.keys().any(|field| field.starts_with("v1.")), "{scenario}: versions differ");
            let recorded = (i32::try_from(step["exit"].as_i64().unwrap()).unwrap(), step["ran"].as_str());
            assert_eq!(run(&mut model, step, next), recorded, "{scenario}, step {number}: {step}");
            steps_of_all += 1;
        }
    }
    assert_eq!((replayed.len(), EXCEPTED.len(), steps_of_all), (38, 16, 112), "nothing recorded is left out");
}
