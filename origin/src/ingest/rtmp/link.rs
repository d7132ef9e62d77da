//! Sans-IO: what both ends of an RTMP connection share.

use bytes::Bytes;
use std::time::Instant;

/// What a session wants of its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<E> {
    /// Write these bytes to the peer.
    Send(Bytes),
    /// Something happened.
    Event(E),
    /// Call `handle_deadline` at this time; replaces every earlier deadline.
    Deadline(Instant),
}
