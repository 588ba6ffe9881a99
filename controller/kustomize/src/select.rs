//! [`Matcher`]: which resources a selector is about, and [`LabelSelector`], Kubernetes' own language for labels.
//!
//! Invariant: a pattern is compiled once, and a pattern without special characters is compared without an expression.

mod labels;

use regex::Regex;

use manifest::Diagnostic;
use manifest::yaml::Node;

use crate::id;
use crate::kustomization::Selector;
use crate::limits::Budget;
use crate::read::Given;
use crate::resource::Resource;
use crate::schema::Schemas;
use labels::LabelSelector;

/// A selector, compiled.
#[derive(Debug)]
pub(crate) struct Matcher {
    group: Pattern,
    version: Pattern,
    kind: Pattern,
    name: Pattern,
    namespace: Pattern,
    labels: LabelSelector,
    annotations: LabelSelector,
}

/// A regular expression of Go that has to match the whole text.
#[derive(Debug)]
enum Pattern {
    Any,
    Literal(String),
    Regex(Regex),
}

impl Pattern {
    fn new(text: &str, budget: &Budget<'_>) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Any);
        }
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/')) {
            return Ok(Self::Literal(text.to_owned()));
        }
        budget.pattern(&format!("^(?:{text})$")).map(Self::Regex)
    }

    fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(literal) => literal == text,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl Matcher {
    /// # Errors
    /// When a part is no regular expression, or a selector of labels or annotations none.
    pub(crate) fn new(selector: &Given<Selector>, budget: &Budget<'_>) -> Result<Self, Diagnostic> {
        let Given { value, entry } = selector;
        let pattern = |field: &str, text: &str| {
            Pattern::new(text, budget)
                .map_err(|error| entry.fault(format!("`{field}` {text:?} is no regular expression: {error}")))
        };
        let labels = |field: &str, text: &str| {
            LabelSelector::parse(text)
                .map_err(|error| entry.fault(format!("`{field}` {text:?} is no label selector: {error}")))
        };
        Ok(Self {
            group: pattern("group", &value.group)?,
            version: pattern("version", &value.version)?,
            kind: pattern("kind", &value.kind)?,
            name: pattern("name", &value.name)?,
            namespace: pattern("namespace", &value.namespace)?,
            labels: labels("labelSelector", &value.label_selector)?,
            annotations: labels("annotationSelector", &value.annotation_selector)?,
        })
    }

    /// Whether a patch with this target is for the resource. Name and namespace may be those that it was loaded with or
    /// those that it has, each on its own; no namespace is `default`.
    pub(crate) fn matches(&self, resource: &Resource, schemas: &Schemas) -> bool {
        self.matches_kind(resource, resource.kind())
            && self.matches_name(resource)
            && self.matches_namespace(resource, schemas)
            && self.matches_labels(resource)
    }

    /// The one name that the resources have or had, when it is written out.
    pub(crate) fn literal_name(&self) -> Option<&str> {
        match &self.name {
            Pattern::Literal(name) => Some(name),
            Pattern::Any | Pattern::Regex(_) => None,
        }
    }

    fn matches_name(&self, resource: &Resource) -> bool {
        let original = resource.previous.first();
        self.name.is_any()
            || self.name.matches(resource.name())
            || original.is_some_and(|original| self.name.matches(&original.name))
    }

    fn matches_namespace(&self, resource: &Resource, schemas: &Schemas) -> bool {
        let original = resource.previous.first();
        self.namespace.is_any()
            || self.namespace.matches(resource.current_id(schemas).namespace.as_str())
            || original.is_some_and(|original| self.namespace.matches(original.namespace.as_str()))
    }

    /// Whether one of the ids that the resource has or had is selected as a whole, as the targets of replacements are.
    /// The namespace of the present one is compared as it is written, so that none is not `default`.
    pub(crate) fn matches_any_id(&self, resource: &Resource) -> bool {
        let id = |kind: &str, name: &str, namespace: &str| {
            self.name.matches(name) && self.namespace.matches(namespace) && self.matches_kind(resource, kind)
        };
        id(resource.kind(), resource.name(), resource.namespace())
            || resource.previous.iter().any(|previous| id(&previous.kind, &previous.name, previous.namespace.as_str()))
    }

    /// Whether there is no condition but on labels and annotations.
    pub(crate) fn has_any_id(&self) -> bool {
        [&self.group, &self.version, &self.kind, &self.name, &self.namespace].into_iter().all(Pattern::is_any)
    }

    /// Whether there is no condition on labels and annotations.
    pub(crate) fn has_any_labels(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }

    pub(crate) fn matches_labels(&self, resource: &Resource) -> bool {
        let field = |field: &str| resource.node.at_path(&["metadata", field]);
        (self.labels.is_empty() || self.labels.matches(field("labels")))
            && (self.annotations.is_empty() || self.annotations.matches(field("annotations")))
    }

    fn matches_kind(&self, resource: &Resource, kind: &str) -> bool {
        if !self.kind.matches(kind) {
            return false;
        }
        if self.group.is_any() && self.version.is_any() {
            return true;
        }
        let (group, version) =
            id::split_api_version(resource.node.get("apiVersion").and_then(Node::as_str).unwrap_or_default());
        self.group.matches(group) && self.version.matches(version)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use manifest::Origin;
    use manifest::yaml::{self, Dialect};

    use super::*;
    use crate::limits::Limits;
    use crate::read::{Entry, Read};

    fn resource(text: &str) -> Resource {
        let node = yaml::parse("r.yaml", text.as_bytes()).unwrap().remove(0).node;
        Resource::new(node, Origin { file: Arc::from("r.yaml"), line: 1, document: 0 })
    }

    fn matcher(text: &str) -> Result<Matcher, Diagnostic> {
        let node =
            yaml::parse_as(Dialect::Kustomization, "kustomization.yaml", text.as_bytes()).unwrap().remove(0).node;
        let mut faults = Vec::new();
        let entry = Entry::new("target", &node);
        Matcher::new(
            &Given::<Selector>::read(&node, &entry, &mut faults).expect("a selector"),
            &Budget::new(&Limits::default(), None),
        )
    }

    /// The resource was `old` in `first`, then `between` in `second`, and is `new` in `third`.
    fn renamed() -> Resource {
        let mut resource = resource("{apiVersion: apps/v1, kind: Deployment, metadata: {name: old, namespace: first}}");
        let schemas = Schemas::builtin();
        for (name, namespace) in [("between", "second"), ("new", "third")] {
            resource.store_previous_id(&schemas);
            resource.set_name(name);
            resource.set_namespace(namespace);
        }
        resource
    }

    #[test]
    fn a_target_is_matched_by_what_a_resource_was_loaded_as_and_what_it_is() {
        let rows = [
            ("{kind: Deployment}", true),
            ("{kind: Deploy}", false),
            ("{kind: Deploy.*}", true),
            ("{kind: Job|Deployment}", true),
            ("{group: apps}", true),
            ("{version: v1}", true),
            ("{version: v}", false),
            ("{group: a.ps, version: 'v[12]'}", true),
            ("{name: old}", true),
            ("{name: new}", true),
            ("{name: between}", false),
            ("{name: '(?i)OLD'}", true),
            ("{name: '^old$'}", true),
            ("{name: old, namespace: third}", true),
            ("{namespace: first}", true),
            ("{namespace: second}", false),
            ("{namespace: third}", true),
        ];
        for (text, expected) in rows {
            assert_eq!(matcher(text).unwrap().matches(&renamed(), &Schemas::builtin()), expected, "{text}");
        }
    }

    #[test]
    fn the_target_of_a_replacement_is_matched_by_one_id_as_a_whole() {
        let rows = [
            ("{name: between}", true),
            ("{name: between, namespace: second}", true),
            ("{name: old, namespace: third}", false),
            ("{name: new, namespace: third}", true),
            ("{kind: Deployment, group: apps}", true),
            ("{group: batch}", false),
        ];
        for (text, expected) in rows {
            assert_eq!(matcher(text).unwrap().matches_any_id(&renamed()), expected, "{text}");
        }
    }

    #[test]
    fn no_namespace_is_default_for_patches_and_none_for_replacements() {
        let schemas = Schemas::builtin();
        let namespaced = resource("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}");
        let cluster = resource("{apiVersion: v1, kind: Namespace, metadata: {name: a}}");
        let default = matcher("{namespace: default}").unwrap();
        assert!(default.matches(&namespaced, &schemas));
        assert!(!default.matches(&cluster, &schemas));
        assert!(!default.matches_any_id(&namespaced));
    }

    #[test]
    fn labels_and_annotations_count_as_they_are_now() {
        let resource = resource(
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {app: web, n: 5, e: ''}, annotations: {k: v}}}",
        );
        let rows = [
            ("{labelSelector: app=web}", true),
            ("{labelSelector: app=api}", false),
            ("{labelSelector: 'n=5'}", true),
            ("{labelSelector: 'n>4,n<6'}", true),
            ("{labelSelector: '!missing'}", true),
            ("{labelSelector: 'app in (api, web)', annotationSelector: k}", true),
            ("{labelSelector: app, annotationSelector: k!=v}", false),
            ("{}", true),
        ];
        for (text, expected) in rows {
            assert_eq!(matcher(text).unwrap().matches(&resource, &Schemas::builtin()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_at_its_entry() {
        let rows = [
            ("{name: '*a'}", "kustomization.yaml:1:1: target: `name` \"*a\" is no regular expression: "),
            (
                "{labelSelector: a==b==c}",
                "kustomization.yaml:1:1: target: `labelSelector` \"a==b==c\" is no label selector: ",
            ),
        ];
        for (text, expected) in rows {
            let fault = matcher(text).unwrap_err().to_string();
            assert!(fault.starts_with(expected), "{fault}");
        }
    }
}
