//! Labels and annotations: what the source asks for, and no longer asks for, and what is not ours. None of it is a run.

use crate::support::*;
use serde_json::json;

const DONE: &[&str] = &["Scheduled", "Started", "Completed"];

fn map(entries: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// `applied`: what our field manager applied of the metadata. What others applied, and what we wrote otherwise, does not count.
fn managed(applied: &serde_json::Value) -> serde_json::Value {
    json!([
        {"manager": "kubectl", "operation": "Update", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:metadata": {"f:labels": {"f:theirs": {}}, "f:annotations": {"f:theirs": {}}}}},
        {"manager": "kubectl", "operation": "Apply", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:metadata": {"f:labels": {"f:theirs": {}}}}},
        {"manager": api::FIELD_MANAGER, "operation": "Update", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:metadata": {"f:labels": {"f:updated": {}}}}},
        {"manager": api::FIELD_MANAGER, "operation": "Apply", "fieldsType": "FieldsV1", "subresource": "status",
         "fieldsV1": {"f:metadata": {"f:labels": {"f:status": {}}}}},
        {"manager": api::FIELD_MANAGER, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": applied}},
    ])
}

#[test]
fn metadata_of_an_installation_is_as_asked() {
    let (one, two) = (map(&[("note", "1")]), map(&[("note", "2")]));
    let none = map(&[]);
    let noted = |annotations: &std::collections::BTreeMap<String, String>| Some(porter::digest(&json!(annotations)));
    for (what, asked, stood, live_annotations, applied, written) in [
        ("none", &none, None, &none, json!({}), &[][..]),
        ("new", &one, None, &none, json!({}), &["metadata.annotations[note]"]),
        ("as asked, and not noted yet", &one, None, &one, json!({"f:annotations": {"f:note": {}}}), &[]),
        ("as asked", &one, noted(&one), &one, json!({"f:annotations": {"f:note": {}}}), &[]),
        ("changed", &two, noted(&one), &one, json!({"f:annotations": {"f:note": {}}}), &["metadata.annotations[note]"]),
        ("the operator wiped it", &one, noted(&one), &none, json!({}), &[]),
        ("wiped, and changed since", &two, noted(&one), &none, json!({}), &["metadata.annotations[note]"]),
        (
            "no longer asked",
            &none,
            noted(&one),
            &one,
            json!({"f:annotations": {"f:note": {}}}),
            &["metadata.annotations[note]"],
        ),
        ("of somebody else", &none, None, &one, json!({}), &[]),
        (
            "a label that is no longer asked",
            &none,
            None,
            &none,
            json!({"f:labels": {"f:team": {}, "f:flux.getporter.org/name": {}}}),
            &["metadata.labels[team]"],
        ),
    ] {
        let mut wanted = desired("mysql", spec("mysql", 1));
        wanted.annotations = asked.clone();
        let mut object = installation("mysql", spec("mysql", 1), 1, true);
        object.metadata.annotations = Some(live_annotations.clone());
        object.metadata.managed_fields = serde_json::from_value(managed(&applied)).unwrap();
        let mut world = World::new(vec![wanted])
            .recorded("mysql", spec("mysql", 1), "main@sha1:1")
            .with_live("mysql", live(object, vec![run_of("mysql", "run-1", 1, 1, DONE)]));
        world.releases[0].status = Some(api::BundleReleaseStatus { annotated: stood, ..Default::default() });
        let world = world.reported();
        let steps = world.steps();
        let expected = match written {
            [] => "unchanged installation apps: dev/mysql: as asked".to_owned(),
            fields => {
                format!("apply installation apps: dev/mysql: differs from what is asked in {}", fields.join(", "))
            }
        };
        assert_eq!(steps, [expected], "{what}");
        // The spec that is written is the one that stands: no run.
        for step in world.plan().steps {
            if let plan::Action::ApplyInstallation(apply) = step.action {
                let object = &world.live.installations.values().next().unwrap().object;
                assert_eq!(apply.body["spec"], serde_json::to_value(&object.spec).unwrap(), "{what}");
            }
        }
        let annotated = world.releases[0].status.as_ref().unwrap().annotated.clone();
        let stands = written.is_empty() || asked.is_empty();
        assert_eq!(annotated == noted(asked).filter(|_| !asked.is_empty()), stands, "{what}: {annotated:?}");
    }
}

#[test]
fn metadata_of_other_objects_is_as_asked() {
    for (what, annotations, live_annotations, applied, written) in [
        (
            "as asked",
            map(&[("note", "1")]),
            json!({"note": "1", "theirs": "x"}),
            json!({"f:annotations": {"f:note": {}}}),
            &[][..],
        ),
        ("changed", map(&[("note", "2")]), json!({"note": "1"}), json!({}), &["metadata.annotations[note]"]),
        ("gone", map(&[("note", "1")]), json!({}), json!({}), &["metadata.annotations[note]"]),
        (
            "no longer asked",
            map(&[]),
            json!({"note": "1"}),
            json!({"f:annotations": {"f:note": {}}, "f:labels": {"f:team": {}}}),
            &["metadata.labels[team]", "metadata.annotations[note]"],
        ),
    ] {
        let mut asked = set("creds", 1);
        if !annotations.is_empty() {
            asked.body["metadata"]["annotations"] = json!(annotations);
        }
        let mut object = set("creds", 1).body;
        object["metadata"]["uid"] = json!("uid-creds");
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["labels"] = owner_labels();
        object["metadata"]["annotations"] = live_annotations;
        object["metadata"]["managedFields"] = managed(&applied);
        let run = action(("CredentialSet", "creds", "uid-creds"), "set-1", 1, 1, DONE);
        let mut world = World::new(vec![]).with_set("creds", object, vec![run]);
        world.desired.sets = vec![asked];
        let expected = match written {
            [] => "unchanged CredentialSet/apps/creds: as asked".to_owned(),
            fields => format!("apply CredentialSet/apps/creds: differs from what is asked in {}", fields.join(", ")),
        };
        assert_eq!(world.steps(), [expected], "{what}");
    }
}
