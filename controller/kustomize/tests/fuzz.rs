//! Arbitrary repositories: whatever they are, a build ends, in an output that reads back or in an error.
//!
//! The same check runs under a coverage-guided fuzzer (`fuzz/`); what that found is in `tests/fuzz` and is built anew here.
//! `KUSTOMIZE_FUZZ_SECONDS=3600` goes on for so long.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::arbitrary::check;

/// So many inputs in the project's own test command.
const INPUTS: u64 = 300;

#[test]
fn what_was_found_before() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz"));
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            println!("{}", path.display());
            check(&std::fs::read(path).unwrap());
            count += 1;
        }
    }
    println!("{count} regressions");
}

#[test]
fn arbitrary_repositories() {
    let seconds = std::env::var("KUSTOMIZE_FUZZ_SECONDS").ok().map(|value| value.parse().unwrap());
    let started = Instant::now();
    let mut seed = 0;
    while match seconds {
        Some(seconds) => started.elapsed() < Duration::from_secs(seconds),
        None => seed < INPUTS,
    } {
        let mut random = fastrand::Rng::with_seed(seed);
        let bytes: Vec<u8> = (0..random.usize(..800)).map(|_| random.u8(..)).collect();
        if let Err(panic) = std::panic::catch_unwind(|| check(&bytes)) {
            println!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
        seed += 1;
    }
    println!("{seed} repositories");
}
