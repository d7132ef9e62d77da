//! Sans-IO: Hot: what the origin decides, once, and the wire carries.
//!
//! A [`Publication`] is one stream while it lives, over however many publishers come and go within
//! the grace window. It decides the epoch, each group's number, wall-clock time, media sequence
//! number, configuration and discontinuity, and each frame's place on a time line that starts
//! near zero and never steps back, so that every edge agrees for ever.
//!
//! - A video key frame opens a group; without video an audio frame does, every [`AUDIO_GROUP`].
//! - Numbers start from the clock and never go back, also over a restart of the origin.
//! - HLS segments and parts are counted as [`media::segment`] cuts them; the terms are fixed with
//!   the epoch's first group.
//! - Frames that nobody could decode are dropped and counted here, never downstream; so is sound
//!   before the first key frame of a stream with video, as no group is open for it.
//!
//! Tokens and who may publish are not decided here but in `live`.

mod timeline;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use media::codec::{Catalog, Codec, TrackConfig};
use media::flv;
use media::frame::{Frame, Kind, TrackId};
use media::segment::{Cut, Cutter, Terms};
use media::timestamp::Timestamp;
use relay::group;

use timeline::{Length, Timeline};

/// One stream's state machine: inputs of its publishers to groups and frames.
///
/// Drain [`poll_output`](Self::poll_output) after each input.
#[derive(Debug)]
pub struct Publication {
    /// As configured; then as the epoch's first group fixed them.
    terms: Terms,
    /// The largest given out so far.
    numbers: Numbers,
    timeline: Timeline,
    source: Source,
    /// What the newest group was opened with.
    catalog: Arc<Catalog>,
    config_id: u32,
    /// The next group does not continue the one before it.
    discontinuity: bool,
    /// A point of the time line and its wall-clock time in Unix µs.
    anchor: Option<(Timestamp, u64)>,
    open: Option<Open>,
    outputs: VecDeque<Output>,
}

/// What a publication is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A publisher begins: the first one, one that came back, or one that took over.
    Begin,
    /// The publisher sent this.
    Event(flv::Event),
    /// The publisher is gone.
    End,
}

/// What a publication decided.
#[derive(Clone, Debug)]
pub enum Output {
    /// The group before, if any, is complete; a new one begins.
    Open(group::Header),
    /// The next frame of the open group.
    Frame(Frame),
    /// The open group is complete and no other begins yet.
    Close,
    /// A frame was left out.
    Dropped(Dropped),
}

/// Why a frame was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// Its track has no configuration.
    NoConfig,
    /// It depends on a key frame that was not seen, or on a configuration that is not in force yet.
    NoKeyFrame,
    /// Its group is at its bound and the next key frame has not come.
    GroupFull,
}

impl Dropped {
    /// The reason as the counter's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoConfig => "no_config",
            Self::NoKeyFrame => "no_key_frame",
            Self::GroupFull => "group_full",
        }
    }
}

/// The largest numbers a stream has used: its next life begins above them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of the stream's life, Unix ms at its start.
    pub epoch: u64,
    /// Of the group.
    pub group: u64,
    /// Media sequence number of the segment.
    pub msn: u64,
    /// Of the part.
    pub part: u64,
    /// Discontinuities.
    pub discontinuities: u64,
}

impl Numbers {
    /// The last before those of a life that begins at `now_ms` (Unix) above `floor`.
    ///
    /// Players keep media sequence numbers in 31 bits: half seconds since 2020 fit until 2054, and
    /// no stream makes more than two segments a second for long. They keep something for each
    /// discontinuity in a table by its number, which hls.js walks from 0 with each playlist: hours
    /// since 2020 are small enough for it. Other numbers are our own, and start from the Unix time.
    fn begin(floor: Self, now_ms: u64) -> Self {
        let since_2020_ms = now_ms.saturating_sub(YEAR_2020_MS);
        Self {
            epoch: now_ms.max(floor.epoch + 1),
            group: now_ms.max(floor.group),
            msn: (since_2020_ms / HALF_SECOND_MS).max(floor.msn),
            part: now_ms.max(floor.part),
            // A new life of the stream is a discontinuity itself.
            discontinuities: (since_2020_ms / HOUR_MS).max(floor.discontinuities + 1),
        }
    }

    /// Counts what begins with a frame.
    fn count(&mut self, cut: Option<Cut>) {
        self.part += u64::from(cut.is_some());
        self.msn += u64::from(cut == Some(Cut::Segment));
    }

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            epoch: self.epoch.max(other.epoch),
            group: self.group.max(other.group),
            msn: self.msn.max(other.msn),
            part: self.part.max(other.part),
            discontinuities: self.discontinuities.max(other.discontinuities),
        }
    }
}

/// What the present publisher has said so far.
#[derive(Debug, Default)]
struct Source {
    /// The tracks it announced: (video, audio); both until it says so.
    announced: Option<(bool, bool)>,
    catalog: Catalog,
    /// Of its sound, samples a second.
    rate: Option<u32>,
    /// Pictures a second, since it started.
    frame_rate: Option<f64>,
    started: bool,
    /// Frames and their arrival, while configurations are awaited.
    held: Vec<(u64, Frame)>,
    held_bytes: usize,
}

/// The open group so far.
#[derive(Debug)]
struct Open {
    cutter: Cutter,
    first_dts: Timestamp,
    frames: usize,
    bytes: usize,
}

impl Publication {
    /// A stream that begins at `now_us` (Unix µs) with numbers above `floor`; `terms` are the
    /// configured ones, which its frame rate may change.
    pub fn new(terms: Terms, floor: Numbers, now_us: u64) -> Self {
        Self {
            terms,
            numbers: Numbers::begin(floor, now_us / 1000),
            timeline: Timeline::default(),
            source: Source::default(),
            catalog: Arc::default(),
            config_id: 0,
            discontinuity: false,
            anchor: None,
            open: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes what happened at `now_us` (Unix µs).
    pub fn handle_input(&mut self, now_us: u64, input: Input) {
        match input {
            Input::Begin => self.begin(),
            Input::End => self.close(),
            Input::Event(flv::Event::Config(config)) => self.configure(config),
            Input::Event(flv::Event::Metadata(metadata)) => self.source.announce(&metadata),
            Input::Event(flv::Event::Frame(codec, frame)) => self.take(now_us, codec, frame),
            Input::Event(_) => {}
        }
        self.start_when_ready();
    }

    /// The next decision, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The stream's epoch.
    pub fn epoch(&self) -> u64 {
        self.numbers.epoch
    }

    /// The floor for the stream's next life.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// The tracks of the newest group; empty before the first.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    fn begin(&mut self) {
        self.close();
        self.source = Source::default();
        self.timeline.forget_source();
        self.discontinuity = self.config_id > 0;
    }

    /// Held frames of a configuration that was never in force go with it.
    fn configure(&mut self, config: TrackConfig) {
        let track = config.id;
        if track > TrackId::AUDIO || !self.source.catalog.set(config) {
            return;
        }
        let sound = self.source.catalog.audio().map(TrackConfig::info);
        self.source.rate = sound.and_then(Result::ok).map(|info| info.sample_rate);
        // Sorted, so that the order of arrival makes no difference.
        self.source.catalog.tracks.sort_by_key(|track| track.id);
        let before = self.source.held.len();
        self.source.held.retain(|(_, frame)| frame.track != track);
        for _ in self.source.held.len()..before {
            self.drop_frame(Dropped::NoConfig);
        }
    }

    fn take(&mut self, now_us: u64, codec: Codec, frame: Frame) {
        let configured = self
            .source
            .catalog
            .track(frame.track)
            .map(|config| config.codec);
        if configured != Some(codec) {
            if codec.needs_record() {
                return self.drop_frame(Dropped::NoConfig);
            }
            self.configure(TrackConfig::new(codec, Bytes::new()));
        }
        if self.source.started {
            self.append(now_us, frame);
        } else {
            self.source.hold(now_us, frame);
        }
    }

    fn start_when_ready(&mut self) {
        // Parts are cut by the first source's frame rate for the whole epoch.
        let paced = self.config_id > 0 || self.source.is_paced();
        let ready = self.source.is_configured() && paced || self.source.is_late();
        if self.source.started || !ready {
            return;
        }
        self.source.started = true;
        self.source.frame_rate = self.source.paced();
        self.source.held_bytes = 0;
        for (arrived_us, frame) in std::mem::take(&mut self.source.held) {
            self.append(arrived_us, frame);
        }
    }

    fn append(&mut self, now_us: u64, mut frame: Frame) {
        let leads = frame.track == self.source.leading();
        let may_open = leads && frame.kind == Kind::Key;
        let config = self.source.catalog.track(frame.track);
        let in_force = config.is_some() && self.catalog.track(frame.track) == config;
        let continues = in_force && self.open.is_some();
        if !may_open && !continues {
            return self.drop_frame(Dropped::NoKeyFrame);
        }
        let length = self.source.length(&frame);
        let placed = self.timeline.place(frame.track, frame.dts, length, now_us);
        frame.dts = placed.dts;
        self.discontinuity |= placed.jumped;
        if may_open && self.opens_group(&frame) {
            self.open_group(now_us, &frame);
        }
        match &mut self.open {
            Some(open) if !open.is_full(frame.dts) => {
                self.numbers.count(open.count(&frame));
                self.outputs.push_back(Output::Frame(frame));
            }
            _ => {
                self.close();
                self.drop_frame(Dropped::GroupFull);
            }
        }
    }

    /// Whether this frame, which can open a group, does.
    fn opens_group(&self, frame: &Frame) -> bool {
        let Some(open) = &self.open else { return true };
        frame.track == TrackId::VIDEO
            || self.discontinuity
            || self.source.catalog.tracks != self.catalog.tracks
            || frame.dts - open.first_dts >= AUDIO_GROUP
            || open.is_full(frame.dts)
    }

    fn open_group(&mut self, now_us: u64, first: &Frame) {
        if self.config_id == 0 {
            self.terms = self.source.terms(self.terms);
        }
        if self.source.catalog.tracks != self.catalog.tracks {
            self.discontinuity |= self.config_id > 0;
            self.config_id += 1;
            self.catalog = Arc::new(self.source.catalog.clone());
        }
        self.numbers.group += 1;
        self.numbers.count(Some(Cut::Segment));
        self.numbers.discontinuities += u64::from(self.discontinuity);
        let wallclock_us = self.wallclock(now_us, first.dts);
        let header = group::Header {
            epoch: self.numbers.epoch,
            number: self.numbers.group,
            wallclock_us,
            first_msn: self.numbers.msn,
            first_part: self.numbers.part,
            discontinuities: self.numbers.discontinuities,
            segment_max: self.terms.segment_max,
            part_target: self.terms.part_target,
            config_id: self.config_id,
            discontinuity: std::mem::take(&mut self.discontinuity),
            catalog: self.catalog.clone(),
        };
        self.outputs.push_back(Output::Open(header));
        self.open = Some(Open {
            cutter: Cutter::new(self.terms, first.track),
            first_dts: first.dts,
            frames: 0,
            bytes: 0,
        });
    }

    /// The wall clock at `dts`: one anchor and the stream's own progress, anchored anew where the
    /// stream breaks off, and never earlier than the group before.
    fn wallclock(&mut self, now_us: u64, dts: Timestamp) -> u64 {
        let predicted = self.anchor.map(|(at, wall_us)| {
            let moved = wall_us.saturating_add_signed((dts - at).as_micros());
            moved.max(wall_us)
        });
        let wall_us = match predicted {
            Some(predicted) if !self.discontinuity => predicted,
            earlier => now_us.max(earlier.unwrap_or(0)),
        };
        self.anchor = Some((dts, wall_us));
        wall_us
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.outputs.push_back(Output::Close);
        }
    }

    fn drop_frame(&mut self, why: Dropped) {
        self.outputs.push_back(Output::Dropped(why));
    }
}

impl Source {
    /// Encoders that say nothing about their tracks leave both expected.
    fn announce(&mut self, metadata: &flv::Metadata) {
        self.catalog.frame_rate = metadata.frame_rate;
        if metadata.has_video.is_some() || metadata.has_audio.is_some() {
            let video = metadata.has_video == Some(true);
            self.announced = Some((video, metadata.has_audio == Some(true)));
        }
    }

    fn hold(&mut self, now_us: u64, frame: Frame) {
        self.held_bytes += frame.payload.len();
        self.held.push((now_us, frame));
    }

    /// Whether every announced track is configured.
    fn is_configured(&self) -> bool {
        let (video, audio) = self.announced.unwrap_or((true, true));
        (!video || self.catalog.video().is_some())
            && (!audio || self.catalog.audio().is_some())
            && !self.catalog.tracks.is_empty()
    }

    /// Whether it is known how often pictures come.
    fn is_paced(&self) -> bool {
        self.catalog.video().is_none() || self.paced().is_some()
    }

    /// As declared, else by the first two pictures: parts are cut by it for the whole epoch.
    fn paced(&self) -> Option<f64> {
        let pictures = self
            .held
            .iter()
            .filter(|(_, frame)| frame.track == TrackId::VIDEO);
        let mut times = pictures.map(|(_, frame)| frame.dts);
        let step = || {
            let first = times.next()?;
            times
                .map(|dts| dts - first)
                .find(|step| *step > Timestamp::ZERO)
        };
        let declared = self
            .catalog
            .frame_rate
            .filter(|rate| rate.is_normal() && *rate > 0.0);
        declared.or_else(|| step().map(rate_of))
    }

    /// Whether waiting any longer is worse than going without what is not known.
    fn is_late(&self) -> bool {
        let (Some((_, first)), Some((_, last))) = (self.held.first(), self.held.last()) else {
            return false;
        };
        let span = (last.dts - first.dts).as_micros().unsigned_abs();
        span >= CONFIG_WAIT.as_micros().unsigned_abs()
            || self.held.len() >= HELD_FRAMES
            || self.held_bytes >= HELD_BYTES
    }

    /// How long a packet of sound lasts.
    fn length(&self, frame: &Frame) -> Option<Length> {
        let audio = self
            .catalog
            .audio()
            .filter(|audio| audio.id == frame.track)?;
        let rate = self.rate.filter(|rate| *rate > 0)?;
        let samples = audio.samples(&frame.payload)?;
        Some(Length { samples, rate })
    }

    /// The terms of an epoch that begins with this source.
    fn terms(&self, configured: Terms) -> Terms {
        let rate = self.catalog.video().and(self.frame_rate);
        Terms::for_rate(configured.segment_max, configured.part_target, rate)
    }

    /// The track whose frames open groups and cut segments.
    fn leading(&self) -> TrackId {
        if self.catalog.video().is_some() {
            TrackId::VIDEO
        } else {
            TrackId::AUDIO
        }
    }
}

/// The rate of pictures so far apart; RTMP's milliseconds hide that most rates are whole numbers.
fn rate_of(step: Timestamp) -> f64 {
    let exact = 1e6 / step.as_micros() as f64;
    let whole = exact.round().max(1.0);
    let apart_us = (1e6 / whole - step.as_micros() as f64).abs();
    if apart_us < 1000.0 { whole } else { exact }
}

impl Open {
    /// Counts a frame; answers what begins with it, beyond the group's first segment.
    fn count(&mut self, frame: &Frame) -> Option<Cut> {
        self.frames += 1;
        self.bytes += frame.payload.len();
        self.cutter.push(frame.track, frame.dts)
    }

    fn is_full(&self, dts: Timestamp) -> bool {
        self.frames >= GROUP_FRAMES
            || self.bytes >= GROUP_BYTES
            || dts - self.first_dts >= GROUP_LENGTH
    }
}

/// 2020-01-01 in Unix milliseconds.
const YEAR_2020_MS: u64 = 1_577_836_800_000;
/// What segments count from.
const HALF_SECOND_MS: u64 = 500;
/// What discontinuities count from.
const HOUR_MS: u64 = 3_600_000;

/// A group without video: a listener who joins gets at most this much at once, and segments made of
/// it are not absurdly short.
pub const AUDIO_GROUP: Timestamp = Timestamp::from_millis(2_000);

/// How long, in the stream's own time, an announced track's configuration is awaited: encoders send
/// them all before the first frames, so a second means that it will not come.
const CONFIG_WAIT: Timestamp = Timestamp::from_millis(1_000);

/// Frames held while waiting, should time stand still: a second of 240 pictures and as many
/// packets.
const HELD_FRAMES: usize = 512;

/// Bytes held while waiting: a second at 128 Mbit/s.
const HELD_BYTES: usize = 16 << 20;

/// The longest group: x264's default of 250 frames between key frames at one frame a second.
/// What follows is dropped until the next key frame.
const GROUP_LENGTH: Timestamp = Timestamp::from_millis(300_000);

/// Frames in a group: [`GROUP_LENGTH`] of 60 pictures and 47 AAC packets a second.
const GROUP_FRAMES: usize = 32_768;

/// Bytes in a group: a quarter of the default cache, or half a minute at 16 Mbit/s.
const GROUP_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests;
