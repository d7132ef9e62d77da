//! Sans-IO: what viewers are answered, as types.

use std::net::IpAddr;

use cluster::node::NodeId;
use cluster::stream::StreamKey;
use cluster::token::Refusal;
use serde::{Deserialize, Serialize};

use crate::geo::Source;
use crate::steer::{Decision, Hold};

/// Why a viewer is sent nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such stream is on air.
    UnknownStream,
    /// No edge can take the viewer now.
    NoEdge,
    /// The viewer may not watch.
    Token(Refusal),
    /// A player that asks for steering shows no session.
    NoSession,
    /// A player that plays already is where it should be.
    Stays,
}

impl Refused {
    /// The outcome's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownStream => "unknown_stream",
            Self::NoEdge => "no_edge",
            Self::Token(refusal) => refusal.as_str(),
            Self::NoSession => "session_missing",
            Self::Stays => "stays",
        }
    }
}

/// The answer of `/api/v1/resolve`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// The stream.
    pub stream: StreamKey,
    /// The edge to go to.
    pub edge: NodeId,
    /// The signed address there.
    pub url: String,
    /// Where to go when that fails, best first.
    pub fallbacks: Vec<Fallback>,
    /// How long the addresses can be joined by.
    pub ttl_s: u64,
    /// Where the viewer was taken to be.
    pub place: ViewerPlace,
    /// Why this edge.
    pub reason: Why,
}

/// Another edge for the same stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fallback {
    /// The edge.
    pub edge: NodeId,
    /// The signed address there.
    pub url: String,
}

/// Where a viewer was taken to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewerPlace {
    /// The address that was placed.
    pub address: IpAddr,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// City or zone, when known.
    pub name: String,
    /// Two-letter code, when known.
    pub country: String,
    /// What the place was read from.
    pub source: Source,
    /// Whether it stands for a whole state or country, or the unknown.
    pub approximate: bool,
}

/// Why an edge was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It is the nearest.
    Nearest,
    /// It is about as near as the nearest, and was drawn.
    Drawn,
    /// It is within the slack, and its price is worth the longer way.
    Cheaper,
    /// It is good enough, and was drawn so that the path to it gets measured.
    Explored,
    /// The viewer was there before.
    Kept,
    /// The player is there now, and nothing calls for a move.
    Playing,
}

impl Why {
    /// Why the chosen edge was chosen.
    pub fn of(decision: &Decision<'_>) -> Self {
        let usable = decision.candidates.iter().filter(|it| it.cost.is_some());
        let near = |than: f32| usable.clone().filter(move |it| it.rtt_ms <= than).count();
        let chosen = decision.chosen().map_or(0.0, |it| it.rtt_ms);
        let nearest = usable.clone().map(|it| it.rtt_ms);
        let nearest = nearest.fold(f32::INFINITY, f32::min);
        match decision.held {
            Some(Hold::Kept) => Self::Kept,
            Some(Hold::Playing) => Self::Playing,
            None if decision.explored => Self::Explored,
            None if chosen > nearest + ABOUT_MS => Self::Cheaper,
            None if near(nearest + ABOUT_MS) > 1 => Self::Drawn,
            None => Self::Nearest,
        }
    }

    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nearest => "the nearest usable edge",
            Self::Drawn => "drawn from equally near edges",
            Self::Cheaper => "cheaper, and within the policy's slack",
            Self::Explored => "within the policy's slack, drawn to measure the path",
            Self::Kept => "the viewer was there before",
            Self::Playing => "the player is there, and nothing calls for a move",
        }
    }
}

/// Edges whose round-trip times differ by less are equally near.
const ABOUT_MS: f32 = 1.0;
