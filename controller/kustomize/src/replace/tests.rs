//! What kustomize v5.8.1 makes of a table of replacements.

use manifest::yaml::{self, Dialect};

use super::*;
use crate::kustomization::ReplacementField;
use crate::limits::{Budget, Limits};
use crate::read::Read;
use crate::schema::Schemas;

/// Cases that were built by kustomize v5.8.1. One begins with `===` and its title; then come the replacements, the
/// resources, and what was printed, or `error`. `T:` says that the common source is there as well and stays as it is,
/// and that the resource is the rest of one of kind `T`.
const CASES: &str = include_str!("cases.txt");

const TARGET: &str = "apiVersion: v1\nkind: T\nmetadata:\n  name: t\n";

fn resources(text: &str) -> ResMap {
    let mut resources = ResMap::default();
    for document in yaml::parse("r.yaml", text.as_bytes()).unwrap() {
        resources.append(Resource::new(document.node, document.origin), &Schemas::builtin()).unwrap();
    }
    resources
}

fn run(replacements: &str, given: &str) -> Result<String, Diagnostic> {
    let node =
        yaml::parse_as(Dialect::Kustomization, "kustomization.yaml", replacements.as_bytes()).unwrap().remove(0).node;
    let mut faults = Vec::new();
    let entry = Entry::new("replacements", &node);
    let replacements = Vec::<Given<ReplacementField>>::read(&node, &entry, &mut faults).unwrap();
    if let Some(fault) = faults.pop() {
        return Err(fault);
    }
    let mut resources = resources(given);
    for Given { value, entry } in &replacements {
        replace(&mut resources, &value.replacement, entry, &Budget::new(&Limits::default(), None))?;
    }
    Ok(yaml::to_canonical_all(resources.resources().iter().map(|resource| &resource.node)))
}

#[test]
fn replacements_do_what_they_do_in_kustomize() {
    let mut cases = CASES.split("=== ").skip(1);
    let common = cases.next().unwrap().strip_prefix("common\n").unwrap();
    let printed = yaml::to_canonical_all(resources(common).resources().iter().map(|resource| &resource.node));
    let mut wrong = Vec::new();
    for case in cases {
        let (title, case) = case.split_once('\n').unwrap();
        let (replacements, case) = case.split_once("--- resources\n").unwrap();
        let (given, expected) = case.split_once("--- expected\n").unwrap();
        let is_short = title.starts_with("T: ");
        let given = if is_short { format!("{common}---\n{TARGET}{given}") } else { given.to_owned() };
        let expected = match expected {
            "error\n" => None,
            expected if is_short => Some(format!("{printed}---\n{expected}")),
            expected => Some(expected.to_owned()),
        };
        let built = run(replacements, &given);
        if built.as_ref().ok() != expected.as_ref() {
            wrong.push(format!("{title}: {built:?}\nexpected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} wrong", wrong.join("\n\n"), wrong.len());
}
