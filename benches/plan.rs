//! Planning: what a split and a whole replan cost in time and memory, how near a split is to the
//! cheapest, and how even loads stay that are known late.
//!
//! Made regions and edges on a square; an offer costs its distance and the edge's price. Of 1000
//! regions, 500 edges and 8 offers each the gap is to the split's own certified bound; of 200
//! regions and 80 edges also to the exact solution by clarabel, an interior-point solver.

// Of the process' own memory one function is used.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "rig/herding.rs"]
mod herding;
#[path = "rig/process.rs"]
mod process;
#[path = "rig/replan.rs"]
mod replan;

use clarabel::{
    algebra::CscMatrix,
    solver::{DefaultSettings, DefaultSolver, IPSolver, SupportedConeT},
};
use scheduler::plan::split::{Burst, Offer, Problem, Split, Supply, concentrate, split};
use std::{hint::black_box, time::Instant};

const OFFERS: usize = 8;

fn main() {
    splits();
    KINDS.into_iter().for_each(replan::run);
    for joins_per_s in [200, 2_000] {
        loads(joins_per_s);
    }
}

const EASY: replan::Kind = replan::Kind {
    name: "half of the room asked for",
    used: 0.5,
    spread: 4.0,
    goal: 0.6,
    drift: 0.03,
};

/// From easy to hard: demand near and above what limits let through, prices far apart and alike,
/// no levels yet, demand that jumps.
const KINDS: [replan::Kind; 6] = [
    EASY,
    replan::Kind {
        name: "three quarters, equal prices",
        used: 0.75,
        spread: 1.0,
        ..EASY
    },
    replan::Kind {
        name: "three quarters, prices 1 to 100, demand moves by 10 %",
        used: 0.75,
        spread: 100.0,
        drift: 0.1,
        ..EASY
    },
    replan::Kind {
        name: "three quarters, no levels yet, demand moves by 30 %",
        used: 0.75,
        goal: 0.0,
        drift: 0.3,
        ..EASY
    },
    replan::Kind {
        name: "nine tenths",
        used: 0.9,
        ..EASY
    },
    replan::Kind {
        name: "a tenth too much",
        used: 1.1,
        ..EASY
    },
];

/// Max over mean load with telemetry of different age.
fn loads(joins_per_s: usize) {
    println!("max over mean load, {joins_per_s} joins/s, four schedulers");
    for age_s in [5, 30, 120] {
        let by = |by| herding::worst(by, joins_per_s, age_s);
        println!(
            "  telemetry {age_s:>3} s old: {:.3}, by least load {:.3}",
            by(herding::By::Weir),
            by(herding::By::LeastLoaded),
        );
    }
}

fn splits() {
    let before = process::resident(std::process::id());
    let mut kept = 0;
    for (name, levels, used) in [
        ("limits, half used", false, 0.5),
        ("limits, three quarters used", false, 0.75),
        ("levels, half used", true, 0.5),
        ("levels, three quarters used", true, 0.75),
    ] {
        println!("{name}");
        let world = world(1, (1000, 500), used, levels);
        let cold = report("1000 x 500 x 8, cold", &world, None);
        let mut dice = Dice(2);
        let mut next = world.clone();
        let moved = |demand: &mut f64| *demand *= 0.97 + 0.06 * dice.roll();
        next.demand.iter_mut().for_each(moved);
        let warm = Some(&cold.prices[..]);
        report("1000 x 500 x 8, warm", &next, warm);
        if levels {
            let began = Instant::now();
            let mut bursts = vec![Burst::Shut; next.supplies.len()];
            let found = concentrate(&next, &mut bursts, warm);
            println!(
                "  the same, few edges bursting fully: {:.1} ms, {} rounds, gap {:.3} %",
                began.elapsed().as_secs_f64() * 1e3,
                found.rounds,
                found.gap() * 100.0
            );
        }
        kept = kept.max(process::resident(std::process::id()) - before);
        beside_exact(&self::world(1, (200, 80), used, levels));
    }
    println!(
        "at most {} kB resident for problems and splits",
        kept / 1000
    );
}

/// Numbers between 0 and 1 by a seed.
pub struct Dice(pub u64);

impl Dice {
    /// The next one.
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
    }
}

fn world(seed: u64, (regions, edges): (usize, usize), used: f64, levels: bool) -> Problem {
    let mut dice = Dice(seed);
    let places: Vec<[f64; 4]> = (0..edges)
        .map(|_| {
            [
                dice.roll(),
                dice.roll(),
                0.4 + 1.2 * dice.roll(),
                0.5 + dice.roll(),
            ]
        })
        .collect();
    let mut problem = Problem {
        starts: vec![0],
        ..Problem::default()
    };
    for _ in 0..regions {
        let (x, y) = (dice.roll(), dice.roll());
        problem.demand.push(5e9 * (0.1 + dice.roll()).powi(3));
        let far = |place: &[f64; 4]| 2.0 * (place[0] - x).hypot(place[1] - y);
        let mut near: Vec<(f64, usize)> = places
            .iter()
            .enumerate()
            .map(|(edge, place)| (far(place) + 0.05 * dice.roll(), edge))
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        problem
            .offers
            .extend(near.iter().take(OFFERS).map(|(far, edge)| Offer {
                edge: *edge as u32,
                cost: far + if levels { 0.2 } else { 1.0 } * places[*edge][2],
            }));
        problem.starts.push(problem.offers.len() as u32);
    }
    let demand: f64 = problem.demand.iter().sum();
    let weights: f64 = places.iter().map(|place| place[3]).sum();
    let supply = |place: &[f64; 4]| {
        let limit = place[3] / weights * demand / used;
        Supply {
            level: if levels { 0.6 * limit } else { limit },
            beyond: if levels { 1.5 * place[2] } else { 0.0 },
            limit,
            weight: limit,
        }
    };
    problem.supplies = places.iter().map(supply).collect();
    problem
}

fn report(name: &str, problem: &Problem, start: Option<&[f64]>) -> Split {
    let mut times = Vec::new();
    let mut found = Split::default();
    for _ in 0..REPEATS {
        let began = Instant::now();
        found = black_box(split(black_box(problem), start));
        times.push(began.elapsed());
    }
    times.sort();
    println!(
        "  {name}: {:.1} ms (worst of {REPEATS} {:.1}), {} rounds, gap {:.3} %, overload {:.0} bit/s",
        times[REPEATS / 2].as_secs_f64() * 1e3,
        times[REPEATS - 1].as_secs_f64() * 1e3,
        found.rounds,
        found.gap() * 100.0,
        found.overload,
    );
    found
}

const REPEATS: usize = 9;

fn beside_exact(problem: &Problem) {
    let found = report("200 x 80 x 8, cold", problem, None);
    let began = Instant::now();
    let exact = exact(problem);
    println!(
        "  clarabel: {:.1} ms; the split costs {:.3} % more, the bound is {:.3} % below",
        began.elapsed().as_secs_f64() * 1e3,
        (found.cost / exact - 1.0) * 100.0,
        (1.0 - found.bound / exact) * 100.0,
    );
}

/// The least cost of flows and of what lies beyond levels, demand scaled to 1.
fn exact(problem: &Problem) -> f64 {
    let (flows, edges) = (problem.offers.len(), problem.supplies.len());
    let regions = problem.demand.len();
    let demand: f64 = problem.demand.iter().sum();
    let mut costs: Vec<f64> = problem.offers.iter().map(|offer| offer.cost).collect();
    costs.extend(problem.supplies.iter().map(|supply| supply.beyond));
    let mut cells: Vec<(usize, usize, f64)> = Vec::new();
    for region in 0..regions {
        let range = problem.starts[region]..problem.starts[region + 1];
        cells.extend(range.map(|flow| (region, flow as usize, 1.0)));
    }
    for (flow, offer) in problem.offers.iter().enumerate() {
        cells.push((regions + offer.edge as usize, flow, 1.0));
        cells.push((regions + edges + offer.edge as usize, flow, 1.0));
    }
    cells.extend((0..edges).map(|edge| (regions + edge, flows + edge, -1.0)));
    let sign = |column| (regions + 2 * edges + column, column, -1.0);
    cells.extend((0..flows + edges).map(sign));
    let mut right: Vec<f64> = problem.demand.iter().map(|it| it / demand).collect();
    right.extend(problem.supplies.iter().map(|supply| supply.level / demand));
    right.extend(problem.supplies.iter().map(|supply| supply.limit / demand));
    right.resize(right.len() + flows + edges, 0.0);
    let matrix = CscMatrix::new_from_triplets(
        right.len(),
        costs.len(),
        cells.iter().map(|cell| cell.0).collect(),
        cells.iter().map(|cell| cell.1).collect(),
        cells.iter().map(|cell| cell.2).collect(),
    );
    let cones = [
        SupportedConeT::ZeroConeT(regions),
        SupportedConeT::NonnegativeConeT(right.len() - regions),
    ];
    let settings = DefaultSettings {
        verbose: false,
        ..DefaultSettings::default()
    };
    let none = CscMatrix::zeros((costs.len(), costs.len()));
    let solver = DefaultSolver::new(&none, &costs, &matrix, &right, &cones, settings);
    let mut solver = solver.expect("the sizes fit");
    solver.solve();
    solver.solution.obj_val * demand
}
