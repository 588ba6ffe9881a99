//! The pause between two tries of what failed: a run, a set, an uninstall.

use jiff::{SignedDuration, Timestamp};

/// The longest one, unless the first is longer.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);
/// How often it doubles.
const MOST_DOUBLED: u32 = 16;

/// When the next try of what failed then is due, after so many failures.
pub(crate) fn next_try(failed_at: Timestamp, first: SignedDuration, failures: i32) -> Timestamp {
    let doubled = u32::try_from(failures - 1).unwrap_or_default().min(MOST_DOUBLED);
    let pause = first.checked_mul(2i32.pow(doubled)).unwrap_or(LONGEST);
    failed_at.checked_add(pause.min(LONGEST.max(first))).unwrap_or(failed_at)
}
