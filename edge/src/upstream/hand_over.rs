//! From one parent of a stream to another while it comes: make before break.
//!
//! There are three reasons. A new plan names a better parent: the old one may finish its groups and opens no other
//! ones. The parent is silent: it is cut off as soon as another one has delivered, so that at most the rest of one
//! group is lost, and kept when it comes back first. Nothing comes although the parent is there (its own parent may be
//! gone, or two plans made a circle): the same, but the next attempt is put off, since mostly the publisher is at fault.
//! In all cases the new parent has accepted the subscription before anything is given up, and groups of either go into
//! one track, each key once.

use std::time::Duration;

use futures_util::future::FutureExt as _;
use rand::RngExt as _;
use relay::driver::{Peer, Subscription, Why};
use relay::track::Fence;
use tokio::time::{Instant, interval, sleep, timeout};

use super::Failure;
use super::follow::Follower;
use super::parents::{Held, Parent};
use super::race::{HEAD_START, race};

/// A stream as one parent sends it.
pub(super) struct Feed<'a> {
    pub(super) parent: Held<'a>,
    pub(super) peer: Peer,
    pub(super) subscription: Subscription,
    pub(super) fence: Fence,
}

/// Why another parent is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The plan names a better one.
    Planned,
    /// The connection is silent.
    Silent,
    /// The connection is not, the stream is.
    Starved,
}

impl Reason {
    /// The label in counters.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Silent => "silent",
            Self::Starved => "starved",
        }
    }
}

impl<'a> Follower<'a> {
    /// Waits for a reason to leave this parent and for another one that accepts.
    pub(super) async fn better(
        &self,
        parent: &Parent,
        patience: &mut Duration,
    ) -> (Feed<'a>, Reason) {
        let mut plan = self.setup().plan.clone();
        let mut next_look = Instant::now();
        loop {
            let reason = tokio::select! {
                () = parent.falls_silent() => Reason::Silent,
                () = self.starves(*patience) => Reason::Starved,
                () = async {
                    tokio::time::sleep_until(next_look).await;
                    while !self.is_misplaced(parent) && plan.changed().await.is_ok() {}
                    if !self.is_misplaced(parent) {
                        std::future::pending::<()>().await;
                    }
                } => Reason::Planned,
            };
            if reason == Reason::Planned {
                // Those that learn of it together do not come together.
                sleep(spread()).await;
            }
            if reason == Reason::Starved {
                *patience = (*patience * 2).min(LONGEST_PATIENCE);
            }
            if let Some(found) = self.another(parent, reason).await {
                return (found, reason);
            }
            next_look = Instant::now() + LOOK_AGAIN;
            sleep(LOOK_SOON).await;
        }
    }

    /// Whether there is a better parent by the plan.
    fn is_misplaced(&self, parent: &Parent) -> bool {
        self.candidates()
            .first()
            .is_some_and(|best| best != parent.address())
    }

    /// The first other parent that accepts: of all, or of those that are better by the plan.
    async fn another(&self, here: &Parent, reason: Reason) -> Option<Feed<'a>> {
        let candidates = self.candidates();
        let here = here.address();
        let better = candidates.iter().take_while(|address| *address != here);
        let count = match reason {
            Reason::Planned => better.count(),
            Reason::Silent | Reason::Starved => candidates.len(),
        };
        let mut attempts = Vec::with_capacity(count);
        for address in candidates[..count].iter().filter(|other| *other != here) {
            let parent = self.peers().hold(address);
            if !parent.is_silent() {
                attempts.push((HEAD_START, self.ask_soon(parent).boxed()));
            }
        }
        race(attempts).await.ok()
    }

    /// Subscribes at a parent that has the stream or gets it from near.
    async fn ask_soon(&self, parent: Held<'a>) -> Result<Feed<'a>, Failure> {
        let asked = timeout(ASK_WITHIN, self.ask(parent)).await;
        asked.unwrap_or(Err(Failure::Unreachable))
    }

    /// Waits until nothing of the stream has come for that long.
    async fn starves(&self, patience: Duration) {
        let newest = || {
            self.entry
                .track
                .latest()
                .map(|group| (group.key(), group.len()))
        };
        let (mut seen, mut since) = (newest(), Instant::now());
        let mut beat = interval(STARVE_LOOK);
        while since.elapsed() < patience {
            beat.tick().await;
            let now = newest();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
    }

    /// Goes from one parent to the other, as far as that proves right; gives back the one to stay with.
    pub(super) async fn hand_over(
        &self,
        mut old: Feed<'a>,
        mut new: Feed<'a>,
        reason: Reason,
    ) -> Feed<'a> {
        if reason == Reason::Planned {
            old.fence.close();
        }
        let until = sleep(HAND_OVER_WITHIN);
        tokio::pin!(until);
        let mut look = interval(LOOK_EVERY);
        let begun = self.entry.track.begun();
        loop {
            let settled = tokio::select! {
                why = old.subscription.ended() => {
                    if why == Why::Lost {
                        self.lost(&old);
                    }
                    old.fence.cut();
                    return new;
                }
                _ = new.subscription.ended() => Some(false),
                () = &mut until => Some(reason == Reason::Planned),
                _ = look.tick() => match reason {
                    Reason::Planned => old.fence.is_idle().then_some(true),
                    _ if new.fence.has_begun() => Some(true),
                    Reason::Silent => (!old.parent.is_silent()).then_some(false),
                    Reason::Starved => (self.entry.track.begun() != begun).then_some(false),
                },
            };
            match settled {
                Some(true) => {
                    old.fence.cut();
                    return new;
                }
                Some(false) => {
                    old.fence.reopen();
                    return old;
                }
                None => {}
            }
        }
    }
}

/// A part of the time within which edges move.
fn spread() -> Duration {
    MOVE_SPREAD.mul_f64(rand::rng().random_range(0.0..1.0))
}

/// Edges move within a second of a plan, which is a small part of the time that a plan holds.
const MOVE_SPREAD: Duration = Duration::from_secs(1);

/// How long a parent may take to accept: it has the picture already or gets it from near.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// A better parent that did not accept is asked again after this, or with the next plan.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// When nobody accepts although the parent is silent.
const LOOK_SOON: Duration = Duration::from_millis(500);

/// Longer than a usual group: one that lasts longer is cut when its parent changes.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(10);

/// A tenth of what a viewer would notice.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long nothing may come before another parent is asked: publishers that reconnect take less.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// After attempts in vain.
const LONGEST_PATIENCE: Duration = Duration::from_secs(64);

const STARVE_LOOK: Duration = Duration::from_secs(1);
