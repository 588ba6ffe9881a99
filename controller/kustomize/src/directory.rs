//! Which files of a directory are manifests.

use std::collections::BTreeMap;
use std::sync::Arc;

use manifest::{Diagnostic, FileTree, Location};

/// The names by which Kustomize knows its own file.
const KUSTOMIZATION_FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The manifests below a directory.
pub(crate) struct Content<'a> {
    /// Paths and bytes, in the order of a walk.
    pub(crate) files: Vec<(&'a str, &'a [u8])>,
    /// One for each kustomization at the top of its branch.
    pub(crate) faults: Vec<Diagnostic>,
}

/// Walks a clean directory. What lies below a kustomization belongs to that, and is left out.
pub(crate) fn read<'a>(tree: &'a FileTree, directory: &str) -> Content<'a> {
    let overlays = overlays(tree, directory);
    let in_overlay = |path: &str| ancestors(path).any(|parent| overlays.contains_key(parent));
    let mut files: Vec<(&str, &[u8])> = tree
        .files_under(directory)
        .filter(|(path, _)| is_manifest(path) && !in_overlay(path))
        .map(|(path, content)| (path, content.as_ref()))
        .collect();
    // A walk goes by the names within each directory: `a/x` comes before `a.yaml`, unlike in the order of whole paths.
    files.sort_by(|(left, _), (right, _)| left.split('/').cmp(right.split('/')));
    let faults = overlays
        .iter()
        .filter(|(parent, _)| !parent.is_empty() || directory.is_empty())
        .filter(|(parent, _)| !ancestors(parent).any(|above| overlays.contains_key(above)))
        .map(|(_, file)| {
            let at = Location { file: Arc::from(*file), line: 1, column: 1 };
            Diagnostic::at(at, "Kustomize overlays are not built yet: remove this file, or name a path without one")
        })
        .collect();
    Content { files, faults }
}

/// The directories at or below a directory that hold a kustomization, with its file.
fn overlays<'a>(tree: &'a FileTree, directory: &str) -> BTreeMap<&'a str, &'a str> {
    tree.files_under(directory)
        .filter_map(|(path, _)| {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            KUSTOMIZATION_FILES.contains(&name).then_some((parent, path))
        })
        .collect()
}

/// The directories that a path lies in, the root as the empty string; none for the root itself.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let root = (!path.is_empty()).then_some("");
    root.into_iter().chain(path.match_indices('/').map(|(index, _)| &path[..index]))
}

/// Go's extension: what follows the last dot, so that `.yaml` alone counts too.
fn is_manifest(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml")
}
