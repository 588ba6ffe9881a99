//! One controller for all namespaces, as it is installed: what it asks of the API server is what its role lets it, and the
//! role lets it nothing else. Alone in its executable, for it would take up the BundleSyncs of every other test.

mod world;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use api::{REQUESTED_AT, condition};
use e2e::{ControllerOptions, User, eventually};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use world::{PATIENCE, World, installation};

/// `(group, resource or resource/subresource, verb)`.
type Right = (String, String, String);

fn resource(name: &str, subresource: &str) -> String {
    [name, subresource].join("/").trim_end_matches('/').to_owned()
}

/// The rules of the controller's role. What one grants of several resources, it may need of any of them.
fn rules() -> Result<Vec<PolicyRule>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/rbac");
    let role = e2e::read_manifests(&folder)?.into_iter().find(|object| {
        object["kind"] == "ClusterRole" && object.pointer("/metadata/name") == Some(&"porter-flux-controller".into())
    });
    let role: ClusterRole = serde_json::from_value(role.context("manifests/rbac has no role of the controller")?)?;
    role.rules.context("the role has no rules")
}

/// What was asked for, and what of it was refused.
fn asked(world: &World, since: Timestamp) -> Result<(BTreeSet<Right>, Vec<String>)> {
    let mut rights = BTreeSet::new();
    let mut refused = Vec::new();
    for event in world.environment.audit(User::Controller, since)? {
        let object = event.object();
        if event.code() == 403 {
            refused.push(format!("{} {}", event.verb, event.request_uri));
        }
        let resource = resource(&object.resource, &object.subresource);
        // A server-side apply of what is not there: 201, and a right of its own.
        if event.verb == "patch" && event.code() == 201 {
            rights.insert((object.api_group.clone(), resource.clone(), "create".to_owned()));
        }
        rights.insert((object.api_group, resource, event.verb));
    }
    Ok((rights, refused))
}

const CREDS: &str = "schemaType: CredentialSet\nschemaVersion: 1.0.1\nname: creds\ncredentials:\n- name: token\n  source: {secret: token}\n";

fn named(name: &str, kind: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n{rest}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_controller_works_in_all_namespaces_with_the_rights_of_its_role() -> Result<()> {
    let since = Timestamp::now();
    let (mut platform, mut team) = (World::start("platform").await?, World::start("team").await?);
    platform.controller.kill()?;
    team.controller.kill()?;
    let elected =
        ControllerOptions { arguments: vec!["--enable-leader-election".to_owned()], ..ControllerOptions::default() };
    let _everywhere = platform.environment.controller(elected).await?;

    let elsewhere = format!(
        "apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {{name: redis, namespace: {}}}\nspec:\n  schemaVersion: 1.0.2\n  bundle: {{repository: {}, version: 0.1.0}}\n",
        team.namespace,
        world::REPOSITORY
    );
    let commit = platform
        .push(
            "first",
            &[
                ("team/mysql.yaml", format!("{}credentialSets: [creds]\n", installation("mysql", "0.1.0", 1))),
                ("team/creds.yaml", CREDS.to_owned()),
                ("team/notes.yaml", named("notes", "ConfigMap", "data: {a: '${zone}'}")),
                ("team/settings.yaml", named("settings", "Secret", "stringData: {a: b}")),
                ("platform/redis.yaml", elsewhere),
            ],
        )
        .await?;
    platform.source().await?;

    // The source of one namespace, followed from another, with variables of the latter; what stands there is refused.
    let theirs: Secret = serde_json::from_value(json!({"metadata": {"name": "settings"}, "stringData": {"a": "x"}}))?;
    let secrets = Api::<Secret>::namespaced(team.client.clone(), &team.namespace);
    secrets.create(&PostParams::default(), &theirs).await?;
    let token: Secret = serde_json::from_value(json!({"metadata": {"name": "token"}, "stringData": {"value": "1"}}))?;
    secrets.create(&PostParams::default(), &token).await?;
    let zone: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "zone"}, "data": {"zone": "one"}}))?;
    let maps = Api::<ConfigMap>::namespaced(team.client.clone(), &team.namespace);
    maps.create(&PostParams::default(), &zone).await?;
    let spec = json!({
        "sourceRef": {"kind": "GitRepository", "name": "fleet", "namespace": platform.namespace},
        "path": "team",
        "prune": true,
        "adoption": "Never",
        "postBuild": {"substituteFrom": [
            {"kind": "ConfigMap", "name": "zone"}, {"kind": "Secret", "name": "secrets", "optional": true},
        ]},
    });
    team.sync("apps", spec).await?;
    team.not_ready("apps", condition::RECONCILIATION_FAILED, "exists already").await?;
    // Why a run does not begin is asked of its pods, and of the events of a Job without any.
    let namespaces = Api::<Namespace>::all(team.client.clone());
    let enforce = |level: Option<&str>| {
        Patch::Merge(json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}))
    };
    namespaces.patch(&team.namespace, &PatchParams::default(), &enforce(Some("restricted"))).await?;
    secrets.delete("settings", &Default::default()).await?;
    team.message_contains("apps", "FailedCreate").await?;
    namespaces.patch(&team.namespace, &PatchParams::default(), &enforce(None)).await?;
    team.ready_at("apps", &commit).await?;

    // A document that says for itself where it belongs.
    let depends_on = json!([{"kind": "Kustomization", "name": "infra", "namespace": team.namespace}]);
    platform.sync("apps", json!({"path": "platform", "dependsOn": depends_on})).await?;
    platform.not_ready("apps", condition::DEPENDENCY_NOT_READY, "").await?;
    team.of_flux(world::KUSTOMIZATION, "infra", Some(world::ready(1))).await?;
    platform.ready_at("apps", &commit).await?;
    team.ran_only(&["install mysql", "install redis"])?;
    ensure!(platform.ran().is_empty(), "{:?}", platform.ran());
    let owner = team.release("redis").await?.spec.sync;
    ensure!((owner.namespace, owner.name) == (platform.namespace.clone(), "apps".to_owned()));

    // What its set gives: the key that this is digested with lies beside the controller.
    let beside = Api::<Secret>::namespaced(team.client.clone(), "flux-system");
    let key = beside.get("porter-flux-controller-inputs").await?.data.unwrap_or_default();
    ensure!(key.get("key").is_some_and(|key| key.0.len() == 32), "{:?}", key.keys());
    let edit = Patch::Merge(json!({"stringData": {"value": "2"}}));
    secrets.patch("token", &PatchParams::default(), &edit).await?;
    eventually(PATIENCE, "its run", || async {
        let ran = team.ran();
        ensure!(ran == ["install mysql", "install redis", "upgrade mysql"], "{ran:?}");
        Ok(())
    })
    .await?;
    team.ready_at("apps", &commit).await?;

    // What somebody writes to is put right.
    let edit = |value: Value| Patch::Merge(value);
    maps.patch("notes", &PatchParams::default(), &edit(json!({"data": {"more": "x"}}))).await?;
    let installations = Api::<api::porter::Installation>::namespaced(team.client.clone(), &team.namespace);
    installations.patch("mysql", &PatchParams::default(), &edit(json!({"spec": {"labels": {"a": "b"}}}))).await?;
    eventually(PATIENCE, "what was added to be gone", || async {
        let notes = maps.get("notes").await?.data.unwrap_or_default();
        let labels = installations.get("mysql").await?.spec.labels;
        let whole = notes.len() == 1 && notes.get("a").is_some_and(|a| a == "one");
        if whole && labels.is_empty() { Ok(()) } else { bail!("{notes:?} {labels:?}") }
    })
    .await?;

    // The next revision: a release is replaced.
    let larger = format!("{}credentialSets: [creds]\n", installation("mysql", "0.1.0", 2));
    let commit = platform.push("second", &[("team/mysql.yaml", larger)]).await?;
    platform.refresh(&commit).await?;
    team.ready_at("apps", &commit).await?;
    team.event_at(&commit).await?;
    team.annotate("apps", REQUESTED_AT, "now").await?;

    // What leaves the source is uninstalled and deleted.
    let commit = platform.remove("third", &["team/mysql.yaml", "team/settings.yaml"]).await?;
    platform.refresh(&commit).await?;
    team.ready_at("apps", &commit).await?;
    ensure!(team.ran().ends_with(&["uninstall mysql".to_owned()]), "{:?}", team.ran());

    let (asked, refused) = asked(&platform, since)?;
    ensure!(refused.is_empty(), "refused: {refused:?}");
    let mut unused = Vec::new();
    for rule in rules()? {
        let (groups, resources) = (rule.api_groups.unwrap_or_default(), rule.resources.unwrap_or_default());
        for verb in &rule.verbs {
            let covers = |(group, resource, asked): &Right| {
                groups.contains(group) && resources.contains(resource) && asked == verb
            };
            if !asked.iter().any(covers) {
                unused.push(format!("{verb} {resources:?}"));
            }
        }
    }
    ensure!(unused.is_empty(), "granted, and never asked for: {unused:?}");
    a_namespace_that_ends_holds_no_sync_elsewhere(&platform, &team).await
}

/// A sync of one namespace whose installation is in another, which is deleted: what ran there is told of where the sync is.
async fn a_namespace_that_ends_holds_no_sync_elsewhere(platform: &World, team: &World) -> Result<()> {
    // The operator's finalizer stays on a set in a namespace that ends, where it can run nothing.
    let commit = platform.repository.commit("fourth").remove("team/creds.yaml");
    let commit = commit.write("web/web.yaml", installation("web", "0.1.0", 1)).push().await?;
    platform.refresh(&commit).await?;
    team.ready_at("apps", &commit).await?;
    platform.sync("web", json!({"path": "web", "targetNamespace": team.namespace, "prune": true})).await?;
    platform.ready_at("web", &commit).await?;
    let ran = team.ran();
    ensure!(ran.last().is_some_and(|ran| ran == "install web"), "{ran:?}");

    let namespaces = Api::<Namespace>::all(team.client.clone());
    namespaces.delete(&team.namespace, &Default::default()).await?;
    eventually(PATIENCE, "the namespace to be gone", || async {
        match namespaces.get_opt(&team.namespace).await? {
            None => Ok(()),
            Some(left) => bail!("{:?}", left.status),
        }
    })
    .await?;
    eventually(PATIENCE, "the event of what was abandoned", || async {
        let events = platform.events().await?;
        let told = events.iter().any(|told| told.starts_with("Warning Abandoned") && told.contains("/web"));
        if told { Ok(()) } else { bail!("{events:?}") }
    })
    .await?;
    platform.delete_sync("web").await?;
    ensure!(team.ran() == ran, "{:?}", team.ran());
    team.none_overlap()
}
