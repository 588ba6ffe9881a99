//! A plain apply that Porter takes for up-to-date: nothing ran, and it reports success. No such run makes anything ready.

use std::collections::BTreeSet;

use crate::support::*;
use api::porter::AgentAction;
use api::{BundleState, ReleaseState};
use plan::{Action, Agent, Plan, Removal};
use serde_json::{Value, json};

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

/// What Porter has of one installation, and what it does with a document or a command (recordings of `porter installation apply`).
#[derive(Clone, Default)]
struct Porter {
    installed: bool,
    uninstalled: bool,
    /// What it compares of the document that it ran last.
    last: Option<Value>,
    /// The bundle's actions that ran.
    acted: Vec<&'static str>,
    /// So many of the next end badly.
    fails: usize,
}

impl Porter {
    fn compared(document: &Value) -> Value {
        let bundle = &document["bundle"];
        let digest = bundle["digest"].as_str().map(str::to_owned);
        let tag = bundle["version"].as_str().or_else(|| bundle["tag"].as_str()).unwrap();
        let digest = digest.unwrap_or_else(|| digest_of(tag));
        let n = &document["parameters"]["n"];
        let n = n.as_f64().or_else(|| n.as_str()?.parse().ok()).unwrap_or(1.0);
        let sets: BTreeSet<&str> =
            document["credentialSets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        json!([digest, n, sets])
    }

    fn act(&mut self, action: &'static str, document: &Value) -> &'static [&'static str] {
        self.acted.push(action);
        self.last = Some(Self::compared(document));
        if self.fails > 0 {
            self.fails -= 1;
            return FAILED;
        }
        self.installed = action != "uninstall";
        self.uninstalled = !self.installed;
        DONE
    }

    fn apply(&mut self, document: &Value, force: bool) -> &'static [&'static str] {
        let down = document["uninstalled"] == true;
        assert!(!(down && force), "that installs");
        match (self.installed, down) {
            (true, true) => self.act("uninstall", document),
            (true, false) if force || self.last != Some(Self::compared(document)) => self.act("upgrade", document),
            (false, false) if force || !self.uninstalled => self.act("install", document),
            _ => DONE,
        }
    }

    fn command(&mut self, action: &AgentAction) -> &'static [&'static str] {
        let document = action.spec.files.values().next().map(|file| serde_json::from_slice(&file.0).unwrap());
        let words: Vec<&str> = action.spec.args.iter().map(String::as_str).collect();
        match (words[1], document) {
            ("apply", Some(document)) => self.apply(&document, words.contains(&"--force")),
            ("uninstall", None) => self.act("uninstall", &Value::Null),
            ("delete", None) if self.uninstalled => {
                (self.installed, self.uninstalled, self.last) = (false, false, None);
                DONE
            }
            ("delete", None) => FAILED,
            other => panic!("{other:?}"),
        }
    }
}

/// One installation: the planner, an operator whose runs end at once, and Porter.
#[derive(Clone)]
struct Flow {
    world: World,
    porter: Porter,
    clock: i64,
}

impl Flow {
    fn new(spec: Value) -> Self {
        let mut world = World::new(vec![desired("mysql", spec)])
            .with_agent("default", agent_config(json!({}), true))
            .with_agent("fast", agent_config(json!({}), true))
            .with_agent("porter-flux", agent_config(once(), true))
            .with_agent("porter-flux-fast", agent_config(once(), true));
        (world.removal, world.agent, world.retries) = (Removal::Uninstall, Agent::Managed, 3);
        Self { world, porter: Porter::default(), clock: 0 }
    }

    /// It is installed with parameter 1, by us.
    fn installed() -> Self {
        let mut flow = Self::new(spec("mysql", 1));
        flow.settles();
        flow.expects("", &["install"]);
        flow
    }

    /// The bundle's actions since the last time.
    fn expects(&mut self, what: &str, acted: &[&str]) {
        assert_eq!(std::mem::take(&mut self.porter.acted), acted, "{what}: {:?}", self.world.steps());
    }

    fn asks(&mut self, spec: Value) {
        self.world.desired.installations = vec![desired("mysql", spec)];
        self.world.revision = format!("main@sha1:{}", self.clock);
    }

    fn state(&self) -> ReleaseState {
        self.world.releases[0].status.as_ref().unwrap().state.unwrap()
    }

    fn is_ready(&self) -> bool {
        self.world.plan().outcome.summary.ready == 1
    }

    /// All is done that is due, with the retries that are to come.
    fn settles(&mut self) {
        for _ in 0..100 {
            let plan = self.world.plan();
            if !plan.is_settled() {
                self.carry_out(&plan);
            } else if plan.outcome.retry_at.is_some() {
                self.world.now += 10_000;
            } else {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.world.steps());
    }

    /// What is noted, and the first thing that is done in the cluster.
    fn carry_out(&mut self, plan: &Plan) {
        for step in plan.due() {
            match &step.action {
                Action::ReleaseStatus { namespace, name, status } => {
                    let named = |release: &&mut api::BundleRelease| {
                        let metadata = &release.metadata;
                        (metadata.namespace.as_ref(), metadata.name.as_ref()) == (Some(namespace), Some(name))
                    };
                    self.world.releases.iter_mut().find(named).unwrap().status = Some((**status).clone());
                    continue;
                }
                Action::RecordRelease(record) => self.record(&record.release),
                Action::MarkRemoved(release) => self.record(release),
                Action::ApplyInstallation(apply) => return self.apply(&apply.id.name, &apply.body),
                Action::Run(action) => return self.run(action),
                Action::Delete(delete) if delete.id.kind == "AgentAction" => {
                    let other = |action: &AgentAction| action.metadata.name.as_ref() != Some(&delete.id.name);
                    self.world.live.ours.values_mut().for_each(|ours| ours.retain(other));
                    self.world.live.installations.values_mut().for_each(|live| live.actions.retain(other));
                    return;
                }
                Action::Delete(delete) if delete.id.kind == "Installation" => {
                    assert!(!self.porter.installed, "it is installed");
                    self.world.live.installations.clear();
                }
                Action::Delete(_) => self.world.releases.clear(),
                Action::LiftFinalizer(_) => self.world.live.installations.clear(),
                other => panic!("{other:?}"),
            }
        }
    }

    fn record(&mut self, release: &api::BundleRelease) {
        let named = |old: &api::BundleRelease| {
            (&old.metadata.namespace, &old.metadata.name) == (&release.metadata.namespace, &release.metadata.name)
        };
        let old = self.world.releases.iter().position(named);
        let mut release = release.clone();
        release.metadata.generation = Some(1);
        match old {
            Some(place) => {
                release.status.clone_from(&self.world.releases[place].status);
                self.world.releases[place] = release;
            }
            None => self.world.releases.push(release),
        }
    }

    fn key(name: &str) -> (String, String) {
        (NAMESPACE.to_owned(), name.to_owned())
    }

    fn apply(&mut self, name: &str, body: &Value) {
        self.clock += 1;
        let old = self.world.live.installations.remove(&Self::key(name));
        let changed = old.as_ref().is_none_or(|old| serde_json::to_value(&old.object.spec).unwrap() != body["spec"]);
        let generation = old.as_ref().map_or(0, |old| old.object.metadata.generation.unwrap()) + i64::from(changed);
        let mut object = installation(name, body["spec"].clone(), generation, true);
        object.metadata.uid = match &old {
            Some(old) => old.object.metadata.uid.clone(),
            None => Some(format!("uid-{}", self.clock)),
        };
        object.metadata.resource_version = Some(format!("v{}", self.clock));
        object.metadata.creation_timestamp = match &old {
            Some(old) => old.object.metadata.creation_timestamp.clone(),
            None => serde_json::from_value(json!(at_second(self.clock))).unwrap(),
        };
        let actions = old.map(|old| old.actions).unwrap_or_default();
        self.world.live.installations.insert(Self::key(name), live(object, actions));
        if changed {
            let end = self.porter.apply(&body["spec"], false);
            self.ran(name, end);
        }
    }

    /// A run of the current generation of an Installation ended so.
    fn ran(&mut self, name: &str, end: &[&str]) {
        self.clock += 1;
        let live = self.world.live.installations.get_mut(&Self::key(name)).unwrap();
        let (generation, uid) = (live.object.metadata.generation.unwrap(), live.object.metadata.uid.clone().unwrap());
        let run = format!("run-{}", self.clock);
        live.actions.push(action(("Installation", name, &uid), &run, generation, self.clock, end));
    }

    fn run(&mut self, command: &AgentAction) {
        self.clock += 1;
        let end = self.porter.command(command);
        let seen = action(("AgentAction", "none", "none"), "any", 0, self.clock, end);
        let mut command = command.clone();
        command.metadata.creation_timestamp = seen.metadata.creation_timestamp;
        command.metadata.uid = Some(format!("uid-{}", self.clock));
        command.status = seen.status;
        let release = command.metadata.labels.as_ref().unwrap()[api::RELEASE_LABEL].clone();
        self.world.live.ours.entry((NAMESPACE.to_owned(), release)).or_default().push(command);
    }

    /// Somebody writes the spec of the Installation.
    fn edited(&mut self, spec: Value) {
        let live = self.world.live.installations.values_mut().next().unwrap();
        let metadata = live.object.metadata.clone();
        live.object = installation("mysql", spec.clone(), metadata.generation.unwrap() + 1, true);
        live.object.metadata.uid = metadata.uid;
        live.object.metadata.creation_timestamp = metadata.creation_timestamp;
        live.object.metadata.resource_version = Some(format!("e{}", self.clock));
        let end = self.porter.apply(&spec, false);
        self.ran("mysql", end);
    }

    /// Somebody deletes the Installation.
    fn deleted(&mut self) {
        self.world.live.installations.clear();
    }
}

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

fn tagged(spec: Value, tag: &str) -> Value {
    with(spec, "bundle", json!({"repository": "example.test/mysql", "tag": tag}))
}

/// What a tag holds.
fn digest_of(tag: &str) -> String {
    porter::digest(&json!(tag))
}

fn pinned(spec: Value, tag: &str) -> Value {
    let bundle = json!({"repository": "example.test/mysql", "digest": digest_of(tag), "tag": tag});
    with(spec, "bundle", bundle)
}

/// An upgrade failed; then something is written in which Porter sees no difference, or sees one.
#[test]
fn a_failed_upgrade_is_not_made_good_by_what_porter_does_not_look_at() {
    let bad = || with(spec("mysql", 2), "credentialSets", json!(["a", "b"]));
    let labelled = |spec| with(spec, "labels", json!({"team": "a"}));
    type Then = fn(&mut Flow);
    let cases: Vec<(&str, Value, Then, &[&str])> = vec![
        ("nothing", bad(), |_| {}, &[]),
        ("a label", bad(), |flow| flow.asks(with(flow.asked(), "labels", json!({"team": "a"}))), &[]),
        (
            "an AgentConfig",
            bad(),
            |flow| {
                flow.world.agent = Agent::None;
                flow.asks(with(flow.asked(), "agentConfig", json!({"name": "fast"})));
            },
            &[],
        ),
        ("another form of a number", bad(), |flow| flow.asks(with(flow.asked(), "parameters", json!({"n": "2"}))), &[]),
        (
            "the order of credential sets",
            bad(),
            |flow| {
                flow.asks(with(flow.asked(), "credentialSets", json!(["b", "a"])));
            },
            &[],
        ),
        (
            "the digest that its tag has",
            tagged(spec("mysql", 2), "one"),
            |flow| flow.asks(pinned(flow.asked(), "one")),
            &[],
        ),
        (
            "a move",
            bad(),
            |flow| {
                flow.deleted();
                flow.world.desired.installations[0].object_name = "db".into();
            },
            &[],
        ),
        ("it is deleted by hand", bad(), Flow::deleted, &[]),
        (
            "it is deleted by hand, and a label changes",
            bad(),
            |flow| {
                flow.deleted();
                flow.asks(with(flow.asked(), "labels", json!({"team": "a"})));
            },
            &[],
        ),
        (
            "a label is edited by hand, and put right",
            bad(),
            |flow| {
                flow.edited(with(flow.asked(), "labels", json!({"by": "hand"})));
            },
            &[],
        ),
        ("a label is taken away", labelled(bad()), |flow| flow.asks(bad_without_labels(flow)), &[]),
        // In these Porter sees a difference.
        ("a parameter", bad(), |flow| flow.asks(with(flow.asked(), "parameters", json!({"n": 3}))), &["upgrade"]),
        ("what ran well", bad(), |flow| flow.asks(spec("mysql", 1)), &["upgrade"]),
        ("a credential set", bad(), |flow| flow.asks(with(flow.asked(), "credentialSets", json!(["c"]))), &["upgrade"]),
        (
            "a version",
            bad(),
            |flow| {
                flow.asks(with(
                    flow.asked(),
                    "bundle",
                    json!({"repository": "example.test/mysql", "version": "0.2.0"}),
                ));
            },
            &["upgrade"],
        ),
        (
            "another digest",
            pinned(spec("mysql", 2), "one"),
            |flow| flow.asks(pinned(flow.asked(), "two")),
            &["upgrade"],
        ),
    ];
    for (what, bad, then, acted) in cases {
        for retries in [0, 1] {
            let mut flow = Flow::installed();
            flow.world.retries = retries;
            flow.porter.fails = usize::try_from(retries).unwrap() + 1;
            flow.asks(bad.clone());
            flow.settles();
            flow.expects(what, &["upgrade", "upgrade"][..=usize::try_from(retries).unwrap()]);
            assert_eq!(flow.state(), ReleaseState::Failed, "{what}");
            then(&mut flow);
            let untouched = flow.world.plan().is_settled();
            flow.settles();
            let truly = match (acted.is_empty(), retries) {
                (false, _) => acted,
                (true, 0) => &[],
                (true, _) if untouched => &[],
                (true, _) => &["upgrade"],
            };
            flow.expects(what, truly);
            assert_eq!(flow.is_ready(), !truly.is_empty(), "{what}: {:?}", flow.world.plan().outcome);
            let status = flow.world.releases[0].status.clone().unwrap();
            let good = status.succeeded.unwrap().digest == flow.world.releases[0].spec.asked.digest;
            assert_eq!(good, !truly.is_empty(), "{what}: only what ran counts");
            assert_eq!(status.bundle, Some(BundleState::Installed), "{what}");
        }
    }
}

impl Flow {
    fn asked(&self) -> Value {
        self.world.desired.installations[0].spec.clone()
    }
}

fn bad_without_labels(flow: &Flow) -> Value {
    let mut spec = flow.asked();
    spec.as_object_mut().unwrap().remove("labels");
    spec
}

/// To Porter, which notes what it runs before it does, the run of the next AgentAction is none.
#[test]
fn a_run_whose_agent_action_is_deleted_is_not_made_good_by_the_next() {
    for (what, asked, cut_off, retries, acted, ready) in [
        ("an upgrade", spec("mysql", 2), true, 0, &["upgrade"][..], false),
        ("an upgrade that may be tried again", spec("mysql", 2), true, 1, &["upgrade", "upgrade"], true),
        ("an uninstall", down(), true, 0, &["uninstall", "uninstall"], true),
        ("one that was over", spec("mysql", 2), false, 0, &["upgrade"], true),
    ] {
        let mut flow = Flow::installed();
        flow.world.retries = retries;
        flow.asks(asked);
        flow.porter.fails = usize::from(cut_off);
        while flow.porter.acted.is_empty() {
            let plan = flow.world.plan();
            flow.carry_out(&plan);
        }
        let on = action(("Installation", "mysql", "uid"), "any", 2, flow.clock, RUNS);
        let last = |flow: &mut Flow| flow.world.live.installations.values_mut().next().unwrap().actions.pop().unwrap();
        let mut lost = last(&mut flow);
        if cut_off {
            lost.status = on.status;
        }
        flow.world.live.installations.values_mut().next().unwrap().actions.push(lost);
        flow.world = flow.world.reported();
        drop(last(&mut flow));
        flow.world = flow.world.reported();
        let end = flow.porter.apply(&flow.asked(), false);
        flow.ran("mysql", end);
        flow.settles();
        flow.expects(what, acted);
        assert_eq!(flow.is_ready(), ready, "{what}: {:?}", flow.world.plan().outcome);
        let status = flow.world.releases[0].status.clone().unwrap();
        let good = status.succeeded.unwrap().digest == flow.world.releases[0].spec.asked.digest;
        assert_eq!(good, ready, "{what}: only what ran counts");
        assert!(status.runs.iter().all(|run| run.result.is_some()), "{what}: {:?}", status.runs);
    }
}

/// Its object goes, and its AgentAction with it, or before it.
#[test]
fn a_run_that_ended_while_nobody_looked_is_not_made_good_by_the_next_object() {
    enum Then {
        Ends(&'static [&'static str]),
        IsCutOff,
    }
    use Then::{Ends, IsCutOff};
    for (what, suspended, held, then, ready) in [
        ("it failed while its sync was suspended", true, true, Ends(FAILED), false),
        ("it ended well while its sync was suspended", true, true, Ends(DONE), true),
        ("its AgentAction goes while its sync is suspended", true, true, IsCutOff, false),
        ("its AgentAction goes while the object is deleted", false, true, IsCutOff, false),
        ("somebody takes our finalizer off", false, false, IsCutOff, false),
    ] {
        let mut flow = Flow::installed();
        flow.world.retries = 0;
        flow.asks(spec("mysql", 2));
        flow.porter.fails = usize::from(!ready);
        while flow.porter.acted.is_empty() {
            let plan = flow.world.plan();
            flow.carry_out(&plan);
        }
        let on = action(("Installation", "mysql", "uid"), "any", 2, flow.clock, RUNS);
        let live = |flow: &mut Flow| flow.world.live.installations.values_mut().next().unwrap().clone();
        let mut object = live(&mut flow);
        object.actions.last_mut().unwrap().status = on.status;
        flow.world = flow.world.with_live("mysql", object.clone()).reported();
        object.object.metadata.generation = Some(3);
        object.object.metadata.deletion_timestamp = object.object.metadata.creation_timestamp.clone();
        match then {
            Ends(conditions) => {
                let ended = action(("Installation", "mysql", "uid"), "any", 2, flow.clock, conditions);
                object.actions.last_mut().unwrap().status = ended.status;
            }
            IsCutOff => drop(object.actions.pop()),
        }
        flow.world = flow.world.with_live("mysql", object);
        if suspended {
            let asked = std::mem::take(&mut flow.world.desired);
            flow.world.removal = Removal::Suspended;
            let plan = flow.world.plan();
            flow.carry_out(&plan);
            assert!(flow.world.live.installations.is_empty(), "{what}: {:?}", flow.world.steps());
            assert!(flow.world.plan().is_settled(), "{what}: {:?}", flow.world.steps());
            (flow.world.desired, flow.world.removal) = (asked, Removal::Uninstall);
        } else if !held {
            flow.deleted();
        }
        flow.settles();
        flow.expects(what, &["upgrade"]);
        assert_eq!(flow.is_ready(), ready, "{what}: {:?}", flow.world.plan().outcome);
        flow.world.retries = 1;
        flow.settles();
        flow.expects(what, if ready { &[] } else { &["upgrade"] });
        assert!(flow.is_ready(), "{what}: {:?}", flow.world.plan().outcome);
    }
}

/// Nothing of it was seen before its sync was suspended.
#[test]
fn what_was_installed_while_nobody_looked_is_uninstalled_though_its_object_is_gone() {
    let mut flow = Flow::new(spec("mysql", 1));
    while flow.porter.acted.is_empty() {
        let plan = flow.world.plan();
        flow.carry_out(&plan);
    }
    assert_eq!(flow.world.releases[0].status, None);
    let object = &mut flow.world.live.installations.values_mut().next().unwrap().object;
    object.metadata.generation = Some(2);
    object.metadata.deletion_timestamp = object.metadata.creation_timestamp.clone();
    flow.world.desired.installations.clear();
    flow.world.removal = Removal::Suspended;
    let plan = flow.world.plan();
    flow.carry_out(&plan);
    flow.world.removal = Removal::Uninstall;
    flow.settles();
    flow.expects("", &["install", "uninstall"]);
    assert!(flow.world.releases.is_empty(), "{:?}", flow.world.releases);
}

/// A deletion is a generation of its own, of the same document.
#[test]
fn what_ended_while_its_object_was_being_deleted_counts() {
    for (what, fails, noted, ready) in [
        ("it failed", 1, true, false),
        ("it failed, and nobody had seen it before", 1, false, false),
        ("it ran well", 0, true, true),
        ("it ran well, and nobody had seen it before", 0, false, true),
    ] {
        let mut flow = Flow::installed();
        flow.world.retries = 0;
        flow.porter.fails = 1;
        flow.asks(spec("mysql", 2));
        flow.settles();
        flow.expects(what, &["upgrade"]);
        flow.asks(spec("mysql", 3));
        flow.porter.fails = fails;
        while flow.porter.acted.is_empty() {
            let plan = flow.world.plan();
            flow.carry_out(&plan);
        }
        let stands =
            |flow: &mut Flow| flow.world.live.installations.values_mut().next().unwrap().actions.pop().unwrap();
        let ended = stands(&mut flow);
        if noted {
            let mut on = ended.clone();
            on.status = action(("Installation", "mysql", "uid"), "any", 3, flow.clock, RUNS).status;
            flow.world.live.installations.values_mut().next().unwrap().actions.push(on);
            flow.world = flow.world.reported();
            drop(stands(&mut flow));
        }
        let live = flow.world.live.installations.values_mut().next().unwrap();
        live.actions.push(ended);
        live.object.metadata.generation = Some(4);
        live.object.metadata.deletion_timestamp =
            Some(flow.world.releases[0].status.clone().unwrap().runs[0].started.clone().unwrap());
        flow.settles();
        flow.expects(what, &["upgrade"]);
        assert_eq!(flow.is_ready(), ready, "{what}: {:?}", flow.world.plan().outcome);
    }
}

/// The run that failed is one of ours, of what ran well before.
#[test]
fn a_failed_rotation_is_not_made_good_by_a_new_object() {
    for (what, to) in [("a move", "db"), ("deleted by hand", "mysql")] {
        let mut flow = Flow::installed();
        flow.world.retries = 0;
        flow.porter.fails = 1;
        let by_hand = |flow: &mut Flow, at: &str| {
            let annotations = flow.world.releases[0].metadata.annotations.get_or_insert_default();
            annotations.insert(api::FORCE_AT.to_owned(), at.to_owned());
        };
        by_hand(&mut flow, "1");
        flow.settles();
        flow.expects("", &["upgrade"]);
        assert_eq!(flow.state(), ReleaseState::Failed, "{what}");
        flow.deleted();
        flow.world.desired.installations[0].object_name = to.into();
        flow.settles();
        flow.expects("", &[]);
        assert_eq!(flow.state(), ReleaseState::Failed, "{what}");
        flow.world.retries = 1;
        flow.settles();
        flow.expects("", &["upgrade"]);
        assert!(flow.is_ready(), "{what}");
    }
}

/// A document that Porter never ran, since its bundle could not be pulled, lies between.
#[test]
fn all_that_failed_since_the_last_good_run_is_remembered() {
    let mut flow = Flow::installed();
    flow.world.retries = 0;
    flow.porter.fails = 1;
    flow.asks(spec("mysql", 2));
    flow.settles();
    flow.expects("", &["upgrade"]);
    flow.asks(spec("mysql", 3));
    // Before Porter did anything.
    while flow.world.live.installations.values().next().unwrap().object.metadata.generation == Some(2) {
        let plan = flow.world.plan();
        let porter = flow.porter.clone();
        flow.carry_out(&plan);
        flow.porter = porter;
    }
    let actions = &mut flow.world.live.installations.values_mut().next().unwrap().actions;
    let failed = action(("Installation", "mysql", "uid"), "any", 3, flow.clock, FAILED);
    actions.last_mut().unwrap().status = failed.status;
    flow.settles();
    assert_eq!(flow.state(), ReleaseState::Failed);
    flow.asks(spec("mysql", 2));
    flow.settles();
    flow.expects("", &[]);
    assert_eq!(flow.state(), ReleaseState::Failed);
    flow.asks(spec("mysql", 1));
    flow.settles();
    flow.expects("", &["upgrade"]);
    assert!(flow.is_ready());
}

/// Its uninstall failed, and is not tried again.
fn half_uninstalled() -> Flow {
    let mut flow = Flow::installed();
    flow.world.retries = 0;
    flow.porter.fails = 1;
    flow.asks(down());
    flow.settles();
    flow.expects("", &["uninstall"]);
    flow
}

/// Half an uninstall is nothing to be ready by.
#[test]
fn what_comes_back_after_a_failed_uninstall_runs() {
    let mut flow = half_uninstalled();
    flow.asks(spec("mysql", 1));
    flow.settles();
    flow.expects("", &[]);
    assert_eq!(flow.state(), ReleaseState::Failed);
    flow.world.retries = 1;
    flow.settles();
    flow.expects("", &["upgrade"]);
    assert!(flow.is_ready());
}

/// What we add to what somebody else made is nothing to Porter.
#[test]
fn a_failed_upgrade_of_somebody_elses_is_not_made_good_by_its_adoption() {
    for first_is_known in [true, false] {
        let mut flow = Flow::new(spec("mysql", 2));
        let object = unowned(installation("mysql", spec("mysql", 2), 2, true));
        let mut runs = vec![run_of("mysql", "their-2", 2, 2, FAILED)];
        if first_is_known {
            runs.push(run_of("mysql", "their-1", 1, 1, DONE));
        }
        flow.world = flow.world.with_live("mysql", live(object, runs));
        flow.clock = 2;
        flow.porter = Porter { installed: true, last: Some(Porter::compared(&spec("mysql", 2))), ..Porter::default() };
        flow.settles();
        flow.expects("", &["upgrade"]);
        assert!(flow.is_ready());
    }
}

/// A document that says uninstalled is all that is known of it.
#[test]
fn what_was_uninstalled_before_anybody_kept_account_is_installed_by_force() {
    let mut flow = Flow::new(spec("mysql", 1));
    let object = unowned(installation("mysql", down(), 2, true));
    flow.world = flow.world.with_live("mysql", live(object, vec![run_of("mysql", "their-2", 2, 2, DONE)]));
    flow.clock = 2;
    flow.porter = Porter { uninstalled: true, last: Some(Porter::compared(&down())), ..Porter::default() };
    flow.settles();
    flow.expects("", &["install"]);
    assert!(flow.is_ready());
}

#[test]
fn a_failed_uninstall_whose_release_is_lost_is_none() {
    let mut flow = half_uninstalled();
    let live = flow.world.live.installations.values_mut().next().unwrap();
    live.actions.retain(|action| action.metadata.labels.as_ref().unwrap().values().any(|value| value == "2"));
    flow.world.releases.clear();
    flow.settles();
    assert_eq!(flow.state(), ReleaseState::Failed);
    flow.world.desired.installations.clear();
    flow.settles();
    flow.expects("", &["uninstall"]);
    assert!(flow.world.releases.is_empty() && flow.world.live.installations.is_empty() && !flow.porter.installed);
}

/// Both are noted by one plan, as after a restart of the controller.
#[test]
fn what_somebody_uninstalls_after_a_command_of_ours_is_uninstalled() {
    let mut flow = Flow::installed();
    flow.world.keep_record = true;
    flow.world.desired.installations.clear();
    flow.settles();
    flow.expects("", &["uninstall"]);
    flow.asks(spec("mysql", 1));
    while flow.porter.acted.is_empty() {
        let plan = flow.world.plan();
        flow.carry_out(&plan);
    }
    flow.expects("by force", &["install"]);
    flow.clock += 10;
    flow.edited(down());
    flow.expects("by hand", &["uninstall"]);
    flow.settles();
    flow.expects("by force", &["install"]);
    assert!(flow.is_ready() && flow.porter.installed);
}

/// Both Kubernetes namespaces share a database of Porter's, which has the record.
#[test]
fn what_was_uninstalled_and_kept_is_installed_by_force_in_another_namespace() {
    for elsewhere in [false, true] {
        let mut flow = Flow::installed();
        flow.world.keep_record = true;
        flow.world.desired.installations.clear();
        flow.settles();
        flow.expects("", &["uninstall"]);
        assert_eq!(flow.state(), ReleaseState::Uninstalled);
        if elsewhere {
            flow.world.releases[0].metadata.namespace = Some("before".into());
        }
        flow.asks(spec("mysql", 1));
        flow.settles();
        flow.expects("", &["install"]);
        assert!(flow.is_ready() && flow.porter.installed);
        // It is like any other from then on.
        flow.asks(spec("mysql", 2));
        flow.settles();
        flow.expects("", &["upgrade"]);
        flow.world.desired.installations.clear();
        flow.settles();
        flow.expects("", &["uninstall"]);
    }
}
