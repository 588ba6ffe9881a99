//! Patches that are likely to fit.

use super::objects::container;
use super::{Choices, IMAGES, Known};

/// A strategic merge patch of the resource.
pub(super) fn strategic(choices: &mut Choices<'_>, one: Known) -> String {
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
pub(super) fn operations(choices: &mut Choices<'_>, one: Known) -> String {
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
