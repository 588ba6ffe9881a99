//! The API server's audit log: which user asked for what.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

use crate::user::User;

/// One request that the API server answered. A watch counts once, when it started.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// What the client calls itself.
    #[serde(default)]
    pub user_agent: String,
    /// The object that was asked for; none for paths like `/version`.
    pub object_ref: Option<ObjectRef>,
    /// When the request came in.
    pub request_received_timestamp: Timestamp,
    /// The answer.
    pub response_status: Option<ResponseStatus>,
    user: AuditUser,
    stage: String,
}

/// The object of a request. Fields that do not apply are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Empty for the core group.
    pub api_group: String,
    /// Plural, as in the path.
    pub resource: String,
    /// `status`, or empty.
    pub subresource: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name; empty for lists.
    pub name: String,
}

/// The answer to a request.
#[derive(Clone, Debug, Deserialize)]
pub struct ResponseStatus {
    /// The HTTP code.
    #[serde(default)]
    pub code: u16,
}

#[derive(Clone, Debug, Deserialize)]
struct AuditUser {
    username: String,
}

impl AuditEvent {
    /// Whether it can have changed something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// The HTTP code of the answer, 0 when it never came.
    pub fn code(&self) -> u16 {
        self.response_status.as_ref().map_or(0, |status| status.code)
    }

    /// The object, or an empty one.
    pub fn object(&self) -> ObjectRef {
        self.object_ref.clone().unwrap_or_default()
    }
}

/// Level Metadata without bodies; nothing for health checks and not the stage before the answer.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ['/readyz*', '/livez*', '/healthz*']
- level: Metadata
";

/// What `user` asked at or after `since`, in the order of the answers.
pub(crate) fn read(log: &Path, user: User, since: Timestamp) -> Result<Vec<AuditEvent>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(events(&text, user, since))
}

fn events(text: &str, user: User, since: Timestamp) -> Vec<AuditEvent> {
    // Parsing is slow beside looking for the name, and the log of a large test has a hundred megabytes.
    let mark = format!("\"username\":\"{}\"", user.name());
    text.lines()
        .filter(|line| line.contains(&mark))
        // The last line can be half written.
        .filter_map(|line| serde_json::from_str::<AuditEvent>(line).ok())
        .filter(|event| event.user.username == user.name() && event.request_received_timestamp >= since)
        // A long-running request is told at its start and at its end.
        .filter(|event| (event.verb == "watch") == (event.stage == "ResponseStarted"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_watch_once_and_keeps_users_and_times_apart() {
        let line = |user: &str, verb: &str, stage: &str, second: u32| {
            format!(
                r#"{{"stage":"{stage}","requestURI":"/api","verb":"{verb}","user":{{"username":"{user}"}},"requestReceivedTimestamp":"2026-01-01T00:00:{second:02}.5Z","responseStatus":{{"code":200}}}}"#
            )
        };
        let log = [
            line("test", "get", "ResponseComplete", 1),
            line("test", "watch", "ResponseStarted", 10),
            line("test", "watch", "ResponseComplete", 10),
            line("admin", "get", "ResponseComplete", 11),
            line("test", "patch", "ResponseComplete", 12),
            String::from("{\"user\":{\"username\":\"test\"}, half"),
        ]
        .join("\n");
        let since = "2026-01-01T00:00:05Z".parse().unwrap();
        let verbs: Vec<_> = events(&log, User::Test, since).iter().map(|e| (e.verb.clone(), e.is_write())).collect();
        assert_eq!(verbs, [("watch".to_owned(), false), ("patch".to_owned(), true)]);
    }
}
