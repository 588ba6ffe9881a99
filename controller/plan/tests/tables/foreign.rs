//! Installations that somebody else made, on the way out: what we never wrote is let go of, and not touched.

use crate::support::*;
use api::porter::Installation;
use api::{Adoption, BundleState, Percentage, Removed};
use plan::Removal;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const LET_GO: &[&str] =
    &["delete BundleRelease/apps/mysql-ffe03141 of installation apps: dev/mysql: no longer in the source"];
const MARK: &[&str] = &["mark removed installation apps: dev/mysql: no longer in the source"];

/// One that a person made, which the operator runs.
fn foreign(generation: i64) -> Installation {
    unowned(installation("mysql", spec("mysql", 1), generation, true))
}

/// A release whose document left the source, with that object in its place.
fn left(object: Installation) -> World {
    let runs = vec![run_of("mysql", "run-1", 1, 1, DONE), run_of("mysql", "run-2", 2, 2, DONE)];
    let world = World::new(vec![]).recorded("mysql", spec("mysql", 1), "main@sha1:0");
    let mut world = world.with_live("mysql", live(object, runs));
    world.removal = Removal::Uninstall;
    world
}

/// Ours, as the ledger knows it.
fn noted() -> World {
    let mut world = left(installation("mysql", spec("mysql", 1), 2, true));
    world.desired.installations = vec![desired("mysql", spec("mysql", 1))];
    let mut world = world.reported();
    assert_eq!(world.releases[0].status.as_ref().unwrap().uid.as_deref(), Some("uid-mysql"));
    world.desired.installations.clear();
    world
}

fn steps(world: &World) -> Vec<String> {
    world.steps().into_iter().filter(|step| !step.starts_with("report ")).collect()
}

#[test]
fn what_was_never_ours_is_let_go_of_untouched() {
    let cases: Vec<(&str, World, &[&str])> = vec![
        ("its document left before it was taken", left(foreign(2)), LET_GO),
        ("it was looked at before", left(foreign(2)).reported(), LET_GO),
        ("what leaves stays", World { removal: Removal::Keep, ..left(foreign(2)) }, LET_GO),
        ("what leaves is let go", World { removal: Removal::Orphan, ..left(foreign(2)) }, LET_GO),
        ("each uninstall is to be confirmed", World { ask: true, ..left(foreign(2)) }, LET_GO),
        (
            "it was made in the middle of an uninstall",
            {
                let mut world = left(foreign(2)).with_agent(api::AGENT_CONFIG, agent_config(once(), true));
                world.releases[0].spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune: true });
                let status = world.releases[0].status.get_or_insert_default();
                status.uninstall.get_or_insert_default();
                (status.uid, status.bundle) = (Some("uid-of-ours".into()), Some(BundleState::Installed));
                world
            },
            LET_GO,
        ),
        (
            "it replaced ours",
            {
                let mut world = noted();
                let mut object = foreign(2);
                object.metadata.uid = Some("uid-other".into());
                world.live.installations.values_mut().next().unwrap().object = object;
                world.reported()
            },
            LET_GO,
        ),
        (
            "ours, of which somebody took our labels and finalizer",
            {
                let mut world = noted();
                world.live.installations.values_mut().next().unwrap().object = foreign(2);
                world
            },
            MARK,
        ),
        ("ours, written just now", left(installation("mysql", spec("mysql", 1), 2, true)), MARK),
    ];
    for (what, world, expected) in cases {
        let steps = steps(&world);
        let steps: Vec<&String> = steps.iter().filter(|step| !step.contains("it could run again")).collect();
        assert_eq!(steps, expected, "{what}");
    }
}

#[test]
fn what_is_let_go_of_counts_for_no_limit() {
    let mut world = left(foreign(2));
    for name in ["a", "b"] {
        world = world.recorded(name, spec(name, 1), "main@sha1:0");
        world.desired.installations.push(desired(name, spec(name, 1)));
    }
    world.limit = Some(Percentage::default());
    let outcome = world.plan().outcome;
    assert!(outcome.blocked.is_none() && outcome.pruned.is_empty(), "{outcome:?}");
}

#[test]
fn nothing_of_what_is_not_ours_is_noted_as_ours() {
    let mut world = left(foreign(2));
    world.desired.installations = vec![desired("mysql", spec("mysql", 1))];
    for adoption in [Adoption::Never, Adoption::IfUnowned] {
        world.adoption = adoption;
        let looked = world.clone().reported();
        assert_eq!(looked.releases[0].status.clone().unwrap_or_default().uid, None, "{adoption:?}");
        let refused = !looked.plan().outcome.refused.is_empty();
        assert_eq!(refused, adoption == Adoption::Never, "{:?}", looked.steps());
    }
    // A half uninstall that comes back in the source uninstalls nothing of it either.
    world.releases[0].spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune: true });
    let status = world.releases[0].status.get_or_insert_default();
    (status.uninstall, status.bundle) = (Some(api::UninstallStatus::default()), Some(BundleState::Installed));
    let steps = steps(&world.reported());
    assert!(!steps.is_empty() && steps.iter().all(|step| step.contains("back in the source")), "{steps:?}");
}
