//! Vars, the deprecated forerunner of replacements: `$(NAME)` in the fields of the `varReference` configuration stands for
//! a field of a resource.
//!
//! A var is bound to its resource where it is declared, by the names that count there, and resolved at the very end, when
//! all names are final.

use std::collections::{HashMap, HashSet};

use manifest::yaml::{self, Node, Scalar, ScalarKind, Value};
use manifest::{Diagnostic, Location, Origin};

use crate::field_path::Path;
use crate::fieldspec::{FieldSpec, Make};
use crate::id::{EffectiveNamespace, Gvk, ResId};
use crate::kustomization::Var;
use crate::limits::Budget;
use crate::read::{Entry, Given};
use crate::resmap::ResMap;
use crate::resource::{PreviousId, Resource};
use crate::schema::Schemas;

/// The vars of a layer and of those below it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vars {
    bound: Vec<Bound>,
    /// The places of the vars by their names.
    places: HashMap<String, usize>,
}

/// A var, and the resource that it is about.
#[derive(Clone, Debug)]
struct Bound {
    var: Given<Var>,
    /// None when the layer has no such resource.
    resource: Option<Identity>,
}

/// What tells a resource apart on its way up: where it came from, and all that it was called when it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    origin: Origin,
    names: Vec<(EffectiveNamespace, String, String)>,
}

impl Identity {
    fn of(resource: &Resource, schemas: &Schemas) -> Self {
        let ResId { gvk, name, namespace } = resource.current_id(schemas).to_owned();
        let previous = resource.previous.iter();
        let names = previous
            .map(|PreviousId { namespace, name, kind }| (namespace.clone(), name.clone(), kind.clone()))
            .chain([(namespace, name, gvk.kind)]);
        Self { origin: resource.first_origin().clone(), names: names.collect() }
    }

    /// Whether a resource, as it is now, is the one that this was.
    fn became(&self, now: &Self) -> bool {
        self.origin == now.origin && now.names.starts_with(&self.names)
    }
}

impl Vars {
    /// Adds the vars that a kustomization declares, bound to the resources that it has gathered.
    ///
    /// # Errors
    /// When a name was used already, or several resources are what a var refers to.
    pub(crate) fn declare(
        &mut self,
        vars: &[Given<Var>],
        resources: &ResMap,
        schemas: &Schemas,
    ) -> Result<(), Diagnostic> {
        if vars.is_empty() {
            return Ok(());
        }
        let mut by_name: HashMap<(Gvk<&str>, &str), Vec<&Resource>> = HashMap::new();
        for resource in resources.resources() {
            let gvk = resource.gvk();
            let previous = resource.previous.iter().map(|previous| (previous.kind.as_str(), previous.name.as_str()));
            for (kind, name) in previous.chain([(resource.kind(), resource.name())]) {
                let there = by_name.entry((Gvk { kind, ..gvk }, name)).or_default();
                if !there.last().is_some_and(|last| std::ptr::eq(*last, resource)) {
                    there.push(resource);
                }
            }
        }
        for given in vars {
            let Given { value: var, entry } = given;
            let named = by_name.get(&(var.gvk.as_ref(), var.object_name.as_str())).into_iter().flatten();
            let matching: Vec<_> = named.filter(|resource| is_in(resource, var, schemas)).collect();
            let resource = match matching.as_slice() {
                [] => None,
                [one] => Some(Identity::of(one, schemas)),
                [first, second, ..] => {
                    return Err(entry.fault(format!(
                        "found {} resources for var {:?} (unable to disambiguate): at {} and {}; give its objref a namespace",
                        matching.len(),
                        var.name,
                        first.place(),
                        second.place()
                    )));
                }
            };
            self.add(Bound { var: given.clone(), resource })?;
        }
        Ok(())
    }

    /// Adds the vars of a base.
    ///
    /// # Errors
    /// When a name was used already.
    pub(crate) fn join(&mut self, base: Self) -> Result<(), Diagnostic> {
        base.bound.into_iter().try_for_each(|bound| self.add(bound))
    }

    fn add(&mut self, bound: Bound) -> Result<(), Diagnostic> {
        let Given { value: var, entry } = &bound.var;
        if let Some(first) = self.places.get(&var.name).and_then(|place| self.bound.get(*place)) {
            let place = first.var.entry.at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
            return Err(entry.fault(format!("var '{}' already encountered{place}; names of vars are unique", var.name)));
        }
        self.places.insert(var.name.clone(), self.bound.len());
        self.bound.push(bound);
        Ok(())
    }

    /// Puts the values in the place of their names.
    ///
    /// # Errors
    /// When the resource of a var or its field is not there, or a list that vars may stand in holds no strings.
    pub(crate) fn resolve(
        &self,
        resources: &mut ResMap,
        specs: &[FieldSpec],
        schemas: &Schemas,
        budget: &Budget<'_>,
    ) -> Result<(), Diagnostic> {
        if self.bound.is_empty() {
            return Ok(());
        }
        let values = self.values(resources.resources(), schemas)?;
        let mut by_kind: HashMap<String, Vec<&FieldSpec>> = HashMap::new();
        budget.work(resources.len()).map_err(Diagnostic::general)?;
        for resource in resources.resources_mut() {
            let kind = resource.kind().to_owned();
            let name = format!("{kind}/{}", resource.name());
            let about = |spec: &&FieldSpec| spec.gvk.kind.is_empty() || spec.gvk.kind == kind;
            let specs = by_kind.entry(kind.clone()).or_insert_with(|| specs.iter().filter(about).collect());
            for spec in specs.iter() {
                spec.apply(&mut resource.node, Make::Nothing, budget, &mut |node| {
                    replace(node, &resource.untyped, &values, budget).map_err(|(at, message)| Diagnostic {
                        at: at.or_else(|| Some(resource.origin.clone()).map(|origin| place_of(&origin))),
                        message: format!("considering field '{}' of object {name}: {message}", spec.path.as_str()),
                    })
                })?;
            }
        }
        Ok(())
    }

    fn values(&self, resources: &[Resource], schemas: &Schemas) -> Result<Values, Diagnostic> {
        let origins: HashSet<&Origin> =
            self.bound.iter().filter_map(|bound| Some(&bound.resource.as_ref()?.origin)).collect();
        let mut identities: HashMap<&Origin, Vec<(Identity, &Resource)>> = HashMap::new();
        for resource in resources.iter().filter(|resource| origins.contains(resource.first_origin())) {
            let identity = Identity::of(resource, schemas);
            identities.entry(resource.first_origin()).or_default().push((identity, resource));
        }
        let value = |Bound { var: Given { value: var, entry }, resource }: &Bound| {
            let resource = resource.as_ref().and_then(|seen| {
                let mut same = identities.get(&seen.origin)?.iter();
                same.find(|(now, _)| seen.became(now)).map(|(_, resource)| *resource)
            });
            let resource = resource.ok_or_else(|| {
                entry.fault(format!(
                    "var '{}' cannot be mapped to a field in the set of known resources: there is no {} named {:?}",
                    var.name, var.gvk, var.object_name
                ))
            })?;
            Ok((var.name.clone(), value_of(resource, var, entry)?))
        };
        self.bound.iter().map(value).collect()
    }
}

fn place_of(origin: &Origin) -> manifest::Location {
    manifest::Location { file: origin.file.clone(), line: origin.line, column: 1 }
}

/// Whether a resource had the namespace that a var asks for, if it asks for one, together with its name and kind.
fn is_in(resource: &Resource, var: &Var, schemas: &Schemas) -> bool {
    if var.namespace.is_empty() {
        return true;
    }
    resource
        .all_ids(schemas)
        .any(|id| id.gvk == var.gvk.as_ref() && id.name == var.object_name && id.namespace.as_str() == var.namespace)
}

/// The values of vars by their names; none for a list or a mapping, which cannot stand in a text.
type Values = HashMap<String, Option<Scalar>>;

fn value_of(resource: &Resource, var: &Var, entry: &Entry) -> Result<Option<Scalar>, Diagnostic> {
    let missing = |reason: &str| {
        entry.fault(format!(
            "field specified in var '{}' not found in corresponding resource: {:?} of {}/{} at {}{reason}",
            var.name,
            var.field_path,
            resource.kind(),
            resource.name(),
            resource.place()
        ))
    };
    let found = Path::of_var(&var.field_path).lookup(&resource.node);
    let (_, node) = found.map_err(|error| missing(&format!(": {error}")))?.ok_or_else(|| missing(""))?;
    let Some(scalar) = node.as_scalar() else { return Ok(None) };
    match scalar.kind {
        _ if resource.is_untyped(node.at.as_ref()) => Ok(Some(Scalar { kind: ScalarKind::String, ..scalar.clone() })),
        ScalarKind::String | ScalarKind::Null | ScalarKind::Timestamp => {
            Ok(Some(Scalar { kind: ScalarKind::String, ..scalar.clone() }))
        }
        // Go reads it with base 10 here.
        ScalarKind::Int => match scalar.text.parse::<i64>() {
            Ok(value) => Ok(Some(Scalar { kind: ScalarKind::Int, text: value.to_string() })),
            Err(_) => Err(missing(" is no decimal integer of 64 bits")),
        },
        ScalarKind::Bool => Ok(scalar.as_bool().map(|value| Scalar { kind: scalar.kind, text: value.to_string() })),
        ScalarKind::Float => match scalar.text.parse::<f64>() {
            Ok(value) => Ok(Some(Scalar { kind: ScalarKind::Float, text: yaml::format_float(value) })),
            Err(_) => Err(missing(" is no decimal number")),
        },
    }
}

/// Replaces the vars in a string, in the strings of a mapping, or in a list of strings. What has no type of its own is a
/// string from then on.
fn replace(
    node: &mut Node,
    untyped: &[Location],
    values: &Values,
    budget: &Budget<'_>,
) -> Result<(), (Option<Location>, String)> {
    let text = |node: &Node| {
        let is_untyped = || !node.is_null() && node.at.as_ref().is_some_and(|at| untyped.contains(at));
        let text = node.as_scalar().filter(|scalar| scalar.kind == ScalarKind::String || is_untyped());
        text.map(|scalar| scalar.text.clone())
    };
    let mut made = 0;
    let mut string = |node: &mut Node| {
        let expanded = text(node).map(|text| expand(&text, values)).transpose();
        if let Some(expanded) = expanded.map_err(|message| (node.at.clone(), message))? {
            made += expanded.text.len();
            budget.fits(made).map_err(|message| (node.at.clone(), message))?;
            node.value = Value::Scalar(expanded);
        }
        Ok(())
    };
    match &mut node.value {
        Value::Scalar(_) => string(node),
        Value::Mapping(entries) => entries.iter_mut().try_for_each(|(_, value)| string(value)),
        Value::Sequence(items) => items.iter_mut().try_for_each(|item| {
            if text(item).is_none() {
                let message = format!("invalid value type expect a string, not {}", item.type_name());
                return Err((item.at.clone(), message));
            }
            string(item)
        }),
    }
}

/// How long a text may become; what is longer no API server takes.
const MAX_EXPANDED: usize = 4 << 20;

/// A text with the names in `$(...)` replaced by their values; `$$` is one dollar. A text that is one name only takes the
/// type of the value.
fn expand(text: &str, values: &Values) -> Result<Scalar, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, after) = rest.split_at(dollar);
        out.push_str(before);
        let after = &after[1..];
        rest = after;
        if let Some(escaped) = after.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some((name, behind)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) {
            rest = behind;
            match values.get(name).and_then(Option::as_ref) {
                Some(value) if text.len() == name.len() + 3 => return Ok(value.clone()),
                Some(value) if out.len() + value.text.len() > MAX_EXPANDED => {
                    return Err(format!("the text is longer than {MAX_EXPANDED} bytes with its vars replaced"));
                }
                Some(value) => out.push_str(&value.text),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(Scalar { text: out, kind: ScalarKind::String })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_text_are_replaced() {
        let values: Values = [
            ("A", Some(Scalar { text: "a".to_owned(), kind: ScalarKind::String })),
            ("N", Some(Scalar { text: "5".to_owned(), kind: ScalarKind::Int })),
            ("REF", Some(Scalar { text: "$(A)".to_owned(), kind: ScalarKind::String })),
            ("LIST", None),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let string = ScalarKind::String;
        let rows = [
            ("$(A)", "a", string),
            ("$(N)", "5", ScalarKind::Int),
            ("x$(N)", "x5", string),
            ("$(N)$(N)", "55", string),
            ("ab$(A)", "aba", string),
            ("$$(A)", "$(A)", string),
            ("$$$(A)", "$a", string),
            ("$(REF)", "$(A)", string),
            ("$(Q) $(LIST)", "$(Q) $(LIST)", string),
            ("$(LIST)", "$(LIST)", string),
            ("$A $ $", "$A $ $", string),
            ("$(A", "$(A", string),
            ("$($(A)", "$($(A)", string),
            ("$()", "$()", string),
            ("", "", string),
        ];
        for (text, expected, kind) in rows {
            let expanded = expand(text, &values).unwrap();
            assert_eq!((expanded.text.as_str(), expanded.kind), (expected, kind), "{text}");
        }
    }
}
