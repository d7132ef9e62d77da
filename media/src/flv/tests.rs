//! What is muxed comes back from the demuxer; payloads are the same memory.

use super::*;
use crate::amf::Value;
use crate::codec::Catalog;
use crate::frame::Kind;
use crate::timestamp::Timestamp;
use bytes::Bytes;
use proptest::prelude::*;

pub(super) const AVCC: &[u8] =
    b"\x01\x64\x00\x0c\xff\xe1\x00\x1a\x67\x64\x00\x0c\xac\xd9\x41\x41\x9f\x9f\x01\x10\
    \x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\x99\x60\x01\x00\x06\x68\xeb\xe3\xcb\x22\xc0\
    \xfd\xf8\xf8\x00";
pub(super) const ASC: &[u8] = b"\x11\x90\x56\xe5\x00";

pub(super) fn config(codec: Codec, record: &[u8]) -> Event {
    Event::Config(TrackConfig::new(codec, Bytes::copy_from_slice(record)))
}

/// A frame with times in microseconds.
pub(super) fn frame(codec: Codec, kind: Kind, dts: i64, cts: i64, payload: &[u8]) -> Event {
    let [dts, cts] = [dts, cts].map(Timestamp::from_micros);
    let payload = Bytes::copy_from_slice(payload);
    Event::Frame(
        codec,
        Frame {
            track: codec.track(),
            kind,
            dts,
            cts,
            duration: None,
            payload,
        },
    )
}

#[test]
fn a_written_payload_is_the_frame_s_own() {
    for codec in CODECS {
        let frame = sample(codec, 0, 0);
        let [head, payload, trailer] = Muxer::default().frame(codec, &frame, 7);
        assert_eq!(payload.as_ptr(), frame.payload.as_ptr());
        let size = u32::from_be_bytes(trailer[..].try_into().unwrap());
        assert_eq!(size as usize, head.len() + payload.len());
    }
}

#[test]
fn heads_are_written_as_each_player_reads_them() {
    let check = |codec, hevc, cts_ms, expect: &[u8]| {
        let mut frame = sample(codec, 0, cts_ms);
        frame.kind = Kind::Key;
        assert_eq!(&*body_head(codec, &frame, hevc), expect, "{codec:?}");
    };
    use Hevc::{Enhanced, Legacy};
    check(Codec::H264, Enhanced, 80, b"\x17\x01\x00\x00\x50");
    check(Codec::H265, Enhanced, 80, b"\x91hvc1\x00\x00\x50");
    check(Codec::H265, Enhanced, 0, b"\x93hvc1");
    check(Codec::H265, Legacy, 80, b"\x1C\x01\x00\x00\x50");
    check(Codec::H265, Legacy, -1, b"\x1C\x01\xFF\xFF\xFF");
    check(Codec::Av1, Enhanced, 0, b"\x91av01");
    check(Codec::Aac, Enhanced, 0, b"\xAF\x01");
    check(Codec::Mp3, Enhanced, 0, b"\x2F");
    check(Codec::Opus, Enhanced, 0, b"\x91Opus");
    check(
        Codec::H264,
        Enhanced,
        i64::from(i32::MAX),
        b"\x17\x01\x7F\xFF\xFF",
    );
}

#[test]
fn a_tag_holds_32_bits_of_time() {
    let tag = Muxer::default().tag(Codec::Aac, &sample(Codec::Aac, 0, 0), 0x0123_4567);
    assert_eq!(tag.head[..], *b"\x08\0\0\x05\x23\x45\x67\x01\0\0\0\xAF\x01");
    assert_eq!(tag.trailer, [0, 0, 0, 16]);
}

#[test]
fn rounding_to_milliseconds_keeps_the_presentation_time() {
    let mut frame = sample(Codec::H264, 0, 0);
    frame.dts = Timestamp::from_micros(33_366);
    frame.cts = Timestamp::from_micros(66_733);
    assert_eq!(
        body_head(Codec::H264, &frame, Hevc::Enhanced)[2..],
        [0, 0, 67]
    ); // 100 - 33
}

#[test]
fn a_start_is_header_metadata_and_sequence_headers() {
    let catalog = Catalog {
        tracks: vec![
            TrackConfig::new(Codec::Aac, Bytes::from_static(ASC)),
            TrackConfig::new(Codec::H264, Bytes::from_static(AVCC)),
        ],
        frame_rate: Some(25.0),
    };
    let start = Muxer::default().start(&catalog);
    assert_eq!(start[..13], *b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
    let events = demux(&start, start.len());
    let [Ok(Event::Metadata(metadata)), Ok(video), Ok(audio)] = &events[..] else {
        panic!("{events:?}")
    };
    let expect = Metadata {
        width: Some(320),
        height: Some(180),
        frame_rate: Some(25.0),
        has_video: Some(true),
        has_audio: Some(true),
        encoder: Some("Weir".into()),
    };
    assert_eq!(*metadata, expect);
    assert_eq!(*video, config(Codec::H264, AVCC));
    assert_eq!(*audio, config(Codec::Aac, ASC));
    let mut body = metadata_body(&catalog, Hevc::Enhanced).slice(13..);
    let written = amf::decode(&mut body).unwrap();
    let number = |name| written.get(name).and_then(Value::as_f64);
    assert_eq!(
        (number("videocodecid"), number("audiocodecid")),
        (Some(7.0), Some(10.0))
    );
    assert_eq!(number("audiosamplerate"), Some(48000.0));
    assert_eq!(written.get("stereo"), Some(&Value::Boolean(true)));
}

#[test]
fn metadata_names_hevc_the_way_it_is_written() {
    let hevc = TrackConfig::new(Codec::H265, Bytes::from_static(b"not an hvcC"));
    let catalog = Catalog {
        tracks: vec![hevc],
        frame_rate: None,
    };
    let id = |hevc| {
        let mut body = metadata_body(&catalog, hevc).slice(13..);
        amf::decode(&mut body)
            .unwrap()
            .get("videocodecid")
            .and_then(Value::as_f64)
    };
    assert_eq!(id(Hevc::Legacy), Some(12.0));
    assert_eq!(
        id(Hevc::Enhanced),
        Some(f64::from(u32::from_be_bytes(*b"hvc1")))
    );
}

#[test]
fn the_demuxer_reads_a_file_laid_out_by_hand() {
    let file = [
        &b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..],
        b"\x12\0\0\x0E\0\0\0\0\0\0\0\x02\0\x0AonMetaData\x05\0\0\0\x19",
        b"\x08\0\0\x03\0\0\x10\x01\0\0\0\xAF\x01x\0\0\0\x0E", // 0x01000010 ms
        b"\x09\0\0\x02\0\0\x20\x01\0\0\0\x22\x00\0\0\0\x0D",  // Sorenson
        b"\x29\0\0\x01\0\0\x20\x01\0\0\0x\0\0\0\x0C",         // encrypted
        b"\x08\0\0\x03\0\0\x30\x01\0\0\0\xAF\x01y\0\0\0\x0E",
    ]
    .concat();
    let audio = |ms: i64, payload: &[u8]| Ok(frame(Codec::Aac, Kind::Key, ms * 1000, 0, payload));
    let expect = vec![
        Ok(Event::Metadata(Metadata::default())),
        audio(0x0100_0010, b"x"),
        Err(Error::VideoCodec(2)),
        Ok(Event::Ignored("encrypted tag")),
        audio(0x0100_0030, b"y"),
    ];
    for chunk in [1, 2, 7, 11, 64, file.len()] {
        assert_eq!(demux(&file, chunk), expect);
    }
}

#[test]
fn the_demuxer_refuses_other_streams_and_oversized_tags() {
    for start in [
        &b"<html>"[..],
        b"FLX",
        b"FLV\x02",
        b"FLV\x01\x05\0\0\0\x08\0\0\0\0",
        b"FLV\x01\x05\xFF\0\0\0",
    ] {
        assert_eq!(
            demux(start, 3).last(),
            Some(&Err(Error::NotFlv)),
            "{start:02x?}"
        );
    }
    let huge = b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x09\xFF\xFF\xFF\0\0\0\0\0\0\0";
    assert_eq!(demux(huge, 100), [Err(Error::TooLarge("tag"))]);
}

/// Every event of a stream that arrives in pieces; ends with the first error of the framing.
fn demux(stream: &[u8], chunk: usize) -> Vec<Result<Event, Error>> {
    let mut demuxer = Demuxer::new();
    let mut events = Vec::new();
    for piece in stream.chunks(chunk.max(1)) {
        demuxer.push(piece);
        loop {
            match demuxer.next() {
                Ok(None) => break,
                Ok(Some(event)) => events.push(Ok(event)),
                Err(error) => {
                    let fatal = matches!(error, Error::NotFlv | Error::TooLarge("tag"));
                    events.push(Err(error));
                    if fatal {
                        return events;
                    }
                }
            }
        }
    }
    events
}

const CODECS: [Codec; 12] = [
    Codec::H264,
    Codec::H265,
    Codec::Av1,
    Codec::Vp8,
    Codec::Vp9,
    Codec::Vvc,
    Codec::Aac,
    Codec::Opus,
    Codec::Flac,
    Codec::Ac3,
    Codec::Eac3,
    Codec::Mp3,
];

/// A frame that its NAL headers say nothing about.
fn sample(codec: Codec, dts_ms: i64, cts_ms: i64) -> Frame {
    let kind = if codec.is_video() {
        Kind::Reference
    } else {
        Kind::Key
    };
    let cts = Timestamp::from_millis(if codec.reorders() { cts_ms } else { 0 });
    let dts = Timestamp::from_millis(dts_ms);
    let payload = Bytes::from_static(b"\x09\xF0\x01");
    Frame {
        track: codec.track(),
        kind,
        dts,
        cts,
        duration: None,
        payload,
    }
}

#[test]
fn every_codec_comes_back_as_it_was_written() {
    for codec in CODECS {
        for hevc in [Hevc::Enhanced, Hevc::Legacy] {
            let track = TrackConfig::new(codec, Bytes::from_static(b"record"));
            let carried = codec != Codec::Mp3; // has no record
            let muxer = Muxer::new(hevc);
            let catalog = Catalog {
                tracks: vec![track.clone()],
                frame_rate: None,
            };
            let mut stream = muxer.start(&catalog).to_vec();
            let frames = [
                sample(codec, 5, 0),
                sample(codec, 45, 80),
                sample(codec, 85, -40),
            ];
            for frame in &frames {
                let ts = frame.dts.as_millis() as u32;
                muxer
                    .frame(codec, frame, ts)
                    .iter()
                    .for_each(|part| stream.extend(part));
            }
            stream.extend(muxer.config(&catalog, 100));
            let events = demux(&stream, 1000).into_iter().map(Result::unwrap);
            let events: Vec<_> = events
                .filter(|e| !matches!(e, Event::Metadata(_)))
                .collect();
            let config = carried.then_some(Event::Config(track));
            let frames = frames.into_iter().map(|frame| Event::Frame(codec, frame));
            let expect: Vec<_> = config
                .clone()
                .into_iter()
                .chain(frames)
                .chain(config)
                .collect();
            assert_eq!(events, expect, "{codec:?} {hevc:?}");
        }
    }
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_events(
        bodies in prop::collection::vec(
            (prop::sample::select(vec![8u8, 9, 18, 41]), prop::collection::vec(any::<u8>(), 0..40)),
            0..12,
        ),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
        chunk in 1usize..70,
    ) {
        let mut stream = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
        for (tag_type, body) in &bodies {
            stream.extend(tag::header(*tag_type, body.len(), 1));
            stream.extend(body);
            stream.extend(tag::trailer(body.len()));
        }
        stream.extend(garbage);
        prop_assert_eq!(demux(&stream, chunk), demux(&stream, stream.len()));
    }

    #[test]
    fn any_stream_is_demuxed_without_panic(
        stream in prop::collection::vec(any::<u8>(), 0..200),
        chunk in 1usize..200,
    ) {
        demux(&stream, chunk);
    }
}
