//! `run`: a branch of a repository, followed into a directory of documents.
//!
//! Guarantees: a revision is applied whole or not at all. What cannot be applied, or read, is told once and tried again;
//! only a revision that is known to be broken waits for the next one.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use git2::Oid;
use jiff::SignedDuration;
use manifest::Diagnostics;
use porter::Desired;
use tokio::time::sleep;

use crate::actions::Planned;
use crate::args::RunOptions;
use crate::carry_out::{CarryOut, Patience};
use crate::git::{Repository, Revision};
use crate::porter_cli::PorterCli;
use crate::stop::Stop;
use crate::store::{Changed, LockedStore, State};
use crate::{actions, carry_out, desired, documents, porter_cli, prune};

/// Who is told what happens.
pub(crate) trait Listener {
    /// A revision is looked at.
    fn revision(&mut self, revision: &str);
    /// A bundle action, or what one came to. Called once the documents are written, and again if the process ends before
    /// that is recorded.
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
        // From here on a signal ends the process in order: between two steps, never within one.
        let stop = Stop::listen()?;
        let binary = options.apply.as_ref().map(|apply| porter_cli::find(apply.porter.as_deref())).transpose()?;
        let mut follower = Follower::new(options)?;
        if let Some(binary) = binary {
            follower.porter = Some(PorterCli::open(&binary, follower.store.porter()).await?);
        }
        follower.stop = stop;
        follower.follow(options, &mut Terminal).await
    })
}

/// A repository, a directory, and what was seen and done.
pub(crate) struct Follower {
    repository: Repository,
    store: LockedStore,
    path: String,
    namespace: String,
    confirm: Option<Oid>,
    porter: Option<PorterCli>,
    patience: Patience,
    stop: Stop,
    seen: Option<Seen>,
    /// The last fault of reading or writing, so that it is told once.
    trouble: Option<String>,
}

/// The revision that was looked at last.
struct Seen {
    revision: Revision,
    /// `None` when it is broken.
    desired: Option<Desired>,
    /// What happens with it was told.
    told: bool,
}

/// What became of a revision.
enum Applied {
    /// All is as it asks.
    Whole,
    /// Some of it is, and the rest is tried again.
    Partly,
    /// Nothing of it, and so it stays.
    Refused(Vec<String>),
}

impl Follower {
    /// Locks the directory. The repository is not looked at yet.
    ///
    /// # Errors
    /// When another process has the directory, or it lies in what is followed.
    pub(crate) fn new(options: &RunOptions) -> anyhow::Result<Self> {
        if let Some(followed) =
            options.repo.work_tree(&options.path).filter(|followed| is_within(&options.to, followed))
        {
            bail!(
                "--to {} lies in {}, which is followed: what is written there would become part of the source with the \
                 next commit; choose a directory outside of it",
                options.to.display(),
                followed.display()
            );
        }
        let store = LockedStore::open(&options.to)?;
        let repository = Repository::new(options.repo.clone(), options.branch.clone(), store.git_cache())?;
        let pause = options.interval.try_into().unwrap_or(SignedDuration::MAX);
        Ok(Self {
            repository,
            store,
            path: options.path.clone(),
            namespace: options.namespace.clone(),
            confirm: options.confirm,
            porter: None,
            patience: Patience { at_once: options.once, pause },
            stop: Stop::never(),
            seen: None,
            trouble: None,
        })
    }

    async fn follow(&mut self, options: &RunOptions, listener: &mut dyn Listener) -> anyhow::Result<ExitCode> {
        loop {
            let applied = self.look(listener).await;
            if options.once {
                return Ok(if applied { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            tokio::select! {
                () = sleep(options.interval) => {}
                () = self.stop.asked() => return Ok(ExitCode::SUCCESS),
            }
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
        let seen = self.seen.as_ref().map(|seen| &seen.revision);
        let fetch = async {
            let revision = self.repository.revision().await?;
            let new =
                if seen == Some(&revision) { None } else { Some(self.repository.tree(&revision, &self.path).await?) };
            anyhow::Ok((revision, new))
        };
        let (revision, new) = tokio::select! {
            fetched = fetch => fetched?,
            () = self.stop.asked() => return Ok(false),
        };
        if let Some(tree) = new {
            listener.revision(&revision.to_string());
            let desired = desired::desired(&tree, &self.path, &self.namespace);
            let desired = checked(desired, listener);
            self.seen = Some(Seen { revision, desired, told: false });
        }
        let Some(seen) = &mut self.seen else { return Ok(false) };
        let Some(desired) = &seen.desired else { return Ok(false) };
        let confirmed = self.confirm == Some(seen.revision.commit);
        let change = Change { desired, revision: &seen.revision, confirmed, again: seen.told };
        let applied = match &self.porter {
            Some(porter) => change.carry_out(&self.store, porter, &self.stop, self.patience, listener).await?,
            None => change.apply(&self.store, listener)?,
        };
        seen.told = true;
        if let Applied::Refused(faults) = &applied {
            faults.iter().for_each(|fault| listener.fault(fault));
            seen.desired = None;
        }
        Ok(matches!(applied, Applied::Whole))
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

/// A revision that is to be applied.
struct Change<'a> {
    desired: &'a Desired,
    revision: &'a Revision,
    /// It may uninstall as much as it does.
    confirmed: bool,
    /// It was applied before: then only what is put right is told.
    again: bool,
}

/// What is decided of a revision, and in the ledger once the documents are written.
struct Prepared {
    planned: Planned,
    new: State,
}

impl Change<'_> {
    /// Makes the directory what is desired.
    fn apply(&self, store: &LockedStore, listener: &mut dyn Listener) -> anyhow::Result<Applied> {
        let old = store.read().state()?;
        if old.porter.is_some() {
            bail!(
                "what this directory holds was applied by porter, and would only be forgotten now: give --apply porter, or \
                 choose another directory"
            );
        }
        let prepared = match self.prepare(store, &old)? {
            Ok(prepared) => prepared,
            Err(refusals) => return Ok(Applied::Refused(refusals)),
        };
        let actions = prepared.planned.actions.iter().filter(|_| !self.again);
        let tell = || actions.clone().try_for_each(|action| listener.action(&action.to_string()));
        let changed = store.replace(&old, prepared.new, &documents::render(self.desired)?, tell)?;
        note(&changed, listener);
        Ok(Applied::Whole)
    }

    /// Makes the directory what is desired, and Porter do it.
    async fn carry_out(
        &self,
        store: &LockedStore,
        cli: &PorterCli,
        stop: &Stop,
        patience: Patience,
        listener: &mut dyn Listener,
    ) -> anyhow::Result<Applied> {
        let refusals = carry_out::clashes(self.desired);
        if !refusals.is_empty() {
            return Ok(Applied::Refused(refusals));
        }
        let mut run = CarryOut::new(store, cli, stop, patience, listener, self.again)?;
        if !run.recover().await? {
            return Ok(Applied::Partly);
        }
        loop {
            let mut old = store.read().state()?;
            old.porter.get_or_insert_default();
            carry_out::rehome(&mut old, self.desired);
            let prepared = match self.prepare(store, &old)? {
                Ok(prepared) => prepared,
                Err(refusals) => return Ok(Applied::Refused(refusals)),
            };
            // What is asked is in the ledger before anything is run.
            let changed = store.replace(&old, prepared.new, &documents::render(self.desired)?, || Ok(()))?;
            note(&changed, run.listener);
            run.begin_round(store.read().state()?);
            run.carry_out(self.desired, &prepared.planned.plan.steps).await?;
            if !run.replan || stop.is_asked() {
                return Ok(if run.whole && !run.replan { Applied::Whole } else { Applied::Partly });
            }
        }
    }

    /// What is to be done, or what forbids it: then nothing is written.
    fn prepare(&self, store: &LockedStore, old: &State) -> anyhow::Result<Result<Prepared, Vec<String>>> {
        let gone = match prune::check(old, self.desired, &self.revision.commit.to_string(), self.confirmed) {
            Ok(gone) => gone,
            Err(refusal) => return Ok(Err(vec![refusal])),
        };
        let revision = self.revision.to_string();
        let mut planned = actions::plan(store.read(), old, self.desired, &revision)?;
        if !planned.refused.is_empty() {
            return Ok(Err(planned.refused));
        }
        let releases = std::mem::take(&mut planned.releases);
        let new = State { revision, releases, gone, porter: old.porter.clone(), ..State::empty() };
        Ok(Ok(Prepared { planned, new }))
    }
}

fn note(changed: &Changed, listener: &mut dyn Listener) {
    changed.written.iter().for_each(|file| listener.note(&format!("wrote {file}")));
    changed.removed.iter().for_each(|file| listener.note(&format!("removed {file}")));
}
