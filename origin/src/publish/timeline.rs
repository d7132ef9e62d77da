//! Sans-IO: Hot: the stream's one time line, whatever clocks its publishers' encoders have.
//!
//! Each track carries an offset from its source's clock.
//! Decoding times never step back per track, begin at zero with the epoch, and go on by the wall
//! clock where the source's clock broke off: a jump, a wrap of RTMP's 32 bits, another encoder.
//! Tracks whose clocks jump together stay together.

use media::frame::TrackId;
use media::timestamp::Timestamp;

/// Where the next frame of each track goes.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    lanes: [Lane; 2],
    newest: Timestamp,
    newest_at_us: Option<u64>,
}

/// One track's way from its source's clock to the time line.
#[derive(Debug, Default)]
struct Lane {
    offset: Option<Timestamp>,
    last: Timestamp,
}

/// A frame's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Decoding time on the time line, not before the track's previous one.
    pub(crate) dts: Timestamp,
    /// The source's clock broke off before this frame.
    pub(crate) jumped: bool,
}

impl Timeline {
    /// Places a frame that its source stamped `raw` and that arrived at `now_us` (Unix µs).
    pub(crate) fn place(&mut self, track: TrackId, raw: Timestamp, now_us: u64) -> Placed {
        let index = usize::from(track == TrackId::AUDIO);
        let own = self.lanes[index].offset;
        let other = self.lanes[1 - index].offset;
        let fits = |offset: &Timestamp| self.fits(index, raw + *offset);
        let (offset, jumped) = match own.filter(fits) {
            Some(offset) => (offset, false),
            None => {
                let offset = other
                    .filter(fits)
                    .unwrap_or_else(|| self.resume_at(now_us) - raw);
                (offset, own.is_some())
            }
        };
        let lane = &mut self.lanes[index];
        let dts = (raw + offset).max(lane.last);
        *lane = Lane {
            offset: Some(offset),
            last: dts,
        };
        self.newest = self.newest.max(dts);
        self.newest_at_us = Some(now_us);
        Placed { dts, jumped }
    }

    /// Forgets the source's clock: another one begins with the next frame.
    pub(crate) fn forget_source(&mut self) {
        for lane in &mut self.lanes {
            lane.offset = None;
        }
    }

    fn fits(&self, index: usize, dts: Timestamp) -> bool {
        dts >= self.lanes[index].last - REORDER && dts < self.newest + JUMP
    }

    /// The newest time plus the silence since.
    fn resume_at(&self, now_us: u64) -> Timestamp {
        let silence = self.newest_at_us.map_or(0, |at| now_us.saturating_sub(at));
        let silence = i64::try_from(silence).unwrap_or(i64::MAX);
        self.newest + Timestamp::from_micros(silence).min(SILENCE_MAX)
    }
}

/// A step ahead of this much is a clock that jumped: no encoder that keeps its clock skips longer
/// without also being closed as idle soon after.
const JUMP: Timestamp = Timestamp::from_millis(10_000);

/// A step back within this is jitter of the source and flattened; more is a clock that jumped.
const REORDER: Timestamp = Timestamp::from_millis(500);

/// The longest silence carried onto the time line: streams end long before, so more than this is
/// this machine's clock being set.
const SILENCE_MAX: Timestamp = Timestamp::from_millis(60_000);

#[cfg(test)]
mod tests {
    use super::*;

    const V: TrackId = TrackId::VIDEO;
    const A: TrackId = TrackId::AUDIO;

    /// Rows of (track, source ms, arrival ms) and the (time line ms, jumped) they must get.
    fn check(rows: &[(TrackId, i64, u64, i64, bool)]) {
        let mut timeline = Timeline::default();
        for (row, &(track, raw, now, dts, jumped)) in rows.iter().enumerate() {
            let placed = timeline.place(track, Timestamp::from_millis(raw), now * 1000);
            let expect = Placed {
                dts: Timestamp::from_millis(dts),
                jumped,
            };
            assert_eq!(placed, expect, "row {row}");
        }
    }

    #[test]
    fn time_begins_at_zero_and_keeps_the_sources_steps() {
        check(&[
            (V, 5000, 0, 0, false),
            (A, 5010, 0, 10, false),
            (V, 5040, 40, 40, false),
        ]);
    }

    #[test]
    fn a_track_that_begins_slightly_earlier_is_held_at_zero() {
        check(&[
            (V, 5000, 0, 0, false),
            (A, 4990, 0, 0, false),
            (A, 5011, 0, 11, false),
        ]);
    }

    #[test]
    fn small_steps_back_are_flattened() {
        check(&[
            (V, 0, 0, 0, false),
            (V, 80, 0, 80, false),
            (V, 40, 0, 80, false),
        ]);
    }

    #[test]
    fn a_clock_that_starts_again_goes_on_by_the_wall_clock_and_keeps_tracks_together() {
        check(&[
            (V, 90_000, 0, 0, false),
            (A, 90_020, 20, 20, false),
            (V, 90_040, 40, 40, false),
            (V, 0, 80, 80, true),
            (A, 10, 85, 90, true),
            (V, 40, 120, 120, false),
        ]);
    }

    #[test]
    fn a_leap_ahead_becomes_the_silence_that_was() {
        check(&[(V, 0, 0, 0, false), (V, 3_600_000, 2_000, 2_000, true)]);
        check(&[(V, 0, 0, 0, false), (V, 9_000, 100, 9_000, false)]);
    }

    #[test]
    fn unrelated_clocks_of_two_tracks_do_not_fight() {
        check(&[
            (V, 0, 0, 0, false),
            (A, 700_000, 0, 0, false),
            (V, 40, 40, 40, false),
            (A, 700_040, 40, 40, false),
            (V, 80, 80, 80, false),
            (A, 700_080, 80, 80, false),
        ]);
    }

    #[test]
    fn another_source_continues_after_the_gap() {
        let mut timeline = Timeline::default();
        timeline.place(V, Timestamp::from_millis(500), 0);
        timeline.forget_source();
        let placed = timeline.place(V, Timestamp::ZERO, 3_000_000);
        assert_eq!(
            placed,
            Placed {
                dts: Timestamp::from_millis(3000),
                jumped: false
            }
        );
    }
}
