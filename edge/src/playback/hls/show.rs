//! A stream that is played by HLS: its track, its newest view, and when it was last asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use relay::track::Consumer;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Absent;
use super::view::View;
use crate::upstream::Joined;

/// A followed stream.
#[derive(Debug)]
pub(crate) struct Show {
    joined: Joined,
    views: watch::Receiver<Option<Arc<View>>>,
    born: Instant,
    /// Milliseconds after `born` of the last request.
    used_ms: AtomicU64,
}

/// Where a follower puts what players see.
pub(super) type Views = watch::Sender<Option<Arc<View>>>;

impl Show {
    /// Of a joined stream, and where its views come from.
    pub(super) fn new(joined: Joined) -> (Self, Views) {
        let (sender, views) = watch::channel(None);
        let show = Self {
            joined,
            views,
            born: Instant::now(),
            used_ms: AtomicU64::new(0),
        };
        (show, sender)
    }

    /// Its groups.
    pub(crate) fn track(&self) -> &Consumer {
        &self.joined.track
    }

    /// Whether it is made of this track.
    pub(super) fn is_of(&self, track: &Consumer) -> bool {
        self.joined.track.id() == track.id()
    }

    /// Tells of each new view.
    pub(super) fn views(&self) -> watch::Receiver<Option<Arc<View>>> {
        self.views.clone()
    }

    /// The newest view, if there is one yet.
    pub(crate) fn latest(&self) -> Option<Arc<View>> {
        self.views.borrow().clone()
    }

    /// Whether nothing more comes of it.
    pub(super) fn is_ended(&self) -> bool {
        self.views.has_changed().is_err() || self.latest().is_some_and(|view| view.is_ended())
    }

    /// Whether its parents were lost, so that others may have more of it.
    pub(super) fn is_lost(&self) -> bool {
        self.joined.is_lost()
    }

    /// Notes that somebody asked.
    pub(super) fn used(&self) {
        let now_ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Whether nobody asked for a while.
    pub(super) fn is_idle(&self) -> bool {
        let used = Duration::from_millis(self.used_ms.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(used) > IDLE.max(self.patience())
    }

    /// How long a request waits: three target durations (rfc8216bis 6.2.5.2).
    pub(super) fn patience(&self) -> Duration {
        self.latest()
            .map_or(FIRST_VIEW_WITHIN, |view| view.target() * TARGETS)
    }

    /// The first view that has what is asked for.
    pub(super) async fn view(&self, at: Option<(u64, Option<u64>)>) -> Result<Arc<View>, Absent> {
        let first = self.wait_for(FIRST_VIEW_WITHIN, |_| true).await?;
        if first.is_ahead(at) {
            self.new_epoch(&first, at).await?;
        }
        let view = self.wait_for(self.patience(), |view| view.has(at)).await;
        self.used();
        view
    }

    /// Waits a little until the track has its past, as far as a playlist goes, and sees to it that it stays whole.
    pub(super) async fn past(&self, window: Duration) {
        // A player waits for the newest, and no longer for the oldest than its buffer lasts.
        let _ = timeout(PAST_WITHIN, self.joined.past(window)).await;
    }

    /// Waits for an epoch that another edge may know already; its numbers are far above those of the one before.
    async fn new_epoch(&self, view: &View, at: Option<(u64, Option<u64>)>) -> Result<(), Absent> {
        let newest = view.last().map_or(0, |last| last.msn);
        if at.is_none_or(|(msn, _)| msn <= newest.saturating_add(ONE_EPOCH)) {
            return Err(Absent::Ahead);
        }
        let near = self.wait_for(BEHIND_BY, |view| !view.is_ahead(at)).await;
        near.map(drop).map_err(|absent| match absent {
            Absent::Late => Absent::Ahead,
            other => other,
        })
    }

    async fn wait_for(
        &self,
        within: Duration,
        is_right: impl Fn(&View) -> bool,
    ) -> Result<Arc<View>, Absent> {
        let mut views = self.views.clone();
        let right = views.wait_for(|view| view.as_ref().is_some_and(|view| is_right(view)));
        match timeout(within, right).await {
            Ok(Ok(view)) => view.clone().ok_or(Absent::Gone),
            Ok(Err(_)) => Err(Absent::Gone),
            Err(_) => Err(Absent::Late),
        }
    }
}

/// Less than what a player of low latency has in its buffer; ordinarily the past takes a round trip or two.
const PAST_WITHIN: Duration = Duration::from_secs(1);

/// Target durations that a blocking request waits for at most.
const TARGETS: u32 = 3;

/// A stream that was joined has a group: its past takes a round trip or two.
const FIRST_VIEW_WITHIN: Duration = Duration::from_secs(10);

/// No player is so many segments ahead within an epoch.
const ONE_EPOCH: u64 = 10;

/// How far edges are apart at most: a slow path.
const BEHIND_BY: Duration = Duration::from_secs(1);

/// A player that is playing asks each target duration; one that comes back later joins again.
const IDLE: Duration = Duration::from_secs(20);
