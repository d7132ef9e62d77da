//! Two workers with N viewers each beside one worker with N: what a byte costs, and whether viewers are split evenly.
//!
//! Everything runs on both cores in both cases, under 80 % busy, so that what is compared is what workers cost each
//! other, not a core for oneself against a shared one.

// The cluster is the integration tests' own, and each benchmark uses a part of what they share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod rig;

use rig::{cost::Cost, crowd::Crowd, edge::Stage, process};
use std::time::Duration;

/// Viewers of each worker, and the rate: a worker's core is then about a quarter busy.
const CASES: [(usize, u64); 2] = [(500, 1_000), (250, 4_000)];
const BUDGET_MS: u64 = 100;
/// The machine's noise only ever adds: the best of so many rounds counts.
const ROUNDS: usize = 3;
const CORES: [usize; 2] = [rig::SERVER_CORE, rig::CLIENT_CORE];

fn main() {
    let mut stage = Stage::new();
    println!("workers: CPU s/GB and latency in ms (p50/p99), machine busy, viewers of each worker");
    for (viewers, kbits) in CASES.into_iter().take(if rig::quick() { 1 } else { 2 }) {
        let stream = format!("live/w{kbits}");
        let _source = stage.publish(&stream, kbits);
        process::pin(&CORES);
        let one = best(&mut stage, &stream, 1, viewers);
        let two = best(&mut stage, &stream, 2, viewers);
        println!(
            "{viewers} x {} Mbit/s each: two workers cost {:.2} times one (must 1.1)",
            kbits / 1000,
            two / one
        );
    }
}

/// The least CPU per GB of some rounds.
fn best(stage: &mut Stage, stream: &str, workers: usize, per_worker: usize) -> f64 {
    let rounds = (0..ROUNDS).map(|_| round(stage, stream, workers, workers * per_worker));
    rounds.fold(f64::INFINITY, f64::min)
}

fn round(stage: &mut Stage, stream: &str, workers: usize, viewers: usize) -> f64 {
    let settings = format!("{}\nflv.workers = {workers}", Stage::gathering(BUDGET_MS));
    stage.restart(&settings, &CORES);
    process::pin(&CORES);
    let mut crowd = Crowd::new(stage.address(), &format!("/{stream}.flv"), 10);
    crowd.join(viewers, Duration::from_secs(2));
    let machine = process::MachineBusy::since_now();
    let cost = Cost::of_crowd(stage.pid(), &mut crowd);
    let split = |worker| {
        let label = format!("worker=\"{worker}\"");
        stage.metric("weir_edge_flv_viewers", &label)
    };
    let split: Vec<_> = (0..workers).map(split).collect();
    println!(
        "{workers} workers, {viewers:>5} viewers | {cost} | busy {:>3.0} % | {split:?}",
        machine.share() * 100.0
    );
    cost.per_gb
}
