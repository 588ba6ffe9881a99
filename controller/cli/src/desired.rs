//! Files to what is desired: the steps that every command shares.

use kustomize::Built;
use manifest::{Diagnostic, Diagnostics, FileTree, Object};
use porter::Desired;

/// The objects of a directory of a source, Porter's own documents among them.
///
/// # Errors
/// Everything that is wrong in its files.
pub(crate) fn build(tree: &FileTree, path: &str) -> Result<Vec<Object>, Diagnostics> {
    let Built { objects, faults } = partly(tree, path)?;
    Diagnostics::check(faults, objects)
}

/// What a directory of a source asks for.
///
/// # Errors
/// Everything that is wrong in its files, and in what they say.
pub(crate) fn desired(tree: &FileTree, path: &str, default_namespace: &str) -> Result<Desired, Diagnostics> {
    let Built { objects, faults } = partly(tree, path)?;
    Diagnostics::join(faults, porter::interpret(&objects, &porter::Context { default_namespace, tree }))
}

fn partly(tree: &FileTree, path: &str) -> Result<Built, Diagnostics> {
    let options = kustomize::Options { document_hook: Some(&porter::document_hook) };
    kustomize::build_partly(tree, path, &options).map_err(|error| match error {
        kustomize::BuildError::Invalid(faults) => faults,
        missing @ kustomize::BuildError::PathNotFound { .. } => Diagnostic::general(missing.to_string()).into(),
    })
}
