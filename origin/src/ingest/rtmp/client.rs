//! Sans-IO: the client's end of one RTMP connection: publishes or plays one stream.
//! Hot: a publisher's media goes in here, a player's comes out.
//!
//! The caller drains the outputs after each call, and closes the connection on an error, and once
//! it has sent what is queued after `finish`, [`Event::Refused`] or [`Event::Closed`]. Left out on
//! purpose: digest handshake and AMF3, which no server asks of a client.

mod url;

use super::chunk::{Limits, MAX_MESSAGE};
use super::command::{Command, add_capabilities, object, text};
use super::handshake::Handshake;
use super::link::{self, Link};
use super::message::{Media, Message, TimeLine, event, kind};
use bytes::Bytes;
use media::amf::Value;
use media::timestamp::Timestamp;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use super::link::Error;
pub use url::{BadUrl, Url};

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
    /// The server refused, at once or later; nothing follows.
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

/// The client's end of one connection.
#[derive(Debug)]
pub struct Client {
    url: Url,
    role: Role,
    stage: Stage,
    link: Link,
    events: VecDeque<Event>,
    stream_id: u32,
    time_line: TimeLine,
    deadline: Instant,
    is_deadline_new: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Connect,
    CreateStream,
    Start,
    Active,
    Over,
}

impl Client {
    /// A client on a connection made at `now`; `seed` makes the handshake's random bytes.
    pub fn new(url: Url, role: Role, seed: u64, now: Instant) -> Self {
        let (handshake, hello) = Handshake::client(seed);
        let mut link = Link::new(
            handshake,
            Limits {
                message: MAX_MESSAGE,
                unfinished: 2 * MAX_MESSAGE,
            },
        );
        link.push(hello);
        Self {
            url,
            role,
            stage: Stage::Handshake,
            link,
            events: VecDeque::new(),
            stream_id: 0,
            time_line: TimeLine::default(),
            deadline: now + START_TIMEOUT,
            is_deadline_new: true,
        }
    }

    /// Takes bytes that the server sent.
    pub fn handle_input(&mut self, _now: Instant, mut input: Bytes) -> Result<(), Error> {
        if self.stage == Stage::Handshake {
            if !self.link.open(&mut input)? {
                return Ok(());
            }
            self.stage = Stage::Connect;
            self.send_connect();
        }
        while self.stage != Stage::Over
            && let Some(message) = self.link.read(&mut input)?
        {
            match message.kind {
                kind::COMMAND | kind::COMMAND_AMF3 => self.on_command(&message)?,
                _ if self.role == Role::Play => {
                    let events = &mut self.events;
                    self.time_line
                        .media(message, |media| events.push_back(Event::Media(media)))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn on_command(&mut self, message: &Message) -> Result<(), Error> {
        let command = Command::decode(message)?;
        match (command.name.as_str(), self.stage) {
            ("_result", Stage::Connect) if command.transaction == CONNECT => {
                self.events.push_back(Event::Connected);
                self.link.send_window();
                self.link.lengthen_chunks();
                self.stage = Stage::CreateStream;
                self.send_create_stream();
            }
            ("_result", Stage::CreateStream) if command.transaction == CREATE_STREAM => {
                let id = command.arguments.get(1).and_then(Value::as_f64);
                self.stream_id =
                    id.ok_or(Error::Order("createStream answered without a stream"))? as u32;
                self.stage = Stage::Start;
                self.send_start();
            }
            // Servers that do not know releaseStream or FCPublish say so; that is no refusal.
            ("_error", _) if [CONNECT, CREATE_STREAM].contains(&command.transaction) => {
                self.on_refused(&command);
            }
            ("onStatus", _) => self.on_status(&command),
            ("close", _) => self.end(Event::Closed),
            _ => {}
        }
        Ok(())
    }

    fn on_status(&mut self, command: &Command) {
        if command.member(1, "level") == Some("error") {
            return self.on_refused(command);
        }
        match (command.member(1, "code").unwrap_or_default(), self.stage) {
            ("NetStream.Publish.Start", Stage::Start) => {
                self.stage = Stage::Active;
                self.events.push_back(Event::Published);
            }
            ("NetStream.Play.Start", Stage::Start) => {
                self.stage = Stage::Active;
                self.events.push_back(Event::Playing);
            }
            (
                "NetStream.Play.UnpublishNotify"
                | "NetStream.Play.Stop"
                | "NetStream.Play.Complete"
                | "NetStream.Unpublish.Success"
                | "NetConnection.Connect.Closed",
                _,
            ) => self.end(Event::Closed),
            _ => {}
        }
    }

    fn on_refused(&mut self, command: &Command) {
        let member = |name| command.member(1, name).unwrap_or_default().to_owned();
        self.end(Event::Refused {
            code: member("code"),
            description: member("description"),
        });
    }

    fn end(&mut self, event: Event) {
        self.stage = Stage::Over;
        self.events.push_back(event);
    }

    fn send_connect(&mut self) {
        let mut about = object([
            ("app", text(&self.url.app)),
            ("type", text("nonprivate")),
            (
                "flashVer",
                text(concat!(
                    "FMLE/3.0 (compatible; Weir/",
                    env!("CARGO_PKG_VERSION"),
                    ")"
                )),
            ),
            ("tcUrl", text(&self.url.tc_url())),
            ("fpad", Value::Boolean(false)),
            ("capabilities", Value::Number(15.0)),
            // All of Flash's audio codecs, video codecs and video functions.
            ("audioCodecs", Value::Number(4095.0)),
            ("videoCodecs", Value::Number(255.0)),
            ("videoFunction", Value::Number(1.0)),
            ("objectEncoding", Value::Number(0.0)),
        ]);
        add_capabilities(&mut about);
        self.call(0, "connect", CONNECT, vec![about]);
    }

    fn send_create_stream(&mut self) {
        if self.role == Role::Publish {
            let stream = text(&self.url.stream);
            self.call(
                0,
                "releaseStream",
                RELEASE_STREAM,
                vec![Value::Null, stream.clone()],
            );
            self.call(0, "FCPublish", FC_PUBLISH, vec![Value::Null, stream]);
        }
        self.call(0, "createStream", CREATE_STREAM, vec![Value::Null]);
    }

    fn send_start(&mut self) {
        let stream = text(&self.url.stream);
        match self.role {
            Role::Publish => {
                let arguments = vec![Value::Null, stream, text("live")];
                self.call(self.stream_id, "publish", START, arguments);
            }
            Role::Play => {
                // -2: the live stream of that name, or the recorded one (section 7.2.2.1).
                let arguments = vec![Value::Null, stream, Value::Number(-2.0)];
                self.call(self.stream_id, "play", START, arguments);
                let fields = [self.stream_id, BUFFER_MS];
                self.link
                    .send_user_control(event::SET_BUFFER_LENGTH, &fields);
            }
        }
    }

    fn call(&mut self, stream_id: u32, name: &str, transaction: f64, arguments: Vec<Value>) {
        self.link
            .send_command(stream_id, &Command::new(name, transaction, arguments));
    }

    /// A deadline has come; an error when the server is late to let us publish or play.
    pub fn handle_deadline(&mut self, now: Instant) -> Result<(), Error> {
        match self.stage {
            Stage::Active | Stage::Over => Ok(()),
            _ if now < self.deadline => Ok(()),
            Stage::Handshake => Err(Error::Timeout("the handshake")),
            _ => Err(Error::Timeout("leave to publish or play")),
        }
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

    /// Sends one message: the body is `head` then `payload`, which is not copied.
    pub fn send_media(&mut self, tag_type: u8, timestamp: Timestamp, head: &[u8], payload: Bytes) {
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

    /// Ends the publish or play.
    pub fn finish(&mut self) {
        if self.stage == Stage::Active {
            if self.role == Role::Publish {
                let arguments = vec![Value::Null, text(&self.url.stream)];
                self.call(0, "FCUnpublish", 0.0, arguments);
            }
            let stream = Value::Number(f64::from(self.stream_id));
            self.call(0, "deleteStream", 0.0, vec![Value::Null, stream]);
        }
        self.stage = Stage::Over;
    }

    /// Bytes to send that were not polled yet.
    pub fn queued_bytes(&self) -> usize {
        self.link.queued_bytes()
    }
}

/// From the connection to leave to publish or play: four round trips, and a slow server.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// What a player says it buffers; servers send at once whatever it says.
const BUFFER_MS: u32 = 3000;

/// Transactions, each used once.
const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const START: f64 = 5.0;

#[cfg(test)]
mod tests;
