//! From a Flux artifact to a [`FileTree`](manifest::FileTree): fetch, verify, unpack, cache.
//!
//! One pass: the body of the response is hashed, inflated and read as a tar archive while it arrives; nothing touches a
//! disk. **Invariant:** a tree leaves this crate only after the digest of the whole body matched the one that was asked
//! for, so no byte is used that the source did not vouch for. Everything that a server or an archive can make large is
//! bounded by [`Limits`] and, all artifacts together, by [`Options::memory_bytes`]; everything it can make slow by
//! [`Options::timeout`].
//!
//! Trees are kept by digest, not by URL or revision: equal content is downloaded once, and once for all who ask at the
//! same time.
//!
//! The crate may not know of clusters, of sources, or of what the files mean.

mod body;
mod cache;
mod digest;
mod error;
mod fetch;
mod inflate;
mod memory;
#[cfg(test)]
mod testing;
mod unpack;

pub use digest::{Algorithm, Digest, DigestError};
pub use error::{FetchError, Limit};
pub use fetch::{ArtifactRef, Fetcher, Options, Statistics, http_client};
pub use memory::Unpacked;
pub use unpack::Limits;
