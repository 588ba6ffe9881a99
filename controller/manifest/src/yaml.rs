//! The one YAML entry point: documents as trees of nodes that know where they were written.
//!
//! Scalars keep their text and style, so that what is printed again reads the same; their type is what Go's
//! `sigs.k8s.io/yaml` (YAML 1.1, yaml.v2) makes of them, since that is how Flux, kubectl and the operator read the same file.

use std::sync::Arc;

use crate::{Diagnostics, Location, Origin};

/// A value of a document.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it was written; `None` for a node that we made.
    pub at: Option<Location>,
}

/// The kinds of value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A scalar, by its text.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in the order of its source. Keys are strings (`1:` is `"1"`, as Go's reader makes it); no key is there twice.
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

/// A scalar as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The text after unfolding and unescaping.
    pub text: String,
    /// What the text stands for.
    pub kind: ScalarKind,
    /// How it was written.
    pub style: Style,
}

/// The type of a scalar by YAML 1.1 as Go's yaml.v2 resolves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    /// A string: quoted, block, tagged `!!str`, or plain text that is nothing else.
    String,
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `yes`, `on` ...
    Bool,
    /// An integer in any of its notations.
    Int,
    /// A floating-point number.
    Float,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'single'`
    SingleQuoted,
    /// `"double"`
    DoubleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// A document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its content; never null, empty documents are left out.
    pub node: Node,
    /// Where it came from.
    pub origin: Origin,
}
