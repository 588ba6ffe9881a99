//! The samples under `manifests/samples`: what each BundleSync in them points at is what it should be, by `flux-porter plan`,
//! and what plain kustomize builds, it builds to the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use api::BundleSync;
use manifest::yaml;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The BundleSyncs of the `cluster` folder of each sample, by their namespaces and names.
fn syncs() -> BTreeMap<String, BundleSync> {
    let mut found = BTreeMap::new();
    let folders = fs::read_dir(workspace().join("manifests/samples")).unwrap();
    let clusters = folders.map(|entry| entry.unwrap().path().join("cluster")).filter(|cluster| cluster.is_dir());
    for file in clusters.flat_map(|cluster| fs::read_dir(cluster).unwrap()).map(|entry| entry.unwrap().path()) {
        let name = file.display().to_string();
        for document in yaml::parse(&name, &fs::read(&file).unwrap()).unwrap() {
            let object = document.node.to_json().unwrap();
            if object["kind"] == "BundleSync" {
                let sync: BundleSync = serde_json::from_value(object).unwrap_or_else(|error| panic!("{name}: {error}"));
                let metadata = &sync.metadata;
                let key = format!("{}/{}", metadata.namespace.clone().unwrap(), metadata.name.clone().unwrap());
                assert!(found.insert(key.clone(), sync).is_none(), "{name}: {key} is there twice");
            }
        }
    }
    found
}

/// What is applied first of all, each as it is told.
fn plan(sync: &BundleSync) -> Vec<String> {
    let path = sync.spec.path.as_deref().unwrap_or_default();
    let output = Command::new(env!("CARGO_BIN_EXE_flux-porter"))
        .arg("plan")
        .arg(workspace().join(path))
        .arg("--root")
        .arg(workspace().join("manifests"))
        .args(["--namespace", sync.metadata.namespace.as_deref().unwrap()])
        .output()
        .unwrap();
    let faults = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && faults.is_empty(), "{path}: {faults}");
    let told = String::from_utf8(output.stdout).unwrap();
    let applied = told.lines().filter_map(|line| line.strip_prefix("apply ")?.strip_suffix(": new in the source"));
    applied.map(str::to_owned).collect()
}

#[test]
fn each_sample_asks_for_what_it_is_to_show() {
    let both = |namespace: &str, sets: &[&str]| {
        let sets = sets.iter().map(|set| set.replace("NS", namespace));
        let installations =
            ["github-user", "hello-llama"].map(|name| format!("installation {namespace}: {namespace}/{name}"));
        sets.chain(installations).collect::<Vec<_>>()
    };
    let overlay = |namespace: &str, prefix: &str, first: &[&str], parameters: &str| {
        let sets = ["AgentConfig/NS/PREFIXsingle-run", "CredentialSet/NS/PREFIXgithub", parameters];
        let objects = first.iter().copied().chain(sets).map(|object| object.replace("PREFIX", prefix));
        let installations = ["github-user", "hello-llama"].map(|name| format!("installation NS: NS/{prefix}{name}"));
        objects.chain(installations).map(|told| told.replace("NS", namespace)).collect::<Vec<_>>()
    };
    let (agent, credentials, parameters) =
        ("AgentConfig/NS/single-run", "CredentialSet/NS/github", "ParameterSet/NS/audience");
    let expected: BTreeMap<String, Vec<String>> = [
        ("dev/fleet", both("dev", &[agent, credentials])),
        ("staging/fleet", both("staging", &[agent, credentials])),
        ("prod/fleet", both("prod", &[agent, credentials, parameters])),
        ("demo/porter-native", both("demo", &[credentials, parameters])),
        (
            "overlays-test/dev",
            overlay("overlays-test", "dev-", &["Secret/NS/dev-audience-gfm82ghgdb"], "ParameterSet/NS/dev-hello-llama"),
        ),
        (
            "overlays-test/staging",
            overlay(
                "overlays-test",
                "staging-",
                &["Secret/NS/staging-audience-56fc298f7g"],
                "ParameterSet/NS/staging-hello-llama",
            ),
        ),
        (
            "overlays-prod/prod",
            overlay("overlays-prod", "", &["Secret/NS/audience-4dt742h5cc"], "ParameterSet/NS/hello-llama"),
        ),
        ("porter-test/dev", overlay("porter-test", "dev-", &[], "ParameterSet/NS/dev-audience")),
        ("porter-test/staging", overlay("porter-test", "staging-", &[], "ParameterSet/NS/staging-audience")),
        ("porter-prod/prod", overlay("porter-prod", "", &[], "ParameterSet/NS/audience")),
    ]
    .map(|(sync, plan)| (sync.to_owned(), plan))
    .into();
    let planned: BTreeMap<String, Vec<String>> = syncs().iter().map(|(key, sync)| (key.clone(), plan(sync))).collect();
    assert_eq!(planned, expected);
}

/// The directories of the samples that kustomize can build: those with a kustomization, but for components and for what
/// builds Porter's own documents.
fn kustomizations() -> Vec<PathBuf> {
    let samples = workspace().join("manifests/samples");
    let mut directories = vec![samples.clone()];
    let mut found = Vec::new();
    while let Some(directory) = directories.pop() {
        let kustomization = fs::read_to_string(directory.join("kustomization.yaml")).unwrap_or_default();
        let is_porters = directory.starts_with(samples.join("porter-overlays")) && !directory.ends_with("cluster");
        if kustomization.contains("\nkind: Kustomization\n") && !is_porters {
            found.push(directory.clone());
        }
        let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        directories.extend(entries.filter(|path| path.is_dir()));
    }
    found
}

#[test]
fn plain_kustomize_builds_the_same() {
    let told = |command: &mut Command| {
        let output = command.output().ok()?;
        let faults = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{command:?}: {faults}");
        Some(
            yaml::parse("output.yaml", &output.stdout)
                .unwrap()
                .into_iter()
                .map(|document| document.node)
                .collect::<Vec<_>>(),
        )
    };
    let found = kustomizations();
    assert!(found.len() >= 7, "{found:?}");
    for directory in found {
        let mut ours = Command::new(env!("CARGO_BIN_EXE_flux-porter"));
        ours.args(["build", "--reorder", "legacy", "--root"]).arg(workspace().join("manifests")).arg(&directory);
        let Some(plain) = told(Command::new("kubectl").arg("kustomize").arg(&directory)) else {
            eprintln!("SKIPPED: there is no kubectl to compare the samples with");
            return;
        };
        assert_eq!(told(&mut ours).unwrap(), plain, "{}", directory.display());
    }
}

/// An object of each kind, each of whose references is to an object of the build.
const REFERENCES: &str = "\
apiVersion: getporter.org/v1
kind: Installation
metadata: {name: i}
spec: {agentConfig: {name: old}, credentialSets: [old, elsewhere], parameterSets: [old]}
---
apiVersion: getporter.org/v1
kind: CredentialSet
metadata: {name: old}
spec: {agentConfig: {name: old}, credentials: [{name: a, source: {secret: old}}, {name: b, source: {secret: elsewhere}}]}
---
apiVersion: getporter.org/v1
kind: ParameterSet
metadata: {name: old}
spec: {agentConfig: {name: old}, parameters: [{name: a, source: {secret: old}}, {name: b, source: {value: elsewhere}}]}
---
apiVersion: getporter.org/v1
kind: AgentConfig
metadata: {name: old}
---
apiVersion: getporter.org/v1
kind: AgentAction
metadata: {name: a}
spec:
  agentConfig: {name: old}
  env:
  - {name: A, valueFrom: {secretKeyRef: {name: old, key: elsewhere}}}
  - {name: B, valueFrom: {configMapKeyRef: {name: old, key: elsewhere}}}
  envFrom: [{secretRef: {name: old}}, {configMapRef: {name: old}}]
  volumes:
  - {name: a, secret: {secretName: old}}
  - {name: b, configMap: {name: old}}
  - {name: c, projected: {sources: [{secret: {name: old}}, {configMap: {name: old}}]}}
";

#[test]
fn every_reference_follows_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let names = workspace().join("manifests/samples/overlays/base/names.yaml");
    let copy = workspace().join("manifests/samples/porter-overlays/base/names.yaml");
    assert_eq!(fs::read(&names).unwrap(), fs::read(copy).unwrap(), "the two samples have one list of fields");
    let base = place.path().join("base");
    fs::create_dir(&base).unwrap();
    fs::copy(names, base.join("names.yaml")).unwrap();
    fs::write(base.join("all.yaml"), REFERENCES).unwrap();
    let kustomization = "resources: [all.yaml]\nconfigurations: [names.yaml]\nconfigMapGenerator: [{name: old}]\n\
                         secretGenerator: [{name: old}]\n";
    fs::write(base.join("kustomization.yaml"), kustomization).unwrap();
    fs::write(place.path().join("kustomization.yaml"), "resources: [base]\nnamePrefix: new-\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flux-porter"));
    let output = command.args(["build", "--reorder", "legacy"]).arg(place.path()).output().unwrap();
    let built = String::from_utf8(output.stdout).unwrap();
    let count = |word: &str| built.matches(word).count();
    // Five objects are called old, and sixteen fields mean one of them.
    assert_eq!((count(" old\n"), count("new-old"), count(" elsewhere\n")), (0, 21, 5), "{built}");
    match Command::new("kubectl").arg("kustomize").arg(place.path()).output() {
        Ok(plain) => assert_eq!(built, String::from_utf8(plain.stdout).unwrap()),
        Err(_) => eprintln!("SKIPPED: there is no kubectl to compare the references with"),
    }
}
