use manifest::yaml::{self, Node};

use super::{Schemas, builtin};

fn document(text: &str) -> Node {
    yaml::parse("schema.yaml", text.as_bytes()).unwrap().remove(0).node
}

/// The keys by which the list at a path is merged; `-` when it is not, and as element of a list, `[]`.
fn keys(schemas: &Schemas, api_version: &str, kind: &str, path: &str) -> String {
    let mut schema = schemas.of_kind(api_version, kind);
    for part in path.split('.') {
        schema = schema.and_then(|schema| match part {
            "[]" => schema.merged_list().and_then(|list| list.element),
            part => schema.field(part),
        });
    }
    schema.and_then(super::Schema::merged_list).map_or("-".to_owned(), |list| list.keys.join(","))
}

#[test]
fn the_built_in_lists_are_those_of_kubernetes_1_21() {
    let rows = [
        ("v1", "Pod", "spec.containers", "name"),
        ("v1", "Pod", "spec.containers.[].ports", "containerPort,protocol"),
        ("v1", "Pod", "spec.initContainers.[].env", "name"),
        ("v1", "Pod", "spec.containers.[].volumeMounts", "mountPath"),
        ("v1", "Pod", "spec.containers.[].volumeDevices", "devicePath"),
        ("v1", "Pod", "spec.topologySpreadConstraints", "topologyKey,whenUnsatisfiable"),
        ("v1", "Pod", "spec.hostAliases", "ip"),
        ("v1", "Pod", "metadata.finalizers", ""),
        ("v1", "Pod", "metadata.ownerReferences", "uid"),
        ("v1", "Node", "spec.podCIDRs", ""),
        ("v1", "Service", "spec.ports", "port,protocol"),
        ("v1", "ServiceAccount", "secrets", "name"),
        ("v1", "ServiceAccount", "imagePullSecrets", "-"),
        ("apps/v1", "Deployment", "spec.template.spec.containers", "name"),
        ("apps/v1", "StatefulSet", "spec.template.spec.volumes", "name"),
        ("apps/v1", "StatefulSet", "spec.volumeClaimTemplates", "-"),
        ("batch/v1", "CronJob", "spec.jobTemplate.spec.template.spec.imagePullSecrets", "name"),
        ("rbac.authorization.k8s.io/v1", "Role", "rules", "-"),
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "webhooks", "name"),
        // Served no longer.
        ("batch/v1beta1", "CronJob", "spec.jobTemplate.spec.template.spec.containers", "name"),
        ("policy/v1beta1", "PodSecurityPolicy", "metadata.finalizers", ""),
        ("extensions/v1beta1", "Ingress", "metadata.finalizers", ""),
        // Younger.
        ("v1", "Pod", "spec.schedulingGates", "-"),
        ("v1", "Pod", "spec.resourceClaims", "-"),
        ("v1", "Pod", "spec.ephemeralContainers.[].ports", "-"),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "metadata.finalizers", "-"),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "metadata.finalizers", "-"),
        // Never were.
        ("apps/v2", "Deployment", "spec.template.spec.containers", "-"),
        ("getporter.org/v1", "Installation", "metadata.finalizers", "-"),
    ];
    for (api_version, kind, path, expected) in rows {
        assert_eq!(keys(&Schemas::builtin(), api_version, kind, path), expected, "{api_version} {kind} {path}");
    }
}

#[test]
fn scopes_go_by_the_exact_api_version_and_kind() {
    let rows = [
        ("v1", "Namespace", true),
        ("v1", "Node", true),
        ("v1", "PersistentVolume", true),
        ("v1", "PersistentVolumeClaim", false),
        ("v1", "Secret", false),
        ("v2", "Namespace", false),
        ("a.b/v1", "Namespace", false),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", true),
        ("rbac.authorization.k8s.io/v1beta1", "ClusterRoleBinding", true),
        ("rbac.authorization.k8s.io/v1", "Role", false),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", true),
        ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition", true),
        ("storage.k8s.io/v1", "StorageClass", true),
        ("policy/v1beta1", "PodSecurityPolicy", true),
        ("certificates.k8s.io/v1", "CertificateSigningRequest", true),
        ("networking.k8s.io/v1", "IngressClass", true),
        ("apiregistration.k8s.io/v1", "APIService", true),
        ("flowcontrol.apiserver.k8s.io/v1beta1", "FlowSchema", true),
        ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", false),
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", true),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", false),
        ("authorization.k8s.io/v1", "SubjectAccessReview", false),
        ("cert-manager.io/v1", "ClusterIssuer", false),
        ("", "", false),
    ];
    for (api_version, kind, expected) in rows {
        assert_eq!(Schemas::builtin().is_cluster_scoped(api_version, kind), expected, "{api_version} {kind}");
    }
}

const DOCUMENT: &str = "
definitions:
  io.k8s.api.core.v1.Container:
    properties:
      args: {type: array, items: {type: string}, x-kubernetes-patch-strategy: merge}
  b.Issuer:
    x-kubernetes-group-version-kind:
    - {group: b, version: v1, kind: Issuer}
    - {group: b, version: v1, kind: ClusterIssuer}
    - not looked at
    properties:
      spec: {$ref: '#/definitions/b~1Spec'}
      any: {additionalProperties: {type: [array], items: {}, x-kubernetes-patch-strategy: merge, x-kubernetes-patch-merge-key: k}}
      loop: {$ref: '#/definitions/b.Loop'}
      missing: {$ref: '#/definitions/c'}
      elsewhere: {$ref: 'http://example.com/c'}
      no: {additionalProperties: false}
      metadata: {$ref: '#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta'}
  b/Spec:
    properties:
      l: {type: array, x-kubernetes-patch-strategy: 'replace,retainKeys', x-kubernetes-patch-merge-key: k}
      m: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k]}
      n: {type: array, x-kubernetes-patch-strategy: 'merge', x-kubernetes-patch-merge-key: a, x-kubernetes-list-map-keys: [b, c]}
  b.Loop: {$ref: '#/definitions/b.Loop'}
paths:
  /apis/b/v1/issuers:
    get: {x-kubernetes-group-version-kind: {group: b, version: v1, kind: Issuer}}
  /apis/b/v1/namespaces/{namespace}/issuers:
    get: {x-kubernetes-group-version-kind: {group: b, version: v1, kind: Issuer}}
  /apis/b/v1/clusterissuers:
    get: {x-kubernetes-group-version-kind: {group: b, version: v1, kind: ClusterIssuer}}
  /api/v1/secrets:
    get: {x-kubernetes-group-version-kind: {group: '', version: v1, kind: Secret}}
  /version: {get: {}}
  /none: {}
";

#[test]
fn a_document_is_added_to_what_is_built_in_or_stands_in_its_place() {
    let document = document(DOCUMENT);
    let added = Schemas::builtin().with_document(&document).unwrap();
    let alone = Schemas::from_document(&document).unwrap();
    // Path, with what is built in, and without.
    let rows = [
        ("b/v1", "Issuer", "spec.l", "-", "-"),
        ("b/v1", "Issuer", "spec.m", "-", "-"),
        ("b/v1", "Issuer", "spec.n", "b,c", "b,c"),
        ("b/v1", "ClusterIssuer", "any.x", "k", "k"),
        ("b/v1", "Issuer", "loop.x", "-", "-"),
        ("b/v1", "Issuer", "missing.x", "-", "-"),
        ("b/v1", "Issuer", "elsewhere.x", "-", "-"),
        ("b/v1", "Issuer", "no.x", "-", "-"),
        ("b/v1", "Issuer", "metadata.finalizers", "", "-"),
        ("v1", "Pod", "spec.containers", "name", "-"),
        ("v1", "Pod", "spec.containers.[].args", "", "-"),
        ("v1", "Pod", "spec.containers.[].env", "-", "-"),
        ("v1", "Pod", "spec.volumes", "name", "-"),
    ];
    for (api_version, kind, path, with, without) in rows {
        assert_eq!(keys(&added, api_version, kind, path), with, "added: {kind} {path}");
        assert_eq!(keys(&alone, api_version, kind, path), without, "alone: {kind} {path}");
    }
    for schemas in [&added, &alone] {
        assert!(schemas.is_cluster_scoped("b/v1", "ClusterIssuer"));
        assert!(!schemas.is_cluster_scoped("b/v1", "Issuer"));
        assert!(!schemas.is_cluster_scoped("v1", "Secret"), "what is built in stands");
        assert!(schemas.is_cluster_scoped("v1", "Namespace"));
    }
    assert!(!Schemas::builtin().is_cluster_scoped("b/v1", "ClusterIssuer"));
}

#[test]
fn what_is_no_openapi_document_is_a_fault() {
    for (text, expected) in [
        ("[1]", "schema.yaml:1:1: expected an OpenAPI v2 document, got a list"),
        ("definitions: 1", "schema.yaml:1:14: definitions is a mapping, got a number"),
        ("definitions: {a: []}", "schema.yaml:1:18: expected a schema, got a list"),
        ("definitions: {a: {properties: {b: c}}}", "schema.yaml:1:35: expected a schema, got a string"),
        (
            "definitions: {a: {x-kubernetes-group-version-kind: [{version: v1}]}}",
            "schema.yaml:1:53: x-kubernetes-group-version-kind needs a kind",
        ),
        ("definitions: {a: {x-kubernetes-patch-strategy: 1}}", "schema.yaml:1:48: expected a string, got a number"),
        (
            "definitions: {a: {x-kubernetes-patch-strategy: merge, x-kubernetes-list-map-keys: a}}",
            "schema.yaml:1:83: x-kubernetes-list-map-keys is a list of keys",
        ),
    ] {
        let document = document(text);
        assert_eq!(Schemas::builtin().with_document(&document).unwrap_err().to_string(), expected, "{text}");
        assert_eq!(Schemas::from_document(&document).unwrap_err().to_string(), expected, "{text}");
    }
    for text in ["{}", "definitions:", "{swagger: '2.0', paths: {}}"] {
        assert!(Schemas::builtin().with_document(&document(text)).is_ok(), "{text}");
    }
}

#[test]
fn every_line_of_the_table_is_read() {
    let table = builtin::table();
    let lines = || builtin::TEXT.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut fields = 0;
    for (name, shape) in &table.definitions {
        fields += shape.fields.len();
        for field in shape.fields.values() {
            let element = field.elements.as_ref().and_then(|element| element.reference.as_ref());
            for reference in [field.reference.as_ref(), element].into_iter().flatten() {
                assert!(table.definitions.contains_key(reference), "{name}: {reference}");
            }
        }
    }
    let kinds: usize = table.kinds.values().map(std::collections::HashMap::len).sum();
    let unknown_kinds =
        table.kinds.values().flat_map(|kinds| kinds.values()).filter(|kind| kind.shape.is_none()).count();
    assert_eq!(fields, lines().filter(|line| line.starts_with("  ")).count());
    assert_eq!(kinds + table.definitions.len(), lines().filter(|line| !line.starts_with(' ')).count());
    // Those of connections, which no document has.
    assert_eq!(unknown_kinds, lines().filter(|line| line.split(' ').count() == 3 && !line.starts_with(' ')).count());
    assert!(
        lines().all(|line| ["namespaced", "cluster", "-"].contains(&line.split(' ').nth(2).unwrap_or("-"))
            || line.starts_with(' '))
    );
}
