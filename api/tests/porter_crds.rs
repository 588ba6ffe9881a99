//! The generated CRDs of Porter against those that the operator ships, where these lie beside the repository.
//!
//! Compared is everything that changes what an API server accepts, drops, defaults or prints; not the descriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// Every facet of a schema but its prose, by the path of its field.
fn facets(path: &str, schema: &Value, into: &mut BTreeMap<String, String>) {
    let Some(schema) = schema.as_object() else { return };
    for (key, value) in schema {
        match key.as_str() {
            "description" => {}
            "properties" => {
                for (name, child) in value.as_object().into_iter().flatten() {
                    facets(&format!("{path}.{name}"), child, into);
                }
            }
            "items" => facets(&format!("{path}[]"), value, into),
            "additionalProperties" => facets(&format!("{path}{{}}"), value, into),
            "required" | "enum" => {
                let sorted: BTreeSet<String> = value.as_array().into_iter().flatten().map(Value::to_string).collect();
                into.insert(format!("{path}:{key}"), format!("{sorted:?}"));
            }
            // 0 and 0.0 are one limit.
            _ => {
                let value = value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string());
                into.insert(format!("{path}:{key}"), value);
            }
        }
    }
}

fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    for pointer in ["/spec/group", "/spec/scope", "/spec/names/kind", "/spec/names/plural", "/spec/names/singular"] {
        if ours.pointer(pointer) != theirs.pointer(pointer) {
            differences.push(format!("{pointer}: {:?}, theirs {:?}", ours.pointer(pointer), theirs.pointer(pointer)));
        }
    }
    let version = |crd: &Value| crd.pointer("/spec/versions/0").cloned().expect("a CRD has a version");
    let (ours, theirs) = (version(ours), version(theirs));
    for key in ["name", "served", "storage", "subresources", "additionalPrinterColumns"] {
        if ours.get(key) != theirs.get(key) {
            differences.push(format!("{key}: {:?}, theirs {:?}", ours.get(key), theirs.get(key)));
        }
    }
    let flatten = |version: &Value| {
        let mut map = BTreeMap::new();
        for part in ["spec", "status"] {
            let pointer = format!("/schema/openAPIV3Schema/properties/{part}");
            facets(part, version.pointer(&pointer).unwrap_or(&Value::Null), &mut map);
        }
        let required = version.pointer("/schema/openAPIV3Schema/required");
        map.insert(":required".into(), format!("{required:?}"));
        map
    };
    let (ours, theirs) = (flatten(&ours), flatten(&theirs));
    for path in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        match (ours.get(path), theirs.get(path)) {
            (Some(ours), None) => differences.push(format!("{path}: {ours}, theirs has none")),
            (None, Some(theirs)) => differences.push(format!("{path}: missing, theirs {theirs}")),
            (Some(ours), Some(theirs)) if ours != theirs => {
                differences.push(format!("{path}: {ours}, theirs {theirs}"));
            }
            _ => {}
        }
    }
    differences
}

#[test]
fn generated_crds_are_those_of_the_operator() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/porter-crds");
    if !folder.is_dir() {
        eprintln!("SKIPPED: the CRDs of Porter's operator are not at {}", folder.display());
        return;
    }
    let mut report = String::new();
    for crd in api::porter::crds() {
        let ours = serde_json::to_value(&crd).expect("a CRD is JSON");
        let file = folder.join(format!("getporter.org_{}.yaml", crd.spec.names.plural));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let theirs: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for difference in differences(&ours, &theirs) {
            report.push_str(&format!("{}: {difference}\n", crd.spec.names.kind));
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
