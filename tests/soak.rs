//! `make soak`: a long play while nodes die and come back. Minutes to hours, so not part of `make test`.

use crate::harness::{Cluster, EDGES, clips, ffmpeg, weir};
use std::time::{Duration, Instant};

/// How often something dies.
const EVERY: Duration = Duration::from_secs(15);

#[test]
#[ignore = "takes WEIR_SOAK_SECONDS (600 when unset); run by `make soak`"]
fn soak_viewers_play_on_while_schedulers_and_edges_die() {
    let seconds = std::env::var("WEIR_SOAK_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(600);
    let mut cluster = Cluster::start(3);
    let clip = clips::h264();
    let _publisher = ffmpeg::publish(&clip, &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let mut load = weir();
    load.args([
        "load",
        "play",
        "--viewers",
        "100",
        "--json",
        "--duration",
        &format!("{seconds}s"),
        "--source",
    ]);
    // The viewers are Shanghai's; the other edges and the scheduler die around them.
    let watching = load
        .arg(&clip)
        .arg(cluster.play_url("live/show", EDGES[0].3));
    let watching = watching
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let memory = cluster.node(EDGES[0].0).memory();
    let start = Instant::now();
    let mut victims = ["scheduler", EDGES[1].0, EDGES[2].0].into_iter().cycle();
    while start.elapsed() + 2 * EVERY < Duration::from_secs(seconds) {
        std::thread::sleep(EVERY);
        let victim = victims.next().unwrap();
        cluster.kill(victim);
        cluster.restart(victim);
        cluster.wait_on_air("live/show");
        println!(
            "{:>6.0} s: {victim} died and came back",
            start.elapsed().as_secs_f64()
        );
    }
    let report = watching.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    println!("{report:#}");
    assert_eq!(report["joined"], 100);
    assert_eq!(report["frames"]["wrong"], 0);
    assert_eq!(report["frames"]["dropped"], 0);
    assert_eq!(report["errors"].as_object().unwrap().len(), 0);
    let grown = cluster.node(EDGES[0].0).memory().saturating_sub(memory);
    assert!(grown < 256 << 20, "the edge grew by {grown} bytes");
}
