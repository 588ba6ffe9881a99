use super::*;
use crate::testing::{Reply, Server, entry, file, gzip, sha256, tar};

/// Longer than any download here takes.
const LONG: Duration = Duration::from_secs(60);

fn quick() -> Options {
    Options {
        timeout: Duration::from_secs(10),
        retries: 3,
        min_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(5),
        ..Options::default()
    }
}

fn fetcher(options: Options) -> Fetcher {
    let client = http_client(&options).unwrap();
    Fetcher::new(options, client)
}

fn artifact(url: String, digest: String) -> ArtifactRef {
    ArtifactRef { url, digest, revision: "main@sha1:0".into() }
}

fn archive() -> Vec<u8> {
    gzip(&tar(&[file("a.yaml", b"a: 1\n"), file("b/c.yaml", b"c: 2\n")]))
}

/// Fetches the archive's digest from a server that answers as told.
async fn check(
    options: Options,
    answer: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
) -> (Result<usize, FetchError>, usize) {
    let server = Server::start(answer).await;
    let result = fetcher(options).fetch(&artifact(server.url("a.tar.gz"), sha256(&archive())), LONG).await;
    (result.map(|tree| tree.len()), server.requests())
}

#[tokio::test]
async fn an_artifact_becomes_a_tree_once() {
    let server = Server::start(|_, _| Reply::Body(archive())).await;
    let fetcher = fetcher(quick());
    let digest = sha256(&archive());
    let bare = digest.trim_start_matches("sha256:").to_uppercase();
    let first = fetcher.fetch(&artifact(server.url("a.tar.gz"), digest), LONG).await.unwrap();
    assert_eq!(first.get("b/c.yaml").unwrap(), &b"c: 2\n"[..]);
    let second = fetcher.fetch(&artifact(server.url("elsewhere"), bare), LONG).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second), "another URL and spelling, the same digest");
    assert_eq!(server.requests(), 1);
    let expected = Statistics {
        downloads: 1,
        cache_hits: 1,
        bytes_downloaded: archive().len() as u64,
        bytes_unpacked: first.size() as u64,
        cached_trees: 1,
        cached_bytes: fetcher.statistics().cached_bytes,
        ..Statistics::default()
    };
    assert_eq!(fetcher.statistics(), expected);
    assert!(expected.cached_bytes > first.size() as u64);
}

#[tokio::test]
async fn other_digests() {
    let server = Server::start(|_, _| Reply::Unsized(archive())).await;
    for algorithm in [crate::Algorithm::Sha384, crate::Algorithm::Sha512] {
        let mut hasher = crate::digest::Hasher::new(algorithm);
        hasher.update(&archive());
        let request = artifact(server.url("a"), hasher.finish().to_string());
        assert_eq!(fetcher(quick()).fetch(&request, LONG).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn trouble_that_passes_is_tried_again() {
    for trouble in [
        Reply::Status(500, ""),
        Reply::Status(503, "Retry-After: 0\r\n"),
        Reply::Status(429, ""),
        Reply::Status(408, ""),
        Reply::Broken(archive()),
    ] {
        let (result, requests) = check(quick(), move |number, _| match number {
            0 | 1 => trouble.clone(),
            _ => Reply::Body(archive()),
        })
        .await;
        assert_eq!((result, requests), (Ok(2), 3));
    }
    let silence = Options { read_timeout: Duration::from_secs(1), ..quick() };
    let (result, requests) = check(silence, |number, _| match number {
        0 => Reply::Silence,
        _ => Reply::Body(archive()),
    })
    .await;
    assert_eq!((result, requests), (Ok(2), 2));
}

#[tokio::test]
async fn trouble_that_stays_ends() {
    let (result, requests) = check(quick(), |_, _| Reply::Status(502, "")).await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, FetchError::Transient { .. })
            && error.to_string().contains("502")
            && error.to_string().contains("4 attempts"),
        "{error}"
    );
    assert_eq!(requests, 4);

    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let request = artifact(format!("http://{closed}/a"), sha256(b""));
    let error = fetcher(quick()).fetch(&request, LONG).await.unwrap_err();
    assert!(matches!(&error, FetchError::Transient { attempts: 4, .. }), "{error}");
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
}

#[tokio::test]
async fn answers_that_are_final() {
    for (reply, expected) in [
        (Reply::Status(404, ""), "not found on the server"),
        (Reply::Status(410, ""), "not found on the server"),
        (Reply::Status(403, ""), "the server says 403"),
        (Reply::Status(204, ""), "the server says 204"),
        (Reply::Status(302, "Location: /again\r\n"), "redirect"),
        (Reply::Body(b"other".to_vec()), "digest mismatch: the source says sha256:"),
        (Reply::Unsized(archive()[..50].to_vec()), "digest mismatch: the source says sha256:"),
        (Reply::Unsized([archive(), archive()].concat()), "digest mismatch: the source says sha256:"),
    ] {
        let times = if expected == "redirect" { REDIRECTS + 1 } else { 1 };
        let (result, requests) = check(quick(), move |_, _| reply.clone()).await;
        let error = result.unwrap_err();
        assert!(!matches!(&error, FetchError::Transient { .. } | FetchError::Deadline { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(requests, times, "{error}");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_made() {
    let digest = sha256(b"");
    for (url, digest, expected) in [
        ("http://h/a", "", "the digest is empty; the source has to state it"),
        ("http://h/a", "blake3:00", "\"blake3\" is not supported"),
        ("http://user:secret@h/a?token=secret", "", "artifact http://h/a: "),
        ("a.tar.gz?token=secret", digest.as_str(), "\"a.tar.gz\" cannot be used"),
        ("file:///etc/passwd", digest.as_str(), "only http and https"),
    ] {
        let error = fetcher(quick()).fetch(&artifact(url.into(), digest.into()), LONG).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_refused_entry_and_a_limit_are_told() {
    let bad = gzip(&tar(&[file("ok", b""), entry(b"../up", b'0', b"x")]));
    let digest = sha256(&bad);
    let server = Server::start(move |_, _| Reply::Body(bad.clone())).await;
    let request = artifact(server.url("a"), digest);
    let error = fetcher(quick()).fetch(&request, LONG).await.unwrap_err();
    assert_eq!(error.to_string(), format!("artifact {}: entry \"../up\": the name holds `..`", request.url));

    let options = Options { limits: Limits { entries: 1, ..Limits::default() }, ..quick() };
    let error = fetcher(options).fetch(&request, LONG).await.unwrap_err();
    let text = "entry \"../up\": more than 1 entries in the archive; raise --artifact-max-entries if that is right";
    assert_eq!(error.to_string(), format!("artifact {}: {text}", request.url));
}

#[tokio::test]
async fn a_download_is_bounded_with_and_without_a_length() {
    let max = 10_000;
    let options = Options { limits: Limits { download_bytes: max, ..Limits::default() }, ..quick() };
    // Stored, not compressed: a gzip member that goes on.
    let noise: Vec<u8> = (0..40_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let archive = gzip(&tar(&[file("noise", &noise)]));
    for reply in [Reply::Body(archive.clone()), Reply::Unsized(archive.clone()), Reply::Endless(archive)] {
        let (result, requests) = check(options.clone(), move |_, _| reply.clone()).await;
        let error = result.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { limit: Limit::DownloadBytes, max: 10_000, .. }), "{error}");
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn a_bomb_ends_the_download() {
    let bomb = [gzip(&crate::testing::header(b"bomb", b'0', 16 << 20)), gzip(&vec![0; 16 << 20])].concat();
    let length = bomb.len() as u64;
    let server = Server::start(move |_, _| Reply::Endless(bomb.clone())).await;
    let fetcher = fetcher(quick());
    let error = fetcher.fetch(&artifact(server.url("a"), sha256(b"")), LONG).await.unwrap_err();
    assert!(
        matches!(&error, FetchError::TooLarge { limit: Limit::CompressionRatio, entry: Some(entry), .. } if entry == "bomb"),
        "{error}"
    );
    assert!(fetcher.statistics().bytes_downloaded < 100 * length);
}

#[tokio::test]
async fn slow_and_silent_servers_meet_the_deadline() {
    let options = Options { timeout: Duration::from_millis(300), ..quick() };
    for reply in [
        Reply::Silence,
        Reply::Trickle(Duration::from_millis(20), archive()),
        Reply::Late(Duration::from_secs(5), archive()),
        Reply::Status(503, "Retry-After: 3600\r\n"),
    ] {
        let (result, _) = check(options.clone(), move |_, _| reply.clone()).await;
        let error = result.unwrap_err();
        assert!(matches!(error, FetchError::Deadline { .. }), "{error}");
    }
}

#[tokio::test]
async fn the_deadline_tells_what_was_met_before() {
    let time = Duration::from_secs(2);
    // The download's own deadline, and that of one of those who wait for it.
    for (download, asked) in [(time, LONG), (LONG, time)] {
        let server = Server::start(|number, _| if number == 0 { Reply::Status(500, "") } else { Reply::Silence }).await;
        let fetcher = fetcher(Options { timeout: download, ..quick() });
        let request = artifact(server.url("a"), sha256(&archive()));
        let error = fetcher.fetch(&request, asked).await.unwrap_err().to_string();
        assert!(error.contains("not complete after 2s; last failure: the server says 500"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_who_ask_share_one_download() {
    let server = Server::start(|_, _| Reply::Late(Duration::from_millis(100), archive())).await;
    let fetcher = fetcher(quick());
    let request = artifact(server.url("a"), sha256(&archive()));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (fetcher, request) = (fetcher.clone(), request.clone());
            tokio::spawn(async move { fetcher.fetch(&request, LONG).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().len(), 2);
    }
    let statistics = fetcher.statistics();
    assert_eq!((server.requests(), statistics.downloads), (1, 1));
    assert_eq!(statistics.joined + statistics.cache_hits, 49);
}

#[tokio::test]
async fn one_who_leaves_takes_nobody_along_and_the_last_ends_the_download() {
    let server = Server::start(|_, _| Reply::Late(Duration::from_millis(100), archive())).await;
    let fetcher = fetcher(quick());
    let request = artifact(server.url("a"), sha256(&archive()));
    let spawn = || {
        let (fetcher, request) = (fetcher.clone(), request.clone());
        tokio::spawn(async move { fetcher.fetch(&request, LONG).await })
    };
    let (first, second) = (spawn(), spawn());
    tokio::time::sleep(Duration::from_millis(30)).await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().len(), 2);
    assert_eq!(server.requests(), 1);

    let other = artifact(server.url("b"), sha256(b"other"));
    let left = tokio::time::timeout(Duration::from_millis(30), fetcher.fetch(&other, LONG)).await;
    assert!(left.is_err());
    assert!(fetcher.shared.state().flights.values().all(|flight| flight.outcome.upgrade().is_none()));
    // And it can be begun again.
    assert!(matches!(fetcher.fetch(&other, LONG).await, Err(FetchError::Digest { .. })));
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_wait_and_not_kept() {
    let server = Server::start(|number, _| match number {
        0 => Reply::Late(Duration::from_millis(50), b"wrong".to_vec()),
        _ => Reply::Body(archive()),
    })
    .await;
    let fetcher = fetcher(quick());
    let request = artifact(server.url("a"), sha256(&archive()));
    let (one, two) = tokio::join!(fetcher.fetch(&request, LONG), fetcher.fetch(&request, LONG));
    assert_eq!(one.as_ref().unwrap_err(), two.as_ref().unwrap_err());
    assert!(matches!(one, Err(FetchError::Digest { .. })));
    assert_eq!(server.requests(), 1);
    assert_eq!(fetcher.fetch(&request, LONG).await.unwrap().len(), 2);
    assert_eq!(fetcher.statistics().failures, 1);
}

#[tokio::test]
async fn the_failure_of_another_url_is_not_ours() {
    let server = Server::start(|_, path| match path {
        "/gone" => Reply::Late(Duration::from_millis(50), b"wrong".to_vec()),
        _ => Reply::Body(archive()),
    })
    .await;
    let fetcher = fetcher(quick());
    let digest = sha256(&archive());
    let (gone, here) = (artifact(server.url("gone"), digest.clone()), artifact(server.url("here"), digest));
    let (first, second) = tokio::join!(fetcher.fetch(&gone, LONG), fetcher.fetch(&here, LONG));
    assert!(matches!(first, Err(FetchError::Digest { .. })));
    assert_eq!(second.unwrap().len(), 2);
}

#[tokio::test]
async fn without_a_cache_every_request_downloads() {
    let server = Server::start(|_, _| Reply::Body(archive())).await;
    let fetcher = fetcher(Options { cache_bytes: 0, ..quick() });
    let request = artifact(server.url("a"), sha256(&archive()));
    for _ in 0..2 {
        fetcher.fetch(&request, LONG).await.unwrap();
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_host_can_stand_for_the_one_in_the_cluster() {
    let server = Server::start(|_, _| Reply::Body(archive())).await;
    let options = Options { source_controller_host: Some(server.address.clone()), ..quick() };
    let url = "http://source-controller.flux-system.svc.cluster.local./gitrepository/a/b/c.tar.gz";
    let tree = fetcher(options).fetch(&artifact(url.into(), sha256(&archive())), LONG).await.unwrap();
    assert_eq!(tree.len(), 2);
}

#[test]
fn hosts_are_replaced() {
    let controller = "http://source-controller.flux-system.svc.cluster.local./a/b.tar.gz";
    let watcher = "http://source-watcher.flux-system:9090/a";
    for (url, controller_host, watcher_host, expected) in [
        (controller, None, None, controller),
        (controller, Some(""), None, controller),
        (controller, Some("localhost:8080"), None, "http://localhost:8080/a/b.tar.gz"),
        (controller, Some("[::1]:8080"), None, "http://[::1]:8080/a/b.tar.gz"),
        (controller, None, Some("localhost:1"), controller),
        (watcher, Some("localhost:8080"), None, watcher),
        (watcher, Some("localhost:8080"), Some("localhost"), "http://localhost/a"),
    ] {
        let options = Options {
            source_controller_host: controller_host.map(str::to_owned),
            source_watcher_host: watcher_host.map(str::to_owned),
            ..Options::default()
        };
        assert_eq!(options.locate(url).unwrap().as_str(), expected);
    }
    let options = Options { source_controller_host: Some("no host".into()), ..Options::default() };
    assert!(options.locate(controller).unwrap_err().to_string().contains("\"no host\""));
}

#[tokio::test]
async fn downloads_that_stand_still_hold_up_no_other() {
    let server = Server::start(|_, path| match path.contains("silent") {
        true => Reply::Silence,
        false => Reply::Body(archive()),
    })
    .await;
    let other = gzip(&tar(&[file("other.yaml", b"a: 2\n")]));
    let digest_of_other = sha256(&other);
    let slow =
        Options { timeout: Duration::from_secs(60), read_timeout: Duration::from_secs(60), concurrent: 2, ..quick() };
    let fetcher = fetcher(slow);
    let minute = Duration::from_secs(60);
    let good = artifact(server.url("good"), sha256(&archive()));
    // Twenty who wait for one artifact are one download.
    let silent = artifact(server.url("silent"), digest_of_other);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (fetcher, silent) = (fetcher.clone(), silent.clone());
            tokio::spawn(async move { fetcher.fetch(&silent, minute).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(fetcher.fetch(&good, minute).await.unwrap().len(), 2);
    // Two artifacts that stand still take both places, and none is needed for what is cached.
    let silent = artifact(server.url("silent-too"), sha256(b"nothing"));
    let second = {
        let fetcher = fetcher.clone();
        tokio::spawn(async move { fetcher.fetch(&silent, minute).await })
    };
    while server.requests() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fetcher.fetch(&good, Duration::from_secs(1)).await.unwrap().len(), 2);
    let third = artifact(server.url("third"), sha256(b"third"));
    let error = fetcher.fetch(&third, Duration::from_millis(200)).await.unwrap_err();
    assert!(error.to_string().contains("it waited for one of 2 other downloads"), "{error}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    second.abort();
}

#[tokio::test]
async fn all_trees_together_keep_to_the_budget() {
    let archives: Vec<Vec<u8>> = (0..8u8).map(|of| gzip(&tar(&[file("a.yaml", &[of; 3000])]))).collect();
    let bodies = archives.clone();
    let server = Server::start(move |_, path| {
        Reply::Body(bodies[path.trim_start_matches('/').parse::<usize>().unwrap()].clone())
    })
    .await;
    // What an archive may become is a mebibyte at the least, so two fit, and those that are cached make room.
    let fetcher = fetcher(Options { memory_bytes: 2 << 20, cache_bytes: 1 << 30, ..quick() });
    let fetches = archives.iter().enumerate().map(|(number, archive)| {
        let request = artifact(server.url(&number.to_string()), sha256(archive));
        let fetcher = fetcher.clone();
        async move { fetcher.fetch(&request, Duration::from_secs(10)).await.map(|tree| tree.len()) }
    });
    for fetched in futures::future::join_all(fetches).await {
        assert_eq!(fetched, Ok(1));
    }
}
