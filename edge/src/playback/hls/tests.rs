//! One stream over loopback, played by HLS from an edge in this process.

use std::net::SocketAddr;

use cluster::node::NodeId;
use relay::cache::Cache;
use tokio::time::timeout;
use transport::quic::Endpoint;

use super::*;
use crate::fixture::{Feed, Origin, WITHIN, endpoint};
use crate::upstream;

struct Node {
    hls: Hls,
    metrics: Metrics,
    _endpoint: Endpoint,
}

fn node(parent: SocketAddr) -> Node {
    let (metrics, endpoint) = (Metrics::default(), endpoint("edge", 0).unwrap());
    let drain = Drain::new();
    let plan = watch::Sender::default().subscribe();
    let upstream = Upstream::new(upstream::Setup {
        node: NodeId::parse("edge").unwrap(),
        endpoint: endpoint.clone(),
        cache: Cache::new(64 << 20),
        plan: plan.clone(),
        parents: vec![parent.to_string()],
        linger: Duration::from_secs(10),
        metrics: metrics.clone(),
        drain: drain.clone(),
    });
    let settings = Settings {
        window: Duration::from_secs(60),
        cache_bytes: 1 << 20,
        auth: Auth::None,
    };
    let hls = Hls::new(Setup {
        settings,
        upstream,
        plan,
        metrics: metrics.clone(),
        drain,
    });
    Node {
        hls,
        metrics,
        _endpoint: endpoint,
    }
}

fn key() -> StreamKey {
    StreamKey::parse("live/x").unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(WITHIN, future).await.expect("it comes in time")
}

fn part(number: u64) -> Piece {
    Piece::Part { epoch: 1, number }
}

#[tokio::test]
async fn a_part_is_made_once_however_many_ask() {
    let mut feed = Feed::playable();
    feed.group();
    feed.group();
    let origin = Origin::start(&feed);
    let (edge, key) = (node(origin.address), key());
    let asks = (0..50).map(|_| edge.hls.piece(&key, part(1)));
    let found = soon(futures_util::future::join_all(asks)).await;
    let first = found[0].as_ref().unwrap().made.clone();
    assert!(!first.pieces.is_empty());
    assert!(
        found
            .iter()
            .all(|found| found.as_ref().unwrap().made == first)
    );
    assert_eq!(edge.metrics.hls_muxed.get(), 1);
}

#[tokio::test]
async fn what_is_hinted_is_waited_for() {
    let mut feed = Feed::playable();
    feed.group();
    let origin = Origin::start(&feed);
    let (edge, key) = (node(origin.address), key());
    let view = soon(edge.hls.playlist(&key, Some((1, Some(0)))));
    let hinted = soon(edge.hls.piece(&key, part(2)));
    let feeding = async {
        // The first group's only part is complete once the second group begins.
        feed.group();
        feed.group();
    };
    let (view, hinted, ()) = tokio::join!(view, hinted, feeding);
    assert!(view.unwrap().has(Some((1, None))));
    assert!(!hinted.unwrap().hit);
}

#[tokio::test]
async fn what_never_comes_is_said_at_once() {
    let mut feed = Feed::playable();
    (0..5).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    let (edge, key) = (node(origin.address), key());
    soon(edge.hls.playlist(&key, None)).await.unwrap();
    let rows = [
        Piece::Part {
            epoch: 1,
            number: 0,
        },
        Piece::Part {
            epoch: 1,
            number: 1_000_000,
        },
        Piece::Segment {
            epoch: 1,
            msn: 1_000,
        },
        Piece::Segment { epoch: 0, msn: 1 },
        Piece::Init {
            epoch: 0,
            config_id: 0,
        },
    ];
    for piece in rows {
        let found = soon(edge.hls.piece(&key, piece)).await;
        assert_eq!(found.unwrap_err(), Absent::Gone, "{piece}");
    }
    let ahead = soon(edge.hls.playlist(&key, Some((1_000, None)))).await;
    assert_eq!(ahead.unwrap_err(), Absent::Ahead);
}

#[tokio::test]
async fn a_stream_that_ends_ends_its_playlist() {
    let mut feed = Feed::playable();
    (0..3).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    let (edge, key) = (node(origin.address), key());
    let view = soon(edge.hls.playlist(&key, None)).await.unwrap();
    assert!(!view.is_ended());
    let waiting = edge.hls.playlist(&key, Some((4, None)));
    let Feed { track, .. } = feed;
    let ending = async { track.end() };
    let (view, ()) = soon(async { tokio::join!(waiting, ending) }).await;
    let view = view.unwrap();
    assert!(view.is_ended() && view.has(Some((3, None))));
}

#[tokio::test]
async fn a_stream_whose_parents_are_lost_does_not_end_but_is_gone() {
    let mut feed = Feed::playable();
    (0..3).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    let (edge, key) = (node(origin.address), key());
    soon(edge.hls.playlist(&key, None)).await.unwrap();
    origin.crash().await;
    // The upstream looks for it for half a minute.
    tokio::time::pause();
    let gone = async {
        while let Ok(view) = edge.hls.playlist(&key, None).await {
            assert!(!view.is_ended());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(120), gone).await.unwrap();
}

#[tokio::test]
async fn a_past_that_does_not_come_keeps_no_player_waiting() {
    let mut feed = Feed::playable();
    (0..3).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    origin.refuse_past(true);
    let (edge, key) = (node(origin.address), key());
    let live = async {
        loop {
            feed.group();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let view = timeout(Duration::from_secs(4), edge.hls.playlist(&key, None));
    let view = tokio::select! {
        view = view => view.unwrap().unwrap(),
        () = live => unreachable!("it goes on for ever"),
    };
    assert!(view.has(Some((3, None))));
}
