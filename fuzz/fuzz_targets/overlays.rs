//! Arbitrary trees and kustomizations: no panic, no hang, no growth without bound, and what is printed reads back.
//!
//! ```sh
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run overlays -- -max_total_time=3600 -timeout=10 -rss_limit_mb=2048
//! cp fuzz/artifacts/overlays/crash-* controller/kustomize/tests/fuzz/<what it was>.bin
//! ```

#![no_main]

#[path = "../../controller/kustomize/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| support::arbitrary::check(bytes));
