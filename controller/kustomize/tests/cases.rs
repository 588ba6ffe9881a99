//! Whole builds: the file trees of `tests/cases`, with what kustomize v5.8.1 makes of them.
//!
//! With `KUSTOMIZE_CASES=write`, `the_reference_agrees` writes what the installed kustomize says into the files instead of
//! comparing; `hack/kustomize-cases.sh` does that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kustomize::{Options, Reorder, Rules};
use manifest::yaml::{self, Dialect, Node};
use support::case::{Case, Outcome, Topic, topics};
use support::oracle::{Oracle, Question};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");

/// Every field of a kustomization file, with the fields within it.
const FIELDS: &[(&str, &[&str])] = &[
    ("", &["apiVersion", "kind", "metadata"]),
    ("", &["resources", "bases", "components", "namePrefix", "nameSuffix", "namespace"]),
    ("", &["commonLabels", "commonAnnotations", "patchesStrategicMerge", "configurations", "crds"]),
    ("", &["buildMetadata", "generators", "transformers", "validators"]),
    ("", &["helmCharts", "helmGlobals", "helmChartInflationGenerator"]),
    ("labels", &["pairs", "includeSelectors", "includeTemplates", "fields"]),
    ("labels.fields", &["group", "version", "kind", "path", "create"]),
    ("patches", &["path", "patch", "target", "options"]),
    ("patches.target", &["group", "version", "kind", "name", "namespace", "labelSelector", "annotationSelector"]),
    ("patches.options", &["allowNameChange", "allowKindChange"]),
    ("patchesJson6902", &["target", "path", "patch"]),
    ("configMapGenerator", &["name", "namespace", "behavior", "literals", "files", "envs", "env", "options"]),
    ("configMapGenerator.options", &["labels", "annotations", "disableNameSuffixHash", "immutable"]),
    ("secretGenerator", &["name", "namespace", "behavior", "literals", "files", "envs", "env", "options", "type"]),
    ("secretGenerator.options", &["labels", "annotations", "disableNameSuffixHash", "immutable"]),
    ("generatorOptions", &["labels", "annotations", "disableNameSuffixHash", "immutable"]),
    ("images", &["name", "newName", "newTag", "digest", "tagSuffix"]),
    ("imageTags", &["name", "newName", "newTag", "digest", "tagSuffix"]),
    ("replicas", &["name", "count"]),
    ("replacements", &["path", "source", "sourceValue", "targets"]),
    ("replacements.source", &["group", "version", "kind", "name", "namespace", "fieldPath", "options"]),
    ("replacements.source.options", &["delimiter", "index", "encoding", "create"]),
    ("replacements.targets", &["select", "reject", "fieldPaths", "options"]),
    ("replacements.targets.select", &["group", "version", "kind", "name", "namespace"]),
    ("replacements.targets.select", &["labelSelector", "annotationSelector"]),
    ("replacements.targets.reject", &["group", "version", "kind", "name", "namespace"]),
    ("replacements.targets.reject", &["labelSelector", "annotationSelector"]),
    ("replacements.targets.options", &["delimiter", "index", "encoding", "create"]),
    ("vars", &["name", "objref", "fieldref"]),
    ("vars.objref", &["apiVersion", "group", "version", "kind", "name", "namespace"]),
    ("vars.fieldref", &["fieldPath"]),
    ("openapi", &["path", "version"]),
    ("sortOptions", &["order", "legacySortOptions"]),
    ("sortOptions.legacySortOptions", &["orderFirst", "orderLast"]),
];

#[test]
fn every_case() {
    let (mut count, mut failures) = (0, Vec::new());
    for topic in topics(Path::new(FOLDER)) {
        let file = topic.path.file_name().unwrap().to_string_lossy().into_owned();
        for case in &topic.cases {
            count += 1;
            if let Some(failure) = failure(case) {
                failures.push(format!("{file}: {}\n{failure}", case.name));
            }
        }
    }
    println!("{count} cases");
    assert!(failures.is_empty(), "{} of {count} cases fail\n\n{}", failures.len(), failures.join("\n\n"));
}

/// What is wrong with the build of a case.
fn failure(case: &Case) -> Option<String> {
    let options = Options {
        rules: if case.is_flux() { Rules::Flux } else { Rules::Kustomize },
        reorder: if case.is_legacy() { Reorder::Legacy } else { Reorder::None },
        ..Options::default()
    };
    let built = catch_unwind(AssertUnwindSafe(|| support::built(&case.files, case.target(), &options)));
    match (built.unwrap_or_else(|_| Ok("a panic".to_owned())), &case.outcome) {
        (Ok(text), Outcome::Output(expected)) => support::difference(expected, &text),
        (Ok(text), Outcome::Error(_)) => Some(format!("builds, but should not:\n{text}")),
        (Err(error), Outcome::Output(_)) => Some(format!("should build: {error}")),
        (Err(error), Outcome::Error(parts)) => {
            let missing = parts.iter().find(|part| !error.contains(part.as_str()))?;
            Some(format!("the message should hold {missing:?}: {error}"))
        }
    }
}

#[test]
fn every_field_has_three_cases() {
    let fields: BTreeSet<String> = FIELDS
        .iter()
        .flat_map(|(parent, names)| names.iter().map(move |name| [parent, *name].join(".").to_ascii_lowercase()))
        .map(|path| path.trim_start_matches('.').to_owned())
        .collect();
    let mut seen: BTreeMap<&str, usize> = fields.iter().map(|field| (field.as_str(), 0)).collect();
    for case in topics(Path::new(FOLDER)).iter().flat_map(|topic| &topic.cases) {
        let mut used = BTreeSet::new();
        for (path, content) in &case.files {
            let name = path.rsplit('/').next().unwrap_or_default();
            if ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name) {
                for document in yaml::parse_as(Dialect::Kustomization, path, content).unwrap_or_default() {
                    note(&document.node, "", &mut used);
                }
            }
        }
        for (field, count) in &mut seen {
            *count += usize::from(used.contains(*field));
        }
    }
    let few: Vec<_> = seen.iter().filter(|(_, count)| **count < 3).collect();
    println!("{} fields, each in 3 cases or more", seen.len());
    assert!(few.is_empty(), "fields with fewer than 3 cases: {few:?}");
}

/// Notes the paths of all fields in a kustomization.
fn note(node: &Node, at: &str, used: &mut BTreeSet<String>) {
    for item in node.as_sequence().unwrap_or_default() {
        note(item, at, used);
    }
    for (key, value) in node.as_mapping().unwrap_or_default() {
        let path = format!("{at}.{}", key.name.to_ascii_lowercase()).trim_start_matches('.').to_owned();
        note(value, &path, used);
        used.insert(path);
    }
}

#[test]
fn the_reference_agrees() {
    let Some(oracle) = Oracle::find().filter(|oracle| *oracle == Oracle::Exact) else {
        println!("!! SKIPPED: no kustomize v5.8.1 here, so the cases were not compared with it !!");
        return;
    };
    let writes = std::env::var_os("KUSTOMIZE_CASES").is_some_and(|value| value == "write");
    let mut topics = topics(Path::new(FOLDER));
    let (left, right) = topics.split_at_mut(9);
    let differences = std::thread::scope(|scope| {
        let other = scope.spawn(|| compare(right, oracle, writes));
        let mut differences = compare(left, oracle, writes);
        differences.extend(other.join().unwrap());
        differences
    });
    if writes {
        topics.iter().for_each(Topic::write);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// Where the reference says otherwise; its outputs are taken over when asked for.
fn compare(topics: &mut [Topic], oracle: Oracle, takes_over: bool) -> Vec<String> {
    let mut differences = Vec::new();
    for topic in topics {
        for case in &mut topic.cases {
            if !case.asks_oracle() {
                continue;
            }
            let question = Question { is_legacy: case.is_legacy(), loads_from_anywhere: case.is_flux() };
            let difference = match (oracle.build(&case.files, case.target(), question), &mut case.outcome) {
                (Ok(output), Outcome::Output(expected)) if takes_over => {
                    *expected = output;
                    None
                }
                (Ok(output), Outcome::Output(expected)) => support::difference(&output, expected),
                (Err(_), Outcome::Error(_)) => None,
                (Ok(output), Outcome::Error(_)) => Some(format!("the reference builds:\n{output}")),
                (Err(error), Outcome::Output(_)) => Some(format!("the reference does not build: {error}")),
            };
            differences.extend(difference.map(|difference| format!("{}\n{difference}", case.name)));
        }
    }
    differences
}
