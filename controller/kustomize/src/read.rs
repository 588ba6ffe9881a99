//! Reading typed fields out of nodes, by the rules with which kustomize decodes its own files.
//!
//! Field names are matched without regard to case, null is the same as absent, an unknown field is a fault. All faults
//! are collected, each with the place of its node and the path of its entry. The configurations of plugins are read
//! more leniently, as kustomize does: unknown fields are passed over, and other scalars are taken for strings.

use std::fmt;

use manifest::yaml::{Node, ScalarKind};
use manifest::{Diagnostic, Location};

/// What an error of a kustomization file names: `patches[1].target` and where that stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path of the field in its file, such as `configMapGenerator[0].files[2]`.
    pub(crate) field: String,
    /// Where it was written; `None` for one that the caller of the build added.
    pub(crate) at: Option<Location>,
    /// Whether it is of the configuration of a plugin.
    pub(crate) is_lenient: bool,
}

impl Entry {
    pub(crate) fn new(field: impl Into<String>, node: &Node) -> Self {
        Self { field: field.into(), at: node.at.clone(), is_lenient: false }
    }

    /// A field of the configuration of a plugin.
    pub(crate) fn lenient(field: impl Into<String>, at: Option<Location>) -> Self {
        Self { field: field.into(), at, is_lenient: true }
    }

    /// A part of this entry.
    fn part(&self, field: String, node: &Node) -> Self {
        Self { is_lenient: self.is_lenient, ..Self::new(field, node) }
    }

    /// A fault at the place of the entry, which names its field.
    pub(crate) fn fault(&self, message: impl fmt::Display) -> Diagnostic {
        let message = if self.field.is_empty() { message.to_string() } else { format!("{}: {message}", self.field) };
        Diagnostic { at: self.at.clone(), message }
    }

    /// Says of a fault that lies in another file which entry brought that file in.
    pub(crate) fn because(&self, mut fault: Diagnostic) -> Diagnostic {
        match (&fault.at, &self.at) {
            _ if self.field.is_empty() => {}
            (None, at) => {
                fault.at.clone_from(at);
                fault.message = format!("{}: {}", self.field, fault.message);
            }
            (Some(_), Some(entry)) => {
                fault.message = format!("{} (from {} at {entry})", fault.message, self.field);
            }
            (Some(_), None) => fault.message = format!("{} (from {})", fault.message, self.field),
        }
        fault
    }

    /// As [`Self::because`], of several.
    pub(crate) fn because_all(&self, faults: Vec<Diagnostic>) -> Vec<Diagnostic> {
        faults.into_iter().map(|fault| self.because(fault)).collect()
    }

    fn item(&self, index: usize, node: &Node) -> Self {
        self.part(format!("{}[{index}]", self.field), node)
    }
}

/// A value with the entry that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given<T> {
    pub(crate) value: T,
    pub(crate) entry: Entry,
}

/// A string with the entry that gave it.
pub(crate) type Text = Given<String>;

/// Pairs of strings in the order of their keys.
pub(crate) type Pairs = Given<Vec<(String, String)>>;

/// What can be read from a node. `None` after a fault was told.
pub(crate) trait Read: Sized {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self>;
}

fn wrong(node: &Node, entry: &Entry, wanted: &str, faults: &mut Vec<Diagnostic>) {
    let quote = match node.as_scalar().map(|scalar| scalar.kind) {
        Some(ScalarKind::Bool | ScalarKind::Int | ScalarKind::Float) if wanted == "a string" => {
            "; quote it when it is meant as text"
        }
        _ => "",
    };
    faults.push(entry.fault(format!("this is {}, not {wanted}{quote}", node.type_name())));
}

/// A truth value or number as Go prints it.
fn scalar_text(node: &Node) -> Option<String> {
    node.as_bool().map(|value| value.to_string()).or_else(|| node.as_scalar().map(|scalar| scalar.text.clone()))
}

impl Read for String {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        if node.is_null() {
            return Some(Self::new());
        }
        let text = node.as_str().map(str::to_owned);
        let text = text.or_else(|| if entry.is_lenient { scalar_text(node) } else { None });
        if text.is_none() {
            wrong(node, entry, "a string", faults);
        }
        text
    }
}

impl Read for bool {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let value = node.as_bool();
        if value.is_none() {
            wrong(node, entry, "a boolean", faults);
        }
        value
    }
}

impl Read for i64 {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let value = node.as_i64();
        if value.is_none() {
            wrong(node, entry, "an integer", faults);
        }
        value
    }
}

impl Read for Node {
    fn read(node: &Node, _: &Entry, _: &mut Vec<Diagnostic>) -> Option<Self> {
        Some(node.clone())
    }
}

impl<T: Read> Read for Given<T> {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        T::read(node, entry, faults).map(|value| Self { value, entry: entry.clone() })
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let Some(items) = node.as_sequence() else {
            wrong(node, entry, "a list", faults);
            return None;
        };
        let items = items.iter().enumerate();
        Some(items.filter_map(|(index, item)| T::read(item, &entry.item(index, item), faults)).collect())
    }
}

impl Read for Vec<(String, String)> {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let Some(entries) = node.as_mapping() else {
            wrong(node, entry, "a mapping", faults);
            return None;
        };
        let mut pairs: Self = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let place = entry.part(format!("{}.{}", entry.field, key.name), value);
            if let Some(value) = String::read(value, &place, faults) {
                pairs.push((key.name.to_string(), value));
            }
        }
        pairs.sort();
        Some(pairs)
    }
}

/// The fields of a mapping, each to be taken once; what is left is unknown.
pub(crate) struct Fields<'n, 'f> {
    node: &'n Node,
    entry: Entry,
    prefix: String,
    known: Vec<&'static str>,
    faults: &'f mut Vec<Diagnostic>,
}

impl<'n, 'f> Fields<'n, 'f> {
    /// `None`, with a fault, when the node is no mapping.
    pub(crate) fn open(node: &'n Node, entry: &Entry, faults: &'f mut Vec<Diagnostic>) -> Option<Self> {
        if node.as_mapping().is_none() {
            wrong(node, entry, "a mapping", faults);
            return None;
        }
        let prefix = if entry.field.is_empty() { String::new() } else { format!("{}.", entry.field) };
        Some(Self { node, entry: entry.clone(), prefix, known: Vec::new(), faults })
    }

    /// The value of a field; of several that differ in case only, the last.
    pub(crate) fn take<T: Read>(&mut self, name: &'static str) -> Option<T> {
        self.known.push(name);
        let entries = self.node.as_mapping().unwrap_or_default();
        let (_, value) = entries.iter().rev().find(|(key, _)| key.name.eq_ignore_ascii_case(name))?;
        if value.is_null() {
            return None;
        }
        T::read(value, &self.entry.part(format!("{}{name}", self.prefix), value), self.faults)
    }

    /// A field that may be left out.
    pub(crate) fn take_or_default<T: Read + Default>(&mut self, name: &'static str) -> T {
        self.take(name).unwrap_or_default()
    }

    /// Whether the mapping has a field that is not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        let entries = self.node.as_mapping().unwrap_or_default();
        entries.iter().any(|(key, value)| key.name.eq_ignore_ascii_case(name) && !value.is_null())
    }

    /// Tells a fault of the mapping as a whole, or of one of its fields.
    pub(crate) fn fault(&mut self, entry: &Entry, message: impl fmt::Display) {
        self.faults.push(entry.fault(message));
    }

    /// Whatever was not taken is a fault.
    pub(crate) fn finish(self) {
        if self.entry.is_lenient {
            return;
        }
        for (key, _) in self.node.as_mapping().unwrap_or_default() {
            if self.known.iter().any(|name| key.name.eq_ignore_ascii_case(name)) {
                continue;
            }
            let nearest = self.known.iter().min_by_key(|name| strsim::levenshtein(name, &key.name));
            let hint = nearest
                .filter(|name| strsim::levenshtein(name, &key.name) <= 2)
                .map(|name| format!("; did you mean `{name}`?"))
                .unwrap_or_default();
            let message = format!("unknown field `{}{}`{hint}", self.prefix, key.name);
            self.faults.push(Diagnostic { at: key.at.clone().or_else(|| self.node.at.clone()), message });
        }
    }
}
