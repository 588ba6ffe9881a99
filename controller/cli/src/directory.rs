//! A directory on disk to a [`FileTree`].

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use manifest::FileTree;

/// Reads all files below a directory. `.git` and what is neither a file nor a directory (symbolic links too, which could
/// lead outside) are passed over.
///
/// # Errors
/// When something cannot be read, or has a name that is no path of a source.
pub(crate) fn read(root: &Path) -> anyhow::Result<FileTree> {
    let mut tree = FileTree::new();
    read_into(root, "", &mut tree)?;
    Ok(tree)
}

fn read_into(directory: &Path, prefix: &str, tree: &mut FileTree) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", directory.display());
    for entry in fs::read_dir(directory).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let path = entry.path();
        let name = entry.file_name();
        if name == ".git" {
            continue;
        }
        let kind = entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
        if !kind.is_file() && !kind.is_dir() {
            continue;
        }
        let name = name.to_str().with_context(|| format!("the name of {} is no UTF-8", path.display()))?;
        let inside = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        if kind.is_dir() {
            read_into(&path, &inside, tree)?;
        } else {
            let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            tree.insert(&inside, content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_git_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in [("a/b.yaml", "b"), (".git/config", "x"), ("c.yaml", "c")] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("/etc", root.path().join("link")).unwrap();
        let tree = read(root.path()).unwrap();
        assert_eq!(tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["a/b.yaml", "c.yaml"]);
    }
}
