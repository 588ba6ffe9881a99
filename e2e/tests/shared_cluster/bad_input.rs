//! Whatever a source holds or does, the BundleSync says what is wrong, and what stood before stands unchanged.

use std::time::Duration;

use crate::world::archive::{Answer, ArchiveServer, archive, digest, entry, files, gzip};
use crate::world::{PATIENCE, World, installation};
use anyhow::{Result, bail, ensure};
use api::porter::Installation;
use api::{FIELD_MANAGER, condition};
use e2e::eventually;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

const FILE: &str = "apps/mysql.yaml";

/// A world in which `mysql` was installed from the ExternalArtifact `feed`.
struct Standing {
    world: World,
    server: ArchiveServer,
    /// When it stood, and what stood.
    since: Timestamp,
    object: Identity,
}

/// What a write of a spec changes. A resourceVersion says nothing: the operator goes on writing the status.
type Identity = (Option<String>, Option<i64>);

fn identity(installation: &Installation) -> Identity {
    (installation.metadata.uid.clone(), installation.metadata.generation)
}

impl Standing {
    async fn start(prefix: &str, timeout: &str) -> Result<Self> {
        let server = ArchiveServer::start().await?;
        let arguments = [server.flag(), "--artifact-max-download-bytes=20000".to_owned()];
        let world = World::with(prefix, &arguments.each_ref().map(String::as_str)).await?;
        world.source_of("ExternalArtifact", "feed", json!({})).await?;
        world.serve("ExternalArtifact", "feed", &server.put("good", good())).await?;
        let source = json!({"kind": "ExternalArtifact", "name": "feed"});
        world
            .sync("apps", json!({"sourceRef": source, "path": "apps", "timeout": timeout, "adoption": "Never"}))
            .await?;
        world.ready_with("apps", "Applied revision: good").await?;
        let since = Timestamp::now();
        let object = identity(&world.installation("mysql").await?);
        Ok(Self { world, server, since, object })
    }

    /// The condition tells of the fault with all of the parts, and nothing was touched.
    async fn told(&self, case: &str, reason: &str, parts: &[&str]) -> Result<()> {
        let first = parts.first().copied().unwrap_or_default();
        let message =
            self.world.not_ready("apps", reason, first).await.map_err(|error| error.context(case.to_owned()))?;
        for part in parts {
            ensure!(message.contains(part), "{case}: {part:?} is not in {message:?}");
        }
        self.unchanged(case).await
    }

    async fn unchanged(&self, case: &str) -> Result<()> {
        self.untouched(case).await?;
        ensure!(self.world.ran() == ["install mysql"], "{case}: {:?}", self.world.ran());
        Ok(())
    }

    /// Neither did we write the Installation, nor did anybody its spec.
    async fn untouched(&self, case: &str) -> Result<()> {
        let now = identity(&self.world.installation("mysql").await?);
        ensure!(now == self.object, "{case}: the Installation was {:?} and is {now:?}", self.object);
        let writes = self.world.writes(self.since)?;
        let ours: Vec<_> = writes.iter().filter(|write| write.contains(" installations/mysql")).collect();
        ensure!(ours.is_empty(), "{case}: {ours:?}");
        Ok(())
    }

    /// After all of it, what is right is applied again.
    async fn recovers(&self) -> Result<()> {
        self.world.serve("ExternalArtifact", "feed", &self.server.put("good-again", good())).await?;
        self.world.ready_with("apps", "Applied revision: good-again").await?;
        self.unchanged("recovery").await
    }
}

fn good() -> Vec<u8> {
    files(&[(FILE, installation("mysql", "0.1.0", 1))])
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn archives() -> Result<()> {
    let standing = Standing::start("archives", "30s").await?;
    let document = installation("mysql", "0.1.0", 9);
    let with = |odd: Vec<u8>| archive(&[entry(FILE, b'0', document.as_bytes()), odd]);
    let whole = with(entry("apps/noise", b'0', &noise(5000)));
    let mut garbage = gzip(&[0; 2000]);
    garbage.truncate(10);
    garbage.extend(noise(3000));
    let mut damaged = whole.clone();
    let length = damaged.len();
    damaged[length - 6] ^= 0x55;
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("truncated", whole[..whole.len() / 2].to_vec(), &["breaks off"]),
        ("truncated between entries", gzip(&entry(FILE, b'0', document.as_bytes())), &["it has no end marker"]),
        ("empty", Vec::new(), &["it is no gzip archive"]),
        ("gzip-garbage", garbage, &["the archive is damaged"]),
        ("gzip-checksum", damaged, &["the archive is damaged"]),
        ("tar-garbage", gzip(&noise(4096)), &["the checksum of a header is wrong"]),
        ("not-gzip", b"<html>Sign in</html>".to_vec(), &["it is no gzip archive"]),
        ("device", with(entry("apps/null", b'3', b"")), &["entry \"apps/null\": it is a character device"]),
        ("hardlink", with(entry("apps/link", b'1', b"")), &["entry \"apps/link\": it is a hard link"]),
        ("fifo", with(entry("apps/pipe", b'6', b"")), &["entry \"apps/pipe\": it is a FIFO"]),
        ("escaping", with(entry("../evil.yaml", b'0', b"x")), &["\"../evil.yaml\": the name holds `..`"]),
        ("absolute", with(entry("/etc/evil.yaml", b'0', b"x")), &["\"/etc/evil.yaml\": the name is absolute"]),
        ("twice", with(entry(FILE, b'0', b"x")), &["the name is there twice"]),
        (
            "oversized",
            with(entry("apps/noise", b'0', &noise(30_000))),
            &["more than 20000 bytes to download", "raise --artifact-max-download-bytes"],
        ),
        (
            "bomb",
            with(entry("apps/zeros", b'0', &vec![0; 17 << 20])),
            &["more than 200 unpacked bytes for each compressed byte", "--artifact-max-compression-ratio"],
        ),
    ];
    for (case, bytes, parts) in cases {
        let revision = case.replace(' ', "-");
        standing.world.serve("ExternalArtifact", "feed", &standing.server.put(&revision, bytes)).await?;
        let named = format!("/{revision}-");
        let parts: Vec<&str> = std::iter::once(named.as_str()).chain(parts.iter().copied()).collect();
        standing.told(case, condition::ARTIFACT_FAILED, &parts).await?;
    }
    let other = digest(b"what the source meant");
    let wrong = standing.server.answer("wrong-digest", &other, Answer::Body(good()));
    standing.world.serve("ExternalArtifact", "feed", &wrong).await?;
    let parts = ["digest mismatch", other.as_str(), &digest(&good())];
    standing.told("wrong digest", condition::ARTIFACT_FAILED, &parts).await?;
    standing.recovers().await
}

#[tokio::test]
async fn sources_that_do_not_answer() -> Result<()> {
    let standing = Standing::start("answers", "3s").await?;
    let (world, server) = (&standing.world, &standing.server);
    let good = good();
    let cases = [
        ("missing", Answer::Status(404), "not found on the server; the source has to be reconciled"),
        ("forbidden", Answer::Status(403), "the server says 403"),
        ("broken", Answer::Status(500), "s; last failure: the server says 500 Internal Server Error"),
        ("late", Answer::Late(Duration::from_secs(8), good.clone()), "not complete after "),
        ("silent", Answer::Never, "not complete after "),
    ];
    for (number, (case, answer, part)) in cases.into_iter().enumerate() {
        // A digest that was fetched before would come from the cache.
        let artifact = server.answer(case, &digest(&[u8::try_from(number)?]), answer);
        world.serve("ExternalArtifact", "feed", &artifact).await?;
        standing.told(case, condition::ARTIFACT_FAILED, &[&format!("/{case}-"), part]).await?;
    }
    // Slow, and yet in time.
    let slow = files(&[(FILE, format!("# slow\n{}", installation("mysql", "0.1.0", 1)))]);
    let artifact = server.answer("slow", &digest(&slow), Answer::Late(Duration::from_secs(1), slow));
    world.serve("ExternalArtifact", "feed", &artifact).await?;
    world.ready_with("apps", "Applied revision: slow").await?;
    standing.unchanged("slow").await?;

    world.sources("ExternalArtifact").delete("feed", &DeleteParams::default()).await?;
    // Nothing is asked of the source that would be told again: the next reconcile sees that it is gone.
    world.annotate("apps", api::REQUESTED_AT, "vanished").await?;
    let gone = format!("source ExternalArtifact/{}/feed not found", world.namespace);
    standing.told("vanished", condition::ARTIFACT_FAILED, &[&gone]).await?;
    world.source_of("ExternalArtifact", "feed", json!({})).await?;
    let none = format!("source ExternalArtifact/{}/feed has no artifact yet", world.namespace);
    standing.told("without an artifact", condition::ARTIFACT_FAILED, &[&none]).await?;
    standing.recovers().await
}

#[tokio::test]
async fn documents() -> Result<()> {
    let standing = Standing::start("documents", "30s").await?;
    let mysql = installation("mysql", "0.1.0", 9);
    let redis = installation("redis", "0.1.0", 1);
    let mut latin = redis.clone().into_bytes();
    latin.extend(b"# caf\xe9\n");
    let third = format!("{mysql}---\n{redis}---\nschemaType: Installation\nname: [a\nbundle: {{}}\n");
    let same = |object: &str| {
        let spec = "spec: {schemaVersion: 1.0.2, name: mysql, namespace: prod, bundle: {repository: example.test/mysql, version: 0.1.0}}";
        format!("apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {{name: {object}}}\n{spec}\n")
    };
    let build = condition::BUILD_FAILED;
    type Files = Vec<(&'static str, Vec<u8>)>;
    let cases: Vec<(&str, Files, &str, &[&str])> = vec![
        (
            "path missing",
            vec![("other/a.yaml", redis.clone().into_bytes())],
            condition::ARTIFACT_FAILED,
            &["kustomization path not found: apps"],
        ),
        ("empty directory", vec![("apps/README.md", b"soon".to_vec())], build, &["no document under path \"apps\""]),
        (
            "kustomization",
            vec![
                (FILE, mysql.clone().into_bytes()),
                ("apps/kustomization.yaml", b"resources: [mysql.yaml, redis.yaml]\n".to_vec()),
            ],
            build,
            &["apps/kustomization.yaml:1:", "redis.yaml"],
        ),
        (
            "invalid UTF-8",
            vec![(FILE, mysql.clone().into_bytes()), ("apps/redis.yaml", latin)],
            build,
            &["apps/redis.yaml:9:", "UTF-8"],
        ),
        ("third document", vec![("apps/three.yaml", third.into_bytes())], build, &["apps/three.yaml:21:"]),
        (
            "one object twice",
            vec![("apps/a.yaml", mysql.clone().into_bytes()), ("apps/b.yaml", mysql.clone().into_bytes())],
            build,
            &["apps/b.yaml:1:", "apps/a.yaml:1"],
        ),
        (
            "one Porter installation in two objects",
            vec![("apps/a.yaml", same("one").into_bytes()), ("apps/b.yaml", same("two").into_bytes())],
            build,
            &["prod/mysql to Porter", "apps/a.yaml:1", "apps/b.yaml:1"],
        ),
        (
            "schema version",
            vec![(FILE, mysql.replace("schemaVersion: 1.0.2", "schemaVersion: 9.0.0").into_bytes())],
            build,
            &["apps/mysql.yaml:2:", "\"9.0.0\" of Installation is not supported", "write schemaVersion: "],
        ),
        (
            "all faults of structure",
            vec![
                ("apps/a.yaml", b"schemaType: Installatoin\nname: x\n".to_vec()),
                ("apps/b.yaml", b"schemaType: Installation\nbundle: {}\n".to_vec()),
            ],
            build,
            &["apps/a.yaml:1:13", "apps/b.yaml:1:1: spec.schemaVersion is missing"],
        ),
        (
            "all faults of content",
            vec![
                ("apps/a.yaml", redis.replace("bundle:", "bundel:").into_bytes()),
                ("apps/b.yaml", mysql.replace("size: 9", "size: 9\nactive: maybe").into_bytes()),
            ],
            build,
            &["apps/a.yaml:4:1", "bundel", "apps/b.yaml:9:", "active"],
        ),
        (
            "a kind of somebody else",
            vec![("apps/a.yaml", b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n".to_vec())],
            build,
            &["Deployment", "apps/a.yaml:1:", "Flux's Kustomization"],
        ),
    ];
    for (number, (case, content, reason, parts)) in cases.into_iter().enumerate() {
        let artifact = standing.server.put(&format!("bad-{number}"), files(&content));
        standing.world.serve("ExternalArtifact", "feed", &artifact).await?;
        standing.told(case, reason, parts).await?;
    }
    standing.recovers().await
}

#[tokio::test]
async fn what_belongs_to_somebody_else() -> Result<()> {
    let standing = Standing::start("others", "30s").await?;
    let (world, server, namespace) = (&standing.world, &standing.server, &standing.world.namespace);

    // Two syncs want one installation: the first keeps it, and the second is told whose it is.
    world.source_of("ExternalArtifact", "rival", json!({})).await?;
    let rival = server.put("rival", files(&[(FILE, installation("mysql", "0.1.0", 7))]));
    world.serve("ExternalArtifact", "rival", &rival).await?;
    world.sync("rival", json!({"sourceRef": {"kind": "ExternalArtifact", "name": "rival"}, "path": "apps"})).await?;
    let owner = format!("owned by BundleSync {namespace}/apps");
    world.not_ready("rival", condition::RECONCILIATION_FAILED, &owner).await?;
    standing.unchanged("rival").await?;

    // An Installation and a ConfigMap that somebody made by hand.
    let installations = Api::<Installation>::namespaced(world.client.clone(), namespace);
    let theirs = json!({
        "apiVersion": "getporter.org/v1", "kind": "Installation", "metadata": {"name": "theirs"},
        "spec": {"schemaVersion": "1.0.2", "name": "theirs", "namespace": namespace,
            "bundle": {"repository": crate::world::REPOSITORY, "version": "0.1.0"}, "parameters": {"size": 1}},
    });
    installations.patch("theirs", &PatchParams::apply("somebody"), &Patch::Apply(&theirs)).await?;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), namespace);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"a": "theirs"}});
    maps.patch("theirs", &PatchParams::apply("somebody"), &Patch::Apply(&map)).await?;
    eventually(PATIENCE, "their Installation to be run", || async {
        let done = world.runner.executions().iter().any(|execution| execution.installation.1 == "theirs");
        if done { Ok(()) } else { bail!("{:?}", world.ran()) }
    })
    .await?;
    let ran = world.ran();

    let ours = [
        (FILE, installation("mysql", "0.1.0", 1)),
        ("apps/theirs.yaml", installation("theirs", "0.1.0", 5)),
        ("apps/zz.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs}\ndata: {a: ours}\n".to_owned()),
    ];
    world.serve("ExternalArtifact", "feed", &server.put("theirs", files(&ours[..2]))).await?;
    let named = format!("Installation/{namespace}/theirs");
    let message = world.not_ready("apps", condition::RECONCILIATION_FAILED, "its last run succeeded").await?;
    ensure!(message.contains(&named), "{message}");
    ensure!(message.contains("exists already and isn't managed by this BundleSync"), "{message}");

    let both = [ours[0].clone(), ours[2].clone()];
    world.serve("ExternalArtifact", "feed", &server.put("their-map", files(&both))).await?;
    let named = format!("ConfigMap/{namespace}/theirs");
    let message = world.not_ready("apps", condition::RECONCILIATION_FAILED, &named).await?;
    ensure!(message.contains("exists already and isn't managed by this BundleSync"), "{message}");
    // It is tried again, and again nothing is touched.
    world.reconciled_again("apps", 1).await?;

    let touched = |object: &dyn Fn() -> Vec<String>| object().iter().any(|manager| manager == FIELD_MANAGER);
    let installation = installations.get("theirs").await?;
    let managers = |fields: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry]| {
        fields.iter().filter_map(|entry| entry.manager.clone()).collect::<Vec<_>>()
    };
    ensure!(!touched(&|| managers(installation.managed_fields())), "{:?}", installation.managed_fields());
    ensure!(installation.labels().is_empty(), "{:?}", installation.labels());
    let map = maps.get("theirs").await?;
    ensure!(!touched(&|| managers(map.managed_fields())), "{:?}", map.managed_fields());
    ensure!(map.data.as_ref().and_then(|data| data.get("a")).map(String::as_str) == Some("theirs"), "{:?}", map.data);
    ensure!(world.ran() == ran, "{:?} after {ran:?}", world.ran());
    standing.untouched("others").await
}

/// Between the controller's look and its first write, somebody else makes the object.
#[tokio::test]
async fn what_somebody_else_makes_at_the_same_moment_is_theirs() -> Result<()> {
    const NAMES: std::ops::Range<usize> = 0..3;
    let mut standing = Standing::start("moment", "30s").await?;
    let name = |number: usize| format!("their-{number}");
    // One archive, so that the second sync needs no download and plans as soon as it is seen.
    let extra = NAMES.map(|number| (format!("extra/{number}.yaml"), installation(&name(number), "0.1.0", 5)));
    let map = ("extra/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs}\ndata: {a: ours}\n");
    let mut content = vec![(FILE.to_owned(), installation("mysql", "0.1.0", 1)), (map.0.to_owned(), map.1.to_owned())];
    content.extend(extra);
    let content: Vec<(&str, &String)> = content.iter().map(|(file, text)| (file.as_str(), text)).collect();
    let artifact = standing.server.put("both", files(&content));
    standing.world.serve("ExternalArtifact", "feed", &artifact).await?;
    standing.world.ready_with("apps", "Applied revision: both").await?;

    standing.world.controller.signal("STOP")?;
    let world = &standing.world;
    let installations = Api::<Installation>::namespaced(world.client.clone(), &world.namespace);
    let somebody = PatchParams::apply("somebody");
    for name in NAMES.map(name) {
        let theirs = json!({
            "apiVersion": "getporter.org/v1", "kind": "Installation", "metadata": {"name": name},
            "spec": {"schemaVersion": "1.0.2", "name": name, "namespace": world.namespace,
                "bundle": {"repository": crate::world::REPOSITORY, "version": "0.1.0"}, "parameters": {"size": 1}},
        });
        installations.patch(&name, &somebody, &Patch::Apply(&theirs)).await?;
    }
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &world.namespace);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"a": "theirs"}});
    maps.patch("theirs", &somebody, &Patch::Apply(&map)).await?;
    // Last, so that nothing is asked for before what is theirs stands, however late the signal comes.
    let source = json!({"kind": "ExternalArtifact", "name": "feed"});
    world.sync("extra", json!({"sourceRef": source, "path": "extra", "wait": false, "adoption": "Never"})).await?;
    standing.world.controller.signal("CONT")?;

    let world = &standing.world;
    let named = format!("Installation/{}/{}", world.namespace, name(0));
    let message = world.not_ready("extra", condition::RECONCILIATION_FAILED, &named).await?;
    for part in NAMES.map(name).chain(["exists already and isn't managed by this BundleSync".to_owned()]) {
        ensure!(message.contains(&part), "{part:?} is not in {message:?}");
    }
    for name in NAMES.map(name) {
        let theirs = installations.get(&name).await?;
        ensure!(theirs.labels().is_empty() && theirs.spec.parameters == Some(json!({"size": 1})), "{theirs:?}");
    }
    let map = maps.get("theirs").await?;
    ensure!(map.data.is_some_and(|data| data["a"] == "theirs") && map.metadata.labels.is_none());
    standing.untouched("moment").await
}
