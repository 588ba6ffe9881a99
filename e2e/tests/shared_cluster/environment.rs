//! The test environment itself: that each server does what tests rely on.

use anyhow::{Result, bail, ensure};
use e2e::{Environment, PATIENCE, User, apply, dynamic, eventually, simulated_runner};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_gets_its_pod_and_goes_with_its_namespace() -> Result<()> {
    let environment = Environment::shared().await;
    let namespace = environment.namespace("job").await?;
    let client = environment.client(User::Test).await?;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let job = json!({
        "metadata": {"name": "run"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}}},
    });
    jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
    eventually(PATIENCE, "the pod of the job", || async {
        let pods = pods.list(&ListParams::default()).await?;
        if pods.items.len() == 1 { Ok(()) } else { bail!("{} pods", pods.items.len()) }
    })
    .await?;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
    namespaces.delete(&namespace, &DeleteParams::default()).await?;
    eventually(PATIENCE, "the namespace to be gone", || async {
        match namespaces.get_opt(&namespace).await? {
            None => Ok(()),
            Some(left) => bail!("{:?}", left.status),
        }
    })
    .await
}

#[tokio::test]
async fn a_push_becomes_an_artifact() -> Result<()> {
    let environment = Environment::shared().await;
    let namespace = environment.namespace("push").await?;
    let repository = environment.git().create(&namespace).await?;
    let first = repository.commit("first").write("a/b.yaml", "a: 1\n").push().await?;
    environment.git_repository(&namespace, "fleet", repository.url()).await?;
    environment.reconcile_git_repository(&namespace, "fleet", &first).await?;

    let second = repository.commit("second").write("c.yaml", "c: 1\n").remove("a").push().await?;
    ensure!(first != second && second.len() == 40, "{first} {second}");
    let printed = environment.flux(["reconcile", "source", "git", "fleet", "-n", &namespace]).await?;
    ensure!(printed.contains(&second), "flux printed {printed}");

    let client = environment.client(User::Test).await?;
    let sources = dynamic(client, &namespace, "source.toolkit.fluxcd.io", "v1", "GitRepository");
    let source = sources.get("fleet").await?;
    let url = source.data.pointer("/status/artifact/url").and_then(Value::as_str).unwrap_or_default();
    let storage = environment.source_controller().await?.address();
    ensure!(url.starts_with(&format!("http://{storage}/")), "artifact at {url}");
    let artifact = reqwest::Client::builder().no_proxy().build()?.get(url).send().await?.error_for_status()?;
    ensure!(!artifact.bytes().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn branches_are_kept_apart() -> Result<()> {
    let environment = Environment::shared().await;
    let namespace = environment.namespace("branch").await?;
    let repository = environment.git().create(&namespace).await?;
    let main = repository.commit("main").write("a", "1").push().await?;
    let other = repository.commit("other").branch("other").write("a", "2").push().await?;
    let again = repository.commit("main again").write("b", "1").push().await?;
    ensure!(main != other && other != again);
    Ok(())
}

#[tokio::test]
async fn requests_are_counted_by_user() -> Result<()> {
    let environment = Environment::shared().await;
    let namespace = environment.namespace("audit").await?;
    let since = jiff::Timestamp::now();
    let maps: Api<ConfigMap> = Api::namespaced(environment.client(User::Peer).await?, &namespace);
    maps.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "one"}}))?).await?;
    maps.get("one").await?;
    ensure!(maps.get_opt("two").await?.is_none());
    let seen: Vec<_> = environment.audit(User::Peer, since)?;
    let short: Vec<_> = seen.iter().map(|event| (event.verb.as_str(), event.code(), event.object().name)).collect();
    ensure!(
        short == [("create", 201, "one".into()), ("get", 200, "one".into()), ("get", 404, "two".into())],
        "{short:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_installation_runs() -> Result<()> {
    let environment = Environment::shared().await;
    environment.operator().await?;
    let namespace = environment.namespace("run").await?;
    let options = simulated_runner::Options { namespace: Some(namespace.clone()), ..Default::default() };
    let runner = environment.runner(options).await?;
    let client = environment.client(User::Test).await?;
    let agent = json!({
        "apiVersion": "getporter.org/v1",
        "kind": "AgentConfig",
        "metadata": {"name": "default", "namespace": namespace},
        "spec": {"retryLimit": 0},
    });
    apply(&client, agent).await?;
    let installation = json!({
        "apiVersion": "getporter.org/v1",
        "kind": "Installation",
        "metadata": {"name": "hello", "namespace": namespace},
        "spec": {
            "schemaVersion": "1.0.2",
            "name": "hello",
            "namespace": "dev",
            "bundle": {"repository": "example.test/mysql", "version": "0.1.0"},
        },
    });
    apply(&client, installation).await?;
    let installations = dynamic(client, &namespace, "getporter.org", "v1", "Installation");
    eventually(PATIENCE, "the installation to succeed", || async {
        let status = installations.get("hello").await?.data.get("status").cloned().unwrap_or_default();
        if status.get("phase") == Some(&json!("Succeeded")) { Ok(()) } else { bail!("{status}") }
    })
    .await?;
    ensure!(runner.is_installed("dev", "hello"));
    ensure!(runner.executions().len() == 1, "{:?}", runner.executions());
    Ok(())
}

#[tokio::test]
async fn the_controller_has_no_more_rights_than_its_manifests_give() -> Result<()> {
    let environment = Environment::shared().await;
    let pods: Api<Pod> = Api::all(environment.client(User::Controller).await?);
    match pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        other => bail!("the controller may delete every pod: {other:?}"),
    }
}

#[tokio::test]
async fn the_registry_takes_an_artifact() -> Result<()> {
    let environment = Environment::shared().await;
    let registry = environment.registry().await?.address();
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("a.yaml"), "a: 1\n")?;
    let path = folder.path().display().to_string();
    let url = format!("oci://{registry}/fleet:v1");
    let printed = environment
        .flux([
            "push",
            "artifact",
            &url,
            "--path",
            &path,
            "--source",
            "test",
            "--revision",
            "v1",
            "--insecure-registry",
        ])
        .await?;
    ensure!(printed.contains("pushed"), "flux printed {printed}");
    Ok(())
}

/// What the controller's preconditions are made of: the first write of an object never overwrites one that somebody else
/// made in between.
#[tokio::test]
async fn an_apply_at_a_version_that_no_object_has_only_ever_creates() -> Result<()> {
    let environment = Environment::shared().await;
    let namespace = environment.namespace("absent").await?;
    let maps: Api<ConfigMap> = Api::namespaced(environment.client(User::Test).await?, &namespace);
    let apply = |manager: &'static str, version: Option<String>| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "one", "resourceVersion": version}, "data": {"by": manager},
        });
        let maps = maps.clone();
        async move { maps.patch("one", &PatchParams::apply(manager).force(), &Patch::Apply(&object)).await }
    };
    let made = apply("us", Some("1".to_owned())).await?;
    match apply("them", Some("1".to_owned())).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => bail!("what exists is no conflict: {other:?}"),
    }
    let written = apply("them", made.metadata.resource_version.clone()).await?;
    ensure!(written.metadata.uid == made.metadata.uid, "{written:?}");
    maps.delete("one", &DeleteParams::default()).await?;
    // Deleted meanwhile: made anew.
    let again = apply("us", written.metadata.resource_version).await?;
    ensure!(again.metadata.uid != made.metadata.uid, "{again:?}");
    Ok(())
}

/// A real Porter pulls them; whoever has pushed one has its own.
#[tokio::test]
async fn the_bundles_of_the_tests_are_pushed_where_they_are_not() -> Result<()> {
    let environment = Environment::shared().await;
    let registry = environment.registry().await?.address();
    let http = reqwest::Client::builder().no_proxy().build()?;
    let manifest = |reference: &str| format!("http://{registry}/v2/below/example.test/mysql/manifests/{reference}");
    let get = async |reference: &str| -> Result<Value> {
        let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let answer = http.get(manifest(reference)).header("Accept", accept).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    };
    let place = format!("{registry}/below");
    simulated_runner::bundles::publish(&place).await?;
    let index = get("v0.1.0").await?;
    let part = |number: usize| index["manifests"][number]["digest"].as_str().unwrap_or_default();
    let config = get(part(0)).await?["config"]["digest"].as_str().unwrap_or_default().to_owned();
    let blob = format!("http://{registry}/v2/below/example.test/mysql/blobs/{config}");
    let bundle: Value = serde_json::from_slice(&http.get(blob).send().await?.error_for_status()?.bytes().await?)?;
    ensure!(bundle["invocationImages"][0]["contentDigest"] == part(1), "{bundle}");
    ensure!(bundle["actions"]["backup"].is_object() && bundle["parameters"]["size"].is_object(), "{bundle}");

    // Somebody else's.
    let image = get(part(1)).await?;
    let put = http.put(manifest("v0.1.0")).header("Content-Type", image["mediaType"].as_str().unwrap_or_default());
    put.body(image.to_string()).send().await?.error_for_status()?;
    simulated_runner::bundles::publish(&place).await?;
    let now = get("v0.1.0").await?;
    ensure!(now == image, "{now}");
    Ok(())
}
