//! The same job through each kind of source.

use crate::world::archive::{ArchiveServer, files};
use crate::world::{PATIENCE, World, installation};
use anyhow::{Context, Result, bail, ensure};
use e2e::eventually;
use serde_json::{Value, json};

const MYSQL: &str = "apps/dev/mysql.yaml";
const COMMITS: [&str; 2] = ["1f3870be274f6c49b3e31a0c6728957f1f3870be", "52124d6b1d8f1d3e0f5a8b9b5f6a7c8d9e0f1a2b"];

/// Pushes a directory with the real flux, and gives the digest of the OCI artifact.
async fn push(world: &World, url: &str, commit: &str, size: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(MYSQL);
    std::fs::create_dir_all(file.parent().context("a parent")?)?;
    std::fs::write(&file, installation("mysql", "0.1.0", size))?;
    let path = folder.path().display().to_string();
    let revision = format!("--revision=main@sha1:{commit}");
    let tagged = format!("{url}:v1");
    let source = "--source=https://example.test/fleet.git";
    let arguments = ["push", "artifact", &tagged, "--path", &path, source, &revision, "--insecure-registry"];
    world.environment.flux(arguments).await?;
    Ok(())
}

#[tokio::test]
async fn an_oci_artifact_that_flux_pushed() -> Result<()> {
    let world = World::start("oci").await?;
    let url = format!("oci://{}/{}", world.environment.registry().await?.address(), world.namespace);
    push(&world, &url, COMMITS[0], 1).await?;
    let spec = json!({"interval": "10m", "url": url, "ref": {"tag": "v1"}, "insecure": true});
    world.source_of("OCIRepository", "fleet", spec).await?;
    world.sync("apps", json!({"sourceRef": {"kind": "OCIRepository", "name": "fleet"}, "path": "./apps/dev"})).await?;
    let first = applied(&world, COMMITS[0]).await?;
    world.ran_only(&["install mysql"])?;

    push(&world, &url, COMMITS[1], 2).await?;
    world.environment.flux(["reconcile", "source", "oci", "fleet", "-n", &world.namespace]).await?;
    let second = applied(&world, COMMITS[1]).await?;
    ensure!(first != second && world.ran() == ["install mysql", "upgrade mysql"], "{:?}", world.ran());
    let release = world.release("mysql").await?;
    ensure!(release.spec.asked.revision == second, "{:?}", release.spec.asked);
    let origin = format!("main@sha1:{}", COMMITS[1]);
    ensure!(release.spec.asked.origin_revision.as_deref() == Some(origin.as_str()), "{:?}", release.spec.asked);
    Ok(())
}

/// Waits until the OCI artifact made from a commit is applied, and gives its revision.
async fn applied(world: &World, commit: &str) -> Result<String> {
    let origin = format!("main@sha1:{commit}");
    let what = format!("the OCI artifact of {commit} to be applied");
    let revision = eventually(PATIENCE, &what, || async {
        let object = world.sync_object("apps").await?;
        let status = object.status.clone().unwrap_or_default();
        let ready = object.ready().is_some_and(|ready| ready.status == "True");
        match (ready, status.last_applied_origin_revision, status.last_applied_revision) {
            (true, Some(seen), Some(revision)) if seen == origin => Ok(revision),
            _ => bail!("{:?}", object.status),
        }
    })
    .await?;
    ensure!(revision.starts_with("v1@sha256:"), "{revision}");
    world.ready_with("apps", &format!("Applied revision: {revision}")).await?;
    let source = world.sources("OCIRepository").get("fleet").await?;
    let theirs = source.data.pointer("/status/artifact/revision").and_then(Value::as_str);
    ensure!(theirs == Some(revision.as_str()), "{theirs:?} {revision}");
    Ok(revision)
}

/// The status is written by the test: of a Bucket, which source-controller leaves alone while it is suspended, and of an
/// ExternalArtifact, which is somebody else's by definition.
async fn from_a_status(kind: &str, spec: Value) -> Result<()> {
    let server = ArchiveServer::start().await?;
    let prefix = kind.to_lowercase();
    let world = World::with(&prefix, &[&server.flag()]).await?;
    world.source_of(kind, "feed", spec).await?;
    world.sync("apps", json!({"sourceRef": {"kind": kind, "name": "feed"}, "path": "./apps/dev"})).await?;
    world.not_ready("apps", "ArtifactFailed", "has no artifact yet").await?;

    let archive = |size| files(&[(MYSQL, installation("mysql", "0.1.0", size))]);
    let revision = "sha256:aa";
    world.serve(kind, "feed", &server.put(revision, archive(1))).await?;
    world.ready_with("apps", &format!("Applied revision: {revision}")).await?;
    world.ran_only(&["install mysql"])?;
    // As with Flux, to wait for a source is no trouble that anybody is told of.
    let events = world.events().await?;
    ensure!(!events.iter().any(|event| event.contains("ArtifactFailed")), "{events:?}");

    // The revision is what somebody says; the digest is what there is.
    world.serve(kind, "feed", &server.put(revision, archive(2))).await?;
    eventually(PATIENCE, "the content that changed under one revision", || async {
        if world.ran() == ["install mysql", "upgrade mysql"] { Ok(()) } else { bail!("{:?}", world.ran()) }
    })
    .await?;
    world.ready_with("apps", &format!("Applied revision: {revision}")).await?;
    let status = world.sync_object("apps").await?.status.unwrap_or_default();
    ensure!(status.last_applied_origin_revision.is_none(), "{status:?}");
    ensure!(status.last_attempted_revision.as_deref() == Some(revision), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_bucket() -> Result<()> {
    let spec = json!({"interval": "10m", "bucketName": "fleet", "endpoint": "bucket.example.test", "suspend": true});
    from_a_status("Bucket", spec).await
}

#[tokio::test]
async fn an_external_artifact() -> Result<()> {
    from_a_status("ExternalArtifact", json!({})).await
}
