//! What somebody changed by hand, and was put right: an event tells of it.
//!
//! A plan says in what an object differs from what is asked, and not since when: so it does for what the source has changed,
//! too. Guarantee: only what stood as the same build asks for it is told of, and each correction once. Of fields the names
//! are told, never a value.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{BundleSync, condition};
use k8s_openapi::jiff::Timestamp;
use plan::{Action, Reason, Step, Subject};

use super::planning::Order;
use super::{Progress, Reconciler, listed};
use crate::events::{Happening, Severity, reason};
use crate::history;
use crate::mirror::Key;

/// What stands as a build asks for it.
#[derive(Clone, Default)]
pub(super) struct Stood {
    /// What tells the build from others.
    build: Option<Arc<str>>,
    subjects: BTreeSet<Subject>,
}

impl Stood {
    /// Notes what stands as it is asked, now; gives what was put right by that. `settled`: all stood when there was no
    /// controller to see it.
    fn note<'s>(
        &mut self,
        build: &Arc<str>,
        settled: bool,
        unchanged: impl Iterator<Item = &'s Subject>,
        applied: &[&'s Step],
    ) -> Vec<String> {
        let settled = settled && self.build.is_none();
        if !self.build.as_ref().is_some_and(|of| Arc::ptr_eq(of, build)) {
            *self = Self { build: Some(build.clone()), subjects: BTreeSet::new() };
        }
        let stood =
            |step: &&&Step| self.subjects.contains(&step.subject) || (settled && !is_of_kind(&step.subject, "Secret"));
        let corrected = applied.iter().filter(stood).filter_map(|step| correction(step)).collect();
        for subject in unchanged.chain(applied.iter().map(|step| &step.subject)) {
            if !self.subjects.contains(subject) {
                self.subjects.insert(subject.clone());
            }
        }
        corrected
    }
}

fn is_of_kind(subject: &Subject, kind: &str) -> bool {
    matches!(subject, Subject::Object(id) if id.kind == kind)
}

/// What a step puts right.
fn correction(step: &Step) -> Option<String> {
    match &step.reason {
        reason @ Reason::Drift { .. } => Some(format!("{} {reason}", step.subject)),
        Reason::Missing => Some(format!("{} was deleted by hand and is made again", step.subject)),
        _ => None,
    }
}

/// Whether a step has something stand as it is asked.
pub(super) fn applies(step: &Step) -> bool {
    matches!(step.action, Action::ApplyInstallation(_) | Action::ApplySet(_) | Action::ApplyObject(_))
}

impl Reconciler {
    /// An event of what these steps put right, which were taken.
    pub(super) async fn tell_corrected(
        &self,
        sync: &BundleSync,
        order: &Order<'_>,
        steps: &[Step],
        applied: &[&Step],
        progress: &Progress,
    ) {
        let Some(build) = &progress.digest else { return };
        let settled = was_settled(sync, order, build);
        let unchanged = steps.iter().filter(|step| matches!(step.action, Action::Unchanged)).map(|step| &step.subject);
        let note = |stood: &mut Stood| stood.note(build, settled, unchanged, applied);
        let corrected = self.remember(&Key::of(sync), |memory| note(&mut memory.stood));
        if corrected.is_empty() {
            return;
        }
        let happening = Happening {
            severity: Severity::Info,
            reason: reason::DRIFT_CORRECTED,
            message: &listed("put right", corrected.into_iter()),
            revision: Some(order.revision),
            origin_revision: order.origin_revision,
        };
        self.events.tell(sync, &happening, Timestamp::now()).await;
    }
}

/// Whether the last that was tried of a sync is what it asks for now, and all of it stood. Of the values of Secrets, which a
/// variable may have changed since, the digest says nothing.
fn was_settled(sync: &BundleSync, order: &Order<'_>, digest: &str) -> bool {
    let Some(status) = &sync.status else { return false };
    status.last_attempted_revision.as_deref() == Some(order.revision)
        && history::is_told(&status.history, digest, order.revision, condition::RECONCILIATION_SUCCEEDED)
}

#[cfg(test)]
mod tests {
    use manifest::ObjectId;
    use plan::{Apply, Due, Precondition};

    use super::*;

    fn step(name: &str, reason: Reason) -> Step {
        let (group, kind) = name.split_once('/').map_or(("getporter.org", "ParameterSet"), |(kind, _)| ("", kind));
        let id = ObjectId { group: group.into(), kind: kind.into(), namespace: "apps".into(), name: name.into() };
        let apply = Apply { id: id.clone(), body: serde_json::Value::Null, precondition: Precondition::Absent };
        Step { subject: Subject::Object(id), action: Action::ApplySet(apply), reason, due: Due::Now }
    }

    #[test]
    fn only_what_stood_as_the_same_build_asks_for_it_was_changed_by_hand() {
        let drift = || Reason::Drift { fields: vec!["spec.a".into(), "spec.b".into()] };
        let (one, other): (Arc<str>, Arc<str>) = ("a".into(), "a".into());
        let edited = || step("tuning", drift());
        let differs = "ParameterSet/apps/tuning differs from what is asked in spec.a, spec.b";
        // The builds and steps of reconciles, one after the other; what is told of the last.
        for (what, settled, steps, told) in [
            ("the source changed it", false, vec![(&one, edited())], None),
            ("it is made", false, vec![(&one, step("tuning", Reason::New))], None),
            ("edited since", false, vec![(&one, step("tuning", Reason::New)), (&one, edited())], Some(differs)),
            ("and once more", false, vec![(&one, edited()), (&one, edited()), (&one, edited())], Some(differs)),
            (
                "deleted since",
                false,
                vec![(&one, edited()), (&one, step("tuning", Reason::Missing))],
                Some("ParameterSet/apps/tuning was deleted by hand and is made again"),
            ),
            ("another was seen", false, vec![(&one, step("other", Reason::New)), (&one, edited())], None),
            ("built anew", false, vec![(&one, edited()), (&other, edited())], None),
            ("built anew, of what all stood", true, vec![(&one, edited()), (&other, edited())], None),
            ("while there was no controller", true, vec![(&one, edited())], Some(differs)),
            ("a Secret, of which nobody knows", true, vec![(&one, step("Secret/key", drift()))], None),
        ] {
            let mut stood = Stood::default();
            let mut corrected = Vec::new();
            for (build, step) in &steps {
                corrected = stood.note(build, settled, std::iter::empty(), &[step]);
            }
            assert_eq!(corrected, told.into_iter().collect::<Vec<_>>(), "{what}");
        }
        let mut stood = Stood::default();
        assert!(stood.note(&one, false, [&edited().subject].into_iter(), &[]).is_empty());
        assert_eq!(stood.note(&one, false, std::iter::empty(), &[&edited()]), [differs]);
    }
}
