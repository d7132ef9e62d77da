//! Sans-IO: times that were measured, and what is said of them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How long something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delays {
    /// How often it was measured.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 99 of a hundred took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// An empty one.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("so many digits are possible")
}

/// Notes a time.
pub fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    histogram
        .record(us.clamp(1, LONGEST_US))
        .expect("it grows as it must");
}

impl From<&Histogram<u64>> for Delays {
    /// Of microseconds.
    fn from(us: &Histogram<u64>) -> Self {
        let ms = |quantile| us.value_at_quantile(quantile) as f64 / 1000.0;
        match us.len() {
            0 => Self::default(),
            count => Self {
                count,
                p50_ms: ms(0.5),
                p99_ms: ms(0.99),
                max_ms: us.max() as f64 / 1000.0,
            },
        }
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => f.write_str("not measured"),
            _ => write!(
                f,
                "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                self.p50_ms, self.p99_ms, self.max_ms
            ),
        }
    }
}

/// Significant decimal digits: errors below a tenth of a per cent.
const DIGITS: u8 = 3;
/// A day: histograms grow with the largest value.
const LONGEST_US: u64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_is_recorded_and_nothing_measured_is_no_time() {
        let mut times = histogram();
        assert_eq!(Delays::from(&times), Delays::default());
        record(&mut times, Duration::MAX);
        record(&mut times, Duration::ZERO);
        record(&mut times, Duration::from_millis(20));
        let said = Delays::from(&times);
        assert_eq!(said.count, 3);
        assert!((said.p50_ms - 20.0).abs() < 0.1, "{said}");
        assert!(said.max_ms >= 86_400_000.0, "{said}");
    }
}
