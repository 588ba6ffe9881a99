//! The command line: what was typed (low), and what is meant (high, validated).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use git2::Oid;

use crate::git::Address;

/// The shortest time between two looks at a repository.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Porter bundles from git, without a cluster.
#[derive(Debug, Parser)]
#[command(name = "flux-porter", version, about)]
struct LowArgs {
    #[command(subcommand)]
    command: LowCommand,
}

#[derive(Debug, Subcommand)]
enum LowCommand {
    /// Print the objects that a directory describes, as YAML
    Build(LowBuild),
    /// Show what would be done about a directory, each step with its reason
    Plan {
        #[command(flatten)]
        directory: LowDirectory,
        /// The directory that `run --to` writes to; without it, nothing exists yet
        #[arg(long, value_name = "STATE_DIR")]
        to: Option<PathBuf>,
        /// The namespace of documents that name none
        #[arg(long, default_value = "default")]
        namespace: String,
    },
    /// Follow a git repository, and write what it asks for as documents
    Run(LowRun),
    /// See it at work on a repository made for the purpose
    Demo,
}

#[derive(Debug, Args)]
struct LowDirectory {
    /// The directory to build
    dir: PathBuf,
    /// The root of the source, outside of which nothing is read [default: that of the git work tree DIR lies in, or DIR]
    #[arg(long)]
    root: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct LowBuild {
    #[command(flatten)]
    directory: LowDirectory,
    /// Whose rules count where kustomize and kustomize within Flux differ
    #[arg(long = "as", value_enum, value_name = "WHO", default_value_t = LowRules::Kustomize)]
    rules: LowRules,
    /// The order of the objects, when the kustomization asks for none
    #[arg(long, value_enum, value_name = "ORDER", default_value_t = LowOrder::None)]
    reorder: LowOrder,
    /// Print where each object came from and what changed it, instead of the objects
    #[arg(long)]
    explain: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LowRules {
    /// As `kustomize build`: files lie in or below the directory of their kustomization
    Kustomize,
    /// As the controller, `plan` and `run`: files lie anywhere in the source, objects are fit to be applied
    Flux,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LowOrder {
    /// As they are loaded, which is Flux's order
    None,
    /// By kind, which is kubectl's order
    Legacy,
}

#[derive(Debug, Args)]
struct LowRun {
    /// The repository: a path, or a file://, http:// or https:// URL
    #[arg(long, value_name = "PATH|URL")]
    repo: String,
    /// The branch to follow [default: the one that HEAD names]
    #[arg(long)]
    branch: Option<String>,
    /// The directory of the repository to build
    #[arg(long, default_value = "", hide_default_value = true)]
    path: String,
    /// The directory to write to
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The namespace of documents that name none
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Look once, and end: with status 1 when the revision could not be applied
    #[arg(long)]
    once: bool,
    /// How often to look
    #[arg(long, default_value = "30s")]
    interval: api::Duration,
    /// Let this commit uninstall as much as it does
    #[arg(long, value_name = "COMMIT")]
    confirm: Option<String>,
    /// Run the bundles too, with the porter CLI of this machine
    #[arg(long, value_enum, value_name = "WHAT")]
    apply: Option<LowApply>,
    /// The porter CLI [default: the one on the PATH]
    #[arg(long, value_name = "PATH", requires = "apply")]
    porter: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LowApply {
    /// The porter CLI of this machine
    Porter,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    /// `build`
    Build(BuildOptions),
    /// `plan`
    Plan(PlanOptions),
    /// `run`
    Run(RunOptions),
    /// `demo`
    Demo,
}

/// A directory of a source on disk.
#[derive(Debug)]
pub(crate) struct DirectoryOptions {
    /// The root of the source; exists.
    pub(crate) root: PathBuf,
    /// The directory to build, from the root, with `/` between its parts.
    pub(crate) path: String,
}

/// What `build` needs.
#[derive(Debug)]
pub(crate) struct BuildOptions {
    /// What to build.
    pub(crate) directory: DirectoryOptions,
    /// Whose rules count.
    pub(crate) rules: kustomize::Rules,
    /// The order of the objects.
    pub(crate) reorder: kustomize::Reorder,
    /// Whether to print what made and changed the objects.
    pub(crate) explain: bool,
}

/// What `plan` needs.
#[derive(Debug)]
pub(crate) struct PlanOptions {
    /// What to build.
    pub(crate) directory: DirectoryOptions,
    /// Where `run` writes to.
    pub(crate) to: Option<PathBuf>,
    /// The namespace of documents that name none.
    pub(crate) namespace: String,
}

/// What `run` needs.
#[derive(Clone, Debug)]
pub(crate) struct RunOptions {
    /// Where the repository is; may hold credentials, so it is never printed.
    pub(crate) repo: Address,
    /// The branch; `None` is the one that HEAD names.
    pub(crate) branch: Option<String>,
    /// The directory of the repository to build.
    pub(crate) path: String,
    /// The directory to write to.
    pub(crate) to: PathBuf,
    /// The namespace of documents that name none.
    pub(crate) namespace: String,
    /// Whether to look just once.
    pub(crate) once: bool,
    /// The time between two looks.
    pub(crate) interval: Duration,
    /// The commit that may uninstall as much as it does.
    pub(crate) confirm: Option<Oid>,
    /// Who runs the bundles; nobody without.
    pub(crate) apply: Option<ApplyOptions>,
}

/// How bundles are run by a porter CLI.
#[derive(Clone, Debug)]
pub(crate) struct ApplyOptions {
    /// The CLI, where it is named.
    pub(crate) porter: Option<PathBuf>,
}

/// Reads the command line; ends the process for `--help`, `--version` and what clap refuses.
pub(crate) fn parse() -> anyhow::Result<Command> {
    LowArgs::parse().command.high()
}

impl LowCommand {
    fn high(self) -> anyhow::Result<Command> {
        Ok(match self {
            Self::Build(LowBuild { directory, rules, reorder, explain }) => Command::Build(BuildOptions {
                directory: directory.high()?,
                rules: match rules {
                    LowRules::Kustomize => kustomize::Rules::Kustomize,
                    LowRules::Flux => kustomize::Rules::Flux,
                },
                reorder: match reorder {
                    LowOrder::None => kustomize::Reorder::None,
                    LowOrder::Legacy => kustomize::Reorder::Legacy,
                },
                explain,
            }),
            Self::Plan { directory, to, namespace } => Command::Plan(PlanOptions {
                directory: directory.high()?,
                to,
                namespace: checked_namespace(namespace)?,
            }),
            Self::Run(run) => Command::Run(run.high()?),
            Self::Demo => Command::Demo,
        })
    }
}

impl LowDirectory {
    fn high(self) -> anyhow::Result<DirectoryOptions> {
        let directory = existing_directory(&self.dir)?;
        let root = match &self.root {
            Some(root) => existing_directory(root)?,
            None => work_tree(&directory).unwrap_or(&directory).to_owned(),
        };
        let Ok(path) = directory.strip_prefix(&root) else {
            bail!("{} is not below --root {}; name a root that holds it", self.dir.display(), root.display());
        };
        let path = path.to_str().with_context(|| format!("{} is no UTF-8", self.dir.display()))?;
        Ok(DirectoryOptions { root, path: path.replace(std::path::MAIN_SEPARATOR, "/") })
    }
}

impl LowRun {
    fn high(self) -> anyhow::Result<RunOptions> {
        if let Some(branch) = &self.branch
            && !git2::Reference::is_valid_name(&format!("refs/heads/{branch}"))
        {
            bail!("--branch {branch:?} is no name that git allows");
        }
        if self.interval.as_std().is_zero() {
            bail!("--interval is 0: name the time between two looks, such as 30s");
        }
        Ok(RunOptions {
            repo: Address::parse(&self.repo)?,
            branch: self.branch,
            path: self.path,
            to: self.to,
            namespace: checked_namespace(self.namespace)?,
            once: self.once,
            interval: self.interval.as_std().max(MIN_INTERVAL),
            confirm: self.confirm.as_deref().map(whole_commit).transpose()?,
            apply: self.apply.map(|LowApply::Porter| ApplyOptions { porter: self.porter }),
        })
    }
}

/// A commit by its whole id, alone or in a revision as it is shown.
fn whole_commit(typed: &str) -> anyhow::Result<Oid> {
    const DIGITS: usize = 40;
    let id = typed.rsplit_once("sha1:").map_or(typed, |(_, id)| id);
    match Oid::from_str(id) {
        Ok(commit) if id.len() == DIGITS => Ok(commit),
        _ => bail!("--confirm {typed:?} names no commit: give all {DIGITS} digits of its id"),
    }
}

/// The git work tree that a directory lies in.
fn work_tree(directory: &Path) -> Option<&Path> {
    directory.ancestors().find(|above| above.join(".git").exists())
}

fn existing_directory(path: &Path) -> anyhow::Result<PathBuf> {
    let real = path.canonicalize().with_context(|| format!("cannot find the directory {}", path.display()))?;
    if !real.is_dir() {
        bail!("{} is a file; name the directory that holds it", path.display());
    }
    Ok(real)
}

fn checked_namespace(namespace: String) -> anyhow::Result<String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = namespace.bytes().next().is_some_and(plain) && namespace.bytes().last().is_some_and(plain);
    if !ends || namespace.len() > 63 || !namespace.bytes().all(|b| plain(b) || b == b'-') {
        bail!("--namespace {namespace:?} is no DNS label: use up to 63 of a-z, 0-9 and -, with no - at either end");
    }
    Ok(namespace)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <LowArgs as clap::CommandFactory>::command().debug_assert();
    }

    /// docs/flux-porter.md names each flag of `--help` in the section of its command, with its default, and no other.
    #[test]
    fn every_flag_is_in_the_manual() {
        let manual = include_str!("../../../docs/flux-porter.md");
        for command in <LowArgs as clap::CommandFactory>::command().get_subcommands() {
            let section = manual.split("\n## ").find(|section| section.lines().next() == Some(command.get_name()));
            let section = section.unwrap_or_else(|| panic!("no section {}", command.get_name()));
            let rows: Vec<Vec<&str>> = section
                .lines()
                .filter(|line| line.starts_with("| `--"))
                .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
                .collect();
            // Without a table the flags are in the line that shows how it is called.
            let told = |row: &[&'static str]| row.first().and_then(|cell| cell.split('`').nth(1)).unwrap_or_default();
            let in_table = rows.iter().map(|row| told(row).split(' ').next().unwrap_or_default());
            let in_line = section.split('[').filter_map(|part| part.split([' ', ']']).next());
            let flags = in_table.chain(in_line.filter(|_| rows.is_empty())).filter(|flag| flag.starts_with("--"));
            let flags: BTreeSet<&str> = flags.map(|flag| flag.trim_start_matches("--")).collect();
            let known = command.get_arguments().filter_map(|argument| argument.get_long());
            assert_eq!(flags, known.collect(), "{}", command.get_name());

            for argument in command.get_arguments().filter(|argument| !rows.is_empty() && !argument.is_positional()) {
                let Some(value) = argument.get_default_values().first().and_then(|value| value.to_str()) else {
                    continue;
                };
                let flag = format!("--{}", argument.get_long().unwrap_or_default());
                let is_told = |row: &Vec<&'static str>| {
                    let default = row.last().copied().unwrap_or_default();
                    (told(row) == flag && (value.is_empty() || default == format!("`{value}`")))
                        || (told(row) == format!("{flag} {value}") && default == "the default")
                };
                let is_switch = !argument.get_action().takes_values();
                assert!(is_switch || rows.iter().any(is_told), "{flag}: {value}");
            }
        }
    }

    #[test]
    fn what_is_typed_is_checked() {
        let run = |more: &[&str]| {
            let typed = ["flux-porter", "run", "--repo", "r", "--to", "d"].iter().chain(more);
            LowArgs::try_parse_from(typed).map_err(anyhow::Error::from).and_then(|args| args.command.high())
        };
        for (typed, good) in [
            (&[][..], true),
            (&["--interval", "200ms", "--once"], true),
            (&["--interval", "soon"], false),
            (&["--interval", "0s"], false),
            (&["--branch", "feature/x"], true),
            (&["--branch", "a..b"], false),
            (&["--namespace", "apps"], true),
            (&["--namespace", "../etc"], false),
            (&["--namespace", ""], false),
            (&["--confirm", "361b824a5a6bbaf989d6bfca571af5a58a1c3df5"], true),
            (&["--confirm", "main@sha1:361b824a5a6bbaf989d6bfca571af5a58a1c3df5"], true),
            (&["--confirm", "361b824a"], false),
            (&["--confirm", "main"], false),
            (&["--apply", "porter"], true),
            (&["--apply", "porter", "--porter", "bin/porter"], true),
            (&["--apply", "kubectl"], false),
            (&["--porter", "bin/porter"], false),
        ] {
            assert_eq!(run(typed).is_ok(), good, "{typed:?}");
        }
    }
}
