//! Nodes to text.
//!
//! One emitter for both forms. They part in what they quote, in the order of keys, in the spelling of an exponent and in
//! the folding of long lines; the rest is as Go's yaml.v2 prints: two spaces a level, list items at the column of their key, strings of several lines as
//! `|` blocks. It is not followed where what it prints reads as something else: the line breaks that only YAML 1.1 knows
//! are escaped, and `<<` as a key is quoted.

use std::cmp::Ordering;
use std::fmt::Write as _;

use super::resolve;
use super::{Dialect, Key, Node, Scalar, ScalarKind, Value, json};

/// One document as YAML that readers of YAML 1.1 and 1.2 take for the same, with a line break at its end and without a
/// `---`. Mappings keep their order; a string is quoted whenever some reader would take it for something else.
#[must_use]
pub fn to_string(node: &Node) -> String {
    to_string_all([node])
}

/// Several documents as [`to_string`] gives each, `---` between them.
pub fn to_string_all<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> String {
    documents(Form::Portable, nodes)
}

/// One document as kustomize prints it, to the byte: keys in natural order, a string quoted only when `sigs.k8s.io/yaml`
/// would not read it back as one.
#[must_use]
pub fn to_canonical(node: &Node) -> String {
    to_canonical_all([node])
}

/// Several documents as [`to_canonical`] gives each, `---` between them.
pub fn to_canonical_all<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> String {
    documents(Form::Canonical, nodes)
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Portable,
    Canonical,
}

/// Column from which on a line is folded at the next blank.
const WIDTH: usize = 80;

/// Bytes up to which a key stands on one line with its colon without a `?` before it.
const SIMPLE_KEY: usize = 128;

fn documents<'a>(form: Form, nodes: impl IntoIterator<Item = &'a Node>) -> String {
    let mut emitter = Emitter { form, out: String::new() };
    for (index, node) in nodes.into_iter().enumerate() {
        if index > 0 {
            emitter.out.push_str("---\n");
        }
        emitter.document(node);
    }
    emitter.out
}

struct Emitter {
    form: Form,
    out: String,
}

/// What a value stands behind.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// `-`, or a `:` on a line of its own: a block begins on the same line.
    Inline,
    /// `key:`
    Entry,
}

impl Emitter {
    fn document(&mut self, node: &Node) {
        match &node.value {
            // Readers do not agree on an indentation indicator at the root.
            Value::Scalar(scalar) if scalar.kind == ScalarKind::String && scalar.text.starts_with([' ', '\n']) => {
                self.flow_string(&scalar.text, Some(2));
                self.out.push('\n');
            }
            Value::Scalar(scalar) => {
                self.scalar(scalar, 2);
                self.out.push('\n');
            }
            Value::Sequence(items) if items.is_empty() => self.out.push_str("[]\n"),
            Value::Mapping(entries) if entries.is_empty() => self.out.push_str("{}\n"),
            _ => self.block(node, 0),
        }
    }

    /// A list or mapping that is not empty, whose first line is indented by the caller.
    fn block(&mut self, node: &Node, indent: usize) {
        match &node.value {
            Value::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.pad(indent);
                    }
                    self.out.push('-');
                    self.value(item, indent, Place::Inline);
                }
            }
            Value::Mapping(entries) if self.form == Form::Canonical && !entries.is_sorted_by(in_order) => {
                for (index, (key, node)) in sorted(entries).into_iter().enumerate() {
                    self.entry(index, key, node, indent);
                }
            }
            Value::Mapping(entries) => {
                for (index, (key, node)) in entries.iter().enumerate() {
                    self.entry(index, key, node, indent);
                }
            }
            Value::Scalar(_) => {}
        }
    }

    fn entry(&mut self, index: usize, key: &Key, node: &Node, indent: usize) {
        if index > 0 {
            self.pad(indent);
        }
        if key.name.len() <= SIMPLE_KEY && (is_simple(&key.name) || !key.name.contains(is_break)) {
            // Without quotes it would be read as a merge key, which Go's printer does not care about.
            if &*key.name == "<<" {
                self.double_quoted(&key.name, None)
            } else {
                self.flow_string(&key.name, None)
            }
            self.out.push(':');
            self.value(node, indent, Place::Entry);
            return;
        }
        self.out.push_str("? ");
        self.string(&key.name, indent + 2);
        self.out.push('\n');
        self.pad(indent);
        self.out.push(':');
        self.value(node, indent, Place::Inline);
    }

    fn value(&mut self, node: &Node, indent: usize, place: Place) {
        match &node.value {
            Value::Scalar(scalar) => {
                self.out.push(' ');
                self.scalar(scalar, indent + 2);
                self.out.push('\n');
            }
            Value::Sequence(items) if items.is_empty() => self.out.push_str(" []\n"),
            Value::Mapping(entries) if entries.is_empty() => self.out.push_str(" {}\n"),
            Value::Sequence(_) | Value::Mapping(_) if place == Place::Inline => {
                self.out.push(' ');
                self.block(node, indent + 2);
            }
            Value::Sequence(_) | Value::Mapping(_) => {
                let indent = if matches!(node.value, Value::Sequence(_)) { indent } else { indent + 2 };
                self.out.push('\n');
                self.pad(indent);
                self.block(node, indent);
            }
        }
    }

    fn pad(&mut self, indent: usize) {
        const BLANKS: &str = "                                ";
        match BLANKS.get(..indent) {
            Some(blanks) => self.out.push_str(blanks),
            None => self.out.extend(std::iter::repeat_n(' ', indent)),
        }
    }

    fn scalar(&mut self, scalar: &Scalar, indent: usize) {
        match scalar.kind {
            ScalarKind::String => self.string(&scalar.text, indent),
            ScalarKind::Timestamp => self.string(&scalar.timestamp(), indent),
            ScalarKind::Null => self.out.push_str("null"),
            ScalarKind::Bool => self.out.push_str(if resolve::is_true(&scalar.text) { "true" } else { "false" }),
            ScalarKind::Int | ScalarKind::Float => self.number(&scalar.text),
        }
    }

    fn number(&mut self, text: &str) {
        /// Digits that surely are those of an integer.
        const FEW_DIGITS: usize = 18;
        if text.len() <= FEW_DIGITS && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()) {
            self.out.push_str(text);
            return;
        }
        let written = match json::number(text) {
            None => text.to_owned(),
            Some(number) => match number.as_f64().filter(|_| number.is_f64()) {
                None => number.to_string(),
                Some(float) => json::format_float(float),
            },
        };
        match written.split_once('e') {
            // A float without a point is a string for some readers of YAML 1.1.
            Some((mantissa, exponent)) if self.form == Form::Portable && !mantissa.contains('.') => {
                let _ = write!(self.out, "{mantissa}.0e{exponent}");
            }
            _ => self.out.push_str(&written),
        }
    }

    fn string(&mut self, text: &str, indent: usize) {
        if text.contains('\n') && literal_allowed(text) {
            self.literal(text, indent);
        } else {
            self.flow_string(text, Some(indent));
        }
    }

    fn literal(&mut self, text: &str, indent: usize) {
        let body = text.trim_end_matches('\n');
        let breaks = text.len() - body.len();
        self.out.push('|');
        if text.starts_with([' ', '\n']) {
            self.out.push('2');
        }
        match breaks {
            0 => self.out.push('-'),
            1 if !body.is_empty() => {}
            _ => self.out.push('+'),
        }
        for line in body.split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.pad(indent);
                self.out.push_str(line);
            }
        }
        self.out.extend(std::iter::repeat_n('\n', breaks.saturating_sub(1)));
    }

    /// A string that is no block, its further lines at an indentation, if it may have any.
    fn flow_string(&mut self, text: &str, indent: Option<usize>) {
        if is_simple(text) && resolve::plain(Dialect::Kustomization, text) == ScalarKind::String {
            self.out.push_str(text);
            return;
        }
        let another_type = match self.form {
            Form::Portable => portable_type(text),
            Form::Canonical => canonical_type(text),
        };
        if another_type || text.contains(|character| !printable(character) || is_break(character)) {
            self.double_quoted(text, indent);
        } else if plain_allowed(text) {
            self.folded(text, indent, |_| false);
        } else {
            self.out.push('\'');
            self.folded(&text.replace('\'', "''"), indent, |rest| rest.len() == 1);
            self.out.push('\'');
        }
    }

    /// A text of one line, which goes on in another at a blank behind [`WIDTH`] that stands alone; not where it is said
    /// to `stay`, before the rest of the text that begins with the blank.
    fn folded(&mut self, text: &str, indent: Option<usize>, stay: impl Fn(&str) -> bool) {
        let Some(indent) = indent.filter(|_| self.form == Form::Canonical && text.contains(' ')) else {
            self.out.push_str(text);
            return;
        };
        let mut column = self.column();
        let mut after_blank = false;
        for (index, character) in text.char_indices() {
            let rest = &text[index..];
            if character == ' ' && column > WIDTH && index > 0 && !after_blank && !rest.starts_with("  ") && !stay(rest)
            {
                column = self.fold(indent);
            } else {
                self.out.push(character);
                column += 1;
            }
            after_blank = character == ' ';
        }
    }

    /// How many characters the line has so far.
    fn column(&self) -> usize {
        let line = self.out.rsplit('\n').next().unwrap_or("");
        line.chars().count()
    }

    fn fold(&mut self, indent: usize) -> usize {
        self.out.push('\n');
        self.pad(indent);
        indent
    }

    fn double_quoted(&mut self, text: &str, indent: Option<usize>) {
        let indent = indent.filter(|_| self.form == Form::Canonical && text.contains(' '));
        self.out.push('"');
        let mut column = if indent.is_some() { self.column() } else { 0 };
        let mut after_blank = false;
        for (index, character) in text.char_indices() {
            let rest = &text[index..];
            match indent {
                Some(indent) if character == ' ' && column > WIDTH && index > 0 && !after_blank && rest.len() > 1 => {
                    column = self.fold(indent);
                    if rest.starts_with("  ") {
                        self.out.push('\\');
                        column += 1;
                    }
                }
                _ => {
                    let start = self.out.len();
                    self.escaped(character);
                    column += self.out.get(start..).map_or(0, |written| written.chars().count());
                }
            }
            after_blank = character == ' ';
        }
        self.out.push('"');
    }

    fn escaped(&mut self, character: char) {
        if printable(character) && !is_break(character) && !matches!(character, '"' | '\\') {
            self.out.push(character);
            return;
        }
        self.out.push('\\');
        let code = u32::from(character);
        let _ = match character {
            '"' | '\\' => write!(self.out, "{character}"),
            '\0' => write!(self.out, "0"),
            '\u{7}' => write!(self.out, "a"),
            '\u{8}' => write!(self.out, "b"),
            '\t' => write!(self.out, "t"),
            '\n' => write!(self.out, "n"),
            '\u{b}' => write!(self.out, "v"),
            '\u{c}' => write!(self.out, "f"),
            '\r' => write!(self.out, "r"),
            '\u{1b}' => write!(self.out, "e"),
            '\u{85}' => write!(self.out, "N"),
            '\u{2028}' => write!(self.out, "L"),
            '\u{2029}' => write!(self.out, "P"),
            _ if code <= 0xff => write!(self.out, "x{code:02X}"),
            _ if code <= 0xffff => write!(self.out, "u{code:04X}"),
            _ => write!(self.out, "U{code:08X}"),
        };
    }
}

/// Whether the text begins with a letter and has letters, digits and `-_./` only. It is of one line and needs no quotes,
/// unless it is a word such as `true`: no number and no date begins so, and no indicator is among these characters.
fn is_simple(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/'))
}

/// Whether a character stands for itself in some place. yaml.v2 takes none beyond 16 bits.
fn printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && character != '\u{feff}'
}

/// Whether a character ends a line for a reader of YAML 1.1.
fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a `|` block gives the text back.
fn literal_allowed(text: &str) -> bool {
    let one_line = |character: char| printable(character) && !matches!(character, '\u{2028}' | '\u{2029}');
    text.chars().all(one_line) && !text.ends_with(' ') && !text.contains(" \n")
}

/// Whether the text can stand without quotes, as a value or a key, but for its type.
fn plain_allowed(text: &str) -> bool {
    let mut characters = text.chars();
    let start = match characters.next() {
        None => false,
        Some('-' | '?' | ':') => characters.next().is_some_and(|next| next != ' '),
        Some(first) => !" ,[]{}#&*!|>'\"%@`".contains(first),
    };
    start
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
}

/// Whether `sigs.k8s.io/yaml` takes the plain text for something that is no string, or prints it as if.
fn canonical_type(text: &str) -> bool {
    resolve::plain(Dialect::Kustomization, text) != ScalarKind::String
        || base_60(text)
        || resolve::timestamp(text).is_some()
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`
fn base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let Some((first, rest)) = unsigned.split_once(':') else { return false };
    let (parts, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let sixtieth = |part: &str| match part.as_bytes() {
        [digit] => digit.is_ascii_digit(),
        [ten, digit] => (b'0'..=b'5').contains(ten) && digit.is_ascii_digit(),
        _ => false,
    };
    first.starts_with(|first: char| first.is_ascii_digit())
        && digits(first)
        && digits(fraction)
        && parts.split(':').all(sixtieth)
}

/// Whether some reader takes the plain text for something that is no string.
fn portable_type(text: &str) -> bool {
    if canonical_type(text) || matches!(text, "=" | "<<") {
        return true;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '.' | '_')) {
        return false;
    }
    let only = |allowed: &str| text.chars().all(|character| character.is_ascii_digit() || allowed.contains(character));
    let base_60 = text.contains(':') && only("+-:._");
    let decimal = text.matches('.').count() < 2 && only("+-._eE");
    let radix = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(|digit| digit.is_ascii_hexdigit() || *digit == b'_'),
        [b'0', b'o' | b'O' | b'b' | b'B', digits @ ..] => {
            digits.iter().all(|digit| digit.is_ascii_digit() || *digit == b'_')
        }
        _ => false,
    };
    base_60 || decimal || radix || date(text)
}

/// Whether the text begins as a timestamp does: `2001-1`.
fn date(text: &str) -> bool {
    matches!(text.as_bytes(), [y1, y2, y3, y4, b'-', month, ..]
        if [y1, y2, y3, y4, month].into_iter().all(u8::is_ascii_digit))
}

type Entry = (Key, Node);

fn in_order(left: &Entry, right: &Entry) -> bool {
    natural_order(&left.0.name, &right.0.name) != Ordering::Greater
}

/// The entries in the natural order of their keys. That order has circles (`100`, `123`, `12a`), over which the sort of
/// the standard library may panic; this one gives some order, and always the same for the same keys.
fn sorted(entries: &[Entry]) -> Vec<&Entry> {
    let mut by_bytes: Vec<&Entry> = entries.iter().collect();
    by_bytes.sort_unstable_by(|left, right| left.0.name.cmp(&right.0.name));
    merge_sorted(by_bytes)
}

fn merge_sorted(mut entries: Vec<&Entry>) -> Vec<&Entry> {
    if entries.is_sorted_by(|left, right| in_order(left, right)) {
        return entries;
    }
    let count = entries.len();
    let right = entries.split_off(count / 2);
    let (mut left, mut right) =
        (merge_sorted(entries).into_iter().peekable(), merge_sorted(right).into_iter().peekable());
    let mut merged = Vec::with_capacity(count);
    while let (Some(first), Some(second)) = (left.peek(), right.peek()) {
        let next = if in_order(first, second) { left.next() } else { right.next() };
        merged.extend(next);
    }
    merged.extend(left.chain(right));
    merged
}

/// The order of keys in Go's yaml: runs of digits by their value, what is no letter before letters.
fn natural_order(left: &str, right: &str) -> Ordering {
    let mut same = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count();
    while !left.is_char_boundary(same) || !right.is_char_boundary(same) {
        same -= 1;
    }
    let ((before, left), (_, right)) = (left.split_at(same), right.split_at(same));
    let (Some(one), Some(other)) = (left.chars().next(), right.chars().next()) else {
        return left.len().cmp(&right.len());
    };
    match (one.is_alphabetic(), other.is_alphabetic()) {
        (true, true) => return one.cmp(&other),
        (false, true) => return Ordering::Less,
        (true, false) => return Ordering::Greater,
        (false, false) => {}
    }
    // A zero within a number counts for its place, at the start for nothing.
    let mut digits = before.bytes().rev().take_while(u8::is_ascii_digit);
    let within = (one == '0' || other == '0') && digits.any(|digit| digit != b'0');
    let run = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit);
        digits.fold((i64::from(within), 0_usize), |(value, count), digit| {
            (value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')), count + 1)
        })
    };
    run(left).cmp(&run(right)).then(one.cmp(&other))
}
