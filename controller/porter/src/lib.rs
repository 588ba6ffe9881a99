//! Porter's documents and the operator's resources, to what is desired.
//!
//! [`document_hook`] turns Porter's own documents into resources of the operator while a path is built, so that an overlay
//! can patch and rename them; [`interpret`] fills in what the built objects leave open, refuses what the operator or Porter
//! would get wrong, and gives [`Desired`].
//!
//! Architecture invariant: pure. No I/O, no clock; knows Porter, and knows nothing of a cluster, of Flux, or of how the
//! objects were built. No message holds the value of a parameter.

mod depends_on;
mod desired;
mod document;
mod interpret;
mod invoke;
mod metadata;
mod name;
mod number;
mod porter_yaml;
mod reference;
mod schema;

pub use desired::{Desired, DesiredInstallation, DesiredObject, digest};
pub use document::document_hook;
pub use interpret::{Context, interpret};
pub use invoke::Invoke;
pub use metadata::common_metadata_faults;
pub use reference::{Pick, Reference};
