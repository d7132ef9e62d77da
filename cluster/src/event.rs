//! Announced shows: when many viewers are expected, of which stream and where.
//!
//! Times are real time, as people announce them; what counts in calendar time converts them.

use serde::{Deserialize, Serialize};

use crate::region::Region;
use crate::stream::StreamKey;

/// A show that was announced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number; the store gives it.
    #[serde(default)]
    pub id: u64,
    /// What will be watched.
    pub stream: StreamKey,
    /// Unix time of its start.
    pub start_ms: u64,
    /// Viewers expected at its peak.
    pub expected_peak: f64,
    /// Seconds from the start until the peak.
    pub ramp_s: u32,
    /// Seconds from the start to the end.
    pub length_s: u32,
    /// Where all of them are expected; left out, where viewers usually are.
    #[serde(default)]
    pub region: Option<Region>,
}

/// Why an announcement makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No crowd at all, or no number.
    #[error("expected_peak must be 1 to {MOST_VIEWERS} viewers")]
    Peak,
    /// Over before it began, or endless.
    #[error("length_s must be 1 to {MAX_LENGTH_S} (a week)")]
    Length,
    /// The peak lies behind the end.
    #[error("ramp_s must be at most length_s")]
    Ramp,
    /// Already over, or years away.
    #[error("start must be such that the event is not over, and within a year from now")]
    Start,
}

/// More than people who are awake at a time.
const MOST_VIEWERS: u64 = 5_000_000_000;

/// A week: what lasts longer is no event.
pub const MAX_LENGTH_S: u32 = 7 * 86_400;

/// A year: an earlier announcement is a slip of the pen.
const MAX_AHEAD_MS: u64 = 366 * 86_400_000;

impl Event {
    /// Whether it makes sense at that Unix time.
    pub fn check(&self, now_ms: u64) -> Result<(), Error> {
        if !(1.0..=MOST_VIEWERS as f64).contains(&self.expected_peak) {
            return Err(Error::Peak);
        }
        if !(1..=MAX_LENGTH_S).contains(&self.length_s) {
            return Err(Error::Length);
        }
        if self.ramp_s > self.length_s {
            return Err(Error::Ramp);
        }
        let soon = self.start_ms <= now_ms.saturating_add(MAX_AHEAD_MS);
        if self.is_over(now_ms) || !soon {
            return Err(Error::Start);
        }
        Ok(())
    }

    /// Unix time of its end.
    pub fn end_ms(&self) -> u64 {
        self.start_ms
            .saturating_add(u64::from(self.length_s) * 1000)
    }

    /// Whether it is over at that Unix time.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.end_ms() <= now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_that_make_no_sense_are_refused() {
        let good = Event {
            id: 0,
            stream: StreamKey::parse("live/final").unwrap(),
            start_ms: 2_000_000,
            expected_peak: 1000.0,
            ramp_s: 60,
            length_s: 600,
            region: None,
        };
        let now_ms = 1_000_000;
        let with = |change: &dyn Fn(&mut Event)| {
            let mut event = good.clone();
            change(&mut event);
            event.check(now_ms)
        };
        assert_eq!(with(&|_| {}), Ok(()));
        assert_eq!(with(&|event| event.start_ms = 500_000), Ok(()), "it is on");
        for peak in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(with(&|event| event.expected_peak = peak), Err(Error::Peak));
        }
        assert_eq!(with(&|event| event.length_s = 0), Err(Error::Length));
        assert_eq!(with(&|event| event.ramp_s = 601), Err(Error::Ramp));
        for start_ms in [0, 400_000, u64::MAX, now_ms + MAX_AHEAD_MS + 1] {
            assert_eq!(with(&|event| event.start_ms = start_ms), Err(Error::Start));
        }
    }
}
