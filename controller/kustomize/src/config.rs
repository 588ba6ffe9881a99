//! [`TransformerConfig`]: which fields of which kinds the transformers act on, when a transformer does not say itself.
//!
//! The defaults are a table of this crate; `configurations` and `crds` files add to them, and what a base adds holds for
//! the overlays above it too.
//!
//! Architecture invariant: fields only. Nothing here knows a resource. Merging is linear in the field specs, and a build
//! reads each file once and merges the same two configurations once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use manifest::Diagnostic;
use manifest::yaml::{MAX_DEPTH, Node};

use crate::fieldspec::FieldSpec;
use crate::id::Gvk;
use crate::limits::Budget;
use crate::load::Loader;
use crate::read::{Entry, Fields, Read, Text};

/// The defaults of kustomize v5.8.1.
const BUILTIN: &str = include_str!("config/builtin.txt");

/// How many field specs one list may hold: each costs something for each resource.
const MAX_FIELD_SPECS: usize = 2048;

/// How many properties of `crds` are looked at, since types may refer to others many times over.
const MAX_PROPERTIES: usize = 100_000;

/// The fields that each transformer acts on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransformerConfig {
    pub(crate) name_prefix: Vec<FieldSpec>,
    pub(crate) name_suffix: Vec<FieldSpec>,
    pub(crate) namespace: Vec<FieldSpec>,
    pub(crate) common_labels: Vec<FieldSpec>,
    pub(crate) labels: Vec<FieldSpec>,
    pub(crate) template_labels: Vec<FieldSpec>,
    pub(crate) common_annotations: Vec<FieldSpec>,
    pub(crate) name_reference: Vec<BackReference>,
    pub(crate) var_reference: Vec<FieldSpec>,
    pub(crate) images: Vec<FieldSpec>,
    pub(crate) replicas: Vec<FieldSpec>,
}

/// The fields that hold the name of a resource of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackReference {
    /// The kind that is referred to; empty parts match all.
    pub(crate) gvk: Gvk,
    /// The fields that refer.
    pub(crate) referrers: Vec<FieldSpec>,
}

impl Read for BackReference {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let mut fields = Fields::open(node, entry, faults)?;
        let reference = Self { gvk: Gvk::take(&mut fields), referrers: fields.take_or_default("fieldSpecs") };
        fields.finish();
        Some(reference)
    }
}

impl TransformerConfig {
    /// The defaults. Every kustomization starts with them.
    pub(crate) fn builtin() -> &'static Arc<Self> {
        static PARSED: LazyLock<Arc<TransformerConfig>> = LazyLock::new(|| Arc::new(parse(BUILTIN)));
        &PARSED
    }

    /// Nothing: what is merged into first.
    pub(crate) fn empty() -> &'static Arc<Self> {
        static EMPTY: LazyLock<Arc<TransformerConfig>> = LazyLock::new(Arc::default);
        &EMPTY
    }

    /// Reads a file of `configurations`.
    ///
    /// Since the order of merging matters, it is kustomize's: the files of a kustomization into an empty configuration,
    /// that into the defaults, and the whole into what was gathered.
    pub(crate) fn read(file: &Node, at: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        if file.is_null() {
            return Some(Self::default());
        }
        let before = faults.len();
        let whole = Entry { at: at.at.clone(), ..Entry::default() };
        let mut fields = Fields::open(file, &whole, faults)?;
        let mut config = Self {
            name_prefix: fields.take_or_default("namePrefix"),
            name_suffix: fields.take_or_default("nameSuffix"),
            namespace: fields.take_or_default("namespace"),
            common_labels: fields.take_or_default("commonLabels"),
            labels: fields.take_or_default("labels"),
            template_labels: fields.take_or_default("templateLabels"),
            common_annotations: fields.take_or_default("commonAnnotations"),
            name_reference: fields.take_or_default("nameReference"),
            var_reference: fields.take_or_default("varReference"),
            images: fields.take_or_default("images"),
            replicas: fields.take_or_default("replicas"),
        };
        fields.finish();
        config.sort();
        (faults.len() == before).then_some(config)
    }

    /// Reads a file of `crds`: OpenAPI definitions by the names of their Go types, whose extensions say which fields
    /// are annotations, label selectors, names, or references to other kinds.
    ///
    /// # Errors
    /// When the file is something else, above all a CustomResourceDefinition, or when a type holds itself.
    pub(crate) fn from_crds(file: &Node) -> Result<Self, Diagnostic> {
        let expected = |node: &Node, what: &str| {
            node.fault(format!(
                "{what} is {}; a file of `crds` maps the names of types to their OpenAPI definitions \
                 (it is no CustomResourceDefinition)",
                node.type_name()
            ))
        };
        let Some(types) = file.as_mapping() else { return Err(expected(file, "the file")) };
        if let Some((name, node)) = types.iter().find(|(_, node)| node.as_mapping().is_none() && !node.is_null()) {
            return Err(expected(node, &format!("`{}`", name.name)));
        }
        let mut found = Self::default();
        let mut reader = Crds { file, left: MAX_PROPERTIES };
        for (name, node) in types {
            let properties = properties(node);
            let has = |wanted: &str| properties.iter().any(|(key, _)| &*key.name == wanted);
            if !(has("kind") && has("apiVersion") && has("metadata")) {
                continue;
            }
            let kind = name.name.rsplit('.').next().unwrap_or_default();
            let gvk = Gvk { kind: kind.to_owned(), ..Gvk::default() };
            reader
                .read_type(&mut found, &gvk, &mut vec![&name.name], &mut Vec::new())
                .map_err(|message| node.fault(format!("type {:?}: {message}", name.name)))?;
        }
        let mut all = Self::default();
        all.merge_lists(&found).map_err(|message| file.fault(message))?;
        Ok(all)
    }

    /// Adds what another has that this has not.
    ///
    /// A field spec that selects one which is there already, with the same path, adds nothing: so a general one is lost
    /// behind a special one, as with kustomize.
    ///
    /// # Errors
    /// When the two differ in `create`.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<(), String> {
        let builtin = &**Self::builtin();
        let (is_empty, is_builtin) = (*self == Self::default(), *self == *builtin);
        if (is_empty || is_builtin) && (std::ptr::eq(other, builtin) || *other == *builtin) {
            // Merged into nothing or into themselves, the defaults are the defaults.
            if is_empty {
                self.clone_from(builtin);
            }
            return Ok(());
        }
        self.merge_lists(other)
    }

    fn merge_lists(&mut self, other: &Self) -> Result<(), String> {
        for ((name, list), (_, more)) in self.lists_mut().into_iter().zip(other.lists()) {
            let before = list.len();
            merge_all(list, more).map_err(|fault| format!("failed to merge {name} fieldSpec: {fault}"))?;
            if list.len() > before {
                list.sort_by_cached_key(|spec| spec.gvk.sort_key());
            }
        }
        merge_references(&mut self.name_reference, &other.name_reference)
            .map_err(|fault| format!("failed to merge nameReference fieldSpec: {fault}"))
    }

    /// How many field specs there are.
    fn len(&self) -> usize {
        let referrers = self.name_reference.iter().map(|reference| reference.referrers.len());
        self.lists().iter().map(|(_, list)| list.len()).chain(referrers).sum()
    }

    fn sort(&mut self) {
        for (_, list) in self.lists_mut() {
            list.sort_by_cached_key(|spec| spec.gvk.sort_key());
        }
        self.name_reference.sort_by_cached_key(|reference| reference.gvk.sort_key());
    }

    /// All lists of field specs, by their names in a file.
    fn lists(&self) -> [(&'static str, &Vec<FieldSpec>); 10] {
        [
            ("namePrefix", &self.name_prefix),
            ("nameSuffix", &self.name_suffix),
            ("namespace", &self.namespace),
            ("commonAnnotations", &self.common_annotations),
            ("commonLabels", &self.common_labels),
            ("labels", &self.labels),
            ("templateLabels", &self.template_labels),
            ("varReference", &self.var_reference),
            ("images", &self.images),
            ("replicas", &self.replicas),
        ]
    }

    fn lists_mut(&mut self) -> [(&'static str, &mut Vec<FieldSpec>); 10] {
        [
            ("namePrefix", &mut self.name_prefix),
            ("nameSuffix", &mut self.name_suffix),
            ("namespace", &mut self.namespace),
            ("commonAnnotations", &mut self.common_annotations),
            ("commonLabels", &mut self.common_labels),
            ("labels", &mut self.labels),
            ("templateLabels", &mut self.template_labels),
            ("varReference", &mut self.var_reference),
            ("images", &mut self.images),
            ("replicas", &mut self.replicas),
        ]
    }
}

/// Adds field specs to a list, as [`TransformerConfig::merge`] does.
///
/// # Errors
/// When two differ in `create`, or when there are too many.
pub(crate) fn merge_all(list: &mut Vec<FieldSpec>, more: &[FieldSpec]) -> Result<(), String> {
    if list.len() + more.len() > MAX_FIELD_SPECS {
        return Err(format!("more than {MAX_FIELD_SPECS} field specs"));
    }
    let mut added = Vec::new();
    let mut selectable = Selectable::default();
    if !more.is_empty() {
        list.iter().for_each(|spec| selectable.add(spec));
    }
    for spec in more {
        match selectable.find(spec) {
            Some(there) if there.create != spec.create => {
                return Err(format!(
                    "conflicting fieldspecs: {there}, and {spec}: give both the same `create`, or leave one out"
                ));
            }
            Some(_) => {}
            None => {
                selectable.add(spec);
                added.push(spec.clone());
            }
        }
    }
    list.extend(added);
    Ok(())
}

/// Field specs by their path and by each group, version and kind that selects them, of which an empty one stands for all.
#[derive(Default)]
struct Selectable<'s>(HashMap<[&'s str; 4], &'s FieldSpec>);

impl<'s> Selectable<'s> {
    /// Adds one, behind those that are there.
    fn add(&mut self, spec: &'s FieldSpec) {
        let Gvk { group, version, kind } = &spec.gvk;
        let choices = |text: &'s str| if text.is_empty() { vec![""] } else { vec!["", text] };
        for group in choices(group) {
            for version in choices(version) {
                for kind in choices(kind) {
                    self.0.entry([spec.path.as_str(), group, version, kind]).or_insert(spec);
                }
            }
        }
    }

    /// The first that another selects, with its path.
    fn find(&self, spec: &FieldSpec) -> Option<&'s FieldSpec> {
        let Gvk { group, version, kind } = &spec.gvk;
        self.0.get(&[spec.path.as_str(), group, version, kind]).copied()
    }
}

/// Adds what refers to kinds; each kind is there once.
fn merge_references(list: &mut Vec<BackReference>, more: &[BackReference]) -> Result<(), String> {
    let mut places: HashMap<Gvk, usize> =
        list.iter().enumerate().map(|(place, there)| (there.gvk.clone(), place)).collect();
    let before = list.len();
    for reference in more {
        if let Some(there) = places.get(&reference.gvk).and_then(|place| list.get_mut(*place)) {
            merge_all(&mut there.referrers, &reference.referrers)?;
            continue;
        }
        if list.len().max(reference.referrers.len()) >= MAX_FIELD_SPECS {
            return Err(format!("more than {MAX_FIELD_SPECS} of them"));
        }
        places.insert(reference.gvk.clone(), list.len());
        list.push(reference.clone());
    }
    if list.len() > before {
        list.sort_by_cached_key(|reference| reference.gvk.sort_key());
    }
    Ok(())
}

/// The configurations of a build.
#[derive(Default)]
pub(crate) struct Configurations {
    /// What was read, by the path of the file.
    read: HashMap<Arc<str>, Arc<TransformerConfig>>,
    /// As above, of files of `crds`.
    crds: HashMap<Arc<str>, Arc<TransformerConfig>>,
    /// What came of merging two, which are kept so that nothing else gets their address.
    merged: HashMap<[*const TransformerConfig; 2], Merged>,
}

struct Merged {
    _of: [Arc<TransformerConfig>; 2],
    result: Result<Arc<TransformerConfig>, String>,
}

impl Configurations {
    /// A file of `configurations`.
    ///
    /// # Errors
    /// The faults of the file, each with the entry.
    pub(crate) fn read(
        &mut self,
        loader: &Loader<'_>,
        given: &Text,
    ) -> Result<Arc<TransformerConfig>, Vec<Diagnostic>> {
        let file = loader.file(given).map_err(|fault| vec![fault])?;
        if let Some(config) = self.read.get(&file.path) {
            return Ok(config.clone());
        }
        let node = loader.single_configuration(&file, &given.entry)?;
        let mut faults = Vec::new();
        let config = TransformerConfig::read(&node, &Entry::default(), &mut faults);
        let config = Arc::new(config.ok_or_else(|| given.entry.because_all(faults))?);
        self.read.insert(file.path, config.clone());
        Ok(config)
    }

    /// A file of `crds`.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub(crate) fn read_crds(
        &mut self,
        loader: &Loader<'_>,
        given: &Text,
    ) -> Result<Arc<TransformerConfig>, Vec<Diagnostic>> {
        let file = loader.file(given).map_err(|fault| vec![fault])?;
        if let Some(config) = self.crds.get(&file.path) {
            return Ok(config.clone());
        }
        let node = loader.single_configuration(&file, &given.entry)?;
        let config = TransformerConfig::from_crds(&node).map_err(|fault| vec![given.entry.because(fault)])?;
        let config = Arc::new(config);
        self.crds.insert(file.path, config.clone());
        Ok(config)
    }

    /// Merges as [`TransformerConfig::merge`] does.
    ///
    /// # Errors
    /// As there, at the entry that brought in the second.
    pub(crate) fn merge(
        &mut self,
        into: &mut Arc<TransformerConfig>,
        other: &Arc<TransformerConfig>,
        entry: &Entry,
        budget: &Budget<'_>,
    ) -> Result<(), Diagnostic> {
        /// How many field specs are merged at the cost of a look at a resource.
        const SPECS_A_STEP: usize = 16;
        if **into == TransformerConfig::default() {
            *into = TransformerConfig::empty().clone();
        }
        let key = [Arc::as_ptr(into), Arc::as_ptr(other)];
        let result = match self.merged.get(&key) {
            Some(merged) => merged.result.clone(),
            None => {
                // Into nothing or into itself, it costs no more than reading did.
                if into.len() > 0 && !Arc::ptr_eq(into, other) {
                    budget.work((into.len() + other.len()) / SPECS_A_STEP).map_err(|message| entry.fault(message))?;
                }
                let mut whole = TransformerConfig::clone(into);
                let result = whole.merge(other).map(|()| match whole {
                    // The same one, so that what it is merged with next is known too.
                    whole if whole == **into => into.clone(),
                    whole if whole == **other => other.clone(),
                    whole => Arc::new(whole),
                });
                self.merged.insert(key, Merged { _of: [into.clone(), other.clone()], result: result.clone() });
                result
            }
        };
        *into = result.map_err(|message| entry.fault(message))?;
        Ok(())
    }
}

/// Reads the table of the defaults.
fn parse(table: &str) -> TransformerConfig {
    let mut config = TransformerConfig::default();
    let mut section = "";
    for line in table.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            if let Some(kind) = section.strip_prefix("nameReference ") {
                config.name_reference.push(BackReference { gvk: parse_gvk(kind), referrers: Vec::new() });
            }
            continue;
        }
        let (line, create) = line.strip_prefix("+ ").map_or((line, false), |line| (line, true));
        let Some((path, kinds)) = line.split_once(" = ") else { continue };
        let specs = kinds.split(' ').map(|kind| FieldSpec { gvk: parse_gvk(kind), ..FieldSpec::new(path, create) });
        if section.starts_with("nameReference ") {
            config.name_reference.last_mut().into_iter().for_each(|last| last.referrers.extend(specs.clone()));
        } else if let Some((_, list)) = config.lists_mut().into_iter().find(|(name, _)| *name == section) {
            list.extend(specs);
        }
    }
    config.sort();
    config
}

/// `Kind,version=v1,group=apps`, or `*` for any.
fn parse_gvk(text: &str) -> Gvk {
    let mut gvk = Gvk::default();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("version", version)) => version.clone_into(&mut gvk.version),
            Some((_, group)) => group.clone_into(&mut gvk.group),
            None if part != "*" => part.clone_into(&mut gvk.kind),
            None => {}
        }
    }
    gvk
}

/// Walks the types of a file of `crds`.
struct Crds<'n> {
    file: &'n Node,
    /// How many properties may still be looked at.
    left: usize,
}

impl<'n> Crds<'n> {
    /// Adds the fields of the last of the types, which lies at a path of the kind.
    fn read_type(
        &mut self,
        config: &mut TransformerConfig,
        gvk: &Gvk,
        types: &mut Vec<&'n str>,
        path: &mut Vec<&'n str>,
    ) -> Result<(), String> {
        let definition = types.last().and_then(|name| self.file.get(name));
        for (name, property) in definition.map(properties).unwrap_or_default() {
            self.left = self.left.checked_sub(1).ok_or("it refers to too many other types")?;
            path.push(&name.name);
            let field = |more: Option<&str>| {
                let parts: Vec<&str> = path.iter().copied().chain(more).collect();
                let at = property.at.clone();
                FieldSpec { gvk: gvk.clone(), at, ..FieldSpec::new(&parts.join("/"), false) }
            };
            if extension(property, "x-kubernetes-annotation").is_some() {
                config.common_annotations.push(field(None));
            }
            if extension(property, "x-kubernetes-label-selector").is_some() {
                config.common_labels.push(field(None));
            }
            if extension(property, "x-kubernetes-identity").is_some() {
                config.name_prefix.push(field(None));
            }
            let reference = |part: &str| extension(property, &format!("x-kubernetes-object-ref-{part}"));
            if let (Some(version), Some(kind)) = (reference("api-version"), reference("kind")) {
                // kustomize takes the whole apiVersion for a version, so that only core kinds are ever found.
                let gvk = Gvk { group: String::new(), version: version.to_owned(), kind: kind.to_owned() };
                let referrers = vec![field(Some(reference("name-key").unwrap_or("name")))];
                config.name_reference.push(BackReference { gvk, referrers });
            }
            if let Some(other) = property.get("$ref").and_then(Node::as_str) {
                if types.contains(&other) {
                    return Err(format!("it holds itself, through {:?} at {:?}", other, path.join("/")));
                }
                if types.len() >= MAX_DEPTH {
                    return Err(format!("types refer to each other more than {MAX_DEPTH} deep, down to {other:?}"));
                }
                types.push(other);
                self.read_type(config, gvk, types, path)?;
                types.pop();
            }
            path.pop();
        }
        Ok(())
    }
}

/// The properties of a type.
fn properties(definition: &Node) -> &[(manifest::yaml::Key, Node)] {
    let mut fields = definition.as_mapping().unwrap_or_default().iter();
    let schema = fields.find(|(key, _)| key.name.eq_ignore_ascii_case("schema")).map(|(_, schema)| schema);
    schema.and_then(|schema| schema.get("properties")).and_then(Node::as_mapping).unwrap_or_default()
}

/// An extension of a property, when it is a string; the case of its name does not matter.
fn extension<'n>(property: &'n Node, name: &str) -> Option<&'n str> {
    let mut fields = property.as_mapping().unwrap_or_default().iter();
    fields.find(|(key, _)| key.name.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests;
