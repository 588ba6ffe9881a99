//! A simulation of three things between a Job and its result: the kubelet of the pods of Porter's Jobs, the Porter agent
//! in them, and the CNAB driver that gives each bundle action a Job of its own, with the bundle's image in it.
//!
//! Why: tests run against real servers, but a container runtime, a MongoDB and bundle images are too much to ask of
//! whoever runs them. Jobs and their pods are made by the real kube-controller-manager, which counts pods by their
//! phase, so here each pod only gets a status. For a pod of an agent, its arguments and its working folder are read as
//! Porter would; [`porter_model`] decides, by rules that were recorded with the real porter in three versions, of which
//! the agent's image names one; and where a bundle action runs, a Job for it is made the way Porter's Kubernetes driver
//! makes one: labels as told, no owner, `backoffLimit` 0. That Job's pod is played too, by a script that says whether it
//! fails and how long it takes. With `PORTER` in the environment a real porter CLI decides; `real_porter.rs` says what it
//! needs.
//!
//! [`Runner::executions`] is the truth that tests compare with: which bundle actions ran, in which order, with what, and
//! whether two of one installation ran at the same time.
//!
//! What differs from real pods: nothing is scheduled, there are no logs, and the databases live as long as the
//! [`Runner`]. An agent that is killed leaves no trace in Porter's records but the run that it began; its bundle's pod
//! goes on.

pub mod bundles;
pub mod kubelet;
pub mod porter_model;
mod real_porter;
mod runner;

pub use runner::{Execution, Options, PorterCommand, Runner, run};
