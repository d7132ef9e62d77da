//! Sans-IO: how fast an edge asks its running viewers to find another one.
//!
//! Whoever is asked asks the scheduler, whose steering has the last word: of a drained edge all
//! leave, of an overloaded one those who are too many. So an order says nothing of who leaves, only
//! how soon everybody was asked. Paces are few steps: a plan is new only when one differs.

use serde::{Deserialize, Serialize};

use crate::node::Capacity;

/// An order to ask viewers; the faster of two is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moves {
    /// How many of a thousand viewers are asked each second.
    pub permille: u16,
    /// Why they should leave.
    pub why: Why,
}

/// Why viewers should leave an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It is drained.
    Drain,
    /// It carries more than it may.
    Overload,
}

impl Why {
    /// The label in counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Overload => "overload",
        }
    }
}

impl Moves {
    /// Of an edge that is drained: all of its viewers within eight seconds.
    pub const DRAIN: Self = Self {
        permille: 125,
        why: Why::Drain,
    };

    /// Of an edge that carries so much: the faster the larger the part that is too much.
    pub fn relieving(capacity: &Capacity, viewers: u32, egress_bps: u64) -> Option<Self> {
        let load = |used: u64, most: u64| match most {
            0 => 0.0,
            _ => used as f64 / most as f64,
        };
        let by_viewers = load(viewers.into(), capacity.viewers.into());
        let load = by_viewers.max(load(egress_bps, capacity.egress_bps));
        let excess = 1.0 - 1.0 / load.max(1.0);
        let wanted = (excess * ASKED_PER_EXCESS).min(f64::from(FASTEST));
        let permille = PACES.into_iter().find(|pace| f64::from(*pace) >= wanted)?;
        (load > 1.0).then_some(Self {
            permille,
            why: Why::Overload,
        })
    }

    /// The share of viewers that is asked each second, at most [`FASTEST`] of a thousand.
    pub fn share(&self) -> f64 {
        f64::from(self.permille.min(FASTEST)) / 1000.0
    }
}

/// However an order reads, nobody is asked more often than each fourth second: a player needs two
/// to find another edge and to go over to it.
pub const FASTEST: u16 = 250;

/// Where an eighth is too much everybody is asked within five seconds, and again in the next five,
/// so that an overload has ended within ten; where a little is, the scheduler is spared thousands
/// of questions.
const ASKED_PER_EXCESS: f64 = 1600.0;

/// The paces at which an overloaded edge asks: everybody within 50, 20, 10, 5 and 4 seconds.
const PACES: [u16; 5] = [20, 50, 100, 200, FASTEST];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_asks_the_faster_the_more_is_too_much() {
        let capacity = Capacity {
            viewers: 1000,
            egress_bps: 1_000_000,
        };
        let asked = |permille| {
            Some(Moves {
                permille,
                why: Why::Overload,
            })
        };
        for (viewers, egress_bps, expected) in [
            (0, 0, None),
            (1000, 1_000_000, None),
            (1001, 0, asked(20)),
            (0, 1_010_000, asked(20)),
            (1050, 0, asked(100)),
            (1100, 900_000, asked(200)),
            (1300, 0, asked(250)),
            (0, 2_000_000, asked(250)),
            (u32::MAX, u64::MAX, asked(250)),
        ] {
            let moves = Moves::relieving(&capacity, viewers, egress_bps);
            assert_eq!(moves, expected, "{viewers} viewers, {egress_bps} bit/s");
        }
        let unlimited = Capacity::default();
        assert_eq!(Moves::relieving(&unlimited, u32::MAX, u64::MAX), None);
    }

    #[test]
    fn of_two_orders_the_faster_counts_and_none_is_too_fast() {
        let overload = Moves {
            permille: 2000,
            why: Why::Overload,
        };
        let drain = Some(Moves::DRAIN);
        assert_eq!(drain.max(None), drain);
        assert_eq!(drain.max(Some(overload)), Some(overload));
        assert_eq!(overload.share(), 0.25);
    }
}
