//! What the real operator was recorded doing. Its pods end as the recording says: no Porter is in them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Stage, excepted, phase};
use crate::state::{Object, Pods, Run};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/tests/conformance/operator");

const PARAMETER_SETS: &str = "the model's one ParameterSet is somebody's who never changes the object";

const EXCEPTED: &[(&str, &str)] = &[
    ("agent_config_plugins", "the model's AgentConfigs have no plugins, and so no AgentActions"),
    ("fail_backoff", "a Job of the model has one pod: our AgentConfig sets retryLimit to 0"),
    ("label_clash", "the model's objects have none of the operator's labels: the planner never emits them"),
    ("long_name", "names are refused when documents are read"),
    ("namespace_delete", "the model has one namespace, which stays"),
    ("set_env_source", "such a source is refused when documents are read"),
    ("sets", PARAMETER_SETS),
    ("sets_delete", "the source of the model never drops its set"),
    ("sets_delete_fails", PARAMETER_SETS),
    ("sets_many", PARAMETER_SETS),
];

/// So many of the parts that have a place for a number, and the others as they are.
fn numbered(part: &Value, each: u64) -> Vec<Value> {
    let text = part.to_string();
    match text.contains("{n}") {
        true => (0..each).map(|n| serde_json::from_str(&text.replace("{n}", &format!("{n:02}"))).unwrap()).collect(),
        false => vec![part.clone()],
    }
}

/// The entries of a map, so many of those that have a place for a number.
fn entries(map: &Value, each: u64) -> BTreeMap<String, Value> {
    let pairs = map.as_object().unwrap().iter().flat_map(|(key, value)| numbered(&json!([key, value]), each));
    pairs.map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].clone())).collect()
}

/// Kind, name and generation in `AgentAction of KIND/NAME/GENERATION`.
fn run_of(stage: &Stage, key: &str) -> Option<usize> {
    let mut parts = key.split('/').skip(1);
    let (name, generation) = (parts.next().unwrap(), parts.next().unwrap());
    let is_of = |run: &Run| run.of == name && run.generation.to_string() == generation;
    stage.model.runs.iter().position(is_of)
}

fn apply(stage: &mut Stage, object: &Value) {
    let name = object["metadata"]["name"].as_str().unwrap();
    match object["kind"].as_str().unwrap() {
        "AgentConfig" => {
            let ttl = object["spec"]["ttlSecondsAfterFinished"].as_i64();
            stage.model.configs.insert(name.to_owned(), ttl.is_some_and(|ttl| ttl < 60));
        }
        "Installation" => drop(stage.model.write("Installation", name, object)),
        "AgentAction" => {
            let args: Vec<&str> = object["spec"]["args"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
            stage.command(name, &args, None);
        }
        other => panic!("{other} is applied"),
    }
}

fn delete(stage: &mut Stage, object: &str) {
    match object.split_once(" of ") {
        Some(("AgentAction", key)) => {
            let at = run_of(stage, key).unwrap();
            stage.model.runs.remove(at);
        }
        Some((_, key)) => {
            let at = run_of(stage, key).unwrap();
            stage.model.runs_again(at);
        }
        None => match object.split_once('/').unwrap() {
            ("AgentAction", name) => stage.model.ours.retain(|ours| ours.of != name),
            (_, name) => stage.model.mark_deleted(name),
        },
    }
}

fn patch(stage: &mut Stage, object: &str, with: &Value) {
    let (_, name) = object.split_once('/').unwrap();
    if with["metadata"].get("finalizers").is_some() {
        stage.model.installations.get_mut(name).unwrap().held = false;
        stage.model.collect(name);
    }
    if with["metadata"]["annotations"].get("getporter.org/retry").is_some() {
        let generation = stage.model.installations[name].generation;
        let at = run_of(stage, &format!("Installation/{name}/{generation}")).unwrap();
        stage.model.runs_again(at);
    }
}

/// The phase of an Installation, an AgentAction or an AgentConfig.
fn stands(stage: &Stage, object: &str) -> &'static str {
    if let Some((_, key)) = object.split_once(" of ") {
        let at = run_of(stage, key);
        return at.map_or("Gone", |at| phase(stage.model.runs[at].conditions));
    }
    match object.split_once('/').unwrap() {
        ("AgentConfig", name) => stage.model.configs.get(name).map_or("Gone", |_| "Ready"),
        ("AgentAction", name) => {
            let ours = stage.model.ours.iter().find(|ours| ours.of == name);
            ours.map_or("Gone", |ours| phase(ours.conditions))
        }
        (_, name) => stage.model.installations.get(name).map_or("Gone", |object| phase_of(stage, name, object)),
    }
}

fn phase_of(stage: &Stage, name: &str, object: &Object) -> &'static str {
    let mut runs = stage.model.runs.iter();
    let current = runs.find(|run| run.of == name && run.generation == object.generation);
    current.map_or("Unknown", |run| phase(run.conditions))
}

fn step(stage: &mut Stage, step: &Value, place: &str) {
    if let Some(object) = step.get("apply") {
        apply(stage, object);
    }
    if let Some(object) = step["delete"].as_str() {
        delete(stage, object);
    }
    if let Some(object) = step["patch"].as_str() {
        patch(stage, object, &step["with"]);
    }
    stage.held = (stage.held || step["hold"] == true) && step["release"] != true;
    // The operator remembers nothing, so that a restart changes nothing.
    stage.rest();
    stage.wait(step["wait"].as_u64().unwrap_or_default());
    if let Some(object) = step["await"].as_str() {
        assert_eq!(stands(stage, object), step["until"], "{place}");
        if let Some(generation) = step["generation"].as_i64() {
            let (_, name) = object.split_once('/').unwrap();
            assert_eq!(stage.model.installations[name].generation, generation, "{place}");
        }
    }
    if let Some(pods) = step["awaitPods"].as_u64() {
        assert_eq!(stage.model.log.len() as u64, pods, "{place}");
    }
}

/// Generation and phase of all that stands.
fn objects(stage: &Stage) -> BTreeMap<String, Value> {
    let model = &stage.model;
    let installations = model.installations.iter().map(|(name, object)| {
        (format!("Installation/{name}"), json!([object.generation, phase_of(stage, name, object)]))
    });
    let runs = model.runs.iter().map(|run| {
        (format!("AgentAction of Installation/{}/{}", run.of, run.generation), json!([1, phase(run.conditions)]))
    });
    let ours = model
        .ours
        .iter()
        .map(|ours| (format!("AgentAction of AgentAction/{}/1", ours.of), json!([1, phase(ours.conditions)])));
    installations.chain(runs).chain(ours).collect()
}

#[test]
fn the_operator_comes_to_the_recorded_ends() {
    let mut all = BTreeMap::new();
    for file in std::fs::read_dir(FOLDER).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        all.insert(name, serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap());
    }
    let replayed = excepted(&all, EXCEPTED);
    for (name, scenario) in &replayed {
        let mut stage = Stage::new(Pods::Played);
        let each = scenario["each"].as_u64().unwrap_or_default();
        let pods = scenario["pods"].as_array().into_iter().flatten();
        stage.pods = pods.map(|pod| pod.as_str().unwrap().to_owned()).collect();
        for (number, recorded) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let parts = numbered(recorded, each);
            for part in &parts {
                step(&mut stage, part, &format!("{name}, step {number}: {part}"));
            }
        }
        let end = &scenario["end"];
        assert_eq!(objects(&stage), entries(&end["objects"], each), "{name}");
        let args = |(key, action): (String, Value)| (key, serde_json::from_value(action["args"].clone()).unwrap());
        let actions: BTreeMap<String, Vec<String>> =
            entries(&scenario["actions"], each).into_iter().map(args).collect();
        assert_eq!(stage.seen, actions, "{name}");
        let pods = &end["pods"];
        let range = pods[0].as_u64().unwrap()..=pods[1].as_u64().unwrap();
        assert!(range.contains(&(stage.model.log.len() as u64)), "{name}: {} pods", stage.model.log.len());
    }
    assert_eq!((replayed.len(), EXCEPTED.len()), (39, 10), "nothing recorded is left out");
}
