//! The chunk stream, checked on bytes laid out by hand, in pieces and at random.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    message: 1 << 20,
    unfinished: 1 << 21,
};

fn message(kind: u8, timestamp: u32, body: &[u8]) -> Message {
    Message {
        kind,
        stream_id: 1,
        timestamp,
        body: Bytes::copy_from_slice(body),
    }
}

/// Reads `bytes` given in pieces.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<Message>, Error> {
    let mut reader = Reader::new(LIMITS);
    let mut messages = Vec::new();
    for part in bytes.chunks(piece) {
        let mut part = Bytes::copy_from_slice(part);
        while let Some(message) = reader.read(&mut part)? {
            messages.push(message);
        }
        assert!(part.is_empty());
    }
    Ok(messages)
}

/// A message header of format 0, 1 or 2 on chunk stream 4, stream 1.
fn header(format: u8, time: u32, length: usize, kind: u8) -> Vec<u8> {
    let mut bytes = vec![format << 6 | 4];
    bytes.extend(&time.to_be_bytes()[1..]);
    if format < 2 {
        bytes.extend(&(length as u32).to_be_bytes()[1..]);
        bytes.push(kind);
    }
    if format == 0 {
        bytes.extend(1u32.to_le_bytes());
    }
    bytes
}

fn control(kind: u8, field: u32) -> Vec<u8> {
    [
        &[2, 0, 0, 0, 0, 0, 4, kind, 0, 0, 0, 0],
        &field.to_be_bytes()[..],
    ]
    .concat()
}

/// What hand-made chunks say, whole and byte by byte.
#[track_caller]
fn check(parts: &[&[u8]], want: &[Message]) {
    let bytes = parts.concat();
    for piece in [bytes.len(), 1, 3, 7] {
        assert_eq!(
            read(&bytes, piece).as_deref(),
            Ok(want),
            "in pieces of {piece}"
        );
    }
}

#[track_caller]
fn check_error(parts: &[&[u8]], want: Error) {
    let bytes = parts.concat();
    for piece in [bytes.len(), 1] {
        assert_eq!(read(&bytes, piece), Err(want), "in pieces of {piece}");
    }
}

#[test]
fn shorter_headers_take_the_rest_from_earlier_ones() {
    check(
        &[
            &header(0, 1000, 1, 9),
            b"a",
            &header(1, 20, 2, 8),
            b"bb",
            &header(2, 30, 0, 0),
            b"cc",
            // Format 3 repeats the difference.
            &[0xc4],
            b"dd",
        ],
        &[
            message(9, 1000, b"a"),
            message(8, 1020, b"bb"),
            message(8, 1050, b"cc"),
            message(8, 1080, b"dd"),
        ],
    );
}

#[test]
fn format_three_after_a_full_header_adds_its_time() {
    check(
        &[&header(0, 40, 1, 8), b"a", &[0xc4], b"b"],
        &[message(8, 40, b"a"), message(8, 80, b"b")],
    );
}

#[test]
fn times_wrap() {
    let extended = u32::MAX - 9;
    check(
        &[
            &header(0, 0xff_ffff, 1, 8),
            &extended.to_be_bytes(),
            b"a",
            &header(2, 30, 0, 0),
            b"b",
        ],
        &[message(8, extended, b"a"), message(8, 20, b"b")],
    );
}

#[test]
fn all_basic_headers_name_their_stream() {
    let rest = &header(0, 5, 1, 8)[1..];
    for basic in [
        &[0x02][..],
        &[0x3f],
        &[0x00, 0],
        &[0x00, 255],
        &[0x01, 0, 1],
        &[1, 255, 255],
    ] {
        check(&[basic, rest, b"a"], &[message(8, 5, b"a")]);
    }
    // Stream 64 in two bytes and in three is the same stream.
    check(
        &[&[0x00, 0], rest, b"a", &[0xc1, 0, 0], b"b"],
        &[message(8, 5, b"a"), message(8, 10, b"b")],
    );
}

#[test]
fn chunk_streams_interleave() {
    let long: Vec<u8> = (0..=255).collect();
    let audio = &[&[5], &header(0, 7, 3, 8)[1..], b"abc"].concat();
    check(
        &[
            &header(0, 0, 256, 9),
            &long[..128],
            audio,
            &[0xc4],
            &long[128..],
        ],
        &[message(8, 7, b"abc"), message(9, 0, &long)],
    );
}

#[test]
fn a_long_time_is_repeated_left_out_or_made_absolute_on_further_chunks() {
    let long = [0xaa; 130];
    let time = 0x0123_4567_u32.to_be_bytes();
    let first = header(0, 0xff_ffff, 130, 9);
    let want = message(9, 0x0123_4567, &long);
    let next = message(8, 1, b"z");
    let audio = &[&[5], &header(0, 1, 1, 8)[1..], b"z"].concat();
    check(
        &[
            &first,
            &time,
            &long[..128],
            &[0xc4],
            &time,
            &long[128..],
            audio,
        ],
        &[want.clone(), next.clone()],
    );
    check(
        &[&first, &time, &long[..128], &[0xc4], &long[128..], audio],
        &[want, next],
    );
    // A difference of 2^24 on top of time 16; the second chunk repeats the sum.
    let sum = 0x0100_0010_u32;
    check(
        &[
            &header(0, 16, 1, 9),
            b"a",
            &header(1, 0xff_ffff, 130, 9),
            &0x0100_0000_u32.to_be_bytes(),
            &long[..128],
            &[0xc4],
            &sum.to_be_bytes(),
            &long[128..],
        ],
        &[message(9, 16, b"a"), message(9, sum, &long)],
    );
}

#[test]
fn payload_that_begins_like_the_time_is_still_payload() {
    let time = [0x01, 0x23, 0x45, 0x67];
    let mut body = vec![0; 128];
    body.extend([0x01, 0x23, 0x99]);
    let first = header(0, 0xff_ffff, body.len(), 9);
    let audio = &[&[5], &header(0, 1, 1, 8)[1..], b"z"].concat();
    check(
        &[&first, &time, &body[..128], &[0xc4], &body[128..], audio],
        &[message(9, 0x0123_4567, &body), message(8, 1, b"z")],
    );
}

#[test]
fn the_chunk_size_changes() {
    let body = [7; 300];
    check(
        &[
            &control(kind::SET_CHUNK_SIZE, 1000),
            &header(0, 0, 300, 9),
            &body,
        ],
        &[message(9, 0, &body)],
    );
    // Sizes past the longest message are as good as that.
    check(
        &[
            &control(kind::SET_CHUNK_SIZE, 0x7fff_ffff),
            &header(0, 0, 300, 9),
            &body,
        ],
        &[message(9, 0, &body)],
    );
    check(
        &[
            &control(kind::SET_CHUNK_SIZE, 1),
            &header(0, 0, 3, 9),
            b"a",
            &[0xc4],
            b"b\xc4c",
        ],
        &[message(9, 0, b"abc")],
    );
}

#[test]
fn an_abort_or_a_new_header_gives_a_message_up() {
    let abort = control(kind::ABORT, 4);
    let start = [&header(0, 0, 256, 9)[..], &[1; 128]].concat();
    let audio = [&header(0, 9, 1, 8)[..], b"z"].concat();
    check(&[&start, &abort, &audio], &[message(8, 9, b"z")]);
    check(&[&start, &audio], &[message(8, 9, b"z")]);
    check(&[&control(kind::ABORT, 77), &audio], &[message(8, 9, b"z")]);
}

#[test]
fn a_message_may_be_empty() {
    check(
        &[&header(0, 3, 0, 8), &[0xc4], &[0xc4]],
        &[message(8, 3, b""), message(8, 6, b""), message(8, 9, b"")],
    );
}

#[test]
fn a_stream_may_begin_with_a_header_without_stream_id() {
    let want = Message {
        stream_id: 0,
        ..message(8, 3, b"a")
    };
    check(&[&header(1, 3, 1, 8), b"a"], &[want]);
}

#[test]
fn what_breaks_the_stream_is_an_error() {
    check_error(&[&header(2, 3, 0, 0)], Error::NoHeader(4));
    check_error(&[&[0xc4, 0]], Error::NoHeader(4));
    check_error(
        &[&header(0, 0, LIMITS.message + 1, 9)],
        Error::TooLong(LIMITS.message + 1),
    );
    check_error(&[&control(kind::SET_CHUNK_SIZE, 0)], Error::Control);
    check_error(
        &[&control(kind::SET_CHUNK_SIZE, 0x8000_0000)],
        Error::Control,
    );
    check_error(
        &[&[2, 0, 0, 0, 0, 0, 1, kind::ABORT, 0, 0, 0, 0], &[0]],
        Error::Control,
    );
    let all: Vec<u8> = (0..=64)
        .flat_map(|id| [&[0, id], &header(0, 0, 0, 8)[1..]].concat())
        .collect();
    check_error(&[&all], Error::TooManyStreams);
}

#[test]
fn unfinished_messages_are_bounded_together() {
    let mut reader = Reader::new(LIMITS);
    let claim = |id: u8| {
        let header = header(0, 0, LIMITS.message, 9);
        Bytes::from([&[id], &header[1..], &[0]].concat())
    };
    // Two whole messages are allowed; each further claim on the same streams replaces one.
    for id in [3, 4, 3, 4, 4, 3] {
        // A chunk is left open: its bytes to come are given first.
        let open = reader.current.map_or(0, |(_, left)| left);
        assert_eq!(reader.read(&mut Bytes::from(vec![0; open])), Ok(None));
        assert_eq!(reader.read(&mut claim(id)), Ok(None));
        assert!(reader.claimed <= LIMITS.unfinished);
    }
    let open = reader.current.map_or(0, |(_, left)| left);
    assert_eq!(reader.read(&mut Bytes::from(vec![0; open])), Ok(None));
    assert_eq!(
        reader.read(&mut claim(5)),
        Err(Error::TooMuch(LIMITS.unfinished))
    );
}

fn written(messages: &[(Message, Vec<u8>)], long: bool) -> Vec<u8> {
    let (mut writer, mut out) = (Writer::new(), VecDeque::new());
    if long {
        writer.lengthen(&mut out);
    }
    for (message, head) in messages {
        writer.write(4, message.clone(), head, &mut out);
    }
    out.iter().flatten().copied().collect()
}

#[test]
fn a_payload_is_referenced_not_copied() {
    let (mut writer, mut out) = (Writer::new(), VecDeque::new());
    writer.lengthen(&mut out);
    out.clear();
    let body = Bytes::from(vec![1; CHUNK_SIZE + 10]);
    writer.write(
        6,
        Message {
            body: body.clone(),
            ..message(9, 0, b"")
        },
        b"head",
        &mut out,
    );
    let places: Vec<_> = out
        .iter()
        .map(|bytes| (bytes.as_ptr(), bytes.len()))
        .collect();
    let cut = CHUNK_SIZE - 4;
    assert_eq!(places.len(), 4);
    assert_eq!(places[1], (body.as_ptr(), cut));
    assert_eq!(places[3], (body[cut..].as_ptr(), 14));
    assert_eq!(out[0].len(), 12 + 4);
    assert_eq!(out[2][..], [0xc6]);
}

#[test]
fn a_body_that_rtmp_cannot_say_is_dropped() {
    let (mut writer, mut out) = (Writer::new(), VecDeque::new());
    let body = Bytes::from(vec![0; MAX_MESSAGE]);
    writer.write(
        6,
        Message {
            body,
            ..message(9, 0, b"")
        },
        b"x",
        &mut out,
    );
    assert!(out.is_empty());
}

fn any_message() -> impl Strategy<Value = (Message, Vec<u8>)> {
    let time = prop_oneof![0u32..100, 0xff_fff0u32..0x0100_0010, any::<u32>()];
    let body = prop::collection::vec(any::<u8>(), 0..600);
    (
        8u8..10,
        time,
        body,
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(kind, time, body, head)| (message(kind, time, &body), head))
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_split(
        messages in prop::collection::vec(any_message(), 0..12),
        long in any::<bool>(),
        piece in 1usize..700,
    ) {
        let want: Vec<Message> = messages
            .iter()
            .map(|(message, head)| {
                let body = [&head[..], &message.body].concat().into();
                Message { body, ..message.clone() }
            })
            .collect();
        prop_assert_eq!(read(&written(&messages, long), piece), Ok(want));
    }

    #[test]
    fn random_bytes_never_panic_and_claim_within_the_limit(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..12, Just(0xc4)], 0..3000),
        piece in 1usize..100,
    ) {
        let mut reader = Reader::new(LIMITS);
        'all: for part in bytes.chunks(piece) {
            let mut part = Bytes::copy_from_slice(part);
            loop {
                match reader.read(&mut part) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'all,
                }
            }
            prop_assert!(reader.claimed <= LIMITS.unfinished);
            prop_assert!(reader.streams.len() <= MAX_STREAMS);
        }
    }
}
