//! `make soak`: a long play while nodes die and come back, and players of other makers. Minutes to hours, so not part
//! of `make test`.

use crate::{
    browser::{plays_natively, publish_stamped},
    harness::{Cluster, EDGES, clips, eventually, ffmpeg, get, page::Page, weir},
};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// How often something dies.
const EVERY: Duration = Duration::from_secs(15);

#[test]
#[ignore = "takes WEIR_SOAK_SECONDS (600 when unset); run by `make soak`"]
fn soak_viewers_play_on_while_schedulers_and_edges_die() {
    let seconds = std::env::var("WEIR_SOAK_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(600);
    let mut cluster = Cluster::start(3);
    let clip = clips::h264();
    let _publisher = ffmpeg::publish(&clip, &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let mut load = weir();
    load.args([
        "load",
        "play",
        "--viewers",
        "100",
        "--json",
        "--duration",
        &format!("{seconds}s"),
        "--source",
    ]);
    // The viewers are Shanghai's; the other edges and the scheduler die around them.
    let watching = load
        .arg(&clip)
        .arg(cluster.play_url("live/show", EDGES[0].3));
    let watching = watching
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let memory = cluster.node(EDGES[0].0).memory();
    let start = Instant::now();
    let mut victims = ["scheduler", EDGES[1].0, EDGES[2].0].into_iter().cycle();
    while start.elapsed() + 2 * EVERY < Duration::from_secs(seconds) {
        std::thread::sleep(EVERY);
        let victim = victims.next().unwrap();
        cluster.kill(victim);
        cluster.restart(victim);
        cluster.wait_on_air("live/show");
        println!(
            "{:>6.0} s: {victim} died and came back",
            start.elapsed().as_secs_f64()
        );
    }
    let report = watching.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    println!("{report:#}");
    assert_eq!(report["joined"], 100);
    assert_eq!(report["frames"]["wrong"], 0);
    assert_eq!(report["frames"]["dropped"], 0);
    assert_eq!(report["errors"].as_object().unwrap().len(), 0);
    let grown = cluster.node(EDGES[0].0).memory().saturating_sub(memory);
    assert!(grown < 256 << 20, "the edge grew by {grown} bytes");
}

/// Long enough for a leak, a drift of clocks, or a rare request to show.
const PLAY_SECONDS: u32 = 300;

#[test]
#[ignore = "takes 5 minutes; run by `make soak`"]
fn soak_hls_js_plays_by_http1_without_a_stall() {
    let cluster = Cluster::alone(1, "");
    plays_without_a_stall(&cluster, "http/1.1");
}

#[test]
#[ignore = "takes 5 minutes; run by `make soak`"]
fn soak_hls_js_plays_by_http2_without_a_stall() {
    let mut cluster = Cluster::alone(1, "");
    serve_by_tls(&mut cluster, EDGES[0].0);
    plays_without_a_stall(&cluster, "h2");
}

fn plays_without_a_stall(cluster: &Cluster, protocol: &str) {
    let _publisher = publish_stamped(cluster, "live/show", &clips::numbered(640));
    cluster.wait_on_air("live/show");
    let mut page = Page::open(cluster);
    page.ask("play live/show ll-hls");
    page.ask("watch 5");
    let saw = page.ask(&format!("watch {PLAY_SECONDS}"));
    assert_eq!(saw["protocols"], serde_json::json!([protocol]), "{saw}");
    assert_eq!(saw["shown"]["Stood still"], "–", "{saw}");
    assert_eq!(saw["errors"].as_array().unwrap().len(), 0, "{saw}");
    assert!(saw["freeze_ms"].as_i64() < Some(1000), "{saw}");
    assert!(saw["latency"]["p95_ms"].as_i64() < Some(2000), "{saw}");
    assert_eq!(saw["back"], 0, "{saw}");
}

/// Gives an edge a certificate of its own making.
fn serve_by_tls(cluster: &mut Cluster, name: &str) {
    let node = cluster.node(name);
    let (cert, key) = (
        node.config.with_extension("pem"),
        node.config.with_extension("key"),
    );
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let text = std::fs::read_to_string(&node.config).unwrap();
    let text = text.replace("public_url = \"http:", "public_url = \"https:");
    let tls = format!("{text}[edge.tls]\ncert = {cert:?}\nkey = {key:?}\n");
    std::fs::write(&node.config, tls).unwrap();
    cluster.kill(name);
    cluster.restart(name);
    eventually("the scheduler knows the edge's new address", || {
        let nodes = get(&cluster.scheduler_admin, "/api/v1/nodes").body;
        String::from_utf8_lossy(&nodes).contains("https://")
    });
}

/// A player: its program, and the arguments by which it plays a URL for about [`PLAY`] and keeps or tells what it saw.
struct Player {
    name: &'static str,
    /// Made of `{url}`, `{out}` and `{seconds}`; what it writes is read by ffprobe unless `told` is set.
    command: &'static str,
    /// What it says for each picture that it shows.
    told: Option<&'static str>,
    /// Pictures that it must have.
    least: usize,
}

const PLAYERS: [Player; 5] = [
    Player {
        name: "ffmpeg",
        command: "ffmpeg -v error -nostdin -i {url} -t {seconds} -c copy -y {out}",
        told: None,
        least: MOST,
    },
    // Not `playbin`: its older hlsdemux waits as long as the stream has been on air (docs/operations.md).
    Player {
        name: "gst-launch-1.0",
        command: "GST_PLUGIN_FEATURE_RANK=hlsdemux2:MAX timeout -s INT {seconds} gst-launch-1.0 -v \
            playbin3 uri={url} audio-sink=fakesink video-sink='fakesink silent=false sync=true'",
        told: Some("last-message = chain"),
        least: MOST,
    },
    // It does not run as root.
    Player {
        name: "cvlc",
        command: "setpriv --reuid=65534 --clear-groups env HOME=/tmp timeout {seconds} \
            cvlc -q -I dummy {url} --sout '#std{access=file,mux=ts,dst={out}}'",
        told: None,
        least: MOST,
    },
    Player {
        name: "cvlc",
        command: "setpriv --reuid=65534 --clear-groups env HOME=/tmp timeout {seconds} cvlc -q \
            -I dummy {url} --aout=dummy --sout '#transcode{vcodec=mp4v,acodec=none}:std{access=file,mux=ts,dst={out}}'",
        told: None,
        least: MOST,
    },
    Player {
        name: "mpv",
        command: "mpv --no-config --vo=null --ao=null --length={seconds} --no-terminal \
            --o={out} --of=mpegts --ovc=mpeg4 --oac=aac {url}",
        told: None,
        least: MOST,
    },
];

/// How long a player runs, in seconds.
const PLAY: u64 = 40;

/// Pictures that a player must have: all but those of some seconds at the start.
const MOST: usize = (PLAY as usize - 10) * 25;

#[test]
#[ignore = "takes minutes; run by `make soak`"]
fn soak_players_of_other_makers_play_hls() {
    let cluster = Cluster::start(3);
    let _publisher = publish_steadily(&cluster);
    let mut failed = Vec::new();
    for player in PLAYERS {
        let which = Command::new("which").arg(player.name).output().unwrap();
        if !which.status.success() {
            println!("{}: skipped, it is not installed", player.name);
            continue;
        }
        for redirect in ["", "&redirect=1"] {
            let address = EDGES[0].3;
            let url = format!(
                "http://{}/live/show.m3u8?ip={address}{redirect}",
                cluster.scheduler
            );
            let before = joins(&cluster);
            let pictures = play(&player, &url);
            let sessions = joins(&cluster) - before;
            println!(
                "{}{redirect}: {pictures} pictures, {sessions} sessions",
                player.command
            );
            let enough = pictures >= player.least;
            failed.extend((!enough || sessions != 1.0).then_some((player.command, redirect)));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
#[ignore = "takes more than a minute; run by `make soak`"]
fn soak_chromium_plays_hls_by_itself() {
    let cluster = Cluster::start(3);
    let _publisher = publish_steadily(&cluster);
    let players = plays_natively(&cluster, 60);
    assert_eq!(joins(&cluster), players as f64);
}

/// A key frame every 2 s, as is usual, and 8 s on air before anybody comes: players that count segments then find a
/// target duration of them.
fn publish_steadily(cluster: &Cluster) -> ffmpeg::Running {
    let clip = clips::keys_at("steady", "expr:gte(t,n_forced*2)");
    let publisher = ffmpeg::publish(&clip, &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let seen = ffmpeg::hashes(&cluster.play_url("live/show", EDGES[0].3), Some(8), true);
    assert!(!seen.is_empty());
    publisher
}

fn joins(cluster: &Cluster) -> f64 {
    let nodes = EDGES.iter().map(|edge| cluster.node(edge.0));
    nodes
        .map(|node| node.metric("weir_edge_joins_total", "hls"))
        .sum()
}

/// Runs a player; how many pictures it had.
fn play(player: &Player, url: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    let out = dir.path().join("out.ts");
    let command = player.command.replace("{url}", &format!("'{url}'"));
    let command = command.replace("{seconds}", &PLAY.to_string());
    let command = command.replace("{out}", out.to_str().unwrap());
    let run = Command::new("sh").args(["-c", &command]).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    match player.told {
        Some(told) => said.lines().filter(|line| line.contains(told)).count(),
        None => {
            print!("{}", String::from_utf8_lossy(&run.stderr));
            pictures(&out)
        }
    }
}

/// How many pictures ffmpeg decodes of a file.
fn pictures(file: &Path) -> usize {
    let asked =
        "-v fatal -select_streams v -count_frames -show_entries stream=nb_read_frames -of csv=p=0";
    let mut run = Command::new("ffprobe");
    let run = run.args(asked.split(' ')).arg(file);
    let said = run.output().unwrap().stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let first = said.lines().next().unwrap_or_default();
    first.trim_matches(',').parse().unwrap_or(0)
}
