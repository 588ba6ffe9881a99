//! What a BundleSync and its releases tell of runs, and what is left of runs when they are over.

use std::collections::BTreeSet;

use crate::world::{PATIENCE, REPOSITORY, World, installation};
use anyhow::{Context, Result, bail, ensure};
use api::porter::AgentAction;
use api::{Condition, condition};
use e2e::eventually;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde_json::json;

const MYSQL: &str = "apps/mysql.yaml";
const OF_ACTIONS: &str = "getporter.org/managed=true,getporter.org/resourceKind=AgentAction";

impl World {
    async fn told(&self, sync: &str, kind: &str) -> Result<Option<Condition>> {
        let status = self.sync_object(sync).await?.status.unwrap_or_default();
        Ok(status.conditions.into_iter().find(|condition| condition.type_ == kind))
    }

    /// What stands with these labels and is not on its way out.
    async fn standing<K>(&self, labels: &str) -> Result<BTreeSet<String>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let list = ListParams::default().labels(labels);
        let found = Api::<K>::namespaced(self.client.clone(), &self.namespace).list_metadata(&list).await?;
        let stands = found.iter().filter(|object| object.metadata.deletion_timestamp.is_none());
        Ok(stands.map(ResourceExt::name_any).collect())
    }

    /// Claims, Secrets and Jobs of bundles that were made for AgentActions.
    async fn leftovers(&self) -> Result<[usize; 3]> {
        let bundles = format!("{OF_ACTIONS},getporter.org/jobType=bundle-installer");
        Ok([
            self.standing::<PersistentVolumeClaim>(OF_ACTIONS).await?.len(),
            self.standing::<Secret>(OF_ACTIONS).await?.len(),
            self.standing::<Job>(&bundles).await?.len(),
        ])
    }

    pub(crate) async fn leaves(&self, what: &str, actions: usize, leftovers: [usize; 3]) -> Result<()> {
        eventually(
            PATIENCE,
            &format!("{what}: {actions} AgentActions, and of claims, Secrets, Jobs {leftovers:?}"),
            || async {
                let stands = (self.standing::<AgentAction>("").await?.len(), self.leftovers().await?);
                if stands == (actions, leftovers) { Ok(()) } else { bail!("{stands:?}") }
            },
        )
        .await
    }
}

#[tokio::test]
async fn what_superseded_agent_actions_left_behind_goes_with_them() -> Result<()> {
    let world = World::start("leftovers").await?;
    let first = world
        .begin(
            json!({"prune": true, "retryInterval": "1s", "retry": {"limit": 2}}),
            &[(MYSQL, installation("mysql", "0.1.0", 1))],
        )
        .await?;
    world.ready_at("apps", &first).await?;
    world.leaves("installed", 1, [1, 2, 1]).await?;
    // The failed upgrade, and the AgentAction of ours that ran it again.
    world.runner.fail_next(REPOSITORY, 1);
    let second = world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.ready_at("apps", &second).await?;
    world.leaves("upgraded", 1, [1, 2, 1]).await?;
    let runs = world.release("mysql").await?.status.unwrap_or_default().runs;
    ensure!(runs.len() == 3, "the ledger has what is gone: {runs:?}");
    // Somebody else's, which only looks like it.
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &world.namespace);
    let theirs = json!({"metadata": {"name": "theirs", "labels": {
        "getporter.org/managed": "true", "getporter.org/resourceKind": "AgentAction", "getporter.org/resourceName": "other",
    }}});
    secrets.create(&Default::default(), &serde_json::from_value(theirs)?).await?;
    let notes = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {a: b}\n".to_owned();
    let third = world.repository.commit("without").remove(MYSQL).write("apps/notes.yaml", notes).push().await?;
    world.refresh(&third).await?;
    world.ready_at("apps", &third).await?;
    world.leaves("uninstalled", 0, [0, 1, 0]).await?;
    world.ran_only(&["install mysql", "upgrade mysql", "upgrade mysql", "uninstall mysql"])?;
    Ok(())
}

/// An AgentAction whose Job expires begins again as long as its Installation is there, also while that is being deleted: what it
/// needs goes after our finalizer.
#[tokio::test]
async fn what_may_begin_again_keeps_what_it_needs_until_its_installation_goes() -> Result<()> {
    let world = World::start("needs").await?;
    // Longer than the test looks at it, and so short that the controller reckons with its end.
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": 100})).await?;
    let document = [(MYSQL, installation("mysql", "0.1.0", 1))];
    let first = world.begin(json!({"prune": true, "agent": "None"}), &document).await?;
    world.ready_at("apps", &first).await?;
    let since = jiff::Timestamp::now();
    let notes = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {a: b}\n".to_owned();
    let second = world.repository.commit("without").remove(MYSQL).write("apps/notes.yaml", notes).push().await?;
    world.refresh(&second).await?;
    world.ready_at("apps", &second).await?;
    world.leaves("uninstalled", 0, [0, 0, 0]).await?;
    let events = world.environment.audit(e2e::User::Controller, since)?;
    let ours = events.iter().filter(|event| event.is_write() && event.object().namespace == world.namespace);
    let writes: Vec<String> = ours.map(|event| format!("{} {}", event.verb, event.object().resource)).collect();
    let deleted = writes.iter().position(|write| write == "delete installations").context("not deleted")?;
    let after = writes.get(deleted..).unwrap_or_default();
    let lifted = after.iter().position(|write| write == "patch installations").context("not lifted")?;
    let (held, gone) = after.split_at(lifted);
    ensure!(!held.iter().any(|write| write == "delete secrets"), "{writes:#?}");
    ensure!(gone.iter().any(|write| write == "delete secrets"), "{writes:#?}");
    world.ran_only(&["install mysql", "uninstall mysql"])
}

/// As when the operator begins anew with an AgentAction that is being deleted, since its Job expires at that moment. The Job
/// here starts no pod, and the test says how it ends.
#[tokio::test]
async fn what_outlives_an_agent_action_goes_when_it_is_over() -> Result<()> {
    let world = World::start("outlives").await?;
    let first = world.begin(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    world.leaves("installed", 1, [1, 2, 1]).await?;
    let labels = json!({
        "getporter.org/managed": "true", "getporter.org/resourceKind": "AgentAction",
        "getporter.org/resourceName": "mysql-gone", "getporter.org/jobType": "bundle-installer",
        api::OWNER_NAME_LABEL: "apps", api::OWNER_NAMESPACE_LABEL: world.namespace,
    });
    let metadata = json!({"name": "outlives", "labels": labels});
    let pod =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "bundle", "image": "example.test/none"}]}});
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &world.namespace);
    secrets.create(&Default::default(), &serde_json::from_value(json!({"metadata": metadata}))?).await?;
    let jobs = Api::<Job>::namespaced(world.client.clone(), &world.namespace);
    let job = json!({"metadata": metadata, "spec": {"suspend": true, "template": pod}});
    jobs.create(&Default::default(), &serde_json::from_value(job)?).await?;
    world.looked_at("apps").await?;
    world.leaves("while its Job is on", 1, [1, 3, 2]).await?;
    let at = "2026-01-01T00:00:00Z";
    let is = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": at});
    let over = json!({"status": {
        "startTime": at, "completionTime": at, "succeeded": 1,
        "conditions": [is("SuccessCriteriaMet"), is("Complete")],
    }});
    jobs.patch_status("outlives", &PatchParams::default(), &Patch::Merge(&over)).await?;
    world.leaves("once it is over", 1, [1, 2, 1]).await?;
    world.ran_only(&["install mysql"])
}

#[tokio::test]
async fn a_flag_keeps_what_is_left_behind() -> Result<()> {
    let world = World::with("kept", &["--keep-agent-leftovers"]).await?;
    let first = world.begin(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let second = world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.ready_at("apps", &second).await?;
    world.leaves("upgraded", 1, [2, 4, 2]).await?;
    world.ran_only(&["install mysql", "upgrade mysql"])
}

#[tokio::test]
async fn health_is_told_with_wait_and_only_then() -> Result<()> {
    let world = World::start("healthy").await?;
    let first = world.begin(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let healthy = world.told("apps", condition::HEALTHY).await?.context("no Healthy")?;
    ensure!((healthy.status.as_str(), healthy.reason.as_str()) == ("True", condition::SUCCEEDED), "{healthy:?}");
    ensure!(healthy.message == "Health check passed", "{healthy:?}");

    world.runner.fail_next(REPOSITORY, 1);
    world.commit("second", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "AgentAction").await?;
    let healthy = world.told("apps", condition::HEALTHY).await?.context("no Healthy")?;
    ensure!(
        (healthy.status.as_str(), healthy.reason.as_str()) == ("False", condition::HEALTH_CHECK_FAILED),
        "{healthy:?}"
    );

    // A build that fails says nothing of health.
    world.commit("broken", &[(MYSQL, "schemaType: Installation\n".to_owned())]).await?;
    world.not_ready("apps", condition::BUILD_FAILED, "").await?;
    let healthy = world.told("apps", condition::HEALTHY).await?.context("no Healthy")?;
    ensure!(healthy.status == "False", "{healthy:?}");

    // Without wait a failed run fails nothing, and there is no health.
    let third = world.push("third", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.sync("apps", json!({"wait": false})).await?;
    world.refresh(&third).await?;
    world.ready_at("apps", &third).await?;
    ensure!(world.told("apps", condition::HEALTHY).await?.is_none());
    let failed = world.sync_object("apps").await?.status.and_then(|status| status.installations);
    ensure!(failed.is_some_and(|summary| summary.failed == 1));
    world.ran_only(&["install mysql", "upgrade mysql"])
}

#[tokio::test]
async fn the_history_has_an_entry_for_what_was_asked_and_how_it_ended() -> Result<()> {
    let world = World::start("history").await?;
    let first = world.begin(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    // A comment asks for the same.
    let comment = format!("# why\n{}", installation("mysql", "0.1.0", 1));
    let second = world.commit("comment", &[(MYSQL, comment)]).await?;
    world.ready_at("apps", &second).await?;
    world.runner.fail_next(REPOSITORY, 1);
    let third = world.commit("third", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "AgentAction").await?;
    let history = world.sync_object("apps").await?.status.unwrap_or_default().history;
    let told: Vec<_> = history
        .iter()
        .map(|one| (one.last_reconciled_status.as_str(), one.metadata.get("revision").cloned().unwrap_or_default()))
        .collect();
    let at = |commit: &str| format!("main@sha1:{commit}");
    ensure!(told == [("HealthCheckFailed", at(&third)), ("ReconciliationSucceeded", at(&second))], "{history:#?}");
    let [failed, well] = &history[..] else { bail!("{history:#?}") };
    ensure!(well.total_reconciliations == 2 && failed.digest != well.digest, "{history:#?}");
    ensure!(well.first_reconciled <= well.last_reconciled && failed.last_reconciled_duration.ends_with('s'));
    world.ran_only(&["install mysql", "upgrade mysql"])
}

#[tokio::test]
async fn agent_configs_that_make_runs_unsafe_are_told_once() -> Result<()> {
    let world = World::start("unsafe").await?;
    world.agent("default", json!({"retryLimit": 2, "ttlSecondsAfterFinished": 3600})).await?;
    let first =
        world.begin(json!({"agent": "None", "interval": "1s"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.ready_at("apps", &first).await?;
    let told = world.told("apps", condition::UNSAFE_AGENT).await?.context("not told")?;
    ensure!((told.status.as_str(), told.reason.as_str()) == ("True", condition::JOBS_RUN_AGAIN), "{told:?}");
    ensure!(
        told.message.contains("ttlSecondsAfterFinished is 3600") && told.message.contains("up to 2 times"),
        "{told:?}"
    );
    world.reconciled_again("apps", 3).await?;
    let events: Vec<_> =
        world.events().await?.into_iter().filter(|event| event.starts_with("Warning UnsafeAgent")).collect();
    ensure!(events.len() == 1, "{events:?}");

    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": i32::MAX})).await?;
    eventually(PATIENCE, "nothing unsafe any more", || async {
        match world.told("apps", condition::UNSAFE_AGENT).await? {
            None => Ok(()),
            Some(told) => bail!("{told:?}"),
        }
    })
    .await?;
    world.ran_only(&["install mysql"])
}

/// Of a failed run: the reason in the ledger, in both messages, and in one event of the release.
async fn failed_with(world: &World, part: &str) -> Result<()> {
    let message = world.not_ready("apps", condition::HEALTH_CHECK_FAILED, part).await?;
    let status = world.release("mysql").await?.status.unwrap_or_default();
    let run = status.runs.first().context("no run")?;
    let reason = run.reason.clone().unwrap_or_default();
    ensure!(reason.contains(part), "{run:?}");
    ensure!(status.message.is_some_and(|message| message.contains(&reason)) && message.contains(&reason), "{message}");
    let event =
        format!("Warning RunFailed AgentAction {} of generation {} failed: {reason}", run.action, run.generation);
    eventually(PATIENCE, &event, || async {
        let events: Vec<_> = world.events().await?.into_iter().filter(|told| told.contains("RunFailed")).collect();
        if events.iter().filter(|told| **told == event).count() == 1 { Ok(()) } else { bail!("{events:?}") }
    })
    .await
}

#[tokio::test]
async fn why_runs_failed_is_told_by_what_their_pods_show() -> Result<()> {
    let world = World::start("why").await?;
    world.runner.kill_next(REPOSITORY);
    world.begin(json!({"interval": "1s"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    failed_with(&world, "OOMKilled (exit code 137)").await?;
    let told = world.release("mysql").await?.status.unwrap_or_default().message.unwrap_or_default();
    ensure!(told.contains("the bundle's pod") && told.contains("the agent's pod"), "{told}");

    // Nobody asks again for what is noted.
    let since = jiff::Timestamp::now();
    world.reconciled_again("apps", 3).await?;
    let asked = world.environment.audit(e2e::User::Controller, since)?;
    let pods: Vec<_> = asked
        .iter()
        .filter(|event| event.request_uri.contains(&world.namespace) && event.request_uri.contains("/pods"))
        .collect();
    ensure!(pods.is_empty(), "{pods:?}");

    world.runner.evict_next(1);
    world.commit("evicted", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    failed_with(&world, "Evicted: The node was low on resource: memory.").await?;

    world.runner.fail_next(REPOSITORY, 1);
    world.commit("failed", &[(MYSQL, installation("mysql", "0.1.0", 3))]).await?;
    failed_with(&world, "exit code 1").await?;
    // The one that was evicted never came as far as the bundle, and no install succeeded.
    world.ran_only(&["install mysql", "install mysql"])
}

#[tokio::test]
async fn a_run_that_does_not_get_on_says_why_and_goes_on() -> Result<()> {
    let world = World::start("hangs").await?;
    world.runner.unpublish(REPOSITORY);
    let first = world.begin(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.message_contains("apps", "does not get on: the bundle's pod").await?;
    let told = world.release("mysql").await?.status.unwrap_or_default().message.unwrap_or_default();
    ensure!(told.contains("ImagePullBackOff: Back-off pulling image"), "{told}");
    world.runner.release(REPOSITORY);
    world.ready_at("apps", &first).await?;
    let told = world.release("mysql").await?.status.unwrap_or_default().message.unwrap_or_default();
    ensure!(!told.contains("does not get on"), "{told}");
    world.ran_only(&["install mysql"])?;
    Ok(())
}

#[tokio::test]
async fn a_job_whose_pod_is_refused_says_why() -> Result<()> {
    let world = World::start("refused-pod").await?;
    // The API server's own admission of pods, and the Job controller's own event.
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(world.client.clone());
    let enforce = |level: Option<&str>| {
        Patch::Merge(json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}))
    };
    namespaces.patch(&world.namespace, &PatchParams::default(), &enforce(Some("restricted"))).await?;
    let first = world.begin(json!({"timeout": "5m"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.message_contains("apps", "has no pod: FailedCreate: Error creating: pods").await?;
    let told = world.release("mysql").await?.status.unwrap_or_default().message.unwrap_or_default();
    ensure!(told.contains("violates PodSecurity"), "{told}");
    namespaces.patch(&world.namespace, &PatchParams::default(), &enforce(None)).await?;
    // The Job controller tries again, later each time.
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql"])
}

#[tokio::test]
async fn a_run_that_the_operator_makes_no_job_for_says_why() -> Result<()> {
    let world = World::start("jobless").await?;
    world.without_agent("default").await?;
    let first = world.begin(json!({"agent": "None"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    world.message_contains("apps", "does not get on: there is no AgentConfig").await?;
    world.agent("default", json!({"retryLimit": 0, "ttlSecondsAfterFinished": i32::MAX})).await?;
    world.ready_at("apps", &first).await?;
    world.ran_only(&["install mysql"])
}

#[tokio::test]
async fn who_may_not_read_logs_is_told_the_reason_all_the_same() -> Result<()> {
    let world = World::with("logs", &["--run-log-lines=5"]).await?;
    world.runner.kill_next(REPOSITORY);
    world.begin(json!({}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    failed_with(&world, "OOMKilled (exit code 137)").await?;
    let runs = world.release("mysql").await?.status.unwrap_or_default().runs;
    ensure!(runs.iter().all(|run| run.log.is_none()), "{runs:?}");
    let log = std::fs::read_to_string(world.controller.log())?;
    ensure!(log.contains("why runs fail cannot be told in full"), "not told in the log");
    world.ran_only(&["install mysql"])
}
