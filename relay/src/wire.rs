//! Sans-IO: Hot: the bytes of `weir/1` (docs/protocols.md, "Relay protocol weir/1").
//!
//! Every length is bounded by a constant here, and a claimed length takes little memory by itself.
//! Bodies may grow in later versions: bytes after the known fields and messages of unknown type are
//! skipped. Which message may come when is the session's business.

mod group;
mod message;
mod parity;
pub mod varint;

use media::timestamp::Timestamp;

pub use group::{Event, GroupDecoder, encode_frame, encode_header};
pub use message::{Message, Messages, Refusal, Start};
pub use parity::{Block, Parity};

/// What the connection's TLS handshake agrees on.
pub const ALPN: &[u8] = b"weir/1";

/// The versions of messages and group streams that are spoken, best first.
pub const VERSIONS: [u64; 1] = [2];

/// Versions in a hello: a node speaks a handful.
pub const MAX_VERSIONS: usize = 16;

/// Bytes of a control message's body: the largest is a subscribe with all its hops, about 1 KiB.
pub const MAX_MESSAGE: usize = 4096;

/// Bytes of a node's name.
pub const MAX_NODE: usize = 64;

/// Bytes of a stream's name: `app/name` of 64 each.
pub const MAX_STREAM: usize = 129;

/// Nodes between a stream's origin and its last edge; real paths have three.
pub const MAX_HOPS: usize = 8;

/// Bytes of a group's header: configuration records are some hundred bytes, the largest known a few
/// KiB.
pub const MAX_HEADER: usize = 64 << 10;

/// The longest segment that a group's header can ask for: one that lasts an hour is a mistake.
pub const MAX_SEGMENT: Timestamp = Timestamp::from_millis(3_600_000);

/// Bytes of a frame's head: six numbers of at most eight bytes, and room for later fields.
pub const MAX_FRAME_HEAD: usize = 128;

/// Bytes of a frame's payload: what an RTMP message can hold.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// The first number of a unidirectional stream that carries a group.
pub const GROUP_STREAM: u64 = 1;

/// The first number of a datagram that carries parity.
pub const PARITY: u64 = 1;

/// A datagram that says nothing: its acknowledgement tells what was lost before it. Readers skip it
/// as they skip every type they do not know.
pub const PROBE: u8 = 2;

/// Why a group's stream was reset by its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reset {
    /// Newer groups wait behind it.
    Late = 1,
    /// The sender itself will not get the rest.
    Aborted = 2,
    /// The subscription is over.
    Gone = 3,
}

/// Why a group's stream was stopped by its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stop {
    /// No subscription of that number.
    Unknown = 1,
    /// The receiver's track is past the group.
    Stale = 2,
    /// The receiver has no room for it.
    Full = 3,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Close {
    /// It is not needed any more.
    Done = 0,
    /// The peer broke the protocol.
    Protocol = 1,
    /// No version in common.
    Version = 2,
    /// The peer did not say hello, or did not take messages, in time.
    Timeout = 3,
}

/// Bytes that are not `weir/1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body ends inside a field.
    #[error("truncated")]
    Truncated,
    /// A length above its bound.
    #[error("{0} too long")]
    TooLong(&'static str),
    /// A value that has no meaning.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

#[cfg(test)]
mod tests;
