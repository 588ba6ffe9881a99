//! Resources, with fields that refer to each other.

use std::fmt::Write as _;

use super::{Choices, IMAGES, Known, NAMES, SCALARS, VALUES, pairs};

fn metadata(choices: &mut Choices<'_>, one: Known) -> String {
    let mut text = format!("{{name: {}", one.name);
    if !one.namespace.is_empty() {
        let _ = write!(text, ", namespace: {}", one.namespace);
    }
    text += &choices.maybe(50, |choices| format!(", labels: {}", pairs(choices)));
    text += &choices.maybe(30, |choices| format!(", annotations: {}", pairs(choices)));
    if !text.contains("annotations") {
        text += &choices.maybe(2, |choices| {
            let value = choices.pick(&["'true'", "'false'"]);
            format!(", annotations: {{config.kubernetes.io/local-config: {value}}}")
        });
    }
    text += &choices.maybe(3, |_| ", finalizers: [example.com/keep]".to_owned());
    text + "}"
}

pub(super) fn container(choices: &mut Choices<'_>) -> String {
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

pub(super) fn resource(choices: &mut Choices<'_>, one: Known) -> String {
    let (api_version, kind) = one.kind;
    let head = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {}\n", metadata(choices, one));
    let name = choices.pick(&NAMES);
    let body = match kind {
        "ConfigMap" => format!(
            "data: {{level: {}, number: '5'{}{}}}",
            choices.pick(&VALUES),
            choices.maybe(30, |_| ", text: \"a\\nb\\n\"".to_owned()),
            choices.maybe(50, |choices| {
                format!(
                    ", json: {}",
                    choices.pick(&[
                        r#"'{"a": {"b": "c"}, "list": [1, "two"]}'"#,
                        r#""a:\n  b: c\nlist: [one, two]\n""#,
                        r#"'{"a":{"b":5},"list":["<&>"]}'"#
                    ])
                )
            })
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
    let agent = choices.maybe(20, |choices| format!(", agent: {{name: {}}}", choices.pick(&NAMES)));
    let containers = choices.maybe(15, |choices| format!(", containers: [{}]", container(choices)));
    let embedded = choices.maybe(10, |choices| {
        format!(", manifest: {{apiVersion: apps/v1, kind: Deployment, spec: {{template: {}}}}}", template(choices))
    });
    format!(
        "spec: {{name: {credentials}, namespace: dev, bundle: {{repository: registry.example.com/app, version: 1.0.0}}, credentialSets: [{credentials}, other], parameterSets: [{parameters}], parameters: {{url: 'http://web:80/x', number: {}, hosts: [a.example.com, b]{steps}{containers}{embedded}}}{agent}}}",
        choices.pick(&SCALARS)
    )
}
