//! Sans-IO: the frames of a WebSocket (RFC 6455, section 5), a server's end.
//!
//! A server's frames are unmasked, so a head before the payload is all of writing. A client's are
//! masked, and short here: a player has nothing to say but pings and its goodbye.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What a frame is (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Why a client's bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Breach {
    #[error("a reserved bit or code")]
    Reserved,
    #[error("a frame without a mask")]
    Unmasked,
    #[error("a frame that is too long")]
    TooLong,
    #[error("a control frame in pieces")]
    Fragmented,
}

/// The head of a final, unmasked frame.
pub(super) fn head(code: Code, length: usize) -> Bytes {
    let mut head = BytesMut::with_capacity(10);
    head.put_u8(FIN | code as u8);
    match length {
        0..=125 => head.put_u8(length as u8),
        126..=0xFFFF => {
            head.put_u8(126);
            head.put_u16(length as u16);
        }
        _ => {
            head.put_u8(127);
            head.put_u64(length as u64);
        }
    }
    head.freeze()
}

/// Takes a client's first frame off the front; `None` until it is all there.
pub(super) fn read(input: &mut BytesMut) -> Result<Option<(Code, Bytes)>, Breach> {
    let [first, second, ..] = input[..] else {
        return Ok(None);
    };
    let code = code(first)?;
    if second & MASKED == 0 {
        return Err(Breach::Unmasked);
    }
    let (size, length) = match second & !MASKED {
        126 => match input.get(2..4) {
            Some(bytes) => (4, usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))),
            None => return Ok(None),
        },
        127 => return Err(Breach::TooLong),
        short => (2, usize::from(short)),
    };
    let is_control = code as u8 >= Code::Close as u8;
    if length > if is_control { MAX_CONTROL } else { MAX_DATA } {
        return Err(Breach::TooLong);
    }
    if is_control && first & FIN == 0 {
        return Err(Breach::Fragmented);
    }
    if input.len() < size + MASK + length {
        return Ok(None);
    }
    input.advance(size);
    let mask = input.split_to(MASK);
    let mut payload = input.split_to(length);
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Some((code, payload.freeze())))
}

fn code(first: u8) -> Result<Code, Breach> {
    Ok(match first & !FIN {
        0 => Code::Continuation,
        1 => Code::Text,
        2 => Code::Binary,
        8 => Code::Close,
        9 => Code::Ping,
        10 => Code::Pong,
        // Also where a reserved bit is set: no extension was agreed on.
        _ => return Err(Breach::Reserved),
    })
}

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Bytes of a mask.
const MASK: usize = 4;

/// Bytes of a control frame's payload (section 5.5).
const MAX_CONTROL: usize = 125;

/// Bytes of any other frame: what a player says is not listened to, so that little is enough.
const MAX_DATA: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a client writes it: shorter than 64 KiB, masked with 1, 2, 3, 4.
    fn masked(first: u8, payload: &[u8]) -> BytesMut {
        let mut frame = BytesMut::new();
        frame.put_u8(first);
        match payload.len() {
            short @ 0..=125 => frame.put_u8(MASKED | short as u8),
            long => {
                frame.put_u8(MASKED | 126);
                frame.put_u16(long as u16);
            }
        }
        frame.put_slice(&[1, 2, 3, 4]);
        let mask = [1, 2, 3, 4].into_iter().cycle();
        frame.extend(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn heads_are_as_long_as_needed() {
        let rows: [(usize, &[u8]); 5] = [
            (0, &[0x82, 0]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (0xFFFF, &[0x82, 126, 0xFF, 0xFF]),
            (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ];
        for (length, expected) in rows {
            assert_eq!(head(Code::Binary, length), expected, "{length}");
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_read_byte_by_byte() {
        // RFC 6455, section 5.7: a single-frame masked text message.
        let hello = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        let mut input = BytesMut::new();
        for byte in &hello[..10] {
            input.put_u8(*byte);
            assert_eq!(read(&mut input), Ok(None));
        }
        input.put_u8(hello[10]);
        let hello = Bytes::from_static(b"Hello");
        assert_eq!(read(&mut input), Ok(Some((Code::Text, hello))));
        assert!(input.is_empty());
    }

    #[test]
    fn what_no_client_may_send_is_a_breach() {
        let check = |input: &[u8], breach| {
            assert_eq!(read(&mut input.into()), Err(breach), "{input:02x?}");
        };
        check(&[0xC2, 0x80], Breach::Reserved);
        check(&[0x83, 0x80], Breach::Reserved);
        check(&[0x82, 0x00], Breach::Unmasked);
        check(&[0x82, 0xFF], Breach::TooLong);
        check(&masked(0x82, &[0; 5000]), Breach::TooLong);
        check(&masked(0x89, &[0; 126]), Breach::TooLong);
        check(&masked(0x09, b""), Breach::Fragmented);
    }

    proptest! {
        #[test]
        fn frames_are_read_one_by_one(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4)
        ) {
            let mut input = BytesMut::new();
            for payload in &payloads {
                input.unsplit(masked(0x82, payload));
            }
            for payload in &payloads {
                prop_assert_eq!(
                    read(&mut input),
                    Ok(Some((Code::Binary, Bytes::copy_from_slice(payload))))
                );
            }
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = read(&mut input) {}
        }
    }
}
