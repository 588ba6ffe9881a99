//! The conditions of a BundleSync: the one place that renders what users and `flux` read.
//!
//! Contract: `reference` conditions of Flux (`Ready`, `Reconciling`, `Stalled`), kstatus-compatible. `Reconciling` and
//! `Stalled` are there only while true and never both; `lastTransitionTime` moves when status, reason or message change;
//! a message has at most 20,000 characters (fluxcd/pkg/runtime/conditions).

use api::condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Longest message of a condition.
const LONGEST_MESSAGE: usize = 20_000;

/// How a reconcile ended, for the conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All done: `Ready=True`.
    Ready {
        /// What is told.
        message: String,
    },
    /// Bundle actions are on, or something is waited for: `Ready=Unknown`.
    Progressing {
        /// What is told.
        message: String,
    },
    /// It failed and is tried again: `Ready=False`.
    Failed {
        /// One of [`condition`].
        reason: &'static str,
        /// What is told.
        message: String,
    },
    /// It failed, and only a change of the object helps: `Ready=False`, `Stalled=True`.
    Stalled {
        /// One of [`condition`].
        reason: &'static str,
        /// What is told.
        message: String,
    },
}

/// The conditions after a verdict; those that did not change keep their time.
pub fn render(verdict: &Verdict, old: &[Condition], generation: i64, now: Timestamp) -> Vec<Condition> {
    let (ready, reason, message, second) = match verdict {
        Verdict::Ready { message } => ("True", condition::RECONCILIATION_SUCCEEDED, message, None),
        Verdict::Progressing { message } => {
            ("Unknown", condition::PROGRESSING, message, Some((condition::RECONCILING, condition::PROGRESSING)))
        }
        Verdict::Failed { reason, message } => {
            ("False", *reason, message, Some((condition::RECONCILING, condition::PROGRESSING_WITH_RETRY)))
        }
        Verdict::Stalled { reason, message } => ("False", *reason, message, Some((condition::STALLED, *reason))),
    };
    let message = cut(message);
    let make = |kind: &str, status: &str, reason: &str| {
        let stands = old.iter().find(|condition| {
            condition.type_ == kind
                && condition.status == status
                && condition.reason == reason
                && condition.message == message
        });
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.clone(),
            observed_generation: Some(generation),
            last_transition_time: stands.map_or_else(|| Time(whole_second(now)), |c| c.last_transition_time.clone()),
        }
    };
    let mut conditions = Vec::with_capacity(2);
    if let Some((kind, reason)) = second {
        conditions.push(make(kind, "True", reason));
    }
    conditions.push(make(condition::READY, ready, reason));
    conditions
}

/// The API server keeps whole seconds; ours must compare equal to what it answers.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A message as a condition holds it.
pub fn cut(message: &str) -> String {
    if message.chars().count() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    let mut short: String = message.chars().take(LONGEST_MESSAGE - 3).collect();
    short.push_str("...");
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brief(conditions: &[Condition]) -> Vec<String> {
        conditions
            .iter()
            .map(|c| format!("{}={} {} @{}", c.type_, c.status, c.reason, c.last_transition_time.0.as_second()))
            .collect()
    }

    #[test]
    fn the_contract_of_flux() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let failed = Verdict::Failed { reason: condition::BUILD_FAILED, message: "a.yaml:1:1: no".into() };
        let first = render(&failed, &[], 1, at(10));
        assert_eq!(brief(&first), ["Reconciling=True ProgressingWithRetry @10", "Ready=False BuildFailed @10"]);
        assert_eq!(render(&failed, &first, 1, at(20)), first, "the same again changes nothing");
        let ready = render(&Verdict::Ready { message: "Applied revision: r".into() }, &first, 2, at(30));
        assert_eq!(brief(&ready), ["Ready=True ReconciliationSucceeded @30"]);
        let stalled = Verdict::Stalled { reason: condition::ACCESS_DENIED, message: "no".into() };
        assert_eq!(
            brief(&render(&stalled, &ready, 2, at(40))),
            ["Stalled=True AccessDenied @40", "Ready=False AccessDenied @40"]
        );
        let long = Verdict::Ready { message: "x".repeat(30_000) };
        assert_eq!(render(&long, &[], 1, at(1))[0].message.len(), 20_000);
    }
}
