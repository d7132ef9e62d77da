//! The rules on worlds in folders, a line each: `cargo run --release --example fluid -p simulations
//! -- FOLDER [PRICES] [POLICY.toml]`.

#![allow(clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use scheduler::plan::billing::bill;
use scheduler::policy::{Policies, file};
use simulations::forecast::{Expected, Told, of_region};
use simulations::policies::nearest::{Geographic, Spill};
use simulations::policies::weir::Foresight;
use simulations::policies::{Kind, Setting};
use simulations::relay::Day;
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
        let outlooks = (0..world.regions.len()).map(|region| of_region(&world, region, Told::Ours));
        let foresight: Arc<dyn Foresight> = Arc::new(Expected::new(&world, outlooks.collect()));
        for prices in all
            .iter()
            .filter(|prices| only.is_empty() || prices.name == only)
        {
            let tariffs = &prices.tariffs;
            let setting = Setting {
                world: &world,
                tariffs,
                policies: policies.clone(),
                foresight: foresight.clone(),
            };
            let mut rules: Vec<Box<dyn Rule>> = vec![
                Box::new(Spill::nearest(&world, 0.85)),
                Box::new(Geographic::new(&world)),
                Kind::B5.rule(&setting),
                Kind::B6.rule(&setting),
                Kind::B7.rule(&setting),
                Box::new(Spill::cheapest(&world, tariffs, 25.0)),
                Kind::Weir.rule(&setting),
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
                relayed(&ran.relayed.days);
            }
        }
    }
    Ok(())
}

/// What nodes took from nodes, in the mean of the slots that were looked at.
fn relayed(days: &[Day]) {
    let mean = |of: fn(&Day) -> f64| {
        let slots: usize = days.iter().map(|day| day.slots).sum();
        days.iter().map(of).sum::<f64>() / slots as f64
    };
    let served = mean(|day| day.served);
    println!(
        "  relayed {:.0} Mbit/s of {served:.0}, long {:.0}, of origins {:.0}, {:.2} hops, {:.1} ms, rtt {:.2} off {:.3}",
        mean(|day| day.relayed),
        mean(|day| day.long_haul),
        mean(|day| day.origin),
        mean(|day| day.hops) / served,
        mean(|day| day.way_ms) / served,
        mean(|day| day.rtt_ms),
        mean(|day| day.off),
    );
}
