//! A simulation of the Porter operator v1.1.0, on a real API server.
//!
//! Why: the operator's Go module is served by a domain that cannot be relied upon, so it cannot be pinned and built like
//! the other servers of the tests. Its CRDs and its behaviour are public: <https://github.com/getporter/operator>, tag
//! v1.1.0, `api/v1` and `controllers`. Every rule here is one that was read there and then seen when the real operator
//! ran against real servers; `e2e/tests/conformance` compares this crate with what was recorded then, and runs
//! against the real binary instead where one is at hand.
//!
//! The hazards are the point. A controller that is safe with this one must have met them. Each with the recordings that
//! show it, which are the files of `e2e/tests/conformance/operator`:
//! - the finalizer and the deletion policy are written by a full update from the typed form, which drops empty and zero
//!   values of the spec, so the generation rises and one more action runs (`zero_values`, `zero_values_at_start`);
//! - whether a generation is handled is told by labels, and the object's own labels may overwrite them: actions without
//!   end (`label_clash`); a name that is no label value is never handled (`long_name`);
//! - deleting an Installation uninstalls nothing, whatever the policy and the other finalizers, and takes its runs with it
//!   (`delete`, `delete_policy_delete`, `delete_own_finalizer`, `delete_while_running`, `namespace_delete`); deleting a set
//!   runs an action first, and where that fails the set stays (`sets_delete`, `sets_delete_fails`);
//! - a spec that changes during a run starts a second run beside it (`change_while_running`);
//! - an action whose Job is gone, because it expired or was deleted, runs again, whatever its age and result (`ttl`,
//!   `ttl_failed`, `ttl_old_generation`, `action`, `job_deleted_running`); a current action that is gone is made again
//!   (`action_delete_running`, `action_delete_done`);
//! - phases go back (Pending, Running, Pending, Succeeded: `install`), and retry annotations make them flicker
//!   (`retry_after_success`, `retry_after_failure`);
//! - volumes and secrets of an action have no owner and stay (all);
//! - AgentConfigs are layered field by field, and one that is missing is silently the namespace's (`agent_config_layers`,
//!   `agent_config_missing`); without any, actions wait (`no_agent_config`);
//! - where Porter's API server tells outputs, they are written before the first run, once, in plain text, and all
//!   annotations of the Installation go, which can start a second run (`outputs`).
//!
//! One worker a kind, and failed work is tried again after a delay that doubles, as in controller-runtime.
//!
//! What differs, on purpose: reads of the object at hand are live and an action is awaited in the cache once created, so
//! neither duplicates nor the freeze after a write conflict (`sets_frozen`) occur; hashes in labels and names are those of
//! another function; a repeated event is written once, not counted. An AgentConfig with plugins gets its volume claim and
//! its action, and is never ready, as without anything that binds volumes (`agent_config_plugins`).

mod agent_action;
mod agent_config;
mod cluster;
mod document;
mod kinds;
mod porter_resource;
mod queue;

use std::collections::BTreeMap;

use kube::Client;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use document::to_yaml;

use crate::cluster::Cluster;
use crate::kinds::Kind;

/// What may differ from one run to the next.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where AgentConfig and PorterConfig `default` hold for all namespaces.
    pub system_namespace: String,
    /// Handle only objects of this namespace.
    pub namespace: Option<String>,
    /// What Porter's API server would tell, by the installation's name in Porter. It fails for all others, as it does
    /// where there is none.
    pub outputs: BTreeMap<String, Vec<Output>>,
}

/// An output of an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// The type of its definition.
    pub r#type: String,
    /// Whether its definition says so; it is in plain text all the same.
    pub sensitive: bool,
    /// Its value.
    pub value: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { system_namespace: "porter-operator-system".to_owned(), namespace: None, outputs: BTreeMap::new() }
    }
}

/// Runs all controllers until `shutdown` is cancelled. Work that is being done then is finished.
///
/// # Errors
/// When a controller ends by itself, which is a panic in it.
pub async fn run(client: Client, options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    let cluster = Cluster::new(client, options);
    let mut tasks = JoinSet::new();
    for kind in Kind::WATCHED {
        tasks.spawn(cluster.clone().watch(kind, shutdown.clone()));
    }
    for kind in Kind::RECONCILED {
        tasks.spawn(cluster.clone().work(kind, shutdown.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}
