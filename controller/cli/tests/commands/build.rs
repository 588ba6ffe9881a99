//! Overlays on disk and in a commit: what `build`, `plan` and `run` print, what they tell on stderr, and what they read.

use std::fs;
use std::path::Path;
use std::process::Command;

use git2::{Repository, Signature, Time};

/// A document of Porter's that leaves name and namespace open, an overlay that fills them, and one that names itself.
const ENVIRONMENTS: &[(&str, &str)] = &[
    ("base/kustomization.yaml", "resources: [mysql.yaml, named.yaml, set.yaml]\nconfigurations: [names.yaml]\n"),
    (
        "base/names.yaml",
        "nameReference:\n- kind: CredentialSet\n  fieldSpecs: [{kind: Installation, path: spec/credentialSets}]\n",
    ),
    (
        "base/mysql.yaml",
        "# a comment\nschemaType: Installation\nschemaVersion: 1.0.2\nbundle: {repository: example.org/mysql, version: \
         1.0.0}\ncredentialSets: [set]\nparameters: {size: 1, tier: small}\n",
    ),
    (
        "base/named.yaml",
        "schemaType: Installation\nschemaVersion: 1.0.2\nname: legacy\nnamespace: ops\nlabels: {a: b}\nbundle: \
         {repository: example.org/legacy, version: 2.0.0}\n",
    ),
    (
        "base/set.yaml",
        "schemaType: CredentialSet\nschemaVersion: 1.0.1\ncredentials: [{name: token, source: {secret: token}}]\n",
    ),
    (
        "overlays/dev/kustomization.yaml",
        "resources: [../../base]\nnamespace: dev\nnamePrefix: dev-\nlabels: [{pairs: {team: red}}]\npatches:\n- path: \
         size.yaml\n- target: {kind: Installation, name: mysql}\n  patch: |-\n    - {op: replace, path: \
         /spec/parameters/tier, value: tiny}\n",
    ),
    (
        "overlays/dev/size.yaml",
        "apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {name: mysql}\nspec: {parameters: {size: 2}}\n",
    ),
    ("overlays/prod/kustomization.yaml", "resources: [../../base]\nnamespace: prod\nnameSuffix: -x\n"),
    ("overlays/both/kustomization.yaml", "resources: [one, two]\nnamespace: shared\n"),
    ("overlays/both/one/kustomization.yaml", "resources: [../../../base]\nnamePrefix: one-\n"),
    ("overlays/both/two/kustomization.yaml", "resources: [../../../base]\nnamePrefix: two-\n"),
];

const DEV: &str = "\
apiVersion: getporter.org/v1
kind: Installation
metadata:
  labels:
    team: red
  name: dev-mysql
  namespace: dev
spec:
  bundle:
    repository: example.org/mysql
    version: 1.0.0
  credentialSets:
  - dev-set
  parameters:
    size: 2
    tier: tiny
  schemaVersion: 1.0.2
---
apiVersion: getporter.org/v1
kind: Installation
metadata:
  labels:
    team: red
  name: dev-legacy
  namespace: dev
spec:
  bundle:
    repository: example.org/legacy
    version: 2.0.0
  labels:
    a: b
  name: legacy
  namespace: ops
  schemaVersion: 1.0.2
---
apiVersion: getporter.org/v1
kind: CredentialSet
metadata:
  labels:
    team: red
  name: dev-set
  namespace: dev
spec:
  credentials:
  - name: token
    source:
      secret: token
  schemaVersion: 1.0.1
";

/// Runs the command on files in a fresh directory, ROOT in the arguments and in what is expected; gives exit, stdout and
/// stderr.
fn run(files: &[(&str, &str)], typed: &str) -> (bool, String, String) {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let root = root.to_str().unwrap();
    let arguments = typed.split_whitespace().map(|argument| argument.replace("ROOT", root));
    let output = Command::new(env!("CARGO_BIN_EXE_flux-porter")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(root, "ROOT");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// The command ends well and prints just this.
#[track_caller]
fn prints(files: &[(&str, &str)], typed: &str, expected: &str) {
    let (success, stdout, stderr) = run(files, typed);
    assert!(success && stderr.is_empty(), "{typed}: {stderr}");
    assert_eq!(stdout, expected, "{typed}");
}

/// The command ends badly, prints nothing, and tells these lines, each of which may go on.
#[track_caller]
fn fails(files: &[(&str, &str)], typed: &str, expected: &[&str]) {
    let (success, stdout, stderr) = run(files, typed);
    assert!(!success && stdout.is_empty(), "{typed}: {stdout}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{typed}: {stderr}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{typed}: {line:?} does not begin with {expected:?}");
    }
}

#[test]
fn porters_documents_are_patched_renamed_moved_and_labelled() {
    prints(ENVIRONMENTS, "build ROOT/overlays/dev --root ROOT", DEV);
    prints(ENVIRONMENTS, "build ROOT/overlays/dev --root ROOT --as flux", DEV);
}

#[test]
fn what_a_document_leaves_open_follows_its_overlay_and_what_it_says_stays() {
    for (overlay, expected) in [
        (
            "dev",
            "apply CredentialSet/dev/dev-set: new in the source\n\
             record installation dev: dev/dev-mysql: new in the source\n\
             apply installation dev: dev/dev-mysql: new in the source\n\
             record installation dev: ops/legacy: new in the source\n\
             apply installation dev: ops/legacy: new in the source\n",
        ),
        (
            "prod",
            "apply CredentialSet/prod/set-x: new in the source\n\
             record installation prod: ops/legacy: new in the source\n\
             apply installation prod: ops/legacy: new in the source\n\
             record installation prod: prod/mysql-x: new in the source\n\
             apply installation prod: prod/mysql-x: new in the source\n",
        ),
    ] {
        prints(ENVIRONMENTS, &format!("plan ROOT/overlays/{overlay} --root ROOT"), expected);
    }
    fails(
        ENVIRONMENTS,
        "plan ROOT/overlays/both --root ROOT",
        &["base/named.yaml:1:1: Installation shared/two-legacy is ops/legacy to Porter, as Installation \
           shared/one-legacy at base/named.yaml:1 is: leave out its name and namespace"],
    );
}

#[test]
fn the_root_is_that_of_the_work_tree() {
    let with = |more: (&'static str, &'static str)| [ENVIRONMENTS, &[more]].concat();
    prints(&with((".git/HEAD", "")), "build ROOT/overlays/dev", DEV);
    // In a work tree that is not the main one, `.git` is a file.
    prints(&with((".git", "gitdir: elsewhere")), "build ROOT/overlays/dev/", DEV);
    let outside = "kustomization.yaml:1:13: resources[0]: path \"../../base\" leads outside";
    let note =
        "note: \"../../base\" in the kustomization of ROOT/overlays/dev lies outside of the source: give a --root";
    fails(ENVIRONMENTS, "build ROOT/overlays/dev", &[outside, note]);
    fails(ENVIRONMENTS, "plan ROOT/overlays/dev", &[outside, note]);
    fails(
        ENVIRONMENTS,
        "build ROOT/overlays/dev --root ROOT/base",
        &["flux-porter: ROOT/overlays/dev is not below --root"],
    );
}

#[test]
fn documents_that_cannot_be_named_apart_are_told() {
    let twins = "schemaType: Installation\nbundle: {repository: x, tag: y}\n---\nschemaType: Installation\n";
    let files = &[("kustomization.yaml", "resources: [a.yaml]\n"), ("a.yaml", twins)];
    fails(files, "build ROOT", &["a.yaml:4:1: Installation/a: "]);
    let other = twins.replacen("Installation", "ParameterSet", 1);
    assert!(run(&[files[0], ("a.yaml", other.as_str())], "build ROOT").0);
}

const RULES: &[(&str, &str)] = &[
    (
        "overlay/kustomization.yaml",
        "resources: [../base]\nbases: []\ncommonLabels: {a: b}\npatchesStrategicMerge: [../shared/patch.yaml]\n",
    ),
    ("base/kustomization.yaml", "resources: [b.yaml]\nconfigMapGenerator: [{name: c, literals: [k=v]}]\n"),
    (
        "base/b.yaml",
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n",
    ),
    ("shared/patch.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: ClusterIP}\n"),
];

#[test]
fn rules_order_and_trail_are_chosen() {
    let kinds = |typed: &str| {
        let (success, stdout, stderr) = run(RULES, typed);
        assert!(success, "{typed}: {stderr}");
        stdout.lines().filter_map(|line| line.strip_prefix("kind: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(kinds("build --as flux ROOT/overlay --root ROOT"), ["Service", "Namespace", "ConfigMap"]);
    assert_eq!(kinds("build --as flux --reorder none ROOT/overlay --root ROOT"), ["Service", "Namespace", "ConfigMap"]);
    assert_eq!(
        kinds("build --as flux --reorder legacy ROOT/overlay --root ROOT"),
        ["Namespace", "ConfigMap", "Service"]
    );
    let refused = "overlay/kustomization.yaml:4:25: patchesStrategicMerge[0]: security; file \"shared/patch.yaml\"";
    let advice = "note: Flux builds this, by rules of its own: give --as flux";
    fails(RULES, "build ROOT/overlay --root ROOT", &[refused, advice]);
    fails(RULES, "build --as kustomize ROOT/overlay --root ROOT", &[refused, advice]);

    let (success, stdout, stderr) = run(RULES, "build --as flux --explain ROOT/overlay --root ROOT");
    assert!(success, "{stderr}");
    assert_eq!(
        stdout,
        "Service/s\n  from base/b.yaml:2\n  \
         changed by patchesStrategicMerge[0] of overlay/kustomization.yaml:4 (PatchStrategicMergeTransformer)\n  \
         changed by commonLabels of overlay/kustomization.yaml:3 (LabelTransformer)\n\
         Namespace/n\n  from base/b.yaml:6\n  \
         changed by commonLabels of overlay/kustomization.yaml:3 (LabelTransformer)\n\
         ConfigMap/c-bdg947hgcc\n  \
         made by configMapGenerator[0] of base/kustomization.yaml:2 (ConfigMapGenerator)\n  \
         changed by commonLabels of overlay/kustomization.yaml:3 (LabelTransformer)\n  \
         changed by configMapGenerator[0] of base/kustomization.yaml:2 (HashTransformer)\n"
    );
    assert_eq!(
        stderr,
        "warning: overlay/kustomization.yaml:2:1: `bases` is deprecated: use `resources` instead\n\
         warning: overlay/kustomization.yaml:3:1: `commonLabels` is deprecated: use `labels` instead\n\
         warning: overlay/kustomization.yaml:4:1: `patchesStrategicMerge` is deprecated: use `patches` instead\n"
    );
}

#[test]
fn a_name_that_an_overlay_spoils_is_told_with_the_entry() {
    let long = "x".repeat(60);
    for (overlay, base, file, expected) in [
        (
            format!("namePrefix: {long}-\n"),
            "namePrefix: b-\n",
            "name: mysql",
            "base/a.yaml:1:70: metadata.name \"LONG-b-mysql\" has 68 characters, the operator handles at most 63; it is so since `namePrefix` at overlay/kustomization.yaml:2:13",
        ),
        (
            "namePrefix: o-\n".to_owned(),
            "nameSuffix: _b\n",
            "name: mysql",
            "base/a.yaml:1:70: metadata.name \"o-mysql_b\" is no DNS label: use lower-case letters, digits and '-', with a letter or digit at both ends; it is so since `nameSuffix` at base/kustomization.yaml:2:13",
        ),
        (
            "namespace: A.b\nnamePrefix: o-\n".to_owned(),
            "",
            "name: mysql",
            "base/a.yaml:1:1: metadata.namespace \"A.b\" is no DNS label: use lower-case letters, digits and '-', with a letter or digit at both ends; it is so since `namespace` at overlay/kustomization.yaml:2:12",
        ),
        // Wrong from the start.
        (
            "namespace: dev\nnamePrefix: o-\n".to_owned(),
            "",
            "name: MySQL",
            "base/a.yaml:1:70: metadata.name \"o-MySQL\" is no DNS label: use lower-case letters, digits and '-', with a letter or digit at both ends\n",
        ),
    ] {
        let overlay = format!("resources: [../base]\n{overlay}");
        let base = format!("resources: [a.yaml]\n{base}");
        let file = format!("{{apiVersion: v1, kind: CredentialSet, metadata: {{{file}}}}}\n")
            .replace("apiVersion: v1", "apiVersion: getporter.org/v1");
        let files = [
            ("overlay/kustomization.yaml", overlay.as_str()),
            ("base/kustomization.yaml", &base),
            ("base/a.yaml", &file),
        ];
        let (success, _, stderr) = run(&files, "plan ROOT/overlay --root ROOT");
        assert!(!success && stderr.contains(&expected.replace("LONG", &long)), "{overlay}: {expected} in {stderr}");
    }
}

/// A repository with one commit of the files, of which `-> TARGET` is a symbolic link.
#[cfg(unix)]
fn committed(files: &[(&str, &str)], at: &Path) {
    let repository = Repository::init(at).unwrap();
    let mut index = repository.index().unwrap();
    for (path, content) in files {
        fs::create_dir_all(at.join(path).parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, at.join(path)).unwrap(),
            None => fs::write(at.join(path), content).unwrap(),
        }
        index.add_path(Path::new(path)).unwrap();
    }
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let author = Signature::new("test", "test@example.org", &Time::new(1_767_225_600, 0)).unwrap();
    repository.commit(Some("HEAD"), &author, &author, "all", &tree, &[]).unwrap();
}

#[cfg(unix)]
#[test]
fn a_commit_is_read_as_a_directory_is() {
    let place = tempfile::tempdir().unwrap();
    let (repository, to) = (place.path().join("shop"), place.path().join("out"));
    // What no kustomization reaches is not read, however wrong it is.
    let more = [("overlays/dev/other.yaml", "{"), ("large.bin", ""), ("overlays/linked", "-> dev")];
    committed(&[ENVIRONMENTS, &more].concat(), &repository);
    for (path, expected) in [
        ("overlays/dev", Ok("install dev-mysql 1.0.0\ninstall legacy 2.0.0\n")),
        ("/overlays/./dev/", Ok("unchanged dev-mysql\nunchanged legacy\n")),
        ("base/porter.yaml", Err("kustomization path not found: base/porter.yaml")),
        ("base/mysql.yaml", Err("kustomization path \"base/mysql.yaml\" is a file; name the directory that holds it")),
        (
            "overlays/linked",
            Err("kustomization path not found: overlays/linked; \"overlays/linked\" is a symbolic link"),
        ),
        ("../shop", Err("path \"../shop\" leads outside the root of the source")),
        ("overlays/both", Err("base/named.yaml:1:1: Installation shared/two-legacy is ops/legacy to Porter")),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flux-porter"));
        command.args(["run", "--once", "--path", path, "--repo"]).arg(&repository).arg("--to").arg(&to);
        let output = command.output().unwrap();
        let (told, faults) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        match expected {
            Ok(expected) => assert_eq!(told, expected, "{path}: {faults}"),
            Err(expected) => assert!(told.is_empty() && faults.contains(expected), "{path}: {told} {faults}"),
        }
    }
}

#[test]
fn an_exit_status_says_whose_fault_it_is() {
    let place = tempfile::tempdir().unwrap();
    for (typed, code) in [
        ("--help", 0),
        ("build .", 0),
        ("build . --root nowhere", 2),
        ("plan nowhere", 2),
        ("plan . --namespace ../x", 2),
        ("run --repo nowhere --to out --once", 1),
        ("run --repo git@git.example.test:fleet --to out --once", 2),
        ("run --repo ssh://git.example.test/fleet --to out --once", 2),
        ("run --repo nowhere --to out --once --branch a..b", 2),
        ("run --repo nowhere --to out --once --confirm main", 2),
        ("run --repo nowhere --to out --once --interval 0s", 2),
        ("run --repo nowhere --to out --once --interval soon", 2),
        ("run --repo nowhere --to out --once --unheard", 2),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flux-porter"));
        let output = command.args(typed.split_whitespace()).current_dir(&place).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{typed}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
