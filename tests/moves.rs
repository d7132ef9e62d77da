//! Running FLV viewers whose edge wants them to leave.

use crate::harness::crowd::{ended, play, publish};
use crate::harness::{Cluster, EDGES, eventually, weir_says};

const STREAM: &str = "live/show";

/// Viewers who understand that they are asked to leave, and those who do not.
const MOVING: u64 = 40;
const STAYING: u64 = 5;

#[test]
fn a_drain_under_load_moves_viewers_within_seconds_and_none_stands_still_for_one() {
    let cluster = Cluster::alone(2, "");
    let _publisher = publish(&cluster, STREAM, "600k");
    cluster.wait_on_air(STREAM);
    let (name, _, _, address) = EDGES[1];
    let url = cluster.play_url(STREAM, address);
    let plain = play(std::slice::from_ref(&url), STAYING, &[]);
    let moving = play(&[format!("{url}&weir=1")], MOVING, &[]);
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
