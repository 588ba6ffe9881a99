//! The namespace of a scenario: its steps are done there, and what stands is read.
//!
//! Invariant: what is read has the form of the recordings, without what differs from one cluster to the next. It may not know
//! what was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Environment, PATIENCE, dynamic, eventually};
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Map, Value, json};

use crate::operators::Operator;
use crate::pods::PodPlayer;
use crate::scenario::Step;
use crate::{PORTER, action_key};

pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Cluster {
    fn api(&self, kind: &str) -> Api<DynamicObject> {
        dynamic(self.client.clone(), &self.namespace, PORTER.0, PORTER.1, kind)
    }

    /// The API and the name of `KIND/NAME`, or of `AgentAction of KIND/NAME/GENERATION` and `Job of ...` the same.
    async fn named(&self, object: &str) -> Result<(Api<DynamicObject>, String)> {
        let Some((kind, key)) = object.split_once(" of ") else {
            let (kind, name) = object.split_once('/').context("an object is KIND/NAME")?;
            return Ok((self.api(kind), name.to_owned()));
        };
        let actions = self.api("AgentAction").list(&ListParams::default()).await?;
        let action = actions.into_iter().find(|action| action_key(action) == key);
        let action = action.with_context(|| format!("there is no AgentAction of {key}"))?.name_any();
        if kind == "AgentAction" {
            return Ok((self.api(kind), action));
        }
        let jobs = dynamic(self.client.clone(), &self.namespace, "batch", "v1", "Job");
        let of_action = ListParams::default().labels(&format!("getporter.org/resourceName={action}"));
        let job = jobs.list(&of_action).await?.items.pop().with_context(|| format!("there is no Job of {key}"))?;
        Ok((jobs, job.name_any()))
    }

    pub(crate) async fn step(
        &self,
        step: &Step,
        player: &PodPlayer,
        environment: &Environment,
        operator: &mut Operator,
    ) -> Result<()> {
        if let Some(object) = &step.apply {
            let kind = object["kind"].as_str().context("no kind")?;
            let name = object["metadata"]["name"].as_str().context("no name")?;
            let parameters = PatchParams::apply("conformance").force();
            match (self.api(kind).patch(name, &parameters, &Patch::Apply(object)).await, &step.refused) {
                (Ok(_), None) => {}
                (Err(kube::Error::Api(status)), Some(refusal)) => {
                    let said = (status.message.contains(refusal), Some(status.code));
                    ensure!(said == (true, step.code), "refused with {status:?}");
                }
                (Ok(_), Some(refusal)) => bail!("it was not refused: {refusal}"),
                (Err(error), _) => return Err(error.into()),
            }
        }
        if let Some(object) = &step.delete {
            let (api, name) = self.named(object).await?;
            // What is in the background goes later, as with kubectl.
            api.delete(&name, &DeleteParams::background()).await?;
        }
        if step.delete_namespace {
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        }
        if let Some(object) = &step.patch {
            let (api, name) = self.named(object).await?;
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&step.with)).await?;
        }
        if let Some(object) = &step.r#await {
            eventually(PATIENCE, &format!("{object} to be {}", step.until), || async {
                let found = match self.named(object).await {
                    Ok((api, name)) => api.get_opt(&name).await?,
                    Err(_) if step.until == "Gone" => None,
                    Err(error) => return Err(error),
                };
                reached(found.as_ref(), &step.until, step.generation)
            })
            .await?;
        }
        if let Some(count) = step.await_pods {
            eventually(PATIENCE, &format!("{count} pods"), || async {
                if player.ran() == count { Ok(()) } else { bail!("{} pods", player.ran()) }
            })
            .await?;
        }
        if let Some(seconds) = step.wait {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        if step.hold || step.release {
            player.hold.send_replace(step.hold);
        }
        if step.restart_operator {
            operator.restart(environment, &self.namespace).await?;
        }
        Ok(())
    }

    /// What stands now, in the form of [`crate::scenario::End`].
    pub(crate) async fn end(&self, pods: usize) -> Result<Value> {
        let mut objects = Map::new();
        for kind in ["Installation", "CredentialSet", "ParameterSet", "AgentAction"] {
            for object in self.api(kind).list(&ListParams::default()).await? {
                let name = if kind == "AgentAction" {
                    format!("AgentAction of {}", action_key(&object))
                } else {
                    format!("{kind}/{}", object.name_any())
                };
                let phase = object.data.pointer("/status/phase").cloned().unwrap_or_default();
                if objects.insert(name.clone(), json!([object.metadata.generation, phase])).is_some() {
                    bail!("there are two {name}");
                }
            }
        }
        let managed = ListParams::default().labels("getporter.org/managed");
        let unowned = |metadata: &ObjectMeta| metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
        let jobs = dynamic(self.client.clone(), &self.namespace, "batch", "v1", "Job");
        Ok(json!({
            "objects": objects,
            "jobs": jobs.list(&ListParams::default()).await?.items.len(),
            "secrets": secrets.list(&managed).await?.iter().filter(|secret| unowned(&secret.metadata)).count(),
            "claims": claims.list(&managed).await?.iter().filter(|claim| unowned(&claim.metadata)).count(),
            "pods": pods,
        }))
    }

    /// Finalizers and annotations of what stands.
    pub(crate) async fn metadata(&self) -> Result<BTreeMap<String, Value>> {
        let mut metadata = BTreeMap::new();
        for kind in ["Installation", "CredentialSet", "ParameterSet"] {
            for object in self.api(kind).list(&ListParams::default()).await? {
                let told = json!({"finalizers": object.finalizers(), "annotations": object.annotations()});
                metadata.insert(format!("{kind}/{}", object.name_any()), told);
            }
        }
        Ok(metadata)
    }

    /// The statuses of InstallationOutputs, without times.
    pub(crate) async fn outputs(&self) -> Result<BTreeMap<String, Value>> {
        let told = |object: DynamicObject| {
            let mut status = object.data.get("status").cloned().unwrap_or_default();
            for condition in status["conditions"].as_array_mut().into_iter().flatten() {
                condition.as_object_mut().map(|condition| condition.remove("lastTransitionTime"));
            }
            (format!("InstallationOutput/{}", object.name_any()), status)
        };
        Ok(self.api("InstallationOutput").list(&ListParams::default()).await?.into_iter().map(told).collect())
    }

    /// Object, type and reason of the events of the operator.
    pub(crate) async fn events(&self) -> Result<BTreeSet<(String, String, String)>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_porter = |event: Event| {
            let about = event.involved_object;
            (about.api_version.as_deref() == Some("getporter.org/v1")).then(|| {
                let object = format!("{}/{}", about.kind.unwrap_or_default(), about.name.unwrap_or_default());
                (object, event.type_.unwrap_or_default(), event.reason.unwrap_or_default())
            })
        };
        Ok(events.list(&ListParams::default()).await?.into_iter().filter_map(of_porter).collect())
    }
}

fn reached(object: Option<&DynamicObject>, until: &str, generation: Option<i64>) -> Result<()> {
    let Some(object) = object else {
        ensure!(until == "Gone", "it is not there");
        return Ok(());
    };
    let status = object.data.get("status").cloned().unwrap_or_default();
    let current = status["observedGeneration"].as_i64() == object.metadata.generation
        && generation.is_none_or(|generation| object.metadata.generation == Some(generation));
    let is = if until == "Ready" { status["ready"] == true } else { status["phase"] == until };
    ensure!(current && is, "generation {:?}, status {status}", object.metadata.generation);
    Ok(())
}
