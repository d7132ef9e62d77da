//! Running FLV viewers whose edge wants them to leave.

use crate::harness::{Cluster, EDGES, eventually, ffmpeg::Running, signal, token, weir, weir_says};
use serde_json::Value;
use std::{io::Read, process::Stdio};

const STREAM: &str = "live/show";

/// Viewers who understand that they are asked to leave, and those who do not.
const MOVING: u64 = 40;
const STAYING: u64 = 5;

#[test]
fn a_drain_under_load_moves_viewers_within_seconds_and_none_stands_still_for_one() {
    let cluster = Cluster::alone(2);
    let _publisher = publish(&cluster);
    cluster.wait_on_air(STREAM);
    let (name, _, _, address) = EDGES[1];
    let url = cluster.play_url(STREAM, address);
    let plain = play(&url, STAYING);
    let moving = play(&format!("{url}&weir=1"), MOVING);
    let edge = cluster.node(name);
    let watching = |count: u64| edge.metric("weir_edge_viewers", "") == count as f64;
    eventually("all watch there", || watching(MOVING + STAYING));

    let admin = format!("http://{}", cluster.scheduler_admin);
    weir_says(&["drain", name, "--admin", &admin]);
    eventually("who understands it has left", || watching(STAYING));
    let asked = edge.metric("weir_edge_moves_total", "why=\"drain\"");
    assert!(asked >= MOVING as f64, "{asked} were asked");

    let report = ended(moving);
    assert_eq!(report["joined"], MOVING);
    assert_eq!(report["errors"].as_object().unwrap().len(), 0);
    assert_eq!(report["moves"]["moved"], MOVING);
    assert_eq!(report["moves"]["gap"]["count"], MOVING);
    for what in ["wrong", "dropped", "backwards"] {
        assert_eq!(report["frames"][what], 0, "{what}");
    }
    let longest = report["stalls"]["longest_s"].as_f64().unwrap();
    assert!(longest <= 1.0, "a player stood still for {longest} s");
    let report = ended(plain);
    assert!(report["moves"].is_null(), "nobody asked those");
    assert_eq!(report["joined"], STAYING);
    assert_eq!(report["errors"].as_object().unwrap().len(), 0);
}

fn publish(cluster: &Cluster) -> Running {
    let token = token("publish", STREAM);
    let url = format!("rtmp://127.0.0.1:{}/{STREAM}?token={token}", cluster.rtmp);
    let mut publish = weir();
    publish.args([
        "load",
        "publish",
        &url,
        "--synthetic",
        "600k",
        "--gop",
        "1s",
    ]);
    Running(publish.stdout(Stdio::null()).spawn().unwrap())
}

/// Viewers who stay until they are told that it is over.
fn play(url: &str, viewers: u64) -> Running {
    let mut play = weir();
    play.args(["load", "play", "--json", "--duration", "2m", url]);
    play.args(["--viewers", &viewers.to_string()]);
    Running(play.stdout(Stdio::piped()).spawn().unwrap())
}

/// What they saw.
fn ended(mut play: Running) -> Value {
    signal(&play.0, "INT");
    let mut said = Vec::new();
    let mut out = play.0.stdout.take().unwrap();
    out.read_to_end(&mut said).unwrap();
    assert!(play.wait());
    serde_json::from_slice(&said).unwrap()
}
