//! AgentConfigs: ready at once without plugins; with plugins, the way up to the installed plugins, after which a volume
//! must be bound, which nobody does here. And how they are layered.
//!
//! From `controllers/agentconfig_controller.go` and `api/v1/agentconfig_types.go` of the operator.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::cluster::{
    Cluster, FINALIZER, controlled_by, has_finalizer, hash, is_deleted, is_not_found, without_finalizer,
};
use crate::kinds::{AgentActionSpec, AgentConfigSpec, Kind};
use crate::queue::Key;
use crate::{agent_action, document, porter_resource};

pub(crate) async fn reconcile(cluster: &Cluster, key: &Key) -> Result<()> {
    let Some(object) = cluster.get(Kind::AgentConfig, key).await? else { return Ok(()) };
    match reconcile_object(cluster, object).await {
        Err(error) if is_not_found(&error) => Ok(()),
        outcome => outcome,
    }
}

async fn reconcile_object(cluster: &Cluster, mut object: DynamicObject) -> Result<()> {
    let action = porter_resource::handled_by(cluster, Kind::AgentConfig, &object);
    let mut status = porter_resource::status(&object, action.as_deref());
    // Without plugins it never has an action and so never succeeds: each look begins with "not ready", also the one
    // after a restart.
    status["ready"] = false.into();
    cluster.set_status(Kind::AgentConfig, &mut object, status.clone()).await?;
    if is_deleted(&object) {
        if has_finalizer(&object) {
            cluster.update(Kind::AgentConfig, &without_finalizer(&object)).await?;
        }
        return Ok(());
    }
    let spec: AgentConfigSpec = match object.data.get("spec") {
        Some(spec) => serde_json::from_value(spec.clone())?,
        None => AgentConfigSpec::default(),
    };
    if plugins(&spec).is_empty() {
        status["ready"] = true.into();
        return cluster.set_status(Kind::AgentConfig, &mut object, status).await;
    }
    if action.is_some() {
        return Ok(());
    }
    if !has_finalizer(&object) {
        object.finalizers_mut().push(FINALIZER.to_owned());
        cluster.update(Kind::AgentConfig, &object).await?;
        return Ok(());
    }
    install_plugins(cluster, object, &spec).await
}

/// The plugins that a configuration names.
fn plugins(spec: &AgentConfigSpec) -> Map<String, Value> {
    let file = spec.plugin_config_file.as_ref();
    file.and_then(|file| file.get("plugins")).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The claim that holds the plugins of a configuration once they are installed; none without plugins.
pub(crate) fn plugins_claim(spec: &AgentConfigSpec, namespace: &str) -> Option<String> {
    let plugins = plugins(spec);
    (!plugins.is_empty()).then(|| format!("porter-{}", hash(&format!("{}{namespace}", Value::from(plugins)))))
}

/// Makes the temporary claim, and the action that installs the plugins there.
async fn install_plugins(cluster: &Cluster, mut object: DynamicObject, spec: &AgentConfigSpec) -> Result<()> {
    let namespace = object.namespace().context("an AgentConfig has no namespace")?;
    let plugins = plugins(spec);
    let name = format!("{}-", object.name_any());
    let labels = BTreeMap::from([
        ("getporter.org/managed".to_owned(), "true".to_owned()),
        ("getporter.org/plugins-hash".to_owned(), hash(&Value::from(plugins.clone()).to_string())),
    ]);
    let owners = controlled_by(&object, Kind::AgentConfig);
    let claim = agent_action::find_or_create::<PersistentVolumeClaim>(cluster, &namespace, &labels, || {
        json!({
            "metadata": {
                "generateName": name, "namespace": namespace, "labels": labels, "ownerReferences": owners,
                "annotations": {"agent-config-plugins-hash": plugins_claim(spec, &namespace)},
            },
            "spec": agent_action::claim_spec(spec),
        })
    })
    .await?;
    let version = spec.plugin_config_file.as_ref().and_then(|file| file.get("schemaVersion")).cloned();
    let file = document::plugins(&version.unwrap_or_default(), &plugins);
    let mut labels = porter_resource::action_labels(Kind::AgentConfig, &object);
    labels.extend(object.labels().clone());
    let action = json!({
        "metadata": {
            "generateName": name, "namespace": namespace, "labels": labels, "annotations": object.annotations(),
            "ownerReferences": owners,
        },
        "spec": {
            "agentConfig": {"name": object.name_any()},
            "args": ["plugins", "install", "-f", "plugins.yaml"],
            "files": {"plugins.yaml": STANDARD.encode(file)},
            "volumes": [{"name": "porter-plugins", "persistentVolumeClaim": {"claimName": claim}}],
            "volumeMounts": [plugins_mount()],
        },
    });
    let action = cluster.create(Kind::AgentAction, &namespace, action).await?;
    let mut status = porter_resource::status(&object, Some(&action));
    status["ready"] = false.into();
    cluster.set_status(Kind::AgentConfig, &mut object, status).await
}

/// Where an agent finds its plugins.
pub(crate) fn plugins_mount() -> Value {
    json!({"name": "porter-plugins", "mountPath": "/app/.porter/plugins", "subPath": "plugins"})
}

/// Whether an action was made to install plugins: it runs although its configuration is not ready.
pub(crate) fn installs_plugins(action: &DynamicObject) -> bool {
    action.labels().get("getporter.org/resourceKind").is_some_and(|kind| kind == Kind::AgentConfig.name())
}

/// The configuration that an action runs with: system, then namespace, then the one that it names; each field that is not
/// empty overrides.
///
/// # Errors
/// When the most specific one that exists is not ready, which is also so when there is none.
pub(crate) fn resolve(
    cluster: &Cluster,
    namespace: &str,
    action: &DynamicObject,
    spec: &AgentActionSpec,
) -> Result<AgentConfigSpec> {
    let named = spec.agent_config.as_ref().map(|reference| (namespace.to_owned(), reference.name.clone()));
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
    if !ready && !installs_plugins(action) {
        bail!("resolved agent configuration is not ready to be used");
    }
    Ok(serde_json::from_value(Value::Object(merged))?)
}
