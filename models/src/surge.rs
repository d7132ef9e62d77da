//! Sans-IO: an unannounced crowd, noticed by its joins: a cumulative sum (Page, 1954) over bins of a few seconds.
//!
//! Joins come like drops, so their variance is at least their mean. An alarm lasts for a while, in which what is usual
//! is not learned; then the new rate becomes the usual one.

use serde::{Deserialize, Serialize};

/// The joins of one region or stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surge {
    mean: f64,
    variance: f64,
    seen: u32,
    sum: f64,
    /// Bins for which the alarm still lasts.
    left: u32,
}

/// Seconds of a bin: two of them are the 20 s in which a crowd has to be noticed.
pub const BIN_S: u32 = 10;
/// Deviations of excess joins that raise the alarm.
const SIGMAS: f64 = 5.0;
/// Deviations by which a bin may exceed the mean without counting.
const SLACK: f64 = 1.5;
/// Fewer joins than this in a bin are no crowd, however quiet it was.
const LEAST: f64 = 8.0;
/// Bins that say what is usual: ten minutes.
const USUAL: f64 = 60.0;
/// Bins before anything is unusual: five minutes.
const YOUNG: u32 = 30;
/// Bins an alarm lasts for: 15 minutes.
const LASTS: u32 = 90;

impl Surge {
    /// Takes the joins of the next bin; whether a crowd has just begun to come.
    pub fn push(&mut self, joins: f64) -> bool {
        if !joins.is_finite() || joins < 0.0 {
            return false;
        }
        if self.left > 0 {
            self.left -= 1;
            if self.left == 0 {
                *self = Self {
                    mean: joins,
                    variance: joins,
                    seen: YOUNG,
                    ..Self::default()
                };
            }
            return false;
        }
        let deviation = self.variance.max(self.mean).max(1.0).sqrt();
        let excess = (joins - self.mean) / deviation - SLACK;
        let is_young = self.seen < YOUNG;
        self.sum = if is_young {
            0.0
        } else {
            (self.sum + excess).max(0.0)
        };
        if self.sum > SIGMAS && joins >= LEAST {
            self.left = LASTS;
            return true;
        }
        self.seen = self.seen.saturating_add(1);
        let pace = (1.0 / f64::from(self.seen)).max(1.0 / USUAL);
        let distance = joins - self.mean;
        self.mean += pace * distance;
        self.variance += pace * (distance * distance - self.variance);
        false
    }

    /// Whether a crowd is coming.
    pub fn is_on(&self) -> bool {
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// About as many joins as a mean says, by a seed: the sum of many small chances.
    fn drops(mean: f64, state: &mut u64) -> f64 {
        let mut count = 0;
        for _ in 0..1000 {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 32;
            count += u32::from((mixed as f64) < mean / 1000.0 * f64::from(u32::MAX));
        }
        f64::from(count)
    }

    #[test]
    fn a_crowd_is_noticed_within_two_bins() {
        for (before, during) in [
            (0.0, 20.0),
            (1.0, 15.0),
            (5.0, 40.0),
            (50.0, 150.0),
            (100.0, 200.0),
        ] {
            for seed in 0..20 {
                let (mut surge, mut state) = (Surge::default(), seed);
                (0..100).for_each(|_| _ = surge.push(drops(before, &mut state)));
                let noticed = (0..2).any(|_| surge.push(drops(during, &mut state)));
                assert!(
                    noticed && surge.is_on(),
                    "{before} to {during}, seed {seed}"
                );
            }
        }
    }

    #[test]
    fn an_even_stream_of_joins_is_no_crowd() {
        let mut alarms = 0;
        for seed in 0..20 {
            let (mut surge, mut state) = (Surge::default(), seed);
            for nth in 0..1000 {
                // It doubles over three hours.
                let mean = 20.0 + 20.0 * f64::from(nth) / 1000.0;
                alarms += u32::from(surge.push(drops(mean, &mut state)));
            }
        }
        assert!(alarms <= 4, "{alarms} alarms in 55 hours");
    }

    #[test]
    fn an_alarm_ends_and_the_new_rate_is_usual() {
        let mut surge = Surge::default();
        (0..50).for_each(|_| _ = surge.push(5.0));
        assert!(surge.push(100.0));
        (0..LASTS).for_each(|_| assert!(!surge.push(100.0)));
        assert!(!surge.is_on());
        assert!((0..100).all(|_| !surge.push(100.0)));
    }

    proptest! {
        #[test]
        fn any_joins_are_survived(joins in prop::collection::vec(any::<f64>(), 0..300)) {
            let mut surge = Surge::default();
            joins.into_iter().for_each(|joins| _ = surge.push(joins));
            prop_assert!(surge.mean.is_finite());
        }
    }
}
