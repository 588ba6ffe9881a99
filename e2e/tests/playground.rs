//! `hack/run.sh`: what somebody sees who tries the project for the first time.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

#[test]
fn the_demonstration_comes_to_its_end() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_playground")).arg("--once").output()?;
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{printed}\n{errors}", output.status);
    // The commit that was pushed, then the bundle action that it led to.
    for expected in ["git push: ", "Ready=True ReconciliationSucceeded", "hello-llama", "export KUBECONFIG="] {
        ensure!(printed.contains(expected), "no {expected:?} in:\n{printed}");
    }
    Ok(())
}

#[test]
fn a_cluster_needs_a_repository_that_it_reaches() -> Result<()> {
    let missing = Command::new(env!("CARGO_BIN_EXE_playground")).args(["--kubeconfig", "/none"]).output()?;
    ensure!(!missing.status.success());
    let errors = String::from_utf8_lossy(&missing.stderr);
    ensure!(errors.contains("--git-url"), "{errors}");
    Ok(())
}

#[test]
fn what_is_built_first_is_told() -> Result<()> {
    // Other tests use what is built: nothing is built anew beside them.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hack/run.sh");
    let help = Command::new(script).arg("--help").env("CARGO", "true").output()?;
    ensure!(help.status.success(), "{}", String::from_utf8_lossy(&help.stderr));
    let told = String::from_utf8_lossy(&help.stderr);
    ensure!(told.contains("run.sh: building the controller"), "{told}");
    Ok(())
}
