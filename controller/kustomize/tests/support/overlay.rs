//! Random repositories of overlays: bases, environments and components whose ids collide and whose references hit,
//! since all names come from small vocabularies. Three of four can be built.
//!
//! What is not drawn, since kustomize does there what nobody can want:
//! - A label in several fields of an object, of which one is changed later. kustomize puts one and the same value into
//!   all fields, so that whoever changes it in one of them later changes it in all.
//! - A list or a mapping put into a text, which leaves an empty one: where a later replacement makes a field of that, it is
//!   null, but a text in what was written in braces.
//! - The kind of a generated object changed by a patch: the hash in its name is then also that of kustomize's own notes.
//! - A validator that signs: kustomize compares the places of the labels too.
//! - An order of one's own that does not name Namespace, where several groups have such a kind.
//! - A replacement of a number by what is none. kustomize finds fault with it only when it prints the object, and not at all
//!   when a later step has changed it once more.

use std::fmt::Write as _;

mod objects;
mod patches;
mod plugins;

use objects::resource;
use patches::{operations, strategic};
use plugins::{configuration, schema, types};

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
    /// Whether the objects are to be printed by kind.
    pub(crate) is_legacy: bool,
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
const FILE: &str = "kustomization.yaml";
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
    let mut maker =
        Maker { files: Vec::new(), is_newer: false, shares_labels: false, makes_namespaces: false, count: 0 };
    let base = maker.layer(choices, "base", &[], &[], true);
    let mut components = Vec::new();
    for folder in ["component", "addition"] {
        if choices.chance(if components.is_empty() { 35 } else { 15 }) {
            maker.component(choices, folder, &base, &components);
            components.push(format!("../{folder}"));
        }
    }
    let components: Vec<&str> = components.iter().map(String::as_str).collect();
    let second = choices.chance(25).then(|| maker.layer(choices, "second", &[], &[], true));
    let mut layers = vec![("../base", base.clone())];
    if let Some(second) = second {
        layers.push(("../second", second));
    }
    let one = maker.layer(choices, "one", &layers, &components, false);
    let mut target = "one";
    if choices.chance(50) {
        let mut below = vec![("../one", one)];
        // What has no namespace and keeps its name cannot be there twice.
        let is_single = |one: &Known| ["Namespace", "CustomResourceDefinition"].contains(&one.kind.1);
        if choices.chance(50) && !base.iter().any(is_single) {
            let two = maker.layer(choices, "two", &layers[..1], &components, false);
            below.push(("../two", two));
        }
        maker.layer(choices, "top", &below, &[], false);
        target = "top";
    }
    let is_legacy = choices.chance(10);
    Repository { files: maker.files, target: target.to_owned(), is_newer: maker.is_newer, is_legacy }
}

struct Maker {
    files: Files,
    is_newer: bool,
    /// Whether a configuration puts all `labels` into more than one field.
    shares_labels: bool,
    /// Whether a patch makes namespaces of other groups than Kubernetes' own.
    makes_namespaces: bool,
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
                // All of them get one name when a namespace is set.
                let is_second = one.kind.1 == "Namespace" && known.iter().any(|other| other.kind == one.kind);
                if known.contains(&one) && !choices.chance(1) || (is_taken || is_second) && !choices.chance(3) {
                    continue;
                }
                known.push(one);
                let _ = writeln!(text, "---\n{}", resource(choices, one));
            }
            if choices.chance(4) {
                text = as_list(&text);
            }
            self.file(format!("{folder}/{path}"), text);
            resources.push(path);
        }
        let bases = if choices.chance(4) { below.len() } else { 0 };
        let mut text = format!("resources: [{}]\n", resources[bases..].join(", "));
        if bases > 0 {
            let _ = writeln!(text, "bases: [{}]", resources[..bases].join(", "));
        }
        if !components.is_empty() && choices.chance(60) {
            // The last one may bring those before it along.
            let named = if choices.chance(70) { components } else { &components[components.len() - 1..] };
            let _ = writeln!(text, "components: [{}]", named.join(", "));
        }
        if !is_base || folder == "second" || choices.chance(30) {
            // What several layers build on has to be told apart.
            let is_variant = ["one", "two", "second"].contains(&folder);
            if choices.chance(if is_variant { 97 } else { 40 }) {
                let _ = writeln!(text, "namePrefix: {folder}-");
            }
        }
        self.fields(choices, folder, &mut known, &mut text);
        if choices.chance(8) {
            text += "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: any}\n";
        }
        let file = if choices.chance(8) { choices.pick(&["kustomization.yml", "Kustomization"]) } else { FILE };
        self.file(format!("{folder}/{file}"), text);
        known
    }

    fn component(&mut self, choices: &mut Choices<'_>, folder: &str, base: &[Known], others: &[String]) {
        let mut text = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n".to_owned();
        let mut known = base.to_vec();
        if choices.chance(25) {
            let name = if folder == "component" { "extra" } else { "other" };
            let one = Known { kind: choices.pick(&KINDS), name, namespace: "", is_generated: false };
            let path = self.fresh("resources");
            self.file(format!("{folder}/{path}"), resource(choices, one));
            let _ = writeln!(text, "resources: [{path}]");
            known.push(one);
        }
        if !others.is_empty() && choices.chance(10) {
            let _ = writeln!(text, "components: [{}]", others.join(", "));
        }
        let lines = text.lines().count();
        self.fields(choices, folder, &mut known, &mut text);
        if text.lines().count() == lines && lines == 2 {
            text += "nameSuffix: -c\n";
        }
        self.file(format!("{folder}/{FILE}"), text);
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
        if choices.chance(7) {
            *text += &self.generators(choices, folder, known);
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
                labels(choices, &format!("{folder}-{number}"), self.shares_labels)
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
            let mut content = strategic(choices, one);
            if choices.chance(30) {
                let other = choices.pick(known);
                let _ = write!(content, "---\n{}", strategic(choices, other));
            }
            if choices.chance(30) {
                let _ = writeln!(text, "patchesStrategicMerge:\n- |-\n  {}", indented(&content, 2));
            } else {
                let patch = self.fresh("merge");
                self.file(format!("{folder}/{patch}"), content);
                let _ = writeln!(text, "patchesStrategicMerge: [{patch}]");
            }
        }
        if choices.chance(10) && !known.is_empty() {
            let one = choices.pick(known);
            let patch = self.fresh("operations");
            self.file(format!("{folder}/{patch}"), operations(choices, one));
            let (group, version) = one.kind.0.split_once('/').unwrap_or(("''", one.kind.0));
            let more = choices.maybe(30, |_| format!("group: {group}, version: {version}, "));
            let _ = writeln!(
                text,
                "patchesJson6902: [{{path: {patch}, target: {{{more}kind: {}, name: {}}}}}]",
                one.kind.1, one.name
            );
        }
        if choices.chance(25) {
            let entries = choices.several(2, image);
            let field = if choices.chance(5) { "imageTags" } else { "images" };
            let _ = writeln!(text, "{field}: [{entries}]");
        }
        let scaled: Vec<Known> =
            known.iter().copied().filter(|one| ["Deployment", "StatefulSet"].contains(&one.kind.1)).collect();
        if !scaled.is_empty() && choices.chance(35) {
            let entries = choices.several(2, |choices| {
                let name = choices.pick(&scaled).name;
                format!("{{name: {name}, count: {}}}", choices.below(9))
            });
            let _ = writeln!(text, "replicas: [{entries}]");
        }
        if choices.chance(45) && known.len() > 1 {
            let entries = (0..1 + choices.below(2)).map(|_| self.replacement(choices, known));
            let mut entries = format!("- {}\n", entries.collect::<Vec<_>>().join("\n- "));
            if choices.chance(15) {
                // One may stand in its file alone.
                if !entries.contains("\n- ") && choices.chance(50) {
                    entries = format!("  {}", entries.strip_prefix("- ").unwrap_or(&entries));
                }
                let path = self.fresh("replacements");
                self.file(format!("{folder}/{path}"), entries);
                let _ = writeln!(text, "replacements: [{{path: {path}}}]");
            } else {
                let _ = write!(text, "replacements:\n{entries}");
            }
        }
        if choices.chance(25) {
            let entries = choices.several(2, |choices| {
                let path = self.fresh("configuration");
                let content = configuration(choices, &mut self.shares_labels);
                self.file(format!("{folder}/{path}"), content);
                path
            });
            let _ = writeln!(text, "configurations: [{entries}]");
        }
        if choices.chance(5) {
            let path = self.fresh("types");
            self.file(format!("{folder}/{path}"), types(choices));
            let _ = writeln!(text, "crds: [{path}]");
        }
        if choices.chance(5) {
            let path = self.fresh("schema");
            self.file(format!("{folder}/{path}"), schema(choices));
            let _ = writeln!(text, "openapi: {{path: {path}}}");
        }
        let is_shared = ["base", "component", "addition"].contains(&folder);
        let unique: Vec<Known> = known.iter().copied().filter(|one| is_only(known, *one)).collect();
        // Those of a base or a component are there twice in what two overlays make of it.
        if choices.chance(if is_shared { 1 } else { 9 }) && !unique.is_empty() {
            let one = choices.pick(&unique);
            let _ = writeln!(text, "vars:\n- {}", var(choices, folder, one));
        }
        if choices.chance(12) && !known.is_empty() {
            *text += &self.transformers(choices, folder, known);
        }
        if choices.chance(4) {
            *text += &self.validators(choices, folder);
        }
        if choices.chance(7) {
            let all = ["originAnnotations", "transformerAnnotations", "managedByLabel"];
            let words = choices.several(2, |choices| choices.pick(&all).to_owned());
            // That label tells which version it was.
            self.is_newer |= words.contains("managedByLabel");
            let _ = writeln!(text, "buildMetadata: [{words}]");
        }
        if choices.chance(6) {
            let _ = writeln!(text, "sortOptions: {}", sort_options(choices, self.makes_namespaces));
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
            let name = match folder {
                "component" => "part",
                "addition" => "piece",
                _ => choices.pick(&NAMES),
            };
            let one = Known { kind, name, namespace: choices.pick(&NAMESPACES), is_generated: true };
            match known.iter().find(|other| other.kind == kind && other.name == one.name) {
                Some(other) if !choices.chance(1) => (*other, choices.pick(&["merge", "replace"])),
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
            if choices.chance(10) {
                self.files.push((format!("{folder}/{path}"), vec![0, 255, b'a']));
            } else {
                self.file(format!("{folder}/{path}"), content);
            }
            let key = if choices.chance(2) { "level=" } else { choices.pick(&["", "key="]) };
            let _ = write!(entry, ", files: [{key}{path}]");
        }
        if choices.chance(15) {
            let path = self.fresh("env");
            self.file(format!("{folder}/{path}"), choices.pick(&["A=1\n# no\n\nB= two \n", "X\n", "Q=\"q\"\n"]));
            entry += &if choices.chance(20) { format!(", env: {path}") } else { format!(", envs: [{path}]") };
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
        if choices.chance(3) {
            let content = indented(&strategic(choices, one), 4);
            self.makes_namespaces |= one.kind.1 == "Namespace";
            let changed = choices.pick(known);
            let (kind, name) = match changed.kind {
                CONFIG_MAP | SECRET => ("Nothing", "nowhere"),
                (_, kind) => (kind, changed.name),
            };
            return format!(
                "patch: |-\n    {content}\n  target: {{kind: {kind}, name: {name}}}\n  options: {{allowKindChange: true}}"
            );
        }
        // Of several with one name a patch without target cannot know which is meant.
        let by_target = choices.chance(if is_only(known, one) { 50 } else { 97 });
        let (is_operations, content) = if by_target && choices.chance(60) {
            (true, operations(choices, one))
        } else {
            (false, strategic(choices, one))
        };
        let mut entry = String::new();
        let mut content = content;
        if !by_target && !is_operations && choices.chance(15) {
            let only: Vec<Known> = known.iter().copied().filter(|one| is_only(known, *one)).collect();
            if !only.is_empty() {
                let other = choices.pick(&only);
                let _ = write!(content, "---\n{}", strategic(choices, other));
            }
        }
        if choices.chance(50) {
            let path = self.fresh("patch");
            self.file(format!("{folder}/{path}"), content);
            let _ = write!(entry, "path: {path}");
        } else {
            let _ = write!(entry, "patch: |-\n    {}", indented(&content, 4));
        }
        if by_target || is_operations {
            let target = if choices.chance(70) {
                format!("kind: {}, name: {}", one.kind.1, one.name)
            } else {
                selector(choices, one)
            };
            let _ = write!(entry, "\n  target: {{{target}}}");
        }
        if !is_operations && choices.chance(5) {
            entry += "\n  options: {allowNameChange: true}";
        }
        entry
    }

    fn replacement(&mut self, choices: &mut Choices<'_>, known: &[Known]) -> String {
        let only: Vec<Known> = known.iter().copied().filter(|one| is_only(known, *one)).collect();
        let any = only.is_empty() || choices.chance(2);
        let from = choices.pick(if any { known } else { &only });
        let (mut is_number, mut is_structure) = (false, false);
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
                    "spec.template.spec.containers.0.name",
                ],
                _ if !from.namespace.is_empty() => &["metadata.name", "", "metadata.namespace"],
                _ => &["metadata.name", ""],
            };
            let field = choices.pick(fields);
            is_number = field == "spec.replicas";
            is_structure = ["data", "spec.bundle", "spec.parameters.hosts"].contains(&field);
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
                "ConfigMap" => &["data.level", "data.fresh", "data.number", "data.json.a.b", "data.json.list.0"],
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
                _ if is_structure => format!("'{}'", choices.pick(&["spec.parameters.whole", "whole", "data.whole"])),
                _ => choices.several(2, |choices| format!("'{}'", choices.pick(fields))),
            };
            let create = choices.below(500) != 499;
            let delimiter = choices.maybe(if is_number || is_structure { 0 } else { 18 }, |choices| {
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

/// The lines of a text but the first, so many columns to the right.
fn indented(text: &str, columns: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{}", " ".repeat(columns)))
}

/// Documents as one list of all.
fn as_list(documents: &str) -> String {
    let items = documents.split("---\n").filter(|document| !document.trim().is_empty());
    let items: String = items.map(|document| format!("- {}\n", indented(document, 2))).collect();
    if items.is_empty() { items } else { format!("apiVersion: v1\nkind: List\nitems:\n{items}") }
}

fn var(choices: &mut Choices<'_>, folder: &str, one: Known) -> String {
    let (api_version, kind) = one.kind;
    let field = match kind {
        "ConfigMap" if !one.is_generated => choices.pick(&["", "data.level", "data.number"]),
        "Deployment" => choices.pick(&["", "spec.replicas", "spec.template.spec.containers[0].name"]),
        "Installation" => choices.pick(&["", "spec.bundle.version", "spec.parameters.number", "spec.bundle"]),
        _ => "",
    };
    let field = if field.is_empty() { String::new() } else { format!(", fieldref: {{fieldPath: '{field}'}}") };
    let namespace = if !one.namespace.is_empty() && choices.chance(30) {
        format!(", namespace: {}", one.namespace)
    } else {
        String::new()
    };
    format!(
        "{{name: {}, objref: {{apiVersion: {api_version}, kind: {kind}, name: {}{namespace}}}{field}}}",
        folder.to_uppercase(),
        one.name
    )
}

fn sort_options(choices: &mut Choices<'_>, makes_namespaces: bool) -> String {
    if choices.chance(40) {
        let kinds = |choices: &mut Choices<'_>| choices.several(3, |choices| choices.pick(&KINDS).1.to_owned());
        let (mut first, last) = (kinds(choices), kinds(choices));
        if makes_namespaces {
            first += ", Namespace";
        }
        return format!("{{order: legacy, legacySortOptions: {{orderFirst: [{first}], orderLast: [{last}]}}}}");
    }
    choices.pick(&["{order: legacy}", "{order: fifo}"]).to_owned()
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

fn labels(choices: &mut Choices<'_>, folder: &str, is_shared: bool) -> String {
    let (pairs, includes) = match choices.below(10) {
        0..=2 => (shared_pairs(choices, "part", folder), ", includeSelectors: true"),
        3..=4 => (shared_pairs(choices, "template", folder), ", includeTemplates: true"),
        5 => (shared_pairs(choices, "both", folder), ", includeSelectors: true, includeTemplates: true"),
        6 => {
            let pairs = shared_pairs(choices, "own", folder);
            let fields = choices.several(2, label_field);
            let more = choices.pick(&["", "", ", includeTemplates: true", ", includeSelectors: true"]);
            return format!("{{pairs: {pairs}, fields: [{fields}]{more}}}");
        }
        _ if is_shared => (shared_pairs(choices, "plain", folder), ""),
        _ => (pairs(choices), ""),
    };
    format!("{{pairs: {pairs}{includes}}}")
}

fn label_field(choices: &mut Choices<'_>) -> String {
    let (api_version, kind) = choices.pick(&KINDS);
    let create = choices.chance(60);
    let path = choices.pick(&["spec/labels", "spec/parameters/tags", "spec/template/spec/more"]);
    let about = match (choices.below(4), api_version.split_once('/')) {
        (0, Some((group, version))) => format!("group: {group}, version: {version}"),
        (1, Some((group, _))) => format!("group: {group}, kind: {kind}"),
        (2, None) => format!("version: {api_version}, kind: {kind}"),
        _ => format!("kind: {kind}"),
    };
    format!("{{path: {path}, {about}, create: {create}}}")
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
