//! Sans-IO: the server's end of one RTMP connection: one publish or one play.
//! Hot: a publisher's media comes out of here, a player's goes in.
//!
//! The session answers everything but one question itself: may this peer publish or play that
//! stream? Until the caller has answered it gives no further input and no deadline runs; what came
//! behind the question rests. The caller drains the outputs after each call, and closes the
//! connection on an error, and once it has sent what is queued after `refuse`, `end_play` or
//! [`Event::Finished`].

mod command;
mod target;

use super::chunk::{Limits, MAX_MESSAGE};
use super::handshake::Handshake;
use super::link::{self, Link};
use super::message::{Media, Message, TimeLine, kind};
use bytes::Bytes;
use media::timestamp::Timestamp;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use super::link::Error;
pub use target::Target;

/// What a session waits for, and for how long.
#[derive(Clone, Debug)]
pub struct Config {
    /// From accept to the end of the handshake.
    pub handshake_timeout: Duration,
    /// From the handshake to `publish` or `play`.
    pub command_timeout: Duration,
    /// A publisher that sends no media for this long is closed.
    pub idle_timeout: Duration,
    /// The longest message a publisher may send, in bytes; at most `chunk::MAX_MESSAGE`.
    pub max_message: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            command_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            max_message: MAX_MESSAGE,
        }
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

/// The server's end of one connection.
#[derive(Debug)]
pub struct Session {
    config: Config,
    stage: Stage,
    link: Link,
    events: VecDeque<Event>,
    /// Input that came behind a question not answered yet.
    rest: Bytes,
    connected: Option<command::Connected>,
    /// The message stream published or played, and its name as the peer gave it.
    stream_id: u32,
    name: String,
    time_line: TimeLine,
    last_media: Instant,
    deadline: Instant,
    /// Whether the caller does not know the deadline yet.
    is_deadline_new: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    /// Waits for `publish` or `play`.
    Command,
    /// The caller is asked.
    Asking(Role),
    Active(Role),
    /// Refused or finished.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Publisher,
    Player,
}

impl Session {
    /// A session for a connection accepted at `now`; `seed` makes the handshake's random bytes.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        Self {
            stage: Stage::Handshake,
            link: Link::new(Handshake::server(seed), COMMAND_LIMITS),
            events: VecDeque::new(),
            rest: Bytes::new(),
            connected: None,
            stream_id: 0,
            name: String::new(),
            time_line: TimeLine::default(),
            last_media: now,
            deadline: now + config.handshake_timeout,
            is_deadline_new: true,
            config,
        }
    }

    /// Takes bytes that the peer sent.
    pub fn handle_input(&mut self, now: Instant, mut input: Bytes) -> Result<(), Error> {
        match self.stage {
            Stage::Asking(_) => return Err(Error::Order("input before the caller's answer")),
            Stage::Over => return Ok(()),
            _ => {}
        }
        if self.stage == Stage::Handshake {
            if !self.link.open(&mut input)? {
                return Ok(());
            }
            self.stage = Stage::Command;
            self.set_deadline(now + self.config.command_timeout);
        }
        while let Some(message) = self.link.read(&mut input)? {
            self.on_message(now, message)?;
            match self.stage {
                Stage::Asking(_) => {
                    self.rest = input;
                    break;
                }
                Stage::Over => break,
                _ => {}
            }
        }
        Ok(())
    }

    fn on_message(&mut self, now: Instant, message: Message) -> Result<(), Error> {
        match message.kind {
            kind::COMMAND | kind::COMMAND_AMF3 => self.on_command(&message),
            _ if self.stage == Stage::Active(Role::Publisher) => {
                let Self {
                    time_line,
                    events,
                    last_media,
                    ..
                } = self;
                time_line.media(message, |media| {
                    *last_media = now;
                    events.push_back(Event::Media(media));
                })?;
                Ok(())
            }
            // What a player, or a publisher too early, sends beside commands has no use.
            _ => Ok(()),
        }
    }

    /// A deadline has come; an error when the peer is late.
    pub fn handle_deadline(&mut self, now: Instant) -> Result<(), Error> {
        if now < self.deadline {
            return Ok(());
        }
        match self.stage {
            Stage::Handshake => Err(Error::Timeout("the handshake")),
            Stage::Command => Err(Error::Timeout("publish or play")),
            Stage::Active(Role::Publisher) => {
                // Media does not move the deadline each time; it is looked at when it comes.
                let idle_until = self.last_media + self.config.idle_timeout;
                if idle_until <= now {
                    return Err(Error::Timeout("media"));
                }
                self.set_deadline(idle_until);
                Ok(())
            }
            Stage::Asking(_) | Stage::Active(Role::Player) | Stage::Over => Ok(()),
        }
    }

    fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.is_deadline_new = true;
    }

    /// What to do next; `None` until the next call.
    pub fn poll_output(&mut self) -> Option<Output> {
        // What came before a peer hung up counts, whether or not it can still be answered.
        if let Some(event) = self.events.pop_front() {
            return Some(Output::Event(event));
        }
        if let Some(bytes) = self.link.pop() {
            return Some(Output::Send(bytes));
        }
        let is_new = std::mem::take(&mut self.is_deadline_new);
        is_new.then_some(Output::Deadline(self.deadline))
    }

    /// Lets the peer publish what it asked for, and takes what it sent meanwhile.
    pub fn accept_publish(&mut self, now: Instant) -> Result<(), Error> {
        debug_assert_eq!(self.stage, Stage::Asking(Role::Publisher));
        self.stage = Stage::Active(Role::Publisher);
        let message = self.config.max_message.min(MAX_MESSAGE);
        self.link.set_limits(Limits {
            message,
            unfinished: 2 * message,
        });
        self.last_media = now;
        self.set_deadline(now + self.config.idle_timeout);
        self.send_publish_start();
        self.take_rest(now)
    }

    /// Lets the peer play what it asked for.
    pub fn accept_play(&mut self, now: Instant) -> Result<(), Error> {
        debug_assert_eq!(self.stage, Stage::Asking(Role::Player));
        self.stage = Stage::Active(Role::Player);
        self.send_play_start();
        self.take_rest(now)
    }

    fn take_rest(&mut self, now: Instant) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.rest);
        self.handle_input(now, rest)
    }

    /// Refuses what the peer asked for, as with `NetStream.Publish.BadName`, or ends what it was
    /// let do.
    pub fn refuse(&mut self, code: &str, description: &str) {
        self.stage = Stage::Over;
        self.rest = Bytes::new();
        self.send_status("error", code, description);
    }

    /// Sends one message to a player: the body is `head` then `payload`, which is not copied.
    pub fn send_media(&mut self, tag_type: u8, timestamp: Timestamp, head: &[u8], payload: Bytes) {
        debug_assert_eq!(self.stage, Stage::Active(Role::Player));
        self.link.send_media(
            self.stream_id,
            Media {
                tag_type,
                timestamp,
                body: payload,
            },
            head,
        );
    }

    /// Tells a player that the stream ended.
    pub fn end_play(&mut self) {
        self.stage = Stage::Over;
        self.send_play_end();
    }

    /// Bytes to send that were not polled yet.
    pub fn queued_bytes(&self) -> usize {
        self.link.queued_bytes()
    }
}

/// Before it may publish, a peer has only commands to say.
const COMMAND_LIMITS: Limits = Limits {
    message: 64 << 10,
    unfinished: 128 << 10,
};

#[cfg(test)]
mod tests;
