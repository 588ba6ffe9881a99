//! YAML, read and written.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by a panic, and says what it skips"
)]

mod arbitrary;
mod canonical;
mod readers;
mod yaml;
