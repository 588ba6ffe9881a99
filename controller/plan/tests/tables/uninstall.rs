//! Each state that an installation can be in when it leaves the source, and the steps that follow from it.

use crate::support::*;
use api::porter::AgentAction;
use api::{BundleState, ReleaseState, Removed, SyncRef};
use plan::{Reason, Remains, Removal};
use serde_json::Value;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const RUNS: &[&str] = &["Scheduled", "Started"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

/// What left the source: recorded with parameter 1, the Installation at `generation` with `spec` and its runs.
fn left(spec_now: Value, generation: i64, runs: Vec<AgentAction>) -> World {
    let mut world =
        recorded().with_live("mysql", live(installation("mysql", spec_now, generation, true), runs)).reported();
    world.removal = Removal::Uninstall;
    world
}

fn recorded() -> World {
    World::new(vec![]).recorded("mysql", spec("mysql", 1), "main@sha1:0")
}

/// Marked, and begun: what Porter has is in the ledger.
fn begun(mut world: World, bundle: Option<BundleState>) -> World {
    let release = &mut world.releases[0];
    release.spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune: true });
    let status = release.status.get_or_insert_default();
    status.uninstall.get_or_insert_default();
    (status.uid, status.bundle) = (Some("uid-mysql".into()), bundle);
    world.with_agent(api::AGENT_CONFIG, agent_config(once(), true))
}

fn run(generation: i64, conditions: &[&str]) -> AgentAction {
    run_of("mysql", &format!("run-{generation}"), generation, generation, conditions)
}

/// The steps without the reports of states, and names of AgentActions without their hashes.
fn steps(world: &World) -> Vec<String> {
    let steps = world.steps();
    steps.into_iter().filter(|step| !step.starts_with("report ")).collect()
}

#[test]
fn each_state_of_what_left_the_source_gives_its_steps() {
    let installed = || left(spec("mysql", 1), 1, vec![run(1, DONE)]);
    let cases: Vec<(&str, World, &[&str])> = vec![
        ("installed", installed(), &["mark removed installation apps: dev/mysql: no longer in the source"]),
        (
            "installed, its uninstall begun",
            begun(installed(), Some(BundleState::Installed)),
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        ("its run is on", begun(left(spec("mysql", 1), 1, vec![run(1, RUNS)]), None), &[]),
        (
            "the document is written, and the operator has not seen it",
            begun(left(down(), 2, vec![run(1, DONE)]), Some(BundleState::Installed)),
            &[],
        ),
        (
            "the document runs",
            begun(left(down(), 2, vec![run(1, DONE), run(2, RUNS)]), Some(BundleState::Installed)),
            // It would install it again.
            &["delete AgentAction/apps/run-1 of installation apps: dev/mysql: it could run again"],
        ),
        (
            "the document ran before what it superseded went",
            begun(left(down(), 2, vec![run(1, DONE), run(2, DONE)]), Some(BundleState::Installed)),
            &["delete AgentAction/apps/run-1 of installation apps: dev/mysql: it could run again"],
        ),
        (
            "uninstalled",
            begun(left(down(), 2, vec![run(2, DONE)]), Some(BundleState::Uninstalled)),
            &[
                "run porter installation delete mysql --namespace dev for installation apps: dev/mysql: it is uninstalled and Porter has its record",
            ],
        ),
        (
            "forgotten",
            begun(left(down(), 2, vec![run(2, DONE)]), None),
            &["delete Installation/apps/mysql of installation apps: dev/mysql: it is uninstalled"],
        ),
        (
            "forgotten, after an upgrade that failed: uninstalled as what ran well before",
            {
                let mut before = down();
                before["parameters"]["n"] = 0.into();
                let mut world = begun(left(before, 3, vec![run(3, DONE)]), None);
                let status = world.releases[0].status.as_mut().unwrap();
                status.uninstall.as_mut().unwrap().attempts = 1;
                world
            },
            &["delete Installation/apps/mysql of installation apps: dev/mysql: it is uninstalled"],
        ),
        (
            "the document failed",
            begun(left(down(), 2, vec![run(2, FAILED)]), Some(BundleState::Installed)),
            &["run porter installation apply installation.yaml for installation apps: dev/mysql: its uninstall failed"],
        ),
        (
            "the install failed",
            begun(left(spec("mysql", 1), 1, vec![run(1, FAILED)]), Some(BundleState::Tried)),
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        (
            "the install failed, and the document ran",
            begun(left(down(), 2, vec![run(2, DONE)]), Some(BundleState::Tried)),
            &[
                "run porter installation uninstall mysql --namespace dev for installation apps: dev/mysql: an install was tried and none succeeded",
            ],
        ),
        ("the operator is about to run it", begun(left(spec("mysql", 1), 1, vec![]), None), &[]),
        (
            "never ran",
            {
                let mut world = begun(left(spec("mysql", 1), 1, vec![]), None);
                world.live.installations.values_mut().next().unwrap().object.metadata.finalizers =
                    Some(vec![api::FINALIZER.into()]);
                world
            },
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        (
            "the Installation is gone, and the bundle installed",
            {
                let mut world = begun(recorded(), Some(BundleState::Installed));
                world.removal = Removal::Uninstall;
                world
            },
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        (
            "the Installation is gone, and its bundle runs",
            {
                let mut world = begun(recorded(), Some(BundleState::Installed));
                world.removal = Removal::Uninstall;
                let remains = Remains { actions: Vec::new(), job: Some("mysql-job".into()) };
                world.live.remains.insert((NAMESPACE.into(), "mysql".into()), remains);
                world
            },
            &[],
        ),
        (
            "the Installation is gone, and nothing is installed",
            {
                let mut world = begun(recorded(), None);
                world.removal = Removal::Uninstall;
                world
            },
            &["delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: it is uninstalled"],
        ),
        (
            "reinstalled over a kept record, which failed",
            begun(left(down(), 3, vec![run(3, DONE)]), Some(BundleState::Reinstalling)),
            &[
                "run porter installation uninstall mysql --namespace dev for installation apps: dev/mysql: an install was tried and none succeeded",
            ],
        ),
        (
            "the namespace is being deleted",
            {
                let mut world = installed();
                world.live.terminating.insert(NAMESPACE.into());
                world
            },
            &[
                "lift the finalizer of installation apps: dev/mysql: its namespace is being deleted",
                "delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: its namespace is being deleted",
            ],
        ),
        (
            "let go",
            {
                let mut world = installed();
                world.removal = Removal::Orphan;
                world
            },
            &[
                "lift the finalizer of installation apps: dev/mysql: no longer in the source",
                "delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: no longer in the source",
            ],
        ),
        (
            "another sync asks for it",
            {
                let mut world = installed();
                claim(&mut world);
                world
            },
            &["mark removed installation apps: dev/mysql: no longer in the source"],
        ),
        (
            "another sync asks for it, which knows that it may have it",
            {
                let mut world = begun(installed(), Some(BundleState::Installed));
                world.releases[0].status.as_mut().unwrap().uninstall = None;
                claim(&mut world);
                world
            },
            &[],
        ),
        (
            "another sync asks for it, too late",
            {
                let mut world = begun(installed(), Some(BundleState::Installed));
                claim(&mut world);
                world
            },
            &["apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first"],
        ),
        (
            "another sync may ask for it",
            {
                let mut world = installed();
                world.live.unread = Some(other());
                world
            },
            &[],
        ),
    ];
    for (what, world, expected) in cases {
        assert_eq!(steps(&world), expected, "{what}");
    }
}

fn other() -> SyncRef {
    SyncRef { name: "other".into(), namespace: "flux-system".into() }
}

fn claim(world: &mut World) {
    let name = world.releases[0].metadata.name.clone().unwrap();
    world.live.claimed.insert((NAMESPACE.into(), name), other());
}

#[test]
fn nothing_is_begun_while_its_run_is_on() {
    let mut world = left(spec("mysql", 1), 1, vec![run(1, RUNS)]);
    world.releases[0].spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune: true });
    let world = world.reported();
    let status = world.releases[0].status.clone().unwrap();
    assert_eq!(status.state, Some(api::ReleaseState::Uninstalling));
    assert!(status.uninstall.is_none(), "{status:?}");
    // Back in time: nothing but the ledger is written.
    let mut back = world.clone();
    back.desired.installations = vec![desired("mysql", spec("mysql", 1))];
    assert_eq!(steps(&back), ["record installation apps: dev/mysql: back in the source"]);
    // And the other way: once it is over, it begins.
    let mut over = world;
    over.live.installations.values_mut().next().unwrap().actions = vec![run(1, DONE)];
    assert!(over.reported().releases[0].status.as_ref().unwrap().uninstall.is_some());
}

#[test]
fn an_installation_that_no_release_knows_is_taken_up_only_when_we_applied_it() {
    let world = |removal| {
        let mut world =
            World::new(vec![]).with_live("mysql", live(installation("mysql", spec("mysql", 1), 1, true), vec![]));
        world.removal = removal;
        world
    };
    let applied = |mut world: World| {
        world.live.recoverable.insert((NAMESPACE.into(), "mysql".into()));
        world
    };
    const LIFT: &str = "lift the finalizer of Installation/apps/mysql: no longer in the source";
    let cases: Vec<(&str, World, &[&str])> = vec![
        ("a copy", world(Removal::Uninstall), &[LIFT]),
        ("ours", applied(world(Removal::Uninstall)), &["record Installation/apps/mysql: its release is missing"]),
        ("ours, to be let go", applied(world(Removal::Orphan)), &[LIFT]),
        ("ours, and what leaves stays", applied(world(Removal::Keep)), &[]),
        (
            "a copy under another name of one that has a release",
            {
                let mut world = applied(world(Removal::Uninstall));
                world.releases = recorded().releases;
                world.releases[0].spec.object_name = "original".into();
                world.desired.installations = vec![desired("mysql", spec("mysql", 1))];
                world.desired.installations[0].object_name = "original".into();
                let original = installation("original", spec("mysql", 1), 1, true);
                let run = run_of("original", "run-1", 1, 1, DONE);
                world.with_live("original", live(original, vec![run])).reported()
            },
            &["unchanged installation apps: dev/mysql: as asked", LIFT],
        ),
    ];
    for (what, world, expected) in cases {
        assert_eq!(steps(&world), expected, "{what}");
    }
    let release = applied(world(Removal::Uninstall)).plan().steps.into_iter().find_map(|step| match step.action {
        plan::Action::RecordRelease(record) => Some(*record.release),
        _ => None,
    });
    assert_eq!(release.unwrap().spec.asked.spec, spec("mysql", 1));
}

#[test]
fn the_guard_counts_what_goes() {
    let four = || {
        let mut world = World::new(vec![]);
        for name in ["a", "b", "c", "d"] {
            world = world.recorded(name, spec(name, 1), "main@sha1:0");
        }
        world.removal = Removal::Uninstall;
        world.limit = Some(api::Percentage::default());
        world
    };
    let keep = |mut world: World, names: &[&str]| {
        world.desired.installations = names.iter().map(|name| desired(name, spec(name, 1))).collect();
        world
    };
    let of = |world: &World, at: usize| (NAMESPACE.to_owned(), world.releases[at].metadata.name.clone().unwrap());
    let claimed = |mut world: World, at: usize| {
        world.live.claimed.insert(of(&world, at), other());
        world
    };
    let earlier = |mut world: World, names: &[&str]| {
        world.pruned = names.iter().map(|name| id(name).to_string()).collect();
        world
    };
    type Blocked = Option<(usize, usize, usize)>;
    let cases: Vec<(&str, World, Blocked)> = vec![
        ("half", keep(four(), &["a", "b"]), None),
        ("more", keep(four(), &["a"]), Some((3, 2, 4))),
        ("more, confirmed", World { confirmed: true, ..keep(four(), &["a"]) }, None),
        ("what another asks for does not go", claimed(keep(four(), &["a"]), 3), None),
        ("what went before counts", earlier(keep(four(), &["a", "b"]), &["x"]), Some((3, 2, 5))),
        ("what came back does not", earlier(keep(four(), &["a", "b"]), &["a"]), None),
    ];
    for (what, world, expected) in cases {
        let blocked = world.plan().outcome.blocked;
        assert_eq!(blocked.map(|blocked| (blocked.count, blocked.allowed, blocked.total)), expected, "{what}");
    }
    // Nothing is applied, nor refused for good, before it is known who asks for what.
    let mut unread = keep(four(), &["a"]);
    unread.live.unread = Some(other());
    assert!(unread.plan().outcome.blocked.unwrap().unread.is_some());
    // Marked as one that stays, it counts once nobody asks for it any more.
    let mut given_back = keep(four(), &["a"]);
    for release in &mut given_back.releases {
        release.spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune: false });
    }
    assert!(given_back.plan().outcome.blocked.is_some());
}

/// Nobody knows whether an install succeeded before.
#[test]
fn a_release_that_was_written_anew_is_uninstalled_to_its_end() {
    let world = |conditions: &[&str], attempts: i32| {
        let mut world = begun(left(down(), 2, vec![run(2, conditions)]), None);
        world.releases[0].spec.asked.line = 0;
        world.releases[0].status.as_mut().unwrap().uninstall.as_mut().unwrap().attempts = attempts;
        world
    };
    let cases = [
        ("the document ran", world(DONE, 0), "run porter installation delete"),
        ("the document failed", world(FAILED, 0), "run porter installation apply installation.yaml for"),
        ("forgotten", world(DONE, 1), "delete Installation/apps/mysql"),
    ];
    for (what, world, expected) in cases {
        let steps = steps(&world);
        assert!(steps.len() == 1 && steps[0].starts_with(expected), "{what}: {steps:?}");
    }
}

#[test]
fn the_same_installation_in_another_namespace_waits_for_its_uninstall() {
    let mut world = begun(left(spec("mysql", 1), 1, vec![run(1, DONE)]), Some(BundleState::Installed));
    let mut elsewhere = desired("mysql", spec("mysql", 1));
    elsewhere.id.kube_namespace = "team".into();
    world.desired.installations = vec![elsewhere];
    let wait = "; waits: installation apps: dev/mysql has to be uninstalled first";
    assert_eq!(
        steps(&world),
        [
            format!("record installation team: dev/mysql: new in the source{wait}"),
            format!("apply installation team: dev/mysql: new in the source{wait}"),
            "apply installation apps: dev/mysql: no longer in the source: the bundle is uninstalled first".to_owned(),
        ]
    );
    world.releases.clear();
    world.live.installations.clear();
    let steps = steps(&world);
    assert!(steps.len() == 2 && steps.iter().all(|step| !step.contains("waits")), "{steps:?}");
}

/// The command that is due, and no other; the status is written and its result noted, again and again.
struct Uninstalling(World, Vec<String>);

impl Uninstalling {
    fn of(bundle: BundleState) -> Self {
        let world = begun(left(down(), 2, vec![run(2, DONE)]), Some(bundle));
        Self(World { retry: 0, ..world }, Vec::new())
    }

    /// Carries out the command that is due, and gives its words.
    fn ends(&mut self, well: bool) -> String {
        let command = commands(&self.0).pop().unwrap_or_else(|| panic!("no command: {:?}", self.0.steps()));
        let place = (NAMESPACE.to_owned(), self.0.releases[0].metadata.name.clone().unwrap());
        let name = command.metadata.name.clone().unwrap();
        assert!(!self.1.contains(&name), "{name} is there already");
        self.1.push(name.clone());
        let mut ended = action(("AgentAction", "none", "none"), &name, 0, 9, if well { DONE } else { FAILED });
        ended.metadata.labels.clone_from(&command.metadata.labels);
        ended.metadata.owner_references = None;
        ended.spec = command.spec.clone();
        self.0.live.ours.insert(place.clone(), vec![ended]);
        self.0 = self.0.clone().reported();
        self.0.live.ours.remove(&place);
        self.0 = self.0.clone().reported();
        command.spec.args[1..].join(" ")
    }

    fn bundle(&self) -> Option<BundleState> {
        self.0.releases[0].status.as_ref().unwrap().bundle
    }
}

const SHOW: &str = "show mysql --namespace dev";
const LOGS: &str = "logs show --installation mysql --namespace dev";
const LIST: &str = "list --namespace dev";

#[test]
fn what_porter_knows_nothing_of_is_gone_once_it_said_so_twice() {
    for (bundle, command) in [
        (BundleState::Tried, "uninstall mysql --namespace dev"),
        (BundleState::Reinstalling, "uninstall mysql --namespace dev"),
        (BundleState::Uninstalled, "delete mysql --namespace dev"),
    ] {
        let mut uninstall = Uninstalling::of(bundle);
        for round in 0..2 {
            assert_eq!(uninstall.bundle(), Some(bundle), "{round}");
            for (words, well) in [(command, false), (SHOW, false), (LOGS, false), (LIST, true)] {
                assert_eq!(uninstall.ends(well), words, "{bundle:?}, round {round}");
            }
        }
        assert_eq!(uninstall.bundle(), None);
        let next = steps(&uninstall.0);
        assert_eq!(next, ["delete Installation/apps/mysql of installation apps: dev/mysql: it is uninstalled"]);
    }
}

#[test]
fn a_storage_that_does_not_answer_says_nothing() {
    // Each round ends without an answer, or with one that there is a record; none after it may count as the second.
    let unknown = [(SHOW, false), (LOGS, false), (LIST, true)];
    let cases: [&[(&str, bool)]; 3] =
        [&[(SHOW, false), (LOGS, false), (LIST, false)], &[(SHOW, true)], &[(SHOW, false), (LOGS, true)]];
    for between in cases {
        let mut uninstall = Uninstalling::of(BundleState::Tried);
        for round in [&unknown[..], between, &unknown[..], between] {
            assert!(uninstall.ends(false).starts_with("uninstall"));
            for (words, well) in round {
                assert_eq!(uninstall.ends(*well), *words);
            }
            assert_eq!(uninstall.bundle(), Some(BundleState::Tried), "{between:?}");
        }
        assert!(uninstall.ends(true).starts_with("uninstall"));
        assert_eq!(uninstall.ends(true), "delete mysql --namespace dev");
        assert_eq!(uninstall.bundle(), None);
    }
}

#[test]
fn a_record_of_which_nothing_ran_is_uninstalled_by_the_bundle_of_its_document() {
    let plain = "uninstall mysql --namespace dev";
    let named = &format!("{plain} --reference example.test/mysql:v0.1.0");
    for bundle in [BundleState::Tried, BundleState::Reinstalling] {
        let mut uninstall = Uninstalling::of(bundle);
        for words in [plain, named, plain] {
            assert_eq!(uninstall.ends(false), words);
            assert_eq!(uninstall.ends(true), SHOW);
            assert_eq!(uninstall.bundle(), Some(bundle));
        }
        assert_eq!(uninstall.ends(true), *named);
        assert_eq!(uninstall.ends(true), "delete mysql --namespace dev");
        assert_eq!(uninstall.bundle(), None);
    }
}

#[test]
fn a_record_that_porter_refuses_to_delete_may_be_installed() {
    let mut uninstall = Uninstalling::of(BundleState::Uninstalled);
    for words in ["delete mysql --namespace dev", "delete mysql --namespace dev"] {
        assert_eq!(uninstall.bundle(), Some(BundleState::Uninstalled));
        assert_eq!(uninstall.ends(false), words);
        assert_eq!(uninstall.ends(true), SHOW);
    }
    assert_eq!(uninstall.bundle(), Some(BundleState::Tried));
    for words in ["uninstall mysql --namespace dev", "delete mysql --namespace dev"] {
        assert_eq!(uninstall.ends(true), words);
    }
    assert_eq!(uninstall.bundle(), None);
}

#[test]
fn what_ran_well_is_known_until_it_is_forgotten() {
    let mut uninstall = Uninstalling::of(BundleState::Tried);
    let release = &mut uninstall.0.releases[0];
    release.status.as_mut().unwrap().succeeded = Some(release.spec.asked.clone());
    let knows = |uninstall: &Uninstalling| uninstall.0.releases[0].status.as_ref().unwrap().succeeded.is_some();
    assert!(uninstall.ends(true).starts_with("uninstall") && knows(&uninstall));
    assert!(uninstall.ends(true).starts_with("delete") && !knows(&uninstall));
}

/// After a command of ours uninstalled it, a record that stays is no sign that something is installed.
#[test]
fn what_a_command_uninstalled_stays_uninstalled() {
    let mut uninstall = Uninstalling::of(BundleState::Tried);
    assert_eq!(uninstall.ends(true), "uninstall mysql --namespace dev");
    for _ in 0..3 {
        assert_eq!(uninstall.ends(false), "delete mysql --namespace dev");
        assert_eq!(uninstall.ends(true), SHOW);
        assert_eq!(uninstall.bundle(), Some(BundleState::Uninstalled));
    }
    assert_eq!(uninstall.ends(true), "delete mysql --namespace dev");
}

#[test]
fn each_pause_between_tries_of_an_uninstall_is_twice_as_long() {
    let ended = 1_767_225_600 + 9 + 5;
    let world = |failures: i32, now: i64, unknown: i32| {
        let mut world = Uninstalling::of(BundleState::Tried).0;
        (world.retry, world.now) = (60, ended + now);
        let at = serde_json::from_value(serde_json::json!(at_second(14))).unwrap();
        let uninstall = world.releases[0].status.as_mut().unwrap().uninstall.as_mut().unwrap();
        (uninstall.failures, uninstall.failed_at, uninstall.unknown) = (failures, Some(at), unknown);
        world
    };
    for (what, world, due) in [
        ("none failed", world(0, 0, 0), true),
        ("one failed, too early", world(1, 59, 0), false),
        ("one failed, in time", world(1, 60, 0), true),
        ("two failed, too early", world(2, 119, 0), false),
        ("two failed, in time", world(2, 120, 0), true),
        ("many failed, too early", world(30, 3599, 0), false),
        ("many failed, after an hour", world(30, 3600, 0), true),
    ] {
        assert_eq!(commands(&world).len(), usize::from(due), "{what}: {:?}", world.steps());
        let outcome = world.plan().outcome;
        assert_eq!((outcome.retry_at.is_some(), outcome.uninstall_failed.len()), (!due, usize::from(!due)), "{what}");
    }
    for (unknown, told) in [(0, false), (1, true)] {
        let message = world(1, 0, unknown).plan().outcome.uninstall_failed[0].message.clone();
        assert_eq!(message.contains("Porter knows nothing of it, and is asked once more"), told, "{message}");
    }
}

#[test]
fn a_finalizer_is_lifted_with_our_labels_only_where_it_is_let_go_of() {
    let mut orphan = left(spec("mysql", 1), 1, vec![run(1, DONE)]);
    orphan.removal = Removal::Orphan;
    let going = |removal| {
        let mut world = left(spec("mysql", 1), 1, vec![run(1, DONE)]);
        world.removal = removal;
        let object = &mut world.live.installations.values_mut().next().unwrap().object;
        object.metadata.deletion_timestamp = serde_json::from_value(serde_json::json!("2026-01-02T00:00:00Z")).unwrap();
        world
    };
    for (world, disown) in [(orphan, true), (going(Removal::Suspended), false), (going(Removal::Orphan), false)] {
        let lift = world.plan().steps.into_iter().find_map(|step| match step.action {
            plan::Action::LiftFinalizer(lift) => Some((lift, step.reason)),
            _ => None,
        });
        let (lift, reason) = lift.unwrap();
        // What its runs left is looked after by that reason.
        assert_eq!(reason, if disown { Reason::Left } else { Reason::Deleted });
        assert_eq!((lift.disown, lift.resource_version.as_str()), (disown, "100"));
        assert_eq!(lift.finalizers, ["getporter.org/finalizer"], "those of others stay");
    }
}

/// `spec.prune` is false since its uninstall began.
#[test]
fn an_uninstall_that_may_not_go_on_is_told_and_its_record_stays_one() {
    let kept = |mut world: World| {
        world.removal = Removal::Keep;
        world.reported()
    };
    let told = |world: &World| {
        let status = world.releases[0].status.clone().unwrap();
        (status.state.unwrap(), status.message.unwrap())
    };
    let half = begun(left(down(), 2, vec![run(2, DONE)]), Some(BundleState::Installed));
    let waits = "its uninstall has begun, and goes on once spec.prune is true".to_owned();
    assert_eq!(told(&kept(half)), (ReleaseState::Waiting, waits));
    let mut gone = begun(recorded(), Some(BundleState::Uninstalled));
    gone.removal = Removal::Uninstall;
    gone.keep_record = true;
    let gone = gone.reported();
    assert_eq!(told(&gone).0, ReleaseState::Uninstalled);
    assert_eq!(told(&kept(gone.clone())), told(&gone));
    // Its document is back, in a revision that is refused.
    let mut refused = gone.clone();
    for name in ["a", "b", "c"] {
        refused = refused.recorded(name, spec(name, 1), "main@sha1:0");
    }
    refused.desired.installations = vec![desired("mysql", spec("mysql", 1))];
    refused.limit = Some(api::Percentage::default());
    assert!(refused.plan().outcome.blocked.is_some());
    assert_eq!(told(&refused.reported()), told(&gone));
}

/// Nobody saw its first run, and the one that was seen failed: to Porter the document that uninstalls may be none.
#[test]
fn what_may_be_left_beside_a_kept_record_is_uninstalled_by_a_command() {
    let seen =
        |generation: i64, conditions: &[&str]| left(spec("mysql", 1), generation, vec![run(generation, conditions)]);
    let uninstalls = |world: World, keep_record: bool| {
        let mut world = begun(world, Some(BundleState::Installed));
        world.live.installations.values_mut().next().unwrap().actions = vec![run(3, DONE)];
        let object = &mut world.live.installations.values_mut().next().unwrap().object;
        *object = installation("mysql", down(), 3, true);
        world.keep_record = keep_record;
        steps(&world)
    };
    let of = "for installation apps: dev/mysql";
    let command = format!(
        "run porter installation uninstall mysql --namespace dev {of}: an install was tried and none succeeded"
    );
    let forget = format!(
        "run porter installation delete mysql --namespace dev {of}: it is uninstalled and Porter has its record"
    );
    let gone = "delete Installation/apps/mysql of installation apps: dev/mysql: it is uninstalled".to_owned();
    for (what, world, keep_record, expected) in [
        ("nobody saw the first", seen(2, FAILED), true, &command),
        ("its record goes, and tells", seen(2, FAILED), false, &forget),
        ("the first ran well", seen(1, DONE), true, &gone),
        ("the one that was seen ran well", seen(2, DONE), true, &gone),
    ] {
        let planned = uninstalls(world, keep_record);
        assert_eq!(planned.first(), Some(expected), "{what}: {planned:?}");
    }
}
