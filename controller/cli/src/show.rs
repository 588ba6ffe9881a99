//! `build` and `plan`: look, and write nothing.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use kustomize::{Built, Rules, TrailStep};
use manifest::Diagnostics;

use crate::args::{BuildOptions, DirectoryOptions, PlanOptions};
use crate::reach::Source;
use crate::store::{State, Store};
use crate::{actions, desired, directory};

/// `build`: the objects of a directory, as YAML, or where they came from.
pub(crate) fn build(options: &BuildOptions) -> anyhow::Result<ExitCode> {
    let BuildOptions { directory, rules, reorder, explain } = options;
    let source = directory::read(&directory.root, &directory.path)?;
    let how = kustomize::Options { rules: *rules, reorder: *reorder, trace: *explain, ..kustomize::Options::default() };
    match desired::build(&source.tree, &directory.path, &how) {
        Ok(built) => {
            for warning in &built.warnings {
                eprintln!("warning: {warning}");
            }
            let done = print(&if *explain { explained(&built) } else { kustomize::to_yaml(&built.objects) });
            // The process is at its end: to free each value of each object would be work for nothing.
            std::mem::forget(built);
            done
        }
        Err(faults) => {
            let code = told(&faults, options.directory.root.as_path(), &source);
            let within_flux = kustomize::Options { rules: Rules::Flux, trace: false, ..how };
            if *rules == Rules::Kustomize && desired::build(&source.tree, &directory.path, &within_flux).is_ok() {
                eprintln!("note: Flux builds this, by rules of its own: give --as flux to build as it does");
            }
            Ok(code)
        }
    }
}

/// A block for each object: what it is, where it came from, what changed it.
fn explained(built: &Built) -> String {
    let mut text = String::new();
    for (object, trail) in built.objects.iter().zip(&built.trails) {
        let _ = writeln!(text, "{}", object.id());
        let _ = match &trail.generator {
            Some(step) => writeln!(text, "  made by {} of {} ({})", step.field, place(step), step.plugin),
            None => writeln!(text, "  from {}", object.origin),
        };
        for step in &trail.changes {
            let _ = writeln!(text, "  changed by {} of {} ({})", step.field, place(step), step.plugin);
        }
    }
    text
}

/// The file of a step, with the line when the step was written there.
fn place(step: &TrailStep) -> String {
    match &step.at {
        Some(at) => format!("{}:{}", at.file, at.line),
        None => step.file.clone(),
    }
}

/// `plan`: the steps from what was written last to what the directory asks for.
pub(crate) fn plan(options: &PlanOptions) -> anyhow::Result<ExitCode> {
    let DirectoryOptions { root, path } = &options.directory;
    let source = directory::read(root, path)?;
    let desired = match desired::desired(&source.tree, path, &options.namespace) {
        Ok(desired) => desired,
        Err(faults) => return Ok(told(&faults, root, &source)),
    };
    if let Err(faults) = crate::documents::render(&desired) {
        return Ok(told(&faults, root, &source));
    }
    if desired.installations.is_empty() && desired.sets.is_empty() && desired.objects.is_empty() {
        eprintln!("no document is there: `run` and a BundleSync refuse that, so that a mistake removes nothing");
        return Ok(ExitCode::FAILURE);
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

/// Tells what is wrong, and where a larger root would help.
fn told(faults: &Diagnostics, root: &Path, source: &Source) -> ExitCode {
    eprintln!("{faults}");
    for (directory, path) in &source.outside {
        let directory = if directory.is_empty() { root.to_owned() } else { root.join(directory) };
        eprintln!(
            "note: {path:?} in the kustomization of {} lies outside of the source: give a --root that holds both",
            directory.display()
        );
    }
    ExitCode::FAILURE
}
