//! The pods of a scenario's Jobs, played.
//!
//! Invariant: each pod runs once, and ends as the scenario says for its place in the order in which they were seen. It may
//! not know why it runs.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use simulated_runner::kubelet;
use tokio_util::sync::CancellationToken;

use crate::lock;

/// Lets each pod of a namespace run for a moment and end as told.
pub(crate) struct PodPlayer {
    ran: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) hold: tokio::sync::watch::Sender<bool>,
    _stop: tokio_util::sync::DropGuard,
}

impl PodPlayer {
    pub(crate) fn start(client: Client, namespace: &str, results: Vec<String>) -> Self {
        let (hold, held) = tokio::sync::watch::channel(false);
        let ran = Arc::new(Mutex::new(BTreeSet::new()));
        let stop = CancellationToken::new();
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let known = Arc::clone(&ran);
        let watching = async move {
            let mut events = pin!(watcher(pods.clone(), watcher::Config::default()).default_backoff());
            while let Some(event) = events.next().await {
                let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else { continue };
                let number = {
                    let mut known = lock(&known);
                    if !kubelet::is_open(&pod) || !known.insert(pod.uid().unwrap_or_default()) {
                        continue;
                    }
                    known.len() - 1
                };
                let result = results.get(number).or(results.last());
                let code = i32::from(result.is_some_and(|result| result == "Failed"));
                let (pods, mut held) = (pods.clone(), held.clone());
                tokio::spawn(async move {
                    kubelet::running(&pods, &pod).await?;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    let _ = held.wait_for(|held| !held).await;
                    kubelet::ended(&pods, &pod, code).await
                });
            }
        };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(watching).await });
        Self { ran, hold, _stop: stop.drop_guard() }
    }

    pub(crate) fn ran(&self) -> usize {
        lock(&self.ran).len()
    }
}
