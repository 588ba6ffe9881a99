//! A compressed body -> a tree. The rules for names and types are those of Flux's untar, and stricter where Flux lets
//! an archive mean two things: duplicates, hard links and archives that break off are refused instead of guessed at.

use std::collections::BTreeSet;

use bytes::Bytes;
use manifest::{FileTree, PathError};
use tar::{EntryType, Header};

use crate::body::Body;
use crate::error::Limit;
use crate::inflate::{RATIO_FREE, Stop, Stream, inflate};

/// The size of a tar header, and what contents are padded to.
const BLOCK: usize = 512;
/// Longest name of an entry, as `PATH_MAX` of Linux.
const MAX_NAME: usize = 4096;
/// Longest header of the kinds that describe the next entry.
const MAX_EXTENSION: u64 = 1024 * 1024;

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

impl Limits {
    /// The most that a body of this many bytes, or of nobody knows how many, can become.
    pub(crate) fn most_unpacked(&self, body: Option<u64>) -> u64 {
        let most = |body: u64| body.saturating_mul(self.compression_ratio).max(RATIO_FREE);
        body.map_or(self.unpacked_bytes, |body| most(body).min(self.unpacked_bytes))
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
    inflate(body, limits, |stream| {
        Reading { limits, stream, entry: None, entries: 0, tree: FileTree::new(), directories: BTreeSet::new() }
            .archive()
    })
}

/// The state of one pass over an archive.
struct Reading<'a> {
    limits: &'a Limits,
    stream: Stream,
    /// The entry that is being read, or was read last.
    entry: Option<String>,
    entries: u64,
    tree: FileTree,
    /// Clean paths of the directories that have entries of their own.
    directories: BTreeSet<String>,
}

/// What headers before an entry say of it.
#[derive(Default)]
struct Extensions {
    name: Option<Bytes>,
    size: Option<u64>,
    sparse: bool,
    any: bool,
}

impl Reading<'_> {
    fn archive(mut self) -> Result<FileTree, UnpackError> {
        let mut extensions = Extensions::default();
        // One block of the end marker is enough to know that the writer came to the end. An archive without it may lack
        // files, which would look as if they were removed from the source.
        while let Some(block) = self.block()? {
            let header = Header::from_byte_slice(&block);
            if header.entry_type().is_pax_local_extensions()
                || header.entry_type().is_gnu_longname()
                || header.entry_type().is_gnu_longlink()
            {
                self.extension(header, &mut extensions)?;
            } else {
                self.entry(header, &std::mem::take(&mut extensions))?;
            }
        }
        if extensions.any {
            return Err(self.invalid_after("the archive is damaged: a header describes an entry that is not there"));
        }
        self.only_zeros_follow()?;
        self.directories_are_no_files()?;
        Ok(self.tree)
    }

    /// The next header, its checksum verified. `None` is the end marker.
    fn block(&mut self) -> Result<Option<Bytes>, UnpackError> {
        let block = match self.stream.take(BLOCK) {
            Ok(block) => block,
            Err(Stop::End) => return Err(self.invalid_after("the archive breaks off: it has no end marker")),
            Err(stop) => return Err(self.stopped(stop)),
        };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The field itself, 148 to 156, counts as spaces.
        let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>()
            - block[148..156].iter().map(|byte| u32::from(*byte)).sum::<u32>()
            + 8 * u32::from(b' ');
        if Header::from_byte_slice(&block).cksum().ok() != Some(sum) {
            return Err(self.invalid_after("the archive is damaged: the checksum of a header is wrong"));
        }
        Ok(Some(block))
    }

    /// A header that is about the next one.
    fn extension(&mut self, header: &Header, extensions: &mut Extensions) -> Result<(), UnpackError> {
        let size = self.size(header)?;
        if size > MAX_EXTENSION {
            return Err(self.invalid_after("the header of an entry is larger than 1 MiB"));
        }
        let content = self.content(size)?;
        extensions.any = true;
        if header.entry_type().is_pax_local_extensions() {
            return extensions
                .read_pax(&content)
                .ok_or_else(|| self.invalid_after("the archive is damaged: a PAX header cannot be read"));
        }
        if header.entry_type().is_gnu_longname() {
            let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
            extensions.name = Some(content.slice(..end));
        }
        Ok(())
    }

    fn entry(&mut self, header: &Header, extensions: &Extensions) -> Result<(), UnpackError> {
        let in_header = header.path_bytes();
        let name: &[u8] = extensions.name.as_deref().unwrap_or(&in_header);
        self.entry = Some(String::from_utf8_lossy(name).into_owned());
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.too_large(Limit::Entries, self.limits.entries));
        }
        let kind = header.entry_type();
        let size = match extensions.size {
            Some(size) => size,
            None => self.size(header)?,
        };
        if kind.is_pax_global_extensions() {
            return self.pass_over(size); // `git archive` writes one, with the commit
        }
        let name = checked_name(name).map_err(|reason| self.invalid(reason))?;
        match kind {
            EntryType::Regular | EntryType::Continuous if extensions.sparse => {
                Err(self.invalid("it is a sparse file; write it whole"))
            }
            EntryType::Regular | EntryType::Continuous if name.ends_with('/') => {
                Err(self.invalid("a file with the name of a directory"))
            }
            EntryType::Regular | EntryType::Continuous => {
                if size > self.limits.file_bytes {
                    return Err(self.too_large(Limit::FileBytes, self.limits.file_bytes));
                }
                let content = self.content(size)?;
                // The rules for names leave these two.
                self.tree.insert(name, content).map_err(|error| match error {
                    PathError::Duplicate(_) => self.invalid("the name is there twice"),
                    _ => self.invalid("a file without a name"),
                })
            }
            EntryType::Directory | EntryType::Symlink if size > 0 => {
                Err(self.invalid("it is no file and yet has content"))
            }
            EntryType::Directory => {
                let path = FileTree::clean(name).map_err(|error| self.invalid(error.to_string()))?;
                self.directories.insert(path);
                Ok(())
            }
            EntryType::Symlink => {
                tracing::debug!(entry = name, "a symbolic link in an artifact is skipped, as Flux does");
                // One without a name of its own is in nobody's way.
                let _ = self.tree.leave_out_link(name);
                Ok(())
            }
            kind => {
                Err(self.invalid(format!("it is {}; only files and directories may be in an artifact", name_of(kind))))
            }
        }
    }

    fn size(&self, header: &Header) -> Result<u64, UnpackError> {
        header
            .entry_size()
            .map_err(|_| self.invalid_after("the archive is damaged: the size of an entry cannot be read"))
    }

    /// Content and the padding behind it; the size is within a limit already.
    fn content(&mut self, size: u64) -> Result<Bytes, UnpackError> {
        let amount = usize::try_from(size).map_err(|_| self.invalid("its size cannot be"))?;
        let content = if amount == 0 { Ok(Bytes::new()) } else { self.stream.take(amount) };
        let content = content.map_err(|stop| self.stopped(stop))?;
        self.stream.skip(padding(size)).map_err(|stop| self.stopped(stop))?;
        Ok(content)
    }

    fn pass_over(&mut self, size: u64) -> Result<(), UnpackError> {
        let skipped = self.stream.skip(size).and_then(|()| self.stream.skip(padding(size)));
        skipped.map_err(|stop| self.stopped(stop))
    }

    fn only_zeros_follow(&mut self) -> Result<(), UnpackError> {
        loop {
            match self.stream.some(usize::MAX) {
                Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => {}
                Ok(_) => return Err(self.invalid_after("something follows the end of the archive")),
                Err(Stop::End) => return Ok(()),
                Err(stop) => return Err(self.stopped(stop)),
            }
        }
    }

    /// A path that is both would be one or the other, by who reads it.
    fn directories_are_no_files(&self) -> Result<(), UnpackError> {
        let both = |path: &str| {
            Err(UnpackError::Invalid {
                entry: Some(path.to_owned()),
                reason: "it is a file and a directory".to_owned(),
            })
        };
        if let Some(path) = self.directories.iter().find(|path| self.tree.get(path).is_some()) {
            return both(path);
        }
        let mut known = "";
        for (path, _) in self.tree.iter() {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            if directory == known {
                continue;
            }
            known = directory;
            let mut above = directory;
            while !above.is_empty() {
                if self.tree.get(above).is_some() {
                    return both(above);
                }
                above = above.rsplit_once('/').map_or("", |(above, _)| above);
            }
        }
        Ok(())
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

    /// Why the stream gives no more, where there should be more.
    fn stopped(&self, stop: Stop) -> UnpackError {
        match stop {
            Stop::Exceeded(limit, max) => self.too_large(limit, max),
            Stop::Lost => UnpackError::Lost,
            Stop::End => self.invalid_after("the archive breaks off"),
            Stop::Damaged(reason) => self.invalid_after(&format!("the archive is damaged: {reason}")),
            Stop::NoGzip(reason) => self.invalid_after(&format!("it is no gzip archive: {reason}")),
        }
    }
}

impl Extensions {
    /// Records of the form `length key=value\n`, the length being that of the whole record. The last of a key counts.
    fn read_pax(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
            let (record, rest) = records.split_at_checked(length)?;
            let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(Bytes::copy_from_slice(value)),
                b"size" => self.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
                key => self.sparse |= key.starts_with(b"GNU.sparse."),
            }
            records = rest;
        }
        Some(())
    }
}

/// From the end of a content to the next header.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// The name of an entry, or why it may not have this name.
fn checked_name(name: &[u8]) -> Result<&str, &'static str> {
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
    Ok(name)
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
