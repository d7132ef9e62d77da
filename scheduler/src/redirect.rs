//! Hot: from a viewer's request to a signed address at an edge.
//!
//! One pass over immutable views: find the stream, place the address, steer, sign, write the
//! `Location`. No lock is held and nothing is awaited. The target is the public address of a node
//! in the table, never anything from the request. The HTTP around it is in [`public`].

pub mod address;
pub mod public;
mod query;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use cluster::node::NodeId;
use cluster::stream::{StreamKey, StreamRecord};
use cluster::token::gate::Gate;
use cluster::token::{Action, Attempt, Claims, Refusal};
use serde::{Deserialize, Serialize};
use transport::clock::Clock;

use crate::geo::{Geo, Located, Source};
use crate::meter::Meter;
use crate::snapshot::{NodeView, Snapshot, hash, mix};
use crate::steer::{Decision, Reason, Viewer, steer};
use crate::sticky::Sticky;
use address::Proxies;
use query::Query;

/// Answers viewers.
pub struct Redirector {
    /// The cluster as it is now.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Where addresses are.
    pub geo: Arc<Geo>,
    /// Who may watch, and the keys.
    pub gate: Gate,
    /// Where viewers were sent before.
    pub sticky: Sticky,
    /// Whose word about addresses counts.
    pub proxies: Proxies,
    /// What is counted.
    pub meter: Meter,
    /// What time it is.
    pub clock: Clock,
}

/// A viewer's request, as the connection gives it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The connection's other end.
    pub peer: IpAddr,
    /// The path of the address, with its leading slash.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: &'a str,
    /// The values of `X-Forwarded-For`, in order.
    pub forwarded: &'a [&'a str],
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
}

/// Why a viewer is sent nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such stream is on air.
    UnknownStream,
    /// No edge can take the viewer now.
    NoEdge,
    /// The viewer may not watch.
    Token(Refusal),
}

impl Refused {
    /// The outcome's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownStream => "unknown_stream",
            Self::NoEdge => "no_edge",
            Self::Token(refusal) => refusal.as_str(),
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
    /// It is the less loaded of equally near ones.
    LessLoaded,
    /// It is equally near, and the viewer was there before.
    Kept,
}

impl Why {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nearest => "the nearest usable edge",
            Self::LessLoaded => "the less loaded of two equally near edges",
            Self::Kept => "equally near, and the viewer was there before",
        }
    }
}

/// A decision with what it was made for.
struct Decided {
    snapshot: Arc<Snapshot>,
    decision: Decision,
    record: Arc<StreamRecord>,
    address: IpAddr,
    located: Located,
    claims: Claims,
}

impl Redirector {
    /// The signed address at the best edge for a request of `/{app}/{stream}.flv`.
    pub fn redirect(&self, request: &Request<'_>) -> Result<String, Refused> {
        self.timed(|| {
            let key = request
                .path
                .strip_prefix('/')
                .and_then(|path| path.strip_suffix(EXTENSION));
            let query = Query::parse(request.query);
            let decided = self.decide(request, &query, key.unwrap_or_default())?;
            let token = self.gate.sign(&decided.claims);
            let edge = decided.edges().next().ok_or(Refused::NoEdge)?;
            Ok(url(
                edge,
                &decided.record.key,
                &token,
                Query::passed_on(request.query),
            ))
        })
    }

    /// The same decision with its fallbacks and reasons, for a stream named in the query.
    pub fn resolve(&self, request: &Request<'_>) -> Result<Resolved, Refused> {
        self.timed(|| {
            let query = Query::parse(request.query);
            let key = query.stream.as_deref().unwrap_or_default();
            let decided = self.decide(request, &query, key)?;
            let token = self.gate.sign(&decided.claims);
            let key = &decided.record.key;
            let at = |view: &NodeView| Fallback {
                edge: view.node().id.clone(),
                url: url(view, key, &token, std::iter::empty()),
            };
            let mut edges = decided.edges().map(at);
            let Fallback { edge, url } = edges.next().ok_or(Refused::NoEdge)?;
            Ok(Resolved {
                stream: key.clone(),
                edge,
                url,
                fallbacks: edges.collect(),
                ttl_s: decided
                    .claims
                    .exp_s
                    .saturating_sub(self.clock.unix_ms() / 1000),
                place: self.place(decided.address, decided.located),
                reason: why(&decided.decision),
            })
        })
    }

    /// What would be decided for a viewer at `address`, without sending anybody anywhere.
    pub fn explain(
        &self,
        snapshot: &Snapshot,
        key: &str,
        address: IpAddr,
    ) -> (ViewerPlace, Decision) {
        let located = self.geo.locate(address);
        let viewer = self.viewer(located, viewer_key(key, address, None), "");
        (self.place(address, located), steer(snapshot, &viewer))
    }

    fn timed<T>(&self, answer: impl FnOnce() -> Result<T, Refused>) -> Result<T, Refused> {
        let start = Instant::now();
        let answer = answer();
        self.meter.seconds.observe(start.elapsed().as_secs_f64());
        match &answer {
            Ok(_) => self.meter.redirected(),
            Err(refused) => self.meter.decided(refused.as_str()),
        }
        answer
    }

    /// Finds the stream, checks the token, steers, and counts the viewer to the chosen edge.
    fn decide(
        &self,
        request: &Request<'_>,
        query: &Query<'_>,
        key: &str,
    ) -> Result<Decided, Refused> {
        let snapshot = self.snapshot.load_full();
        let record = snapshot.stream(key).ok_or(Refused::UnknownStream)?.clone();
        let forwarded = request.forwarded.iter().copied();
        let address = self
            .proxies
            .viewer(request.peer, forwarded, query.ip.as_deref());
        let token = query.token.as_deref().or(request.bearer);
        let mut claims = self.claims(&record.key, address, token)?;

        let located = self.geo.locate(address);
        self.meter.located(located.source);
        let viewer_key = viewer_key(key, address, query.session.as_deref());
        let viewer = self.viewer(
            located,
            viewer_key,
            query.exclude.as_deref().unwrap_or_default(),
        );
        let decision = steer(&snapshot, &viewer);
        let chosen = decision.chosen().ok_or(Refused::NoEdge)?;
        let view = &snapshot.nodes[chosen.node];
        if viewer.kept != Some(view.number) {
            view.sent.add(record.bitrate_bps.max(LEAST_BITRATE_BPS));
        }
        self.sticky
            .keep(viewer_key, view.number, self.clock.unix_ms() / 1000);
        let ids = decision
            .edges()
            .map(|edge| snapshot.nodes[edge.node].node().id.clone());
        claims.edges = Some(ids.collect());
        Ok(Decided {
            decision,
            record,
            address,
            located,
            claims,
            snapshot,
        })
    }

    fn viewer<'a>(&self, located: Located, key: u64, exclude: &'a str) -> Viewer<'a> {
        let kept = self.sticky.find(key, self.clock.unix_ms() / 1000);
        Viewer {
            located,
            key,
            kept,
            exclude,
        }
    }

    /// What the new token allows: no more than the one that the viewer brought, if any.
    fn claims(
        &self,
        key: &StreamKey,
        client: IpAddr,
        token: Option<&str>,
    ) -> Result<Claims, Refused> {
        let now_s = self.clock.unix_ms() / 1000;
        let what = Attempt {
            action: Action::Play,
            stream: key,
            node: None,
            client,
        };
        let brought = self
            .gate
            .check(token, &what, now_s)
            .map_err(Refused::Token)?;
        let fresh = self.gate.redirect_claims(key, client, now_s);
        Ok(match brought {
            None => fresh,
            Some(brought) => Claims {
                exp_s: fresh.exp_s.min(brought.exp_s),
                client: brought.client.or(fresh.client),
                label: brought.label,
                ..fresh
            },
        })
    }

    fn place(&self, address: IpAddr, located: Located) -> ViewerPlace {
        ViewerPlace {
            address,
            lat: located.point.lat,
            lon: located.point.lon,
            name: self.geo.name(address),
            country: located.country_code().to_owned(),
            source: located.source,
            approximate: located.source.is_approximate(),
        }
    }
}

impl Decided {
    fn edges(&self) -> impl Iterator<Item = &NodeView> {
        self.decision
            .edges()
            .map(|edge| &self.snapshot.nodes[edge.node])
    }
}

/// Why the chosen edge was chosen.
pub fn why(decision: &Decision) -> Why {
    let busier = decision
        .candidates
        .iter()
        .any(|edge| edge.lost == Some(Reason::Busier));
    match (decision.kept, busier) {
        (true, _) => Why::Kept,
        (false, true) => Why::LessLoaded,
        (false, false) => Why::Nearest,
    }
}

/// A hash of the viewer (its session, else its address) and the stream.
fn viewer_key(stream: &str, address: IpAddr, session: Option<&str>) -> u64 {
    let viewer = match (session, address) {
        (Some(session), _) => hash(session.as_bytes()),
        (None, IpAddr::V4(v4)) => hash(&v4.octets()),
        (None, IpAddr::V6(v6)) => hash(&v6.octets()),
    };
    mix(viewer ^ hash(stream.as_bytes()).rotate_left(1))
}

fn url<'a>(
    edge: &NodeView,
    key: &StreamKey,
    token: &str,
    passed_on: impl Iterator<Item = &'a str>,
) -> String {
    let parts = [
        &edge.node().public_url,
        "/",
        key.as_str(),
        EXTENSION,
        "?token=",
        token,
    ];
    let mut url = parts.concat();
    for pair in passed_on {
        url.push('&');
        url.push_str(pair);
    }
    url
}

/// HTTP-FLV, and the WebSocket at the same path.
const EXTENSION: &str = ".flv";

/// Until an origin has measured a stream, and for audio: a viewer always weighs something.
const LEAST_BITRATE_BPS: u64 = 100_000;
