//! Sans-IO: Hot: what a stream's bits per second are said to be: smoothed, and at their peak.
//!
//! The peak is the one that HLS asks for (rfc8216bis 4.4.6.2, BANDWIDTH): of runs of segments that last
//! at least half a target duration, in the stream's own time. Runs of the last minute count, so that
//! an encoder that was turned down is soon offered at what it takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use media::timestamp::Timestamp;

/// Bits per second over the last seconds.
#[derive(Debug)]
pub(super) struct Rate {
    at: Instant,
    bytes: u64,
    pub(super) bps: u64,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            at: now,
            bytes: 0,
            bps: 0,
        }
    }

    /// Takes the count so far; each [`RATE_STEP`] weighs a quarter.
    pub(super) fn update(&mut self, now: Instant, bytes: u64) {
        let elapsed = now.saturating_duration_since(self.at);
        if elapsed < RATE_STEP {
            return;
        }
        let bps = ((bytes - self.bytes) as f64 * 8.0 / elapsed.as_secs_f64()) as u64;
        self.bps = if self.bps == 0 {
            bps
        } else {
            (self.bps * 3 + bps) / 4
        };
        (self.at, self.bytes) = (now, bytes);
    }
}

/// Bits per second of the busiest run of segments lately.
#[derive(Debug, Default)]
pub(super) struct Peak {
    segment_max: Timestamp,
    /// A group begins with the next frame.
    begins: bool,
    /// The run that is not over yet: its start and its bytes.
    run: Option<(Timestamp, u64)>,
    /// When each run ended, and its rate.
    ended: VecDeque<(Timestamp, u64)>,
}

impl Peak {
    /// A group begins with the next frame, and with it a segment of at most `segment_max`.
    pub(super) fn open(&mut self, segment_max: Timestamp) {
        (self.segment_max, self.begins) = (segment_max, true);
    }

    /// The next frame.
    pub(super) fn push(&mut self, at: Timestamp, bytes: usize) {
        let longest = self.segment_max.as_micros();
        let enough = if std::mem::take(&mut self.begins) {
            longest / 2
        } else {
            longest
        };
        self.end_after(at, Timestamp::from_micros(enough));
        self.run.get_or_insert((at, 0)).1 += bytes as u64;
    }

    /// The stream breaks off: what comes next is another run.
    pub(super) fn close(&mut self) {
        self.run = None;
    }

    /// The greatest rate of the runs that ended lately; 0 before one has.
    pub(super) fn bps(&self) -> u64 {
        self.ended.iter().map(|(_, bps)| *bps).max().unwrap_or(0)
    }

    /// Ends the run if it is this long by now.
    fn end_after(&mut self, at: Timestamp, least: Timestamp) {
        let Some((start, bytes)) = self.run.filter(|(start, _)| at - *start >= least) else {
            return;
        };
        self.run = None;
        let us = (at - start).as_micros().max(1) as u64;
        self.ended.push_back((at, bytes * 8_000_000 / us));
        let old = |ended: &(Timestamp, u64)| at - ended.0 > LATELY;
        while self.ended.len() > MAX_RUNS || self.ended.front().is_some_and(old) {
            self.ended.pop_front();
        }
    }
}

/// The step of a measured bit rate: the scheduler is told once a second.
const RATE_STEP: Duration = Duration::from_secs(1);

/// What a player that comes now may still meet, and a scene or two.
const LATELY: Timestamp = Timestamp::from_millis(60_000);

/// Runs of half a second, the shortest that can be configured, in a minute.
const MAX_RUNS: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Timestamp = Timestamp::from_millis(6_000);

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    /// Groups of so many milliseconds and bytes, one frame each 100 ms, one after the other.
    fn peak(groups: &[(i64, usize)]) -> u64 {
        let (mut peak, mut at) = (Peak::default(), 0);
        for (length, bytes) in groups {
            peak.open(MAX);
            let frames = length / 100;
            for frame in 0..frames {
                peak.push(ms(at + frame * 100), bytes / frames as usize);
            }
            at += length;
        }
        peak.open(MAX);
        peak.push(ms(at), 0);
        peak.bps()
    }

    #[test]
    fn the_peak_is_that_of_the_busiest_run() {
        let check = |name: &str, groups: &[(i64, usize)], expect: u64| {
            assert_eq!(peak(groups), expect, "{name}");
        };
        let (even, busy) = ((4_000, 500_000), (4_000, 1_000_000));
        check("nothing ended", &[], 0);
        check("even", &[even; 4], 1_000_000);
        check("one is busier", &[even, busy, even], 2_000_000);
        let short = [(1_000, 500_000), (1_000, 125_000), (1_000, 125_000)];
        check("short ones together", &short, 2_000_000);
        check("a long one in pieces", &[(12_000, 1_500_000)], 1_000_000);
    }

    #[test]
    fn what_was_busy_long_ago_is_forgotten() {
        let mut groups = vec![(4_000, 1_000_000)];
        groups.extend([(4_000, 500_000); 15]);
        assert_eq!(peak(&groups), 2_000_000);
        groups.push((4_000, 500_000));
        assert_eq!(peak(&groups), 1_000_000);
    }

    #[test]
    fn the_rate_follows_in_steps() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        rate.update(start + Duration::from_millis(900), 1_000);
        assert_eq!(rate.bps, 0);
        rate.update(start + Duration::from_secs(1), 1_000);
        assert_eq!(rate.bps, 8_000);
        rate.update(start + Duration::from_secs(2), 1_000);
        assert_eq!(rate.bps, 6_000);
    }
}
