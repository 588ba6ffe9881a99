//! `docs/overlays.md`, step by step: each file in it is written, each command in it prints what it says there.

use std::fs;
use std::path::Path;
use std::process::Command;

const TUTORIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/overlays.md");

/// A line of what a command prints that stands for any lines.
const REST: &str = "...";

/// What a reader does.
#[derive(Debug)]
enum Step {
    Write { path: String, content: String },
    Run { line: String, expected: Vec<String> },
}

/// The blocks of the tutorial: a file is one below a line with just its path, a command and what it prints are in one of
/// the console. Others are for reading.
fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines();
    let mut above = "";
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            above = line;
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let path = above.strip_prefix('`').and_then(|rest| rest.strip_suffix("`:"));
        match (language, path) {
            ("yaml", Some(path)) => {
                steps.push(Step::Write { path: path.to_owned(), content: block.join("\n") + "\n" });
            }
            ("console", _) => {
                for line in block {
                    match (line.strip_prefix("$ flux-porter "), steps.last_mut()) {
                        (Some(line), _) => steps.push(Step::Run { line: line.to_owned(), expected: Vec::new() }),
                        (None, Some(Step::Run { expected, .. })) => expected.push(line.to_owned()),
                        (None, _) => panic!("{line:?} is printed by no command"),
                    }
                }
            }
            _ => {}
        }
        above = "";
    }
    steps
}

/// Whether the lines are the expected ones, where `...` stands for any.
fn matches(found: &[&str], expected: &[String]) -> bool {
    match (expected.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == REST => (0..=found.len()).any(|skipped| matches(&found[skipped..], rest)),
        (Some((first, rest)), Some((line, more))) => line == first && matches(more, rest),
        _ => false,
    }
}

fn run(shop: &Path, line: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flux-porter"));
    let output = command.args(line.split_whitespace()).current_dir(shop).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_tutorial_works() {
    let shop = tempfile::tempdir().unwrap();
    fs::create_dir(shop.path().join(".git")).unwrap();
    let steps = steps(&fs::read_to_string(TUTORIAL).unwrap());
    let commands = steps.iter().filter(|step| matches!(step, Step::Run { .. })).count();
    assert!(commands >= 10, "{commands} commands were found");
    for step in steps {
        match step {
            Step::Write { path, content } => {
                let path = shop.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Step::Run { line, expected } => {
                let found = run(shop.path(), &line);
                let lines: Vec<&str> = found.lines().collect();
                assert!(matches(&lines, &expected), "flux-porter {line}\n{found}\nand not\n{}", expected.join("\n"));
            }
        }
    }
}
