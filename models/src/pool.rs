//! Sans-IO: the training of a pooled model on the past of many series, and its examination.
//!
//! The last fifth of the time is kept from a first model, which is then judged on it step by step, beside the naive
//! methods; what does not beat the best of them is left out. The model that is kept learns from all rows.

use std::collections::BTreeMap;

use crate::artifact::{Card, Model, Quality};
use crate::calendar::{Calendar, Events};
use crate::evaluate::{Replay, Score};
use crate::features;
use crate::mix::Expert;
use crate::series::Series;
use crate::train::{self, Learned, QUANTILES, Settings, Table};

/// One series to learn from.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Its load.
    pub series: &'a Series,
    /// Its announced events.
    pub events: &'a Events,
}

/// How to train a pooled model.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The calendar of the series.
    pub calendar: Calendar,
    /// Length of a step, seconds; series of another step are left out.
    pub step_s: u32,
    /// Horizons in steps.
    pub aheads: Vec<usize>,
    /// How models are trained.
    pub settings: Settings,
    /// Rows of a horizon at most, sampled evenly.
    pub most_rows: usize,
    /// Series that the examination replays at most, taken evenly.
    pub most_judged: usize,
    /// Unix seconds, for the card.
    pub now_s: i64,
}

impl Recipe {
    /// With the usual bounds.
    pub fn new(calendar: Calendar, step_s: u32, aheads: Vec<usize>, now_s: i64) -> Self {
        Self {
            calendar,
            step_s,
            aheads,
            settings: Settings::default(),
            most_rows: 60_000,
            most_judged: 40,
            now_s,
        }
    }
}

/// Share of the time, from its end, on which a model is judged.
const KEPT: f64 = 0.2;

/// Trains a model; `progress` is told shares of the work, 0 to 1. Without enough rows nothing is learned, and said so.
pub fn train(samples: &[Sample<'_>], recipe: &Recipe, mut progress: impl FnMut(f64)) -> Model {
    let fitting = |sample: &&Sample<'_>| sample.series.step_s == recipe.step_s;
    let samples: Vec<Sample<'_>> = samples.iter().filter(fitting).copied().collect();
    let first = samples.iter().map(|s| s.series.first).min().unwrap_or(0);
    let end = samples.iter().map(|s| s.series.end()).max().unwrap_or(0);
    let split = end.saturating_sub((end.saturating_sub(first) as f64 * KEPT) as i64);
    let steps: usize = samples
        .iter()
        .map(|sample| sample.series.values.len())
        .sum();
    let every = steps.div_ceil(recipe.most_rows.max(1)).max(1);
    let mut tables: Vec<Table> = recipe
        .aheads
        .iter()
        .map(|ahead| Table::new(*ahead))
        .collect();
    for (nth, sample) in samples.iter().enumerate() {
        // Another offset for each series, so that each step of the day is sampled.
        let phase = (every, nth.wrapping_mul(7919));
        train::collect(
            sample.series,
            sample.events,
            recipe.calendar,
            phase,
            &mut tables,
        );
        progress(0.2 * (nth + 1) as f64 / samples.len() as f64);
    }
    let count = tables.len() as f64;
    let mut draft = Vec::new();
    for (nth, table) in tables.iter().enumerate() {
        draft.extend(train::learn(
            table.until(split).first(usize::MAX),
            &recipe.settings,
        ));
        progress(0.2 + 0.3 * (nth + 1) as f64 / count);
    }
    let mut horizons = judge(&samples, recipe, split, &draft);
    progress(0.6);
    let mut learned = Vec::new();
    for (nth, (table, quality)) in tables.iter().zip(&mut horizons).enumerate() {
        quality.rows = table.len();
        if quality.is_used {
            learned.extend(train::learn(table.first(usize::MAX), &recipe.settings));
        }
        progress(0.6 + 0.4 * (nth + 1) as f64 / count);
    }
    let card = Card {
        trained_at_s: recipe.now_s,
        series: samples.len(),
        from_s: first.saturating_mul(recipe.step_s.into()),
        to_s: end.saturating_mul(recipe.step_s.into()),
        settings: Some(recipe.settings),
        horizons,
    };
    let (step_s, calendar) = (recipe.step_s, recipe.calendar);
    Model {
        step_s,
        calendar,
        columns: features::names(),
        learned,
        card,
    }
}

/// How good a draft is on what comes from a step on.
fn judge(samples: &[Sample<'_>], recipe: &Recipe, split: i64, draft: &[Learned]) -> Vec<Quality> {
    let clock = recipe.calendar.clock(recipe.step_s);
    let every = samples.len().div_ceil(recipe.most_judged.max(1)).max(1);
    let mut scores: Vec<Vec<Score>> = Vec::new();
    for sample in samples.iter().step_by(every) {
        let series = sample.series;
        let from = usize::try_from(split.saturating_sub(series.first))
            .unwrap_or(0)
            .min(series.values.len());
        let mut replay = Replay::new(series, from, (clock, &recipe.aheads));
        for nth in 0..series.values.len() {
            replay.step(nth, (series, sample.events), draft, &mut |_, _| {});
        }
        scores.push(replay.scores);
    }
    let of = |(nth, ahead): (usize, &usize)| {
        let of_horizon: Vec<&Score> = scores.iter().map(|scores| &scores[nth]).collect();
        let horizon_s = recipe
            .step_s
            .saturating_mul(u32::try_from(*ahead).unwrap_or(u32::MAX));
        let learned = draft.iter().any(|learned| learned.ahead == *ahead);
        quality(&of_horizon, horizon_s, learned)
    };
    recipe.aheads.iter().enumerate().map(of).collect()
}

/// The means over series that had something to forecast.
fn quality(scores: &[&Score], horizon_s: u32, learned: bool) -> Quality {
    let scores: Vec<&Score> = scores
        .iter()
        .filter(|s| s.count > 0 && s.truth > 0.0)
        .copied()
        .collect();
    let mean = |of: &dyn Fn(&Score) -> Option<f64>| {
        let values: Vec<f64> = scores.iter().filter_map(|score| of(score)).collect();
        let finite: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        finite.iter().sum::<f64>() / finite.len().max(1) as f64
    };
    let naive = Expert::ALL.into_iter().filter(|expert| expert.is_naive());
    let naive: BTreeMap<String, f64> = naive
        .filter(|expert| scores.iter().any(|score| score.wape_of(*expert).is_some()))
        .map(|expert| {
            (
                expert.name().to_owned(),
                mean(&|score| score.wape_of(expert)),
            )
        })
        .collect();
    let best = naive.iter().min_by(|a, b| a.1.total_cmp(b.1));
    let wape = mean(&|score| Some(score.wape()));
    let by_quantile = |of: &dyn Fn(&Score, usize) -> f64| {
        let quantiles = QUANTILES.iter().enumerate();
        quantiles
            .map(|(nth, q)| (q.to_string(), mean(&|score| Some(of(score, nth)))))
            .collect()
    };
    Quality {
        horizon_s,
        rows: 0,
        judged: scores.iter().map(|score| score.count).sum(),
        wape,
        mase: mean(&|score| Some(score.mase())),
        best_naive: best.map(|(name, _)| name.clone()).unwrap_or_default(),
        is_used: learned && best.is_some_and(|(_, best)| wape < *best),
        naive,
        coverage: by_quantile(&|score, nth| score.coverage(nth)),
        pinball: by_quantile(&|score, nth| score.pinball[nth][0] / score.truth),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{self, Error};
    use crate::boosting;

    const CALENDAR: Calendar = Calendar {
        day_s: 48,
        week_s: 336,
    };

    /// Days of a shape of its own, which trees can learn and naive methods miss: what happens depends on the last step.
    fn world(seed: u32, steps: i64) -> Series {
        let mut level: f64 = 100.0;
        let mut state = seed;
        let value = |step: i64| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(state >> 8) / f64::from(1 << 24) - 0.5;
            // It goes back to its daily level faster than any smoothing expects.
            let phase = step.rem_euclid(48) as f64 / 48.0 * std::f64::consts::TAU;
            let usual = 100.0 * (2.0 + phase.sin());
            level += 0.7 * (usual - level) + 60.0 * noise;
            level.max(0.0)
        };
        Series {
            first: 0,
            step_s: 1,
            values: (0..steps).map(value).collect(),
        }
    }

    fn recipe() -> Recipe {
        let trees = boosting::Settings {
            trees: 20,
            ..boosting::Settings::default()
        };
        Recipe {
            settings: Settings {
                median: trees,
                quantiles: trees,
                seed: 1,
            },
            most_rows: 4000,
            most_judged: 2,
            ..Recipe::new(CALENDAR, 1, vec![1, 4], 77)
        }
    }

    fn trained(seeds: &[u32]) -> Model {
        let worlds: Vec<Series> = seeds.iter().map(|seed| world(*seed, 1500)).collect();
        let events = Events::default();
        let sample = |series| Sample {
            series,
            events: &events,
        };
        let samples: Vec<Sample<'_>> = worlds.iter().map(sample).collect();
        let mut shares = Vec::new();
        let model = train(&samples, &recipe(), |share| shares.push(share));
        assert!(
            shares.is_sorted() && shares.last() == Some(&1.0),
            "{shares:?}"
        );
        model
    }

    #[test]
    fn a_model_that_beats_the_naive_is_used_and_its_card_says_so() {
        let model = trained(&[1, 2, 3]);
        assert_eq!(model.learned.len(), 2, "{:#?}", model.card);
        for quality in &model.card.horizons {
            assert!(quality.is_used && quality.wape < quality.naive[&quality.best_naive]);
            assert!(quality.judged > 0 && quality.rows > 1000);
            let coverage = quality.coverage["0.9"];
            assert!((0.8..0.98).contains(&coverage), "{coverage}");
        }
    }

    #[test]
    fn the_same_series_and_seed_train_the_same_model() {
        assert_eq!(trained(&[1, 2]).encode(), trained(&[1, 2]).encode());
    }

    #[test]
    fn without_rows_or_without_a_gain_nothing_is_used() {
        let events = Events::default();
        let model = train(&[], &recipe(), |_| {});
        assert!(model.learned.is_empty() && model.card.horizons.iter().all(|q| !q.is_used));
        let constant = Series {
            first: 0,
            step_s: 1,
            values: vec![5.0; 1500],
        };
        let other = Series {
            first: 0,
            step_s: 7,
            values: vec![5.0; 1500],
        };
        let samples = [&constant, &other].map(|series| Sample {
            series,
            events: &events,
        });
        let model = train(&samples, &recipe(), |_| {});
        assert_eq!(model.card.series, 1, "series of another step are left out");
        assert!(model.learned.is_empty(), "nothing beats persistence there");
    }

    #[test]
    fn series_at_the_ends_of_time_teach_nothing() {
        let at = |first| Series {
            first,
            ..world(1, 400)
        };
        let far = [i64::MIN, -5, i64::MAX - 400, i64::MAX].map(at);
        let events = Events::default();
        let samples = far.each_ref().map(|series| Sample {
            series,
            events: &events,
        });
        let model = train(&samples, &recipe(), |_| {});
        let rows = model.card.horizons.iter().map(|quality| quality.rows);
        assert!(rows.max() < Some(400), "{:#?}", model.card);
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        let model = trained(&[1]);
        let bytes = model.encode();
        assert_eq!(Model::decode(&bytes).unwrap(), model);
        let check = |name: &str, bytes: &[u8], expect: Error| {
            assert_eq!(Model::decode(bytes), Err(expect), "{name}");
        };
        check("nothing", &[], Error::Other);
        check("something else", b"PNG and so on", Error::Other);
        check("cut", &bytes[..bytes.len() - 1], Error::Damaged);
        check("its head alone", &bytes[..10], Error::Damaged);
        let mut changed = bytes.clone();
        changed[100] ^= 1;
        check("changed", &changed, Error::Damaged);
        let mut newer = bytes.clone();
        newer[8] = 9;
        check("newer", &newer, Error::Format(9));
        let other = Model {
            columns: vec!["x".into()],
            ..model
        };
        check("other columns", &other.encode(), Error::Columns);
        assert_eq!(artifact::FORMAT, 1);
    }
}
