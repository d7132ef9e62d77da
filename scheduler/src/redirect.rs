//! Hot: from a viewer's request to a signed address at an edge.
//!
//! One pass over immutable views: find the stream, place the address, steer, sign, write the
//! `Location`. No lock is held and nothing is awaited. The target is the public address of a node
//! in the table, never anything from the request. The HTTP around it is in [`public`].

pub mod address;
mod answer;
pub mod public;
mod query;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use cluster::stream::{StreamKey, StreamRecord};
use cluster::token::gate::Gate;
use cluster::token::{Action, Attempt, Claims};
use transport::clock::Clock;

use crate::geo::{Geo, Located};
use crate::meter::Meter;
use crate::snapshot::{NodeView, Snapshot, hash, mix};
use crate::steer::{Decision, Viewer, steer};
use crate::sticky::Sticky;
use address::Proxies;
use query::Query;

pub use answer::{Fallback, Refused, Resolved, ViewerPlace, Why};

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
                reason: Why::of(&decided.decision),
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

    /// What the new token allows: no more than the one that the viewer brought, if any, but for
    /// the edges, which are chosen anew.
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
                stream: fresh.stream,
                exp_s: fresh.exp_s.min(brought.exp_s),
                client: brought.client.or(fresh.client),
                ..brought
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

#[cfg(test)]
mod tests;
