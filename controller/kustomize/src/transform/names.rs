//! `namePrefix`, `nameSuffix`, and PrefixTransformer, SuffixTransformer.

use manifest::Diagnostic;
use manifest::yaml::Node;

use super::{of_resource, scalar_text};
use crate::fieldspec::{FieldSpec, Make};
use crate::id::Gvk;
use crate::limits::Budget;
use crate::resmap::ResMap;
use crate::resource::Resource;
use crate::schema::Schemas;

/// The path at which a change of a field is a change of the name.
const NAME: &str = "metadata/name";

/// Puts a prefix before the fields of the specs, and remembers it with each resource whose name changes.
///
/// # Errors
/// When a path leads through a scalar, or to what is none.
pub(crate) fn prefix(
    resources: &mut ResMap,
    prefix: &str,
    specs: &[FieldSpec],
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    rename(resources, specs, schemas, &Affix { text: prefix, side: Side::Front }, budget)
}

/// Puts a suffix behind the fields of the specs, likewise.
///
/// # Errors
/// As of [`prefix`].
pub(crate) fn suffix(
    resources: &mut ResMap,
    suffix: &str,
    specs: &[FieldSpec],
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    rename(resources, specs, schemas, &Affix { text: suffix, side: Side::Back }, budget)
}

struct Affix<'a> {
    text: &'a str,
    side: Side,
}

#[derive(Clone, Copy)]
enum Side {
    Front,
    Back,
}

impl Affix<'_> {
    fn put_on(&self, text: &str) -> String {
        match self.side {
            Side::Front => [self.text, text].concat(),
            Side::Back => [text, self.text].concat(),
        }
    }

    /// Remembers that the name of the resource is about to change; nothing is to be remembered of an empty affix.
    fn remember(&self, resource: &mut Resource, schemas: &Schemas, budget: &Budget<'_>) -> Result<(), Diagnostic> {
        if self.text.is_empty() {
            return Ok(());
        }
        let history = match self.side {
            Side::Front => &mut resource.prefixes,
            Side::Back => &mut resource.suffixes,
        };
        history.push(self.text.to_owned());
        budget.grow(0, self.text.len()).map_err(|message| resource.fault(message))?;
        budget.remember(resource)?;
        resource.store_previous_id(schemas);
        Ok(())
    }
}

fn rename(
    resources: &mut ResMap,
    specs: &[FieldSpec],
    schemas: &Schemas,
    affix: &Affix<'_>,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let mut selected = Vec::new();
    for resource in resources.resources_mut() {
        let original = original_kind(resource);
        if keeps_its_name(original) {
            continue;
        }
        selected.clear();
        selected.extend(specs.iter().filter(|spec| original.is_selected_by(&spec.gvk)));
        for spec in &selected {
            if spec.path.as_str() == NAME {
                affix.remember(resource, schemas, budget)?;
            }
            let mut set = |field: &mut Node| {
                let text = affix.put_on(scalar_text(field, spec)?);
                if !affix.text.is_empty() {
                    field.value = Node::string(text).value;
                }
                Ok(())
            };
            spec.apply(&mut resource.node, Make::Scalar, budget, &mut set)
                .map_err(|fault| of_resource(resource, fault))?;
        }
    }
    Ok(())
}

/// The kind with which the resource was loaded; group and version have no history.
fn original_kind(resource: &Resource) -> Gvk<&str> {
    let gvk = resource.gvk();
    resource.previous.first().map_or(gvk, |first| Gvk { kind: first.kind.as_str(), ..gvk })
}

/// Whether the name means something beyond the resource, so that it must stay.
fn keeps_its_name(original: Gvk<&str>) -> bool {
    match original.kind {
        "CustomResourceDefinition" | "Namespace" => true,
        "APIService" => original.group == "apiregistration.k8s.io",
        _ => false,
    }
}
