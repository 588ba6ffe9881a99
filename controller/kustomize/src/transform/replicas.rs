//! `replicas`, and ReplicaCountTransformer.

use manifest::Diagnostic;
use manifest::yaml::{Node, Scalar, ScalarKind};

use super::{of_resource, set_scalar};
use crate::fieldspec::{FieldSpec, Make};
use crate::id::Gvk;
use crate::kustomization::Replica;
use crate::limits::Budget;
use crate::merge::is_quoted;
use crate::resmap::ResMap;
use crate::resource::Resource;

/// Sets the count of the resources that have the name, or had it before a transformer changed it, and are of a kind of
/// the specs.
///
/// # Errors
/// When there is none, or when a path leads through a scalar, or to what is none.
pub(crate) fn replicas(
    resources: &mut ResMap,
    replica: &Replica,
    specs: &[FieldSpec],
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let mut found = false;
    for resource in resources.resources_mut() {
        let kinds = kinds_with_name(resource, &replica.name);
        for spec in specs.iter().filter(|spec| kinds.iter().any(|kind| kind.is_selected_by(&spec.gvk))) {
            found = true;
            let mut set = |field: &mut Node| {
                // What is in quotes keeps its quotes, as with kustomize. A null was made a text on the way here.
                let is_null = |text: &str| Scalar::of_kind(ScalarKind::Null, text).is_some();
                let is_quoted = field.as_scalar().is_some_and(|scalar| is_quoted(scalar) && !is_null(&scalar.text));
                let count = if is_quoted { Node::string(replica.count.to_string()) } else { Node::int(replica.count) };
                set_scalar(field, count, spec)
            };
            spec.apply(&mut resource.node, Make::Scalar, budget, &mut set)
                .map_err(|fault| of_resource(resource, fault))?;
        }
    }
    if found {
        return Ok(());
    }
    let kinds: Vec<String> = specs.iter().map(|spec| spec.gvk.to_string()).collect();
    Err(Diagnostic::general(format!(
        "resource with name {} does not match a config with the following GVK [{}]: name one of these kinds, or add a \
         field spec to `replicas` of a `configurations` file",
        replica.name,
        kinds.join(" ")
    )))
}

/// The kinds that the resource has and had under a name.
fn kinds_with_name(resource: &Resource, name: &str) -> Vec<Gvk> {
    let previous = resource.previous.iter().filter(|previous| previous.name == name);
    let mut kinds: Vec<_> = previous.map(|previous| Gvk { kind: previous.kind.as_str(), ..resource.gvk() }).collect();
    if resource.name() == name {
        kinds.push(resource.gvk());
    }
    kinds.into_iter().map(Gvk::to_owned).collect()
}
