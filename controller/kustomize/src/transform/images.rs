//! `images`, and ImageTagTransformer.

use manifest::Diagnostic;
use manifest::yaml::{Node, Value};
use regex::Regex;

use super::{of_resource, scalar_text};
use crate::fieldspec::{FieldSpec, Make};
use crate::kustomization::Image;
use crate::limits::Budget;
use crate::resmap::ResMap;

/// Gives images another name, tag or digest, in two passes: first every `image` in a list that is called `containers`
/// or `initContainers`, wherever that is; then the fields of the specs. So a tag suffix is put on twice where both pass.
///
/// # Errors
/// When the name is no regular expression, which it is to kustomize; when a container is no mapping, or an image no
/// scalar.
pub(crate) fn image(
    resources: &mut ResMap,
    image: &Image,
    specs: &[FieldSpec],
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let pattern = format!("^{}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$", image.name);
    let pattern = budget.pattern(&pattern).map_err(|fault| {
        Diagnostic::general(format!(
            "the name of an image is a regular expression, and {:?} is none: {fault}",
            image.name
        ))
    })?;
    let updater = Updater { image, pattern, budget };
    let in_containers = FieldSpec::new("containers/image", false);
    for resource in resources.resources_mut() {
        if resource.kind() == "CustomResourceDefinition" {
            continue;
        }
        updater
            .update_containers(&mut resource.node, &in_containers)
            .and_then(|()| {
                specs.iter().try_for_each(|spec| {
                    spec.apply(&mut resource.node, Make::Nothing, budget, &mut |field| updater.update(field, spec))
                })
            })
            .map_err(|fault| of_resource(resource, fault))?;
    }
    Ok(())
}

struct Updater<'a> {
    image: &'a Image,
    pattern: Regex,
    budget: &'a Budget<'a>,
}

impl Updater<'_> {
    fn update_containers(&self, node: &mut Node, spec: &FieldSpec) -> Result<(), Diagnostic> {
        match &mut node.value {
            Value::Scalar(_) => Ok(()),
            Value::Sequence(items) => items.iter_mut().try_for_each(|item| self.update_containers(item, spec)),
            Value::Mapping(entries) => entries.iter_mut().try_for_each(|(key, value)| {
                self.update_containers(value, spec)?;
                match value.as_sequence_mut() {
                    Some(containers) if matches!(&*key.name, "containers" | "initContainers") => containers
                        .iter_mut()
                        .try_for_each(|container| self.update_container(container, &key.name, spec)),
                    _ => Ok(()),
                }
            }),
        }
    }

    fn update_container(&self, container: &mut Node, list: &str, spec: &FieldSpec) -> Result<(), Diagnostic> {
        if container.as_mapping().is_none() && !container.is_null() {
            let type_name = container.type_name();
            return Err(container.fault(format!(
                "an item of `{list}` is {type_name}, not a mapping: `images` looks for images in every list of that name"
            )));
        }
        let Some(field) = container.get_mut("image") else { return Ok(()) };
        self.budget.measured(field, &mut |field| self.update(field, spec))
    }

    fn update(&self, field: &mut Node, spec: &FieldSpec) -> Result<(), Diagnostic> {
        let old = scalar_text(field, spec)?;
        if self.pattern.is_match(old) {
            field.value = Node::string(self.updated(old)).value;
        }
        Ok(())
    }

    fn updated(&self, old: &str) -> String {
        let Image { new_name, new_tag, digest: new_digest, tag_suffix, .. } = self.image;
        let (name, tag, digest) = split(old);
        let name = if new_name.is_empty() { name } else { new_name };
        let (tag, digest) = match (new_tag.as_str(), new_digest.as_str()) {
            ("", "") if tag_suffix.is_empty() => (tag.to_owned(), digest),
            ("", "") => (format!("{tag}{tag_suffix}"), ""),
            // Either takes the place of both.
            (tag, digest) => (tag.to_owned(), digest),
        };
        let part = |mark: &str, text: &str| if text.is_empty() { String::new() } else { format!("{mark}{text}") };
        [name, &part(":", &tag), &part("@", digest)].concat()
    }
}

/// The name, the tag and the digest of an image; a port of the registry is no tag.
fn split(image: &str) -> (&str, &str, &str) {
    let path = image.find('/').unwrap_or(0);
    let after_domain = image.get(path..).unwrap_or_default();
    match (after_domain.find('@'), after_domain.find(':')) {
        (None, None) => (image, "", ""),
        (None, Some(tag)) => {
            let (name, tag) = cut(image, path + tag);
            (name, tag, "")
        }
        (Some(digest), Some(tag)) if tag < digest => {
            let (tagged, digest) = cut(image, path + digest);
            let (name, tag) = cut(tagged, path + tag);
            (name, tag, digest)
        }
        (Some(digest), _) => {
            let (name, digest) = cut(image, path + digest);
            (name, "", digest)
        }
    }
}

/// What is before and after the mark at a place.
fn cut(text: &str, at: usize) -> (&str, &str) {
    let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
    (before, after.get(1..).unwrap_or_default())
}
