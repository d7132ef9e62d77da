//! Sans-IO: the content steering manifest (draft-pantos-hls-rfc8216bis, section 7): which pathway a
//! running player should use now, which others it may fall back to, and when to ask again.
//!
//! A pathway is an edge. A player's playlist has the variants of one, its base; each other one is
//! described as a clone of that. `HOST` replaces a host name and nothing else (hls.js 1.7 sets
//! `URL.hostname`, which refuses a port), so it is used only between edges of one scheme and port;
//! otherwise `PER-VARIANT-URIS` names each rung's address in full.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use cluster::hls::stable_id;
use cluster::node::NodeId;
use cluster::stream::StreamKey;
use serde::{Deserialize, Serialize};

use crate::pathway::Kind;
use crate::snapshot::{NodeView, Snapshot};
use crate::steer::Decision;

/// What a player is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always 1.
    #[serde(rename = "VERSION")]
    pub version: u32,
    /// Seconds until the player asks again.
    #[serde(rename = "TTL")]
    pub ttl_s: u32,
    /// Where it then asks: this answer's own words, so that nobody has to remember it.
    #[serde(rename = "RELOAD-URI")]
    pub reload_uri: String,
    /// The pathway to use, then those to fall back to.
    #[serde(rename = "PATHWAY-PRIORITY")]
    pub priority: Vec<NodeId>,
    /// The pathways that are not in the player's playlist.
    #[serde(rename = "PATHWAY-CLONES")]
    pub clones: Vec<Clone>,
}

/// A pathway made from another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clone {
    /// The pathway of the player's playlist.
    #[serde(rename = "BASE-ID")]
    pub base: NodeId,
    /// The new one.
    #[serde(rename = "ID")]
    pub id: NodeId,
    /// How its addresses follow from the base's.
    #[serde(rename = "URI-REPLACEMENT")]
    pub replacement: Replacement,
}

/// How a clone's addresses follow from those of its base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replacement {
    /// By another host name.
    #[serde(rename = "HOST")]
    Host(String),
    /// By stable variant id.
    #[serde(rename = "PER-VARIANT-URIS")]
    PerVariant(BTreeMap<String, String>),
}

/// What a player's addresses carry from one answer to the next, so that the scheduler need not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail<'a> {
    /// The stream.
    pub stream: &'a StreamKey,
    /// The session, as signed.
    pub session: &'a str,
    /// The pathway of the player's playlist.
    pub base: &'a NodeId,
    /// The address to be answered for, where one was named.
    pub ip: Option<IpAddr>,
    /// Edges not to be sent to, separated by commas.
    pub exclude: &'a str,
    /// How many answers in a row wanted the player to move.
    pub asked: u8,
    /// Unix time in seconds, from which on signed addresses are good.
    pub now_s: u64,
}

/// A pathway as a player of one session is told of it.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Its node.
    pub view: &'a NodeView,
    /// The session, as signed.
    pub session: &'a str,
    /// Unix time in seconds, from which on signed addresses are good.
    pub now_s: u64,
    /// Makes signed addresses of one second differ.
    pub random: u64,
}

impl Site<'_> {
    /// Where the media playlist of a stream is.
    pub fn media_uri(&self, key: &StreamKey) -> String {
        match &self.view.pathway {
            Some(pathway) => pathway.url(key, Kind::Media, self.now_s, self.random),
            None => media_uri(&self.view.node().public_url, key, self.session),
        }
    }
}

impl Trail<'_> {
    /// Where the player asks next, relative to the scheduler.
    pub fn uri(&self) -> String {
        let Self {
            stream,
            session,
            base,
            ..
        } = self;
        let mut uri = format!("{PATH}{stream}?session={session}&base={base}");
        if let Some(ip) = self.ip {
            uri.push_str(&format!("&ip={ip}"));
        }
        let mut separator = "&exclude=";
        for edge in named(self.exclude) {
            uri.push_str(separator);
            uri.push_str(edge);
            separator = ",";
        }
        if self.asked > 0 {
            uri.push_str(&format!("&asked={}", self.asked));
        }
        uri
    }
}

/// The ids in a list of edges, at most [`MAX_EXCLUDED`].
fn named(exclude: &str) -> impl Iterator<Item = &str> {
    let ids = exclude.split(',').filter(|id| NodeId::parse(id).is_ok());
    ids.take(MAX_EXCLUDED)
}

/// The manifest that a decision for that player comes to. `playing` is the pathway that it is on,
/// when it said so; `rungs` are all streams of its playlist; `random` spreads the next requests.
pub fn manifest(
    (snapshot, decision): (&Snapshot, &Decision<'_>),
    trail: &Trail<'_>,
    rungs: &[StreamKey],
    playing: Option<&NodeId>,
    random: u64,
) -> Manifest {
    let priority = pathways(snapshot, decision);
    let moves = playing.is_some_and(|playing| priority.first() != Some(playing));
    let asked = if moves {
        trail.asked.saturating_add(1)
    } else {
        0
    };
    let others = priority.iter().filter(|id| *id != trail.base);
    let clone = |id: &NodeId| Clone {
        base: trail.base.clone(),
        id: id.clone(),
        replacement: replacement((snapshot, random), trail, rungs, id),
    };
    let on = playing.and_then(|id| snapshot.node(id.as_str()));
    Manifest {
        version: 1,
        ttl_s: ttl_s(on, asked, random),
        reload_uri: Trail {
            asked,
            ..trail.clone()
        }
        .uri(),
        clones: others.map(clone).collect(),
        priority,
    }
}

/// The chosen edge, its fallbacks, and as the last one the least loaded of all others that are
/// usable: when the near ones fail together, a far one that has room still plays.
fn pathways(snapshot: &Snapshot, decision: &Decision<'_>) -> Vec<NodeId> {
    let ranked: Vec<usize> = decision.edges().map(|edge| edge.node).collect();
    let others = decision.candidates.iter();
    let others = others.filter(|it| it.cost.is_some() && !ranked.contains(&it.node));
    let safe = others
        .min_by(|a, b| a.load.total_cmp(&b.load))
        .map(|it| it.node);
    let all = ranked.iter().copied().chain(safe);
    all.map(|node| snapshot.nodes[node].node().id.clone())
        .collect()
}

/// How the addresses at an edge follow from those at the base.
fn replacement(
    (snapshot, random): (&Snapshot, u64),
    trail: &Trail<'_>,
    rungs: &[StreamKey],
    id: &NodeId,
) -> Replacement {
    let own = |view: &&NodeView| view.pathway.is_none();
    let base = snapshot.node(trail.base.as_str()).filter(own);
    let Some(view) = snapshot.node(id.as_str()) else {
        return Replacement::PerVariant(BTreeMap::new());
    };
    let base = base.and_then(|view| Address::of(&view.node().public_url));
    match Some(view)
        .filter(own)
        .and_then(|view| Address::of(&view.node().public_url))
    {
        Some(address) if base.is_some_and(|base| base.differs_by_host(&address)) => {
            Replacement::Host(address.host.to_owned())
        }
        _ => {
            let site = Site {
                view,
                session: trail.session,
                now_s: trail.now_s,
                random,
            };
            let rung = |key: &StreamKey| (stable_id(key), site.media_uri(key));
            Replacement::PerVariant(rungs.iter().map(rung).collect())
        }
    }
}

/// The media playlist of a stream at the edge of that public address.
pub fn media_uri(public_url: &str, key: &StreamKey, session: &str) -> String {
    format!("{public_url}/{key}/media.m3u8?session={session}")
}

/// `scheme://host[:port]` in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address<'a> {
    scheme: &'a str,
    host: &'a str,
    port: &'a str,
}

impl<'a> Address<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, authority) = url.split_once("://")?;
        // An IPv6 address has colons of its own, in brackets.
        let behind = authority.rfind(']').map_or(0, |end| end + 1);
        let colon = authority[behind..].find(':').map(|at| behind + at);
        let (host, port) = match colon {
            Some(at) => (&authority[..at], &authority[at + 1..]),
            None => (authority, ""),
        };
        Some(Self { scheme, host, port })
    }

    fn differs_by_host(&self, other: &Self) -> bool {
        (self.scheme, self.port) == (other.scheme, other.port)
    }
}

/// How long an answer holds for a player that is on that node and was asked to move so often in a
/// row; spread by 20 % so that players do not ask together.
pub fn ttl_s(on: Option<&NodeView>, asked: u8, random: u64) -> u32 {
    let nearly_full = on.is_some_and(|view| {
        let load = view.load();
        !load.unlimited && load.worst() >= NEARLY_FULL
    });
    let range = match asked {
        1..=MAX_ASKED => MOVE_TTL_S,
        _ if nearly_full => FULL_TTL_S,
        _ => TTL_S,
    };
    spread(range, random)
}

fn spread(range: RangeInclusive<u32>, random: u64) -> u32 {
    let width = u64::from(range.end() - range.start() + 1);
    range.start() + (random % width) as u32
}

/// Under this path players ask.
pub const PATH: &str = "/steering/";

/// 7.5 s and 20 % around it: a drain has moved every player within ten seconds, and a million
/// players are 133,000 requests a second.
const TTL_S: RangeInclusive<u32> = 6..=9;

/// At an edge that may soon have to send players elsewhere: 4 s and a quarter.
const FULL_TTL_S: RangeInclusive<u32> = 3..=5;

/// The share of its capacity from which an edge is such a one.
const NEARLY_FULL: f32 = 0.85;

/// While a player is to move it is asked sooner whether it has: 2.5 s and 20 %.
const MOVE_TTL_S: RangeInclusive<u32> = 2..=3;

/// After so many short ones in a row the player has its reasons (hls.js leaves a pathway that failed
/// alone for five minutes), and is asked at the usual pace.
const MAX_ASKED: u8 = 4;

/// A player that excludes more edges than there are in an answer is not playing.
const MAX_EXCLUDED: usize = 8;

#[cfg(test)]
mod tests;
