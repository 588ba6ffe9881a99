//! A real porter CLI in the place of the simulated one, for whoever has what it needs.
//!
//! | variable | what it names |
//! |---|---|
//! | `PORTER` | the CLI; setting it chooses it |
//! | `PORTER_STORAGE` | a MongoDB, as `mongodb://host:port`; each database of a runner gets a name of its own there |
//! | `PORTER_REGISTRY` | a registry, as `host:port` or `host:port/path`, that is put before each bundle's repository; without it the repositories are taken as they are |
//!
//! The bundles that the documents name are pushed to that registry by whoever begins to play first, unless their tags are
//! there: `example.test/mysql:v0.1.0` as `PORTER_REGISTRY/example.test/mysql:v0.1.0`, and `example.test/db:v0.1.0`. Who pushes
//! them oneself, or has a registry that asks who one is: the images never run, so any will do; `bundles.rs` lists the
//! parameters, credentials and custom actions that they must declare; nothing may be required, each parameter needs a
//! default, and no action may have to leave an output.
//!
//! Still played are the pod, and the bundle's container: Porter runs it with a CNAB command driver of ours, a shell script
//! that hands the operation over and waits for its result. Secrets come from Porter's `filesystem` plugin, which finds what
//! the Kubernetes plugin would find, as they were when the command began.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::bundles;
use crate::porter_model::{Files, Identity, Reference, Registry, Secrets, secret_name};

/// The driver's name for Porter; its script is `cnab-` and that.
const DRIVER: &str = "simulated-runner";
/// Hands the operation over in one step, and waits for the exit code that comes back so, or for the end of who would give it.
const SCRIPT: &str = r#"#!/bin/sh
if [ "$1" = "--handles" ]; then echo oci,docker; exit 0; fi
folder=$(dirname "$0")
cat > "$folder/operation.part" && mv "$folder/operation.part" "$folder/operation"
while [ ! -f "$folder/result" ]; do
  [ -d "$folder" ] || exit 1
  sleep 0.1
done
code=$(cat "$folder/result")
rm "$folder/result"
exit "$code"
"#;
/// A registry where nothing listens.
const NOWHERE: &str = "localhost:1";
const POLL: Duration = Duration::from_millis(50);

/// The CLI, and where it keeps its records.
#[derive(Debug)]
pub(crate) struct RealPorter {
    binary: PathBuf,
    storage: String,
    registry: Option<String>,
    /// Begins the names of the databases.
    run: String,
    /// What the documents named last, by database and identity; of an image the repository can only be guessed.
    bundles: Mutex<BTreeMap<(usize, Identity), Reference>>,
    /// The keys of secrets that sets named; the plugin finds them by key, Kubernetes by another name.
    keys: Mutex<BTreeSet<String>>,
}

/// What Porter asks of the driver.
#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    environment: BTreeMap<String, String>,
    pub(crate) action: String,
    #[serde(default)]
    pub(crate) parameters: BTreeMap<String, Value>,
    pub(crate) image: Image,
}

impl Operation {
    /// Which installation it is of. Its own field for that holds the name alone, or the namespace before it, by the version.
    pub(crate) fn installation(&self) -> Identity {
        let of = |name: &str| self.environment.get(name).cloned().unwrap_or_default();
        (of("PORTER_INSTALLATION_NAMESPACE"), of("PORTER_INSTALLATION_NAME"))
    }
}

/// The bundle's image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Image {
    image: String,
    #[serde(default)]
    pub(crate) content_digest: String,
}

/// A command that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    folder: TempDir,
}

/// What a command comes to next.
#[derive(Debug)]
pub(crate) enum Next {
    Action(Operation),
    Exit(i32),
}

impl RealPorter {
    /// # Errors
    /// When `PORTER` is set and the rest is not.
    pub(crate) fn from_environment() -> Result<Option<Self>> {
        let Some(binary) = std::env::var_os("PORTER") else { return Ok(None) };
        let storage = std::env::var("PORTER_STORAGE");
        let storage = storage.context("PORTER is set: set PORTER_STORAGE to a mongodb://host:port too")?;
        Ok(Some(Self::new(binary.into(), storage, std::env::var("PORTER_REGISTRY").ok())))
    }

    fn new(binary: PathBuf, storage: String, registry: Option<String>) -> Self {
        let run = format!("e2e-{}-{}", std::process::id(), Timestamp::now().as_nanosecond());
        Self { binary, storage, registry, run, bundles: Mutex::default(), keys: Mutex::default() }
    }

    /// Sees to it that the bundles of the tests can be pulled.
    ///
    /// # Errors
    /// When the registry has them not and takes them not.
    pub(crate) async fn prepare(&self) -> Result<()> {
        /// One process asks once.
        static PUBLISHED: OnceCell<()> = OnceCell::const_new();
        match &self.registry {
            Some(registry) => PUBLISHED.get_or_try_init(|| bundles::publish(registry)).await.copied(),
            None => Ok(()),
        }
    }

    /// Begins `porter <arguments>` in a folder with the files, and a home as fresh as an agent's.
    pub(crate) fn begin(
        &self,
        database: usize,
        arguments: &[String],
        files: &Files,
        secrets: &Secrets,
        registry: &Registry,
    ) -> Result<Running> {
        let folder = tempfile::Builder::new().prefix("simulated-runner-").tempdir()?;
        let (home, work) = (self.home(folder.path(), database)?, folder.path().join("work"));
        std::fs::create_dir_all(&work)?;
        for (name, text) in files {
            std::fs::write(work.join(name), self.relocated(text, registry)?)?;
        }
        self.write_secrets(&home.join("secrets"), files, secrets)?;
        let script = folder.path().join(format!("cnab-{DRIVER}"));
        std::fs::write(&script, SCRIPT)?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let mut path = folder.path().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let child = Command::new(&self.binary)
            .args(self.relocated_arguments(arguments, registry))
            .current_dir(work)
            .env("PORTER_HOME", &home)
            // Porter would take it for its setting `storage`.
            .env_remove("PORTER_STORAGE")
            .env("PORTER_RUNTIME_DRIVER", DRIVER)
            // Five seconds, unless told otherwise; tests ask much of a machine.
            .env("PORTER_PLUGIN_START_TIMEOUT", "60s")
            .env("PATH", path)
            .stdin(Stdio::null())
            // It may tell values.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("PORTER={} does not start", self.binary.display()))?;
        Ok(Running { child, folder })
    }

    /// The installations of which a record is kept, each with whether it is installed.
    pub(crate) fn installations(&self, database: usize) -> Result<Vec<(Identity, bool)>> {
        #[derive(Deserialize)]
        struct Listed {
            name: String,
            #[serde(default)]
            namespace: String,
            #[serde(rename = "_calculated", default)]
            calculated: Calculated,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Calculated {
            display_installation_state: String,
        }
        let folder = tempfile::Builder::new().prefix("simulated-runner-").tempdir()?;
        let output = std::process::Command::new(&self.binary)
            .args(["installation", "list", "--all-namespaces", "--output", "json"])
            .env("PORTER_HOME", self.home(folder.path(), database)?)
            .env_remove("PORTER_STORAGE")
            .output()?;
        ensure!(output.status.success(), "porter installation list: {}", output.status);
        let listed: Vec<Listed> = serde_json::from_slice(&output.stdout).context("porter installation list")?;
        let told = |one: Listed| ((one.namespace, one.name), one.calculated.display_installation_state == "installed");
        Ok(listed.into_iter().map(told).collect())
    }

    /// The bundle of an operation, as the document names it, or the last one did.
    pub(crate) fn bundle(
        &self,
        database: usize,
        identity: &Identity,
        named: Option<Reference>,
        image: &Image,
    ) -> Reference {
        let mut bundles = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (database, identity.clone());
        if let Some(named) = named {
            bundles.insert(key, named.clone());
            return named;
        }
        let guessed = || Reference { repository: self.repository(image), ..Reference::default() };
        bundles.get(&key).cloned().unwrap_or_else(guessed)
    }

    /// The repository, as documents name it, of a bundle's image that Porter left where it was pulled from.
    fn repository(&self, image: &Image) -> String {
        let image = image.image.split('@').next().unwrap_or_default();
        let name = image.rfind('/').map_or(0, |slash| slash + 1);
        let end = image.get(name..).and_then(|name| name.find(':')).map_or(image.len(), |colon| name + colon);
        let repository = image.get(..end).unwrap_or_default();
        let prefix = self.registry.as_deref().map(|registry| format!("{registry}/")).unwrap_or_default();
        repository.strip_prefix(&prefix).unwrap_or(repository).to_owned()
    }

    fn home(&self, folder: &Path, database: usize) -> Result<PathBuf> {
        let home = folder.join("home");
        std::fs::create_dir_all(&home)?;
        let config = json!({
            "default-storage": "runner",
            "storage": [{
                "name": "runner", "plugin": "mongodb",
                "config": {
                    "url": format!("{}/{}-{database}", self.storage.trim_end_matches('/'), self.run),
                    // Ten, unless told otherwise; what only looks like a MongoDB can take longer.
                    "timeout": 60,
                },
            }],
            "default-secrets-plugin": "filesystem",
        });
        // JSON is YAML.
        std::fs::write(home.join("config.yaml"), config.to_string())?;
        Ok(home)
    }

    /// A document whose bundle is where it can be pulled, or cannot when it was taken from the registry; any other text as
    /// it is.
    fn relocated(&self, text: &str, registry: &Registry) -> Result<String> {
        let Ok(mut document) = serde_saphyr::from_str::<Value>(text) else { return Ok(text.to_owned()) };
        let repository = match document.pointer_mut("/bundle/repository") {
            Some(Value::String(repository)) if !repository.is_empty() => repository,
            _ => return Ok(text.to_owned()),
        };
        *repository = match self.prefix(registry.lacks(repository)) {
            None => return Ok(text.to_owned()),
            Some(prefix) => format!("{prefix}/{repository}"),
        };
        Ok(serde_json::to_string(&document)?)
    }

    /// Where a bundle is looked for that a command names by `--reference`.
    fn relocated_arguments(&self, arguments: &[String], registry: &Registry) -> Vec<String> {
        let mut relocated = arguments.to_vec();
        let named = arguments.iter().position(|argument| argument == "--reference");
        if let Some(reference) = named.and_then(|flag| relocated.get_mut(flag + 1))
            && let Some(prefix) = self.prefix(registry.lacks(&Reference::of_text(reference).repository))
        {
            *reference = format!("{prefix}/{reference}");
        }
        relocated
    }

    /// What is put before a repository.
    fn prefix(&self, removed: bool) -> Option<String> {
        match (self.registry.as_deref(), removed) {
            (None, false) => None,
            (Some(place), false) => Some(place.to_owned()),
            (place, true) => Some(format!("{}/removed", place.unwrap_or(NOWHERE))),
        }
    }

    /// Writes a file for each key that a set has named so far.
    fn write_secrets(&self, folder: &Path, files: &Files, secrets: &Secrets) -> Result<()> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for document in files.values().filter_map(|text| serde_saphyr::from_str::<Value>(text).ok()) {
            let entries = ["credentials", "parameters"].into_iter().filter_map(|field| document[field].as_array());
            let named = entries.flatten().filter_map(|entry| entry["source"]["secret"].as_str());
            keys.extend(named.map(str::to_owned));
        }
        std::fs::create_dir_all(folder)?;
        for key in keys.iter() {
            if let Some(value) = secrets.get(&secret_name(key)) {
                std::fs::write(folder.join(key), value)?;
            }
        }
        Ok(())
    }
}

impl Running {
    /// Waits for the bundle's action, or the end.
    pub(crate) async fn next(&mut self) -> Result<Next> {
        let operation = self.folder.path().join("operation");
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Next::Exit(status.code().unwrap_or(1)));
            }
            if operation.exists() {
                let text = std::fs::read(&operation)?;
                std::fs::remove_file(&operation)?;
                return Ok(Next::Action(serde_json::from_slice(&text).context("the operation of a bundle")?));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Tells Porter how the bundle's action ended.
    pub(crate) fn finish(&self, succeeded: bool) -> Result<()> {
        let part = self.folder.path().join("result.part");
        std::fs::write(&part, if succeeded { "0" } else { "1" })?;
        std::fs::rename(&part, self.folder.path().join("result"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that does what Porter does around a bundle's action: finds the driver, asks it, passes its result on.
    const PORTER: &str = r#"#!/bin/sh
test "$PORTER_RUNTIME_DRIVER" = simulated-runner || exit 11
test "$(cnab-simulated-runner --handles)" = oci,docker || exit 12
grep -q '"url":"mongodb://db:1/e2e-' "$PORTER_HOME/config.yaml" || exit 13
grep -q '"repository":"reg:5000/example.test/mysql"' "$3" || exit 14
test "$(cat "$PORTER_HOME/secrets/My_Key")" = hunter2 || exit 15
test "$4" = --nothing && exit 0
echo '{"installation_name": "dev/mysql", "action": "install", "parameters": {"size": 2}, "Bundle": {},
       "environment": {"PORTER_INSTALLATION_NAMESPACE": "dev", "PORTER_INSTALLATION_NAME": "mysql"},
       "image": {"image": "reg:5000/example.test/mysql@sha256:00", "contentDigest": "sha256:00"}}' | cnab-simulated-runner
"#;

    #[tokio::test]
    async fn an_action_is_handed_over_and_its_result_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("porter");
        std::fs::write(&binary, PORTER).unwrap();
        std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let porter = RealPorter::new(binary, "mongodb://db:1/".to_owned(), Some("reg:5000".to_owned()));
        let secrets = Secrets::from([("my-key".to_owned(), "hunter2".to_owned())]);
        let files = Files::from([
            ("set.yaml".to_owned(), "credentials: [{name: token, source: {secret: My_Key}}]".to_owned()),
            ("installation.yaml".to_owned(), "{name: mysql, bundle: {repository: example.test/mysql}}".to_owned()),
        ]);
        for (flag, succeeds, code) in [("--nothing", None, 0), ("--run", Some(true), 0), ("--run", Some(false), 1)] {
            let arguments = ["installation", "apply", "installation.yaml", flag].map(str::to_owned);
            let mut running = porter.begin(7, &arguments, &files, &secrets, &Registry::default()).unwrap();
            if let Some(succeeds) = succeeds {
                let Next::Action(operation) = running.next().await.unwrap() else { panic!("no action") };
                assert_eq!(operation.installation(), ("dev".to_owned(), "mysql".to_owned()));
                assert_eq!(operation.action, "install");
                assert_eq!(operation.parameters["size"], 2);
                assert_eq!(porter.repository(&operation.image), "example.test/mysql");
                running.finish(succeeds).unwrap();
            }
            assert!(matches!(running.next().await.unwrap(), Next::Exit(exit) if exit == code), "{flag} {succeeds:?}");
        }
    }
}
