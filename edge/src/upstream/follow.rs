//! Keeps one stream coming, from its first lease to the end of its linger time.
//!
//! Asks parent after parent ([`super::race`]), follows the first that has the stream, and starts over when it is lost. While it comes, a
//! connection to a second parent is kept, if the plan names one, and [`super::hand_over`] goes to another parent when
//! there is reason to.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cluster::stream::StreamKey;
use futures_util::future::FutureExt as _;
use prometheus_client::metrics::gauge::Gauge;
use rand::RngExt as _;
use relay::driver::{Peer, SubscribeError, Why};
use relay::track::{MAX_GROUPS, Producer};
use relay::wire::{Refusal, Start};
use tokio::time::{Instant, sleep, timeout};

use super::hand_over::{Feed, PATIENCE};
use super::parents::{self, Held, Peers};
use super::past::{Ask, Gaps, Next, Seen};
use super::race::{HEAD_START, race};
use super::{Entry, Failure, Setup, State, Upstream};

/// Follows the stream to its end and takes it off the list.
pub(super) async fn run(upstream: Upstream, stream: StreamKey, entry: Arc<Entry>, into: Producer) {
    let follower = Follower {
        upstream: &upstream,
        stream: &stream,
        entry: &entry,
        into: &into,
    };
    let failure = tokio::select! {
        failure = follower.follow() => failure,
        never = follower.stand_by() => match never {},
        () = follower.unwanted() => return tracing::info!(%stream, "stream left: nobody watches"),
    };
    let was_live = entry.is_live();
    tracing::info!(%stream, %failure, was_live, "stream is over");
    entry.state.send_replace(State::Failed(failure));
    into.end();
    if !was_live {
        sleep(REMEMBER_MISSING).await;
    }
    upstream.0.streams.lock().remove(&stream);
}

/// Who keeps one stream coming.
pub(super) struct Follower<'a> {
    upstream: &'a Upstream,
    stream: &'a StreamKey,
    pub(super) entry: &'a Entry,
    into: &'a Producer,
}

impl<'a> Follower<'a> {
    pub(super) fn setup(&self) -> &'a Setup {
        &self.upstream.0.setup
    }

    pub(super) fn peers(&self) -> &'a Peers {
        &self.upstream.0.peers
    }

    /// The addresses to ask, best first.
    pub(super) fn candidates(&self) -> Vec<String> {
        let setup = self.setup();
        let plan = setup.plan.borrow().clone();
        parents::candidates(&plan, self.stream, &setup.node, &setup.parents)
    }

    /// Keeps the stream subscribed until it ended or cannot be had.
    async fn follow(&self) -> Failure {
        let mut lost_at = Instant::now();
        let mut failures = 0;
        loop {
            match self.round().await {
                Ok(Why::Ended) => return Failure::NotFound,
                Ok(Why::Lost) => (lost_at, failures) = (Instant::now(), 0),
                // A stream that was never here is not waited for when all say that there is none.
                Err(Failure::NotFound) if !self.entry.is_live() => return Failure::NotFound,
                Err(failure) if lost_at.elapsed() >= GIVE_UP_AFTER => return failure,
                Err(_) => failures += 1,
            }
            sleep(backoff(failures)).await;
        }
    }

    /// Asks each parent once, and follows the first that has the stream.
    async fn round(&self) -> Result<Why, Failure> {
        let candidates = self.candidates();
        let mut attempts = Vec::with_capacity(candidates.len());
        for address in &candidates {
            let parent = self.peers().hold(address);
            let is_silent = parent.is_silent();
            let head_start = if is_silent {
                Duration::ZERO
            } else {
                HEAD_START
            };
            attempts.push((head_start, self.attempt(parent).boxed()));
        }
        match race(attempts).await {
            Ok(feed) => Ok(self.stay(feed).await),
            Err(failures) => Err(common(failures)),
        }
    }

    /// Subscribes at a parent; one that is not reached is dialled anew the next time.
    async fn attempt(&self, parent: Held<'a>) -> Result<Feed<'a>, Failure> {
        let address = parent.address().to_owned();
        let asked = self.ask(parent).await;
        if matches!(asked, Err(Failure::Unreachable)) {
            self.setup().metrics.upstream_failures.inc();
            self.peers().forget(&self.peers().hold(&address));
        }
        asked
    }

    /// Subscribes at a parent.
    pub(super) async fn ask(&self, parent: Held<'a>) -> Result<Feed<'a>, Failure> {
        let (setup, stream) = (self.setup(), self.stream);
        let connected = self.peers().connect(&parent).await;
        let peer = connected.cloned().map_err(|error| {
            tracing::debug!(%stream, parent = parent.address(), %error, "parent not reached");
            Failure::Unreachable
        })?;
        let hops = [setup.node.as_str().to_owned()];
        let (into, fence) = self.into.fenced();
        let asked = peer
            .subscribe(stream.as_str(), &hops, self.start(), into)
            .await;
        let subscription = asked.map_err(|error| {
            tracing::debug!(%stream, parent = parent.address(), %error, "parent does not serve");
            match error {
                SubscribeError::Refused(Refusal::NotFound) => Failure::NotFound,
                SubscribeError::Refused(Refusal::Loop) => Failure::Loop,
                SubscribeError::Refused(Refusal::Overloaded | Refusal::Draining) => {
                    Failure::Overloaded
                }
                SubscribeError::Lost | SubscribeError::Timeout => Failure::Unreachable,
            }
        })?;
        setup.metrics.subscriptions.inc();
        Ok(Feed {
            parent,
            peer,
            subscription,
            fence,
        })
    }

    /// Stays subscribed until the subscription ends, here or at the parents that come after this one.
    async fn stay(&self, mut feed: Feed<'a>) -> Why {
        let metrics = &self.setup().metrics;
        let _counted = Counted::new(&metrics.streams);
        let mut patience = PATIENCE;
        loop {
            let (stream, parent) = (self.stream, feed.peer.remote_node());
            tracing::info!(%stream, parent, "stream comes");
            let hops = feed.subscription.hops().into();
            self.entry.state.send_replace(State::Live(hops));
            let (new, reason) = tokio::select! {
                why = feed.subscription.ended() => {
                    if why == Why::Lost {
                        self.lost(&feed);
                    }
                    return why;
                }
                never = self.keep_past(&feed.peer) => match never {},
                found = async { self.better(&feed.parent, &mut patience).await } => found,
            };
            let to = new.peer.remote_node().to_owned();
            tracing::info!(%stream, parent, to, why = reason.as_str(), "another parent is taken");
            metrics.moved(reason.as_str());
            feed = self.hand_over(feed, new, reason).await;
        }
    }

    /// The connection is of no use any more.
    pub(super) fn lost(&self, feed: &Feed<'_>) {
        let (stream, parent) = (self.stream, feed.peer.remote_node());
        tracing::warn!(%stream, parent, "parent lost");
        self.setup().metrics.upstream_failures.inc();
        self.peers().forget(&feed.parent);
    }

    /// Keeps a connection to the stream's second parent, for as long as the plan names one.
    async fn stand_by(&self) -> Infallible {
        let (setup, mut plan) = (self.setup(), self.setup().plan.clone());
        let mut held: Option<Held<'_>> = None;
        loop {
            let plan_now = plan.borrow_and_update().clone();
            let standby = plan_now.standby_of(self.stream, &setup.node);
            let address = standby.and_then(|node| node.relay.as_deref());
            // The next is held before the last is let go: it is mostly the same.
            let next = address.map(|address| self.peers().hold(address));
            drop(std::mem::replace(&mut held, next));
            let lost = async {
                let Some(parent) = &held else {
                    return std::future::pending().await;
                };
                if let Ok(peer) = self.peers().connect(parent).await {
                    peer.closed().await;
                }
                self.peers().forget(parent);
                sleep(MAX_BACKOFF).await;
            };
            tokio::select! {
                () = lost => {}
                changed = plan.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Brings what is wanted of the past and missing here, as long as this parent has the stream.
    async fn keep_past(&self, peer: &Peer) -> Infallible {
        let entry = self.entry;
        let mut wanted = entry.past.subscribe();
        let mut gaps = Gaps::default();
        loop {
            let window = wanted.wait_for(|past| !past.wanted.is_zero()).await;
            // The sender is the entry's own: it cannot be gone.
            let window = window.map_or(Duration::ZERO, |past| past.wanted);
            let seen: Vec<Seen> = entry
                .track
                .recent(MAX_GROUPS)
                .iter()
                .map(Seen::from)
                .collect();
            match gaps.next(&seen, window, |key| entry.track.may_come(key)) {
                Next::Ask(ask) => match self.bring(peer, ask).await {
                    Ok(()) => continue,
                    Err(error) => {
                        gaps.failed(ask);
                        tracing::debug!(stream = %self.stream, %error, "no past");
                        // From a parent that is there it will not come soon; of another one it is asked at once.
                        if error != SubscribeError::Lost {
                            entry.settled(window);
                        }
                    }
                },
                Next::Wait => {}
                Next::Settled => entry.settled(window),
            }
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                _ = wanted.changed() => {}
            }
        }
    }

    /// Takes a piece of the past into the track.
    async fn bring(&self, peer: &Peer, ask: Ask) -> Result<(), SubscribeError> {
        let (stream, into) = (self.stream, self.into.clone());
        let Ask { before, for_ms } = ask;
        tracing::debug!(%stream, ?before, for_ms, "past wanted");
        let start = Start::Past { before, for_ms };
        let mut asked = peer.subscribe(stream.as_str(), &[], start, into).await?;
        match timeout(BRING_WITHIN, asked.ended()).await {
            Ok(Why::Ended) => Ok(()),
            Ok(Why::Lost) => Err(SubscribeError::Lost),
            Err(_) => Err(SubscribeError::Timeout),
        }
    }

    /// Where to go on: behind what is there already.
    fn start(&self) -> Start {
        let newest = self.entry.track.latest().map(|group| group.key());
        newest.map_or(Start::Latest, Start::After)
    }

    /// Waits until nobody has held a lease for the linger time, and takes the stream off the list.
    async fn unwanted(&self) {
        let shared = &self.upstream.0;
        let mut leases = self.entry.leases.subscribe();
        loop {
            // The sender is the entry's own: it cannot be gone.
            let _ = leases.wait_for(|count| *count == 0).await;
            tokio::select! {
                () = sleep(shared.setup.linger) => {}
                _ = leases.wait_for(|count| *count > 0) => continue,
            }
            let mut streams = shared.streams.lock();
            if *self.entry.leases.borrow() == 0 {
                streams.remove(self.stream);
                return;
            }
        }
    }
}

impl Entry {
    fn is_live(&self) -> bool {
        matches!(*self.state.borrow(), State::Live(_))
    }

    /// All is here that the parent has of this window.
    fn settled(&self, window: Duration) {
        self.past.send_if_modified(|past| {
            let more = past.held < Some(window);
            past.held = past.held.max(Some(window));
            more
        });
    }
}

/// What a round comes to in which nobody had the stream: that it is nowhere is only certain when
/// somebody was asked and everybody said so.
fn common(failures: Vec<Failure>) -> Failure {
    let worse = |failure, next| match next {
        Failure::NotFound => failure,
        next => next,
    };
    failures
        .into_iter()
        .reduce(worse)
        .unwrap_or(Failure::Unreachable)
}

/// One more in a gauge, until dropped.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The wait after so many rounds of failures, with jitter: edges that lost a parent together do not return together.
fn backoff(failures: u32) -> Duration {
    let longest = MIN_BACKOFF
        .saturating_mul(1 << failures.min(8))
        .min(MAX_BACKOFF);
    longest.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// After a parent is lost the next round comes at once for a viewer's eyes.
const MIN_BACKOFF: Duration = Duration::from_millis(100);

/// A parent that returns is found within a key frame interval.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Viewers of a lost stream wait so long for it: an origin restarts and its publisher redials in less.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// How often the past is looked at: a group that is missing holds players up until it is mended.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The parent ends what is asked of the past by itself, after [`relay::session::PAST_WITHIN`] at the latest.
const BRING_WITHIN: Duration = relay::session::PAST_WITHIN.saturating_add(Duration::from_secs(5));

/// A stream that is not there is asked for once in this time, whoever wants it.
const REMEMBER_MISSING: Duration = Duration::from_millis(500);
