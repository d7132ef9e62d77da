//! Sans-IO: an FLV byte stream in pieces of any size to events.
//!
//! Memory is one tag and what was pushed last. PreviousTagSize is not believed, as in every player.

use super::parse::MAX_BODY;
use super::tag::{HEADER_LEN, TRAILER_LEN};
use super::{Error, Event, parse};
use crate::timestamp::Timestamp;
use bytes::{Buf, Bytes, BytesMut};

/// Takes bytes in and gives events out.
///
/// A tag that cannot be parsed is an error once, and the next
/// call goes on behind it; an error of the framing stays.
#[derive(Debug, Default)]
pub struct Demuxer {
    buffer: BytesMut,
    started: bool,
}

impl Demuxer {
    /// A demuxer before the FLV header.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes; drain `next` before the next push, so that the buffer stays small.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next event, or nothing before more bytes come.
    #[allow(clippy::should_implement_trait)] // fallible, and not over when it gives nothing
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        if !self.started && !self.skip_header()? {
            return Ok(None);
        }
        let Some((tag_type, dts, body)) = self.tag()? else {
            return Ok(None);
        };
        if tag_type & ENCRYPTED != 0 {
            return Ok(Some(Event::Ignored("encrypted tag")));
        }
        parse(tag_type, dts, body).map(Some)
    }

    /// Signature, version, flags, DataOffset (E.2) and the first PreviousTagSize.
    fn skip_header(&mut self) -> Result<bool, Error> {
        let known = self.buffer.len().min(SIGNATURE.len());
        if self.buffer[..known] != SIGNATURE[..known] {
            return Err(Error::NotFlv);
        }
        let Some(offset) = self.buffer.get(5..9) else {
            return Ok(false);
        };
        let offset = (&offset[..]).get_u32() as usize;
        if !(9..=MAX_HEADER).contains(&offset) {
            return Err(Error::NotFlv);
        }
        if self.buffer.len() < offset + TRAILER_LEN {
            return Ok(false);
        }
        self.buffer.advance(offset + TRAILER_LEN);
        self.started = true;
        Ok(true)
    }

    /// Takes a whole tag and its trailer off the buffer.
    fn tag(&mut self) -> Result<Option<(u8, Timestamp, Bytes)>, Error> {
        let Some(header) = self.buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let &[tag_type, s2, s1, s0, t2, t1, t0, t3, ..] = header;
        let size = u32::from_be_bytes([0, s2, s1, s0]) as usize;
        if size > MAX_BODY {
            return Err(Error::TooLarge("tag"));
        }
        if self.buffer.len() < HEADER_LEN + size + TRAILER_LEN {
            return Ok(None);
        }
        let dts = Timestamp::from_millis(i64::from(u32::from_be_bytes([t3, t2, t1, t0])));
        self.buffer.advance(HEADER_LEN);
        let body = self.buffer.split_to(size).freeze();
        self.buffer.advance(TRAILER_LEN);
        Ok(Some((tag_type, dts, body)))
    }
}

const SIGNATURE: [u8; 4] = *b"FLV\x01";

/// The Filter bit of the tag type (E.4.1).
const ENCRYPTED: u8 = 0x20;

/// Headers are nine bytes long; the field leaves room for more, and nothing real uses it.
const MAX_HEADER: usize = 64;
