//! Sans-IO: which groups a subscription sends, in which order, and when one is given up.
//!
//! The newest group goes first; what it leaves of the link goes to the one before, and so on. A
//! group that newer ones have waited behind for too long, or too many of them, is reset: a viewer
//! is better off at the next key frame than ever further behind. Nothing here knows what a link can
//! carry; only time and newer groups count.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::group::{Group, Key};
use crate::track::Consumer;
use crate::wire::Start;

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
    /// A subscription that starts at `start`.
    pub fn new(track: &Consumer, start: Start) -> Self {
        let after = match start {
            Start::After(key) => Some(key),
            Start::Latest => track.recent(2).get(1).map(Group::key),
        };
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
