//! Redirects: decisions a second on one core in process, and rate and delay over HTTP keep-alive.
//!
//! In process: address look-up in the country database, decision, token signature, text of the
//! `Location`; random IPv4 addresses, 10,000 streams, twenty policies beside the default, a market
//! with a price of each edge and the 32 nearest edges of each of 1,000 regions. The floor beside it
//! is the signature alone. Over HTTP a real scheduler under the same policies has a core, and a
//! client of bare sockets the other.

// The cluster is the integration tests' own; this uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "../tests"]
mod cluster_of_processes {
    pub mod harness;
}
#[path = "rig/asker.rs"]
mod asker;
#[path = "rig/process.rs"]
mod process;

use ::cluster::region::Region;
use ::cluster::{
    config::Secret,
    node::{Capacity, Node, NodeId, Place, Role},
    plan::Plan,
    sample::Sample,
    stream::{StreamKey, StreamRecord},
    token::{self, Gate},
};
use cluster_of_processes::harness::{Cluster, clips, ffmpeg, weir_says};
use scheduler::{
    collect::registry::Registry,
    geo::{self, Geo},
    market::{Market, Quote, Reach},
    meter::Meter,
    policy::{Policies, file},
    redirect::{Redirector, Request, address::Proxies},
    snapshot::{Snapshot, mix},
    sticky::Sticky,
};
use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use transport::clock::Clock;

const STREAMS: usize = 10_000;
/// What one origin may report; more streams come from more origins.
const PER_ORIGIN: usize = 2_000;
const REGIONS: usize = 1_000;
/// Edges that the planner names for a region.
const REACH: usize = 32;
/// Beside the default and one that often fits.
const POLICIES: usize = 19;
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
    over_http();
}

/// A client on core 1 beside a scheduler on core 0; the cluster's other processes, which have
/// little to do, stand by the client.
fn over_http() {
    process::pin(&[1]);
    // Each redirect counts as a viewer on the way, so edges with limits would soon be full.
    let cluster = Cluster::with(3, "capacity = { egress_mbps = 0, viewers = 0 }");
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, policy_file()).expect("the disk has room");
    let policy = policy.to_str().expect("a path of plain letters");
    let admin = format!("http://{}", cluster.scheduler_admin);
    weir_says(&["policy", "apply", policy, "--admin", &admin]);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let scheduler = cluster.node("scheduler");
    process::move_to(scheduler.pid(), 0);
    for connections in [1, 16, 64] {
        let ask = |a_second| asker::ask(&cluster.scheduler, connections, a_second);
        let full = ask(None);
        println!("over HTTP, {connections:>3} connections: {full}");
        println!(
            "      at half of that rate: {}",
            ask(Some(full.a_second / 2.0))
        );
    }
    println!("scheduler: {} kB resident", scheduler.memory() / 1000);
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
        "{edges:>5} edges: {rate:>9.0} decisions/s, {:.1} times the time of the signature alone, \
         {} kB resident",
        signing / rate,
        process::resident(std::process::id()) / 1000
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
    let geo = Geo::load(geo, &Place::default()).expect("the database opens");
    let policies: Policies = file::parse(&policy_file()).expect("a valid file");
    registry.obey(Arc::new(policies));
    let clock = Clock::system();
    let now_ms = clock.unix_ms();
    let market = market(&registry.snapshot(now_ms), &geo, now_ms);
    registry.trade(Arc::new(market));
    let secret = Secret::new("a secret of the benchmarks");
    Redirector {
        snapshot: Arc::new(arc_swap::ArcSwap::from_pointee(registry.snapshot(now_ms))),
        geo: Arc::new(geo),
        gate: Gate::load(&token::Config::default(), &secret).expect("long enough"),
        sticky: Sticky::new(Duration::from_secs(300)),
        proxies: Proxies::default(),
        meter: Meter::register(&mut Default::default()),
        diary: scheduler::diary::Diary::new(100),
        outside: Arc::new(cluster::waiting::Outside::new(Duration::from_secs(60))),
        clock,
    }
}

/// A price of each edge, and the nearest edges of the regions that addresses are in, filled up to a
/// thousand with made ones.
fn market(snapshot: &Snapshot, geo: &Geo, made_ms: u64) -> Market {
    let mut market = Market {
        made_ms,
        ..Market::default()
    };
    let edges: Vec<_> = snapshot.nodes.iter().filter(|view| view.is_edge).collect();
    for view in &edges {
        let quote = Quote {
            money: 0.4 + 1.2 * (mix(view.seed) % 1_000) as f64 / 1e3,
            planned_bps: 1e9,
            usd_per_mbps: 1.0,
            ..Quote::default()
        };
        market.quotes.insert(view.number, quote);
    }
    let address = |n: u64| IpAddr::V4(Ipv4Addr::from(mix(n) as u32));
    let known = (0..PER_ROUND).map(|n| geo.locate(address(n)).region);
    let made = (0..).map(|n| Region::named(&format!("made-{n}")));
    for region in known.chain(made) {
        if market.reaches.len() >= REGIONS {
            break;
        }
        market.reaches.entry(region).or_insert_with(|| {
            let centre = geo.centre(region).unit();
            let mut near: Vec<_> = edges.iter().map(|it| (it.unit.km_to(centre), it)).collect();
            near.sort_by(|a, b| a.0.total_cmp(&b.0));
            let near = near.iter().take(REACH);
            near.map(|(km, view)| reach(*km, view)).collect()
        });
    }
    market
}

fn reach(km: f32, view: &scheduler::snapshot::NodeView) -> Reach {
    Reach {
        number: view.number,
        rtt_ms: Some(scheduler::plan::cost::prior_rtt_ms(km)),
    }
}

/// A default and twenty policies by label, stream, region and tenant, most of which fit nobody.
fn policy_file() -> String {
    let mut text = String::from("version = 1\n[policy.default]\nexplore = 0.01\n");
    for n in 0..POLICIES {
        let selector = match n % 4 {
            0 => format!("label = \"tier=vip-{n}\""),
            1 => format!("stream = [\"live/show-{n}_*\", \"news/*-{n}\"]"),
            2 => format!("region = [\"US-*\", \"made-{n}\"], tenant = \"tenant-{n}\""),
            _ => format!("tenant = \"party-{n}\""),
        };
        text += &format!(
            "[policy.p{n}]\nselector = {{ {selector} }}\npriority = {n}\n\
             rtt = {{ max_extra_vs_nearest_ms = 30 }}\n"
        );
    }
    // The busiest of them: all streams whose number ends in 7, and a list of edges to avoid.
    text + "[policy.sevens]\nselector = { stream = \"live/stream-*7\" }\n\
            placement = { deny = [\"edge-old-*\", \"*-spare\"], max_price = 3.0 }\n"
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
