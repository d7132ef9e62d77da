//! Sans-IO: the server's end of one RTMP connection.

use super::link;
use super::message::Media;
use bytes::Bytes;
use media::timestamp::Timestamp;
use std::time::{Duration, Instant};

/// What a session waits for, and for how long.
#[derive(Clone, Debug)]
pub struct Config {
    /// From accept to the end of the handshake.
    pub handshake_timeout: Duration,
    /// From the handshake to `publish` or `play`.
    pub command_timeout: Duration,
    /// A publisher that sends no media for this long is closed.
    pub idle_timeout: Duration,
    /// The longest message a publisher may send, in bytes.
    pub max_message: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            command_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            max_message: 16 << 20,
        }
    }
}

/// Which stream a peer asked for, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The application: all of the path but its last segment, as in `live`.
    pub app: String,
    /// The stream's name: the last segment of the path; empty when the peer gave none.
    pub stream: String,
    /// The query, decoded: of the stream's name first, then of the application and the URL.
    pub query: Vec<(String, String)>,
    /// What the peer's software calls itself.
    pub agent: String,
}

impl Target {
    /// The first value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What a session asks of, or tells, its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answer with `accept_publish` or `refuse`.
    Publish(Target),
    /// Answer with `accept_play` or `refuse`.
    Play(Target),
    /// One message of an accepted publisher.
    Media(Media),
    /// A player paused: send it nothing.
    Paused,
    /// A player goes on: send from the newest key frame.
    Resumed,
    /// The peer ended its publish or play; nothing follows.
    Finished,
}

/// What a session wants of its caller.
pub type Output = link::Output<Event>;

/// Why a connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer took too long.
    #[error("timed out waiting for {0}")]
    Timeout(&'static str),
}

/// The server's end of one connection.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// A session for a connection accepted at `now`; `seed` fills the handshake's random bytes.
    pub fn new(_config: Config, _seed: u64, _now: Instant) -> Self {
        Self {}
    }

    /// Takes bytes that the peer sent.
    pub fn handle_input(&mut self, _now: Instant, _input: Bytes) -> Result<(), Error> {
        Ok(())
    }

    /// A deadline has come; an error when the peer is late.
    pub fn handle_deadline(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    /// What to do next; drain this after each call.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// Lets the peer publish what it asked for.
    pub fn accept_publish(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    /// Lets the peer play what it asked for.
    pub fn accept_play(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    /// Refuses what the peer asked for; send what is queued, then close.
    pub fn refuse(&mut self, _code: &str, _description: &str) {}

    /// Sends one message to a player: the body is `head` then `payload`, which is not copied.
    pub fn send_media(
        &mut self,
        _tag_type: u8,
        _timestamp: Timestamp,
        _head: &[u8],
        _payload: Bytes,
    ) {
    }

    /// Tells a player that the stream ended; send what is queued, then close.
    pub fn end_play(&mut self) {}

    /// Bytes to send that were not polled yet.
    pub fn queued_bytes(&self) -> usize {
        0
    }
}
