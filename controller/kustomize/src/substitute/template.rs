//! The text of a template to its parts.
//!
//! The grammar is that of Flux's `envsubst`, which accepts more than its documentation tells and less than a shell:
//!
//! - Outside of an expansion `$$` stands for `$`; a `$` before anything but `{` and `$` stands for itself.
//! - The argument of an operator is either one nested expansion or one run of text; only a default may be a sequence of
//!   both. Text ends at `${`, at the operator's own delimiter, or at `}`.
//! - The first argument of a replacement ends at `/` only, so a `}` is part of it, and so is a line break.
//! - In the arguments of a replacement `\/`, `\\` and `$$` are escapes; no other argument has any.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// Expansions may lie in each other this deep.
pub(super) const MAX_NESTING: usize = 64;

/// A piece of a template, or an argument of an operator.
#[derive(Debug, PartialEq)]
pub(super) enum Part<'t> {
    /// Text that stands for itself, escapes resolved.
    Text(Cow<'t, str>),
    /// `${...}`
    Expansion(Expansion<'t>),
}

/// `${name}`, `${name operator arguments}` or `${#name}`.
#[derive(Debug, PartialEq)]
pub(super) struct Expansion<'t> {
    /// Where its `${` begins in the template.
    pub(super) at: usize,
    /// The variable; may be one that no variable can be called.
    pub(super) name: &'t str,
    pub(super) operator: Operator,
    pub(super) arguments: Vec<Part<'t>>,
}

/// What an expansion makes of the value. The number of arguments is that of the grammar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operator {
    /// `${v}`; also `${v,^}` and `${v^,}`, which the grammar lets through.
    Value,
    /// `${#v}`
    Length,
    /// `${v^}`
    UpperFirst,
    /// `${v^^}`
    Upper,
    /// `${v,}`
    LowerFirst,
    /// `${v,,}`
    Lower,
    /// `${v=d}`, `${v:=d}`, `${v:-d}`, `${v:?d}`, `${v:+d}`: all mean the same to Flux. Any number of arguments.
    Default,
    /// `${v:offset}`, `${v:offset:length}`
    Substring,
    /// `${v#glob}`, `${v##glob}`
    TrimPrefix(Reach),
    /// `${v%glob}`, `${v%%glob}`
    TrimSuffix(Reach),
    /// `${v/old/new}`; `new` may be absent.
    ReplaceFirst,
    /// `${v//old/new}`
    ReplaceAll,
    /// `${v/#old/new}`
    ReplacePrefix,
    /// `${v/%old/new}`
    ReplaceSuffix,
}

/// How much a glob takes away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

/// Why a text is no template.
#[derive(Debug, PartialEq)]
pub(super) struct Malformed {
    /// Where the `${` of the expansion begins.
    pub(super) at: usize,
    /// What is wrong, with the name of the variable where it is known.
    pub(super) message: String,
}

/// Whether the text is anything but itself when it is taken for a template.
pub(super) fn is_template(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'$', bytes).any(|at| matches!(bytes.get(at + 1), Some(b'{' | b'$')))
}

/// The parts of a template.
pub(super) fn parse(template: &str) -> Result<Vec<Part<'_>>, Malformed> {
    let mut scanner = Scanner { template, position: 0 };
    let mut parts = Vec::new();
    while !scanner.rest().is_empty() {
        match scanner.text(|_| true, Escapes::Dollar) {
            Some(text) => parts.push(Part::Text(text)),
            None => parts.push(Part::Expansion(scanner.expansion(0)?)),
        }
    }
    Ok(parts)
}

/// Which escapes a run of text has.
#[derive(Clone, Copy, PartialEq)]
enum Escapes {
    None,
    /// `$$`
    Dollar,
    /// `$$`, `\/` and `\\`
    All,
}

impl Escapes {
    /// What the two characters at the begin of the text are an escape of.
    fn resolve(self, text: &str) -> Option<&str> {
        let resolves = match text.as_bytes() {
            [b'$', b'$', ..] => self != Self::None,
            [b'\\', b'/' | b'\\', ..] => self == Self::All,
            _ => false,
        };
        resolves.then(|| text.get(1..2)).flatten()
    }
}

struct Scanner<'t> {
    template: &'t str,
    position: usize,
}

impl<'t> Scanner<'t> {
    fn rest(&self) -> &'t str {
        self.template.get(self.position..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes the characters from here on that are accepted, at most `most` of them.
    fn run(&mut self, accept: impl Fn(char) -> bool, most: usize) -> &'t str {
        let rest = self.rest();
        let length = rest.chars().take(most).take_while(|character| accept(*character)).map(char::len_utf8).sum();
        let run = rest.get(..length).unwrap_or("");
        self.position += run.len();
        run
    }

    /// Takes the text up to the next expansion or the first character that is not accepted; nothing when that is here.
    fn text(&mut self, accept: impl Fn(char) -> bool, escapes: Escapes) -> Option<Cow<'t, str>> {
        let start = self.position;
        let mut resolved: Option<String> = None;
        loop {
            let rest = self.rest();
            let Some(next) = rest.chars().next() else { break };
            if rest.starts_with("${") {
                break;
            }
            if let Some(escaped) = escapes.resolve(rest) {
                resolved.get_or_insert_with(|| self.template.get(start..self.position).unwrap_or("").to_owned());
                if let Some(resolved) = &mut resolved {
                    resolved.push_str(escaped);
                }
                self.position += 2;
                continue;
            }
            if !accept(next) {
                break;
            }
            if let Some(resolved) = &mut resolved {
                resolved.push(next);
            }
            self.position += next.len_utf8();
        }
        if self.position == start {
            return None;
        }
        Some(match resolved {
            Some(text) => Cow::Owned(text),
            None => Cow::Borrowed(self.template.get(start..self.position).unwrap_or("")),
        })
    }

    /// The expansion whose `${` is here.
    fn expansion(&mut self, depth: usize) -> Result<Expansion<'t>, Malformed> {
        let at = self.position;
        self.position += 2;
        if depth >= MAX_NESTING {
            let message = format!("expansions lie in each other more than {MAX_NESTING} deep");
            return Err(Malformed { at, message });
        }
        let length = self.peek() == Some('#');
        if length {
            self.position += 1;
        }
        let name = self.run(is_name, usize::MAX);
        if name.is_empty() {
            let message = "`${` is not followed by the name of a variable; write `$${` where the text itself is meant";
            return Err(Malformed { at, message: message.to_owned() });
        }
        let mut body = Body { scanner: self, at, name, depth, arguments: Vec::new() };
        let operator = if length { Operator::Length } else { body.operator()? };
        if body.scanner.run(|character| character == '}', 1).is_empty() {
            return Err(body.malformed());
        }
        let arguments = body.arguments;
        Ok(Expansion { at, name, operator, arguments })
    }
}

/// What comes after the name of an expansion.
struct Body<'s, 't> {
    scanner: &'s mut Scanner<'t>,
    at: usize,
    name: &'t str,
    depth: usize,
    arguments: Vec<Part<'t>>,
}

impl Body<'_, '_> {
    fn malformed(&self) -> Malformed {
        let message = format!(
            "`${{{}` does not go on as a substitution has to: with `}}`, or an operator with its arguments and then `}}`; \
             write `$${{` where the text itself is meant",
            self.name
        );
        Malformed { at: self.at, message }
    }

    /// The operator and its arguments, up to the closing brace.
    fn operator(&mut self) -> Result<Operator, Malformed> {
        let rest = self.scanner.rest();
        match rest.as_bytes() {
            [b'=', ..] => self.default(1),
            [b':', b'=' | b'-' | b'?' | b'+', ..] => self.default(2),
            // Flux's scanner loses its place when the colon is followed by a character of several bytes.
            [b':', second, ..] if !second.is_ascii() => Err(self.malformed()),
            [b':', ..] => self.substring(),
            [b',' | b'^', ..] => Ok(match self.scanner.run(|character| matches!(character, ',' | '^'), 2) {
                "," => Operator::LowerFirst,
                ",," => Operator::Lower,
                "^" => Operator::UpperFirst,
                "^^" => Operator::Upper,
                _ => Operator::Value,
            }),
            [b'#', ..] => self.trim('#').map(Operator::TrimPrefix),
            [b'%', ..] => self.trim('%').map(Operator::TrimSuffix),
            [b'/', second, ..] => match second {
                b'/' => self.replacement(2, Operator::ReplaceAll),
                b'#' => self.replacement(2, Operator::ReplacePrefix),
                b'%' => self.replacement(2, Operator::ReplaceSuffix),
                _ => self.replacement(1, Operator::ReplaceFirst),
            },
            _ => Ok(Operator::Value),
        }
    }

    fn argument(&mut self, accept: impl Fn(char) -> bool, escapes: Escapes) -> Result<(), Malformed> {
        let argument = if self.scanner.rest().starts_with("${") {
            Part::Expansion(self.scanner.expansion(self.depth + 1)?)
        } else {
            Part::Text(self.scanner.text(accept, escapes).ok_or_else(|| self.malformed())?)
        };
        self.arguments.push(argument);
        Ok(())
    }

    /// Takes the delimiter between two arguments; a repeated one counts as one.
    fn delimiter(&mut self, delimiter: char) -> Result<(), Malformed> {
        match self.scanner.run(|character| character == delimiter, usize::MAX) {
            "" => Err(self.malformed()),
            _ => Ok(()),
        }
    }

    fn default(&mut self, operator_length: usize) -> Result<Operator, Malformed> {
        self.scanner.position += operator_length;
        while self.scanner.peek() != Some('}') {
            self.argument(|character| character != '}', Escapes::None)?;
        }
        Ok(Operator::Default)
    }

    fn substring(&mut self) -> Result<Operator, Malformed> {
        self.scanner.position += 1;
        self.argument(|character| !matches!(character, ':' | '}'), Escapes::None)?;
        if self.scanner.peek() != Some('}') {
            self.delimiter(':')?;
            self.argument(|character| character != '}', Escapes::None)?;
        }
        Ok(Operator::Substring)
    }

    fn trim(&mut self, sign: char) -> Result<Reach, Malformed> {
        let signs = self.scanner.run(|character| character == sign, 2);
        self.argument(|character| character != '}', Escapes::None)?;
        Ok(if signs.len() == 1 { Reach::Shortest } else { Reach::Longest })
    }

    fn replacement(&mut self, operator_length: usize, operator: Operator) -> Result<Operator, Malformed> {
        self.scanner.position += operator_length;
        self.argument(|character| character != '/', Escapes::All)?;
        self.delimiter('/')?;
        if self.scanner.peek() != Some('}') {
            self.argument(|character| character != '}', Escapes::All)?;
        }
        Ok(operator)
    }
}

/// Whether a name in a template may have the character: a letter, a decimal digit or `_`. That is more than a variable
/// may be called, so `${1}` and `${é}` are variables that are not set.
fn is_name(character: char) -> bool {
    #[expect(clippy::expect_used, reason = "a constant")]
    static BEYOND_ASCII: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^[\p{L}\p{Nd}]$").expect("the expression is valid"));
    match character {
        '_' => true,
        _ if character.is_ascii() => character.is_ascii_alphanumeric(),
        _ => BEYOND_ASCII.is_match(character.encode_utf8(&mut [0; 4])),
    }
}
