//! What a path of an artifact holds, as data: files, YAML documents, objects, and the place each value came from.
//!
//! Every later step (build, interpret, plan) speaks in these types, so an error found late still names the file, the
//! line and the column that a user has to change.
//!
//! Architecture invariant: pure data. No I/O, no clock, no Kubernetes or Porter types. YAML enters the project through
//! [`yaml::parse_as`] and leaves it through [`yaml::to_string`] and [`yaml::to_canonical`], nowhere else.

mod diagnostic;
mod object;
mod tree;
pub mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Location};
pub use object::{Object, ObjectId, Origin, Renaming};
pub use tree::{FileTree, PathError};
