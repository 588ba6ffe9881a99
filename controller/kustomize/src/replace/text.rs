//! The text of a scalar that holds JSON or YAML, written anew after a value within it was set.

use std::ops::Range;

use manifest::yaml::{self, Node, Scalar, ScalarKind};

use crate::field_path::{self, Place};
use crate::go_json;

/// YAML with scalars replaced where they stand, so that comments, quotes and braces stay: kustomize keeps those.
///
/// Nothing when it is JSON, or has none of these and fits its types, so that it can be written anew as [`write`] does, or
/// when what is replaced is no scalar on one line.
pub(super) fn edit(text: &str, held: &Node, places: &[Place], value: &Node) -> Option<String> {
    if text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let value = value.as_scalar().map_or("", |scalar| scalar.text.as_str());
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut plain = !text.contains(['#', '"', '\'', '{', '[', '|', '>', '&', '*', '!']);
    for place in places {
        let node = field_path::at(held, &place.trail).filter(|_| !place.made)?;
        let scalar = node.as_scalar()?;
        let span = span_of(text, node, scalar)?;
        let new = match Scalar::of_kind(scalar.kind, value) {
            Some(new) if new.kind == ScalarKind::String => match text.get(span.start..=span.start)? {
                quote @ ("\"" | "'") if !value.contains(['"', '\'', '\\']) && !value.contains(char::is_control) => {
                    format!("{quote}{value}{quote}")
                }
                _ => yaml::to_string(&Node::string(value)).trim_end().to_owned(),
            },
            Some(new) => new.text,
            None => {
                plain = false;
                format!("{} {value}", tag(scalar.kind))
            }
        };
        if new.contains('\n') {
            return None;
        }
        edits.push((span, new));
    }
    if plain {
        return None;
    }
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut edited = text.to_owned();
    edits.into_iter().for_each(|(span, new)| edited.replace_range(span, &new));
    Some(edited.trim().to_owned())
}

fn tag(kind: ScalarKind) -> &'static str {
    match kind {
        ScalarKind::String => "!!str",
        ScalarKind::Null => "!!null",
        ScalarKind::Bool => "!!bool",
        ScalarKind::Int => "!!int",
        ScalarKind::Float => "!!float",
        ScalarKind::Timestamp => "!!timestamp",
    }
}

/// The bytes of a scalar that stands on one line as it is, with its quotes.
fn span_of(text: &str, node: &Node, scalar: &Scalar) -> Option<Range<usize>> {
    let at = node.at.as_ref()?;
    let (line, column) = (usize::try_from(at.line).ok()?, usize::try_from(at.column).ok()?);
    let lines = text.split_inclusive('\n');
    let before: usize = lines.clone().take(line.checked_sub(1)?).map(str::len).sum();
    let line = lines.clone().nth(line - 1)?;
    let start = before + line.char_indices().nth(column.checked_sub(1)?)?.0;
    let rest = text.get(start..)?;
    let token = match rest.chars().next()? {
        quote @ ('"' | '\'') => format!("{quote}{}{quote}", scalar.text),
        _ => scalar.text.clone(),
    };
    let stands = !token.is_empty() && !token.contains('\n') && rest.starts_with(&token);
    stands.then_some(start..start + token.len())
}

/// In the notation of the text as it was: JSON in one line or indented, keys sorted; or else YAML.
///
/// Nothing when what there is now cannot be said in JSON.
pub(super) fn write(node: &Node, before: &str) -> Option<String> {
    if !before.trim_start().starts_with(['{', '[']) {
        return Some(yaml::to_string(node).trim().to_owned());
    }
    let value = node.to_json().ok()?;
    let indented = before.contains('\n') && before.contains("  ");
    let mut out = String::new();
    go_json::write(&mut out, &value, indented.then_some(0));
    Some(out)
}
