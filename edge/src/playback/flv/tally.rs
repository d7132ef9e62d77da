//! Hot: what a worker counts for itself, and gives to the node's counters a few times a second.
//!
//! Workers share no cache line per frame.

use crate::meter::Metrics;
use crate::playback::dropped::Dropped;

/// Counted and not yet given on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Bytes written.
    pub(super) bytes: u64,
    /// Frames that slow viewers did not get.
    pub(super) dropped: Dropped,
}

impl Tally {
    /// Gives it to the node's counters.
    pub(super) fn flush(&mut self, metrics: &Metrics) {
        let Self { bytes, dropped } = std::mem::take(self);
        metrics.egress_bytes.inc_by(bytes);
        metrics.drop_frames(&dropped);
    }
}
