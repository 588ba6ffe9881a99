//! The planner by tables: what stands and what is asked for, and the steps that follow. A module a subject.

#![allow(clippy::unwrap_used, clippy::panic)]

mod again;
mod agent;
mod deleted;
mod force;
mod foreign;
mod given;
mod in_the_way;
mod inputs;
mod invoke;
mod leaving;
mod leftovers;
mod local;
mod lost;
mod metadata;
mod moves;
mod names;
mod order;
mod results;
mod rollback;
mod set_moves;
mod states;
#[path = "../support/mod.rs"]
mod support;
mod uninstall;
mod up_to_date;
