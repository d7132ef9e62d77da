//! Sans-IO: a load over time in fixed steps, with gaps, and how it comes of samples at any times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Means over consecutive steps; a step without a sample is NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Number of the first step: Unix seconds divided by `step_s`.
    pub first: i64,
    /// Length of a step, seconds.
    pub step_s: u32,
    /// A value a step, in the unit of what is measured; NaN where nothing is known.
    pub values: Vec<f64>,
}

/// Why samples make no series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A step is at least a second.
    #[error("a step of 0 s: give at least one second")]
    NoStep,
    /// Fewer than two times differ, so no step can be found.
    #[error("fewer than two samples at different times")]
    TooFew,
    /// The samples lie farther apart than a series may be long.
    #[error("{0} steps are too many for one series; leave out old samples or take a longer step")]
    TooLong(i64),
    /// Neighbouring samples lie farther apart than a step may be long.
    #[error("samples {0} s apart have no step: are their times Unix seconds?")]
    TooFar(i64),
    /// A time that no calendar reaches.
    #[error("a sample at {0} s: times are Unix seconds")]
    NoTime(i64),
}

/// Steps of the longest series: two years of minutes.
pub const MAX_STEPS: i64 = 1 << 20;

/// Seconds before and after the epoch, thirty million years: it keeps sums of times from overflowing.
const FARTHEST_S: u64 = 1 << 50;

/// Lengths that people choose, seconds.
const ROUND_S: [i64; 15] = [
    1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400,
];
/// A tenth of a length is near it.
const NEAR: i64 = 10;

impl Series {
    /// Means of samples `(Unix seconds, value)` in steps of `step_s`, in whatever order they come.
    ///
    /// Of several samples at the same time the last counts; values that are no finite numbers or below zero are gaps.
    pub fn from_samples(samples: &[(i64, f64)], step_s: u32) -> Result<Self, Error> {
        if step_s == 0 {
            return Err(Error::NoStep);
        }
        let by_time: BTreeMap<i64, f64> = samples.iter().copied().collect();
        let step = i64::from(step_s);
        let (Some((oldest, _)), Some((newest, _))) =
            (by_time.first_key_value(), by_time.last_key_value())
        else {
            return Err(Error::TooFew);
        };
        let far = |time: &&i64| time.unsigned_abs() > FARTHEST_S;
        if let Some(time) = [oldest, newest].into_iter().find(far) {
            return Err(Error::NoTime(*time));
        }
        let first = oldest.div_euclid(step);
        let steps = newest.div_euclid(step) - first + 1;
        if steps > MAX_STEPS {
            return Err(Error::TooLong(steps));
        }
        let mut sums = vec![(0.0, 0_u32); usize::try_from(steps).unwrap_or_default()];
        for (time, value) in by_time {
            if value.is_finite() && value >= 0.0 {
                let nth = usize::try_from(time.div_euclid(step) - first).unwrap_or_default();
                sums[nth].0 += value;
                sums[nth].1 += 1;
            }
        }
        let mean = |(sum, count): (f64, u32)| {
            if count == 0 {
                f64::NAN
            } else {
                sum / f64::from(count)
            }
        };
        Ok(Self {
            first,
            step_s,
            values: sums.into_iter().map(mean).collect(),
        })
    }

    /// The commonest distance between neighbouring times, seconds: what a file without a stated step was taken in. Where
    /// hardly two distances are equal, the clock trembled: then it is the middle one, as a round length when it is near.
    pub fn step_of(times: impl IntoIterator<Item = i64>) -> Result<u32, Error> {
        let mut times: Vec<i64> = times.into_iter().collect();
        times.sort_unstable();
        times.dedup();
        let mut steps: Vec<i64> = times
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]))
            .collect();
        steps.sort_unstable();
        let middle = *steps.get(steps.len() / 2).ok_or(Error::TooFew)?;
        let runs = steps.chunk_by(|a, b| a == b);
        let commonest = runs.max_by_key(|run| (run.len(), -run[0])).unwrap_or(&[]);
        let near = |round: &&i64| (*round - middle).abs().saturating_mul(NEAR) <= **round;
        let step = match commonest {
            [step, ..] if commonest.len() * 3 >= steps.len() => *step,
            _ => ROUND_S.iter().find(near).copied().unwrap_or(middle),
        };
        u32::try_from(step).map_err(|_| Error::TooFar(step))
    }

    /// The value of a step; NaN outside.
    pub fn at(&self, step: i64) -> f64 {
        let nth = usize::try_from(step.saturating_sub(self.first)).ok();
        nth.and_then(|nth| self.values.get(nth))
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// One past the number of the last step.
    pub fn end(&self) -> i64 {
        self.step(self.values.len())
    }

    /// The number of its `nth` step.
    pub fn step(&self, nth: usize) -> i64 {
        self.first.saturating_add(nth as i64)
    }

    /// Unix seconds at which a step begins.
    pub fn time_of(&self, step: i64) -> i64 {
        step.saturating_mul(i64::from(self.step_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_steps_in_whatever_order_they_come() {
        let check = |name: &str, samples: &[(i64, f64)], expect: &[f64]| {
            let series = Series::from_samples(samples, 10).unwrap();
            let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
            assert_eq!(series.values.len(), expect.len(), "{name}: {series:?}");
            assert!(
                series.values.iter().zip(expect).all(same),
                "{name}: {series:?}"
            );
        };
        let gap = f64::NAN;
        check("means", &[(100, 1.0), (105, 3.0), (110, 5.0)], &[2.0, 5.0]);
        check(
            "unordered, twice",
            &[(110, 5.0), (100, 9.0), (100, 1.0)],
            &[1.0, 5.0],
        );
        check("a gap", &[(100, 1.0), (125, 3.0)], &[1.0, gap, 3.0]);
        check(
            "no numbers",
            &[(100, gap), (110, -1.0), (120, f64::INFINITY), (130, 1.0)],
            &[gap, gap, gap, 1.0],
        );
        check("before 1970", &[(-5, 1.0), (5, 2.0)], &[1.0, 2.0]);
    }

    #[test]
    fn what_cannot_be_a_series_is_said() {
        assert_eq!(Series::from_samples(&[(0, 1.0)], 0), Err(Error::NoStep));
        assert_eq!(Series::from_samples(&[], 1), Err(Error::TooFew));
        let far = Series::from_samples(&[(0, 1.0), (i64::from(u32::MAX), 1.0)], 1);
        assert!(matches!(far, Err(Error::TooLong(_))));
    }

    #[test]
    fn times_that_no_calendar_reaches_make_no_series() {
        let (min, max) = (i64::MIN, i64::MAX);
        for times in [
            vec![min, max],
            vec![min, 0],
            vec![0, 10, max],
            vec![max - 1, max],
            vec![min],
            vec![1 << 51, (1 << 51) + 1],
        ] {
            let samples: Vec<(i64, f64)> = times.iter().map(|time| (*time, 1.0)).collect();
            for step_s in [1, 300, u32::MAX] {
                let made = Series::from_samples(&samples, step_s);
                assert!(matches!(made, Err(Error::NoTime(_))), "{times:?}: {made:?}");
            }
        }
        assert_eq!(Series::step_of([min, max]), Err(Error::TooFar(max)));
        assert_eq!(Series::step_of([min, 0, max]), Err(Error::TooFar(max)));
        let farthest = Series::from_samples(&[((1 << 50) - 9, 1.0), (1 << 50, 3.0)], 10).unwrap();
        assert_eq!(farthest.values.iter().sum::<f64>(), 4.0);
        assert!(farthest.at(min).is_nan() && farthest.at(max).is_nan());
        assert_eq!((farthest.time_of(max), farthest.time_of(min)), (max, min));
    }

    #[test]
    fn the_step_is_the_commonest_distance() {
        assert_eq!(Series::step_of([0, 300, 600, 610, 900, 1200]), Ok(300));
        assert_eq!(Series::step_of([7, 7]), Err(Error::TooFew));
        assert_eq!(Series::step_of([0, 700]), Ok(700));
        let trembling = (0..100).map(|nth| nth * 300 + nth * nth * 7919 % 41 - 20);
        assert_eq!(Series::step_of(trembling), Ok(300));
    }
}
