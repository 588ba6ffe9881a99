//! The versions of Porter, and how each reads a tag.
//!
//! Invariant: a version is here only if it was recorded. It may not know what a command does.

/// The version of the CLI that runs a command.
///
/// The versions differ in how they read a tag (recorded: `tag_moved`, `tag_to_same_digest`, `uninstall_bundle_gone`) and
/// in what they make of a parameter that the bundle does not define (recorded: `parameter_unknown`); in nothing else of
/// what was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Takes tags as they are, and refuses unknown parameters.
    V1_0_14,
    /// Puts a `v` before any tag but `latest`.
    V1_2_1,
    /// Puts a `v` before a tag that is a version.
    #[default]
    V1_6_1,
}

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Self; 3] = [Self::V1_0_14, Self::V1_2_1, Self::V1_6_1];

    /// As Porter's tags and images are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_0_14 => "v1.0.14",
            Self::V1_2_1 => "v1.2.1",
            Self::V1_6_1 => "v1.6.1",
        }
    }

    /// The one whose ways an agent's image has: the newest that is not newer than its tag. An image without a version
    /// is taken for the newest.
    pub fn of_image(image: &str) -> Self {
        let tag = image.rsplit_once(':').map(|(_, tag)| tag.trim_start_matches('v')).unwrap_or_default();
        let mut numbers = tag.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
        let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return Self::default() };
        let patch = numbers.next().unwrap_or_default();
        match (major, minor, patch) {
            // `ensureVPrefix` came with v1.0.16, and was narrowed with v1.3.0 (pkg/porter/lifecycle.go).
            version if version < (1, 0, 16) => Self::V1_0_14,
            version if version < (1, 3, 0) => Self::V1_2_1,
            _ => Self::V1_6_1,
        }
    }

    /// The tag that is pulled for a tag.
    pub(super) fn pulled(self, tag: &str) -> String {
        let version_like = tag.starts_with(|c: char| c.is_ascii_digit()) && tag.contains('.');
        let prefixed = match self {
            Self::V1_0_14 => false,
            Self::V1_2_1 => tag != "latest" && !tag.starts_with('v'),
            Self::V1_6_1 => version_like,
        };
        if prefixed { format!("v{tag}") } else { tag.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_an_image() {
        let table = [
            ("ghcr.io/getporter/porter-agent:v1.0.14", Version::V1_0_14),
            ("ghcr.io/getporter/porter-agent:v1.0.15", Version::V1_0_14),
            ("ghcr.io/getporter/porter-agent:v1.0.16", Version::V1_2_1),
            ("ghcr.io/getporter/porter-agent:v1.2.3", Version::V1_2_1),
            ("localhost:5000/porter-agent:v1.3.0", Version::V1_6_1),
            ("ghcr.io/getporter/porter-agent:latest", Version::V1_6_1),
            ("ghcr.io/getporter/porter-agent@sha256:00", Version::V1_6_1),
            ("porter-agent", Version::V1_6_1),
        ];
        for (image, version) in table {
            assert_eq!(Version::of_image(image), version, "{image}");
        }
    }

    #[test]
    fn the_tag_that_is_pulled() {
        let table = [
            ("moving", ["moving", "vmoving", "moving"]),
            ("latest", ["latest", "latest", "latest"]),
            ("v0.1.0", ["v0.1.0", "v0.1.0", "v0.1.0"]),
            ("0.1.0", ["0.1.0", "v0.1.0", "v0.1.0"]),
            ("2024", ["2024", "v2024", "2024"]),
        ];
        for (tag, pulled) in table {
            assert_eq!(Version::ALL.map(|version| version.pulled(tag)), pulled, "{tag}");
        }
    }
}
