//! The writes of all lives, as the audit log tells them while they happen.

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::User;
use jiff::Timestamp;
use serde_json::Value;
use simulated_runner::Execution;
use tokio::sync::broadcast;

use crate::flows::Life;

const LOOK: Duration = Duration::from_millis(3);
/// What AgentActions of ours are for.
const PURPOSES: [&str; 8] = ["apply", "force", "uninstall", "forget", "invoke", "show", "logs", "list"];
/// What the controller writes besides, whatever it is for.
const STEPS: [&str; 20] = [
    "apply agentconfigs",
    "apply bundlereleases status",
    "apply bundlesyncs status",
    "apply configmaps",
    "apply installations",
    "apply parametersets",
    "create bundlereleases",
    "create events",
    "create secrets",
    "delete agentactions",
    "delete bundlereleases",
    "delete configmaps",
    "delete installations",
    "delete jobs",
    "delete parametersets",
    "delete persistentvolumeclaims",
    "delete secrets",
    "patch bundlesyncs",
    "patch installations",
    "update bundlereleases",
];
/// More than one life makes between two looks of who listens.
const BACKLOG: usize = 4096;

/// A write that the API server answered.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// When it answered.
    pub(crate) at: Timestamp,
    pub(crate) namespace: String,
    /// By the controller under test.
    pub(crate) ours: bool,
    /// The kind of step: verb, resource, and what an AgentAction of ours is for.
    pub(crate) kind: String,
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) done: bool,
}

/// The kinds of steps that the flows have to come by, all together, and that are not among these.
pub(crate) fn missing(kinds: &BTreeSet<String>) -> Vec<String> {
    let command = |purpose| ["create", "delete"].map(|verb| format!("{verb} agentactions {purpose}"));
    let steps = STEPS.into_iter().map(str::to_owned).chain(PURPOSES.into_iter().flat_map(command));
    steps.filter(|step| !kinds.contains(step)).collect()
}

/// Follows the audit log in a thread of its own, for as long as somebody has it.
pub(crate) struct Writes {
    all: Mutex<Vec<Write>>,
    news: broadcast::Sender<Write>,
}

impl Writes {
    pub(crate) fn follow(log: &Path) -> Result<Arc<Self>> {
        let mut file = std::fs::File::open(log)?;
        file.seek(SeekFrom::End(0))?;
        let writes = Arc::new(Self { all: Mutex::default(), news: broadcast::Sender::new(BACKLOG) });
        let followed = Arc::downgrade(&writes);
        std::thread::spawn(move || read(file, &followed));
        Ok(writes)
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Write> {
        self.news.subscribe()
    }

    /// The controller's writes in a namespace, in their order.
    pub(crate) fn of(&self, namespace: &str) -> Vec<Write> {
        self.all().iter().filter(|write| write.ours && write.namespace == namespace).cloned().collect()
    }

    /// How many there were in a namespace, of the controller and of whomever.
    pub(crate) fn count(&self, namespace: &str) -> (usize, usize) {
        (self.of(namespace).len(), self.all().iter().filter(|write| write.namespace == namespace).count())
    }

    /// The kinds of the controller's writes in a namespace.
    pub(crate) fn kinds(&self, namespace: &str) -> BTreeSet<String> {
        self.of(namespace).into_iter().map(|write| write.kind).collect()
    }

    /// The kinds of the controller's writes in all lives so far.
    pub(crate) fn all_kinds(&self) -> BTreeSet<String> {
        self.all().iter().filter(|write| write.ours).map(|write| write.kind.clone()).collect()
    }

    /// Fails when the controller deleted an Installation while Porter had it installed, or may have: after any run that is not
    /// an uninstall, however it ended, one has to have succeeded.
    pub(crate) fn unsafe_deletes(&self, life: &Life) -> Result<()> {
        let executions = life.world.runner.executions();
        for delete in self.of(&life.world.namespace) {
            if !delete.done || delete.resource != "installations" || !delete.kind.starts_with("delete ") {
                continue;
            }
            for name in life.porter_names(&delete.name) {
                let is_over = |run: &Execution| run.finished.is_some_and(|finished| finished <= delete.at);
                let counts =
                    |run: &&Execution| run.action != "uninstall" || (run.succeeded == Some(true) && is_over(run));
                let mut before = executions.iter().filter(|run| run.started < delete.at && run.installation.1 == name);
                let gone = before.rfind(counts).is_none_or(|run| run.action == "uninstall");
                ensure!(gone, "Installation {} was deleted while {name} was installed: {executions:#?}", delete.name);
            }
        }
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, Vec<Write>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(mut file: std::fs::File, writes: &Weak<Writes>) {
    let mut rest = Vec::new();
    while let Some(writes) = writes.upgrade() {
        // A file that cannot be read any more is that of an environment which is gone.
        let Ok(_) = file.read_to_end(&mut rest) else { return };
        if let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
            let whole: Vec<u8> = rest.drain(..=end).collect();
            for write in String::from_utf8_lossy(&whole).lines().filter_map(parse) {
                writes.all().push(write.clone());
                // Nobody may be listening.
                let _ = writes.news.send(write);
            }
        }
        drop(writes);
        std::thread::sleep(LOOK);
    }
}

fn parse(line: &str) -> Option<Write> {
    // Parsing is slow beside looking.
    if ["get", "list", "watch"].iter().any(|verb| line.contains(&format!("\"verb\":\"{verb}\""))) {
        return None;
    }
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut verb, resource, name) = (text("/verb"), text("/objectRef/resource"), text("/objectRef/name"));
    // The other patches are of metadata.
    if verb == "patch" && text("/requestURI").contains("fieldManager=") {
        verb = "apply".to_owned();
    }
    let subresource = text("/objectRef/subresource");
    let purpose =
        PURPOSES.into_iter().find(|purpose| resource == "agentactions" && name.contains(&format!("-{purpose}-")));
    let mut kind = format!("{verb} {resource}");
    for part in [Some(subresource.as_str()).filter(|part| !part.is_empty()), purpose].into_iter().flatten() {
        kind.push_str(&format!(" {part}"));
    }
    Some(Write {
        at: text("/stageTimestamp").parse().ok()?,
        namespace: text("/objectRef/namespace"),
        ours: text("/user/username") == User::Controller.name(),
        kind,
        resource,
        name,
        done: event.pointer("/responseStatus/code").and_then(Value::as_u64).is_some_and(|code| code < 300),
    })
}
