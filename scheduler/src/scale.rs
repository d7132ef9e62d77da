//! Sans-IO: how many nodes each zone should have, and when.
//!
//! What is asked for now must carry the demand of every moment up to the one at which a node that
//! is ordered now can serve, at the forecast's quantile and with the policy's headroom. More nodes
//! are wanted at once, fewer only after the want has been lower for a while. What a zone's demand
//! is made of is [`survey`]'s, who asks is [`service`]'s.

pub mod service;
pub mod survey;

use std::collections::{BTreeMap, VecDeque};

use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config::Duration;

/// `[scheduler.scale]`: how many edges are recommended to what starts and stops them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Scale")]
pub struct Config {
    /// How long it takes from the wish for an edge to its first viewer.
    pub lead: Duration,
    /// Fewest edges of a zone.
    pub min: u32,
    /// Most edges of a zone.
    pub max: u32,
    /// How long a zone must have needed fewer edges before fewer are recommended.
    pub hold: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lead: Duration::from_secs(600),
            min: 1,
            max: 100,
            hold: Duration::from_secs(900),
        }
    }
}

impl Config {
    /// Whether the settings make sense.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.min <= self.max && (1..=MAX_NODES).contains(&self.max),
            "[scheduler.scale] min must be at most max, and max 1 to {MAX_NODES}"
        );
        let hour = std::time::Duration::from_secs(3_600);
        ensure!(
            self.lead.get() <= hour,
            "[scheduler.scale] lead must be at most 1h: nothing is forecast beyond"
        );
        ensure!(
            self.hold.get() <= 24 * hour,
            "[scheduler.scale] hold must be at most 24h"
        );
        Ok(())
    }
}

/// A zone as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Edges that take viewers.
    pub nodes: u32,
    /// What an edge there may carry on average.
    pub room: Room,
    /// What is asked of them, by time, now first.
    pub needs: Vec<Need>,
}

/// What an edge may carry; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    /// Viewers.
    pub viewers: f64,
    /// Bits per second.
    pub egress_bps: f64,
}

/// Demand at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Seconds from now.
    pub in_s: u32,
    /// Viewers.
    pub viewers: f64,
}

/// What holds for all zones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// What a viewer takes on average.
    pub viewer_bps: f64,
    /// Share of its room that an edge is planned with.
    pub util_max: f64,
    /// Edges that may fail without overload.
    pub spare: u32,
}

/// What is recommended for a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Edges to have.
    pub desired: u32,
    /// Seconds until the earliest need of so many, or of as many as there ever are within reach.
    pub in_s: u32,
    /// Whether fewer would do, and have not for long enough.
    pub held: bool,
    /// Edges that each of the zone's needs takes.
    pub nodes: Vec<u32>,
}

/// What was wished for before.
#[derive(Debug, Default)]
pub struct Scaler {
    /// By zone the wishes that still count, each larger than all later ones.
    past: BTreeMap<String, VecDeque<(u64, u32)>>,
}

impl Scaler {
    /// What is recommended for all zones; `now_ms` never goes back.
    pub fn wishes(
        &mut self,
        now_ms: u64,
        zones: &[Zone],
        terms: &Terms,
        config: &Config,
    ) -> Vec<Wish> {
        let hold_ms = config.hold.as_millis();
        self.past.retain(|name, past| {
            past.retain(|(at_ms, _)| now_ms.saturating_sub(*at_ms) < hold_ms);
            !past.is_empty() && zones.iter().any(|zone| zone.name == *name)
        });
        let wish = |zone: &Zone| {
            let nodes: Vec<u32> = zone
                .needs
                .iter()
                .map(|need| nodes(need.viewers, &zone.room, terms).clamp(config.min, config.max))
                .collect();
            let lead_s = config.lead.get().as_secs();
            // The first forecast beyond the lead counts, too: demand may have risen by then.
            let beyond = zone
                .needs
                .iter()
                .position(|need| u64::from(need.in_s) >= lead_s);
            let within = beyond.map_or(nodes.len(), |beyond| beyond + 1);
            let wanted = nodes[..within].iter().copied().max().unwrap_or(config.min);
            let first = nodes[..within].iter().position(|nodes| *nodes == wanted);
            let past = self.past.entry(zone.name.clone()).or_default();
            while past.back().is_some_and(|(_, before)| *before <= wanted) {
                past.pop_back();
            }
            past.push_back((now_ms, wanted));
            let desired = past.front().map_or(wanted, |(_, most)| *most);
            Wish {
                desired,
                in_s: first.map_or(0, |at| zone.needs[at].in_s),
                held: desired > wanted,
                nodes,
            }
        };
        zones.iter().map(wish).collect()
    }
}

/// Edges that so many viewers take, the spare one included.
fn nodes(viewers: f64, room: &Room, terms: &Terms) -> u32 {
    if viewers.is_nan() || viewers < LEAST_VIEWERS {
        return 0;
    }
    let share = |load: f64, of: f64| {
        if of > 0.0 {
            load / (of * terms.util_max)
        } else {
            0.0
        }
    };
    let by_viewers = share(viewers, room.viewers);
    let by_egress = share(viewers * terms.viewer_bps, room.egress_bps);
    let nodes = by_viewers.max(by_egress).ceil().max(1.0);
    (nodes as u32).saturating_add(terms.spare)
}

/// Below this a forecast says that there is nobody.
const LEAST_VIEWERS: f64 = 0.5;

/// As many as a cluster may have.
const MAX_NODES: u32 = 4_096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms {
        viewer_bps: 4e6,
        util_max: 0.9,
        spare: 1,
    };

    fn zone(needs: &[(u32, f64)]) -> Zone {
        let need = |&(in_s, viewers): &(u32, f64)| Need { in_s, viewers };
        Zone {
            name: "eu".to_owned(),
            nodes: 2,
            room: Room {
                viewers: 1_000.0,
                egress_bps: 2e9,
            },
            needs: needs.iter().map(need).collect(),
        }
    }

    fn wish(scaler: &mut Scaler, now_s: u64, zone: &Zone, config: &Config) -> Wish {
        let zones = std::slice::from_ref(zone);
        scaler.wishes(now_s * 1000, zones, &TERMS, config).remove(0)
    }

    #[test]
    fn nodes_are_enough_for_viewers_and_for_their_egress() {
        let room = |viewers, egress_bps| Room {
            viewers,
            egress_bps,
        };
        for (viewers, room, expected) in [
            (0.0, room(1_000.0, 0.0), 0),
            (f64::NAN, room(1_000.0, 0.0), 0),
            (1.0, room(1_000.0, 0.0), 2),
            (900.0, room(1_000.0, 0.0), 2),
            (901.0, room(1_000.0, 0.0), 3),
            (900.0, room(0.0, 1e9), 5),
            (900.0, room(1_000.0, 1e9), 5),
            (1e6, room(0.0, 0.0), 2),
            (f64::INFINITY, room(1.0, 0.0), u32::MAX),
        ] {
            assert_eq!(
                nodes(viewers, &room, &TERMS),
                expected,
                "{viewers} {room:?}"
            );
        }
    }

    #[test]
    fn what_comes_within_the_lead_is_asked_for_now() {
        let config = Config::default();
        for (needs, desired, in_s) in [
            // 450 viewers fit one edge.
            (vec![(0, 400.0)], 2, 0),
            (
                vec![(0, 400.0), (300, 500.0), (900, 1_000.0), (3_600, 9_000.0)],
                4,
                900,
            ),
            (vec![(0, 400.0), (600, 500.0), (900, 9_000.0)], 3, 600),
            (vec![(0, 1_000.0), (300, 1_000.0), (900, 100.0)], 4, 0),
            (vec![], 1, 0),
            (vec![(0, 0.0), (900, 0.0)], 1, 0),
            (vec![(0, 1e9)], 100, 0),
        ] {
            let wish = wish(&mut Scaler::default(), 0, &zone(&needs), &config);
            assert_eq!(
                (wish.desired, wish.in_s, wish.held),
                (desired, in_s, false),
                "{needs:?}"
            );
            assert_eq!(wish.nodes.len(), needs.len());
        }
    }

    #[test]
    fn fewer_are_recommended_only_after_the_hold() {
        let config = Config::default();
        let mut scaler = Scaler::default();
        let (busy, calm, idle) = (
            zone(&[(0, 2_000.0)]),
            zone(&[(0, 900.0)]),
            zone(&[(0, 9.0)]),
        );
        assert_eq!(wish(&mut scaler, 0, &busy, &config).desired, 6);
        let held = wish(&mut scaler, 60, &idle, &config);
        assert_eq!((held.desired, held.held), (6, true));
        assert_eq!(wish(&mut scaler, 600, &calm, &config).desired, 6);
        assert_eq!(wish(&mut scaler, 899, &idle, &config).desired, 6);
        assert_eq!(
            wish(&mut scaler, 900, &idle, &config).desired,
            3,
            "the calm wish counts still"
        );
        let down = wish(&mut scaler, 1_500, &idle, &config);
        assert_eq!((down.desired, down.held), (2, false));
        assert_eq!(
            wish(&mut scaler, 1_501, &busy, &config).desired,
            6,
            "up at once"
        );
        scaler.wishes(1_600_000, &[], &TERMS, &config);
        assert!(scaler.past.is_empty(), "a zone that is gone is forgotten");
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for (text, valid) in [
            ("", true),
            ("min = 0\nmax = 1\nlead = \"1h\"\nhold = \"0s\"", true),
            ("min = 2\nmax = 1", false),
            ("min = 0\nmax = 0", false),
            ("max = 4097", false),
            ("lead = \"61m\"", false),
            ("hold = \"25h\"", false),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            assert_eq!(config.check().is_ok(), valid, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_recommendation_is_within_bounds_and_remembers_little(
            demand in proptest::collection::vec(0.0f64..1e5, 1..200),
        ) {
            let config = Config { min: 2, max: 40, ..Config::default() };
            let mut scaler = Scaler::default();
            let mut most = VecDeque::new();
            for (at, viewers) in demand.into_iter().enumerate() {
                let now_s = at as u64 * 100;
                let wish = wish(&mut scaler, now_s, &zone(&[(0, viewers)]), &config);
                most.push_back(wish.nodes[0]);
                while most.len() > 9 {
                    most.pop_front();
                }
                prop_assert_eq!(Some(&wish.desired), most.iter().max());
                prop_assert!((2..=40).contains(&wish.desired));
                prop_assert!(scaler.past["eu"].len() <= 39);
            }
        }
    }
}
