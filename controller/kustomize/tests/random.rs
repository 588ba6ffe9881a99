//! Random overlays, built here and by an installed kustomize: both give the same objects, or both an error.
//!
//! `KUSTOMIZE_SEEDS=1000` builds so many, with `KUSTOMIZE_FIRST_SEED=1000` the ones behind them; `KUSTOMIZE_SEED=7` builds one
//! and prints it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use kustomize::{Options, Reorder, Rules};
use support::oracle::{Oracle, Question};
use support::overlay::{Choices, Repository, repository};

/// So many in the project's own test command.
const SEEDS: u64 = 50;

/// So many tell how many of them can be built.
const ENOUGH: usize = 500;

/// Oracles that run beside one another.
const WORKERS: u64 = 2;

#[test]
fn random_overlays_are_built_as_kustomize_builds_them() {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let one = number("KUSTOMIZE_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("KUSTOMIZE_FIRST_SEED").unwrap_or_default();
            first..first + number("KUSTOMIZE_SEEDS").unwrap_or(SEEDS)
        }
    };
    let Some(oracle) = Oracle::find() else {
        println!(
            "!! SKIPPED: neither kustomize v5.8.1 nor kubectl here, so random overlays were only built, not compared !!"
        );
        for seed in seeds {
            let Repository { files, target, is_legacy, .. } = made(seed);
            let _ = support::built(&files, &target, &options(is_legacy));
        }
        return;
    };
    let counts: Vec<Counts> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let seeds = seeds.clone().filter(move |seed| seed % WORKERS == worker);
                scope.spawn(move || {
                    seeds.map(|seed| compared(seed, oracle, one.is_some())).fold(Counts::default(), Counts::and)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let Counts { built, refused, skipped, differences } = counts.into_iter().fold(Counts::default(), Counts::and);
    println!("{built} repositories gave the same objects, {refused} an error both here and there ({oracle:?})");
    if skipped > 0 {
        println!("!! SKIPPED: {skipped} use what is newer than this kubectl; kustomize v5.8.1 would compare them !!");
    }
    if built + refused >= ENOUGH {
        assert!(
            built * 4 >= (built + refused) * 3,
            "what cannot be built says little: three of four repositories should"
        );
    }
    assert!(differences.is_empty(), "{} differ\n\n{}", differences.len(), differences.join("\n\n"));
}

#[derive(Debug, Default)]
struct Counts {
    built: usize,
    refused: usize,
    skipped: usize,
    differences: Vec<String>,
}

impl Counts {
    fn and(mut self, mut other: Self) -> Self {
        self.differences.append(&mut other.differences);
        Self {
            built: self.built + other.built,
            refused: self.refused + other.refused,
            skipped: self.skipped + other.skipped,
            differences: self.differences,
        }
    }
}

fn made(seed: u64) -> Repository {
    repository(&mut Choices::Seed(fastrand::Rng::with_seed(seed)))
}

fn options(is_legacy: bool) -> Options<'static> {
    let reorder = if is_legacy { Reorder::Legacy } else { Reorder::None };
    Options { rules: Rules::Kustomize, reorder, ..Options::default() }
}

fn compared(seed: u64, oracle: Oracle, is_shown: bool) -> Counts {
    let Repository { files, target, is_newer, is_legacy } = made(seed);
    let ours = support::built(&files, &target, &options(is_legacy));
    if is_newer && oracle != Oracle::Exact {
        return Counts { skipped: 1, ..Counts::default() };
    }
    let theirs = oracle.build(&files, &target, Question { is_legacy, loads_from_anywhere: false });
    if is_shown {
        println!("{}\n== here ==\n{ours:?}\n== there ==\n{theirs:?}", support::show(&files));
    }
    let difference = match (&ours, &theirs) {
        (Err(_), Err(_)) => return Counts { refused: 1, ..Counts::default() },
        (Ok(ours), Ok(theirs)) => support::difference(theirs, ours),
        (Ok(ours), Err(error)) => Some(format!("is built here:\n{ours}but there: {error}")),
        (Err(error), Ok(theirs)) => Some(format!("is built there:\n{theirs}but here: {error}")),
    };
    match difference {
        None => Counts { built: 1, ..Counts::default() },
        Some(difference) => {
            let text = format!("seed {seed}, {target}: {difference}\n{}", support::show(&files));
            Counts { differences: vec![text], ..Counts::default() }
        }
    }
}
