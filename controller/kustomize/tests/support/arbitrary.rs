//! Arbitrary bytes as a repository: a random repository of overlays whose files are then cut, joined and overwritten, or
//! files of nothing but the bytes. What the fuzzer finds is kept in `tests/fuzz`.

use std::time::{Duration, Instant};

use kustomize::{Layer, Options, Reorder, Rules};
use manifest::FileTree;

use super::Files;
use super::overlay::{Choices, Repository, repository};

/// No build of a small repository takes as long, however it is made.
const LONGEST: Duration = Duration::from_secs(10);

/// So much larger than its repository no output of a small one is.
const LARGEST: usize = 64 << 20;

/// Pieces of text at which kustomize's own files turn.
const PIECES: [&str; 24] = [
    "resources: [.]\n",
    "resources: [../one, ../base]\n",
    "components: [../component]\n",
    "---\n",
    "$patch: delete\n",
    "{op: copy, from: /spec, path: /spec/x}\n",
    "&a [*a, *a]\n",
    "<<: *a\n",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "\n",
    "  ",
    "null",
    "name: '('\n",
    "path: \"a/b[]/c\"\n",
    "kind: List\nitems: []\n",
    "'$(ONE)'",
    "!!binary ",
    "# {\"type\":\"array\"}\n",
    "\u{feff}",
];

/// Builds what the bytes stand for, by all rules. It panics on a fault of the library.
pub(crate) fn check(bytes: &[u8]) {
    let Some((files, target)) = files(bytes) else { return };
    let legacy = Options { rules: Rules::Kustomize, reorder: Reorder::Legacy, ..Options::default() };
    let layer = Layer { name_prefix: Some("p-".to_owned()), ..Layer::default() };
    let flux = Options { rules: Rules::Flux, layer: Some(&layer), trace: true, ..Options::default() };
    for options in [legacy, flux] {
        let started = Instant::now();
        if let Ok(output) = super::built(&files, &target, &options) {
            assert!(output.len() <= LARGEST, "{} bytes come of\n{}", output.len(), super::show(&files));
        }
        assert!(started.elapsed() <= LONGEST, "{:?} for\n{}", started.elapsed(), super::show(&files));
    }
}

/// The files, and the directory to build. None when no tree can hold them.
fn files(bytes: &[u8]) -> Option<(Files, String)> {
    let (first, rest) = bytes.split_first()?;
    let (files, target) = if first % 4 == 0 { raw(rest) } else { changed(rest) };
    let mut tree = FileTree::new();
    let whole = files.iter().all(|(path, content)| tree.insert(path, content.clone()).is_ok());
    whole.then_some((files, target))
}

/// The bytes themselves, as the kustomization and the files that it may name.
fn raw(bytes: &[u8]) -> (Files, String) {
    let names = ["kustomization.yaml", "a.yaml", "b/kustomization.yaml", "b/a.yaml", "schema.json", "a.env"];
    let parts = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec);
    (names.map(str::to_owned).into_iter().zip(parts).collect(), String::new())
}

/// A random repository with changes: the first half of the bytes makes it, the second changes it.
fn changed(bytes: &[u8]) -> (Files, String) {
    let (making, changing) = bytes.split_at(bytes.len() / 2);
    let Repository { mut files, target, .. } = repository(&mut Choices::Bytes(making));
    let mut choices = Choices::Bytes(changing);
    let count = choices.below(6);
    for _ in 0..count {
        let from = choices.below(files.len());
        let to = choices.below(files.len());
        let at = choices.below(256) * (1 + files[to].1.len() / 256);
        let at = at.min(files[to].1.len());
        let kind = choices.below(5);
        let piece = match kind {
            0 => files[from].1.clone(),
            1 => (0..choices.below(12)).map(|_| u8::try_from(choices.below(256)).unwrap_or_default()).collect(),
            _ => PIECES[choices.below(PIECES.len())].as_bytes().to_vec(),
        };
        let end = (at + if kind == 2 { choices.below(40) } else { 0 }).min(files[to].1.len());
        files[to].1.splice(at..end, piece);
    }
    (files, target)
}
