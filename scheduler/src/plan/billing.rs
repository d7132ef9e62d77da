//! Sans-IO: what a node's traffic costs, by the contract it is billed under.
//!
//! A slot is five minutes, a sample the mean bits per second of one slot; 1 Mbit/s are 1e6 bits per
//! second, 1 GB is 1e9 bytes. A [`Bill`] runs over one period and holds a sample a slot, so it is
//! bounded. Not here: which node has which contract, and where a period begins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a slot of billing lasts: the interval of the industry's 95th percentile.
pub const SLOT_S: u32 = 300;
/// Slots of a day.
pub const DAY: usize = 288;
/// Slots of the longest period: 31 days.
pub const MAX_SLOTS: usize = 31 * DAY;
/// Of a period's slots one in so many may exceed what is billed.
const FREE_ONE_IN: usize = 20;
/// GB that 1 Mbit/s carries in 30 days.
pub(crate) const GB_PER_MBPS_MONTH: f64 = 324.0;

/// What a bit to another node costs where nothing is to be paid, in units of the edges' mean price.
pub const LEAST_RELAY: f64 = 1.0;

/// What a contract counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillingModel {
    /// The period's 95th percentile of five-minute means.
    #[default]
    P95,
    /// The mean of the days' highest five-minute means.
    DailyPeak,
    /// Bytes.
    Volume,
    /// Nothing: the port costs what it costs.
    Flat,
}

/// A contract: what is counted, at which price, how much of it is paid for in any case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tariff {
    /// What is counted.
    pub model: BillingModel,
    /// Of the 95th percentile or of the mean daily peak.
    pub usd_per_mbps_month: f64,
    /// Of volume.
    pub usd_per_gb: f64,
    /// Billed at least, by 95th percentile or daily peak.
    pub commit_mbps: f64,
    /// Billed at least, by volume.
    pub commit_gb: f64,
    /// What lies above the commit costs this many times the price.
    pub overage: f64,
    /// A period's fee, whatever flows.
    pub port_usd: f64,
    /// USD per 1e9 bytes to other nodes, which no bill of what viewers are sent counts.
    #[serde(default)]
    pub relay_usd_per_gb: f64,
}

impl Default for Tariff {
    /// One dollar per Mbit/s and month at the 95th percentile.
    fn default() -> Self {
        Self {
            model: BillingModel::P95,
            usd_per_mbps_month: 1.0,
            usd_per_gb: 0.0,
            commit_mbps: 0.0,
            commit_gb: 0.0,
            overage: 1.0,
            port_usd: 0.0,
            relay_usd_per_gb: 0.0,
        }
    }
}

impl Tariff {
    /// USD for one more Mbit/s, carried all month: what prices of edges are compared by.
    pub fn marginal_usd(&self) -> f64 {
        match self.model {
            BillingModel::P95 | BillingModel::DailyPeak => self.usd_per_mbps_month * self.overage,
            BillingModel::Volume => self.usd_per_gb * GB_PER_MBPS_MONTH * self.overage,
            BillingModel::Flat => 0.0,
        }
    }

    /// The cost of a bit to another node, in units of that many USD per Mbit/s and month: a copy
    /// costs something wherever it is free.
    pub fn relay_cost(&self, unit_usd: f64) -> f64 {
        LEAST_RELAY + self.relay_usd_per_gb * GB_PER_MBPS_MONTH / unit_usd
    }

    /// USD a month for a load that never changes.
    pub fn steady_usd(&self, bps: f64) -> f64 {
        let mbps = bps / 1e6;
        self.owed(mbps, mbps * GB_PER_MBPS_MONTH)
    }

    /// Bits per second that are paid for before anything flows.
    pub fn commit_bps(&self) -> f64 {
        match self.model {
            BillingModel::P95 | BillingModel::DailyPeak => self.commit_mbps * 1e6,
            BillingModel::Volume | BillingModel::Flat => 0.0,
        }
    }

    fn owed(&self, mbps: f64, gb: f64) -> f64 {
        let counted = |amount: f64, commit: f64, price: f64| {
            price * (commit + self.overage * (amount - commit).max(0.0))
        };
        self.port_usd
            + match self.model {
                BillingModel::P95 | BillingModel::DailyPeak => {
                    counted(mbps, self.commit_mbps, self.usd_per_mbps_month)
                }
                BillingModel::Volume => counted(gb, self.commit_gb, self.usd_per_gb),
                BillingModel::Flat => 0.0,
            }
    }
}

/// USD for a whole period of these samples.
pub fn bill(tariff: &Tariff, samples: &[f32]) -> f64 {
    let mbps = match tariff.model {
        BillingModel::DailyPeak => mean_peak(samples),
        _ => percentile(samples, samples.len() / FREE_ONE_IN),
    };
    tariff.owed(mbps / 1e6, gigabytes(samples))
}

/// The largest sample when so many larger ones are free.
fn percentile(samples: &[f32], free: usize) -> f64 {
    if free >= samples.len() {
        return 0.0;
    }
    let mut samples = samples.to_vec();
    let (_, level, _) = samples.select_nth_unstable_by(free, |a, b| b.total_cmp(a));
    f64::from(*level)
}

fn peak(samples: &[f32]) -> f64 {
    f64::from(samples.iter().copied().fold(0.0, f32::max))
}

fn mean_peak(samples: &[f32]) -> f64 {
    let days = samples.chunks(DAY).len().max(1);
    samples.chunks(DAY).map(peak).sum::<f64>() / days as f64
}

fn gigabytes(samples: &[f32]) -> f64 {
    let bits: f64 = samples.iter().map(|bps| f64::from(*bps)).sum();
    bits * f64::from(SLOT_S) / 8e9
}

/// The running bill of one node in one period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bill {
    first: i64,
    slots: usize,
    samples: Vec<f32>,
}

impl Bill {
    /// A period of `slots`, at most [`MAX_SLOTS`], that begins with slot `first`.
    pub fn new(first: i64, slots: usize) -> Self {
        Self {
            first,
            slots: slots.clamp(1, MAX_SLOTS),
            samples: Vec::new(),
        }
    }

    /// Enters what a slot carried; the same slot again replaces it, and slots left out carried
    /// nothing. False when the slot is not of this period or the sample is no number.
    pub fn push(&mut self, slot: i64, mean_bps: f64) -> bool {
        let at = usize::try_from(slot.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if at >= self.slots || !(0.0..f64::from(f32::MAX)).contains(&mean_bps) {
            return false;
        }
        if self.samples.len() <= at {
            self.samples.resize(at + 1, 0.0);
        }
        self.samples[at] = mean_bps as f32;
        true
    }

    /// The slot that the period begins with.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// Slots of the period up to the last one entered.
    pub fn elapsed(&self) -> usize {
        self.samples.len()
    }

    /// Slots of the period that have not been entered.
    pub fn remaining(&self) -> usize {
        self.slots - self.samples.len()
    }

    /// Slots that the period has for nothing, whatever they carry.
    pub fn budget(&self) -> usize {
        self.slots / FREE_ONE_IN
    }

    /// Bits per second that the contract bills already, whatever follows: up to there more traffic
    /// costs nothing. Infinite when traffic is not what costs.
    pub fn level(&self, tariff: &Tariff) -> f64 {
        let locked = match tariff.model {
            BillingModel::P95 => percentile(&self.samples, self.budget()),
            BillingModel::DailyPeak => {
                let today = self.samples.len() / DAY * DAY;
                peak(&self.samples[today..])
            }
            BillingModel::Volume | BillingModel::Flat => f64::INFINITY,
        };
        locked.max(tariff.commit_bps())
    }

    /// Slots that may still exceed this level for nothing; `None` when it has been exceeded too
    /// often to be what is billed.
    pub fn free_slots_left(&self, level_bps: f64) -> Option<usize> {
        self.budget().checked_sub(self.slots_above(level_bps))
    }

    /// Slots so far above this level.
    pub fn slots_above(&self, level_bps: f64) -> usize {
        let above = |bps: &&f32| f64::from(**bps) > level_bps * ROUNDING;
        self.samples.iter().filter(above).count()
    }

    /// USD for the period if nothing more flowed.
    pub fn usd_so_far(&self, tariff: &Tariff) -> f64 {
        let mbps = match tariff.model {
            BillingModel::DailyPeak => {
                let days = self.slots.div_ceil(DAY) as f64;
                self.samples.chunks(DAY).map(peak).sum::<f64>() / days
            }
            _ => percentile(&self.samples, self.budget()),
        };
        tariff.owed(mbps / 1e6, gigabytes(&self.samples))
    }

    /// USD for the period if the rest goes as it went so far.
    pub fn usd_expected(&self, tariff: &Tariff) -> f64 {
        let mbps = match tariff.model {
            BillingModel::DailyPeak => mean_peak(&self.samples),
            _ => percentile(&self.samples, self.samples.len() / FREE_ONE_IN),
        };
        let whole = self.slots as f64 / self.samples.len().max(1) as f64;
        tariff.owed(mbps / 1e6, gigabytes(&self.samples) * whole)
    }
}

/// A sample is kept in single precision: what was steered to the level has not exceeded it.
const ROUNDING: f64 = 1.0 + 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    fn tariff(model: BillingModel) -> Tariff {
        Tariff {
            model,
            usd_per_mbps_month: 2.0,
            usd_per_gb: 0.01,
            ..Tariff::default()
        }
    }

    /// A period of 28 days in which slot n carries n Mbit/s.
    fn ramp() -> Vec<f32> {
        (0..8064).map(|slot| slot as f32 * 1e6).collect()
    }

    #[test]
    fn a_period_costs_what_its_contract_counts() {
        let p95 = tariff(BillingModel::P95);
        let peaks = tariff(BillingModel::DailyPeak);
        let volume = tariff(BillingModel::Volume);
        let flat = Tariff {
            port_usd: 500.0,
            ..tariff(BillingModel::Flat)
        };
        // The 404th largest of 0, 1, ... 8063.
        let level = 8063.0 - 403.0;
        // The last slots of 28 days, and their mean.
        let peak = (287.0 + 8063.0) / 2.0;
        let gb = (8063.0 * 8064.0 / 2.0) * 1e6 * 300.0 / 8e9;
        let commit = |mbps, gb, overage, tariff| Tariff {
            commit_mbps: mbps,
            commit_gb: gb,
            overage,
            ..tariff
        };
        for (tariff, usd) in [
            (p95, 2.0 * level),
            (commit(9000.0, 0.0, 3.0, p95), 2.0 * 9000.0),
            (
                commit(1000.0, 0.0, 1.5, p95),
                2.0 * (1000.0 + 1.5 * (level - 1000.0)),
            ),
            (peaks, 2.0 * peak),
            (commit(5000.0, 0.0, 1.0, peaks), 10_000.0),
            (volume, 0.01 * gb),
            (commit(9e9, 2e9, 1.0, volume), 2e7),
            (flat, 500.0),
        ] {
            let found = bill(&tariff, &ramp());
            assert!(
                (found / usd - 1.0).abs() < 1e-6,
                "{tariff:?}: {found}, not {usd}"
            );
        }
        assert_eq!(bill(&p95, &[]), 0.0);
        assert_eq!(
            bill(&p95, &[7e6]),
            14.0,
            "of less than 20 slots none is free"
        );
    }

    #[test]
    fn a_full_running_bill_is_the_bill() {
        for model in [
            BillingModel::P95,
            BillingModel::DailyPeak,
            BillingModel::Volume,
            BillingModel::Flat,
        ] {
            let mut running = Bill::new(1000, 8064);
            for (slot, bps) in ramp().into_iter().enumerate() {
                assert!(running.push(1000 + slot as i64, f64::from(bps)));
            }
            let whole = bill(&tariff(model), &ramp());
            assert_eq!(running.usd_so_far(&tariff(model)), whole);
            assert_eq!(running.usd_expected(&tariff(model)), whole);
            assert_eq!(running.remaining(), 0);
        }
    }

    #[test]
    fn free_slots_run_out_and_the_level_rises_with_them() {
        let (mut running, contract) = (Bill::new(0, 8640), tariff(BillingModel::P95));
        assert_eq!(running.free_slots_left(5e6), Some(432));
        for slot in 0..432 {
            running.push(slot, 9e6);
        }
        assert_eq!(
            (running.level(&contract), running.free_slots_left(5e6)),
            (0.0, Some(0))
        );
        running.push(432, 8e6);
        assert_eq!(
            (running.level(&contract), running.free_slots_left(5e6)),
            (8e6, None)
        );
        assert_eq!(running.free_slots_left(8e6), Some(0));
        assert_eq!(running.usd_so_far(&contract), 16.0);
        assert_eq!(running.usd_expected(&contract), 18.0);
    }

    #[test]
    fn the_level_of_a_day_is_its_peak_so_far() {
        let (mut running, contract) = (Bill::new(0, 8640), tariff(BillingModel::DailyPeak));
        running.push(10, 9e6);
        assert_eq!(running.level(&contract), 9e6);
        running.push(288, 2e6);
        assert_eq!(running.level(&contract), 2e6);
        assert!((running.usd_so_far(&contract) - 2.0 * 11.0 / 30.0).abs() < 1e-9);
        let commit = Tariff {
            commit_mbps: 4.0,
            ..contract
        };
        assert_eq!(running.level(&commit), 4e6);
        assert_eq!(running.level(&tariff(BillingModel::Flat)), f64::INFINITY);
    }

    #[test]
    fn what_is_not_of_the_period_is_refused() {
        let mut running = Bill::new(100, 20);
        for (slot, bps, counted) in [
            (99, 1.0, false),
            (120, 1.0, false),
            (i64::MIN, 1.0, false),
            (i64::MAX, 1.0, false),
            (100, f64::NAN, false),
            (100, -1.0, false),
            (100, f64::INFINITY, false),
            (119, 3e6, true),
            (119, 2e6, true),
        ] {
            assert_eq!(running.push(slot, bps), counted, "{slot} {bps}");
        }
        assert_eq!(running.elapsed(), 20);
        assert_eq!(
            running.usd_so_far(&tariff(BillingModel::Volume)),
            0.01 * 2e6 * 300.0 / 8e9
        );
        assert_eq!(Bill::new(0, usize::MAX).remaining(), MAX_SLOTS);
    }
}
