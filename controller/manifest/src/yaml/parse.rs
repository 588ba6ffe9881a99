//! Bytes to documents.
//!
//! A syntax error ends its document; reading goes on at the next `---`, so that one call tells of as many faults as
//! there are documents. Aliases are copied, within a budget that no honest file reaches.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{Dialect, Document, Key, Node, Scalar, ScalarKind, Value, json, resolve};
use crate::{Diagnostic, Diagnostics, Location, Origin};

/// How deep lists and mappings may be nested; what is read here can be walked by recursion.
pub const MAX_DEPTH: usize = 100;

/// Bytes that aliases, and the anchors they name, may copy in one file.
const ALIAS_BUDGET: usize = 16 << 20;

/// More faults of one file than this help nobody.
const MAX_FAULTS: usize = 50;

/// Keys of a mapping up to which looking at each beats a table of them.
const FEW_KEYS: usize = 16;

/// Reads all documents of a file of resources: [`parse_as`] with [`Dialect::Resource`].
///
/// # Errors
/// All that is wrong.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Document>, Diagnostics> {
    parse_as(Dialect::Resource, file, bytes)
}

/// Reads all documents of a file. `file` is what locations name.
///
/// Documents that are empty or null are left out; anchors, aliases and merge keys are resolved.
///
/// # Errors
/// All that is wrong: bytes that are no UTF-8, characters that YAML forbids, syntax errors, numbers that JSON cannot
/// hold, keys that are null, lists or mappings, unknown aliases, nesting beyond [`MAX_DEPTH`], aliases that multiply
/// without bound; and in [`Dialect::Resource`] keys that are there twice or are no strings, and text where a document is
/// to begin.
pub fn parse_as(dialect: Dialect, file: &str, bytes: &[u8]) -> Result<Vec<Document>, Diagnostics> {
    let file: Arc<str> = file.into();
    let text = text_of(&file, bytes)?;
    let mut faults = match dialect {
        Dialect::Resource => separator_faults(&file, text),
        Dialect::Kustomization => Vec::new(),
    };
    let mut documents: Vec<Document> = Vec::new();
    let mut keys = HashSet::new();
    let mut budget = ALIAS_BUDGET;
    let (mut rest, mut lines_before) = (text, 0);
    loop {
        let mut reader = Reader {
            parser: Parser::new_from_str(rest),
            dialect,
            file: &file,
            lines_before,
            keys: &mut keys,
            anchors: HashMap::new(),
            in_flow: false,
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

/// The lines that kustomize takes for the end of a document and refuses: `---`, and then what is no comment.
fn separator_faults(file: &Arc<str>, text: &str) -> Vec<Diagnostic> {
    let separators = text.match_indices("\n---").map(|(index, _)| (index + 1, text.get(index + 4..).unwrap_or("")));
    separators
        .filter(|(_, rest)| {
            let rest = rest.lines().next().unwrap_or("").trim();
            !rest.is_empty() && !rest.starts_with('#')
        })
        .take(MAX_FAULTS)
        .map(|(start, _)| {
            let line = text.get(..start).unwrap_or("").matches('\n').count() + 1;
            let at = Location { file: file.clone(), line: narrow(line), column: 1 };
            Diagnostic::at(
                at,
                "a line that begins with --- ends a document, and only a comment may follow it on that line",
            )
        })
        .collect()
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
    dialect: Dialect,
    file: &'a Arc<str>,
    /// Lines of the file before the text of the parser.
    lines_before: usize,
    /// The names of keys, each held once.
    keys: &'a mut HashSet<Arc<str>>,
    anchors: HashMap<usize, Anchored>,
    /// Whether a `[` or `{` is open.
    in_flow: bool,
    budget: usize,
    faults: &'a mut Vec<Diagnostic>,
    /// Line in the text of the parser at which the document begins, from 1.
    document_line: usize,
}

impl<'a> Reader<'a> {
    fn stream(&mut self, documents: &mut Vec<Document>) -> Result<(), Stop> {
        let mut ended = false;
        loop {
            let (event, span) = self.event()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(explicit) => {
                    self.document_line = span.start.line();
                    self.anchors.clear();
                    if !explicit && ended && self.dialect == Dialect::Resource {
                        let at = self.location(span.start);
                        self.fault(at, "what follows the end of a document (`...`) is passed over by kustomize: begin it with a line ---");
                    }
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
                Event::DocumentEnd => ended = true,
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
                (Value::Scalar(self.scalar(text, style, tag.as_deref(), &at)), anchor)
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                let outside = self.in_flow;
                self.in_flow |= begins_flow(span);
                let value = match event {
                    Event::SequenceStart(..) => Value::Sequence(self.sequence(depth)?),
                    _ => Value::Mapping(self.mapping(depth)?),
                };
                self.in_flow = outside;
                (value, anchor)
            }
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
        let mut entries = Entries::default();
        let mut merged: Option<(usize, u32, Node)> = None;
        loop {
            let (event, span) = match self.event()? {
                (Event::MappingEnd, _) => break,
                next => next,
            };
            let at = self.location(span.start);
            let merge = is_merge(&event);
            let name = self.key(event, span, depth)?;
            let (event, span) = self.event()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(name) = name else { continue };
            match self.dialect {
                Dialect::Kustomization if merge => {
                    for (key, node) in self.sources(value).into_iter().rev().flatten() {
                        entries.set(key, node);
                    }
                }
                Dialect::Kustomization => entries.set(Key { name, at: Some(at) }, value),
                Dialect::Resource => {
                    let first = match &merged {
                        Some((_, line, _)) if merge => Some(*line),
                        _ => entries.find(&name).and_then(|key| key.at.as_ref()).map(|at| at.line),
                    };
                    if let Some(first) = first {
                        self.fault(at, format!("key {name:?} is there twice; it is first set on line {first}"));
                    } else if merge {
                        merged = Some((entries.list.len(), at.line, value));
                    } else {
                        entries.add(Key { name, at: Some(at) }, value);
                    }
                }
            }
        }
        let Some((place, _, value)) = merged else { return Ok(entries.list) };
        // What the mapping says itself counts, and then of the sources the first.
        let written = entries.list.len();
        for (key, node) in self.sources(value).into_iter().flatten() {
            if entries.find(&key.name).is_none() {
                entries.add(key, node);
            }
        }
        let mut entries = entries.list;
        let brought = entries.len() - written;
        entries[place..].rotate_right(brought);
        Ok(entries)
    }

    /// The mappings that a merge key names.
    fn sources(&mut self, value: Node) -> Vec<Vec<(Key, Node)>> {
        let at = value.at.clone();
        let sources = match value.value {
            Value::Sequence(items) => items,
            value => vec![Node { value, at: at.clone() }],
        };
        let mut mappings = Vec::new();
        for source in sources {
            match source.value {
                Value::Mapping(entries) => mappings.push(entries),
                _ => {
                    if let Some(at) = source.at.or_else(|| at.clone()) {
                        self.fault(at, "a merge key `<<` takes a mapping or a list of mappings");
                    }
                }
            }
        }
        mappings
    }

    /// The key as a string, when it can be one.
    fn key(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Option<Arc<str>>, Stop> {
        if let Event::Scalar(text, style, 0, None) = &event
            && (*style != ScalarStyle::Plain || resolve::plain(self.dialect, text) == ScalarKind::String)
        {
            return Ok(Some(self.intern(text)));
        }
        let node = self.node(event, span, depth + 1)?;
        let name = match &node.value {
            Value::Scalar(scalar) if scalar.kind == ScalarKind::String => Some(self.intern(&scalar.text)),
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null && self.dialect == Dialect::Kustomization => {
                Some(self.intern(&json::key(scalar)))
            }
            _ => None,
        };
        if name.is_none() {
            let quote = match &node.value {
                Value::Scalar(_) => "when it is meant as text",
                _ => "when it is a template such as \"{{ .name }}\"",
            };
            self.faults
                .push(node.fault(format!("a key has to be a string, and is {}: quote it {quote}", node.type_name())));
        }
        Ok(name)
    }

    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.keys.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.keys.insert(name.clone());
        name
    }

    fn scalar(&mut self, mut text: Cow<'a, str>, style: ScalarStyle, tag: Option<&Tag>, at: &Location) -> Scalar {
        let kind = match tag {
            // yaml.v3 takes a mere `!` for no tag at all.
            Some(tag) if self.dialect == Dialect::Kustomization || !is_bare(tag) => self.tagged(tag, &mut text, at),
            _ if style != ScalarStyle::Plain => ScalarKind::String,
            // Kustomize prints what it has read before it reads it again, and prints nothing within braces as ''.
            _ if text.is_empty() && self.in_flow && self.dialect == Dialect::Resource => ScalarKind::String,
            _ => resolve::plain(self.dialect, &text),
        };
        if kind == ScalarKind::Float && resolve::number(&text).is_none() {
            self.fault(at.clone(), json::NO_JSON_NUMBER);
        }
        Scalar { text: text.into_owned(), kind }
    }

    /// The kind that a tag gives a text; the text of `!!binary` is decoded.
    fn tagged(&mut self, tag: &Tag, text: &mut Cow<'a, str>, at: &Location) -> ScalarKind {
        let kind = match tag.suffix.as_str() {
            // What has a tag that nobody here knows is text.
            _ if !tag.is_yaml_core_schema() => ScalarKind::String,
            "null" => ScalarKind::Null,
            "bool" => ScalarKind::Bool,
            "int" => ScalarKind::Int,
            "float" => ScalarKind::Float,
            "timestamp" if self.dialect == Dialect::Resource => ScalarKind::Timestamp,
            "binary" => {
                let bytes = BASE64_STANDARD.decode(text.replace(['\n', '\r'], ""));
                match bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
                    Some(decoded) => *text = Cow::Owned(decoded),
                    None => self.fault(at.clone(), "the value is tagged !!binary but is no base64 of a text"),
                }
                ScalarKind::String
            }
            _ => ScalarKind::String,
        };
        resolve::as_kind(self.dialect, kind, text).unwrap_or_else(|| {
            self.fault(at.clone(), format!("the value is tagged !!{} but is none", tag.suffix));
            ScalarKind::String
        })
    }
}

/// Whether a tag is a mere `!`.
fn is_bare(tag: &Tag) -> bool {
    tag.handle.is_empty() && tag.suffix == "!"
}

/// Whether a list or mapping begins with a bracket or a brace: a block begins with its first item, after its properties
/// on a line of its own.
fn begins_flow(span: Span) -> bool {
    span.start.line() == span.end.line() && span.start.index() < span.end.index()
}

/// The entries of a mapping under way.
#[derive(Default)]
struct Entries {
    list: Vec<(Key, Node)>,
    /// Where each key stands, once there are more than a few.
    places: HashMap<Arc<str>, usize>,
}

impl Entries {
    fn place(&self, name: &str) -> Option<usize> {
        if self.list.len() > FEW_KEYS {
            return self.places.get(name).copied();
        }
        self.list.iter().position(|(key, _)| &*key.name == name)
    }

    fn find(&self, name: &str) -> Option<&Key> {
        self.place(name).and_then(|place| self.list.get(place)).map(|(key, _)| key)
    }

    /// Adds a key that is not there yet.
    fn add(&mut self, key: Key, node: Node) {
        if self.list.len() == FEW_KEYS {
            self.places = self.list.iter().enumerate().map(|(place, (key, _))| (key.name.clone(), place)).collect();
        }
        if self.list.len() >= FEW_KEYS {
            self.places.insert(key.name.clone(), self.list.len());
        }
        self.list.push((key, node));
    }

    /// Adds a key, or gives it another value and place of writing.
    fn set(&mut self, key: Key, node: Node) {
        match self.place(&key.name).and_then(|place| self.list.get_mut(place)) {
            Some(entry) => *entry = (key, node),
            None => self.add(key, node),
        }
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
