//! Sans-IO: another month made of a world's days, so that a policy can live through it.
//!
//! Each billed day is drawn from those of its weekday, so that weeks stay weeks. A bill that is
//! only counted anew from drawn days blames a policy for free slots that it would have seen go: here it
//! sees them.

use super::{Event, Outage, World};
use crate::dice::Dice;

impl World {
    /// The world of a number's draw: the same history, then drawn days with their events and
    /// outages.
    pub fn redrawn(&self, number: u64) -> Self {
        let (day, first) = (self.time.day(), self.time.billed_from);
        let days = self.time.billed().len() / day;
        let weekdays = if days >= 2 * WEEK { WEEK } else { 1 };
        let mut dice = Dice::new(number, "months");
        let mut world = Self {
            events: self.before(first),
            outages: Vec::new(),
            demand: self.demand[..first * self.regions.len()].to_vec(),
            ..self.clone()
        };
        world.time.slots = first + days * day;
        for to in 0..days {
            let like = (days - 1 - to % weekdays) / weekdays + 1;
            let from = to % weekdays + weekdays * dice.index(like);
            let slots = first + from * day..first + (from + 1) * day;
            let shift = (to as i64 - from as i64) * day as i64;
            let moved = |slot: usize| (slot as i64 + shift).max(0) as usize;
            let regions = self.regions.len();
            let demand = &self.demand[slots.start * regions..slots.end * regions];
            world.demand.extend_from_slice(demand);
            for event in &self.events {
                let start = event.start.max(slots.start);
                let end = (event.start + event.slots).min(slots.end);
                if start < end {
                    world.events.push(Event {
                        start: moved(start),
                        slots: end - start,
                        announced: moved(event.announced),
                        ..event.clone()
                    });
                }
            }
            for outage in &self.outages {
                let start = outage.slots.start.max(slots.start);
                let end = outage.slots.end.min(slots.end);
                if start < end {
                    world.outages.push(Outage {
                        slots: moved(start)..moved(end),
                        ..outage.clone()
                    });
                }
            }
        }
        world
    }

    /// The events that begin before a slot, up to it.
    fn before(&self, slot: usize) -> Vec<Event> {
        let events = self.events.iter().filter(|event| event.start < slot);
        let cut = |event: &Event| Event {
            slots: event.slots.min(slot - event.start),
            ..event.clone()
        };
        events.map(cut).collect()
    }

    /// By how much the deviation among redrawn months falls short: of few days of a weekday, draws
    /// vary too little.
    pub fn redraw_widening(&self) -> f64 {
        let days = self.time.billed().len() / self.time.day();
        let like = if days >= 2 * WEEK { days / WEEK } else { days };
        libm::sqrt(like as f64 / (like as f64 - 1.0).max(0.5))
    }
}

const WEEK: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_days_are_days_of_the_same_weekday_with_all_that_happens_in_them() {
        let (mut world, _) = crate::world::fixture::pencil();
        world.time.step_s = 43_200;
        world.time.slots = 2 + 28 * 2;
        world.time.billed_from = 2;
        world.demand = (0..58).flat_map(|slot| [slot as f32, 0.5]).collect();
        world.events = vec![Event {
            start: 2 + 9 * 2,
            slots: 2,
            metros: vec![0],
            multiplier: 2.0,
            announced: 15,
        }];
        let mut seen = 0;
        for number in 0..20 {
            let redrawn = world.redrawn(number);
            assert_eq!(redrawn.demand.len(), world.demand.len());
            assert_eq!(redrawn.demand[..4], world.demand[..4]);
            for day in 0..28 {
                let from = (redrawn.demand(2 + day * 2)[0] as usize - 2) / 2;
                assert_eq!(
                    (from % 7, redrawn.demand(3 + day * 2)[0] as usize),
                    (day % 7, 3 + from * 2)
                );
                let here = redrawn.events.iter().filter(|it| it.start == 2 + day * 2);
                let leads: Vec<usize> = here.map(|it| it.start - it.announced).collect();
                assert_eq!(leads, if from == 9 { vec![5] } else { vec![] });
                seen += leads.len();
            }
            assert_eq!(redrawn, world.redrawn(number));
        }
        assert!((10..=40).contains(&seen), "{seen}");
    }
}
