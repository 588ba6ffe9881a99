//! What the cluster holds before a test begins: CRDs, and the rights of the controller.

use std::path::Path;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::binaries::workspace;
use crate::eventually::{PATIENCE, eventually};
use crate::user::User;

const FIELD_MANAGER: &str = "e2e";

/// Where the controller runs in the manifests.
pub(crate) const CONTROLLER_NAMESPACE: &str = "flux-system";

/// Where the operator looks for what holds in every namespace.
pub(crate) const OPERATOR_NAMESPACE: &str = "porter-operator-system";

pub(crate) async fn set_up(client: &Client, flux_crds: &Path) -> Result<()> {
    let mut definitions = read_manifests(flux_crds)?;
    // What ships, not what the types would generate today.
    definitions.extend(read_manifests(&workspace().join("manifests/crd"))?);
    definitions.extend(api::porter::crds().iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?);
    definitions.retain(is_definition);
    install_crds(client, definitions).await?;
    for namespace in [CONTROLLER_NAMESPACE, OPERATOR_NAMESPACE] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        apply(client, object).await?;
    }
    grant_controller(client).await
}

/// Applies CustomResourceDefinitions and waits until the API server serves them.
///
/// # Errors
/// When one is refused, or not served in time.
pub async fn install_crds(client: &Client, definitions: Vec<Value>) -> Result<()> {
    let names: Vec<String> = stream::iter(definitions)
        .map(|definition| async {
            let object = apply(client, definition).await?;
            Ok::<_, anyhow::Error>(object.name_any())
        })
        .buffer_unordered(4)
        .try_collect()
        .await?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for name in names {
        eventually(PATIENCE, &format!("the CRD {name} to be established"), || async {
            let definition = api.get(&name).await?;
            let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
            if conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
                return Ok(());
            }
            bail!("conditions {conditions:?}")
        })
        .await?;
    }
    Ok(())
}

/// Gives the controller's user what `manifests/rbac` gives the controller's service account, and nothing else.
async fn grant_controller(client: &Client) -> Result<()> {
    let folder = workspace().join("manifests/rbac");
    let mut objects = read_manifests(&folder)?;
    if objects.is_empty() {
        eprintln!("e2e: {} holds nothing: the controller has no rights", folder.display());
    }
    let rank = |object: &Value| matches!(kind(object), "ClusterRoleBinding" | "RoleBinding");
    objects.sort_by_key(rank);
    for mut object in objects {
        match kind(&object) {
            "ClusterRole" => {}
            "Role" => place(&mut object),
            "ClusterRoleBinding" | "RoleBinding" => {
                if kind(&object) == "RoleBinding" {
                    place(&mut object);
                }
                let user =
                    json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": User::Controller.name()});
                let subjects = object.pointer_mut("/subjects").and_then(Value::as_array_mut);
                subjects.context("a binding in manifests/rbac has no subjects")?.push(user);
            }
            _ => continue,
        }
        apply(client, object).await?;
    }
    Ok(())
}

/// Kustomize fills in the namespace; here nobody does.
fn place(object: &mut Value) {
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.entry("namespace").or_insert_with(|| CONTROLLER_NAMESPACE.into());
    }
    if let Some(subjects) = object.pointer_mut("/subjects").and_then(Value::as_array_mut) {
        for subject in subjects.iter_mut().filter_map(Value::as_object_mut) {
            if subject.get("kind").and_then(Value::as_str) == Some("ServiceAccount") {
                subject.entry("namespace").or_insert_with(|| CONTROLLER_NAMESPACE.into());
            }
        }
    }
}

fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

fn is_definition(object: &Value) -> bool {
    kind(object) == "CustomResourceDefinition"
}

/// Server-side apply of one object of any kind, wherever its own metadata says.
///
/// # Errors
/// When the object lacks what identifies it, or the API server refuses it.
pub async fn apply(client: &Client, object: Value) -> Result<DynamicObject> {
    let api_version = object.get("apiVersion").and_then(Value::as_str).context("an object without apiVersion")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind(&object)));
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").context("an object without a name")?;
    let api: Api<DynamicObject> = match text("/metadata/namespace") {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &parameters, &Patch::Apply(&object))
        .await
        .with_context(|| format!("cannot apply {} {name}", kind(&object)))
}

/// Every document of every YAML file of a folder that is a Kubernetes object, in the order of the file names. A folder
/// that is not there holds none.
///
/// # Errors
/// When a file cannot be read or is no YAML.
pub fn read_manifests(folder: &Path) -> Result<Vec<Value>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    let mut objects = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let text = std::fs::read_to_string(file)?;
        objects.extend(parse_manifests(&text).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(objects)
}

/// The Kubernetes objects of a YAML text. Other documents are left out.
///
/// # Errors
/// When it is no YAML.
pub fn parse_manifests(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(documents.into_iter().filter(|document| document.pointer("/metadata/name").is_some()).collect())
}
