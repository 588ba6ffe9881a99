use manifest::yaml::{self, Dialect};

use super::*;
use crate::kustomization::Labels;
use crate::transform::label_specs;

fn node(text: &str) -> Node {
    yaml::parse_as(Dialect::Kustomization, "c.yaml", text.as_bytes()).unwrap().remove(0).node
}

fn config(text: &str) -> TransformerConfig {
    let mut faults = Vec::new();
    let config = TransformerConfig::read(&node(text), &Entry::default(), &mut faults);
    assert!(faults.is_empty(), "{text}: {faults:?}");
    config.unwrap()
}

/// `+` for create, the kind, and the path.
fn shown(specs: &[FieldSpec]) -> Vec<String> {
    let create = |spec: &FieldSpec| if spec.create { "+" } else { "" };
    specs.iter().map(|spec| format!("{}{} {}", create(spec), spec.gvk.kind, spec.path.as_str())).collect()
}

#[test]
fn the_defaults_are_whole() {
    let builtin = TransformerConfig::builtin();
    let counts = builtin.lists().map(|(name, list)| (name, list.len()));
    let expected = [
        ("namePrefix", 1),
        ("nameSuffix", 1),
        ("namespace", 3),
        ("commonAnnotations", 9),
        ("commonLabels", 32),
        ("labels", 0),
        ("templateLabels", 10),
        ("varReference", 72),
        ("images", 6),
        ("replicas", 4),
    ];
    assert_eq!(counts, expected);
    let referrers: Vec<(String, usize)> =
        builtin.name_reference.iter().map(|of| (of.gvk.to_string(), of.referrers.len())).collect();
    let expected = [
        ("StorageClass.v1.storage.k8s.io", 3),
        ("ServiceAccount.v1.[noGrp]", 9),
        ("Role.[noVer].rbac.authorization.k8s.io", 1),
        ("ClusterRole.[noVer].rbac.authorization.k8s.io", 2),
        ("ConfigMap.v1.[noGrp]", 52),
        ("Secret.v1.[noGrp]", 70),
        ("Service.v1.[noGrp]", 8),
        ("PriorityClass.v1.scheduling.k8s.io", 7),
        ("PersistentVolume.v1.[noGrp]", 2),
        ("PersistentVolumeClaim.v1.[noGrp]", 7),
        ("Deployment.[noVer].[noGrp]", 1),
        ("StatefulSet.[noVer].[noGrp]", 1),
        ("ValidatingAdmissionPolicy.[noVer].admissionregistration.k8s.io", 1),
        // kustomize writes the group so, and no kind has it.
        ("IngressClass.v1.networking.k8s.io/v1", 1),
        ("ReplicaSet.[noVer].[noGrp]", 1),
        ("ReplicationController.[noVer].[noGrp]", 1),
    ];
    assert_eq!(referrers, expected.map(|(kind, count)| (kind.to_owned(), count)));
    assert!(builtin.common_labels.contains(&FieldSpec {
        gvk: Gvk::new("apps/", "StatefulSet"),
        ..FieldSpec::new("spec/volumeClaimTemplates[]/metadata/labels", true)
    }));
    assert_eq!(
        shown(&builtin.namespace)[1],
        "CustomResourceDefinition spec/conversion/webhook/clientConfig/service/namespace"
    );
}

#[test]
fn a_file_is_read_strictly() {
    let read = config(
        "NamePrefix: [{path: spec/n, kind: Foo}, {path: metadata/name, kind: Secret, create: true}]\n\
         nameReference: [{kind: B, group: g, fieldSpecs: [{path: x, version: v1}]}, {kind: Secret, version: v1}]\nimages: null",
    );
    assert_eq!(shown(&read.name_prefix), ["+Secret metadata/name", "Foo spec/n"]);
    let kinds: Vec<String> = read.name_reference.iter().map(|of| of.gvk.to_string()).collect();
    assert_eq!(kinds, ["Secret.v1.[noGrp]", "B.[noVer].g"]);
    for (text, expected) in [
        ("namoPrefix: []", "c.yaml:1:1: unknown field `namoPrefix`; did you mean `namePrefix`?"),
        ("namePrefix: [{paht: a}]", "c.yaml:1:15: unknown field `namePrefix[0].paht`; did you mean `path`?"),
        ("namePrefix: {path: a}", "c.yaml:1:13: namePrefix: this is a mapping, not a list"),
        ("labels: [{path: a, create: 'true'}]", "c.yaml:1:28: labels[0].create: this is a string, not a boolean"),
        ("nameReference: [{kind: 1}]", "nameReference[0].kind: this is a number, not a string"),
        ("volumeClaimTemplateLabels: []", "unknown field `volumeClaimTemplateLabels`"),
    ] {
        let mut faults = Vec::new();
        assert_eq!(TransformerConfig::read(&node(text), &Entry::default(), &mut faults), None, "{text}");
        assert!(faults[0].to_string().contains(expected), "{text}: {faults:?}");
    }
}

/// As `FsSlice.MergeAll` of kustomize does it.
#[test]
fn merging_is_by_path_and_by_what_the_new_one_selects() {
    type Row<'a> = (&'a str, &'a str, Result<&'a [&'a str], &'a str>);
    let rows: [Row<'_>; 8] = [
        ("[]", "[{path: b, kind: Foo}, {path: a, kind: Bar}]", Ok(&["Bar a", "Foo b"])),
        ("[{path: a, kind: Foo}]", "[{path: a, kind: Foo}]", Ok(&["Foo a"])),
        ("[{path: a, kind: Foo}]", "[{path: a, kind: Foo, create: true}]", Err("conflicting fieldspecs")),
        // A general one is lost behind a special one ...
        ("[{path: a, kind: Foo, create: true}]", "[{path: a, create: true}]", Ok(&["+Foo a"])),
        ("[{path: a, kind: Foo}]", "[{path: a, create: true}]", Err("conflicting fieldspecs")),
        // ... but not the other way round.
        ("[{path: a}]", "[{path: a, kind: Foo, create: true}]", Ok(&["+Foo a", " a"])),
        ("[{path: a, kind: Foo, group: g}]", "[{path: a, kind: Foo}]", Ok(&["Foo a"])),
        ("[{path: a}]", "[{path: /a}]", Ok(&[" a", " /a"])),
    ];
    for (left, right, expected) in rows {
        let mut merged = config(&format!("labels: {left}"));
        let result = merged.merge(&config(&format!("labels: {right}")));
        match (result, expected) {
            (Ok(()), Ok(expected)) => assert_eq!(shown(&merged.labels), expected, "{left} {right}"),
            (Err(fault), Err(words)) => assert!(fault.contains(words), "{fault}"),
            (result, _) => panic!("{left} {right}: {result:?}"),
        }
    }
    let mut merged = config("nameReference: [{kind: A, fieldSpecs: [{path: a}]}, {kind: B, fieldSpecs: [{path: b}]}]");
    let other = "nameReference: [{kind: A, fieldSpecs: [{path: c}, {path: a}]}, {kind: A, version: v1, fieldSpecs: [{path: a}]}]";
    merged.merge(&config(other)).unwrap();
    let shown: Vec<_> = merged.name_reference.iter().map(|of| (of.gvk.to_string(), shown(&of.referrers))).collect();
    let row = |kind: &str, paths: &[&str]| (kind.to_owned(), paths.iter().map(|path| format!(" {path}")).collect());
    let expected =
        [row("A.v1.[noGrp]", &["a"]), row("A.[noVer].[noGrp]", &["a", "c"]), row("B.[noVer].[noGrp]", &["b"])];
    assert_eq!(shown, expected);
}

#[test]
fn the_defaults_merge_into_nothing_and_into_themselves() {
    let mut merged = TransformerConfig::default();
    for _ in 0..2 {
        merged.merge(TransformerConfig::builtin()).unwrap();
        assert_eq!(merged, **TransformerConfig::builtin());
    }
    // What the shortcut skips comes to the same.
    let mut slowly = TransformerConfig::default();
    for _ in 0..2 {
        slowly.merge_lists(TransformerConfig::builtin()).unwrap();
        assert_eq!(slowly, merged);
    }
    // A general default is lost where a special field spec is sorted before it: kustomize labels nothing but Foo then.
    let mut own = (**TransformerConfig::builtin()).clone();
    own.merge(&config("commonLabels: [{path: metadata/labels, kind: Foo, create: true}]")).unwrap();
    assert!(shown(&own.common_labels).contains(&"+ metadata/labels".to_owned()));
    let mut gathered = TransformerConfig::default();
    gathered.merge(&own).unwrap();
    let of_metadata = |spec: &&FieldSpec| spec.path.as_str() == "metadata/labels";
    let left: Vec<FieldSpec> = gathered.common_labels.iter().filter(of_metadata).cloned().collect();
    assert_eq!(shown(&left), ["+Foo metadata/labels"]);
}

#[test]
fn hostile_files_are_bounded() {
    let specs: Vec<String> = (0..=MAX_FIELD_SPECS).map(|index| format!("{{path: p{index}}}")).collect();
    let many = config(&format!("labels: [{}]", specs.join(", ")));
    let fault = TransformerConfig::default().merge(&many).unwrap_err();
    assert!(fault.contains("labels fieldSpec: more than 2048 field specs"), "{fault}");
    // Each type holds the next one ten times.
    let types: Vec<String> = (0..20)
        .map(|index| {
            let next = |field| format!("f{field}: {{$ref: t{}}}", index + 1);
            let fields: Vec<String> = (0..10).map(next).collect();
            format!(
                "t{index}: {{Schema: {{properties: {{kind: {{}}, apiVersion: {{}}, metadata: {{}}, {}}}}}}}",
                fields.join(", ")
            )
        })
        .collect();
    let fault = TransformerConfig::from_crds(&node(&types.join("\n"))).unwrap_err();
    assert!(fault.message.contains("too many other types"), "{fault}");
}

#[test]
fn definitions_of_types_give_field_specs() {
    let types = node(
        r#"
github.com/example/v1.Bee:
  Schema:
    properties:
      apiVersion: {type: string}
      kind: {type: string}
      metadata: {$ref: ObjectMeta}
      spec: {$ref: github.com/example/v1.BeeSpec}
  Dependencies: [github.com/example/v1.BeeSpec]
github.com/example/v1.BeeSpec:
  schema:
    properties:
      hive:
        X-Kubernetes-Object-Ref-Api-Version: v1
        x-kubernetes-object-ref-kind: ConfigMap
      key:
        x-kubernetes-object-ref-api-version: getporter.org/v1
        x-kubernetes-object-ref-kind: Key
        x-kubernetes-object-ref-name-key: called
      notes: {x-kubernetes-annotation: ""}
      tags: {x-kubernetes-label-selector: "", $ref: Tags}
      title: {x-kubernetes-identity: ""}
      none: {x-kubernetes-identity: true}
      half: {x-kubernetes-object-ref-kind: ConfigMap}
Tags: {Schema: {properties: {deep: {x-kubernetes-identity: ""}}}}
Other: {Schema: {properties: {kind: {x-kubernetes-identity: ""}}}}
Nothing:
"#,
    );
    let config = TransformerConfig::from_crds(&types).unwrap();
    assert_eq!(shown(&config.name_prefix), ["Bee spec/tags/deep", "Bee spec/title"]);
    assert_eq!(shown(&config.common_annotations), ["Bee spec/notes"]);
    assert_eq!(shown(&config.common_labels), ["Bee spec/tags"]);
    let references: Vec<_> =
        config.name_reference.iter().map(|of| (of.gvk.to_string(), shown(&of.referrers).join(""))).collect();
    let row = |kind: &str, spec: &str| (kind.to_owned(), spec.to_owned());
    let expected =
        [row("ConfigMap.v1.[noGrp]", "Bee spec/hive/name"), row("Key.getporter.org/v1.[noGrp]", "Bee spec/key/called")];
    assert_eq!(references, expected);
    for (text, words) in [
        ("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition", "`apiVersion` is a string"),
        ("[]", "the file is a list"),
        (
            "a.B: {Schema: {properties: {kind: {}, apiVersion: {}, metadata: {}, spec: {$ref: C}}}}\n\
             C: {Schema: {properties: {c: {$ref: C}}}}",
            "c.yaml:1:6: type \"a.B\": it holds itself, through \"C\" at \"spec/c\"",
        ),
    ] {
        let fault = TransformerConfig::from_crds(&node(text)).unwrap_err();
        assert!(fault.to_string().contains(words), "{text}: {fault}");
    }
}

#[test]
fn an_entry_of_labels_has_its_own_fields() {
    let builtin = TransformerConfig::builtin();
    let fields = |text: &str| config(&format!("labels: {text}")).labels;
    let of = |text: &str| FieldSpec { gvk: Gvk::new("", "Foo"), ..FieldSpec::new(text, true) };
    let plain = Labels { fields: vec![of("spec/l")], ..Labels::default() };
    assert_eq!(shown(&label_specs(&plain, builtin).unwrap()), ["+Foo spec/l", "+ metadata/labels"]);
    let templates = Labels { include_templates: true, ..Labels::default() };
    assert_eq!(label_specs(&templates, builtin).unwrap(), builtin.template_labels);
    let both = Labels { include_selectors: true, include_templates: true, ..Labels::default() };
    assert_eq!(label_specs(&both, builtin).unwrap(), builtin.common_labels);
    let mut configured = (**builtin).clone();
    configured.labels = fields("[{path: spec/c, kind: Foo}]");
    assert_eq!(shown(&label_specs(&plain, &configured).unwrap()), ["+Foo spec/l", "Foo spec/c", "+ metadata/labels"]);
    // The entry's own field hides the general one, or is in conflict with it.
    let hiding = Labels { fields: vec![of("metadata/labels")], ..Labels::default() };
    assert_eq!(shown(&label_specs(&hiding, builtin).unwrap()), ["+Foo metadata/labels"]);
    let conflicting = Labels { fields: fields("[{path: metadata/labels}]"), ..Labels::default() };
    let fault = label_specs(&conflicting, builtin).unwrap_err();
    assert!(fault.starts_with("failed to merge labels: conflicting fieldspecs: \"metadata/labels\" of "), "{fault}");
}
