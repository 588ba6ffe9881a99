//! `demo`: a repository made for the purpose, followed commit by commit.
//!
//! It runs the same code as `run`, on a repository in a temporary directory, so what it shows is what `run` does. It needs
//! no configuration of git, no network and no cluster, and shows the same at each call.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use git2::build::TreeUpdateBuilder;
use git2::{Diff, DiffFormat, FileMode, Oid, Repository, RepositoryInitOptions, Signature, Time};

use crate::args::RunOptions;
use crate::follow::{Follower, Listener};
use crate::git::Address;

/// Seconds since 1970 of the first commit; each next one is a minute later.
const FIRST_COMMIT: i64 = 1_767_225_600;

const HELLO: &str = "\
schemaType: Installation
schemaVersion: 1.0.2
name: hello
namespace: demo
bundle:
  repository: ghcr.io/getporter/examples/porter-hello
  version: 0.2.0
";

const LLAMA: &str = "\
schemaType: Installation
schemaVersion: 1.0.2
name: llama
namespace: demo
bundle:
  repository: ghcr.io/getporter/examples/hello-llama
  version: 0.1.1
parameters:
  name: Alpaca
";

/// A commit: what it says, and the content of a file from then on.
struct Scene {
    message: &'static str,
    edits: Vec<(&'static str, Option<String>)>,
}

/// One after the other, each of them a state of the story.
fn scenes() -> Vec<Scene> {
    let hello = "apps/hello.yaml";
    let llama = "apps/llama.yaml";
    let renamed = LLAMA.replace("Alpaca", "Vicuna");
    let commented = renamed.replace("parameters:", "# whom to greet\nparameters:");
    let broken = commented.replace("repository:", "repositry:");
    let fixed = commented.replace("0.1.1", "0.1.2");
    vec![
        Scene { message: "install two bundles", edits: vec![(hello, Some(HELLO.into())), (llama, Some(LLAMA.into()))] },
        Scene { message: "greet somebody else", edits: vec![(llama, Some(renamed))] },
        Scene { message: "just a comment", edits: vec![(llama, Some(commented))] },
        Scene {
            message: "a slip, and a removal in the same commit",
            edits: vec![(llama, Some(broken)), (hello, None)],
        },
        Scene { message: "put the slip right", edits: vec![(llama, Some(fixed)), (hello, Some(HELLO.into()))] },
        Scene { message: "hello is no longer wanted", edits: vec![(hello, None)] },
    ]
}

/// `demo`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let stdout = io::stdout();
    let colour = stdout.is_terminal();
    match play(&mut Screen { out: stdout.lock(), colour }) {
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(ExitCode::SUCCESS)
        }
        played => played.map(|()| ExitCode::SUCCESS),
    }
}

fn play<W: Write>(screen: &mut Screen<W>) -> anyhow::Result<()> {
    let place = tempfile::tempdir().context("cannot make a temporary directory")?;
    let path = place.path().join("fleet.git");
    let mut options = RepositoryInitOptions::new();
    let repository = Repository::init_opts(&path, options.bare(true).initial_head("main").external_template(false))?;
    let mut follower = Follower::new(&RunOptions {
        repo: Address::Local(path.clone()),
        branch: None,
        path: "apps".to_owned(),
        to: place.path().join("out"),
        namespace: "default".to_owned(),
        once: true,
        interval: Duration::ZERO,
        confirm: None,
        apply: None,
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    for (number, scene) in scenes().into_iter().enumerate() {
        let commit = add_commit(&repository, number, &scene)?;
        screen.line(Paint::Title, &format!("commit {}: {}", number + 1, scene.message))?;
        screen.diff(&diff(&repository, commit)?)?;
        runtime.block_on(follower.look(screen));
        screen.line(Paint::Plain, "")?;
    }
    screen.line(Paint::Plain, "Follow a repository of yours: flux-porter run --repo PATH|URL --to DIR")?;
    Ok(())
}

fn add_commit(repository: &Repository, number: usize, scene: &Scene) -> anyhow::Result<Oid> {
    let parent = repository.head().ok().and_then(|head| head.peel_to_commit().ok());
    let before = match &parent {
        Some(parent) => parent.tree()?,
        None => repository.find_tree(repository.treebuilder(None)?.write()?)?,
    };
    let mut update = TreeUpdateBuilder::new();
    for (path, content) in &scene.edits {
        match content {
            Some(content) => update.upsert(*path, repository.blob(content.as_bytes())?, FileMode::Blob),
            None => update.remove(*path),
        };
    }
    let tree = repository.find_tree(update.create_updated(repository, &before)?)?;
    let time = Time::new(FIRST_COMMIT + 60 * i64::try_from(number)?, 0);
    let author = Signature::new("demo", "demo@example.org", &time)?;
    let parents: Vec<_> = parent.iter().collect();
    Ok(repository.commit(Some("HEAD"), &author, &author, scene.message, &tree, &parents)?)
}

fn diff(repository: &Repository, commit: Oid) -> Result<Diff<'_>, git2::Error> {
    let commit = repository.find_commit(commit)?;
    let before = commit.parent(0).ok().map(|parent| parent.tree()).transpose()?;
    repository.diff_tree_to_tree(before.as_ref(), Some(&commit.tree()?), None)
}

/// What is shown, and whether in colours.
struct Screen<W> {
    out: W,
    colour: bool,
}

/// How a line looks.
#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Title,
    Added,
    Removed,
    Hunk,
    Action,
    Note,
    Fault,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Title => "1",
            Self::Added => "32",
            Self::Removed => "31",
            Self::Hunk => "36",
            Self::Action => "1;34",
            Self::Note => "2",
            Self::Fault => "1;31",
        }
    }
}

impl<W: Write> Screen<W> {
    fn line(&mut self, paint: Paint, text: &str) -> io::Result<()> {
        if self.colour && !text.is_empty() {
            writeln!(self.out, "\x1b[{}m{text}\x1b[0m", paint.code())
        } else {
            writeln!(self.out, "{text}")
        }
    }

    fn diff(&mut self, diff: &Diff<'_>) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        diff.print(DiffFormat::Patch, |_, _, line| {
            let text = String::from_utf8_lossy(line.content());
            match line.origin() {
                '+' => lines.push((Paint::Added, format!("+{text}"))),
                '-' => lines.push((Paint::Removed, format!("-{text}"))),
                ' ' => lines.push((Paint::Plain, format!(" {text}"))),
                'H' => lines.push((Paint::Hunk, text.into_owned())),
                // Of the head of a file, its names are enough.
                _ => lines.extend(
                    text.lines()
                        .filter(|line| line.starts_with("--- ") || line.starts_with("+++ "))
                        .map(|line| (Paint::Hunk, line.to_owned())),
                ),
            }
            true
        })?;
        for (paint, line) in lines {
            self.line(paint, &format!("    {}", line.trim_end_matches('\n')))?;
        }
        Ok(())
    }
}

/// A write that fails fails again, and is told, at the next diff.
impl<W: Write> Listener for Screen<W> {
    fn revision(&mut self, revision: &str) {
        let _ = self.line(Paint::Note, &format!("  revision {revision}"));
    }

    fn action(&mut self, action: &str) -> io::Result<()> {
        self.line(Paint::Action, &format!("  => {action}"))
    }

    fn note(&mut self, note: &str) {
        let _ = self.line(Paint::Note, &format!("  {note}"));
    }

    fn fault(&mut self, fault: &str) {
        for line in fault.lines() {
            let _ = self.line(Paint::Fault, &format!("  {line}"));
        }
        let _ = self.line(Paint::Note, "  nothing was changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_ends_and_is_the_same_each_time() {
        let shown = || {
            let mut screen = Screen { out: Vec::new(), colour: false };
            play(&mut screen).unwrap();
            String::from_utf8(screen.out).unwrap()
        };
        let first = shown();
        let told: Vec<&str> = first.lines().filter_map(|line| line.strip_prefix("  => ")).collect();
        let expected = [
            &["install hello 0.2.0", "install llama 0.1.1"][..],
            &["unchanged hello", "upgrade llama 0.1.1"],
            &["unchanged hello", "unchanged llama"],
            &[],
            &["unchanged hello", "upgrade llama 0.1.2"],
            &["uninstall hello", "unchanged llama"],
        ];
        assert_eq!(told, expected.concat());
        assert!(first.contains("apps/llama.yaml:6:3: "), "{first}");
        assert_eq!(first, shown());
    }
}
