//! Messages: times that wrap, aggregates, and the words around metadata.

use super::*;
use proptest::prelude::*;

fn message(kind: u8, timestamp: u32, body: &[u8]) -> Message {
    Message {
        kind,
        stream_id: 1,
        timestamp,
        body: Bytes::copy_from_slice(body),
    }
}

fn media(time_line: &mut TimeLine, message: Message) -> Result<Vec<(u8, i64, Bytes)>, Error> {
    let mut all = Vec::new();
    let each = |media: Media| all.push((media.tag_type, media.timestamp.as_millis(), media.body));
    time_line.media(message, each)?;
    Ok(all)
}

/// The time each message gets, in milliseconds.
fn times(messages: &[(u8, u32)]) -> Vec<i64> {
    let mut time_line = TimeLine::default();
    let place =
        |&(kind, time): &(u8, u32)| media(&mut time_line, message(kind, time, b"")).unwrap()[0].1;
    messages.iter().map(place).collect()
}

#[test]
fn time_goes_on_past_the_wrap_of_32_bits() {
    let wrap = 1_i64 << 32;
    let (audio, video, data) = (kind::AUDIO, kind::VIDEO, kind::DATA);
    let last = u32::MAX - 9;
    assert_eq!(
        times(&[
            (video, last),
            (audio, 5),
            (video, last + 5),
            (video, 30),
            (audio, 25)
        ]),
        [wrap - 10, wrap + 5, wrap - 5, wrap + 30, wrap + 25]
    );
    // Times half the range ahead count as behind, but metadata at 0 moves nothing.
    let half = 1_u32 << 31;
    assert_eq!(
        times(&[(video, half - 10), (data, 0), (video, half + 10)]),
        [i64::from(half) - 10, 0, i64::from(half) + 10]
    );
    assert_eq!(
        times(&[(data, 7), (video, half + 9)]),
        [7, i64::from(half) + 9]
    );
}

/// An FLV tag with its length behind it.
fn tag(kind: u8, time: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
    bytes.extend(&time.to_be_bytes()[1..]);
    bytes.push((time >> 24) as u8);
    bytes.extend([0; 3]);
    bytes.extend(body);
    bytes.extend((body.len() as u32 + 11).to_be_bytes());
    bytes
}

#[test]
fn an_aggregate_is_split_and_its_times_moved() {
    let parts = [
        tag(9, 5000, b"vv"),
        tag(8, 5020, b"a"),
        tag(3, 0, b"?"),
        tag(9, 5040, b""),
    ]
    .concat();
    let want = [(9, 100, "vv"), (8, 120, "a"), (9, 140, "")]
        .map(|(kind, time, body)| (kind, time, Bytes::from(body)));
    // The last tag's length may be missing.
    for end in [parts.len(), parts.len() - 4] {
        let aggregate = message(kind::AGGREGATE, 100, &parts[..end]);
        assert_eq!(media(&mut TimeLine::default(), aggregate).unwrap(), want);
    }
}

#[test]
fn an_aggregate_references_its_tags() {
    let aggregate = message(kind::AGGREGATE, 0, &tag(9, 0, b"video"));
    let body = aggregate.body.clone();
    let parts = media(&mut TimeLine::default(), aggregate).unwrap();
    assert_eq!(parts[0].2.as_ptr(), body[11..].as_ptr());
}

#[test]
fn a_malformed_aggregate_is_an_error() {
    let whole = tag(9, 0, b"video");
    let mut long = whole.clone();
    long[3] = 200;
    let many = tag(9, 0, b"").repeat(MAX_PARTS + 1);
    for body in [&whole[..15], &whole[..10], &long, &many, b"x"] {
        let aggregate = message(kind::AGGREGATE, 0, body);
        assert_eq!(
            media(&mut TimeLine::default(), aggregate),
            Err(Error::Aggregate)
        );
    }
}

#[test]
fn metadata_loses_the_words_meant_for_the_server() {
    let set = b"\x02\x00\x0d@setDataFramerest".as_slice();
    let rows = [
        (kind::DATA, set, Some("rest")),
        (kind::DATA_AMF3, &[&[0], set].concat(), Some("rest")),
        (
            kind::DATA,
            b"\x02\x00\x0aonMetaData",
            Some("\x02\x00\x0aonMetaData"),
        ),
        (kind::DATA_AMF3, b"\x00rest", Some("rest")),
        (kind::DATA, b"\x02\x00\x0f@clearDataFramerest", None),
        (kind::DATA, b"", Some("")),
    ];
    for (kind, body, want) in rows {
        let got = media(&mut TimeLine::default(), message(kind, 0, body)).unwrap();
        let want = want.map(|want| (18, 0, Bytes::from(want)));
        assert_eq!(got, Vec::from_iter(want));
    }
}

#[test]
fn other_messages_are_not_media() {
    for kind in [kind::COMMAND, kind::USER_CONTROL, 16, 19, 255] {
        let other = message(kind, 0, b"x");
        assert_eq!(media(&mut TimeLine::default(), other), Ok(Vec::new()));
    }
}

proptest! {
    #[test]
    fn random_messages_never_panic(
        kind in prop_oneof![any::<u8>(), Just(kind::AGGREGATE)],
        time in any::<u32>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = media(&mut TimeLine::default(), message(kind, time, &body));
    }
}
