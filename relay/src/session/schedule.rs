//! Sans-IO: which groups a subscription sends, in which order, and when one is given up.
//!
//! The newest group goes first; what it leaves of the link goes to the one before, and so on. A
//! group that newer ones have waited behind for too long, or too many of them, is reset: a viewer
//! is better off at the next key frame than ever further behind. Nothing here knows what a link can
//! carry; only time and newer groups count.
//!
//! The past goes with what all live groups leave of the link, a few groups of a connection at a
//! time and for a bounded time, so that it neither fills the buffers that live groups pass through
//! nor lasts for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::group::{End, Group, Key};
use crate::track::Consumer;

/// How many newer groups may be there before a group is late; the streams of a subscription are
/// never more than these.
pub const LATE_GROUPS: usize = 4;

/// How long newer groups may be there before a group is late: several retransmissions over the
/// longest path, and less than what players buffer.
pub const LATE_AFTER: Duration = Duration::from_secs(2);

/// The groups that a subscription has sent or is sending.
#[derive(Debug)]
pub struct Sending {
    /// Nothing up to here is sent.
    after: Option<Key>,
    /// What was sent, newest last; what falls out moves `after`.
    sent: VecDeque<Key>,
    begun: Option<u64>,
}

/// Keys remembered beyond those that can be due: groups may open out of order and newer ones be
/// dropped.
const MEMORY: usize = 4 * LATE_GROUPS;

impl Sending {
    /// A subscription that starts after a group, or with the newest that there is at first.
    pub fn new(after: Option<Key>) -> Self {
        Self {
            after,
            sent: VecDeque::new(),
            begun: None,
        }
    }

    /// The groups to send now, newest first.
    pub fn due(&mut self, track: &Consumer) -> Vec<Group> {
        let begun = track.begun();
        if self.begun.replace(begun) == Some(begun) {
            return Vec::new();
        }
        let newest = track.latest().map(|group| group.key().before());
        // What comes of the past later is not asked for.
        self.after = self.after.or(newest);
        let mut due = track.recent(LATE_GROUPS);
        due.retain(|group| Some(group.key()) > self.after && !self.sent.contains(&group.key()));
        for group in due.iter().rev() {
            self.remember(group.key());
        }
        due
    }

    /// The greatest key that was sent.
    pub fn last(&self) -> Option<Key> {
        self.sent.iter().max().copied()
    }

    /// Everything up to here was sent or will not be.
    pub fn done(&self) -> Option<Key> {
        self.last().max(self.after)
    }

    fn remember(&mut self, key: Key) {
        self.sent.push_back(key);
        if self.sent.len() > MEMORY {
            self.after = self.after.max(self.sent.pop_front());
        }
    }
}

/// Groups of the past that a connection sends at one time: enough to fill a long path with them,
/// and what they can have under way stays a fraction of the connection's window.
pub const PAST_AT_ONCE: usize = 4;

/// How long the past may take: what has not come by then is as good as evicted, and the peer asks
/// again if it still wants it.
pub const PAST_WITHIN: Duration = Duration::from_secs(30);

/// Below every live group's priority.
pub const PAST_PRIORITY: i32 = -(LATE_GROUPS as i32);

/// The groups that a subscription sends of the past, newest first.
#[derive(Debug)]
pub struct Past {
    /// Oldest first.
    left: Vec<Key>,
    until: Instant,
}

impl Past {
    /// The groups before `before` that began at most `reach` before it.
    pub fn new(track: &Consumer, before: Key, reach: Duration, now: Instant) -> Self {
        Self {
            left: track.past(before, reach),
            until: now + PAST_WITHIN,
        }
    }

    /// When what is not delivered is given up.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// The next group to send; those that are gone meanwhile, or will never be whole, are left out.
    pub fn next(&mut self, track: &Consumer) -> Option<Group> {
        let whole = |group: &Group| group.end() != Some(End::Aborted);
        std::iter::from_fn(|| self.left.pop()).find_map(|key| track.group(key).filter(whole))
    }
}

/// Where a group stands among the newer ones of its track.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    superseded: Option<Instant>,
}

/// What to do with a group's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it after streams of a greater priority, until it is late.
    Send {
        /// The stream's priority: 0 for the newest group, less for older ones.
        priority: i32,
        /// When it becomes late.
        late: Option<Instant>,
    },
    /// Reset it.
    Late,
}

impl Standing {
    /// Judges a group that `newer` groups have followed by `now`.
    pub fn judge(&mut self, now: Instant, newer: usize) -> Verdict {
        self.superseded = (newer > 0).then(|| self.superseded.unwrap_or(now));
        let late = self.superseded.map(|since| since + LATE_AFTER);
        if newer >= LATE_GROUPS || late.is_some_and(|late| now >= late) {
            return Verdict::Late;
        }
        Verdict::Send {
            priority: -(newer as i32),
            late,
        }
    }
}
