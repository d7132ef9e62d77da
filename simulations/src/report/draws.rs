//! Sans-IO: months made of a month's days, drawn anew (a bootstrap of whole days).

use scheduler::plan::billing::{BillingModel, Tariff};

use crate::dice::Dice;

/// How often each day is in each drawn month.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws(Vec<Vec<u32>>);

impl Draws {
    /// So many months of as many days, by a seed: the same for all rules of a case.
    pub fn new(days: usize, count: usize, seed: u64) -> Self {
        let mut dice = Dice::new(seed, "days");
        let month = |_| {
            let mut counts = vec![0; days];
            for _ in 0..days {
                counts[dice.index(days)] += 1;
            }
            counts
        };
        Self((0..count).map(month).collect())
    }

    /// How many months.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// USD of an edge in each month, from its samples in bits per second; `day` samples are a day.
    pub fn bills(&self, tariff: &Tariff, samples: &[f32], day: usize) -> Vec<f64> {
        let days: Vec<&[f32]> = samples.chunks(day.max(1)).collect();
        match tariff.model {
            BillingModel::P95 => {
                let mut sorted: Vec<(f32, usize)> = (days.iter().enumerate())
                    .flat_map(|(at, day)| day.iter().map(move |bps| (*bps, at)))
                    .collect();
                sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                let level = |counts: &Vec<u32>| level(&sorted, counts, &days);
                self.0
                    .iter()
                    .map(|counts| tariff.steady_usd(level(counts)))
                    .collect()
            }
            BillingModel::DailyPeak => {
                let peak = |day: &&[f32]| f64::from(day.iter().copied().fold(0.0, f32::max));
                let peaks: Vec<f64> = days.iter().map(peak).collect();
                self.means(&peaks)
                    .map(|bps| tariff.steady_usd(bps))
                    .collect()
            }
            BillingModel::Volume | BillingModel::Flat => {
                let sum = |day: &&[f32]| day.iter().map(|bps| f64::from(*bps)).sum();
                let sums: Vec<f64> = days.iter().map(sum).collect();
                // What a steady load of a month would carry: 30 days of 288 slots.
                let steady = days.len() as f64 / STEADY_SLOTS;
                let means = self.means(&sums);
                means.map(|sum| tariff.steady_usd(sum * steady)).collect()
            }
        }
    }

    /// The sum of days' values in each month.
    pub fn sums(&self, values: &[f64]) -> Vec<f64> {
        let days = values.len() as f64;
        self.means(values).map(|mean| mean * days).collect()
    }

    /// The mean of days' values in each month.
    fn means<'a>(&'a self, values: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        let mean = move |counts: &Vec<u32>| {
            let all = counts.iter().zip(values);
            let sum: f64 = all.map(|(count, value)| f64::from(*count) * value).sum();
            sum / counts.iter().sum::<u32>().max(1) as f64
        };
        self.0.iter().map(mean)
    }
}

/// The 95th percentile of a drawn month: the largest sample when one in twenty is free.
fn level(sorted: &[(f32, usize)], counts: &[u32], days: &[&[f32]]) -> f64 {
    let lengths = counts.iter().zip(days);
    let all: usize = lengths
        .map(|(count, day)| *count as usize * day.len())
        .sum();
    let free = (all / FREE_ONE_IN) as u32;
    let mut seen = 0;
    let found = sorted.iter().find(|(_, day)| {
        seen += counts[*day];
        seen > free
    });
    found.map_or(0.0, |(bps, _)| f64::from(*bps))
}

const FREE_ONE_IN: usize = 20;
const STEADY_SLOTS: f64 = 8640.0;

#[cfg(test)]
mod tests {
    use super::*;
    use scheduler::plan::billing::bill;

    #[test]
    fn a_month_of_every_day_once_costs_what_the_month_costs() {
        let samples: Vec<f32> = (0..288 * 4)
            .map(|n| (n * 7919 % 1000) as f32 * 1e6)
            .collect();
        let once = Draws(vec![vec![1; 4], vec![0, 0, 4, 0]]);
        for model in [
            BillingModel::P95,
            BillingModel::DailyPeak,
            BillingModel::Volume,
            BillingModel::Flat,
        ] {
            let tariff = Tariff {
                model,
                usd_per_mbps_month: 2.0,
                usd_per_gb: 0.01,
                commit_mbps: 10.0,
                port_usd: 5.0,
                ..Tariff::default()
            };
            let found = once.bills(&tariff, &samples, 288);
            let one = samples[2 * 288..3 * 288].repeat(4);
            for (found, samples) in found.iter().zip([&samples, &one]) {
                let usd = bill(&tariff, samples);
                assert!(
                    (found / usd - 1.0).abs() < 1e-6,
                    "{model:?}: {found} not {usd}"
                );
            }
        }
    }
}
