//! Random repositories of overlays: bases, environments and components whose ids collide and whose references hit,
//! since all names come from small vocabularies. Three of four can be built.
//!
//! What is not drawn, since kustomize does there what nobody can want:
//! - A label in several fields of an object, of which one is changed later. kustomize puts one and the same value into
//!   all fields, so that whoever changes it in one of them later changes it in all.
//! - A replacement of a number by what is none. kustomize finds fault with it only when it prints the object, and not at all
//!   when a later step has changed it once more.

use std::fmt::Write as _;

use super::Files;

/// Where choices come from: a seed, or the bytes of a fuzzer, whose end is a row of zeros.
pub(crate) enum Choices<'a> {
    Seed(fastrand::Rng),
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        match self {
            Self::Seed(random) => random.usize(..end.max(1)),
            Self::Bytes(bytes) => {
                let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
                *bytes = rest;
                usize::from(*first) % end.max(1)
            }
        }
    }

    /// True in so many of a hundred times.
    fn chance(&mut self, percent: usize) -> bool {
        // Zeros, at the end of a fuzzer's bytes, say no.
        self.below(100) >= 100 - percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// One to `most` things.
    fn several(&mut self, most: usize, mut thing: impl FnMut(&mut Self) -> String) -> String {
        let count = 1 + self.below(most);
        (0..count).map(|_| thing(self)).collect::<Vec<_>>().join(", ")
    }

    /// The thing, in so many of a hundred times.
    fn maybe(&mut self, percent: usize, thing: impl FnOnce(&mut Self) -> String) -> String {
        if self.chance(percent) { thing(self) } else { String::new() }
    }
}

/// A repository, and the directory to build.
pub(crate) struct Repository {
    pub(crate) files: Files,
    pub(crate) target: String,
    /// Whether kustomize v5.5 would read it otherwise.
    pub(crate) is_newer: bool,
}

/// A resource that a layer has, by its first name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    kind: Kind,
    name: &'static str,
    namespace: &'static str,
    is_generated: bool,
}

type Kind = (&'static str, &'static str);

const NAMES: [&str; 4] = ["web", "app", "app-web", "db"];
const NAMESPACES: [&str; 4] = ["", "dev", "default", "prod"];
const KEYS: [&str; 4] = ["app", "tier", "example.com/team", "level"];
const VALUES: [&str; 9] =
    ["a", "web", "'1'", "'true'", "b-c", "http://web:80/x", "'yes'", "x.y.z", "\"two\\nlines\\n\""];
const SCALARS: [&str; 13] =
    ["1", "1.5", "true", "text", "'7'", "0x1F", "1e3", "yes", "2026-03-01", "1.0", "\"a\\nb\"", "12345678901", "x:y/z"];
const IMAGES: [&str; 6] = [
    "web",
    "web:1",
    "registry.example.com/app:v1",
    "db@sha256:abcd",
    "registry.example.com:5000/db",
    "app:2@sha256:ef01",
];
const CONFIG_MAP: Kind = ("v1", "ConfigMap");
const SECRET: Kind = ("v1", "Secret");
const INSTALLATION: Kind = ("getporter.org/v1", "Installation");
const KINDS: [Kind; 24] = [
    INSTALLATION,
    CONFIG_MAP,
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    SECRET,
    INSTALLATION,
    ("getporter.org/v1", "CredentialSet"),
    ("getporter.org/v1", "ParameterSet"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "CronJob"),
    ("v1", "Pod"),
    ("v1", "ServiceAccount"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("v1", "Namespace"),
    ("networking.k8s.io/v1", "Ingress"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("v1", "PersistentVolumeClaim"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
    ("cert-manager.io/v1", "ClusterIssuer"),
];

/// Makes a repository.
pub(crate) fn repository(choices: &mut Choices<'_>) -> Repository {
    let mut maker = Maker { files: Vec::new(), is_newer: false, count: 0 };
    let base = maker.layer(choices, "base", &[], &[], true);
    let mut components = Vec::new();
    if choices.chance(35) {
        maker.component(choices, "component", &base);
        components.push("../component");
    }
    let second = choices.chance(25).then(|| maker.layer(choices, "second", &[], &[], true));
    let mut layers = vec![("../base", base.clone())];
    if let Some(second) = second {
        layers.push(("../second", second));
    }
    let one = maker.layer(choices, "one", &layers, &components, false);
    let mut target = "one";
    if choices.chance(50) {
        let mut below = vec![("../one", one)];
        if choices.chance(50) {
            let two = maker.layer(choices, "two", &layers[..1], &components, false);
            below.push(("../two", two));
        }
        maker.layer(choices, "top", &below, &[], false);
        target = "top";
    }
    Repository { files: maker.files, target: target.to_owned(), is_newer: maker.is_newer }
}

struct Maker {
    files: Files,
    is_newer: bool,
    count: usize,
}

impl Maker {
    fn file(&mut self, path: String, text: impl Into<String>) {
        self.files.push((path, text.into().into_bytes()));
    }

    /// A name for one more file of the folder.
    fn fresh(&mut self, stem: &str) -> String {
        self.count += 1;
        format!("{stem}{}.yaml", self.count)
    }

    /// A kustomization on top of others; what its resources are.
    fn layer(
        &mut self,
        choices: &mut Choices<'_>,
        folder: &str,
        below: &[(&str, Vec<Known>)],
        components: &[&str],
        is_base: bool,
    ) -> Vec<Known> {
        let mut known: Vec<Known> = below.iter().flat_map(|(_, known)| known.iter().copied()).collect();
        let mut resources: Vec<String> = below.iter().map(|(path, _)| (*path).to_owned()).collect();
        let own = if is_base { 2 + choices.below(4) } else { choices.below(2) };
        if own > 0 {
            let path = self.fresh("resources");
            let mut text = String::new();
            for _ in 0..own {
                let one = Known {
                    kind: choices.pick(&KINDS),
                    name: choices.pick(&NAMES),
                    namespace: choices.pick(&NAMESPACES),
                    is_generated: false,
                };
                let is_taken = known.iter().any(|other| other.kind == one.kind && other.name == one.name);
                if known.contains(&one) && !choices.chance(1) || is_taken && !choices.chance(5) {
                    continue;
                }
                known.push(one);
                let _ = writeln!(text, "---\n{}", resource(choices, one));
            }
            self.file(format!("{folder}/{path}"), text);
            resources.push(path);
        }
        let mut text = format!("resources: [{}]\n", resources.join(", "));
        if !components.is_empty() && choices.chance(60) {
            let _ = writeln!(text, "components: [{}]", components.join(", "));
        }
        if !is_base || folder == "second" || choices.chance(30) {
            // What several layers build on has to be told apart.
            let is_variant = ["one", "two", "second"].contains(&folder);
            if choices.chance(if is_variant { 97 } else { 40 }) {
                let _ = writeln!(text, "namePrefix: {folder}-");
            }
        }
        self.fields(choices, folder, &mut known, &mut text);
        self.file(format!("{folder}/kustomization.yaml"), text);
        known
    }

    fn component(&mut self, choices: &mut Choices<'_>, folder: &str, base: &[Known]) {
        let mut text = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n".to_owned();
        let mut known = base.to_vec();
        self.fields(choices, folder, &mut known, &mut text);
        self.file(format!("{folder}/kustomization.yaml"), text);
    }

    /// All fields but those that name other layers.
    fn fields(&mut self, choices: &mut Choices<'_>, folder: &str, known: &mut Vec<Known>, text: &mut String) {
        for kind in [CONFIG_MAP, SECRET] {
            if choices.chance(30) {
                let field = if kind == SECRET { "secretGenerator" } else { "configMapGenerator" };
                let entries = (0..1 + choices.below(2)).map(|_| self.generator(choices, folder, kind, known));
                let _ = writeln!(text, "{field}:\n- {}", entries.collect::<Vec<_>>().join("\n- "));
            }
        }
        if choices.chance(10) {
            let _ = writeln!(text, "generatorOptions: {}", generator_options(choices));
        }
        if choices.chance(25) {
            let _ = writeln!(text, "nameSuffix: -{}", choices.pick(&["v1", "blue", "x"]));
        }
        // Two of one name in two namespaces do not fit into one.
        if choices.chance(if known.iter().all(|one| is_only(known, *one)) { 40 } else { 2 }) {
            let _ = writeln!(text, "namespace: {}", choices.pick(&["prod", "dev", "shop", "default"]));
        }
        if choices.chance(30) {
            let mut number = 0;
            let entries = choices.several(2, |choices| {
                number += 1;
                labels(choices, &format!("{folder}-{number}"))
            });
            let _ = writeln!(text, "labels: [{entries}]");
        }
        if choices.chance(12) {
            let _ = writeln!(text, "commonLabels: {}", shared_pairs(choices, "common", folder));
        }
        if choices.chance(20) {
            let _ = writeln!(text, "commonAnnotations: {}", shared_pairs(choices, "note.example.com/owner", folder));
        }
        if choices.chance(60) && !known.is_empty() {
            let entries = (0..1 + choices.below(3)).map(|_| self.patch(choices, folder, known));
            let _ = writeln!(text, "patches:\n- {}", entries.collect::<Vec<_>>().join("\n- "));
        }
        if choices.chance(10) && !known.is_empty() {
            let one = choices.pick(known);
            let patch = self.fresh("merge");
            self.file(format!("{folder}/{patch}"), strategic(choices, one));
            let _ = writeln!(text, "patchesStrategicMerge: [{patch}]");
        }
        if choices.chance(10) && !known.is_empty() {
            let one = choices.pick(known);
            let patch = self.fresh("operations");
            self.file(format!("{folder}/{patch}"), operations(choices, one));
            let _ = writeln!(
                text,
                "patchesJson6902: [{{path: {patch}, target: {{kind: {}, name: {}}}}}]",
                one.kind.1, one.name
            );
        }
        if choices.chance(25) {
            let entries = choices.several(2, image);
            let _ = writeln!(text, "images: [{entries}]");
        }
        let scaled: Vec<Known> =
            known.iter().copied().filter(|one| ["Deployment", "StatefulSet"].contains(&one.kind.1)).collect();
        if !scaled.is_empty() && choices.chance(35) {
            let name = choices.pick(&scaled).name;
            let _ = writeln!(text, "replicas: [{{name: {name}, count: {}}}]", choices.below(9));
        }
        if choices.chance(45) && known.len() > 1 {
            let entries = (0..1 + choices.below(2)).map(|_| self.replacement(choices, known));
            let _ = writeln!(text, "replacements:\n- {}", entries.collect::<Vec<_>>().join("\n- "));
        }
        if choices.chance(25) {
            let path = self.fresh("configuration");
            self.file(format!("{folder}/{path}"), configuration(choices));
            let _ = writeln!(text, "configurations: [{path}]");
        }
        let unique: Vec<Known> = known.iter().copied().filter(|one| is_only(known, *one)).collect();
        // Those of a base are there twice in what two overlays make of it.
        if choices.chance(if folder == "base" { 2 } else { 8 }) && !unique.is_empty() {
            let one = choices.pick(&unique);
            let _ = writeln!(
                text,
                "vars: [{{name: {}, objref: {{apiVersion: {}, kind: {}, name: {}}}}}]",
                folder.to_uppercase(),
                one.kind.0,
                one.kind.1,
                one.name
            );
        }
        if choices.chance(10) {
            let _ = writeln!(text, "transformers:\n- |-\n  {}", transformer(choices));
        }
        if choices.chance(6) {
            let _ =
                writeln!(text, "buildMetadata: [{}]", choices.pick(&["originAnnotations", "transformerAnnotations"]));
        }
        if choices.chance(6) {
            let _ = writeln!(text, "sortOptions: {{order: {}}}", choices.pick(&["legacy", "fifo"]));
        }
        if choices.below(400) == 399 {
            let wrong = ["namePrefix: 5", "unknown: x", "resource: [a]", "labels: {a: b}", "bases: [nowhere]"];
            let _ = writeln!(text, "{}", choices.pick(&wrong));
        }
    }

    fn generator(&mut self, choices: &mut Choices<'_>, folder: &str, kind: Kind, known: &mut Vec<Known>) -> String {
        let there: Vec<Known> = known.iter().copied().filter(|one| one.kind == kind && is_only(known, *one)).collect();
        let (one, behavior) = if !there.is_empty() && choices.chance(50) {
            (choices.pick(&there), choices.pick(&["merge", "replace"]))
        } else {
            let one =
                Known { kind, name: choices.pick(&NAMES), namespace: choices.pick(&NAMESPACES), is_generated: true };
            match known.iter().find(|other| other.kind == kind && other.name == one.name) {
                Some(other) if !choices.chance(2) => (*other, choices.pick(&["merge", "replace"])),
                _ => (one, choices.pick(&["", "create"])),
            }
        };
        if !known.contains(&one) {
            known.push(one);
        }
        let mut entry = format!("{{name: {}", one.name);
        if !one.namespace.is_empty() {
            let _ = write!(entry, ", namespace: {}", one.namespace);
        }
        if !behavior.is_empty() {
            let _ = write!(entry, ", behavior: {behavior}");
        }
        entry += &choices.maybe(75, |choices| {
            let (first, second) = (choices.below(9), choices.below(9));
            format!(
                ", literals: [{}={first}, '{}={second}']",
                choices.pick(&["a", "b", "level"]),
                choices.pick(&["c", "d", "tier"])
            )
        });
        if choices.chance(25) {
            let path = self.fresh("data");
            let content = choices.pick(&[
                "plain text\n",
                "",
                "<&>\u{2028}\n",
                "a=b\r\n",
                "long long long long long long long long long text",
            ]);
            self.file(format!("{folder}/{path}"), content);
            let key = if choices.chance(2) { "level=" } else { choices.pick(&["", "key="]) };
            let _ = write!(entry, ", files: [{key}{path}]");
        }
        if choices.chance(15) {
            let path = self.fresh("env");
            self.file(format!("{folder}/{path}"), choices.pick(&["A=1\n# no\n\nB= two \n", "X\n", "Q=\"q\"\n"]));
            let _ = write!(entry, ", envs: [{path}]");
        }
        if choices.chance(25) {
            let _ = write!(entry, ", options: {}", generator_options(choices));
        }
        if kind == SECRET && choices.chance(20) {
            entry += ", type: example.com/own";
        }
        entry + "}"
    }

    fn patch(&mut self, choices: &mut Choices<'_>, folder: &str, known: &[Known]) -> String {
        let one = choices.pick(known);
        // Of several with one name a patch without target cannot know which is meant.
        let by_target = choices.chance(if is_only(known, one) { 50 } else { 97 });
        let (is_operations, content) = if by_target && choices.chance(60) {
            (true, operations(choices, one))
        } else {
            (false, strategic(choices, one))
        };
        let mut entry = String::new();
        if choices.chance(50) {
            let path = self.fresh("patch");
            self.file(format!("{folder}/{path}"), content);
            let _ = write!(entry, "path: {path}");
        } else {
            let _ = write!(entry, "patch: |-\n    {}", content.trim_end().replace('\n', "\n    "));
        }
        if by_target || is_operations {
            let target = if choices.chance(70) {
                format!("kind: {}, name: {}", one.kind.1, one.name)
            } else {
                selector(choices, one)
            };
            let _ = write!(entry, "\n  target: {{{target}}}");
        }
        if !is_operations && choices.chance(8) {
            entry += choices.pick(&["\n  options: {allowNameChange: true}", "\n  options: {allowKindChange: true}"]);
        }
        entry
    }

    fn replacement(&mut self, choices: &mut Choices<'_>, known: &[Known]) -> String {
        let only: Vec<Known> = known.iter().copied().filter(|one| is_only(known, *one)).collect();
        let any = only.is_empty() || choices.chance(2);
        let from = choices.pick(if any { known } else { &only });
        let mut is_number = false;
        let source = if choices.chance(8) {
            self.is_newer = true;
            format!("sourceValue: {}", choices.pick(&VALUES))
        } else {
            let fields: &[&str] = match from.kind.1 {
                "ConfigMap" if !from.is_generated => &["metadata.name", "data.level", "data", "data.number"],
                "Installation" => &[
                    "metadata.name",
                    "spec.bundle.version",
                    "spec.parameters.url",
                    "spec.parameters.hosts",
                    "spec.parameters.number",
                    "spec.bundle",
                ],
                "Deployment" => &[
                    "metadata.name",
                    "spec.replicas",
                    "spec.template.spec.containers.0.image",
                    "spec.template.spec.containers.[name=web].name",
                ],
                _ if !from.namespace.is_empty() => &["metadata.name", "", "metadata.namespace"],
                _ => &["metadata.name", ""],
            };
            let field = choices.pick(fields);
            is_number = field == "spec.replicas";
            let field = if field.is_empty() { String::new() } else { format!(", fieldPath: '{field}'") };
            let options = choices.maybe(12, |choices| {
                format!(
                    ", options: {{delimiter: {}, index: {}}}",
                    choices.pick(&["'-'", "'.'", "/", "':'"]),
                    usize::from(choices.chance(5))
                )
            });
            let namespace = if is_only(known, from) || choices.chance(3) {
                String::new()
            } else {
                format!(", namespace: {}", if from.namespace.is_empty() { "default" } else { from.namespace })
            };
            format!("source: {{kind: {}, name: {}{namespace}{field}{options}}}", from.kind.1, from.name)
        };
        let targets = (0..1 + choices.below(2)).map(|_| {
            let to = choices.pick(known);
            let select = if choices.chance(70) {
                format!("kind: {}, name: {}", to.kind.1, to.name)
            } else if choices.chance(20) {
                self.is_newer = true;
                selector(choices, to)
            } else {
                format!("kind: {}", to.kind.1)
            };
            let fields: &[&str] = match to.kind.1 {
                "Installation" => &[
                    "spec.bundle.version",
                    "spec.parameters.url",
                    "spec.parameters.hosts.0",
                    "spec.parameters.hosts.*",
                    "spec.parameters.fresh",
                    "spec.parameters.steps.[name=web].image",
                ],
                "Deployment" => &[
                    "spec.template.spec.containers.[name=web].image",
                    "spec.template.spec.containers.*.image",
                    "metadata.annotations.note",
                ],
                "ConfigMap" => &["data.level", "data.fresh", "data.number"],
                _ => &["metadata.annotations.note", "metadata.labels.app", "metadata.annotations.[example.com/team]"],
            };
            let number = match to.kind.1 {
                "Installation" => Some("spec.parameters.number"),
                "Deployment" => Some("spec.replicas"),
                _ => None,
            };
            let paths = match number {
                Some(number) if is_number && choices.chance(50) => format!("'{number}'"),
                _ if is_number => "'metadata.annotations.note'".to_owned(),
                _ => choices.several(2, |choices| format!("'{}'", choices.pick(fields))),
            };
            let create = choices.chance(99);
            let delimiter = choices.maybe(if is_number { 0 } else { 15 }, |choices| {
                format!(
                    ", delimiter: {}, index: {}",
                    choices.pick(&["/", "':'", "'.'"]),
                    choices.pick(&["0", "1", "-1", "7"])
                )
            });
            let reject = choices.maybe(10, |choices| format!(", reject: [{{name: {}}}]", choices.pick(&NAMES)));
            format!(
                "  - {{select: {{{select}}}{reject}, fieldPaths: [{paths}], options: {{create: {create}{delimiter}}}}}"
            )
        });
        let targets = targets.collect::<Vec<_>>().join("\n");
        format!("{source}\n  targets:\n{targets}")
    }
}

/// Whether there is only one resource of the kind and the name.
fn is_only(known: &[Known], one: Known) -> bool {
    known.iter().filter(|other| other.kind == one.kind && other.name == one.name).count() == 1
}

/// Pairs for more than one field of an object, with a key that no other layer has.
fn shared_pairs(choices: &mut Choices<'_>, key: &str, folder: &str) -> String {
    format!("{{{key}-{folder}: {}}}", choices.pick(&VALUES))
}

fn pairs(choices: &mut Choices<'_>) -> String {
    let key = choices.pick(&KEYS);
    let mut text = format!("{{{key}: {}", choices.pick(&VALUES));
    let other = choices.pick(&KEYS);
    if other != key && choices.chance(40) {
        let _ = write!(text, ", {other}: {}", choices.pick(&VALUES));
    }
    text + "}"
}

fn labels(choices: &mut Choices<'_>, folder: &str) -> String {
    let (pairs, includes) = match choices.below(10) {
        0..=2 => (shared_pairs(choices, "part", folder), ", includeSelectors: true"),
        3..=4 => (shared_pairs(choices, "template", folder), ", includeTemplates: true"),
        5 => (shared_pairs(choices, "both", folder), ", includeSelectors: true, includeTemplates: true"),
        6 => return format!("{{pairs: {}, fields: [{}]}}", shared_pairs(choices, "own", folder), label_field(choices)),
        _ => (pairs(choices), ""),
    };
    format!("{{pairs: {pairs}{includes}}}")
}

fn label_field(choices: &mut Choices<'_>) -> String {
    let kind = choices.pick(&KINDS).1;
    let create = choices.chance(60);
    let path = choices.pick(&["spec/labels", "spec/parameters/tags", "spec/template/spec/more"]);
    format!("{{path: {path}, kind: {kind}, create: {create}}}")
}

fn generator_options(choices: &mut Choices<'_>) -> String {
    let mut parts = Vec::new();
    if choices.chance(40) {
        parts.push(format!("labels: {}", pairs(choices)));
    }
    if choices.chance(30) {
        parts.push(format!("annotations: {}", pairs(choices)));
    }
    if choices.chance(40) {
        parts.push(format!("disableNameSuffixHash: {}", choices.chance(70)));
    }
    if choices.chance(15) {
        parts.push(format!("immutable: {}", choices.chance(70)));
    }
    format!("{{{}}}", parts.join(", "))
}

fn image(choices: &mut Choices<'_>) -> String {
    let name =
        choices.pick(&["web", "app", "db", "registry.example.com/app", "registry.example.com:5000/db", ".*/app"]);
    let mut entry = format!("{{name: '{name}'");
    entry += &choices.maybe(50, |choices| format!(", newTag: {}", choices.pick(&["v2", "'3'", "latest"])));
    entry +=
        &choices.maybe(40, |choices| format!(", newName: {}", choices.pick(&["mirror.example.com/web", "web", "app"])));
    entry += &choices.maybe(15, |_| ", digest: 'sha256:0123'".to_owned());
    entry += &choices.maybe(10, |_| ", tagSuffix: -slim".to_owned());
    entry + "}"
}

/// The inside of a selector that is likely to select the resource.
fn selector(choices: &mut Choices<'_>, one: Known) -> String {
    match choices.below(9) {
        0 => format!("kind: {}", one.kind.1),
        1 => format!("group: {}", one.kind.0.split_once('/').map_or("''", |(group, _)| group)),
        2 => "version: v1".to_owned(),
        3 => format!("name: '{}.*'", one.name),
        4 => format!("namespace: {}", if one.namespace.is_empty() { "default" } else { one.namespace }),
        5 => format!("labelSelector: '{}'", choices.pick(&["app", "app=a", "app in (a, web)", "!tier", "tier!=1"])),
        6 => {
            format!("annotationSelector: '{}'", choices.pick(&["level", "example.com/team=a", "!app", "app notin (a)"]))
        }
        7 => format!("name: {}", choices.pick(&["(web|db)", "'one-.*'", "'app-?web'", "'.+'"])),
        _ => "kind: '.*Set'".to_owned(),
    }
}

fn metadata(choices: &mut Choices<'_>, one: Known) -> String {
    let mut text = format!("{{name: {}", one.name);
    if !one.namespace.is_empty() {
        let _ = write!(text, ", namespace: {}", one.namespace);
    }
    text += &choices.maybe(50, |choices| format!(", labels: {}", pairs(choices)));
    text += &choices.maybe(30, |choices| format!(", annotations: {}", pairs(choices)));
    text += &choices.maybe(3, |_| ", finalizers: [example.com/keep]".to_owned());
    text + "}"
}

fn container(choices: &mut Choices<'_>) -> String {
    let mut text = format!("{{name: {}, image: '{}'", choices.pick(&["web", "side", "app"]), choices.pick(&IMAGES));
    text += &choices.maybe(40, |choices| {
        format!(
            ", envFrom: [{{configMapRef: {{name: {}}}}}, {{secretRef: {{name: {}}}}}]",
            choices.pick(&NAMES),
            choices.pick(&NAMES)
        )
    });
    text += &choices.maybe(40, |choices| {
        let name = choices.pick(&NAMES);
        let variable = choices.pick(&["$(ONE)", "$(BASE)", "plain", "'1'"]);
        format!(", env: [{{name: A, value: {variable}}}, {{name: B, valueFrom: {{secretKeyRef: {{name: {name}, key: k}}}}}}]")
    });
    text += &choices
        .maybe(30, |_| ", ports: [{containerPort: 80, protocol: TCP}, {containerPort: 53, protocol: UDP}]".to_owned());
    text += &choices.maybe(20, |_| ", args: [--a, $(ONE), $$(ONE)]".to_owned());
    text + "}"
}

fn pod(choices: &mut Choices<'_>) -> String {
    let mut text = format!("{{containers: [{}]", container(choices));
    text += &choices.maybe(15, |choices| format!(", initContainers: [{}]", container(choices)));
    text += &choices.maybe(30, |choices| format!(", serviceAccountName: {}", choices.pick(&NAMES)));
    text += &choices.maybe(30, |choices| {
        let [a, b, c] = [(); 3].map(|()| choices.pick(&NAMES));
        format!(
            ", volumes: [{{name: v, configMap: {{name: {a}}}}}, {{name: w, secret: {{secretName: {b}}}}}, {{name: x, projected: {{sources: [{{secret: {{name: {c}}}}}]}}}}, {{name: y, persistentVolumeClaim: {{claimName: {a}}}}}]"
        )
    });
    text += &choices.maybe(20, |choices| format!(", imagePullSecrets: [{{name: {}}}]", choices.pick(&NAMES)));
    text + "}"
}

fn template(choices: &mut Choices<'_>) -> String {
    let labels = choices.maybe(60, |choices| format!("metadata: {{labels: {}}}, ", pairs(choices)));
    format!("{{{labels}spec: {}}}", pod(choices))
}

fn resource(choices: &mut Choices<'_>, one: Known) -> String {
    let (api_version, kind) = one.kind;
    let head = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {}\n", metadata(choices, one));
    let name = choices.pick(&NAMES);
    let body = match kind {
        "ConfigMap" => format!(
            "data: {{level: {}, number: '5'{}}}",
            choices.pick(&VALUES),
            choices.maybe(30, |_| ", text: \"a\\nb\\n\"".to_owned())
        ),
        "Secret" => format!("stringData: {{level: {}}}", choices.pick(&VALUES)),
        "Deployment" => {
            format!(
                "spec: {{replicas: 1, selector: {{matchLabels: {}}}, template: {}}}",
                pairs(choices),
                template(choices)
            )
        }
        "StatefulSet" => format!(
            "spec: {{serviceName: {name}, template: {}, volumeClaimTemplates: [{{metadata: {{name: data}}}}]}}",
            template(choices)
        ),
        "CronJob" => format!("spec: {{jobTemplate: {{spec: {{template: {}}}}}}}", template(choices)),
        "Pod" => format!("spec: {}", pod(choices)),
        "Service" => format!("spec: {{selector: {}, ports: [{{port: 80}}]}}", pairs(choices)),
        "ServiceAccount" => format!("imagePullSecrets: [{{name: {name}}}]"),
        "Role" | "ClusterRole" => format!(
            "rules: [{{apiGroups: [''], resources: [{}], resourceNames: [{name}], verbs: [get]}}]",
            choices.pick(&["secrets", "configmaps", "services"])
        ),
        "RoleBinding" | "ClusterRoleBinding" => format!(
            "roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {}, name: {name}}}\nsubjects: [{{kind: ServiceAccount, name: {}{}}}]",
            choices.pick(&["Role", "ClusterRole"]),
            choices.pick(&["web", "app", "default"]),
            choices.maybe(50, |choices| format!(", namespace: {}", choices.pick(&["dev", "default", "prod"])))
        ),
        "Ingress" => format!(
            "spec: {{tls: [{{secretName: {name}}}], rules: [{{http: {{paths: [{{backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}]}}}}]}}"
        ),
        "HorizontalPodAutoscaler" => {
            format!("spec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}}}")
        }
        "PersistentVolumeClaim" => format!("spec: {{storageClassName: fast, volumeName: {name}}}"),
        "NetworkPolicy" => format!("spec: {{podSelector: {{matchLabels: {}}}}}", pairs(choices)),
        "PodDisruptionBudget" => format!("spec: {{selector: {{matchLabels: {}}}}}", pairs(choices)),
        "Installation" => installation(choices),
        "CredentialSet" => format!("spec: {{credentials: [{{name: a, source: {{secret: {name}}}}}, {{name: b}}]}}"),
        "ParameterSet" => format!("spec: {{parameters: [{{name: a, source: {{value: {}}}}}]}}", choices.pick(&SCALARS)),
        _ => "spec: {group: example.com}".to_owned(),
    };
    head + &body
}

fn installation(choices: &mut Choices<'_>) -> String {
    let [credentials, parameters] = [(); 2].map(|()| choices.pick(&NAMES));
    let steps = choices
        .maybe(40, |choices| format!(", steps: [{{name: web, image: '{}'}}, {{name: app}}]", choices.pick(&IMAGES)));
    let containers = choices.maybe(15, |choices| format!(", containers: [{}]", container(choices)));
    let embedded = choices.maybe(10, |choices| {
        format!(", manifest: {{apiVersion: apps/v1, kind: Deployment, spec: {{template: {}}}}}", template(choices))
    });
    format!(
        "spec: {{name: {credentials}, namespace: dev, bundle: {{repository: registry.example.com/app, version: 1.0.0}}, credentialSets: [{credentials}, other], parameterSets: [{parameters}], parameters: {{url: 'http://web:80/x', number: {}, hosts: [a.example.com, b]{steps}{containers}{embedded}}}}}",
        choices.pick(&SCALARS)
    )
}

/// A strategic merge patch of the resource.
fn strategic(choices: &mut Choices<'_>, one: Known) -> String {
    let (api_version, kind) = one.kind;
    let namespace = if one.namespace.is_empty() { String::new() } else { format!(", namespace: {}", one.namespace) };
    let more = choices.maybe(30, |choices| {
        let all = [
            ", labels: {app: patched, tier: null}",
            ", annotations: {level: '9'}",
            ", labels: {}",
            ", labels: {app: patched, tier: null}",
            ", annotations: {level: '9'}",
            ", labels: {}",
            ", annotations: null",
        ];
        choices.pick(&all).to_owned()
    });
    let head = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {}{namespace}{more}}}\n", one.name);
    if choices.chance(3) {
        return format!("{head}$patch: {}\n", choices.pick(&["delete", "replace", "merge"]));
    }
    let containers = |choices: &mut Choices<'_>| match choices.below(5) {
        0 => format!("containers: [{}]", container(choices)),
        1 => "containers: [{name: web, $patch: delete}]".to_owned(),
        2 => format!(
            "containers: [{{name: web, image: '{}', ports: [{{containerPort: 80, name: http}}]}}]",
            choices.pick(&IMAGES)
        ),
        3 => "containers: [{name: web, args: null, env: [{name: A, value: patched}, {name: C, value: $(ONE)}]}]"
            .to_owned(),
        _ => "volumes: [{name: v, $patch: delete}, {name: n, emptyDir: {}}]".to_owned(),
    };
    let body = match kind {
        "Installation" => {
            let part = choices.pick(&[
                "credentialSets: [new]",
                "bundle: {version: 2.0.0}",
                "bundle: {$patch: replace, reference: r}",
                "parameters: {$patch: delete}",
                "parameters: {hosts: [x, y], number: '3', fresh: {a: {b: null, c: 1}}}",
                "parameters: {url: null, hosts: null}",
                "parameters: {steps: [{name: web, $patch: delete}]}",
                "parameters: {manifest: {spec: {template: {spec: {containers: [{name: web, image: new}]}}}}}",
                "namespace: null, active: true",
            ]);
            let wrong = choices.pick(&["parameters: wrong", "credentialSets: {a: b}"]);
            format!("spec: {{{}}}", if choices.chance(1) { wrong } else { part })
        }
        "Deployment" | "StatefulSet" => {
            let replicas = choices.maybe(30, |choices| format!("replicas: {}, ", choices.below(5)));
            format!("spec: {{{replicas}template: {{spec: {{{}}}}}}}", containers(choices))
        }
        "CronJob" => format!("spec: {{jobTemplate: {{spec: {{template: {{spec: {{{}}}}}}}}}}}", containers(choices)),
        "Pod" => format!("spec: {{{}}}", containers(choices)),
        "ConfigMap" => {
            choices.pick(&["data: {level: patched, new: '1'}", "data: {level: null}", "data: {number: '5'}"]).to_owned()
        }
        "Service" => choices
            .pick(&[
                "spec: {ports: [{port: 443}, {port: 80, name: http}]}",
                "spec: {selector: {$patch: replace, x: y}}",
            ])
            .to_owned(),
        _ => {
            choices.pick(&["spec: {fresh: [1, 2]}", "spec: {a: {b: c}}", "", "rules: []", "subjects: null"]).to_owned()
        }
    };
    head + &body + "\n"
}

/// A JSON patch for the resource.
fn operations(choices: &mut Choices<'_>, one: Known) -> String {
    let of_kind: &[&str] = match one.kind.1 {
        "Installation" => &[
            "{op: replace, path: /spec/bundle/version, value: 3.0.0}",
            "{op: add, path: /spec/credentialSets/-, value: added}",
            "{op: add, path: /spec/credentialSets/0, value: first}",
            "{op: remove, path: /spec/parameters/url}",
            "{op: replace, path: /spec/parameters/fresh, value: {a: [1, 2.5, x]}}",
            "{op: copy, from: /spec/bundle, path: /spec/copied}",
            "{op: move, from: /spec/parameters/hosts, path: /spec/hosts}",
            "{op: replace, path: /spec/parameters/hosts/-1, value: last}",
            "{op: test, path: /spec/namespace, value: dev}",
        ],
        "Deployment" => &[
            "{op: replace, path: /spec/replicas, value: 5}",
            "{op: add, path: /spec/template/spec/containers/0/command, value: [run]}",
            "{op: add, path: /spec/template/spec/containers/-, value: {name: added, image: app}}",
            "{op: replace, path: /spec/template/spec/containers/0/image, value: x}",
        ],
        "ConfigMap" if !one.is_generated => {
            &["{op: add, path: /data, value: {only: this}}", "{op: add, path: /data/new, value: '1'}"]
        }
        _ => &["{op: add, path: /metadata/annotations, value: {level: json}}", "{op: add, path: /own, value: {a: 1}}"],
    };
    let common = [
        "{op: add, path: /metadata/labels, value: {app: json}}",
        "{op: add, path: /metadata/labels, value: {tier: json}}",
        "{op: replace, path: /metadata/name, value: renamed}",
        "{op: add, path: /metadata/annotations, value: {example.com/team: json}}",
        "{op: add, path: /metadata/annotations/level, value: json}",
    ];
    let wrong = ["{op: remove, path: /spec/nothing}", "{op: replace, path: /spec/hosts/7, value: x}", "{op: add}"];
    let count = 1 + choices.below(2);
    let lines = (0..count).map(|_| {
        let operation = match choices.below(100) {
            0..80 => choices.pick(of_kind),
            99 if choices.chance(20) => choices.pick(&wrong),
            _ => choices.pick(&common),
        };
        format!("- {operation}\n")
    });
    lines.collect()
}

fn configuration(choices: &mut Choices<'_>) -> String {
    let all = [
        "nameReference:\n- {kind: CredentialSet, fieldSpecs: [{path: spec/credentialSets, kind: Installation}]}\n- {kind: ParameterSet, fieldSpecs: [{path: spec/parameterSets, kind: Installation}]}\n",
        "nameReference: [{kind: Secret, fieldSpecs: [{path: spec/credentials/source/secret, kind: CredentialSet}]}]\n",
        "namespace: [{path: spec/namespace, kind: Installation}]\n",
        "namePrefix: [{path: spec/name, kind: Installation}]\n",
        "nameSuffix: [{path: spec/name, kind: Installation}]\n",
        "commonLabels: [{path: spec/labels, kind: Installation, create: true}]\n",
        "labels: [{path: spec/labels, kind: Installation, create: true}]\n",
        "commonAnnotations: [{path: spec/notes, kind: Installation, create: true}]\n",
        "images: [{path: spec/bundle/repository, kind: Installation}]\n",
        "replicas: [{path: spec/parameters/number, kind: Installation}]\n",
        "varReference: [{path: spec/parameters/url, kind: Installation}]\n",
    ];
    choices.pick(&all).to_owned()
}

fn transformer(choices: &mut Choices<'_>) -> String {
    let kind = choices.pick(&KINDS).1;
    let all = [
        format!("{{apiVersion: builtin, kind: PrefixTransformer, metadata: {{name: t}}, prefix: t-, fieldSpecs: [{{path: metadata/name, kind: {kind}}}]}}"),
        format!("{{apiVersion: builtin, kind: LabelTransformer, metadata: {{name: t}}, labels: {{app: plugin}}, fieldSpecs: [{{path: metadata/labels, create: true, kind: {kind}}}]}}"),
        "{apiVersion: builtin, kind: NamespaceTransformer, metadata: {name: t, namespace: plugin}, unsetOnly: true, fieldSpecs: [{path: metadata/namespace, create: true}]}".to_owned(),
        format!("{{apiVersion: builtin, kind: PatchTransformer, metadata: {{name: t}}, target: {{kind: {kind}}}, patch: '- {{op: add, path: /plugin, value: true}}'}}"),
    ];
    all[choices.below(all.len())].clone()
}
