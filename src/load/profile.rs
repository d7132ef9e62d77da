//! The shape of a day, and who comes and goes so that the number of viewers follows it.
//!
//! Viewers stay for an exponential time and come as often as it takes; who is one too many when the shape falls faster
//! than people leave goes first who came first. Everything follows from a seed.

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    path::Path,
    time::Duration,
};

/// A viewer's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// From the start of the run.
    pub comes: Duration,
    /// How long it watches.
    pub stays: Duration,
}

/// Values over a period, the highest being one.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    period: Duration,
    /// `(share of the period, value)`, earliest first.
    points: Vec<(f64, f64)>,
}

/// A day of viewers by hour: few at night, some at noon, most in the evening.
const DAY: [f64; 24] = [
    0.42, 0.30, 0.22, 0.18, 0.17, 0.18, 0.22, 0.28, 0.33, 0.36, 0.39, 0.43, 0.50, 0.50, 0.46, 0.45,
    0.48, 0.54, 0.64, 0.80, 0.95, 1.00, 0.86, 0.62,
];

/// How often it is looked who is missing or too many, in a period: each third of a five-minute step of a day.
const LOOKS: u32 = 864;
/// How far chance moves the number of viewers up and down, as a share, and how much of that stays from look to look.
const WANDERS: f64 = 0.08;
const STAYS: f64 = 0.97;

impl Profile {
    /// `day`, or a file.
    pub fn load(name: &str, period: Duration) -> Result<Self> {
        ensure!(!period.is_zero(), "--period must be longer than nothing");
        if name == "day" {
            let hour = |(nth, value): (usize, &f64)| (nth as f64 / 24.0, *value);
            let points = DAY.iter().enumerate().map(hour).collect();
            return Ok(Self { period, points });
        }
        let text = std::fs::read_to_string(Path::new(name)).with_context(|| {
            format!("--profile {name} cannot be read; it is `day` or a CSV file")
        })?;
        Self::parse(&text, period).with_context(|| format!("--profile {name}"))
    }

    /// Lines of a time in seconds and a value, of which the last two columns are read; a header may come first.
    fn parse(text: &str, period: Duration) -> Result<Self> {
        let mut points = Vec::new();
        for (nth, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let mut columns = line.rsplit(',').map(|cell| cell.trim().parse::<f64>().ok());
            let (value, time) = (columns.next().flatten(), columns.next().flatten());
            match (time, value) {
                (Some(time), Some(value))
                    if value >= 0.0 && value.is_finite() && time.is_finite() =>
                {
                    points.push((time, value));
                }
                _ if nth == 0 => {}
                _ => anyhow::bail!("line {}: write it as seconds,value", nth + 1),
            }
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
        ensure!(
            points.len() >= 2 && most > 0.0,
            "it needs two times at least, and a value above zero"
        );
        let (first, last) = (points[0].0, points[points.len() - 1].0);
        ensure!(last > first, "its times are all the same");
        // The last value lasts as long as those before it do in the mean.
        let length = (last - first) * points.len() as f64 / (points.len() - 1) as f64;
        let points = points
            .into_iter()
            .map(|(time, value)| ((time - first) / length, value / most));
        Ok(Self {
            period,
            points: points.collect(),
        })
    }

    /// The value some time after the start, between its neighbours; the period goes round and round.
    fn at(&self, since: Duration) -> f64 {
        let share = (since.as_secs_f64() / self.period.as_secs_f64()).fract();
        let next = self.points.partition_point(|point| point.0 <= share);
        let before = self.points[next.checked_sub(1).unwrap_or(self.points.len() - 1)];
        let after = self.points[next % self.points.len()];
        let span = (after.0 - before.0).rem_euclid(1.0);
        let part = (share - before.0).rem_euclid(1.0) / if span > 0.0 { span } else { 1.0 };
        before.1 + (after.1 - before.1) * part
    }

    /// Who comes when, earliest first, at most `viewers` at a time, until `duration` is over.
    pub fn visits(
        &self,
        viewers: usize,
        (duration, stay): (Duration, Duration),
        seed: u64,
    ) -> Vec<Visit> {
        let mut random = StdRng::seed_from_u64(seed);
        let look = (self.period / LOOKS).max(LEAST_LOOK);
        let (mut visits, mut here) = (Vec::<Visit>::new(), VecDeque::<usize>::new());
        let (mut at, mut wander) = (Duration::ZERO, 0.0);
        while at < duration && visits.len() <= super::play::MAX_VISITS {
            here.retain(|nth| visits[*nth].comes + visits[*nth].stays > at);
            wander = wander * STAYS
                + random.random_range(-1.0..1.0) * WANDERS * (1.0 - STAYS * STAYS).sqrt();
            let wanted = (self.at(at) * (1.0 + wander) * viewers as f64)
                .round()
                .max(0.0) as usize;
            let wanted = wanted.min(viewers);
            while here.len() > wanted {
                if let Some(first) = here.pop_front() {
                    visits[first].stays = at.saturating_sub(visits[first].comes);
                }
            }
            while here.len() < wanted && visits.len() <= super::play::MAX_VISITS {
                // An exponential time: as likely to leave in each second.
                let long = -stay.as_secs_f64() * (1.0 - random.random::<f64>()).ln();
                here.push_back(visits.len());
                visits.push(Visit {
                    comes: at,
                    stays: Duration::from_secs_f64(long).max(look).min(duration - at),
                });
            }
            at += look;
        }
        visits
    }
}

/// How many are there at a time, at most, of visits that are told earliest first.
pub fn most(visits: &[Visit]) -> usize {
    let mut ends = BinaryHeap::new();
    let mut most = 0;
    for visit in visits {
        while ends.peek().is_some_and(|Reverse(end)| *end <= visit.comes) {
            ends.pop();
        }
        ends.push(Reverse(visit.comes + visit.stays));
        most = most.max(ends.len());
    }
    most
}

/// Shorter than viewers take to join.
const LEAST_LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(300);

    #[test]
    fn a_day_is_followed() {
        let profile = Profile::load("day", PERIOD).unwrap();
        let visits = profile.visits(100, (2 * PERIOD, Duration::from_secs(10)), 7);
        assert!(visits.is_sorted_by_key(|visit| visit.comes));
        let here = |at: Duration| {
            let there = |visit: &&Visit| visit.comes <= at && at < visit.comes + visit.stays;
            visits.iter().filter(there).count()
        };
        for (hour, value) in DAY.iter().enumerate() {
            for day in 0..2 {
                let at = PERIOD * day + PERIOD.mul_f64((hour as f64 + 0.01) / 24.0);
                let off = here(at) as f64 - value * 100.0;
                assert!(off.abs() < 22.0, "day {day} hour {hour}: {off}");
            }
        }
        assert!((0..6000).all(|tenth| here(PERIOD / 3000 * tenth) <= 100));
        assert_eq!(most(&visits), 100);
        assert_eq!(
            visits,
            profile.visits(100, (2 * PERIOD, Duration::from_secs(10)), 7)
        );
        assert_ne!(
            visits,
            profile.visits(100, (2 * PERIOD, Duration::from_secs(10)), 8)
        );
    }

    #[test]
    fn a_file_is_a_shape_of_any_length_and_height() {
        let profile =
            Profile::parse("series,time,value\na,600,5\na,0,0\na,1200,10\n", PERIOD).unwrap();
        for (second, value) in [
            (0, 0.0),
            (50, 0.25),
            (100, 0.5),
            (200, 1.0),
            (250, 0.5),
            (400, 0.5),
        ] {
            let at = profile.at(Duration::from_secs(second));
            assert!((at - value).abs() < 1e-9, "{second}: {at}");
        }
        for bad in [
            "",
            "time,value\n1,2\n",
            "1,2\n1,3\n",
            "1,0\n2,0\n",
            "1,2\nx,y\n",
            "1,2\n2,-1\n",
        ] {
            assert!(Profile::parse(bad, PERIOD).is_err(), "{bad:?}");
        }
    }
}
