//! What a BundleSync asks for, of the files of its artifact: Kustomize with Flux's layer, post-build substitution, common
//! metadata, interpretation.
//!
//! Guarantees: the result follows from the files and the [`Recipe`] alone, so it may be remembered with them; nothing is
//! desired while anything is wrong, and all that is wrong is told, as far as one step can go on without another; no fault
//! holds the value of a Secret that variables come from.

use std::sync::atomic::{AtomicBool, Ordering};

use api::BundleSync;
use api::build::{BuildMetadata, CommonMetadata, SubstituteStrategy};
use kube::ResourceExt;
use kustomize::{Built, Layer, LayerImage, LayerPatch, LayerTarget, Rules, Strategy, Substitution};
use manifest::yaml::Node;
use manifest::{Diagnostic, Diagnostics, FileTree, Object};
use porter::Desired;

use crate::variables::Given;

/// Everything but the files that a build depends on.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipe {
    path: String,
    namespace: String,
    layer: Layer,
    common_metadata: CommonMetadata,
    strategy: Strategy,
    strict: bool,
    given: Given,
}

/// Why nothing is desired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The source has no such directory.
    #[error("{0}")]
    PathNotFound(String),
    /// There is nothing in it.
    #[error("no document under path {0:?}: an empty build is refused, so that a mistake removes nothing")]
    Empty(String),
    /// Faults of the files, the variables, or the sync.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

impl Recipe {
    /// What a sync asks for. With `strict` a variable without value and default is a fault.
    pub fn of(sync: &BundleSync, given: Given, strict: bool) -> Self {
        let spec = &sync.spec;
        let strategy = spec.post_build.as_ref().and_then(|post_build| post_build.substitute_strategy);
        Self {
            path: spec.path.clone().unwrap_or_default(),
            namespace: sync.namespace().unwrap_or_default(),
            layer: layer(sync),
            common_metadata: spec.common_metadata.clone().unwrap_or_default(),
            strategy: match strategy.unwrap_or_default() {
                SubstituteStrategy::WithVariables => Strategy::WithVariables,
                SubstituteStrategy::Always => Strategy::Always,
            },
            strict,
            given,
        }
    }

    /// The directory that is built.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The text without the values of Secrets.
    pub fn hide(&self, text: &str) -> String {
        self.given.hide(text)
    }
}

fn layer(sync: &BundleSync) -> Layer {
    let spec = &sync.spec;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let target = |target: &api::build::Selector| LayerTarget {
        group: text(&target.group),
        version: text(&target.version),
        kind: text(&target.kind),
        name: text(&target.name),
        namespace: text(&target.namespace),
        label_selector: text(&target.label_selector),
        annotation_selector: text(&target.annotation_selector),
    };
    let word = |word: &BuildMetadata| match word {
        BuildMetadata::OriginAnnotations => "originAnnotations".to_owned(),
        BuildMetadata::TransformerAnnotations => "transformerAnnotations".to_owned(),
    };
    Layer {
        target_namespace: spec.target_namespace.clone(),
        name_prefix: spec.name_prefix.clone(),
        name_suffix: spec.name_suffix.clone(),
        patches: (spec.patches.iter())
            .map(|patch| LayerPatch { patch: patch.patch.clone(), target: patch.target.as_ref().map(target) })
            .collect(),
        components: spec.components.clone(),
        ignore_missing_components: spec.ignore_missing_components.unwrap_or_default(),
        images: (spec.images.iter())
            .map(|image| LayerImage {
                name: image.name.clone(),
                new_name: text(&image.new_name),
                new_tag: text(&image.new_tag),
                digest: text(&image.digest),
            })
            .collect(),
        build_metadata: (!spec.build_metadata.is_empty()).then(|| spec.build_metadata.iter().map(word).collect()),
    }
}

/// Files to what they ask for. Takes long: not for a thread that others wait for. Ends early, with a fault, when it was
/// given up.
///
/// # Errors
/// [`BuildError`].
pub fn build(tree: &FileTree, recipe: &Recipe, given_up: &AtomicBool) -> Result<Desired, BuildError> {
    let cancelled = || given_up.load(Ordering::Relaxed);
    let options = kustomize::Options {
        document_hook: Some(&porter::document_hook),
        rules: Rules::Flux,
        layer: Some(&recipe.layer),
        cancelled: Some(&cancelled),
        ..kustomize::Options::default()
    };
    let Built { objects, faults, warnings, .. } =
        kustomize::build_partly(tree, &recipe.path, &options).map_err(|error| match error {
            missing @ kustomize::BuildError::PathNotFound { .. } => BuildError::PathNotFound(missing.to_string()),
            kustomize::BuildError::Invalid(faults) => BuildError::Invalid(faults),
        })?;
    for warning in &warnings {
        tracing::debug!(namespace = recipe.namespace, path = recipe.path, %warning, "build");
    }
    if objects.is_empty() && faults.is_empty() {
        return Err(BuildError::Empty(recipe.path.clone()));
    }
    finish(tree, recipe, objects, faults)
        .map_err(|faults| BuildError::Invalid(faults.map_messages(|message| recipe.hide(message))))
}

/// From the built objects on. `faults` are those of the build.
fn finish(
    tree: &FileTree,
    recipe: &Recipe,
    objects: Vec<Object>,
    mut faults: Vec<Diagnostic>,
) -> Result<Desired, Diagnostics> {
    let Recipe { common_metadata, given, .. } = recipe;
    let common = porter::common_metadata_faults(&common_metadata.labels, &common_metadata.annotations);
    let common_is_whole = common.is_empty();
    faults.extend(common.into_iter().map(|fault| Diagnostic::general(format!("spec.commonMetadata: {fault}"))));
    // Without its variables nothing can be said of an object.
    if !given.faults.is_empty() {
        faults.extend(given.faults.iter().cloned());
        return Diagnostics::check(faults, Desired::default());
    }
    let substitution = Substitution { variables: &given.variables, strict: recipe.strict, strategy: recipe.strategy };
    let mut objects = match kustomize::substitute(objects, &substitution) {
        Ok(objects) => objects,
        Err(wrong) => return Diagnostics::join(faults, Err(wrong)),
    };
    if common_is_whole {
        objects.iter_mut().for_each(|object| mark(object, common_metadata));
    }
    let context = porter::Context { default_namespace: &recipe.namespace, tree };
    Diagnostics::join(faults, porter::interpret(&objects, &context))
}

/// Puts the common metadata on an object, over its own. What is no mapping there is left for interpretation to refuse.
fn mark(object: &mut Object, common: &CommonMetadata) {
    for (field, entries) in [("labels", &common.labels), ("annotations", &common.annotations)] {
        if entries.is_empty() {
            continue;
        }
        let Some(metadata) = object.node.get_mut("metadata").filter(|node| node.as_mapping().is_some()) else { return };
        if metadata.get(field).is_none_or(Node::is_null) {
            metadata.set(field, Node::mapping::<&str>([]));
        }
        if let Some(marked) = metadata.get_mut(field).filter(|node| node.as_mapping().is_some()) {
            entries.iter().for_each(|(key, value)| marked.set(key, Node::string(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    /// An object, a place in it, and what is there.
    type Seen = (&'static str, &'static str, Value);

    const FILES: [(&str, &str); 6] = [
        ("base/kustomization.yaml", "resources: [db.yaml, notes.yaml]\n"),
        (
            "base/db.yaml",
            "apiVersion: getporter.org/v1\nkind: Installation\nmetadata:\n  name: db\n  labels: {team: a, env: none}\nspec:\n  schemaVersion: 1.0.2\n  bundle: {repository: example.test/db, version: 0.1.0}\n  parameters:\n    region: ${region:=us}\n    size: ${size:=1}\n",
        ),
        (
            "base/notes.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: notes\n  annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}\ndata: {text: '${region}'}\n",
        ),
        (
            "parts/tls/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n- patch: '- {op: add, path: /spec/parameters/tls, value: true}'\n  target: {kind: Installation}\n",
        ),
        ("plain/pod.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: image}\ndata: {a: b}\n"),
        ("empty/kustomization.yaml", "resources: []\n"),
    ];

    fn desired(spec: &Value, given: Given) -> Result<Desired, BuildError> {
        let mut whole =
            json!({"sourceRef": {"kind": "Bucket", "name": "b"}, "interval": "1m", "prune": true, "path": "base"});
        for (field, value) in spec.as_object().into_iter().flatten() {
            whole[field] = value.clone();
        }
        let sync = json!({"metadata": {"name": "fleet", "namespace": "apps"}, "spec": whole});
        let sync: BundleSync = serde_json::from_value(sync).expect("a BundleSync");
        let mut tree = FileTree::new();
        for (path, content) in FILES {
            tree.insert(path, content).expect("a path");
        }
        build(&tree, &Recipe::of(&sync, given, true), &AtomicBool::new(false))
    }

    fn inline(spec: &Value) -> Given {
        let substitute = spec.pointer("/postBuild/substitute").and_then(Value::as_object).cloned().unwrap_or_default();
        let texts = substitute.into_iter().map(|(key, value)| (key, value.as_str().expect("text").to_owned()));
        let mut given = Given::default();
        given.variables.merge(texts).expect("names");
        given
    }

    /// The objects by their names.
    fn objects(desired: &Desired) -> BTreeMap<String, Value> {
        let installations = desired.installations.iter().map(|installation| {
            let body = json!({
                "metadata": {
                    "namespace": installation.id.kube_namespace,
                    "labels": installation.labels,
                    "annotations": installation.annotations,
                },
                "spec": installation.spec,
            });
            (installation.object_name.clone(), body)
        });
        let others = desired.sets.iter().chain(&desired.objects);
        installations.chain(others.map(|object| (object.id.name.clone(), object.body.clone()))).collect()
    }

    #[test]
    fn each_field_does_what_it_says() {
        let cases: [(Value, &[Seen]); 12] = [
            (
                json!({}),
                &[
                    ("db", "/metadata/namespace", json!("apps")),
                    ("db", "/spec/name", json!("db")),
                    // No variable is given.
                    ("db", "/spec/parameters/region", json!("${region:=us}")),
                ],
            ),
            (
                json!({"targetNamespace": "prod", "namePrefix": "eu-", "nameSuffix": "-2"}),
                &[
                    ("eu-db-2", "/metadata/namespace", json!("prod")),
                    ("eu-db-2", "/spec/name", json!("eu-db-2")),
                    ("eu-db-2", "/spec/namespace", json!("prod")),
                    ("eu-notes-2", "/metadata/namespace", json!("prod")),
                ],
            ),
            (
                json!({"patches": [{
                    "patch": "- {op: replace, path: /spec/bundle/version, value: 0.2.0}",
                    "target": {"kind": "Installation", "name": "d.", "labelSelector": "team=a"},
                }]}),
                &[("db", "/spec/bundle/version", json!("0.2.0"))],
            ),
            (
                json!({"patches": [{
                    "patch": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {more: x}\n",
                }]}),
                &[("notes", "/data/more", json!("x")), ("notes", "/data/text", json!("${region}"))],
            ),
            (
                json!({"components": ["../parts/tls", "../parts/none"], "ignoreMissingComponents": true}),
                &[("db", "/spec/parameters/tls", json!(true))],
            ),
            (
                json!({"buildMetadata": ["originAnnotations"]}),
                &[("db", "/metadata/annotations/config.kubernetes.io~1origin", json!("path: db.yaml\n"))],
            ),
            (
                json!({"commonMetadata": {"labels": {"env": "prod"}, "annotations": {"who": "us"}}}),
                &[
                    ("db", "/metadata/labels", json!({"team": "a", "env": "prod"})),
                    ("db", "/metadata/annotations", json!({"who": "us"})),
                    ("notes", "/metadata/labels", json!({"env": "prod"})),
                    ("notes", "/metadata/annotations/who", json!("us")),
                ],
            ),
            (
                json!({"postBuild": {"substitute": {"region": "eu"}}}),
                &[
                    ("db", "/spec/parameters/region", json!("eu")),
                    ("db", "/spec/parameters/size", json!(1)),
                    ("notes", "/data/text", json!("${region}")),
                ],
            ),
            (
                json!({"postBuild": {"substituteStrategy": "Always"}}),
                &[("db", "/spec/parameters/region", json!("us")), ("db", "/spec/parameters/size", json!(1))],
            ),
            // Substitution sees what the layer made, and does not see the common metadata.
            (
                json!({
                    "path": "plain",
                    "namePrefix": "${region}-",
                    "commonMetadata": {"annotations": {"who": "${region}"}},
                    "postBuild": {"substitute": {"region": "eu"}},
                }),
                &[("eu-image", "/metadata/annotations/who", json!("${region}"))],
            ),
            // An installation names no image where kustomize looks for one.
            (
                json!({"images": [{"name": "example.test/db", "newTag": "9"}]}),
                &[("db", "/spec/bundle/repository", json!("example.test/db"))],
            ),
            (json!({"path": "./plain/"}), &[("image", "/data/a", json!("b"))]),
        ];
        for (spec, expected) in cases {
            let built = desired(&spec, inline(&spec)).unwrap_or_else(|error| panic!("{spec}: {error}"));
            let objects = objects(&built);
            for (name, place, value) in expected {
                let object = objects.get(*name).unwrap_or_else(|| panic!("{spec}: {name} of {:?}", objects.keys()));
                assert_eq!(object.pointer(place), Some(value), "{spec}: {name}{place} in {object}");
            }
        }
    }

    #[test]
    fn what_is_wrong_says_where() {
        // Spec -> parts of the message.
        let cases: [(Value, &[&str]); 9] = [
            (json!({"path": "./none"}), &["kustomization path not found: ./none"]),
            (json!({"path": "empty"}), &["no document under path \"empty\""]),
            (json!({"components": ["../parts/none"]}), &["spec.components[0]: ", "parts/none"]),
            (json!({"components": ["/etc"]}), &["spec.components[0]: component path must be local and relative"]),
            (json!({"patches": [{"patch": "]"}]}), &["spec.patches[0]"]),
            (
                json!({"commonMetadata": {"labels": {"a b": "x", "getporter.org/managed": "true"}}}),
                &["spec.commonMetadata: labels: a b ", "\nspec.commonMetadata: labels: getporter.org/managed "],
            ),
            (json!({"namePrefix": "No_"}), &["metadata.name \"No_db\"", "metadata.name \"No_notes\""]),
            (json!({"targetNamespace": "No_"}), &["metadata.namespace \"No_\""]),
            // Faults of more than one step are told together.
            (
                json!({"components": ["../parts/none"], "commonMetadata": {"labels": {"a b": "x"}}}),
                &["spec.components[0]", "spec.commonMetadata"],
            ),
        ];
        for (spec, expected) in cases {
            let error = desired(&spec, inline(&spec)).expect_err("a fault").to_string();
            for part in expected {
                assert!(error.contains(part), "{spec}: {part:?} is not in {error}");
            }
        }
        let mut given = Given::default();
        given.variables.merge([("other", "x")]).expect("a name");
        let patch = json!({"patches": [{"patch": "- {op: add, path: /spec/parameters/x, value: '${unset}'}", "target": {"kind": "Installation"}}]});
        let error = desired(&patch, given.clone()).expect_err("strict").to_string();
        assert!(
            error.starts_with("base#spec.patches[0].patch:1:") && error.contains("variable `unset` is not set"),
            "{error}"
        );
        given.faults = vec![Diagnostic::general("no source")];
        assert_eq!(desired(&json!({}), given).expect_err("a fault").to_string(), "no source");
    }

    #[test]
    fn a_name_that_the_sync_spoils_is_told_with_its_field() {
        let long = "x".repeat(61);
        for (spec, field) in [
            (json!({"namePrefix": format!("{long}-")}), Some("spec.namePrefix")),
            (json!({"namePrefix": "p-", "nameSuffix": "_s"}), Some("spec.nameSuffix")),
            (json!({"targetNamespace": "No.Label", "namePrefix": "p-"}), Some("spec.targetNamespace")),
            (
                json!({"patches": [{"patch": "- {op: replace, path: /metadata/name, value: N.O}",
                "target": {"kind": "Installation"}}]}),
                None, // Its place names the field.
            ),
        ] {
            let told = desired(&spec, Given::default()).expect_err("a name is wrong").to_string();
            let expected = field.map(|field| format!("; it is so since `{field}` of the BundleSync"));
            assert_eq!(told.contains("it is so since"), field.is_some(), "{spec}: {told}");
            assert!(expected.is_none_or(|expected| told.contains(&expected)), "{spec}: {told}");
        }
    }
}
