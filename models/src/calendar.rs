//! Sans-IO: where a moment lies in its hour, day and week, and which announced events are near it.

use serde::{Deserialize, Serialize};

/// How long a day and a week are, seconds; both shrink together where time is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// A day.
    pub day_s: u32,
    /// A week.
    pub week_s: u32,
}

impl Default for Calendar {
    fn default() -> Self {
        Self {
            day_s: 86_400,
            week_s: 604_800,
        }
    }
}

/// A calendar counted in a series' steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Length of a step, seconds.
    pub step_s: u32,
    /// Steps of a day, at least one.
    pub day: usize,
    /// Steps of a week.
    pub week: usize,
    calendar: Calendar,
}

impl Calendar {
    /// Counted in steps of so many seconds.
    pub fn clock(self, step_s: u32) -> Clock {
        let steps =
            |length_s: u32| (f64::from(length_s) / f64::from(step_s.max(1))).round() as usize;
        Clock {
            step_s,
            day: steps(self.day_s).max(1),
            week: steps(self.week_s).max(1),
            calendar: self,
        }
    }
}

impl Clock {
    /// Share of its day that has passed at a step, 0 to 1.
    pub fn of_day(&self, step: i64) -> f64 {
        share(self.second(step), self.calendar.day_s)
    }

    /// Share of its week that has passed at a step; weeks begin with the epoch's weekday.
    pub fn of_week(&self, step: i64) -> f64 {
        share(self.second(step), self.calendar.week_s)
    }

    /// Which [`SLOTS`]th of its hour a step begins in, an hour being a 24th of a day.
    pub fn slot(&self, step: i64) -> usize {
        let of_hour = (self.of_day(step) * 24.0).fract();
        ((of_hour * SLOTS as f64 + 1e-9) as usize).min(SLOTS - 1)
    }

    /// Unix seconds at which a step begins.
    pub fn second(&self, step: i64) -> i64 {
        step.saturating_mul(i64::from(self.step_s))
    }

    /// Steps of an hour, at least one.
    pub fn hour_steps(&self) -> usize {
        (self.day / 24).max(1)
    }

    /// A real hour in seconds of this calendar.
    pub fn hour_s(&self) -> f64 {
        f64::from(self.calendar.day_s) / 24.0
    }
}

fn share(second: i64, length_s: u32) -> f64 {
    let length = i64::from(length_s.max(1));
    second.rem_euclid(length) as f64 / length as f64
}

/// Slots of an hour: shows begin at :00 and :30, so five minutes tell them apart.
pub const SLOTS: usize = 12;

/// A show that was announced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unix seconds of its start.
    pub start_s: i64,
    /// How long it lasts, seconds.
    pub length_s: u32,
    /// The value expected at its peak, in the series' unit.
    pub peak: f64,
    /// How long it takes to get there, seconds.
    pub ramp_s: u32,
}

impl Event {
    /// Unix seconds of its end.
    pub fn end_s(&self) -> i64 {
        self.start_s.saturating_add(i64::from(self.length_s))
    }
}

/// Announced events by start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Events(Vec<Event>);

impl Events {
    /// In any order.
    pub fn new(mut events: Vec<Event>) -> Self {
        events.sort_by_key(|event| event.start_s);
        Self(events)
    }

    /// The first that begins after a moment.
    pub fn next(&self, at_s: i64) -> Option<&Event> {
        let after = self.0.partition_point(|event| event.start_s <= at_s);
        self.0.get(after)
    }

    /// The last that began by a moment.
    pub fn last(&self, at_s: i64) -> Option<&Event> {
        let after = self.0.partition_point(|event| event.start_s <= at_s);
        self.0[..after].last()
    }

    /// Whether an event is on at some time between two moments.
    pub fn is_on(&self, from_s: i64, to_s: i64) -> bool {
        self.last(to_s).is_some_and(|event| event.end_s() >= from_s)
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_knows_its_place_in_hour_day_and_week() {
        let clock = Calendar::default().clock(300);
        assert_eq!((clock.day, clock.week), (288, 2016));
        assert_eq!(clock.slot(0), 0);
        assert_eq!(clock.slot(6), 6);
        assert_eq!(clock.slot(13), 1);
        assert_eq!(clock.of_day(144), 0.5);
        assert_eq!(clock.of_week(288 * 7 + 144), 1.0 / 14.0);
    }

    #[test]
    fn a_scaled_day_has_as_many_steps() {
        let scaled = Calendar {
            day_s: 300,
            week_s: 2100,
        }
        .clock(1);
        assert_eq!((scaled.day, scaled.week), (300, 2100));
        assert_eq!(scaled.hour_s(), 12.5);
    }

    #[test]
    fn events_are_found_by_time() {
        let event = |start_s| Event {
            start_s,
            length_s: 100,
            peak: 5.0,
            ramp_s: 10,
        };
        let events = Events::new(vec![event(1000), event(500)]);
        let next = |at| events.next(at).map(|event| event.start_s);
        let last = |at| events.last(at).map(|event| event.start_s);
        assert_eq!((next(499), last(499)), (Some(500), None));
        assert_eq!((next(500), last(500)), (Some(1000), Some(500)));
        assert_eq!(next(1000), None);
        assert!(events.is_on(590, 595) && events.is_on(400, 501) && !events.is_on(601, 999));
    }
}
