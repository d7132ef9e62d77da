//! Sans-IO: what acknowledgements tell about a path: its delivery rate, its round trip, its queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is known of the path.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// Delivery rates of the last rounds that had enough to send.
    pub(super) rates: VecDeque<f64>,
    /// The shortest round trips of this interval and the one before, in seconds.
    bases: [f64; 2],
    turned: Instant,
    /// The shortest round trip of the last batch.
    pub(super) rtt: f64,
}

impl Path {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            rates: VecDeque::new(),
            bases: [f64::INFINITY; 2],
            turned: now,
            rtt: f64::INFINITY,
        }
    }

    pub(super) fn see_rtt(&mut self, now: Instant, rtt: f64) {
        if now - self.turned > BASE_INTERVAL {
            self.turned = now;
            self.bases = [f64::INFINITY, self.bases[0]];
        }
        self.bases[0] = self.bases[0].min(rtt);
        self.rtt = rtt;
    }

    pub(super) fn see_rate(&mut self, rate: f64, full: bool) {
        if full {
            self.rates.truncate(RATES - 1);
            self.rates.push_front(rate);
        } else if rate > self.rate() {
            self.rates.pop_front();
            self.rates.push_front(rate);
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// The round trip without a queue.
    pub(super) fn base(&self) -> f64 {
        self.bases[0].min(self.bases[1])
    }

    /// The queue that we keep when alone, in seconds. It must exceed the share that is lost, or a
    /// lossy link would be used less and less, and what a busy machine keeps packets waiting.
    pub(super) fn allowance(&self) -> f64 {
        (self.base() * ALLOWANCE).max(MIN_ALLOWANCE)
    }

    /// How long a queue a round trip shows, in allowances.
    pub(super) fn queue(&self, rtt: f64) -> f64 {
        (rtt - self.base()) / self.allowance()
    }

    /// What is under way at the full rate without a queue.
    pub(super) fn content(&self) -> f64 {
        self.rate() * self.base()
    }

    /// With our queue.
    pub(super) fn budget(&self) -> f64 {
        self.content() + self.rate() * self.allowance()
    }
}

/// Rounds of which the fastest counts: as long as BBR's cycle of probing, so that a slow round
/// between two losses is forgotten.
const RATES: usize = 10;

/// The shortest round trip is that of the last one or two of these; each sees a drained queue.
const BASE_INTERVAL: Duration = Duration::from_secs(5);

/// Of the shortest round trip.
const ALLOWANCE: f64 = 0.2;

/// In seconds.
const MIN_ALLOWANCE: f64 = 0.01;
