//! Frame times, and the cuts and declared durations that must come of them.

use super::*;
use proptest::prelude::*;

const V: TrackId = TrackId::VIDEO;
const A: TrackId = TrackId::AUDIO;

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn terms(segment_max: i64, part: i64, rate: Option<f64>) -> Terms {
    Terms::for_rate(ms(segment_max), ms(part), rate)
}

/// One part as it was cut.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    segment: usize,
    frames: usize,
    declared: Timestamp,
    start: Timestamp,
}

/// The parts of a group of leading frames at these times.
fn cut(terms: Terms, times: impl IntoIterator<Item = Timestamp>, rate: Option<f64>) -> Vec<Part> {
    let mut cutter = Cutter::new(terms, V);
    let mut parts: Vec<Part> = Vec::new();
    for dts in times {
        let cut = cutter.push(V, dts);
        let open = parts.last_mut().map(|part| {
            part.declared = cutter.ended();
            part.segment
        });
        match (cut, open) {
            (None, Some(_)) => {}
            (Some(Cut::Segment), Some(segment)) => parts.push(part(segment + 1, dts)),
            (Some(Cut::Part), Some(segment)) => parts.push(part(segment, dts)),
            (None, None) => parts.push(part(0, dts)),
            (Some(cut), None) => panic!("{cut:?} at the first frame"),
        }
        parts.last_mut().unwrap().frames += 1;
    }
    if let Some(part) = parts.last_mut() {
        part.declared = cutter.finish(cutter.end(None, rate));
    }
    parts
}

fn part(segment: usize, start: Timestamp) -> Part {
    Part {
        segment,
        frames: 0,
        declared: Timestamp::ZERO,
        start,
    }
}

/// `count` frames at a constant rate, stamped in whole milliseconds as RTMP does.
fn steady(rate: f64, first: usize, count: usize) -> impl Iterator<Item = Timestamp> {
    (first..first + count).map(move |n| ms((n as f64 * 1000.0 / rate).round() as i64))
}

#[test]
fn the_part_target_fits_whole_frames() {
    let rows = [
        (None, 400),
        (Some(25.0), 400),
        (Some(30.0), 400),
        (Some(29.97), 400),
        (Some(30000.0 / 1001.0), 400),
        (Some(23.976), 400),
        (Some(60.0), 400),
        (Some(15.0), 400),
        (Some(7.5), 400),
        (Some(12.0), 334),
        (Some(8.0), 400),
        (Some(6.0), 334),
        (Some(4.0), 250),
        (Some(2.0), 500),
        (Some(1.0), 1000),
        (Some(0.1), 6000),
        (Some(1e-300), 6000),
        (Some(f64::NAN), 400),
        (Some(0.0), 400),
    ];
    for (rate, expect) in rows {
        assert_eq!(terms(6000, 400, rate).part_target, ms(expect), "{rate:?}");
    }
}

/// Rate, frames in the group, and how many frames each segment's parts must have.
#[test]
fn steady_frames_fill_their_parts() {
    let rows: [(f64, usize, &[&[usize]]); 6] = [
        (25.0, 25, &[&[10, 10, 5]]),
        (30.0, 30, &[&[12, 12, 6]]),
        (29.97, 60, &[&[12, 12, 12, 12, 12]]),
        (12.0, 12, &[&[4, 4, 4]]),
        (1.0, 5, &[&[1, 1, 1, 1, 1]]),
        (5.0, 40, &[&[2; 15], &[2, 2, 2, 2, 2]]),
    ];
    for (rate, count, expect) in rows {
        let parts = cut(
            terms(6000, 400, Some(rate)),
            steady(rate, 0, count),
            Some(rate),
        );
        let mut segments: Vec<Vec<usize>> = Vec::new();
        for part in parts {
            segments.resize(part.segment + 1, Vec::new());
            segments[part.segment].push(part.frames);
        }
        assert_eq!(segments, expect, "{rate} frames a second");
    }
}

#[test]
fn a_long_group_is_several_segments_of_at_most_the_limit() {
    let parts = cut(terms(6000, 400, Some(25.0)), steady(25.0, 0, 400), None);
    let starts: Vec<i64> = (0..3)
        .map(|n| parts.iter().find(|p| p.segment == n).unwrap())
        .map(|part| part.start.as_millis())
        .collect();
    assert_eq!(starts, [0, 6000, 12000]);
}

#[test]
fn only_leading_frames_cut() {
    let mut cutter = Cutter::new(terms(1000, 400, None), V);
    for at in [0, 5000] {
        assert_eq!(cutter.push(A, ms(at)), None);
    }
    assert_eq!(cutter.push(V, ms(100)), None);
    assert_eq!(cutter.push(A, ms(9000)), None);
    assert_eq!(cutter.push(V, ms(600)), Some(Cut::Part));
    let mut alone = Cutter::new(terms(6000, 400, None), A);
    let cuts: Vec<_> = (0..50).map(|n| alone.push(A, ms(n * 21))).collect();
    assert_eq!(cuts.iter().flatten().count(), 2, "19 packets to a part");
}

#[test]
fn a_gap_ends_the_part_and_is_declared_within_the_terms() {
    let times = [0, 40, 80, 5080, 5120, 14_000, 14_040].map(ms);
    let parts = cut(terms(6000, 400, Some(25.0)), times, Some(25.0));
    let seen: Vec<_> = parts
        .iter()
        .map(|p| (p.segment, p.frames, p.declared.as_millis()))
        .collect();
    assert_eq!(seen, [(0, 3, 400), (0, 2, 400), (1, 2, 80)]);
}

#[test]
fn the_last_part_lasts_as_its_last_frame_says_or_as_the_one_before_or_by_the_rate() {
    type Row = (&'static [i64], Option<i64>, Option<f64>, i64);
    let rows: [Row; 6] = [
        (&[0, 50], Some(30), Some(25.0), 80),
        (&[0, 50], None, Some(25.0), 100),
        (&[0, 0], None, Some(25.0), 40),
        (&[0], None, Some(20.0), 50),
        (&[0], None, None, 40),
        (&[], None, None, 0),
    ];
    for (times, duration, rate, expect) in rows {
        let mut cutter = Cutter::new(terms(6000, 400, None), V);
        for at in times {
            cutter.push(V, ms(*at));
        }
        let declared = cutter.finish(cutter.end(duration.map(ms), rate));
        assert_eq!(declared, ms(expect), "{times:?}");
    }
}

#[test]
fn times_that_stand_still_or_step_back_never_cut_an_empty_part() {
    let parts = cut(
        terms(6000, 400, None),
        [0, 1000, 1000, 1000, 900, 2000].map(ms),
        None,
    );
    let frames: Vec<_> = parts.iter().map(|part| part.frames).collect();
    assert_eq!(frames, [1, 4, 1]);
    assert!(parts.iter().all(|part| part.declared > Timestamp::ZERO));
}

/// Sums of the declared durations by segment.
fn segments(parts: &[Part]) -> Vec<Timestamp> {
    let mut sums = Vec::new();
    for part in parts {
        sums.resize(part.segment + 1, Timestamp::ZERO);
        sums[part.segment] += part.declared;
    }
    sums
}

proptest! {
    #[test]
    fn declared_durations_stay_within_the_terms_whatever_comes(
        steps in prop::collection::vec(prop_oneof![0i64..200_000, 0i64..20_000_000], 0..300),
        part in 1i64..3000,
        segment_max in 1i64..10_000,
        rate in prop::option::of(0.01f64..1000.0),
    ) {
        let terms = terms(segment_max, part, rate);
        let mut now = Timestamp::ZERO;
        let times = steps.iter().map(|step| {
            now += Timestamp::from_micros(*step);
            now
        });
        let parts = cut(terms, times, rate);
        prop_assert_eq!(parts.iter().map(|p| p.frames).sum::<usize>(), steps.len());
        for part in &parts {
            prop_assert!(part.declared > Timestamp::ZERO && part.declared <= terms.part_target);
        }
        for sum in segments(&parts) {
            prop_assert!(sum <= terms.segment_max);
        }
    }

    #[test]
    fn parts_at_a_constant_rate_reach_85_percent_and_tell_the_time(
        rate in prop_oneof![
            1.0f64..240.0,
            prop::sample::select(vec![
                1.0, 5.0, 10.0, 12.0, 12.5, 15.0, 20.0, 23.976, 24.0, 25.0, 29.97, 30.0, 48.0,
                50.0, 59.94, 60.0, 46.875, 43.066,
            ]),
        ],
        part in 200i64..1000,
        first in 0usize..1000,
        seconds in 0.5f64..20.0,
    ) {
        let terms = terms(6000, part, Some(rate));
        let count = (seconds * rate) as usize + 1;
        let parts = cut(terms, steady(rate, first, count), Some(rate));
        let least = terms.part_target.as_micros() * 85 / 100;
        for pair in parts.windows(2).filter(|pair| pair[0].segment == pair[1].segment) {
            prop_assert!(pair[0].declared.as_micros() >= least, "{:?} of {:?}", pair, terms);
            let real = pair[1].start - pair[0].start;
            prop_assert!(real - pair[0].declared <= SLACK + ms(2), "{:?}", pair);
        }
    }
}
