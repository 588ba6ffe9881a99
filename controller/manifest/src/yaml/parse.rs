//! Bytes to documents.
//!
//! A syntax error ends its document; reading goes on at the next `---`, so that one call tells of as many faults as
//! there are documents. Aliases are copied, within a budget that no honest file reaches.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::cursor::{Cursor, Mark, Style, SyntaxError};
use super::{Dialect, Document, Key, Node, Scalar, ScalarKind, Value, json, resolve};
use crate::{Diagnostic, Diagnostics, Location, Origin};

/// How deep lists and mappings may be nested; what is read here can be walked by recursion.
pub const MAX_DEPTH: usize = 100;

/// Bytes that aliases, and the anchors they name, may copy in one file.
const ALIAS_BUDGET: usize = 16 << 20;

/// Characters up to which a key may stand on one line with its colon without a `?` before it.
const MAX_KEY: usize = 1024;

/// The tags of YAML's own types: `!!int` and the like.
const CORE_TAG: &str = "tag:yaml.org,2002:";

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
    let mut reader = Reader {
        text,
        cursor: Cursor::new(text, Mark { position: 0, line: 0, line_start: 0 }),
        counted: Cell::new((0, 0)),
        dialect,
        file: &file,
        keys: HashSet::new(),
        anchors: HashMap::new(),
        handles: Vec::new(),
        budget: ALIAS_BUDGET,
        faults: &mut faults,
        documents: Vec::new(),
        document_line: 0,
    };
    while let Err(stop) = reader.stream() {
        let again = next_document(text, stop.line.max(reader.document_line + 1));
        reader.faults.push(stop.fault);
        let Some(mark) = again.filter(|_| reader.faults.len() < MAX_FAULTS) else { break };
        reader.cursor = Cursor::new(text, mark);
    }
    let documents = reader.documents;
    Diagnostics::check(faults, documents)
}

/// The lines that kustomize takes for the end of a document and refuses: `---`, and then what is no comment.
fn separator_faults(file: &Arc<str>, text: &str) -> Vec<Diagnostic> {
    let separators = memchr::memmem::find_iter(text.as_bytes(), "\n---");
    let separators = separators.map(|index| (index + 1, text.get(index + 4..).unwrap_or("")));
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
    // Most files are of characters that are allowed at sight.
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t' | b'\r');
    let Some(first) = bytes.iter().position(|byte| !plain(byte)) else { return Ok(text) };
    let mut rest = text.get(first..).unwrap_or("").char_indices().map(|(index, character)| (first + index, character));
    match rest.find(|(_, character)| !allowed(*character)) {
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

/// Where the first line from `from` on lies that begins a document. Lines count from 0.
fn next_document(text: &str, from: usize) -> Option<Mark> {
    let mut start = 0;
    for (line, content) in text.split_inclusive('\n').enumerate() {
        let begins = content
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if line >= from && begins {
            return Some(Mark { position: start, line, line_start: start });
        }
        start += content.len();
    }
    None
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Why reading of a document ended.
struct Stop {
    fault: Diagnostic,
    /// Line, from 0.
    line: usize,
}

type Step<T> = Result<T, Stop>;

/// What an anchor names.
struct Anchored {
    node: Node,
    weight: usize,
}

/// What may stand before a value: `&anchor` and `!tag`.
#[derive(Default)]
struct Properties {
    anchor: Option<String>,
    tag: Option<String>,
}

/// What one line can hold of a value, before it is known whether it is a key.
enum Content<'a> {
    Scalar(Cow<'a, str>, Style),
    Collection(Value),
    Alias(Node),
}

impl Content<'_> {
    /// Nothing, which stands for null.
    const EMPTY: Self = Self::Scalar(Cow::Borrowed(""), Style::Plain);
}

struct Reader<'a, 'f> {
    text: &'a str,
    cursor: Cursor<'a>,
    /// The last position whose column was counted, and that column, in characters; so that long lines are counted once.
    counted: Cell<(usize, usize)>,
    dialect: Dialect,
    file: &'f Arc<str>,
    /// The names of keys, each held once.
    keys: HashSet<Arc<str>>,
    anchors: HashMap<String, Anchored>,
    /// What the handles of tags stand for, by the directives of the document.
    handles: Vec<(&'a str, &'a str)>,
    budget: usize,
    faults: &'f mut Vec<Diagnostic>,
    documents: Vec<Document>,
    /// Line at which the document begins, from 0.
    document_line: usize,
}

impl<'a> Reader<'a, '_> {
    fn stream(&mut self) -> Step<()> {
        let mut ended = false;
        loop {
            self.cursor.skip();
            while self.cursor.at_document_mark(b"...") {
                self.cursor.advance(3);
                self.cursor.skip();
                ended = true;
            }
            self.document_line = self.cursor.mark().line;
            self.anchors.clear();
            let directives = self.directives()?;
            if self.cursor.at_document_mark(b"---") {
                self.cursor.advance(3);
                self.cursor.key_allowed = false;
            } else if directives {
                return self.stop("a document whose directives (%) are given begins with ---");
            } else if self.cursor.byte(0) == 0 {
                return Ok(());
            } else if ended {
                return self
                    .stop("what follows the end of a document (...) is passed over by kustomize: begin it with ---");
            }
            let node = self.block_node(-1, false, 0)?;
            if !node.is_null() {
                let line = node.at.as_ref().map_or(1, |at| at.line);
                let document = self.documents.last().map_or(0, |last| last.origin.document + 1);
                self.documents.push(Document { node, origin: Origin { file: self.file.clone(), line, document } });
            }
            self.cursor.skip();
            if !self.cursor.at_end() {
                return self.stop("the document ends before this: check the indentation");
            }
            ended = false;
        }
    }

    /// Reads the lines that begin with `%`; whether there are any.
    fn directives(&mut self) -> Step<bool> {
        self.handles.clear();
        let mut any = false;
        while self.cursor.column() == 0 && self.cursor.byte(0) == b'%' {
            any = true;
            match self.cursor.directive().as_slice() {
                ["YAML", version] if version.starts_with("1.") => {}
                ["TAG", handle, prefix] if handle.starts_with('!') => self.handles.push((handle, prefix)),
                _ => return self.stop("the directive (%) is not known: quote the text, or write %YAML 1.1"),
            }
            self.cursor.skip();
        }
        Ok(any)
    }

    fn stop<T>(&self, message: &str) -> Step<T> {
        Err(self.stop_at(self.cursor.mark(), format!("YAML syntax: {message}")))
    }

    fn stop_at(&self, mark: Mark, message: impl Into<String>) -> Stop {
        Stop { fault: Diagnostic::at(self.location(mark), message), line: mark.line }
    }

    fn syntax<T>(&self, read: Result<T, SyntaxError>) -> Step<T> {
        read.map_err(|error| self.stop_at(error.at, format!("YAML syntax: {}", error.message)))
    }

    fn location(&self, mark: Mark) -> Location {
        let (position, characters) = self.counted.get();
        let (position, characters) = if (mark.line_start..=mark.position).contains(&position) {
            (position, characters)
        } else {
            (mark.line_start, 0)
        };
        let column = characters + self.text.get(position..mark.position).map_or(0, |text| text.chars().count());
        self.counted.set((mark.position, column));
        Location { file: self.file.clone(), line: narrow(mark.line + 1), column: narrow(column + 1) }
    }

    fn fault(&mut self, at: Location, message: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Diagnostic::at(at, message));
        }
    }

    /// A value within a block collection at the column `indent`; what is not indented more is none of it, but for the
    /// entries of a list where they may stand at the column of the key (`indentless`).
    fn block_node(&mut self, indent: isize, indentless: bool, depth: usize) -> Step<Node> {
        let before = self.cursor.mark().before();
        self.cursor.skip();
        let start = self.cursor.mark();
        let mut properties = Properties::default();
        loop {
            let here = self.cursor.mark();
            let column = isize::try_from(here.column()).unwrap_or(isize::MAX);
            let entry = self.cursor.byte(0) == b'-' && self.cursor.ends(1);
            if self.cursor.at_end() || column <= indent && !(entry && indentless && column == indent) {
                let at = self.location(if properties.is_empty() { before } else { start });
                return self.finish(properties, Content::EMPTY, at);
            }
            let key_allowed = self.cursor.key_allowed;
            match self.cursor.byte(0) {
                b'-' | b'?' | b':' if self.cursor.ends(1) => {
                    if !key_allowed {
                        return self.stop("a list or mapping cannot begin here: begin it on a line of its own");
                    }
                    let value = if entry {
                        Value::Sequence(self.block_sequence(column, column == indent, depth)?)
                    } else {
                        Value::Mapping(self.block_mapping(here.column(), None, depth)?)
                    };
                    return self.finish(properties, Content::Collection(value), self.location(start));
                }
                b'&' | b'!' => {
                    let own = self.properties(Some(here.line))?;
                    if self.cursor.mark().line == here.line && !self.cursor.at_end() {
                        return self.content_or_mapping(properties, own, start, here, key_allowed, indent, depth);
                    }
                    self.join(&mut properties, own)?;
                }
                _ => {
                    let own = Properties::default();
                    return self.content_or_mapping(properties, own, start, here, key_allowed, indent, depth);
                }
            }
        }
    }

    /// A value that begins on this line with its `own` properties, or the mapping whose first key it is, and to which
    /// the properties of the lines before it belong.
    #[allow(clippy::too_many_arguments)]
    fn content_or_mapping(
        &mut self,
        mut properties: Properties,
        own: Properties,
        start: Mark,
        here: Mark,
        key_allowed: bool,
        indent: isize,
        depth: usize,
    ) -> Step<Node> {
        let content = self.content(indent, &own, depth)?;
        if self.at_value(here) {
            if !key_allowed {
                return self
                    .stop("a mapping cannot begin here: put the value in quotes, or the mapping on a line of its own");
            }
            let entries = self.block_mapping(here.column(), Some((own, content, here)), depth)?;
            return self.finish(properties, Content::Collection(Value::Mapping(entries)), self.location(start));
        }
        self.join(&mut properties, own)?;
        self.finish(properties, content, self.location(start))
    }

    /// Whether the `:` of a key that began on this line is next.
    fn at_value(&mut self, key: Mark) -> bool {
        let mark = self.cursor.mark();
        if mark.line != key.line {
            return false;
        }
        self.cursor.skip_blanks();
        let written = self.text.get(key.position..mark.position).unwrap_or("");
        let short = written.len() <= MAX_KEY || written.chars().count() <= MAX_KEY;
        short && self.cursor.byte(0) == b':' && (self.cursor.flow > 0 || self.cursor.ends(1))
    }

    /// What follows the properties of a value: a scalar, an alias, or a collection in brackets or braces.
    fn content(&mut self, indent: isize, properties: &Properties, depth: usize) -> Step<Content<'a>> {
        let here = self.cursor.mark();
        Ok(match self.cursor.byte(0) {
            b'*' if !properties.is_empty() => return self.stop("an alias has neither anchor nor tag"),
            b'*' => {
                let name = self.cursor.anchor();
                let name = self.syntax(name)?;
                self.cursor.key_allowed = false;
                Content::Alias(self.alias(name, here)?)
            }
            b'[' | b'{' => Content::Collection(self.flow_collection(depth)?),
            b'"' | b'\'' => {
                let text = self.cursor.quoted();
                Content::Scalar(self.syntax(text)?, Style::Quoted)
            }
            byte @ (b'|' | b'>') if self.cursor.flow == 0 => {
                let block = self.cursor.block(indent);
                let style = if byte == b'|' { Style::Literal } else { Style::Folded };
                Content::Scalar(Cow::Owned(self.syntax(block)?), style)
            }
            _ if self.cursor.at_plain() => {
                let text = self.cursor.plain(indent);
                Content::Scalar(self.syntax(text)?, Style::Plain)
            }
            b':' | b',' | b']' | b'}' if !properties.is_empty() => Content::EMPTY,
            b'\t' => return self.stop("a tab indents the line: use blanks"),
            b',' | b']' | b'}' | b':' => return self.stop("a value is missing before this"),
            _ => return self.stop("no value begins like this: put it in quotes"),
        })
    }

    /// Anchor and tag, in either order; only those of one line, where that is given.
    fn properties(&mut self, line: Option<usize>) -> Step<Properties> {
        let mut properties = Properties::default();
        while line.is_none_or(|line| self.cursor.mark().line == line) {
            match self.cursor.byte(0) {
                b'&' => {
                    if properties.anchor.is_some() {
                        return self.stop("a value has one anchor");
                    }
                    let name = self.cursor.anchor();
                    properties.anchor = Some(self.syntax(name)?.to_owned());
                }
                b'!' => {
                    if properties.tag.is_some() {
                        return self.stop("a value has one tag");
                    }
                    properties.tag = Some(self.tag()?);
                }
                _ => break,
            }
            self.cursor.key_allowed = false;
            self.cursor.skip();
        }
        Ok(properties)
    }

    fn tag(&mut self) -> Step<String> {
        let here = self.cursor.mark();
        let tag = self.cursor.tag();
        let (handle, rest) = self.syntax(tag)?;
        let prefix = self.handles.iter().find(|(known, _)| *known == handle).map(|(_, prefix)| *prefix);
        Ok(match (handle, prefix) {
            ("", _) => rest,
            ("!", _) if rest.is_empty() => "!".to_owned(),
            (_, Some(prefix)) => format!("{prefix}{rest}"),
            ("!!", None) => format!("{CORE_TAG}{rest}"),
            ("!", None) => format!("!{rest}"),
            _ => {
                return Err(
                    self.stop_at(here, format!("YAML syntax: no %TAG directive tells what {handle} stands for"))
                );
            }
        })
    }

    fn join(&self, properties: &mut Properties, own: Properties) -> Step<()> {
        if properties.anchor.is_some() && own.anchor.is_some() || properties.tag.is_some() && own.tag.is_some() {
            return self.stop("the value before this has one anchor and one tag");
        }
        properties.anchor = properties.anchor.take().or(own.anchor);
        properties.tag = properties.tag.take().or(own.tag);
        Ok(())
    }

    /// The node of a content, known under its anchor from here on.
    fn finish(&mut self, properties: Properties, content: Content<'a>, at: Location) -> Step<Node> {
        let value = match content {
            Content::Alias(node) => return Ok(node),
            Content::Collection(value) => value,
            Content::Scalar(text, style) => {
                Value::Scalar(self.scalar(text.into_owned(), style, properties.tag.as_deref(), &at))
            }
        };
        let node = Node { value, at: Some(at) };
        if let Some(anchor) = properties.anchor {
            let weight = weight(&node);
            self.spend(weight, node.at.clone())?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), weight });
        }
        Ok(node)
    }

    fn deeper(&self, depth: usize) -> Step<usize> {
        if depth >= MAX_DEPTH {
            return Err(self.stop_at(self.cursor.mark(), format!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(depth + 1)
    }

    fn block_sequence(&mut self, column: isize, indentless: bool, depth: usize) -> Step<Vec<Node>> {
        let depth = self.deeper(depth)?;
        let mut items = Vec::new();
        loop {
            self.cursor.advance(1);
            self.cursor.key_allowed = true;
            items.push(self.block_node(column, false, depth)?);
            self.cursor.skip();
            let here = isize::try_from(self.cursor.column()).unwrap_or(isize::MAX);
            if self.cursor.at_end() || here < column {
                return Ok(items);
            }
            if here == column && self.cursor.byte(0) == b'-' && self.cursor.ends(1) {
                continue;
            }
            if here == column && indentless {
                return Ok(items);
            }
            return self.stop("this is no entry of the list before it: check the indentation");
        }
    }

    /// A mapping whose keys stand at a column; of its first key, what is read already.
    fn block_mapping(
        &mut self,
        column: usize,
        mut first: Option<(Properties, Content<'a>, Mark)>,
        depth: usize,
    ) -> Step<Vec<(Key, Node)>> {
        let depth = self.deeper(depth)?;
        let indent = isize::try_from(column).unwrap_or(isize::MAX);
        let mut mapping = Mapping::default();
        loop {
            let here = self.cursor.mark();
            let indicator = first.is_none() && self.cursor.ends(1);
            let explicit = indicator && self.cursor.byte(0) == b'?';
            let key = match self.cursor.byte(0) {
                b'?' if explicit => {
                    self.cursor.advance(1);
                    self.cursor.key_allowed = true;
                    let key = self.block_node(indent, true, depth)?;
                    self.cursor.skip();
                    self.complex_key(&key)
                }
                b':' if indicator => {
                    let key = self.finish(Properties::default(), Content::EMPTY, self.location(here))?;
                    self.complex_key(&key)
                }
                _ => {
                    let (properties, content, here) = match first.take() {
                        Some(first) => first,
                        None => {
                            let properties = self.properties(Some(here.line))?;
                            let content = self.content(indent, &properties, depth)?;
                            if !self.at_value(here) {
                                return Err(self.stop_at(here, "YAML syntax: this is no key of the mapping: it has no ':' after it, or is not indented"));
                            }
                            (properties, content, here)
                        }
                    };
                    self.key(properties, content, self.location(here))?
                }
            };
            // A key behind a `?` may have no value; one that has stands at the column of the `?`.
            let value = if self.cursor.byte(0) == b':' && self.cursor.ends(1) {
                if explicit && !(self.cursor.key_allowed && self.cursor.column() == column) {
                    return self.stop("the ':' of a key that begins with '?' stands below the '?'");
                }
                self.cursor.advance(1);
                self.block_node(indent, true, depth)?
            } else {
                let here = self.cursor.mark();
                self.finish(Properties::default(), Content::EMPTY, self.location(here))?
            };
            self.insert(&mut mapping, key, value);
            self.cursor.skip();
            if self.cursor.at_end() || self.cursor.column() < column {
                return Ok(self.merged(mapping));
            }
            if self.cursor.column() > column {
                return self
                    .stop("this is indented more than the keys of its mapping: check the indentation and the quotes");
            }
        }
    }

    /// A list or mapping that begins with this bracket or brace.
    fn flow_collection(&mut self, depth: usize) -> Step<Value> {
        let depth = self.deeper(depth)?;
        let start = self.cursor.mark();
        let close = if self.cursor.byte(0) == b'[' { b']' } else { b'}' };
        self.cursor.advance(1);
        self.cursor.flow += 1;
        let mut items = Vec::new();
        let mut mapping = Mapping::default();
        let mut first = true;
        loop {
            self.cursor.skip();
            if self.cursor.at_end() {
                let message = format!("YAML syntax: the {} is not closed", if close == b']' { '[' } else { '{' });
                return Err(self.stop_at(start, message));
            }
            if !first && self.cursor.byte(0) == b',' {
                self.cursor.advance(1);
                self.cursor.skip();
                first = true;
            }
            if self.cursor.byte(0) == close {
                break;
            }
            if !std::mem::take(&mut first) {
                return self.stop("a comma is missing before this, or a closing bracket");
            }
            let here = self.cursor.mark();
            if self.cursor.at_end() {
                continue;
            }
            // Before what it holds, so that the columns of a long line are counted forward.
            let at = self.location(here);
            let explicit = self.cursor.byte(0) == b'?';
            if explicit {
                self.cursor.advance(1);
                self.cursor.skip();
            }
            let empty = explicit && (matches!(self.cursor.byte(0), b':' | b',') || self.cursor.byte(0) == close);
            let properties = if empty { Properties::default() } else { self.properties(None)? };
            let content = match empty {
                true => Content::EMPTY,
                false => self.content(-1, &properties, depth)?,
            };
            if explicit {
                self.cursor.skip();
            }
            let pair = if explicit { self.cursor.byte(0) == b':' } else { self.at_value(here) };
            if close == b']' && !pair && !explicit {
                items.push(self.finish(properties, content, at)?);
                continue;
            }
            let key = self.key(properties, content, at.clone())?;
            let value = if pair {
                self.cursor.advance(1);
                self.cursor.skip();
                self.flow_value(close, depth)?
            } else {
                let here = self.cursor.mark();
                self.finish(Properties::default(), Content::EMPTY, self.location(here))?
            };
            if close == b']' {
                let mut pair = Mapping::default();
                self.insert(&mut pair, key, value);
                let entries = self.merged(pair);
                items.push(Node { value: Value::Mapping(entries), at: Some(at) });
            } else {
                self.insert(&mut mapping, key, value);
            }
        }
        self.cursor.advance(1);
        self.cursor.flow -= 1;
        self.cursor.key_allowed = false;
        Ok(if close == b']' { Value::Sequence(items) } else { Value::Mapping(self.merged(mapping)) })
    }

    fn flow_value(&mut self, close: u8, depth: usize) -> Step<Node> {
        let at = self.location(self.cursor.mark());
        if self.cursor.byte(0) == b',' || self.cursor.byte(0) == close {
            return self.finish(Properties::default(), Content::EMPTY, at);
        }
        let properties = self.properties(None)?;
        let content = self.content(-1, &properties, depth)?;
        self.finish(properties, content, at)
    }

    fn alias(&mut self, anchor: &str, mark: Mark) -> Result<Node, Stop> {
        // An alias inside of what it names, or of another document, finds nothing.
        let Some((node, weight)) = self.anchors.get(anchor).map(|anchored| (&anchored.node, anchored.weight)) else {
            return Err(self.stop_at(mark, "the alias names no anchor that comes before it in this document"));
        };
        let node = node.clone();
        self.spend(weight, Some(self.location(mark)))?;
        Ok(node)
    }

    fn spend(&mut self, weight: usize, at: Option<Location>) -> Step<()> {
        match self.budget.checked_sub(weight) {
            Some(rest) => {
                self.budget = rest;
                Ok(())
            }
            None => {
                let message = "the aliases of this file multiply to more than 16 MiB; write less with aliases";
                Err(Stop { fault: Diagnostic { at, message: message.to_owned() }, line: self.cursor.mark().line })
            }
        }
    }

    /// Adds an entry by the rules of the dialect; without a key, it is a fault that was told.
    fn insert(&mut self, mapping: &mut Mapping, key: Option<MappingKey>, value: Node) {
        let Some(MappingKey { key, merge }) = key else { return };
        match self.dialect {
            Dialect::Kustomization if merge => {
                for (key, node) in self.sources(value).into_iter().rev().flatten() {
                    mapping.set(key, node);
                }
            }
            Dialect::Kustomization => mapping.set(key, value),
            Dialect::Resource => {
                let first = match &mapping.merged {
                    Some((_, first, _)) if merge => Some(*first),
                    _ => mapping.find(&key.name).and_then(|key| key.at.as_ref()).map(|at| at.line),
                };
                let line = key.at.as_ref().map_or(0, |at| at.line);
                match (first, key.at) {
                    (Some(first), Some(at)) => {
                        let message = format!("key {:?} is there twice; it is first set on line {first}", key.name);
                        self.fault(at, message);
                    }
                    (_, _) if merge => mapping.merged = Some((mapping.list.len(), line, value)),
                    (_, at) => mapping.add(Key { name: key.name, at }, value),
                }
            }
        }
    }

    /// The entries of a mapping, those of its merge key among them: what the mapping says itself counts, and then of the
    /// sources the first.
    fn merged(&mut self, mut mapping: Mapping) -> Vec<(Key, Node)> {
        let Some((place, _, value)) = mapping.merged.take() else { return mapping.list };
        let written = mapping.list.len();
        for (key, node) in self.sources(value).into_iter().flatten() {
            if mapping.find(&key.name).is_none() {
                mapping.add(key, node);
            }
        }
        let mut entries = mapping.list;
        let brought = entries.len() - written;
        if let Some(moved) = entries.get_mut(place..) {
            moved.rotate_right(brought);
        }
        entries
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

    /// A key as a string, when it can be one.
    fn key(&mut self, properties: Properties, content: Content<'a>, at: Location) -> Step<Option<MappingKey>> {
        let merge = properties.tag.is_none() && matches!(&content, Content::Scalar(text, Style::Plain) if text == "<<");
        match &content {
            Content::Scalar(text, style)
                if properties.is_empty()
                    && (*style != Style::Plain || resolve::plain(self.dialect, text) == ScalarKind::String) =>
            {
                let key = Key { name: self.intern(text), at: Some(at) };
                Ok(Some(MappingKey { key, merge }))
            }
            _ => {
                let node = self.finish(properties, content, at)?;
                Ok(self.complex_key(&node).map(|key| MappingKey { merge, ..key }))
            }
        }
    }

    fn complex_key(&mut self, node: &Node) -> Option<MappingKey> {
        let name = match &node.value {
            Value::Scalar(scalar) if scalar.kind == ScalarKind::String => self.intern(&scalar.text),
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null && self.dialect == Dialect::Kustomization => {
                self.intern(&json::key(scalar))
            }
            value => {
                let quote = match value {
                    Value::Scalar(_) => "when it is meant as text",
                    _ => "when it is a template such as \"{{ .name }}\"",
                };
                let message = format!("a key has to be a string, and is {}: quote it {quote}", node.type_name());
                self.faults.push(node.fault(message));
                return None;
            }
        };
        Some(MappingKey { key: Key { name, at: node.at.clone() }, merge: false })
    }

    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.keys.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.keys.insert(name.clone());
        name
    }

    fn scalar(&mut self, mut text: String, style: Style, tag: Option<&str>, at: &Location) -> Scalar {
        let resource = self.dialect == Dialect::Resource;
        let kind = match tag {
            // yaml.v3 takes a mere `!` for no tag at all.
            Some(tag) if !resource || tag != "!" => self.tagged(tag, &mut text, at),
            _ if style != Style::Plain => ScalarKind::String,
            // Kustomize prints what it has read before it reads it again, and prints nothing within braces as ''.
            _ if text.is_empty() && self.cursor.flow > 0 && resource => ScalarKind::String,
            _ => match resolve::plain(self.dialect, &text) {
                // For the same reason a time within brackets stays what it is: it is printed with quotes.
                ScalarKind::Timestamp if text.contains(':') && self.cursor.flow > 0 => ScalarKind::String,
                kind => kind,
            },
        };
        if resource && style == Style::Folded {
            text = folded_again(text);
        }
        if kind == ScalarKind::Float && resolve::number(&text).is_none() {
            self.fault(at.clone(), json::NO_JSON_NUMBER);
        }
        Scalar { text, kind }
    }

    /// The kind that a tag gives a text; the text of `!!binary` is decoded.
    fn tagged(&mut self, tag: &str, text: &mut String, at: &Location) -> ScalarKind {
        // What has a tag that nobody here knows is text.
        let Some(name) = tag.strip_prefix(CORE_TAG) else { return ScalarKind::String };
        let kind = match name {
            "null" => ScalarKind::Null,
            "bool" => ScalarKind::Bool,
            "int" => ScalarKind::Int,
            "float" => ScalarKind::Float,
            "timestamp" if self.dialect == Dialect::Resource => ScalarKind::Timestamp,
            "binary" => {
                let bytes = BASE64_STANDARD.decode(text.replace(['\n', '\r'], ""));
                match bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
                    Some(decoded) => *text = decoded,
                    None => self.fault(at.clone(), "the value is tagged !!binary but is no base64 of a text"),
                }
                ScalarKind::String
            }
            _ => ScalarKind::String,
        };
        resolve::as_kind(self.dialect, kind, text).unwrap_or_else(|| {
            self.fault(at.clone(), format!("the value is tagged !!{name} but is none"));
            ScalarKind::String
        })
    }
}

impl Properties {
    fn is_empty(&self) -> bool {
        self.anchor.is_none() && self.tag.is_none()
    }
}

/// A key, and whether it is the merge key: `<<` without quotes.
struct MappingKey {
    key: Key,
    merge: bool,
}

/// What yaml.v3 reads of the folded text that it prints for a text: one line break more before a line that begins with a
/// blank and at an end of several, or fewer in a text that begins with a blank. That is what kustomize makes of a `>`
/// block.
fn folded_again(text: String) -> String {
    let blank = |character: char| matches!(character, ' ' | '\t');
    let body = text.trim_end_matches('\n');
    let end = text.len() - body.len();
    let block = text.chars().all(|character| matches!(character, '\n' | '\t' | ' '..='~' | '\u{a0}'..));
    if body.is_empty() || !(body.contains('\n') || end > 1) || !block || text.ends_with(' ') || text.contains(" \n") {
        return text;
    }
    let doubles = !text.trim_start_matches('\n').starts_with(blank);
    let doubled = |line: &str| doubles && !line.is_empty() && !line.starts_with(blank);
    let mut printed = String::from(if text.starts_with([' ', '\n']) { ">2-\n" } else { ">-\n" });
    let mut last = "";
    for (index, line) in body.split('\n').enumerate() {
        if index > 0 {
            printed.push_str(if doubled(last) { "\n\n" } else { "\n" });
        }
        if !line.is_empty() {
            printed.push_str("  ");
            printed.push_str(line);
        }
        last = line;
    }
    printed.push('\n');
    let Ok(mut read) = Cursor::new(&printed, Mark { position: 0, line: 0, line_start: 0 }).block(0) else {
        return text;
    };
    read.extend(std::iter::repeat_n('\n', if end > 1 && doubled(last) { end + 1 } else { end }));
    read
}

/// The entries of a mapping under way.
#[derive(Default)]
struct Mapping {
    list: Vec<(Key, Node)>,
    /// What the merge key names, where that key stands among the others, and its line.
    merged: Option<(usize, u32, Node)>,
    /// Where each key stands, once there are more than a few.
    places: HashMap<Arc<str>, usize>,
}

impl Mapping {
    /// Where a key stands, by its name as it is held once for the file.
    fn place(&self, name: &Arc<str>) -> Option<usize> {
        if self.list.len() > FEW_KEYS {
            return self.places.get(name).copied();
        }
        self.list.iter().position(|(key, _)| Arc::ptr_eq(&key.name, name))
    }

    fn find(&self, name: &Arc<str>) -> Option<&Key> {
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
