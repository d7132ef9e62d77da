//! Sans-IO: one viewer's stream, as closely looked at as `--validate` says.

use super::{
    hls::fmp4::Sample,
    stall::{Player, Stalls},
    tally::Tally,
    walk::{HEAD, Seen, Sight, Walk},
};
use crate::load::{
    delays::record,
    source::{Follower, Source, Verdict},
    stamp::{self, Stamp},
};
use clap::ValueEnum;
use media::{
    codec::{Catalog, Codec},
    flv::{Demuxer, Event},
    frame::Frame,
    mp4::Movie,
    timestamp::Timestamp,
};
use std::{mem, sync::Arc, time::Duration};

/// How closely viewers look at what they get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Validate {
    /// Every byte: tags, time lines, NAL units, stamps with their checks, and the source if named.
    #[default]
    Full,
    /// The first bytes of each frame: key frames, time lines, stamps. For many viewers on few cores.
    Tags,
    /// Nothing: bytes are counted and thrown away. No latency, no stalls.
    None,
}

/// What all viewers do with what they get.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How closely to look.
    pub validate: Validate,
    /// What is published, round and round.
    pub source: Option<Arc<Source>>,
    /// What a player gathers before it starts.
    pub buffer: Duration,
}

/// When bytes came.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since the viewer started.
    pub since_start: Duration,
    /// The wall clock, microseconds since the Unix epoch.
    pub unix_us: u64,
}

/// One viewer's stream.
#[derive(Debug)]
pub struct Watch {
    look: Look,
    player: Player,
    has_byte: bool,
    has_key: bool,
    has_video: bool,
    /// The last timestamps: of pictures, of sound.
    lasts: [Option<Timestamp>; 2],
    stamp: Option<Stamp>,
    /// When its connection broke, until it plays again.
    broke: Option<Duration>,
}

#[derive(Debug)]
enum Look {
    Full(Box<Full>),
    Tags(Walk),
    None,
}

#[derive(Debug)]
struct Full {
    demuxer: Demuxer,
    follower: Option<Follower>,
    /// What came, when it is kept.
    kept: Option<Movie>,
}

impl Look {
    fn new(plan: &Plan) -> Self {
        match plan.validate {
            Validate::Full => Self::Full(Box::new(Full {
                demuxer: Demuxer::new(),
                follower: plan.source.clone().map(Follower::new),
                kept: None,
            })),
            Validate::Tags => Self::Tags(Walk::default()),
            Validate::None => Self::None,
        }
    }
}

impl Watch {
    /// A viewer before the first byte.
    pub fn new(plan: &Plan) -> Self {
        Self {
            look: Look::new(plan),
            player: Player::new(plan.buffer),
            has_byte: false,
            has_key: false,
            has_video: false,
            lasts: [None; 2],
            stamp: None,
            broke: None,
        }
    }

    /// The connection broke: what comes next is the beginning of another one.
    pub fn breaks(&mut self, plan: &Plan, since_start: Duration) {
        let kept = match &mut self.look {
            Look::Full(full) => full.kept.take(),
            Look::Tags(_) | Look::None => None,
        };
        self.look = Look::new(plan);
        if let Look::Full(full) = &mut self.look {
            full.kept = kept;
        }
        (self.lasts, self.stamp) = ([None; 2], None);
        if self.has_key {
            self.broke.get_or_insert(since_start);
        }
    }

    /// Keeps every frame, if the viewer looks at them at all.
    pub fn keeping(mut self) -> Self {
        if let Look::Full(full) = &mut self.look {
            full.kept = Some(Movie {
                catalog: Catalog::default(),
                frames: Vec::new(),
            });
        }
        self
    }

    /// Takes the stream's next bytes.
    pub fn take(&mut self, at: Moment, bytes: &[u8], tally: &mut Tally) -> Result<(), Fault> {
        tally.bytes += bytes.len() as u64;
        self.begin(at, tally);
        let mut look = mem::replace(&mut self.look, Look::None);
        let looked = match &mut look {
            Look::Full(full) => self.look_at_all(full, at, bytes, tally),
            Look::Tags(walk) => self.look_at_tags(walk, at, bytes, tally),
            Look::None => {
                self.join(at, tally);
                Ok(())
            }
        };
        self.look = look;
        looked
    }

    /// Takes a part or segment of HLS: `bytes` in all, with these frames.
    pub fn take_part(
        &mut self,
        at: Moment,
        bytes: usize,
        samples: &[Sample],
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        tally.bytes += bytes as u64;
        self.has_video |= samples.iter().any(|sample| sample.codec.is_video());
        let mut look = mem::replace(&mut self.look, Look::None);
        if matches!(look, Look::None) {
            self.join(at, tally);
        }
        let mut looked = Ok(());
        for sample in samples {
            looked = self.look_at_sample(&mut look, at, sample, tally);
            if looked.is_err() {
                break;
            }
        }
        self.look = look;
        looked
    }

    /// The first byte of the stream came.
    pub fn begin(&mut self, at: Moment, tally: &mut Tally) {
        if !mem::replace(&mut self.has_byte, true) {
            record(&mut tally.first_byte, at.since_start);
        }
    }

    /// Whether the viewer got what it came for.
    pub fn has_joined(&self) -> bool {
        self.has_key
    }

    /// Where its player stood still so far.
    pub fn stalls(&mut self, since_start: Duration) -> Stalls {
        self.player.stalls(since_start)
    }

    /// The viewer leaves, after so long; gives what was kept.
    pub fn finish(mut self, since_start: Duration, tally: &mut Tally) -> Option<Movie> {
        let stalls = self.player.stalls(since_start);
        tally.stalls += stalls.count;
        tally.stalled += stalls.time;
        tally.longest_stall = tally.longest_stall.max(stalls.longest);
        tally.stalled_viewers += u64::from(stalls.count > 0);
        match self.look {
            Look::Full(full) => full.kept,
            Look::Tags(_) | Look::None => None,
        }
    }

    fn look_at_tags(
        &mut self,
        walk: &mut Walk,
        at: Moment,
        bytes: &[u8],
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        let mut fault = Ok(());
        walk.push(bytes, |seen| match seen {
            Seen::Config(codec) => self.has_video |= codec.is_video(),
            Seen::Frame(sight) if fault.is_ok() => {
                fault = self
                    .see(sight, at, tally)
                    .map(|verdict| count(verdict, tally));
            }
            Seen::Frame(_) => {}
        })?;
        fault
    }

    fn look_at_all(
        &mut self,
        full: &mut Full,
        at: Moment,
        bytes: &[u8],
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        full.demuxer.push(bytes);
        while let Some(event) = full.demuxer.next()? {
            match event {
                Event::Config(config) => {
                    self.has_video |= config.codec.is_video();
                    if let Some(kept) = &mut full.kept {
                        kept.catalog.set(config);
                    }
                }
                Event::Frame(codec, frame) => {
                    let seen = self.see(Sight::new(codec, &frame), at, tally)?;
                    let checked = full.check(codec, &frame);
                    count(worse(seen, checked), tally);
                    if let Some(kept) = &mut full.kept {
                        kept.frames.push(frame);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn look_at_sample(
        &mut self,
        look: &mut Look,
        at: Moment,
        sample: &Sample,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        let codec = sample.codec;
        let mut frame = sample.frame();
        match look {
            Look::None => {}
            Look::Tags(_) => {
                frame.payload.truncate(HEAD);
                let seen = self.see(Sight::new(codec, &frame), at, tally)?;
                count(seen, tally);
            }
            Look::Full(full) => {
                let seen = self.see(Sight::new(codec, &frame), at, tally)?;
                count(worse(seen, full.check(codec, &frame)), tally);
                if let Some(kept) = &mut full.kept {
                    kept.frames.push(frame);
                }
            }
        }
        Ok(())
    }

    /// What is looked at in every frame.
    fn see(&mut self, sight: Sight, at: Moment, tally: &mut Tally) -> Result<Verdict, Fault> {
        let is_video = sight.codec.is_video();
        self.has_video |= is_video;
        if is_video && !self.has_key && !sight.is_key {
            return Err(Fault::NoKey);
        }
        if is_video || !self.has_video {
            self.join(at, tally);
            self.player.frame(at.since_start, sight.dts);
        }
        let last = self.lasts[usize::from(!is_video)].replace(sight.dts);
        tally.frames.backwards += u64::from(last.is_some_and(|last| sight.dts < last));
        let Some(stamp) = sight.stamp else {
            return Ok(Verdict::Right);
        };
        let latency = Duration::from_micros(at.unix_us.saturating_sub(stamp.unix_us));
        // What was sent before the viewer came is the edge's cache and says nothing of the road.
        if latency <= at.since_start {
            record(&mut tally.latency, latency);
        }
        Ok(follows(self.stamp.replace(stamp), stamp))
    }

    fn join(&mut self, at: Moment, tally: &mut Tally) {
        if !mem::replace(&mut self.has_key, true) {
            record(&mut tally.first_key, at.since_start);
        }
        if let Some(broke) = self.broke.take() {
            record(&mut tally.again, at.since_start.saturating_sub(broke));
        }
    }
}

impl Full {
    /// What only the whole payload tells.
    fn check(&mut self, codec: Codec, frame: &Frame) -> Verdict {
        if !stamp::is_whole(codec, &frame.payload) {
            return Verdict::Wrong;
        }
        let stamp = stamp::find(codec, &frame.payload);
        if stamp.is_none() && self.follower.is_none() {
            return Verdict::Right;
        }
        let parts = stamp::parts(codec, &frame.payload);
        if stamp.is_some_and(|stamp| stamp.check != parts.check()) {
            return Verdict::Wrong;
        }
        let follower = self.follower.as_mut();
        follower.map_or(Verdict::Right, |f| f.follow(frame.track, parts.hash()))
    }
}

/// What a stamp says about the one before.
fn follows(last: Option<Stamp>, stamp: Stamp) -> Verdict {
    let Some(last) = last else {
        return Verdict::Right;
    };
    match stamp.number.wrapping_sub(last.number) {
        1 => Verdict::Right,
        missing @ 2..=MOST_MISSING => Verdict::Dropped(u64::from(missing - 1)),
        // Another publisher took over and counts from the start.
        _ if stamp.unix_us > last.unix_us => Verdict::Right,
        _ => Verdict::Wrong,
    }
}

fn worse(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Wrong, _) | (_, Verdict::Wrong) => Verdict::Wrong,
        (Verdict::Dropped(a), Verdict::Dropped(b)) => Verdict::Dropped(a.max(b)),
        (Verdict::Dropped(missing), _) | (_, Verdict::Dropped(missing)) => {
            Verdict::Dropped(missing)
        }
        (Verdict::Right, Verdict::Right) => Verdict::Right,
    }
}

fn count(verdict: Verdict, tally: &mut Tally) {
    match verdict {
        Verdict::Wrong => tally.frames.wrong += 1,
        Verdict::Right => tally.frames.right += 1,
        Verdict::Dropped(missing) => {
            tally.frames.right += 1;
            tally.frames.dropped += missing;
        }
    }
}

/// Why a viewer gave up on what it got.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Decoding cannot start.
    #[error("the first picture is no key frame")]
    NoKey,
    /// The bytes are no FLV that we read.
    #[error(transparent)]
    Flv(#[from] media::flv::Error),
}

/// An hour at 60 pictures a second: beyond, numbers are another publisher's.
const MOST_MISSING: u32 = 60 * 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::Frames;
    use bytes::Bytes;
    use media::{
        codec::TrackConfig,
        flv::{Hevc, Muxer},
        frame::Kind,
    };

    const START_US: u64 = 1_000_000_000;

    /// What is sent: (codec, kind, dts in ms, number of the stamp if any).
    type Sent = (Codec, Kind, i64, Option<u32>);

    const KEY: Sent = (Codec::H264, Kind::Key, 0, Some(7));
    const SOUND: Sent = (Codec::Aac, Kind::Key, 0, None);

    fn picture(dts: i64, number: u32) -> Sent {
        (Codec::H264, Kind::Reference, dts, Some(number))
    }

    fn payload(codec: Codec, number: Option<u32>) -> Bytes {
        let unit: &[u8] = &[0, 0, 0, 5, 0x41, 1, 2, 3, 4];
        let plain = Bytes::from_static(unit);
        match number {
            Some(number) => {
                stamp::insert(codec, &plain, START_US + u64::from(number) * 1000, number)
            }
            None => plain,
        }
    }

    /// An FLV stream of these frames, each `damage`d after it was made.
    fn stream(sent: &[Sent], damage: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut catalog = Catalog::default();
        for codec in [Codec::H264, Codec::Aac] {
            if sent.iter().any(|frame| frame.0 == codec) {
                catalog.set(TrackConfig::new(codec, Bytes::from_static(&[1])));
            }
        }
        let muxer = Muxer::new(Hevc::Enhanced);
        let mut out = muxer.start(&catalog).to_vec();
        for (codec, kind, ms, number) in sent {
            let mut payload = payload(*codec, *number).to_vec();
            damage(&mut payload);
            let frame = Frame {
                track: codec.track(),
                kind: *kind,
                dts: Timestamp::from_millis(*ms),
                cts: Timestamp::ZERO,
                duration: None,
                payload: payload.into(),
            };
            out.extend(muxer.frame(*codec, &frame, *ms as u32).concat());
        }
        out
    }

    /// What a viewer counts that gets all of a stream, 100 ms after it started.
    fn watch(validate: Validate, bytes: &[u8]) -> (Tally, Result<(), Fault>) {
        let plan = Plan {
            validate,
            source: None,
            buffer: Duration::from_secs(1),
        };
        let at = Moment {
            since_start: Duration::from_millis(100),
            unix_us: START_US + 100_000,
        };
        let (mut watch, mut tally) = (Watch::new(&plan), Tally::default());
        let taken = watch.take(at, bytes, &mut tally);
        (tally, taken)
    }

    #[test]
    fn frames_are_right_wrong_dropped_or_backwards() {
        // Right, wrong, dropped, backwards.
        let table: [(&str, &[Sent], [u64; 4]); 7] = [
            ("whole", &[KEY, SOUND, picture(40, 8)], [3, 0, 0, 0]),
            ("a hole", &[KEY, picture(40, 11)], [2, 0, 3, 0]),
            ("twice", &[KEY, picture(40, 7)], [1, 1, 0, 0]),
            ("out of order", &[KEY, picture(40, 6)], [1, 1, 0, 0]),
            (
                "time steps back",
                &[KEY, picture(40, 8), picture(30, 9)],
                [3, 0, 0, 1],
            ),
            (
                "another publisher",
                &[KEY, picture(40, 500_000)],
                [2, 0, 0, 0],
            ),
            (
                "tracks have their own time",
                &[picture_key(80), SOUND],
                [2, 0, 0, 0],
            ),
        ];
        for (what, sent, expect) in table {
            for validate in [Validate::Full, Validate::Tags] {
                let (tally, taken) = watch(validate, &stream(sent, |_| {}));
                let Frames {
                    right,
                    wrong,
                    dropped,
                    backwards,
                } = tally.frames;
                assert_eq!(taken, Ok(()), "{what}");
                assert_eq!(
                    [right, wrong, dropped, backwards],
                    expect,
                    "{what}, {validate:?}"
                );
            }
        }
    }

    fn picture_key(dts: i64) -> Sent {
        (Codec::H264, Kind::Key, dts, Some(7))
    }

    #[test]
    fn a_damaged_frame_is_wrong_to_who_looks_at_all_of_it() {
        let bytes = stream(&[KEY, picture(40, 8)], |payload| {
            *payload.last_mut().unwrap() ^= 1
        });
        assert_eq!(watch(Validate::Full, &bytes).0.frames.wrong, 2);
        assert_eq!(watch(Validate::Tags, &bytes).0.frames.wrong, 0);
        let short = stream(&[KEY], |payload| payload.truncate(payload.len() - 1));
        assert_eq!(watch(Validate::Full, &short).0.frames.wrong, 1);
    }

    #[test]
    fn a_viewer_joins_with_the_first_key_frame_or_sound_where_there_are_no_pictures() {
        for validate in [Validate::Full, Validate::Tags] {
            let joins = |sent: &[Sent]| {
                let (tally, taken) = watch(validate, &stream(sent, |_| {}));
                taken.map(|()| tally.first_key.len())
            };
            assert_eq!(joins(&[KEY]), Ok(1));
            assert_eq!(joins(&[SOUND]), Ok(1));
            assert_eq!(joins(&[]), Ok(0));
            assert_eq!(joins(&[SOUND, picture(0, 1)]), Err(Fault::NoKey));
            let (tally, taken) = watch(validate, b"HTTP/1.1 500 Oh no");
            assert_eq!(taken, Err(Fault::Flv(media::flv::Error::NotFlv)));
            assert_eq!((tally.first_byte.len(), tally.first_key.len()), (1, 0));
        }
        let (tally, _) = watch(Validate::None, b"anything");
        assert_eq!((tally.bytes, tally.first_key.len()), (8, 1));
    }

    #[test]
    fn latency_counts_from_the_stamp_and_not_for_what_was_sent_before_the_start() {
        let (tally, _) = watch(Validate::Tags, &stream(&[KEY, picture(40, 8)], |_| {}));
        assert_eq!(tally.latency.len(), 2);
        assert_eq!(
            tally.latency.max() / 1000,
            93,
            "100 ms less the 7 of its stamp"
        );
        let plan = Plan {
            validate: Validate::Tags,
            source: None,
            buffer: Duration::ZERO,
        };
        let at = Moment {
            since_start: Duration::from_millis(50),
            unix_us: START_US + 100_000,
        };
        let (mut watch, mut tally) = (Watch::new(&plan), Tally::default());
        watch
            .take(at, &stream(&[KEY, picture(40, 8)], |_| {}), &mut tally)
            .unwrap();
        assert_eq!(tally.latency.len(), 0);
    }
}
