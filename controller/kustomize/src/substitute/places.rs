//! Where in the source the parts of an object's text were written.

use std::collections::HashMap;
use std::sync::Arc;

use manifest::yaml::{self, Dialect, Node, Value};
use manifest::{Diagnostic, Location, Object};

/// An object and the text that it was printed as.
pub(super) struct Places<'a> {
    object: &'a Object,
    text: &'a str,
}

/// A field of an object.
struct Field {
    path: String,
    at: Option<Location>,
}

impl<'a> Places<'a> {
    pub(super) fn new(object: &'a Object, text: &'a str) -> Self {
        Self { object, text }
    }

    /// A fault of the field whose text holds the offset.
    pub(super) fn fault(&self, offset: usize, message: impl std::fmt::Display) -> Diagnostic {
        match self.field(offset) {
            Some(Field { path, at }) => self.fault_at(at, &path, message),
            None => self.object_fault(message),
        }
    }

    /// A fault of a field; at the object's place when it has none of its own.
    pub(super) fn fault_at(&self, at: Option<Location>, path: &str, message: impl std::fmt::Display) -> Diagnostic {
        let at = at.unwrap_or_else(|| self.object.location());
        Diagnostic::at(at, format!("{}: {path}: {message}", self.object.id()))
    }

    /// A fault of the object as a whole.
    pub(super) fn object_fault(&self, message: impl std::fmt::Display) -> Diagnostic {
        self.object.fault(format!("{}: {message}", self.object.id()))
    }

    fn field(&self, offset: usize) -> Option<Field> {
        let printed = yaml::parse_as(Dialect::Kustomization, "", self.text.as_bytes()).ok()?.into_iter().next()?.node;
        let mut search = Search { until: position(self.text, offset), found: None };
        search.node(&printed, Some(&self.object.node), &mut String::new(), None);
        search.found
    }
}

/// Looks for the last node that begins before a position of the printed text.
struct Search {
    until: (u32, u32),
    found: Option<Field>,
}

impl Search {
    fn node(&mut self, printed: &Node, source: Option<&Node>, path: &mut String, above: Option<&Location>) {
        let at = source.and_then(|source| source.at.as_ref()).or(above);
        self.try_at(printed.at.as_ref(), path, at);
        let length = path.len();
        match &printed.value {
            Value::Scalar(_) => {}
            Value::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    let source = source.and_then(|source| source.as_sequence()?.get(index));
                    self.node(item, source, path, at);
                    path.truncate(length);
                }
            }
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(&key.name);
                    let key_at = source.and_then(|source| source.key(&key.name)?.at.as_ref()).or(at);
                    self.try_at(key.at.as_ref(), path, key_at);
                    self.node(value, source.and_then(|source| source.get(&key.name)), path, at);
                    path.truncate(length);
                }
            }
        }
    }

    fn try_at(&mut self, printed: Option<&Location>, path: &str, at: Option<&Location>) {
        if !path.is_empty() && printed.is_some_and(|printed| (printed.line, printed.column) <= self.until) {
            self.found = Some(Field { path: path.to_owned(), at: at.cloned() });
        }
    }
}

/// Line and column of an offset, from 1.
fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// The offset of a place in a text.
pub(super) fn offset(text: &str, at: &Location) -> usize {
    let before = at.line.saturating_sub(1) as usize;
    let line: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let column = at.column.saturating_sub(1) as usize;
    let rest = text.get(line..).unwrap_or("");
    line + rest.chars().take(column).map(char::len_utf8).sum::<usize>()
}

/// Gives the nodes of a new content of the object the places of the old one: by key and index where both have them,
/// else the place of what they are part of.
pub(super) fn carry(node: &mut Node, object: &Object) {
    carry_node(node, Some(&object.node), Some(&object.location()));
}

fn carry_node(node: &mut Node, source: Option<&Node>, above: Option<&Location>) {
    node.at = source.and_then(|source| source.at.clone()).or_else(|| above.cloned());
    let at = node.at.clone();
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::Sequence(items) => {
            let source = source.and_then(Node::as_sequence).unwrap_or_default();
            for (index, item) in items.iter_mut().enumerate() {
                carry_node(item, source.get(index), at.as_ref());
            }
        }
        Value::Mapping(entries) => {
            let source = source.and_then(Node::as_mapping).unwrap_or_default();
            let source: HashMap<Arc<str>, _> =
                source.iter().map(|(key, value)| (key.name.clone(), (key, value))).collect();
            for (key, value) in entries {
                let old = source.get(&key.name);
                key.at = old.and_then(|(key, _)| key.at.clone()).or_else(|| at.clone());
                carry_node(value, old.map(|(_, value)| *value), at.as_ref());
            }
        }
    }
}
