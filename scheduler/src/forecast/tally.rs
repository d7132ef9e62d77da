//! Sans-IO: how good the forecasts of the last day were, by kind of series and horizon.
//!
//! Only what was served before it came counts: what is replayed at a start does not.

use std::collections::HashMap;

use models::train::QUANTILES;

use super::subject::Kind;

/// Sums over judged forecasts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Forecasts judged.
    pub count: u64,
    /// Sum of what came.
    pub truth: f64,
    /// Sum of the median's absolute errors.
    pub error: f64,
    /// The same of persistence.
    pub naive: f64,
    /// How often what came was at most each quantile.
    pub below: [u64; QUANTILES.len()],
}

impl Score {
    /// Weighted absolute percentage error, as a share.
    pub fn wape(&self) -> Option<f64> {
        (self.truth > 0.0).then(|| self.error / self.truth)
    }

    /// The same of persistence.
    pub fn naive_wape(&self) -> Option<f64> {
        (self.truth > 0.0).then(|| self.naive / self.truth)
    }

    /// The share of what came that was at most the `nth` quantile.
    pub fn coverage(&self, nth: usize) -> Option<f64> {
        (self.count > 0).then(|| self.below[nth] as f64 / self.count as f64)
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.truth += other.truth;
        self.error += other.error;
        self.naive += other.naive;
        for (sum, below) in self.below.iter_mut().zip(other.below) {
            *sum += below;
        }
    }
}

/// What was said of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Said {
    /// Of which step.
    pub step: i64,
    /// What was there when it was said.
    pub now: f64,
    pub median: f64,
    pub quantiles: [f64; QUANTILES.len()],
}

/// Scores by hour.
#[derive(Debug, Default)]
pub(super) struct Tally(HashMap<(Kind, usize), [(i64, Score); HOURS]>);

/// Hours kept: a day.
const HOURS: usize = 24;

impl Tally {
    /// What came in that hour of what was said for the `nth` horizon.
    pub(super) fn add(
        &mut self,
        (kind, nth): (Kind, usize),
        hour: i64,
        (truth, said): (f64, &Said),
    ) {
        let hours = self.0.entry((kind, nth)).or_default();
        let cell = &mut hours[hour.rem_euclid(HOURS as i64) as usize];
        if cell.0 != hour {
            *cell = (hour, Score::default());
        }
        cell.1.add(&Score {
            count: 1,
            truth,
            error: (said.median - truth).abs(),
            naive: (said.now - truth).abs(),
            below: said.quantiles.map(|quantile| u64::from(truth <= quantile)),
        });
    }

    /// The scores of the day that ends with an hour, by kind and number of the horizon.
    pub(super) fn day(&self, hour: i64) -> Vec<((Kind, usize), Score)> {
        let sum = |(key, hours): (&(Kind, usize), &[(i64, Score); HOURS])| {
            let mut sum = Score::default();
            let fresh = hours.iter().filter(|(of, _)| hour - of < HOURS as i64);
            fresh.for_each(|(_, score)| sum.add(score));
            (*key, sum)
        };
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(sum)
            .filter(|(_, score)| score.count > 0)
            .collect();
        all.sort_by_key(|(key, _)| *key);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(now: f64, median: f64) -> Said {
        Said {
            step: 0,
            now,
            median,
            quantiles: [median + 1.0, median + 2.0, median + 3.0],
        }
    }

    #[test]
    fn a_day_is_summed_and_passes() {
        let mut tally = Tally::default();
        let key = (Kind::Region, 1);
        tally.add(key, 100, (10.0, &said(6.0, 8.0)));
        tally.add(key, 101, (10.0, &said(10.0, 10.0)));
        let day = tally.day(101);
        assert_eq!(day.len(), 1);
        let score = day[0].1;
        assert_eq!((score.wape(), score.naive_wape()), (Some(0.1), Some(0.2)));
        assert_eq!(
            (score.coverage(0), score.coverage(1)),
            (Some(0.5), Some(1.0))
        );
        assert_eq!(tally.day(124)[0].1.wape(), Some(0.0));
        assert!(tally.day(125).is_empty());
        tally.add(key, 124, (0.0, &said(0.0, 0.0)));
        assert_eq!(
            tally.day(124)[0].1.count,
            2,
            "an hour lies down over that of yesterday"
        );
    }

    #[test]
    fn nothing_has_no_share() {
        let score = Score::default();
        assert_eq!((score.wape(), score.coverage(0)), (None, None));
    }
}
