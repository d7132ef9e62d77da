//! The edge's fan-out beside a bare epoll writer of the same bytes with the same batching: processor time and latency.
//!
//! Both serve the same viewers from the same core. A starved server gathers more and looks cheaper, so latency
//! stands beside each figure, and a cell in which either left less than a fifth of its core idle is only called
//! saturated. `WEIR_BENCH_QUICK=1` measures a few cells.

// The cluster is the integration tests' own, and each benchmark uses a part of what they share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod rig;

use rig::{
    SERVER_CORE,
    body::Bodies,
    cost::{Cost, WINDOW},
    crowd::Crowd,
    edge::Stage,
    floor,
    process::pin,
    source::Shape,
};
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

const VIEWERS: [usize; 2] = [500, 2_000];
const RATES_KBITS: [u64; 2] = [1_000, 4_000];
const BUDGETS_MS: [u64; 4] = [0, 20, 100, 350];
/// Cells of a quick run: viewers, kbit/s, budget.
const QUICK: [(usize, u64, u64); 3] = [(500, 1_000, 0), (500, 4_000, 100), (2_000, 1_000, 100)];
/// The rows beside the cells: each is compared with the edge's own plain road.
const FEW: usize = 200;
const KBITS: u64 = 1_000;
const BUDGET_MS: u64 = 100;
/// Groups so short (five pictures) that viewers who join each 250 ms start at groups of their own.
const SHORT: Shape = Shape {
    kbits: KBITS,
    group: 5,
};
const APART: Duration = Duration::from_millis(250);
/// Where `tools/profile.sh` wants what `perf` records; only a profile is taken then.
const PERF: &str = "WEIR_BENCH_PERF";
/// So many stacks a second, out of step with everything that runs by round numbers.
const SAMPLES_PER_S: &str = "197";
/// By unwinding tables, which release builds have; frame pointers would take a build of their own.
const STACKS: &str = "dwarf,16384";

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, command, feed, budget_ms] = &arguments[..]
        && command == floor::COMMAND
    {
        let budget = Duration::from_millis(budget_ms.parse().unwrap());
        return floor::run(feed.parse().unwrap(), budget).unwrap();
    }
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return println!("fan-out: skipped: server and viewers need a core each");
    }
    let mut stage = Stage::new();
    if let Ok(data) = std::env::var(PERF) {
        return profile(&mut stage, &data);
    }
    against_the_floor(&mut stage);
    cohorts(&mut stage);
    body_road(&mut stage);
}

fn against_the_floor(stage: &mut Stage) {
    println!("fan-out: CPU s/GB and latency in ms (p50/p99), floor | Weir | ratio and difference");
    let sources = RATES_KBITS.map(|kbits| (kbits, stage.publish(&stream(kbits), kbits)));
    let mut worst: f64 = 0.0;
    for (viewers, kbits, budget_ms) in cells() {
        let source = sources.iter().find(|(rate, _)| *rate == kbits);
        let feed = source.expect("all rates are on air").1.feed;
        let bare = Floor::start(feed, budget_ms);
        let floor = Cost::of(bare.process.id(), bare.address, "/", viewers);
        drop(bare);
        stage.restart_gathering(budget_ms);
        let path = format!("/{}.flv", stream(kbits));
        let weir = Cost::of(stage.pid(), stage.address(), &path, viewers);
        let ratio = weir.per_gb / floor.per_gb;
        let saturated = floor.is_saturated() || weir.is_saturated();
        println!(
            "{viewers:>5} x {} Mbit/s, {budget_ms:>3} ms | {floor} | {weir} | {ratio:>5.2} {:>+6.1} {:>+6.1}{}",
            kbits / 1000,
            weir.p50 - floor.p50,
            weir.p99 - floor.p99,
            if saturated { " saturated" } else { "" },
        );
        worst = if saturated { worst } else { worst.max(ratio) };
    }
    println!("worst ratio of the cells that are not saturated: {worst:.2} (must 2.0, aim 1.4)");
}

/// What it costs that viewers who joined at different groups get bytes of their own.
fn cohorts(stage: &mut Stage) {
    let _source = stage.publish_all(&["live/short".into()], SHORT);
    let mut cost = |over| {
        stage.restart_gathering(BUDGET_MS);
        let mut crowd = Crowd::new(stage.address(), "/live/short.flv", 1);
        crowd.join(FEW, over);
        Cost::of_crowd(stage.pid(), &mut crowd)
    };
    let together = cost(Duration::from_millis(100));
    let apart = cost(APART * FEW as u32);
    println!(
        "{FEW} x 1 Mbit/s, {BUDGET_MS} ms, joined together | {together} | each at a group of its own | {apart} | {:.2}",
        apart.per_gb / together.per_gb
    );
}

/// What TLS costs and what HTTP/2 does, which take the ordinary road.
fn body_road(stage: &mut Stage) {
    let _source = stage.publish("live/body", KBITS);
    let path = "/live/body.flv";
    stage.restart_gathering(BUDGET_MS);
    let plain = Cost::of(stage.pid(), stage.address(), path, FEW);
    let mut crowd = Crowd::over_http2(stage.address(), path);
    crowd.join(FEW, Duration::from_secs(1));
    let http2 = Cost::of_crowd(stage.pid(), &mut crowd);
    drop(crowd);
    let signed = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ cert = {cert:?}, key = {key:?} }}");
    let settings = format!("{}\n{tls}", Stage::gathering(BUDGET_MS));
    stage.restart(&settings, &[SERVER_CORE]);
    let url = format!("https://localhost:{}{path}", stage.address().port());
    let mut bodies = Bodies::join(FEW, &url, &signed.cert.pem());
    bodies.watch(WINDOW);
    let encrypted = Cost::while_watching(stage.pid(), || bodies.watch(WINDOW));
    println!("{FEW} x 1 Mbit/s, {BUDGET_MS} ms, plain           | {plain}");
    for (road, cost) in [("HTTP/2 (not looked into)", http2), ("TLS", encrypted)] {
        let ratio = cost.per_gb / plain.per_gb;
        println!("  the same, {road:<24} | {cost} | {ratio:.2} times plain");
    }
}

/// Where the edge's time goes while a thousand watch and little is gathered.
fn profile(stage: &mut Stage, data: &str) {
    let _source = stage.publish("live/profile", KBITS);
    stage.restart_gathering(20);
    let pid = stage.pid();
    let mut crowd = Crowd::new(stage.address(), "/live/profile.flv", 10);
    crowd.join(1_000, Duration::from_secs(1));
    crowd.watch(WINDOW);
    let seconds = WINDOW.as_secs().to_string();
    let record = ["record", "-q", "-e", "cpu-clock", "-F", SAMPLES_PER_S];
    let mut perf = Command::new("perf")
        .args(record)
        .args(["--call-graph", STACKS])
        .args(["-o", data, "-p", &pid.to_string(), "--", "sleep", &seconds])
        .spawn()
        .unwrap();
    let cost = Cost::while_watching(pid, || crowd.watch(WINDOW + Duration::from_secs(1)));
    assert!(perf.wait().unwrap().success(), "perf failed");
    println!("profiled: 1000 x 1 Mbit/s, 20 ms | {cost}");
}

fn stream(kbits: u64) -> String {
    format!("live/r{kbits}")
}

fn cells() -> Vec<(usize, u64, u64)> {
    if rig::quick() {
        return QUICK.to_vec();
    }
    let with_rates = |viewers| RATES_KBITS.map(|kbits| (viewers, kbits));
    let pairs = VIEWERS.into_iter().flat_map(with_rates);
    pairs
        .flat_map(|(viewers, kbits)| BUDGETS_MS.map(|budget| (viewers, kbits, budget)))
        .collect()
}

/// This program again, as the bare writer, on the servers' core.
struct Floor {
    process: Child,
    address: SocketAddr,
}

impl Floor {
    fn start(feed: SocketAddr, budget_ms: u64) -> Self {
        pin(&[rig::SERVER_CORE]);
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([floor::COMMAND, &feed.to_string(), &budget_ms.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        pin(&[rig::CLIENT_CORE]);
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { process, address }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
