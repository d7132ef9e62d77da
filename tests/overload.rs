//! Six edges with rate caps under hundreds of viewers: nobody stalls because an edge has too many.

use crate::harness::crowd::{ended, play, publish};
use crate::harness::{Cluster, EDGES, ffmpeg::Running, get, signal, weir_says, within};
use cluster::time::Time;
use scheduler::history::{self, History, Point};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use transport::clock::{Clock, unix_ms};

const STREAM: &str = "live/show";
/// What every edge may send.
const CAP_MBPS: u64 = 10;
/// What a viewer takes of it, with all headers and playlists: measured over both kinds.
const VIEWER_BPS: f64 = 224_000.0;
const CAPPED: &str = "[edge.capacity]\negress_mbps = 10\n";

/// Two edges at each of three places.
fn six() -> (Cluster, Vec<String>) {
    doubled(Cluster::alone(3, CAPPED))
}

fn doubled(mut cluster: Cluster) -> (Cluster, Vec<String>) {
    let mut names: Vec<String> = EDGES.iter().map(|edge| edge.0.to_owned()).collect();
    for (name, lat, lon, _) in EDGES {
        let second = format!("{name}-2");
        cluster.add_edge(&second, (lat + 0.2, lon), CAPPED);
        names.push(second);
    }
    (cluster, names)
}

/// So many viewers from everywhere, three of four by FLV and one by LL-HLS.
fn watch(cluster: &Cluster, viewers: u64, ramp: &str) -> [Running; 2] {
    let urls = EDGES.map(|edge| cluster.play_url(STREAM, edge.3));
    let flv = urls.clone().map(|url| format!("{url}&weir=1"));
    let hls = urls.map(|url| url.replace(".flv", ".m3u8"));
    let more = ["--ramp", ramp, "--validate", "tags"];
    [
        play(&flv, viewers - viewers / 4, &more),
        play(&hls, viewers / 4, &more),
    ]
}

/// What an edge sends, in Mbit/s, by its own count.
fn mbps(cluster: &Cluster, edge: &str) -> f64 {
    let told = get(&cluster.node(edge).admin, "/api/v1/viewers").body;
    let told: Value = serde_json::from_slice(&told).unwrap();
    told["egress_bps"].as_f64().unwrap() / 1e6
}

fn all_mbps(cluster: &Cluster, names: &[String]) -> Vec<f64> {
    names.iter().map(|name| mbps(cluster, name)).collect()
}

/// What came of viewers.
#[derive(Default)]
struct Fate {
    joined: u64,
    failed: u64,
    stalls: u64,
    stalled_s: f64,
    longest_s: f64,
}

/// How often viewers went over to another edge.
fn moves(seen: &Value) -> u64 {
    let of = |kind: &str| seen[kind]["moved"].as_u64().unwrap_or(0);
    of("moves") + of("hls")
}

/// Says what the viewers saw.
fn report(viewers: [Running; 2]) -> Fate {
    let mut fate = Fate::default();
    for (seen, kind) in viewers.map(ended).into_iter().zip(["FLV", "LL-HLS"]) {
        let stalls = &seen["stalls"];
        let joined = seen["joined"].as_u64().unwrap();
        println!(
            "{kind}: {joined} joined, errors {}, stalls {} in {:.2} s, {:.3} s a viewer, {:.2} s at most; moves {}",
            seen["errors"],
            stalls["count"],
            stalls["seconds"].as_f64().unwrap(),
            stalls["seconds"].as_f64().unwrap() / joined.max(1) as f64,
            stalls["longest_s"].as_f64().unwrap(),
            moves(&seen),
        );
        for what in ["wrong", "backwards"] {
            assert_eq!(seen["frames"][what], 0, "{kind}: {what}");
        }
        let errors = seen["errors"].as_object().unwrap().values();
        fate.joined += joined;
        fate.failed += errors.filter_map(Value::as_u64).sum::<u64>();
        fate.stalls += stalls["count"].as_u64().unwrap();
        fate.stalled_s += stalls["seconds"].as_f64().unwrap();
        fate.longest_s = fate.longest_s.max(stalls["longest_s"].as_f64().unwrap());
    }
    fate
}

/// Says what nodes counted of viewers whom they did not take.
fn say_refused(cluster: &Cluster, names: &[String]) {
    for name in names.iter().map(String::as_str).chain(["scheduler"]) {
        let said = get(&cluster.node(name).admin, "/metrics").body;
        let said = String::from_utf8(said).unwrap();
        let of = |line: &&str| line.contains("refused_total{") || line.contains("decisions_total{");
        said.lines()
            .filter(of)
            .for_each(|line| println!("{name}: {line}"));
    }
}

#[test]
#[ignore = "takes two minutes; run by `make soak`"]
fn soak_an_edge_whose_cap_is_halved_is_relieved_within_ten_seconds() {
    let (cluster, names) = six();
    let _publisher = publish(&cluster, STREAM, "200k");
    cluster.wait_on_air(STREAM);
    let capacity = names.len() as f64 * CAP_MBPS as f64 * 1e6;
    let viewers = (0.65 * capacity / VIEWER_BPS) as u64;
    let watching = watch(&cluster, viewers, "20s");
    let total = || all_mbps(&cluster, &names).iter().sum::<f64>() * 1e6;
    within(Duration::from_secs(60), "all watch", || {
        total() > 0.9 * viewers as f64 * VIEWER_BPS
    });
    std::thread::sleep(Duration::from_secs(5));
    let loads = all_mbps(&cluster, &names);
    println!("before: {loads:.1?} Mbit/s");
    let (busiest, load) = (0..names.len())
        .map(|at| (at, loads[at]))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap();
    let half = CAP_MBPS as f64 / 2.0;
    assert!(load > half, "it has to be too much for the half");
    let node = cluster.node(&names[busiest]);
    let text = fs::read_to_string(&node.config).unwrap();
    let less = text.replace("egress_mbps = 10", "egress_mbps = 5");
    fs::write(&node.config, less).unwrap();
    signal(&node.process, "HUP");
    let began = Instant::now();
    let mut course = Vec::new();
    while began.elapsed() < Duration::from_secs(10) && course.last().is_none_or(|it| *it > half) {
        std::thread::sleep(Duration::from_millis(500));
        course.push(mbps(&cluster, &names[busiest]));
    }
    println!("each half second: {course:.1?} Mbit/s");
    assert!(
        course.last().is_some_and(|it| *it <= half),
        "the overload goes on"
    );
    std::thread::sleep(Duration::from_secs(20));
    println!("after: {:.1?} Mbit/s", all_mbps(&cluster, &names));
    say_refused(&cluster, &names);
    let fate = report(watching);
    assert_eq!((fate.joined, fate.failed), (viewers, 0));
}

#[test]
#[ignore = "takes two minutes; run by `make soak`"]
fn soak_an_announced_show_fills_85_percent_of_all_caps_and_none_is_passed() {
    let (cluster, names) = six();
    let _publisher = publish(&cluster, STREAM, "200k");
    cluster.wait_on_air(STREAM);
    let capacity = names.len() as f64 * CAP_MBPS as f64 * 1e6;
    let full = (0.85 * capacity / VIEWER_BPS) as u64;
    let first = watch(&cluster, full / 5, "5s");
    let admin = format!("http://{}", cluster.scheduler_admin);
    let peak = full.to_string();
    let show = ["--start", "in 20s", "--ramp", "60s", "--length", "10m"];
    let announce = ["events", "add", STREAM, "--peak", &peak, "--admin", &admin];
    weir_says(&[&announce[..], &show].concat());
    std::thread::sleep(Duration::from_secs(20));
    let crowd = watch(&cluster, full - full / 5, "60s");
    let began = Instant::now();
    let (mut most, mut over) = (0.0_f64, 0);
    while began.elapsed() < Duration::from_secs(90) {
        let loads = all_mbps(&cluster, &names);
        let highest = loads.iter().fold(0.0_f64, |a, b| a.max(*b));
        most = most.max(highest);
        over += u32::from(highest > CAP_MBPS as f64);
        std::thread::sleep(Duration::from_secs(1));
    }
    println!(
        "at the end: {:.1?} Mbit/s, {most:.1} at most",
        all_mbps(&cluster, &names)
    );
    say_refused(&cluster, &names);
    let fates = [report(first), report(crowd)];
    let joined: u64 = fates.iter().map(|fate| fate.joined).sum();
    let failed: u64 = fates.iter().map(|fate| fate.failed).sum();
    assert_eq!((joined, failed), (full, 0));
    assert_eq!(over, 0, "an edge sent more than it may in so many seconds");
}

#[test]
#[ignore = "takes two minutes; run by `make soak`"]
fn soak_a_drain_under_load_moves_flv_and_hls_viewers_and_none_stands_still_for_a_second() {
    let (cluster, names) = six();
    let _publisher = publish(&cluster, STREAM, "200k");
    cluster.wait_on_air(STREAM);
    let capacity = names.len() as f64 * CAP_MBPS as f64 * 1e6;
    let viewers = (0.6 * capacity / VIEWER_BPS) as u64;
    let watching = watch(&cluster, viewers, "20s");
    let count = |name: &str| cluster.node(name).metric("weir_edge_viewers", "");
    within(Duration::from_secs(60), "all watch", || {
        names.iter().map(|name| count(name)).sum::<f64>() >= viewers as f64
    });
    std::thread::sleep(Duration::from_secs(5));
    let busiest = names.iter().max_by(|a, b| count(a).total_cmp(&count(b)));
    let busiest = busiest.unwrap();
    let before = count(busiest);
    let admin = format!("http://{}", cluster.scheduler_admin);
    weir_says(&["drain", busiest, "--admin", &admin]);
    let began = Instant::now();
    let mut course = Vec::new();
    while began.elapsed() < Duration::from_secs(40) && course.last() != Some(&0.0) {
        std::thread::sleep(Duration::from_secs(1));
        course.push(count(busiest));
    }
    println!("{before} viewers there; each second: {course:?}");
    std::thread::sleep(Duration::from_secs(5));
    println!("after: {:.1?} Mbit/s", all_mbps(&cluster, &names));
    let fate = report(watching);
    assert_eq!((fate.joined, fate.failed), (viewers, 0));
    assert_eq!(course.last(), Some(&0.0), "all can move");
    assert!(
        fate.longest_s <= 1.0,
        "a player stood still for {} s",
        fate.longest_s
    );
}

/// How fast the calendar runs, and how long its day is in seconds of it: ninety real ones.
const SCALE: f64 = 20.0;
const DAY_S: u64 = 1_800;
const STEP_S: u64 = 60;
const TIME: &str = "[time]\nscale = 20\nday = \"30m\"\nweek = \"210m\"\n";

/// How much of a day's highest demand there is at a share of the day: from a third it rises to
/// three times as much within 13 s.
fn shape(at: f64) -> f64 {
    let between = |from: f64, to: f64| ((at - from) / (to - from)).clamp(0.0, 1.0);
    (1.0 + 2.0 * (between(0.30, 0.45) - between(0.75, 0.90))) / 3.0
}

/// Places of viewers, as parts of all: half are at one, more than its two edges can carry.
const PARTS: [(usize, f64); 3] = [(0, 0.5), (1, 0.25), (2, 0.25)];

/// A week in which each day had that shape.
fn remember(path: &Path, viewers: f64) {
    let time: Time = toml::from_str(TIME.trim_start_matches("[time]\n")).unwrap();
    let config = history::Config {
        path: Some(path.to_owned()),
        ..history::Config::default()
    };
    let clock = (time, Clock::system());
    let history = History::open(&config, None, clock, &mut Default::default()).unwrap();
    let now = time.step_at(unix_ms());
    let day = (DAY_S / STEP_S) as i64;
    for step in now - 7 * day..now {
        let middle = (step.rem_euclid(day) as f64 + 0.5) / day as f64;
        let rows = PARTS.map(|(place, part)| {
            let id = format!("region/{}/demand", EDGES[place].0);
            let point = Point::new(viewers * part * shape(middle), STEP_S as f64 / SCALE);
            (id, point.unwrap())
        });
        history.append(step, &rows).unwrap();
    }
}

/// The shape as `weir load` takes it, from now on.
fn profile(folder: &Path) -> PathBuf {
    let now = (unix_ms() as f64 / 1e3 * SCALE) % DAY_S as f64 / DAY_S as f64;
    let line = |nth: u32| {
        let at = f64::from(nth) / 180.0;
        format!("{at},{}\n", shape((now + at).fract()))
    };
    let file = folder.join("day.csv");
    fs::write(&file, (0..180).map(line).collect::<String>()).unwrap();
    file
}

/// What a day came to.
#[derive(Debug, Default)]
struct Day {
    basis: &'static str,
    /// Edges times seconds above their caps, and the highest load in Mbit/s.
    over_s: f64,
    most: f64,
    /// Joins that met a full edge, and viewers asked to leave one.
    full: f64,
    asked: f64,
}

/// A cluster that plans by that, with its viewers.
struct Trial {
    cluster: Cluster,
    names: Vec<String>,
    _publisher: Running,
    viewers: [Running; 2],
    day: Day,
    _folder: tempfile::TempDir,
}

impl Trial {
    fn start(cluster: Cluster, basis: &'static str, viewers: u64) -> Self {
        let (mut cluster, names) = doubled(cluster);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.redb");
        remember(&path, viewers as f64);
        let more = format!(
            "{TIME}[scheduler.history]\npath = {path:?}\n\
             [scheduler.forecast]\ntrain_at = \"0s\"\nplan_by = {basis:?}\n"
        );
        cluster.reconfigure("scheduler", |text| text + &more);
        let publisher = publish(&cluster, STREAM, "200k");
        cluster.wait_on_air(STREAM);
        let urls = [0, 0, 1, 2].map(|place| cluster.play_url(STREAM, EDGES[place].3));
        let flv = urls.clone().map(|url| format!("{url}&weir=1"));
        let hls = urls.map(|url| url.replace(".flv", ".m3u8"));
        let profile = profile(folder.path());
        let profile = profile.to_str().unwrap();
        let more = ["--profile", profile, "--period", "90s", "--stay", "40s"];
        let more = [&more[..], &["--validate", "tags"]].concat();
        let viewers = [
            play(&flv, viewers - viewers / 4, &more),
            play(&hls, viewers / 4, &more),
        ];
        let day = Day {
            basis,
            ..Day::default()
        };
        Self {
            cluster,
            names,
            _publisher: publisher,
            viewers,
            day,
            _folder: folder,
        }
    }

    /// Looks at the loads, which have been so for so long.
    fn look(&mut self, seconds: f64) {
        for load in all_mbps(&self.cluster, &self.names) {
            self.day.most = self.day.most.max(load);
            self.day.over_s += seconds * f64::from(u8::from(load > CAP_MBPS as f64));
        }
    }

    fn end(mut self) -> (Day, Fate) {
        for name in &self.names {
            let edge = self.cluster.node(name);
            self.day.full += edge.metric("weir_edge_refused_total", "egress_full");
            self.day.asked += edge.metric("weir_edge_moves_total", "overload");
        }
        println!("{}", self.day.basis);
        say_refused(&self.cluster, &self.names);
        (self.day, report(self.viewers))
    }
}

/// By how many edge-seconds above the cap, of 1,080, two runs of the same differ: one of an edge's
/// 44 viewers more is 2 % of it.
const NOISE_S: f64 = 15.0;

#[test]
#[ignore = "takes five minutes; run by `make soak`"]
fn soak_demand_that_triples_each_day_is_carried_no_worse_with_a_forecast_than_without() {
    let viewers = (0.8 * 6.0 * CAP_MBPS as f64 * 1e6 / VIEWER_BPS) as u64;
    let first = Trial::start(Cluster::alone(3, CAPPED), "forecast", viewers);
    let beside = || Cluster::beside(&first.cluster, 3, CAPPED);
    let others = ["persistence", "nothing"].map(|basis| Trial::start(beside(), basis, viewers));
    let mut all = Vec::from(others);
    all.insert(0, first);
    // A viewer of the start is no part of the day: they all came at once.
    std::thread::sleep(Duration::from_secs(20));
    let began = Instant::now();
    let mut last = began;
    while began.elapsed() < Duration::from_secs(2 * 90) {
        std::thread::sleep(Duration::from_millis(500));
        let since = last.elapsed().as_secs_f64();
        last = Instant::now();
        all.iter_mut().for_each(|trial| trial.look(since));
    }
    // The first one's share of the machine is the others' too.
    all.reverse();
    let ended: Vec<(Day, Fate)> = all.into_iter().map(Trial::end).collect();
    for (day, fate) in ended.iter().rev() {
        println!(
            "{}: {:.1} edge-seconds above the cap, {:.1} Mbit/s at most, {} joins met a full edge, \
             {} asked to leave, {} visits, {} failed, {} stalls in {:.1} s, {:.2} s at most",
            day.basis,
            day.over_s,
            day.most,
            day.full,
            day.asked,
            fate.joined,
            fate.failed,
            fate.stalls,
            fate.stalled_s,
            fate.longest_s
        );
    }
    let (with, fate) = &ended[2];
    assert_eq!(with.basis, "forecast");
    assert_eq!(fate.failed, 0, "of {} visits", fate.joined);
    let without = ended[..2]
        .iter()
        .map(|(day, _)| day.over_s)
        .fold(f64::INFINITY, f64::min);
    assert!(with.over_s <= without + NOISE_S, "a forecast does harm");
}
