//! How close fetching an artifact comes to what its bytes cost at least: inflating them and hashing them, on one core.
//!
//! Both are measured in turns, in one process, with one inflate and one hash implementation. Ends with an error when
//! the ratio of the medians is below the floor. `hack/bench/artifact.sh` runs it.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use artifact::{ArtifactRef, Fetcher, Options, http_client};
use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const FILES: usize = 10_000;
const BYTES: usize = 50 << 20;
const ROUNDS: usize = 41;
const FLOOR: f64 = 0.70;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failure> {
    let archive = Bytes::from(archive()?);
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&archive)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let url = runtime.block_on(serve(archive.clone()))?;
    let options = Options { cache_bytes: 0, ..Options::default() };
    let fetcher = Fetcher::new(options.clone(), http_client(&options)?);
    let request = ArtifactRef { url, digest: digest.clone(), revision: "bench".to_owned() };

    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let begin = Instant::now();
        let tree = runtime.block_on(fetcher.fetch(&request, options.timeout))?;
        let fetched = begin.elapsed();
        assert_eq!(tree.len(), FILES);
        drop(tree);

        let begin = Instant::now();
        least(&archive, &digest)?;
        let least = begin.elapsed();
        if round > 0 {
            ours.push(fetched);
            limit.push(least);
        }
    }
    let (ours, limit) = (median(&mut ours), median(&mut limit));
    let ratio = limit.as_secs_f64() / ours.as_secs_f64();
    let rate = |time: Duration| BYTES as f64 / 1e6 / time.as_secs_f64();
    println!(
        "{FILES} files of {} MiB, {:.1} MiB compressed, medians of {ROUNDS} rounds\n",
        BYTES >> 20,
        archive.len() as f64 / f64::from(1 << 20)
    );
    println!("| | time | MB/s of contents |");
    println!("|---|---|---|");
    println!("| fetch + verify + unpack | {:.1} ms | {:.0} |", ours.as_secs_f64() * 1e3, rate(ours));
    println!("| inflate + SHA-256, one core | {:.1} ms | {:.0} |", limit.as_secs_f64() * 1e3, rate(limit));
    println!("| ratio (floor {FLOOR:.2}) | {ratio:.2} | |");
    Ok(if ratio < FLOOR { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What cannot be saved, one after the other.
fn least(archive: &[u8], digest: &str) -> Result<(), Failure> {
    assert_eq!(format!("sha256:{}", hex::encode(Sha256::digest(archive))), digest);
    let mut buffer = vec![0; 64 * 1024];
    let mut gzip = MultiGzDecoder::new(archive);
    while gzip.read(&mut buffer)? > 0 {
        black_box(&buffer);
    }
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A tar archive of files like those of a GitOps repository, compressed as source-controller does (gzip's default level).
fn archive() -> Result<Vec<u8>, Failure> {
    let gzip = GzEncoder::new(Vec::new(), Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for number in 0..FILES {
        let content = content(number, BYTES / FILES + usize::from(number < BYTES % FILES));
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        let path = format!("clusters/region-{}/team-{}/app-{number}.yaml", number / 1000, number / 50);
        tar.append_data(&mut header, path, content.as_bytes())?;
    }
    let mut gzip = tar.into_inner()?;
    gzip.flush()?;
    Ok(gzip.finish()?)
}

/// YAML with the repetition of manifests and the noise of digests, names and numbers.
fn content(number: usize, size: usize) -> String {
    let mut noise = number as u64 + 1;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise
    };
    let mut text = String::with_capacity(size + 512);
    let mut part = 0;
    while text.len() < size {
        let (first, second) = (next(), next());
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "---\napiVersion: getporter.org/v1\nkind: Installation\nmetadata:\n  name: app-{number}-{part}\n  namespace: team-{}\n  \
             labels:\n    app.kubernetes.io/name: service-{}\nspec:\n  schemaVersion: 1.0.2\n  bundle:\n    \
             repository: registry.example.com/team-{}/bundle\n    digest: sha256:{first:016x}{second:016x}\n  \
             parameters:\n    replicas: {}\n    region: eu-west-{}\n    token-name: {:x}\n  credentialSets:\n    - cloud-{}\n",
            number / 50,
            first % 977,
            number / 50,
            first % 7,
            second % 3,
            next(),
            second % 13,
        );
        part += 1;
    }
    text.truncate(size);
    text
}

/// Serves the archive to whoever connects, over loopback.
async fn serve(archive: Bytes) -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/artifact.tar.gz", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let archive = archive.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", archive.len());
                // The request of a GET fits one read here; the client that leaves ends the loop.
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&archive).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(url)
}
