//! What the tests of whole builds share: cases on disk, the reference implementation, and random overlays.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

pub(crate) mod arbitrary;
pub(crate) mod case;
pub(crate) mod oracle;
pub(crate) mod overlay;

use std::panic::{AssertUnwindSafe, catch_unwind};

use kustomize::{Options, build, to_yaml};
use manifest::FileTree;
use manifest::yaml::{self, Node};

/// Files by path.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// The files as the library takes them.
pub(crate) fn tree(files: &Files) -> FileTree {
    let mut tree = FileTree::new();
    for (path, content) in files {
        tree.insert(path, content.clone()).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    tree
}

/// The documents of an output, as values.
pub(crate) fn documents(text: &str) -> Vec<Node> {
    match yaml::parse("output", text.as_bytes()) {
        Ok(documents) => documents.into_iter().map(|document| document.node).collect(),
        Err(faults) => panic!("{faults}\n{text}"),
    }
}

/// Where two outputs differ, as ordered lists of values; `None` when they do not.
pub(crate) fn difference(expected: &str, actual: &str) -> Option<String> {
    let (expected_documents, actual_documents) = (documents(expected), documents(actual));
    if expected_documents == actual_documents {
        return None;
    }
    let at = expected_documents.iter().zip(&actual_documents).position(|(expected, actual)| expected != actual);
    Some(match at {
        Some(at) => format!(
            "document {at} is\n{}but should be\n{}",
            yaml::to_canonical(&actual_documents[at]),
            yaml::to_canonical(&expected_documents[at])
        ),
        None => format!("{} documents, but should be {}", actual_documents.len(), expected_documents.len()),
    })
}

/// What the library makes of the directory: its output, or its message. A panic is a failure of the test, with what was
/// built.
pub(crate) fn built(files: &Files, target: &str, options: &Options<'_>) -> Result<String, String> {
    let tree = tree(files);
    match catch_unwind(AssertUnwindSafe(|| build(&tree, target, options))) {
        Ok(Ok(objects)) => {
            let text = to_yaml(&objects);
            let nodes: Vec<Node> = objects.into_iter().map(|object| object.node).collect();
            assert!(nodes == documents(&text), "is not read back as it was printed:\n{text}\n{}", show(files));
            Ok(text)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => panic!("panicked at {target:?} of\n{}", show(files)),
    }
}

/// The files as text, in the form of the cases.
pub(crate) fn show(files: &Files) -> String {
    let text = |(path, content): &(String, Vec<u8>)| {
        format!("-- {path} --\n{}\n", String::from_utf8_lossy(content).trim_end())
    };
    files.iter().map(text).collect()
}
