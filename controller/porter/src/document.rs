//! Porter's own documents as resources of the operator.
//!
//! Only the structure changes here: what a document says is checked by [`interpret`](crate::interpret), after an overlay
//! had its chance to complete it, and every node keeps the place at which it was written.
//!
//! What overlays rename, move and label is `metadata`. What the document itself says to Porter (`name`, `namespace`,
//! `labels`) goes to `spec` as it is and stays: a prefix on the object never makes another installation of one that has a
//! name. What it leaves open is filled in from `metadata` when all overlays are done, and so follows them.

use manifest::yaml::{Document, Node, ScalarKind, Value, format_float};
use manifest::{Diagnostic, Location};

use crate::name::dns_label;
use crate::number::compact_json;
use crate::porter_yaml;

/// The fields of a document that only tell of the past, or that the operator's resources lack without a loss.
const DROPPED: [&str; 5] = ["schemaType", "status", "id", "_calculated", "custom"];

/// The schema version that a converted parameter set gets: its values are strings by then, which is all that sets 1.1.0
/// from 1.0.1, and the operator's default agent reads no other.
const PARAMETER_SET_OF_STRINGS: &str = "1.0.1";

/// Turns one of Porter's own documents (`schemaType`, no `apiVersion`) into a resource of the operator.
///
/// The name of the object is the document's `name`, made a DNS label, or else that of the file without `.yaml`. A
/// document may hold a `metadata` of its own, which Porter passes over: it becomes that of the object.
///
/// `None` when the document is none of Porter's. The manifest of a bundle (`porter.yaml`), which may lie beside the documents
/// that install it, becomes an empty `List`: it is no object, and no error either.
///
/// # Errors
/// A `schemaType` that cannot be applied, a name that no object can have, and a value that has no meaning in the resource.
#[must_use]
pub fn document_hook(document: &Document) -> Option<Result<Node, Vec<Diagnostic>>> {
    let node = &document.node;
    node.as_mapping()?;
    if node.get("apiVersion").is_some() {
        return None;
    }
    if porter_yaml::is_bundle_manifest(node, &document.origin.file) {
        return Some(Ok(empty_list()));
    }
    let schema_type = node.get("schemaType")?;
    let start = Location { file: document.origin.file.clone(), line: document.origin.line, column: 1 };
    Some(convert(node, schema_type, &start))
}

fn convert(node: &Node, schema_type: &Node, start: &Location) -> Result<Node, Vec<Diagnostic>> {
    let at = schema_type.at.as_ref().unwrap_or(start);
    let refuse = |message: String| Err(vec![Diagnostic::at(at.clone(), message)]);
    let Some(written) = schema_type.as_str() else {
        return refuse("schemaType has to be a string: Installation, CredentialSet or ParameterSet".to_owned());
    };
    let kind = match written.to_ascii_lowercase().as_str() {
        "installation" => "Installation",
        "credentialset" => "CredentialSet",
        "parameterset" => "ParameterSet",
        "bundle" => {
            return refuse(
                "schemaType Bundle is the manifest of a bundle, which is published with `porter publish` and not applied: \
                 name the file porter.yaml to have it passed over, and add an Installation that uses the bundle"
                    .to_owned(),
            );
        }
        "plugins" => {
            return refuse(
                "schemaType Plugins cannot be applied: write the plugins in spec.pluginConfigFile of an AgentConfig \
                 (apiVersion getporter.org/v1)"
                    .to_owned(),
            );
        }
        _ => {
            return refuse(format!(
                "schemaType {written:?} is not known: use Installation, CredentialSet or ParameterSet"
            ));
        }
    };
    let mut faults = Vec::new();
    let mut spec = node.clone();
    if let Some(entries) = spec.as_mapping_mut() {
        entries.retain(|(key, _)| !DROPPED.contains(&&*key.name));
    }
    let metadata = metadata(&mut spec, start, &mut faults);
    check_namespace(&spec, start, &mut faults);
    read_texts(kind, &mut spec, start, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Node::mapping([
        ("apiVersion", Node::string("getporter.org/v1").with_location(schema_type.at.clone())),
        ("kind", Node::string(kind).with_location(schema_type.at.clone())),
        ("metadata", metadata),
        ("spec", spec),
    ])
    .with_location(node.at.clone()))
}

/// The metadata of the object, taken out of the document; its name becomes a string on the way.
fn metadata(spec: &mut Node, start: &Location, faults: &mut Vec<Diagnostic>) -> Node {
    let mut metadata = match spec.remove("metadata") {
        Some(given) if !given.is_null() => given,
        _ => Node::mapping::<&str>([]).with_location(spec.at.clone()),
    };
    if metadata.as_mapping().is_none() {
        let at = metadata.at.clone().unwrap_or_else(|| start.clone());
        faults.push(Diagnostic::at(at, format!("metadata has to be a mapping, and is {}", metadata.type_name())));
        return metadata;
    }
    if let Some(name) = spec.get_mut("name") {
        read_text(name);
    }
    if metadata.get("name").is_none_or(Node::is_null) {
        let name = object_name(spec, start, faults);
        metadata.set("name", name);
    }
    metadata
}

/// The name of the object, made of the document's name or of the file's.
fn object_name(spec: &Node, start: &Location, faults: &mut Vec<Diagnostic>) -> Node {
    let name = spec.get("name").filter(|name| !name.is_null() && name.as_str() != Some(""));
    let at = name.and_then(|name| name.at.clone()).unwrap_or_else(|| start.clone());
    let label = match name {
        Some(name) => name.as_str().map(dns_label).unwrap_or_default(),
        None => dns_label(file_stem(&start.file)),
    };
    if label.is_empty() {
        let message = match name {
            Some(_) => "name has to be a string with a letter or a digit: write lower-case letters, digits and '-'",
            None => "name is missing, and that of the file has no letter or digit to take in its place: add a name",
        };
        faults.push(Diagnostic::at(at.clone(), message));
    }
    Node::string(label).with_location(Some(at))
}

/// The name of a file without its directory and the extension of YAML.
fn file_stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(name)
}

/// Of all fields, Porter takes only a string here, be the scalar ever so plain.
fn check_namespace(spec: &Node, start: &Location, faults: &mut Vec<Diagnostic>) {
    if let Some(namespace) = spec.get("namespace").filter(|node| !node.is_null() && node.as_str().is_none()) {
        let at = namespace.at.as_ref().unwrap_or(start);
        let message = format!("namespace has to be a string, and is {}: put it in quotes", namespace.type_name());
        faults.push(Diagnostic::at(at.clone(), message));
    }
}

/// Makes strings of the scalars that Porter reads as strings however they are written, and reads the rest as it does.
fn read_texts(kind: &str, spec: &mut Node, start: &Location, faults: &mut Vec<Diagnostic>) {
    if let Some(version) = spec.get_mut("schemaVersion") {
        read_text(version);
    }
    match kind {
        "Installation" => {
            for field in ["bundle", "labels"] {
                let entries = spec.get_mut(field).and_then(Node::as_mapping_mut);
                entries.into_iter().flatten().for_each(|(_, value)| read_text(value));
            }
            for field in ["credentialSets", "parameterSets"] {
                let items = spec.get_mut(field).and_then(Node::as_sequence_mut);
                items.into_iter().flatten().for_each(read_text);
            }
        }
        "CredentialSet" => read_sources(spec.get_mut("credentials"), start, faults),
        _ => {
            read_sources(spec.get_mut("parameters"), start, faults);
            let version = spec.get_mut("schemaVersion").filter(|version| version.as_str() == Some("1.1.0"));
            if let Some(version) = version {
                *version = Node::string(PARAMETER_SET_OF_STRINGS).with_location(version.at.clone());
            }
        }
    }
}

fn read_sources(list: Option<&mut Node>, start: &Location, faults: &mut Vec<Diagnostic>) {
    for item in list.and_then(Node::as_sequence_mut).into_iter().flatten() {
        if let Some(name) = item.get_mut("name") {
            read_text(name);
        }
        let Some(source) = item.get_mut("source").and_then(Node::as_mapping_mut) else { continue };
        for (key, value) in source {
            if &*key.name != "value" {
                read_text(value);
                continue;
            }
            let at = value.at.clone().or_else(|| key.at.clone()).unwrap_or_else(|| start.clone());
            match stringified(value) {
                Ok(text) => *value = Node::string(text).with_location(Some(at)),
                Err(message) => faults.push(Diagnostic::at(at, message)),
            }
        }
    }
}

/// A scalar that is no null becomes the string of its text, as Go reads it into a field of type string.
fn read_text(node: &mut Node) {
    if let Value::Scalar(scalar) = &mut node.value
        && !matches!(scalar.kind, ScalarKind::String | ScalarKind::Null)
    {
        scalar.kind = ScalarKind::String;
    }
}

/// The string that Porter makes of a value of a parameter set: itself, nothing for null, compact JSON for lists and
/// mappings, and what Go prints for numbers and booleans.
fn stringified(value: &Node) -> Result<String, &'static str> {
    const CHANGED: &str = "the value is or holds a number that would lose digits: put it in quotes";
    const TIMESTAMP: &str = "the value is a timestamp, which Porter would print in another form: put it in quotes";
    if !is_exact(value) {
        return Err(CHANGED);
    }
    let json = value.to_json().map_err(|_| CHANGED)?;
    Ok(match (&value.value, json) {
        (Value::Scalar(scalar), json) => match (scalar.kind, json) {
            (ScalarKind::String, _) => scalar.text.clone(),
            (ScalarKind::Null, _) => String::new(),
            (ScalarKind::Float, json) => json.as_f64().map(format_float).ok_or(CHANGED)?,
            (ScalarKind::Timestamp, _) => return Err(TIMESTAMP),
            (ScalarKind::Bool | ScalarKind::Int, json) => json.to_string(),
        },
        (_, json) => compact_json(&json),
    })
}

/// Whether every number in it comes out as it was written: integers that 64 bits hold, and floats that print the same.
fn is_exact(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::Int => node.to_json().is_ok_and(|json| json.is_i64() || json.is_u64()),
            ScalarKind::Float => node.exact_number(),
            _ => true,
        },
        Value::Sequence(items) => items.iter().all(is_exact),
        Value::Mapping(entries) => entries.iter().all(|(_, value)| is_exact(value)),
    }
}

fn empty_list() -> Node {
    Node::mapping([("apiVersion", Node::string("v1")), ("kind", Node::string("List")), ("items", Node::sequence([]))])
}
