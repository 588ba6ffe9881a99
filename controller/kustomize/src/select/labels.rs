//! Selectors of labels in the syntax of Kubernetes: `app=web, tier in (a, b), !canary`.

use manifest::yaml::Node;

/// Conditions that all have to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Exists,
    Missing,
    /// `=`, `==`, `in`
    In(Vec<String>),
    /// `!=`, `notin`; a key that is not there is fine.
    NotIn(Vec<String>),
    GreaterThan(i64),
    LessThan(i64),
}

impl LabelSelector {
    /// # Errors
    /// What was found where something else is expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let mut requirements = Vec::new();
        if parser.peek() == &Token::End {
            return Ok(Self(requirements));
        }
        loop {
            requirements.push(parser.requirement()?);
            match parser.next() {
                Token::End => return Ok(Self(requirements)),
                Token::Symbol(",") => {}
                other => return Err(format!("found {other}, expected: ',' or the end")),
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the pairs of a mapping satisfy all conditions. Numbers count by their text.
    pub(super) fn matches(&self, pairs: Option<&Node>) -> bool {
        self.0.iter().all(|Requirement { key, condition }| {
            let value = pairs.and_then(|pairs| pairs.get(key));
            let value = value.map(|node| node.as_scalar().map_or("", |scalar| scalar.text.as_str()));
            match condition {
                Condition::Exists => value.is_some(),
                Condition::Missing => value.is_none(),
                Condition::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
                Condition::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
                Condition::GreaterThan(bound) => number(value).is_some_and(|value| value > *bound),
                Condition::LessThan(bound) => number(value).is_some_and(|value| value < *bound),
            }
        })
    }
}

fn number(value: Option<&str>) -> Option<i64> {
    value?.parse().ok()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
    End,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => write!(f, "'{word}'"),
            Self::Symbol(symbol) => write!(f, "'{symbol}'"),
            Self::End => f.write_str("the end"),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    /// Longer ones first.
    const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
    let special = |character: char| SYMBOLS.iter().any(|symbol| symbol.starts_with(character));
    let blank = |character: char| matches!(character, ' ' | '\t' | '\r' | '\n');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(blank);
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let end = rest.find(|character| special(character) || blank(character)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        }
        rest = rest.trim_start_matches(blank);
    }
    tokens.push(Token::End);
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (negated, token) = match self.next() {
            Token::Symbol("!") => (true, self.next()),
            token => (false, token),
        };
        let Token::Word(key) = token else { return Err(format!("found {token}, expected: !, or a key")) };
        check_key(&key)?;
        let ends = matches!(self.peek(), Token::End | Token::Symbol(","));
        let condition = match (negated, ends) {
            (true, _) => Condition::Missing,
            (false, true) => Condition::Exists,
            (false, false) => self.condition(&key)?,
        };
        Ok(Requirement { key, condition })
    }

    fn condition(&mut self, key: &str) -> Result<Condition, String> {
        let operator = self.next();
        let word = if let Token::Word(word) = &operator { word.as_str() } else { "" };
        Ok(match (&operator, word) {
            (Token::Symbol("=" | "=="), _) => Condition::In(vec![self.value(key)?]),
            (Token::Symbol("!="), _) => Condition::NotIn(vec![self.value(key)?]),
            (Token::Symbol(">"), _) => Condition::GreaterThan(self.bound(key)?),
            (Token::Symbol("<"), _) => Condition::LessThan(self.bound(key)?),
            (_, "in") => Condition::In(self.values(key)?),
            (_, "notin") => Condition::NotIn(self.values(key)?),
            _ => return Err(format!("found {operator}, expected: '=', '!=', '==', '>', '<', 'in' or 'notin'")),
        })
    }

    /// One value, which may be nothing.
    fn value(&mut self, key: &str) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(word) => checked(key, word),
            other => Err(format!("found {other}, expected: a value")),
        }
    }

    fn bound(&mut self, key: &str) -> Result<i64, String> {
        let value = self.value(key)?;
        value.parse().map_err(|_| format!("{value:?} is compared with {key:?}, but is no integer"))
    }

    /// `(a, b)`; nothing between commas or parentheses is the empty value.
    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found {other}, expected: '('")),
        }
        let mut values = Vec::new();
        let mut word: Option<String> = None;
        loop {
            match self.next() {
                Token::Word(next) if word.is_none() => word = Some(checked(key, next)?),
                Token::Symbol(",") => values.push(word.take().unwrap_or_default()),
                Token::Symbol(")") => {
                    values.push(word.unwrap_or_default());
                    return Ok(values);
                }
                other => return Err(format!("found {other}, expected: ',' or ')'")),
            }
        }
    }
}

/// A part of a key or a value: 63 characters, of which the first and the last are no punctuation.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// `name`, or `prefix.of.dns/name`.
fn check_key(key: &str) -> Result<(), String> {
    let dns = |prefix: &str| {
        let label = |label: &str| {
            let bytes = label.as_bytes();
            let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            bytes.first().is_some_and(alphanumeric)
                && bytes.last().is_some_and(alphanumeric)
                && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
        };
        prefix.len() <= 253 && prefix.split('.').all(label)
    };
    let valid = match key.split_once('/') {
        Some((prefix, name)) => dns(prefix) && is_name(name),
        None => is_name(key),
    };
    if valid { Ok(()) } else { Err(format!("invalid label key {key:?}")) }
}

fn checked(key: &str, value: String) -> Result<String, String> {
    if value.is_empty() || is_name(&value) {
        Ok(value)
    } else {
        Err(format!("invalid label value {value:?} for {key:?}: at most 63 letters, digits, '-', '_' and '.'"))
    }
}

#[cfg(test)]
mod tests {
    use manifest::yaml;

    use super::*;

    #[test]
    fn selectors_mean_what_they_mean_to_kubernetes() {
        let pairs = yaml::parse("t", b"{a: x, b: '', n: '5', in: y, p.q/r: z}").unwrap().remove(0).node;
        let rows = [
            ("", Some(true)),
            ("  ", Some(true)),
            ("a", Some(true)),
            ("!a", Some(false)),
            ("! q", Some(true)),
            ("q", Some(false)),
            ("a=x", Some(true)),
            ("a = x , n == 5", Some(true)),
            ("a=", Some(false)),
            ("b=", Some(true)),
            ("b=,a=x", Some(true)),
            ("q=", Some(false)),
            ("a!=x", Some(false)),
            ("q!=x", Some(true)),
            ("a in (w,x)", Some(true)),
            ("a in(x)", Some(true)),
            ("a notin (w,x)", Some(false)),
            ("q notin (w)", Some(true)),
            ("b in ()", Some(true)),
            ("b in (,)", Some(true)),
            ("a in ()", Some(false)),
            ("in", Some(true)),
            ("in=y", Some(true)),
            ("in in (in,y)", Some(true)),
            ("n>4", Some(true)),
            ("n > 5", Some(false)),
            ("n<6", Some(true)),
            ("a<6", Some(false)),
            ("q<6", Some(false)),
            ("p.q/r=z", Some(true)),
            ("n>x", None),
            ("a,", None),
            (",a", None),
            ("a=x=y", None),
            ("a x", None),
            ("a in x", None),
            ("a in (x", None),
            ("a in (x y)", None),
            ("=x", None),
            ("!", None),
            ("!a=x", None),
            ("a=x/y", None),
            ("-a", None),
            ("P.q/r", None),
            ("a/b/c", None),
        ];
        for (text, expected) in rows {
            let matches = LabelSelector::parse(text).map(|selector| selector.matches(Some(&pairs)));
            assert_eq!(matches.ok(), expected, "{text:?}");
        }
        let long = "a".repeat(64);
        assert!(LabelSelector::parse(&format!("a={long}")).is_err());
        assert!(LabelSelector::parse("!a").unwrap().matches(None));
    }
}
