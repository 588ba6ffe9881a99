//! `flux-porter run --apply porter` against the simulated porter, commit by commit: which bundle actions run.
//!
//! With `PORTER` in the environment the same tests run with a real CLI; they need, besides:
//!
//! | variable | what it names |
//! |---|---|
//! | `PORTER_STORAGE` | a MongoDB, as `mongodb://host:port`; each test has a database of its own there |
//! | `PORTER_BUNDLES` | the repository of a bundle in a registry that Porter reaches, with the tags `v1.0.0` and `v1.0.1`, the parameter `size` (integer, default 1) and the credential `token` (not required). Its image never runs |
//!
//! `a_porter_that_was_killed_too_is_run_again` is skipped then, and says so: the simulated porter kills itself at a call that a
//! file names, which a real one does not.
//!
//! `flux-porter` has to be built before: `cargo build --workspace --bins`.

// A test may panic wherever it is; clippy knows that of test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod place;

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use place::{App, Place, apps, set};

/// Ways of Porter that differ, all of which come to the same here.
const VERSIONS: [&str; 3] = ["v1.0.14", "v1.2.1", "v1.6.1"];

fn each_version(test: impl Fn(Place)) {
    if std::env::var_os("PORTER").is_some() {
        return test(Place::new(""));
    }
    VERSIONS.into_iter().for_each(|version| test(Place::new(version)));
}

#[test]
fn each_change_is_one_action_and_what_is_no_change_is_none() {
    each_version(|place| {
        let table: &[(App, &[&str], &[&str])] = &[
            (App::new("a"), &["install a 1.0.0", "succeeded: install a 1.0.0"], &["install dev/a"]),
            (App::new("a"), &["unchanged a"], &[]),
            (App::new("a").size(2), &["upgrade a 1.0.0", "succeeded: upgrade a 1.0.0"], &["upgrade dev/a"]),
            (App::new("a").size(2).comment("why"), &["unchanged a"], &[]),
            (App::new("a").version(1), &["upgrade a 1.0.1", "succeeded: upgrade a 1.0.1"], &["upgrade dev/a"]),
            (
                App::new("a").version(1).label("x"),
                &["upgrade a 1.0.1", "succeeded: upgrade a 1.0.1 (Porter found nothing to do)"],
                &[],
            ),
            (App::new("a").uninstalled(), &["uninstall a", "succeeded: uninstall a"], &["uninstall dev/a"]),
            (App::new("a").uninstalled().comment("still"), &["unchanged a"], &[]),
            (App::new("a").uninstalled().size(3), &["unchanged a"], &[]),
            (App::new("a").size(3), &["install a 1.0.0", "succeeded: install a 1.0.0"], &["install dev/a"]),
        ];
        for (number, (app, told, ran)) in table.iter().enumerate() {
            place.commit(&[app.file()]);
            let before = place.executions().len();
            let run = place.run(&["--once"]);
            assert!(run.done, "{number}: {run:?}");
            assert_eq!(run.told, *told, "{number}: {run:?}");
            assert_eq!(place.executions()[before..], **ran, "{number}");
        }
    });
}

#[test]
fn what_is_as_it_is_asked_for_makes_no_call() {
    let place = Place::new("");
    place.commit(&apps("ab"));
    assert!(place.run(&["--once"]).done);
    let calls = place.calls().len();
    assert!(place.run(&["--once"]).done);
    // Only its version is asked.
    assert_eq!(place.calls()[calls..], ["version --output json"]);
}

#[test]
fn what_leaves_is_uninstalled_and_forgotten_and_comes_back_as_new() {
    each_version(|place| {
        place.commit(&apps("abc"));
        assert!(place.run(&["--once"]).done);
        place.commit(&apps("bc"));
        let run = place.run(&["--once"]);
        assert!(run.done, "{run:?}");
        assert_eq!(run.told, ["uninstall a", "succeeded: uninstall a", "unchanged b", "unchanged c"]);
        assert!(run.log.contains("deleted the record of dev/a"), "{run:?}");
        assert_eq!(place.held(), ["dev/b", "dev/c"]);
        place.commit(&apps("abc"));
        assert!(place.run(&["--once"]).done);
        assert_eq!(
            place.executions(),
            ["install dev/a", "install dev/b", "install dev/c", "uninstall dev/a", "install dev/a"]
        );
    });
}

#[test]
fn what_failed_is_truly_run_again() {
    // What fails, what leads there, and what runs when it is tried again.
    let one = || App::new("a");
    let two = || App::new("a").size(2);
    let table: &[(&str, &[App], &str)] = &[
        ("install", &[one()], "install dev/a"),
        ("upgrade", &[one(), two()], "upgrade dev/a"),
        ("uninstall", &[one(), one().uninstalled()], "uninstall dev/a"),
        ("install", &[one(), one().uninstalled(), two()], "install dev/a"),
    ];
    for (fails, commits, again) in table {
        each_version(|place| {
            for (number, app) in commits.iter().enumerate() {
                place.commit(&[app.file()]);
                if number + 1 == commits.len() {
                    place.write("fail", fails);
                }
                let run = place.run(&["--once"]);
                assert_eq!(run.done, number + 1 < commits.len(), "{fails}: {run:?}");
            }
            let run = place.run(&["--once"]);
            assert!(!run.done && run.told.last().unwrap().starts_with(&format!("failed: {fails} a")), "{run:?}");
            assert!(run.log.contains("apps/a.yaml:") && run.log.contains("porter/log"), "{run:?}");
            place.remove("fail");
            let before = place.executions().len();
            assert!(place.run(&["--once"]).done);
            assert_eq!(place.executions()[before..], [*again], "{fails}");
            let settled = place.run(&["--once"]);
            assert_eq!((settled.done, settled.told), (true, vec!["unchanged a".to_owned()]));
            assert_eq!(place.executions().len(), before + 1);
        });
    }
}

#[test]
fn a_failed_upgrade_is_taken_back() {
    each_version(|place| {
        place.commit(&[App::new("a").file()]);
        assert!(place.run(&["--once"]).done);
        place.write("fail", "upgrade");
        place.commit(&[App::new("a").size(2).file()]);
        assert!(!place.run(&["--once"]).done);
        place.remove("fail");
        // Another label alone is no reason for Porter, though what ran last had failed.
        place.commit(&[App::new("a").size(2).label("x").file()]);
        assert!(place.run(&["--once"]).done);
        place.commit(&[App::new("a").file()]);
        assert!(place.run(&["--once"]).done);
        assert_eq!(place.executions(), ["install dev/a", "upgrade dev/a", "upgrade dev/a", "upgrade dev/a"]);
    });
}

#[test]
fn what_failed_to_install_is_uninstalled_by_command() {
    each_version(|place| {
        place.commit(&apps("ab"));
        place.write("fail", "install");
        assert!(!place.run(&["--once"]).done);
        place.remove("fail");
        place.commit(&apps("b"));
        let run = place.run(&["--once"]);
        assert!(run.done, "{run:?}");
        assert_eq!(place.executions(), ["install dev/a", "install dev/b", "uninstall dev/a", "install dev/b"]);
        assert_eq!(place.held(), ["dev/b"]);
    });
}

#[test]
fn what_failed_to_uninstall_stays_in_the_ledger_until_it_is() {
    each_version(|place| {
        place.commit(&apps("ab"));
        assert!(place.run(&["--once"]).done);
        place.commit(&apps("b"));
        place.write("fail", "uninstall");
        assert!(!place.run(&["--once"]).done);
        assert!(!place.run(&["--once"]).done);
        assert_eq!(place.held(), ["dev/a", "dev/b"]);
        // It comes back meanwhile: what half an uninstall left is nothing to install over.
        place.commit(&apps("ab"));
        let run = place.run(&["--once"]);
        assert!(!run.done && run.told.contains(&"failed: uninstall a".to_owned()), "{run:?}");
        place.remove("fail");
        let run = place.run(&["--once"]);
        assert!(run.done, "{run:?}");
        let there = ["install dev/a", "install dev/b"];
        let gone = ["uninstall dev/a"; 4];
        assert_eq!(place.executions(), [&there[..], &gone, &there[..1]].concat());
    });
}

#[test]
fn a_failed_upgrade_is_uninstalled_with_what_ran_well() {
    each_version(|place| {
        place.commit(&apps("ab"));
        assert!(place.run(&["--once"]).done);
        place.write("fail", "upgrade");
        place.commit(&[App::new("a").version(1).file(), App::new("b").file()]);
        assert!(!place.run(&["--once"]).done);
        place.commit(&apps("b"));
        let run = place.run(&["--once"]);
        assert!(run.done, "{run:?}");
        assert_eq!(place.executions().last().unwrap(), "uninstall dev/a");
        let document = fs::read_to_string(place.to().join(".flux-porter/porter/installation.yaml")).unwrap();
        assert!(document.contains("\"1.0.0\"") && document.contains("\"uninstalled\":true"), "{document}");
    });
}

#[test]
fn sets_come_first_and_go_last_and_their_changes_count() {
    each_version(|place| {
        let app = App::new("a").sets();
        let commit = |token: &str, size: &str| {
            place.commit(&[
                set("credentials", "cs", "token", token),
                set("parameters", "ps", "size", size),
                app.file(),
            ]);
        };
        commit("one", "1");
        let run = place.run(&["--once"]);
        assert!(run.done, "{run:?}");
        let changing = place.changing_calls();
        let sets: Vec<_> = changing.iter().filter(|call| !call.starts_with("installation")).collect();
        assert_eq!(sets, ["credentials apply credentials.yaml", "parameters apply parameters.yaml"]);
        assert!(changing.last().unwrap().starts_with("installation apply"), "{changing:?}");

        commit("one", "2");
        assert!(place.run(&["--once"]).done);
        // Porter sees no difference in a credential.
        commit("two", "2");
        assert!(place.run(&["--once"]).done);
        assert!(place.run(&["--once"]).done);
        assert_eq!(place.executions(), ["install dev/a", "upgrade dev/a", "upgrade dev/a"]);

        place.commit(&apps("b"));
        let run = place.run(&["--once"]);
        assert!(run.done, "{run:?}");
        let calls = place.changing_calls();
        let at = |what: &str| calls.iter().position(|call| call.starts_with(what)).unwrap();
        assert!(at("installation delete a") < at("credentials delete cs --namespace dev"), "{calls:?}");
        assert!(at("installation delete a") < at("parameters delete ps --namespace dev"), "{calls:?}");
    });
}

#[test]
fn what_depends_on_another_comes_after_it_and_goes_before() {
    let place = Place::new("");
    let both = [App::new("a").depends_on("b").file(), App::new("b").file(), App::new("c").file()];
    place.commit(&both);
    place.write("fail", "install");
    let run = place.run(&["--once"]);
    assert!(!run.done && run.log.contains("it waits for dev/b, which it depends on"), "{run:?}");
    assert_eq!(place.executions(), ["install dev/b", "install dev/c"]);
    place.remove("fail");
    assert!(place.run(&["--once"]).done);
    assert_eq!(place.executions()[2..], ["install dev/b", "install dev/a", "install dev/c"]);
    let commit = place.commit(&apps("c"));
    place.write("fail", "uninstall");
    let run = place.run(&["--once", "--confirm", &commit]);
    assert!(!run.done && run.log.contains("its uninstall waits for that of dev/a"), "{run:?}");
    place.remove("fail");
    assert!(place.run(&["--once"]).done);
    assert_eq!(place.executions()[5..], ["uninstall dev/a", "uninstall dev/a", "uninstall dev/b"]);
}

#[test]
fn an_installation_is_one_wherever_its_document_is() {
    let place = Place::new("");
    place.commit(&apps("ab"));
    assert!(place.run(&["--once"]).done);
    let run = place.run(&["--once", "--namespace", "other"]);
    assert!(run.done, "{run:?}");
    assert_eq!(run.told, ["unchanged a", "unchanged b"]);
    assert!(place.to().join("other/a.yaml").exists() && !place.to().join("default/a.yaml").exists());
    assert_eq!(place.executions(), ["install dev/a", "install dev/b"]);

    let elsewhere = "apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {name: a, namespace: third}\nspec:\n  \
                     schemaVersion: 1.0.2\n  name: a\n  namespace: dev\n  bundle: {repository: example.test/a, version: 1.0.0}\n";
    let mut files = apps("ab");
    files.push(("apps/c.yaml".to_owned(), elsewhere.to_owned()));
    place.commit(&files);
    let run = place.run(&["--once"]);
    assert!(!run.done && run.log.contains("apps/c.yaml:1") && run.log.contains("apps/a.yaml:"), "{run:?}");
}

#[test]
fn too_much_at_once_waits_for_a_confirmation_and_goes_on_after_it() {
    let place = Place::new("");
    place.commit(&apps("abc"));
    assert!(place.run(&["--once"]).done);
    let commit = place.commit(&apps("c"));
    let run = place.run(&["--once"]);
    assert!(!run.done && run.told.is_empty() && run.log.contains(&format!("--confirm {commit}")), "{run:?}");
    place.write("fail", "uninstall");
    assert!(!place.run(&["--once", "--confirm", &commit]).done);
    place.remove("fail");
    let run = place.run(&["--once"]);
    assert!(run.done, "what was confirmed is not asked for again: {run:?}");
    assert_eq!(place.held(), ["dev/c"]);
}

#[test]
fn a_directory_that_porter_applied_is_not_forgotten() {
    let place = Place::new("");
    place.commit(&apps("a"));
    assert!(place.run_without(&["--once"]).done, "nothing was applied yet");
    let run = place.run(&["--once"]);
    assert_eq!((run.done, place.executions()), (true, vec!["install dev/a".to_owned()]), "{run:?}");
    let run = place.run_without(&["--once"]);
    assert!(!run.done && run.log.contains("--apply porter"), "{run:?}");
}

#[test]
fn a_porter_that_will_not_do_is_told() {
    let place = Place::new("");
    place.commit(&apps("a"));
    for (script, told) in [
        ("echo '{\"name\": \"porter\", \"version\": \"v0.38.8\"}'", "is porter v0.38.8"),
        ("echo '{\"name\": \"docker\", \"version\": \"v1\"}'", "calls itself \"docker\""),
        ("echo porter v1.0.0", "no answer that is known"),
        ("exit 3", "is no porter that works"),
    ] {
        let porter = place.script(script);
        let run = place.run_without(&["--once", "--apply", "porter", "--porter", &porter]);
        assert!(!run.done && run.log.contains(told), "{script}: {run:?}");
    }
    let run = place.run_without(&["--once", "--apply", "porter", "--porter", "/nowhere/porter"]);
    assert!(!run.done && run.log.contains("/nowhere/porter"), "{run:?}");
}

/// What is done, by two commits: an install, an upgrade and an uninstall with all that it takes.
fn story(place: &Place, number: usize) {
    match number {
        0 => place.commit(&[
            set("parameters", "ps", "size", "1"),
            App::new("a").file(),
            App::new("b").parameter_set().file(),
        ]),
        _ => place.commit(&[
            set("parameters", "ps", "size", "2"),
            App::new("b").parameter_set().file(),
            App::new("c").file(),
        ]),
    };
}

#[test]
fn a_kill_at_each_command_changes_nothing() {
    let whole = Place::new("");
    for number in 0..2 {
        story(&whole, number);
        assert!(whole.run(&["--once"]).done);
    }
    let (calls, expected, held) = (whole.calls(), whole.executions(), whole.held());
    assert_eq!(
        expected,
        ["install dev/a", "install dev/b", "uninstall dev/a", "upgrade dev/b", "install dev/c"],
        "{calls:?}"
    );
    let mut kills = 0;
    for (number, call) in calls.iter().enumerate() {
        let moments: &[&str] = if !place::changes(call) {
            // After what was begun, and before it is noted; or before the next is.
            &["start"]
        } else if call.starts_with("installation delete") || !call.starts_with("installation") {
            &["spawn", "end"]
        } else {
            &["spawn", "start", "bundle", "end"]
        };
        for moment in moments {
            let call = number + 1;
            let place = Place::new("");
            for number in 0..2 {
                story(&place, number);
                if number == 0 {
                    place.write("kill", &format!("{call} {moment}"));
                }
                let run = place.run(&["--once"]);
                if !run.done {
                    kills += 1;
                    let run = place.run(&["--once"]);
                    assert!(run.done, "{call} {moment}: {run:?}");
                }
            }
            assert_eq!(place.executions(), expected, "{call} {moment}");
            assert_eq!(place.held(), held, "{call} {moment}");
            assert_eq!(place.overlaps(), 0, "{call} {moment}");
        }
    }
    assert!(kills > calls.len(), "{kills} kills");
}

#[test]
fn a_porter_that_goes_on_is_waited_for() {
    let place = Place::new("");
    place.commit(&apps("a"));
    place.write("hold", "");
    let mut first = place.start(&["--once"]);
    place.until("the bundle to run", || place.began() == 1);
    first.kill();
    place.commit(&[App::new("a").size(2).file()]);
    let second = place.start(&["--once"]);
    second.logged("waiting for the porter that was begun before, to install a 1.0.0");
    place.remove("hold");
    let run = second.end();
    assert!(run.done, "{run:?}");
    assert_eq!(run.told[0], "succeeded: install a 1.0.0");
    assert_eq!(
        (place.executions(), place.overlaps()),
        (vec!["install dev/a".to_owned(), "upgrade dev/a".to_owned()], 0)
    );
}

#[test]
fn a_porter_that_was_killed_too_is_run_again() {
    // Nobody knows how far the bundle came, so it runs once more, by force where it was installed.
    if std::env::var_os("PORTER").is_some() {
        // Not by a macro: what those print is kept back of a test that passes.
        let told = "SKIPPED a_porter_that_was_killed_too_is_run_again: PORTER is set, and only the simulated porter dies when asked\n";
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return;
    }
    let place = Place::new("");
    place.commit(&apps("a"));
    assert!(place.run(&["--once"]).done);
    place.commit(&[App::new("a").size(2).file()]);
    let runs_before = place.calls().len();
    // version, list, runs, and then the command.
    place.write("kill", &format!("{} both", runs_before + 4));
    assert!(!place.run(&["--once"]).done);
    let run = place.run(&["--once"]);
    assert!(run.done, "{run:?}");
    assert_eq!(run.told, ["failed: upgrade a 1.0.0", "upgrade a 1.0.0", "succeeded: upgrade a 1.0.0"]);
    assert_eq!(place.changing_calls().last().unwrap(), "installation apply installation.yaml --force");
}

#[test]
fn a_signal_lets_porter_end() {
    let place = Place::new("");
    place.commit(&apps("ab"));
    place.write("hold", "");
    let follower = place.start(&["--interval", "1s"]);
    place.until("the bundle to run", || place.began() == 1);
    follower.interrupt();
    follower.logged("waiting for `porter installation apply` to end");
    place.remove("hold");
    let run = follower.end();
    assert!(run.done, "{run:?}");
    assert_eq!(run.told, ["install a 1.0.0", "succeeded: install a 1.0.0"]);
    assert_eq!(place.executions(), ["install dev/a"], "nothing new is begun");
    // Twice: it goes on alone.
    place.write("hold", "");
    let follower = place.start(&["--interval", "1s"]);
    place.until("the bundle to run", || place.began() == 2);
    follower.interrupt();
    follower.logged("waiting for `porter");
    follower.interrupt();
    follower.end();
    place.remove("hold");
    let run = place.run(&["--once"]);
    assert!(run.done && run.told[0] == "succeeded: install b 1.0.0", "{run:?}");
    assert_eq!(place.executions(), ["install dev/a", "install dev/b"]);
}

#[test]
fn what_fails_is_tried_again_while_a_branch_is_followed() {
    let place = Place::new("");
    place.commit(&apps("ab"));
    place.write("fail", "install");
    let follower = place.start(&["--interval", "100ms"]);
    follower.logged("and is not any more");
    let tried = |name: &str| place.executions().iter().filter(|ran| **ran == format!("install dev/{name}")).count();
    place.until("the fourth try of both", || tried("a") == 4 && tried("b") == 4);
    place.remove("fail");
    place.commit(&[App::new("a").size(2).file(), App::new("b").file()]);
    place.until("a to be installed", || tried("a") == 5);
    let until = Instant::now() + Duration::from_millis(700);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(tried("b"), 4, "its document did not change");
    follower.interrupt();
    follower.end();
}
