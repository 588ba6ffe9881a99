//! A directory on disk as a source.
//!
//! Invariant: nothing outside the root is read, nor through a symbolic link, nor anything of `.git`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::reach::{self, Files, Kind, Source, join};

/// Reads what a build of the directory at a clean path of a source needs; the root is canonical.
///
/// # Errors
/// As [`reach::read`].
pub(crate) fn read(root: &Path, path: &str) -> anyhow::Result<Source> {
    reach::read(Disk { root, plain: HashMap::new() }, path)
}

struct Disk<'a> {
    root: &'a Path,
    /// Whether a directory is one, and no part of its path a link.
    plain: HashMap<String, bool>,
}

impl Disk<'_> {
    fn is_plain(&mut self, directory: &str) -> bool {
        if let Some(known) = self.plain.get(directory) {
            return *known;
        }
        let name = directory.rsplit('/').next();
        let plain = name != Some(".git") && self.kind(directory) == Some(Kind::Directory);
        self.plain.insert(directory.to_owned(), plain);
        plain
    }
}

impl Files for Disk<'_> {
    fn kind(&mut self, path: &str) -> Option<Kind> {
        if path.is_empty() {
            return Some(Kind::Directory);
        }
        let kind = kind_of(fs::symlink_metadata(self.root.join(path)).ok()?.file_type())?;
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        self.is_plain(above).then_some(kind)
    }

    fn entries(&self, directory: &str) -> anyhow::Result<Vec<(String, Kind)>> {
        let place = self.root.join(directory);
        let unreadable = || format!("cannot read {}", place.display());
        let mut entries = Vec::new();
        for entry in fs::read_dir(&place).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let path = entry.path();
            let found = entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
            let name = entry.file_name();
            if name == ".git" {
                continue;
            }
            let Some(kind) = kind_of(found).filter(|kind| *kind != Kind::Link) else { continue };
            let name = name.to_str().with_context(|| format!("the name of {} is no UTF-8", path.display()))?;
            entries.push((join(directory, name), kind));
        }
        entries.sort_by(|(left, _), (right, _)| left.cmp(right));
        Ok(entries)
    }

    fn size(&self, path: &str) -> anyhow::Result<u64> {
        let place = self.root.join(path);
        let found = fs::symlink_metadata(&place).with_context(|| format!("cannot read {}", place.display()))?;
        Ok(found.len())
    }

    fn content(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let place = self.root.join(path);
        fs::read(&place).with_context(|| format!("cannot read {}", place.display()))
    }

    fn is_outside(&self, directory: &str, path: &str) -> bool {
        self.root.join(directory).join(path).exists()
    }
}

fn kind_of(found: fs::FileType) -> Option<Kind> {
    match (found.is_file(), found.is_dir(), found.is_symlink()) {
        (true, ..) => Some(Kind::File),
        (_, true, _) => Some(Kind::Directory),
        (.., true) => Some(Kind::Link),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
        #[cfg(unix)]
        for (path, link) in [
            ("overlay/link.yaml", Some("overlay/link.yaml")),
            ("overlay/linked/a.yaml", Some("overlay/linked")),
            ("overlay/.git/a.yaml", None),
        ] {
            assert_eq!(source.tree.link_on_the_way(path), link, "{path}");
        }
    }
}
