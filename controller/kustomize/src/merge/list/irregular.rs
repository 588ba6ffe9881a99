//! Lists with elements that lack a key: what kustomize does to them, step by step.
//!
//! That the protocol of a port may be left out is the common case; the rest mostly loses elements, there as here.

use manifest::yaml::{Node, Value};
use manifest::{Diagnostic, Location};

use super::{Added, DIRECTIVE, Directive, Merger, Other, is_empty, part};
use crate::schema::Schema;

/// The steps take time by the square of the length.
const MAX_LENGTH: usize = 1000;

/// Two lists as indices into their elements, since a step on one may be seen through the other.
#[derive(Debug)]
pub(super) struct Irregular<'k> {
    elements: Vec<Node>,
    target: Vec<usize>,
    patch: Vec<usize>,
    /// The patch's list is the target's.
    same: bool,
    keys: &'k [Box<str>],
}

/// The values of the keys that tell an element; an empty one stands for a key that it lacks.
type Values = Vec<String>;

impl<'k> Irregular<'k> {
    pub(super) fn of(
        items: Vec<Node>,
        other: Other<'_>,
        keys: &'k [Box<str>],
        at: &Option<Location>,
    ) -> Result<Self, Diagnostic> {
        let length = items.len();
        let mut elements = items;
        elements.extend_from_slice(other.patch());
        if elements.len() > MAX_LENGTH {
            let keys = keys.join(", ");
            let message =
                format!("a list of more than {MAX_LENGTH} elements, of which some lack {keys}; give it to all");
            return Err(Diagnostic { at: at.clone(), message });
        }
        let same = matches!(other, Other::Same);
        let patch = (length..elements.len()).collect();
        Ok(Self { elements, target: (0..length).collect(), patch, same, keys })
    }

    pub(super) fn combine<'a>(
        mut self,
        merger: &Merger<'a>,
        schema: Option<Schema<'a>>,
    ) -> Result<Vec<Node>, Diagnostic> {
        let mut all = self.all_values();
        if self.keys.len() > 1 {
            match_values(&mut all);
        }
        let mut used: Vec<usize> =
            (0..self.keys.len()).filter(|key| all.iter().any(|values| !values[*key].is_empty())).collect();
        if used.is_empty() {
            used = (0..self.keys.len()).collect();
        }
        let mut combined: Vec<usize> = Vec::new();
        for values in &all {
            let matcher: Vec<(&str, &str)> = used.iter().map(|key| (&*self.keys[*key], &*values[*key])).collect();
            let merged = self.merge_elements(&matcher, merger, schema)?;
            match merged.filter(|element| !is_empty(&self.elements[*element])) {
                Some(element) => set(&self.elements, &mut combined, &matcher, Some(element))?,
                None => {
                    let mut target = std::mem::take(&mut self.target);
                    set(&self.elements, &mut target, &matcher, None)?;
                    self.target = target;
                }
            }
        }
        self.append_target(&mut combined, &used)?;
        let mut elements: Vec<Option<Node>> = self.elements.into_iter().map(Some).collect();
        // An element may stand at more than one place.
        let mut last = vec![0; elements.len()];
        for (place, element) in combined.iter().enumerate() {
            last[*element] = place;
        }
        let taken = combined.iter().enumerate().filter_map(|(place, element)| {
            if last[*element] == place { elements[*element].take() } else { elements[*element].clone() }
        });
        Ok(taken.collect())
    }

    /// The different values of all elements, the patch's first.
    fn all_values(&self) -> Vec<Values> {
        let mut seen = std::collections::HashSet::new();
        let values = |element: &usize| -> Values {
            self.keys.iter().map(|key| part(&self.elements[*element], key).to_owned()).collect()
        };
        self.patch.iter().chain(&self.target).map(values).filter(|values| seen.insert(values.clone())).collect()
    }

    /// Merges the first elements of both lists that have the values; gives the one that holds the result.
    fn merge_elements<'a>(
        &mut self,
        matcher: &[(&str, &str)],
        merger: &Merger<'a>,
        schema: Option<Schema<'a>>,
    ) -> Result<Option<usize>, Diagnostic> {
        let target = self.find(&self.target, matcher);
        let patch = if self.same { target } else { self.find(&self.patch, matcher) };
        match (target, patch) {
            (None, None) => Ok(None),
            (Some(target), Some(patch)) if target == patch => {
                let added = merger.add(&self.elements[target], schema, Added::Within)?;
                self.forget_directive(target);
                Ok(added.map(|added| self.put(target, added)))
            }
            (Some(target), None) => {
                let merged = merger.walk(Some(self.elements[target].clone()), None, schema)?;
                Ok(merged.map(|merged| self.put(target, merged)))
            }
            (None, Some(patch)) => {
                let added = merger.walk(None, Some(&self.elements[patch]), schema)?;
                self.forget_directive(patch);
                Ok(added.map(|added| self.put(patch, added)))
            }
            (Some(target), Some(patch)) => {
                let directive = super::super::directive(&self.elements[patch])?;
                let change = self.elements[patch].clone();
                self.forget_directive(patch);
                if directive == Directive::Replace {
                    let added = merger.add(&change, schema, Added::Within)?;
                    return Ok(added.map(|added| self.put(patch, added)));
                }
                let merged = merger.walk(Some(self.elements[target].clone()), Some(&change), schema)?;
                Ok(merged.map(|merged| self.put(target, merged)))
            }
        }
    }

    fn put(&mut self, element: usize, node: Node) -> usize {
        self.elements[element] = node;
        element
    }

    /// A directive is obeyed once.
    fn forget_directive(&mut self, element: usize) {
        self.elements[element].remove(DIRECTIVE);
    }

    /// The first mapping that has all the values that are not empty, or, when all are, an empty value for each key.
    fn find(&self, list: &[usize], matcher: &[(&str, &str)]) -> Option<usize> {
        let all_empty = matcher.iter().all(|(_, value)| value.is_empty());
        let has = |element: &&usize| {
            let element = &self.elements[**element];
            element.as_mapping().is_some()
                && matcher
                    .iter()
                    .filter(|(_, value)| all_empty || !value.is_empty())
                    .all(|(key, value)| element.get(key).is_some_and(|node| written(node) == *value))
        };
        list.iter().find(has).copied()
    }

    /// Puts the elements of the target over those of the same values, or behind them all.
    fn append_target(&self, combined: &mut Vec<usize>, used: &[usize]) -> Result<(), Diagnostic> {
        let keys: Vec<&str> = used.iter().map(|key| &*self.keys[*key]).collect();
        for element in &self.target {
            let node = &self.elements[*element];
            if node.as_mapping().is_none() && !node.is_null() {
                return Err(node.fault(format!(
                    "{} in a list whose elements are merged by {}",
                    node.type_name(),
                    keys.join(", ")
                )));
            }
            // The values move up into the places of keys that are not there, as in kustomize.
            let mut values = Vec::new();
            for key in &keys {
                match node.get(key) {
                    Some(value) => values.push(written(value)),
                    None => combined.push(*element),
                }
            }
            let matcher = Shifted { keys: &keys, values: &values };
            if keys.len() > 1 {
                matcher.set(&self.elements, combined, None)?;
            }
            matcher.set(&self.elements, combined, Some(*element))?;
        }
        Ok(())
    }
}

/// The text of a scalar, null too; empty for a list or a mapping.
fn written(node: &Node) -> &str {
    match &node.value {
        Value::Scalar(scalar) => &scalar.text,
        _ => "",
    }
}

fn set(
    elements: &[Node],
    list: &mut Vec<usize>,
    matcher: &[(&str, &str)],
    new: Option<usize>,
) -> Result<(), Diagnostic> {
    let (keys, values): (Vec<&str>, Vec<&str>) = matcher.iter().copied().unzip();
    Shifted { keys: &keys, values: &values }.set(elements, list, new)
}

/// What tells an element in a list. There may be fewer values than keys; the keys without one count as found when the
/// key before was.
struct Shifted<'s> {
    keys: &'s [&'s str],
    values: &'s [&'s str],
}

impl Shifted<'_> {
    /// Replaces the elements that match by a new one, or removes them; a new one that matches none goes to the end.
    ///
    /// An empty value matches whatever the key has. Without any value, all elements go.
    fn set(&self, elements: &[Node], list: &mut Vec<usize>, new: Option<usize>) -> Result<(), Diagnostic> {
        let mut found = false;
        let mut kept = Vec::with_capacity(list.len() + 1);
        for element in list.iter().copied() {
            let node = &elements[element];
            if is_empty(node) {
                continue;
            }
            if node.as_mapping().is_none() {
                if self.values.first().is_some_and(|value| value.is_empty()) {
                    return Err(node.fault(format!(
                        "{} in a list whose elements are merged by {}",
                        node.type_name(),
                        self.keys.join(", ")
                    )));
                }
            } else if self.matches(node) {
                found = true;
                kept.extend(new);
                continue;
            }
            if !self.values.is_empty() {
                kept.push(element);
            }
        }
        *list = kept;
        if let Some(new) = new.filter(|new| !found && !elements[*new].is_null()) {
            list.push(new);
        }
        Ok(())
    }

    fn matches(&self, node: &Node) -> bool {
        !self.values.is_empty()
            && self
                .keys
                .iter()
                .zip(self.values)
                .all(|(key, value)| node.get(key).is_some_and(|node| value.is_empty() || written(node) == *value))
    }
}

/// Makes those equal that differ only by what one of them lacks, and have something in common.
fn match_values(all: &mut [Values]) {
    for left in 0..all.len() {
        let values = all[left].clone();
        for right in 0..all.len() {
            if let Some(both) = matched(&values, &all[right]) {
                all[left].clone_from(&both);
                all[right] = both;
            }
        }
    }
}

fn matched(left: &[String], right: &[String]) -> Option<Values> {
    let differ = left.iter().zip(right).any(|(left, right)| left != right && !left.is_empty() && !right.is_empty());
    let common = left.iter().zip(right).any(|(left, right)| left == right);
    (!differ && common).then(|| {
        left.iter().zip(right).map(|(left, right)| if left.is_empty() { right } else { left }.clone()).collect()
    })
}
