//! A whole scheduler over loopback: nodes over mutual TLS, viewers, operators.

use std::time::Duration;

use ::http::{HeaderMap, Method, Request, StatusCode, header};
use cluster::config::Secret;
use cluster::node::NodeId;
use cluster::plan::Health;
use cluster::sample::{Answer, PATH, Report, Sample};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use transport::http::{Client, ClientError};
use transport::tls::Identity;

use super::*;
use crate::explain::Explanation;
use crate::geo::Point;
use crate::snapshot::fixture::{FRANKFURT, VIRGINIA, sample, stream};

const SECRET: &str = "a secret of the cluster in the tests";

struct Running {
    addrs: Addrs,
    http: Client,
    drain: Drain,
}

async fn start() -> Running {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        listen: loopback,
        cluster_listen: loopback,
        allow_ip_override: true,
        places: vec![crate::config::Place {
            name: "Here".to_owned(),
            address: [127, 0, 0, 1].into(),
        }],
        ..Config::default()
    };
    let mut common = Common::default();
    common.cluster.secret = Secret::new(SECRET);
    common.admin.listen = loopback;
    let geo = geo::Config {
        default: Some(Point {
            lat: FRANKFURT.0,
            lon: FRANKFURT.1,
        }),
        ..geo::Config::default()
    };
    let drain = Drain::new();
    let scheduler = Scheduler::load(config, geo, common, None, drain.clone())
        .await
        .unwrap();
    let addrs = scheduler.addrs();
    tokio::spawn(scheduler.run());
    Running {
        addrs,
        http: Client::new(),
        drain,
    }
}

fn edge(id: &str, city: (f64, f64)) -> Sample {
    sample(id, Role::Edge, city)
}

impl Running {
    async fn report(&self, node: &str, samples: Vec<Sample>) -> Result<Answer, ClientError> {
        let identity = Identity::from_secret(SECRET, node).unwrap();
        let client = Client::with_identity(&identity).unwrap();
        let url = format!("https://{}{PATH}", self.addrs.cluster);
        client
            .post_json(
                &url,
                None,
                &Report {
                    held: Mark::default(),
                    samples,
                },
            )
            .await
    }

    async fn watch(&self, query: &str) -> (StatusCode, HeaderMap) {
        let url = format!("http://{}/live/x.flv{query}", self.addrs.public);
        let request = Request::get(url).body(Default::default()).unwrap();
        let (head, _) = self.http.request(request).await.unwrap().into_parts();
        (head.status, head.headers)
    }

    /// The edge that viewers are sent to.
    async fn edge(&self) -> Option<String> {
        let (_, headers) = self.watch("").await;
        let location = headers.get(header::LOCATION)?.to_str().unwrap().to_owned();
        let host = location.strip_prefix("https://").unwrap();
        Some(host.split('.').next().unwrap().to_owned())
    }

    async fn until_edge(&self, expected: Option<&str>) {
        let wait = async {
            while self.edge().await.as_deref() != expected {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(5), wait)
            .await
            .expect("the edge changes in time");
    }

    async fn until_nodes(&self, count: usize) {
        let known = async || self.admin(Method::GET, "/api/v1/nodes").await.1;
        let wait = async {
            while known().await.as_array().is_none_or(|it| it.len() < count) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let known = timeout(Duration::from_secs(5), wait).await;
        known.expect("all nodes are known in time");
    }

    async fn admin(&self, method: Method, path: &str) -> (StatusCode, Value) {
        let url = format!("http://{}{path}", self.addrs.admin);
        let request = Request::builder()
            .method(method)
            .uri(url)
            .body(Default::default())
            .unwrap();
        let response = self.http.request(request).await.unwrap();
        let status = response.status();
        (
            status,
            serde_json::from_slice(response.body()).unwrap_or(Value::Null),
        )
    }
}

async fn on_air() -> Running {
    let running = start().await;
    let mut origin = sample("origin", Role::Origin, FRANKFURT);
    origin.streams = vec![stream("live/x", "origin")];
    running.report("origin", vec![origin]).await.unwrap();
    running
        .report("fra", vec![edge("fra", FRANKFURT)])
        .await
        .unwrap();
    running
        .report("iad", vec![edge("iad", VIRGINIA)])
        .await
        .unwrap();
    running.until_edge(Some("fra")).await;
    running.until_nodes(3).await;
    running
}

#[tokio::test]
async fn reports_become_redirects_and_the_plan_comes_back() {
    let running = on_air().await;
    let plan = running
        .report("fra", vec![edge("fra", FRANKFURT)])
        .await
        .unwrap()
        .plan
        .unwrap();
    assert_eq!(plan.streams[0].key.as_str(), "live/x");
    let health: Vec<_> = plan
        .nodes
        .iter()
        .map(|it| (it.node.id.as_str(), it.health))
        .collect();
    assert_eq!(
        health,
        [
            ("fra", Health::Up),
            ("iad", Health::Up),
            ("origin", Health::Up)
        ]
    );
    assert!(plan.mark.epoch > 0 && plan.mark.revision > 0);

    let (status, headers) = running.watch("").await;
    assert_eq!(
        (status, &headers[header::CACHE_CONTROL]),
        (StatusCode::FOUND, &"no-store".parse().unwrap())
    );
    assert_eq!(running.watch("?token=x").await.0, StatusCode::FORBIDDEN);
    running.drain.stop();
}

#[tokio::test]
async fn a_node_speaks_for_itself_alone_and_only_with_a_certificate() {
    let running = start().await;
    let refused = running
        .report("iad", vec![edge("fra", FRANKFURT)])
        .await
        .unwrap_err();
    assert_eq!(refused.status(), Some(StatusCode::FORBIDDEN));
    let stranger = Identity::from_secret("another secret of another cluster", "fra").unwrap();
    let url = format!("https://{}{PATH}", running.addrs.cluster);
    let report = Report {
        held: Mark::default(),
        samples: vec![edge("fra", FRANKFURT)],
    };
    let client = Client::with_identity(&stranger).unwrap();
    let refused = client
        .post_json::<_, Answer>(&url, None, &report)
        .await
        .unwrap_err();
    assert_eq!(refused.status(), None, "the handshake fails");
    assert!(
        running
            .admin(Method::GET, "/api/v1/nodes")
            .await
            .1
            .as_array()
            .unwrap()
            .is_empty()
    );
    running.drain.stop();
}

#[tokio::test]
async fn a_silent_edge_leaves_the_answers() {
    let running = on_air().await;
    running
        .report("fra", vec![edge("fra", FRANKFURT)])
        .await
        .unwrap();
    let killed = Instant::now();
    let beat = async {
        for seq in 1.. {
            let sample = Sample {
                seq,
                ..edge("iad", VIRGINIA)
            };
            running.report("iad", vec![sample]).await.unwrap();
            sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = beat => {}
        () = running.until_edge(Some("iad")) => {}
    }
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    running.drain.stop();
}

#[tokio::test]
async fn operators_drain_kick_and_ask_why() {
    let running = on_air().await;
    let drain = "/api/v1/nodes/fra/drain";
    assert_eq!(
        running.admin(Method::POST, drain).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        running.edge().await.as_deref(),
        Some("iad"),
        "a drain holds at once"
    );
    let path = "/api/v1/explain?stream=live/x&from=127.0.0.1";
    let explanation = running.admin(Method::GET, path).await.1;
    let explanation: Explanation = serde_json::from_value(explanation).unwrap();
    assert!(
        explanation
            .to_string()
            .contains("draining: takes no new viewers")
    );
    assert_eq!(
        running.admin(Method::DELETE, drain).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(running.edge().await.as_deref(), Some("fra"));
    assert_eq!(
        running.admin(Method::DELETE, drain).await.0,
        StatusCode::NOT_FOUND
    );
    let unknown = running
        .admin(Method::POST, "/api/v1/nodes/nobody/drain")
        .await;
    assert_eq!(
        (unknown.0, &unknown.1["status"]),
        (StatusCode::NOT_FOUND, &Value::from(404))
    );

    let kick = "/api/v1/streams/live/x/kick?seconds=30";
    assert_eq!(running.admin(Method::POST, kick).await.0, StatusCode::OK);
    let plan = running
        .report("iad", vec![edge("iad", VIRGINIA)])
        .await
        .unwrap()
        .plan
        .unwrap();
    assert_eq!(plan.kicks[0].key.as_str(), "live/x");
    for bad in [
        "/api/v1/streams/live/x/kick?seconds=0",
        "/api/v1/streams/live/a..b/kick",
    ] {
        assert_eq!(
            running.admin(Method::POST, bad).await.0,
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
    running.drain.stop();
}

#[tokio::test]
async fn the_console_finds_nodes_streams_links_and_places() {
    let running = on_air().await;
    let mut sample = edge("fra", FRANKFURT);
    let id = |text: &str| NodeId::parse(text).unwrap();
    sample.viewers = vec![cluster::sample::StreamViewers {
        key: stream("live/x", "origin").key,
        viewers: 7,
        joins: 0,
        leaves: 0,
    }];
    sample.parents = vec![cluster::sample::Link {
        node: id("origin"),
        rtt_ms: 1.5,
        loss: 0.0,
    }];
    running
        .report("fra", vec![Sample { seq: 1, ..sample }])
        .await
        .unwrap();
    let wait = async {
        loop {
            let overview = running.admin(Method::GET, "/api/v1/overview").await.1;
            let overview: api::Overview = serde_json::from_value(overview).unwrap();
            if overview.streams[0].viewers == 7 {
                return overview;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let overview = timeout(Duration::from_secs(5), wait).await.unwrap();
    assert_eq!(overview.streams[0].edges, [id("fra")]);
    assert_eq!(
        (&overview.links[0].from, &overview.links[0].to),
        (&id("origin"), &id("fra"))
    );
    let fra = overview
        .nodes
        .iter()
        .find(|node| node.id == id("fra"))
        .unwrap();
    assert_eq!(
        (fra.viewers, fra.health, fra.place.name.as_str()),
        (7, Health::Up, "fra")
    );
    assert_eq!(
        overview.public_url,
        format!("http://localhost:{}", running.addrs.public.port())
    );

    let places = running.admin(Method::GET, "/api/v1/places").await.1;
    assert_eq!(
        (&places[0]["name"], &places[0]["lat"]),
        (&"Here".into(), &FRANKFURT.0.into())
    );
    let streams = running.admin(Method::GET, "/api/v1/streams").await.1;
    assert_eq!(
        (&streams[0]["key"], &streams[0]["viewers"]),
        (&"live/x".into(), &7.into())
    );
    running.drain.stop();
}

#[tokio::test]
async fn metrics_tell_decisions_nodes_and_reports() {
    let running = on_air().await;
    let url = format!("http://{}/metrics", running.addrs.admin);
    let request = Request::get(url).body(Default::default()).unwrap();
    let body = running.http.request(request).await.unwrap().into_body();
    let text = String::from_utf8(body.to_vec()).unwrap();
    for line in [
        "weir_scheduler_decisions_total{outcome=\"redirected\"}",
        "weir_scheduler_decision_seconds_bucket",
        "weir_scheduler_nodes{role=\"edge\",health=\"up\"} 2",
        "weir_scheduler_streams 1",
        "weir_scheduler_samples_total 3",
        "weir_scheduler_geo_lookups_total{source=\"default\"}",
        "weir_http_requests_total{listener=\"public\"}",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    running.drain.stop();
}

#[tokio::test]
async fn orders_outlive_the_scheduler() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let id = NodeId::parse("fra").unwrap();
    {
        let store = Embedded::open(Some(&path)).unwrap();
        let epoch = store.lead(1).await.unwrap();
        store.drain(epoch, id.clone(), 1).await.unwrap();
    }
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        cluster_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        store: Some(path),
        ..Config::default()
    };
    let mut common = Common::default();
    common.cluster.secret = Secret::new(SECRET);
    common.admin.listen.set_port(0);
    let load = Scheduler::load(config, geo::Config::default(), common, None, Drain::new());
    let scheduler = load.await.unwrap();
    let take =
        |registry: &mut Registry, now| registry.take(now, "fra", vec![edge("fra", FRANKFURT)]);
    scheduler.collector.order(take).unwrap();
    let snapshot = scheduler.collector.snapshot().load_full();
    assert_eq!(snapshot.node("fra").unwrap().health, Health::Draining);
}
