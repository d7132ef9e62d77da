//! Sans-IO: which edges go beyond their levels: few of them far, in place of many a little.
//!
//! Where slots are billed, one costs the same however far beyond its level an edge goes. So edges
//! that did before take what fits below no level, and another one is opened only where they cannot.
//! The cheapest flow, being a vertex, opens few.

use super::ascent::Ascent;
use super::flow::Flow;
use super::{LARGEST, Problem, Split, Supply, soften};

/// What it means for an edge to go beyond its level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Burst {
    /// Each bit costs what it costs: that is no burst.
    #[default]
    Never,
    /// It would use a slot up.
    Shut,
    /// It does, and the slot is used up anyway.
    Open,
}

impl Burst {
    /// What a bit beyond the level costs such an edge.
    pub fn weigh(self, supply: &mut Supply) {
        supply.beyond *= match self {
            Self::Never => 1.0,
            Self::Shut => SHUT,
            Self::Open => OPEN,
        };
    }
}

/// Like [`super::split`], with few edges beyond their levels; `bursts` says by edge which were
/// before, and is left as those that are now.
///
/// Cost, bound and prices are those of supplies as their bursts weigh them.
pub fn concentrate(problem: &Problem, bursts: &mut [Burst], start: Option<&[f64]>) -> Split {
    let (weighed, flow) = open(problem, bursts, start);
    soften(Ascent::new(&weighed), &flow)
}

/// Like [`concentrate`], but sharp: prices and loads by edge of the cheapest flow.
pub fn rehearse(
    problem: &Problem,
    bursts: &mut [Burst],
    start: Option<&[f64]>,
) -> (Vec<f64>, Vec<f64>) {
    let (_, flow) = open(problem, bursts, start);
    (flow.prices, flow.loads)
}

fn open(problem: &Problem, bursts: &mut [Burst], start: Option<&[f64]>) -> (Problem, Flow) {
    let mut weighed = weigh(problem, bursts);
    let mut flow = Ascent::new(&weighed).flow(start);
    for _ in 0..ROUNDS {
        let mut any = false;
        for (edge, burst) in bursts.iter_mut().enumerate() {
            if *burst == Burst::Shut && is_beyond(&problem.supplies[edge], flow.loads[edge]) {
                *burst = Burst::Open;
                any = true;
            }
        }
        if !any {
            break;
        }
        weighed = weigh(problem, bursts);
        flow = Ascent::new(&weighed).flow(Some(&flow.prices));
    }
    for (edge, burst) in bursts.iter_mut().enumerate() {
        *burst = match is_beyond(&problem.supplies[edge], flow.loads[edge]) {
            _ if *burst == Burst::Never => Burst::Never,
            true => Burst::Open,
            false => Burst::Shut,
        };
    }
    (weighed, flow)
}

fn weigh(problem: &Problem, bursts: &[Burst]) -> Problem {
    let mut weighed = problem.clone();
    for (supply, burst) in weighed.supplies.iter_mut().zip(bursts) {
        burst.weigh(supply);
    }
    weighed
}

fn is_beyond(supply: &Supply, load: f64) -> bool {
    let room = supply.limit - supply.level;
    room > 0.0 && room < LARGEST && load - supply.level > SLIGHTLY * room
}

/// What a bit beyond the level costs in a slot that is used up anyway, as a part of its price: not
/// nothing, so that a burst ends when others have room.
const OPEN: f64 = 0.3;
/// What it costs in a slot that would have to be used up: a detour is cheaper.
const SHUT: f64 = 3.0;
/// The part of its room that an edge goes beyond its level by rounding.
const SLIGHTLY: f64 = 1e-3;
/// Those opened first take what others would have been opened for.
const ROUNDS: u32 = 2;
