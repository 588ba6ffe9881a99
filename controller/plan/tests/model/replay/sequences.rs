//! The sequences that were tried on the real operator with the real Porter in its pods.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Stage, document, excepted, phase};
use crate::state::{Object, Pods};

const RECORDED: &str = include_str!("../../../../../e2e/tests/conformance/sequences.json");
const BUNDLE: &str = "example.test/mysql";

type Ran = (String, Option<i64>, Option<String>);

/// The commands that began since the last time that this was asked.
fn ran(stage: &Stage, told: usize) -> Vec<Ran> {
    let commands = stage.model.log[told..].iter();
    let mut ran: Vec<Ran> = commands
        .map(|command| {
            // What ran is told once it is over.
            let action = command.action.filter(|_| command.exit.is_some()).map(str::to_owned);
            (command.args.join(" "), command.exit.map(i64::from), action)
        })
        .collect();
    ran.sort();
    ran
}

fn current(stage: &Stage) -> Option<i64> {
    stage.model.installations.get("mysql").map(|object: &Object| object.generation)
}

/// What is done, in the order of the fields.
fn act(stage: &mut Stage, step: &Value) {
    let flag = |field: &str| step[field] == true;
    if let Some(ttl) = step["ttl"].as_i64() {
        stage.model.configs.insert("default".to_owned(), ttl < 60);
    }
    stage.fail += usize::try_from(step["fail"].as_i64().unwrap_or_default()).unwrap();
    stage.held = (stage.held || flag("hold")) && !flag("release");
    if flag("deleteInstallation") {
        stage.model.mark_deleted("mysql");
        stage.rest();
    }
    if flag("deleteActions") {
        stage.model.ours.clear();
    }
    let now = current(stage);
    if flag("deleteSuperseded") {
        stage.delete_runs("mysql", |generation| Some(generation) != now);
    }
    if flag("deleteCurrent") {
        stage.delete_runs("mysql", |generation| Some(generation) == now);
    }
    if let Some(patch) = step.get("apply") {
        let body = json!({"metadata": {"name": "mysql"}, "spec": document(BUNDLE, patch)});
        stage.model.write("Installation", "mysql", &body);
    }
    let name = format!("ours-{}", stage.model.clock);
    if let Some(command) = step["action"].as_str() {
        stage.command(&name, &command.split(' ').collect::<Vec<_>>(), None);
    }
    if let Some(command) = step["actionWithDocument"].as_str() {
        let document = document(BUNDLE, &json!({"parameters": {"size": 2}}));
        stage.command(&name, &command.split(' ').collect::<Vec<_>>(), Some(document));
    }
    stage.rest();
    stage.wait(step["wait"].as_u64().unwrap_or_default());
}

/// What it comes to.
fn compare(stage: &Stage, step: &Value, told: usize, place: &str) {
    if let Some(condition) = step["until"].as_str() {
        let conditions = if step.get("apply").is_some() {
            let run = stage.model.runs.iter().find(|run| Some(run.generation) == current(stage));
            run.unwrap().conditions
        } else {
            stage.model.ours.last().unwrap().conditions
        };
        assert_eq!(conditions.last(), Some(&condition), "{place}: {}", phase(conditions));
    }
    let last = stage.model.log.last();
    if let Some(action) = step["untilRunning"].as_str() {
        assert_eq!(last.map(|last| (last.action, last.exit)), Some((Some(action), None)), "{place}");
    }
    if let Some(action) = step["finished"].as_str() {
        assert_eq!(last.map(|last| last.action), Some(Some(action)), "{place}");
        assert!(stage.model.jobs.is_empty(), "{place}: it is on");
    }
    if step.get("ran").is_some() {
        let mut recorded: Vec<Ran> = serde_json::from_value(step["ran"].clone()).unwrap();
        recorded.sort();
        assert_eq!(ran(stage, told), recorded, "{place}");
    }
    let contains: Vec<Ran> = serde_json::from_value(step.get("contains").cloned().unwrap_or(json!([]))).unwrap();
    for wanted in contains {
        let ran = ran(stage, told);
        assert!(ran.contains(&wanted), "{place}: {wanted:?} is not among {ran:?}");
    }
}

#[test]
fn sequences_come_to_their_ends() {
    let all: BTreeMap<String, Value> = serde_json::from_str(RECORDED).unwrap();
    let replayed = excepted(&all, &[]);
    for (name, steps) in &replayed {
        let mut stage = Stage::new(Pods::Porter);
        stage.model.configs.insert("default".to_owned(), false);
        let mut told = 0;
        for (number, step) in steps.as_array().unwrap().iter().enumerate() {
            act(&mut stage, step);
            compare(&stage, step, told, &format!("{name}, step {number}"));
            if step.get("ran").is_some() || step.get("contains").is_some() {
                told = stage.model.log.len();
            }
        }
    }
    assert_eq!(replayed.len(), 7, "nothing recorded is left out");
}
