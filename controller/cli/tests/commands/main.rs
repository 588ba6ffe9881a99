//! The commands of `flux-porter`, as a user gives them.

// A test may panic wherever it is; clippy knows that of test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod build;
mod follow;
mod http;
mod samples;
mod tutorial;
