use tokio::sync::mpsc;

use super::*;
use crate::body::Chunk;
use crate::digest::Algorithm;
use crate::testing::{entry, file, gzip, header, pax, tar};

/// Unpacks bytes that arrive in chunks of a size.
fn unpack_in(compressed: &[u8], chunk: usize, limits: &Limits) -> Result<FileTree, UnpackError> {
    let (sender, receiver) = mpsc::channel(compressed.len() + 1);
    for bytes in compressed.chunks(chunk) {
        sender.try_send(Chunk::Data(Bytes::copy_from_slice(bytes))).ok().unwrap();
    }
    sender.try_send(Chunk::End).ok().unwrap();
    unpack(&mut Body::new(receiver, Algorithm::Sha256), limits)
}

fn unpack_all(compressed: &[u8]) -> Result<FileTree, UnpackError> {
    unpack_in(compressed, 1000, &Limits::default())
}

fn invalid(entry: impl Into<Option<&'static str>>, reason: &str) -> UnpackError {
    UnpackError::Invalid { entry: entry.into().map(str::to_owned), reason: reason.to_owned() }
}

fn names(tree: &FileTree) -> Vec<&str> {
    tree.iter().map(|(path, _)| path).collect()
}

/// A long name as GNU tar writes it, before the entry that has it.
fn gnu_long(name: &[u8]) -> Vec<u8> {
    let mut bytes = header(b"././@LongLink", b'L', name.len() as u64 + 1);
    bytes[257..265].copy_from_slice(b"ustar  \0");
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes.extend_from_slice(name);
    bytes.resize((bytes.len() + 1).next_multiple_of(512), 0);
    bytes
}

#[test]
fn what_may_be_in_an_archive() {
    let long = format!("{}/x", "d".repeat(200));
    for (about, entries, expected) in [
        ("nothing", vec![], vec![]),
        ("files", vec![file("b", b"1"), file("a/b", b"")], vec!["a/b", "b"]),
        (
            "a root and directories",
            vec![entry(b"./", b'5', b""), entry(b".", b'5', b""), entry(b"a/", b'5', b""), file("./a/b", b"")],
            vec!["a/b"],
        ),
        ("a directory twice", vec![entry(b"a", b'5', b""), entry(b"a/", b'5', b"")], vec![]),
        ("dots that do not lead up", vec![file("a../..b/.c", b"")], vec!["a../..b/.c"]),
        ("a symbolic link", vec![entry(b"link", b'2', b""), file("a", b"")], vec!["a"]),
        ("an old regular file", vec![entry(b"a", 0, b"x")], vec!["a"]),
        ("a contiguous file", vec![entry(b"a", b'7', b"x")], vec!["a"]),
        (
            "what git archive begins with",
            vec![
                entry(b"pax_global_header", b'g', b"52 comment=0123456789012345678901234567890123456789\n"),
                file("a", b""),
            ],
            vec!["a"],
        ),
        ("a long name, PAX", vec![pax("path", long.as_bytes()), file("short", b"")], vec![long.as_str()]),
        ("a long name, GNU", vec![gnu_long(long.as_bytes()), file("short", b"")], vec![long.as_str()]),
        ("a name that is not ASCII", vec![file("größe", b"")], vec!["größe"]),
    ] {
        let tree = unpack_all(&gzip(&tar(&entries)));
        assert_eq!(tree.as_ref().map(names), Ok(expected), "{about}");
    }
}

#[test]
fn contents_come_whole_in_chunks_of_any_size() {
    let big: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let archive =
        gzip(&tar(&[file("small", b"text\n"), file("empty", b""), file("big", &big), file("block", &[7; 512])]));
    for chunk in [1, 13, 4096, usize::MAX] {
        let tree = unpack_in(&archive, chunk, &Limits::default()).unwrap();
        assert_eq!(tree.get("small").unwrap(), &b"text\n"[..]);
        assert_eq!(tree.get("empty").unwrap(), &b""[..]);
        assert_eq!(tree.get("block").unwrap(), &[7; 512][..]);
        assert!(tree.get("big").unwrap() == &big[..], "chunks of {chunk}");
    }
}

#[test]
fn more_members_and_more_zeros_are_one_archive() {
    let whole = tar(&[file("a", &[1; 3000]), file("b", b"2")]);
    for cut in [0, 1, 512, 700, whole.len() - 1024, whole.len()] {
        let mut compressed = gzip(&whole[..cut]);
        compressed.extend(gzip(&whole[cut..]));
        assert_eq!(unpack_all(&compressed).as_ref().map(names), Ok(vec!["a", "b"]), "cut at {cut}");
    }
    let mut padded = whole;
    padded.resize(10_240 * 20, 0);
    assert_eq!(unpack_all(&gzip(&padded)).as_ref().map(names), Ok(vec!["a", "b"]));
}

#[test]
fn entries_are_refused_by_name() {
    let only = "only files and directories may be in an artifact";
    let long = "n".repeat(4097);
    for (entries, expected) in [
        (vec![file("", b"x")], invalid("", "the name is empty")),
        (vec![file("/etc/passwd", b"x")], invalid("/etc/passwd", "the name is absolute")),
        (vec![entry(b"/", b'5', b"")], invalid("/", "the name is absolute")),
        (vec![file("a\\b", b"x")], invalid("a\\b", "the name holds a backslash")),
        (vec![file("..", b"x")], invalid("..", "the name holds `..`")),
        (vec![file("a/../b", b"x")], invalid("a/../b", "the name holds `..`")),
        (vec![file("a/..", b"x")], invalid("a/..", "the name holds `..`")),
        (vec![entry(b"../", b'5', b"")], invalid("../", "the name holds `..`")),
        (vec![entry(b"../link", b'2', b"")], invalid("../link", "the name holds `..`")),
        (vec![file("ok", b""), entry(b"caf\xe9", b'0', b"x")], invalid("caf\u{fffd}", "the name is not UTF-8")),
        (vec![pax("path", b"a\0b"), file("short", b"x")], invalid("a\0b", "the name holds a NUL byte")),
        (vec![pax("path", b"../up"), file("short", b"x")], invalid("../up", "the name holds `..`")),
        (vec![gnu_long(b"/abs"), file("short", b"x")], invalid("/abs", "the name is absolute")),
        (vec![file(".", b"x")], invalid(".", "a file without a name")),
        (vec![file("a/", b"x")], invalid("a/", "a file with the name of a directory")),
        (vec![entry(b"a/", b'5', b"x")], invalid("a/", "it is no file and yet has content")),
        (vec![file("a", b"1"), file("a", b"1")], invalid("a", "the name is there twice")),
        (vec![file("a/b", b"1"), file("./a//b", b"2")], invalid("./a//b", "the name is there twice")),
        (vec![file("a", b"1"), file("a-b", b""), file("a/b", b"2")], invalid("a", "it is a file and a directory")),
        (vec![entry(b"a/", b'5', b""), file("a", b"1")], invalid("a", "it is a file and a directory")),
        (vec![entry(b"hard", b'1', b"")], invalid("hard", &format!("it is a hard link; {only}"))),
        (vec![entry(b"char", b'3', b"")], invalid("char", &format!("it is a character device; {only}"))),
        (vec![entry(b"block", b'4', b"")], invalid("block", &format!("it is a block device; {only}"))),
        (vec![entry(b"fifo", b'6', b"")], invalid("fifo", &format!("it is a FIFO; {only}"))),
        (vec![entry(b"other", b'V', b"")], invalid("other", &format!("it is of type 'V'; {only}"))),
        (
            vec![pax("GNU.sparse.map", b"0,1"), file("holes", b"x")],
            invalid("holes", "it is a sparse file; write it whole"),
        ),
    ] {
        assert_eq!(unpack_all(&gzip(&tar(&entries))), Err(expected));
    }
    let refused = unpack_all(&gzip(&tar(&[gnu_long(long.as_bytes()), file("short", b"x")])));
    assert_eq!(
        refused,
        Err(UnpackError::Invalid { entry: Some(long), reason: "the name is longer than 4096 bytes".into() })
    );
}

#[test]
fn archives_are_refused_as_a_whole() {
    let good = tar(&[file("a", b"content")]);
    let followed = |by: &[u8]| [gzip(&good), by.to_vec()].concat();
    let mut checksum = good.clone();
    checksum[0] = b'b';
    let mut late = good.clone();
    late.resize(200_000, 0);
    late.push(1);
    let mut corrupt = gzip(&good);
    let middle = corrupt.len() - 6;
    corrupt[middle] ^= 1;
    for (about, compressed, reason) in [
        ("empty", Vec::new(), "it is no gzip archive"),
        ("not compressed", good.clone(), "it is no gzip archive"),
        ("a part of a gzip header", gzip(&good)[..9].to_vec(), "it is no gzip archive: it breaks off"),
        ("nothing behind a gzip header", gzip(&good)[..10].to_vec(), "the archive is damaged: it breaks off"),
        ("no deflate behind a gzip header", [&gzip(&good)[..10], &[0xff; 90]].concat(), "the archive is damaged: "),
        ("not tar", gzip(b"hello"), "the archive breaks off"),
        ("text behind it", followed(b"text"), "the archive is damaged"),
        ("zeros behind it", followed(&[0; 4]), "the archive is damaged"),
        ("a header checksum", gzip(&checksum), "the archive is damaged"),
        ("a gzip checksum", corrupt, "the archive is damaged"),
        ("no end marker", gzip(&good[..1024]), "the archive breaks off: it has no end marker (after entry \"a\")"),
        ("nothing in it", gzip(b""), "the archive breaks off: it has no end marker"),
        (
            "an entry behind the end",
            gzip(&[good.clone(), good.clone()].concat()),
            "something follows the end of the archive (after entry \"a\")",
        ),
        ("a byte far behind the end", gzip(&late), "something follows the end of the archive (after entry \"a\")"),
        (
            "a PAX header that ends in its record",
            gzip(&tar(&[entry(b"x", b'x', b"99 path=a\n"), file("a", b"")])),
            "the archive is damaged: a PAX header",
        ),
        (
            "a PAX size that is too large",
            gzip(&tar(&[pax("size", b"5000"), file("a", b"x")])),
            "the archive breaks off",
        ),
        ("more content promised than there is", gzip(&tar(&[header(b"a", b'0', 5000)])), "the archive breaks off"),
        ("a name for nothing", gzip(&tar(&[pax("path", b"x")])), "the archive is damaged"),
    ] {
        match unpack_all(&compressed) {
            Err(UnpackError::Invalid { reason: given, .. }) if given.starts_with(reason) => {}
            other => panic!("{about}: {other:?}"),
        }
    }
}

#[test]
fn an_archive_cut_at_any_byte_is_an_error() {
    let whole = tar(&[file("a", b"content"), pax("path", b"long/name"), file("b", &[1; 700]), entry(b"d/", b'5', b"")]);
    let compressed = gzip(&whole);
    for cut in 0..compressed.len() {
        assert!(unpack_all(&compressed[..cut]).is_err(), "compressed, cut at {cut}");
    }
    // One block of the end marker is enough to know that the writer came to the end.
    for cut in 0..whole.len() - 512 {
        assert!(unpack_all(&gzip(&whole[..cut])).is_err(), "cut at {cut}");
    }
    assert!(unpack_all(&compressed).is_ok());
}

#[test]
fn an_archive_changed_at_any_byte_does_no_harm() {
    let compressed = gzip(&tar(&[file("a", b"content"), pax("path", b"long/name"), file("b", &[1; 700])]));
    let good = unpack_all(&compressed);
    for at in 0..compressed.len() {
        let mut changed = compressed.clone();
        changed[at] ^= 0x55;
        // A few header fields of gzip mean nothing; all else has to be noticed, by the checksum at the latest.
        let result = unpack_all(&changed);
        assert!(result.is_err() || result == good, "byte {at}");
    }
}

#[test]
fn limits_name_themselves_and_the_entry() {
    let limits = Limits { entries: 3, file_bytes: 1000, unpacked_bytes: 8192, ..Limits::default() };
    let too_large = |limit, max, entry: &str| Err(UnpackError::TooLarge { limit, max, entry: Some(entry.into()) });
    let symlinks = |count| (0..count).map(|at| entry(format!("l{at}").as_bytes(), b'2', b"")).collect::<Vec<_>>();
    let mut links = FileTree::new();
    ["l0", "l1", "l2"].into_iter().for_each(|link| links.leave_out_link(link).unwrap());
    for (entries, expected) in [
        (symlinks(3), Ok(links)),
        (symlinks(4), too_large(Limit::Entries, 3, "l3")),
        (vec![file("a", &[1; 1001])], too_large(Limit::FileBytes, 1000, "a")),
        (vec![header(b"a", b'0', 1 << 32)], too_large(Limit::FileBytes, 1000, "a")),
        (vec![file("a", &[1; 900]), entry(b"l", b'g', &[1; 9000])], too_large(Limit::UnpackedBytes, 8192, "l")),
    ] {
        assert_eq!(unpack_in(&gzip(&tar(&entries)), 100, &limits), expected);
    }
    assert!(unpack_in(&gzip(&tar(&[file("a", &[1; 1000])])), 100, &limits).is_ok());
}

/// What is read before a limit is noticed, of an archive that inflates to a gibibyte.
#[test]
fn a_bomb_is_stopped_early() {
    let zeros = vec![0; 1 << 20];
    let mut bomb = gzip(&header(b"bomb", b'0', 1 << 30));
    bomb.extend(std::iter::repeat_n(gzip(&zeros), 1024).flatten());
    let generous = Limits { file_bytes: u64::MAX, unpacked_bytes: u64::MAX, ..Limits::default() };
    for (limits, limit, max) in [
        (
            Limits { file_bytes: u64::MAX, compression_ratio: u64::MAX, ..Limits::default() },
            Limit::UnpackedBytes,
            256 << 20,
        ),
        (generous, Limit::CompressionRatio, 200),
        (Limits::default(), Limit::FileBytes, 32 << 20),
    ] {
        let (sender, receiver) = mpsc::channel(bomb.len());
        for bytes in bomb.chunks(4096) {
            sender.try_send(Chunk::Data(Bytes::copy_from_slice(bytes))).ok().unwrap();
        }
        let mut body = Body::new(receiver, Algorithm::Sha256);
        let result = unpack(&mut body, &limits);
        assert_eq!(result, Err(UnpackError::TooLarge { limit, max, entry: Some("bomb".into()) }));
        assert!(body.received() < bomb.len() as u64 / 3, "{limit}: {} of {}", body.received(), bomb.len());
    }
}

#[test]
fn a_body_that_breaks_off_is_lost_and_not_invalid() {
    let archive = gzip(&tar(&[file("a", b"content")]));
    for length in [0, 5, archive.len() / 2, archive.len()] {
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(Chunk::Data(Bytes::copy_from_slice(&archive[..length]))).ok().unwrap();
        drop(sender);
        let mut body = Body::new(receiver, Algorithm::Sha256);
        assert_eq!(unpack(&mut body, &Limits::default()), Err(UnpackError::Lost), "{length}");
        assert_eq!(body.finish(), None);
    }
}
