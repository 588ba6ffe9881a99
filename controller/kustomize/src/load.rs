//! [`Loader`]: what a kustomization may read, from where it stands.
//!
//! Invariant: nothing outside the tree is ever read, no directory is entered twice on one way down, and what is remote
//! is refused before anything looks for it.

use std::sync::Arc;

use bytes::Bytes;
use manifest::yaml::{self, Dialect, Document, Node};
use manifest::{Diagnostic, FileTree};

use crate::Rules;
use crate::kustomization::FILE_NAMES;
use crate::limits::{self, Budget};
use crate::read::{Entry, Text};

/// How deep kustomizations may lie in each other.
const MAX_DEPTH: usize = 64;

/// A directory of the tree, and the way that led to it.
#[derive(Clone)]
pub(crate) struct Loader<'a> {
    tree: &'a FileTree,
    /// The directory, clean; the root of the tree is empty.
    directory: Arc<str>,
    /// The directories of the kustomizations above, outermost first.
    above: Vec<Arc<str>>,
    rules: Rules,
    budget: &'a Budget<'a>,
}

/// A file with its path from the root of the tree.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: Arc<str>,
    pub(crate) content: Bytes,
}

impl<'a> Loader<'a> {
    /// At a clean directory of the tree.
    pub(crate) fn new(tree: &'a FileTree, directory: &str, rules: Rules, budget: &'a Budget<'a>) -> Self {
        Self { tree, directory: directory.into(), above: Vec::new(), rules, budget }
    }

    /// What the build may use.
    pub(crate) fn budget(&self) -> &'a Budget<'a> {
        self.budget
    }

    /// Counts the documents that configure the build.
    ///
    /// # Errors
    /// When all of them are too much.
    pub(crate) fn count(&self, documents: &[Document]) -> Result<(), Diagnostic> {
        documents.iter().try_for_each(|document| {
            self.budget.configure(limits::size(&document.node)).map_err(|message| document.node.fault(message))
        })
    }

    /// The directory, clean.
    pub(crate) fn directory(&self) -> &Arc<str> {
        &self.directory
    }

    /// The directory where the build began.
    pub(crate) fn target(&self) -> &str {
        self.above.first().unwrap_or(&self.directory)
    }

    /// The kustomization file of the directory; `None` when there is none.
    ///
    /// # Errors
    /// When there are several.
    pub(crate) fn kustomization_file(&self) -> Result<Option<File>, Diagnostic> {
        let mut found = FILE_NAMES.iter().filter_map(|name| {
            let path = join(&self.directory, name);
            self.tree.get(&path).map(|content| File { path: path.into(), content: content.clone() })
        });
        let first = found.next();
        match (&first, found.next()) {
            (Some(first), Some(second)) => {
                let message = format!(
                    "Found multiple kustomization files under {:?}: {} and {}; keep one",
                    self.directory, first.path, second.path
                );
                Err(Diagnostic::general(message))
            }
            _ => Ok(first),
        }
    }

    /// The content of the file at a path from the root of the tree.
    pub(crate) fn source(&self, path: &str) -> Option<&Bytes> {
        self.tree.get(path)
    }

    /// Whether the entry names a file of the tree.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|path| self.tree.get(&path).is_some())
    }

    /// Whether the path means a directory of the tree.
    pub(crate) fn has_dir(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|path| self.tree.is_dir(&path))
    }

    /// The file that an entry names.
    ///
    /// # Errors
    /// When the path is empty, absolute or remote, leads outside, is not there, or is a directory.
    pub(crate) fn file(&self, given: &Text) -> Result<File, Diagnostic> {
        self.file_at(&given.value, &given.entry)
    }

    /// As [`Self::file`], for a path that is part of an entry.
    pub(crate) fn file_at(&self, given: &str, entry: &Entry) -> Result<File, Diagnostic> {
        self.budget.open().map_err(|message| entry.fault(message))?;
        let path = self.resolve(given).map_err(|message| entry.fault(message))?;
        let Some(content) = self.tree.get(&path) else {
            let what = if self.tree.is_dir(&path) { "is a directory, not a file" } else { "does not exist" };
            let why = why_missing(self.tree, &path);
            return Err(entry.fault(format!("file {given:?} {what} ({path:?} from the root of the source{why})")));
        };
        let inside = self.directory.is_empty() || path.starts_with(&format!("{}/", self.directory));
        if self.rules == Rules::Kustomize && !inside {
            return Err(entry.fault(format!(
                "security; file {path:?} is not in or below {:?}: kustomize reads files of its own directory only; \
                 within Flux they may lie anywhere in the source",
                self.directory
            )));
        }
        Ok(File { path: path.into(), content: content.clone() })
    }

    /// The directory that an entry names.
    ///
    /// # Errors
    /// When the path is absolute or remote, leads outside, is no directory, or one that this one lies in.
    pub(crate) fn enter(&self, given: &Text) -> Result<Self, Diagnostic> {
        let fault = |message: String| given.entry.fault(message);
        let directory = self.resolve(&given.value).map_err(fault)?;
        if self.tree.get(&directory).is_some() {
            return Err(fault(format!("{:?} is a file, not a directory", given.value)));
        }
        if !self.tree.is_dir(&directory) {
            let why = why_missing(self.tree, &directory);
            let message = format!("{:?} does not exist ({directory:?} from the root of the source{why})", given.value);
            return Err(fault(message));
        }
        let mut above = self.above.clone();
        above.push(self.directory.clone());
        let contains =
            |inner: &str| directory.is_empty() || inner == directory || inner.starts_with(&format!("{directory}/"));
        if let Some(visited) = above.iter().find(|visited| contains(visited)) {
            return Err(fault(format!(
                "cycle detected: candidate root {directory:?} contains visited root {visited:?}; \
                 a kustomization cannot be part of itself"
            )));
        }
        if above.len() >= MAX_DEPTH {
            return Err(fault(format!("kustomizations lie more than {MAX_DEPTH} deep in each other")));
        }
        Ok(Self { tree: self.tree, directory: directory.into(), above, rules: self.rules, budget: self.budget })
    }

    /// The documents of a file in the way of kustomize's own files (YAML 1.1).
    pub(crate) fn configuration(&self, file: &File) -> Result<Vec<Document>, Vec<Diagnostic>> {
        let documents = yaml::parse_as(Dialect::Kustomization, &file.path, &file.content)
            .map_err(manifest::Diagnostics::into_vec)?;
        self.count(&documents).map_err(|fault| vec![fault])?;
        Ok(documents)
    }

    /// The only document of a file that an entry names, in the way of kustomize's own files; null when it has none.
    pub(crate) fn single_configuration(&self, file: &File, entry: &Entry) -> Result<Node, Vec<Diagnostic>> {
        let mut documents = self.configuration(file).map_err(|faults| entry.because_all(faults))?;
        match documents.len() {
            0 => Ok(Node::null()),
            _ => Ok(documents.swap_remove(0).node),
        }
    }

    /// The clean path of the tree that a path of this directory means.
    fn resolve(&self, given: &str) -> Result<String, String> {
        if given.is_empty() {
            return Err("the path is empty".to_owned());
        }
        if is_remote(given) && !self.is_there(given) {
            return Err(format!(
                "{given:?} is remote: only files of the source itself are built. Put it into the repository, or \
                 bring it in as a source of its own"
            ));
        }
        if given.starts_with('/') {
            return Err(format!(
                "{given:?} is absolute: new root cannot be absolute, give a path relative to this file"
            ));
        }
        FileTree::clean(&join(&self.directory, given)).map_err(|error| error.to_string())
    }

    fn is_there(&self, given: &str) -> bool {
        FileTree::clean(&join(&self.directory, given))
            .is_ok_and(|path| self.tree.get(&path).is_some() || self.tree.is_dir(&path))
    }
}

/// What is to be said of a clean path at which nothing is, when a symbolic link was there or on the way.
pub(crate) fn why_missing(tree: &FileTree, path: &str) -> String {
    let link = tree.link_on_the_way(path);
    link.map(|link| format!("; {link:?} is a symbolic link, and links are left out: name what it leads to"))
        .unwrap_or_default()
}

/// A path below a clean directory.
pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// Whether kustomize would fetch the path from somewhere else: a URL, an scp-like address, or a host with a path to a
/// repository.
pub(crate) fn is_remote(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    if lower.contains("://") || lower.starts_with("git::") || lower.starts_with("gh:") || lower.starts_with("git@") {
        return true;
    }
    let (first, rest) = lower.split_once('/').unwrap_or((&lower, ""));
    let user_at_host = first.contains('@') && first.contains(':');
    let known = ["github.com", "gitlab.com", "bitbucket.org", "ssh.github.com"];
    user_at_host || (known.contains(&first) && !rest.is_empty()) || path.contains("?ref=") || path.contains("?version=")
}
