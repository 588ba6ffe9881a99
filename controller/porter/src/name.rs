//! Names that Kubernetes, the operator and Porter's command line all take.

/// Longest DNS label, and longest value of a label: the operator finds its actions by a label that holds the name.
const MAX_LABEL: usize = 63;

/// A name made a DNS label: lower case, `-` for what cannot stand in one, at most 63 characters.
/// Empty when nothing of the name can stand in one.
pub(crate) fn dns_label(name: &str) -> String {
    let mapped: String = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    let start = mapped.trim_start_matches('-');
    start[..start.len().min(MAX_LABEL)].trim_end_matches('-').to_owned()
}

/// What keeps a name from being a DNS label.
pub(crate) fn dns_label_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty".to_owned());
    }
    if name.len() > MAX_LABEL {
        return Some(format!("has {} characters, the operator handles at most {MAX_LABEL}", name.len()));
    }
    if !is_dns_label(name) {
        return Some(
            "is no DNS label: use lower-case letters, digits and '-', with a letter or digit at both ends".to_owned(),
        );
    }
    None
}

/// What keeps a name from being a DNS subdomain, as the names of ConfigMaps and Secrets are.
pub(crate) fn dns_subdomain_fault(name: &str) -> Option<String> {
    let valid = name.len() <= 253 && name.split('.').all(is_dns_label);
    (!valid)
        .then(|| "is no DNS subdomain: use lower-case letters, digits, '-' and '.', at most 253 characters".to_owned())
}

/// What keeps a text from being the key of a label or an annotation.
pub(crate) fn qualified_name_fault(key: &str) -> Option<String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let valid = is_label_value(name)
        && !name.is_empty()
        && prefix.is_none_or(|prefix| dns_subdomain_fault(&prefix.to_ascii_lowercase()).is_none());
    (!valid).then(|| {
        "is no valid key: use [DNS name/]name, the name of at most 63 letters, digits, '-', '_' and '.'".to_owned()
    })
}

/// What keeps a text from being the value of a label.
pub(crate) fn label_value_fault(value: &str) -> Option<String> {
    (!is_label_value(value)).then(|| {
        "is no valid label value: use at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
            .to_owned()
    })
}

fn is_dns_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn is_label_value(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    value.len() <= MAX_LABEL
        && value.bytes().all(inner)
        && edge(value.bytes().next())
        && edge(value.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_dns_labels() {
        for (name, label) in [
            ("mybuns", "mybuns"),
            ("My_App", "my-app"),
            ("a/b", "a-b"),
            ("-x-", "x"),
            ("llamas ", "llamas"),
            ("žluť", "lu"),
            ("___", ""),
        ] {
            assert_eq!(dns_label(name), label, "{name:?}");
        }
        assert_eq!(dns_label(&"a".repeat(70)).len(), 63);
        assert_eq!(dns_label(&format!("{}-b", "a".repeat(62))), "a".repeat(62));
    }

    #[test]
    fn names_are_checked() {
        for (name, valid) in [("a", true), ("a-1", true), ("", false), ("-a", false), ("a-", false), ("A", false)] {
            assert_eq!(dns_label_fault(name).is_none(), valid, "{name:?}");
        }
        assert!(dns_label_fault(&"a".repeat(63)).is_none() && dns_label_fault(&"a".repeat(64)).is_some());
        for (name, valid) in [("a.b", true), ("a..b", false), ("a_b", false), ("", false)] {
            assert_eq!(dns_subdomain_fault(name).is_none(), valid, "{name:?}");
        }
        for (key, valid) in [("app", true), ("a.b/C_d", true), ("a/b/c", false), ("/b", false), ("a/", false)] {
            assert_eq!(qualified_name_fault(key).is_none(), valid, "{key:?}");
        }
        for (value, valid) in [("", true), ("A.b_c", true), ("a b", false), (".a", false)] {
            assert_eq!(label_value_fault(value).is_none(), valid, "{value:?}");
        }
    }
}
