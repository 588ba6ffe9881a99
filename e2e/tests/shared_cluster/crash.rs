//! SIGKILL at each write of an install and an upgrade: the end is the one without a crash, and so are the actions.
//!
//! The writes are learnt from the audit log of a run without a crash. A kill as soon as a write is seen falls between it
//! and the next one, or into the next one, whose answer nobody then reads.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use crate::world::{World, installation};
use anyhow::{Context, Result, ensure};
use api::porter::AgentAction;
use e2e::{ControllerOptions, ControllerProcess, User};
use futures::stream::{self, StreamExt as _};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const MYSQL: &str = "apps/dev/mysql.yaml";
/// Worlds at a time.
const SIDE_BY_SIDE: usize = 4;
const LOOK: Duration = Duration::from_millis(3);
/// How long writes may follow the last status that is waited for.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// The end of the audit log, read as it grows.
struct Tail {
    file: std::fs::File,
    rest: Vec<u8>,
    user: String,
    namespace: String,
    writes: Vec<String>,
}

impl Tail {
    fn of(world: &World) -> Result<Self> {
        let mut file = std::fs::File::open(world.environment.folder().join("audit.log"))?;
        file.seek(SeekFrom::End(0))?;
        let user = format!("\"username\":\"{}\"", User::Controller.name());
        let namespace = format!("\"namespace\":\"{}\"", world.namespace);
        Ok(Self { file, rest: Vec::new(), user, namespace, writes: Vec::new() })
    }

    /// The controller's writes in the namespace so far.
    fn writes(&mut self) -> Result<&[String]> {
        self.file.read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(&self.writes) };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        for line in String::from_utf8_lossy(&whole).lines() {
            if !line.contains(&self.user) || !line.contains(&self.namespace) {
                continue;
            }
            let event: Value = serde_json::from_str(line)?;
            let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
            if !matches!(text("/verb"), "get" | "list" | "watch") {
                let (resource, subresource) = (text("/objectRef/resource"), text("/objectRef/subresource"));
                self.writes.push(format!("{} {resource} {subresource}", text("/verb")).trim_end().to_owned());
            }
        }
        Ok(&self.writes)
    }
}

/// What stands at the end, without what differs from world to world.
#[derive(Debug, PartialEq)]
struct End {
    ran: Vec<String>,
    overlapping: bool,
    spec: Value,
    generation: Option<i64>,
    agent_actions: usize,
    /// Of each run in the ledger: the generation, and how it ended.
    runs: Vec<(i64, String)>,
    asked: String,
    succeeded: Option<String>,
}

/// A write of that kind, and the how many of its kind it is, counted from 1: so it is the same one in each flow, also where
/// writes that only tell of progress are fewer or more.
#[derive(Clone, Debug)]
struct Place {
    kind: String,
    number: usize,
}

impl Place {
    /// Of each write.
    fn all(writes: &[String]) -> Vec<Self> {
        let number = |end: usize| writes[..=end].iter().filter(|write| **write == writes[end]).count();
        writes.iter().enumerate().map(|(end, kind)| Self { kind: kind.clone(), number: number(end) }).collect()
    }

    fn is_in(&self, writes: &[String]) -> bool {
        writes.iter().filter(|write| **write == self.kind).count() >= self.number
    }

    /// Whether a flow may go without it: it tells of progress, or of an end that a write before told of too; or it deletes once
    /// more what is seen to be there yet.
    fn may_be_left_out(&self) -> bool {
        let tells = self.kind.ends_with("status") || self.kind.ends_with("events");
        self.number > 1 && (tells || self.kind.starts_with("delete"))
    }
}

/// Install, then upgrade; the controller dies when that write is seen. Gives the end, the writes, and whether it died.
async fn flow(kill: Option<&Place>) -> Result<(End, Vec<String>, bool)> {
    let mut world = World::start("crash").await?;
    world.controller.kill()?;
    let mut tail = Tail::of(&world)?;
    let mut controller = world.environment.controller(ControllerOptions::watching(&world.namespace)).await?;
    let over = CancellationToken::new();
    let commits = async {
        let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
        world.ready_at("apps", &first).await?;
        let second = world.commit("upgrade", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
        world.ready_at("apps", &second).await?;
        // What follows is not waited for in vain.
        tokio::time::sleep(LAST_WRITES).await;
        over.cancel();
        Ok(())
    };
    let killed = match kill {
        None => commits.await.map(|()| false)?,
        Some(place) => tokio::try_join!(commits, kill_at(&mut tail, place, &mut controller, &over))?.1,
    };
    if killed {
        // Another action, if one was to come, would have begun.
        tokio::time::sleep(LAST_WRITES).await;
    }
    let writes = tail.writes()?.to_vec();
    Ok((end(&world).await?, writes, killed))
}

/// Tells whether it did: there may have been no such write.
async fn kill_at(
    tail: &mut Tail,
    place: &Place,
    controller: &mut ControllerProcess,
    over: &CancellationToken,
) -> Result<bool> {
    while !place.is_in(tail.writes()?) {
        if over.is_cancelled() {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
    controller.kill()?;
    let seen = tail.writes()?.len();
    tokio::time::sleep(Duration::from_millis(100)).await;
    println!("{place:?} was write {seen}; {} were made when it was dead", tail.writes()?.len());
    controller.restart().await?;
    Ok(true)
}

async fn end(world: &World) -> Result<End> {
    let installation = world.installation("mysql").await?;
    let release = world.release("mysql").await?;
    let actions = Api::<AgentAction>::namespaced(world.client.clone(), &world.namespace);
    let status = release.status.context("the release has no status")?;
    let mut spec = serde_json::to_value(&installation.spec)?;
    ensure!(spec["namespace"] == world.namespace.as_str(), "{spec}");
    spec["namespace"] = Value::Null;
    let asked = |asked: &api::bundle_release::Asked| asked.spec.pointer("/parameters/size").map(Value::to_string);
    Ok(End {
        ran: world.ran(),
        overlapping: world.runner.executions().iter().any(|execution| execution.overlapping),
        spec,
        generation: installation.metadata.generation,
        agent_actions: actions.list(&ListParams::default()).await?.items.len(),
        runs: status.runs.iter().map(|run| (run.generation, format!("{:?}", run.result))).collect(),
        asked: asked(&release.spec.asked).unwrap_or_default(),
        succeeded: status.succeeded.as_ref().and_then(asked),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_write_changes_neither_the_end_nor_the_actions() -> Result<()> {
    let (expected, writes, _) = flow(None).await?;
    println!("{} writes without a crash: {writes:#?}\n{expected:#?}", writes.len());
    ensure!(expected.ran == ["install mysql", "upgrade mysql"], "{expected:?}");
    let outcomes: Vec<(Place, Result<_>)> = stream::iter(Place::all(&writes))
        .map(|place| async move {
            let outcome = flow(Some(&place)).await;
            (place, outcome)
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    let mut wrong = Vec::new();
    for (place, outcome) in outcomes {
        match outcome {
            Ok((end, _, killed)) if end == expected && (killed || place.may_be_left_out()) => {}
            Ok((end, made, killed)) => wrong.push(format!("{place:?}, killed: {killed}: {end:#?}\nwrites {made:#?}")),
            Err(error) => wrong.push(format!("{place:?}: {error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{} of {} ended otherwise:\n{}", wrong.len(), writes.len(), wrong.join("\n"));
    Ok(())
}

/// A way to the API server that can be shut: nobody listens then, and what was connected breaks.
struct Way {
    port: u16,
    server: String,
    open: Option<CancellationToken>,
}

impl Way {
    async fn new(world: &World) -> Result<Self> {
        let [port] = e2e::free_ports().await?;
        let server = world.environment.server().trim_start_matches("https://").to_owned();
        Ok(Self { port, server, open: None })
    }

    /// The controller's kubeconfig by this way.
    fn kubeconfig(&self, world: &World) -> Result<String> {
        let text = std::fs::read_to_string(world.environment.kubeconfig(User::Controller))?;
        let file = world.environment.folder().join(format!("kubeconfig-{}", world.namespace));
        std::fs::write(&file, text.replace(&self.server, &format!("127.0.0.1:{}", self.port)))?;
        Ok(file.display().to_string())
    }

    async fn open(&mut self) -> Result<()> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], self.port)))?;
        let listener = socket.listen(64)?;
        let (end, server) = (CancellationToken::new(), self.server.clone());
        self.open = Some(end.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let (server, end) = (server.clone(), end.clone());
                tokio::spawn(end.run_until_cancelled_owned(async move {
                    let mut there = tokio::net::TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut here, &mut there).await
                }));
            }
        }));
        Ok(())
    }

    fn shut(&mut self) {
        if let Some(open) = self.open.take() {
            open.cancel();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_away_at_the_start_or_during_a_run_is_waited_for() -> Result<()> {
    let mut world = World::start("away").await?;
    world.controller.kill()?;
    let mut way = Way::new(&world).await?;
    let mut options = ControllerOptions::watching(&world.namespace);
    options.variables.push(("KUBECONFIG".to_owned(), way.kubeconfig(&world)?));
    let first = world.begin(json!({"path": "./apps/dev"}), &[(MYSQL, installation("mysql", "0.1.0", 1))]).await?;
    let opened = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        way.open().await
    };
    // That it is ready at all says that it did not end at the closed door.
    let (_controller, ()) = tokio::try_join!(world.environment.controller(options), opened)?;
    world.ready_at("apps", &first).await?;

    world.runner.hold(crate::world::REPOSITORY);
    world.commit("upgrade", &[(MYSQL, installation("mysql", "0.1.0", 2))]).await?;
    world.begun(2).await?;
    way.shut();
    world.runner.release(crate::world::REPOSITORY);
    let third = world.commit("more", &[(MYSQL, installation("mysql", "0.1.0", 3))]).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(world.ran().len() == 2, "{:?}", world.ran());
    way.open().await?;
    world.ready_at("apps", &third).await?;
    world.ran_only(&["install mysql", "upgrade mysql", "upgrade mysql"])?;
    Ok(())
}
