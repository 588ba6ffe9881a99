//! A path of a [`FileTree`] to the ordered Kubernetes objects that it describes, as Flux's kustomize-controller builds it.
//!
//! Architecture invariant: pure, and knows nothing of Porter or of a cluster. What is no Kubernetes object is shown to a
//! [`DocumentHook`], which may turn it into one. All faults of all files are told, not the first.
//!
//! Only plain directories are built so far: a `kustomization.yaml` is a fault that names it, never half obeyed.

mod directory;
mod json_patch;
mod merge;
mod objects;
mod schema;
mod substitute;

use manifest::yaml::{self, Document, Node};
use manifest::{Diagnostic, Diagnostics, FileTree, Object};

pub use substitute::{InvalidNames, Strategy, Substitution, Variables, substitute};

/// How to build; the default suits plain Kubernetes manifests.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Is shown each mapping that is no Kubernetes object.
    pub document_hook: Option<DocumentHook<'a>>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("document_hook", &self.document_hook.is_some()).finish()
    }
}

/// Turns a mapping without `apiVersion` or `kind` into a Kubernetes object: `None` when the document is not of a kind
/// that the hook knows, the faults when it is but is wrong.
pub type DocumentHook<'a> = &'a (dyn Fn(&Document) -> Option<Result<Node, Vec<Diagnostic>>> + Sync);

/// Why nothing was built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The source has no such directory. Flux tells of this by another reason than of faults in files.
    #[error("kustomization path not found: {path}")]
    PathNotFound {
        /// The path as it was given.
        path: String,
    },
    /// Faults of the path or of the files below it.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

/// Builds what the directory `path` of the tree holds: the objects of all `.yaml` and `.yml` files below it, in the
/// order in which Flux walks a directory, hidden files included. Lists are replaced by their items.
///
/// Every object has an `apiVersion`, a `kind` and a `metadata.name`, and no two share group, kind, namespace (as
/// written) and name. A directory without documents gives no objects; to accept that is up to the caller.
///
/// # Errors
/// When the path is no directory of the tree, or with all faults of all files.
pub fn build(tree: &FileTree, path: &str, options: &Options<'_>) -> Result<Vec<Object>, BuildError> {
    let Built { objects, faults } = build_partly(tree, path, options)?;
    Ok(Diagnostics::check(faults, objects)?)
}

/// What could be built, and what is wrong with the rest.
#[derive(Clone, Debug)]
pub struct Built {
    /// The objects of the documents that are whole. Not to be applied while there is a fault.
    pub objects: Vec<Object>,
    /// The faults of all others, in no order.
    pub faults: Vec<Diagnostic>,
}

/// As [`build`], but goes on after faults, so that a later step can tell its own beside them.
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
        return Err(BuildError::PathNotFound { path: path.to_owned() });
    }

    let directory::Content { files, mut faults } = directory::read(tree, &directory);
    let mut collector = objects::Collector::new(options.document_hook);
    for (file, content) in files {
        match yaml::parse(file, content) {
            Ok(documents) => documents.into_iter().for_each(|document| collector.document(document)),
            Err(wrong) => faults.extend(wrong.into_vec()),
        }
    }
    let (objects, wrong) = collector.finish();
    faults.extend(wrong);
    Ok(Built { objects, faults })
}

/// The objects as one YAML stream, in their order.
#[must_use]
pub fn to_yaml(objects: &[Object]) -> String {
    yaml::to_canonical_all(objects.iter().map(|object| &object.node))
}
