//! What a running scheduler makes of its history: it learns, announces, forecasts and serves.

use crate::harness::{
    Cluster, EDGES, clips, eventually, ffmpeg, get, request, weir, weir_says, within,
};
use cluster::time::Time;
use scheduler::history::{self, History, Point};
use serde_json::Value;
use std::{fs, path::Path, time::Duration};
use transport::clock::Clock;

const DEMAND: &str = "region/shanghai/demand";
/// Steps of a quarter of an hour: so few that a week is written in seconds.
const STEP_S: u64 = 900;
const DAY: i64 = 96;

/// A history of eight days that ends now: demand that follows its day, and returns to it faster than smoothing expects.
fn write_history(dir: &Path) {
    let time = Time::scaled(1.0, Duration::from_secs(STEP_S)).unwrap();
    let config = history::Config {
        path: Some(dir.join("history.redb")),
        ..history::Config::default()
    };
    let history = History::open(
        &config,
        None,
        (time, Clock::system()),
        &mut Default::default(),
    )
    .unwrap();
    let now = time.step_at(transport::clock::unix_ms());
    let (mut level, mut state) = (200.0, 7_u32);
    for step in now - 8 * DAY..now {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 8) / f64::from(1 << 24) - 0.5;
        let phase = step.rem_euclid(DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
        let usual = 200.0 * (1.5 + phase.sin());
        level += 0.7 * (usual - level) + 0.4 * noise * usual;
        let rows = [
            (DEMAND, 1.0),
            ("region/frankfurt/demand", 0.3),
            ("total/demand", 1.3),
            ("region/shanghai/egress_bps", 3e6),
            ("region/frankfurt/egress_bps", 1e6),
        ];
        let row = |(id, share): (&str, f64)| {
            (
                id.to_owned(),
                Point::new(level * share, STEP_S as f64).unwrap(),
            )
        };
        history.append(step, &rows.map(row)).unwrap();
    }
}

/// Gives the scheduler that history and these lines more, and restarts it.
fn with_history(cluster: &mut Cluster, dir: &Path, text: &str) {
    assert!(cluster.terminate("scheduler").success());
    let path = &cluster.node("scheduler").config;
    let before = fs::read_to_string(path).unwrap();
    let file = dir.join("history.redb");
    fs::write(
        path,
        format!("{before}{text}[scheduler.history]\npath = {file:?}\n"),
    )
    .unwrap();
    cluster.restart("scheduler");
}

fn ask(cluster: &Cluster, path: &str) -> Value {
    serde_json::from_slice(&get(&cluster.scheduler_admin, path).body).unwrap_or_default()
}

/// The forecast of a series for an hour ahead, once there is one.
fn in_an_hour(cluster: &Cluster, series: &str) -> Value {
    let path = format!("/api/v1/forecast?series={series}&horizon=1h");
    let mut told = Value::Null;
    eventually("it is forecast", || {
        told = ask(cluster, &path)["series"][0]["forecasts"][0].clone();
        told.is_object()
    });
    told
}

#[test]
fn a_scheduler_learns_from_its_history_and_serves_what_it_expects() {
    let dir = tempfile::tempdir().unwrap();
    write_history(dir.path());
    let mut cluster = Cluster::start(1);
    with_history(&mut cluster, dir.path(), "[time]\nhistory_step = \"15m\"\n");
    let expected = in_an_hour(&cluster, DEMAND);
    assert_eq!(expected["horizon_s"], 3600);
    let quantile = |name: &str| expected["quantiles"][name].as_f64().unwrap();
    assert!(
        expected["median"].as_f64().unwrap() <= quantile("0.9")
            && quantile("0.9") <= quantile("0.99")
    );
    assert_eq!(expected["at_risk"], expected["quantiles"]["0.9"]);
    let all = ask(&cluster, "/api/v1/forecast");
    assert_eq!(all["horizons_s"], serde_json::json!([900, 3600]));
    assert!(all["series"].as_array().unwrap().len() >= 3 && all["model"].is_null());
    for (path, status) in [
        ("/api/v1/forecast?series=region/none/demand", 404),
        ("/api/v1/forecast?horizon=1m", 400),
        ("/api/v1/forecast?horizon=soon", 400),
        ("/api/v1/forecast/trail?series=none", 404),
    ] {
        assert_eq!(get(&cluster.scheduler_admin, path).status, status, "{path}");
    }
    it_learns_and_remembers(&mut cluster, dir.path());
}

fn it_learns_and_remembers(cluster: &mut Cluster, dir: &Path) {
    let admin = format!("http://{}", cluster.scheduler_admin);
    let card = weir_says(&["forecast", "train", "--scheduler", &admin]);
    let card: Value = serde_json::from_str(&card).unwrap();
    assert!(card["series"].as_u64() >= Some(3), "{card:#}");
    let model = ask(cluster, "/api/v1/forecast/model");
    assert_eq!(
        (&model["training"], &model["failed"]),
        (&Value::Bool(false), &Value::Null)
    );
    let node = cluster.node("scheduler");
    assert!(node.metric("weir_forecast_training_seconds", "") > 0.0);
    assert_eq!(
        node.metric("weir_forecast_trainings_total", "\"done\""),
        1.0
    );
    let version = |cluster: &Cluster| ask(cluster, "/api/v1/forecast")["model"]["version"].clone();
    assert!(cluster.terminate("scheduler").success());
    cluster.restart("scheduler");
    in_an_hour(cluster, DEMAND);
    let learned = version(cluster);
    assert!(learned.is_string());
    let metric = |name: &str| cluster.node("scheduler").metric(name, "");
    assert!(
        metric("weir_forecast_model_age_seconds") >= 0.0 && metric("weir_forecast_series") >= 3.0
    );
    // A damaged file is said, and not used.
    let file = dir.join("forecast.model");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(cluster.terminate("scheduler").success());
    cluster.restart("scheduler");
    in_an_hour(cluster, DEMAND);
    assert_eq!(version(cluster), Value::Null);
    let log = fs::read_to_string(cluster.node("scheduler").config.with_extension("log")).unwrap();
    assert!(log.contains("the forecast model is not used"), "{log}");
}

#[test]
fn the_past_of_a_running_cluster_is_simulated() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_history(dir);
    let mut cluster = Cluster::with(2, "[edge.capacity]\negress_mbps = 2000\n");
    let prices = "[[price]]\nnode = \"shang*\"\nusd_per_mbps_month = 2.5\n\
                  relay_usd_per_gb = 0.01\n";
    with_history(
        &mut cluster,
        dir,
        &format!("[time]\nhistory_step = \"15m\"\n{prices}"),
    );
    eventually("both edges are there", || {
        ask(&cluster, "/api/v1/world")["edges"]
            .as_array()
            .is_some_and(|it| it.len() == 2)
    });
    let world = ask(&cluster, "/api/v1/world");
    let shanghai = &world["regions"].as_array().unwrap()[1];
    assert_eq!(shanghai["region"], "shanghai");
    assert_eq!(shanghai["ways"].as_array().unwrap().len(), 2);
    let simulate = |words: &str| {
        let words = format!("simulate run {words} --rules B8,weir --quick");
        let output = weir()
            .current_dir(dir)
            .args(words.split(' '))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    simulate(&format!(
        "--from http://{} --out from-it",
        cluster.scheduler_admin
    ));
    let table = |name: &str| fs::read_to_string(dir.join("from-it/from").join(name)).unwrap();
    let edge = "shanghai,31.23,121.47,2000,\"shanghai\",\n";
    assert!(table("nodes.csv").contains(edge), "{}", table("nodes.csv"));
    assert!(table("prices.csv").contains("shanghai,2.5,0,p95,0,0,1,0,0.01\n"));
    assert!(table("rtt.csv").contains("frankfurt,shanghai,"));
    let demand = table("demand.csv");
    assert!(demand.starts_with("time,frankfurt,shanghai\n"), "{demand}");
    let report = |out: &str| fs::read(dir.join(out).join("report.json")).unwrap();
    let json: Value = serde_json::from_slice(&report("from-it")).unwrap();
    let gb = json["cases"][0]["rules"][0]["figures"]["egress_gb"]
        .as_f64()
        .unwrap();
    // Five or six days are billed, of 1.2 Gbit/s in the mean.
    assert!((40_000.0..90_000.0).contains(&gb), "{gb}");
    // The cluster may be gone: its tables are a world.
    drop(cluster);
    let files = [
        ("edges", "nodes"),
        ("prices", "prices"),
        ("demand", "demand"),
    ];
    let files = files
        .into_iter()
        .chain([("regions", "regions"), ("rtt", "rtt")]);
    let words: Vec<String> = files
        .map(|(flag, name)| format!("--{flag} from-it/from/{name}.csv"))
        .collect();
    simulate(&format!("{} --out again", words.join(" ")));
    assert!(report("from-it") == report("again"));
}

#[test]
fn an_announced_event_raises_the_forecast_for_its_time() {
    let dir = tempfile::tempdir().unwrap();
    write_history(dir.path());
    let mut cluster = Cluster::start(1);
    with_history(&mut cluster, dir.path(), "[time]\nhistory_step = \"15m\"\n");
    let median = |series: &str| in_an_hour(&cluster, series)["median"].as_f64().unwrap();
    let before = median(DEMAND);
    let admin = format!("http://{}", cluster.scheduler_admin);
    let add = |arguments: &[&str]| {
        let begin = ["events", "add", "live/final", "--admin", &admin];
        weir().args(begin).args(arguments).output().unwrap()
    };
    let added = add(&[
        "--start", "in 20m", "--peak", "5000", "--ramp", "1m", "--length", "2h",
    ]);
    assert!(added.status.success(), "{added:?}");
    eventually("it is expected", || median(DEMAND) > before + 3_000.0);
    assert!(median("total/demand") > median(DEMAND) && median("region/frankfurt/demand") > 1_000.0);
    let listed = weir_says(&["events", "list", "--admin", &admin]);
    assert!(
        listed.contains("live/final") && listed.contains("ahead") && listed.contains("5000"),
        "{listed}"
    );
    for (arguments, said) in [
        (["--start", "tomorrow", "--peak", "5"], "in 30m"),
        (
            ["--start", "2020-01-01T00:00:00Z", "--peak", "5"],
            "not over",
        ),
        (["--start", "in 30m", "--peak", "0"], "expected_peak"),
    ] {
        let refused = add(&arguments);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && why.contains(said), "{why}");
    }
    weir_says(&["events", "remove", "1", "--admin", &admin]);
    eventually("it is not expected any more", || {
        median(DEMAND) < before + 1_000.0
    });
    let gone = request(&cluster.scheduler_admin, "DELETE", "/api/v1/events/1", "");
    assert_eq!(gone.status, 404);
}

#[test]
fn viewers_who_find_no_room_are_forecast() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::with(1, "[edge.capacity]\nviewers = 1\n");
    with_history(&mut cluster, dir.path(), "[time]\nhistory_step = \"2s\"\n");
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let mut viewer = weir();
    let url = cluster.play_url("live/show", EDGES[0].3);
    viewer.args(["load", "play", &url, "--duration", "60s"]);
    let _watching = ffmpeg::Running(viewer.stdout(std::process::Stdio::null()).spawn().unwrap());
    eventually("the only edge is full", || {
        cluster.redirect("live/show", "203.0.113.50").is_none()
    });
    within(
        Duration::from_secs(30),
        "those outside are expected, too",
        || {
            for viewer in 50..54 {
                cluster.redirect("live/show", &format!("203.0.113.{viewer}"));
            }
            let told = ask(
                &cluster,
                &format!("/api/v1/forecast?series={DEMAND}&horizon=1m"),
            );
            let median = told["series"][0]["forecasts"][0]["median"].as_f64();
            median.is_some_and(|median| median > 3.5)
        },
    );
}

/// A day of five minutes, in steps of five of its minutes.
const SCALED: &str = "[time]\nscale = 288\nhistory_step = \"5m\"\n";
const DAY_S: u64 = 300;
/// Days that a run may take until the forecast beats persistence: the first is to learn from.
const DAYS: u64 = 4;

#[test]
#[ignore = "takes 20 minutes; run by `make soak`"]
fn soak_a_cluster_learns_a_scaled_day_and_beats_persistence() {
    let runs: Vec<_> = [1, 2, 3]
        .map(|seed| std::thread::spawn(move || scaled_days(seed)))
        .into();
    let failed: Vec<_> = runs.into_iter().map(|run| run.join().is_err()).collect();
    assert_eq!(failed, [false; 3]);
}

/// Viewers follow a day again and again; after one of them a model is trained, and over a later one what was served
/// 15 scaled minutes ahead of each region's demand has to beat persistence.
fn scaled_days(seed: u32) {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(1);
    with_history(&mut cluster, dir.path(), SCALED);
    let mut publish = weir();
    publish.args([
        "load",
        "publish",
        &cluster.publish_url("live/show"),
        "--synthetic",
        "100k",
    ]);
    let _publisher = ffmpeg::Running(publish.stdout(std::process::Stdio::null()).spawn().unwrap());
    cluster.wait_on_air("live/show");
    let urls = EDGES.map(|edge| cluster.play_url("live/show", edge.3));
    let mut viewers = weir();
    viewers.args([
        "load",
        "play",
        "--viewers",
        "90",
        "--profile",
        "day",
        "--period",
        "5m",
        "--stay",
        "30s",
    ]);
    viewers.args(["--validate", "tags", "--seed", &seed.to_string(), "--json"]);
    viewers
        .arg("--duration")
        .arg(format!("{}s", DAY_S * (DAYS + 1)))
        .args(&urls);
    let _viewers = ffmpeg::Running(viewers.stdout(std::process::Stdio::null()).spawn().unwrap());
    let day = Duration::from_secs(DAY_S);
    std::thread::sleep(day);
    let admin = format!("http://{}", cluster.scheduler_admin);
    // The nightly training may have begun by itself.
    within(day, "a model is trained", || {
        let _ = weir()
            .args(["forecast", "train", "--scheduler", &admin])
            .output();
        ask(&cluster, "/api/v1/forecast")["model"].is_object()
    });
    let mut seen = Vec::new();
    for _ in 1..DAYS {
        std::thread::sleep(day);
        let served = ask(&cluster, "/api/v1/forecast/model")["served"].clone();
        let of_region = |it: &&Value| it["kind"] == "region" && it["horizon_s"] == 900;
        let score = served
            .as_array()
            .unwrap()
            .iter()
            .find(of_region)
            .unwrap()
            .clone();
        println!("seed {seed}: {score}");
        if score["wape"].as_f64() < score["persistence_wape"].as_f64() {
            return;
        }
        seen.push(score);
    }
    panic!("seed {seed}: persistence is better on every day: {seen:#?}");
}

#[test]
#[ignore = "takes 7 minutes; run by `make soak`"]
fn soak_a_crowd_raises_the_risk_within_twenty_seconds() {
    let cluster = Cluster::start(1);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    // What is usual has to be known first: five minutes and a little.
    std::thread::sleep(Duration::from_secs(320));
    let mut crowd = weir();
    let url = cluster.play_url("live/show", EDGES[0].3);
    crowd.args([
        "load",
        "play",
        &url,
        "--viewers",
        "80",
        "--ramp",
        "20s",
        "--duration",
        "60s",
    ]);
    let _crowd = ffmpeg::Running(crowd.stdout(std::process::Stdio::null()).spawn().unwrap());
    within(Duration::from_secs(20), "the crowd is noticed", || {
        let surges = ask(&cluster, "/api/v1/forecast")["surges"].clone();
        let mut surges = surges.as_array().into_iter().flatten();
        surges.any(|crowd| crowd["of"] == "region/shanghai")
    });
    assert!(
        cluster
            .node("scheduler")
            .metric("weir_forecast_surges_total", "\"region\"")
            >= 1.0
    );
}
