//! The one YAML entry point: documents as trees of nodes that know where they were written.
//!
//! Scalars keep their text; their type is what the Go readers of the same file make of them, by its [`Dialect`]. What is
//! printed no longer depends on how it was written.

mod cursor;
mod emit;
mod json;
mod parse;
mod resolve;

use std::collections::HashMap;
use std::sync::Arc;

pub use emit::{to_canonical, to_canonical_all, to_string, to_string_all};
pub use json::format_float;
pub use parse::{MAX_DEPTH, parse, parse_as};

use crate::{Diagnostic, Location, Origin};

/// Which of Go's readers the words and keys of a file are meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Resources, which kustomize and so Flux, and Porter too, read with yaml.v3: `yes` and `on` are strings, a date
    /// without quotes is a timestamp, a key that is there twice or is no string is a fault.
    Resource,
    /// Kustomizations, which are read with `sigs.k8s.io/yaml` (YAML 1.1, yaml.v2): `yes` and `on` are truth values, a
    /// date is a string, of a key that is there twice the last value counts, and any scalar but null can be a key.
    Kustomization,
}

/// A value of a document.
///
/// Two nodes are equal when they mean the same: places and styles, the notation of a number and the order of a
/// mapping's keys make no difference.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it was written; `None` for a node that we made.
    pub at: Option<Location>,
}

/// The kinds of value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar, by its text.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in the order of its source. No key is there twice, merge keys are resolved.
    Mapping(Vec<(Key, Node)>),
}

/// The key of a mapping.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key.
    pub name: Arc<str>,
    /// Where it was written.
    pub at: Option<Location>,
}

/// A scalar: its text is one that its kind can have.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// The text after unfolding and unescaping.
    pub text: String,
    /// What the text stands for.
    pub kind: ScalarKind,
}

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    /// A string: quoted, block, tagged `!!str`, or plain text that is nothing else.
    String,
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `False` ..., and where the [`Dialect`] has it `yes`, `on` ...
    Bool,
    /// An integer in any of its notations, as far as 64 bits hold it.
    Int,
    /// A floating-point number, or an integer that needs more than 64 bits.
    Float,
    /// A date, or a date and a time, without quotes. Its text is as it was written; its value is a string, the RFC 3339
    /// form.
    Timestamp,
}

/// A document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its content; never null, empty documents are left out.
    pub node: Node,
    /// Where it came from.
    pub origin: Origin,
}

impl Key {
    /// A key that we made.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), at: None }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Key {}

impl Scalar {
    /// The truth value, of a [`ScalarKind::Bool`].
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        (self.kind == ScalarKind::Bool).then(|| resolve::is_true(&self.text))
    }

    /// A scalar without quotes of a resource: its text says what it is. What JSON has no number for is a string.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        let kind = resolve::plain(Dialect::Resource, &text);
        let scalar = Self { text, kind };
        let is_number = kind != ScalarKind::Float || scalar.number().is_some();
        Self { kind: if is_number { kind } else { ScalarKind::String }, ..scalar }
    }

    /// A scalar of a kind, when resources can have this text for one: `5` is a number and a string, `five` no number.
    #[must_use]
    pub fn of_kind(kind: ScalarKind, text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let kind = resolve::as_kind(Dialect::Resource, kind, &text)?;
        Some(Self { text, kind }).filter(|scalar| kind != ScalarKind::Float || scalar.number().is_some())
    }

    /// The RFC 3339 form of a timestamp.
    fn timestamp(&self) -> String {
        resolve::timestamp(&self.text).unwrap_or_else(|| self.text.clone())
    }

    /// The value of an integer or a number, as far as JSON has it: nothing for `.inf` and `.nan`.
    fn number(&self) -> Option<serde_json::Number> {
        match self.kind {
            ScalarKind::Int | ScalarKind::Float => json::number(&self.text),
            _ => None,
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        let number = |kind| matches!(kind, ScalarKind::Int | ScalarKind::Float);
        match (self.kind, other.kind) {
            (ScalarKind::String, ScalarKind::String) => self.text == other.text,
            (ScalarKind::Null, ScalarKind::Null) => true,
            (ScalarKind::Bool, ScalarKind::Bool) => self.as_bool() == other.as_bool(),
            (ScalarKind::Timestamp, ScalarKind::Timestamp) => self.timestamp() == other.timestamp(),
            (ScalarKind::Timestamp, ScalarKind::String) => self.timestamp() == other.text,
            (ScalarKind::String, ScalarKind::Timestamp) => self.text == other.timestamp(),
            (left, right) if number(left) && number(right) => match (self.number(), other.number()) {
                (None, None) => self.text == other.text,
                (left, right) => left == right,
            },
            _ => false,
        }
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(left), Self::Scalar(right)) => left == right,
            (Self::Sequence(left), Self::Sequence(right)) => left == right,
            (Self::Mapping(left), Self::Mapping(right)) => {
                if left.len() != right.len() {
                    return false;
                }
                if left.iter().zip(right).all(|((left, _), (right, _))| left == right) {
                    return left.iter().zip(right).all(|((_, left), (_, right))| left == right);
                }
                let right: HashMap<&str, &Node> = right.iter().map(|(key, node)| (&*key.name, node)).collect();
                left.iter().all(|(key, node)| right.get(&*key.name) == Some(&node))
            }
            _ => false,
        }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self { value, at: None }
    }
}

impl Node {
    /// A string that we made.
    pub fn string(text: impl Into<String>) -> Self {
        Self::scalar(text, ScalarKind::String)
    }

    /// A truth value that we made.
    #[must_use]
    pub fn bool(value: bool) -> Self {
        Self::scalar(value.to_string(), ScalarKind::Bool)
    }

    /// An integer that we made.
    #[must_use]
    pub fn int(value: i64) -> Self {
        Self::scalar(value.to_string(), ScalarKind::Int)
    }

    /// A null that we made.
    #[must_use]
    pub fn null() -> Self {
        Self::scalar("null", ScalarKind::Null)
    }

    /// A list that we made.
    pub fn sequence(items: impl IntoIterator<Item = Node>) -> Self {
        Value::Sequence(items.into_iter().collect()).into()
    }

    /// A mapping that we made. Of a key that is there twice, the last value counts.
    pub fn mapping<K: Into<Arc<str>>>(entries: impl IntoIterator<Item = (K, Node)>) -> Self {
        let mut places: HashMap<Arc<str>, usize> = HashMap::new();
        let mut mapping: Vec<(Key, Node)> = Vec::new();
        for (name, node) in entries {
            let name = name.into();
            if let Some(place) = places.get(&name) {
                mapping[*place].1 = node;
            } else {
                places.insert(name.clone(), mapping.len());
                mapping.push((Key::new(name), node));
            }
        }
        Value::Mapping(mapping).into()
    }

    fn scalar(text: impl Into<String>, kind: ScalarKind) -> Self {
        Value::Scalar(Scalar { text: text.into(), kind }).into()
    }

    /// The same node, said to stand at a place.
    #[must_use]
    pub fn with_location(mut self, at: Option<Location>) -> Self {
        self.at = at;
        self
    }

    /// The value of a key, when this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?.iter().find(|(name, _)| &*name.name == key).map(|(_, node)| node)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Mapping(entries) => entries.iter_mut().find(|(name, _)| &*name.name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The value that lies at a path of keys.
    #[must_use]
    pub fn at_path(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The key of a mapping, with its place.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<&Key> {
        self.as_mapping()?.iter().map(|(name, _)| name).find(|name| &*name.name == key)
    }

    /// Sets the value of a key, in its place when it is there, else as the last one.
    /// A node that is no mapping becomes one.
    pub fn set(&mut self, key: &str, node: Node) {
        if let Some(place) = self.get_mut(key) {
            *place = node;
            return;
        }
        if !matches!(self.value, Value::Mapping(_)) {
            self.value = Value::Mapping(Vec::new());
        }
        if let Value::Mapping(entries) = &mut self.value {
            entries.push((Key::new(key), node));
        }
    }

    /// Takes a key out of a mapping, and gives its value.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        match &mut self.value {
            Value::Mapping(entries) => {
                let place = entries.iter().position(|(name, _)| &*name.name == key)?;
                Some(entries.remove(place).1)
            }
            _ => None,
        }
    }

    /// The scalar, when this is one.
    #[must_use]
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a string; nothing for numbers, truth values, timestamps and null.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_scalar().filter(|scalar| scalar.kind == ScalarKind::String).map(|scalar| scalar.text.as_str())
    }

    /// The truth value, when this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        self.as_scalar().and_then(Scalar::as_bool)
    }

    /// The integer, when this is one that 64 signed bits hold.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.as_scalar().and_then(Scalar::number).and_then(|number| number.as_i64())
    }

    /// The entries, when this is a mapping.
    #[must_use]
    pub fn as_mapping(&self) -> Option<&[(Key, Node)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entries of a mapping, to be changed. Who adds one keeps every key there once.
    pub fn as_mapping_mut(&mut self) -> Option<&mut Vec<(Key, Node)>> {
        match &mut self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, when this is a list.
    #[must_use]
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The items of a list, to be changed.
    pub fn as_sequence_mut(&mut self) -> Option<&mut Vec<Node>> {
        match &mut self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// Whether this is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(|scalar| scalar.kind == ScalarKind::Null)
    }

    /// What this is, for a message: `a list`, `a number` ...
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::String => "a string",
                ScalarKind::Null => "null",
                ScalarKind::Bool => "a boolean",
                ScalarKind::Int | ScalarKind::Float => "a number",
                ScalarKind::Timestamp => "a timestamp",
            },
        }
    }

    /// Where it was written.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        self.at.as_ref()
    }

    /// A fault at the place of this node.
    pub fn fault(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic { at: self.at.clone(), message: message.into() }
    }
}
