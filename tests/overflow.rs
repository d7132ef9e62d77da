//! What is too much for our edges goes to somebody else's, and comes home again.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::harness::{Cluster, EDGES, clips, eventually, ffmpeg, get, within};

const STREAM: &str = "live/show";
const KEY: &str = "aliyuncdnexp1234";
const USD_PER_GB: f64 = 0.05;

/// Whether Aliyun's type A would let the address in, by `md5sum` and what its page says.
fn accepted(url: &str) -> bool {
    let (path, auth) = url
        .strip_prefix("https://cdn.example.com")
        .and_then(|rest| rest.split_once("?auth_key="))
        .unwrap();
    let (stamp, hash) = auth.rsplit_once('-').unwrap();
    let mut md5sum = Command::new("md5sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    write!(md5sum.stdin.take().unwrap(), "{path}-{stamp}-{KEY}").unwrap();
    let said = md5sum.wait_with_output().unwrap().stdout;
    String::from_utf8(said).unwrap().starts_with(hash)
}

/// A viewer that plays, as far as the edge can tell; None while the stream is not on air there.
fn watch(location: &str) -> Option<TcpStream> {
    let rest = location.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    (&start == b"HTTP/1.1 200").then_some(stream)
}

/// A cluster of one edge for three viewers, and a cloud for the others.
fn with_cloud() -> Cluster {
    let mut cluster = Cluster::with(1, "capacity = { viewers = 3 }");
    let pathway = format!(
        "[[pathway]]\nid = \"cloud\"\nurl = \"https://cdn.example.com/{{app}}/{{stream}}.flv\"\n\
         hls = \"https://cdn.example.com/{{app}}/{{stream}}.m3u8\"\neverywhere = true\n\
         egress_mbps = 1000\nsign = {{ scheme = \"aliyun-a\", key = \"{KEY}\", ttl = \"5m\" }}\n\
         [[price]]\nnode = \"cloud\"\nmodel = \"volume\"\nusd_per_gb = {USD_PER_GB:?}\n\
         [time]\nscale = 288\nhistory_step = \"5m\"\n"
    );
    cluster.reconfigure("scheduler", |text| text + &pathway);
    cluster
}

/// Where viewers are sent, each another one: a known one would stay where it was.
struct Crowd {
    scheduler: String,
    asked: u32,
}

impl Crowd {
    fn next(&mut self, file: &str) -> String {
        self.asked += 1;
        let (address, nth) = (EDGES[0].3, self.asked);
        let path = format!("/{file}?ip={address}&session=viewer{nth}");
        let answer = get(&self.scheduler, &path);
        answer.header("location").unwrap_or_default()
    }
}

/// What operators see of the cloud, its bill, and how many edges there should be.
fn check_admin(admin: &str) {
    let json = |path: &str| -> Value { serde_json::from_slice(&get(admin, path).body).unwrap() };
    let sent = || {
        let nodes = json("/api/v1/nodes");
        let mut all = nodes.as_array().unwrap().iter();
        let cloud = all.find(|node| node["id"] == "cloud");
        cloud.and_then(|node| node["viewers"].as_u64())
    };
    eventually("those sent to the cloud are told of", || sent() >= Some(1));
    let bill = || {
        let plan = json("/api/v1/plan");
        let edges = plan["edges"].as_array().cloned().unwrap_or_default();
        edges.into_iter().find(|edge| edge["id"] == "cloud")
    };
    let mut told = Value::Null;
    eventually("what was sent there costs something", || {
        told = bill().unwrap_or_default();
        told["usd_so_far"].as_f64() > Some(0.0)
    });
    assert_eq!(told["model"], "volume", "{told}");
    // 1 Mbit/s for 30 days is 324 GB.
    assert_eq!(told["usd_per_mbps"], 324.0 * USD_PER_GB, "{told}");
    assert!(
        told["usd_expected"].as_f64() >= told["usd_so_far"].as_f64(),
        "{told}"
    );
    eventually("an edge for them is asked for", || {
        let scale = json("/api/v1/scale");
        scale["zones"][EDGES[0].0]["desired"].as_u64() >= Some(1)
    });
}

#[test]
fn viewers_overflow_to_a_pathway_and_come_home() {
    let cluster = with_cloud();
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    let mut crowd = Crowd {
        scheduler: cluster.scheduler.clone(),
        asked: 0,
    };
    let (flv, hls) = (format!("{STREAM}.flv"), format!("{STREAM}.m3u8"));
    let (home, cloud) = ("http://127.0.0.1:", "https://cdn.example.com/live/show.");
    let patience = Duration::from_secs(8);
    within(
        patience * 3 / 2,
        "the edge is known, and goes first",
        || crowd.next(&flv).starts_with(home),
    );

    let mut viewers = Vec::new();
    let mut away = String::new();
    within(patience, "the edge is full, and the next go away", || {
        away = crowd.next(&flv);
        if away.starts_with(home) && viewers.len() < 3 {
            viewers.extend(watch(&away));
        }
        away.starts_with(cloud)
    });
    assert!(!viewers.is_empty(), "the edge was used first");
    assert!(away.contains("/show.flv?auth_key="), "{away}");
    assert!(accepted(&away), "{away}");
    assert!(!accepted(&away.replace("show", "shox")), "{away}");
    assert!(!away.contains("token="), "ours is nobody else's: {away}");
    within(patience, "an HLS player is sent there, too", || {
        let location = crowd.next(&hls);
        location.starts_with(&format!("{cloud}m3u8?")) && accepted(&location)
    });
    check_admin(&cluster.scheduler_admin);

    viewers.clear();
    within(patience, "new viewers get the edge again", || {
        crowd.next(&flv).starts_with(home)
    });
}
