//! The pipeline: a kustomization and all that it names, to resources.
//!
//! accumulate (resources, configurations, generators, components, transformers, validators, vars; bases first, each in
//! an accumulator of its own, components in that of their parent), and then, once, at the top: hashes, name
//! references, vars, what is local, the order.
//!
//! Invariant: a layer that has a fault adds nothing; all faults of what a layer loads are told before it transforms.

use std::rc::Rc;
use std::sync::Arc;

use manifest::yaml::{self, Node};
use manifest::{Diagnostic, Location};

use crate::config::TransformerConfig;
use crate::generate::{self, Kind};
use crate::json_patch::JsonPatch;
use crate::kustomization::{Kustomization, OpenApi, Patch, Replacement};
use crate::limits::Budget;
use crate::load::{self, Loader};
use crate::name_reference::fix_references;
use crate::patches::{self, Allow, Loaded, PreviousId};
use crate::read::{Entry, Given, Read, Text};
use crate::resmap::ResMap;
use crate::resource::{Resource, Step};
use crate::schema::Schemas;
use crate::transform::{self, NamespaceOptions};
use crate::vars::Vars;
use crate::{Built, Options, Reorder, Rules, directory, hash, metadata, objects, order, plugin, replace};

/// A build in progress: what all layers share.
pub(crate) struct Builder<'a> {
    pub(crate) options: &'a Options<'a>,
    pub(crate) schemas: Schemas,
    /// Whether a kustomization has said which schemas count; the first one that does wins.
    schemas_given: bool,
    /// Whether resources note what changed them.
    pub(crate) traces: bool,
    pub(crate) budget: Rc<Budget>,
    /// Where warnings go, and the faults that keep nothing else from being built.
    built: &'a mut Built,
}

/// What a layer has gathered so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accumulator {
    pub(crate) resources: ResMap,
    pub(crate) config: TransformerConfig,
    pub(crate) vars: Vars,
}

type Faults = Vec<Diagnostic>;

/// One fault as all faults.
pub(crate) fn one(fault: Diagnostic) -> Faults {
    vec![fault]
}

impl<'a> Builder<'a> {
    pub(crate) fn new(options: &'a Options<'a>, built: &'a mut Built) -> Self {
        Self {
            options,
            schemas: Schemas::builtin(),
            schemas_given: false,
            traces: options.trace,
            budget: Rc::new(Budget::new(&options.limits)),
            built,
        }
    }

    /// Builds the kustomization of the target directory.
    pub(crate) fn build(mut self, loader: &Loader<'_>, target: &Kustomization) -> Result<Vec<Resource>, Faults> {
        self.traces |= target.build_metadata.iter().any(|word| word.value == metadata::TRANSFORMERS);
        if let Some(openapi) = &target.openapi {
            self.use_schemas(openapi, loader)?;
        }
        let Accumulator { mut resources, config, vars } = self.accumulate(loader, target, Accumulator::default())?;
        let schemas = &self.schemas;
        add_hashes(&mut resources, schemas);
        fix_references(&mut resources, &config.name_reference, schemas).map_err(one)?;
        vars.resolve(&mut resources, &config.var_reference, schemas, &mut self.budget.meter()).map_err(one)?;
        resources.resources_mut().retain(|resource| !is_local(resource));
        match (&target.sort_options, self.options.reorder) {
            (Some(options), _) => order::sort_by_options(&mut resources, options).map_err(one)?,
            (None, Reorder::Legacy) => order::sort_legacy(&mut resources, None),
            (None, Reorder::None) => {}
        }
        metadata::add(&mut resources, target, loader);
        let mut resources = resources.into_resources();
        resources.iter_mut().for_each(Resource::finish_annotations);
        Ok(resources)
    }

    fn accumulate(
        &mut self,
        loader: &Loader<'_>,
        kustomization: &Kustomization,
        gathered: Accumulator,
    ) -> Result<Accumulator, Faults> {
        self.budget.enter(&kustomization.file).map_err(one)?;
        self.built.warnings.extend(kustomization.warnings.iter().cloned());
        let mut gathered = gathered;
        if let Err(faults) = self.add_resources(loader, &kustomization.resources, &mut gathered) {
            // The files of a plain directory have nothing to do with each other: what is whole is built all the same.
            if !kustomization.is_generated {
                return Err(faults);
            }
            self.built.faults.extend(faults);
        }
        self.add_configurations(loader, kustomization, &mut gathered)?;
        self.generate(loader, kustomization, &mut gathered)?;
        for given in &kustomization.components {
            gathered = self.add_component(loader, given, gathered)?;
        }
        self.transform(loader, kustomization, &mut gathered)?;
        self.validate(loader, kustomization, &mut gathered)?;
        gathered.vars.declare(&kustomization.vars, &gathered.resources, &self.schemas).map_err(one)?;
        Ok(gathered)
    }

    /// Loads each path as a file, or else as a directory with a kustomization of its own.
    pub(crate) fn add_resources(
        &mut self,
        loader: &Loader<'_>,
        paths: &[Text],
        gathered: &mut Accumulator,
    ) -> Result<(), Faults> {
        let mut faults = Vec::new();
        for given in paths {
            let added = if loader.has_file(&given.value) {
                self.add_file(loader, given, gathered)
            } else {
                self.add_base(loader, given, gathered)
            };
            if let Err(wrong) = added {
                faults.extend(wrong);
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn add_file(&mut self, loader: &Loader<'_>, given: &Text, gathered: &mut Accumulator) -> Result<(), Faults> {
        let file = loader.file(given).map_err(one)?;
        let documents = yaml::parse(&file.path, &file.content).map_err(manifest::Diagnostics::into_vec)?;
        let mut collector = objects::Collector::new(self.options.document_hook, self.options.rules);
        documents.into_iter().for_each(|document| collector.document(document));
        let (resources, mut faults) = collector.finish();
        for resource in resources {
            let added = self
                .budget
                .resource(&resource)
                .and_then(|()| gathered.resources.append(resource, &self.schemas))
                .map_err(|fault| given.entry.because(fault));
            faults.extend(added.err());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn add_base(&mut self, loader: &Loader<'_>, given: &Text, gathered: &mut Accumulator) -> Result<(), Faults> {
        let base = loader.enter(given).map_err(one)?;
        let kustomization = self.load(&base, &given.entry)?;
        if kustomization.is_component {
            return Err(one(given
                .entry
                .fault(format!("expected kind != 'Component' for {:?}: name it under `components`", given.value))));
        }
        let Accumulator { resources, config, vars } = self.accumulate(&base, &kustomization, Accumulator::default())?;
        gathered
            .resources
            .append_all(resources, &self.schemas)
            .map_err(|faults| faults.into_iter().map(|fault| given.entry.because(fault)).collect::<Vec<_>>())?;
        gathered.config.merge(&config).map_err(|message| one(given.entry.fault(message)))?;
        gathered.vars.join(vars).map_err(|fault| one(given.entry.because(fault)))
    }

    fn add_component(
        &mut self,
        loader: &Loader<'_>,
        given: &Text,
        gathered: Accumulator,
    ) -> Result<Accumulator, Faults> {
        let component = loader.enter(given).map_err(one)?;
        let kustomization = self.load(&component, &given.entry)?;
        if !kustomization.is_component {
            return Err(one(given.entry.fault(format!(
                "expected kind 'Component' for path {:?} but got 'Kustomization': name it under `resources`",
                given.value
            ))));
        }
        self.accumulate(&component, &kustomization, gathered)
    }

    /// Reads the kustomization of a directory that an entry names.
    fn load(&mut self, loader: &Loader<'_>, entry: &Entry) -> Result<Kustomization, Faults> {
        let because = |faults: Faults| faults.into_iter().map(|fault| entry.because(fault)).collect::<Vec<_>>();
        let kustomization = read_kustomization(loader).map_err(because)?.ok_or_else(|| {
            one(entry.fault(format!(
                "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory {:?}",
                loader.directory()
            )))
        })?;
        if let Some(openapi) = kustomization.openapi.as_ref().filter(|_| !self.schemas_given) {
            self.use_schemas(openapi, loader)?;
        }
        Ok(kustomization)
    }

    /// Makes the schemas count that a kustomization gives.
    fn use_schemas(&mut self, given: &Given<OpenApi>, loader: &Loader<'_>) -> Result<(), Faults> {
        /// The only one that kustomize carries.
        const BUILTIN_VERSION: &str = "v1.21.2";
        let OpenApi { path, version } = &given.value;
        match (path, version) {
            (None, None) => return Ok(()),
            (Some(_), Some(_)) => {
                return Err(one(given.entry.fault("builtin version and custom schema provided, cannot use both")));
            }
            (None, Some(version))
                if version.value.trim_start_matches('v') == BUILTIN_VERSION.trim_start_matches('v') =>
            {
                self.schemas = Schemas::builtin();
            }
            (None, Some(version)) => {
                return Err(one(version.entry.fault(format!(
                    "the specified OpenAPI version {:?} is not built in; {BUILTIN_VERSION} is",
                    version.value
                ))));
            }
            (Some(path), None) => {
                let file = loader.file(path).map_err(one)?;
                let document = load::single_configuration(&file)
                    .map_err(|faults| faults.into_iter().map(|fault| path.entry.because(fault)).collect::<Vec<_>>())?;
                // Once kustomize has looked at resources with the built-in schemas, these stay.
                let made = if self.options.rules == Rules::Kustomize && self.budget.is_untouched() {
                    Schemas::from_document(&document)
                } else {
                    self.schemas.with_document(&document)
                };
                self.schemas = made.map_err(|fault| one(path.entry.because(fault)))?;
            }
        }
        self.schemas_given = true;
        Ok(())
    }

    fn add_configurations(
        &mut self,
        loader: &Loader<'_>,
        kustomization: &Kustomization,
        gathered: &mut Accumulator,
    ) -> Result<(), Faults> {
        let merge = |gathered: &mut Accumulator, config: &TransformerConfig, entry: &Entry| {
            gathered.config.merge(config).map_err(|message| one(entry.fault(message)))
        };
        let mut own = TransformerConfig::default();
        for given in &kustomization.configurations {
            let file = loader.file(given).map_err(one)?;
            let mut faults = Vec::new();
            let node = load::single_configuration(&file)?;
            let config = if node.is_null() {
                Some(TransformerConfig::default())
            } else {
                TransformerConfig::read(&node, &Entry::default(), &mut faults)
            };
            let Some(config) = config.filter(|_| faults.is_empty()) else {
                return Err(faults.into_iter().map(|fault| given.entry.because(fault)).collect());
            };
            own.merge(&config).map_err(|message| one(given.entry.fault(message)))?;
        }
        let whole =
            Entry { field: "configurations".to_owned(), at: file_place(&kustomization.file), is_lenient: false };
        if kustomization.configurations.is_empty() {
            merge(gathered, TransformerConfig::builtin(), &whole)?;
        } else {
            let mut config = TransformerConfig::clone(TransformerConfig::builtin());
            config.merge(&own).map_err(|message| one(whole.fault(message)))?;
            merge(gathered, &config, &whole)?;
        }
        for given in &kustomization.crds {
            let file = loader.file(given).map_err(one)?;
            let node = load::single_configuration(&file)?;
            let config = TransformerConfig::from_crds(&node).map_err(|fault| one(given.entry.because(fault)))?;
            merge(gathered, &config, &given.entry)?;
        }
        Ok(())
    }

    fn generate(
        &mut self,
        loader: &Loader<'_>,
        kustomization: &Kustomization,
        gathered: &mut Accumulator,
    ) -> Result<(), Faults> {
        let global = kustomization.generator_options.as_ref();
        let maps = kustomization.config_map_generator.iter().map(|args| (Kind::ConfigMap, args));
        let secrets = kustomization.secret_generator.iter().map(|args| (Kind::Secret, args));
        let mut faults = Vec::new();
        for (kind, given) in maps.chain(secrets) {
            match generate::generate(kind, given, global, loader, &kustomization.file) {
                Ok(mut resource) => {
                    resource.generator = Some(step(kustomization, &given.entry, kind.plugin()));
                    let absorbed = self
                        .budget
                        .resource(&resource)
                        .and_then(|()| gathered.resources.absorb(resource, &self.schemas))
                        .map_err(|fault| given.entry.because(fault));
                    faults.extend(absorbed.err());
                }
                Err(wrong) => faults.extend(wrong),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let plugins = plugin::load_generators(self, loader, &kustomization.generators)?;
        for generator in &plugins {
            for resource in generator.generate(loader)? {
                self.budget
                    .resource(&resource)
                    .and_then(|()| gathered.resources.absorb(resource, &self.schemas))
                    .map_err(|fault| one(generator.because(fault)))?;
            }
        }
        Ok(())
    }

    fn transform(
        &mut self,
        loader: &Loader<'_>,
        kustomization: &Kustomization,
        gathered: &mut Accumulator,
    ) -> Result<(), Faults> {
        let Accumulator { resources, config, .. } = gathered;
        let patches = load_patches(kustomization, loader)?;
        let replacements = load_replacements(kustomization, loader)?;
        let plugins = plugin::load_transformers(self, loader, &kustomization.transformers)?;
        let schemas = self.schemas.clone();
        let schemas = &schemas;
        let budget = &self.budget;
        let traces = self.traces;
        let size = kustomization.size;
        let mut run = |entry: &Entry, plugin: &'static str, act: &mut dyn FnMut(&mut ResMap) -> Result<(), Faults>| {
            let traced = traces.then(|| step(kustomization, entry, plugin));
            run_step(resources, traced, size, budget, act)
        };

        if let Some(first) = kustomization.patches_strategic_merge.first() {
            run(&first.entry, "PatchStrategicMergeTransformer", &mut |resources| {
                let loaded: Vec<_> = patches.strategic.iter().map(|(patch, entry)| (patch, entry)).collect();
                patches::apply_by_id(resources, &loaded, Allow::default(), schemas, &mut budget.meter()).map_err(one)
            })?;
        }
        for (given, loaded) in kustomization.patches.iter().zip(&patches.patches) {
            run(&given.entry, "PatchTransformer", &mut |resources| {
                patches::apply(resources, given, loaded, schemas, &mut budget.meter()).map_err(one)
            })?;
        }
        if let Some(namespace) = &kustomization.namespace {
            run(&namespace.entry, "NamespaceTransformer", &mut |resources| {
                let options = NamespaceOptions::default();
                transform::namespace(resources, &namespace.value, &options, &config.namespace, schemas)
                    .map_err(|fault| one(namespace.entry.because(fault)))
            })?;
        }
        if let Some(prefix) = kustomization.name_prefix.as_ref().filter(|prefix| !prefix.value.is_empty()) {
            run(&prefix.entry, "PrefixTransformer", &mut |resources| {
                transform::prefix(resources, &prefix.value, &config.name_prefix, schemas)
                    .map_err(|fault| one(prefix.entry.because(fault)))
            })?;
        }
        if let Some(suffix) = kustomization.name_suffix.as_ref().filter(|suffix| !suffix.value.is_empty()) {
            run(&suffix.entry, "SuffixTransformer", &mut |resources| {
                transform::suffix(resources, &suffix.value, &config.name_suffix, schemas)
                    .map_err(|fault| one(suffix.entry.because(fault)))
            })?;
        }
        for given in &kustomization.labels {
            run(&given.entry, "LabelTransformer", &mut |resources| {
                let specs =
                    transform::label_specs(&given.value, config).map_err(|message| one(given.entry.fault(message)))?;
                transform::labels(resources, &given.value.pairs, &specs)
                    .map_err(|fault| one(given.entry.because(fault)))
            })?;
        }
        match (&kustomization.common_labels, kustomization.labels.first()) {
            (Some(labels), _) => run(&labels.entry, "LabelTransformer", &mut |resources| {
                transform::labels(resources, &labels.value, &config.common_labels)
                    .map_err(|fault| one(labels.entry.because(fault)))
            })?,
            // kustomize runs the step of `commonLabels` after each `labels`, which `buildMetadata` shows.
            (None, Some(labels)) => run(&labels.entry, "LabelTransformer", &mut |_| Ok(()))?,
            (None, None) => {}
        }
        if let Some(annotations) = &kustomization.common_annotations {
            run(&annotations.entry, "AnnotationsTransformer", &mut |resources| {
                transform::annotations(resources, &annotations.value, &config.common_annotations)
                    .map_err(|fault| one(annotations.entry.because(fault)))
            })?;
        }
        for (given, (operations, target)) in kustomization.patches_json6902.iter().zip(&patches.json6902) {
            run(&given.entry, "PatchJson6902Transformer", &mut |resources| {
                let meter = &mut budget.meter();
                let previous = PreviousId::Forgotten;
                patches::apply_json(resources, operations, target, previous, &given.entry, schemas, meter).map_err(one)
            })?;
        }
        for given in &kustomization.replicas {
            run(&given.entry, "ReplicaCountTransformer", &mut |resources| {
                transform::replicas(resources, &given.value, &config.replicas)
                    .map_err(|fault| one(given.entry.because(fault)))
            })?;
        }
        for given in &kustomization.images {
            run(&given.entry, "ImageTagTransformer", &mut |resources| {
                transform::image(resources, &given.value, &config.images)
                    .map_err(|fault| one(given.entry.because(fault)))
            })?;
        }
        if let Some(first) = kustomization.replacements.first() {
            run(&first.entry, "ReplacementTransformer", &mut |resources| {
                for (replacement, entry) in &replacements {
                    replace::replace(resources, replacement, entry, &mut budget.meter()).map_err(one)?;
                }
                Ok(())
            })?;
        }
        for transformer in &plugins {
            let traced = self.traces.then(|| transformer.step());
            run_step(resources, traced, transformer.size(), budget, &mut |resources| {
                transformer.transform(resources, schemas, budget)
            })?;
        }
        Ok(())
    }

    /// Validators are transformers that must change nothing but a label of theirs.
    fn validate(
        &mut self,
        loader: &Loader<'_>,
        kustomization: &Kustomization,
        gathered: &mut Accumulator,
    ) -> Result<(), Faults> {
        /// The label by which a validator may sign what it has seen.
        const VALIDATED_BY: &str = "validated-by";
        if kustomization.validators.is_empty() {
            return Ok(());
        }
        let validators = plugin::load_transformers(self, loader, &kustomization.validators)?;
        for validator in &validators {
            let before = gathered.resources.clone();
            validator.transform(&mut gathered.resources, &self.schemas, &self.budget)?;
            let unsigned = |resource: &Resource| {
                let mut node = resource.node.clone();
                if let Some(metadata) = node.get_mut("metadata")
                    && let Some(labels) = metadata.get_mut("labels")
                {
                    labels.remove(VALIDATED_BY);
                    if labels.as_mapping().is_some_and(<[_]>::is_empty) {
                        metadata.remove("labels");
                    }
                }
                node
            };
            let same = before.len() == gathered.resources.len()
                && before
                    .resources()
                    .iter()
                    .zip(gathered.resources.resources())
                    .all(|(before, after)| unsigned(before) == unsigned(after));
            if !same {
                return Err(one(validator.fault("validator shouldn't modify the resource map")));
            }
        }
        Ok(())
    }
}

/// Reads the kustomization of a directory; `None` when it has no file of one.
pub(crate) fn read_kustomization(loader: &Loader<'_>) -> Result<Option<Kustomization>, Faults> {
    let Some(file) = loader.kustomization_file().map_err(one)? else { return Ok(None) };
    let documents = load::configuration(&file)?;
    let mut documents = documents.into_iter();
    let node = documents.next().map_or_else(|| Node::mapping::<String>([]), |document| document.node);
    if let Some(second) = documents.next() {
        return Err(one(second.node.fault("a kustomization file holds one document")));
    }
    let mut faults = Vec::new();
    match Kustomization::read(&file.path, &node, &mut faults) {
        Some(kustomization) => Ok(Some(kustomization)),
        None => Err(faults),
    }
}

/// The kustomization of the target: its file, or what stands for a directory without one.
pub(crate) fn target_kustomization(loader: &Loader<'_>, tree: &manifest::FileTree) -> Result<Kustomization, Faults> {
    Ok(match read_kustomization(loader)? {
        Some(kustomization) => kustomization,
        None => directory::kustomization(tree, loader.directory()),
    })
}

/// The patches of a kustomization, read.
struct Patches {
    strategic: Vec<(Resource, Entry)>,
    patches: Vec<Loaded>,
    json6902: Vec<(JsonPatch, Given<crate::kustomization::Selector>)>,
}

/// Reads all patches, so that every one that is wrong is told.
fn load_patches(kustomization: &Kustomization, loader: &Loader<'_>) -> Result<Patches, Faults> {
    let mut faults = Vec::new();
    let mut keep = |result: Result<Loaded, Faults>| result.map_err(|wrong| faults.extend(wrong)).ok();
    let loaded: Vec<Loaded> =
        kustomization.patches.iter().filter_map(|given| keep(patches::load(given, loader))).collect();
    let mut json6902 = Vec::new();
    for given in &kustomization.patches_json6902 {
        match load_json6902(given, loader) {
            Ok(patch) => json6902.push(patch),
            Err(wrong) => faults.extend(wrong),
        }
    }
    let mut strategic = Vec::new();
    if !kustomization.patches_strategic_merge.is_empty() {
        match patches::load_strategic(&kustomization.patches_strategic_merge, loader) {
            Ok(patches) => strategic = patches,
            Err(wrong) => faults.extend(wrong),
        }
    }
    if faults.is_empty() { Ok(Patches { strategic, patches: loaded, json6902 }) } else { Err(faults) }
}

/// An entry of `patchesJson6902`: operations for the resources of a target that has a name.
pub(crate) fn load_json6902(
    given: &Given<Patch>,
    loader: &Loader<'_>,
) -> Result<(JsonPatch, Given<crate::kustomization::Selector>), Faults> {
    let fault = |message: &str| one(given.entry.fault(message));
    let target = given.value.target.clone().ok_or_else(|| fault("must specify a target for a JSON patch"))?;
    if target.value.name.is_empty() {
        return Err(one(target.entry.fault("must specify the target name")));
    }
    match patches::load(given, loader)? {
        Loaded::Json(operations) => Ok((operations, target)),
        Loaded::Strategic(_) => Err(fault("is no list of JSON patch operations")),
    }
}

/// The replacements of a kustomization, those of files too.
fn load_replacements(kustomization: &Kustomization, loader: &Loader<'_>) -> Result<Vec<(Replacement, Entry)>, Faults> {
    let mut replacements = Vec::new();
    for given in &kustomization.replacements {
        replacements.extend(load_replacement(given, loader)?);
    }
    Ok(replacements)
}

/// An entry of `replacements`, or those of the file that it names.
pub(crate) fn load_replacement(
    given: &Given<crate::kustomization::ReplacementField>,
    loader: &Loader<'_>,
) -> Result<Vec<(Replacement, Entry)>, Faults> {
    let field = &given.value;
    let Some(path) = &field.path else {
        return Ok(vec![(field.replacement.clone(), given.entry.clone())]);
    };
    let inline = &field.replacement;
    if inline.source.is_some() || inline.source_value.is_some() || !inline.targets.is_empty() {
        return Err(one(given.entry.fault("cannot specify both path and inline replacement")));
    }
    let file = loader.file(path).map_err(one)?;
    let node = load::single_configuration(&file)?;
    let mut faults = Vec::new();
    let items: Vec<(Node, String)> = match node.as_sequence() {
        Some(items) => items.iter().enumerate().map(|(index, item)| (item.clone(), format!("[{index}]"))).collect(),
        None => vec![(node, "the replacement".to_owned())],
    };
    let replacements = items
        .iter()
        .filter_map(|(node, field)| {
            let entry = Entry::new(field.clone(), node);
            Replacement::read(node, &entry, &mut faults).map(|replacement| (replacement, entry))
        })
        .collect();
    if faults.is_empty() {
        Ok(replacements)
    } else {
        Err(faults.into_iter().map(|fault| path.entry.because(fault)).collect())
    }
}

/// Runs a transformer whose configuration has a size, notes on each resource whether it changed it when the build traces, and drops what it emptied.
fn run_step(
    resources: &mut ResMap,
    traced: Option<Arc<Step>>,
    size: usize,
    budget: &Budget,
    act: &mut dyn FnMut(&mut ResMap) -> Result<(), Faults>,
) -> Result<(), Faults> {
    budget.work(resources.len()).map_err(one)?;
    budget.growth(size, resources.len()).map_err(one)?;
    let before = traced.is_some().then(|| resources.clone());
    act(resources)?;
    if let (Some(step), Some(before)) = (traced, before) {
        for (resource, before) in resources.resources_mut().iter_mut().zip(before.resources()) {
            let changed = resource.node != before.node;
            resource.passed.push((step.clone(), changed));
        }
    }
    if resources.resources().iter().any(Resource::is_dropped) {
        resources.resources_mut().retain(|resource| !resource.is_dropped());
    }
    Ok(())
}

/// A field of a kustomization as a step.
fn step(kustomization: &Kustomization, entry: &Entry, plugin: &'static str) -> Arc<Step> {
    Arc::new(Step {
        field: entry.field.clone(),
        plugin: crate::resource::Plugin::builtin(plugin),
        at: entry.at.clone(),
        file: kustomization.file.clone(),
    })
}

fn file_place(file: &Arc<str>) -> Option<Location> {
    Some(Location { file: file.clone(), line: 1, column: 1 })
}

fn add_hashes(resources: &mut ResMap, schemas: &Schemas) {
    for resource in resources.resources_mut() {
        if resource.needs_hash {
            resource.store_previous_id(schemas);
            let name = format!("{}-{}", resource.name(), hash::suffix(&resource.node));
            resource.set_name(&name);
        }
    }
}

/// Whether a resource takes part in the build only, by its annotation.
fn is_local(resource: &Resource) -> bool {
    resource
        .metadata_pairs("annotations")
        .any(|(key, value)| key == "config.kubernetes.io/local-config" && value != "false")
}
