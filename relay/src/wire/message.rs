//! Sans-IO: the messages of the control stream, and their gathering from bytes.

use bytes::{Buf, BufMut, BytesMut};

use super::varint;
use super::{Error, MAX_HOPS, MAX_MESSAGE, MAX_NODE, MAX_STREAM, MAX_VERSIONS};
use crate::group::Key;

/// One message of the control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The dialler's first: what it speaks and who it is.
    Hello {
        /// Versions, best first.
        versions: Vec<u64>,
        /// The dialler's name.
        node: String,
    },
    /// The acceptor's first.
    Welcome {
        /// The version that is spoken from here on.
        version: u64,
        /// The acceptor's name.
        node: String,
    },
    /// The dialler wants a stream.
    Subscribe {
        /// The dialler's number for it, never used again on this connection.
        id: u64,
        /// The stream's name.
        stream: String,
        /// The nodes that will get it by this subscription, the dialler last.
        hops: Vec<String>,
        /// The first group wanted.
        start: Start,
    },
    /// The dialler wants no more of it.
    Unsubscribe {
        /// Its number.
        id: u64,
    },
    /// Groups will come.
    Accepted {
        /// The subscription.
        id: u64,
        /// The nodes it comes through, the origin first, the acceptor last.
        hops: Vec<String>,
    },
    /// No groups will come.
    Refused {
        /// The subscription.
        id: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The stream, or what was asked of its past, is over; every group of it was sent or reset.
    Ended {
        /// The subscription.
        id: u64,
        /// The last group, if there was one.
        last: Option<Key>,
        /// How many groups of the past were taken whole, or not wanted; 0 of a live subscription.
        groups: u64,
    },
    /// A stream came to be, changed or went away at the acceptor.
    Announce {
        /// The stream's name.
        stream: String,
        /// Its life.
        epoch: u64,
        /// The nodes it comes through, the origin first, the acceptor last.
        hops: Vec<String>,
        /// Whether it is there.
        active: bool,
    },
}

/// Where a subscription starts, and whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the newest group.
    Latest,
    /// At the first group after this one, but not before those that would be late anyway.
    After(Key),
    /// The groups before this one, newest first, and then no more: those that began at most so
    /// many milliseconds before it, or before the first that is there after it, by the origin's
    /// clock.
    Past {
        /// The first group that is not wanted.
        before: Key,
        /// How far back.
        for_ms: u64,
    },
}

/// Why a subscription was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The node does not have the stream.
    #[error("no such stream")]
    NotFound,
    /// The stream would come back to where it was.
    #[error("the path would be a loop")]
    Loop,
    /// The node has no room for it.
    #[error("overloaded")]
    Overloaded,
    /// The node is about to stop.
    #[error("draining")]
    Draining,
}

const HELLO: u64 = 1;
const WELCOME: u64 = 2;
const SUBSCRIBE: u64 = 3;
const UNSUBSCRIBE: u64 = 4;
const ACCEPTED: u64 = 5;
const REFUSED: u64 = 6;
const ENDED: u64 = 7;
const ANNOUNCE: u64 = 8;

impl Message {
    /// Appends type, length and body.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        let mut body = Vec::new();
        let kind = self.encode_body(&mut body)?;
        if body.len() > MAX_MESSAGE {
            return Err(Error::TooLong("message"));
        }
        varint::write(out, kind)?;
        varint::write_bytes(out, &body)
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<u64, Error> {
        match self {
            Self::Hello { versions, node } => {
                varint::write(out, versions.len() as u64)?;
                versions
                    .iter()
                    .try_for_each(|version| varint::write(out, *version))?;
                write_name(out, node, MAX_NODE)?;
                Ok(HELLO)
            }
            Self::Welcome { version, node } => {
                varint::write(out, *version)?;
                write_name(out, node, MAX_NODE)?;
                Ok(WELCOME)
            }
            Self::Subscribe {
                id,
                stream,
                hops,
                start,
            } => {
                varint::write(out, *id)?;
                write_name(out, stream, MAX_STREAM)?;
                write_hops(out, hops)?;
                write_start(out, *start)?;
                Ok(SUBSCRIBE)
            }
            Self::Unsubscribe { id } => {
                varint::write(out, *id)?;
                Ok(UNSUBSCRIBE)
            }
            Self::Accepted { id, hops } => {
                varint::write(out, *id)?;
                write_hops(out, hops)?;
                Ok(ACCEPTED)
            }
            Self::Refused { id, refusal } => {
                varint::write(out, *id)?;
                varint::write(out, refusal.code())?;
                Ok(REFUSED)
            }
            Self::Ended { id, last, groups } => {
                varint::write(out, *id)?;
                write_key(out, *last)?;
                varint::write(out, *groups)?;
                Ok(ENDED)
            }
            Self::Announce {
                stream,
                epoch,
                hops,
                active,
            } => {
                write_name(out, stream, MAX_STREAM)?;
                varint::write(out, *epoch)?;
                write_hops(out, hops)?;
                varint::write(out, u64::from(*active))?;
                Ok(ANNOUNCE)
            }
        }
    }

    /// Reads a body; `None` for a type that is not known.
    fn decode(kind: u64, body: &mut &[u8]) -> Result<Option<Self>, Error> {
        Ok(Some(match kind {
            HELLO => Self::Hello {
                versions: read_versions(body)?,
                node: read_name(body, MAX_NODE)?,
            },
            WELCOME => Self::Welcome {
                version: varint::read(body)?,
                node: read_name(body, MAX_NODE)?,
            },
            SUBSCRIBE => Self::Subscribe {
                id: varint::read(body)?,
                stream: read_name(body, MAX_STREAM)?,
                hops: read_hops(body)?,
                start: read_start(body)?,
            },
            UNSUBSCRIBE => Self::Unsubscribe {
                id: varint::read(body)?,
            },
            ACCEPTED => Self::Accepted {
                id: varint::read(body)?,
                hops: read_hops(body)?,
            },
            REFUSED => Self::Refused {
                id: varint::read(body)?,
                refusal: Refusal::from_code(varint::read(body)?),
            },
            ENDED => Self::Ended {
                id: varint::read(body)?,
                last: read_key(body)?,
                groups: varint::read(body)?,
            },
            ANNOUNCE => Self::Announce {
                stream: read_name(body, MAX_STREAM)?,
                epoch: varint::read(body)?,
                hops: read_hops(body)?,
                active: varint::read(body)? != 0,
            },
            _ => return Ok(None),
        }))
    }
}

impl Refusal {
    fn code(self) -> u64 {
        match self {
            Self::NotFound => 1,
            Self::Loop => 2,
            Self::Overloaded => 3,
            Self::Draining => 4,
        }
    }

    /// A code of a later version means what any refusal means: ask another node.
    fn from_code(code: u64) -> Self {
        match code {
            1 => Self::NotFound,
            2 => Self::Loop,
            4 => Self::Draining,
            _ => Self::Overloaded,
        }
    }
}

/// Gathers the control stream's bytes into messages.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: BytesMut,
}

impl Messages {
    /// Takes bytes as they arrive; read all messages before the next, so that at most one
    /// unfinished stays.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is complete.
    pub fn take(&mut self) -> Result<Option<Message>, Error> {
        loop {
            let mut input = &self.bytes[..];
            let Some((kind, mut body)) = complete(split(&mut input))? else {
                return Ok(None);
            };
            let message = Message::decode(kind, &mut body);
            let used = self.bytes.len() - input.len();
            self.bytes.advance(used);
            if let Some(message) = message? {
                return Ok(Some(message));
            }
        }
    }
}

fn split<'a>(input: &mut &'a [u8]) -> Result<(u64, &'a [u8]), Error> {
    Ok((
        varint::read(input)?,
        varint::read_bytes(input, MAX_MESSAGE, "message")?,
    ))
}

/// A value whose end has not arrived yet is none.
fn complete<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Truncated) => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_name(out: &mut impl BufMut, name: &str, max: usize) -> Result<(), Error> {
    check_name(name, max)?;
    varint::write_bytes(out, name.as_bytes())
}

fn read_name(input: &mut &[u8], max: usize) -> Result<String, Error> {
    let bytes = varint::read_bytes(input, max, "name")?;
    let name = std::str::from_utf8(bytes).map_err(|_| Error::Invalid("name"))?;
    check_name(name, max)?;
    Ok(name.to_owned())
}

/// Names reach logs and paths: printable ASCII without blanks.
fn check_name(name: &str, max: usize) -> Result<(), Error> {
    if name.len() > max {
        return Err(Error::TooLong("name"));
    }
    let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then_some(()).ok_or(Error::Invalid("name"))
}

fn write_hops(out: &mut impl BufMut, hops: &[String]) -> Result<(), Error> {
    if hops.len() > MAX_HOPS {
        return Err(Error::TooLong("hops"));
    }
    varint::write(out, hops.len() as u64)?;
    hops.iter()
        .try_for_each(|hop| write_name(out, hop, MAX_NODE))
}

fn read_hops(input: &mut &[u8]) -> Result<Vec<String>, Error> {
    let count = read_count(input, MAX_HOPS, "hops")?;
    (0..count).map(|_| read_name(input, MAX_NODE)).collect()
}

fn read_versions(input: &mut &[u8]) -> Result<Vec<u64>, Error> {
    let count = read_count(input, MAX_VERSIONS, "versions")?;
    (0..count).map(|_| varint::read(input)).collect()
}

fn read_count(input: &mut &[u8], max: usize, what: &'static str) -> Result<usize, Error> {
    let count = varint::read(input)?;
    if count > max as u64 {
        Err(Error::TooLong(what))
    } else {
        Ok(count as usize)
    }
}

fn write_key(out: &mut impl BufMut, key: Option<Key>) -> Result<(), Error> {
    varint::write(out, u64::from(key.is_some()))?;
    key.map_or(Ok(()), |key| write_place(out, key))
}

fn read_key(input: &mut &[u8]) -> Result<Option<Key>, Error> {
    match varint::read(input)? {
        0 => Ok(None),
        _ => Ok(Some(read_place(input)?)),
    }
}

const LATEST: u64 = 0;
const AFTER: u64 = 1;
const PAST: u64 = 2;

fn write_start(out: &mut impl BufMut, start: Start) -> Result<(), Error> {
    match start {
        Start::Latest => varint::write(out, LATEST),
        Start::After(key) => {
            varint::write(out, AFTER)?;
            write_place(out, key)
        }
        Start::Past { before, for_ms } => {
            varint::write(out, PAST)?;
            write_place(out, before)?;
            varint::write(out, for_ms)
        }
    }
}

fn read_start(input: &mut &[u8]) -> Result<Start, Error> {
    match varint::read(input)? {
        LATEST => Ok(Start::Latest),
        AFTER => Ok(Start::After(read_place(input)?)),
        PAST => Ok(Start::Past {
            before: read_place(input)?,
            for_ms: varint::read(input)?,
        }),
        _ => Err(Error::Invalid("start")),
    }
}

fn write_place(out: &mut impl BufMut, key: Key) -> Result<(), Error> {
    varint::write(out, key.epoch)?;
    varint::write(out, key.number)
}

fn read_place(input: &mut &[u8]) -> Result<Key, Error> {
    Ok(Key {
        epoch: varint::read(input)?,
        number: varint::read(input)?,
    })
}
