//! What comes before what, and how many at once.

use crate::support::*;
use api::{BundleState, ReleaseState, UninstallStatus};
use plan::{Action, Live, LiveInstallation, Removal};
use porter::DesiredInstallation;
use serde_json::Value;

const WELL: &[&str] = &["Scheduled", "Started", "Completed"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];
const RUNS: &[&str] = &["Scheduled", "Started"];

fn on(name: &str, spec: Value, depends_on: &[&str]) -> DesiredInstallation {
    let depends_on = depends_on.iter().map(|name| id(name)).collect();
    DesiredInstallation { depends_on, ..desired(name, spec) }
}

fn down(name: &str) -> Value {
    let mut spec = spec(name, 1);
    spec["uninstalled"] = true.into();
    spec
}

/// An Installation that the operator has run with this end.
fn ran(name: &str, spec: Value, conditions: &[&str]) -> LiveInstallation {
    live(installation(name, spec, 1, true), vec![run_of(name, &format!("run-{name}"), 1, 1, conditions)])
}

/// What begins now: the objects that are applied, and the commands that are run.
fn begins(world: &World) -> Vec<String> {
    let plan = world.plan();
    let begun = plan.due().filter_map(|step| match &step.action {
        Action::ApplyInstallation(apply) => Some(apply.id.name.clone()),
        Action::Run(action) => Some(format!("{} {}", action.spec.args[1], step.subject)),
        _ => None,
    });
    begun.collect()
}

fn waits(world: &World, name: &str) -> String {
    let plan = world.plan();
    let of = format!("installation {}:", id(name));
    let outcome = plan.outcome;
    let told = [&outcome.waiting, &outcome.failed, &outcome.uninstalling, &outcome.uninstall_failed];
    let mut told = told.into_iter().flatten().map(|told| format!("{}: {}", told.subject, told.message));
    told.find(|told| told.starts_with(&of)).unwrap_or_default()
}

/// `web` depends on `db`; both as they were at first, and `web` asks for something new.
fn stack(db: Value, web: Value, first: Value, live_db: Option<LiveInstallation>) -> World {
    let mut world = World::new(vec![on("web", web, &["db"]), on("db", db, &[])])
        .recorded("web", first.clone(), "main@sha1:0")
        .with_live("web", ran("web", first, WELL));
    if let Some(live) = live_db {
        world = world.recorded("db", spec("db", 1), "main@sha1:0").with_live("db", live);
    }
    world.reported()
}

#[test]
fn an_installation_waits_for_what_it_depends_on() {
    let (one, two) = (|| spec("web", 1), || spec("web", 2));
    let db = |n: i64| spec("db", n);
    let cases: Vec<(&str, World, &[&str], &str)> = vec![
        (
            "nothing is there",
            World::new(vec![on("web", one(), &["db"]), on("db", db(1), &[])]),
            &["db"],
            "has to succeed first",
        ),
        ("it succeeded", stack(db(1), two(), one(), Some(ran("db", db(1), WELL))), &["web"], ""),
        ("it runs", stack(db(1), two(), one(), Some(ran("db", db(1), RUNS))), &[], "has to succeed first"),
        ("it failed", stack(db(1), two(), one(), Some(ran("db", db(1), FAILED))), &[], "which it depends on, failed"),
        (
            "it is asked for more",
            stack(db(2), two(), one(), Some(ran("db", db(1), WELL))),
            &["db"],
            "has to succeed first",
        ),
        (
            "nothing new is asked of the dependant",
            stack(db(2), one(), one(), Some(ran("db", db(1), WELL))),
            &["db"],
            "",
        ),
        ("it failed, and nothing new is asked", stack(db(1), one(), one(), Some(ran("db", db(1), FAILED))), &[], ""),
        (
            "its AgentAction is gone, and its success is noted",
            {
                let mut world = stack(db(1), two(), one(), Some(ran("db", db(1), WELL)));
                world.live.installations.get_mut(&(NAMESPACE.into(), "db".into())).unwrap().actions.clear();
                world
            },
            &["web"],
            "",
        ),
        (
            "only a label differs",
            {
                let mut world = stack(db(1), one(), one(), Some(ran("db", db(1), FAILED)));
                world.desired.installations[0].labels.insert("team".into(), "a".into());
                world
            },
            &["web"],
            "",
        ),
    ];
    for (what, world, expected, words) in cases {
        assert_eq!(begins(&world), expected, "{what}: {:?}", world.steps());
        let told = waits(&world, "web");
        assert!(told.contains(words) && told.is_empty() == words.is_empty(), "{what}: {told:?}");
    }
}

#[test]
fn a_failure_stops_all_that_depend_on_it() {
    let asked = vec![
        on("a", spec("a", 1), &[]),
        on("b", spec("b", 1), &["a"]),
        on("c", spec("c", 1), &["a", "b"]),
        on("d", spec("d", 1), &[]),
    ];
    let world = World::new(asked)
        .recorded("a", spec("a", 1), "main@sha1:0")
        .with_live("a", ran("a", spec("a", 1), FAILED))
        .reported();
    assert_eq!(begins(&world), ["d"]);
    let told: Vec<String> =
        world.plan().outcome.stopped.into_iter().map(|told| format!("{}: {}", told.subject, told.message)).collect();
    assert_eq!(
        told,
        [
            "installation apps: dev/b: installation apps: dev/a, which it depends on, failed",
            "installation apps: dev/c: installation apps: dev/a, which it depends on, failed",
        ]
    );
    let summary = world.plan().outcome.summary;
    assert_eq!((summary.total, summary.failed, summary.waiting), (4, 1, 3));
}

#[test]
fn another_order_alone_is_recorded_and_runs_nothing() {
    let one = spec("web", 1);
    let world = stack(spec("db", 1), one.clone(), one, Some(ran("db", spec("db", 1), WELL)));
    let steps = world.steps();
    assert_eq!(
        steps,
        [
            "unchanged installation apps: dev/db: as asked",
            "record installation apps: dev/web: it depends on other installations than before"
        ]
    );
    let Action::RecordRelease(record) = &world.plan().steps[1].action.clone() else { panic!("{steps:?}") };
    let asked = &record.release.spec.asked;
    assert_eq!(
        (asked.depends_on.clone(), asked.revision.as_str()),
        (vec![id("db")], "main@sha1:0"),
        "the spec is as it was"
    );
    let mut recorded = world.clone();
    recorded.releases[0].spec = record.release.spec.clone();
    let recorded = recorded.reported();
    assert!(recorded.plan().is_settled(), "{:?}", recorded.steps());
    let succeeded = recorded.releases[0].status.as_ref().unwrap().succeeded.as_ref().unwrap();
    assert_eq!(succeeded.depends_on, [id("db")]);
}

#[test]
fn retries_wait_for_what_comes_first() {
    let retried = |db: &[&str]| {
        let mut world = World::new(vec![on("web", spec("web", 1), &["db"]), on("db", spec("db", 1), &[])])
            .recorded("web", spec("web", 1), "main@sha1:0")
            .recorded("db", spec("db", 1), "main@sha1:0")
            .with_live("web", ran("web", spec("web", 1), FAILED))
            .with_live("db", ran("db", spec("db", 1), db))
            .with_agent("porter-flux", agent_config(once(), true))
            .reported();
        world.retries = 1;
        world
    };
    assert_eq!(begins(&retried(WELL)), ["apply installation apps: dev/web"]);
    let runs = retried(RUNS);
    assert!(
        begins(&runs).is_empty() && waits(&runs, "web").contains("it is tried again after: installation apps: dev/db"),
        "{:?}",
        waits(&runs, "web")
    );
}

/// All of these were installed, left the source, and their uninstall may begin.
fn left(depends_on: &[(&str, &[&str])]) -> World {
    let mut world = World::new(Vec::new());
    for (name, _) in depends_on {
        world = world.recorded(name, spec(name, 1), "main@sha1:0").with_live(name, ran(name, spec(name, 1), WELL));
    }
    world.desired.installations = depends_on.iter().map(|(name, others)| on(name, spec(name, 1), others)).collect();
    world = world.reported();
    for (release, (_, others)) in world.releases.iter_mut().zip(depends_on) {
        release.spec.asked.depends_on = others.iter().map(|name| id(name)).collect();
        release.spec.removed = Some(api::Removed { revision: "main@sha1:1".into(), prune: true });
        release.status.as_mut().unwrap().bundle = Some(BundleState::Installed);
    }
    world.desired.installations.clear();
    world.removal = Removal::Uninstall;
    world
}

/// The names whose uninstall begins, or goes on, with a plan.
fn uninstalls(world: &World) -> Vec<String> {
    let plan = world.plan();
    let begun = plan.due().filter_map(|step| match &step.action {
        Action::ReleaseStatus { status, .. } if status.uninstall.is_some() => Some(step.subject.to_string()),
        Action::ApplyInstallation(apply) => Some(apply.id.name.clone()),
        _ => None,
    });
    begun.collect()
}

#[test]
fn what_depends_on_something_is_uninstalled_before_it() {
    let all = ["installation apps: dev/db", "installation apps: dev/web"];
    let begun = |mut world: World, name: &str| {
        let release = world.releases.iter_mut().find(|release| release.spec.installation.name == name).unwrap();
        release.status.as_mut().unwrap().uninstall = Some(UninstallStatus::default());
        world
    };
    let tombstone = |mut world: World, name: &str| {
        let release = world.releases.iter_mut().find(|release| release.spec.installation.name == name).unwrap();
        release.status.as_mut().unwrap().state = Some(ReleaseState::Uninstalled);
        release.status.as_mut().unwrap().bundle = Some(BundleState::Uninstalled);
        world.live.installations.remove(&(NAMESPACE.to_owned(), name.to_owned()));
        world.keep_record = true;
        world
    };
    let gone = |mut world: World, name: &str| {
        world.releases.retain(|release| release.spec.installation.name != name);
        world
    };
    let web_db: &[(&str, &[&str])] = &[("db", &[]), ("web", &["db"])];
    let stays = |n: i64, db: bool| {
        let mut world = left(web_db);
        world.releases[1].spec.removed = None;
        world.desired.installations = vec![on("web", spec("web", n), if db { &["db"] } else { &[] })];
        world
    };
    let cases: Vec<(&str, World, &[&str])> = vec![
        ("without an order", left(&[("db", &[]), ("web", &[])]), &all),
        ("web depends on db", left(web_db), &all[1..]),
        ("web is gone", gone(left(web_db), "web"), &all[..1]),
        ("web is uninstalled and its record kept", tombstone(left(web_db), "web"), &all),
        (
            "that of db has begun",
            begun(left(web_db), "db"),
            &["installation apps: dev/db", "db", "installation apps: dev/web"],
        ),
        (
            "they depend on one another, by entries of different times",
            left(&[("db", &["web"]), ("web", &["db"])]),
            &all,
        ),
        (
            "a longer circle",
            left(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("web", &["a"])]),
            &["installation apps: dev/b", "installation apps: dev/c", "installation apps: dev/web"],
        ),
        ("web stays and no longer depends on it", stays(1, false), &all[..1]),
        ("web stays, and has to become what it is without db", stays(2, false), &["web"]),
    ];
    for (what, world, expected) in cases {
        let mut begun = uninstalls(&world);
        begun.dedup();
        assert_eq!(begun, expected, "{what}: {:?}", world.steps());
    }
    let told = waits(&left(web_db), "db");
    assert!(told.contains("installation apps: dev/web, which depends on it, has to be uninstalled first"), "{told}");
    let told = waits(&stays(2, false), "db");
    assert!(told.contains("dev/web, which depended on it, has to succeed without it first"), "{told}");
}

#[test]
fn another_installation_in_the_place_of_one_that_is_depended_on_stalls_nobody() {
    // db has another Porter name now: its object is free once the old one is uninstalled, and web is to change as well.
    let mut world = left(&[("db", &[]), ("web", &["db"])]);
    world.releases[1].spec.removed = None;
    let mut new = on("db", spec("db2", 1), &[]);
    new.id = id("db2");
    world.desired.installations = vec![new, on("web", spec("web", 2), &["db2"])];
    assert_eq!(uninstalls(&world), ["installation apps: dev/db"], "{:?}", world.steps());
}

#[test]
fn documents_that_say_uninstalled_go_in_reverse_order() {
    let world = |web: &[&str]| {
        World::new(vec![on("web", down("web"), &["db"]), on("db", down("db"), &[])])
            .recorded("web", down("web"), "main@sha1:0")
            .recorded("db", spec("db", 1), "main@sha1:0")
            .with_live("web", ran("web", down("web"), web))
            .with_live("db", ran("db", spec("db", 1), WELL))
            .reported()
    };
    assert_eq!(begins(&world(WELL)), ["db"]);
    assert!(begins(&world(RUNS)).is_empty() && waits(&world(RUNS), "db").contains("dev/web, which depends on it"));
    let first = World::new(vec![on("web", down("web"), &["db"]), on("db", spec("db", 1), &[])])
        .recorded("web", spec("web", 1), "main@sha1:0")
        .with_live("web", ran("web", spec("web", 1), WELL))
        .reported();
    assert_eq!(begins(&first), ["db", "web"], "an uninstall needs nothing to be there");
}

/// `web` depended on the other one, which is uninstalled now: whichever comes first by name.
#[test]
fn what_stays_succeeds_first_without_what_its_document_uninstalls() {
    for name in ["db", "zdb"] {
        let world = |n: i64, on_it: &[&str], conditions: &[&str]| {
            let mut world = World::new(vec![on("web", spec("web", 1), &[name]), on(name, spec(name, 1), &[])])
                .recorded("web", spec("web", 1), "main@sha1:0")
                .recorded(name, spec(name, 1), "main@sha1:0")
                .with_live("web", ran("web", spec("web", 1), conditions))
                .with_live(name, ran(name, spec(name, 1), WELL));
            world.releases[0].spec.asked.depends_on = vec![id(name)];
            let mut world = world.reported();
            world.desired.installations = vec![on("web", spec("web", n), on_it), on(name, down(name), &[])];
            world
        };
        assert_eq!(begins(&world(2, &[], WELL)), ["web"], "{name}");
        let told = waits(&world(2, &[], WELL), name);
        assert!(told.contains("dev/web, which depended on it, has to succeed without it first"), "{name}: {told}");
        assert_eq!(begins(&world(1, &[], WELL)), [name], "{name}: web asks for nothing new");
        assert!(begins(&world(1, &[], RUNS)).is_empty(), "{name}: web runs");
        assert_eq!(begins(&world(1, &[name], WELL)), [name], "{name}: the source has web after it");

        // Others come between the two.
        let mut between = world(2, &["a"], WELL);
        between.desired.installations.push(on("a", spec("a", 1), &[name]));
        assert_eq!(begins(&between), [name], "{name}: what web waits for is after it");

        // Both go.
        let mut both = world(1, &[], WELL);
        both.desired.installations[0] = on("web", down("web"), &[]);
        assert_eq!(begins(&both), ["web"], "{name}: by the ledger web goes first");
        both.desired.installations = vec![on("web", down("web"), &[]), on(name, down(name), &["web"])];
        assert_eq!(begins(&both), [name], "{name}: the source has it the other way round");
    }
}

#[test]
fn no_more_begin_than_may_be_on() {
    let names = ["a", "b", "c", "d"];
    let fresh = |max: usize| {
        let mut world = World::new(names.map(|name| desired(name, spec(name, 1))).to_vec());
        world.max_actions = max;
        world
    };
    assert_eq!(begins(&fresh(2)), ["a", "b"]);
    assert_eq!(begins(&fresh(0)), ["a"], "none at all would be for ever");
    assert!(
        waits(&fresh(2), "c").contains("of which there may be 2 (spec.maxConcurrentActions)"),
        "{}",
        waits(&fresh(2), "c")
    );

    let running = |b: LiveInstallation| fresh(2).recorded("b", spec("b", 1), "main@sha1:0").with_live("b", b);
    let untouched = live(installation("b", spec("b", 1), 1, false), Vec::new());
    let unseen = live(installation("b", spec("b", 1), 1, true), Vec::new());
    let bundle = LiveInstallation { bundle_job: Some("job".into()), ..ran("b", spec("b", 1), FAILED) };
    for (what, b, expected) in [
        ("a run is on", ran("b", spec("b", 1), RUNS), &["a"][..]),
        ("the operator has not seen it", untouched, &["a"]),
        ("the operator has not run it", unseen, &["a"]),
        ("its bundle is on", bundle, &["a"]),
        ("it is over", ran("b", spec("b", 1), WELL), &["a", "c"]),
    ] {
        assert_eq!(begins(&running(b)), expected, "{what}");
    }
    let mut gone = running(ran("b", spec("b", 1), WELL));
    gone.live = Live::default();
    gone.live
        .remains
        .insert((NAMESPACE.into(), "b".into()), plan::Remains { actions: Vec::new(), job: Some("job".into()) });
    assert_eq!(begins(&gone), ["a"], "what is left of a deleted one counts");
    let mut theirs = installation("a", spec("a", 1), 1, false);
    theirs.metadata.labels = None;
    let taken_over = fresh(1).with_live("a", live(theirs, Vec::new()));
    assert!(begins(&taken_over).is_empty(), "what runs anyway, and is ours from now on, counts");
}

#[test]
fn uninstalls_and_retries_take_their_turn() {
    let mut world = left(&[("a", &[]), ("b", &[]), ("c", &[])]);
    for release in &mut world.releases {
        release.status.as_mut().unwrap().uninstall = Some(UninstallStatus::default());
    }
    world.max_actions = 2;
    assert_eq!(begins(&world), ["a", "b"]);
    assert!(waits(&world, "c").contains("of which there may be 2"), "{}", waits(&world, "c"));

    let names = ["a", "b", "c"];
    let mut world = World::new(names.map(|name| desired(name, spec(name, 1))).to_vec());
    for name in names {
        world = world.recorded(name, spec(name, 1), "main@sha1:0").with_live(name, ran(name, spec(name, 1), FAILED));
    }
    world = world.with_agent("porter-flux", agent_config(once(), true)).reported();
    (world.retries, world.max_actions) = (1, 2);
    assert_eq!(begins(&world), ["apply installation apps: dev/a", "apply installation apps: dev/b"]);
}

#[test]
fn each_comes_after_all_that_it_depends_on() {
    let asked = [("a", &["b", "c"][..]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]
        .map(|(name, others)| on(name, spec(name, 1), others));
    let world = World::new(asked.to_vec());
    let records: Vec<String> = world.steps().into_iter().filter(|step| step.starts_with("record ")).collect();
    let order: Vec<&str> = records.iter().map(|step| &step[30..31]).collect();
    assert_eq!(order, ["d", "b", "c", "a"], "{records:?}");
}

#[test]
fn of_all_that_is_waited_for_what_failed_is_told() {
    let mut world = World::new(vec![
        on("a", spec("a", 1), &[]),
        on("b", spec("b", 1), &[]),
        on("web", spec("web", 1), &["a", "b"]),
    ]);
    world = world.recorded("b", spec("b", 1), "main@sha1:0").with_live("b", ran("b", spec("b", 1), FAILED)).reported();
    assert!(waits(&world, "web").contains("dev/b, which it depends on, failed"), "{}", waits(&world, "web"));
}
