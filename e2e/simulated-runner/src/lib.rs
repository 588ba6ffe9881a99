//! Plays what is missing between a Job and its result: the kubelet for the pods of Porter's Jobs, Porter inside them, and
//! the bundle's own image.
//!
//! Why: tests run against real servers, but a container runtime, a MongoDB and bundle images are too much to ask of
//! whoever runs them. Jobs and their pods are made by the real kube-controller-manager; here each pod gets a status.
//! A pod of an agent reads its arguments and its working folder as Porter would, [`porter_model`] decides, and where a
//! bundle action runs, a Job for it is made the way Porter's Kubernetes driver makes one: labels copied, no owner,
//! `backoffLimit` 0. That Job's pod is played too, by a script that says whether it fails and how long it takes.
//!
//! [`Runner::executions`] is the truth that tests compare with: which bundle actions ran, in which order, with what, and
//! whether two of one installation ran at the same time.
//!
//! What differs from real pods: nothing is scheduled, there are no logs, and a killed agent leaves no trace in Porter's
//! records but the run that it began.

pub mod kubelet;
pub mod porter_model;
mod runner;

pub use runner::{Execution, Options, PorterCommand, Runner};
