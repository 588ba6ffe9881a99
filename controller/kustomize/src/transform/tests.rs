//! Each row is a plugin's configuration, resources, and what becomes of them.
//!
//! The environment variable `KUSTOMIZE` may name a `kustomize` v5.8.1, which then has to say the same.

use std::fs;
use std::process::Command;

use manifest::yaml::{self, Dialect};

use super::*;
use crate::kustomization::{Image, Replica};
use crate::limits::{Budget, Limits};
use crate::read::{Entry, Fields};
use crate::schema::Schemas;

enum Then {
    /// These resources.
    Is(&'static str),
    /// A fault with these words.
    Fails(&'static str),
}
use Then::{Fails, Is};

type Row = (&'static str, &'static str, Then);

fn budget() -> Budget<'static> {
    Budget::new(&Limits::default(), None)
}

fn resources(text: &str) -> ResMap {
    let mut resources = ResMap::default();
    for document in yaml::parse("r.yaml", text.as_bytes()).unwrap() {
        resources.append(Resource::new(document.node, document.origin), &Schemas::builtin()).unwrap();
    }
    resources
}

/// Does what the configuration of a plugin says, as that of a file of `transformers` does.
fn transform(config: &str, resources: &mut ResMap) -> Result<(), Diagnostic> {
    let node = yaml::parse_as(Dialect::Kustomization, "t.yaml", config.as_bytes()).unwrap().remove(0).node;
    let mut faults = Vec::new();
    let mut fields = Fields::open(&node, &Entry::default(), &mut faults).unwrap();
    let specs: Vec<FieldSpec> = fields.take_or_default("fieldSpecs");
    let result = match fields.take_or_default::<String>("kind").as_str() {
        "PrefixTransformer" => {
            prefix(resources, &fields.take_or_default::<String>("prefix"), &specs, &Schemas::builtin(), &budget())
        }
        "SuffixTransformer" => {
            suffix(resources, &fields.take_or_default::<String>("suffix"), &specs, &Schemas::builtin(), &budget())
        }
        "NamespaceTransformer" => {
            let subjects = match fields.take_or_default::<String>("setRoleBindingSubjects").as_str() {
                "allServiceAccounts" => SubjectMode::AllServiceAccounts,
                "none" => SubjectMode::None,
                _ => SubjectMode::DefaultOnly,
            };
            let options = NamespaceOptions { unset_only: fields.take_or_default("unsetOnly"), subjects };
            let value = node.at_path(&["metadata", "namespace"]).and_then(Node::as_str).unwrap_or_default();
            namespace(resources, value, &options, &specs, &Schemas::builtin(), &budget())
        }
        "LabelTransformer" => labels(resources, &fields.take_or_default::<Vec<_>>("labels"), &specs, &budget()),
        "AnnotationsTransformer" => {
            annotations(resources, &fields.take_or_default::<Vec<_>>("annotations"), &specs, &budget())
        }
        "ImageTagTransformer" => image(resources, &fields.take_or_default::<Image>("imageTag"), &specs, &budget()),
        "ReplicaCountTransformer" => {
            replicas(resources, &fields.take_or_default::<Replica>("replica"), &specs, &budget())
        }
        other => panic!("{other}"),
    };
    assert!(faults.is_empty(), "{faults:?}");
    result
}

/// As much of the end of a build as can be seen here.
fn printed(resources: ResMap) -> String {
    let nodes: Vec<Node> = resources.into_resources().into_iter().map(|resource| resource.node).collect();
    yaml::to_canonical_all(&nodes)
}

fn check(rows: &[Row]) {
    for (config, given, then) in rows {
        let mut resources = resources(given);
        let result = transform(config, &mut resources);
        match (&result, then) {
            (Ok(()), Is(expected)) => {
                let expected: Vec<Node> =
                    yaml::parse("e", expected.as_bytes()).unwrap().into_iter().map(|document| document.node).collect();
                assert_eq!(printed(resources), yaml::to_canonical_all(&expected), "{config} on\n{given}");
            }
            (Err(fault), Fails(words)) => {
                assert!(fault.message.contains(words) && fault.at.is_some(), "{config} on\n{given}: {fault}");
            }
            _ => panic!("{config} on\n{given}: {result:?}"),
        }
    }
    let Some(oracle) = std::env::var_os("KUSTOMIZE") else {
        eprintln!("KUSTOMIZE is not set: these rows were not compared with kustomize itself");
        return;
    };
    let directory = std::env::temp_dir().join(format!("transform-{}-{:p}", std::process::id(), rows));
    fs::create_dir_all(&directory).unwrap();
    for (config, given, then) in rows {
        let metadata = if config.contains("metadata:") { "" } else { "metadata: {name: t}\n" };
        let config = format!("apiVersion: builtin\n{metadata}{config}");
        fs::write(directory.join("kustomization.yaml"), "resources: [r.yaml]\ntransformers: [t.yaml]\n").unwrap();
        fs::write(directory.join("t.yaml"), &config).unwrap();
        fs::write(directory.join("r.yaml"), given).unwrap();
        let built = Command::new(&oracle).arg("build").arg(&directory).output().unwrap();
        let (out, error) = (String::from_utf8(built.stdout).unwrap(), String::from_utf8(built.stderr).unwrap());
        match then {
            Is(expected) => {
                let nodes = |text: &str| -> Vec<Node> {
                    yaml::parse("o", text.as_bytes()).unwrap().into_iter().map(|document| document.node).collect()
                };
                let (mut theirs, mut ours) = (nodes(&out), nodes(expected));
                let by_text = |nodes: &mut Vec<Node>| nodes.sort_by_cached_key(yaml::to_canonical);
                by_text(&mut theirs);
                by_text(&mut ours);
                assert_eq!(
                    yaml::to_canonical_all(&theirs),
                    yaml::to_canonical_all(&ours),
                    "kustomize: {config} on\n{given}: {error}"
                );
            }
            Fails(_) => assert!(!built.status.success(), "kustomize: {config} on\n{given} gives\n{out}"),
        }
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn prefixes_and_suffixes() {
    const FOO: &str = "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\n";
    check(&[
        (
            "kind: PrefixTransformer\nprefix: p-\nfieldSpecs: [{path: metadata/name}]",
            FOO,
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: p-a}"),
        ),
        (
            "kind: SuffixTransformer\nsuffix: -s\nfieldSpecs: [{path: metadata/name}]",
            FOO,
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a-s}"),
        ),
        // What is known by its name keeps it, at every path.
        (
            "kind: PrefixTransformer\nprefix: p-\nfieldSpecs: [{path: metadata/name}, {path: spec/x, create: true}]",
            "apiVersion: y/v9\nkind: CustomResourceDefinition\nmetadata: {name: a}\n---\n\
             apiVersion: y/v9\nkind: Namespace\nmetadata: {name: a}\n---\n\
             apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: a}\n---\n\
             apiVersion: y/v9\nkind: APIService\nmetadata: {name: a}\n",
            Is("apiVersion: y/v9\nkind: CustomResourceDefinition\nmetadata: {name: a}\n---\n\
                apiVersion: y/v9\nkind: Namespace\nmetadata: {name: a}\n---\n\
                apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: a}\n---\n\
                apiVersion: y/v9\nkind: APIService\nmetadata: {name: p-a}\nspec: {x: p-}"),
        ),
        (
            "kind: PrefixTransformer\nprefix: p-\nfieldSpecs: [{path: metadata/name, kind: Bar}, \
             {path: spec/name, group: x, version: v1, kind: Foo}]",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {name: b}",
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {name: p-b}"),
        ),
        // Numbers become strings, and nulls too, by their text.
        (
            "kind: PrefixTransformer\nprefix: p-\nfieldSpecs: [{path: spec/a, create: true}, {path: spec/n}, \
             {path: spec/m, create: true}, {path: spec/num}, {path: spec/l/x, create: true}, {path: spec/no}]",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {n: null, m: null, num: 5, l: [null, {}]}",
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\n\
                spec: {n: p-null, m: p-null, num: p-5, a: p-, l: [null, {x: p-}]}"),
        ),
        (
            "kind: PrefixTransformer\nprefix: p-\nfieldSpecs: [{path: spec}]",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {n: 1}",
            Fails("field \"spec\" is a mapping, not a scalar"),
        ),
        (
            "kind: PrefixTransformer\nprefix: p-\nfieldSpecs: [{path: spec/n/m}]",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {n: 1}",
            Fails("Foo/a: field path \"spec/n/m\" goes through a number at \"m\""),
        ),
        // An object that is of another kind after a field spec is not selected by the next one.
        (
            "kind: PrefixTransformer\nprefix: P\nfieldSpecs: [{path: kind, kind: Foo}, {path: spec/n, kind: Foo}, \
             {path: metadata/name}]",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {n: x}",
            Is("apiVersion: x/v1\nkind: PFoo\nmetadata: {name: Pa}\nspec: {n: x}"),
        ),
        (
            "kind: PrefixTransformer\nprefix: ''\nfieldSpecs: [{path: spec/a/b, create: true}]",
            FOO,
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {a: {b: null}}"),
        ),
    ]);
}

#[test]
fn a_renamed_resource_remembers_its_names() {
    let mut made = resources("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}");
    let name = [FieldSpec::new("metadata/name", false)];
    prefix(&mut made, "p-", &name, &Schemas::builtin(), &budget()).unwrap();
    suffix(&mut made, "-s", &name, &Schemas::builtin(), &budget()).unwrap();
    prefix(&mut made, "", &name, &Schemas::builtin(), &budget()).unwrap();
    prefix(&mut made, "q-", &[FieldSpec::new("data/x", true)], &Schemas::builtin(), &budget()).unwrap();
    prefix(&mut made, "q-", &name, &Schemas::builtin(), &budget()).unwrap();
    let resource = &made.resources()[0];
    assert_eq!((&*resource.prefixes, &*resource.suffixes), (&["p-", "q-"].map(String::from)[..], &["-s".into()][..]));
    let names: Vec<String> = resource.all_ids(&Schemas::builtin()).map(|id| id.to_string()).collect();
    let expected = ["a", "p-a", "p-a-s", "q-p-a-s"].map(|name| format!("ConfigMap.v1.[noGrp]/{name}.default"));
    assert_eq!(names, expected);
}

#[test]
fn namespaces() {
    check(&[
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\n---\n\
             apiVersion: x/v1\nkind: Foo\nmetadata: {name: b, namespace: dev}\n---\n\
             apiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: d, namespace: e}",
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a, namespace: prod}\n---\n\
                apiVersion: x/v1\nkind: Foo\nmetadata: {name: b, namespace: prod}\n---\n\
                apiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n---\n\
                apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: d, namespace: e}"),
        ),
        // The name is one only for the core group, and `metadata/namespace` is never a matter of field specs.
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}\n\
             fieldSpecs: [{path: metadata/name, kind: Namespace, create: true}, {path: metadata/namespace, create: true}]",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n---\n\
             apiVersion: x/v1\nkind: Namespace\nmetadata: {name: c}",
            Is("apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n---\n\
                apiVersion: x/v1\nkind: Namespace\nmetadata: {name: c, namespace: prod}"),
        ),
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}\nunsetOnly: true\n\
             fieldSpecs: [{path: spec/a, create: true}, {path: spec/n}, {path: spec/m, create: true}, {path: spec/e}, \
             {path: spec/x}]",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a, namespace: dev}\n\
             spec: {n: null, m: null, e: '', x: 5}\n---\n\
             apiVersion: x/v1\nkind: Foo\nmetadata: {name: b, namespace: null}\n---\n\
             apiVersion: x/v1\nkind: Foo\nmetadata: {name: c, namespace: ''}",
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a, namespace: dev}\n\
                spec: {n: prod, m: 'null', e: prod, x: 5, a: prod}\n---\n\
                apiVersion: x/v1\nkind: Foo\nmetadata: {name: b, namespace: null}\nspec: {a: prod, m: prod}\n---\n\
                apiVersion: x/v1\nkind: Foo\nmetadata: {name: c, namespace: prod}\nspec: {a: prod, m: prod}"),
        ),
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}\n\
             fieldSpecs: [{path: subjects/namespace, kind: RoleBinding, create: true}, \
             {path: subjects/namespace, kind: Foo, create: true}]",
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a}\n\
             subjects: [{name: default}, {name: other, namespace: x}, {name: default, namespace: x}, {kind: User, name: u}]\n\
             ---\napiVersion: x/v1\nkind: ClusterRoleBinding\nmetadata: {name: b}\nsubjects: null\n---\n\
             apiVersion: x/v1\nkind: Foo\nmetadata: {name: b}\nsubjects: [{name: other}]",
            Is("apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a, namespace: prod}\n\
                subjects: [{name: default, namespace: prod}, {name: other, namespace: x}, \
                {name: default, namespace: prod}, {kind: User, name: u}]\n\
                ---\napiVersion: x/v1\nkind: ClusterRoleBinding\nmetadata: {name: b, namespace: prod}\nsubjects: null\n\
                ---\napiVersion: x/v1\nkind: Foo\nmetadata: {name: b, namespace: prod}\n\
                subjects: [{name: other, namespace: prod}]"),
        ),
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}\n\
             setRoleBindingSubjects: allServiceAccounts\nunsetOnly: true",
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\n\
             subjects: [{name: default}, {kind: ServiceAccount, name: a}, \
             {kind: ServiceAccount, name: a, namespace: x}, {kind: ServiceAccount, name: a, namespace: null}]",
            Is("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\n\
                subjects: [{name: default}, {kind: ServiceAccount, name: a, namespace: prod}, \
                {kind: ServiceAccount, name: a, namespace: x}, {kind: ServiceAccount, name: a, namespace: prod}]"),
        ),
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}\nsetRoleBindingSubjects: none",
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\n\
             subjects: [{name: default, kind: ServiceAccount}]",
            Is("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\n\
                subjects: [{name: default, kind: ServiceAccount}]"),
        ),
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\n---\n\
             apiVersion: x/v1\nkind: Foo\nmetadata: {name: a, namespace: dev}",
            Fails("namespace transformation produces ID conflict"),
        ),
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}\nfieldSpecs: [{path: spec}]",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {}",
            Fails("field \"spec\" is a mapping"),
        ),
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}",
            "apiVersion: x/v1\nkind: RoleBinding\nmetadata: {name: a}\nsubjects: {name: default}",
            Fails("`subjects` of a role binding is a mapping"),
        ),
        (
            "kind: NamespaceTransformer\nmetadata: {name: t, namespace: prod}",
            "apiVersion: x/v1\nkind: RoleBinding\nmetadata: {name: a}\nsubjects: [default]",
            Fails("a subject of a role binding is a string"),
        ),
    ]);
}

#[test]
fn labels_and_annotations() {
    const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, labels: {x: 1, z: old}}\n\
                              spec: {selector: null, template: {metadata: {labels: null}}, list: [{}, {l: {b: c}}]}";
    check(&[
        (
            "kind: LabelTransformer\nlabels: {z: new, a: 'on', e: ''}\nfieldSpecs: [{path: metadata/labels, create: true}]",
            DEPLOYMENT,
            Is("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, labels: {x: 1, z: new, a: 'on', e: ''}}\n\
                spec: {selector: null, template: {metadata: {labels: null}}, list: [{}, {l: {b: c}}]}"),
        ),
        (
            "kind: LabelTransformer\nlabels: {k: v}\nfieldSpecs: [{path: spec/selector/matchLabels, create: true}, \
             {path: spec/template/metadata/labels}, {path: spec/list/l}, {path: spec/none/l}]",
            DEPLOYMENT,
            Is("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, labels: {x: 1, z: old}}\n\
                spec: {selector: {matchLabels: {k: v}}, template: {metadata: {labels: null}}, \
                list: [{}, {l: {b: c, k: v}}]}"),
        ),
        (
            "kind: LabelTransformer\nlabels: {k: v}\nfieldSpecs: [{path: spec/l, create: true, kind: Foo}, \
             {path: 'spec/list[]/l', create: true, group: apps, version: v1}]",
            DEPLOYMENT,
            Is("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, labels: {x: 1, z: old}}\n\
                spec: {selector: null, template: {metadata: {labels: null}}, list: [{l: {k: v}}, {l: {b: c, k: v}}]}"),
        ),
        ("kind: LabelTransformer\nlabels: {}\nfieldSpecs: [{path: kind}]", DEPLOYMENT, Is(DEPLOYMENT)),
        (
            "kind: LabelTransformer\nlabels: {k: v}\nfieldSpecs: [{path: kind}]",
            DEPLOYMENT,
            Fails("Deployment/a: field \"kind\" is a string, not a mapping"),
        ),
        (
            "kind: LabelTransformer\nlabels: {k: v}\nfieldSpecs: [{path: spec/list}]",
            DEPLOYMENT,
            Fails("field \"spec/list\" is a list, not a mapping"),
        ),
        (
            "kind: LabelTransformer\nlabels: {k: v}\nfieldSpecs: [{path: spec/list/0/l}]",
            DEPLOYMENT,
            Fails("has the part \"0\" where there is a mapping"),
        ),
        (
            "kind: AnnotationsTransformer\nannotations: {k: '1', 'a/b': x}\n\
             fieldSpecs: [{path: metadata/annotations, create: true}, \
             {path: 'spec/template/metadata/annotations', create: true}]",
            DEPLOYMENT,
            Is("apiVersion: apps/v1\nkind: Deployment\n\
                metadata: {name: a, labels: {x: 1, z: old}, annotations: {k: '1', a/b: x}}\n\
                spec: {selector: null, template: {metadata: {labels: null, annotations: {k: '1', a/b: x}}}, \
                list: [{}, {l: {b: c}}]}"),
        ),
    ]);
}

#[test]
fn images() {
    fn pod(image: &str) -> String {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{x: {{image: {image:?}}}}}")
    }
    // The entry, an image, and what it becomes in one pass.
    let rows = [
        ("{name: nginx, newTag: v2}", "nginx", "nginx:v2"),
        ("{name: nginx, newTag: v2}", "nginx:1.2@sha256:abc", "nginx:v2"),
        ("{name: nginx, digest: 'sha256:d'}", "nginx:1.2", "nginx@sha256:d"),
        ("{name: nginx, newTag: v2, digest: 'sha256:d'}", "nginx", "nginx:v2@sha256:d"),
        ("{name: nginx, newName: apache}", "nginx:1.2@sha256:abc", "apache:1.2@sha256:abc"),
        ("{name: nginx, newName: apache}", "nginx@sha256:abc", "apache@sha256:abc"),
        ("{name: nginx, tagSuffix: -x}", "nginx:1.2@sha256:abc", "nginx:1.2-x"),
        ("{name: nginx, tagSuffix: -x}", "nginx", "nginx:-x"),
        ("{name: nginx, newTag: v2, tagSuffix: -x}", "nginx:1", "nginx:v2"),
        ("{name: nginx, newTag: v2}", "nginx2", "nginx2"),
        ("{name: nginx, newTag: v2}", "my/nginx", "my/nginx"),
        ("{name: nginx, newTag: v2}", "nginx@sha512:abc", "nginx@sha512:abc"),
        ("{name: nginx, newTag: v2}", "nginx:{tag}", "nginx:v2"),
        ("{name: 'host:5000/a', newTag: v2}", "host:5000/a", "host:5000/a:v2"),
        ("{name: 'host:5000/a', newTag: v2}", "host:5000/a:1@sha256:abc", "host:5000/a:v2"),
        ("{name: 'host:5000', newTag: v2}", "host:5000", "host:v2"),
        // The name is a regular expression.
        ("{name: 'a.c', newTag: v2}", "abc", "abc:v2"),
        ("{name: '(foo|bar)', newName: baz}", "bar:1", "baz:1"),
        ("{name: 'foo|bar', newName: baz}", "xbar:1", "baz:1"),
        ("{name: '.*', newTag: v2}", "", ":v2"),
        ("{newTag: v2}", ":1", ":v2"),
        ("{name: nginx}", "nginx:1", "nginx:1"),
    ];
    for (entry, given, expected) in rows {
        let config = format!("kind: ImageTagTransformer\nimageTag: {entry}\nfieldSpecs: [{{path: spec/x/image}}]");
        let (given, expected): (&str, &str) = (pod(given).leak(), pod(expected).leak());
        check(&[(config.leak(), given, Is(expected))]);
    }
    check(&[
        // Lists of these names are looked for everywhere; with a field spec that names them too, a suffix comes twice.
        (
            "kind: ImageTagTransformer\nimageTag: {name: a, tagSuffix: -x}\n\
             fieldSpecs: [{path: 'spec/containers[]/image', create: true}]",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\n\
             spec: {containers: [{image: 'a:1'}, {}, null], p: [{initContainers: [{image: 'a:1'}, {image: 'b:1'}]}], \
             containers2: [{image: 'a:1'}], other: {containers: {image: 'a:1'}}}",
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\n\
                spec: {containers: [{image: a:1-x-x}, {}, null], p: [{initContainers: [{image: a:1-x}, {image: b:1}]}], \
                containers2: [{image: a:1}], other: {containers: {image: a:1}}}"),
        ),
        (
            "kind: ImageTagTransformer\nimageTag: {name: a, newTag: '2'}\nfieldSpecs: [{path: 'spec/containers[]/image'}]",
            "apiVersion: x/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}\nspec: {containers: [{image: a}]}\n---\n\
             apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {containers: null}",
            Is(
                "apiVersion: x/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}\nspec: {containers: [{image: a}]}\n\
                ---\napiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {containers: []}",
            ),
        ),
        (
            "kind: ImageTagTransformer\nimageTag: {name: a, newTag: '2'}",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {containers: [a]}",
            Fails("an item of `containers` is a string, not a mapping"),
        ),
        (
            "kind: ImageTagTransformer\nimageTag: {name: a, newTag: '2'}",
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {containers: [{image: {}}]}",
            Fails("field \"containers/image\" is a mapping, not a scalar"),
        ),
    ]);
    let mut none = ResMap::default();
    let fault = image(&mut none, &Image { name: "a(".to_owned(), ..Image::default() }, &[], &budget()).unwrap_err();
    assert!(fault.message.contains("\"a(\" is none"), "{fault}");
}

#[test]
fn replica_counts() {
    const SPECS: &str =
        "fieldSpecs: [{path: spec/replicas, create: true, kind: Deployment}, {path: spec/size, kind: Foo}]";
    let config = |replica: &str| -> &'static str {
        format!("kind: ReplicaCountTransformer\nreplica: {replica}\n{SPECS}").leak()
    };
    check(&[
        (
            config("{name: a, count: 3}"),
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\n\
             apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\n---\n\
             apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {size: '1'}\n---\n\
             apiVersion: x/v1\nkind: Bar\nmetadata: {name: a}\nspec: {replicas: 1}",
            Is("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 3}\n---\n\
                apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\n---\n\
                apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {size: '3'}\n---\n\
                apiVersion: x/v1\nkind: Bar\nmetadata: {name: a}\nspec: {replicas: 1}"),
        ),
        // Found, though there is nothing to set.
        (
            config("{name: a}"),
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}",
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}"),
        ),
        (
            config("{name: a, count: 0}"),
            "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {size: null}",
            Is("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\nspec: {size: 0}"),
        ),
        (
            config("{name: a, count: 3}"),
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: []}",
            Fails("field \"spec/replicas\" is a list, not a scalar"),
        ),
    ]);
    let specs = [FieldSpec { gvk: crate::id::Gvk::new("", "Foo"), ..FieldSpec::new("spec/size", true) }];
    let replica = Replica { name: "a".to_owned(), count: 2 };
    let mut made = resources("apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}");
    let fault = replicas(&mut made, &Replica { name: "b".to_owned(), count: 2 }, &specs, &budget()).unwrap_err();
    let expected = "resource with name b does not match a config with the following GVK [Foo.[noVer].[noGrp]]";
    assert!(fault.message.starts_with(expected), "{fault}");
    // A name that the resource had before counts too.
    prefix(&mut made, "p-", &[FieldSpec::new("metadata/name", false)], &Schemas::builtin(), &budget()).unwrap();
    replicas(&mut made, &replica, &specs, &budget()).unwrap();
    assert_eq!(made.resources()[0].node.at_path(&["spec", "size"]).and_then(Node::as_i64), Some(2));
}
