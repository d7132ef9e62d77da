//! Sans-IO: which edge serves a viewer, and why each other one does not.
//!
//! Filter (health, drain, exclusion, capacity), then distance (great circle to round-trip time, in
//! bands of the allowed slack), then load: of the nearest band two edges are drawn by weighted
//! rendezvous hashing on the viewer and the less loaded takes it. The two draws are the same each
//! time a viewer asks; `kept` ends the remaining choice between them. A kept viewer is part of its
//! edge's load already, so a full edge keeps it. Fallbacks follow the draws too, so that the
//! viewers of a dead edge spread over all others instead of falling on one heir.
//!
//! A running player stays where it plays. It moves only when that edge is down, draining or
//! excluded, when it carries more than its capacity and this viewer is of the share that is too
//! much, or when an edge that has been up for a while is nearer by two of the policy's slacks.

use cluster::plan::Health;
use serde::{Deserialize, Serialize};

use crate::geo::Located;
use crate::snapshot::{NodeView, Snapshot, mix};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// Where the viewer is.
    pub located: Located,
    /// A hash of the viewer and the stream.
    pub key: u64,
    /// Number of the node that the viewer was last sent to for this stream.
    pub kept: Option<u16>,
    /// Number of the node that the viewer's player plays from now.
    pub playing: Option<u16>,
    /// Ids of nodes that the viewer asks not to be sent to, separated by commas.
    pub exclude: &'a str,
}

/// What was decided.
#[derive(Debug)]
pub struct Decision {
    /// Every edge known, in the snapshot's order.
    pub candidates: Vec<Candidate>,
    /// Indices into `candidates`: the chosen edge, then up to three fallbacks.
    ranked: [usize; RANKED],
    count: usize,
    /// What holds the viewer at the chosen edge, if anything does.
    pub held: Option<Hold>,
    /// Whether the viewer's place is only roughly known.
    pub approximate: bool,
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
    /// The round-trip time that the distance suggests.
    pub rtt_ms: f32,
    /// The larger of its shares of viewers and egress, those sent since its sample included.
    pub load: f32,
    /// Lower is better: whole steps are bands of distance, the fraction is the load. None when the
    /// edge was filtered out.
    pub score: Option<f32>,
    /// Why it was not chosen; None for the chosen one.
    pub lost: Option<Reason>,
    rank: Rank,
}

/// Why an edge lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It has been silent for too long, or left.
    Down,
    /// It is being drained.
    Draining,
    /// The viewer asked not to be sent there.
    Excluded,
    /// It serves nearly as many viewers as it may.
    ViewersFull,
    /// It sends nearly as much as it may.
    EgressFull,
    /// It carries more than it may, and the viewer is of the share that moves away.
    Overloaded,
    /// A usable edge is nearer by more than the slack.
    Farther,
    /// As near, but not among the two that were drawn for this viewer.
    NotDrawn,
    /// Drawn, but more loaded than the other one.
    Busier,
    /// As near, but the viewer stays where it was sent before.
    KeptElsewhere,
    /// Usable, but the player stays where it plays.
    PlayedElsewhere,
}

impl Reason {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down: silent or gone",
            Self::Draining => "draining: takes no new viewers",
            Self::Excluded => "excluded by the viewer",
            Self::ViewersFull => "full: viewers at the limit",
            Self::EgressFull => "full: egress at the limit",
            Self::Overloaded => "overloaded: some of its viewers move away",
            Self::Farther => "farther than the nearest usable edge",
            Self::NotDrawn => "as near, not among the two drawn",
            Self::Busier => "drawn, but more loaded",
            Self::KeptElsewhere => "as near, but the viewer stays where it was",
            Self::PlayedElsewhere => "usable, but the player stays where it plays",
        }
    }
}

/// Order among usable edges: nearer band first, then the viewer's draw.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Rank {
    band: f32,
    draw: f32,
}

/// The chosen edge and three fallbacks: players try few, and each lengthens the token.
const RANKED: usize = 4;

/// Of 992 measured pairs of cloud regions the median took 0.018 ms per kilometre, the nearer ones
/// 0.026; four milliseconds are the access network. Only the order and the slack depend on it.
const RTT_BASE_MS: f32 = 4.0;
const RTT_MS_PER_KM: f32 = 0.02;

impl Decision {
    /// The edge to send the viewer to.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.edges().next()
    }

    /// The chosen edge, then the fallbacks in order.
    pub fn edges(&self) -> impl Iterator<Item = &Candidate> {
        self.ranked[..self.count]
            .iter()
            .map(|&at| &self.candidates[at])
    }

    /// Whether an edge of that band can be one of the four best.
    fn has_room_for(&self, band: f32) -> bool {
        let full = self.count == RANKED;
        !full || band <= self.candidates[self.ranked[RANKED - 1]].rank.band
    }

    /// Writes `at` into the four best, when it is one of them.
    fn rank(&mut self, at: usize) {
        let rank = self.candidates[at].rank;
        let better = |&other: &usize| self.candidates[other].rank <= rank;
        let place = self.ranked[..self.count]
            .iter()
            .take_while(|other| better(other))
            .count();
        if place < RANKED {
            self.ranked.copy_within(place..RANKED - 1, place + 1);
            self.ranked[place] = at;
            self.count = (self.count + 1).min(RANKED);
        }
    }
}

/// Decides for one viewer.
pub fn steer(snapshot: &Snapshot, viewer: &Viewer<'_>) -> Decision {
    let mut decision = Decision {
        candidates: measure(snapshot, viewer),
        ranked: [0; RANKED],
        count: 0,
        held: None,
        approximate: viewer.located.source.is_approximate(),
    };
    score(snapshot, viewer, &mut decision);
    choose(snapshot, viewer, &mut decision);
    decision
}

/// Every edge with distance, load and, when it is unusable, why.
fn measure(snapshot: &Snapshot, viewer: &Viewer<'_>) -> Vec<Candidate> {
    let place = viewer.located.point.unit();
    let mut candidates = Vec::with_capacity(snapshot.nodes.len());
    for (node, view) in snapshot
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, view)| view.is_edge)
    {
        let load = view.load();
        let distance_km = view.unit.km_to(place);
        let full = if load.unlimited {
            None
        } else {
            let full =
                |share: Option<f32>| share.is_some_and(|share| share >= snapshot.policy.full_at);
            let by_viewers = full(load.viewers).then_some(Reason::ViewersFull);
            by_viewers.or(full(load.egress).then_some(Reason::EgressFull))
        };
        let here = Some(view.number);
        let full = match full {
            Some(_) if viewer.playing == here => {
                sheds(load.worst(), viewer.key).then_some(Reason::Overloaded)
            }
            full => full.filter(|_| viewer.kept != here),
        };
        candidates.push(Candidate {
            node,
            distance_km,
            rtt_ms: RTT_BASE_MS + RTT_MS_PER_KM * distance_km,
            load: load.worst(),
            score: None,
            lost: unusable(view, viewer).or(full),
            rank: Rank {
                band: 0.0,
                draw: 0.0,
            },
        });
    }
    candidates
}

/// Whether an edge at that share of its capacity gives this viewer away: the same viewers each
/// time, as many as are too many, so that the load comes to rest at the capacity.
fn sheds(load: f32, key: u64) -> bool {
    let uniform = (mix(key ^ SHED) >> 40) as f32 / (1u32 << 24) as f32;
    uniform < 1.0 - 1.0 / load
}

/// Makes a viewer's place in the order of who moves away independent of its draws.
const SHED: u64 = 0x5bd1_e995_9d1b_54a3;

fn unusable(view: &NodeView, viewer: &Viewer<'_>) -> Option<Reason> {
    match view.health {
        Health::Down => Some(Reason::Down),
        Health::Draining => Some(Reason::Draining),
        Health::Up => {
            let named = |list: &str| list.split(',').any(|id| id == view.node().id.as_str());
            let excluded = !viewer.exclude.is_empty() && named(viewer.exclude);
            excluded.then_some(Reason::Excluded)
        }
    }
}

/// Gives every usable edge its score, and a draw where it may be among the best.
fn score(snapshot: &Snapshot, viewer: &Viewer<'_>, decision: &mut Decision) {
    let usable = decision.candidates.iter().filter(|it| it.lost.is_none());
    let nearest = usable.map(|it| it.rtt_ms).fold(f32::INFINITY, f32::min);
    for at in 0..decision.candidates.len() {
        let candidate = &mut decision.candidates[at];
        if candidate.lost.is_some() {
            continue;
        }
        let band = ((candidate.rtt_ms - nearest) / snapshot.policy.rtt_slack_ms).floor();
        candidate.rank.band = band;
        candidate.score = Some(band + candidate.load.min(0.999));
        if decision.has_room_for(band) {
            let view = &snapshot.nodes[decision.candidates[at].node];
            decision.candidates[at].rank.draw = draw(viewer.key, view);
            decision.rank(at);
        }
    }
}

/// The edge's draw in the viewer's lottery, smallest first: exponential with the rate of its
/// weight, so that each edge is first in proportion to its weight.
fn draw(key: u64, view: &NodeView) -> f32 {
    let uniform = ((mix(key ^ view.seed) >> 40) as f32 + 1.0) / (1u32 << 24) as f32;
    -uniform.ln() / view.weight()
}

/// Puts the winner first and tells the others why they lost.
fn choose(snapshot: &Snapshot, viewer: &Viewer<'_>, decision: &mut Decision) {
    if decision.count == 0 {
        return;
    }
    let near = |candidate: &Candidate| candidate.score.is_some() && candidate.rank.band == 0.0;
    let kept = viewer.kept.and_then(|number| {
        let kept = |it: &Candidate| near(it) && snapshot.nodes[it.node].number == number;
        decision.candidates.iter().position(kept)
    });
    let kept = kept.map(|at| (at, Hold::Kept));
    let playing = stays(snapshot, viewer, decision).map(|at| (at, Hold::Playing));
    let held = playing.or(kept);
    let drawn = &decision.ranked[..decision.count.min(2)];
    let drawn = [drawn[0], *drawn.last().expect("the count is not zero")];
    let [first, second] = drawn.map(|at| decision.candidates[at]);
    let lighter = if near(&second) && second.load < first.load {
        drawn[1]
    } else {
        drawn[0]
    };
    let chosen = held.map_or(lighter, |(at, _)| at);
    decision.held = held.map(|(_, hold)| hold);
    lead_with(&mut decision.ranked[..decision.count], chosen);
    for (at, candidate) in decision.candidates.iter_mut().enumerate() {
        if candidate.score.is_some() && at != chosen {
            candidate.lost = Some(match (near(candidate), decision.held) {
                (_, Some(Hold::Playing)) => Reason::PlayedElsewhere,
                (false, _) => Reason::Farther,
                (true, Some(Hold::Kept)) => Reason::KeptElsewhere,
                (true, None) if drawn.contains(&at) => Reason::Busier,
                (true, None) => Reason::NotDrawn,
            });
        }
    }
}

/// The candidate that a running player has no reason to leave.
fn stays(snapshot: &Snapshot, viewer: &Viewer<'_>, decision: &Decision) -> Option<usize> {
    let number = viewer.playing?;
    let usable = || decision.candidates.iter().filter(|it| it.score.is_some());
    let settled = usable().filter(|it| snapshot.nodes[it.node].settled);
    let nearest = settled.map(|it| it.rtt_ms).fold(f32::INFINITY, f32::min);
    let farthest = nearest + MOVE_BANDS * snapshot.policy.rtt_slack_ms;
    let here = |it: &Candidate| it.score.is_some() && snapshot.nodes[it.node].number == number;
    let at = decision.candidates.iter().position(here)?;
    (decision.candidates[at].rtt_ms < farthest).then_some(at)
}

/// How much nearer an edge must be for a running player to go there, in slacks: a move costs a
/// player's buffer some time, and one slack is what does not matter even to new viewers.
const MOVE_BANDS: f32 = 2.0;

/// Moves `chosen` to the front, in place of the last one when it was not among them.
fn lead_with(ranked: &mut [usize], chosen: usize) {
    let at = ranked
        .iter()
        .position(|&at| at == chosen)
        .unwrap_or(ranked.len() - 1);
    ranked[at] = chosen;
    ranked[..=at].rotate_right(1);
}

#[cfg(test)]
mod tests;
