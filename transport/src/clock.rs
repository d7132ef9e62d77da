//! Wall-clock time as numbers, and a clock that a test can turn.
//!
//! Waiting is tokio's business; this file only says what time it is. A clock set before 1970
//! reads as 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch.
pub fn unix_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch.
pub fn unix_ms() -> u64 {
    unix_us() / 1000
}

/// Where a service reads the wall clock: the system's, or one that stands until it is moved.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `unix_us` and moves only by [`Clock::advance`].
    pub fn manual(unix_us: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(unix_us))))
    }

    /// Microseconds since the Unix epoch.
    pub fn unix_us(&self) -> u64 {
        self.0
            .as_ref()
            .map_or_else(unix_us, |us| us.load(Ordering::Relaxed))
    }

    /// Milliseconds since the Unix epoch.
    pub fn unix_ms(&self) -> u64 {
        self.unix_us() / 1000
    }

    /// Moves a manual clock forward, in all its clones; the system's clock is not ours to move.
    pub fn advance(&self, by: Duration) {
        if let Some(us) = &self.0 {
            us.fetch_add(
                u64::try_from(by.as_micros()).unwrap_or(u64::MAX),
                Ordering::Relaxed,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(5_000_000);
        let other = clock.clone();
        assert_eq!(other.unix_ms(), 5_000);
        clock.advance(Duration::from_millis(7));
        assert_eq!(other.unix_us(), 5_007_000);
    }

    #[test]
    fn the_system_clock_is_past_2020() {
        assert!(Clock::system().unix_ms() > 1_577_836_800_000);
    }
}
