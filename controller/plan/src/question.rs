//! Whether Porter has a record of an installation at all: what it is asked after a command failed that needs one.
//!
//! `installation uninstall` and `installation delete` end in the same way when there is no record, when Porter refuses, when its
//! storage cannot be reached and when their pod is evicted. No command of Porter's (v1.0.14 to v1.6.1) succeeds only where there
//! is no record, so absence is concluded, from three that write nothing:
//! - `installation show` fails. It does that too for a record whose run has sensitive parameters that the secret store no longer
//!   gives (`pkg/porter/show.go`, `NewDisplayInstallationWithSecrets`). So:
//! - `installation logs show` fails, which reads what a run of the bundle left, and no secret (`pkg/porter/logs.go`).
//! - `installation list` succeeds right after: the storage answers.
//!
//! Guarantee: one round of this is not enough. What is tried next fails once more, and a second round comes to the same end,
//! before Porter is taken to have nothing; whatever says otherwise begins anew. So a storage that is out of reach, or an evicted
//! pod, is never taken for an answer.

use api::{BundleReleaseStatus, BundleState, Question};

use crate::command::Purpose;
use crate::observe::End;

/// How many rounds have to come to the same end.
const ROUNDS: i32 = 2;

/// The AgentAction of ours that asks.
pub(crate) const fn purpose(question: Question) -> Purpose {
    match question {
        Question::Show => Purpose::Show,
        Question::Logs => Purpose::Logs,
        Question::List => Purpose::List,
    }
}

/// What an AgentAction of ours asks.
const fn asked(purpose: Purpose) -> Option<Question> {
    match purpose {
        Purpose::Show => Some(Question::Show),
        Purpose::Logs => Some(Question::Logs),
        Purpose::List => Some(Question::List),
        Purpose::Apply | Purpose::Force | Purpose::Uninstall | Purpose::Forget | Purpose::Invoke => None,
    }
}

/// Whether a command fails where Porter has no record.
pub(crate) const fn needs_record(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Uninstall | Purpose::Forget)
}

/// Notes an answer, and says whether that is what it was.
pub(crate) fn note(status: &mut BundleReleaseStatus, purpose: Purpose, end: End) -> bool {
    let (Some(question), Some(uninstall)) = (asked(purpose), &mut status.uninstall) else { return false };
    uninstall.ask = None;
    match (question, end) {
        (Question::Show, End::Failed) => uninstall.ask = Some(Question::Logs),
        (Question::Logs, End::Failed) => uninstall.ask = Some(Question::List),
        (Question::List, End::Failed) => uninstall.unknown = 0,
        (Question::List, End::Succeeded) => {
            uninstall.unknown += 1;
            if uninstall.unknown >= ROUNDS {
                (uninstall.failures, uninstall.failed_at, uninstall.reason) = (0, None, None);
                (status.bundle, status.succeeded) = (None, None);
            }
        }
        (Question::Show | Question::Logs, End::Succeeded) => {
            uninstall.unknown = 0;
            // It is there, and Porter did not delete it for a second time, though the ledger has it uninstalled: that is
            // taken for its refusal. Something may be installed.
            if status.bundle == Some(BundleState::Uninstalled) && uninstall.failures > 1 && !uninstall.commanded {
                uninstall.failures = 0;
                status.bundle = Some(BundleState::Tried);
            }
        }
    }
    true
}
