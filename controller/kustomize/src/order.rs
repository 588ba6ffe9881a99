//! The order in which objects leave a build: load order, or kustomize's old order by kind.

use std::collections::HashMap;

use manifest::Diagnostic;

use crate::kustomization::{LegacySortOptions, SortOptions};
use crate::read::Given;
use crate::resmap::ResMap;
use crate::resource::Resource;

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
    let own = options.map(|options| ranks(&options.order_first, &options.order_last));
    let key = |resource: &Resource| {
        let gvk = resource.gvk();
        let (mut rank, mut name) = gvk.sort_key();
        if let Some(ranks) = &own {
            rank = ranks.get(gvk.kind).copied().unwrap_or_default();
        }
        if gvk.kind == "Namespace" && gvk.group.is_empty() && rank != 0 {
            // Those of Kubernetes stand before what others call so.
            name.clear();
        }
        let part = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        let within = format!("{gvk}|{}|{}", part(resource.namespace(), "~X"), part(resource.name(), "~N"));
        (rank, name, within)
    };
    resources.resources_mut().sort_by_cached_key(key);
}

/// The ranks of kinds that a kustomization puts first and last; all others have rank 0.
fn ranks<'a>(first: &'a [String], last: &'a [String]) -> HashMap<&'a str, isize> {
    let before = first.len().cast_signed();
    let first = (0..).zip(first).map(|(index, kind): (isize, _)| (kind.as_str(), index - before));
    first.chain((1..).zip(last).map(|(index, kind)| (kind.as_str(), index))).collect()
}
