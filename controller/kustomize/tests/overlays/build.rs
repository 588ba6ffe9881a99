//! Plain directories, as tables: files to objects, or to faults.

use kustomize::{BuildError, Options, build, to_yaml};
use manifest::yaml::{Document, Node};
use manifest::{Diagnostic, FileTree, Object};

fn tree(files: &[(&str, &str)]) -> FileTree {
    let mut tree = FileTree::new();
    for (path, content) in files {
        tree.insert(path, content.as_bytes().to_vec()).unwrap();
    }
    tree
}

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
}

fn built(files: &[(&str, &str)], path: &str) -> Vec<Object> {
    build(&tree(files), path, &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(files: &[(&str, &str)], path: &str) -> Vec<String> {
    match build(&tree(files), path, &Options::default()) {
        Err(BuildError::Invalid(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

fn places(objects: &[Object]) -> Vec<String> {
    objects.iter().map(|object| format!("{} {}", object.id(), object.origin)).collect()
}

#[test]
fn files_come_in_the_order_of_a_walk() {
    let [a, b, c, d, e, f] = ["a", "b", "c", "d", "e", "f"].map(map);
    let files = [
        ("app/x.yaml", a.as_str()),
        ("app/x/y.yml", &b),
        ("app/x-z.yaml", &c),
        ("app/.hidden/.h.yaml", &d),
        ("app/README.md", "# no: [yaml"),
        ("app/values.yaml.txt", "no"),
        ("app/values.json", "{}"),
        ("apples.yaml", &e),
        ("app/.yaml", &f),
    ];
    let expected = [
        "ConfigMap/d app/.hidden/.h.yaml:1",
        "ConfigMap/f app/.yaml:1",
        "ConfigMap/b app/x/y.yml:1",
        "ConfigMap/c app/x-z.yaml:1",
        "ConfigMap/a app/x.yaml:1",
    ];
    for path in ["app", "./app/", "/app", "x/../app"] {
        assert_eq!(places(&built(&files, path)), expected, "{path}");
    }
    assert_eq!(built(&files, "").len(), 6);
    assert!(built(&[("a.txt", "")], "").is_empty());
    assert!(built(&[], "./").is_empty());
}

#[test]
fn paths_that_are_no_directory() {
    let files = [("app/a.yaml", "")];
    for path in ["nowhere", "ap", "app/a"] {
        let error = build(&tree(&files), path, &Options::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("kustomization path not found: {path}"));
        assert!(matches!(error, BuildError::PathNotFound { .. }));
    }
    assert_eq!(
        faults(&files, "app/a.yaml"),
        ["kustomization path \"app/a.yaml\" is a file; name the directory that holds it"]
    );
    assert_eq!(faults(&files, "../x"), ["path \"../x\" leads outside the root of the source"]);
}

#[test]
fn a_path_that_was_a_symbolic_link_is_told_as_one() {
    let files = [
        ("app/kustomization.yaml", "resources: [link.yaml, linked/a.yaml, ../base, none.yaml]\npatches: [{path: p}]\n"),
        ("app/a.yaml", ""),
    ];
    let mut tree = tree(&files);
    ["app/link.yaml", "app/linked", "base", "app/p"].into_iter().for_each(|link| tree.leave_out_link(link).unwrap());
    let told = |path: &str| build(&tree, path, &Options::default()).unwrap_err().to_string();
    let found = told("app");
    for (line, link) in [
        ("1:13: resources[0]: ", Some("app/link.yaml")),
        ("1:24: resources[1]: ", Some("app/linked")),
        ("1:39: resources[2]: ", Some("base")),
        ("1:48: resources[3]: ", None),
        ("2:18: patches[0].path: ", Some("app/p")),
    ] {
        let fault = found.lines().find(|fault| fault.starts_with(&format!("app/kustomization.yaml:{line}")));
        let fault = fault.unwrap_or_else(|| panic!("{line} in {found}"));
        let expected = link.map(|link| format!("; {link:?} is a symbolic link, and links are left out: "));
        assert_eq!(fault.contains("symbolic link"), link.is_some(), "{fault}");
        assert!(expected.is_none_or(|expected| fault.contains(&expected)), "{fault}");
    }
    for path in ["base", "app/linked/deep"] {
        let expected =
            format!("kustomization path not found: {path}; {:?} is a symbolic link", path.trim_end_matches("/deep"));
        assert!(told(path).starts_with(&expected), "{}", told(path));
    }
}

#[test]
fn lists_are_replaced_by_their_items_behind_the_rest_of_the_file() {
    let text = "\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
- apiVersion: v1
  kind: ConfigMapList
  items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: ns}}
---
{apiVersion: v1, kind: List, items: null}
---
{apiVersion: x/v1, kind: AllowList, metadata: {name: c}}
";
    let objects = built(&[("l.yaml", text)], "");
    assert_eq!(places(&objects), ["AllowList/c l.yaml:12", "ConfigMap/a l.yaml:4", "ConfigMap/ns/b l.yaml:8"]);
    assert_eq!(objects.iter().map(|object| object.origin.document).collect::<Vec<_>>(), [2, 0, 0]);
}

#[test]
fn documents_that_are_no_objects() {
    for (text, expected) in [
        (
            "a: 1",
            vec![
                "f.yaml:1:1: not a Kubernetes object: `apiVersion` is missing",
                "f.yaml:1:1: not a Kubernetes object: `kind` is missing",
            ],
        ),
        ("\n- a", vec!["f.yaml:2:1: not a Kubernetes object: the document is a list, not a mapping"]),
        ("text", vec!["f.yaml:1:1: not a Kubernetes object: the document is a string, not a mapping"]),
        ("kind: A\nmetadata: {name: a}", vec!["f.yaml:1:1: not a Kubernetes object: `apiVersion` is missing"]),
        (
            "apiVersion: 1\nkind:\nmetadata: {name: a}",
            vec![
                "f.yaml:1:13: `apiVersion` is a number, not a string; quote it when it is meant as text",
                "f.yaml:2:5: `kind` is empty",
            ],
        ),
        ("apiVersion: v1\nkind: A", vec!["f.yaml:1:1: A has no `metadata.name`"]),
        ("apiVersion: v1\nkind: A\nmetadata:\n  labels: {}", vec!["f.yaml:4:3: A has no `metadata.name`"]),
        ("apiVersion: v1\nkind: A\nmetadata: x", vec!["f.yaml:3:11: `metadata` is a string, not a mapping"]),
        (
            "apiVersion: v1\nkind: A\nmetadata: {name: 12, namespace: true}",
            vec![
                "f.yaml:3:18: `metadata.name` is a number, not a string; quote it when it is meant as text",
                "f.yaml:3:33: `metadata.namespace` is a boolean, not a string; quote it when it is meant as text",
            ],
        ),
        ("apiVersion: v1\nkind: A\nmetadata: {name: ''}", vec!["f.yaml:3:18: `metadata.name` is empty"]),
        (
            "apiVersion: v1\nkind: A\nmetadata: {generateName: a-}",
            vec!["f.yaml:3:11: A has no `metadata.name`; `generateName` would make another object at each apply"],
        ),
        (
            "apiVersion: v1\nkind: List\nitems: [x, {kind: A}]",
            vec![
                "f.yaml:3:9: item 0 of the list is a string, not a Kubernetes object",
                "f.yaml:3:12: not a Kubernetes object: `apiVersion` is missing",
            ],
        ),
        ("apiVersion: v1\nkind: List\nitems: {}", vec!["f.yaml:3:8: `items` of a list is a mapping, not a list"]),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nsops: {mac: x}",
            vec!["f.yaml:4:1: the document is encrypted with SOPS, which is not decrypted yet: keep secrets elsewhere"],
        ),
    ] {
        assert_eq!(faults(&[("f.yaml", text)], ""), expected, "{text:?}");
    }
}

/// What kustomize says too, so that one finds it when one searches for it.
const TWICE: &str = "b.yaml:9:1: ConfigMap/a: is there twice; it is first given at a.yaml:1:1 (may not add resource with an \
                     already registered id: ConfigMap.v1.[noGrp]/a.default)";

#[test]
fn two_objects_of_one_name() {
    let second = format!("# one\n---\n{}---\n{}", map("a\n  namespace: ns"), map("a"));
    let files = [("a.yaml", map("a")), ("b.yaml", second)];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    assert_eq!(faults(&files, ""), [TWICE]);
    let versions = [
        ("a.yaml", "{apiVersion: g/v1, kind: A, metadata: {name: a}}"),
        ("b.yaml", "{apiVersion: g/v2, kind: A, metadata: {name: a}}"),
    ];
    assert_eq!(faults(&versions, "").len(), 1);
    let groups = [
        ("a.yaml", "{apiVersion: g/v1, kind: A, metadata: {name: a}}"),
        ("b.yaml", "{apiVersion: h/v1, kind: A, metadata: {name: a}}"),
    ];
    assert_eq!(built(&groups, "").len(), 2);
}

#[test]
fn what_lies_below_a_kustomization_belongs_to_it() {
    let object = map("a");
    for (name, path) in [("kustomization.yaml", "app"), ("kustomization.yml", ""), ("Kustomization", "app")] {
        let file = format!("app/{name}");
        let files = [
            (file.as_str(), "resources: [a.yaml]"),
            ("app/a.yaml", &object),
            ("app/patch.yaml", "broken: ["),
            ("app/sub/kustomization.yaml", ""),
        ];
        assert_eq!(places(&built(&files, path)), ["ConfigMap/a app/a.yaml:1"], "{name}");
    }
    let files = [
        ("app/a.yaml", object.as_str()),
        ("b/x/kustomization.yaml", ""),
        ("b/y.yaml", "- 1"),
        ("c/kustomization.yaml.bak", ""),
    ];
    assert_eq!(built(&files, "app").len(), 1);
    assert_eq!(
        faults(&files, "b"),
        [
            "b/x/kustomization.yaml:1:1: the kustomization is empty: give it `resources`",
            "b/y.yaml:1:1: not a Kubernetes object: the document is a list, not a mapping",
        ]
    );
    assert_eq!(faults(&files, "").len(), 2);
}

#[test]
fn all_faults_of_all_files_are_told() {
    let files = [
        ("a.yaml", "a: [\n---\nb: 1\n"),
        ("b/kustomization.yml", ""),
        ("c.yaml", "a: 1\n---\napiVersion: v1\nkind: A\n"),
        ("d.yaml", "\u{0}"),
    ];
    let found = faults(&files, "");
    let files: Vec<_> = found.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(files, ["a.yaml", "b/kustomization.yml", "c.yaml", "c.yaml", "c.yaml", "d.yaml"], "{found:?}");
}

#[test]
fn the_hook_turns_documents_into_objects() {
    let hook = |document: &Document| {
        let name = document.node.get("bundle")?;
        Some(match name.as_str() {
            Some("twice") => Err(vec![name.fault("one"), name.fault("two")]),
            Some("unnamed") => Ok(Node::mapping([("apiVersion", Node::string("v1")), ("kind", Node::string("B"))])),
            _ => Ok(Node::mapping([
                ("apiVersion", Node::string("x/v1")),
                ("kind", Node::string("B")),
                ("metadata", Node::mapping([("name", name.clone())])),
            ])),
        })
    };
    let options = Options { document_hook: Some(&hook), ..Options::default() };
    let object = map("a");
    let files = [("a.yaml", object.as_str()), ("b.yaml", "# c\n---\nbundle: x\n---\nbundle: z\n")];
    let objects = build(&tree(&files), "", &options).unwrap();
    assert_eq!(places(&objects), ["ConfigMap/a a.yaml:1", "B/x b.yaml:3", "B/z b.yaml:5"]);

    let files = [("b.yaml", "bundle: twice\n---\nother: y\n---\nbundle: unnamed\n---\nbundle: x\n---\nbundle: x\n")];
    let Err(BuildError::Invalid(faults)) = build(&tree(&files), "", &options) else { panic!() };
    assert_eq!(
        faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>(),
        [
            "b.yaml:1:9: one",
            "b.yaml:1:9: two",
            "b.yaml:3:1: not a Kubernetes object: `apiVersion` is missing",
            "b.yaml:3:1: not a Kubernetes object: `kind` is missing",
            "b.yaml:5:1: B has no `metadata.name`",
            "b.yaml:9:1: B/x: is there twice; it is first given at b.yaml:7:1 (may not add resource with an already \
             registered id: B.v1.x/x.default)",
        ]
    );
}

#[test]
fn objects_are_printed_in_their_order() {
    let files = [
        ("a.yaml", "kind: A\napiVersion: v1\nmetadata: {name: a}\ndata: {x: 'yes', y: \"a\\nb\\n\"}"),
        ("b.yaml", "{apiVersion: v1, kind: B, metadata: {name: b}}"),
    ];
    let objects = built(&files, "");
    assert_eq!(
        to_yaml(&objects),
        "apiVersion: v1\ndata:\n  x: \"yes\"\n  \"y\": |\n    a\n    b\nkind: A\nmetadata:\n  name: a\n---\napiVersion: v1\nkind: B\nmetadata:\n  name: b\n"
    );
    assert_eq!(to_yaml(&[]), "");
}
