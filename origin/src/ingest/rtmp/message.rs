//! Sans-IO: RTMP messages (RTMP 1.0 sections 5.4, 7.1): what chunks carry.
//! Hot: audio, video and script messages become [`Media`] without a copy, those inside an
//! aggregate too.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use media::flv::tag;
use media::timestamp::Timestamp;

/// Message type ids.
pub mod kind {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control: stream begins and ends, pings.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const PEER_BANDWIDTH: u8 = 6;
    /// Audio: the body of an FLV tag.
    pub const AUDIO: u8 = 8;
    /// Video: the body of an FLV tag.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3, in practice a byte 0 and AMF0.
    pub const DATA_AMF3: u8 = 15;
    /// A command in AMF3, in practice a byte 0 and AMF0.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0: the body of an FLV script tag.
    pub const DATA: u8 = 18;
    /// A command in AMF0.
    pub const COMMAND: u8 = 20;
    /// Several FLV tags in one message.
    pub const AGGREGATE: u8 = 22;
}

/// User Control event types (section 7.1.7).
pub mod event {
    /// A stream has become functional.
    pub const STREAM_BEGIN: u16 = 0;
    /// A stream has nothing more to play.
    pub const STREAM_EOF: u16 = 1;
    /// How many milliseconds a player buffers.
    pub const SET_BUFFER_LENGTH: u16 = 3;
    /// A server asks whether the client is there.
    pub const PING_REQUEST: u16 = 6;
    /// The client is there.
    pub const PING_RESPONSE: u16 = 7;
}

/// Why a message cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A control message that is too short.
    #[error("malformed control message of kind {0}")]
    Control(u8),
    /// Tags that do not fill their aggregate.
    #[error("malformed aggregate")]
    Aggregate,
}

/// A whole message, as it left the chunk stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One of [`kind`].
    pub kind: u8,
    /// The message stream: 0 for the connection itself.
    pub stream_id: u32,
    /// Milliseconds, modulo 2^32.
    pub timestamp: u32,
    /// What the kind says it is.
    pub body: Bytes,
}

/// One audio, video or script message: the body of an FLV tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `media::flv::tag::{AUDIO, VIDEO, SCRIPT}`.
    pub tag_type: u8,
    /// The message's time, past the wrap of its 32 bits.
    pub timestamp: Timestamp,
    /// The tag's body.
    pub body: Bytes,
}

/// A User Control message's body.
pub fn user_control(event: u16, fields: &[u32]) -> Bytes {
    let mut body = BytesMut::with_capacity(2 + 4 * fields.len());
    body.put_u16(event);
    fields.iter().for_each(|&field| body.put_u32(field));
    body.freeze()
}

/// Places the times of media messages on one line that does not wrap.
#[derive(Debug, Default)]
pub struct TimeLine {
    last: Option<i64>,
}

impl TimeLine {
    /// Hands `each` the audio, video and script messages in `message`, in order; other kinds have
    /// none.
    pub fn media(&mut self, message: Message, mut each: impl FnMut(Media)) -> Result<(), Error> {
        if message.kind == kind::AGGREGATE {
            for part in split_aggregate(&message)? {
                self.place(part).map(&mut each);
            }
        } else {
            self.place(message).map(each);
        }
        Ok(())
    }

    fn place(&mut self, message: Message) -> Option<Media> {
        let time = self.unwrap(message.timestamp);
        let (tag_type, body) = match message.kind {
            kind::AUDIO => (tag::AUDIO, message.body),
            kind::VIDEO => (tag::VIDEO, message.body),
            kind::DATA | kind::DATA_AMF3 => (tag::SCRIPT, script(message)?),
            _ => return None,
        };
        if tag_type != tag::SCRIPT {
            // Encoders stamp late metadata with 0: it is placed, but moves nothing.
            self.last = Some(time);
        }
        Some(Media {
            tag_type,
            timestamp: Timestamp::from_millis(time),
            body,
        })
    }

    /// Nearest to the last one of all times that are equal modulo 2^32.
    fn unwrap(&self, timestamp: u32) -> i64 {
        let Some(last) = self.last else {
            return i64::from(timestamp);
        };
        let step = timestamp.wrapping_sub(last as u32).cast_signed();
        last + i64::from(step)
    }
}

/// A data message's body as a script tag has it: without `@setDataFrame`, which asks a server to
/// keep what follows. `None` for `@clearDataFrame`, which has nothing to say to a viewer.
fn script(message: Message) -> Option<Bytes> {
    let mut body = message.body;
    if message.kind == kind::DATA_AMF3 {
        skip_format(&mut body);
    }
    if body.starts_with(SET_DATA_FRAME) {
        body.advance(SET_DATA_FRAME.len());
    }
    (!body.starts_with(CLEAR_DATA_FRAME)).then_some(body)
}

/// Drops the byte that opens an AMF3 message: 0 says that AMF0 follows.
pub fn skip_format(body: &mut Bytes) {
    if body.first() == Some(&0) {
        body.advance(1);
    }
}

/// The messages in an aggregate (section 7.1.6): FLV tags, each followed by its length. Their times
/// are moved so that the first has the aggregate's.
fn split_aggregate(aggregate: &Message) -> Result<Vec<Message>, Error> {
    let mut body = aggregate.body.clone();
    let mut parts = Vec::new();
    let mut shift = None;
    while !body.is_empty() {
        if body.len() < TAG_HEADER || parts.len() == MAX_PARTS {
            return Err(Error::Aggregate);
        }
        let kind = body.get_u8();
        let length = body.get_uint(3) as usize;
        let low = body.get_uint(3) as u32;
        let time = low | u32::from(body.get_u8()) << 24;
        body.advance(3);
        if body.len() < length {
            return Err(Error::Aggregate);
        }
        let shift = *shift.get_or_insert(aggregate.timestamp.wrapping_sub(time));
        let timestamp = time.wrapping_add(shift);
        let stream_id = aggregate.stream_id;
        parts.push(Message {
            kind,
            stream_id,
            timestamp,
            body: body.split_to(length),
        });
        body.advance(body.len().min(4));
    }
    Ok(parts)
}

/// More tags than a second of audio and video has, many times over.
const MAX_PARTS: usize = 4096;
/// Type, length, time, stream id.
const TAG_HEADER: usize = 11;
/// AMF0 strings: a marker, two bytes of length, the text.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";
const CLEAR_DATA_FRAME: &[u8] = b"\x02\x00\x0f@clearDataFrame";

#[cfg(test)]
mod tests;
