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
/// Of the cores, so much is to be used by builds that run beside each other.
const PARALLEL_FLOOR: f64 = 0.65;
/// CPU seconds of the peer with 10,000 Installations (kustomize v5.5.0, 2 virtual cores); `--peer-10000` measures it.
const PEER_10_000: f64 = 256.0;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let program = PathBuf::from(arguments.next().expect("the path of flux-porter comes first"));
    let measures_peer = arguments.next().is_some_and(|flag| flag == "--peer-10000");
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
    let ours = cpu(5, &trees, |(root, directory)| ours(program, root, directory));
    let theirs = cpu(1, &trees, |(_, directory)| theirs(directory));
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
    let ours = cpu(20_000 / count, &tree, |root| ours(program, root, root));
    let known = count == 10_000 && !measures_peer;
    let theirs = if known { PEER_10_000 } else { cpu(if count < 1_000 { 5 } else { 1 }, &tree, |root| theirs(root)) };
    let floor = FLOORS.iter().find(|(with, _)| *with == count).map(|(_, floor)| *floor);
    let note = if known { " (measured before)" } else { "" };
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

/// Builds in one process, on one thread and on all cores: there is no lock that they share.
fn parallel(missed: &mut Vec<String>) {
    const BUILDS: usize = 24;
    let files = overlay(1_000);
    let tree = support::tree(&files);
    let cores = std::thread::available_parallelism().unwrap().get();
    let options = Options { rules: Rules::Kustomize, ..Options::default() };
    let run = |threads: usize| {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let tree: &FileTree = &tree;
                scope.spawn(move || {
                    for _ in 0..BUILDS / threads {
                        assert_eq!(build(tree, "", &options).unwrap().len(), 1_001);
                    }
                });
            }
        });
        (BUILDS / threads * threads) as f64 / started.elapsed().as_secs_f64()
    };
    // Whatever else runs on the machine takes more from two threads than from one: the best of some rounds counts.
    let rounds: Vec<(f64, f64)> = (0..5).map(|_| (run(1), run(cores))).collect();
    let single = rounds.iter().map(|(single, _)| *single).fold(0.0, f64::max);
    let all = rounds.iter().map(|(_, all)| *all).fold(0.0, f64::max);
    let used = all / single / cores as f64;
    println!("\n| builds of 1,000 Installations in one process | a second | of {cores} cores |\n|---|---|---|");
    println!("| 1 thread | {single:.1} | |\n| {cores} threads | {all:.1} | {used:.2} (at least {PARALLEL_FLOOR}) |");
    if used < PARALLEL_FLOOR {
        missed.push(format!("{cores} threads use {used:.2} of the cores"));
    }
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

/// CPU seconds of one round of the commands, of so many.
fn cpu<T>(rounds: usize, of: &[T], command: impl Fn(&T) -> Command) -> f64 {
    let before = children();
    for _ in 0..rounds {
        for one in of {
            command(one).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        }
    }
    (children() - before) / rounds as f64
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
