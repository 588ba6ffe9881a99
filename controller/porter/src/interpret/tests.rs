use manifest::yaml;
use serde_json::{Value, json};

use super::*;
use crate::document_hook;

const DIGEST: &str = "sha256:a881bbc015bade9f11d95a4244888d8e7fa8800f843b43c74cc07c7b7276b062";

/// Reads files as the build does, then interprets them for a BundleSync in the namespace `team`.
fn read(files: &[(&str, &str)]) -> Result<Desired, Vec<String>> {
    let mut tree = FileTree::new();
    let mut objects = Vec::new();
    let mut faults: Vec<Diagnostic> = Vec::new();
    for (path, content) in files {
        tree.insert(path, content.as_bytes().to_vec()).unwrap();
    }
    for (path, content) in tree.iter() {
        for document in yaml::parse(path, content).unwrap() {
            let origin = document.origin.clone();
            match document_hook(&document) {
                None => objects.push(Object { node: document.node, origin, renamings: Vec::new() }),
                Some(Ok(node)) if node.get("items").is_some() => {}
                Some(Ok(node)) => objects.push(Object { node, origin, renamings: Vec::new() }),
                Some(Err(found)) => faults.extend(found),
            }
        }
    }
    let desired = interpret(&objects, &Context { default_namespace: "team", tree: &tree });
    match desired {
        Ok(desired) if faults.is_empty() => Ok(desired),
        Ok(_) => Err(faults),
        Err(found) => Err(faults.into_iter().chain(found.into_vec()).collect()),
    }
    .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The only object of a document, as it would be written.
#[track_caller]
fn accept(document: &str) -> Value {
    accept_files(&[("a.yaml", document)])
}

#[track_caller]
fn accept_files(files: &[(&str, &str)]) -> Value {
    let desired = read(files).unwrap();
    let mut bodies: Vec<Value> =
        desired.sets.iter().chain(&desired.objects).map(|object| object.body.clone()).collect();
    bodies.extend(desired.installations.iter().map(|installation| {
        json!({"object": installation.object_name, "id": installation.id.to_string(), "spec": installation.spec})
    }));
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    bodies.remove(0)
}

/// Each fault begins with its place and holds the words.
#[track_caller]
fn refuse(document: &str, expected: &[(&str, &str)]) {
    refuse_files(&[("a.yaml", document)], expected);
}

#[track_caller]
fn refuse_files(files: &[(&str, &str)], expected: &[(&str, &str)]) {
    let found = read(files).expect_err("should be refused");
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (place, words)) in found.iter().zip(expected) {
        assert!(
            found.starts_with(&format!("{place}: ")) && found.contains(words),
            "{found:?} lacks {place:?} {words:?}"
        );
    }
}

/// An Installation of the operator, valid but for what a case adds or overwrites in `spec`.
fn installation(spec: &str) -> String {
    format!(
        "apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {{name: mybuns}}\nspec:\n  schemaVersion: 1.0.2\n{spec}"
    )
}

fn with_bundle(spec: &str) -> String {
    installation(&format!("  bundle: {{repository: ghcr.io/x/y, version: 0.1.0}}\n{spec}"))
}

fn parameter_set(parameters: &str) -> String {
    format!(
        "apiVersion: getporter.org/v1\nkind: ParameterSet\nmetadata: {{name: ps}}\nspec:\n  schemaVersion: 1.0.1\n  parameters:\n{parameters}"
    )
}

fn credential_set(credentials: &str) -> String {
    format!(
        "apiVersion: getporter.org/v1\nkind: CredentialSet\nmetadata: {{name: cs}}\nspec:\n  schemaVersion: 1.0.1\n  credentials:\n{credentials}"
    )
}

#[test]
fn what_is_left_open_is_filled_in() {
    let filled = json!({
        "object": "mybuns", "id": "team: team/mybuns",
        "spec": {"schemaVersion": "1.0.2", "name": "mybuns", "namespace": "team", "bundle": {"repository": "ghcr.io/x/y", "version": "0.1.0"}},
    });
    assert_eq!(accept(&with_bundle("")), filled);
    assert_eq!(accept(&with_bundle("  name: ''\n  namespace: ~\n")), filled);
    let other = accept(&with_bundle("  name: other\n  namespace: dev\n"));
    assert_eq!(other["id"], "team: dev/other");
    let global = accept(&with_bundle("  namespace: ''\n"));
    assert_eq!((&global["id"], &global["spec"]["namespace"]), (&json!("team: /mybuns"), &json!("")));
    let elsewhere = accept(&with_bundle("").replace("{name: mybuns}", "{name: mybuns, namespace: prod}"));
    assert_eq!(elsewhere["id"], "prod: prod/mybuns");
}

#[test]
fn nothing_is_emitted_that_the_operator_drops() {
    let pruned = accept(&with_bundle(
        "  uninstalled: false\n  labels: {}\n  parameters: {}\n  credentialSets: []\n  parameterSets: ~\n  agentConfig: {name: ''}\n",
    ));
    assert_eq!(pruned["spec"], accept(&with_bundle(""))["spec"]);
    let bundle = accept(&installation("  bundle: {repository: r/x, digest: '', version: ~, tag: latest}\n"));
    assert_eq!(bundle["spec"]["bundle"], json!({"repository": "r/x", "tag": "latest"}));
    let kept = accept(&with_bundle(
        "  uninstalled: true\n  labels: {a: ''}\n  parameters: {text: '', off: false, list: [], map: {}, one: 1.0, big: 1e6, f: 1.10}\n",
    ));
    assert_eq!(kept["spec"]["uninstalled"], json!(true));
    assert_eq!(kept["spec"]["labels"], json!({"a": ""}));
    assert_eq!(
        kept["spec"]["parameters"],
        json!({"text": "", "off": false, "list": [], "map": {}, "one": 1, "big": 1_000_000, "f": 1.1})
    );
}

#[test]
fn a_porter_installation_becomes_a_resource() {
    let document = "\
schemaType: installation
schemaVersion: 1.0.2
name: My_App
namespace: staging
uninstalled: false
custom: {a: 1}
id: 01G1VJGY43HT3KZN82DS6DDPWK
status: {runId: x}
_calculated: {displayInstallationStatus: installed}
bundle:
  repository: getporter/porter-hello
  version: 0.10
labels: {team: red, '1': 2, on: 2024-01-02}
credentialSets: [kool, 7]
parameters:
  yes-or-no: yes
  log-level: 11
  day: 2024-01-02
";
    refuse(document, &[("a.yaml:3:7", "spec.name \"My_App\" is no DNS label")]);
    assert_eq!(
        accept(&document.replace("My_App", "my-app")),
        json!({"object": "my-app", "id": "team: staging/my-app", "spec": {
            "schemaVersion": "1.0.2", "name": "my-app", "namespace": "staging",
            "bundle": {"repository": "getporter/porter-hello", "version": "0.10"},
            "labels": {"team": "red", "1": "2", "on": "2024-01-02"}, "credentialSets": ["kool", "7"],
            "parameters": {"yes-or-no": "yes", "log-level": 11, "day": "2024-01-02T00:00:00Z"},
        }})
    );
}

#[test]
fn a_porter_parameter_set_becomes_a_resource_of_strings() {
    let document = "\
schemaType: ParameterSet
schemaVersion: 1.1.0
name: myparams
namespace: staging
parameters:
  - {name: colors, source: {value: {red: [255, 0], a: '<b>'}}}
  - {name: list, source: {value: [1, x, 0.5]}}
  - {name: int, source: {value: 10}}
  - {name: hex, source: {value: 0x1F}}
  - {name: float, source: {value: 3.1415}}
  - {name: million, source: {value: 1e6}}
  - {name: 'true', source: {value: true}}
  - {name: word, source: {value: yes}}
  - {name: text, source: {value: '007'}}
  - {name: config, source: {value: '@config.json'}}
  - {name: big, source: {value: 9007199254740993}}
  - {name: connStr, source: {secret: my-connection-string}}
";
    let value = |name: &str, text: &str| json!({"name": name, "source": {"value": text}});
    assert_eq!(
        accept(document),
        json!({
            "apiVersion": "getporter.org/v1", "kind": "ParameterSet",
            "metadata": {"name": "myparams", "namespace": "team"},
            "spec": {"schemaVersion": "1.0.1", "name": "myparams", "namespace": "staging", "parameters": [
                value("colors", "{\"a\":\"\\u003cb\\u003e\",\"red\":[255,0]}"),
                value("list", "[1,\"x\",0.5]"),
                value("int", "10"),
                value("hex", "31"),
                value("float", "3.1415"),
                value("million", "1e+06"),
                value("true", "true"),
                value("word", "yes"),
                value("text", "007"),
                value("config", "@config.json"),
                value("big", "9007199254740993"),
                {"name": "connStr", "source": {"secret": "my-connection-string"}},
            ]},
        })
    );
    let set = |source: &str| {
        format!(
            "schemaType: PARAMETERSET\nschemaVersion: 1.0.1\nname: p\nparameters:\n- {{name: a, source: {source}}}\n"
        )
    };
    refuse(&set("{value: ~}"), &[("a.yaml:5:29", "source.value is empty")]);
    refuse(&set("{value: [0.12345678901234567891]}"), &[("a.yaml:5:29", "put it in quotes")]);
    refuse(&set("{value: 2024-01-02}"), &[("a.yaml:5:29", "is a timestamp, which Porter would print in another form")]);
    refuse(&set("{env: A}"), &[("a.yaml:5:22", "env is not available")]);
    refuse(&set("{secret: a, value: b}"), &[("a.yaml:5:21", "more than one source")]);
    refuse(&set("{}"), &[("a.yaml:5:21", "names no source")]);
    refuse(&format!("{}labels: {{a: b}}\n", set("{secret: a}")), &[("a.yaml:6:1", "no labels")]);
}

#[test]
fn a_porter_credential_set_becomes_a_resource() {
    let document = "\
schemaType: CredentialSet
schemaVersion: 1.0.1
name: 42
credentials:
  - {name: token, source: {secret: 1234}}
";
    assert_eq!(
        accept(document),
        json!({
            "apiVersion": "getporter.org/v1", "kind": "CredentialSet", "metadata": {"name": "42", "namespace": "team"},
            "spec": {"schemaVersion": "1.0.1", "name": "42", "namespace": "team", "credentials": [{"name": "token", "source": {"secret": "1234"}}]},
        })
    );
    for source in ["env", "path", "command", "value"] {
        refuse(
            &document.replace("secret", source),
            &[("a.yaml:5:28", &format!("spec.credentials[0].source.{source} is not available"))],
        );
    }
}

#[test]
fn porter_documents_that_cannot_be_applied_say_what_to_do() {
    for (document, place, words) in [
        ("schemaType: Bundle\nname: x\nmixins: [exec]\n", "a.yaml:1:13", "name the file porter.yaml"),
        ("schemaType: Plugins\nschemaVersion: 1.0.0\n", "a.yaml:1:13", "spec.pluginConfigFile"),
        ("schemaType: Instalation\nname: x\n", "a.yaml:1:13", "is not known"),
        ("schemaType: [Installation]\nname: x\n", "a.yaml:1:13", "has to be a string"),
        ("schemaType: Installation\nname: {}\n", "a.yaml:2:7", "name has to be a string"),
        ("schemaType: Installation\nname: ___\n", "a.yaml:2:7", "with a letter or a digit"),
        (
            "schemaType: Installation\nname: x\nnamespace: 7\n",
            "a.yaml:3:12",
            "namespace has to be a string, and is a number",
        ),
    ] {
        refuse(document, &[(place, words)]);
    }
}

/// What the hook makes of the metadata and of the name in `spec`, for a document of a file.
fn hooked(file: &str, document: &str) -> Value {
    let documents = yaml::parse(file, document.as_bytes()).unwrap();
    let object = document_hook(&documents[0]).unwrap().map_err(|faults| faults[0].to_string()).unwrap();
    let json = object.to_json().unwrap();
    json!([json["metadata"], json["spec"]])
}

#[test]
fn an_object_is_named_by_its_document_or_its_file() {
    for (file, document, expected) in [
        ("a.yaml", "name: x", json!([{"name": "x"}, {"name": "x"}])),
        ("a.yaml", "name: My_App", json!([{"name": "my-app"}, {"name": "My_App"}])),
        ("apps/My.App.yaml", "namespace: dev", json!([{"name": "my-app"}, {"namespace": "dev"}])),
        ("mysql.yml", "name: ~", json!([{"name": "mysql"}, {"name": null}])),
        ("a.yaml", "metadata: {labels: {a: b}}", json!([{"labels": {"a": "b"}, "name": "a"}, {}])),
        ("a.yaml", "metadata: ~", json!([{"name": "a"}, {}])),
        (
            "a.yaml",
            "name: x\nmetadata: {name: y, annotations: {k: v}}",
            json!([{"name": "y", "annotations": {"k": "v"}}, {"name": "x"}]),
        ),
    ] {
        assert_eq!(hooked(file, &format!("schemaType: Installation\n{document}\n")), expected, "{document}");
    }
    let installation = "schemaType: Installation\nschemaVersion: 1.0.2\nbundle: {repository: x, tag: y}\n";
    assert_eq!(accept(installation)["id"], "team: team/a");
    refuse_files(&[("_.yaml", installation)], &[("_.yaml:1:1", "name is missing, and that of the file has no letter")]);
    refuse(&format!("{installation}metadata: x\n"), &[("a.yaml:4:11", "metadata has to be a mapping")]);
}

#[test]
fn other_documents_are_not_porters() {
    for (document, mine) in [
        ("name: x\n", false),
        ("apiVersion: v1\nkind: ConfigMap\nschemaType: Installation\n", false),
        ("- schemaType: Installation\n", false),
        ("schemaType: Installation\n", true),
    ] {
        let documents = yaml::parse("a.yaml", document.as_bytes()).unwrap();
        assert_eq!(document_hook(&documents[0]).is_some(), mine, "{document}");
    }
}

#[test]
fn the_manifest_of_a_bundle_is_passed_over_and_names_the_bundle() {
    let document = installation("");
    let manifest =
        "schemaVersion: 1.0.1\nname: hello\nversion: v0.1\nregistry: ghcr.io/x/\nmixins: [exec]\ninstall: []\n";
    let bundle = |files: &[(&str, &str)]| accept_files(files)["spec"]["bundle"].clone();
    let by_version = json!({"repository": "ghcr.io/x/hello", "version": "0.1"});
    assert_eq!(bundle(&[("porter.yaml", manifest), ("a/b/c.yaml", &document)]), by_version);
    let near =
        "schemaType: Bundle\nname: near\nreference: localhost:5000/near:latest\nregistry: no.example\nversion: 1.0.0\n";
    assert_eq!(
        bundle(&[("porter.yaml", manifest), ("a/porter.yaml", near), ("a/b.yaml", &document)]),
        json!({"repository": "localhost:5000/near", "tag": "latest"})
    );
    let untagged = near.replace(":latest", "");
    assert_eq!(
        bundle(&[("a/porter.yaml", &untagged), ("a/b.yaml", &document)]),
        json!({"repository": "localhost:5000/near", "version": "1.0.0"})
    );
    let native = "schemaType: Installation\nschemaVersion: 1.0.2\nname: x\nbundle: {}\n";
    assert_eq!(bundle(&[("porter.yaml", manifest), ("x.yaml", native)]), by_version);
    // A bundle in a directory beside is not above.
    refuse_files(
        &[("a/porter.yaml", manifest), ("b/c.yaml", &document)],
        &[("b/c.yaml:1:1", "spec.bundle is missing, and neither")],
    );
    for (manifest, place, words) in [
        ("name: x\nmixins: []\nversion: 1.0.0\n", "porter.yaml:1:1", "neither a reference nor a registry"),
        ("name: x\nmixins: []\nregistry: r\n", "porter.yaml:1:1", "there is no version"),
        (
            "name: x\nmixins: []\nregistry: R/a\nversion: x\n",
            "porter.yaml:4:10",
            "spec.bundle.version is no semantic version",
        ),
        (&format!("name: x\nmixins: []\nreference: r/a@{DIGEST}\n"), "porter.yaml:3:12", "names a digest"),
    ] {
        let manifest = manifest.replace("registry: R/a", "registry: reg.io/a");
        refuse_files(&[("porter.yaml", &manifest), ("z.yaml", &document)], &[(place, words)]);
    }
    // What is no manifest of a bundle is an object as any other, be the name as it may.
    assert_eq!(accept_files(&[("porter.yaml", &with_bundle(""))])["object"], "mybuns");
}

#[test]
fn bundles_are_checked_at_the_part_that_is_wrong() {
    for (bundle, place, words) in [
        ("{repository: ghcr.io/x/y}", "a.yaml:6:11", "spec.bundle picks no bundle"),
        ("{version: 1.0.0}", "a.yaml:6:11", "spec.bundle.repository is missing"),
        ("{repository: 'ghcr.io/x/y:v1', tag: v1}", "a.yaml:6:24", "holds a tag or a digest"),
        ("{repository: GHCR/x/Y, tag: v1}", "a.yaml:6:24", "is no repository name"),
        ("{repository: x, digest: sha256:12}", "a.yaml:6:35", "spec.bundle.digest is no digest"),
        ("{repository: x, version: latest}", "a.yaml:6:36", "spec.bundle.version is no semantic version"),
        ("{repository: x, tag: -v}", "a.yaml:6:32", "spec.bundle.tag is no tag"),
        ("{repository: x, version: 0.1}", "a.yaml:6:36", "has to be a string, and is a number: put it in quotes"),
        ("{repository: x, tag: v1, name: y}", "a.yaml:6:36", "spec.bundle.name is no field here"),
        ("ghcr.io/x/y", "a.yaml:6:11", "spec.bundle has to be a mapping, and is a string"),
    ] {
        refuse(&installation(&format!("  bundle: {bundle}\n")), &[(place, words)]);
    }
    let all = format!("  bundle: {{repository: x, tag: v1, version: v1.2, digest: '{DIGEST}'}}\n");
    assert_eq!(
        accept(&installation(&all))["spec"]["bundle"],
        json!({"repository": "x", "tag": "v1", "version": "v1.2", "digest": DIGEST})
    );
}

#[test]
fn the_fields_of_a_spec_are_checked() {
    for (spec, place, words) in [
        ("  foo: 1\n", "a.yaml:7:3", "spec.foo is no field here"),
        ("  active: false\n", "a.yaml:7:3", "uninstalled: true"),
        ("  schemaType: Installation\n", "a.yaml:7:3", "remove it"),
        ("  uninstalled: 'false'\n", "a.yaml:7:16", "has to be true or false, and is a string"),
        ("  labels: {a: 1}\n", "a.yaml:7:15", "spec.labels.a has to be a string, and is a number: put it in quotes"),
        ("  credentialSets: kool\n", "a.yaml:7:19", "has to be a list"),
        ("  credentialSets: [1]\n", "a.yaml:7:20", "spec.credentialSets[0] has to be a string"),
        ("  parameterSets: ['']\n", "a.yaml:7:19", "spec.parameterSets[0] is empty"),
        ("  parameters: [a]\n", "a.yaml:7:15", "has to be a mapping"),
        ("  parameters: {a: ~}\n", "a.yaml:7:16", "spec.parameters.a has no value"),
        ("  agentConfig: fast\n", "a.yaml:7:16", "has to be a mapping"),
        ("  name: Big\n", "a.yaml:7:9", "is no DNS label"),
        ("  name: -x\n", "a.yaml:7:9", "is no DNS label"),
        ("  namespace: -x\n", "a.yaml:7:14", "is no DNS label"),
        ("  namespace: 1\n", "a.yaml:7:14", "has to be a string"),
    ] {
        refuse(&with_bundle(spec), &[(place, words)]);
    }
    let long = format!("  name: {}\n", "a".repeat(64));
    refuse(&with_bundle(&long), &[("a.yaml:7:9", "64 characters")]);
}

#[test]
fn numbers_that_float64_changes_are_refused_without_being_told() {
    for number in ["9007199254740993", "-9007199254740993", "1152921504606846976", "0.12345678901234567891"] {
        let document = with_bundle(&format!("  parameters:\n    deep: [{{x: {number}}}]\n"));
        refuse(&document, &[("a.yaml:8:16", "spec.parameters.deep[0].x is a number that the operator would change")]);
        assert!(!read(&[("a.yaml", &document)]).unwrap_err()[0].contains(number));
        accept(&with_bundle(&format!("  parameters:\n    deep: [{{x: '{number}'}}]\n")));
    }
    for number in ["9007199254740992", "0.1", "-1.5e-7", "1000000", "0x1F"] {
        accept(&with_bundle(&format!("  parameters: {{x: {number}}}\n")));
    }
}

#[test]
fn schema_versions_are_the_ones_that_porter_takes() {
    for (version, valid) in
        [("1.0.2", true), ("v1.0.2", true), ("1.0.1", false), ("9.0.0", false), ("x", false), ("''", false)]
    {
        let document = with_bundle("").replace("1.0.2", version);
        if valid {
            assert_eq!(accept(&document)["spec"]["schemaVersion"], version);
        } else {
            refuse(&document, &[("a.yaml:5:18", "write schemaVersion: 1.0.2")]);
        }
    }
    refuse(
        &with_bundle("").replace("  schemaVersion: 1.0.2\n", ""),
        &[("a.yaml:5:3", "spec.schemaVersion is missing")],
    );
    let set = parameter_set("  - {name: a, source: {value: b}}\n");
    assert_eq!(accept(&set.replace("1.0.1", "1.1.0"))["spec"]["schemaVersion"], "1.1.0");
    refuse(&set.replace("1.0.1", "1.0.2"), &[("a.yaml:5:18", "write schemaVersion: 1.0.1 or 1.1.0")]);
    let set = credential_set("  - {name: a, source: {secret: b}}\n");
    refuse(&set.replace("1.0.1", "1.1.0"), &[("a.yaml:5:18", "write schemaVersion: 1.0.1")]);
}

#[test]
fn sets_have_one_source_each() {
    accept(&parameter_set("  - {name: a, source: {secret: b, value: ~}}\n"));
    for (item, place, words) in [
        ("{name: a, source: {value: 1}}", "a.yaml:7:31", "has to be a string, and is a number: put it in quotes"),
        ("{name: a, source: {value: ''}}", "a.yaml:7:31", "remove the parameter"),
        ("{name: a, source: {secret: ''}}", "a.yaml:7:32", "name the secret"),
        ("{name: a, source: {}}", "a.yaml:7:23", "names no source"),
        ("{name: a, source: {secret: a, value: b}}", "a.yaml:7:23", "more than one"),
        ("{name: a}", "a.yaml:7:5", "spec.parameters[0].source is missing"),
        ("{source: {secret: a}}", "a.yaml:7:5", "spec.parameters[0].name is missing"),
        ("{name: '', source: {secret: a}}", "a.yaml:7:12", "name is empty"),
    ] {
        refuse(&parameter_set(&format!("  - {item}\n")), &[(place, words)]);
    }
    let none = parameter_set("").replace("  parameters:\n", "");
    refuse(&none, &[("a.yaml:5:3", "spec.parameters is missing")]);
    assert_eq!(accept(&none.replace("spec:", "spec:\n  parameters: []"))["spec"]["parameters"], json!([]));
}

#[test]
fn metadata_is_kept_dropped_or_refused() {
    let with = |metadata: &str| with_bundle("").replace("{name: mybuns}", &format!("\n  name: mybuns\n  {metadata}"));
    for (metadata, place, words) in [
        ("generateName: x-", "a.yaml:5:17", "write metadata.name"),
        ("finalizers: [a]", "a.yaml:5:15", "remove it"),
        ("ownerReferences: []", "a.yaml:5:20", "remove it"),
        ("nmespace: x", "a.yaml:5:13", "metadata.nmespace is no field"),
        ("namespace: Team", "a.yaml:5:14", "is no DNS label"),
        ("labels: {getporter.org/resourceGeneration: '1'}", "a.yaml:5:12", "without end"),
        ("labels: {flux.getporter.org/name: x}", "a.yaml:5:12", "written by the controller"),
        ("labels: {a: b c}", "a.yaml:5:12", "no valid label value"),
        ("labels: {a/b/c: x}", "a.yaml:5:12", "no valid key"),
        ("labels: {a: true}", "a.yaml:5:12", "put it in quotes"),
        ("annotations: {flux.getporter.org/invoke: x}", "a.yaml:5:44", "says not which time"),
        ("annotations: {flux.getporter.org/dependson: x}", "a.yaml:5:17", "is not known"),
        ("annotations: {getporter.org/retry: x}", "a.yaml:5:17", "second run"),
    ] {
        refuse(&with(metadata), &[(place, words)]);
    }
    let exported = with(
        "uid: u\n  resourceVersion: '7'\n  generation: 3\n  creationTimestamp: ~\n  labels: {a: b}\n  annotations: {c: d, kubectl.kubernetes.io/last-applied-configuration: x}",
    ) + "status: {phase: Succeeded}\n";
    let desired = read(&[("a.yaml", &exported)]).unwrap();
    let installation = &desired.installations[0];
    assert_eq!(json!(installation.labels), json!({"a": "b"}));
    assert_eq!(json!(installation.annotations), json!({"c": "d"}));
    refuse(&(with_bundle("") + "data: {}\n"), &[("a.yaml:7:1", "data is no field of Installation")]);
    refuse(
        &with_bundle("").replace("name: mybuns", "name: a.b"),
        &[("a.yaml:3:18", "metadata.name \"a.b\" is no DNS label")],
    );
}

/// An Installation that says this of its order, on line 5.
fn ordered(name: &str, depends_on: &str) -> String {
    format!(
        "apiVersion: getporter.org/v1\nkind: Installation\nmetadata:\n  name: {name}\n  annotations: {{flux.getporter.org/depends-on: {depends_on}, c: d}}\n\
         spec: {{schemaVersion: 1.0.2, bundle: {{repository: example.test/x, version: 1.0.0}}}}\n"
    )
}

#[test]
fn what_an_installation_depends_on_is_found_by_name() {
    let plain = |name: &str, namespace: &str| {
        ordered(name, "x").replace(
            "  annotations: {flux.getporter.org/depends-on: x, c: d}\n",
            &format!("  namespace: {namespace}\n"),
        )
    };
    let (web, db, cache) = (ordered("web", "'db, other/cache,db'"), plain("db", "team"), plain("cache", "other"));
    let native = "schemaType: Installation\nschemaVersion: 1.0.2\nname: job\nbundle: {repository: a.b/c, version: 1.0.0}\n\
        metadata: {annotations: {flux.getporter.org/depends-on: web}}\n";
    let desired = read(&[("a.yaml", &web), ("b.yaml", &db), ("c.yaml", &cache), ("d.yaml", native)]).unwrap();
    let told: Vec<String> = desired
        .installations
        .iter()
        .map(|one| {
            format!(
                "{} {:?} {:?}",
                one.id,
                one.depends_on.iter().map(ToString::to_string).collect::<Vec<_>>(),
                one.annotations
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "other: other/cache [] {}",
            "team: team/db [] {}",
            r#"team: team/job ["team: team/web"] {}"#,
            r#"team: team/web ["other: other/cache", "team: team/db"] {"c": "d"}"#,
        ]
    );
    let down = |text: &str| text.replace("spec: {", "spec: {uninstalled: true, ");
    assert!(read(&[("a.yaml", &down(&web)), ("b.yaml", &db), ("c.yaml", &cache)]).is_ok());
    refuse_files(
        &[("a.yaml", &web), ("b.yaml", &down(&db)), ("c.yaml", &cache)],
        &[("a.yaml:5:48", "names \"db\", which is uninstalled")],
    );
}

#[test]
fn an_order_that_cannot_be_is_told_whole() {
    for (depends_on, words) in [
        ("nobody", "names \"nobody\", and no Installation of this source in namespace team has that name"),
        ("other/db", "in namespace other"),
        ("','", "holds \"\": write the names"),
        ("/db", "holds \"/db\""),
        ("web", "makes a cycle, of which none could begin: web (a.yaml:1) -> web (a.yaml:1)"),
    ] {
        refuse_files(
            &[("a.yaml", &ordered("web", depends_on)), ("b.yaml", &with_bundle(""))],
            &[("a.yaml:5:48", words)],
        );
    }
    refuse_files(
        &[
            ("a.yaml", &ordered("one", "two")),
            ("b.yaml", &ordered("two", "three")),
            ("c.yaml", &ordered("three", "'one, two'")),
            ("d.yaml", &ordered("four", "one")),
            ("e.yaml", &ordered("five", "six")),
            ("f.yaml", &ordered("six", "five")),
        ],
        &[
            ("a.yaml:5:48", "one (a.yaml:1) -> two (b.yaml:1) -> three (c.yaml:1) -> one (a.yaml:1)"),
            ("e.yaml:5:48", "five (e.yaml:1) -> six (f.yaml:1) -> five (e.yaml:1)"),
        ],
    );
    refuse(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: {flux.getporter.org/depends-on: x}\n",
        &[("a.yaml:5:48", "is for an Installation")],
    );
    refuse(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: {flux.getporter.org/invoke: x@1}\n",
        &[("a.yaml:5:44", "is for an Installation")],
    );
}

#[test]
fn config_maps_and_secrets_are_as_they_live() {
    assert_eq!(
        accept(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a.b}\ntype: Opaque\nimmutable: true\ndata: {value: eA==, b: \"e\\nQ==\"}\nstringData: {value: hello}\n"
        ),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a.b", "namespace": "team"},
            "type": "Opaque", "immutable": true, "data": {"value": "aGVsbG8=", "b": "eQ=="},
        })
    );
    assert_eq!(
        accept("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata: {x: ''}\n"),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}, "data": {"x": ""}})
    );
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n";
    for (rest, place, words) in [
        ("data: {a: hello}\n", "a.yaml:4:11", "data.a is not base64: encode it, or move it to stringData"),
        ("data: {a/b: eA==}\n", "a.yaml:4:8", "data: key 1 of 1 (not shown here) is no valid key"),
        ("stringData: {a: 1}\n", "a.yaml:4:17", "stringData.a has to be a string"),
        ("spec: {}\n", "a.yaml:4:1", "spec is no field here"),
        ("sops: {}\n", "a.yaml:4:1", "Flux's Kustomization"),
    ] {
        refuse(&format!("{secret}{rest}"), &[(place, words)]);
    }
}

#[test]
fn only_porters_kinds_config_maps_and_secrets_are_applied() {
    for (head, words) in [
        ("apiVersion: apps/v1\nkind: Deployment", "Flux's Kustomization"),
        ("apiVersion: v1\nkind: Service", "Flux's Kustomization"),
        ("apiVersion: flux.getporter.org/v1alpha1\nkind: BundleSync", "Flux's Kustomization"),
        ("apiVersion: getporter.org/v1\nkind: InstallationOutput", "written by the operator alone"),
        ("apiVersion: getporter.org/v1\nkind: Instalation", "is no kind of getporter.org/v1"),
        ("apiVersion: getporter.org/v1alpha1\nkind: Installation", "write getporter.org/v1"),
        ("apiVersion: porter.sh/v1\nkind: Installation", "write getporter.org/v1"),
    ] {
        refuse(&format!("{head}\nmetadata: {{name: x}}\n"), &[("a.yaml:1:1", words)]);
    }
    let config = "apiVersion: getporter.org/v1\nkind: AgentConfig\nmetadata: {name: c}\nspec:\n  retryLimit: 0\n  volumeSize: ''\n  pluginConfigFile: {schemaVersion: 1.0.0, plugins: {kubernetes: {}}}\n";
    assert_eq!(
        accept(config)["spec"],
        json!({"retryLimit": 0, "pluginConfigFile": {"schemaVersion": "1.0.0", "plugins": {"kubernetes": {}}}})
    );
    refuse(&config.replace(" 0\n", " 3000000000\n"), &[("a.yaml:5:15", "32-bit")]);
    let action = "apiVersion: getporter.org/v1\nkind: AgentAction\nmetadata: {name: c}\nspec:\n  args: [version]\n  files: {a: eA==}\n  volumes: [{name: x, emptyDir: {}}]\n";
    assert_eq!(accept(action)["spec"]["volumes"], json!([{"name": "x", "emptyDir": {}}]));
    refuse(&action.replace("eA==", "hello"), &[("a.yaml:6:14", "spec.files.a is not base64: encode it")]);
    let with = |variable: &str| format!("{action}  env: [{variable}]\n");
    let from = "{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}";
    assert_eq!(accept(&with(from))["spec"]["env"][0]["valueFrom"]["secretKeyRef"]["key"], "k");
    for (variable, place, words) in [
        ("{name: A, value: 4711}", "a.yaml:8:26", "spec.env[0].value has to be a string"),
        ("{value: a}", "a.yaml:8:9", "spec.env[0].name is missing"),
        ("{name: A, secret: a}", "a.yaml:8:19", "spec.env[0].secret is no field here"),
    ] {
        refuse(&with(variable), &[(place, words)]);
    }
}

#[test]
fn no_two_are_one() {
    let twin = with_bundle("  name: one\n").replace("mybuns", "other");
    let first = with_bundle("  name: one\n");
    refuse_files(
        &[("a.yaml", &first), ("b.yaml", &twin)],
        &[("b.yaml:1:1", "Installation team/other is team/one to Porter, as Installation team/mybuns at a.yaml:1 is")],
    );
    // One in the default namespace, and one that names it.
    let explicit = with_bundle("").replace("{name: mybuns}", "{name: mybuns, namespace: team}");
    refuse_files(
        &[("a.yaml", &with_bundle("")), ("b.yaml", &explicit)],
        &[("b.yaml:1:1", "Installation team/mybuns is at a.yaml:1 already")],
    );
    let set = |name: &str| {
        credential_set("  - {name: a, source: {secret: b}}\n  name: x\n")
            .replace("{name: cs}", &format!("{{name: {name}}}"))
    };
    refuse_files(
        &[("a.yaml", &set("one")), ("b.yaml", &set("two"))],
        &[("b.yaml:1:1", "as CredentialSet team/one at a.yaml:1 is")],
    );
    // The same name to Porter in another Kubernetes namespace, or of another kind, is another one.
    let apart = twin
        .replace("{name: other}", "{name: other, namespace: prod}")
        .replace("name: one", "name: one\n  namespace: team");
    assert_eq!(read(&[("a.yaml", &first), ("b.yaml", &apart)]).unwrap().installations.len(), 2);
}

#[test]
fn one_document_is_no_two_installations_of_porter() {
    let object = |name: &str| {
        let documents = yaml::parse("base.yaml", with_bundle("  name: one\n").as_bytes()).unwrap();
        let mut node = documents[0].node.clone();
        node.get_mut("metadata").unwrap().set("name", manifest::yaml::Node::string(name));
        Object { node, origin: documents[0].origin.clone(), renamings: Vec::new() }
    };
    let tree = FileTree::new();
    let context = Context { default_namespace: "team", tree: &tree };
    let faults = interpret(&[object("dev-one"), object("prod-one")], &context).unwrap_err().to_string();
    assert_eq!(
        faults,
        "base.yaml:1:1: Installation team/prod-one is team/one to Porter, as Installation team/dev-one at base.yaml:1 \
         is: leave out its name and namespace, so that they follow the overlays, or patch them in each"
    );
}

#[test]
fn a_set_is_used_by_its_name_to_porter() {
    let user = |name: &str| with_bundle(&format!("  credentialSets: [x, {name}]\n"));
    let set = |spec: &str| {
        credential_set(&format!("  - {{name: a, source: {{secret: b}}}}\n{spec}"))
            .replace("{name: cs}", "{name: object}")
    };
    let named = set("  name: porter\n");
    let expected = "spec.credentialSets[1] is the name of the object CredentialSet/team/object (b.yaml:1), which Porter \
                    knows as \"porter\": write that, or leave out";
    refuse_files(&[("a.yaml", &user("object")), ("b.yaml", &named)], &[("a.yaml:7:23", expected)]);
    // One that follows its object, one named as Porter knows it, one that is elsewhere, one of the other kind.
    let of_parameters = user("object").replace("credentialSets", "parameterSets");
    for (user, set) in [
        (user("object"), set("")),
        (user("porter"), named.clone()),
        (user("other"), named.clone()),
        (user("object"), named.replace("{name: object}", "{name: object, namespace: prod}")),
        (of_parameters, named),
    ] {
        read(&[("a.yaml", &user), ("b.yaml", &set)]).unwrap();
    }
}

#[test]
fn every_fault_is_told() {
    let bad = "\
apiVersion: getporter.org/v1
kind: Installation
metadata: {name: Bad}
spec: {foo: 1, bundle: {repository: x}, uninstalled: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
";
    refuse(
        bad,
        &[
            ("a.yaml:3:18", "metadata.name"),
            ("a.yaml:4:7", "spec.schemaVersion is missing"),
            ("a.yaml:4:8", "spec.foo"),
            ("a.yaml:4:24", "picks no bundle"),
            ("a.yaml:4:54", "spec.uninstalled"),
            ("a.yaml:6:1", "Deployment"),
        ],
    );
}

#[test]
fn the_order_is_that_of_use_and_the_sets_are_found() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: z}\n";
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: zz}\n";
    let config = "apiVersion: getporter.org/v1\nkind: AgentConfig\nmetadata: {name: zzz}\nspec: {retryLimit: 0}\n";
    let global = credential_set("  - {name: a, source: {secret: b}}\n  namespace: ''\n  name: shared\n")
        .replace("{name: cs}", "{name: global}");
    let desired = read(&[
        ("1.yaml", &with_bundle("  credentialSets: [shared, cs, elsewhere]\n  parameterSets: [ps]\n")),
        ("2.yaml", &parameter_set("  - {name: a, source: {secret: b}}\n")),
        ("3.yaml", &credential_set("  - {name: a, source: {secret: b}}\n")),
        ("4.yaml", &global),
        ("5.yaml", config),
        ("6.yaml", secret),
        ("7.yaml", config_map),
        ("8.yaml", &with_bundle("").replace("mybuns", "aaa")),
    ])
    .unwrap();
    let names = |objects: &[DesiredObject]| objects.iter().map(|object| object.id.to_string()).collect::<Vec<_>>();
    assert_eq!(
        names(&desired.sets),
        ["AgentConfig/team/zzz", "CredentialSet/team/cs", "CredentialSet/team/global", "ParameterSet/team/ps"]
    );
    assert_eq!(names(&desired.objects), ["ConfigMap/team/zz", "Secret/team/z"]);
    let installations: Vec<_> = desired.installations.iter().map(|installation| installation.id.to_string()).collect();
    assert_eq!(installations, ["team: team/aaa", "team: team/mybuns"]);
    let sets: Vec<_> = desired.sets_of(&desired.installations[1]).iter().map(|set| set.id.name.clone()).collect();
    assert_eq!(sets, ["global", "cs", "ps"]);
    assert_eq!(desired.sets[1].porter_identity, Some(("team".to_owned(), "cs".to_owned())));
}

#[test]
fn a_specs_digest_does_not_depend_on_how_it_was_written() {
    let digest = |document: &str| crate::digest(&read(&[("a.yaml", document)]).unwrap().installations[0].spec);
    let one = digest(&with_bundle("  parameters: {b: 1, a: 2}\n"));
    assert_eq!(one, digest(&with_bundle("  uninstalled: false\n  parameters:\n    a: 2.0\n    b: 0x1\n")));
    assert_ne!(one, digest(&with_bundle("  parameters: {b: 1, a: 3}\n")));
}
