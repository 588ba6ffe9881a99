//! [`plan`]: the steps.

use crate::{Input, Outcome, Plan};

/// What is to be done now, and what waits for what.
#[must_use]
pub fn plan(_input: &Input<'_>) -> Plan {
    Plan { steps: Vec::new(), outcome: Outcome::empty() }
}
