//! The stage: which calls were made, what bundles did, and who is killed when.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The name of the driver for a real porter; its executable is `cnab-` and that.
const DRIVER: &str = "simulated-porter";
const POLL: Duration = Duration::from_millis(20);

/// The folder that all is in.
pub(crate) struct Stage {
    folder: PathBuf,
}

/// A call of the CLI.
pub(crate) struct Call {
    number: usize,
    /// The process that made it.
    parent: u32,
}

impl Stage {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What is in a file; nothing when it is not there.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn append(&self, name: &str, line: &str) -> Result<()> {
        let path = self.path(name);
        let mut file =
            File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
        Ok(file.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Alone with the folder, until what it gives is dropped.
    pub(crate) fn lock(&self) -> Result<File> {
        let lock = File::options().create(true).truncate(false).write(true).open(self.path("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// Notes a call. It may be the one that kills who made it.
    pub(crate) fn call(&self, arguments: &[String]) -> Result<Call> {
        let number = {
            let _lock = self.lock()?;
            self.append("calls", &arguments.join(" "))?;
            self.read("calls").lines().count()
        };
        let call = Call { number, parent: std::os::unix::process::parent_id() };
        if self.moment(&call, "spawn")? {
            std::process::exit(1);
        }
        self.moment(&call, "start")?;
        Ok(call)
    }

    /// Kills who made the call, when this is the moment. Gives whether it was.
    pub(crate) fn moment(&self, call: &Call, moment: &str) -> Result<bool> {
        if self.read("kill").trim() != format!("{} {moment}", call.number) {
            return Ok(false);
        }
        fs::remove_file(self.path("kill"))?;
        kill(call.parent)?;
        Ok(true)
    }

    /// Plays a bundle's action; gives whether it succeeds. `call` is unknown to a driver.
    pub(crate) fn bundle(&self, call: Option<&Call>, action: &str, installation: &str) -> Result<bool> {
        self.append("executions", &format!("begin {action} {installation}"))?;
        if let Some(call) = call {
            self.moment(call, "bundle")?;
            if self.moment(call, "both")? {
                std::process::exit(137);
            }
        }
        while self.path("hold").exists() {
            std::thread::sleep(POLL);
        }
        let well = !self.read("fail").lines().any(|failing| failing == action);
        self.append("executions", &format!("end {action} {installation}"))?;
        Ok(well)
    }

    /// The driver of a real porter: the operation is on standard input.
    pub(crate) fn driver(&self) -> Result<u8> {
        #[derive(Deserialize)]
        struct Operation {
            /// `NAMESPACE/NAME`: a CNAB claim knows no namespaces (`Run.ToCNAB` in pkg/storage/run.go).
            installation_name: String,
            action: String,
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        let operation: Operation = serde_json::from_str(&text).context("the operation of a bundle")?;
        let well = self.bundle(None, &operation.action, &operation.installation_name)?;
        Ok(u8::from(!well))
    }

    /// Passes a call on to a real porter.
    pub(crate) fn real(&self, porter: &OsStr, arguments: &[String]) -> Result<u8> {
        let home = self.home()?;
        let own = std::env::current_exe()?;
        let driver = self.path(&format!("cnab-{DRIVER}"));
        if !driver.exists() {
            let _ = std::os::unix::fs::symlink(own, &driver);
        }
        let mut path = self.folder.as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let status = Command::new(porter)
            .args(arguments)
            .env("PORTER_HOME", home)
            .env("PORTER_RUNTIME_DRIVER", DRIVER)
            // Porter would take it for its setting `storage`.
            .env_remove("PORTER_STORAGE")
            .env("PATH", path)
            .status()
            .context("PORTER does not start")?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }

    fn home(&self) -> Result<PathBuf> {
        let home = self.path("home");
        fs::create_dir_all(&home)?;
        let storage = std::env::var("PORTER_STORAGE").context("with PORTER, PORTER_STORAGE has to name a MongoDB")?;
        let config = serde_json::json!({
            "default-storage": "tests",
            "storage": [{"name": "tests", "plugin": "mongodb", "config": {"url": storage}}],
            "default-secrets-plugin": "filesystem",
        });
        write(&home.join("config.yaml"), &config.to_string())?;
        Ok(home)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    Ok(fs::write(path, text)?)
}

/// As a node that goes down does.
fn kill(process: u32) -> Result<()> {
    Command::new("kill").args(["-KILL", &process.to_string()]).status().context("kill")?;
    Ok(())
}
