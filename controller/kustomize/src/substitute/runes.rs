//! Characters of bytes that may be no UTF-8, as Go takes them: each byte that belongs to no character is one U+FFFD.

/// The first character and its width; U+FFFD of width 0 when there is none, of width 1 when it is none.
pub(super) fn first(bytes: &[u8]) -> (char, usize) {
    let start = bytes.get(..bytes.len().min(4)).unwrap_or_default();
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) => start.get(..error.valid_up_to()).and_then(|start| std::str::from_utf8(start).ok()).unwrap_or(""),
    };
    match valid.chars().next() {
        Some(character) => (character, character.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, start.len().min(1)),
    }
}

/// All characters.
pub(super) fn all(mut bytes: &[u8]) -> impl DoubleEndedIterator<Item = char> {
    let mut characters = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let (character, width) = first(bytes);
        characters.push(character);
        bytes = bytes.get(width.max(1)..).unwrap_or_default();
    }
    characters.into_iter()
}

/// The upper case of a character when it is one character, else the character itself: Unicode's simple mapping.
pub(super) fn upper(character: char) -> char {
    match character {
        // Greek with an iota subscript, whose full upper case is two characters.
        '\u{1f80}'..='\u{1faf}' if u32::from(character) & 8 == 0 => {
            char::from_u32(u32::from(character) + 8).unwrap_or(character)
        }
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(u32::from(character) + 9).unwrap_or(character),
        _ => single(character, character.to_uppercase()),
    }
}

/// The lower case of a character, likewise.
pub(super) fn lower(character: char) -> char {
    match character {
        '\u{130}' => 'i',
        _ => single(character, character.to_lowercase()),
    }
}

fn single(character: char, mut mapped: impl ExactSizeIterator<Item = char>) -> char {
    match (mapped.len(), mapped.next()) {
        (1, Some(mapped)) => mapped,
        _ => character,
    }
}
