//! What a report comes to: a few numbers for each horizon over all series.

use std::collections::BTreeMap;

use models::train::QUANTILES;

use crate::forecast::report::{Entry, Report};

/// All of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Series judged at some horizon.
    pub series: usize,
    /// Pairs of series and horizon.
    pub pairs: Tally,
    /// By horizon, seconds.
    pub horizons: BTreeMap<u32, Tally>,
}

/// Means over pairs of series and horizon.
#[derive(Debug, Default)]
pub struct Tally {
    /// Pairs judged.
    pub judged: usize,
    /// Pairs in which the forecast was better than the best simple method.
    pub won: usize,
    /// Pairs in which it was worse by more than [`CLOSE`].
    pub lost: usize,
    /// Change of the error against the best simple method.
    pub best: Mean,
    /// Against each simple method.
    pub naive: BTreeMap<&'static str, Mean>,
    /// The forecasts' WAPE.
    pub wape: Mean,
    /// Coverage of each upper quantile, corrected and raw.
    pub coverage: [[Mean; 2]; QUANTILES.len()],
    /// Change of the pinball loss by the correction.
    pub pinball: [Mean; QUANTILES.len()],
}

/// A share by which a forecast may be worse and nobody would notice.
pub const CLOSE: f64 = 0.02;

/// A mean that grows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean(f64, usize);

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            *self = Self(self.0 + value, self.1 + 1);
        }
    }

    /// The mean; none of nothing.
    pub fn value(self) -> Option<f64> {
        (self.1 > 0).then(|| self.0 / self.1 as f64)
    }
}

/// Sums a report up.
pub fn summary(report: &Report) -> Summary {
    let mut summary = Summary::default();
    let mut last = None;
    for entry in &report.series {
        summary.series += usize::from(last != Some(&entry.id));
        last = Some(&entry.id);
        summary.pairs.add(entry);
        summary
            .horizons
            .entry(entry.horizon_s)
            .or_default()
            .add(entry);
    }
    summary
}

impl Tally {
    fn add(&mut self, entry: &Entry) {
        let against = entry.against_best();
        self.judged += 1;
        self.won += usize::from(against.is_some_and(|change| change < 0.0));
        self.lost += usize::from(against.is_some_and(|change| change > CLOSE));
        self.best.add(against);
        self.wape.add(entry.wape);
        for (name, wape) in &entry.naive {
            let change = wape.and_then(|wape| entry.against(wape));
            self.naive.entry(name).or_default().add(change);
        }
        for (nth, quantile) in QUANTILES.iter().map(f32::to_string).enumerate() {
            let [own, raw] = &mut self.coverage[nth];
            own.add(entry.coverage.get(&quantile).copied());
            raw.add(entry.raw.coverage.get(&quantile).copied());
            let loss = |of: &BTreeMap<String, Option<f64>>| of.get(&quantile).copied().flatten();
            let pair = loss(&entry.pinball).zip(loss(&entry.raw.pinball));
            let pair = pair.filter(|(_, raw)| *raw > 0.0);
            self.pinball[nth].add(pair.map(|(own, raw)| own / raw - 1.0));
        }
    }
}
