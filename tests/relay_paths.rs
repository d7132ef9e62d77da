//! The ways of streams between nodes: one copy into each zone through its hub, and what viewers notice when that dies.

use crate::harness::{
    Cluster, clips, detour, eventually,
    ffmpeg::{self, Running},
    signal, token, within,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Name, place and configuration of edges in two regions: a zone is the nearest hub's.
const EDGES: [(&str, (f64, f64), &str); 6] = [
    ("eu-hub", (50.1, 8.7), "hub = true"),
    ("eu-2", (48.9, 2.4), ""),
    ("eu-3", (52.4, 4.9), ""),
    ("as-hub", (31.2, 121.5), "hub = true"),
    ("as-2", (39.9, 116.4), ""),
    ("as-3", (22.5, 114.1), ""),
];

/// The clip's groups.
const GROUP_MS: i64 = 1_000;

struct Viewer {
    process: Option<Running>,
    file: tempfile::NamedTempFile,
}

impl Viewer {
    fn join(cluster: &Cluster, edge: &str, token: &str) -> Self {
        let file = tempfile::Builder::new().suffix(".flv").tempfile().unwrap();
        let public = &cluster.node(edge).public;
        let url = format!("http://{public}/live/show.flv?token={token}");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-y", "-i", &url]);
        ffmpeg.args(["-c", "copy", "-flush_packets", "1", "-f", "flv"]);
        let process = ffmpeg.arg(file.path()).stdin(Stdio::null()).spawn();
        Self {
            process: Some(Running(process.unwrap())),
            file,
        }
    }

    fn received(&self) -> u64 {
        self.file.as_file().metadata().unwrap().len()
    }

    /// Waits until a few more seconds of the clip have come.
    fn goes_on(&self, what: &str) {
        let now = self.received();
        eventually(what, || self.received() > now + 150_000);
    }

    fn is_connected(&mut self) -> bool {
        let process = self.process.as_mut().unwrap();
        process.0.try_wait().unwrap().is_none()
    }

    /// The longest time between two pictures that follow each other, in milliseconds.
    fn longest_gap_ms(mut self) -> i64 {
        drop(self.process.take());
        let all = ffmpeg::hashes(self.file.path().to_str().unwrap(), None, true);
        let times = all.iter().filter(|it| it.stream == 0).map(|it| it.dts);
        let times: Vec<i64> = times.collect();
        assert!(times.len() > 50, "{} pictures", times.len());
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap()
    }
}

/// Joins a stream at an edge, and says how long its first picture took: the clip's first key frame
/// is many times larger than what comes before it.
fn first_picture(cluster: &Cluster, edge: &str, token: &str) -> Duration {
    let began = Instant::now();
    let public = &cluster.node(edge).public;
    let mut stream = TcpStream::connect(public).unwrap();
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).unwrap();
    let path = format!("/live/show.flv?token={token}");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {public}\r\n\r\n").unwrap();
    let mut bytes = [0; 5_000];
    stream.read_exact(&mut bytes).unwrap();
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    began.elapsed()
}

#[test]
fn who_joins_through_a_parent_that_just_died_gets_the_picture_from_another() {
    let mut cluster = Cluster::start(0);
    for (name, place, extra) in EDGES {
        cluster.add_edge(name, place, extra);
    }
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let token = token("play", "live/show");
    let join = |cluster: &Cluster, what: &str, edge: &str, hub: &str| {
        let up = (hub.to_owned(), "up".to_owned());
        assert!(
            cluster.nodes_seen().contains(&up),
            "it is the parent by the plan"
        );
        let took = first_picture(cluster, edge, &token);
        println!("{what}: {} ms to the first picture", took.as_millis());
        // To dial a dead one alone lasts five seconds.
        assert!(took < Duration::from_secs(4), "{what}: {took:?}");
    };
    join(&cluster, "through its hub", "eu-2", "eu-hub");
    let hub = cluster.node("eu-hub");
    eventually(
        "edges have the plan, by which it comes through a hub",
        || hub.metric("weir_edge_upstream_streams", "") > 0.0,
    );
    signal(&cluster.node("as-hub").process, "STOP");
    join(&cluster, "its hub was stopped", "as-2", "as-hub");
    cluster.kill("eu-hub");
    join(&cluster, "its hub was killed", "eu-3", "eu-hub");
}

/// How many times the stream leaves the origin, over some seconds.
fn copies(cluster: &Cluster) -> f64 {
    let origin = cluster.node("origin");
    let read = || {
        let count = |name| origin.metric(name, "");
        (
            count("weir_origin_relay_sent_bytes_total"),
            count("weir_origin_rtmp_received_bytes_total"),
        )
    };
    let (sent, taken) = read();
    let began = Instant::now();
    eventually("some of the stream was taken in", || {
        read().1 > taken + 200_000.0
    });
    assert!(began.elapsed() < Duration::from_secs(20));
    let (sent_later, taken_later) = read();
    (sent_later - sent) / (taken_later - taken)
}

#[test]
fn a_hub_takes_one_copy_for_its_zone_and_its_death_costs_at_most_one_group() {
    let mut cluster = Cluster::start(0);
    for (name, place, extra) in EDGES {
        cluster.add_edge(name, place, extra);
    }
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let token = token("play", "live/show");
    let join = |(name, ..): &(&'static str, _, _)| (*name, Viewer::join(&cluster, name, &token));
    let mut viewers: Vec<_> = EDGES.iter().map(join).collect();
    for (name, viewer) in &viewers {
        viewer.goes_on(&format!("the viewer at {name} has joined"));
    }
    // Two copies, with what packets and acknowledgements weigh.
    let copies = copies(&cluster);
    assert!(
        (1.9..2.6).contains(&copies),
        "{copies} copies leave the origin"
    );

    cluster.kill("eu-hub");
    viewers.remove(0);
    for (name, viewer) in &viewers {
        viewer.goes_on(&format!("the picture at {name} goes on without the hub"));
    }
    for (name, mut viewer) in viewers {
        assert!(
            viewer.is_connected(),
            "the viewer at {name} lost its connection"
        );
        let gap = viewer.longest_gap_ms();
        println!("{name}: at most {gap} ms between two pictures");
        assert!(gap <= GROUP_MS + 40, "a gap of {gap} ms at {name}");
    }
}

/// Edges in a row, 500 km from one to the next.
const ROW: [(&str, (f64, f64)); 4] = [
    ("a", (50.0, 0.0)),
    ("b", (50.0, 7.0)),
    ("c", (50.0, 14.0)),
    ("d", (50.0, 21.0)),
];

/// How far the origin is from all of them, one way.
const FAR: Duration = Duration::from_millis(60);

#[test]
#[ignore = "takes a minute; run by `make soak`"]
fn soak_edges_serve_edges_of_a_far_origin_and_play_on_when_such_a_parent_dies() {
    let mut cluster = Cluster::start(0);
    let relay = cluster.node("origin").ports["relay"];
    let way = detour::long(&format!("127.0.0.1:{relay}"), FAR);
    let (near, far) = (
        format!("relay_public = \"127.0.0.1:{relay}\""),
        format!("relay_public = \"127.0.0.1:{}\"", way.port),
    );
    cluster.reconfigure("origin", |text| text.replace(&near, &far));
    for (name, place) in ROW {
        cluster.add_edge(name, place, "");
    }
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let token = token("play", "live/show");
    let mut viewers = ROW.map(|(name, _)| (name, Viewer::join(&cluster, name, &token)));
    for (name, viewer) in &viewers {
        viewer.goes_on(&format!("the viewer at {name} has joined"));
    }
    let of = |name: &str, sent: &str| cluster.node(name).metric(sent, "");
    let relayed = |name| of(name, "weir_edge_relayed_bytes_total");
    let all = || ROW.map(|(name, _)| (name, relayed(name)));
    let mut parents = Vec::new();
    within(
        Duration::from_secs(60),
        "one copy leaves the origin",
        || {
            let before = all();
            let copies = copies(&cluster);
            let sent = all().into_iter().zip(before);
            let sent = sent.map(|((name, after), (_, before))| (name, after - before));
            parents = sent.filter(|(_, bytes)| *bytes > 100_000.0).collect();
            println!("{copies:.2} copies leave the origin, and these bytes edges: {parents:?}");
            copies < 1.5 && parents.len() > 1
        },
    );
    // The origin serves one of two parents, and this one the other: a way of three hops.
    let (middle, _) = parents.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let middle = *middle;
    cluster.kill(middle);
    for (name, viewer) in viewers.iter().filter(|(name, _)| *name != middle) {
        viewer.goes_on(&format!("the picture at {name} goes on without {middle}"));
    }
    for (name, viewer) in &mut viewers {
        assert!(
            *name == middle || viewer.is_connected(),
            "{name} lost its viewer"
        );
    }
    for (name, viewer) in viewers.into_iter().filter(|(name, _)| *name != middle) {
        let gap = viewer.longest_gap_ms();
        println!("{name}: at most {gap} ms between two pictures, {middle} dead");
        assert!(gap <= GROUP_MS + 40, "a gap of {gap} ms at {name}");
    }
}
