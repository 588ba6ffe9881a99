//! The custom resources of porter-flux, and typed views of the Flux source kinds and the Porter kinds.
//!
//! Everything that the other crates say about a cluster they say in these types, and the CRDs that are installed are
//! generated from them, so the schema that the API server enforces and the code that reads an object cannot disagree.
//!
//! Architecture invariant: data only. No I/O, no clock, no decision; a helper here derives a value from one object.

// The columns that kubectl prints share their type, which the lint takes for an attribute that was given twice.
#![allow(clippy::duplicated_attributes)]

pub mod build;
pub mod bundle_release;
pub mod bundle_sync;
pub mod crd;
pub mod dependency;
mod duration;
mod owner;
pub mod porter;
mod resource;
pub mod source;
mod zero;

pub use build::{
    BuildMetadata, CommonMetadata, Image, Patch, PostBuild, Selector, SubstituteKind, SubstituteReference,
    SubstituteStrategy,
};
pub use bundle_release::{
    Asked, BundleRelease, BundleReleaseSpec, BundleReleaseStatus, BundleState, Compared, ForceStatus, Inputs,
    InstallationId, Invocation, PorterIdentity, Question, ReleaseState, Removed, RetryStatus, RolledBack, Run,
    RunResult, SyncRef, UninstallStatus,
};
pub use bundle_sync::{
    Adoption, Agent, BundleSync, BundleSyncSpec, BundleSyncStatus, DeletionPolicy, InstallationsSummary, Inventory,
    InventoryEntry, Percentage, Pruned, Retry, RetryStrategy, SetRun, Snapshot, SourceKind, SourceRef, Uninstall,
    UninstallPolicy,
};
pub use dependency::{Dependency, DependencyKind};
pub use duration::{Duration, DurationError};
/// A condition as every Kubernetes object has it.
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
/// What all kinds have in common: group, kind, metadata.
pub use kube::Resource;
pub use owner::is_held;

/// The API group of the kinds that porter-flux defines.
pub const GROUP: &str = "flux.getporter.org";
/// The version of the kinds that porter-flux defines.
pub const VERSION: &str = "v1alpha1";
/// The field manager of everything that porter-flux writes with server-side apply.
pub const FIELD_MANAGER: &str = "porter-flux-controller";

/// Label on an applied object: the name of the BundleSync that owns it.
pub const OWNER_NAME_LABEL: &str = "flux.getporter.org/name";
/// Label on an applied object: the namespace of the BundleSync that owns it.
pub const OWNER_NAMESPACE_LABEL: &str = "flux.getporter.org/namespace";
/// Label on an AgentAction of ours: the BundleRelease that it is for.
pub const RELEASE_LABEL: &str = "flux.getporter.org/release";
/// Label on an AgentAction of ours: the generation of the Installation that it runs.
pub const GENERATION_LABEL: &str = "flux.getporter.org/generation";
/// Label on an AgentAction of ours: what it carries out that was asked for by hand, as `status.force.due` had it.
pub const FORCED_LABEL: &str = "flux.getporter.org/forced";
/// Label on an AgentAction of ours: apply, force, uninstall, forget, invoke, show, logs or list.
pub const PURPOSE_LABEL: &str = "flux.getporter.org/purpose";
/// The AgentConfig of each namespace that our AgentActions run with: each runs once.
pub const AGENT_CONFIG: &str = "porter-flux";
/// Finalizer on BundleSyncs, and on the Installations that porter-flux owns.
pub const FINALIZER: &str = "flux.getporter.org/finalizer";

/// Annotation on a BundleSync: a value that differs from `status.lastHandledReconcileAt` asks for a reconcile now.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// Annotation on a BundleSync, with the same value of `requestedAt`: all its installations run again. On a BundleRelease: that
/// one does.
pub const FORCE_AT: &str = "reconcile.fluxcd.io/forceAt";
/// Annotation on a BundleSync: the revision whose uninstalls are confirmed.
pub const CONFIRM: &str = "flux.getporter.org/confirm";
/// Annotation in a source document, consumed and never emitted: the Installations that come first, by
/// their `metadata.name` or as `namespace/name`, with commas between them.
pub const DEPENDS_ON: &str = "flux.getporter.org/depends-on";
/// Annotation in a source document, consumed and never passed on to its Installation: a custom action of the bundle to run once,
/// `<action>@<token>`. On our AgentAction for it, for people.
pub const INVOKE: &str = "flux.getporter.org/invoke";
/// Annotation on an AgentAction of ours for a custom action, or for what sets give: the revision that asks for it.
pub const REVISION: &str = "flux.getporter.org/revision";
/// Annotation on an AgentAction of ours: what the sets of its installation gave when it was made, as `status.inputs` has it.
pub const INPUTS: &str = "flux.getporter.org/inputs";

/// The condition types and reasons of a BundleSync. They are Flux's where Flux has one, so that its tools, and people
/// who know it, read them without a manual.
pub mod condition {
    /// The artifact is applied and, with `wait`, every run of it succeeded.
    pub const READY: &str = "Ready";
    /// Work is under way or will be tried again. Absent when there is none.
    pub const RECONCILING: &str = "Reconciling";
    /// Nothing will change before somebody changes the object or the source. Absent when there is no such reason.
    pub const STALLED: &str = "Stalled";
    /// The runs of what is applied ended well. Absent without `wait`.
    pub const HEALTHY: &str = "Healthy";
    /// With `agent: None`: an AgentConfig has runs begin more than once. Absent when there is no such AgentConfig.
    pub const UNSAFE_AGENT: &str = "UnsafeAgent";

    /// Reason: applied, and healthy as far as it was asked for.
    pub const RECONCILIATION_SUCCEEDED: &str = "ReconciliationSucceeded";
    /// Reason: applying failed.
    pub const RECONCILIATION_FAILED: &str = "ReconciliationFailed";
    /// Reason of Healthy: every run ended well.
    pub const SUCCEEDED: &str = "Succeeded";
    /// Reason of UnsafeAgent: Jobs that expire, or that fail, run again.
    pub const JOBS_RUN_AGAIN: &str = "JobsRunAgain";
    /// Reason: under way.
    pub const PROGRESSING: &str = "Progressing";
    /// Reason of Reconciling: it failed, and is tried again.
    pub const PROGRESSING_WITH_RETRY: &str = "ProgressingWithRetry";
    /// Reason: the source is missing, has no artifact, or its artifact could not be fetched or has no such path.
    pub const ARTIFACT_FAILED: &str = "ArtifactFailed";
    /// Reason: the files do not build or do not make sense as Porter resources.
    pub const BUILD_FAILED: &str = "BuildFailed";
    /// Reason: what was removed from the source could not be removed.
    pub const PRUNE_FAILED: &str = "PruneFailed";
    /// Reason: what it depends on is not ready.
    pub const DEPENDENCY_NOT_READY: &str = "DependencyNotReady";
    /// Reason: an expression that is none.
    pub const INVALID_CEL_EXPRESSION: &str = "InvalidCELExpression";
    /// Reason: a bundle run failed.
    pub const HEALTH_CHECK_FAILED: &str = "HealthCheckFailed";
    /// Reason: a bundle run failed, and the last spec that succeeded stands again.
    pub const ROLLED_BACK: &str = "RolledBack";
    /// Reason: a reference that the controller's arguments forbid.
    pub const ACCESS_DENIED: &str = "AccessDenied";
}
