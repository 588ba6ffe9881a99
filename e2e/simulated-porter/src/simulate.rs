//! One command of the simulated CLI: the journal is replayed, the command decided, and what it decides is journalled.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use simulated_runner::porter_model::{Exit, Files, Outcome, Porter, Record, RunRequest, Secrets, Version, secret_name};

use crate::play::{Call, Stage};

/// A line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    /// A command that changes something was begun.
    Begin { arguments: Vec<String>, files: Files, secrets: Secrets },
    /// The run of a bundle ended.
    Finish { run: u64, well: bool },
}

/// Runs a command, and gives its exit code.
pub(crate) fn command(stage: &Stage, call: &Call, arguments: &[String]) -> Result<u8> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["version", ..] => {
            print(&json!({"name": "porter", "version": version(stage)?.name(), "commit": "simulated"}));
            return Ok(0);
        }
        ["installation", "list", ..] => {
            let (porter, _) = replay(stage)?;
            print(&porter.records().map(|record| listed(&record)).collect());
            return Ok(0);
        }
        ["installation", "runs", "list", name, "--namespace", namespace, ..] => {
            let (porter, _) = replay(stage)?;
            let record =
                porter.records().find(|record| record.identity == &((*namespace).to_owned(), (*name).to_owned()));
            print(&record.map(|record| runs(&record)).unwrap_or_default());
            return Ok(0);
        }
        _ => {}
    }
    let request = {
        let _lock = stage.lock()?;
        let (mut porter, _) = replay(stage)?;
        let files = files(arguments)?;
        let secrets = secrets(stage)?;
        let outcome = porter.begin(arguments, &files, &secrets);
        journal(stage, &Entry::Begin { arguments: arguments.to_vec(), files, secrets })?;
        match outcome {
            Outcome::Exit(exit) => return Ok(told(&exit)),
            Outcome::Run(request) => request,
        }
    };
    let (namespace, name) = &request.installation;
    let well = stage.bundle(Some(call), &request.action, &format!("{namespace}/{name}"))?;
    let _lock = stage.lock()?;
    let (mut porter, _) = replay(stage)?;
    journal(stage, &Entry::Finish { run: request.id, well })?;
    Ok(told(&porter.finish(&request, well)))
}

fn told(exit: &Exit) -> u8 {
    println!("{}", exit.message);
    u8::from(exit.code != 0)
}

fn print(value: &Value) {
    println!("{value:#}");
}

fn version(stage: &Stage) -> Result<Version> {
    let named = stage.read("version");
    let named = named.trim();
    let known = Version::ALL.into_iter().find(|version| version.name() == named);
    match known {
        Some(version) => Ok(version),
        None if named.is_empty() => Ok(Version::default()),
        None => bail!("{named} is no version whose ways are known"),
    }
}

/// The files that a command names; they lie in the folder that it runs in.
fn files(arguments: &[String]) -> Result<Files> {
    let named = arguments.iter().filter(|argument| argument.ends_with(".yaml"));
    named.map(|name| Ok((name.clone(), std::fs::read_to_string(name)?))).collect()
}

/// What Porter's `filesystem` plugin finds: a file for each secret.
fn secrets(stage: &Stage) -> Result<Secrets> {
    let folder = stage.path("home/secrets");
    if !folder.exists() {
        return Ok(Secrets::new());
    }
    let files = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    let secret = |file: std::fs::DirEntry| -> Result<(String, String)> {
        Ok((secret_name(&file.file_name().to_string_lossy()), std::fs::read_to_string(file.path())?))
    };
    files.into_iter().map(secret).collect()
}

fn journal(stage: &Stage, entry: &Entry) -> Result<()> {
    stage.append("journal", &serde_json::to_string(entry)?)
}

/// What all that was decided so far came to, and the runs that are on.
fn replay(stage: &Stage) -> Result<(Porter, BTreeMap<u64, RunRequest>)> {
    let mut porter = Porter::default();
    porter.version = version(stage)?;
    let mut on = BTreeMap::new();
    for line in stage.read("journal").lines() {
        match serde_json::from_str(line)? {
            Entry::Begin { arguments, files, secrets } => {
                if let Outcome::Run(request) = porter.begin(&arguments, &files, &secrets) {
                    on.insert(request.id, request);
                }
            }
            Entry::Finish { run, well } => {
                if let Some(request) = on.remove(&run) {
                    porter.finish(&request, well);
                }
            }
        }
    }
    Ok((porter, on))
}

/// A moment on the model's clock.
fn time(clock: u64) -> Value {
    let seconds = i64::try_from(clock).unwrap_or(i64::MAX);
    json!(Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX))
}

fn listed(record: &Record<'_>) -> Value {
    json!({
        "schemaType": "Installation",
        "namespace": record.identity.0,
        "name": record.identity.1,
        "credentialSets": record.credential_sets,
        "parameterSets": record.parameter_sets,
        "status": {"installed": record.installed.map(time), "uninstalled": record.uninstalled.map(time)},
    })
}

/// Newest first, as Porter lists them.
fn runs(record: &Record<'_>) -> Value {
    let run = |(id, action, succeeded): &(u64, &str, Option<bool>)| {
        let status = match succeeded {
            None => "running",
            Some(true) => "succeeded",
            Some(false) => "failed",
        };
        json!({"id": format!("{id:026}"), "action": action, "started": time(*id), "status": status})
    };
    record.runs.iter().rev().map(run).collect()
}
