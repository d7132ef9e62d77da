//! Sans-IO: Hot: how far a viewer is behind, in time and in bytes.

use super::Terms;

/// A distance to the newest frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// On the stream's time line.
    pub ms: u64,
    /// Bytes not written yet.
    pub bytes: u64,
}

impl Lag {
    /// The most that a viewer may be behind.
    pub fn bound(terms: &Terms) -> Self {
        Self {
            ms: terms.skip_after.as_millis() as u64,
            bytes: terms.queue,
        }
    }

    /// Whether it is more than the other in either.
    pub fn exceeds(&self, bound: &Self) -> bool {
        self.ms > bound.ms || self.bytes > bound.bytes
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            ms: self.ms + other.ms,
            bytes: self.bytes + other.bytes,
        }
    }

    /// `times` of it, divided.
    pub fn part(&self, times: u64, divisor: u64) -> Self {
        Self {
            ms: self.ms.saturating_mul(times) / divisor,
            bytes: self.bytes.saturating_mul(times) / divisor,
        }
    }
}
