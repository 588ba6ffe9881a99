//! Whatever bytes come: no panic, an answer in bounded time, and what is printed reads the same.

use manifest::yaml::{Dialect, Node, parse_as, to_canonical_all, to_string_all};

/// A small generator of numbers (splitmix64), so that a failure can be had again from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

const PIECES: &[&str] = &[
    "a",
    "b: ",
    "c:\n",
    "- ",
    "-\n",
    "\n",
    "\n  ",
    "\n    ",
    " ",
    "\t",
    "? ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&x ",
    "*x",
    "<<: ",
    "!!str ",
    "!!int ",
    "!t ",
    "!",
    "|\n",
    "|-\n",
    ">\n",
    "|2\n",
    "'",
    "\"",
    "\\",
    "''",
    "#",
    " # c\n",
    "---",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "%TAG ! x\n",
    "%",
    "~",
    "yes",
    "0644",
    "1e3",
    ".inf",
    "12:30",
    "@",
    "`",
    "\r",
    "\r\n",
    "é",
    "😀",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    "\0",
    "key: value\n",
    "0x1F",
    "\\u00",
    "=",
];

/// What is printed, in either form, is read as the same values by either dialect.
fn reads_the_same(nodes: &[Node], source: &dyn std::fmt::Debug) {
    for printed in [to_string_all(nodes), to_canonical_all(nodes)] {
        for dialect in [Dialect::Resource, Dialect::Kustomization] {
            let again = parse_as(dialect, "f", printed.as_bytes());
            let again = again.unwrap_or_else(|faults| panic!("{source:?}\nprinted as\n{printed}: {faults}"));
            let again: Vec<Node> = again.into_iter().map(|document| document.node).collect();
            assert_eq!(again, nodes, "{source:?} in {dialect:?}\nprinted as\n{printed}");
        }
    }
}

fn check(bytes: &[u8]) {
    for dialect in [Dialect::Resource, Dialect::Kustomization] {
        let Ok(documents) = parse_as(dialect, "f", bytes) else { continue };
        let nodes: Vec<Node> = documents.into_iter().map(|document| document.node).collect();
        reads_the_same(&nodes, &String::from_utf8_lossy(bytes));
        for node in &nodes {
            let value = node.to_json().unwrap();
            assert_eq!(Node::from_json(value.clone()).to_json().unwrap(), value);
        }
    }
}

#[test]
fn bytes() {
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let bytes: Vec<u8> = (0..random.below(40)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        check(&bytes);
    }
}

#[test]
fn pieces_of_yaml() {
    let seeds = std::env::var("YAML_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60_000);
    for seed in 0..seeds {
        let mut random = Random(seed);
        let text: String = (0..random.below(24)).map(|_| PIECES[random.below(PIECES.len())]).collect();
        check(text.as_bytes());
    }
}

#[test]
fn strings() {
    const CHARACTERS: &[char] = &[
        'a', 'b', ' ', '\n', '\t', ':', '#', '-', '\'', '"', '\\', '1', '.', 'y', '|', '{', ',', '\r', 'é', '\u{85}',
        '~', '?', '0', 'x', '\u{feff}',
    ];
    for seed in 0..60_000 {
        let mut random = Random(seed);
        let text: String = (0..random.below(9)).map(|_| CHARACTERS[random.below(CHARACTERS.len())]).collect();
        let node = Node::mapping([
            (
                text.as_str(),
                Node::sequence([Node::string(text.as_str()), Node::mapping([("k", Node::string(text.as_str()))])]),
            ),
            ("zz", Node::string("end")),
        ]);
        reads_the_same(&[node], &text);
    }
}
