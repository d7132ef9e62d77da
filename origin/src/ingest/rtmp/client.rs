//! Sans-IO: the client's end of one RTMP connection.

use super::link;
use super::message::Media;
use bytes::Bytes;
use media::timestamp::Timestamp;
use std::time::Instant;

/// A parsed `rtmp://host[:port]/app/stream[?query]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `rtmps`.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// 1935, or 443 for `rtmps`, unless given.
    pub port: u16,
    /// The application.
    pub app: String,
    /// The stream's name with its query.
    pub stream: String,
}

impl Url {
    /// Parses a URL.
    pub fn parse(_url: &str) -> Result<Self, Error> {
        Err(Error::Url)
    }
}

/// What to do on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Send media.
    Publish,
    /// Receive media.
    Play,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server took the connection.
    Connected,
    /// Media may be sent.
    Published,
    /// Media will come.
    Playing,
    /// One message of the stream played.
    Media(Media),
    /// The server refused; nothing follows.
    Refused {
        /// As in `NetStream.Publish.BadName`.
        code: String,
        /// For people.
        description: String,
    },
    /// The stream ended; nothing follows.
    Closed,
}

/// What a client wants of its caller.
pub type Output = link::Output<Event>;

/// Why a connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an RTMP URL.
    #[error("not rtmp://host[:port]/app/stream")]
    Url,
}

/// The client's end of one connection.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// A client on a connection made at `now`; `seed` fills the handshake's random bytes.
    pub fn new(_url: &Url, _role: Role, _seed: u64, _now: Instant) -> Self {
        Self {}
    }

    /// Takes bytes that the server sent.
    pub fn handle_input(&mut self, _now: Instant, _input: Bytes) -> Result<(), Error> {
        Ok(())
    }

    /// A deadline has come; an error when the server is late.
    pub fn handle_deadline(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    /// What to do next; drain this after each call.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// Sends one message: the body is `head` then `payload`, which is not copied.
    pub fn send_media(
        &mut self,
        _tag_type: u8,
        _timestamp: Timestamp,
        _head: &[u8],
        _payload: Bytes,
    ) {
    }

    /// Ends the publish or play; send what is queued, then close.
    pub fn finish(&mut self) {}

    /// Bytes to send that were not polled yet.
    pub fn queued_bytes(&self) -> usize {
        0
    }
}
