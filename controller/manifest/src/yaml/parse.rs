//! Bytes to documents.
//!
//! A syntax error ends its document; reading goes on at the next `---`, so that one call tells of as many faults as
//! there are documents. Aliases are copied, within a budget that no honest file reaches.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{Document, Key, Node, Scalar, ScalarKind, Style, Value, resolve};
use crate::{Diagnostic, Diagnostics, Location, Origin};

/// How deep lists and mappings may be nested; what is read here can be walked by recursion.
pub const MAX_DEPTH: usize = 100;

/// Bytes that aliases, and the anchors they name, may copy in one file.
const ALIAS_BUDGET: usize = 16 << 20;

/// More faults of one file than this help nobody.
const MAX_FAULTS: usize = 50;

/// Reads all documents of a file. `file` is what locations name.
///
/// Documents that are empty or null are left out; anchors, aliases and merge keys are resolved.
///
/// # Errors
/// All that is wrong: bytes that are no UTF-8, characters that YAML forbids, syntax errors, keys that are there twice,
/// keys that are no scalars, unknown aliases, nesting beyond [`MAX_DEPTH`], aliases that multiply without bound.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Document>, Diagnostics> {
    let file: Arc<str> = file.into();
    let text = text_of(&file, bytes)?;
    let mut faults = Vec::new();
    let mut documents: Vec<Document> = Vec::new();
    let mut budget = ALIAS_BUDGET;
    let (mut rest, mut lines_before) = (text, 0);
    loop {
        let mut reader = Reader {
            parser: Parser::new_from_str(rest),
            file: &file,
            lines_before,
            anchors: HashMap::new(),
            budget,
            faults: &mut faults,
            document_line: 0,
        };
        let stopped = reader.stream(&mut documents);
        budget = reader.budget;
        let Err(stop) = stopped else { break };
        let document_line = reader.document_line;
        faults.push(stop.fault);
        if faults.len() >= MAX_FAULTS {
            break;
        }
        let Some((line, next)) = next_document(rest, stop.line.max(document_line + 1)) else { break };
        (rest, lines_before) = (next, lines_before + line - 1);
    }
    Diagnostics::check(faults, documents)
}

/// The bytes as text that YAML allows, without a byte order mark.
fn text_of<'a>(file: &Arc<str>, bytes: &'a [u8]) -> Result<&'a str, Diagnostic> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let fault = |before: &[u8], message: String| {
        let before = String::from_utf8_lossy(before);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Diagnostic::at(Location { file: file.clone(), line: narrow(line), column: narrow(column) }, message)
    };
    let text = std::str::from_utf8(bytes)
        .map_err(|error| fault(&bytes[..error.valid_up_to()], "the file is not UTF-8; save it as UTF-8".to_owned()))?;
    match text.char_indices().find(|(_, character)| !allowed(*character)) {
        None => Ok(text),
        Some((index, character)) => Err(fault(
            &bytes[..index],
            format!(
                "control character U+{:04X} is not allowed in YAML; escape it in a double-quoted string",
                u32::from(character)
            ),
        )),
    }
}

fn allowed(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' | '\u{85}' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        other => !other.is_control(),
    }
}

/// The first line from `from` on that begins a document, and the text from there.
fn next_document(text: &str, from: usize) -> Option<(usize, &str)> {
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let begins =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if index + 1 >= from && begins {
            return Some((index + 1, &text[start..]));
        }
        start += line.len();
    }
    None
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Why reading of a document ended.
struct Stop {
    fault: Diagnostic,
    /// Line in the text of the parser, from 1.
    line: usize,
}

/// What an anchor names.
struct Anchored {
    node: Node,
    weight: usize,
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    file: &'a Arc<str>,
    /// Lines of the file before the text of the parser.
    lines_before: usize,
    anchors: HashMap<usize, Anchored>,
    budget: usize,
    faults: &'a mut Vec<Diagnostic>,
    /// Line in the text of the parser at which the document begins, from 1.
    document_line: usize,
}

impl<'a> Reader<'a> {
    fn stream(&mut self, documents: &mut Vec<Document>) -> Result<(), Stop> {
        loop {
            let (event, span) = self.event()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => {
                    self.document_line = span.start.line();
                    self.anchors.clear();
                    let (event, span) = self.event()?;
                    let node = self.node(event, span, 0)?;
                    if !node.is_null() {
                        let origin = Origin {
                            file: self.file.clone(),
                            line: node.at.as_ref().map_or(1, |at| at.line),
                            document: documents.last().map_or(0, |last| last.origin.document + 1),
                        };
                        documents.push(Document { node, origin });
                    }
                }
                _ => {}
            }
        }
    }

    fn event(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.stop(*error.marker(), format!("YAML syntax: {}", error.info()))),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn location(&self, mark: Marker) -> Location {
        Location {
            file: self.file.clone(),
            line: narrow(mark.line() + self.lines_before),
            column: narrow(mark.col() + 1),
        }
    }

    fn stop(&self, mark: Marker, message: impl Into<String>) -> Stop {
        Stop { fault: Diagnostic::at(self.location(mark), message), line: mark.line() }
    }

    fn fault(&mut self, at: Location, message: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Diagnostic::at(at, message));
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Stop> {
        let at = self.location(span.start);
        if depth >= MAX_DEPTH && matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)) {
            return Err(self.stop(span.start, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        let (value, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span.start),
            Event::Scalar(text, style, anchor, tag) => {
                (Value::Scalar(self.scalar(text.into_owned(), style, tag.as_deref(), &at)), anchor)
            }
            Event::SequenceStart(anchor, _) => (Value::Sequence(self.sequence(depth)?), anchor),
            Event::MappingStart(anchor, _) => (Value::Mapping(self.mapping(depth)?), anchor),
            _ => return Err(self.stop(span.start, "YAML syntax: a value is missing")),
        };
        let node = Node { value, at: Some(at) };
        if anchor > 0 {
            let weight = weight(&node);
            self.spend(weight, span.start)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), weight });
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, mark: Marker) -> Result<Node, Stop> {
        // An alias inside of what it names, or of another document, finds nothing.
        let Some(weight) = self.anchors.get(&id).map(|anchored| anchored.weight) else {
            return Err(self.stop(mark, "the alias names no anchor that comes before it in this document"));
        };
        self.spend(weight, mark)?;
        Ok(self.anchors[&id].node.clone())
    }

    fn spend(&mut self, weight: usize, mark: Marker) -> Result<(), Stop> {
        match self.budget.checked_sub(weight) {
            Some(rest) => {
                self.budget = rest;
                Ok(())
            }
            None => {
                Err(self.stop(mark, "the aliases of this file multiply to more than 16 MiB; write less with aliases"))
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Stop> {
        let mut items = Vec::new();
        loop {
            match self.event()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen: HashMap<Arc<str>, u32> = HashMap::new();
        let mut merged: Option<(usize, Node)> = None;
        loop {
            let (event, span) = match self.event()? {
                (Event::MappingEnd, _) => break,
                next => next,
            };
            let at = self.location(span.start);
            let merge = is_merge(&event);
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.event()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(name) = self.key_name(&key, &at) else { continue };
            if let Some(first) = seen.get(&name) {
                let first = *first;
                self.fault(at, format!("key {name:?} is there twice; it is first set on line {first}"));
                continue;
            }
            seen.insert(name.clone(), at.line);
            if merge {
                merged = Some((entries.len(), value));
            } else {
                entries.push((Key { name, at: Some(at) }, value));
            }
        }
        if let Some((place, value)) = merged {
            let merged = self.merge(value, &mut seen);
            entries.splice(place..place, merged);
        }
        Ok(entries)
    }

    /// The entries that a merge key brings in: those that are not `seen`; of lists, the earlier mapping wins.
    fn merge(&mut self, value: Node, seen: &mut HashMap<Arc<str>, u32>) -> Vec<(Key, Node)> {
        let at = value.at.clone();
        let sources = match value.value {
            Value::Sequence(items) => items,
            value => vec![Node { value, at: at.clone() }],
        };
        let mut entries = Vec::new();
        for source in sources {
            match source.value {
                Value::Mapping(merged) => {
                    for (key, node) in merged {
                        let line = key.at.as_ref().map_or(0, |at| at.line);
                        if seen.insert(key.name.clone(), line).is_none() {
                            entries.push((key, node));
                        }
                    }
                }
                _ => {
                    if let Some(at) = source.at.or_else(|| at.clone()) {
                        self.fault(at, "a merge key `<<` takes a mapping or a list of mappings");
                    }
                }
            }
        }
        entries
    }

    /// The key as a string; no reader agrees on null, lists and mappings as keys.
    fn key_name(&mut self, key: &Node, at: &Location) -> Option<Arc<str>> {
        match &key.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => Some(scalar.text.as_str().into()),
            Value::Scalar(_) => {
                self.fault(at.clone(), "a key is null or missing; quote it when it is meant as text");
                None
            }
            _ => {
                let message =
                    format!("a key is {}; quote it when it is a template such as \"{{{{ .name }}}}\"", key.type_name());
                self.fault(at.clone(), message);
                None
            }
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&Tag>, at: &Location) -> Scalar {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        let Some(tag) = tag else {
            let kind = if style == Style::Plain { resolve::plain(&text) } else { ScalarKind::String };
            return Scalar { text, kind, style };
        };
        let resolved = resolve::plain(&text);
        let suffix = if tag.is_yaml_core_schema() { tag.suffix.as_str() } else { "" };
        let kind = match (suffix, resolved) {
            ("null", ScalarKind::Null) => ScalarKind::Null,
            ("bool", ScalarKind::Bool) => ScalarKind::Bool,
            ("int", ScalarKind::Int) => ScalarKind::Int,
            ("float", ScalarKind::Int | ScalarKind::Float) => ScalarKind::Float,
            ("null" | "bool" | "int" | "float", _) => {
                self.fault(at.clone(), format!("the value is tagged !!{suffix} but is none"));
                ScalarKind::String
            }
            // !!str, !!binary and !!timestamp are kept as text; so is what has a tag that nobody here knows.
            _ => ScalarKind::String,
        };
        Scalar { text, kind, style }
    }
}

/// Whether a key is the merge key: `<<` without quotes.
fn is_merge(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
}

/// About how many bytes a copy of a node takes.
fn weight(node: &Node) -> usize {
    const NODE: usize = size_of::<Node>();
    NODE + match &node.value {
        Value::Scalar(scalar) => scalar.text.len(),
        Value::Sequence(items) => items.iter().map(weight).sum(),
        Value::Mapping(entries) => {
            entries.iter().map(|(key, node)| size_of::<Key>() + key.name.len() + weight(node)).sum()
        }
    }
}
