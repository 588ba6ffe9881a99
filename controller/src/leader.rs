//! Leader election: of the controllers for the same objects one works, and the others stand by.
//!
//! The record is a Lease, as Flux's controllers have it, so `kubectl get lease` shows who leads. Guarantees: a claim of somebody
//! else is over when its record has not changed for its time by our own clock, whatever times other clocks have written there;
//! a record is only replaced in the version that was read; and who leads knows until when, by [`Claim`], and asks nothing of the
//! API server after it, also when it was stopped in between and goes on. So two do not write at the same time, as long as
//! clocks run at about the same speed, no machine is suspended, no request is on its way for longer than what the two times of a
//! claim differ by, and nobody deletes the Lease.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use api::FIELD_MANAGER;
use aws_lc_rs::digest;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::Args;

/// What the Lease is called, as those of Flux's controllers are.
const NAME: &str = "porter-flux-controller-leader-election";
/// Hexadecimal digits of what tells the Lease of one shard from another's.
const SHARD: usize = 8;
/// By how much of itself a pause is longer at most, so that those who stand by do not ask at the same time.
const JITTER: f64 = 0.2;

/// What this process is called: by its pod's name, where it is in one.
pub fn host() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| FIELD_MANAGER.to_owned())
}

/// Until when this process may ask something of the API server.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Without an election: always.
    until: Option<Arc<Mutex<Option<Instant>>>>,
}

impl Claim {
    fn elected() -> Self {
        Self { until: Some(Arc::default()) }
    }

    /// How long it still may, at most `most`; nothing when it may not.
    pub fn left(&self, most: Duration) -> Option<Duration> {
        let Some(until) = &self.until else { return Some(most) };
        let until = (*until.lock().unwrap_or_else(PoisonError::into_inner))?;
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(left.min(most))
    }

    /// Whether it may.
    pub fn is_held(&self) -> bool {
        self.left(Duration::MAX).is_some()
    }

    fn set(&self, new: Option<Instant>) {
        if let Some(until) = &self.until {
            *until.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }
}

/// The times of an election.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// After which a claim that is not renewed is over, to the others.
    lease: Duration,
    /// After which it is over to who has it.
    renew: Duration,
    /// Between two attempts.
    retry: Duration,
}

impl Times {
    fn of(args: &Args) -> anyhow::Result<Self> {
        let (lease, renew, retry) = (
            args.leader_election_lease_duration,
            args.leader_election_renew_deadline,
            args.leader_election_retry_period,
        );
        ensure!(
            lease > renew && renew > retry.mul_f64(1.0 + JITTER) && !retry.is_zero(),
            "--leader-election-lease-duration ({lease:?}) has to be longer than --leader-election-renew-deadline \
             ({renew:?}), and that more than {} times as long as --leader-election-retry-period ({retry:?})",
            1.0 + JITTER
        );
        Ok(Self { lease, renew, retry })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    StandsBy,
    Leads,
    Lost,
}

/// This process in the election.
pub struct Leadership {
    claim: Claim,
    state: Option<watch::Receiver<State>>,
    at_rest: Arc<AtomicBool>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Leadership {
    /// Takes part in the election, when the arguments ask for one; leads otherwise.
    ///
    /// # Errors
    /// When the times do not fit together.
    pub fn start(args: &Args, client: Client) -> anyhow::Result<Self> {
        let (tasks, stop, at_rest) = (TaskTracker::new(), CancellationToken::new(), Arc::<AtomicBool>::default());
        if !args.enable_leader_election {
            return Ok(Self { claim: Claim::default(), state: None, at_rest, tasks, stop });
        }
        let claim = Claim::elected();
        let candidate = Candidate {
            leases: Api::namespaced(client, &args.runtime_namespace),
            name: lease_name(&args.watch_label_selector),
            identity: format!("{}_{:016x}", host(), fastrand::u64(..)),
            times: Times::of(args)?,
            deadline: args.api_timeout,
            releases: args.leader_election_release_on_cancel,
            at_rest: at_rest.clone(),
            observed: None,
            held: None,
            claim: claim.clone(),
        };
        let (sender, state) = watch::channel(State::StandsBy);
        tasks.spawn(candidate.run(sender, stop.clone()));
        Ok(Self { claim, state: Some(state), at_rest, tasks, stop })
    }

    /// What requests are bound to.
    pub fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Waits until this process leads.
    pub async fn won(&self) {
        self.wait(State::Leads).await;
    }

    /// Waits until it does no more.
    pub async fn lost(&self) {
        self.wait(State::Lost).await;
    }

    async fn wait(&self, state: State) {
        let Some(mut watched) = self.state.clone() else {
            return if state == State::Lost {
                std::future::pending().await
            };
        };
        // The task ends only when it is told to, or with the loss.
        let _ = watched.wait_for(|is| *is == state).await;
    }

    /// Leaves the election; and the lead to others at once, unless something of ours may still be under way.
    pub async fn end(self, at_rest: bool) {
        self.at_rest.store(at_rest, Ordering::Relaxed);
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The name of the Lease: controllers that select other objects do not compete.
fn lease_name(selector: &str) -> String {
    if selector.is_empty() {
        return NAME.to_owned();
    }
    let mut shard = hex::encode(digest::digest(&digest::SHA256, selector.as_bytes()));
    shard.truncate(SHARD);
    format!("{NAME}-{shard}")
}

/// A record of somebody, as it was first seen.
#[derive(Debug)]
struct Observed {
    version: (Option<String>, Option<String>),
    at: Instant,
}

struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    times: Times,
    /// For one request.
    deadline: Duration,
    /// Whether the lead is given back in the end.
    releases: bool,
    /// Whether nothing is under way then.
    at_rest: Arc<AtomicBool>,
    observed: Option<Observed>,
    /// The record as we wrote it last.
    held: Option<Lease>,
    claim: Claim,
}

impl Candidate {
    async fn run(mut self, state: watch::Sender<State>, stop: CancellationToken) {
        if stop.run_until_cancelled(self.acquire()).await.is_none() {
            // It may have been won with the last request.
            return self.release().await;
        }
        tracing::info!(lease = self.name, identity = self.identity, "leads");
        state.send_replace(State::Leads);
        if stop.run_until_cancelled(self.keep()).await.is_some() {
            state.send_replace(State::Lost);
        } else if self.at_rest.load(Ordering::Relaxed) {
            self.release().await;
        }
    }

    async fn acquire(&mut self) {
        tracing::info!(lease = self.name, identity = self.identity, "stands by");
        while !self.attempt().await {
            tokio::time::sleep(self.times.retry.mul_f64(1.0 + JITTER * fastrand::f64())).await;
        }
    }

    /// Goes on while it leads. What is over does not come back: another may have led meanwhile.
    async fn keep(&mut self) {
        while let Some(pause) = self.claim.left(self.times.retry) {
            tokio::time::sleep(pause).await;
            let Some(left) = self.claim.left(self.deadline) else { return };
            if tokio::time::timeout(left, self.attempt()).await.is_err() {
                return;
            }
        }
    }

    /// Whether it leads for another while.
    async fn attempt(&mut self) -> bool {
        let asked = Instant::now();
        let deadline = self.deadline.min(self.times.renew);
        match tokio::time::timeout(deadline, self.ask()).await {
            Ok(Ok(leads)) => {
                if leads {
                    self.claim.set(Some(asked + self.times.renew));
                }
                return leads;
            }
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the lease was not claimed"),
            Err(_) => tracing::warn!(lease = self.name, "the lease was not claimed: the API server did not answer"),
        }
        false
    }

    async fn ask(&mut self) -> Result<bool, kube::Error> {
        let found = match self.held.take() {
            Some(held) => Some(held),
            None => self.leases.get_opt(&self.name).await?,
        };
        let parameters = PostParams::default();
        let written = match found {
            None => self.leases.create(&parameters, &self.record(None)).await,
            // From the answer on: what it shows may have been written just before that.
            Some(found) if self.may_replace(&found, Instant::now()) => {
                self.leases.replace(&self.name, &parameters, &self.record(Some(&found))).await
            }
            Some(_) => {
                self.claim.set(None);
                return Ok(false);
            }
        };
        match written {
            Ok(held) => self.held = Some(held),
            // Somebody was faster: the next look tells who.
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Whether a record is ours, nobody's, or of somebody whose time is over.
    fn may_replace(&mut self, found: &Lease, now: Instant) -> bool {
        let spec = found.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let version = (found.uid(), found.resource_version());
        let observed = match self.observed.take() {
            Some(observed) if observed.version == version => observed,
            _ => Observed { version, at: now },
        };
        let written = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        let is_over = now.duration_since(observed.at) >= self.times.lease.max(Duration::from_secs(written));
        self.observed = Some(observed);
        is_over
    }

    /// Our record in the place of another.
    fn record(&self, before: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut spec = before.and_then(|before| before.spec.clone()).unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            let changes = spec.lease_transitions.map_or(0, |transitions| transitions.saturating_add(1));
            spec = LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                acquire_time: Some(now.clone()),
                lease_transitions: Some(changes),
                ..spec
            };
        }
        spec.lease_duration_seconds = Some(i32::try_from(whole_seconds(self.times.lease)).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        let metadata = before.map_or_else(
            || ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            |before| before.metadata.clone(),
        );
        Lease { metadata, spec: Some(spec) }
    }

    /// Nobody has to wait until the claim is over.
    async fn release(&mut self) {
        self.claim.set(None);
        if !self.releases {
            return;
        }
        let released = tokio::time::timeout(self.deadline, async {
            let Some(mut found) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
            let spec = found.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            self.leases.replace(&self.name, &PostParams::default(), &found).await.map(drop)
        });
        match released.await {
            Ok(Ok(())) => tracing::info!(lease = self.name, "gives up the lead"),
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the lease was not released"),
            Err(_) => tracing::warn!(lease = self.name, "the lease was not released: the API server did not answer"),
        }
    }
}

/// Rounded up: a claim is not shorter for it.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use kube::client::Body;

    use super::*;

    fn candidate(identity: &str) -> Candidate {
        let nobody = tower::service_fn(|_: http::Request<Body>| async {
            Err::<http::Response<Body>, _>(std::io::Error::other("no API server"))
        });
        Candidate {
            leases: Api::namespaced(Client::new(nobody, "ns"), "ns"),
            name: NAME.to_owned(),
            identity: identity.to_owned(),
            times: Times {
                lease: Duration::from_secs(35),
                renew: Duration::from_secs(30),
                retry: Duration::from_secs(5),
            },
            deadline: Duration::from_secs(1),
            releases: true,
            at_rest: Arc::default(),
            observed: None,
            held: None,
            claim: Claim::elected(),
        }
    }

    fn version(mut lease: Lease, version: &str) -> Lease {
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[tokio::test]
    async fn a_claim_is_over_when_its_record_stood_still_for_its_time() {
        let (mut one, other) = (candidate("one"), candidate("other"));
        let record = version(other.record(None), "1");
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(!one.may_replace(&record, at(0)) && !one.may_replace(&record, at(34)));
        assert!(one.may_replace(&record, at(35)));
        // Renewed, which begins the time anew; and one that is meant to last longer than ours.
        let renewed = version(other.record(Some(&record)), "2");
        assert!(!one.may_replace(&renewed, at(35)) && !one.may_replace(&renewed, at(69)));
        let mut longer = version(renewed.clone(), "3");
        longer.spec.as_mut().unwrap().lease_duration_seconds = Some(60);
        assert!(!one.may_replace(&longer, at(70)) && !one.may_replace(&longer, at(129)));
        assert!(one.may_replace(&longer, at(130)));
        // Given back, or ours.
        let mut released = version(renewed, "4");
        released.spec.as_mut().unwrap().holder_identity = Some(String::new());
        assert!(one.may_replace(&released, at(131)));
        assert!(one.may_replace(&one.record(Some(&released)), at(131)));
    }

    #[tokio::test]
    async fn a_record_tells_who_leads_since_when_and_how_often_it_changed() {
        let (one, other) = (candidate("one"), candidate("other"));
        let first = one.record(None).spec.unwrap();
        assert_eq!((first.holder_identity.as_deref(), first.lease_transitions), (Some("one"), Some(0)));
        assert_eq!(first.lease_duration_seconds, Some(35));
        let before = version(one.record(None), "7");
        let renewed = one.record(Some(&before));
        assert_eq!(renewed.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(renewed.spec.as_ref().unwrap().acquire_time, before.spec.as_ref().unwrap().acquire_time);
        let taken = other.record(Some(&renewed)).spec.unwrap();
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("other"), Some(1)));
        assert_ne!(taken.acquire_time, before.spec.unwrap().acquire_time);
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_ends_by_itself() {
        let (claim, most) = (Claim::elected(), Duration::from_secs(15));
        assert_eq!(claim.left(most), None);
        claim.set(Some(Instant::now() + Duration::from_secs(20)));
        assert_eq!(claim.left(most), Some(most));
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!(claim.left(most), Some(Duration::from_secs(8)));
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(!claim.is_held());
        assert_eq!(Claim::default().left(most), Some(most));
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_its_claim_leads_no_longer_than_that() {
        let mut one = candidate("one");
        let begin = Instant::now();
        one.claim.set(Some(begin + one.times.renew));
        one.keep().await;
        assert_eq!(begin.elapsed().as_secs(), one.times.renew.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_is_as_old_as_its_answer_and_not_as_the_question() {
        let slow = Duration::from_millis(900);
        let record = serde_json::to_vec(&version(candidate("other").record(None), "1")).unwrap();
        let server = tower::service_fn(move |_: http::Request<Body>| {
            let record = record.clone();
            async move {
                tokio::time::sleep(slow).await;
                Ok::<_, std::io::Error>(http::Response::new(Body::from(record)))
            }
        });
        let mut one = candidate("one");
        one.leases = Api::namespaced(Client::new(server, "ns"), "ns");
        let begin = Instant::now();
        assert!(!one.attempt().await);
        assert!(one.observed.unwrap().at >= begin + slow);
    }

    #[test]
    fn shards_do_not_compete_and_times_have_to_fit() {
        assert_eq!(lease_name(""), NAME);
        assert_ne!(lease_name("sharding.fluxcd.io/key=shard1"), lease_name("sharding.fluxcd.io/key=shard2"));
        assert_eq!(lease_name("a=b").len(), NAME.len() + 1 + SHARD);
        for (arguments, fit) in [
            (&["--leader-election-retry-period=5s"][..], true),
            (&["--leader-election-renew-deadline=35s"], false),
            (&["--leader-election-renew-deadline=6s"], false),
            (&["--leader-election-renew-deadline=7s"], true),
        ] {
            let args = Args::try_parse_from([&["x"], arguments].concat()).unwrap();
            assert_eq!(Times::of(&args).is_ok(), fit, "{arguments:?}");
        }
    }
}
