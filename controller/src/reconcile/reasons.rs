//! Why runs fail, and why they do not get on: what the plan is told of it.
//!
//! Guarantees: the API server is asked once for each run that failed, before its failure is noted in the ledger, and a
//! bounded number of times for one that is on and has no ready pod, with growing pauses; for all others never. Who may not
//! read pods is told less, and nothing fails by it. What is read of a log is cleared of values before it is cut.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use api::bundle_release::BundleReleaseStatus;
use api::porter::{AgentAction, has_condition, label};
use api::{BundleRelease, BundleSync, Invocation, RunResult};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use plan::{Why, observe};
use tokio::time::Instant;

use super::{Progress, Reconciler};
use crate::confidential::Confidential;
use crate::diagnosis;
use crate::events::{Happening, Severity, reason};
use crate::log_tail;
use crate::mirror::Key;
use crate::sets::{Source, secret_name};
use crate::snapshot::{Snapshot, is_bundle_job, is_final};
use crate::writer::RequestError;

/// How long a run may take to begin before anybody asks what keeps it.
const GRACE: Duration = Duration::from_secs(20);
/// How often a run that does not get on is looked at. The pauses double: about four hours in all.
const MOST_LOOKS: u32 = 10;
/// Secrets that are read to know what to hide in a log. With more of them none is kept.
const MOST_SECRETS: usize = 50;

/// What is known of runs that failed or hang. Losing it costs a few requests.
pub struct Reasons {
    log_lines: u16,
    known: Mutex<HashMap<Key, Known>>,
    refused: AtomicBool,
}

#[derive(Clone)]
struct Known {
    uid: Option<String>,
    why: Option<Why>,
    looks: u32,
    next: Instant,
}

/// An AgentAction about which something is to be told.
struct Asked {
    key: Key,
    action: AgentAction,
    failed: bool,
}

impl Reasons {
    /// Nothing is known yet. So many lines of the log of a failed run are kept in its release; with none it is not read.
    pub fn new(log_lines: u16) -> Self {
        Self { log_lines, known: Mutex::default(), refused: AtomicBool::default() }
    }

    fn of(&self, asked: &Asked) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&asked.key).filter(|known| known.uid == asked.action.metadata.uid).cloned()
    }

    /// Notes what is known of one, and forgets those that are gone.
    fn set(&self, asked: &Asked, known: Known, gone: impl Fn(&Key) -> bool) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|key, _| !gone(key));
        all.insert(asked.key.clone(), known);
    }
}

impl Reconciler {
    /// Puts into the snapshot why runs failed that no release has noted yet, and why others do not get on.
    pub(super) async fn explain(&self, sync: &BundleSync, snapshot: &mut Snapshot, progress: &mut Progress) {
        for asked in unexplained(snapshot) {
            let why = if asked.failed {
                self.failed(sync, &asked, snapshot).await
            } else {
                self.hangs(&asked, progress).await
            };
            if let Some(why) = why {
                snapshot.live.why.insert((asked.key.namespace, asked.key.name), why);
            }
        }
    }

    async fn failed(&self, sync: &BundleSync, asked: &Asked, snapshot: &Snapshot) -> Option<Why> {
        // One look, whatever it brings: `next` is in the past for what was looked at while it was on.
        if let Some(known) = self.reasons.of(asked).filter(|known| known.looks > MOST_LOOKS) {
            return known.why;
        }
        let jobs = self.cluster.jobs_of(&asked.key);
        let names: Vec<String> = jobs.iter().map(|job| job.name_any()).collect();
        let pods = match self.pods(&asked.key.namespace, &names).await {
            Ok(pods) => pods,
            Err(error) if error.is_unreachable() => return None,
            Err(error) => self.without(&error),
        };
        let jobs: Vec<&Job> = jobs.iter().map(AsRef::as_ref).collect();
        let reason = diagnosis::why_failed(&jobs, &pods).and_then(|reason| self.hide(sync, &reason));
        let log = match self.reasons.log_lines {
            0 => None,
            lines => self.log(sync, asked, snapshot, (&jobs, &pods), lines).await,
        };
        let why = reason.or_else(|| log.is_some().then(|| "see its log".to_owned())).map(|reason| Why { reason, log });
        let known = Known {
            uid: asked.action.metadata.uid.clone(),
            why: why.clone(),
            looks: MOST_LOOKS + 1,
            next: Instant::now(),
        };
        self.reasons.set(asked, known, |key| self.is_gone(key));
        why
    }

    async fn hangs(&self, asked: &Asked, progress: &mut Progress) -> Option<Why> {
        let status = asked.action.status.clone().unwrap_or_default();
        let created = asked.action.metadata.creation_timestamp.as_ref().map(|time| time.0);
        if let Some(rest) = grace_left(created) {
            progress.look_within(rest);
            return None;
        }
        if !has_condition(&status.conditions, api::porter::condition::SCHEDULED) {
            return Some(Why { reason: self.no_job(&asked.action), log: None });
        }
        let jobs = self.cluster.jobs_of(&asked.key);
        let jobs: Vec<&Job> =
            jobs.iter().map(AsRef::as_ref).filter(|job| !is_final(job) && !diagnosis::is_ready(job)).collect();
        let young = jobs.iter().filter_map(|job| grace_left(job.metadata.creation_timestamp.as_ref().map(|t| t.0)));
        if let Some(rest) = young.min() {
            progress.look_within(rest);
            return None;
        }
        if jobs.is_empty() {
            return None;
        }
        let known = self.reasons.of(asked);
        let looks = known.as_ref().map_or(0, |known| known.looks);
        if let Some(known) = known {
            let rest = known.next.saturating_duration_since(Instant::now());
            if looks >= MOST_LOOKS {
                return known.why;
            }
            if !rest.is_zero() {
                progress.look_within(rest);
                return known.why;
            }
        }
        let why = self.stuck(&asked.key.namespace, &jobs).await.map(|reason| Why { reason, log: None });
        let pause = GRACE * 2u32.pow(looks.min(MOST_LOOKS));
        let uid = asked.action.metadata.uid.clone();
        let known = Known { uid, why: why.clone(), looks: looks + 1, next: Instant::now() + pause };
        self.reasons.set(asked, known, |key| self.is_gone(key));
        progress.look_within(pause);
        why
    }

    fn is_gone(&self, action: &Key) -> bool {
        matches!(self.cluster.agent_actions.get(action), Ok(None))
    }

    async fn stuck(&self, namespace: &str, jobs: &[&Job]) -> Option<String> {
        let names: Vec<String> = jobs.iter().map(|job| job.name_any()).collect();
        let pods = self.pods(namespace, &names).await.unwrap_or_else(|error| self.without(&error));
        let mut events = Vec::new();
        let has_pod =
            |job: &&&Job| pods.iter().any(|pod| pod.labels().get(diagnosis::JOB_NAME) == Some(&job.name_any()));
        for job in jobs.iter().filter(|job| !has_pod(job)) {
            let uid = job.uid().unwrap_or_default();
            events.extend(self.writer.events_of(namespace, &uid).await.unwrap_or_else(|error| self.without(&error)));
        }
        diagnosis::why_stuck(jobs, &pods, &events)
    }

    async fn pods(&self, namespace: &str, jobs: &[String]) -> Result<Vec<Pod>, RequestError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.pods_of(namespace, &format!("{} in ({})", diagnosis::JOB_NAME, jobs.join(","))).await
    }

    /// Nothing, and a word in the log that it is so.
    fn without<T>(&self, error: &RequestError) -> Vec<T> {
        if !self.reasons.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "why runs fail cannot be told in full");
        }
        Vec::new()
    }

    /// Why the operator may have made no Job.
    fn no_job(&self, action: &AgentAction) -> String {
        let namespace = action.namespace().unwrap_or_default();
        let named = action.spec.agent_config.as_ref().map(|config| config.name.as_str());
        let find = |namespace: &str, name: &str| {
            let config = self.cluster.agent_configs.get(&Key::new(namespace, name)).ok().flatten()?;
            serde_json::to_value(config.as_ref()).ok()
        };
        plan::agent::hindrance(&namespace, named.filter(|name| !name.is_empty()), find).unwrap_or_else(|| {
            "the operator has made no Job for it; is it running, and is the service account there that the \
             AgentConfig names? Its log says"
                .to_owned()
        })
    }

    /// The end of the agent's log, into which what the bundle says goes too.
    async fn log(
        &self,
        sync: &BundleSync,
        asked: &Asked,
        snapshot: &Snapshot,
        (jobs, pods): (&[&Job], &[Pod]),
        lines: u16,
    ) -> Option<String> {
        let agents: Vec<String> = jobs.iter().filter(|job| !is_bundle_job(job)).map(|job| job.name_any()).collect();
        let of_agent = |pod: &&Pod| pod.labels().get(diagnosis::JOB_NAME).is_some_and(|job| agents.contains(job));
        let pod =
            pods.iter().filter(of_agent).max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|t| t.0))?;
        let text = match self.writer.log(&asked.key.namespace, &pod.name_any(), lines, log_tail::MOST_READ).await {
            Ok(text) => text,
            Err(error) => {
                self.without::<()>(&error);
                return None;
            }
        };
        let values = self.values(&asked.key.namespace, snapshot).await?;
        let hidden = values.hide(&self.hide(sync, &log_tail::whole_lines(text))?);
        log_tail::cut(&hidden, usize::from(lines))
    }

    /// The values that are known and may be in a log: parameters of the installations of this sync, what its sets name, and
    /// the Secrets that it applied. `None` when not all of them are: what cannot be hidden is not told.
    async fn values(&self, namespace: &str, snapshot: &Snapshot) -> Option<Confidential> {
        let mut values = Confidential::default();
        for release in snapshot.releases.iter().filter(|release| release.namespace().as_deref() == Some(namespace)) {
            let succeeded = release.status.iter().filter_map(|status| status.succeeded.as_ref());
            for asked in succeeded.chain([&release.spec.asked]) {
                asked.spec.get("parameters").into_iter().for_each(|parameters| values.add_json(parameters));
            }
        }
        let mut named = BTreeSet::new();
        for source in self.cluster.sources(namespace) {
            match source {
                Source::Secret(key) => drop(named.insert(secret_name(&key))),
                Source::Value(value) => values.add(value.as_bytes()),
            }
        }
        let ours = self.cluster.secrets.all();
        for secret in ours.iter().filter(|secret| secret.namespace().as_deref() == Some(namespace)) {
            secret.data.iter().flatten().for_each(|(_, value)| values.add(&value.0));
        }
        if named.len() > MOST_SECRETS {
            tracing::warn!(
                namespace,
                secrets = named.len(),
                "no log is kept: more Secrets are named than are read to mask it"
            );
            return None;
        }
        for name in &named {
            match self.writer.secret(namespace, name).await {
                Ok(found) => found.into_iter().flatten().for_each(|(_, value)| values.add(&value.0)),
                Err(error) => {
                    self.without::<()>(&error);
                    return None;
                }
            }
        }
        Some(values)
    }

    /// A text without what the Secrets hold that the sync has variables from. `None` while that is not known: a sync that is
    /// deleted is not built any more after a restart.
    fn hide(&self, sync: &BundleSync, text: &str) -> Option<String> {
        let memory = self.lock();
        match memory.get(&Key::of(sync)).and_then(|memory| memory.asked.as_ref()) {
            Some(asked) => Some(asked.recipe.hide(text)),
            None => {
                let post_build = sync.spec.post_build.as_ref();
                let none = post_build.is_none_or(|post_build| post_build.substitute_from.is_empty());
                none.then(|| text.to_owned())
            }
        }
    }

    /// An event on the release for each failure that was noted just now.
    pub(super) async fn tell_failures(&self, release: &BundleRelease, old: &BundleReleaseStatus) {
        let Some(new) = &release.status else { return };
        let known = |action: &str| old.runs.iter().any(|run| run.action == action && run.result.is_some());
        let runs = new.runs.iter().filter(|run| run.result == Some(RunResult::Failed) && !known(&run.action));
        let mut told: Vec<(String, &str)> = runs
            .map(|run| {
                let reason = run.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
                (
                    format!("AgentAction {} of generation {} failed{reason}", run.action, run.generation),
                    run.revision.as_str(),
                )
            })
            .collect();
        let known = |action: &str| old.invocations.iter().any(|run| run.action == action);
        let failed = |run: &&Invocation| run.result == RunResult::Failed && !known(&run.action);
        told.extend(new.invocations.iter().filter(failed).map(|run| {
            let reason = run.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let message = format!("AgentAction {} failed, which ran what {} asks for{reason}", run.action, run.invoke);
            (message, run.revision.as_deref().unwrap_or_default())
        }));
        let noted =
            |status: &BundleReleaseStatus| status.uninstall.as_ref().and_then(|uninstall| uninstall.noted.clone());
        if let (Some(action), Some(uninstall)) = (noted(new).filter(|_| noted(new) != noted(old)), &new.uninstall)
            && uninstall.failures > 0
        {
            let reason = uninstall.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let revision = release.spec.removed.as_ref().map(|removed| removed.revision.as_str());
            told.push((format!("AgentAction {action} failed{reason}"), revision.unwrap_or_default()));
        }
        for (message, revision) in told {
            let happening = Happening {
                severity: Severity::Error,
                reason: reason::RUN_FAILED,
                message: &message,
                revision: Some(revision).filter(|revision| !revision.is_empty()),
                origin_revision: None,
            };
            self.events.record(&release.object_ref(&()), &happening, Timestamp::now()).await;
        }
    }
}

/// What is left of the time that may pass before anybody asks.
fn grace_left(created: Option<Timestamp>) -> Option<Duration> {
    let age = Timestamp::now().duration_since(created?);
    let age = Duration::try_from(age).unwrap_or_default();
    GRACE.checked_sub(age).filter(|rest| !rest.is_zero())
}

/// The runs that are on, and those that failed and are about to be noted.
fn unexplained(snapshot: &Snapshot) -> Vec<Asked> {
    let live = &snapshot.live;
    let noted = |namespace: &str, action: &str| {
        let of = snapshot.releases.iter().filter(|release| release.namespace().as_deref() == Some(namespace));
        of.filter_map(|release| release.status.as_ref()).any(|status| status.has_noted(action))
    };
    let generation = |action: &AgentAction| -> Option<i64> {
        action.labels().get(label::RESOURCE_GENERATION).and_then(|text| text.parse().ok())
    };
    let current = |action: &AgentAction, of: Option<i64>| generation(action) == of && of.is_some();
    let installations = live.installations.values().flat_map(|installation| {
        let of = installation.object.metadata.generation;
        installation.actions.iter().filter(move |action| observe::end(action).is_none() || current(action, of))
    });
    let sets = live.sets.values().chain(live.dropped.values()).flat_map(|set| {
        let of = set.object.pointer("/metadata/generation").and_then(serde_json::Value::as_i64);
        set.actions.iter().filter(move |action| current(action, of))
    });
    let commands = live.ours.values().flatten();
    installations
        .chain(sets)
        .chain(commands)
        .filter_map(|action| {
            let key = Key::of(action);
            let failed = match observe::end(action) {
                Some((observe::End::Succeeded, _)) => return None,
                Some((observe::End::Failed, _)) if noted(&key.namespace, &key.name) => return None,
                end => end.is_some(),
            };
            Some(Asked { key, action: action.clone(), failed })
        })
        .collect()
}
