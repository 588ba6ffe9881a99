//! porter-flux-controller: watches Flux sources and BundleSyncs, and drives Porter's Installations from them.
//!
//! ```text
//! watches -> mirrors -> queue -> reconcile: source -> artifact -> objects -> desired -> plan -> applied -> status
//! ```
//! The pure steps live in their own crates; here is what touches the cluster, the clock and the network.
//!
//! Architecture invariant: the mirrors ([`cluster`]) are the only way in, the [`writer`] the only way out; but for
//! [`variables`] and [`inputs`], which are read by name, for of ConfigMaps and Secrets only our own are mirrored, the Lease of
//! [`leader`], which the writer depends on, and the posts of [`notifier`], which go elsewhere.

pub mod args;
pub mod build;
mod claims;
pub mod cluster;
pub mod conditions;
pub mod dependencies;
pub mod diagnosis;
pub mod events;
pub mod expression;
pub mod history;
pub mod inputs;
pub mod leader;
pub mod log_tail;
pub mod managers;
pub mod metrics;
pub mod mirror;
pub mod notifier;
pub mod queue;
pub mod reconcile;
pub mod run;
pub mod server;
pub mod sets;
pub mod snapshot;
pub mod variables;
pub mod writer;
