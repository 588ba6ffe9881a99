//! Events: to the API server for `kubectl describe` and `flux events`, and to Flux's notification-controller, which makes
//! alerts and commit statuses of them.
//!
//! An event is told when something is new, not at each reconcile. That one cannot be delivered is logged, and never fails
//! a reconcile.

use api::{BundleSync, FIELD_MANAGER, GROUP};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use serde_json::{Value, json};

use crate::leader;
use crate::mirror::Key;
use crate::notifier::Notifier;
use crate::writer::Writer;

/// Reasons of events that no condition has.
pub mod reason {
    /// Installations were uninstalled, and are gone.
    pub const UNINSTALLED: &str = "Uninstalled";
    /// Installations can never be uninstalled.
    pub const ABANDONED: &str = "Abandoned";
    /// What somebody changed by hand was put right.
    pub const DRIFT_CORRECTED: &str = "DriftCorrected";
    /// The failure of a run was noted.
    pub const RUN_FAILED: &str = "RunFailed";
}

/// How an event is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something went as asked.
    Info,
    /// Something needs a person, or will be tried again.
    Error,
}

/// What happened to a BundleSync.
#[derive(Clone, Debug)]
pub struct Happening<'a> {
    /// How it is to be taken.
    pub severity: Severity,
    /// The reason of the Ready condition.
    pub reason: &'a str,
    /// What is told.
    pub message: &'a str,
    /// The revision of the source that it is about.
    pub revision: Option<&'a str>,
    /// The revision that an OCI artifact was made from.
    pub origin_revision: Option<&'a str>,
}

/// Sends events.
#[derive(Clone)]
pub struct Events {
    writer: Writer,
    notifier: Notifier,
    host: String,
}

impl Events {
    /// Sends to the API server, and leaves the same with the notifier.
    pub fn new(writer: Writer, notifier: Notifier) -> Self {
        Self { writer, notifier, host: leader::host() }
    }

    /// Tells one happening.
    pub async fn tell(&self, sync: &BundleSync, happening: &Happening<'_>, now: Timestamp) {
        self.record(&sync.object_ref(&()), happening, now).await;
        self.post(sync, happening, now);
    }

    /// Tells the API server alone, of any object.
    pub async fn record(&self, regarding: &ObjectReference, happening: &Happening<'_>, now: Timestamp) {
        let event = event(regarding, happening, now, &self.host);
        if let Err(error) = self.writer.event(&event).await {
            tracing::warn!(regarding = regarding.name, %error, "event was not recorded");
        }
    }

    /// Tells notification-controller alone.
    pub fn post(&self, sync: &BundleSync, happening: &Happening<'_>, now: Timestamp) {
        let body = body(&sync.object_ref(&()), happening, now, &self.host).to_string();
        self.notifier.post(Key::of(sync), body);
    }
}

/// notification-controller keeps the keys that begin with the group of the object; `commit_status` asks it to set one.
fn metadata(happening: &Happening<'_>) -> std::collections::BTreeMap<String, String> {
    let mut metadata = std::collections::BTreeMap::new();
    for (key, value) in [("revision", happening.revision), ("originRevision", happening.origin_revision)] {
        if let Some(value) = value {
            metadata.insert(format!("{GROUP}/{key}"), value.to_owned());
        }
    }
    metadata.insert(format!("{GROUP}/commit_status"), "update".to_owned());
    metadata
}

/// What fluxcd/pkg/apis/event describes.
fn body(regarding: &ObjectReference, happening: &Happening<'_>, now: Timestamp, host: &str) -> Value {
    /// What notification-controller takes as a message.
    const LONGEST_MESSAGE: usize = 39_000;
    json!({
        "involvedObject": regarding,
        "severity": match happening.severity { Severity::Info => "info", Severity::Error => "error" },
        "timestamp": now.to_string(),
        "message": happening.message.chars().take(LONGEST_MESSAGE).collect::<String>(),
        "reason": happening.reason,
        "metadata": metadata(happening),
        "reportingController": FIELD_MANAGER,
        "reportingInstance": host,
    })
}

fn event(regarding: &ObjectReference, happening: &Happening<'_>, now: Timestamp, host: &str) -> Event {
    /// What the API server takes as a note.
    const LONGEST_NOTE: usize = 1_024;
    let name = regarding.name.clone().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}.")),
            namespace: regarding.namespace.clone(),
            annotations: Some(metadata(happening)),
            ..ObjectMeta::default()
        },
        involved_object: regarding.clone(),
        type_: Some(match happening.severity {
            Severity::Info => "Normal".to_owned(),
            Severity::Error => "Warning".to_owned(),
        }),
        reason: Some(happening.reason.to_owned()),
        message: Some(happening.message.chars().take(LONGEST_NOTE).collect()),
        source: Some(EventSource { component: Some(FIELD_MANAGER.to_owned()), host: Some(host.to_owned()) }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        reporting_component: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(host.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api::condition;

    use super::*;

    /// docs/controller.md has a row for each reason, and one for those of `Ready=False`.
    #[test]
    fn every_reason_is_in_the_manual() {
        let manual = include_str!("../../docs/controller.md");
        let (_, section) = manual.split_once("\n## Events\n").unwrap();
        let told: BTreeSet<&str> =
            section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let known = [
            reason::UNINSTALLED,
            reason::ABANDONED,
            reason::DRIFT_CORRECTED,
            reason::RUN_FAILED,
            condition::RECONCILIATION_SUCCEEDED,
            condition::UNSAFE_AGENT,
        ];
        assert_eq!(told, known.into());
    }

    #[test]
    fn a_message_is_as_long_as_notification_controller_takes_it() {
        for (characters, told) in [(10, 10), (50_000, 39_000)] {
            let message = "ä".repeat(characters);
            let happening = Happening {
                severity: Severity::Info,
                reason: "ReconciliationSucceeded",
                message: &message,
                revision: Some("main@sha1:1"),
                origin_revision: None,
            };
            let body = body(&ObjectReference::default(), &happening, Timestamp::now(), "host");
            assert_eq!(body["message"].as_str().unwrap().chars().count(), told);
        }
    }
}
