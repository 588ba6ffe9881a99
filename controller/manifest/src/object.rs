//! [`Object`]: a Kubernetes object as a document of the source gives it.

use std::fmt;
use std::sync::Arc;

use crate::yaml::Node;
use crate::{Diagnostic, Location};

/// Which document an object came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Path of the file from the root of the artifact.
    pub file: Arc<str>,
    /// Line on which the document's content begins, from 1.
    pub line: u32,
    /// Index of the document in its file, from 0; empty documents are not counted.
    pub document: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A mapping with `apiVersion`, `kind` and, mostly, `metadata.name`. Each node knows where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The content; a mapping.
    pub node: Node,
    /// The document it came from.
    pub origin: Origin,
    /// How it came to a name and a namespace that its document does not give, oldest first.
    pub renamings: Vec<Renaming>,
}

/// A change of the name or the namespace of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renaming {
    /// The name before.
    pub name: String,
    /// The namespace before.
    pub namespace: String,
    /// What changed it, and where that is written.
    pub by: Arc<str>,
}

/// Group, kind, namespace and name: what no two objects of one build may share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty when none is written.
    pub namespace: String,
    /// Name; empty when none is written.
    pub name: String,
}

impl fmt::Display for ObjectId {
    /// `Kind/namespace/name`, as Flux writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

impl Object {
    /// `apiVersion`, or the empty string.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.text(&["apiVersion"])
    }

    /// `kind`, or the empty string.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text(&["kind"])
    }

    /// `metadata.name`, or the empty string.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text(&["metadata", "name"])
    }

    /// `metadata.namespace`, or the empty string.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text(&["metadata", "namespace"])
    }

    /// The API group of `apiVersion`: the part before `/`, empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// Group, kind, namespace and name.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        ObjectId {
            group: self.group().to_owned(),
            kind: self.kind().to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// What spoilt the name or the namespace, which is wrong `now`: the last change of it before which it was right.
    #[must_use]
    pub fn spoilt_by<'a>(
        &'a self,
        now: &'a str,
        part: impl Fn(&'a Renaming) -> &'a str,
        fault: impl Fn(&str) -> Option<String>,
    ) -> Option<&'a Renaming> {
        let mut after = now;
        self.renamings.iter().rev().find(|renaming| {
            let before = part(renaming);
            before != std::mem::replace(&mut after, before) && fault(before).is_none()
        })
    }

    /// The place of the object's first line.
    #[must_use]
    pub fn location(&self) -> Location {
        Location { file: self.origin.file.clone(), line: self.origin.line, column: 1 }
    }

    /// A fault at the place of the object.
    pub fn fault(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(self.location(), message)
    }

    fn text(&self, path: &[&str]) -> &str {
        let mut node = &self.node;
        for key in path {
            match node.get(key) {
                Some(next) => node = next,
                None => return "",
            }
        }
        node.as_str().unwrap_or("")
    }
}
