//! Sans-IO: what a forecast for one horizon is made from: a row of numbers at one step.
//!
//! Everything is relative to now, so that one model serves series of any size: lags and rolling statistics of `ln(1+y)`
//! less its newest value, the same hours of yesterday, the day before and last week, the place in hour, day and week of
//! the moment forecast, and announced events. What is not known is NaN; trees have a branch for it, linear models read 0.

use crate::calendar::{Clock, Events, SLOTS};
use crate::history::{History, MOST};

/// Steps back that a row looks at one by one.
pub const LAGS: [usize; 20] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 18, 21, 24, 27, 30, 33, 36,
];
/// Windows of rolling statistics, steps; beside them a day.
const WINDOWS: [usize; 4] = [3, 6, 12, 36];
/// Steps around the same moment of an earlier day.
const AROUND: i64 = 3;
/// Harmonics of the day and of the week.
const HARMONICS: usize = 4;

/// Columns that trees alone read: events are rare, and a line through them misleads.
pub const EVENT_COLUMNS: usize = 5;

/// Names of the columns of a row, in order.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = LAGS.iter().map(|lag| format!("lag {lag}")).collect();
    for window in WINDOWS
        .iter()
        .map(ToString::to_string)
        .chain(["day".into()])
    {
        names.extend(["mean", "deviation", "max", "min"].map(|what| format!("{what} {window}")));
    }
    names.push("level".into());
    for ago in ["yesterday", "two days ago", "last week"] {
        names.push(format!("{ago} against now"));
        names.extend((-AROUND..=AROUND).map(|around| format!("{ago} {around:+}")));
    }
    names.push("mean of days".into());
    for nth in 1..=HARMONICS {
        names.extend([format!("sin day {nth}"), format!("cos day {nth}")]);
    }
    names.extend((0..7).map(|day| format!("weekday {day}")));
    names.extend((0..SLOTS).map(|slot| format!("slot {slot}")));
    names.extend(["slot now", "hour", "horizon's slot"].map(String::from));
    names.extend(
        [
            "minutes to event",
            "minutes since event",
            "in event",
            "peak to come",
            "peak of last",
        ]
        .map(String::from),
    );
    names
}

/// Columns of a row.
pub fn width() -> usize {
    SHARED + OWN
}

const SHARED: usize = LAGS.len() + 4 * (WINDOWS.len() + 1) + 1;
const DAYS: usize = 3 * (2 + 2 * AROUND as usize) + 1;
const OWN: usize = DAYS + 2 * HARMONICS + 7 + SLOTS + 3 + EVENT_COLUMNS;

/// The columns that are the same for all horizons of a step.
pub fn shared(past: &History, row: &mut Vec<f32>) {
    let now = past.now();
    row.clear();
    row.extend(
        LAGS.iter()
            .map(|lag| past.back(*lag).map_or(f32::NAN, |then| then - now)),
    );
    for window in WINDOWS.into_iter().chain([past.clock().day]) {
        row.extend(statistics(past.recent(window)).map(|value| value - now));
        let deviation = row.len() - 3;
        row[deviation] += now;
    }
    row.push(now);
}

/// Mean, standard deviation, largest and smallest.
fn statistics(values: &[f32]) -> [f32; 4] {
    let count = values.len().max(1) as f32;
    let (mut sums, mut squares) = ([0.0_f32; 8], [0.0_f32; 8]);
    let (mut most, mut least) = ([f32::MIN; 8], [f32::MAX; 8]);
    let shift = values.last().copied().unwrap_or(0.0);
    for chunk in values.chunks(8) {
        for (lane, value) in chunk.iter().enumerate() {
            let moved = value - shift;
            sums[lane] += moved;
            squares[lane] += moved * moved;
            most[lane] = most[lane].max(*value);
            least[lane] = least[lane].min(*value);
        }
    }
    let (sum, square): (f32, f32) = (sums.iter().sum(), squares.iter().sum());
    let mean = sum / count;
    let deviation = (square / count - mean * mean).max(0.0).sqrt();
    let most = most.into_iter().fold(f32::MIN, f32::max);
    let least = least.into_iter().fold(f32::MAX, f32::min);
    [mean + shift, deviation, most, least]
}

/// Adds the columns of a horizon of `ahead` steps to the shared ones.
pub fn own(past: &History, events: &Events, ahead: usize, row: &mut Vec<f32>) {
    row.truncate(SHARED);
    let clock = past.clock();
    days(past, ahead, row);
    let then = past.step() + ahead as i64;
    place(clock, past.step(), then, row);
    event(past, events, then, row);
}

/// The same moments of earlier days: how far they were from now, and how they went on from there.
fn days(past: &History, ahead: usize, row: &mut Vec<f32>) {
    let (now, clock) = (past.now(), past.clock());
    for length in [clock.day, 2 * clock.day, clock.week] {
        let base = past.back(length);
        row.push(base.map_or(f32::NAN, |base| base - now));
        for around in -AROUND..=AROUND {
            let back = length as i64 - ahead as i64 - around;
            let then = usize::try_from(back).ok().and_then(|back| past.back(back));
            row.push(match (then, base) {
                (Some(then), Some(base)) => then - base,
                _ => f32::NAN,
            });
        }
    }
    row.push(mean_movement(past, ahead).unwrap_or(f32::NAN));
}

/// How the last seven days went on from this time of day, in the mean.
pub fn mean_movement(past: &History, ahead: usize) -> Option<f32> {
    let day = past.clock().day;
    let (mut sum, mut count) = (0.0, 0.0);
    for length in (1..=7).map(|days| days * day) {
        let back = length.checked_sub(ahead);
        if let (Some(base), Some(then)) = (past.back(length), back.and_then(|b| past.back(b))) {
            sum += then - base;
            count += 1.0;
        }
    }
    (count > 0.0).then(|| sum / count)
}

/// The place in hour, day and week of the moment forecast.
fn place(clock: &Clock, now: i64, then: i64, row: &mut Vec<f32>) {
    let of_day = clock.of_day(then);
    for nth in 1..=HARMONICS {
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * of_day * nth as f64);
        row.extend([sin as f32, cos as f32]);
    }
    let weekday = ((clock.of_week(then) * 7.0) as usize).min(6);
    row.extend((0..7).map(|day| f32::from(u8::from(day == weekday))));
    let slot = clock.slot(then);
    row.extend((0..SLOTS).map(|nth| f32::from(u8::from(nth == slot))));
    row.extend([clock.slot(now) as f32, (of_day * 24.0) as f32, slot as f32]);
}

/// Announced events around the moment forecast.
fn event(past: &History, events: &Events, then: i64, row: &mut Vec<f32>) {
    let clock = past.clock();
    let (then_s, minute_s) = (clock.second(then), clock.hour_s() / 60.0);
    let near = NEAR_MIN * minute_s;
    let next = events
        .next(then_s)
        .filter(|e| (e.start_s.saturating_sub(then_s) as f64) < near);
    let last = events
        .last(then_s)
        .filter(|e| (then_s.saturating_sub(e.start_s) as f64) < near);
    let minutes = |from: i64, to: i64| (to.saturating_sub(from) as f64 / minute_s) as f32;
    let peak = |value: f64| libm::log1p(value.clamp(0.0, MOST)) as f32 - past.now();
    row.push(next.map_or(f32::NAN, |e| minutes(then_s, e.start_s)));
    row.push(last.map_or(f32::NAN, |e| minutes(e.start_s, then_s)));
    let on = last.is_some_and(|e| then_s < e.end_s());
    row.push(f32::from(u8::from(on)));
    row.push(next.map_or(f32::NAN, |e| peak(e.peak)));
    row.push(last.map_or(f32::NAN, |e| peak(e.peak)));
}

/// Minutes around an event in which it matters.
const NEAR_MIN: f64 = 180.0;

/// The columns that an online regression can follow, a few dozen at most: it takes their square in time.
pub fn few(past: &History, ahead: usize, row: &mut Vec<f64>) {
    let now = past.now();
    let or_zero = |value: Option<f32>| value.map_or(0.0, f64::from);
    row.clear();
    row.push(1.0);
    for lag in [1, 2, 3, 6, 12] {
        row.push(or_zero(past.back(lag).map(|then| then - now)));
    }
    for length in [past.clock().day, past.clock().week] {
        let base = past.back(length);
        row.push(or_zero(base.map(|base| base - now)));
        for near in [length.checked_sub(ahead), (length + 1).checked_sub(ahead)] {
            let then = near.and_then(|back| past.back(back));
            row.push(or_zero(then.zip(base).map(|(then, base)| then - base)));
        }
    }
    row.push(or_zero(mean_movement(past, ahead)));
    for window in [6, 36] {
        let recent = past.recent(window);
        let mean = recent.iter().sum::<f32>() / recent.len().max(1) as f32;
        row.push(f64::from(mean - now));
    }
    let of_day = past.clock().of_day(past.step() + ahead as i64);
    for nth in 1..=2 {
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * of_day * f64::from(nth));
        row.extend([sin * 0.1, cos * 0.1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{Calendar, Event};

    fn past(steps: i64) -> History {
        let mut past = History::new(Calendar::default().clock(300));
        (0..steps).for_each(|step| _ = past.push(step, (step % 288) as f64));
        past
    }

    #[test]
    fn a_row_has_a_column_for_each_name() {
        let (past, events) = (past(3000), Events::default());
        let mut row = Vec::new();
        shared(&past, &mut row);
        assert_eq!(row.len(), SHARED);
        for ahead in [1, 3, 12] {
            own(&past, &events, ahead, &mut row);
            assert_eq!(row.len(), width());
        }
        assert_eq!(names().len(), width());
        assert!(
            row[..width() - EVENT_COLUMNS]
                .iter()
                .all(|value| value.is_finite())
        );
    }

    #[test]
    fn a_young_series_has_rows_too() {
        let (past, mut row) = (past(1), Vec::new());
        shared(&past, &mut row);
        own(&past, &Events::default(), 12, &mut row);
        assert_eq!(row.len(), width());
        let mut few_row = Vec::new();
        few(&past, 12, &mut few_row);
        assert!(few_row.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn events_of_any_time_and_size_make_a_row() {
        let event = |start_s, peak| Event {
            start_s,
            length_s: u32::MAX,
            peak,
            ramp_s: u32::MAX,
        };
        let names = names();
        let column = |name| names.iter().position(|other| other == name).unwrap();
        for (step, start_s) in [
            (0, i64::MIN),
            (0, i64::MAX),
            (1 << 50, i64::MAX),
            (1 << 50, i64::MIN),
            (-(1 << 50), i64::MAX),
        ] {
            for peak in [0.0, -5.0, 1e300, f64::INFINITY, f64::NAN] {
                let mut past = History::new(Calendar::default().clock(u32::MAX));
                past.push(step, 5.0);
                let (mut row, events) = (Vec::new(), Events::new(vec![event(start_s, peak)]));
                shared(&past, &mut row);
                own(&past, &events, 12, &mut row);
                let event = &row[width() - EVENT_COLUMNS..];
                assert!(event.iter().all(|value| !value.is_infinite()), "{event:?}");
            }
        }
        // One that is near and huge is still a number.
        let (mut past, mut row) = (past(10), Vec::new());
        past.push(10, 5.0);
        shared(&past, &mut row);
        own(
            &past,
            &Events::new(vec![event(3900, f64::INFINITY)]),
            1,
            &mut row,
        );
        assert!((39.0..40.0).contains(&row[column("peak to come")]));
    }

    #[test]
    fn what_repeats_daily_is_seen() {
        let (past, mut row) = (past(3000), Vec::new());
        shared(&past, &mut row);
        own(&past, &Events::default(), 12, &mut row);
        let column = names()
            .iter()
            .position(|name| name == "yesterday +0")
            .unwrap();
        let now = 3000 - 1;
        let truth = (((now + 12) % 288 + 1) as f32).ln() - ((now % 288 + 1) as f32).ln();
        assert!((row[column] - truth).abs() < 1e-5);
    }
}
