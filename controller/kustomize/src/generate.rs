//! ConfigMaps and Secrets out of literals, files and env files.
//!
//! Architecture invariant: a value never stands in an error; the entry and the key do.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manifest::yaml::Node;
use manifest::{Diagnostic, Origin};

use crate::kustomization::{GeneratorArgs, GeneratorOptions};
use crate::load::Loader;
use crate::read::{Entry, Given, Text};
use crate::resource::{Behavior, Resource};

/// Width of a line of base64, as kustomize breaks it.
const BASE64_WIDTH: usize = 70;

/// Which kind a generator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    /// kustomize's name of the generator.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMapGenerator",
            Self::Secret => "SecretGenerator",
        }
    }
}

/// Makes the resource of one entry.
///
/// # Errors
/// Every entry that has no key, names no file or repeats a key.
pub(crate) fn generate(
    kind: Kind,
    given: &Given<GeneratorArgs>,
    global: Option<&GeneratorOptions>,
    loader: &Loader<'_>,
    file: &Arc<str>,
) -> Result<Resource, Vec<Diagnostic>> {
    let Given { value: args, entry } = given;
    if args.name.is_empty() {
        return Err(vec![entry.fault("a generator must have a `name`")]);
    }
    let data = data(args, loader)?;
    let options = merge_options(args.options.as_ref(), global);
    let node = match kind {
        Kind::ConfigMap => config_map(args, data),
        Kind::Secret => secret(args, data),
    };
    let node = with_options(node, &options).with_location(entry.at.clone());
    let line = entry.at.as_ref().map_or(1, |at| at.line);
    let mut resource = Resource::new(node, Origin { file: file.clone(), line, document: 0 });
    resource.behavior = Behavior::from_word(&args.behavior);
    resource.needs_hash = !options.disable_name_suffix_hash;
    Ok(resource)
}

/// The options of a generator over those of all: either may switch off the hash or make it immutable.
fn merge_options(own: Option<&GeneratorOptions>, global: Option<&GeneratorOptions>) -> GeneratorOptions {
    let (own, global) = (own.cloned().unwrap_or_default(), global.cloned().unwrap_or_default());
    let over = |own: Vec<(String, String)>, global: Vec<(String, String)>| {
        global.into_iter().chain(own).collect::<BTreeMap<_, _>>().into_iter().collect()
    };
    GeneratorOptions {
        labels: over(own.labels, global.labels),
        annotations: over(own.annotations, global.annotations),
        disable_name_suffix_hash: own.disable_name_suffix_hash || global.disable_name_suffix_hash,
        immutable: own.immutable || global.immutable,
    }
}

fn base(kind: &'static str, args: &GeneratorArgs) -> Vec<(&'static str, Node)> {
    let mut metadata = vec![("name", Node::string(&args.name))];
    if !args.namespace.is_empty() {
        metadata.push(("namespace", Node::string(&args.namespace)));
    }
    vec![("apiVersion", Node::string("v1")), ("kind", Node::string(kind)), ("metadata", Node::mapping(metadata))]
}

fn config_map(args: &GeneratorArgs, data: BTreeMap<String, Vec<u8>>) -> Node {
    let (mut texts, mut binaries) = (Vec::new(), Vec::new());
    for (key, value) in data {
        match String::from_utf8(value) {
            Ok(text) => texts.push((key, Node::string(text))),
            Err(other) => binaries.push((key, Node::string(wrapped_base64(other.as_bytes())))),
        }
    }
    let mut fields = base("ConfigMap", args);
    if !texts.is_empty() {
        fields.push(("data", Node::mapping(texts)));
    }
    if !binaries.is_empty() {
        fields.push(("binaryData", Node::mapping(binaries)));
    }
    Node::mapping(fields)
}

fn secret(args: &GeneratorArgs, data: BTreeMap<String, Vec<u8>>) -> Node {
    let mut fields = base("Secret", args);
    let secret_type = if args.secret_type.is_empty() { "Opaque" } else { &args.secret_type };
    fields.push(("type", Node::string(secret_type)));
    let data = data.into_iter().map(|(key, value)| (key, Node::string(wrapped_base64(&value))));
    fields.push(("data", Node::mapping(data)));
    Node::mapping(fields)
}

fn with_options(mut node: Node, options: &GeneratorOptions) -> Node {
    let pairs = |pairs: &[(String, String)]| {
        Node::mapping(pairs.iter().map(|(key, value)| (key.as_str(), Node::string(value))))
    };
    if let Some(metadata) = node.get_mut("metadata") {
        if !options.labels.is_empty() {
            metadata.set("labels", pairs(&options.labels));
        }
        if !options.annotations.is_empty() {
            metadata.set("annotations", pairs(&options.annotations));
        }
    }
    if options.immutable {
        node.set("immutable", Node::bool(true));
    }
    node
}

/// Base64 that is broken into lines, each with its line break, when it is longer than one.
fn wrapped_base64(bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    if encoded.len() < BASE64_WIDTH {
        return encoded;
    }
    let mut wrapped = String::with_capacity(encoded.len() + encoded.len() / BASE64_WIDTH + 1);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(BASE64_WIDTH));
        wrapped.push_str(line);
        wrapped.push('\n');
        rest = after;
    }
    wrapped
}

/// The keys and values of a generator: env files, then literals, then files.
fn data(args: &GeneratorArgs, loader: &Loader<'_>) -> Result<BTreeMap<String, Vec<u8>>, Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let mut data: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut bytes = 0;
    let mut add = |key: String, value: Vec<u8>, entry: &Entry, faults: &mut Vec<Diagnostic>| {
        bytes += key.len() + value.len();
        if let Err(message) = loader.budget().fits(bytes) {
            faults.push(entry.fault(message));
            return;
        }
        if data.contains_key(&key) {
            faults.push(entry.fault(format!("{} illegally repeats the key `{key}`", args.name)));
        }
        data.insert(key, value);
    };
    for given in &args.envs {
        match env_file(given, loader) {
            Ok(pairs) => pairs.into_iter().for_each(|(key, value)| add(key, value, &given.entry, &mut faults)),
            Err(fault) => faults.push(fault),
        }
    }
    for given in &args.literals {
        match literal(&given.value) {
            Some((key, value)) => add(key.to_owned(), value.as_bytes().to_vec(), &given.entry, &mut faults),
            None => faults.push(given.entry.fault("invalid literal source, expected key=value")),
        }
    }
    for given in &args.files {
        match source_file(given, loader) {
            Ok((key, content)) => add(key, content, &given.entry, &mut faults),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(data) } else { Err(faults) }
}

/// `key=value`, of whose value one pair of quotes around it is taken off.
fn literal(source: &str) -> Option<(&str, &str)> {
    let (key, value) = source.split_once('=').filter(|(key, _)| !key.is_empty())?;
    let unquoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote)))
        .unwrap_or(value);
    Some((key, unquoted))
}

/// `path`, whose file name is the key, or `key=path`.
fn source_file(given: &Text, loader: &Loader<'_>) -> Result<(String, Vec<u8>), Diagnostic> {
    let source = given.value.as_str();
    let (key, path) = match source.split_once('=') {
        None => (source.trim_end_matches('/').rsplit('/').next().unwrap_or(source), source),
        Some(("", _)) => return Err(given.entry.fault(format!("missing key name for the file in {source:?}"))),
        Some((_, "")) => return Err(given.entry.fault(format!("missing file path for the key in {source:?}"))),
        Some((_, path)) if path.contains('=') => {
            return Err(given.entry.fault(format!("source {source:?}: key name or file path contains '='")));
        }
        Some(parts) => parts,
    };
    let file = loader.file_at(path, &given.entry)?;
    Ok((key.to_owned(), file.content.to_vec()))
}

/// The lines `KEY=value` of a file; blank ones and comments are skipped, a key alone has an empty value.
fn env_file(given: &Text, loader: &Loader<'_>) -> Result<Vec<(String, Vec<u8>)>, Diagnostic> {
    let file = loader.file(given)?;
    let mut pairs = Vec::new();
    for (index, line) in file.content.split(|byte| *byte == b'\n').enumerate() {
        let at = || manifest::Location {
            file: file.path.clone(),
            line: u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1),
            column: 1,
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(line) = str::from_utf8(line) else {
            return Err(given.entry.because(Diagnostic::at(at(), "the line has invalid UTF-8 bytes")));
        };
        let line = if index == 0 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        // kustomize passes over a value without a name.
        if key.is_empty() {
            continue;
        }
        pairs.push((key.to_owned(), value.as_bytes().to_vec()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_lose_one_pair_of_quotes() {
        for (source, expected) in [
            ("a=b", Some(("a", "b"))),
            ("a=", Some(("a", ""))),
            ("a='b=c'", Some(("a", "b=c"))),
            ("a=\"\"b\"\"", Some(("a", "\"b\""))),
            ("a=\"b'", Some(("a", "\"b'"))),
            ("a=\"", Some(("a", "\""))),
            ("=b", None),
            ("a", None),
        ] {
            assert_eq!(literal(source), expected, "{source}");
        }
    }

    #[test]
    fn long_base64_is_broken_into_lines() {
        assert_eq!(wrapped_base64(b"abc"), "YWJj");
        let long = wrapped_base64(&[0; 60]);
        assert_eq!(long.lines().map(str::len).collect::<Vec<_>>(), [70, 10]);
        assert!(long.ends_with('\n'));
    }
}
