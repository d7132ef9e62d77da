//! Sans-IO: the cases and rules of a study, each of which can be run by itself.
//!
//! Nothing of a cell depends on another, so cells can be run in any order, on any number of cores
//! or machines, and kept.

use std::borrow::Cow;
use std::sync::Arc;

use scheduler::plan::billing::{BillingModel, Tariff};
use scheduler::policy::Policies;

use crate::forecast::{RAMP_S, Told};
use crate::policies::weir::Foresight;
use crate::policies::{Kind, Setting, bound};
use crate::report::Cell;
use crate::report::draws::Draws;
use crate::run::{Motion, run};
use crate::tune::Settings;
use crate::world::{Edge, World, prices, scenario};

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
    /// Something told of demand to come, where that may matter.
    Forecast(Told, Ground),
    /// Other policy parameters, in a part of the days.
    Tuned(Settings, Days),
}

/// Which of the billed days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Days {
    /// All.
    All,
    /// The first half.
    First,
    /// The second half; the first is history then.
    Last,
}

/// Where a forecast may matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// As given.
    Plain,
    /// Viewers stay where they are until their session ends.
    Staying,
    /// Announced events bring as many again.
    Events,
    /// Every edge has a commit and pays more above it.
    Commits,
    /// Small edges are started and stopped.
    Starting,
}

impl Ground {
    /// Those on which bills are compared.
    pub const BILLED: [Self; 4] = [Self::Plain, Self::Staying, Self::Events, Self::Commits];

    /// What it is called in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Staying => "staying",
            Self::Events => "events",
            Self::Commits => "commits",
            Self::Starting => "starting",
        }
    }

    /// What it does, for people.
    pub fn says(self) -> &'static str {
        match self {
            Self::Plain => "as given",
            Self::Staying => "no viewer can be moved before its session ends",
            Self::Events => "announced events bring twice as many",
            Self::Commits => "a quarter of each edge is committed, half as much again above it",
            Self::Starting => "small edges are started and stopped",
        }
    }
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

    /// The policy's keys that it sets, with their values.
    pub fn settings(self) -> Vec<(&'static str, f64)> {
        match self {
            Self::Slack(ms) => vec![("rtt.max_extra_vs_nearest_ms", ms)],
            Self::Tuned(settings, _) => settings.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// What a forecast adds: everything that can be told, where it may matter.
    pub fn forecasts() -> impl Iterator<Item = Self> {
        let told = |ground| Told::ALL.map(|told| Self::Forecast(told, ground));
        let grounds = Ground::BILLED.into_iter().chain([Ground::Starting]);
        grounds.flat_map(told)
    }

    /// What the planner is told of demand to come.
    pub fn told(self) -> Told {
        match self {
            Self::NoForecast => Told::Nothing,
            Self::Forecast(told, _) => told,
            _ => Told::Ours,
        }
    }

    /// Whether it does nothing in a world without announced events.
    pub fn hangs_on_events(self) -> bool {
        matches!(
            self,
            Self::Forecast(Told::Unannounced, _) | Self::Forecast(_, Ground::Events)
        )
    }

    /// The share of viewers that can be moved, where it says so.
    pub fn movable(self) -> Option<f64> {
        match self {
            Self::Players(share) => Some(share),
            Self::Forecast(_, Ground::Staying) => Some(0.0),
            _ => None,
        }
    }

    /// The world under it.
    pub fn world(self, world: &World) -> Cow<'_, World> {
        match self {
            Self::Forecast(_, Ground::Events) => Cow::Owned(events_again(world)),
            Self::Tuned(_, days) if days != Days::All => Cow::Owned(half(world, days)),
            _ => Cow::Borrowed(world),
        }
    }

    /// What its world is called: twists whose worlds are called alike have the same.
    pub fn world_name(self) -> &'static str {
        match self {
            Self::Forecast(_, Ground::Events) => "events",
            Self::Tuned(_, Days::First) => "first",
            Self::Tuned(_, Days::Last) => "last",
            _ => "",
        }
    }

    /// What it is called in files.
    pub fn name(self) -> String {
        match self {
            Self::Forecast(told, ground) => {
                format!("forecast-{}-{}", ground.as_str(), told.as_str())
            }
            Self::Tuned(settings, _) => {
                let value = |(key, value): (&str, f64)| format!("{key}={value}");
                let all: Vec<String> = settings.iter().map(value).collect();
                format!("tuned-{}{}", self.world_name(), all.join("-"))
            }
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
            Self::Forecast(told, ground) => format!("{}, {}", ground.says(), told.says()),
            Self::Tuned(..) => "other policy parameters".to_owned(),
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
            Self::ByVolume => tariffs.iter().map(by_volume).collect(),
            Self::ByDailyPeak => with(BillingModel::DailyPeak),
            Self::Forecast(_, Ground::Commits) => committed(world, tariffs),
            _ => tariffs.to_vec(),
        }
    }
}

/// The same contract by volume; where no price by volume is known, that of a usual day's shape.
fn by_volume(tariff: &Tariff) -> Tariff {
    let usual = tariff.usd_per_mbps_month / scenario::Prices::default().gb_per_mbps;
    let known = tariff.usd_per_gb > 0.0;
    Tariff {
        model: BillingModel::Volume,
        usd_per_gb: if known { tariff.usd_per_gb } else { usual },
        ..*tariff
    }
}

/// A commit on each edge, and a surcharge above it.
fn committed(world: &World, tariffs: &[Tariff]) -> Vec<Tariff> {
    let tariff = |(edge, tariff): (&Edge, &Tariff)| Tariff {
        commit_mbps: COMMIT_SHARE * edge.capacity_mbps,
        overage: OVERAGE,
        ..*tariff
    };
    world.edges.iter().zip(tariffs).map(tariff).collect()
}

/// Half of the billed days, whole ones; at least one each way.
fn half(world: &World, days: Days) -> World {
    let mut world = world.clone();
    let time = &mut world.time;
    let middle = time.billed_from + (time.days() / 2).max(1) * time.day();
    let middle = middle.min(time.slots);
    match days {
        Days::All => {}
        Days::First => time.slots = middle,
        Days::Last => time.billed_from = middle,
    }
    world
}

/// A world whose announced events add once more what they were announced to add, told beforehand.
fn events_again(world: &World) -> World {
    let mut world = world.clone();
    let ramp = (RAMP_S / world.time.step_s).max(1) as f64;
    for event in &mut world.events {
        let more = (event.multiplier - 1.0).max(0.0);
        let end = (event.start + event.slots).min(world.time.slots);
        for slot in event.start..end {
            let up = (slot - event.start + 1) as f64 / ramp;
            let down = (end - slot) as f64 / ramp;
            let there = up.min(down).min(1.0);
            let factor = (1.0 + 2.0 * more * there) / (1.0 + more * there);
            let first = slot * world.regions.len();
            for (at, region) in world.regions.iter().enumerate() {
                if event.metros.contains(&region.metro) {
                    world.demand[first + at] *= factor as f32;
                }
            }
        }
        event.multiplier = 1.0 + 2.0 * more;
    }
    world
}

/// Parts of an edge's capacity that are committed, and the price above, where forecasts are tried
/// on commits: usual contracts commit to what is sure to flow.
const COMMIT_SHARE: f64 = 0.25;
const OVERAGE: f64 = 1.5;

fn equal(world: &World, tariffs: &[Tariff]) -> Vec<Tariff> {
    let mean = |metro: usize, of: fn(&Tariff) -> f64| {
        let edges = world.edges.iter().zip(tariffs);
        let of: Vec<f64> = edges
            .filter(|(it, _)| it.metro == metro)
            .map(|(_, it)| of(it))
            .collect();
        of.iter().sum::<f64>() / of.len().max(1) as f64
    };
    let tariff = |(edge, tariff): (&Edge, &Tariff)| Tariff {
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
    pub prices: &'a prices::Prices,
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
            tariffs: &self.prices.tariffs,
            policies: self.policies.clone(),
            foresight: self.foresight.clone(),
        };
        let mut rule = kind.rule(&setting);
        let ran = run(self.world, &mut *rule, self.motion, tell)?;
        Some(Cell::new(self.world, self.prices, &ran, self.draws))
    }

    /// USD that no policy with this slack can fall below, where that is known.
    pub fn bound(&self) -> Option<f64> {
        let slack_ms = self.policies.default_policy().rtt.max_extra_vs_nearest_ms;
        bound::usd(self.world, &self.prices.tariffs, slack_ms)
    }
}
