//! Nodes to text that YAML 1.1 and 1.2 readers take for the same.

use std::fmt::Write as _;

use super::{Node, Scalar, ScalarKind, Style, Value, resolve};

/// One document as YAML, with a line break at its end and without a `---`.
///
/// Two spaces a level, list items at the column of their key, mappings in their order, strings of several lines as
/// `|` blocks, other strings quoted whenever some reader would take them for something else.
#[must_use]
pub fn to_string(node: &Node) -> String {
    let mut out = String::new();
    document(&mut out, node);
    out
}

/// Several documents as YAML, `---` between them.
pub fn to_string_all<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> String {
    let mut out = String::new();
    for (index, node) in nodes.into_iter().enumerate() {
        if index > 0 {
            out.push_str("---\n");
        }
        document(&mut out, node);
    }
    out
}

fn document(out: &mut String, node: &Node) {
    match &node.value {
        Value::Scalar(scalar) => {
            self::scalar(out, scalar, 2);
            out.push('\n');
        }
        Value::Sequence(items) if items.is_empty() => out.push_str("[]\n"),
        Value::Mapping(entries) if entries.is_empty() => out.push_str("{}\n"),
        _ => block(out, node, 0),
    }
}

/// A list or mapping that is not empty, whose first line is indented by the caller already when `indent` is.
fn block(out: &mut String, node: &Node, indent: usize) {
    let mut first = true;
    let mut begin = |out: &mut String| {
        if !std::mem::take(&mut first) {
            pad(out, indent);
        }
    };
    match &node.value {
        Value::Sequence(items) => {
            for item in items {
                begin(out);
                out.push('-');
                value(out, item, indent, Place::Item);
            }
        }
        Value::Mapping(entries) => {
            for (key, node) in entries {
                begin(out);
                let start = out.len();
                flow_string(out, &key.name, Style::Plain);
                // A reader looks for the colon in the same line, and no further than 1024 characters away.
                if out.len() - start > 512 {
                    out.insert_str(start, "? ");
                    out.push('\n');
                    pad(out, indent);
                }
                out.push(':');
                value(out, node, indent, Place::Entry);
            }
        }
        Value::Scalar(_) => {}
    }
}

/// What a value stands behind.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// `-`
    Item,
    /// `key:`
    Entry,
}

fn value(out: &mut String, node: &Node, indent: usize, place: Place) {
    match &node.value {
        Value::Scalar(scalar) => {
            out.push(' ');
            self::scalar(out, scalar, indent + 2);
            out.push('\n');
        }
        Value::Sequence(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Mapping(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::Sequence(_) | Value::Mapping(_) => {
            if place == Place::Item {
                out.push(' ');
                block(out, node, indent + 2);
                return;
            }
            let indent = if matches!(node.value, Value::Sequence(_)) { indent } else { indent + 2 };
            out.push('\n');
            pad(out, indent);
            block(out, node, indent);
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(out: &mut String, scalar: &Scalar, indent: usize) {
    let Scalar { text, kind, style } = scalar;
    match kind {
        ScalarKind::String if text.contains('\n') && literal_allowed(text) => literal(out, text, indent),
        ScalarKind::String => flow_string(out, text, *style),
        ScalarKind::Null if text.is_empty() => out.push_str("null"),
        ScalarKind::Null | ScalarKind::Bool | ScalarKind::Int | ScalarKind::Float => out.push_str(text),
    }
}

/// Whether a `|` block gives the text back without an indentation indicator, for every reader.
fn literal_allowed(text: &str) -> bool {
    let last = text.rsplit('\n').next().unwrap_or("");
    let blank_end = !last.is_empty() && last.trim_matches([' ', '\t']).is_empty();
    text.chars().all(|character| character == '\n' || printable(character))
        && !text.starts_with([' ', '\t', '\n'])
        && !blank_end
}

fn literal(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    let breaks = text.len() - body.len();
    out.push_str(match breaks {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
    out.extend(std::iter::repeat_n('\n', breaks.saturating_sub(1)));
}

/// A string on one line, in the style asked for when that says it right.
fn flow_string(out: &mut String, text: &str, style: Style) {
    let on_one_line = text.chars().all(printable);
    let quoted = |out: &mut String| {
        let _ = write!(out, "'{}'", text.replace('\'', "''"));
    };
    match style {
        _ if !on_one_line => double_quoted(out, text),
        Style::DoubleQuoted => double_quoted(out, text),
        Style::SingleQuoted => quoted(out),
        _ if another_type(text) => double_quoted(out, text),
        _ if plain_allowed(text) => out.push_str(text),
        _ => quoted(out),
    }
}

fn double_quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            character if printable(character) => out.push(character),
            character => {
                let code = u32::from(character);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push('"');
}

/// Whether a character stands for itself within a line. Tabs are told apart by the eye of no one, and the line
/// breaks of YAML 1.1 that are none in 1.2 divide the readers.
fn printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether some reader takes the plain text for something that is no string.
fn another_type(text: &str) -> bool {
    if resolve::plain(text) != ScalarKind::String || matches!(text, "=" | "<<") {
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
    let bytes = text.as_bytes();
    let digit = |place: usize| bytes.get(place).is_some_and(u8::is_ascii_digit);
    [0, 1, 2, 3, 5].into_iter().all(digit) && bytes[4] == b'-'
}

/// Whether the text can stand without quotes, as a value or a key.
fn plain_allowed(text: &str) -> bool {
    let mut characters = text.chars();
    let start = match characters.next() {
        None => false,
        Some('-') => {
            characters.next().is_some_and(|next| next.is_alphanumeric() || next == '-') && !text.starts_with("---")
        }
        Some(first) => !" ?:,[]{}#&*!|>'\"%@`".contains(first) && !text.starts_with("..."),
    };
    start && !text.contains(": ") && !text.contains(" #") && !text.ends_with([':', ' '])
}
