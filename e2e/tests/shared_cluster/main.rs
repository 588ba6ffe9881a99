//! The end-to-end tests that share one cluster, each in a namespace of its own, side by side: servers start once for all.
//! Tests that change what all namespaces share have an executable of their own.

mod again;
mod agent;
mod bad_input;
mod crash;
mod deletion;
mod environment;
mod generated;
mod given;
mod hardening;
mod inputs;
mod invoke;
mod leader;
mod leaving;
mod moves;
mod observe;
mod order;
mod overlays;
mod rollback;
mod runner;
mod sets;
mod slow;
mod sources;
mod spine;
mod uninstall;
#[path = "../world/mod.rs"]
mod world;
