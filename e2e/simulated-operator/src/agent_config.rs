//! AgentConfigs: ready at once, for plugins are not played. And how they are layered.
//!
//! From `controllers/agentconfig_controller.go` and `api/v1/agentconfig_types.go` of the operator.

use anyhow::{Result, bail};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, has_finalizer, is_deleted, is_not_found, without_finalizer};
use crate::kinds::{AgentActionSpec, AgentConfigSpec, Kind};
use crate::queue::Key;

pub(crate) async fn reconcile(cluster: &Cluster, key: &Key) -> Result<()> {
    let Some(object) = cluster.get(Kind::AgentConfig, key).await? else { return Ok(()) };
    match reconcile_object(cluster, object).await {
        Err(error) if is_not_found(&error) => Ok(()),
        outcome => outcome,
    }
}

async fn reconcile_object(cluster: &Cluster, mut object: DynamicObject) -> Result<()> {
    let mut status = json!({"observedGeneration": object.metadata.generation, "phase": "Unknown", "ready": false});
    // Without plugins it never has an action and so never succeeds: each look begins with "not ready", also the one
    // after a restart.
    cluster.set_status(Kind::AgentConfig, &mut object, status.clone()).await?;
    if is_deleted(&object) {
        if has_finalizer(&object) {
            cluster.update(Kind::AgentConfig, &without_finalizer(&object)).await?;
        }
        return Ok(());
    }
    status["ready"] = true.into();
    cluster.set_status(Kind::AgentConfig, &mut object, status).await
}

/// The configuration that an action runs with: system, then namespace, then the one that it names; each field that is not
/// empty overrides.
///
/// # Errors
/// When the most specific one that exists is not ready, which is also so when there is none.
pub(crate) fn resolve(cluster: &Cluster, namespace: &str, action: &AgentActionSpec) -> Result<AgentConfigSpec> {
    let named = action.agent_config.as_ref().map(|reference| (namespace.to_owned(), reference.name.clone()));
    let layers = [
        Some((cluster.options.system_namespace.clone(), "default".to_owned())),
        Some((namespace.to_owned(), "default".to_owned())),
        named,
    ];
    let mut merged = Map::new();
    let mut ready = false;
    for layer in layers.into_iter().flatten() {
        let Some(config) = cluster.cached(Kind::AgentConfig, &layer) else { continue };
        ready = config.data.pointer("/status/ready") == Some(&Value::Bool(true));
        let spec = Kind::AgentConfig.rewritten(&config)?.data.get("spec").cloned();
        if let Some(Value::Object(spec)) = spec {
            merged.extend(spec);
        }
        tracing::trace!(namespace = layer.0, name = config.name_any(), ready, "agent configuration");
    }
    if !ready {
        bail!("resolved agent configuration is not ready to be used");
    }
    Ok(serde_json::from_value(Value::Object(merged))?)
}
