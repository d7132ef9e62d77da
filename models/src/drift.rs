//! Sans-IO: whether a series has changed its ways, and whether its quantiles still hold.

/// Page's test for a rise of a mean (Page, 1954; Hinkley, 1971), on errors in units of what is usual.
#[derive(Clone, Debug, Default)]
pub struct PageHinkley {
    usual: f64,
    seen: u64,
    sum: f64,
    least: f64,
}

/// Rises smaller than this many usual errors are no drift.
const SLACK: f64 = 1.0;
/// How much of excess error raises the alarm: a dozen steps of four usual errors.
const ALARM: f64 = 36.0;
/// One step counts for this many usual errors at most, so that a lone spike is no drift.
const MOST: f64 = 8.0;
/// Steps that say what is usual.
const USUAL: u64 = 100;

impl PageHinkley {
    /// Takes the next absolute error; whether that raises the alarm, after which it begins anew.
    pub fn push(&mut self, error: f64) -> bool {
        if !error.is_finite() {
            return false;
        }
        self.seen += 1;
        let excess = error / self.usual.max(LITTLE);
        let pace = (1.0 / self.seen as f64).max(1.0 / USUAL as f64);
        let bounded = if self.seen < USUAL {
            error
        } else {
            error.min(MOST * self.usual + LITTLE)
        };
        self.usual += pace * (bounded - self.usual);
        if self.seen < USUAL {
            return false;
        }
        self.sum += excess.min(MOST) - 1.0 - SLACK;
        self.least = self.least.min(self.sum);
        let alarm = self.sum - self.least > ALARM;
        if alarm {
            *self = Self::default();
        }
        alarm
    }
}

/// Below this nothing is an error: the rounding of what is kept.
const LITTLE: f64 = 1e-4;

/// Whether the quantile of 0.9 has held for the last hour.
#[derive(Clone, Debug)]
pub struct Holding {
    missed: Vec<bool>,
    at: usize,
    misses: usize,
    holds: bool,
}

impl Holding {
    /// Over so many steps.
    pub fn new(steps: usize) -> Self {
        Self {
            missed: Vec::with_capacity(steps),
            at: 0,
            misses: 0,
            holds: true,
        }
    }

    /// Takes whether the quantile was missed.
    pub fn push(&mut self, missed: bool) {
        if self.missed.len() < self.missed.capacity() {
            self.missed.push(missed);
        } else {
            self.misses -= usize::from(self.missed[self.at]);
            self.missed[self.at] = missed;
            self.at = (self.at + 1) % self.missed.len();
        }
        self.misses += usize::from(missed);
        let share = self.misses as f64 / self.missed.len() as f64;
        let is_full = self.missed.len() == self.missed.capacity();
        self.holds = if self.holds {
            !is_full || share <= LOST
        } else {
            share < HELD
        };
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.holds
    }
}

/// More misses than this of nominally a tenth, and it is lost.
const LOST: f64 = 0.2;
/// Fewer than this, and it is again.
const HELD: f64 = 0.15;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many alarms errors raise.
    fn alarms(errors: impl Iterator<Item = f64>) -> usize {
        let mut test = PageHinkley::default();
        errors.filter(|error| test.push(*error)).count()
    }

    #[test]
    fn a_change_is_noticed_and_noise_or_a_spike_is_not() {
        let noise = |nth: u32| f64::from(nth.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
        assert_eq!(alarms((0..20_000).map(noise)), 0);
        let spike = |nth| {
            if nth == 5000 || nth == 5001 {
                1000.0
            } else {
                noise(nth)
            }
        };
        assert_eq!(alarms((0..20_000).map(spike)), 0);
        let shift = |nth| {
            if (5000..5012).contains(&nth) {
                50.0
            } else {
                noise(nth)
            }
        };
        assert_eq!(alarms((0..20_000).map(shift)), 1);
        let worse = |nth| {
            if nth < 5000 {
                noise(nth)
            } else {
                5.0 * noise(nth)
            }
        };
        assert!(alarms((0..20_000).map(worse)) >= 1);
    }

    #[test]
    fn a_series_without_errors_raises_nothing() {
        assert_eq!(alarms((0..1000).map(|_| 0.0)), 0);
        assert_eq!(alarms((0..1000).map(|_| f64::NAN)), 0);
    }

    #[test]
    fn a_quantile_is_lost_and_held_again() {
        let mut holding = Holding::new(20);
        (0..5).for_each(|_| holding.push(true));
        assert!(holding.holds(), "too few to say");
        (0..15).for_each(|_| holding.push(false));
        assert!(!holding.holds());
        (0..3).for_each(|_| holding.push(false));
        assert!(holding.holds());
    }
}
