//! A simulation of the porter CLI as a process, for tests of what calls one.
//!
//! Why: a real porter needs a MongoDB, a registry with bundles and a container runtime. What it decides is the model of
//! `simulated_runner::porter_model`, which is held to recordings of v1.6.1, v1.2.1 and v1.0.14; sources are named there.
//! What it prints as JSON has the fields of `pkg/porter/list.go` (`DisplayInstallation`, `DisplayRun`) and
//! `pkg/porter/version.go` of getporter/porter, as far as they are read.
//!
//! The folder that `SIMULATED_PORTER` names is its database and the stage of its bundles:
//!
//! | file | what it is |
//! |---|---|
//! | `version` | the version whose ways it has, such as `v1.2.1`; without it v1.6.1 |
//! | `home/secrets/NAME` | the value of a secret, as for Porter's `filesystem` plugin |
//! | `journal` | what was decided so far, one line each: replayed at each call, so it is the database |
//! | `calls` | the command lines, one each |
//! | `executions` | what bundles did: `begin ACTION NAMESPACE/NAME`, then `end ...` |
//! | `fail` | actions, one a line, that fail for as long as they are there, such as `upgrade` |
//! | `hold` | while it is there, a bundle that has begun does not end |
//! | `kill` | `NUMBER MOMENT`: the call of that number kills the process that made it |
//!
//! | moment of a `kill` | when |
//! |---|---|
//! | `spawn` | at once, and the call does nothing else |
//! | `start` | before it does anything, and it goes on |
//! | `bundle` | while the bundle runs, and it goes on |
//! | `end` | when it is done |
//! | `both` | while the bundle runs, and it is killed too |
//!
//! With `PORTER` in the environment a real CLI decides: each call is passed on to it, with a home in that folder that
//! has its records in `PORTER_STORAGE` (`mongodb://host:port/database`), and this executable is the driver that plays its
//! bundles. The bundles of the documents must be in a registry then.

mod play;
mod simulate;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("simulated-porter: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<u8> {
    let folder = std::env::var_os("SIMULATED_PORTER").context("SIMULATED_PORTER names no folder")?;
    let stage = play::Stage::new(PathBuf::from(folder));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        // As a driver of a real porter.
        Some("--handles") => {
            println!("oci,docker");
            Ok(0)
        }
        None => stage.driver(),
        Some(_) => {
            let call = stage.call(&arguments)?;
            let code = match std::env::var_os("PORTER") {
                Some(porter) => stage.real(&porter, &arguments)?,
                None => simulate::command(&stage, &call, &arguments)?,
            };
            stage.moment(&call, "end")?;
            Ok(code)
        }
    }
}
