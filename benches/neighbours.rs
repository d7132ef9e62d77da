//! Two hundred viewers on bad links among a thousand on good ones: neither may hurt the other.
//!
//! The links are emulated packet by packet between two network namespaces (`tests/harness/link.rs`), so the kernel's own
//! TCP meets the loss. A third of them carry half the stream's bitrate, a third lose 3 % in bursts, a third replay a
//! cellular link's ups and downs. Some of the viewers on them watch a real clip; what they got is decoded by ffmpeg.
//! Skipped, and said so, where links cannot be made.

// The cluster is the integration tests' own, and each benchmark uses a part of what they share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod rig;

use rig::{
    CLIENT_CORE,
    cluster::harness::{
        clips,
        link::{
            End, Lane, Link, LinkSpec,
            pipe::{Loss, Rate, Spec},
            trace::Trace,
        },
    },
    crowd::{Crowd, Seen},
    edge::Stage,
    process::pin,
};
use std::{net::SocketAddr, process::Command, sync::Arc, time::Duration};

const KBITS: u64 = 1_000;
const GOOD: usize = 1_000;
const BAD: usize = 200;
/// Of the bad ones, so many watch the clip that is decoded.
const DECODED: usize = 18;
const BUDGET_MS: u64 = 100;
/// To a viewer in the next large town.
const DELAY: Duration = Duration::from_millis(20);
/// What a home router queues.
const QUEUE: Duration = Duration::from_millis(300);
const CALM: Duration = Duration::from_secs(10);
const JOIN: Duration = Duration::from_secs(5);
/// Until slow viewers have met their bounds.
const SETTLE: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_secs(30);
const KINDS: [&str; 3] = ["half the bitrate", "3 % in bursts", "a cellular trace"];

fn main() {
    pin(&[CLIENT_CORE]);
    for congestion in ["cubic", "bbr"]
        .into_iter()
        .take(if rig::quick() { 1 } else { 2 })
    {
        let lanes = (0..BAD).map(lane).collect();
        let Some(link) = Link::new(&LinkSpec { lanes, congestion }) else {
            return;
        };
        println!(
            "{BAD} bad links among {GOOD} good ones, {} Mbit/s, TCP {congestion}",
            KBITS / 1000
        );
        run(&link);
    }
}

fn lane(number: usize) -> Lane {
    let spec = Spec {
        delay: DELAY,
        seed: number as u64,
        ..Spec::default()
    };
    let to_far = match number % KINDS.len() {
        0 => spec.clone().bottleneck(KBITS * 500, QUEUE),
        1 => Spec {
            loss: Loss::Bursts {
                share: 0.03,
                length: 4.0,
            },
            ..spec.clone().bottleneck(KBITS * 4_000, QUEUE)
        },
        _ => Spec {
            rate: Rate::Trace {
                trace: Arc::new(Trace::made(number as u64, KBITS * 1_500, 60)),
                from: Duration::ZERO,
            },
            queue_bytes: (KBITS * 1_500 / 8) as usize * QUEUE.as_millis() as usize,
            ..spec.clone()
        },
    };
    Lane {
        to_far,
        to_near: spec,
    }
}

fn run(link: &Link) {
    let _inside = link.enter(End::Near);
    let mut stage = Stage::new();
    let _source = stage.publish("live/weak", KBITS);
    let _real = stage.publish_clip("live/real", &clips::at_rate(KBITS as u32));
    stage.restart_gathering(BUDGET_MS);
    let mut good = Crowd::new(stage.address(), "/live/weak.flv", 10);
    good.join(GOOD, Duration::from_secs(2));
    good.watch(Duration::from_secs(3));
    let calm = good.watch(CALM);
    let edge = SocketAddr::from((link.near(), stage.address().port()));
    let (beside, bad) = std::thread::scope(|scope| {
        let bad = scope.spawn(move || weak(link, edge));
        let beside = good.watch(JOIN + SETTLE + WATCH);
        (beside, bad.join().unwrap())
    });
    println!(
        "good ones: p50 {:.1} -> {:.1} ms, p99 {:.1} -> {:.1} ms ({:+.1}; must +20), {} lost",
        calm.latency_ms(0.5),
        beside.latency_ms(0.5),
        calm.latency_ms(0.99),
        beside.latency_ms(0.99),
        beside.latency_ms(0.99) - calm.latency_ms(0.99),
        beside.lost
    );
    let dropped = |kind| {
        let label = format!("kind=\"{kind}\"");
        let frames = stage.metric("weir_edge_frames_dropped_total", &label);
        format!(" {kind} {frames}")
    };
    let dropped = ["disposable", "reference", "key", "sound"].map(dropped);
    println!("frames left out for them:{}", dropped.concat());
    for (kind, Weak { seen, kept }) in KINDS.iter().zip(bad) {
        let decoded = kept.iter().filter(|bytes| decodes(bytes)).count();
        println!(
            "{kind:<18}: p50 {:>6.0} ms, p99 {:>6.0} ms, most {:>6.0} ms; {} lost; {decoded} of {} streams decode",
            seen.latency_ms(0.5),
            seen.latency_ms(0.99),
            seen.latency_ms(1.0),
            seen.lost,
            kept.len(),
        );
    }
}

/// What those on one kind of link saw.
struct Weak {
    seen: Seen,
    /// What those got whose stream is decoded.
    kept: Vec<Vec<u8>>,
}

/// The viewers at the far end: a crowd for each kind of link, each in a thread of its own.
fn weak(link: &Link, edge: SocketAddr) -> Vec<Weak> {
    std::thread::scope(|scope| {
        let kinds = (0..KINDS.len()).map(|kind| scope.spawn(move || weak_kind(link, edge, kind)));
        let kinds: Vec<_> = kinds.collect();
        kinds.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn weak_kind(link: &Link, edge: SocketAddr, kind: usize) -> Weak {
    let _inside = link.enter(End::Far);
    let mut lanes = (kind..BAD).step_by(KINDS.len()).map(|lane| link.far(lane));
    let mut crowd = Crowd::new(edge, "/live/real.flv", 1);
    (crowd.timed, crowd.keep) = (false, true);
    crowd.sources = lanes.by_ref().take(DECODED / KINDS.len()).collect();
    crowd.join(crowd.sources.len(), Duration::from_secs(1));
    crowd.ask("/live/weak.flv");
    (crowd.timed, crowd.keep) = (true, false);
    crowd.sources = lanes.collect();
    crowd.join(crowd.sources.len(), JOIN - Duration::from_secs(1));
    let settled = crowd.watch(SETTLE);
    let mut seen = crowd.watch(WATCH);
    seen.lost += settled.lost;
    // They leave now: decoding takes a while, in which they would be the slowest of all.
    let kept = crowd.kept().map(Into::into).collect();
    Weak { seen, kept }
}

/// Whether ffmpeg decodes what one viewer got, up to its last whole tag, without a complaint of its decoders.
fn decodes(bytes: &[u8]) -> bool {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &bytes[..whole_tags(bytes)]).unwrap();
    let run = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file.path())
        .args("-map 0:v -vsync passthrough -f rawvideo -y /dev/null".split(' '))
        .args("-map 0:a -f s16le -y /dev/null".split(' '))
        .output()
        .expect("ffmpeg is installed (`make setup`)");
    // FLV's whole milliseconds put a packet of sound up to half of one before the end of the one before it, of which
    // the writer of raw samples complains.
    let complaints = String::from_utf8_lossy(&run.stderr);
    let complaint = { complaints.lines() }.find(|line| !line.contains("increasing dts to muxer"));
    complaint.into_iter().for_each(rig::progress);
    run.status.success() && complaint.is_none()
}

/// FLV 10.1, E.2 and E.3: a header of 9 bytes, then sizes of 4 and tags of 11 and their data.
fn whole_tags(bytes: &[u8]) -> usize {
    let mut end = 13;
    while let Some([_, a, b, c]) = bytes.get(end..).and_then(|rest| rest.first_chunk()) {
        let next = end + 15 + u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    end.min(bytes.len())
}
