//! Bundle references: a repository with a digest, a version or a tag.
//!
//! What is written is kept; this only says whether Porter can make a reference of it, and which. Of several, the digest
//! counts before the version, and the version before the tag.

use std::fmt;

use semver::{BuildMetadata, Prerelease};
use serde_json::Value;

/// Where a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Registry and path as written; without a registry, Docker Hub is meant.
    pub repository: String,
    /// Which of the bundles there.
    pub pick: Pick,
}

/// What picks a bundle in its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// `sha256:<hex>` of the bundle's index.
    Digest(String),
    /// A tag, be it written or made of a version.
    Tag(String),
}

/// Which part of a reference is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `bundle` as a whole.
    Bundle,
    /// `bundle.repository`
    Repository,
    /// `bundle.digest`
    Digest,
    /// `bundle.version`
    Version,
    /// `bundle.tag`
    Tag,
}

/// The parts of a reference as a document gives them; empty is not given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts<'a> {
    pub(crate) repository: &'a str,
    pub(crate) digest: &'a str,
    pub(crate) version: &'a str,
    pub(crate) tag: &'a str,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pick {
            Pick::Digest(digest) => write!(f, "{}@{digest}", self.repository),
            Pick::Tag(tag) => write!(f, "{}:{tag}", self.repository),
        }
    }
}

impl Reference {
    /// Of the `bundle` of a document; none where Porter can make none of it.
    #[must_use]
    pub fn of_bundle(bundle: &Value) -> Option<Self> {
        let part = |name: &str| bundle[name].as_str().unwrap_or_default();
        let (repository, digest) = (part("repository"), part("digest"));
        Parts { repository, digest, version: part("version"), tag: part("tag") }.reference().ok()
    }
}

impl Parts<'_> {
    /// The reference that Porter makes of the parts, or what is wrong with each.
    pub(crate) fn reference(&self) -> Result<Reference, Vec<(Part, String)>> {
        let mut faults = Vec::new();
        let mut note = |part, fault: Option<String>| faults.extend(fault.map(|fault| (part, fault)));
        if self.repository.is_empty() {
            note(Part::Repository, Some("is missing: write where the bundle is, as registry/path".to_owned()));
        } else {
            note(Part::Repository, repository_fault(self.repository));
        }
        if !self.digest.is_empty() {
            note(Part::Digest, digest_fault(self.digest));
        }
        let version_tag = (!self.version.is_empty()).then(|| version_tag(self.version));
        if let Some(Err(fault)) = &version_tag {
            note(Part::Version, Some(fault.clone()));
        }
        if !self.tag.is_empty() {
            note(Part::Tag, tag_fault(self.tag));
        }
        let pick = if !self.digest.is_empty() {
            Some(Pick::Digest(self.digest.to_owned()))
        } else if let Some(tag) = version_tag {
            tag.ok().map(Pick::Tag)
        } else if !self.tag.is_empty() {
            Some(Pick::Tag(self.tag.to_owned()))
        } else {
            note(Part::Bundle, Some("picks no bundle of its repository: add a digest, a version or a tag".to_owned()));
            None
        };
        match pick {
            Some(pick) if faults.is_empty() => Ok(Reference { repository: self.repository.to_owned(), pick }),
            _ => Err(faults),
        }
    }
}

/// Splits `repository[:tag][@digest]`; the parts are not checked.
pub(crate) fn split(reference: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = reference.split_once('@').map_or((reference, None), |(rest, digest)| (rest, Some(digest)));
    let path = rest.rfind('/').map_or(0, |slash| slash + 1);
    match rest[path..].find(':') {
        Some(colon) => (&rest[..path + colon], Some(&rest[path + colon + 1..]), digest),
        None => (rest, None, digest),
    }
}

/// The tag that Porter gives a version: `v` and the full version, `_` in place of `+`.
/// Lenient as Porter is: a leading `v`, and one or two numbers in place of three.
pub(crate) fn version_tag(version: &str) -> Result<String, String> {
    let fault = || "is no semantic version, like 1.2.3".to_owned();
    let text = version.strip_prefix('v').unwrap_or(version);
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let numbers: Vec<u64> =
        core.split('.')
            .map(|part| {
                if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().map_err(|_| fault()) } else { Err(fault()) }
            })
            .collect::<Result<_, _>>()?;
    if numbers.len() > 3 {
        return Err(fault());
    }
    let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
    let mut tag = format!("v{}.{}.{}", number(0), number(1), number(2));
    if let Some(pre) = pre {
        if pre.is_empty() || Prerelease::new(pre).is_err() {
            return Err(fault());
        }
        tag.push('-');
        tag.push_str(pre);
    }
    if let Some(build) = build {
        if build.is_empty() || BuildMetadata::new(build).is_err() {
            return Err(fault());
        }
        tag.push('_');
        tag.push_str(build);
    }
    tag_fault(&tag).map_or(Ok(tag), Err)
}

/// The grammar of repository names of the distribution project, with Docker's rule for what is a registry.
pub(crate) fn repository_fault(repository: &str) -> Option<String> {
    let (name, tag, digest) = split(repository);
    if tag.is_some() || digest.is_some() {
        return Some("holds a tag or a digest: give it as bundle.tag or bundle.digest".to_owned());
    }
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => (Some(first), rest),
        _ => (None, name),
    };
    let grammar = "is no repository name: write registry/path, the path in lower-case letters and digits, with single '.', '_' or '-' between them";
    if domain.is_some_and(|domain| !is_domain(domain)) || !path.split('/').all(is_path_component) {
        return Some(grammar.to_owned());
    }
    if path.len() > 255 {
        return Some("has a path of more than 255 characters".to_owned());
    }
    let is_image_id = domain.is_none() && name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    is_image_id.then(|| grammar.to_owned())
}

fn digest_fault(digest: &str) -> Option<String> {
    let hex = digest.strip_prefix("sha256:").unwrap_or("");
    let valid = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (!valid).then(|| "is no digest: write sha256: and 64 lower-case hexadecimal digits".to_owned())
}

fn tag_fault(tag: &str) -> Option<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
    (!valid).then(|| {
        "is no tag: use at most 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'".to_owned()
    })
}

fn is_registry(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':']) || component.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rfind(']') {
        Some(end) => (&domain[..=end], domain[end + 1..].strip_prefix(':').or((end + 1 < domain.len()).then_some(""))),
        None => domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port))),
    };
    let label = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let address = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'))
    };
    let port_valid = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    port_valid && (host.split('.').all(label) || address(host))
}

/// Runs of lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = component.starts_with(alphanumeric) && component.ends_with(alphanumeric);
    ends && component
        .split(alphanumeric)
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.chars().all(|c| c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:a881bbc015bade9f11d95a4244888d8e7fa8800f843b43c74cc07c7b7276b062";
    const HELLO: &str = "ghcr.io/getporter/examples/porter-hello";

    #[track_caller]
    fn check(repository: &str, digest: &str, version: &str, tag: &str, expected: Result<&str, &[Part]>) {
        let found = Parts { repository, digest, version, tag }.reference();
        let found = found.map(|reference| reference.to_string());
        let found = found.map_err(|faults| faults.into_iter().map(|(part, _)| part).collect::<Vec<_>>());
        assert_eq!(found, expected.map(str::to_owned).map_err(<[Part]>::to_vec));
    }

    #[test]
    fn digest_before_version_before_tag() {
        check("", "", "", "", Err(&[Part::Repository, Part::Bundle]));
        check(HELLO, "", "", "", Err(&[Part::Bundle]));
        check(HELLO, "", "v0.2.0", "", Ok("ghcr.io/getporter/examples/porter-hello:v0.2.0"));
        check(HELLO, "", "0.2.0", "", Ok("ghcr.io/getporter/examples/porter-hello:v0.2.0"));
        check(HELLO, "", "v0.2.0+1234", "", Ok("ghcr.io/getporter/examples/porter-hello:v0.2.0_1234"));
        check(HELLO, "", "", "latest", Ok("ghcr.io/getporter/examples/porter-hello:latest"));
        check(HELLO, DIGEST, "", "", Ok(&format!("{HELLO}@{DIGEST}")));
        check(HELLO, DIGEST, "0.1.0", "latest", Ok(&format!("{HELLO}@{DIGEST}")));
        check(HELLO, "", "0.1.0", "latest", Ok("ghcr.io/getporter/examples/porter-hello:v0.1.0"));
        check(HELLO, "sha256:abc", "x", "-t", Err(&[Part::Digest, Part::Version, Part::Tag]));
        check("getporter/hello", "", "1", "", Ok("getporter/hello:v1.0.0"));
    }

    #[test]
    fn versions_are_read_leniently() {
        for (version, tag) in [
            ("1", Some("v1.0.0")),
            ("1.2", Some("v1.2.0")),
            ("v1.2.3-rc.1", Some("v1.2.3-rc.1")),
            ("1.2.3-a-b+c.d", Some("v1.2.3-a-b_c.d")),
            ("1.2.3.4", None),
            ("", None),
            ("v", None),
            ("1..2", None),
            ("+1", None),
            ("1.2.3-", None),
            ("1.2.3-01", None),
            (">=1.0", None),
        ] {
            assert_eq!(version_tag(version).ok().as_deref(), tag, "{version:?}");
        }
    }

    #[test]
    fn repositories_follow_the_grammar() {
        for (repository, valid) in [
            ("hello", true),
            ("getporter/porter-hello", true),
            ("localhost:5000/a", true),
            ("localhost/a", true),
            ("[::1]:5000/a", true),
            ("reg.example.com/a/b__c/d--e", true),
            ("Reg.example.com/a", true),
            ("ghcr.io/Getporter/hello", false),
            ("a___b", false),
            ("a..b", false),
            ("a/", false),
            ("/a", false),
            ("oci://ghcr.io/a", false),
            ("-reg.io/a", false),
            ("reg.io:x/a", false),
            ("hello:v1", false),
            ("localhost:5000", false),
            ("hello@sha256:00", false),
            ("a881bbc015bade9f11d95a4244888d8e7fa8800f843b43c74cc07c7b7276b062", false),
        ] {
            assert_eq!(repository_fault(repository).is_none(), valid, "{repository:?}");
        }
        assert!(repository_fault(&"a".repeat(256)).is_some());
    }
}
