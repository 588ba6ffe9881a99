//! The messages of git's smart HTTP protocol, version 0, as far as fetching one commit needs them. No I/O.
//! See gitprotocol-http(5) and gitprotocol-pack(5).

use git2::Oid;

use super::pkt_line::{Packet, Reader, frame};
use super::{GitError, Revision};

const SERVICE: &[u8] = b"# service=git-upload-pack";
const AGENT: &str = concat!("flux-porter/", env!("CARGO_PKG_VERSION"));

/// What a server has: the answer to `info/refs`.
#[derive(Debug, Default)]
pub(super) struct Advertisement {
    refs: Vec<(String, Oid)>,
    capabilities: Vec<String>,
}

impl Advertisement {
    /// Reads the whole answer.
    pub(super) fn parse(answer: &[u8]) -> Result<Self, GitError> {
        let mut reader = Reader::default();
        reader.push(answer);
        let mut next = || {
            let packet = reader.packet().map_err(GitError::Protocol)?;
            packet.ok_or_else(|| GitError::Protocol("the list of branches broke off".to_owned()))
        };
        let mut first = next()?;
        if first == Packet::Data(SERVICE.to_vec()) {
            next()?;
            first = next()?;
        }
        let mut advertisement = Self::default();
        let mut packet = first;
        while let Packet::Data(line) = packet {
            advertisement.line(&line)?;
            packet = next()?;
        }
        match advertisement.capability("object-format") {
            None | Some("sha1") => Ok(advertisement),
            Some(format) => Err(GitError::Protocol(format!("the repository uses {format}; only sha1 is supported"))),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), GitError> {
        refuse_error(line)?;
        let line = String::from_utf8_lossy(line);
        let (reference, capabilities) = line.split_once('\0').unwrap_or((&line, ""));
        self.capabilities.extend(capabilities.split_whitespace().map(str::to_owned));
        let parts = reference.split_once(' ').and_then(|(id, name)| Some((Oid::from_str(id).ok()?, name)));
        let (id, name) = parts.ok_or_else(|| GitError::Protocol("a line that names no branch".to_owned()))?;
        // An empty repository has one line, without an object, to tell its capabilities.
        if !id.is_zero() {
            self.refs.push((name.to_owned(), id));
        }
        Ok(())
    }

    fn capability(&self, name: &str) -> Option<&str> {
        self.capabilities.iter().find_map(|capability| capability.strip_prefix(name)?.strip_prefix('='))
    }

    fn has(&self, name: &str) -> bool {
        self.capabilities.iter().any(|capability| capability == name)
    }

    fn id(&self, name: &str) -> Option<Oid> {
        self.refs.iter().find(|(reference, _)| reference == name).map(|(_, id)| *id)
    }

    /// Where a branch is, or `HEAD` when none is named.
    pub(super) fn revision(&self, branch: Option<&str>) -> Result<Revision, GitError> {
        if let Some(branch) = branch {
            let commit = self.id(&format!("refs/heads/{branch}"));
            return commit
                .map(|commit| Revision { branch: branch.to_owned(), commit })
                .ok_or_else(|| GitError::NoBranch(branch.to_owned()));
        }
        let commit = self.id("HEAD").ok_or(GitError::NoHead)?;
        let heads = || self.refs.iter().filter_map(|(name, id)| Some((name.strip_prefix("refs/heads/")?, *id)));
        let told = self.capabilities.iter().find_map(|capability| capability.strip_prefix("symref=HEAD:refs/heads/"));
        // An old server does not tell: then it is the one branch that is there.
        let guessed = || {
            let mut there = heads().filter(|(_, id)| *id == commit).map(|(name, _)| name);
            there.next().filter(|_| there.next().is_none())
        };
        let branch = told.or_else(guessed).unwrap_or("HEAD").to_owned();
        Ok(Revision { branch, commit })
    }

    /// What to ask for one commit: without its history, when the server can leave that out.
    pub(super) fn request(&self, commit: Oid) -> String {
        let mut wanted = format!("want {commit}");
        if self.has("ofs-delta") {
            wanted.push_str(" ofs-delta");
        }
        if self.capability("agent").is_some() {
            wanted.push_str(&format!(" agent={AGENT}"));
        }
        let mut request = frame(&format!("{wanted}\n"));
        if self.has("shallow") {
            request.push_str(&frame("deepen 1\n"));
        }
        request.push_str("0000");
        request.push_str(&frame("done\n"));
        request
    }
}

/// Reads what comes before the pack: the limits of the history, and that nothing is common.
#[derive(Debug, Default)]
pub(super) struct PackHead {
    reader: Reader,
    done: bool,
}

impl PackHead {
    /// More of the answer. Gives what of it belongs to the pack.
    pub(super) fn push<'a>(&'a mut self, bytes: &'a [u8]) -> Result<&'a [u8], GitError> {
        if self.done {
            return Ok(bytes);
        }
        self.reader.push(bytes);
        while let Some(packet) = self.reader.packet().map_err(GitError::Protocol)? {
            let Packet::Data(line) = packet else { continue };
            refuse_error(&line)?;
            if line == b"NAK" {
                self.done = true;
                return Ok(self.reader.rest());
            }
            if !line.starts_with(b"shallow ") && !line.starts_with(b"unshallow ") {
                return Err(GitError::Protocol("a line before the pack that was not asked for".to_owned()));
            }
        }
        Ok(&[])
    }

    /// Whether the pack has begun.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }
}

fn refuse_error(line: &[u8]) -> Result<(), GitError> {
    match line.strip_prefix(b"ERR ") {
        Some(error) => Err(GitError::Protocol(String::from_utf8_lossy(error).trim().to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn advertised(lines: &[String]) -> Result<Advertisement, GitError> {
        let mut answer = frame("# service=git-upload-pack\n") + "0000";
        lines.iter().for_each(|line| answer.push_str(&frame(line)));
        Advertisement::parse((answer + "0000").as_bytes())
    }

    #[test]
    fn a_branch_is_found() {
        let known = "multi_ack shallow ofs-delta symref=HEAD:refs/heads/main agent=git/2.50";
        let full =
            [format!("{ONE} HEAD\0{known}\n"), format!("{ONE} refs/heads/main\n"), format!("{TWO} refs/heads/next\n")];
        let old = [format!("{ONE} HEAD\0multi_ack\n"), format!("{ONE} refs/heads/trunk\n")];
        let empty = ["0000000000000000000000000000000000000000 capabilities^{}\0shallow\n".to_owned()];
        for (lines, branch, expected) in [
            (&full[..], None, Ok(format!("main@sha1:{ONE}"))),
            (&full, Some("next"), Ok(format!("next@sha1:{TWO}"))),
            (&full, Some("gone"), Err("no branch gone")),
            (&old, None, Ok(format!("trunk@sha1:{ONE}"))),
            (&empty, None, Err("no commit")),
        ] {
            let revision = advertised(lines).unwrap().revision(branch);
            match (revision, expected) {
                (Ok(revision), Ok(expected)) => assert_eq!(revision.to_string(), expected),
                (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                (got, expected) => panic!("{got:?} is not {expected:?}"),
            }
        }
        let request = advertised(&full).unwrap().request(Oid::from_str(ONE).unwrap());
        let wanted = frame(&format!("want {ONE} ofs-delta agent={AGENT}\n"));
        assert_eq!(request, format!("{wanted}000ddeepen 1\n00000009done\n"));
    }

    #[test]
    fn what_is_no_advertisement_is_refused() {
        for (answer, says) in [
            (frame("ERR no such thing\n"), "no such thing"),
            (frame("# service=git-upload-pack\n") + "0000", "broke off"),
            ("<html>".to_owned(), "is this a git repository"),
            (frame(&format!("{ONE} HEAD\0object-format=sha256\n")) + "0000", "only sha1"),
        ] {
            let error = Advertisement::parse(answer.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{answer}: {error}");
        }
    }

    #[test]
    fn the_pack_begins_after_the_acknowledgement() {
        let answer = format!("{}0000{}PACK and more", frame(&format!("shallow {ONE}\n")), frame("NAK\n"));
        for size in 1..=answer.len() {
            let mut head = PackHead::default();
            let mut pack = Vec::new();
            for piece in answer.as_bytes().chunks(size) {
                pack.extend_from_slice(head.push(piece).unwrap());
            }
            assert!(head.is_done());
            assert_eq!(pack, b"PACK and more", "pieces of {size}");
        }
    }
}
