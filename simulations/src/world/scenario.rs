//! Sans-IO: the scenario file: text to a checked [`Scenario`], or to a fault with line and remedy.
//!
//! What a file leaves out has the default that `scenarios/default.toml` shows; metros, networks and
//! prices by area are taken as lists: a file that names some has only those.

mod check;

use std::collections::BTreeMap;

use scheduler::price;
use serde::{Deserialize, Serialize};

use crate::table::Fault;

/// The scenario that the repository ships, and the file to start from.
pub const DEFAULT: &str = include_str!("../../scenarios/default.toml");

/// A world to be made by a seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Of this file format; 1.
    pub version: u32,
    /// What the world is called.
    #[serde(default = "name")]
    pub name: String,
    /// The calendar.
    #[serde(default)]
    pub time: Calendar,
    /// How much is watched when.
    #[serde(default)]
    pub demand: Demand,
    /// Where people live.
    #[serde(default)]
    pub metro: Vec<Metro>,
    /// How they are connected.
    #[serde(default)]
    pub network: Vec<Network>,
    /// How long ways take.
    #[serde(default)]
    pub rtt: Rtt,
    /// Edges to be made.
    #[serde(default)]
    pub edges: Edges,
    /// Edges that stand already; with any, none is made.
    #[serde(default)]
    pub edge: Vec<Edge>,
    /// What is on air.
    #[serde(default)]
    pub streams: Streams,
    /// How streams come to edges.
    #[serde(default)]
    pub relay: Relay,
    /// Events to be made.
    #[serde(default)]
    pub events: Events,
    /// Events that are certain.
    #[serde(default)]
    pub event: Vec<Event>,
    /// Edges that fail.
    #[serde(default)]
    pub outage: Vec<Outage>,
    /// Prices to be made.
    #[serde(default)]
    pub prices: Prices,
    /// Prices that are known, as the scheduler takes them; an edge without a row gets a made one.
    #[serde(default)]
    pub price: Vec<price::Row>,
    /// How viewers can be moved.
    #[serde(default)]
    pub players: Players,
    /// What is played viewer by viewer.
    #[serde(default)]
    pub window: Window,
}

fn name() -> String {
    "world".to_owned()
}

macro_rules! table {
    ($(#[$about:meta])* $name:ident {
        $($(#[$doc:meta])* $key:ident: $kind:ty = $value:expr,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$doc])* pub $key: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $value,)* }
            }
        }
    };
}

table! {
    /// `[time]`.
    Calendar {
        /// The first day, at 00:00 UTC: `2026-01-05`.
        start: String = "2026-01-05".to_owned(),
        /// Days that are billed, 1 to 31.
        days: u32 = 28,
        /// Days before them, which policies know.
        history_days: u32 = 7,
        /// Seconds of a slot, a part of 300.
        slot_s: u32 = 300,
    }
}

table! {
    /// `[demand]`.
    Demand {
        /// Mean of all regions together, Gbit/s, before events.
        mean_gbps: f64 = 400.0,
        /// The night's share of the evening's height.
        night: f64 = 0.30,
        /// Height of the bump at noon.
        noon: f64 = 0.30,
        /// Height of the bump in the evening.
        evening: f64 = 1.0,
        /// Times so much at noon on Saturdays and Sundays.
        weekend_noon: f64 = 1.6,
        /// Times so much in the evening on Saturdays and Sundays.
        weekend_evening: f64 = 1.12,
        /// Deviation of what lasts for hours, as a share.
        noise: f64 = 0.05,
        /// Mbit/s of a viewer, for the noise of who comes and goes.
        viewer_mbps: f64 = 3.0,
        /// A mean session, minutes.
        session_min: f64 = 20.0,
    }
}

/// `[[metro]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metro {
    /// Its name; edges and events refer to it.
    pub name: String,
    /// ISO 3166 code of its country.
    #[serde(default)]
    pub country: Option<String>,
    /// The part of the world that it belongs to; prices and events refer to it.
    pub area: String,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// Hours from UTC.
    pub utc_offset_h: f64,
    /// Million people who watch.
    pub million: f64,
}

/// `[[network]]`: an access network that each metro has; each is a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Round-trip milliseconds inside it.
    pub access_ms: f64,
    /// Its part of a metro's viewers, in the mean, of all networks' shares.
    #[serde(default = "one")]
    pub share: f64,
    /// Times the bump at noon.
    #[serde(default = "one")]
    pub noon: f64,
    /// Times the bump in the evening.
    #[serde(default = "one")]
    pub evening: f64,
}

fn one() -> f64 {
    1.0
}

table! {
    /// `[rtt]`.
    Rtt {
        /// Milliseconds for 100 km as the crow flies.
        ms_per_100km: f64 = 1.55,
        /// Milliseconds that every way takes.
        base_ms: f64 = 0.0,
        /// Mean of what each pair of region and edge takes longer, by how networks are connected.
        peering_ms: f64 = 4.8,
        /// A table of measured times between metros: columns from, to, rtt_ms.
        matrix: Option<String> = None,
    }
}

table! {
    /// `[edges]`.
    Edges {
        /// In each metro.
        per_metro: u32 = 2,
        /// In each of the largest.
        per_large_metro: u32 = 3,
        /// How many are large.
        large_metros: u32 = 16,
        /// A metro's capacity over its own highest slot.
        capacity_over_peak: f64 = 1.35,
    }
}

/// `[[edge]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Its name; prices and outages refer to it.
    pub name: String,
    /// The metro where it stands.
    pub metro: String,
    /// Degrees north, where not the metro's.
    #[serde(default)]
    pub lat: Option<f64>,
    /// Degrees east, where not the metro's.
    #[serde(default)]
    pub lon: Option<f64>,
    /// What it can send, Mbit/s.
    pub capacity_mbps: f64,
    /// What it can take in, Mbit/s; half of that when left out.
    #[serde(default)]
    pub ingress_mbps: Option<f64>,
}

table! {
    /// `[streams]`.
    Streams {
        /// On air at a time.
        count: u32 = 4000,
        /// Exponent of Zipf's law: the n-th has the n-th part to this power.
        zipf: f64 = 1.0,
        /// Share of them that are watched alike everywhere.
        global: f64 = 0.08,
        /// Times so many viewers in the home metro.
        at_home: f64 = 30.0,
        /// The same elsewhere in the home's area.
        in_area: f64 = 3.0,
        /// The same in other areas.
        elsewhere: f64 = 0.15,
        /// The same of a global one, everywhere.
        of_global: f64 = 6.0,
        /// Bit rates, kbit/s.
        bitrates_kbps: Vec<f64> = vec![800.0, 1500.0, 2500.0, 3500.0, 4500.0, 6000.0],
        /// How many have each.
        bitrate_shares: Vec<f64> = vec![0.08, 0.17, 0.27, 0.26, 0.14, 0.08],
    }
}

table! {
    /// `[relay]`.
    Relay {
        /// Whether the largest edge of each area is a hub, through which the area takes each stream
        /// once.
        hubs: bool = false,
        /// USD per 1e9 bytes that an edge sends to other nodes, where no `[[price]]` says another.
        usd_per_gb: f64 = 0.0,
    }
}

table! {
    /// `[events]`: chances a day, if not said otherwise.
    Events {
        /// Announced ones in an area.
        area: f64 = 0.35,
        /// Announced ones in a metro.
        metro: f64 = 0.35,
        /// Announced ones everywhere, in all days together.
        world: f64 = 2.0,
        /// Share of the announced that do not take place.
        cancelled: f64 = 0.05,
        /// Unannounced crowds in a metro.
        crowd_metro: f64 = 0.5,
        /// Unannounced crowds in an area.
        crowd_area: f64 = 0.1,
        /// Regions that lose most of their viewers for a while.
        region_outage: f64 = 0.15,
        /// Edges that die for 10 to 60 minutes.
        edge_outage: f64 = 0.0,
    }
}

/// `[[event]]`: of a metro, of an area, or of the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Whose viewers come; with neither, everybody's.
    #[serde(default)]
    pub metro: Option<String>,
    /// The same for an area.
    #[serde(default)]
    pub area: Option<String>,
    /// The billed day, from 0.
    pub day: u32,
    /// The hour at which it starts, UTC.
    pub hour: f64,
    /// How long it lasts, ramps included.
    pub minutes: f64,
    /// Demand over normal, at the plateau.
    pub multiplier: f64,
    /// Hours before its start at which it is announced; left out, nobody knows of it.
    #[serde(default)]
    pub announced_h: Option<f64>,
}

/// `[[outage]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// The edge's name.
    pub edge: String,
    /// The billed day, from 0.
    pub day: u32,
    /// The hour, UTC.
    pub hour: f64,
    /// How long.
    pub minutes: f64,
}

table! {
    /// `[prices]`.
    Prices {
        /// What is counted: `p95`, `daily_peak` or `volume`.
        model: String = "p95".to_owned(),
        /// USD per Mbit/s and month, by area; of one that is not named, `usd_elsewhere`.
        usd: BTreeMap<String, f64> = BTreeMap::new(),
        /// Where no area says another.
        usd_elsewhere: f64 = 1.0,
        /// Deviation from metro to metro, in logarithms.
        metro_spread: f64 = 0.2,
        /// Deviation from edge to edge inside a metro, in logarithms; 0 makes them equal.
        edge_spread: f64 = 0.55,
        /// Share of the edges that have a commit.
        commit_chance: f64 = 0.333,
        /// The commit, as a share of capacity.
        commit_share: f64 = 0.1,
        /// Mbit/s and months in a GB: what a price by volume is divided by.
        gb_per_mbps: f64 = 162.0,
    }
}

table! {
    /// `[players]`: parts of the viewers, 1 together.
    Players {
        /// HLS players, moved by content steering.
        hls: f64 = 0.5,
        /// FLV players that are moved by a message in the stream.
        flv: f64 = 0.3,
        /// Others, who stay until their session ends.
        plain: f64 = 0.2,
        /// WebRTC and media over QUIC, whose sessions are moved.
        session: f64 = 0.0,
        /// Share of the HLS players that play with low latency.
        low_latency: f64 = 0.5,
    }
}

impl Players {
    /// Those that can be moved while they play.
    pub fn movable(&self) -> f64 {
        self.hls + self.flv + self.session
    }
}

table! {
    /// `[window]`: what the event engine plays, viewer by viewer.
    Window {
        /// The billed day, from 0.
        day: u32 = 0,
        /// The hour at which it begins, UTC.
        hour: f64 = 19.0,
        /// How long it lasts.
        minutes: f64 = 60.0,
        /// How long viewers come and go before anything is counted.
        warm_up_min: f64 = 10.0,
        /// Viewers in that time; demand and capacities are scaled to them. 0 takes all.
        viewers: f64 = 100_000.0,
        /// Schedulers, each with its own counts of whom it sent where.
        schedulers: u32 = 2,
        /// Seconds between two reports of an edge's load, 1 to 30.
        telemetry_s: u32 = 1,
        /// Share of the heartbeats that are lost; an edge without three in a row is taken for dead.
        heartbeat_loss: f64 = 0.001,
        /// Share of the viewers who go where DNS says.
        dns: f64 = 0.05,
        /// How long resolvers keep an answer, whatever its time to live, minutes.
        dns_keep_min: f64 = 10.0,
        /// How long a viewer tries to get in, or in again.
        patience_s: f64 = 30.0,
        /// The minute in which the edge with the most viewers dies; below 0 none does.
        kill_min: f64 = 20.0,
        /// Within how many seconds its players notice, one after the other: 5 when a machine
        /// vanishes, 0.3 when its process dies and connections are reset.
        notice_s: f64 = 5.0,
        /// How long it is dead, minutes.
        dead_min: f64 = 10.0,
        /// The minute from which on the edge with the most viewers is drained; below 0 none is.
        drain_min: f64 = 40.0,
        /// The minute in which a crowd comes to the most watched stream; below 0 none does.
        crowd_min: f64 = 30.0,
        /// How many come, as a share of those who watch.
        crowd: f64 = 0.1,
        /// Within how many seconds.
        crowd_s: u32 = 60,
    }
}

/// Reads a scenario of a file of that name.
pub fn parse(file: &str, text: &str) -> Result<Scenario, Fault> {
    let scenario: Scenario = match toml::from_str(text) {
        Ok(scenario) => scenario,
        Err(error) => return Err(check::told(file, text, &error)),
    };
    check::check(file, text, &scenario)?;
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "version = 1\n[[metro]]\nname = \"a\"\narea = \"x\"\nlat = 1\nlon = 2\n\
                         utc_offset_h = 0\nmillion = 1\n[[network]]\nname = \"n\"\naccess_ms = 5\n";

    #[test]
    fn the_shipped_scenario_says_what_the_defaults_are() {
        let shipped = parse("default.toml", DEFAULT).unwrap();
        let small = parse("small.toml", SMALL).unwrap();
        assert_eq!(shipped.time, small.time);
        assert_eq!(shipped.demand, small.demand);
        assert_eq!(shipped.rtt, small.rtt);
        assert_eq!(shipped.edges, small.edges);
        assert_eq!(shipped.streams, small.streams);
        assert_eq!(shipped.relay, small.relay);
        assert_eq!(shipped.events, small.events);
        assert_eq!(shipped.players, small.players);
        assert_eq!(shipped.window, small.window);
        let bare = Prices {
            usd: BTreeMap::new(),
            ..shipped.prices
        };
        assert_eq!(bare, small.prices);
        assert!(shipped.metro.len() >= 30 && shipped.network.len() >= 4);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_to_do() {
        let with = |more: &str| format!("{SMALL}{more}");
        for (text, said) in [
            (
                with("[demand]\nmean_gpbs = 3\n"),
                "line 13: key mean_gpbs is not known; did you mean mean_gbps?",
            ),
            (
                with("[demnd]\n"),
                "line 12: key demnd is not known; did you mean demand?",
            ),
            (
                with("[demand]\nmean_gbps = -3\n"),
                "line 13: demand.mean_gbps = -3 is out of range; give a number from",
            ),
            (
                with("[demand]\nmean_gbps = \"3\"\n"),
                "line 13: demand.mean_gbps: invalid type: string",
            ),
            (
                with("[time]\nslot_s = 70\n"),
                "line 13: time.slot_s = 70 is no part of 300; say 30, 60, 100, 150 or 300",
            ),
            (
                with("[time]\nstart = \"soon\"\n"),
                "line 13: time.start = \"soon\" is no day; write it as 2026-01-05",
            ),
            (
                with("[time]\ndays = 40\n"),
                "line 13: time.days = 40 is out of range",
            ),
            (
                with("[[edge]]\nname = \"e\"\nmetro = \"b\"\ncapacity_mbps = 5\n"),
                "line 14: edge.0.metro: metro \"b\" is not known; name one of the file's: a",
            ),
            (
                with("[[outage]]\nedge = \"e\"\nday = 0\nhour = 1\nminutes = 5\n"),
                "line 13: outage.0.edge: edge \"e\" is not known",
            ),
            (
                with("[[event]]\narea = \"y\"\nday = 0\nhour = 1\nminutes = 5\nmultiplier = 2\n"),
                "area \"y\" is not known; name one of the file's: x",
            ),
            (
                with("[players]\nhls = 0.9\n"),
                "the parts of [players] sum to 1.4; make them 1",
            ),
            (with("[[price]]\nnode = \"*\"\n"), "[[price]] row 1"),
            (
                with("[prices]\nmodel = \"flat\"\n"),
                "prices.model = \"flat\" is not known; say p95, daily_peak or volume",
            ),
            (
                with(
                    "[[metro]]\nname = \"a\"\narea = \"x\"\nlat = 1\nlon = 2\nutc_offset_h = 0\nmillion = 1\n",
                ),
                "metro \"a\" is there twice",
            ),
            ("version = 1\n".to_owned(), "there is no [[metro]]"),
            (
                "version = 2\n".to_owned() + &SMALL[12..],
                "line 1: version = 2 is not known; write version = 1",
            ),
            ("name = \"x\"\n".to_owned(), "missing field `version`"),
            ("version = \n".to_owned(), "line 1:"),
        ] {
            let error = parse("w.toml", &text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}\n{error}\nnot {said}");
        }
    }
}
