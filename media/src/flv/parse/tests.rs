//! Tag bodies laid out by hand, legacy and enhanced, and the event of each.

use super::*;
use crate::flv::script_body;
use crate::flv::tests::{ASC, AVCC, config, frame};
use crate::frame::TrackId;
use proptest::prelude::*;

fn parse_at(ms: i64, tag_type: u8, body: &[u8]) -> Result<Event, Error> {
    parse(
        tag_type,
        Timestamp::from_millis(ms),
        Bytes::copy_from_slice(body),
    )
}

fn check_video(body: &[u8], expect: Event) {
    assert_eq!(parse_at(40, tag::VIDEO, body), Ok(expect), "{body:02x?}");
}

fn check_audio(body: &[u8], expect: Event) {
    assert_eq!(parse_at(40, tag::AUDIO, body), Ok(expect), "{body:02x?}");
}

#[test]
fn legacy_video_laid_out_by_hand() {
    use Kind::{Disposable, Key, Reference};
    check_video(
        &[b"\x17\x00\x00\x00\x00", AVCC].concat(),
        config(Codec::H264, AVCC),
    );
    let idr = b"\0\0\0\x02\x65\x88";
    check_video(
        &[b"\x17\x01\x00\x00\x50", &idr[..]].concat(),
        frame(Codec::H264, Key, 40_000, 80_000, idr),
    );
    check_video(
        b"\x27\x01\xFF\xFF\xD8\0\0\0\x01\x41",
        frame(Codec::H264, Reference, 40_000, -40_000, b"\0\0\0\x01\x41"),
    );
    check_video(
        b"\x27\x01\0\0\0\0\0\0\x01\x01",
        frame(Codec::H264, Disposable, 40_000, 0, b"\0\0\0\x01\x01"),
    );
    check_video(
        b"\x37\x01\0\0\0\0\0\0\x01\x41",
        frame(Codec::H264, Disposable, 40_000, 0, b"\0\0\0\x01\x41"),
    );
    check_video(b"\x17\x02\0\0\0", Event::EndOfSequence(TrackId::VIDEO));
    // Codec id 12.
    check_video(b"\x1C\x00\0\0\0hvcC", config(Codec::H265, b"hvcC"));
    check_video(
        b"\x1C\x01\0\0\x28\0\0\0\x03\x26\x01\xAF",
        frame(Codec::H265, Key, 40_000, 40_000, b"\0\0\0\x03\x26\x01\xAF"),
    );
    check_video(
        b"\x2C\x01\0\0\0\0\0\0\x02\x00\x01",
        frame(Codec::H265, Disposable, 40_000, 0, b"\0\0\0\x02\x00\x01"),
    );
}

#[test]
fn legacy_audio_laid_out_by_hand() {
    check_audio(&[b"\xAF\x00", ASC].concat(), config(Codec::Aac, ASC));
    check_audio(
        b"\xAF\x01raw",
        frame(Codec::Aac, Kind::Key, 40_000, 0, b"raw"),
    );
    check_audio(
        b"\x2F\xFF\xFB\x90",
        frame(Codec::Mp3, Kind::Key, 40_000, 0, b"\xFF\xFB\x90"),
    );
    check_audio(
        b"\xE2\xFF\xFB\x90",
        frame(Codec::Mp3, Kind::Key, 40_000, 0, b"\xFF\xFB\x90"),
    );
}

#[test]
fn enhanced_video_laid_out_by_hand() {
    use Kind::{Disposable, Key, Reference};
    let idr = b"\0\0\0\x02\x26\x01";
    check_video(b"\x90hvc1hvcC", config(Codec::H265, b"hvcC"));
    check_video(
        &[b"\x91hvc1\x00\x00\x50", &idr[..]].concat(),
        frame(Codec::H265, Key, 40_000, 80_000, idr),
    );
    check_video(
        &[b"\x93hvc1", &idr[..]].concat(),
        frame(Codec::H265, Key, 40_000, 0, idr),
    );
    check_video(
        b"\xA3hvc1\0\0\0\x02\x02\x01",
        frame(Codec::H265, Reference, 40_000, 0, b"\0\0\0\x02\x02\x01"),
    );
    check_video(b"\x90avc1avcC", config(Codec::H264, b"avcC"));
    check_video(
        b"\xA1avc1\x00\x00\x01\0\0\0\x01\x01",
        frame(Codec::H264, Disposable, 40_000, 1_000, b"\0\0\0\x01\x01"),
    );
    check_video(b"\x90av01\x81\0\0\0", config(Codec::Av1, b"\x81\0\0\0"));
    check_video(
        b"\x91av01\x12\0",
        frame(Codec::Av1, Key, 40_000, 0, b"\x12\0"),
    ); // no composition time
    check_video(
        b"\xA1av01\x32\0",
        frame(Codec::Av1, Reference, 40_000, 0, b"\x32\0"),
    );
    check_video(
        b"\xA1vp09\x86",
        frame(Codec::Vp9, Reference, 40_000, 0, b"\x86"),
    );
    check_video(b"\x92hvc1", Event::EndOfSequence(TrackId::VIDEO));
    check_video(
        b"\xD4hvc1\x02\0\x09colorInfo",
        Event::Ignored("video metadata"),
    );
    check_video(b"\x95av01\x80", Event::Ignored("MPEG-2 TS sequence start"));
    check_video(b"\x9Fhvc1x", Event::Ignored("unknown video packet type"));
}

#[test]
fn enhanced_audio_laid_out_by_hand() {
    check_audio(b"\x90OpusOpusHead", config(Codec::Opus, b"OpusHead"));
    check_audio(
        b"\x91Opus\xFC",
        frame(Codec::Opus, Kind::Key, 40_000, 0, b"\xFC"),
    );
    check_audio(b"\x90mp4a\x11\x90", config(Codec::Aac, b"\x11\x90"));
    check_audio(
        b"\x91ac-3\x0B\x77",
        frame(Codec::Ac3, Kind::Key, 40_000, 0, b"\x0B\x77"),
    );
    check_audio(b"\x92Opus", Event::EndOfSequence(TrackId::AUDIO));
    check_audio(
        b"\x94Opus\x01\x02\0\0\0\x03",
        Event::Ignored("multichannel configuration"),
    );
    check_audio(b"\x93Opusx", Event::Ignored("unknown audio packet type"));
}

#[test]
fn mod_ex_moves_the_time_by_nanoseconds() {
    // Three bytes of data, TimestampOffsetNano, then coded frames without composition time.
    let body = b"\x97\x02\x07\xA1\x20\x03hvc1\0\0\0\x02\x26\x01";
    check_video(
        body,
        frame(Codec::H265, Kind::Key, 40_500, 0, b"\0\0\0\x02\x26\x01"),
    );
    check_audio(
        b"\x97\x02\x0F\x42\x3F\x01Opus\xFC",
        frame(Codec::Opus, Kind::Key, 40_999, 0, b"\xFC"),
    );
    // An unknown kind of data and a long one before it are stepped over.
    let long = [
        &b"\x97\xFF\x01\x2B"[..],
        &[0; 300],
        b"\x17\x00\x55\x11Opus\xFC",
    ]
    .concat();
    check_audio(&long, frame(Codec::Opus, Kind::Key, 40_000, 0, b"\xFC"));
}

#[test]
fn multitrack_carries_track_0_and_names_the_rest() {
    let opus = |payload: &[u8]| frame(Codec::Opus, Kind::Key, 40_000, 0, payload);
    let other = Event::Ignored("multitrack: only track 0 is carried");
    check_audio(b"\x95\x01Opus\x00ab", opus(b"ab"));
    check_audio(b"\x95\x01Opus\x01ab", other.clone());
    check_audio(b"\x95\x11Opus\x01\0\0\x01x\x00\0\0\x02ab", opus(b"ab"));
    check_audio(b"\x95\x21ac-3\x01\0\0\x01xOpus\x00\0\0\x02ab", opus(b"ab"));
    check_audio(b"\x95\x11Opus\x01\0\0\x01x", other.clone());
    check_video(b"\x96\x00av01\x02\x81\0\0\0", other);
    check_video(
        b"\x96\x00av01\x00\x81\0\0\0",
        config(Codec::Av1, b"\x81\0\0\0"),
    );
    check_video(
        b"\xA6\x11hvc1\x00\0\0\x09\0\0\x28\0\0\0\x02\x02\x01\x01\0\0\x01x",
        frame(
            Codec::H265,
            Kind::Reference,
            40_000,
            40_000,
            b"\0\0\0\x02\x02\x01",
        ),
    );
}

#[test]
fn what_is_valid_but_not_carried_is_ignored_by_name() {
    check_video(b"", Event::Ignored("empty message"));
    check_audio(b"", Event::Ignored("empty message"));
    check_video(b"\x17\x01\0\0\0", Event::Ignored("empty frame"));
    check_audio(b"\xAF\x01", Event::Ignored("empty frame"));
    check_audio(b"\x91Opus", Event::Ignored("empty frame"));
    check_video(b"\x57\x00", Event::Ignored("video command"));
    check_video(b"\xD1\x00", Event::Ignored("video command"));
    check_video(
        b"\x17\x09\0\0\0",
        Event::Ignored("unknown video packet type"),
    );
}

#[test]
fn bad_messages_are_errors() {
    let check = |tag_type, body: &[u8], expect| {
        assert_eq!(parse_at(0, tag_type, body), Err(expect), "{body:02x?}");
    };
    let truncated = || Error::Truncated("message");
    for body in [
        &b"\x17"[..],
        b"\x17\x01\0\0",
        b"\x91",
        b"\x91hvc",
        b"\x91hvc1\0\0",
        b"\x97\x09\0",
    ] {
        check(tag::VIDEO, body, truncated());
    }
    for body in [
        &b"\xAF"[..],
        b"\x91Op",
        b"\x95\x11Opus\0\0\0\x09x",
        b"\x95\x01Opus",
    ] {
        let missing = body == b"\x95\x01Opus"; // no track at all is no error
        let expect = if missing { Ok(()) } else { Err(truncated()) };
        assert_eq!(
            parse_at(0, tag::AUDIO, body).map(|_| ()),
            expect,
            "{body:02x?}"
        );
    }
    check(
        tag::VIDEO,
        b"\x17\x00\0\0\0",
        Error::Truncated("sequence header"),
    );
    check(tag::AUDIO, b"\xAF\x00", Error::Truncated("sequence header"));
    check(tag::VIDEO, b"\x22\x00", Error::VideoCodec(2));
    check(tag::AUDIO, b"\x3F\x00", Error::SoundFormat(3));
    check(tag::VIDEO, b"\x91XVIDx", Error::FourCc(*b"XVID"));
    check(tag::VIDEO, b"\x91Opusx", Error::FourCc(*b"Opus"));
    check(tag::AUDIO, b"\x91avc1x", Error::FourCc(*b"avc1"));
    check(7, b"x", Error::TagType(7));
    check(
        tag::SCRIPT,
        b"\x07\0\0",
        Error::Script(amf::Error::Unsupported(7)),
    );
    let long = [&b"\xAF\x00"[..], &[0; TrackConfig::MAX_RECORD + 1]].concat();
    check(tag::AUDIO, &long, Error::TooLarge("sequence header"));
    let long = [&b"\xAF\x01"[..], &vec![0; Frame::MAX_PAYLOAD + 1]].concat();
    check(tag::AUDIO, &long, Error::TooLarge("frame"));
    let long = [&long[..], &[0; 1024]].concat();
    check(tag::AUDIO, &long, Error::TooLarge("message"));
}

fn metadata(members: &[(&str, Value)]) -> Metadata {
    let members = members
        .iter()
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect();
    let body = script_body("onMetaData", Value::Object(members));
    match parse(tag::SCRIPT, Timestamp::ZERO, body) {
        Ok(Event::Metadata(metadata)) => metadata,
        other => panic!("{other:?}"),
    }
}

#[test]
fn metadata_is_believed_only_where_it_is_sane() {
    let full = metadata(&[
        ("width", 1280.0.into()),
        ("height", 720.0.into()),
        ("framerate", 25.0.into()),
        ("videocodecid", 7.0.into()),
        ("encoder", "Lavf".into()),
    ]);
    assert_eq!(
        (full.width, full.height, full.frame_rate),
        (Some(1280), Some(720), Some(25.0))
    );
    assert_eq!((full.has_video, full.has_audio), (Some(true), Some(false)));
    assert_eq!(full.encoder.as_deref(), Some("Lavf"));
    for absurd in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
        let read = metadata(&[("width", absurd.into()), ("framerate", absurd.into())]);
        assert_eq!(read, Metadata::default(), "{absurd}");
    }
    assert_eq!(metadata(&[("width", "1280".into())]), Metadata::default());
    let flags = metadata(&[("hasVideo", false.into()), ("videocodecid", 7.0.into())]);
    assert_eq!(
        (flags.has_video, flags.has_audio),
        (Some(false), Some(false))
    );
}

#[test]
fn scripts_are_told_apart_by_name() {
    let check = |body: &[u8], expect| assert_eq!(parse_at(0, tag::SCRIPT, body), Ok(expect));
    check(b"\x02\0\x08onCaptio\x05", Event::Script("onCaptio".into()));
    check(
        b"\x02\0\x0D@setDataFrame\x02\0\x01x\x05",
        Event::Script("x".into()),
    );
    check(
        b"\x02\0\x0AonMetaData",
        Event::Metadata(Metadata::default()),
    );
    check(b"\x05", Event::Ignored("script without a name"));
}

#[test]
fn a_parsed_payload_is_a_slice_of_its_message() {
    let body = Bytes::from_static(b"\x27\x01\0\0\0\0\0\0\x01\x41");
    let Ok(Event::Frame(_, frame)) = parse(tag::VIDEO, Timestamp::ZERO, body.clone()) else {
        panic!("no frame")
    };
    assert_eq!(frame.payload.as_ptr(), body[5..].as_ptr());
}

proptest! {
    #[test]
    fn any_message_is_parsed_without_panic(
        tag_type in prop::sample::select(vec![tag::AUDIO, tag::VIDEO, tag::SCRIPT]),
        head in prop::collection::vec(any::<u8>(), 0..3),
        fourcc in prop::sample::select(vec![&b""[..], b"hvc1", b"Opus", b"av01"]),
        tail in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let body = [&head[..], fourcc, &tail].concat();
        if let Ok(Event::Frame(_, frame)) = parse(tag_type, Timestamp::ZERO, body.into()) {
            prop_assert!(!frame.payload.is_empty());
        }
    }
}
