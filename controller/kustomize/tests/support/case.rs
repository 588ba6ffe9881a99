//! Cases as text: many small file trees in one file, each with what is to come of it.
//!
//! ```text
//! What the cases of this file are about.
//!
//! === files                        the files that every case of this file has
//! -- base/kustomization.yaml --
//! resources: [app.yaml]
//!
//! === a prefix is put before names
//! target: overlays/prod            the directory to build; the root when left out
//! order: legacy                    the order of the objects; load order when left out
//! rules: flux                      the rules of Flux; kustomize's when left out
//! no-oracle: it has other limits   why the reference is not asked
//! -- overlays/prod/kustomization.yaml --
//! resources: [../../base]
//! -- overlays/prod/logo.bin base64 --
//! iVBORw0KGgo=
//! == expected ==
//! apiVersion: ...
//! ```
//!
//! An `== error ==` section takes the place of `== expected ==`: each of its lines is part of the message.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::Files;

/// A file tree, and what is to come of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The lines of settings, as they are written.
    settings: Vec<(String, String)>,
    /// The case's own files, as they are written.
    sections: Vec<(String, String)>,
    /// The files of the whole file, then the case's own, which take their place.
    pub(crate) files: Files,
    pub(crate) outcome: Outcome,
}

/// What is to come of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Output(String),
    /// Parts of the message.
    Error(Vec<String>),
}

/// A file of cases.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) path: PathBuf,
    heading: String,
    shared: Vec<(String, String)>,
    pub(crate) cases: Vec<Case>,
}

impl Case {
    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The directory to build.
    pub(crate) fn target(&self) -> &str {
        self.setting("target").unwrap_or("")
    }

    pub(crate) fn is_legacy(&self) -> bool {
        self.setting("order").is_some()
    }

    pub(crate) fn is_flux(&self) -> bool {
        self.setting("rules").is_some()
    }

    pub(crate) fn asks_oracle(&self) -> bool {
        self.setting("no-oracle").is_none()
    }
}

/// All files of cases in the folder, by name.
pub(crate) fn topics(folder: &Path) -> Vec<Topic> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    paths.iter().map(|path| Topic::read(path)).collect()
}

impl Topic {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut blocks = text.split("\n=== ");
        let heading = blocks.next().unwrap_or_default().trim_end().to_owned();
        let mut topic = Self { path: path.to_owned(), heading, shared: Vec::new(), cases: Vec::new() };
        for block in blocks {
            let (name, body) = block.split_once('\n').unwrap_or((block, ""));
            let case = Self::case(path, &topic.shared, name.trim(), body);
            if name.trim() == "files" {
                topic.shared = case.sections;
            } else {
                topic.cases.push(case);
            }
        }
        topic
    }

    fn case(path: &Path, shared: &[(String, String)], name: &str, body: &str) -> Case {
        let place = || format!("{}: {name}", path.display());
        let mut settings = Vec::new();
        let mut sections: Vec<(String, String)> = Vec::new();
        let mut outcome: Option<(bool, String)> = None;
        for line in body.trim_end_matches('\n').split('\n') {
            if let Some(file) = line.strip_prefix("-- ").and_then(|line| line.strip_suffix(" --")) {
                sections.push((file.to_owned(), String::new()));
            } else if line == "== expected ==" || line == "== error ==" {
                outcome = Some((line == "== error ==", String::new()));
            } else if let Some((_, text)) = &mut outcome {
                text.push_str(line);
                text.push('\n');
            } else if let Some((_, text)) = sections.last_mut() {
                text.push_str(line);
                text.push('\n');
            } else if let Some((key, value)) = line.split_once(": ") {
                assert!(["target", "order", "rules", "no-oracle"].contains(&key), "{}: {line:?}", place());
                settings.push((key.to_owned(), value.to_owned()));
            } else {
                assert!(line.is_empty(), "{}: {line:?}", place());
            }
        }
        let mut files: Files = Vec::new();
        for (file, text) in shared.iter().chain(&sections) {
            let (file, content) = content(file, text);
            files.retain(|(other, _)| *other != file);
            files.push((file, content));
        }
        let outcome = match outcome {
            Some((true, text)) => Outcome::Error(text.lines().map(str::to_owned).collect()),
            Some((false, text)) => Outcome::Output(text),
            None => Outcome::Output(String::new()),
        };
        Case { name: name.to_owned(), settings, sections, files, outcome }
    }

    /// Writes the file of cases as it is now.
    pub(crate) fn write(&self) {
        let mut text = format!("{}\n", self.heading);
        if !self.shared.is_empty() {
            text.push_str("\n=== files\n");
            sections(&mut text, &self.shared);
        }
        for case in &self.cases {
            let _ = writeln!(text, "\n=== {}", case.name);
            for (key, value) in &case.settings {
                let _ = writeln!(text, "{key}: {value}");
            }
            sections(&mut text, &case.sections);
            match &case.outcome {
                Outcome::Output(output) => {
                    let _ = write!(text, "== expected ==\n{output}");
                }
                Outcome::Error(parts) => {
                    let _ = writeln!(text, "== error ==\n{}", parts.join("\n"));
                }
            }
        }
        std::fs::write(&self.path, text).unwrap();
    }
}

fn sections(text: &mut String, sections: &[(String, String)]) {
    for (file, content) in sections {
        let _ = write!(text, "-- {file} --\n{content}");
    }
}

/// A section's file and bytes: as they are written, or out of base64.
fn content(file: &str, text: &str) -> (String, Vec<u8>) {
    match file.strip_suffix(" base64") {
        Some(file) => (file.to_owned(), base64(text)),
        None => (file.to_owned(), text.as_bytes().to_vec()),
    }
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter(|letter| !b"=\n".contains(letter)) {
        let value = ALPHABET.iter().position(|known| *known == letter).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}
