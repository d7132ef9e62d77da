//! Harm ends a canary soon, noise and what is worse for everybody do not.

use super::*;
use crate::snapshot::mix;

/// Viewers of a side for five seconds, with so many stalls a viewer-hour and a share that waits.
fn side(viewers: f64, stalls_h: f64, waits: f64, bps: f64) -> Count {
    let viewer_s = 5.0 * viewers;
    Count {
        viewer_s,
        stalls: stalls_h * viewer_s / 3_600.0,
        waiting_s: viewer_s * waits / (1.0 - waits),
        bits: viewer_s * bps,
    }
}

fn before() -> Window {
    let mut window = Window::default();
    for _ in 0..60 {
        window.canary.add(&side(50.0, 1.0, 0.0, 1e6), 1.0);
        window.others.add(&side(950.0, 1.0, 0.0, 1e6), 1.0);
    }
    window
}

/// Windows until the canary ends, at most 2,000, and why.
fn run(canary: Count, others: Count) -> Option<(usize, Measure)> {
    let mut trial = Trial::new(before());
    let window = Window { canary, others };
    (1..=2_000).find_map(|nth| Some((nth, trial.push(&window)?.measure)))
}

#[test]
fn harm_ends_a_canary_and_nothing_else_does() {
    let usual = side(950.0, 1.0, 0.0, 1e6);
    for (what, canary, others, expect) in [
        ("the same", side(50.0, 1.0, 0.0, 1e6), usual, None),
        ("a little worse", side(50.0, 1.9, 0.0, 1e6), usual, None),
        (
            "stalls",
            side(50.0, 60.0, 0.0, 1e6),
            usual,
            Some(Measure::Stalls),
        ),
        (
            "stalls of few",
            side(3.0, 120.0, 0.0, 1e6),
            usual,
            Some(Measure::Stalls),
        ),
        (
            "waiting",
            side(50.0, 1.0, 0.2, 1e6),
            usual,
            Some(Measure::Refused),
        ),
        (
            "starved",
            side(50.0, 1.0, 0.0, 5e5),
            usual,
            Some(Measure::Delivery),
        ),
        (
            "all have stalls",
            side(50.0, 60.0, 0.0, 1e6),
            side(950.0, 60.0, 0.0, 1e6),
            None,
        ),
        (
            "all are starved",
            side(50.0, 1.0, 0.0, 5e5),
            side(950.0, 1.0, 0.0, 5e5),
            None,
        ),
        ("nobody there", Count::default(), usual, None),
        (
            "nobody else",
            side(50.0, 1.0, 0.0, 1e6),
            Count::default(),
            None,
        ),
        (
            "stalls, and nobody else",
            side(50.0, 60.0, 0.0, 1e6),
            Count::default(),
            Some(Measure::Stalls),
        ),
    ] {
        let ended = run(canary, others);
        assert_eq!(
            ended.map(|(_, measure)| measure),
            expect,
            "{what}: {ended:?}"
        );
        // In a minute at the earliest, in three at the latest.
        assert!(
            ended.is_none_or(|(windows, _)| (10..=35).contains(&windows)),
            "{what}: {ended:?}"
        );
    }
}

#[test]
fn everybody_waiting_is_harm() {
    let nobody_in = Count {
        waiting_s: 250.0,
        ..Count::default()
    };
    let ended = run(nobody_in, side(950.0, 1.0, 0.0, 1e6));
    assert_eq!(ended, Some((10, Measure::Refused)));
}

#[test]
fn harm_that_begins_late_is_found_as_soon() {
    let mut trial = Trial::new(before());
    let window = |stalls_h| Window {
        canary: side(50.0, stalls_h, 0.0, 1e6),
        others: side(950.0, 1.0, 0.0, 1e6),
    };
    assert!((0..1_000).all(|_| trial.push(&window(0.0)).is_none()));
    let harmed = (1..40).find(|_| trial.push(&window(60.0)).is_some());
    assert!(harmed.is_some_and(|windows| windows <= 35), "{harmed:?}");
    assert!(trial.report().canary_viewer_hours > 60.0);
}

#[test]
fn one_burst_proves_nothing() {
    let mut trial = Trial::new(before());
    let burst = Window {
        canary: side(50.0, 5_000.0, 0.0, 1e6),
        others: side(950.0, 1.0, 0.0, 1e6),
    };
    let quiet = Window {
        canary: side(50.0, 0.0, 0.0, 1e6),
        ..burst
    };
    for _ in 0..50 {
        assert!(trial.push(&burst).is_none());
        assert!((0..30).all(|_| trial.push(&quiet).is_none()));
    }
}

/// Poisson noise around an equal rate, for four hours each: false alarms are rare.
#[test]
fn noise_seldom_ends_a_canary() {
    let ended = |seed: u64| {
        let mut trial = Trial::new(before());
        let mut state = mix(seed + 1);
        let mut uniform = move || {
            state = mix(state.wrapping_add(0x9e37_79b9));
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut count = move |mean: f64| {
            let (mut left, mut n) = ((-mean).exp(), 0.0);
            let mut product = uniform();
            while product > left {
                (product, n) = (product * uniform(), n + 1.0);
            }
            left = n;
            left
        };
        (0..2_880).any(|_| {
            let mut canary = side(50.0, 0.0, 0.0, 1e6);
            canary.stalls = count(4.0 * canary.viewer_s / 3_600.0);
            let mut others = side(950.0, 0.0, 0.0, 1e6);
            others.stalls = count(4.0 * others.viewer_s / 3_600.0);
            trial.push(&Window { canary, others }).is_some()
        })
    };
    let wrong = (0..100).filter(|seed| ended(*seed)).count();
    assert!(wrong <= 3, "{wrong} of 100");
}

#[test]
fn a_tally_parts_regions_and_forgets() {
    let mut tally = Tally::default();
    let (here, there) = (Region::named("here"), Region::named("there"));
    for region in [here, there, there] {
        let load = RegionLoad {
            region,
            viewers: 10,
            egress_bps: 1_000,
            stalls: 2,
            refused: 1,
            ..RegionLoad::default()
        };
        tally.add(&load, 2.0);
    }
    tally.wait(here, 3, 1.0);
    let window = tally.close(|region| region == here);
    let expect = Count {
        viewer_s: 20.0,
        stalls: 2.0,
        waiting_s: 5.0,
        bits: 2_000.0,
    };
    assert_eq!((window.canary, window.others.stalls), (expect, 4.0));
    assert_eq!(tally.regions().len(), 2);
    let past = tally.past(|region| region == there);
    assert_eq!(past.canary.viewer_s, 40.0);
    for _ in 0..2_000 {
        tally.close(|_| false);
    }
    assert!(tally.regions().is_empty());
}
