//! The generated CRDs of Porter against those that the operator ships: everything that changes what an API server accepts,
//! drops, defaults or prints; not the descriptions. `porter_crds.json` beside this file holds these facts of operator
//! v1.1.0, by kind and path.
//!
//! With `PORTER_CRDS=DIR` a folder of the operator's own `config/crd/bases` is read: the file is written anew of it, and the
//! test fails when that changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Facts by the path of their field.
type Facts = BTreeMap<String, String>;

/// Every facet of a schema but its prose.
fn facets(path: &str, schema: &Value, into: &mut Facts) {
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

/// What counts of a CRD.
fn facts(crd: &Value) -> Facts {
    let mut facts = Facts::new();
    for pointer in ["/spec/group", "/spec/scope", "/spec/names/kind", "/spec/names/plural", "/spec/names/singular"] {
        facts.insert(pointer.to_owned(), crd.pointer(pointer).map(Value::to_string).unwrap_or_default());
    }
    for key in ["name", "served", "storage", "subresources", "additionalPrinterColumns"] {
        let pointer = format!("/spec/versions/0/{key}");
        facts.insert(format!("version:{key}"), crd.pointer(&pointer).map(Value::to_string).unwrap_or_default());
    }
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").expect("a CRD has a schema");
    for part in ["spec", "status"] {
        facets(part, schema.pointer(&format!("/properties/{part}")).unwrap_or(&Value::Null), &mut facts);
    }
    facts.insert(":required".to_owned(), schema.get("required").map(Value::to_string).unwrap_or_default());
    facts
}

fn expected_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/porter_crds.json")
}

fn expected() -> BTreeMap<String, Facts> {
    let text = std::fs::read_to_string(expected_file()).expect("porter_crds.json can be read");
    serde_json::from_str(&text).expect("porter_crds.json holds facts by kind and path")
}

#[test]
fn generated_crds_are_those_of_the_operator() {
    let mut theirs = expected();
    let mut report = String::new();
    for crd in api::porter::crds() {
        let kind = crd.spec.names.kind.clone();
        let ours = facts(&serde_json::to_value(&crd).expect("a CRD is JSON"));
        let theirs = theirs.remove(&kind).unwrap_or_default();
        for path in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
            let (ours, theirs) = (ours.get(path), theirs.get(path));
            if ours != theirs {
                report.push_str(&format!("{kind}: {path}: {ours:?}, theirs {theirs:?}\n"));
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
    assert!(theirs.is_empty(), "not generated: {:?}", theirs.keys());
}

#[test]
fn the_operators_crds_are_as_they_were() {
    let Some(folder) = std::env::var_os("PORTER_CRDS") else {
        eprintln!("SKIPPED: PORTER_CRDS names no folder of the operator's CRDs");
        return;
    };
    let before = expected();
    let mut now = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).expect("PORTER_CRDS is a folder") {
        let file = entry.expect("an entry").path();
        if file.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&file).expect("a file");
            let crd: Value =
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            now.insert(crd["spec"]["names"]["kind"].as_str().expect("a CRD has a kind").to_owned(), facts(&crd));
        }
    }
    let text = serde_json::to_string_pretty(&now).expect("facts are JSON");
    std::fs::write(expected_file(), text + "\n").expect("the file can be written");
    assert!(before == now, "porter_crds.json was written anew: review the change");
}
