//! Forecasts of loads that no telemetry should send, and of such as it does.

use proptest::prelude::*;

use super::*;
use crate::calendar::{Calendar, Event};

const DAY: usize = 48;

fn clock() -> Clock {
    let calendar = Calendar {
        day_s: 48,
        week_s: 336,
    };
    calendar.clock(1)
}

fn context(events: &Events) -> Context<'_> {
    Context {
        flow: None,
        events,
        learned: &[],
    }
}

/// The last forecasts of a series of values, and how often it changed its ways.
fn run(values: impl IntoIterator<Item = f64>) -> (Vec<Forecast>, Drifts) {
    let mut forecaster = Forecaster::new(clock(), &[1, 3, 12]);
    let (events, mut last) = (Events::default(), Vec::new());
    for (step, value) in values.into_iter().enumerate() {
        last = forecaster.update((step as i64, value), context(&events));
        last.iter().for_each(sane);
    }
    (last, forecaster.drifts())
}

fn sane(forecast: &Forecast) {
    let all = forecast.quantiles.iter().chain([&forecast.median]);
    assert!(
        all.clone().all(|value| value.is_finite() && *value >= 0.0),
        "{forecast:?}"
    );
    assert!(
        all.clone().all(|value| *value >= forecast.median),
        "{forecast:?}"
    );
    assert!(forecast.quantiles.is_sorted(), "{forecast:?}");
}

/// A daily shape with a little noise.
fn daily(step: usize) -> f64 {
    let phase = step as f64 / DAY as f64 * std::f64::consts::TAU;
    let noise = (step as u32).wrapping_mul(2_654_435_761) >> 16;
    1000.0 * (1.5 + phase.sin()) * (1.0 + f64::from(noise) / 65_536.0 * 0.04)
}

#[test]
fn what_a_day_repeats_is_forecast() {
    let steps = 20 * DAY;
    let (last, drifts) = run((0..steps).map(daily));
    for forecast in &last {
        let truth = daily(steps - 1 + forecast.ahead);
        let error = (forecast.median / truth - 1.0).abs();
        assert!(error < 0.06, "{} steps ahead: {error}", forecast.ahead);
        assert!(forecast.quantiles[2] < 1.5 * truth);
    }
    assert_eq!(drifts.count, 0);
}

#[test]
fn constant_and_zero_series_are_forecast_as_such() {
    for value in [0.0, 7.0, 1e9] {
        let (last, drifts) = run((0..500).map(|_| value));
        for forecast in &last {
            assert!(
                (forecast.median - value).abs() <= 1e-3 * value,
                "{forecast:?}"
            );
            assert!(forecast.quantiles[2] <= 1.02 * value + 0.01, "{forecast:?}");
        }
        assert_eq!(drifts.count, 0, "{value}");
    }
}

#[test]
fn nothing_known_forecasts_nothing_and_one_value_forecasts_itself() {
    let (last, _) = run([f64::NAN, f64::INFINITY, -3.0]);
    assert!(last.is_empty());
    let (last, _) = run([5.0]);
    assert!(
        last.iter()
            .all(|forecast| (forecast.median - 5.0).abs() < 1e-3)
    );
}

#[test]
fn a_gap_of_hours_is_bridged() {
    let gap = |step: usize| (500..520).contains(&step) || (900..1100).contains(&step);
    let value = |step| if gap(step) { f64::NAN } else { daily(step) };
    let (last, _) = run((0..1400).map(value));
    let error = (last[0].median / daily(1400) - 1.0).abs();
    assert!(error < 0.06, "{error}");
}

#[test]
fn a_shift_of_level_is_followed_and_raises_the_alarm_once() {
    let value = |step| {
        if step < 700 {
            daily(step)
        } else {
            10.0 * daily(step)
        }
    };
    let (last, drifts) = run((0..800).map(value));
    let error = (last[0].median / value(800) - 1.0).abs();
    assert!(error < 0.1, "{error}");
    assert_eq!(drifts.count, 1);
    let noticed = drifts.last.unwrap();
    assert!((700..724).contains(&noticed), "{noticed}");
}

#[test]
fn drift_is_judged_by_the_farthest_horizon_within_an_hour() {
    let value = |step| if step < 700 { 1.0 } else { 10.0 } * daily(step);
    let drifts = |aheads: &[usize]| {
        let mut forecaster = Forecaster::new(clock(), aheads);
        for step in 0..800 {
            forecaster.update((step as i64, value(step)), context(&Events::default()));
        }
        forecaster.drifts()
    };
    let alone = drifts(&[2]);
    assert_eq!(alone.count, 1);
    assert_eq!(drifts(&[1, 2, 12]), alone, "an hour is two steps");
    assert_eq!(drifts(&[12]).count, 0, "none is within an hour");
}

#[test]
fn a_lone_spike_raises_no_alarm_and_does_not_stay() {
    let value = |step| if step == 700 { 1e6 } else { daily(step) };
    let (last, drifts) = run((0..760).map(value));
    assert_eq!(drifts.count, 0);
    assert!((last[0].median / daily(760) - 1.0).abs() < 0.06);
}

#[test]
fn a_shifted_hour_is_survived() {
    // As when clocks change: the daily shape comes an hour earlier from some day on.
    let value = |step| {
        if step < 700 {
            daily(step)
        } else {
            daily(step + 2)
        }
    };
    let (last, _) = run((0..1100).map(value));
    assert!((last[0].median / daily(1102) - 1.0).abs() < 0.06);
}

#[test]
fn steps_that_are_past_or_come_twice_change_nothing() {
    let events = Events::default();
    let mut forecaster = Forecaster::new(clock(), &[1]);
    (0..100).for_each(|step| _ = forecaster.update((step, 5.0), context(&events)));
    assert!(forecaster.update((99, 900.0), context(&events)).is_empty());
    assert!(forecaster.update((3, 900.0), context(&events)).is_empty());
    assert_eq!(forecaster.past().now(), 6.0_f32.ln());
}

#[test]
fn steps_beyond_any_calendar_change_nothing() {
    let event = |start_s| Event {
        start_s,
        length_s: u32::MAX,
        peak: f64::INFINITY,
        ramp_s: 0,
    };
    let events = Events::new(vec![event(i64::MIN), event(i64::MAX)]);
    let mut forecaster = Forecaster::new(clock(), &[1, 12]);
    for extreme in [i64::MIN, i64::MAX] {
        assert!(
            forecaster
                .update((extreme, 5.0), context(&events))
                .is_empty()
        );
    }
    for first in [-(1 << 50), 0, (1 << 50) - 100] {
        for step in first..first + 50 {
            let made = forecaster.update((step, 5.0), context(&events));
            made.iter().for_each(sane);
            assert_eq!(made.len(), 2);
        }
        for extreme in [i64::MIN, i64::MAX] {
            assert!(
                forecaster
                    .update((extreme, 9.0), context(&events))
                    .is_empty()
            );
        }
        assert_eq!(forecaster.past().now(), 6.0_f32.ln());
    }
}

#[test]
fn joins_tell_a_crowd_before_it_is_there() {
    let events = Events::default();
    let mut forecaster = Forecaster::new(clock(), &[12]);
    let mut last = Vec::new();
    for step in 0..200 {
        let joins_per_s = if step < 199 { 1.0 } else { 50.0 };
        let flow = Some(Flow {
            joins_per_s,
            leaves_per_s: 1.0,
        });
        last = forecaster.update(
            (step, 100.0),
            Context {
                flow,
                ..context(&events)
            },
        );
    }
    let birth_death = last[0].experts[Expert::BirthDeath as usize];
    assert!(birth_death > 500.0, "{birth_death}");
}

#[test]
fn announced_events_have_quantiles_of_their_own() {
    let event = |nth: i64| Event {
        start_s: nth * 50,
        length_s: 10,
        peak: 100.0,
        ramp_s: 1,
    };
    let events = Events::new((0..40).map(event).collect());
    let mut forecaster = Forecaster::new(clock(), &[1]);
    let mut widths = [0.0; 2];
    for step in 0..2000_i64 {
        let on = step % 50 < 10;
        let noise = f64::from((step as u32).wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
        let value = 100.0 + if on { 100.0 * noise } else { noise };
        let made = forecaster.update((step, value), context(&events));
        if step > 1500 {
            let in_event = (step + 1) % 50 < 10 && step % 50 < 9;
            widths[usize::from(in_event)] += made[0].quantiles[0] - made[0].median;
        }
    }
    assert!(widths[1] > widths[0], "{widths:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_values_make_sane_forecasts(
        values in prop::collection::vec(prop_oneof![
            8 => 0.0..1e6_f64,
            1 => Just(0.0),
            1 => any::<f64>(),
        ], 1..400),
    ) {
        run(values);
    }
}

#[test]
fn a_load_that_begins_after_long_silence_has_no_wild_quantiles() {
    let (last, _) = run((0..900).map(|step| if step < 800 { 0.0 } else { 900.0 }));
    assert!(
        last.iter()
            .all(|forecast| forecast.quantiles[2] <= 10.1 * 900.0),
        "{last:?}"
    );
}

#[test]
fn what_repeats_exactly_is_not_above_its_quantiles() {
    let value = |step: usize| [10.0, 11.0, 12.0][step % 3];
    let mut forecaster = Forecaster::new(clock(), &[3]);
    let (events, mut missed, mut made) = (Events::default(), 0, Vec::new());
    for step in 0..600_usize {
        let forecasts = forecaster.update((step as i64, value(step)), context(&events));
        made.push(forecasts[0].quantiles[0]);
        assert!(step < 300 || forecaster.holds(0), "{step}");
        missed += usize::from(step > 300 && value(step) > made[step - 3]);
    }
    assert!(missed < 30, "{missed}");
}
