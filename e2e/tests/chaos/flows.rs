//! The flows: what users do in the life of an installation, each step waiting for the end of the one before. Each ends by
//! saying which bundle actions ran, in their order: of all installations, or of each where several run side by side. No
//! further one may begin until the end of the life.

mod alone;
mod asked;
mod kept;
mod owners;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail, ensure};
use api::condition;
use e2e::eventually;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::world::documents::config_map;
use crate::world::{Ground, PATIENCE, REPOSITORY, installation};

const MYSQL: &str = "apps/mysql.yaml";
const SET: &str = "apps/set.yaml";
/// The name of the parameter set in it.
pub(crate) const SET_NAME: &str = "tuning";

/// A flow and its name.
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    pub(crate) objects: Objects,
    pub(crate) play: for<'a> fn(&'a Life) -> BoxFuture<'a, Result<()>>,
}

/// What an Installation of a flow is to Porter, by which one can tell whether it may be deleted.
pub(crate) enum Objects {
    /// The installation of its name.
    Same,
    /// One after the other, each uninstalled before the next.
    OneAfterTheOther(&'static [&'static str]),
    /// It goes while it is installed, for another takes it over.
    Moving,
}

/// A flow of Installations that are named as in Porter.
macro_rules! flow {
    ($name:literal, $play:path) => {
        flow!($name, $play, Objects::Same)
    };
    ($name:literal, $play:path, $objects:expr) => {
        Flow { name: $name, objects: $objects, play: |life| $play(life).boxed() }
    };
}

pub(crate) const FLOWS: &[Flow] = &[
    flow!("whole-life", alone::whole_life),
    flow!("failed-install", alone::failed_install),
    flow!("failed-upgrade", alone::failed_upgrade),
    flow!("kept-record", alone::kept_record),
    flow!("sets", alone::sets),
    flow!("given", alone::given),
    flow!("renamed", alone::renamed, Objects::OneAfterTheOther(&["old", "new"])),
    flow!("back", alone::back),
    flow!("by-hand", alone::by_hand),
    flow!("unknown", alone::unknown),
    flow!("set-again", alone::set_again),
    flow!("during", alone::during),
    flow!("order", asked::order),
    flow!("turns", asked::turns),
    flow!("again", asked::again),
    flow!("rollback", asked::rollback),
    flow!("invoke", asked::invoke),
    flow!("confirmed", asked::confirmed),
    flow!("depends", asked::depends),
    flow!("orphaned", kept::orphaned),
    flow!("let-go", kept::let_go),
    flow!("terminating", kept::terminating),
    flow!("handover", owners::handover),
    flow!("deleted-sync", owners::deleted_sync),
    flow!("adopted", owners::adopted),
    flow!("moves", owners::moves, Objects::Moving),
    flow!("unmanaged", owners::unmanaged),
    flow!("expiring", owners::expiring),
];

/// A world in which one flow is played.
pub(crate) struct Life {
    pub(crate) world: Ground,
    flow: &'static Flow,
    commits: Mutex<Vec<String>>,
    /// The bundle actions that the flow told of last.
    told: Mutex<Option<Vec<String>>>,
}

impl Life {
    pub(crate) async fn begin(flow: &'static Flow) -> Result<Self> {
        let world = Ground::new(&format!("chaos-{}", flow.name)).await?;
        Ok(Self { world, flow, commits: Mutex::default(), told: Mutex::default() })
    }

    /// The commits so far.
    pub(crate) fn commits(&self) -> Vec<String> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names in Porter of which none may be installed when an Installation is deleted.
    pub(crate) fn porter_names(&self, object: &str) -> Vec<String> {
        match self.flow.objects {
            Objects::Same => vec![object.to_owned()],
            Objects::OneAfterTheOther(names) => names.iter().map(|&name| name.to_owned()).collect(),
            Objects::Moving => Vec::new(),
        }
    }

    async fn push(&self, files: &[(&str, String)], removed: &[&str]) -> Result<String> {
        let mut commit = self.world.repository.commit(&format!("commit {}", self.commits().len()));
        for (path, text) in files {
            commit = commit.write(path, text.clone());
        }
        for path in removed {
            commit = commit.remove(path);
        }
        let commit = commit.push().await?;
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).push(commit.clone());
        Ok(commit)
    }

    /// The first commit, a source on it, and a sync of each path.
    async fn first(&self, files: &[(&str, String)], syncs: &[&str], spec: Value) -> Result<String> {
        let mut all = vec![("apps/notes.yaml", config_map("notes")), ("more/notes.yaml", config_map("more"))];
        all.extend(files.iter().cloned());
        let commit = self.push(&all, &[]).await?;
        eventually(PATIENCE, "the source", || self.world.source()).await?;
        for path in syncs {
            self.sync(path, &spec).await?;
        }
        Ok(commit)
    }

    /// A sync of the path of its name; `spec` says what differs.
    async fn sync(&self, path: &str, spec: &Value) -> Result<()> {
        let mut whole = json!({"path": path, "prune": true, "retryInterval": "1s"});
        for (key, value) in spec.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        eventually(PATIENCE, "the sync", || self.world.sync(path, whole.clone())).await
    }

    /// A sync as it is from now on, once the controller has come to the end with it.
    async fn changed(&self, path: &str, spec: &Value) -> Result<()> {
        self.sync(path, spec).await?;
        eventually(PATIENCE, &format!("the sync {path} to be ready at its generation"), || async {
            let sync = self.world.sync_object(path).await?;
            let ready = sync.ready();
            let seen = ready.and_then(|ready| ready.observed_generation) == sync.metadata.generation;
            if seen && ready.is_some_and(|ready| ready.status == "True") { Ok(()) } else { bail!("{ready:?}") }
        })
        .await
    }

    /// A further commit, which source-controller is told of.
    async fn then(&self, files: &[(&str, String)], removed: &[&str]) -> Result<String> {
        let commit = self.push(files, removed).await?;
        eventually(PATIENCE, "the commit", || self.world.refresh(&commit)).await?;
        Ok(commit)
    }

    /// A further commit, once the sync `apps` is ready with it.
    async fn then_ready(&self, files: &[(&str, String)], removed: &[&str]) -> Result<String> {
        let commit = self.then(files, removed).await?;
        self.ready(&commit).await?;
        Ok(commit)
    }

    async fn ready(&self, commit: &str) -> Result<()> {
        self.world.ready_at("apps", commit).await
    }

    fn fail_next(&self) {
        self.world.runner.fail_next(REPOSITORY, 1);
    }

    async fn failed(&self) -> Result<()> {
        self.world.not_ready("apps", condition::HEALTH_CHECK_FAILED, "failed").await.map(drop)
    }

    /// Which bundle actions have begun, in their order.
    fn ran(&self, expected: &[&str]) -> Result<()> {
        let ran = self.world.ran();
        ensure!(ran == expected, "{ran:?} ran, and not {expected:?}");
        self.tell(ran);
        Ok(())
    }

    /// Which bundle actions of each installation have begun, in their order, where several run side by side.
    fn each_ran(&self, expected: &[(&str, &[&str])]) -> Result<()> {
        let mut each = BTreeMap::<String, Vec<String>>::new();
        for run in self.world.runner.executions() {
            each.entry(run.installation.1).or_default().push(run.action);
        }
        let is = each.iter().map(|(name, actions)| (name.as_str(), actions.iter().map(String::as_str).collect()));
        let is: BTreeMap<&str, Vec<&str>> = is.collect();
        let wanted: BTreeMap<&str, Vec<&str>> =
            expected.iter().map(|(name, actions)| (*name, actions.to_vec())).collect();
        ensure!(is == wanted, "{is:?} ran, and not {wanted:?}");
        self.tell(self.world.ran());
        Ok(())
    }

    fn tell(&self, ran: Vec<String>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(ran);
    }

    /// Fails when other bundle actions have begun than the flow told of, or it told of none.
    pub(crate) fn ran_no_others(&self) -> Result<()> {
        let (told, ran) = (self.told.lock().unwrap_or_else(PoisonError::into_inner).clone(), self.world.ran());
        ensure!(told.as_ref() == Some(&ran), "{ran:?} ran, and the flow told of {told:?}");
        Ok(())
    }
}

fn mysql(size: u32) -> Vec<(&'static str, String)> {
    vec![(MYSQL, installation("mysql", "0.1.0", size))]
}

/// A set of one parameter; `source` is where its value comes from.
fn set(source: &str) -> (&'static str, String) {
    let source = format!("{{name: label, source: {{{source}}}}}");
    (SET, format!("schemaType: ParameterSet\nschemaVersion: 1.0.1\nname: {SET_NAME}\nparameters:\n- {source}\n"))
}
