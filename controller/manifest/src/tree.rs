//! [`FileTree`]: the files of an unpacked artifact, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

/// Files by their path from the root of the artifact, in the order of their paths.
///
/// A path is relative, has `/` between its parts, and no part that is empty, `.` or `..`; so no path leaves the tree
/// and one file has one path. Directories exist only as parts of the paths of their files. Cloning shares the bytes.
///
/// Symbolic links are no files and are not followed; where they were is remembered, so that who names one can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileTree {
    files: BTreeMap<String, Bytes>,
    links: BTreeSet<String>,
}

/// Why a path cannot stand in a [`FileTree`], or a directory cannot be named in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No file name at all.
    #[error("the path is empty")]
    Empty,
    /// `..` would leave the root.
    #[error("path {0:?} leads outside the root of the source")]
    Outside(String),
    /// A backslash or a NUL, which would mean another file on another system.
    #[error("path {0:?} holds a backslash or a NUL byte")]
    Character(String),
    /// The same path twice, or a path that is a file and a directory.
    #[error("path {0:?} is there twice")]
    Duplicate(String),
}

impl FileTree {
    /// A tree without a file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file under its cleaned path (`./a//b` is `a/b`).
    ///
    /// # Errors
    /// When the path is empty, leads outside, or stands in the tree already.
    pub fn insert(&mut self, path: &str, content: impl Into<Bytes>) -> Result<(), PathError> {
        let path = Self::clean(path)?;
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if self.files.contains_key(&path) {
            return Err(PathError::Duplicate(path));
        }
        self.files.insert(path, content.into());
        Ok(())
    }

    /// Remembers that a symbolic link was left out at a cleaned path.
    ///
    /// # Errors
    /// When the path is empty or leads outside.
    pub fn leave_out_link(&mut self, path: &str) -> Result<(), PathError> {
        let path = Self::clean(path)?;
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        self.links.insert(path);
        Ok(())
    }

    /// The symbolic link that was left out at a clean path, or at a directory above it.
    #[must_use]
    pub fn link_on_the_way(&self, path: &str) -> Option<&str> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        ends.filter_map(|end| path.get(..end)).find_map(|above| self.links.get(above)).map(String::as_str)
    }

    /// The normal form of a path: `./a/../b/` is `b`, and the root is the empty string.
    /// A leading `/` means the root of the artifact, as Flux joins `spec.path`.
    ///
    /// # Errors
    /// When `..` leads outside the root, or the path holds a backslash or a NUL.
    pub fn clean(path: &str) -> Result<String, PathError> {
        if path.contains(['\\', '\0']) {
            return Err(PathError::Character(path.to_owned()));
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return Err(PathError::Outside(path.to_owned()));
                    }
                }
                part => parts.push(part),
            }
        }
        Ok(parts.join("/"))
    }

    /// The file at a clean path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Bytes> {
        self.files.get(path)
    }

    /// Whether a clean path is a directory: the root, or a prefix of some file.
    #[must_use]
    pub fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.files_under(path).next().is_some()
    }

    /// The files below a clean directory, at any depth, in the order of their paths.
    pub fn files_under<'a>(&'a self, directory: &str) -> impl Iterator<Item = (&'a str, &'a Bytes)> + use<'a> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let range = (Bound::Included(prefix.clone()), Bound::Unbounded);
        self.files
            .range::<String, _>(range)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, content)| (path.as_str(), content))
    }

    /// All files, in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.files.iter().map(|(path, content)| (path.as_str(), content))
    }

    /// Number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Bytes held: contents and paths.
    #[must_use]
    pub fn size(&self) -> usize {
        let files: usize = self.files.iter().map(|(path, content)| path.len() + content.len()).sum();
        files + self.links.iter().map(String::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_kept_inside() {
        for (given, clean) in [
            ("", Ok("")),
            ("./", Ok("")),
            ("/", Ok("")),
            ("a/b", Ok("a/b")),
            ("./a//b/", Ok("a/b")),
            ("a/../b", Ok("b")),
            ("/a", Ok("a")),
            ("..", Err(PathError::Outside("..".into()))),
            ("a/../../b", Err(PathError::Outside("a/../../b".into()))),
            ("a\\b", Err(PathError::Character("a\\b".into()))),
        ] {
            assert_eq!(FileTree::clean(given), clean.map(str::to_owned), "{given:?}");
        }
    }

    #[test]
    fn a_directory_is_a_whole_part_of_a_path() {
        let mut tree = FileTree::new();
        for path in ["ab/x", "a/y", "a/b/z", "c"] {
            tree.insert(path, "").unwrap();
        }
        let under = |directory| tree.files_under(directory).map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(under("a"), ["a/b/z", "a/y"]);
        assert_eq!(under(""), ["a/b/z", "a/y", "ab/x", "c"]);
        assert!(tree.is_dir("a/b") && !tree.is_dir("c") && !tree.is_dir("a/y"));
        assert_eq!(tree.insert("a/./y", ""), Err(PathError::Duplicate("a/y".into())));
    }

    #[test]
    fn links_are_remembered_and_are_no_files() {
        let mut tree = FileTree::new();
        for path in ["./a/link", "b"] {
            tree.leave_out_link(path).unwrap();
        }
        for (path, link) in [
            ("a/link", Some("a/link")),
            ("a/link/x/y", Some("a/link")),
            ("b/x", Some("b")),
            ("a", None),
            ("a/linked", None),
            ("", None),
        ] {
            assert_eq!(tree.link_on_the_way(path), link, "{path}");
        }
        assert!(tree.is_empty() && !tree.is_dir("a") && tree.get("b").is_none());
        assert_eq!(tree.leave_out_link("."), Err(PathError::Empty));
    }
}
