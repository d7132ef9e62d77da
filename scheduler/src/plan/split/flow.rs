//! Sans-IO: the cheapest flow from regions over edges, exactly, by the network simplex method.
//!
//! A region is a node with a supply, an edge one that passes on what comes: up to its level for
//! nothing, up to its limit at its price beyond, above that at a deterrent one. All ends in a root,
//! so that every spanning tree says what a bit costs from each node on. Flows and costs are whole
//! numbers, so that a pivot is exact and the tree stays strongly feasible, which keeps it from
//! going round in circles. Its vertex is one of many when costs are equal; how regions share
//! between edges that are as good is for the ascent to say.

use super::{LARGEST, Problem, Supply};

/// A cheapest flow.
pub(super) struct Flow {
    /// By edge, what a bit that goes there costs from there on.
    pub(super) prices: Vec<f64>,
    /// By edge, bits per second.
    pub(super) loads: Vec<f64>,
    /// By edge, how many temperatures more make the regions' soft choices those of the flow, where
    /// these have a choice.
    pub(super) offsets: Vec<f64>,
}

/// The cheapest flow of these demands to these clean supplies, where a bit above a limit costs
/// `deterrent`; `start` are prices of a flow that is like it.
pub(super) fn cheapest(
    problem: &Problem,
    (demand, supplies): (&[f64], &[Supply]),
    deterrent: f64,
    start: Option<&[f64]>,
) -> Flow {
    let mut net = Net::new(problem, (demand, supplies), deterrent);
    let given = |edge: usize| start.and_then(|prices| prices.get(edge)).copied();
    let hints: Vec<i64> = (0..supplies.len())
        .map(|edge| net.cost(given(edge).unwrap_or(0.0)))
        .collect();
    net.plant(&hints);
    net.solve();
    net.flow(supplies)
}

#[derive(Clone, Copy)]
struct Arc {
    from: u32,
    to: u32,
    cost: i64,
    cap: i64,
    flow: i64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Tree,
    Full,
}

/// A node in the tree, and what ties it to its parent.
#[derive(Clone, Copy)]
struct Leaf {
    parent: u32,
    arc: u32,
    depth: u32,
    /// What a bit costs from here to the root.
    price: i64,
    child: u32,
    next: u32,
    before: u32,
}

struct Net {
    arcs: Vec<Arc>,
    leaves: Vec<Leaf>,
    demand: Vec<i64>,
    /// Offers of region `r` are the arcs `starts[r]..starts[r + 1]`.
    starts: Vec<usize>,
    regions: usize,
    /// The first of three arcs of each edge to the root.
    ends: usize,
    bps: f64,
    unit: f64,
}

impl Net {
    fn new(problem: &Problem, (demand, supplies): (&[f64], &[Supply]), deterrent: f64) -> Self {
        let (regions, edges) = (demand.len(), supplies.len());
        let total: f64 = demand.iter().sum();
        let usable = |offer: &&super::Offer| {
            let supply = supplies.get(offer.edge as usize);
            offer.cost.abs() < LARGEST && supply.is_some_and(|supply| supply.limit > 0.0)
        };
        let dearest = |most: f64, offer: &super::Offer| most.max(offer.cost.abs());
        let most = problem
            .offers
            .iter()
            .filter(usable)
            .fold(deterrent, dearest);
        let mut net = Self {
            arcs: Vec::with_capacity(problem.offers.len() + 3 * edges),
            leaves: Vec::new(),
            demand: Vec::with_capacity(regions),
            starts: vec![0],
            regions,
            ends: 0,
            bps: if total > 0.0 { total / FLOWS } else { 1.0 },
            unit: if most > 0.0 { most / COSTS } else { 1.0 },
        };
        for (region, demand) in demand.iter().enumerate() {
            for offer in problem.offers[problem.offers_of(region)]
                .iter()
                .filter(usable)
            {
                let ends = (region as u32, regions as u32 + offer.edge);
                net.arc(ends, offer.cost, f64::INFINITY);
            }
            net.demand.push((demand / net.bps) as i64);
            net.starts.push(net.arcs.len());
        }
        net.ends = net.arcs.len();
        for (edge, supply) in supplies.iter().enumerate() {
            let ends = ((regions + edge) as u32, (regions + edges) as u32);
            net.arc(ends, 0.0, supply.level);
            net.arc(
                ends,
                supply.beyond,
                supply.limit - supply.level.min(supply.limit),
            );
            net.arc(ends, deterrent, f64::INFINITY);
        }
        net
    }

    fn arc(&mut self, (from, to): (u32, u32), cost: f64, cap_bps: f64) {
        let cap = cap_bps / self.bps;
        self.arcs.push(Arc {
            from,
            to,
            cost: self.cost(cost),
            // No sum of demands comes near the bound.
            cap: if cap < UNBOUNDED as f64 {
                cap as i64
            } else {
                UNBOUNDED
            },
            flow: 0,
            state: State::Empty,
        });
    }

    fn cost(&self, cost: f64) -> i64 {
        (cost / self.unit).clamp(-COSTS, COSTS) as i64
    }

    /// The first tree: every region goes where it is cheapest by the hints and by what came before
    /// it, every edge to the root by the first arc that has room.
    fn plant(&mut self, hints: &[i64]) {
        let root = self.leaves_of(hints.len());
        let mut loads = vec![0; hints.len()];
        for region in 0..self.regions {
            let cost = |arc: &Arc| {
                let edge = arc.to as usize - self.regions;
                arc.cost + hints[edge].max(self.marginal(edge, loads[edge]))
            };
            let offers = self.starts[region]..self.starts[region + 1];
            let Some(arc) = offers.min_by_key(|at| cost(&self.arcs[*at])) else {
                continue;
            };
            let demand = self.demand[region];
            self.arcs[arc].flow = demand;
            loads[self.arcs[arc].to as usize - self.regions] += demand;
            self.hang(region as u32, self.arcs[arc].to, arc as u32);
        }
        for (edge, load) in loads.into_iter().enumerate() {
            let (first, mut rest) = (self.ends + 3 * edge, load);
            let mut tied = false;
            for at in first..first + 3 {
                let arc = &mut self.arcs[at];
                arc.flow = rest.min(arc.cap);
                rest -= arc.flow;
                if !tied && arc.flow < arc.cap {
                    tied = true;
                    self.hang((self.regions + edge) as u32, root, at as u32);
                } else if !tied && arc.cap > 0 {
                    arc.state = State::Full;
                }
            }
        }
        self.reprice(root);
    }

    fn leaves_of(&mut self, edges: usize) -> u32 {
        let root = (self.regions + edges) as u32;
        let alone = Leaf {
            parent: NONE,
            arc: NONE,
            depth: 0,
            price: 0,
            child: NONE,
            next: NONE,
            before: NONE,
        };
        self.leaves = vec![alone; root as usize + 1];
        root
    }

    /// What one bit more costs an edge that carries so much.
    fn marginal(&self, edge: usize, load: i64) -> i64 {
        let ends = &self.arcs[self.ends + 3 * edge..][..3];
        match load {
            load if load < ends[0].cap => 0,
            load if load - ends[0].cap < ends[1].cap => ends[1].cost,
            _ => ends[2].cost,
        }
    }

    fn hang(&mut self, node: u32, parent: u32, arc: u32) {
        let first = std::mem::replace(&mut self.leaves[parent as usize].child, node);
        if first != NONE {
            self.leaves[first as usize].before = node;
        }
        let leaf = &mut self.leaves[node as usize];
        (leaf.parent, leaf.arc, leaf.next, leaf.before) = (parent, arc, first, NONE);
        self.arcs[arc as usize].state = State::Tree;
    }

    fn cut(&mut self, node: u32) {
        let Leaf {
            parent,
            next,
            before,
            ..
        } = self.leaves[node as usize];
        match before {
            NONE => self.leaves[parent as usize].child = next,
            before => self.leaves[before as usize].next = next,
        }
        if next != NONE {
            self.leaves[next as usize].before = before;
        }
    }

    /// Works out depths and prices of all below a node.
    fn reprice(&mut self, top: u32) {
        let mut open = vec![top];
        while let Some(node) = open.pop() {
            let Leaf { depth, price, .. } = self.leaves[node as usize];
            let mut child = self.leaves[node as usize].child;
            while child != NONE {
                self.price(child, depth, price);
                open.push(child);
                child = self.leaves[child as usize].next;
            }
        }
    }

    fn price(&mut self, node: u32, depth: u32, price: i64) {
        let leaf = &mut self.leaves[node as usize];
        let arc = &self.arcs[leaf.arc as usize];
        leaf.depth = depth + 1;
        leaf.price = price
            + if arc.from == node {
                arc.cost
            } else {
                -arc.cost
            };
    }

    fn solve(&mut self) {
        let block = (self.arcs.len().isqrt()).max(SMALLEST_BLOCK);
        let mut at = 0;
        for _ in 0..PIVOTS {
            let Some(entering) = self.entering(&mut at, block) else {
                return;
            };
            self.pivot(entering);
        }
    }

    /// The worst arc of the next block that has one.
    fn entering(&self, at: &mut usize, block: usize) -> Option<u32> {
        let mut worst = (0, NONE);
        let mut seen = 0;
        while seen < self.arcs.len() {
            for _ in 0..block {
                *at = if *at + 1 < self.arcs.len() {
                    *at + 1
                } else {
                    0
                };
                let arc = &self.arcs[*at];
                let gain = match arc.state {
                    State::Tree => continue,
                    State::Empty if arc.cap == 0 => continue,
                    State::Empty => -self.reduced(arc),
                    State::Full => self.reduced(arc),
                };
                if gain > worst.0 {
                    worst = (gain, *at as u32);
                }
            }
            if worst.1 != NONE {
                return Some(worst.1);
            }
            seen += block;
        }
        None
    }

    fn reduced(&self, arc: &Arc) -> i64 {
        let price = |node: u32| self.leaves[node as usize].price;
        arc.cost + price(arc.to) - price(arc.from)
    }

    /// Sends as much as fits round the circle that an arc closes, and exchanges it for the one that
    /// stops the flow: of several the last one in its direction, which keeps the tree strongly
    /// feasible.
    fn pivot(&mut self, entering: u32) {
        let arc = self.arcs[entering as usize];
        let filling = arc.state == State::Empty;
        let (first, second) = if filling {
            (arc.from, arc.to)
        } else {
            (arc.to, arc.from)
        };
        let join = self.join(first, second);
        let (mut most, mut out) = (arc.cap, None);
        let mut node = first;
        while node != join {
            let room = self.room(node, false);
            if room < most {
                (most, out) = (room, Some((node, first, second)));
            }
            node = self.leaves[node as usize].parent;
        }
        node = second;
        while node != join {
            let room = self.room(node, true);
            if room <= most {
                (most, out) = (room, Some((node, second, first)));
            }
            node = self.leaves[node as usize].parent;
        }
        self.send(first, join, -most);
        self.send(second, join, most);
        let flow = &mut self.arcs[entering as usize].flow;
        *flow += if filling { most } else { -most };
        let Some((out, inner, outer)) = out else {
            let turned = if filling { State::Full } else { State::Empty };
            self.arcs[entering as usize].state = turned;
            return;
        };
        let leaving = &mut self.arcs[self.leaves[out as usize].arc as usize];
        leaving.state = if leaving.flow == 0 {
            State::Empty
        } else {
            State::Full
        };
        self.regraft(out, (inner, outer), entering);
    }

    /// Where the ways of two nodes to the root meet.
    fn join(&self, mut a: u32, mut b: u32) -> u32 {
        while a != b {
            let (of_a, of_b) = (&self.leaves[a as usize], &self.leaves[b as usize]);
            if of_a.depth >= of_b.depth {
                a = of_a.parent;
            } else {
                b = of_b.parent;
            }
        }
        a
    }

    /// What can still be sent between a node and its parent.
    fn room(&self, node: u32, upwards: bool) -> i64 {
        let arc = &self.arcs[self.leaves[node as usize].arc as usize];
        match (arc.from == node) == upwards {
            true if arc.cap == UNBOUNDED => UNBOUNDED,
            true => arc.cap - arc.flow,
            false => arc.flow,
        }
    }

    /// Sends upwards from a node to one above it.
    fn send(&mut self, mut node: u32, join: u32, flow: i64) {
        while node != join {
            let Leaf { parent, arc, .. } = self.leaves[node as usize];
            let arc = &mut self.arcs[arc as usize];
            arc.flow += if arc.from == node { flow } else { -flow };
            node = parent;
        }
    }

    /// Hangs what was below `out` by `inner` to `outer`.
    fn regraft(&mut self, out: u32, (inner, outer): (u32, u32), entering: u32) {
        let (mut node, mut parent, mut arc) = (inner, outer, entering);
        loop {
            let was = self.leaves[node as usize];
            self.cut(node);
            self.hang(node, parent, arc);
            if node == out {
                break;
            }
            (parent, arc, node) = (node, was.arc, was.parent);
        }
        // The arc that left is out of the tree: `hang` put back those between.
        let Leaf { depth, price, .. } = self.leaves[outer as usize];
        self.price(inner, depth, price);
        self.reprice(inner);
    }

    fn flow(&self, supplies: &[Supply]) -> Flow {
        let edges = supplies.len();
        let mut loads = vec![0.0; edges];
        for (at, arc) in self.arcs[self.ends..].iter().enumerate() {
            loads[at / 3] += arc.flow as f64 * self.bps;
        }
        let price = |edge: usize| self.leaves[self.regions + edge].price as f64 * self.unit;
        Flow {
            prices: (0..edges).map(price).collect(),
            loads,
            offsets: self.offsets(supplies),
        }
    }

    /// Down the tree, by how a region shares between its edges; an edge that the root holds softly
    /// gives up a part of its room.
    fn offsets(&self, supplies: &[Supply]) -> Vec<f64> {
        let mut offsets = vec![0.0; supplies.len()];
        let mut open: Vec<u32> = Vec::new();
        let below = |node: u32| {
            let first = self.leaves[node as usize].child;
            std::iter::successors((first != NONE).then_some(first), |child| {
                let next = self.leaves[*child as usize].next;
                (next != NONE).then_some(next)
            })
        };
        for edge in below((self.regions + supplies.len()) as u32) {
            let at = self.leaves[edge as usize].arc as usize;
            let arc = &self.arcs[at];
            let used = (arc.flow as f64 / arc.cap as f64).clamp(LEAST_SHARE, 1.0 - LEAST_SHARE);
            offsets[edge as usize - self.regions] = match (at - self.ends) % 3 {
                0 => -libm::log(1.0 - used),
                1 => libm::log(used / (1.0 - used)),
                _ => 0.0,
            };
            open.push(edge);
        }
        let drawn = |node: u32, edge: u32, demand: f64| {
            let flow = self.arcs[self.leaves[node as usize].arc as usize].flow as f64;
            let weight = supplies[edge as usize - self.regions].weight;
            libm::log((flow / demand).max(LEAST_SHARE) / weight.clamp(1.0 / LARGEST, LARGEST))
        };
        while let Some(edge) = open.pop() {
            for region in below(edge) {
                let demand = (self.demand[region as usize] as f64).max(1.0);
                let base = offsets[edge as usize - self.regions] + drawn(region, edge, demand);
                for other in below(region) {
                    offsets[other as usize - self.regions] = base - drawn(other, other, demand);
                    open.push(other);
                }
            }
        }
        offsets
    }
}

const NONE: u32 = u32::MAX;
/// Whole numbers that all demand and the greatest cost are cut into: sums over any circle of a tree
/// fit 64 bits.
const FLOWS: f64 = (1_u64 << 42) as f64;
const COSTS: f64 = (1_u64 << 38) as f64;
/// More than all demand.
const UNBOUNDED: i64 = 1 << 60;
/// Pivots: some thousands are usual; what is left after so many is a good start all the same.
const PIVOTS: u32 = 200_000;
/// Blocks of fewer arcs are not worth the turn.
const SMALLEST_BLOCK: usize = 16;
/// A share, or a part of a room, that counts as none.
const LEAST_SHARE: f64 = 1e-4;
