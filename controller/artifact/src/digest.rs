//! The digest of an artifact: `sha256:<hex>`, as `status.artifact.digest` of a source gives it.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

/// A hash function that an artifact may be named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, Flux's own choice, and what a bare hex string means.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// A checked digest; two spellings of one digest are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// Why a string is no digest that an artifact can be verified by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Nothing to verify by: an artifact is never used unverified.
    #[error("the digest is empty")]
    Empty,
    /// An algorithm that is not known here.
    #[error("digest algorithm {0:?} is not supported: use sha256, sha384 or sha512")]
    Algorithm(String),
    /// The part behind the colon does not fit the algorithm.
    #[error("{0:?} is no {algorithm} digest: {len} hex digits expected", algorithm = .1.name(), len = .1.hex_len())]
    Hex(String, Algorithm),
}

impl Digest {
    /// The hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = match text.split_once(':') {
            _ if text.is_empty() => return Err(DigestError::Empty),
            None | Some(("sha256", _)) => (Algorithm::Sha256, text.strip_prefix("sha256:").unwrap_or(text)),
            Some(("sha384", hex)) => (Algorithm::Sha384, hex),
            Some(("sha512", hex)) => (Algorithm::Sha512, hex),
            Some((other, _)) => return Err(DigestError::Algorithm(other.to_owned())),
        };
        if hex.len() != algorithm.hex_len() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(DigestError::Hex(text.to_owned(), algorithm));
        }
        Ok(Self { algorithm, hex: hex.to_ascii_lowercase() })
    }
}

/// Takes the bytes of a body as they come.
pub(crate) enum Hasher {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        let (algorithm, hex) = match self {
            Self::Sha256(hasher) => (Algorithm::Sha256, hex::encode(hasher.finalize())),
            Self::Sha384(hasher) => (Algorithm::Sha384, hex::encode(hasher.finalize())),
            Self::Sha512(hasher) => (Algorithm::Sha512, hex::encode(hasher.finalize())),
        };
        Digest { algorithm, hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_and_refused() {
        let hex = "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let sha256 = format!("sha256:{}", hex.to_lowercase());
        let sha512 = format!("sha512:{}", "0a".repeat(64));
        let sha384 = format!("sha384:{}", "0a".repeat(48));
        for (given, expected) in [
            (hex.to_owned(), Ok(sha256.clone())),
            (sha256.clone(), Ok(sha256.clone())),
            (sha384.clone(), Ok(sha384)),
            (sha512.clone(), Ok(sha512)),
            (String::new(), Err("the digest is empty")),
            (
                format!("blake3:{hex}"),
                Err("digest algorithm \"blake3\" is not supported: use sha256, sha384 or sha512"),
            ),
            ("md5:00".into(), Err("digest algorithm \"md5\" is not supported: use sha256, sha384 or sha512")),
            ("sha256:00".into(), Err("\"sha256:00\" is no sha256 digest: 64 hex digits expected")),
            ("sha512:".into(), Err("\"sha512:\" is no sha512 digest: 128 hex digits expected")),
            ("latest".into(), Err("\"latest\" is no sha256 digest: 64 hex digits expected")),
        ] {
            let got = given.parse::<Digest>().map(|digest| digest.to_string()).map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{given:?}");
        }
    }

    #[test]
    fn the_hash_of_nothing() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"");
            let digest = hasher.finish();
            assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
            assert_eq!(digest.algorithm(), algorithm);
        }
    }
}
