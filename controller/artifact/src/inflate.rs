//! A compressed body -> the bytes of a tar stream, bounded, inflated on one thread and read on another.
//!
//! What is read shares the memory it was inflated into: a file is a slice, and is copied only where it spans two parts.

use std::io::{self, Read};
use std::sync::mpsc;

use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use memmap2::MmapMut;

use crate::body::Body;
use crate::error::Limit;
use crate::unpack::Limits;

/// The first part; each is twice the one before it, so that a small archive holds little memory.
const FIRST_PART: usize = 64 * 1024;
/// The largest part: a huge page.
const LARGEST_PART: usize = 2 * 1024 * 1024;
/// From here on an archive is large, and gets the largest parts, made in advance.
const LARGE: usize = 512 * 1024;
/// Parts that are made in advance.
const FRESH_PARTS: usize = 2;
/// Parts that may wait to be read.
const WAITING_PARTS: usize = 4;
/// Archives that unpack to less are too small to be a bomb, however well one of their files compresses.
pub(crate) const RATIO_FREE: u64 = 16 * 1024 * 1024;

/// Why there is no more to read.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// All was read.
    End,
    /// A limit, and its value.
    Exceeded(Limit, u64),
    /// The body never came to its end.
    Lost,
    /// It does not begin as gzip does.
    NoGzip(String),
    /// It begins as gzip does, and does not go on so.
    Damaged(String),
}

/// Inflates on this thread while `read` has the other end of the stream on another.
pub(crate) fn inflate<T: Send>(body: &mut Body, limits: &Limits, read: impl FnOnce(Stream) -> T + Send) -> T {
    let (sender, parts) = mpsc::sync_channel(WAITING_PARTS);
    std::thread::scope(|scope| {
        let (supply, fresh) = mpsc::channel();
        let stream = Stream { parts, supply, supplied: 0, current: Bytes::new(), stop: None };
        let reading = scope.spawn(move || read(stream));
        send_parts(Inflater { gzip: MultiGzDecoder::new(body), begun: false, total: 0, limits }, &fresh, &sender);
        drop(sender);
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The tar stream.
pub(crate) struct Stream {
    parts: mpsc::Receiver<Result<Bytes, Stop>>,
    supply: mpsc::Sender<Part>,
    /// Fresh parts that were sent, and have not come back.
    supplied: usize,
    current: Bytes,
    stop: Option<Stop>,
}

impl Stream {
    /// The next bytes, exactly so many; or [`Stop::End`] when there are fewer.
    pub(crate) fn take(&mut self, amount: usize) -> Result<Bytes, Stop> {
        self.more()?;
        if amount <= self.current.len() {
            return Ok(self.current.split_to(amount));
        }
        // The amount is what an archive promises; memory is set aside for what is there.
        let mut whole = BytesMut::with_capacity(amount.min(LARGEST_PART));
        while whole.len() < amount {
            whole.extend_from_slice(&self.some(amount - whole.len())?);
        }
        Ok(whole.freeze())
    }

    /// Passes over bytes.
    pub(crate) fn skip(&mut self, mut amount: u64) -> Result<(), Stop> {
        while amount > 0 {
            amount -= self.some(usize::try_from(amount).unwrap_or(usize::MAX))?.len() as u64;
        }
        Ok(())
    }

    /// Some bytes, at least one and at most so many.
    pub(crate) fn some(&mut self, at_most: usize) -> Result<Bytes, Stop> {
        self.more()?;
        Ok(self.current.split_to(at_most.min(self.current.len())))
    }

    /// Makes the parts that are needed next, on the side that has time for it.
    fn supply_parts(&mut self) {
        if self.current.len() < LARGE {
            return;
        }
        self.supplied = self.supplied.saturating_sub(1);
        while self.supplied < FRESH_PARTS && self.supply.send(Part::new(LARGEST_PART)).is_ok() {
            self.supplied += 1;
        }
    }

    /// Waits until there is at least one byte.
    fn more(&mut self) -> Result<(), Stop> {
        while self.current.is_empty() {
            if let Some(stop) = &self.stop {
                return Err(stop.clone());
            }
            match self.parts.recv() {
                Ok(Ok(part)) => {
                    self.current = part;
                    self.supply_parts();
                }
                Ok(Err(stop)) => self.stop = Some(stop),
                // Only a panic of the other thread leaves no reason, and the caller hears of that.
                Err(mpsc::RecvError) => self.stop = Some(Stop::Lost),
            }
        }
        Ok(())
    }
}

fn send_parts(mut inflater: Inflater<'_>, fresh: &mpsc::Receiver<Part>, parts: &mpsc::SyncSender<Result<Bytes, Stop>>) {
    let mut size = FIRST_PART;
    loop {
        let mut part = fresh.try_recv().unwrap_or_else(|_| Part::new(size));
        let (filled, stop) = inflater.fill(part.as_mut());
        // The reason comes after all that is before it: so the entry that goes too far is the one that is named.
        if parts.send(Ok(part.into_bytes(filled))).is_err() {
            return; // The reader found another fault.
        }
        if let Some(stop) = stop {
            let _ = parts.send(Err(stop)); // As above.
            return;
        }
        size = (size * 2).min(LARGEST_PART);
    }
}

/// Memory to inflate into. That of large archives is mapped at once: page by page, the first touch of memory costs half
/// as much as inflating into it.
enum Part {
    Allocated(Vec<u8>),
    Mapped(MmapMut),
}

impl Part {
    fn new(size: usize) -> Self {
        if size < LARGEST_PART {
            return Self::Allocated(vec![0; size]);
        }
        let Ok(mapped) = MmapMut::map_anon(size) else { return Self::Allocated(vec![0; size]) };
        #[cfg(target_os = "linux")]
        for advice in [memmap2::Advice::HugePage, memmap2::Advice::PopulateWrite] {
            let _ = mapped.advise(advice); // Faster where it works, and right where it does not.
        }
        Self::Mapped(mapped)
    }

    fn as_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Allocated(bytes) => bytes,
            Self::Mapped(mapped) => mapped,
        }
    }

    /// The filled bytes; memory that would be mostly empty is given back.
    fn into_bytes(mut self, filled: usize) -> Bytes {
        if filled < self.as_mut().len() / 2 {
            return Bytes::copy_from_slice(&self.as_mut()[..filled]);
        }
        match self {
            Self::Allocated(bytes) => Bytes::from(bytes).slice(..filled),
            Self::Mapped(mapped) => Bytes::from_owner(mapped).slice(..filled),
        }
    }
}

struct Inflater<'a> {
    gzip: MultiGzDecoder<&'a mut Body>,
    /// Whether there was a header of gzip.
    begun: bool,
    total: u64,
    limits: &'a Limits,
}

impl Inflater<'_> {
    /// Fills a part as far as it can: how far, and why no further.
    fn fill(&mut self, part: &mut [u8]) -> (usize, Option<Stop>) {
        let mut filled = 0;
        while filled < part.len() {
            // One byte over the limit shows that it is exceeded.
            let allowed = usize::try_from((self.limits.unpacked_bytes - self.total).max(1)).unwrap_or(usize::MAX);
            let upto = filled.saturating_add(allowed).min(part.len());
            let read = self.gzip.read(&mut part[filled..upto]);
            self.begun |= self.gzip.header().is_some();
            let amount = match read {
                Ok(0) => return (filled, Some(Stop::End)),
                Ok(amount) => amount,
                Err(error) => return (filled, Some(self.stop_of(&error))),
            };
            if let Some(stop) = self.exceeded(self.total + amount as u64) {
                return (filled, Some(stop));
            }
            self.total += amount as u64;
            filled += amount;
        }
        (filled, None)
    }

    fn exceeded(&self, total: u64) -> Option<Stop> {
        let Limits { unpacked_bytes, compression_ratio, .. } = *self.limits;
        if total > unpacked_bytes {
            return Some(Stop::Exceeded(Limit::UnpackedBytes, unpacked_bytes));
        }
        let received = self.gzip.get_ref().received();
        (total > RATIO_FREE && total > received.saturating_mul(compression_ratio))
            .then_some(Stop::Exceeded(Limit::CompressionRatio, compression_ratio))
    }

    fn stop_of(&self, error: &io::Error) -> Stop {
        let reason = match error.kind() {
            io::ErrorKind::ConnectionAborted => return Stop::Lost,
            io::ErrorKind::UnexpectedEof => "it breaks off".to_owned(),
            _ => error.to_string(),
        };
        if self.begun { Stop::Damaged(reason) } else { Stop::NoGzip(reason) }
    }
}
