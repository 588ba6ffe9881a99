//! What an installation needs next of a porter CLI, state by state.

// A test may panic wherever it is; clippy knows that of test functions only.
use api::{BundleRelease, BundleReleaseSpec, RunResult, SyncRef};
use jiff::{SignedDuration, Timestamp};
use plan::local::{self, Does, Held, Kept, Next, PorterRun, Ran, Status, Try, Wanted};
use serde_json::{Value, json};

/// `+install` ended well, `-install` did not, `install` is on.
fn held(kept: Kept, runs: &str) -> Held {
    let run = |(number, run): (usize, &str)| {
        let (action, status) = match (run.strip_prefix('+'), run.strip_prefix('-')) {
            (Some(action), _) => (action, Status::Succeeded),
            (_, Some(action)) => (action, Status::Failed),
            _ => (run, Status::Running),
        };
        PorterRun { id: number.to_string(), action: action.to_owned(), status }
    };
    Held { kept, runs: runs.split_whitespace().enumerate().map(run).collect() }
}

fn release(spec: Value, removed: bool) -> BundleRelease {
    let asked = json!({
        "revision": "main@sha1:1", "file": "a.yaml", "line": 1, "digest": porter::digest(&spec), "spec": spec,
    });
    let mut release = BundleRelease::new(
        "a-1",
        BundleReleaseSpec {
            sync: SyncRef { name: "s".into(), namespace: "s".into() },
            installation: api::PorterIdentity { namespace: "dev".into(), name: "a".into() },
            object_name: "a".into(),
            asked: serde_json::from_value(asked).unwrap(),
            removed: None,
        },
    );
    release.spec.removed = removed.then(|| api::Removed { revision: "main@sha1:2".into(), prune: true });
    release
}

fn spec(uninstalled: bool) -> Value {
    let mut spec = json!({"schemaVersion": "1.0.2", "name": "a", "namespace": "dev", "agentConfig": {"name": "x"},
        "bundle": {"repository": "example.test/a", "version": "1.0.0"}});
    if uninstalled {
        spec["uninstalled"] = true.into();
    }
    spec
}

fn wanted(release: &BundleRelease) -> Wanted {
    Wanted { digest: release.spec.asked.digest.clone(), credentials_changed: false }
}

fn told(next: Next) -> String {
    match next {
        Next::Settled => "settled".to_owned(),
        Next::Gone => "gone".to_owned(),
        Next::Foreign(run) => format!("foreign {run}"),
        Next::Run(command) => {
            let document: Option<Value> = command.file.map(|(_, file)| serde_json::from_slice(&file).unwrap());
            let down = document.as_ref().is_some_and(|document| document["uninstalled"] == true);
            assert!(document.is_none_or(|document| document.get("agentConfig").is_none()));
            let words = command.arguments.join(" ").replace("installation ", "").replace("installation.yaml", "");
            let words = words.replace(" a --namespace dev", "").split_whitespace().collect::<Vec<_>>().join(" ");
            format!("{}: {words}{}", command.does.as_str(), if down { " down" } else { "" })
        }
    }
}

#[test]
fn the_next_command_of_each_state() {
    use Kept::{Defined, Installed, Uninstalled};
    // What Porter has; what is next when it is wanted, when its document says uninstalled, and when it left the source.
    let table: &[(Option<Held>, [&str; 3])] = &[
        (None, ["install: apply", "settled", "gone"]),
        // Its record was written, and no bundle ran: nothing is there to be uninstalled.
        (Some(held(Defined, "")), ["install: apply", "settled", "forget: delete --force"]),
        (Some(held(Defined, "-install")), ["install: apply", "uninstall: uninstall", "uninstall: uninstall"]),
        (
            Some(held(Defined, "-install -uninstall")),
            ["install: apply", "uninstall: uninstall", "uninstall: uninstall"],
        ),
        (Some(held(Installed, "+install")), ["upgrade: apply", "uninstall: apply down", "uninstall: apply down"]),
        (
            Some(held(Installed, "+install -upgrade")),
            ["upgrade: apply --force", "uninstall: apply down", "uninstall: apply down"],
        ),
        (
            Some(held(Installed, "+install -backup")),
            ["upgrade: apply", "uninstall: apply down", "uninstall: apply down"],
        ),
        (
            Some(held(Installed, "+install -uninstall")),
            ["upgrade: apply --force", "uninstall: apply down", "uninstall: apply down"],
        ),
        (Some(held(Uninstalled, "+install +uninstall")), ["install: apply --force", "settled", "forget: delete"]),
        (
            Some(held(Uninstalled, "+install +uninstall -install")),
            ["install: apply --force", "uninstall: uninstall", "uninstall: uninstall"],
        ),
        (
            Some(held(Uninstalled, "+install +uninstall -uninstall")),
            ["install: apply --force", "uninstall: uninstall", "uninstall: uninstall"],
        ),
        (Some(held(Uninstalled, "-install +uninstall")), ["install: apply --force", "settled", "forget: delete"]),
        (Some(held(Installed, "+install upgrade")), ["foreign 1"; 3]),
    ];
    for (held, next) in table {
        for (release, next) in
            [release(spec(false), false), release(spec(true), false), release(spec(false), true)].iter().zip(next)
        {
            assert_eq!(told(local::next(release, &wanted(release), held.as_ref())), *next, "{held:?}");
        }
    }
    let release = release(spec(false), false);
    let changed = Wanted { credentials_changed: true, ..wanted(&release) };
    let held = held(Installed, "+install");
    assert_eq!(told(local::next(&release, &changed, Some(&held))), "upgrade: apply --force");
}

fn note(release: &mut BundleRelease, does: Does, run: &str, result: RunResult, at: i64, held: &Held) {
    let at = Timestamp::from_second(at).unwrap();
    let wanted = wanted(release).digest;
    let ran = Ran { wanted: &wanted, does, run: Some(run), started: at, finished: at, result };
    local::note(release, &ran, Some(held));
}

#[test]
fn a_run_of_ours_whose_porter_was_killed_is_run_again() {
    let mut release = release(spec(false), false);
    let held = held(Kept::Installed, "+install upgrade");
    note(&mut release, Does::Upgrade, "1", RunResult::Failed, 0, &held);
    assert_eq!(told(local::next(&release, &wanted(&release), Some(&held))), "upgrade: apply --force");
}

#[test]
fn what_left_is_uninstalled_as_it_ran_well_last() {
    let mut release = release(spec(false), false);
    note(&mut release, Does::Install, "0", RunResult::Succeeded, 0, &held(Kept::Installed, "+install"));
    assert!(local::is_settled(&release, &wanted(&release)));
    release.spec.asked.spec["bundle"]["version"] = "2.0.0".into();
    release.spec.asked.digest = porter::digest(&release.spec.asked.spec);
    assert!(!local::is_settled(&release, &wanted(&release)));
    let tried = held(Kept::Installed, "+install -upgrade");
    note(&mut release, Does::Upgrade, "1", RunResult::Failed, 1, &tried);
    release.spec.removed = Some(api::Removed { revision: "r".into(), prune: true });
    let Next::Run(command) = local::next(&release, &wanted(&release), Some(&tried)) else { panic!("nothing runs") };
    let document: Value = serde_json::from_slice(&command.file.unwrap().1).unwrap();
    assert_eq!((&document["bundle"]["version"], &document["uninstalled"]), (&json!("1.0.0"), &json!(true)));
}

#[test]
fn what_fails_is_tried_again_later_and_an_uninstall_for_ever() {
    let (first, now) = (SignedDuration::from_secs(10), |second| Timestamp::from_second(second).unwrap());
    let held = held(Kept::Defined, "-install");
    for removed in [false, true] {
        let mut release = release(spec(false), removed);
        let does = if removed { Does::Uninstall } else { Does::Install };
        for failures in 0..=4 {
            let due = |at| local::due(&release, &wanted(&release), first, 3, now(at));
            let pause = 10 * 2_i64.pow(u32::try_from(failures).unwrap().saturating_sub(1));
            match failures {
                0 => assert_eq!(due(1000), Try::Now),
                4 if !removed => assert_eq!(due(9999), Try::Never),
                _ => {
                    assert_eq!(due(1000 + pause - 1), Try::At(now(1000 + pause)), "{failures}");
                    assert_eq!(due(1000 + pause), Try::Now, "{failures}");
                }
            }
            note(&mut release, does, "0", RunResult::Failed, 1000, &held);
        }
        if !removed {
            release.spec.asked.digest = "sha256:other".to_owned();
            assert_eq!(local::due(&release, &wanted(&release), first, 3, now(1000)), Try::Now, "it changed");
        }
    }
}

#[test]
fn what_left_comes_to_its_end_once_its_uninstall_is_begun() {
    let held = held(Kept::Installed, "+install -uninstall");
    for (removed, does, leaving) in
        [(true, Does::Uninstall, true), (true, Does::Upgrade, false), (false, Does::Uninstall, false)]
    {
        let mut release = release(spec(false), removed);
        assert!(!local::is_leaving(&release), "nothing ran yet");
        note(&mut release, does, "1", RunResult::Failed, 0, &held);
        assert_eq!(local::is_leaving(&release), leaving, "{removed} {does:?}");
    }
}

#[test]
fn the_document_of_a_set_is_what_porter_reads() {
    let spec = json!({"schemaVersion": "1.0.1", "name": "a", "namespace": "", "labels": {}, "agentConfig": {"name": "x"},
        "credentials": [{"name": "token", "source": {"secret": "s"}}]});
    let document: Value = serde_json::from_slice(&local::set_document(&spec)).unwrap();
    let expected = json!({"schemaVersion": "1.0.1", "name": "a", "namespace": "",
        "credentials": [{"name": "token", "source": {"secret": "s"}}]});
    assert_eq!(document, expected);
}
