//! Flux's layer: what a BundleSync, as Flux's Kustomization, lays over the kustomization of its path.
//!
//! The rules are those of Flux's `pkg/kustomize` generator (reference: kustomize-controller's
//! `spec.targetNamespace`, `namePrefix`, `nameSuffix`, `patches`, `components` and `images`).

use manifest::Diagnostic;

use crate::kustomization::{Image, Kustomization, Patch, Selector};
use crate::load::{Loader, is_remote};
use crate::read::{Entry, Given, Text};

/// Settings that are laid over the kustomization of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Takes the place of `namespace`.
    pub target_namespace: Option<String>,
    /// Takes the place of `namePrefix`.
    pub name_prefix: Option<String>,
    /// Takes the place of `nameSuffix`.
    pub name_suffix: Option<String>,
    /// Come after the patches of the file.
    pub patches: Vec<LayerPatch>,
    /// Come after the components of the file. Relative to the target.
    pub components: Vec<String>,
    /// Whether a component of the layer that does not exist is left out.
    pub ignore_missing_components: bool,
    /// Joined with the images of the file by their name.
    pub images: Vec<LayerImage>,
    /// Takes the place of `buildMetadata`.
    pub build_metadata: Option<Vec<String>>,
}

/// A patch, and what it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerPatch {
    /// A strategic merge patch or a list of JSON patch operations, as text.
    pub patch: String,
    /// The resources that it is for; a strategic merge patch may name its resource itself.
    pub target: Option<LayerTarget>,
}

/// The resources that a patch is for. Empty parts match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerTarget {
    /// API group, a regular expression that matches the whole; likewise the next four.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name, as it is or as it was written.
    pub name: String,
    /// Namespace, as it is or as it was written.
    pub namespace: String,
    /// A label selector.
    pub label_selector: String,
    /// A selector over annotations.
    pub annotation_selector: String,
}

/// What becomes of the images of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerImage {
    /// The name that is looked for.
    pub name: String,
    /// Takes its place, when it is not empty.
    pub new_name: String,
    /// Takes the place of the tag, when it is not empty.
    pub new_tag: String,
    /// Takes the place of the tag or digest, when it is not empty.
    pub digest: String,
}

fn given<T>(field: impl Into<String>, value: T) -> Given<T> {
    Given { value, entry: Entry { field: format!("spec.{}", field.into()), ..Entry::default() } }
}

/// Lays the settings over a kustomization.
///
/// # Errors
/// When a component is remote, absolute or outside of the source.
pub(crate) fn lay_over(target: &mut Kustomization, layer: &Layer, loader: &Loader<'_>) -> Result<(), Vec<Diagnostic>> {
    let text = |field: &str, value: &Option<String>| {
        value.as_ref().filter(|value| !value.is_empty()).map(|value| given(field, value.clone()))
    };
    target.namespace = text("targetNamespace", &layer.target_namespace).or(target.namespace.take());
    target.name_prefix = text("namePrefix", &layer.name_prefix).or(target.name_prefix.take());
    target.name_suffix = text("nameSuffix", &layer.name_suffix).or(target.name_suffix.take());
    for (index, patch) in layer.patches.iter().enumerate() {
        let field = format!("patches[{index}]");
        let selector = patch.target.as_ref().map(|target| {
            let value = Selector {
                group: target.group.clone(),
                version: target.version.clone(),
                kind: target.kind.clone(),
                name: target.name.clone(),
                namespace: target.namespace.clone(),
                label_selector: target.label_selector.clone(),
                annotation_selector: target.annotation_selector.clone(),
            };
            given(format!("{field}.target"), value)
        });
        let patch = Patch {
            patch: Some(given(format!("{field}.patch"), patch.patch.clone())).filter(|text| !text.value.is_empty()),
            target: selector,
            ..Patch::default()
        };
        target.patches.push(given(field, patch));
    }
    let mut faults = Vec::new();
    for (index, component) in layer.components.iter().enumerate() {
        let component: Text = given(format!("components[{index}]"), component.clone());
        if is_remote(&component.value) || component.value.starts_with('/') {
            faults.push(component.entry.fault("component path must be local and relative"));
            continue;
        }
        match loader.enter(&component) {
            Ok(_) => target.components.push(component),
            Err(_) if layer.ignore_missing_components && !loader.has_dir(&component.value) => {}
            Err(fault) => faults.push(fault),
        }
    }
    for (index, image) in layer.images.iter().enumerate() {
        lay_image(target, image, index);
    }
    if let Some(words) = &layer.build_metadata {
        let words = words.iter().enumerate();
        target.build_metadata =
            words.map(|(index, word)| given(format!("buildMetadata[{index}]"), word.clone())).collect();
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// A file without `resources` gets its objects marked with their origin: so Flux keeps kustomize from finding it empty.
pub(crate) fn mark_without_resources(target: &mut Kustomization) {
    if !target.is_generated && target.resources.is_empty() {
        target.build_metadata = vec![given("buildMetadata[0]", "originAnnotations".to_owned())];
    }
}

/// An image of the layer joins the first of the file with its name: the new name when it has one, the tag and the
/// digest as a unit.
fn lay_image(target: &mut Kustomization, image: &LayerImage, index: usize) {
    let LayerImage { name, new_name, new_tag, digest } = image.clone();
    match target.images.iter_mut().find(|there| there.value.name == name) {
        Some(there) => {
            if !new_name.is_empty() {
                there.value.new_name = new_name;
            }
            if !(new_tag.is_empty() && digest.is_empty()) {
                there.value.new_tag = new_tag;
                there.value.digest = digest;
            }
        }
        None => {
            let image = Image { name, new_name, new_tag, digest, tag_suffix: String::new() };
            target.images.push(given(format!("images[{index}]"), image));
        }
    }
}
