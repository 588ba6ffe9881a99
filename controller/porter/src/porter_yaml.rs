//! `porter.yaml`, the manifest of a bundle: where it says the bundle is published.

use std::collections::HashMap;
use std::sync::Arc;

use manifest::yaml::{self, Node, ScalarKind};
use manifest::{Diagnostic, FileTree, Location};

use crate::reference;

const FILE_NAME: &str = "porter.yaml";

/// Whether a document is the manifest of a bundle: it lies in a `porter.yaml`, is no object, and has the bundle's name and
/// one of the fields that every manifest has.
pub(crate) fn is_bundle_manifest(node: &Node, file: &str) -> bool {
    if file.rsplit('/').next() != Some(FILE_NAME) || node.get("apiVersion").is_some() {
        return false;
    }
    match node.get("schemaType").and_then(Node::as_str) {
        Some(schema_type) => schema_type.eq_ignore_ascii_case("bundle"),
        None => node.get("name").is_some() && ["mixins", "install"].iter().any(|field| node.get(field).is_some()),
    }
}

/// The manifests of a tree, each read once.
pub(crate) struct Manifests<'a> {
    tree: &'a FileTree,
    read: HashMap<String, Result<Arc<Node>, Vec<Diagnostic>>>,
}

impl<'a> Manifests<'a> {
    pub(crate) fn new(tree: &'a FileTree) -> Self {
        Self { tree, read: HashMap::new() }
    }

    /// `spec.bundle` for a document of a file, from the nearest `porter.yaml` at or above it; `None` when there is none.
    pub(crate) fn bundle_for(&mut self, file: &str) -> Option<Result<Node, Vec<Diagnostic>>> {
        let path = self.nearest(file)?;
        let tree = self.tree;
        let read = self.read.entry(path.clone()).or_insert_with(|| read(tree, &path));
        Some(read.clone().and_then(|manifest| bundle(&manifest, &path).map_err(|fault| vec![fault])))
    }

    fn nearest(&self, file: &str) -> Option<String> {
        let mut directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
        loop {
            let path = if directory.is_empty() { FILE_NAME.to_owned() } else { format!("{directory}/{FILE_NAME}") };
            if self.tree.get(&path).is_some() {
                return Some(path);
            }
            if directory.is_empty() {
                return None;
            }
            directory = directory.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }
}

fn read(tree: &FileTree, path: &str) -> Result<Arc<Node>, Vec<Diagnostic>> {
    let content = tree.get(path).map(AsRef::as_ref).unwrap_or_default();
    let documents = yaml::parse(path, content).map_err(manifest::Diagnostics::into_vec)?;
    let first = documents.into_iter().next().map(|document| document.node);
    let manifest = first.filter(|node| node.as_mapping().is_some());
    let fault =
        || vec![fault(None, path, "this is no manifest of a bundle, which an Installation without spec.bundle needs")];
    manifest.map(Arc::new).ok_or_else(fault)
}

/// `reference` counts before `registry` and `name`; a tag in it before `version`.
fn bundle(manifest: &Node, path: &str) -> Result<Node, Diagnostic> {
    let text = |field: &str| {
        let node = manifest.get(field)?;
        let scalar = node.as_scalar().filter(|scalar| scalar.kind != ScalarKind::Null && !scalar.text.is_empty())?;
        Some((scalar.text.trim(), node))
    };
    let part = |text: &str, node: &Node| Node::string(text).with_location(node.at.clone());
    let (repository, tag) = if let Some((written, node)) = text("reference") {
        let (repository, tag, digest) = reference::split(written);
        if digest.is_some() {
            return Err(fault(
                Some(node),
                path,
                "reference names a digest, which the bundle does not have before it is published: give a repository and a tag",
            ));
        }
        (part(repository, node), tag.map(|tag| part(tag, node)))
    } else if let (Some((registry, node)), Some((name, _))) = (text("registry"), text("name")) {
        (part(&format!("{}/{name}", registry.trim_end_matches('/')), node), None)
    } else {
        return Err(fault(
            None,
            path,
            "an Installation takes its bundle from here, but there is neither a reference nor a registry and a name: add them, or write spec.bundle in the Installation",
        ));
    };
    let pick = match (tag, text("version")) {
        (Some(tag), _) => ("tag", tag),
        (None, Some((version, node))) => ("version", part(version.strip_prefix('v').unwrap_or(version), node)),
        (None, None) => {
            return Err(fault(
                None,
                path,
                "an Installation takes its bundle from here, but there is no version: add it, or write spec.bundle in the Installation",
            ));
        }
    };
    Ok(Node::mapping([("repository", repository), pick]).with_location(manifest.at.clone()))
}

fn fault(node: Option<&Node>, path: &str, message: &str) -> Diagnostic {
    let start = || Location { file: path.into(), line: 1, column: 1 };
    Diagnostic::at(node.and_then(|node| node.at.clone()).unwrap_or_else(start), message)
}
