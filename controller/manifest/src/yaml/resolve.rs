//! What a plain scalar stands for: the rules of Go's yaml.v3 (resources) and yaml.v2 (kustomizations).
//!
//! The order matters: words, then timestamps, then integers of 64 bits in Go's notations (`0644` and `0o644` are octal,
//! underscores count for nothing), then decimal floats. What is none of these is a string; so are base-60 numbers.

use std::borrow::Cow;

use super::{Dialect, ScalarKind};

/// The type of plain text without a tag.
pub(super) fn plain(dialect: Dialect, text: &str) -> ScalarKind {
    let Some(first) = text.bytes().next() else { return ScalarKind::Null };
    match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' => {
            if dialect == Dialect::Resource && timestamp(text).is_some() {
                return ScalarKind::Timestamp;
            }
            match number(text) {
                Some(Number::Signed(_) | Number::Unsigned(_)) => ScalarKind::Int,
                Some(Number::Float(_)) => ScalarKind::Float,
                None if infinite_or_nan(text) => ScalarKind::Float,
                None => ScalarKind::String,
            }
        }
        b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'y' | b'Y' | b'o' | b'O' => match text {
            "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => ScalarKind::Bool,
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off"
            | "OFF"
                if dialect == Dialect::Kustomization =>
            {
                ScalarKind::Bool
            }
            _ => ScalarKind::String,
        },
        _ => ScalarKind::String,
    }
}

/// The type that a text has when it is said to be of a kind, which [`plain`] text has to agree with; text is any.
pub(super) fn as_kind(dialect: Dialect, kind: ScalarKind, text: &str) -> Option<ScalarKind> {
    match (kind, plain(dialect, text)) {
        (ScalarKind::String, _) => Some(kind),
        (ScalarKind::Float, ScalarKind::Int) => Some(kind),
        (kind, plain) => (kind == plain).then_some(kind),
    }
}

/// Whether the text of a truth value means true.
pub(super) fn is_true(text: &str) -> bool {
    matches!(text, "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON")
}

/// Whether the text is a float that JSON has no number for.
fn infinite_or_nan(text: &str) -> bool {
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
        b'.' => between_digits(text).then(|| finite(&without_underscores(text))).flatten().map(Number::Float),
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = without_underscores(text);
            integer(&plain)
                .or_else(|| decimal_float(&plain).map(Number::Float))
                .or_else(|| signed_binary(&plain).map(Number::Signed))
        }
        _ => None,
    }
}

fn without_underscores(text: &str) -> Cow<'_, str> {
    if text.contains('_') { Cow::Owned(text.replace('_', "")) } else { Cow::Borrowed(text) }
}

/// Whether underscores stand between digits only: after a leading dot Go is stricter about them.
fn between_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    bytes.iter().enumerate().all(|(index, byte)| *byte != b'_' || (index > 0 && digit(index - 1) && digit(index + 1)))
}

/// An integer in Go's notations: a prefix gives the base, and a mere leading zero means 8.
fn integer(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
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
    let magnitude = u64::from_str_radix(digits, base).ok()?;
    if text.starts_with('-') {
        return 0_i64.checked_sub_unsigned(magnitude).map(Number::Signed);
    }
    match i64::try_from(magnitude) {
        Ok(value) => Some(Number::Signed(value)),
        // Beyond 63 bits Go takes no sign, not even a plus.
        Err(_) => (unsigned.len() == text.len()).then_some(Number::Unsigned(magnitude)),
    }
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

/// The RFC 3339 form of a timestamp: a date, a date and a time with a zone behind a `T`, or without one behind a blank.
///
/// Go's layouts, and so their liberties: one digit will do for all but the year, a comma for the point.
pub(super) fn timestamp(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if bytes.get(4) != Some(&b'-') {
        return None;
    }
    let (year, rest) = (decimal(bytes.get(..4)?)?, &bytes[5..]);
    let (month, rest) = one_or_two_digits(rest)?;
    let (day, rest) = one_or_two_digits(rest.strip_prefix(b"-")?)?;
    if !(1..=12).contains(&month) || !(1..=days(year, month)).contains(&day) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some((separator, rest)) = rest.split_first() else { return Some(format!("{date}T00:00:00Z")) };
    let (hour, rest) = one_or_two_digits(rest)?;
    let (minute, rest) = one_or_two_digits(rest.strip_prefix(b":")?)?;
    let (second, rest) = one_or_two_digits(rest.strip_prefix(b":")?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, rest) = fraction(rest);
    let zone = match (separator, rest) {
        (b' ', b"") | (b'T' | b't', b"Z") => "Z".to_owned(),
        (b'T' | b't', rest) => zone(rest)?,
        _ => return None,
    };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}"))
}

fn decimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0')))
}

fn one_or_two_digits(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let count = bytes.iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(count);
    if digits.is_empty() { None } else { Some((decimal(digits)?, rest)) }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The fraction of a second as it is printed, to the nanosecond and without zeros at its end, and what follows it.
fn fraction(bytes: &[u8]) -> (String, &[u8]) {
    let Some(digits) = bytes.strip_prefix(b".").or_else(|| bytes.strip_prefix(b",")) else {
        return (String::new(), bytes);
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return (String::new(), bytes);
    }
    let (digits, rest) = digits.split_at(count);
    let digits: String = digits.iter().take(9).map(|digit| char::from(*digit)).collect();
    let digits = digits.trim_end_matches('0');
    (if digits.is_empty() { String::new() } else { format!(".{digits}") }, rest)
}

/// `+hh:mm`, where nothing ahead of UTC is `Z`.
fn zone(bytes: &[u8]) -> Option<String> {
    let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = bytes else { return None };
    let (hours, minutes) = (decimal(&[*h1, *h2])?, decimal(&[*m1, *m2])?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(if hours == 0 && minutes == 0 {
        "Z".to_owned()
    } else {
        format!("{}{hours:02}:{minutes:02}", char::from(*sign))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row was read by `sigs.k8s.io/yaml` 1.5.0 and by yaml.v3 3.0.3.
    #[test]
    fn plain_scalars_have_the_type_that_go_gives_them() {
        use ScalarKind::{Bool, Float, Int, Null, String, Timestamp};
        let rows: &[(ScalarKind, ScalarKind, &[&str])] = &[
            (Null, Null, &["", "~", "null", "Null", "NULL"]),
            (Bool, Bool, &["true", "True", "TRUE", "false", "False", "FALSE"]),
            (Bool, String, &["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"]),
            (Bool, String, &["n", "N", "no", "No", "NO", "off", "Off", "OFF"]),
            (String, String, &["nUll", "yEs", "tRue", "oN", "none", "<<", "=", "1,000"]),
            (
                Int,
                Int,
                &["0", "-0", "+1", "0644", "0o644", "0O17", "0x1F", "0X1f", "0b101", "-0b101", "0b-101", "0b+1"],
            ),
            (Int, Int, &["1_000", "1_", "0_0", "0x_1F", "1__0", "18446744073709551615", "-9223372036854775808"]),
            (String, String, &["_1", "0o8", "0x", "0xg", "0b2", "0b", "0b-", "-0b-1", "+-1", "--1", "+", "-", "0x1p4"]),
            (Float, Float, &[".5", "+.5", "-.5", "1.", "1.e3", "1e3", "1E3", "1e+3", "08", "09.5", "1_000.5", "1_e3"]),
            (
                Float,
                Float,
                &["18446744073709551616", "+18446744073709551615", "-9223372036854775809", "1e-999", ".5_0"],
            ),
            (Float, Float, &[".inf", "-.Inf", "+.INF", ".nan", ".NaN"]),
            (String, String, &[".", "..", ".e1", "1e", "e3", "inf", "nan", "Infinity", "-.nan", "1e999", ".5e999"]),
            (String, String, &["._5", ".5__0", "12:30:45", "1:30", "1.2.3", "0x1FFFFFFFFFFFFFFFF"]),
            (String, Timestamp, &["2001-01-01", "2001-1-1", "2001-01-01T00:00:00Z", "2001-01-01 0:0:0", "2024-02-29"]),
            (
                String,
                String,
                &["2001-01-01T00:00:00", "2001-13-01", "2001-02-29", "2001-01-00", "2001-01", "201-01-01"],
            ),
            (String, String, &["+2001-01-01", "2001-01-01 ", "2001-01-01 00:00:00Z", "2001-01-01T24:00:00Z"]),
        ];
        for (kustomization, resource, texts) in rows {
            for text in *texts {
                assert_eq!(plain(Dialect::Kustomization, text), *kustomization, "{text:?}");
                assert_eq!(plain(Dialect::Resource, text), *resource, "{text:?}");
            }
        }
    }

    /// Recorded from yaml.v3 and `encoding/json`.
    #[test]
    fn timestamps_have_the_form_that_go_gives_them() {
        for (text, form) in [
            ("2024-01-02", "2024-01-02T00:00:00Z"),
            ("2024-1-2", "2024-01-02T00:00:00Z"),
            ("0000-1-2", "0000-01-02T00:00:00Z"),
            ("2024-01-02T3:4:5Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02t03:04:05.120Z", "2024-01-02T03:04:05.12Z"),
            ("2024-01-02T03:04:05.000Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05,5Z", "2024-01-02T03:04:05.5Z"),
            ("2024-01-02T03:04:05.1234567891Z", "2024-01-02T03:04:05.123456789Z"),
            ("2024-01-02T03:04:05+02:00", "2024-01-02T03:04:05+02:00"),
            ("2024-01-02T03:04:05-00:30", "2024-01-02T03:04:05-00:30"),
            ("2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05Z"),
            ("2024-01-02 03:04:05.5", "2024-01-02T03:04:05.5Z"),
        ] {
            assert_eq!(timestamp(text).as_deref(), Some(form), "{text:?}");
        }
    }

    #[test]
    fn numbers_have_the_value_that_go_gives_them() {
        for (text, value) in [
            ("0644", Number::Signed(420)),
            ("-0o17", Number::Signed(-15)),
            ("0b-101", Number::Signed(-5)),
            ("08", Number::Float(8.0)),
            ("0777777777777777777777777777", Number::Float(777_777_777_777_777_777_777_777_777.0)),
            ("0xFFFFFFFFFFFFFFFF", Number::Unsigned(u64::MAX)),
            ("1_000.5", Number::Float(1000.5)),
        ] {
            assert_eq!(number(text), Some(value), "{text:?}");
        }
    }
}
