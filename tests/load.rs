//! `weir load` against the real nodes: what it reports is what happened.

use crate::harness::{Cluster, EDGES, clips, ffmpeg::Running, signal, token, weir, within};
use serde_json::Value;
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Publishes until it is dropped.
fn publish(cluster: &Cluster, name: &str, arguments: &[&str]) -> Running {
    let mut publish = publisher(cluster, name, arguments);
    Running(publish.stdout(Stdio::null()).spawn().unwrap())
}

fn publisher(cluster: &Cluster, name: &str, arguments: &[&str]) -> Command {
    let token = token("publish", "live/*");
    let url = format!(
        "rtmp://127.0.0.1:{}/live/{name}?token={token}",
        cluster.rtmp
    );
    let mut publish = weir();
    publish.args(["load", "publish", &url]).args(arguments);
    publish
}

fn play(arguments: &[&str]) -> Command {
    let mut play = weir();
    play.args(["load", "play", "--json"]).args(arguments);
    play
}

fn report(mut command: Command) -> Value {
    let run = command.output().unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn many_streams_are_published_and_watched_and_what_was_seen_is_reported() {
    let cluster = Cluster::start(2);
    let made_up = [
        "--streams",
        "4",
        "--ramp",
        "1s",
        "--synthetic",
        "600k",
        "--gop",
        "1s",
    ];
    let _publisher = publish(&cluster, "load-{n}", &made_up);
    let names = ["live/load-1", "live/load-2", "live/load-3", "live/load-4"];
    names.iter().for_each(|name| cluster.wait_on_air(name));
    let urls: Vec<_> = names
        .iter()
        .flat_map(|name| EDGES[..2].iter().map(|edge| cluster.play_url(name, edge.3)))
        .collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    for validate in ["full", "tags"] {
        let how = [
            "--viewers",
            "40",
            "--duration",
            "5s",
            "--validate",
            validate,
        ];
        let from = ["--from", "127.0.0.1,127.0.0.2", "--header", "X-Test: 1"];
        let report = report(play(&[&how[..], &from, &urls].concat()));
        println!("{report:#}");
        assert_eq!(report["joined"], 40);
        assert_eq!(report["errors"].as_object().unwrap().len(), 0);
        assert_eq!(report["edges"].as_object().unwrap().len(), 2);
        assert_eq!(report["frames"]["wrong"], 0);
        assert_eq!(report["frames"]["backwards"], 0);
        // How many frames a starved machine lets through is no matter here.
        assert!(report["frames"]["right"].as_u64().unwrap() > 40);
        assert_eq!(report["first_byte"]["count"], 40);
        assert_eq!(report["first_key_frame"]["count"], 40);
        assert!(report["latency"]["count"].as_u64().unwrap() > 0);
        assert!(report["latency"]["p99_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(report["bytes"], sum(&report["intervals"], "bytes"));
        assert_eq!(40, sum(&report["intervals"], "joined"));
    }
}

#[test]
fn sessions_of_hls_follow_the_present_and_every_part_is_read() {
    let cluster = Cluster::start(2);
    let clip = clips::h264();
    let clip = clip.to_str().unwrap();
    let _publisher = publish(&cluster, "show", &["--clip", clip]);
    cluster.wait_on_air("live/show");
    let urls = [0, 1].map(|edge| {
        let url = cluster.play_url("live/show", EDGES[edge].3);
        url.replace(".flv", ".m3u8")
    });
    let urls = urls.each_ref().map(String::as_str);
    for (protocol, validate) in [("ll-hls", "full"), ("ll-hls", "tags"), ("hls", "full")] {
        let how = [
            "--viewers",
            "20",
            "--duration",
            "6s",
            "--protocol",
            protocol,
        ];
        let mut how = [&how[..], &["--validate", validate]].concat();
        if validate == "full" {
            how.extend(["--source", clip]);
        }
        let report = report(play(&[&how[..], &urls].concat()));
        println!("{report:#}");
        assert_eq!(report["joined"], 20);
        assert_eq!(report["errors"].as_object().unwrap().len(), 0);
        assert_eq!(report["edges"].as_object().unwrap().len(), 2);
        for nothing in ["wrong", "backwards", "dropped"] {
            assert_eq!(report["frames"][nothing], 0, "{nothing}");
        }
        let hls = &report["hls"];
        assert_eq!(hls["faults"].as_object().unwrap().len(), 0, "{hls:#}");
        assert_eq!(hls["gaps"], 0);
        assert!(hls["parts"].as_u64().unwrap() >= 20 * 3, "{hls:#}");
        let waited = hls["blocked"]["count"].as_u64().unwrap();
        assert_eq!(waited > 0, protocol == "ll-hls", "{hls:#}");
        assert!(report["latency"]["count"].as_u64().unwrap() > 0);
    }
}

fn sum(intervals: &Value, field: &str) -> u64 {
    let all = intervals.as_array().unwrap().iter();
    all.map(|interval| interval[field].as_u64().unwrap()).sum()
}

#[test]
fn stamps_change_nothing_that_the_source_is_compared_with() {
    let cluster = Cluster::start(1);
    let clip = clips::h264();
    let clip = clip.to_str().unwrap();
    for (name, stamps) in [("stamped", &[][..]), ("plain", &["--no-stamp"])] {
        let _publisher = publish(&cluster, name, &[&["--clip", clip], stamps].concat());
        let stream = format!("live/{name}");
        cluster.wait_on_air(&stream);
        let url = cluster.play_url(&stream, EDGES[0].3);
        let report = report(play(&[&url, "--duration", "4s", "--source", clip]));
        println!("{report:#}");
        assert_eq!(report["joined"], 1);
        assert_eq!(report["frames"]["wrong"], 0);
        assert_eq!(report["frames"]["dropped"], 0);
        let measured = report["latency"]["count"].as_u64().unwrap() > 0;
        assert_eq!(measured, stamps.is_empty(), "{name}");
    }
}

#[test]
fn a_publisher_ends_by_itself_and_says_what_it_sent() {
    let cluster = Cluster::start(1);
    let how = ["--synthetic", "500k", "--duration", "2s", "--json"];
    let sent = report(publisher(&cluster, "short", &how));
    println!("{sent:#}");
    assert_eq!(sent["streams"], 1);
    // 2 s at 25 pictures and 46.9 packets of sound.
    assert_eq!(sent["frames"], 50 + 94);
    assert_eq!(sent["lateness"]["count"], sent["frames"]);
    assert_eq!(sent["errors"].as_object().unwrap().len(), 0);
    let bad = format!("rtmp://127.0.0.1:{}/live/no?token=no", cluster.rtmp);
    let run = weir()
        .args(["load", "publish", &bad, "--synthetic", "1M"])
        .output()
        .unwrap();
    assert!(!run.status.success());
}

#[test]
fn viewers_that_fail_are_counted_by_why() {
    let cluster = Cluster::start(1);
    let nothing = cluster.play_url("live/nothing", EDGES[0].3);
    let nobody = format!("http://127.0.0.1:{}/x.flv", crate::harness::port());
    let report = report(play(&[
        &nothing,
        &nobody,
        "--viewers",
        "4",
        "--duration",
        "5s",
    ]));
    println!("{report:#}");
    assert_eq!(report["joined"], 0);
    assert_eq!(report["errors"]["status 404"], 2);
    assert_eq!(report["errors"]["cannot connect: connection refused"], 2);
}

#[test]
fn a_run_that_is_interrupted_still_reports_and_knows_who_stands_still() {
    let cluster = Cluster::start(1);
    let publisher = publish(&cluster, "show", &["--synthetic", "500k"]);
    cluster.wait_on_air("live/show");
    let mut play = play(&[
        &cluster.play_url("live/show", EDGES[0].3),
        "--duration",
        "5m",
    ]);
    let watching = play.stdout(Stdio::piped()).spawn().unwrap();
    let edge = cluster.node(EDGES[0].0);
    crate::harness::eventually("somebody watches", || {
        edge.metric("weir_edge_viewers", "") > 0.0
    });
    let sent = || edge.metric("weir_edge_egress_bytes_total", "");
    crate::harness::eventually("it plays", || sent() > 200_000.0);
    signal(&publisher.0, "STOP");
    let (mut before, mut since) = (sent(), Instant::now());
    crate::harness::eventually("its player has run dry", || {
        if sent() > before {
            (before, since) = (sent(), Instant::now());
        }
        since.elapsed() > Duration::from_secs(3)
    });
    signal(&watching, "INT");
    let run = watching.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["viewers"], 1, "{report:#}");
    assert_eq!(report["stalls"]["count"], 1, "{report:#}");
    assert!(
        report["stalls"]["longest_s"].as_f64() > Some(1.0),
        "{report:#}"
    );
}

#[test]
fn who_was_listed_comes_and_asks_again_when_its_edge_dies() {
    let mut cluster = Cluster::start(2);
    let made_up = ["--synthetic", "200k", "--gop", "1s"];
    let _publisher = publish(&cluster, "show", &made_up);
    cluster.wait_on_air("live/show");
    let url = cluster.play_url("live/show", EDGES[0].3);
    let urls = [
        url.clone(),
        format!("{url}&weir=1"),
        url.replace(".flv", ".m3u8"),
    ];
    let mut visits = "at_s,stay_s,url\n".to_owned();
    for nth in 0..12 {
        visits += &format!("{},15,{}\n", f64::from(nth) / 10.0, urls[nth as usize % 3]);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("visits.csv");
    std::fs::write(&file, visits).unwrap();
    let listed = ["--visits", file.to_str().unwrap(), "--reconnect"];
    let mut play = play(&listed);
    let watching = play.stdout(Stdio::piped()).spawn().unwrap();
    let edge = |name: &str, cluster: &Cluster| cluster.node(name).metric("weir_edge_viewers", "");
    within(Duration::from_secs(10), "all watch", || {
        edge(EDGES[0].0, &cluster) == 12.0
    });
    std::thread::sleep(Duration::from_secs(1));
    cluster.kill(EDGES[0].0);
    within(Duration::from_secs(10), "all watch elsewhere", || {
        edge(EDGES[1].0, &cluster) == 12.0
    });
    let report = watching.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    println!("{report:#}");
    assert_eq!(
        (&report["viewers"], &report["joined"]),
        (&12.into(), &12.into())
    );
    assert_eq!(report["errors"].as_object().unwrap().len(), 0);
    assert_eq!(report["breaks"]["count"], 12);
    assert_eq!(report["breaks"]["again"]["count"], 12);
}
