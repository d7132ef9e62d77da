//! Sans-IO: viewers who were turned away for want of room, because they are demand all the same.
//!
//! Who asks again is the same viewer, not another one; who gets in, or has not asked for the time
//! of `patience`, is forgotten. So the count is of people, not of requests, however often players
//! ask again. Times are the caller's monotonic milliseconds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::region::Region;

/// Who waits, by the hash of the viewer and the stream.
#[derive(Clone, Debug)]
pub struct Waiting {
    patience_ms: u64,
    viewers: HashMap<u64, (Region, u64)>,
    swept_ms: u64,
}

/// Viewers remembered: 3 MB. More are turned away only when a whole cluster is full, and then the
/// counters of refusals tell it.
pub const MAX_WAITING: usize = 1 << 16;

/// Shortest patience: edges tell players to come back after 5 s.
const LEAST: Duration = Duration::from_secs(10);

impl Waiting {
    /// Nobody; who comes counts for that long after each time it asks, and for 10 s at least.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience_ms: patience.max(LEAST).as_millis() as u64,
            viewers: HashMap::new(),
            swept_ms: 0,
        }
    }

    /// A viewer was turned away.
    pub fn refuse(&mut self, viewer: u64, region: Region, now_ms: u64) {
        let room = self.viewers.len() < MAX_WAITING;
        if room || self.viewers.contains_key(&viewer) {
            self.viewers.insert(viewer, (region, now_ms));
        }
    }

    /// A viewer got in.
    pub fn admit(&mut self, viewer: u64) {
        if !self.viewers.is_empty() {
            self.viewers.remove(&viewer);
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.viewers.is_empty()
    }

    /// How many wait in each region.
    pub fn by_region(&mut self, now_ms: u64) -> HashMap<Region, u32> {
        if now_ms != self.swept_ms {
            let patience_ms = self.patience_ms;
            self.viewers
                .retain(|_, (_, asked_ms)| now_ms.saturating_sub(*asked_ms) < patience_ms);
            self.swept_ms = now_ms;
        }
        let mut regions = HashMap::new();
        for (region, _) in self.viewers.values() {
            *regions.entry(*region).or_default() += 1;
        }
        regions
    }
}

/// The same for many threads; while nobody waits, who gets in takes no lock.
#[derive(Debug)]
pub struct Outside {
    waiting: Mutex<Waiting>,
    crowded: AtomicBool,
}

impl Outside {
    /// As [`Waiting::new`].
    pub fn new(patience: Duration) -> Self {
        Self {
            waiting: Mutex::new(Waiting::new(patience)),
            crowded: AtomicBool::new(false),
        }
    }

    /// A viewer was turned away.
    pub fn refuse(&self, viewer: u64, region: Region, now_ms: u64) {
        self.waiting.lock().refuse(viewer, region, now_ms);
        self.crowded.store(true, Ordering::Relaxed);
    }

    /// A viewer got in.
    pub fn admit(&self, viewer: impl FnOnce() -> u64) {
        if self.crowded.load(Ordering::Relaxed) {
            self.waiting.lock().admit(viewer());
        }
    }

    /// How many wait in each region.
    pub fn by_region(&self, now_ms: u64) -> HashMap<Region, u32> {
        let mut waiting = self.waiting.lock();
        let regions = waiting.by_region(now_ms);
        self.crowded.store(!waiting.is_empty(), Ordering::Relaxed);
        regions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(waiting: &mut Waiting, now_ms: u64) -> u32 {
        waiting.by_region(now_ms).values().sum()
    }

    #[test]
    fn who_asks_again_waits_once() {
        let mut all = Waiting::new(Duration::from_secs(60));
        for now_ms in [0, 2_000, 4_000] {
            all.refuse(1, Region::UNKNOWN, now_ms);
        }
        all.refuse(2, Region::named("x"), 4_000);
        assert_eq!(
            all.by_region(5_000),
            [(Region::UNKNOWN, 1), (Region::named("x"), 1)].into()
        );
        all.admit(2);
        assert_eq!(waiting(&mut all, 63_999), 1);
        assert_eq!(waiting(&mut all, 64_000), 0);
        assert!(all.is_empty());
    }

    #[test]
    fn players_have_time_to_ask_again() {
        let mut all = Waiting::new(Duration::from_millis(1_042));
        all.refuse(1, Region::UNKNOWN, 0);
        assert_eq!(
            (waiting(&mut all, 9_999), waiting(&mut all, 10_000)),
            (1, 0)
        );
    }

    #[test]
    fn a_crowd_is_bounded() {
        let mut all = Waiting::new(LEAST);
        (0..MAX_WAITING as u64 + 9).for_each(|viewer| all.refuse(viewer, Region::OTHER, 0));
        all.refuse(0, Region::OTHER, 9_000);
        assert_eq!(waiting(&mut all, 0), MAX_WAITING as u32);
        assert_eq!(waiting(&mut all, 10_000), 1);
    }
}
