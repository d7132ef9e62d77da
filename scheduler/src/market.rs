//! Sans-IO: what steering goes by between two plans: a price of each edge, what is near each
//! region, and where each stream is at home.
//!
//! Prices stay good while loads move, so that any number of schedulers that hold the same market
//! decide alike. One that is older than ten minutes counts for nothing: distance and load then
//! decide alone.

use std::collections::HashMap;
use std::sync::Arc;

use cluster::region::Region;
use cluster::stream::StreamKey;

/// What was planned for steering.
#[derive(Clone, Debug)]
pub struct Market {
    /// When it was made, Unix milliseconds; 0 before the first.
    pub made_ms: u64,
    /// How sharply viewers go to the cheapest edge, in units of cost: the difference at which an
    /// edge gets `e` times as many as another.
    pub tau: f64,
    /// What an edge costs, by the number of its node.
    pub quotes: HashMap<u16, Quote>,
    /// What a bit that a node sends to other nodes costs, in units of the edges' mean price, by its
    /// number, where that is more than [`LEAST_RELAY`](crate::plan::billing::LEAST_RELAY).
    pub relays: HashMap<u16, f64>,
    /// The edges that are near a region, nearest first.
    pub reaches: HashMap<Region, Arc<[Reach]>>,
    /// Where streams are at home; elsewhere they would have to be fetched first.
    pub homes: HashMap<StreamKey, Arc<Home>>,
}

impl Default for Market {
    fn default() -> Self {
        Self {
            made_ms: 0,
            tau: TAU,
            quotes: HashMap::new(),
            relays: HashMap::new(),
            reaches: HashMap::new(),
            homes: HashMap::new(),
        }
    }
}

impl Market {
    /// Whether it still counts at that Unix time.
    pub fn is_good(&self, unix_ms: u64) -> bool {
        self.made_ms > 0 && unix_ms.saturating_sub(self.made_ms) < GOOD_FOR_MS
    }
}

/// What a bit per second at an edge costs, in units of the edges' mean price.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quote {
    /// What is to be paid for one bit more.
    pub money: f64,
    /// What its last room is worth: the dual price of its capacity.
    pub scarcity: f64,
    /// What it is planned to carry, in bits per second.
    pub planned_bps: f64,
    /// Its price, in USD per Mbit/s and month.
    pub usd_per_mbps: f64,
}

/// An edge as a region sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// The node's number.
    pub number: u16,
    /// The median round-trip time, where it was measured often enough.
    pub rtt_ms: Option<f32>,
}

/// Where a stream is at home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// The numbers of the edges that carry it or are to, in ascending order.
    pub open: Vec<u16>,
    /// Into how many groups its viewers are cut that are steered together; one keeps the few
    /// viewers of a small stream at one edge.
    pub buckets: u32,
}

/// Of a market that nobody planned: an edge that is 5 % of the mean price dearer gets a third of
/// the viewers.
pub const TAU: f64 = 0.05;

/// Demand changes its shape within the hour, and prices with it.
const GOOD_FOR_MS: u64 = 600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_count_for_ten_minutes() {
        let made = |made_ms| Market {
            made_ms,
            ..Market::default()
        };
        for (market, now, good) in [
            (made(0), 0, false),
            (made(0), 1, false),
            (made(1_000), 1_000, true),
            (made(1_000), 600_999, true),
            (made(1_000), 601_000, false),
            (made(1_000), 5, true),
        ] {
            assert_eq!(market.is_good(now), good, "{} at {now}", market.made_ms);
        }
    }
}
