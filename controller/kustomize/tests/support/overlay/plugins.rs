//! Built-in plugins by their own configurations, the fields that transformers know, and schemas.

use std::fmt::Write as _;

use super::patches::{operations, strategic};
use super::{
    CONFIG_MAP, Choices, INSTALLATION, KINDS, Known, Maker, NAMES, SECRET, VALUES, generator_options, image, indented,
    is_only, pairs, selector,
};

impl Maker {
    /// `generators`.
    pub(super) fn generators(&mut self, choices: &mut Choices<'_>, folder: &str, known: &[Known]) -> String {
        let kind = choices.pick(&[CONFIG_MAP, SECRET]);
        let name = choices.pick(&NAMES);
        let there = known.iter().copied().find(|one| one.kind == kind && one.name == name && is_only(known, *one));
        let mut text = match there {
            Some(one) => {
                let namespace = if one.namespace.is_empty() { "" } else { &format!(", namespace: {}", one.namespace) };
                let behavior = choices.pick(&["merge", "replace"]);
                format!("metadata: {{name: {name}{namespace}}}\nbehavior: {behavior}\n")
            }
            None => {
                self.count += 1;
                format!("metadata: {{name: plugged{}}}\n", self.count)
            }
        };
        if choices.chance(10) {
            text = "apiVersion: builtin\nkind: IAMPolicyGenerator\nmetadata: {name: any}\ncloud: gke\nkubernetesService: {name: account, namespace: default}\nserviceAccount: {name: user, projectId: project}\n".to_owned();
        } else {
            text = format!("apiVersion: builtin\nkind: {}Generator\n{text}literals: [level=plugin, x=1]\n", kind.1);
            text += &choices.maybe(30, |choices| format!("options: {}\n", generator_options(choices)));
        }
        format!("generators:\n{}", self.plugin(choices, folder, &text))
    }

    /// `transformers`.
    pub(super) fn transformers(&mut self, choices: &mut Choices<'_>, folder: &str, known: &[Known]) -> String {
        let entries = (0..1 + choices.below(2)).map(|_| {
            let text = self.transformer(choices, folder, known);
            self.plugin(choices, folder, &text)
        });
        format!("transformers:\n{}", entries.collect::<String>())
    }

    /// `validators`.
    pub(super) fn validators(&mut self, choices: &mut Choices<'_>, folder: &str) -> String {
        let fields = choices.pick(&[
            "kind: PrefixTransformer\nmetadata: {name: v}\nprefix: a-\nfieldSpecs: [{path: metadata/name, kind: Nothing}]\n",
            "kind: AnnotationsTransformer\nmetadata: {name: v}\nannotations: {a: b}\nfieldSpecs: [{path: spec/nowhere}]\n",
        ]);
        format!("validators:\n{}", self.plugin(choices, folder, &format!("apiVersion: builtin\n{fields}")))
    }

    /// A configuration as an entry: as text, as a file, or as a directory.
    fn plugin(&mut self, choices: &mut Choices<'_>, folder: &str, text: &str) -> String {
        match choices.below(3) {
            0 => format!("- |-\n  {}\n", indented(text, 2)),
            1 => {
                let path = self.fresh("plugin");
                self.file(format!("{folder}/{path}"), text);
                format!("- {path}\n")
            }
            _ => {
                let path = self.fresh("plugin");
                let directory = path.trim_end_matches(".yaml");
                self.file(format!("{folder}/{directory}/{path}"), text);
                self.file(format!("{folder}/{directory}/kustomization.yaml"), format!("resources: [{path}]\n"));
                format!("- {directory}\n")
            }
        }
    }

    fn transformer(&mut self, choices: &mut Choices<'_>, folder: &str, known: &[Known]) -> String {
        let kind = choices.pick(&KINDS).1;
        let one = choices.pick(known);
        self.count += 1;
        let name = format!("t{}", self.count);
        let head = |kind: &str| format!("apiVersion: builtin\nkind: {kind}\nmetadata: {{name: {name}}}\n");
        match choices.below(14) {
            0 => {
                head("PrefixTransformer")
                    + &format!("prefix: t-\nfieldSpecs: [{{path: metadata/name, kind: {kind}}}]\n")
            }
            1 => {
                head("SuffixTransformer")
                    + &format!("suffix: -t\nfieldSpecs: [{{path: metadata/name, kind: {}}}]\n", one.kind.1)
            }
            2 => {
                let path = choices.pick(&["metadata/labels", "spec/labels", "spec/template/metadata/labels"]);
                let create = choices.chance(70);
                let pairs = pairs(choices);
                head("LabelTransformer")
                    + &format!("labels: {pairs}\nfieldSpecs: [{{path: {path}, create: {create}, kind: {kind}}}]\n")
            }
            3 => {
                let path = choices.pick(&["metadata/annotations", "spec/notes"]);
                let pairs = pairs(choices);
                head("AnnotationsTransformer")
                    + &format!("annotations: {pairs}\nfieldSpecs: [{{path: {path}, create: true}}]\n")
            }
            4 | 5 => {
                let mode = choices.pick(&["defaultOnly", "allServiceAccounts", "none"]);
                let unset = if known.iter().all(|one| is_only(known, *one)) { choices.chance(50) } else { true };
                let specs = choices.pick(&[
                    "{path: metadata/namespace, create: true}",
                    "{path: metadata/namespace, create: true}, {path: subjects, kind: RoleBinding}",
                    "{path: metadata/namespace, create: true}, {path: subjects, kind: ClusterRoleBinding}, {path: spec/namespace, kind: Installation}",
                ]);
                format!(
                    "apiVersion: builtin\nkind: NamespaceTransformer\nmetadata: {{name: {name}, namespace: plugin}}\nsetRoleBindingSubjects: {mode}\nunsetOnly: {unset}\nfieldSpecs: [{specs}]\n"
                )
            }
            6 => {
                let image = image(choices);
                head("ImageTagTransformer")
                    + &format!("imageTag: {image}\nfieldSpecs: [{{path: spec/bundle/repository}}]\n")
            }
            7 => {
                head("ReplicaCountTransformer")
                    + &format!(
                        "replica: {{name: {}, count: {}}}\nfieldSpecs: [{{path: spec/replicas, create: true, kind: {}}}]\n",
                        one.name,
                        choices.below(9),
                        one.kind.1
                    )
            }
            8 => {
                let target = selector(choices, one);
                head("PatchTransformer")
                    + &format!("target: {{{target}}}\npatch: '- {{op: add, path: /plugin, value: true}}'\n")
            }
            9 => {
                let target = format!("kind: {}, name: {}", one.kind.1, one.name);
                head("PatchJson6902Transformer")
                    + &format!("target: {{{target}}}\njsonOp: |-\n  {}\n", indented(&operations(choices, one), 2))
            }
            10 => {
                let patch = strategic(choices, one);
                if choices.chance(50) {
                    let path = self.fresh("merge");
                    self.file(format!("{folder}/{path}"), patch);
                    return head("PatchStrategicMergeTransformer") + &format!("paths: [{path}]\n");
                }
                head("PatchStrategicMergeTransformer") + &format!("patches: |-\n  {}\n", indented(&patch, 2))
            }
            11 => {
                let replacement = self.replacement(choices, known);
                head("ReplacementTransformer") + &format!("replacements:\n- {replacement}\n")
            }
            12 => {
                let value = choices.pick(&VALUES);
                let target = selector(choices, one);
                let (path, position) = choices.pick(&[
                    ("metadata/annotations/added", 0),
                    ("metadata/namespace", 0),
                    ("spec/parameters/url", 2),
                    ("spec/parameters/url", 9),
                    ("spec/bundle/repository", 1),
                ]);
                let mut text = head("ValueAddTransformer");
                let _ = writeln!(
                    text,
                    "value: {value}\ntargets: [{{selector: {{{target}}}, fieldPath: {path}, filePathPosition: {position}}}]"
                );
                text
            }
            _ => head("HashTransformer"),
        }
    }
}

/// A file of `configurations`.
pub(super) fn configuration(choices: &mut Choices<'_>, shares_labels: &mut bool) -> String {
    let all = [
        "nameReference:\n- {kind: CredentialSet, fieldSpecs: [{path: spec/credentialSets, kind: Installation}]}\n- {kind: ParameterSet, fieldSpecs: [{path: spec/parameterSets, kind: Installation}]}\n",
        "nameReference: [{kind: Secret, fieldSpecs: [{path: spec/credentials/source/secret, kind: CredentialSet}]}]\n",
        "nameReference: [{kind: Deployment, version: v1, group: apps, fieldSpecs: [{path: metadata/annotations/level}, {path: spec/serviceName, group: apps}]}]\n",
        "namespace: [{path: spec/namespace, kind: Installation}]\n",
        "namespace: [{path: spec/space, kind: Installation, create: true}, {path: metadata/namespace, create: true}]\n",
        "namePrefix: [{path: spec/name, kind: Installation}]\n",
        "nameSuffix: [{path: spec/name, kind: Installation}]\n",
        "commonLabels: [{path: spec/labels, kind: Installation, create: true}]\n",
        "labels: [{path: spec/labels, kind: Installation, create: true}]\n",
        "templateLabels: [{path: spec/parameters/labels, group: getporter.org, create: true}]\n",
        "commonAnnotations: [{path: spec/notes, kind: Installation, create: true}]\n",
        "images: [{path: spec/bundle/repository, kind: Installation}]\n",
        "images: [{path: 'spec/parameters/steps[]/image', kind: Installation}]\n",
        "replicas: [{path: spec/parameters/number, kind: Installation}]\n",
        "varReference: [{path: spec/parameters/url, kind: Installation}]\n",
        "varReference: [{path: spec/parameters/hosts}, {path: metadata/annotations}, {path: data}]\n",
    ];
    let picked = choices.pick(&all);
    *shares_labels |= picked.starts_with("labels");
    picked.to_owned()
}

/// A file of `crds`.
pub(super) fn types(choices: &mut Choices<'_>) -> String {
    let field = choices.pick(&[
        r#""bundle": {"x-kubernetes-annotation": ""}"#,
        r#""parameters": {"x-kubernetes-label-selector": ""}"#,
        r#""name": {"x-kubernetes-identity": ""}"#,
        r#""bundle": {"x-kubernetes-object-ref-api-version": "v1", "x-kubernetes-object-ref-kind": "ConfigMap", "x-kubernetes-object-ref-name-key": "version"}"#,
        r#""agent": {"x-kubernetes-object-ref-api-version": "v1", "x-kubernetes-object-ref-kind": "Secret", "x-kubernetes-object-ref-name-key": "name"}"#,
    ]);
    format!(
        r#"{{
  "org.getporter.v1.Installation": {{"Schema": {{"properties": {{
    "apiVersion": {{"type": "string"}}, "kind": {{"type": "string"}}, "metadata": {{"type": "object"}},
    "spec": {{"$ref": "org.getporter.v1.InstallationSpec"}}
  }}}}, "Dependencies": []}},
  "org.getporter.v1.InstallationSpec": {{"Schema": {{"properties": {{{field}}}}}}}
}}
"#
    )
}

/// A document of `openapi`.
pub(super) fn schema(choices: &mut Choices<'_>) -> String {
    let steps = choices.pick(&[
        r#"{"type": "array", "items": {"type": "object"}, "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"}"#,
        r#"{"type": "array", "items": {"type": "object"}, "x-kubernetes-patch-merge-key": "image", "x-kubernetes-patch-strategy": "merge"}"#,
        r#"{"type": "array", "items": {"type": "object"}}"#,
    ]);
    let sets = choices.pick(&[
        r#"{"type": "array", "items": {"type": "string"}, "x-kubernetes-patch-strategy": "merge"}"#,
        r#"{"type": "array", "items": {"type": "string"}}"#,
    ]);
    let (group, version) = INSTALLATION.0.split_once('/').unwrap_or_default();
    format!(
        r##"{{"definitions": {{
  "org.getporter.v1.Installation": {{
    "x-kubernetes-group-version-kind": [{{"group": "{group}", "version": "{version}", "kind": "Installation"}}],
    "properties": {{"spec": {{"$ref": "#/definitions/org.getporter.v1.InstallationSpec"}}}}
  }},
  "org.getporter.v1.InstallationSpec": {{"properties": {{
    "credentialSets": {sets}, "parameters": {{"properties": {{"steps": {steps}}}}}
  }}}}
}}}}
"##
    )
}
