//! The transformers that set fields: each does to all resources what kustomize's builtin plugin of its name does.
//!
//! Architecture invariant: a transformer acts on the field specs that it is given, and knows no defaults; so it is the
//! same one whether a kustomization configures it or a file of `transformers`.

mod annotations;
mod images;
mod labels;
mod names;
mod namespace;
mod replicas;

use manifest::yaml::{Key, Node, Value};
use manifest::{Diagnostic, Location};

use crate::fieldspec::{FieldSpec, Make};
use crate::limits::Budget;
use crate::resmap::ResMap;
use crate::resource::Resource;

pub(crate) use annotations::annotations;
pub(crate) use images::image;
pub(crate) use labels::{label_specs, labels};
pub(crate) use names::{prefix, suffix};
pub(crate) use namespace::{NamespaceOptions, SubjectMode, namespace, namespace_of_one};
pub(crate) use replicas::replicas;

/// Adds pairs to all mappings that the field specs lead to.
fn set_pairs(
    resources: &mut ResMap,
    pairs: &[(String, String)],
    specs: &[FieldSpec],
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    if pairs.is_empty() {
        return Ok(());
    }
    let pairs: Vec<(Key, Node)> =
        pairs.iter().map(|(key, value)| (Key::new(key.as_str()), Node::string(value.as_str()))).collect();
    for resource in resources.resources_mut() {
        for spec in specs {
            let mut set = |field: &mut Node| set_entries(field, &pairs, &resource.untyped, spec);
            spec.apply(&mut resource.node, Make::Mapping, budget, &mut set)
                .map_err(|fault| of_resource(resource, fault))?;
        }
    }
    Ok(())
}

fn set_entries(
    field: &mut Node,
    pairs: &[(Key, Node)],
    untyped: &[Location],
    spec: &FieldSpec,
) -> Result<(), Diagnostic> {
    if field.is_null() {
        // One that could not be made stays.
        return Ok(());
    }
    let type_name = field.type_name();
    let Value::Mapping(entries) = &mut field.value else {
        return Err(field.fault(format!("field {:?} is {type_name}, not a mapping", spec.path.as_str())));
    };
    for (key, value) in pairs {
        match entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => {
                old.value = value.value.clone();
                // It has a type from now on.
                old.at = old.at.take().filter(|at| !untyped.contains(at));
            }
            None => entries.push((key.clone(), value.clone())),
        }
    }
    Ok(())
}

/// Sets a scalar or a null; it keeps its place.
fn set_scalar(field: &mut Node, value: Node, spec: &FieldSpec) -> Result<(), Diagnostic> {
    scalar_text(field, spec)?;
    field.value = value.value;
    Ok(())
}

/// The text of a scalar, whatever its type.
fn scalar_text<'a>(field: &'a Node, spec: &FieldSpec) -> Result<&'a str, Diagnostic> {
    match field.as_scalar() {
        Some(scalar) => Ok(&scalar.text),
        None => Err(field.fault(format!("field {:?} is {}, not a scalar", spec.path.as_str(), field.type_name()))),
    }
}

/// Says of a fault which resource it is about, and where that is when it is not known better.
fn of_resource(resource: &Resource, fault: Diagnostic) -> Diagnostic {
    let Diagnostic { at, message } = resource.fault(fault.message);
    Diagnostic { at: fault.at.or(at), message }
}

#[cfg(test)]
mod tests;
