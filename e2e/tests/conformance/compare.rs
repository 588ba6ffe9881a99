//! Whether what came of a scenario is what was recorded.
//!
//! Guarantee: what is not compared is a matter of timing, and the scenario names it. It may not change what it compares.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use e2e::{PATIENCE, eventually};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::history::{flickers, follows};
use crate::pods::PodPlayer;
use crate::recorder::Recorder;
use crate::scenario::{End, Scenario};

/// How long the end must stay as it is.
const QUIET: Duration = Duration::from_secs(3);

/// Waits for what was recorded, and tells what did not come.
pub(crate) async fn compare(
    cluster: &Cluster,
    scenario: &Scenario,
    recorder: &Recorder,
    player: &PodPlayer,
) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let End { objects, jobs, secrets, claims, pods: (least, most) } = &scenario.end;
    // Without what is a matter of timing.
    let settled = |end: &Value| {
        let mut end = end.clone();
        for object in &scenario.flickers {
            if let Some(phase) = end["objects"].get_mut(object).and_then(|object| object.get_mut(1)) {
                phase.take();
            }
        }
        for (field, recorded) in [("jobs", jobs), ("secrets", secrets), ("claims", claims)] {
            if recorded.is_none() {
                end[field].take();
            }
        }
        end
    };
    let recorded = json!({"objects": objects, "jobs": jobs, "secrets": secrets, "claims": claims, "pods": null});
    let recorded = settled(&recorded);
    let as_recorded = |end: &Value| {
        let mut end = settled(end);
        let pods = end["pods"].take();
        end == recorded && pods.as_u64().is_some_and(|pods| (*least as u64..=*most as u64).contains(&pods))
    };
    // The garbage collector looks for kinds that are new to it every 30 seconds.
    let end = eventually(PATIENCE, &format!("the end {:?}", scenario.end), || async {
        let end = cluster.end(player.ran()).await?;
        if as_recorded(&end) { Ok(end) } else { bail!("{end}") }
    })
    .await;
    match end {
        Err(error) => differences.push(format!("{error:#}")),
        // Where pods go on running, nothing stays.
        Ok(_) if least != most => {}
        Ok(end) => {
            tokio::time::sleep(QUIET).await;
            let later = cluster.end(player.ran()).await?;
            if settled(&later) != settled(&end) {
                differences.push(format!("the end did not last: {end} became {later}"));
            }
        }
    }

    // The real operator looks at what concerns nobody else when it comes to it.
    let seen = eventually(PATIENCE, "what was recorded to be seen", || async {
        let left = differing(cluster, scenario, recorder).await?;
        if left.is_empty() { Ok(()) } else { bail!("{}", left.join("\n")) }
    });
    differences.extend(seen.await.err().map(|error| format!("{error:#}")));
    Ok(differences)
}

/// What was seen otherwise than it was recorded, but for the end.
async fn differing(cluster: &Cluster, scenario: &Scenario, recorder: &Recorder) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let repeating = scenario.end.pods.0 != scenario.end.pods.1;
    let seen = recorder.of(&cluster.namespace, &scenario.may);
    let mut differ = |what: &str, seen: &Value, recorded: &Value| {
        if seen != recorded {
            differences.push(format!("{what}\n  seen     {seen}\n  recorded {recorded}"));
        }
    };
    let actions = seen.actions();
    differ("AgentActions", &json!(actions), &json!(scenario.actions));
    let as_set = |jobs: &[Value]| json!(jobs.iter().map(Value::to_string).collect::<BTreeSet<_>>());
    differ("Jobs", &as_set(&seen.jobs()), &as_set(&scenario.jobs));
    differ("metadata", &json!(cluster.metadata().await?), &json!(scenario.metadata));
    differ("events", &json!(cluster.events().await?), &json!(scenario.events));
    differ("outputs", &json!(cluster.outputs().await?), &json!(scenario.outputs));
    differ(
        "objects with a status",
        &json!(seen.histories.keys().collect::<Vec<_>>()),
        &json!(scenario.history.keys().collect::<Vec<_>>()),
    );
    for (object, recorded) in &scenario.history {
        let history = seen.histories.get(object).map(Vec::as_slice).unwrap_or_default();
        let compared = match scenario.flickers.contains(object) {
            true => flickers(history, recorded),
            false => follows(history, recorded, repeating),
        };
        if let Err(error) = compared {
            differences.push(format!("history of {object}: {error:#}"));
        }
    }
    Ok(differences)
}
