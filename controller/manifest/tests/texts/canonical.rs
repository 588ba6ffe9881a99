//! The canonical form beside what `sigs.k8s.io/yaml` 1.5.0 (`JSONToYAML`) printed.

use manifest::yaml::{Node, parse, to_canonical};

/// Strings, and what stands behind the key.
const STRINGS: &[(&str, &str)] = &[
    ("", "\"\""),
    ("a", "a"),
    ("yes", "\"yes\""),
    ("y", "\"y\""),
    ("Y", "\"Y\""),
    ("on", "\"on\""),
    ("Off", "\"Off\""),
    ("NO", "\"NO\""),
    ("true", "\"true\""),
    ("null", "\"null\""),
    ("~", "\"~\""),
    ("None", "None"),
    ("<<", "<<"),
    ("=", "="),
    ("-", "'-'"),
    ("--", "--"),
    ("---", "'---'"),
    ("--- a", "'--- a'"),
    ("-a", "-a"),
    ("- a", "'- a'"),
    ("?", "'?'"),
    ("?a", "?a"),
    ("? a", "'? a'"),
    (":", "':'"),
    (":a", ":a"),
    (": a", "': a'"),
    ("a:", "'a:'"),
    ("a:b", "a:b"),
    ("a: b", "'a: b'"),
    ("a #b", "'a #b'"),
    ("a#b", "a#b"),
    ("#a", "'#a'"),
    ("&a", "'&a'"),
    ("*a", "'*a'"),
    ("!a", "'!a'"),
    ("%a", "'%a'"),
    ("@a", "'@a'"),
    ("`a", "'`a'"),
    ("|", "'|'"),
    ("|-", "'|-'"),
    (">", "'>'"),
    ("'", "''''"),
    ("''", "''''''"),
    ("a'b", "a'b"),
    ("a'b: c", "'a''b: c'"),
    ("\"", "'\"'"),
    ("\"a\"", "'\"a\"'"),
    ("[", "'['"),
    ("a]", "a]"),
    ("{", "'{'"),
    ("{a", "'{a'"),
    ("a}", "a}"),
    ("{{ .x }}", "'{{ .x }}'"),
    ("${VAR}", "${VAR}"),
    ("${VAR:=x}", "${VAR:=x}"),
    ("${A}:${B}", "${A}:${B}"),
    (",", "','"),
    ("a,b", "a,b"),
    ("*", "'*'"),
    ("0", "\"0\""),
    ("0755", "\"0755\""),
    ("0o7", "\"0o7\""),
    ("0x1F", "\"0x1F\""),
    ("0b1", "\"0b1\""),
    ("1_000", "\"1_000\""),
    ("1e3", "\"1e3\""),
    ("1e", "1e"),
    ("1.", "\"1.\""),
    ("1.2.3", "1.2.3"),
    (".5", "\".5\""),
    (".", "."),
    (".inf", "\".inf\""),
    ("-.inf", "\"-.inf\""),
    (".nan", "\".nan\""),
    ("nan", "nan"),
    ("+1", "\"+1\""),
    ("+", "+"),
    ("1:30", "\"1:30\""),
    ("1:60", "1:60"),
    ("12:30:45", "\"12:30:45\""),
    ("-1:30.5", "\"-1:30.5\""),
    ("1:2:", "'1:2:'"),
    ("10.0.0.1", "10.0.0.1"),
    ("10.0.0.1:80", "10.0.0.1:80"),
    ("2024-01-02", "\"2024-01-02\""),
    ("2024-1-2", "\"2024-1-2\""),
    ("2024-13-02", "2024-13-02"),
    ("2024-01-02T03:04:05Z", "\"2024-01-02T03:04:05Z\""),
    ("2024-01-02T03:04:05", "2024-01-02T03:04:05"),
    ("2024-01-02 03:04:05", "\"2024-01-02 03:04:05\""),
    ("18446744073709551616", "\"18446744073709551616\""),
    ("v1.2", "v1.2"),
    ("http://a:80/b?c=d#e", "http://a:80/b?c=d#e"),
    (" a", "' a'"),
    ("a ", "'a '"),
    ("a  b", "a  b"),
    ("\t", "\"\\t\""),
    ("a\tb", "\"a\\tb\""),
    ("\n", "|2+\n"),
    ("a\n", "|\n  a"),
    ("a\n\n", "|+\n  a\n"),
    ("\na", "|2-\n\n  a"),
    ("a\nb", "|-\n  a\n  b"),
    ("a\n b", "|-\n  a\n   b"),
    (" a\nb", "|2-\n   a\n  b"),
    ("a \nb", "\"a \\nb\""),
    ("a\nb ", "\"a\\nb \""),
    ("a\n\tb", "\"a\\n\\tb\""),
    ("a\r\nb", "\"a\\r\\nb\""),
    ("é", "é"),
    ("日本", "日本"),
    ("😀", "\"\\U0001F600\""),
    ("\u{a0}", "\u{a0}"),
    ("\u{0}", "\"\\0\""),
    ("\u{1b}[0m", "\"\\e[0m\""),
    ("\\", "\\"),
    ("a\\nb", "a\\nb"),
];

#[test]
fn strings_are_quoted_as_go_quotes_them() {
    for (text, printed) in STRINGS {
        let node = Node::mapping([("k", Node::string(*text))]);
        assert_eq!(to_canonical(&node), format!("k: {printed}\n"), "{text:?}");
    }
}

#[test]
fn long_lines_are_folded_as_go_folds_them() {
    for (text, printed) in [
        (
            "ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words!",
            "a:\n- k: ten words! ten words! ten words! ten words! ten words! ten words! ten words!\n    ten words! ten words! ten words! ten words! ten words!\n",
        ),
        (
            "'ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words!",
            "a:\n- k: '''ten words! ten words! ten words! ten words! ten words! ten words! ten words!\n    ten words! ten words! ten words! ten words! ten words!'\n",
        ),
        (
            "a: ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words!",
            "a:\n- k: 'a: ten words! ten words! ten words! ten words! ten words! ten words! ten words!\n    ten words! ten words! ten words! ten words! ten words!'\n",
        ),
        (
            "ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words! ten words!\t",
            "a:\n- k: \"ten words! ten words! ten words! ten words! ten words! ten words! ten words!\n    ten words! ten words! ten words! ten words! ten words!\\t\"\n",
        ),
        (
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx y  z w",
            "a:\n- k: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n    y  z w\n",
        ),
        (
            "k: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx y  z 'w' v",
            "a:\n- k: 'k: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n    y  z ''w'' v'\n",
        ),
        (
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\t y  z w",
            "a:\n- k: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\t\n    y  z w\"\n",
        ),
        (
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "a:\n- k: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
        ),
    ] {
        let node = Node::mapping([("a", Node::sequence([Node::mapping([("k", Node::string(text))])]))]);
        assert_eq!(to_canonical(&node), printed, "{text:?}");
        assert_eq!(parse("f", printed.as_bytes()).unwrap()[0].node, node, "{text:?}");
    }
}

/// Where it is not followed: what it prints would be read as something else.
#[test]
fn what_go_prints_wrong_is_escaped() {
    for (text, printed) in [
        ("a\u{85}b", "\"a\\Nb\""),
        ("a\u{2028}b", "\"a\\Lb\""),
        ("a\n\u{2029}b", "\"a\\n\\Pb\""),
        ("\u{feff}a", "\"\\uFEFFa\""),
    ] {
        assert_eq!(to_canonical(&Node::mapping([("k", Node::string(text))])), format!("k: {printed}\n"), "{text:?}");
    }
    assert_eq!(to_canonical(&Node::mapping([("<<", Node::string("<<"))])), "\"<<\": <<\n");
}

#[test]
fn keys_are_ordered_as_go_orders_them() {
    const ORDERED: &[&str] = &[
        "",
        "-",
        "_",
        "1",
        "1.5",
        "2",
        "10",
        "B",
        "Z",
        "a",
        "a-b",
        "a.b",
        "a/b",
        "a1",
        "a2",
        "a9",
        "a10",
        "app.kubernetes.io/name",
        "b",
        "v1",
        "v1alpha1",
        "v1beta1",
        "v2",
        "y",
        "é",
    ];
    let mut node = Node::mapping(ORDERED.iter().rev().map(|key| (*key, Node::int(1))));
    for _ in 0..ORDERED.len() {
        let printed = parse("f", to_canonical(&node).as_bytes()).unwrap().remove(0).node;
        let keys: Vec<&str> = printed.as_mapping().unwrap().iter().map(|(key, _)| &*key.name).collect();
        assert_eq!(keys, ORDERED);
        node.as_mapping_mut().unwrap().rotate_left(1);
    }
    // An order that goes in circles still ends, and does not depend on the order of the source.
    let circle: Vec<String> = (0..4000).map(|seed: u32| format!("{:x}", seed.wrapping_mul(0x9e37_79b9))).collect();
    let mut node = Node::mapping(circle.iter().map(|key| (key.as_str(), Node::int(1))));
    let first = to_canonical(&node);
    node.as_mapping_mut().unwrap().rotate_left(1234);
    assert_eq!(to_canonical(&node), first);
}
