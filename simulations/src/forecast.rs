//! Sans-IO: what the planner expects in a world: the production forecaster, a slot ahead.
//!
//! Each region's series is followed from the world's first slot on by [`models::forecast`], whose
//! quantiles are factors of what was asked for last, as the planner takes them. An announced event
//! lifts them along its planned ramp from the moment it is known. Demand is nobody's doing here, so
//! a forecast holds for all rules and prices of a world.

use models::calendar::{Calendar, Events};
use models::forecast::{Context, Forecast, Forecaster};
use scheduler::plan::view::Outlook;

use crate::policies::weir::Foresight;
use crate::world::{Event, World};

/// Outlooks of all billed slots of a world.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    first: usize,
    /// By region and then billed slot.
    regions: Vec<Vec<Outlook>>,
}

impl Expected {
    /// Of a world, from [`of_region`] for each of its regions.
    pub fn new(world: &World, regions: Vec<Vec<Outlook>>) -> Self {
        Self {
            first: world.time.billed_from,
            regions,
        }
    }
}

impl Foresight for Expected {
    fn outlook(&self, slot: usize, region: usize) -> Outlook {
        let of = self.regions.get(region);
        let outlook = of.and_then(|of| of.get(slot.checked_sub(self.first)?));
        outlook.copied().unwrap_or(Outlook::STEADY)
    }
}

/// What is expected of a region in each billed slot, from the slots before it.
pub fn of_region(world: &World, region: usize) -> Vec<Outlook> {
    let step_s = world.time.step_s;
    let mut forecaster = Forecaster::new(Calendar::default().clock(step_s), &[1]);
    let none = Events::default();
    let context = Context {
        flow: None,
        events: &none,
        learned: &[],
    };
    let first_step = world.time.start_s.div_euclid(i64::from(step_s));
    let mine = |event: &&Event| event.metros.contains(&world.regions[region].metro);
    let events: Vec<&Event> = world.events.iter().filter(mine).collect();
    let mut outlooks = Vec::with_capacity(world.time.billed().len());
    let mut said: Option<Forecast> = None;
    for slot in 0..world.time.slots {
        if slot >= world.time.billed_from {
            let lift = lift(&events, slot, world.time.step_s);
            let last = slot.checked_sub(1).map(|slot| world.demand(slot)[region]);
            outlooks.push(outlook(said.as_ref(), last, lift));
        }
        let value = f64::from(world.demand(slot)[region]);
        let forecasts = forecaster.update((first_step + slot as i64, value), context);
        said = forecasts.into_iter().next();
    }
    outlooks
}

fn outlook(said: Option<&Forecast>, last: Option<f32>, lift: f64) -> Outlook {
    let Some((said, last)) = said.zip(last.filter(|last| *last > 0.0)) else {
        return Outlook {
            median: lift,
            quantiles: [lift; 3],
            risk: 0.0,
        };
    };
    let factor = |value: f64| {
        let factor = lift * value / f64::from(last);
        factor.clamp(1.0 / MOST_CHANGE, MOST_CHANGE)
    };
    Outlook {
        median: factor(said.median),
        quantiles: said.quantiles.map(factor),
        risk: 0.0,
    }
}

/// By how much announced events are to change demand from the slot before to this one.
fn lift(events: &[&Event], slot: usize, step_s: u32) -> f64 {
    let ramp = (RAMP_S / step_s).max(1) as f64;
    let at = |event: &Event, slot: usize| {
        let end = event.start + event.slots;
        if slot < event.start || slot >= end || event.announced > slot {
            return 1.0;
        }
        let up = (slot - event.start + 1) as f64 / ramp;
        let down = (end - slot) as f64 / ramp;
        1.0 + (event.multiplier - 1.0) * up.min(down).min(1.0)
    };
    let change = |event: &&Event| at(event, slot) / at(event, slot.saturating_sub(1));
    events.iter().map(change).product()
}

/// As the planner bounds it.
const MOST_CHANGE: f64 = 10.0;
/// Ramps as announced: those of the reference worlds.
const RAMP_S: u32 = 1200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Matrix;
    use crate::world::{generate, scenario};

    #[test]
    fn expectations_follow_the_day_and_what_is_announced_and_know_no_future() {
        let text = "version = 1\n[time]\ndays = 2\nhistory_days = 3\n[events]\narea = 0\nmetro = 0\n\
                    world = 0\ncrowd_metro = 0\ncrowd_area = 0\nregion_outage = 0\n\
                    [[event]]\nday = 1\nhour = 12.0\nminutes = 120\n\
                    multiplier = 3.0\nannounced_h = 6\n\
                    [[metro]]\nname = \"a\"\narea = \"x\"\nlat = 1\nlon = 2\nutc_offset_h = 0\nmillion = 1\n\
                    [[network]]\nname = \"n\"\naccess_ms = 5\n";
        let scenario = scenario::parse("small", text).unwrap();
        let (mut world, _) = generate::generate(&scenario, &Matrix::default(), 1);
        let outlooks = of_region(&world, 0);
        assert_eq!(outlooks.len(), 2 * 288);
        let first = world.time.billed_from;
        let held = (0..288).filter(|at| {
            let change = world.demand(first + at)[0] / world.demand(first + at - 1)[0];
            f64::from(change) <= outlooks[*at].quantiles[0]
        });
        assert!((230..=285).contains(&held.count()));
        assert!(outlooks.iter().all(|it| it.median <= it.quantiles[0]));
        // A quarter of the ramp of an event that trebles demand.
        assert!(
            outlooks[288 + 144].median > 1.35,
            "{:?}",
            outlooks[288 + 144]
        );
        // What is not over is not looked at.
        let from = world.time.billed_from + 288;
        world.demand[from..].iter_mut().for_each(|it| *it *= 7.0);
        assert_eq!(of_region(&world, 0)[..=288], outlooks[..=288]);
    }
}
