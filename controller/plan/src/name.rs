//! Names of objects of ours that are made of other names.
//!
//! Invariant: a name follows from what it is made of alone, and is no longer than the operator can work with.

use serde_json::Value;

/// The longest name of an object that the operator can work with.
pub(crate) const MAX_NAME: usize = 63;

/// How many digits tell one thing from another in a name.
pub(crate) const DIGEST: usize = 8;

/// The digits that tell one thing from another in a name.
pub(crate) fn short(what: &Value) -> String {
    let digest = porter::digest(what);
    digest.rsplit(':').next().and_then(|digest| digest.get(..DIGEST)).unwrap_or_default().to_owned()
}
