//! Sans-IO: people who came to a real cluster, so that the engine plays the same ones.
//!
//! With a trace nobody is drawn: who comes when, to watch what for how long is given, and so are
//! the calendar's pace and what protocols add to a stream. Nobody goes early and no crowd comes.

use std::ops::Range;

use super::viewer::Player;

/// What is played again.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// Who came, earliest first.
    pub visits: &'a [Visit],
    /// The world's second at the beginning; what is before the billed slots is billed to nobody.
    pub first_s: u32,
    /// Unix milliseconds then, by which the scheduler paces moves.
    pub start_ms: u64,
    /// Calendar seconds in a second: the world's slots, days and bills go by them.
    pub scale: f64,
    /// How many real seconds are played.
    pub seconds: u32,
    /// What is sent beside streams.
    pub wire: Wire,
}

/// Somebody who came.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// When, from the beginning.
    pub at_ms: u32,
    /// For how long.
    pub stays_ms: u32,
    /// Index of the region.
    pub region: u16,
    /// Index of the stream.
    pub stream: u32,
    /// With which player.
    pub player: Player,
    /// The scheduler's hash of the viewer and the stream.
    pub key: u64,
}

/// What is sent for a stream of a bit rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wire {
    /// Times the bit rate to viewers of FLV and of sessions.
    pub flv: f64,
    /// The same to viewers of HLS, playlists counted.
    pub hls: f64,
    /// The same from node to node.
    pub relay: f64,
    /// Seconds until a stream flows to an edge that did not have it; by distance when left out.
    pub fetch_s: Option<f64>,
    /// Seconds of the stream that a newcomer of FLV is sent at once.
    pub flv_start_s: f64,
    /// The same of HLS.
    pub hls_start_s: f64,
}

impl Default for Wire {
    /// The stream alone.
    fn default() -> Self {
        Self {
            flv: 1.0,
            hls: 1.0,
            relay: 1.0,
            fetch_s: None,
            flv_start_s: 0.0,
            hls_start_s: 0.0,
        }
    }
}

impl Wire {
    /// Times the bit rate, and milliseconds of the stream that are sent at once.
    pub(super) fn of(&self, player: Player) -> (f64, u64) {
        let (times, start_s) = if player.asks() {
            (self.hls, self.hls_start_s)
        } else {
            (self.flv, self.flv_start_s)
        };
        (times, (start_s * 1e3) as u64)
    }
}

/// What an edge did in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Carried {
    /// Bits to viewers.
    pub egress_bits: f64,
    /// Bits from other nodes.
    pub relay_bits: f64,
    /// Who counts as watching at its end.
    pub viewers: u32,
}

/// Those of a trace who come in a second.
pub(super) fn within(visits: &[Visit], second: u32) -> Range<usize> {
    let from = |second: u32| visits.partition_point(|it| it.at_ms / 1000 < second);
    from(second)..from(second + 1)
}
