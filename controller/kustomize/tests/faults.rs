//! All that is wrong with what a kustomization names is told at once, each fault with the entry that brought it in.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

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
        other => panic!("{other:?}"),
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
