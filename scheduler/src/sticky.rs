//! Sans-IO: where each viewer was last sent, in a fixed table without locks.
//!
//! The draw of two edges is the same whenever a viewer asks; which of the two was less loaded is
//! not. This table remembers it, so that players that come back at every reload do not flap. It is
//! a cache in the strict sense: two viewers of one slot overwrite each other, and a viewer whose
//! entry is gone falls back to the same two edges. A table that could not lose entries would have
//! to lock, grow or refuse.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Remembers the node of each viewer.
pub struct Sticky {
    slots: Box<[AtomicU64]>,
    ttl_s: u16,
}

impl Sticky {
    /// An empty table whose entries count for `ttl` after they were last written.
    pub fn new(ttl: Duration) -> Self {
        let ttl_s = ttl.min(MAX_TTL).as_secs() as u16;
        Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            ttl_s,
        }
    }

    /// The number of the node that the viewer of that key was last sent to.
    pub fn find(&self, key: u64, now_s: u64) -> Option<u16> {
        let slot = self.slot(key).load(Ordering::Relaxed);
        let (tag, node, expires) = (slot >> 32, (slot >> 16) as u16, slot as u16);
        let left = expires.wrapping_sub(now_s as u16);
        (node != 0 && tag == key >> 32 && (1..=self.ttl_s).contains(&left)).then_some(node)
    }

    /// Remembers that the viewer was sent to that node.
    pub fn keep(&self, key: u64, node: u16, now_s: u64) {
        let expires = (now_s as u16).wrapping_add(self.ttl_s);
        let slot = key >> 32 << 32 | u64::from(node) << 16 | u64::from(expires);
        self.slot(key).store(slot, Ordering::Relaxed);
    }

    fn slot(&self, key: u64) -> &AtomicU64 {
        &self.slots[key as usize % SLOTS]
    }
}

/// 8 MiB, for about a million viewers who come back within the time to live.
const SLOTS: usize = 1 << 20;

/// Expiry is kept modulo 18 hours; a time to live must be a small part of that.
pub const MAX_TTL: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u64 = 0x1234_5678_0000_0001;

    #[test]
    fn an_entry_counts_until_its_time_is_over() {
        let start = 65_500; // the stored expiry wraps
        let sticky = Sticky::new(Duration::from_secs(60));
        sticky.keep(KEY, 7, start);
        for (after, expected) in [(0, Some(7)), (59, Some(7)), (60, None), (600, None)] {
            assert_eq!(sticky.find(KEY, start + after), expected, "{after}");
        }
    }

    #[test]
    fn viewers_of_one_slot_replace_each_other_and_are_never_mixed_up() {
        let sticky = Sticky::new(Duration::from_secs(60));
        let other = KEY ^ 1 << 40;
        sticky.keep(KEY, 7, 0);
        assert_eq!(sticky.find(other, 0), None);
        sticky.keep(other, 9, 0);
        assert_eq!(
            (sticky.find(other, 0), sticky.find(KEY, 0)),
            (Some(9), None)
        );
    }

    #[test]
    fn a_time_to_live_of_zero_keeps_nobody() {
        let sticky = Sticky::new(Duration::ZERO);
        sticky.keep(KEY, 7, 0);
        assert_eq!(sticky.find(KEY, 0), None);
    }
}
