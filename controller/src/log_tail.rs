//! The end of a log, without the values that are known.
//!
//! Guarantees: what is known is masked in whole lines before anything is cut, so that no part of a value is left at a cut; a
//! line of a value counts by itself, and a value in base64 too. It may not know where values come from.

use k8s_openapi::ByteString;
use serde_json::Value;

/// Bytes of a log that are read.
pub const MOST_READ: i64 = 64 << 10;
/// Secrets that are read to know what to mask.
pub const MOST_SECRETS: usize = 50;
/// Bytes of a log that are told.
const MOST_TOLD: usize = 2_048;
/// The shortest value that is masked: shorter ones are part of anything.
const SHORTEST: usize = 4;
/// In place of a value.
const HIDDEN: &str = "***";

/// Values that may be in a log.
#[derive(Debug, Default)]
pub struct Values {
    known: Vec<String>,
    /// Not all of them are known: nothing may be told.
    pub all: bool,
}

impl Values {
    /// Adds a value, each of its lines, and it in base64.
    pub fn add(&mut self, value: &[u8]) {
        let encoded = serde_json::to_value(ByteString(value.to_vec())).ok();
        self.known
            .extend(encoded.as_ref().and_then(Value::as_str).filter(|_| value.len() >= SHORTEST).map(str::to_owned));
        let Ok(text) = std::str::from_utf8(value) else { return };
        for part in [text].into_iter().chain(text.lines()).map(str::trim).filter(|part| part.len() >= SHORTEST) {
            self.known.push(part.to_owned());
            self.known.push(part.escape_debug().to_string());
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
}

/// A text without its last line when it may have been cut in that.
pub fn whole_lines(text: String) -> String {
    let cut = i64::try_from(text.len()).unwrap_or(i64::MAX) >= MOST_READ;
    if cut { text.rsplit_once('\n').map(|(whole, _)| whole.to_owned()).unwrap_or_default() } else { text }
}

/// A text without the values.
pub fn mask(text: &str, values: &Values) -> String {
    if values.all {
        return String::new();
    }
    let mut known: Vec<&str> = values.known.iter().map(String::as_str).collect();
    // What is part of another value would leave the rest of that one behind.
    known.sort_by_key(|value| std::cmp::Reverse(value.len()));
    known.dedup();
    known.into_iter().fold(text.to_owned(), |text, value| text.replace(value, HIDDEN))
}

/// The last lines of a text, as far as they are few. `None` when nothing is left.
pub fn cut(text: &str, lines: usize) -> Option<String> {
    let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n");
    let mut from = last.len().saturating_sub(MOST_TOLD);
    while !last.is_char_boundary(from) {
        from += 1;
    }
    last.get(from..).filter(|last| !last.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_is_masked_in_every_form_in_which_it_is_told() {
        let mut values = Values::default();
        values.add(b"hunter2");
        values.add(b"hunter2-and-more");
        values.add("-----BEGIN KEY-----\nbGluZSBvbmU\nbGluZSB0d28\n".as_bytes());
        values.add_json(&json!({"size": 4711, "deep": ["s3cret \"quoted\"", true, 7], "none": null, "short": "abc"}));
        for (text, told) in [
            ("password=hunter2;", "password=***;"),
            ("hunter2-and-more hunter2", "*** ***"),
            ("aHVudGVyMg==", "***"),
            ("bGluZSB0d28", "***"),
            ("size is 4711", "size is ***"),
            ("deep: s3cret \"quoted\" and \"s3cret \\\"quoted\\\"\"", "deep: *** and \"***\""),
            ("abc 7 true: too short to mask", "abc 7 true: too short to mask"),
        ] {
            assert_eq!(mask(text, &values), told);
        }
        values.all = true;
        assert_eq!(mask("anything", &values), "");
    }

    #[test]
    fn the_end_is_told_and_little_of_it() {
        assert_eq!(cut("one\n\ntwo\nthree\n", 2).as_deref(), Some("two\nthree"));
        assert_eq!(cut("\n\n", 2), None);
        assert_eq!(cut("one", 0), None);
        let long = cut(&"ä".repeat(5_000), 3).unwrap();
        assert!(long.len() <= MOST_TOLD && long.chars().all(|c| c == 'ä'));
        assert_eq!(whole_lines("one\ntwo".to_owned()), "one\ntwo");
        let cut_off = format!("{}\nhunt", "x".repeat(usize::try_from(MOST_READ).unwrap()));
        assert!(!whole_lines(cut_off).contains("hunt"));
    }
}
