//! The porter CLI of this machine: run one command at a time, and be asked what it has.
//!
//! Guarantees:
//! - A command that changes something runs alone, also when the flux-porter that began it is gone: its standard input is
//!   a file of ours that is locked, and the lock ends with the last process that has it.
//! - It has a process group of its own, so Ctrl-C does not reach it, and writes to a file, so it outlives us.
//! - What Porter prints is kept in that file, which only the user can read, and never printed here: it may tell values.
//!
//! What Porter has is asked of `installation list` and not of `installation show`: the list tells an installation that is
//! not there from a Porter that does not work, resolves no secrets, and holds no parameters.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use api::PorterIdentity;
use jiff::Timestamp;
use plan::local::{Held, Kept, PorterRun, Status};
use serde::Deserialize;
use tokio::process::Command;

use crate::stop::Stop;

/// How often a porter that somebody else began is looked after.
const POLL: Duration = Duration::from_millis(200);
/// The log is begun anew when it is larger; the old one stays beside it.
const MAX_LOG: u64 = 4 << 20;
/// The versions whose ways are known: recorded with 1.0.14, 1.2.1 and 1.6.1.
const MAJOR: u64 = 1;

/// The CLI, and a folder of ours that it runs in.
#[derive(Debug)]
pub(crate) struct PorterCli {
    binary: PathBuf,
    folder: PathBuf,
}

/// How a command came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With an exit code; none when it was killed.
    Exit(Option<i32>),
    /// It still runs: we were asked twice to end.
    Left,
}

/// An installation in Porter's list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) credential_sets: Vec<String>,
    #[serde(default)]
    pub(crate) parameter_sets: Vec<String>,
    #[serde(default)]
    status: ListedStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ListedStatus {
    installed: Option<Timestamp>,
    uninstalled: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct ListedRun {
    #[serde(default)]
    id: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    started: Option<Timestamp>,
    #[serde(default)]
    status: String,
}

#[derive(Debug, Deserialize)]
struct Version {
    name: String,
    version: String,
}

impl Listed {
    /// As Porter tells it, from the last install and the last uninstall that succeeded.
    fn kept(&self) -> Kept {
        match (self.status.installed, self.status.uninstalled) {
            (Some(installed), Some(uninstalled)) if installed > uninstalled => Kept::Installed,
            (_, Some(_)) => Kept::Uninstalled,
            (Some(_), None) => Kept::Installed,
            (None, None) => Kept::Defined,
        }
    }
}

/// The CLI that was named, or else the one on the `PATH`.
///
/// # Errors
/// When there is none.
pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    const NAME: &str = if cfg!(windows) { "porter.exe" } else { "porter" };
    if let Some(named) = named {
        return named.canonicalize().with_context(|| format!("--porter {}: it is not there", named.display()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(NAME)).find(|binary| binary.is_file());
    let found = found.context(
        "--apply porter: there is no porter on the PATH; install it (https://porter.sh/install), or name it with --porter",
    )?;
    Ok(std::path::absolute(found)?)
}

impl PorterCli {
    /// The CLI, once it is known to be one whose ways are known. Makes the folder.
    ///
    /// # Errors
    /// When it is not, or does not start.
    pub(crate) async fn open(binary: &Path, folder: PathBuf) -> anyhow::Result<Self> {
        if !cfg!(unix) {
            bail!("--apply porter needs a Unix: elsewhere nothing tells whether an earlier porter still runs");
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let porter = Self { binary: binary.to_owned(), folder };
        let told = porter.ask::<Version>(&["version", "--output", "json"]).await;
        let told = told.with_context(|| format!("{} is no porter that works", binary.display()))?;
        check_version(binary, &told)?;
        Ok(porter)
    }

    /// Where what Porter prints is kept.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Waits until no porter that was begun from here is on, whoever began it. Gives whether that is so: we may be asked to
    /// end before. `waits` is called once when there is something to wait for.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub(crate) async fn idle(&self, stop: &Stop, mut waits: impl FnMut()) -> anyhow::Result<bool> {
        let mut told = false;
        while self.lock()?.is_none() {
            if !std::mem::replace(&mut told, true) {
                waits();
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.asked() => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Runs a command to its end, or until we are asked twice to end: then it is left alone and goes on. `waits` is called
    /// when we are asked for the first time.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(crate) async fn run(
        &self,
        arguments: &[String],
        file: Option<&(String, Vec<u8>)>,
        stop: &Stop,
        waits: impl FnOnce(),
    ) -> anyhow::Result<Ended> {
        if let Some((name, content)) = file {
            self.write(name, content)?;
        }
        let Some(lock) = self.lock()? else { bail!("another porter was begun from {}", self.folder.display()) };
        let log = self.open_log(arguments)?;
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.folder).stdin(lock).stdout(log.try_clone()?).stderr(log);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.binary.display()))?;
        tokio::select! {
            ended = child.wait() => return Ok(Ended::Exit(ended?.code())),
            () = stop.asked() => waits(),
        }
        tokio::select! {
            ended = child.wait() => Ok(Ended::Exit(ended?.code())),
            () = stop.insisted() => Ok(Ended::Left),
        }
    }

    /// All installations that Porter has a record of.
    ///
    /// # Errors
    /// When Porter does not tell.
    pub(crate) async fn installations(&self) -> anyhow::Result<Vec<Listed>> {
        let listed: Option<_> = self.ask(&["installation", "list", "--all-namespaces", "--output", "json"]).await?;
        Ok(listed.unwrap_or_default())
    }

    /// What Porter has of an installation; `None` when it has no record.
    ///
    /// # Errors
    /// When Porter does not tell.
    pub(crate) async fn held(&self, id: &PorterIdentity) -> anyhow::Result<Option<Held>> {
        let all = self.installations().await?;
        let Some(listed) = all.iter().find(|one| one.name == id.name && one.namespace == id.namespace) else {
            return Ok(None);
        };
        let arguments = ["installation", "runs", "list", &id.name, "--namespace", &id.namespace, "--output", "json"];
        let mut runs: Vec<ListedRun> = self.ask::<Option<_>>(&arguments).await?.unwrap_or_default();
        runs.sort_by(|one, other| (one.started, &one.id).cmp(&(other.started, &other.id)));
        let runs = runs.into_iter().map(|run| PorterRun {
            status: match run.status.as_str() {
                "succeeded" => Status::Succeeded,
                "failed" | "canceled" => Status::Failed,
                _ => Status::Running,
            },
            id: run.id,
            action: run.action,
        });
        Ok(Some(Held { kept: listed.kept(), runs: runs.collect() }))
    }

    /// What Porter answers to a question. It may be asked while a command runs.
    async fn ask<T: for<'de> Deserialize<'de>>(&self, arguments: &[&str]) -> anyhow::Result<T> {
        let what = || format!("porter {}", arguments.iter().take(3).copied().collect::<Vec<_>>().join(" "));
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let output = command.output().await.with_context(|| format!("cannot run {}", self.binary.display()))?;
        if !output.status.success() {
            let mut log = self.open_log(&arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())?;
            log.write_all(&output.stderr)?;
            bail!("{} failed ({}): what it said is in {}", what(), output.status, self.log().display());
        }
        // The error of serde_json may quote a value.
        serde_json::from_slice(&output.stdout).map_err(|error| {
            anyhow::anyhow!("{}: {}:{}: no answer that is known", what(), error.line(), error.column())
        })
    }

    /// The lock that says that no porter is on; `None` while one is.
    fn lock(&self) -> anyhow::Result<Option<File>> {
        let path = self.folder.join("lock");
        let failed = || format!("cannot lock {}", path.display());
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.with_context(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(failed),
        }
    }

    /// Writes the file that a command reads.
    fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let failed = || format!("cannot write {}", path.display());
        // Readable by the user alone.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).with_context(failed)?;
        file.write_all(content).with_context(failed)?;
        file.persist(&path).map_err(|error| error.error).with_context(failed)?;
        Ok(())
    }

    fn open_log(&self, arguments: &[String]) -> anyhow::Result<File> {
        let path = self.log();
        let failed = || format!("cannot write {}", path.display());
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_LOG) {
            fs::rename(&path, self.folder.join("log.1")).with_context(failed)?;
        }
        let mut options = File::options();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut log = options.open(&path).with_context(failed)?;
        writeln!(log, "--- {} porter {}", Timestamp::now(), arguments.join(" ")).with_context(failed)?;
        Ok(log)
    }
}

fn check_version(binary: &Path, told: &Version) -> anyhow::Result<()> {
    let Version { name, version } = told;
    if name != "porter" {
        bail!("{} calls itself {name:?}: name the porter CLI with --porter", binary.display());
    }
    // A porter that somebody built has no version: it is taken at its ways.
    if version.is_empty() {
        return Ok(());
    }
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u64>().ok());
    if major != Some(MAJOR) {
        bail!("{} is porter {version}: --apply porter knows the ways of porter {MAJOR}.x", binary.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_known() {
        for (name, version, known) in [
            ("porter", "v1.0.14", true),
            ("porter", "v1.6.1", true),
            ("porter", "1.2.1-dev", true),
            ("porter", "", true),
            ("porter", "v0.38.8", false),
            ("porter", "v2.0.0", false),
            ("porter", "latest", false),
            ("helm", "v1.0.0", false),
        ] {
            let told = Version { name: name.to_owned(), version: version.to_owned() };
            assert_eq!(check_version(Path::new("porter"), &told).is_ok(), known, "{name} {version}");
        }
    }

    #[test]
    fn a_record_stands_as_its_last_success() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00.5Z");
        for (installed, uninstalled, kept) in [
            (None, None, Kept::Defined),
            (Some(early), None, Kept::Installed),
            (Some(early), Some(late), Kept::Uninstalled),
            (Some(late), Some(early), Kept::Installed),
            (None, Some(early), Kept::Uninstalled),
        ] {
            let listed =
                serde_json::json!({"name": "a", "status": {"installed": installed, "uninstalled": uninstalled}});
            let listed: Listed = serde_json::from_value(listed).unwrap();
            assert_eq!(listed.kept(), kept, "{installed:?} {uninstalled:?}");
        }
    }
}
