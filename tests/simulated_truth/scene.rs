//! What happens: three places with two edges each, streams, prices, and the people who come.

use crate::harness::{Cluster, EDGES};
use cluster::time::Time;
use scheduler::history::{self, History, Point};
use scheduler::snapshot::{hash, mix};
use simulations::dice::Dice;
use simulations::event::{Player, Visit};
use std::{fmt::Write, fs, path::Path, time::Duration};
use transport::clock::{Clock, unix_ms};

/// What an edge may send: a place's busiest time fits into one of its two.
pub const CAP_MBPS: f64 = 24.0;
/// USD per Mbit/s and month: of each place's first edge, and of its second, a little farther away.
const USD: [[f64; 2]; 3] = [[4.0, 2.0], [1.0, 2.0], [3.0, 1.5]];
/// How much each stream is watched.
pub const STREAMS: [f64; 4] = [0.6, 0.25, 0.12, 0.03];
/// What publishers are asked to send.
pub const RATE: &str = "100k";
/// The share of the viewers who watch by LL-HLS; the others by FLV.
const HLS: f64 = 0.25;
/// How many watch at a place's busiest time, and how long they stay in the mean.
const VIEWERS: [f64; 3] = [130.0, 100.0, 80.0];
const STAY_S: f64 = 20.0;
/// Days that the scheduler knows beforehand.
pub const PAST_DAYS: i64 = 2;
/// What a viewer is taken to need in those, bits per second.
const PAST_BPS: f64 = 130_000.0;
/// A billing slot, in calendar seconds: history steps are as long.
pub const SLOT_S: i64 = 300;
/// How long people come and go before the billing period begins, so that the scheduler knows of all
/// regions when it sets the goals of its first day.
pub const LEAD_S: f64 = 20.0;
/// Slots of a day.
pub const DAY: i64 = 288;

/// What operators ask for: each of these viewers stands for ten, so that what the scheduler counts
/// as few are fewer.
pub const POLICY: &str = "version = 1\n[policy.default]\n\
    tail = { consolidate_below_viewers = 4, cold_below = 1 }\n";

/// Names, places and prices of the edges, two by two.
pub fn edges() -> Vec<(String, (f64, f64), f64)> {
    let both = |(place, (name, lat, lon, _)): (usize, &(&str, f64, f64, &str))| {
        let usd = USD[place];
        [
            ((*name).to_owned(), (*lat, *lon), usd[0]),
            (format!("{name}-2"), (lat + 0.2, *lon), usd[1]),
        ]
    };
    EDGES.iter().enumerate().flat_map(both).collect()
}

/// When it begins, how long it takes, and how fast the calendar runs: so that a day and a billing
/// period of exactly that length begin then.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub milli: u64,
    pub slots: i64,
    /// The calendar second at which it begins.
    pub begins_s: i64,
}

impl Times {
    /// At the soonest in so long.
    pub fn choose(minutes: f64, earliest: Duration) -> Self {
        let slots = (minutes * 60.0 * 288.0 / SLOT_S as f64).round() as i64;
        let from = unix_ms() + earliest.as_millis() as u64;
        // Goals are set when a day begins.
        let mut periods = (1..).map(|periods| periods * slots);
        let whole = periods.find(|it| it % DAY == 0).unwrap();
        let whole_s = (whole * SLOT_S) as u128;
        let wait = |milli: &u64| {
            let calendar = u128::from(from) * u128::from(*milli) / 1_000_000;
            (whole_s - calendar % whole_s, *milli)
        };
        let (wait_s, milli) = (288_000..289_000).map(|it| wait(&it)).min().unwrap();
        let calendar = u128::from(from) * u128::from(milli) / 1_000_000;
        Self {
            milli,
            slots,
            begins_s: (calendar + wait_s) as i64,
        }
    }

    /// `[time]`, without its head.
    pub fn table(&self) -> String {
        format!(
            "scale = {}\nhistory_step = \"{SLOT_S}s\"\nbilling_period = \"{}s\"\n",
            self.scale(),
            self.slots * SLOT_S
        )
    }

    pub fn time(&self) -> Time {
        toml::from_str(&self.table()).unwrap()
    }

    pub fn scale(&self) -> f64 {
        self.milli as f64 / 1e3
    }

    /// Real seconds of a slot.
    pub fn slot_s(&self) -> f64 {
        SLOT_S as f64 / self.scale()
    }

    /// All that is played.
    pub fn seconds(&self) -> f64 {
        LEAD_S + self.slots as f64 * self.slot_s()
    }

    /// The slot of the period that runs some seconds after people began to come; before it below 0.
    pub fn slot(&self, at_s: f64) -> f64 {
        (at_s - LEAD_S) / self.slot_s()
    }

    /// The slot at a Unix time, from the beginning of the period.
    pub fn slot_at(&self, unix_ms: f64) -> i64 {
        let calendar_s = unix_ms * self.scale() / 1e3;
        ((calendar_s - self.begins_s as f64) / SLOT_S as f64).floor() as i64
    }

    /// When a share of the period is over.
    pub fn share_s(&self, share: f64) -> f64 {
        (LEAD_S + share * self.slots as f64 * self.slot_s()).round()
    }

    /// How many watch at a place in a slot from the beginning: busiest at another time at each
    /// place, not every day as busy as another.
    fn viewers(&self, place: usize, slot: f64) -> f64 {
        let day = slot / DAY as f64;
        let nth = day.floor();
        let busy = 0.85 + 0.15 * (mix((nth as i64 as u64) << 8 | place as u64) % 1000) as f64 / 1e3;
        let hour = (day - nth) * 24.0 - 8.0 * place as f64;
        let from_peak = (hour - 12.0 + 36.0).rem_euclid(24.0) - 12.0;
        let bump = (-from_peak * from_peak / 18.0).exp();
        VIEWERS[place] * (0.2 + 0.8 * busy * bump)
    }

    /// What regions were sent in the days before, up to a slot before the beginning.
    fn past(&self, until: i64) -> impl Iterator<Item = (i64, [f64; 3])> {
        (-PAST_DAYS * DAY..until).map(|slot| {
            let bps = |place| PAST_BPS * self.viewers(place, slot as f64 + 0.5);
            (slot, [0, 1, 2].map(bps))
        })
    }

    /// Writes these days into a history.
    pub fn remember(&self, path: &Path) {
        let time = self.time();
        let config = history::Config {
            path: Some(path.to_owned()),
            ..history::Config::default()
        };
        let clock = (time, Clock::system());
        let history = History::open(&config, None, clock, &mut Default::default()).unwrap();
        let first = self.begins_s / SLOT_S;
        let now = time.step_at(unix_ms()) - first;
        for (slot, bps) in self.past(now) {
            let rows: Vec<_> = EDGES
                .iter()
                .zip(bps)
                .map(|(place, bps)| {
                    let point = Point::new(bps, self.slot_s()).unwrap();
                    (format!("region/{}/egress_bps", place.0), point)
                })
                .collect();
            history.append(first + slot, &rows).unwrap();
        }
    }

    /// Who comes: the same for the cluster and for the engine.
    pub fn visits(&self) -> Vec<Visit> {
        let mut dice = Dice::new(7, "truth");
        let mut visits = Vec::new();
        let seconds = self.seconds();
        for second in 0..seconds as u32 {
            for place in 0..3 {
                let at = |second: u32| self.viewers(place, self.slot(second.into()));
                let there = if second == 0 { at(0) } else { 0.0 };
                let coming = at(second + 1) - at(second) + at(second) / STAY_S;
                for _ in 0..dice.count(coming.max(0.0) + there) {
                    let at_ms = second * 1000 + dice.index(1000) as u32;
                    visits.push(visit(&mut dice, (place, at_ms), seconds));
                }
            }
        }
        visits.sort_by_key(|it| it.at_ms);
        for (nth, visit) in visits.iter_mut().enumerate() {
            let stream = format!("live/s{}", visit.stream);
            visit.key = mix(hash(name(nth).as_bytes()) ^ hash(stream.as_bytes()).rotate_left(1));
        }
        visits
    }
}

fn visit(dice: &mut Dice, (place, at_ms): (usize, u32), seconds: f64) -> Visit {
    let stays_s = -(1.0 - dice.uniform()).ln() * STAY_S;
    let left_ms = (seconds * 1e3) as u32 - at_ms.min((seconds * 1e3) as u32);
    Visit {
        at_ms,
        stays_ms: ((stays_s * 1e3) as u32).clamp(500, left_ms.max(500)),
        region: place as u16,
        stream: dice.weighted(&STREAMS) as u32,
        player: if dice.chance(HLS) {
            Player::LowLatency
        } else {
            Player::Flv
        },
        key: 0,
    }
}

/// How a visitor calls its session.
fn name(nth: usize) -> String {
    format!("v{nth}")
}

/// The visits as `weir load play` takes them.
pub fn write(cluster: &Cluster, visits: &[Visit], path: &Path) {
    let mut text = "at_s,stay_s,url\n".to_owned();
    for (nth, visit) in visits.iter().enumerate() {
        let stream = format!("live/s{}", visit.stream);
        let mut url = cluster.play_url(&stream, EDGES[usize::from(visit.region)].3);
        url += &format!("&session={}", name(nth));
        if visit.player == Player::LowLatency {
            url = url.replace(".flv", ".m3u8");
        } else {
            url += "&weir=1";
        }
        let seconds = |ms: u32| f64::from(ms) / 1e3;
        let times = (seconds(visit.at_ms), seconds(visit.stays_ms));
        writeln!(text, "{},{},{url}", times.0, times.1).unwrap();
    }
    fs::write(path, text).unwrap();
}
