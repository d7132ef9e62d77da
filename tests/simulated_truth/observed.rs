//! The real cluster: its nodes, its viewers, and what its edges counted.

use super::scene::{self, CAP_MBPS, DAY, LEAD_S, PAST_DAYS, RATE, STREAMS, Times};
use super::{Course, Fall};
use crate::harness::{
    Cluster, EDGES, crowd::ended, crowd::publish, eventually, ffmpeg::Running, get, weir,
};
use scheduler::history::Values;
use scheduler::planner::{api::Answer, export::World};
use serde_json::Value;
use simulations::event::{Player, Visit, Wire};
use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use transport::clock::unix_ms;

/// The cluster, ready to be watched.
pub struct Stage {
    cluster: Cluster,
    names: Vec<String>,
    folder: tempfile::TempDir,
    _publishers: Vec<Running>,
    pub times: Times,
    /// What the scheduler remembers of each region when it begins.
    pub past: Vec<Values>,
    /// What a stream is, in bits per second, as its origin measured it.
    pub stream_bps: f64,
    pub wire: Wire,
    pub world: World,
}

/// What came of it.
pub struct Seen {
    pub course: Course,
    /// The edge that died, and when it died and came back, in seconds.
    pub fall: Fall,
    pub breaks: Value,
    pub joined: u64,
    pub errors: Value,
    /// By edge, what the scheduler says that the period costs.
    pub usd: Vec<f64>,
    /// Real seconds of a billing slot.
    pub slot_s: f64,
    /// Share of the machine's processors that was used.
    pub used: f64,
}

impl Stage {
    pub fn build(times: Times) -> Self {
        let capped = format!("[edge.capacity]\negress_mbps = {CAP_MBPS}\n");
        let mut cluster = Cluster::alone(3, &capped);
        let folder = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        let mut prices = String::new();
        for (name, place, usd) in scene::edges() {
            if name.ends_with("-2") {
                cluster.add_edge(&name, place, &capped);
            }
            let metro = name.trim_end_matches("-2");
            prices += &format!(
                "[[price]]\nnode = {name:?}\nmetro = {metro:?}\nusd_per_mbps_month = {usd}\n"
            );
            names.push(name);
        }
        let path = folder.path().join("history.redb");
        times.remember(&path);
        let more = format!(
            "[time]\n{}[scheduler.history]\npath = {path:?}\n\
             [scheduler.forecast]\ntrain_at = \"0s\"\nplan_by = \"nothing\"\n{prices}",
            times.table()
        );
        let policy = folder.path().join("policy.toml");
        fs::write(&policy, scene::POLICY).unwrap();
        let asked = format!("[scheduler]\npolicy = {policy:?}\n");
        cluster.reconfigure("scheduler", |text| {
            text.replace("[scheduler]\n", &asked) + &more
        });
        let (place, lat, lon, _) = EDGES[1];
        let at = format!("[node.place]\nname = {place:?}\nlat = {lat}\nlon = {lon}\n");
        cluster.reconfigure("origin", |text| text + &at);
        eventually("all edges are up at the scheduler", || {
            let seen = cluster.nodes_seen();
            let up = |name: &String| seen.contains(&(name.clone(), "up".to_owned()));
            names.iter().all(up)
        });
        let streams = (0..STREAMS.len()).map(|nth| format!("live/s{nth}"));
        let publishers = streams.clone().map(|name| publish(&cluster, &name, RATE));
        let publishers = publishers.collect();
        streams.for_each(|name| cluster.wait_on_air(&name));
        let mut stage = Self {
            cluster,
            names,
            folder,
            _publishers: publishers,
            times,
            past: Vec::new(),
            stream_bps: 0.0,
            wire: Wire::default(),
            world: World {
                scale: 1.0,
                edges: Vec::new(),
                regions: Vec::new(),
            },
        };
        stage.calibrate();
        // It begins with goals of all regions: sessions of HLS still count.
        stage.cluster.reconfigure("scheduler", |text| text);
        stage.cluster.wait_on_air("live/s0");
        stage.world = stage.told("/api/v1/world");
        stage
    }

    fn told<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        serde_json::from_slice(&get(&self.cluster.scheduler_admin, path).body).unwrap()
    }

    fn watch(&self, visits: &[Visit]) -> Running {
        let path = self.folder.path().join("visits.csv");
        scene::write(&self.cluster, visits, &path);
        let mut play = weir();
        play.args(["load", "play", "--json", "--reconnect", "--validate"]);
        play.args(["tags", "--visits"]).arg(path);
        Running(play.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Finds with a few viewers of each kind what is sent beside the stream: before the run, and
    /// with none of its viewers.
    fn calibrate(&mut self) {
        let began = Instant::now();
        let mut meter = Meter::new(&self.names);
        meter.read(&self.cluster, 0.0);
        let watching = self.watch(&calibrators());
        let mut streams = 0.0;
        for second in [5, CALIBRATE_S - 2, CALIBRATE_S + 3] {
            let due = Duration::from_secs(second.into());
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            meter.read(&self.cluster, began.elapsed().as_secs_f64());
            if second == 5 {
                streams = meter.streams;
            }
        }
        std::thread::sleep(Duration::from_secs(3));
        ended(watching);
        let told: Value = self.told("/api/v1/streams");
        self.stream_bps = told[0]["bitrate_bps"].as_f64().unwrap();
        let rate = |bits: &dyn Fn(usize) -> f64| {
            let time = |at: usize| meter.edges[0].egress[at].0;
            (bits(2) - bits(1)) / (time(2) - time(1))
        };
        let viewers = CALIBRATE_VIEWERS as f64;
        let of = |place: usize| {
            let both = &meter.edges[2 * place..2 * place + 2];
            let bits = |at: usize| both.iter().map(|edge| edge.egress[at].1).sum::<f64>();
            let bps = rate(&bits) / viewers;
            let start_s = (bits(3) - bits(0)) / viewers / bps - f64::from(CALIBRATE_S);
            (bps / self.stream_bps, start_s.max(0.0))
        };
        let relayed = |at: usize| meter.edges.iter().map(|it| it.relay[at].1).sum::<f64>();
        let relay = rate(&relayed) / streams / self.stream_bps;
        let ((flv, flv_start_s), (hls, hls_start_s)) = (of(0), of(1));
        self.wire = Wire {
            flv,
            hls,
            relay,
            // Nodes of one machine are no way apart.
            fetch_s: Some(0.0),
            flv_start_s,
            hls_start_s,
        };
        println!("a stream of {:.0} bit/s: {:?}", self.stream_bps, self.wire);
    }

    /// Lets them come, and the busiest edge die and come back.
    pub fn play(&mut self, visits: &[Visit]) -> Seen {
        let begins_ms = self.times.time().unix_ms(self.times.begins_s);
        let begins_ms = begins_ms - (LEAD_S * 1e3) as u64;
        let wait_ms = begins_ms.saturating_sub(unix_ms());
        println!("{} visits, in {:.1} s", visits.len(), wait_ms as f64 / 1e3);
        assert!(wait_ms > 0, "the billing period has begun already");
        std::thread::sleep(Duration::from_millis(wait_ms));
        let past = |place: &(&str, f64, f64, &str)| {
            let from_s = 1e3 + (PAST_DAYS * DAY) as f64 * self.times.slot_s();
            let series = format!("region%2F{}%2Fegress_bps", place.0);
            self.told(&format!(
                "/api/v1/history?series={series}&ring=fine&from=-{from_s}"
            ))
        };
        self.past = EDGES.iter().map(past).collect();
        let (began, busy) = (Instant::now(), processors());
        let watching = self.watch(visits);
        let seconds = self.times.seconds();
        let mut meter = Meter::new(&self.names);
        let (dies_s, returns_s) = (self.times.share_s(0.6), self.times.share_s(0.62));
        let mut fall = Fall {
            edge: 0,
            dies_s,
            returns_s,
        };
        let (mut dead, mut second) = (None, 0.0);
        while second <= seconds {
            let due = Duration::from_secs_f64(second);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            if second == dies_s {
                fall.edge = meter.busiest();
                self.cluster.kill(&self.names[fall.edge]);
                dead = Some(fall.edge);
            }
            if second == returns_s {
                self.cluster.restart(&self.names[fall.edge]);
                dead = None;
            }
            let at_s = began.elapsed().as_secs_f64();
            meter.read_all_but(&self.cluster, dead, at_s);
            second += 1.0;
            if second.rem_euclid(60.0) == 0.0 {
                println!("{second} s: {:?} viewers", meter.watching());
            }
        }
        let plan: Answer = self.told("/api/v1/plan");
        let after = processors();
        let report = ended(watching);
        let usd = |name: &String| {
            let edge = plan.edges.iter().find(|it| it.id.as_str() == name);
            edge.map_or(0.0, |it| it.usd_so_far)
        };
        Seen {
            course: meter.course(&self.times),
            fall,
            breaks: report["breaks"].clone(),
            joined: report["joined"].as_u64().unwrap(),
            errors: report["errors"].clone(),
            usd: self.names.iter().map(usd).collect(),
            slot_s: self.times.slot_s(),
            used: (after.0 - busy.0) / (after.1 - busy.1),
        }
    }
}

/// By FLV at the first place, by HLS at the others, spread over a second, which is a group of
/// pictures; and one of HLS at the first, too, once nothing is measured any more.
fn calibrators() -> Vec<Visit> {
    let visit = |place: u16, player, nth: usize| Visit {
        at_ms: (1000 * nth / CALIBRATE_VIEWERS) as u32,
        stays_ms: CALIBRATE_S * 1000,
        region: place,
        stream: (nth % STREAMS.len()) as u32,
        player,
        key: 0,
    };
    let mut visits = Vec::new();
    for nth in 0..CALIBRATE_VIEWERS {
        visits.push(visit(0, Player::Flv, nth));
        visits.push(visit(1, Player::LowLatency, nth));
        visits.push(visit(2, Player::LowLatency, nth));
    }
    visits.push(Visit {
        at_ms: (CALIBRATE_S + 3) * 1000,
        stays_ms: 3000,
        ..visit(0, Player::LowLatency, 0)
    });
    visits
}

/// Viewers of each kind by whom it is found what is sent for one, and how long they stay.
const CALIBRATE_VIEWERS: usize = 12;
const CALIBRATE_S: u32 = 18;

/// Readings of the edges' own counters.
struct Meter {
    names: Vec<String>,
    edges: Vec<Readings>,
    /// Streams that come from parents, at the last reading.
    streams: f64,
}

#[derive(Clone, Default)]
struct Readings {
    /// Seconds, and bits so far.
    egress: Vec<(f64, f64)>,
    relay: Vec<(f64, f64)>,
    viewers: Vec<f64>,
    /// What was counted before it was started again.
    before: [f64; 2],
}

impl Meter {
    fn new(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            edges: vec![Readings::default(); names.len()],
            streams: 0.0,
        }
    }

    fn read(&mut self, cluster: &Cluster, at_s: f64) {
        self.read_all_but(cluster, None, at_s);
    }

    fn read_all_but(&mut self, cluster: &Cluster, dead: Option<usize>, at_s: f64) {
        self.streams = 0.0;
        for (nth, edge) in self.edges.iter_mut().enumerate() {
            let said = match dead {
                Some(dead) if dead == nth => Vec::new(),
                _ => get(&cluster.node(&self.names[nth]).admin, "/metrics").body,
            };
            let said = String::from_utf8(said).unwrap();
            let value = |name: &str| {
                let of = said.lines().find_map(|line| line.strip_prefix(name));
                of.and_then(|rest| rest.trim().parse::<f64>().ok())
            };
            let counted = [
                "weir_edge_egress_bytes_total",
                "weir_edge_upstream_bytes_total",
            ];
            let counted = counted.map(|name| value(name).map(|bytes| bytes * 8.0));
            let lines = [&mut edge.egress, &mut edge.relay].into_iter();
            for ((line, bits), before) in lines.zip(counted).zip(&mut edge.before) {
                let last = line.last().map_or(0.0, |it| it.1);
                let bits = bits.map_or(last, |bits| {
                    if *before + bits < last {
                        *before = last;
                    }
                    *before + bits
                });
                line.push((at_s, bits));
            }
            edge.viewers
                .push(value("weir_edge_viewers ").unwrap_or(0.0));
            self.streams += value("weir_edge_upstream_streams ").unwrap_or(0.0);
        }
    }

    fn watching(&self) -> Vec<f64> {
        let last = |edge: &Readings| edge.viewers.last().copied().unwrap_or(0.0);
        self.edges.iter().map(last).collect()
    }

    fn busiest(&self) -> usize {
        let watching = self.watching();
        let all = 0..watching.len();
        all.max_by(|a, b| watching[*a].total_cmp(&watching[*b]))
            .unwrap()
    }

    fn course(self, times: &Times) -> Course {
        let mut course = Course::default();
        for edge in self.edges {
            let relayed = super::slots(&edge.relay, times);
            let relayed: f64 = relayed.into_iter().map(f64::from).sum();
            course.relay_bits.push(relayed * times.slot_s());
            let viewers = edge.viewers.iter().skip(LEAD_S as usize);
            course.viewer_s.push(viewers.sum());
            course.egress_bps.push(super::slots(&edge.egress, times));
        }
        course
    }
}

/// Processor time that was used and that there was, of the whole machine.
fn processors() -> (f64, f64) {
    let told = fs::read_to_string(Path::new("/proc/stat")).unwrap();
    let line = told.lines().next().unwrap();
    let times: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|it| it.parse().ok())
        .collect();
    let all: f64 = times.iter().take(8).sum();
    (all - times[3] - times[4], all)
}
