//! The agent against schedulers that answer, fail, refuse and come back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use transport::accept::Listener;
use transport::http::{Limits, Server, collect, json, problem};

use super::*;
use crate::node::{Capacity, Node, NodeId, Place, Role};
use crate::plan::Mark;
use crate::sample::MAX_REPORT_BYTES;
use crate::stream::{StreamKey, StreamRecord};

const SECRET: &str = "a secret for tests only";

pub(super) fn sample() -> Sample {
    let node = Node {
        id: NodeId::parse("edge-1").unwrap(),
        role: Role::Edge,
        public_url: "http://127.0.0.1:8080".into(),
        relay: None,
        hub: false,
        zone: None,
        admin: None,
        place: Place::default(),
        capacity: Capacity::default(),
        version: "0".into(),
    };
    Sample::new(node, 1_000)
}

pub(super) fn record(key: &str) -> StreamRecord {
    StreamRecord {
        key: StreamKey::parse(key).unwrap(),
        origin: NodeId::parse("origin").unwrap(),
        epoch: 1,
        started_ms: 1,
        tracks: Vec::new(),
        bitrate_bps: 0,
        peak_bps: 0,
        publisher: String::new(),
    }
}

fn identity(secret: &str, node: &str) -> Identity {
    Identity::from_secret(secret, node).unwrap()
}

fn plan(epoch: u64, revision: u64) -> Plan {
    Plan::new(Mark { epoch, revision }, Vec::new(), Vec::new(), Vec::new())
}

/// A scheduler that hands on what it is told and answers from a list, then with nothing.
struct Scheduler {
    address: SocketAddr,
    reports: mpsc::Receiver<Report>,
    drain: Drain,
    server: JoinHandle<()>,
}

impl Scheduler {
    async fn start(at: SocketAddr, secret: &str, answers: Vec<Result<Answer, StatusCode>>) -> Self {
        let listener = Listener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        let drain = Drain::new();
        let tls = identity(secret, "scheduler")
            .server_config(&[b"http/1.1"])
            .unwrap();
        let server = Server::new(listener, Limits::default(), drain.clone()).tls(tls);
        let (told, reports) = mpsc::channel(100);
        let answers = Arc::new((answers, AtomicUsize::new(0)));
        let serve = server.run(move |request| {
            let (told, answers) = (told.clone(), answers.clone());
            async move {
                assert_eq!(request.uri().path(), PATH);
                let body = collect(request.into_body(), MAX_REPORT_BYTES, INTERVAL)
                    .await
                    .unwrap();
                told.send(serde_json::from_slice(&body).unwrap())
                    .await
                    .unwrap();
                match answers.0.get(answers.1.fetch_add(1, Ordering::SeqCst)) {
                    Some(Err(status)) => problem(*status, "refused", "for the test"),
                    Some(Ok(answer)) => json(StatusCode::OK, answer),
                    None => json(StatusCode::OK, &Answer::default()),
                }
            }
        });
        Self {
            address,
            reports,
            drain,
            server: tokio::spawn(serve),
        }
    }

    async fn anywhere(answers: Vec<Result<Answer, StatusCode>>) -> Self {
        Self::start(([127, 0, 0, 1], 0).into(), SECRET, answers).await
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    async fn report(&mut self) -> Report {
        timeout(10 * INTERVAL, self.reports.recv())
            .await
            .expect("a report comes")
            .unwrap()
    }

    async fn stop(self) {
        self.drain.stop();
        self.server.await.unwrap();
    }
}

/// Runs an agent; the drain ends it.
fn run(urls: &[String]) -> (watch::Receiver<Arc<Plan>>, Drain, JoinHandle<()>) {
    let agent = Agent::new(urls, &identity(SECRET, "edge-1"), sample).unwrap();
    let (plan, drain) = (agent.plan(), Drain::new());
    let running = tokio::spawn(agent.run(drain.clone()));
    (plan, drain, running)
}

fn seqs(report: &Report) -> Vec<u64> {
    report.samples.iter().map(|s| s.seq).collect()
}

#[tokio::test]
async fn newer_plans_are_taken_and_older_ones_are_not() {
    let answers = [(3, 1), (2, 9), (3, 2)];
    let answers = answers.map(|(e, r)| {
        Ok(Answer {
            plan: Some(plan(e, r)),
        })
    });
    let mut scheduler = Scheduler::anywhere(answers.into()).await;
    let (mut plan, drain, running) = run(&[scheduler.url()]);
    assert_eq!(plan.borrow().mark, Mark::default());
    let mut held = Vec::new();
    for _ in 0..4 {
        let Mark { epoch, revision } = scheduler.report().await.held;
        held.push((epoch, revision));
    }
    assert_eq!(held, [(0, 0), (3, 1), (3, 1), (3, 2)]);
    assert_eq!(
        plan.borrow_and_update().mark,
        Mark {
            epoch: 3,
            revision: 2
        }
    );
    drain.stop();
    running.await.unwrap();
    assert_eq!(
        plan.borrow().mark,
        Mark {
            epoch: 3,
            revision: 2
        },
        "kept without an agent"
    );
}

#[tokio::test]
async fn a_stopping_node_says_that_it_drains_and_then_leaves() {
    let mut scheduler = Scheduler::anywhere(Vec::new()).await;
    let (_plan, drain, running) = run(&[scheduler.url()]);
    let state = async |scheduler: &mut Scheduler| {
        let report = scheduler.report().await;
        report.samples.last().unwrap().state
    };
    assert_eq!(state(&mut scheduler).await, State::Serving);
    drain.start();
    assert_eq!(state(&mut scheduler).await, State::Draining);
    drain.stop();
    running.await.unwrap();
    let mut last = State::Draining;
    while let Ok(report) = scheduler.reports.try_recv() {
        last = report.samples.last().unwrap().state;
    }
    assert_eq!(last, State::Leaving);
}

#[tokio::test]
async fn samples_of_an_outage_come_in_one_batch() {
    let scheduler = Scheduler::anywhere(Vec::new()).await;
    let (address, url) = (scheduler.address, scheduler.url());
    scheduler.stop().await;
    let (_plan, drain, running) = run(&[url]);
    sleep(2 * INTERVAL).await;
    let mut scheduler = Scheduler::start(address, SECRET, Vec::new()).await;
    let report = scheduler.report().await;
    assert!(report.samples.len() >= 2, "{:?}", seqs(&report));
    assert_eq!(
        seqs(&report),
        (0..report.samples.len() as u64).collect::<Vec<_>>()
    );
    let next = scheduler.report().await;
    assert_eq!(next.samples[0].seq, report.samples.len() as u64);
    drain.stop();
    running.await.unwrap();
}

#[tokio::test]
async fn the_next_scheduler_is_tried_when_one_is_dead_or_ill() {
    let dead = Scheduler::anywhere(Vec::new()).await;
    let dead_url = dead.url();
    dead.stop().await;
    let mut ill = Scheduler::anywhere(vec![Err(StatusCode::SERVICE_UNAVAILABLE)]).await;
    let mut well = Scheduler::anywhere(Vec::new()).await;
    let (_plan, drain, running) = run(&[dead_url, ill.url(), well.url()]);
    assert_eq!(seqs(&ill.report().await), [0]);
    assert_eq!(
        seqs(&well.report().await)[0],
        0,
        "what was not taken is sent again"
    );
    drain.stop();
    running.await.unwrap();
}

#[tokio::test]
async fn a_report_found_wrong_is_not_repeated() {
    let mut scheduler = Scheduler::anywhere(vec![Err(StatusCode::BAD_REQUEST)]).await;
    let (_plan, drain, running) = run(&[scheduler.url()]);
    assert_eq!(seqs(&scheduler.report().await), [0]);
    assert_eq!(seqs(&scheduler.report().await)[0], 1);
    drain.stop();
    running.await.unwrap();
}

#[tokio::test]
async fn a_scheduler_of_another_cluster_learns_nothing() {
    let at = ([127, 0, 0, 1], 0).into();
    let mut stranger = Scheduler::start(at, "another cluster's secret", Vec::new()).await;
    let mut ours = Scheduler::anywhere(Vec::new()).await;
    let (_plan, drain, running) = run(&[stranger.url(), ours.url()]);
    ours.report().await;
    assert!(stranger.reports.try_recv().is_err());
    drain.stop();
    running.await.unwrap();
}

#[tokio::test]
async fn a_node_without_schedulers_ends_when_stopped() {
    let (_plan, drain, running) = run(&[]);
    drain.stop();
    running.await.unwrap();
}

#[test]
fn schedulers_are_https_addresses() {
    let rows = [
        ("https://10.0.0.1:7700", true),
        ("https://[::1]:7700/", true),
        ("https://scheduler.example.com", true),
        ("http://10.0.0.1:7700", false),
        ("10.0.0.1:7700", false),
        ("https://10.0.0.1/api", false),
        ("https://10.0.0.1/?x", false),
        ("https://", false),
        ("", false),
    ];
    for (url, right) in rows {
        assert_eq!(endpoint(url).is_ok(), right, "{url:?}");
    }
    assert_eq!(
        endpoint("https://a:1/").unwrap(),
        "https://a:1/cluster/v1/sample"
    );
}

#[test]
fn back_off_doubles_to_its_cap() {
    let rows = [
        (1, 250),
        (2, 500),
        (3, 1_000),
        (4, 2_000),
        (5, 3_000),
        (usize::MAX, 3_000),
    ];
    for (rounds, ms) in rows {
        assert_eq!(backoff(rounds), Duration::from_millis(ms), "{rounds}");
    }
}
