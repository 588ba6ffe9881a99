//! What leaves the source is uninstalled before it is deleted, and what comes back is installed again: by the bundle
//! actions that the runner executed.

use crate::world::documents::config_map;
use crate::world::{PATIENCE, QUIET, REPOSITORY, World, installation};
use anyhow::{Context, Result, bail, ensure};
use api::porter::ParameterSet;
use api::{BundleRelease, CONFIRM, REQUESTED_AT, ReleaseState, condition};
use e2e::eventually;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use simulated_runner::porter_model::Bundle;

const MYSQL: &str = "apps/mysql.yaml";

#[tokio::test]
async fn what_left_is_uninstalled_and_what_comes_back_is_installed() -> Result<()> {
    let world = World::start("leaves").await?;
    let first = world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.gone().await?;
    world.ready_at("apps", &second).await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    ensure!(
        world.commands()
            == [
                "installation apply installation.yaml",
                "installation apply installation.yaml",
                "installation delete mysql --namespace NS",
            ],
        "{:?}",
        world.commands()
    );
    let third = world.commit("again", &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &third).await?;
    world.ran_only(&["install mysql", "uninstall mysql", "install mysql"])?;
    world.none_overlap()
}

#[tokio::test]
async fn a_failed_install_is_uninstalled_by_command() -> Result<()> {
    let world = World::start("half").await?;
    world.runner.fail_next(REPOSITORY, 1);
    world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await?;
    world.commit_without("without", &[MYSQL]).await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    let commands = world.commands();
    ensure!(
        commands[2..] == ["installation uninstall mysql --namespace NS", "installation delete mysql --namespace NS"],
        "{commands:?}"
    );
    world.none_overlap()
}

/// The Job of a bundle has no owner: it outlives the AgentAction.
#[tokio::test]
async fn an_uninstall_whose_agent_action_somebody_deletes_waits_for_its_bundle() -> Result<()> {
    let world = World::start("lost").await?;
    world.runner.fail_next(REPOSITORY, 1);
    world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await?;
    world.runner.hold(REPOSITORY);
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.lose_ours(2).await?;
    world.stays_at("apps", &["install mysql", "uninstall mysql"]).await?;
    world.runner.release(REPOSITORY);
    world.gone().await?;
    world.ready_at("apps", &second).await?;
    world.ran_only(&["install mysql", "uninstall mysql", "uninstall mysql"])?;
    world.leaves("uninstalled", 0, [0, 0, 0]).await
}

/// A bundle that cannot be pulled: Porter never came as far as to make a record.
#[tokio::test]
async fn what_porter_has_no_record_of_is_gone_once_it_was_asked() -> Result<()> {
    let world = World::start("unknown").await?;
    world.runner.with_registry(|registry| registry.remove(REPOSITORY));
    world.pruning(json!({"retryInterval": "1s"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await?;
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.gone().await?;
    world.ready_at("apps", &second).await?;
    world.ran_only(&[])?;
    let round = vec![
        "installation uninstall mysql --namespace NS",
        "installation show mysql --namespace NS",
        "installation logs show --installation mysql --namespace NS",
        "installation list --namespace NS",
    ];
    let commands = world.commands();
    let asked: Vec<&str> = commands.iter().map(String::as_str).collect();
    ensure!(asked.ends_with(&[round.clone(), round].concat()), "{commands:?}");
    world.none_overlap()
}

/// A secret that is missing: Porter made a record and came as far as no run, so that it knows of no bundle to uninstall with.
#[tokio::test]
async fn what_never_ran_for_want_of_a_secret_is_uninstalled_once_that_is_there() -> Result<()> {
    let world = World::start("secretless").await?;
    let set = "schemaType: CredentialSet\nschemaVersion: 1.0.1\nname: creds\ncredentials:\n- {name: password, source: {secret: db-password}}\n";
    let named = format!("{}credentialSets: [creds]\n", installation("mysql", "0.1.0", 1));
    world.pruning(json!({"retryInterval": "1s"}), &[(MYSQL, named), ("apps/set.yaml", set.to_owned())]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "there is no Secret").await?;
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.not_ready("apps", condition::PRUNE_FAILED, "its uninstall failed").await?;
    world.ran_only(&[])?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db-password"}, "stringData": {"value": "hunter2"}});
    let secrets = Api::<k8s_openapi::api::core::v1::Secret>::namespaced(world.client.clone(), &world.namespace);
    secrets.patch("db-password", &PatchParams::apply("test"), &Patch::Apply(&secret)).await?;
    world.ready_at("apps", &second).await?;
    world.ran_only(&["uninstall mysql"])?;
    ensure!(world.runner.records().is_empty(), "{:?}", world.runner.records());
    world.none_overlap()
}

/// What a person made and nobody took yet, and what replaced ours.
#[tokio::test]
async fn what_was_never_ours_is_not_uninstalled() -> Result<()> {
    let world = World::start("foreign").await?;
    let installations = world.installations();
    let first = world.pruning(json!({"adoption": "Never"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    // As `kubectl replace --force`, without our labels and finalizer.
    let mut object = installations.get("mysql").await?;
    installations.delete("mysql", &DeleteParams::default()).await?;
    object.metadata = kube::api::ObjectMeta { name: Some("mysql".into()), ..Default::default() };
    eventually(PATIENCE, "somebody else's to stand", || async {
        let _ = installations.delete("mysql", &DeleteParams::default()).await;
        installations.create(&kube::api::PostParams::default(), &object).await
    })
    .await?;
    let stands = installations.get("mysql").await?;
    let second = world.commit_without("without", &[MYSQL]).await?;
    eventually(PATIENCE, "its release to be gone", || async {
        let names = world.left().await?;
        if names.iter().any(|name| name.starts_with("release")) { bail!("{names:?}") } else { Ok(()) }
    })
    .await?;
    world.ready_at("apps", &second).await?;
    let now = installations.get("mysql").await?;
    ensure!(now.metadata.uid == stands.metadata.uid && now.spec == stands.spec, "{now:?}");
    world.ran_only(&["install mysql"])
}

#[tokio::test]
async fn a_failed_upgrade_is_uninstalled_with_the_last_spec_that_ran() -> Result<()> {
    let world = World::start("upgrade").await?;
    let first = world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 1);
    world.commit("two", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await?;
    world.commit_without("without", &[MYSQL]).await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "upgrade mysql", "uninstall mysql"])?;
    let last = world.runner.executions().pop().map(|execution| execution.parameters["size"].clone());
    ensure!(last == Some(json!(1)), "{last:?}");
    Ok(())
}

#[tokio::test]
async fn a_failed_uninstall_is_told_and_tried_again() -> Result<()> {
    let world = World::start("retry").await?;
    let first = world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.runner.fail_next(REPOSITORY, 2);
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.not_ready("apps", condition::PRUNE_FAILED, "its uninstall failed").await?;
    world.gone().await?;
    let uninstall = "uninstall mysql";
    world.ran_only(&["install mysql", uninstall, uninstall, uninstall])?;
    world.ready_at("apps", &second).await?;
    world.none_overlap()
}

#[tokio::test]
async fn a_kept_record_is_installed_over_by_force() -> Result<()> {
    let world = World::start("kept").await?;
    let keep = json!({"uninstall": {"keepRecord": true}});
    let first = world.pruning(keep, &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.ready_at("apps", &second).await?;
    let names = world.left().await?;
    ensure!(names == ["release of mysql Some(Uninstalled)"], "{names:?}");
    let third = world.commit("again", &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &third).await?;
    world.ran_only(&["install mysql", "uninstall mysql", "install mysql"])?;
    ensure!(world.runner.is_installed(&world.namespace, "mysql"));
    let state = world.release("mysql").await?.status.and_then(|status| status.state);
    ensure!(state == Some(ReleaseState::Succeeded), "{state:?}");
    let fourth = world.commit_without("without again", &[MYSQL]).await?;
    world.ready_at("apps", &fourth).await?;
    ensure!(world.ran()[3..] == ["uninstall mysql"], "{:?}", world.ran());
    ensure!(world.left().await? == ["release of mysql Some(Uninstalled)"], "{:?}", world.left().await?);
    let fifth = world.commit("once more", &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &fifth).await?;
    ensure!(world.ran()[4..] == ["install mysql"], "{:?}", world.ran());
    world.none_overlap()
}

#[tokio::test]
async fn back_while_it_is_uninstalled_ends_installed() -> Result<()> {
    let mut world = World::start("back").await?;
    let first = world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.runner.hold(REPOSITORY);
    world.commit_without("without", &[MYSQL]).await?;
    world.begun(2).await?;
    let third = world.commit("again", &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.message_contains("apps", "back in the source, once it is uninstalled").await?;
    world.restart().await?;
    world.runner.release(REPOSITORY);
    world.ready_at("apps", &third).await?;
    world.ran_only(&["install mysql", "uninstall mysql", "install mysql"])?;
    world.none_overlap()
}

#[tokio::test]
async fn another_porter_name_is_an_uninstall_and_an_install() -> Result<()> {
    let world = World::start("renamed").await?;
    let document = |name: &str| {
        format!(
            "apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {{name: db}}\nspec: {{schemaVersion: 1.0.2, name: {name}, namespace: dev, bundle: {{repository: {REPOSITORY}, version: 0.1.0}}}}\n"
        )
    };
    let first = world.pruning(json!({}), &[(MYSQL, document("old"))]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit("renamed", &[(MYSQL, document("new"))]).await?;
    world.ready_at("apps", &second).await?;
    world.ran_only(&["install old", "uninstall old", "install new"])?;
    world.none_overlap()
}

#[tokio::test]
async fn too_much_at_once_needs_a_confirmation() -> Result<()> {
    let world = World::start("much").await?;
    let names = ["a", "b", "c", "d"];
    let files: Vec<(String, String)> =
        names.iter().map(|name| (format!("apps/{name}.yaml"), installation(name, "0.1.0", 1))).collect();
    let files: Vec<(&str, String)> = files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    let first = world.pruning(json!({}), &files).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit_without("one", &["apps/a.yaml"]).await?;
    world.ready_at("apps", &second).await?;
    let installed = ["install a", "install b", "install c", "install d", "uninstall a"];
    world.ran_in_any_order(&installed)?;
    // One and two more are three of four.
    let third = world
        .repository
        .commit("two more, and a change")
        .remove("apps/b.yaml")
        .remove("apps/c.yaml")
        .write("apps/d.yaml", installation("d", "0.1.0", 2))
        .push()
        .await?;
    world.refresh(&third).await?;
    let told = world.not_ready("apps", condition::PRUNE_FAILED, "nothing is applied").await?;
    ensure!(told.contains("/b") && told.contains("/c") && told.contains(&third), "{told}");
    world.looked_at("apps").await?;
    tokio::time::sleep(QUIET).await;
    world.ran_in_any_order(&installed)?;
    world.annotate("apps", CONFIRM, &format!("main@sha1:{third}")).await?;
    world.ready_at("apps", &third).await?;
    world.ran_in_any_order(&[&installed[..], &["uninstall b", "uninstall c", "upgrade d"]].concat())
}

#[tokio::test]
async fn each_uninstall_can_ask() -> Result<()> {
    let world = World::start("asks").await?;
    let ask = json!({"uninstall": {"policy": "Confirm"}});
    let first = world.pruning(ask, &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit_without("without", &[MYSQL]).await?;
    world.message_contains("apps", CONFIRM).await?;
    world.stays_at("apps", &["install mysql"]).await?;
    world.annotate("apps", CONFIRM, &format!("main@sha1:{second}")).await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    Ok(())
}

#[tokio::test]
async fn sets_go_after_the_installations_that_name_them() -> Result<()> {
    let world = World::start("sets").await?;
    let set = "schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- {name: label, source: {value: x}}\n";
    let named = format!("{}parameterSets: [tuning]\n", installation("mysql", "0.1.0", 1));
    let first = world.pruning(json!({}), &[(MYSQL, named), ("apps/set.yaml", set.to_owned())]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit_without("without", &[MYSQL, "apps/set.yaml"]).await?;
    world.ready_at("apps", &second).await?;
    world.gone().await?;
    let sets = Api::<ParameterSet>::namespaced(world.client.clone(), &world.namespace);
    ensure!(sets.list(&ListParams::default()).await?.items.is_empty());
    let commands = world.commands();
    let at = |part: &str| commands.iter().position(|command| command.starts_with(part));
    let (installation, set) = (at("installation delete"), at("parameters delete"));
    ensure!(installation.is_some() && installation < set, "{commands:?}");
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    let inventory = world.sync_object("apps").await?.status.and_then(|status| status.inventory);
    let entries: Vec<_> = inventory.iter().flat_map(|inventory| &inventory.entries).map(|entry| &entry.id).collect();
    ensure!(entries.len() == 1 && entries[0].contains("notes"), "{entries:?}");
    Ok(())
}

#[tokio::test]
async fn a_deleted_sync_does_as_its_policy_says() -> Result<()> {
    for (prefix, spec, suspend, uninstalled) in [
        ("mirror", json!({}), false, true),
        ("mirror-kept", json!({"prune": false}), false, false),
        ("always", json!({"prune": false, "deletionPolicy": "Uninstall"}), false, true),
        ("orphan", json!({"deletionPolicy": "Orphan"}), false, false),
        ("suspended", json!({}), true, false),
    ] {
        let world = World::start(prefix).await?;
        let first = world.pruning(spec, &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
        world.ready_at("apps", &first).await?;
        if suspend {
            world.edit_sync("apps", json!({"suspend": true})).await?;
        }
        world.delete_sync("apps").await?;
        let expected: &[&str] = if uninstalled { &["install mysql", "uninstall mysql"] } else { &["install mysql"] };
        world.ran_only(expected).context(prefix)?;
        if uninstalled {
            world.gone().await?;
        } else {
            let stays = world.installation("mysql").await?;
            let finalizers = stays.metadata.finalizers.unwrap_or_default();
            ensure!(!finalizers.iter().any(|finalizer| finalizer == api::FINALIZER), "{prefix}: {finalizers:?}");
            ensure!(world.release("mysql").await.is_err(), "{prefix}: its release stays");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_terminating_namespace_is_let_go() -> Result<()> {
    let world = World::start("ends").await?;
    let first = world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(world.client.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await?;
    eventually(PATIENCE, "the namespace to be gone", || async {
        match namespaces.get_opt(&world.namespace).await? {
            None => Ok(()),
            Some(left) => bail!("{:?}", left.status),
        }
    })
    .await?;
    // Nothing can be made in it any more, the event included; what was tried is in the log.
    let log = std::fs::read_to_string(world.controller.log())?;
    ensure!(log.contains("\"reason\":\"Abandoned\""), "no word of it");
    world.ran_only(&["install mysql"])
}

#[tokio::test]
async fn a_suspended_sync_holds_nothing_that_is_deleted() -> Result<()> {
    let world = World::start("held").await?;
    let first = world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.edit_sync("apps", json!({"suspend": true})).await?;
    // Its release first, as it often goes in a namespace that is being deleted.
    let name = world.release("mysql").await?.metadata.name.unwrap_or_default();
    let releases = Api::<BundleRelease>::namespaced(world.client.clone(), &world.namespace);
    releases.delete(&name, &DeleteParams::default()).await?;
    let installations = world.installations();
    installations.delete("mysql", &DeleteParams::default()).await?;
    eventually(PATIENCE, "the Installation to be gone", || async {
        match installations.get_opt("mysql").await? {
            None => Ok(()),
            Some(left) => bail!("{:?}", left.metadata),
        }
    })
    .await?;
    world.ran_only(&["install mysql"])
}

/// A commit that moves documents between two syncs that prune, one of which may be reconciled before the other.
#[tokio::test]
async fn what_moves_between_two_syncs_in_one_commit_is_not_uninstalled() -> Result<()> {
    let world = World::start("moves").await?;
    // The set moves with the one that names it.
    let set = "schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- {name: label, source: {value: x}}\n";
    let document = |name: &str| {
        let named = if name == "a" { "parameterSets: [tuning]\n" } else { "" };
        format!("{}{named}", installation(name, "0.1.0", 1))
    };
    let file = |sync: &str, name: &str| format!("{sync}/{name}.yaml");
    let mut first = world
        .repository
        .commit("first")
        .write("one/notes.yaml", config_map("notes"))
        .write("two/notes.yaml", config_map("more"))
        .write("one/tuning.yaml", set);
    for name in ["a", "b", "c", "d", "e"] {
        first = first.write(&file("one", name), document(name));
    }
    let first = first.write(&file("two", "f"), document("f")).push().await?;
    world.source().await?;
    world.sync("one", json!({"path": "one", "prune": true})).await?;
    world.sync("two", json!({"path": "two", "prune": true})).await?;
    world.ready_at("one", &first).await?;
    world.ready_at("two", &first).await?;
    // Four of five would be too many at once, if they did not move; one does leave.
    let mut second = world.repository.commit("move").remove(&file("one", "e")).remove(&file("two", "f"));
    second = second.remove("one/tuning.yaml").write("two/tuning.yaml", set);
    for name in ["a", "b", "c"] {
        second = second.remove(&file("one", name)).write(&file("two", name), document(name));
    }
    let second = second.write(&file("one", "f"), document("f")).push().await?;
    world.refresh(&second).await?;
    world.ready_at("one", &second).await?;
    world.ready_at("two", &second).await?;
    let ran = ["install a", "install b", "install c", "install d", "install e", "install f", "uninstall e"];
    world.ran_in_any_order(&ran)?;
    ensure!(world.ran()[6] == "uninstall e", "{:?}", world.ran());
    for (name, owner) in [("a", "two"), ("b", "two"), ("c", "two"), ("d", "one"), ("f", "one")] {
        ensure!(world.release(name).await?.spec.sync.name == owner, "{name}");
    }
    // Both are back where they were, the second sync being deleted at the same time.
    let mut third = world.repository.commit("back").write("two/notes.yaml", config_map("other"));
    third = third.write("one/tuning.yaml", set);
    for name in ["a", "b", "c"] {
        third = third.write(&file("one", name), document(name));
    }
    let third = third.push().await?;
    world.refresh(&third).await?;
    world.delete_sync("two").await?;
    world.ready_at("one", &third).await?;
    world.ran_in_any_order(&ran)
}

#[tokio::test]
async fn what_is_uninstalled_already_is_only_forgotten() -> Result<()> {
    let world = World::start("already").await?;
    let first = world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let down = format!("{}uninstalled: true\n", installation("mysql", "0.1.0", 1));
    let second = world.commit("down", &[(MYSQL, down)]).await?;
    world.ready_at("apps", &second).await?;
    world.commit_without("without", &[MYSQL]).await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    ensure!(world.runner.records().is_empty(), "{:?}", world.runner.records());
    Ok(())
}

#[tokio::test]
async fn an_uninstall_without_its_bundle_is_tried_when_asked() -> Result<()> {
    let world = World::start("pulled").await?;
    // Nobody waits that long for the second try.
    let spec = json!({"retryInterval": "1h"});
    let first = world.pruning(spec, &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.runner.with_registry(|registry| registry.remove(REPOSITORY));
    world.commit_without("without", &[MYSQL]).await?;
    let told = world.not_ready("apps", condition::PRUNE_FAILED, "its uninstall failed").await?;
    ensure!(told.contains("Orphan"), "{told}");
    let state = world.release("mysql").await?.status.and_then(|status| status.state);
    ensure!(state == Some(ReleaseState::UninstallFailed), "{state:?}");
    world.ran_only(&["install mysql"])?;
    world.runner.with_registry(|registry| registry.define(REPOSITORY, Bundle::default()));
    world.annotate("apps", REQUESTED_AT, "now").await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    Ok(())
}

#[tokio::test]
async fn an_uninstall_waits_for_its_set_to_come_back() -> Result<()> {
    let world = World::start("setless").await?;
    let set = "schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: tuning\nparameters:\n- {name: label, source: {value: x}}\n";
    let named = format!("{}parameterSets: [tuning]\n", installation("mysql", "0.1.0", 1));
    let files = [(MYSQL, named), ("apps/set.yaml", set.to_owned())];
    let first = world.pruning(json!({}), &files).await?;
    world.ready_at("apps", &first).await?;
    world.edit_sync("apps", json!({"suspend": true})).await?;
    let sets = Api::<ParameterSet>::namespaced(world.client.clone(), &world.namespace);
    sets.delete("tuning", &DeleteParams::default()).await?;
    eventually(PATIENCE, "the set to be gone", || async {
        if sets.get_opt("tuning").await?.is_none() { Ok(()) } else { bail!("it stands") }
    })
    .await?;
    world.commit_without("without", &[MYSQL, "apps/set.yaml"]).await?;
    world.edit_sync("apps", json!({"suspend": false})).await?;
    world.not_ready("apps", condition::PRUNE_FAILED, "its uninstall failed").await?;
    world.commit("the set is back", &[("apps/set.yaml", set.to_owned())]).await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    Ok(())
}

#[tokio::test]
async fn without_its_release_it_is_uninstalled_all_the_same() -> Result<()> {
    let world = World::start("lost").await?;
    let first = world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.edit_sync("apps", json!({"suspend": true})).await?;
    let name = world.release("mysql").await?.metadata.name.unwrap_or_default();
    let releases = Api::<BundleRelease>::namespaced(world.client.clone(), &world.namespace);
    releases.delete(&name, &DeleteParams::default()).await?;
    world.commit_without("without", &[MYSQL]).await?;
    world.edit_sync("apps", json!({"suspend": false})).await?;
    world.gone().await?;
    world.ran_only(&["install mysql", "uninstall mysql"])?;
    Ok(())
}

/// Its document stays: what its run comes to is noted by a new release before it goes, and it is made again.
#[tokio::test]
async fn what_is_deleted_with_its_release_while_it_runs_is_made_again() -> Result<()> {
    let world = World::start("both").await?;
    let first = world.pruning(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.runner.hold(REPOSITORY);
    let second = world.commit("upgrade", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.begun(2).await?;
    let name = world.release("mysql").await?.metadata.name.unwrap_or_default();
    let releases = Api::<BundleRelease>::namespaced(world.client.clone(), &world.namespace);
    let uid = world.installations().get("mysql").await?.metadata.uid;
    world.installations().delete("mysql", &DeleteParams::default()).await?;
    releases.delete(&name, &DeleteParams::default()).await?;
    world.runner.release(REPOSITORY);
    eventually(PATIENCE, "another Installation", || async {
        let found = world.installations().get_opt("mysql").await?;
        let other = found.is_some_and(|object| object.metadata.uid != uid);
        if other { Ok(()) } else { bail!("{:?}", world.sync_object("apps").await?.ready()) }
    })
    .await?;
    world.ready_at("apps", &second).await?;
    let runs = world.release("mysql").await?.status.unwrap_or_default().runs;
    ensure!(runs.iter().any(|run| run.generation == 2 && run.result.is_some()), "{runs:?}");
    world.ran_only(&["install mysql", "upgrade mysql"])
}
