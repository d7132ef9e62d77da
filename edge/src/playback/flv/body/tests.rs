//! Bodies polled by hand in virtual time: gathering, stalls, ends, and payloads by reference.

use super::*;
use crate::fixture::Feed;
use crate::meter::Metrics;
use crate::playback::Options;
use crate::upstream::Lease;
use crate::viewer::{Protocol, Viewers};
use http_body::Body as _;
use http_body_util::BodyExt;

const LATENCY: Duration = Duration::from_millis(100);

const TERMS: Terms = Terms {
    skip_after: Duration::from_secs(3),
    queue: 8 << 20,
    close_after: Duration::from_secs(20),
};

struct Room {
    metrics: Metrics,
    viewers: Viewers,
    drain: Drain,
}

impl Room {
    fn new() -> Self {
        let metrics = Metrics::default();
        Self {
            viewers: Viewers::new(metrics.clone()),
            metrics,
            drain: Drain::new(),
        }
    }

    fn body(&self, feed: &Feed) -> Body {
        let place = crate::fixture::place(&self.viewers);
        let viewer = place.watch(Protocol::Flv, Lease::default());
        let tags = Tags::new(feed.consumer.clone(), Options::default(), TERMS);
        Body::new(tags, viewer, TERMS, &self.drain)
    }
}

/// Takes what is there without waiting.
fn take(body: &mut Body) -> Vec<Bytes> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut pieces = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *body).poll_frame(&mut cx) {
        pieces.push(frame.into_data().unwrap());
    }
    pieces
}

#[tokio::test(start_paused = true)]
async fn each_viewers_payload_is_the_groups() {
    let (room, mut feed) = (Room::new(), Feed::new());
    let mut bodies = [room.body(&feed), room.body(&feed)];
    feed.group();
    let group = feed.consumer.latest().unwrap();
    let payloads: Vec<_> = group
        .frames(0)
        .map(|frame| frame.payload.as_ptr())
        .collect();
    for body in &mut bodies {
        let handed: Vec<_> = take(body).iter().map(|piece| piece.as_ptr()).collect();
        let shared = handed
            .iter()
            .filter(|pointer| payloads.contains(pointer))
            .count();
        assert_eq!(shared, payloads.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_ends_with_its_stream() {
    let (room, mut feed) = (Room::new(), Feed::new());
    feed.group();
    let body = room.body(&feed);
    feed.track.end();
    let bytes = body.collect().await.unwrap().to_bytes();
    assert!(bytes.starts_with(b"FLV\x01"));
    assert_eq!(room.metrics.egress_bytes.get(), bytes.len() as u64);
    assert_eq!(
        (room.metrics.closed_by(Closed::Ended), room.viewers.total()),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_takes_nothing_is_let_go() {
    let (room, mut feed) = (Room::new(), Feed::new());
    feed.group();
    let mut body = room.body(&feed);
    let silent = Feed::new();
    let mut waiting = room.body(&silent);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut waiting).poll_frame(&mut cx).is_pending());
    assert!(Pin::new(&mut body).poll_frame(&mut cx).is_ready());
    sleep(TERMS.close_after + TERMS.close_after / 2).await;
    // The one that waits for the stream owes nothing.
    assert_eq!(
        (
            room.metrics.closed_by(Closed::Stalled),
            room.viewers.total()
        ),
        (1, 1)
    );
    let after = Pin::new(&mut body).poll_frame(&mut cx);
    assert!(matches!(after, Poll::Ready(Some(Err(Stalled)))));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_gets_no_picture_for_too_long_is_closed() {
    let (room, mut feed) = (Room::new(), Feed::new());
    let mut group = feed.open();
    (0..100).for_each(|_| feed.push(&mut group));
    let mut body = room.body(&feed);
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(_))) = Pin::new(&mut body).poll_frame(&mut cx) {
        // A hundred pictures are 200 pieces: it takes something all the time, yet never gets to the end of them.
        sleep(TERMS.close_after / 100).await;
    }
    assert_eq!(room.metrics.closed_by(Closed::Slow), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_viewer_slows_no_other() {
    let (room, mut feed) = (Room::new(), Feed::new());
    let (_stalled, mut quick) = (room.body(&feed), room.body(&feed));
    for _ in 0..100 {
        feed.group();
        assert!(!take(&mut quick).is_empty());
    }
    assert_eq!(room.metrics.skips.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn frames_are_gathered_as_the_load_asks() {
    let (room, mut feed) = (Room::new(), Feed::new());
    let mut body = room.body(&feed);
    room.viewers.gather(LATENCY);
    feed.group();
    assert!(!take(&mut body).is_empty());
    let mut group = feed.open();
    feed.push(&mut group);
    assert!(take(&mut body).is_empty(), "it rests");
    feed.push(&mut group);
    let before = Instant::now();
    let first = body.frame().await.unwrap().unwrap();
    assert!(first.is_data() && before.elapsed() <= LATENCY + Duration::from_millis(1));
    // Two tags and the last trailer: nothing came in between.
    assert_eq!(1 + take(&mut body).len(), 5);
}
