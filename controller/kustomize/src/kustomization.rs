//! The kustomization file: its fields as types, with the place of each entry.
//!
//! Architecture invariant: this is a reading of one file; nothing is loaded, resolved or defaulted from elsewhere.
//! What is refused for good (helm, remote sources) is refused where it is used, not here, but for helm's fields.

use std::sync::Arc;

use manifest::yaml::Node;
use manifest::{Diagnostic, Location};

use crate::fieldspec::FieldSpec;
use crate::id::Gvk;
use crate::read::{Entry, Fields, Given, Pairs, Read, Text};

/// The names by which kustomize knows its own file.
pub(crate) const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

const KUSTOMIZATION: (&str, &str) = ("Kustomization", "kustomize.config.k8s.io/v1beta1");
const COMPONENT: (&str, &str) = ("Component", "kustomize.config.k8s.io/v1alpha1");

/// What a kustomization file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kustomization {
    /// The place of the file.
    pub(crate) file: Arc<str>,
    /// `kind: Component`, which transforms what its parent has gathered so far.
    pub(crate) is_component: bool,
    /// Made for a directory without a kustomization file.
    pub(crate) is_generated: bool,
    /// `resources`, then `bases`.
    pub(crate) resources: Vec<Text>,
    pub(crate) components: Vec<Text>,
    pub(crate) name_prefix: Option<Text>,
    pub(crate) name_suffix: Option<Text>,
    pub(crate) namespace: Option<Text>,
    pub(crate) labels: Vec<Given<Labels>>,
    pub(crate) common_labels: Option<Pairs>,
    pub(crate) common_annotations: Option<Pairs>,
    pub(crate) patches: Vec<Given<Patch>>,
    pub(crate) patches_strategic_merge: Vec<Text>,
    pub(crate) patches_json6902: Vec<Given<Patch>>,
    pub(crate) config_map_generator: Vec<Given<GeneratorArgs>>,
    pub(crate) secret_generator: Vec<Given<GeneratorArgs>>,
    pub(crate) generator_options: Option<GeneratorOptions>,
    /// `images`, then `imageTags`.
    pub(crate) images: Vec<Given<Image>>,
    pub(crate) replicas: Vec<Given<Replica>>,
    pub(crate) replacements: Vec<Given<ReplacementField>>,
    pub(crate) vars: Vec<Given<Var>>,
    pub(crate) configurations: Vec<Text>,
    pub(crate) crds: Vec<Text>,
    pub(crate) openapi: Option<Given<OpenApi>>,
    pub(crate) sort_options: Option<Given<SortOptions>>,
    pub(crate) build_metadata: Vec<Text>,
    pub(crate) generators: Vec<Text>,
    pub(crate) transformers: Vec<Text>,
    pub(crate) validators: Vec<Text>,
    /// Fields that work, but should be written in another way.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// An entry of `labels`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub(crate) pairs: Vec<(String, String)>,
    pub(crate) include_selectors: bool,
    pub(crate) include_templates: bool,
    pub(crate) fields: Vec<FieldSpec>,
}

/// An entry of `patches` or `patchesJson6902`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    pub(crate) path: Option<Text>,
    pub(crate) patch: Option<Text>,
    pub(crate) target: Option<Given<Selector>>,
    pub(crate) allow_name_change: bool,
    pub(crate) allow_kind_change: bool,
}

/// Which resources an entry is about. Absent parts match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) label_selector: String,
    pub(crate) annotation_selector: String,
}

/// An entry of `configMapGenerator` or `secretGenerator`.
#[derive(Clone, Debug, Default)]
pub(crate) struct GeneratorArgs {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) behavior: String,
    pub(crate) literals: Vec<Text>,
    pub(crate) files: Vec<Text>,
    /// `envs`, then `env`.
    pub(crate) envs: Vec<Text>,
    pub(crate) options: Option<GeneratorOptions>,
    /// Of a Secret.
    pub(crate) secret_type: String,
}

/// `generatorOptions`, or the `options` of a generator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GeneratorOptions {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) disable_name_suffix_hash: bool,
    pub(crate) immutable: bool,
}

/// An entry of `images`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// A regular expression, as kustomize has it.
    pub(crate) name: String,
    pub(crate) new_name: String,
    pub(crate) tag_suffix: String,
    pub(crate) new_tag: String,
    pub(crate) digest: String,
}

/// An entry of `replicas`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) count: i64,
}

/// An entry of `replacements`: one that is written out, or a file of some.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplacementField {
    pub(crate) path: Option<Text>,
    pub(crate) replacement: Replacement,
}

/// A value, and where it goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replacement {
    pub(crate) source: Option<Given<SourceSelector>>,
    pub(crate) source_value: Option<Text>,
    pub(crate) targets: Vec<Given<TargetSelector>>,
}

/// The field that a replacement copies.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceSelector {
    pub(crate) id: ExactSelector,
    pub(crate) field_path: Option<Text>,
    pub(crate) options: Option<FieldOptions>,
}

/// A resource by the exact parts of its id; empty parts match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExactSelector {
    pub(crate) gvk: Gvk,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

/// The fields that a replacement sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetSelector {
    pub(crate) select: Option<Given<Selector>>,
    pub(crate) reject: Vec<Given<Selector>>,
    pub(crate) field_paths: Vec<Text>,
    pub(crate) options: Option<FieldOptions>,
}

/// Which part of a field is meant, and whether to create it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldOptions {
    pub(crate) delimiter: String,
    pub(crate) index: i64,
    pub(crate) create: bool,
}

/// An entry of `vars`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Var {
    pub(crate) name: String,
    /// From `apiVersion`, or `group` and `version`.
    pub(crate) gvk: Gvk,
    pub(crate) object_name: String,
    pub(crate) namespace: String,
    pub(crate) field_path: String,
}

/// `openapi`: a file, or a built-in version.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenApi {
    pub(crate) path: Option<Text>,
    pub(crate) version: Option<Text>,
}

/// `sortOptions`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SortOptions {
    pub(crate) order: String,
    pub(crate) legacy: Option<LegacySortOptions>,
}

/// The kinds that the legacy order puts first and last.
#[derive(Clone, Debug, Default)]
pub(crate) struct LegacySortOptions {
    pub(crate) order_first: Vec<String>,
    pub(crate) order_last: Vec<String>,
}

impl Kustomization {
    /// Reads the only document of a kustomization file. Tells every fault of it.
    pub(crate) fn read(file: &Arc<str>, node: &Node, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let at = Some(Location { file: file.clone(), line: 1, column: 1 });
        let whole = Entry { at, ..Entry::default() };
        let before = faults.len();
        let mut fields = Fields::open(node, &whole, faults)?;
        let (kind, api_version): (Option<Text>, Option<Text>) = (fields.take("kind"), fields.take("apiVersion"));
        let is_component = kind.as_ref().is_some_and(|kind| kind.value == COMPONENT.0);
        let (kind_name, version) = if is_component { COMPONENT } else { KUSTOMIZATION };
        if let Some(kind) = kind.filter(|kind| !kind.value.is_empty() && kind.value != kind_name) {
            let message = format!("a kustomization file is of kind Kustomization or Component, not {:?}", kind.value);
            fields.fault(&kind.entry, message);
        }
        if let Some(given) = api_version.filter(|given| !given.value.is_empty() && given.value != version) {
            fields.fault(&given.entry, format!("the apiVersion of a {kind_name} is {version}, not {:?}", given.value));
        }
        let said = node.as_mapping().unwrap_or_default().iter().any(|(key, value)| {
            !value.is_null() && !["kind", "apiversion"].contains(&key.name.to_ascii_lowercase().as_str())
        });
        let _: Option<Node> = fields.take("metadata");
        for helm in ["helmCharts", "helmGlobals", "helmChartInflationGenerator"] {
            if fields.has(helm) {
                let given: Option<Given<Node>> = fields.take(helm);
                let entry = given.map_or_else(Entry::default, |given| given.entry);
                fields
                    .fault(&entry, "helm charts are not rendered here: commit their output, or use Flux's HelmRelease");
            }
        }
        let kustomization = Self {
            file: file.clone(),
            is_component,
            is_generated: false,
            resources: [fields.take_or_default::<Vec<Text>>("resources"), fields.take_or_default("bases")].concat(),
            components: fields.take_or_default("components"),
            name_prefix: fields.take("namePrefix"),
            name_suffix: fields.take("nameSuffix"),
            namespace: fields.take::<Text>("namespace").filter(|namespace| !namespace.value.is_empty()),
            labels: fields.take_or_default("labels"),
            common_labels: fields.take("commonLabels"),
            common_annotations: fields.take("commonAnnotations"),
            patches: fields.take_or_default("patches"),
            patches_strategic_merge: fields.take_or_default("patchesStrategicMerge"),
            patches_json6902: fields.take_or_default("patchesJson6902"),
            config_map_generator: fields.take_or_default("configMapGenerator"),
            secret_generator: fields.take_or_default("secretGenerator"),
            generator_options: fields.take("generatorOptions"),
            images: [fields.take_or_default::<Vec<_>>("images"), fields.take_or_default("imageTags")].concat(),
            replicas: fields.take_or_default("replicas"),
            replacements: fields.take_or_default("replacements"),
            vars: fields.take_or_default("vars"),
            configurations: fields.take_or_default("configurations"),
            crds: fields.take_or_default("crds"),
            openapi: fields.take("openapi"),
            sort_options: fields.take("sortOptions"),
            build_metadata: fields.take_or_default("buildMetadata"),
            generators: fields.take_or_default("generators"),
            transformers: fields.take_or_default("transformers"),
            validators: fields.take_or_default("validators"),
            warnings: deprecations(node),
        };
        if !said {
            fields.fault(&whole, "the kustomization is empty: give it `resources`");
        }
        fields.finish();
        (faults.len() == before).then_some(kustomization)
    }
}

/// The deprecated fields of a kustomization, with what takes their place.
fn deprecations(node: &Node) -> Vec<Diagnostic> {
    let instead = |key: &str| match key.to_ascii_lowercase().as_str() {
        "bases" => Some("resources"),
        "commonlabels" => Some("labels"),
        "imagetags" => Some("images"),
        "patchesjson6902" | "patchesstrategicmerge" => Some("patches"),
        "vars" => Some("replacements"),
        _ => None,
    };
    let entries = node.as_mapping().unwrap_or_default().iter();
    entries
        .filter_map(|(key, _)| {
            let message = format!("`{}` is deprecated: use `{}` instead", key.name, instead(&key.name)?);
            Some(Diagnostic { at: key.at.clone(), message })
        })
        .collect()
}

/// Declares how a type is read: its fields, each by its name in the file.
macro_rules! read_fields {
    ($type:ty, $fields:ident => $value:expr) => {
        impl Read for $type {
            fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
                let mut $fields = Fields::open(node, entry, faults)?;
                let value = $value;
                $fields.finish();
                Some(value)
            }
        }
    };
}

read_fields!(Labels, fields => Self {
    pairs: fields.take_or_default("pairs"),
    include_selectors: fields.take_or_default("includeSelectors"),
    include_templates: fields.take_or_default("includeTemplates"),
    fields: fields.take_or_default("fields"),
});

/// `options` of a patch.
#[derive(Default)]
struct PatchOptions {
    allow_name_change: bool,
    allow_kind_change: bool,
}

read_fields!(PatchOptions, fields => Self {
    allow_name_change: fields.take_or_default("allowNameChange"),
    allow_kind_change: fields.take_or_default("allowKindChange"),
});

read_fields!(Patch, fields => {
    let options: PatchOptions = fields.take_or_default("options");
    Self {
        path: fields.take::<Text>("path").filter(|path| !path.value.is_empty()),
        patch: fields.take::<Text>("patch").filter(|patch| !patch.value.is_empty()),
        target: fields.take("target"),
        allow_name_change: options.allow_name_change,
        allow_kind_change: options.allow_kind_change,
    }
});

read_fields!(Selector, fields => Self {
    group: fields.take_or_default("group"),
    version: fields.take_or_default("version"),
    kind: fields.take_or_default("kind"),
    name: fields.take_or_default("name"),
    namespace: fields.take_or_default("namespace"),
    label_selector: fields.take_or_default("labelSelector"),
    annotation_selector: fields.take_or_default("annotationSelector"),
});

read_fields!(GeneratorArgs, fields => {
    let mut envs: Vec<Text> = fields.take_or_default("envs");
    envs.extend(fields.take::<Text>("env").filter(|env| !env.value.is_empty()));
    Self {
        name: fields.take_or_default("name"),
        namespace: fields.take_or_default("namespace"),
        behavior: fields.take_or_default("behavior"),
        literals: fields.take_or_default("literals"),
        files: fields.take_or_default("files"),
        envs,
        options: fields.take("options"),
        secret_type: fields.take_or_default("type"),
    }
});

read_fields!(GeneratorOptions, fields => Self {
    labels: fields.take_or_default("labels"),
    annotations: fields.take_or_default("annotations"),
    disable_name_suffix_hash: fields.take_or_default("disableNameSuffixHash"),
    immutable: fields.take_or_default("immutable"),
});

read_fields!(Image, fields => Self {
    name: fields.take_or_default("name"),
    new_name: fields.take_or_default("newName"),
    tag_suffix: fields.take_or_default("tagSuffix"),
    new_tag: fields.take_or_default("newTag"),
    digest: fields.take_or_default("digest"),
});

read_fields!(Replica, fields => Self {
    name: fields.take_or_default("name"),
    count: fields.take_or_default("count"),
});

read_fields!(ReplacementField, fields => Self {
    path: fields.take::<Text>("path").filter(|path| !path.value.is_empty()),
    replacement: Replacement {
        source: fields.take("source"),
        source_value: fields.take("sourceValue"),
        targets: fields.take_or_default("targets"),
    },
});

read_fields!(Replacement, fields => Self {
    source: fields.take("source"),
    source_value: fields.take("sourceValue"),
    targets: fields.take_or_default("targets"),
});

read_fields!(SourceSelector, fields => Self {
    id: ExactSelector {
        gvk: Gvk::take(&mut fields),
        name: fields.take_or_default("name"),
        namespace: fields.take_or_default("namespace"),
    },
    field_path: fields.take::<Text>("fieldPath").filter(|path| !path.value.is_empty()),
    options: fields.take("options"),
});

read_fields!(TargetSelector, fields => Self {
    select: fields.take("select"),
    reject: fields.take_or_default("reject"),
    field_paths: fields.take_or_default("fieldPaths"),
    options: fields.take("options"),
});

read_fields!(FieldOptions, fields => {
    // kustomize v5.8.1 knows the field and does nothing with it (https://github.com/kubernetes-sigs/kustomize/issues/3492).
    let _: Option<String> = fields.take("encoding");
    Self {
        delimiter: fields.take_or_default("delimiter"),
        index: fields.take_or_default("index"),
        create: fields.take_or_default("create"),
    }
});

/// `objref` of a var.
#[derive(Default)]
struct VarObject {
    gvk: Gvk,
    name: String,
    namespace: String,
}

read_fields!(VarObject, fields => {
    let mut gvk = Gvk::take(&mut fields);
    let api_version: String = fields.take_or_default("apiVersion");
    if !api_version.is_empty() {
        gvk = Gvk::new(&api_version, &gvk.kind);
    }
    Self { gvk, name: fields.take_or_default("name"), namespace: fields.take_or_default("namespace") }
});

/// `fieldref` of a var.
#[derive(Default)]
struct VarField {
    path: String,
}

read_fields!(VarField, fields => Self { path: fields.take_or_default("fieldPath") });

read_fields!(Var, fields => {
    let object: VarObject = fields.take_or_default("objref");
    let field: VarField = fields.take_or_default("fieldref");
    Self {
        name: fields.take_or_default("name"),
        gvk: object.gvk,
        object_name: object.name,
        namespace: object.namespace,
        field_path: if field.path.is_empty() { "metadata.name".to_owned() } else { field.path },
    }
});

read_fields!(OpenApi, fields => Self { path: fields.take("path"), version: fields.take("version") });

read_fields!(SortOptions, fields => Self {
    order: fields.take_or_default("order"),
    legacy: fields.take("legacySortOptions"),
});

read_fields!(LegacySortOptions, fields => Self {
    order_first: fields.take_or_default("orderFirst"),
    order_last: fields.take_or_default("orderLast"),
});
