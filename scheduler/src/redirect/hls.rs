//! From an HLS player's request to a multivariant playlist, and from its later ones to the pathway
//! that it should use now.
//!
//! A player joins once: its session is taken from the request or begun here, and every address that
//! it is given carries it, so that the steering below needs no memory of it. What the sticky table
//! has of it is a hint, as everywhere.

use std::net::IpAddr;
use std::sync::Arc;

use cluster::hls::{Multivariant, Steering, Variant};
use cluster::node::NodeId;
use cluster::stream::{StreamKey, StreamRecord};
use cluster::token::{Action, Attempt, Claims, Pattern, is_sid, new_sid};

use super::query::Query;
use super::{Asked, Decided, Redirector, Refused, Request, viewer_key};
use crate::pathway::Kind;
use crate::plan::rungs;
use crate::snapshot::{NodeView, Snapshot};
use crate::steer::{Viewer, steer};
use crate::steering::{Manifest, PATH, Site, Trail, manifest};

/// The answer to a player that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A multivariant playlist.
    Playlist(String),
    /// The edge's own, for who asked to be redirected.
    Location(String),
}

impl Redirector {
    /// The multivariant playlist at the best edge for a request of `/{app}/{stream}.m3u8`, or with
    /// `redirect=1` where that edge has its own.
    pub fn join(&self, request: &Request<'_>) -> Result<Joined, Refused> {
        self.timed(|| {
            let path = request.path.strip_prefix('/');
            let key = path.and_then(|path| path.strip_suffix(EXTENSION));
            let query = Query::parse(request.query);
            let snapshot = self.snapshot.load_full();
            let key = StreamKey::parse(key.unwrap_or_default());
            let key = key.map_err(|_| Refused::UnknownStream)?;
            let records = on_air(&snapshot, &key);
            let best = records.first().ok_or(Refused::UnknownStream)?;
            let leaves = query.redirect.as_deref() == Some("1");
            let asked = Asked {
                bitrate_bps: best.bitrate_bps,
                snapshot,
                key,
                kinds: if leaves {
                    &[Kind::Hls]
                } else {
                    &[Kind::Media, Kind::Hls]
                },
            };
            let mut decided = self.decide(request, &query, asked)?;
            let chosen = decided.edges.first().ok_or(Refused::NoEdge)?;
            let snapshot = decided.asked.snapshot.clone();
            let edge = &snapshot.nodes[*chosen];
            let offered = self.offered(&records, &decided, edge);
            decided.claims.sheds_top = offered.len() < records.len();
            let pathway = edge.pathway.as_ref();
            if leaves || pathway.is_some_and(|it| !it.offers(Kind::Media)) {
                let token = self.gate.sign(&decided.claims);
                let passed_on = Query::passed_on(request.query);
                let at = (&decided.asked.key, Kind::Hls);
                return Ok(Joined::Location(self.url(edge, at, &token, passed_on)));
            }
            let session = self.begin(&query, &decided, edge);
            let site = Site {
                view: edge,
                session: &session,
                now_s: self.clock.unix_ms() / 1000,
                random: rand::random(),
            };
            let playlist = playlist(&query, &decided, &site, offered);
            Ok(Joined::Playlist(playlist.to_string()))
        })
    }

    /// The rungs that a player who joins is offered at an edge: one that is nearly full keeps its
    /// top rung for those whom the policy protects, and for who plays already.
    fn offered<'r>(
        &self,
        records: &'r [Arc<StreamRecord>],
        decided: &Decided,
        edge: &NodeView,
    ) -> &'r [Arc<StreamRecord>] {
        let viewer = if decided.keeps_rungs {
            rungs::Viewer::Protected
        } else {
            rungs::Viewer::Ordinary
        };
        let offered = edge.shedding.offered(records, viewer);
        if offered.len() < records.len() {
            self.meter.shed("top_rung");
        }
        offered
    }

    /// The signed session: the one that the player brought, or a new one in the name that it
    /// gave itself or drew.
    fn begin(&self, query: &Query<'_>, decided: &Decided, edge: &NodeView) -> String {
        if let Some(session) = &decided.session {
            return session.clone();
        }
        let given = query.session.as_deref().filter(|name| is_sid(name));
        let named = decided.claims.sid.as_deref().or(given);
        let sid = named.map_or_else(new_sid, str::to_owned);
        let now_s = self.clock.unix_ms() / 1000;
        let key = &decided.asked.key;
        self.keep(viewer_key(key.as_str(), decided.address, Some(&sid)), edge);
        let streams = Pattern::with_rungs(key, decided.asked.snapshot.rungs(key));
        let claims = self
            .gate
            .session_claims(streams, sid, Some(&decided.claims), now_s);
        self.gate.sign(&claims)
    }

    /// The manifest for a request of `/steering/{app}/{stream}`; `random` spreads the next ones.
    pub fn steering(&self, request: &Request<'_>, random: u64) -> Result<Manifest, Refused> {
        let answer = self.steer_player(request, random);
        if let Err(refused) = &answer {
            self.meter.steered(refused.as_str());
        }
        answer
    }

    fn steer_player(&self, request: &Request<'_>, random: u64) -> Result<Manifest, Refused> {
        let query = Query::parse(request.query);
        let key = StreamKey::parse(request.path.strip_prefix(PATH).unwrap_or_default());
        let key = key.map_err(|_| Refused::UnknownStream)?;
        let address = self.address(request, &query);
        let session = query.session.as_deref().ok_or(Refused::NoSession)?;
        let claims = self.known(session, &key, address)?;

        let snapshot = self.snapshot.load();
        let records = on_air(&snapshot, &key);
        let best = records.first().ok_or(Refused::UnknownStream)?;
        let playing = self.listen(&snapshot, &query);
        let viewer_key = viewer_key(key.as_str(), address, claims.sid.as_deref());
        let exclude = query.exclude.as_deref().unwrap_or_default();
        let viewer = Viewer {
            stream: Some(&key),
            label: claims.label.as_deref(),
            playing: playing.map(|view| view.number),
            exclude,
            kinds: &[Kind::Media],
            ..self.viewer(self.geo.locate(address), viewer_key)
        };
        let decision = steer(&snapshot, &viewer);
        self.write_down(&decision, &snapshot, &viewer, address);
        let chosen = &snapshot.nodes[decision.chosen().ok_or(Refused::NoEdge)?.node];
        if ![viewer.kept, viewer.playing].contains(&Some(chosen.number)) {
            decision.count(&snapshot, best.bitrate_bps);
        }
        self.keep(viewer_key, chosen);
        let stays = playing.is_none_or(|view| view.number == chosen.number);
        self.meter.steered(if stays { "stay" } else { "move" });

        let base = query.base.as_deref().and_then(|id| NodeId::parse(id).ok());
        let trail = Trail {
            stream: &key,
            session,
            base: base.as_ref().unwrap_or(&chosen.node().id),
            ip: query.ip(),
            exclude,
            asked: query.asked(),
            now_s: self.clock.unix_ms() / 1000,
        };
        let rungs = rungs_of(&snapshot, &key);
        let playing = playing.map(|view| &view.node().id);
        let made = (&**snapshot, &decision);
        Ok(manifest(made, &trail, rungs, playing, random))
    }

    /// What a player's session allows, when it is good for the stream.
    fn known(&self, session: &str, key: &StreamKey, client: IpAddr) -> Result<Claims, Refused> {
        let what = Attempt {
            action: Action::Play,
            stream: key,
            node: None,
            client,
        };
        let now_s = self.clock.unix_ms() / 1000;
        let claims = self.gate.session(session, &what, now_s);
        claims.map_err(Refused::Token)
    }

    /// The edge that the player says it is at; counts what it says of it.
    fn listen<'s>(&self, snapshot: &'s Snapshot, query: &Query<'_>) -> Option<&'s NodeView> {
        let view = query.playing().and_then(|id| snapshot.node(id))?;
        if !view.is_edge {
            return None;
        }
        let throughput_bps = query.throughput_bps();
        view.heard.add(throughput_bps);
        throughput_bps.inspect(|bps| self.meter.throughput(*bps));
        Some(view)
    }
}

/// The playlist of what is on air, at that edge.
fn playlist(
    query: &Query<'_>,
    decided: &Decided,
    site: &Site<'_>,
    records: &[Arc<StreamRecord>],
) -> Multivariant {
    let node = site.view.node();
    let variant = |record: &Arc<StreamRecord>| Variant::of(record, site.media_uri(&record.key));
    let trail = Trail {
        stream: &decided.asked.key,
        session: site.session,
        base: &node.id,
        ip: query.ip(),
        exclude: query.exclude.as_deref().unwrap_or_default(),
        asked: 0,
        now_s: site.now_s,
    };
    let audio = |record: &Arc<StreamRecord>| {
        !record.tracks.is_empty() && record.tracks.iter().all(|track| track.width == 0)
    };
    Multivariant {
        variants: records.iter().map(variant).collect(),
        steering: Some(Steering {
            server_uri: trail.uri(),
            pathway: node.id.clone(),
        }),
        // A long group is cut between its key frames; sound can be cut anywhere.
        independent_segments: records.iter().all(audio),
    }
}

/// A stream and its rungs, those on air, by bandwidth.
fn on_air(snapshot: &Snapshot, key: &StreamKey) -> Vec<Arc<StreamRecord>> {
    let rungs = rungs_of(snapshot, key).iter();
    let records = rungs.filter_map(|key| snapshot.stream(key.as_str()));
    let mut records: Vec<_> = records.cloned().collect();
    // The sort is stable: before anything is measured the configured order stands.
    records.sort_by_key(|record| std::cmp::Reverse(record.peak_bps.max(record.bitrate_bps)));
    records
}

/// The rungs of a stream's ladder, or the stream alone.
fn rungs_of<'a>(snapshot: &'a Snapshot, key: &'a StreamKey) -> &'a [StreamKey] {
    match snapshot.rungs(key) {
        [] => std::slice::from_ref(key),
        rungs => rungs,
    }
}

/// HLS's multivariant playlist.
pub(super) const EXTENSION: &str = ".m3u8";

#[cfg(test)]
mod tests;
