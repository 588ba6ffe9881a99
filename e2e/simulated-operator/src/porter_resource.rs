//! Installations, CredentialSets and ParameterSets: one AgentAction a generation, and its result copied back.
//!
//! From `controllers/installation_controller.go`, `credentialset_controller.go`, `parameterset_controller.go` and
//! `porter_resource.go` of the operator.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};

use crate::cluster::{
    Cluster, FINALIZER, RETRY_ANNOTATION, controlled_by, has_finalizer, is_deleted, is_not_found, post, retry_label,
    without_finalizer,
};
use crate::document;
use crate::kinds::Kind;
use crate::queue::Key;

const DELETION_POLICY: &str = "getporter.org/deletion-policy";

pub(crate) async fn reconcile(cluster: &Cluster, kind: Kind, key: &Key) -> Result<()> {
    let Some(object) = cluster.get(kind, key).await? else { return Ok(()) };
    match reconcile_object(cluster, kind, object).await {
        // The finalizer went and with it the object; nothing is left to say.
        Err(error) if is_not_found(&error) => Ok(()),
        outcome => outcome,
    }
}

async fn reconcile_object(cluster: &Cluster, kind: Kind, mut object: DynamicObject) -> Result<()> {
    // The hazard: an Installation that is deleted loses the finalizer before anything looks whether to uninstall it.
    if kind == Kind::Installation && is_deleted(&object) && has_finalizer(&object) {
        object = cluster.update(kind, &without_finalizer(&object)).await?;
    }

    let action = handled_by(cluster, kind, &object);
    let status = status(&object, action.as_deref());
    cluster.set_status(kind, &mut object, status).await?;

    if is_deleted(&object) && has_condition(&object, "Completed") {
        if has_finalizer(&object) {
            cluster.update(kind, &without_finalizer(&object)).await?;
        }
        return Ok(());
    }

    if let Some(action) = action {
        if retry_label(&action) != retry_label(&object) {
            return retry(cluster, kind, &mut object, &action).await;
        }
        if kind == Kind::Installation {
            outputs(cluster, &object).await?;
        }
        return Ok(());
    }

    if is_deleted(&object) {
        // A set has kept its finalizer until here; an Installation never has.
        if has_finalizer(&object) {
            dispatch(cluster, kind, &mut object).await?;
        }
        return Ok(());
    }

    if !has_finalizer(&object) {
        object.finalizers_mut().push(FINALIZER.to_owned());
        cluster.update(kind, &object).await?;
        return Ok(());
    }

    dispatch(cluster, kind, &mut object).await?;
    if kind == Kind::Installation {
        apply_deletion_policy(cluster, &mut object).await?;
        outputs(cluster, &object).await?;
    }
    Ok(())
}

pub(crate) fn handled_by(
    cluster: &Cluster,
    kind: Kind,
    object: &DynamicObject,
) -> Option<std::sync::Arc<DynamicObject>> {
    cluster.find(Kind::AgentAction, &object.namespace().unwrap_or_default(), &action_labels(kind, object))
}

/// The labels by which the action of this generation is found again.
pub(crate) fn action_labels(kind: Kind, object: &DynamicObject) -> BTreeMap<String, String> {
    let generation = object.metadata.generation.unwrap_or_default().to_string();
    [
        ("getporter.org/managed", "true"),
        ("getporter.org/resourceKind", kind.name()),
        ("getporter.org/resourceName", &object.name_any()),
        ("getporter.org/resourceGeneration", &generation),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The status that the object has because of its action.
pub(crate) fn status(object: &DynamicObject, action: Option<&DynamicObject>) -> Value {
    let mut status = json!({"observedGeneration": object.metadata.generation, "phase": "Unknown"});
    if let Some(action) = action {
        status["action"] = json!({"name": action.name_any()});
        let of_action = action.data.get("status");
        if let Some(phase) = of_action.and_then(|status| status.get("phase")) {
            status["phase"] = phase.clone();
        }
        if let Some(conditions) = of_action.and_then(|status| status.get("conditions")).and_then(Value::as_array)
            && !conditions.is_empty()
        {
            status["conditions"] = conditions.clone().into();
        }
    }
    status
}

fn has_condition(object: &DynamicObject, type_: &str) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == type_ && condition["status"] == "True")
}

/// Creates the action of this generation.
async fn dispatch(cluster: &Cluster, kind: Kind, object: &mut DynamicObject) -> Result<()> {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let agent_config = spec.get("agentConfig").cloned();
    let (args, file) = command(kind, spec, is_deleted(object))?;
    let mut labels = action_labels(kind, object);
    // The hazard: the object's own labels win.
    labels.extend(object.labels().clone());
    let mut action = json!({
        "metadata": {
            "generateName": format!("{}-", object.name_any()),
            "namespace": object.namespace(),
            "labels": labels,
            "annotations": object.annotations(),
            "ownerReferences": controlled_by(object, kind),
        },
        "spec": {"args": args},
    });
    if let Some(agent_config) = agent_config {
        action["spec"]["agentConfig"] = agent_config;
    }
    if let Some((name, text)) = file {
        action["spec"]["files"] = json!({name: STANDARD.encode(text)});
    }
    let namespace = object.namespace().context("the object has no namespace")?;
    let action = cluster.create(Kind::AgentAction, &namespace, action).await?;
    if kind == Kind::Installation {
        let message = format!("created installation agent action for {}", object.name_any());
        cluster.event(object, kind, "Normal", "CreateAgentAction", &message).await;
    }
    let status = status(object, Some(&action));
    cluster.set_status(kind, object, status).await
}

/// A file's name and text.
type File = (&'static str, String);

/// Porter's arguments, and the document that they name.
fn command(kind: Kind, spec: Value, deleted: bool) -> Result<(Vec<String>, Option<File>)> {
    let apply = |noun: &str, file: &str| [noun, "apply", file].map(str::to_owned).to_vec();
    let delete =
        |noun: &str, namespace: &str, name: &str| [noun, "delete", "-n", namespace, name].map(str::to_owned).to_vec();
    Ok(match kind {
        Kind::CredentialSet => {
            let spec = serde_json::from_value(spec)?;
            let text = document::credential_set(&spec);
            if deleted {
                (delete("credentials", &spec.namespace, &spec.name), None)
            } else {
                (apply("credentials", "credentials.yaml"), Some(("credentials.yaml", text)))
            }
        }
        Kind::ParameterSet => {
            let spec = serde_json::from_value(spec)?;
            let text = document::parameter_set(&spec);
            if deleted {
                (delete("parameters", &spec.namespace, &spec.name), None)
            } else {
                (apply("parameters", "parameters.yaml"), Some(("parameters.yaml", text)))
            }
        }
        _ => {
            let text = document::installation(&serde_json::from_value(spec)?);
            (apply("installation", "installation.yaml"), Some(("installation.yaml", text)))
        }
    })
}

/// Passes a changed retry annotation on to the action.
///
/// The hazard: what is passed on is the label value, whose own label value differs; so the two never agree, and each
/// event resets the status once more.
async fn retry(cluster: &Cluster, kind: Kind, object: &mut DynamicObject, action: &DynamicObject) -> Result<()> {
    let reset = json!({
        "observedGeneration": object.metadata.generation, "phase": "Unknown", "action": {"name": action.name_any()},
    });
    cluster.set_status(kind, object, reset).await?;
    let mut action = action.clone();
    let value = retry_label(object);
    if action.annotations().get(RETRY_ANNOTATION) == Some(&value) {
        return Ok(());
    }
    action.annotations_mut().insert(RETRY_ANNOTATION.to_owned(), value);
    cluster.update(Kind::AgentAction, &action).await?;
    Ok(())
}

/// Writes the deletion policy, of which nothing comes, by a full update.
async fn apply_deletion_policy(cluster: &Cluster, object: &mut DynamicObject) -> Result<()> {
    let policy = object.annotations().get(DELETION_POLICY).cloned();
    let known = policy.is_some_and(|policy| ["orphan", "delete"].contains(&policy.to_lowercase().as_str()));
    if !known {
        object.annotations_mut().insert(DELETION_POLICY.to_owned(), "delete".to_owned());
    }
    // Also when nothing changed: then it is the rewrite of the spec that counts.
    *object = cluster.update(Kind::Installation, object).await?;
    Ok(())
}

/// Writes the outputs that Porter's API server tells, when there are none yet; a warning where it tells nothing.
///
/// The hazard: nobody asks whether a run has ended, what is written once stays, and all annotations of the Installation
/// are replaced, the retry among them.
async fn outputs(cluster: &Cluster, object: &DynamicObject) -> Result<()> {
    const REASON: &str = "CreatingInstallationOutputs";
    let field = |name: &str| object.data["spec"][name].as_str().unwrap_or_default().to_owned();
    let (name, porter_namespace) = (field("name"), field("namespace"));
    let namespace = object.namespace().context("the object has no namespace")?;
    let resource = GroupVersionKind::gvk("getporter.org", "v1", "InstallationOutput");
    let resource = ApiResource::from_gvk(&resource);
    let Some(outputs) = cluster.options.outputs.get(&name) else {
        let message = format!("created installation outputs failed for {}", object.name_any());
        cluster.event(object, Kind::Installation, "Warning", REASON, &message).await;
        return Ok(());
    };
    // Looked up by Porter's namespace, made in that of Kubernetes.
    let known: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &porter_namespace, &resource);
    if known.get_opt(&name).await?.is_some() {
        return Ok(());
    }
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &namespace, &resource);
    let mut owners = controlled_by(object, Kind::Installation);
    owners[0]["controller"].take();
    owners[0]["blockOwnerDeletion"].take();
    let made = json!({
        "apiVersion": "getporter.org/v1", "kind": "InstallationOutput",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners},
        "spec": {"name": name, "namespace": porter_namespace},
    });
    api.create(&post(), &serde_json::from_value(made)?).await?;
    let message = format!("created installation outputs for {}", object.name_any());
    cluster.event(object, Kind::Installation, "Normal", REASON, &message).await;
    let names: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
    let status = json!({"status": {
        "phase": "Succeeded",
        "conditions": [{
            "type": "InstallationOutputSucceeded", "status": "True", "reason": "InstallationOutputCreatedSuccess",
            "message": "outputs custom resource generated succeeded",
            "lastTransitionTime": Time(k8s_openapi::jiff::Timestamp::now()),
        }],
        "outputs": outputs, "outputNames": names.join(","),
    }});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
    let mut annotations: Map<String, Value> =
        object.annotations().keys().map(|annotation| (annotation.clone(), Value::Null)).collect();
    annotations.insert("getporter.org/installationoutput".to_owned(), "true".into());
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    cluster.api(Kind::Installation, &namespace).patch(&object.name_any(), &PatchParams::default(), &patch).await?;
    Ok(())
}
