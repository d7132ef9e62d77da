//! The rules on worlds in folders, a line each: `cargo run --release --example fluid -p simulations
//! -- FOLDER [PRICES] [POLICY.toml]`.

#![allow(clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use scheduler::plan::billing::bill;
use scheduler::policy::{Policies, file};
use simulations::policies::nearest::{Geographic, Spill};
use simulations::policies::weir::{Nothing, Weir};
use simulations::run::{Motion, Rule, run};
use simulations::world::folder;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let of = |at: usize| arguments.get(at).map(String::as_str);
    let only = of(1).unwrap_or("");
    let policies = match of(2) {
        Some(path) => file::parse(&std::fs::read_to_string(path)?)
            .map_err(|faults| anyhow::anyhow!(file::lines(path, &faults)))?,
        None => Policies::default(),
    };
    let policies = Arc::new(policies);
    for folder in folder::worlds_at(Path::new(of(0).unwrap_or(".")))? {
        let (world, all) = folder::read(&folder)?;
        for prices in all
            .iter()
            .filter(|prices| only.is_empty() || prices.name == only)
        {
            let tariffs = &prices.tariffs;
            let mut rules: Vec<Box<dyn Rule>> = vec![
                Box::new(Spill::nearest(&world, 0.85)),
                Box::new(Geographic::new(&world)),
                Box::new(Spill::cheapest(&world, tariffs, 25.0)),
                Box::new(Weir::new(
                    &world,
                    tariffs,
                    policies.clone(),
                    Arc::new(Nothing),
                )),
            ];
            let mut against = None;
            for rule in &mut rules {
                let began = Instant::now();
                let Some(ran) = run(&world, &mut **rule, Motion::AT_ONCE, &mut |_| true) else {
                    continue;
                };
                let edges = tariffs.iter().enumerate();
                let usd: f64 = edges.map(|(edge, it)| bill(it, &ran.samples(edge))).sum();
                let against = *against.get_or_insert(usd);
                let moved: f64 = ran.days.iter().map(|day| day.moved).sum();
                let minutes = f64::from(world.time.step_s) / 60.0;
                println!(
                    "{} {} {:5} {usd:12.2} saved {:6.2} % rtt {:5.1} {:5.1} mean {:6.2} \
                     overload {:6.0} min moved {:.3} % a minute, {:.1} s",
                    world.name,
                    prices.name,
                    ran.rule,
                    100.0 * (1.0 - usd / against),
                    ran.rtt_ms(&world, 0.5),
                    ran.rtt_ms(&world, 0.95),
                    ran.mean_rtt_ms(&world),
                    ran.overload_min(&world),
                    100.0 * moved / ran.volume() / minutes,
                    began.elapsed().as_secs_f64(),
                );
            }
        }
    }
    Ok(())
}
