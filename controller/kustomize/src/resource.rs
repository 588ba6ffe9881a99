//! [`Resource`]: an object on its way through the layers of a build, with what kustomize remembers of its past.

use std::sync::Arc;

use manifest::yaml::{Node, Value};
use manifest::{Diagnostic, Location, Object, Origin};

use crate::id::{EffectiveNamespace, Gvk, ResId};
use crate::schema::Schemas;

/// An object and its history within the build.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// The content; a mapping.
    pub(crate) node: Node,
    /// The document that it came from; of a generated one, the entry of the kustomization file.
    pub(crate) origin: Origin,
    /// Names, namespaces and kinds that it had before, oldest first.
    pub(crate) previous: Vec<PreviousId>,
    /// Prefixes that were put before its name, in the order in which they were.
    pub(crate) prefixes: Vec<String>,
    /// Suffixes that were put behind its name, likewise.
    pub(crate) suffixes: Vec<String>,
    /// How it joins what is there, when it comes from a generator.
    pub(crate) behavior: Behavior,
    /// Whether a hash of its content is to be put behind its name.
    pub(crate) needs_hash: bool,
    /// The generator that made it.
    pub(crate) generator: Option<Arc<Step>>,
    /// What changed it, in order; filled in only when the build traces.
    pub(crate) changes: Vec<Arc<Step>>,
}

/// An id that a resource had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreviousId {
    pub(crate) namespace: EffectiveNamespace,
    pub(crate) name: String,
    pub(crate) kind: String,
}

/// What the resource of a generator does to one that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Nothing was said: the same as `Create`.
    #[default]
    Unspecified,
    Create,
    Replace,
    Merge,
}

/// A generator or transformer of a kustomization file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its field, such as `patches[0]` or `namePrefix`.
    pub(crate) field: String,
    /// kustomize's name of the plugin that does it, such as `PatchTransformer`.
    pub(crate) plugin: &'static str,
    /// Where it was written.
    pub(crate) at: Option<Location>,
    /// Path of the kustomization file, or of the plugin's own configuration.
    pub(crate) file: Arc<str>,
}

impl Behavior {
    /// By its word; an unknown word is `Unspecified`, as kustomize has it.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "replace" => Self::Replace,
            "merge" => Self::Merge,
            "create" => Self::Create,
            _ => Self::Unspecified,
        }
    }
}

impl Resource {
    pub(crate) fn new(node: Node, origin: Origin) -> Self {
        Self {
            node,
            origin,
            previous: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            behavior: Behavior::default(),
            needs_hash: false,
            generator: None,
            changes: Vec::new(),
        }
    }

    pub(crate) fn into_object(self) -> Object {
        Object { node: self.node, origin: self.origin }
    }

    pub(crate) fn gvk(&self) -> Gvk {
        Gvk::of(&self.node)
    }

    pub(crate) fn kind(&self) -> &str {
        self.text(&["kind"])
    }

    pub(crate) fn name(&self) -> &str {
        self.text(&["metadata", "name"])
    }

    /// `metadata.namespace` as it is written; empty when there is none.
    pub(crate) fn namespace(&self) -> &str {
        self.text(&["metadata", "namespace"])
    }

    fn text(&self, path: &[&str]) -> &str {
        self.node.at_path(path).and_then(Node::as_str).unwrap_or_default()
    }

    pub(crate) fn set_name(&mut self, name: &str) {
        self.set_metadata("name", name);
    }

    /// An empty namespace takes the field away.
    pub(crate) fn set_namespace(&mut self, namespace: &str) {
        if !namespace.is_empty() {
            self.set_metadata("namespace", namespace);
        } else if let Some(metadata) = self.node.get_mut("metadata") {
            metadata.remove("namespace");
        }
    }

    /// Sets a field of `metadata`, which keeps its place when it was there.
    fn set_metadata(&mut self, key: &str, text: &str) {
        let metadata = mapping_at(&mut self.node, "metadata");
        let at = metadata.get(key).and_then(|old| old.at.clone());
        metadata.set(key, Node::string(text).with_location(at));
    }

    /// The id it has now.
    pub(crate) fn current_id(&self, schemas: &Schemas) -> ResId {
        let gvk = self.gvk();
        let namespace = EffectiveNamespace::of(&gvk, self.namespace(), schemas);
        ResId { gvk, name: self.name().to_owned(), namespace }
    }

    /// The id it was loaded with.
    pub(crate) fn original_id(&self, schemas: &Schemas) -> ResId {
        match self.previous.first() {
            Some(first) => self.with_previous(first),
            None => self.current_id(schemas),
        }
    }

    /// The ids it had before, oldest first.
    pub(crate) fn previous_ids(&self) -> impl Iterator<Item = ResId> {
        self.previous.iter().map(|previous| self.with_previous(previous))
    }

    /// All ids it had, the current one last.
    pub(crate) fn all_ids(&self, schemas: &Schemas) -> impl Iterator<Item = ResId> {
        self.previous_ids().chain([self.current_id(schemas)])
    }

    /// Group and version have no history.
    fn with_previous(&self, previous: &PreviousId) -> ResId {
        let gvk = Gvk { kind: previous.kind.clone(), ..self.gvk() };
        ResId { gvk, name: previous.name.clone(), namespace: previous.namespace.clone() }
    }

    /// Remembers the present id, before it changes.
    pub(crate) fn store_previous_id(&mut self, schemas: &Schemas) {
        let ResId { gvk, name, namespace } = self.current_id(schemas);
        self.previous.push(PreviousId { namespace, name, kind: gvk.kind });
    }

    /// The pairs of `metadata.labels` or `metadata.annotations` that are strings.
    pub(crate) fn metadata_pairs(&self, field: &str) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.node.at_path(&["metadata", field]).and_then(Node::as_mapping).unwrap_or_default();
        entries.iter().filter_map(|(key, value)| Some((&*key.name, value.as_str()?)))
    }

    /// Where its content begins.
    pub(crate) fn place(&self) -> Location {
        self.node.at.clone().unwrap_or_else(|| Location {
            file: self.origin.file.clone(),
            line: self.origin.line,
            column: 1,
        })
    }

    /// A fault at the place of the resource, which names it.
    pub(crate) fn fault(&self, message: impl std::fmt::Display) -> Diagnostic {
        Diagnostic::at(self.place(), format!("{}/{}: {message}", self.kind(), self.name()))
    }
}

/// The mapping at a key, made when it is missing, null or no mapping.
pub(crate) fn mapping_at<'a>(node: &'a mut Node, key: &str) -> &'a mut Node {
    if node.get(key).is_none_or(|field| field.as_mapping().is_none()) {
        node.set(key, Node::from(Value::Mapping(Vec::new())));
    }
    node.get_mut(key).expect("it was set just now")
}
