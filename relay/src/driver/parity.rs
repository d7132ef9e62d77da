//! Hot: sends the parity of a connection's group streams, as much as its losses are worth.
//!
//! A peer that takes datagrams understands parity: that is how it is agreed on.

use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::Connection;
use tokio::sync::Semaphore;

use super::now;
use crate::repair::{Encoder, Pace, Path};
use crate::session::PAST_AT_ONCE;

/// Congestion windows below ten packets are better spent on the frames themselves.
const SMALL_WINDOW: u64 = 14_000;

/// A connection that groups are sent on, and what it loses.
pub(super) struct Line {
    pub(super) connection: Connection,
    /// Places for groups of the past.
    pub(super) past: Semaphore,
    pace: Mutex<Pace>,
}

impl Line {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            past: Semaphore::new(PAST_AT_ONCE),
            pace: Mutex::default(),
        }
    }

    /// Has parity made of what a stream sends next, when the path loses any.
    pub(super) fn cover(&self, encoder: &mut Encoder, chunks: &[Bytes]) {
        let (now, stats) = (now(), self.connection.stats());
        let bytes = chunks.iter().map(Bytes::len).sum();
        let mut pace = self.pace.lock();
        if pace.is_due(now) {
            pace.measure(now, stats.path.sent_packets, stats.path.lost_packets);
        }
        pace.transmitted(stats.udp_tx.bytes);
        pace.hand(bytes);
        let roomy = stats.path.cwnd >= SMALL_WINDOW;
        if roomy && pace.is_lossy() && self.connection.max_datagram_size().is_some() {
            pace.earn(bytes);
            encoder.push(chunks);
        } else {
            encoder.skip(chunks);
        }
    }

    /// What is covered was handed over whole.
    pub(super) fn sent(&self, encoder: &mut Encoder) {
        encoder.sent(now(), &self.pace.lock());
    }

    /// When parity is due.
    pub(super) fn due(&self, encoder: &Encoder) -> Option<Instant> {
        // Asking the connection takes its lock.
        (!encoder.is_idle()).then(|| encoder.due(self.connection.rtt()))?
    }

    /// Sends the parity that is due.
    pub(super) fn repair(&self, encoder: &mut Encoder) {
        let stats = self.connection.stats();
        let path = Path {
            rtt: stats.path.rtt,
            lost: stats.path.lost_packets,
            limit: self.connection.max_datagram_size().unwrap_or(0),
        };
        let mut pace = self.pace.lock();
        pace.transmitted(stats.udp_tx.bytes);
        for datagram in encoder.poll(now(), path, &mut pace) {
            pace.hand(datagram.len());
            if let Err(error) = self.connection.send_datagram(datagram) {
                tracing::debug!(%error, "parity not sent");
                break;
            }
        }
    }
}
