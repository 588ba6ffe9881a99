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

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

/// Porter's namespace and the name there.
pub type Identity = (String, String);

/// The values of secrets by name, as Porter's secrets plugin finds them.
pub type Secrets = BTreeMap<String, String>;

/// The files in the folder that Porter runs in.
pub type Files = BTreeMap<String, String>;

/// The version of the CLI that runs a command.
///
/// The versions differ in how they read a tag (recorded: `tag_moved`, `tag_to_same_digest`, `uninstall_bundle_gone`) and
/// in what they make of a parameter that the bundle does not define (recorded: `parameter_unknown`); in nothing else of
/// what was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Takes tags as they are, and refuses unknown parameters.
    V1_0_14,
    /// Puts a `v` before any tag but `latest`.
    V1_2_1,
    /// Puts a `v` before a tag that is a version.
    #[default]
    V1_6_1,
}

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Self; 3] = [Self::V1_0_14, Self::V1_2_1, Self::V1_6_1];

    /// As Porter's tags and images are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_0_14 => "v1.0.14",
            Self::V1_2_1 => "v1.2.1",
            Self::V1_6_1 => "v1.6.1",
        }
    }

    /// The one whose ways an agent's image has: the newest that is not newer than its tag. An image without a version
    /// is taken for the newest.
    pub fn of_image(image: &str) -> Self {
        let tag = image.rsplit_once(':').map(|(_, tag)| tag.trim_start_matches('v')).unwrap_or_default();
        let mut numbers = tag.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
        let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return Self::default() };
        let patch = numbers.next().unwrap_or_default();
        match (major, minor, patch) {
            // `ensureVPrefix` came with v1.0.16, and was narrowed with v1.3.0 (pkg/porter/lifecycle.go).
            version if version < (1, 0, 16) => Self::V1_0_14,
            version if version < (1, 3, 0) => Self::V1_2_1,
            _ => Self::V1_6_1,
        }
    }

    /// The tag that is pulled for a tag.
    fn pulled(self, tag: &str) -> String {
        let version_like = tag.starts_with(|c: char| c.is_ascii_digit()) && tag.contains('.');
        let prefixed = match self {
            Self::V1_0_14 => false,
            Self::V1_2_1 => tag != "latest" && !tag.starts_with('v'),
            Self::V1_6_1 => version_like,
        };
        if prefixed { format!("v{tag}") } else { tag.to_owned() }
    }
}

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

/// The bundles and tags of all repositories.
///
/// A repository that nobody described holds a bundle that takes any parameter, at any version, tag and digest.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    bundles: BTreeMap<String, Bundle>,
    missing: BTreeSet<String>,
    /// Where only the tags that were set can be pulled.
    closed: BTreeSet<String>,
    tags: BTreeMap<(String, String), Option<String>>,
}

/// What a bundle definition says that matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Bundle {
    /// The parameters; none means that any name and value is taken as it is.
    pub parameters: Option<BTreeMap<String, Parameter>>,
    /// The credentials without which no action runs.
    pub required_credentials: Vec<String>,
    /// It has a sensitive output, and no secret store can be written: each run fails after the action was done.
    pub sensitive_output: bool,
}

/// A parameter of a bundle.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Parameter {
    /// `integer`, `number`, `boolean`, `string` or, when empty, anything.
    pub r#type: String,
    /// Its value when nobody gives one.
    pub default: Option<Value>,
    /// Whether somebody must.
    pub required: bool,
    /// The actions that it is for; empty means all.
    pub apply_to: Vec<String>,
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

#[derive(Clone, Debug, Default)]
struct Set(BTreeMap<String, Source>);

#[derive(Clone, Debug)]
enum Source {
    Secret(String),
    Value(Value),
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

/// How a document names a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// The repository, without version, tag and digest.
    pub repository: String,
    /// A version; its tag has a `v` before it.
    pub version: String,
    /// A tag.
    pub tag: String,
    /// A digest; wins over the others.
    pub digest: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tag() {
            _ if !self.digest.is_empty() => write!(f, "{}@{}", self.repository, self.digest),
            Some(tag) => write!(f, "{}:{tag}", self.repository),
            None => f.write_str(&self.repository),
        }
    }
}

impl Reference {
    /// Of `repository:tag` or `repository@digest`.
    pub(crate) fn of_text(text: &str) -> Self {
        let (named, digest) = text.split_once('@').unwrap_or((text, ""));
        let path = named.rfind('/').map_or(0, |slash| slash + 1);
        let colon = named.get(path..).and_then(|last| last.find(':')).map_or(named.len(), |colon| path + colon);
        let (repository, tag) = named.split_at(colon);
        Self {
            repository: repository.to_owned(),
            tag: tag.trim_start_matches(':').to_owned(),
            digest: digest.to_owned(),
            ..Self::default()
        }
    }

    fn tag(&self) -> Option<String> {
        match (self.version.as_str(), self.tag.as_str()) {
            ("", "") => None,
            ("", tag) => Some(tag.to_owned()),
            (version, _) => Some(format!("v{}", version.trim_start_matches('v'))),
        }
    }
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
            given.extend(self.set(SetKind::Credentials, document, name)?.0.keys().cloned());
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

impl Registry {
    /// Describes the bundle of a repository.
    pub fn define(&mut self, repository: &str, bundle: Bundle) {
        self.missing.remove(repository);
        self.bundles.insert(repository.to_owned(), bundle);
    }

    /// Nothing can be pulled from the repository any more.
    pub fn remove(&mut self, repository: &str) {
        self.missing.insert(repository.to_owned());
    }

    /// From now on the repository has the tags that [`Registry::tag`] sets and no others.
    pub fn close(&mut self, repository: &str) {
        self.closed.insert(repository.to_owned());
    }

    /// Moves a tag to a digest, or takes it away.
    pub fn tag(&mut self, repository: &str, tag: &str, digest: Option<&str>) {
        self.tags.insert((repository.to_owned(), tag.to_owned()), digest.map(str::to_owned));
    }

    pub(crate) fn lacks(&self, repository: &str) -> bool {
        self.missing.contains(repository)
    }

    fn bundle(&self, repository: &str) -> Bundle {
        self.bundles.get(repository).cloned().unwrap_or_default()
    }

    /// The digest that a reference has now.
    fn resolve(&self, reference: &Reference, version: Version) -> Decided<String> {
        let repository = &reference.repository;
        let tag = reference.tag();
        if repository.is_empty() || (tag.is_none() && reference.digest.is_empty()) {
            return Err(format!("{repository} has no version, tag or digest"));
        }
        let missing = || format!("unable to pull bundle {reference}");
        if self.lacks(repository) {
            return Err(missing());
        }
        let Some(tag) = tag.filter(|_| reference.digest.is_empty()) else {
            return Ok(reference.digest.clone());
        };
        let tag = version.pulled(&tag);
        match self.tags.get(&(repository.clone(), tag.clone())) {
            Some(Some(digest)) => Ok(digest.clone()),
            None if !self.closed.contains(repository) => {
                Ok(format!("sha256:{}", hex::encode(Sha256::digest(format!("{repository}:{tag}")))))
            }
            Some(None) | None => Err(missing()),
        }
    }
}

impl Set {
    fn resolve(&self, secrets: &Secrets) -> Decided<BTreeMap<String, Value>> {
        let resolve = |(name, source): (&String, &Source)| {
            let value = match source {
                Source::Value(value) => value.clone(),
                Source::Secret(key) => {
                    let found = secrets.get(&secret_name(key)).cloned();
                    Value::String(found.ok_or_else(|| format!("the secret {key} of {name} was not found"))?)
                }
            };
            Ok((name.clone(), value))
        };
        self.0.iter().map(resolve).collect()
    }
}

/// The name of the Kubernetes Secret that Porter's plugin reads for a key.
pub fn secret_name(key: &str) -> String {
    let clean = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-' { c } else { '-' };
    let name: String = key.to_lowercase().chars().map(clean).collect();
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let name = if edge(name.chars().next()) { name } else { format!("000{}", name.get(1..).unwrap_or_default()) };
    if edge(name.chars().last()) { name } else { format!("{}000", &name[..name.len() - 1]) }
}

fn done(message: &str) -> Outcome {
    Outcome::Exit(Exit { code: 0, message: message.to_owned() })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SetKind {
    Credentials,
    Parameters,
}

fn read_set(kind: SetKind, text: &str) -> Decided<(Identity, Set)> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct SetDocument {
        name: String,
        namespace: Option<String>,
        credentials: Vec<Entry>,
        parameters: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        #[serde(default)]
        source: Map<String, Value>,
    }
    let document: SetDocument = serde_saphyr::from_str(text).map_err(|error| format!("invalid set: {error}"))?;
    let entries = match kind {
        SetKind::Credentials => document.credentials,
        SetKind::Parameters => document.parameters,
    };
    let mut sources = BTreeMap::new();
    for entry in entries {
        let mut source = entry.source.into_iter();
        let source = match (source.next(), source.next()) {
            (Some((key, Value::String(secret))), None) if key == "secret" => Source::Secret(secret),
            (Some((key, value)), None) if key == "value" => Source::Value(value),
            _ => return Err(format!("{}: not a valid source", entry.name)),
        };
        sources.insert(entry.name, source);
    }
    Ok(((document.namespace.unwrap_or_default(), document.name), Set(sources)))
}

/// A value as the type of its parameter; a whole number has one form, however it was written.
fn typed(name: &str, type_: &str, value: Value) -> Decided<Value> {
    let wrong = || format!("parameter {name} is no {type_}");
    let value = normal(value);
    match (type_, &value) {
        ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(value),
        ("integer", Value::String(text)) => text.parse::<i64>().map(Value::from).map_err(|_| wrong()),
        ("number", Value::Number(_)) => Ok(value),
        ("number", Value::String(text)) => text.parse::<f64>().map(|n| normal(n.into())).map_err(|_| wrong()),
        ("boolean", Value::Bool(_)) => Ok(value),
        ("boolean", Value::String(text)) => text.parse::<bool>().map(Value::Bool).map_err(|_| wrong()),
        ("string", Value::String(_)) => Ok(value),
        ("string", Value::Number(_) | Value::Bool(_)) => Ok(Value::String(value.to_string())),
        ("integer" | "number" | "boolean" | "string", _) => Err(wrong()),
        _ => Ok(value),
    }
}

fn normal(value: Value) -> Value {
    match &value {
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
            Some(float) if !number.is_i64() && float.fract() == 0.0 && float.abs() < 9.0e15 => {
                Value::Number(Number::from(float as i64))
            }
            _ => value,
        },
        _ => value,
    }
}

/// A command line of Porter that is understood here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
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
    fn parse(arguments: &[String]) -> Decided<Self> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RECORDED: &str = include_str!("../tests/porter-recorded.json");
    const MYSQL: &str = "registry.test/example/mysql";

    /// The registry that the recordings were made with.
    fn recorded_registry() -> Registry {
        let size = json!({"type": "integer", "default": 1});
        let usual = json!({"size": size, "label": {"type": "string", "default": "none"}});
        let mut strict = usual.clone();
        strict["must"] = json!({"type": "string", "required": true});
        let late = json!({"size": size, "late": {"type": "string", "default": "l", "applyTo": ["upgrade"]}});
        let mut registry = Registry::default();
        for (name, bundle) in [
            ("mysql", json!({"parameters": usual})),
            ("strict", json!({"parameters": strict})),
            ("secretive", json!({"parameters": usual, "requiredCredentials": ["token"]})),
            ("applyto", json!({"parameters": late})),
            ("outputs", json!({"parameters": usual, "sensitiveOutput": true})),
        ] {
            registry.define(&format!("registry.test/example/{name}"), serde_json::from_value(bundle).unwrap());
        }
        registry.remove("registry.test/example/nosuch");
        let one = "sha256:b5774aff7edeb6036978a2a14a92445a3ce307260b0e5e8461de8948a4c1c0b5";
        registry.tag(MYSQL, "one", Some(one));
        // Tags with a `v` are versions.
        registry.close(MYSQL);
        for (tag, digit) in [("v0.1.0", "1"), ("v0.2.0", "3"), ("moving", "4"), ("gone", "5")] {
            registry.tag(MYSQL, tag, Some(&format!("sha256:{}", digit.repeat(64))));
        }
        registry
    }

    fn document(patch: &Value) -> Value {
        let mut document = json!({
            "schemaVersion": "1.0.2", "name": "mysql", "namespace": "NS",
            "bundle": {"repository": MYSQL, "version": "0.1.0"},
        });
        for (key, value) in patch.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        document
    }

    /// What the message of each recorded reason to fail holds.
    fn told(why: &str) -> &'static str {
        match why {
            "not found in registry" => "unable to pull bundle",
            "unsafe" => "it is unsafe to delete",
            "no installation" => "Installation not found",
            "no set" => "set ",
            "required parameter" => "parameter must is required",
            "wrong type" => "parameter size is no integer",
            "unknown parameter" => "parameter nosuch is not defined",
            "required credential" => "credential token is required",
            "bundle failed" => " failed",
            "no reference" => "has no version, tag or digest",
            "schema version" => "invalid schema version",
            "sensitive output" => "sensitive output",
            other => panic!("{other} is no reason"),
        }
    }

    #[test]
    fn decides_as_recorded() {
        let scenarios: Map<String, Value> = serde_json::from_str(RECORDED).unwrap();
        let (mut steps_of_all, mut other_ways) = (0, 0);
        for version in Version::ALL {
            for (scenario, steps) in &scenarios {
                let mut porter = Porter { version, registry: recorded_registry(), ..Porter::default() };
                let mut succeeds = true;
                for (number, step) in steps.as_array().unwrap().iter().enumerate() {
                    if let Some(next) = step.get("next") {
                        succeeds = next == "ok";
                        continue;
                    }
                    if let Some(tag) = step.get("tag") {
                        porter.registry.tag(MYSQL, tag.as_str().unwrap(), step["at"].as_str());
                        continue;
                    }
                    let mut files =
                        Files::from([("installation.yaml".to_owned(), document(&step["with"]).to_string())]);
                    let arguments: Vec<String> = step["run"].as_str().unwrap().split(' ').map(str::to_owned).collect();
                    if let Some(name) = step.get("set") {
                        let entries = step["entries"].as_object().unwrap().iter();
                        let entries: Vec<_> =
                            entries.map(|(name, value)| json!({"name": name, "source": {"value": value}})).collect();
                        let set = json!({"name": name, "namespace": "NS", &arguments[0]: entries});
                        files.insert(arguments[2].clone(), set.to_string());
                    }
                    let (exit, ran, parameters) = match porter.begin(&arguments, &files, &Secrets::new()) {
                        Outcome::Exit(exit) => (exit, Value::Null, Value::Null),
                        Outcome::Run(run) => (porter.finish(&run, succeeds), json!(run.action), json!(run.parameters)),
                    };
                    let way = step.get(version.name());
                    let recorded = |field: &str| way.unwrap_or(step).get(field).cloned().unwrap_or_default();
                    let place = format!("{} {scenario}, step {number}: {step}: {}", version.name(), exit.message);
                    let came_to = (json!(exit.code), ran, parameters);
                    assert_eq!(came_to, (recorded("exit"), recorded("ran"), recorded("parameters")), "{place}");
                    let why = recorded("why");
                    assert_eq!(why.is_null(), exit.code == 0, "{place}");
                    assert!(why.as_str().is_none_or(|why| exit.message.contains(told(why))), "{place}");
                    steps_of_all += 1;
                    other_ways += usize::from(way.is_some());
                }
            }
        }
        assert_eq!((scenarios.len(), steps_of_all, other_ways), (54, 3 * 140, 7), "nothing recorded is left out");
    }

    /// What a controller can conclude absence from (pkg/porter/{show,logs,list,delete,uninstall}.go of v1.6.1 and v1.0.14):
    /// nothing succeeds only where there is no record.
    #[test]
    fn commands_that_tell_of_a_record() {
        let commands = [
            "installation show mysql --namespace NS",
            "installation logs show --installation mysql --namespace NS",
            "installation list --namespace NS",
            "installation delete mysql --namespace NS",
        ];
        let files = Files::from([("installation.yaml".to_owned(), document(&json!({})).to_string())]);
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let exits = |porter: &mut Porter| {
            commands.map(|command| match porter.begin(&words(command), &Files::new(), &Secrets::new()) {
                Outcome::Exit(exit) => exit.code,
                Outcome::Run(run) => panic!("{run:?}"),
            })
        };
        let mut porter = Porter { registry: recorded_registry(), ..Porter::default() };
        assert_eq!(exits(&mut porter), [1, 1, 0, 1], "there is no record");
        let apply = words("installation apply installation.yaml");
        let Outcome::Run(run) = porter.begin(&apply, &files, &Secrets::new()) else { panic!("it runs") };
        assert_eq!(exits(&mut porter), [0, 1, 0, 1], "its first run is on");
        porter.finish(&run, false);
        assert_eq!(exits(&mut porter), [0, 0, 0, 1], "its install failed");
    }

    #[test]
    fn the_version_of_an_image() {
        let table = [
            ("ghcr.io/getporter/porter-agent:v1.0.14", Version::V1_0_14),
            ("ghcr.io/getporter/porter-agent:v1.0.15", Version::V1_0_14),
            ("ghcr.io/getporter/porter-agent:v1.0.16", Version::V1_2_1),
            ("ghcr.io/getporter/porter-agent:v1.2.3", Version::V1_2_1),
            ("localhost:5000/porter-agent:v1.3.0", Version::V1_6_1),
            ("ghcr.io/getporter/porter-agent:latest", Version::V1_6_1),
            ("ghcr.io/getporter/porter-agent@sha256:00", Version::V1_6_1),
            ("porter-agent", Version::V1_6_1),
        ];
        for (image, version) in table {
            assert_eq!(Version::of_image(image), version, "{image}");
        }
    }

    #[test]
    fn the_tag_that_is_pulled() {
        let table = [
            ("moving", ["moving", "vmoving", "moving"]),
            ("latest", ["latest", "latest", "latest"]),
            ("v0.1.0", ["v0.1.0", "v0.1.0", "v0.1.0"]),
            ("0.1.0", ["0.1.0", "v0.1.0", "v0.1.0"]),
            ("2024", ["2024", "v2024", "2024"]),
        ];
        for (tag, pulled) in table {
            assert_eq!(Version::ALL.map(|version| version.pulled(tag)), pulled, "{tag}");
        }
    }

    #[test]
    fn a_set_with_an_unknown_parameter_is_refused_in_every_version() {
        let set = "name: ps\nnamespace: NS\nparameters:\n- name: nosuch\n  source: {value: x}\n";
        let document = document(&json!({"parameterSets": ["ps"]})).to_string();
        for version in Version::ALL {
            let mut porter = Porter { version, registry: recorded_registry(), ..Porter::default() };
            for (command, text, code) in
                [("parameters apply f.yaml", set, 0), ("installation apply f.yaml", document.as_str(), 1)]
            {
                let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
                let files = Files::from([("f.yaml".to_owned(), text.to_owned())]);
                match porter.begin(&arguments, &files, &Secrets::new()) {
                    Outcome::Exit(exit) => assert_eq!(exit.code, code, "{version:?} {command}"),
                    Outcome::Run(run) => panic!("{version:?}: {} ran", run.action),
                }
            }
        }
    }

    #[test]
    fn sequences() {
        // What was tried by hand on the real operator and the real porter: command, whether a bundle action succeeds,
        // exit code, action that ran.
        let up = json!({});
        let down = json!({"uninstalled": true});
        let apply = "installation apply installation.yaml";
        let force = "installation apply installation.yaml --force";
        let uninstall = "installation uninstall mysql --namespace NS";
        let delete = "installation delete mysql --namespace NS";
        type Step<'a> = (&'a str, &'a Value, bool, i32, &'a str);
        let table: &[(&str, &[Step<'_>])] = &[
            (
                "keep_record_failed_reinstall",
                &[
                    (apply, &up, true, 0, "install"),
                    (apply, &down, true, 0, "uninstall"),
                    (apply, &up, true, 0, ""),
                    (force, &up, false, 1, "install"),
                    (apply, &up, true, 0, ""),
                    (apply, &down, true, 0, ""),
                    (delete, &down, true, 1, ""),
                    (uninstall, &down, true, 0, "uninstall"),
                    (delete, &down, true, 0, ""),
                ],
            ),
            (
                "stale_action_after_record",
                &[
                    (apply, &up, true, 0, "install"),
                    (apply, &down, true, 0, "uninstall"),
                    (delete, &down, true, 0, ""),
                    (delete, &down, true, 1, ""),
                    (apply, &down, true, 0, ""),
                    (apply, &up, true, 0, "install"),
                ],
            ),
            (
                "uninstall_runs_each_time",
                &[
                    (apply, &up, true, 0, "install"),
                    (uninstall, &down, true, 0, "uninstall"),
                    (uninstall, &down, true, 0, "uninstall"),
                ],
            ),
        ];
        for (name, steps) in table {
            let mut porter = Porter::default();
            for (number, (command, patch, succeeds, code, action)) in steps.iter().enumerate() {
                let files = Files::from([("installation.yaml".to_owned(), document(patch).to_string())]);
                let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
                let (exit, ran) = match porter.begin(&arguments, &files, &Secrets::new()) {
                    Outcome::Exit(exit) => (exit, String::new()),
                    Outcome::Run(run) => (porter.finish(&run, *succeeds), run.action),
                };
                assert_eq!((exit.code, ran.as_str()), (*code, *action), "{name}, step {number}: {}", exit.message);
            }
        }
    }

    #[test]
    fn a_new_spec_during_an_uninstall_is_up_to_date() {
        let mut porter = Porter::default();
        let files = |patch: &Value| Files::from([("installation.yaml".to_owned(), document(patch).to_string())]);
        let arguments = ["installation", "apply", "installation.yaml"].map(str::to_owned);
        let secrets = Secrets::new();
        let Outcome::Run(install) = porter.begin(&arguments, &files(&json!({})), &secrets) else {
            panic!("no install")
        };
        porter.finish(&install, true);
        let down = files(&json!({"uninstalled": true}));
        let Outcome::Run(uninstall) = porter.begin(&arguments, &down, &secrets) else { panic!("no uninstall") };
        assert!(
            matches!(porter.begin(&arguments, &files(&json!({})), &secrets), Outcome::Exit(exit) if exit.code == 0)
        );
        assert_eq!(porter.finish(&uninstall, true).code, 0);
        assert!(!porter.is_installed(&("NS".to_owned(), "mysql".to_owned())));
    }

    #[test]
    fn values_of_secrets() {
        let mut porter = Porter::default();
        let run = |porter: &mut Porter, command: &str, text: &str, secrets: &Secrets| {
            let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
            let files = Files::from([("f.yaml".to_owned(), text.to_owned())]);
            match porter.begin(&arguments, &files, secrets) {
                Outcome::Exit(exit) => (exit.code, String::new()),
                Outcome::Run(run) => (porter.finish(&run, true).code, run.action),
            }
        };
        let set = "name: ps\nnamespace: NS\nparameters:\n- name: size\n  source: {secret: My_Key}\n";
        let document = document(&json!({"parameterSets": ["ps"]})).to_string();
        let secrets = |value: &str| Secrets::from([("my-key".to_owned(), value.to_owned())]);
        let table = [
            ("parameters apply f.yaml", set, Secrets::new(), 0, ""),
            ("installation apply f.yaml", document.as_str(), Secrets::new(), 1, ""),
            ("installation apply f.yaml", &document, secrets("1"), 0, "install"),
            ("installation apply f.yaml", &document, secrets("1"), 0, ""),
            ("installation apply f.yaml", &document, secrets("2"), 0, "upgrade"),
        ];
        for (number, (command, text, secrets, code, action)) in table.into_iter().enumerate() {
            assert_eq!(run(&mut porter, command, text, &secrets), (code, action.to_owned()), "step {number}");
        }
    }
}
