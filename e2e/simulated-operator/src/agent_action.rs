//! AgentActions: a Job each, as long as they exist, and its state copied back.
//!
//! From `controllers/agentaction_controller.go` of the operator.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::agent_config;
use crate::cluster::{
    Cluster, controlled_by, has_finalizer, is_deleted, is_not_found, post, retry_label, without_finalizer,
};
use crate::document;
use crate::kinds::{AgentActionSpec, AgentConfigSpec, Kind};
use crate::queue::Key;

const DEFAULT_REPOSITORY: &str = "ghcr.io/getporter/porter-agent";
const DEFAULT_VERSION: &str = "v1.0.14";
const DEFAULT_VOLUME_SIZE: &str = "64Mi";
const SHARED: &str = "/porter-shared";
const WORKDIR: &str = "/porter-workdir";

type Labels = BTreeMap<String, String>;

pub(crate) async fn reconcile(cluster: &Cluster, key: &Key) -> Result<()> {
    let Some(action) = cluster.get(Kind::AgentAction, key).await? else { return Ok(()) };
    match reconcile_action(cluster, action).await {
        Err(error) if is_not_found(&error) && cluster.get(Kind::AgentAction, key).await?.is_none() => Ok(()),
        outcome => outcome,
    }
}

async fn reconcile_action(cluster: &Cluster, mut action: DynamicObject) -> Result<()> {
    if is_deleted(&action) && has_finalizer(&action) {
        action = cluster.update(Kind::AgentAction, &without_finalizer(&action)).await?;
    }
    let namespace = action.namespace().context("an AgentAction has no namespace")?;
    let job = cluster.find(Kind::Job, &namespace, &job_labels(&action));
    let status = status(&action, job.as_deref())?;
    cluster.set_status(Kind::AgentAction, &mut action, status).await?;
    // The hazard: nothing else is asked, neither whether it ran already nor how that ended.
    if job.is_none() {
        run_porter(cluster, &action, &namespace).await?;
    }
    Ok(())
}

/// The labels of all that is made for this generation and retry of an action. The action's own add to them.
fn shared_labels(action: &DynamicObject) -> Labels {
    let mut labels = action.labels().clone();
    labels.extend(
        [
            ("getporter.org/managed", "true".to_owned()),
            ("getporter.org/resourceKind", "AgentAction".to_owned()),
            ("getporter.org/resourceName", action.name_any()),
            ("getporter.org/resourceGeneration", action.metadata.generation.unwrap_or_default().to_string()),
            ("getporter.org/retry", retry_label(action)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    labels
}

fn with(mut labels: Labels, key: &str, value: &str) -> Labels {
    labels.insert(key.to_owned(), value.to_owned());
    labels
}

fn job_labels(action: &DynamicObject) -> Labels {
    with(shared_labels(action), "getporter.org/jobType", "porter-agent")
}

/// The status that an action has because of its Job.
fn status(action: &DynamicObject, job: Option<&DynamicObject>) -> Result<Value> {
    let generation = action.metadata.generation;
    let Some(job) = job else {
        return Ok(json!({"observedGeneration": generation, "phase": "Unknown"}));
    };
    let state: JobStatus = match job.data.get("status") {
        Some(status) => serde_json::from_value(status.clone())?,
        None => JobStatus::default(),
    };
    // Conditions that were reached stay, also those of an earlier Job, until a look finds no Job.
    let mut conditions =
        action.data.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut reached = |type_: &str, reason: &str| {
        if !conditions.iter().any(|condition| condition["type"] == type_) {
            conditions.push(json!({
                "type": type_, "status": "True", "reason": reason, "message": "", "observedGeneration": generation,
                "lastTransitionTime": Time(k8s_openapi::jiff::Timestamp::now()),
            }));
        }
    };
    reached("Scheduled", "JobCreated");
    let mut phase = "Pending";
    let pods = [state.active, state.failed, state.succeeded].into_iter().flatten().sum::<i32>();
    if pods > 0 {
        reached("Started", "JobStarted");
        phase = "Running";
    }
    for condition in state.conditions.into_iter().flatten() {
        match condition.type_.as_str() {
            "Complete" => {
                reached("Completed", "JobCompleted");
                phase = "Succeeded";
            }
            "Failed" => {
                reached("Failed", "JobFailed");
                phase = "Failed";
            }
            _ => {}
        }
    }
    Ok(json!({
        "observedGeneration": generation, "phase": phase, "job": {"name": job.name_any()}, "conditions": conditions,
    }))
}

/// Makes the volume, the two secrets and the Job, or uses those that are there from an earlier try.
async fn run_porter(cluster: &Cluster, action: &DynamicObject, namespace: &str) -> Result<()> {
    let spec: AgentActionSpec = match action.data.get("spec") {
        Some(spec) => serde_json::from_value(spec.clone())?,
        None => AgentActionSpec::default(),
    };
    let config = agent_config::resolve(cluster, namespace, action, &spec)?;
    let labels = shared_labels(action);
    let name = format!("{}-", action.name_any());
    let metadata = |labels: &Labels| json!({"generateName": name, "namespace": namespace, "labels": labels});

    // None of these has an owner: the original leaves them behind.
    let claim = find_or_create::<PersistentVolumeClaim>(
        cluster,
        namespace,
        &labels,
        || json!({"metadata": metadata(&labels), "spec": claim_spec(&config)}),
    )
    .await?;
    let porter_config = json!({"stringData": {"config.yaml": porter_config(cluster, namespace).await?}});
    let config_secret = secret(cluster, action, namespace, "porter-config", porter_config).await?;
    let workdir = secret(cluster, action, namespace, "workdir", json!({"data": spec.files})).await?;

    let account = match config.installation_service_account.as_str() {
        "" => "default",
        account => account,
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), namespace);
    accounts.get(account).await.with_context(|| format!("error checking for the service account {account}"))?;

    let job = job(action, &spec, &config, namespace, [&claim, &config_secret, &workdir]);
    cluster.create(Kind::Job, namespace, job).await?;
    Ok(())
}

async fn secret(
    cluster: &Cluster,
    action: &DynamicObject,
    namespace: &str,
    type_: &str,
    mut content: Value,
) -> Result<String> {
    let labels = with(shared_labels(action), "getporter.org/secretType", type_);
    find_or_create::<Secret>(cluster, namespace, &labels, || {
        let name = format!("{}-", action.name_any());
        content["metadata"] = json!({"generateName": name, "namespace": namespace, "labels": labels});
        content["type"] = "Opaque".into();
        content["immutable"] = true.into();
        content
    })
    .await
}

/// What is asked of a volume.
pub(crate) fn claim_spec(config: &AgentConfigSpec) -> Value {
    let size = if config.volume_size.is_empty() { DEFAULT_VOLUME_SIZE } else { &config.volume_size };
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
    if !config.storage_class_name.is_empty() {
        spec["storageClassName"] = config.storage_class_name.clone().into();
    }
    spec
}

/// The name of the first object that has all `labels`, made where there is none.
pub(crate) async fn find_or_create<K>(
    cluster: &Cluster,
    namespace: &str,
    labels: &Labels,
    content: impl FnOnce() -> Value,
) -> Result<String>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), namespace);
    let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let found = api.list_metadata(&ListParams::default().labels(&selector.join(","))).await?;
    if let Some(found) = found.items.first() {
        return Ok(found.name_any());
    }
    let object: K = serde_json::from_value(content())?;
    Ok(api.create(&post(), &object).await?.name_any())
}

/// The text of Porter's configuration: built in, then system, then namespace; each top-level field overrides.
async fn porter_config(cluster: &Cluster, namespace: &str) -> Result<String> {
    let mut config = json!({
        "default-storage": "in-cluster-mongodb",
        "default-secrets-plugin": "kubernetes.secrets",
        "storage": [{
            "name": "in-cluster-mongodb", "plugin": "mongodb",
            "config": {"url": "mongodb://mongodb.porter-operator-system.svc.cluster.local"},
        }],
    });
    let kind = kube::core::GroupVersionKind::gvk("getporter.org", "v1", "PorterConfig");
    let resource = kube::api::ApiResource::from_gvk(&kind);
    for namespace in [cluster.options.system_namespace.as_str(), namespace] {
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &resource);
        let Some(found) = api.get_opt("default").await? else { continue };
        for (key, value) in found.data.get("spec").and_then(Value::as_object).into_iter().flatten() {
            config[key] = value.clone();
        }
    }
    Ok(document::to_yaml(&config))
}

fn job(
    action: &DynamicObject,
    spec: &AgentActionSpec,
    config: &AgentConfigSpec,
    namespace: &str,
    [claim, config_secret, workdir]: [&str; 3],
) -> Value {
    let name = format!("{}-", action.name_any());
    let labels = job_labels(action);
    let metadata = json!({"generateName": name, "namespace": namespace, "labels": labels});
    let mut volumes = vec![
        json!({"name": "porter-shared", "persistentVolumeClaim": {"claimName": claim}}),
        json!({"name": "porter-config", "secret": {"secretName": config_secret, "optional": false}}),
        json!({"name": "porter-workdir", "secret": {"secretName": workdir, "optional": false}}),
    ];
    let mut mounts = vec![
        json!({"name": "porter-shared", "mountPath": SHARED}),
        json!({"name": "porter-config", "mountPath": "/porter-config"}),
        json!({"name": "porter-workdir", "mountPath": WORKDIR}),
    ];
    let plugins = agent_config::plugins_claim(config, namespace);
    if let Some(claim) = plugins.filter(|_| !agent_config::installs_plugins(action)) {
        volumes.push(json!({"name": "porter-plugins", "persistentVolumeClaim": {"claimName": claim}}));
        mounts.push(agent_config::plugins_mount());
    }
    volumes.extend(spec.volumes.iter().cloned());
    mounts.extend(spec.volume_mounts.iter().cloned());
    let mut env_from = vec![json!({"secretRef": {"name": "porter-env", "optional": true}})];
    env_from.extend(spec.env_from.iter().cloned());

    let mut metadata_of_job = metadata.clone();
    metadata_of_job["ownerReferences"] = controlled_by(action, Kind::AgentAction);
    json!({
        "metadata": metadata_of_job,
        "spec": {
            "completions": 1,
            "backoffLimit": config.retry_limit,
            "ttlSecondsAfterFinished": config.ttl_seconds_after_finished,
            "template": {
                "metadata": metadata,
                "spec": {
                    "containers": [{
                        "name": "porter-agent",
                        "image": image(config),
                        "imagePullPolicy": pull_policy(config),
                        "command": spec.command,
                        "args": spec.args,
                        "env": env(action, spec, config, namespace, claim),
                        "envFrom": env_from,
                        "volumeMounts": mounts,
                        "workingDir": WORKDIR,
                    }],
                    "volumes": volumes,
                    "restartPolicy": "Never",
                    "serviceAccountName": config.service_account,
                    "securityContext": {"runAsUser": 65532, "runAsGroup": 0, "fsGroup": 0},
                },
            },
        },
    })
}

fn env(
    action: &DynamicObject,
    spec: &AgentActionSpec,
    config: &AgentConfigSpec,
    namespace: &str,
    claim: &str,
) -> Vec<Value> {
    let pairs = |labels: Labels| {
        let pairs: Vec<String> = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(" ")
    };
    let bundle_labels = with(shared_labels(action), "getporter.org/jobType", "bundle-installer");
    let affinity = format!(
        "getporter.org/resourceKind=AgentAction getporter.org/resourceName={} getporter.org/resourceGeneration={} \
         getporter.org/retry={}",
        action.name_any(),
        action.metadata.generation.unwrap_or_default(),
        retry_label(action)
    );
    let mut env: Vec<Value> = [
        ("PORTER_RUNTIME_DRIVER", "kubernetes"),
        ("KUBE_NAMESPACE", namespace),
        ("IN_CLUSTER", "true"),
        ("LABELS", &pairs(bundle_labels)),
        ("JOB_VOLUME_NAME", claim),
        ("JOB_VOLUME_PATH", SHARED),
        ("CLEANUP_JOBS", "false"),
        ("SERVICE_ACCOUNT", &config.installation_service_account),
        ("AFFINITY_MATCH_LABELS", &affinity),
    ]
    .map(|(name, value)| json!({"name": name, "value": value}))
    .into();
    env.extend(spec.env.iter().cloned());
    env
}

fn image(config: &AgentConfigSpec) -> String {
    let or = |value: &str, default: &str| if value.is_empty() { default.to_owned() } else { value.to_owned() };
    let repository = or(&config.porter_repository, DEFAULT_REPOSITORY);
    let version = or(&config.porter_version, DEFAULT_VERSION);
    let separator = if version.starts_with("sha256:") { '@' } else { ':' };
    format!("{repository}{separator}{version}")
}

fn pull_policy(config: &AgentConfigSpec) -> &str {
    match (config.pull_policy.as_str(), config.porter_version.as_str()) {
        ("", "latest" | "canary" | "dev") => "Always",
        ("", _) => "IfNotPresent",
        (policy, _) => policy,
    }
}
