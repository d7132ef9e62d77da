//! Sans-IO: what both ends of an RTMP connection do alike: chunks in and out, acknowledgements and
//! pings.
//! Hot: every message of a connection passes here.
//!
//! What one input makes to send is bounded by that input; the caller stops reading a peer that does
//! not take what is sent.

use super::chunk::{self, CONTROL_STREAM, Limits, Reader, Writer};
use super::command::{self, Command};
use super::handshake::{self, Handshake, Step};
use super::message::{self, Media, Message, event, kind, user_control};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::time::Instant;

/// What one end of a connection wants of its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<E> {
    /// Write these bytes to the peer.
    Send(Bytes),
    /// Something happened.
    Event(E),
    /// Call `handle_deadline` at this time; replaces every earlier deadline.
    Deadline(Instant),
}

/// Why a connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The handshake failed.
    #[error("handshake: {0}")]
    Handshake(#[from] handshake::Error),
    /// The chunk stream broke.
    #[error("chunk stream: {0}")]
    Chunk(#[from] chunk::Error),
    /// A message made no sense.
    #[error("message: {0}")]
    Message(#[from] message::Error),
    /// A command made no sense.
    #[error("command: {0}")]
    Command(#[from] command::Error),
    /// A command came where it may not.
    #[error("{0}")]
    Order(&'static str),
    /// The peer took too long.
    #[error("timed out waiting for {0}")]
    Timeout(&'static str),
}

impl Error {
    /// One word, for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Handshake(_) => "handshake",
            Self::Chunk(_) => "chunk",
            Self::Message(_) => "message",
            Self::Command(_) => "command",
            Self::Order(_) => "order",
            Self::Timeout(_) => "timeout",
        }
    }
}

/// The chunk streams that what we send goes on; any number above 2 will do.
mod lane {
    pub(super) const COMMAND: u8 = 3;
    pub(super) const AUDIO: u8 = 4;
    pub(super) const DATA: u8 = 5;
    pub(super) const VIDEO: u8 = 6;
}

/// Messages over a byte stream.
#[derive(Debug)]
pub struct Link {
    handshake: Option<Handshake>,
    reader: Reader,
    writer: Writer,
    sends: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Bytes received, modulo 2^32 as acknowledgements count them.
    received: u32,
    acknowledged: u32,
    /// How many bytes the peer lets pass between our acknowledgements.
    window: u32,
}

impl Link {
    /// A link that first shakes hands.
    pub fn new(handshake: Handshake, limits: Limits) -> Self {
        Self {
            handshake: Some(handshake),
            reader: Reader::new(limits),
            writer: Writer::new(),
            sends: VecDeque::new(),
            queued_bytes: 0,
            received: 0,
            acknowledged: 0,
            window: WINDOW,
        }
    }

    /// Whether the handshake is not over.
    pub fn is_opening(&self) -> bool {
        self.handshake.is_some()
    }

    /// Goes on with the handshake; true once it is over.
    pub fn open(&mut self, input: &mut Bytes) -> Result<bool, Error> {
        while let Some(handshake) = &mut self.handshake {
            match handshake.read(input)? {
                Step::More => return Ok(false),
                Step::Reply(reply) => self.push(reply),
                Step::Done => self.handshake = None,
            }
        }
        Ok(true)
    }

    /// Changes what the peer may send.
    pub fn set_limits(&mut self, limits: Limits) {
        self.reader.set_limits(limits);
    }

    /// The next message that is not for this layer; `None` once all of `input` is taken.
    pub fn read(&mut self, input: &mut Bytes) -> Result<Option<Message>, Error> {
        loop {
            let before = input.len();
            let message = self.reader.read(input)?;
            self.received = self.received.wrapping_add((before - input.len()) as u32);
            self.acknowledge();
            match message {
                Some(message) if self.is_own(&message)? => {}
                message => return Ok(message),
            }
        }
    }

    /// Acknowledges at half the window: some encoders stop when they wait for the whole of it.
    fn acknowledge(&mut self) {
        if self.received.wrapping_sub(self.acknowledged) >= self.window / 2 {
            self.acknowledged = self.received;
            self.control(kind::ACKNOWLEDGEMENT, &self.received.to_be_bytes());
        }
    }

    /// Acts on the control messages of sections 5.4 and 7.1.7 that ask something of the link.
    fn is_own(&mut self, message: &Message) -> Result<bool, Error> {
        let mut body = &message.body[..];
        let short = |_| message::Error::Control(message.kind);
        match message.kind {
            kind::ACKNOWLEDGEMENT => {}
            kind::WINDOW_SIZE => {
                // No less than MIN_WINDOW, or we would answer every few bytes.
                self.window = body.try_get_u32().map_err(short)?.clamp(MIN_WINDOW, WINDOW);
            }
            kind::PEER_BANDWIDTH => self.send_window(),
            kind::USER_CONTROL => {
                if body.try_get_u16().map_err(short)? != event::PING_REQUEST {
                    return Ok(false);
                }
                let time = body.try_get_u32().map_err(short)?;
                self.send_user_control(event::PING_RESPONSE, &[time]);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Sends how many bytes may pass between the peer's acknowledgements.
    pub fn send_window(&mut self) {
        self.control(kind::WINDOW_SIZE, &WINDOW.to_be_bytes());
    }

    /// Sends the window that the peer shall announce, to be taken as it likes (limit type dynamic).
    pub fn send_bandwidth(&mut self) {
        let [a, b, c, d] = WINDOW.to_be_bytes();
        self.control(kind::PEER_BANDWIDTH, &[a, b, c, d, 2]);
    }

    /// Tells the peer of long chunks, and sends such from then on.
    pub fn lengthen_chunks(&mut self) {
        let Self { writer, sends, .. } = self;
        let before = sends.len();
        writer.lengthen(sends);
        self.count_from(before);
    }

    /// Sends a User Control message.
    pub fn send_user_control(&mut self, event: u16, fields: &[u32]) {
        let body = user_control(event, fields);
        self.control(kind::USER_CONTROL, &body);
    }

    /// Sends a command on a message stream.
    pub fn send_command(&mut self, stream_id: u32, command: &Command) {
        let body = command.encode();
        let message = Message {
            kind: kind::COMMAND,
            stream_id,
            timestamp: 0,
            body,
        };
        self.send(lane::COMMAND, message, &[]);
    }

    /// Sends the body of an FLV tag, `head` then `media.body`; the latter is not copied.
    pub fn send_media(&mut self, stream_id: u32, media: Media, head: &[u8]) {
        let kind = media.tag_type;
        let lane = match kind {
            kind::AUDIO => lane::AUDIO,
            kind::VIDEO => lane::VIDEO,
            _ => lane::DATA,
        };
        // RTMP's time wraps every 49 days; both ends unwrap it.
        let timestamp = media.timestamp.as_millis() as u32;
        self.send(
            lane,
            Message {
                kind,
                stream_id,
                timestamp,
                body: media.body,
            },
            head,
        );
    }

    fn control(&mut self, kind: u8, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        let message = Message {
            kind,
            stream_id: 0,
            timestamp: 0,
            body,
        };
        self.send(CONTROL_STREAM, message, &[]);
    }

    fn send(&mut self, lane: u8, message: Message, head: &[u8]) {
        let before = self.sends.len();
        self.writer.write(lane, message, head, &mut self.sends);
        self.count_from(before);
    }

    /// Queues bytes that are not chunks.
    pub fn push(&mut self, bytes: Bytes) {
        self.queued_bytes += bytes.len();
        self.sends.push_back(bytes);
    }

    fn count_from(&mut self, before: usize) {
        self.queued_bytes += self.sends.range(before..).map(Bytes::len).sum::<usize>();
    }

    /// The next bytes to write to the peer.
    pub fn pop(&mut self) -> Option<Bytes> {
        let bytes = self.sends.pop_front()?;
        self.queued_bytes -= bytes.len();
        Some(bytes)
    }

    /// Bytes to send that were not popped yet.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }
}

/// The window of both directions: what Flash Media Server says, and so what encoders are used to.
const WINDOW: u32 = 2_500_000;
/// The smallest window we obey: an acknowledgement has 16 bytes.
const MIN_WINDOW: u32 = 8192;
