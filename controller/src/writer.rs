//! Every request that the controller makes beyond its watches: server-side applies, status, finalizers, deletions and events;
//! and what is read by name or label, since no watch stands for it: what a write is decided by, just before what cannot be
//! taken back, variables, Secrets that sets name, namespaces, and the pods, events and logs of runs that failed or hang. What is
//! asked for, and when, is not known here.
//!
//! Guarantees: none is made by a controller that does not lead; each has a deadline (`kube` has none of its own once
//! connected, and its default retry can hold one call for minutes, so that is off); an object is applied whole, with our field
//! manager and strict field validation, so a field the kind does not have is refused and never dropped in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use api::porter::AgentAction;
use api::{FIELD_MANAGER, OWNER_NAME_LABEL, OWNER_NAMESPACE_LABEL};
use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::{ApiResource, GroupVersionKind, NamespaceResourceScope, PartialObjectMeta};
use kube::{Client, Resource, ResourceExt};
use manifest::ObjectId;
use plan::Delete;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::leader::Claim;
use crate::managers;
use crate::metrics::Metrics;
use crate::mirror::Key;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub struct RequestError {
    /// What was asked, e.g. `apply Installation/ns/name`.
    pub request: String,
    /// What went wrong.
    #[source]
    pub cause: Cause,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.request, self.cause)
    }
}

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The API server refused it.
    #[error("{}", without_values(&.0.message))]
    Refused(Box<kube::core::Status>),
    /// The API server cannot be reached, or its answer cannot be read.
    #[error("{0}")]
    Unreachable(kube::Error),
    /// No answer in time.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// Another controller may be at work by now.
    #[error("this controller does not lead any more")]
    NotLeading,
    /// The object is not one that can be sent.
    #[error("{0}")]
    Invalid(String),
}

impl RequestError {
    /// What was seen is no longer so: the plan was made of something else.
    #[must_use]
    pub fn stale(request: String) -> Self {
        let status = kube::core::Status::failure("it changed since the plan was made", "Conflict").with_code(409);
        Self { request, cause: Cause::Refused(status.boxed()) }
    }

    /// It may not be written, and why.
    #[must_use]
    pub fn refused(request: String, why: String) -> Self {
        Self { request, cause: Cause::Invalid(why) }
    }

    /// Whether the object was changed by somebody else since we read it.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(&self.cause, Cause::Refused(status) if status.code == 409)
    }

    /// Whether the API server gave no answer, or one in need: the same request may succeed soon.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        let in_need = |status: &kube::core::Status| status.code == 500 && status.reason != "InternalError";
        self.is_unanswered() || matches!(&self.cause, Cause::Refused(status) if in_need(status))
    }

    /// Whether the API server gave no answer: nor would it give one to another request. (It says 500 both when its storage fails
    /// and of an object that it cannot read.)
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        match &self.cause {
            Cause::Unreachable(_) | Cause::Deadline(_) | Cause::NotLeading => true,
            Cause::Refused(status) => status.code == 429 || status.code > 500,
            Cause::Invalid(_) => false,
        }
    }
}

/// A refusal without the values that it quotes of the object: a condition is read by more people than a Secret. The place of
/// each stays, and so do values of `metadata`, which say most of what is wrong with a name or a label.
///
/// An API server quotes in two forms. Fields of another type than the kind has them: `.spec.a: expected string, got
/// &value.valueUnstructured{Value:1}`, a line each. And what a schema or a rule refuses: `spec.a: Invalid value: "x": why`,
/// where some reasons end with the value once more.
pub fn without_values(message: &str) -> String {
    const TYPED: &str = ", got &value.";
    const INVALID: [&str; 2] = [": Invalid value: ", ": Unsupported value: "];
    /// In place of the value when that has the wrong type.
    const TYPES: [&str; 7] =
        ["\"array\"", "\"boolean\"", "\"integer\"", "\"null\"", "\"number\"", "\"object\"", "\"string\""];
    const HIDDEN: &str = "***";
    let lines: Vec<&str> =
        message.split('\n').map(|line| line.split_once(TYPED).map_or(line, |(place, _)| place)).collect();
    let mut rest = lines.join("\n");
    let mut told = String::new();
    while let Some((at, mark)) = INVALID.iter().filter_map(|mark| Some((rest.find(mark)?, *mark))).min() {
        let (place, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + mark.len()..).unwrap_or_default());
        let field = place.rsplit(char::is_whitespace).next().unwrap_or_default();
        let (value, reason) = after.split_at_checked(value_length(after)).unwrap_or((after, ""));
        let is_public = field.trim_start_matches('[').starts_with("metadata") || TYPES.contains(&value);
        told.extend([place, mark, if is_public { value } else { HIDDEN }]);
        rest = if !is_public && value.starts_with('"') { reason.replace(value, HIDDEN) } else { reason.to_owned() };
    }
    told + &rest
}

/// The length of the value that a text begins with. Where one of many parts ends cannot be told: it is all of the text.
fn value_length(text: &str) -> usize {
    if let Some(string) = text.strip_prefix('"') {
        let mut escaped = false;
        for (at, character) in string.char_indices() {
            match character {
                '"' if !escaped => return at + 2,
                _ => escaped = character == '\\' && !escaped,
            }
        }
        return text.len();
    }
    if text.starts_with(['{', '[']) || text.starts_with("map[") {
        return text.len();
    }
    text.find(": ").unwrap_or(text.len())
}

/// Writes to the API server.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    deadline: Duration,
    claim: Claim,
    metrics: Arc<Metrics>,
}

impl Writer {
    /// A writer whose requests each have this long, and that makes none without the claim.
    pub fn new(client: Client, deadline: Duration, claim: Claim, metrics: Arc<Metrics>) -> Self {
        Self { client, deadline, claim, metrics }
    }

    /// Applies a whole object given as JSON, with `apiVersion`, `kind` and `metadata`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn apply_json(&self, body: &Value) -> Result<Value, RequestError> {
        let Target { api, kind, namespace, name } = self.target(body);
        let request = format!("apply {kind}/{namespace}/{name}");
        let parameters = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
        let patch = Patch::Apply(body);
        let applied = self.send(request.clone(), &kind, api.patch(&name, &parameters, &patch)).await?;
        serde_json::to_value(applied)
            .map_err(|error| RequestError { request, cause: Cause::Invalid(error.to_string()) })
    }

    /// Creates an object; one that exists already is a conflict.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn create<K: Written>(&self, object: &K) -> Result<K, RequestError> {
        let request = describe::<K>("create", object);
        let api = Api::<K>::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.send(request, K::kind(&()).as_ref(), api.create(&parameters, object)).await
    }

    /// An object as it stands, when the watches cannot be waited for.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn read<K: Written>(&self, object: &K) -> Result<Option<K>, RequestError> {
        let api = Api::<K>::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        self.ask(describe::<K>("read", object), api.get_opt(&object.name_any())).await
    }

    /// The resourceVersion of an object, as it stands; `None` where there is none.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn version<K: Written>(&self, key: &Key) -> Result<Option<String>, RequestError> {
        Ok(self.metadata::<K>(key).await?.and_then(|metadata| metadata.resource_version))
    }

    /// Whether our field manager applied an object, as it stands.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn is_applied<K: Written>(&self, key: &Key) -> Result<bool, RequestError> {
        let entries = self.metadata::<K>(key).await?.and_then(|metadata| metadata.managed_fields).unwrap_or_default();
        Ok(entries.iter().any(managers::is_ours))
    }

    /// The resourceVersion of an object of a kind that we may only list.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn listed_version<K: Written>(&self, key: &Key) -> Result<Option<String>, RequestError> {
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        let one = ListParams::default().fields(&format!("metadata.name={}", key.name));
        match self.ask(format!("list {}/{key}", K::kind(&())), api.list_metadata(&one)).await {
            Err(RequestError { cause: Cause::Refused(status), .. }) if status.code == 404 => Ok(None),
            listed => Ok(listed?.items.first().and_then(ResourceExt::resource_version)),
        }
    }

    async fn metadata<K: Written>(&self, key: &Key) -> Result<Option<ObjectMeta>, RequestError> {
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        let found = self.ask(format!("read {}/{key}", K::kind(&())), api.get_metadata_opt(&key.name)).await?;
        Ok(found.map(|object| object.metadata))
    }

    /// Deletes an object as it was seen: at this uid and resourceVersion. One that is gone is no failure.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn delete(&self, delete: &Delete) -> Result<(), RequestError> {
        let ObjectId { group, kind, namespace, name } = &delete.id;
        let request = format!("delete {kind}/{namespace}/{name}");
        let api_version = match group.as_str() {
            "" => "v1".to_owned(),
            api::GROUP => format!("{group}/{}", api::VERSION),
            group => format!("{group}/{}", api::porter::VERSION),
        };
        let body = serde_json::json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace, "name": name},
        });
        let Target { api, .. } = self.target(&body);
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: Some(delete.resource_version.clone()),
                uid: Some(delete.uid.clone()),
            }),
            ..DeleteParams::default()
        };
        match self.send(request, kind, api.delete(name, &parameters)).await {
            Err(RequestError { cause: Cause::Refused(status), .. }) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// The pods with these labels.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn pods_of(&self, namespace: &str, labels: &str) -> Result<Vec<Pod>, RequestError> {
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let request = format!("list the pods {labels} in {namespace}");
        let found = self.ask(request, api.list(&ListParams::default().labels(labels))).await?;
        Ok(found.items)
    }

    /// Events of the object with this uid that tell of trouble.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn events_of(&self, namespace: &str, uid: &str) -> Result<Vec<Event>, RequestError> {
        /// The Job controller counts a repetition in one event.
        const MOST: u32 = 50;
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        let fields = format!("involvedObject.uid={uid},type=Warning");
        let list = ListParams::default().fields(&fields).limit(MOST);
        let found = self.ask(format!("list the events {fields} in {namespace}"), api.list(&list)).await?;
        Ok(found.items)
    }

    /// The end of a pod's log.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn log(&self, namespace: &str, pod: &str, lines: u16, bytes: i64) -> Result<String, RequestError> {
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let end = LogParams { tail_lines: Some(i64::from(lines)), limit_bytes: Some(bytes), ..LogParams::default() };
        self.ask(format!("read the log of pod {namespace}/{pod}"), api.logs(pod, &end)).await
    }

    /// What a Secret holds; `None` where there is none.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, ByteString>>, RequestError> {
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let found = self.ask(format!("read Secret/{namespace}/{name}"), api.get_opt(name)).await?;
        Ok(found.map(|secret| secret.data.unwrap_or_default()))
    }

    /// The Jobs with these labels.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn jobs(&self, namespace: &str, labels: &str) -> Result<Vec<Job>, RequestError> {
        let api = Api::<Job>::namespaced(self.client.clone(), namespace);
        let request = format!("list the Jobs {labels} in {namespace}");
        let found = self.ask(request, api.list(&ListParams::default().labels(labels))).await?;
        Ok(found.items)
    }

    /// Names and uids of the objects with these labels.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn leftovers<K: Written>(
        &self,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<(Key, String)>, RequestError> {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let request = format!("list the {}s {labels} in {namespace}", K::kind(&()));
        let found = self.ask(request, api.list_metadata(&ListParams::default().labels(labels))).await?;
        Ok(found.iter().map(|object| (Key::of(object), object.uid().unwrap_or_default())).collect())
    }

    /// Deletes an object and what it owns. One that is gone, or is another by now, is no failure.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn delete_leftover<K: Written>(&self, key: &Key, uid: &str) -> Result<(), RequestError> {
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        let request = format!("delete {}/{key}", K::kind(&()));
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::background()
        };
        match self.send(request, K::kind(&()).as_ref(), api.delete(&key.name, &parameters)).await {
            Err(RequestError { cause: Cause::Refused(status), .. }) if matches!(status.code, 404 | 409) => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// Sets the finalizers of an object at this resourceVersion, and takes off the labels that say whose it is when it is
    /// disowned. One that is gone is no failure.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn set_finalizers<K: Written>(
        &self,
        key: &Key,
        version: Option<&str>,
        finalizers: &[String],
        disown: bool,
    ) -> Result<Option<PartialObjectMeta<K>>, RequestError> {
        let request = format!("set the finalizers of {}/{}/{}", K::kind(&()), key.namespace, key.name);
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        let mut patch = serde_json::json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
        if disown {
            patch["metadata"]["labels"] = serde_json::json!({OWNER_NAME_LABEL: null, OWNER_NAMESPACE_LABEL: null});
        }
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        match self.send(request, K::kind(&()).as_ref(), api.patch_metadata(&key.name, &parameters, &patch)).await {
            Err(RequestError { cause: Cause::Refused(status), .. }) if status.code == 404 => Ok(None),
            written => written.map(Some),
        }
    }

    /// Names and resourceVersions of the AgentActions with these labels, as they stand.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn agent_actions(
        &self,
        namespace: &str,
        labels: &str,
    ) -> Result<BTreeSet<(String, String)>, RequestError> {
        let api = Api::<AgentAction>::namespaced(self.client.clone(), namespace);
        let list = ListParams::default().labels(labels);
        let found =
            self.ask(format!("list the AgentActions {labels} in {namespace}"), api.list_metadata(&list)).await?;
        Ok(found.iter().map(|action| (action.name_any(), action.resource_version().unwrap_or_default())).collect())
    }

    /// Whether the API server serves a kind at all.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn serves<K: Written>(&self, namespace: &str) -> Result<bool, RequestError> {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let one = ListParams::default().limit(1);
        match self.ask(format!("list {}s in {namespace}", K::kind(&())), api.list_metadata(&one)).await {
            Err(RequestError { cause: Cause::Refused(status), .. }) if status.code == 404 => Ok(false),
            listed => listed.map(|_| true),
        }
    }

    /// Whether a namespace is being deleted, or gone.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn is_terminating(&self, namespace: &str) -> Result<bool, RequestError> {
        let api = Api::<Namespace>::all(self.client.clone());
        let found = self.ask(format!("read Namespace/{namespace}"), api.get_metadata_opt(namespace)).await?;
        Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    /// Makes the parts of an object that are wholly ours so in its managedFields too, provided that it has a
    /// resourceVersion, and says which it has then. See [`managers`].
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn take_over(&self, body: &Value, version: &str) -> Result<String, RequestError> {
        let Target { api, kind, namespace, name } = self.target(body);
        let request = format!("take over the fields of {kind}/{namespace}/{name}");
        let stands = self.ask(request.clone(), api.get_metadata(&name)).await?;
        let entries = stands.metadata.managed_fields.unwrap_or_default();
        let Some(entries) = managers::taken_over(&kind, entries) else { return Ok(version.to_owned()) };
        let patch = serde_json::json!({"metadata": {"resourceVersion": version, "managedFields": entries}});
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let taken = self.send(request.clone(), &kind, api.patch_metadata(&name, &parameters, &patch)).await?;
        taken.metadata.resource_version.ok_or_else(|| {
            let cause = Cause::Invalid("the answer has no resourceVersion".to_owned());
            RequestError { request, cause }
        })
    }

    /// Replaces an object that is wholly ours, at the resourceVersion that it carries.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn replace<K: Written>(&self, object: &K) -> Result<K, RequestError> {
        let request = describe::<K>("replace", object);
        let api = Api::<K>::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.send(request, K::kind(&()).as_ref(), api.replace(&object.name_any(), &parameters, object)).await
    }

    /// The metadata of an object that exists without the owner labels of `body`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn foreign(&self, body: &Value) -> Result<Option<ObjectMeta>, RequestError> {
        let Target { api, kind, namespace, name, .. } = self.target(body);
        let request = format!("read {kind}/{namespace}/{name}");
        let Some(stands) = self.ask(request, api.get_metadata_opt(&name)).await? else { return Ok(None) };
        let ours = [OWNER_NAME_LABEL, OWNER_NAMESPACE_LABEL].into_iter().all(|label| {
            let wanted = body.pointer("/metadata/labels").and_then(|labels| labels.get(label)).and_then(Value::as_str);
            stands.labels().get(label).map(String::as_str) == wanted
        });
        Ok((!ours).then_some(stands.metadata))
    }

    /// Applies the status of an object, whole.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn apply_status<K>(&self, object: &K, status: impl Serialize) -> Result<K, RequestError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + fmt::Debug,
    {
        self.status(object, None, status).await
    }

    /// The same, provided that the object has not changed since it had the resourceVersion that it carries.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn apply_status_at<K>(&self, object: &K, status: impl Serialize) -> Result<K, RequestError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + fmt::Debug,
    {
        self.status(object, object.resource_version(), status).await
    }

    async fn status<K>(&self, object: &K, version: Option<String>, status: impl Serialize) -> Result<K, RequestError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + fmt::Debug,
    {
        let request = describe::<K>("write the status of", object);
        let api = Api::<K>::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let mut body = serde_json::json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": object.name_any() },
            "status": status,
        });
        if let Some(version) = version {
            body["metadata"]["resourceVersion"] = version.into();
        }
        let (name, parameters) = (object.name_any(), PatchParams::apply(FIELD_MANAGER).force());
        let body = Patch::Apply(&body);
        self.send(request, K::kind(&()).as_ref(), api.patch_status(&name, &parameters, &body)).await
    }

    /// Makes an event.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn event(&self, event: &Event) -> Result<(), RequestError> {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        let request = format!("create an event in {namespace}");
        self.send(request, "Event", api.create(&PostParams::default(), event)).await.map(drop)
    }

    fn target(&self, body: &Value) -> Target {
        let text = |path: &str| body.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("/apiVersion"), text("/kind"));
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api = Api::namespaced_with(self.client.clone(), &namespace, &resource);
        Target { api, kind, namespace, name }
    }

    async fn send<T>(
        &self,
        request: String,
        kind: &str,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, RequestError> {
        let answer = self.ask(request, answer).await?;
        self.metrics.wrote(kind);
        Ok(answer)
    }

    async fn ask<T>(
        &self,
        request: String,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, RequestError> {
        let Some(left) = self.claim.left(self.deadline) else {
            return Err(RequestError { request, cause: Cause::NotLeading });
        };
        let cause = match tokio::time::timeout(left, answer).await {
            Ok(Ok(object)) => return Ok(object),
            Ok(Err(kube::Error::Api(status))) => Cause::Refused(status),
            Ok(Err(error)) => Cause::Unreachable(error),
            Err(_) => Cause::Deadline(left),
        };
        Err(RequestError { request, cause })
    }
}

/// An object given as JSON, and where it is sent.
struct Target {
    api: Api<DynamicObject>,
    kind: String,
    namespace: String,
    name: String,
}

/// A kind that is written.
pub trait Written:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + fmt::Debug
{
}

impl<K> Written for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + fmt::Debug
{
}

fn describe<K: Resource<DynamicType = ()>>(verb: &str, object: &K) -> String {
    format!("{verb} {}/{}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_places_and_no_values() {
        for (message, told) in [
            (
                "failed to create typed patch object (ns/a; getporter.org/v1, Kind=AgentAction): errors:\n  .spec.env[name=\"A\"].value: expected string, got &value.valueUnstructured{Value:4711}\n  .spec.x: field not declared in schema",
                "failed to create typed patch object (ns/a; getporter.org/v1, Kind=AgentAction): errors:\n  .spec.env[name=\"A\"].value: expected string\n  .spec.x: field not declared in schema",
            ),
            (
                "AgentAction.getporter.org \"a\" is invalid: [spec.files.b: Invalid value: \"s3: \\\"cret\": spec.files.b in body must be of type byte: \"s3: \\\"cret\", spec.retryLimit: Invalid value: 7: too many]",
                "AgentAction.getporter.org \"a\" is invalid: [spec.files.b: Invalid value: ***: spec.files.b in body must be of type byte: ***, spec.retryLimit: Invalid value: ***: too many]",
            ),
            (
                "AgentConfig \"a\" is invalid: spec.retryLimit: Invalid value: \"string\": spec.retryLimit in body must be of type integer: \"string\"",
                "AgentConfig \"a\" is invalid: spec.retryLimit: Invalid value: \"string\": spec.retryLimit in body must be of type integer: \"string\"",
            ),
            (
                "Secret \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain",
                "Secret \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain",
            ),
            (
                "X \"a\" is invalid: [spec: Invalid value: {\"a\":\"b: c\"}: no, spec.b: Unsupported value: \"c",
                "X \"a\" is invalid: [spec: Invalid value: ***",
            ),
            ("namespaces \"ns\" not found", "namespaces \"ns\" not found"),
        ] {
            assert_eq!(without_values(message), told);
        }
    }
}
