//! Policies of a running cluster: checked, applied and reloaded under load, taken back, tried in
//! shadow and in a few regions; and the operator's page.

use crate::harness::{
    Cluster, EDGES, clips, crowd, detour, eventually, ffmpeg, get, request, weir, weir_says, within,
};
use scheduler::policy::{file, keys};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const STREAM: &str = "live/show";
/// What a stream takes, and what the slow way to an edge has for each viewer.
const RATE: &str = "2000k";
const SLOW_BPS: usize = 600_000;

fn text(explore: f64) -> String {
    format!("version = 1\n[policy.default]\nexplore = {explore}\n")
}

/// Gives the scheduler these keys more, and restarts it.
fn with_keys(cluster: &mut Cluster, keys: &str) {
    let after = format!("[scheduler]\n{keys}");
    cluster.reconfigure("scheduler", |before| {
        before.replace("[scheduler]\n", &after)
    });
}

fn ask(cluster: &Cluster, path: &str) -> Value {
    let answer = get(&cluster.scheduler_admin, &format!("/api/v1/policy{path}"));
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file
}

/// Runs `weir policy ...`: its exit code and what it said.
fn policy(arguments: &[&str]) -> (i32, String) {
    let output = weir().arg("policy").args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

#[test]
fn files_are_checked_and_compared_without_a_scheduler() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        write(folder.path(), name, text)
            .to_str()
            .unwrap()
            .to_owned()
    };
    let (good, other) = (file("a.toml", &text(0.1)), file("b.toml", &text(0.2)));
    let bad = file("c.toml", "version = 1\n[policy.default]\nexplroe = 0.1\n");
    assert_eq!(policy(&["check", &good]).0, 0);
    let (code, said) = policy(&["check", &bad]);
    let expect = "c.toml: line 3: policy.default.explroe: unknown key; did you mean `explore`?";
    assert!(code == 1 && said.contains(expect), "{said}");
    let (code, said) = policy(&["check", "--json", &bad]);
    assert!(code == 1 && said.contains("\"line\": 3"), "{said}");
    assert_eq!(policy(&["diff", &good, &good]).0, 0);
    let (code, said) = policy(&["diff", &good, &other]);
    assert!(code == 1 && said.contains("explore"), "{said}");
    assert_eq!(policy(&["diff", &good, &bad]).0, 2);
    assert_eq!(
        policy(&["diff", &good, "--admin", "http://127.0.0.1:1"]).0,
        2
    );
    let example = file("example.toml", &weir_says(&["policy", "example"]));
    assert_eq!(policy(&["check", &example]).0, 0);
    let schema: Value = serde_json::from_str(&weir_says(&["policy", "schema"])).unwrap();
    assert_eq!(schema["properties"]["version"]["const"], 1);
}

/// Ends a crowd, also when what goes on meanwhile fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks for a stream again and again until it is told to stop; counts answers that lead nowhere.
fn besiege<T>(cluster: &Cluster, meanwhile: impl FnOnce() -> T) -> (usize, usize, T) {
    let (stop, asked, lost) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let done = std::thread::scope(|scope| {
        for viewer in 0..4 {
            let (stop, asked, lost) = (&stop, &asked, &lost);
            let address = beside(EDGES[viewer % 2].3, 10 + viewer);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let sent = cluster.redirect(STREAM, &address).is_some();
                    asked.fetch_add(1, Ordering::Relaxed);
                    lost.fetch_add(usize::from(!sent), Ordering::Relaxed);
                }
            });
        }
        let _stops = Stops(&stop);
        meanwhile()
    });
    (asked.into_inner(), lost.into_inner(), done)
}

#[test]
fn policies_are_applied_reloaded_and_taken_back_under_load_and_nobody_is_lost() {
    let mut cluster = Cluster::start(2);
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "policy.toml", &text(0.05));
    let store = folder.path().join("store.redb");
    with_keys(
        &mut cluster,
        &format!("policy = {file:?}\nstore = {store:?}\n"),
    );
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);
    eventually("viewers are sent to an edge", || {
        cluster.redirect(STREAM, EDGES[0].3).is_some()
    });
    let admin = format!("http://{}", cluster.scheduler_admin);
    let version = || ask(&cluster, "")["version"]["version"].as_u64();
    let (asked, lost, ()) = besiege(&cluster, || {
        for n in 1..10u32 {
            let other = write(folder.path(), "b.toml", &text(f64::from(n) / 100.0));
            weir_says(&[
                "policy",
                "apply",
                other.to_str().unwrap(),
                "--admin",
                &admin,
                "-m",
                "try",
            ]);
        }
        assert_eq!(version(), Some(10));
        write(folder.path(), "policy.toml", &text(0.15));
        eventually("the changed file holds", || version() == Some(11));
        write(
            folder.path(),
            "policy.toml",
            "version = 1\n[policy.default]\nexplore = 15\n",
        );
        eventually("the broken file is refused", || {
            let faults = &ask(&cluster, "")["file"]["faults"];
            faults[0]
                .as_str()
                .is_some_and(|told| told.contains("line 3: policy.default.explore"))
        });
        assert_eq!(version(), Some(11));
        weir_says(&["policy", "rollback", "--admin", &admin]);
    });
    assert!(asked > 50 && lost == 0, "{lost} of {asked}");
    let policies = ask(&cluster, "")["policies"].clone();
    assert_eq!(policies[0]["explore"], 0.09);
    let refused = "action=\"refused\"";
    assert_eq!(
        cluster
            .node("scheduler")
            .metric("weir_policy_changes_total", refused),
        1.0
    );

    remembers(&mut cluster, &admin, folder.path());
}

/// What held before a restart holds after it, and the history tells who did it.
fn remembers(cluster: &mut Cluster, admin: &str, folder: &Path) {
    assert!(cluster.terminate("scheduler").success());
    cluster.restart("scheduler");
    let history = weir_says(&["policy", "history", "--admin", admin]);
    let first: Vec<&str> = history.lines().take(4).collect();
    assert!(
        first[1].starts_with("12 ") && first[1].contains("rolled back"),
        "{history}"
    );
    assert!(
        first[2].contains("refused") && first[2].contains("out of range"),
        "{history}"
    );
    assert!(first[3].contains("reloaded"), "{history}");
    assert_eq!(ask(cluster, "")["policies"][0]["explore"], 0.09);
    let (code, said) = policy(&[
        "diff",
        folder.join("policy.toml").to_str().unwrap(),
        "--admin",
        admin,
    ]);
    assert!(code == 2 && said.contains("out of range"), "{said}");
    let stale = ["policy", "apply", "--base", "3", "--admin", admin];
    let b = folder.join("b.toml");
    let output = weir().args(stale).arg(&b).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("version 12 holds meanwhile"),
        "{said}"
    );
}

/// The answer to a request with a body, as it came.
fn send(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Another address in the same network.
fn beside(address: &str, host: usize) -> String {
    let (network, _) = address.rsplit_once('.').unwrap();
    format!("{network}.{host}")
}

#[test]
fn the_api_refuses_broken_files_with_line_key_and_remedy() {
    let cluster = Cluster::start(1);
    let send = |method: &str, path: &str, text: &str, more: &str| {
        let body = format!("{{\"text\":{}{more}}}", Value::from(text));
        send(
            &cluster.scheduler_admin,
            method,
            &format!("/api/v1/policy/{path}"),
            &body,
        )
    };
    let broken = "version = 1\n[policy.vip]\nmin_replicas = 0\n";
    let checked = send("POST", "check", broken, "");
    let (_, checked) = checked.split_once("\r\n\r\n").unwrap();
    let checked: Value = serde_json::from_str(checked).unwrap();
    assert_eq!(
        (&checked["valid"], &checked["faults"][0]["line"]),
        (&false.into(), &2.into())
    );
    assert_eq!(checked["faults"][1]["key"], "policy.vip.min_replicas");
    for (method, path) in [("POST", "apply"), ("PUT", "shadow"), ("PUT", "canary")] {
        let refused = send(method, path, broken, "");
        assert!(refused.contains(" 422 "), "{path}: {refused}");
        assert!(
            refused.contains("line 3: policy.vip.min_replicas"),
            "{refused}"
        );
    }
    let share = send("PUT", "canary", &text(0.1), ",\"share\":0.9");
    assert!(share.contains(" 400 "), "{share}");
    assert_eq!(
        request(
            &cluster.scheduler_admin,
            "DELETE",
            "/api/v1/policy/canary",
            ""
        )
        .status,
        404
    );
    assert_eq!(
        get(&cluster.scheduler_admin, "/api/v1/policy/versions/7").status,
        404
    );
    assert_eq!(ask(&cluster, "")["version"], Value::Null);
    assert_eq!(ask(&cluster, "/schema")["title"], "Weir policies");
}

#[test]
fn a_shadow_begins_and_ends_by_command() {
    let cluster = Cluster::start(1);
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "policy.toml", &text(0.05));
    let admin = format!("http://{}", cluster.scheduler_admin);
    weir_says(&[
        "policy",
        "shadow",
        file.to_str().unwrap(),
        "--admin",
        &admin,
    ]);
    let shadow = ask(&cluster, "/shadow");
    assert_eq!(shadow["planning"], true, "{shadow}");
    assert_eq!(ask(&cluster, "")["version"], Value::Null);
    let report = weir_says(&["policy", "shadow", "--stop", "--admin", &admin]);
    assert!(
        report.contains("FIGURE") && report.contains("cost"),
        "{report}"
    );
    assert_eq!(ask(&cluster, "/shadow")["status"], 404);
    let long = [
        "policy", "shadow", "--for", "1s", "--json", "--admin", &admin,
    ];
    let said = weir().args(long).arg(&file).output().unwrap();
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(report["rows"][0]["key"], "usd_per_month");
}

#[test]
fn a_cap_holds_for_a_crowd_that_comes_at_once_and_for_who_watches() {
    let cluster = Cluster::start(2);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);
    let folder = tempfile::tempdir().unwrap();
    let caps = "version = 1\n[policy.default]\n[policy.trial]\npriority = 1\n\
        selector = { label = \"trial\" }\ncaps = { viewers = 3 }\n";
    let file = write(folder.path(), "policy.toml", caps);
    let admin = format!("http://{}", cluster.scheduler_admin);
    weir_says(&["policy", "apply", file.to_str().unwrap(), "--admin", &admin]);
    eventually("redirects go by the policy", || {
        let why = format!(
            "/api/v1/explain?stream={STREAM}&from={}&label=trial",
            EDGES[0].3
        );
        let why = get(&cluster.scheduler_admin, &why).body;
        serde_json::from_slice::<Value>(&why).is_ok_and(|why| why["policy"] == "trial")
    });
    let sign = |label: &str| {
        let sign = ["token", "sign", "--stream", STREAM, "--label", label];
        weir_says(&sign).trim().to_owned()
    };
    let (trial, other) = (sign("trial"), sign("other"));
    let ask = |token: &str, host: usize| {
        let address = beside(EDGES[0].3, host);
        let path = format!("/{STREAM}.flv?ip={address}&token={token}");
        let answer = get(&cluster.scheduler, &path);
        answer.header("location")
    };
    let sent = (50..59).filter_map(|host| ask(&trial, host));
    let watching: Vec<TcpStream> = sent.map(|url| play(&url)).collect();
    assert_eq!(watching.len(), 3);
    assert!(ask(&other, 100).is_some(), "others are not of that policy");
    // Until all who were sent must be in samples: who watches is what counts then.
    std::thread::sleep(Duration::from_secs(7));
    assert!(ask(&trial, 20).is_none());
    assert!(ask(&trial, 50).is_some(), "who is there may come again");
}

/// Watches from an address until dropped.
fn watch(cluster: &Cluster, address: &str) -> TcpStream {
    play(&cluster.redirect(STREAM, address).unwrap())
}

/// Watches there until dropped.
fn play(url: &str) -> TcpStream {
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut socket = TcpStream::connect(host).unwrap();
    write!(socket, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut first = [0; 12];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let mut body = socket.try_clone().unwrap();
    std::thread::spawn(move || std::io::copy(&mut body, &mut std::io::sink()));
    socket
}

/// Tries a policy in one of two regions; which it is.
fn begin_canary(
    cluster: &Cluster,
    candidate: &str,
) -> &'static (&'static str, f64, f64, &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "policy.toml", candidate);
    let admin = format!("http://{}", cluster.scheduler_admin);
    let file = file.to_str().unwrap();
    let begin = [
        "policy", "canary", file, "--share", "50%", "--admin", &admin,
    ];
    let mut region = String::new();
    eventually("the canary has one of both regions", || {
        weir_says(&begin);
        let regions = ask(cluster, "/canary")["regions"].clone();
        region = regions[0].as_str().unwrap_or_default().to_owned();
        regions.as_array().is_some_and(|regions| regions.len() == 1)
    });
    EDGES.iter().find(|edge| edge.0 == region).unwrap()
}

/// Why the canary ended, as the history tells.
fn why_it_ended(cluster: &Cluster) -> String {
    let told = ask(cluster, "/history")[0].clone();
    assert_eq!(told["action"], "canary_failed", "{told}");
    let failed = "action=\"canary_failed\"";
    let scheduler = cluster.node("scheduler");
    assert_eq!(scheduler.metric("weir_policy_changes_total", failed), 1.0);
    told["why"][0].as_str().unwrap().to_owned()
}

#[test]
fn a_canary_whose_viewers_are_turned_away_ends_by_itself() {
    let cluster = Cluster::with(2, "[edge.capacity]\nviewers = 1\n");
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);
    let _viewers = [watch(&cluster, EDGES[0].3), watch(&cluster, EDGES[1].3)];
    let candidate = "version = 1\n[policy.default]\nplacement = { allow = [\"edge-none\"] }\n";
    let drawn = begin_canary(&cluster, candidate);
    let outside = beside(drawn.3, 77);
    within(
        Duration::from_secs(150),
        "it ends, since a viewer waits outside",
        || {
            assert!(cluster.redirect(STREAM, &outside).is_none());
            ask(&cluster, "/canary")["status"] == 404
        },
    );
    let why = why_it_ended(&cluster);
    assert!(why.contains("of the viewers wait outside"), "{why}");
}

#[test]
#[ignore = "takes more than a minute; run by `make soak`"]
fn soak_a_canary_whose_viewers_stall_ends_by_itself() {
    let mut cluster = Cluster::start(3);
    let (slow, ..) = EDGES[2];
    let way = detour::slow(&cluster.node(slow).public, SLOW_BPS / 8);
    let public = format!("http://{}\"", cluster.node(slow).public);
    let worse = format!("http://127.0.0.1:{}\"", way.port);
    cluster.reconfigure(slow, |text| text.replace(&public, &worse));
    eventually("the scheduler knows the edge's way", || {
        let nodes = get(&cluster.scheduler_admin, "/api/v1/nodes").body;
        String::from_utf8_lossy(&nodes).contains(&worse)
    });
    let _publisher = crowd::publish(&cluster, STREAM, RATE);
    cluster.wait_on_air(STREAM);
    let join = |address| crowd::play(&[cluster.play_url(STREAM, address)], 3, &[]);
    let before = [EDGES[0].3, EDGES[1].3].map(join);
    eventually("both regions have viewers", || {
        let watching = |edge| cluster.node(edge).metric("weir_edge_viewers", "") == 3.0;
        watching(EDGES[0].0) && watching(EDGES[1].0)
    });
    let candidate = format!(
        "version = 1\n[policy.default]\n[policy.trial]\npriority = 1\n\
         selector = {{ stream = \"live/*\" }}\nplacement = {{ allow = [\"{slow}\"] }}\n"
    );
    let drawn = begin_canary(&cluster, &candidate);
    let spared = EDGES[..2].iter().find(|edge| edge.0 != drawn.0).unwrap();
    let (tried, others) = (join(drawn.3), join(spared.3));
    let began = std::time::Instant::now();
    within(
        Duration::from_secs(150),
        "it ends, since its viewers stall",
        || ask(&cluster, "/canary")["status"] == 404,
    );
    let why = why_it_ended(&cluster);
    println!("after {:.0} s: {why}", began.elapsed().as_secs_f64());
    assert!(why.contains("stalls a viewer-hour"), "{why}");
    assert!(crowd::ended(tried)["stalls"]["count"].as_u64() > Some(0));
    for report in before
        .map(crowd::ended)
        .iter()
        .chain([&crowd::ended(others)])
    {
        assert_eq!(report["stalls"]["count"], 0, "the others play on");
    }
    assert_eq!(
        cluster.edge_for(STREAM, &beside(drawn.3, 78)).as_deref(),
        Some(drawn.0)
    );
}

#[test]
fn the_operators_page_has_the_example_and_every_key() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policies.md");
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains(&format!("```toml\n{}```\n", file::EXAMPLE)),
        "the example differs"
    );
    let table = keys::table();
    assert!(
        page.contains(&table),
        "the keys differ; they are now\n{table}"
    );
}
