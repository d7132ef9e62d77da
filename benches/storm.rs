//! A join storm: how soon the newcomers see a picture, and what those who play notice of it.

// The cluster is the integration tests' own, and each benchmark uses a part of what they share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod rig;

use rig::{crowd::Crowd, edge::Stage};
use std::time::Duration;

const KBITS: u64 = 1_000;
const PLAYING: usize = 500;
const STORM: usize = 2_000;
const BUDGET_MS: u64 = 100;
const CALM: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(3);
/// One of those who play out of so many is looked into.
const LOOK_AT: usize = 5;

fn main() {
    let mut stage = Stage::new();
    let _source = stage.publish("live/storm", KBITS);
    stage.restart_gathering(BUDGET_MS);
    let mut crowd = Crowd::new(stage.address(), "/live/storm.flv", LOOK_AT);
    crowd.join(PLAYING, Duration::from_secs(2));
    crowd.watch(SETTLE);
    let calm = crowd.watch(CALM);
    (crowd.look_at, crowd.timed) = (1, false);
    crowd.join(STORM, Duration::from_secs(1));
    // Until the last of them has a picture; longer would hide what those who play noticed.
    let storm = crowd.watch(Duration::from_secs(1));
    println!(
        "join storm: {STORM} viewers within 1 s on top of {PLAYING}, {} Mbit/s, budget {BUDGET_MS} ms",
        KBITS / 1000
    );
    println!(
        "first key frame of {} newcomers: p50 {:.1} ms, p99 {:.1} ms (must 300), slowest {:.1} ms; {} lost",
        storm.first_key.len(),
        storm.first_key_ms(0.5),
        storm.first_key_ms(0.99),
        storm.first_key_ms(1.0),
        storm.lost
    );
    println!(
        "latency of those who play: p50 {:.1} -> {:.1} ms, p99 {:.1} -> {:.1} ms ({:+.1}; must +20)",
        calm.latency_ms(0.5),
        storm.latency_ms(0.5),
        calm.latency_ms(0.99),
        storm.latency_ms(0.99),
        storm.latency_ms(0.99) - calm.latency_ms(0.99)
    );
}
