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
    plan: watch::Sender<Arc<Plan>>,
}

fn node(name: &str, parent: SocketAddr, linger: Duration) -> Node {
    node_below(name, vec![parent.to_string()], linger)
}

fn node_below(name: &str, parents: Vec<String>, linger: Duration) -> Node {
    let (metrics, endpoint) = (Metrics::default(), endpoint(name, 0).unwrap());
    let plan = watch::Sender::default();
    let upstream = Upstream::new(Setup {
        node: NodeId::parse(name).unwrap(),
        endpoint: endpoint.clone(),
        cache: Cache::new(64 << 20),
        plan: plan.subscribe(),
        parents,
        linger,
        metrics: metrics.clone(),
        drain: Drain::new(),
    });
    Node {
        upstream,
        metrics,
        endpoint,
        plan,
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
async fn who_comes_before_anybody_is_known_who_could_have_the_stream_waits_for_a_plan() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    let edge = node_below("edge", Vec::new(), Duration::from_secs(1));
    let key = key("live/x");
    let joining = edge.upstream.join(&key, &[]);
    let told = async {
        until("asked for", || !edge.upstream.0.streams.lock().is_empty()).await;
        edge.plan.send_replace(from(&[origin.address], 1));
    };
    let (joined, ()) = futures_util::future::join(joining, told).await;
    assert_eq!(*joined.unwrap().hops, ["origin".to_owned()]);
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

/// A plan by which `edge` takes `live/x` from the nodes at these addresses.
fn from(addresses: &[SocketAddr], revision: u64) -> Arc<Plan> {
    use cluster::node::{Capacity, Place, Role};
    use cluster::plan::{Health, Mark, NodeState, Route, StreamPlan};
    let id = |at: usize| NodeId::parse(&format!("parent-{at}")).unwrap();
    let state = |(at, address): (usize, &SocketAddr)| NodeState {
        node: cluster::node::Node {
            id: id(at),
            role: Role::Edge,
            public_url: String::new(),
            relay: Some(address.to_string()),
            hub: false,
            zone: None,
            admin: None,
            place: Place::default(),
            capacity: Capacity::default(),
            version: String::new(),
        },
        health: Health::Up,
    };
    let stream = StreamPlan {
        key: key("live/x"),
        origin: NodeId::parse("origin").unwrap(),
        parents: Vec::new(),
        routes: vec![Route {
            edges: vec![NodeId::parse("edge").unwrap()],
            parents: (0..addresses.len()).map(id).collect(),
        }],
        rungs: Vec::new(),
    };
    let nodes = addresses.iter().enumerate().map(state).collect();
    let mark = Mark { epoch: 1, revision };
    Arc::new(Plan::new(mark, nodes, vec![stream], Vec::new()))
}

#[tokio::test]
async fn who_joins_does_not_wait_for_a_planned_parent_that_does_not_answer() {
    let mut feed = Feed::new();
    feed.group();
    let origin = Origin::start(&feed);
    // It takes all that comes and says nothing, as a stopped process does.
    let stopped = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let stopped = (stopped.local_addr().unwrap(), stopped);
    let edge = node("edge", origin.address, Duration::from_secs(1));
    edge.plan
        .send_replace(from(&[stopped.0, origin.address], 1));
    let joined = edge.upstream.join(&key("live/x"), &[]).await;
    assert_eq!(*joined.unwrap().hops, ["origin".to_owned()]);
}

#[tokio::test]
async fn a_parent_that_takes_its_time_gets_the_stream_when_it_accepts() {
    let mut feed = Feed::new();
    feed.group();
    let (one, two) = (Origin::start(&feed), Origin::start(&feed));
    one.delay(race::HEAD_START * 3 / 2);
    let edge = node("edge", two.address, Duration::from_secs(1));
    edge.plan.send_replace(from(&[one.address, two.address], 1));
    let _joined = edge.upstream.join(&key("live/x"), &[]).await.unwrap();
    until("the planned one after all", || one.subscriptions() == 1).await;
    let parents = || edge.upstream.measure().links.len();
    until("and no other but for standing by", || parents() <= 2).await;
    assert_eq!(two.subscriptions(), 1, "it came first");
}

/// Feeds groups, a frame every so often, until told to stop.
fn live(mut feed: Feed, pace: Duration) -> tokio::task::JoinHandle<Feed> {
    tokio::spawn(async move {
        for _ in 0..200 {
            let mut group = feed.open();
            for _ in 0..FRAMES {
                feed.push(&mut group);
                tokio::time::sleep(pace).await;
            }
            group.finish();
        }
        feed
    })
}

#[tokio::test]
async fn a_stream_moves_to_the_parent_of_a_new_plan_between_two_groups() {
    let mut feed = Feed::new();
    feed.group();
    let (one, two) = (Origin::start(&feed), Origin::start(&feed));
    let feeding = live(feed, Duration::from_millis(40));
    let edge = node("edge", one.address, Duration::from_secs(1));
    edge.plan.send_replace(from(&[one.address], 1));
    let joined = edge.upstream.join(&key("live/x"), &[]).await.unwrap();
    until("some groups came", || whole(&joined.track).len() >= 3).await;
    edge.plan.send_replace(from(&[two.address, one.address], 2));
    until("the new parent is asked", || two.subscriptions() == 1).await;
    until("the old one is left", || {
        let links = edge.upstream.measure().links.len();
        // It stands by now.
        links == 2 && one.subscriptions() == 1
    })
    .await;
    let newest = *whole(&joined.track).last().unwrap();
    until("it goes on", || {
        whole(&joined.track).last() >= Some(&(newest + 5))
    })
    .await;
    let groups = whole(&joined.track);
    assert!(
        groups.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{groups:?}"
    );
    feeding.abort();
}

/// A parent in a runtime of its own, which ends without a word, as a killed process does.
fn mortal(feed: &Feed) -> (SocketAddr, impl FnOnce() + use<>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let origin = {
        let _inside = runtime.enter();
        Origin::start(feed)
    };
    let address = origin.address;
    (address, move || {
        runtime.shutdown_background();
        std::mem::forget(origin);
    })
}

#[tokio::test]
async fn a_silent_parent_costs_at_most_one_group() {
    let mut feed = Feed::new();
    feed.group();
    let (one, kill) = mortal(&feed);
    let two = Origin::start(&feed);
    // Groups of a second: of much shorter ones a node that comes late gets the newest few.
    let feeding = live(feed, Duration::from_millis(200));
    let edge = node("edge", one, Duration::from_secs(1));
    edge.plan.send_replace(from(&[one, two.address], 1));
    let joined = edge.upstream.join(&key("live/x"), &[]).await.unwrap();
    until("some groups came", || whole(&joined.track).len() >= 3).await;
    until("a second parent stands by", || {
        edge.upstream.measure().links.len() == 2
    })
    .await;
    assert_eq!(two.subscriptions(), 0);
    kill();
    until("the second one is asked", || two.subscriptions() == 1).await;
    let newest = *whole(&joined.track).last().unwrap();
    until("it goes on", || {
        whole(&joined.track).last() >= Some(&(newest + 5))
    })
    .await;
    let groups = whole(&joined.track);
    let missing = groups
        .windows(2)
        .map(|pair| pair[1] - pair[0] - 1)
        .sum::<u64>();
    assert!(missing <= 1, "{groups:?}");
    feeding.abort();
}
