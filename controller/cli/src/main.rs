//! `flux-porter`: what porter-flux does, without a cluster.
//!
//! `build` shows the objects of a directory, `plan` what would be done about them, `run` follows a git repository into a
//! directory of documents, and `demo` shows `run` at work. All of them build, interpret and plan with the same crates as
//! the controller, so what is shown here is what runs there.
//!
//! Invariant: no command writes anywhere but into its `--to` directory (`demo`: a temporary one), and none changes anything
//! else but `run --apply porter`, by the porter CLI.

mod actions;
mod args;
mod carry_out;
mod demo;
mod desired;
mod directory;
mod documents;
mod follow;
mod git;
mod porter_cli;
mod prune;
mod reach;
mod show;
mod stop;
mod store;

use std::process::ExitCode;

use args::Command;

/// As clap ends when it refuses an argument.
const UNUSABLE_ARGUMENT: u8 = 2;

fn main() -> ExitCode {
    let command = match args::parse() {
        Ok(command) => command,
        Err(error) => return failed(&error, ExitCode::from(UNUSABLE_ARGUMENT)),
    };
    let done = match command {
        Command::Build(options) => show::build(&options),
        Command::Plan(options) => show::plan(&options),
        Command::Run(options) => follow::run(&options),
        Command::Demo => demo::run(),
    };
    done.unwrap_or_else(|error| failed(&error, ExitCode::FAILURE))
}

fn failed(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    eprintln!("flux-porter: {error:#}");
    code
}
