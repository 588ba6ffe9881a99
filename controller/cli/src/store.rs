//! The directory that `run` writes to: the documents, and beside them the state in `.flux-porter`.
//!
//! Guarantees:
//! - One process at a time, by a lock that ends with the process.
//! - A file is old or new, never half of it: it is written beside, synchronised and renamed.
//! - The state is written last. Before the first document is, the names of the new ones are noted in `pending.json`: so
//!   after a crash at any point it is known which files are ours, and the next run does and tells the same again.
//! - Only files that were written from here are ever removed.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use api::BundleRelease;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::carry_out::GivenToPorter;
use crate::documents::Documents;
use crate::prune::Identities;

const OWN: &str = ".flux-porter";
const STATE_VERSION: u32 = 1;

/// What is remembered between two revisions and two processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// The layout of this file.
    pub(crate) version: u32,
    /// The revision that was applied last.
    pub(crate) revision: String,
    /// The ledger: what was asked of each installation that is there.
    pub(crate) releases: Vec<BundleRelease>,
    /// The files that are ours, from the directory.
    pub(crate) files: BTreeSet<String>,
    /// What left the source, and was uninstalled, since the last confirmed revision.
    #[serde(default)]
    pub(crate) gone: Identities,
    /// What Porter was made to do, with `--apply porter`; nothing where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) porter: Option<GivenToPorter>,
}

impl State {
    /// Nothing was ever applied.
    pub(crate) fn empty() -> Self {
        Self {
            version: STATE_VERSION,
            revision: String::new(),
            releases: Vec::new(),
            files: BTreeSet::new(),
            gone: Identities::new(),
            porter: None,
        }
    }
}

/// The directory, to be read.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

/// The directory, locked, to be written.
#[derive(Debug)]
pub(crate) struct LockedStore {
    store: Store,
    /// Holds the lock until it is closed.
    _lock: File,
}

impl Store {
    /// The directory as it stands; it need not exist.
    pub(crate) fn open(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The state, with the files that an interrupted run may have written.
    ///
    /// # Errors
    /// When it cannot be read, or is not ours: nothing is done then, since every installation would look new.
    pub(crate) fn state(&self) -> anyhow::Result<State> {
        let mut state: State = self.json("state.json")?.unwrap_or_else(State::empty);
        if state.version != STATE_VERSION {
            let file = self.own("state.json");
            bail!("{} has version {}, this flux-porter writes {STATE_VERSION}", file.display(), state.version);
        }
        state.files.extend(self.json::<BTreeSet<String>>("pending.json")?.unwrap_or_default());
        if let Some(file) = state.files.iter().find(|file| !is_plain(file)) {
            bail!("{} lists {file:?}, which is no document of ours", self.own("state.json").display());
        }
        Ok(state)
    }

    /// A document as it stands; `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn document(&self, file: &str) -> anyhow::Result<Option<Vec<u8>>> {
        read(&self.directory.join(file))
    }

    fn own(&self, name: &str) -> PathBuf {
        self.directory.join(OWN).join(name)
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.own(name);
        let Some(content) = read(&path)? else { return Ok(None) };
        // The error of serde_json may quote a value.
        serde_json::from_slice(&content).map(Some).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            anyhow::anyhow!("{}:{line}:{column}: damaged; restore it, or start with an empty directory", path.display())
        })
    }
}

impl LockedStore {
    /// Makes the directory when it is missing, and locks it.
    ///
    /// # Errors
    /// When another process has it, or it cannot be made.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let store = Store::open(directory);
        let own = directory.join(OWN);
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        let path = store.own("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another flux-porter writes to {}; end it first, or choose another --to", directory.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let new = store.own("new");
        if new.exists() {
            fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
        }
        fs::create_dir(&new).with_context(|| format!("cannot make {}", new.display()))?;
        Ok(Self { store, _lock: lock })
    }

    /// The directory, to be read.
    pub(crate) fn read(&self) -> &Store {
        &self.store
    }

    /// Where a repository that is fetched is kept.
    pub(crate) fn git_cache(&self) -> PathBuf {
        self.store.own("git")
    }

    /// Where porter is run.
    pub(crate) fn porter(&self) -> PathBuf {
        self.store.own("porter")
    }

    /// Writes the state alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(&self, state: &State) -> anyhow::Result<()> {
        self.write_json("state.json", state)
    }

    /// Makes the documents of the directory those that are given, and `done` part of the same: it is called after the
    /// last document and before the state is written, so that after a crash it is called again rather than never.
    ///
    /// Gives the files that changed and those that were removed.
    ///
    /// # Errors
    /// When something cannot be written; what was written till then stays, and the next call goes on.
    pub(crate) fn replace(
        &self,
        old: &State,
        mut new: State,
        documents: &Documents,
        done: impl FnOnce() -> io::Result<()>,
    ) -> anyhow::Result<Changed> {
        let mut changed = Changed::default();
        for (file, content) in documents {
            if self.store.document(file)?.as_deref() != Some(content.as_bytes()) {
                changed.written.push(file.clone());
            }
        }
        changed.removed = old.files.iter().filter(|file| !documents.contains_key(*file)).cloned().collect();
        new.files = documents.keys().cloned().collect();

        if changed.written.iter().any(|file| !old.files.contains(file)) {
            let pending: BTreeSet<&String> = old.files.union(&new.files).collect();
            self.write_json("pending.json", &pending)?;
        }
        for file in &changed.written {
            self.write(&self.store.directory.join(file), documents[file].as_bytes())?;
        }
        for file in &changed.removed {
            self.remove(file)?;
        }
        done()?;
        if new != *old {
            self.write_json("state.json", &new)?;
        }
        remove_file(&self.store.own("pending.json"))?;
        Ok(changed)
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        let mut content = serde_json::to_vec_pretty(value)?;
        content.push(b'\n');
        self.write(&self.store.own(name), &content)
    }

    fn write(&self, path: &Path, content: &[u8]) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", path.display());
        let directory = path.parent().unwrap_or(&self.store.directory);
        fs::create_dir_all(directory).with_context(failed)?;
        // Readable by the user alone: parameters and Secrets are in it.
        let mut file = tempfile::NamedTempFile::new_in(self.store.own("new")).with_context(failed)?;
        file.write_all(content).and_then(|()| file.as_file().sync_all()).with_context(failed)?;
        file.persist(path).map_err(|error| error.error).with_context(failed)?;
        sync_directory(directory).with_context(failed)
    }

    fn remove(&self, file: &str) -> anyhow::Result<()> {
        let path = self.store.directory.join(file);
        remove_file(&path)?;
        if let Some(namespace) = path.parent() {
            // Only succeeds when nothing else is in it.
            let _ = fs::remove_dir(namespace);
        }
        Ok(())
    }
}

/// What was written and removed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Files with new content.
    pub(crate) written: Vec<String>,
    /// Files that are gone.
    pub(crate) removed: Vec<String>,
}

/// Whether a path is `<namespace>/<file>`, and neither part is hidden or leads elsewhere.
fn is_plain(file: &str) -> bool {
    let mut parts = file.split('/');
    let mut part =
        || parts.next().is_some_and(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('\\'));
    part() && part() && parts.next().is_none()
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes a rename last: on Unix a directory is synchronised like a file.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documents_are_listed() {
        for (file, plain) in [
            ("apps/mysql.yaml", true),
            ("mysql.yaml", false),
            ("../mysql.yaml", false),
            ("apps/../mysql.yaml", false),
            ("/etc/passwd", false),
            (".flux-porter/state.json", false),
            ("apps/.hidden", false),
            ("", false),
        ] {
            assert_eq!(is_plain(file), plain, "{file}");
        }
    }

    #[test]
    fn two_do_not_write_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let first = LockedStore::open(directory.path()).unwrap();
        let refused = LockedStore::open(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("another flux-porter"), "{refused}");
        drop(first);
        LockedStore::open(directory.path()).unwrap();
    }
}
