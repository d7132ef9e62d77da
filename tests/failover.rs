//! What viewers notice when nodes die: as little as can be.

use crate::harness::{
    Cluster, EDGES, clips, eventually,
    ffmpeg::{self, Running},
    signal, token, weir, within,
};
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A viewer that writes what it receives to a file; the file grows as long as the picture goes on.
struct Viewer {
    _process: Running,
    file: tempfile::NamedTempFile,
}

impl Viewer {
    fn join(url: &str) -> Self {
        let file = tempfile::Builder::new().suffix(".flv").tempfile().unwrap();
        let mut curl = Command::new("ffmpeg");
        curl.args([
            "-v", "error", "-nostdin", "-y", "-i", url, "-c", "copy", "-f", "flv",
        ]);
        let process = curl.arg(file.path()).stdin(Stdio::null()).spawn().unwrap();
        let viewer = Self {
            _process: Running(process),
            file,
        };
        viewer.goes_on("the viewer has joined");
        viewer
    }

    fn received(&self) -> u64 {
        self.file.as_file().metadata().unwrap().len()
    }

    /// Waits until clearly more has come than now: a few seconds of the clip.
    fn goes_on(&self, what: &str) {
        let now = self.received();
        eventually(what, || self.received() > now + 100_000);
    }
}

#[test]
fn a_killed_edge_gets_no_new_viewer_after_three_seconds() {
    let mut cluster = Cluster::start(2);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let (name, _, _, address) = EDGES[1];
    assert_eq!(
        cluster.edge_for("live/show", address).as_deref(),
        Some(name)
    );
    cluster.kill(name);
    let killed = Instant::now();
    // The promise itself: the bound is the product's, not the machine's.
    within(
        Duration::from_secs(3),
        "the dead edge left the answers",
        || cluster.edge_for("live/show", address).as_deref() == Some(EDGES[0].0),
    );
    let noticed = killed.elapsed();
    for _ in 0..20 {
        assert_eq!(
            cluster.edge_for("live/show", address).as_deref(),
            Some(EDGES[0].0)
        );
    }
    println!("the dead edge left the answers after {noticed:?}");
    cluster.restart(name);
    eventually("the edge that came back is used again", || {
        cluster.edge_for("live/show", address).as_deref() == Some(name)
    });
}

#[test]
fn viewers_do_not_notice_that_the_scheduler_died() {
    let mut cluster = Cluster::start(1);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let viewer = Viewer::join(&cluster.play_url("live/show", EDGES[0].3));
    cluster.kill("scheduler");
    viewer.goes_on("the picture goes on without a scheduler");
    let edge = cluster.node(EDGES[0].0).public.clone();
    let valid = format!(
        "http://{edge}/live/show.flv?token={}",
        token("play", "live/show")
    );
    Viewer::join(&valid);
    let other = format!(
        "http://{edge}/live/show.flv?token={}",
        token("play", "live/other")
    );
    let refused = Command::new("ffmpeg")
        .args(["-v", "error", "-i", &other, "-f", "null", "-"])
        .output();
    assert!(
        String::from_utf8_lossy(&refused.unwrap().stderr).contains("403"),
        "a wrong token was taken"
    );
    cluster.restart("scheduler");
    cluster.wait_on_air("live/show");
}

#[test]
fn viewers_who_stayed_go_on_after_the_origin_restarted() {
    let mut cluster = Cluster::start(1);
    let url = cluster.publish_url("live/show");
    let publisher = ffmpeg::publish(&clips::h264(), &url, &[]);
    cluster.wait_on_air("live/show");
    let viewer = Viewer::join(&cluster.play_url("live/show", EDGES[0].3));
    cluster.kill("origin");
    drop(publisher);
    cluster.restart("origin");
    let _again = ffmpeg::publish(&clips::h264(), &url, &[]);
    viewer.goes_on("the picture goes on from the restarted origin");
    let file = viewer.file.path().to_str().unwrap().to_string();
    drop(viewer._process);
    let times: Vec<_> = ffmpeg::hashes(&file, None, true)
        .iter()
        .filter(|h| h.stream == 0)
        .map(|h| h.dts)
        .collect();
    assert!(
        times.windows(2).all(|pair| pair[0] < pair[1]),
        "timestamps step back: {times:?}"
    );
}

#[test]
fn a_second_encoder_takes_over_from_a_frozen_one() {
    let cluster = Cluster::start(1);
    let url = cluster.publish_url("live/show");
    let frozen = ffmpeg::publish(&clips::h264(), &url, &[]);
    cluster.wait_on_air("live/show");
    let viewer = Viewer::join(&cluster.play_url("live/show", EDGES[0].3));
    let refused = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-nostdin",
            "-re",
            "-i",
            clips::h264().to_str().unwrap(),
            "-c",
            "copy",
            "-f",
            "flv",
            &url,
        ])
        .output()
        .unwrap();
    assert!(
        !refused.status.success(),
        "a second encoder pushed a live one out"
    );
    signal(&frozen.0, "STOP");
    let mut second = None;
    eventually("the second encoder takes over", || {
        let running = second.get_or_insert_with(|| ffmpeg::publish(&clips::h264(), &url, &[]));
        if running.0.try_wait().unwrap().is_some() {
            // Refused: the first had sent something within the last second. It dials again.
            second = None;
            return false;
        }
        cluster
            .node("origin")
            .metric("weir_origin_takeovers_total", "")
            >= 1.0
    });
    viewer.goes_on("the picture goes on from the second encoder");
    signal(&frozen.0, "CONT");
    viewer.goes_on("the first encoder, awake again, disturbs nobody");
}

#[test]
fn a_publisher_that_comes_back_within_the_grace_window_keeps_its_stream() {
    let cluster = Cluster::start(1);
    let url = cluster.publish_url("live/show");
    let first = ffmpeg::publish(&clips::h264(), &url, &[]);
    cluster.wait_on_air("live/show");
    let viewer = Viewer::join(&cluster.play_url("live/show", EDGES[0].3));
    let epoch = || {
        let streams = weir_streams(&cluster);
        streams[0]["epoch"].as_u64().unwrap()
    };
    let before = epoch();
    drop(first); // SIGKILL: the encoder says nothing
    let again = ffmpeg::publish(&clips::h264(), &url, &[]);
    viewer.goes_on("the picture goes on after the encoder dialled again");
    assert_eq!(epoch(), before, "the stream began anew");
    drop(again);
    cluster.wait_off_air("live/show");
}

fn weir_streams(cluster: &Cluster) -> serde_json::Value {
    let admin = format!("http://{}", cluster.scheduler_admin);
    let run = weir()
        .args(["streams", "--json", "--admin", &admin])
        .output()
        .unwrap();
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn a_drained_edge_keeps_its_viewers_and_gets_no_new_ones() {
    let mut cluster = Cluster::start(2);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let (name, _, _, address) = EDGES[1];
    let viewer = Viewer::join(&cluster.play_url("live/show", address));
    let admin = format!("http://{}", cluster.scheduler_admin);
    let drain = |arguments: &[&str]| {
        let run = weir()
            .args(["drain", name, "--admin", &admin])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
    };
    drain(&[]);
    eventually("viewers go elsewhere", || {
        cluster.edge_for("live/show", address).as_deref() == Some(EDGES[0].0)
    });
    viewer.goes_on("the viewer of the drained edge goes on");
    drain(&["--undo"]);
    eventually("the edge is used again", || {
        cluster.edge_for("live/show", address).as_deref() == Some(name)
    });
    drop(viewer);
    assert!(
        cluster.terminate(name).success(),
        "SIGTERM ends an edge cleanly"
    );
}
