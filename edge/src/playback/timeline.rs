//! Sans-IO: Hot: a stream's time line as one viewer sees it, in the 32-bit milliseconds of FLV.
//!
//! A viewer's time starts at 0 wherever in the stream it joined. Within an epoch distances are kept exactly,
//! also over frames that a slow viewer lost; a new epoch, or a source clock that jumps, continues right
//! after what was sent. On each track the answer never steps back.
//! The stream's own line is the other choice: the source's decoding times, the same at every edge, which start
//! anew with each epoch.
//! Leaves out composition offsets: they are distances, so the muxer copies them.

use media::frame::TrackId;
use media::timestamp::Timestamp;

/// Places decoding times of the source on a viewer's time line.
#[derive(Debug, Default)]
pub struct Timeline {
    /// Viewer time minus source time; unknown until the first placement.
    offset: Option<Timestamp>,
    /// The latest time handed out per track: video, audio.
    last: [Timestamp; TRACKS],
    /// Whether anything was handed out.
    started: bool,
    /// Whether it is the stream's own line.
    own: bool,
}

impl Timeline {
    /// The stream's own line.
    pub fn own() -> Self {
        Self {
            own: true,
            ..Self::default()
        }
    }

    /// Starts another epoch, whose earliest frame known has the decoding time `first`.
    pub fn begin(&mut self, first: Timestamp) {
        if !self.own {
            return self.rebase(first);
        }
        self.offset = Some(Timestamp::ZERO);
        self.last = [Timestamp::ZERO; TRACKS];
        self.last[0] = first.max(Timestamp::ZERO);
        self.started = false;
    }

    /// Goes on in the same epoch after a break, the next earliest frame having the decoding time `first`.
    pub fn rebase(&mut self, first: Timestamp) {
        if self.own {
            return;
        }
        let start = if self.started {
            self.newest() + STEP
        } else {
            Timestamp::ZERO
        };
        self.offset = Some(start - first);
    }

    /// The viewer's milliseconds for a frame of `track` decoded at `dts`.
    ///
    /// Wraps after 49.7 days, as FLV's extended timestamp does (Adobe FLV 10.1, E.4.1).
    pub fn place(&mut self, track: TrackId, dts: Timestamp) -> u32 {
        if !self.own && self.jumped(dts) {
            self.rebase(dts);
        }
        let offset = *self.offset.get_or_insert(-dts);
        let last = &mut self.last[usize::from(track.0) % TRACKS];
        *last = (dts + offset).max(*last);
        self.started = true;
        last.as_millis() as u32
    }

    /// The latest millisecond handed out, for tags that belong to no frame.
    pub fn now_ms(&self) -> u32 {
        self.newest().as_millis() as u32
    }

    fn newest(&self) -> Timestamp {
        self.last[0].max(self.last[1])
    }

    fn jumped(&self, dts: Timestamp) -> bool {
        let Some(offset) = self.offset.filter(|_| self.started) else {
            return false;
        };
        let ahead = dts + offset - self.newest();
        ahead > JUMP_AHEAD || ahead < -JUMP_BACK
    }
}

/// Video and audio; other tracks share their places.
const TRACKS: usize = 2;
/// Between the last frame of one stretch and the first of the next: about one frame.
const STEP: Timestamp = Timestamp::from_millis(20);
/// A step further ahead is a source clock that was set: no viewer lags this long without being closed.
const JUMP_AHEAD: Timestamp = Timestamp::from_millis(60_000);
/// A step further back is a clock that was set; less is loose interleaving of sound and picture.
const JUMP_BACK: Timestamp = Timestamp::from_millis(3_000);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V: TrackId = TrackId::VIDEO;
    const A: TrackId = TrackId::AUDIO;

    enum Step {
        Rebase(i64),
        Frame(TrackId, i64, u32),
    }
    use Step::{Frame, Rebase};

    fn check(name: &str, steps: &[Step]) {
        let mut line = Timeline::default();
        for step in steps {
            match *step {
                Rebase(ms) => line.rebase(Timestamp::from_millis(ms)),
                Frame(track, ms, expected) => {
                    let placed = line.place(track, Timestamp::from_millis(ms));
                    assert_eq!(placed, expected, "{name}: {ms} ms");
                }
            }
        }
    }

    #[test]
    fn places_frames_on_the_viewers_line() {
        let hour = 3_600_000;
        check(
            "starts at zero wherever it joins",
            &[Frame(V, hour, 0), Frame(V, hour + 40, 40)],
        );
        check(
            "sound a little before the first picture is held at zero",
            &[
                Frame(V, 5000, 0),
                Frame(A, 4990, 0),
                Frame(A, 5013, 13),
                Frame(V, 5040, 40),
            ],
        );
        check(
            "the earliest cached frame is zero",
            &[
                Rebase(4990),
                Frame(V, 5000, 10),
                Frame(A, 4990, 0),
                Frame(A, 5013, 23),
            ],
        );
        check(
            "frames lost keep their distance",
            &[Frame(V, 0, 0), Frame(V, 8000, 8000)],
        );
        check(
            "a new epoch goes on right after",
            &[
                Frame(V, 90_000, 0),
                Frame(V, 90_040, 40),
                Rebase(0),
                Frame(V, 0, 60),
                Frame(A, 0, 60),
            ],
        );
        check(
            "a clock set back goes on right after",
            &[Frame(V, 90_000, 0), Frame(V, 10, 20), Frame(V, 50, 60)],
        );
        check(
            "a clock set ahead goes on right after",
            &[
                Frame(V, 0, 0),
                Frame(V, 9_000_000, 20),
                Frame(V, 9_000_040, 60),
            ],
        );
        check(
            "loose interleaving keeps each track's own time",
            &[
                Frame(V, 0, 0),
                Frame(V, 400, 400),
                Frame(A, 20, 20),
                Frame(A, 43, 43),
            ],
        );
        check(
            "a track never steps back",
            &[
                Frame(V, 0, 0),
                Frame(V, 400, 400),
                Frame(V, 360, 400),
                Frame(V, 440, 440),
            ],
        );
        check(
            "negative source times",
            &[Frame(V, -80, 0), Frame(V, -40, 40), Frame(V, 0, 80)],
        );
    }

    proptest! {
        #[test]
        fn no_track_steps_back(steps in proptest::collection::vec(
            (any::<bool>(), 0u8..2, -200_000i64..200_000), 1..200))
        {
            let mut line = Timeline::default();
            let mut last = [0u32; 2];
            for (rebase, track, ms) in steps {
                if rebase {
                    line.rebase(Timestamp::from_millis(ms));
                }
                let placed = line.place(TrackId(track), Timestamp::from_millis(ms));
                prop_assert!(placed >= last[usize::from(track)]);
                last[usize::from(track)] = placed;
            }
        }

        #[test]
        fn any_time_is_placed(track: u8, us: i64) {
            Timeline::default().place(TrackId(track), Timestamp::from_micros(us));
        }
    }
}
