//! A thousand viewers of one 2 Mbit/s stream over two edges for 20 s: real processes, each frame compared with the source.

// The cluster is the integration tests' own; this uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "../tests"]
mod cluster {
    pub mod harness;
}

use cluster::harness::{Cluster, EDGES, clips, ffmpeg, weir};

fn main() {
    // Without limits: 500 viewers of 2 Mbit/s are just past the default of 1 Gbit/s.
    let cluster = Cluster::with(2, "capacity = { egress_mbps = 0, viewers = 0 }");
    let clip = clips::at_rate(2000);
    let _publisher = ffmpeg::publish(&clip, &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let names = [EDGES[0].0, EDGES[1].0];
    let before: f64 = names
        .iter()
        .map(|name| cpu_seconds(cluster.node(name).pid()))
        .sum();
    let mut load = weir();
    load.args([
        "load",
        "play",
        "--viewers",
        "1000",
        "--ramp",
        "5s",
        "--duration",
        "20s",
        "--json",
        "--source",
    ]);
    let run = load
        .arg(&clip)
        .args([EDGES[0].3, EDGES[1].3].map(|address| cluster.play_url("live/show", address)));
    let output = run.output().expect("weir runs");
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{report}{}", String::from_utf8_lossy(&output.stderr));
    let cpu: f64 = names
        .iter()
        .map(|name| cpu_seconds(cluster.node(name).pid()))
        .sum::<f64>()
        - before;
    let memory: u64 = names.iter().map(|name| cluster.node(name).memory()).sum();
    let json: serde_json::Value = serde_json::from_str(&report).expect("a report");
    let gbytes = json["bytes"].as_f64().unwrap_or(f64::NAN) / 1e9;
    println!(
        "edges: {:.2} CPU s per GB, {} MB resident for both",
        cpu / gbytes,
        memory >> 20
    );
}

/// CPU time of a process so far (fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields = stat.rsplit_once(')').expect("the name is in brackets").1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
