//! Events: to the API server for `kubectl describe` and `flux events`, and to Flux's notification-controller, which makes
//! alerts and commit statuses of them.
//!
//! An event is told when something is new, not at each reconcile. That one cannot be delivered is logged, and never fails
//! a reconcile.

use std::time::Duration;

use api::{BundleSync, FIELD_MANAGER, GROUP};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde_json::json;

use crate::writer::Writer;

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
    http: reqwest::Client,
    address: Option<String>,
    host: String,
}

impl Events {
    /// Sends to the API server, and to notification-controller when an address is given.
    pub fn new(writer: Writer, http: reqwest::Client, address: &str) -> Self {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| FIELD_MANAGER.to_owned());
        Self { writer, http, address: (!address.is_empty()).then(|| address.to_owned()), host }
    }

    /// Tells one happening.
    pub async fn tell(&self, sync: &BundleSync, happening: &Happening<'_>, now: Timestamp) {
        let regarding = sync.object_ref(&());
        let event = event(&regarding, happening, now, &self.host);
        if let Err(error) = self.writer.event(&event).await {
            tracing::warn!(name = sync.name_any(), namespace = sync.namespace(), %error, "event was not recorded");
        }
        if let Some(address) = &self.address
            && let Err(error) = self.post(address, &regarding, happening, now).await
        {
            tracing::warn!(name = sync.name_any(), namespace = sync.namespace(), %error, "event was not posted");
        }
    }

    /// The body that fluxcd/pkg/apis/event describes. 429 says that it is a repetition: nothing to do.
    async fn post(
        &self,
        address: &str,
        regarding: &ObjectReference,
        happening: &Happening<'_>,
        now: Timestamp,
    ) -> Result<(), reqwest::Error> {
        let body = json!({
            "involvedObject": regarding,
            "severity": match happening.severity { Severity::Info => "info", Severity::Error => "error" },
            "timestamp": now.to_string(),
            "message": happening.message,
            "reason": happening.reason,
            "metadata": metadata(happening),
            "reportingController": FIELD_MANAGER,
            "reportingInstance": self.host,
        });
        let request = self.http.post(address).timeout(Duration::from_secs(5));
        let request = request.header("content-type", "application/json").body(body.to_string());
        match request.send().await?.error_for_status() {
            Err(error) if error.status() != Some(reqwest::StatusCode::TOO_MANY_REQUESTS) => Err(error),
            _ => Ok(()),
        }
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
