//! porter-flux-controller: watches Flux sources and BundleSyncs, and drives Porter's Installations from them.
//!
//! ```text
//! watches -> mirrors -> queue -> reconcile: source -> artifact -> objects -> desired -> plan -> applied -> status
//! ```
//! The pure steps live in their own crates; here is what touches the cluster, the clock and the network.
//!
//! Architecture invariant: what stands is known by the mirrors ([`cluster`]), which only watch, and every request beyond the
//! watches is made by the [`writer`]; but for the Lease of [`leader`], on which the writer depends, and the posts of
//! [`notifier`], which go elsewhere. With nothing to do no request is made, unless a sync has variables from ConfigMaps or
//! Secrets: these are read with each reconcile ([`variables`]), since of both only our own are mirrored. Besides, the writer
//! reads: what a write is decided by, just before what cannot be taken back; a Secret that a set names, once a version
//! ([`inputs`]); whether a namespace goes where something in it is deleted; and, of a run that failed or does not get on, pods,
//! events and, where it may, the log, with the Secrets whose values are masked in that.

pub mod args;
pub mod build;
mod claims;
pub mod cluster;
pub mod conditions;
pub mod confidential;
pub mod dependencies;
pub mod diagnosis;
pub mod events;
pub mod expression;
pub mod history;
pub mod inputs;
pub mod leader;
pub mod log;
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
