//! Artifacts made by the test: archives byte by byte, so that they can be wrong, and a server that can be worse.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use api::source::Artifact;
use axum::body::Body;
use axum::http::{Response, StatusCode, Uri};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// One entry: a header in the ustar format, and the content padded.
pub(crate) fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let length = content.len();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[100..108].copy_from_slice(b"0000644\0");
    bytes[108..116].copy_from_slice(b"0000000\0");
    bytes[116..124].copy_from_slice(b"0000000\0");
    bytes[124..136].copy_from_slice(format!("{length:011o}\0").as_bytes());
    bytes[136..148].copy_from_slice(b"00000000000\0");
    bytes[148..156].fill(b' ');
    bytes[156] = kind;
    if matches!(kind, b'1' | b'2') {
        bytes[157..168].copy_from_slice(b"/etc/passwd");
    }
    bytes[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Entries, the end marker, and gzip around them.
pub(crate) fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    gzip(&bytes)
}

/// An archive of files, as a source makes it.
pub(crate) fn files<C: AsRef<[u8]>>(files: &[(&str, C)]) -> Vec<u8> {
    archive(&files.iter().map(|(name, content)| entry(name, b'0', content.as_ref())).collect::<Vec<_>>())
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// What the server does when it is asked for a revision.
#[derive(Clone)]
pub(crate) enum Answer {
    Body(Vec<u8>),
    Status(u16),
    /// The body after some time.
    Late(Duration, Vec<u8>),
    Never,
}

/// Serves artifacts as source-watcher would: `flag` tells the controller where.
pub(crate) struct ArchiveServer {
    address: String,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
}

impl ArchiveServer {
    /// Serves until the test's runtime ends.
    pub(crate) async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let answers = Arc::new(Mutex::new(HashMap::<String, Answer>::new()));
        let known = Arc::clone(&answers);
        let router = axum::Router::new().fallback(move |uri: Uri| {
            let answer = known.lock().unwrap_or_else(PoisonError::into_inner).get(uri.path()).cloned();
            async move {
                let (status, body) = match answer {
                    Some(Answer::Body(body)) => (200, body),
                    Some(Answer::Status(status)) => (status, Vec::new()),
                    Some(Answer::Late(wait, body)) => {
                        tokio::time::sleep(wait).await;
                        (200, body)
                    }
                    Some(Answer::Never) => std::future::pending().await,
                    None => (404, Vec::new()),
                };
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
                response
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, answers })
    }

    /// The controller's flag by which URLs of source-watcher lead here.
    pub(crate) fn flag(&self) -> String {
        format!("--source-watcher-localhost={}", self.address)
    }

    /// Serves an archive as a revision, and gives the artifact that names it.
    pub(crate) fn put(&self, revision: &str, archive: Vec<u8>) -> Artifact {
        let digest = digest(&archive);
        self.answer(revision, &digest, Answer::Body(archive))
    }

    /// Answers to a revision in some way, and gives the artifact that names it with the digest.
    pub(crate) fn answer(&self, revision: &str, digest: &str, answer: Answer) -> Artifact {
        let path = format!("{revision}-{}.tar.gz", &digest[digest.len() - 8..]);
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("/{path}"), answer);
        Artifact {
            digest: digest.to_owned(),
            url: format!("http://source-watcher.flux-system.svc.cluster.local./{path}"),
            path,
            revision: revision.to_owned(),
            last_update_time: Some("2026-01-01T00:00:00Z".to_owned()),
            ..Artifact::default()
        }
    }
}
