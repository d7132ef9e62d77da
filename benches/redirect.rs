//! Redirects: decisions a second on one core in process, and rate and delay over HTTP keep-alive.
//!
//! In process: address look-up in the country database, decision, token signature, text of the `Location`; random IPv4
//! addresses, 10,000 streams. The floor beside it is the signature alone.

// The cluster is the integration tests' own; this uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "../tests"]
mod cluster_of_processes {
    pub mod harness;
}

use ::cluster::{
    config::Secret,
    node::{Capacity, Node, NodeId, Place, Role},
    plan::Plan,
    sample::Sample,
    stream::{StreamKey, StreamRecord},
    token::{self, Gate},
};
use cluster_of_processes::harness::{Cluster, clips, ffmpeg};
use hdrhistogram::Histogram;
use scheduler::{
    collect::registry::Registry,
    geo::{self, Geo},
    meter::Meter,
    redirect::{Redirector, Request, address::Proxies},
    snapshot::mix,
    sticky::Sticky,
};
use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use transport::{clock::Clock, http::Client};

const STREAMS: usize = 10_000;
/// What one origin may report; more streams come from more origins.
const PER_ORIGIN: usize = 2_000;
const ROUNDS: u64 = 5;
const PER_ROUND: u64 = 100_000;

fn main() {
    let country = Path::new(env!("CARGO_MANIFEST_DIR")).join("var/country.mmdb");
    let databases = if country.exists() {
        vec![country]
    } else {
        Vec::new()
    };
    println!(
        "in process, one core, {STREAMS} streams, {} country database",
        databases.len()
    );
    for edges in [3, 30, 100, 500] {
        in_process(edges, databases.clone());
    }
    // Each redirect counts as a viewer on the way, so edges with limits would soon be full.
    let cluster = Cluster::with(3, "capacity = { egress_mbps = 0, viewers = 0 }");
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for connections in [1, 16, 64] {
        runtime.block_on(over_http(&cluster.scheduler, connections));
    }
}

fn in_process(edges: usize, databases: Vec<std::path::PathBuf>) {
    let redirector = redirector(edges, databases);
    let paths: Vec<String> = (0..STREAMS)
        .map(|s| format!("/live/stream-{s}.flv"))
        .collect();
    let rate = best_rate(|random| {
        let request = Request {
            peer: IpAddr::V4(Ipv4Addr::from(random as u32)),
            path: &paths[(random >> 32) as usize % paths.len()],
            query: "",
            forwarded: &[],
            bearer: None,
        };
        black_box(redirector.redirect(&request).expect("an edge has room"));
    });
    let key = StreamKey::parse("live/stream-1").expect("a key");
    let signing = best_rate(|random| {
        let client = IpAddr::V4(Ipv4Addr::from(random as u32));
        black_box(
            redirector
                .gate
                .sign(&redirector.gate.redirect_claims(&key, client, random)),
        );
    });
    println!(
        "{edges:>5} edges: {rate:>9.0} decisions/s, {:.1} times the time of the signature alone",
        signing / rate
    );
}

/// Calls per second of the best round: the one that the machine disturbed least.
fn best_rate(mut work: impl FnMut(u64)) -> f64 {
    let round = |round: u64| {
        let start = Instant::now();
        (0..PER_ROUND).for_each(|n| work(mix(round * PER_ROUND + n + 1)));
        PER_ROUND as f64 / start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(round).fold(0.0, f64::max)
}

fn redirector(edges: usize, databases: Vec<std::path::PathBuf>) -> Redirector {
    let mut registry = Registry::new(Plan::default(), Default::default(), vec![]);
    for number in 0..edges {
        let unit = |salt: u64| (mix(number as u64 * 7 + salt) >> 11) as f64 / (1u64 << 53) as f64;
        let node = node(
            &format!("edge-{number}"),
            Role::Edge,
            unit(1) * 120.0 - 50.0,
            unit(2) * 360.0 - 180.0,
        );
        let id = node.id.clone();
        registry
            .take(0, id.as_str(), vec![Sample::new(node, 0)])
            .expect("a valid sample");
    }
    for origin in 0..STREAMS / PER_ORIGIN {
        let node = node(&format!("origin-{origin}"), Role::Origin, 0.0, 0.0);
        let id = node.id.clone();
        let mut sample = Sample::new(node, 0);
        sample.streams = (origin * PER_ORIGIN..(origin + 1) * PER_ORIGIN)
            .map(|s| record(s, &id))
            .collect();
        registry
            .take(0, id.as_str(), vec![sample])
            .expect("a valid sample");
    }
    let geo = geo::Config {
        databases,
        ..Default::default()
    };
    let secret = Secret::new("a secret of the benchmarks");
    Redirector {
        snapshot: Arc::new(arc_swap::ArcSwap::from_pointee(registry.snapshot(0))),
        geo: Arc::new(Geo::load(geo, &Place::default()).expect("the database opens")),
        gate: Gate::load(&token::Config::default(), &secret).expect("long enough"),
        sticky: Sticky::new(Duration::from_secs(300)),
        proxies: Proxies::default(),
        meter: Meter::register(&mut Default::default()),
        diary: scheduler::diary::Diary::new(100),
        outside: Arc::new(cluster::waiting::Outside::new(Duration::from_secs(60))),
        clock: Clock::system(),
    }
}

fn node(id: &str, role: Role, lat: f64, lon: f64) -> Node {
    Node {
        public_url: format!("https://{id}.example.com"),
        id: NodeId::parse(id).expect("a name"),
        role,
        relay: None,
        hub: false,
        zone: None,
        admin: None,
        place: Place {
            lat,
            lon,
            ..Place::default()
        },
        capacity: Capacity {
            egress_bps: 1 << 60,
            viewers: 0,
        },
        version: String::new(),
    }
}

fn record(number: usize, origin: &NodeId) -> StreamRecord {
    StreamRecord {
        key: StreamKey::parse(&format!("live/stream-{number}")).expect("a key"),
        origin: origin.clone(),
        epoch: 1,
        started_ms: 0,
        tracks: vec![],
        bitrate_bps: 2_000_000,
        peak_bps: 0,
        publisher: String::new(),
    }
}

/// Client and scheduler share the machine, so the rate is that of both together.
async fn over_http(scheduler: &str, connections: usize) {
    let delays = Arc::new(Mutex::new(
        Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("valid bounds"),
    ));
    let start = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..connections as u64 {
        let (delays, scheduler) = (delays.clone(), scheduler.to_string());
        clients.spawn(async move {
            let client = Client::new();
            let mut own = Vec::new();
            for n in 0.. {
                if start.elapsed() > Duration::from_secs(5) {
                    break;
                }
                let ip = Ipv4Addr::from(mix(number << 32 | n) as u32);
                let asked = Instant::now();
                let answer = client
                    .get(&format!("http://{scheduler}/live/show.flv?ip={ip}"))
                    .await;
                assert_eq!(answer.expect("an answer").status().as_u16(), 302);
                own.push(asked.elapsed().as_micros() as u64);
            }
            let mut all = delays.lock().expect("nobody panics while holding it");
            own.into_iter().for_each(|us| all.saturating_record(us));
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no client fails");
    }
    let all = delays.lock().expect("nobody panics while holding it");
    println!(
        "over HTTP, {connections:>3} connections: {:>7.0} redirects/s, p50 {:.2} ms, p99 {:.2} ms",
        all.len() as f64 / start.elapsed().as_secs_f64(),
        all.value_at_quantile(0.5) as f64 / 1e3,
        all.value_at_quantile(0.99) as f64 / 1e3,
    );
}
