//! What a hostile overlay may not do, each with the message that tells where it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use kustomize::{BuildError, Limits, Options, build};
use manifest::FileTree;

fn faults(files: &[(&str, &str)], limits: Limits) -> Vec<String> {
    let mut tree = FileTree::new();
    for (path, content) in files {
        tree.insert(path, content.as_bytes().to_vec()).unwrap();
    }
    match build(&tree, "", &Options { limits, ..Options::default() }) {
        Err(BuildError::Invalid(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// A part as often as it is wanted, with something between.
fn many(count: usize, part: &str, between: &str) -> String {
    vec![part; count].join(between)
}

const OBJECT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nspec: {x: y}\n";

#[test]
fn nothing_makes_an_object_too_deep_to_be_walked() {
    let [dots, slashes] = [".", "/"].map(|between| many(30_000, "q", between));
    let deep = many(90, "q", ".");
    let types: String = (0..30_000).fold(String::from("{"), |types, index| {
        types
            + &format!("\"t.T{index}\": {{\"Schema\": {{\"properties\": {{\"kind\": {{}}, \"apiVersion\": {{}}, \"metadata\": {{}}, \"x\": {{\"$ref\": \"t.T{}\"}}}}}}}},\n", index + 1)
    }) + "}";
    let there = format!(
        "- source: {{kind: ConfigMap, fieldPath: spec}}\n  targets:\n  - select: {{kind: ConfigMap}}\n    options: {{create: true}}\n    fieldPaths: [data.{deep}]\n"
    );
    let back = "- source: {kind: ConfigMap, fieldPath: data}\n  targets:\n  - select: {kind: ConfigMap}\n    fieldPaths: [spec]\n";
    let rows = [
        (
            format!(
                "replacements:\n- sourceValue: v\n  targets:\n  - select: {{kind: ConfigMap}}\n    options: {{create: true}}\n    fieldPaths: [{dots}]\n"
            ),
            vec!["kustomization.yaml:", "replacements[0].targets[0].fieldPaths[0]", "the path has more than 100 parts"],
        ),
        (
            format!("labels:\n- pairs: {{a: b}}\n  fields: [{{path: {slashes}, create: true}}]\n"),
            vec!["kustomization.yaml:", "labels[0]", "the field path has more than 100 parts"],
        ),
        (
            format!(
                "transformers:\n- |\n  apiVersion: builtin\n  kind: ValueAddTransformer\n  metadata: {{name: v}}\n  value: x\n  targets: [{{fieldPath: {slashes}}}]\n"
            ),
            vec!["transformers[0]", "the field path has more than 100 parts"],
        ),
        (
            format!("replacements:\n{}", many(20, &format!("{there}{back}"), "")),
            vec!["kustomization.yaml:", "replacements[2]", "the object would nest more than 100 levels deep"],
        ),
        ("crds: [types.json]\n".to_owned(), vec!["kustomization.yaml:", "crds[0]", "more than 100 deep"]),
    ];
    for (fields, expected) in rows {
        let kustomization = format!("resources: [a.yaml]\n{fields}");
        let files = [("kustomization.yaml", kustomization.as_str()), ("a.yaml", OBJECT), ("types.json", &types)];
        let faults = faults(&files, Limits::default()).join("\n");
        let shown = faults.get(..faults.len().min(400)).unwrap_or(&faults);
        for part in expected {
            assert!(faults.contains(part), "{part:?} is not in {shown}");
        }
    }
}
