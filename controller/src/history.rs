//! `status.history` of a BundleSync: as Flux's Kustomization has it (fluxcd/pkg `apis/meta`, `History.Upsert`), but that a
//! reconcile without news leaves it alone, for such a one writes nothing.

use api::bundle_sync::Snapshot;
use api::{BundleSync, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use porter::Desired;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::conditions::{Verdict, whole_second};

/// What a reconcile came to.
#[derive(Clone, Debug)]
pub struct Ended<'a> {
    /// The digest of what was asked for: [`digest`].
    pub digest: &'a str,
    /// The revision that asked for it.
    pub revision: &'a str,
    /// The revision that its artifact was made from.
    pub origin_revision: Option<&'a str>,
    /// How long it took, the runs included.
    pub took: Duration,
    /// When it ended.
    pub now: Timestamp,
}

/// The digest of what a build asks for. Of a Secret its keys count and not its values: a digest of little is no secret.
#[must_use]
pub fn digest(desired: &Desired) -> String {
    let installations = desired
        .installations
        .iter()
        .map(|one| json!([one.id.kube_namespace, one.object_name, one.labels, one.annotations, one.spec]));
    let objects = desired.sets.iter().chain(&desired.objects).map(|object| match object.id.kind.as_str() {
        "Secret" => without_values(&object.body),
        _ => object.body.clone(),
    });
    porter::digest(&installations.chain(objects).collect())
}

fn without_values(secret: &Value) -> Value {
    let mut secret = secret.clone();
    for field in ["data", "stringData"] {
        for (_, value) in secret[field].as_object_mut().into_iter().flatten() {
            *value = Value::Null;
        }
    }
    secret
}

/// The status of a snapshot, of a reconcile that came to an end of which a history is kept: what was not built is in none.
#[must_use]
pub fn status(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Ready { .. } => Some(condition::RECONCILIATION_SUCCEEDED),
        Verdict::Failed { reason, .. } => {
            let kept = [
                condition::RECONCILIATION_FAILED,
                condition::PRUNE_FAILED,
                condition::HEALTH_CHECK_FAILED,
                condition::ROLLED_BACK,
            ];
            kept.into_iter().find(|kept| kept == reason)
        }
        Verdict::Progressing { .. } | Verdict::Stalled { .. } => None,
    }
}

/// Whether the newest snapshot is of this digest, revision and status.
#[must_use]
pub fn is_told(history: &[Snapshot], digest: &str, revision: &str, status: &str) -> bool {
    history.first().is_some_and(|newest| {
        newest.digest == digest
            && newest.last_reconciled_status == status
            && newest.metadata.get("revision").map(String::as_str) == Some(revision)
    })
}

/// Adds a snapshot, or counts the one of the same digest and status once more and puts it in front.
pub fn upsert(history: &mut Vec<Snapshot>, ended: &Ended<'_>, status: &str) {
    let now = Time(whole_second(ended.now));
    let same = |one: &Snapshot| one.digest == ended.digest && one.last_reconciled_status == status;
    let found = history.iter().position(same).map(|at| history.remove(at));
    let (first, total) =
        found.map_or_else(|| (now.clone(), 0), |one| (one.first_reconciled, one.total_reconciliations));
    let revisions = [("revision", Some(ended.revision)), ("originRevision", ended.origin_revision)];
    let metadata: BTreeMap<String, String> =
        revisions.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect();
    let newest = Snapshot {
        digest: ended.digest.to_owned(),
        first_reconciled: first,
        last_reconciled: now,
        last_reconciled_duration: written(ended.took),
        last_reconciled_status: status.to_owned(),
        total_reconciliations: total + 1,
        metadata,
    };
    history.insert(0, newest);
    history.truncate(BundleSync::MAX_HISTORY);
}

/// As Go writes it, to the millisecond.
fn written(took: Duration) -> String {
    let took = Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    api::Duration::try_from(took).map(|took| took.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_comes_first_and_the_same_is_counted() {
        let mut history = Vec::new();
        let (ok, bad) = (condition::RECONCILIATION_SUCCEEDED, condition::HEALTH_CHECK_FAILED);
        for (at, digest, revision, status, expected) in [
            (1, "a", "r1", ok, "a ok 1 r1"),
            (2, "b", "r2", bad, "b bad 1 r2, a ok 1 r1"),
            (3, "b", "r2", ok, "b ok 1 r2, b bad 1 r2, a ok 1 r1"),
            (4, "a", "r3", ok, "a ok 2 r3, b ok 1 r2, b bad 1 r2"),
            (5, "c", "r4", ok, "c ok 1 r4, a ok 2 r3, b ok 1 r2, b bad 1 r2"),
            (6, "d", "r5", ok, "d ok 1 r5, c ok 1 r4, a ok 2 r3, b ok 1 r2, b bad 1 r2"),
            (7, "e", "r6", ok, "e ok 1 r6, d ok 1 r5, c ok 1 r4, a ok 2 r3, b ok 1 r2"),
        ] {
            let now = Timestamp::from_second(at).unwrap();
            let took = Duration::from_millis(1_500);
            let ended = Ended { digest, revision, origin_revision: None, took, now };
            assert!(!is_told(&history, digest, revision, status));
            upsert(&mut history, &ended, status);
            assert!(is_told(&history, digest, revision, status));
            let brief = |one: &Snapshot| {
                let status = if one.last_reconciled_status == ok { "ok" } else { "bad" };
                format!("{} {status} {} {}", one.digest, one.total_reconciliations, one.metadata["revision"])
            };
            assert_eq!(history.iter().map(brief).collect::<Vec<_>>().join(", "), expected, "{at}");
            assert_eq!(
                (&history[0].last_reconciled, history[0].last_reconciled_duration.as_str()),
                (&Time(now), "1.5s")
            );
        }
        let again = history.iter().find(|one| one.digest == "e");
        assert_eq!(again.map(|one| one.first_reconciled.0.as_second()), Some(7));
    }

    #[test]
    fn only_ends_of_what_was_built_are_kept() {
        let failed = |reason| Verdict::Failed { reason, message: String::new() };
        for (verdict, kept) in [
            (Verdict::Ready { message: String::new() }, true),
            (Verdict::Progressing { message: String::new() }, false),
            (failed(condition::BUILD_FAILED), false),
            (failed(condition::ARTIFACT_FAILED), false),
            (failed(condition::PRUNE_FAILED), true),
            (failed(condition::HEALTH_CHECK_FAILED), true),
        ] {
            assert_eq!(status(&verdict).is_some(), kept, "{verdict:?}");
        }
    }
}
