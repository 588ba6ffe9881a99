//! Why a run failed, or does not get on: from its Jobs, their pods and the events of a Job, in a sentence for people.
//!
//! Guarantees: nothing that a process wrote is told, neither its log nor its termination message, for it may hold what is
//! secret; of what Kubernetes wrote, only what says nothing of values; a sentence is short. Pure.

use std::borrow::Borrow;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::ResourceExt;

use crate::snapshot::{is_bundle_job, is_final};
use crate::writer::without_values;

/// The longest part of a sentence that Kubernetes wrote.
const LONGEST: usize = 300;
/// What a pod carries of its Job (batch/v1 `legacyJobNameLabel`; every version of Kubernetes sets it).
pub const JOB_NAME: &str = "job-name";
/// Reasons of a waiting container whose message names images, Secrets and keys, and no value (kubelet
/// `pkg/kubelet/images`, `pkg/kubelet/kuberuntime`).
const TELLING: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "CreateContainerConfigError",
];

/// Why a run failed. `None` where nothing more is known than that it did.
pub fn why_failed<J: Borrow<Job>>(jobs: &[J], pods: &[Pod]) -> Option<String> {
    let parts: Vec<String> = bundles_first(jobs)
        .into_iter()
        .filter_map(|job| {
            let pod = newest(pods.iter().filter(|pod| is_of(pod, job)).filter(|pod| phase(pod) != "Succeeded"));
            match pod {
                Some(pod) => {
                    Some(format!("{}: {}", name(job, pod), trouble(pod).unwrap_or_else(|| "failed".to_owned())))
                }
                None => of_job(job),
            }
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Why a run does not get on: of its Jobs that are on, those without a ready pod.
pub fn why_stuck<J: Borrow<Job>>(jobs: &[J], pods: &[Pod], events: &[Event]) -> Option<String> {
    let on: Vec<&Job> = bundles_first(jobs).into_iter().filter(|job| !is_final(job) && !is_ready(job)).collect();
    let parts: Vec<String> = on
        .into_iter()
        .filter_map(|job| match newest(pods.iter().filter(|pod| is_of(pod, job))) {
            Some(pod) => trouble(pod).map(|trouble| format!("{}: {trouble}", name(job, pod))),
            None => last(events, job).map(|told| format!("Job {} has no pod: {told}", job.name_any())),
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Whether a pod of a Job is ready: nothing keeps it then.
pub fn is_ready(job: &Job) -> bool {
    job.status.as_ref().and_then(|status| status.ready).unwrap_or_default() > 0
}

/// What the bundle says is nearer to the cause than what the agent makes of it.
fn bundles_first<J: Borrow<Job>>(jobs: &[J]) -> Vec<&Job> {
    let mut jobs: Vec<&Job> = jobs.iter().map(Borrow::borrow).collect();
    jobs.sort_by_key(|job| (!is_bundle_job(job), job.name_any()));
    jobs
}

fn name(job: &Job, pod: &Pod) -> String {
    let whose = if is_bundle_job(job) { "bundle" } else { "agent" };
    format!("the {whose}'s pod {}", pod.name_any())
}

fn is_of(pod: &Pod, job: &Job) -> bool {
    pod.labels().get(JOB_NAME) == job.metadata.name.as_ref()
}

fn newest<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<&'a Pod> {
    pods.max_by_key(|pod| (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.name_any()))
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// What is wrong with a pod.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    // Evicted, NodeShutdown, UnexpectedAdmissionError, OutOfmemory ...: written by the kubelet, which killed it.
    if let Some(reason) = status.reason.as_deref().filter(|reason| !reason.is_empty()) {
        return Some(said(reason, status.message.as_deref()));
    }
    let init = status.init_container_statuses.iter().flatten();
    let containers = init.chain(status.container_statuses.iter().flatten());
    let found = containers.clone().find_map(ended).or_else(|| containers.clone().find_map(waits));
    let condition = |kind: &str, status_: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == kind && condition.status == status_)
    };
    let told = |condition: &k8s_openapi::api::core::v1::PodCondition| {
        said(condition.reason.as_deref().unwrap_or(&condition.type_), condition.message.as_deref())
    };
    let disrupted = condition("DisruptionTarget", "True").map(told);
    disrupted.or(found).or_else(|| condition("PodScheduled", "False").map(told))
}

/// How a container ended that did not end well.
fn ended(container: &ContainerStatus) -> Option<String> {
    let ended = container.state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let code = ended.exit_code;
    Some(match ended.reason.as_deref() {
        None | Some("" | "Error") => format!("exit code {code}"),
        Some(reason) => format!("{} (exit code {code})", plain(reason)),
    })
}

/// What a container waits for that has not begun. That it is being made is no trouble.
fn waits(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    if matches!(reason, "ContainerCreating" | "PodInitializing") {
        return None;
    }
    Some(said(reason, waiting.message.as_deref().filter(|_| TELLING.contains(&reason))))
}

/// What the Job itself says, of one whose pods are gone.
fn of_job(job: &Job) -> Option<String> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let failed = conditions.into_iter().flatten().find(|c| c.type_ == "Failed" && c.status == "True")?;
    let told = said(failed.reason.as_deref().unwrap_or("Failed"), failed.message.as_deref());
    Some(format!("Job {}: {told}", job.name_any()))
}

/// The last event of a Job that tells of trouble, such as a pod that the API server refused.
fn last(events: &[Event], job: &Job) -> Option<String> {
    let of = events
        .iter()
        .filter(|event| event.involved_object.uid == job.metadata.uid && event.involved_object.uid.is_some());
    let warnings = of.filter(|event| event.type_.as_deref() == Some("Warning"));
    let newest = warnings.max_by_key(|event| {
        let micro = event.event_time.as_ref().map(|time| time.0);
        event.last_timestamp.as_ref().map(|time| time.0).max(micro)
    })?;
    let message = newest.message.as_deref().map(without_values);
    Some(said(newest.reason.as_deref().unwrap_or("trouble"), message.as_deref()))
}

fn said(reason: &str, message: Option<&str>) -> String {
    match message.map(plain).filter(|message| !message.is_empty()) {
        Some(message) => format!("{}: {message}", plain(reason)),
        None => plain(reason),
    }
}

/// A text in one line, and not longer than a sentence.
fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 3).collect::<String>() + "..."
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(name: &str, bundle: bool, status: Value) -> Job {
        let kind = if bundle { "bundle-installer" } else { "porter-agent" };
        let job = json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"getporter.org/jobType": kind}},
            "status": status,
        });
        serde_json::from_value(job).unwrap()
    }

    fn pod(job: &str, at: u32, status: Value) -> Pod {
        let pod = json!({
            "metadata": {"name": format!("{job}-{at}"), "labels": {"job-name": job},
                         "creationTimestamp": format!("2026-01-01T00:00:0{at}Z")},
            "status": status,
        });
        serde_json::from_value(pod).unwrap()
    }

    fn container(state: Value) -> Value {
        json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    }

    fn terminated(code: i32, reason: &str) -> Value {
        let state = json!({"terminated": {"exitCode": code, "reason": reason, "message": "password=hunter2"}});
        json!({"phase": "Failed", "containerStatuses": container(state)})
    }

    fn waiting(reason: &str, message: &str) -> Value {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        json!({"phase": "Pending", "containerStatuses": container(state)})
    }

    fn failed(reason: &str, message: &str) -> Value {
        json!({"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": message}]})
    }

    #[test]
    fn a_failure_is_told_by_what_is_nearest_to_its_cause() {
        let agent =
            || job("agent", false, failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        let bundle =
            || job("bundle", true, failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        let evicted =
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. "});
        let deleted = json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True",
            "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint"}],
            "containerStatuses": container(json!({"terminated": {"exitCode": 143, "reason": "Error"}}))});
        let init = json!({"phase": "Failed", "initContainerStatuses": container(json!({"terminated": {"exitCode": 2, "reason": "Error"}}))});
        for (what, jobs, pods, told) in [
            ("nothing is known", vec![], vec![], None),
            (
                "the bundle, then the agent that reports it",
                vec![agent(), bundle()],
                vec![pod("agent", 1, terminated(1, "Error")), pod("bundle", 1, terminated(137, "OOMKilled"))],
                Some("the bundle's pod bundle-1: OOMKilled (exit code 137); the agent's pod agent-1: exit code 1"),
            ),
            (
                "the bundle ended well, and the agent did not",
                vec![agent(), job("bundle", true, json!({"succeeded": 1}))],
                vec![pod("agent", 1, terminated(1, "Error")), pod("bundle", 1, json!({"phase": "Succeeded"}))],
                Some("the agent's pod agent-1: exit code 1"),
            ),
            (
                "the newest of two pods",
                vec![agent()],
                vec![pod("agent", 2, terminated(3, "Error")), pod("agent", 1, terminated(1, "Error"))],
                Some("the agent's pod agent-2: exit code 3"),
            ),
            (
                "evicted",
                vec![agent()],
                vec![pod("agent", 1, evicted)],
                Some("the agent's pod agent-1: Evicted: The node was low on resource: memory."),
            ),
            (
                "disrupted",
                vec![agent()],
                vec![pod("agent", 1, deleted)],
                Some("the agent's pod agent-1: DeletionByTaintManager: Taint manager: deleting due to NoExecute taint"),
            ),
            (
                "an init container",
                vec![agent()],
                vec![pod("agent", 1, init)],
                Some("the agent's pod agent-1: exit code 2"),
            ),
            (
                "its pods are gone",
                vec![agent()],
                vec![pod("other", 1, terminated(9, "Error"))],
                Some("Job agent: BackoffLimitExceeded: Job has reached the specified backoff limit"),
            ),
        ] {
            assert_eq!(why_failed(&jobs, &pods).as_deref(), told, "{what}");
        }
    }

    #[test]
    fn what_a_run_waits_for_is_told() {
        let on = |bundle: bool, ready: i32| job("j", bundle, json!({"active": 1, "ready": ready}));
        let unschedulable = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient memory."}]});
        let event = |uid: &str, type_: &str, message: &str| -> Event {
            serde_json::from_value(json!({"metadata": {}, "involvedObject": {"uid": uid}, "type": type_,
                "reason": "FailedCreate", "message": message, "lastTimestamp": "2026-01-01T00:00:00Z"}))
            .unwrap()
        };
        let missing = "Error creating: pods \"j-\" is forbidden: error looking up service account apps/agent: serviceaccount \"agent\" not found";
        let quoted =
            "Error creating: Pod \"j-x\" is invalid: spec.containers[0].env[0].value: Invalid value: \"hunter2\": no";
        let other = event("uid-k", "Warning", "x");
        for (what, job, pods, events, told) in [
            (
                "an image",
                on(true, 0),
                vec![pod("j", 1, waiting("ImagePullBackOff", "Back-off pulling image \"example.test/a:1\""))],
                vec![],
                Some("the bundle's pod j-1: ImagePullBackOff: Back-off pulling image \"example.test/a:1\""),
            ),
            (
                "what a process may have said is left out",
                on(false, 0),
                vec![pod("j", 1, waiting("CrashLoopBackOff", "hunter2"))],
                vec![],
                Some("the agent's pod j-1: CrashLoopBackOff"),
            ),
            ("it is being made", on(false, 0), vec![pod("j", 1, waiting("ContainerCreating", ""))], vec![], None),
            (
                "no node",
                on(false, 0),
                vec![pod("j", 1, unschedulable)],
                vec![],
                Some("the agent's pod j-1: Unschedulable: 0/3 nodes are available: 3 Insufficient memory."),
            ),
            ("it is ready", on(false, 1), vec![pod("j", 1, waiting("ImagePullBackOff", ""))], vec![], None),
            ("no pod, and nobody says why", on(false, 0), vec![], vec![other.clone()], None),
            (
                "no pod",
                on(false, 0),
                vec![],
                vec![other, event("uid-j", "Normal", "x"), event("uid-j", "Warning", missing)],
                Some(
                    "Job j has no pod: FailedCreate: Error creating: pods \"j-\" is forbidden: error looking up service account apps/agent: serviceaccount \"agent\" not found",
                ),
            ),
            (
                "no pod, with a value",
                on(false, 0),
                vec![],
                vec![event("uid-j", "Warning", quoted)],
                Some(
                    "Job j has no pod: FailedCreate: Error creating: Pod \"j-x\" is invalid: spec.containers[0].env[0].value: Invalid value: ***: no",
                ),
            ),
        ] {
            assert_eq!(why_stuck(&[job], &pods, &events).as_deref(), told, "{what}");
        }
        let long = plain(&"ä ".repeat(400));
        assert!(long.chars().count() == LONGEST && long.ends_with("..."), "{long}");
    }
}
