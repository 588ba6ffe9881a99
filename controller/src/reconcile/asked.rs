//! What a sync asks for: source -> artifact -> files -> objects -> [`Desired`], with the variables as they stand.
//!
//! Invariant: an artifact and a recipe that did not change are built once, whatever came of it. Nothing is written here, and
//! what stands in the cluster is not known but for the source and the variables.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::source::{Artifact, Bucket, ExternalArtifact, GitRepository, OCIRepository};
use api::{BundleSync, SourceKind, condition};
use artifact::{ArtifactRef, FetchError, Unpacked};
use kube::ResourceExt;
use porter::Desired;

use super::Reconciler;
use super::failure::{Again, Budget, Failure, UNREACHABLE};
use crate::build::{BuildError, Recipe, build};
use crate::cluster::{self, SourceView};
use crate::history;
use crate::mirror::Key;
use crate::variables::Given;

/// What was asked for last.
#[derive(Clone)]
pub(super) struct Asked {
    digest: String,
    pub(super) recipe: Arc<Recipe>,
    result: Result<Wanted, Failure>,
}

/// What a build came to.
#[derive(Clone)]
pub(super) struct Wanted {
    /// What it asks for.
    pub(super) desired: Arc<Desired>,
    /// The digest of that.
    pub(super) digest: Arc<str>,
}

impl From<Desired> for Wanted {
    fn from(desired: Desired) -> Self {
        Self { digest: history::digest(&desired).into(), desired: Arc::new(desired) }
    }
}

impl Reconciler {
    /// The artifact of the source, as its status names it.
    pub(super) fn source_artifact(&self, sync: &BundleSync) -> Result<Artifact, Failure> {
        let kind = sync.spec.source_ref.kind;
        let key = cluster::source_key(sync);
        if self.is_denied(sync, &key) {
            let message = format!(
                "can't access {kind}/{key}: cross-namespace references are blocked by --no-cross-namespace-refs"
            );
            return Err(Failure::stalled(condition::ACCESS_DENIED, message));
        }
        let failed = |message| Failure::new(condition::ARTIFACT_FAILED, message);
        let source = self.cluster.source(kind, &key).map_err(|error| failed(error).again(Again::Unsynced))?;
        let Some(source) = source else {
            return Err(failed(format!("source {kind}/{key} not found")));
        };
        match source.artifact {
            Some(artifact) => Ok(artifact),
            None => {
                let why = source.not_ready.map(|why| format!(" ({why})")).unwrap_or_default();
                Err(failed(format!("source {kind}/{key} has no artifact yet{why}")).soon(self.requeue_dependency))
            }
        }
    }

    /// Whether a sync may not read its source.
    fn is_denied(&self, sync: &BundleSync, source: &Key) -> bool {
        self.no_cross_namespace_refs && Some(&source.namespace) != sync.namespace().as_ref()
    }

    /// That the newest artifact of the source is known, as it stands: only then is it known whether others ask for what is in it.
    /// The watch of sources may lag behind that of syncs. What no watch will ever bring is not waited for.
    pub(super) async fn follows_source(&self, sync: &BundleSync) -> Result<(), Failure> {
        let (kind, key) = (sync.spec.source_ref.kind, cluster::source_key(sync));
        if self.is_denied(sync, &key) || !self.cluster.scope.has(&key.namespace) {
            return Ok(());
        }
        let stands = match kind {
            SourceKind::GitRepository => self.writer.listed_version::<GitRepository>(&key).await,
            SourceKind::OCIRepository => self.writer.listed_version::<OCIRepository>(&key).await,
            SourceKind::Bucket => self.writer.listed_version::<Bucket>(&key).await,
            SourceKind::ExternalArtifact => self.writer.listed_version::<ExternalArtifact>(&key).await,
        };
        let Some(stands) = stands? else { return Ok(()) };
        let unsynced = |error| Failure::new(condition::PRUNE_FAILED, error).again(Again::Unsynced);
        self.cluster.sources_synced(kind).map_err(unsynced)?;
        if lags(self.cluster.source(kind, &key), &stands) {
            return Err(Failure::stale(std::iter::once(format!("{kind}/{key} is newer than what was read of it"))));
        }
        Ok(())
    }

    /// What the sync asks of its build, with the variables as they stand now.
    pub(super) async fn recipe(&self, key: &Key, sync: &BundleSync, budget: &Budget) -> Result<Recipe, Failure> {
        let given = match &sync.spec.post_build {
            None => Given::default(),
            Some(post_build) => {
                let reading = Given::read(&self.writer, &key.namespace, post_build);
                let read = tokio::time::timeout(budget.left(), reading).await;
                let read =
                    read.map_err(|_| budget.over(condition::BUILD_FAILED, "reading spec.postBuild.substituteFrom"))?;
                read.map_err(|error| Failure::new(condition::BUILD_FAILED, error.to_string()).soon(UNREACHABLE))?
            }
        };
        Ok(Recipe::of(sync, given, self.strict_substitution))
    }

    /// What the artifact asks for; remembered for as long as neither it nor the recipe changes.
    pub(super) async fn desired(
        &self,
        key: &Key,
        recipe: &Arc<Recipe>,
        artifact: &Artifact,
        budget: &mut Budget,
    ) -> Result<Wanted, Failure> {
        let is_same = |asked: &Asked| asked.digest == artifact.digest && asked.recipe == *recipe;
        if let Some(result) = self.remember(key, |memory| {
            memory.asked.as_ref().filter(|asked| is_same(asked)).map(|asked| asked.result.clone())
        }) {
            return result;
        }
        let tree = self.fetch(artifact, budget).await?;
        let worker = budget.worker(&self.workers).await;
        let (path, building) = (recipe.path(), recipe.clone());
        // The thread keeps its worker until it ends, which it does soon after it is not waited for any longer.
        let given_up = GivenUp::default();
        let is_given_up = given_up.0.clone();
        let building = tokio::task::spawn_blocking(move || {
            let _worker = worker;
            build(&tree, &building, &is_given_up).map(Wanted::from)
        });
        let result = match tokio::time::timeout(budget.left(), building).await {
            Err(_) => return Err(budget.over(condition::BUILD_FAILED, &format!("the build of {path:?}"))),
            Ok(Ok(result)) => result.map_err(build_failure),
            Ok(Err(error)) => {
                let message = format!("internal error while building {path:?}: {error}");
                return Err(Failure::new(condition::BUILD_FAILED, message));
            }
        };
        let asked = Asked { digest: artifact.digest.clone(), recipe: recipe.clone(), result: result.clone() };
        self.remember(key, |memory| memory.asked = Some(asked));
        result
    }

    async fn fetch(&self, artifact: &Artifact, budget: &Budget) -> Result<Arc<Unpacked>, Failure> {
        let request = ArtifactRef {
            url: artifact.url.clone(),
            digest: artifact.digest.clone(),
            revision: artifact.revision.clone(),
        };
        self.fetcher.fetch(&request, budget.left()).await.map_err(|error| {
            let failure = Failure::new(condition::ARTIFACT_FAILED, error.to_string());
            match error {
                FetchError::NotFound { .. } => failure.soon(self.requeue_dependency),
                _ => failure,
            }
        })
    }
}

/// Tells a build that is under way, when this goes out of scope, that nobody waits for it any longer.
#[derive(Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether a source was seen at another version than it stands at, or is yet to be seen. One that does not read as its kind
/// has an artifact for nobody.
fn lags(seen: Result<Option<SourceView>, String>, stands: &str) -> bool {
    seen.is_ok_and(|seen| seen.and_then(|source| source.version).as_deref() != Some(stands))
}

fn build_failure(error: BuildError) -> Failure {
    let reason = match &error {
        BuildError::PathNotFound(_) => condition::ARTIFACT_FAILED,
        BuildError::Empty(_) | BuildError::Invalid(_) => condition::BUILD_FAILED,
    };
    Failure::new(reason, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deletion would wait for it for ever.
    #[test]
    fn a_source_that_cannot_be_read_lags_behind_nothing() {
        let at = |version: &str| SourceView { version: Some(version.to_owned()), artifact: None, not_ready: None };
        for (seen, is_behind) in [
            (Ok(Some(at("2"))), false),
            (Ok(Some(at("1"))), true),
            (Ok(None), true),
            (Err("GitRepository apps/fleet on the API server cannot be read".to_owned()), false),
        ] {
            assert_eq!(lags(seen.clone(), "2"), is_behind, "{seen:?}");
        }
    }
}
