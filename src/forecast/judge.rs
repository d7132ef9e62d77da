//! Evaluates many series on all cores; the same answers in the same order on any number of them.
//!
//! What a series answers depends on its own samples alone: no model is shared, so that a series judged alone and among
//! a thousand gets the same figures. Times that were taken are kept apart from what was found.

use std::{
    io::Write as _,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use flate2::{Compression, write::GzEncoder};
use indicatif::ProgressBar;
use models::{
    calendar::{Calendar, Events},
    evaluate::{self, Plan, Score, Seen},
    features,
    forecast::{Context, Forecast, Forecaster},
    series::Series,
    train::Learned,
};

use super::{
    data::{Announced, Data},
    fan::Fan,
    report::{Entry, Skipped},
};

/// What is asked of each series.
#[derive(Clone, Debug)]
pub struct Question {
    /// How far ahead, seconds.
    pub horizons_s: Vec<u32>,
    /// How long a day and a week are.
    pub calendar: Calendar,
    /// Rows of a horizon that a model is trained on at most.
    pub most_rows: usize,
    /// How often models are trained anew in the second half at most.
    pub most_trainings: usize,
}

/// What came of one series.
#[derive(Debug, Default)]
pub struct Answer {
    /// Its name.
    pub id: String,
    /// A figure of each kind for each horizon.
    pub entries: Vec<Entry>,
    /// Horizons that could not be judged.
    pub skipped: Vec<Skipped>,
    /// Its rows of `forecasts.csv`, a gzip member of its own.
    pub forecasts: Vec<u8>,
    /// Its liveliest days, by the farthest horizon.
    pub fan: Option<Fan>,
    /// How often the last model branches on each column, all horizons together.
    pub uses: Vec<u32>,
    /// How long it took.
    pub timing: Timing,
}

/// How long things took on this machine.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Timing {
    /// The whole evaluation, seconds.
    pub evaluate_s: f64,
    /// The last training of all horizons, seconds.
    pub train_s: f64,
    /// Rows of the horizon with the most, in that training.
    pub train_rows: usize,
    /// One step of the series with the forecasts of all horizons, microseconds.
    pub update_us: f64,
}

/// Judges each series, the longest first, so that no core is left with it at the end.
pub fn all(
    data: &Data,
    events: &Announced,
    question: &Question,
    threads: usize,
    bar: &ProgressBar,
) -> Vec<Answer> {
    let mut order: Vec<_> = data.series.iter().enumerate().collect();
    order.sort_by_key(|(_, (_, samples))| std::cmp::Reverse(samples.len()));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut answers = Vec::new();
        while let Some((nth, (id, samples))) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            answers.push((*nth, one(id, samples, &events.of(id), question)));
            bar.inc(samples.len() as u64);
        }
        answers
    };
    let mut answers = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.flat_map(|answers| answers.expect("no series makes evaluation panic"))
            .collect::<Vec<_>>()
    });
    answers.sort_by_key(|(nth, _)| *nth);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn one(id: &str, samples: &[(i64, f64)], events: &Events, question: &Question) -> Answer {
    let mut answer = Answer {
        id: id.to_owned(),
        ..Answer::default()
    };
    let series = match series(samples) {
        Ok(series) => series,
        Err(error) => {
            let skip = |horizon_s: &u32| Skipped::new(id, *horizon_s, error.to_string());
            answer.skipped = question.horizons_s.iter().map(skip).collect();
            return answer;
        }
    };
    let mut aheads = Vec::new();
    for horizon_s in &question.horizons_s {
        match ahead(&series, *horizon_s) {
            Ok(ahead) => aheads.push(ahead),
            Err(why) => answer.skipped.push(Skipped::new(id, *horizon_s, why)),
        }
    }
    if !aheads.is_empty() {
        answer.judge(&series, events, question.plan(aheads));
    }
    answer
}

/// Samples in the step that they were taken in.
pub fn series(samples: &[(i64, f64)]) -> Result<Series, models::series::Error> {
    let step_s = Series::step_of(samples.iter().map(|(at, _)| *at))?;
    Series::from_samples(samples, step_s)
}

/// A horizon in steps, or why there is none.
pub fn ahead(series: &Series, horizon_s: u32) -> Result<usize, String> {
    let step_s = series.step_s;
    if horizon_s == 0 || !horizon_s.is_multiple_of(step_s) {
        return Err(format!(
            "{horizon_s} s is no multiple of the step of {step_s} s"
        ));
    }
    let (ahead, half) = ((horizon_s / step_s) as usize, series.values.len() / 2);
    if ahead >= half {
        return Err(format!(
            "{ahead} steps ahead are too many for {} steps: half of the series is judged",
            series.values.len()
        ));
    }
    Ok(ahead)
}

impl Question {
    /// How a series is evaluated at horizons of so many steps.
    pub fn plan(&self, aheads: Vec<usize>) -> Plan {
        Plan {
            most_rows: self.most_rows,
            most_trainings: self.most_trainings,
            ..Plan::new(self.calendar, aheads)
        }
    }
}

impl Answer {
    fn judge(&mut self, series: &Series, events: &Events, plan: Plan) {
        let began = Instant::now();
        let mut rows = GzEncoder::new(Vec::new(), Compression::default());
        let farthest = plan.aheads.iter().copied().max().unwrap_or(1);
        let mut fan = Fan::new(farthest);
        let (mut learned, mut trains) = (Vec::new(), began);
        let scores = evaluate::evaluate(series, events, &plan, |seen| match seen {
            Seen::Training(rows) => (self.timing.train_rows, trains) = (rows, Instant::now()),
            Seen::Learned(last) => {
                self.timing.train_s = trains.elapsed().as_secs_f64();
                learned = last.to_vec();
            }
            Seen::Forecast(step, forecast) => {
                let truth = series.at(step + forecast.ahead as i64);
                let made = series.time_of(step);
                let horizon_s = series.time_of(forecast.ahead as i64);
                let row = row(&self.id, (made, horizon_s), forecast, truth);
                rows.write_all(row.as_bytes())
                    .expect("memory takes what is written");
                fan.push(step, forecast);
            }
        });
        self.forecasts = rows.finish().expect("memory takes what is written");
        self.timing.evaluate_s = began.elapsed().as_secs_f64();
        self.enter(series, &scores);
        self.fan = fan.liveliest(series, plan.calendar.day_s);
        self.timing.update_us = update_us(series, events, &plan, &learned);
        self.uses = vec![0; features::width()];
        for learned in &learned {
            let uses = learned.median.uses(features::width());
            let sums = self.uses.iter_mut().zip(uses);
            sums.for_each(|(sum, uses)| *sum += uses);
        }
    }

    fn enter(&mut self, series: &Series, scores: &[Score]) {
        for score in scores {
            let horizon_s = score.ahead as u32 * series.step_s;
            match score.count {
                0 => {
                    let why = "no step of the second half has a known value so far ahead";
                    self.skipped
                        .push(Skipped::new(&self.id, horizon_s, why.to_owned()));
                }
                _ => self
                    .entries
                    .push(Entry::new(&self.id, series.step_s, score)),
            }
        }
    }
}

/// The mean time of a step over the last ones of a series.
fn update_us(series: &Series, events: &Events, plan: &Plan, learned: &[Learned]) -> f64 {
    let mut forecaster = Forecaster::new(plan.calendar.clock(series.step_s), &plan.aheads);
    let timed = TIMED_STEPS.min(series.values.len() / 2).max(1);
    let untimed = series.values.len() - timed;
    let mut began = Instant::now();
    for (nth, value) in series.values.iter().enumerate() {
        if nth == untimed {
            began = Instant::now();
        }
        let learned = if nth < untimed { &[] } else { learned };
        let context = Context {
            flow: None,
            events,
            learned,
        };
        forecaster.update((series.first + nth as i64, *value), context);
    }
    began.elapsed().as_secs_f64() * 1e6 / timed as f64
}

/// Enough for a mean, and less than a second.
const TIMED_STEPS: usize = 2000;

/// The header of `forecasts.csv.gz`.
pub const FORECASTS_HEADER: &str = "series,made,horizon_s,median,q90,q95,q99,truth\n";

/// A row of `forecasts.csv.gz`; forecasts with the seven digits that they have, the truth with all.
fn row(id: &str, (made, horizon_s): (i64, i64), forecast: &Forecast, truth: f64) -> String {
    let mut row = quoted(id);
    row += &format!(",{made},{horizon_s}");
    let [q90, q95, q99] = forecast.quantiles;
    for value in [forecast.median, q90, q95, q99] {
        row += &format!(",{:?}", short(value));
    }
    row += &match truth.is_nan() {
        true => ",\n".to_owned(),
        false => format!(",{truth:?}\n"),
    };
    row
}

/// A number with the seven digits that a forecast has.
fn short(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

/// A field of CSV (RFC 4180).
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// The header as a gzip member, to stand before those of the series.
pub fn forecasts_header() -> Vec<u8> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::default());
    zip.write_all(FORECASTS_HEADER.as_bytes())
        .expect("memory takes what is written");
    zip.finish().expect("memory takes what is written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_names_and_numbers_of_any_size() {
        let said = Forecast {
            ahead: 1,
            median: 1.0 / 3.0,
            quantiles: [2.0, 3e300, 4e300],
            raw: [0.0; 3],
            experts: [0.0; 11],
        };
        let known = row("a, \"b\"", (600, 300), &said, 0.1);
        assert_eq!(
            known,
            "\"a, \"\"b\"\"\",600,300,0.3333333,2.0,3e300,4e300,0.1\n"
        );
        assert!(row("a", (600, 300), &said, f64::NAN).ends_with(",4e300,\n"));
    }
}
