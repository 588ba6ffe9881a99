//! Errors of a user's input: what is wrong, where, and what to do.

use std::fmt;
use std::sync::Arc;

/// A place in a source file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Path of the file from the root of the artifact, `/` between its parts.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing that is wrong with the input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// Where; `None` when the fault is of no one place (an empty directory, say).
    pub at: Option<Location>,
    /// What is wrong, and what to do about it. One line, no trailing full stop. Never holds a parameter's value.
    pub message: String,
}

impl Diagnostic {
    /// A fault at a place.
    pub fn at(location: Location, message: impl Into<String>) -> Self {
        Self { at: Some(location), message: message.into() }
    }

    /// A fault of the input as a whole.
    pub fn general(message: impl Into<String>) -> Self {
        Self { at: None, message: message.into() }
    }
}

/// One line, whatever the input holds: it quotes names of keys, kinds and files, which nobody has checked.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut line = OneLine(f);
        match &self.at {
            Some(location) => write!(line, "{location}: {}", self.message),
            None => line.write_str(&self.message),
        }
    }
}

/// Writes control characters as escapes, so that none reaches a terminal, and none begins a line.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let plain = part.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            for control in part.chars().skip(plain.chars().count()) {
                write!(self.0, "{}", control.escape_default())?;
            }
        }
        Ok(())
    }
}

/// All that is wrong with an input, in the order of files and lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// `Err` with the faults in order when there are any, each told once; else `Ok(value)`.
    ///
    /// # Errors
    /// The faults.
    pub fn check<T>(mut faults: Vec<Diagnostic>, value: T) -> Result<T, Self> {
        if faults.is_empty() {
            return Ok(value);
        }
        faults.sort();
        faults.dedup();
        Err(Self(faults))
    }

    /// What a step came to, with the faults of the step before it.
    ///
    /// # Errors
    /// The faults of both, when there are any.
    pub fn join<T>(mut faults: Vec<Diagnostic>, result: Result<T, Self>) -> Result<T, Self> {
        match result {
            Ok(value) => Self::check(faults, value),
            Err(more) => {
                faults.extend(more.0);
                faults.sort();
                faults.dedup();
                Err(Self(faults))
            }
        }
    }

    /// The faults, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// The same faults, each with another message.
    #[must_use]
    pub fn map_messages(mut self, message: impl Fn(&str) -> String) -> Self {
        for fault in &mut self.0 {
            fault.message = message(&fault.message);
        }
        self
    }

    /// The faults, to be joined with others.
    #[must_use]
    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.0
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(fault: Diagnostic) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_line_without_control_characters() {
        let place = |file: &str| Location { file: file.into(), line: 1, column: 2 };
        let cases = [
            (Diagnostic::general("all is well: \u{e4} \u{1f980}"), "all is well: \u{e4} \u{1f980}"),
            (Diagnostic::general("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc"),
            (Diagnostic::at(place("x\ny.yaml"), "\tz\r"), "x\\ny.yaml:1:2: \\tz\\r"),
            (Diagnostic::general("\n\n"), "\\n\\n"),
        ];
        for (fault, told) in cases {
            assert_eq!(fault.to_string(), told);
        }
    }
}
