//! Who else wrote what is ours: `metadata.managedFields`.
//!
//! A server-side apply removes a field only when no other manager has it. What somebody added by hand, or left in an
//! object that was handed over, would stay for ever, and with it the difference to what is asked. So before such an object
//! is written, those fields are made ours: a change of metadata alone, hence no generation and no run. The apply after it
//! removes what is not asked, and everything changes at once.
//!
//! Ours is the whole spec of Porter's kinds, and the data of the ConfigMaps and Secrets that carry our labels.
//! It may not know values: there are none in managedFields.

use api::{FIELD_MANAGER, OWNER_NAME_LABEL, OWNER_NAMESPACE_LABEL};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use kube::Resource;
use serde_json::{Map, Value};

/// The parts of an object that are wholly ours, as managedFields name them. Of a kind that is not here, what we apply is
/// ours and the rest is not.
fn ours(kind: &str) -> &'static [&'static str] {
    match kind {
        "Installation" | "CredentialSet" | "ParameterSet" | "AgentConfig" | "PorterConfig" => &["f:spec"],
        "ConfigMap" | "Secret" => &["f:data", "f:binaryData", "f:immutable"],
        _ => &[],
    }
}

/// Leaves of managedFields what others have of ours, which is next to always nothing; and of ours the labels and annotations,
/// but for those that say whose it is: what the source asks for no longer is found by that. About half of an object in
/// memory is the rest of it, which is never read.
pub fn keep_others<K: Resource<DynamicType = ()>>(object: &mut K) {
    let parts = ours(K::kind(&()).as_ref());
    let entries = object.meta_mut().managed_fields.take().unwrap_or_default();
    let keep = |entry: ManagedFieldsEntry| match is_ours(&entry) {
        true => metadata_of(entry),
        false => has_any(&entry, parts).then_some(entry),
    };
    let kept: Vec<_> = entries.into_iter().filter_map(keep).collect();
    object.meta_mut().managed_fields = (!kept.is_empty()).then_some(kept);
}

/// Whether somebody else has a part of it that is wholly ours, of an object as a mirror keeps it.
pub fn is_shared(object: &ObjectMeta) -> bool {
    object.managed_fields.iter().flatten().any(|entry| !is_ours(entry))
}

/// An entry of ours with the labels and annotations that the source asked for, if there are any.
fn metadata_of(mut entry: ManagedFieldsEntry) -> Option<ManagedFieldsEntry> {
    let fields = fields_mut(&mut entry)?;
    let Some(Value::Object(mut metadata)) = fields.remove("f:metadata") else { return None };
    metadata.retain(|part, keys| {
        let Some(keys) = keys.as_object_mut().filter(|_| matches!(part.as_str(), "f:labels" | "f:annotations")) else {
            return false;
        };
        let owner = [OWNER_NAME_LABEL, OWNER_NAMESPACE_LABEL];
        keys.retain(|key, _| key.strip_prefix("f:").is_some_and(|key| !owner.contains(&key)));
        !keys.is_empty()
    });
    if metadata.is_empty() {
        return None;
    }
    *fields = Map::from_iter([("f:metadata".to_owned(), Value::Object(metadata))]);
    Some(entry)
}

/// The entries with our parts of the object in ours, and in no other; `None` when they are so already.
#[must_use]
pub fn taken_over(kind: &str, mut entries: Vec<ManagedFieldsEntry>) -> Option<Vec<ManagedFieldsEntry>> {
    let parts = ours(kind);
    let mut taken = Map::new();
    let mut version = None;
    for entry in entries.iter_mut().filter(|entry| !is_ours(entry) && has_any(entry, parts)) {
        version.clone_from(&entry.api_version);
        let Some(fields) = fields_mut(entry) else { continue };
        for part in parts {
            if let Some(field) = fields.remove(*part) {
                unite(taken.entry(*part).or_insert_with(|| Value::Object(Map::new())), field);
            }
        }
    }
    if taken.is_empty() {
        return None;
    }
    entries.retain_mut(|entry| fields_mut(entry).is_none_or(|fields| !fields.is_empty()));
    match entries.iter_mut().find(|entry| is_ours(entry)).and_then(fields_mut) {
        Some(fields) => taken.into_iter().for_each(|(part, field)| {
            unite(fields.entry(part).or_insert_with(|| Value::Object(Map::new())), field);
        }),
        None => entries.push(ManagedFieldsEntry {
            manager: Some(FIELD_MANAGER.to_owned()),
            operation: Some("Apply".to_owned()),
            api_version: version,
            fields_type: Some("FieldsV1".to_owned()),
            fields_v1: Some(FieldsV1(Value::Object(taken))),
            ..ManagedFieldsEntry::default()
        }),
    }
    Some(entries)
}

/// Whether an entry is that of our applies.
pub fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.is_none()
}

fn has_any(entry: &ManagedFieldsEntry, parts: &[&str]) -> bool {
    let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.as_object());
    entry.subresource.is_none() && fields.is_some_and(|fields| parts.iter().any(|part| fields.contains_key(*part)))
}

fn fields_mut(entry: &mut ManagedFieldsEntry) -> Option<&mut Map<String, Value>> {
    entry.fields_v1.as_mut()?.0.as_object_mut()
}

/// Both sets of fields: an object a level, with an empty one for a leaf.
fn unite(into: &mut Value, other: Value) {
    if let (Value::Object(into), Value::Object(other)) = (into, other) {
        for (key, value) in other {
            unite(into.entry(key).or_insert_with(|| Value::Object(Map::new())), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::porter::{Installation, InstallationSpec};
    use serde_json::json;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "getporter.org/v1",
               "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    fn of_status() -> Value {
        let mut entry = entry("operator", "Update", json!({"f:status": {}, "f:spec": {"f:odd": {}}}));
        entry["subresource"] = json!("status");
        entry
    }

    #[test]
    fn what_others_have_of_ours_becomes_ours() {
        let operator = || entry("operator", "Update", json!({"f:metadata": {"f:finalizers": {}}}));
        let mine = |fields: Value| entry(FIELD_MANAGER, "Apply", fields);
        for (what, kind, before, after) in [
            (
                "nobody else",
                "Installation",
                vec![mine(json!({"f:spec": {"f:name": {}}})), operator(), of_status()],
                None,
            ),
            (
                "a field added by hand",
                "Installation",
                vec![
                    mine(json!({"f:spec": {"f:name": {}, "f:parameters": {"f:a": {}}}})),
                    operator(),
                    of_status(),
                    entry(
                        "kubectl-edit",
                        "Update",
                        json!({"f:spec": {"f:uninstalled": {}, "f:parameters": {"f:b": {}}}}),
                    ),
                ],
                Some(vec![
                    mine(
                        json!({"f:spec": {"f:name": {}, "f:uninstalled": {}, "f:parameters": {"f:a": {}, "f:b": {}}}}),
                    ),
                    operator(),
                    of_status(),
                ]),
            ),
            (
                "never ours: handed over, and its labels stay whose they are",
                "Installation",
                vec![entry("kubectl", "Update", json!({"f:metadata": {"f:labels": {}}, "f:spec": {"f:name": {}}}))],
                Some(vec![
                    entry("kubectl", "Update", json!({"f:metadata": {"f:labels": {}}})),
                    mine(json!({"f:spec": {"f:name": {}}})),
                ]),
            ),
            (
                "our own name with another operation is another manager",
                "ConfigMap",
                vec![
                    mine(json!({"f:data": {"f:a": {}}})),
                    entry(FIELD_MANAGER, "Update", json!({"f:data": {"f:b": {}}})),
                ],
                Some(vec![mine(json!({"f:data": {"f:a": {}, "f:b": {}}}))]),
            ),
            ("what is not ours", "AgentAction", vec![entry("operator", "Update", json!({"f:spec": {}}))], None),
        ] {
            let entries = |entries: Vec<Value>| -> Vec<ManagedFieldsEntry> {
                entries.into_iter().map(|entry| serde_json::from_value(entry).unwrap()).collect()
            };
            assert_eq!(taken_over(kind, entries(before)), after.map(entries), "{what}");
        }
    }

    #[test]
    fn of_who_wrote_what_only_that_stays_in_memory() {
        let hand = || entry("kubectl-edit", "Update", json!({"f:spec": {"f:uninstalled": {}}}));
        let ours = || entry(FIELD_MANAGER, "Apply", json!({"f:spec": {"f:name": {}}}));
        let labelled = |labels: Value| {
            let metadata = json!({"f:labels": labels, "f:finalizers": {"v:\"flux.getporter.org/finalizer\"": {}}});
            entry(FIELD_MANAGER, "Apply", json!({"f:metadata": metadata, "f:spec": {"f:name": {}}}))
        };
        let owner = json!({"f:flux.getporter.org/name": {}, "f:flux.getporter.org/namespace": {}});
        let mut team = owner.clone();
        team["f:team"] = json!({});
        let only_team = entry(FIELD_MANAGER, "Apply", json!({"f:metadata": {"f:labels": {"f:team": {}}}}));
        for (entries, kept) in [
            (vec![ours(), of_status()], None),
            (vec![labelled(owner), of_status()], None),
            (vec![labelled(team), of_status()], Some(vec![only_team])),
            (vec![ours(), of_status(), hand()], Some(vec![hand()])),
        ] {
            let mut object = Installation::new("a", InstallationSpec::default());
            object.metadata.managed_fields = serde_json::from_value(json!(entries)).unwrap();
            keep_others(&mut object);
            assert_eq!(json!(object.metadata.managed_fields), json!(kept));
        }
    }
}
