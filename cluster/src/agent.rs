//! The node's side of the control plane: reports a sample each second, receives the plan.
//!
//! Media never waits for it: the plan is a watch channel that always holds one, empty at first
//! and the last one received for ever after. Samples that no scheduler took wait in a bounded
//! backlog and go out in one batch when one answers. Schedulers are tried in turn; after a round
//! of failures the agent backs off, with jitter. What a sample holds is the node's own business;
//! the agent numbers it, bounds it, and says when the node drains or leaves.

mod backlog;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use transport::drain::Drain;
use transport::http::{Client, ClientError};
use transport::tls::{self, Identity};

use crate::plan::Plan;
use crate::sample::{Answer, PATH, Report, Sample, State};
use backlog::Backlog;

/// Time between samples. A scheduler takes a node for dead after three of them in silence.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Time for a report, connecting included: four round trips between any two places on Earth.
const POST_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for the last report: the drain's stop grants half a second.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(400);

/// Back-off after the first round of failures; it doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(250);

/// Longest back-off: a scheduler that returns knows every node within two heartbeat limits.
const MAX_BACKOFF: Duration = Duration::from_secs(3);

/// Reports what `source` measures and keeps the plan.
pub struct Agent<F> {
    urls: Vec<String>,
    client: Client,
    source: F,
    backlog: Mutex<Backlog>,
    /// Wakes the sender when the backlog has grown.
    fresh: Notify,
    plan: watch::Sender<Arc<Plan>>,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the address of a scheduler.
    #[error("[cluster] schedulers: {0:?} is not like \"https://10.0.0.1:7700\"")]
    Url(String),
    /// The identity cannot be used.
    #[error("[cluster]: {0}")]
    Tls(#[from] tls::Error),
}

impl<F: Fn() -> Sample + Send + Sync> Agent<F> {
    /// An agent that will report to these schedulers; without any it only keeps the empty plan.
    pub fn new(schedulers: &[String], identity: &Identity, source: F) -> Result<Self, Error> {
        let urls = schedulers
            .iter()
            .map(|url| endpoint(url))
            .collect::<Result<_, _>>()?;
        let client = Client::with_identity(identity)?.timeout(POST_TIMEOUT);
        let (backlog, fresh) = (Mutex::default(), Notify::new());
        let plan = watch::Sender::default();
        Ok(Self {
            urls,
            client,
            source,
            backlog,
            fresh,
            plan,
        })
    }

    /// The newest plan received, and news of the next; empty until the first came.
    pub fn plan(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    /// Reports until the drain is stopped, then says that the node leaves. To be awaited as it
    /// is: a task of the drain itself would be dropped before it could say so.
    pub async fn run(self, drain: Drain) {
        let Some(mut url) = self.urls.first().map(String::as_str) else {
            tracing::warn!("no [cluster] schedulers: nobody will send viewers here");
            return drain.stopped().await;
        };
        tokio::select! {
            () = self.measure(&drain) => {}
            () = self.send(&mut url) => {}
            () = drain.stopped() => {}
        }
        self.push(State::Leaving);
        // The scheduler would find out by itself three heartbeats later.
        let _ = timeout(LEAVE_TIMEOUT, self.post(url)).await;
    }

    /// Takes a sample each second, and one at once when the drain starts. Never ends.
    async fn measure(&self, drain: &Drain) {
        let mut beat = interval(INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            if drain.is_started() {
                beat.tick().await;
                self.push(State::Draining);
            } else {
                tokio::select! {
                    _ = beat.tick() => self.push(State::Serving),
                    () = drain.started() => self.push(State::Draining),
                }
            }
        }
    }

    /// Adds a sample to the backlog, in this state if the node itself says none that is worse.
    fn push(&self, state: State) {
        let mut sample = (self.source)();
        sample.state = sample.state.max(state);
        self.backlog.lock().push(sample);
        self.fresh.notify_one();
    }

    /// Sends the backlog whenever it has grown; `url` is the scheduler that it goes to. Never
    /// ends.
    async fn send<'a>(&'a self, url: &mut &'a str) {
        let mut failures = 0;
        for next in self.urls.iter().cycle() {
            *url = next;
            let error = self.send_to(url, &mut failures).await;
            failures += 1;
            if failures == 1 {
                tracing::warn!(%error, "scheduler does not answer");
            } else {
                tracing::debug!(%error, failures, "scheduler still does not answer");
            }
            if failures % self.urls.len() == 0 {
                let share = rand::rng().random_range(0.5..1.0);
                sleep(backoff(failures / self.urls.len()).mul_f64(share)).await;
            }
        }
    }

    /// Sends to one scheduler until it fails.
    async fn send_to(&self, url: &str, failures: &mut usize) -> ClientError {
        loop {
            self.fresh.notified().await;
            let started = Instant::now();
            match self.post(url).await {
                Ok(()) if *failures > 0 => {
                    tracing::info!(url, failures, "scheduler answers again");
                    *failures = 0;
                }
                Ok(()) => tracing::trace!(elapsed = ?started.elapsed(), "reported"),
                Err(error) => {
                    // What was not taken is still to be sent, to the next scheduler.
                    self.fresh.notify_one();
                    return error;
                }
            }
        }
    }

    /// Sends what waits and takes the plan of the answer, if it is newer.
    async fn post(&self, url: &str) -> Result<(), ClientError> {
        let held = self.plan.borrow().mark;
        let samples = self.backlog.lock().batch();
        let Some(newest) = samples.last().map(|sample| sample.seq) else {
            return Ok(());
        };
        let report = Report { held, samples };
        let answer: Result<Answer, _> = self.client.post_json(url, None, &report).await;
        // A report that the scheduler finds wrong does not get better by being sent again.
        let wrong = |error: &ClientError| error.status().is_some_and(|s| s.is_client_error());
        if answer.as_ref().err().is_none_or(wrong) {
            self.backlog.lock().taken(newest);
        }
        if let Some(plan) = answer?.plan
            && plan.supersedes(held)
        {
            tracing::debug!(
                epoch = plan.mark.epoch,
                revision = plan.mark.revision,
                "plan taken"
            );
            self.plan.send_replace(Arc::new(plan));
        }
        Ok(())
    }
}

/// The address that reports go to, at the scheduler of this URL. Always TLS: reports name nodes,
/// and the answer decides where media goes.
fn endpoint(url: &str) -> Result<String, Error> {
    let parsed: Option<http::Uri> = url.parse().ok();
    let right = parsed.is_some_and(|uri| {
        uri.scheme_str() == Some("https")
            && uri.host().is_some_and(|host| !host.is_empty())
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
    });
    if right {
        Ok(url.trim_end_matches('/').to_owned() + PATH)
    } else {
        Err(Error::Url(url.into()))
    }
}

/// The longest wait after that many rounds of failures, from 1.
fn backoff(rounds: usize) -> Duration {
    let doublings = rounds.saturating_sub(1).min(16) as u32;
    MIN_BACKOFF.saturating_mul(1 << doublings).min(MAX_BACKOFF)
}
