//! A directory on disk to the [`FileTree`] that a build of it needs.
//!
//! A source can be a repository of any size, so it is not read whole: the kustomizations are followed from the directory
//! on, and each text in one of them that is the path of something in the source has that read. A text which only looks like a
//! path costs a file too many; no field needs to be known here. A directory without a kustomization has its manifests
//! read. Beside each file, the bundle manifests (`porter.yaml`) above it are read, since documents may lean on them.
//!
//! Invariant: nothing outside the root is read, nor through a symbolic link, and what is read is bounded.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
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

/// Reads what a build of the directory `path` of the source at `root` needs; `root` is canonical, `path` clean.
///
/// # Errors
/// When something cannot be read, has a name that is no path of a source, or is more than a build may use.
pub(crate) fn read(root: &Path, path: &str) -> anyhow::Result<Source> {
    let mut reader = Reader {
        root,
        source: Source { tree: FileTree::new(), outside: BTreeSet::new() },
        bytes: 0,
        pending: VecDeque::new(),
        seen: HashSet::new(),
        plain: HashMap::new(),
        without_manifest: HashSet::new(),
    };
    if reader.kustomizations(path)?.is_empty() {
        reader.walk(path)?;
        reader.prove(path)?;
    } else {
        reader.enter(path.to_owned(), None);
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

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
}

struct Reader<'a> {
    root: &'a Path,
    source: Source,
    bytes: u64,
    pending: VecDeque<Visit>,
    seen: HashSet<Visit>,
    /// Whether a directory is one, and no part of its path a link.
    plain: HashMap<String, bool>,
    /// The directories in which a bundle manifest was looked for.
    without_manifest: HashSet<String>,
}

impl Reader<'_> {
    fn enter(&mut self, directory: String, configures: Option<String>) {
        let visit = Visit { directory, configures };
        if self.seen.insert(visit.clone()) {
            self.pending.push_back(visit);
        }
    }

    fn visit(&mut self, visit: &Visit) -> anyhow::Result<()> {
        let files = self.kustomizations(&visit.directory)?;
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
            if self.root.join(directory).join(path).exists() {
                self.source.outside.insert((directory.to_owned(), path.to_owned()));
            }
            return Ok(());
        };
        match self.kind(&clean) {
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
            None => {}
        }
        Ok(())
    }

    /// What is at a clean path, links and what they lead to left out.
    fn kind(&mut self, path: &str) -> Option<Kind> {
        let found = fs::symlink_metadata(self.root.join(path)).ok()?.file_type();
        let kind = match (found.is_file(), found.is_dir()) {
            (true, _) => Kind::File,
            (_, true) => Kind::Directory,
            _ => return None,
        };
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        self.is_plain(above).then_some(kind)
    }

    fn is_plain(&mut self, directory: &str) -> bool {
        if directory.is_empty() {
            return true;
        }
        if directory == ".git" || directory.ends_with("/.git") {
            return false;
        }
        if let Some(known) = self.plain.get(directory) {
            return *known;
        }
        let plain = self.kind(directory) == Some(Kind::Directory);
        self.plain.insert(directory.to_owned(), plain);
        plain
    }

    /// The kustomization files of a directory; more than one is for the build to tell.
    fn kustomizations(&mut self, directory: &str) -> anyhow::Result<Vec<String>> {
        let paths = KUSTOMIZATIONS.iter().map(|name| join(directory, name));
        Ok(paths.filter(|path| self.kind(path) == Some(Kind::File)).collect())
    }

    /// The documents of a file that was read; none of one that is wrong, which the build tells.
    fn documents(&self, path: &str) -> Vec<Node> {
        let content = self.source.tree.get(path).cloned().unwrap_or_default();
        let documents = yaml::parse_as(Dialect::Kustomization, path, &content).unwrap_or_default();
        documents.into_iter().map(|document| document.node).collect()
    }

    /// Reads the manifests below a directory; a directory in it that has a kustomization is followed instead.
    fn walk(&mut self, directory: &str) -> anyhow::Result<()> {
        for (path, kind) in self.entries(directory)? {
            match kind {
                Kind::File if path.ends_with(".yaml") || path.ends_with(".yml") => self.load(&path)?,
                Kind::File => {}
                Kind::Directory if !self.kustomizations(&path)?.is_empty() => self.enter(path, None),
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
        let mut entries = self.entries(directory)?;
        entries.sort_by_key(|(_, kind)| *kind == Kind::Directory);
        for (path, kind) in entries {
            match kind {
                Kind::File => return self.load(&path),
                Kind::Directory => self.prove(&path)?,
            }
            if self.source.tree.is_dir(directory) {
                break;
            }
        }
        Ok(())
    }

    /// The files and directories of a directory, but for `.git`, in the order of their names.
    fn entries(&self, directory: &str) -> anyhow::Result<Vec<(String, Kind)>> {
        let place = self.root.join(directory);
        let unreadable = || format!("cannot read {}", place.display());
        let mut entries = Vec::new();
        for entry in fs::read_dir(&place).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let path = entry.path();
            let found = entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
            let kind = match (found.is_file(), found.is_dir()) {
                (true, _) => Kind::File,
                (_, true) => Kind::Directory,
                _ => continue,
            };
            let name = entry.file_name();
            let name = name.to_str().with_context(|| format!("the name of {} is no UTF-8", path.display()))?;
            if name != ".git" {
                entries.push((join(directory, name), kind));
            }
        }
        entries.sort_by(|(left, _), (right, _)| left.cmp(right));
        Ok(entries)
    }

    /// Reads a file, once, and the bundle manifests above it.
    fn load(&mut self, path: &str) -> anyhow::Result<()> {
        if self.source.tree.get(path).is_some() {
            return Ok(());
        }
        let place = self.root.join(path);
        let unreadable = || format!("cannot read {}", place.display());
        self.bytes += fs::metadata(&place).with_context(unreadable)?.len();
        if self.bytes > MAX_BYTES || self.source.tree.len() >= MAX_FILES {
            bail!(
                "more than {MAX_FILES} files or {} MiB would have to be read, the last one {}: build a directory of it",
                MAX_BYTES >> 20,
                place.display()
            );
        }
        self.source.tree.insert(path, fs::read(&place).with_context(unreadable)?)?;
        let mut directory = path;
        while let Some((above, _)) = directory.rsplit_once('/') {
            self.load_bundle_manifest(above)?;
            directory = above;
        }
        self.load_bundle_manifest("")
    }

    fn load_bundle_manifest(&mut self, directory: &str) -> anyhow::Result<()> {
        let path = join(directory, BUNDLE_MANIFEST);
        if self.without_manifest.insert(directory.to_owned()) && self.kind(&path) == Some(Kind::File) {
            return self.load(&path);
        }
        Ok(())
    }
}

/// A path below a clean directory.
fn join(directory: &str, name: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a source, of which a build of `path` reads those that are marked.
    #[track_caller]
    fn check(path: &str, files: &[(&str, &str, bool)]) {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for (path, content, _) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let source = read(&root, path).unwrap();
        let mut expected: Vec<_> = files.iter().filter(|(_, _, read)| *read).map(|(path, ..)| *path).collect();
        expected.sort_unstable();
        assert_eq!(source.tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), expected);
        assert_eq!(source.outside, BTreeSet::new());
    }

    #[test]
    fn what_kustomizations_name_is_read() {
        check(
            "overlays/prod",
            &[
                (
                    "overlays/prod/kustomization.yaml",
                    "resources: [../../base, own.yaml]\nNamePrefix: other-\nconfigMapGenerator:\n- name: c\n  files: \
                     [key=settings.ini]\n  envs: [.env]\npatches:\n- path: patch.yaml\nopenapi: {path: schema.json}\n",
                    true,
                ),
                ("overlays/prod/own.yaml", "resources: [unused.yaml]", true),
                ("overlays/prod/settings.ini", "", true),
                ("overlays/prod/.env", "", true),
                ("overlays/prod/patch.yaml", "", true),
                ("overlays/prod/schema.json", "", true),
                ("overlays/prod/unused.yaml", "", false),
                ("overlays/dev/kustomization.yaml", "", false),
                ("base/Kustomization", "resources: [deep/a.yaml]\ncomponents: [../parts]\n", true),
                ("base/deep/a.yaml", "", true),
                ("base/deep/b.yaml", "", false),
                ("base/porter.yaml", "", true),
                ("parts/kustomization.yml", "bases: [empty]", true),
                // Named, and without a kustomization: the build has to see that it is there.
                ("parts/empty/README.md", "", true),
                ("parts/empty/deeper/x.yaml", "", false),
                ("porter.yaml", "", true),
                ("large.bin", "", false),
            ],
        );
    }

    #[test]
    fn what_plugins_name_is_read() {
        check(
            "",
            &[
                (
                    "kustomization.yaml",
                    "transformers: [plugins/one.yaml, plugins/all]\ngenerators:\n- |-\n  kind: ConfigMapGenerator\n  \
                     files:\n  - x=inline.txt\nresources: [plain.yaml]\n",
                    true,
                ),
                ("inline.txt", "", true),
                ("plain.yaml", "path: not.yaml", true),
                ("not.yaml", "", false),
                // The paths of a plugin start at the kustomization that names it.
                ("plugins/one.yaml", "kind: A\npath: a.yaml\n---\nkind: B\npaths: [plugins/b.yaml]", true),
                ("a.yaml", "", true),
                ("plugins/a.yaml", "", false),
                ("plugins/b.yaml", "", true),
                ("plugins/all/kustomization.yaml", "resources: [two.yaml]", true),
                ("plugins/all/two.yaml", "path: c.yaml", true),
                ("c.yaml", "", true),
            ],
        );
    }

    #[test]
    fn a_directory_without_a_kustomization_has_its_manifests_read() {
        check(
            "apps",
            &[
                ("apps/a.yaml", "", true),
                ("apps/deep/b.yml", "", true),
                ("apps/deep/c.json", "", false),
                ("apps/overlay/kustomization.yaml", "resources: [../../shared/d.yaml]", true),
                ("apps/overlay/unnamed.yaml", "", false),
                ("shared/d.yaml", "", true),
                ("shared/e.yaml", "", false),
                ("apps/.git/f.yaml", "", false),
            ],
        );
        check("apps", &[("apps/README.md", "", true), ("b.yaml", "", false)]);
    }

    #[test]
    fn nothing_is_read_through_links_or_outside() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("overlay")).unwrap();
        fs::write(root.join("../outside.yaml"), "").unwrap();
        let names = "resources: [../../outside.yaml, ../../nothing.yaml, link.yaml, linked/a.yaml, .git/a.yaml]\n";
        fs::write(root.join("overlay/kustomization.yaml"), names).unwrap();
        for directory in ["real", "overlay/.git"] {
            fs::create_dir(root.join(directory)).unwrap();
            fs::write(root.join(directory).join("a.yaml"), "").unwrap();
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../../outside.yaml", root.join("overlay/link.yaml")).unwrap();
            std::os::unix::fs::symlink("../real", root.join("overlay/linked")).unwrap();
        }
        let source = read(&root, "overlay").unwrap();
        assert_eq!(source.tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["overlay/kustomization.yaml"]);
        let outside = BTreeSet::from([("overlay".to_owned(), "../../outside.yaml".to_owned())]);
        assert_eq!(source.outside, outside);
    }
}
