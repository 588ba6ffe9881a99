//! Who talks to the API server: one user a client, so that the audit log tells whose request it was.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

/// A user of the test cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum User {
    /// The environment itself, while it sets things up.
    Admin,
    /// A test: what it creates and reads.
    Test,
    /// The controller under test. The one user with no more rights than `manifests/rbac` gives.
    Controller,
    /// The Porter operator, simulated or real.
    Operator,
    /// Whoever plays the kubelet and Porter.
    Runner,
    /// kube-controller-manager.
    ControllerManager,
    /// source-controller.
    SourceController,
    /// A controller that is measured beside ours.
    Peer,
}

impl User {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Admin,
        Self::Test,
        Self::Controller,
        Self::Operator,
        Self::Runner,
        Self::ControllerManager,
        Self::SourceController,
        Self::Peer,
    ];

    /// The user's name, as the audit log tells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Test => "test",
            Self::Controller => "porter-flux-controller",
            Self::Operator => "operator",
            Self::Runner => "runner",
            Self::ControllerManager => "kube-controller-manager",
            Self::SourceController => "source-controller",
            Self::Peer => "peer",
        }
    }

    fn groups(self) -> &'static str {
        match self {
            Self::Controller => "",
            _ => "system:masters",
        }
    }

    /// Good for this loopback server only, and for as long as the test run lasts.
    fn token(self) -> String {
        format!("token-of-{}", self.name())
    }
}

/// The API server's token file.
pub(crate) fn token_file() -> String {
    User::ALL.iter().map(|user| format!("{},{2},{2},\"{1}\"\n", user.token(), user.groups(), user.name())).collect()
}

/// Writes a kubeconfig for `user`.
pub(crate) fn write_kubeconfig(file: &Path, server: &str, authority_pem: &str, user: User) -> Result<()> {
    use base64::Engine as _;
    let authority = base64::engine::general_purpose::STANDARD.encode(authority_pem);
    let name = user.name();
    // JSON is YAML.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "porter-flux", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": user.token()}}],
        "contexts": [{"name": name, "context": {"cluster": "porter-flux", "user": name}}],
        "current-context": name,
    });
    let text = serde_json::to_string_pretty(&config)?;
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_controller_lacks_the_rights_of_an_administrator() {
        for line in token_file().lines() {
            assert_eq!(line.ends_with(",\"\""), line.contains("porter-flux-controller"), "{line}");
        }
    }
}
