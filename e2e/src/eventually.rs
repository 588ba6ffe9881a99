//! Waiting for something to become true.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take, on a machine that does much else besides. What fails waits in vain, so it costs nothing.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The first pause of [`eventually`] between two looks. Each is half as long again as the one before, up to [`LONGEST`]:
/// what is quick is seen at once, and a hundred that wait for something slow leave the servers alone.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(250);

/// Asks `probe` again and again until it succeeds, and gives its answer.
///
/// `what` completes the sentence "waited 30 s for ..."; the error of a probe says what it saw instead.
///
/// # Errors
/// After `timeout`, with `what` and the last error of the probe. A probe that hangs counts as one that fails.
pub async fn eventually<T, E, F, A>(timeout: Duration, what: &str, mut probe: F) -> Result<T>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, E>>,
    E: Display,
{
    let started = Instant::now();
    let mut last = String::from("nothing: the first look did not come back");
    let mut pause = PAUSE;
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => {}
        }
        if started.elapsed() + pause >= timeout {
            bail!("waited {:.1} s for {what}; last seen: {last}", started.elapsed().as_secs_f64());
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST.min(pause + pause / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_the_answer() {
        let mut looks = 0;
        let answer = eventually(Duration::from_secs(5), "three", || {
            looks += 1;
            let seen = looks;
            async move { if seen == 3 { Ok(seen) } else { Err(format!("{seen}")) } }
        });
        assert_eq!(answer.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn says_what_it_waited_for_and_what_it_saw() {
        let never = || async { Err::<(), _>("a closed door") };
        let error = eventually(Duration::from_millis(120), "an open door", never).await.unwrap_err().to_string();
        assert!(error.contains("for an open door; last seen: a closed door"), "{error}");
    }
}
