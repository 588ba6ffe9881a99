//! The body of a response, read by the unpacking thread while it arrives, and hashed on the way.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::digest::{Algorithm, Digest, Hasher};

/// What the connection hands to the unpacking thread.
pub(crate) enum Chunk {
    /// The next bytes.
    Data(Bytes),
    /// The body is complete. Without it the connection broke, or nobody waits any more.
    End,
}

/// Blocks for chunks; every byte that was read has been hashed. Not for use on a runtime's worker.
pub(crate) struct Body {
    chunks: mpsc::Receiver<Chunk>,
    current: Bytes,
    hasher: Hasher,
    received: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Complete,
    Lost,
}

impl Body {
    pub(crate) fn new(chunks: mpsc::Receiver<Chunk>, algorithm: Algorithm) -> Self {
        Self { chunks, current: Bytes::new(), hasher: Hasher::new(algorithm), received: 0, state: State::Open }
    }

    /// Compressed bytes taken from the connection so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Reads and hashes what is left. `None` when the body never came to its end.
    pub(crate) fn finish(mut self) -> Option<Digest> {
        while self.next_chunk() {}
        (self.state == State::Complete).then(|| self.hasher.finish())
    }

    fn next_chunk(&mut self) -> bool {
        if self.state != State::Open {
            return false;
        }
        match self.chunks.blocking_recv() {
            Some(Chunk::Data(bytes)) => {
                self.hasher.update(&bytes);
                self.received += bytes.len() as u64;
                self.current = bytes;
                true
            }
            Some(Chunk::End) => {
                self.state = State::Complete;
                false
            }
            None => {
                self.state = State::Lost;
                false
            }
        }
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && self.next_chunk() {}
        if self.state == State::Lost {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the body broke off"));
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount);
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let amount = available.len().min(into.len());
        into[..amount].copy_from_slice(&available[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}
