//! The history of a status, and whether it is the recorded one.
//!
//! Guarantee: states may be missing, for watch events merge, and none comes that the operator does not have, or in another
//! order. It may not know whose status it is.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

/// A status, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
struct State {
    generation: i64,
    /// The place in a run, which only rises.
    rank: u8,
    phase: String,
}

impl State {
    fn of(status: &Value) -> Result<Self> {
        let generation = status["observedGeneration"].as_i64().unwrap_or_default();
        let phase = status["phase"].as_str().unwrap_or_default();
        if let Some(ready) = status["ready"].as_bool() {
            let phase = if ready { "Ready" } else { "NotReady" };
            return Ok(Self { generation, rank: u8::from(ready), phase: phase.to_owned() });
        }
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let conditions: Vec<_> = conditions.iter().filter_map(|condition| condition["type"].as_str()).collect();
        let rank = match (phase, conditions.as_slice()) {
            ("Unknown", []) if status["action"].is_null() => 0,
            ("Unknown", []) => 1,
            ("Pending", ["Scheduled"]) => 2,
            ("Running", ["Scheduled", "Started"]) => 3,
            ("Pending", ["Scheduled", "Started"]) => 4,
            ("Succeeded", ["Scheduled", "Started", "Completed"]) | ("Failed", ["Scheduled", "Started", "Failed"]) => 5,
            _ => bail!("no state of the operator: {status}"),
        };
        Ok(Self { generation, rank, phase: phase.to_owned() })
    }
}

/// Whether statuses are those of the recorded runs.
///
/// `repeating` runs count once: how often they come is a rate. How far a run came that a new generation cut short, is
/// a matter of timing.
pub(crate) fn follows(history: &[Value], recorded: &[(i64, String)], repeating: bool) -> Result<()> {
    let mut runs: Vec<(i64, String)> = Vec::new();
    let mut last: Option<State> = None;
    for status in history {
        let state = State::of(status)?;
        let told = (state.generation, state.phase.clone());
        match &last {
            Some(last) if last.generation == state.generation && last.rank <= state.rank => {
                if let Some(run) = runs.last_mut() {
                    *run = told;
                }
            }
            _ => runs.push(told),
        }
        last = Some(state);
    }
    let is_final = |phase: &str| matches!(phase, "Succeeded" | "Failed" | "Ready");
    if repeating {
        // The last one is still on.
        if runs.len() > 1 {
            runs.pop_if(|(_, phase)| !is_final(phase));
        }
        runs.dedup();
    }
    let mut left = runs.iter().peekable();
    for (index, (generation, phase)) in recorded.iter().enumerate() {
        let is_last = index + 1 == recorded.len();
        let came = left.next_if(|run| {
            let cut_short = !is_last && !is_final(&run.1) && !is_final(phase);
            run.0 == *generation && (run.1 == *phase || cut_short)
        });
        // A run that came to no end leaves no trace when its watch events were merged.
        ensure!(came.is_some() || (!is_final(phase) && !is_last), "runs {runs:?}, recorded {recorded:?}");
    }
    ensure!(left.peek().is_none(), "runs {runs:?}, recorded {recorded:?}");
    Ok(())
}

/// Whether each status is one of the recorded.
pub(crate) fn flickers(history: &[Value], recorded: &[(i64, String)]) -> Result<()> {
    for status in history {
        let state = State::of(status)?;
        let state = (state.generation, state.phase);
        ensure!(recorded.contains(&state), "{state:?} was never recorded, only {recorded:?}");
    }
    Ok(())
}
