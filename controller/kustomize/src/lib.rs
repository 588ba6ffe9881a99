//! A path of a [`FileTree`] to the ordered Kubernetes objects that it describes: kustomize v5.8.1, natively, and the
//! layer that Flux's kustomize-controller puts on top.
//!
//! Architecture invariant: pure, and knows nothing of Porter, of a cluster or of the disk. What is no Kubernetes object
//! is shown to a [`DocumentHook`], which may turn it into one. Nothing is fetched and nothing is executed. All faults of
//! what a layer loads are told, not the first; each says which kustomization file and which entry it is about.
//!
//! The way of the data: `load` finds files, `kustomization` reads a kustomization file, `accumulate` runs the pipeline
//! over `resmap`s of `resource`s, for which `generate`, `patches`, `transform`, `replace` and `plugin` do the steps, and
//! `name_reference`, `vars`, `order` and `metadata` finish. `substitute` works on the finished objects.

mod accumulate;
mod config;
mod directory;
mod field_path;
mod fieldspec;
mod generate;
mod go_json;
mod go_regex;
mod hash;
mod id;
mod inline;
mod json_patch;
mod kustomization;
mod layer;
mod limits;
mod load;
mod merge;
mod metadata;
mod name_reference;
mod objects;
mod order;
mod patches;
mod places;
mod plugin;
mod read;
mod replace;
mod resmap;
mod resource;
mod schema;
mod select;
mod substitute;
mod transform;
mod vars;

use std::collections::HashMap;

use manifest::yaml::{self, Document, Node};
use manifest::{Diagnostic, Diagnostics, FileTree, Location, Object, ObjectId};

pub use layer::{Layer, LayerImage, LayerPatch, LayerTarget};
pub use limits::Limits;
pub use substitute::{InvalidNames, Strategy, Substitution, Variables, substitute};

use accumulate::Builder;
use limits::Budget;
use load::Loader;
use resource::{Resource, Step};

/// How to build; the default is what Flux does with a path that has no settings of its own.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Is shown each mapping among the resources that is no Kubernetes object.
    pub document_hook: Option<DocumentHook<'a>>,
    /// Where kustomize alone and kustomize within Flux differ.
    pub rules: Rules,
    /// The order of the objects, when the kustomization of the target asks for none.
    pub reorder: Reorder,
    /// What is laid over the kustomization of the target.
    pub layer: Option<&'a Layer>,
    /// Whether [`Built::trails`] is wanted; it costs a copy of all objects for each transformer.
    pub trace: bool,
    /// What the build may use.
    pub limits: Limits,
    /// Is asked again and again whether nobody waits for the build any longer, which then ends with a fault.
    pub cancelled: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("document_hook", &self.document_hook.is_some())
            .field("rules", &self.rules)
            .field("reorder", &self.reorder)
            .field("layer", &self.layer.is_some())
            .field("trace", &self.trace)
            .field("limits", &self.limits)
            .field("cancelled", &self.cancelled.is_some())
            .finish()
    }
}

/// Where the command `kustomize build` and kustomize within Flux differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// Files may lie anywhere in the source, an `openapi` document adds to the built-in schemas, and what is built has
    /// to be fit for an API server: with `apiVersion`, and no object twice.
    #[default]
    Flux,
    /// Files lie in or below the directory of their kustomization, and an `openapi` document replaces the built-in
    /// schemas.
    Kustomize,
}

/// The order of the objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reorder {
    /// Load order, as in Flux.
    #[default]
    None,
    /// By kind, as `kubectl kustomize` has it.
    Legacy,
}

/// Turns a mapping without `apiVersion` or `kind` into a Kubernetes object: `None` when the document is not of a kind
/// that the hook knows, the faults when it is but is wrong.
pub type DocumentHook<'a> = &'a (dyn Fn(&Document) -> Option<Result<Node, Vec<Diagnostic>>> + Sync);

/// Why nothing was built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The source has no such directory. Flux tells of this by another reason than of faults in files.
    #[error("kustomization path not found: {path}{why}")]
    PathNotFound {
        /// The path as it was given.
        path: String,
        /// What more there is to say of it, behind a semicolon; mostly nothing.
        why: String,
    },
    /// Faults of the path or of the files below it.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

/// Builds the directory `path` of the tree: its kustomization or, when it has none, all `.yaml` and `.yml` files below
/// it in the order in which Flux walks a directory, hidden files included, with a directory that has a kustomization
/// standing for what lies below it. Lists are replaced by their items.
///
/// By [`Rules::Flux`] every object has an `apiVersion`, a `kind` and a `metadata.name`, and no two share group, kind,
/// namespace (as written) and name. A directory without documents gives no objects; to accept that is up to the caller.
///
/// # Errors
/// When the path is no directory of the tree, or with the faults of the files.
pub fn build(tree: &FileTree, path: &str, options: &Options<'_>) -> Result<Vec<Object>, BuildError> {
    let Built { objects, faults, .. } = build_partly(tree, path, options)?;
    Ok(Diagnostics::check(faults, objects)?)
}

/// What could be built, and what is wrong with the rest.
#[derive(Clone, Debug, Default)]
pub struct Built {
    /// The objects of what is whole. Not to be applied while there is a fault.
    pub objects: Vec<Object>,
    /// The faults of all others, in no order.
    pub faults: Vec<Diagnostic>,
    /// What works but should be written in another way, such as a deprecated field.
    pub warnings: Vec<Diagnostic>,
    /// For each object, what made and changed it; empty unless [`Options::trace`] asks for it.
    pub trails: Vec<Trail>,
}

/// What made an object, and what changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// The generator that made it; `None` for one that a file gives.
    pub generator: Option<TrailStep>,
    /// What changed it, in order.
    pub changes: Vec<TrailStep>,
}

/// A field of a kustomization that made or changed an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailStep {
    /// The field, such as `patches[0]`.
    pub field: String,
    /// kustomize's name of the plugin, such as `PatchTransformer`.
    pub plugin: String,
    /// The kustomization file.
    pub file: String,
    /// Where the field was written, when it was.
    pub at: Option<Location>,
}

impl TrailStep {
    fn of(step: &Step) -> Self {
        Self {
            field: step.field.clone(),
            plugin: step.plugin.kind.clone(),
            file: step.file.to_string(),
            at: step.at.clone(),
        }
    }
}

impl Trail {
    fn of(resource: &Resource) -> Self {
        Self {
            generator: resource.generator.as_deref().map(TrailStep::of),
            changes: resource.changes.iter().map(|step| TrailStep::of(step)).collect(),
        }
    }
}

/// As [`build`], but goes on after faults where it can, so that a later step can tell its own beside them.
///
/// # Errors
/// When the path is no directory of the tree.
pub fn build_partly(tree: &FileTree, path: &str, options: &Options<'_>) -> Result<Built, BuildError> {
    let directory = FileTree::clean(path).map_err(|error| Diagnostics::from(Diagnostic::general(error.to_string())))?;
    if tree.get(&directory).is_some() {
        let fault = format!("kustomization path {path:?} is a file; name the directory that holds it");
        return Err(Diagnostics::from(Diagnostic::general(fault)).into());
    }
    if !tree.is_dir(&directory) {
        return Err(BuildError::PathNotFound { path: path.to_owned(), why: load::why_missing(tree, &directory) });
    }
    let budget = Budget::new(&options.limits, options.cancelled);
    let loader = Loader::new(tree, &directory, options.rules, &budget);
    let mut built = Built::default();
    match build_target(tree, &loader, options, &mut built) {
        Ok(resources) => {
            if options.rules == Rules::Flux {
                built.faults.extend(unfit(&resources));
            }
            if options.trace {
                built.trails = resources.iter().map(Trail::of).collect();
            }
            built.objects = resources.into_iter().map(Resource::into_object).collect();
        }
        Err(faults) => built.faults.extend(faults),
    }
    Ok(built)
}

fn build_target(
    tree: &FileTree,
    loader: &Loader<'_>,
    options: &Options<'_>,
    built: &mut Built,
) -> Result<Vec<Resource>, Vec<Diagnostic>> {
    let mut target = accumulate::target_kustomization(loader, tree)?;
    if options.rules == Rules::Flux {
        layer::mark_without_resources(&mut target);
    }
    if let Some(layer) = options.layer {
        layer::lay_over(&mut target, layer, loader)?;
    }
    Builder::new(options, loader.budget(), built).build(loader, &target)
}

/// What keeps objects from being applied: a missing `apiVersion`, or the same object twice.
fn unfit(resources: &[Resource]) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let mut places: HashMap<ObjectId, Location> = HashMap::with_capacity(resources.len());
    for resource in resources {
        let api_version = resource.node.get("apiVersion").and_then(Node::as_str).unwrap_or_default();
        if api_version.is_empty() {
            faults.push(resource.fault("not a Kubernetes object: `apiVersion` is missing"));
            continue;
        }
        if resource.name().is_empty() {
            faults.push(resource.fault("has no `metadata.name`"));
            continue;
        }
        let id = ObjectId {
            group: resource.gvk().group.to_owned(),
            kind: resource.kind().to_owned(),
            namespace: resource.namespace().to_owned(),
            name: resource.name().to_owned(),
        };
        if let Some(first) = places.get(&id) {
            let message = format!("{id} is there twice; it is first given at {}:{}", first.file, first.line);
            faults.push(Diagnostic::at(resource.place(), message));
            continue;
        }
        places.insert(id, resource.place());
    }
    faults
}

/// The objects as one YAML stream, in their order.
#[must_use]
pub fn to_yaml(objects: &[Object]) -> String {
    yaml::to_canonical_all(objects.iter().map(|object| &object.node))
}
