//! Child processes that never outlive the process that asked for them, however it ends.
//!
//! Each child runs under the small program `supervise` (`src/bin/supervise.rs`), which holds the reading end of a pipe.
//! When the writing end closes, because it was dropped or because this process is gone, even by SIGKILL, the child is
//! killed. So a test run leaves no server behind.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use crate::binaries;

/// Variables that would send loopback traffic to a proxy.
const PROXY_VARIABLES: [&str; 6] = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// What to run, and where its output goes.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    binary: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    log: PathBuf,
}

impl Program {
    /// `name` is what messages call it; both its outputs are appended to the file `log`.
    pub fn new(name: &str, binary: &Path, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            binary: binary.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            log: log.to_owned(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the log cannot be opened or the supervisor cannot be started. A binary that is missing shows as a process
    /// that ended at once: see [`Process::check`].
    pub fn start(&self) -> Result<Process> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open the log {}", self.log.display()))?;
        let supervisor = binaries::workspace_binary("supervise")?;
        let mut command = Command::new(supervisor);
        command
            .arg("run")
            .arg(&self.binary)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Its own group: Ctrl-C in a terminal reaches us, and we end the children in our own order.
            .process_group(0);
        for variable in PROXY_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let leash = child.stdin.take();
        Ok(Process { name: self.name.clone(), log: self.log.clone(), child, leash })
    }
}

/// A running [`Program`]. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    leash: Option<ChildStdin>,
}

impl Process {
    /// The file that both its outputs go to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The status it ended with, or `None` while it runs.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Fails, with the end of its log, when it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} ended ({status}); the end of {}:\n{}", self.name, self.log.display(), tail(&self.log, 20));
        }
        Ok(())
    }

    /// Sends a signal by its name without SIG: `TERM`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        let leash = self.leash.as_mut().with_context(|| format!("{} was killed", self.name))?;
        writeln!(leash, "{signal}").with_context(|| format!("{} has ended", self.name))
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When the operating system cannot tell how it ended.
    pub fn kill(&mut self) -> Result<()> {
        drop(self.leash.take());
        self.child.wait().with_context(|| format!("cannot wait for the end of {}", self.name))?;
        Ok(())
    }

    /// Waits until it ends by itself. Blocks the thread.
    ///
    /// # Errors
    /// When the operating system cannot tell how it ended.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        // `Child::wait` closes the standard input that it still holds; ours was taken out, so the leash stays whole.
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        let _ = self.kill();
    }
}

/// A program that many use, and that can be away for a time. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    program: Program,
    process: Mutex<Process>,
}

impl Server {
    pub(crate) fn start(program: Program) -> Result<Self> {
        let process = Mutex::new(program.start()?);
        Ok(Self { program, process })
    }

    /// Fails, with the end of its log, when it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&self) -> Result<()> {
        self.process().check()
    }

    /// Stops it where it stands (SIGSTOP): who asks it something gets no answer.
    ///
    /// # Errors
    /// When it has ended.
    pub fn freeze(&self) -> Result<()> {
        self.process().signal("STOP")
    }

    /// Lets it go on after [`Self::freeze`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn thaw(&self) -> Result<()> {
        self.process().signal("CONT")
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// When the operating system cannot tell how it ended.
    pub fn kill(&self) -> Result<()> {
        self.process().kill()
    }

    /// Starts it again after [`Self::kill`], the same way, and does not wait until it is ready.
    ///
    /// # Errors
    /// When the supervisor cannot be started.
    pub fn start_again(&self) -> Result<()> {
        let mut process = self.process();
        process.kill()?;
        *process = self.program.start()?;
        Ok(())
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a folder once this process is gone.
pub(crate) fn remove_afterwards(folder: &Path) -> Result<Process> {
    let supervisor = binaries::workspace_binary("supervise")?;
    let mut child = Command::new(supervisor)
        .arg("remove")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start the supervisor that removes the scratch folder")?;
    let leash = child.stdin.take();
    Ok(Process { name: "remove".to_owned(), log: PathBuf::new(), child, leash })
}

/// The last `count` lines of a file, for a failure message.
pub fn tail(file: &Path, count: usize) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}
