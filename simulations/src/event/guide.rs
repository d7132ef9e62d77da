//! Sans-IO: who says where viewers go: the production scheduler, or a rule to compare it with.
//!
//! All hear of edges' loads as late, and lose the same heartbeats.

pub(super) mod cluster;
pub(super) mod rule;

use scheduler::collect::registry::SILENCE_MS;

use super::edge::Edge;
use super::viewer::{Edges, NONE, Viewer};
use crate::dice::Dice;

/// Somebody who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    /// A hash of the viewer and the stream.
    pub(super) key: u64,
    pub(super) region: usize,
    /// What is to be watched, and its bits per second; nothing in particular for a resolver.
    pub(super) stream: Option<(usize, u64)>,
    /// The edge it plays from.
    pub(super) playing: u16,
    /// The edge it was sent to last.
    pub(super) sent: u16,
    /// The edge that let it down.
    pub(super) exclude: u16,
    /// Milliseconds since the engine began.
    pub(super) now_ms: u32,
}

impl Asker {
    pub(super) fn new(viewer: &Viewer, bitrate_bps: u64, now_ms: u32) -> Self {
        Self {
            key: viewer.key,
            region: viewer.region.into(),
            stream: Some((viewer.stream as usize, bitrate_bps)),
            playing: viewer.edge,
            sent: viewer.sent,
            exclude: NONE,
            now_ms,
        }
    }
}

/// Decides where viewers go.
pub(super) trait Guide {
    /// A second is over; what edges carry is heard where it is told.
    fn tick(&mut self, now_ms: u32, edges: &[Edge], waiting_bps: &[u64]);

    /// Where somebody goes who plays nowhere; None when there is no room.
    fn join(&mut self, asker: &Asker) -> Option<Edges>;

    /// Where a resolver sends people.
    fn by_dns(&mut self, asker: &Asker) -> Edges;

    /// Where somebody who plays should play, first the edge of now if it is to stay; None when
    /// running viewers are never moved.
    fn running(&mut self, asker: &Asker) -> Option<Edges>;

    /// Seconds until a player that steers itself asks again; None where nobody does.
    fn again_s(&self, asker: &Asker, asked: u8) -> Option<u32>;

    /// Whether edges send on who is one too many, and tell players to leave.
    fn is_ours(&self) -> bool;

    /// Whether a region may use an edge, whatever is full or dead.
    fn may(&self, region: usize, edge: usize) -> bool;
}

/// Who is alive, as heartbeats tell.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    dice: Dice,
    loss: f64,
    heard_ms: Vec<u32>,
}

impl Pulse {
    pub(super) fn new(edges: usize, loss: f64, seed: u64) -> Self {
        Self {
            dice: Dice::new(seed, "heartbeats"),
            loss,
            heard_ms: vec![0; edges],
        }
    }

    /// Takes the heartbeats of a second.
    pub(super) fn beat(&mut self, now_ms: u32, edges: &[Edge]) {
        for (heard_ms, edge) in self.heard_ms.iter_mut().zip(edges) {
            let lost = self.dice.chance(self.loss);
            if edge.alive && !lost {
                *heard_ms = now_ms;
            }
        }
    }

    /// Whether an edge was heard of in this second.
    pub(super) fn is_heard(&self, edge: usize, now_ms: u32) -> bool {
        self.heard_ms[edge] == now_ms
    }

    /// Whether an edge counts as alive.
    pub(super) fn is_up(&self, edge: usize, now_ms: u32) -> bool {
        u64::from(now_ms - self.heard_ms[edge]) < SILENCE_MS
    }
}
