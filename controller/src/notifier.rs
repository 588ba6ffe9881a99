//! What is posted to Flux's notification-controller, by a task of its own.
//!
//! Guarantees: who posts never waits, however long the other side is away; posts arrive in the order in which they were made;
//! each is tried a few times, since a commit would be without its status for ever. Those that are given up, or that there is
//! no room for, are logged.

use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::log::span;
use crate::mirror::Key;

/// How often one is posted before it is given up.
const ATTEMPTS: u32 = 4;
/// The pause after the first attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How many may wait.
const ROOM: usize = 1_024;

/// Where posts are left.
#[derive(Clone, Debug)]
pub struct Notifier {
    posts: Option<Sender<Post>>,
}

#[derive(Debug)]
struct Post {
    sync: Key,
    body: String,
}

impl Notifier {
    /// Begins to deliver to an address, in a task of `tasks`; to nobody when it is empty. When it is told to stop, it delivers
    /// what waits, and ends.
    pub fn start(http: reqwest::Client, address: &str, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        if address.is_empty() {
            return Self { posts: None };
        }
        let (sender, posts) = mpsc::channel(ROOM);
        let address = address.to_owned();
        tasks.spawn(async move { deliver(&http, &address, posts, &stop).await });
        Self { posts: Some(sender) }
    }

    /// Leaves a JSON document about a BundleSync.
    pub fn post(&self, sync: Key, body: String) {
        let Some(posts) = &self.posts else { return };
        if let Err(error) = posts.try_send(Post { sync, body }) {
            let reason = error.to_string();
            let post = error.into_inner();
            tracing::warn!(parent: span(&post.sync), reason, "event was not posted");
        }
    }
}

async fn deliver(http: &reqwest::Client, address: &str, mut posts: Receiver<Post>, stop: &CancellationToken) {
    let mut open = true;
    loop {
        tokio::select! {
            () = stop.cancelled(), if open => {
                posts.close();
                open = false;
            }
            post = posts.recv() => match post {
                Some(post) => deliver_one(http, address, post).await,
                None => return,
            }
        }
    }
}

async fn deliver_one(http: &reqwest::Client, address: &str, post: Post) {
    let Post { sync, body } = post;
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        match send(http, address, body.clone()).await {
            Ok(()) => return,
            Err(error) if attempt == ATTEMPTS || !may_pass(&error) => {
                tracing::warn!(parent: span(&sync), %error, "event was not posted");
                return;
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
}

/// 429 says that it is a repetition: nothing to do.
async fn send(http: &reqwest::Client, address: &str, body: String) -> Result<(), reqwest::Error> {
    let request = http.post(address).timeout(ANSWER).header("content-type", "application/json").body(body);
    match request.send().await?.error_for_status() {
        Err(error) if error.status() != Some(reqwest::StatusCode::TOO_MANY_REQUESTS) => Err(error),
        _ => Ok(()),
    }
}

/// Whether another attempt may do better: there was no answer, or the server had trouble of its own.
fn may_pass(error: &reqwest::Error) -> bool {
    error.status().is_none_or(|status| status.is_server_error())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;

    use super::*;

    /// The bodies that are asked for, one after the other, of a server that gives these answers, the last one again and again.
    async fn delivered(bodies: &[&str], answers: &'static [u16]) -> Vec<String> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = asked.clone();
        let routes = Router::new().route(
            "/",
            post(move |body: String| async move {
                let mut noted = noted.lock().unwrap();
                let answer = answers[noted.len().min(answers.len() - 1)];
                noted.push(body);
                StatusCode::from_u16(answer).unwrap()
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let notifier = Notifier::start(reqwest::Client::new(), &address, &tasks, stop.clone());
        for body in bodies {
            notifier.post(Key::new("ns", "apps"), (*body).to_owned());
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        server.abort();
        asked.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn a_post_is_tried_again_when_that_may_help_and_what_follows_waits_for_it() {
        for (answers, asked) in [
            (&[200][..], &["a", "b"][..]),
            (&[503, 202], &["a", "a", "b"]),
            (&[429], &["a", "b"]),
            (&[400], &["a", "b"]),
        ] {
            assert_eq!(delivered(&["a", "b"], answers).await, asked, "{answers:?}");
        }
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_not_waited_for() {
        let (sender, mut posts) = mpsc::channel(1);
        let notifier = Notifier { posts: Some(sender) };
        for body in ["a", "b"] {
            notifier.post(Key::new("ns", "apps"), body.to_owned());
        }
        assert_eq!(posts.try_recv().unwrap().body, "a");
        assert!(posts.try_recv().is_err());
    }
}
