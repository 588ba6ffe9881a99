//! The AgentConfigs that make a run happen once, and what waits for them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use plan::{Action, Agent};
use serde_json::{Value, json};
use support::*;

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
    let waits = "; waits: AgentConfig apps/porter-flux is not ready; see its status, and the AgentActions of its name";
    let cases: Vec<(&str, World, Vec<String>)> = vec![
        (
            "nothing is set up",
            world(None),
            both("; waits: there is no AgentConfig apps/default, and nothing can run without it; set up the namespace"),
        ),
        (
            "the one beneath is not ready",
            world(None).with_agent("default", agent_config(json!({}), false)),
            both("; waits: AgentConfig apps/default is not ready; see its status, and the AgentActions of its name"),
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
            first(
                "apply AgentConfig/apps/porter-flux-fast: what runs with it runs once",
                "; waits: AgentConfig apps/porter-flux-fast is not ready; see its status, and the AgentActions of its name",
            ),
        ),
        ("whose documents see to it", World { agent: Agent::None, ..world(None) }, both("")),
    ];
    for (what, world, steps) in cases {
        assert_eq!(world.steps(), steps, "{what}");
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
