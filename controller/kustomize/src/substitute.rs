//! Post-build substitution: `${variable}` in built objects, by the rules of Flux's kustomize-controller.
//!
//! As in Flux a template is the YAML text of a whole object, and what it gives is read as YAML 1.1 again: a value may
//! become a number, a mapping, a key. The text is what kustomize prints, so quotes of the source are gone.
//!
//! Invariant: an object without `${` and `$$` comes out as it went in. Values may be secrets: no fault holds one, nor
//! anything that was made with one, and [`Variables`] prints names only.

mod evaluate;
mod glob;
mod operation;
mod places;
mod runes;
mod template;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use manifest::yaml::{self, Dialect, Node, Value};
use manifest::{Diagnostic, Diagnostics, Object, ObjectId};

use evaluate::{Evaluated, Failed, Why};
use operation::{Effort, Exhausted, Refused};
use places::Places;

/// Label or annotation of an object that is not to be substituted, with the value `disabled`.
const OPT_OUT: &str = "kustomize.toolkit.fluxcd.io/substitute";
const DISABLED: &str = "disabled";

/// What substitution may cost.
#[derive(Clone, Copy)]
struct Limits {
    /// Bytes that may be made of one object, those of nested expansions included.
    object: usize,
    /// Bytes by which all objects together may grow.
    growth: usize,
    /// Steps that globs and replacements may take in all objects together.
    steps: usize,
}

/// No API server takes an object as large, and the steps take about half a second.
const LIMITS: Limits = Limits { object: 4 << 20, growth: 64 << 20, steps: 100_000_000 };

/// What to substitute, and how.
#[derive(Clone, Copy, Debug)]
pub struct Substitution<'a> {
    /// The values.
    pub variables: &'a Variables,
    /// Whether a variable without value and default is a fault, rather than empty. Flux's default since 2.9.
    pub strict: bool,
    /// What to do when there are no variables.
    pub strategy: Strategy,
}

/// When to substitute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// When at least one variable is given; else every object stays as it is.
    #[default]
    WithVariables,
    /// Always, so that defaults and escapes count, and strictness.
    Always,
}

/// Names and values. Values are bytes, because a Secret may hold anything under a name that nobody uses.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, Vec<u8>>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Names that no variable can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no variable can be called {}: a name is made of A-Z, a-z, 0-9 and _, and does not begin with a digit",
    list(.names)
)]
pub struct InvalidNames {
    /// The names, in order.
    pub names: Vec<String>,
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

impl Variables {
    /// Adds what one source gives: the data of a ConfigMap or Secret in the order of `substituteFrom`, and `substitute`
    /// last. A later value of a name wins. Line breaks (U+000A) are taken out of values.
    ///
    /// # Errors
    /// With all names that are invalid, also those that no object uses, as in Flux. Nothing is added then.
    pub fn merge<K: Into<String>, V: AsRef<[u8]>>(
        &mut self,
        source: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), InvalidNames> {
        let source: BTreeMap<String, V> = source.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let names: Vec<String> = source.keys().filter(|name| !is_name(name)).cloned().collect();
        if !names.is_empty() {
            return Err(InvalidNames { names });
        }
        let on_one_line = |value: V| value.as_ref().iter().copied().filter(|byte| *byte != b'\n').collect();
        self.0.extend(source.into_iter().map(|(name, value)| (name, on_one_line(value))));
        Ok(())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// Substitutes the variables in all objects that have not opted out. Nodes keep their places where the object keeps
/// its structure; others are said to stand where what they are part of stood.
///
/// # Errors
/// All faults of all objects: templates that are none, variables that are not set, results that are no YAML, no object
/// with `apiVersion`, `kind` and name, or the same object twice, and results that are too large.
pub fn substitute(objects: Vec<Object>, with: &Substitution<'_>) -> Result<Vec<Object>, Diagnostics> {
    within(LIMITS, objects, with)
}

fn within(mut limits: Limits, mut objects: Vec<Object>, with: &Substitution<'_>) -> Result<Vec<Object>, Diagnostics> {
    if with.variables.is_empty() && with.strategy == Strategy::WithVariables {
        return Ok(objects);
    }
    let mut faults = Vec::new();
    let mut renamed: HashMap<usize, ObjectId> = HashMap::new();
    for (index, object) in objects.iter_mut().enumerate() {
        if !has_template(&object.node) || has_opted_out(object) {
            continue;
        }
        match one(object, with, &mut limits) {
            Ok(node) => {
                let id = object.id();
                object.node = node;
                if object.id() != id {
                    renamed.insert(index, id);
                }
            }
            Err(wrong) => faults.extend(wrong),
        }
    }
    if faults.is_empty() && !renamed.is_empty() {
        faults.extend(same_objects(&objects, &renamed));
    }
    Diagnostics::check(faults, objects)
}

/// Whether a string or a key of the node is anything but itself as a template.
fn has_template(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => template::is_template(&scalar.text),
        Value::Sequence(items) => items.iter().any(has_template),
        Value::Mapping(entries) => {
            entries.iter().any(|(key, node)| template::is_template(&key.name) || has_template(node))
        }
    }
}

fn has_opted_out(object: &Object) -> bool {
    ["labels", "annotations"]
        .iter()
        .any(|field| object.node.at_path(&["metadata", field, OPT_OUT]).and_then(Node::as_str) == Some(DISABLED))
}

/// What substitution makes of an object. Takes what it costs all objects together off the limits.
fn one(object: &Object, with: &Substitution<'_>, limits: &mut Limits) -> Result<Node, Vec<Diagnostic>> {
    let text = yaml::to_canonical(&object.node);
    let places = Places::new(object, &text);
    let parts = template::parse(&text).map_err(|malformed| vec![places.fault(malformed.at, malformed.message)])?;

    let mut effort = Effort { bytes: limits.object, steps: limits.steps };
    let result = evaluate::evaluate(&parts, with.variables, with.strict, &mut effort);
    limits.steps = effort.steps;
    let result = result.map_err(|failed| evaluation_faults(failed, &places))?;
    let growth = result.bytes.len().saturating_sub(text.len());
    limits.growth = limits.growth.checked_sub(growth).ok_or_else(|| {
        let message = format!("all objects together grow by more than {} MiB in substitution", LIMITS.growth >> 20);
        vec![places.object_fault(message)]
    })?;

    let mut node = read(&result, &places).map_err(|fault| vec![fault])?;
    places::carry(&mut node, object);
    identity_faults(&node, &places).map(|()| node)
}

fn evaluation_faults(failed: Vec<Failed>, places: &Places<'_>) -> Vec<Diagnostic> {
    let mut told = std::collections::HashSet::new();
    failed
        .into_iter()
        .filter(|failed| told.insert(failed.name.clone()))
        .map(|Failed { at, name, why }| match why {
            Why::NotSet => {
                let message = format!(
                    "variable `{name}` is not set; set it, give a default as in `${{{name}:=default}}`, or write \
                     `$${{` where the text itself is meant"
                );
                places.fault(at, message)
            }
            Why::Refused(Refused::Overflow) => {
                places.fault(at, format!("offset and length of `${{{name}:...}}` are beyond 64 bits"))
            }
            Why::Refused(Refused::Exhausted(Exhausted::Steps)) => {
                let message = format!("`${{{name}...}}` takes too many steps; its pattern or its value is too long");
                places.fault(at, message)
            }
            Why::Refused(Refused::Exhausted(Exhausted::Bytes)) => {
                places.object_fault(format!("substitution makes more than {} MiB of this object", LIMITS.object >> 20))
            }
        })
        .collect()
}

/// The result as a node. What the YAML reader says is kept back: it may hold what came of a value.
fn read(result: &Evaluated, places: &Places<'_>) -> Result<Node, Diagnostic> {
    let near = |offset: usize, message: &str| match result
        .expansions
        .iter()
        .rev()
        .find(|expanded| expanded.result <= offset)
    {
        Some(expanded) => {
            places.fault(expanded.template, format!("{message}, at or after `${{{}...}}`", expanded.name))
        }
        None => places.object_fault(message),
    };
    let text = std::str::from_utf8(&result.bytes)
        .map_err(|error| near(error.valid_up_to(), "what substitution makes of this object is no UTF-8"))?;
    let documents = yaml::parse_as(Dialect::Kustomization, "", text.as_bytes()).map_err(|faults| {
        let at = faults.iter().find_map(|fault| fault.at.as_ref());
        let offset = at.map_or(text.len(), |at| places::offset(text, at));
        near(
            offset,
            "what substitution makes of this object is no YAML (a value that YAML would take for more than plain text \
             has to hold quotes of its own)",
        )
    })?;
    let node = documents.into_iter().next().map_or_else(Node::null, |document| document.node);
    match node.as_mapping() {
        Some(_) => Ok(node),
        None => Err(places.object_fault(format!("substitution makes {} of this object", node.type_name()))),
    }
}

/// Whether the object can be told apart from others still.
fn identity_faults(node: &Node, places: &Places<'_>) -> Result<(), Vec<Diagnostic>> {
    let fields: [(&[&str], bool); 4] = [
        (&["apiVersion"], true),
        (&["kind"], true),
        (&["metadata", "name"], true),
        (&["metadata", "namespace"], false),
    ];
    let faults: Vec<Diagnostic> = fields
        .into_iter()
        .filter_map(|(path, required)| {
            let field = node.at_path(path).filter(|field| required || !field.is_null());
            let what = match field {
                Some(field) => match field.as_str() {
                    Some("") if required => "the empty string",
                    Some(_) => return None,
                    None => field.type_name(),
                },
                None if required => "nothing",
                None => return None,
            };
            let at = field.and_then(|field| field.at.clone());
            Some(places.fault_at(at, &path.join("."), format!("substitution makes {what} of this, not a string")))
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Faults of objects that have come to be called the same. `renamed` has the ids from before.
fn same_objects(objects: &[Object], renamed: &HashMap<usize, ObjectId>) -> Vec<Diagnostic> {
    let mut first: HashMap<ObjectId, usize> = HashMap::new();
    let mut faults = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        let Some(other) = first.insert(object.id(), index) else { continue };
        let before = |index: usize, object: &Object| renamed.get(&index).cloned().unwrap_or_else(|| object.id());
        let Some(same) = objects.get(other) else { continue };
        let message = format!(
            "{}: substitution makes this the same object as {} at {}",
            before(index, object),
            before(other, same),
            same.origin
        );
        faults.push(object.fault(message));
    }
    faults
}

#[cfg(test)]
mod tests;
