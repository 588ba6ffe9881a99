//! Reading and printing YAML, as tables.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use manifest::yaml::{MAX_DEPTH, Node, ScalarKind, parse, to_string, to_string_all};
use serde_json::json;

fn one(text: &str) -> Node {
    let mut documents = parse("f.yaml", text.as_bytes()).unwrap_or_else(|faults| panic!("{text:?}: {faults}"));
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0).node
}

fn faults(bytes: &[u8]) -> Vec<String> {
    match parse("f.yaml", bytes) {
        Ok(documents) => panic!("{:?} was read as {documents:?}", String::from_utf8_lossy(bytes)),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn content() {
    for (text, expected) in [
        ("a: 1", json!({"a": 1})),
        ("\u{feff}a: 1", json!({"a": 1})),
        ("- a\n-\n- {b: [c, d]}", json!(["a", null, {"b": ["c", "d"]}])),
        (
            "a: |\n  x\n  y\nb: >-\n  x\n  y\nc: 'it''s'\nd: \"\\u0041\\n\"",
            json!({"a": "x\ny\n", "b": "x y", "c": "it's", "d": "A\n"}),
        ),
        ("a: yes\nb: off\nc: 'yes'\nd: y", json!({"a": true, "b": false, "c": "yes", "d": true})),
        (
            "a: 0644\nb: 0o644\nc: 0x1F\nd: 1_000\ne: .5\nf: 1e3\ng: 5.0",
            json!({"a": 420, "b": 420, "c": 31, "d": 1000, "e": 0.5, "f": 1000, "g": 5}),
        ),
        ("a: 12:30:45\nb: 2001-01-01\nc: ~", json!({"a": "12:30:45", "b": "2001-01-01", "c": null})),
        (
            "a: !!str 12\nb: !!int '12'\nc: !!binary aGk=\nd: !mine 12\ne: !!float 1",
            json!({"a": "12", "b": 12, "c": "aGk=", "d": "12", "e": 1}),
        ),
        ("1: a\ntrue: b\n0x1F: c\nyes: d", json!({"1": "a", "true": "b", "0x1F": "c", "yes": "d"})),
        ("a: &x {b: 1}\nc: *x\nd: [*x]", json!({"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}]})),
        ("a: &x {b: 1, c: 1}\nd: {b: 2, <<: *x, e: 3}", json!({"a": {"b": 1, "c": 1}, "d": {"b": 2, "c": 1, "e": 3}})),
        ("a: {<<: [{b: 1}, {b: 2, c: 2}], d: 3}", json!({"a": {"b": 1, "c": 2, "d": 3}})),
        ("a: {<<: {<<: {x: 1}, y: 2}}", json!({"a": {"x": 1, "y": 2}})),
        ("a: {'<<': 1}", json!({"a": {"<<": 1}})),
        ("&k a: 1\nb: *k", json!({"a": 1, "b": "a"})),
    ] {
        assert_eq!(one(text).to_json().unwrap(), expected, "{text:?}");
    }
}

#[test]
fn documents_of_a_file_are_counted_without_the_empty_ones() {
    let text = "# only a comment\n---\n---\na: 1\n--- # null\n~\n---\n\n# comment\nb: 2\n...\n---\n'c'\n";
    let documents = parse("d/f.yaml", text.as_bytes()).unwrap();
    let seen: Vec<_> =
        documents.iter().map(|document| (document.origin.document, document.origin.to_string())).collect();
    assert_eq!(seen, [(0, "d/f.yaml:4".into()), (1, "d/f.yaml:10".into()), (2, "d/f.yaml:13".into())]);
    for empty in ["", "\n", "---", "---\n---\n", "# x", "null", "\u{feff}"] {
        assert!(parse("f", empty.as_bytes()).unwrap().is_empty(), "{empty:?}");
    }
}

#[test]
fn each_node_knows_its_place() {
    let text = "---\r\nä: ö\r\n---\nmetadata:\n  name: x\nlist:\n- 1\n-  {k: v}\ntext: |\n  t\n";
    let documents = parse("f", text.as_bytes()).unwrap();
    let place = |node: &Node| node.location().unwrap().to_string();
    assert_eq!(place(documents[0].node.get("ä").unwrap()), "f:2:4");
    let node = &documents[1].node;
    assert_eq!(place(node), "f:4:1");
    assert_eq!(place(node.at_path(&["metadata", "name"]).unwrap()), "f:5:9");
    let list = node.get("list").unwrap().as_sequence().unwrap();
    assert_eq!((place(&list[0]), place(&list[1])), ("f:7:3".into(), "f:8:4".into()));
    assert_eq!(node.key("text").unwrap().at.as_ref().unwrap().to_string(), "f:9:1");
}

#[test]
fn faults_name_their_place() {
    for (text, expected) in [
        (
            "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 4",
            vec![
                "f.yaml:5:3: key \"c\" is there twice; it is first set on line 3",
                "f.yaml:6:1: key \"a\" is there twice; it is first set on line 1",
            ],
        ),
        ("a: {b: 1, 'b': 2}", vec!["f.yaml:1:11: key \"b\" is there twice; it is first set on line 1"]),
        ("a: {<<: {b: 1}, <<: {c: 1}}", vec!["f.yaml:1:17: key \"<<\" is there twice; it is first set on line 1"]),
        ("~: 1", vec!["f.yaml:1:1: a key is null or missing; quote it when it is meant as text"]),
        ("a: {{ .x }}", vec!["f.yaml:1:5: a key is a mapping; quote it when it is a template such as \"{{ .name }}\""]),
        ("? [a]\n: 1", vec!["f.yaml:1:3: a key is a list; quote it when it is a template such as \"{{ .name }}\""]),
        ("a: *x", vec!["f.yaml:1:4: YAML syntax: while parsing node, found unknown anchor"]),
        ("a: &x 1\n---\nb: *x", vec!["f.yaml:3:4: the alias names no anchor that comes before it in this document"]),
        ("a: &x [*x]", vec!["f.yaml:1:8: the alias names no anchor that comes before it in this document"]),
        ("a: {<<: 1}", vec!["f.yaml:1:9: a merge key `<<` takes a mapping or a list of mappings"]),
        ("a: !!int x", vec!["f.yaml:1:4: the value is tagged !!int but is none"]),
        (
            "a: b\u{0}c",
            vec!["f.yaml:1:5: control character U+0000 is not allowed in YAML; escape it in a double-quoted string"],
        ),
    ] {
        assert_eq!(faults(text.as_bytes()), expected, "{text:?}");
    }
    assert_eq!(faults(b"a: 1\nb: \xc3\xa4\xff"), ["f.yaml:2:5: the file is not UTF-8; save it as UTF-8"]);
    assert_eq!(faults(b"\xff\xfea\0"), ["f.yaml:1:1: the file is not UTF-8; save it as UTF-8"]);
}

#[test]
fn a_syntax_error_hides_no_fault_of_a_later_document() {
    let text = "a: [1\n---\nb: 'x\n---\nc: 1\nc: 2\n---\nok: 1\n---\n d: 1\n e\n---\n- a\nb\n";
    let places: Vec<_> =
        faults(text.as_bytes()).into_iter().map(|fault| fault.split(": ").next().unwrap().to_owned()).collect();
    let lines: Vec<_> = places.iter().map(|place| place.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["2", "3", "6", "12", "15"], "{places:?}");
}

#[test]
fn nesting_and_aliases_are_bounded() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse("f", nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(
        faults(nested(MAX_DEPTH + 1).as_bytes()),
        [format!("f.yaml:1:{}: nested more than 100 levels deep", MAX_DEPTH + 1)]
    );
    for deep in [
        "[".repeat(200_000),
        "{a: ".repeat(200_000),
        "- ".repeat(200_000),
        "? ".repeat(200_000),
        "a: [".repeat(200_000),
    ] {
        faults(deep.as_bytes());
    }

    let mut laughs = String::from("a0: &a0 [lol, lol]\n");
    for level in 1..60 {
        let below = level - 1;
        laughs += &format!(
            "a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}]\n"
        );
    }
    let found = faults(laughs.as_bytes());
    assert!(found.len() == 1 && found[0].contains("the aliases of this file multiply"), "{found:?}");

    let long = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), "*a, ".repeat(1000));
    assert!(faults(long.as_bytes())[0].contains("the aliases of this file multiply"));
}

#[test]
fn json_numbers() {
    for text in [".inf", "-.Inf", ".nan"] {
        let fault = one(&format!("a: {text}")).to_json().unwrap_err();
        assert_eq!(
            fault.to_string(),
            format!("f.yaml:1:4: {text} is not a number that JSON can hold; quote it when it is meant as text")
        );
    }
    for (text, exact) in [
        ("0", true),
        ("1", true),
        ("-9007199254740992", true),
        ("9007199254740993", false),
        ("9007199254740994", true),
        ("18446744073709551615", false),
        ("18446744073709551616", true),
        ("1e21", true),
        ("0.1", true),
        ("1.10", true),
        ("-0.30", true),
        ("0.12345678901234567890", false),
        ("1_000.5", true),
        ("0x1F", true),
        ("0644", true),
        ("0xFFFFFFFFFFFFFFFF", false),
        ("1e-400", false),
        (".inf", false),
        (".5_0", true),
        ("0.00", true),
        ("0e0", true),
        ("08", true),
        ("x", true),
        ("'9007199254740993'", true),
        ("[9007199254740993]", true),
    ] {
        assert_eq!(one(&format!("a: {text}")).get("a").unwrap().exact_number(), exact, "{text}");
    }
}

#[test]
fn nodes_are_equal_that_mean_the_same() {
    for (left, right, equal) in [
        ("{a: 1, b: x}", "b: 'x'\na: 0x1\n", true),
        ("[1, 2]", "[2, 1]", false),
        ("1", "'1'", false),
        ("yes", "true", true),
        ("yes", "no", false),
        ("~", "{a: }", false),
        ("{a: ~}", "{a: null}", true),
        ("1.0", "1", true),
        (".inf", "-.inf", false),
        ("{a: 1, b: 2}", "{a: 1, c: 2}", false),
        ("{a: 1, b: 2}", "{a: 2, b: 1}", false),
        ("\"x\\n\"", "|\n  x", true),
    ] {
        let [left, right] = [left, right].map(|text| {
            parse("f", format!("k: {}", text.replace("b: 'x'\na: 0x1\n", "{b: 'x', a: 0x1}")).as_bytes())
                .unwrap()
                .remove(0)
                .node
        });
        assert_eq!(left == right, equal, "{left:?} {right:?}");
    }
}

#[test]
fn nodes_are_changed_in_place() {
    let mut node = one("a: 1\nb: {c: 2}");
    node.set("a", Node::string("x"));
    node.set("z", Node::sequence([Node::int(1), Node::bool(true), Node::null()]));
    node.get_mut("b").unwrap().set("d", Node::mapping([("e", Node::string("")), ("e", Node::string("yes"))]));
    assert_eq!(node.remove("q"), None);
    assert_eq!(to_string(&node), "a: x\nb:\n  c: 2\n  d:\n    e: \"yes\"\nz:\n- 1\n- true\n- null\n");
    assert_eq!(node.remove("a").unwrap().as_str(), Some("x"));
    assert_eq!(node.get("a"), None);
    assert_eq!(node.at_path(&["b", "c"]).unwrap().as_i64(), Some(2));
    assert_eq!(node.get("z").unwrap().as_sequence().unwrap()[1].as_bool(), Some(true));
    assert_eq!(node.get("b").unwrap().as_str(), None);
    for (text, name) in [
        ("[]", "a list"),
        ("{}", "a mapping"),
        ("1.5", "a number"),
        ("x", "a string"),
        ("on", "a boolean"),
        ("~", "null"),
    ] {
        assert_eq!(one(&format!("a: {text}")).get("a").unwrap().type_name(), name);
    }
}

/// What is read on the left is printed as on the right.
#[test]
fn printing() {
    for (text, expected) in [
        ("{a: {b: [1, {c: d, e: [f]}]}, g: {}, h: []}", "a:\n  b:\n  - 1\n  - c: d\n    e:\n    - f\ng: {}\nh: []\n"),
        ("[[1, [2]], {}, []]", "- - 1\n  - - 2\n- {}\n- []\n"),
        ("a: 0x1F\nb: 1_000\nc: Yes\nd: ~\ne:\nf: 1.10", "a: 0x1F\nb: 1_000\nc: Yes\nd: ~\ne: null\nf: 1.10\n"),
        ("a: 'x'\nb: \"x\"\nc: x", "a: 'x'\nb: \"x\"\nc: x\n"),
        (
            "a: !!str 12\nb: !!str yes\nc: 12:30:45\nd: 2001-01-01",
            "a: \"12\"\nb: \"yes\"\nc: \"12:30:45\"\nd: \"2001-01-01\"\n",
        ),
        (
            "a: |\n  x\n\n   y\nb: |-\n  x\n  y\nc: |+\n  x\n\nd: >\n  x\n\n  y",
            "a: |\n  x\n\n   y\nb: |-\n  x\n  y\nc: |+\n  x\n\nd: |\n  x\n  y\n",
        ),
        ("- |\n  x\n- a: |\n    y", "- |\n  x\n- a: |\n    y\n"),
        ("a: \" x\\ny\"", "a: \" x\\ny\"\n"),
        ("a: \"\\t\\0\\u2028\\ufeff\"", "a: \"\\t\\x00\\u2028\\ufeff\"\n"),
        (
            "a: --flag\nb: -x\nc: a#b\nd: http://x:80/\ne: 10.0.0.1\nf: 550e8400-e29b\ng: v1.2\nh: 1.2.3",
            "a: --flag\nb: -x\nc: a#b\nd: http://x:80/\ne: 10.0.0.1\nf: 550e8400-e29b\ng: v1.2\nh: 1.2.3\n",
        ),
        ("a: 'x: y'\nb: 'x #y'\nc: '- x'", "a: 'x: y'\nb: 'x #y'\nc: '- x'\n"),
        ("'y': 1\n'12': 2\n'a b': 3\n'': 4\n'x: y': 5", "\"y\": 1\n\"12\": 2\na b: 3\n\"\": 4\n'x: y': 5\n"),
        ("text", "text\n"),
    ] {
        let node = one(text);
        assert_eq!(to_string(&node), expected, "{text:?}");
        assert_eq!(one(expected), node, "{text:?}");
    }
    assert_eq!(to_string_all([&Node::mapping([("a", Node::int(1))]), &Node::string("b")]), "a: 1\n---\nb\n");
}

#[test]
fn strings_come_back_as_strings() {
    let long = "k".repeat(2000);
    for text in [
        "",
        " ",
        "\n",
        "\n\n",
        "a\n\n\n",
        "\na",
        " a\nb",
        "a\n b",
        "a\n ",
        "a\n\t",
        "\ta\nb",
        "a\n\tb",
        "a\r\nb",
        "a\n---\nb",
        "---",
        "--- a",
        "...",
        "-",
        "- a",
        "-1",
        "?",
        "? a",
        ":",
        "a:",
        "a: b",
        "a :b",
        "# a",
        "a #",
        "a#",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a",
        "|",
        ">",
        "'",
        "\"",
        "'a'",
        "\"a\"",
        "a'b",
        "a\"b",
        "\\",
        "a\\nb",
        "{",
        "}",
        "[",
        "]",
        ",",
        "a,b",
        "{{ x }}",
        "=",
        "<<",
        "~",
        "null",
        "yes",
        "y",
        "N",
        "on",
        "0644",
        "0o7",
        "1e3",
        "1_000",
        "0b1",
        ".5",
        ".inf",
        ".nan",
        "12:30:45",
        "1:30:00.5",
        "2001-01-01",
        "2001-12-14t21:59:43.10-05:00",
        "0x",
        "1.2.3",
        "10.0.0.1",
        "1e",
        "\u{85}",
        "a\u{2028}b",
        "\u{feff}a",
        "\u{a0}",
        "\u{7f}",
        "é",
        "日本",
        "😀",
        "\u{0}",
        "\u{1b}[0m",
        "a\n\u{85}\nb",
        &long,
    ] {
        let node = Node::mapping([
            (text, Node::sequence([Node::string(text), Node::mapping([("k", Node::string(text))])])),
            ("zz", Node::string(text)),
        ]);
        let printed = to_string_all([&node, &Node::string(text), &Node::string("end")]);
        let documents = parse("f", printed.as_bytes()).unwrap_or_else(|faults| panic!("{text:?} {printed}: {faults}"));
        assert_eq!(documents.len(), 3, "{text:?}: {printed}");
        assert_eq!(documents[0].node, node, "{text:?}: {printed}");
        assert_eq!(documents[1].node.as_str(), Some(text), "{printed}");
    }
}

#[test]
fn json_goes_round() {
    let value = json!({"a": [1, -1, 1.5, 1e300, u64::MAX, true, null, "yes", {"b": {}}, []], "": "x\ny\n"});
    let node = Node::from_json(value.clone());
    assert_eq!(node.to_json().unwrap(), value);
    assert_eq!(one(&to_string(&node)).to_json().unwrap(), value);
    assert_eq!(node.get("").unwrap().as_scalar().unwrap().kind, ScalarKind::String);
}
