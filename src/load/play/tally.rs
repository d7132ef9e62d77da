//! Sans-IO: what viewers counted since somebody last looked, and how it becomes the report.

use crate::load::{
    delays::{Delays, histogram},
    report::{self, Frames, Hls, Interval, Report},
};
use hdrhistogram::Histogram;
use std::{collections::BTreeMap, time::Duration};

/// Counts and times of any number of viewers; times are microseconds.
#[derive(Debug)]
pub struct Tally {
    /// First key frames, or what counts as one.
    pub first_key: Histogram<u64>,
    /// First bytes.
    pub first_byte: Histogram<u64>,
    /// Stamp to arrival.
    pub latency: Histogram<u64>,
    /// Bytes of the streams.
    pub bytes: u64,
    /// Frames by how they came.
    pub frames: Frames,
    /// Stalls of viewers that left.
    pub stalls: u64,
    /// How long they were.
    pub stalled: Duration,
    /// The longest of them.
    pub longest_stall: Duration,
    /// Viewers among them that had any.
    pub stalled_viewers: u64,
    /// Viewers that left.
    pub left: u64,
    /// Viewers that started.
    pub started: u64,
    /// What is HLS's alone.
    pub hls: Playlists,
    /// What happened to those whom their edge asked to leave.
    pub moves: Moves,
    /// How often the connection of somebody who played broke.
    pub breaks: u64,
    /// From there to the next picture.
    pub again: Histogram<u64>,
    /// Why viewers failed.
    pub errors: BTreeMap<String, u64>,
    /// Who served them.
    pub edges: BTreeMap<String, u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            first_key: histogram(),
            first_byte: histogram(),
            latency: histogram(),
            bytes: 0,
            frames: Frames::default(),
            stalls: 0,
            stalled: Duration::ZERO,
            longest_stall: Duration::ZERO,
            stalled_viewers: 0,
            left: 0,
            started: 0,
            hls: Playlists::default(),
            moves: Moves::default(),
            breaks: 0,
            again: histogram(),
            errors: BTreeMap::new(),
            edges: BTreeMap::new(),
        }
    }
}

impl Tally {
    /// Adds what another counted.
    pub fn add(&mut self, other: Self) {
        add(&mut self.first_key, &other.first_key);
        add(&mut self.first_byte, &other.first_byte);
        add(&mut self.latency, &other.latency);
        self.bytes += other.bytes;
        self.frames.right += other.frames.right;
        self.frames.wrong += other.frames.wrong;
        self.frames.dropped += other.frames.dropped;
        self.frames.backwards += other.frames.backwards;
        self.stalls += other.stalls;
        self.stalled += other.stalled;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        self.stalled_viewers += other.stalled_viewers;
        self.left += other.left;
        self.started += other.started;
        self.hls.add(other.hls);
        self.moves.add(other.moves);
        self.breaks += other.breaks;
        add(&mut self.again, &other.again);
        merge(&mut self.errors, other.errors);
        merge(&mut self.edges, other.edges);
    }

    /// Counts a viewer that failed, by why; rare reasons together, when there are too many.
    pub fn fail(&mut self, why: String) {
        count(&mut self.errors, why);
    }

    /// Viewers that are there.
    pub fn watching(&self) -> u64 {
        self.started.saturating_sub(self.left)
    }

    /// This tally as a stretch of time that ended `at`, with so many watching then.
    pub fn interval(&self, at: Duration, watching: u64) -> Interval {
        Interval {
            at_s: at.as_secs_f64(),
            watching,
            joined: self.first_key.len(),
            bytes: self.bytes,
            first_key_frame: Delays::from(&self.first_key),
            latency: Delays::from(&self.latency),
        }
    }

    /// This tally of everything as the report; who asked for how many knows the rest.
    pub fn report(self) -> Report {
        let joined = self.first_key.len();
        let mut report = Report {
            joined,
            first_byte: Delays::from(&self.first_byte),
            first_key_frame: Delays::from(&self.first_key),
            latency: Delays::from(&self.latency),
            bytes: self.bytes,
            frames: self.frames,
            errors: self.errors,
            edges: self.edges,
            hls: self.hls.report(),
            moves: self.moves.report(),
            breaks: (self.breaks > 0).then(|| report::Breaks {
                count: self.breaks,
                again: Delays::from(&self.again),
            }),
            ..Report::default()
        };
        report.stalls.count = self.stalls;
        report.stalls.seconds = self.stalled.as_secs_f64();
        report.stalls.longest_s = self.longest_stall.as_secs_f64();
        report.stalls.share = self.stalled_viewers as f64 / joined.max(1) as f64;
        report
    }
}

/// What viewers counted whom their edge asked to leave.
#[derive(Debug)]
pub struct Moves {
    /// How often they asked the scheduler where to go.
    pub asked: u64,
    /// They went over to another edge.
    pub moved: u64,
    /// The scheduler let them stay.
    pub stayed: u64,
    /// The other edge was no good, or too late.
    pub failed: u64,
    /// From the last frame of one edge to the first of the other.
    pub gap: Histogram<u64>,
    /// Stalls soon after they were asked.
    pub stalls: u64,
    /// How long those were.
    pub stalled: Duration,
}

impl Default for Moves {
    fn default() -> Self {
        Self {
            asked: 0,
            moved: 0,
            stayed: 0,
            failed: 0,
            gap: histogram(),
            stalls: 0,
            stalled: Duration::ZERO,
        }
    }
}

impl Moves {
    fn add(&mut self, other: Self) {
        add(&mut self.gap, &other.gap);
        self.asked += other.asked;
        self.moved += other.moved;
        self.stayed += other.stayed;
        self.failed += other.failed;
        self.stalls += other.stalls;
        self.stalled += other.stalled;
    }

    /// Nothing where nobody was asked.
    fn report(self) -> Option<report::Moves> {
        (self.asked > 0).then(|| report::Moves {
            asked: self.asked,
            moved: self.moved,
            stayed: self.stayed,
            failed: self.failed,
            gap: Delays::from(&self.gap),
            stalls: self.stalls,
            stalled_s: self.stalled.as_secs_f64(),
        })
    }
}

/// What viewers of HLS counted besides.
#[derive(Debug)]
pub struct Playlists {
    /// Media playlists that are answered at once.
    pub playlist: Histogram<u64>,
    /// Media playlists that wait for a part.
    pub blocked: Histogram<u64>,
    /// Parts and segments.
    pub part: Histogram<u64>,
    /// Bytes of media playlists.
    pub playlist_bytes: u64,
    /// Parts and segments that were read.
    pub parts: u64,
    /// Tracks with time missing before a fragment.
    pub gaps: u64,
    /// Viewers who went over to another pathway.
    pub moved: u64,
    /// What was wrong with parts.
    pub faults: BTreeMap<String, u64>,
}

impl Default for Playlists {
    fn default() -> Self {
        Self {
            playlist: histogram(),
            blocked: histogram(),
            part: histogram(),
            playlist_bytes: 0,
            parts: 0,
            gaps: 0,
            moved: 0,
            faults: BTreeMap::new(),
        }
    }
}

impl Playlists {
    /// Counts something wrong with a part.
    pub fn fault(&mut self, what: String) {
        count(&mut self.faults, what);
    }

    fn add(&mut self, other: Self) {
        add(&mut self.playlist, &other.playlist);
        add(&mut self.blocked, &other.blocked);
        add(&mut self.part, &other.part);
        self.playlist_bytes += other.playlist_bytes;
        self.parts += other.parts;
        self.gaps += other.gaps;
        self.moved += other.moved;
        merge(&mut self.faults, other.faults);
    }

    /// Nothing where there was no playlist.
    fn report(self) -> Option<Hls> {
        (self.playlist.len() + self.blocked.len() > 0).then(|| Hls {
            playlist: Delays::from(&self.playlist),
            blocked: Delays::from(&self.blocked),
            part: Delays::from(&self.part),
            playlist_bytes: self.playlist_bytes,
            parts: self.parts,
            gaps: self.gaps,
            moved: self.moved,
            faults: self.faults,
        })
    }
}

/// Counts by why; rare reasons together, when there are too many.
fn count(reasons: &mut BTreeMap<String, u64>, why: String) {
    let known = reasons.contains_key(&why) || reasons.len() < MAX_REASONS;
    let why = if known { why } else { OTHERS.into() };
    *reasons.entry(why).or_default() += 1;
}

fn add(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    into.add(from).expect("histograms grow as they must");
}

fn merge(into: &mut BTreeMap<String, u64>, from: BTreeMap<String, u64>) {
    for (what, count) in from {
        *into.entry(what).or_default() += count;
    }
}

/// More than anybody reads.
const MAX_REASONS: usize = 64;
const OTHERS: &str = "other reasons";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::delays::record;

    fn tally(ms: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for ms in ms {
            record(&mut tally.latency, Duration::from_millis(*ms));
            record(&mut tally.first_key, Duration::from_millis(*ms));
            tally.started += 1;
        }
        tally.fail("status 503".into());
        tally
    }

    #[test]
    fn two_tallies_are_one() {
        let mut all = tally(&[10, 20]);
        all.add(tally(&[30, 40_000]));
        assert_eq!(all.watching(), 4);
        assert_eq!(all.interval(Duration::from_secs(1), 4).joined, 4);
        all.stalled_viewers = 1;
        let report = all.report();
        assert_eq!(report.joined, 4);
        assert_eq!(report.stalls.share, 0.25);
        assert_eq!(report.errors["status 503"], 2);
        assert!((report.latency.p50_ms - 20.0).abs() < 0.1);
        assert!((report.latency.max_ms - 40_000.0).abs() < 40.0);
    }

    #[test]
    fn reasons_do_not_grow_without_end() {
        let mut tally = Tally::default();
        for number in 0..1000 {
            tally.fail(number.to_string());
        }
        assert_eq!(tally.errors.len(), MAX_REASONS + 1);
        assert_eq!(tally.errors.values().sum::<u64>(), 1000);
    }
}
