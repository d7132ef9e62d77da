//! Streams from parents in this process: single flight, linger, loss, loops and bounds.

use std::net::SocketAddr;

use super::*;
use crate::fixture::{FRAMES, Feed, Origin, WITHIN, endpoint};
use relay::driver::Peer;
use relay::reader::{Item, Reader, Start};

struct Node {
    upstream: Upstream,
    metrics: Metrics,
    endpoint: Endpoint,
}

fn node(name: &str, parent: SocketAddr, linger: Duration) -> Node {
    let (metrics, endpoint) = (Metrics::default(), endpoint(name, 0).unwrap());
    let upstream = Upstream::new(Setup {
        node: NodeId::parse(name).unwrap(),
        endpoint: endpoint.clone(),
        cache: Cache::new(64 << 20),
        plan: watch::Sender::default().subscribe(),
        parents: vec![parent.to_string()],
        linger,
        metrics: metrics.clone(),
        drain: Drain::new(),
    });
    Node {
        upstream,
        metrics,
        endpoint,
    }
}

fn key(text: &str) -> StreamKey {
    StreamKey::parse(text).unwrap()
}

/// Reads so many frames.
async fn read(reader: &mut Reader, count: usize) {
    let mut seen = 0;
    while seen < count {
        let item = timeout(WITHIN, reader.next()).await.expect("frames come");
        seen += usize::from(matches!(
            item.expect("the track goes on"),
            Item::Frame { .. }
        ));
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WITHIN, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn however_many_join_one_subscription_is_made() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_millis(50));
    let key = key("live/x");
    let joins = (0..20).map(|_| edge.upstream.join(&key, &[]));
    let joined = futures_util::future::join_all(joins).await;
    for joined in &joined {
        let joined = joined.as_ref().unwrap();
        assert_eq!(*joined.hops, ["origin".to_owned()]);
        read(
            &mut Reader::new(joined.track.clone(), Start::Latest),
            FRAMES,
        )
        .await;
    }
    let made = (origin.subscriptions(), edge.metrics.subscriptions.get());
    assert_eq!((made, edge.metrics.streams.get()), ((1, 1), 1));
    let paths = edge.upstream.measure();
    assert_eq!(paths.links[0].node.as_str(), "origin");
    assert!(paths.received_bytes > 0);
    drop(joined);
    until("left after the linger time", || {
        edge.metrics.streams.get() == 0
    })
    .await;
    until("disconnected", || edge.upstream.measure().links.is_empty()).await;
    edge.upstream.join(&key, &[]).await.unwrap();
    assert_eq!(origin.subscriptions(), 2);
}

#[tokio::test]
async fn who_comes_within_the_linger_time_finds_the_stream_there() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(60));
    for _ in 0..3 {
        drop(edge.upstream.join(&key("live/x"), &[]).await.unwrap());
    }
    assert_eq!(origin.subscriptions(), 1);
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_soon_said_to_be_missing() {
    let origin = Origin::start(&Feed::new());
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let missing = key("live/none");
    let joining = edge.upstream.join(&missing, &[]);
    let failure = timeout(OPEN_WITHIN / 2, joining)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(failure, Failure::NotFound);
    until("forgotten", || edge.upstream.0.streams.lock().is_empty()).await;
}

#[tokio::test]
async fn a_stream_without_a_picture_is_not_waited_for_long() {
    let feed = Feed::new();
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let failure = edge.upstream.join(&key("live/x"), &[]).await.unwrap_err();
    assert_eq!(failure, Failure::Silent);
}

#[tokio::test]
async fn a_restarted_origin_goes_on_in_the_same_track() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let joined = edge.upstream.join(&key("live/x"), &[]).await.unwrap();
    let mut reader = Reader::new(joined.track.clone(), Start::Latest);
    read(&mut reader, FRAMES).await;
    let port = origin.crash().await;
    let mut restarted = Feed::new();
    restarted.epoch = 2;
    restarted.group();
    let origin = Origin::restart(&restarted, port).await;
    read(&mut reader, FRAMES).await;
    assert_eq!(origin.subscriptions(), 1);
    assert!(edge.metrics.upstream_failures.get() >= 1);
}

#[tokio::test]
async fn a_stream_that_ended_ends_for_its_viewers() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let joined = edge.upstream.join(&key("live/x"), &[]).await.unwrap();
    let mut reader = Reader::new(joined.track.clone(), Start::Latest);
    feed.track.end();
    let ends = async { while reader.next().await.is_some() {} };
    timeout(WITHIN, ends).await.expect("the track ends");
    until("taken off the list", || {
        edge.upstream.0.streams.lock().is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_edge_serves_another_edge() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let near = node("near", origin.address, Duration::from_millis(50));
    tokio::spawn(serve::Server::new(near.upstream.clone()).run());
    let far = node(
        "far",
        near.endpoint.local_addr().unwrap(),
        Duration::from_millis(50),
    );
    let joined = far.upstream.join(&key("live/x"), &[]).await.unwrap();
    assert_eq!(*joined.hops, ["origin".to_owned(), "near".to_owned()]);
    read(
        &mut Reader::new(joined.track.clone(), Start::Latest),
        FRAMES,
    )
    .await;
    drop(joined);
    until("the far one left", || far.metrics.streams.get() == 0).await;
    until("so the near one left", || near.metrics.streams.get() == 0).await;
}

#[tokio::test]
async fn a_stream_that_no_other_node_takes_any_more_is_left() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let near = node("near", origin.address, Duration::from_millis(50));
    tokio::spawn(serve::Server::new(near.upstream.clone()).run());
    let far = endpoint("far", 0).unwrap();
    let peer = Peer::connect(&far, near.endpoint.local_addr().unwrap(), "far").await;
    let peer = peer.unwrap();
    let (into, _track) = relay::track::new(&Cache::new(1 << 20), None).unwrap();
    let start = relay::wire::Start::Latest;
    let subscription = peer.subscribe("live/x", &[], start, into).await.unwrap();
    assert_eq!(near.metrics.streams.get(), 1);
    drop(subscription);
    until("the near one left", || near.metrics.streams.get() == 0).await;
    drop(peer);
}

#[tokio::test]
async fn a_path_that_would_be_a_loop_is_refused() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let failure = edge
        .upstream
        .join(&key("live/x"), &["origin".to_owned()])
        .await
        .unwrap_err();
    assert_eq!(failure, Failure::Loop);
}

/// Numbers of the whole groups here, oldest first.
fn whole(track: &Consumer) -> Vec<u64> {
    let groups = track.recent(usize::MAX);
    let whole = groups
        .iter()
        .rev()
        .filter(|group| group.end() == Some(relay::group::End::Finished));
    whole.map(|group| group.key().number).collect()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_edge_that_joins_late_brings_the_past_once() {
    let mut feed = Feed::new();
    (0..9).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let joined = edge.upstream.join(&key("live/x"), &[]).await.unwrap();
    let asking = (0..20).map(|_| joined.past(MINUTE));
    futures_util::future::join_all(asking).await;
    assert_eq!(whole(&joined.track), (1..=9).collect::<Vec<_>>());
    // The stream, its past, and once more before the oldest that came.
    assert_eq!(origin.subscriptions(), 3);
    joined.past(MINUTE / 2).await;
    assert_eq!(origin.subscriptions(), 3);
}

#[tokio::test]
async fn the_past_comes_through_an_edge_that_did_not_have_it() {
    let mut feed = Feed::new();
    (0..5).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    let near = node("near", origin.address, Duration::from_secs(1));
    tokio::spawn(serve::Server::new(near.upstream.clone()).run());
    let address = near.endpoint.local_addr().unwrap();
    let far = node("far", address, Duration::from_secs(1));
    let joined = far.upstream.join(&key("live/x"), &[]).await.unwrap();
    joined.past(MINUTE).await;
    assert_eq!(whole(&joined.track), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_group_that_a_lost_parent_cut_is_made_whole_by_the_next() {
    let mut feed = Feed::new();
    feed.group();
    let mut cut = feed.open();
    feed.push(&mut cut);
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let joined = edge.upstream.join(&key("live/x"), &[]).await.unwrap();
    joined.past(MINUTE).await;
    assert_eq!(whole(&joined.track), [1]);
    let port = origin.crash().await;
    let aborted = || {
        let group = joined.track.latest().unwrap();
        group.end() == Some(relay::group::End::Aborted)
    };
    until("the group is cut", aborted).await;
    feed.push(&mut cut);
    cut.finish();
    feed.group();
    let _origin = Origin::restart(&feed, port).await;
    until("all are whole", || whole(&joined.track) == [1, 2, 3]).await;
    assert_eq!(joined.track.recent(2)[1].len(), 2);
}

#[tokio::test]
async fn nobody_waits_long_for_the_past_of_a_stream_that_is_over() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let joined = edge.upstream.join(&key("live/x"), &[]).await.unwrap();
    feed.track.end();
    timeout(PAST_WITHIN / 2, joined.past(MINUTE)).await.unwrap();
}

/// Joins, and asks for the past with a deadline that only a past that never settles misses.
async fn joined_with_past(edge: &Node) -> Joined {
    let joined = edge.upstream.join(&key("live/x"), &[]).await.unwrap();
    let past = timeout(PAST_WITHIN / 2, joined.past(MINUTE));
    past.await.expect("the past settles");
    joined
}

#[tokio::test]
async fn nobody_waits_for_what_is_missing_at_the_parent_too() {
    let mut feed = Feed::new();
    (0..3).for_each(|_| feed.group());
    // A hole, then another life of the stream.
    feed.number = 7;
    (0..2).for_each(|_| feed.group());
    (feed.epoch, feed.number) = (2, 100);
    (0..2).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let joined = joined_with_past(&edge).await;
    assert_eq!(whole(&joined.track), [1, 2, 3, 7, 8, 100, 101]);
    // The stream, its past, and once more before the oldest that came: no gap was asked for by itself.
    assert_eq!(origin.subscriptions(), 3);
}

#[tokio::test]
async fn nobody_waits_for_a_group_that_the_parent_never_had_whole() {
    let mut feed = Feed::new();
    feed.group();
    let mut cut = feed.open();
    feed.push(&mut cut);
    drop(cut);
    feed.group();
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let joined = joined_with_past(&edge).await;
    assert_eq!(whole(&joined.track), [1, 3]);
    assert_eq!(origin.subscriptions(), 3);
}

#[tokio::test]
async fn nobody_waits_for_a_past_that_the_parent_refuses_and_it_is_asked_again() {
    let mut feed = Feed::new();
    (0..5).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    origin.refuse_past(true);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let joined = joined_with_past(&edge).await;
    assert_eq!(whole(&joined.track), [5]);
    origin.refuse_past(false);
    until("it comes after all", || whole(&joined.track).len() == 5).await;
}

#[tokio::test]
async fn a_stream_that_was_here_before_gets_its_past_anew() {
    let mut feed = Feed::new();
    (0..3).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_millis(50));
    drop(joined_with_past(&edge).await);
    until("left", || edge.metrics.streams.get() == 0).await;
    (0..3).for_each(|_| feed.group());
    let joined = joined_with_past(&edge).await;
    assert_eq!(whole(&joined.track), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn the_past_of_a_parent_with_little_room_is_as_much_as_it_has() {
    let room = 4
        * (FRAMES * (crate::fixture::PICTURE_BYTES + relay::group::FRAME_COST)
            + relay::group::GROUP_COST);
    let (track, consumer) = relay::track::new(&Cache::new(room), None).unwrap();
    let mut feed = Feed::into(track, consumer);
    (0..20).for_each(|_| feed.group());
    let origin = Origin::start(&feed);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    let joined = joined_with_past(&edge).await;
    let here = whole(&joined.track);
    assert!(
        (2..6).contains(&here.len()) && here.last() == Some(&20),
        "{here:?}"
    );
}
