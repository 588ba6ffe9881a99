//! Values as Go's `encoding/json` prints them, which is what Porter makes of a value in a parameter set.

use serde_json::Value;

/// Compact JSON with sorted keys, and with `<`, `>` and `&` escaped.
pub(crate) fn compact_json(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                write(item, out);
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| key.as_str());
            for (index, (key, field)) in sorted.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                write_string(key, out);
                out.push(':');
                write(field, out);
            }
            out.push_str(if fields.is_empty() { "{}" } else { "}" });
        }
        Value::String(text) => write_string(text, out),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.push_str(&json_float(float)),
            None => out.push_str(&number.to_string()),
        },
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn write_string(text: &str, out: &mut String) {
    for c in Value::String(text.to_owned()).to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
}

fn json_float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return format!("{value}");
    }
    let scientific = format!("{value:e}");
    if scientific.contains("e-") { scientific } else { scientific.replace('e', "e+") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Recorded from Go's `json.Marshal`.
    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (value, json) in [
            (1.0, "1"),
            (100_000.0, "100000"),
            (1e6, "1000000"),
            (1_234_567.0, "1234567"),
            (12_345_678.5, "12345678.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (1e-5, "0.00001"),
            (1.5e-7, "1.5e-7"),
            (3.25, "3.25"),
            (-2.5, "-2.5"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(json_float(value), json);
        }
    }

    #[test]
    fn lists_and_mappings_become_compact_json() {
        let value = json!({"red": [255, 0.5, "<a&b>"], "a": {}, "b": [], "c": null, "d": true});
        assert_eq!(compact_json(&value), r#"{"a":{},"b":[],"c":null,"d":true,"red":[255,0.5,"\u003ca\u0026b\u003e"]}"#);
    }
}
