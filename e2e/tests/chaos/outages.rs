//! The API server and source-controller, away for a while, again and again; and with the API server, when it dies, those that work with it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::Environment;
use e2e::process::Server;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

/// Between two of the first round, in milliseconds.
const FIRST_PAUSE: std::ops::Range<u64> = 2_000..6_000;
/// And later.
const PAUSE: std::ops::Range<u64> = 10_000..40_000;
/// How long one lasts, in milliseconds, the start of the server not counted.
const AWAY: std::ops::Range<u64> = 200..4_000;

/// Lets servers be away until it is over, or for so many rounds, and tells how often. Every kind comes before one comes again.
pub(crate) async fn happen(
    environment: &Environment,
    seed: u64,
    most: usize,
    beginning: &RwLock<()>,
    over: &CancellationToken,
) -> Result<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let source_controller = environment.source_controller().await?.server();
    let mut kinds = [
        ("API server frozen", environment.api_server(), false),
        ("API server killed", environment.api_server(), true),
        ("source-controller frozen", source_controller, false),
        ("source-controller killed", source_controller, true),
    ];
    for rounds in 0..most {
        random.shuffle(&mut kinds);
        for (number, (name, server, dies)) in kinds.iter().enumerate() {
            let pause = if rounds == 0 { FIRST_PAUSE } else { PAUSE };
            let pause = tokio::time::sleep(Duration::from_millis(random.u64(pause)));
            if over.run_until_cancelled(pause).await.is_none() {
                let names: Vec<_> = kinds.iter().take(number).map(|(name, ..)| *name).collect();
                return Ok(format!("{rounds} rounds of all four, and {names:?}"));
            }
            let _calm = beginning.write().await;
            // Who works with the API server would lose its lease, and start again. It ends before: what it asked for last
            // would else be made when its next life has listed the pods already, and a Job could get a second pod. Not
            // after a pause: what it asked for goes on then.
            let others = [environment.controller_manager(), source_controller];
            let others = if *dies && std::ptr::eq(*server, environment.api_server()) { &others[..] } else { &[] };
            tokio::task::block_in_place(|| others.iter().try_for_each(|other| other.kill()))?;
            away(server, *dies, Duration::from_millis(random.u64(AWAY))).await.context(*name)?;
            environment.api_server_is_ready().await?;
            tokio::task::block_in_place(|| others.iter().try_for_each(|other| other.start_again()))?;
        }
    }
    Ok(format!("{most} rounds of all four"))
}

async fn away(server: &Server, dies: bool, time: Duration) -> Result<()> {
    if dies {
        tokio::task::block_in_place(|| server.kill())?
    } else {
        server.freeze()?
    }
    tokio::time::sleep(time).await;
    if dies { server.start_again() } else { server.thaw() }
}
