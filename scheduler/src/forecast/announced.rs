//! Sans-IO: announced events, as what each series has to expect of them.
//!
//! An event's viewers come from where those of the stream's last event came from; of a stream
//! without one, from where viewers usually are.

use std::collections::{BTreeMap, HashMap};

use cluster::event::Event;
use cluster::time::Time;
use models::calendar;

use super::subject::Kind;

/// A part of all viewers, by region; the parts sum up to one.
pub(super) type Shares = BTreeMap<String, f64>;

/// The events, and where their viewers come from.
#[derive(Clone, Debug, Default)]
pub(super) struct Announced {
    events: Vec<Event>,
    /// Where the viewers of past events came from.
    past: HashMap<u64, Shares>,
    /// Where viewers usually are.
    usual: Shares,
}

/// What one series has to expect.
#[derive(Clone, Debug, Default)]
pub struct Crowds {
    list: Vec<calendar::Event>,
    /// The same as the models read it.
    pub events: calendar::Events,
}

impl Announced {
    /// These events; where viewers usually are is told with it.
    pub(super) fn new(events: Vec<Event>, past: HashMap<u64, Shares>, usual: Shares) -> Self {
        Self {
            events,
            past,
            usual,
        }
    }

    /// What a series has to expect.
    pub(super) fn crowds(&self, id: &str, time: &Time) -> Crowds {
        let crowd = |event: &Event| {
            let peak = event.expected_peak * self.share(event, id);
            (peak >= LEAST_CROWD).then(|| calendar_event(event, peak, time))
        };
        let list: Vec<_> = self.events.iter().filter_map(crowd).collect();
        Crowds::new(list)
    }

    /// The part of an event's viewers that a series counts.
    fn share(&self, event: &Event, id: &str) -> f64 {
        let subject = id
            .split_once('/')
            .and_then(|(_, rest)| rest.rsplit_once('/'));
        match (Kind::of(id), subject) {
            (Some(Kind::Total), _) => 1.0,
            (Some(Kind::Region), Some((region, _))) => self.of_region(event, region),
            (Some(Kind::Stream), Some((stream, _))) => {
                f64::from(u8::from(stream == event.stream.as_str()))
            }
            _ => 0.0,
        }
    }

    fn of_region(&self, event: &Event, region: &str) -> f64 {
        if let Some(only) = &event.region {
            return f64::from(u8::from(only.as_str() == region));
        }
        let before = |past: &&Event| past.stream == event.stream && past.start_ms < event.start_ms;
        let last = self
            .events
            .iter()
            .filter(before)
            .max_by_key(|past| past.start_ms);
        let own = self
            .past
            .get(&event.id)
            .or_else(|| self.past.get(&last?.id));
        own.unwrap_or(&self.usual)
            .get(region)
            .copied()
            .unwrap_or(0.0)
    }
}

fn calendar_event(event: &Event, peak: f64, time: &Time) -> calendar::Event {
    let length = |seconds: u32| {
        let calendar_s = f64::from(seconds) * time.scale();
        calendar_s.round().min(f64::from(u32::MAX)) as u32
    };
    calendar::Event {
        start_s: time.calendar_s(event.start_ms),
        length_s: length(event.length_s),
        peak,
        ramp_s: length(event.ramp_s),
    }
}

impl Crowds {
    /// These crowds.
    pub fn new(list: Vec<calendar::Event>) -> Self {
        Self {
            events: calendar::Events::new(list.clone()),
            list,
        }
    }

    /// How much has come of the crowds that are coming, by a step that begins at `by_s` and had
    /// `value`; `at` says what the step that a calendar second is in had.
    pub fn came<E>(
        &self,
        (by_s, value): (i64, f64),
        step_s: u32,
        at: impl Fn(i64) -> Result<f64, E>,
    ) -> Result<Vec<(usize, Came)>, E> {
        // A mean of the step: all that was due at its beginning should be in it.
        let came = self.coming(by_s).map(|(nth, start_s)| {
            let before = at(start_s.saturating_sub(step_s.into()))?;
            let more = value - before;
            Ok((nth, Came { more, by_s }))
        });
        came.collect()
    }

    /// The crowds that are coming at a calendar second: their numbers, and when each began.
    fn coming(&self, at_s: i64) -> impl Iterator<Item = (usize, i64)> {
        let is_coming = move |event: &calendar::Event| {
            let there = at(event, at_s);
            there > 0.0 && there < event.peak
        };
        let events = self.list.iter().enumerate();
        let coming = events.filter(move |(_, event)| is_coming(event));
        coming.map(|(nth, event)| (nth, event.start_s))
    }

    /// What comes between two calendar seconds that was announced and is not there yet. Of a crowd
    /// that is coming, `came` says by its number how many more there are than before it: what falls
    /// short is believed less, the farther its ramp is.
    pub fn lift(&self, (from_s, to_s): (i64, i64), came: &[(usize, Came)]) -> f64 {
        let rise = |(nth, event): (usize, &calendar::Event)| {
            let rise = (at(event, to_s) - at(event, from_s)).max(0.0);
            let came = came.iter().find(|(of, _)| *of == nth);
            rise * came.map_or(1.0, |(_, came)| came.belief(event))
        };
        self.list.iter().enumerate().map(rise).sum()
    }
}

/// How much of a crowd has come.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// How many more there are than before it.
    pub more: f64,
    /// The calendar second by which they came.
    pub by_s: i64,
}

impl Came {
    /// The share of what is still announced that is believed.
    fn belief(&self, event: &calendar::Event) -> f64 {
        let due = at(event, self.by_s);
        if due <= 0.0 || !self.more.is_finite() {
            return 1.0;
        }
        let short = (1.0 - self.more / due).clamp(0.0, 1.0);
        1.0 - short * due / event.peak
    }
}

/// How much of an event is there at a calendar second.
fn at(event: &calendar::Event, second: i64) -> f64 {
    let since = second.saturating_sub(event.start_s);
    if since < 0 || since > i64::from(event.length_s) {
        return 0.0;
    }
    event.peak * (since as f64 / f64::from(event.ramp_s.max(1))).min(1.0)
}

/// Parts of what each has, if any has something.
pub(super) fn shares(of: impl Iterator<Item = (String, f64)>) -> Shares {
    let mut shares: Shares = of.filter(|(_, value)| *value > 0.0).collect();
    let sum: f64 = shares.values().sum();
    shares.values_mut().for_each(|share| *share /= sum);
    shares
}

/// A crowd of fewer is none.
const LEAST_CROWD: f64 = 1.0;

#[cfg(test)]
mod tests {
    use cluster::region::Region;
    use cluster::stream::StreamKey;

    use super::*;

    const T0_MS: u64 = 1_800_000_000_000;
    const T0_S: i64 = 1_800_000_000;

    fn event(id: u64, start_ms: u64) -> Event {
        Event {
            id,
            stream: StreamKey::parse("live/final").unwrap(),
            start_ms,
            expected_peak: 1000.0,
            ramp_s: 600,
            length_s: 3600,
            region: None,
        }
    }

    fn of(parts: &[(&str, f64)]) -> Shares {
        shares(
            parts
                .iter()
                .map(|(region, value)| ((*region).to_owned(), *value)),
        )
    }

    #[test]
    fn viewers_come_from_where_they_came_from() {
        let time = Time::default();
        let usual = of(&[("DE", 30.0), ("FR", 10.0), ("none", 0.0)]);
        let only = Event {
            region: Region::parse("US"),
            stream: StreamKey::parse("live/other").unwrap(),
            ..event(3, T0_MS)
        };
        let peak = |announced: &Announced, id: &str| {
            let crowds = announced.crowds(id, &time);
            crowds.lift((T0_S - 1, T0_S + 700), &[])
        };
        let first = Announced::new(vec![event(1, T0_MS)], HashMap::new(), usual.clone());
        assert_eq!(peak(&first, "region/DE/demand"), 750.0);
        assert_eq!(peak(&first, "region/none/demand"), 0.0);
        assert_eq!(peak(&first, "total/demand"), 1000.0);
        assert_eq!(peak(&first, "stream/live/final/viewers"), 1000.0);
        assert_eq!(peak(&first, "stream/live/other/viewers"), 0.0);
        assert_eq!(peak(&first, "node/a/egress_bps"), 0.0);
        let past = HashMap::from([(1, of(&[("FR", 1.0)]))]);
        let events = vec![event(1, T0_MS - 86_400_000), event(2, T0_MS), only];
        let second = Announced::new(events, past, usual);
        assert_eq!(peak(&second, "region/FR/demand"), 1000.0);
        assert_eq!(peak(&second, "region/DE/demand"), 0.0);
        assert_eq!(peak(&second, "region/US/demand"), 1000.0);
    }

    #[test]
    fn only_what_has_not_come_yet_lifts() {
        let time = Time::default();
        let usual = of(&[("DE", 1.0)]);
        let announced = Announced::new(vec![event(1, T0_MS)], HashMap::new(), usual);
        let crowds = announced.crowds("region/DE/demand", &time);
        for (from, to, lift) in [
            (-900, -300, 0.0),
            (-300, 300, 500.0),
            (300, 600, 500.0),
            (600, 900, 0.0),
            (3500, 3700, 0.0),
        ] {
            let between = (T0_S + from, T0_S + to);
            assert_eq!(crowds.lift(between, &[]), lift, "{from} to {to}");
        }
        let near = crowds.events.next(T0_S - 10).unwrap();
        assert_eq!((near.start_s, near.peak, near.ramp_s), (T0_S, 1000.0, 600));
    }

    #[test]
    fn a_crowd_that_falls_short_is_believed_less_the_farther_its_ramp_is() {
        let time = Time::default();
        let usual = of(&[("DE", 1.0)]);
        let announced = Announced::new(vec![event(1, T0_MS)], HashMap::new(), usual);
        let crowds = announced.crowds("region/DE/demand", &time);
        let coming = |at_s| crowds.coming(T0_S + at_s).collect::<Vec<_>>();
        assert_eq!(coming(300), [(0, T0_S)]);
        for at_s in [-10, 0, 600, 900, 4000] {
            assert_eq!(coming(at_s), [], "{at_s}");
        }
        for (at_s, more, lift) in [
            (60, 0.0, 900.0 * 0.9),
            (300, 500.0, 500.0),
            (300, 9000.0, 500.0),
            (300, 0.0, 250.0),
            (300, 250.0, 375.0),
            (540, 0.0, 10.0),
            (300, -50.0, 250.0),
            (300, f64::NAN, 500.0),
        ] {
            let by_s = T0_S + at_s;
            let lifted = crowds.lift((by_s, T0_S + 600), &[(0, Came { more, by_s })]);
            assert!((lifted - lift).abs() < 1e-9, "{at_s}, {more}: {lifted}");
        }
    }

    #[test]
    fn real_time_becomes_calendar_time() {
        let time = Time::scaled(288.0, std::time::Duration::from_secs(300)).unwrap();
        let made = calendar_event(&event(1, T0_MS), 1.0, &time);
        assert_eq!((made.ramp_s, made.length_s), (600 * 288, 3600 * 288));
        assert_eq!(made.start_s, time.calendar_s(T0_MS));
        assert!(shares(std::iter::empty()).is_empty());
    }
}
