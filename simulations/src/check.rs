//! Sans-IO: what must hold of any run, checked on small worlds made of a seed, with edges that die.
//!
//! Traffic is neither lost nor made; edges that are dead or barred carry nothing; an edge is sent
//! more than it may fill only when its regions had nowhere else to go; the bill is what a plain
//! count of samples comes to. Played viewer by viewer, who came has left, was refused, was lost or
//! is there; edges were asked for what viewers asked for and sent no more than they can; and the
//! scheduler lets nobody go while an edge that may be used has plenty of room.

use std::sync::Arc;

use scheduler::plan::billing::{BillingModel, Tariff, bill};
use scheduler::policy::{Policies, Subject, file};

use crate::dice::Dice;
use crate::event::{self, Books, Setup};
use crate::network::Matrix;
use crate::policies::weir::{Nothing, node, region_of};
use crate::policies::{Kind, Setting};
use crate::run::{Known, Motion, Ran, Rule, run};
use crate::world::scenario::{self, Scenario, Window};
use crate::world::{World, generate};

/// Runs rules in the small world of a seed; the first thing that does not hold.
pub fn small_world(seed: u64) -> Result<(), String> {
    let mut dice = Dice::new(seed, "small world");
    let scenario = small(&mut dice);
    let (world, prices) = generate::generate(&scenario, &Matrix::default(), seed);
    let policies = Arc::new(policies(&world, &mut dice));
    let setting = Setting {
        world: &world,
        tariffs: &prices.tariffs,
        policies: policies.clone(),
        foresight: Arc::new(Nothing),
    };
    // Some worlds' viewers are all new in each slot: there the last word of edges is exact.
    let fresh = dice.chance(0.5);
    let motion = Motion {
        session_s: if fresh {
            1.0
        } else {
            dice.between(300.0, 3600.0)
        },
        movable: dice.uniform(),
    };
    for kind in [Kind::Weir, Kind::B1, Kind::B8, Kind::B3] {
        let mut rule = kind.rule(&setting);
        let mut watched = Watched {
            rule: &mut *rule,
            faults: Vec::new(),
        };
        let ran = run(&world, &mut watched, motion, &mut |_| true).ok_or("it stopped")?;
        let mut faults = watched.faults;
        faults.extend(balance(&world, &ran));
        faults.extend(bills(&prices.tariffs, &ran));
        if kind == Kind::Weir {
            faults.extend(barred(&world, (&prices.tariffs, &policies), &ran));
            if fresh {
                faults.extend(full(&world, &ran));
            }
        }
        if let Some(fault) = faults.first() {
            return Err(format!("{kind} in world {seed}: {fault}"));
        }
    }
    for kind in [Kind::Weir, Kind::B1, Kind::B2p] {
        let setup = Setup {
            setting: setting.clone(),
            window: &scenario.window,
            players: &scenario.players,
            streams: &scenario.streams,
            motion,
            seed,
            trace: None,
        };
        let played = event::play(&setup, kind, &mut |_, _| true).ok_or("it stopped")?;
        if let Some(fault) = books(kind, &played.1) {
            return Err(format!("{kind} in world {seed}, viewer by viewer: {fault}"));
        }
    }
    Ok(())
}

/// What does not come out even.
fn books(kind: Kind, it: &Books) -> Option<String> {
    let ended = it.left + it.refused + it.lost + it.there;
    let faults = [
        (it.came != ended, "viewers were lost or made"),
        (
            it.asked_by_viewers != it.asked_of_edges,
            "bits were lost or made",
        ),
        (it.most_sent > 1.0 + 1e-9, "an edge sent more than it can"),
        (it.barred > 0, "an edge served whom it may not"),
        (
            kind.plans() && it.in_vain > 0,
            "somebody found no room where there was some",
        ),
    ];
    let fault = faults.into_iter().find(|(is_so, _)| *is_so)?;
    Some(format!("{}: {it:?}", fault.1))
}

/// Some minutes with everything that may happen.
fn window(dice: &mut Dice) -> Window {
    let minutes = dice.between(4.0, 8.0);
    let mut at = || dice.between(-1.0, minutes);
    let (kill_min, drain_min, crowd_min) = (at(), at(), at());
    Window {
        hour: dice.between(1.0, 23.0),
        minutes,
        warm_up_min: 2.0,
        viewers: dice.between(200.0, 2_000.0),
        schedulers: 1 + dice.index(3) as u32,
        telemetry_s: [1, 2, 10, 30][dice.index(4)],
        heartbeat_loss: dice.between(0.0, 0.02),
        dns: dice.between(0.0, 0.5),
        dns_keep_min: dice.between(0.0, 10.0),
        kill_min,
        dead_min: dice.between(0.5, 3.0),
        drain_min,
        crowd_min,
        crowd: dice.between(0.0, 1.0),
        ..Window::default()
    }
}

/// A day of two to five metros, with edges that are too small at times and die at times.
fn small(dice: &mut Dice) -> Scenario {
    let metros = 2 + dice.index(4);
    let networks = 1 + dice.index(3);
    let mut text = "version = 1\n".to_owned();
    for at in 0..metros {
        let (lat, lon) = (dice.between(-60.0, 60.0), dice.between(-180.0, 180.0));
        let area = dice.index(2);
        text += &format!(
            "[[metro]]\nname = \"m{at}\"\ncountry = \"C{at}\"\narea = \"a{area}\"\nlat = {lat:.3}\n\
             lon = {lon:.3}\nutc_offset_h = 0\nmillion = {}\n",
            1 + dice.index(9)
        );
    }
    for at in 0..networks {
        text += &format!(
            "[[network]]\nname = \"n{at}\"\naccess_ms = {}\n",
            2 + 8 * at
        );
    }
    let mut scenario = scenario::parse("small", &text).expect("the text is sound");
    scenario.time.days = 1;
    scenario.time.history_days = 1;
    scenario.demand.mean_gbps = dice.between(0.5, 50.0);
    scenario.edges.per_metro = 1 + dice.index(2) as u32;
    scenario.edges.per_large_metro = 2;
    scenario.edges.large_metros = 1;
    scenario.edges.capacity_over_peak = dice.between(0.5, 1.6);
    scenario.streams.count = 50;
    scenario.events.crowd_metro = dice.between(0.0, 6.0);
    scenario.events.edge_outage = dice.between(0.0, 8.0);
    scenario.prices.model = ["p95", "daily_peak", "volume"][dice.index(3)].to_owned();
    scenario.prices.edge_spread = dice.between(0.0, 0.8);
    scenario.window = window(&mut dice.clone());
    scenario
}

fn policies(world: &World, dice: &mut Dice) -> Policies {
    let mut text = "version = 1\n[policy.default]\n".to_owned();
    text += &format!(
        "rtt = {{ max_extra_vs_nearest_ms = {:.0} }}\n",
        dice.between(1.0, 200.0)
    );
    if dice.chance(0.5) {
        let edge = &world.edges[dice.index(world.edges.len())];
        text += &format!("placement = {{ deny = [\"{}\"] }}\n", edge.name);
    }
    file::parse(&text).expect("the text is sound")
}

/// A rule whose shares are looked at.
struct Watched<'a> {
    rule: &'a mut dyn Rule,
    faults: Vec<String>,
}

impl Rule for Watched<'_> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn split(&mut self, known: &Known<'_>, shares: &mut [f64]) {
        self.rule.split(known, shares);
        for region in 0..known.world.regions.len() {
            let of = &shares[known.world.range(region)];
            let sum: f64 = of.iter().sum();
            let some = sum.abs() < 1e-6 || (sum - 1.0).abs() < 1e-6;
            if !some || of.iter().any(|share| !(0.0..=1.0 + 1e-9).contains(share)) {
                let slot = known.slot;
                self.faults
                    .push(format!("slot {slot}: region {region} has shares {of:?}"));
            }
        }
    }

    fn carried(&mut self, slot: usize, loads: &[f64]) {
        self.rule.carried(slot, loads);
    }

    fn full_at(&self) -> Option<f64> {
        self.rule.full_at()
    }

    fn may(&self, path: usize) -> bool {
        self.rule.may(path)
    }
}

/// Demand is on edges or lost, and dead edges carry nothing.
fn balance(world: &World, ran: &Ran) -> Option<String> {
    let lost: f64 = ran.days.iter().map(|day| day.lost).sum();
    let mut missing = -lost;
    for (nth, slot) in world.time.billed().enumerate() {
        let asked: f64 = world.demand(slot).iter().map(|it| f64::from(*it)).sum();
        let carried: f64 = ran.loads.iter().map(|loads| loads[nth]).sum();
        missing += asked - carried;
        if carried > asked * (1.0 + 1e-9) + 1e-6 {
            return Some(format!("slot {slot}: {carried} Mbit/s carried of {asked}"));
        }
        for (edge, loads) in ran.loads.iter().enumerate() {
            if loads[nth] > 1e-9 && !world.is_up(edge, slot) {
                return Some(format!(
                    "slot {slot}: edge {edge} is dead and carries {}",
                    loads[nth]
                ));
            }
        }
    }
    (missing.abs() > 1e-6 * ran.volume().max(1.0))
        .then(|| format!("{missing} Mbit/s are neither carried nor lost"))
}

/// Bills come to what plain counting comes to.
fn bills(tariffs: &[Tariff], ran: &Ran) -> Option<String> {
    for (edge, tariff) in tariffs.iter().enumerate() {
        let mut sorted = ran.loads[edge].clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let gb: f64 = sorted.iter().map(|mbps| mbps * 300.0 / 8000.0).sum();
        let mbps = match tariff.model {
            // One day: its highest slot.
            BillingModel::DailyPeak => sorted[0],
            _ => sorted[sorted.len() / 20],
        };
        let counted = match tariff.model {
            BillingModel::Volume => tariff.usd_per_gb * gb.max(tariff.commit_gb),
            _ => tariff.usd_per_mbps_month * mbps.max(tariff.commit_mbps),
        };
        let billed = bill(tariff, &ran.samples(edge));
        if (billed - counted).abs() > 1e-6 * counted.max(1e-3) {
            return Some(format!(
                "edge {edge} is billed {billed} USD, counted {counted}"
            ));
        }
    }
    None
}

/// No traffic goes where the policy bars it.
fn barred(world: &World, (tariffs, policies): (&[Tariff], &Policies), ran: &Ran) -> Option<String> {
    for region in 0..world.regions.len() {
        let subject = Subject {
            region: Some(region_of(world, region)),
            ..Subject::default()
        };
        let placement = &policies.of(&subject).policy.placement;
        for at in world.range(region) {
            let edge = world.paths[at].edge as usize;
            let country = world.metros[world.edges[edge].metro].country.as_deref();
            let name = node(&world.edges[edge].name, edge);
            let usd = Some(tariffs[edge].marginal_usd());
            if ran.by_path[at] > 0.0 && placement.bars(name.as_str(), country, usd).is_some() {
                return Some(format!(
                    "region {region} is served by edge {edge}, which is barred"
                ));
            }
        }
    }
    None
}

/// Where all viewers are new in each slot, an edge is beyond what it may fill only when another one
/// that could take its viewers is full as well.
fn full(world: &World, ran: &Ran) -> Option<String> {
    for (nth, slot) in world.time.billed().enumerate() {
        let room = |edge: usize| world.edges[edge].capacity_mbps - ran.loads[edge][nth];
        let all_room: f64 = (0..world.edges.len())
            .filter(|edge| world.is_up(*edge, slot))
            .map(|edge| room(edge).max(0.0))
            .sum();
        let over = (0..world.edges.len())
            .map(|edge| (-room(edge)).max(0.0))
            .sum::<f64>();
        let reach = |region: usize| world.paths(region).len() == world.edges.len();
        let everywhere = (0..world.regions.len()).all(reach);
        if everywhere && ran.barred == 0 && over > 1e-3 && all_room > 0.1 * capacity(world) {
            return Some(format!(
                "slot {slot}: {over} Mbit/s too much beside {all_room} free"
            ));
        }
    }
    None
}

fn capacity(world: &World) -> f64 {
    world.edges.iter().map(|edge| edge.capacity_mbps).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_small_worlds_keep_what_must_hold() {
        for seed in 0..6 {
            small_world(seed).unwrap();
        }
    }
}
