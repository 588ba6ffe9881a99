//! `run` against a real repository: what it writes and tells, commit by commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, RepositoryInitOptions, Signature, Time};

const PATIENCE: Duration = Duration::from_secs(60);

/// A bare repository, and a directory beside it.
struct Place {
    directory: tempfile::TempDir,
    repository: Repository,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("main").external_template(false);
        let repository = Repository::init_opts(directory.path().join("fleet.git"), &options).unwrap();
        Self { directory, repository }
    }

    fn to(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    /// A commit whose tree holds just these files.
    fn commit(&self, files: &BTreeMap<String, String>) -> Oid {
        let parent = self.repository.head().ok().map(|head| head.peel_to_commit().unwrap());
        let empty = self.repository.treebuilder(None).unwrap().write().unwrap();
        let mut update = TreeUpdateBuilder::new();
        for (path, content) in files {
            update.upsert(path.as_str(), self.repository.blob(content.as_bytes()).unwrap(), FileMode::Blob);
        }
        let empty = self.repository.find_tree(empty).unwrap();
        let tree = update.create_updated(&self.repository, &empty).unwrap();
        let tree = self.repository.find_tree(tree).unwrap();
        let author = Signature::new("test", "test@example.org", &Time::new(1_767_225_600, 0)).unwrap();
        let parents: Vec<_> = parent.iter().collect();
        self.repository.commit(Some("HEAD"), &author, &author, "a change", &tree, &parents).unwrap()
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flux-porter"));
        command.arg("run").arg("--repo").arg(self.repository.path()).arg("--to").arg(self.to()).args(more);
        command
    }

    fn once(&self) -> (bool, Vec<String>, String) {
        self.once_with(&[])
    }

    fn once_with(&self, more: &[&str]) -> (bool, Vec<String>, String) {
        told(self.command(&[&["--once"], more].concat()).output().unwrap())
    }
}

fn told(output: Output) -> (bool, Vec<String>, String) {
    let actions = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    (output.status.success(), actions, String::from_utf8(output.stderr).unwrap())
}

/// The files below a directory but for the state, by their paths.
fn documents(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for namespace in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        let name = namespace.file_name().into_string().unwrap();
        if name == ".flux-porter" {
            continue;
        }
        for file in fs::read_dir(namespace.path()).unwrap().map(|entry| entry.unwrap()) {
            let path = format!("{name}/{}", file.file_name().into_string().unwrap());
            found.insert(path, fs::read_to_string(file.path()).unwrap());
        }
    }
    found
}

/// An installation of the model.
#[derive(Clone, PartialEq)]
struct App {
    version: u32,
    parameter: Option<u32>,
    uninstalled: bool,
    comment: u32,
}

impl App {
    fn new() -> Self {
        Self { version: 0, parameter: None, uninstalled: false, comment: 0 }
    }

    /// As Porter writes it.
    fn source(&self, name: &str) -> String {
        let Self { version, parameter, uninstalled, comment } = self;
        let uninstalled = if *uninstalled { "uninstalled: true\n" } else { "" };
        let parameters = parameter.map(|value| format!("parameters:\n  size: {value}\n")).unwrap_or_default();
        format!(
            "# {comment}\nschemaType: Installation\nschemaVersion: 1.0.2\nname: {name}\nnamespace: dev\n{uninstalled}\
             bundle:\n  repository: example.org/{name}\n  version: 1.0.{version}\n{parameters}"
        )
    }

    /// As the operator reads it.
    fn document(&self, name: &str) -> String {
        let Self { version, parameter, uninstalled, .. } = self;
        let uninstalled = if *uninstalled { "  uninstalled: true\n" } else { "" };
        let parameters = parameter.map(|value| format!("  parameters:\n    size: {value}\n")).unwrap_or_default();
        format!(
            "apiVersion: getporter.org/v1\nkind: Installation\nmetadata:\n  name: {name}\n  namespace: default\nspec:\n  \
             bundle:\n    repository: example.org/{name}\n    version: 1.0.{version}\n  name: {name}\n  namespace: dev\n\
             {parameters}  schemaVersion: 1.0.2\n{uninstalled}"
        )
    }
}

type Apps = BTreeMap<String, App>;

fn sources(apps: &Apps) -> BTreeMap<String, String> {
    let mut files: BTreeMap<_, _> =
        apps.iter().map(|(name, app)| (format!("apps/{name}.yaml"), app.source(name))).collect();
    files.insert("README.md".to_owned(), "# A fleet\n".to_owned());
    files
}

fn expected(apps: &Apps) -> BTreeMap<String, String> {
    apps.iter().map(|(name, app)| (format!("default/{name}.yaml"), app.document(name))).collect()
}

/// What a change means: removals first, then what is there, each in the order of names.
fn actions(before: &Apps, after: &Apps) -> Vec<String> {
    let left = before
        .iter()
        .filter(|(name, _)| !after.contains_key(*name))
        .map(|(name, old)| if old.uninstalled { format!("unchanged {name}") } else { format!("uninstall {name}") });
    let there = after.iter().map(|(name, new)| {
        let version = format!("1.0.{}", new.version);
        let old = before.get(name);
        let spec = |app: &App| (app.version, app.parameter, app.uninstalled);
        match old {
            Some(old) if old.uninstalled && new.uninstalled => format!("unchanged {name}"),
            _ if new.uninstalled => format!("uninstall {name}"),
            Some(old) if old.uninstalled => format!("install {name} {version}"),
            None => format!("install {name} {version}"),
            Some(old) if spec(old) == spec(new) => format!("unchanged {name}"),
            Some(_) => format!("upgrade {name} {version}"),
        }
    });
    left.chain(there).collect()
}

/// What has gone since the last confirmed revision, if the limit lets a change pass.
fn passes(before: &Apps, after: &Apps, gone: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let installed: BTreeSet<_> = before.iter().filter(|(_, app)| !app.uninstalled).map(|(name, _)| name).collect();
    let leaving: Vec<_> = installed.iter().filter(|name| !after.contains_key(**name)).collect();
    let there = installed.iter().copied().chain(gone).collect::<BTreeSet<_>>().len();
    let gone_now = gone.iter().chain(leaving.iter().map(|name| **name)).filter(|name| !after.contains_key(*name));
    let gone_now: BTreeSet<String> = gone_now.cloned().collect();
    let few = leaving.is_empty() || gone_now.len() <= usize::max(1, there / 2);
    (few && !after.is_empty()).then_some(gone_now)
}

/// One to three changes.
fn change(apps: &mut Apps, random: &mut fastrand::Rng) {
    for _ in 0..random.u8(1..=3) {
        let names: Vec<String> = apps.keys().cloned().collect();
        let known = random.choice(names).filter(|_| random.f32() < 0.75);
        let Some(name) = known else {
            let name: String = std::iter::repeat_with(|| random.lowercase()).take(6).collect();
            apps.insert(name, App { parameter: random.bool().then_some(1), ..App::new() });
            continue;
        };
        let app = apps.get_mut(&name).unwrap();
        match random.u8(0..6) {
            0 => app.version += 1,
            1 => app.parameter = Some(random.u32(0..1000)),
            2 => app.parameter = None,
            3 => app.uninstalled = !app.uninstalled,
            4 => app.comment += 1,
            _ => {
                apps.remove(&name);
            }
        }
    }
}

/// A process that follows, and what it tells; it ends with its owner.
struct Follower {
    process: Child,
    actions: Receiver<String>,
    log: Receiver<String>,
}

impl Follower {
    fn start(place: &Place, more: &[&str]) -> Self {
        let mut command = place.command(&[&["--interval", "200ms"], more].concat());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let actions = lines(process.stdout.take().unwrap());
        let log = lines(process.stderr.take().unwrap());
        Self { process, actions, log }
    }

    /// Waits for a line of the log.
    fn logged(&self, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.log.recv_timeout(until.saturating_duration_since(Instant::now()));
            if line.unwrap_or_else(|_| panic!("no line with {wanted:?}")).contains(wanted) {
                return;
            }
        }
    }

    fn told(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.actions.recv_timeout(PATIENCE).expect("an action")).collect()
    }

    fn is_silent(&self) -> bool {
        self.actions.try_recv().is_err()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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

fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn thirty_commits_are_followed() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let place = Place::new();
    let mut apps = Apps::new();
    apps.insert("first".to_owned(), App::new());
    let mut before = Apps::new();
    let mut gone = BTreeSet::new();
    let mut confirmations = 0;
    let mut commit = place.commit(&sources(&apps));
    let mut follower = Follower::start(&place, &[]);

    for number in 0..30 {
        if number > 0 {
            change(&mut apps, &mut random);
            if apps == before {
                apps.entry("again".to_owned()).or_insert_with(App::new).comment += 1;
            }
            if number % 7 == 3 {
                let mut broken = sources(&apps);
                broken.insert("apps/zz.yaml".to_owned(), "schemaType: Installation\nname: [\n".to_owned());
                place.commit(&broken);
                follower.logged("apps/zz.yaml:");
                assert_eq!(documents(&place.to()), expected(&before), "a broken commit {number} changes nothing");
                assert!(follower.is_silent(), "a broken commit {number} runs nothing");
            }
            commit = place.commit(&sources(&apps));
        }
        match passes(&before, &apps, &gone) {
            Some(now) => gone = now,
            None => {
                let how = format!("--confirm {commit}");
                follower.logged(&how);
                assert_eq!(documents(&place.to()), expected(&before), "commit {number} waits to be confirmed");
                assert!(follower.is_silent(), "commit {number} waits to be confirmed");
                drop(follower);
                follower = Follower::start(&place, &["--confirm", &commit.to_string()]);
                gone.clear();
                confirmations += 1;
            }
        }
        let actions = actions(&before, &apps);
        assert_eq!(follower.told(actions.len()), actions, "commit {number}");
        // The actions are told after the documents are written.
        until(|| documents(&place.to()) == expected(&apps), &format!("the documents of commit {number}"));
        assert!(follower.is_silent(), "commit {number} tells no more");
        before = apps.clone();
    }
    println!("{confirmations} commits had to be confirmed");
}

#[test]
fn what_uninstalls_too_much_waits_for_a_confirmation_of_its_commit() {
    let place = Place::new();
    let apps = |names: &str| -> Apps { names.chars().map(|name| named(&name.to_string(), 0)).collect() };
    let applied = |names: &str, more: &[&str]| {
        let commit = place.commit(&sources(&apps(names))).to_string();
        let more: Vec<&str> = more.iter().map(|&word| if word == "COMMIT" { commit.as_str() } else { word }).collect();
        let before = if place.to().exists() { documents(&place.to()) } else { BTreeMap::new() };
        let (done, told, log) = place.once_with(&more);
        let after = if done { expected(&apps(names)) } else { before };
        assert_eq!(documents(&place.to()), after, "{names}: {log}");
        assert!(done || told.is_empty(), "{names}: {told:?}");
        assert!(
            done || names.is_empty() || log.contains(&format!("run once with --confirm {commit}")),
            "{names}: {log}"
        );
        (done, log)
    };
    assert!(!applied("", &[]).0, "an empty build is a mistake where nothing is, too");
    assert!(applied("abcde", &[]).0);
    assert!(applied("cde", &[]).0, "two of five");
    let (done, log) = applied("de", &[]);
    assert!(!done && log.contains("it would uninstall dev/c, after dev/a, dev/b since the last confirmed"), "{log}");
    assert!(log.contains(": 3 of 5, and 2 may go unasked; "), "{log}");
    let other = "361b824a5a6bbaf989d6bfca571af5a58a1c3df5";
    assert!(!applied("de", &["--confirm", other]).0, "a confirmation of another commit");
    assert!(applied("ade", &[]).0, "one of them is back: two of five once more");
    let (done, log) = applied("", &[]);
    assert!(!done && log.contains("no document is there") && log.contains("uninstall dev/a, dev/d, dev/e; "), "{log}");
    assert!(applied("d", &["--confirm", "COMMIT"]).0);
    assert!(applied("dx", &[]).0);
    assert!(applied("x", &[]).0, "counted anew: one of two");
    assert!(!applied("y", &[]).0, "the second of three");
    assert!(applied("", &["--confirm", "COMMIT"]).0);
}

#[test]
fn what_moves_or_is_asked_to_go_is_not_left_out() {
    let place = Place::new();
    let three: Apps = [named("a", 0), named("b", 0), named("c", 0)].into();
    place.commit(&sources(&three));
    assert!(place.once().0);
    let (done, _, log) = place.once_with(&["--namespace", "other"]);
    assert!(done, "to another Kubernetes namespace: {log}");
    let asked: Apps = three.into_iter().map(|(name, app)| (name, App { uninstalled: true, ..app })).collect();
    place.commit(&sources(&asked));
    let (done, told, log) = place.once_with(&["--namespace", "other"]);
    assert!(done && told == ["uninstall a", "uninstall b", "uninstall c"], "{told:?} {log}");
    place.commit(&sources(&[named("d", 0)].into()));
    let (done, _, log) = place.once_with(&["--namespace", "other"]);
    assert!(done, "they are uninstalled already: {log}");
}

#[test]
fn a_crash_before_the_state_is_written_is_made_good() {
    let place = Place::new();
    let state = place.to().join(".flux-porter/state.json");
    let one: Apps = [("kept", 0), ("changed", 0), ("gone", 0)].map(|(name, version)| named(name, version)).into();
    let two: Apps = [("kept", 0), ("changed", 1), ("new", 0)].map(|(name, version)| named(name, version)).into();

    place.commit(&sources(&one));
    assert!(place.once().0);
    let old_state = fs::read(&state).unwrap();
    let old_documents = documents(&place.to());
    place.commit(&sources(&two));
    let (_, first, _) = place.once();
    assert_eq!(first, actions(&one, &two));
    let new_state = fs::read(&state).unwrap();

    // Every state that a crash can leave: some of the documents written, the state not yet.
    let touched = ["default/changed.yaml", "default/new.yaml", "default/gone.yaml"];
    for progress in 0..=touched.len() {
        fs::write(&state, &old_state).unwrap();
        for file in &touched[progress..] {
            match old_documents.get(*file) {
                Some(content) => fs::write(place.to().join(file), content).unwrap(),
                None => fs::remove_file(place.to().join(file)).unwrap(),
            }
        }
        let (done, again, _) = place.once();
        assert!(done);
        assert_eq!(again, first, "after {progress} documents");
        assert_eq!(documents(&place.to()), expected(&two), "after {progress} documents");
        assert_eq!(fs::read(&state).unwrap(), new_state, "after {progress} documents");
    }
}

fn named(name: &str, version: u32) -> (String, App) {
    (name.to_owned(), App { version, ..App::new() })
}

#[test]
fn what_is_changed_by_hand_is_put_right_and_runs_nothing() {
    let place = Place::new();
    let apps: Apps = [named("a", 0), named("b", 0)].into();
    place.commit(&sources(&apps));
    assert!(place.once().0);
    fs::remove_file(place.to().join("default/a.yaml")).unwrap();
    fs::write(place.to().join("default/b.yaml"), App { version: 9, ..App::new() }.document("b")).unwrap();
    fs::write(place.to().join("default/mine.yaml"), "mine\n").unwrap();

    let (done, told, log) = place.once();
    assert!(done);
    assert_eq!(told, ["unchanged a", "unchanged b"]);
    assert!(log.contains("wrote default/a.yaml") && log.contains("wrote default/b.yaml"), "{log}");
    let mut there = documents(&place.to());
    assert_eq!(there.remove("default/mine.yaml").as_deref(), Some("mine\n"), "what is not ours stays");
    assert_eq!(there, expected(&apps));
}

#[test]
fn a_broken_commit_is_told_by_place_and_changes_nothing() {
    let place = Place::new();
    let (done, told, log) = place.once();
    assert!(!done && told.is_empty() && log.contains("no commit"), "{log}");

    let apps: Apps = [named("a", 0)].into();
    place.commit(&sources(&apps));
    assert!(place.once().0);
    let mut files = sources(&apps);
    files.insert("apps/b.yaml".to_owned(), App::new().source("b").replace("repository", "repositry"));
    files.remove("apps/a.yaml");
    place.commit(&files);
    let (done, told, log) = place.once();
    assert!(!done && told.is_empty(), "{told:?}");
    assert!(log.contains("apps/b.yaml:7:3: "), "{log}");
    assert_eq!(documents(&place.to()), expected(&apps));
}

#[test]
fn nothing_is_written_into_what_is_followed() {
    let place = tempfile::tempdir().unwrap();
    let options = &mut RepositoryInitOptions::new();
    let options = options.initial_head("main").external_template(false);
    for (bare, path, to, refused) in [
        (false, "", "fleet/out", true),
        (false, "", "fleet", true),
        (false, "apps", "fleet/apps/new/out", true),
        (false, "apps/../apps/", "fleet/other/../apps", true),
        (false, "apps", "link/apps", true),
        (false, "apps", "fleet/out", false),
        (false, "apps", "fleet/apps-out", false),
        (false, "", "fleet-out", false),
        (true, "", "fleet.git/out", true),
        (true, "apps", "out", false),
    ] {
        let name = if bare { "fleet.git" } else { "fleet" };
        let repository = place.path().join(name);
        Repository::init_opts(&repository, options.bare(bare)).unwrap();
        #[cfg(unix)]
        let _ = std::os::unix::fs::symlink("fleet", place.path().join("link"));
        fs::create_dir_all(place.path().join("fleet/other")).unwrap();
        for address in [name.to_owned(), format!("file://{}", repository.display())] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_flux-porter"));
            command.current_dir(place.path()).args(["run", "--once", "--repo", &address, "--path", path, "--to", to]);
            let (done, _, log) = told(command.output().unwrap());
            assert!(!done, "there is no commit to apply");
            assert_eq!(log.contains("which is followed"), refused, "{path} {to}: {log}");
            assert_eq!(place.path().join(to).join(".flux-porter").exists(), !refused, "{path} {to}");
        }
        let _ = fs::remove_dir_all(place.path().join(to).join(".flux-porter"));
    }
}

#[test]
fn the_demo_ends_by_itself() {
    let output = Command::new(env!("CARGO_BIN_EXE_flux-porter")).arg("demo").output().unwrap();
    let (done, shown, log) = told(output);
    assert!(done && log.is_empty(), "{log}");
    assert!(shown.iter().any(|line| line == "  => uninstall hello"), "{shown:?}");
    assert!(shown.iter().all(|line| !line.contains('\x1b')), "no colours where no terminal is");
}
