//! Generators, transformers and validators that a kustomization configures by file: kustomize's built-in ones only.
//!
//! Architecture invariant: nothing is executed and no function image is run; a configuration of anything that is not
//! built in is a fault that says so.

use std::sync::Arc;

use manifest::Diagnostic;
use manifest::yaml::{Node, Scalar, Value};

use crate::Rules;
use crate::accumulate::{Accumulator, Builder, load_json6902, load_replacements, one};
use crate::field_path::{self, Path};
use crate::fieldspec::FieldSpec;
use crate::generate::{self, Kind};
use crate::hash;
use crate::json_patch::JsonPatch;
use crate::kustomization::{GeneratorArgs, Image, Patch, Replacement, ReplacementField, Replica, Selector};
use crate::limits::Budget;
use crate::load::Loader;
use crate::merge::is_quoted;
use crate::objects;
use crate::patches::{self, Allow, Loaded, PreviousId};
use crate::read::{Entry, Fields, Given, Pairs, Read, Text};
use crate::replace;
use crate::resmap::ResMap;
use crate::resource::{Plugin, Resource, Step};
use crate::schema::Schemas;
use crate::select::Matcher;
use crate::transform::{self, NamespaceOptions, SubjectMode};

type Faults = Vec<Diagnostic>;

/// The `apiVersion` of the configurations of what is built in.
const BUILTIN: &str = "builtin";

/// A configuration of a plugin: the object, and the entry that brought it in.
struct Configuration {
    resource: Resource,
    entry: Entry,
}

/// A generator that a file configures.
pub(crate) struct Generator {
    step: Arc<Step>,
    /// The entry of the kustomization.
    given: Entry,
    /// The configuration.
    entry: Entry,
    act: Generate,
}

enum Generate {
    Data { kind: Kind, args: GeneratorArgs },
    ServiceAccount(Node),
}

/// A transformer that a file configures.
pub(crate) struct Transformer {
    step: Arc<Step>,
    /// The entry of the kustomization.
    given: Entry,
    /// The configuration.
    entry: Entry,
    act: Transform,
}

enum Transform {
    Annotations { pairs: Vec<(String, String)>, specs: Vec<FieldSpec> },
    Hash,
    Image { image: Image, specs: Vec<FieldSpec> },
    Labels { pairs: Vec<(String, String)>, specs: Vec<FieldSpec> },
    Namespace { namespace: String, options: NamespaceOptions, specs: Vec<FieldSpec> },
    Json6902 { operations: JsonPatch, target: Given<Selector> },
    Strategic { patches: Vec<(Resource, Entry)> },
    Patch(Box<(Given<Patch>, Loaded)>),
    Affixes { prefix: String, suffix: String, specs: Vec<FieldSpec> },
    Replacements { replacements: Vec<(Replacement, Entry)> },
    Replicas { replica: Replica, specs: Vec<FieldSpec> },
    AddValue { value: String, targets: Vec<ValueTarget> },
}

/// A field that a ValueAddTransformer sets.
#[derive(Clone, Debug)]
struct ValueTarget {
    selector: Option<Given<Selector>>,
    field_path: String,
    position: usize,
}

/// Reads what `generators` names.
pub(crate) fn load_generators(
    builder: &mut Builder<'_>,
    loader: &Loader<'_>,
    entries: &[Text],
) -> Result<Vec<Generator>, Faults> {
    let (configurations, faults) = load_configurations(builder, loader, entries);
    all(configurations.into_iter().map(generator), faults)
}

/// Reads what `transformers` or `validators` names.
pub(crate) fn load_transformers(
    builder: &mut Builder<'_>,
    loader: &Loader<'_>,
    entries: &[Text],
) -> Result<Vec<Transformer>, Faults> {
    let (configurations, faults) = load_configurations(builder, loader, entries);
    all(configurations.into_iter().map(|configuration| transformer(configuration, loader)), faults)
}

/// All of them, or all their faults behind those that there were.
fn all<T>(loaded: impl Iterator<Item = Result<T, Faults>>, mut faults: Faults) -> Result<Vec<T>, Faults> {
    let mut whole = Vec::new();
    for one in loaded {
        match one {
            Ok(one) => whole.push(one),
            Err(wrong) => faults.extend(wrong),
        }
    }
    if faults.is_empty() { Ok(whole) } else { Err(faults) }
}

/// The configurations that entries hold as text, then those that lie in the files and directories that they name. No two
/// have the same id.
fn load_configurations(
    builder: &mut Builder<'_>,
    loader: &Loader<'_>,
    entries: &[Text],
) -> (Vec<Configuration>, Faults) {
    let mut named = Vec::new();
    let mut faults = Vec::new();
    let mut all = ResMap::default();
    let mut sources = Vec::new();
    let schemas = builder.schemas.clone();
    let mut add = |resources: Vec<Resource>, given: &Text, faults: &mut Faults| {
        for resource in resources {
            match all.append(resource, &schemas) {
                Ok(()) => sources.push(given.entry.clone()),
                Err(fault) => faults.push(given.entry.because(fault)),
            }
        }
    };
    for given in entries {
        let documents = if given.value.contains('\n') || given.value.contains(": ") {
            patches::inline_documents(given, loader)
        } else {
            None
        };
        let Some(documents) = documents else {
            named.push(given);
            continue;
        };
        if let Err(fault) = loader.count(&documents) {
            faults.push(given.entry.because(fault));
            continue;
        }
        let mut collector = objects::Collector::new(None, Rules::Kustomize);
        documents.into_iter().for_each(|document| collector.document(document));
        let (resources, wrong) = collector.finish();
        faults.extend(given.entry.because_all(wrong));
        add(resources, given, &mut faults);
    }
    for given in named {
        let mut gathered = Accumulator::default();
        let added = builder.add_resources(loader, std::slice::from_ref(given), &mut gathered);
        faults.extend(added.err().unwrap_or_default());
        add(gathered.resources.into_resources(), given, &mut faults);
    }
    let resources = all.into_resources().into_iter().zip(sources);
    (resources.map(|(resource, entry)| Configuration { resource, entry }).collect(), faults)
}

/// The fields of a configuration beside those of any object.
fn fields_of(configuration: &Configuration) -> Result<Node, Diagnostic> {
    let Configuration { resource, entry } = configuration;
    let function = ["config.kubernetes.io/function", "config.k8s.io/function"];
    if resource.metadata_pairs("annotations").any(|(key, _)| function.contains(&key)) {
        let fault = resource.fault("external plugins disabled: functions are not run; use a built-in plugin");
        return Err(entry.because(fault));
    }
    let api_version = resource.node.get("apiVersion").and_then(Node::as_str).unwrap_or_default();
    if api_version != BUILTIN {
        let message = format!(
            "external plugins disabled; unable to load external plugin {api_version:?}: only those of apiVersion \
             `{BUILTIN}` are there"
        );
        return Err(entry.because(resource.fault(message)));
    }
    let mut node = resource.node.clone();
    for key in ["apiVersion", "kind", "metadata"] {
        node.remove(key);
    }
    Ok(node)
}

fn step_of(configuration: &Configuration) -> Arc<Step> {
    let Configuration { resource, entry } = configuration;
    Arc::new(Step {
        field: entry.field.clone(),
        plugin: Plugin {
            api_version: BUILTIN.to_owned(),
            kind: resource.kind().to_owned(),
            name: resource.name().to_owned(),
            namespace: resource.namespace().to_owned(),
        },
        at: Some(resource.place()),
        file: resource.origin.file.clone(),
    })
}

fn generator(configuration: Configuration) -> Result<Generator, Faults> {
    let fields = fields_of(&configuration).map_err(one)?;
    let Configuration { resource, entry } = &configuration;
    let own = Entry::lenient(resource.kind(), Some(resource.place()));
    let mut faults = Vec::new();
    let act = match resource.kind() {
        kind @ ("ConfigMapGenerator" | "SecretGenerator") => {
            let kind = if kind == "SecretGenerator" { Kind::Secret } else { Kind::ConfigMap };
            GeneratorArgs::read(&fields, &own, &mut faults).map(|mut args| {
                if args.name.is_empty() {
                    resource.name().clone_into(&mut args.name);
                }
                if args.namespace.is_empty() {
                    resource.namespace().clone_into(&mut args.namespace);
                }
                Generate::Data { kind, args }
            })
        }
        "IAMPolicyGenerator" => service_account(&fields, &own, &mut faults).map(Generate::ServiceAccount),
        "HelmChartInflationGenerator" => {
            faults.push(own.fault("helm charts are not rendered here: commit their output, or use Flux's HelmRelease"));
            None
        }
        other => {
            faults.push(own.fault(format!("unable to load builtin {other}: there is no such generator")));
            None
        }
    };
    match act.filter(|_| faults.is_empty()) {
        Some(act) => Ok(Generator { step: step_of(&configuration), given: entry.clone(), entry: own, act }),
        None => Err(faults.into_iter().map(|fault| entry.because(fault)).collect()),
    }
}

/// The ServiceAccount that stands for one of a cloud.
fn service_account(node: &Node, entry: &Entry, faults: &mut Faults) -> Option<Node> {
    let mut fields = Fields::open(node, entry, faults)?;
    let cloud: String = fields.take_or_default("cloud");
    let service: Node = fields.take("kubernetesService").unwrap_or_else(|| Node::mapping::<String>([]));
    let account: Node = fields.take("serviceAccount").unwrap_or_else(|| Node::mapping::<String>([]));
    if cloud != "gke" {
        fields.fault(entry, format!("cloud provider {cloud} not supported yet: `gke` is"));
    }
    fields.finish();
    let mut service = Fields::open(&service, entry, faults)?;
    let (name, namespace): (String, String) = (service.take_or_default("name"), service.take_or_default("namespace"));
    service.finish();
    let mut account = Fields::open(&account, entry, faults)?;
    let (user, project): (String, String) = (account.take_or_default("name"), account.take_or_default("projectId"));
    account.finish();
    let annotation = Node::string(format!("{user}@{project}.iam.gserviceaccount.com"));
    let mut metadata = vec![
        ("annotations", Node::mapping([("iam.gke.io/gcp-service-account", annotation)])),
        ("name", Node::string(name)),
    ];
    if !namespace.is_empty() {
        metadata.push(("namespace", Node::string(namespace)));
    }
    Some(Node::mapping([
        ("apiVersion", Node::string("v1")),
        ("kind", Node::string("ServiceAccount")),
        ("metadata", Node::mapping(metadata)),
    ]))
}

impl Generator {
    /// The entry that brought it in.
    pub(crate) fn given(&self) -> &Entry {
        &self.given
    }

    /// Makes its resource.
    pub(crate) fn generate(&self, loader: &Loader<'_>) -> Result<Resource, Faults> {
        let mut resource = match &self.act {
            Generate::Data { kind, args } => {
                let given = Given { value: args.clone(), entry: self.entry.clone() };
                generate::generate(*kind, &given, None, loader, &self.step.file)
                    .map_err(|faults| self.given.because_all(faults))?
            }
            Generate::ServiceAccount(node) => {
                let line = self.step.at.as_ref().map_or(1, |at| at.line);
                let origin = manifest::Origin { file: self.step.file.clone(), line, document: 0 };
                Resource::new(node.clone().with_location(self.step.at.clone()), origin)
            }
        };
        resource.generator = Some(self.step.clone());
        Ok(resource)
    }
}

/// A list of pairs under a name, of which some may be missing.
fn pairs_of(fields: &mut Fields<'_, '_>, name: &'static str) -> Vec<(String, String)> {
    fields.take::<Pairs>(name).map(|pairs| pairs.value).unwrap_or_default()
}

fn transformer(configuration: Configuration, loader: &Loader<'_>) -> Result<Transformer, Faults> {
    let node = fields_of(&configuration).map_err(one)?;
    let Configuration { resource, entry } = &configuration;
    let own = Entry::lenient(resource.kind(), Some(resource.place()));
    let because = |faults: Faults| faults.into_iter().map(|fault| entry.because(fault)).collect::<Vec<_>>();
    let act = read_transformer(resource, &node, &own, loader).map_err(because)?;
    Ok(Transformer { step: step_of(&configuration), given: entry.clone(), entry: own, act })
}

fn read_transformer(resource: &Resource, node: &Node, own: &Entry, loader: &Loader<'_>) -> Result<Transform, Faults> {
    let mut faults = Vec::new();
    let Some(mut fields) = Fields::open(node, own, &mut faults) else { return Err(faults) };
    let act = match resource.kind() {
        "AnnotationsTransformer" => Transform::Annotations {
            pairs: pairs_of(&mut fields, "annotations"),
            specs: fields.take_or_default("fieldSpecs"),
        },
        "HashTransformer" => Transform::Hash,
        "ImageTagTransformer" => {
            Transform::Image { image: fields.take_or_default("imageTag"), specs: fields.take_or_default("fieldSpecs") }
        }
        "LabelTransformer" => {
            Transform::Labels { pairs: pairs_of(&mut fields, "labels"), specs: fields.take_or_default("fieldSpecs") }
        }
        "NamespaceTransformer" => {
            let mode: Option<Text> = fields.take("setRoleBindingSubjects");
            let subjects = match mode.as_ref().map(|mode| mode.value.as_str()) {
                None | Some("" | "defaultOnly") => SubjectMode::DefaultOnly,
                Some("allServiceAccounts") => SubjectMode::AllServiceAccounts,
                Some("none") => SubjectMode::None,
                Some(other) => {
                    let message = format!("must be one of defaultOnly, none or allServiceAccounts, not {other:?}");
                    fields.fault(own, format!("invalid value for setRoleBindingSubjects: {message}"));
                    SubjectMode::None
                }
            };
            Transform::Namespace {
                namespace: resource.namespace().to_owned(),
                options: NamespaceOptions { unset_only: fields.take_or_default("unsetOnly"), subjects },
                specs: fields.take_or_default("fieldSpecs"),
            }
        }
        "PrefixTransformer" | "SuffixTransformer" | "PrefixSuffixTransformer" => Transform::Affixes {
            prefix: fields.take_or_default("prefix"),
            suffix: fields.take_or_default("suffix"),
            specs: fields.take_or_default("fieldSpecs"),
        },
        "ReplicaCountTransformer" => Transform::Replicas {
            replica: fields.take_or_default("replica"),
            specs: fields.take_or_default("fieldSpecs"),
        },
        "PatchTransformer"
        | "PatchJson6902Transformer"
        | "PatchStrategicMergeTransformer"
        | "ReplacementTransformer"
        | "ValueAddTransformer" => {
            drop(fields);
            return read_loading_transformer(resource.kind(), node, own, loader);
        }
        other => {
            let message = format!("unable to load builtin {other}: there is no such transformer");
            return Err(vec![own.fault(message)]);
        }
    };
    fields.finish();
    if faults.is_empty() { Ok(act) } else { Err(faults) }
}

/// Reads a transformer whose configuration names files.
fn read_loading_transformer(kind: &str, node: &Node, own: &Entry, loader: &Loader<'_>) -> Result<Transform, Faults> {
    let mut faults = Vec::new();
    if kind == "PatchTransformer" {
        let Some(patch) = Given::<Patch>::read(node, own, &mut faults).filter(|_| faults.is_empty()) else {
            return Err(faults);
        };
        let loaded = patches::load(&patch, loader)?;
        return Ok(Transform::Patch(Box::new((patch, loaded))));
    }
    let Some(mut fields) = Fields::open(node, own, &mut faults) else { return Err(faults) };
    match kind {
        "PatchJson6902Transformer" => {
            let patch = Patch {
                target: fields.take("target"),
                path: fields.take::<Text>("path").filter(|path| !path.value.is_empty()),
                patch: fields.take::<Text>("jsonOp").filter(|text| !text.value.is_empty()),
                ..Patch::default()
            };
            fields.finish();
            if !faults.is_empty() {
                return Err(faults);
            }
            let (operations, target) = load_json6902(&Given { value: patch, entry: own.clone() }, loader)?;
            Ok(Transform::Json6902 { operations, target })
        }
        "PatchStrategicMergeTransformer" => {
            let mut texts: Vec<Text> = fields.take_or_default("paths");
            texts.extend(fields.take::<Text>("patches").filter(|text| !text.value.is_empty()));
            fields.finish();
            if !faults.is_empty() {
                return Err(faults);
            }
            if texts.is_empty() {
                return Err(vec![own.fault("empty file path and empty patch content")]);
            }
            Ok(Transform::Strategic { patches: patches::load_strategic(&texts, loader)? })
        }
        "ReplacementTransformer" => {
            let given: Vec<Given<ReplacementField>> = fields.take_or_default("replacements");
            fields.finish();
            if !faults.is_empty() {
                return Err(faults);
            }
            Ok(Transform::Replacements { replacements: load_replacements(&given, loader)? })
        }
        _ => {
            let value: String = fields.take_or_default("value");
            let mut targets: Vec<ValueTarget> = fields.take_or_default("targets");
            let file: Option<Text> = fields.take::<Text>("targetFilePath").filter(|path| !path.value.is_empty());
            fields.finish();
            if let Some(path) = file {
                targets.extend(value_targets(&path, loader)?);
            }
            if targets.is_empty() && faults.is_empty() {
                faults.push(own.fault("must specify at least one target"));
            }
            let value = match value.trim() {
                "" => loader.directory().rsplit('/').next().unwrap_or_default().to_owned(),
                value => value.to_owned(),
            };
            if faults.is_empty() { Ok(Transform::AddValue { value, targets }) } else { Err(faults) }
        }
    }
}

/// The targets of a ValueAddTransformer that lie in a file of their own.
fn value_targets(path: &Text, loader: &Loader<'_>) -> Result<Vec<ValueTarget>, Faults> {
    let file = loader.file(path).map_err(one)?;
    let node = loader.single_configuration(&file, &path.entry)?;
    let mut faults = Vec::new();
    let targets = Fields::open(&node, &Entry::lenient(String::new(), None), &mut faults).map(|mut fields| {
        let targets = fields.take_or_default("targets");
        fields.finish();
        targets
    });
    match targets.filter(|_| faults.is_empty()) {
        Some(targets) => Ok(targets),
        None => Err(path.entry.because_all(faults)),
    }
}

impl Read for ValueTarget {
    fn read(node: &Node, entry: &Entry, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::open(node, entry, faults)?;
        let position: i64 = fields.take_or_default("filePathPosition");
        let field_path: String = fields.take_or_default("fieldPath");
        if field_path.is_empty() {
            fields.fault(entry, "fieldPath cannot be empty");
        }
        if position < 0 {
            fields.fault(entry, "filePathPosition cannot be negative");
        }
        let selector = fields.take("selector");
        fields.finish();
        Some(Self { selector, field_path, position: usize::try_from(position).unwrap_or_default() })
    }
}

impl Transformer {
    /// What the resources that it changed note.
    pub(crate) fn step(&self) -> Arc<Step> {
        self.step.clone()
    }

    /// A fault of it, which names its configuration and the entry that brought it in.
    pub(crate) fn fault(&self, message: &str) -> Diagnostic {
        self.given.because(self.entry.fault(message))
    }

    /// Acts on all resources.
    pub(crate) fn transform(
        &self,
        resources: &mut ResMap,
        schemas: &Schemas,
        budget: &Budget<'_>,
    ) -> Result<(), Faults> {
        let because = |fault: Diagnostic| one(self.given.because(self.entry.because(fault)));
        match &self.act {
            Transform::Annotations { pairs, specs } => transform::annotations(resources, pairs, specs, budget),
            Transform::Hash => hash::add(resources, schemas, budget),
            Transform::Image { image, specs } => transform::image(resources, image, specs, budget),
            Transform::Labels { pairs, specs } => transform::labels(resources, pairs, specs, budget),
            Transform::Namespace { namespace, options, specs } => {
                if namespace.is_empty() {
                    return Ok(());
                }
                transform::namespace(resources, namespace, options, specs, schemas, budget)
            }
            Transform::Json6902 { operations, target } => {
                patches::apply_json(resources, operations, target, PreviousId::Forgotten, &self.entry, schemas, budget)
            }
            Transform::Strategic { patches } => {
                let patches: Vec<_> = patches.iter().map(|(patch, entry)| (patch, entry)).collect();
                patches::apply_by_id(resources, &patches, Allow::default(), schemas, budget)
            }
            Transform::Patch(patch) => patches::apply(resources, &patch.0, &patch.1, schemas, budget),
            Transform::Affixes { prefix, suffix, specs } => {
                transform::prefix(resources, prefix, specs, schemas, budget).map_err(because)?;
                transform::suffix(resources, suffix, specs, schemas, budget)
            }
            Transform::Replacements { replacements } => replacements
                .iter()
                .try_for_each(|(replacement, entry)| replace::replace(resources, replacement, entry, budget)),
            Transform::Replicas { replica, specs } => transform::replicas(resources, replica, specs, budget),
            Transform::AddValue { value, targets } => {
                targets.iter().try_for_each(|target| add_value(resources, value, target, &self.entry, schemas, budget))
            }
        }
        .map_err(because)
    }
}

/// Sets a field of the resources of a target, or puts a part into the path that it holds.
fn add_value(
    resources: &mut ResMap,
    value: &str,
    target: &ValueTarget,
    given: &Entry,
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    budget.work(resources.len()).map_err(Diagnostic::general)?;
    let matcher = target.selector.as_ref().map(|selector| Matcher::new(selector, budget)).transpose()?;
    let path = Path::of_slashes(&target.field_path);
    for resource in resources.resources_mut() {
        if matcher.as_ref().is_some_and(|matcher| !matcher.matches(resource, schemas)) {
            continue;
        }
        if target.field_path == "metadata/namespace" {
            transform::namespace_of_one(resource, value, schemas, budget)?;
            continue;
        }
        let made = path.lookup_or_make(&mut resource.node, budget).map_err(|message| resource.fault(message))?;
        let place = match made {
            Some(place) => place,
            None if target.position == 0 => continue,
            None => return Err(resource.fault(format!("there is no path at {:?} to add to", target.field_path))),
        };
        let Some(field) = field_path::at_mut(&mut resource.node, &place.trail) else { continue };
        if place.made {
            field.at.clone_from(&given.at);
        }
        let type_name = field.type_name();
        let Value::Scalar(scalar) = &mut field.value else {
            return Err(field.fault(format!("this is {type_name}; a value can be added to a scalar only")));
        };
        let text = match target.position.checked_sub(1) {
            Some(position) => insert_part(&scalar.text, position, value),
            None => value.to_owned(),
        };
        // What is not in quotes has no type of its own then.
        if is_quoted(scalar) {
            scalar.text = text;
        } else {
            *scalar = Scalar::plain(text);
            let at = field.at.clone();
            resource.add_untyped(at.as_ref());
        }
    }
    Ok(())
}

/// Puts a part into a path of files, at the end when the position is beyond it. An absolute path stays one; what comes of
/// it is the shortest way to the same place.
fn insert_part(path: &str, position: usize, part: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    if path.is_empty() || path == "/" || path.starts_with("//") {
        parts.remove(0);
    }
    let is_absolute = parts.first() == Some(&"");
    let position = position.min(parts.len());
    let position = if is_absolute && position < parts.len() { position + 1 } else { position };
    parts.insert(position, part);
    let mut shortest: Vec<&str> = Vec::with_capacity(parts.len());
    for step in parts.iter().flat_map(|part| part.split('/')) {
        match step {
            "" | "." => {}
            ".." if shortest.last().is_some_and(|last| *last != "..") => {
                shortest.pop();
            }
            step => shortest.push(step),
        }
    }
    let joined = shortest.join("/");
    if is_absolute { format!("/{joined}") } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_into_a_path() {
        for (path, position, expected) in [
            ("", 0, "PEACH"),
            ("/", 3, "/PEACH"),
            ("pie", 0, "PEACH/pie"),
            ("/pie", 0, "/PEACH/pie"),
            ("raw", 9, "raw/PEACH"),
            ("a/nice/warm/pie", 3, "a/nice/warm/PEACH/pie"),
            ("http://web/x", 1, "http:/PEACH/web/x"),
            ("a//b", 2, "a/PEACH/b"),
            ("//a/./b/..", 9, "/a/PEACH"),
        ] {
            assert_eq!(insert_part(path, position, "PEACH"), expected, "{path}");
        }
    }
}
