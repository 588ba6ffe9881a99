//! What AgentActions of ours are called: by their release, and by what they are for.

use std::collections::BTreeSet;

use crate::support::*;
use api::{BundleState, Removed, UninstallStatus};
use plan::Removal;
use porter::Invoke;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];
const FAILED: &[&str] = &["Scheduled", "Started", "Failed"];

fn stands(name: &str, conditions: &[&str]) -> World {
    let runs = vec![run_of(name, "run-1", 1, 1, conditions)];
    World::new(vec![desired(name, spec(name, 1))])
        .recorded(name, spec(name, 1), "main@sha1:1")
        .with_agent("porter-flux", agent_config(once(), true))
        .with_live(name, live(installation(name, spec(name, 1), 1, true), runs))
        .reported()
}

#[test]
fn each_command_has_a_name_of_its_own_which_tells_what_it_is() {
    let retried = |name: &str, bundle| {
        let mut world = stands(name, FAILED);
        world.retries = 1;
        world.releases[0].status.as_mut().unwrap().bundle = Some(bundle);
        world
    };
    let invoked = |name: &str| {
        let mut world = stands(name, DONE);
        world.desired.installations[0].invoke = Some(Invoke { action: "backup".into(), value: "backup@1".into() });
        world
    };
    // Names that begin in the same way, longer than what can be named by the whole of it; a hyphen where one is cut off; and
    // one without a letter.
    let long = format!("{}{}", "shop-".repeat(12), "first");
    let other = format!("{}{}", "shop-".repeat(12), "other");
    let mut names = BTreeSet::new();
    for name in ["mysql", &long, &other, "x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x", "_"] {
        let begin: String = name.chars().take(20).filter(|c| *c != '_').collect();
        for (purpose, world) in [
            ("apply", retried(name, BundleState::Tried)),
            ("force", retried(name, BundleState::Installed)),
            ("invoke", invoked(name)),
        ] {
            let command = commands(&world).remove(0).metadata.name.unwrap();
            assert!(command.starts_with(&begin) && command.len() <= 63, "{command}");
            let (release, rest) = command.split_once(&format!("-{purpose}-")).unwrap();
            assert!(rest.len() == 8 && !release.contains("--"), "{command}");
            let ledger = world.releases[0].metadata.name.clone().unwrap();
            assert!(release.ends_with(ledger.rsplit('-').next().unwrap()), "{command}");
            assert!(names.insert(command.clone()), "two are called {command}");
        }
    }
}

/// One that somebody else made: the API server takes longer names.
#[test]
fn of_a_release_with_a_name_of_another_kind_each_command_has_a_name_too() {
    let names = ["x".repeat(70), format!("shop-{}", "x".repeat(70)), format!("shop-{}y", "x".repeat(69))];
    let mut commanded = BTreeSet::new();
    for name in &names {
        let mut world = World::new(vec![])
            .recorded("mysql", spec("mysql", 1), "main@sha1:0")
            .with_agent("porter-flux", agent_config(once(), true));
        world.removal = Removal::Uninstall;
        let release = &mut world.releases[0];
        release.metadata.name = Some(name.clone());
        release.spec.removed = Some(Removed { revision: "main@sha1:1".into(), prune: true });
        let status = release.status.get_or_insert_default();
        status.uid = Some("uid-mysql".into());
        (status.bundle, status.uninstall) = (Some(BundleState::Tried), Some(UninstallStatus::default()));
        let command = commands(&world).remove(0).metadata.name.unwrap();
        assert!(command.len() <= 63 && command.starts_with(&name[..20]), "{command}");
        assert!(commanded.insert(command.clone()), "two are called {command}");
    }
}
