//! Hot: from a viewer's request to a signed address at an edge.
//!
//! One pass over immutable views: find the stream, place the address, steer, sign, write the
//! `Location`. No lock is held and nothing is awaited. The target is the public address of a node
//! in the table, never anything from the request. The HTTP around it is in [`public`].

pub mod address;
mod answer;
mod hls;
pub mod public;
mod query;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use cluster::stream::StreamKey;
use cluster::token::gate::Gate;
use cluster::token::{Action, Attempt, Claims};
use cluster::waiting::Outside;
use transport::clock::Clock;

use crate::diary::Diary;
use crate::explain::Explanation;
use crate::geo::{Geo, Located};
use crate::meter::Meter;
use crate::pathway::Kind;
use crate::snapshot::{NodeView, Snapshot, hash, mix};
use crate::steer::{Decision, Viewer, steer};
use crate::sticky::Sticky;
use address::Proxies;
use query::Query;

pub use answer::{Fallback, Refused, Resolved, ViewerPlace, Why};
pub use hls::Joined;

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
    /// Those who found no room.
    pub outside: Arc<Outside>,
    /// Some decisions, as they were made.
    pub diary: Diary,
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

/// What is supposed of a viewer that a decision is explained for.
#[derive(Clone, Copy, Debug, Default)]
pub struct IfSo<'a> {
    /// The edge that its player, which can be steered, is at now.
    pub playing: Option<&'a str>,
    /// The entitlement of its token.
    pub label: Option<&'a str>,
}

/// A stream asked for, that is on air in this snapshot.
struct Asked {
    snapshot: Arc<Snapshot>,
    key: StreamKey,
    bitrate_bps: u64,
    kinds: &'static [Kind],
}

/// What a decision came to, and what it was made for.
struct Decided {
    asked: Asked,
    /// The chosen edge, then the fallbacks, by index into the snapshot's nodes.
    edges: Vec<usize>,
    why: Why,
    address: IpAddr,
    located: Located,
    claims: Claims,
    /// Whether the policy lets the viewer keep the top rung of a nearly full edge.
    keeps_rungs: bool,
    /// The session that the viewer brought, when it is good.
    session: Option<String>,
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
            let asked = self.asked(key.unwrap_or_default(), &[Kind::Flv])?;
            let decided = self.decide(request, &query, asked)?;
            let token = self.gate.sign(&decided.claims);
            let edge = decided.edges().next().ok_or(Refused::NoEdge)?;
            if query.playing() == Some(edge.node().id.as_str()) {
                return Err(Refused::Stays);
            }
            let passed_on = Query::passed_on(request.query);
            Ok(self.url(edge, (&decided.asked.key, Kind::Flv), &token, passed_on))
        })
    }

    /// The same decision with its fallbacks and reasons, for a stream named in the query.
    pub fn resolve(&self, request: &Request<'_>) -> Result<Resolved, Refused> {
        self.timed(|| {
            let query = Query::parse(request.query);
            let key = query.stream.as_deref().unwrap_or_default();
            let asked = self.asked(key, &[Kind::Flv])?;
            let decided = self.decide(request, &query, asked)?;
            let token = self.gate.sign(&decided.claims);
            let key = &decided.asked.key;
            let at = |view: &NodeView| Fallback {
                edge: view.node().id.clone(),
                url: self.url(view, (key, Kind::Flv), &token, std::iter::empty()),
            };
            let mut edges = decided.edges().map(at);
            let Fallback { edge, url } = edges.next().ok_or(Refused::NoEdge)?;
            Ok(Resolved {
                stream: key.clone(),
                edge,
                url,
                fallbacks: edges.collect(),
                ttl_s: self.ttl_s(&decided),
                place: self.place(decided.address, decided.located),
                reason: decided.why,
            })
        })
    }

    /// What would be decided for a viewer at `address`, without sending anybody anywhere.
    pub fn explain<'a>(
        &self,
        snapshot: &'a Snapshot,
        key: &str,
        address: IpAddr,
        if_so: &IfSo<'_>,
    ) -> (ViewerPlace, Decision<'a>) {
        let located = self.geo.locate(address);
        let stream = StreamKey::parse(key).ok();
        let playing = if_so.playing.and_then(|id| snapshot.node(id));
        let viewer = Viewer {
            stream: stream.as_ref(),
            label: if_so.label,
            playing: playing.map(|view| view.number),
            ..self.viewer(located, viewer_key(key, address, None))
        };
        (self.place(address, located), steer(snapshot, &viewer))
    }

    /// How long all addresses of an answer are good.
    fn ttl_s(&self, decided: &Decided) -> u64 {
        let now_s = self.clock.unix_ms() / 1000;
        let pathways = decided.edges().filter_map(|view| view.pathway.as_ref());
        let external = pathways.filter_map(|pathway| pathway.ttl_s()).min();
        let own_s = decided.claims.exp_s.saturating_sub(now_s);
        external.map_or(own_s, |external_s| external_s.min(own_s))
    }

    /// Where a stream is played at a node: at an edge of ours with our token, elsewhere as is the
    /// custom there.
    fn url<'a>(
        &self,
        node: &NodeView,
        (key, kind): (&StreamKey, Kind),
        token: &str,
        passed_on: impl Iterator<Item = &'a str>,
    ) -> String {
        if let Some(pathway) = &node.pathway {
            let now_s = self.clock.unix_ms() / 1000;
            return pathway.url(key, kind, now_s, rand::random());
        }
        let extension = match kind {
            Kind::Flv => EXTENSION,
            Kind::Hls | Kind::Media => hls::EXTENSION,
        };
        let site = node.node().public_url.as_str();
        let mut url = [site, "/", key.as_str(), extension, "?token=", token].concat();
        for pair in passed_on {
            url.push('&');
            url.push_str(pair);
        }
        url
    }

    /// The stream of that name, for a viewer who takes it in any of these ways.
    fn asked(&self, key: &str, kinds: &'static [Kind]) -> Result<Asked, Refused> {
        let snapshot = self.snapshot.load_full();
        let record = snapshot.stream(key).ok_or(Refused::UnknownStream)?.clone();
        Ok(Asked {
            snapshot,
            key: record.key.clone(),
            bitrate_bps: record.bitrate_bps,
            kinds,
        })
    }

    fn address(&self, request: &Request<'_>, query: &Query<'_>) -> IpAddr {
        let forwarded = request.forwarded.iter().copied();
        let asked = query.ip.as_deref();
        self.proxies.viewer(request.peer, forwarded, asked)
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

    /// Checks the token, steers, and counts the viewer to the chosen edge.
    fn decide(
        &self,
        request: &Request<'_>,
        query: &Query<'_>,
        asked: Asked,
    ) -> Result<Decided, Refused> {
        let address = self.address(request, query);
        let session = self.session(query, &asked.key, address);
        let token = query.token.as_deref().or(request.bearer);
        let token = token.or(session.as_ref().map(|(text, _)| text.as_str()));
        let mut claims = self.claims(&asked.key, address, token)?;

        let located = self.geo.locate(address);
        self.meter.located(located.source);
        let (session, sid) = session.unzip();
        let named = sid.or_else(|| claims.sid.clone());
        let name = named.as_deref().or(query.session.as_deref());
        let viewer_key = viewer_key(asked.key.as_str(), address, name);
        let playing = query.playing().and_then(|id| asked.snapshot.node(id));
        let viewer = Viewer {
            stream: Some(&asked.key),
            playing: playing.map(|view| view.number),
            label: claims.label.as_deref(),
            exclude: query.exclude.as_deref().unwrap_or_default(),
            kinds: asked.kinds,
            ..self.viewer(located, viewer_key)
        };
        let nodes = &asked.snapshot.nodes;
        let decision = steer(&asked.snapshot, &viewer);
        self.write_down(&decision, &asked.snapshot, &viewer, address);
        let Some(chosen) = decision.chosen() else {
            let now_ms = self.clock.unix_ms();
            self.outside.refuse(viewer_key, located.region, now_ms);
            return Err(Refused::NoEdge);
        };
        self.outside.admit(|| viewer_key);
        let view = &nodes[chosen.node];
        if ![viewer.kept, viewer.playing].contains(&Some(view.number)) {
            decision.count(&asked.snapshot, asked.bitrate_bps);
        }
        self.keep(viewer_key, view);
        let edges: Vec<usize> = decision.edges().map(|edge| edge.node).collect();
        // Our tokens are good at our edges only.
        let own = edges.iter().filter(|&&node| nodes[node].pathway.is_none());
        let ids = own.map(|&node| nodes[node].node().id.clone());
        let ids = ids.collect();
        let why = Why::of(&decision);
        let keeps_rungs = decision.policy.policy.rungs.never_shed || session.is_some();
        claims.edges = Some(ids);
        claims.region = Some(located.region);
        claims.policy = Some(decision.policy.name.to_string());
        claims.sheds_top = false;
        Ok(Decided {
            asked,
            edges,
            why,
            address,
            located,
            claims,
            keeps_rungs,
            session,
        })
    }

    /// Keeps the viewer at that edge; who was sent away comes home when there is room.
    fn keep(&self, viewer_key: u64, view: &NodeView) {
        if view.pathway.is_none() {
            let now_s = self.clock.unix_ms() / 1000;
            self.sticky.keep(viewer_key, view.number, now_s);
        }
    }

    fn write_down(
        &self,
        decision: &Decision<'_>,
        snapshot: &Snapshot,
        viewer: &Viewer<'_>,
        address: IpAddr,
    ) {
        self.diary.note(self.clock.unix_ms(), || {
            let stream = viewer.stream.map_or("", StreamKey::as_str);
            let place = self.place(address, viewer.located);
            Explanation::new(snapshot, stream, place, decision)
        });
    }

    /// The session that the query brings, when it is good, and its id.
    fn session(
        &self,
        query: &Query<'_>,
        stream: &StreamKey,
        client: IpAddr,
    ) -> Option<(String, String)> {
        // Names that viewers give themselves have no dots, tokens have two.
        let text = query.session.as_deref().filter(|text| text.contains('.'))?;
        let what = Attempt {
            action: Action::Play,
            stream,
            node: None,
            client,
        };
        let session = self.gate.session(text, &what, self.clock.unix_ms() / 1000);
        Some((text.to_owned(), session.ok()?.sid?))
    }

    fn viewer(&self, located: Located, key: u64) -> Viewer<'static> {
        let now_s = self.clock.unix_ms() / 1000;
        Viewer {
            kept: self.sticky.find(key, now_s),
            ..Viewer::new(located, key, now_s)
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
        self.edges
            .iter()
            .map(|&node| &self.asked.snapshot.nodes[node])
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

/// HTTP-FLV, and the WebSocket at the same path.
const EXTENSION: &str = ".flv";

#[cfg(test)]
mod tests;
