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
use serde_json::{Value, json};

use crate::writer::Writer;

/// How often an event is posted before it is given up.
const ATTEMPTS: u32 = 4;
/// The pause after the first attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

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
        self.record(&sync.object_ref(&()), happening, now).await;
        self.post(sync, happening, now).await;
    }

    /// Tells the API server alone, of any object.
    pub async fn record(&self, regarding: &ObjectReference, happening: &Happening<'_>, now: Timestamp) {
        let event = event(regarding, happening, now, &self.host);
        if let Err(error) = self.writer.event(&event).await {
            let (name, namespace) = (&regarding.name, &regarding.namespace);
            tracing::warn!(name, namespace, %error, "event was not recorded");
        }
    }

    /// Tells notification-controller alone. It is tried a few times: a commit would be without its status for ever.
    pub async fn post(&self, sync: &BundleSync, happening: &Happening<'_>, now: Timestamp) {
        let Some(address) = &self.address else { return };
        let body = self.body(&sync.object_ref(&()), happening, now).to_string();
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            match self.send(address, body.clone()).await {
                Ok(()) => return,
                Err(error) if attempt == ATTEMPTS || !may_pass(&error) => {
                    tracing::warn!(name = sync.name_any(), namespace = sync.namespace(), %error, "event was not posted");
                    return;
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
    }

    /// 429 says that it is a repetition: nothing to do.
    async fn send(&self, address: &str, body: String) -> Result<(), reqwest::Error> {
        let request = self.http.post(address).timeout(Duration::from_secs(5));
        let request = request.header("content-type", "application/json").body(body);
        match request.send().await?.error_for_status() {
            Err(error) if error.status() != Some(reqwest::StatusCode::TOO_MANY_REQUESTS) => Err(error),
            _ => Ok(()),
        }
    }

    /// What fluxcd/pkg/apis/event describes.
    fn body(&self, regarding: &ObjectReference, happening: &Happening<'_>, now: Timestamp) -> Value {
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
            "reportingInstance": self.host,
        })
    }
}

/// Whether another attempt may do better: there was no answer, or the server had trouble of its own.
fn may_pass(error: &reqwest::Error) -> bool {
    error.status().is_none_or(|status| status.is_server_error())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use kube::Client;
    use kube::client::Body;

    use super::*;
    use crate::metrics::Metrics;

    /// How often each of the answers is asked for, one after the other, with a message of that many characters; and how
    /// many of them arrived last.
    async fn posts(answers: &'static [u16], characters: usize) -> (usize, usize) {
        let (asked, arrived) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (number, length) = (asked.clone(), arrived.clone());
        let routes = Router::new().route(
            "/",
            post(move |body: String| async move {
                let body: Value = serde_json::from_str(&body).unwrap();
                length.store(body["message"].as_str().unwrap().chars().count(), Ordering::SeqCst);
                let answer = answers[number.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
                StatusCode::from_u16(answer).unwrap()
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let refuse = tower::service_fn(|_: http::Request<Body>| async {
            Err::<http::Response<Body>, _>(std::io::Error::other("no API server"))
        });
        let writer = Writer::new(Client::new(refuse, "ns"), Duration::from_secs(1), Arc::new(Metrics::default()));
        let events = Events::new(writer, reqwest::Client::new(), &address);
        let sync = serde_json::from_value(json!({
            "metadata": {"name": "apps", "namespace": "ns"},
            "spec": {"sourceRef": {"kind": "Bucket", "name": "b"}, "interval": "1m", "prune": true},
        }));
        let message = "ä".repeat(characters);
        let happening = Happening {
            severity: Severity::Info,
            reason: "ReconciliationSucceeded",
            message: &message,
            revision: Some("main@sha1:1"),
            origin_revision: None,
        };
        events.post(&sync.unwrap(), &happening, Timestamp::now()).await;
        server.abort();
        (asked.load(Ordering::SeqCst), arrived.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn a_post_is_tried_again_when_that_may_help() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        for (answers, times) in [(&[200][..], 1), (&[503, 202], 2), (&[429], 1), (&[400], 1)] {
            assert_eq!(posts(answers, 10).await, (times, 10), "{answers:?}");
        }
        assert_eq!(posts(&[200], 50_000).await, (1, 39_000));
    }
}
