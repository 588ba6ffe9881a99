//! A simulation of what Porter decides, without Porter and without Kubernetes.
//!
//! A model of `porter installation apply|uninstall|delete|invoke`, `porter credentials|parameters apply|delete` and the
//! commands that only read, in the ways of v1.6.1, v1.2.1 and v1.0.14 (the operator's default agent), as recorded with
//! these CLIs; `tests/porter-recorded.json` holds all that was recorded, and the tests of this module replay it. Names in
//! backquotes behind "recorded:" are scenarios there.
//!
//! What surprises, and is so: whether an installation is up to date looks at the digest, the resolved parameters and the
//! credential **set names** of the last run, and never at its result. So a failed upgrade is up to date; an uninstalled
//! installation is up to date for good; `--force` on one that is to be uninstalled and is not installed installs it.
//!
//! Not modelled: the mixins and the image of a bundle, dependencies, the text that Porter prints, schema versions beyond
//! "is it 1.x", parameter sources other than `secret` and `value`, parameter definitions beyond type, default, required
//! and applyTo, and what other versions of Porter do otherwise than those three.

mod bundle;
mod command;
mod registry;
mod sets;
#[cfg(test)]
mod tests;
mod version;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use bundle::{normal, typed};
use command::Command;
use sets::{Set, SetKind, read_set};

pub use bundle::{Bundle, Parameter};
pub use registry::{Reference, Registry};
pub use sets::secret_name;
pub use version::Version;

/// Porter's namespace and the name there.
pub type Identity = (String, String);

/// The values of secrets by name, as Porter's secrets plugin finds them.
pub type Secrets = BTreeMap<String, String>;

/// The files in the folder that Porter runs in.
pub type Files = BTreeMap<String, String>;

/// One Porter database, with the registry that it sees and the CLI that uses it.
#[derive(Clone, Debug, Default)]
pub struct Porter {
    /// Of the CLI that runs the next command.
    pub version: Version,
    /// The bundles that can be pulled.
    pub registry: Registry,
    installations: BTreeMap<Identity, Installation>,
    credential_sets: BTreeMap<Identity, Set>,
    parameter_sets: BTreeMap<Identity, Set>,
    runs: u64,
    /// Counts the ends of runs: what Porter tells by timestamps.
    clock: u64,
}

/// What is recorded of an installation.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Which.
    pub identity: &'a Identity,
    /// When an install last succeeded, on the clock of the ends of runs.
    pub installed: Option<u64>,
    /// When an uninstall last succeeded.
    pub uninstalled: Option<u64>,
    /// The credential sets that its document names.
    pub credential_sets: &'a [String],
    /// The parameter sets that its document names.
    pub parameter_sets: &'a [String],
    /// Id, action and, unless it is on, whether it succeeded, oldest first.
    pub runs: Vec<(u64, &'a str, Option<bool>)>,
}

#[derive(Clone, Debug, Default)]
struct Installation {
    document: Document,
    /// When an install last succeeded.
    installed: Option<u64>,
    /// When an uninstall last succeeded.
    uninstalled: Option<u64>,
    runs: Vec<Run>,
}

#[derive(Clone, Debug)]
struct Run {
    id: u64,
    action: String,
    bundle: Reference,
    digest: String,
    parameters: BTreeMap<String, Value>,
    credential_sets: Vec<String>,
    succeeded: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    schema_version: String,
    name: String,
    namespace: Option<String>,
    uninstalled: bool,
    bundle: Reference,
    parameters: Map<String, Value>,
    credential_sets: Vec<String>,
    parameter_sets: Vec<String>,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is over, and no bundle ran.
    Exit(Exit),
    /// A bundle action runs; [`Porter::finish`] tells how it ended.
    Run(RunRequest),
}

/// An exit code, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 0 or 1.
    pub code: i32,
    /// For people. Holds no value of a parameter or secret.
    pub message: String,
}

/// A bundle action that is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// For [`Porter::finish`].
    pub id: u64,
    /// Whose.
    pub installation: Identity,
    /// `install`, `upgrade`, `uninstall` or a custom one.
    pub action: String,
    /// The bundle, as it was named.
    pub bundle: Reference,
    /// The digest that it had.
    pub digest: String,
    /// The parameters that the bundle gets.
    pub parameters: BTreeMap<String, Value>,
    /// `--delete` of uninstall: the record goes when it succeeds.
    delete_after: bool,
}

impl RunRequest {
    /// Of a run that a real Porter decided upon.
    pub(crate) fn of(
        installation: Identity,
        action: &str,
        bundle: Reference,
        digest: String,
        parameters: BTreeMap<String, Value>,
    ) -> Self {
        Self { id: 0, installation, action: action.to_owned(), bundle, digest, parameters, delete_after: false }
    }
}

/// The bundle that a command or its document names.
pub(crate) fn asked_for(arguments: &[String], files: &Files) -> Option<Reference> {
    match Command::parse(arguments) {
        Ok(Command::Apply { file, .. }) => {
            let document: Document = serde_saphyr::from_str(files.get(&file)?).ok()?;
            Some(document.bundle)
        }
        Ok(Command::Uninstall { reference, .. }) => reference,
        _ => None,
    }
}

type Decided<T> = Result<T, String>;

impl Porter {
    /// Runs `porter <arguments>` up to the point where the bundle runs.
    pub fn begin(&mut self, arguments: &[String], files: &Files, secrets: &Secrets) -> Outcome {
        let decided = Command::parse(arguments).and_then(|command| self.command(&command, files, secrets));
        decided.unwrap_or_else(|message| Outcome::Exit(Exit { code: 1, message }))
    }

    /// Tells how a bundle action ended. A run that is never finished stays "running".
    pub fn finish(&mut self, request: &RunRequest, succeeded: bool) -> Exit {
        self.clock += 1;
        let sensitive = self.registry.bundle(&request.bundle.repository).sensitive_output;
        let recorded = succeeded && !sensitive;
        if let Some(installation) = self.installations.get_mut(&request.installation) {
            if let Some(run) = installation.runs.iter_mut().find(|run| run.id == request.id) {
                run.succeeded = Some(recorded);
            }
            match (request.action.as_str(), recorded) {
                ("install", true) => installation.installed = Some(self.clock),
                ("uninstall", true) => installation.uninstalled = Some(self.clock),
                _ => {}
            }
        }
        if recorded && request.delete_after {
            self.installations.remove(&request.installation);
        }
        let message = match (succeeded, recorded) {
            (true, true) => format!("{} succeeded", request.action),
            (true, false) => "the sensitive output cannot be stored".to_owned(),
            (false, _) => format!("{} failed", request.action),
        };
        Exit { code: i32::from(!recorded), message }
    }

    /// The installations of which a record is kept.
    pub fn installations(&self) -> impl Iterator<Item = &Identity> {
        self.installations.keys()
    }

    /// Whether the record says that it is installed.
    pub fn is_installed(&self, installation: &Identity) -> bool {
        self.installations.get(installation).is_some_and(Installation::is_installed)
    }

    /// All records, as `porter installation list` and `runs list` tell of them.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.installations.iter().map(|(identity, installation)| Record {
            identity,
            installed: installation.installed,
            uninstalled: installation.uninstalled,
            credential_sets: &installation.document.credential_sets,
            parameter_sets: &installation.document.parameter_sets,
            runs: installation.runs.iter().map(|run| (run.id, run.action.as_str(), run.succeeded)).collect(),
        })
    }

    fn command(&mut self, command: &Command, files: &Files, secrets: &Secrets) -> Decided<Outcome> {
        match command {
            Command::Apply { file, force, dry_run } => {
                let text = files.get(file).ok_or_else(|| format!("{file} not found"))?;
                let document: Document =
                    serde_saphyr::from_str(text).map_err(|error| format!("invalid installation: {error}"))?;
                self.apply(document, *force, *dry_run, secrets)
            }
            Command::Uninstall { identity, delete, reference } => {
                let mut outcome = self.act(identity, "uninstall", reference.as_ref(), secrets)?;
                if let Outcome::Run(run) = &mut outcome {
                    run.delete_after = *delete;
                }
                Ok(outcome)
            }
            Command::Invoke { identity, action } => self.act(identity, action, None, secrets),
            Command::Delete { identity, force } => self.delete(identity, *force),
            Command::Read { identity, outputs } => {
                let installation = self.installations.get(identity).ok_or("Installation not found")?;
                let bundle = self.registry.bundle(&installation.document.bundle.repository);
                if *outputs && bundle.sensitive_output {
                    return Err("failed to resolve the sensitive output".to_owned());
                }
                Ok(done("read"))
            }
            // Read from the outputs of the runs, whether or not there is a record (pkg/porter/logs.go, pkg/storage/
            // installation_store.go, GetLastLogs); none of a run that is not over.
            Command::Logs { identity } => {
                let mut runs = self.installations.get(identity).into_iter().flat_map(|installation| &installation.runs);
                let found = runs.any(|run| run.succeeded.is_some());
                if found { Ok(done("read")) } else { Err("no logs found".to_owned()) }
            }
            Command::List => Ok(done("listed")),
            Command::ApplySet { kind, file } => {
                let text = files.get(file).ok_or_else(|| format!("{file} not found"))?;
                let (identity, set) = read_set(*kind, text)?;
                self.sets_mut(*kind).insert(identity, set);
                Ok(done("set applied"))
            }
            Command::DeleteSet { kind, identity } => {
                let known = self.sets_mut(*kind).remove(identity).is_some();
                Ok(done(if known { "set deleted" } else { "no such set" }))
            }
        }
    }

    fn apply(&mut self, document: Document, force: bool, dry_run: bool, secrets: &Secrets) -> Decided<Outcome> {
        if !document.schema_version.starts_with("1.") {
            return Err("invalid installation: invalid schema version".to_owned());
        }
        if document.name.is_empty() {
            return Err("invalid installation: it has no name".to_owned());
        }
        let identity = (document.namespace.clone().unwrap_or_default(), document.name.clone());
        let known = self.installations.get(&identity).cloned();
        let mut installation = known.clone().unwrap_or_default();
        installation.document = document;
        let installed = installation.is_installed();
        let action = match (installation.document.uninstalled, installed) {
            (true, true) => "uninstall",
            (false, true) => "upgrade",
            (_, false) => "install",
        };
        // All of this must hold even where nothing runs then.
        let digest = self.registry.resolve(&installation.document.bundle, self.version)?;
        let parameters = self.parameters(&installation.document, action, secrets)?;
        self.check_credentials(&installation.document)?;
        if !force && installation.is_in_sync(&digest, &parameters) {
            if known.is_some() && !dry_run {
                self.installations.insert(identity, installation);
            }
            return Ok(done("The installation is already up-to-date"));
        }
        if dry_run {
            return Ok(done("dry run"));
        }
        let document = installation.document.clone();
        self.installations.insert(identity.clone(), installation);
        self.start(identity, document, action, digest, parameters, secrets)
    }

    /// Runs an action with what the record holds, whatever the state.
    fn act(
        &mut self,
        identity: &Identity,
        action: &str,
        named: Option<&Reference>,
        secrets: &Secrets,
    ) -> Decided<Outcome> {
        let installation = self.installations.get(identity).ok_or("Installation not found")?;
        // Where none is named it is the one that ran, and not that of the document (pkg/porter/lifecycle.go,
        // resolveBundleReference).
        let bundle = named.or_else(|| installation.runs.last().map(|run| &run.bundle));
        let bundle = bundle.ok_or("could not load the bundle definition from the installation's last run")?;
        let document = Document { bundle: bundle.clone(), ..installation.document.clone() };
        let digest = self.registry.resolve(&document.bundle, self.version)?;
        let parameters = self.parameters(&document, action, secrets)?;
        self.check_credentials(&document)?;
        self.start(identity.clone(), document, action, digest, parameters, secrets)
    }

    fn start(
        &mut self,
        identity: Identity,
        document: Document,
        action: &str,
        digest: String,
        parameters: BTreeMap<String, Value>,
        secrets: &Secrets,
    ) -> Decided<Outcome> {
        // Only now are the values of credentials looked up.
        for name in &document.credential_sets {
            self.set(SetKind::Credentials, &document, name)?.resolve(secrets)?;
        }
        self.runs += 1;
        let id = self.runs;
        if let Some(installation) = self.installations.get_mut(&identity) {
            installation.runs.push(Run {
                id,
                action: action.to_owned(),
                bundle: document.bundle.clone(),
                digest: digest.clone(),
                parameters: parameters.clone(),
                credential_sets: document.credential_sets.clone(),
                succeeded: None,
            });
        }
        Ok(Outcome::Run(RunRequest {
            id,
            installation: identity,
            action: action.to_owned(),
            bundle: document.bundle,
            digest,
            parameters,
            delete_after: false,
        }))
    }

    fn delete(&mut self, identity: &Identity, force: bool) -> Decided<Outcome> {
        let installation = self.installations.get(identity).ok_or("Installation not found")?;
        let modifying = |run: &&Run| matches!(run.action.as_str(), "install" | "upgrade" | "uninstall");
        let last = installation.runs.iter().rev().find(modifying);
        let uninstalled = last.is_some_and(|run| run.action == "uninstall" && run.succeeded == Some(true));
        if !uninstalled && !force {
            return Err(
                "it is unsafe to delete an installation when the last action wasn't a successful uninstall".into()
            );
        }
        self.installations.remove(identity);
        Ok(done("deleted"))
    }

    /// The parameters for an action: defaults, then sets in their order, then the document's own.
    fn parameters(&self, document: &Document, action: &str, secrets: &Secrets) -> Decided<BTreeMap<String, Value>> {
        let mut given = BTreeMap::new();
        for name in &document.parameter_sets {
            given.extend(self.set(SetKind::Parameters, document, name)?.resolve(secrets)?);
        }
        let of_sets: Vec<String> = given.keys().cloned().collect();
        given.extend(document.parameters.clone());
        let Some(definitions) = self.registry.bundle(&document.bundle.repository).parameters else {
            return Ok(given.into_iter().map(|(name, value)| (name, normal(value))).collect());
        };
        // Of a set in every version (pkg/porter/parameters.go); of the document only in old ones (recorded:
        // `parameter_unknown`).
        let inline = document.parameters.keys().filter(|_| self.version == Version::V1_0_14);
        if let Some(name) = of_sets.iter().chain(inline).find(|name| !definitions.contains_key(*name)) {
            return Err(format!("parameter {name} is not defined in the bundle"));
        }
        let mut parameters = BTreeMap::new();
        for (name, definition) in &definitions {
            if !definition.apply_to.is_empty() && !definition.apply_to.iter().any(|known| known == action) {
                continue;
            }
            match given.remove(name).or_else(|| definition.default.clone()) {
                Some(value) => {
                    parameters.insert(name.clone(), typed(name, &definition.r#type, value)?);
                }
                None if definition.required => return Err(format!("parameter {name} is required")),
                None => {}
            }
        }
        Ok(parameters)
    }

    fn check_credentials(&self, document: &Document) -> Decided<()> {
        let mut given = BTreeSet::new();
        for name in &document.credential_sets {
            given.extend(self.set(SetKind::Credentials, document, name)?.names().cloned());
        }
        let bundle = self.registry.bundle(&document.bundle.repository);
        match bundle.required_credentials.iter().find(|name| !given.contains(*name)) {
            Some(name) => Err(format!("credential {name} is required")),
            None => Ok(()),
        }
    }

    /// A set: of the installation's namespace, else the global one.
    fn set(&self, kind: SetKind, document: &Document, name: &str) -> Decided<&Set> {
        let sets = match kind {
            SetKind::Credentials => &self.credential_sets,
            SetKind::Parameters => &self.parameter_sets,
        };
        let namespace = document.namespace.clone().unwrap_or_default();
        let found =
            [namespace, String::new()].into_iter().find_map(|namespace| sets.get(&(namespace, name.to_owned())));
        found.ok_or_else(|| format!("set {name} not found"))
    }

    fn sets_mut(&mut self, kind: SetKind) -> &mut BTreeMap<Identity, Set> {
        match kind {
            SetKind::Credentials => &mut self.credential_sets,
            SetKind::Parameters => &mut self.parameter_sets,
        }
    }
}

impl Installation {
    fn is_uninstalled(&self) -> bool {
        self.uninstalled > self.installed
    }

    fn is_installed(&self) -> bool {
        self.installed.is_some() && !self.is_uninstalled()
    }

    fn is_in_sync(&self, digest: &str, parameters: &BTreeMap<String, Value>) -> bool {
        if self.is_uninstalled() {
            return true;
        }
        if self.document.uninstalled {
            return !self.is_installed();
        }
        if !self.is_installed() {
            return false;
        }
        // Of the last run, however it ended.
        self.runs.last().is_some_and(|run| {
            run.digest == digest
                && run.parameters == *parameters
                && run.credential_sets == self.document.credential_sets
        })
    }
}

fn done(message: &str) -> Outcome {
    Outcome::Exit(Exit { code: 0, message: message.to_owned() })
}
