//! The command lines of Porter that are understood here.
//!
//! Guarantee: a command that is not modelled is refused, and never taken for another. It may not know what stands.

use std::collections::BTreeMap;

use super::registry::Reference;
use super::sets::SetKind;
use super::{Decided, Identity};

/// A command line of Porter that is understood here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Apply { file: String, force: bool, dry_run: bool },
    Uninstall { identity: Identity, delete: bool, reference: Option<Reference> },
    Delete { identity: Identity, force: bool },
    Invoke { identity: Identity, action: String },
    Read { identity: Identity, outputs: bool },
    Logs { identity: Identity },
    List,
    ApplySet { kind: SetKind, file: String },
    DeleteSet { kind: SetKind, identity: Identity },
}

impl Command {
    pub(super) fn parse(arguments: &[String]) -> Decided<Self> {
        let mut words = Vec::new();
        let mut flags: BTreeMap<&str, String> = BTreeMap::new();
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            let Some(flag) = argument.strip_prefix('-') else {
                words.push(argument);
                continue;
            };
            let flag = flag.trim_start_matches('-');
            let (flag, value) = match flag.split_once('=') {
                Some((flag, value)) => (flag, value.to_owned()),
                None if matches!(flag, "force" | "dry-run" | "delete" | "all-namespaces") => (flag, String::new()),
                None => (flag, arguments.next().unwrap_or_default().to_owned()),
            };
            let flag = match flag {
                "n" => "namespace",
                "i" => "installation",
                "r" => "reference",
                flag => flag,
            };
            flags.insert(flag, value);
        }
        let flag = |name: &str| flags.get(name).cloned().unwrap_or_default();
        let named = |name: Option<&&str>| match name {
            Some(name) => Ok((flag("namespace"), (*name).to_owned())),
            None if flags.contains_key("installation") => Ok((flag("namespace"), flag("installation"))),
            None => Err("no name was given".to_owned()),
        };
        let file = |name: Option<&&str>| name.map(|name| (*name).to_owned()).ok_or("no file was given".to_owned());
        let set = |noun: &str| match noun {
            "credentials" => SetKind::Credentials,
            _ => SetKind::Parameters,
        };
        let force = flags.contains_key("force");
        let noun = words.first().copied().unwrap_or_default();
        let noun = noun.strip_suffix('s').filter(|noun| *noun == "installation").unwrap_or(noun);
        match (noun, words.get(1).copied().unwrap_or_default()) {
            ("installation", "apply") => {
                Ok(Self::Apply { file: file(words.get(2))?, force, dry_run: flags.contains_key("dry-run") })
            }
            ("installation", "uninstall") => {
                let reference = flags.get("reference").map(|reference| Reference::of_text(reference));
                Ok(Self::Uninstall { identity: named(words.get(2))?, delete: flags.contains_key("delete"), reference })
            }
            ("installation", "delete") => Ok(Self::Delete { identity: named(words.get(2))?, force }),
            ("installation", "invoke") => Ok(Self::Invoke { identity: named(words.get(2))?, action: flag("action") }),
            ("installation", "show") => Ok(Self::Read { identity: named(words.get(2))?, outputs: false }),
            ("installation", "outputs" | "output") => Ok(Self::Read { identity: named(words.get(3))?, outputs: true }),
            ("installation", "runs") => Ok(Self::Read { identity: named(words.get(3))?, outputs: false }),
            ("installation", "logs") => Ok(Self::Logs { identity: named(None)? }),
            ("installation" | "credentials" | "parameters", "list") => Ok(Self::List),
            ("credentials" | "parameters", "apply") => {
                Ok(Self::ApplySet { kind: set(noun), file: file(words.get(2))? })
            }
            ("credentials" | "parameters", "delete") => {
                Ok(Self::DeleteSet { kind: set(noun), identity: named(words.get(2))? })
            }
            _ => Err(format!("not modelled: porter {}", words.join(" "))),
        }
    }
}
