//! Strategic merge: a patch that looks like a part of the object that it changes.
//!
//! Mappings are merged key by key, null removes, and `$patch` in a mapping says `delete`, `replace` or `merge`. A list
//! replaces the list that was there, unless the schema of the object says by which keys its elements are merged
//! ([`list`]). An object without a schema, such as any custom resource, has no such lists; an object with `apiVersion`
//! and `kind` that lies within one is merged by its own schema.
//!
//! The rules are those of kustomize's `merge2`, the odd ones included, since overlays were written against what it does:
//! - `$patch: replace` has no effect on a whole object, nor on an element of a list that is merged by keys.
//! - A boolean or a number that replaces a string in quotes becomes a string. Nodes do not tell how they were written,
//!   so that this holds for strings that cannot be written otherwise, `"80"` and `""` say.
//! - A number or a boolean without a type of its own, as replacements make them, becomes a string in every merge.
//! - A key of the target without any value (`key:`) goes in every merge; one that says `null` or `~` stays.
//! - A schema that a comment gives (`# {"type": "array", ...}`) is not seen: nodes have no comments.
//!
//! Invariant: the cost is linear in the target and the patch, and the result nests no deeper than the deeper of both.

mod list;

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;

use manifest::yaml::{self, Key, Node, Scalar, ScalarKind, Value};
use manifest::{Diagnostic, Location};

use crate::schema::{Schema, Schemas};

/// The key of a mapping by which a patch says what to do with it, instead of merging it.
const DIRECTIVE: &str = "$patch";

/// What a merge made of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Merged {
    /// The object as it is now.
    Kept(Node),
    /// The patch said `$patch: delete`.
    Deleted,
}

/// Merges a patch into an object.
///
/// The schema is that of the target's `apiVersion` and `kind`, or of the patch's where nothing is known of the target's.
/// Both are merged like all else, and so are name and namespace: what of them a patch may change is up to the caller.
/// `untyped` are the places of the target's scalars without a type of their own, of which those are taken that get one.
///
/// # Errors
/// When target and patch have different kinds of value at a place, or a directive is unknown. The fault stands at the
/// patch's value.
pub(crate) fn merge(
    target: Node,
    patch: &Node,
    untyped: &mut Vec<Location>,
    schemas: &Schemas,
) -> Result<Merged, Diagnostic> {
    if directive(patch)? == Directive::Replace {
        return Ok(Merged::Kept(target));
    }
    let merger = Merger { schemas, untyped: RefCell::new(untyped) };
    Ok(merger.walk(Some(target), Some(patch), None)?.map_or(Merged::Deleted, Merged::Kept))
}

/// What `$patch` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

impl Directive {
    fn parse(node: &Node) -> Result<Self, Diagnostic> {
        match node.as_scalar().map(|scalar| scalar.text.as_str()) {
            Some("merge") => Ok(Self::Merge),
            Some("replace") => Ok(Self::Replace),
            Some("delete") => Ok(Self::Delete),
            _ => Err(node.fault("unknown patch strategy; $patch is one of delete, replace and merge")),
        }
    }
}

/// The directive of a mapping.
fn directive(patch: &Node) -> Result<Directive, Diagnostic> {
    patch.get(DIRECTIVE).map_or(Ok(Directive::Merge), Directive::parse)
}

/// The text of a scalar at a key, whatever its type; nothing for null and the empty string.
fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    let scalar = node.get(key)?.as_scalar()?;
    (scalar.kind != ScalarKind::Null && !scalar.text.is_empty()).then_some(scalar.text.as_str())
}

/// How a part of the patch that the target lacks is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Added {
    /// It is what the target lacks: a directive among a list's elements is not seen.
    Itself,
    /// It is within what the target lacks.
    Within,
}

struct Merger<'a> {
    schemas: &'a Schemas,
    /// The places of the target's scalars that have no type of their own.
    untyped: RefCell<&'a mut Vec<Location>>,
}

impl<'a> Merger<'a> {
    /// The schema of a node: the one that its parent gives, else that of the object which it is, if it is one.
    fn schema(&self, given: Option<Schema<'a>>, nodes: &[&Node]) -> Option<Schema<'a>> {
        given.or_else(|| {
            let kind_of = |node: &&Node| self.schemas.of_kind(text(node, "apiVersion")?, text(node, "kind")?);
            nodes.iter().find_map(kind_of)
        })
    }

    /// Merges the values of one place; `None` when none is left.
    fn walk(
        &self,
        target: Option<Node>,
        patch: Option<&Node>,
        schema: Option<Schema<'a>>,
    ) -> Result<Option<Node>, Diagnostic> {
        match (target, patch) {
            (None, None) => Ok(None),
            (Some(mut target), None) => Ok(self.settle(&mut target, schema)?.then_some(target)),
            (_, Some(patch)) if patch.is_null() => Ok(None),
            (None, Some(patch)) => self.add(patch, schema, Added::Itself),
            (Some(target), Some(patch)) if target.is_null() => {
                drop(target);
                self.add(patch, schema, Added::Itself)
            }
            (Some(target), Some(patch)) => self.merge(target, patch, schema),
        }
    }

    /// Merges two values that are there.
    fn merge(&self, target: Node, patch: &Node, schema: Option<Schema<'a>>) -> Result<Option<Node>, Diagnostic> {
        let schema = self.schema(schema, &[&target, patch]);
        let Node { value, at } = target;
        match (value, &patch.value) {
            (Value::Mapping(entries), Value::Mapping(changes)) => match directive(patch)? {
                Directive::Delete => Ok(None),
                Directive::Replace => self.add_fields(changes, schema, patch).map(Some),
                Directive::Merge => {
                    let value = Value::Mapping(self.merge_fields(entries, changes, schema)?);
                    Ok(Some(Node { value, at }))
                }
            },
            (Value::Sequence(items), Value::Sequence(changes)) => match schema.and_then(Schema::merged_list) {
                None => Ok(Some(patch.clone())),
                Some(list) => self.merge_list(items, changes, list, at, patch),
            },
            (Value::Scalar(old), Value::Scalar(new)) => {
                // The new text is written in the old quotes.
                let string = new.kind == ScalarKind::String || is_quoted(&old);
                let kind = if string { ScalarKind::String } else { new.kind };
                Ok(Some(Node { value: Value::Scalar(Scalar { kind, ..new.clone() }), at: patch.at.clone() }))
            }
            (value, _) => {
                let place = at.as_ref().map(|at| format!(" (at {at})")).unwrap_or_default();
                let (old, new) = (Node::from(value).type_name(), patch.type_name());
                Err(patch.fault(format!("cannot merge {new} into {old}{place}; make it {old}, or null to remove it")))
            }
        }
    }

    fn merge_fields(
        &self,
        mut entries: Vec<(Key, Node)>,
        changes: &[(Key, Node)],
        schema: Option<Schema<'a>>,
    ) -> Result<Vec<(Key, Node)>, Diagnostic> {
        let target = Lookup::new(&entries);
        let is_new = |(key, _): &&(Key, Node)| &*key.name != DIRECTIVE && target.get(&key.name).is_none();
        let new: Vec<_> = changes.iter().filter(is_new).collect();
        let patch = Lookup::new(changes);
        try_retain(&mut entries, |key, node| {
            let Some(change) = patch.get(&key.name).filter(|_| &*key.name != DIRECTIVE) else {
                return self.settle(node, field(schema, key));
            };
            let target = mem::replace(node, Value::Mapping(Vec::new()).into());
            let merged = self.walk(Some(target), Some(change), field(schema, key))?;
            let stays = merged.is_some();
            *node = merged.unwrap_or_else(|| Value::Mapping(Vec::new()).into());
            Ok(stays)
        })?;
        for (key, node) in new {
            if let Some(node) = self.walk(None, Some(node), field(schema, key))? {
                entries.push((key.clone(), node));
            }
        }
        Ok(entries)
    }

    /// Takes over a value that the target lacks: without its nulls and directives, but for those in lists that are not
    /// merged.
    fn add(&self, patch: &Node, schema: Option<Schema<'a>>, added: Added) -> Result<Option<Node>, Diagnostic> {
        if patch.is_null() {
            return Ok(None);
        }
        let schema = self.schema(schema, &[patch]);
        match &patch.value {
            Value::Scalar(_) => Ok(Some(patch.clone())),
            Value::Mapping(changes) => match directive(patch)? {
                Directive::Delete => Ok(None),
                Directive::Replace | Directive::Merge => self.add_fields(changes, schema, patch).map(Some),
            },
            Value::Sequence(items) => match schema.and_then(Schema::merged_list) {
                None => Ok(Some(patch.clone())),
                Some(list) => self.add_list(items, list, added, patch),
            },
        }
    }

    fn add_fields(
        &self,
        changes: &[(Key, Node)],
        schema: Option<Schema<'a>>,
        patch: &Node,
    ) -> Result<Node, Diagnostic> {
        let mut fields = Vec::with_capacity(changes.len());
        for (key, node) in changes.iter().filter(|(key, _)| &*key.name != DIRECTIVE) {
            if let Some(node) = self.add(node, field(schema, key), Added::Within)? {
                fields.push((key.clone(), node));
            }
        }
        Ok(Node { value: Value::Mapping(fields), at: patch.at.clone() })
    }

    /// What a merge does where the patch says nothing; whether the value stays.
    fn settle(&self, target: &mut Node, schema: Option<Schema<'a>>) -> Result<bool, Diagnostic> {
        let schema = match &target.value {
            Value::Scalar(_) => None,
            _ => self.schema(schema, &[target]),
        };
        let place = target.at.clone();
        match &mut target.value {
            Value::Scalar(scalar) if scalar.kind == ScalarKind::Null => return Ok(!scalar.text.is_empty()),
            Value::Scalar(scalar) => {
                if scalar.kind != ScalarKind::String && self.takes_type(place.as_ref()) {
                    scalar.kind = ScalarKind::String;
                }
            }
            Value::Mapping(entries) => try_retain(entries, |key, node| self.settle(node, field(schema, key)))?,
            Value::Sequence(items) => {
                if let Some(list) = schema.and_then(Schema::merged_list) {
                    *items = self.settle_list(mem::take(items), list, &place)?;
                }
            }
        }
        Ok(true)
    }
}

impl Merger<'_> {
    /// Whether the scalar at a place had no type; by the merge it gets one.
    fn takes_type(&self, place: Option<&Location>) -> bool {
        let mut untyped = self.untyped.borrow_mut();
        let Some(index) = untyped.iter().position(|at| Some(at) == place) else { return false };
        untyped.swap_remove(index);
        true
    }

    /// That the scalar at a place has no type from now on.
    fn lose_type(&self, place: &Location) {
        let mut untyped = self.untyped.borrow_mut();
        if !untyped.contains(place) {
            untyped.push(place.clone());
        }
    }
}

/// The values of a mapping by their keys: a few are looked through, more get a table.
struct Lookup<'e> {
    entries: &'e [(Key, Node)],
    table: Option<HashMap<&'e str, &'e Node>>,
}

impl<'e> Lookup<'e> {
    fn new(entries: &'e [(Key, Node)]) -> Self {
        /// So many are found as soon as a table is made.
        const FEW: usize = 16;
        let table = (entries.len() > FEW).then(|| entries.iter().map(|(key, node)| (&*key.name, node)).collect());
        Self { entries, table }
    }

    fn get(&self, key: &str) -> Option<&'e Node> {
        match &self.table {
            Some(table) => table.get(key).copied(),
            None => self.entries.iter().find(|(its, _)| &*its.name == key).map(|(_, node)| node),
        }
    }
}

/// Keeps the entries that stay.
///
/// # Errors
/// The first, behind which all entries are kept as they are.
fn try_retain(
    entries: &mut Vec<(Key, Node)>,
    mut stays: impl FnMut(&Key, &mut Node) -> Result<bool, Diagnostic>,
) -> Result<(), Diagnostic> {
    let mut done = Ok(());
    entries.retain_mut(|(key, node)| {
        let stays = if done.is_ok() { stays(key, node) } else { Ok(true) };
        stays.unwrap_or_else(|fault| {
            done = Err(fault);
            true
        })
    });
    done
}

/// Whether a scalar is a string that needs quotes.
pub(crate) fn is_quoted(scalar: &Scalar) -> bool {
    scalar.kind == ScalarKind::String
        && yaml::to_string(&Node::string(scalar.text.as_str())).starts_with(['"', '\'', '|', '>'])
}

fn field<'a>(schema: Option<Schema<'a>>, key: &Key) -> Option<Schema<'a>> {
    schema?.field(&key.name)
}

#[cfg(test)]
mod tests;
