//! Messages and group streams to bytes and back, cut anywhere, and bytes that are neither.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use media::codec::{Catalog, Codec, TrackConfig};
use media::frame::{Frame, Kind, TrackId};
use media::timestamp::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::group::{Header, Key};

#[test]
fn numbers_are_those_of_rfc_9000() {
    // RFC 9000, appendix A.1, and the bounds of each length.
    let rows: [(&[u8], u64); 9] = [
        (
            &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
            151_288_809_941_952_652,
        ),
        (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
        (&[0x7b, 0xbd], 15_293),
        (&[0x25], 37),
        (&[0x3f], 63),
        (&[0x40, 0x40], 64),
        (&[0x80, 0, 0x40, 0], 16_384),
        (&[0xc0, 0, 0, 0, 0x40, 0, 0, 0], 1 << 30),
        (&[0xff; 8], varint::MAX),
    ];
    for (bytes, value) in rows {
        assert_eq!(varint::read(&mut &bytes[..]), Ok(value));
        let mut written = Vec::new();
        varint::write(&mut written, value).unwrap();
        assert_eq!(written, bytes);
    }
    assert_eq!(
        varint::read(&mut &[0x40, 37][..]),
        Ok(37),
        "longer than needed is allowed"
    );
    assert_eq!(varint::read(&mut &[0x80, 0, 0][..]), Err(Error::Truncated));
    assert_eq!(
        varint::write(&mut Vec::new(), 1 << 62),
        Err(Error::TooLong("number"))
    );
}

fn all_messages(bytes: &[u8]) -> Result<Vec<Message>, Error> {
    let mut messages = Messages::default();
    messages.push(bytes);
    let mut all = Vec::new();
    while let Some(message) = messages.take()? {
        all.push(message);
    }
    Ok(all)
}

/// A message is written as these bytes, and read from them.
fn check_bytes((message, bytes): (Message, &[u8])) {
    let mut written = BytesMut::new();
    message.encode(&mut written).unwrap();
    assert_eq!(written, bytes, "{message:?}");
    assert_eq!(all_messages(bytes), Ok(vec![message]));
}

#[test]
fn a_subscription_starts_in_one_of_three_ways() {
    let before = Key {
        epoch: 64,
        number: 3,
    };
    let rows: [(Start, &[u8]); 3] = [
        (
            Start::Latest,
            &[3, 9, 7, 3, b'l', b'/', b'x', 1, 1, b'a', 0],
        ),
        (
            Start::After(before),
            &[3, 12, 7, 3, b'l', b'/', b'x', 1, 1, b'a', 1, 0x40, 64, 3],
        ),
        (
            Start::Past { before, for_ms: 63 },
            &[
                3, 13, 7, 3, b'l', b'/', b'x', 1, 1, b'a', 2, 0x40, 64, 3, 63,
            ],
        ),
    ];
    for (start, bytes) in rows {
        let message = Message::Subscribe {
            id: 7,
            stream: "l/x".to_owned(),
            hops: vec!["a".to_owned()],
            start,
        };
        check_bytes((message, bytes));
    }
}

#[test]
fn messages_have_the_bytes_of_the_protocol_page() {
    let key = Key {
        epoch: 64,
        number: 3,
    };
    let node = || "a".to_owned();
    let rows: [(Message, &[u8]); 8] = [
        (
            Message::Hello {
                versions: vec![1],
                node: node(),
            },
            &[1, 4, 1, 1, 1, b'a'],
        ),
        (
            Message::Welcome {
                version: 1,
                node: node(),
            },
            &[2, 3, 1, 1, b'a'],
        ),
        (Message::Unsubscribe { id: 7 }, &[4, 1, 7]),
        (
            Message::Accepted {
                id: 7,
                hops: vec![node()],
            },
            &[5, 4, 7, 1, 1, b'a'],
        ),
        (
            Message::Refused {
                id: 7,
                refusal: Refusal::Draining,
            },
            &[6, 2, 7, 4],
        ),
        (
            Message::Ended {
                id: 7,
                last: None,
                groups: 9,
            },
            &[7, 3, 7, 0, 9],
        ),
        (
            Message::Ended {
                id: 7,
                last: Some(key),
                groups: 0,
            },
            &[7, 6, 7, 1, 0x40, 64, 3, 0],
        ),
        (
            Message::Announce {
                stream: node(),
                epoch: 9,
                hops: vec![],
                active: true,
            },
            &[8, 5, 1, b'a', 9, 0, 1],
        ),
    ];
    rows.into_iter().for_each(check_bytes);
}

#[test]
fn what_later_versions_add_is_skipped() {
    let unsubscribe = Message::Unsubscribe { id: 7 };
    let unknown_type = [&[0x2a, 3, 1, 2, 3][..], &[4, 1, 7]].concat();
    assert_eq!(all_messages(&unknown_type), Ok(vec![unsubscribe.clone()]));
    let longer_body = [4, 3, 7, 0, 0];
    assert_eq!(all_messages(&longer_body), Ok(vec![unsubscribe]));
    let refused = Message::Refused {
        id: 7,
        refusal: Refusal::Overloaded,
    };
    assert_eq!(all_messages(&[6, 2, 7, 50]), Ok(vec![refused]));
}

#[test]
fn lengths_and_names_have_bounds() {
    let mut too_many_hops = vec![5, 30, 7, 9];
    too_many_hops.resize(32, 1);
    let rows: [(&[u8], Error); 8] = [
        (&[1, 0x80, 0, 0x10, 1], Error::TooLong("message")),
        (&[1, 2, 17, 0], Error::TooLong("versions")),
        (&too_many_hops, Error::TooLong("hops")),
        (&[2, 4, 1, 0x40, 65, 0], Error::TooLong("name")),
        (&[2, 2, 1, 0], Error::Invalid("name")),
        (&[2, 3, 1, 1, b'\n'], Error::Invalid("name")),
        (&[4, 0], Error::Truncated),
        (
            &[3, 11, 7, 3, b'l', b'/', b'x', 1, 1, b'a', 3, 1, 1],
            Error::Invalid("start"),
        ),
    ];
    for (bytes, error) in rows {
        assert_eq!(all_messages(bytes), Err(error), "{bytes:?}");
    }
    let long = Message::Unsubscribe { id: u64::MAX };
    assert_eq!(
        long.encode(&mut BytesMut::new()),
        Err(Error::TooLong("number"))
    );
}

fn names(max: usize) -> impl Strategy<Value = String> + Clone {
    prop::collection::vec(0x21..0x7f_u8, 1..=max).prop_map(|b| String::from_utf8(b).unwrap())
}

fn numbers() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![0..100_u64, 0..=varint::MAX]
}

fn message() -> impl Strategy<Value = Message> {
    let key = (numbers(), numbers()).prop_map(|(epoch, number)| Key { epoch, number });
    let hops = prop::collection::vec(names(MAX_NODE), 0..=MAX_HOPS);
    let start = prop_oneof![
        Just(Start::Latest),
        key.clone().prop_map(Start::After),
        (key.clone(), numbers()).prop_map(|(before, for_ms)| Start::Past { before, for_ms }),
    ];
    prop_oneof![
        (
            prop::collection::vec(numbers(), 0..=MAX_VERSIONS),
            names(MAX_NODE)
        )
            .prop_map(|(versions, node)| Message::Hello { versions, node }),
        (numbers(), names(MAX_STREAM), hops.clone(), start).prop_map(
            |(id, stream, hops, start)| Message::Subscribe {
                id,
                stream,
                hops,
                start,
            }
        ),
        (numbers(), hops.clone()).prop_map(|(id, hops)| Message::Accepted { id, hops }),
        (numbers(), prop::option::of(key), numbers())
            .prop_map(|(id, last, groups)| Message::Ended { id, last, groups }),
        (names(MAX_STREAM), numbers(), hops, any::<bool>()).prop_map(
            |(stream, epoch, hops, active)| Message::Announce {
                stream,
                epoch,
                hops,
                active
            }
        ),
    ]
}

/// Longest segment and part.
fn lengths() -> impl Strategy<Value = (Timestamp, Timestamp)> {
    let longest = 1..=MAX_SEGMENT.as_micros();
    (longest.clone(), longest).prop_map(|(a, b)| {
        let (segment_max, part_target) = (a.max(b), a.min(b));
        (
            Timestamp::from_micros(segment_max),
            Timestamp::from_micros(part_target),
        )
    })
}

fn header() -> impl Strategy<Value = Header> {
    let record = prop::collection::vec(any::<u8>(), 0..300);
    (
        (numbers(), numbers(), numbers(), numbers()),
        (numbers(), numbers(), lengths()),
        any::<u32>(),
        any::<bool>(),
        record,
    )
        .prop_map(
            |(
                (epoch, number, wallclock_us, first_msn),
                (first_part, discontinuities, (segment_max, part_target)),
                config_id,
                discontinuity,
                record,
            )| Header {
                epoch,
                number,
                wallclock_us,
                first_msn,
                first_part,
                discontinuities,
                segment_max,
                part_target,
                config_id,
                discontinuity,
                catalog: Arc::new(Catalog {
                    tracks: vec![TrackConfig::new(Codec::H265, record.into())],
                    frame_rate: Some(50.0),
                }),
            },
        )
}

fn frame() -> impl Strategy<Value = Frame> {
    let kind = prop::sample::select(vec![Kind::Key, Kind::Reference, Kind::Disposable]);
    let time = || (-(1_i64 << 59)..1 << 59).prop_map(Timestamp::from_micros);
    let duration = prop::option::of((0..1_i64 << 59).prop_map(Timestamp::from_micros));
    let payload = prop::collection::vec(any::<u8>(), 0..2000).prop_map(Bytes::from);
    (any::<u8>(), kind, time(), time(), duration, payload).prop_map(
        |(track, kind, dts, cts, duration, payload)| Frame {
            track: TrackId(track),
            kind,
            dts,
            cts,
            duration,
            payload,
        },
    )
}

fn group_bytes(header: &Header, frames: &[Frame]) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_header(&mut bytes, 5, header).unwrap();
    let mut previous = Timestamp::ZERO;
    for frame in frames {
        encode_frame(&mut bytes, frame, previous).unwrap();
        bytes.extend_from_slice(&frame.payload);
        previous = frame.dts;
    }
    bytes
}

/// Reads a group's stream whose bytes arrive in pieces.
fn read(bytes: &[u8], piece: usize) -> Result<(Vec<Event>, bool), Error> {
    let mut decoder = GroupDecoder::default();
    let mut events = Vec::new();
    for mut input in bytes.chunks(piece) {
        while let Some(event) = decoder.read(&mut input)? {
            events.push(event);
        }
    }
    Ok((events, decoder.may_end()))
}

proptest! {
    #[test]
    fn messages_come_back_however_they_are_cut(
        sent in prop::collection::vec(message(), 0..5),
        piece in 1..100_usize,
    ) {
        let mut bytes = BytesMut::new();
        sent.iter().try_for_each(|message| message.encode(&mut bytes)).unwrap();
        let mut messages = Messages::default();
        let mut read = Vec::new();
        for piece in bytes.chunks(piece) {
            messages.push(piece);
            while let Some(message) = messages.take().unwrap() {
                read.push(message);
            }
        }
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn groups_come_back_however_they_are_cut(
        header in header(),
        frames in prop::collection::vec(frame(), 0..6),
        piece in 1..3000_usize,
    ) {
        let (events, may_end) = read(&group_bytes(&header, &frames), piece).unwrap();
        prop_assert!(may_end);
        let first = Event::Header { subscription: 5, header };
        let sent: Vec<Event> =
            [first].into_iter().chain(frames.into_iter().map(Event::Frame)).collect();
        prop_assert_eq!(events, sent);
    }

    #[test]
    fn a_group_cut_short_is_noticed(frame in frame(), cut in 1..100_usize) {
        let header = Header {
            epoch: 1, number: 1, wallclock_us: 0, first_msn: 0, config_id: 0,
            first_part: 1, discontinuities: 0, segment_max: Timestamp::from_millis(6_000),
            part_target: Timestamp::from_millis(400),
            discontinuity: true, catalog: Arc::default(),
        };
        let bytes = group_bytes(&header, std::slice::from_ref(&frame));
        let body = bytes.len() - group_bytes(&header, &[]).len();
        let (events, may_end) = read(&bytes[..bytes.len() - cut.min(body - 1)], 50).unwrap();
        prop_assert!(!may_end);
        prop_assert_eq!(events.len(), 1);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = all_messages(&bytes);
        let _ = read(&bytes, 7);
        let _ = read(&[&[1][..], &bytes].concat(), 100);
        let mut after_header = group_bytes(&Header {
            epoch: 1, number: 1, wallclock_us: 0, first_msn: 0, config_id: 0,
            first_part: 1, discontinuities: 0, segment_max: Timestamp::from_millis(6_000),
            part_target: Timestamp::from_millis(400),
            discontinuity: false, catalog: Arc::default(),
        }, &[]);
        after_header.extend_from_slice(&bytes);
        let _ = read(&after_header, 100);
    }
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let header = Header {
        epoch: 1,
        number: 1,
        wallclock_us: 0,
        first_msn: 0,
        first_part: 1,
        discontinuities: 0,
        segment_max: Timestamp::from_millis(6_000),
        part_target: Timestamp::from_millis(400),
        config_id: 0,
        discontinuity: false,
        catalog: Arc::default(),
    };
    for (length, expected) in [
        (MAX_PAYLOAD, Ok(())),
        (MAX_PAYLOAD + 1, Err(Error::TooLong("payload"))),
    ] {
        let mut bytes = group_bytes(&header, &[]);
        let mut head = vec![0, 2, 0, 0, 0];
        varint::write(&mut head, length as u64).unwrap();
        varint::write_bytes(&mut bytes, &head).unwrap();
        bytes.extend_from_slice(&[0; 100]);
        let mut decoder = GroupDecoder::default();
        let mut input = &bytes[..];
        assert!(matches!(
            decoder.read(&mut input),
            Ok(Some(Event::Header { .. }))
        ));
        assert_eq!(
            decoder
                .read(&mut input)
                .map(|event| assert_eq!(event, None)),
            expected
        );
        assert!(
            decoder.memory() <= 128 << 10,
            "{} bytes for 100",
            decoder.memory()
        );
    }
}

#[test]
fn a_large_payload_is_gathered_without_slack() {
    let frame = Frame {
        track: TrackId::VIDEO,
        kind: Kind::Key,
        dts: Timestamp::ZERO,
        cts: Timestamp::ZERO,
        duration: None,
        payload: Bytes::from(vec![3; 300_001]),
    };
    let mut bytes = BytesMut::new();
    encode_frame(&mut bytes, &frame, Timestamp::ZERO).unwrap();
    bytes.extend_from_slice(&frame.payload);
    let header = Header {
        epoch: 1,
        number: 1,
        wallclock_us: 0,
        first_msn: 0,
        first_part: 1,
        discontinuities: 0,
        segment_max: Timestamp::from_millis(6_000),
        part_target: Timestamp::from_millis(400),
        config_id: 0,
        discontinuity: false,
        catalog: Arc::default(),
    };
    let stream = group_bytes(&header, &[]).to_vec();
    let (events, _) = read(&[&stream[..], &bytes].concat(), 1200).unwrap();
    let Event::Frame(read) = events[1].clone() else {
        panic!("a frame")
    };
    drop(events);
    assert_eq!(read.payload, frame.payload);
    let unique = Vec::<u8>::from(read.payload);
    assert_eq!(unique.capacity(), 300_001);
}
