//! The conditions of a BundleSync: the one place that renders what users and `flux` read.
//!
//! Contract: types and reasons are those of Flux (fluxcd/pkg `apis/meta`: `Ready`, `Healthy`, `Reconciling`, `Stalled`), and
//! read as kstatus reads them. `Reconciling`, `Stalled` and `UnsafeAgent` are there only while they are true, and the first two
//! never both; `lastTransitionTime` moves when status, reason or message change; a message has at most 20,000 characters
//! (fluxcd/pkg `runtime/conditions`). It may not know how a reconcile came to its end: that is in the [`Verdict`].

use api::condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Longest message of a condition.
const LONGEST_MESSAGE: usize = 20_000;
/// The message of Healthy, without the time that Flux tells: it would differ each time.
const HEALTHY: &str = "Health check passed";

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

impl Verdict {
    /// What is told.
    pub fn message(&self) -> &str {
        let (Self::Ready { message }
        | Self::Progressing { message }
        | Self::Failed { message, .. }
        | Self::Stalled { message, .. }) = self;
        message
    }
}

/// What the conditions are made of.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    /// How the reconcile ended.
    pub verdict: &'a Verdict,
    /// Whether Ready waits for the runs.
    pub wait: bool,
    /// What has runs begin more than once, or nothing; `None` when this reconcile did not come as far as to know.
    pub unsafe_agents: Option<&'a str>,
}

/// The conditions after a reconcile; those that did not change keep their time.
///
/// `Healthy` is that of Flux's Kustomization: as it was when a reconcile did not come as far as the runs.
pub fn render(rendering: &Rendering<'_>, old: &[Condition], generation: i64, now: Timestamp) -> Vec<Condition> {
    let (ready, reason, message, second) = match rendering.verdict {
        Verdict::Ready { message } => ("True", condition::RECONCILIATION_SUCCEEDED, message, None),
        Verdict::Progressing { message } => {
            ("Unknown", condition::PROGRESSING, message, Some((condition::RECONCILING, condition::PROGRESSING)))
        }
        Verdict::Failed { reason, message } => {
            ("False", *reason, message, Some((condition::RECONCILING, condition::PROGRESSING_WITH_RETRY)))
        }
        Verdict::Stalled { reason, message } => ("False", *reason, message, Some((condition::STALLED, *reason))),
    };
    let make = |kind: &str, status: &str, reason: &str, message: &str| {
        let message = cut(message);
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
            message,
            observed_generation: Some(generation),
            last_transition_time: stands.map_or_else(|| Time(whole_second(now)), |c| c.last_transition_time.clone()),
        }
    };
    let stood = |kind: &str| old.iter().find(|condition| condition.type_ == kind).cloned();
    let mut conditions = Vec::with_capacity(4);
    if let Some((kind, reason)) = second {
        conditions.push(make(kind, "True", reason, message));
    }
    conditions.push(make(condition::READY, ready, reason, message));
    conditions.extend(match rendering.verdict {
        _ if !rendering.wait => None,
        Verdict::Ready { .. } => Some(make(condition::HEALTHY, "True", condition::SUCCEEDED, HEALTHY)),
        Verdict::Progressing { .. } => Some(make(condition::HEALTHY, "Unknown", condition::PROGRESSING, message)),
        Verdict::Failed { reason, .. } if [condition::HEALTH_CHECK_FAILED, condition::ROLLED_BACK].contains(reason) => {
            Some(make(condition::HEALTHY, "False", reason, message))
        }
        // What was known holds; what was on its way is so no more.
        Verdict::Failed { reason, .. } | Verdict::Stalled { reason, .. } => {
            stood(condition::HEALTHY).map(|stood| match stood.status == "Unknown" {
                true => make(condition::HEALTHY, "Unknown", reason, message),
                false => stood,
            })
        }
    });
    conditions.extend(match rendering.unsafe_agents {
        None => stood(condition::UNSAFE_AGENT),
        Some("") => None,
        Some(told) => Some(make(condition::UNSAFE_AGENT, "True", condition::JOBS_RUN_AGAIN, told)),
    });
    conditions
}

/// The API server keeps whole seconds; ours must compare equal to what it answers.
pub fn whole_second(time: Timestamp) -> Timestamp {
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

    fn of(
        verdict: &Verdict,
        wait: bool,
        unsafe_agents: Option<&str>,
        old: &[Condition],
        second: i64,
    ) -> Vec<Condition> {
        let at = Timestamp::from_second(second).unwrap();
        render(&Rendering { verdict, wait, unsafe_agents }, old, 1, at)
    }

    #[test]
    fn the_contract_of_flux() {
        let failed = Verdict::Failed { reason: condition::BUILD_FAILED, message: "a.yaml:1:1: no".into() };
        let first = of(&failed, true, None, &[], 10);
        assert_eq!(brief(&first), ["Reconciling=True ProgressingWithRetry @10", "Ready=False BuildFailed @10"]);
        assert_eq!(of(&failed, true, None, &first, 20), first, "the same again changes nothing");
        let ready = of(&Verdict::Ready { message: "Applied revision: r".into() }, false, None, &first, 30);
        assert_eq!(brief(&ready), ["Ready=True ReconciliationSucceeded @30"]);
        let stalled = Verdict::Stalled { reason: condition::ACCESS_DENIED, message: "no".into() };
        assert_eq!(
            brief(&of(&stalled, true, None, &ready, 40)),
            ["Stalled=True AccessDenied @40", "Ready=False AccessDenied @40"]
        );
        let long = Verdict::Ready { message: "x".repeat(30_000) };
        assert_eq!(of(&long, true, None, &[], 1)[0].message.len(), 20_000);
    }

    /// One after the other, each on what the one before left.
    #[test]
    fn healthy_is_there_with_wait_and_stays_as_it_was_when_nothing_is_known_of_it() {
        let message = || "m".to_owned();
        let (build, health) = (condition::BUILD_FAILED, condition::HEALTH_CHECK_FAILED);
        let mut stands = Vec::new();
        for (at, verdict, wait, healthy) in [
            (10, Verdict::Failed { reason: build, message: message() }, true, None),
            (20, Verdict::Progressing { message: message() }, true, Some("Healthy=Unknown Progressing @20")),
            (30, Verdict::Ready { message: message() }, true, Some("Healthy=True Succeeded @30")),
            (40, Verdict::Ready { message: message() }, true, Some("Healthy=True Succeeded @30")),
            (50, Verdict::Failed { reason: build, message: message() }, true, Some("Healthy=True Succeeded @30")),
            (
                60,
                Verdict::Failed { reason: health, message: message() },
                true,
                Some("Healthy=False HealthCheckFailed @60"),
            ),
            (70, Verdict::Ready { message: message() }, false, None),
        ] {
            stands = of(&verdict, wait, None, &stands, at);
            let told = brief(&stands).into_iter().find(|told| told.starts_with("Healthy"));
            assert_eq!(told.as_deref(), healthy, "{at}");
        }
    }

    #[test]
    fn what_makes_runs_unsafe_is_told_while_it_is_so() {
        let ready = Verdict::Ready { message: "r".into() };
        let first = of(&ready, false, Some("AgentConfig a/default: ..."), &[], 10);
        assert_eq!(brief(&first)[1], "UnsafeAgent=True JobsRunAgain @10");
        assert_eq!(of(&ready, false, Some("AgentConfig a/default: ..."), &first, 20), first);
        assert_eq!(of(&ready, false, None, &first, 20), first, "not known: as it was");
        assert_eq!(brief(&of(&ready, false, Some(""), &first, 20)), ["Ready=True ReconciliationSucceeded @10"]);
    }
}
