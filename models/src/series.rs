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
}

/// Steps of the longest series: two years of minutes.
pub const MAX_STEPS: i64 = 1 << 20;

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
        let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.sort_unstable();
        let middle = *steps.get(steps.len() / 2).ok_or(Error::TooFew)?;
        let runs = steps.chunk_by(|a, b| a == b);
        let commonest = runs.max_by_key(|run| (run.len(), -run[0])).unwrap_or(&[]);
        let near = |round: &&i64| (*round - middle).abs() * NEAR <= **round;
        let step = match commonest {
            [step, ..] if commonest.len() * 3 >= steps.len() => *step,
            _ => ROUND_S.iter().find(near).copied().unwrap_or(middle),
        };
        u32::try_from(step).map_err(|_| Error::TooLong(step))
    }

    /// The same in steps `times` as long; a long step without half of its short ones is a gap.
    pub fn coarser(&self, times: u32) -> Self {
        let times = i64::from(times.max(1));
        let first = self.first.div_euclid(times);
        let end = (self.first + self.values.len() as i64).div_euclid(times);
        let mean = |step: i64| {
            let known: Vec<f64> = (step * times..(step + 1) * times)
                .map(|n| self.at(n))
                .filter(|v| !v.is_nan())
                .collect();
            if known.len() as i64 * 2 < times {
                return f64::NAN;
            }
            known.iter().sum::<f64>() / known.len() as f64
        };
        let step_s = self
            .step_s
            .saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
        Self {
            first,
            step_s,
            values: (first..end).map(mean).collect(),
        }
    }

    /// The value of a step; NaN outside.
    pub fn at(&self, step: i64) -> f64 {
        let nth = usize::try_from(step - self.first).ok();
        nth.and_then(|nth| self.values.get(nth))
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// One past the number of the last step.
    pub fn end(&self) -> i64 {
        self.first + self.values.len() as i64
    }

    /// Unix seconds at which a step begins.
    pub fn time_of(&self, step: i64) -> i64 {
        step * i64::from(self.step_s)
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
    fn the_step_is_the_commonest_distance() {
        assert_eq!(Series::step_of([0, 300, 600, 610, 900, 1200]), Ok(300));
        assert_eq!(Series::step_of([7, 7]), Err(Error::TooFew));
        assert_eq!(Series::step_of([0, 700]), Ok(700));
        let trembling = (0..100).map(|nth| nth * 300 + nth * nth * 7919 % 41 - 20);
        assert_eq!(Series::step_of(trembling), Ok(300));
    }

    #[test]
    fn a_coarser_series_is_its_means() {
        let series = Series {
            first: 3,
            step_s: 60,
            values: vec![1.0, 3.0, f64::NAN, 5.0, 9.0],
        };
        let coarse = series.coarser(2);
        assert_eq!(
            (coarse.first, coarse.step_s, coarse.values),
            (1, 120, vec![1.0, 3.0, 7.0])
        );
        assert_eq!(coarse_time(), 120);
        fn coarse_time() -> i64 {
            Series {
                first: 0,
                step_s: 120,
                values: vec![],
            }
            .time_of(1)
        }
    }
}
