//! Texts within a field of a file, such as an inline patch: their documents, placed where they stand in that file.
//!
//! Invariant: a place is one of the file only when each line of the text stands in the file letter by letter. Of any
//! other text, such as a folded one, places are counted within the text, in what is called `FILE#FIELD`.

use std::str::Chars;
use std::sync::Arc;

use manifest::yaml::{self, Dialect, Document, Node, Value};
use manifest::{Diagnostic, Diagnostics, Location};

use crate::load::Loader;
use crate::read::Text;

/// Reads the documents of a text that a field holds, as [`yaml::parse_as`] does.
///
/// # Errors
/// As there.
pub(crate) fn parse_as(dialect: Dialect, text: &Text, loader: &Loader<'_>) -> Result<Vec<Document>, Diagnostics> {
    let at = text.entry.at.as_ref();
    let file = at.map_or_else(|| loader.directory().clone(), |at| at.file.clone());
    let parsed = yaml::parse_as(dialect, &format!("{file}#{}", text.entry.field), text.value.as_bytes());
    let source = at.and_then(|at| loader.source(&at.file)).and_then(|source| std::str::from_utf8(source).ok());
    let Some(place) = at.zip(source).and_then(|(at, source)| Place::find(&text.value, at, source)) else {
        return parsed;
    };
    match parsed {
        Ok(mut documents) => {
            for document in &mut documents {
                document.origin.file = place.file.clone();
                document.origin.line += place.lines;
                place.move_node(&mut document.node);
            }
            Ok(documents)
        }
        Err(faults) => {
            let moved = faults.into_vec().into_iter().map(|mut fault: Diagnostic| {
                fault.at.iter_mut().for_each(|at| place.move_location(at));
                fault
            });
            Diagnostics::check(moved.collect(), Vec::new())
        }
    }
}

/// Where a text stands in a file.
struct Place {
    file: Arc<str>,
    /// How many lines of the file come before the first one of the text.
    lines: u32,
    /// How many characters come before each of its lines.
    columns: u32,
}

impl Place {
    /// Of the text whose scalar begins at a location of a source: a literal one, or one on a single line.
    fn find(text: &str, at: &Location, source: &str) -> Option<Self> {
        let mut lines = source.lines().skip(usize::try_from(at.line).ok()?.checked_sub(1)?);
        let before = at.column.checked_sub(1)?;
        let mut rest: Chars<'_> = lines.next()?.chars();
        for _ in 0..before {
            rest.next()?;
        }
        let rest = rest.as_str();
        let file = at.file.clone();
        if rest.split_whitespace().any(|token| token.starts_with('|')) {
            let columns = indentation(text, lines)?;
            return Some(Self { file, lines: at.line, columns });
        }
        let (quotes, rest) = rest.strip_prefix(['"', '\'']).map_or((0, rest), |rest| (1, rest));
        let stands = !text.is_empty() && !text.contains('\n') && rest.starts_with(text);
        stands.then(|| Self { file, lines: at.line - 1, columns: before + quotes })
    }

    fn move_location(&self, at: &mut Location) {
        at.file = self.file.clone();
        at.line += self.lines;
        at.column += self.columns;
    }

    fn move_node(&self, node: &mut Node) {
        node.at.iter_mut().for_each(|at| self.move_location(at));
        match &mut node.value {
            Value::Scalar(_) => {}
            Value::Sequence(items) => items.iter_mut().for_each(|item| self.move_node(item)),
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    key.at.iter_mut().for_each(|at| self.move_location(at));
                    self.move_node(value);
                }
            }
        }
    }
}

/// How many spaces stand before each line of a text in the lines of a file, when the text stands there.
fn indentation<'s>(text: &str, mut lines: impl Iterator<Item = &'s str>) -> Option<u32> {
    let mut found = None;
    for wanted in text.lines() {
        let line = lines.next().unwrap_or_default();
        if wanted.is_empty() && line.trim_start_matches(' ').is_empty() {
            continue;
        }
        let spaces = line.strip_suffix(wanted)?;
        let is_indentation = spaces.bytes().all(|byte| byte == b' ');
        if !is_indentation || found.is_some_and(|found| found != spaces.len()) {
            return None;
        }
        found = Some(spaces.len());
    }
    u32::try_from(found?).ok()
}
