//! The files in `manifests/crd` are those that the types generate.

use std::fs;
use std::path::Path;

#[test]
fn crd_files_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crd");
    for crd in api::crd::crds() {
        let (name, text) = api::crd::file(&crd).expect("a CRD is YAML");
        let found = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert_eq!(found, text, "manifests/crd/{name} is stale: run hack/generate.sh");
    }
}

#[test]
fn a_crd_file_reads_back_as_the_crd() {
    for crd in api::crd::crds() {
        let (name, text) = api::crd::file(&crd).expect("a CRD is YAML");
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let read: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_json::from_value(read).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read, crd, "{name}");
    }
}

/// The columns of Flux's Kustomization, and what it hides: that somebody has suspended it.
#[test]
fn kubectl_shows_what_flux_shows_and_in_the_wide_table_what_is_suspended() {
    let crds = api::crd::crds();
    let sync = crds.iter().find(|crd| crd.spec.names.kind == "BundleSync").expect("the CRD of BundleSync");
    let columns = sync.spec.versions.iter().flat_map(|version| version.additional_printer_columns.iter().flatten());
    let columns: Vec<_> = columns.map(|column| (column.name.as_str(), column.priority.unwrap_or_default())).collect();
    assert_eq!(columns, [("Age", 0), ("Ready", 0), ("Status", 0), ("Suspended", 1)]);
}
