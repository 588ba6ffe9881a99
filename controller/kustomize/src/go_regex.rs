//! Regular expressions as Go's `regexp` reads them, run by the `regex` crate.
//!
//! Both are of RE2's family and differ in details: in Go `\d`, `\s`, `\w` and `\b` know ASCII only, `\Q...\E` quotes, a
//! brace that is no repetition is a brace, a set has no operators, and a repetition of a repetition is an error. A
//! pattern is written anew so that it means here what it means there.

use regex::{Regex, RegexBuilder};

/// The most that Go repeats something.
const MAX_REPEAT: u32 = 1000;

/// The names that both have for classes of ASCII.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// How many bytes a compiled pattern may take: the first will do for nearly all, and what takes more than the last is
/// refused.
pub(crate) const SIZES: [usize; 3] = [16 << 10, 128 << 10, 1 << 20];

/// Why a pattern is not compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It takes more than it may.
    TooLarge,
    /// It is none, in Go's words where they fit.
    NoPattern(String),
}

/// Compiles a pattern of Go, to no more than some bytes.
///
/// # Errors
/// [`Fault`].
pub(crate) fn compile(pattern: &str, bytes: usize) -> Result<Regex, Fault> {
    let mut translator = Translator { rest: pattern, out: String::with_capacity(pattern.len() + 16) };
    translator.run().map_err(Fault::NoPattern)?;
    let built = RegexBuilder::new(&translator.out).size_limit(bytes).dfa_size_limit(bytes).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Fault::TooLarge,
        // The last line of a message says what is wrong; those before it quote what was made of the pattern.
        error => Fault::NoPattern(
            error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        ),
    })
}

/// What a repetition would repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Item,
    Repetition,
}

struct Translator<'p> {
    rest: &'p str,
    out: String,
}

impl<'p> Translator<'p> {
    fn run(&mut self) -> Result<(), String> {
        let mut before = Before::Nothing;
        while let Some(character) = self.next() {
            before = match character {
                '\\' if self.take("Q") => {
                    let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                    self.rest = rest;
                    quoted.chars().for_each(|character| self.literal(character));
                    if quoted.is_empty() { before } else { Before::Item }
                }
                '\\' => {
                    self.escape()?;
                    Before::Item
                }
                '[' => {
                    self.set()?;
                    Before::Item
                }
                '(' => {
                    self.group()?;
                    Before::Nothing
                }
                '|' => {
                    self.out.push('|');
                    Before::Nothing
                }
                '*' | '+' | '?' => self.repetition(before, &character.to_string())?,
                '{' => match self.counts() {
                    Some((counts, rest)) => {
                        self.rest = rest;
                        self.repetition(before, &counts?)?
                    }
                    None => {
                        self.literal('{');
                        Before::Item
                    }
                },
                '.' | '^' | '$' | ')' => {
                    self.out.push(character);
                    Before::Item
                }
                _ => {
                    self.literal(character);
                    Before::Item
                }
            };
        }
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Writes a character that stands for itself, inside a set or outside.
    fn literal(&mut self, character: char) {
        if character.is_ascii_punctuation() {
            self.out.push_str(&format!("\\x{:02X}", u32::from(character)));
        } else {
            self.out.push(character);
        }
    }

    fn repetition(&mut self, before: Before, operator: &str) -> Result<Before, String> {
        match before {
            Before::Nothing => Err(format!("missing argument to repetition operator: `{operator}`")),
            Before::Repetition => Err(format!("invalid nested repetition operator: `{operator}`")),
            Before::Item => {
                self.out.push_str(operator);
                if self.take("?") {
                    self.out.push('?');
                }
                Ok(Before::Repetition)
            }
        }
    }

    /// `n}`, `n,}` or `n,m}` as a repetition, and what follows it; nothing when the brace before it is only a brace.
    fn counts(&self) -> Option<(Result<String, String>, &'p str)> {
        let (counts, rest) = self.rest.split_once('}')?;
        let (least, most) = counts
            .split_once(',')
            .map_or((counts, Some(counts)), |(least, most)| (least, Some(most).filter(|most| !most.is_empty())));
        let is_number = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && (text.len() == 1 || !text.starts_with('0'))
        };
        if !is_number(least) || !most.is_none_or(is_number) {
            return None;
        }
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= MAX_REPEAT);
        let fits = match (number(least), most.map(number)) {
            (Some(_), None) => true,
            (Some(least), Some(Some(most))) => least <= most,
            _ => false,
        };
        let counts = format!("{{{counts}}}");
        Some((if fits { Ok(counts) } else { Err(format!("invalid repeat count: `{counts}`")) }, rest))
    }

    /// What follows an opening parenthesis, as far as it says what the group is.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if !self.take("?") {
            return Ok(());
        }
        self.out.push('?');
        if self.rest.starts_with("P<") || self.rest.starts_with('<') {
            // What is wrong with a name is told when the pattern is compiled.
            let end = self.rest.find('>').map_or(self.rest.len(), |end| end + 1);
            let (name, rest) = self.rest.split_at(end);
            self.out.push_str(name);
            self.rest = rest;
            return Ok(());
        }
        let flags = self.rest.find([')', ':']).and_then(|end| self.rest.get(..end)).unwrap_or(self.rest);
        if flags.chars().any(|flag| !matches!(flag, 'i' | 'm' | 's' | 'U' | '-')) {
            return Err(format!("invalid or unsupported Perl syntax: `(?{flags}`"));
        }
        self.out.push_str(flags);
        self.rest = self.rest.get(flags.len()..).unwrap_or_default();
        for end in [":", ")"] {
            if self.take(end) {
                self.out.push_str(end);
                break;
            }
        }
        Ok(())
    }

    /// What follows a backslash outside of a set.
    fn escape(&mut self) -> Result<(), String> {
        if self.class() {
            return Ok(());
        }
        match self.rest.chars().next() {
            Some(anchor @ ('A' | 'z')) => {
                self.next();
                self.out.extend(['\\', anchor]);
            }
            Some(boundary @ ('b' | 'B')) => {
                self.next();
                self.out.push_str(&format!("(?-u:\\{boundary})"));
            }
            _ => {
                let character = self.escaped()?;
                self.literal(character);
            }
        }
        Ok(())
    }

    /// A class after a backslash, inside a set or outside: `d`, `pL`, `p{Greek}`.
    fn class(&mut self) -> bool {
        let class = match self.rest.chars().next() {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('s') => "[\\t\\n\\f\\r\\x20]",
            Some('S') => "[^\\t\\n\\f\\r\\x20]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some(sign @ ('p' | 'P')) => {
                self.next();
                let negated = self.rest.starts_with("{^");
                let is_positive = (sign == 'p') != negated;
                self.out.push_str(if is_positive { "\\p" } else { "\\P" });
                if negated {
                    self.out.push('{');
                    self.rest = self.rest.get(2..).unwrap_or_default();
                }
                if negated || self.rest.starts_with('{') {
                    let end = self.rest.find('}').map_or(self.rest.len(), |end| end + 1);
                    let (name, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
                    self.out.push_str(name);
                    self.rest = rest;
                } else if let Some(name) = self.next() {
                    self.out.push(name);
                }
                return true;
            }
            _ => return false,
        };
        self.next();
        self.out.push_str(class);
        true
    }

    /// The character that what follows a backslash stands for.
    fn escaped(&mut self) -> Result<char, String> {
        let start = self.rest;
        let Some(character) = self.next() else {
            return Err("trailing backslash at end of expression".to_owned());
        };
        let is_octal = |digit: Option<char>| digit.is_some_and(|digit| digit.is_digit(8));
        let invalid = || format!("invalid escape sequence: `\\{}`", start.chars().take(4).collect::<String>());
        let code = match character {
            'a' => 7,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            // One digit alone would refer to a group.
            '0'..='7' if character == '0' || is_octal(self.rest.chars().next()) => {
                let more = self.rest.chars().take(2).take_while(|digit| digit.is_digit(8)).count();
                let (more, rest) = self.rest.split_at(more);
                self.rest = rest;
                u32::from_str_radix(&format!("{character}{more}"), 8).map_err(|_| invalid())?
            }
            'x' => {
                let (digits, rest) = match self.rest.strip_prefix('{') {
                    Some(rest) => rest.split_once('}').ok_or_else(invalid)?,
                    None => self.rest.split_at_checked(2).ok_or_else(invalid)?,
                };
                self.rest = rest;
                u32::from_str_radix(digits, 16).map_err(|_| invalid())?
            }
            _ if character.is_ascii() && !character.is_ascii_alphanumeric() => u32::from(character),
            _ => return Err(invalid()),
        };
        char::from_u32(code).ok_or_else(invalid)
    }

    /// What follows an opening bracket.
    fn set(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.take("^") {
            self.out.push('^');
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if let Some(end) = self.rest.strip_prefix("[:").and_then(|rest| rest.find(":]")) {
                let (named, rest) = self.rest.split_at(end + 4);
                let name = named.trim_matches(['[', ':', ']', '^']);
                if !CLASSES.contains(&name) {
                    return Err(format!("invalid character class range: `{named}`"));
                }
                self.out.push_str(named);
                self.rest = rest;
                continue;
            }
            if self.rest.starts_with('\\') {
                let before = self.rest;
                self.next();
                if self.class() {
                    continue;
                }
                self.rest = before;
            }
            let low = self.member()?;
            self.literal(low);
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.next();
                let high = self.member()?;
                if high < low {
                    return Err(format!("invalid character class range: `{low}-{high}`"));
                }
                self.out.push('-');
                self.literal(high);
            }
        }
        self.next();
        self.out.push(']');
        Ok(())
    }

    /// One character of a set.
    fn member(&mut self) -> Result<char, String> {
        if self.take("\\") {
            return self.escaped();
        }
        self.next().ok_or_else(|| "missing closing ]".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go 1.26 says of each; `None` where it does not compile.
    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let rows: [(&str, &str, Option<bool>); 62] = [
            ("^a.c$", "abc", Some(true)),
            ("^a.c$", "a\nc", Some(false)),
            (r"^\d$", "٣", Some(false)),
            (r"^\w$", "é", Some(false)),
            (r"^\W$", "é", Some(true)),
            (r"^\s$", "\u{b}", Some(false)),
            (r"^\S$", "\u{a0}", Some(true)),
            (r"é\b", "é", Some(false)),
            (r"^\Bé", "é", Some(true)),
            (r"^[\d_]$", "٣", Some(false)),
            (r"^[^\d]$", "٣", Some(true)),
            (r"^[\W]$", "é", Some(true)),
            (r"^\Qa.b*\E+$", "a.b**", Some(true)),
            (r"^\Qa.b", "a.b", Some(true)),
            (r"\Q\E*", "a", None),
            ("^a{$", "a{", Some(true)),
            ("^a{,2}$", "a{,2}", Some(true)),
            ("^a{1,2$", "a{1,2", Some(true)),
            ("^a{01}$", "a{01}", Some(true)),
            ("^a{2}$", "aa", Some(true)),
            ("^a{2,}$", "aaa", Some(true)),
            ("^a{2,1}$", "aa", None),
            ("a{1001}", "a", None),
            ("a{1000}", "a", Some(false)),
            ("a**", "a", None),
            ("a*?+", "a", None),
            ("a{2}*", "a", None),
            ("(?:a*)*$", "aa", Some(true)),
            ("*", "a", None),
            ("(*)", "a", None),
            ("a|*", "a", None),
            ("^*$", "", Some(true)),
            ("^[]a]$", "]", Some(true)),
            ("^[^]a]$", "]", Some(false)),
            ("[]", "]", None),
            ("[a", "a", None),
            ("^[[]$", "[", Some(true)),
            ("^[a&&b]$", "&", Some(true)),
            ("^[a~~b]$", "~", Some(true)),
            ("^[a-]$", "-", Some(true)),
            ("^[a-c-e]$", "-", Some(true)),
            ("^[+--]$", ",", Some(true)),
            ("[c-a]", "b", None),
            ("^[[:alpha:]_]$", "_", Some(true)),
            ("^[[:^alpha:]]$", "1", Some(true)),
            ("[[:nope:]]", "a", None),
            ("^[[:x]$", ":", Some(true)),
            (r"^[\]\-\\]+$", r"]-\", Some(true)),
            (r"[\b]", "b", None),
            (r"^\<a\>$", "<a>", Some(true)),
            (r"^\_\-\/$", "_-/", Some(true)),
            (r"\h", "h", None),
            (r"a\", "a", None),
            (r"^\x41\x{1F600}\101\0$", "A\u{1F600}A\0", Some(true)),
            (r"(a)\1", "aa", None),
            (r"^\pL\p{Greek}\p{^Greek}\P{^Greek}$", "aαaα", Some(true)),
            ("(?i)^ABC$", "abc", Some(true)),
            ("(?x)a b", "ab", None),
            ("^(?s:.)$", "\n", Some(true)),
            ("(?m)^b$", "a\nb", Some(true)),
            ("^(?P<n>a)(?<m>b)$", "ab", Some(true)),
            ("a)", "a", None),
        ];
        for (pattern, text, expected) in rows {
            let compiled = compile(pattern, SIZES[2]);
            let found = compiled.as_ref().ok().map(|regex| regex.is_match(text));
            assert_eq!(found, expected, "{pattern:?} on {text:?}: {compiled:?}");
        }
    }

    #[test]
    fn a_fault_is_told_in_a_line() {
        for pattern in ["(a", "a)", "[a", "a**", r"\h", "(?P<>a)", "(a{1000}){1000}{2}"] {
            let fault = compile(pattern, SIZES[2]).unwrap_err();
            assert!(
                matches!(&fault, Fault::NoPattern(text) if !text.is_empty() && !text.contains('\n')),
                "{pattern}: {fault:?}"
            );
        }
    }
}
