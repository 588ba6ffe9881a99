//! What the operators make of a value, in Flux's reading of them.
//!
//! Values and arguments are bytes: offsets and lengths count bytes, and an offset may fall within a character. Whoever
//! puts the pieces together says whether the whole is text again.

use memchr::memmem;

use super::glob::{self, Match};
use super::runes;
use super::template::{Operator, Reach};

/// What an evaluation may cost still. Each byte that is made and each step of a search counts, those of nested
/// expansions too, so that no template costs more than its text and the values lead one to expect.
#[derive(Debug)]
pub(super) struct Effort {
    /// Bytes that may be made.
    pub(super) bytes: usize,
    /// Steps of searches.
    pub(super) steps: usize,
}

/// Which limit an evaluation ran into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Exhausted {
    Bytes,
    Steps,
}

impl Effort {
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Exhausted> {
        self.steps = self.steps.checked_sub(steps).ok_or(Exhausted::Steps)?;
        Ok(())
    }

    pub(super) fn make(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Exhausted::Bytes)?;
        Ok(())
    }
}

/// Why an operator gave nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refused {
    Exhausted(Exhausted),
    /// The offset and the length of a substring together are more than 64 bits hold; Flux panics.
    Overflow,
}

impl From<Exhausted> for Refused {
    fn from(exhausted: Exhausted) -> Self {
        Self::Exhausted(exhausted)
    }
}

/// Appends to `out` what the operator makes of the value.
pub(super) fn apply(
    operator: Operator,
    value: &[u8],
    arguments: &[Vec<u8>],
    effort: &mut Effort,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let first = arguments.first().map(Vec::as_slice);
    let second = arguments.get(1).map(Vec::as_slice);
    effort.spend(1)?;
    let mut pieces = |pieces: &[&[u8]], effort: &mut Effort| -> Result<(), Refused> {
        effort.make(pieces.iter().map(|piece| piece.len()).sum())?;
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        Ok(())
    };
    match (operator, first) {
        (Operator::Length, _) => pieces(&[value.len().to_string().as_bytes()], effort),
        (Operator::UpperFirst, _) => pieces(&first_mapped(value, runes::upper).each_ref().map(Vec::as_slice), effort),
        (Operator::LowerFirst, _) => pieces(&first_mapped(value, runes::lower).each_ref().map(Vec::as_slice), effort),
        (Operator::Upper, _) => mapped(value, runes::upper, effort, out),
        (Operator::Lower, _) => mapped(value, runes::lower, effort, out),
        (Operator::Default, Some(_)) if value.is_empty() => {
            arguments.iter().try_for_each(|argument| pieces(&[argument], effort))
        }
        (Operator::Substring, Some(offset)) => pieces(&[substring(value, offset, second)?], effort),
        (Operator::TrimPrefix(reach), Some(glob)) => {
            let taken = matched_prefix(value, glob, reach, effort)?;
            pieces(&[value.get(taken..).unwrap_or_default()], effort)
        }
        (Operator::TrimSuffix(reach), Some(glob)) => {
            effort.make(value.len())?;
            let (value, glob) = (reversed(value), reversed(glob));
            let taken = matched_prefix(&value, &glob, reach, effort)?;
            pieces(&[&reversed(value.get(taken..).unwrap_or_default())], effort)
        }
        (Operator::ReplaceFirst, Some(old)) => replaced(value, old, second.unwrap_or_default(), 1, effort, out),
        (Operator::ReplaceAll, Some(old)) => replaced(value, old, second.unwrap_or_default(), usize::MAX, effort, out),
        (Operator::ReplacePrefix, Some(old)) => match (value.strip_prefix(old), second) {
            (Some(rest), Some(new)) => pieces(&[new, rest], effort),
            _ => pieces(&[value], effort),
        },
        (Operator::ReplaceSuffix, Some(old)) => match (value.strip_suffix(old), second) {
            (Some(rest), Some(new)) => pieces(&[rest, new], effort),
            _ => pieces(&[value], effort),
        },
        _ => pieces(&[value], effort),
    }
}

/// The first character mapped, and the rest.
fn first_mapped(value: &[u8], map: fn(char) -> char) -> [Vec<u8>; 2] {
    if value.is_empty() {
        return [Vec::new(), Vec::new()];
    }
    let (character, width) = runes::first(value);
    [map(character).to_string().into_bytes(), value.get(width..).unwrap_or_default().to_vec()]
}

/// Each character mapped; what is none becomes U+FFFD.
fn mapped(value: &[u8], map: fn(char) -> char, effort: &mut Effort, out: &mut Vec<u8>) -> Result<(), Refused> {
    // No mapping makes a character more than three times as long.
    effort.make(value.len().saturating_mul(3))?;
    let text: String = runes::all(value).map(map).collect();
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The characters the other way round; what is none becomes U+FFFD.
fn reversed(value: &[u8]) -> Vec<u8> {
    runes::all(value).rev().collect::<String>().into_bytes()
}

/// The bytes from an offset on, a number of them. Either counts from the end when it is negative; the value stays as it
/// is when either is no number, and what lies outside of it is empty.
fn substring<'v>(value: &'v [u8], offset: &[u8], length: Option<&[u8]>) -> Result<&'v [u8], Refused> {
    let Some(offset) = integer(offset) else { return Ok(value) };
    let size = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let start = if offset < 0 { (size + offset).max(0) } else { offset };
    let end = match length.map(integer) {
        None => size,
        Some(None) => return Ok(value),
        Some(Some(length)) if length < 0 => size + length,
        Some(Some(length)) => start.checked_add(length).ok_or(Refused::Overflow)?.min(size),
    };
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    Ok(range.and_then(|(start, end)| value.get(start..end)).unwrap_or_default())
}

/// A decimal number of 64 bits with an optional sign.
fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// How many bytes of the begin of the value the glob takes; none when the glob is wrong.
fn matched_prefix(value: &[u8], glob: &[u8], reach: Reach, effort: &mut Effort) -> Result<usize, Exhausted> {
    let mut matched = 0;
    // A fault of the glob counts wherever it is met, so the shortest match is looked for behind all others.
    for end in (1..=value.len()).rev() {
        match glob::matches(glob, value.get(..end).unwrap_or_default(), effort)? {
            Match::BadPattern => return Ok(0),
            Match::Yes => matched = end,
            Match::No => continue,
        }
        if reach == Reach::Longest {
            break;
        }
    }
    Ok(matched)
}

/// The value with `old` replaced, at most so often. Nothing is found before and behind every character.
fn replaced(
    value: &[u8],
    old: &[u8],
    new: &[u8],
    most: usize,
    effort: &mut Effort,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    effort.spend(value.len())?;
    let places: Box<dyn Iterator<Item = usize> + '_> =
        if old.is_empty() { Box::new(boundaries(value)) } else { Box::new(memmem::find_iter(value, old)) };
    let mut from = 0;
    for place in places.take(most) {
        let kept = value.get(from..place).unwrap_or_default();
        effort.make(kept.len() + new.len())?;
        out.extend_from_slice(kept);
        out.extend_from_slice(new);
        from = place + old.len();
    }
    let kept = value.get(from..).unwrap_or_default();
    effort.make(kept.len())?;
    out.extend_from_slice(kept);
    Ok(())
}

/// The places before, between and behind the characters.
fn boundaries(value: &[u8]) -> impl Iterator<Item = usize> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let place = next?;
        let rest = value.get(place..).unwrap_or_default();
        next = (!rest.is_empty()).then(|| place + runes::first(rest).1.max(1));
        Some(place)
    })
}
