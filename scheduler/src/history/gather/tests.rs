//! Samples in time and out of it: what a step is told as.

use cluster::sample::StreamViewers;
use proptest::prelude::*;

use super::*;
use crate::snapshot::fixture::{FRANKFURT, sample};

/// The begin of a minute.
const T0: u64 = 1_800_000_000_000;

fn gather() -> Gather {
    Gather::new(Time::default(), 2)
}

fn edge(id: &str, seq: u64, viewers: u32) -> Sample {
    let here = RegionLoad {
        region: Region::named("here"),
        viewers,
        egress_bps: u64::from(viewers) * 1_000_000,
        joins: 1,
        ..RegionLoad::default()
    };
    let key = StreamKey::parse("live/x").unwrap();
    Sample {
        seq,
        at_ms: T0 + seq * 1000,
        cpu: 0.5,
        egress_bps: here.egress_bps,
        viewers: vec![StreamViewers {
            key,
            viewers,
            joins: 1,
            leaves: 0,
        }],
        regions: vec![here],
        ..sample(id, Role::Edge, FRANKFURT)
    }
}

fn take(gather: &mut Gather, at_s: u64, samples: Vec<Sample>) -> usize {
    let samples: Vec<_> = samples.into_iter().map(Arc::new).collect();
    gather.take(T0 + at_s * 1000, &samples).len()
}

/// The values of a series by step, counted from the first minute.
fn told(told: &[Told], id: &str) -> Vec<(i64, f64)> {
    let first = Time::default().step_at(T0);
    let mut found = Vec::new();
    for (step, rows) in told {
        let row = rows.iter().find(|(name, _)| name == id);
        found.extend(row.map(|(_, point)| (step - first, f64::from(point.mean))));
    }
    found
}

#[test]
fn a_step_is_the_mean_of_its_seconds() {
    let mut gather = gather();
    for second in 1..=60 {
        let viewers = if second <= 30 { 10 } else { 20 };
        take(&mut gather, second, vec![edge("a", second, viewers)]);
        take(&mut gather, second, vec![edge("b", second, 5)]);
        assert!(gather.close(T0 + second * 1000).is_empty());
    }
    let all = gather.close(T0 + 62_000);
    for (id, value) in [
        ("region/here/demand", 20.0),
        ("region/here/viewers", 20.0),
        ("region/here/egress_bps", 20e6),
        ("region/here/joins", 2.0),
        ("region/here/leaves", 0.0),
        ("total/demand", 20.0),
        ("total/joins", 2.0),
        ("node/a/viewers", 15.0),
        ("node/a/cpu", 0.5),
        ("node/b/egress_bps", 5e6),
        ("stream/live/x/viewers", 20.0),
        ("stream/live/x/joins", 2.0),
    ] {
        assert_eq!(told(&all, id), [(0, value)], "{id}");
    }
    assert!(gather.close(T0 + 63_000).is_empty(), "told once");
}

#[test]
fn those_outside_are_demand() {
    let mut gather = gather();
    let region = Region::named("here");
    for second in 1..=60 {
        let mut sample = edge("a", second, 10);
        sample.regions[0].refused = 3;
        take(&mut gather, second, vec![sample]);
        gather.wait(T0 + second * 1000, &[(region, 2)].into());
    }
    let all = gather.close(T0 + 62_000);
    assert_eq!(told(&all, "region/here/viewers"), [(0, 10.0)]);
    let demand = told(&all, "region/here/demand")[0].1;
    assert!((14.9..=15.0).contains(&demand), "{demand}");
}

#[test]
fn what_comes_twice_counts_once() {
    let mut gather = gather();
    for second in 1..=60_u64 {
        let from = second.saturating_sub(4).max(1);
        let batch: Vec<_> = (from..=second).map(|seq| edge("a", seq, 10)).collect();
        assert_eq!(take(&mut gather, second, batch), 1, "{second}");
    }
    let all = gather.close(T0 + 62_000);
    assert_eq!(told(&all, "region/here/viewers"), [(0, 10.0)]);
    assert_eq!(told(&all, "region/here/joins"), [(0, 1.0)]);
}

#[test]
fn samples_that_had_waited_are_told_where_they_belong() {
    let mut gather = gather();
    for second in 1..=60 {
        take(&mut gather, second, vec![edge("a", second, 10)]);
        if second <= 30 {
            take(&mut gather, second, vec![edge("b", second, 10)]);
        }
    }
    let first = gather.close(T0 + 62_000);
    assert_eq!(told(&first, "region/here/viewers"), [(0, 15.0)]);
    let batch: Vec<_> = (31..=80).map(|seq| edge("b", seq, 10)).collect();
    take(&mut gather, 80, batch);
    let again = gather.close(T0 + 80_000);
    let viewers = told(&again, "region/here/viewers")[0];
    assert_eq!(viewers, (0, 20.0));
}

#[test]
fn a_node_that_restarts_or_whose_clock_jumps_goes_on() {
    let mut gather = gather();
    take(&mut gather, 10, vec![edge("a", 500, 1)]);
    let mut restarted = edge("a", 0, 1);
    restarted.at_ms = T0 + 520_000;
    assert_eq!(take(&mut gather, 11, vec![restarted]), 1);
    let mut back = edge("a", 1, 1);
    back.at_ms = 5;
    assert_eq!(take(&mut gather, 12, vec![back]), 1);
}

#[test]
fn a_clock_that_is_put_back_counts_nothing_twice() {
    let mut gather = gather();
    for second in 3_600..3_660 {
        take(&mut gather, second, vec![edge("a", second, 10)]);
    }
    for second in 1..=60 {
        let mut sample = edge("a", 3_660 + second, 10);
        sample.at_ms = T0 + second * 1000;
        take(&mut gather, second, vec![sample]);
    }
    let all = gather.close(T0 + 62_000);
    assert_eq!(told(&all, "region/here/viewers"), [(0, 10.0)]);
    assert!(gather.steps.len() <= 2);
}

#[test]
fn what_nobody_measured_is_a_gap_and_who_is_gone_is_zero() {
    let mut gather = gather();
    let origin = |seq: u64| Sample {
        seq,
        at_ms: T0 + seq * 1000,
        ..sample("origin", Role::Origin, FRANKFURT)
    };
    for second in 1..=60 {
        take(&mut gather, second, vec![edge("a", second, 10)]);
        take(&mut gather, second, vec![origin(second)]);
    }
    for second in (61..=120).chain(181..=240) {
        take(&mut gather, second, vec![origin(second)]);
    }
    let all = gather.close(T0 + 242_000);
    let expected = [(0, 10.0), (1, 0.0), (3, 0.0)];
    let seen = told(&all, "region/here/demand");
    let close = |(a, b): (&(i64, f64), &(i64, f64))| a.0 == b.0 && (a.1 - b.1).abs() < 0.3;
    // One sample after the silence speaks for some of it.
    let seen: Vec<_> = seen.into_iter().filter(|(step, _)| *step != 2).collect();
    assert!(
        seen.len() == 3 && seen.iter().zip(&expected).all(close),
        "{seen:?}"
    );
    assert_eq!(
        told(&all, "stream/live/x/viewers").len(),
        told(&all, "total/viewers").len()
    );
    assert_eq!(told(&all, "node/a/cpu").len(), 1);
}

#[test]
fn only_the_most_watched_streams_are_told_of() {
    let mut gather = gather();
    let viewers = |n: u32| StreamViewers {
        key: StreamKey::parse(&format!("live/{n}")).unwrap(),
        viewers: n,
        joins: 0,
        leaves: 0,
    };
    for second in 1..=60 {
        let streams = (1..=5).map(viewers).collect();
        take(
            &mut gather,
            second,
            vec![Sample {
                viewers: streams,
                ..edge("a", second, 0)
            }],
        );
    }
    let all = gather.close(T0 + 62_000);
    let told = |n: u32| told(&all, &format!("stream/live/{n}/viewers")).len();
    assert_eq!((1..=5).map(told).collect::<Vec<_>>(), [0, 0, 0, 1, 1]);
}

#[test]
fn a_day_in_five_minutes_has_no_holes() {
    let time = Time::scaled(288.0, std::time::Duration::from_secs(300)).unwrap();
    let mut gather = Gather::new(time, 2);
    let mut all = Vec::new();
    for second in 1..=300 {
        // Reports come when they come.
        let jitter = second * 37 % 90;
        let now_ms = T0 + second * 1000 + jitter;
        for node in ["a", "b"] {
            gather.take(now_ms, &[Arc::new(edge(node, second, 10))]);
        }
        all.extend(gather.close(now_ms + 10));
    }
    let steps: BTreeMap<i64, f64> = all
        .iter()
        .map(|(step, rows)| {
            let row = rows
                .iter()
                .find(|(id, _)| id == "region/here/viewers")
                .unwrap();
            (*step, f64::from(row.1.mean))
        })
        .collect();
    let (first, last) = (*steps.keys().next().unwrap(), *steps.keys().last().unwrap());
    assert_eq!(last - first + 1, steps.len() as i64);
    assert!(steps.len() > 280, "{}", steps.len());
    let whole = steps.range(first + 1..last);
    for (step, viewers) in whole {
        assert!((viewers - 20.0).abs() < 0.5, "{step}: {viewers}");
    }
}

proptest! {
    /// Whatever is lost, late or doubled, no viewer is made up and every value is a number.
    #[test]
    fn nothing_is_made_up(
        events in prop::collection::vec((0_u64..3, 0_u64..4, 0_u32..100), 1..200),
        node_clock in prop::sample::select(vec![0_u64, T0, u64::MAX / 2]),
    ) {
        let mut gather = gather();
        let (mut seq, mut now_s, mut all, mut most) = (0_u64, 0, Vec::new(), 0);
        let mut backlog: Vec<Sample> = Vec::new();
        for (kind, gap, viewers) in events {
            now_s += gap;
            most = most.max(viewers);
            seq += 1;
            let mut sample = edge("a", seq, viewers);
            sample.at_ms = node_clock.wrapping_add(seq * 1000);
            backlog.push(sample);
            match kind {
                0 => {}
                1 => { take(&mut gather, now_s, backlog.clone()); }
                _ => { take(&mut gather, now_s, std::mem::take(&mut backlog)); }
            }
            if backlog.len() > 50 {
                backlog.clear();
            }
            all.extend(gather.close(T0 + now_s * 1000));
        }
        all.extend(gather.close_all());
        for (_, value) in told(&all, "region/here/viewers") {
            prop_assert!(value.is_finite() && value <= f64::from(most) * 1.001, "{value} of {most}");
        }
        prop_assert!(gather.steps.len() < 10);
    }
}
