//! What each row expects was printed by kustomize v5.8.1, but for the faults.

use std::fmt::Write as _;

use manifest::yaml::{self, Node};

use super::{Merged, merge};
use crate::schema::Schemas;

fn node(file: &str, text: &str) -> Node {
    yaml::parse(file, text.as_bytes()).unwrap().remove(0).node
}

fn merged(target: &str, patch: &str, schemas: &Schemas) -> String {
    match merge(node("target.yaml", target), &node("patch.yaml", patch), &mut Vec::new(), schemas) {
        Ok(Merged::Kept(node)) => yaml::to_canonical(&node),
        Ok(Merged::Deleted) => "deleted\n".to_owned(),
        Err(fault) => format!("{fault}\n"),
    }
}

fn canonical(text: &str) -> String {
    yaml::to_canonical(&node("expected.yaml", text))
}

/// Rows of what is merged, the patch and the outcome, each the `spec` of an object of the kind.
fn check_specs(api_version: &str, kind: &str, schemas: &Schemas, rows: &[(&str, &str, &str)]) {
    let object = |spec: &str| format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n");
    for (target, patch, expected) in rows {
        let outcome = merged(&object(target), &object(patch), schemas);
        assert_eq!(outcome, canonical(&object(expected)), "{kind}: {target} <- {patch}");
    }
}

#[test]
fn an_object_without_a_schema() {
    let rows = [
        // Mappings: key by key, null removes, the last key leaves an empty mapping.
        ("{a: {b: 1, c: 2}}", "{a: {c: 3, d: 4}}", "{a: {b: 1, c: 3, d: 4}}"),
        ("{a: {b: 1}}", "{a: {b: null}}", "{a: {}}"),
        ("{a: {b: 1}, c: 1}", "{a: null}", "{c: 1}"),
        ("{a: 1}", "{b: null}", "{a: 1}"),
        ("{a: 1}", "{b: {}, c: []}", "{a: 1, b: {}, c: []}"),
        ("{a: {b: 1}}", "{a: {}}", "{a: {b: 1}}"),
        ("{a: 1}", "{}", "{a: 1}"),
        // What is added brings no nulls, but those in its lists.
        ("{}", "{a: {b: null, c: {d: null, e: 1}, f: [{g: null}]}}", "{a: {c: {e: 1}, f: [{g: null}]}}"),
        // Nulls of the target.
        ("{a: null, b: ~, c: 1}", "{c: 2}", "{a: null, b: null, c: 2}"),
        ("\n  a:\n  b:\n    c:\n  d:\n  - e:\n  f: 1", "{f: 2}", "{b: {}, d: [{e: null}], f: 2}"),
        ("{a: null}", "{a: {b: 1}}", "{a: {b: 1}}"),
        ("{a: null}", "{a: null}", "{}"),
        ("{a: null}", "{a: 1}", "{a: 1}"),
        // Scalars: the patch's type counts, but for quotes.
        ("{a: 1}", "{a: '1'}", "{a: '1'}"),
        ("{a: 1, b: x, c: true}", "{a: true, b: 2, c: 2024-01-02}", "{a: true, b: 2, c: 2024-01-02}"),
        ("{a: '1', b: '', c: 'true'}", "{a: 2, b: false, c: 2024-01-02}", "{a: '2', b: 'false', c: '2024-01-02'}"),
        // Lists: the patch's, as it is.
        ("{a: [1, 2]}", "{a: [3]}", "{a: [3]}"),
        ("{a: [1, 2]}", "{a: []}", "{a: []}"),
        ("{a: [1, 2]}", "{a: null}", "{}"),
        ("{a: [{name: x, b: 1}]}", "{a: [{name: x, c: null}]}", "{a: [{name: x, c: null}]}"),
        ("{a: [1]}", "{a: [{$patch: replace}, 2]}", "{a: [{$patch: replace}, 2]}"),
        ("{a: [{name: x}]}", "{a: [{name: x, $patch: delete}]}", "{a: [{name: x, $patch: delete}]}"),
        // Directives.
        ("{a: {b: 1}, c: 1}", "{a: {$patch: delete}}", "{c: 1}"),
        ("{a: {b: 1}}", "{a: {$patch: replace, c: 1, d: null}}", "{a: {c: 1}}"),
        ("{a: {b: 1}}", "{a: {$patch: replace}}", "{a: {}}"),
        ("{a: {b: 1}}", "{a: {$patch: merge, c: 1}}", "{a: {b: 1, c: 1}}"),
        ("{c: 1}", "{a: {$patch: delete, b: 1}}", "{c: 1}"),
        ("{c: 1}", "{a: {$patch: replace, b: {$patch: merge, d: 1}}}", "{c: 1, a: {b: {d: 1}}}"),
        ("{c: 1}", "{a: {b: {$patch: delete}, d: 1}}", "{c: 1, a: {d: 1}}"),
        ("{a: {$patch: x}}", "{b: 1}", "{a: {$patch: x}, b: 1}"),
    ];
    check_specs("getporter.org/v1", "Installation", &Schemas::builtin(), &rows);
}

#[test]
fn a_list_with_one_key() {
    let rows = [
        // The patch's first, in its order, then the others; elements are merged.
        (
            "{containers: [{name: a, image: a}, {name: b, image: b}, {name: c, image: c}]}",
            "{containers: [{name: n}, {name: c, tty: true}, {name: a, image: x}]}",
            "{containers: [{name: n}, {name: c, image: c, tty: true}, {name: a, image: x}, {name: b, image: b}]}",
        ),
        ("{containers: [{name: a}]}", "{containers: []}", "{containers: [{name: a}]}"),
        ("{containers: [{name: a}]}", "{containers: null}", "{}"),
        ("{containers: []}", "{containers: [{name: a, tty: null}]}", "{containers: [{name: a}]}"),
        (
            "{containers: [{name: a, args: [x, y]}]}",
            "{containers: [{name: a, args: [z]}]}",
            "{containers: [{name: a, args: [z]}]}",
        ),
        // Keys are compared as text.
        (
            "{hostAliases: [{ip: 1.5, a: 1}]}",
            "{hostAliases: [{ip: '1.5', b: 2}]}",
            "{hostAliases: [{ip: '1.5', a: 1, b: 2}]}",
        ),
        // Lists in lists.
        (
            "{containers: [{name: a, env: [{name: A, value: x}, {name: B, value: y}]}]}",
            "{containers: [{name: a, env: [{name: B, value: z}, {name: C, value: w}]}]}",
            "{containers: [{name: a, env: [{name: B, value: z}, {name: C, value: w}, {name: A, value: x}]}]}",
        ),
        (
            "{volumes: [{name: v, emptyDir: {}}]}",
            "{volumes: [{name: v, emptyDir: null, hostPath: {path: /}}]}",
            "{volumes: [{name: v, hostPath: {path: /}}]}",
        ),
        // These are replaced.
        ("{tolerations: [{key: a}]}", "{tolerations: [{key: b}]}", "{tolerations: [{key: b}]}"),
        ("{schedulingGates: [{name: a}]}", "{schedulingGates: [{name: b}]}", "{schedulingGates: [{name: b}]}"),
        // Directives.
        (
            "{containers: [{name: a}, {name: b}]}",
            "{containers: [{name: a, $patch: delete}]}",
            "{containers: [{name: b}]}",
        ),
        ("{containers: [{name: a}]}", "{containers: [{name: a, $patch: delete}]}", "{containers: []}"),
        ("{containers: [{name: a}]}", "{containers: [{name: z, $patch: delete}]}", "{containers: [{name: a}]}"),
        (
            "{containers: [{name: a, tty: true}, {name: b}]}",
            "{containers: [{name: a, $patch: replace, image: x}, {name: c, $patch: replace}]}",
            "{containers: [{name: a, tty: true}, {name: c}, {name: b}]}",
        ),
        ("{containers: [{name: a}]}", "{containers: [{name: b}, {$patch: replace}]}", "{containers: [{name: b}]}"),
        ("{containers: [{name: a}], nodeName: x}", "{containers: [{$patch: delete}]}", "{nodeName: x}"),
        (
            "{containers: [{name: a}]}",
            "{containers: [{$patch: merge}, {name: b}]}",
            "{containers: [{name: b}, {name: a}]}",
        ),
        (
            "{}",
            "{containers: [{name: a, $patch: delete}, {name: b, env: [{$patch: replace}, {name: A}]}]}",
            "{containers: [{name: b, env: [{name: A}]}]}",
        ),
        ("{}", "{containers: [{$patch: replace}, {name: b}]}", "{containers: [{$patch: replace}]}"),
        // Twice: the target's last, the patch's first; also where the patch names nothing of the list.
        (
            "{containers: [{name: a, image: '1'}, {name: b}, {name: a, image: '2'}]}",
            "{containers: [{name: a, image: p}, {name: c, image: '3'}, {name: c, image: '4'}]}",
            "{containers: [{name: a, image: '2'}, {name: c, image: '3'}, {name: b}]}",
        ),
        (
            "{containers: [{name: a, tty: 1}, {name: a, tty: 2}]}",
            "{nodeName: x}",
            "{containers: [{name: a, tty: 2}], nodeName: x}",
        ),
        ("{}", "{containers: [{name: a, image: '1'}, {name: a, image: '2'}]}", "{containers: [{name: a, image: '2'}]}"),
        // Without the key.
        ("{containers: [{name: a}, {image: y}]}", "{containers: [{name: a, image: z}]}", "{containers: [{image: y}]}"),
        ("{containers: [{name: a}, {name: b}]}", "{containers: [{image: z}]}", "{containers: []}"),
        ("{containers: [null, {}, {name: a}]}", "{containers: [{name: b}]}", "{containers: [{name: b}]}"),
    ];
    check_specs("v1", "Pod", &Schemas::builtin(), &rows);
}

#[test]
fn a_list_with_several_keys() {
    let rows = [
        // What is new comes first, the rest keeps its order.
        (
            "{ports: [{port: 1, protocol: TCP}, {port: 2, protocol: TCP}, {port: 3, protocol: TCP}]}",
            "{ports: [{port: 9, protocol: TCP}, {port: 3, protocol: TCP, name: p}, {port: 1, protocol: TCP, name: q}]}",
            "{ports: [{port: 9, protocol: TCP}, {port: 1, protocol: TCP, name: q}, {port: 2, protocol: TCP}, {port: 3, protocol: TCP, name: p}]}",
        ),
        // A key that none has does not count.
        (
            "{ports: [{port: 1}, {port: 2}, {port: 3}]}",
            "{ports: [{port: 9}, {port: 3, name: p}, {port: 1, name: q}]}",
            "{ports: [{port: 9}, {port: 3, name: p}, {port: 1, name: q}, {port: 2}]}",
        ),
        (
            "{ports: [{port: 1, protocol: TCP}, {port: 1, protocol: UDP}]}",
            "{ports: [{port: 1, protocol: UDP, $patch: delete}]}",
            "{ports: [{port: 1, protocol: TCP}]}",
        ),
        // One that differs only by what it lacks is the same, and changes nothing.
        ("{ports: [{port: 1, protocol: TCP}]}", "{ports: [{port: 1, name: p}]}", "{ports: [{port: 1, protocol: TCP}]}"),
        (
            "{ports: [{port: 1}, {port: 2}]}",
            "{ports: [{port: 2, name: p, protocol: TCP}]}",
            "{ports: [{port: 1}, {port: 2}]}",
        ),
        (
            "{ports: [{port: 1, protocol: TCP}]}",
            "{ports: [{port: 1, $patch: delete}]}",
            "{ports: [{port: 1, protocol: TCP}]}",
        ),
        (
            "{ports: [{port: 1, protocol: TCP}, {port: 2}]}",
            "{ports: [{port: 3, protocol: TCP}, {port: 2, name: x}]}",
            "{ports: [{port: 3, protocol: TCP}, {port: 1, protocol: TCP}, {name: x, port: 2}]}",
        ),
    ];
    check_specs("v1", "Service", &Schemas::builtin(), &rows);
}

#[test]
fn a_set_of_scalars() {
    for (target, patch, expected) in [
        ("[a, b, '1', c, null, a]", "[n, c, 1]", "[n, c, '1', a, b]"),
        ("[a]", "[]", "[a]"),
        ("[a, b]", "[b, b, c]", "[b, c, a]"),
        ("[a]", "null", ""),
        ("[a, a]", "", "[a]"),
        ("", "[a, b, a]", "[a, b]"),
    ] {
        let object = |list: &str| {
            let finalizers = if list.is_empty() { String::new() } else { format!("  finalizers: {list}\n") };
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n{finalizers}")
        };
        let outcome = merged(&object(target), &object(patch), &Schemas::builtin());
        assert_eq!(outcome, canonical(&object(expected)), "{target} <- {patch}");
    }
}

#[test]
fn whole_objects() {
    let deployment =
        "{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{name: a}, {name: b}]}}}}";
    let change = "{spec: {template: {spec: {containers: [{name: b, image: x}]}}}}";
    let both = "{spec: {template: {spec: {containers: [{name: b, image: x}, {name: a}]}}}}";
    let with = |parts: &str, kind: &str| format!("{{{kind}, {}", parts.trim_start_matches('{'));
    let typed = |parts: &str| with(parts, "apiVersion: apps/v1, kind: Deployment");
    let cr = |parameters: &str| format!("apiVersion: a.b/v1\nkind: X\nspec: {{parameters: {{deep: {parameters}}}}}\n");
    let revision = |data: &str| format!("apiVersion: apps/v1\nkind: ControllerRevision\ndata: {data}\n");
    let rows = [
        ("deleted", "{kind: A, a: 1}".to_owned(), "{kind: A, $patch: delete}".to_owned(), "deleted".to_owned()),
        ("replace says nothing", "{a: 1}".to_owned(), "{$patch: replace, b: 1}".to_owned(), "{a: 1}".to_owned()),
        ("merge", "{a: 1}".to_owned(), "{$patch: merge, b: 1}".to_owned(), "{a: 1, b: 1}".to_owned()),
        ("ids are merged like all else", "{kind: A}".to_owned(), "{kind: B}".to_owned(), "{kind: B}".to_owned()),
        ("the target's kind", deployment.to_owned(), change.to_owned(), typed(both)),
        (
            "the patch's kind, where the target's is unknown",
            with(both, "apiVersion: apps/v1, kind: X"),
            typed(change),
            typed(both),
        ),
        ("an object in an object", cr(deployment), cr(&typed(change)), cr(&typed(both))),
        ("the target alone says which", cr(deployment), cr(change), cr(&typed(both))),
        (
            "so does the patch",
            cr("{}"),
            cr(&typed("{spec: {template: {spec: {containers: [{name: a, tty: null}]}}}}")),
            cr(&typed("{spec: {template: {spec: {containers: [{name: a}]}}}}")),
        ),
        (
            "of an unknown kind",
            cr("{apiVersion: c/v1, kind: Pod, spec: {containers: [1]}}"),
            cr("{spec: {containers: [2]}}"),
            cr("{apiVersion: c/v1, kind: Pod, spec: {containers: [2]}}"),
        ),
        ("where any object may stand", revision(deployment), revision(change), revision(&typed(change))),
    ];
    for (name, target, patch, expected) in rows {
        let expected = if expected == "deleted" { "deleted\n".to_owned() } else { canonical(&expected) };
        assert_eq!(merged(&target, &patch, &Schemas::builtin()), expected, "{name}");
    }
}

#[test]
fn schemas_of_a_document() {
    let document = "definitions:
  v1.Job:
    x-kubernetes-group-version-kind: [{group: a.b, version: v1, kind: Job}]
    properties:
      spec: {$ref: '#/definitions/v1.Spec'}
  v1.Spec:
    additionalProperties: {$ref: '#/definitions/v1.Steps'}
  v1.Steps:
    type: array
    items: {$ref: '#/definitions/v1.Step'}
    x-kubernetes-patch-strategy: retainKeys,merge
    x-kubernetes-patch-merge-key: id
    x-kubernetes-list-map-keys: [name, scope, lane]
  v1.Step:
    properties:
      tags: {type: array, items: {type: string}, x-kubernetes-patch-strategy: merge}
      hosts: {type: array, items: {type: object}, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name]}
      again: {$ref: '#/definitions/v1.Step'}
";
    let schemas = Schemas::builtin().with_document(&node("schema.yaml", document)).unwrap();
    let rows = [
        ("{x: [{name: a, b: 1}]}", "{x: [{name: b}, {name: a, c: 1}]}", "{x: [{name: b}, {name: a, b: 1, c: 1}]}"),
        (
            "{x: [{name: a, scope: s, lane: l, tags: [t]}]}",
            "{x: [{name: a, scope: s, lane: l, tags: [u]}]}",
            "{x: [{name: a, scope: s, lane: l, tags: [u, t]}]}",
        ),
        (
            "{x: [{name: a, hosts: [{name: h}]}]}",
            "{x: [{name: a, hosts: [{name: i}]}]}",
            "{x: [{name: a, hosts: [{name: i}]}]}",
        ),
        (
            "{x: [{name: a, again: {again: {tags: [t]}}}]}",
            "{x: [{name: a, again: {again: {tags: [u]}}}]}",
            "{x: [{name: a, again: {again: {tags: [u, t]}}}]}",
        ),
    ];
    check_specs("a.b/v1", "Job", &schemas, &rows);
}

#[test]
fn faults_tell_the_place_of_the_patch() {
    let pod = |spec: &str| format!("apiVersion: v1\nkind: Pod\nspec: {spec}\n");
    let rows = [
        (
            "{a: {b: 1}}",
            "{a: x}",
            "patch.yaml:3:11: cannot merge a string into a mapping (at target.yaml:3:11); make it a mapping, or null to remove it",
        ),
        (
            "{a: [1]}",
            "{a: {b: 1}}",
            "patch.yaml:3:11: cannot merge a mapping into a list (at target.yaml:3:11); make it a list, or null to remove it",
        ),
        (
            "{a: 5}",
            "{a: []}",
            "patch.yaml:3:11: cannot merge a list into a number (at target.yaml:3:11); make it a number, or null to remove it",
        ),
        (
            "{a: {b: 1}}",
            "{a: {$patch: drop}}",
            "patch.yaml:3:20: unknown patch strategy; $patch is one of delete, replace and merge",
        ),
        (
            "{}",
            "{a: {$patch: drop}}",
            "patch.yaml:3:20: unknown patch strategy; $patch is one of delete, replace and merge",
        ),
        (
            "{containers: [{name: a}]}",
            "{containers: [{$patch: drop}]}",
            "patch.yaml:3:30: unknown patch strategy; $patch is one of delete, replace and merge",
        ),
        (
            "{containers: [a]}",
            "{containers: [{name: a}]}",
            "target.yaml:3:21: a string in a list whose elements are merged by name",
        ),
    ];
    for (target, patch, expected) in rows {
        let outcome = merged(&pod(target), &pod(patch), &Schemas::builtin());
        assert_eq!(outcome.trim_end(), expected, "{target} <- {patch}");
    }
}

#[test]
fn values_keep_the_place_where_they_were_written() {
    let target =
        node("target.yaml", "apiVersion: v1\nkind: Pod\nspec:\n  a: 1\n  containers:\n  - name: x\n    image: x\n");
    let patch = node("patch.yaml", "spec:\n  b: 1\n  containers:\n  - name: x\n    image: y\n  - name: z\n");
    let Ok(Merged::Kept(merged)) = merge(target, &patch, &mut Vec::new(), &Schemas::builtin()) else {
        panic!("deleted")
    };
    let place = |node: Option<&Node>| node.and_then(Node::location).map(ToString::to_string).unwrap_or_default();
    let containers = merged.at_path(&["spec", "containers"]).and_then(Node::as_sequence).unwrap();
    assert_eq!(place(merged.at_path(&["spec", "a"])), "target.yaml:4:6");
    assert_eq!(place(merged.at_path(&["spec", "b"])), "patch.yaml:2:6");
    assert_eq!(place(containers.first()), "target.yaml:6:5");
    assert_eq!(place(containers.first().and_then(|node| node.get("image"))), "patch.yaml:5:12");
    assert_eq!(place(containers.last()), "patch.yaml:6:5");
}

/// The two ways of merging by keys come to the same where both can be gone.
#[test]
fn regular_lists_are_merged_as_the_steps_do() {
    use super::list::compare;

    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut regular = 0;
    for _ in 0..500 {
        let protocols = random(2) == 0;
        let mut list = |directives: bool| {
            let mut text = String::from("[");
            for number in 0..random(6) {
                let _ = write!(text, "{{port: {}, name: n{number}", random(4));
                if protocols {
                    text.push_str(if random(2) == 0 { ", protocol: TCP" } else { ", protocol: UDP" });
                }
                if directives && random(5) == 0 {
                    text.push_str(if random(2) == 0 { ", $patch: delete" } else { ", $patch: replace" });
                }
                text.push_str("}, ");
            }
            node("list.yaml", &(text + "]"))
        };
        let (target, patch) = (list(false), list(true));
        regular += usize::from(compare(&target, &patch, &["port".into(), "protocol".into()]));
    }
    assert_eq!(regular, 500);
}

#[test]
fn a_long_list_that_lacks_keys_is_refused() {
    let list = |count: usize| {
        let mut text = String::from("apiVersion: v1\nkind: Pod\nspec:\n  volumes:\n");
        (0..count).for_each(|number| writeln!(text, "  - {{name: v{number}, emptyDir: {{}}}}").unwrap());
        text
    };
    let irregular = list(2_000) + "  - {emptyDir: {}}\n";
    let outcome = merged(&irregular, "spec: {volumes: []}", &Schemas::builtin());
    assert!(
        outcome.starts_with("patch.yaml:1:17: a list of more than 1000 elements, of which some lack name"),
        "{outcome}"
    );
}
