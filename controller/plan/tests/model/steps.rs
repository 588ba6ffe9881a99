//! The controller carries out what is planned: each step with its precondition, and with what must hold of it.

use std::collections::BTreeSet;

use api::porter::AgentAction;
use api::{BundleRelease, BundleReleaseStatus};
use plan::{Action, Precondition, Reason, Removal, Step};
use serde_json::{Value, json};

use crate::state::{Model, Object, Ours, Run};
use crate::support::World;

impl Model {
    /// Server-side apply with a precondition. `false`: conflict.
    fn apply(&mut self, kind: &'static str, name: &str, body: &Value, precondition: &Precondition) -> bool {
        let old = if kind == "Installation" { self.installations.get(name).cloned() } else { self.set.clone() };
        match &old {
            Some(old) if precondition.resource_version() != old.version.to_string() => return false,
            // Deleted meanwhile: an apply that names a uid creates nothing.
            None if matches!(precondition, Precondition::Version { uid: Some(_), .. }) => return false,
            _ => {}
        }
        let changed = old.as_ref().is_none_or(|old| old.body["spec"] != body["spec"]);
        if kind == "Installation" {
            self.assert_write(name, body, old.as_ref(), changed);
        } else if let Some(old) = old.filter(|_| changed) {
            self.assert_idle(kind, name, &old);
        }
        self.write(kind, name, body);
        true
    }

    fn assert_write(&mut self, name: &str, body: &Value, old: Option<&Object>, changed: bool) {
        let installation = body["spec"]["name"].as_str().unwrap().to_owned();
        if changed {
            self.assert_owed(&installation);
            self.assert_asks(&installation, &body["spec"]);
        }
        let Some(old) = old else {
            assert!(!self.jobs.contains_key(name), "{name}: made again while the bundle runs");
            self.assert_turn(&installation, &body["spec"]);
            return;
        };
        assert!(!old.deleting, "{name}: written while it is deleted");
        let removed =
            |release: &BundleRelease| release.spec.installation.name == installation && release.spec.removed.is_some();
        let uninstalled = old.is_foreign() && self.releases.values().any(removed);
        assert!(!uninstalled, "{name}: somebody else's is uninstalled");
        if !changed {
            return;
        }
        self.assert_idle("Installation", name, old);
        if body["spec"]["uninstalled"] != true {
            self.assert_set(name);
        }
        // That of somebody else's was about to run anyway.
        if !old.is_foreign() {
            self.assert_turn(&installation, &body["spec"]);
        }
    }

    pub(crate) fn reconcile(&mut self, view: &World, steps: usize) -> bool {
        let plan = view.plan();
        let whole = plan.due().count() <= steps;
        let mut blocked = BTreeSet::new();
        let mut wrote = whole && plan.outcome.again;
        for step in plan.due().take(steps) {
            if blocked.contains(&step.subject) {
                continue;
            }
            wrote = true;
            let done = self.as_seen(view, step)
                && match &step.action {
                    Action::Run(action) => self.command(action, matches!(step.reason, Reason::Inputs { .. })),
                    Action::Delete(delete) => self.delete(&delete.id.kind, &delete.id.name, &delete.resource_version),
                    Action::LiftFinalizer(lift) => self.lift(&lift.id.name, &lift.resource_version),
                    Action::ApplySet(apply) if apply.id.kind == "AgentConfig" => {
                        self.configs.insert(api::AGENT_CONFIG.to_owned(), false);
                        true
                    }
                    Action::ApplySet(apply) => {
                        self.apply("CredentialSet", &apply.id.name, &apply.body, &apply.precondition)
                    }
                    Action::ApplyInstallation(apply) => {
                        let name = &apply.body["spec"]["name"];
                        let release = self.releases.values().find(|r| *name == r.spec.installation.name.as_str());
                        let recorded = release.expect("recorded before it is written").spec.clone();
                        assert_eq!(recorded.object_name, apply.id.name);
                        if self.asked.contains_key(name.as_str().unwrap()) && recorded.removed.is_none() {
                            let written = Self::as_document(&apply.body["spec"]);
                            let status = release.and_then(|release| release.status.as_ref());
                            let good = status.and_then(|status| status.succeeded.as_ref());
                            match status.and_then(|status| status.rolled_back.as_ref()) {
                                Some(given_up) if given_up.digest == recorded.asked.digest => {
                                    assert!(self.rollback, "rolled back, and nobody asks for it");
                                    assert_eq!(good.unwrap().spec, written, "returned to what ran well");
                                }
                                _ => assert_eq!(recorded.asked.spec, written, "written as recorded"),
                            }
                        }
                        self.apply("Installation", &apply.id.name, &apply.body, &apply.precondition)
                    }
                    Action::RecordRelease(record) => self.store(&record.release, record.create),
                    Action::MarkRemoved(release) => self.store(release, false),
                    Action::ReleaseStatus { name, status, .. } => {
                        let old = &self.releases[name];
                        let begun = old.status.as_ref().is_some_and(|status| status.uninstall.is_some());
                        if status.uninstall.is_some() && !begun {
                            self.assert_last(old);
                        }
                        let given_up = |status: &BundleReleaseStatus| status.rolled_back.is_some();
                        if given_up(status) && !old.status.as_ref().is_some_and(given_up) {
                            self.owes(&old.spec.installation.name.clone());
                        }
                        self.releases.get_mut(name).map(|release| release.status = Some((**status).clone())).is_some()
                    }
                    other => panic!("{other:?}"),
                };
            if !done {
                blocked.insert(step.subject.clone());
            }
        }
        // The status of a suspended sync stays as it is.
        let whole = whole && view.removal != Removal::Suspended;
        if whole {
            self.noted = plan.outcome.ran.first().cloned();
        }
        if let Some((_, handled)) = self.force.as_mut().filter(|force| view.force.as_ref() == Some(*force)) {
            *handled |= whole && blocked.is_empty();
        }
        wrote
    }

    fn store(&mut self, new: &BundleRelease, create: bool) -> bool {
        let name = new.metadata.name.clone().unwrap();
        match self.releases.get_mut(&name) {
            Some(_) if create => false,
            Some(old) => {
                if old.spec != new.spec {
                    old.metadata.generation = old.metadata.generation.map(|generation| generation + 1);
                }
                old.spec = new.spec.clone();
                true
            }
            None => {
                let mut new = new.clone();
                new.metadata.generation = Some(1);
                new.metadata.uid = Some(format!("uid-release-{}", self.clock));
                self.clock += 1;
                self.releases.insert(name, new);
                true
            }
        }
    }

    /// Before what cannot be taken back, the runs are read from the API server.
    fn as_seen(&self, view: &World, step: &Step) -> bool {
        let grave = match &step.action {
            Action::Run(_) | Action::Delete(_) => true,
            Action::LiftFinalizer(_) => step.reason == Reason::Deleted,
            Action::ApplyInstallation(apply) => apply.body["spec"]["uninstalled"] == true,
            _ => false,
        };
        let version = |action: &AgentAction| {
            (action.metadata.name.clone().unwrap(), action.metadata.resource_version.clone().unwrap())
        };
        let of_objects = view.live.installations.values().flat_map(|live| &live.actions);
        let seen: BTreeSet<_> = of_objects.chain(view.live.ours.values().flatten()).map(version).collect();
        let runs = self.runs.iter().filter(|run| run.kind == "Installation");
        let stands = runs.map(|run| (run.name.clone(), run.version.to_string()));
        !grave || stands.chain(self.ours.iter().map(|ours| version(&ours.seen()))).all(|now| seen.contains(&now))
    }

    fn command(&mut self, action: &AgentAction, renews: bool) -> bool {
        let name = action.metadata.name.clone().unwrap();
        if self.ours.iter().any(|ours| ours.action.metadata.name.as_ref() == Some(&name)) {
            return false;
        }
        let release = &action.metadata.labels.as_ref().unwrap()[api::RELEASE_LABEL];
        let of = self.releases[release].spec.object_name.clone();
        assert!(self.configs.contains_key(api::AGENT_CONFIG), "{name}: its Job would expire");
        if let Some(value) = action.metadata.annotations.as_ref().and_then(|annotations| annotations.get(api::INVOKE)) {
            let release = &self.releases[release];
            let uid = release.metadata.uid.clone().unwrap();
            assert!(self.invoked.insert((uid, value.clone())), "{name}: {value} is invoked once more");
            assert!(release.status.as_ref().unwrap().uninstall.is_none(), "{name}: during an uninstall");
            let record = &self.porter[&release.spec.installation.name];
            let asked = &release.spec.asked.spec["parameters"];
            // Where its Job expired before anybody saw that it failed, all that is seen is the repetition, in which nothing ran.
            let well = |well: bool| well || self.expired;
            let stands = record.is_installed()
                && record.last.as_ref().is_some_and(|(last, _, ended)| last.parameters == *asked && well(*ended));
            assert!(
                stands || self.older_again.contains(&release.spec.installation.name),
                "{name}: before what is asked stands: {record:?}"
            );
        }
        if let Some(forced) = action.metadata.labels.as_ref().unwrap().get(api::FORCED_LABEL) {
            let uid = self.releases[release].metadata.uid.clone().unwrap();
            assert!(self.forced.insert((uid, forced.clone())), "{name}: run by hand once more");
        }
        self.assert_over(&of, &name);
        let document = action.spec.files.get("installation.yaml");
        let document = document.map(|file| serde_json::from_slice::<Value>(&file.0).unwrap());
        let installation = self.releases[release].spec.installation.name.clone();
        let runs = matches!(
            action.metadata.labels.as_ref().unwrap()[api::PURPOSE_LABEL].as_str(),
            "apply" | "force" | "invoke"
        );
        let down = document.as_ref().is_some_and(|document| document["uninstalled"] == true);
        assert!(!down || !action.spec.args.iter().any(|arg| arg == "--force"), "{name}: by force that installs");
        if runs && !down {
            self.assert_set(&name);
        }
        if let Some(document) = &document {
            self.assert_asks(&installation, document);
        }
        self.assert_turn(&installation, document.as_ref().unwrap_or(&json!({"uninstalled": true})));
        let says = self.says(document.as_ref().unwrap_or(&Value::Null));
        let now = self.tick();
        let generation = action.metadata.labels.as_ref().unwrap()[api::GENERATION_LABEL].parse().unwrap();
        self.ours.push(Ours {
            action: action.clone(),
            document,
            of,
            installation,
            generation,
            at: now,
            version: now,
            conditions: &[],
            asked_at: self.viewed_at,
            renews,
            says,
            pod: None,
        });
        true
    }

    fn delete(&mut self, kind: &str, name: &str, version: &str) -> bool {
        match kind {
            "AgentAction" => {
                if let Some(at) = self.ours.iter().position(|ours| ours.action.metadata.name.as_deref() == Some(name)) {
                    assert!(self.ours[at].is_final(), "{name}: deleted while it runs");
                    self.ours.remove(at);
                    return true;
                }
                let Some(at) = self.runs.iter().position(|run| run.name == name) else { return true };
                let run = &self.runs[at];
                let foreign = self.installations.values().any(|object| object.uid == run.uid && object.is_foreign());
                assert!(!foreign, "{name}: somebody else's is deleted");
                if run.version.to_string() != version {
                    return false;
                }
                assert!(run.is_final(), "{name}: deleted while it runs");
                if self.set.as_ref().is_some_and(|set| set.uid == run.uid && set.generation == run.generation) {
                    let noted = self.noted.as_ref().and_then(|noted| noted.again.as_deref());
                    assert_eq!(noted, Some(name), "{name}: it runs again, and that is not noted");
                }
                let current = self.installations.get(&run.of).is_some_and(|object| {
                    object.uid == run.uid && object.generation == run.generation && !object.deleting
                });
                assert!(!current, "{name}: the operator makes it anew");
                self.runs.remove(at);
            }
            "Installation" => {
                let Some(object) = self.installations.get(name) else { return true };
                if object.version.to_string() != version {
                    return false;
                }
                let stood = Self::as_document(&object.body["spec"]);
                let of = stood["name"].as_str().unwrap();
                let release = self.releases.values().find(|release| release.spec.installation.name == of);
                let ran_well = self.well.get(of) == Some(&(object.uid.clone(), object.generation));
                if !ran_well || release.is_some_and(|release| release.spec.asked.spec != stood) {
                    self.unsure.insert(of.to_owned());
                }
                assert!(!object.is_foreign(), "{name}: somebody else's is deleted");
                let of = object.body["spec"]["name"].as_str().unwrap();
                let moves = self.asked.contains_key(of) && self.objects[of] != name;
                assert!(moves || !self.dirty.contains(of), "{name}: deleted while it may be installed");
                assert!(!moves || self.releases.values().any(|release| release.spec.installation.name == of));
                self.assert_over(name, name);
                self.mark_deleted(name);
            }
            "BundleRelease" => {
                let Some(release) = self.releases.get(name) else { return true };
                let of = &release.spec.object_name;
                let installation = &release.spec.installation.name;
                let foreign = self.object_of(installation).is_some_and(Object::is_foreign);
                assert!(foreign || !self.dirty.contains(installation), "{of}: forgotten while it may be installed");
                let holds =
                    |object: &Object| object.body["spec"]["name"] == installation.as_str() && !object.is_foreign();
                assert!(!self.installations.values().any(holds), "{of}: forgotten before its Installation is gone");
                assert!(
                    self.ours.iter().all(|ours| !ours.is_for(name)),
                    "{of}: forgotten before our AgentActions are gone"
                );
                self.releases.remove(name);
            }
            other => panic!("{other} {name} deleted"),
        }
        true
    }

    fn lift(&mut self, name: &str, version: &str) -> bool {
        let now = self.tick();
        let Some(object) = self.installations.get_mut(name) else { return true };
        if object.version.to_string() != version {
            return false;
        }
        assert!(object.deleting, "{name}: let go of");
        let mut runs = self.runs.iter().filter(|run| run.uid == object.uid && !(self.stale && run.again));
        assert!(runs.all(Run::is_final), "{name}: let go of while it runs");
        (object.held, object.version) = (false, now);
        self.collect(name);
        true
    }
}
