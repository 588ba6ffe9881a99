//! What can be pulled: how a bundle is named, and the digest that a name has now.
//!
//! Invariant: the same name has the same digest until somebody says otherwise. It may not know of installations.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Decided;
use super::bundle::Bundle;
use super::version::Version;

/// The bundles and tags of all repositories.
///
/// A repository that nobody described holds a bundle that takes any parameter, at any version, tag and digest.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    bundles: BTreeMap<String, Bundle>,
    missing: BTreeSet<String>,
    /// Where only the tags that were set can be pulled.
    closed: BTreeSet<String>,
    tags: BTreeMap<(String, String), Option<String>>,
}

impl Registry {
    /// Describes the bundle of a repository.
    pub fn define(&mut self, repository: &str, bundle: Bundle) {
        self.missing.remove(repository);
        self.bundles.insert(repository.to_owned(), bundle);
    }

    /// Nothing can be pulled from the repository any more.
    pub fn remove(&mut self, repository: &str) {
        self.missing.insert(repository.to_owned());
    }

    /// From now on the repository has the tags that [`Registry::tag`] sets and no others.
    pub fn close(&mut self, repository: &str) {
        self.closed.insert(repository.to_owned());
    }

    /// Moves a tag to a digest, or takes it away.
    pub fn tag(&mut self, repository: &str, tag: &str, digest: Option<&str>) {
        self.tags.insert((repository.to_owned(), tag.to_owned()), digest.map(str::to_owned));
    }

    pub(crate) fn lacks(&self, repository: &str) -> bool {
        self.missing.contains(repository)
    }

    pub(super) fn bundle(&self, repository: &str) -> Bundle {
        self.bundles.get(repository).cloned().unwrap_or_default()
    }

    /// The digest that a reference has now.
    pub(super) fn resolve(&self, reference: &Reference, version: Version) -> Decided<String> {
        let repository = &reference.repository;
        let tag = reference.tag();
        if repository.is_empty() || (tag.is_none() && reference.digest.is_empty()) {
            return Err(format!("{repository} has no version, tag or digest"));
        }
        let missing = || format!("unable to pull bundle {reference}");
        if self.lacks(repository) {
            return Err(missing());
        }
        let Some(tag) = tag.filter(|_| reference.digest.is_empty()) else {
            return Ok(reference.digest.clone());
        };
        let tag = version.pulled(&tag);
        match self.tags.get(&(repository.clone(), tag.clone())) {
            Some(Some(digest)) => Ok(digest.clone()),
            None if !self.closed.contains(repository) => {
                Ok(format!("sha256:{}", hex::encode(Sha256::digest(format!("{repository}:{tag}")))))
            }
            Some(None) | None => Err(missing()),
        }
    }
}

/// How a document names a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// The repository, without version, tag and digest.
    pub repository: String,
    /// A version; its tag has a `v` before it.
    pub version: String,
    /// A tag.
    pub tag: String,
    /// A digest; wins over the others.
    pub digest: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tag() {
            _ if !self.digest.is_empty() => write!(f, "{}@{}", self.repository, self.digest),
            Some(tag) => write!(f, "{}:{tag}", self.repository),
            None => f.write_str(&self.repository),
        }
    }
}

impl Reference {
    /// Of `repository:tag` or `repository@digest`.
    pub(crate) fn of_text(text: &str) -> Self {
        let (named, digest) = text.split_once('@').unwrap_or((text, ""));
        let path = named.rfind('/').map_or(0, |slash| slash + 1);
        let colon = named.get(path..).and_then(|last| last.find(':')).map_or(named.len(), |colon| path + colon);
        let (repository, tag) = named.split_at(colon);
        Self {
            repository: repository.to_owned(),
            tag: tag.trim_start_matches(':').to_owned(),
            digest: digest.to_owned(),
            ..Self::default()
        }
    }

    fn tag(&self) -> Option<String> {
        match (self.version.as_str(), self.tag.as_str()) {
            ("", "") => None,
            ("", tag) => Some(tag.to_owned()),
            (version, _) => Some(format!("v{}", version.trim_start_matches('v'))),
        }
    }
}
