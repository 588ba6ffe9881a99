//! Globs as `${v#glob}` takes them: Go's `path.Match`, but `*` and `?` match a `/` too.
//!
//! Bytes, not characters: a value may be cut within one. `*` commits to the first place at which what follows it
//! matches, so a pattern with several stars can miss a match that another choice would find.

use super::operation::{Effort, Exhausted};
use super::runes;

/// What a match came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Match {
    Yes,
    No,
    /// The pattern is wrong, and the wrong place was reached.
    BadPattern,
}

/// Whether the pattern matches all of the text.
pub(super) fn matches(mut pattern: &[u8], mut text: &[u8], effort: &mut Effort) -> Result<Match, Exhausted> {
    while !pattern.is_empty() {
        let piece = Piece::first(pattern);
        pattern = piece.rest;
        if piece.star && piece.literal.is_empty() {
            return Ok(Match::Yes);
        }
        let last = pattern.is_empty();
        // The last piece has to reach the end of the text.
        let fits = |rest: &[u8]| !last || rest.is_empty();
        match piece.strip(text, effort)? {
            Stripped::Rest(rest) if fits(rest) => {
                text = rest;
                continue;
            }
            Stripped::BadPattern => return Ok(Match::BadPattern),
            _ => {}
        }
        if !piece.star {
            return Ok(Match::No);
        }
        let mut found = None;
        for start in 1..=text.len() {
            match piece.strip(text.get(start..).unwrap_or_default(), effort)? {
                Stripped::Rest(rest) if fits(rest) => {
                    found = Some(rest);
                    break;
                }
                Stripped::BadPattern => return Ok(Match::BadPattern),
                _ => {}
            }
        }
        match found {
            Some(rest) => text = rest,
            None => return Ok(Match::No),
        }
    }
    Ok(if text.is_empty() { Match::Yes } else { Match::No })
}

/// A part of a pattern: stars, and what follows up to the next star.
struct Piece<'p> {
    star: bool,
    literal: &'p [u8],
    rest: &'p [u8],
}

/// What is left of a text.
enum Stripped<'t> {
    Rest(&'t [u8]),
    No,
    BadPattern,
}

impl<'p> Piece<'p> {
    fn first(pattern: &'p [u8]) -> Self {
        let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
        let pattern = pattern.get(stars..).unwrap_or_default();
        let (mut in_class, mut end) = (false, 0);
        while let Some(byte) = pattern.get(end) {
            match byte {
                b'\\' if end + 1 < pattern.len() => end += 1,
                b'[' => in_class = true,
                b']' => in_class = false,
                b'*' if !in_class => break,
                _ => {}
            }
            end += 1;
        }
        let (literal, rest) = pattern.split_at(end.min(pattern.len()));
        Self { star: stars > 0, literal, rest }
    }

    /// Matches the piece at the begin of the text. A fault of the pattern is only seen where the text gets that far.
    fn strip<'t>(&self, mut text: &'t [u8], effort: &mut Effort) -> Result<Stripped<'t>, Exhausted> {
        effort.spend(1)?;
        let mut pattern = self.literal;
        while let [sign, after @ ..] = pattern {
            effort.spend(1)?;
            let Some(first) = text.first() else { return Ok(Stripped::No) };
            match sign {
                b'[' => {
                    let (character, width) = runes::first(text);
                    text = text.get(width..).unwrap_or_default();
                    match class(after, character) {
                        Some((true, rest)) => pattern = rest,
                        Some((false, _)) => return Ok(Stripped::No),
                        None => return Ok(Stripped::BadPattern),
                    }
                    continue;
                }
                b'?' => {
                    let (_, width) = runes::first(text);
                    text = text.get(width..).unwrap_or_default();
                    pattern = after;
                    continue;
                }
                _ => {}
            }
            let (literal, after) = match (sign, after) {
                (b'\\', [escaped, after @ ..]) => (escaped, after),
                (b'\\', []) => return Ok(Stripped::BadPattern),
                _ => (sign, after),
            };
            if literal != first {
                return Ok(Stripped::No);
            }
            text = text.get(1..).unwrap_or_default();
            pattern = after;
        }
        Ok(Stripped::Rest(text))
    }
}

/// Reads a class such as `[a-z]`, whose `[` is taken already: whether the character is in it, and what follows.
/// Nothing when the class is wrong.
fn class(pattern: &[u8], character: char) -> Option<(bool, &[u8])> {
    let (negated, mut pattern) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let (mut found, mut first) = (false, true);
    loop {
        if let ([b']', rest @ ..], false) = (pattern, first) {
            return Some((found != negated, rest));
        }
        let (low, rest) = class_character(pattern)?;
        let (high, rest) = match rest {
            [b'-', rest @ ..] => class_character(rest)?,
            _ => (low, rest),
        };
        found |= (low..=high).contains(&character);
        (pattern, first) = (rest, false);
    }
}

/// One character of a class, which something has to follow.
fn class_character(pattern: &[u8]) -> Option<(char, &[u8])> {
    let pattern = match pattern {
        [] | [b'-' | b']', ..] => return None,
        [b'\\', rest @ ..] => rest,
        _ => pattern,
    };
    let (character, width) = runes::first(pattern);
    let invalid = character == char::REPLACEMENT_CHARACTER && width < 2;
    let rest = pattern.get(width..).filter(|rest| !rest.is_empty())?;
    (!invalid).then_some((character, rest))
}
