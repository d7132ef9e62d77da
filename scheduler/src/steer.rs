//! Sans-IO: which edge serves a viewer, and why each other one does not.
//!
//! Filter (health, drain, exclusion, capacity, policy), then cost: the way to the edge, the price
//! of a bit there, less what it is worth that the stream is at home there. Those within the policy's
//! slack take part in a lottery in which an edge's chance falls with its cost (softmin), and is a
//! little less than that where it carries more than was planned. The draw is
//! weighted rendezvous hashing, so that the same viewer draws the same edge, over all viewers each
//! edge gets its share, and the share of a dead edge spreads over all others. What each edge was
//! sent is counted beside what it should have been ([`Sent`](crate::snapshot::Sent)); one that is
//! ahead by too much lets the next in the lottery go first.
//!
//! A running player stays where it plays. It moves only when that edge is down, draining, excluded
//! or denied, when it carries more than its capacity and this viewer is of the share that is too
//! much, when an edge that has been up for a while is nearer by two of the policy's slacks, or, few
//! of them a minute, when one is cheaper by more than a move costs.

mod lottery;
mod reason;

use cluster::plan::Health;
use cluster::region::Region;
use cluster::stream::StreamKey;

use crate::geo::{Located, Unit};
use crate::market::{Home, Quote};
use crate::pathway::{Kind, Pathway};
use crate::plan::cost;
use crate::plan::homes::AT_HOME;
use crate::policy::{Named, Policy, Subject};
use crate::snapshot::{Load, Near, NodeView, Snapshot, mix, uniform};

pub use reason::Reason;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// Where the viewer is.
    pub located: Located,
    /// What is to be watched; policies and homes go by it.
    pub stream: Option<&'a StreamKey>,
    /// The entitlement of the viewer's token.
    pub label: Option<&'a str>,
    /// A hash of the viewer and the stream.
    pub key: u64,
    /// Number of the node that the viewer was last sent to for this stream.
    pub kept: Option<u16>,
    /// Number of the node that the viewer's player plays from now.
    pub playing: Option<u16>,
    /// Ids of nodes that the viewer asks not to be sent to, separated by commas.
    pub exclude: &'a str,
    /// What it can be given at an external pathway, any of these; with none it stays at our edges.
    pub kinds: &'a [Kind],
    /// Unix time in seconds, by which moves are paced.
    pub now_s: u64,
}

impl Viewer<'_> {
    /// Somebody there who was nowhere before and wants no particular stream; `key` is a hash of
    /// the viewer and the stream.
    pub fn new(located: Located, key: u64, now_s: u64) -> Self {
        Self {
            located,
            stream: None,
            label: None,
            key,
            kept: None,
            playing: None,
            exclude: "",
            kinds: &[Kind::Flv],
            now_s,
        }
    }
}

/// What was decided.
#[derive(Debug)]
pub struct Decision<'a> {
    /// The policy that held.
    pub policy: &'a Named,
    /// Every edge that was looked at: those near the viewer's region, or all.
    pub candidates: Vec<Candidate>,
    /// Indices of the usable ones, the chosen first, then by rank.
    order: Vec<usize>,
    /// What holds the viewer at the chosen edge, if anything does.
    pub held: Option<Hold>,
    /// Whether the viewer was sent anywhere within the slack, so that paths get measured.
    pub explored: bool,
    /// Whether the viewer's place is only roughly known.
    pub approximate: bool,
    /// Where the viewer is.
    region: Region,
}

/// What holds a viewer at an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It was sent there before.
    Kept,
    /// It plays from there now.
    Playing,
}

/// One edge as this decision saw it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Index into the snapshot's nodes.
    pub node: usize,
    /// Great-circle distance to the viewer.
    pub distance_km: f32,
    /// The round-trip time: measured between the region and the edge, else what the distance
    /// suggests.
    pub rtt_ms: f32,
    /// Whether it was measured.
    pub measured: bool,
    /// The larger of its shares of viewers and egress, those sent since its sample included.
    pub load: f32,
    /// What a bit costs there: money and scarcity, in units of the edges' mean price.
    pub price: f64,
    /// What it is worth that the stream is at home there.
    pub affinity: f64,
    /// The way, the price and the crowd, less the affinity. None when the edge was filtered out.
    pub cost: Option<f64>,
    /// Its chance in the lottery, 0 when it took no part.
    pub chance: f64,
    /// Why it was not chosen; None for the chosen one.
    pub lost: Option<Reason>,
    rank: Rank,
}

/// Order among usable edges: those of the lottery by draw, then the near ones by cost, then the
/// others by round-trip time.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
struct Rank {
    tier: u8,
    key: f64,
}

const LOTTERY: u8 = 0;
const NEAR: u8 = 1;
const FAR: u8 = 2;

/// Edges that take part in a lottery: twice as many as a market lists for a region, because one
/// that nothing was planned for sees them all.
const TICKETS: usize = 32;

/// The chosen edge and three fallbacks: players try few, and each lengthens the token.
const RANKED: usize = 4;

impl Decision<'_> {
    /// The edge to send the viewer to.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.edges().next()
    }

    /// The chosen edge, then the fallbacks in order, four in all.
    pub fn edges(&self) -> impl Iterator<Item = &Candidate> {
        self.order
            .iter()
            .take(RANKED)
            .map(|&at| &self.candidates[at])
    }

    /// Counts a viewer of that bit rate, who goes to the chosen edge and was not there: it to the
    /// chosen one, and to each edge of the lottery what its chance was.
    pub fn count(&self, snapshot: &Snapshot, bitrate_bps: u64) {
        let Some(chosen) = self.chosen() else {
            return;
        };
        let sent_bps = snapshot.nodes[chosen.node].expect(self.region, bitrate_bps);
        if let Some(usage) = snapshot.usage.get(self.policy.number) {
            usage.sent.add(sent_bps);
        }
        let drawn = chosen.rank.tier == LOTTERY && self.held.is_none();
        if !drawn {
            snapshot.nodes[chosen.node].sent.owe(sent_bps);
            return;
        }
        for candidate in self.candidates.iter().filter(|it| it.chance > 0.0) {
            let share = (candidate.chance * sent_bps as f64).round() as u64;
            snapshot.nodes[candidate.node].sent.owe(share);
        }
    }
}

/// Decides for one viewer.
pub fn steer<'a>(snapshot: &'a Snapshot, viewer: &Viewer<'_>) -> Decision<'a> {
    let policy = snapshot.policies.of(&Subject {
        stream: viewer.stream,
        region: Some(viewer.located.region),
        label: viewer.label,
        stream_labels: viewer.stream.map_or(&[], |key| snapshot.labels(key)),
    });
    let mut decision = Decision {
        policy,
        candidates: Vec::new(),
        order: Vec::new(),
        held: None,
        explored: false,
        approximate: viewer.located.source.is_approximate(),
        region: viewer.located.region,
    };
    let view = Look {
        snapshot,
        viewer,
        policy: &policy.policy,
        capped: snapshot.is_capped(policy),
    };
    let near = snapshot.reach(viewer.located.region);
    view.measure(&mut decision, near);
    let usable = decision.candidates.iter().filter(|it| it.lost.is_none());
    let few = usable.count() < RANKED;
    let edges = || snapshot.nodes.iter().filter(|view| view.is_edge).count();
    if few && near.is_some_and(|near| near.len() < edges()) {
        view.measure(&mut decision, None);
    }
    view.rank(&mut decision);
    view.choose(&mut decision);
    decision
}

/// What a decision looks at.
struct Look<'a> {
    snapshot: &'a Snapshot,
    viewer: &'a Viewer<'a>,
    policy: &'a Policy,
    /// Whether the policy takes nobody new.
    capped: bool,
}

impl Look<'_> {
    /// Takes the edges near the viewer's region, or all, each with what makes it unusable.
    fn measure(&self, decision: &mut Decision<'_>, near: Option<&[Near]>) {
        let place = self.viewer.located.point.unit();
        let candidates = &mut decision.candidates;
        candidates.clear();
        match near {
            Some(near) => {
                candidates.extend(
                    near.iter()
                        .map(|it| self.candidate(it.node, it.rtt_ms, place)),
                );
            }
            None => {
                let edges = self.snapshot.nodes.iter().enumerate();
                let edges = edges.filter(|(_, view)| view.is_edge);
                candidates.extend(edges.map(|(node, _)| {
                    let measured = self.snapshot.measured(self.viewer.located.region, node);
                    self.candidate(node, measured, place)
                }));
            }
        }
        self.place_everywhere(candidates);
    }

    /// What stands near every viewer is as near as the nearest of our edges that runs, full or not.
    fn place_everywhere(&self, candidates: &mut [Candidate]) {
        let own = |it: &&Candidate| {
            let view = self.view(it);
            view.pathway.is_none() && view.health == Health::Up
        };
        let own = candidates.iter().filter(own).map(|it| it.rtt_ms);
        let nearest = own.reduce(f32::min).unwrap_or(cost::prior_rtt_ms(0.0));
        for candidate in candidates {
            if self.view(candidate).is_everywhere() {
                (candidate.distance_km, candidate.rtt_ms) = (0.0, nearest);
            }
        }
    }

    fn candidate(&self, node: usize, measured: Option<f32>, place: Unit) -> Candidate {
        let view = &self.snapshot.nodes[node];
        let load = view.load();
        let distance_km = view.unit.km_to(place);
        Candidate {
            node,
            distance_km,
            rtt_ms: measured.unwrap_or_else(|| cost::prior_rtt_ms(distance_km)),
            measured: measured.is_some(),
            load: load.worst(),
            price: 0.0,
            affinity: 0.0,
            cost: None,
            chance: 0.0,
            lost: self.unusable(view).or_else(|| self.full(view, load)),
            rank: Rank::default(),
        }
    }

    fn unusable(&self, view: &NodeView) -> Option<Reason> {
        let id = view.node().id.as_str();
        let named = |list: &str| list.split(',').any(|named| named == id);
        match view.health {
            Health::Down => Some(Reason::Down),
            Health::Draining => Some(Reason::Draining),
            Health::Up if !self.viewer.exclude.is_empty() && named(self.viewer.exclude) => {
                Some(Reason::Excluded)
            }
            Health::Up if !self.offers(view) => Some(Reason::NotOffered),
            Health::Up => {
                let country = view.node().place.country.as_deref();
                let bar = self.policy.placement.bars(
                    id,
                    country,
                    view.quote.map(|quote| quote.usd_per_mbps),
                );
                let is_there = [self.viewer.kept, self.viewer.playing].contains(&Some(view.number));
                let capped = (self.capped && !is_there).then_some(Reason::Capped);
                bar.map(Reason::from).or(capped)
            }
        }
    }

    fn view(&self, candidate: &Candidate) -> &NodeView {
        &self.snapshot.nodes[candidate.node]
    }

    /// Whether the viewer can be served there.
    fn offers(&self, view: &NodeView) -> bool {
        let offered = |pathway: &Pathway| {
            let mut kinds = self.viewer.kinds.iter();
            kinds.any(|kind| pathway.offers(*kind))
        };
        view.pathway.as_deref().is_none_or(offered)
    }

    /// Whether there is no room for this viewer; one who is there already is part of the load.
    fn full(&self, view: &NodeView, load: Load) -> Option<Reason> {
        if load.unlimited {
            return None;
        }
        let full_at = cost::full_at(self.policy);
        let full = |share: Option<f32>| share.is_some_and(|share| f64::from(share) >= full_at);
        let by_viewers = full(load.viewers).then_some(Reason::ViewersFull);
        let full = by_viewers.or(full(load.egress).then_some(Reason::EgressFull))?;
        let here = Some(view.number);
        if self.viewer.playing == here {
            let sheds = sheds(load.worst(), self.viewer);
            return sheds.then_some(Reason::Overloaded);
        }
        (self.viewer.kept != here).then_some(full)
    }

    /// Gives every usable edge its cost and its place in the order.
    fn rank(&self, decision: &mut Decision<'_>) {
        let Decision {
            candidates, order, ..
        } = decision;
        order.extend((0..candidates.len()).filter(|&at| candidates[at].lost.is_none()));
        let usable = order.iter().map(|&at| candidates[at].rtt_ms);
        let nearest = usable.fold(f32::INFINITY, f32::min);
        let slack = self.policy.rtt.max_extra_vs_nearest_ms as f32;
        let home = self.viewer.stream.and_then(|key| self.snapshot.home(key));
        for &at in order.iter() {
            let candidate = &mut candidates[at];
            self.price(candidate, nearest, home);
            candidate.rank = if candidate.rtt_ms <= nearest + slack {
                Rank {
                    tier: NEAR,
                    key: candidate.cost.unwrap_or(0.0),
                }
            } else {
                Rank {
                    tier: FAR,
                    key: candidate.rtt_ms.into(),
                }
            };
        }
        let by_rank = |a: &usize, b: &usize| candidates[*a].rank.before(&candidates[*b].rank);
        order.sort_unstable_by(|a, b| by_rank(a, b).then(a.cmp(b)));
        let near = order.iter().take(TICKETS);
        let tickets = near
            .take_while(|&&at| candidates[at].rank.tier == NEAR)
            .count();
        decision.explored = self.draw(candidates, &order[..tickets], home);
        let by_draw = |a: &usize, b: &usize| candidates[*a].rank.before(&candidates[*b].rank);
        order[..tickets].sort_unstable_by(|a, b| by_draw(a, b).then(a.cmp(b)));
    }

    fn price(&self, candidate: &mut Candidate, nearest_ms: f32, home: Option<&Home>) {
        let view = &self.snapshot.nodes[candidate.node];
        let quote = view.quote.unwrap_or(Quote {
            money: if view.pathway.is_some() {
                UNQUOTED
            } else {
                0.0
            },
            ..Quote::default()
        });
        candidate.price = self.policy.weights.cost * quote.money + quote.scarcity;
        let at_home = home.is_some_and(|home| home.open.binary_search(&view.number).is_ok());
        candidate.affinity = if at_home { AT_HOME } else { 0.0 };
        let way = cost::network(self.policy, candidate.rtt_ms.into(), nearest_ms.into());
        let crowd = if view.load().unlimited {
            0.0
        } else {
            cost::crowding(self.policy, candidate.load.into())
        };
        candidate.cost = Some(way + candidate.price + crowd - candidate.affinity);
    }

    /// Puts the winner first and tells the others why they lost.
    fn choose(&self, decision: &mut Decision<'_>) {
        let Some(&first) = decision.order.first() else {
            return;
        };
        let playing = self.stays(decision).map(|at| (at, Hold::Playing));
        let held = playing.or(self.kept(decision).map(|at| (at, Hold::Kept)));
        let within = |&&at: &&usize| {
            let candidate = &decision.candidates[at];
            let view = &self.snapshot.nodes[candidate.node];
            candidate.rank.tier == LOTTERY && !view.is_ahead()
        };
        let drawn = decision.order.iter().find(within).copied();
        let chosen = held.map_or(drawn.unwrap_or(first), |(at, _)| at);
        decision.held = held.map(|(_, hold)| hold);
        let place = decision.order.iter().position(|&at| at == chosen);
        let place = place.unwrap_or(0);
        for (nth, &at) in decision.order.iter().enumerate() {
            if at == chosen {
                continue;
            }
            let tier = decision.candidates[at].rank.tier;
            let lost = match (tier, decision.held) {
                (_, Some(Hold::Playing)) => Reason::PlayedElsewhere,
                (FAR, _) => Reason::Farther,
                (_, Some(Hold::Kept)) => Reason::KeptElsewhere,
                (_, None) if nth < place => Reason::AheadOfShare,
                (_, None) if decision.candidates[at].chance < SLIGHT => Reason::Dearer,
                (_, None) => Reason::NotDrawn,
            };
            decision.candidates[at].lost = Some(lost);
        }
        decision.order[..=place].rotate_right(1);
    }

    /// The candidate that the viewer was sent to before, while it is within the slack; where it
    /// plays now is no reason to go on there.
    fn kept(&self, decision: &Decision<'_>) -> Option<usize> {
        let elsewhere = |it: &u16| self.viewer.playing != Some(*it);
        let number = self.viewer.kept.filter(elsewhere)?;
        let is_it = |&&at: &&usize| {
            let it = &decision.candidates[at];
            it.rank.tier != FAR && self.snapshot.nodes[it.node].number == number
        };
        decision.order.iter().find(is_it).copied()
    }

    /// The candidate that a running player has no reason to leave.
    fn stays(&self, decision: &Decision<'_>) -> Option<usize> {
        let number = self.viewer.playing?;
        let nodes = &self.snapshot.nodes;
        let usable = || decision.order.iter().map(|&at| &decision.candidates[at]);
        let settled = || usable().filter(|it| nodes[it.node].settled);
        let nearest = settled().map(|it| it.rtt_ms).fold(f32::INFINITY, f32::min);
        let farthest = nearest + MOVE_SLACKS * self.policy.rtt.max_extra_vs_nearest_ms as f32;
        let here = |&&at: &&usize| nodes[decision.candidates[at].node].number == number;
        let at = *decision.order.iter().find(here)?;
        let it = &decision.candidates[at];
        if it.rtt_ms >= farthest {
            return None;
        }
        let near = settled().filter(|it| it.rank.tier != FAR);
        let cheapest = near.filter_map(|it| it.cost).fold(f64::INFINITY, f64::min);
        let gains = it.cost.unwrap_or(f64::INFINITY) - cheapest > self.policy.weights.churn;
        let share = self.policy.motion.max_moved_per_min;
        (!gains || !may_move(self.viewer.key, self.viewer.now_s, share)).then_some(at)
    }
}

/// Whether the player of that key is of the few, a share of all each minute, that may move in this
/// one for money.
pub fn may_move(key: u64, now_s: u64, share: f64) -> bool {
    uniform(mix(key ^ mix(now_s / 60))) < share
}

impl Rank {
    fn before(&self, other: &Self) -> std::cmp::Ordering {
        let tiers = self.tier.cmp(&other.tier);
        tiers.then(self.key.total_cmp(&other.key))
    }
}

/// Whether an edge at that share of its capacity gives this viewer away: the same viewers within
/// some seconds, as many as are too many and a few more, so that the load soon comes to rest below
/// it. Then others: players that are asked seldom must not hold up those that can go at once.
fn sheds(load: f32, viewer: &Viewer<'_>) -> bool {
    let turn = mix(viewer.now_s / SHED_S);
    let stays = RELIEVED * libm::pow(load.into(), -HASTE);
    load > 1.0 && uniform(mix(viewer.key ^ turn ^ SHED)) > stays
}

/// What a bit at an external pathway costs while no plan knows it, in units of the edges' mean
/// price: near enough ones of our own go first.
const UNQUOTED: f64 = 3.0;

/// Makes a viewer's place in the order of who moves away independent of its draws.
const SHED: u64 = 0x5bd1_e995_9d1b_54a3;

/// For how many seconds the same viewers are given away: what the first of them relieve must be in
/// samples before the next are asked, and an edge asks all within five.
const SHED_S: u64 = 5;

/// The share of its capacity that an overloaded edge is relieved to: what key frames and
/// segments add in one second is less than the rest of it.
const RELIEVED: f64 = 0.97;

/// How the share that stays falls with the load: as its inverse, and somewhat more, because players
/// of HLS are heard of too late to leave with the others.
const HASTE: f64 = 1.3;

/// How much nearer an edge must be for a running player to go there, in slacks: a move costs a
/// player's buffer some time, and one slack is what does not matter even to new viewers.
const MOVE_SLACKS: f32 = 2.0;

/// Who has no more chance than this loses by its cost, not by the draw.
const SLIGHT: f64 = 0.01;

#[cfg(test)]
mod tests;
