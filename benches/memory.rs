//! An edge's memory: per viewer, over joins and leaves, and over streams that come and go with the cache full.
//!
//! Resident memory of the process: what the kernel holds for its sockets is not in it.

// The cluster is the integration tests' own, and each benchmark uses a part of what they share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod rig;

use rig::{SERVER_CORE, crowd::Crowd, edge::Stage, process::resident, source::Shape};
use std::time::{Duration, Instant};

/// Sound and a slide show: what moves is not what is measured.
const IDLE_KBITS: u64 = 128;
const VIEWERS: [usize; 3] = [1_000, 5_000, 15_000];
const JOINS_PER_S: usize = 1_000;
/// Joins and leaves: rounds of so many viewers.
const ROUNDS: usize = 10;
const PER_ROUND: usize = 1_000;
/// Streams: rounds of so many at one time.
const STREAM_ROUNDS: usize = 5;
const STREAMS: usize = 200;
const STREAM_KBITS: u64 = 500;
const CACHE_MIB: u64 = 64;
/// From the last change until what it left behind is gone: the edge's sweeps and lingers are a second.
const SETTLE: Duration = Duration::from_secs(4);
const SETTINGS: &str = "linger = \"1s\"\nflv.latency = \"100ms\"";
/// Nobody is looked into.
const NOBODY: usize = usize::MAX;

fn main() {
    let mut stage = Stage::new();
    per_viewer(&mut stage);
    joins_and_leaves(&mut stage);
    streams(&mut stage);
}

fn per_viewer(stage: &mut Stage) {
    println!("memory per viewer, {IDLE_KBITS} kbit/s each");
    let _source = stage.publish("live/idle", IDLE_KBITS);
    stage.restart(SETTINGS, &[SERVER_CORE]);
    let mut crowd = Crowd::new(stage.address(), "/live/idle.flv", NOBODY);
    crowd.join(1, Duration::ZERO);
    crowd.watch(SETTLE);
    let alone = resident(stage.pid());
    for viewers in VIEWERS.into_iter().take(if rig::quick() { 1 } else { 3 }) {
        let more = viewers - crowd.len();
        crowd.join(
            more,
            Duration::from_millis((more * 1000 / JOINS_PER_S) as u64),
        );
        let seen = crowd.watch(SETTLE);
        let grown = resident(stage.pid()) - alone;
        println!(
            "{:>6} viewers ({} lost): {:>5} MB over {} MB, {:>5.1} KiB each (aim 16)",
            crowd.len(),
            seen.lost,
            grown >> 20,
            alone >> 20,
            grown as f64 / viewers as f64 / 1024.0
        );
    }
}

fn joins_and_leaves(stage: &mut Stage) {
    println!("memory over {ROUNDS} times {PER_ROUND} joins and leaves");
    let _source = stage.publish("live/idle", IDLE_KBITS);
    stage.restart(SETTINGS, &[SERVER_CORE]);
    let mut crowd = Crowd::new(stage.address(), "/live/idle.flv", NOBODY);
    let mut after = Vec::new();
    for round in 1..=ROUNDS {
        crowd.join(
            PER_ROUND,
            Duration::from_millis((PER_ROUND * 1000 / JOINS_PER_S) as u64),
        );
        crowd.watch(Duration::from_secs(1));
        let full = resident(stage.pid());
        crowd.leave(PER_ROUND);
        crowd.watch(SETTLE);
        after.push(resident(stage.pid()));
        println!(
            "round {round:>2}: {:>4} MB with, {:>4} MB without",
            full >> 20,
            after[round - 1] >> 20
        );
    }
    flat(&after);
}

fn streams(stage: &mut Stage) {
    println!("memory over {STREAM_ROUNDS} times {STREAMS} streams, a cache of {CACHE_MIB} MiB");
    stage.restart(
        &format!("{SETTINGS}\ncache = \"{CACHE_MIB}MiB\""),
        &[SERVER_CORE],
    );
    let mut after = Vec::new();
    for round in 1..=STREAM_ROUNDS {
        let name = |number| format!("live/s{round}-{number}");
        let names: Vec<_> = (0..STREAMS).map(name).collect();
        let start = Instant::now();
        let _source = stage.publish_all(&names, Shape::of_rate(STREAM_KBITS));
        let mut crowd = Crowd::new(stage.address(), &format!("/{}.flv", names[0]), NOBODY);
        for name in &names {
            crowd.ask(&format!("/{name}.flv"));
            crowd.join(1, Duration::ZERO);
        }
        crowd.watch(3 * SETTLE);
        after.push(resident(stage.pid()));
        println!(
            "round {round:>2}: {:>4} MB, {} of {STREAMS} streams watched, {:.0} s",
            after[round - 1] >> 20,
            crowd.len(),
            start.elapsed().as_secs_f64()
        );
    }
    flat(&after);
}

/// The first round grows to what a round needs; then it stays.
fn flat(after: &[u64]) {
    let (first, last) = (after[0] as f64, after[after.len() - 1] as f64);
    println!("last to first round: {:.2} times (flat is 1)", last / first);
}
