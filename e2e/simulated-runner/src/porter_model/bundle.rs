//! A bundle as its definition has it, and a value as the type of its parameter.
//!
//! Invariant: equal values of a parameter are equal here, however they were written: an installation is up to date by them.
//! It may not know where a value came from.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Number, Value};

use super::Decided;

/// What a bundle definition says that matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Bundle {
    /// The parameters; none means that any name and value is taken as it is.
    pub parameters: Option<BTreeMap<String, Parameter>>,
    /// The credentials without which no action runs.
    pub required_credentials: Vec<String>,
    /// It has a sensitive output, and no secret store can be written: each run fails after the action was done.
    pub sensitive_output: bool,
}

/// A parameter of a bundle.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Parameter {
    /// `integer`, `number`, `boolean`, `string` or, when empty, anything.
    pub r#type: String,
    /// Its value when nobody gives one.
    pub default: Option<Value>,
    /// Whether somebody must.
    pub required: bool,
    /// The actions that it is for; empty means all.
    pub apply_to: Vec<String>,
}

/// A value as the type of its parameter; a whole number has one form, however it was written.
pub(super) fn typed(name: &str, type_: &str, value: Value) -> Decided<Value> {
    let wrong = || format!("parameter {name} is no {type_}");
    let value = normal(value);
    match (type_, &value) {
        ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(value),
        ("integer", Value::String(text)) => text.parse::<i64>().map(Value::from).map_err(|_| wrong()),
        ("number", Value::Number(_)) => Ok(value),
        ("number", Value::String(text)) => text.parse::<f64>().map(|n| normal(n.into())).map_err(|_| wrong()),
        ("boolean", Value::Bool(_)) => Ok(value),
        ("boolean", Value::String(text)) => text.parse::<bool>().map(Value::Bool).map_err(|_| wrong()),
        ("string", Value::String(_)) => Ok(value),
        ("string", Value::Number(_) | Value::Bool(_)) => Ok(Value::String(value.to_string())),
        ("integer" | "number" | "boolean" | "string", _) => Err(wrong()),
        _ => Ok(value),
    }
}

/// A number that is whole in its one form; all else as it is.
pub(super) fn normal(value: Value) -> Value {
    match &value {
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
            Some(float) if !number.is_i64() && float.fract() == 0.0 && float.abs() < 9.0e15 => {
                Value::Number(Number::from(float as i64))
            }
            _ => value,
        },
        _ => value,
    }
}
