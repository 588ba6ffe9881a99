//! What a BundleSync asks of the build of its path, beside what the files there say.
//!
//! Names, types, validation and defaults are those of `Kustomization` in `kustomize.toolkit.fluxcd.io/v1`, so what works
//! there can be copied.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels and annotations of every object.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommonMetadata {
    /// Annotations to put on every object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,

    /// Labels to put on every object. Selectors and templates stay as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A patch, and the objects that it is for.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// A strategic merge patch, or a list of JSON 6902 operations, as YAML or JSON.
    pub patch: String,

    /// The objects to patch. A strategic merge patch without a target is for the object that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Selector>,
}

/// Which objects are meant: those that all given parts match. All but the selectors are regular expressions that have to
/// match the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// The API group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,

    /// The API version, without the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// The kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,

    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// The namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,

    /// A label selector, such as `app in (a, b)`, that the annotations have to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation_selector: Option<String>,

    /// A label selector, such as `app in (a, b)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<String>,
}

/// What to replace in the references to a container image.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The name of the image, without its tag.
    pub name: String,

    /// The name to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_name: Option<String>,

    /// The tag to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_tag: Option<String>,

    /// The digest to use instead of a tag. With a digest, `newTag` counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What kustomize notes on each object about its build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BuildMetadata {
    /// The file that it came from, in the annotation `config.kubernetes.io/origin`.
    OriginAnnotations,
    /// The transformers that changed it, in the annotation `alpha.config.kubernetes.io/transformations`.
    TransformerAnnotations,
}

/// What to do with the objects after they are built.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostBuild {
    /// Variables by name. They win over those of `substituteFrom`.
    ///
    /// `${name}` in an object is replaced by the value; `${name:=default}`, `${name:position}`,
    /// `${name/substring/replacement}` and others of a shell's forms work too. A name is made of letters, digits and
    /// `_`, and does not begin with a digit. Line breaks are taken out of values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub substitute: BTreeMap<String, String>,

    /// ConfigMaps and Secrets whose keys are the names of variables. Of a name that is in several, the last counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub substitute_from: Vec<SubstituteReference>,

    /// Whether to substitute when no variable is given, so that defaults and `$$` count. Defaults to `WithVariables`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute_strategy: Option<SubstituteStrategy>,
}

/// When variables are substituted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub enum SubstituteStrategy {
    /// When at least one variable is given.
    #[default]
    WithVariables,
    /// Also when there is none.
    Always,
}

/// A ConfigMap or Secret with variables, in the namespace of the BundleSync.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubstituteReference {
    /// The kind.
    pub kind: SubstituteKind,

    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Take it for empty when it does not exist, rather than fail.
    #[serde(default)]
    pub optional: bool,
}

/// The kinds that variables are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
pub enum SubstituteKind {
    /// Its `data`. Values are never told in messages or logs.
    Secret,
    /// Its `data`; `binaryData` is not read.
    ConfigMap,
}
