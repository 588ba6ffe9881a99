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
        b'.' => between_digits(text).then(|| text.replace('_', "")).and_then(|text| finite(&text)).map(Number::Float),
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = text.replace('_', "");
            integer(&plain)
                .or_else(|| decimal_float(&plain).map(Number::Float))
                .or_else(|| signed_binary(&plain).map(Number::Signed))
        }
        _ => None,
    }
}

/// Whether underscores stand between digits only: after a leading dot Go is stricter about them.
fn between_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    bytes.iter().enumerate().all(|(index, byte)| *byte != b'_' || (index > 0 && digit(index - 1) && digit(index + 1)))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row was read by `sigs.k8s.io/yaml` 1.6.0.
    #[test]
    fn plain_scalars_have_the_type_that_go_gives_them() {
        use ScalarKind::{Bool, Float, Int, Null, String};
        let rows: &[(ScalarKind, &[&str])] = &[
            (Null, &["", "~", "null", "Null", "NULL"]),
            (Bool, &["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"]),
            (Bool, &["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"]),
            (String, &["nUll", "yEs", "tRue", "oN", "none", "<<", "=", "1,000"]),
            (Int, &["0", "-0", "+1", "0644", "0o644", "0O17", "0x1F", "0X1f", "0b101", "-0b101", "0b-101", "0b+1"]),
            (Int, &["1_000", "1_", "0_0", "0x_1F", "1__0", "18446744073709551615", "-9223372036854775808"]),
            (String, &["_1", "0o8", "0x", "0xg", "0b2", "0b", "0b-", "-0b-1", "+-1", "--1", "+", "-", "0x1p4"]),
            (Float, &[".5", "+.5", "-.5", "1.", "1.e3", "1e3", "1E3", "1e+3", "08", "09.5", "1_000.5", "1_e3", ".5_0"]),
            (Float, &["18446744073709551616", "+18446744073709551615", "-9223372036854775809", "1e-999"]),
            (Float, &[".inf", "-.Inf", "+.INF", ".nan", ".NaN"]),
            (
                String,
                &[".", "..", ".e1", "1e", "e3", "inf", "nan", "Infinity", "-.nan", "1e999", ".5e999", "._5", ".5__0"],
            ),
            (String, &["12:30:45", "1:30", "2001-01-01", "2001-01-01T00:00:00Z", "1.2.3", "0x1FFFFFFFFFFFFFFFF"]),
        ];
        for (kind, texts) in rows {
            for text in *texts {
                assert_eq!(plain(text), *kind, "{text:?}");
            }
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
