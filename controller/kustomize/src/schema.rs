//! What is known of kinds: which lists are merged by which keys, and which kinds have no namespace.
//!
//! Of an OpenAPI v2 document only that is kept. Kubernetes' own kinds are built in, as of the version that kustomize has
//! built in (1.21): a kind that is younger is as unknown as a custom resource. The table is made by
//! `hack/generate.sh` from what an API server says of itself.
//!
//! Invariant: reading a document is linear in it, and so is what is kept; references are followed when a field is
//! looked up, so that they may form cycles.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use manifest::Diagnostic;
use manifest::yaml::Node;

mod builtin;

const GROUP_VERSION_KIND: &str = "x-kubernetes-group-version-kind";
const PATCH_STRATEGY: &str = "x-kubernetes-patch-strategy";
const PATCH_MERGE_KEY: &str = "x-kubernetes-patch-merge-key";
const LIST_MAP_KEYS: &str = "x-kubernetes-list-map-keys";

/// How many references are followed to one definition; a longer chain is a cycle.
const MAX_REFERENCES: usize = 64;

/// The schemas and scopes of kinds. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Schemas {
    table: Arc<Table>,
    /// Whether anything was asked but the scopes of kinds that are known.
    is_asked: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    definitions: HashMap<Box<str>, Arc<Shape>>,
    /// By `apiVersion` and kind.
    kinds: HashMap<Box<str>, HashMap<Box<str>, Kind>>,
}

#[derive(Clone, Debug, Default)]
struct Kind {
    shape: Option<Arc<Shape>>,
    scope: Option<Scope>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scope {
    namespaced: bool,
    /// No document says otherwise.
    built_in: bool,
}

/// What is known of a value.
#[derive(Debug, Default)]
struct Shape {
    /// All is as in this definition.
    reference: Option<Box<str>>,
    fields: HashMap<Box<str>, Shape>,
    /// The values of all fields that are not named.
    other_fields: Option<Box<Shape>>,
    elements: Option<Box<Shape>>,
    /// The keys that tell its elements apart, when this is a list that is merged; none for a set of scalars.
    merge_keys: Option<Vec<Box<str>>>,
}

/// What is known of a value that lies somewhere in an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema<'a> {
    shape: &'a Shape,
    table: &'a Table,
}

/// A list whose elements are merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergedList<'a> {
    /// The keys that tell its elements apart; none when it is a set of scalars.
    pub(crate) keys: &'a [Box<str>],
    /// What is known of its elements.
    pub(crate) element: Option<Schema<'a>>,
}

impl Schemas {
    /// Those of Kubernetes' own kinds.
    pub(crate) fn builtin() -> Self {
        static BUILT_IN: OnceLock<Arc<Table>> = OnceLock::new();
        Self::of(BUILT_IN.get_or_init(|| Arc::new(builtin::table())).clone())
    }

    fn of(table: Arc<Table>) -> Self {
        Self { table, is_asked: Arc::default() }
    }

    /// Adds an OpenAPI document, as `openapi.path` does in Flux: what it defines counts instead of what was known by
    /// the same name.
    ///
    /// # Errors
    /// When it is no OpenAPI v2 document.
    pub(crate) fn with_document(&self, document: &Node) -> Result<Self, Diagnostic> {
        let mut table = Table::clone(&self.table);
        table.read(document)?;
        Ok(Self::of(Arc::new(table)))
    }

    /// An OpenAPI document in place of what is built in, as `openapi.path` means it in kustomize's own command. The
    /// scopes of Kubernetes' own kinds stay known.
    ///
    /// # Errors
    /// When it is no OpenAPI v2 document.
    pub(crate) fn from_document(document: &Node) -> Result<Self, Diagnostic> {
        let mut table = Table::clone(&Self::builtin().table);
        table.definitions.clear();
        table.kinds.values_mut().flat_map(HashMap::values_mut).for_each(|kind| kind.shape = None);
        table.read(document)?;
        Ok(Self::of(Arc::new(table)))
    }

    /// Whether these are the very same, and not only alike.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table)
    }

    /// Whether a schema was looked up, or the scope of a kind that is not known: kustomize has read its own document for
    /// that, and keeps what that says.
    pub(crate) fn are_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Whether objects of the kind are known to have no namespace.
    pub(crate) fn is_cluster_scoped(&self, api_version: &str, kind: &str) -> bool {
        let scope = self.table.kind(api_version, kind).and_then(|kind| kind.scope);
        if scope.is_none() {
            self.is_asked.store(true, Ordering::Relaxed);
        }
        scope.is_some_and(|scope| !scope.namespaced)
    }

    /// What is known of the objects of a kind.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> Option<Schema<'_>> {
        self.is_asked.store(true, Ordering::Relaxed);
        let shape = self.table.kind(api_version, kind)?.shape.as_deref()?;
        Some(Schema { shape, table: &self.table })
    }
}

impl<'a> Schema<'a> {
    /// What is known of the value at a key.
    pub(crate) fn field(self, key: &str) -> Option<Self> {
        let shape = self.shape.fields.get(key).or(self.shape.other_fields.as_deref())?;
        Self { shape, ..self }.resolved()
    }

    /// How this list is merged; `None` for what is replaced, or no list.
    pub(crate) fn merged_list(self) -> Option<MergedList<'a>> {
        let keys = self.shape.merge_keys.as_deref()?;
        let element = self.shape.elements.as_deref().and_then(|shape| Self { shape, ..self }.resolved());
        Some(MergedList { keys, element })
    }

    fn resolved(self) -> Option<Self> {
        let mut schema = self;
        for _ in 0..MAX_REFERENCES {
            let Some(name) = &schema.shape.reference else { return Some(schema) };
            schema.shape = schema.table.definitions.get(name)?;
        }
        None
    }
}

impl Table {
    fn kind(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        self.kinds.get(api_version)?.get(kind)
    }

    fn kind_mut(&mut self, api_version: &str, kind: &str) -> &mut Kind {
        self.kinds.entry(api_version.into()).or_default().entry(kind.into()).or_default()
    }

    fn read(&mut self, document: &Node) -> Result<(), Diagnostic> {
        if document.as_mapping().is_none() {
            return Err(document.fault(format!("expected an OpenAPI v2 document, got {}", document.type_name())));
        }
        for (name, node) in entries(document, "definitions")? {
            let shape = Arc::new(Shape::read(node)?);
            self.definitions.insert((*name.name).into(), shape.clone());
            let kinds = node.get(GROUP_VERSION_KIND).and_then(Node::as_sequence).unwrap_or_default();
            for kind in kinds.iter().filter(|kind| kind.as_mapping().is_some()) {
                let (api_version, kind) = type_of(kind)?;
                self.kind_mut(&api_version, kind).shape = Some(shape.clone());
            }
        }
        for (path, node) in entries(document, "paths")? {
            let kind = node.get("get").and_then(|get| get.get(GROUP_VERSION_KIND));
            let Some(kind) = kind.filter(|kind| kind.as_mapping().is_some()) else { continue };
            let (api_version, kind) = type_of(kind)?;
            let scope = &mut self.kind_mut(&api_version, kind).scope;
            let namespaced = path.name.contains("namespaces/{namespace}");
            match scope {
                Some(scope) if scope.built_in => {}
                Some(scope) => scope.namespaced |= namespaced,
                None => *scope = Some(Scope { namespaced, built_in: false }),
            }
        }
        Ok(())
    }
}

impl Shape {
    fn read(node: &Node) -> Result<Self, Diagnostic> {
        if node.as_mapping().is_none() {
            return Err(node.fault(format!("expected a schema, got {}", node.type_name())));
        }
        let mut fields = HashMap::new();
        for (name, field) in entries(node, "properties")? {
            fields.insert((*name.name).into(), Self::read(field)?);
        }
        // `additionalProperties: false` says nothing of any value.
        let other_fields = node.get("additionalProperties").filter(|other| other.as_mapping().is_some());
        let elements = node.get("items").filter(|items| items.as_mapping().is_some() && is_list(node));
        let reference = node.get("$ref").and_then(Node::as_str).and_then(|name| name.strip_prefix("#/definitions/"));
        Ok(Self {
            reference: reference.map(|name| name.replace("~1", "/").replace("~0", "~").into()),
            fields,
            other_fields: other_fields.map(Self::read).transpose()?.map(Box::new),
            elements: elements.map(Self::read).transpose()?.map(Box::new),
            merge_keys: merge_keys(node)?,
        })
    }
}

fn is_list(schema: &Node) -> bool {
    let one = |node: &Node| node.as_str() == Some("array");
    schema
        .get("type")
        .is_some_and(|node| one(node) || node.as_sequence().is_some_and(|types| matches!(types, [node] if one(node))))
}

/// The keys of a list that is merged.
///
/// `x-kubernetes-list-type: map` alone does not make it one: that is for server-side apply.
fn merge_keys(schema: &Node) -> Result<Option<Vec<Box<str>>>, Diagnostic> {
    let Some(strategy) = schema.get(PATCH_STRATEGY) else { return Ok(None) };
    if !string(strategy)?.split(',').any(|strategy| strategy == "merge") {
        return Ok(None);
    }
    let keys = match (schema.get(LIST_MAP_KEYS), schema.get(PATCH_MERGE_KEY)) {
        (Some(keys), _) => {
            let keys = keys.as_sequence().ok_or_else(|| keys.fault(format!("{LIST_MAP_KEYS} is a list of keys")))?;
            keys.iter().map(string).collect::<Result<_, _>>()?
        }
        (None, Some(key)) => vec![string(key)?],
        (None, None) => Vec::new(),
    };
    Ok(Some(keys.into_iter().map(Into::into).collect()))
}

fn type_of(node: &Node) -> Result<(String, &str), Diagnostic> {
    let required = |key| {
        node.get(key).map(string).transpose()?.ok_or_else(|| node.fault(format!("{GROUP_VERSION_KIND} needs a {key}")))
    };
    let (version, kind) = (required("version")?, required("kind")?);
    let group = node.get("group").and_then(Node::as_str).unwrap_or_default();
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok((api_version, kind))
}

fn string(node: &Node) -> Result<&str, Diagnostic> {
    node.as_str().ok_or_else(|| node.fault(format!("expected a string, got {}", node.type_name())))
}

/// The entries of a mapping at a key; none when there is nothing at it.
fn entries<'a>(node: &'a Node, key: &str) -> Result<&'a [(manifest::yaml::Key, Node)], Diagnostic> {
    match node.get(key) {
        None => Ok(&[]),
        Some(node) if node.is_null() => Ok(&[]),
        Some(node) => {
            node.as_mapping().ok_or_else(|| node.fault(format!("{key} is a mapping, got {}", node.type_name())))
        }
    }
}

#[cfg(test)]
mod tests;
