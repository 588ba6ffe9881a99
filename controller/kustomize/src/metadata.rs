//! `buildMetadata`: annotations that tell where an object came from and what changed it, and the label of the builder.

use std::fmt::Write as _;
use std::sync::Arc;

use manifest::Diagnostic;
use manifest::yaml::Node;

use crate::kustomization::Kustomization;
use crate::limits::Budget;
use crate::load::Loader;
use crate::resmap::ResMap;
use crate::resource::{Resource, Step, mapping_at};

/// The option that tells where an object came from.
const ORIGINS: &str = "originAnnotations";

/// The option that tells each transformer.
const TRANSFORMERS: &str = "transformerAnnotations";

/// The version of kustomize that we do as.
const VERSION: &str = "v5.8.1";

/// What kustomize notes on a resource while it builds. It does so in the resource's annotations: when these are taken away,
/// its notes are too, and the next transformer is taken for the origin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    origin: Origin,
    transformers: Vec<Arc<Step>>,
}

#[derive(Clone, Debug, Default)]
enum Origin {
    /// What the resource itself says.
    #[default]
    Own,
    Lost,
    Step(Arc<Step>),
}

impl Notes {
    /// The notes that a build needs for what its target asks for; none when it asks for none.
    pub(crate) fn asked_by(target: &Kustomization) -> Option<Self> {
        (asks(target, ORIGINS) || asks(target, TRANSFORMERS)).then(Self::default)
    }

    /// That a transformer has seen the resource.
    pub(crate) fn pass(&mut self, step: &Arc<Step>) {
        match self.origin {
            Origin::Lost => self.origin = Origin::Step(step.clone()),
            Origin::Own | Origin::Step(_) => self.transformers.push(step.clone()),
        }
    }

    /// All annotations are taken away.
    pub(crate) fn lose(&mut self) {
        *self = Self { origin: Origin::Lost, transformers: Vec::new() };
    }

    /// Of what a generator puts in the place of the resource.
    pub(crate) fn replaced(&self) -> Self {
        Self { origin: Origin::Own, transformers: self.transformers.clone() }
    }

    /// Of what a generator makes of the resource.
    pub(crate) fn merged(&self, generator: Option<&Arc<Step>>) -> Self {
        let origin = match (&self.origin, generator) {
            (Origin::Lost, Some(generator)) => Origin::Step(generator.clone()),
            (origin, _) => origin.clone(),
        };
        Self { origin, transformers: self.transformers.clone() }
    }
}

fn asks(target: &Kustomization, word: &str) -> bool {
    target.build_metadata.iter().any(|given| given.value == word)
}

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
    let (origins, transformers) = (asks(target, ORIGINS), asks(target, TRANSFORMERS));
    let managed_by = asks(target, "managedByLabel");
    if !(origins || transformers || managed_by) {
        return Ok(());
    }
    let root = loader.target();
    for resource in resources.resources_mut() {
        let notes = resource.notes.take().unwrap_or_default();
        let origin = if origins { origin(resource, &notes, root) } else { None };
        let passed = (transformers && !notes.transformers.is_empty()).then(|| {
            notes.transformers.iter().try_fold(String::new(), |text, step| {
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

fn origin(resource: &Resource, notes: &Notes, root: &str) -> Option<String> {
    let step = match &notes.origin {
        Origin::Own => resource.generator.as_ref(),
        Origin::Step(step) => Some(step),
        Origin::Lost => return None,
    };
    Some(match step {
        Some(step) => configured(step, root),
        None => format!("path: {}\n", relative(root, &resource.origin.file)),
    })
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
