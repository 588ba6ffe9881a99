//! Each change of inputs causes exactly one run. From rest to rest: one change, then whatever a controller that stops and
//! sees late makes of it, while every run ends well; and then the bundle actions that began are counted.
//!
//! What is a change: see [`due`]. The other test bounds the same from above, whatever else happens: the spec of an
//! Installation is written no more often than there is a reason to.

use std::collections::BTreeMap;

use plan::Agent;
use proptest::prelude::*;

use crate::events::{Ends, Event, stale};
use crate::sequences;
use crate::state::{Model, NAMES, OBJECTS};

fn change() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..2usize, prop::option::weighted(0.7, 0..2i64)).prop_map(|(name, n)| Event::Source { name, n }),
        1 => prop::option::of(0..2usize).prop_map(|dependant| Event::Order { dependant }),
        1 => (0..2usize, 0..3usize).prop_map(|(name, object)| Event::Rename { name, object }),
        2 => (0..2i64).prop_map(|n| Event::Set { n }),
        2 => Just(Event::Secret { there: true }),
        2 => Just(Event::Parameters),
        1 => (0..2usize).prop_map(|name| Event::Vanish { name }),
        1 => (0..8usize).prop_map(|action| Event::Expire { action }),
        1 => (0..3usize).prop_map(|name| Event::Delete { name }),
        1 => (0..3usize).prop_map(|name| Event::LetGo { name }),
        2 => (0..3usize, 0..2i64).prop_map(|(name, n)| Event::Edit { name, n }),
        1 => (0..2usize, 0..2u8).prop_map(|(name, token)| Event::Invoke { name, token }),
        1 => Just(Event::ForceAll),
        1 => (0..2usize).prop_map(|name| Event::Force { name }),
    ]
}

fn meanwhile() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6usize, stale()).prop_map(|(steps, stale)| Event::Reconcile { steps, stale }),
        (0..4usize).prop_map(|name| Event::Operator { name, ends: Ends::Well }),
    ]
}

/// The bundle actions that a change causes, at rest: none for what is as it was, nor for what only the cluster's objects
/// change in: their names, their order, their AgentActions, an Installation that is gone.
fn due(model: &Model, event: &Event, name: &'static str) -> Vec<&'static str> {
    let stands = model.asked.get(name);
    let upgrade = |so: bool| if so && stands.is_some() { vec!["upgrade"] } else { Vec::new() };
    match event {
        Event::Source { name: changed, n } if NAMES[*changed] == name => match (stands, n) {
            (None, Some(_)) => {
                // Of a kept record that somebody deleted nobody knows: what was installed is installed by force.
                let kept = model.releases.values().any(|release| release.spec.installation.name == name);
                let value = model.invoke.get(name);
                if kept && !model.porter.contains_key(name) {
                    let again = value.filter(|value| !is_noted(model, name, value));
                    [vec!["install", "upgrade"], invoked(model, name, again)].concat()
                } else {
                    [vec!["install"], invoked(model, name, value)].concat()
                }
            }
            (Some(_), None) => vec!["uninstall"],
            (before, n) => upgrade(before != n.as_ref()),
        },
        Event::Set { n } => upgrade(model.set_n != *n),
        Event::Secret { .. } | Event::ForceAll => upgrade(true),
        Event::Parameters => upgrade(name == NAMES[0]),
        Event::Force { name: forced } => upgrade(NAMES[*forced] == name),
        // What was edited runs, and then what is asked for.
        Event::Edit { name: object, n } => {
            let of = model.installations.get(OBJECTS[*object]).map(|object| &object.body["spec"]);
            let differs = of.is_some_and(|spec| spec["name"] == name && spec["parameters"]["n"] != *n);
            [upgrade(differs), upgrade(differs)].concat()
        }
        Event::Invoke { name: asked, token } if NAMES[*asked] == name && stands.is_some() => {
            invoked(model, name, Some(&format!("backup@{token}")))
        }
        _ => Vec::new(),
    }
}

/// Whether the ledger has a run of a custom action.
fn is_noted(model: &Model, name: &str, value: &str) -> bool {
    let mut releases = model.releases.values().filter(|release| release.spec.installation.name == name);
    releases.any(|release| release.status.iter().flat_map(|status| &status.invocations).any(|run| run.invoke == value))
}

/// A token is for one run, as long as the release lives.
fn invoked(model: &Model, name: &str, value: Option<&String>) -> Vec<&'static str> {
    let Some(value) = value else { return Vec::new() };
    let release = model.releases.values().find(|release| release.spec.installation.name == name);
    let uid = release.and_then(|release| release.metadata.uid.clone());
    let done = uid.is_some_and(|uid| model.invoked.contains(&(uid, value.clone())));
    if done { Vec::new() } else { vec!["backup"] }
}

fn ran(model: &Model, since: usize, name: &str) -> Vec<&'static str> {
    let commands = model.log[since..].iter().filter(|command| command.of == name);
    commands.filter_map(|command| command.action).collect()
}

proptest! {
    #![proptest_config(sequences(4))]

    #[test]
    fn each_change_runs_once(
        keep_record in any::<bool>(),
        max_actions in 1..3usize,
        dependant in prop::option::of(0..2usize),
        changes in prop::collection::vec((change(), prop::collection::vec(meanwhile(), 0..8)), 0..8),
    ) {
        let mut model = Model::new();
        // With the Jobs of others' AgentConfigs what is old runs again: that is the other test's.
        model.managed = Agent::Managed;
        model.keep_record = keep_record;
        model.max_actions = max_actions;
        model.dependant = dependant;
        model.settle();
        for (change, meanwhile) in &changes {
            let since = model.log.len();
            let due: BTreeMap<&str, Vec<&str>> = NAMES.map(|name| (name, due(&model, change, name))).into();
            let mut last = model.view();
            model.happens(change, &mut last);
            for event in meanwhile {
                model.happens(event, &mut last);
            }
            model.settle();
            let ran: BTreeMap<&str, Vec<&str>> = NAMES.map(|name| (name, ran(&model, since, name))).into();
            prop_assert_eq!(ran, due, "{:?}", change);
        }
    }
}
