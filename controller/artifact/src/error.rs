//! Why an artifact could not be had. Texts name the URL without its credentials and query.

use std::fmt;
use std::time::Duration;

use crate::digest::{Digest, DigestError};

/// What can be too large about an artifact. Each has a field in [`Limits`](crate::Limits) and a flag of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Bytes of the compressed body.
    DownloadBytes,
    /// Entries of the archive, of any type.
    Entries,
    /// Bytes of one file.
    FileBytes,
    /// Bytes of the unpacked archive, its headers included.
    UnpackedBytes,
    /// Unpacked bytes for each compressed byte.
    CompressionRatio,
}

impl Limit {
    /// The controller's flag that raises the limit.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::DownloadBytes => "--artifact-max-download-bytes",
            Self::Entries => "--artifact-max-entries",
            Self::FileBytes => "--artifact-max-file-bytes",
            Self::UnpackedBytes => "--artifact-max-unpacked-bytes",
            Self::CompressionRatio => "--artifact-max-compression-ratio",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DownloadBytes => "bytes to download",
            Self::Entries => "entries in the archive",
            Self::FileBytes => "bytes in a file",
            Self::UnpackedBytes => "bytes when unpacked",
            Self::CompressionRatio => "unpacked bytes for each compressed byte",
        })
    }
}

/// Why [`Fetcher::fetch`](crate::Fetcher::fetch) has no tree. Cloned to all who waited for one download.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The source gives no digest that can be verified.
    #[error("artifact {url}: {error}; the source has to state it in status.artifact.digest")]
    NoDigest {
        /// Where it would be.
        url: String,
        /// What is wrong with the digest.
        error: DigestError,
    },
    /// The URL cannot be fetched, whatever the server does.
    #[error("artifact URL {url:?} cannot be used: {reason}")]
    Url {
        /// As the source gives it.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The server does not have it (any more): the source makes a new one, or made one already.
    #[error("artifact {url} not found on the server; the source has to be reconciled")]
    NotFound {
        /// Where it should be.
        url: String,
    },
    /// The server answered, and asking again would not change the answer.
    #[error("artifact {url}: {reason}")]
    Refused {
        /// Where it should be.
        url: String,
        /// The answer.
        reason: String,
    },
    /// Connection errors, 5xx, 408 and 429, after all attempts.
    #[error("artifact {url}: {reason} ({attempts} attempts)")]
    Transient {
        /// Where it should be.
        url: String,
        /// What the last attempt met.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// Not there in time: the server is slow, or never ends.
    #[error("artifact {url}: not complete after {timeout:?}{}", .last.as_ref().map(|last| format!("; last failure: {last}")).unwrap_or_default())]
    Deadline {
        /// Where it should be.
        url: String,
        /// The time that it had.
        timeout: Duration,
        /// What the last attempt that ended met.
        last: Option<String>,
    },
    /// The content is not what the source says it is.
    #[error("artifact {url}: digest mismatch: the source says {expected}, the content has {actual}")]
    Digest {
        /// Where it came from.
        url: String,
        /// As asked.
        expected: Digest,
        /// Of the body.
        actual: Digest,
    },
    /// The digest is right and the archive is not one that may be used.
    #[error("artifact {url}: {}{reason}", .entry.as_ref().map(|entry| format!("entry {entry:?}: ")).unwrap_or_default())]
    Archive {
        /// Where it came from.
        url: String,
        /// The name of the offending entry; bytes that are not UTF-8 are replaced.
        entry: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// More than [`Limits`](crate::Limits) allow. The rest was not read.
    #[error("artifact {url}: {}more than {max} {limit}; raise {} if that is right", .entry.as_ref().map(|entry| format!("entry {entry:?}: ")).unwrap_or_default(), .limit.flag())]
    TooLarge {
        /// Where it came from.
        url: String,
        /// Which limit.
        limit: Limit,
        /// Its value.
        max: u64,
        /// The entry that was being read.
        entry: Option<String>,
    },
    /// A defect of this program.
    #[error("artifact {url}: unpacking failed inside porter-flux: {reason}")]
    Internal {
        /// Where it came from.
        url: String,
        /// What is known.
        reason: String,
    },
}
