//! The console and its player in a real browser, and the transports that browsers use.

use crate::harness::{
    Cluster, EDGES, Share, clips, eventually,
    ffmpeg::{self, Running},
    get, port, token,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{ChildStdout, Command, Stdio},
};

/// The test clip's pictures are numbered up to this, then begin again.
const PICTURES: i64 = 500;

#[test]
fn the_console_shows_three_edges_and_plays_from_the_nearest() {
    let demo = Demo::start(&[]);
    let mut script = script("console.mjs");
    script.args([&demo.console, "Frankfurt", "edge-frankfurt"]);
    script.args(["Virginia", "edge-virginia"]);
    if let Ok(picture) = std::env::var("WEIR_SCREENSHOT") {
        script.arg(picture);
    }
    let saw = saw(spawn(script));
    assert_eq!(saw["edges"].as_array().unwrap().len(), 3, "{saw}");
    assert_eq!(saw["served"], "edge-frankfurt", "{saw}");
    assert_eq!(saw["explained"], "Frankfurt", "{saw}");
    assert_eq!(saw["errors"].as_array().unwrap().len(), 0, "{saw}");
    let numbers: Vec<_> = saw["numbers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|n| n.as_i64())
        .collect();
    assert!(numbers.len() >= 5, "the picture stood still: {saw}");
    for pair in numbers.windows(2) {
        let step = (pair[1] - pair[0]).rem_euclid(PICTURES);
        assert!(
            (1..PICTURES / 2).contains(&step),
            "the picture's number went back: {numbers:?}"
        );
    }
    can_be_read(saw["labels"].as_array().unwrap());
}

/// Three edges, the origin and the viewer are named on the map, and no name covers another.
fn can_be_read(labels: &[Value]) {
    assert_eq!(labels.len(), 5, "{labels:?}");
    let side = |label: &Value, name: &str| label[name].as_f64().unwrap();
    for (i, a) in labels.iter().enumerate() {
        for b in &labels[i + 1..] {
            let apart = side(a, "right") <= side(b, "left")
                || side(b, "right") <= side(a, "left")
                || side(a, "bottom") <= side(b, "top")
                || side(b, "bottom") <= side(a, "top");
            assert!(apart, "labels overlap: {a} {b}");
        }
    }
}

#[test]
fn the_console_asks_for_its_token_off_loopback_and_keeps_it() {
    let demo = Demo::start(&["--host", "127.0.0.1"]);
    let (page, token) = demo.console.split_once("#token=").unwrap();
    let mut script = script("token.mjs");
    script.args([page, token]);
    let saw = saw(spawn(script));
    assert_ne!(saw["missing"], saw["wrong"], "{saw}");
    assert_eq!(saw["kept"]["fragment"], format!("#token={token}"), "{saw}");
    assert_eq!(saw["kept"]["session"], serde_json::json!([token]), "{saw}");
}

#[test]
fn the_page_passes_its_own_tests() {
    let _share = Share::some();
    let mut npm = Command::new("npm");
    npm.args(["test", "--silent"])
        .current_dir(root().join("web"));
    let run = npm.stdin(Stdio::null()).output().expect("npm is installed");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
}

#[test]
fn the_same_player_goes_on_from_another_edge_when_its_edge_is_killed() {
    let mut cluster = Cluster::start(2);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    // The cluster places loopback near the second edge.
    let (other, name) = (EDGES[0].0, EDGES[1].0);
    let mut script = script("failover.mjs");
    let console = format!("http://{}/", cluster.scheduler_admin);
    script.args([&console, name, other]);
    if let Ok(picture) = std::env::var("WEIR_SCREENSHOT_RESUMED") {
        script.arg(picture);
    }
    let mut script = spawn(script);
    let mut lines = BufReader::new(script.0.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "playing\n", "the page never played");
    cluster.kill(name);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(script.wait(), "the page did not go on");
    let saw: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!(saw["served"], other, "{saw}");
    assert_eq!(saw["players"], 1, "a new player was made: {saw}");
    assert_eq!(saw["shown"]["Resumed"], "1 time", "{saw}");
    assert_eq!(saw["back"], 0, "the picture stepped back: {saw}");
    let ms = |name: &str| saw[name].as_u64().unwrap();
    assert!(ms("still_ms") <= ms("buffered_ms"), "a visible cut: {saw}");
}

#[test]
fn an_edge_serves_http2_and_websocket() {
    const ENOUGH: u64 = 100_000;
    let cluster = Cluster::start(1);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let (edge, token) = (&cluster.node(EDGES[0].0).public, token("play", "live/show"));
    let mut script = script("transports.mjs");
    script.arg(format!("http://{edge}/live/show.flv?token={token}"));
    script.arg(format!("http://{}/", cluster.scheduler_admin));
    script.arg(ENOUGH.to_string());
    let saw = saw(spawn(script));
    assert_eq!(saw["http2"]["status"], 200, "{saw}");
    assert_eq!(saw["http2"]["protocol"], "h2c", "{saw}");
    assert_eq!(saw["http2"]["type"], "video/x-flv", "{saw}");
    assert_eq!(saw["websocket"]["text"], 0, "{saw}");
    // Signature, version 1, audio and video, nine bytes of header; no tag before the first.
    let header = serde_json::json!([0x46, 0x4c, 0x56, 1, 5, 0, 0, 0, 9, 0, 0, 0, 0]);
    for transport in ["http2", "websocket"] {
        assert_eq!(saw[transport]["header"], header, "{saw}");
        assert!(saw[transport]["bytes"].as_u64() >= Some(ENOUGH), "{saw}");
    }
}

/// `weir demo` with ports of its own.
struct Demo {
    _process: Running,
    /// The rest of what it says has a reader as long as it runs.
    _greeting: BufReader<ChildStdout>,
    /// What it says to look at.
    console: String,
    _share: Share,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let share = Share::some();
        let root = root();
        assert!(
            root.join("web/dist/index.html").exists(),
            "the console is not built: `make setup`"
        );
        let (base, rtmp) = (five_ports().to_string(), port().to_string());
        let mut demo = Command::new(env!("CARGO_BIN_EXE_weir"));
        demo.args(["demo", "--port-base", &base, "--rtmp-port", &rtmp])
            .args(arguments)
            .current_dir(root);
        let mut process = spawn(demo);
        let mut greeting = BufReader::new(process.0.stdout.take().unwrap());
        let look = greeting
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| Some(line.trim().strip_prefix("Look")?.trim().to_string()));
        let console = look.expect("the demo says where to look");
        let address = console.split('/').nth(2).unwrap().to_string();
        eventually("the console answers", || get(&address, "/").status == 200);
        Self {
            _process: process,
            _greeting: greeting,
            console,
            _share: share,
        }
    }
}

/// The first of five ports in a row, which the demo takes; other tests ask for ports meanwhile.
fn five_ports() -> u16 {
    let mut row = vec![port()];
    while row.len() < 5 {
        let next = port();
        if row.last() != Some(&(next - 1)) {
            row.clear();
        }
        row.push(next);
    }
    row[0]
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn script(name: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(root().join("web/e2e").join(name));
    node
}

fn spawn(mut command: Command) -> Running {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Running(command.spawn().expect("the program is installed"))
}

/// What a script says it saw.
fn saw(mut script: Running) -> Value {
    let mut text = String::new();
    let read = script.0.stdout.take().unwrap().read_to_string(&mut text);
    assert!(read.is_ok() && script.wait(), "the script failed: {text}");
    serde_json::from_str(&text).unwrap()
}
