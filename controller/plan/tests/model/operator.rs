//! The operator, with the Jobs that it makes and Porter in their pods: one step at a time.

use serde_json::Value;

use crate::events::Ends;
use crate::porter::{Begun, Command, token};
use crate::state::{CREDS, Model, Pod, Pods, Read, Run};

const SCHEDULED: &[&str] = &["Scheduled", "Started"];

/// The conditions of what ended.
fn ended(well: bool) -> &'static [&'static str] {
    if well { &["Scheduled", "Started", "Completed"] } else { &["Scheduled", "Started", "Failed"] }
}

/// Without what is empty or zero: the operator's own rewrite of an object drops it.
fn rewritten(spec: &Value) -> Value {
    let is_zero = |value: &Value| {
        *value == false
            || *value == ""
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    let fields = spec.as_object().into_iter().flatten().filter(|(_, value)| !is_zero(value));
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

impl Model {
    /// One step of the operator with one object, or of what runs for it.
    pub(crate) fn operate(&mut self, kind: &'static str, name: &str, ends: Ends) -> bool {
        self.takes_up(kind, name, ends) || self.comes_to_an_end(kind, name, ends)
    }

    /// Its finalizer, an AgentAction, its beginning. `Ends::Early`: what begins never comes to Porter.
    pub(crate) fn takes_up(&mut self, kind: &'static str, name: &str, ends: Ends) -> bool {
        self.handles(kind, name) || self.begins_run(kind, name, ends) || self.begins_ours(kind, name, ends)
    }

    fn handles(&mut self, kind: &'static str, name: &str) -> bool {
        let now = self.tick();
        let object = if kind == "Installation" { self.installations.get_mut(name) } else { self.set.as_mut() };
        let Some(object) = object else { return false };
        if object.deleting {
            let held = std::mem::take(&mut object.touched);
            if held {
                object.version = now;
                self.collect(name);
            }
            return held;
        }
        let ran = self.runs.iter().any(|run| run.uid == object.uid && run.generation == object.generation);
        let spec = rewritten(&object.body["spec"]);
        let differs = spec != object.body["spec"];
        if !object.touched || (ran && differs) {
            (object.touched, object.version) = (true, now);
            object.generation += i64::from(differs);
            object.body["spec"] = spec;
            return true;
        }
        if ran {
            return false;
        }
        let run = Run {
            name: format!("run-{now}"),
            version: now,
            doc: object.body["spec"].clone(),
            kind,
            of: name.to_owned(),
            uid: object.uid.clone(),
            generation: object.generation,
            at: now,
            conditions: &[],
            again: false,
            asked_at: object.asked_at,
            pod: None,
        };
        if let Some(installation) = run.doc["name"].as_str() {
            self.older_again.remove(installation);
        }
        self.runs.push(run);
        true
    }

    /// The oldest AgentAction of an object that waits for its Job.
    fn begins_run(&mut self, kind: &str, name: &str, ends: Ends) -> bool {
        let waits = |run: &Run| run.kind == kind && run.of == name && run.conditions.is_empty();
        let Some(at) = self.runs.iter().position(waits) else { return false };
        let run = self.runs[at].clone();
        let Some(expires) = self.expires(run.doc["agentConfig"]["name"].as_str()) else { return false };
        let pod = if kind == "Installation" {
            let args = ["installation", "apply", "installation.yaml"].map(str::to_owned);
            let installation = run.doc["name"].as_str().unwrap_or_default();
            let last = self.porter.get(installation).and_then(|record| record.last.as_ref());
            let sure = last.is_none_or(|(last, _, well)| *well && last.parameters != run.doc["parameters"]);
            let read = self.reads(&run.doc, run.asked_at, false);
            let read = read.map(|read| Read { clean: read.clean && sure, ..read });
            self.starts(installation, &args, Some(&run.doc), read, (expires, ends))
        } else {
            let args = ["credentials", "apply", "credential-set.yaml"].map(str::to_owned);
            self.starts(CREDS, &args, None, None, (expires, Ends::Well))
        };
        let version = self.tick();
        let run = &mut self.runs[at];
        (run.version, run.conditions, run.pod) = (version, SCHEDULED, Some(pod));
        true
    }

    fn begins_ours(&mut self, kind: &str, of: &str, ends: Ends) -> bool {
        let waits = self.ours.iter().position(|ours| ours.of == of && ours.conditions.is_empty());
        let Some(at) = waits.filter(|_| kind == "Installation") else { return false };
        let ours = self.ours[at].clone();
        let agent = ours.action.spec.agent_config.as_ref().map(|agent| agent.name.clone());
        let Some(expires) = self.expires(agent.as_deref()) else { return false };
        let doc = ours.document.clone();
        let read = doc.as_ref().and_then(|doc| self.reads(doc, ours.asked_at, ours.renews));
        let pod = self.starts(&ours.installation, &ours.action.spec.args, doc.as_ref(), read, (expires, ends));
        if read.is_some_and(|read| read.given != ours.says) {
            self.misread.insert(ours.installation.clone());
        }
        let version = self.tick();
        let ours = &mut self.ours[at];
        (ours.version, ours.conditions, ours.pod) = (version, SCHEDULED, Some(pod));
        true
    }

    /// What a run of a document reads that begins now.
    fn reads(&self, doc: &Value, asked_at: i64, renews: bool) -> Option<Read> {
        let read = Read { given: self.gives(doc), clean: self.changed_at <= asked_at, renews, other: false };
        (doc["uninstalled"] != true).then_some(read)
    }

    /// A pod starts, with a command.
    fn starts(
        &mut self,
        of: &str,
        args: &[String],
        doc: Option<&Value>,
        read: Option<Read>,
        (expires, ends): (bool, Ends),
    ) -> Pod {
        let gone = self.gone.contains(of);
        let asks = matches!(args[1].as_str(), "show" | "logs" | "list" | "delete") || args[0] != "installation";
        let lost = ends == Ends::Early && !asks;
        let begun = match self.pods {
            Pods::Played => Begun::Asks,
            Pods::Checked | Pods::Porter if lost => Begun::Lost,
            Pods::Checked | Pods::Porter => self.begins(of, args, doc),
        };
        if let Some(action) = begun.action().filter(|action| matches!(*action, "install" | "upgrade")) {
            if self.pods == Pods::Checked {
                self.assert_begins(of, action, gone);
            }
            if let Some(read) = read {
                self.assert_renews(of, read);
            }
        }
        if let (Begun::Acts("install" | "upgrade", _), Some(read)) = (&begun, read) {
            self.took.insert(of.to_owned(), read.given);
            self.misread.remove(of);
        }
        let action = match begun {
            Begun::Acts(action, _) => Some(action),
            _ => None,
        };
        let command = Command { of: of.to_owned(), args: args.to_vec(), exit: None, action };
        self.log.push(command);
        Pod { command: self.log.len() - 1, begun, expires }
    }

    /// What of an object ends next.
    pub(crate) fn on(&self, kind: &str, name: &str) -> Option<&Pod> {
        let ours = self.ours.iter().filter(|ours| ours.of == name && !ours.is_final());
        let ours = ours.filter(|_| kind == "Installation").find_map(|ours| ours.pod.as_ref());
        ours.or_else(|| self.runs[self.ends_next(kind, name)?].pod.as_ref())
    }

    /// The oldest run that is on, after those in which Porter runs nothing.
    fn ends_next(&self, kind: &str, name: &str) -> Option<usize> {
        let is_on = |run: &&(usize, &Run)| run.1.kind == kind && run.1.of == name && !run.1.is_final();
        let on: Vec<(usize, &Run)> = self.runs.iter().enumerate().collect();
        let acts = |pod: &Pod| matches!(pod.begun, Begun::Acts(..));
        let on = on.iter().filter(is_on).filter_map(|(at, run)| Some((*at, acts(run.pod.as_ref()?))));
        on.min_by_key(|(at, acts)| (*acts, *at)).map(|(at, _)| at)
    }

    /// A bundle that outlived its Installation, an AgentAction of ours, or the oldest of the operator's.
    pub(crate) fn comes_to_an_end(&mut self, kind: &'static str, name: &str, ends: Ends) -> bool {
        if kind == "Installation" && (self.jobs.remove(name).is_some() || self.ends_ours(name, ends)) {
            return true;
        }
        let Some(at) = self.ends_next(kind, name) else { return false };
        let Some(pod) = self.runs[at].pod.take() else { return false };
        let run = self.runs[at].clone();
        let well = if kind == "Installation" {
            let installation = run.doc["name"].as_str().unwrap_or_default();
            let well = self.over(installation, &pod, ends);
            if !run.again {
                self.note(installation, run.generation, well);
            } else if !well && pod.begun.action().is_some() {
                // It ran what its sets give by now; and the first result holds.
                self.older_again.insert(installation.to_owned());
            }
            well
        } else {
            self.set_ends(&run, &pod, ends == Ends::Well)
        };
        let version = self.tick();
        let run = &mut self.runs[at];
        (run.version, run.conditions, run.pod) = (version, ended(well), Some(pod));
        true
    }

    fn ends_ours(&mut self, of: &str, ends: Ends) -> bool {
        let is_on = self.ours.iter().position(|ours| ours.of == of && !ours.is_final() && ours.pod.is_some());
        let Some(at) = is_on else { return false };
        let Some(pod) = self.ours[at].pod.take() else { return false };
        let ours = self.ours[at].clone();
        let well = self.over(&ours.installation, &pod, ends);
        if ours.document.is_some() {
            self.note(&ours.installation, ours.generation, well);
        }
        let version = self.tick();
        let ours = &mut self.ours[at];
        (ours.version, ours.conditions, ours.pod) = (version, ended(well), Some(pod));
        true
    }

    /// A command ends. `true`: exit code 0.
    fn over(&mut self, of: &str, pod: &Pod, ends: Ends) -> bool {
        let args = self.log[pod.command].args.clone();
        let well = match self.pods {
            Pods::Played => ends == Ends::Well,
            Pods::Checked | Pods::Porter => self.ends(of, &args, pod.begun.clone(), ends),
        };
        self.log[pod.command].exit = Some(i32::from(!well));
        well
    }

    fn set_ends(&mut self, run: &Run, pod: &Pod, well: bool) -> bool {
        self.log[pod.command].exit = Some(i32::from(!well));
        if well {
            let gives = token(&run.doc);
            self.known.insert(CREDS.to_owned(), gives);
            self.read.values_mut().for_each(|read| read.other |= read.given.set != Some(gives));
            self.changed_at = self.tick();
        }
        // An old generation that runs again when its Job expires says nothing of this one.
        let current = self.set.as_ref().is_some_and(|set| set.uid == run.uid && set.generation == run.generation);
        if well && current {
            self.set_well = Some((run.uid.clone(), run.generation));
        }
        well
    }

    /// The AgentActions whose Jobs are over and expire, each by its place in the list of all.
    pub(crate) fn expiring(&self) -> Vec<usize> {
        let of_operator = self.runs.iter().map(|run| (run.is_final(), &run.pod));
        let pods = of_operator.chain(self.ours.iter().map(|ours| (ours.is_final(), &ours.pod)));
        let expires = |(over, pod): (bool, &Option<Pod>)| over && pod.as_ref().is_some_and(|pod| pod.expires);
        pods.enumerate().filter(|(_, run)| expires(*run)).map(|(at, _)| at).collect()
    }

    /// The Job of an AgentAction is gone: it has another.
    pub(crate) fn runs_again(&mut self, at: usize) {
        let now = self.tick();
        if let Some(run) = self.runs.get_mut(at) {
            (run.conditions, run.pod, run.again, run.version) = (&[], None, true, now);
        } else if let Some(ours) = self.ours.get_mut(at - self.runs.len()) {
            (ours.conditions, ours.pod, ours.version) = (&[], None, now);
        }
    }
}
