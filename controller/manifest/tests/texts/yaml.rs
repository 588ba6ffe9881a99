//! Reading and printing YAML, as tables.

use manifest::yaml::{
    Dialect, MAX_DEPTH, Node, Scalar, ScalarKind, parse, parse_as, to_canonical, to_canonical_all, to_string,
    to_string_all,
};
use serde_json::json;

fn one(text: &str) -> Node {
    one_as(Dialect::Resource, text)
}

fn one_as(dialect: Dialect, text: &str) -> Node {
    let documents = parse_as(dialect, "f.yaml", text.as_bytes());
    let mut documents = documents.unwrap_or_else(|faults| panic!("{text:?}: {faults}"));
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0).node
}

fn faults(bytes: &[u8]) -> Vec<String> {
    faults_as(Dialect::Resource, bytes)
}

fn faults_as(dialect: Dialect, bytes: &[u8]) -> Vec<String> {
    match parse_as(dialect, "f.yaml", bytes) {
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
        (
            "a: 0644\nb: 0o644\nc: 0x1F\nd: 1_000\ne: .5\nf: 1e3\ng: 5.0",
            json!({"a": 420, "b": 420, "c": 31, "d": 1000, "e": 0.5, "f": 1000, "g": 5}),
        ),
        (
            "a: !!str 12\nb: !!int '12'\nc: !!binary aGk=\nd: !mine 12\ne: !!float 1",
            json!({"a": "12", "b": 12, "c": "hi", "d": "12", "e": 1}),
        ),
        ("a: &x {b: 1}\nc: *x\nd: [*x]", json!({"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}]})),
        ("a: &x {b: 1, c: 1}\nd: {<<: *x, b: 2, e: 3}", json!({"a": {"b": 1, "c": 1}, "d": {"b": 2, "c": 1, "e": 3}})),
        ("a: {<<: [{b: 1}, {b: 2, c: 2}], d: 3}", json!({"a": {"b": 1, "c": 2, "d": 3}})),
        ("a: {<<: {<<: {x: 1}, z: 2}}", json!({"a": {"x": 1, "z": 2}})),
        ("a: {'<<': 1}", json!({"a": {"<<": 1}})),
        ("&k a: 1\nb: *k", json!({"a": 1, "b": "a"})),
        (
            "a: [\n  1,\n  2\n]\nb: {\n\"c\":\n1 }\nd: \"x\ny\"\ne:\n- f\n-\n  - g",
            json!({
                "a": [1, 2], "b": {"c": 1}, "d": "x y", "e": ["f", ["g"]]
            }),
        ),
        ("? a\n: b\n? |\n  c\n: - d\n  - e\nf:\n  g\n  h", json!({"a": "b", "c\n": ["d", "e"], "f": "g h"})),
        (
            "a: &x\n  b: &y c\n&z d: *y\ne: [*x, *z]\n*y : !!str\n  1",
            json!({
                "a": {"b": "c"}, "d": "c", "e": [{"b": "c"}, "d"], "c": "1"
            }),
        ),
        ("%TAG !y! tag:yaml.org,2002:\n---\na: !y!str 1\nb: !<tag:yaml.org,2002:str> 2", json!({"a": "1", "b": "2"})),
        ("[a: 1, ? b : 2, c d, {e: ~}, x:y]", json!([{"a": 1}, {"b": 2}, "c d", {"e": null}, "x:y"])),
    ] {
        for dialect in [Dialect::Resource, Dialect::Kustomization] {
            assert_eq!(one_as(dialect, text).to_json().unwrap(), expected, "{dialect:?} {text:?}");
        }
    }
}

/// Each row was read by `kubectl kustomize` as a resource, and by `sigs.k8s.io/yaml`.
#[test]
fn the_dialects_differ() {
    for (text, resource, kustomization) in [
        (
            "a: yes\nb: off\nc: 'yes'\nd: y\nF: NO",
            json!({"a": "yes", "b": "off", "c": "yes", "d": "y", "F": "NO"}),
            json!({"a": true, "b": false, "c": "yes", "d": true, "F": false}),
        ),
        (
            "a: 12:30:45\nb: 2001-1-1\nc: ~\nd: '2001-01-01'\ne: 2001-01-01 1:2:3",
            json!({
                "a": "12:30:45", "b": "2001-01-01T00:00:00Z", "c": null, "d": "2001-01-01", "e": "2001-01-01T01:02:03Z"
            }),
            json!({"a": "12:30:45", "b": "2001-1-1", "c": null, "d": "2001-01-01", "e": "2001-01-01 1:2:3"}),
        ),
        ("a: !!timestamp '2001-1-1'", json!({"a": "2001-01-01T00:00:00Z"}), json!({"a": "2001-1-1"})),
        (
            "a: {b: , c: ~, d: [{e: }], f}\ng:\nh: [&x {i: }, &y ]\nj: &z\n  k:",
            json!({"a": {"b": "", "c": null, "d": [{"e": ""}], "f": ""}, "g": null, "h": [{"i": ""}, ""], "j": {"k": null}}),
            json!({
                "a": {"b": null, "c": null, "d": [{"e": null}], "f": null}, "g": null, "h": [{"i": null}, null],
                "j": {"k": null}
            }),
        ),
        (
            "a: ! 12\nb: ! '12'\nc: ! yes",
            json!({"a": 12, "b": "12", "c": "yes"}),
            json!({"a": "12", "b": "12", "c": "yes"}),
        ),
        ("a: {b: 2, <<: {b: 1, c: 1}}", json!({"a": {"b": 2, "c": 1}}), json!({"a": {"b": 1, "c": 1}})),
    ] {
        assert_eq!(one(text).to_json().unwrap(), resource, "{text:?}");
        assert_eq!(one_as(Dialect::Kustomization, text).to_json().unwrap(), kustomization, "{text:?}");
    }
    for (text, kustomization) in [
        ("a: 1\nb: 2\na: {c: 3}", json!({"a": {"c": 3}, "b": 2})),
        (
            "1: a\ntrue: b\n0x1F: c\nyes: d\n1.5: e\n2001-01-01: f\n1e30: g",
            json!({"1": "a", "true": "d", "31": "c", "1.5": "e", "2001-01-01": "f", "1e+30": "g"}),
        ),
        ("a: {<<: {b: 1, c: 1}, <<: {c: 2}, b: 3}", json!({"a": {"b": 3, "c": 2}})),
    ] {
        assert_eq!(one_as(Dialect::Kustomization, text).to_json().unwrap(), kustomization, "{text:?}");
        faults(text.as_bytes());
    }
}

/// A mapping of many keys is read as one of few.
#[test]
fn keys_are_found_in_mappings_of_any_size() {
    for size in [1, 15, 16, 17, 18, 500] {
        let mut text: String = (0..size).map(|key| format!("k{key}: {key}\n")).collect();
        assert_eq!(one(&text).as_mapping().unwrap().len(), size);
        text += &format!("k{}: again\nk0: again\n", size - 1);
        assert_eq!(faults(text.as_bytes()).len(), 2, "{size}");
        let node = one_as(Dialect::Kustomization, &text);
        assert_eq!(node.as_mapping().unwrap().len(), size);
        assert_eq!(node.get(&format!("k{}", size - 1)).unwrap().as_str(), Some("again"));
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
    assert_eq!(place(node.get("text").unwrap()), "f:9:7");
    let node = one("a:\nb: &x\nc:\n-\n- \"é\": [é, {d: }, é]\ne: !!str\n  f");
    assert_eq!(place(node.get("a").unwrap()), "f.yaml:1:2");
    assert_eq!(place(node.get("b").unwrap()), "f.yaml:2:4");
    let list = node.get("c").unwrap().as_sequence().unwrap();
    assert_eq!((place(&list[0]), place(&list[1])), ("f.yaml:4:1".into(), "f.yaml:5:3".into()));
    let list = list[1].get("é").unwrap().as_sequence().unwrap();
    let places: Vec<_> = list.iter().map(place).collect();
    assert_eq!(places, ["f.yaml:5:9", "f.yaml:5:12", "f.yaml:5:19"]);
    assert_eq!(place(node.get("e").unwrap()), "f.yaml:6:4");
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
        ("~: 1", vec!["f.yaml:1:1: a key has to be a string, and is null: quote it when it is meant as text"]),
        (
            "a:\n  1: 1",
            vec!["f.yaml:2:3: a key has to be a string, and is a number: quote it when it is meant as text"],
        ),
        (
            "2024-01-02: 1",
            vec!["f.yaml:1:1: a key has to be a string, and is a timestamp: quote it when it is meant as text"],
        ),
        (
            "a: {{ .x }}",
            vec![
                "f.yaml:1:5: a key has to be a string, and is a mapping: quote it when it is a template such as \"{{ .name }}\"",
            ],
        ),
        (
            "? [a]\n: 1",
            vec![
                "f.yaml:1:3: a key has to be a string, and is a list: quote it when it is a template such as \"{{ .name }}\"",
            ],
        ),
        (
            "a: b: c",
            vec![
                "f.yaml:1:5: YAML syntax: a mapping cannot begin here: put the value in quotes, or the mapping on a line of its own",
            ],
        ),
        ("a: 'b", vec!["f.yaml:1:4: YAML syntax: the quotes are not closed"]),
        ("a: [b", vec!["f.yaml:1:4: YAML syntax: the [ is not closed"]),
        ("a: [b c: d e: f]", vec!["f.yaml:1:13: YAML syntax: a comma is missing before this, or a closing bracket"]),
        ("a: @b", vec!["f.yaml:1:4: YAML syntax: no value begins like this: put it in quotes"]),
        (
            "a: \"\\q\"",
            vec!["f.yaml:1:5: YAML syntax: there is no such escape: write \\\\ for a backslash, or use single quotes"],
        ),
        ("a:\n\tb: 1", vec!["f.yaml:2:1: YAML syntax: a tab indents the line: use blanks"]),
        (
            "a: 1\nb\nc: 2",
            vec!["f.yaml:2:1: YAML syntax: this is no key of the mapping: it has no ':' after it, or is not indented"],
        ),
        (
            "a:\n  b: 'x'\n   c: 1",
            vec![
                "f.yaml:3:4: YAML syntax: this is indented more than the keys of its mapping: check the indentation and the quotes",
            ],
        ),
        ("- a\nb: 1", vec!["f.yaml:2:1: YAML syntax: this is no entry of the list before it: check the indentation"]),
        (
            "a: |x\n  b",
            vec![
                "f.yaml:1:5: YAML syntax: the first line of a block ends with its indicators: begin the text on the next line",
            ],
        ),
        ("? a\n  b : c", vec!["f.yaml:2:5: YAML syntax: the ':' of a key that begins with '?' stands below the '?'"]),
        ("a: !x!y b", vec!["f.yaml:1:4: YAML syntax: no %TAG directive tells what !x! stands for"]),
        ("{a: b}\nc: d", vec!["f.yaml:2:1: YAML syntax: the document ends before this: check the indentation"]),
        (
            "%YAML 2.0\n---\na: 1",
            vec!["f.yaml:1:10: YAML syntax: the directive (%) is not known: quote the text, or write %YAML 1.1"],
        ),
        ("a: *x", vec!["f.yaml:1:4: the alias names no anchor that comes before it in this document"]),
        ("a: &x 1\n---\nb: *x", vec!["f.yaml:3:4: the alias names no anchor that comes before it in this document"]),
        ("a: &x [*x]", vec!["f.yaml:1:8: the alias names no anchor that comes before it in this document"]),
        ("a: {<<: 1}", vec!["f.yaml:1:9: a merge key `<<` takes a mapping or a list of mappings"]),
        ("a: !!int x", vec!["f.yaml:1:4: the value is tagged !!int but is none"]),
        ("a: !!bool yes", vec!["f.yaml:1:4: the value is tagged !!bool but is none"]),
        ("a: !!timestamp x", vec!["f.yaml:1:4: the value is tagged !!timestamp but is none"]),
        ("a: !!binary '*'", vec!["f.yaml:1:4: the value is tagged !!binary but is no base64 of a text"]),
        (
            "a: .inf",
            vec![
                "f.yaml:1:4: the value is infinite or not a number, which JSON cannot hold: quote it when it is meant as text",
            ],
        ),
        (
            "- -.Inf\n- !!float .nan",
            vec![
                "f.yaml:1:3: the value is infinite or not a number, which JSON cannot hold: quote it when it is meant as text",
                "f.yaml:2:3: the value is infinite or not a number, which JSON cannot hold: quote it when it is meant as text",
            ],
        ),
        (
            "a: 1\n--- {b: 1}\n---\t# comment\nc: 1\n--- x",
            vec![
                "f.yaml:2:1: a line that begins with --- ends a document, and only a comment may follow it on that line",
                "f.yaml:5:1: a line that begins with --- ends a document, and only a comment may follow it on that line",
            ],
        ),
        (
            "a: 1\n...\nb: 1",
            vec![
                "f.yaml:3:1: YAML syntax: what follows the end of a document (...) is passed over by kustomize: begin it with ---",
            ],
        ),
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
    assert_eq!(lines, ["1", "3", "6", "11", "14"], "{places:?}");
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
        ("True", "true", true),
        ("yes", "'yes'", true),
        ("true", "false", false),
        ("2024-1-2", "2024-01-02T00:00:00Z", true),
        ("2024-1-2", "'2024-01-02T00:00:00Z'", true),
        ("2024-1-2", "'2024-1-2'", false),
        ("~", "{a: }", false),
        ("{a: ~}", "{a: null}", true),
        ("1.0", "1", true),
        ("1e18", "1000000000000000000", true),
        ("1e19", "10000000000000000000", true),
        ("1e20", "100000000000000000000.0", true),
        ("{a: 1, b: 2}", "{a: 1, c: 2}", false),
        ("{a: 1, b: 2}", "{a: 2, b: 1}", false),
        ("\"x\\n\"", "|\n  x\n", true),
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
        ("true", "a boolean"),
        ("on", "a string"),
        ("2024-01-02", "a timestamp"),
        ("~", "null"),
    ] {
        assert_eq!(one(&format!("a: {text}")).get("a").unwrap().type_name(), name);
    }
}

/// What is read on the left is printed as on the right, in the portable form and, where that differs, in the canonical.
#[test]
fn printing() {
    for (text, portable, canonical) in [
        (
            "{a: {b: [1, {c: d, e: [f]}]}, g: {}, h: []}",
            "a:\n  b:\n  - 1\n  - c: d\n    e:\n    - f\ng: {}\nh: []\n",
            "",
        ),
        ("[[1, [2]], {}, []]", "- - 1\n  - - 2\n- {}\n- []\n", ""),
        ("{b: 1, a: 2, a10: 3, a9: 4}", "b: 1\na: 2\na10: 3\na9: 4\n", "a: 2\na9: 4\na10: 3\nb: 1\n"),
        (
            "a: 0x1F\nb: 1_000\nc: True\nd: ~\ne:\nf: 1.10\ng: 0755\nh: 1.0\ni: 1e3\nj: 0o17\nk: .5",
            "a: 31\nb: 1000\nc: true\nd: null\ne: null\nf: 1.1\ng: 493\nh: 1\ni: 1000\nj: 15\nk: 0.5\n",
            "",
        ),
        (
            "a: 1e-6\nb: 1e30\nc: 1.5e30\nd: 1234567.5\ne: 18446744073709551615\nf: 18446744073709551616\ng: -1e18",
            "a: 1.0e-06\nb: 1.0e+30\nc: 1.5e+30\nd: 1.2345675e+06\ne: 18446744073709551615\nf: 1.8446744073709552e+19\ng: -1000000000000000000\n",
            "a: 1e-06\nb: 1e+30\nc: 1.5e+30\nd: 1.2345675e+06\ne: 18446744073709551615\nf: 1.8446744073709552e+19\ng: -1000000000000000000\n",
        ),
        ("a: 'x'\nb: \"x\"\nc: x", "a: x\nb: x\nc: x\n", ""),
        (
            "a: !!str 12\nb: yes\nc: 12:30:45\nd: 2001-01-01\ne: '='\nf: <<",
            "a: \"12\"\nb: \"yes\"\nc: \"12:30:45\"\nd: \"2001-01-01T00:00:00Z\"\ne: \"=\"\nf: \"<<\"\n",
            "a: \"12\"\nb: \"yes\"\nc: \"12:30:45\"\nd: \"2001-01-01T00:00:00Z\"\ne: =\nf: <<\n",
        ),
        ("'<<': 1", "\"<<\": 1\n", ""),
        (
            "a: |\n  x\n\n   y\nb: |-\n  x\n  y\nc: |+\n  x\n\nd: >\n  x\n\n  y\n",
            "a: |\n  x\n\n   y\nb: |-\n  x\n  y\nc: |+\n  x\n\nd: |\n  x\n  y\n",
            "",
        ),
        ("- |\n  x\n- a: |\n    y\n", "- |\n  x\n- a: |\n    y\n", ""),
        ("a: \" x\\ny\"", "a: |2-\n   x\n  y\n", ""),
        ("a: \"\\n\"\nb: \"\\n\\nx\"", "a: |2+\n\nb: |2-\n\n\n  x\n", ""),
        ("a: \"\\t\\0\\u2028\\ufeff\\U0001f600\"", "a: \"\\t\\0\\L\\uFEFF\\U0001F600\"\n", ""),
        (
            "a: --flag\nb: -x\nc: a#b\nd: http://x:80/\ne: 10.0.0.1\nf: 550e8400-e29b\ng: v1.2\nh: 1.2.3",
            "a: --flag\nb: -x\nc: a#b\nd: http://x:80/\ne: 10.0.0.1\nf: 550e8400-e29b\ng: v1.2\nh: 1.2.3\n",
            "",
        ),
        ("a: 'x: y'\nb: 'x #y'\nc: '- x'", "a: 'x: y'\nb: 'x #y'\nc: '- x'\n", ""),
        (
            "'y': 1\n'12': 2\na b: 3\n'': 4\n'x: y': 5",
            "\"y\": 1\n\"12\": 2\na b: 3\n\"\": 4\n'x: y': 5\n",
            "\"\": 4\n\"12\": 2\na b: 3\n'x: y': 5\n\"y\": 1\n",
        ),
        ("\"a\\nb\": {c: 1}\n\"d\\ne\": [1]", "? |-\n  a\n  b\n: c: 1\n? |-\n  d\n  e\n: - 1\n", ""),
        ("text", "text\n", ""),
    ] {
        let node = one(text);
        let canonical = if canonical.is_empty() { portable } else { canonical };
        assert_eq!(to_string(&node), portable, "{text:?}");
        assert_eq!(to_canonical(&node), canonical, "{text:?}");
        assert_eq!(one(portable), node, "{text:?}");
        assert_eq!(one(canonical), node, "{text:?}");
    }
    let nodes = [Node::mapping([("a", Node::int(1))]), Node::string("b")];
    assert_eq!(to_string_all(&nodes), "a: 1\n---\nb\n");
    assert_eq!(to_canonical_all(&nodes), "a: 1\n---\nb\n");
}

#[test]
fn a_scalar_takes_only_a_text_of_its_kind() {
    use ScalarKind::{Bool, Float, Int, Null, String, Timestamp};
    for (kind, text, taken) in [
        (String, "5", true),
        (Int, "5", true),
        (Int, "0x5", true),
        (Int, "5.5", false),
        (Int, "five", false),
        (Float, "5", true),
        (Float, "5.5", true),
        (Float, ".inf", false),
        (Bool, "true", true),
        (Bool, "yes", false),
        (Bool, "7", false),
        (Null, "~", true),
        (Null, "x", false),
        (Timestamp, "2024-01-02", true),
        (Timestamp, "2024", false),
    ] {
        assert_eq!(Scalar::of_kind(kind, text).is_some(), taken, "{kind:?} {text}");
    }
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
        let nodes = [node, Node::string(text), Node::string("end")];
        for printed in [to_string_all(&nodes), to_canonical_all(&nodes)] {
            for dialect in [Dialect::Resource, Dialect::Kustomization] {
                let documents = parse_as(dialect, "f", printed.as_bytes());
                let documents = documents.unwrap_or_else(|faults| panic!("{text:?} {printed}: {faults}"));
                let again: Vec<Node> = documents.into_iter().map(|document| document.node).collect();
                assert_eq!(again, nodes, "{text:?}: {printed}");
            }
        }
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
