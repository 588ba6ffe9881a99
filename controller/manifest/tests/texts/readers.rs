//! What is printed in the portable form is read as the same values by readers that are not ours: of YAML 1.2
//! (serde-saphyr) and, where the machine has it, of YAML 1.1 (PyYAML).

use std::io::Write;
use std::process::{Command, Stdio};

use manifest::yaml::{Node, to_string, to_string_all};
use serde_json::{Value, json};

/// Texts that some reader takes for something else when they stand without quotes, or that are hard to write.
const TEXTS: &[&str] = &[
    "",
    "a",
    "y",
    "N",
    "yes",
    "No",
    "on",
    "OFF",
    "true",
    "False",
    "null",
    "~",
    "=",
    "<<",
    "-",
    "?",
    ":",
    "---",
    "...",
    "0",
    "-0",
    "+1",
    "0755",
    "0o17",
    "0x1F",
    "0b11",
    "1_000",
    "1e3",
    "1E+3",
    "1.5e3",
    "1.",
    ".5",
    ".",
    ".inf",
    "-.INF",
    ".nan",
    "1:30",
    "190:20:30",
    "1:30.5",
    "2024-01-02",
    "2024-1-2 3:4:5",
    "2024-01-02T03:04:05+01:00",
    "0x",
    "_1",
    "1_",
    "a: b",
    "a:",
    ":a",
    "a #b",
    "#",
    "&a",
    "*a",
    "!a",
    "!!str a",
    "%a",
    "@a",
    "`a",
    "|",
    ">",
    "{a",
    "[a",
    "]",
    "}",
    ",",
    "'",
    "\"",
    "\\",
    "a'b\"c",
    " a",
    "a ",
    "\t",
    "a\tb",
    "\n",
    "a\n",
    "a\n\n",
    "\na",
    "a\n b\n",
    " a\nb",
    "a \nb",
    "a\n\tb",
    "a\r\nb",
    "\u{0}",
    "\u{1b}",
    "\u{7f}",
    "\u{85}",
    "a\n\u{2028}",
    "\u{feff}a",
    "\u{a0}",
    "é",
    "日本",
    "😀",
    "{{ .x }}",
    "${A}",
];

fn documents() -> Vec<Node> {
    let scalars =
        json!([1, -1, 0, u64::MAX, i64::MIN, 0.5, 1e-6, 1.5e300, 1e20, 123_456.75, true, false, null, {}, []]);
    let mut documents: Vec<Node> = TEXTS
        .iter()
        .map(|text| {
            let list = Node::sequence([Node::string(*text), Node::sequence([Node::string(*text)])]);
            Node::mapping([
                (*text, Node::mapping([(*text, list), ("z", Node::string(*text))])),
                ("zz", Node::string(*text)),
            ])
        })
        .collect();
    documents.push(Node::from_json(scalars));
    for seed in 0..TEXTS.len() {
        let pick = |step: usize| TEXTS[(seed * 31 + step * 17) % TEXTS.len()];
        let joined = format!("{}{}{}", pick(1), ["", " ", "\n", ": "][seed % 4], pick(2));
        documents.push(Node::mapping([(joined.as_str(), Node::string(joined.as_str()))]));
    }
    documents
}

#[test]
fn readers_of_yaml_1_2_agree() {
    for document in documents() {
        let printed = to_string(&document);
        let read: Value = serde_saphyr::from_str(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
        assert_eq!(read, document.to_json().unwrap(), "{printed}");
    }
}

#[test]
fn readers_of_yaml_1_1_agree() {
    const SCRIPT: &str = "import json, sys, yaml\n\
        json.dump(list(yaml.safe_load_all(sys.stdin.buffer)), sys.stdout)";
    let available = Command::new("python3").args(["-c", "import yaml"]).stderr(Stdio::null()).status();
    if !available.is_ok_and(|status| status.success()) {
        eprintln!(
            "SKIPPED: python3 with PyYAML is not there, so what a reader of YAML 1.1 makes of our YAML is not known"
        );
        return;
    }
    let documents = documents();
    let python = Command::new("python3").args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut python = python.unwrap();
    python.stdin.take().unwrap().write_all(to_string_all(&documents).as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let read: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read.len(), documents.len());
    for (read, document) in read.iter().zip(&documents) {
        assert_eq!(*read, document.to_json().unwrap(), "{}", to_string(document));
    }
}
