//! What the playground prints, and what it waits for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::dynamic;
use kube::api::{DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde_json::Value;

/// What is listed, in the order in which one leads to the next.
const KINDS: [(&str, &str, &str); 7] = [
    ("source.toolkit.fluxcd.io", "v1", "GitRepository"),
    (api::GROUP, api::VERSION, "BundleSync"),
    (api::GROUP, api::VERSION, "BundleRelease"),
    (api::porter::GROUP, api::porter::VERSION, "CredentialSet"),
    (api::porter::GROUP, api::porter::VERSION, "ParameterSet"),
    (api::porter::GROUP, api::porter::VERSION, "Installation"),
    (api::porter::GROUP, api::porter::VERSION, "AgentAction"),
];

/// Longer messages are cut: a condition lists everything that it waits for.
const WIDTH: usize = 220;

/// Prints what is being done, and the seconds since `started`.
pub(crate) fn step(started: Instant, text: &str) {
    let cut = text.char_indices().nth(WIDTH).map_or("", |_| " ...");
    let shown: String = text.chars().take(WIDTH).collect();
    println!("[{:5.1} s] {shown}{cut}", started.elapsed().as_secs_f64());
}

/// Waits until the BundleSync is ready at `commit`, and prints each message that its condition Ready goes through.
pub(crate) async fn until_ready(
    client: &Client,
    namespace: &str,
    name: &str,
    commit: Option<&str>,
    started: Instant,
) -> Result<()> {
    let syncs = dynamic(client.clone(), namespace, api::GROUP, api::VERSION, "BundleSync");
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut told = String::new();
    loop {
        let sync = syncs.get(name).await.context("cannot read the BundleSync")?;
        let ready = condition(&sync, api::condition::READY);
        let text = |field: &str| ready.and_then(|ready| ready.get(field)).and_then(Value::as_str).unwrap_or_default();
        let line = format!("BundleSync {name}: Ready={} {}: {}", text("status"), text("reason"), text("message"));
        if ready.is_some() && line != told {
            step(started, &line);
            told = line;
        }
        let applied = sync.data.pointer("/status/lastAppliedRevision").and_then(Value::as_str).unwrap_or_default();
        let current = sync.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
        if text("status") == "True"
            && current == sync.metadata.generation
            && commit.is_none_or(|commit| applied.ends_with(commit))
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the BundleSync {namespace}/{name} did not become ready within 300 s; last: {told}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Prints the objects of a namespace, a line each.
pub(crate) async fn objects(client: &Client, namespace: &str) -> Result<()> {
    println!();
    for (group, version, kind) in KINDS {
        let found = dynamic(client.clone(), namespace, group, version, kind);
        let mut found = found.list(&ListParams::default()).await.with_context(|| format!("cannot list {kind}"))?.items;
        found.sort_by_key(|object| object.metadata.creation_timestamp.clone());
        for object in found {
            let generation = object.metadata.generation.unwrap_or_default();
            println!("  {kind:<14} {:<44} generation {generation:<3} {}", object.name_any(), state(kind, &object));
        }
    }
    println!();
    Ok(())
}

fn state(kind: &str, object: &DynamicObject) -> String {
    let text = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match kind {
        "GitRepository" => text("/status/artifact/revision").to_owned(),
        "BundleSync" => {
            let ready = condition(object, api::condition::READY).and_then(|ready| ready.get("status"));
            let ready = ready.and_then(Value::as_str).unwrap_or("Unknown");
            format!("Ready={ready} {}", text("/status/lastAppliedRevision"))
        }
        "BundleRelease" => format!("{} {}", text("/status/state"), text("/spec/asked/revision")),
        _ => text("/status/phase").to_owned(),
    }
}

fn condition<'a>(object: &'a DynamicObject, kind: &str) -> Option<&'a Value> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
}
