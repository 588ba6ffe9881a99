//! Lists whose elements are merged: as a set of scalars, or by the values of some keys.
//!
//! What the patch names comes first, in the patch's order, then what only the target has. Where several keys together
//! say what an element is, an element that the target has keeps its place behind those that are new.
//!
//! An element that is there twice counts once, as its last in the target, and as its first in the patch. That holds of
//! every such list of an object that is patched, of those that the patch does not name, too.
//!
//! kustomize defines all this by what it does to the lists step by step, and for elements that lack a key the steps
//! come to odd ends; [`irregular`] follows them. Lists in which every element has its keys, [`regular`] ones, come to
//! the same by way of a hash table.

mod irregular;
mod regular;

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem;

use manifest::yaml::{Node, ScalarKind, Value};
use manifest::{Diagnostic, Location};

use self::irregular::Irregular;
use self::regular::Regular;
use super::{Added, DIRECTIVE, Directive, Merger, is_quoted};
use crate::schema::{MergedList, Schema};

impl<'a> Merger<'a> {
    pub(super) fn merge_list(
        &self,
        items: Vec<Node>,
        changes: &[Node],
        list: MergedList<'a>,
        at: Option<Location>,
        patch: &Node,
    ) -> Result<Option<Node>, Diagnostic> {
        let value = match without_directive(changes)? {
            (Directive::Delete, _) => return Ok(None),
            (Directive::Replace, changes) => return self.combine_same(changes.into_owned(), list, &patch.at).map(Some),
            (Directive::Merge, changes) => self.combine(items, Other::Patch(&changes), list, &patch.at)?,
        };
        Ok(Some(Node { value: Value::Sequence(value), at }))
    }

    /// Takes over a list that the target lacks.
    pub(super) fn add_list(
        &self,
        items: &[Node],
        list: MergedList<'a>,
        added: Added,
        patch: &Node,
    ) -> Result<Option<Node>, Diagnostic> {
        let items = match added {
            Added::Itself => items.to_vec(),
            Added::Within => match without_directive(items)? {
                (Directive::Delete, _) => return Ok(None),
                (Directive::Replace | Directive::Merge, items) => items.into_owned(),
            },
        };
        self.combine_same(items, list, &patch.at).map(Some)
    }

    /// What a merge does to a list that the patch does not name.
    pub(super) fn settle_list(
        &self,
        items: Vec<Node>,
        list: MergedList<'a>,
        at: &Option<Location>,
    ) -> Result<Vec<Node>, Diagnostic> {
        self.combine(items, Other::Nothing, list, at)
    }

    fn combine_same(&self, items: Vec<Node>, list: MergedList<'a>, at: &Option<Location>) -> Result<Node, Diagnostic> {
        let value = Value::Sequence(self.combine(items, Other::Same, list, at)?);
        Ok(Node { value, at: at.clone() })
    }

    fn combine(
        &self,
        items: Vec<Node>,
        other: Other<'_>,
        list: MergedList<'a>,
        at: &Option<Location>,
    ) -> Result<Vec<Node>, Diagnostic> {
        if list.keys.is_empty() {
            let merged = union(items, other.patch())?;
            // kustomize writes the text of each anew, without a type of its own unless it is in quotes.
            merged.iter().filter_map(|item| Some((item.as_scalar()?, item.at.as_ref()?))).for_each(|(scalar, at)| {
                if !is_quoted(scalar) {
                    self.lose_type(at);
                }
            });
            return Ok(merged);
        }
        match Regular::of(&items, other.patch(), list.keys) {
            Some(regular) => regular.combine(self, items, other, list.element),
            None => Irregular::of(items, other, list.keys, at)?.combine(self, list.element),
        }
    }

    /// Merges the elements of a target and a patch that are one; both are there.
    fn merge_element(
        &self,
        target: Node,
        patch: &Node,
        schema: Option<Schema<'a>>,
    ) -> Result<Option<Node>, Diagnostic> {
        // The element of the target is put back over what a patch replaces it with.
        match super::directive(patch)? {
            Directive::Replace => Ok(Some(target)),
            Directive::Delete | Directive::Merge => self.walk(Some(target), Some(patch), schema),
        }
    }
}

/// What a list is combined with.
#[derive(Clone, Copy, Debug)]
enum Other<'p> {
    /// The patch's list.
    Patch(&'p [Node]),
    /// Nothing: the patch does not name it.
    Nothing,
    /// Itself: the patch brings it.
    Same,
}

impl<'p> Other<'p> {
    fn patch(self) -> &'p [Node] {
        match self {
            Self::Patch(patch) => patch,
            Self::Nothing | Self::Same => &[],
        }
    }
}

/// The directive of a list, given by an element that has nothing else, and the list without it.
///
/// Only the first element with a directive counts. Where it gives that of the list, all that say the same go with it.
fn without_directive(items: &[Node]) -> Result<(Directive, Cow<'_, [Node]>), Diagnostic> {
    let given = items.iter().find_map(|item| Some((item, item.get(DIRECTIVE)?)));
    let Some((_, given)) = given.filter(|(item, _)| item.as_mapping().is_some_and(|entries| entries.len() == 1)) else {
        return Ok((Directive::Merge, Cow::Borrowed(items)));
    };
    let directive = Directive::parse(given)?;
    let says_so = |item: &Node| item.get(DIRECTIVE).is_some_and(|node| Directive::parse(node).ok() == Some(directive));
    Ok((directive, items.iter().filter(|item| !is_empty(item) && !says_so(item)).cloned().collect()))
}

/// Whether an element is null or an empty mapping; such elements go.
fn is_empty(item: &Node) -> bool {
    item.is_null() || item.as_mapping().is_some_and(<[_]>::is_empty)
}

/// The value of an element at a key: a scalar's text, whatever its type; empty for all else.
fn part<'n>(item: &'n Node, key: &str) -> &'n str {
    match item.get(key).and_then(Node::as_scalar) {
        Some(scalar) if scalar.kind != ScalarKind::Null => &scalar.text,
        _ => "",
    }
}

/// The patch's scalars, then the target's that are not among them. One that both have is written as in the target.
fn union(target: Vec<Node>, patch: &[Node]) -> Result<Vec<Node>, Diagnostic> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(target.len() + patch.len());
    let mut merged: Vec<Node> = Vec::with_capacity(target.len() + patch.len());
    let mut put = |item: Node, again: bool| {
        let Some(scalar) = item.as_scalar() else {
            return Err(item.fault(format!("{} in a list that is merged as a set of scalars", item.type_name())));
        };
        if scalar.kind == ScalarKind::Null {
            return Ok(());
        }
        if let Some(place) = places.get(&scalar.text) {
            if again {
                merged[*place] = item;
            }
        } else {
            places.insert(scalar.text.clone(), merged.len());
            merged.push(item);
        }
        Ok(())
    };
    patch.iter().try_for_each(|item| put(item.clone(), false))?;
    target.into_iter().try_for_each(|item| put(item, true))?;
    Ok(merged)
}

fn take(node: &mut Node) -> Node {
    mem::replace(node, Node::null())
}

/// Merges two lists in both ways, and tells whether the fast one can be gone.
#[cfg(test)]
pub(super) fn compare(target: &Node, patch: &Node, keys: &[Box<str>]) -> bool {
    let (schemas, mut untyped) = (crate::schema::Schemas::builtin(), Vec::new());
    let merger = Merger { schemas: &schemas, untyped: std::cell::RefCell::new(&mut untyped) };
    let (target, patch) = (target.as_sequence().unwrap_or_default(), patch.as_sequence().unwrap_or_default());
    let mut regular = true;
    for other in [Other::Patch(patch), Other::Nothing, Other::Same] {
        let slow = Irregular::of(target.to_vec(), other, keys, &None).and_then(|lists| lists.combine(&merger, None));
        let fast =
            Regular::of(target, other.patch(), keys).map(|lists| lists.combine(&merger, target.to_vec(), other, None));
        regular &= fast.is_some();
        if let Some(fast) = fast {
            assert_eq!(fast, slow, "{target:?} {other:?}");
        }
    }
    regular
}
