//! `spec.postBuild.substituteFrom`: the variables that a sync is given, as they stand when its reconcile begins.
//!
//! Guarantees: each ConfigMap and Secret that is named is asked for once, and no other; a sync that names none makes no
//! request. What a Secret holds is in no fault and in no `Debug`, and [`Given::hide`] takes it out of the text of others.

use std::collections::BTreeMap;

use api::build::{PostBuild, SubstituteKind, SubstituteReference};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kustomize::Variables;
use manifest::Diagnostic;

use crate::confidential::Confidential;
use crate::writer::{Cause, RequestError, Writer};

/// The variables of a sync, and what is wrong with their sources.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Names and values.
    pub variables: Variables,
    /// Sources that are missing or of no use. Nothing may be built then.
    pub faults: Vec<Diagnostic>,
    /// Values of Secrets.
    confidential: Confidential,
}

/// What the API server answered when it was asked for a source.
enum Answer {
    Data(BTreeMap<String, Vec<u8>>),
    Absent,
    /// Why it gives none.
    Refused(String),
}

/// The sources by kind and name.
type Answers = BTreeMap<(SubstituteKind, String), Answer>;

impl Given {
    /// Reads the sources.
    ///
    /// # Errors
    /// When the API server gives no answer.
    pub async fn read(writer: &Writer, namespace: &str, post_build: &PostBuild) -> Result<Self, RequestError> {
        let mut answers = Answers::new();
        for SubstituteReference { kind, name, .. } in &post_build.substitute_from {
            let key = (*kind, name.clone());
            if answers.contains_key(&key) {
                continue;
            }
            let metadata =
                ObjectMeta { name: Some(name.clone()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
            let answer = match kind {
                SubstituteKind::ConfigMap => {
                    let read = writer.read(&ConfigMap { metadata, ..ConfigMap::default() }).await;
                    let bytes = |data: BTreeMap<String, String>| data.into_iter().map(|(k, v)| (k, v.into_bytes()));
                    answer(read, |map| bytes(map.data.unwrap_or_default()).collect())?
                }
                SubstituteKind::Secret => {
                    let read = writer.read(&Secret { metadata, ..Secret::default() }).await;
                    let bytes = |data: BTreeMap<String, _>| {
                        data.into_iter().map(|(k, v): (_, k8s_openapi::ByteString)| (k, v.0))
                    };
                    answer(read, |secret| bytes(secret.data.unwrap_or_default()).collect())?
                }
            };
            answers.insert(key, answer);
        }
        Ok(Self::of(namespace, post_build, &answers))
    }

    fn of(namespace: &str, post_build: &PostBuild, answers: &Answers) -> Self {
        let mut given = Self::default();
        for SubstituteReference { kind, name, optional } in &post_build.substitute_from {
            let Some(answer) = answers.get(&(*kind, name.clone())) else { continue };
            let fault = match answer {
                Answer::Absent if *optional => continue,
                Answer::Absent => {
                    let plural = match kind {
                        SubstituteKind::ConfigMap => "configmaps",
                        SubstituteKind::Secret => "secrets",
                    };
                    format!("{plural} {name:?} not found; create it in namespace {namespace}, or make it `optional`")
                }
                Answer::Refused(why) => why.clone(),
                Answer::Data(data) => {
                    if *kind == SubstituteKind::Secret {
                        data.values().for_each(|value| given.confidential.add(value));
                    }
                    match given.variables.merge(data) {
                        Ok(()) => continue,
                        Err(invalid) => invalid.to_string(),
                    }
                }
            };
            given.faults.push(Diagnostic::general(format!("substitute from '{kind:?}/{name}' error: {fault}")));
        }
        if let Err(invalid) = given.variables.merge(&post_build.substitute) {
            given.faults.push(Diagnostic::general(format!("spec.postBuild.substitute: {invalid}")));
        }
        given
    }

    /// The text without what Secrets hold.
    pub fn hide(&self, text: &str) -> String {
        self.confidential.hide(text)
    }
}

fn answer<K>(
    read: Result<Option<K>, RequestError>,
    data: impl FnOnce(K) -> BTreeMap<String, Vec<u8>>,
) -> Result<Answer, RequestError> {
    match read {
        Ok(Some(object)) => Ok(Answer::Data(data(object))),
        Ok(None) => Ok(Answer::Absent),
        Err(error) if error.is_unreachable() => Err(error),
        Err(RequestError { cause: Cause::Refused(status), .. }) => Ok(Answer::Refused(status.message.clone())),
        Err(error) => Ok(Answer::Refused(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn answers() -> Answers {
        let data = |entries: &[(&str, &str)]| {
            Answer::Data(entries.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect())
        };
        let (map, secret) = (SubstituteKind::ConfigMap, SubstituteKind::Secret);
        Answers::from([
            ((map, "region".to_owned()), data(&[("region", "eu"), ("size", "1")])),
            ((map, "tier".to_owned()), data(&[("size", "2")])),
            ((map, "bad".to_owned()), data(&[("a.b", "1"), ("fine", "1")])),
            ((map, "none".to_owned()), Answer::Absent),
            ((secret, "none".to_owned()), Answer::Absent),
            ((secret, "forbidden".to_owned()), Answer::Refused("secrets is forbidden".to_owned())),
            (
                (secret, "pass".to_owned()),
                data(&[("password", "hunter2\n\"hunter2\""), ("pin", "123"), ("user", "hunter2")]),
            ),
        ])
    }

    fn given(post_build: Value) -> Given {
        Given::of("apps", &serde_json::from_value(post_build).expect("postBuild"), &answers())
    }

    fn from(kind: &str, name: &str, optional: bool) -> Value {
        json!({"kind": kind, "name": name, "optional": optional})
    }

    #[test]
    fn the_last_source_wins_and_inline_wins_over_all() {
        let (region, tier) = (from("ConfigMap", "region", false), from("ConfigMap", "tier", false));
        // substituteFrom, substitute -> what the same given inline is
        let cases = [
            (vec![], json!({}), json!({})),
            (vec![&region], json!({}), json!({"region": "eu", "size": "1"})),
            (vec![&region, &tier], json!({}), json!({"region": "eu", "size": "2"})),
            (vec![&tier, &region], json!({}), json!({"region": "eu", "size": "1"})),
            (vec![&region, &tier], json!({"size": "3"}), json!({"region": "eu", "size": "3"})),
        ];
        for (sources, inline, expected) in cases {
            let read = given(json!({"substituteFrom": sources, "substitute": inline}));
            assert!(read.faults.is_empty(), "{:?}", read.faults);
            assert!(read.variables == given(json!({"substitute": expected})).variables, "{:?}", read.variables);
        }
    }

    #[test]
    fn what_is_wrong_with_a_source_names_it() {
        let cases = [
            (from("ConfigMap", "none", true), None),
            (from("Secret", "none", true), None),
            (
                from("ConfigMap", "none", false),
                Some(
                    "substitute from 'ConfigMap/none' error: configmaps \"none\" not found; create it in namespace apps, or make it `optional`",
                ),
            ),
            (
                from("Secret", "none", false),
                Some(
                    "substitute from 'Secret/none' error: secrets \"none\" not found; create it in namespace apps, or make it `optional`",
                ),
            ),
            // Only what is missing is optional.
            (from("Secret", "forbidden", true), Some("substitute from 'Secret/forbidden' error: secrets is forbidden")),
            (
                from("ConfigMap", "bad", false),
                Some(
                    "substitute from 'ConfigMap/bad' error: no variable can be called \"a.b\": a name is made of A-Z, a-z, 0-9 and _, and does not begin with a digit",
                ),
            ),
        ];
        for (source, expected) in cases {
            let faults: Vec<String> =
                given(json!({"substituteFrom": [source]})).faults.iter().map(ToString::to_string).collect();
            assert_eq!(faults, expected.into_iter().collect::<Vec<_>>(), "{source}");
        }
        let inline = given(json!({"substitute": {"0": "x"}}));
        assert!(inline.faults[0].message.starts_with("spec.postBuild.substitute: no variable can be called \"0\""));
    }

    #[test]
    fn values_of_secrets_are_hidden_and_others_are_not() {
        let given = given(json!({
            "substituteFrom": [from("ConfigMap", "region", false), from("Secret", "pass", false)],
            "substitute": {"shown": "hunter3"},
        }));
        for (text, expected) in [
            ("name \"hunter2\\\"hunter2\\\"\" is none", "name \"***\" is none"),
            ("got hunter2\"hunter2\", want hunter3", "got ***, want hunter3"),
            ("hunter2 in eu at a.yaml:123", "*** in eu at a.yaml:123"),
        ] {
            assert_eq!(given.hide(text), expected);
        }
    }
}
