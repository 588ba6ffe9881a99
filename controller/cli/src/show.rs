//! `build` and `plan`: look, and write nothing.

use std::io::{self, Write as _};
use std::process::ExitCode;

use manifest::Diagnostics;

use crate::args::{DirectoryOptions, PlanOptions};
use crate::store::{State, Store};
use crate::{actions, desired, directory};

/// `build`: the objects of a directory, as YAML.
pub(crate) fn build(options: &DirectoryOptions) -> anyhow::Result<ExitCode> {
    let tree = directory::read(&options.root)?;
    match desired::build(&tree, &options.path) {
        Ok(objects) => print(&kustomize::to_yaml(&objects)),
        Err(faults) => Ok(told(&faults)),
    }
}

/// `plan`: the steps from what was written last to what the directory asks for.
pub(crate) fn plan(options: &PlanOptions) -> anyhow::Result<ExitCode> {
    let tree = directory::read(&options.directory.root)?;
    let desired = match desired::desired(&tree, &options.directory.path, &options.namespace) {
        Ok(desired) => desired,
        Err(faults) => return Ok(told(&faults)),
    };
    if let Err(faults) = crate::documents::render(&desired) {
        return Ok(told(&faults));
    }
    let nowhere = tempfile::tempdir()?;
    let store = Store::open(options.to.as_deref().unwrap_or(nowhere.path()));
    let state = if options.to.is_some() { store.state()? } else { State::empty() };
    let planned = actions::plan(&store, &state, &desired, "the directory")?;
    let steps: String = planned.plan.steps.iter().map(|step| format!("{step}\n")).collect();
    print(&steps)
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        done => Ok(done.map(|()| ExitCode::SUCCESS)?),
    }
}

fn told(faults: &Diagnostics) -> ExitCode {
    eprintln!("{faults}");
    ExitCode::FAILURE
}
