//! What a plain scalar stands for: the rules of yaml.v2, which `sigs.k8s.io/yaml` carries on.
//!
//! The order matters: words, then integers of 64 bits in Go's notations (`0644` and `0o644` are octal, underscores
//! count for nothing), then decimal floats. What is none of these is a string; so are dates and base-60 numbers.

use super::ScalarKind;

/// The type of plain text without a tag.
pub(super) fn plain(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" | "n" | "N" | "no" | "No"
        | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => ScalarKind::Bool,
        _ if infinite_or_nan(text) => ScalarKind::Float,
        _ => match number(text) {
            Some(Number::Signed(_) | Number::Unsigned(_)) => ScalarKind::Int,
            Some(Number::Float(_)) => ScalarKind::Float,
            None => ScalarKind::String,
        },
    }
}

/// Whether the text of a truth value means true.
pub(super) fn is_true(text: &str) -> bool {
    matches!(text, "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON")
}

/// Whether the text is a float that JSON has no number for.
pub(super) fn infinite_or_nan(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// A number by its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

/// The finite number that a text stands for.
pub(super) fn number(text: &str) -> Option<Number> {
    match text.as_bytes().first()? {
        b'.' => finite(text).map(Number::Float),
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = text.replace('_', "");
            integer(&plain)
                .or_else(|| decimal_float(&plain).map(Number::Float))
                .or_else(|| signed_binary(&plain).map(Number::Signed))
        }
        _ => None,
    }
}

/// An integer in Go's notations: a prefix gives the base, and a mere leading zero means 8.
fn integer(text: &str) -> Option<Number> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'+' => ("", &text[1..]),
        b'-' => ("-", &text[1..]),
        _ => ("", text),
    };
    let (digits, base) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&unsigned[2..], 16),
        [b'0', b'o' | b'O', ..] => (&unsigned[2..], 8),
        [b'0', b'b' | b'B', ..] => (&unsigned[2..], 2),
        [b'0', _, ..] => (&unsigned[1..], 8),
        _ => (unsigned, 10),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    if let Ok(value) = i64::from_str_radix(&format!("{sign}{digits}"), base) {
        return Some(Number::Signed(value));
    }
    // Beyond 63 bits Go takes no sign, not even a plus.
    let value = u64::from_str_radix(digits, base).ok()?;
    (unsigned.len() == text.len()).then_some(Number::Unsigned(value))
}

/// `0b-101` is an integer for yaml.v2, and so for us.
fn signed_binary(text: &str) -> Option<i64> {
    text.strip_prefix("0b")
        .filter(|digits| digits.starts_with(['+', '-']))
        .and_then(|digits| i64::from_str_radix(digits, 2).ok())
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn decimal_float(text: &str) -> Option<f64> {
    let decimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if decimal { finite(text) } else { None }
}

/// A number beyond the range of a float64 is a string for Go.
fn finite(text: &str) -> Option<f64> {
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}
