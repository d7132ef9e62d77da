//! Sans-IO: a candidate's plans beside the active ones, slot by slot, and what the difference is.
//!
//! Both plan the same view, so slots are pairs and demand cancels out. What remains is correlated
//! from slot to slot; means of long blocks hardly are, so the interval is Student's over as many
//! blocks as each is long (batch means). Shares are ratios of sums, with the interval of the ratio.

use std::collections::VecDeque;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::plan::trade::Figures;

/// A figure as it is told: what it is called, its unit and factor, and how it is read.
struct Told {
    key: &'static str,
    name: &'static str,
    unit: &'static str,
    per_unit: f64,
    /// Told as a share of the active one.
    relative: bool,
    read: fn(&Figures) -> f64,
}

#[rustfmt::skip]
const TOLD: [Told; 6] = [
    Told { key: "usd_per_month", name: "cost", unit: "USD/month", per_unit: 1.0, relative: true, read: |f| f.usd_per_month },
    Told { key: "rtt_p50_ms", name: "RTT p50", unit: "ms", per_unit: 1.0, relative: false, read: |f| f.rtt_p50_ms },
    Told { key: "rtt_p95_ms", name: "RTT p95", unit: "ms", per_unit: 1.0, relative: false, read: |f| f.rtt_p95_ms },
    Told { key: "extra_rtt_ms", name: "RTT over nearest", unit: "ms", per_unit: 1.0, relative: false, read: |f| f.extra_rtt_ms },
    Told { key: "overload_bps", name: "overload", unit: "Mbit/s", per_unit: 1e6, relative: false, read: |f| f.overload_bps },
    Told { key: "moved", name: "moved viewers", unit: "%", per_unit: 0.01, relative: false, read: |f| f.moved },
];

/// Slots compared: a day of 30 s. Of a longer comparison the newest day counts.
pub const MAX_SLOTS: usize = 2_880;

/// Fewer give no interval.
pub const LEAST_SLOTS: usize = 8;

/// Pairs of slots so far.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    pairs: VecDeque<(Figures, Figures)>,
    /// Slots in which one of the two planned nothing that has a size.
    skipped: u64,
}

/// An estimate, and the interval that holds it in 95 of 100 cases; none while slots are too few.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The interval's ends.
    pub interval: Option<(f64, f64)>,
}

/// Whether a figure of the candidate is better; less is, of each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval is below nothing.
    Better,
    /// The whole interval is above nothing.
    Worse,
    /// The interval holds nothing, or there is no difference at all.
    Same,
    /// There is no interval yet.
    Open,
}

/// One figure, compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The field of [`Figures`].
    pub key: String,
    /// For people.
    pub name: String,
    /// Of the values.
    pub unit: String,
    /// Mean under the active policies.
    pub active: f64,
    /// Mean under the candidate.
    pub candidate: f64,
    /// The candidate's minus the active one's.
    pub difference: Estimate,
    /// The same in percent of the active one's; absent where that is nothing.
    pub percent: Option<Estimate>,
    /// Whether it is better.
    pub verdict: Verdict,
}

/// A comparison so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Slots compared.
    pub slots: usize,
    /// Slots left out, because one of the two had a figure without a size.
    pub skipped: u64,
    /// All in a line.
    pub summary: String,
    /// By figure.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// Takes a slot: what the active policies and the candidate come to on the same view.
    pub fn push(&mut self, active: Figures, candidate: Figures) {
        let sized = |of: &Figures| TOLD.iter().all(|told| (told.read)(of).is_finite());
        if !sized(&active) || !sized(&candidate) {
            self.skipped += 1;
            return;
        }
        if self.pairs.len() == MAX_SLOTS {
            self.pairs.pop_front();
        }
        self.pairs.push_back((active, candidate));
    }

    /// What is known so far.
    pub fn report(&self) -> Report {
        let rows: Vec<Row> = TOLD.iter().map(|told| self.row(told)).collect();
        Report {
            slots: self.pairs.len(),
            skipped: self.skipped,
            summary: summary(self.pairs.len(), &rows),
            rows,
        }
    }

    fn row(&self, told: &Told) -> Row {
        let read = |of: &Figures| (told.read)(of) / told.per_unit;
        let blocks = self.blocks(read);
        let count = self.pairs.len().max(1) as f64;
        let active = self.pairs.iter().map(|(a, _)| read(a)).sum::<f64>() / count;
        let candidate = self.pairs.iter().map(|(_, b)| read(b)).sum::<f64>() / count;
        let mean = candidate - active;
        let differences: Vec<f64> = blocks.iter().map(|(a, b)| b - a).collect();
        let difference = Estimate {
            mean,
            interval: interval(mean, &differences),
        };
        let percent = (active > 0.0).then(|| {
            let ratio = candidate / active;
            let rests = blocks.iter().map(|(a, b)| 100.0 * (b - ratio * a) / active);
            let rests: Vec<f64> = rests.collect();
            let mean = 100.0 * (ratio - 1.0);
            Estimate {
                mean,
                interval: interval(mean, &rests),
            }
        });
        let verdict = match difference.interval {
            None => Verdict::Open,
            Some((_, high)) if high < 0.0 => Verdict::Better,
            Some((low, _)) if low > 0.0 => Verdict::Worse,
            Some(_) => Verdict::Same,
        };
        Row {
            key: told.key.into(),
            name: told.name.into(),
            unit: told.unit.into(),
            active,
            candidate,
            difference,
            percent: percent.filter(|_| told.relative),
            verdict,
        }
    }

    /// Means of blocks as many as each is long; slots that fill no block are the oldest.
    fn blocks(&self, read: impl Fn(&Figures) -> f64) -> Vec<(f64, f64)> {
        let count = self.pairs.len();
        if count < LEAST_SLOTS {
            return Vec::new();
        }
        let length = count.isqrt().max(1);
        let skipped = count % length;
        let mut blocks = Vec::new();
        for block in 0..count / length {
            let from = skipped + block * length;
            let slots = self.pairs.range(from..from + length);
            let (mut active, mut candidate) = (0.0, 0.0);
            for (a, b) in slots {
                active += read(a);
                candidate += read(b);
            }
            blocks.push((active / length as f64, candidate / length as f64));
        }
        blocks
    }
}

/// Student's interval around a mean by the scatter of block means.
fn interval(mean: f64, blocks: &[f64]) -> Option<(f64, f64)> {
    let freedom = blocks.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
    let centre = blocks.iter().sum::<f64>() / blocks.len() as f64;
    let squares: f64 = blocks.iter().map(|x| (x - centre) * (x - centre)).sum();
    let error = (squares / freedom as f64 / blocks.len() as f64).sqrt();
    let half = student(freedom) * error;
    Some((mean - half, mean + half))
}

/// Two-sided 95 % quantile of Student's distribution.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 20] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    ];
    // Cornish and Fisher's expansion beyond the table: good to a thousandth.
    let far = || 1.960 + 2.372 / freedom as f64 + 2.8 / (freedom * freedom) as f64;
    TABLE.get(freedom - 1).copied().unwrap_or_else(far)
}

fn summary(slots: usize, rows: &[Row]) -> String {
    if slots == 0 {
        return "no slot was compared yet".to_owned();
    }
    let mut text = String::from("the candidate: ");
    for (nth, row) in rows.iter().enumerate() {
        let (estimate, unit) = match &row.percent {
            Some(percent) => (percent, "%"),
            None => (&row.difference, &*row.unit),
        };
        let comma = if nth == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{} {} {unit}", row.name, shown(estimate));
    }
    text
}

/// `-4.1 [-5.0, -3.2]`, and a bare `0` where nothing differs.
fn shown(estimate: &Estimate) -> String {
    match (estimate.mean, estimate.interval) {
        (0.0, Some((0.0, 0.0)) | None) => "0".to_owned(),
        (mean, Some((low, high))) => format!("{mean:+.2} [{low:.2}, {high:.2}]"),
        (mean, None) => format!("{mean:+.2}"),
    }
}

impl Report {
    /// The rows as text: name, active, candidate, difference, verdict.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let cells = |row: &Row| {
            let percent = row.percent.as_ref();
            let percent = percent.map_or(String::new(), |of| format!("{} %", shown(of)));
            vec![
                row.name.clone(),
                format!("{:.2} {}", row.active, row.unit),
                format!("{:.2}", row.candidate),
                shown(&row.difference),
                percent,
                format!("{:?}", row.verdict).to_lowercase(),
            ]
        };
        self.rows.iter().map(cells).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn figures(usd: f64, rtt: f64) -> Figures {
        Figures {
            usd_per_month: usd,
            rtt_p50_ms: rtt,
            ..Figures::default()
        }
    }

    /// Autocorrelated demand, the same for both; a generator of its own so that it never changes.
    fn demand(seed: u64) -> impl Iterator<Item = f64> {
        let (mut state, mut level) = (seed, 0.0);
        std::iter::repeat_with(move || {
            state = crate::snapshot::mix(state.wrapping_add(1));
            let noise = (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
            level = 0.9 * level + noise;
            level
        })
    }

    #[test]
    fn a_cheaper_candidate_is_told_with_its_interval() {
        let mut comparison = Comparison::default();
        let pairs = demand(1).zip(demand(2)).take(400);
        for (common, noise) in pairs {
            let usd = 1_000.0 * (1.0 + 0.3 * common);
            comparison.push(
                figures(usd, 20.0),
                figures(usd * (0.96 + 0.01 * noise), 21.2),
            );
        }
        let report = comparison.report();
        let cost = &report.rows[0];
        let percent = cost.percent.unwrap();
        let (low, high) = percent.interval.unwrap();
        assert!(low < -4.0 && -4.0 < high && high - low < 2.0, "{report:?}");
        assert_eq!(cost.verdict, Verdict::Better);
        let rtt = &report.rows[1];
        assert!((rtt.difference.mean - 1.2).abs() < 1e-9 && rtt.verdict == Verdict::Worse);
        assert_eq!(report.rows[4].verdict, Verdict::Same);
        let summary = &report.summary;
        assert!(
            summary.contains("RTT p50 +1.20 [1.20, 1.20] ms"),
            "{summary}"
        );
        assert!(summary.contains("overload 0 Mbit/s"), "{summary}");
        assert_eq!(report.cells().len(), report.rows.len());
    }

    /// Of many comparisons of equals, whose differences are autocorrelated, few may be told apart.
    #[test]
    fn equals_are_seldom_told_apart() {
        let wrong = (0..400).filter(|seed| {
            let mut comparison = Comparison::default();
            for noise in demand(seed * 7_919).take(900) {
                comparison.push(figures(1_000.0, 20.0), figures(1_000.0, 20.0 + noise));
            }
            comparison.report().rows[1].verdict != Verdict::Same
        });
        let wrong = wrong.count();
        assert!((2..=40).contains(&wrong), "{wrong} of 400");
    }

    #[test]
    fn few_slots_give_no_interval_and_strange_ones_do_not_count() {
        let mut comparison = Comparison::default();
        assert_eq!(comparison.report().summary, "no slot was compared yet");
        (1..LEAST_SLOTS).for_each(|_| comparison.push(figures(10.0, 1.0), figures(9.0, 1.0)));
        comparison.push(figures(f64::NAN, 1.0), figures(9.0, 1.0));
        let report = comparison.report();
        assert_eq!((report.slots, report.skipped), (LEAST_SLOTS - 1, 1));
        assert_eq!(report.rows[0].verdict, Verdict::Open);
        assert!(
            report.summary.contains("cost -10.00 %"),
            "{}",
            report.summary
        );
        comparison.push(figures(10.0, 1.0), figures(9.0, 1.0));
        assert_eq!(comparison.report().rows[0].verdict, Verdict::Better);
    }

    #[test]
    fn the_newest_day_counts() {
        let mut comparison = Comparison::default();
        comparison.push(figures(1e9, 0.0), figures(0.0, 0.0));
        (0..MAX_SLOTS).for_each(|_| comparison.push(figures(1.0, 0.0), figures(1.0, 0.0)));
        let report = comparison.report();
        assert_eq!((report.slots, report.rows[0].active), (MAX_SLOTS, 1.0));
    }

    proptest! {
        #[test]
        fn a_report_is_always_finite(
            pairs in prop::collection::vec((0.0..1e12f64, 0.0..1e12f64), 0..100),
        ) {
            let mut comparison = Comparison::default();
            pairs.iter().for_each(|(a, b)| comparison.push(figures(*a, *b), figures(*b, *a)));
            for row in comparison.report().rows {
                prop_assert!(row.difference.mean.is_finite());
                if let Some((low, high)) = row.difference.interval {
                    prop_assert!(low.is_finite() && low <= high);
                }
            }
        }
    }
}
