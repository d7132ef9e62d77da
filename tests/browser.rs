//! The console and its player in a real browser, and the transports that browsers use.

use crate::harness::{
    Cluster, EDGES, Share, clips, eventually,
    ffmpeg::{self, Running},
    get,
    page::{Page, root, saw, script, spawn},
    port, token, weir, weir_says,
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
    let saw = saw(spawn(&mut script));
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
    let saw = saw(spawn(&mut script));
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
    let mut script = spawn(&mut script);
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
fn the_same_player_leaves_a_drained_edge_before_its_connection_ends() {
    let cluster = Cluster::start(2);
    let _publisher = publish_stamped(&cluster, "live/show", &clips::numbered(640));
    cluster.wait_on_air("live/show");
    let mut page = Page::open(&cluster);
    page.ask("play live/show flv");
    let first = page.ask("watch 2")["edge"].as_str().unwrap().to_string();
    page.ask("begin");
    let admin = format!("http://{}", cluster.scheduler_admin);
    weir_says(&["drain", &first, "--admin", &admin]);
    let saw = page.ask(&format!("moved {first} 4"));
    assert_eq!(saw["shown"]["Changed edge"], "1 time", "{saw}");
    assert_eq!(saw["shown"]["Resumed"], "–", "no connection broke: {saw}");
    assert_eq!(saw["back"], 0, "the picture stepped back: {saw}");
    assert!(saw["freeze_ms"].as_i64().unwrap() < 1000, "{saw}");
}

/// Publishes a clip, each picture stamped with the time at which it goes to the socket.
pub fn publish_stamped(cluster: &Cluster, stream: &str, clip: &Path) -> Running {
    let mut publish = weir();
    publish
        .args(["load", "publish", &cluster.publish_url(stream), "--clip"])
        .arg(clip)
        .stdin(Stdio::null());
    spawn(&mut publish)
}

#[test]
fn hls_js_plays_near_the_present_and_leaves_edges_that_drain_or_die() {
    let mut cluster = Cluster::start(3);
    let _publisher = publish_stamped(&cluster, "live/show", &clips::numbered(640));
    cluster.wait_on_air("live/show");
    let mut page = Page::open(&cluster);
    page.ask("play live/show ll-hls");
    let number = |saw: &Value, name: &str| saw[name].as_i64().unwrap();
    // A player that started far back on a busy machine gains a twentieth of the time until it is near, and shows few
    // pictures while the machine has no time for it.
    let mut steady = page.ask("watch 5");
    for _ in 0..8 {
        let seen = &steady["latency"];
        if number(seen, "p95_ms") < 2000 && number(seen, "count") > 100 {
            break;
        }
        steady = page.ask("watch 5");
    }
    let latency = &steady["latency"];
    assert!(number(latency, "count") > 100, "{steady}");
    assert!(number(latency, "p95_ms") < 2000, "{steady}");
    assert!(number(&steady, "freeze_ms") < 1000, "{steady}");
    assert_eq!(steady["shown"]["Protocol"], "LL-HLS");
    assert_eq!(steady["errors"].as_array().unwrap().len(), 0, "{steady}");

    let first = steady["edge"].as_str().unwrap().to_string();
    page.ask("begin");
    weir_says(&[
        "drain",
        &first,
        "--admin",
        &format!("http://{}", cluster.scheduler_admin),
    ]);
    let drained = page.ask(&format!("moved {first} 4"));
    assert!(number(&drained, "moved_after_ms") < TTL_MS, "{drained}");
    assert!(number(&drained, "freeze_ms") < 1000, "{drained}");

    let second = drained["edge"].as_str().unwrap().to_string();
    page.ask("begin");
    cluster.kill(&second);
    let killed = page.ask(&format!("moved {second} 4"));
    assert!(number(&killed, "freeze_ms") < 3000, "{killed}");
    assert!(
        ![first.into(), second.into()].contains(&killed["edge"]),
        "{killed}"
    );
    assert_eq!(number(&killed, "back"), 0, "{killed}");
}

/// The longest TTL of a steering manifest, 10 s jittered by 20 %, and a second for the answer and the segment at hand.
const TTL_MS: i64 = 13_000;

#[test]
fn hls_js_switches_between_two_rungs_without_a_stall() {
    let mut cluster = Cluster::start(1);
    let scheduler = cluster.node("scheduler").config.clone();
    let mut text = std::fs::read_to_string(&scheduler).unwrap();
    text += "[[stream]]\nname = \"live/show\"\nrungs = [\"live/show\", \"live/show_low\"]\n";
    std::fs::write(&scheduler, text).unwrap();
    cluster.kill("scheduler");
    cluster.restart("scheduler");
    let _publisher = publish_rungs(&cluster);
    cluster.wait_on_air("live/show");
    cluster.wait_on_air("live/show_low");
    let mut page = Page::open(&cluster);
    page.ask("play live/show ll-hls");
    for (quality, width) in [(1, 640), (0, 320), (1, 640)] {
        page.ask("begin");
        page.ask(&format!("quality {quality}"));
        let saw = page.ask(&format!("resized {width} 2"));
        assert!(saw["freeze_ms"].as_i64().unwrap() < 1000, "{saw}");
        assert_eq!(saw["errors"].as_array().unwrap().len(), 0, "{saw}");
    }
}

/// Two rungs in step, from one process.
fn publish_rungs(cluster: &Cluster) -> Running {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin"]);
    for width in [640, 320] {
        ffmpeg.args(["-re", "-stream_loop", "-1", "-i"]);
        ffmpeg.arg(clips::numbered(width));
    }
    for (input, stream) in ["live/show", "live/show_low"].iter().enumerate() {
        ffmpeg.args(["-map", &input.to_string(), "-c", "copy", "-f", "flv"]);
        ffmpeg.arg(cluster.publish_url(stream));
    }
    spawn(ffmpeg.stdin(Stdio::null()))
}

#[test]
fn chromium_plays_hls_by_itself_from_every_address() {
    let mut cluster = Cluster::start(1);
    cut_segments_at(&mut cluster, "2s");
    let _publisher = publish_stamped(&cluster, "live/show", &clips::numbered(640));
    cluster.wait_on_air("live/show");
    let mut page = Page::open(&cluster);
    let played = page.ask("play live/show native");
    let shown = &played["shown"]["Protocol"];
    assert_eq!(shown, "HLS by the browser", "{played}");
    plays_natively(&cluster, 8);
    let played = page.ask("watch 1");
    assert!(played["frames"].as_i64() > Some(12), "{played}");
    assert_eq!(played["errors"].as_array().unwrap().len(), 0, "{played}");
}

/// Chromium counts segments: it begins three before the end and asks again after a target duration, so that three must
/// last as long as that.
fn cut_segments_at(cluster: &mut Cluster, longest: &str) {
    let config = cluster.node("origin").config.clone();
    let text = std::fs::read_to_string(&config).unwrap();
    let text = format!("{text}[hls]\nsegment_max = \"{longest}\"\n");
    std::fs::write(&config, text).unwrap();
    cluster.kill("origin");
    cluster.restart("origin");
}

/// The browser's own HLS player shows live/show for so long: through the scheduler, redirected, and from an edge; the
/// number of players.
pub fn plays_natively(cluster: &Cluster, seconds: u32) -> usize {
    let (edge, token) = (&cluster.node(EDGES[0].0).public, token("play", "live/show"));
    let urls = [
        format!("http://{}/live/show.m3u8", cluster.scheduler),
        format!("http://{}/live/show.m3u8?redirect=1", cluster.scheduler),
        format!("http://{edge}/live/show.m3u8?token={token}"),
    ];
    let mut script = script("native.mjs");
    script.arg(seconds.to_string()).args(&urls);
    let saw = saw(spawn(&mut script));
    println!("{saw}");
    let least = 0.75 * f64::from(seconds);
    for (video, url) in saw["videos"].as_array().unwrap().iter().zip(&urls) {
        assert_eq!(video["source"], *url, "not by itself: {saw}");
        assert!(video["at_s"].as_f64() >= Some(least), "{saw}");
        assert!(video["pictures"].as_f64() >= Some(25.0 * least), "{saw}");
        assert!(video["width"].as_i64() > Some(0), "{saw}");
    }
    urls.len()
}

#[test]
fn the_page_says_which_codec_the_browser_cannot_decode_and_plays_av1_by_hls() {
    let cluster = Cluster::start(1);
    let _hevc = publish_stamped(&cluster, "live/hevc", &clips::h265());
    let _av1 = publish_stamped(&cluster, "live/av1", &clips::av1());
    cluster.wait_on_air("live/hevc");
    cluster.wait_on_air("live/av1");
    let mut page = Page::open(&cluster);
    let played = page.ask("play live/av1 ll-hls");
    assert_eq!(played["shown"]["Protocol"], "LL-HLS", "{played}");
    page.ask("choose live/hevc");
    let said = page.ask("notice");
    let notice = said["notice"].as_str().unwrap();
    assert!(notice.contains("cannot decode"), "{said}");
    assert!(notice.contains("H.265 (HEVC), hvc1."), "{said}");
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
    let saw = saw(spawn(&mut script));
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
            .stdin(Stdio::null())
            .current_dir(root);
        let mut process = spawn(&mut demo);
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
