//! Sans-IO: the draw among edges that are near enough: chances by cost, and who draws together.

use super::{Candidate, LOTTERY, Look, Rank, TICKETS};
use crate::market::Home;
use crate::snapshot::{hash, mix, uniform};

impl Look<'_> {
    /// Gives every ticket its chance and its draw; whether all had the same chance, to explore.
    pub(super) fn draw(
        &self,
        candidates: &mut [Candidate],
        tickets: &[usize],
        home: Option<&Home>,
    ) -> bool {
        let small = home.is_some_and(|home| home.buckets <= 1);
        let own = |at: &usize| self.view(&candidates[*at]).pathway.is_none();
        let explores = !small
            && uniform(mix(self.viewer.key ^ EXPLORE)) < self.policy.explore
            && tickets.iter().any(own);
        let mut chances = [0.0; TICKETS];
        let chances = &mut chances[..tickets.len()];
        self.chances(candidates, tickets, chances);
        if explores {
            // Nobody is sent away for money to learn something.
            for (chance, at) in chances.iter_mut().zip(tickets) {
                *chance = f64::from(u8::from(own(at)));
            }
            normalise(chances);
        }
        let key = self.lottery(home);
        for (&at, &chance) in tickets.iter().zip(chances.iter()) {
            let candidate = &mut candidates[at];
            let drawn = uniform(mix(key ^ self.snapshot.nodes[candidate.node].seed));
            candidate.chance = chance;
            candidate.rank = Rank {
                tier: LOTTERY,
                key: -libm::log(drawn) / chance.max(f64::MIN_POSITIVE),
            };
        }
        explores && tickets.len() > 1
    }

    /// What viewers are steered together by: all of a small stream, else each for itself.
    fn lottery(&self, home: Option<&Home>) -> u64 {
        let (Some(home), Some(stream)) = (home, self.viewer.stream) else {
            return self.viewer.key;
        };
        let bucket = self.viewer.key % u64::from(home.buckets.max(1));
        let region = hash(self.viewer.located.region.as_str().as_bytes());
        mix(hash(stream.as_str().as_bytes()) ^ mix(bucket ^ region))
    }

    /// The chances of the tickets by cost (softmin), corrected by how far each edge's load is from
    /// the share of their common load that was planned for it.
    fn chances(&self, candidates: &[Candidate], tickets: &[usize], into: &mut [f64]) {
        let cost = |at: usize| candidates[at].cost.unwrap_or(f64::INFINITY);
        let cheapest = tickets.iter().map(|&at| cost(at));
        let cheapest = cheapest.fold(f64::INFINITY, f64::min);
        let tau = self.snapshot.market.tau;
        for (chance, &at) in into.iter_mut().zip(tickets) {
            let weight = f64::from(self.snapshot.nodes[candidates[at].node].weight());
            *chance = weight * libm::exp((cheapest - cost(at)) / tau);
        }
        normalise(into);
        let view = |at: usize| self.view(&candidates[at]);
        let planned = tickets.iter().all(|&at| view(at).quote.is_some());
        let expected = |at: usize, chance: f64| match view(at).quote {
            Some(quote) if planned => quote.planned_bps,
            _ => chance,
        };
        let all = || tickets.iter().zip(into.iter());
        let plan: f64 = all().map(|(&at, &chance)| expected(at, chance)).sum();
        // What is at an external pathway says nothing of our edges.
        let own = |at: usize| view(at).pathway.is_none();
        let mut carried = [0.0; TICKETS];
        let (mut sum, mut shares) = (0.0, 0.0);
        for (carried, (&at, &chance)) in carried.iter_mut().zip(all()) {
            // Nothing can be said of how far an edge is from nothing.
            let expected = expected(at, chance).max(LEAST_SHARE * plan);
            *carried = view(at).carried_bps() as f64 / expected;
            if own(at) {
                sum += *carried * chance;
                shares += chance;
            }
        }
        let mean = sum / shares;
        if !mean.is_normal() {
            return;
        }
        let all = into.iter_mut().zip(carried).zip(tickets);
        for ((chance, carried), _) in all.filter(|(_, at)| own(**at)) {
            let error = carried / mean - 1.0;
            *chance *= (1.0 - CORRECTION * error).clamp(LEAST_CORRECTED, MOST_CORRECTED);
        }
        normalise(into);
    }
}

/// Makes chances add up to 1; where they are none at all, equal ones.
fn normalise(chances: &mut [f64]) {
    let sum: f64 = chances.iter().sum();
    if sum.is_normal() {
        chances.iter_mut().for_each(|chance| *chance /= sum);
    } else {
        let equal = 1.0 / chances.len() as f64;
        chances.fill(equal);
    }
}

/// Makes who explores independent of its draws.
const EXPLORE: u64 = 0x2127_599b_f432_5c37;

/// By how much a chance shrinks for each share that an edge carries more than was planned. Viewers
/// stay some minutes, so that within a telemetry interval only few of the load change place.
const CORRECTION: f64 = 4.0;
/// However wrong a plan is, prices stay the main thing.
const LEAST_CORRECTED: f64 = 0.5;
const MOST_CORRECTED: f64 = 1.5;

/// The share of what was planned for all of a lottery's edges that each is taken to have at least.
const LEAST_SHARE: f64 = 0.01;
