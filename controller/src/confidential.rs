//! Values that no text may hold which somebody else reads: what Secrets hold, and what installations are given.
//!
//! Guarantees: a value is hidden in each form in which it is told: as it is, as it is substituted, in quotes, a line of it by
//! itself, and in base64. Values of fewer than four bytes are not: they are part of ordinary words. It may not know where
//! values come from.

use std::collections::BTreeSet;

use k8s_openapi::ByteString;
use serde_json::Value;

/// The shortest value that is hidden.
const SHORTEST: usize = 4;
/// In place of a value.
const HIDDEN: &str = "***";

/// Confidential values. There is no `Debug`: it would show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Confidential {
    /// In each form, in their order.
    known: BTreeSet<String>,
}

impl Confidential {
    /// Adds a value.
    pub fn add(&mut self, value: &[u8]) {
        // A string of JSON, without its quotes.
        let encoded = serde_json::to_value(ByteString(value.to_vec())).ok();
        if let Some(encoded) = encoded.as_ref().and_then(Value::as_str).filter(|_| value.len() >= SHORTEST) {
            self.known.insert(encoded.to_owned());
        }
        let Ok(text) = std::str::from_utf8(value) else { return };
        let substituted = text.replace('\n', "");
        for part in [text, &substituted].into_iter().chain(text.lines()).map(str::trim) {
            if part.len() >= SHORTEST {
                self.known.insert(part.to_owned());
                self.known.insert(part.escape_debug().to_string());
            }
        }
    }

    /// Adds all that a JSON value holds.
    pub fn add_json(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text.as_bytes()),
            Value::Number(number) => self.add(number.to_string().as_bytes()),
            Value::Array(items) => items.iter().for_each(|item| self.add_json(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.add_json(field)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// A text without them.
    pub fn hide(&self, text: &str) -> String {
        let mut known: Vec<&String> = self.known.iter().collect();
        // What is part of another value would leave the rest of that one behind.
        known.sort_by_key(|value| std::cmp::Reverse(value.len()));
        known.into_iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), HIDDEN))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_hidden_in_every_form_in_which_it_is_told() {
        let mut values = Confidential::default();
        values.add(b"hunter2");
        values.add(b"hunter2-and-more");
        values.add("-----BEGIN KEY-----\nbGluZSBvbmU\nbGluZSB0d28\n".as_bytes());
        values.add_json(&json!({"size": 4711, "deep": ["s3cret \"quoted\"", true, 7], "none": null, "short": "abc"}));
        for (text, told) in [
            ("password=hunter2;", "password=***;"),
            ("hunter2-and-more hunter2", "*** ***"),
            ("aHVudGVyMg==", "***"),
            ("bGluZSB0d28", "***"),
            ("-----BEGIN KEY-----bGluZSBvbmUbGluZSB0d28", "***"),
            ("size is 4711", "size is ***"),
            ("deep: s3cret \"quoted\" and \"s3cret \\\"quoted\\\"\"", "deep: *** and \"***\""),
            ("abc 7 true: too short to mask", "abc 7 true: too short to mask"),
        ] {
            assert_eq!(values.hide(text), told);
        }
    }
}
