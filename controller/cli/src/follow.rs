//! `run`: a branch of a repository, followed into a directory of documents.
//!
//! Guarantees: a revision is applied whole or not at all. What cannot be applied, or read, is told once and tried again;
//! only a revision that is known to be broken waits for the next one.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use git2::Oid;
use manifest::Diagnostics;
use porter::Desired;
use tokio::time::sleep;

use crate::args::RunOptions;
use crate::git::{Address, Repository, Revision};
use crate::store::{LockedStore, State};
use crate::{actions, desired, documents, prune};

/// Who is told what happens.
pub(crate) trait Listener {
    /// A revision is looked at.
    fn revision(&mut self, revision: &str);
    /// A bundle action. Called once the documents are written, and again if the process ends before that is recorded.
    fn action(&mut self, action: &str) -> io::Result<()>;
    /// Something was written that runs no bundle.
    fn note(&mut self, note: &str);
    /// Something is wrong; one line for each fault.
    fn fault(&mut self, fault: &str);
}

/// Actions to stdout, everything else to stderr.
struct Terminal;

impl Listener for Terminal {
    fn revision(&mut self, revision: &str) {
        eprintln!("revision {revision}");
    }

    fn action(&mut self, action: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{action}")?;
        stdout.flush()
    }

    fn note(&mut self, note: &str) {
        eprintln!("{note}");
    }

    fn fault(&mut self, fault: &str) {
        eprintln!("{fault}");
    }
}

/// `run`.
pub(crate) fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // From here on a signal ends the process in order: between two looks, never within one.
        let stopped = stopped()?;
        let mut follower = Follower::new(options)?;
        let mut terminal = Terminal;
        tokio::select! {
            applied = follower.follow(options, &mut terminal) => applied,
            // Who asked for one revision does not have it.
            stopped = stopped => stopped.map(|()| if options.once { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
        }
    })
}

/// Listens at once, and is there when the process is asked to end.
#[cfg(unix)]
fn stopped() -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

/// Is there when the process is asked to end.
#[cfg(not(unix))]
fn stopped() -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    Ok(async { Ok(tokio::signal::ctrl_c().await?) })
}

/// A repository, a directory, and what was seen and done.
pub(crate) struct Follower {
    repository: Repository,
    store: LockedStore,
    path: String,
    namespace: String,
    confirm: Option<Oid>,
    seen: Option<Seen>,
    /// The last fault of reading or writing, so that it is told once.
    trouble: Option<String>,
}

/// The revision that was looked at last.
struct Seen {
    revision: Revision,
    /// `None` when it is broken.
    desired: Option<Desired>,
    applied: bool,
}

impl Follower {
    /// Locks the directory. The repository is not looked at yet.
    ///
    /// # Errors
    /// When another process has the directory, it lies in what is followed, or the repository's address is none.
    pub(crate) fn new(options: &RunOptions) -> anyhow::Result<Self> {
        let address = Address::parse(&options.repo)?;
        if let Some(followed) = address.work_tree(&options.path).filter(|followed| is_within(&options.to, followed)) {
            bail!(
                "--to {} lies in {}, which is followed: what is written there would become part of the source with the \
                 next commit; choose a directory outside of it",
                options.to.display(),
                followed.display()
            );
        }
        let store = LockedStore::open(&options.to)?;
        let repository = Repository::new(address, options.branch.clone(), store.git_cache())?;
        let (path, namespace) = (options.path.clone(), options.namespace.clone());
        Ok(Self { repository, store, path, namespace, confirm: options.confirm, seen: None, trouble: None })
    }

    async fn follow(&mut self, options: &RunOptions, listener: &mut dyn Listener) -> anyhow::Result<ExitCode> {
        loop {
            let applied = self.look(listener).await;
            if options.once {
                return Ok(if applied { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            sleep(options.interval).await;
        }
    }

    /// Looks at the repository, and makes the directory what it asks for. Gives whether the directory now is.
    pub(crate) async fn look(&mut self, listener: &mut dyn Listener) -> bool {
        match self.try_look(listener).await {
            Ok(applied) => {
                self.trouble = None;
                applied
            }
            Err(error) => {
                let trouble = format!("{error:#}");
                if self.trouble.as_ref() != Some(&trouble) {
                    listener.fault(&trouble);
                    self.trouble = Some(trouble);
                }
                false
            }
        }
    }

    async fn try_look(&mut self, listener: &mut dyn Listener) -> anyhow::Result<bool> {
        let revision = self.repository.revision().await?;
        if self.seen.as_ref().is_none_or(|seen| seen.revision != revision) {
            let tree = self.repository.tree(&revision, &self.path).await?;
            listener.revision(&revision.to_string());
            let desired = desired::desired(&tree, &self.path, &self.namespace);
            let desired = checked(desired, listener);
            self.seen = Some(Seen { revision, desired, applied: false });
        }
        let Some(seen) = &mut self.seen else { return Ok(false) };
        let Some(desired) = &seen.desired else { return Ok(false) };
        let confirmed = self.confirm == Some(seen.revision.commit);
        let faults = apply(&self.store, desired, &seen.revision, confirmed, seen.applied, listener)?;
        if let Some(faults) = faults {
            faults.iter().for_each(|fault| listener.fault(fault));
            seen.desired = None;
            return Ok(false);
        }
        seen.applied = true;
        Ok(true)
    }
}

/// Whether a directory, which need not exist, is or lies in another one.
fn is_within(directory: &Path, other: &Path) -> bool {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let real = absolute.ancestors().find_map(|above| {
        let rest = absolute.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(rest))
    });
    real.is_some_and(|real| real.starts_with(other))
}

/// What is desired, unless something is wrong with it, which is told.
fn checked(desired: Result<Desired, Diagnostics>, listener: &mut dyn Listener) -> Option<Desired> {
    let checked = desired.and_then(|desired| documents::render(&desired).map(|_| desired));
    checked.map_err(|faults| listener.fault(&faults.to_string())).ok()
}

/// Makes the directory what is desired. Gives what forbids it, if anything does: then nothing is written.
///
/// `again` when this revision was applied before: then only what is put right is told.
fn apply(
    store: &LockedStore,
    desired: &Desired,
    revision: &Revision,
    confirmed: bool,
    again: bool,
    listener: &mut dyn Listener,
) -> anyhow::Result<Option<Vec<String>>> {
    let old = store.read().state()?;
    let gone = match prune::check(&old, desired, &revision.commit.to_string(), confirmed) {
        Ok(gone) => gone,
        Err(refusal) => return Ok(Some(vec![refusal])),
    };
    let revision = revision.to_string();
    let planned = actions::plan(store.read(), &old, desired, &revision)?;
    if !planned.refused.is_empty() {
        return Ok(Some(planned.refused));
    }
    let documents = documents::render(desired)?;
    let new = State { revision, releases: planned.releases, gone, ..State::empty() };
    let tell = |listener: &mut dyn Listener| -> io::Result<()> {
        planned.actions.iter().filter(|_| !again).try_for_each(|action| listener.action(&action.to_string()))
    };
    let changed = store.replace(&old, new, &documents, || tell(listener))?;
    changed.written.iter().for_each(|file| listener.note(&format!("wrote {file}")));
    changed.removed.iter().for_each(|file| listener.note(&format!("removed {file}")));
    Ok(None)
}
