//! Sans-IO: the days of a series that are shown: those in which it moved most.

use models::{forecast::Forecast, series::Series, train::QUANTILES};

/// What was expected for each step and what came.
#[derive(Clone, Debug, Default)]
pub struct Fan {
    /// How many steps ahead it was expected.
    pub ahead: usize,
    /// By the step that was forecast, oldest first.
    points: Vec<(i64, [f32; 1 + QUANTILES.len()])>,
    /// What to draw.
    pub shown: Vec<Point>,
}

/// One step of a fan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Unix seconds of the step that was forecast.
    pub at_s: i64,
    /// What came; NaN where it is not known.
    pub truth: f64,
    /// Median and upper quantiles; NaN where nothing was said.
    pub expected: [f64; 1 + QUANTILES.len()],
}

/// Days shown of a series with short steps, and with steps of half an hour or more.
const DAYS: (usize, usize) = (2, 7);
const LONG_STEP_S: u32 = 1800;
/// More points than pixels say nothing.
const MOST_POINTS: usize = 400;

impl Fan {
    /// Of forecasts so many steps ahead.
    pub fn new(ahead: usize) -> Self {
        Self {
            ahead,
            ..Self::default()
        }
    }

    /// Notes a forecast made at a step, where it is of this horizon.
    pub fn push(&mut self, step: i64, forecast: &Forecast) {
        if forecast.ahead == self.ahead {
            let [a, b, c] = forecast.quantiles;
            let expected = [forecast.median, a, b, c].map(|value| value as f32);
            self.points.push((step + self.ahead as i64, expected));
        }
    }

    /// Keeps the days in which the series moved most within the horizon; none where nothing was forecast.
    pub fn liveliest(mut self, series: &Series, day_s: u32) -> Option<Self> {
        let days = if series.step_s < LONG_STEP_S {
            DAYS.0
        } else {
            DAYS.1
        };
        let length = (days * (day_s / series.step_s) as usize).max(2) as i64;
        let (first, last) = (self.points.first()?.0, self.points.last()?.0);
        let moved = |from: i64| -> f64 {
            let moves = (from..from + length)
                .map(|step| (series.at(step) - series.at(step - self.ahead as i64)).abs());
            moves.filter(|moved| moved.is_finite()).sum()
        };
        let latest = (last - length + 1).max(first);
        let starts = (first..=latest).step_by((length as usize / 4).max(1));
        let from = starts
            .map(|from| (moved(from), from))
            .max_by(|a, b| a.0.total_cmp(&b.0))?
            .1;
        let every = (length as usize).div_ceil(MOST_POINTS);
        self.shown = (from..(from + length).min(last + 1))
            .step_by(every)
            .map(|step| self.point(series, step))
            .collect();
        self.points = Vec::new();
        Some(self)
    }

    fn point(&self, series: &Series, step: i64) -> Point {
        let found = self.points.binary_search_by_key(&step, |(at, _)| *at).ok();
        let expected = found.map_or([f32::NAN; 4], |nth| self.points[nth].1);
        Point {
            at_s: series.time_of(step),
            truth: series.at(step),
            expected: expected.map(f64::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_that_moved_most_are_shown() {
        let quiet_then_loud = |nth: usize| {
            if nth < 400 {
                5.0
            } else {
                5.0 + (nth % 24) as f64
            }
        };
        let series = Series {
            first: 0,
            step_s: 3600,
            values: (0..800).map(quiet_then_loud).collect(),
        };
        let mut fan = Fan::new(2);
        for step in 200..790 {
            let said = Forecast {
                ahead: 2,
                median: 1.0,
                quantiles: [2.0, 3.0, 4.0],
                raw: [0.0; 3],
                experts: [0.0; 11],
            };
            fan.push(step, &said);
            fan.push(step, &Forecast { ahead: 1, ..said });
        }
        let shown = fan.liveliest(&series, 86_400).unwrap().shown;
        assert_eq!(shown.len(), 7 * 24);
        assert!(shown[0].at_s >= 3600 * 370);
        assert!(
            shown
                .iter()
                .all(|point| point.expected == [1.0, 2.0, 3.0, 4.0])
        );
        assert!(Fan::new(1).liveliest(&series, 86_400).is_none());
    }
}
