//! Sans-IO: the edges at which a stream is kept: greedily against the prices, then one pass that
//! drops what is not worth its copy any more.
//!
//! A gain only shrinks while edges open, so that the next best edge is found by looking again at
//! those whose old gain is the greatest. A large region's viewers are hashed over several edges,
//! which are opened with it.

use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use super::{Cold, Offer, Stream, Survey, buckets};
use crate::snapshot::{mix, uniform};

/// What an edge could do for one region.
#[derive(Clone, Copy, Default)]
struct Chance {
    /// Index into the stream's regions.
    region: u32,
    viewers: f32,
    cost: f64,
}

/// Chooses edges for one stream after the other, with room that all of them use.
pub(super) struct Opener<'a> {
    survey: &'a Survey<'a>,
    /// Of one edge after the other.
    chances: Vec<Chance>,
    /// The edges that have chances.
    edges: Vec<u32>,
    /// By node, where its chances begin and end.
    spans: Vec<(u32, u32)>,
    /// By region of the stream, what its viewers cost at the best open edge.
    best: Vec<f64>,
    open: Vec<u32>,
    /// By node.
    is_open: Vec<bool>,
    /// By node, whether it was open in the plan before.
    was_open: Vec<bool>,
    /// By node, what this stream's luck takes from its costs.
    luck: Vec<f64>,
    /// By metro and by zone, whether an edge is open there.
    metros: Vec<bool>,
    zones: Vec<bool>,
}

/// An edge with what it gained when it was last looked at; the lower index of equals first.
#[derive(PartialEq)]
struct Candidate {
    gain: f64,
    edge: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain
            .total_cmp(&other.gain)
            .then(other.edge.cmp(&self.edge))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Opener<'a> {
    pub(super) fn new(survey: &'a Survey<'a>) -> Self {
        let nodes = survey.ground.nodes;
        let places = |place: fn(&super::Node) -> u32| {
            let most = nodes.iter().map(|node| place(node) as usize + 1).max();
            vec![false; most.unwrap_or(0)]
        };
        Self {
            survey,
            chances: Vec::new(),
            edges: Vec::new(),
            spans: vec![(0, 0); nodes.len()],
            best: Vec::new(),
            open: Vec::new(),
            is_open: vec![false; nodes.len()],
            was_open: vec![false; nodes.len()],
            luck: vec![0.0; nodes.len()],
            metros: places(|node| node.metro),
            zones: places(|node| node.zone),
        }
    }

    /// The edges at which a stream is to be kept, ascending; `before` are those of the plan before.
    pub(super) fn open(&mut self, stream: &Stream<'_>, before: &[u32]) -> Vec<u32> {
        for &edge in before {
            self.was_open[edge as usize] = true;
        }
        self.gather(stream);
        self.grow(stream);
        self.prune(stream);
        self.spread(stream);
        self.clear(before);
        let mut open = std::mem::take(&mut self.open);
        open.sort_unstable();
        open
    }

    fn clear(&mut self, before: &[u32]) {
        for &edge in before {
            self.was_open[edge as usize] = false;
        }
        for edge in self.edges.drain(..) {
            let node = self.survey.node(edge);
            self.spans[edge as usize] = (0, 0);
            self.is_open[edge as usize] = false;
            self.metros[node.metro as usize] = false;
            self.zones[node.zone as usize] = false;
        }
        self.best.clear();
    }

    fn fee(&self) -> f64 {
        self.survey.terms.copy + self.survey.terms.hops
    }

    /// What an offer costs this stream, a little less where it keeps what was.
    fn cost(&self, offer: &Offer) -> f64 {
        let edge = offer.edge as usize;
        let favour = self.survey.terms.deadband * offer.cost.abs();
        let favour = if self.was_open[edge] { favour } else { 0.0 };
        offer.cost - favour - self.luck[edge]
    }

    /// Draws by stream and edge, so that over many streams the cheapest edges are those of the
    /// regions' shares (weighted rendezvous: the least of exponential draws, each over its share).
    fn draw(&mut self, stream: &Stream<'_>, edge: u32) {
        let node = self.survey.node(edge);
        let drawn = -libm::log(uniform(mix(stream.seed ^ mix(node.seed))));
        let luck = libm::log(node.weight / drawn.max(f64::MIN_POSITIVE));
        self.luck[edge as usize] = self.survey.terms.tau * luck;
    }

    fn gather(&mut self, stream: &Stream<'_>) {
        let survey = self.survey;
        for &(region, _) in stream.viewers {
            let mut worst = 0.0_f64;
            let offers = survey.offers(region).iter();
            for offer in offers.filter(|offer| survey.serves(stream, offer.edge)) {
                if self.spans[offer.edge as usize].1 == 0 {
                    self.edges.push(offer.edge);
                    self.draw(stream, offer.edge);
                }
                self.spans[offer.edge as usize].1 += 1;
                worst = worst.max(self.cost(offer));
            }
            // Without an edge, one copy more is always worth it.
            self.best.push(worst + 1.0 + self.fee());
        }
        let mut start = 0;
        for &edge in &self.edges {
            let span = &mut self.spans[edge as usize];
            let count = span.1;
            *span = (start, start);
            start += count;
        }
        self.chances.resize(start as usize, Chance::default());
        for (nth, &(region, viewers)) in (0..).zip(stream.viewers) {
            let offers = survey.offers(region).iter();
            for offer in offers.filter(|offer| survey.serves(stream, offer.edge)) {
                let cost = self.cost(offer);
                let (_, end) = &mut self.spans[offer.edge as usize];
                self.chances[*end as usize] = Chance {
                    region: nth,
                    viewers,
                    cost,
                };
                *end += 1;
            }
        }
    }

    /// What an edge could do, region by region.
    fn at(&self, edge: u32) -> &[Chance] {
        let (from, to) = self.spans[edge as usize];
        &self.chances[from as usize..to as usize]
    }

    /// What opening an edge gains, and how many viewers would go there.
    fn gain(&self, edge: u32) -> (f64, f64) {
        let (mut gain, mut viewers) = (-self.fee(), 0.0);
        for chance in self.at(edge) {
            let better = self.best[chance.region as usize] - chance.cost;
            if better > 0.0 {
                viewers += f64::from(chance.viewers);
                gain += f64::from(chance.viewers) * better;
            }
        }
        (gain, viewers)
    }

    /// Opens edges, the greatest gain first, while there is one; then others up to the replicas.
    fn grow(&mut self, stream: &Stream<'_>) {
        let candidate = |&edge: &u32| Candidate {
            gain: self.gain(edge).0,
            edge,
        };
        let mut queue: BinaryHeap<Candidate> = self.edges.iter().map(candidate).collect();
        let mut passed_over = VecDeque::new();
        while let Some(mut first) = queue.peek_mut() {
            let (gain, viewers) = self.gain(first.edge);
            if gain < first.gain {
                first.gain = gain;
                continue;
            }
            if gain <= 0.0 {
                break;
            }
            let edge = PeekMut::pop(first).edge;
            if self.may_join(stream, edge, viewers) {
                self.take(edge);
            } else {
                passed_over.push_back(edge);
            }
        }
        let least = stream.replicas.max(1) as usize;
        while self.open.len() < least {
            let next = passed_over.pop_front().or_else(|| Some(queue.pop()?.edge));
            match next {
                Some(edge) => self.take(edge),
                None => break,
            }
        }
    }

    /// Whether so many viewers are worth an edge beside those that are open.
    fn may_join(&self, stream: &Stream<'_>, edge: u32, viewers: f64) -> bool {
        let node = self.survey.node(edge);
        let beside = self.metros[node.metro as usize];
        let cold = match stream.cold {
            Cold::Off => false,
            Cold::Metro => beside,
            Cold::Zone => self.zones[node.zone as usize],
        };
        !cold && (!beside || viewers >= stream.consolidate_below)
    }

    fn take(&mut self, edge: u32) {
        let node = self.survey.node(edge);
        self.metros[node.metro as usize] = true;
        self.zones[node.zone as usize] = true;
        self.open.push(edge);
        self.is_open[edge as usize] = true;
        let (from, to) = self.spans[edge as usize];
        for chance in &self.chances[from as usize..to as usize] {
            let best = &mut self.best[chance.region as usize];
            *best = best.min(chance.cost);
        }
    }

    /// Closes what costs more than it gains now that others are open.
    fn prune(&mut self, stream: &Stream<'_>) {
        let least = stream.replicas.max(1) as usize;
        let mut at = 0;
        while self.open.len() > least && at < self.open.len() {
            let edge = self.open[at];
            let loss = |chance: &Chance| {
                let others = self.cheapest(stream, chance.region, edge);
                f64::from(chance.viewers) * (others - chance.cost).max(0.0)
            };
            if self.at(edge).iter().map(loss).sum::<f64>() < self.fee() {
                self.open.remove(at);
                self.is_open[edge as usize] = false;
            } else {
                at += 1;
            }
        }
    }

    /// What a region's viewers cost at the best of the open edges but one.
    fn cheapest(&self, stream: &Stream<'_>, region: u32, but: u32) -> f64 {
        let (region, _) = stream.viewers[region as usize];
        let open = self.survey.offers(region).iter();
        let open = open.filter(|it| self.is_open[it.edge as usize] && it.edge != but);
        open.map(|it| self.cost(it)).fold(f64::INFINITY, f64::min)
    }

    /// Opens the edges over which the viewers of large regions are hashed.
    fn spread(&mut self, stream: &Stream<'_>) {
        for (nth, &(region, viewers)) in (0..).zip(stream.viewers) {
            let parts = buckets(viewers.into(), stream.consolidate_below) as usize;
            if parts < 2 || stream.cold != Cold::Off {
                continue;
            }
            let most = self.cheapest(stream, nth, u32::MAX) + self.survey.terms.near;
            let offers = self.survey.offers(region).iter();
            let offers = offers.filter(|offer| self.survey.serves(stream, offer.edge));
            let mut near: Vec<(f64, u32)> = offers.map(|it| (self.cost(it), it.edge)).collect();
            near.retain(|(cost, _)| *cost <= most);
            near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for (_, edge) in near.into_iter().take(parts) {
                if !std::mem::replace(&mut self.is_open[edge as usize], true) {
                    self.open.push(edge);
                }
            }
        }
    }
}
