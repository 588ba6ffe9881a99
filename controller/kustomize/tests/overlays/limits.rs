//! What a hostile overlay may not do, each with the message that tells where it is.

use std::sync::atomic::{AtomicUsize, Ordering};

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
            vec!["transformers[0]", "the path has more than 100 parts"],
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

/// A patch of doubling copies.
fn doubling(count: usize) -> String {
    (0..count)
        .fold(String::new(), |patch, index| patch + &format!("    - {{op: copy, from: /data, path: /data/k{index}}}\n"))
}

#[test]
fn each_limit_names_the_entry_that_passes_it() {
    let default = Limits::default();
    let bytes = |bytes: usize| Limits { bytes, ..default };
    let steps = |steps: usize| Limits { steps, ..default };
    let maps = |count: usize, data: &str| {
        (0..count).fold(String::new(), |all, index| {
            all + &format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{index}}}\ndata: {data}\n")
        })
    };
    let (large, small) = ("x".repeat(1000), maps(20, "{a: b}"));
    let replacement = "- source: {kind: Secret, fieldPath: data.a}\n  targets:\n  - select: {kind: ConfigMap}\n    options: {create: true}\n    fieldPaths: [data.k, data.l]\n";
    let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{a: {large}}}\n---\n{small}");
    let component = format!("kind: Component\nnamePrefix: {}-\n", "p".repeat(200));
    let values = "apiVersion: builtin\nkind: ValueAddTransformer\nmetadata: {name: v}\nvalue: x\ntargets: [{fieldPath: data/x}]\n";
    let patch = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: y}}\n";
    // The limits, the fields of the kustomization, `a.yaml`, and what the message has.
    let rows: Vec<(Limits, String, &str, Vec<&str>)> = vec![
        (
            Limits { resources: 10, ..default },
            String::new(),
            &small,
            vec![
                "a.yaml:52:1: ConfigMap/m10: more than 10 resources are loaded (from resources[0] at kustomization.yaml:1:13)",
            ],
        ),
        (
            Limits { kustomizations: 2, ..default },
            "components: [c, c]\n".to_owned(),
            &small,
            vec![
                "kustomization.yaml:2:17: components[1]: more than 2 kustomizations are entered, the last one in \"c\"",
            ],
        ),
        (
            bytes(4000),
            String::new(),
            &secret,
            vec!["a.yaml:", "hold more than 4000 bytes (from resources[0] at kustomization.yaml:1:13)"],
        ),
        (
            steps(50),
            "namePrefix: x-\nnameSuffix: -x\n".to_owned(),
            &small,
            vec!["kustomization.yaml:3:13: nameSuffix: the transformers look at resources more than 50 times in all"],
        ),
        (
            bytes(40_000),
            format!("replacements:\n{}", many(1, replacement, "")),
            &secret,
            vec![
                "kustomization.yaml:7:26: replacements[0].targets[0].fieldPaths[1]: \"data.l\": the resources of the build hold more than 40000 bytes (ConfigMap/m10 at a.yaml:57:1)",
            ],
        ),
        // One after the other, each little.
        (
            bytes(60_000),
            format!("components: [{}]\n", many(40, "c", ", ")),
            &small,
            vec!["a.yaml:", "namePrefix at c/kustomization.yaml:2:13"],
        ),
        (
            bytes(20_000),
            format!("patches:\n- target: {{kind: ConfigMap}}\n  patch: |\n{}", doubling(17)),
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n",
            vec![
                "kustomization.yaml:11:7:",
                "(copy \"/data/k",
                "hold more than 20000 bytes (from patches[0] at kustomization.yaml:3:3)",
            ],
        ),
        (
            bytes(200_000),
            format!("commonAnnotations:\n  a: {}\n", "x".repeat(20_000)),
            &small,
            vec![
                "the resources of the build hold more than 200000 bytes (from commonAnnotations at kustomization.yaml:3:3)",
            ],
        ),
        (
            bytes(100_000),
            format!("patches:\n{}", many(100, "- {path: p.yaml, target: {name: none}}\n", "")),
            OBJECT,
            vec!["p.yaml:1:1: what configures the build holds more than 100000 bytes in all (from patches["],
        ),
        (
            bytes(100_000),
            format!("transformers: [{}]\n", many(200, "v.yaml", ", ")),
            OBJECT,
            vec![
                "v.yaml:1:1: ValueAddTransformer/v: the resources of the build hold more than 100000 bytes (from transformers[",
            ],
        ),
        (
            bytes(20_000),
            format!(
                "configMapGenerator:\n- name: g\n  files: [{}]\n",
                (0..20).map(|index| format!("k{index}=large.txt")).collect::<Vec<_>>().join(", ")
            ),
            OBJECT,
            vec!["kustomization.yaml:4:", "configMapGenerator[0].files[1", "hold more than 20000 bytes"],
        ),
        (
            steps(2000),
            format!("replacements:\n{}", many(100, replacement, "")),
            &secret,
            vec!["kustomization.yaml:", "replacements[", "look at resources more than 2000 times"],
        ),
        (
            steps(1000),
            format!("validators: [{}]\n", many(30, "v.yaml", ", ")),
            &small,
            vec!["v.yaml:1:1: ValueAddTransformer", "(from validators["],
        ),
        (
            steps(5_000),
            format!(
                "patches:\n{}",
                (0..50)
                    .map(|index| format!("- {{target: {{name: '(\\pL{{20}}|N){index}'}}, patch: '[]'}}\n"))
                    .collect::<String>()
            ),
            &small,
            vec!["kustomization.yaml:", "patches[", ".target: `name`", "look at resources more than 5000 times"],
        ),
        (
            default,
            "patches:\n- {target: {name: '\\pL{900}'}, patch: '[]'}\n".to_owned(),
            &small,
            vec!["kustomization.yaml:3:", "patches[0].target: `name`", "expression too large"],
        ),
    ];
    let mut wrong = Vec::new();
    for (limits, fields, given, expected) in rows {
        let kustomization = format!("resources: [a.yaml]\n{fields}");
        let files = [
            ("kustomization.yaml", kustomization.as_str()),
            ("a.yaml", given),
            ("c/kustomization.yaml", &component),
            ("p.yaml", patch),
            ("v.yaml", values),
            ("large.txt", &large),
        ];
        let faults = faults(&files, limits).join("\n");
        let shown = faults.get(..faults.len().min(600)).unwrap_or(&faults);
        let missing = expected.into_iter().filter(|part| !faults.contains(part));
        wrong.extend(missing.map(|part| format!("{part:?} is not in {shown}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_a_build_needs_grows_with_what_it_does() {
    // So many inline patches on so many objects are nothing out of the ordinary, whatever the whole file holds.
    let count = 300;
    let (mut objects, mut kustomization) =
        (String::new(), String::from("resources: [a.yaml]\nnamespace: prod\npatches:\n"));
    for index in 0..count {
        objects += &format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{index}}}\ndata: {{a: b}}\n");
        kustomization +=
            &format!("- patch: '{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m{index}}}, data: {{a: c}}}}'\n");
    }
    let mut tree = FileTree::new();
    tree.insert("kustomization.yaml", kustomization.into_bytes()).unwrap();
    tree.insert("a.yaml", objects.into_bytes()).unwrap();
    let limits = Limits { bytes: count * 1500, steps: count * 1000, ..Limits::default() };
    assert_eq!(build(&tree, "", &Options { limits, ..Options::default() }).unwrap().len(), count);
}

#[test]
fn a_build_that_nobody_waits_for_ends() {
    let asked = AtomicUsize::new(0);
    let cancelled = || asked.fetch_add(1, Ordering::Relaxed) >= 10;
    let replacement = "- sourceValue: v\n  targets:\n  - select: {kind: ConfigMap}\n    fieldPaths: [metadata.name]\n";
    let kustomization = format!("resources: [a.yaml]\nreplacements:\n{}", many(1000, replacement, ""));
    let mut tree = FileTree::new();
    tree.insert("kustomization.yaml", kustomization.into_bytes()).unwrap();
    tree.insert("a.yaml", OBJECT.as_bytes().to_vec()).unwrap();
    let options = Options { cancelled: Some(&cancelled), ..Options::default() };
    let fault = build(&tree, "", &options).unwrap_err().to_string();
    assert!(fault.contains("replacements[") && fault.contains("the build was given up"), "{fault}");
    assert_eq!(asked.load(Ordering::Relaxed), 11);
}
