//! pkt-lines: how git frames what it says. Four hexadecimal digits of length, themselves included, then the content;
//! `0000` ends a section. See gitprotocol-common(5).

/// The longest pkt-line there is.
const MAX_LENGTH: usize = 65520;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// Content, without a line break at its end.
    Data(Vec<u8>),
    /// The end of a section.
    Flush,
}

/// Cuts a stream, given in pieces of any size, into frames.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
    read: usize,
}

impl Reader {
    /// More of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` until more was pushed.
    ///
    /// # Errors
    /// When the stream is not made of pkt-lines.
    pub(super) fn packet(&mut self) -> Result<Option<Packet>, String> {
        let rest = &self.buffer[self.read..];
        let Some(digits) = rest.get(..4) else { return Ok(None) };
        let length = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| usize::from_str_radix(digits, 16).ok())
            .ok_or("a frame without a length: is this a git repository?")?;
        match length {
            0 => {
                self.read += 4;
                Ok(Some(Packet::Flush))
            }
            1..4 => Err(format!("a frame of length {length}, which version 0 of the protocol lacks")),
            _ if length > MAX_LENGTH => Err(format!("a frame of {length} bytes is too long")),
            _ => {
                let Some(content) = rest.get(4..length) else { return Ok(None) };
                let content = content.strip_suffix(b"\n").unwrap_or(content).to_vec();
                self.read += length;
                Ok(Some(Packet::Data(content)))
            }
        }
    }

    /// What was pushed and is not cut yet: what follows the last frame is not framed.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.read..]
    }
}

/// A frame around a text.
pub(super) fn frame(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> (Result<Vec<Packet>, String>, Vec<u8>) {
        let mut reader = Reader::default();
        let mut packets = Vec::new();
        for piece in pieces {
            reader.push(piece);
            loop {
                match reader.packet() {
                    Ok(Some(packet)) => packets.push(packet),
                    Ok(None) => break,
                    Err(error) => return (Err(error), Vec::new()),
                }
            }
        }
        (Ok(packets), reader.rest().to_vec())
    }

    #[test]
    fn a_stream_is_cut_wherever_its_pieces_end() {
        let stream = b"0006a\n0005b00040000000bfoobar\n00";
        let expected = ["a", "b", "", "\0", "foobar"].map(|text| match text {
            "\0" => Packet::Flush,
            text => Packet::Data(text.as_bytes().to_vec()),
        });
        for size in 1..=stream.len() {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            let (packets, rest) = read(&pieces);
            assert_eq!(packets.unwrap(), expected, "pieces of {size}");
            assert_eq!(rest, b"00");
        }
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        for (stream, says) in [
            (&b"<html><body>"[..], "is this a git repository"),
            (b"+00a", "is this a git repository"),
            (b"0001", "lacks"),
            (b"0003", "lacks"),
            (b"ffff", "too long"),
            (b"\xff\xff\xff\xff", "is this a git repository"),
        ] {
            let error = read(&[stream]).0.unwrap_err();
            assert!(error.contains(says), "{stream:?}: {error}");
        }
    }

    #[test]
    fn a_frame_counts_itself() {
        assert_eq!(frame("done\n"), "0009done\n");
        assert_eq!(read(&[frame("a line\n").as_bytes()]).0.unwrap(), [Packet::Data(b"a line".to_vec())]);
    }
}
