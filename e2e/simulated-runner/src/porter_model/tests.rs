use serde_json::json;

use super::*;

const RECORDED: &str = include_str!("../../tests/porter-recorded.json");
const MYSQL: &str = "registry.test/example/mysql";

/// The registry that the recordings were made with.
fn recorded_registry() -> Registry {
    let size = json!({"type": "integer", "default": 1});
    let usual = json!({"size": size, "label": {"type": "string", "default": "none"}});
    let mut strict = usual.clone();
    strict["must"] = json!({"type": "string", "required": true});
    let late = json!({"size": size, "late": {"type": "string", "default": "l", "applyTo": ["upgrade"]}});
    let mut registry = Registry::default();
    for (name, bundle) in [
        ("mysql", json!({"parameters": usual})),
        ("strict", json!({"parameters": strict})),
        ("secretive", json!({"parameters": usual, "requiredCredentials": ["token"]})),
        ("applyto", json!({"parameters": late})),
        ("outputs", json!({"parameters": usual, "sensitiveOutput": true})),
    ] {
        registry.define(&format!("registry.test/example/{name}"), serde_json::from_value(bundle).unwrap());
    }
    registry.remove("registry.test/example/nosuch");
    let one = "sha256:b5774aff7edeb6036978a2a14a92445a3ce307260b0e5e8461de8948a4c1c0b5";
    registry.tag(MYSQL, "one", Some(one));
    // Tags with a `v` are versions.
    registry.close(MYSQL);
    for (tag, digit) in [("v0.1.0", "1"), ("v0.2.0", "3"), ("moving", "4"), ("gone", "5")] {
        registry.tag(MYSQL, tag, Some(&format!("sha256:{}", digit.repeat(64))));
    }
    registry
}

fn document(patch: &Value) -> Value {
    let mut document = json!({
        "schemaVersion": "1.0.2", "name": "mysql", "namespace": "NS",
        "bundle": {"repository": MYSQL, "version": "0.1.0"},
    });
    for (key, value) in patch.as_object().into_iter().flatten() {
        document[key] = value.clone();
    }
    document
}

/// What the message of each recorded reason to fail holds.
fn told(why: &str) -> &'static str {
    match why {
        "not found in registry" => "unable to pull bundle",
        "unsafe" => "it is unsafe to delete",
        "no installation" => "Installation not found",
        "no set" => "set ",
        "required parameter" => "parameter must is required",
        "wrong type" => "parameter size is no integer",
        "unknown parameter" => "parameter nosuch is not defined",
        "required credential" => "credential token is required",
        "bundle failed" => " failed",
        "no reference" => "has no version, tag or digest",
        "schema version" => "invalid schema version",
        "sensitive output" => "sensitive output",
        other => panic!("{other} is no reason"),
    }
}

#[test]
fn decides_as_recorded() {
    let scenarios: Map<String, Value> = serde_json::from_str(RECORDED).unwrap();
    let (mut steps_of_all, mut other_ways) = (0, 0);
    for version in Version::ALL {
        for (scenario, steps) in &scenarios {
            let mut porter = Porter { version, registry: recorded_registry(), ..Porter::default() };
            let mut succeeds = true;
            for (number, step) in steps.as_array().unwrap().iter().enumerate() {
                if let Some(next) = step.get("next") {
                    succeeds = next == "ok";
                    continue;
                }
                if let Some(tag) = step.get("tag") {
                    porter.registry.tag(MYSQL, tag.as_str().unwrap(), step["at"].as_str());
                    continue;
                }
                let mut files = Files::from([("installation.yaml".to_owned(), document(&step["with"]).to_string())]);
                let arguments: Vec<String> = step["run"].as_str().unwrap().split(' ').map(str::to_owned).collect();
                if let Some(name) = step.get("set") {
                    let entries = step["entries"].as_object().unwrap().iter();
                    let entries: Vec<_> =
                        entries.map(|(name, value)| json!({"name": name, "source": {"value": value}})).collect();
                    let set = json!({"name": name, "namespace": "NS", &arguments[0]: entries});
                    files.insert(arguments[2].clone(), set.to_string());
                }
                let (exit, ran, parameters) = match porter.begin(&arguments, &files, &Secrets::new()) {
                    Outcome::Exit(exit) => (exit, Value::Null, Value::Null),
                    Outcome::Run(run) => (porter.finish(&run, succeeds), json!(run.action), json!(run.parameters)),
                };
                let way = step.get(version.name());
                let recorded = |field: &str| way.unwrap_or(step).get(field).cloned().unwrap_or_default();
                let place = format!("{} {scenario}, step {number}: {step}: {}", version.name(), exit.message);
                let came_to = (json!(exit.code), ran, parameters);
                assert_eq!(came_to, (recorded("exit"), recorded("ran"), recorded("parameters")), "{place}");
                let why = recorded("why");
                assert_eq!(why.is_null(), exit.code == 0, "{place}");
                assert!(why.as_str().is_none_or(|why| exit.message.contains(told(why))), "{place}");
                steps_of_all += 1;
                other_ways += usize::from(way.is_some());
            }
        }
    }
    assert_eq!((scenarios.len(), steps_of_all, other_ways), (54, 3 * 140, 7), "nothing recorded is left out");
}

/// What a controller can conclude absence from (pkg/porter/{show,logs,list,delete,uninstall}.go of v1.6.1 and v1.0.14):
/// nothing succeeds only where there is no record.
#[test]
fn commands_that_tell_of_a_record() {
    let commands = [
        "installation show mysql --namespace NS",
        "installation logs show --installation mysql --namespace NS",
        "installation list --namespace NS",
        "installation delete mysql --namespace NS",
    ];
    let files = Files::from([("installation.yaml".to_owned(), document(&json!({})).to_string())]);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let exits = |porter: &mut Porter| {
        commands.map(|command| match porter.begin(&words(command), &Files::new(), &Secrets::new()) {
            Outcome::Exit(exit) => exit.code,
            Outcome::Run(run) => panic!("{run:?}"),
        })
    };
    let mut porter = Porter { registry: recorded_registry(), ..Porter::default() };
    assert_eq!(exits(&mut porter), [1, 1, 0, 1], "there is no record");
    let apply = words("installation apply installation.yaml");
    let Outcome::Run(run) = porter.begin(&apply, &files, &Secrets::new()) else { panic!("it runs") };
    assert_eq!(exits(&mut porter), [0, 1, 0, 1], "its first run is on");
    porter.finish(&run, false);
    assert_eq!(exits(&mut porter), [0, 0, 0, 1], "its install failed");
}

#[test]
fn a_set_with_an_unknown_parameter_is_refused_in_every_version() {
    let set = "name: ps\nnamespace: NS\nparameters:\n- name: nosuch\n  source: {value: x}\n";
    let document = document(&json!({"parameterSets": ["ps"]})).to_string();
    for version in Version::ALL {
        let mut porter = Porter { version, registry: recorded_registry(), ..Porter::default() };
        for (command, text, code) in
            [("parameters apply f.yaml", set, 0), ("installation apply f.yaml", document.as_str(), 1)]
        {
            let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
            let files = Files::from([("f.yaml".to_owned(), text.to_owned())]);
            match porter.begin(&arguments, &files, &Secrets::new()) {
                Outcome::Exit(exit) => assert_eq!(exit.code, code, "{version:?} {command}"),
                Outcome::Run(run) => panic!("{version:?}: {} ran", run.action),
            }
        }
    }
}

#[test]
fn sequences() {
    // What was tried by hand on the real operator and the real porter: command, whether a bundle action succeeds,
    // exit code, action that ran.
    let up = json!({});
    let down = json!({"uninstalled": true});
    let apply = "installation apply installation.yaml";
    let force = "installation apply installation.yaml --force";
    let uninstall = "installation uninstall mysql --namespace NS";
    let delete = "installation delete mysql --namespace NS";
    type Step<'a> = (&'a str, &'a Value, bool, i32, &'a str);
    let table: &[(&str, &[Step<'_>])] = &[
        (
            "keep_record_failed_reinstall",
            &[
                (apply, &up, true, 0, "install"),
                (apply, &down, true, 0, "uninstall"),
                (apply, &up, true, 0, ""),
                (force, &up, false, 1, "install"),
                (apply, &up, true, 0, ""),
                (apply, &down, true, 0, ""),
                (delete, &down, true, 1, ""),
                (uninstall, &down, true, 0, "uninstall"),
                (delete, &down, true, 0, ""),
            ],
        ),
        (
            "stale_action_after_record",
            &[
                (apply, &up, true, 0, "install"),
                (apply, &down, true, 0, "uninstall"),
                (delete, &down, true, 0, ""),
                (delete, &down, true, 1, ""),
                (apply, &down, true, 0, ""),
                (apply, &up, true, 0, "install"),
            ],
        ),
        (
            "uninstall_runs_each_time",
            &[
                (apply, &up, true, 0, "install"),
                (uninstall, &down, true, 0, "uninstall"),
                (uninstall, &down, true, 0, "uninstall"),
            ],
        ),
    ];
    for (name, steps) in table {
        let mut porter = Porter::default();
        for (number, (command, patch, succeeds, code, action)) in steps.iter().enumerate() {
            let files = Files::from([("installation.yaml".to_owned(), document(patch).to_string())]);
            let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
            let (exit, ran) = match porter.begin(&arguments, &files, &Secrets::new()) {
                Outcome::Exit(exit) => (exit, String::new()),
                Outcome::Run(run) => (porter.finish(&run, *succeeds), run.action),
            };
            assert_eq!((exit.code, ran.as_str()), (*code, *action), "{name}, step {number}: {}", exit.message);
        }
    }
}

#[test]
fn a_new_spec_during_an_uninstall_is_up_to_date() {
    let mut porter = Porter::default();
    let files = |patch: &Value| Files::from([("installation.yaml".to_owned(), document(patch).to_string())]);
    let arguments = ["installation", "apply", "installation.yaml"].map(str::to_owned);
    let secrets = Secrets::new();
    let Outcome::Run(install) = porter.begin(&arguments, &files(&json!({})), &secrets) else { panic!("no install") };
    porter.finish(&install, true);
    let down = files(&json!({"uninstalled": true}));
    let Outcome::Run(uninstall) = porter.begin(&arguments, &down, &secrets) else { panic!("no uninstall") };
    assert!(matches!(porter.begin(&arguments, &files(&json!({})), &secrets), Outcome::Exit(exit) if exit.code == 0));
    assert_eq!(porter.finish(&uninstall, true).code, 0);
    assert!(!porter.is_installed(&("NS".to_owned(), "mysql".to_owned())));
}

#[test]
fn values_of_secrets() {
    let mut porter = Porter::default();
    let run = |porter: &mut Porter, command: &str, text: &str, secrets: &Secrets| {
        let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let files = Files::from([("f.yaml".to_owned(), text.to_owned())]);
        match porter.begin(&arguments, &files, secrets) {
            Outcome::Exit(exit) => (exit.code, String::new()),
            Outcome::Run(run) => (porter.finish(&run, true).code, run.action),
        }
    };
    let set = "name: ps\nnamespace: NS\nparameters:\n- name: size\n  source: {secret: My_Key}\n";
    let document = document(&json!({"parameterSets": ["ps"]})).to_string();
    let secrets = |value: &str| Secrets::from([("my-key".to_owned(), value.to_owned())]);
    let table = [
        ("parameters apply f.yaml", set, Secrets::new(), 0, ""),
        ("installation apply f.yaml", document.as_str(), Secrets::new(), 1, ""),
        ("installation apply f.yaml", &document, secrets("1"), 0, "install"),
        ("installation apply f.yaml", &document, secrets("1"), 0, ""),
        ("installation apply f.yaml", &document, secrets("2"), 0, "upgrade"),
    ];
    for (number, (command, text, secrets, code, action)) in table.into_iter().enumerate() {
        assert_eq!(run(&mut porter, command, text, &secrets), (code, action.to_owned()), "step {number}");
    }
}
