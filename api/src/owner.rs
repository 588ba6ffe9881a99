//! Whose an object is: the labels that name its BundleSync, and our finalizer.

use kube::{Resource, ResourceExt};
use serde_json::Value;

use crate::{BundleSync, FINALIZER, OWNER_NAME_LABEL, OWNER_NAMESPACE_LABEL, SyncRef};

impl SyncRef {
    /// The BundleSync that the labels of an object name as its owner.
    pub fn owner_of<K: Resource>(object: &K) -> Option<Self> {
        let labels = object.meta().labels.as_ref()?;
        Self::by(|key| labels.get(key).map(String::as_str))
    }

    /// The same of the metadata of an object as JSON.
    pub fn owner_by(metadata: &Value) -> Option<Self> {
        Self::by(|key| metadata["labels"][key].as_str())
    }

    fn by<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let owned = |key: &str| label(key).map(str::to_owned);
        Some(Self { name: owned(OWNER_NAME_LABEL)?, namespace: owned(OWNER_NAMESPACE_LABEL)? })
    }
}

impl From<&BundleSync> for SyncRef {
    fn from(sync: &BundleSync) -> Self {
        Self { name: sync.name_any(), namespace: sync.namespace().unwrap_or_default() }
    }
}

/// Whether our finalizer is on an object.
pub fn is_held<K: Resource>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}
