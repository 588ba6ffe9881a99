//! What a build of a directory needs of a source, as a [`FileTree`].
//!
//! A source can be a repository of any size, so it is not read whole: the kustomizations are followed from the directory
//! on, and each text in one of them that is the path of something in the source has that read. A text which only looks like a
//! path costs a file too many; no field needs to be known here. A directory without a kustomization has its manifests
//! read. Beside each file, the bundle manifests (`porter.yaml`) above it are read, since documents may lean on them.
//!
//! Invariant: what is read is bounded, and is the same of a directory on disk and of a commit.

use std::collections::{BTreeSet, HashSet, VecDeque};

use anyhow::bail;
use manifest::FileTree;
use manifest::yaml::{self, Dialect, Node, Value};

/// The names that a kustomization file can have.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The fields whose files are configurations of plugins, with paths of their own.
const PLUGINS: [&str; 3] = ["generators", "transformers", "validators"];

/// The manifest of a bundle, from which a document can take its bundle.
const BUNDLE_MANIFEST: &str = "porter.yaml";

/// The longest text that can be a path.
const MAX_PATH: usize = 4096;

/// How many files are read at most.
const MAX_FILES: usize = 100_000;

/// How many bytes are read at most.
const MAX_BYTES: u64 = 256 << 20;

/// What was read of a source.
#[derive(Debug)]
pub(crate) struct Source {
    /// The files.
    pub(crate) tree: FileTree,
    /// The texts of kustomizations that are paths of something outside the root, each with the directory that has it.
    pub(crate) outside: BTreeSet<(String, String)>,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, which is not followed.
    Link,
}

/// The files of a source, wherever they are. All paths are clean and start at the root.
pub(crate) trait Files {
    /// What is at a path; what lies behind a symbolic link is not there.
    fn kind(&mut self, path: &str) -> Option<Kind>;

    /// The paths of the files and directories in a directory, in the order of their names.
    fn entries(&self, directory: &str) -> anyhow::Result<Vec<(String, Kind)>>;

    /// How large a file is.
    fn size(&self, path: &str) -> anyhow::Result<u64>;

    /// What is in a file.
    fn content(&self, path: &str) -> anyhow::Result<Vec<u8>>;

    /// Whether something is at a path that starts at a directory and leads outside.
    fn is_outside(&self, directory: &str, path: &str) -> bool;
}

/// Reads what a build of the directory at a clean path needs. A path at which no directory is gives what is there.
///
/// # Errors
/// When something cannot be read, has a name that is no path of a source, or is more than a build may use.
pub(crate) fn read(files: impl Files, path: &str) -> anyhow::Result<Source> {
    let mut reader = Reader {
        files,
        source: Source { tree: FileTree::new(), outside: BTreeSet::new() },
        bytes: 0,
        pending: VecDeque::new(),
        seen: HashSet::new(),
        without_manifest: HashSet::new(),
    };
    match reader.files.kind(path) {
        Some(Kind::Directory) if reader.kustomizations(path).is_empty() => {
            reader.walk(path)?;
            reader.prove(path)?;
        }
        Some(Kind::Directory) => reader.enter(path.to_owned(), None),
        Some(Kind::File) => reader.load(path)?,
        Some(Kind::Link) | None => reader.note_link(path)?,
    }
    while let Some(visit) = reader.pending.pop_front() {
        reader.visit(&visit)?;
    }
    Ok(reader.source)
}

/// A directory with a kustomization that is to be followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Visit {
    directory: String,
    /// The directory whose plugins it configures: the paths in its files start there.
    configures: Option<String>,
}

struct Reader<F> {
    files: F,
    source: Source,
    bytes: u64,
    pending: VecDeque<Visit>,
    seen: HashSet<Visit>,
    /// The directories in which a bundle manifest was looked for.
    without_manifest: HashSet<String>,
}

impl<F: Files> Reader<F> {
    fn enter(&mut self, directory: String, configures: Option<String>) {
        let visit = Visit { directory, configures };
        if self.seen.insert(visit.clone()) {
            self.pending.push_back(visit);
        }
    }

    fn visit(&mut self, visit: &Visit) -> anyhow::Result<()> {
        let files = self.kustomizations(&visit.directory);
        if files.is_empty() {
            return self.prove(&visit.directory);
        }
        for file in files {
            self.load(&file)?;
            for document in self.documents(&file) {
                for (key, value) in document.as_mapping().unwrap_or_default() {
                    let is_plugin = PLUGINS.iter().any(|plugin| plugin.eq_ignore_ascii_case(&key.name));
                    let configures = if is_plugin { Some(&visit.directory) } else { visit.configures.as_ref() };
                    for text in texts(value) {
                        self.follow(text, &visit.directory, configures)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads what a text of a kustomization means, when it is a path: all of it, or what follows the key of a
    /// generator's file, or the texts of a document within it.
    fn follow(&mut self, text: &str, directory: &str, configures: Option<&String>) -> anyhow::Result<()> {
        if text.contains('\n') {
            let within = yaml::parse_as(Dialect::Kustomization, "", text.as_bytes()).unwrap_or_default();
            for document in &within {
                for text in texts(&document.node).filter(|text| !text.contains('\n')) {
                    self.follow(text, directory, None)?;
                }
            }
            return Ok(());
        }
        for path in [Some(text), text.split_once('=').map(|(_, path)| path)].into_iter().flatten() {
            self.reach(path, directory, configures)?;
        }
        Ok(())
    }

    fn reach(&mut self, path: &str, directory: &str, configures: Option<&String>) -> anyhow::Result<()> {
        if path.is_empty() || path.len() > MAX_PATH || path.starts_with('/') {
            return Ok(());
        }
        let Ok(clean) = FileTree::clean(&format!("{directory}/{path}")) else {
            if self.files.is_outside(directory, path) {
                self.source.outside.insert((directory.to_owned(), path.to_owned()));
            }
            return Ok(());
        };
        match self.files.kind(&clean) {
            Some(Kind::Directory) => self.enter(clean, configures.cloned()),
            Some(Kind::File) => {
                self.load(&clean)?;
                let Some(directory) = configures else { return Ok(()) };
                for document in self.documents(&clean) {
                    for text in texts(&document) {
                        self.follow(text, directory, None)?;
                    }
                }
            }
            Some(Kind::Link) | None => self.note_link(&clean)?,
        }
        Ok(())
    }

    /// Remembers the symbolic link that is at a path or on the way to it, so that the build can tell of it.
    fn note_link(&mut self, path: &str) -> anyhow::Result<()> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let mut above = ends.filter_map(|end| path.get(..end));
        if let Some(link) = above.find(|above| self.files.kind(above) == Some(Kind::Link)) {
            self.source.tree.leave_out_link(link)?;
        }
        Ok(())
    }

    /// The kustomization files of a directory; more than one is for the build to tell.
    fn kustomizations(&mut self, directory: &str) -> Vec<String> {
        let paths = KUSTOMIZATIONS.iter().map(|name| join(directory, name));
        paths.filter(|path| self.files.kind(path) == Some(Kind::File)).collect()
    }

    /// The documents of a file that was read; none of one that is wrong, which the build tells.
    fn documents(&self, path: &str) -> Vec<Node> {
        let content = self.source.tree.get(path).cloned().unwrap_or_default();
        let documents = yaml::parse_as(Dialect::Kustomization, path, &content).unwrap_or_default();
        documents.into_iter().map(|document| document.node).collect()
    }

    /// Reads the manifests below a directory; a directory in it that has a kustomization is followed instead.
    fn walk(&mut self, directory: &str) -> anyhow::Result<()> {
        for (path, kind) in self.files.entries(directory)? {
            match kind {
                Kind::File if path.ends_with(".yaml") || path.ends_with(".yml") => self.load(&path)?,
                Kind::File | Kind::Link => {}
                Kind::Directory if !self.kustomizations(&path).is_empty() => self.enter(path, None),
                Kind::Directory => self.walk(&path)?,
            }
        }
        Ok(())
    }

    /// Reads some file of a directory, so that the build knows that the directory is there.
    fn prove(&mut self, directory: &str) -> anyhow::Result<()> {
        if self.source.tree.is_dir(directory) {
            return Ok(());
        }
        let mut entries = self.files.entries(directory)?;
        entries.sort_by_key(|(_, kind)| *kind == Kind::Directory);
        for (path, kind) in entries {
            match kind {
                Kind::File => return self.load(&path),
                Kind::Directory => self.prove(&path)?,
                Kind::Link => {}
            }
            if self.source.tree.is_dir(directory) {
                break;
            }
        }
        Ok(())
    }

    /// Reads a file, once, and the bundle manifests above it.
    fn load(&mut self, path: &str) -> anyhow::Result<()> {
        if self.source.tree.get(path).is_some() {
            return Ok(());
        }
        self.bytes += self.files.size(path)?;
        if self.bytes > MAX_BYTES || self.source.tree.len() >= MAX_FILES {
            bail!(
                "more than {MAX_FILES} files or {} MiB would have to be read, the last one {path}: build a directory of it",
                MAX_BYTES >> 20
            );
        }
        self.source.tree.insert(path, self.files.content(path)?)?;
        let mut directory = path;
        while let Some((above, _)) = directory.rsplit_once('/') {
            self.load_bundle_manifest(above)?;
            directory = above;
        }
        self.load_bundle_manifest("")
    }

    fn load_bundle_manifest(&mut self, directory: &str) -> anyhow::Result<()> {
        let path = join(directory, BUNDLE_MANIFEST);
        if self.without_manifest.insert(directory.to_owned()) && self.files.kind(&path) == Some(Kind::File) {
            return self.load(&path);
        }
        Ok(())
    }
}

/// A path below a clean directory.
pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// The texts among the values of a node.
fn texts(node: &Node) -> Box<dyn Iterator<Item = &str> + '_> {
    match &node.value {
        Value::Scalar(_) => Box::new(node.as_str().into_iter()),
        Value::Sequence(items) => Box::new(items.iter().flat_map(texts)),
        Value::Mapping(entries) => Box::new(entries.iter().flat_map(|(_, value)| texts(value))),
    }
}
