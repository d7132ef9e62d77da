//! Sans-IO: the cases and rules of a study, each of which can be run by itself.
//!
//! Nothing of a cell depends on another, so cells can be run in any order, on any number of cores
//! or machines, and kept.

use std::sync::Arc;

use scheduler::plan::billing::{BillingModel, Tariff};
use scheduler::policy::Policies;

use crate::policies::weir::Foresight;
use crate::policies::{Kind, Setting, bound};
use crate::report::Cell;
use crate::report::draws::Draws;
use crate::run::{Motion, run};
use crate::world::World;

/// What is done to a case, to see what a result hangs on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Twist {
    /// Nothing.
    Plain,
    /// Viewers may be sent so many milliseconds beyond the nearest edge.
    Slack(f64),
    /// Edges of a metro cost the same: their mean.
    EqualPrices,
    /// Billed by volume.
    ByVolume,
    /// Billed by the mean of daily peaks.
    ByDailyPeak,
    /// Viewers move as players let them: so many of them at all, as a share.
    Players(f64),
    /// No forecast.
    NoForecast,
}

impl Twist {
    /// Those of a sensitivity analysis.
    pub const ROWS: [Self; 8] = [
        Self::Slack(10.0),
        Self::Slack(25.0),
        Self::Slack(50.0),
        Self::EqualPrices,
        Self::NoForecast,
        Self::ByVolume,
        Self::ByDailyPeak,
        Self::Players(0.8),
    ];

    /// What it is called in files.
    pub fn name(self) -> String {
        match self {
            Self::Plain => "plain".to_owned(),
            Self::Slack(ms) => format!("slack-{ms:.0}"),
            Self::EqualPrices => "equal-prices".to_owned(),
            Self::ByVolume => "by-volume".to_owned(),
            Self::ByDailyPeak => "by-daily-peak".to_owned(),
            Self::Players(share) => format!("players-{:.0}", 100.0 * share),
            Self::NoForecast => "no-forecast".to_owned(),
        }
    }

    /// What it does, for people.
    pub fn says(self) -> String {
        match self {
            Self::Plain => "as given".to_owned(),
            Self::Slack(ms) => format!("viewers at most {ms:.0} ms from their nearest edge"),
            Self::EqualPrices => "equal prices inside a metro".to_owned(),
            Self::ByVolume => "billed by volume".to_owned(),
            Self::ByDailyPeak => "billed by the mean of daily peaks".to_owned(),
            Self::Players(share) => format!("{:.0} % of the viewers can be moved", 100.0 * share),
            Self::NoForecast => "without a forecast".to_owned(),
        }
    }

    /// The prices under it.
    pub fn tariffs(self, world: &World, tariffs: &[Tariff]) -> Vec<Tariff> {
        let with = |model| tariffs.iter().map(|it| Tariff { model, ..*it }).collect();
        match self {
            Self::EqualPrices => equal(world, tariffs),
            Self::ByVolume => with(BillingModel::Volume),
            Self::ByDailyPeak => with(BillingModel::DailyPeak),
            _ => tariffs.to_vec(),
        }
    }
}

fn equal(world: &World, tariffs: &[Tariff]) -> Vec<Tariff> {
    let mean = |metro: usize, of: fn(&Tariff) -> f64| {
        let edges = world.edges.iter().zip(tariffs);
        let of: Vec<f64> = edges
            .filter(|(it, _)| it.metro == metro)
            .map(|(_, it)| of(it))
            .collect();
        of.iter().sum::<f64>() / of.len().max(1) as f64
    };
    let tariff = |(edge, tariff): (&crate::world::Edge, &Tariff)| Tariff {
        usd_per_mbps_month: mean(edge.metro, |it| it.usd_per_mbps_month),
        usd_per_gb: mean(edge.metro, |it| it.usd_per_gb),
        ..*tariff
    };
    world.edges.iter().zip(tariffs).map(tariff).collect()
}

/// A world with prices, under which rules are compared.
#[derive(Clone)]
pub struct Case<'a> {
    /// Where.
    pub world: &'a World,
    /// What its edges cost.
    pub tariffs: &'a [Tariff],
    /// What the operator asks for.
    pub policies: Arc<Policies>,
    /// What the planner expects.
    pub foresight: Arc<dyn Foresight>,
    /// How fast viewers can be moved.
    pub motion: Motion,
    /// Months to make of its days.
    pub draws: &'a Draws,
}

impl Case<'_> {
    /// Runs a rule; `tell` hears of each slot and says whether to go on.
    pub fn cell(&self, kind: Kind, tell: &mut dyn FnMut(usize) -> bool) -> Option<Cell> {
        let setting = Setting {
            world: self.world,
            tariffs: self.tariffs,
            policies: self.policies.clone(),
            foresight: self.foresight.clone(),
        };
        let mut rule = kind.rule(&setting);
        let ran = run(self.world, &mut *rule, self.motion, tell)?;
        Some(Cell::new(self.world, self.tariffs, &ran, self.draws))
    }

    /// USD that no policy with this slack can fall below, where that is known.
    pub fn bound(&self) -> Option<f64> {
        let slack_ms = self.policies.default_policy().rtt.max_extra_vs_nearest_ms;
        bound::usd(self.world, self.tariffs, slack_ms)
    }
}
