//! Six edges with rate caps under hundreds of viewers: nobody stalls because an edge has too many.

use crate::harness::crowd::{ended, play, publish};
use crate::harness::{Cluster, EDGES, ffmpeg::Running, get, signal, weir_says, within};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

const STREAM: &str = "live/show";
/// What every edge may send.
const CAP_MBPS: u64 = 10;
/// A viewer's share of it, with all headers.
const VIEWER_BPS: f64 = 210_000.0;
const CAPPED: &str = "[edge.capacity]\negress_mbps = 10\n";

/// Two edges at each of three places.
fn six() -> (Cluster, Vec<String>) {
    let mut cluster = Cluster::alone(3, CAPPED);
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

/// Says what the viewers saw; how many of them came in.
fn report(viewers: [Running; 2]) -> u64 {
    let mut joined = 0;
    for (seen, kind) in viewers.map(ended).into_iter().zip(["FLV", "LL-HLS"]) {
        let stalls = &seen["stalls"];
        println!(
            "{kind}: {} joined, errors {}, stalls {} in {} s, {} s at most",
            seen["joined"], seen["errors"], stalls["count"], stalls["seconds"], stalls["longest_s"]
        );
        for what in ["wrong", "backwards"] {
            assert_eq!(seen["frames"][what], 0, "{kind}: {what}");
        }
        joined += seen["joined"].as_u64().unwrap();
    }
    joined
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
    for name in names.iter().map(String::as_str).chain(["scheduler"]) {
        let said = get(&cluster.node(name).admin, "/metrics").body;
        let said = String::from_utf8(said).unwrap();
        for line in said
            .lines()
            .filter(|line| line.contains("refused_total{") || line.contains("decisions_total{"))
        {
            println!("{name}: {line}");
        }
    }
    assert_eq!(report(watching), viewers);
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
    assert_eq!(over, 0, "an edge sent more than it may in so many seconds");
    assert_eq!(report(first) + report(crowd), full);
}
