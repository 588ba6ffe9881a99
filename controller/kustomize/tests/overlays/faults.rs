//! All that is wrong with what a kustomization names is told at once, each fault with the entry that brought it in.

use kustomize::{BuildError, Options, build};
use manifest::FileTree;

/// One thing is wrong with each field that loads something.
const ALL_WRONG: &[(&str, &str)] = &[
    (
        "app/kustomization.yaml",
        "\
resources: [bad.yaml, missing.yaml, base]
configurations: [bad.yaml, unknown.yaml]
crds: [bad.yaml]
configMapGenerator: [{name: c, literals: [nothing]}]
generators: [bad.yaml, other.yaml]
components: [component, missing]
patches: [{path: bad.yaml}, {path: missing.yaml}]
replacements: [{path: bad.yaml}, {path: missing.yaml}]
transformers: [values.yaml, other.yaml]
validators: [other.yaml]
",
    ),
    ("app/bad.yaml", "a: [\n"),
    ("app/unknown.yaml", "unknown: []\n"),
    ("app/other.yaml", "{apiVersion: v1, kind: Other, metadata: {name: o}}\n"),
    (
        "app/values.yaml",
        "{apiVersion: builtin, kind: ValueAddTransformer, metadata: {name: v}, targetFilePath: bad.yaml}\n",
    ),
    ("app/base/kustomization.yaml", "resources: [none.yaml]\nopenapi: {path: none.json}\n"),
    (
        "app/component/kustomization.yaml",
        "{apiVersion: kustomize.config.k8s.io/v1alpha1, kind: Component, resources: [r.yaml], patches: [{path: p.yaml}]}\n",
    ),
    ("app/component/r.yaml", "a: 1\n"),
    ("app/component/p.yaml", "a: 1\n"),
];

fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let mut tree = FileTree::new();
    for (path, content) in files {
        tree.insert(path, content.as_bytes().to_vec()).unwrap();
    }
    match build(&tree, "app", &Options::default()) {
        Err(BuildError::Invalid(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{files:?}: {other:?}"),
    }
}

#[test]
fn no_fault_hides_another() {
    let found = faults(ALL_WRONG);
    for expected in [
        ["app/bad.yaml:", "resources[0]"],
        ["app/kustomization.yaml:", "resources[1]"],
        ["app/base/kustomization.yaml:", "none.yaml"],
        ["app/base/kustomization.yaml:", "none.json"],
        ["app/bad.yaml:", "configurations[0]"],
        ["app/unknown.yaml:", "configurations[1]"],
        ["app/bad.yaml:", "crds[0]"],
        ["app/kustomization.yaml:", "configMapGenerator[0].literals[0]"],
        ["app/bad.yaml:", "generators[0]"],
        ["app/other.yaml:", "generators[1]"],
        ["app/component/r.yaml:", "resources[0]"],
        ["app/component/p.yaml:", "patches[0]"],
        ["app/kustomization.yaml:", "components[1]"],
        ["app/bad.yaml:", "patches[0]"],
        ["app/kustomization.yaml:", "patches[1]"],
        ["app/bad.yaml:", "replacements[0]"],
        ["app/kustomization.yaml:", "replacements[1]"],
        ["app/bad.yaml:", "transformers[0]"],
        ["app/other.yaml:", "transformers[1]"],
        ["app/other.yaml:", "validators[0]"],
    ] {
        let is_told = found.iter().any(|fault| expected.iter().all(|part| fault.contains(part)));
        assert!(is_told, "{expected:?} in\n{}", found.join("\n"));
    }
}

#[test]
fn what_does_not_fit_a_reference_is_told_with_the_object_and_the_configuration() {
    let found = faults(&[
        ("app/kustomization.yaml", "namePrefix: p-\nresources: [a.yaml]\nconfigurations: [c.yaml]\n"),
        ("app/c.yaml", "nameReference: [{kind: Secret, fieldSpecs: [{kind: A, path: spec/name/x}]}]\n"),
        (
            "app/a.yaml",
            "{apiVersion: v1, kind: Secret, metadata: {name: s}}\n---\n{apiVersion: x/v1, kind: A, metadata: {name: a}, spec: {name: s}}\n",
        ),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    for part in [
        "app/a.yaml:3:",
        "'spec/name/x'",
        "A.v1.x/p-a.default",
        "goes through a string",
        "`nameReference` of kind Secret",
    ] {
        assert!(found[0].contains(part), "{part}: {}", found[0]);
    }
}

#[test]
fn a_field_spec_that_does_not_fit_is_told_with_its_own_place() {
    let object = "{apiVersion: x/v1, kind: A, metadata: {name: a}, spec: {name: s, list: [{}]}}\n";
    for (kustomization, own, expected) in [
        ("namePrefix: p-\nconfigurations: [c.yaml]\n", "namePrefix:\n- {path: spec/name/x, kind: A}\n", "c.yaml:2:3"),
        ("nameSuffix: -s\nconfigurations: [c.yaml]\n", "nameSuffix:\n- {path: spec, kind: A}\n", "c.yaml:2:3"),
        ("namespace: ns\nconfigurations: [c.yaml]\n", "namespace: [{path: spec/list}]\n", "c.yaml:1:13"),
        (
            "labels: [{pairs: {a: b}}]\nconfigurations: [c.yaml]\n",
            "labels: [{path: spec/name, create: true}]\n",
            "c.yaml:1:10",
        ),
        (
            "commonAnnotations: {a: b}\nconfigurations: [c.yaml]\n",
            "commonAnnotations:\n- path: spec/name/x\n",
            "c.yaml:2:3",
        ),
        ("images: [{name: s, newTag: t}]\nconfigurations: [c.yaml]\n", "images:\n- path: spec//x\n", "c.yaml:2:3"),
        (
            "transformers: [c.yaml]\n",
            "{apiVersion: builtin, kind: PrefixTransformer, metadata: {name: p}, prefix: p-,\nfieldSpecs: [{path: spec/name/x}]}\n",
            "c.yaml:2:14",
        ),
        ("labels:\n- pairs: {a: b}\n  fields: [{path: spec/name}]\n", "", "kustomization.yaml:4:12"),
        // In conflict with a built-in one, and with one of another file.
        (
            "configurations: [c.yaml]\n",
            "nameReference:\n- {kind: ConfigMap, version: v1,\n  fieldSpecs: [\n    {path: spec/volumes/configMap/name, kind: Pod, version: v1, create: true}]}\n",
            "c.yaml:4:5",
        ),
        ("configurations: [c.yaml, d.yaml]\n", "images:\n- {path: spec/image}\n", "d.yaml:1:10"),
    ] {
        let kustomization = format!("resources: [a.yaml]\n{kustomization}");
        let found = faults(&[
            ("app/kustomization.yaml", &kustomization),
            ("app/a.yaml", object),
            ("app/c.yaml", own),
            ("app/d.yaml", "images: [{path: spec/image, create: true}]\n"),
        ]);
        assert_eq!(found.len(), 1, "{kustomization}{own}: {found:?}");
        assert!(found[0].contains(&format!("app/{expected}")), "{kustomization}{own}: {expected} in {}", found[0]);
    }
}

#[test]
fn a_fault_of_an_inline_text_is_placed_in_its_file() {
    for (patches, expected) in [
        // A literal: the line behind it, and the indentation.
        ("- patch: |-\n    - op: replace\n      path: /none/x\n  target: {kind: A}\n", "kustomization.yaml:4:7: "),
        ("- patch: |-\n\n    kind: A\n    metadata: {name: none}\n", "kustomization.yaml:5:5: "),
        ("- patch: | # why\n      a: [\n", "kustomization.yaml:4:10: "),
        ("- patch: !!str |2\n    kind: A\n    b: {\n", "kustomization.yaml:5:8: "),
        (
            "- target: {kind: A}\n  patch: |\n    - {op: add, path: /b, value: 1}\n\n    - {op: none, path: /a}\n",
            "kustomization.yaml:7:7: ",
        ),
        // On one line.
        ("- patch: '[{\"op\": \"x\", \"path\": \"/a\"}]'\n  target: {kind: A}\n", "kustomization.yaml:3:12: "),
        ("- {patch: \"- op: x\", target: {kind: A}}\n", "kustomization.yaml:3:14: "),
        // What is folded or escaped stands nowhere as it is.
        ("- patch: >-\n    kind: A\n\n    metadata: {name: none}\n", "kustomization.yaml#patches[0].patch:1:1: "),
        ("- patch: \"kind: A\\nmetadata: {name: none}\"\n", "kustomization.yaml#patches[0].patch:1:1: "),
    ] {
        let kustomization = format!("resources: [a.yaml]\npatches:\n{patches}");
        let found = faults(&[
            ("app/kustomization.yaml", &kustomization),
            ("app/a.yaml", "{apiVersion: x/v1, kind: A, metadata: {name: a}}\n"),
        ]);
        assert_eq!(found.len(), 1, "{patches}: {found:?}");
        assert!(found[0].starts_with(&format!("app/{expected}")), "{patches}: {expected}in {}", found[0]);
        assert!(found[0].contains("patches[0]"), "{patches}: {}", found[0]);
    }
}
