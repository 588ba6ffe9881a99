//! The pages of `docs/` against the types: each field of a status, each state and each reason is told, none is told that there is
//! not, and links lead somewhere.

// A test may panic wherever it is; clippy knows that of test functions only.
#![allow(clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first cells of the rows of a page's tables.
fn cells(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The fields that the tables of a page tell. Of `` `status.a.b`, `.c` `` the second one is `status.a.c`.
fn told(page: &str) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for cell in cells(page) {
        let mut parent = "";
        for field in quoted(cell) {
            match field.strip_prefix('.') {
                Some(name) => told.insert(format!("{parent}.{name}")),
                None => {
                    parent = field.rsplit_once('.').map(|(parent, _)| parent).unwrap_or_default();
                    told.insert(field.to_owned())
                }
            };
        }
    }
    told
}

/// The fields below a path, the innermost ones.
fn leaves(path: &str, schema: &JSONSchemaProps, into: &mut BTreeSet<String>) {
    match (&schema.properties, &schema.items) {
        (Some(fields), _) if !fields.is_empty() => {
            fields.iter().for_each(|(name, field)| leaves(&format!("{path}.{name}"), field, into));
        }
        (_, Some(JSONSchemaPropsOrArray::Schema(items))) => leaves(&format!("{path}[]"), items, into),
        _ => drop(into.insert(path.to_owned())),
    }
}

/// A field is told by itself, or, two levels below `spec` and `status`, with what it is part of.
fn is_told(field: &str, told: &BTreeSet<String>) -> bool {
    let within = |parent: &str| parent.matches('.').count() >= 2;
    let parents = field.match_indices('.').map(|(at, _)| &field[..at]);
    told.contains(field) || parents.filter(|parent| within(parent)).any(|parent| told.contains(parent))
}

/// Fields that are told in one place for all: conditions, and a spec that was asked before.
const ELSEWHERE: [&str; 2] = ["status.conditions[]", "status.succeeded"];

#[test]
fn every_field_of_a_status_is_in_the_manual() {
    for crd in api::crd::crds() {
        let kind = &crd.spec.names.kind;
        let manual = page(&format!("docs/{}.md", kind.to_lowercase()));
        let told = told(&manual);
        let schema = crd.spec.versions.iter().find_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
        let parts = schema.and_then(|schema| schema.properties.as_ref()).expect("a CRD of ours has a schema");
        let mut fields = BTreeSet::new();
        let parts = parts.iter().filter(|(part, _)| *part == "status" || (*part == "spec" && kind == "BundleRelease"));
        parts.for_each(|(part, schema)| leaves(part, schema, &mut fields));
        for elsewhere in ELSEWHERE {
            fields.retain(|field| !field.starts_with(&format!("{elsewhere}.")));
        }

        let missing: Vec<_> = fields.iter().filter(|field| !is_told(field, &told)).collect();
        assert!(missing.is_empty(), "no table of docs/{}.md has {missing:?}", kind.to_lowercase());
        let ends = |rest: &str| rest.is_empty() || rest.starts_with('.') || rest.starts_with('[');
        let is_part = |told: &&String| fields.iter().any(|field| field.strip_prefix(told.as_str()).is_some_and(ends));
        let ours = told.iter().filter(|told| told.starts_with("status.") || told.starts_with("spec.asked"));
        let unknown: Vec<_> = ours.filter(|told| !is_part(told) && !ELSEWHERE.contains(&told.as_str())).collect();
        assert!(unknown.is_empty(), "docs/{}.md has {unknown:?}, and the CRD has not", kind.to_lowercase());
    }
}

#[test]
fn every_field_of_a_bundle_sync_is_in_the_manual() {
    let told = told(&page("docs/bundlesync.md"));
    let crds = api::crd::crds();
    let sync = crds.iter().find(|crd| crd.spec.names.kind == "BundleSync").expect("the CRD of BundleSync");
    let schema = sync.spec.versions.iter().find_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let spec = schema.and_then(|schema| schema.properties.as_ref()?.get("spec")).expect("it has a spec");
    let mut fields = BTreeSet::new();
    leaves("", spec, &mut fields);
    // Tables name them without `spec.`, and those of a section without the field that the section is about.
    let is_told = |field: &&String| {
        let names: Vec<&str> = field.trim_start_matches('.').split('.').collect();
        (0..names.len()).any(|from| (from..names.len()).any(|to| told.contains(&names[from..=to].join("."))))
    };
    let missing: Vec<_> = fields.iter().filter(|field| !is_told(field)).collect();
    assert!(missing.is_empty(), "no table of docs/bundlesync.md has {missing:?}");
}

/// The states and reasons that there are.
fn words() -> BTreeSet<String> {
    let source = |file: &str| fs::read_to_string(root().join(file)).expect("the sources lie beside");
    let library = source("api/src/lib.rs");
    let reasons =
        library.lines().filter(|line| line.contains("pub const") && line.contains("&str = \"")).flat_map(|line| {
            let value = line.split('"').nth(1).unwrap_or_default();
            Some(value).filter(|value| value.starts_with(char::is_uppercase))
        });
    let crds = api::crd::crds();
    let release = crds.iter().find(|crd| crd.spec.names.kind == "BundleRelease").expect("the CRD of BundleRelease");
    let schema = release.spec.versions.iter().find_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let field = |schema: &JSONSchemaProps, name: &str| schema.properties.as_ref()?.get(name).cloned();
    let state = schema.and_then(|schema| field(&field(schema, "status")?, "state")?.enum_).expect("its states");
    let states = state.iter().filter_map(|state| state.0.as_str());
    reasons.chain(states).map(str::to_owned).collect()
}

#[test]
fn every_state_and_reason_is_in_the_manual() {
    let manual = page("docs/bundlesync.md") + &page("docs/bundlerelease.md");
    let told: BTreeSet<&str> = quoted(&manual).collect();
    let missing: Vec<_> = words().into_iter().filter(|word| !told.contains(word.as_str())).collect();
    assert!(missing.is_empty(), "neither docs/bundlesync.md nor docs/bundlerelease.md has {missing:?}");
}

/// A table of what happens has columns for the sync and the release: each state and reason in them is one that there is.
#[test]
fn what_happens_tells_states_and_reasons_that_there_are() {
    let words = words();
    let others = ["True", "False", "Unknown", "Ready", "Warning", "Abandoned", "Confirm", "Orphan", "MirrorPrune"];
    for name in ["what-happens", "when-it-fails", "when-it-leaves"] {
        let manual = page(&format!("docs/{name}.md"));
        let mut columns: Vec<usize> = Vec::new();
        for (number, line) in manual.lines().enumerate() {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            if !line.starts_with('|') {
                columns.clear();
            } else if columns.is_empty() {
                let is_status = |cell: &str| cell == "sync" || cell.starts_with("release");
                columns = (0..cells.len()).filter(|column| is_status(cells[*column])).collect();
            }
            for cell in columns.iter().filter_map(|column| cells.get(*column)) {
                let is_word =
                    |word: &&str| word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphabetic);
                let unknown: Vec<_> = quoted(cell)
                    .filter(is_word)
                    .filter(|word| !words.contains(*word) && !others.contains(word))
                    .collect();
                assert!(unknown.is_empty(), "docs/{name}.md:{}: {unknown:?}", number + 1);
            }
        }
    }
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    page.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    let docs = fs::read_dir(root().join("docs")).expect("docs/").flatten();
    let docs = docs.map(|entry| format!("docs/{}", entry.file_name().to_string_lossy()));
    let pages: Vec<String> = docs.filter(|path| path.ends_with(".md")).chain(["README.md".to_owned()]).collect();
    let mut broken = Vec::new();
    let mut linked = BTreeSet::new();
    for path in &pages {
        let text = page(path);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, wanted) = target.split_once('#').map_or((target, None), |(file, wanted)| (file, Some(wanted)));
            let folder = Path::new(path).parent().unwrap_or(Path::new(""));
            let file = if file.is_empty() { root().join(path) } else { root().join(folder).join(file) };
            let own = root().join(path).canonicalize().ok();
            linked.extend(file.canonicalize().ok().filter(|file| Some(file) != own.as_ref()));
            let found = fs::read_to_string(&file).map(|text| anchors(&text));
            let leads = match (found, wanted) {
                (Ok(anchors), Some(wanted)) => anchors.contains(wanted),
                (found, None) => found.is_ok() || file.exists(),
                (Err(_), Some(_)) => false,
            };
            if !leads {
                broken.push(format!("{path}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    // Each page is in the list of the README, or on a page that is.
    let is_linked = |path: &str| root().join(path).canonicalize().is_ok_and(|file| linked.contains(&file));
    let lonely: Vec<&String> = pages.iter().filter(|path| *path != "README.md" && !is_linked(path)).collect();
    assert!(lonely.is_empty(), "{lonely:?}");
}
