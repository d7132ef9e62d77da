//! The fluid engine: the scenario that Weir ships, 28 days of 192 regions and 80 edges, under the planner and under
//! the rules beside it; and what the forecast costs before.

#![allow(clippy::unwrap_used)]

use scheduler::policy::Policies;
use simulations::{
    forecast::{Expected, of_region},
    network::Matrix,
    policies::Kind,
    report::draws::Draws,
    run::Motion,
    study::Case,
    world::{generate::generate, scenario},
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
    let expected = (0..regions)
        .map(|region| of_region(&world, region))
        .collect();
    let expected = Expected::new(&world, expected);
    println!(
        "forecast of all regions, one core: {:.2} s",
        began.elapsed().as_secs_f64()
    );
    let players = &scenario.players;
    let draws = Draws::new(world.time.days(), 1000, 1);
    let case = Case {
        world: &world,
        tariffs: &prices.tariffs,
        policies: Arc::new(Policies::default()),
        foresight: Arc::new(expected),
        motion: Motion::of_players(
            scenario.demand.session_min * 60.0,
            players.hls + players.flv,
        ),
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
}
