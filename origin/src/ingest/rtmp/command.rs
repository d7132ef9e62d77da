//! Sans-IO: commands (RTMP 1.0 section 7.2) and what this software says of itself in `connect`
//! (Enhanced RTMP v2, "Enhancing NetConnection connect Command").

use super::message::{Message, kind, skip_format};
use bytes::{Bytes, BytesMut};
use media::amf::{self, Value};

/// Why a command cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than any real one.
    #[error("{0} bytes are too long")]
    TooLong(usize),
    /// Not AMF.
    #[error("{0}")]
    Amf(#[from] amf::Error),
    /// AMF that does not begin with a name and a transaction.
    #[error("no name or no transaction")]
    Unnamed,
}

/// A remote procedure call, or its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The procedure; `_result`, `_error` or `onStatus` in answers.
    pub name: String,
    /// Pairs an answer with its call; 0 wants none.
    pub transaction: f64,
    /// The command object and what follows it.
    pub arguments: Vec<Value>,
}

impl Command {
    /// A command or answer.
    pub fn new(name: &str, transaction: f64, arguments: Vec<Value>) -> Self {
        Self {
            name: name.to_owned(),
            transaction,
            arguments,
        }
    }

    /// An `onStatus`; `level` is `status` or `error`.
    pub fn status(level: &str, code: &str, description: &str) -> Self {
        Self::new(
            "onStatus",
            0.0,
            vec![Value::Null, information(level, code, description)],
        )
    }

    /// Reads a message of kind `COMMAND` or `COMMAND_AMF3`.
    pub fn decode(message: &Message) -> Result<Self, Error> {
        let mut body = message.body.clone();
        if body.len() > MAX_COMMAND {
            return Err(Error::TooLong(body.len()));
        }
        if message.kind == kind::COMMAND_AMF3 {
            skip_format(&mut body);
        }
        let mut values = amf::decode_all(body)?.into_iter();
        let Some(Value::String(name)) = values.next() else {
            return Err(Error::Unnamed);
        };
        let transaction = match values.next() {
            Some(Value::Number(transaction)) => transaction,
            // ffmpeg as a server says `onFCPublish` and no more.
            None => 0.0,
            Some(_) => return Err(Error::Unnamed),
        };
        Ok(Self {
            name,
            transaction,
            arguments: values.collect(),
        })
    }

    /// The body of a message of kind `COMMAND`.
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        Value::String(self.name.clone()).encode(&mut body);
        Value::Number(self.transaction).encode(&mut body);
        self.arguments
            .iter()
            .for_each(|argument| argument.encode(&mut body));
        body.freeze()
    }

    /// A text argument; the command object has index 0.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.arguments.get(index).and_then(Value::as_str)
    }

    /// A text in an object argument; the command object has index 0.
    pub fn member(&self, index: usize, name: &str) -> Option<&str> {
        self.arguments.get(index)?.get(name)?.as_str()
    }
}

/// The object that says how something went.
pub fn information(level: &str, code: &str, description: &str) -> Value {
    object([
        ("level", text(level)),
        ("code", text(code)),
        ("description", text(description)),
    ])
}

/// An object of named values.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).into())
}

/// A string.
pub fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// Adds what either end here can do of Enhanced RTMP to an object: it carries any FourCC named and
/// decodes none, and understands ModEx with its nanoseconds. Not claimed, because not done: several
/// tracks in one stream, and redialling when asked.
pub fn add_capabilities(object: &mut Value) {
    let Value::Object(members) = object else {
        return;
    };
    let map = |fourccs: &[&str]| {
        let carried = |fourcc: &&str| (fourcc.to_string(), Value::Number(CAN_FORWARD));
        Value::Object(fourccs.iter().map(carried).collect())
    };
    let all = VIDEO_FOURCCS
        .iter()
        .chain(AUDIO_FOURCCS)
        .map(|fourcc| text(fourcc))
        .collect();
    members.extend([
        ("fourCcList".to_owned(), Value::StrictArray(all)),
        ("videoFourCcInfoMap".to_owned(), map(VIDEO_FOURCCS)),
        ("audioFourCcInfoMap".to_owned(), map(AUDIO_FOURCCS)),
        (
            "capsEx".to_owned(),
            Value::Number(CAPS_MOD_EX + CAPS_NANOSECONDS),
        ),
    ]);
}

const VIDEO_FOURCCS: &[&str] = &["avc1", "hvc1", "av01", "vp08", "vp09", "vvc1"];
const AUDIO_FOURCCS: &[&str] = &["mp4a", "Opus", "fLaC", "ac-3", "ec-3", ".mp3"];
/// A bit of Enhanced RTMP's `FourCcInfoMask`.
const CAN_FORWARD: f64 = 4.0;
/// Bits of Enhanced RTMP's `CapsExMask`.
const CAPS_MOD_EX: f64 = 4.0;
const CAPS_NANOSECONDS: f64 = 8.0;

/// Real commands stay below 4 KiB; a value costs many times its bytes once decoded.
const MAX_COMMAND: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u8, body: impl Into<Bytes>) -> Message {
        Message {
            kind,
            stream_id: 0,
            timestamp: 0,
            body: body.into(),
        }
    }

    #[test]
    fn a_command_is_read_as_written_in_both_encodings() {
        let about = object([("app", text("live")), ("n", Value::Number(1.0))]);
        let command = Command::new("connect", 1.0, vec![about, Value::Null]);
        let body = command.encode();
        let behind_format = [&[0], &body[..]].concat();
        for message in [
            message(kind::COMMAND, body.clone()),
            message(kind::COMMAND_AMF3, behind_format),
            // Some encoders leave the format byte out.
            message(kind::COMMAND_AMF3, body.clone()),
        ] {
            let read = Command::decode(&message).unwrap();
            assert_eq!(read, command);
            assert_eq!(read.member(0, "app"), Some("live"));
            assert_eq!(read.member(0, "n"), None);
            assert_eq!(read.text(1), None);
        }
    }

    #[test]
    fn a_bare_name_is_a_command_that_wants_no_answer() {
        let bare = message(kind::COMMAND, amf::encode_all(&[text("onFCPublish")]));
        assert_eq!(
            Command::decode(&bare),
            Ok(Command::new("onFCPublish", 0.0, vec![]))
        );
    }

    #[test]
    fn what_is_no_command_is_an_error() {
        let unnamed = [
            amf::encode_all(&[]),
            amf::encode_all(&[Value::Null, Value::Number(1.0)]),
            amf::encode_all(&[text("connect"), text("1")]),
        ];
        for body in unnamed {
            assert_eq!(
                Command::decode(&message(kind::COMMAND, body)),
                Err(Error::Unnamed)
            );
        }
        let deep = [
            &b"\x02\x00\x01x\x00\0\0\0\0\0\0\0\0"[..],
            &b"\x03\x00\x01a".repeat(5000),
        ];
        let deep = message(kind::COMMAND, deep.concat());
        assert_eq!(Command::decode(&deep), Err(Error::Amf(amf::Error::TooDeep)));
        let long = message(kind::COMMAND, vec![5; MAX_COMMAND + 1]);
        assert_eq!(Command::decode(&long), Err(Error::TooLong(MAX_COMMAND + 1)));
    }

    #[test]
    fn only_what_is_done_is_claimed() {
        let mut about = object([]);
        add_capabilities(&mut about);
        assert_eq!(about.get("capsEx"), Some(&Value::Number(12.0)));
        let hevc = about
            .get("videoFourCcInfoMap")
            .and_then(|map| map.get("hvc1"));
        assert_eq!(hevc, Some(&Value::Number(4.0)));
        let Some(Value::StrictArray(all)) = about.get("fourCcList") else {
            panic!("no list")
        };
        assert_eq!(all.len(), 12);
        assert!(all.contains(&text("Opus")));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Command::decode(&message(kind::COMMAND, body));
        }
    }
}
