//! A whole edge over loopback: who is served, who is sent on, and what is said to whom.

use super::*;
use crate::fixture::{FRAMES, Feed, Origin, PICTURE_BYTES, SECRET, WITHIN};
use ::http::{Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use cluster::config::Secret;
use cluster::node::Place;
use cluster::stream::StreamKey;
use cluster::token::{Action, Audience, Claims, Config as Tokens};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use transport::http::{Client, Incoming};

/// A running edge without scheduler and parent.
struct Running {
    addrs: Addrs,
    drain: Drain,
    gate: Gate,
    run: JoinHandle<()>,
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
    let run = tokio::spawn(edge.run());
    Running {
        addrs,
        drain,
        gate,
        run,
    }
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

    async fn watch(&self, path: &str) -> Response<Incoming> {
        let response = Client::new()
            .get(&format!("http://{}{path}", self.addrs.public))
            .await;
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response
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

/// Takes the bytes of so many pictures, at least.
async fn pictures(body: &mut Incoming, count: usize) {
    let mut bytes = 0;
    while bytes < count * PICTURE_BYTES {
        let frame = tokio::time::timeout(WITHIN, body.frame())
            .await
            .expect("pictures come");
        bytes += frame
            .expect("the body goes on")
            .unwrap()
            .into_data()
            .unwrap()
            .len();
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
        (
            Method::GET,
            format!("/live/x.flv?token={good}&resume=1.2"),
            400,
        ),
        // Nobody is known who could have it.
        (Method::GET, format!("/live/x.flv?token={good}"), 504),
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
async fn viewers_watch_as_many_as_there_is_room_for() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let capacity = config::Capacity {
        egress_mbps: 0,
        viewers: 1,
    };
    let parents = vec![origin.address.to_string()];
    let edge = start(
        Config {
            capacity,
            parents,
            ..Config::default()
        },
        Audience::Open,
    )
    .await;
    let viewer = edge.watch("/live/x.flv").await;
    assert_eq!(viewer.headers()[header::CONTENT_TYPE], "video/x-flv");
    let mut viewer = viewer.into_body();
    pictures(&mut viewer, FRAMES).await;

    let refused = edge.ask(Method::GET, "/live/x.flv").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "5");
    let summary = edge.operator("/api/v1/viewers").await;
    let summary: serde_json::Value = serde_json::from_slice(summary.body()).unwrap();
    assert_eq!(summary["total"], 1);
    assert_eq!(summary["streams"][0]["key"], "live/x");

    drop(viewer);
    let again = async {
        while edge.ask(Method::HEAD, "/live/x.flv").await.status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, again)
        .await
        .expect("the place is given back");
    assert_eq!(origin.subscriptions(), 1);
    edge.drain.stop();
}

#[tokio::test]
async fn a_plain_stream_ends_with_its_connection() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let parents = vec![origin.address.to_string()];
    let config = Config {
        parents,
        ..Config::default()
    };
    let edge = start(config, Audience::Open).await;
    for version in ["1.0", "1.1"] {
        let mut tcp = TcpStream::connect(edge.addrs.public).await.unwrap();
        // The second request is behind the first: a stream has no other end than its connection's.
        let request = format!("GET /live/x.flv HTTP/{version}\r\nHost: edge\r\n\r\n").repeat(2);
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\nFLV\x01") {
            let byte = tokio::time::timeout(WITHIN, tcp.read_u8()).await;
            head.push(byte.expect("the stream begins").unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
        for field in [
            "content-type: video/x-flv",
            "connection: close",
            "cache-control: no-store",
            "access-control-allow-origin: *",
            &format!("via: {version} edge-1"),
            "date: ",
        ] {
            assert!(head.contains(field), "{field}: {head}");
        }
        assert!(!head.contains("content-length") && !head.contains("transfer-encoding"));
    }
    edge.drain.stop();
}

#[tokio::test]
async fn a_websocket_carries_the_same_stream() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let parents = vec![origin.address.to_string()];
    let edge = start(
        Config {
            parents,
            ..Config::default()
        },
        Audience::Open,
    )
    .await;
    let mut tcp = TcpStream::connect(edge.addrs.public).await.unwrap();
    let request = "GET /live/x.flv HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(
            tokio::time::timeout(WITHIN, tcp.read_u8())
                .await
                .unwrap()
                .unwrap(),
        );
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    // The accept value of RFC 6455, section 1.3.
    assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    // A binary message shorter than 64 KiB, its length in two bytes, and what it holds.
    let mut message = [0; 4 + 4];
    tokio::time::timeout(WITHIN, tcp.read_exact(&mut message))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((message[0], message[1]), (0x82, 126));
    assert_eq!(&message[4..], b"FLV\x01");
    edge.drain.stop();
}

#[tokio::test]
async fn running_viewers_have_the_drains_time() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let parents = vec![origin.address.to_string()];
    let drain = transport::config::Duration::from_secs(1);
    let edge = start(
        Config {
            drain,
            parents,
            ..Config::default()
        },
        Audience::Open,
    )
    .await;
    let mut viewer = edge.watch("/live/x.flv").await.into_body();
    pictures(&mut viewer, FRAMES).await;
    assert_eq!(edge.operator("/readyz").await.status(), StatusCode::OK);
    edge.drain.start();
    let ready = edge.operator("/readyz").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    feed.group();
    pictures(&mut viewer, FRAMES).await;
    let rest = tokio::time::timeout(WITHIN, viewer.collect()).await;
    rest.expect("the deadline is kept")
        .expect("the end of a plain stream is that of its connection");
    edge.run.await.unwrap();
}

#[tokio::test]
async fn a_node_that_nobody_watches_ends_at_once() {
    let edge = start(Config::default(), Audience::Open).await;
    edge.drain.start();
    let ended = tokio::time::timeout(Duration::from_secs(5), edge.run).await;
    ended.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_running_session_of_hls_is_served_while_the_node_drains() {
    let mut feed = Feed::playable();
    (0..3).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    let parents = vec![origin.address.to_string()];
    let config = Config {
        parents,
        ..Config::default()
    };
    let edge = start(config, Audience::Open).await;
    let first = edge.ask(Method::GET, "/live/x.m3u8").await;
    let text = String::from_utf8(first.body().to_vec()).unwrap();
    let media = text.lines().last().unwrap();
    let playlist = format!("/live/{media}");
    assert_eq!(edge.ask(Method::GET, &playlist).await.status(), 200);
    edge.drain.start();
    // Each of these is a connection of its own.
    for _ in 0..3 {
        assert_eq!(edge.ask(Method::GET, &playlist).await.status(), 200);
    }
    for other in ["/live/x.m3u8", "/live/x.flv"] {
        let refused = edge.ask(Method::GET, other).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{other}");
    }
    assert!(!edge.run.is_finished());
    edge.drain.stop();
    let ended = tokio::time::timeout(WITHIN, edge.run).await;
    ended.expect("a stop ends it at once").unwrap();
}
