//! What is to be done: desired against live, as an ordered list of typed steps, each with its reason.
//!
//! [`plan`] is asked again after every event and after every write. It never waits: a step is due now, or names what it
//! waits for. The same plan serves the controller, `flux-porter plan` and the local mode, so what is shown is what runs.
//!
//! Guarantees, given that the steps are run in their order and that a failing step stops the later steps of its subject:
//! - No Installation gets a new spec while a run of it may be on: see [`observe`].
//! - What is asked is recorded in a release before the Installation is written. A crash between any two steps leads,
//!   with the next plan, to the same end.
//! - Equal desired and live states make no step that writes.
//!
//! Architecture invariant: pure. No client, no clock (`now` is handed in), no randomness.

pub mod adopt;
mod again;
pub mod agent;
mod command;
pub mod drift;
mod in_sync;
mod input;
mod inputs;
mod installation;
mod invoke;
mod left;
pub mod local;
mod moves;
mod name;
mod noting;
mod object;
pub mod observe;
mod order;
mod outcome;
mod ownership;
mod pause;
mod place;
mod planner;
mod question;
mod release;
mod rollback;
mod seen;
mod set_again;
mod set_moves;
mod step;
mod uninstall;
mod write;

pub use api::Agent;
pub use input::{
    Force, Guard, Input, InputSet, Live, LiveInstallation, LiveObject, LiveSet, Remains, Removal, SetKind, SetName,
    SetRun, Why,
};
pub use outcome::{Blocked, Outcome, Standing, Told};
pub use planner::plan;
pub use step::{
    Action, Apply, Delete, DependencyWait, Due, Lift, Plan, Precondition, Reason, Record, Refusal, SetWait, Step,
    Subject, WaitFor,
};
