//! The AgentConfigs that make a run happen once, and what waits for them.

use crate::support::*;
use jiff::Timestamp;
use plan::{Action, Agent};
use serde_json::{Value, json};

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];

fn named(name: Option<&str>) -> Value {
    let mut spec = spec("mysql", 1);
    if let Some(name) = name {
        spec["agentConfig"] = json!({"name": name});
    }
    spec
}

fn world(asked: Option<&str>) -> World {
    let mut world = World::new(vec![desired("mysql", named(asked))]);
    world.agent = Agent::Managed;
    world
}

fn written(world: &World) -> Vec<Value> {
    let steps = world.plan().steps;
    let applies = steps.into_iter().filter_map(|step| match step.action {
        Action::ApplyInstallation(apply) | Action::ApplySet(apply) => Some(apply.body["spec"].clone()),
        _ => None,
    });
    applies.collect()
}

#[test]
fn each_state_of_the_agent_configs_gives_its_steps() {
    let ready = |spec: Value| agent_config(spec, true);
    let both = |wait: &str| {
        ["record", "apply"].map(|verb| format!("{verb} installation apps: dev/mysql: new in the source{wait}")).to_vec()
    };
    let first = |step: &str, wait: &str| [vec![step.to_owned()], both(wait)].concat();
    let ours = "apply AgentConfig/apps/porter-flux: what runs with it runs once";
    let unready = |name: &str| {
        format!(
            "; waits: AgentConfig apps/{name} is not ready; see its status, and the AgentActions of its name; if it was changed \
             and stays so, let the operator look again: kubectl annotate agentconfig {name} -n apps --overwrite \
             getporter.org/retry=\"$(date +%s)\""
        )
    };
    let waits = &unready("porter-flux");
    let cases: Vec<(&str, World, Vec<String>)> = vec![
        (
            "nothing is set up",
            world(None),
            both("; waits: there is no AgentConfig apps/default, and nothing can run without it; set up the namespace"),
        ),
        (
            "the one beneath is not ready",
            world(None).with_agent("default", agent_config(json!({}), false)),
            both(&unready("default")),
        ),
        ("ours is missing", world(None).with_agent("default", ready(json!({}))), first(ours, waits)),
        (
            "ours is another",
            world(None)
                .with_agent("default", ready(json!({})))
                .with_agent("porter-flux", ready(json!({"retryLimit": 6}))),
            first(ours, waits),
        ),
        (
            "ours has a Job expire",
            world(None)
                .with_agent("default", ready(json!({})))
                .with_agent("porter-flux", ready(json!({"retryLimit": 0, "ttlSecondsAfterFinished": 600}))),
            first(ours, waits),
        ),
        (
            "ours has a pod begin again",
            world(None)
                .with_agent("default", ready(json!({})))
                .with_agent("porter-flux", ready(json!({"retryLimit": 6, "ttlSecondsAfterFinished": i32::MAX}))),
            first(ours, waits),
        ),
        (
            "ours is not ready",
            world(None).with_agent("default", ready(json!({}))).with_agent("porter-flux", agent_config(once(), false)),
            both(waits),
        ),
        (
            "all is ready",
            world(None).with_agent("default", ready(json!({}))).with_agent("porter-flux", ready(once())),
            both(""),
        ),
        (
            "one that the document names is missing",
            world(Some("fast")).with_agent("default", ready(json!({}))).with_agent("porter-flux", ready(once())),
            both("; waits: there is no AgentConfig apps/fast, and nothing can run without it; set up the namespace"),
        ),
        (
            "one that the document names, without its copy",
            world(Some("fast")).with_agent("fast", ready(json!({"volumeSize": "1Gi"}))),
            first("apply AgentConfig/apps/porter-flux-fast: what runs with it runs once", &unready("porter-flux-fast")),
        ),
        ("whose documents see to it", World { agent: Agent::None, ..world(None) }, both("")),
    ];
    for (what, world, steps) in cases {
        assert_eq!(world.steps(), steps, "{what}");
    }
}

#[test]
fn ours_is_applied_once_however_many_wait_for_it() {
    let two = || {
        let mut world = World::new(["mysql", "redis"].map(|name| desired(name, spec(name, 1))).to_vec());
        world.agent = Agent::Managed;
        world.with_agent("default", agent_config(json!({}), true))
    };
    let mut asked = two();
    let mut ours = set("porter-flux", 1);
    ours.id.kind = "AgentConfig".into();
    ours.porter_identity = None;
    ours.body = json!({"kind": "AgentConfig", "metadata": {"name": "porter-flux"}, "spec": once()});
    asked.desired.sets = vec![ours];
    for (what, world) in [("it is missing", two()), ("the source has it", asked)] {
        assert_eq!(written(&world)[..1], [once()], "{what}");
        let applies = world.steps().iter().filter(|step| step.contains("AgentConfig/apps/porter-flux:")).count();
        assert_eq!(applies, 1, "{what}: {:?}", world.steps());
    }
}

/// The operator can lose a change of a config that was ready.
#[test]
fn of_ours_a_lost_change_is_asked_for_again() {
    let lost = |generation: i64, spec: Value, asked: Option<i64>| {
        let mut config = agent_config(spec, false);
        config["metadata"]["generation"] = generation.into();
        config["status"]["observedGeneration"] = generation.into();
        if let Some(asked) = asked {
            let asked = Timestamp::from_second(asked).unwrap().to_string();
            config["metadata"]["annotations"] = json!({"getporter.org/retry": asked});
        }
        world(None).with_agent("default", agent_config(json!({}), true)).with_agent("porter-flux", config)
    };
    let now = world(None).now;
    let behind = {
        let mut world = lost(2, once(), None);
        world.live.agents.get_mut(&(NAMESPACE.into(), "porter-flux".into())).unwrap()["status"] =
            json!({"ready": true});
        world
    };
    let mut with_plugins = once();
    with_plugins["pluginConfigFile"] = json!({"schemaVersion": "1.0.0", "plugins": {"kubernetes": {}}});
    for (what, world, asks, waits) in [
        ("a new one", lost(1, once(), None), false, false),
        ("one that changed", lost(2, once(), None), true, false),
        ("the operator has not seen it", behind, false, false),
        ("asked a moment ago", lost(2, once(), Some(now - 9)), false, true),
        ("asked for long", lost(2, once(), Some(now - 10)), true, false),
        ("plugins are installed", lost(2, with_plugins, None), false, false),
    ] {
        let plan = world.plan();
        let annotations: Vec<Value> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::ApplySet(apply) => Some(apply.body["metadata"]["annotations"]["getporter.org/retry"].clone()),
                _ => None,
            })
            .collect();
        let expected = Timestamp::from_second(now).unwrap().to_string();
        assert_eq!(annotations, if asks { vec![json!(expected)] } else { vec![] }, "{what}");
        assert_eq!(plan.outcome.retry_at.is_some(), waits, "{what}");
        assert!(plan.outcome.waiting[0].message.contains("porter-flux is not ready"), "{what}: {:?}", plan.outcome);
    }
}

#[test]
fn what_is_written_names_ours() {
    let base = agent_config(json!({"volumeSize": "1Gi", "retryLimit": 3}), true);
    let without = world(None).with_agent("default", base.clone()).with_agent("porter-flux", agent_config(once(), true));
    assert_eq!(written(&without), [named(Some("porter-flux"))]);

    let copy = json!({"volumeSize": "1Gi", "retryLimit": 0, "ttlSecondsAfterFinished": i32::MAX});
    let with = world(Some("fast")).with_agent("fast", base);
    assert_eq!(written(&with), [copy.clone(), named(Some("porter-flux-fast"))]);
    let with = with.with_agent("porter-flux-fast", agent_config(copy, true));
    assert_eq!(written(&with), [named(Some("porter-flux-fast"))]);

    let mut sets = World::new(vec![]);
    sets.agent = Agent::Managed;
    sets.desired.sets = vec![set("creds", 1)];
    let sets =
        sets.with_agent("default", agent_config(json!({}), true)).with_agent("porter-flux", agent_config(once(), true));
    assert_eq!(written(&sets)[0]["agentConfig"], json!({"name": "porter-flux"}));
}

#[test]
fn who_manages_it_is_no_change() {
    for (asked, live_name) in [
        (None, Some("porter-flux")),
        (None, None),
        (Some("fast"), Some("porter-flux-fast")),
        (Some("fast"), Some("fast")),
    ] {
        for agent in [Agent::Managed, Agent::None] {
            let mut world = world(asked).recorded("mysql", named(asked), "main@sha1:0");
            world.agent = agent;
            let object = installation("mysql", named(live_name), 1, true);
            let world = world.with_live("mysql", live(object, vec![run_of("mysql", "run", 1, 1, DONE)])).reported();
            assert_eq!(
                world.steps(),
                ["unchanged installation apps: dev/mysql: as asked"],
                "{asked:?} {live_name:?} {agent:?}"
            );
            assert_eq!(world.releases[0].status.as_ref().unwrap().runs[0].revision, "main@sha1:0");
        }
    }
}

/// Its labels are written as a whole with its spec.
#[test]
fn who_manages_it_is_no_change_beside_a_label() {
    for (what, asked, stands, agent, owner, written_with) in [
        ("it was managed", None, Some("porter-flux"), Agent::None, true, Some("porter-flux")),
        ("it was not", None, None, Agent::Managed, true, None),
        ("the same, of one that the document names", Some("fast"), Some("fast"), Agent::Managed, true, Some("fast")),
        ("it is as before", None, Some("porter-flux"), Agent::Managed, true, Some("porter-flux")),
        ("somebody else made it", None, None, Agent::Managed, false, Some("porter-flux")),
    ] {
        let mut world = world(asked).recorded("mysql", named(asked), "main@sha1:0");
        world.agent = agent;
        let mut object = installation("mysql", named(stands), 1, true);
        if !owner {
            object = unowned(object);
        }
        let mut world = world
            .with_live("mysql", live(object, vec![run_of("mysql", "run", 1, 1, DONE)]))
            .with_agent("default", agent_config(json!({}), true))
            .with_agent("fast", agent_config(json!({}), true))
            .with_agent("porter-flux", agent_config(once(), true))
            .with_agent("porter-flux-fast", agent_config(once(), true))
            .reported();
        world.desired.installations[0].labels = [("team".to_owned(), "a".to_owned())].into();
        assert_eq!(written(&world), [named(written_with)], "{what}");
    }
}

/// With less in it a command could run with another database of Porter's.
#[test]
fn a_copy_outlives_what_it_was_made_of() {
    let copy = json!({"volumeSize": "1Gi", "retryLimit": 0, "ttlSecondsAfterFinished": i32::MAX});
    let failed = |agent| {
        let runs = vec![run_of("mysql", "run-1", 1, 1, &["Scheduled", "Started", "Failed"])];
        let mut world = world(Some("fast")).recorded("mysql", named(Some("fast")), "main@sha1:1");
        (world.agent, world.retries) = (agent, 1);
        let object = installation("mysql", named(Some("porter-flux-fast")), 1, true);
        let world = world.with_live("mysql", live(object, runs)).reported();
        world.with_agent("default", agent_config(json!({}), true)).with_agent("porter-flux", agent_config(once(), true))
    };
    for agent in [Agent::Managed, Agent::None] {
        let kept = failed(agent).with_agent("porter-flux-fast", agent_config(copy.clone(), true));
        assert_eq!((written(&kept).len(), commands(&kept).len()), (0, 1), "{agent:?}: {:?}", kept.steps());
        let config = commands(&kept).remove(0).spec.agent_config.map(|config| config.name);
        assert_eq!(config.as_deref(), Some("porter-flux-fast"), "{agent:?}");
        let mut edited = copy.clone();
        edited["retryLimit"] = json!(3);
        let edited = failed(agent).with_agent("porter-flux-fast", agent_config(edited, true));
        assert_eq!(written(&edited), std::slice::from_ref(&copy), "{agent:?}");
    }
    let neither = failed(Agent::Managed);
    assert!(commands(&neither).is_empty() && written(&neither).is_empty(), "{:?}", neither.steps());
    assert!(neither.plan().outcome.failed[0].message.contains("there is no AgentConfig apps/fast"));
    assert_eq!(
        written(&failed(Agent::None)),
        [once()],
        "what is not there is to the operator as one with nothing in it"
    );
}

#[test]
fn the_config_that_is_not_ready_is_the_one_that_is_told() {
    let mut world = world(None);
    let system = ("porter-operator-system".to_owned(), "default".to_owned());
    world.live.agents.insert(system, agent_config(json!({}), false));
    let told = world.plan().outcome.waiting[0].message.clone();
    assert!(told.starts_with("AgentConfig porter-operator-system/default is not ready"), "{told}");
}
