//! The fluid engine: the scenario that Weir ships, 28 days of 192 regions and 80 edges, under the planner and under
//! the rules beside it; and what the forecast costs before. Then the event engine: a million viewers within an hour of
//! it, with the memory that this takes.

#![allow(clippy::unwrap_used)]

use scheduler::policy::Policies;
use simulations::{
    event::{self, Setup},
    forecast::{Expected, Told},
    network::Matrix,
    policies::{Kind, Setting},
    report::draws::Draws,
    run::Motion,
    study::Case,
    world::{
        generate::generate,
        scenario::{self, Scenario, Window},
    },
};
use std::{sync::Arc, time::Instant};

fn main() {
    let scenario = scenario::parse("built-in", scenario::DEFAULT).unwrap();
    let began = Instant::now();
    let (world, prices) = generate(&scenario, &Matrix::default(), 1);
    let seconds = began.elapsed().as_secs_f64();
    let (regions, edges) = (world.regions.len(), world.edges.len());
    println!(
        "world of {} days, {regions} regions, {edges} edges made in {seconds:.2} s",
        world.time.days()
    );
    let began = Instant::now();
    let expected = Expected::of(&world, Told::Ours);
    println!(
        "forecast of all regions, one core: {:.2} s",
        began.elapsed().as_secs_f64()
    );
    let players = &scenario.players;
    let draws = Draws::new(world.time.days(), 1000, 1);
    let case = Case {
        world: &world,
        prices: &prices,
        policies: Arc::new(Policies::default()),
        foresight: Arc::new(expected),
        motion: Motion::of_players(scenario.demand.session_min * 60.0, players.movable()),
        draws: &draws,
    };
    for kind in [Kind::B1, Kind::B8, Kind::B4, Kind::Weir] {
        let began = Instant::now();
        let cell = case.cell(kind, &mut |_| true).unwrap();
        println!(
            "{kind:5} {:.2} s a month on one core; {:.0} USD, {:.0} edge-minutes of overload",
            began.elapsed().as_secs_f64(),
            cell.figures.usd,
            cell.figures.overload_edge_min
        );
    }
    let began = Instant::now();
    let bound = case.bound().unwrap();
    println!(
        "O2    {:.2} s; {bound:.0} USD",
        began.elapsed().as_secs_f64()
    );
    viewers(&case, &scenario);
}

/// A million viewers in an hour, who are moved, thrown out by a dying edge and joined by a crowd.
fn viewers(case: &Case<'_>, scenario: &Scenario) {
    let window = Window {
        viewers: 1e6,
        ..scenario.window.clone()
    };
    let setup = Setup {
        setting: Setting {
            world: case.world,
            tariffs: &case.prices.tariffs,
            policies: case.policies.clone(),
            foresight: case.foresight.clone(),
        },
        window: &window,
        players: &scenario.players,
        streams: &scenario.streams,
        motion: case.motion,
        seed: 1,
        trace: None,
    };
    for kind in [Kind::B1, Kind::Weir] {
        let began = Instant::now();
        let (quality, books) = event::play(&setup, kind, &mut |_, _| true).unwrap();
        println!(
            "{kind:5} {:.1} s for {} viewers in {:.0} minutes, at most {} at a time; {} lost, {:.4} % of the time without \
             a picture; {} MB at most so far",
            began.elapsed().as_secs_f64(),
            quality.figures.viewers,
            window.minutes,
            books.peak,
            quality.figures.lost,
            100.0 * quality.figures.rebuffer_ratio,
            most_resident() >> 20
        );
    }
}

/// The most memory that this process ever held.
fn most_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
