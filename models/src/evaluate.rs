//! Sans-IO: how good the forecasts of a series would have been: a rolling origin over its second half.
//!
//! At each step forecasts are made from what was known then; models are trained anew at set steps, on rows whose
//! targets were known by then. Nothing after a step can change a forecast made at it.

use std::collections::BTreeMap;

use crate::calendar::{Calendar, Clock, Events};
use crate::forecast::{Context, Forecast, Forecaster};
use crate::mix::Expert;
use crate::series::Series;
use crate::train::{self, Learned, QUANTILES, Settings, Table};

/// What came of the forecasts of one series at one horizon.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// How many steps ahead.
    pub ahead: usize,
    /// Forecasts judged.
    pub count: usize,
    /// Sum of what came.
    pub truth: f64,
    /// Sum of absolute errors of the median.
    pub error: f64,
    /// Sums of the absolute errors of each expert and of what came, over the steps at which it spoke.
    pub experts: BTreeMap<Expert, (f64, f64)>,
    /// Sums of the pinball loss of each of [`QUANTILES`], corrected and raw.
    pub pinball: [[f64; 2]; QUANTILES.len()],
    /// How often what came was below each of [`QUANTILES`], corrected and raw.
    pub below: [[usize; 2]; QUANTILES.len()],
    /// Sum of what the median was too low by where the load rose by more than [`RAMP`], and of what came there.
    pub ramp: (f64, f64),
    /// Mean absolute movement from a day before, over the first half: what MASE divides by.
    pub scale: f64,
}

/// A load that rises by this factor within a horizon is a ramp.
pub const RAMP: f64 = 1.2;

/// How to evaluate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The calendar of the series.
    pub calendar: Calendar,
    /// Horizons in steps.
    pub aheads: Vec<usize>,
    /// How models are trained.
    pub settings: Settings,
    /// Rows of a horizon that are kept for training at most.
    pub most_rows: usize,
    /// How often models are trained anew in the second half at most.
    pub most_trainings: usize,
}

impl Plan {
    /// With the usual bounds: four months of five minutes without sampling, and a training every few days.
    pub fn new(calendar: Calendar, aheads: Vec<usize>) -> Self {
        Self {
            calendar,
            aheads,
            settings: Settings::default(),
            most_rows: 34_000,
            most_trainings: 8,
        }
    }
}

/// What happens in an evaluation.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// A training begins, on so many rows of the horizon that has most.
    Training(usize),
    /// It is over, and this was learned.
    Learned(&'a [Learned]),
    /// This was forecast at a step.
    Forecast(i64, &'a Forecast),
}

/// Evaluates one series; `seen` is told of trainings, and of forecasts from the first training on, a little before the
/// second half.
pub fn evaluate(
    series: &Series,
    events: &Events,
    plan: &Plan,
    mut seen: impl FnMut(Seen<'_>),
) -> Vec<Score> {
    let count = series.values.len();
    let half = count / 2;
    let clock = plan.calendar.clock(series.step_s);
    let every = count.div_ceil(plan.most_rows.max(1));
    let mut tables: Vec<Table> = plan.aheads.iter().map(|ahead| Table::new(*ahead)).collect();
    train::collect(series, events, plan.calendar, (every, 0), &mut tables);
    let trainings = trainings(series, plan);
    let mut learned = Vec::new();
    let mut replay = Replay::new(series, half, (clock, &plan.aheads));
    let first = trainings.first().copied().unwrap_or(i64::MAX);
    for nth in 0..count {
        let step = series.step(nth);
        if trainings.contains(&step) {
            let known = |table: &Table| table.known_at.partition_point(|at| *at < step);
            seen(Seen::Training(tables.iter().map(known).max().unwrap_or(0)));
            let parts = tables.iter().map(|table| table.first(known(table)));
            learned = parts
                .filter_map(|part| train::learn(part, &plan.settings))
                .collect();
            seen(Seen::Learned(&learned));
        }
        replay.step(
            nth,
            (series, events),
            &learned,
            &mut |step, forecast: &Forecast| {
                if step >= first {
                    seen(Seen::Forecast(step, forecast));
                }
            },
        );
    }
    replay.scores
}

/// One series forecast step by step and judged from some step on.
pub(crate) struct Replay {
    forecaster: Forecaster,
    judged_from: usize,
    pub(crate) scores: Vec<Score>,
}

impl Replay {
    pub(crate) fn new(
        series: &Series,
        judged_from: usize,
        (clock, aheads): (Clock, &[usize]),
    ) -> Self {
        let score = |ahead: &usize| begin(series, judged_from, *ahead, clock.day);
        Self {
            forecaster: Forecaster::new(clock, aheads),
            judged_from,
            scores: aheads.iter().map(score).collect(),
        }
    }

    /// Takes the `nth` value, with what was learned by then.
    pub(crate) fn step(
        &mut self,
        nth: usize,
        (series, events): (&Series, &Events),
        learned: &[Learned],
        seen: &mut impl FnMut(i64, &Forecast),
    ) {
        let (step, value) = (series.step(nth), series.values[nth]);
        let context = Context {
            flow: None,
            events,
            learned,
        };
        let forecasts = self.forecaster.update((step, value), context);
        forecasts.iter().for_each(|forecast| seen(step, forecast));
        if nth < self.judged_from || value.is_nan() {
            return;
        }
        for (score, forecast) in self.scores.iter_mut().zip(&forecasts) {
            let truth = series.at(step + forecast.ahead as i64);
            score.add(forecast, value, truth);
        }
    }
}

/// The steps before which models are trained anew: from a little before the second half on.
pub fn trainings(series: &Series, plan: &Plan) -> Vec<i64> {
    let (count, day) = (series.values.len(), plan.calendar.clock(series.step_s).day);
    let half = count / 2;
    let every = (half / plan.most_trainings.max(1)).max(day).max(1);
    let warm = half.saturating_sub(WARM_DAYS * day).max(half / 2);
    (warm..count)
        .step_by(every)
        .map(|nth| series.step(nth))
        .collect()
}

/// Days before the second half in which the mixture gets to know the first model.
const WARM_DAYS: usize = 3;

fn begin(series: &Series, until: usize, ahead: usize, day: usize) -> Score {
    let first = &series.values[..until];
    let moves = first
        .iter()
        .zip(first.iter().skip(day))
        .map(|(a, b)| (a - b).abs());
    let moves: Vec<f64> = moves.filter(|moved| !moved.is_nan()).collect();
    let scale = moves.iter().sum::<f64>() / moves.len().max(1) as f64;
    Score {
        ahead,
        scale,
        ..Score::default()
    }
}

impl Score {
    fn add(&mut self, forecast: &Forecast, now: f64, truth: f64) {
        if truth.is_nan() {
            return;
        }
        self.count += 1;
        self.truth += truth;
        self.error += (forecast.median - truth).abs();
        if truth > RAMP * now {
            self.ramp.0 += (truth - forecast.median).max(0.0);
            self.ramp.1 += truth;
        }
        for expert in Expert::ALL {
            let said = forecast.experts[expert as usize];
            if said.is_finite() {
                let (error, sum) = self.experts.entry(expert).or_default();
                *error += (said - truth).abs();
                *sum += truth;
            }
        }
        for (nth, quantile) in QUANTILES.into_iter().map(f64::from).enumerate() {
            for (kind, value) in [forecast.quantiles[nth], forecast.raw[nth]]
                .into_iter()
                .enumerate()
            {
                let less = truth - value;
                self.pinball[nth][kind] += (quantile * less).max((quantile - 1.0) * less);
                self.below[nth][kind] += usize::from(truth <= value);
            }
        }
    }

    /// What the median was too low by where the load rose steeply, as a share of what came; none without such steps.
    pub fn ramp_under(&self) -> Option<f64> {
        (self.ramp.1 > 0.0).then(|| self.ramp.0 / self.ramp.1)
    }

    /// Weighted absolute percentage error of the median, as a share.
    pub fn wape(&self) -> f64 {
        self.error / self.truth
    }

    /// The same of an expert, over the steps at which it spoke.
    pub fn wape_of(&self, expert: Expert) -> Option<f64> {
        let (error, truth) = self.experts.get(&expert)?;
        Some(error / truth)
    }

    /// Mean absolute scaled error against yesterday's value (Hyndman and Koehler, 2006).
    pub fn mase(&self) -> f64 {
        self.error / self.count.max(1) as f64 / self.scale
    }

    /// The share of what came that was at most each of [`QUANTILES`], corrected.
    pub fn coverage(&self, nth: usize) -> f64 {
        self.below[nth][0] as f64 / self.count.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boosting;

    fn series(seed: u32) -> Series {
        let value = |step: i64| {
            let noise = (step as u32 ^ seed).wrapping_mul(2_654_435_761) >> 16;
            let phase = step.rem_euclid(48) as f64 / 48.0 * std::f64::consts::TAU;
            1000.0 * (1.5 + phase.sin()) * (1.0 + f64::from(noise) / 65_536.0 * 0.2)
        };
        Series {
            first: 5,
            step_s: 1,
            values: (0..1600).map(value).collect(),
        }
    }

    fn forecasts(series: &Series) -> (Vec<(i64, Forecast)>, Vec<Score>) {
        let trees = boosting::Settings {
            trees: 5,
            ..boosting::Settings::default()
        };
        let plan = Plan {
            calendar: Calendar {
                day_s: 48,
                week_s: 336,
            },
            aheads: vec![1, 4],
            settings: Settings {
                median: trees,
                quantiles: trees,
                seed: 1,
            },
            most_rows: 2000,
            most_trainings: 4,
        };
        let mut seen = Vec::new();
        let mut trainings = 0;
        let scores = evaluate(series, &Events::default(), &plan, |what| match what {
            Seen::Training(rows) => assert!(rows > 300),
            Seen::Learned(learned) => trainings += learned.len(),
            Seen::Forecast(step, forecast) => seen.push((step, forecast.clone())),
        });
        assert!(trainings >= 4, "two horizons, trained more than once");
        (seen, scores)
    }

    #[test]
    fn what_comes_later_changes_no_forecast() {
        let (whole, mut changed) = (series(1), series(1));
        let cut = 1200;
        let other = series(99);
        for nth in cut..changed.values.len() {
            changed.values[nth] = 7.0 * other.values[nth];
        }
        let (before, after) = (forecasts(&whole).0, forecasts(&changed).0);
        let until = whole.first + cut as i64;
        let early = |seen: &[(i64, Forecast)]| -> Vec<_> {
            let early = seen.iter().filter(|(step, _)| *step < until);
            // As text, so that what is unknown equals itself.
            early.map(|seen| format!("{seen:?}")).collect()
        };
        assert!(early(&before).len() > 700);
        assert_eq!(early(&before), early(&after));
    }

    #[test]
    fn scores_are_those_of_the_second_half() {
        let series = series(1);
        let (seen, scores) = forecasts(&series);
        assert_eq!(scores[0].count, 799, "the last step's truth is not known");
        assert_eq!(scores[1].count, 796);
        let half = series.first + 800;
        let made = seen
            .iter()
            .filter(|(step, forecast)| forecast.ahead == 1 && *step >= half);
        let errors = made.filter_map(|(step, forecast)| {
            let truth = series.at(step + 1);
            (!truth.is_nan()).then(|| (forecast.median - truth).abs())
        });
        assert!((errors.sum::<f64>() - scores[0].error).abs() < 1e-6);
        assert!(scores[0].wape() < scores[0].wape_of(Expert::Persistence).unwrap());
        assert!(scores[0].mase() < 1.0 && (0.8..1.0).contains(&scores[0].coverage(0)));
    }
}
