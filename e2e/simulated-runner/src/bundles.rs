//! The bundles that the tests name, for a registry that a real Porter pulls from.
//!
//! Invariant: a tag that is there stays as it is, whoever pushed it. What is pushed is the same whoever pushes it, so those
//! who do it at the same time do no harm.
//!
//! A bundle here is what Porter pulls and no more: an index of a CNAB definition and of an image of nothing (CNAB
//! specification, "Repositories for CNAB bundles"; `porter publish` makes the same). The image never runs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Method, StatusCode, Url, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const BUNDLE_CONFIG: &str = "application/vnd.cnab.config.v1+json";

/// What a bundle of the tests declares: all that any document of theirs gives, none of it required. Each parameter has a
/// default: Porter (v1.6) gives an action the empty string for one that has neither value nor default, and on the next
/// apply fails to read that as the parameter's type.
struct Sample {
    repository: &'static str,
    /// Of version 0.1.0 that documents ask for it is `v0.1.0`.
    tags: &'static [&'static str],
    /// Name and JSON type.
    parameters: &'static [(&'static str, &'static str)],
    credentials: &'static [&'static str],
    actions: &'static [&'static str],
}

const SAMPLES: [Sample; 4] = [
    Sample {
        repository: "example.test/mysql",
        tags: &["v0.1.0"],
        parameters: &[
            ("a", "string"),
            ("added", "integer"),
            ("extra", "boolean"),
            ("label", "string"),
            ("old", "boolean"),
            ("size", "integer"),
        ],
        credentials: &["password"],
        actions: &["backup", "check"],
    },
    Sample {
        repository: "example.test/db",
        tags: &["v0.1.0"],
        parameters: &[
            ("image", "string"),
            ("kept", "string"),
            ("label", "string"),
            ("more", "string"),
            ("name", "string"),
            ("region", "string"),
            ("settings", "string"),
            ("size", "integer"),
            ("tier", "string"),
            ("tls", "boolean"),
            ("zone", "string"),
        ],
        credentials: &[],
        actions: &[],
    },
    // Of the samples that the playground shows.
    Sample {
        repository: "ghcr.io/getporter/examples/hello-llama",
        tags: &["v0.1.1", "v0.2.0"],
        parameters: &[("name", "string")],
        credentials: &[],
        actions: &[],
    },
    Sample {
        repository: "ghcr.io/getporter/examples/credentials-tutorial",
        tags: &["v0.3.0"],
        parameters: &[],
        credentials: &["github-token"],
        actions: &[],
    },
];

impl Sample {
    fn definition(&self, tag: &str, image: &str, descriptor: &Value) -> Value {
        let name = self.repository.rsplit('/').next().unwrap_or_default();
        let definition = |type_: &str| match type_ {
            "integer" => json!({"type": type_, "default": 0}),
            "boolean" => json!({"type": type_, "default": false}),
            _ => json!({"type": type_, "default": ""}),
        };
        let definitions: BTreeMap<_, _> =
            self.parameters.iter().map(|(name, type_)| (name, definition(type_))).collect();
        let variable = |name: &str| name.to_uppercase().replace('-', "_");
        let parameter = |name: &str| json!({"definition": name, "destination": {"env": variable(name)}});
        let parameters: BTreeMap<_, _> = self.parameters.iter().map(|(name, _)| (name, parameter(name))).collect();
        let credential = |name: &str| json!({"env": variable(name)});
        let credentials: BTreeMap<_, _> = self.credentials.iter().map(|name| (name, credential(name))).collect();
        let actions: BTreeMap<_, _> = self.actions.iter().map(|name| (name, json!({"modifies": true}))).collect();
        json!({
            "schemaVersion": "1.2.0", "name": name, "version": tag.trim_start_matches('v'),
            "description": "A bundle of tests", "actions": actions, "credentials": credentials,
            "definitions": definitions, "parameters": parameters,
            "invocationImages": [{
                "imageType": "docker", "image": image, "contentDigest": descriptor["digest"],
                "mediaType": descriptor["mediaType"], "size": descriptor["size"],
            }],
        })
    }
}

/// Pushes each bundle whose tag is not in the registry, `host:port` or `host:port/path`.
///
/// # Errors
/// When the registry does not tell whether a tag is there, or refuses what is pushed.
pub async fn publish(registry: &str) -> Result<()> {
    let http = Client::builder().no_proxy().build()?;
    for sample in &SAMPLES {
        let place = Place { http: &http, registry, repository: sample.repository };
        for tag in sample.tags {
            place.publish(sample, tag).await.with_context(|| {
                format!(
                    "PORTER_REGISTRY={registry}: {}:{tag} is not there, or nobody knows, and cannot be pushed; push it \
                     yourself, as the head of e2e/simulated-runner/src/real_porter.rs says",
                    sample.repository
                )
            })?;
        }
    }
    Ok(())
}

/// A repository in a registry.
struct Place<'a> {
    http: &'a Client,
    registry: &'a str,
    repository: &'a str,
}

impl Place<'_> {
    async fn publish(&self, sample: &Sample, tag: &str) -> Result<()> {
        let found = self.request(Method::HEAD, &format!("manifests/{tag}"))?;
        let found = found.header(header::ACCEPT, format!("{INDEX}, {MANIFEST}")).send().await?.status();
        if found.is_success() {
            return Ok(());
        }
        ensure!(found == StatusCode::NOT_FOUND, "asked for the tag, it answers {found}");
        let nothing = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
        let image = self.manifest(IMAGE_CONFIG, &nothing).await?;
        let digest = image["digest"].as_str().unwrap_or_default();
        let name = format!("{}/{}@{digest}", self.registry, self.repository);
        let mut bundle = self.manifest(BUNDLE_CONFIG, &sample.definition(tag, &name, &image)).await?;
        let mut image = image;
        bundle["annotations"] = json!({"io.cnab.manifest.type": "config"});
        image["annotations"] = json!({"io.cnab.manifest.type": "invocation"});
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": [bundle, image],
            "annotations": {
                "io.cnab.keywords": "[]",
                "io.cnab.runtime_version": "v1.0.0",
                "org.opencontainers.artifactType": "application/vnd.cnab.manifest.v1",
                "org.opencontainers.image.authors": "[]",
                "org.opencontainers.image.title": self.repository,
                "org.opencontainers.image.version": tag.trim_start_matches('v'),
            },
        });
        self.put(&format!("manifests/{tag}"), INDEX, &index).await.map(drop)
    }

    /// Puts a manifest of one config and no layers, by its digest, and gives its descriptor.
    async fn manifest(&self, type_: &str, config: &Value) -> Result<Value> {
        let mut config = self.blob(config).await?;
        config["mediaType"] = type_.into();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
        self.put(&format!("manifests/{}", digest(&manifest.to_string())), MANIFEST, &manifest).await
    }

    /// Puts a blob in one piece (OCI distribution specification, "POST then PUT"), and gives its descriptor.
    async fn blob(&self, content: &Value) -> Result<Value> {
        let text = content.to_string();
        let digest = digest(&text);
        let begun = self.request(Method::POST, "blobs/uploads/")?.send().await?.error_for_status()?;
        let location = begun.headers().get(header::LOCATION).context("an upload without a place to put it")?;
        let mut url = begun.url().join(location.to_str()?)?;
        url.query_pairs_mut().append_pair("digest", &digest);
        let size = text.len();
        let put = self.http.put(url).header(header::CONTENT_TYPE, "application/octet-stream").body(text);
        put.send().await?.error_for_status()?;
        Ok(json!({"digest": digest, "size": size}))
    }

    async fn put(&self, path: &str, type_: &str, manifest: &Value) -> Result<Value> {
        let text = manifest.to_string();
        let descriptor = json!({"mediaType": type_, "digest": digest(&text), "size": text.len()});
        let put = self.request(Method::PUT, path)?.header(header::CONTENT_TYPE, type_).body(text);
        put.send().await?.error_for_status()?;
        Ok(descriptor)
    }

    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
        let (host, base) = self.registry.split_once('/').map_or((self.registry, ""), |(host, base)| (host, base));
        // As Porter does.
        let loopback = ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local));
        let scheme = if loopback { "http" } else { "https" };
        let name = format!("{base}/{}", self.repository);
        let url = Url::parse(&format!("{scheme}://{host}/v2/{}/{path}", name.trim_start_matches('/')))?;
        Ok(self.http.request(method, url))
    }
}

fn digest(text: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}
