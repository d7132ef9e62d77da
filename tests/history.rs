//! What the scheduler remembers of demand: exact by region, over restarts and crashes, and from a
//! real Prometheus server.

use crate::harness::{Cluster, EDGES, clips, eventually, ffmpeg, get, port, within};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

const STREAM: &str = "live/show";
/// Short steps, so that a test sees some; the same on every node.
const TIME: &str = "[time]\nhistory_step = \"2s\"\n";

/// A cluster with short steps whose scheduler has a file.
fn cluster(edges: usize, dir: &Path, capacity: &str) -> Cluster {
    let mut cluster = Cluster::with(edges, capacity);
    let file = dir.join("history.redb");
    set(
        &mut cluster,
        &format!("{TIME}[scheduler.history]\npath = {file:?}\n"),
    );
    cluster
}

/// Adds to the scheduler's file and restarts it.
fn set(cluster: &mut Cluster, text: &str) {
    assert!(cluster.terminate("scheduler").success());
    let path = &cluster.node("scheduler").config;
    let before = fs::read_to_string(path).unwrap();
    fs::write(path, before + text).unwrap();
    cluster.restart("scheduler");
}

/// The known values of a series in the last minutes, oldest first.
fn values(cluster: &Cluster, series: &str) -> Vec<f64> {
    let answer = get(
        &cluster.scheduler_admin,
        &format!("/api/v1/history?series={series}&from=-600"),
    );
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let values = json["values"].as_array().cloned().unwrap_or_default();
    values.iter().filter_map(Value::as_f64).collect()
}

fn series(cluster: &Cluster, prefix: &str) -> Vec<String> {
    let path = format!("/api/v1/history/series?prefix={prefix}");
    let json: Value = serde_json::from_slice(&get(&cluster.scheduler_admin, &path).body).unwrap();
    let all = json.as_array().unwrap().iter();
    all.map(|listed| listed["series"].as_str().unwrap().to_owned())
        .collect()
}

/// A connection that is closed when dropped, whoever else reads from it.
struct Viewer(TcpStream);

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A viewer of FLV at this address, through the redirect; gone when dropped.
fn watch(cluster: &Cluster, address: &str) -> Viewer {
    let location = cluster.redirect(STREAM, address).unwrap();
    let (host, path) = location
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    // What comes is taken, so that it counts as sent.
    let mut rest = stream.try_clone().unwrap();
    std::thread::spawn(move || std::io::copy(&mut rest, &mut std::io::sink()));
    Viewer(stream)
}

/// One session of HLS: asks for playlists once a second in a thread of its own, until dropped.
struct Session(#[allow(dead_code)] std::sync::mpsc::SyncSender<()>);

fn play(cluster: &Cluster, address: &str) -> Session {
    let playlist = get(&cluster.scheduler, &format!("/{STREAM}.m3u8?ip={address}"));
    let text = String::from_utf8(playlist.body).unwrap();
    let uri = text
        .lines()
        .find(|line| line.starts_with("http://"))
        .unwrap()
        .to_owned();
    let (stop, stopped) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let (host, path) = uri
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap();
        while stopped
            .recv_timeout(Duration::from_secs(1))
            .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            let playlist = get(host, &format!("/{path}"));
            let text = String::from_utf8_lossy(&playlist.body).into_owned();
            if let Some(segment) = text.lines().rfind(|line| line.ends_with(".m4s")) {
                let (folder, _) = path.split_once("/media.m3u8").unwrap();
                get(host, &format!("/{folder}/{segment}"));
            }
        }
    });
    Session(stop)
}

#[test]
fn history_has_the_demand_of_each_region_over_restarts_and_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = cluster(2, dir.path(), "");
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);
    let (shanghai, frankfurt) = (EDGES[0].3, EDGES[1].3);
    let flv: Vec<_> = [shanghai, shanghai, frankfurt]
        .map(|from| watch(&cluster, from))
        .into();
    let hls = [shanghai, frankfurt].map(|from| play(&cluster, from));
    for (id, expected) in [
        ("region/shanghai/demand", 3.0),
        ("region/frankfurt/demand", 2.0),
        ("region/frankfurt/viewers", 2.0),
        ("total/demand", 5.0),
        ("node/shanghai/viewers", 3.0),
        ("stream/live/show/viewers", 5.0),
    ] {
        eventually(&format!("{id} is {expected}"), || {
            values(&cluster, id).last() == Some(&expected)
        });
    }
    for id in ["region/shanghai/egress_bps", "node/frankfurt/egress_bps"] {
        eventually(&format!("{id} is counted"), || {
            values(&cluster, id)
                .last()
                .is_some_and(|bps| *bps > 10_000.0)
        });
    }
    // All five came within the steps that are kept: a rate times the steps' two seconds each.
    let joins: f64 = values(&cluster, "total/joins")
        .iter()
        .map(|rate| rate * 2.0)
        .sum();
    assert!((4.5..=5.5).contains(&joins), "{joins}");
    the_scheduler_exports_it(&cluster);

    cluster.kill("scheduler");
    cluster.restart("scheduler");
    let after = values(&cluster, "region/shanghai/demand");
    assert!(after.contains(&3.0), "{after:?}");
    eventually("it goes on after the crash", || {
        values(&cluster, "region/shanghai/demand").len() > after.len() + 2
    });
    drop((flv, hls));
    // An HLS session is over when it has been silent for 20 s.
    within(Duration::from_secs(45), "who went is no demand", || {
        values(&cluster, "region/frankfurt/demand").last() == Some(&0.0)
    });
    let left = values(&cluster, "total/leaves")
        .iter()
        .any(|rate| *rate > 0.0);
    assert!(left && values(&cluster, "region/shanghai/demand").contains(&3.0));
    assert!(series(&cluster, "region/").contains(&"region/frankfurt/joins".to_owned()));
    let unknown = get(
        &cluster.scheduler_admin,
        "/api/v1/history?series=region/none/demand",
    );
    assert_eq!(unknown.status, 404);
}

fn the_scheduler_exports_it(cluster: &Cluster) {
    let node = cluster.node("scheduler");
    let demand = |region: &str| node.metric("weir_region_demand_viewers", region);
    assert_eq!(
        (demand("\"shanghai\""), demand("\"frankfurt\"")),
        (3.0, 2.0)
    );
    assert!(node.metric("weir_region_joins_total", "") >= 1.0);
    assert!(node.metric("weir_scheduler_history_file_bytes", "") > 0.0);
    assert!(node.metric("weir_scheduler_history_series", "") > 10.0);
}

#[test]
fn viewers_who_find_no_room_are_demand() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(1, dir.path(), "[edge.capacity]\nviewers = 1\n");
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);
    let _watching = watch(&cluster, EDGES[0].3);
    eventually("the only edge is full", || {
        cluster.redirect(STREAM, "203.0.113.50").is_none()
    });
    // Each asks again and again, as players do.
    for _ in 0..3 {
        for viewer in 50..54 {
            assert!(
                cluster
                    .redirect(STREAM, &format!("203.0.113.{viewer}"))
                    .is_none()
            );
        }
    }
    eventually("those outside are demand, each once", || {
        values(&cluster, "region/shanghai/demand").contains(&5.0)
    });
    assert_eq!(
        values(&cluster, "region/shanghai/viewers").last(),
        Some(&1.0)
    );
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's Prometheus, which scrapes the scheduler each second.
fn prometheus(dir: &Path, scheduler: &str) -> (Server, String) {
    let address = format!("127.0.0.1:{}", port());
    let config = dir.join("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs:\n  - job_name: weir\n    static_configs: [{{ targets: [\"{scheduler}\"] }}]\n"
    );
    fs::write(&config, text).unwrap();
    let process = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus is installed (`make setup`)");
    let server = Server(process);
    eventually("prometheus is ready", || {
        get(&address, "/-/ready").status == 200
    });
    (server, address)
}

#[test]
fn a_prometheus_server_fills_an_empty_history() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = cluster(1, dir.path(), "");
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);
    let (_server, address) = prometheus(dir.path(), &cluster.scheduler_admin);
    let watching = [EDGES[0].3, EDGES[0].3].map(|from| watch(&cluster, from));
    let query = "/api/v1/query?query=count_over_time(weir_region_demand_viewers%7Bregion%3D%22shanghai%22%7D%5B1m%5D)";
    within(
        Duration::from_secs(40),
        "prometheus has scraped for a while",
        || {
            let json: Value =
                serde_json::from_slice(&get(&address, query).body).unwrap_or_default();
            let count = json["data"]["result"][0]["value"][1]
                .as_str()
                .and_then(|it| it.parse().ok());
            count.unwrap_or(0) >= 12
        },
    );
    drop(watching);
    assert!(cluster.terminate("scheduler").success());
    fs::remove_file(dir.path().join("history.redb")).unwrap();
    let path = &cluster.node("scheduler").config;
    let text = format!("[scheduler.history.prometheus]\nurl = \"http://{address}\"\n");
    fs::write(path, fs::read_to_string(path).unwrap() + &text).unwrap();
    cluster.restart("scheduler");
    eventually("the past is there", || {
        let past = values(&cluster, "region/shanghai/demand");
        past.iter().filter(|viewers| **viewers == 2.0).count() >= 3
    });
    let series = series(&cluster, "");
    for id in [
        "total/demand",
        "region/shanghai/egress_bps",
        "region/shanghai/joins",
        "node/origin/cpu",
    ] {
        assert!(series.contains(&id.to_owned()), "{id} of {series:?}");
    }
}
