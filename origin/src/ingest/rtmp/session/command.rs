//! Sans-IO: the commands that a server is asked, and its answers (RTMP 1.0 section 7.2).
//!
//! The specification says less than encoders expect: what ffmpeg, OBS, GStreamer and Flash wait for
//! is answered, whatever else wants an answer gets `_error`.

use super::super::command::{Command, add_capabilities, information, object, text};
use super::super::message::{Message, event};
use super::{Error, Event, Role, Session, Stage, Target};
use media::amf::Value;
use media::flv::tag;
use media::timestamp::Timestamp;

/// What `connect` said.
#[derive(Debug)]
pub(super) struct Connected {
    app: String,
    tc_url: String,
    agent: String,
}

impl Session {
    pub(super) fn on_command(&mut self, message: &Message) -> Result<(), Error> {
        let command = Command::decode(message)?;
        match command.name.as_str() {
            "connect" => self.on_connect(&command),
            "createStream" => self.answer(&command, Value::Number(STREAM_ID)),
            // 0 seconds: the length of a live stream is not known.
            "getStreamLength" => self.answer(&command, Value::Number(0.0)),
            "releaseStream" | "FCSubscribe" | "_checkbw" => {
                self.answer(&command, Value::Undefined);
            }
            "FCPublish" => {
                self.answer(&command, Value::Undefined);
                self.notify("onFCPublish", "NetStream.Publish.Start", &command);
            }
            "FCUnpublish" => {
                self.answer(&command, Value::Undefined);
                self.notify("onFCUnpublish", "NetStream.Unpublish.Success", &command);
                self.finish();
            }
            "publish" => self.ask(Role::Publisher, message.stream_id, &command)?,
            "play" => self.ask(Role::Player, message.stream_id, &command)?,
            "pause" => self.on_pause(&command),
            "closeStream" | "deleteStream" => self.finish(),
            // They want no answer, and change nothing in a live stream.
            "receiveAudio" | "receiveVideo" | "onStatus" | "_result" | "_error" => {}
            _ => self.answer_unknown(&command),
        }
        Ok(())
    }

    /// Section 7.2.1.1: the window, the bandwidth and the chunk size come before the result.
    fn on_connect(&mut self, command: &Command) {
        let member = |name| command.member(0, name).unwrap_or_default().to_owned();
        let mut agent = member("flashVer");
        agent.truncate(agent.floor_char_boundary(MAX_AGENT));
        self.connected = Some(Connected {
            app: member("app"),
            tc_url: member("tcUrl"),
            agent,
        });
        self.link.send_window();
        self.link.send_bandwidth();
        self.link.lengthen_chunks();
        let mut properties = object([
            // Encoders look for this name's shape to see that H.264 is spoken.
            ("fmsVer", text("FMS/3,5,7,7009")),
            ("capabilities", Value::Number(31.0)),
        ]);
        let mut info = information(
            "status",
            "NetConnection.Connect.Success",
            "connection succeeded",
        );
        // The specification leaves open in which of the two objects a client looks.
        add_capabilities(&mut properties);
        add_capabilities(&mut info);
        if let Value::Object(members) = &mut info {
            members.push(("objectEncoding".to_owned(), Value::Number(0.0)));
        }
        let result = Command::new("_result", command.transaction, vec![properties, info]);
        self.link.send_command(0, &result);
    }

    /// Passes the question on to the caller, if it is the first.
    fn ask(&mut self, role: Role, stream_id: u32, command: &Command) -> Result<(), Error> {
        let connected = self
            .connected
            .as_ref()
            .ok_or(Error::Order("publish or play before connect"))?;
        if self.stage != Stage::Command {
            let code = match role {
                Role::Publisher => "NetStream.Publish.Denied",
                Role::Player => "NetStream.Play.Failed",
            };
            let why = Command::status("error", code, "one publish or play per connection");
            self.link.send_command(stream_id, &why);
            return Ok(());
        }
        let name = command.text(1).unwrap_or_default();
        let mut target = Target::new(&connected.app, &connected.tc_url, name);
        target.agent = connected.agent.clone();
        self.stage = Stage::Asking(role);
        self.stream_id = stream_id;
        self.name = target.stream.clone();
        self.events.push_back(match role {
            Role::Publisher => Event::Publish(target),
            Role::Player => Event::Play(target),
        });
        Ok(())
    }

    pub(super) fn send_publish_start(&mut self) {
        self.link
            .send_user_control(event::STREAM_BEGIN, &[self.stream_id]);
        self.send_status("status", "NetStream.Publish.Start", "publishing");
    }

    /// Section 7.2.2.1, and the word that a player may read the samples, which Flash waits for.
    pub(super) fn send_play_start(&mut self) {
        self.link
            .send_user_control(event::STREAM_BEGIN, &[self.stream_id]);
        self.send_status("status", "NetStream.Play.Reset", "resetting");
        self.send_status("status", "NetStream.Play.Start", "playing");
        let words = [
            text("|RtmpSampleAccess"),
            Value::Boolean(true),
            Value::Boolean(true),
        ];
        let body = media::amf::encode_all(&words);
        self.send_media(tag::SCRIPT, Timestamp::ZERO, &[], body);
    }

    pub(super) fn send_play_end(&mut self) {
        self.link
            .send_user_control(event::STREAM_EOF, &[self.stream_id]);
        self.send_status(
            "status",
            "NetStream.Play.UnpublishNotify",
            "the stream ended",
        );
    }

    /// An `onStatus` on the stream asked for; its `details` are the stream's name.
    pub(super) fn send_status(&mut self, level: &str, code: &str, description: &str) {
        let mut status = Command::status(level, code, description);
        if let Some(Value::Object(members)) = status.arguments.last_mut() {
            members.push(("details".to_owned(), text(&self.name)));
        }
        self.link.send_command(self.stream_id, &status);
    }

    fn on_pause(&mut self, command: &Command) {
        if self.stage != Stage::Active(Role::Player) {
            return;
        }
        let is_pause = command
            .arguments
            .get(1)
            .and_then(Value::as_bool)
            .unwrap_or(true);
        let (event, code) = match is_pause {
            true => (Event::Paused, "NetStream.Pause.Notify"),
            false => (Event::Resumed, "NetStream.Unpause.Notify"),
        };
        self.events.push_back(event);
        self.send_status("status", code, "as asked");
    }

    /// The peer ends what it does; before it did anything this means nothing.
    fn finish(&mut self) {
        if let Stage::Active(role) = self.stage {
            self.stage = Stage::Over;
            if role == Role::Publisher {
                self.send_status("status", "NetStream.Unpublish.Success", "unpublished");
            }
            self.events.push_back(Event::Finished);
        }
    }

    /// The result of a call that wants one.
    fn answer(&mut self, command: &Command, result: Value) {
        if command.transaction != 0.0 {
            let result = Command::new("_result", command.transaction, vec![Value::Null, result]);
            self.link.send_command(0, &result);
        }
    }

    fn answer_unknown(&mut self, command: &Command) {
        if command.transaction != 0.0 {
            let info = information("error", "NetConnection.Call.Failed", "no such procedure");
            let error = Command::new("_error", command.transaction, vec![Value::Null, info]);
            self.link.send_command(0, &error);
        }
    }

    /// What Flash Media Server calls back for FCPublish and FCUnpublish.
    fn notify(&mut self, name: &str, code: &str, command: &Command) {
        let info = information("status", code, command.text(1).unwrap_or_default());
        self.link
            .send_command(0, &Command::new(name, 0.0, vec![Value::Null, info]));
    }
}

/// One stream per connection, so each `createStream` gets the same.
const STREAM_ID: f64 = 1.0;
/// Bytes of a peer's name for itself that are worth keeping.
const MAX_AGENT: usize = 128;
