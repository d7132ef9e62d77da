//! Sans-IO: what the planner is told of the demand of a world: the production forecaster's word a
//! slot ahead, or another's to compare with.
//!
//! Each region's series is followed from the world's first slot on by [`models::forecast`];
//! announced events, once they are known, are heeded by the scheduler's own rule
//! ([`scheduler::forecast::heeding`]). Demand is nobody's doing here, so what is told holds for all
//! rules and prices of a world.

use std::convert::Infallible;

use models::calendar::{self, Calendar};
use models::conformal::Band;
use models::forecast::{Context, Forecaster};
use models::train::QUANTILES;
use scheduler::forecast::{Crowds, Hints, heeding};
use scheduler::plan::view::Outlook;

use crate::policies::weir::Foresight;
use crate::world::{Event, World};

/// What the planner is told of demand to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// What will be.
    Perfect,
    /// What production forecasts, announced events heeded.
    Ours,
    /// The same when nobody announces events.
    Unannounced,
    /// That it stays, within what it moved by lately.
    Persistence,
    /// Nothing: that it stays, and no word of how sure that is.
    Nothing,
}

impl Told {
    /// From the most to the least.
    pub const ALL: [Self; 5] = [
        Self::Perfect,
        Self::Ours,
        Self::Unannounced,
        Self::Persistence,
        Self::Nothing,
    ];

    /// What it is called in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Perfect => "perfect",
            Self::Ours => "ours",
            Self::Unannounced => "unannounced",
            Self::Persistence => "persistence",
            Self::Nothing => "none",
        }
    }

    /// What it is, for people.
    pub fn says(self) -> &'static str {
        match self {
            Self::Perfect => "demand known beforehand",
            Self::Ours => "Weir's forecast",
            Self::Unannounced => "Weir's forecast, no event announced",
            Self::Persistence => "as much as now, within recent changes",
            Self::Nothing => "no forecast",
        }
    }
}

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

    /// Of a world, one region after the other.
    pub fn of(world: &World, told: Told) -> Self {
        let regions = 0..world.regions.len();
        Self::new(
            world,
            regions.map(|it| of_region(world, it, told)).collect(),
        )
    }
}

impl Foresight for Expected {
    fn outlook(&self, slot: usize, region: usize) -> Outlook {
        let of = self.regions.get(region);
        let outlook = of.and_then(|of| of.get(slot.checked_sub(self.first)?));
        outlook.copied().unwrap_or(Outlook::STEADY)
    }
}

/// What is told of a region before each billed slot, from the slots before it.
pub fn of_region(world: &World, region: usize, told: Told) -> Vec<Outlook> {
    let outlooks = ahead(world, region, told, &[1]);
    outlooks.into_iter().flatten().collect()
}

/// The same at several horizons, in slots from the last that is over; factors of what that had.
pub fn ahead(world: &World, region: usize, told: Told, aheads: &[usize]) -> Vec<Vec<Outlook>> {
    let at = |slot: usize| f64::from(world.demand(slot.min(world.time.slots - 1))[region]);
    let mut voice: Box<dyn Voice> = match told {
        Told::Perfect => Box::new(Knows(aheads)),
        Told::Nothing => Box::new(Mute(aheads.len())),
        Told::Persistence => Box::new(Stays::new(world.time.day(), aheads)),
        Told::Ours => Box::new(Ours::new(world, Some(region), aheads)),
        Told::Unannounced => Box::new(Ours::new(world, None, aheads)),
    };
    let mut outlooks = Vec::with_capacity(world.time.billed().len());
    for slot in 0..world.time.slots {
        let said = match slot {
            0 => vec![Outlook::STEADY; aheads.len()],
            slot => voice.speak(slot, &at),
        };
        if slot >= world.time.billed_from {
            outlooks.push(said);
        }
    }
    outlooks
}

/// Who speaks of slots to come from those before.
trait Voice {
    /// Takes what the slot before this one came to, and says what is to come, one for each horizon.
    fn speak(&mut self, slot: usize, at: &dyn Fn(usize) -> f64) -> Vec<Outlook>;
}

/// Looks ahead.
struct Knows<'a>(&'a [usize]);

impl Voice for Knows<'_> {
    fn speak(&mut self, slot: usize, at: &dyn Fn(usize) -> f64) -> Vec<Outlook> {
        let now = at(slot - 1);
        let known = |ahead: &usize| {
            let then = at(slot - 1 + ahead);
            let factor = if now > 0.0 { then / now } else { 1.0 };
            Outlook {
                median: factor,
                quantiles: [factor; QUANTILES.len()],
                risk: 0.0,
            }
        };
        self.0.iter().map(known).collect()
    }
}

/// Says nothing.
struct Mute(usize);

impl Voice for Mute {
    fn speak(&mut self, _: usize, _: &dyn Fn(usize) -> f64) -> Vec<Outlook> {
        vec![Outlook::STEADY; self.0]
    }
}

/// As much as now, within what it moved by in the last days.
struct Stays {
    /// By horizon.
    lanes: Vec<(usize, Vec<Band>)>,
}

impl Stays {
    fn new(day: usize, aheads: &[usize]) -> Self {
        let band = |quantile: f32| Band::new(f64::from(quantile), REMEMBERED_DAYS * day, 1);
        let lane = |ahead: &usize| (*ahead, QUANTILES.into_iter().map(band).collect());
        Self {
            lanes: aheads.iter().map(lane).collect(),
        }
    }
}

impl Voice for Stays {
    fn speak(&mut self, slot: usize, at: &dyn Fn(usize) -> f64) -> Vec<Outlook> {
        let now = at(slot - 1);
        let said = |(ahead, bands): &mut (usize, Vec<Band>)| {
            let moved = (slot - 1)
                .checked_sub(*ahead)
                .map(|before| now / at(before));
            if let Some(moved) = moved.filter(|moved| moved.is_finite() && *moved > 0.0) {
                for band in bands.iter_mut() {
                    band.learn(libm::log(moved) as f32, band.correction());
                }
            }
            let factor = |band: &Band| libm::exp(f64::from(band.correction())).max(1.0);
            let quantiles = std::array::from_fn(|nth| now * factor(&bands[nth]));
            outlook(now, now, quantiles)
        };
        self.lanes.iter_mut().map(said).collect()
    }
}

/// What production says.
struct Ours<'a> {
    forecaster: Forecaster,
    aheads: Vec<usize>,
    events: Vec<&'a Event>,
    step_s: u32,
    first_step: i64,
}

impl<'a> Ours<'a> {
    /// With the events that are announced for a region.
    fn new(world: &'a World, heard: Option<usize>, aheads: &[usize]) -> Self {
        let step_s = world.time.step_s;
        let touches = |event: &&Event| {
            heard.is_some_and(|region| event.metros.contains(&world.regions[region].metro))
        };
        Self {
            forecaster: Forecaster::new(Calendar::default().clock(step_s), aheads),
            aheads: aheads.to_vec(),
            events: world.events.iter().filter(touches).collect(),
            step_s,
            first_step: world.time.start_s.div_euclid(i64::from(step_s)),
        }
    }

    /// Calendar seconds at which a slot begins.
    fn second(&self, slot: usize) -> i64 {
        (self.first_step + slot as i64) * i64::from(self.step_s)
    }

    /// The events that are known when a slot is decided, and on by the farthest horizon.
    fn crowds(&self, slot: usize, at: &dyn Fn(usize) -> f64) -> Crowds {
        let farthest = slot - 1 + self.aheads.iter().max().copied().unwrap_or(1);
        let on = |event: &&&Event| {
            let near = event.start <= farthest && slot <= event.start + event.slots;
            event.announced <= slot && near
        };
        let crowd = |event: &&Event| {
            // What is announced is over normal: what there was when it began, or is now.
            let normal = at(event.start.min(slot).saturating_sub(1));
            calendar::Event {
                start_s: self.second(event.start),
                length_s: event.slots as u32 * self.step_s,
                peak: (event.multiplier - 1.0).max(0.0) * normal,
                ramp_s: RAMP_S,
            }
        };
        Crowds::new(self.events.iter().filter(on).map(crowd).collect())
    }
}

impl Voice for Ours<'_> {
    fn speak(&mut self, slot: usize, at: &dyn Fn(usize) -> f64) -> Vec<Outlook> {
        let (now, last) = (at(slot - 1), slot - 1);
        let crowds = self.crowds(slot, at);
        let context = Context {
            flow: None,
            events: &crowds.events,
            learned: &[],
        };
        let step = self.first_step + last as i64;
        let said = self.forecaster.update((step, now), context);
        let slot_of = |second: i64| (second - self.second(0)).div_euclid(self.step_s.into());
        let before = |second: i64| Ok(at(slot_of(second).max(0) as usize));
        let came = crowds.came::<Infallible>((self.second(last), now), self.step_s, before);
        let Ok(came) = came;
        let lift = |ahead: &usize| {
            let until = self.second(slot) + *ahead as i64 * i64::from(self.step_s);
            crowds.lift((self.second(slot), until), &came)
        };
        let hints = Hints {
            lifts: self.aheads.iter().map(lift).collect(),
            ..Hints::default()
        };
        let heeded = said.iter().enumerate().map(|(nth, said)| {
            let (median, quantiles) = heeding(said, now, (&hints, nth));
            outlook(now, median, quantiles)
        });
        heeded.collect()
    }
}

fn outlook(now: f64, median: f64, quantiles: [f64; QUANTILES.len()]) -> Outlook {
    if now > 0.0 {
        Outlook::of(now, median, quantiles)
    } else {
        Outlook::STEADY
    }
}

/// Ramps as announced: those of the reference worlds.
pub(crate) const RAMP_S: u32 = 1200;
/// As long as the production forecaster's corrections remember.
const REMEMBERED_DAYS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::fixture;

    #[test]
    fn expectations_follow_the_day_and_what_is_announced_and_know_no_future() {
        let mut world = fixture::announced(2);
        let outlooks = of_region(&world, 0, Told::Ours);
        assert_eq!(outlooks.len(), 2 * 288);
        let first = world.time.billed_from;
        let held = |outlooks: &[Outlook]| {
            let held = (0..288).filter(|at| {
                let change = world.demand(first + at)[0] / world.demand(first + at - 1)[0];
                f64::from(change) <= outlooks[*at].quantiles[0]
            });
            held.count()
        };
        assert!((230..=285).contains(&held(&outlooks)));
        assert!(outlooks.iter().all(|it| it.median <= it.quantiles[0]));
        let stays = of_region(&world, 0, Told::Persistence);
        assert!((230..=285).contains(&held(&stays)));
        // A quarter of the ramp of an event that trebles demand.
        let event = 288 + 144;
        assert!(outlooks[event].median > 1.35, "{:?}", outlooks[event]);
        assert!(of_region(&world, 0, Told::Unannounced)[event].median < 1.2);
        // What is not over is not looked at.
        let from = world.time.billed_from + 288;
        world.demand[from..].iter_mut().for_each(|it| *it *= 7.0);
        assert_eq!(of_region(&world, 0, Told::Ours)[..=288], outlooks[..=288]);
        assert_eq!(
            of_region(&world, 0, Told::Persistence)[..=288],
            stays[..=288]
        );
    }

    #[test]
    fn who_knows_is_right_and_who_is_told_nothing_expects_no_change() {
        let world = fixture::announced(2);
        let perfect = of_region(&world, 0, Told::Perfect);
        let first = world.time.billed_from;
        for (nth, outlook) in perfect.iter().enumerate() {
            let now = f64::from(world.demand(first + nth - 1)[0]);
            let then = f64::from(world.demand(first + nth)[0]);
            assert!((outlook.median * now - then).abs() < 1e-6 * then);
        }
        let nothing = of_region(&world, 0, Told::Nothing);
        assert!(nothing.iter().all(|it| *it == Outlook::STEADY));
    }
}
