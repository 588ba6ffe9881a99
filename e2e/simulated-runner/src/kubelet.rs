//! The states of a pod that a kubelet would report.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// How soon an API server that gave no answer is asked again.
pub(crate) const AGAIN: Duration = Duration::from_millis(200);

/// Asks until the API server answers: a kubelet does not give up on one that is away.
///
/// # Errors
/// When it refuses what is asked.
pub async fn persist<T, A>(ask: impl Fn() -> A) -> Result<T, kube::Error>
where
    A: Future<Output = Result<T, kube::Error>>,
{
    loop {
        match ask().await {
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                return Err(kube::Error::Api(status));
            }
            Err(error) => tracing::debug!(%error, "the API server is asked again"),
            answered => return answered,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether a pod still has to be played: it has not ended, and nobody deletes it.
pub fn is_open(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    !matches!(phase, "Succeeded" | "Failed") && pod.metadata.deletion_timestamp.is_none()
}

/// Reports that the containers of a pod run.
///
/// # Errors
/// When the API server refuses it, most often because the pod is gone.
pub async fn running(pods: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
    let now = Time(Timestamp::now());
    let status = json!({
        "phase": "Running", "startTime": now,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        "containerStatuses": containers(pod, &json!({"running": {"startedAt": now}}), true),
    });
    patch(pods, pod, status).await
}

/// Reports that the containers of a pod ended with an exit code. The agent leaves no message, so there is none: what it
/// says is in its log.
///
/// # Errors
/// When the API server refuses it, most often because the pod is gone.
pub async fn ended(pods: &Api<Pod>, pod: &Pod, code: i32) -> Result<(), kube::Error> {
    let now = Time(Timestamp::now());
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let state = json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": now}});
    let status = json!({
        "phase": phase,
        "conditions": [{"type": "Ready", "status": "False", "reason": "PodCompleted", "lastTransitionTime": now}],
        "containerStatuses": containers(pod, &state, false),
    });
    patch(pods, pod, status).await
}

/// Reports that the image of a pod cannot be pulled (kubelet `pkg/kubelet/images/image_manager.go`).
///
/// # Errors
/// When the API server refuses it, most often because the pod is gone.
pub async fn cannot_pull(pods: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
    let image = pod.spec.iter().flat_map(|spec| &spec.containers).find_map(|container| container.image.clone());
    let message = format!("Back-off pulling image {:?}", image.unwrap_or_default());
    let state = json!({"waiting": {"reason": "ImagePullBackOff", "message": message}});
    let status = json!({"phase": "Pending", "containerStatuses": containers(pod, &state, false)});
    patch(pods, pod, status).await
}

/// Reports that the containers of a pod were killed for the memory that they took: exit code 137 and this reason
/// (kubernetes.io/docs, "Assign Memory Resources to Containers and Pods").
///
/// # Errors
/// When the API server refuses it, most often because the pod is gone.
pub async fn out_of_memory(pods: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
    let now = Time(Timestamp::now());
    let state = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": now}});
    let status = json!({"phase": "Failed", "containerStatuses": containers(pod, &state, false)});
    patch(pods, pod, status).await
}

/// Reports that a pod was evicted (kubelet `pkg/kubelet/eviction/helpers.go`).
///
/// # Errors
/// When the API server refuses it, most often because the pod is gone.
pub async fn evicted(pods: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
    let now = Time(Timestamp::now());
    let message = "The node was low on resource: memory. ";
    let status = json!({
        "phase": "Failed", "reason": "Evicted", "message": message,
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet",
                        "message": message, "lastTransitionTime": now}],
        "containerStatuses": containers(pod, &json!({"terminated": {"exitCode": 137, "reason": "Error"}}), false),
    });
    patch(pods, pod, status).await
}

fn containers(pod: &Pod, state: &Value, ready: bool) -> Vec<Value> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let status = |container: &k8s_openapi::api::core::v1::Container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "", "ready": ready, "started": ready,
            "restartCount": 0, "state": state,
        })
    };
    containers.iter().map(status).collect()
}

async fn patch(pods: &Api<Pod>, pod: &Pod, status: Value) -> Result<(), kube::Error> {
    let patch = Patch::Merge(json!({"status": status}));
    let (name, parameters) = (pod.name_any(), PatchParams::default());
    persist(|| pods.patch_status(&name, &parameters, &patch)).await.map(drop)
}
