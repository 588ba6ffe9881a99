//! Nodes to JSON and back.

use super::{Key, Node, Scalar, ScalarKind, Value, resolve};
use crate::Diagnostic;

/// The JSON number of a text. A float that has no fraction is an integer as far as 64 bits hold its digits: that is
/// what a reader of the JSON that Go prints makes of it.
pub(super) fn number(text: &str) -> Option<serde_json::Number> {
    match resolve::number(text)? {
        resolve::Number::Signed(value) => Some(value.into()),
        resolve::Number::Unsigned(value) => Some(value.into()),
        resolve::Number::Float(value) => {
            if value.fract() == 0.0 && value.abs() < 1e21 {
                let digits = value.to_string();
                if let Ok(integer) = digits.parse::<i64>() {
                    return Some(integer.into());
                }
                if let Ok(integer) = digits.parse::<u64>() {
                    return Some(integer.into());
                }
            }
            serde_json::Number::from_f64(value)
        }
    }
}

impl Node {
    /// The same content as JSON.
    ///
    /// Integers that 64 bits hold stay integers, larger ones become floats as in Go; see [`Node::exact_number`].
    ///
    /// # Errors
    /// When a number is infinite or not a number, which JSON cannot say.
    pub fn to_json(&self) -> Result<serde_json::Value, Diagnostic> {
        Ok(match &self.value {
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::String => serde_json::Value::String(scalar.text.clone()),
                ScalarKind::Timestamp => serde_json::Value::String(scalar.timestamp()),
                ScalarKind::Null => serde_json::Value::Null,
                ScalarKind::Bool => serde_json::Value::Bool(resolve::is_true(&scalar.text)),
                ScalarKind::Int | ScalarKind::Float => {
                    serde_json::Value::Number(scalar.number().ok_or_else(|| self.fault(NO_JSON_NUMBER))?)
                }
            },
            Value::Sequence(items) => items.iter().map(Node::to_json).collect::<Result<_, _>>()?,
            Value::Mapping(entries) => serde_json::Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| Ok((key.name.to_string(), node.to_json()?)))
                    .collect::<Result<_, Diagnostic>>()?,
            ),
        })
    }

    /// A node that we made, from JSON.
    #[must_use]
    pub fn from_json(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::null(),
            serde_json::Value::Bool(value) => Self::bool(value),
            serde_json::Value::Number(number) => {
                let kind = if number.is_f64() { ScalarKind::Float } else { ScalarKind::Int };
                Self::scalar(number.to_string(), kind)
            }
            serde_json::Value::String(text) => Self::string(text),
            serde_json::Value::Array(items) => Self::sequence(items.into_iter().map(Self::from_json)),
            serde_json::Value::Object(entries) => Value::Mapping(
                entries.into_iter().map(|(name, value)| (Key::new(name), Self::from_json(value))).collect(),
            )
            .into(),
        }
    }

    /// Whether a float64 holds this number as it is written; true for what is no number.
    ///
    /// `0.1` is held: a float64 prints as `0.1` again. `9007199254740993` and `0.1234567890123456789` are not, and a
    /// reader that keeps all numbers as float64 changes them.
    #[must_use]
    pub fn exact_number(&self) -> bool {
        match &self.value {
            Value::Scalar(Scalar { text, kind: ScalarKind::Int | ScalarKind::Float, .. }) => held_by_float(text),
            _ => true,
        }
    }
}

/// A scalar as the key of a JSON object, as `sigs.k8s.io/yaml` makes one of it.
pub(super) fn key(scalar: &Scalar) -> String {
    match (scalar.kind, resolve::number(&scalar.text)) {
        (ScalarKind::Bool, _) => resolve::is_true(&scalar.text).to_string(),
        (ScalarKind::Int | ScalarKind::Float, Some(resolve::Number::Signed(value))) => value.to_string(),
        (ScalarKind::Int | ScalarKind::Float, Some(resolve::Number::Unsigned(value))) => value.to_string(),
        // Go prints it as a float32.
        #[allow(clippy::cast_possible_truncation)]
        (ScalarKind::Int | ScalarKind::Float, Some(resolve::Number::Float(value))) => general(value as f32),
        _ => scalar.text.clone(),
    }
}

/// A number as Go's `strconv` prints a float64 with the verb `g`: the shortest digits, with an exponent from a million
/// on and below 0.0001.
#[must_use]
pub fn format_float(value: f64) -> String {
    general(value)
}

fn general(value: impl std::fmt::Display + std::fmt::LowerExp) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => value.to_string(),
    }
}

/// What is wrong with an infinite number; its text is no business of a message.
pub(super) const NO_JSON_NUMBER: &str =
    "the value is infinite or not a number, which JSON cannot hold: quote it when it is meant as text";

fn held_by_float(text: &str) -> bool {
    let (written, float) = match resolve::number(text) {
        #[allow(clippy::cast_precision_loss)]
        Some(resolve::Number::Signed(value)) => (value.to_string(), value as f64),
        #[allow(clippy::cast_precision_loss)]
        Some(resolve::Number::Unsigned(value)) => (value.to_string(), value as f64),
        Some(resolve::Number::Float(value)) => (text.replace('_', ""), value),
        None => return false,
    };
    // For integers every digit counts: a float that is merely nearest prints other digits when asked for all.
    let printed = if written.contains(['.', 'e', 'E']) { format!("{float:e}") } else { format!("{float:.0}") };
    significant_digits(&written) == significant_digits(&printed)
}

/// Sign, digits without zeros at either end, and the power of ten of the first of them.
fn significant_digits(text: &str) -> Option<(bool, String, i64)> {
    let negative = text.starts_with('-');
    let text = text.trim_start_matches(['+', '-']);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let exponent = exponent.parse::<i64>().ok()?;
    let first = i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(leading).ok()?)?;
    Some((negative, significant.to_owned(), exponent.checked_add(first)?))
}
