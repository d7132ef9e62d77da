//! Sans-IO: who decides: the production planner, and the rules that it is compared with.
//!
//! All see demand one slot late, but for O1. What each does stands in its file and in
//! docs/simulations.md.

pub mod nearest;
pub mod balance;
pub mod central;
pub mod tail;
pub mod weir;
pub mod bound;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use scheduler::plan::billing::Tariff;
use scheduler::policy::Policies;

use crate::forecast::{Expected, Told};
use crate::relay::{Keep, Style, Ways};
use crate::run::Rule;
use crate::world::World;
use weir::{Foresight, Weir};

/// The rules that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Each region goes to the edge that is nearest on the map.
    B0,
    /// Nearest by round-trip time, on to the next when 85 % full.
    B1,
    /// The least loaded of the edges within the slack.
    B2,
    /// The less loaded of two edges within the slack, drawn at random.
    B2p,
    /// Consistent hashing with bounded loads.
    B3,
    /// A central split by prices of bits and distance.
    B4,
    /// Nearest, on to the next when 80 % full, over a flat overlay of two hops.
    B5,
    /// B1, with the few viewers of small streams kept together.
    B6,
    /// B1 over a relay of three tiers.
    B7,
    /// Cheapest within the slack, on to the next when 85 % full.
    B8,
    /// The production planner.
    Weir,
    /// The production planner, which knows the demand of each slot beforehand.
    O1,
}

impl Kind {
    /// All, in the order of reports.
    pub const ALL: [Self; 12] = [
        Self::B0,
        Self::B1,
        Self::B2,
        Self::B2p,
        Self::B3,
        Self::B4,
        Self::B5,
        Self::B6,
        Self::B7,
        Self::B8,
        Self::Weir,
        Self::O1,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::B0 => "B0",
            Self::B1 => "B1",
            Self::B2 => "B2",
            Self::B2p => "B2p",
            Self::B3 => "B3",
            Self::B4 => "B4",
            Self::B5 => "B5",
            Self::B6 => "B6",
            Self::B7 => "B7",
            Self::B8 => "B8",
            Self::Weir => "weir",
            Self::O1 => "O1",
        }
    }

    /// What it does, for people.
    pub fn says(self) -> &'static str {
        match self {
            Self::B0 => "nearest on the map",
            Self::B1 => "nearest, on to the next at 85 %",
            Self::B2 => "least loaded within the slack",
            Self::B2p => "less loaded of two within the slack",
            Self::B3 => "consistent hashing with bounded loads",
            Self::B4 => "central split by price and distance (like VDN)",
            Self::B5 => {
                "nearest, on to the next at 80 %, over a flat two-hop overlay (like LiveNet)"
            }
            Self::B6 => "B1, small streams kept together (like AggCast)",
            Self::B7 => "B1 over a three-tier relay",
            Self::B8 => "cheapest within the slack, on to the next at 85 %",
            Self::Weir => "the production planner",
            Self::O1 => "the production planner, knowing demand beforehand",
        }
    }

    /// Whether it plans as the scheduler does, and so follows a policy and takes long.
    pub fn plans(self) -> bool {
        matches!(self, Self::Weir | Self::O1)
    }

    /// The rule, for a world.
    pub fn rule(self, setting: &Setting<'_>) -> Box<dyn Rule> {
        let Setting { world, tariffs, .. } = *setting;
        let slack_ms = setting
            .policies
            .default_policy()
            .rtt
            .max_extra_vs_nearest_ms;
        let nearest = |full, ways| {
            let keep = Keep::Apart;
            nearest::Spill::nearest(world, full).named(self.as_str(), Style { keep, ways })
        };
        match self {
            Self::B0 => Box::new(nearest::Geographic::new(world)),
            Self::B1 => Box::new(nearest(0.85, Ways::Direct)),
            Self::B5 => Box::new(nearest(0.80, Ways::TwoHops)),
            Self::B6 => Box::new(tail::Together::new(world, nearest(0.85, Ways::Direct))),
            Self::B7 => Box::new(nearest(0.85, Ways::Tiers)),
            Self::B8 => Box::new(nearest::Spill::cheapest(world, tariffs, slack_ms)),
            Self::B2 => Box::new(balance::LeastLoaded::new(world, slack_ms)),
            Self::B2p => Box::new(balance::TwoChoices::new(world, slack_ms)),
            Self::B3 => Box::new(balance::Bounded::new(world, slack_ms)),
            Self::B4 => Box::new(central::Central::new(world, tariffs, slack_ms)),
            Self::Weir | Self::O1 => Box::new(self.planner(setting).expect("it plans")),
        }
    }

    /// The planner of a rule that plans.
    pub fn planner(self, setting: &Setting<'_>) -> Option<Weir> {
        let foresight = match self {
            Self::Weir => setting.foresight.clone(),
            Self::O1 => Arc::new(Expected::of(setting.world, Told::Perfect)),
            _ => return None,
        };
        let policies = setting.policies.clone();
        let weir = Weir::new(setting.world, setting.tariffs, policies, foresight);
        Some(weir.named(self.as_str()))
    }
}

/// What a rule is made for.
#[derive(Clone)]
pub struct Setting<'a> {
    /// Where it decides.
    pub world: &'a World,
    /// What the world's edges cost.
    pub tariffs: &'a [Tariff],
    /// What the operator asks for; rules that do not plan take the slack from it.
    pub policies: Arc<Policies>,
    /// What the planner expects.
    pub foresight: Arc<dyn Foresight>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
            format!("no rule {text:?}: there are {}", all.join(", "))
        })
    }
}

/// The paths of a region that are within so many milliseconds of its nearest, and the nearest
/// three in any case.
pub(crate) fn within(world: &World, region: usize, slack_ms: f64) -> Vec<usize> {
    let range = world.range(region);
    let near = world.paths[range.start..].first();
    let near = near.map_or(0.0, |path| path.rtt_ms);
    let fits = |(nth, at): (usize, usize)| {
        let within = world.paths[at].rtt_ms <= near + slack_ms;
        (nth < ALWAYS || within).then_some(at)
    };
    range.enumerate().filter_map(fits).collect()
}

/// Edges that a region may use however far they are.
const ALWAYS: usize = 3;
