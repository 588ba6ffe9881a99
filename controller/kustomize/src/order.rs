//! The order in which objects leave a build: load order, or kustomize's old order by kind.

use std::collections::HashMap;

use manifest::Diagnostic;

use crate::id::Gvk;
use crate::kustomization::{LegacySortOptions, SortOptions};
use crate::read::Given;
use crate::resmap::ResMap;
use crate::resource::Resource;

/// What others need to exist comes first.
const FIRST: [&str; 22] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];

/// What could refuse others comes last.
const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Puts the resources in the order that the kustomization of the target asks for.
///
/// # Errors
/// When the order is unknown, or has options of another.
pub(crate) fn sort_by_options(resources: &mut ResMap, given: &Given<SortOptions>) -> Result<(), Diagnostic> {
    match (given.value.order.as_str(), &given.value.legacy) {
        ("fifo", None) => Ok(()),
        ("fifo", Some(_)) => {
            Err(given.entry.fault("`legacySortOptions` is set, but the selected sort order is fifo, not legacy"))
        }
        ("legacy", options) => {
            sort_legacy(resources, options.as_ref());
            Ok(())
        }
        (other, _) => Err(given.entry.fault(format!("`order` must be fifo or legacy, not {other:?}"))),
    }
}

/// Sorts by kind, then by group, version, kind, namespace and name.
pub(crate) fn sort_legacy(resources: &mut ResMap, options: Option<&LegacySortOptions>) {
    let ranks: HashMap<&str, i64> = match options {
        Some(options) => ranks(
            options.order_first.iter().map(String::as_str).collect(),
            options.order_last.iter().map(String::as_str).collect(),
        ),
        None => ranks(FIRST.to_vec(), LAST.to_vec()),
    };
    let key = |resource: &Resource| {
        let gvk = resource.gvk();
        let rank = ranks.get(gvk.kind.as_str()).copied().unwrap_or_default();
        let part = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        let within = format!("{gvk}|{}|{}", part(resource.namespace(), "~X"), part(resource.name(), "~N"));
        (rank, by_gvk(&gvk), within)
    };
    resources.resources_mut().sort_by_cached_key(key);
}

fn ranks<'a>(first: Vec<&'a str>, last: Vec<&'a str>) -> HashMap<&'a str, i64> {
    let rank = |index: usize| i64::try_from(index).unwrap_or(i64::MAX / 2);
    let before = rank(first.len());
    let first = first.into_iter().enumerate().map(|(index, kind)| (kind, rank(index) - before));
    first.chain(last.into_iter().enumerate().map(|(index, kind)| (kind, rank(index) + 1))).collect()
}

/// Group, version and kind as kustomize sorts them: no group comes after any.
fn by_gvk(gvk: &Gvk) -> String {
    let part = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    format!("{}_{}_{}", part(&gvk.group, "~G"), part(&gvk.version, "~V"), part(&gvk.kind, "~K"))
}
