//! Whether what a sync asks for may be made true now: where it may write, and what it waits for.
//!
//! Invariant: it is noted that a sync waits before that is read which it waits for, so that a change in between wakes it.

use api::{BundleSync, condition};
use plan::Subject;
use porter::Desired;

use super::Reconciler;
use super::failure::{Again, Failure};
use super::listed;
use crate::dependencies::{Rules, Unmet};
use crate::expression;
use crate::mirror::Key;

impl Reconciler {
    /// Documents of namespaces that may not, or cannot, be worked in. The controller's rights are those of the cluster, so
    /// who may write to one repository could write to every namespace.
    pub(super) fn refuse_namespaces(&self, key: &Key, desired: &Desired) -> Result<(), Failure> {
        let installations = desired.installations.iter().map(|installation| {
            let subject = Subject::Installation(installation.id.clone()).to_string();
            (&installation.id.kube_namespace, subject, &installation.origin)
        });
        let objects = desired.sets.iter().chain(&desired.objects);
        let objects = objects.map(|object| (&object.id.namespace, object.id.to_string(), &object.origin));
        let refused: Vec<String> = installations
            .chain(objects)
            .filter_map(|(namespace, subject, origin)| {
                let why = if self.no_cross_namespace_refs && *namespace != key.namespace {
                    "other namespaces than the BundleSync's own are blocked by --no-cross-namespace-refs"
                } else if !self.cluster.scope.has(namespace) {
                    "that namespace is not watched: see --watch-all-namespaces"
                } else {
                    return None;
                };
                Some(format!("{origin}: {subject} is in namespace {namespace}: {why}"))
            })
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(Failure::new(condition::ACCESS_DENIED, listed("not applied", refused.into_iter())))
    }

    /// Whether what the sync depends on is ready.
    pub(super) async fn dependencies(&self, key: &Key, sync: &BundleSync, revision: &str) -> Result<(), Failure> {
        if sync.spec.depends_on.is_empty() {
            self.cluster.awaiting.end(key);
            return Ok(());
        }
        self.cluster.awaiting.begin(key);
        // An expression may take a while.
        let (cluster, sync, revision) = (self.cluster.clone(), sync.clone(), revision.to_owned());
        let rules = Rules { own_namespace: self.no_cross_namespace_refs, additive: self.additive_ready_expr };
        let check = move || cluster.dependencies_met(&sync, &revision, rules);
        let met = expression::with_room(check).await.unwrap_or_else(|error| {
            Err(Unmet::NotReady(format!("internal error while spec.dependsOn was looked at: {error}")))
        });
        match met {
            Ok(()) => {
                self.cluster.awaiting.end(key);
                Ok(())
            }
            Err(Unmet::NotReady(message)) => {
                Err(Failure::new(condition::DEPENDENCY_NOT_READY, message).soon(self.requeue_dependency))
            }
            Err(Unmet::Unsynced(message)) => {
                Err(Failure::new(condition::DEPENDENCY_NOT_READY, message).again(Again::Unsynced))
            }
            Err(Unmet::Wrong { reason, message }) => Err(Failure::stalled(reason, message)),
        }
    }
}
