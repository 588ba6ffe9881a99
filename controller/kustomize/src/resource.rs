//! [`Resource`]: an object on its way through the layers of a build, with what kustomize remembers of its past.

use std::sync::Arc;

use manifest::yaml::{Node, ScalarKind, Value};
use manifest::{Diagnostic, Location, Object, Origin, Renaming};

use crate::id::{EffectiveNamespace, Gvk, ResId};
use crate::metadata::Notes;
use crate::schema::Schemas;

/// An object and its history within the build.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// The content; a mapping.
    pub(crate) node: Node,
    /// The document that it came from; of a generated one, the entry of the kustomization file.
    pub(crate) origin: Origin,
    /// The origin of what stood first where a generator has put this; vars know it by that.
    pub(crate) replaced: Option<Origin>,
    /// Names, namespaces and kinds that it had before, oldest first.
    pub(crate) previous: Vec<PreviousId>,
    /// Which fields of kustomizations ended some of those ids, each with the place of the id among them.
    pub(crate) renamed_by: Vec<(usize, Arc<str>)>,
    /// Prefixes that were put before its name, in the order in which they were.
    pub(crate) prefixes: Vec<String>,
    /// Suffixes that were put behind its name, likewise.
    pub(crate) suffixes: Vec<String>,
    /// The places of the scalars that replacements made: they have no type of their own, but that of the text they hold.
    pub(crate) untyped: Vec<Location>,
    /// How it joins what is there, when it comes from a generator.
    pub(crate) behavior: Behavior,
    /// Whether a hash of its content is to be put behind its name.
    pub(crate) needs_hash: bool,
    /// The generator that made it.
    pub(crate) generator: Option<Arc<Step>>,
    /// What changed it: the generators that were merged into it, and all else when the build traces.
    pub(crate) changes: Vec<Arc<Step>>,
    /// What `buildMetadata` is to tell, when it was asked for.
    pub(crate) notes: Option<Notes>,
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
    /// kustomize's plugin that does it.
    pub(crate) plugin: Plugin,
    /// Where it was written.
    pub(crate) at: Option<Location>,
    /// Path of the kustomization file, or of the plugin's own configuration.
    pub(crate) file: Arc<str>,
}

/// The configuration of a plugin, as kustomize refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plugin {
    pub(crate) api_version: String,
    /// Such as `PatchTransformer`.
    pub(crate) kind: String,
    /// Empty when a field of a kustomization configures it; likewise the namespace.
    pub(crate) name: String,
    pub(crate) namespace: String,
}

impl Plugin {
    /// One that a field of a kustomization configures.
    pub(crate) fn builtin(kind: &str) -> Self {
        Self { api_version: "builtin".to_owned(), kind: kind.to_owned(), name: String::new(), namespace: String::new() }
    }
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
            replaced: None,
            previous: Vec::new(),
            renamed_by: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            untyped: Vec::new(),
            behavior: Behavior::default(),
            needs_hash: false,
            generator: None,
            changes: Vec::new(),
            notes: None,
        }
    }

    /// The origin of what stood first in its place.
    pub(crate) fn first_origin(&self) -> &Origin {
        self.replaced.as_ref().unwrap_or(&self.origin)
    }

    pub(crate) fn into_object(self) -> Object {
        let renamings = self.renamed_by.into_iter().filter_map(|(place, by)| {
            let PreviousId { name, namespace, .. } = self.previous.get(place)?;
            Some(Renaming { name: name.clone(), namespace: namespace.as_str().to_owned(), by })
        });
        Object { renamings: renamings.collect(), node: self.node, origin: self.origin }
    }

    pub(crate) fn gvk(&self) -> Gvk<&str> {
        Gvk::of(&self.node)
    }

    /// Whether its kind is known to have no namespace.
    pub(crate) fn is_cluster_scoped(&self, schemas: &Schemas) -> bool {
        let api_version = self.text(&["apiVersion"]);
        schemas.is_cluster_scoped(api_version.strip_prefix('/').unwrap_or(api_version), self.kind())
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
        let old = metadata.get(key);
        if old.and_then(Node::as_str) == Some(text) {
            return;
        }
        let at = old.and_then(|old| old.at.clone());
        metadata.set(key, Node::string(text).with_location(at));
    }

    /// The id it has now.
    pub(crate) fn current_id(&self, schemas: &Schemas) -> ResId<&str> {
        let namespace = EffectiveNamespace::of(self.is_cluster_scoped(schemas), self.namespace());
        ResId { gvk: self.gvk(), name: self.name(), namespace }
    }

    /// All ids it had, oldest first, the current one last. Group and version have no history.
    pub(crate) fn all_ids(&self, schemas: &Schemas) -> impl Iterator<Item = ResId<&str>> {
        let current = self.current_id(schemas);
        let previous = self.previous.iter().map(move |previous| ResId {
            gvk: Gvk { kind: previous.kind.as_str(), ..current.gvk },
            name: previous.name.as_str(),
            namespace: previous.namespace.as_ref(),
        });
        previous.chain([current])
    }

    /// Remembers the present id, before it changes.
    pub(crate) fn store_previous_id(&mut self, schemas: &Schemas) {
        let ResId { gvk, name, namespace } = self.current_id(schemas);
        let id = PreviousId { namespace: namespace.to_owned(), name: name.to_owned(), kind: gvk.kind.to_owned() };
        self.previous.push(id);
    }

    /// The pairs of `metadata.labels` or `metadata.annotations` that are strings.
    pub(crate) fn metadata_pairs(&self, field: &str) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.node.at_path(&["metadata", field]).and_then(Node::as_mapping).unwrap_or_default();
        entries.iter().filter_map(|(key, value)| Some((&*key.name, value.as_str()?)))
    }

    /// Takes the resource out of the build at the end of the step: a patch deleted it.
    pub(crate) fn drop_content(&mut self) {
        self.node.value = Value::Mapping(Vec::new());
    }

    /// Whether a patch deleted it.
    pub(crate) fn is_dropped(&self) -> bool {
        self.node.as_mapping().is_none_or(<[_]>::is_empty)
    }

    /// Annotations are always a mapping of strings in the order of their keys, or not there at all. Nulls stay, as a patch
    /// may have them.
    pub(crate) fn normalize_annotations(&mut self) {
        let Some(metadata) = self.node.get_mut("metadata") else { return };
        let Some(annotations) = metadata.get_mut("annotations").filter(|annotations| !annotations.is_null()) else {
            return;
        };
        let Some(entries) = annotations.as_mapping_mut().filter(|entries| !entries.is_empty()) else {
            metadata.remove("annotations");
            return;
        };
        for (_, value) in entries.iter_mut().filter(|(_, value)| !value.is_null()) {
            match &mut value.value {
                Value::Scalar(scalar) => scalar.kind = ScalarKind::String,
                // As kustomize has it: what is no scalar has no text.
                _ => value.value = Node::string("").value,
            }
        }
        if !entries.is_sorted_by(|(left, _), (right, _)| left.name <= right.name) {
            entries.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
        }
    }

    /// Annotations as they are printed: nulls are no annotations, or their text.
    pub(crate) fn finish_annotations(&mut self) {
        self.normalize_annotations();
        let Some(metadata) = self.node.get_mut("metadata") else { return };
        if metadata.get("annotations").is_some_and(Node::is_null) {
            metadata.remove("annotations");
        }
        let entries = metadata.get_mut("annotations").and_then(Node::as_mapping_mut);
        for (_, value) in entries.into_iter().flatten().filter(|(_, value)| value.is_null()) {
            if let Value::Scalar(scalar) = &mut value.value {
                scalar.kind = ScalarKind::String;
            }
        }
    }

    /// Labels and annotations as mappings of strings, whatever they were, as kustomize makes them of a patch: what is null
    /// or empty is not there, and a null within is a text.
    pub(crate) fn metadata_as_text(&mut self) {
        self.finish_annotations();
        let Some(metadata) = self.node.get_mut("metadata") else { return };
        let Some(labels) = metadata.get_mut("labels") else { return };
        let Some(entries) = labels.as_mapping_mut().filter(|entries| !entries.is_empty()) else {
            metadata.remove("labels");
            return;
        };
        for (_, value) in entries {
            match &mut value.value {
                Value::Scalar(scalar) => scalar.kind = ScalarKind::String,
                _ => value.value = Node::string("").value,
            }
        }
    }

    /// Whether kustomize would have noted something of its past.
    pub(crate) fn has_history(&self) -> bool {
        !(self.previous.is_empty() && self.prefixes.is_empty() && self.suffixes.is_empty())
            || self.needs_hash
            || self.generator.is_some()
            || self.notes.is_some()
    }

    /// Forgets its past, as kustomize does when all annotations of a resource are taken away: it keeps its notes there.
    pub(crate) fn forget(&mut self) {
        self.previous.clear();
        self.renamed_by.clear();
        self.prefixes.clear();
        self.suffixes.clear();
        self.needs_hash = false;
        self.lose_notes();
    }

    /// Loses what `buildMetadata` tells, which is all that a JSON patch takes with the annotations.
    pub(crate) fn lose_notes(&mut self) {
        if let Some(notes) = &mut self.notes {
            notes.lose();
        }
    }

    /// Takes over the history that kustomize notes in annotations, when a file was written by one of its functions, and
    /// takes out all annotations that it keeps for itself.
    pub(crate) fn take_over_history(&mut self) {
        /// Where kustomize notes what it wants to remember.
        const OWN: &str = "internal.config.kubernetes.io/";
        /// Notes that no output of kustomize has unless it is asked for them.
        const TRACES: [&str; 5] = [
            "config.kubernetes.io/origin",
            "alpha.config.kubernetes.io/transformations",
            "config.kubernetes.io/index",
            "config.kubernetes.io/path",
            "config.k8s.io/id",
        ];
        let is_note = |key: &str| key.starts_with(OWN) || TRACES.contains(&key);
        if !self.metadata_pairs("annotations").any(|(key, _)| is_note(key)) {
            return;
        }
        let list = |note: &str| -> Vec<String> {
            let text = self.metadata_pairs("annotations").find(|(key, _)| key.strip_prefix(OWN) == Some(note));
            text.map(|(_, text)| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
        };
        let (names, namespaces, kinds) = (list("previousNames"), list("previousNamespaces"), list("previousKinds"));
        let (prefixes, suffixes) = (list("prefixes"), list("suffixes"));
        let needs_hash = list("needsHashSuffix") == ["enabled"];
        let behavior = list("generatorBehavior").first().map(|word| Behavior::from_word(word)).unwrap_or_default();
        self.previous = names
            .into_iter()
            .zip(namespaces)
            .zip(kinds)
            .map(|((name, namespace), kind)| PreviousId { namespace: EffectiveNamespace::noted(namespace), name, kind })
            .collect();
        (self.prefixes, self.suffixes) = (prefixes, suffixes);
        (self.needs_hash, self.behavior) = (needs_hash, behavior);
        if let Some(entries) = self.node.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"))
            && let Some(entries) = entries.as_mapping_mut()
        {
            entries.retain(|(key, _)| !is_note(&key.name));
        }
        self.normalize_annotations();
    }

    /// Whether a scalar at a place has no type of its own.
    pub(crate) fn is_untyped(&self, at: Option<&Location>) -> bool {
        at.is_some_and(|at| self.untyped.contains(at))
    }

    /// Remembers that a scalar at a place has no type of its own.
    pub(crate) fn add_untyped(&mut self, at: Option<&Location>) {
        if !self.is_untyped(at) {
            self.untyped.extend(at.cloned());
        }
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
