//! LL-HLS at one edge: a thousand sessions, and how soon a viewer has a picture, by FLV too.
//!
//! `cargo bench --bench hls -- sessions` or `-- joins` runs one half. The crowd is `weir load play`; a few of the
//! sessions are played in this process (`rig/probe.rs`), which knows when each part was complete.

// The cluster is the integration tests' own, and each benchmark uses a part of what they share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod rig;

use rig::{
    SERVER_CORE, cluster::harness::weir, edge::Stage, probe::Probes, process::cpu_seconds,
    source::Shape,
};
use serde_json::Value;
use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

const PROBES: usize = 10;
const RAMP: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(4);
const WINDOW: Duration = Duration::from_secs(20);
/// By then a stream has more past than a player holds back.
const AGED: Duration = Duration::from_secs(12);
const JOIN_KBITS: u64 = 1_000;

fn main() {
    let half = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let wants = |name| half.as_deref().is_none_or(|half| half == name);
    let mut stage = Stage::new();
    if wants("sessions") {
        sessions(&mut stage);
    }
    if wants("joins") {
        joins(&mut stage);
    }
}

fn sessions(stage: &mut Stage) {
    let cells: &[(usize, u64)] = match rig::quick() {
        true => &[(200, 1_000)],
        false => &[(1_000, 1_000), (1_000, 2_000)],
    };
    for (viewers, kbits) in cells {
        let stream = format!("live/hls-{kbits}");
        let _source = stage.publish(&stream, *kbits);
        stage.restart("", &[SERVER_CORE]);
        stage.wait_on_air(&stream);
        of_sessions(stage, &stream, *viewers);
    }
}

/// What the edge counted so far.
struct Counted {
    at: Instant,
    cpu_s: f64,
    egress: f64,
    muxed: f64,
    part_hits: f64,
    part_misses: f64,
    playlists: f64,
}

impl Counted {
    fn now(stage: &Stage) -> Self {
        let requests = |label: &str| stage.metric("weir_edge_hls_requests_total", label);
        let parts = |result: &str| requests(&format!("kind=\"part\",result=\"{result}\""));
        Self {
            at: Instant::now(),
            cpu_s: cpu_seconds(stage.pid()),
            egress: stage.metric("weir_edge_egress_bytes_total", ""),
            muxed: stage.metric("weir_edge_hls_muxed_total", ""),
            part_hits: parts("hit"),
            part_misses: parts("miss"),
            playlists: requests("kind=\"media\",result=\"made\""),
        }
    }
}

fn of_sessions(stage: &Stage, stream: &str, viewers: usize) {
    std::thread::sleep(AGED);
    let url = stage.redirected(&format!("{stream}.m3u8"));
    let length = SETTLE + WINDOW + Duration::from_secs(8);
    let load = load(&[url], viewers - PROBES, RAMP, length);
    let mut probes = Probes::join(PROBES, &format!("http://{}/{stream}", stage.address()));
    let first = probes.watch(RAMP + SETTLE).newest;
    let before = Counted::now(stage);
    let seen = probes.watch(WINDOW);
    let after = Counted::now(stage);
    let counted = stage.metric("weir_edge_viewers", "");
    let report = report(load);
    let spent = |of: fn(&Counted) -> f64| of(&after) - of(&before);
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let (cpu, egress) = (spent(|at| at.cpu_s), spent(|at| at.egress));
    let (hits, misses) = (spent(|at| at.part_hits), spent(|at| at.part_misses));
    println!("{viewers} sessions of {stream} (kbit/s), {counted} counted, {seconds:.1} s");
    let ms = |of: &hdrhistogram::Histogram<u64>| {
        let at = |quantile| of.value_at_quantile(quantile) as f64 / 1e3;
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            at(0.5),
            at(0.99),
            at(1.0)
        )
    };
    println!("  part complete -> playlist there: {}", ms(&seen.playlist));
    println!("  part complete -> part there:     {}", ms(&seen.part));
    let hls = &report["hls"];
    println!("  part asked for -> part there:    {}", said(&hls["part"]));
    println!(
        "  playlist that waits, from asking: {}",
        said(&hls["blocked"])
    );
    println!(
        "  playlist that does not wait:      {}",
        said(&hls["playlist"])
    );
    println!(
        "  edge: {:.0} us CPU a second and session, {:.2} s/GB, {:.0} % of a core; {:.0} Mbit/s, {:.0} playlists/s",
        cpu / seconds / viewers as f64 * 1e6,
        cpu / (egress / 1e9),
        cpu / seconds * 100.0,
        egress * 8e-6 / seconds,
        spent(|at| at.playlists) / seconds,
    );
    println!(
        "  parts: {} made by the origin, {} muxed, {hits} hits, {misses} misses, hit ratio {:.5}",
        seen.newest - first,
        spent(|at| at.muxed),
        hits / (hits + misses)
    );
    println!(
        "  load: {} of {} joined, {} stalls, faults {}, failed {}",
        report["joined"],
        report["viewers"],
        report["stalls"]["count"],
        hls["faults"],
        report["errors"]
    );
}

fn joins(stage: &mut Stage) {
    let (count, restarts) = match rig::quick() {
        true => (5, 1),
        false => (30, 5),
    };
    stage.restart("", &[SERVER_CORE]);
    for (protocol, end) in [("flv", "flv"), ("ll-hls", "m3u8")] {
        let name = |number| format!("live/{protocol}-{number}");
        let streams: Vec<_> = (0..count).map(name).collect();
        let urls: Vec<_> = streams
            .iter()
            .map(|stream| stage.redirected(&format!("{stream}.{end}")))
            .collect();
        let _source = stage.publish_all(&streams, Shape::of_rate(JOIN_KBITS));
        std::thread::sleep(AGED);
        println!("{protocol}: first picture, through the redirect, {JOIN_KBITS} kbit/s");
        let ramp = Duration::from_millis(400) * count as u32;
        let watched = Duration::from_secs(3);
        let cold = report(load(&urls, count, ramp, watched));
        println!("  stream not on the edge: {}", first(&cold));
        let _keeper = Keeper(load(&urls[..1], 1, Duration::ZERO, ramp * 2 + watched));
        std::thread::sleep(watched);
        let warm = report(load(&urls[..1], count, ramp, watched));
        println!("  stream on the edge:     {}", first(&warm));
        let mut times = Vec::new();
        for url in urls.iter().take(restarts) {
            stage.restart("", &[SERVER_CORE]);
            stage.wait_on_air(&streams[0]);
            let one = std::slice::from_ref(url);
            let report = report(load(one, 1, Duration::ZERO, watched));
            times.extend(report["first_key_frame"]["max_ms"].as_f64());
        }
        times.sort_by(f64::total_cmp);
        println!("  edge just started:      {times:.1?} ms");
    }
}

/// Stops when it is dropped.
struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `weir load play` in one thread, on the clients' core.
fn load(urls: &[String], viewers: usize, ramp: Duration, length: Duration) -> Child {
    let seconds = |time: Duration| format!("{}ms", time.as_millis());
    let mut load = weir();
    load.args([
        "load",
        "play",
        "--json",
        "--threads",
        "1",
        "--validate",
        "tags",
    ])
    .args(["--viewers", &viewers.to_string()])
    .args(["--ramp", &seconds(ramp), "--duration", &seconds(length)])
    .args(urls);
    load.stdout(Stdio::piped()).stderr(Stdio::null());
    load.spawn().expect("weir runs")
}

fn report(load: Child) -> Value {
    let output = load.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).expect("a report")
}

fn first(report: &Value) -> String {
    let times = said(&report["first_key_frame"]);
    format!(
        "{times}, {} of {} joined",
        report["joined"], report["viewers"]
    )
}

fn said(delays: &Value) -> String {
    let of = |name| delays[name].as_f64().unwrap_or(f64::NAN);
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        of("p50_ms"),
        of("p99_ms"),
        of("max_ms")
    )
}
