//! Weak networks: viewers and nodes behind emulated bad links. Skipped, and said so, where no link can be made.

use crate::harness::{
    Cluster, EDGES, clips, eventually, ffmpeg,
    link::{
        End, Inside, Lane, Link, LinkSpec, last_miles,
        pipe::{Late, Loss, Rate, Spec},
        trace::{Second, Trace},
    },
    port, token, weir,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

const STREAM: &str = "live/show";
const STREAM_KBPS: u32 = 1000;
/// How long viewers watch.
const WATCH: Duration = Duration::from_secs(20);
/// The default of `[edge.slow] skip_after`.
const SKIP_AFTER: Duration = Duration::from_secs(3);
/// What a viewer's lag may be beyond `skip_after`: the key frame it goes on at crosses the link, behind what the
/// kernel and the link's queue hold.
const SLACK: Duration = Duration::from_secs(3);

/// A bad link, and what its viewer sees there.
struct Case {
    name: &'static str,
    to_far: Spec,
    /// For so long it carries nothing.
    outage: Duration,
    drops: Drops,
}

/// Whether a viewer loses frames that the edge leaves out.
enum Drops {
    None,
    Some,
    Either,
}

#[test]
fn viewers_on_bad_links_stay_near_live_and_decode_and_leave_good_ones_alone() {
    let cases = cases();
    let lane = |case: &Case| Lane {
        to_far: case.to_far.clone(),
        to_near: way(),
    };
    let spec = LinkSpec {
        lanes: cases.iter().map(lane).collect(),
        congestion: "cubic",
    };
    let Some(link) = Link::new(&spec) else {
        return;
    };
    let _near = link.enter(End::Near);
    let cluster = Cluster::start(1);
    let _publisher = publish(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let url = edge_url(&cluster, &link);
    let watching: Vec<_> = (0..cases.len())
        .map(|lane| Watching::start(&link, lane, &url, folder.path()))
        .collect();
    for (case, watching) in cases.iter().zip(watching) {
        let (report, film) = watching.finish();
        case.check(&report);
        decodes(case.name, &film);
    }
}

/// The way to viewers where nothing is wrong.
fn way() -> Spec {
    Spec {
        delay: Duration::from_millis(20),
        ..Spec::default()
    }
}

fn cases() -> [Case; 6] {
    let half = way().bottleneck(u64::from(STREAM_KBPS) * 500, Duration::from_millis(300));
    let mut bursts = way();
    bursts.loss = Loss::Bursts {
        share: 0.03,
        length: 3.0,
    };
    let mut late = way();
    late.late = Late {
        share: 0.01,
        by: Duration::from_millis(15),
    };
    let (trace, recorded_outage) = last_mile();
    let case = |name, to_far, outage, drops| Case {
        name,
        to_far,
        outage,
        drops,
    };
    [
        case("good", way(), Duration::ZERO, Drops::None),
        case("half", half, Duration::ZERO, Drops::Some),
        case("bursts", bursts, Duration::ZERO, Drops::Either),
        case("late", late, Duration::ZERO, Drops::None),
        case("trace", follow(trace), recorded_outage, Drops::Either),
        case("gone", follow(gone_for(OUTAGE)), OUTAGE, Drops::Either),
    ]
}

impl Case {
    fn check(&self, report: &serde_json::Value) {
        let name = self.name;
        println!("{name}: {}, {}", report["latency"], report["frames"]);
        assert_eq!(report["joined"], 1, "{name}");
        assert_eq!(report["frames"]["wrong"], 0, "{name}");
        assert_eq!(report["frames"]["backwards"], 0, "{name}");
        assert_eq!(report["errors"].as_object().unwrap().len(), 0, "{name}");
        let seconds = |delays: &serde_json::Value, which| delays[which].as_f64().unwrap() / 1e3;
        let latest = Duration::from_secs_f64(seconds(&report["latency"], "max_ms"));
        // TCP may sleep as long again after an outage: it tries in doubling intervals (RFC 6298, 5.5).
        let bound = SKIP_AFTER + SLACK + self.outage * 2;
        assert!(latest < bound, "{name}: {latest:?} behind");
        let intervals = report["intervals"].as_array().unwrap().iter().rev();
        let last = intervals
            .map(|one| &one["latency"])
            .find(|latency| latency["count"] != 0);
        let last = Duration::from_secs_f64(seconds(last.unwrap(), "p50_ms"));
        assert!(
            last < SKIP_AFTER + SLACK,
            "{name}: {last:?} behind in the end"
        );
        let dropped = report["frames"]["dropped"].as_u64().unwrap();
        let wanted = match self.drops {
            Drops::None => dropped == 0,
            Drops::Some => dropped > 0,
            Drops::Either => true,
        };
        assert!(wanted, "{name}: {dropped} frames dropped");
    }
}

#[test]
fn an_edge_behind_a_lossy_link_loses_no_frame() {
    let lossy = Spec {
        delay: Duration::from_millis(25),
        loss: Loss::Bursts {
            share: 0.02,
            length: 2.0,
        },
        ..Spec::default()
    };
    let lane = Lane {
        to_far: lossy.clone(),
        to_near: Spec { seed: 2, ..lossy },
    };
    let Some(link) = Link::new(&LinkSpec {
        lanes: vec![lane],
        congestion: "cubic",
    }) else {
        return;
    };
    let _near = link.enter(End::Near);
    let cluster = Cluster::start(1);
    let _publisher = publish(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let parent = format!("{}:{}", link.near(), cluster.node("origin").ports["relay"]);
    let edge = FarEdge::start(&link, &parent, folder.path());
    let token = token("play", STREAM);
    let url = format!("http://{}/{STREAM}.flv?token={token}", edge.public);
    let (report, film) = Watching::start(&link, 0, &url, folder.path()).finish();
    assert_eq!(report["joined"], 1);
    assert_eq!(report["errors"].as_object().unwrap().len(), 0);
    assert_eq!(
        (&report["frames"]["wrong"], &report["frames"]["dropped"]),
        (&0.into(), &0.into())
    );
    decodes("far", &film);
    let counts = link.counts(0, End::Far);
    assert!(
        counts.lost > 0,
        "the link lost packets of the relay: {counts:?}"
    );
}

/// For so long the link of `gone` carries nothing.
const OUTAGE: Duration = Duration::from_secs(4);

fn follow(trace: Trace) -> Spec {
    let rate = Rate::Trace {
        trace: Arc::new(trace),
        from: Duration::ZERO,
    };
    Spec {
        rate,
        queue_bytes: 64 << 10,
        ..way()
    }
}

/// A recorded 3G link on which the stream does not always fit, with its longest outage while viewers watch.
fn last_mile() -> (Trace, Duration) {
    let fits = |trace: &Trace| {
        let watched = trace.seconds().iter().take(WATCH.as_secs() as usize);
        let short = watched
            .filter(|second| second.rate_bps < u64::from(STREAM_KBPS) * 1000)
            .count();
        (5..15).contains(&short) && outage(trace) <= OUTAGE
    };
    let mean = u64::from(STREAM_KBPS) * 1100;
    let found = last_miles("hsdpa_norway", mean).into_iter().find(fits);
    let trace = found.expect("some trace is in between");
    println!("trace: {}", trace.id);
    let outage = outage(&trace);
    (trace, outage)
}

fn outage(trace: &Trace) -> Duration {
    let watched = &trace.seconds()[..trace.seconds().len().min(WATCH.as_secs() as usize * 2)];
    // Slower than a tenth of the stream is as good as nothing.
    let runs = watched.split(|second| second.rate_bps > u64::from(STREAM_KBPS) * 100);
    Duration::from_secs(runs.map(<[Second]>::len).max().unwrap_or(0) as u64)
}

/// A good link that carries nothing for a while.
fn gone_for(outage: Duration) -> Trace {
    let good = Second {
        rate_bps: 8_000_000,
        ..Second::default()
    };
    let gone = Second::default();
    let mut seconds = vec![good; 60];
    seconds[8..8 + outage.as_secs() as usize].fill(gone);
    Trace::new("gone", seconds).unwrap()
}

/// A clip round and round, each picture stamped with the time at which it was sent.
fn publish(cluster: &Cluster) -> ffmpeg::Running {
    let mut publisher = weir();
    publisher
        .args(["load", "publish", "--clip"])
        .arg(clips::at_rate(STREAM_KBPS));
    publisher
        .arg(cluster.publish_url(STREAM))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let publisher = ffmpeg::Running(publisher.spawn().unwrap());
    cluster.wait_on_air(STREAM);
    publisher
}

/// Where the redirect leads, by the address that the far end knows.
fn edge_url(cluster: &Cluster, link: &Link) -> String {
    let target = cluster
        .redirect(STREAM, EDGES[0].3)
        .expect("the stream is on air");
    target.replace("127.0.0.1", &link.near().to_string())
}

/// A viewer on a lane, and the film of what it saw.
struct Watching {
    load: Child,
    film: PathBuf,
}

impl Watching {
    fn start(link: &Link, lane: usize, url: &str, folder: &Path) -> Self {
        let film = folder.join(format!("{lane}.mp4"));
        let _far: Inside = link.enter(End::Far);
        let mut load = weir();
        load.args(["load", "play", "--json", "--threads", "1"]);
        load.args(["--duration", &format!("{}s", WATCH.as_secs()), "--from"]);
        load.arg(link.far(lane).to_string())
            .arg("--out")
            .arg(&film)
            .arg(url);
        load.stdout(Stdio::piped()).stderr(Stdio::null());
        Self {
            load: load.spawn().unwrap(),
            film,
        }
    }

    fn finish(self) -> (serde_json::Value, PathBuf) {
        let output = self.load.wait_with_output().unwrap();
        (serde_json::from_slice(&output.stdout).unwrap(), self.film)
    }
}

/// ffmpeg decodes a film without a word, and finds pictures in it.
fn decodes(name: &str, film: &Path) {
    let mut decode = Command::new("ffmpeg");
    decode.args(["-v", "error", "-nostdin", "-i"]).arg(film);
    let output = decode.args(["-f", "framehash", "-"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    let decoded = String::from_utf8_lossy(&output.stdout);
    let pictures = decoded
        .lines()
        .filter(|line| line.starts_with("0,"))
        .count();
    assert!(pictures > 25, "{name}: {pictures} pictures in {WATCH:?}");
}

/// An edge at the far end that knows its parent by its configuration: the scheduler's names are the near end's.
struct FarEdge {
    process: Child,
    public: String,
    log: PathBuf,
}

impl FarEdge {
    fn start(link: &Link, parent: &str, folder: &Path) -> Self {
        let _far = link.enter(End::Far);
        let (public, relay, admin) = (port(), port(), port());
        let config = folder.join("far.toml");
        let text = format!(
            "[node]\nid = \"far\"\n[cluster]\nsecret = \"${{WEIR_TEST_SECRET}}\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [edge]\nlisten = \"[::]:{public}\"\nrelay_listen = \"[::]:{relay}\"\n\
             parents = [\"{parent}\"]\n"
        );
        fs::write(&config, text).unwrap();
        let log = folder.join("far.log");
        let mut edge = weir();
        edge.arg("edge")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null());
        edge.stderr(fs::File::create(&log).unwrap());
        let process = edge.spawn().unwrap();
        let ready = || crate::harness::get(&format!("127.0.0.1:{admin}"), "/readyz").status == 200;
        eventually("the far edge is ready", ready);
        Self {
            process,
            public: format!("{}:{public}", link.far(0)),
            log,
        }
    }
}

impl Drop for FarEdge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- log of far\n{}",
                fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
    }
}
