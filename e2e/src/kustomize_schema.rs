//! The table of Kubernetes' own kinds that `controller/kustomize` has built in, made from what an API server says of
//! itself in `/openapi/v2`.
//!
//! kustomize v5.8.1 knows the kinds and fields of Kubernetes 1.21. The API server is younger: it no longer serves some of
//! those kinds, and has others, which kustomize treats as it treats custom resources. What differs is said by the three
//! tables of rules here; all shapes, merge keys and scopes come from the server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::binaries::workspace;
use crate::{Environment, User};

/// The kinds of 1.21 that are still served as they were.
const KINDS: &[(&str, &[&str])] = &[
    ("admissionregistration.k8s.io/v1", &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]),
    ("apiextensions.k8s.io/v1", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io/v1", &["APIService"]),
    ("apps/v1", &["ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]),
    ("authentication.k8s.io/v1", &["TokenRequest", "TokenReview"]),
    (
        "authorization.k8s.io/v1",
        &["LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"],
    ),
    ("autoscaling/v1", &["HorizontalPodAutoscaler", "Scale"]),
    ("batch/v1", &["CronJob", "Job"]),
    ("certificates.k8s.io/v1", &["CertificateSigningRequest"]),
    ("coordination.k8s.io/v1", &["Lease"]),
    ("discovery.k8s.io/v1", &["EndpointSlice"]),
    ("events.k8s.io/v1", &["Event"]),
    ("networking.k8s.io/v1", &["Ingress", "IngressClass", "NetworkPolicy"]),
    ("node.k8s.io/v1", &["RuntimeClass"]),
    ("policy/v1", &["PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io/v1", &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]),
    ("scheduling.k8s.io/v1", &["PriorityClass"]),
    ("storage.k8s.io/v1", &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"]),
    ("v1", &["Binding", "ComponentStatus", "ConfigMap", "Endpoints", "Event", "LimitRange", "Namespace", "Node"]),
    ("v1", &["NodeProxyOptions", "PersistentVolume", "PersistentVolumeClaim", "Pod", "PodAttachOptions"]),
    ("v1", &["PodExecOptions", "PodPortForwardOptions", "PodProxyOptions", "PodTemplate", "ReplicationController"]),
    ("v1", &["ResourceQuota", "Secret", "Service", "ServiceAccount", "ServiceProxyOptions"]),
];

/// The kinds of 1.21 that are no longer served, and where the same shape and scope are served still.
const FORMER_KINDS: &[(&str, &str, &[&str])] = &[
    (
        "admissionregistration.k8s.io/v1beta1",
        "admissionregistration.k8s.io/v1",
        &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"],
    ),
    ("apiextensions.k8s.io/v1beta1", "apiextensions.k8s.io/v1", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io/v1beta1", "apiregistration.k8s.io/v1", &["APIService"]),
    ("authentication.k8s.io/v1beta1", "authentication.k8s.io/v1", &["TokenReview"]),
    (
        "authorization.k8s.io/v1beta1",
        "authorization.k8s.io/v1",
        &["LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"],
    ),
    // Their conditions were no list to be merged before v2.
    ("autoscaling/v2beta1", "autoscaling/v1", &["HorizontalPodAutoscaler"]),
    ("autoscaling/v2beta2", "autoscaling/v1", &["HorizontalPodAutoscaler"]),
    ("batch/v1beta1", "batch/v1", &["CronJob"]),
    ("certificates.k8s.io/v1beta1", "certificates.k8s.io/v1", &["CertificateSigningRequest"]),
    ("coordination.k8s.io/v1beta1", "coordination.k8s.io/v1", &["Lease"]),
    ("discovery.k8s.io/v1beta1", "discovery.k8s.io/v1", &["EndpointSlice"]),
    ("events.k8s.io/v1beta1", "events.k8s.io/v1", &["Event"]),
    ("extensions/v1beta1", "networking.k8s.io/v1", &["Ingress"]),
    (
        "flowcontrol.apiserver.k8s.io/v1beta1",
        "flowcontrol.apiserver.k8s.io/v1",
        &["FlowSchema", "PriorityLevelConfiguration"],
    ),
    ("networking.k8s.io/v1beta1", "networking.k8s.io/v1", &["Ingress", "IngressClass"]),
    ("node.k8s.io/v1beta1", "node.k8s.io/v1", &["RuntimeClass"]),
    ("policy/v1beta1", "policy/v1", &["Eviction", "PodDisruptionBudget"]),
    (
        "rbac.authorization.k8s.io/v1beta1",
        "rbac.authorization.k8s.io/v1",
        &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
    ),
    ("scheduling.k8s.io/v1beta1", "scheduling.k8s.io/v1", &["PriorityClass"]),
    (
        "storage.k8s.io/v1beta1",
        "storage.k8s.io/v1",
        &["CSIDriver", "CSINode", "CSIStorageCapacity", "StorageClass", "VolumeAttachment"],
    ),
];

/// `apiVersion` and kind.
type TypeName = (&'static str, &'static str);

/// A kind that went without a successor, and one that is like it in what counts: no namespace, and of its fields only
/// the metadata have lists to be merged.
const LIKE: &[(TypeName, TypeName)] =
    &[(("policy/v1beta1", "PodSecurityPolicy"), ("networking.k8s.io/v1", "IngressClass"))];

/// Fields that became lists to be merged after 1.21.
const LATER_FIELDS: &[(&str, &[&str])] = &[
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", &["matchConditions"]),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhook", &["matchConditions"]),
    ("io.k8s.api.core.v1.EphemeralContainer", &["ports"]),
    ("io.k8s.api.core.v1.PodSpec", &["resourceClaims", "schedulingGates"]),
    ("io.k8s.api.core.v1.PodStatus", &["hostIPs", "resourceClaimStatuses"]),
    ("io.k8s.api.flowcontrol.v1.FlowSchemaStatus", &["conditions"]),
    ("io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationStatus", &["conditions"]),
];

const HEAD: &str = "\
# What lists of Kubernetes' own kinds are merged by which keys, and which kinds have a namespace, as of Kubernetes 1.21.
# Made by hack/generate.sh from an API server's /openapi/v2; e2e/src/kustomize_schema.rs has the rules, and
# src/schema/builtin.rs tells how to read it.
";

/// Where the table lies.
#[must_use]
pub fn path() -> PathBuf {
    workspace().join("controller/kustomize/src/schema/builtin.txt")
}

/// The table, from the API server of an environment.
///
/// # Errors
/// When the API server does not answer, or lacks what a rule names.
pub async fn generate(environment: &Environment) -> Result<String> {
    let request = axum::http::Request::get("/openapi/v2").body(Vec::new())?;
    let document: Value = environment.client(User::Admin).await?.request(request).await?;
    table(&document)
}

fn table(document: &Value) -> Result<String> {
    let document = Document::read(document)?;
    let mut kinds = Vec::new();
    for (api_version, names) in KINDS {
        kinds.extend(names.iter().map(|name| ((*api_version, *name), (*api_version, *name))));
    }
    for (former, api_version, names) in FORMER_KINDS {
        kinds.extend(names.iter().map(|name| ((*former, *name), (*api_version, *name))));
    }
    kinds.extend(LIKE);
    kinds.sort_unstable();

    let mut lines = String::new();
    let mut roots = BTreeSet::new();
    for ((api_version, name), (served, like)) in kinds {
        let kind = document.kinds.get(&(served.to_owned(), like.to_owned()));
        let kind = kind.with_context(|| format!("the API server knows no {served} {like}, see the rules"))?;
        let scope = match kind.namespaced {
            Some(true) => "namespaced",
            Some(false) => "cluster",
            None => "-",
        };
        let definition = kind.definition.filter(|definition| document.definitions.contains_key(definition));
        roots.extend(definition);
        writeln!(lines, "{api_version} {name} {scope} {}", definition.unwrap_or_default())?;
    }
    let lines = lines.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    Ok(format!("{HEAD}{}{lines}\n", document.definitions_from(roots)?))
}

/// What counts of an OpenAPI document.
struct Document<'a> {
    /// Those that have, or lead to, lists to be merged.
    definitions: BTreeMap<&'a str, BTreeMap<&'a str, Field<'a>>>,
    kinds: BTreeMap<(String, String), Kind<'a>>,
}

#[derive(Default)]
struct Kind<'a> {
    definition: Option<&'a str>,
    namespaced: Option<bool>,
}

struct Field<'a> {
    merge_keys: Option<Vec<&'a str>>,
    /// The definition of the value, or of the elements.
    definition: Option<&'a str>,
}

impl Field<'_> {
    /// An object of any form.
    fn is_any(&self) -> bool {
        self.merge_keys.is_none() && self.definition.is_none()
    }
}

impl<'a> Document<'a> {
    fn read(document: &'a Value) -> Result<Self> {
        let all = document["definitions"].as_object().context("the OpenAPI document has no definitions")?;
        let mut definitions = BTreeMap::new();
        let mut kinds: BTreeMap<_, Kind<'_>> = BTreeMap::new();
        for (name, definition) in all {
            let later = LATER_FIELDS.iter().find(|(of, _)| of == name).map_or(&[][..], |(_, fields)| fields);
            let mut fields = BTreeMap::new();
            for (field, schema) in definition["properties"].as_object().into_iter().flatten() {
                if let Some(schema) = Field::read(schema, all).filter(|_| !later.contains(&field.as_str())) {
                    fields.insert(field.as_str(), schema);
                }
            }
            definitions.insert(name.as_str(), fields);
            for kind in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
                kinds.entry(type_of(kind)?).or_default().definition = Some(name);
            }
        }
        for (path, operations) in document["paths"].as_object().context("the OpenAPI document has no paths")? {
            let kind = &operations["get"]["x-kubernetes-group-version-kind"];
            if kind.is_object() {
                let kind = kinds.entry(type_of(kind)?).or_default();
                let namespaced = path.contains("namespaces/{namespace}");
                kind.namespaced = Some(namespaced || kind.namespaced == Some(true));
            }
        }
        for (name, fields) in LATER_FIELDS {
            let properties = all.get(*name).map(|definition| &definition["properties"]);
            let known = |field: &&str| properties.is_some_and(|properties| properties[*field].is_object());
            ensure!(fields.iter().all(known), "{name} lacks one of {fields:?}, see the rules");
        }
        Ok(Self { definitions: useful(definitions), kinds })
    }

    /// The definitions that the roots lead to, as lines.
    fn definitions_from(&self, roots: BTreeSet<&'a str>) -> Result<String> {
        let mut reached = BTreeSet::new();
        let mut ahead: Vec<&str> = roots.into_iter().collect();
        while let Some(name) = ahead.pop() {
            if reached.insert(name) {
                let fields = self.definitions.get(name).into_iter().flat_map(BTreeMap::values);
                ahead.extend(fields.filter_map(|field| field.definition));
            }
        }
        let mut lines = String::new();
        for name in reached {
            writeln!(lines, "{name}")?;
            for (field, schema) in self.definitions.get(name).into_iter().flatten() {
                write!(lines, "  {field}")?;
                match &schema.merge_keys {
                    Some(keys) => write!(lines, " [{}]", keys.join(","))?,
                    None if schema.is_any() => write!(lines, " ?")?,
                    None => {}
                }
                match schema.definition {
                    Some(definition) => writeln!(lines, " {definition}")?,
                    None => writeln!(lines)?,
                }
            }
        }
        Ok(lines)
    }
}

impl<'a> Field<'a> {
    /// `None` for what nothing is merged in, whatever it holds: scalars, lists that are replaced, mappings of scalars.
    fn read(schema: &'a Value, all: &serde_json::Map<String, Value>) -> Option<Self> {
        if let Some(definition) = reference(schema) {
            let any = all.get(definition).is_some_and(is_any);
            return Some(Self { merge_keys: None, definition: (!any).then_some(definition) });
        }
        let strategy = schema["x-kubernetes-patch-strategy"].as_str().unwrap_or_default();
        if strategy.split(',').any(|strategy| strategy == "merge") {
            let list = schema["x-kubernetes-list-map-keys"].as_array();
            let keys = match list {
                Some(keys) => keys.iter().filter_map(Value::as_str).collect(),
                None => schema["x-kubernetes-patch-merge-key"].as_str().into_iter().collect(),
            };
            return Some(Self { merge_keys: Some(keys), definition: reference(&schema["items"]) });
        }
        is_any(schema).then_some(Self { merge_keys: None, definition: None })
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/definitions/")
}

fn is_any(schema: &Value) -> bool {
    schema["type"] == "object" && schema["properties"].is_null() && schema["additionalProperties"].is_null()
}

fn type_of(kind: &Value) -> Result<(String, String)> {
    let (Some(group), Some(version), Some(kind)) =
        (kind["group"].as_str(), kind["version"].as_str(), kind["kind"].as_str())
    else {
        bail!("no group, version and kind: {kind}");
    };
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok((api_version, kind.to_owned()))
}

/// Leaves out the definitions that lead to no list to be merged, and the fields that have one of these.
fn useful<'a>(
    mut all: BTreeMap<&'a str, BTreeMap<&'a str, Field<'a>>>,
) -> BTreeMap<&'a str, BTreeMap<&'a str, Field<'a>>> {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    loop {
        let leads = |field: &Field<'_>| {
            field.merge_keys.is_some() || field.is_any() || field.definition.is_some_and(|name| known.contains(name))
        };
        let more: BTreeSet<&str> =
            all.iter().filter(|(_, fields)| fields.values().any(leads)).map(|(name, _)| *name).collect();
        if more.len() == known.len() {
            break;
        }
        known = more;
    }
    all.retain(|name, _| known.contains(name));
    for fields in all.values_mut() {
        for field in fields.values_mut() {
            if field.merge_keys.is_some() {
                field.definition = field.definition.filter(|name| known.contains(name));
            }
        }
        fields.retain(|_, field| field.definition.is_none_or(|name| known.contains(name)));
    }
    all
}
