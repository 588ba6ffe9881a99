//! A parsed template and the values of its variables to text.

use super::Variables;
use super::operation::{self, Effort, Exhausted, Refused};
use super::template::{Expansion, Operator, Part};

/// What a template came to.
#[derive(Debug)]
pub(super) struct Evaluated {
    /// The result. Cutting may have left bytes that are no UTF-8.
    pub(super) bytes: Vec<u8>,
    /// The expansions that are not within another, in the order of the template.
    pub(super) expansions: Vec<Expanded>,
}

/// Where an expansion came to stand.
#[derive(Debug)]
pub(super) struct Expanded {
    /// Where it begins in the template.
    pub(super) template: usize,
    /// Where what it gave begins in the result.
    pub(super) result: usize,
    pub(super) name: String,
}

/// Why a template gives nothing, with where the expansion at fault begins in it.
#[derive(Debug, PartialEq)]
pub(super) struct Failed {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Why {
    /// In strict mode: the variable has no value and the operator gives no default.
    NotSet,
    /// The operator failed, or a limit was reached.
    Refused(Refused),
}

/// Evaluates a template. Tells of all variables that are not set, or of the first other fault.
pub(super) fn evaluate(
    parts: &[Part<'_>],
    variables: &Variables,
    strict: bool,
    effort: &mut Effort,
) -> Result<Evaluated, Vec<Failed>> {
    let mut evaluation = Evaluation { variables, strict, effort, not_set: Vec::new() };
    let (mut bytes, mut expansions) = (Vec::new(), Vec::new());
    for part in parts {
        if let Part::Expansion(expansion) = part {
            let (template, name) = (expansion.at, expansion.name.to_owned());
            expansions.push(Expanded { template, result: bytes.len(), name });
        }
        let result = evaluation.part(part, &mut bytes);
        if let Err(failed) = result {
            evaluation.not_set.push(failed);
            return Err(evaluation.not_set);
        }
    }
    if evaluation.not_set.is_empty() { Ok(Evaluated { bytes, expansions }) } else { Err(evaluation.not_set) }
}

struct Evaluation<'e> {
    variables: &'e Variables,
    strict: bool,
    effort: &'e mut Effort,
    not_set: Vec<Failed>,
}

impl Evaluation<'_> {
    fn part(&mut self, part: &Part<'_>, out: &mut Vec<u8>) -> Result<(), Failed> {
        match part {
            Part::Text(text) => {
                self.effort.make(text.len()).map_err(|exhausted| too_much("", 0, exhausted))?;
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Part::Expansion(expansion) => self.expansion(expansion, out),
        }
    }

    /// Arguments are evaluated before the value is looked at: a default that is not needed has to be whole too.
    fn expansion(&mut self, expansion: &Expansion<'_>, out: &mut Vec<u8>) -> Result<(), Failed> {
        let Expansion { at, name, operator, arguments } = expansion;
        let arguments = arguments
            .iter()
            .map(|argument| {
                let mut bytes = Vec::new();
                self.part(argument, &mut bytes).map(|()| bytes)
            })
            .collect::<Result<Vec<_>, Failed>>()?;
        let value = match self.variables.get(name) {
            Some(value) => value,
            None => {
                if self.strict && *operator != Operator::Default {
                    self.not_set.push(Failed { at: *at, name: (*name).to_owned(), why: Why::NotSet });
                }
                &[]
            }
        };
        operation::apply(*operator, value, &arguments, self.effort, out).map_err(|refused| Failed {
            at: *at,
            name: (*name).to_owned(),
            why: Why::Refused(refused),
        })
    }
}

fn too_much(name: &str, at: usize, exhausted: Exhausted) -> Failed {
    Failed { at, name: name.to_owned(), why: Why::Refused(Refused::Exhausted(exhausted)) }
}
