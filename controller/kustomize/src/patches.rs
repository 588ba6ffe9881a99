//! Patches: which text is a strategic merge and which a JSON patch, and which resources they reach.

use manifest::yaml::{self, Dialect, Document, Node};
use manifest::{Diagnostic, Diagnostics, Origin};

use crate::Rules;
use crate::inline;
use crate::json_patch::JsonPatch;
use crate::kustomization::{Patch, Selector};
use crate::limits::{self, Budget};
use crate::load::{File, Loader};
use crate::merge::{Merged, merge};
use crate::objects;
use crate::read::{Entry, Given, Text};
use crate::resmap::ResMap;
use crate::resource::{Resource, mapping_at};
use crate::schema::Schemas;
use crate::select::Matcher;

/// A patch that has been read.
pub(crate) enum Loaded {
    /// Documents that are merged, each into the resource of its id or into those of the target.
    Strategic(Vec<Resource>),
    /// Operations for the resources of the target.
    Json(JsonPatch),
}

/// What a patch may change of the id of a resource.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allow {
    pub(crate) name: bool,
    pub(crate) kind: bool,
}

/// Reads an entry of `patches`.
///
/// # Errors
/// When it has not exactly one of `path` and `patch`, or the text is no patch.
pub(crate) fn load(given: &Given<Patch>, loader: &Loader<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let Given { value: Patch { path, patch, .. }, entry } = given;
    match (path, patch) {
        (None, None) => Err(vec![entry.fault("must specify one of `patch` and `path`")]),
        (Some(_), Some(_)) => Err(vec![entry.fault("`patch` and `path` can't be set at the same time")]),
        (None, Some(text)) => parse_inline(text, loader),
        (Some(path), None) => {
            let file = loader.file(path).map_err(|fault| vec![fault])?;
            parse_file(&file, entry, loader)
        }
    }
}

fn parse_file(file: &File, entry: &Entry, loader: &Loader<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    parse(&file.content, &|dialect| yaml::parse_as(dialect, &file.path, &file.content), entry, loader)
}

/// The patch that a field of a kustomization holds as text.
pub(crate) fn parse_inline(text: &Text, loader: &Loader<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    loader.budget().open().map_err(|message| vec![text.entry.fault(message)])?;
    parse(text.value.as_bytes(), &|dialect| inline::parse_as(dialect, text, loader), &text.entry, loader)
}

/// Reads a patch of which `documents` are those of the content.
fn parse(
    content: &[u8],
    documents: &dyn Fn(Dialect) -> Result<Vec<Document>, Diagnostics>,
    entry: &Entry,
    loader: &Loader<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let because = |faults: Vec<Diagnostic>| faults.into_iter().map(|fault| entry.because(fault)).collect::<Vec<_>>();
    let unparsed = |faults: Diagnostics| {
        because(
            faults
                .into_vec()
                .into_iter()
                .map(|mut fault| {
                    fault.message = format!("unable to parse SM or JSON patch: {}", fault.message);
                    fault
                })
                .collect(),
        )
    };
    let read = documents(Dialect::Resource).map_err(unparsed)?;
    loader.count(&read).map_err(|fault| because(vec![fault]))?;
    let lists = read.iter().filter(|document| document.node.as_sequence().is_some()).count();
    if lists == 0 {
        let strategic = strategic(read).map_err(because)?;
        return Ok(Loaded::Strategic(strategic));
    }
    if read.len() > lists {
        return Err(vec![entry.fault("illegally qualifies as both an SM and JSON patch: it has a list and a mapping")]);
    }
    // kustomize reads the operations as it reads its own files: by YAML 1.1. Of several lists the first counts. Only what
    // begins with a bracket is JSON, and nothing else.
    if content.first() == Some(&b'[')
        && let Err(error) = serde_json::from_slice::<serde_json::Value>(content)
    {
        return Err(vec![entry.fault(format!(
            "unable to parse SM or JSON patch: what begins with `[` is read as JSON: {error}; quote the keys, or write a list with `-`"
        ))]);
    }
    let read = documents(Dialect::Kustomization).map_err(unparsed)?;
    let list = read.first().map_or_else(Node::null, |document| document.node.clone());
    Ok(Loaded::Json(JsonPatch::parse(&list).map_err(|fault| because(vec![fault]))?))
}

/// Documents as patches: each needs a kind and a name, so that it could be a resource.
fn strategic(documents: Vec<Document>) -> Result<Vec<Resource>, Vec<Diagnostic>> {
    let mut collector = objects::Collector::new(None, Rules::Kustomize);
    documents.into_iter().for_each(|document| collector.document(document));
    let (resources, faults) = collector.finish();
    if faults.is_empty() {
        return Ok(resources);
    }
    let mark = |mut fault: Diagnostic| {
        fault.message = format!("unable to parse SM or JSON patch: {}", fault.message);
        fault
    };
    Err(faults.into_iter().map(mark).collect())
}

/// Reads `patchesStrategicMerge`, or the paths of a PatchStrategicMergeTransformer: texts, or paths of files.
pub(crate) fn load_strategic(given: &[Text], loader: &Loader<'_>) -> Result<Vec<(Resource, Entry)>, Vec<Diagnostic>> {
    let mut patches = Vec::new();
    for text in given {
        let is_path = loader.has_file(&text.value) || !text.value.contains(['\n', ':']);
        let loaded = if is_path {
            let file = loader.file(text).map_err(|fault| vec![fault])?;
            parse_file(&file, &text.entry, loader)?
        } else {
            parse_inline(text, loader)?
        };
        match loaded {
            Loaded::Strategic(resources) => {
                patches.extend(resources.into_iter().map(|mut resource| {
                    resource.metadata_as_text();
                    (resource, text.entry.clone())
                }));
            }
            Loaded::Json(_) => return Err(vec![text.entry.fault("is a JSON patch, not a strategic merge patch")]),
        }
    }
    if patches.is_empty() {
        let entry = given.first().map(|text| text.entry.clone()).unwrap_or_default();
        return Err(vec![entry.fault("patch appears to be empty")]);
    }
    Ok(patches)
}

/// Applies an entry of `patches` that has been read.
///
/// # Errors
/// When a patch without target finds no resource or several, or a patch does not fit.
pub(crate) fn apply(
    resources: &mut ResMap,
    given: &Given<Patch>,
    loaded: &Loaded,
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let Given { value: patch, entry } = given;
    let allow = Allow { name: patch.allow_name_change, kind: patch.allow_kind_change };
    match (loaded, &patch.target) {
        (Loaded::Json(_), None) => Err(entry.fault("must specify a target for a JSON patch")),
        (Loaded::Json(operations), Some(target)) => {
            apply_json(resources, operations, target, PreviousId::Stored, entry, schemas, budget)
        }
        (Loaded::Strategic(patches), Some(target)) => match patches.as_slice() {
            [] => Ok(()),
            [patch] => apply_to_target(resources, patch, target, allow, entry, schemas, budget),
            _ => Err(entry.fault(
                "multiple strategic merge patches in one entry are not allowed with a `target`: give each an entry",
            )),
        },
        (Loaded::Strategic(patches), None) => {
            let mut patches = patches.clone();
            if allow.name || allow.kind {
                // kustomize notes the permission in the annotations of the patch.
                patches.iter_mut().for_each(Resource::finish_annotations);
            }
            let patches: Vec<_> = patches.iter().map(|patch| (patch, entry)).collect();
            apply_by_id(resources, &patches, allow, schemas, budget)
        }
    }
}

/// Whether a JSON patch is a reason to remember the id that a resource had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PreviousId {
    /// As `patches` does.
    Stored,
    /// As `patchesJson6902` does.
    Forgotten,
}

/// Runs the operations on each resource of the target.
pub(crate) fn apply_json(
    resources: &mut ResMap,
    operations: &JsonPatch,
    target: &Given<Selector>,
    previous: PreviousId,
    entry: &Entry,
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    change_matching(resources, target, schemas, budget, &mut |resource| {
        apply_json_to_one(resource, operations, previous, entry, schemas, budget)
    })
}

fn apply_json_to_one(
    resource: &mut Resource,
    operations: &JsonPatch,
    previous: PreviousId,
    entry: &Entry,
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let id = format!("{}/{} ({})", resource.kind(), resource.name(), resource.place());
    if previous == PreviousId::Stored {
        budget.remember(resource).map_err(|fault| entry.because(fault))?;
        resource.store_previous_id(schemas);
    }
    if resource.has_history() {
        // kustomize keeps its notes among the annotations, so that a patch always finds some.
        let metadata = mapping_at(&mut resource.node, "metadata");
        mapping_at(metadata, "annotations");
    }
    operations.apply(&mut resource.node, budget).map_err(|fault| about(resource, entry.because(fault)))?;
    // The object went through JSON, where all has a type.
    resource.untyped.clear();
    if operations.takes_annotations() {
        resource.lose_notes();
    }
    if let Some(missing) = missing_part(&resource.node) {
        let fault =
            entry.fault(format!("the JSON patch leaves {id} without `{missing}`; keep it, or delete the object"));
        return Err(fault);
    }
    resource.normalize_annotations();
    Ok(())
}

/// What an object must have and this one has not. Lists need no name.
fn missing_part(object: &Node) -> Option<&'static str> {
    let kind = object.get("kind").and_then(Node::as_scalar).filter(|kind| !kind.text.is_empty());
    let name = object.at_path(&["metadata", "name"]).and_then(Node::as_scalar).filter(|name| !name.text.is_empty());
    match (kind, name) {
        (None, _) => Some("kind"),
        (Some(kind), None) if !kind.text.ends_with("List") => Some("metadata.name"),
        _ => None,
    }
}

fn apply_to_target(
    resources: &mut ResMap,
    patch: &Resource,
    target: &Given<Selector>,
    allow: Allow,
    entry: &Entry,
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let mut patch = patch.clone();
    patch.metadata_as_text();
    change_matching(resources, target, schemas, budget, &mut |resource| {
        apply_one(resource, &mut patch.node, allow, entry, schemas, budget)
    })?;
    // As kustomize does, which puts all resources together anew.
    resources.check_unique(schemas).map_err(|fault| entry.because(fault))
}

/// Changes the resources that a target is about.
fn change_matching(
    resources: &mut ResMap,
    target: &Given<Selector>,
    schemas: &Schemas,
    budget: &Budget<'_>,
    act: &mut dyn FnMut(&mut Resource) -> Result<(), Diagnostic>,
) -> Result<(), Diagnostic> {
    let matcher = Matcher::new(target, budget)?;
    let named = matcher.literal_name().map(|name| resources.places_of_name(name, schemas));
    for place in named.unwrap_or_else(|| (0..resources.len()).collect()) {
        let resource = resources.resources().get(place);
        if resource.is_some_and(|resource| !resource.is_dropped() && matcher.matches(resource, schemas)) {
            resources.change(place, &mut *act).transpose()?;
        }
    }
    Ok(())
}

/// Merges each patch into the one resource that has, or had, its id.
pub(crate) fn apply_by_id(
    resources: &mut ResMap,
    patches: &[(&Resource, &Entry)],
    allow: Allow,
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    for (patch, entry) in patches {
        let id = patch.current_id(schemas);
        let place = match resources.places_of_id(id, schemas).as_slice() {
            [place] => *place,
            [] => {
                let fault = patch.fault(format!(
                    "no resource matches strategic merge patch: no matches for Id {id}; failed to find unique target \
                     for patch"
                ));
                return Err(entry.because(fault));
            }
            _ => {
                let fault = format!("multiple matches for Id {id}; failed to find unique target for patch");
                return Err(entry.because(patch.fault(fault)));
            }
        };
        let mut change = patch.node.clone();
        resources
            .change(place, |resource| apply_one(resource, &mut change, allow, entry, schemas, budget))
            .transpose()?;
    }
    Ok(())
}

/// Merges a patch into a resource, whose id stays as it is unless it may change; the patch takes its `apiVersion`.
fn apply_one(
    resource: &mut Resource,
    change: &mut Node,
    allow: Allow,
    entry: &Entry,
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let before = limits::size(&resource.node);
    budget.work_on(before + limits::size(change)).map_err(|message| entry.fault(message))?;
    let (name, namespace) = (resource.name().to_owned(), resource.namespace().to_owned());
    let kind = resource.node.get("kind").cloned();
    match resource.node.get("apiVersion") {
        Some(api_version) => change.set("apiVersion", api_version.clone()),
        None => {
            change.remove("apiVersion");
        }
    }
    if allow.name || allow.kind {
        budget.remember(resource).map_err(|fault| entry.because(fault))?;
        resource.store_previous_id(schemas);
    }
    if takes_all_annotations(change) {
        resource.forget();
    }
    let target = std::mem::replace(&mut resource.node, Node::null());
    match merge(target, change, &mut resource.untyped, schemas).map_err(|fault| entry.because(fault))? {
        Merged::Deleted => {
            resource.drop_content();
            return budget.grow(before, limits::NODE).map_err(|message| entry.fault(message));
        }
        Merged::Kept(node) => resource.node = node,
    }
    if let Some(kind) = kind.filter(|_| !allow.kind) {
        resource.node.set("kind", kind);
    }
    if !allow.name {
        resource.set_name(&name);
    }
    resource.set_namespace(&namespace);
    let after = limits::size(&resource.node);
    budget.grow(before, after).map_err(|message| entry.because(resource.fault(message)))
}

/// Whether nothing is left of the annotations of what is patched.
fn takes_all_annotations(patch: &Node) -> bool {
    let takes_all =
        |node: &Node| node.is_null() || matches!(node.get("$patch").and_then(Node::as_str), Some("delete" | "replace"));
    // Which at the root changes nothing at all.
    if patch.get("$patch").and_then(Node::as_str) == Some("replace") {
        return false;
    }
    let metadata = patch.get("metadata");
    metadata.is_some_and(takes_all) || metadata.and_then(|metadata| metadata.get("annotations")).is_some_and(takes_all)
}

/// Says which resource a fault is about.
fn about(resource: &Resource, mut fault: Diagnostic) -> Diagnostic {
    fault.message = format!("{}/{} ({}): {}", resource.kind(), resource.name(), resource.place(), fault.message);
    fault
}

/// The origin of a document within a field.
pub(crate) fn inline_documents(text: &Text, loader: &Loader<'_>) -> Option<Vec<Document>> {
    let mut documents = inline::parse_as(Dialect::Resource, text, loader).ok()?;
    if documents.iter().any(|document| document.node.as_mapping().is_none()) {
        return None;
    }
    for document in &mut documents {
        if let Some(at) = &text.entry.at {
            document.origin = Origin { file: at.file.clone(), line: at.line, document: document.origin.document };
        }
    }
    Some(documents)
}
