//! The pipeline: a kustomization and all that it names, to resources.
//!
//! accumulate (resources, configurations, generators, components, transformers, validators, vars; bases first, each in
//! an accumulator of its own, components in that of their parent), and then, once, at the top: hashes, name
//! references, vars, what is local, the order.
//!
//! Invariant: a layer that has a fault adds nothing; all faults of what a layer loads are told before it transforms.

use std::sync::Arc;

use manifest::yaml::{self, Node};
use manifest::{Diagnostic, Location};

use crate::config::{Configurations, TransformerConfig};
use crate::generate::{self, Kind};
use crate::json_patch::JsonPatch;
use crate::kustomization::{Kustomization, OpenApi, Patch, Replacement, ReplacementField};
use crate::limits::Budget;
use crate::load::Loader;
use crate::metadata::{self, Notes};
use crate::name_reference::fix_references;
use crate::patches::{self, Allow, Loaded, PreviousId};
use crate::read::{Entry, Given, Read, Text};
use crate::resmap::ResMap;
use crate::resource::{Plugin, Resource, Step};
use crate::schema::Schemas;
use crate::transform::{self, NamespaceOptions};
use crate::vars::Vars;
use crate::{Built, Options, Reorder, Rules, directory, hash, objects, order, plugin, replace};

/// A build in progress: what all layers share.
pub(crate) struct Builder<'a> {
    pub(crate) options: &'a Options<'a>,
    pub(crate) schemas: Schemas,
    configurations: Configurations,
    /// Whether a kustomization has said which schemas count; the first one that does wins.
    schemas_given: bool,
    /// What new resources note for `buildMetadata`, when the target asks for any.
    notes: Option<Notes>,
    pub(crate) budget: &'a Budget<'a>,
    /// Where warnings go, and the faults that keep nothing else from being built.
    built: &'a mut Built,
}

/// What a layer has gathered so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accumulator {
    pub(crate) resources: ResMap,
    pub(crate) config: Arc<TransformerConfig>,
    pub(crate) vars: Vars,
}

type Faults = Vec<Diagnostic>;

/// One fault as all faults.
pub(crate) fn one(fault: Diagnostic) -> Faults {
    vec![fault]
}

impl<'a> Builder<'a> {
    pub(crate) fn new(options: &'a Options<'a>, budget: &'a Budget<'a>, built: &'a mut Built) -> Self {
        Self {
            options,
            schemas: Schemas::builtin(),
            configurations: Configurations::default(),
            schemas_given: false,
            notes: None,
            budget,
            built,
        }
    }

    /// Builds the kustomization of the target directory.
    pub(crate) fn build(mut self, loader: &Loader<'_>, target: &Kustomization) -> Result<Vec<Resource>, Faults> {
        self.notes = Notes::asked_by(target);
        if let Some(openapi) = &target.openapi {
            self.use_schemas(openapi, loader).map_err(|mut faults| {
                faults.extend(self.check(loader, target));
                faults
            })?;
        }
        self.budget.enter(loader.directory()).map_err(|message| one(Diagnostic::general(message)))?;
        let Accumulator { mut resources, config, vars } = self.accumulate(loader, target, Accumulator::default())?;
        let schemas = &self.schemas;
        let (traces, budget) = (self.options.trace, self.budget);
        traced(&mut resources, traces, &hash_step, &mut |resources| {
            hash::add(resources, schemas, budget).map_err(one)
        })?;
        let step = whole_step(target, "name references", "NameReferenceTransformer");
        traced(&mut resources, traces, &|_| step.clone(), &mut |resources| {
            fix_references(resources, &config.name_reference, schemas, budget).map_err(one)
        })?;
        let step = whole_step(target, "vars", "RefVarTransformer");
        traced(&mut resources, traces, &|_| step.clone(), &mut |resources| {
            vars.resolve(resources, &config.var_reference, schemas, budget).map_err(one)
        })?;
        resources.resources_mut().retain(|resource| !is_local(resource));
        resources.check_unique(schemas).map_err(one)?;
        match (&target.sort_options, self.options.reorder) {
            (Some(options), _) => order::sort_by_options(&mut resources, options).map_err(one)?,
            (None, Reorder::Legacy) => order::sort_legacy(&mut resources, None),
            (None, Reorder::None) => {}
        }
        metadata::add(&mut resources, target, loader, self.budget).map_err(one)?;
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
        self.built.warnings.extend(kustomization.warnings.iter().cloned());
        let mut gathered = gathered;
        let mut rest = kustomization.components.iter();
        let parts = match self.load_parts(loader, kustomization, &mut gathered).and_then(|mut parts| {
            self.absorb(std::mem::take(&mut parts.generated), &mut gathered)?;
            Ok(parts)
        }) {
            Ok(parts) => parts,
            Err(faults) => return Err(self.with_rest(faults, loader, kustomization, rest)),
        };
        while let Some(given) = rest.next() {
            gathered = match self.add_component(loader, given, gathered) {
                Ok(gathered) => gathered,
                Err(faults) => return Err(self.with_rest(faults, loader, kustomization, rest)),
            };
        }
        let plugins = self.load_plugins(loader, kustomization)?;
        self.transform(kustomization, &parts, &plugins.transformers, &mut gathered)?;
        self.validate(&plugins.validators, &mut gathered)?;
        gathered.vars.declare(&kustomization.vars, &gathered.resources, &self.schemas).map_err(one)?;
        Ok(gathered)
    }

    /// Loads what a kustomization names but its components and plugins, and puts together what needs nothing of them.
    fn load_parts(
        &mut self,
        loader: &Loader<'_>,
        kustomization: &Kustomization,
        gathered: &mut Accumulator,
    ) -> Result<Parts, Faults> {
        let mut faults = Vec::new();
        if let Err(wrong) = self.add_resources(loader, &kustomization.resources, gathered) {
            // The files of a plain directory have nothing to do with each other: what is whole is built all the same.
            if kustomization.is_generated { self.built.faults.extend(wrong) } else { faults.extend(wrong) }
        }
        faults.extend(self.add_configurations(loader, kustomization, gathered));
        let parts = Parts {
            generated: kept(self.generate(loader, kustomization), &mut faults),
            patches: kept(load_patches(kustomization, loader), &mut faults),
            replacements: kept(load_replacements(&kustomization.replacements, loader), &mut faults),
        };
        if faults.is_empty() { Ok(parts) } else { Err(faults) }
    }

    fn load_plugins(&mut self, loader: &Loader<'_>, kustomization: &Kustomization) -> Result<Plugins, Faults> {
        let mut faults = Vec::new();
        let plugins = Plugins {
            transformers: kept(plugin::load_transformers(self, loader, &kustomization.transformers), &mut faults),
            validators: kept(plugin::load_transformers(self, loader, &kustomization.validators), &mut faults),
        };
        if faults.is_empty() { Ok(plugins) } else { Err(faults) }
    }

    /// Adds to the faults of a kustomization those of what it names and was not looked at yet.
    fn with_rest<'k>(
        &mut self,
        mut faults: Faults,
        loader: &Loader<'_>,
        kustomization: &Kustomization,
        components: impl Iterator<Item = &'k Text>,
    ) -> Faults {
        for given in components {
            match self.open_component(loader, given) {
                Ok((component, kustomization)) => faults.extend(self.check(&component, &kustomization)),
                Err(wrong) => faults.extend(wrong),
            }
        }
        faults.extend(self.load_plugins(loader, kustomization).err().unwrap_or_default());
        faults
    }

    /// The faults of what a kustomization names, when there is nothing left to be built.
    fn check(&mut self, loader: &Loader<'_>, kustomization: &Kustomization) -> Faults {
        let loaded = self.load_parts(loader, kustomization, &mut Accumulator::default());
        let faults = loaded.err().unwrap_or_default();
        self.with_rest(faults, loader, kustomization, kustomization.components.iter())
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
        let documents =
            yaml::parse(&file.path, &file.content).map_err(|faults| given.entry.because_all(faults.into_vec()))?;
        let mut collector = objects::Collector::new(self.options.document_hook, self.options.rules);
        let mut faults = Vec::new();
        let mut add = |mut resource: Resource| {
            resource.notes.clone_from(&self.notes);
            let added =
                self.budget.resource(&resource).and_then(|()| gathered.resources.append(resource, &self.schemas));
            faults.extend(added.err());
        };
        for document in documents {
            collector.document(document);
            // At once, as it has just been looked at.
            collector.so_far().for_each(&mut add);
        }
        let (resources, wrong) = collector.finish();
        resources.into_iter().for_each(&mut add);
        faults.extend(wrong);
        if faults.is_empty() { Ok(()) } else { Err(given.entry.because_all(faults)) }
    }

    fn add_base(&mut self, loader: &Loader<'_>, given: &Text, gathered: &mut Accumulator) -> Result<(), Faults> {
        let base = loader.enter(given).map_err(one)?;
        let kustomization = self.load(&base, &given.entry)?;
        if kustomization.is_component {
            let message = format!("expected kind != 'Component' for {:?}: name it under `components`", given.value);
            let mut fault = given.entry.fault(message);
            // An entry that stands for what a directory holds was written nowhere.
            fault.at = fault.at.or_else(|| file_place(&kustomization.file));
            return Err(one(fault));
        }
        let Accumulator { resources, config, vars } = self.accumulate(&base, &kustomization, Accumulator::default())?;
        gathered.resources.append_all(resources, &self.schemas).map_err(|faults| given.entry.because_all(faults))?;
        self.configurations.merge(&mut gathered.config, &config, &given.entry, self.budget).map_err(one)?;
        gathered.vars.join(vars).map_err(|fault| one(given.entry.because(fault)))
    }

    fn add_component(
        &mut self,
        loader: &Loader<'_>,
        given: &Text,
        gathered: Accumulator,
    ) -> Result<Accumulator, Faults> {
        let (component, kustomization) = self.open_component(loader, given)?;
        self.accumulate(&component, &kustomization, gathered)
    }

    fn open_component<'t>(&mut self, loader: &Loader<'t>, given: &Text) -> Result<(Loader<'t>, Kustomization), Faults> {
        let component = loader.enter(given).map_err(one)?;
        let kustomization = self.load(&component, &given.entry)?;
        if !kustomization.is_component {
            return Err(one(given.entry.fault(format!(
                "expected kind 'Component' for path {:?} but got 'Kustomization': name it under `resources`",
                given.value
            ))));
        }
        Ok((component, kustomization))
    }

    /// Reads the kustomization of a directory that an entry names.
    fn load(&mut self, loader: &Loader<'_>, entry: &Entry) -> Result<Kustomization, Faults> {
        self.budget.enter(loader.directory()).map_err(|message| one(entry.fault(message)))?;
        let read = read_kustomization(loader).map_err(|faults| entry.because_all(faults))?;
        let kustomization = read.ok_or_else(|| {
            one(entry.fault(format!(
                "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory {:?}",
                loader.directory()
            )))
        })?;
        if let Some(openapi) = kustomization.openapi.as_ref().filter(|_| !self.schemas_given) {
            self.use_schemas(openapi, loader).map_err(|mut faults| {
                faults.extend(self.check(loader, &kustomization));
                faults
            })?;
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
                let document = loader.single_configuration(&file, &path.entry)?;
                // Once kustomize has read the built-in schemas, these stay.
                let made = if self.options.rules == Rules::Kustomize && !self.schemas.are_asked() {
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

    /// Adds the configuration of a kustomization; all that is wrong with it.
    fn add_configurations(
        &mut self,
        loader: &Loader<'_>,
        kustomization: &Kustomization,
        gathered: &mut Accumulator,
    ) -> Faults {
        let mut faults = Vec::new();
        let Self { configurations, budget, .. } = self;
        let mut own = TransformerConfig::empty().clone();
        for given in &kustomization.configurations {
            match configurations.read(loader, given) {
                Ok(config) => faults.extend(configurations.merge(&mut own, &config, &given.entry, budget).err()),
                Err(wrong) => faults.extend(wrong),
            }
        }
        let whole =
            Entry { field: "configurations".to_owned(), at: file_place(&kustomization.file), is_lenient: false };
        let mut config = TransformerConfig::builtin().clone();
        if !kustomization.configurations.is_empty() {
            faults.extend(configurations.merge(&mut config, &own, &whole, budget).err());
        }
        faults.extend(configurations.merge(&mut gathered.config, &config, &whole, budget).err());
        for given in &kustomization.crds {
            match configurations.read_crds(loader, given) {
                Ok(config) => {
                    faults.extend(configurations.merge(&mut gathered.config, &config, &given.entry, budget).err());
                }
                Err(wrong) => faults.extend(wrong),
            }
        }
        faults
    }

    /// Makes the resources of all generators, each with the entry that it is due to.
    fn generate(
        &mut self,
        loader: &Loader<'_>,
        kustomization: &Kustomization,
    ) -> Result<Vec<(Resource, Entry)>, Faults> {
        let global = kustomization.generator_options.as_ref();
        let maps = kustomization.config_map_generator.iter().map(|args| (Kind::ConfigMap, args));
        let secrets = kustomization.secret_generator.iter().map(|args| (Kind::Secret, args));
        let mut generated = Vec::new();
        let mut faults = Vec::new();
        for (kind, given) in maps.chain(secrets) {
            match generate::generate(kind, given, global, loader, &kustomization.file) {
                Ok(mut resource) => {
                    resource.generator = Some(step(kustomization, &given.entry, kind.plugin()));
                    generated.push((resource, given.entry.clone()));
                }
                Err(wrong) => faults.extend(wrong),
            }
        }
        for generator in kept(plugin::load_generators(self, loader, &kustomization.generators), &mut faults) {
            match generator.generate(loader) {
                Ok(resource) => generated.push((resource, generator.given().clone())),
                Err(wrong) => faults.extend(wrong),
            }
        }
        if faults.is_empty() { Ok(generated) } else { Err(faults) }
    }

    /// Joins generated resources with what was gathered.
    fn absorb(&self, generated: Vec<(Resource, Entry)>, gathered: &mut Accumulator) -> Result<(), Faults> {
        let mut faults = Vec::new();
        for (mut resource, entry) in generated {
            resource.notes.clone_from(&self.notes);
            let absorbed =
                self.budget.resource(&resource).and_then(|()| gathered.resources.absorb(resource, &self.schemas));
            faults.extend(absorbed.err().map(|fault| entry.because(fault)));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn transform(
        &self,
        kustomization: &Kustomization,
        parts: &Parts,
        plugins: &[plugin::Transformer],
        gathered: &mut Accumulator,
    ) -> Result<(), Faults> {
        let Accumulator { resources, config, .. } = gathered;
        let Parts { patches, replacements, .. } = parts;
        let schemas = self.schemas.clone();
        let schemas = &schemas;
        let budget = self.budget;
        let traces = self.options.trace;
        let is_told = traces || self.notes.is_some();
        let mut run = |entry: &Entry, plugin: &'static str, act: &mut dyn FnMut(&mut ResMap) -> Result<(), Faults>| {
            let step = is_told.then(|| step(kustomization, entry, plugin));
            run_step(resources, step, traces, budget, &|message| entry.fault(message), act)
        };

        if let Some(first) = kustomization.patches_strategic_merge.first() {
            run(&first.entry, "PatchStrategicMergeTransformer", &mut |resources| {
                let loaded: Vec<_> = patches.strategic.iter().map(|(patch, entry)| (patch, entry)).collect();
                patches::apply_by_id(resources, &loaded, Allow::default(), schemas, budget).map_err(one)
            })?;
        }
        for (given, loaded) in kustomization.patches.iter().zip(&patches.patches) {
            run(&given.entry, "PatchTransformer", &mut |resources| {
                patches::apply(resources, given, loaded, schemas, budget).map_err(one)
            })?;
        }
        if let Some(namespace) = &kustomization.namespace {
            run(&namespace.entry, "NamespaceTransformer", &mut |resources| {
                let options = NamespaceOptions::default();
                renaming(resources, &namespace.entry, &mut |resources| {
                    transform::namespace(resources, &namespace.value, &options, &config.namespace, schemas, budget)
                })
            })?;
        }
        if let Some(prefix) = kustomization.name_prefix.as_ref().filter(|prefix| !prefix.value.is_empty()) {
            run(&prefix.entry, "PrefixTransformer", &mut |resources| {
                renaming(resources, &prefix.entry, &mut |resources| {
                    transform::prefix(resources, &prefix.value, &config.name_prefix, schemas, budget)
                })
            })?;
        }
        if let Some(suffix) = kustomization.name_suffix.as_ref().filter(|suffix| !suffix.value.is_empty()) {
            run(&suffix.entry, "SuffixTransformer", &mut |resources| {
                renaming(resources, &suffix.entry, &mut |resources| {
                    transform::suffix(resources, &suffix.value, &config.name_suffix, schemas, budget)
                })
            })?;
        }
        for given in &kustomization.labels {
            run(&given.entry, "LabelTransformer", &mut |resources| {
                let specs =
                    transform::label_specs(&given.value, config).map_err(|message| one(given.entry.fault(message)))?;
                transform::labels(resources, &given.value.pairs, &specs, budget)
                    .map_err(|fault| one(given.entry.because(fault)))
            })?;
        }
        match (&kustomization.common_labels, kustomization.labels.first()) {
            (Some(labels), _) => run(&labels.entry, "LabelTransformer", &mut |resources| {
                transform::labels(resources, &labels.value, &config.common_labels, budget)
                    .map_err(|fault| one(labels.entry.because(fault)))
            })?,
            // kustomize runs the step of `commonLabels` after each `labels`, which `buildMetadata` shows.
            (None, Some(labels)) => run(&labels.entry, "LabelTransformer", &mut |_| Ok(()))?,
            (None, None) => {}
        }
        if let Some(annotations) = &kustomization.common_annotations {
            run(&annotations.entry, "AnnotationsTransformer", &mut |resources| {
                transform::annotations(resources, &annotations.value, &config.common_annotations, budget)
                    .map_err(|fault| one(annotations.entry.because(fault)))
            })?;
        }
        for (given, (operations, target)) in kustomization.patches_json6902.iter().zip(&patches.json6902) {
            run(&given.entry, "PatchJson6902Transformer", &mut |resources| {
                let previous = PreviousId::Forgotten;
                patches::apply_json(resources, operations, target, previous, &given.entry, schemas, budget).map_err(one)
            })?;
        }
        for given in &kustomization.replicas {
            run(&given.entry, "ReplicaCountTransformer", &mut |resources| {
                transform::replicas(resources, &given.value, &config.replicas, budget)
                    .map_err(|fault| one(given.entry.because(fault)))
            })?;
        }
        for given in &kustomization.images {
            run(&given.entry, "ImageTagTransformer", &mut |resources| {
                transform::image(resources, &given.value, &config.images, budget)
                    .map_err(|fault| one(given.entry.because(fault)))
            })?;
        }
        if let Some(first) = kustomization.replacements.first() {
            run(&first.entry, "ReplacementTransformer", &mut |resources| {
                for (replacement, entry) in replacements {
                    replace::replace(resources, replacement, entry, budget).map_err(one)?;
                }
                Ok(())
            })?;
        }
        for transformer in plugins {
            let step = is_told.then(|| transformer.step());
            run_step(resources, step, traces, budget, &|message| transformer.fault(message), &mut |resources| {
                transformer.transform(resources, schemas, budget)
            })?;
        }
        Ok(())
    }

    /// Validators are transformers that must change nothing but a label of theirs.
    fn validate(&self, validators: &[plugin::Transformer], gathered: &mut Accumulator) -> Result<(), Faults> {
        /// The label by which a validator may sign what it has seen.
        const VALIDATED_BY: &str = "validated-by";
        for validator in validators {
            let work = STEPS_OF_COMPARING * gathered.resources.len();
            self.budget.work(work).map_err(|message| one(validator.fault(&message)))?;
            let before = gathered.resources.clone();
            validator.transform(&mut gathered.resources, &self.schemas, self.budget)?;
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
    let documents = loader.configuration(&file)?;
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

/// What came of loading; nothing when that failed, and the faults with the others.
fn kept<T: Default>(loaded: Result<T, Faults>, faults: &mut Faults) -> T {
    loaded.unwrap_or_else(|wrong| {
        faults.extend(wrong);
        T::default()
    })
}

/// What a kustomization names, read: what its own steps take.
struct Parts {
    generated: Vec<(Resource, Entry)>,
    patches: Patches,
    replacements: Vec<(Replacement, Entry)>,
}

/// The plugins of a kustomization, read.
struct Plugins {
    transformers: Vec<plugin::Transformer>,
    validators: Vec<plugin::Transformer>,
}

/// The patches of a kustomization, read.
#[derive(Default)]
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
pub(crate) fn load_replacements(
    given: &[Given<ReplacementField>],
    loader: &Loader<'_>,
) -> Result<Vec<(Replacement, Entry)>, Faults> {
    let mut replacements = Vec::new();
    let mut faults = Vec::new();
    given.iter().for_each(|field| replacements.extend(kept(load_replacement(field, loader), &mut faults)));
    if faults.is_empty() { Ok(replacements) } else { Err(faults) }
}

/// An entry of `replacements`, or those of the file that it names.
fn load_replacement(given: &Given<ReplacementField>, loader: &Loader<'_>) -> Result<Vec<(Replacement, Entry)>, Faults> {
    let field = &given.value;
    let Some(path) = &field.path else {
        return Ok(vec![(field.replacement.clone(), given.entry.clone())]);
    };
    let inline = &field.replacement;
    if inline.source.is_some() || inline.source_value.is_some() || !inline.targets.is_empty() {
        return Err(one(given.entry.fault("cannot specify both path and inline replacement")));
    }
    let file = loader.file(path).map_err(one)?;
    let node = loader.single_configuration(&file, &path.entry)?;
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
    if faults.is_empty() { Ok(replacements) } else { Err(path.entry.because_all(faults)) }
}

/// How many steps a copy of a resource is, and a comparison with it.
const STEPS_OF_COMPARING: usize = 4;

/// Runs a transformer, tells the resources of it when they have to know, and drops what it emptied.
fn run_step(
    resources: &mut ResMap,
    step: Option<Arc<Step>>,
    traces: bool,
    budget: &Budget<'_>,
    fault: &dyn Fn(&str) -> Diagnostic,
    act: &mut dyn FnMut(&mut ResMap) -> Result<(), Faults>,
) -> Result<(), Faults> {
    let count = resources.len();
    let steps = if traces { STEPS_OF_COMPARING * count } else { count };
    let notes = if step.is_some() { 2 * count * size_of::<Arc<Step>>() } else { 0 };
    budget.work(steps).and_then(|()| budget.grow(0, notes)).map_err(|message| one(fault(&message)))?;
    match step {
        None => act(resources)?,
        Some(step) => {
            traced(resources, traces, &|_| step.clone(), act)?;
            let notes = resources.resources_mut().iter_mut().filter_map(|resource| resource.notes.as_mut());
            notes.for_each(|notes| notes.pass(&step));
        }
    }
    resources.remove_dropped();
    Ok(())
}

/// Acts on resources, which then know the step that changed them when the build traces.
fn traced(
    resources: &mut ResMap,
    traces: bool,
    step: &dyn Fn(&Resource) -> Arc<Step>,
    act: &mut dyn FnMut(&mut ResMap) -> Result<(), Faults>,
) -> Result<(), Faults> {
    let before = traces.then(|| resources.clone());
    act(resources)?;
    let Some(before) = before else { return Ok(()) };
    for (resource, before) in resources.resources_mut().iter_mut().zip(before.resources()) {
        if resource.node != before.node {
            let step = step(resource);
            resource.changes.push(step);
        }
    }
    Ok(())
}

/// Runs what changes names or namespaces for an entry, by which the resources then know to have been renamed.
fn renaming(
    resources: &mut ResMap,
    entry: &Entry,
    act: &mut dyn FnMut(&mut ResMap) -> Result<(), Diagnostic>,
) -> Result<(), Faults> {
    let before: Vec<usize> = resources.resources().iter().map(|resource| resource.previous.len()).collect();
    act(resources).map_err(|fault| one(entry.because(fault)))?;
    let by: Arc<str> = match &entry.at {
        Some(at) => format!("`{}` at {at}", entry.field).into(),
        None => format!("`{}` of the BundleSync", entry.field).into(),
    };
    for (resource, before) in resources.resources_mut().iter_mut().zip(before) {
        if resource.previous.len() > before {
            resource.renamed_by.push((before, by.clone()));
        }
    }
    Ok(())
}

/// The hash in the name of a resource as a step: whoever made the resource asked for it.
fn hash_step(resource: &Resource) -> Arc<Step> {
    let plugin = Plugin::builtin("HashTransformer");
    Arc::new(match resource.generator.as_deref() {
        Some(generator) => Step { plugin, ..generator.clone() },
        None => Step {
            field: "metadata.annotations".to_owned(),
            plugin,
            at: Some(resource.place()),
            file: resource.origin.file.clone(),
        },
    })
}

/// What is done for a whole build as a step.
fn whole_step(target: &Kustomization, what: &str, plugin: &'static str) -> Arc<Step> {
    step(target, &Entry { field: what.to_owned(), ..Entry::default() }, plugin)
}

/// A field of a kustomization as a step.
fn step(kustomization: &Kustomization, entry: &Entry, plugin: &'static str) -> Arc<Step> {
    Arc::new(Step {
        field: entry.field.clone(),
        plugin: Plugin::builtin(plugin),
        at: entry.at.clone(),
        file: kustomization.file.clone(),
    })
}

fn file_place(file: &Arc<str>) -> Option<Location> {
    Some(Location { file: file.clone(), line: 1, column: 1 })
}

/// Whether a resource takes part in the build only, by its annotation.
fn is_local(resource: &Resource) -> bool {
    resource
        .metadata_pairs("annotations")
        .any(|(key, value)| key == "config.kubernetes.io/local-config" && value != "false")
}
