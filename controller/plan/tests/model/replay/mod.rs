//! The model does what was recorded of the real operator and of the real Porter. The planner has no part in this: who
//! applies, deletes and waits is the recording.
//!
//! What the model cannot express is excepted by its name, with the reason; what is neither replayed nor excepted fails.

mod operator;
mod porter;
mod sequences;

use std::collections::BTreeMap;

use api::porter::AgentAction;
use serde_json::{Value, json};

use crate::events::Ends;
use crate::porter::Begun;
use crate::state::{Model, Ours, Pods};

/// An Installation's document, with these fields besides the usual ones.
fn document(bundle: &str, patch: &Value) -> Value {
    let mut document = json!({
        "schemaVersion": "1.0.2", "name": "mysql", "namespace": "dev",
        "bundle": {"repository": bundle, "version": "0.1.0"},
    });
    for (field, value) in patch.as_object().into_iter().flatten() {
        document[field] = value.clone();
    }
    document
}

/// What is left of all that was recorded.
fn excepted(all: &BTreeMap<String, Value>, excepted: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let mut left = all.clone();
    for (name, reason) in excepted {
        println!("EXCEPTED {name}: {reason}");
        assert!(left.remove(*name).is_some(), "{name} is excepted, and nobody recorded it");
    }
    left
}

/// The cluster that a recording is played on.
struct Stage {
    model: Model,
    /// Bundles go on until they are released.
    held: bool,
    /// How the first, second, ... pod ends, and those after the last.
    pods: Vec<String>,
    /// So many of the next bundle actions fail.
    fail: usize,
    /// The arguments of all AgentActions that were seen, by kind, name and generation of what they are for.
    seen: BTreeMap<String, Vec<String>>,
}

impl Stage {
    fn new(pods: Pods) -> Self {
        let mut model = Model::new();
        model.pods = pods;
        model.configs.clear();
        Self { model, held: false, pods: Vec::new(), fail: 0, seen: BTreeMap::new() }
    }

    /// Lets everything happen that is about to.
    fn rest(&mut self) {
        for _ in 0..1_000 {
            let of_ours = self.model.ours.iter().map(|ours| ours.of.clone());
            let jobs = self.model.jobs.keys().cloned();
            let mut names: Vec<String> = self.model.installations.keys().cloned().chain(of_ours).chain(jobs).collect();
            names.dedup();
            let mut moved = false;
            for name in &names {
                moved |= self.model.takes_up("Installation", name, Ends::Well);
            }
            self.see();
            if moved {
                continue;
            }
            for name in &names {
                moved |= self.end(name);
            }
            if !moved {
                return;
            }
        }
        panic!("it never rests");
    }

    /// What is on of an object ends, unless it is held.
    fn end(&mut self, name: &str) -> bool {
        let Some(pod) = self.model.on("Installation", name).cloned() else {
            return !self.held && self.model.comes_to_an_end("Installation", name, Ends::Well);
        };
        let acts = matches!(pod.begun, Begun::Acts(..));
        if self.held && (acts || self.model.pods == Pods::Played) {
            return false;
        }
        let told = self.pods.get(pod.command).or(self.pods.last());
        let fails = told.is_some_and(|told| told == "Failed") || (acts && self.fail > 0);
        self.fail -= usize::from(fails && self.fail > 0);
        self.model.comes_to_an_end("Installation", name, if fails { Ends::Badly } else { Ends::Well })
    }

    fn see(&mut self) {
        let of_operator =
            self.model.runs.iter().map(|run| (format!("{}/{}/{}", run.kind, run.of, run.generation), &run.pod));
        let ours = self.model.ours.iter().map(|ours| (format!("AgentAction/{}/1", ours.of), &ours.pod));
        for (key, pod) in of_operator.chain(ours) {
            if let Some(pod) = pod {
                self.seen.insert(key, self.model.log[pod.command].args.clone());
            }
        }
    }

    /// The Jobs that are over and have a short life expire, each time that it is over, for so many seconds.
    fn wait(&mut self, seconds: u64) {
        // A life of 3 seconds, and what goes by until the pod ran again.
        for _ in 0..seconds / 6 {
            for at in self.model.expiring() {
                self.model.runs_again(at);
            }
            self.rest();
        }
    }

    /// Somebody makes an AgentAction.
    fn command(&mut self, name: &str, args: &[&str], document: Option<Value>) {
        let spec = json!({"args": args});
        let action: AgentAction = serde_json::from_value(json!({
            "apiVersion": "getporter.org/v1", "kind": "AgentAction", "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap();
        let at = self.model.tick();
        let says = self.model.says(document.as_ref().unwrap_or(&Value::Null));
        self.model.ours.push(Ours {
            action,
            document,
            of: name.to_owned(),
            installation: "mysql".to_owned(),
            generation: 0,
            at,
            version: at,
            conditions: &[],
            asked_at: at,
            renews: false,
            says,
            pod: None,
        });
    }

    /// Somebody deletes the AgentActions of an Installation of which this holds.
    fn delete_runs(&mut self, of: &str, chosen: impl Fn(i64) -> bool) {
        self.model.runs.retain(|run| run.of != of || !chosen(run.generation));
    }
}

/// The phase that conditions mean.
fn phase(conditions: &[&str]) -> &'static str {
    match conditions.last() {
        Some(&"Completed") => "Succeeded",
        Some(&"Failed") => "Failed",
        Some(_) => "Running",
        None => "Pending",
    }
}
