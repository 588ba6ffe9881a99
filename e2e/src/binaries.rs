//! Where the binaries are: the pinned servers, and what this workspace builds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the source tree.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// A binary of this workspace, built in the same profile as the running executable.
///
/// # Errors
/// When it was not built.
pub fn workspace_binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this executable lies")?;
    // A test executable lies in target/PROFILE/deps, a binary in target/PROFILE.
    for folder in own.ancestors().skip(1).take(2) {
        let binary = folder.join(name);
        if binary.is_file() {
            return Ok(binary);
        }
    }
    bail!("no {name} beside {}: run `cargo build --workspace --bins` first", own.display())
}

/// The pinned servers that `hack/control-plane/build.sh` makes.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    folder: PathBuf,
}

impl ControlPlane {
    /// Builds what is not built yet, which takes minutes the first time; progress goes to standard error. Blocks.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build() -> Result<Self> {
        let script = workspace().join("hack/control-plane/build.sh");
        let output = Command::new(&script)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run {}", script.display()))?;
        if !output.status.success() {
            bail!("{} failed ({}); its messages are above", script.display(), output.status);
        }
        let answer = String::from_utf8_lossy(&output.stdout);
        let folder = answer.lines().last().map(PathBuf::from);
        let folder = folder.with_context(|| format!("{} printed no folder", script.display()))?;
        Ok(Self { folder })
    }

    /// A server or tool by its file name.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder that holds the CRDs of the Flux sources.
    pub fn crds(&self) -> PathBuf {
        self.folder.join("crds")
    }
}
