//! What building overlays costs, against `kubectl kustomize`: the CPU time, user and system, of whole processes.
//!
//! `bench_kustomize FLUX_PORTER [--peer-10000]`; ends with an error when a figure is below its floor.
//! `hack/bench/kustomize.sh` runs it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by a panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use kustomize::{Options, Rules, build};
use manifest::FileTree;
use support::case::topics;

/// Times less CPU than the peer over many small trees.
const MANY_FLOOR: f64 = 20.0;
/// Times less CPU than the peer with so many Installations.
const FLOORS: [(usize, f64); 2] = [(1_000, 40.0), (10_000, 500.0)];
/// Ten times the objects may cost so many times as much.
const LINEAR: f64 = 12.0;
/// So much of their time builds that run beside each other are to run, or to be ready to: they wait for no lock.
const READY_FLOOR: f64 = 0.9;
/// CPU seconds of the peer with 10,000 Installations that the goal was set by (kustomize v5.5.0); `--peer-10000` measures it.
const PEER_10_000: f64 = 256.0;
/// Of so many batches of runs that counts which cost least: what else runs on the machine makes runs cost more, never less.
const BATCHES: usize = 3;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let program = PathBuf::from(arguments.next().expect("the path of flux-porter comes first"));
    let measures_peer = match arguments.next().as_deref() {
        None => false,
        Some("--peer-10000") => true,
        Some(other) => {
            eprintln!("unknown argument {other:?}; --peer-10000 is the only one");
            return ExitCode::FAILURE;
        }
    };
    let mut missed = Vec::new();
    println!("CPU seconds (user + system) of whole processes\n");
    println!("| | flux-porter build | kubectl kustomize | times less | at least |\n|---|---|---|---|---|");
    many(&program, &mut missed);
    let mut costs = Vec::new();
    for count in [100, 1_000, 10_000] {
        costs.push((count, one(&program, count, measures_peer, &mut missed)));
    }
    println!("\n| Installations | CPU s | µs each | times the row above |\n|---|---|---|---|");
    for (index, (count, cost)) in costs.iter().enumerate() {
        let times = index.checked_sub(1).map(|before| cost / costs[before].1);
        let shown = times.map_or(String::new(), |times| format!("{times:.1} (at most {LINEAR})"));
        println!("| {count} | {cost:.4} | {:.1} | {shown} |", cost * 1e6 / *count as f64);
        if times.is_some_and(|times| times > LINEAR) {
            missed.push(format!(
                "{count} Installations cost {:.1} times as much as a tenth of them",
                times.unwrap_or_default()
            ));
        }
    }
    parallel(&mut missed);
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("\nmissed: {}", missed.join("; "));
    ExitCode::FAILURE
}

/// Many small trees, one process each.
fn many(program: &Path, missed: &mut Vec<String>) {
    let scratch = Scratch::new("many");
    let (name, trees) = corpus().unwrap_or_else(|| ("the cases of tests/cases", own_cases(&scratch.0)));
    let ours = cpu(BATCHES, 2, &trees, |(root, directory)| ours(program, root, directory));
    let theirs = cpu(1, 1, &trees, |(_, directory)| theirs(directory));
    row(&format!("{} builds: {name}", trees.len()), ours, theirs, "", Some(MANY_FLOOR), missed);
}

/// The corpus beside the repository, when it is there.
fn corpus() -> Option<(&'static str, Vec<(PathBuf, PathBuf)>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/kustomize/cases");
    let mut trees = Vec::new();
    for entry in std::fs::read_dir(folder).ok()? {
        let case = entry.ok()?.path();
        let Ok(target) = std::fs::read_to_string(case.join("target")) else { continue };
        let root = case.join("input");
        trees.push((root.clone(), root.join(target.trim())));
    }
    Some(("the corpus", trees))
}

fn own_cases(scratch: &Path) -> Vec<(PathBuf, PathBuf)> {
    let topics = topics(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases")));
    let cases = topics.iter().flat_map(|topic| &topic.cases).filter(|case| case.asks_oracle());
    cases
        .enumerate()
        .map(|(number, case)| {
            let root = scratch.join(number.to_string());
            write(&root, &case.files);
            (root.clone(), root.join(case.target()))
        })
        .collect()
}

/// One overlay on so many Installations; what it costs us.
fn one(program: &Path, count: usize, measures_peer: bool, missed: &mut Vec<String>) -> f64 {
    let scratch = Scratch::new(&format!("one-{count}"));
    write(&scratch.0, &overlay(count));
    let tree = [scratch.0.clone()];
    let ours = cpu(BATCHES, 10_000 / count, &tree, |root| ours(program, root, root));
    let known = count == 10_000 && !measures_peer;
    let batches = if count == 10_000 { 1 } else { BATCHES };
    let theirs = if known { PEER_10_000 } else { cpu(batches, 1, &tree, |root| theirs(root)) };
    let floor = FLOORS.iter().find(|(with, _)| *with == count).map(|(_, floor)| *floor);
    let note = if known { " (not measured now)" } else { "" };
    row(&format!("one overlay on {count} Installations"), ours, theirs, note, floor, missed);
    ours
}

/// The overlay: prefix, namespace, labels, two patches with selectors, a generator, and a replacement into every object.
fn overlay(count: usize) -> support::Files {
    let mut text = String::new();
    for number in 0..count {
        let tier = if number % 2 == 0 { "gold" } else { "bronze" };
        let _ = write!(
            text,
            "---\napiVersion: getporter.org/v1\nkind: Installation\nmetadata:\n  name: app-{number}\n  labels:\n    tier: {tier}\nspec:\n  schemaVersion: 1.0.2\n  name: app-{number}\n  namespace: porter\n  bundle:\n    repository: registry.example.com/app\n    version: 1.0.0\n  credentialSets:\n  - azure\n  parameters:\n    replicas: 1\n    host: app-{number}.example.com\n"
        );
    }
    let kustomization = "resources: [installations.yaml]\nnamePrefix: prod-\nnamespace: prod\nlabels:\n- pairs: {env: prod}\nconfigMapGenerator:\n- name: facts\n  literals: [region=eu]\npatches:\n- target: {kind: Installation, labelSelector: tier=gold}\n  patch: |-\n    - {op: replace, path: /spec/parameters/replicas, value: 3}\n- target: {kind: Installation, name: app-.*}\n  patch: |-\n    apiVersion: getporter.org/v1\n    kind: Installation\n    metadata: {name: any}\n    spec: {parameters: {audit: true}}\nreplacements:\n- source: {kind: ConfigMap, name: facts, fieldPath: data.region}\n  targets:\n  - select: {kind: Installation}\n    fieldPaths: [spec.parameters.region]\n    options: {create: true}\n";
    vec![
        ("installations.yaml".to_owned(), text.into_bytes()),
        ("kustomization.yaml".to_owned(), kustomization.as_bytes().to_vec()),
    ]
}

/// Builds in one process, on one thread and on all cores. How many there are a second depends on what else runs; that no
/// build waits for another does not.
fn parallel(missed: &mut Vec<String>) {
    const BUILDS: usize = 24;
    let files = overlay(1_000);
    let tree = support::tree(&files);
    let cores = std::thread::available_parallelism().unwrap().get();
    let options = Options { rules: Rules::Kustomize, ..Options::default() };
    // Builds a second, and the share of the time in which the threads ran or were ready to.
    let run = |threads: usize| {
        let started = Instant::now();
        let shares: Vec<f64> = std::thread::scope(|scope| {
            let builds = |_| {
                let tree: &FileTree = &tree;
                scope.spawn(move || {
                    let (started, ready) = (Instant::now(), ready());
                    for _ in 0..BUILDS / threads {
                        assert_eq!(build(tree, "", &options).unwrap().len(), 1_001);
                    }
                    (self::ready() - ready) / started.elapsed().as_secs_f64()
                })
            };
            let workers: Vec<_> = (0..threads).map(builds).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let count = BUILDS / threads * threads;
        (count as f64 / started.elapsed().as_secs_f64(), shares.into_iter().fold(1.0, f64::min))
    };
    let best = |rounds: Vec<(f64, f64)>| {
        rounds.into_iter().fold((0.0, 0.0), |best: (f64, f64), round| (best.0.max(round.0), best.1.max(round.1)))
    };
    let rounds: Vec<_> = (0..BATCHES).map(|_| (run(1), run(cores))).collect();
    let (single, all): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
    println!("\n| builds of 1,000 Installations in one process | a second | ran or were ready to |\n|---|---|---|");
    for (threads, (rate, share), floor) in
        [(1, best(single), String::new()), (cores, best(all), format!(" (at least {READY_FLOOR})"))]
    {
        println!("| threads: {threads} | {rate:.1} | {share:.2}{floor} |");
        if share < READY_FLOOR {
            missed.push(format!("{threads} threads ran or were ready for {share:.2} of the time"));
        }
    }
}

/// Seconds in which this thread ran, or was ready to and had no core (`/proc/thread-self/schedstat`).
fn ready() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().take(2).map(|nanoseconds| nanoseconds.parse::<f64>().unwrap() / 1e9).sum()
}

fn ours(program: &Path, root: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("build").arg(directory).arg("--root").arg(root);
    command
}

fn theirs(directory: &Path) -> Command {
    let mut command = Command::new("kubectl");
    command.arg("kustomize").arg(directory);
    command
}

/// CPU seconds of one round of the commands: in the batch of rounds in which it was least.
fn cpu<T>(batches: usize, rounds: usize, of: &[T], command: impl Fn(&T) -> Command) -> f64 {
    let batch = |_| {
        let before = children();
        for one in (0..rounds).flat_map(|_| of) {
            command(one).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        }
        (children() - before) / rounds as f64
    };
    (0..batches).map(batch).fold(f64::INFINITY, f64::min)
}

/// CPU seconds of all processes that we waited for, in hundredths (`proc(5)`).
fn children() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // The state is the third field of all, and the first here.
    let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
    (ticks(16) + ticks(17)) / TICKS_A_SECOND
}

fn row(name: &str, ours: f64, theirs: f64, note: &str, floor: Option<f64>, missed: &mut Vec<String>) {
    let times = theirs / ours;
    let asked = floor.map_or(String::new(), |floor| floor.to_string());
    println!("| {name} | {ours:.4} | {theirs:.2}{note} | {times:.0} | {asked} |");
    if floor.is_some_and(|floor| times < floor) {
        missed.push(format!("{name}: {times:.0} times less"));
    }
}

fn write(root: &Path, files: &support::Files) {
    for (path, content) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// A folder that is gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bench-kustomize-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
