//! The reference implementation, when this machine has it: `kustomize` v5.8.1 by choice, else `kubectl kustomize`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Files;

/// The version of kustomize whose semantics are built here.
pub(crate) const VERSION: &str = "v5.8.1";

/// An installed kustomize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oracle {
    /// `kustomize` of [`VERSION`].
    Exact,
    /// `kubectl kustomize`, of whatever version.
    Kubectl,
}

impl Oracle {
    /// The best that is on the `PATH`.
    pub(crate) fn find() -> Option<Self> {
        let says = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        if says("kustomize", &["version"]).is_some_and(|version| version.contains(VERSION)) {
            return Some(Self::Exact);
        }
        says("kubectl", &["version", "--client"]).map(|_| Self::Kubectl)
    }

    /// What it makes of the directory: its output, or its message.
    pub(crate) fn build(self, files: &Files, target: &str, question: Question) -> Result<String, String> {
        let scratch = Scratch::with(files);
        let mut command = match self {
            Self::Exact => {
                let mut command = Command::new("kustomize");
                command.arg("build").args(["--reorder", if question.is_legacy { "legacy" } else { "none" }]);
                command
            }
            Self::Kubectl => {
                let mut command = Command::new("kubectl");
                command.arg("kustomize").args(["--reorder", if question.is_legacy { "legacy" } else { "none" }]);
                command
            }
        };
        if question.loads_from_anywhere {
            command.args(["--load-restrictor", "LoadRestrictionsNone"]);
        }
        let output = command.arg(scratch.0.join(target)).output().unwrap_or_else(|error| panic!("{self:?}: {error}"));
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// How the oracle is to build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) is_legacy: bool,
    pub(crate) loads_from_anywhere: bool,
}

/// A folder of the files, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn with(files: &Files) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let scratch = Self(std::env::temp_dir().join(format!("kustomize-{}-{number}", std::process::id())));
        std::fs::create_dir_all(&scratch.0).unwrap();
        for (path, content) in files {
            let path = scratch.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
            std::fs::write(path, content).unwrap();
        }
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
