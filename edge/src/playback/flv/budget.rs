//! Sans-IO: how long frames are gathered, by how busy a core is.
//!
//! Fixed, or adaptive: nothing while the core is mostly idle, and more the busier it is, so that there are fewer and
//! larger writes. Gathering makes a core less busy, so the share is smoothed and the two settle where they meet.

use std::time::Duration;

/// The time to gather for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    fixed: Option<Duration>,
    /// The smoothed share of time that the core is busy.
    busy: f64,
}

impl Budget {
    /// A fixed time, or as the load asks.
    pub(super) fn new(fixed: Option<Duration>) -> Self {
        Self { fixed, busy: 0.0 }
    }

    /// The core was busy for `busy` of `time`.
    pub(super) fn measure(&mut self, busy: Duration, time: Duration) {
        if time.is_zero() {
            return;
        }
        let share = (busy.as_secs_f64() / time.as_secs_f64()).min(1.0);
        let weight = (time.as_secs_f64() / MEMORY_S).min(1.0);
        self.busy += (share - self.busy) * weight;
    }

    /// How long to gather.
    pub(super) fn latency(&self) -> Duration {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let load = ((self.busy - IDLE) / (FULL - IDLE)).clamp(0.0, 1.0);
        // Whole milliseconds are what timers keep.
        Duration::from_millis((LONGEST_MS * load).round() as u64)
    }
}

/// With load, frames wait at most so long: a tenth of a second is what a player's smallest buffer hides.
const LONGEST_MS: f64 = 100.0;
/// Up to this share of a core every frame is written at once.
const IDLE: f64 = 0.2;
/// From this share on frames are gathered for the longest time; the rest of the core is for bursts.
const FULL: f64 = 0.7;
/// How long a measurement is remembered: a storm of joins shall not make frames late that come after it.
const MEMORY_S: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The latency in milliseconds after a while of this share.
    fn settled(fixed: Option<Duration>, share: f64) -> u64 {
        let mut budget = Budget::new(fixed);
        for _ in 0..100 {
            let time = Duration::from_millis(100);
            budget.measure(time.mul_f64(share), time);
        }
        budget.latency().as_millis() as u64
    }

    #[test]
    fn a_busy_core_gathers() {
        for (share, ms) in [
            (0.0, 0),
            (0.2, 0),
            (0.45, 50),
            (0.7, 100),
            (1.0, 100),
            (1.5, 100),
        ] {
            assert_eq!(settled(None, share), ms, "{share}");
        }
    }

    #[test]
    fn a_fixed_time_heeds_no_load() {
        for ms in [0, 20, 350] {
            assert_eq!(settled(Some(Duration::from_millis(ms)), 0.9), ms);
        }
    }

    #[test]
    fn one_busy_moment_changes_little() {
        let mut budget = Budget::new(None);
        budget.measure(Duration::from_millis(100), Duration::from_millis(100));
        assert_eq!(budget.latency(), Duration::ZERO);
        budget.measure(Duration::ZERO, Duration::ZERO);
        assert_eq!(budget.latency(), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_busier_core_never_gathers_for_less(a in 0.0..1.0f64, b in 0.0..1.0f64) {
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(settled(None, less) <= settled(None, more));
        }
    }
}
