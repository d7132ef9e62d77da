use super::*;
use ::http::{Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use cluster::config::Secret;
use cluster::node::Place;
use cluster::stream::StreamKey;
use cluster::token::{Action, Audience, Claims, Config as Tokens};
use http_body_util::Full;
use transport::http::Client;

const SECRET: &str = "a secret for these tests";

/// A running edge without scheduler and parent.
struct Running {
    addrs: Addrs,
    drain: Drain,
    gate: Gate,
}

async fn start(config: Config, play: Audience) -> Running {
    let mut common = Common::default();
    common.node.id = Some(NodeId::parse("edge-1").unwrap());
    common.node.place = Place::default();
    common.cluster.secret = Secret::new(SECRET);
    common.admin.listen = ([127, 0, 0, 1], 0).into();
    common.tokens = Tokens {
        play,
        ..Tokens::default()
    };
    let gate = Gate::load(&common.tokens, &common.cluster.secret).unwrap();
    let loopback = ([127, 0, 0, 1], 0).into();
    let config = Config {
        listen: loopback,
        relay_listen: loopback,
        ..config
    };
    let drain = Drain::new();
    let edge = Edge::load(config, common, drain.clone()).await.unwrap();
    let addrs = edge.addrs();
    tokio::spawn(edge.run());
    Running { addrs, drain, gate }
}

impl Running {
    async fn ask(&self, method: Method, path: &str) -> Response<Bytes> {
        let uri = format!("http://{}{path}", self.addrs.public);
        let request = Request::builder().method(method).uri(uri);
        Client::new()
            .request(request.body(Full::default()).unwrap())
            .await
            .unwrap()
    }

    async fn operator(&self, path: &str) -> Response<Bytes> {
        let uri = format!("http://{}{path}", self.addrs.admin);
        let request = Request::builder().uri(uri).body(Full::default()).unwrap();
        Client::new().request(request).await.unwrap()
    }

    fn token(&self, stream: &str) -> String {
        let stream = StreamKey::parse(stream).unwrap();
        let exp_s = transport::clock::unix_ms() / 1000 + 60;
        self.gate
            .sign(&Claims::new(stream.into(), Action::Play, exp_s))
    }
}

#[tokio::test]
async fn requests_are_answered_as_promised() {
    let edge = start(Config::default(), Audience::Required).await;
    let good = edge.token("live/x");
    let rows = [
        (Method::GET, "/".to_owned(), 200),
        (Method::GET, "/nothing".into(), 404),
        (Method::GET, "/live/x.mp4".into(), 404),
        (Method::GET, "/live%2fx.flv".into(), 400),
        (Method::GET, "//live/x.flv".into(), 400),
        (Method::POST, "/live/x.flv".into(), 405),
        (Method::OPTIONS, "/live/x.flv".into(), 204),
        (Method::GET, "/live/x.flv".into(), 403),
        (Method::GET, "/live/x.flv?token=wrong".into(), 403),
        (Method::GET, format!("/live/other.flv?token={good}"), 403),
        (Method::HEAD, format!("/live/x.flv?token={good}"), 200),
        // No parent is configured, so nobody has it.
        (Method::GET, format!("/live/x.flv?token={good}"), 404),
    ];
    for (method, path, expected) in rows {
        let response = edge.ask(method.clone(), &path).await;
        assert_eq!(response.status().as_u16(), expected, "{method} {path}");
        let headers = response.headers();
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{path}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(headers[header::VIA], "1.1 edge-1", "{path}");
    }
    let refused = edge.ask(Method::GET, "/live/x.flv?token=wrong").await;
    let text = String::from_utf8_lossy(refused.body()).into_owned();
    assert!(!text.contains("token"), "why is not told: {text}");
    let metrics = edge.operator("/metrics").await;
    let text = String::from_utf8_lossy(metrics.body()).into_owned();
    assert!(
        text.contains("weir_edge_refused_total{reason=\"token_malformed\"}"),
        "{text}"
    );
    assert!(text.contains("weir_edge_viewers 0"), "{text}");
    edge.drain.stop();
}

#[tokio::test]
async fn a_full_node_says_when_to_come_back() {
    let capacity = config::Capacity {
        egress_mbps: 0,
        viewers: 1,
    };
    let edge = start(
        Config {
            capacity,
            ..Config::default()
        },
        Audience::Open,
    )
    .await;
    let held = edge.ask(Method::HEAD, "/live/x.flv").await;
    assert_eq!(held.status(), StatusCode::OK, "a HEAD holds no place");
    let summary = edge.operator("/api/v1/viewers").await;
    assert_eq!(summary.body(), r#"{"total":0,"egress_bps":0,"streams":[]}"#);
    edge.drain.stop();
}

#[tokio::test]
async fn a_draining_node_is_not_ready_and_ends() {
    let edge = start(Config::default(), Audience::Open).await;
    assert_eq!(edge.operator("/readyz").await.status(), StatusCode::OK);
    edge.drain.start();
    let ready = edge.operator("/readyz").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        edge.drain.finish(Duration::from_secs(5)).await,
        "nobody watches"
    );
}
