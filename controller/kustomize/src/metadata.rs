//! `buildMetadata`: annotations that tell where an object came from and what changed it, and the label of the builder.

use std::fmt::Write as _;

use manifest::Diagnostic;
use manifest::yaml::Node;

use crate::kustomization::Kustomization;
use crate::limits::Budget;
use crate::load::Loader;
use crate::resmap::ResMap;
use crate::resource::{Resource, Step, mapping_at};

/// The option that notes each transformer.
pub(crate) const TRANSFORMERS: &str = "transformerAnnotations";

/// The version of kustomize that we do as.
const VERSION: &str = "v5.8.1";

/// Adds what the target asks for to each resource.
///
/// # Errors
/// When all of it is too much.
pub(crate) fn add(
    resources: &mut ResMap,
    target: &Kustomization,
    loader: &Loader<'_>,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let asked = |word: &str| target.build_metadata.iter().any(|given| given.value == word);
    let (origins, transformers) = (asked("originAnnotations"), asked(TRANSFORMERS));
    let managed_by = asked("managedByLabel");
    if !(origins || transformers || managed_by) {
        return Ok(());
    }
    let root = loader.target();
    for resource in resources.resources_mut() {
        let origin = origins.then(|| origin(resource, root));
        let passed = (transformers && !resource.passed.is_empty()).then(|| {
            resource.passed.iter().try_fold(String::new(), |text, (step, _)| {
                let block = listed(&configured(step, root));
                budget.work(1).and_then(|()| budget.grow(0, block.len()))?;
                Ok(text + &block)
            })
        });
        let passed = passed.transpose().map_err(|message: String| resource.fault(message))?;
        let origin_size = origin.as_ref().map_or(0, String::len);
        budget.grow(0, origin_size).map_err(|message| resource.fault(message))?;
        let metadata = mapping_at(&mut resource.node, "metadata");
        let mut annotate = |key: &str, text: Option<String>| {
            if let Some(text) = text {
                mapping_at(metadata, "annotations").set(key, Node::string(text));
            }
        };
        annotate("config.kubernetes.io/origin", origin);
        annotate("alpha.config.kubernetes.io/transformations", passed);
        if managed_by {
            mapping_at(metadata, "labels")
                .set("app.kubernetes.io/managed-by", Node::string(format!("kustomize-{VERSION}")));
        }
    }
    Ok(())
}

fn origin(resource: &Resource, root: &str) -> String {
    match &resource.generator {
        Some(step) => configured(step, root),
        None => format!("path: {}\n", relative(root, &resource.origin.file)),
    }
}

fn configured(step: &Step, root: &str) -> String {
    let mut text = format!("configuredIn: {}\nconfiguredBy:\n", relative(root, &step.file));
    let plugin = &step.plugin;
    for (key, value) in [
        ("apiVersion", &plugin.api_version),
        ("kind", &plugin.kind),
        ("name", &plugin.name),
        ("namespace", &plugin.namespace),
    ] {
        if !value.is_empty() {
            let _ = writeln!(text, "  {key}: {value}");
        }
    }
    text
}

/// A block as the item of a list.
fn listed(block: &str) -> String {
    block.lines().enumerate().fold(String::new(), |mut text, (index, line)| {
        let _ = writeln!(text, "{}{line}", if index == 0 { "- " } else { "  " });
        text
    })
}

/// A path of the tree as it is seen from a directory of it.
fn relative(directory: &str, path: &str) -> String {
    let mut from = directory.split('/').filter(|part| !part.is_empty()).peekable();
    let mut to = path.split('/').peekable();
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    let up = from.map(|_| "..");
    up.chain(to).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_from_the_target() {
        for (directory, path, expected) in [
            ("", "a/b.yaml", "a/b.yaml"),
            ("a", "a/b.yaml", "b.yaml"),
            ("overlays/prod", "base/x.yaml", "../../base/x.yaml"),
            ("overlays/prod", "overlays/base/x.yaml", "../base/x.yaml"),
        ] {
            assert_eq!(relative(directory, path), expected);
        }
    }
}
