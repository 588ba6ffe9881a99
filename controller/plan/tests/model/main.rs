//! Random sequences against a model of the operator and of Porter: changes of the source, runs that begin, end and begin
//! again, hands that delete and edit, stale views, and a controller that stops between any two steps.
//!
//! Asserted at each step: no Installation gets a new spec, or is made again, while a run of it is on or about to begin; what is
//! asked is recorded before it is written; its spec is written no more often than there is a reason to (the source asks for
//! something else, or under another name; somebody edits, deletes or makes the object; it returns to what ran well); nothing runs before
//! the set that it names has run well; no more bundle actions begin than may be on; nothing begins before what it depends on
//! has succeeded at what is asked, and no uninstall before those of what depends on it; nothing is deleted of what is, or may
//! be, installed: what an install or upgrade left that began, however it ends; and no AgentAction that the operator would
//! make anew; nothing is installed that no release knows, nor while its uninstall is on, nor after it; what sets give
//! runs an installation again once it differs from what the last run read, and for nothing else.
//!
//! Asserted in the end: the bundle has what sets give, the newest spec stands, what left the source is uninstalled and gone,
//! whatever happened; and then nothing is written any more.
//!
//! Exactly one run a change cannot be counted there: a change may be gone before anything is made of it, and a run may fail.
//! [`changes`] counts, where each comes to rest before the next.
//!
//! That the model is right: [`replay`] does with it what was recorded of the real ones.
//!
//! `PLAN_SEQUENCES` is how many sequences are tried, instead of 400; of those that come to rest a quarter.

#![allow(clippy::unwrap_used, clippy::panic)]

mod changes;
mod checks;
mod events;
mod operator;
mod porter;
mod replay;
mod state;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod view;

use api::{BundleRelease, ReleaseState, RunResult};
use plan::Agent;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use events::{Ends, Event, Stale, event};
use state::{Model, NAMES};

/// How much is tried: so many times less than the whole number. Without one, always the same sequences: those that a change
/// breaks are told with that change, and new ones are looked for where there is time for many.
fn sequences(less: u32) -> ProptestConfig {
    let asked: Option<u32> = std::env::var("PLAN_SEQUENCES").ok().and_then(|n| n.parse().ok());
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) };
    ProptestConfig {
        cases: asked.unwrap_or(400) / less,
        rng_seed,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(sequences(1))]

    #[test]
    fn the_newest_spec_ends_applied_and_runs_never_overlap(
        keep_record in any::<bool>(),
        managed in any::<bool>(),
        retries in 0..3i32,
        max_actions in 1..3usize,
        dependant in prop::option::of(0..2usize),
        rollback in any::<bool>(),
        begun in prop::bool::weighted(0.75),
        events in prop::collection::vec(event(), 0..80),
    ) {
        let mut model = Model::new();
        model.keep_record = keep_record;
        model.retries = retries;
        model.max_actions = max_actions;
        model.dependant = dependant;
        model.rollback = rollback;
        model.managed = if managed { Agent::Managed } else { Agent::None };
        if begun {
            model.come_to_stand();
        }
        let mut last = model.view();
        for event in &events {
            model.happens(event, &mut last);
        }
        let managed = managed && !events.iter().any(|event| matches!(event, Event::Agent { managed: false }));
        model.take_foreign_away();
        model.settle();

        for (name, n) in &model.asked {
            let object = &model.installations[&model.objects[name]];
            let spec = Model::as_document(&object.body["spec"]);
            let release = model.releases.values().find(|release| release.spec.installation.name == *name).unwrap();
            prop_assert_eq!(&release.spec.object_name, &model.objects[name]);
            prop_assert_eq!(&release.spec.asked.spec, &Model::spec(name, *n));
            let given_up = release.status.as_ref().is_some_and(|status| status.rolled_back.is_some());
            let stands = release.status.as_ref().and_then(|status| status.succeeded.as_ref());
            let stands = stands.filter(|_| given_up).map_or(&release.spec.asked.spec, |good| &good.spec);
            prop_assert_eq!(&spec, stands);
            prop_assert!(!given_up || rollback);
            prop_assert!(!managed || model.older_again.is_subset(&model.of_others));
            prop_assert!(release.spec.removed.is_none());
            let status = release.status.as_ref().unwrap();
            prop_assert_eq!(status.generation, Some(object.generation));
            prop_assert!(status.runs.len() <= BundleRelease::MAX_RUNS);
            prop_assert!(!status.is_forced(), "{}: {:?}", name, status);
            let asked = release.metadata.annotations.as_ref().and_then(|annotations| annotations.get(api::FORCE_AT));
            let noted = status.force.as_ref().and_then(|force| force.at.as_ref());
            prop_assert_eq!(noted, asked);
            // The operator of the end fails nothing.
            let tried = status.tries(object.generation) >= retries;
            let ended = if given_up { ReleaseState::RolledBack } else { ReleaseState::Succeeded };
            let ran = model.invoke.get(name).map(|value| status.invocations.iter().find(|run| run.invoke == *value));
            let invoke_failed = matches!(ran, Some(Some(run)) if run.result == RunResult::Failed);
            prop_assert!(status.state == Some(ended) || tried || invoke_failed, "{}: {:?}", name, status);
            prop_assert!(ran != Some(None) || status.state != Some(ReleaseState::Succeeded), "{}: {:?}", name, status);
            if status.state == Some(ReleaseState::Succeeded) {
                let record = &model.porter[name];
                prop_assert!(record.is_installed(), "{}: told to be installed: {:?}", name, record);
                let well = record.last.as_ref().is_some_and(|(_, _, well)| *well);
                prop_assert!(well || model.expired || model.of_others.contains(name), "{}: told to have run well: {:?}", name, record);
                if !model.older_again.contains(name) {
                    prop_assert_eq!(record.last.as_ref().map(|(last, _, _)| &last.parameters["n"]), Some(&(*n).into()));
                }
                // Of what others ran or deleted, a run may be one that nobody saw.
                if !model.expired && !model.meddled.contains(name) && !model.misread.contains(name) {
                    prop_assert_eq!(model.took.get(name), Some(&model.gives(&Model::spec(name, *n))), "{}: {:?}", name, status);
                }
            }
        }
        for release in model.releases.values().filter(|r| !model.asked.contains_key(&r.spec.installation.name)) {
            let state = release.status.as_ref().unwrap().state;
            prop_assert!(keep_record && state == Some(ReleaseState::Uninstalled), "{:?}", state);
        }
        for name in NAMES.iter().filter(|name| !model.asked.contains_key(**name)) {
            prop_assert!(!model.dirty.contains(*name), "{} leaks", name);
            prop_assert!(!model.installations.values().any(|object| object.body["spec"]["name"] == *name));
            let record = model.porter.get(*name).filter(|record| record.installed > 0);
            prop_assert!(record.is_none_or(|record| keep_record && record.is_uninstalled()), "{}: {:?}", name, record);
        }
        prop_assert!(model.ours.is_empty());
        let view = model.view();
        prop_assert!(view.plan().is_settled(), "{:?}", view.steps());
        let outcome = view.plan().outcome;
        prop_assert!(outcome.waiting.is_empty() && outcome.refused.is_empty(), "{:?}", outcome);
        prop_assert_eq!(outcome.summary.total as usize, model.asked.len());
    }
}

/// Its object was taken by another installation while its uninstall was yet to begin, so it has one of another name, which
/// is never made: the command alone uninstalls it.
#[test]
fn what_gave_its_object_away_is_uninstalled_by_a_command() {
    let operator = |name| Event::Operator { name, ends: Ends::Well };
    let reconcile = |steps| Event::Reconcile { steps, stale: Stale::Nothing };
    let mut events = vec![reconcile(1), operator(3), operator(3), operator(3)];
    events.extend([Event::Source { name: 0, n: Some(0) }, operator(3), Event::Set { n: 1 }, reconcile(1)]);
    events.extend([operator(3), operator(3), operator(3), Event::Rename { name: 1, object: 0 }, reconcile(3)]);
    events.extend([operator(1), operator(1), Event::Rename { name: 1, object: 1 }]);
    events.extend([Event::Source { name: 0, n: None }, Event::Delete { name: 1 }]);
    events.push(Event::Source { name: 1, n: Some(0) });
    let mut model = Model::new();
    model.max_actions = 1;
    let mut last = model.view();
    for event in &events {
        model.happens(event, &mut last);
    }
    model.settle();
    assert!(model.ours.is_empty());
    let left = model.releases.values().filter(|one| !model.asked.contains_key(&one.spec.installation.name));
    assert_eq!(left.count(), 0);
}

/// One of its sets gives something else, and the source changes the other: it runs after both.
#[test]
fn what_runs_for_one_set_waits_for_the_other() {
    let mut model = Model::new();
    for name in 0..NAMES.len() {
        model.happens(&Event::Source { name, n: Some(0) }, &mut model.view());
    }
    model.settle();
    for event in [Event::Parameters, Event::Set { n: 1 }] {
        model.happens(&event, &mut model.view());
    }
    let since = model.log.len();
    model.settle();
    let ran = model.log[since..].iter().filter(|command| command.of == NAMES[0] && command.action.is_some());
    assert_eq!(ran.count(), 1);
}

/// Somebody edits an Installation, and its run is cut off with it: what ran of it is not known.
#[test]
fn what_nobody_knows_the_document_of_is_made_good_by_the_second_that_runs() {
    let reconcile = |steps| Event::Reconcile { steps, stale: Stale::Nothing };
    let (mut model, name) = (Model::new(), 0);
    (model.max_actions, model.rollback) = (1, true);
    model.come_to_stand();
    for event in [
        Event::LetGo { name },
        Event::Edit { name, n: 1 },
        Event::Operator { name, ends: Ends::Well },
        reconcile(1),
        Event::Delete { name },
    ] {
        model.happens(&event, &mut model.view());
    }
    for ready in [1, 2] {
        model.settle();
        let outcome = model.view().plan().outcome;
        assert_eq!(outcome.summary.ready, ready, "{outcome:?}");
        model.happens(&Event::Source { name, n: Some(2) }, &mut model.view());
    }
}

/// It leaves the source while its Installation is gone already: by a hand that took our finalizer off, too.
#[test]
fn what_a_custom_action_came_to_is_noted_without_its_installation() {
    let (reconcile, name) = (|steps| Event::Reconcile { steps, stale: Stale::Nothing }, 0);
    let mut model = Model::new();
    (model.max_actions, model.dependant) = (1, Some(1));
    model.come_to_stand();
    for event in [
        Event::Invoke { name, token: 0 },
        reconcile(1),
        reconcile(2),
        Event::Operator { name, ends: Ends::Well },
        Event::Source { name, n: None },
        Event::Parameters,
        Event::Operator { name, ends: Ends::Well },
        Event::LetGo { name },
        reconcile(1),
        Event::Delete { name },
        Event::Operator { name, ends: Ends::Well },
        reconcile(2),
        reconcile(2),
        Event::Source { name, n: Some(0) },
    ] {
        model.happens(&event, &mut model.view());
    }
    model.settle();
    assert_eq!(model.invoked.len(), 1);
}
