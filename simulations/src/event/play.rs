//! Sans-IO: the loop: viewers ask, connect, watch, are moved and leave, edges die, seconds end.
//!
//! Each viewer has an end that it wants, drawn when it comes. Until then it plays, or tries to: at
//! the edges of its answer in order, then at a scheduler again, for as long as it has patience.

mod arrivals;
mod troubles;

use std::collections::BTreeSet;

use super::agenda::{Agenda, Event, What};
use super::audience::Audience;
use super::edge::{Edge, Rate};
use super::guide::cluster::resolver;
use super::guide::rule::capacities;
use super::guide::{Asker, Guide};
use super::tally::{Quality, Tally};
use super::trace::{Carried, Visit, Wire};
use super::viewer::{Edges, NONE, NOWHERE, Player, Viewer};
use super::{Times, bitrate_bps};
use crate::network::Fit;
use crate::world::World;
use crate::world::scenario::Window;
use scheduler::snapshot::mix;

/// A window while it is played.
pub(super) struct Play<'a> {
    world: &'a World,
    window: &'a Window,
    who: Who<'a>,
    guide: Box<dyn Guide + 'a>,
    times: Times,
    scale: f64,
    agenda: Agenda,
    edges: Vec<Edge>,
    viewers: Vec<Viewer>,
    free: Vec<u32>,
    /// By stream and player, what viewers take.
    rates: Vec<Rate>,
    /// By region and edge.
    rtt_ms: Vec<f32>,
    nearest_ms: Vec<f32>,
    /// By region, what those who were turned away ask for, bits per second.
    waiting_bps: Vec<u64>,
    /// By region and resolver, the answer that it keeps and until when.
    resolved: Vec<(Edges, u32)>,
    /// By edge, how many of its viewers were told to ask, in rounds.
    told: Vec<f64>,
    tally: Tally,
    books: Books,
    watching: usize,
    /// The edge that the window lets die.
    killed: Option<usize>,
    /// By edge, what it carried in the second that is over.
    carried: Vec<Carried>,
}

/// Who comes, and what is sent for them.
pub(super) struct Who<'a> {
    /// Those who are drawn, where they are.
    pub(super) drawn: Option<Audience<'a>>,
    /// Those who are given, earliest first.
    pub(super) visits: &'a [Visit],
    /// What is sent beside streams.
    pub(super) wire: Wire,
}

/// What must come out even, whatever is counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Books {
    /// Who came, all in all.
    pub came: u64,
    /// Who went.
    pub left: u64,
    /// Who never got in.
    pub refused: u64,
    /// Who did not get in again.
    pub lost: u64,
    /// Who is there in the end, waiting or watching.
    pub there: u64,
    /// Of those refused and lost, who had an edge with plenty of room that they might have used.
    pub in_vain: u64,
    /// What viewers asked edges for, in bits per second times milliseconds.
    pub asked_by_viewers: u64,
    /// The same as edges counted it.
    pub asked_of_edges: u64,
    /// The largest share of its capacity that an edge sent in a second.
    pub most_sent: f64,
    /// Who played at an edge that policies bar, or that was dead.
    pub barred: u64,
    /// The most who watched at a time.
    pub peak: u64,
}

impl<'a> Play<'a> {
    pub(super) fn new(
        (world, window): (&'a World, &'a Window),
        (who, guide): (Who<'a>, Box<dyn Guide + 'a>),
        times: &Times,
        scale: f64,
    ) -> Self {
        let (rates, bitrates) = rates(world, &who.wire);
        let sizes = (world.streams.len(), world.regions.len());
        let edge = |capacity_bps| Edge::new(capacity_bps, sizes, &bitrates);
        let (rtt_ms, nearest_ms) = round_trips(world);
        Self {
            who,
            guide,
            times: *times,
            scale,
            agenda: Agenda::new(times.seconds),
            edges: capacities(world).into_iter().map(edge).collect(),
            viewers: Vec::new(),
            free: Vec::new(),
            rates,
            rtt_ms,
            nearest_ms,
            waiting_bps: vec![0; world.regions.len()],
            resolved: vec![(NOWHERE, 0); world.regions.len() * RESOLVERS as usize],
            told: vec![0.0; world.edges.len()],
            tally: Tally::new(world.edges.len(), times.warm_up_s),
            books: Books::default(),
            watching: 0,
            killed: None,
            carried: vec![Carried::default(); world.edges.len()],
            world,
            window,
        }
    }

    /// Plays it to its end.
    pub(super) fn run(
        mut self,
        tell: &mut dyn FnMut(u32, &[Carried]) -> bool,
    ) -> Option<(Quality, Books)> {
        for second in 0..self.times.seconds {
            let now_ms = second * 1000;
            self.happens(second);
            self.guide.tick(now_ms, &self.edges, &self.waiting_bps);
            self.tell_players(now_ms);
            self.come(second);
            self.agenda.begin(second);
            while let Some((now_ms, event)) = self.agenda.next() {
                self.step(now_ms, event);
            }
            self.end(second);
            if !tell(second, &self.carried) {
                return None;
            }
        }
        Some(self.finish())
    }

    fn step(&mut self, now_ms: u32, event: Event) {
        let at = event.viewer;
        let viewer = &self.viewers[at as usize];
        if viewer.turn != event.turn || !viewer.present {
            return;
        }
        match event.what {
            What::Leave => self.leave(now_ms, at),
            What::Ask => self.ask(now_ms, at),
            What::Connect => self.connect(now_ms, at),
            What::Steer => self.steer(now_ms, at),
        }
    }

    fn plan(&mut self, at_ms: u32, at: u32, what: What) {
        let turn = self.viewers[at as usize].turn;
        let viewer = at;
        self.agenda.add(at_ms, Event { what, viewer, turn });
    }

    /// Somebody asks where to go, a scheduler or its resolver.
    fn ask(&mut self, now_ms: u32, at: u32) {
        let viewer = self.viewers[at as usize];
        let region = usize::from(viewer.region);
        let mut asker = Asker::new(&viewer, self.rate(&viewer).stream_bps, now_ms);
        if let Some(edge) = self.tally.kills.get(usize::from(viewer.kill)) {
            asker.exclude = edge.edge as u16;
        }
        let answer = if viewer.by_dns {
            Some(self.resolve(&asker)).filter(|edges| *edges != NOWHERE)
        } else {
            self.guide.join(&asker)
        };
        let Some(edges) = answer else {
            return self.wait(now_ms, at, SCHEDULER_AGAIN_MS);
        };
        let near_ms = self.nearest_ms[region];
        let viewer = &mut self.viewers[at as usize];
        (viewer.edges, viewer.next, viewer.sent) = (edges, 0, edges[0]);
        let way_ms = self.rtt_ms[region * self.edges.len() + usize::from(edges[0])];
        let passes_ms = ASKING * near_ms + CONNECTING * way_ms;
        self.plan(now_ms + passes_ms as u32, at, What::Connect);
    }

    /// What a resolver says, of its own keeping while it is not too old for it.
    fn resolve(&mut self, asker: &Asker) -> Edges {
        let nth = asker.key % RESOLVERS;
        let at = asker.region * RESOLVERS as usize + nth as usize;
        let (kept, until_ms) = self.resolved[at];
        if asker.now_ms < until_ms && kept != NOWHERE {
            return kept;
        }
        let resolver = Asker {
            key: resolver(asker.region, nth),
            stream: None,
            playing: NONE,
            sent: NONE,
            exclude: NONE,
            ..*asker
        };
        let edges = self.guide.by_dns(&resolver);
        let keeps_ms = (self.window.dns_keep_min * 60_000.0) as u32;
        self.resolved[at] = (edges, asker.now_ms + keeps_ms);
        edges
    }

    /// There is no room: it tries again, while it has patience.
    fn wait(&mut self, now_ms: u32, at: u32, again_ms: u32) {
        self.tally.figures.no_room += u64::from(self.tally.counts);
        let viewer = &mut self.viewers[at as usize];
        if f64::from(now_ms - viewer.since_ms) > self.window.patience_s * 1000.0 {
            return self.give_up(now_ms, at);
        }
        if !std::mem::replace(&mut viewer.waits, true) {
            let viewer = *viewer;
            self.waiting_bps[usize::from(viewer.region)] += self.rate(&viewer).bps;
        }
        let viewer = &self.viewers[at as usize];
        let spread_ms = mix(viewer.key ^ u64::from(now_ms)) % AGAIN_SPREAD_MS;
        self.plan(now_ms + again_ms + spread_ms as u32, at, What::Ask);
    }

    /// Somebody reaches the next edge of its answer.
    fn connect(&mut self, now_ms: u32, at: u32) {
        let viewer = self.viewers[at as usize];
        let Some(&edge) = viewer
            .edges
            .get(usize::from(viewer.next))
            .filter(|it| **it != NONE)
        else {
            return self.wait(now_ms, at, EDGE_AGAIN_MS);
        };
        let of = &self.edges[usize::from(edge)];
        if of.alive && self.admits(of) {
            return self.sit_down(now_ms, at, edge);
        }
        let way_ms = self.rtt_ms[usize::from(viewer.region) * self.edges.len() + usize::from(edge)];
        let passes_ms = if of.alive {
            self.tally.figures.sent_on += u64::from(self.tally.counts);
            (CONNECTING * way_ms) as u32
        } else {
            SILENT_MS
        };
        self.viewers[at as usize].next += 1;
        self.plan(now_ms + passes_ms, at, What::Connect);
    }

    fn admits(&self, edge: &Edge) -> bool {
        !self.guide.is_ours() || (!edge.draining && edge.load() < ADMITTED)
    }

    /// Somebody plays.
    fn sit_down(&mut self, now_ms: u32, at: u32, edge: u16) {
        let mut viewer = self.viewers[at as usize];
        let rate = self.rate(&viewer);
        let region = usize::from(viewer.region);
        let way_ms = self.rtt_ms[region * self.edges.len() + usize::from(edge)];
        let waited_ms = now_ms - viewer.since_ms;
        self.unwait(&mut viewer);
        let of = &mut self.edges[usize::from(edge)];
        self.books.barred += u64::from(!of.alive || !self.guide.may(region, edge.into()));
        let cold = of.enter(now_ms, at, &mut viewer, rate);
        self.books.asked_by_viewers += of.start(rate);
        let slow_s = FIRST_PICTURES_S * (1.0 / of.share(rate.bps).max(0.01) - 1.0);
        let mut picture_s = viewer.player.round_trips() * f64::from(way_ms) / 1e3 + slow_s;
        if cold {
            picture_s += self.fetch_s(edge, viewer.stream);
            self.tally.figures.fetched += u64::from(self.tally.counts);
        }
        self.watching += 1;
        let after_s = f64::from(waited_ms) / 1e3 + picture_s;
        if let Some(thrown) = self.tally.kills.get_mut(usize::from(viewer.kill)) {
            thrown.again_ms.push((after_s * 1e3) as u32);
            viewer.kill = NONE;
        }
        if viewer.played {
            if self.tally.counts {
                let stalled_s = after_s as f32 - viewer.player.buffer_s();
                self.tally.stalled(stalled_s.max(0.0));
            }
        } else {
            self.tally.started(after_s);
            self.tally.figures.joined += u64::from(self.tally.counts);
            let asker = Asker::new(&Viewer { edge, ..viewer }, rate.stream_bps, now_ms);
            let again_s = self
                .guide
                .again_s(&asker, 0)
                .filter(|_| viewer.player.asks());
            if let Some(again_s) = again_s {
                self.plan(now_ms + again_s * 1000, at, What::Steer);
            }
        }
        (viewer.played, viewer.edge) = (true, edge);
        self.viewers[at as usize] = viewer;
    }

    /// What somebody takes.
    fn rate(&self, viewer: &Viewer) -> Rate {
        self.rates[viewer.stream as usize * Player::ALL.len() + viewer.player as usize]
    }

    fn unwait(&mut self, viewer: &mut Viewer) {
        if std::mem::take(&mut viewer.waits) {
            self.waiting_bps[usize::from(viewer.region)] -= self.rate(viewer).bps;
        }
    }

    /// How long an edge needs to have a stream that nobody watched there: a round trip to ask for
    /// it and one until it flows.
    fn fetch_s(&self, edge: u16, stream: u32) -> f64 {
        if let Some(fetch_s) = self.who.wire.fetch_s {
            return fetch_s;
        }
        let home = self.world.streams[stream as usize].home;
        let km = self.world.edges[usize::from(edge)]
            .at
            .km_to(self.world.metros[home].at);
        FETCHING * Fit::MEASURED.rtt_ms(km) / 1e3
    }

    /// Takes somebody from its edge.
    fn stand_up(&mut self, now_ms: u32, at: u32) {
        let viewer = self.viewers[at as usize];
        let rate = self.rate(&viewer);
        let edge = usize::from(viewer.edge);
        let (moved, stalled_s) = self.edges[edge].leave(now_ms, &viewer, rate);
        if let Some(other) = moved {
            self.viewers[other as usize].seat = viewer.seat;
        }
        let watched_ms = now_ms - viewer.since_ms;
        self.books.asked_by_viewers += u64::from(watched_ms) * rate.bps;
        if self.tally.counts {
            let region = usize::from(viewer.region);
            let way_ms = self.rtt_ms[region * self.edges.len() + edge];
            let counted_ms = watched_ms.min(now_ms - self.times.warm_up_s * 1000);
            let ways = (way_ms, self.nearest_ms[region]);
            self.tally.watched(counted_ms, ways, stalled_s);
        }
        self.viewers[at as usize].edge = NONE;
        self.watching -= 1;
    }

    fn leave(&mut self, now_ms: u32, at: u32) {
        if self.viewers[at as usize].edge != NONE {
            self.stand_up(now_ms, at);
        }
        self.books.left += 1;
        self.tally.figures.left += u64::from(self.tally.counts);
        self.vanish(at);
    }

    fn give_up(&mut self, now_ms: u32, at: u32) {
        let viewer = self.viewers[at as usize];
        let counts = u64::from(self.tally.counts);
        if viewer.played {
            self.books.lost += 1;
            self.tally.figures.lost += counts;
            if let Some(thrown) = self.tally.kills.get_mut(usize::from(viewer.kill)) {
                thrown.lost += 1;
            }
        } else {
            self.books.refused += 1;
            self.tally.figures.refused += counts;
        }
        self.books.in_vain += u64::from(self.had_room(now_ms, &viewer));
        self.vanish(at);
    }

    /// Whether an edge had much room for a while that somebody might have used.
    fn had_room(&self, now_ms: u32, viewer: &Viewer) -> bool {
        let region = usize::from(viewer.region);
        let known_ms = ROOM_KNOWN_MS + 1000 * self.window.telemetry_s;
        let usable = |at: &usize| {
            let edge = &self.edges[*at];
            let since = edge.room_since_ms.filter(|_| edge.alive && !edge.draining);
            since.is_some_and(|since| now_ms - since > known_ms) && self.guide.may(region, *at)
        };
        !viewer.by_dns && (0..self.edges.len()).any(|at| usable(&at))
    }

    fn vanish(&mut self, at: u32) {
        let mut viewer = self.viewers[at as usize];
        self.unwait(&mut viewer);
        self.viewers[at as usize] = Viewer {
            turn: viewer.turn.wrapping_add(1),
            ..Viewer::NOBODY
        };
        self.free.push(at);
    }

    /// A player that steers itself asks.
    fn steer(&mut self, now_ms: u32, at: u32) {
        if self.viewers[at as usize].edge != NONE {
            self.ask_running(now_ms, at);
        }
        let viewer = self.viewers[at as usize];
        let asker = Asker::new(&viewer, self.rate(&viewer).stream_bps, now_ms);
        if let Some(again_s) = self.guide.again_s(&asker, viewer.asked) {
            self.plan(now_ms + again_s * 1000, at, What::Steer);
        }
    }

    /// Somebody who plays asks where to play, and goes there when there is room.
    fn ask_running(&mut self, now_ms: u32, at: u32) {
        let viewer = self.viewers[at as usize];
        let stream_bps = self.rate(&viewer).stream_bps;
        let Some(edges) = self.guide.running(&Asker::new(&viewer, stream_bps, now_ms)) else {
            return;
        };
        let wanted = |edge: &&u16| {
            **edge == viewer.edge || {
                let of = self.edges.get(usize::from(**edge));
                of.is_some_and(|of| of.alive && self.admits(of))
            }
        };
        let to = edges.iter().find(wanted).copied();
        {
            let viewer = &mut self.viewers[at as usize];
            (viewer.edges, viewer.sent, viewer.asked) = (edges, edges[0], 0);
        }
        match to {
            Some(to) if to != viewer.edge => {
                self.stand_up(now_ms, at);
                self.viewers[at as usize].since_ms = now_ms;
                self.move_to(now_ms, at, to);
            }
            _ if edges[0] != viewer.edge => {
                self.viewers[at as usize].asked = viewer.asked.saturating_add(1);
            }
            _ => {}
        }
    }

    /// A player goes over: it holds what it has until the new edge's pictures are there.
    fn move_to(&mut self, now_ms: u32, at: u32, to: u16) {
        let mut viewer = self.viewers[at as usize];
        let rate = self.rate(&viewer);
        let region = usize::from(viewer.region);
        let edge = &mut self.edges[usize::from(to)];
        self.books.barred += u64::from(!edge.alive || !self.guide.may(region, to.into()));
        if edge.enter(now_ms, at, &mut viewer, rate) {
            self.tally.figures.fetched += u64::from(self.tally.counts);
        }
        (viewer.edge, viewer.sent) = (to, to);
        self.viewers[at as usize] = viewer;
        self.watching += 1;
        self.tally.moved();
    }

    /// A second is over.
    fn end(&mut self, second: u32) {
        let now_ms = (second + 1) * 1000;
        for (at, edge) in self.edges.iter_mut().enumerate() {
            let over = edge.tick(now_ms);
            let share = over.sent / edge.capacity_bps.max(1) as f64;
            self.books.most_sent = self.books.most_sent.max(share);
            self.carried[at] = Carried {
                egress_bits: over.sent,
                relay_bits: over.relayed,
                viewers: edge.counted(),
            };
            if self.tally.counts {
                self.tally.edge(at, over);
            }
        }
        self.books.peak = self.books.peak.max(self.watching as u64);
        if self.tally.counts {
            let alive = self.edges.iter().filter(|edge| edge.alive);
            self.tally.end(self.watching, alive.map(Edge::load));
        }
    }

    fn finish(mut self) -> (Quality, Books) {
        let now_ms = self.times.seconds * 1000;
        self.books.there = (self.viewers.len() - self.free.len()) as u64;
        for at in 0..self.viewers.len() {
            if self.viewers[at].present && self.viewers[at].edge != NONE {
                self.stand_up(now_ms, at as u32);
            }
        }
        self.books.asked_of_edges = self.edges.iter().map(|edge| edge.asked).sum();
        (self.tally.finish(self.world, self.scale), self.books)
    }
}

/// By stream and player, what viewers take, and all bit rates at which they do, ascending.
fn rates(world: &World, wire: &Wire) -> (Vec<Rate>, Vec<u64>) {
    let times = |bps: u64, times: f64| (bps as f64 * times) as u64;
    let rate = |stream: &crate::world::Stream, player: Player| {
        let ((sent, start_ms), stream_bps) = (wire.of(player), bitrate_bps(stream));
        Rate {
            class: 0,
            bps: times(stream_bps, sent),
            stream_bps,
            relay_bps: times(stream_bps, wire.relay),
            start_ms,
        }
    };
    let of = |stream| Player::ALL.map(|player| rate(stream, player));
    let mut rates: Vec<Rate> = world.streams.iter().flat_map(of).collect();
    let bitrates = rates.iter().map(|rate| rate.bps).collect::<BTreeSet<u64>>();
    let bitrates: Vec<u64> = bitrates.into_iter().collect();
    for rate in &mut rates {
        rate.class = bitrates.partition_point(|it| *it < rate.bps);
    }
    (rates, bitrates)
}

/// By region and edge, the world's round-trip times, reckoned by distance where it has none; and by
/// region the shortest.
fn round_trips(world: &World) -> (Vec<f32>, Vec<f32>) {
    let (mut all, mut nearest) = (Vec::new(), Vec::new());
    for (at, region) in world.regions.iter().enumerate() {
        let from = all.len();
        let reckoned = |edge: &crate::world::Edge| {
            let ms = Fit::MEASURED.rtt_ms(region.at.km_to(edge.at)) + region.access_ms;
            ms as f32
        };
        all.extend(world.edges.iter().map(reckoned));
        for path in world.paths(at) {
            all[from + path.edge as usize] = path.rtt_ms as f32;
        }
        let near = all[from..].iter().copied().fold(f32::INFINITY, f32::min);
        nearest.push(near);
    }
    (all, nearest)
}

/// How long a player waits for an edge that does not answer before it tries the next.
const SILENT_MS: u32 = 1_000;
/// What `Retry-After` says where schedulers and edges have no room, and by how much players differ.
const SCHEDULER_AGAIN_MS: u32 = 2_000;
const EDGE_AGAIN_MS: u32 = 5_000;
const AGAIN_SPREAD_MS: u64 = 500;
/// Round trips to a scheduler, which is as near as the nearest edge: a connection and an answer.
const ASKING: f32 = 2.0;
/// Round trips to an edge until it hears what is asked for: TCP and TLS.
const CONNECTING: f32 = 2.0;
/// Round trips between an edge and a stream's origin until the stream flows.
const FETCHING: f64 = 2.0;
/// The part of the stream that a player gathers before it shows a picture, seconds.
const FIRST_PICTURES_S: f64 = 0.5;
/// The share of what it can send up to which an edge takes viewers.
const ADMITTED: f64 = 0.97;
/// How long there must have been room until everybody can know of it.
const ROOM_KNOWN_MS: u32 = 10_000;
/// Resolvers of a region.
const RESOLVERS: u64 = 4;
