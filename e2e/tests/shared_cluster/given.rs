//! Sets, and the Secrets that they name: what runs again when one gives something else, by the actions that the runner executed.

use crate::world::{PATIENCE, QUIET, World, installation};
use anyhow::{Context as _, Result, ensure};
use api::porter::AgentAction;
use api::{ReleaseState, condition};
use e2e::{User, eventually};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const APPLY: &str = "installation apply installation.yaml";
const FORCE: &str = "installation apply installation.yaml --force";

async fn lose(world: &World, name: &str) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &world.namespace);
    secrets.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// A set that nobody's source has.
async fn foreign_set(world: &World, kind: &str, name: &str, entries: Value) -> Result<()> {
    let list = if kind == "CredentialSet" { "credentials" } else { "parameters" };
    let set = json!({
        "apiVersion": "getporter.org/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"schemaVersion": "1.0.1", "name": name, "namespace": world.namespace, (list): entries},
    });
    let sets = e2e::dynamic(world.client.clone(), &world.namespace, "getporter.org", "v1", kind);
    sets.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&set)).await?;
    eventually(PATIENCE, &format!("the run of {kind} {name}"), || async {
        let set = sets.get(name).await?;
        let (status, generation) = (&set.data["status"], set.metadata.generation);
        ensure!(status["phase"] == "Succeeded" && status["observedGeneration"].as_i64() == generation, "{status}");
        Ok(())
    })
    .await
}

fn from_secret(name: &str, secret: &str) -> Value {
    json!([{"name": name, "source": {"secret": secret}}])
}

fn document(name: &str, sets: &str) -> (String, String) {
    (format!("apps/{name}.yaml"), format!("{}{sets}", installation(name, "0.1.0", 1)))
}

/// What Porter was asked for, of installations.
fn arguments(world: &World) -> Vec<String> {
    let all = world.runner.commands().into_iter().map(|command| command.arguments.join(" "));
    all.filter(|command| command.starts_with("installation")).collect()
}

/// A parameter as the bundle got it last.
fn parameter(world: &World, installation: &str, name: &str) -> Value {
    let executions = world.runner.executions();
    let last = executions.iter().rev().find(|execution| execution.installation.1 == installation);
    last.and_then(|execution| execution.parameters.get(name).cloned()).unwrap_or_default()
}

/// Waits until so many bundle actions have run and been noted, and sees that no more follow.
async fn settled(world: &World, ran: &[&str]) -> Result<()> {
    eventually(PATIENCE, &format!("{ran:?}, noted"), || async {
        ensure!(world.ran() == ran, "{:?}", world.ran());
        let actions = Api::<AgentAction>::namespaced(world.client.clone(), &world.namespace);
        let ours = actions.list(&ListParams::default().labels(api::RELEASE_LABEL)).await?.items;
        ensure!(ours.is_empty(), "{:?}", ours.iter().map(|action| &action.metadata.name).collect::<Vec<_>>());
        Ok(())
    })
    .await?;
    tokio::time::sleep(QUIET).await;
    ensure!(world.ran() == ran, "{:?}", world.ran());
    ensure!(world.runner.overlaps().is_empty(), "{:?}", world.runner.overlaps());
    Ok(())
}

/// Waits until the release says this, in such a state.
async fn told(world: &World, name: &str, state: ReleaseState, part: &str) -> Result<()> {
    eventually(PATIENCE, &format!("release {name}: {state} ...{part}..."), || async {
        let status = world.release(name).await?.status.unwrap_or_default();
        let message = status.message.unwrap_or_default();
        ensure!(status.state == Some(state) && message.contains(part), "{:?} {message}", status.state);
        Ok(())
    })
    .await
}

/// What the controller asked of Secrets in the namespace, but for watches.
fn secret_requests(world: &World, since: Timestamp) -> Result<Vec<String>> {
    let events = world.environment.audit(User::Controller, since)?;
    let asked = events.iter().filter(|event| event.verb != "watch" && event.object().namespace == world.namespace);
    let asked = asked.filter(|event| event.object().resource == "secrets");
    Ok(asked.map(|event| format!("{} {}", event.verb, event.object().name)).collect())
}

#[tokio::test]
async fn a_changed_secret_runs_what_is_given_it_once() -> Result<()> {
    let mut world = World::start("secret").await?;
    world.hold_secret("db-password", json!({"value": "hunter2-one"})).await?;
    world.hold_secret("db-label", json!({"value": "one"})).await?;
    foreign_set(&world, "CredentialSet", "creds", from_secret("password", "DB_password")).await?;
    foreign_set(&world, "ParameterSet", "tuning", from_secret("label", "db-label")).await?;
    let files =
        [document("a", "credentialSets: [creds]\n"), document("b", "parameterSets: [tuning]\n"), document("c", "")];
    let first = world.begin(json!({"maxConcurrentActions": 1}), &files).await?;
    world.ready_at("apps", &first).await?;
    ensure!(parameter(&world, "b", "label") == "one", "{}", parameter(&world, "b", "label"));

    // Of a credential with another value Porter sees no difference: by force. Of a parameter it does.
    let mut ran = vec!["install a", "install b", "install c"];
    world.hold_secret("db-password", json!({"value": "hunter2-two"})).await?;
    ran.push("upgrade a");
    settled(&world, &ran).await?;
    world.hold_secret("db-label", json!({"value": "two"})).await?;
    ran.push("upgrade b");
    settled(&world, &ran).await?;
    ensure!(parameter(&world, "b", "label") == "two", "{}", parameter(&world, "b", "label"));
    ensure!(arguments(&world) == [APPLY, APPLY, APPLY, FORCE, APPLY], "{:?}", arguments(&world));
    world.ready_at("apps", &first).await?;

    // What gives the same runs nothing, and is read once; a restart runs nothing.
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &world.namespace);
    let since = Timestamp::now();
    let note = json!({"metadata": {"annotations": {"note": "new"}, "labels": {"a": "b"}}});
    secrets.patch("db-password", &PatchParams::default(), &Patch::Merge(&note)).await?;
    world.hold_secret("unnamed", json!({"value": "hunter2-three"})).await?;
    settled(&world, &ran).await?;
    let asked = secret_requests(&world, since)?;
    ensure!(asked == ["get db-password"], "{asked:?}");
    world.restart().await?;
    world.controller.wait_until_ready().await?;
    settled(&world, &ran).await?;
    let since = Timestamp::now();
    world.annotate("apps", api::REQUESTED_AT, "now").await?;
    eventually(PATIENCE, "lastHandledReconcileAt", || async {
        let status = world.sync_object("apps").await?.status.unwrap_or_default();
        ensure!(status.last_handled_reconcile_at.as_deref() == Some("now"));
        Ok(())
    })
    .await?;
    ensure!(secret_requests(&world, since)?.is_empty(), "{:?}", secret_requests(&world, since)?);
    settled(&world, &ran).await?;

    // Nothing of a value is anywhere, nor is its plain digest.
    let release = serde_json::to_string(&world.release("a").await?)?;
    ensure!(!release.contains("hunter2") && release.contains("secrets:"), "{release}");
    Ok(())
}

#[tokio::test]
async fn a_changed_set_runs_first_and_then_what_names_it_once() -> Result<()> {
    let world = World::start("set").await?;
    let set = |value: &str| {
        let set = format!(
            "schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- name: label\n  source: {{value: {value}}}\n"
        );
        ("apps/tuning.yaml".to_owned(), set)
    };
    let files = [document("a", "parameterSets: [tuning]\n"), document("b", ""), set("one")];
    let first = world.begin(json!({"maxConcurrentActions": 1}), &files).await?;
    world.ready_at("apps", &first).await?;
    let mut ran = vec!["install b", "install a"];
    settled(&world, &ran).await?;

    let second = world.commit("second", &[set("two")]).await?;
    ran.push("upgrade a");
    settled(&world, &ran).await?;
    world.ready_at("apps", &second).await?;
    ensure!(parameter(&world, "a", "label") == "two", "{}", parameter(&world, "a", "label"));
    let commands = world.runner.commands();
    let last: Vec<&str> = commands.iter().rev().take(2).map(|command| command.arguments[0].as_str()).collect();
    ensure!(last == ["installation", "parameters"], "the set's own run comes first: {last:?}");

    // The document, the set and a Secret of one commit: one run, with all of it.
    let named = "schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- name: label\n  source: {secret: label}\n";
    let secret = |value: &str| {
        let secret =
            format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: label}}\nstringData: {{value: {value}}}\n");
        ("apps/label.yaml".to_owned(), secret)
    };
    let larger = ("apps/a.yaml".to_owned(), format!("{}parameterSets: [tuning]\n", installation("a", "0.1.0", 2)));
    let third = [larger, ("apps/tuning.yaml".to_owned(), named.to_owned()), secret("three")];
    let third = world.commit("third", &third).await?;
    ran.push("upgrade a");
    settled(&world, &ran).await?;
    world.ready_at("apps", &third).await?;
    ensure!(parameter(&world, "a", "label") == "three", "{}", parameter(&world, "a", "label"));

    // The document and the Secret: one again. The Secret alone: one.
    let larger = ("apps/a.yaml".to_owned(), format!("{}parameterSets: [tuning]\n", installation("a", "0.1.0", 3)));
    let fourth = world.commit("fourth", &[larger, secret("four")]).await?;
    ran.push("upgrade a");
    settled(&world, &ran).await?;
    world.ready_at("apps", &fourth).await?;
    ensure!(parameter(&world, "a", "label") == "four", "{}", parameter(&world, "a", "label"));
    let fifth = world.commit("fifth", &[secret("five")]).await?;
    ran.push("upgrade a");
    settled(&world, &ran).await?;
    world.ready_at("apps", &fifth).await?;
    ensure!(parameter(&world, "a", "label") == "five", "{}", parameter(&world, "a", "label"));
    Ok(())
}

#[tokio::test]
async fn what_is_missing_is_told_and_goes_on_when_it_is_there() -> Result<()> {
    let world = World::start("missing").await?;
    foreign_set(&world, "CredentialSet", "creds", from_secret("password", "db-password")).await?;
    let first = world.begin(json!({}), &[document("a", "credentialSets: [creds]\n")]).await?;
    let place = format!("CredentialSet/{}/creds, password", world.namespace);
    let secret = format!("Secret {}/db-password", world.namespace);
    let message = world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "there is no Secret").await?;
    ensure!(message.contains(&format!("{place}: there is no {secret}")), "{message}");
    settled(&world, &[]).await?;

    // The wrong key is none.
    world.hold_secret("db-password", json!({"password": "hunter2-one"})).await?;
    told(&world, "a", ReleaseState::Failed, &format!("{place}: {secret} has no key `value`")).await?;
    settled(&world, &[]).await?;
    ensure!(arguments(&world) == [APPLY], "{:?}", arguments(&world));

    world.hold_secret("db-password", json!({"value": "hunter2-one"})).await?;
    settled(&world, &["install a"]).await?;
    world.ready_at("apps", &first).await?;
    ensure!(arguments(&world) == [APPLY, APPLY], "{:?}", arguments(&world));

    // Gone, and back with what it held: nothing; with something else: a run.
    lose(&world, "db-password").await?;
    told(&world, "a", ReleaseState::Succeeded, &format!("there is no {secret}")).await?;
    world.hold_secret("db-password", json!({"value": "hunter2-one"})).await?;
    eventually(PATIENCE, "nothing to be missing", || async {
        let message = world.release("a").await?.status.and_then(|status| status.message).context("no message")?;
        ensure!(!message.contains("there is no"), "{message}");
        Ok(())
    })
    .await?;
    settled(&world, &["install a"]).await?;
    lose(&world, "db-password").await?;
    told(&world, "a", ReleaseState::Succeeded, &format!("there is no {secret}")).await?;
    world.hold_secret("db-password", json!({"value": "hunter2-two"})).await?;
    settled(&world, &["install a", "upgrade a"]).await?;

    // A set that is gone is told, and nothing runs.
    let sets = e2e::dynamic(world.client.clone(), &world.namespace, "getporter.org", "v1", "CredentialSet");
    sets.delete("creds", &DeleteParams::default()).await?;
    told(&world, "a", ReleaseState::Succeeded, "there is no CredentialSet").await?;
    settled(&world, &["install a", "upgrade a"]).await
}

#[tokio::test]
async fn changes_during_a_run_are_one_run_after_it() -> Result<()> {
    let mut world = World::start("during").await?;
    world.hold_secret("db-password", json!({"value": "hunter2-one"})).await?;
    foreign_set(&world, "CredentialSet", "creds", from_secret("password", "db-password")).await?;
    world.runner.hold(crate::world::REPOSITORY);
    let first = world.begin(json!({}), &[document("a", "credentialSets: [creds]\n")]).await?;
    told(&world, "a", ReleaseState::Running, "runs").await?;
    eventually(PATIENCE, "the install", || async {
        ensure!(world.ran() == ["install a"], "{:?}", world.ran());
        Ok(())
    })
    .await?;
    world.hold_secret("db-password", json!({"value": "hunter2-two"})).await?;
    world.hold_secret("db-password", json!({"value": "hunter2-three"})).await?;
    world.restart().await?;
    world.controller.wait_until_ready().await?;
    tokio::time::sleep(QUIET).await;
    ensure!(world.ran() == ["install a"], "{:?}", world.ran());
    world.runner.release(crate::world::REPOSITORY);
    settled(&world, &["install a", "upgrade a"]).await?;
    world.ready_at("apps", &first).await?;
    ensure!(arguments(&world) == [APPLY, FORCE], "{:?}", arguments(&world));
    Ok(())
}

#[tokio::test]
async fn secrets_are_followed_only_where_they_may_be() -> Result<()> {
    let mut world = World::with("unwatched", &["--watch-secrets=false"]).await?;
    let since = Timestamp::now();
    world.hold_secret("db-password", json!({"value": "hunter2-one"})).await?;
    foreign_set(&world, "CredentialSet", "creds", from_secret("password", "db-password")).await?;
    let first = world.begin(json!({}), &[document("a", "credentialSets: [creds]\n")]).await?;
    world.ready_at("apps", &first).await?;
    world.hold_secret("db-password", json!({"value": "hunter2-two"})).await?;
    settled(&world, &["install a"]).await?;
    let mut asked = secret_requests(&world, since)?;
    asked.retain(|asked| asked != "list ");
    ensure!(
        asked.iter().all(|asked| asked.ends_with("porter-flux-controller-inputs") || asked == "create "),
        "{asked:?}"
    );
    // Another set of Secrets is another set.
    world.hold_secret("db-password-2", json!({"value": "hunter2-two"})).await?;
    foreign_set(&world, "CredentialSet", "creds", from_secret("password", "db-password-2")).await?;
    settled(&world, &["install a", "upgrade a"]).await?;
    // Once they are followed, that runs nothing by itself.
    world.controller.kill()?;
    world.controller = world.environment.controller(e2e::ControllerOptions::watching(&world.namespace)).await?;
    settled(&world, &["install a", "upgrade a"]).await?;
    world.hold_secret("db-password-2", json!({"value": "hunter2-three"})).await?;
    settled(&world, &["install a", "upgrade a", "upgrade a"]).await
}
