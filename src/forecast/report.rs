//! What an evaluation found: figures for machines (`--json`, `report.json`) and a table for the terminal.
//!
//! A figure that does not exist (an error relative to nothing) is null. A field is added when there is something new to
//! say; none changes its meaning.

use std::{collections::BTreeMap, fmt};

use models::{evaluate::Score, mix::Expert, train::QUANTILES};
use serde::Serialize;

use super::{data::Counts, time};

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// A series at a horizon each, by series and then horizon.
    pub series: Vec<Entry>,
    /// What was asked and could not be judged.
    pub skipped: Vec<Skipped>,
    /// The rows of the file.
    pub data: Counts,
}

/// A series at one horizon.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The series.
    pub id: String,
    /// How far ahead, seconds.
    pub horizon_s: u32,
    /// The series' step, seconds.
    pub step_s: u32,
    /// Forecasts judged.
    pub n: usize,
    /// Sum of absolute errors over sum of values.
    pub wape: Option<f64>,
    /// Mean absolute error over the mean movement from a day before in the first half.
    pub mase: Option<f64>,
    /// Pinball loss of each upper quantile over the sum of values.
    pub pinball: BTreeMap<String, Option<f64>>,
    /// Share of values at or below each upper quantile.
    pub coverage: BTreeMap<String, f64>,
    /// WAPE of each expert that spoke, over the steps at which it did.
    pub experts: BTreeMap<&'static str, Option<f64>>,
    /// The same of those that need no training.
    pub naive: BTreeMap<&'static str, Option<f64>>,
    /// What the median was too low by where the load rose by a fifth or more within the horizon, over what came there.
    pub ramp_under: Option<f64>,
    /// The quantiles before they were corrected.
    pub raw: Raw,
}

/// Quantiles as the trees said them.
#[derive(Clone, Debug, Serialize)]
pub struct Raw {
    /// As in [`Entry`].
    pub pinball: BTreeMap<String, Option<f64>>,
    /// As in [`Entry`].
    pub coverage: BTreeMap<String, f64>,
}

/// A horizon of a series that was not judged.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// The series.
    pub id: String,
    /// How far ahead, seconds.
    pub horizon_s: u32,
    /// Why, in words.
    pub reason: String,
}

impl Skipped {
    /// With its reason.
    pub fn new(id: &str, horizon_s: u32, reason: String) -> Self {
        Self {
            id: id.to_owned(),
            horizon_s,
            reason,
        }
    }
}

/// A share of the load, below which an error is rounding.
const ROUNDING: f64 = 1e-6;

impl Entry {
    /// From the sums of an evaluation.
    pub fn new(id: &str, step_s: u32, score: &Score) -> Self {
        let wape = |expert: &Expert| {
            let (error, truth) = score.experts.get(expert)?;
            Some((expert.name(), ratio(*error, *truth)))
        };
        let coverage =
            |kind: usize| by_quantile(|q| score.below[q][kind] as f64 / score.count as f64);
        let pinball = |kind: usize| by_quantile(|q| ratio(score.pinball[q][kind], score.truth));
        let mean_error = score.error / score.count.max(1) as f64;
        let rounding = score.error <= ROUNDING * score.truth;
        Self {
            id: id.to_owned(),
            horizon_s: score.ahead as u32 * step_s,
            step_s,
            n: score.count,
            wape: ratio(score.error, score.truth),
            mase: if rounding {
                Some(0.0)
            } else {
                ratio(mean_error, score.scale)
            },
            pinball: pinball(0),
            coverage: coverage(0),
            experts: Expert::ALL.iter().filter_map(wape).collect(),
            naive: Expert::ALL
                .iter()
                .filter(|e| e.is_naive())
                .filter_map(wape)
                .collect(),
            ramp_under: score.ramp_under(),
            raw: Raw {
                pinball: pinball(1),
                coverage: coverage(1),
            },
        }
    }

    /// The simple method that turned out best, and its WAPE.
    pub fn best_naive(&self) -> Option<(&'static str, f64)> {
        let known = self
            .naive
            .iter()
            .filter_map(|(name, wape)| Some((*name, (*wape)?)));
        known.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// How much larger the error is than another's, as a share; negative is better.
    pub fn against(&self, other: f64) -> Option<f64> {
        match (self.wape?, other) {
            (own, other) if other > 0.0 => Some(own / other - 1.0),
            (own, _) => (own <= ROUNDING).then_some(0.0),
        }
    }

    /// The same against the best simple method.
    pub fn against_best(&self) -> Option<f64> {
        self.against(self.best_naive()?.1)
    }

    /// The share of values below the nth upper quantile.
    pub fn coverage_of(&self, nth: usize) -> f64 {
        self.coverage
            .get(&QUANTILES[nth].to_string())
            .copied()
            .unwrap_or(f64::NAN)
    }
}

fn by_quantile<T>(figure: impl Fn(usize) -> T) -> BTreeMap<String, T> {
    let named = QUANTILES.iter().enumerate();
    named
        .map(|(nth, quantile)| (quantile.to_string(), figure(nth)))
        .collect()
}

/// No error of nothing is none; an error of nothing cannot be said.
fn ratio(error: f64, whole: f64) -> Option<f64> {
    match whole > 0.0 {
        true => Some(error / whole).filter(|ratio| ratio.is_finite()),
        false => (error == 0.0).then_some(0.0),
    }
}

/// A share in percent, with about three digits.
pub fn percent(share: Option<f64>) -> String {
    match share.map(|share| share * 100.0) {
        None => "–".into(),
        Some(value) if value.abs() < 10.0 => format!("{value:.2}"),
        Some(value) if value.abs() < 1000.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// A change in percent, signed.
pub fn change(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| {
        format!("{:+.1}", share * 100.0).replace('-', "−")
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .series
            .iter()
            .map(|entry| entry.id.chars().count())
            .max();
        let width = width.unwrap_or(0).clamp(6, 44);
        writeln!(
            f,
            "{:width$} {:>7} {:>7} {:>8}  {:<22} {:>8}  {:>6} {:>6} {:>6}",
            "series",
            "ahead",
            "n",
            "WAPE %",
            "best simple method",
            "against",
            "90 %",
            "95 %",
            "99 %"
        )?;
        for entry in &self.series {
            let best = entry.best_naive();
            let best = best.map(|(name, wape)| format!("{name} {}", percent(Some(wape))));
            let id: String = entry.id.chars().take(width).collect();
            write!(
                f,
                "{id:width$} {:>7} {:>7} {:>8}  {:<22} {:>8} ",
                time::length(entry.horizon_s),
                entry.n,
                percent(entry.wape),
                best.unwrap_or_default(),
                change(entry.against_best()),
            )?;
            for nth in 0..QUANTILES.len() {
                write!(f, " {:>6.1}", entry.coverage_of(nth) * 100.0)?;
            }
            writeln!(f)?;
        }
        for skipped in &self.skipped {
            let horizon = time::length(skipped.horizon_s);
            writeln!(
                f,
                "skipped: {} at {horizon}: {}",
                skipped.id, skipped.reason
            )?;
        }
        writeln!(f, "{}", self.data)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows, {} without a value, {} bad",
            self.rows, self.gaps, self.bad
        )?;
        match &self.first_bad {
            Some(first) => write!(f, " (the first: {first})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(truth: f64, error: f64, scale: f64) -> Score {
        Score {
            ahead: 3,
            count: 10,
            truth,
            error,
            scale,
            below: [[9, 8], [10, 9], [10, 10]],
            experts: [
                (Expert::Persistence, (5.0, truth)),
                (Expert::Rls, (1.0, truth)),
            ]
            .into(),
            ..Score::default()
        }
    }

    #[test]
    fn figures_are_ratios_of_sums_and_quantiles_go_by_name() {
        let entry = Entry::new("a", 300, &score(100.0, 4.0, 0.8));
        assert_eq!((entry.horizon_s, entry.n), (900, 10));
        assert_eq!((entry.wape, entry.mase), (Some(0.04), Some(0.5)));
        assert_eq!(entry.best_naive(), Some(("persistence", 0.05)));
        assert!((entry.against_best().unwrap() + 0.2).abs() < 1e-12);
        assert_eq!(entry.coverage["0.9"], 0.9);
        assert_eq!(entry.raw.coverage["0.95"], 0.9);
        assert_eq!(
            entry.coverage.keys().collect::<Vec<_>>(),
            ["0.9", "0.95", "0.99"]
        );
        assert_eq!(entry.naive.len(), 1);
    }

    #[test]
    fn what_cannot_be_said_is_null_and_nothing_missed_of_nothing_is_no_error() {
        let zero = Entry::new("a", 300, &score(0.0, 0.0, 0.0));
        assert_eq!((zero.wape, zero.mase), (Some(0.0), Some(0.0)));
        assert_eq!(zero.naive["persistence"], None);
        let risen = Entry::new("a", 300, &score(0.0, 1.0, 0.0));
        assert_eq!((risen.wape, risen.mase), (None, None));
        let json = serde_json::to_string(&risen).unwrap();
        assert!(json.contains("\"wape\":null") && !json.contains("NaN"));
    }
}
