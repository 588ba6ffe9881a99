//! Reading along the text of a file: blanks, comments and scalars.
//!
//! The rules are those of libyaml, which Go's yaml keeps: YAML 1.1 with some of 1.2. So what kustomize takes is taken,
//! such as a closing bracket at the column of its key, and what it refuses is refused. Nothing is read twice, so that the
//! time is that of the length of the text.

use std::borrow::Cow;

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Bytes before it.
    pub(super) position: usize,
    /// Lines before it.
    pub(super) line: usize,
    /// Where its line begins.
    pub(super) line_start: usize,
}

impl Mark {
    /// The place before it in its line.
    pub(super) fn before(self) -> Self {
        Self { position: self.position.saturating_sub(1).max(self.line_start), ..self }
    }

    /// Bytes between the start of the line and the place; where indentation is counted, these are characters too.
    pub(super) fn column(self) -> usize {
        self.position - self.line_start
    }
}

/// What the text does not allow at a place.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: Mark,
    pub(super) message: &'static str,
}

type Read<T> = Result<T, SyntaxError>;

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Quoted,
    Literal,
    Folded,
}

/// A position in the text. Past its end it reads as NUL, which no text holds.
pub(super) struct Cursor<'a> {
    text: &'a str,
    mark: Mark,
    /// Whether a key of a block mapping, or the entry of a block list, may begin here.
    pub(super) key_allowed: bool,
    /// How many brackets and braces are open.
    pub(super) flow: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at a line of the text.
    pub(super) fn new(text: &'a str, mark: Mark) -> Self {
        Self { text, mark, key_allowed: true, flow: 0 }
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    pub(super) fn column(&self) -> usize {
        self.mark.column()
    }

    pub(super) fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.mark.position + ahead).copied().unwrap_or(0)
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.mark.position += bytes;
    }

    pub(super) fn error<T>(&self, message: &'static str) -> Read<T> {
        Err(SyntaxError { at: self.mark, message })
    }

    /// Whether an indicator that has to stand alone ends here: before a blank, a line break or the end.
    pub(super) fn ends(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), 0 | b' ' | b'\t') || self.break_length(ahead) > 0
    }

    /// Whether the document ends here.
    pub(super) fn at_end(&self) -> bool {
        self.byte(0) == 0 || self.at_document_mark(b"---") || self.at_document_mark(b"...")
    }

    pub(super) fn at_document_mark(&self, mark: &[u8; 3]) -> bool {
        self.column() == 0 && [0, 1, 2].map(|ahead| self.byte(ahead)) == *mark && self.ends(3)
    }

    fn break_length(&self, ahead: usize) -> usize {
        match (self.byte(ahead), self.byte(ahead + 1), self.byte(ahead + 2)) {
            (b'\r', b'\n', _) | (0xc2, 0x85, _) => 2,
            (b'\n' | b'\r', ..) => 1,
            (0xe2, 0x80, 0xa8 | 0xa9) => 3,
            _ => 0,
        }
    }

    /// Goes over a line break, and gives what stands for it in a scalar.
    fn take_break(&mut self) -> &'a str {
        let length = self.break_length(0);
        let written = if length == 3 { self.slice(self.mark.position, self.mark.position + 3) } else { "\n" };
        self.mark.position += length;
        self.mark.line += 1;
        self.mark.line_start = self.mark.position;
        written
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or("")
    }

    /// Goes over blanks of this line. Tabs do not indent.
    pub(super) fn skip_blanks(&mut self) {
        while self.byte(0) == b' ' || (self.byte(0) == b'\t' && (self.flow > 0 || !self.key_allowed)) {
            self.mark.position += 1;
        }
    }

    /// Goes over blanks, comments and line breaks.
    pub(super) fn skip(&mut self) {
        loop {
            self.skip_blanks();
            if self.byte(0) == b'#' {
                self.skip_comment();
            }
            if self.break_length(0) == 0 {
                return;
            }
            self.take_break();
            self.key_allowed |= self.flow == 0;
        }
    }

    pub(super) fn skip_comment(&mut self) {
        while self.byte(0) != 0 && self.break_length(0) == 0 {
            self.mark.position += 1;
        }
    }

    /// Whether a scalar without quotes can begin here.
    pub(super) fn at_plain(&self) -> bool {
        match self.byte(0) {
            b'-' => !self.ends(1),
            b'?' | b':' => self.flow == 0 && !self.ends(1),
            b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\'' | b'"' | b'%' | b'@'
            | b'`' => false,
            _ => !self.ends(0),
        }
    }

    /// A scalar without quotes, within a collection at the column `indent`.
    pub(super) fn plain(&mut self, indent: isize) -> Read<Cow<'a, str>> {
        let start = self.mark;
        let mut text: Cow<'a, str> = Cow::Borrowed("");
        self.key_allowed = false;
        loop {
            push(&mut text, self.plain_line());
            if self.break_length(0) == 0 {
                return Ok(text);
            }
            let first = self.take_break();
            let mut others = String::new();
            loop {
                match self.byte(0) {
                    b'\t' if self.left_of(indent) => {
                        let message = "a tab indents a line of the text: use blanks";
                        return Err(SyntaxError { at: start, message });
                    }
                    b' ' | b'\t' => self.mark.position += 1,
                    _ if self.break_length(0) > 0 => others.push_str(self.take_break()),
                    _ => break,
                }
            }
            let outside = self.flow == 0 && self.left_of(indent);
            if outside || self.at_end() || self.byte(0) == b'#' || self.ends_plain() {
                self.key_allowed = true;
                return Ok(text);
            }
            join_lines(text.to_mut(), Some(first), &others);
        }
    }

    fn left_of(&self, indent: isize) -> bool {
        isize::try_from(self.column()).is_ok_and(|column| column <= indent)
    }

    fn ends_plain(&self) -> bool {
        match self.byte(0) {
            b':' => self.ends(1),
            b',' | b'?' | b'[' | b']' | b'{' | b'}' => self.flow > 0,
            _ => false,
        }
    }

    /// What the line holds of a scalar without quotes; the blanks that follow are skipped.
    fn plain_line(&mut self) -> &'a str {
        let begin = self.mark.position;
        let mut end = begin;
        loop {
            match self.byte(0) {
                0 | b'\n' | b'\r' => break,
                b' ' | b'\t' => self.mark.position += 1,
                b'#' if self.mark.position > end => break,
                b':' | b',' | b'?' | b'[' | b']' | b'{' | b'}' if self.ends_plain() => break,
                0xc2 | 0xe2 if self.break_length(0) > 0 => break,
                _ => {
                    self.mark.position += 1;
                    end = self.mark.position;
                }
            }
        }
        self.slice(begin, end)
    }

    /// A scalar in quotes, which begin here.
    pub(super) fn quoted(&mut self) -> Read<Cow<'a, str>> {
        let start = self.mark;
        let quote = self.byte(0);
        let mut text: Cow<'a, str> = Cow::Borrowed("");
        self.mark.position += 1;
        self.key_allowed = false;
        loop {
            if self.at_end() {
                return Err(SyntaxError { at: start, message: "the quotes are not closed" });
            }
            let mut begin = self.mark.position;
            // Whether the line break is escaped, and so counts for nothing.
            let escaped = loop {
                match self.byte(0) {
                    0 => return Err(SyntaxError { at: start, message: "the quotes are not closed" }),
                    byte if byte == quote => {
                        push(&mut text, self.slice(begin, self.mark.position));
                        self.mark.position += 1;
                        if quote == b'"' || self.byte(0) != b'\'' {
                            return Ok(text);
                        }
                        // A quote that is doubled: the second is the first character of what follows.
                        begin = self.mark.position;
                        self.mark.position += 1;
                    }
                    b'\\' if quote == b'"' => {
                        push(&mut text, self.slice(begin, self.mark.position));
                        if self.break_length(1) > 0 {
                            self.mark.position += 1;
                            self.take_break();
                            break true;
                        }
                        text.to_mut().push(self.escape()?);
                        begin = self.mark.position;
                    }
                    b' ' | b'\t' => {
                        let end = self.mark.position;
                        while matches!(self.byte(0), b' ' | b'\t') {
                            self.mark.position += 1;
                        }
                        if self.break_length(0) > 0 {
                            push(&mut text, self.slice(begin, end));
                            break false;
                        }
                    }
                    b'\n' | b'\r' | 0xc2 | 0xe2 if self.break_length(0) > 0 => {
                        push(&mut text, self.slice(begin, self.mark.position));
                        break false;
                    }
                    _ => self.mark.position += 1,
                }
            };
            let first = if escaped { None } else { Some(self.take_break()) };
            let mut others = String::new();
            loop {
                match self.byte(0) {
                    b' ' | b'\t' => self.mark.position += 1,
                    _ if self.break_length(0) > 0 => others.push_str(self.take_break()),
                    _ => break,
                }
            }
            join_lines(text.to_mut(), first, &others);
        }
    }

    /// The character that an escape stands for, which begins here.
    fn escape(&mut self) -> Read<char> {
        let (character, digits) = match self.byte(1) {
            b'0' => ('\0', 0),
            b'a' => ('\u{7}', 0),
            b'b' => ('\u{8}', 0),
            b't' | b'\t' => ('\t', 0),
            b'n' => ('\n', 0),
            b'v' => ('\u{b}', 0),
            b'f' => ('\u{c}', 0),
            b'r' => ('\r', 0),
            b'e' => ('\u{1b}', 0),
            byte @ (b' ' | b'"' | b'\'' | b'\\') => (char::from(byte), 0),
            b'N' => ('\u{85}', 0),
            b'_' => ('\u{a0}', 0),
            b'L' => ('\u{2028}', 0),
            b'P' => ('\u{2029}', 0),
            b'x' => ('\0', 2),
            b'u' => ('\0', 4),
            b'U' => ('\0', 8),
            _ => return self.error("there is no such escape: write \\\\ for a backslash, or use single quotes"),
        };
        let code = self.slice(self.mark.position + 2, self.mark.position + 2 + digits);
        let character = match digits {
            0 => Some(character),
            _ if code.len() == digits && code.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u32::from_str_radix(code, 16).ok().and_then(char::from_u32)
            }
            _ => None,
        };
        let Some(character) = character else { return self.error("the escape is the number of no character") };
        self.mark.position += 2 + digits;
        Ok(character)
    }

    /// A `|` or `>` block, which begins here, within a collection at the column `indent`.
    pub(super) fn block(&mut self, indent: isize) -> Read<String> {
        let start = self.mark;
        let literal = self.byte(0) == b'|';
        self.mark.position += 1;
        let (mut keep, mut strip, mut increment) = (false, false, 0);
        for _ in 0..2 {
            match self.byte(0) {
                b'+' if !keep && !strip => keep = true,
                b'-' if !keep && !strip => strip = true,
                digit @ b'1'..=b'9' if increment == 0 => increment = usize::from(digit - b'0'),
                _ => break,
            }
            self.mark.position += 1;
        }
        while matches!(self.byte(0), b' ' | b'\t') {
            self.mark.position += 1;
        }
        if self.byte(0) == b'#' {
            self.skip_comment();
        }
        if self.byte(0) != 0 && self.break_length(0) == 0 {
            return self.error("the first line of a block ends with its indicators: begin the text on the next line");
        }
        if self.byte(0) != 0 {
            self.take_break();
        }
        let outside = usize::try_from(indent).ok();
        let mut text = String::new();
        let mut breaks = String::new();
        let fixed = (increment > 0).then(|| outside.unwrap_or(0) + increment);
        let widest = self.block_breaks(fixed, &mut breaks, start)?;
        let column = fixed.unwrap_or_else(|| widest.max(outside.map_or(1, |outside| outside + 1)));
        let mut last_break = "";
        let mut after_blank = false;
        while self.column() == column && self.byte(0) != 0 {
            let blank = matches!(self.byte(0), b' ' | b'\t');
            if !literal && !after_blank && !blank && last_break == "\n" {
                if breaks.is_empty() {
                    text.push(' ');
                }
            } else {
                text.push_str(last_break);
            }
            text.push_str(&breaks);
            breaks.clear();
            after_blank = blank;
            let begin = self.mark.position;
            while !matches!(self.byte(0), 0 | b'\n') && self.break_length(0) == 0 {
                self.mark.position += 1;
            }
            text.push_str(self.slice(begin, self.mark.position));
            last_break = if self.byte(0) == 0 { "" } else { self.take_break() };
            self.block_breaks(Some(column), &mut breaks, start)?;
        }
        if !strip {
            text.push_str(last_break);
        }
        if keep {
            text.push_str(&breaks);
        }
        self.key_allowed = true;
        Ok(text)
    }

    /// Goes over indentation, of a block whose column may be known, and empty lines. Gives the widest indentation.
    fn block_breaks(&mut self, column: Option<usize>, breaks: &mut String, start: Mark) -> Read<usize> {
        let mut widest = 0;
        loop {
            let indents = |cursor: &Self| column.is_none_or(|column| cursor.column() < column);
            while indents(self) && self.byte(0) == b' ' {
                self.mark.position += 1;
            }
            widest = widest.max(self.column());
            if indents(self) && self.byte(0) == b'\t' {
                return Err(SyntaxError { at: start, message: "a tab indents a line of the block: use blanks" });
            }
            if self.break_length(0) == 0 {
                return Ok(widest);
            }
            breaks.push_str(self.take_break());
        }
    }

    /// The name behind `&` or `*`.
    pub(super) fn anchor(&mut self) -> Read<&'a str> {
        let begin = self.mark.position + 1;
        let length = self.word(1);
        self.mark.position = begin + length;
        let ended = self.ends(0) || matches!(self.byte(0), b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`');
        if length == 0 || !ended {
            return self.error("the name of an anchor has letters, digits, '-' and '_' only: put the value in quotes");
        }
        Ok(self.slice(begin, begin + length))
    }

    fn word(&self, ahead: usize) -> usize {
        (ahead..)
            .take_while(|ahead| matches!(self.byte(*ahead), b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-'))
            .count()
    }

    /// A tag, by its handle and the rest: `!!int` is `!!` and `int`, `!<x>` has no handle, `!` has no rest.
    pub(super) fn tag(&mut self) -> Read<(&'a str, String)> {
        let begin = self.mark.position;
        let verbatim = self.byte(1) == b'<';
        let mut handle = "";
        if verbatim {
            self.mark.position += 2;
        } else {
            let word = self.word(1);
            let length = if self.byte(1 + word) == b'!' { word + 2 } else { 1 };
            handle = self.slice(begin, begin + length);
            self.mark.position += length;
        }
        let mut rest = Vec::new();
        loop {
            match self.byte(0) {
                b'%' => {
                    let code = u8::from_str_radix(self.slice(self.mark.position + 1, self.mark.position + 3), 16);
                    let Ok(byte) = code else {
                        return self.error("a % in a tag is followed by two hexadecimal digits");
                    };
                    rest.push(byte);
                    self.mark.position += 3;
                }
                byte if byte.is_ascii_alphanumeric() || b"_-;/?:@&=+$,.!~*'()[]".contains(&byte) => {
                    rest.push(byte);
                    self.mark.position += 1;
                }
                _ => break,
            }
        }
        if verbatim {
            if self.byte(0) != b'>' {
                return self.error("the tag is not closed with '>'");
            }
            self.mark.position += 1;
        }
        match String::from_utf8(rest) {
            Ok(rest) if self.ends(0) && !(rest.is_empty() && handle != "!") => Ok((handle, rest)),
            _ => self.error("this ends no tag: put the value in quotes when it is meant as text"),
        }
    }

    /// The words of a directive, which begins here.
    pub(super) fn directive(&mut self) -> Vec<&'a str> {
        let begin = self.mark.position + 1;
        self.skip_comment();
        let line = self.slice(begin, self.mark.position);
        line.split([' ', '\t']).filter(|word| !word.is_empty()).take_while(|word| !word.starts_with('#')).collect()
    }
}

fn push<'a>(text: &mut Cow<'a, str>, more: &'a str) {
    if text.is_empty() {
        *text = Cow::Borrowed(more);
    } else if !more.is_empty() {
        text.to_mut().push_str(more);
    }
}

/// Folds line breaks between two lines of a scalar: a single one is a blank, the first of several goes.
fn join_lines(text: &mut String, first: Option<&str>, others: &str) {
    match first {
        Some("\n") if others.is_empty() => text.push(' '),
        Some("\n") | None => text.push_str(others),
        Some(first) => {
            text.push_str(first);
            text.push_str(others);
        }
    }
}
