//! Sans-IO: the chunk stream (RTMP 1.0 section 5.3): chunks to messages and back.
//! Hot: each payload byte is copied once, from the socket's buffer into its message, when read, and
//! not at all when written.
//!
//! A peer can claim any length on any number of chunk streams: what its unfinished messages claim
//! is bounded in sum, so their whole length is reserved at once. Set Chunk Size and Abort act on
//! this layer and never leave it.

use super::message::{Message, kind};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;

/// Why the chunks of a peer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A message longer than allowed.
    #[error("message of {0} bytes is too long")]
    TooLong(usize),
    /// The unfinished messages are too much together.
    #[error("unfinished messages claim more than {0} bytes")]
    TooMuch(usize),
    /// More chunk streams than any encoder uses.
    #[error("more than {MAX_STREAMS} chunk streams")]
    TooManyStreams,
    /// A short header refers to an earlier one that was never sent.
    #[error("chunk stream {0} begins without a header")]
    NoHeader(u32),
    /// A Set Chunk Size or Abort that says nothing valid.
    #[error("malformed set chunk size or abort")]
    Control,
}

/// What a peer may claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, in bytes.
    pub message: usize,
    /// The sum of the lengths of all unfinished messages, in bytes.
    pub unfinished: usize,
}

/// The longest message there can be: its length has 24 bits.
pub const MAX_MESSAGE: usize = 0xff_ffff;

/// Assembles messages from chunks.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    chunk_size: usize,
    streams: Vec<Stream>,
    /// The sum of the lengths of the unfinished messages.
    claimed: usize,
    /// A header of which only the beginning has come.
    stash: Stash,
    /// The stream whose chunk is being read and how many bytes of the chunk are to come.
    current: Option<(usize, usize)>,
}

/// A chunk stream: its last header, and its message while that is unfinished.
#[derive(Debug)]
struct Stream {
    id: u32,
    header: Header,
    body: Option<BytesMut>,
}

/// A message header, with what a shorter one took from those before it.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    kind: u8,
    stream_id: u32,
    length: usize,
    /// The time or time difference as it was sent.
    field: u32,
    /// Whether `field` needed its four further bytes.
    extended: bool,
    /// The message's time.
    timestamp: u32,
}

#[derive(Debug, Default)]
struct Stash {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

/// One chunk header as read.
struct Parsed {
    size: usize,
    id: u32,
    /// Where `id` is among the streams, when it is known.
    index: Option<usize>,
    header: Header,
    /// Whether the chunk goes on with an unfinished message.
    continues: bool,
}

impl Reader {
    /// A reader that expects chunks of the initial size.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunk_size: INITIAL_CHUNK_SIZE,
            streams: Vec::new(),
            claimed: 0,
            stash: Stash::default(),
            current: None,
        }
    }

    /// Changes what the peer may claim from its next message on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The next whole message; `None` once all of `input` is taken.
    pub fn read(&mut self, input: &mut Bytes) -> Result<Option<Message>, Error> {
        loop {
            let (index, left) = match self.current {
                Some(current) => current,
                None => match self.begin_chunk(input)? {
                    Some(current) => current,
                    None => return Ok(None),
                },
            };
            let left = self.gather(index, left, input);
            self.current = (left > 0).then_some((index, left));
            if left > 0 {
                return Ok(None);
            }
            if let Some(message) = self.finish(index)? {
                return Ok(Some(message));
            }
        }
    }

    /// Reads a chunk's header; `None` when it is not all there.
    fn begin_chunk(&mut self, input: &mut Bytes) -> Result<Option<(usize, usize)>, Error> {
        let mut bytes = self.stash.bytes;
        let fresh = input.len().min(MAX_HEADER - self.stash.len);
        let have = self.stash.len + fresh;
        bytes[self.stash.len..have].copy_from_slice(&input[..fresh]);
        let Some(parsed) = self.parse(&bytes[..have])? else {
            self.stash = Stash { bytes, len: have };
            input.advance(fresh);
            return Ok(None);
        };
        self.consume(parsed.size, input);
        let index = self.enter(&parsed)?;
        let stream = &self.streams[index];
        let have = stream.body.as_ref().map_or(0, BytesMut::len);
        Ok(Some((
            index,
            self.chunk_size.min(stream.header.length - have),
        )))
    }

    /// Drops bytes from the front of the stash, then of the input.
    fn consume(&mut self, size: usize, input: &mut Bytes) {
        let stashed = size.min(self.stash.len);
        self.stash.bytes.copy_within(stashed.., 0);
        self.stash.len -= stashed;
        input.advance(size - stashed);
    }

    /// Sections 5.3.1.1 to 5.3.1.3; `None` when bytes are missing.
    fn parse(&self, bytes: &[u8]) -> Result<Option<Parsed>, Error> {
        let Some((format, id, basic)) = basic_header(bytes) else {
            return Ok(None);
        };
        let index = self.streams.iter().position(|stream| stream.id == id);
        let known = index.map(|index| &self.streams[index]);
        // Format 1 may open a stream: librtmp sends its first control message so.
        if format >= 2 && known.is_none() {
            return Err(Error::NoHeader(id));
        }
        let continues = format == 3 && known.is_some_and(|stream| stream.body.is_some());
        let before = known.map(|stream| stream.header).unwrap_or_default();
        let mut header = before;
        let mut size = basic + MESSAGE_HEADER[usize::from(format)];
        let Some(fields) = bytes.get(basic..size) else {
            return Ok(None);
        };
        if format < 3 {
            header.field = be24(fields);
            header.extended = header.field == EXTENDED;
        }
        if format < 2 {
            header.length = be24(&fields[3..]) as usize;
            header.kind = fields[6];
        }
        if format == 0 {
            header.stream_id = u32::from_le_bytes(fields[7..11].try_into().expect("4 bytes"));
        }
        if header.extended && format < 3 {
            let Some(field) = bytes.get(size..size + 4) else {
                return Ok(None);
            };
            header.field = u32::from_be_bytes(field.try_into().expect("4 bytes"));
            size += 4;
        } else if header.extended {
            match repeats_time(&before, &bytes[size..]) {
                Some(true) => size += 4,
                Some(false) => {}
                None => return Ok(None),
            }
        }
        header.timestamp = match format {
            0 => header.field,
            _ if continues => before.timestamp,
            _ => before.timestamp.wrapping_add(header.field),
        };
        Ok(Some(Parsed {
            size,
            id,
            index,
            header,
            continues,
        }))
    }

    /// Makes the chunk's stream ready for its bytes and returns where it is.
    fn enter(&mut self, parsed: &Parsed) -> Result<usize, Error> {
        if let Some(index) = parsed.index
            && parsed.continues
        {
            return Ok(index);
        }
        let length = parsed.header.length;
        if length > self.limits.message {
            return Err(Error::TooLong(length));
        }
        let index = match parsed.index {
            Some(index) => {
                // A new header before the old message was complete gives the old one up.
                self.abandon(index);
                index
            }
            None if self.streams.len() == MAX_STREAMS => return Err(Error::TooManyStreams),
            None => {
                self.streams.push(Stream {
                    id: parsed.id,
                    header: parsed.header,
                    body: None,
                });
                self.streams.len() - 1
            }
        };
        if self.claimed + length > self.limits.unfinished {
            return Err(Error::TooMuch(self.limits.unfinished));
        }
        self.claimed += length;
        let stream = &mut self.streams[index];
        stream.header = parsed.header;
        stream.body = Some(BytesMut::with_capacity(length));
        Ok(index)
    }

    fn abandon(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        if stream.body.take().is_some() {
            self.claimed -= stream.header.length;
        }
    }

    /// Moves up to `left` bytes into the message; returns how many are still to come.
    fn gather(&mut self, index: usize, mut left: usize, input: &mut Bytes) -> usize {
        let body = self.streams[index]
            .body
            .as_mut()
            .expect("a chunk is read into a message");
        if self.stash.len > 0 {
            // A header that turned out shorter than it might have been left payload here.
            let stashed = left.min(self.stash.len);
            body.put_slice(&self.stash.bytes[..stashed]);
            self.stash.bytes.copy_within(stashed.., 0);
            self.stash.len -= stashed;
            left -= stashed;
        }
        let fresh = left.min(input.len());
        body.put_slice(&input[..fresh]);
        input.advance(fresh);
        left - fresh
    }

    /// The message of a stream if the chunk just read was its last and it is not for this layer.
    fn finish(&mut self, index: usize) -> Result<Option<Message>, Error> {
        let stream = &mut self.streams[index];
        let header = stream.header;
        let Some(body) = stream.body.take_if(|body| body.len() == header.length) else {
            return Ok(None);
        };
        self.claimed -= header.length;
        let body = body.freeze();
        match header.kind {
            kind::SET_CHUNK_SIZE => self.set_chunk_size(&body)?,
            kind::ABORT => {
                let id = control_field(&body)?;
                if let Some(index) = self.streams.iter().position(|stream| stream.id == id) {
                    self.abandon(index);
                }
            }
            _ => {
                let Header {
                    kind,
                    stream_id,
                    timestamp,
                    ..
                } = header;
                return Ok(Some(Message {
                    kind,
                    stream_id,
                    timestamp,
                    body,
                }));
            }
        }
        Ok(None)
    }

    /// Section 5.4.1. Sizes past the longest message all mean the same.
    fn set_chunk_size(&mut self, body: &[u8]) -> Result<(), Error> {
        match control_field(body)? {
            0 | 0x8000_0000.. => Err(Error::Control),
            size => {
                self.chunk_size = (size as usize).min(MAX_MESSAGE);
                Ok(())
            }
        }
    }
}

/// Format, chunk stream id and length of a basic header (section 5.3.1.1).
fn basic_header(bytes: &[u8]) -> Option<(u8, u32, usize)> {
    let first = *bytes.first()?;
    let format = first >> 6;
    Some(match first & 0x3f {
        0 => (format, 64 + u32::from(*bytes.get(1)?), 2),
        1 => (
            format,
            64 + u32::from(u16::from_le_bytes(*bytes.get(1..)?.first_chunk()?)),
            3,
        ),
        id => (format, u32::from(id), 1),
    })
}

/// Whether a chunk without a header of its own repeats its message's long time, as section 5.3.1.3
/// wants. Some encoders leave it out, others repeat the whole time where a difference was sent:
/// four bytes that are neither are payload. `None` when that cannot be told yet.
fn repeats_time(header: &Header, bytes: &[u8]) -> Option<bool> {
    let seen = &bytes[..bytes.len().min(4)];
    let times = [header.field.to_be_bytes(), header.timestamp.to_be_bytes()];
    match times.iter().any(|time| time.starts_with(seen)) {
        true if seen.len() < 4 => None,
        repeats => Some(repeats),
    }
}

fn be24(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

fn control_field(body: &[u8]) -> Result<u32, Error> {
    let field = body.first_chunk().ok_or(Error::Control)?;
    Ok(u32::from_be_bytes(*field))
}

/// Cuts messages into chunks.
#[derive(Debug)]
pub struct Writer {
    chunk_size: usize,
    /// Where headers are written; one block of memory serves many messages.
    heads: BytesMut,
}

impl Writer {
    /// A writer of chunks of the initial size.
    pub fn new() -> Self {
        Self {
            chunk_size: INITIAL_CHUNK_SIZE,
            heads: BytesMut::new(),
        }
    }

    /// Tells the peer of long chunks and writes them from then on.
    pub fn lengthen(&mut self, out: &mut VecDeque<Bytes>) {
        let body = Bytes::copy_from_slice(&(CHUNK_SIZE as u32).to_be_bytes());
        let message = Message {
            kind: kind::SET_CHUNK_SIZE,
            stream_id: 0,
            timestamp: 0,
            body,
        };
        self.write(CONTROL_STREAM, message, &[], out);
        self.chunk_size = CHUNK_SIZE;
    }

    /// Writes a message whose body is `head` followed by `message.body`, which is not copied.
    /// A body past `MAX_MESSAGE` cannot be said in RTMP and is dropped.
    pub fn write(&mut self, id: u8, message: Message, head: &[u8], out: &mut VecDeque<Bytes>) {
        debug_assert!((2..64).contains(&id), "the ids that fit one byte");
        let Message {
            kind,
            stream_id,
            timestamp,
            mut body,
        } = message;
        let length = head.len() + body.len();
        if length > MAX_MESSAGE {
            return;
        }
        if self.heads.capacity() < MAX_HEADER {
            self.heads.reserve(HEADS);
        }
        // Always the full header: four bytes more than a difference, and nothing to remember.
        let extended = timestamp >= EXTENDED;
        self.heads.put_u8(id);
        self.heads.put_uint(u64::from(timestamp.min(EXTENDED)), 3);
        self.heads.put_uint(length as u64, 3);
        self.heads.put_u8(kind);
        self.heads.put_u32_le(stream_id);
        if extended {
            self.heads.put_u32(timestamp);
        }
        let mut head = head;
        loop {
            let from_head = head.len().min(self.chunk_size);
            self.heads.put_slice(&head[..from_head]);
            head = &head[from_head..];
            out.push_back(self.heads.split().freeze());
            let from_body = body.len().min(self.chunk_size - from_head);
            if from_body > 0 {
                out.push_back(body.split_to(from_body));
            }
            if head.is_empty() && body.is_empty() {
                break;
            }
            self.heads.put_u8(0xc0 | id);
            if extended {
                self.heads.put_u32(timestamp);
            }
        }
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// The chunk stream that control messages use (section 5.4).
pub const CONTROL_STREAM: u8 = 2;

/// Both sides begin with this (section 5.4.1).
const INITIAL_CHUNK_SIZE: usize = 128;
/// What we send: few key frames need a second chunk, and Flash takes no more than 65536.
const CHUNK_SIZE: usize = 60_000;
/// Encoders use fewer than ten; the search among them stays short.
const MAX_STREAMS: usize = 64;
/// The longest basic header, message header and time.
const MAX_HEADER: usize = 3 + 11 + 4;
/// Message header lengths by format (section 5.3.1.2).
const MESSAGE_HEADER: [usize; 4] = [11, 7, 3, 0];
/// The time that says that the time follows in four bytes of its own.
const EXTENDED: u32 = 0xff_ffff;
/// Memory for about a hundred messages' headers; freed when the last of them is written.
const HEADS: usize = 4096;

#[cfg(test)]
mod tests;
