//! What operators and scripts see: redirects, explanations, commands, metrics, health.

use crate::harness::{Cluster, EDGES, clips, eventually, ffmpeg, get, request, weir, weir_says};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

#[test]
fn redirects_and_resolve_answer_as_players_need() {
    let cluster = Cluster::start(3);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let answer = get(
        &cluster.scheduler,
        &format!("/live/show.flv?ip={}", EDGES[2].3),
    );
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(
        answer.header("access-control-allow-origin").as_deref(),
        Some("*")
    );
    let location = answer.header("location").unwrap();
    assert!(
        location.contains(&cluster.node("virginia").public) && location.contains("token="),
        "{location}"
    );
    assert_eq!(get(&cluster.scheduler, "/live/nothing.flv").status, 404);
    assert_eq!(
        request(
            &cluster.scheduler,
            "OPTIONS",
            "/live/show.flv",
            "Origin: http://page.example\r\n"
        )
        .status,
        204
    );
    // A forwarded address is believed from a configured proxy only, and none is.
    let forwarded = request(
        &cluster.scheduler,
        "GET",
        "/live/show.flv",
        &format!("X-Forwarded-For: {}\r\n", EDGES[0].3),
    );
    assert!(
        !forwarded
            .header("location")
            .unwrap()
            .contains(&cluster.node("shanghai").public)
    );
    resolve_names_the_edge_and_its_fallbacks(&cluster);
    explain_names_every_edge(&cluster);
}

fn resolve_names_the_edge_and_its_fallbacks(cluster: &Cluster) {
    let resolve = get(
        &cluster.scheduler,
        &format!("/api/v1/resolve?stream=live/show&ip={}", EDGES[0].3),
    );
    let json: serde_json::Value = serde_json::from_slice(&resolve.body).unwrap();
    assert!(
        json["url"]
            .as_str()
            .unwrap()
            .contains(&cluster.node("shanghai").public),
        "{json}"
    );
    assert_eq!(json["fallbacks"].as_array().unwrap().len(), 2, "{json}");
}

fn explain_names_every_edge(cluster: &Cluster) {
    let admin = format!("http://{}", cluster.scheduler_admin);
    let text = weir_says(&[
        "explain",
        "live/show",
        "--from",
        EDGES[1].3,
        "--admin",
        &admin,
    ]);
    for (name, ..) in EDGES {
        assert!(text.contains(name), "{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&weir_says(&[
        "explain",
        "live/show",
        "--from",
        EDGES[1].3,
        "--admin",
        &admin,
        "--json",
    ]))
    .unwrap();
    assert_eq!(json["candidates"].as_array().unwrap().len(), 3, "{json}");
    assert_eq!(json["candidates"][0]["edge"], "frankfurt", "{json}");
    assert!(json["candidates"][1]["lost"].is_string(), "{json}");
}

#[test]
fn a_full_edge_sends_viewers_on_with_all_that_they_asked_for() {
    let cluster = Cluster::with(2, "[edge.capacity]\nviewers = 1\n");
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let wish = "hevc=legacy&weir=1&resume=1.2.3";
    let path = format!("/live/show.flv?ip={}&{wish}", EDGES[0].3);
    let sent = get(&cluster.scheduler, &path).header("location").unwrap();
    let (first, second) = (
        &cluster.node(EDGES[0].0).public,
        &cluster.node(EDGES[1].0).public,
    );
    let path = sent
        .strip_prefix(&format!("http://{first}"))
        .expect("the nearest edge");
    assert!(path.ends_with(wish), "{sent}");

    let playlist = format!("/live/show.m3u8?ip={}", EDGES[0].3);
    let playlist = get(&cluster.scheduler, &playlist).body;
    let playlist = String::from_utf8(playlist).unwrap();
    let here = format!("http://{first}");
    let media = playlist.lines().find_map(|line| line.strip_prefix(&here));
    let media = media.expect("HLS is at the nearest edge, too").to_owned();

    let _watching = watch(first, path);
    let mut location = String::new();
    eventually("the first edge knows of the second", || {
        let answer = get(first, path);
        location = answer.header("location").unwrap_or_default();
        let any = answer.header("access-control-allow-origin");
        assert!([302, 503].contains(&answer.status) && any.as_deref() == Some("*"));
        answer.status == 302
    });
    assert_eq!(location, format!("http://{second}{path}"));
    let session = get(first, &media).header("location");
    assert_eq!(session, Some(format!("http://{second}{media}")));
    let _watching = watch(second, path);
}

/// A plain viewer, once it has its first bytes: its stream ends with the connection.
fn watch(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut bytes = vec![0; 4096];
    stream.read_exact(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && body.starts_with("FLV\u{1}"),
        "{head}"
    );
    assert!(
        head.contains("connection: close") && !head.contains("-encoding"),
        "{head}"
    );
    stream
}

#[test]
fn commands_act_on_the_cluster() {
    let cluster = Cluster::start(1);
    let mut publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let admin = format!("http://{}", cluster.scheduler_admin);
    let nodes = weir_says(&["nodes", "--admin", &admin]);
    assert!(
        nodes.contains("origin") && nodes.contains("shanghai") && nodes.contains("up"),
        "{nodes}"
    );
    assert!(weir_says(&["streams", "--admin", &admin]).contains("live/show"));
    weir_says(&["kick", "live/show", "--admin", &admin]);
    eventually("the publisher was closed", || {
        publisher.0.try_wait().unwrap().is_some()
    });
    let unknown = weir()
        .args(["drain", "nobody", "--admin", &admin])
        .output()
        .unwrap();
    assert!(
        !unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("nobody")
    );
    let nowhere = weir()
        .args(["nodes", "--admin", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert!(
        !nowhere.status.success()
            && String::from_utf8_lossy(&nowhere.stderr).contains("127.0.0.1:1")
    );
}

#[test]
fn every_role_serves_clean_metrics_and_its_health() {
    let cluster = Cluster::start(1);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    ffmpeg::hashes(&cluster.play_url("live/show", EDGES[0].3), Some(1), true);
    for name in ["origin", "scheduler", EDGES[0].0] {
        let admin = &cluster.node(name).admin;
        assert_eq!(get(admin, "/livez").status, 200);
        assert_eq!(get(admin, "/readyz").status, 200);
        let metrics = get(admin, "/metrics").body;
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is installed (`make setup`)");
        promtool.stdin.take().unwrap().write_all(&metrics).unwrap();
        let said = promtool.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned()
            + &String::from_utf8_lossy(&said.stdout);
        assert!(
            said.status.success() && text.trim().is_empty(),
            "{name}: {text}"
        );
    }
}

#[test]
fn an_admin_listener_off_loopback_needs_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weir.toml");
    std::fs::write(
        &file,
        "[cluster]\nsecret = \"0123456789abcdef0123\"\n[admin]\nlisten = \"0.0.0.0:0\"\n",
    )
    .unwrap();
    for role in ["origin", "edge", "scheduler"] {
        let run = weir().args([role, "--config"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(
            !run.status.success() && said.contains("token"),
            "{role}: {said}"
        );
    }
}

#[test]
fn a_misspelt_configuration_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, "[edge]\nlisen = \"[::]:8080\"\n").unwrap();
    let run = weir()
        .args(["config", "check"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        !run.status.success() && said.contains("did you mean `listen`"),
        "{said}"
    );
}
