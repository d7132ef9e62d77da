//! What a publisher sends, and the groups and frames that must come of it.

use bytes::Bytes;
use media::codec::Codec;
use proptest::prelude::*;

use super::*;

const NOW_US: u64 = 1_700_000_000_000_000;
const NOW_MS: u64 = NOW_US / 1000;
const NOW_MSN: u64 = (NOW_MS - YEAR_2020_MS) / 500;

/// A publication and the arrival time of what it is fed.
struct Rig {
    publication: Publication,
    now_us: u64,
}

/// What came out, boiled down to what a row of a test compares.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    /// Number and media sequence number since the start, configuration, discontinuity.
    Open(u64, u64, u32, bool),
    V(i64),
    A(i64),
    Close,
    Dropped(Dropped),
}

impl Rig {
    fn new() -> Self {
        let terms = crate::config::Hls::default().terms();
        Self {
            publication: Publication::new(terms, Numbers::default(), NOW_US),
            now_us: NOW_US,
        }
    }

    /// A rig whose publisher has announced and configured these tracks.
    fn with(tracks: &[TrackConfig]) -> Self {
        let mut rig = Self::new();
        rig.begin(tracks);
        rig
    }

    fn begin(&mut self, tracks: &[TrackConfig]) {
        self.publication.handle_input(self.now_us, Input::Begin);
        let has = |id| Some(tracks.iter().any(|track| track.id == id));
        let metadata = flv::Metadata {
            has_video: has(TrackId::VIDEO),
            has_audio: has(TrackId::AUDIO),
            frame_rate: Some(25.0),
            ..flv::Metadata::default()
        };
        self.event(flv::Event::Metadata(metadata));
        for track in tracks {
            self.event(flv::Event::Config(track.clone()));
        }
    }

    fn event(&mut self, event: flv::Event) {
        self.publication
            .handle_input(self.now_us, Input::Event(event));
    }

    /// A frame that arrives when its timestamp says, counted from the rig's start.
    fn frame(&mut self, track: TrackId, kind: Kind, ms: i64) {
        self.now_us = NOW_US + u64::try_from(ms).unwrap() * 1000;
        self.late_frame(track, kind, ms);
    }

    /// A frame that arrives now, whatever its timestamp.
    fn late_frame(&mut self, track: TrackId, kind: Kind, ms: i64) {
        self.event(coded(frame(track, kind, ms)));
    }

    fn key(&mut self, ms: i64) {
        self.frame(TrackId::VIDEO, Kind::Key, ms);
    }

    fn inter(&mut self, ms: i64) {
        self.frame(TrackId::VIDEO, Kind::Reference, ms);
    }

    fn audio(&mut self, ms: i64) {
        self.frame(TrackId::AUDIO, Kind::Key, ms);
    }

    fn headers(&mut self) -> Vec<group::Header> {
        let outputs = std::iter::from_fn(|| self.publication.poll_output());
        let header = |output| {
            if let Output::Open(header) = output {
                Some(header)
            } else {
                None
            }
        };
        outputs.filter_map(header).collect()
    }

    fn seen(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.publication.poll_output())
            .map(seen)
            .collect()
    }
}

fn seen(output: Output) -> Seen {
    match output {
        Output::Open(h) => Seen::Open(
            h.number - NOW_MS,
            h.first_msn - NOW_MSN,
            h.config_id,
            h.discontinuity,
        ),
        Output::Frame(frame) if frame.track == TrackId::VIDEO => Seen::V(frame.dts.as_millis()),
        Output::Frame(frame) => Seen::A(frame.dts.as_millis()),
        Output::Close => Seen::Close,
        Output::Dropped(why) => Seen::Dropped(why),
    }
}

fn frame(track: TrackId, kind: Kind, ms: i64) -> Frame {
    Frame {
        track,
        kind,
        dts: Timestamp::from_millis(ms),
        cts: Timestamp::ZERO,
        duration: None,
        payload: Bytes::from_static(b"payload"),
    }
}

fn coded(frame: Frame) -> flv::Event {
    let codec = if frame.track == TrackId::VIDEO {
        Codec::H264
    } else {
        Codec::Aac
    };
    flv::Event::Frame(codec, frame)
}

fn video(record: &'static str) -> TrackConfig {
    TrackConfig::new(Codec::H264, Bytes::from_static(record.as_bytes()))
}

fn sound(record: &'static str) -> TrackConfig {
    TrackConfig::new(Codec::Aac, Bytes::from_static(record.as_bytes()))
}

#[test]
fn a_video_key_frame_opens_a_group() {
    let mut rig = Rig::with(&[video("v"), sound("a")]);
    rig.key(0);
    rig.audio(10);
    rig.inter(40);
    rig.key(80);
    rig.audio(85);
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::V(0),
        Seen::A(10),
        Seen::V(40),
        Seen::Open(2, 2, 1, false),
        Seen::V(80),
        Seen::A(85),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn headers_carry_epoch_wall_clock_and_catalog() {
    let mut rig = Rig::with(&[sound("a"), video("v")]);
    rig.key(0);
    rig.inter(960);
    rig.key(2000);
    let headers = rig.headers();
    assert_eq!(headers.len(), 2);
    for (header, wallclock_us) in headers.iter().zip([NOW_US, NOW_US + 2_000_000]) {
        assert_eq!(header.epoch, NOW_MS);
        assert_eq!(header.wallclock_us, wallclock_us);
        assert_eq!(header.catalog.tracks, [video("v"), sound("a")]);
    }
}

#[test]
fn frames_before_the_first_key_frame_are_dropped_and_counted() {
    let mut rig = Rig::with(&[video("v"), sound("a")]);
    rig.inter(0);
    rig.audio(10);
    rig.key(40);
    let lost = Seen::Dropped(Dropped::NoKeyFrame);
    assert_eq!(
        rig.seen(),
        [lost.clone(), lost, Seen::Open(1, 1, 1, false), Seen::V(0)]
    );
}

#[test]
fn audio_alone_opens_a_group_every_audio_group() {
    let mut rig = Rig::with(&[sound("a")]);
    for ms in [0, 1000, 1990, 2010, 3000, 4020] {
        rig.audio(ms);
    }
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::A(0),
        Seen::A(1000),
        Seen::A(1990),
        Seen::Open(2, 2, 1, false),
        Seen::A(2010),
        Seen::A(3000),
        Seen::Open(3, 3, 1, false),
        Seen::A(4020),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn a_long_group_is_several_segments() {
    let mut rig = Rig::with(&[video("v"), sound("a")]);
    for ms in (0..=20_000).step_by(40) {
        let opens = matches!(ms, 0 | 6_000 | 20_000);
        let kind = if opens { Kind::Key } else { Kind::Reference };
        rig.frame(TrackId::VIDEO, kind, ms);
        // Sound past the cut stays with the pictures around it and does not cut.
        rig.audio(ms + 30);
    }
    let msn: Vec<u64> = rig
        .headers()
        .iter()
        .map(|h| h.first_msn - NOW_MSN)
        .collect();
    assert_eq!(msn, [1, 2, 5]);
}

#[test]
fn parts_are_numbered_over_groups_and_segments() {
    let mut rig = Rig::with(&[video("v"), sound("a")]);
    for ms in (0..9_000).step_by(40) {
        let opens = ms == 0 || ms == 7_000 || ms == 7_520;
        rig.frame(
            TrackId::VIDEO,
            if opens { Kind::Key } else { Kind::Reference },
            ms,
        );
        rig.audio(ms + 5);
    }
    let headers = rig.headers();
    let parts: Vec<u64> = headers.iter().map(|h| h.first_part - NOW_MS).collect();
    // 15 parts of 400 ms make the first segment, 2.5 the rest of the first group.
    assert_eq!(parts, [1, 19, 21]);
    let msn: Vec<u64> = headers.iter().map(|h| h.first_msn - NOW_MSN).collect();
    assert_eq!(msn, [1, 3, 4]);
}

#[test]
fn the_part_target_is_whole_frames_where_they_would_fill_it_badly() {
    let rows = [
        (None, 400),
        (Some(25.0), 400),
        (Some(24.0), 400),
        (Some(3.0), 334),
        (Some(1.0), 1_000),
    ];
    for (frame_rate, target_ms) in rows {
        let mut rig = Rig::new();
        rig.publication.handle_input(NOW_US, Input::Begin);
        rig.event(flv::Event::Metadata(flv::Metadata {
            has_video: Some(true),
            frame_rate,
            ..flv::Metadata::default()
        }));
        rig.event(flv::Event::Config(video("v")));
        rig.key(0);
        // What another publisher says changes nothing: an epoch's terms are fixed.
        rig.begin(&[video("v")]);
        rig.key(40);
        for header in rig.headers() {
            assert_eq!(
                header.part_target,
                Timestamp::from_millis(target_ms),
                "{frame_rate:?}"
            );
            assert_eq!(header.segment_max, Timestamp::from_millis(6_000));
        }
    }
}

#[test]
fn a_repeated_header_changes_nothing() {
    let mut rig = Rig::with(&[video("v"), sound("a")]);
    rig.key(0);
    rig.event(flv::Event::Config(sound("a")));
    rig.event(flv::Event::Config(video("v")));
    rig.inter(40);
    rig.key(80);
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::V(0),
        Seen::V(40),
        Seen::Open(2, 2, 1, false),
        Seen::V(80),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn a_changed_header_takes_force_at_the_next_key_frame() {
    let mut rig = Rig::with(&[video("v"), sound("a")]);
    rig.key(0);
    rig.event(flv::Event::Config(video("w")));
    rig.inter(40);
    rig.audio(50);
    rig.key(80);
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::V(0),
        Seen::Dropped(Dropped::NoKeyFrame),
        Seen::A(50),
        Seen::Open(2, 2, 2, true),
        Seen::V(80),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn a_changed_header_of_audio_alone_takes_force_at_once() {
    let mut rig = Rig::with(&[sound("a")]);
    rig.audio(0);
    rig.event(flv::Event::Config(sound("b")));
    rig.audio(20);
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::A(0),
        Seen::Open(2, 2, 2, true),
        Seen::A(20),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn an_announced_track_is_awaited_and_nothing_is_lost() {
    let mut late = Rig::new();
    late.publication.handle_input(NOW_US, Input::Begin);
    late.event(flv::Event::Config(video("v")));
    late.key(0);
    late.inter(40);
    assert_eq!(late.seen(), []);
    late.event(flv::Event::Config(sound("a")));
    late.audio(50);
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::V(0),
        Seen::V(40),
        Seen::A(50),
    ];
    assert_eq!(late.seen(), expect);
}

#[test]
fn an_announced_track_that_never_comes_is_given_up() {
    let mut rig = Rig::new();
    rig.publication.handle_input(NOW_US, Input::Begin);
    rig.event(flv::Event::Config(video("v")));
    rig.key(0);
    rig.inter(999);
    assert_eq!(rig.seen(), []);
    rig.inter(1_000);
    let header = rig.publication.poll_output();
    let Some(Output::Open(header)) = header else {
        panic!("{header:?}")
    };
    assert_eq!(
        header.wallclock_us, NOW_US,
        "of its arrival, not of the end of the wait"
    );
    assert_eq!(rig.seen(), [Seen::V(0), Seen::V(999), Seen::V(1_000)]);
}

#[test]
fn waiting_is_bounded_when_time_stands_still() {
    let mut rig = Rig::new();
    rig.publication.handle_input(NOW_US, Input::Begin);
    rig.event(flv::Event::Config(sound("a")));
    for _ in 1..HELD_FRAMES {
        rig.audio(0);
    }
    assert_eq!(rig.seen(), []);
    rig.audio(0);
    assert_eq!(rig.seen().len(), HELD_FRAMES + 1);
}

#[test]
fn frames_without_a_configuration_are_dropped_and_counted() {
    let mut rig = Rig::new();
    rig.begin(&[]);
    rig.audio(0);
    rig.event(flv::Event::Config(sound("a")));
    rig.audio(20);
    // Opus frames cannot be meant for an AAC decoder.
    rig.event(flv::Event::Frame(
        Codec::Opus,
        frame(TrackId::AUDIO, Kind::Key, 40),
    ));
    let lost = Seen::Dropped(Dropped::NoConfig);
    assert_eq!(
        rig.seen(),
        [lost.clone(), Seen::Open(1, 1, 1, false), Seen::A(0), lost]
    );
}

#[test]
fn a_codec_without_records_needs_no_configuration() {
    let mut rig = Rig::with(&[video("v")]);
    rig.key(0);
    rig.event(flv::Event::Frame(
        Codec::Mp3,
        frame(TrackId::AUDIO, Kind::Key, 20),
    ));
    rig.key(40);
    rig.event(flv::Event::Frame(
        Codec::Mp3,
        frame(TrackId::AUDIO, Kind::Key, 60),
    ));
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::V(0),
        Seen::Dropped(Dropped::NoKeyFrame),
        Seen::Open(2, 2, 2, true),
        Seen::V(40),
        Seen::A(60),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn frames_held_for_a_configuration_that_changed_are_dropped() {
    let mut rig = Rig::new();
    rig.publication.handle_input(NOW_US, Input::Begin);
    rig.event(flv::Event::Config(video("v")));
    rig.key(0);
    rig.event(flv::Event::Config(video("w")));
    rig.event(flv::Event::Config(sound("a")));
    rig.key(40);
    let lost = Seen::Dropped(Dropped::NoConfig);
    assert_eq!(rig.seen(), [lost], "how often pictures come is not known");
    rig.key(80);
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::V(0),
        Seen::Open(2, 2, 1, false),
        Seen::V(40),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn a_jump_of_the_sources_clock_is_flattened_and_flagged() {
    let mut rig = Rig::with(&[video("v")]);
    rig.key(0);
    rig.inter(40);
    rig.now_us += 40_000;
    rig.late_frame(TrackId::VIDEO, Kind::Key, 3_600_000);
    rig.now_us += 40_000;
    rig.late_frame(TrackId::VIDEO, Kind::Key, 0);
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::V(0),
        Seen::V(40),
        Seen::Open(2, 2, 1, true),
        Seen::V(80),
        Seen::Open(3, 3, 1, true),
        Seen::V(120),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn a_publisher_that_comes_back_continues_the_epoch_after_the_gap() {
    let mut rig = Rig::with(&[video("v"), sound("a")]);
    rig.key(0);
    rig.publication.handle_input(rig.now_us, Input::End);
    rig.now_us += 3_000_000;
    rig.begin(&[sound("a"), video("v")]);
    rig.late_frame(TrackId::VIDEO, Kind::Key, 0);
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::V(0),
        Seen::Close,
        Seen::Open(2, 2, 1, true),
        Seen::V(3_000),
    ];
    assert_eq!(rig.seen(), expect);
    assert_eq!(rig.publication.epoch(), NOW_MS);
}

#[test]
fn a_publisher_that_comes_back_may_bring_other_tracks() {
    let mut rig = Rig::with(&[video("v"), sound("a")]);
    rig.key(0);
    rig.begin(&[sound("a")]);
    rig.late_frame(TrackId::AUDIO, Kind::Key, 0);
    let expect = [
        Seen::Open(1, 1, 1, false),
        Seen::V(0),
        Seen::Close,
        Seen::Open(2, 2, 2, true),
        Seen::A(0),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn a_group_at_its_bound_is_closed_until_the_next_key_frame() {
    let mut rig = Rig::with(&[video("v")]);
    rig.key(0);
    for second in (9..=297).step_by(9) {
        rig.inter(second * 1000);
    }
    rig.seen();
    rig.inter(300_000);
    rig.inter(300_040);
    rig.key(300_080);
    let expect = [
        Seen::Close,
        Seen::Dropped(Dropped::GroupFull),
        Seen::Dropped(Dropped::NoKeyFrame),
        Seen::Open(2, 35, 1, false),
        Seen::V(300_080),
    ];
    assert_eq!(rig.seen(), expect);
}

#[test]
fn audio_whose_time_stands_still_still_gets_bounded_groups() {
    let mut rig = Rig::with(&[sound("a")]);
    for _ in 0..=GROUP_FRAMES {
        rig.audio(0);
    }
    assert_eq!(rig.headers().len(), 2);
}

#[test]
fn the_next_life_begins_above_the_last() {
    let mut rig = Rig::with(&[video("v")]);
    rig.key(0);
    rig.key(40);
    let floor = rig.publication.numbers();
    // The clock was set back meanwhile.
    let terms = crate::config::Hls::default().terms();
    let next = Publication::new(terms, floor, NOW_US - 10_000_000).numbers();
    assert!(next.epoch > floor.epoch && next.group >= floor.group && next.msn >= floor.msn);
    assert!(next.part >= floor.part && next.discontinuities > floor.discontinuities);
}

/// Anything that a publisher can do.
fn any_input() -> impl Strategy<Value = Input> {
    let track = prop_oneof![Just(TrackId::VIDEO), Just(TrackId::AUDIO)];
    let kind = prop_oneof![
        Just(Kind::Key),
        Just(Kind::Reference),
        Just(Kind::Disposable)
    ];
    let ms = prop_oneof![0..20_000_i64, any::<i64>().prop_map(|any| any / 1000)];
    let frames = (track, kind, ms).prop_map(|(t, k, ms)| coded(frame(t, k, ms)));
    let configs = prop_oneof![
        Just(video("v")),
        Just(video("w")),
        Just(sound("a")),
        Just(TrackConfig {
            id: TrackId(7),
            ..sound("x")
        }),
    ];
    let metadata = (any::<Option<bool>>(), any::<Option<bool>>()).prop_map(|(video, audio)| {
        flv::Event::Metadata(flv::Metadata {
            has_video: video,
            has_audio: audio,
            ..flv::Metadata::default()
        })
    });
    prop_oneof![
        20 => frames.prop_map(Input::Event),
        3 => configs.prop_map(|config| Input::Event(flv::Event::Config(config))),
        1 => metadata.prop_map(Input::Event),
        1 => Just(Input::Begin),
        1 => Just(Input::End),
    ]
}

proptest! {
    #[test]
    fn numbers_and_times_never_go_back(
        inputs in prop::collection::vec((0..8_000_000_u64, any_input()), 1..200),
    ) {
        let mut rig = Rig::new();
        let mut newest: Option<group::Header> = None;
        let mut last_dts = [Timestamp::ZERO; 2];
        let mut is_open = false;
        let mut at_group_start = false;
        for (step_us, input) in inputs {
            rig.now_us += step_us;
            rig.publication.handle_input(rig.now_us, input);
            while let Some(output) = rig.publication.poll_output() {
                match output {
                    Output::Open(header) => {
                        if let Some(last) = newest.replace(header.clone()) {
                            prop_assert_eq!(header.epoch, last.epoch);
                            prop_assert_eq!(header.number, last.number + 1);
                            prop_assert!(header.first_msn > last.first_msn);
                            prop_assert!(header.first_part > last.first_part);
                            let breaks = u64::from(header.discontinuity);
                            prop_assert_eq!(header.discontinuities, last.discontinuities + breaks);
                            prop_assert_eq!(header.segment_max, last.segment_max);
                            prop_assert_eq!(header.part_target, last.part_target);
                            prop_assert!(header.wallclock_us >= last.wallclock_us);
                            prop_assert!(header.config_id >= last.config_id);
                            let same = header.catalog.tracks == last.catalog.tracks;
                            prop_assert_eq!(header.config_id == last.config_id, same);
                            prop_assert!(same || header.discontinuity);
                        }
                        is_open = true;
                        at_group_start = true;
                    }
                    Output::Frame(frame) => {
                        prop_assert!(is_open, "a frame belongs to an open group");
                        let catalog = &newest.as_ref().unwrap().catalog;
                        prop_assert!(catalog.track(frame.track).is_some());
                        prop_assert!(!at_group_start || frame.kind == Kind::Key);
                        at_group_start = false;
                        let last = &mut last_dts[usize::from(frame.track.0)];
                        prop_assert!(frame.dts >= *last);
                        *last = frame.dts;
                    }
                    Output::Close => is_open = false,
                    Output::Dropped(_) => {}
                }
            }
        }
    }
}

/// Terms of a stream that declares no frame rate, by the times of its first pictures.
#[test]
fn parts_are_cut_by_the_pictures_where_no_rate_is_declared() {
    let check = |name: &str, times: &[i64], tracks: &[TrackConfig], expect: i64| {
        let mut rig = Rig::new();
        rig.publication.handle_input(NOW_US, Input::Begin);
        let metadata = flv::Metadata {
            has_video: Some(tracks.iter().any(|track| track.id == TrackId::VIDEO)),
            has_audio: Some(tracks.iter().any(|track| track.id == TrackId::AUDIO)),
            ..flv::Metadata::default()
        };
        rig.event(flv::Event::Metadata(metadata));
        for track in tracks {
            rig.event(flv::Event::Config(track.clone()));
        }
        for ms in times {
            match tracks[0].id {
                TrackId::VIDEO => rig.key(*ms),
                _ => rig.audio(*ms),
            }
        }
        let target = rig.headers()[0].part_target;
        assert_eq!(target, Timestamp::from_millis(expect), "{name}");
    };
    let video = [video("v")];
    let both = [video[0].clone(), sound("a")];
    let rows: [(&str, &[i64], i64); 9] = [
        ("1 frame a second", &[0, 1000], 1000),
        ("2 frames a second", &[0, 500], 500),
        ("3 frames a second, in whole milliseconds", &[0, 333], 334),
        ("5 frames a second", &[0, 200], 400),
        ("7 frames a second, in whole milliseconds", &[0, 143], 286),
        ("10 frames a second", &[0, 100], 400),
        ("30 frames a second", &[0, 33], 400),
        ("two at one time", &[0, 0, 250], 250),
        ("nothing for a long time", &[0, 60_000], 6_000),
    ];
    for (name, times, expect) in rows {
        check(name, times, &video, expect);
        check(name, times, &both, expect);
    }
    check("sound alone", &[0, 23], &[sound("a")], 400);
}
