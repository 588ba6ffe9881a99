//! A compressed body -> a tree. The rules for names and types are those of Flux's untar, and stricter where Flux lets
//! an archive mean two things: duplicates, hard links and archives that break off are refused instead of guessed at.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use manifest::FileTree;
use tar::EntryType;

use crate::body::Body;
use crate::error::Limit;

/// The size of a tar header, and what contents are padded to.
const BLOCK: u64 = 512;
/// Inflated at a time: large calls cost less each, and the window of deflate is 32 KiB.
const BUFFER: usize = 64 * 1024;
/// Longest name of an entry, as `PATH_MAX` of Linux.
const MAX_NAME: usize = 4096;
/// Archives below this are too small to be a bomb; their zeros compress better than any ratio.
const RATIO_FREE: u64 = 1024 * 1024;

/// What an artifact may cost. Each limit is the largest value allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the compressed body; 128 MiB.
    pub download_bytes: u64,
    /// Entries of any type; 100,000.
    pub entries: u64,
    /// Bytes of one file; 32 MiB.
    pub file_bytes: u64,
    /// Bytes of the unpacked archive with its headers (512 bytes an entry or more); 256 MiB.
    pub unpacked_bytes: u64,
    /// Unpacked bytes for each compressed byte, once a mebibyte is unpacked; 200. Deflate ends at 1032.
    pub compression_ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            download_bytes: 128 << 20,
            entries: 100_000,
            file_bytes: 32 << 20,
            unpacked_bytes: 256 << 20,
            compression_ratio: 200,
        }
    }
}

/// Why a body gave no tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UnpackError {
    /// The body never came to its end; nothing is known of the archive.
    Lost,
    Invalid {
        entry: Option<String>,
        reason: String,
    },
    TooLarge {
        limit: Limit,
        max: u64,
        entry: Option<String>,
    },
}

/// Reads a gzip-compressed tar archive to its very end. The digest of what was read is the caller's to check.
pub(crate) fn unpack(body: &mut Body, limits: &Limits) -> Result<FileTree, UnpackError> {
    let progress = Rc::new(Progress::default());
    let inflated = Inflated { gzip: MultiGzDecoder::new(body), limits: limits.clone(), progress: Rc::clone(&progress) };
    let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER, inflated));
    let mut reading =
        Reading { limits, progress: &progress, entry: None, tree: FileTree::new(), directories: BTreeSet::new() };
    let end = reading.entries(&mut archive)?;
    reading.end_of_archive(archive.into_inner(), end)?;
    reading.directories_are_no_files()?;
    Ok(reading.tree)
}

/// What the inflating reader tells the one that reads entries; an `io::Error` alone would lose it.
#[derive(Default)]
struct Progress {
    inflated: Cell<u64>,
    exceeded: Cell<Option<(Limit, u64)>>,
    lost: Cell<bool>,
}

/// The tar stream, bounded.
struct Inflated<'a> {
    gzip: MultiGzDecoder<&'a mut Body>,
    limits: Limits,
    progress: Rc<Progress>,
}

impl Read for Inflated<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Limits { unpacked_bytes, compression_ratio, .. } = self.limits;
        let before = self.progress.inflated.get();
        // One byte over the limit shows that it is exceeded, and all before it is still read: so the entry that
        // goes too far is the one that is named.
        let allowed = usize::try_from((unpacked_bytes - before).max(1)).unwrap_or(usize::MAX).min(into.len());
        let amount = self.gzip.read(&mut into[..allowed]).inspect_err(|error| {
            if error.kind() == io::ErrorKind::ConnectionAborted {
                self.progress.lost.set(true);
            }
        })?;
        let inflated = before + amount as u64;
        let exceeded = if inflated > unpacked_bytes {
            Some((Limit::UnpackedBytes, unpacked_bytes))
        } else if inflated > RATIO_FREE && inflated > self.gzip.get_ref().received().saturating_mul(compression_ratio) {
            Some((Limit::CompressionRatio, compression_ratio))
        } else {
            None
        };
        if exceeded.is_some() {
            self.progress.exceeded.set(exceeded);
            return Err(io::Error::other("a limit is exceeded"));
        }
        self.progress.inflated.set(inflated);
        Ok(amount)
    }
}

type Archive<'a> = tar::Archive<BufReader<Inflated<'a>>>;

/// The state of one pass over an archive.
struct Reading<'a> {
    limits: &'a Limits,
    progress: &'a Progress,
    /// The entry that is being read, or was read last.
    entry: Option<String>,
    tree: FileTree,
    /// Clean paths of directories and symbolic links that have entries of their own.
    directories: BTreeSet<String>,
}

impl Reading<'_> {
    /// All entries; returns where the last one ends.
    fn entries(&mut self, archive: &mut Archive<'_>) -> Result<u64, UnpackError> {
        let mut end = 0;
        let mut count = 0;
        let entries = archive.entries().map_err(|error| self.broken(&error))?;
        for entry in entries {
            let mut entry = entry.map_err(|error| self.broken(&error))?;
            let kind = entry.header().entry_type();
            let name = entry.path_bytes();
            self.entry = Some(String::from_utf8_lossy(&name).into_owned());
            count += 1;
            if count > self.limits.entries {
                return Err(self.too_large(Limit::Entries, self.limits.entries));
            }
            end = padded_end(entry.raw_file_position(), entry.size())
                .ok_or_else(|| self.invalid("its size cannot be"))?;
            if kind.is_pax_global_extensions() {
                continue; // `git archive` writes one, with the commit
            }
            let path = clean_name(&name).map_err(|reason| self.invalid(reason))?;
            drop(name);
            match kind {
                EntryType::Regular | EntryType::Continuous => {
                    self.no_sparse_file(&mut entry)?;
                    let content = self.content(&mut entry)?;
                    self.tree.insert(&path, content).map_err(|_| {
                        self.invalid(if path.is_empty() { "a file without a name" } else { "the name is there twice" })
                    })?;
                }
                EntryType::Directory => {
                    self.directories.insert(path);
                }
                EntryType::Symlink => {
                    tracing::debug!(entry = path, "a symbolic link in an artifact is skipped, as Flux does");
                }
                kind => {
                    let reason = format!("it is {}; only files and directories may be in an artifact", name_of(kind));
                    return Err(self.invalid(reason));
                }
            }
        }
        Ok(end)
    }

    fn content<R: Read>(&self, entry: &mut tar::Entry<'_, R>) -> Result<Bytes, UnpackError> {
        let size = entry.size();
        if size > self.limits.file_bytes {
            return Err(self.too_large(Limit::FileBytes, self.limits.file_bytes));
        }
        // The header promises the size, so only so much is set aside before any content was seen.
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(usize::MAX).min(BUFFER));
        entry.read_to_end(&mut content).map_err(|error| self.broken(&error))?;
        if content.len() as u64 != size {
            return Err(self.invalid("the archive breaks off in it"));
        }
        Ok(content.into())
    }

    /// The PAX form of a sparse file looks like a regular file whose content is a map of the holes.
    fn no_sparse_file<R: Read>(&self, entry: &mut tar::Entry<'_, R>) -> Result<(), UnpackError> {
        let Some(extensions) = entry.pax_extensions().map_err(|error| self.broken(&error))? else { return Ok(()) };
        for extension in extensions {
            let extension = extension.map_err(|error| self.broken(&error))?;
            if extension.key_bytes().starts_with(b"GNU.sparse.") {
                return Err(self.invalid("it is a sparse file; write it whole"));
            }
        }
        Ok(())
    }

    /// What follows the entries: the end marker, zeros, and nothing else. An archive without the marker may lack files,
    /// which would look as if they were removed from the source.
    fn end_of_archive(&self, mut rest: impl BufRead, end: u64) -> Result<(), UnpackError> {
        loop {
            let bytes = rest.fill_buf().map_err(|error| self.broken(&error))?;
            if bytes.is_empty() {
                break;
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(self.invalid_after("something follows the end of the archive"));
            }
            let amount = bytes.len();
            rest.consume(amount);
        }
        if self.progress.inflated.get() < end + BLOCK {
            return Err(self.invalid_after("the archive breaks off: it has no end marker"));
        }
        Ok(())
    }

    fn directories_are_no_files(&self) -> Result<(), UnpackError> {
        let is_both = |path: &&str| self.tree.is_dir(path) || self.directories.contains(*path);
        match self.tree.iter().map(|(path, _)| path).find(is_both) {
            None => Ok(()),
            Some(path) => Err(UnpackError::Invalid {
                entry: Some(path.to_owned()),
                reason: "it is a file and a directory".to_owned(),
            }),
        }
    }

    fn invalid(&self, reason: impl Into<String>) -> UnpackError {
        UnpackError::Invalid { entry: self.entry.clone(), reason: reason.into() }
    }

    /// For what is wrong behind the last entry, not with it.
    fn invalid_after(&self, reason: &str) -> UnpackError {
        let reason = match &self.entry {
            Some(entry) => format!("{reason} (after entry {entry:?})"),
            None => reason.to_owned(),
        };
        UnpackError::Invalid { entry: None, reason }
    }

    fn too_large(&self, limit: Limit, max: u64) -> UnpackError {
        UnpackError::TooLarge { limit, max, entry: self.entry.clone() }
    }

    /// The error of a read, by its true cause.
    fn broken(&self, error: &io::Error) -> UnpackError {
        if let Some((limit, max)) = self.progress.exceeded.get() {
            return self.too_large(limit, max);
        }
        if self.progress.lost.get() {
            return UnpackError::Lost;
        }
        let breaks_off = error.kind() == io::ErrorKind::UnexpectedEof;
        match self.progress.inflated.get() {
            0 if breaks_off => self.invalid_after("it is no gzip archive: it ends in the header"),
            0 => self.invalid_after(&format!("it is no gzip archive: {error}")),
            _ if breaks_off => self.invalid_after("the archive breaks off"),
            _ => self.invalid_after(&format!("the archive is damaged: {error}")),
        }
    }
}

/// Where the padding behind an entry's content ends.
fn padded_end(start: u64, size: u64) -> Option<u64> {
    start.checked_add(size)?.checked_next_multiple_of(BLOCK)
}

/// The clean path of an entry, or why it may not have this name. The root is the empty path.
fn clean_name(name: &[u8]) -> Result<String, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8")?;
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.len() > MAX_NAME {
        return Err("the name is longer than 4096 bytes");
    }
    if name.starts_with('/') {
        return Err("the name is absolute");
    }
    if name.contains('\\') {
        return Err("the name holds a backslash");
    }
    if name.contains('\0') {
        return Err("the name holds a NUL byte");
    }
    if name.split('/').any(|part| part == "..") {
        return Err("the name holds `..`");
    }
    FileTree::clean(name).map_err(|_| "the name leads outside the archive")
}

fn name_of(kind: EntryType) -> String {
    match kind {
        EntryType::Link => "a hard link".to_owned(),
        EntryType::Char => "a character device".to_owned(),
        EntryType::Block => "a block device".to_owned(),
        EntryType::Fifo => "a FIFO".to_owned(),
        EntryType::GNUSparse => "a sparse file".to_owned(),
        other => format!("of type {:?}", char::from(other.as_byte())),
    }
}

#[cfg(test)]
mod tests;
