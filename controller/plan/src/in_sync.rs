//! What Porter takes for up-to-date. A plain apply of what is installed compares the digest of the bundle, the values of
//! parameters and the names of credential sets with those of the last run, whatever became of that. Where it sees no difference
//! it does nothing, and reports a success.
//!
//! Guarantee: what failed of an installed bundle is in the ledger until Porter had a difference to run, from everything that
//! failed since, or it ran by force; and until then no success of a plain apply counts. A document does not say what a tag
//! holds, nor what a set gives: what can be the same bundle is taken to be, another list of parameter sets to give other values.

use std::collections::{BTreeMap, BTreeSet};

use api::{BundleReleaseStatus, BundleState, Compared, RunResult};
use porter::Pick;
use serde_json::{Value, json};

/// How much of what failed is kept.
const MOST_FAILED: usize = 10;

/// What Porter compares of a document.
pub(crate) fn compared(spec: &Value) -> Compared {
    let bundle = match porter::Reference::of_bundle(&spec["bundle"]).map(|reference| reference.pick) {
        Some(Pick::Digest(digest)) => digest,
        Some(Pick::Tag(tag)) => tag,
        None => String::new(),
    };
    let inputs = json!([names(spec, "credentialSets"), names(spec, "parameterSets"), parameters(spec)]);
    Compared { bundle, inputs: porter::digest(&inputs) }
}

/// Whether a plain apply of one after the other is a run, as far as the documents tell.
pub(crate) fn is_run(one: &Value, other: &Value) -> bool {
    is_seen(&compared(one), &compared(other))
}

fn is_seen(one: &Compared, other: &Compared) -> bool {
    let known = |document: &Compared| !document.inputs.is_empty();
    let is_digest = |bundle: &str| bundle.contains(':');
    let bundle = one.bundle != other.bundle && is_digest(&one.bundle) == is_digest(&other.bundle);
    known(one) && known(other) && (bundle || one.inputs != other.inputs)
}

/// Whether it is one for sure, whatever tags and sets hold, and what is the default of a parameter.
pub(crate) fn is_surely_run(one: &Value, other: &Value) -> bool {
    let digest =
        |spec: &Value| spec["bundle"]["digest"].as_str().filter(|digest| !digest.is_empty()).map(str::to_owned);
    let bundle = digest(one).zip(digest(other)).is_some_and(|(one, other)| one != other);
    let credentials = names(one, "credentialSets") != names(other, "credentialSets");
    let values = parameters(other);
    let differs = |(name, value): (&String, &String)| values.get(name).is_some_and(|other| other != value);
    bundle || credentials || parameters(one).iter().any(differs)
}

/// Notes the end of a run of a document, which is not known where nobody saw it. `force`: Porter ran it without a comparison.
pub(crate) fn note(status: &mut BundleReleaseStatus, result: Option<RunResult>, force: bool, ran: Option<Compared>) {
    match result {
        Some(RunResult::Failed) => {
            let ran = ran.unwrap_or_default();
            status.failed.retain(|failed| *failed != ran);
            status.failed.insert(0, ran);
            // Of one that is forgotten nothing is known any more.
            if status.failed.len() > MOST_FAILED {
                status.failed.truncate(MOST_FAILED - 1);
                status.failed.push(Compared::default());
            }
        }
        Some(RunResult::Succeeded) if force || ran.as_ref().is_some_and(|ran| differs_from_all(status, ran)) => {
            status.failed.clear();
        }
        Some(RunResult::Succeeded) => {
            // It ran, or it is what ran last: of a document that nobody knew that much is known now.
            let unknown = status.failed.iter_mut().filter(|failed| **failed == Compared::default());
            unknown.zip(ran).for_each(|(unknown, ran)| *unknown = ran);
        }
        None => {}
    }
    forget(status);
}

/// Only an upgrade that failed is taken for up-to-date: an install is tried again.
pub(crate) fn forget(status: &mut BundleReleaseStatus) {
    if status.bundle != Some(BundleState::Installed) {
        status.failed.clear();
    }
}

/// Whether Porter has a difference to run, by all that may be what it ran last.
pub(crate) fn differs_from_all(status: &BundleReleaseStatus, document: &Compared) -> bool {
    status.failed.iter().all(|failed| is_seen(failed, document))
}

/// The sets that a document names. Porter compares them in the order of the alphabet.
fn names<'s>(spec: &'s Value, list: &str) -> BTreeSet<&'s str> {
    spec[list].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The inline parameters, as Porter has them once it knows their type: of two forms of a number it sees no difference.
fn parameters(spec: &Value) -> BTreeMap<String, String> {
    let fields = spec["parameters"].as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), text(value))).collect()
}

fn text(value: &Value) -> String {
    let number = match value {
        Value::String(text) => text.parse::<f64>().ok(),
        value => value.as_f64(),
    };
    number.map_or_else(|| value.as_str().map_or_else(|| value.to_string(), str::to_owned), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is a run as far as the documents tell, and whether it is one for sure.
    #[test]
    fn what_porter_sees_a_difference_in() {
        let spec = |field: &str, value: Value| json!({"name": "a", "bundle": {"tag": "t"}, field: value});
        let bundle = |value: Value| {
            let mut bundle = json!({"repository": "example.test/mysql"});
            bundle.as_object_mut().expect("an object").extend(value.as_object().expect("an object").clone());
            spec("bundle", bundle)
        };
        let (one, two) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "2".repeat(64)));
        for (one, other, seen, surely) in [
            (bundle(json!({"version": "1.0.0"})), bundle(json!({"version": "2.0.0"})), true, false),
            (bundle(json!({"version": "1.0.0"})), bundle(json!({"tag": "v1.0.0"})), false, false),
            (bundle(json!({"tag": "a"})), bundle(json!({"tag": "b"})), true, false),
            (bundle(json!({"tag": "a"})), bundle(json!({"tag": "a", "repository": "mirror.test/mysql"})), false, false),
            (bundle(json!({"tag": "a"})), bundle(json!({"digest": one})), false, false),
            (bundle(json!({"digest": one})), bundle(json!({"digest": two})), true, true),
            (bundle(json!({"digest": one, "tag": "a"})), bundle(json!({"digest": one, "tag": "b"})), false, false),
            (spec("credentialSets", json!(["a"])), spec("credentialSets", json!(["b"])), true, true),
            (spec("credentialSets", json!(["a", "b"])), spec("credentialSets", json!(["b", "a"])), false, false),
            (spec("credentialSets", json!([])), spec("labels", json!({})), false, false),
            (spec("parameterSets", json!(["a"])), spec("parameterSets", json!(["b"])), true, false),
            (spec("parameterSets", json!(["a"])), spec("parameterSets", json!(["a", "b"])), true, false),
            (spec("labels", json!({"a": "b"})), spec("labels", json!({})), false, false),
            (spec("agentConfig", json!({"name": "b"})), spec("labels", json!({})), false, false),
            (spec("parameters", json!({"n": 1_000_000})), spec("parameters", json!({"n": "1000000"})), false, false),
            (spec("parameters", json!({"n": 1_000_000})), spec("parameters", json!({"n": 1e6})), false, false),
            (spec("parameters", json!({"n": true})), spec("parameters", json!({"n": "true"})), false, false),
            (spec("parameters", json!({"n": 1})), spec("parameters", json!({"n": 2})), true, true),
            (spec("parameters", json!({"n": "a"})), spec("parameters", json!({"n": "b"})), true, true),
            (spec("parameters", json!({"n": 1})), spec("parameters", json!({})), true, false),
            (spec("parameters", json!({})), spec("parameters", json!({"n": 1})), true, false),
        ] {
            for (one, other) in [(&one, &other), (&other, &one)] {
                assert_eq!(is_run(one, other), seen, "{one} {other}");
                assert_eq!(is_surely_run(one, other), surely, "{one} {other}");
            }
            assert!(!is_seen(&Compared::default(), &compared(&other)), "of what is not known nothing is");
        }
    }

    #[test]
    fn of_more_than_is_kept_nothing_is_known() {
        let document = |n: usize| compared(&json!({"parameters": {"n": n}}));
        for (count, seen) in [(10, true), (11, false)] {
            let mut status = BundleReleaseStatus { bundle: Some(BundleState::Installed), ..Default::default() };
            for n in (0..count).chain([count - 1]) {
                note(&mut status, Some(RunResult::Failed), false, Some(document(n)));
            }
            assert_eq!((status.failed.len(), &status.failed[0]), (10, &document(count - 1)), "{count}");
            note(&mut status, Some(RunResult::Succeeded), false, Some(document(100)));
            assert_eq!(status.failed.is_empty(), seen, "{count}");
            note(&mut status, Some(RunResult::Succeeded), false, Some(document(100)));
            assert_eq!(status.failed.is_empty(), seen, "{count}: it may be what was not known");
            let mut other = status.clone();
            note(&mut other, Some(RunResult::Succeeded), false, Some(document(101)));
            assert!(other.failed.is_empty(), "{count}: it is another than that");
            note(&mut status, Some(RunResult::Succeeded), true, None);
            assert!(status.failed.is_empty(), "by force it is one");
        }
    }
}
