//! The end of a log.
//!
//! Guarantee: of what may have been cut off in the middle nothing is told, so that what is hidden in the rest leaves no part of
//! a value behind. It may not know what is confidential.

/// Bytes of a log that are read.
pub const MOST_READ: i64 = 64 << 10;
/// Bytes of a log that are told.
const MOST_TOLD: usize = 2_048;

/// A text without its last line when it may have been cut in that.
pub fn whole_lines(text: String) -> String {
    let cut = i64::try_from(text.len()).unwrap_or(i64::MAX) >= MOST_READ;
    if cut { text.rsplit_once('\n').map(|(whole, _)| whole.to_owned()).unwrap_or_default() } else { text }
}

/// The last lines of a text, as far as they are few. `None` when nothing is left.
pub fn cut(text: &str, lines: usize) -> Option<String> {
    let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n");
    let mut from = last.len().saturating_sub(MOST_TOLD);
    while !last.is_char_boundary(from) {
        from += 1;
    }
    last.get(from..).filter(|last| !last.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_and_little_of_it() {
        assert_eq!(cut("one\n\ntwo\nthree\n", 2).as_deref(), Some("two\nthree"));
        assert_eq!(cut("\n\n", 2), None);
        assert_eq!(cut("one", 0), None);
        let long = cut(&"ä".repeat(5_000), 3).unwrap();
        assert!(long.len() <= MOST_TOLD && long.chars().all(|c| c == 'ä'));
        assert_eq!(whole_lines("one\ntwo".to_owned()), "one\ntwo");
        let cut_off = format!("{}\nhunt", "x".repeat(usize::try_from(MOST_READ).unwrap()));
        assert!(!whole_lines(cut_off).contains("hunt"));
    }
}
