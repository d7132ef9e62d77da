//! Sans-IO: the way of a stream to each node that carries it: an arborescence from its origin.
//!
//! Grown from the origin like a minimum spanning tree: whoever costs least to reach comes next. A
//! zone that has a hub takes the stream through one of them, drawn for the stream, so that its
//! hubs share the streams and nodes without a route draw the same one
//! ([`cluster::plan::Plan::hubs_of`]). A node waits for the parent that it had before as long as
//! no other one is better by the deadband.

use cluster::plan::Health;

use super::{Laid, MAX_DEPTH, Stream, Survey, Way};
use crate::snapshot::mix;

struct Tree<'a> {
    survey: &'a Survey<'a>,
    stream: &'a Stream<'a>,
    before: &'a Laid,
    ways: Vec<Way>,
    /// Of each node that has a way, its place among the ways and one more.
    placed: Vec<u16>,
    /// Of each zone, its hubs as drawn for the stream, once somebody asked.
    drawn: Vec<Option<Vec<u32>>>,
}

/// A node that has no way yet.
#[derive(Clone, Copy)]
struct Pending {
    node: u32,
    /// The deepest that it may come to.
    depth: u8,
    /// The best parent so far: cost, node, its depth.
    best: (f64, u32, u8),
}

/// The ways to all nodes that carry the stream or are to, ascending by node.
pub(super) fn ways(
    survey: &Survey<'_>,
    stream: &Stream<'_>,
    open: &[u32],
    before: &Laid,
) -> Vec<Way> {
    let alive = |&node: &u32| {
        let node = survey.ground.nodes.get(node as usize);
        node.is_some_and(|node| node.health != Health::Down)
    };
    if !alive(&stream.origin) {
        return Vec::new();
    }
    let members = open.iter().chain(stream.carriers).copied();
    let members = members.filter(|node| alive(node) && *node != stream.origin);
    let mut members: Vec<u32> = members.collect();
    members.sort_unstable();
    members.dedup();
    let mut tree = Tree {
        survey,
        stream,
        before,
        ways: Vec::with_capacity(members.len() + 2),
        placed: vec![0; survey.ground.nodes.len()],
        drawn: vec![None; survey.hubs.len()],
    };
    let mut entries: Vec<u32> = members
        .iter()
        .filter_map(|&node| tree.hub_of(node))
        .collect();
    entries.sort_unstable();
    entries.dedup();
    // A hub's children must fit below it.
    tree.grow(&entries, MAX_DEPTH - 1);
    let mut others = Vec::new();
    for &node in members
        .iter()
        .filter(|node| entries.binary_search(node).is_err())
    {
        match tree.hub_of(node) {
            Some(hub) => tree.attach(node, hub),
            None => others.push(node),
        }
    }
    tree.grow(&others, MAX_DEPTH);
    tree.stand_by();
    tree.ways.sort_unstable_by_key(|way| way.node);
    tree.ways
}

impl Tree<'_> {
    /// The hub through which a node's zone takes the stream.
    fn hub_of(&mut self, node: u32) -> Option<u32> {
        self.hubs_of(node).first().copied()
    }

    /// The hubs of a node's zone, as drawn for the stream.
    fn hubs_of(&mut self, node: u32) -> &[u32] {
        let (survey, seed) = (self.survey, self.stream.seed);
        let zone = survey.node(node).zone as usize;
        self.drawn[zone].get_or_insert_with(|| {
            let mut hubs = survey.hubs[zone].clone();
            hubs.sort_by_cached_key(|&hub| (mix(seed ^ survey.node(hub).seed), hub));
            hubs
        })
    }

    fn way(&self, node: u32) -> Option<&Way> {
        let at = usize::from(self.placed[node as usize]);
        self.ways.get(at.checked_sub(1)?)
    }

    fn place(&mut self, node: u32, parent: u32, depth: u8) {
        let standby = None;
        self.ways.push(Way {
            node,
            parent,
            standby,
            depth,
        });
        self.placed[node as usize] = self.ways.len() as u16;
    }

    fn attach(&mut self, node: u32, parent: u32) {
        let depth = self.way(parent).map_or(0, |way| way.depth);
        self.place(node, parent, depth + 1);
    }

    /// The cost of a bit that a node takes from a parent of that depth; less from the one before.
    fn cost(&self, node: u32, parent: u32, depth: u8) -> f64 {
        let (terms, from) = (self.survey.terms, self.survey.node(parent));
        let rtt_ms = self.survey.rtt_ms(parent, node);
        let hops = terms.hops * f64::from(depth + 1);
        let cost = from.relay + from.price + hops + terms.rtt_ms * rtt_ms;
        let kept = self
            .before
            .way(node)
            .is_some_and(|way| way.parent == parent);
        cost * if kept { 1.0 - terms.deadband } else { 1.0 }
    }

    /// Whether other nodes can take the stream from it.
    fn serves(&self, node: u32) -> bool {
        let node = self.survey.node(node);
        node.relays && node.health == Health::Up
    }

    /// Gives each of these nodes a way, at most so deep.
    fn grow(&mut self, nodes: &[u32], depth: u8) {
        let origin = self.stream.origin;
        let pending = |&node: &u32| {
            let best = (self.cost(node, origin, 0), origin, 0);
            Pending { node, depth, best }
        };
        let mut pending: Vec<Pending> = nodes.iter().map(pending).collect();
        let there: Vec<(u32, u8)> = self.ways.iter().map(|way| (way.node, way.depth)).collect();
        there
            .into_iter()
            .for_each(|parent| self.offer(&mut pending, parent));
        while let Some(at) = self.next(&pending) {
            let Pending {
                node,
                best: (_, parent, depth),
                ..
            } = pending.swap_remove(at);
            let depth = depth + 1;
            self.place(node, parent, depth);
            self.offer(&mut pending, (node, depth));
        }
    }

    /// Lets those without a way consider another parent.
    fn offer(&self, pending: &mut [Pending], (parent, depth): (u32, u8)) {
        if !self.serves(parent) {
            return;
        }
        for it in pending.iter_mut().filter(|it| depth < it.depth) {
            let cost = self.cost(it.node, parent, depth);
            if (cost, parent) < (it.best.0, it.best.1) {
                it.best = (cost, parent, depth);
            }
        }
    }

    /// Who comes next: the cheapest to reach that need not wait for the parent it had before.
    fn next(&self, pending: &[Pending]) -> Option<usize> {
        let cheapest = |ready: &dyn Fn(&Pending) -> bool| {
            let all = pending.iter().enumerate().filter(|(_, it)| ready(it));
            let order = |it: &Pending| (it.best.0, it.node);
            all.min_by(|(_, a), (_, b)| {
                let ((a, first), (b, second)) = (order(a), order(b));
                a.total_cmp(&b).then(first.cmp(&second))
            })
        };
        let waits = |it: &Pending| {
            let Some(way) = self.before.way(it.node) else {
                return false;
            };
            // A parent that became a dear one itself is not waited for.
            let near =
                |other: &Pending| other.best.0 * (1.0 - self.survey.terms.deadband) <= it.best.0;
            let comes = pending
                .iter()
                .any(|other| other.node == way.parent && near(other));
            let fits = way.depth <= it.depth && self.serves(way.parent);
            comes && fits && self.cost(it.node, way.parent, way.depth - 1) <= it.best.0
        };
        let found = cheapest(&|it| !waits(it)).or_else(|| cheapest(&|_| true));
        found.map(|(at, _)| at)
    }

    /// Gives the nodes of a large stream a second parent.
    fn stand_by(&mut self) {
        let viewers = self
            .stream
            .viewers
            .iter()
            .map(|&(_, viewers)| f64::from(viewers));
        if viewers.sum::<f64>() < self.survey.terms.standby_from {
            return;
        }
        for at in 0..self.ways.len() {
            self.ways[at].standby = self.second(self.ways[at]);
        }
    }

    /// Another hub of the zone, else the origin; for who takes it from there, another hub that
    /// does not take it from this node.
    fn second(&mut self, way: Way) -> Option<u32> {
        let origin = self.stream.origin;
        let hubs = self.hubs_of(way.node);
        if hubs.first() == Some(&way.parent) {
            let another = |&&hub: &&u32| hub != way.parent && hub != way.node;
            return Some(hubs.iter().find(another).copied().unwrap_or(origin));
        }
        if way.parent != origin {
            return Some(origin);
        }
        let hubs = self.ways.iter().filter(|it| {
            let hub = self.survey.node(it.node).hub && self.serves(it.node);
            hub && it.node != way.node && it.depth < MAX_DEPTH && !self.passes(it.node, way.node)
        });
        let cost = |it: &&Way| self.cost(way.node, it.node, it.depth);
        hubs.min_by(|a, b| cost(a).total_cmp(&cost(b)).then(a.node.cmp(&b.node)))
            .map(|it| it.node)
    }

    /// Whether the way to `node` leads through `through`.
    fn passes(&self, node: u32, through: u32) -> bool {
        let parents = std::iter::successors(self.way(node), |it| self.way(it.parent));
        parents
            .take(usize::from(MAX_DEPTH))
            .any(|it| it.parent == through)
    }
}
