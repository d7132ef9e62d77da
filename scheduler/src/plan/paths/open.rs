//! Sans-IO: the edges at which a stream is kept: greedily against the prices, then one pass that
//! drops what is not worth its copy any more.
//!
//! A gain only shrinks while edges open, so that the next best edge is found by looking again at
//! those whose old gain is the greatest. A large region's viewers are hashed over several edges,
//! which are opened with it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{Cold, Stream, Survey, buckets};

/// What an edge could do for one region.
#[derive(Clone, Copy)]
struct Chance {
    edge: u32,
    /// Index into the stream's regions.
    region: usize,
    cost: f64,
}

struct Opening<'a> {
    survey: &'a Survey<'a>,
    stream: &'a Stream<'a>,
    /// By region.
    chances: Vec<Chance>,
    /// Where each region's chances begin, and the end.
    starts: Vec<usize>,
    /// Indices of chances, by edge.
    by_edge: Vec<u32>,
    /// What each region's viewers cost at the best open edge.
    best: Vec<f64>,
    open: Vec<u32>,
    is_open: Vec<bool>,
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

/// The edges at which a stream is to be kept, ascending; `before` are those of the plan before.
pub(super) fn open(survey: &Survey<'_>, stream: &Stream<'_>, before: &[u32]) -> Vec<u32> {
    let mut chances = Vec::with_capacity(8 * stream.viewers.len());
    let mut starts = Vec::with_capacity(stream.viewers.len() + 1);
    let mut best = Vec::with_capacity(stream.viewers.len());
    for (region, &(at, _)) in stream.viewers.iter().enumerate() {
        starts.push(chances.len());
        let offers = survey.offers(at).iter();
        let mut worst = 0.0_f64;
        for offer in offers.filter(|offer| survey.serves(stream, offer.edge)) {
            let kept = before.binary_search(&offer.edge).is_ok();
            let favour = survey.terms.deadband * offer.cost.abs();
            let cost = offer.cost - if kept { favour } else { 0.0 };
            worst = worst.max(cost);
            let edge = offer.edge;
            chances.push(Chance { edge, region, cost });
        }
        // Without an edge, one copy more is always worth it.
        best.push(worst + 1.0 + survey.terms.copy + survey.terms.hops);
    }
    starts.push(chances.len());
    let mut by_edge: Vec<u32> = (0..chances.len() as u32).collect();
    by_edge.sort_by_key(|&at| chances[at as usize].edge);
    let mut opening = Opening {
        survey,
        stream,
        chances,
        starts,
        by_edge,
        best,
        open: Vec::new(),
        is_open: vec![false; survey.ground.nodes.len()],
    };
    opening.grow();
    opening.prune();
    opening.spread();
    opening.open.sort_unstable();
    opening.open
}

impl Opening<'_> {
    fn fee(&self) -> f64 {
        self.survey.terms.copy + self.survey.terms.hops
    }

    /// What an edge could do, region by region.
    fn at(&self, edge: u32) -> impl Iterator<Item = &Chance> {
        let edge_of = |at: &u32| self.chances[*at as usize].edge;
        let from = self.by_edge.partition_point(|at| edge_of(at) < edge);
        let mine = self.by_edge[from..]
            .iter()
            .map(|&at| &self.chances[at as usize]);
        mine.take_while(move |chance| chance.edge == edge)
    }

    /// What could be done for a region.
    fn of(&self, region: usize) -> &[Chance] {
        &self.chances[self.starts[region]..self.starts[region + 1]]
    }

    fn viewers(&self, region: usize) -> f64 {
        f64::from(self.stream.viewers[region].1)
    }

    /// What opening an edge gains, and how many viewers would go there.
    fn gain(&self, edge: u32) -> (f64, f64) {
        let better = self.at(edge).filter(|it| it.cost < self.best[it.region]);
        let (mut gain, mut viewers) = (-self.fee(), 0.0);
        for chance in better {
            viewers += self.viewers(chance.region);
            gain += self.viewers(chance.region) * (self.best[chance.region] - chance.cost);
        }
        (gain, viewers)
    }

    /// Opens edges, the greatest gain first, while there is one.
    fn grow(&mut self) {
        let edges = self
            .by_edge
            .iter()
            .map(|&at| self.chances[at as usize].edge);
        let mut edges: Vec<u32> = edges.collect();
        edges.dedup();
        let candidate = |edge| Candidate {
            gain: self.gain(edge).0,
            edge,
        };
        let mut queue: BinaryHeap<Candidate> = edges.into_iter().map(candidate).collect();
        let least = self.stream.replicas.max(1) as usize;
        let mut passed_over = Vec::new();
        while let Some(Candidate { edge, .. }) = queue.pop() {
            let (gain, viewers) = self.gain(edge);
            let again = Candidate { gain, edge };
            if queue.peek().is_some_and(|next| *next > again) {
                queue.push(again);
                continue;
            }
            if gain > 0.0 && self.may_join(edge, viewers) {
                self.take(edge);
            } else {
                passed_over.push(edge);
            }
        }
        let wanted = least.saturating_sub(self.open.len());
        passed_over
            .into_iter()
            .take(wanted)
            .for_each(|edge| self.take(edge));
    }

    /// Whether so many viewers are worth an edge beside those that are open.
    fn may_join(&self, edge: u32, viewers: f64) -> bool {
        let node = self.survey.node(edge);
        let others = || self.open.iter().map(|&other| self.survey.node(other));
        let beside = others().any(|other| other.metro == node.metro);
        let cold = match self.stream.cold {
            Cold::Off => false,
            Cold::Metro => beside,
            Cold::Zone => others().any(|other| other.zone == node.zone),
        };
        !cold && (!beside || viewers >= self.stream.consolidate_below)
    }

    fn take(&mut self, edge: u32) {
        self.open.push(edge);
        self.is_open[edge as usize] = true;
        let edge_of = |at: &u32| self.chances[*at as usize].edge;
        let from = self.by_edge.partition_point(|at| edge_of(at) < edge);
        for &at in &self.by_edge[from..] {
            let chance = self.chances[at as usize];
            if chance.edge != edge {
                break;
            }
            let best = &mut self.best[chance.region];
            *best = best.min(chance.cost);
        }
    }

    /// Closes what costs more than it gains now that others are open.
    fn prune(&mut self) {
        let least = self.stream.replicas.max(1) as usize;
        let mut at = 0;
        while self.open.len() > least && at < self.open.len() {
            let edge = self.open[at];
            let loss = |chance: &Chance| {
                let without = self.cheapest(chance.region, |other| other != edge);
                self.viewers(chance.region) * (without - chance.cost).max(0.0)
            };
            if self.at(edge).map(loss).sum::<f64>() < self.fee() {
                self.open.remove(at);
                self.is_open[edge as usize] = false;
            } else {
                at += 1;
            }
        }
    }

    /// What a region's viewers cost at the best of those open edges.
    fn cheapest(&self, region: usize, of: impl Fn(u32) -> bool) -> f64 {
        let open = self.of(region).iter();
        let open = open.filter(|it| self.is_open[it.edge as usize] && of(it.edge));
        open.map(|it| it.cost).fold(f64::INFINITY, f64::min)
    }

    /// Opens the edges over which the viewers of large regions are hashed.
    fn spread(&mut self) {
        for (region, &(_, viewers)) in self.stream.viewers.iter().enumerate() {
            let parts = buckets(viewers.into(), self.stream.consolidate_below) as usize;
            if parts < 2 || self.stream.cold != Cold::Off {
                continue;
            }
            let most = self.cheapest(region, |_| true) + self.survey.terms.near;
            let mut near: Vec<Chance> = self.of(region).to_vec();
            near.retain(|it| it.cost <= most);
            near.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.edge.cmp(&b.edge)));
            for edge in near.into_iter().take(parts).map(|it| it.edge) {
                if !std::mem::replace(&mut self.is_open[edge as usize], true) {
                    self.open.push(edge);
                }
            }
        }
    }
}
