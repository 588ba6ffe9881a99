//! A directory without a kustomization: which files of it are manifests, as Flux generates a kustomization for it.

use std::sync::Arc;

use manifest::FileTree;

use crate::kustomization::{FILE_NAMES, Kustomization};
use crate::load::join;
use crate::read::{Entry, Given};

/// The kustomization that stands for a clean directory which has none: all its manifests, and the directories with a
/// kustomization at the top of their branch, in the order of a walk.
pub(crate) fn kustomization(tree: &FileTree, directory: &str) -> Kustomization {
    let relative = |path: &str| path.get(directory.len()..).unwrap_or(path).trim_start_matches('/').to_owned();
    let mut paths: Vec<String> = Vec::new();
    let mut overlay: Option<String> = None;
    // A walk goes by the names within each directory: `a/x` comes before `a.yaml`, unlike in the order of whole paths.
    let mut files: Vec<&str> = tree.files_under(directory).map(|(path, _)| path).collect();
    files.sort_by(|left, right| left.split('/').cmp(right.split('/')));
    for path in files {
        if overlay.as_ref().is_some_and(|overlay| path.starts_with(overlay.as_str())) {
            continue;
        }
        if let Some(top) = overlay_above(tree, directory, path) {
            paths.push(format!("./{}", relative(&top)));
            overlay = Some(format!("{top}/"));
        } else if is_manifest(path) {
            paths.push(format!("./{}", relative(path)));
        }
    }
    let resources = paths.into_iter().map(|value| Given { value, entry: Entry::default() });
    Kustomization {
        file: Arc::from(join(directory, FILE_NAMES[0])),
        resources: resources.collect(),
        is_generated: true,
        ..Kustomization::default()
    }
}

/// The outermost directory between a directory and a file in it that holds a kustomization.
fn overlay_above(tree: &FileTree, directory: &str, path: &str) -> Option<String> {
    let start = if directory.is_empty() { 0 } else { directory.len() + 1 };
    let within = path.get(start..)?;
    within
        .match_indices('/')
        .map(|(index, _)| path[..start + index].to_owned())
        .find(|parent| FILE_NAMES.iter().any(|name| tree.get(&join(parent, name)).is_some()))
}

/// Go's extension: what follows the last dot, so that `.yaml` alone counts too.
fn is_manifest(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml")
}
