//! Stands in for the Porter operator v1.1.0 on a real API server.
//!
//! Why: the operator's Go module is served by a domain that cannot be relied upon, so it cannot be pinned and built like
//! the other servers of the tests. Its CRDs and its behaviour are public: <https://github.com/getporter/operator>, tag
//! v1.1.0, `api/v1` and `controllers`. Every rule here is one that was read there and then seen when the real operator
//! ran against real servers; `e2e/tests/conformance.rs` compares this crate with what was recorded then, and runs
//! against the real binary instead where one is at hand.
//!
//! The hazards are the point. A controller that is safe with this one must have met them:
//! - the finalizer and the deletion policy are written by a full update from the typed form, which drops empty and zero
//!   values of the spec, so the generation rises and one more action runs;
//! - whether a generation is handled is told by labels, and the object's own labels may overwrite them;
//! - deleting an Installation uninstalls nothing; deleting a set runs an action first;
//! - a spec that changes during a run starts a second run beside it;
//! - an action whose Job is gone, because it expired or was deleted, runs again, whatever its age and result;
//! - phases go back (Pending, Running, Pending, Succeeded) and retry annotations make them flicker;
//! - volumes and secrets of an action have no owner and stay.
//!
//! One worker a kind, and failed work is tried again after a delay that doubles, as in controller-runtime.
//!
//! What differs, on purpose: reads of the object at hand are live and an action is awaited in the cache once created, so
//! neither duplicates nor the freeze after a write conflict occur; the label value of a retry is the hash of another
//! function; a repeated event is written once, not counted; plugins of an AgentConfig are never installed, it is ready at
//! once; `InstallationOutput` needs a Porter API server and is never made.

mod agent_action;
mod agent_config;
mod cluster;
mod document;
mod kinds;
mod porter_resource;
mod queue;

use kube::Client;
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
}

impl Default for Options {
    fn default() -> Self {
        Self { system_namespace: "porter-operator-system".to_owned(), namespace: None }
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
