//! Overlays of our own: what they build to, what is told of those that are wrong, and what is too much.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod build;
mod faults;
mod limits;
