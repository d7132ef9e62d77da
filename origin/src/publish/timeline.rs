//! Sans-IO: Hot: the stream's one time line, whatever clocks its publishers' encoders have.
//!
//! Each track carries an offset from its source's clock.
//! Decoding times never step back per track, begin at zero with the epoch, and go on by the wall
//! clock where the source's clock broke off: a jump, a wrap of RTMP's 32 bits, another encoder.
//! Tracks whose clocks jump together stay together.
//! Sound whose packets say their length is put on the grid of its own sample count, because RTMP's
//! milliseconds are not: every edge's audio is continuous then.

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
    grid: Option<Grid>,
}

/// Where packets go that follow each other without a gap.
#[derive(Clone, Copy, Debug)]
struct Grid {
    start: Timestamp,
    /// Samples since the start, at this rate.
    samples: u64,
    rate: u32,
}

impl Grid {
    /// The present grid if it has this rate, or one that starts here.
    fn go_on(present: Option<Self>, start: Timestamp, rate: u32) -> Self {
        present.filter(|grid| grid.rate == rate).unwrap_or(Self {
            start,
            samples: 0,
            rate,
        })
    }

    fn is_near(&self, stamp: Timestamp) -> bool {
        let off = (self.now() - stamp).as_micros().unsigned_abs();
        off <= NEAR.as_micros().unsigned_abs()
    }

    /// Where the next packet goes, to the nearest microsecond.
    fn now(&self) -> Timestamp {
        let rate = u128::from(self.rate);
        let us = (u128::from(self.samples) * 1_000_000 + rate / 2) / rate;
        self.start + Timestamp::from_micros(i64::try_from(us).unwrap_or(i64::MAX))
    }

    fn after(self, length: Length) -> Self {
        Self {
            samples: self.samples + u64::from(length.samples),
            ..self
        }
    }
}

/// How long a packet of sound lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length {
    /// Samples of a channel.
    pub(crate) samples: u32,
    /// A second; never 0.
    pub(crate) rate: u32,
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
    /// Places a frame that its source stamped `raw` and that arrived at `now_us` (Unix µs); sound
    /// has a `length`, where it is known.
    pub(crate) fn place(
        &mut self,
        track: TrackId,
        raw: Timestamp,
        length: Option<Length>,
        now_us: u64,
    ) -> Placed {
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
        let stamp = raw + offset;
        // Near the stamp itself, not one that was held back: or the count would run away from it.
        let present = lane.grid.filter(|grid| grid.is_near(stamp));
        let held = stamp.max(lane.last);
        let grid = length.map(|length| Grid::go_on(present, held, length.rate));
        let dts = grid.map_or(held, |grid| grid.now().max(lane.last));
        *lane = Lane {
            offset: Some(offset),
            last: dts,
            grid: grid.zip(length).map(|(grid, length)| grid.after(length)),
        };
        self.newest = self.newest.max(dts);
        self.newest_at_us = Some(now_us);
        Placed { dts, jumped }
    }

    /// Forgets the source's clock: another one begins with the next frame.
    pub(crate) fn forget_source(&mut self) {
        for lane in &mut self.lanes {
            (lane.offset, lane.grid) = (None, None);
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

/// Sound stamped within this of its sample count is where the count says: stamps are rounded to
/// milliseconds, twice where a stream was remuxed. It is less than any packet that AAC can lose.
const NEAR: Timestamp = Timestamp::from_millis(5);

/// The longest silence carried onto the time line: streams end long before, so more than this is
/// this machine's clock being set.
const SILENCE_MAX: Timestamp = Timestamp::from_millis(60_000);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V: TrackId = TrackId::VIDEO;
    const A: TrackId = TrackId::AUDIO;

    /// Rows of (track, source ms, arrival ms) and the (time line ms, jumped) they must get.
    fn check(rows: &[(TrackId, i64, u64, i64, bool)]) {
        let mut timeline = Timeline::default();
        for (row, &(track, raw, now, dts, jumped)) in rows.iter().enumerate() {
            let placed = timeline.place(track, Timestamp::from_millis(raw), None, now * 1000);
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
        timeline.place(V, Timestamp::from_millis(500), None, 0);
        timeline.forget_source();
        let placed = timeline.place(V, Timestamp::ZERO, None, 3_000_000);
        assert_eq!(
            placed,
            Placed {
                dts: Timestamp::from_millis(3000),
                jumped: false
            }
        );
    }

    /// Where packets of 1024 samples at `rate` go that are stamped so.
    fn sound(rate: u32, stamps_ms: impl IntoIterator<Item = i64>) -> Vec<Timestamp> {
        let mut timeline = Timeline::default();
        let length = Some(Length {
            samples: 1024,
            rate,
        });
        let place = |ms| {
            let placed = timeline.place(A, Timestamp::from_millis(ms), length, 0);
            placed.dts
        };
        stamps_ms.into_iter().map(place).collect()
    }

    #[test]
    fn sound_is_on_its_own_grid_until_it_is_off_by_a_gap() {
        let us = |placed: Vec<Timestamp>| -> Vec<i64> {
            placed.into_iter().map(Timestamp::as_micros).collect()
        };
        let stamps = [0, 21, 42, 64, 107, 128];
        let expect = [0, 21_333, 42_667, 64_000, 107_000, 128_333];
        assert_eq!(us(sound(48_000, stamps)), expect, "a packet is lost");
        let drifting = sound(44_100, (0..1_000).map(|n| n * 24));
        let last = drifting.last().unwrap().as_millis();
        assert!((last - 999 * 24).abs() <= 5, "{last} follows the stamps");
    }

    proptest! {
        #[test]
        fn rounded_stamps_give_the_exact_grid(
            rate in prop::sample::select(vec![48_000_u32, 44_100, 22_050, 8_000]),
            rounds in prop::collection::vec(-1..=1_i64, 2..400),
            start in 0..5_000_i64,
        ) {
            let exact = |n: usize| n as i64 * 1024 * 1_000_000 / i64::from(rate);
            let stamps = rounds.iter().enumerate();
            let stamps = stamps.map(|(n, round)| start + 1 + exact(n) / 1000 + round);
            let placed = sound(rate, stamps);
            for (n, dts) in placed.iter().enumerate() {
                let off = (*dts - placed[0]).as_micros() - exact(n);
                prop_assert!((0..=1).contains(&off), "packet {n} is off by {off} us");
            }
        }

        #[test]
        fn any_stamps_give_times_near_them_that_never_step_back(
            steps in prop::collection::vec(-30..90_i64, 1..300),
            samples in 1..6_000_u32,
        ) {
            let mut timeline = Timeline::default();
            let length = Some(Length { samples, rate: 48_000 });
            let mut last = timeline.place(A, Timestamp::from_millis(10_000), length, 0).dts;
            let (mut raw, mut latest, mut jumped) = (10_000, 0, false);
            for step in steps {
                raw += step;
                latest = latest.max(raw - 10_000);
                let placed = timeline.place(A, Timestamp::from_millis(raw), length, 0);
                prop_assert!(placed.dts >= last);
                last = placed.dts;
                jumped |= placed.jumped;
                // One step of tolerance for this packet, one for those that it may not precede.
                prop_assert!(jumped || (last.as_millis() - latest).abs() <= 2 * 5 + 1);
            }
        }
    }
}
