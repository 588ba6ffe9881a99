//! The tables of expressions and of objects were run through Flux's packages: `github.com/fluxcd/pkg/envsubst` 1.9.0, and
//! `sigs.k8s.io/kustomize/api` 0.21.1 with `sigs.k8s.io/yaml` 1.6.0 around it.

use manifest::Location;
use serde_json::json;

use super::*;

const VARIABLES: [(&str, &str); 11] = [
    ("text", "abcABC123ABCabc"),
    ("path", "path/to/file.tar.gz"),
    ("empty", ""),
    ("two", "2"),
    ("euro", "a€b"),
    ("greek", "ᾳΣß"),
    ("slash", "a/b/c"),
    ("back", "a\\b"),
    ("glob", "a*b[c]"),
    ("template", "${text} $$"),
    ("_x1", "x"),
];

fn variables<'v>(pairs: impl IntoIterator<Item = (&'v str, &'v str)>) -> Variables {
    let mut variables = Variables::default();
    variables.merge(pairs).expect("the names are valid");
    variables
}

/// What an expression comes to, with the variables of [`VARIABLES`], or what is wrong with it.
fn expand(template: &str, strict: bool) -> Result<Vec<u8>, String> {
    let parts = template::parse(template).map_err(|malformed| malformed.message)?;
    let mut effort = Effort { bytes: LIMITS.object, steps: LIMITS.steps };
    match evaluate::evaluate(&parts, &variables(VARIABLES), strict, &mut effort) {
        Ok(evaluated) => Ok(evaluated.bytes),
        Err(failed) => Err(failed.iter().map(|failed| format!("{} {:?}", failed.name, failed.why)).collect()),
    }
}

#[test]
fn expressions_give_what_flux_gives() {
    let rows = [
        ("plain, $, $x, {}, }", "plain, $, $x, {}, }"),
        ("a$$b $$$ $$$$ $${text} $$$${text}", "a$b $$ $$ ${text} $${text}"),
        ("$$$${text} $$$${empty=$$}", "$${text} $${empty=$}"),
        ("${text}", "abcABC123ABCabc"),
        ("<${text}|${empty}|${missing}|${_x1}>", "<abcABC123ABCabc|||x>"),
        ("${1} ${é}", " "),
        ("${template}", "${text} $$"),
        ("${#text} ${#empty} ${#euro} ${#missing}", "15 0 5 0"),
        ("${text^} ${text^^} ${path^}", "AbcABC123ABCabc ABCABC123ABCABC Path/to/file.tar.gz"),
        ("${text,} ${text,,} ${empty^}${empty,}", "abcABC123ABCabc abcabc123abcabc "),
        ("${text,^} ${text^,}", "abcABC123ABCabc abcABC123ABCabc"),
        ("${greek^} ${greek^^} ${greek,,}", "ᾼΣß ᾼΣß ᾳσß"),
        (
            "${text=d} ${text:=d} ${text:-d} ${text:?d} ${text:+d}",
            "abcABC123ABCabc abcABC123ABCabc abcABC123ABCabc abcABC123ABCabc abcABC123ABCabc",
        ),
        ("${empty=d} ${empty:=d} ${empty:-d} ${empty:?d} ${empty:+d}", "d d d d d"),
        ("${missing=d} ${missing:=d} ${missing:-d} ${missing:?d} ${missing:+d}", "d d d d d"),
        ("${missing:=} ${missing=}", " "),
        (r#"${missing:=$$ $x \/ : # %}"#, r#"$$ $x \/ : # %"#),
        ("${missing:=${text}} ${missing:=a${two}b${empty:=c}d}", "abcABC123ABCabc a2bcd"),
        ("${missing:=$${two}}", "$2"),
        ("${missing:=${text:=${nothing}}}", "abcABC123ABCabc"),
        (r#"${missing:={"a":1}"#, r#"{"a":1"#),
        ("${text:0} ${text:3} ${text:15} ${text:16} ${text:-3}", "abcABC123ABCabc ABC123ABCabc   abcABC123ABCabc"),
        ("${text:3:2} ${text:0:0} ${text:14:5} ${text:20:1} ${text:3:99}", "AB  c  ABC123ABCabc"),
        ("${text:+3} ${text: -3} ${text: 3}", "abcABC123ABCabc abcABC123ABCabc abcABC123ABCabc"),
        ("${text:1:-1} ${text:2:-13} ${text:2:-14} ${text:99:-1}", "bcABC123ABCab   "),
        ("${text:${two}:${two}} ${text:x} ${text:3:x} ${text:3::2}", "cA abcABC123ABCabc abcABC123ABCabc AB"),
        (
            "${text:99999999999999999999} ${text:${missing=-9223372036854775808}} ${text:${missing=-3}} ${text:0:9223372036854775807}",
            "abcABC123ABCabc abcABC123ABCabc abc abcABC123ABCabc",
        ),
        ("${text:1 :2}", "abcABC123ABCabc"),
        ("${path#*/} ${path##*/} ${path%.*} ${path%%.*}", "to/file.tar.gz file.tar.gz path/to/file.tar path/to/file"),
        ("${path#path} ${path#to}", "/to/file.tar.gz path/to/file.tar.gz"),
        ("${path#${_x1}} ${path#${missing=*/}}", "path/to/file.tar.gz to/file.tar.gz"),
        (
            "${text#a?c} ${text#[a-c]} ${text##[a-c]*} ${text#[^a]} ${text#[]} ${text#[a}",
            "ABC123ABCabc bcABC123ABCabc  abcABC123ABCabc abcABC123ABCabc abcABC123ABCabc",
        ),
        (r#"${text#*[A]} ${text###} ${glob#a\*} ${glob%\]}"#, "BC123ABCabc abcABC123ABCabc b[c] a*b[c]"),
        (
            "${text%c} ${text%[c]} ${text%%?} ${text%*ABC*} ${text%%*ABC*}",
            "abcABC123ABCab abcABC123ABCabc abcABC123ABCab abcABC123 ",
        ),
        ("${euro%b} ${euro%?b} ${euro%€b} ${euro##a€}", "a€ a\u{fffd}\u{fffd} a b"),
        (
            "${text/abc/X} ${text//abc/X} ${text/#abc/X} ${text/%abc/X}",
            "XABC123ABCabc XABC123ABCX XABC123ABCabc abcABC123ABCX",
        ),
        (
            "${text/b/} ${text//b/} ${text/#abc/} ${text/%abc/}",
            "acABC123ABCabc acABC123ABCac abcABC123ABCabc abcABC123ABCabc",
        ),
        ("${text/ABC/${two}} ${text/${missing=ABC}/X}", "abc2123ABCabc abcX123ABCabc"),
        (
            "${text//${empty}/-} ${text/${empty}/-} ${text/#${empty}/-} ${text/%${empty}/-}",
            "-a-b-c-A-B-C-1-2-3-A-B-C-a-b-c- -abcABC123ABCabc -abcABC123ABCabc abcABC123ABCabc-",
        ),
        ("${euro//${empty}/-}", "-a-€-b-"),
        ("${text/a*/X} ${text/A.C/X} ${text/none/X}", "abcABC123ABCabc abcABC123ABCabc abcABC123ABCabc"),
        (r#"${slash/\//-} ${slash//\//-} ${slash//b/\/\/} ${back/\\/-} ${back//\\/$$}"#, "a-b/c a-b-c a////c a-b a$b"),
        ("${text/a///b} ${text/a/$${two}}", "bbcABC123ABCabc ${twobcABC123ABCabc}"),
        ("${text/}c} is read on / to the slash}", "abcABC123ABCabc"),
        ("${text/a/b\nc}", "b\ncbcABC123ABCabc"),
    ];
    for (template, expected) in rows {
        let expanded = expand(template, false).map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
        assert_eq!(expanded.as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn offsets_count_bytes() {
    let rows: [(&str, &[u8]); 5] = [
        ("${euro:0:2}", b"a\xe2"),
        ("${euro:2:1}", b"\x82"),
        ("${euro:0:2}${euro:2:1}${euro:3}", "a€b".as_bytes()),
        ("${missing:=${euro:1:1}}", b"\xe2"),
        ("${euro#${euro:0:2}}", b"\x82\xacb"),
    ];
    for (template, expected) in rows {
        assert_eq!(expand(template, false).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_flux_refuses_is_refused() {
    let rows: &[(&str, &[&str])] = &[
        (
            "not followed by the name",
            &["${", "${}", "${ text}", "${!text}", "${{ text }}", "${#}", "${##text}", "${text:=${}"],
        ),
        (
            "does not go on as a substitution",
            &[
                "${text",
                "${text-d}",
                "${text+d}",
                "${text?d}",
                "${text.x}",
                "${text[0]}",
                "${text@Q}",
                "${text^^^}",
                "${text^a}",
                "${#text:1}",
                "${text:}",
                "${text::2}",
                "${text:1:}",
                "${text:é}",
                "${text:1${two}}",
                "${text:=d",
                "${text#}",
                "${text#a",
                "${text#a${two}}",
                "${text/a}",
                "${text///b}",
                "${text/a/b",
                "${text/a${two}/b}",
                "${two:=${text:}}",
            ],
        ),
        // Flux panics.
        ("Overflow", &["${text:2:9223372036854775807}"]),
    ];
    for (expected, templates) in rows {
        for template in *templates {
            let error = expand(template, false).expect_err(template);
            assert!(error.contains(expected), "{template}: {error}");
        }
    }
}

#[test]
fn strict_wants_a_value_or_a_default() {
    // template -> the variables that are not set
    let rows: [(&str, &[&str]); 12] = [
        ("${missing} ${other}", &["missing", "other"]),
        ("${#missing}", &["missing"]),
        ("${missing^}${missing,,}", &["missing", "missing"]),
        ("${missing:0}", &["missing"]),
        ("${missing/a/b}", &["missing"]),
        ("${missing#a}", &["missing"]),
        ("${missing^,}", &["missing"]),
        ("${missing=d}${missing:=d}${missing:-d}${missing:?d}${missing:+d}", &[]),
        ("${missing:=${other}}", &["other"]),
        // A default that is not needed counts too.
        ("${text:=${missing}}", &["missing"]),
        ("${text:${missing}}", &["missing"]),
        ("${empty} $${missing}", &[]),
    ];
    for (template, missing) in rows {
        let expected: String = missing.iter().map(|name| format!("{name} NotSet")).collect();
        assert_eq!(expand(template, true).err().unwrap_or_default(), expected, "{template}");
        assert!(expand(template, false).is_ok(), "{template}");
    }
}

fn object(text: &str) -> Object {
    let document = yaml::parse("app.yaml", text.as_bytes()).expect("YAML").remove(0);
    Object { node: document.node, origin: document.origin, renamings: Vec::new() }
}

fn with_spec(spec: &str) -> Object {
    object(&format!("apiVersion: v1\nkind: X\nmetadata:\n  name: n\nspec:\n{spec}\n"))
}

fn run(objects: Vec<Object>, variables: &Variables, strict: bool) -> Result<Vec<Object>, Vec<String>> {
    substitute(objects, &Substitution { variables, strict, strategy: Strategy::WithVariables })
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn content(node: &Node) -> serde_json::Value {
    node.to_json().expect("JSON")
}

#[test]
fn objects_are_read_anew() {
    let variables = variables([
        ("a", "1"),
        ("yes", "yes"),
        ("map", "{b: c}"),
        ("list", "[1, 2]"),
        ("colon", "a: b"),
        ("hash", "a #b"),
        ("q", "\""),
        ("key", "k"),
        ("text", "some text"),
        ("null", "~"),
        ("date", "2001-01-01"),
        ("octal", "0644"),
    ]);
    // spec -> spec
    let rows = [
        ("  x: ${a}", json!({"x": 1})),
        ("  x: \"${a}\"", json!({"x": 1})),
        ("  x: '${a}.0'", json!({"x": 1})),
        ("  x: ${q}${a}${q}", json!({"x": "1"})),
        ("  x: ${yes}", json!({"x": true})),
        ("  x: ${map}", json!({"x": {"b": "c"}})),
        ("  x: ${list}", json!({"x": [1, 2]})),
        ("  x: ${text}", json!({"x": "some text"})),
        ("  x: ${null}", json!({"x": null})),
        ("  x: ${octal}", json!({"x": 420})),
        ("  x: ${date}", json!({"x": "2001-01-01"})),
        ("  x: v${a}", json!({"x": "v1"})),
        ("  ${key}: v", json!({"k": "v"})),
        ("  \"${key}${a}\": [{\"${a}\": v}]", json!({"k1": [{"1": "v"}]})),
        ("  x: \"${hash}\"", json!({"x": "a"})),
        ("  x: \"${colon}: ${a}\"", json!({"x": "a: b: 1"})),
        ("  x: \"yes ${a}\"", json!({"x": "yes 1"})),
        ("  x: \"${missing}\"", json!({"x": null})),
        ("  x: |\n    one ${a}\n    two ${text}\n", json!({"x": "one 1\ntwo some text\n"})),
        ("  x: \"$${a} $$\"", json!({"x": "${a} $"})),
        ("  x: \"\\t${text}\"", json!({"x": "\tsome text"})),
        ("  x: 0x10\n  y: ${a}\n  z: \"0x10\"", json!({"x": 16, "y": 1, "z": "0x10"})),
        ("  x: ${missing:={}}", json!({"x": {}})),
        ("  x: \"${missing:=[a, b]}\"", json!({"x": ["a", "b"]})),
        ("  x: \"long ${missing:=default with spaces}\"", json!({"x": "long default with spaces"})),
        ("  \"${a}\": first\n  \"1\": second", json!({"1": "second"})),
        ("  x: ${text/ /_}", json!({"x": "some_text"})),
        ("  x: $text \"yes\" 0x10 $", json!({"x": "$text \"yes\" 0x10 $"})),
    ];
    for (spec, expected) in rows {
        let objects = run(vec![with_spec(spec)], &variables, false).expect(spec);
        let content = self::content(&objects[0].node);
        assert_eq!(content["spec"], expected, "{spec}");
        assert_eq!(content["metadata"], json!({"name": "n"}), "{spec}");
    }
}

#[test]
fn variables_merge_in_order_and_by_the_rules_for_names() {
    let mut variables = Variables::default();
    assert!(variables.is_empty());
    variables.merge([("a", "1\n2\n"), ("b", "\n")]).expect("valid");
    variables.merge([("a", "3\r\n")]).expect("valid");
    assert_eq!(variables, self::variables([("a", "3\r"), ("b", "")]));
    assert!(!variables.is_empty());

    for name in ["a", "A_9", "_", "__x"] {
        assert_eq!(Variables::default().merge([(name, "")]), Ok(()), "{name}");
    }
    for name in ["", "9", "a-b", "a.b", "é", "a b", "a\n"] {
        let error = Variables::default().merge([("fine", "secret"), (name, "secret")]).expect_err(name);
        assert_eq!(error.names, [name]);
        assert!(!error.to_string().contains("secret"));
    }
}

#[test]
fn a_value_that_is_no_text_hurts_only_who_uses_it() {
    let mut variables = variables([("a", "1")]);
    variables.merge([("binary", [0xff, 0xfe])]).expect("valid");
    let objects = run(vec![with_spec("  x: ${a}")], &variables, true).expect("not used");
    assert_eq!(content(&objects[0].node)["spec"], json!({"x": 1}));
    let faults = run(vec![with_spec("  x: ${a}${binary}")], &variables, true).expect_err("no UTF-8");
    assert!(faults[0].contains("no UTF-8, at or after `${binary...}`"), "{faults:?}");
}

#[test]
fn without_variables_only_the_strategy_always_substitutes() {
    let variables = Variables::default();
    for (strategy, expected) in
        [(Strategy::WithVariables, "$$ ${x:=d}"), (Strategy::Always, "$ d"), (Strategy::default(), "$$ ${x:=d}")]
    {
        let with = Substitution { variables: &variables, strict: true, strategy };
        let objects = substitute(vec![with_spec("  x: $$ ${x:=d}")], &with).expect("whole");
        assert_eq!(content(&objects[0].node)["spec"]["x"], expected, "{strategy:?}");
    }
}

#[test]
fn objects_opt_out_by_label_or_annotation() {
    let variables = variables([("a", "1")]);
    let opt_out = "kustomize.toolkit.fluxcd.io/substitute";
    let rows = [
        (format!("labels: {{{opt_out}: disabled}}"), "${a}"),
        (format!("annotations: {{{opt_out}: disabled}}"), "${a}"),
        (format!("annotations: {{{opt_out}: Disabled}}"), "1"),
        (format!("annotations: {{{opt_out}: enabled}}"), "1"),
        (format!("finalizers: [{opt_out}]"), "1"),
    ];
    for (metadata, expected) in rows {
        let object = object(&format!("apiVersion: v1\nkind: X\nmetadata:\n  name: n\n  {metadata}\nspec: v${{a}}\n"));
        let objects = run(vec![object], &variables, true).expect("whole");
        assert_eq!(content(&objects[0].node)["spec"], format!("v{expected}"), "{metadata}");
    }
}

#[test]
fn faults_name_the_object_the_place_the_field_and_the_variable() {
    let variables = variables([("a", "hunter2"), ("quote", "\"hunter2"), ("open", "{hunter2"), ("empty", "")]);
    // spec, faults
    let rows: [(&str, &[&str]); 8] = [
        (
            "  b: 1\n  a:\n  - x: ${one}\n  - ${two}${two}",
            &[
                "app.yaml:8:8: X/n: spec.a[0].x: variable `one` is not set",
                "app.yaml:9:5: X/n: spec.a[1]: variable `two` is not set",
            ],
        ),
        ("  z: 1\n  ${key}: 1", &["app.yaml:7:3: X/n: spec.${key}: variable `key` is not set"]),
        ("  a: |\n    text\n    ${one}", &["app.yaml:6:6: X/n: spec.a: variable `one` is not set"]),
        ("  a: ok\n  b: 'x ${{ y }}'", &["app.yaml:7:6: X/n: spec.b: `${` is not followed by the name"]),
        ("  a: ${a-b}", &["app.yaml:6:6: X/n: spec.a: `${a` does not go on"]),
        ("  a: ${a:9:9223372036854775807}", &["app.yaml:6:6: X/n: spec.a: offset and length of `${a:...}`"]),
        ("  a: ${quote}\n  b: ${a}", &["X/n: spec.", "is no YAML"]),
        ("  a: ${open}\n  b: ${a}", &["X/n: spec.", "is no YAML"]),
    ];
    for (spec, expected) in rows {
        let faults = run(vec![with_spec(spec)], &variables, true).expect_err(spec);
        for part in expected {
            assert!(faults.iter().any(|fault| fault.contains(part)), "{spec}: {part}: {faults:?}");
        }
        assert!(!faults.concat().contains("hunter2"), "{faults:?}");
    }
    assert!(!format!("{variables:?}").contains("hunter2"));
    assert!(format!("{variables:?}").contains("quote"));
}

#[test]
fn an_object_has_to_stay_one_and_its_own() {
    let variables = variables([("a", "hunter2"), ("empty", ""), ("one", "1"), ("document", "--- hunter2 #")]);
    let named = |name: &str| format!("apiVersion: v1\nkind: X\nmetadata:\n  name: {name}\n");
    let rows: [(&[String], &[&str]); 7] = [
        (&[named("${empty}")], &["app.yaml:4:9: X/${empty}: metadata.name: substitution makes null of this"]),
        (&[named("${one}")], &["app.yaml:4:9: X/${one}: metadata.name: substitution makes a number of this"]),
        (
            &["apiVersion: v1\nkind: ${empty}\nmetadata:\n  name: n\n".to_owned()],
            &["app.yaml:2:7: ${empty}/n: kind: substitution makes null"],
        ),
        (
            &[named("n\n  namespace: ${one}")],
            &["app.yaml:5:14: X/${one}/n: metadata.namespace: substitution makes a number"],
        ),
        (
            &[named("${a}"), named("x${a:${#a}}"), named("${a}${empty}")],
            &["app.yaml:1:1: X/${a}${empty}: substitution makes this the same object as X/${a} at app.yaml:1"],
        ),
        (&[named("${a}"), named("x${a}")], &[]),
        (&["apiVersion: v1\nkind: X\nmetadata:\n  name: n\n${document}: x\n".to_owned()], &["X/n: "]),
    ];
    for (objects, expected) in rows {
        let result = run(objects.iter().map(|text| object(text)).collect(), &variables, true);
        let faults = result.err().unwrap_or_default();
        assert_eq!(faults.len(), expected.len(), "{objects:?}: {faults:?}");
        for (fault, part) in faults.iter().zip(expected) {
            assert!(fault.contains(part), "{objects:?}: {fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }
}

#[test]
fn places_outlive_substitution() {
    let variables = variables([("a", "1"), ("map", "{b: [c]}")]);
    let text = "  z: x\n  y:\n  - ${a}\n  - b: ${map}\n  ${a}: [v]";
    let before = with_spec(text);
    let after = run(vec![before.clone()], &variables, true).expect("whole").remove(0);
    assert_eq!(after.origin, before.origin);
    let line = |path: &[&str]| after.node.at_path(path).and_then(|node| node.at.as_ref()).map(|at| at.line);
    let item = |index: usize| &after.node.at_path(&["spec", "y"]).and_then(Node::as_sequence).expect("a list")[index];
    assert_eq!(line(&["metadata", "name"]), Some(4));
    assert_eq!(line(&["spec"]), Some(6));
    assert_eq!(line(&["spec", "z"]), Some(6));
    assert_eq!(item(0).at, Some(Location { file: "app.yaml".into(), line: 8, column: 5 }));
    assert_eq!(item(1).get("b").and_then(|node| node.at.clone()).map(|at| at.line), Some(9));
    let inner = item(1).at_path(&["b", "b"]).and_then(|node| node.at.clone());
    assert_eq!(inner.map(|at| at.line), Some(9), "what a value brings stands where the value is used");
    let key = after.node.get("spec").and_then(|spec| spec.key("1")).and_then(|key| key.at.clone());
    assert_eq!(key.map(|at| at.line), Some(6), "a key that was made stands where its mapping stands");
}

#[test]
fn what_has_no_template_stays_as_it_was_written() {
    let variables = variables([("a", "1")]);
    let before = with_spec("  z: 0x10\n  b: $a {x} $\n  a: 'yes'");
    let after = run(vec![before.clone()], &variables, true).expect("whole").remove(0);
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
}

#[test]
fn hostile_templates_end_within_their_limits() {
    let long = "x".repeat(1 << 20);
    let stars = "*a".repeat(200) + "b";
    let many = "a".repeat(100_000);
    let variables = variables([("long", &*long), ("stars", &stars), ("many", &many), ("empty", ""), ("a", "a")]);
    let nested = |depth: usize| format!("{}{}{}", "${a:=".repeat(depth), "x", "}".repeat(depth));
    let mut doubled = "${empty:=${long}}".to_owned();
    for _ in 0..20 {
        doubled = format!("${{empty:={doubled}{doubled}}}").chars().take(100_000).collect();
    }
    let rows = [
        (nested(64), ""),
        (nested(65), "more than 64 deep"),
        (nested(50_000), "more than 64 deep"),
        ("${long}".repeat(5), "more than 4 MiB"),
        ("${long}".repeat(10_000), "more than 4 MiB"),
        (doubled, ""),
        ("${long//${empty}/${many}}".to_owned(), "more than 4 MiB"),
        ("${long//x/${many}}".to_owned(), "more than 4 MiB"),
        ("${#long}".repeat(1000), ""),
        ("${many##${stars}}".to_owned(), "too many steps"),
        ("${many%%${stars}}".to_owned(), ""),
        ("${long#${stars}}".to_owned(), "too many steps"),
        ("${a:=".repeat(1000), "more than 64 deep"),
        ("${".repeat(100_000), "not followed by the name"),
        ("$".repeat(100_000), ""),
        (format!("${{a:{}}}", "9".repeat(100_000)), ""),
        (format!("${{{}}}", "a".repeat(100_000)), "is not set"),
    ];
    for (spec, expected) in rows {
        let name: String = spec.chars().take(40).collect();
        let mut object = with_spec("  x: y");
        object.node.set("spec", Node::string(spec));
        let with = Substitution { variables: &variables, strict: true, strategy: Strategy::Always };
        let result = within(Limits { steps: 2_000_000, ..LIMITS }, vec![object], &with)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>());
        match result {
            Ok(_) => assert_eq!(expected, "", "{name}"),
            Err(faults) if expected.is_empty() => assert!(name.starts_with("${empty:="), "{name}: {faults:?}"),
            Err(faults) => assert!(faults[0].contains(expected), "{name}: {faults:?}"),
        }
    }
}

#[test]
fn all_objects_together_have_a_limit() {
    let long = "x".repeat(1000);
    let variables = variables([("long", &*long)]);
    let limits = Limits { growth: 10_000, ..LIMITS };
    let with = Substitution { variables: &variables, strict: true, strategy: Strategy::Always };
    for (count, expected) in [(10, ""), (11, "more than 64 MiB")] {
        let objects = (0..count)
            .map(|index| object(&format!("apiVersion: v1\nkind: X\nmetadata:\n  name: n{index}\nspec: ${{long}}\n")));
        let fault = within(limits, objects.collect(), &with).err().map(|faults| faults.to_string());
        assert_eq!(fault.is_some(), !expected.is_empty(), "{count}");
        assert!(fault.unwrap_or_default().contains(expected), "{count}");
    }
}

#[test]
fn any_text_is_a_template_or_a_fault() {
    let pieces = [
        "${",
        "}",
        "$",
        "$$",
        ":",
        "=",
        "-",
        "#",
        "##",
        "%",
        "%%",
        "/",
        "//",
        "^",
        "^^",
        ",",
        "\\",
        "\\/",
        "*",
        "?",
        "[",
        "]",
        "[a-c]",
        "text",
        "euro",
        "empty",
        "missing",
        "1",
        "-2",
        "€",
        " ",
        "\n",
        "9223372036854775807",
    ];
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let template: String = (0..random.usize(1..16)).map(|_| pieces[random.usize(..pieces.len())]).collect();
        let _ = expand(&template, random.bool());
        let mut object = with_spec("  x: y");
        object.node.set(&template, Node::string(template.clone()));
        if let Ok(objects) = run(vec![object], &variables(VARIABLES), false) {
            assert_eq!(objects[0].name(), "n", "{template}");
        }
    }
}
