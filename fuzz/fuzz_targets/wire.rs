//! Any bytes as a relay connection's control stream, a group's stream and parity: never a panic, the
//! same whatever the pieces, memory only for what arrived, and what was read can be written and read
//! again.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use media::timestamp::Timestamp;
use relay::wire::{
    Error, Event, GroupDecoder, MAX_HEADER, Message, Messages, Parity, encode_frame, encode_header,
};

fuzz_target!(|data: &[u8]| {
    let Some((&piece, stream)) = data.split_first() else {
        return;
    };
    let piece = usize::from(piece).max(1);
    let whole = control(stream, stream.len().max(1));
    assert_eq!(whole, control(stream, piece));
    let mut again = BytesMut::new();
    for message in &whole.0 {
        message.encode(&mut again).expect("what was read can be written");
    }
    assert_eq!(control(&again, again.len().max(1)), (whole.0, None));

    let whole = group(stream, stream.len().max(1));
    assert_eq!(whole, group(stream, piece));
    write_again(&whole.0);

    if let Ok(Some(parity)) = Parity::decode(&Bytes::copy_from_slice(stream)) {
        let datagram = parity.encode().expect("what was read can be written");
        assert_eq!(Parity::decode(&datagram), Ok(Some(parity)));
    }
});

fn control(stream: &[u8], piece: usize) -> (Vec<Message>, Option<Error>) {
    let mut messages = Messages::default();
    let mut all = Vec::new();
    for piece in stream.chunks(piece) {
        messages.push(piece);
        loop {
            match messages.take() {
                Ok(Some(message)) => all.push(message),
                Ok(None) => break,
                Err(error) => return (all, Some(error)),
            }
        }
    }
    (all, None)
}

fn group(stream: &[u8], piece: usize) -> (Vec<Event>, Option<Error>) {
    let mut decoder = GroupDecoder::default();
    let mut all = Vec::new();
    let mut arrived = 0;
    for mut piece in stream.chunks(piece) {
        arrived += piece.len();
        loop {
            match decoder.read(&mut piece) {
                Ok(Some(event)) => all.push(event),
                Ok(None) => break,
                Err(error) => return (all, Some(error)),
            }
        }
        assert!(decoder.memory() <= 2 * arrived + 2 * MAX_HEADER);
    }
    (all, None)
}

fn write_again(events: &[Event]) {
    let mut bytes = BytesMut::new();
    let mut previous = Timestamp::ZERO;
    for event in events {
        let written = match event {
            Event::Header { subscription, header } => {
                encode_header(&mut bytes, *subscription, header)
            }
            Event::Frame(frame) => {
                let written = encode_frame(&mut bytes, frame, previous);
                bytes.extend_from_slice(&frame.payload);
                previous = frame.dts;
                written
            }
        };
        // Times can add up to more than a number on the wire holds.
        if written.is_err() {
            return;
        }
    }
    assert_eq!(group(&bytes, bytes.len().max(1)).0, events);
}
