//! Files to what is desired: the steps that every command shares.

use kustomize::{BuildError, Built, Options};
use manifest::{Diagnostic, Diagnostics, FileTree};
use porter::Desired;

/// What a directory of a source builds to, Porter's own documents among its resources.
///
/// # Errors
/// Everything that is wrong in its files.
pub(crate) fn build(tree: &FileTree, path: &str, options: &Options<'_>) -> Result<Built, Diagnostics> {
    let mut built = partly(tree, path, options)?;
    let faults = std::mem::take(&mut built.faults);
    Diagnostics::check(faults, built)
}

/// What a directory of a source asks for.
///
/// # Errors
/// Everything that is wrong in its files, and in what they say.
pub(crate) fn desired(tree: &FileTree, path: &str, default_namespace: &str) -> Result<Desired, Diagnostics> {
    let Built { objects, faults, .. } = partly(tree, path, &Options::default())?;
    Diagnostics::join(faults, porter::interpret(&objects, &porter::Context { default_namespace, tree }))
}

fn partly(tree: &FileTree, path: &str, options: &Options<'_>) -> Result<Built, Diagnostics> {
    let options = Options { document_hook: Some(&porter::document_hook), ..*options };
    kustomize::build_partly(tree, path, &options).map_err(|error| match error {
        BuildError::Invalid(faults) => faults,
        missing @ BuildError::PathNotFound { .. } => Diagnostic::general(missing.to_string()).into(),
    })
}
