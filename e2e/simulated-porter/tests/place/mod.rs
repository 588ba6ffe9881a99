//! A repository, a directory, the stage of a porter, and the processes that are run with them.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Repository, RepositoryInitOptions, Signature, Time};

const PATIENCE: Duration = Duration::from_secs(240);

/// A file of a commit.
pub(crate) type Document = (String, String);

/// An installation.
#[derive(Clone, Debug)]
pub(crate) struct App {
    name: String,
    version: u32,
    lines: String,
}

impl App {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), version: 0, lines: String::new() }
    }

    pub(crate) fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    pub(crate) fn size(self, size: u32) -> Self {
        self.with(&format!("parameters: {{size: {size}}}"))
    }

    pub(crate) fn label(self, value: &str) -> Self {
        self.with(&format!("labels: {{l: {value}}}"))
    }

    pub(crate) fn comment(self, comment: &str) -> Self {
        self.with(&format!("# {comment}"))
    }

    pub(crate) fn uninstalled(self) -> Self {
        self.with("uninstalled: true")
    }

    pub(crate) fn sets(self) -> Self {
        self.with("credentialSets: [cs]\nparameterSets: [ps]")
    }

    pub(crate) fn parameter_set(self) -> Self {
        self.with("parameterSets: [ps]")
    }

    pub(crate) fn depends_on(self, name: &str) -> Self {
        self.with(&format!("metadata: {{annotations: {{flux.getporter.org/depends-on: {name}}}}}"))
    }

    fn with(mut self, lines: &str) -> Self {
        self.lines.push_str(lines);
        self.lines.push('\n');
        self
    }

    pub(crate) fn file(&self) -> Document {
        let Self { name, version, lines } = self;
        let repository = std::env::var("PORTER_BUNDLES").unwrap_or_else(|_| format!("example.test/{name}"));
        let text = format!(
            "schemaType: Installation\nschemaVersion: 1.0.2\nname: {name}\nnamespace: dev\nbundle:\n  \
             repository: {repository}\n  version: 1.0.{version}\n{lines}"
        );
        (format!("apps/{name}.yaml"), text)
    }
}

/// One installation for each letter.
pub(crate) fn apps(names: &str) -> Vec<Document> {
    names.chars().map(|name| App::new(&name.to_string()).file()).collect()
}

/// A set with one entry.
pub(crate) fn set(kind: &str, name: &str, entry: &str, value: &str) -> Document {
    let (schema_type, source) = match kind {
        "credentials" => ("CredentialSet", "secret"),
        _ => ("ParameterSet", "value"),
    };
    let text = format!(
        "schemaType: {schema_type}\nschemaVersion: 1.0.1\nname: {name}\nnamespace: dev\n{kind}:\n- name: {entry}\n  \
         source: {{{source}: \"{value}\"}}\n"
    );
    (format!("apps/{kind}.yaml"), text)
}

/// Whether a command line of Porter changes something.
pub(crate) fn changes(call: &str) -> bool {
    let reads = ["version", "installation list", "installation runs list"];
    !reads.iter().any(|read| call.starts_with(read))
}

/// What a process came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) done: bool,
    pub(crate) told: Vec<String>,
    pub(crate) log: String,
}

pub(crate) struct Place {
    directory: tempfile::TempDir,
    repository: Repository,
}

impl Place {
    /// With the ways of a version of Porter; of the newest without.
    pub(crate) fn new(version: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("main").external_template(false);
        let repository = Repository::init_opts(directory.path().join("fleet.git"), &options).unwrap();
        let place = Self { directory, repository };
        fs::create_dir_all(place.stage()).unwrap();
        // The secrets that sets of these tests name, where a real porter looks.
        fs::create_dir_all(place.stage().join("home/secrets")).unwrap();
        for secret in ["one", "two"] {
            fs::write(place.stage().join("home/secrets").join(secret), secret).unwrap();
        }
        place.write("version", version);
        place
    }

    pub(crate) fn to(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    fn stage(&self) -> PathBuf {
        self.directory.path().join("stage")
    }

    /// Makes a commit that holds just these files.
    pub(crate) fn commit(&self, files: &[Document]) -> String {
        let parent = self.repository.head().ok().map(|head| head.peel_to_commit().unwrap());
        let mut update = TreeUpdateBuilder::new();
        for (path, content) in files {
            update.upsert(path.as_str(), self.repository.blob(content.as_bytes()).unwrap(), FileMode::Blob);
        }
        let empty = self.repository.treebuilder(None).unwrap().write().unwrap();
        let empty = self.repository.find_tree(empty).unwrap();
        let tree = update.create_updated(&self.repository, &empty).unwrap();
        let tree = self.repository.find_tree(tree).unwrap();
        let author = Signature::new("test", "test@example.org", &Time::new(1_767_225_600, 0)).unwrap();
        let parents: Vec<_> = parent.iter().collect();
        self.repository.commit(Some("HEAD"), &author, &author, "a change", &tree, &parents).unwrap().to_string()
    }

    /// Writes a file of the stage.
    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.stage().join(name), content).unwrap();
    }

    /// Removes a file of the stage, if it is there.
    pub(crate) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.stage().join(name));
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.stage().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// All command lines of Porter.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.lines("calls")
    }

    /// Those that change something.
    pub(crate) fn changing_calls(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| changes(call)).collect()
    }

    /// The bundle actions that were run, in their order.
    pub(crate) fn executions(&self) -> Vec<String> {
        self.lines("executions").iter().filter_map(|line| line.strip_prefix("begin ")).map(str::to_owned).collect()
    }

    /// How many bundle actions have begun.
    pub(crate) fn began(&self) -> usize {
        self.executions().len()
    }

    /// How often a bundle action began before the one before it had ended.
    pub(crate) fn overlaps(&self) -> usize {
        let lines = self.lines("executions");
        lines.windows(2).filter(|two| two.iter().all(|line| line.starts_with("begin "))).count()
    }

    /// The installations that Porter has a record of.
    pub(crate) fn held(&self) -> Vec<String> {
        let mut porter = Command::new(env!("CARGO_BIN_EXE_simulated-porter"));
        self.environment(&mut porter);
        let before = fs::read(self.stage().join("calls")).unwrap();
        let output = porter.args(["installation", "list", "--all-namespaces", "--output", "json"]).output().unwrap();
        fs::write(self.stage().join("calls"), before).unwrap();
        let listed: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        let name = |one: &serde_json::Value| format!("{}/{}", one["namespace"], one["name"]).replace('"', "");
        let mut held: Vec<String> = listed.iter().map(name).collect();
        held.sort();
        held
    }

    /// An executable that is a shell script.
    pub(crate) fn script(&self, script: &str) -> String {
        let path = self.directory.path().join("script");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn environment(&self, command: &mut Command) {
        command.env("SIMULATED_PORTER", self.stage());
        if let Ok(storage) = std::env::var("PORTER_STORAGE") {
            let folder = self.directory.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.');
            command.env("PORTER_STORAGE", format!("{}/{folder}", storage.trim_end_matches('/')));
        }
    }

    fn command(&self, more: &[&str]) -> Command {
        // Both lie in target/PROFILE.
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_simulated-porter")).with_file_name("flux-porter");
        assert!(binary.exists(), "no {}: run `cargo build --workspace --bins` first", binary.display());
        let mut command = Command::new(binary);
        self.environment(&mut command);
        command.arg("run").arg("--repo").arg(self.repository.path()).arg("--to").arg(self.to()).args(more);
        command
    }

    fn applying(&self, more: &[&str]) -> Command {
        let mut command = self.command(more);
        command.args(["--apply", "porter", "--porter", env!("CARGO_BIN_EXE_simulated-porter")]);
        command
    }

    /// Runs `flux-porter run --apply porter` to its end.
    pub(crate) fn run(&self, more: &[&str]) -> Ran {
        ended(self.applying(more))
    }

    /// The same without `--apply`.
    pub(crate) fn run_without(&self, more: &[&str]) -> Ran {
        ended(self.command(more))
    }

    /// Begins it.
    pub(crate) fn start(&self, more: &[&str]) -> Process {
        let mut child = self.applying(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let told = lines(child.stdout.take().unwrap());
        let log = lines(child.stderr.take().unwrap());
        Process { child, told, log, logged: RefCell::default() }
    }

    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < end, "not in time: {what}; {:?}", self);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("calls", &self.calls()).field("executions", &self.executions()).finish()
    }
}

fn ended(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    Ran { done: output.status.success(), told, log: String::from_utf8(output.stderr).unwrap() }
}

/// A process that runs; it ends with its owner.
pub(crate) struct Process {
    child: Child,
    told: Receiver<String>,
    log: Receiver<String>,
    logged: RefCell<String>,
}

impl Process {
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let done = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for a line of the log.
    pub(crate) fn logged(&self, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.log.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no line with {wanted:?} in {}", self.logged.borrow()));
            self.logged.borrow_mut().push_str(&format!("{line}\n"));
            if line.contains(wanted) {
                return;
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {}", self.logged.borrow());
            std::thread::sleep(Duration::from_millis(20));
        };
        let log = self.logged.take() + &self.log.iter().collect::<Vec<_>>().join("\n");
        Ran { done: status.success(), told: self.told.iter().collect(), log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}
