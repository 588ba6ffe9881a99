//! What each row expects was printed by kustomize v5.8.1, but for the faults.

use std::fmt::Write as _;

use manifest::yaml::{self, Dialect, Node};

use super::JsonPatch;
use crate::limits::{Budget, Limits};

fn node(dialect: Dialect, file: &str, text: &str) -> Node {
    yaml::parse_as(dialect, file, text.as_bytes()).unwrap().remove(0).node
}

fn patched(target: &str, patch: &str) -> Result<Node, String> {
    let mut target = node(Dialect::Resource, "target.yaml", target);
    let patch =
        JsonPatch::parse(&node(Dialect::Kustomization, "patch.yaml", patch)).map_err(|fault| fault.to_string())?;
    patch.apply(&mut target, &Budget::new(&Limits::default(), None)).map_err(|fault| fault.to_string())?;
    Ok(target)
}

#[test]
fn operations() {
    let rows = [
        // add
        ("{a: 1}", "[{op: add, path: /b, value: {c: [2]}}]", "{a: 1, b: {c: [2]}}"),
        ("{a: 1}", "[{op: add, path: /a, value: x}]", "{a: x}"),
        ("{a: 1}", "[{op: add, path: /b}]", "{a: 1, b: null}"),
        ("{a: [1, 2]}", "[{op: add, path: /a/0, value: 0}]", "{a: [0, 1, 2]}"),
        ("{a: [1, 2]}", "[{op: add, path: /a/2, value: 3}]", "{a: [1, 2, 3]}"),
        ("{a: [1, 2]}", "[{op: add, path: /a/-, value: 3}]", "{a: [1, 2, 3]}"),
        ("{a: [1, 2]}", "[{op: add, path: /a/-1, value: 3}]", "{a: [1, 2, 3]}"),
        ("{a: [1, 2]}", "[{op: add, path: /a/-3, value: 3}]", "{a: [3, 1, 2]}"),
        ("{a: []}", "[{op: add, path: /a/-, value: null}]", "{a: [null]}"),
        ("{a: [{b: 1}, {b: 2}]}", "[{op: add, path: /a/-1/c, value: 3}]", "{a: [{b: 1}, {b: 2, c: 3}]}"),
        ("{a: {}}", "[{op: add, path: /a/b~1c~0d~01, value: 1}]", "{a: {b/c~d~1: 1}}"),
        ("{a: {}}", "[{op: add, path: /a/, value: 1}]", "{a: {'': 1}}"),
        ("{a: {}, c: 1}", "[{op: add, path: ignored/a/b, value: 1}]", "{a: {b: 1}, c: 1}"),
        // remove
        ("{a: 1, b: 2}", "[{op: remove, path: /a}]", "{b: 2}"),
        ("{a: [1, 2, 3]}", "[{op: remove, path: /a/1}]", "{a: [1, 3]}"),
        ("{a: [1, 2, 3]}", "[{op: remove, path: /a/-1}]", "{a: [1, 2]}"),
        ("{a: {b: null}}", "[{op: remove, path: /a/b}]", "{a: {}}"),
        // replace
        ("{a: 1}", "[{op: replace, path: /a, value: [x]}]", "{a: [x]}"),
        ("{a: 1}", "[{op: replace, path: /b, value: 2}]", "{a: 1, b: 2}"),
        ("{a: [1, 2]}", "[{op: replace, path: /a/-2, value: 3}]", "{a: [3, 2]}"),
        ("{a: 1}", "[{op: replace, path: /a}]", "{a: null}"),
        ("{a: 1}", "[{op: replace, path: '', value: {b: 2}}]", "{b: 2}"),
        // move, copy
        ("{a: {b: 1}, c: {}}", "[{op: move, from: /a/b, path: /c/d}]", "{a: {}, c: {d: 1}}"),
        ("{a: [1, 2, 3]}", "[{op: move, from: /a/0, path: /a/-}]", "{a: [2, 3, 1]}"),
        ("{a: [1, 2, 3]}", "[{op: move, from: /a/0, path: /a/1}]", "{a: [2, 1, 3]}"),
        ("{a: 1}", "[{op: move, from: /a, path: /a}]", "{a: 1}"),
        ("{a: {b: 1}, c: {}}", "[{op: copy, from: /a, path: /c/d}]", "{a: {b: 1}, c: {d: {b: 1}}}"),
        ("{a: {b: 1}}", "[{op: copy, from: /a, path: /a/c}]", "{a: {b: 1, c: {b: 1}}}"),
        ("{a: 1}", "[{op: copy, from: /b, path: /c}]", "{a: 1, c: null}"),
        // test
        ("{a: {b: [1, x]}}", "[{op: test, path: /a, value: {b: [1, x]}}]", "{a: {b: [1, x]}}"),
        ("{a: 0x10, b: 1.0}", "[{op: test, path: /a, value: 16}, {op: test, path: /b, value: 1}]", "{a: 16, b: 1}"),
        ("{a: 1}", "[{op: test, path: /b, value: null}]", "{a: 1}"),
        ("{a: 1}", "[{op: test, path: /b}]", "{a: 1}"),
        ("{a: null}", "[{op: test, path: /a, value: null}]", "{a: null}"),
        ("{a: {b: 1, c: 2}}", "[{op: test, path: '', value: {a: {c: 2, b: 1}}}]", "{a: {b: 1, c: 2}}"),
        // Each sees what those before it did.
        (
            "{a: [1]}",
            "[{op: add, path: /b, value: {}}, {op: move, from: /a, path: /b/c}, {op: add, path: /b/c/-, value: 2}]",
            "{b: {c: [1, 2]}}",
        ),
        ("{a: 1}", "[]", "{a: 1}"),
        (
            "{a: 1}",
            "[{op: add, path: /b, value: yes}, {op: add, path: /c, value: 2024-01-02}]",
            "{a: 1, b: true, c: '2024-01-02'}",
        ),
        // A patch written as JSON.
        ("{a: 1}", "[{\"op\": \"add\", \"path\": \"/b\", \"value\": {\"c\": \"d\"}}]", "{a: 1, b: {c: d}}"),
        // Names and kinds may change.
        (
            "{kind: A, metadata: {name: x}}",
            "[{op: replace, path: /kind, value: B}, {op: replace, path: /metadata/name, value: z}]",
            "{kind: B, metadata: {name: z}}",
        ),
    ];
    for (target, patch, expected) in rows {
        let outcome = patched(target, patch).map(|node| yaml::to_canonical(&node));
        let expected = yaml::to_canonical(&node(Dialect::Resource, "expected.yaml", expected));
        assert_eq!(outcome, Ok(expected), "{target} <- {patch}");
    }
}

#[test]
fn faults_name_the_operation_and_its_place() {
    let prefix = "patch.yaml:1:2: operation 1 ";
    let rows = [
        ("[{op: remove, path: /x}]", r#"(remove "/x") of the JSON patch: there is no key "x" to be removed"#),
        ("[{op: remove, path: /l/2}]", r#"(remove "/l/2") of the JSON patch: there is no index 2 in a list of 2"#),
        ("[{op: remove, path: /l/-3}]", r#"(remove "/l/-3") of the JSON patch: there is no index -3 in a list of 2"#),
        ("[{op: remove, path: /l/-}]", r#"(remove "/l/-") of the JSON patch: "-" is no index of a list"#),
        ("[{op: add, path: /l/3, value: 1}]", r#"(add "/l/3") of the JSON patch: there is no index 3 in a list of 2"#),
        (
            "[{op: add, path: /l/-4, value: 1}]",
            r#"(add "/l/-4") of the JSON patch: there is no index -4 in a list of 2"#,
        ),
        ("[{op: add, path: /l/x, value: 1}]", r#"(add "/l/x") of the JSON patch: "x" is no index of a list"#),
        (
            "[{op: replace, path: /l/2, value: 1}]",
            r#"(replace "/l/2") of the JSON patch: there is no index 2 in a list of 2"#,
        ),
        ("[{op: add, path: /x/y, value: 1}]", r#"(add "/x/y") of the JSON patch: there is no "/x""#),
        ("[{op: add, path: /m/x~1y/z, value: 1}]", r#"(add "/m/x~1y/z") of the JSON patch: there is no "/m/x~1y""#),
        (
            "[{op: add, path: /s/x, value: 1}]",
            r#"(add "/s/x") of the JSON patch: "/s" is a string, not a mapping or a list"#,
        ),
        (
            "[{op: add, path: /n/x, value: 1}]",
            r#"(add "/n/x") of the JSON patch: "/n" is null, not a mapping or a list"#,
        ),
        ("[{op: add, path: '', value: {}}]", r#"(add "") of the JSON patch: it takes no empty path"#),
        ("[{op: add, path: x, value: {}}]", r#"(add "x") of the JSON patch: it takes no empty path"#),
        (
            "[{op: replace, path: '', value: 1}]",
            r#"(replace "") of the JSON patch: the whole object can be replaced by a mapping only"#,
        ),
        ("[{op: test, path: /s, value: secret}]", r#"(test "/s") of the JSON patch: the value is another one"#),
        ("[{op: test, path: /x, value: 1}]", r#"(test "/x") of the JSON patch: the value is another one"#),
        (
            "[{op: test, path: /l/5, value: 1}]",
            r#"(test "/l/5") of the JSON patch: there is no index 5 in a list of 2"#,
        ),
        ("[{op: move, from: /x, path: /y}]", r#"(move "/y") of the JSON patch: there is no key "x" to be removed"#),
        ("[{op: move, from: /m, path: /m/x}]", r#"(move "/m/x") of the JSON patch: there is no "/m""#),
        ("[{op: copy, path: /y}]", r#"(copy "/y") of the JSON patch: it has no from; give one, as a string"#),
        ("[{op: add, value: 1}]", "(add) of the JSON patch: it has no path; give one, as a string"),
        ("[{op: add, path: 1}]", "(add) of the JSON patch: it has no path; give one, as a string"),
        (
            "[{op: drop, path: /s}]",
            r#"(drop "/s") of the JSON patch: unknown op "drop"; it is add, remove, replace, move, copy or test"#,
        ),
        (
            "[{path: /s}]",
            r#"(without op "/s") of the JSON patch: it has no op; give one of add, remove, replace, move, copy and test"#,
        ),
    ];
    for (patch, expected) in rows {
        let outcome = patched("{l: [1, 2], m: {}, s: x, n: null}", patch).unwrap_err();
        assert_eq!(outcome, format!("{prefix}{expected}"), "{patch}");
    }
    let second = "- {op: add, path: /a, value: 1}\n- op: remove\n  path: /b\n";
    assert_eq!(
        patched("{x: 1}", second).unwrap_err(),
        "patch.yaml:2:3: operation 2 (remove \"/b\") of the JSON patch: there is no key \"b\" to be removed"
    );
    for (patch, expected) in [
        ("{op: add}", "patch.yaml:1:1: a JSON patch is a list of operations, got a mapping"),
        ("[a]", "patch.yaml:1:2: an operation of a JSON patch is a mapping, got a string"),
    ] {
        assert_eq!(patched("{x: 1}", patch).unwrap_err(), expected);
    }
}

#[test]
fn numbers_go_through_float64_and_dates_become_strings() {
    for (written, text, printed) in [
        ("9007199254740993", "9.007199254740992e+15", "9007199254740992"),
        ("18446744073709551615", "1.8446744073709552e+19", "1.8446744073709552e+19"),
        ("1000000", "1e+06", "1000000"),
        ("1234567", "1.234567e+06", "1234567"),
        ("8080", "8080", "8080"),
        ("0x1F", "31", "31"),
        ("0o17", "15", "15"),
        ("1.0", "1", "1"),
        ("0.1", "0.1", "0.1"),
        ("1e-7", "1e-07", "1e-07"),
        ("-5", "-5", "-5"),
        ("2024-01-02", "2024-01-02T00:00:00Z", "\"2024-01-02T00:00:00Z\""),
        ("'2024-01-02'", "2024-01-02", "\"2024-01-02\""),
        ("'0x1F'", "0x1F", "\"0x1F\""),
        ("true", "true", "true"),
        ("null", "null", "null"),
    ] {
        let outcome = patched(&format!("{{a: [{{b: {written}}}]}}"), "[{op: add, path: /c, value: 1}]").unwrap();
        let found = outcome.get("a").and_then(|node| node.as_sequence()?.first()?.get("b")).unwrap();
        assert_eq!(found.as_scalar().unwrap().text, text, "{written}");
        assert_eq!(yaml::to_canonical(found).trim_end(), printed, "{written}");
    }
}

#[test]
fn values_keep_the_place_where_they_were_written() {
    let patch = "- {op: add, path: /b, value: {c: 1}}\n- {op: copy, from: /a, path: /d}\n";
    let outcome = patched("a: 5\ne: 9007199254740993\n", patch).unwrap();
    let place = |key: &str| outcome.get(key).and_then(Node::location).map(ToString::to_string).unwrap_or_default();
    assert_eq!(
        [place("a"), place("b"), place("d"), place("e")],
        ["target.yaml:1:4", "patch.yaml:1:30", "target.yaml:1:4", "target.yaml:2:4"]
    );
}

#[test]
fn a_short_patch_makes_no_document_without_end() {
    let doubling = |count: usize| {
        let mut patch = String::from("- {op: add, path: /a, value: [1, 2, 3, 4]}\n");
        (0..count).for_each(|_| patch.push_str("- {op: copy, from: /a, path: /a/-}\n"));
        patch
    };
    assert!(patched("{x: 1}", &doubling(15)).is_ok());
    let fault = patched("{x: 1}", &doubling(40)).unwrap_err();
    assert!(fault.ends_with("the resources of the build hold more than 268435456 bytes"), "{fault}");

    let nesting = |count: usize| {
        let mut patch = String::from("- {op: add, path: /a0, value: {}}\n");
        for number in 1..=count {
            let _ = writeln!(patch, "- {{op: add, path: /a{number}, value: {{}}}}");
            let _ = writeln!(patch, "- {{op: move, from: /a{}, path: /a{number}/b}}", number - 1);
        }
        patch
    };
    assert!(patched("{x: 1}", &nesting(90)).is_ok());
    let fault = patched("{x: 1}", &nesting(200)).unwrap_err();
    assert!(fault.ends_with("the object would nest more than 100 levels deep"), "{fault}");
}
