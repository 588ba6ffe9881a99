//! [`interpret`]: objects to what is desired.
//!
//! Per object: its metadata, what is missing filled in, the fields checked, then the rules of its kind. At last no two
//! may be one. Nothing stops at the first fault; an object with faults only takes part in the search for twins.

use std::collections::{HashMap, HashSet};
use std::fmt;

use api::bundle_release::InstallationId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manifest::yaml::Node;
use manifest::{Diagnostic, Diagnostics, FileTree, Location, Object, ObjectId, Origin};
use serde_json::{Map, Value, json};

use crate::depends_on::{self, Said};
use crate::desired::{Desired, DesiredInstallation, DesiredObject};
use crate::invoke::Invoke;
use crate::metadata::Metadata;
use crate::name::{dns_label_fault, dns_subdomain_fault};
use crate::porter_yaml::Manifests;
use crate::reference::{Part, Parts, version_tag};
use crate::schema::{self, Shape};

/// What the objects of a path need to know of where they were found.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The namespace of an object that names none: that of the BundleSync.
    pub default_namespace: &'a str,
    /// The files of the source, for the `porter.yaml` nearest to a document.
    pub tree: &'a FileTree,
}

/// Fills in and checks the objects of a path.
///
/// # Errors
/// Everything in the objects that Porter, the operator or the API server would refuse, drop or get wrong, each with its place.
pub fn interpret<'a>(objects: &'a [Object], context: &Context<'a>) -> Result<Desired, Diagnostics> {
    let mut interpreter = Interpreter {
        default_namespace: context.default_namespace,
        manifests: Manifests::new(context.tree),
        desired: Desired::default(),
        uses: Vec::new(),
        order: Vec::new(),
        faults: Vec::new(),
    };
    for object in objects {
        interpreter.object(object);
    }
    let Interpreter { mut desired, uses, order, mut faults, .. } = interpreter;
    depends_on::resolve(&mut desired, &order, &mut faults);
    refuse_twins(&desired, objects, &mut faults);
    refuse_object_names(&desired, &uses, &mut faults);
    desired.installations.sort_by(|a, b| (&a.id, &a.object_name).cmp(&(&b.id, &b.object_name)));
    for objects in [&mut desired.sets, &mut desired.objects] {
        objects.sort_by(|a, b| (rank(&a.id.kind), &a.id).cmp(&(rank(&b.id.kind), &b.id)));
    }
    Diagnostics::check(faults, desired)
}

/// The order in which kinds are applied within their list: what is used before what uses it.
fn rank(kind: &str) -> usize {
    let order = ["ConfigMap", "Secret", "PorterConfig", "AgentConfig", "CredentialSet", "ParameterSet", "AgentAction"];
    order.iter().position(|ordered| *ordered == kind).unwrap_or(order.len())
}

struct Interpreter<'a> {
    default_namespace: &'a str,
    manifests: Manifests<'a>,
    desired: Desired,
    uses: Vec<SetUse>,
    /// The objects of the installations, and what each says of its order.
    order: Vec<(&'a Object, Option<Said>)>,
    faults: Vec<Diagnostic>,
}

/// An installation's mention of a set.
struct SetUse {
    /// The namespace of the Installation.
    namespace: String,
    /// The kind of the set.
    kind: &'static str,
    name: String,
    /// The field, such as `spec.credentialSets[0]`.
    path: String,
    at: Location,
}

impl<'a> Interpreter<'a> {
    fn object(&mut self, object: &'a Object) {
        let kind = object.kind();
        match (object.group(), object.api_version()) {
            ("getporter.org", "getporter.org/v1") => match (kind, schema::spec(kind)) {
                ("Installation", Some(shape)) => self.installation(object, shape),
                ("CredentialSet" | "ParameterSet", Some(shape)) => self.set(object, shape),
                (_, Some(shape)) => self.other(object, shape),
                ("InstallationOutput", None) => self.refuse(object, "an InstallationOutput is written by the operator alone: remove it from the source"),
                (_, None) => self.refuse(object, &format!("{kind} is no kind of getporter.org/v1: correct it")),
            },
            ("getporter.org", version) => {
                self.refuse(object, &format!("apiVersion {version} is not served by the operator: write getporter.org/v1"));
            }
            ("porter.sh", version) => {
                self.refuse(object, &format!("apiVersion {version} is what the operator had before its first release: write getporter.org/v1"));
            }
            ("", "v1") if kind == "ConfigMap" => self.plain(object, &schema::CONFIG_MAP),
            ("", "v1") if kind == "Secret" => self.plain(object, &schema::SECRET),
            (_, version) => self.refuse(
                object,
                &format!("{kind} ({version}) cannot be applied by a BundleSync, which takes Porter's kinds, ConfigMap and Secret only: move it to a path that Flux's Kustomization applies"),
            ),
        }
    }

    fn refuse(&mut self, object: &Object, message: &str) {
        self.faults.push(object.fault(message));
    }

    fn installation(&mut self, object: &'a Object, shape: &'static Shape) {
        let mut faults = Vec::new();
        let metadata = Metadata::read(object, self.default_namespace, dns_label_fault, &mut faults);
        let mut spec = Spec::of(object, &mut faults);
        spec.fill_identity(object, &metadata);
        self.fill_bundle(&mut spec, object, &mut faults);
        spec.check(shape, &mut faults);
        spec.check_identity(&metadata, &mut faults);
        spec.check_schema_version("Installation", &["1.0.2"], &mut faults);
        spec.check_bundle(&mut faults);
        spec.check_parameters(&mut faults);
        let uses = spec.uses(&metadata.namespace);
        faults.extend(uses.iter().filter(|used| used.name.is_empty()).map(|used| {
            Diagnostic::at(used.at.clone(), format!("{} is empty: write the name of a set, or remove it", used.path))
        }));
        self.uses.extend(uses);
        let invoke = metadata.invoke.as_ref().and_then(|(text, at)| match Invoke::read(text) {
            Ok(invoke) => Some(invoke),
            Err(why) => {
                faults.push(Diagnostic::at(at.clone(), format!("{} {why}", api::INVOKE)));
                None
            }
        });
        let (porter_namespace, name) = spec.identity();
        let id = InstallationId { kube_namespace: metadata.namespace, porter_namespace, name };
        self.order.push((object, metadata.depends_on.map(|(text, at)| Said { text, at })));
        self.desired.installations.push(DesiredInstallation {
            id,
            object_name: metadata.name,
            labels: metadata.labels,
            annotations: metadata.annotations,
            depends_on: Vec::new(),
            invoke,
            spec: spec.into_json(&mut faults, prune_installation),
            origin: object.origin.clone(),
        });
        self.faults.append(&mut faults);
    }

    /// `spec.bundle` of an Installation that names none is that of the nearest `porter.yaml`.
    fn fill_bundle(&mut self, spec: &mut Spec, object: &Object, faults: &mut Vec<Diagnostic>) {
        let written = spec.node.get("bundle");
        if written
            .is_some_and(|bundle| !bundle.is_null() && bundle.as_mapping().is_none_or(|entries| !entries.is_empty()))
        {
            return;
        }
        match self.manifests.bundle_for(&object.origin.file) {
            Some(Ok(bundle)) => spec.node.set("bundle", bundle),
            Some(Err(mut found)) => faults.append(&mut found),
            None => faults.push(object.fault(
                "spec.bundle is missing, and neither in the directory of this file nor above it is a porter.yaml to take it from: add it, with a repository and a digest, a version or a tag",
            )),
        }
    }

    fn set(&mut self, object: &Object, shape: &'static Shape) {
        let (kind, list) = (object.kind(), if object.kind() == "CredentialSet" { "credentials" } else { "parameters" });
        let versions: &[&str] = if kind == "CredentialSet" { &["1.0.1"] } else { &["1.0.1", "1.1.0"] };
        let mut faults = Vec::new();
        let metadata = Metadata::read(object, self.default_namespace, dns_label_fault, &mut faults);
        let mut spec = Spec::of(object, &mut faults);
        spec.fill_identity(object, &metadata);
        spec.check(shape, &mut faults);
        spec.check_identity(&metadata, &mut faults);
        spec.check_schema_version(kind, versions, &mut faults);
        spec.check_sources(list, &mut faults);
        let identity = Some(spec.identity());
        metadata.refuse_for_installations(&mut faults);
        let spec = spec.into_json(&mut faults, prune_set);
        self.push(object, &metadata, identity, with_spec(spec));
        self.faults.append(&mut faults);
    }

    fn other(&mut self, object: &Object, shape: &'static Shape) {
        let mut faults = Vec::new();
        let metadata = Metadata::read(object, self.default_namespace, dns_label_fault, &mut faults);
        let spec = Spec::of(object, &mut faults);
        spec.check(shape, &mut faults);
        if let Some(files) = spec.node.get("files").filter(|_| object.kind() == "AgentAction") {
            check_base64(files, &spec.start, "spec.files", &mut faults);
        }
        let ours = metadata.name == api::AGENT_CONFIG || metadata.name.starts_with(&format!("{}-", api::AGENT_CONFIG));
        if ours && object.kind() == "AgentConfig" {
            faults.push(object.fault(format!(
                "an AgentConfig {:?} is made by porter-flux itself: give this one another name",
                metadata.name
            )));
        }
        metadata.refuse_for_installations(&mut faults);
        let spec = spec.into_json(&mut faults, prune_fields);
        self.push(object, &metadata, None, with_spec(spec));
        self.faults.append(&mut faults);
    }

    /// A ConfigMap or a Secret.
    fn plain(&mut self, object: &Object, shape: &'static Shape) {
        let mut faults = Vec::new();
        let metadata = Metadata::read(object, self.default_namespace, dns_subdomain_fault, &mut faults);
        let start = object.location();
        let mut body = object.node.clone();
        for field in ["apiVersion", "kind", "metadata"] {
            body.remove(field);
        }
        schema::check(shape, &body, &start, "", &mut faults);
        for field in ["data", "stringData", "binaryData"] {
            check_data_keys(body.get(field), &start, object.kind(), field, &mut faults);
        }
        let base64 = if object.kind() == "Secret" { "data" } else { "binaryData" };
        if let Some(data) = body.get(base64) {
            check_base64(data, &start, base64, &mut faults);
        }
        metadata.refuse_for_installations(&mut faults);
        let mut fields = into_fields(&body, &mut faults);
        fields.retain(|_, value| !value.is_null());
        if let Some(data) = fields.get_mut(base64).and_then(Value::as_object_mut) {
            data.values_mut().for_each(normalise_base64);
        }
        if object.kind() == "Secret" {
            fold_string_data(&mut fields);
        }
        self.push(object, &metadata, None, fields);
        self.faults.append(&mut faults);
    }

    fn push(
        &mut self,
        object: &Object,
        metadata: &Metadata,
        porter_identity: Option<(String, String)>,
        mut body: Map<String, Value>,
    ) {
        body.insert("apiVersion".to_owned(), json!(object.api_version()));
        body.insert("kind".to_owned(), json!(object.kind()));
        body.insert("metadata".to_owned(), metadata.to_json());
        let id = ObjectId { namespace: metadata.namespace.clone(), name: metadata.name.clone(), ..object.id() };
        let goes_first = matches!(object.kind(), "CredentialSet" | "ParameterSet" | "AgentConfig" | "PorterConfig");
        let list = if goes_first { &mut self.desired.sets } else { &mut self.desired.objects };
        list.push(DesiredObject {
            id,
            api_version: object.api_version().to_owned(),
            porter_identity,
            body: Value::Object(body),
            origin: object.origin.clone(),
        });
    }
}

/// `spec` on its way from what is written to what is desired.
struct Spec {
    node: Node,
    start: Location,
}

impl Spec {
    /// The `spec` of an object; empty when there is none. Notes what stands beside it that no kind of Porter's has.
    fn of(object: &Object, faults: &mut Vec<Diagnostic>) -> Self {
        let start = object.location();
        for (key, _) in object.node.as_mapping().into_iter().flatten() {
            // `status` is the operator's: an exported object has one, and the API server drops it.
            if !matches!(&*key.name, "apiVersion" | "kind" | "metadata" | "spec" | "status") {
                let at = key.at.clone().unwrap_or_else(|| start.clone());
                faults.push(Diagnostic::at(
                    at,
                    format!("{} is no field of {}: correct or remove it", key.name, object.kind()),
                ));
            }
        }
        let written = object.node.get("spec").filter(|spec| !spec.is_null()).cloned();
        Self { node: written.unwrap_or_else(|| Node::mapping::<&str>([])), start }
    }

    fn fill_identity(&mut self, object: &Object, metadata: &Metadata) {
        if self.node.as_mapping().is_none() {
            return;
        }
        if self.is_left_open("name") || self.text("name") == Some("") {
            let at = object.node.at_path(&["metadata", "name"]).and_then(|name| name.at.clone());
            self.node.set("name", Node::string(metadata.name.clone()).with_location(at));
        }
        // An empty string is Porter's global namespace, and stays.
        if self.is_left_open("namespace") {
            self.node.set("namespace", Node::string(metadata.namespace.clone()));
        }
    }

    fn is_left_open(&self, field: &str) -> bool {
        self.node.get(field).is_none_or(Node::is_null)
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.node.get(field).and_then(Node::as_str)
    }

    /// Porter namespace and Porter name.
    fn identity(&self) -> (String, String) {
        let text = |field| self.text(field).unwrap_or_default().to_owned();
        (text("namespace"), text("name"))
    }

    fn place(&self, node: Option<&Node>) -> Location {
        node.and_then(|node| node.at.clone()).or_else(|| self.node.at.clone()).unwrap_or_else(|| self.start.clone())
    }

    fn check(&self, shape: &'static Shape, faults: &mut Vec<Diagnostic>) {
        schema::check(shape, &self.node, &self.start, "spec", faults);
    }

    fn check_identity(&self, metadata: &Metadata, faults: &mut Vec<Diagnostic>) {
        // A name or namespace that was filled in was checked where it was written.
        let own = |field: &str, filled: &str| self.text(field).filter(|text| *text != filled).map(str::to_owned);
        if let Some(name) = own("name", &metadata.name)
            && let Some(fault) = dns_label_fault(&name)
        {
            let at = self.place(self.node.get("name"));
            faults.push(Diagnostic::at(at, format!("spec.name {name:?} {fault}")));
        }
        if let Some(namespace) = own("namespace", &metadata.namespace).filter(|namespace| !namespace.is_empty())
            && let Some(fault) = dns_label_fault(&namespace)
        {
            let at = self.place(self.node.get("namespace"));
            faults.push(Diagnostic::at(at, format!("spec.namespace {namespace:?} {fault}")));
        }
    }

    fn check_schema_version(&self, kind: &str, supported: &[&str], faults: &mut Vec<Diagnostic>) {
        let written = self.node.get("schemaVersion").filter(|node| !node.is_null());
        let advice = format!("write schemaVersion: {}", supported.join(" or "));
        let at = self.place(written);
        match written.map(Node::as_str) {
            None | Some(Some("")) => {
                faults.push(Diagnostic::at(at, format!("spec.schemaVersion is missing: {advice}")))
            }
            Some(Some(version)) => {
                let tag = version_tag(version).ok();
                if !supported.iter().any(|supported| tag.as_deref() == Some(&format!("v{supported}"))) {
                    let message = format!("spec.schemaVersion {version:?} of {kind} is not supported: {advice}");
                    faults.push(Diagnostic::at(at, message));
                }
            }
            Some(None) => {}
        }
    }

    fn check_bundle(&self, faults: &mut Vec<Diagnostic>) {
        let Some(bundle) = self.node.get("bundle").filter(|bundle| bundle.as_mapping().is_some()) else { return };
        let names = ["repository", "digest", "version", "tag"];
        if names.iter().any(|name| bundle.get(name).is_some_and(|node| !node.is_null() && node.as_str().is_none())) {
            return;
        }
        let text = |field: &str| bundle.get(field).and_then(Node::as_str).unwrap_or_default();
        let [repository, digest, version, tag] = names.map(text);
        for (part, fault) in (Parts { repository, digest, version, tag }).reference().err().unwrap_or_default() {
            let (field, path) = match part {
                Part::Bundle => (None, "spec.bundle"),
                Part::Repository => (bundle.get("repository"), "spec.bundle.repository"),
                Part::Digest => (bundle.get("digest"), "spec.bundle.digest"),
                Part::Version => (bundle.get("version"), "spec.bundle.version"),
                Part::Tag => (bundle.get("tag"), "spec.bundle.tag"),
            };
            let at = self.place(field.filter(|field| field.at.is_some()).or(Some(bundle)));
            faults.push(Diagnostic::at(at, format!("{path} {fault}")));
        }
    }

    /// The sets that an installation of a namespace names.
    fn uses(&self, namespace: &str) -> Vec<SetUse> {
        let fields = [("CredentialSet", "credentialSets"), ("ParameterSet", "parameterSets")];
        let of = |(kind, field): (&'static str, &str)| {
            let items = self.node.get(field).and_then(Node::as_sequence).unwrap_or_default().iter().enumerate();
            let uses = items.filter_map(|(index, item)| {
                let name = item.as_str()?.to_owned();
                let (path, at) = (format!("spec.{field}[{index}]"), self.place(Some(item)));
                Some(SetUse { namespace: namespace.to_owned(), kind, name, path, at })
            });
            uses.collect::<Vec<_>>()
        };
        fields.into_iter().flat_map(of).collect()
    }

    fn check_parameters(&self, faults: &mut Vec<Diagnostic>) {
        let entries = self.node.get("parameters").and_then(Node::as_mapping).into_iter().flatten();
        for (key, value) in entries {
            let at = key.at.clone().unwrap_or_else(|| self.place(Some(value)));
            if key.name.is_empty() {
                faults.push(Diagnostic::at(at, "spec.parameters has a parameter without a name: name or remove it"));
            } else if value.is_null() {
                let message = format!(
                    "spec.parameters.{} has no value: give it one, or remove it to have the bundle's default",
                    key.name
                );
                faults.push(Diagnostic::at(at, message));
            }
        }
    }

    /// Each item of a set takes its value from exactly one source, which is not empty.
    fn check_sources(&self, list: &str, faults: &mut Vec<Diagnostic>) {
        let items = self.node.get(list).and_then(Node::as_sequence).into_iter().flatten();
        for (index, item) in items.enumerate() {
            let path = format!("spec.{list}[{index}]");
            if let Some(name) = item.get("name").filter(|name| name.as_str() == Some("")) {
                faults.push(Diagnostic::at(
                    self.place(Some(name)),
                    format!("{path}.name is empty: name it as the bundle does"),
                ));
            }
            let Some(source) = item.get("source") else { continue };
            let Some(entries) = source.as_mapping() else { continue };
            let given: Vec<_> = entries.iter().filter(|(_, value)| !value.is_null()).collect();
            let at = source.at.clone().unwrap_or_else(|| self.place(Some(item)));
            match given.as_slice() {
                [] => faults.push(Diagnostic::at(at, format!("{path}.source names no source: give it exactly one"))),
                [(key, value)] if value.as_str() == Some("") => {
                    let at = value.at.clone().or_else(|| key.at.clone()).unwrap_or(at);
                    faults.push(Diagnostic::at(at, empty_source(&path, &key.name)));
                }
                [_] => {}
                _ => faults
                    .push(Diagnostic::at(at, format!("{path}.source names more than one source: keep exactly one"))),
            }
        }
    }

    /// The JSON of a spec without faults; null for one that has some.
    fn into_json(self, faults: &mut Vec<Diagnostic>, prune: fn(&mut Map<String, Value>)) -> Value {
        if !faults.is_empty() {
            return Value::Null;
        }
        let mut fields = into_fields(&self.node, faults);
        prune(&mut fields);
        Value::Object(fields)
    }
}

fn empty_source(path: &str, source: &str) -> String {
    if source == "value" {
        format!(
            "{path}.source.value is empty, which the operator drops and Porter then refuses: remove the parameter to have the bundle's default, or put the empty value in a secret store and use source.secret"
        )
    } else {
        format!("{path}.source.{source} is empty: name the secret")
    }
}

/// Nothing when there are faults already, or the node holds a number that JSON cannot hold.
fn into_fields(node: &Node, faults: &mut Vec<Diagnostic>) -> Map<String, Value> {
    if !faults.is_empty() {
        return Map::new();
    }
    match node.to_json() {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => Map::new(),
        Err(fault) => {
            faults.push(fault);
            Map::new()
        }
    }
}

fn with_spec(spec: Value) -> Map<String, Value> {
    let mut body = Map::new();
    if !is_empty(&spec) {
        body.insert("spec".to_owned(), spec);
    }
    body
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// The operator's own write drops an empty value, and the generation rises again: a run for nothing, and a loop.
fn prune_installation(spec: &mut Map<String, Value>) {
    prune_set(spec);
    if let Some(bundle) = spec.get_mut("bundle").and_then(Value::as_object_mut) {
        bundle.retain(|_, value| !is_empty(value));
    }
    spec.retain(|key, value| {
        key == "namespace" || !(is_empty(value) || (key == "uninstalled" && *value == json!(false)))
    });
}

/// Required fields stay, empty or not: the operator keeps them.
fn prune_set(spec: &mut Map<String, Value>) {
    prune_reference(spec);
    for list in ["credentials", "parameters"] {
        for item in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(source) = item.get_mut("source").and_then(Value::as_object_mut) {
                source.retain(|_, value| !value.is_null());
            }
        }
    }
    spec.retain(|_, value| !value.is_null());
}

/// Only the fields of `spec` itself: below them an empty value can mean something (`emptyDir: {}`, a plugin's `{}`).
fn prune_fields(spec: &mut Map<String, Value>) {
    prune_reference(spec);
    spec.retain(|_, value| !is_empty(value));
}

fn prune_reference(spec: &mut Map<String, Value>) {
    if spec.get("agentConfig").is_some_and(|reference| reference.get("name").is_none_or(is_empty)) {
        spec.remove("agentConfig");
    }
}

/// A key of a Secret is not shown: a line of an env file that is no `key=value` may be part of one.
fn check_data_keys(data: Option<&Node>, start: &Location, kind: &str, field: &str, faults: &mut Vec<Diagnostic>) {
    for (index, (key, _)) in data.and_then(Node::as_mapping).into_iter().flatten().enumerate() {
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let name = &*key.name;
        if name.is_empty() || name.len() > 253 || matches!(name, "." | "..") || !name.bytes().all(valid) {
            let at = key.at.clone().unwrap_or_else(|| start.clone());
            let which = match kind {
                "Secret" => format!("key {} of {} (not shown here)", index + 1, data.map_or(0, entries)),
                _ => format!("{name:?}"),
            };
            let message =
                format!("{field}: {which} is no valid key: use at most 253 letters, digits, '-', '_' and '.'");
            faults.push(Diagnostic::at(at, message));
        }
    }
}

/// How many entries a mapping has.
fn entries(node: &Node) -> usize {
    node.as_mapping().map_or(0, <[_]>::len)
}

fn check_base64(data: &Node, start: &Location, path: &str, faults: &mut Vec<Diagnostic>) {
    for (key, value) in data.as_mapping().into_iter().flatten() {
        if value.as_str().is_some_and(|text| decode_base64(text).is_none()) {
            let at = value.at.clone().or_else(|| key.at.clone()).unwrap_or_else(|| start.clone());
            let advice = if path == "data" { "encode it, or move it to stringData" } else { "encode it" };
            faults.push(Diagnostic::at(at, format!("{path}.{} is not base64: {advice}", key.name)));
        }
    }
}

/// Line breaks are passed over, as Go does.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.replace(['\r', '\n'], "")).ok()
}

fn normalise_base64(value: &mut Value) {
    if let Some(decoded) = value.as_str().and_then(decode_base64) {
        *value = Value::String(STANDARD.encode(decoded));
    }
}

/// `stringData` is write-only in the API: what lives is `data`, and so it is compared.
fn fold_string_data(fields: &mut Map<String, Value>) {
    let Some(Value::Object(texts)) = fields.remove("stringData") else { return };
    if texts.is_empty() {
        return;
    }
    if let Some(data) = fields.entry("data").or_insert_with(|| json!({})).as_object_mut() {
        data.extend(
            texts.into_iter().map(|(key, text)| (key, json!(STANDARD.encode(text.as_str().unwrap_or_default())))),
        );
    }
}

/// Notes each object that is another one again, by its id or by what Porter knows it as.
fn refuse_twins(desired: &Desired, objects: &[Object], faults: &mut Vec<Diagnostic>) {
    let mut by_origin: HashMap<&Origin, usize> = HashMap::new();
    for (index, object) in objects.iter().enumerate() {
        by_origin.entry(&object.origin).or_insert(index);
    }
    let mut subjects: Vec<(usize, Subject<'_>)> = Vec::new();
    let order = |origin: &Origin| by_origin.get(origin).copied().unwrap_or(usize::MAX);
    for installation in &desired.installations {
        subjects.push((order(&installation.origin), Subject::installation(installation)));
    }
    for object in desired.sets.iter().chain(&desired.objects) {
        subjects.push((order(&object.origin), Subject::object(object)));
    }
    subjects.sort_by_key(|(order, _)| *order);

    let mut by_id: HashMap<(&str, &str, &str), &Origin> = HashMap::new();
    let mut by_identity: HashMap<(&str, &str, &str, &str), &Subject<'_>> = HashMap::new();
    for (_, subject) in &subjects {
        if subject.name.is_empty() {
            continue;
        }
        let at = Location { file: subject.origin.file.clone(), line: subject.origin.line, column: 1 };
        let id = (subject.kind, subject.namespace, subject.name);
        if let Some(first) = by_id.get(&id) {
            let message = format!("{subject} is at {first} already: remove or rename one of them");
            faults.push(Diagnostic::at(at, message));
            continue;
        }
        by_id.insert(id, subject.origin);
        let Some((porter_namespace, porter_name)) = subject.porter.filter(|(_, name)| !name.is_empty()) else {
            continue;
        };
        let identity = (subject.kind, subject.namespace, porter_namespace, porter_name);
        if let Some(first) = by_identity.get(&identity) {
            let advice = if subject.origin == first.origin {
                "leave out its name and namespace, so that they follow the overlays, or patch them in each"
            } else {
                "give one of them another spec.name or spec.namespace"
            };
            let message = format!(
                "{subject} is {porter_namespace}/{porter_name} to Porter, as {first} at {} is: {advice}",
                first.origin
            );
            faults.push(Diagnostic::at(at, message));
            continue;
        }
        by_identity.insert(identity, subject);
    }
}

/// Notes each installation that names a set by its object's name, where Porter knows the set by another: an overlay that
/// renames objects does that to a set that says its own name.
fn refuse_object_names(desired: &Desired, uses: &[SetUse], faults: &mut Vec<Diagnostic>) {
    if uses.is_empty() {
        return;
    }
    let porter_name = |set: &DesiredObject| set.porter_identity.as_ref().map(|(_, name)| name.clone());
    let known: HashSet<(&str, String)> =
        desired.sets.iter().filter_map(|set| Some((set.id.kind.as_str(), porter_name(set)?))).collect();
    let objects: HashMap<(&str, &str, &str), &DesiredObject> =
        desired.sets.iter().map(|set| ((&*set.id.kind, &*set.id.namespace, &*set.id.name), set)).collect();
    for used in uses.iter().filter(|used| !known.contains(&(used.kind, used.name.clone()))) {
        let Some(set) = objects.get(&(used.kind, &used.namespace, &used.name)) else { continue };
        let Some(name) = porter_name(set).filter(|name| !name.is_empty()) else { continue };
        let message = format!(
            "{} is the name of the object {} ({}), which Porter knows as {name:?}: write that, or leave out the set's \
             own name, so that it is that of its object",
            used.path, set.id, set.origin
        );
        faults.push(Diagnostic::at(used.at.clone(), message));
    }
}

/// What an object is told from others by.
struct Subject<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    porter: Option<(&'a str, &'a str)>,
    origin: &'a Origin,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl<'a> Subject<'a> {
    fn installation(installation: &'a DesiredInstallation) -> Self {
        Self {
            kind: "Installation",
            namespace: &installation.id.kube_namespace,
            name: &installation.object_name,
            porter: Some((&installation.id.porter_namespace, &installation.id.name)),
            origin: &installation.origin,
        }
    }

    fn object(object: &'a DesiredObject) -> Self {
        Self {
            kind: &object.id.kind,
            namespace: &object.id.namespace,
            name: &object.id.name,
            porter: object.porter_identity.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str())),
            origin: &object.origin,
        }
    }
}

#[cfg(test)]
mod tests;
