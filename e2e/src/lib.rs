//! End-to-end tests against the real etcd, kube-apiserver, kube-controller-manager, source-controller, git and OCI
//! registry, with the Porter operator and Porter's runs played by the two simulations beside this crate.
//!
//! [`Environment`] starts the servers on loopback ports, from binaries that `hack/control-plane` builds, and hands out
//! clients, namespaces, repositories and controllers. Nothing it starts outlives the process.
//!
//! Architecture invariant: this crate knows the controller only as a process, through its flags, the Kubernetes API and
//! its endpoints, so that whatever a test proves holds for the binary that ships. One module is no part of that, and here only
//! because it needs the API server: [`kustomize_schema`] writes the table of Kubernetes' kinds that `controller/kustomize`
//! has built in, a file of its sources.

mod audit;
pub mod binaries;
mod cluster;
mod controller;
mod environment;
mod eventually;
mod flux;
mod git;
pub mod kustomize_schema;
pub mod process;
mod registry;
mod service_account_key;
mod simulation;
mod user;

pub use audit::{AuditEvent, ObjectRef, ResponseStatus};
pub use cluster::{apply, install_crds, parse_manifests, read_manifests};
pub use controller::{ControllerOptions, ControllerProcess};
pub use environment::{Environment, free_ports};
pub use eventually::{PATIENCE, eventually};
pub use flux::{SourceController, dynamic};
pub use git::{Commit, GitRepository, GitServer};
pub use registry::Registry;
pub use simulated_runner;
pub use simulation::PlayedRunner;
pub use user::User;
