//! Sans-IO: who may say what when on a relay connection, and which group is worth sending.
//!
//! The dialler is a [`client::Client`] that subscribes, the acceptor a [`server::Server`] that
//! serves. Both turn messages into outputs that the driver carries out; a peer that breaks the
//! rules yields one [`wire::Close`] and nothing after it. Group streams are not messages:
//! [`Sending`] and [`Standing`] decide for each subscription which ones are sent, in which order,
//! and when one is given up.

pub mod client;
mod schedule;
pub mod server;

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::wire::{self, MAX_HOPS, Message};

pub use schedule::{LATE_AFTER, LATE_GROUPS, Sending, Standing, Verdict};
pub use schedule::{PAST_AT_ONCE, PAST_PRIORITY, PAST_WITHIN, Past};

/// How long a peer may take for its first message: several round trips of the longest path.
pub const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// Subscriptions of one peer: an edge of thousands of streams has several parents.
pub const MAX_SUBSCRIPTIONS: usize = 1024;

/// Streams that a peer is told of or may tell of; a stream that is not announced can be subscribed
/// all the same.
pub const MAX_ANNOUNCED: usize = 4096;

/// A stream that a node has, as its peers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The stream's name.
    pub stream: String,
    /// Its life.
    pub epoch: u64,
    /// The nodes it came through, the origin first; the announcing node is last where a peer
    /// announced it, and not among them where a source does.
    pub hops: Vec<String>,
}

fn encoded(message: &Message) -> Result<Bytes, wire::Error> {
    let mut out = BytesMut::new();
    message.encode(&mut out)?;
    Ok(out.freeze())
}

/// The hops with one more at the end; `None` when the path is too long.
fn extended(hops: &[String], node: &str) -> Option<Vec<String>> {
    let fits = hops.len() < MAX_HOPS;
    fits.then(|| {
        hops.iter()
            .map(String::as_str)
            .chain([node])
            .map(str::to_owned)
            .collect()
    })
}

#[cfg(test)]
mod tests;
