//! The workers over real sockets: joins, shares, ends, stalls and drains.

use super::*;
use crate::fixture::WITHIN;
use crate::fixture::av::{Source, Tag, tags};
use crate::playback::Resume;
use crate::upstream::Lease;
use crate::viewer::{Closed, Protocol, Viewers};
use cluster::moves::Moves;
use std::sync::atomic::AtomicBool;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

struct Room {
    fanout: Fanout,
    metrics: Metrics,
    viewers: Viewers,
    drain: Drain,
    listener: TcpListener,
}

impl Room {
    async fn new(workers: usize, close_after: Duration) -> Self {
        Self::with(workers, Duration::from_millis(20), close_after).await
    }

    async fn with(workers: usize, latency: Duration, close_after: Duration) -> Self {
        let (metrics, drain) = (Metrics::default(), Drain::new());
        let settings = Settings {
            workers,
            latency: Some(latency),
            terms: Terms {
                skip_after: Duration::from_secs(3),
                queue: 64 << 10,
                close_after,
            },
        };
        Self {
            fanout: Fanout::start(&settings, metrics.clone(), drain.clone()).unwrap(),
            viewers: Viewers::new(metrics.clone()),
            metrics,
            drain,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// A viewer of the source; answers its end of the connection.
    async fn join(&self, source: &Source, wish: Options) -> TcpStream {
        let address = self.listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (socket, _) = self.listener.accept().await.unwrap();
        let place = crate::fixture::place(&self.viewers);
        let seat = Seat {
            socket,
            head: Bytes::from_static(HEAD),
            track: source.consumer.clone(),
            wish,
            viewer: place.watch(Protocol::Flv, Lease::default()),
            guard: Box::new(()),
        };
        self.fanout.serve(seat).await;
        client
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let holds = async {
            while !what(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WITHIN, holds).await.expect("it comes to that");
    }
}

/// Reads until the stream holds the frame of this number.
async fn until_frame(client: &mut TcpStream, received: &mut Vec<u8>, number: usize) {
    let frame = (number as u32).to_be_bytes();
    let there = |bytes: &[u8]| {
        bytes
            .windows(8)
            .any(|w| w[..4] == frame && w[4..6] == [0, 0])
    };
    let reading = async {
        while !there(received) {
            assert!(client.read_buf(received).await.unwrap() > 0, "it goes on");
        }
    };
    timeout(WITHIN, reading).await.expect("the frame comes");
}

fn media(received: &[u8]) -> Vec<Tag> {
    tags(received.strip_prefix(HEAD).expect("the head comes first"))
}

fn frames(received: &[u8]) -> Vec<usize> {
    media(received).iter().filter_map(Tag::frame).collect()
}

#[tokio::test]
async fn viewers_get_the_stream_from_the_newest_key_frame_to_its_end() {
    let (room, mut source) = (Room::new(1, WITHIN).await, Source::default());
    (0..30).for_each(|_| drop(source.next()));
    let mut early = room.join(&source, Options::default()).await;
    let mut received = Vec::new();
    until_frame(&mut early, &mut received, 29).await;
    (0..30).for_each(|_| drop(source.next()));
    until_frame(&mut early, &mut received, 59).await;
    let mut late = room.join(&source, Options::default()).await;
    source.end();
    let mut rest = Vec::new();
    timeout(WITHIN, late.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    timeout(WITHIN, early.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(frames(&received), (25..60).collect::<Vec<_>>());
    assert_eq!(frames(&rest), (50..60).collect::<Vec<_>>());
    assert_eq!(media(&rest).last().unwrap().at_ms, 160);
    room.until(|room| room.metrics.closed_by(Closed::Ended) == 2)
        .await;
    let sent = (received.len() + rest.len()) as u64;
    room.until(|room| room.metrics.egress_bytes.get() == sent)
        .await;
    assert_eq!(room.viewers.total(), 0);
}

#[tokio::test]
async fn a_player_resumes_at_the_next_frame_or_at_what_is_live() {
    let (room, mut source) = (Room::new(1, WITHIN).await, Source::default());
    (0..60).for_each(|_| drop(source.next()));
    let rows = [(10, 11), (24, 25), (40, 41)];
    for (last, next) in rows {
        let (epoch, group, frame) = source.place(last);
        let wish = Options {
            weir: true,
            resume: Some(Resume {
                epoch,
                group,
                frame,
            }),
            ..Options::default()
        };
        let mut client = room.join(&source, wish).await;
        let mut received = Vec::new();
        until_frame(&mut client, &mut received, 59).await;
        assert_eq!(
            frames(&received),
            (next..60).collect::<Vec<_>>(),
            "after {last}"
        );
    }
    let wish = Options {
        resume: Some(Resume {
            epoch: u64::MAX,
            group: 1,
            frame: 0,
        }),
        ..Options::default()
    };
    let mut client = room.join(&source, wish).await;
    until_frame(&mut client, &mut Vec::new(), 59).await;
}

#[tokio::test]
async fn workers_have_equal_shares() {
    let (room, mut source) = (Room::new(3, WITHIN).await, Source::default());
    (0..30).for_each(|_| drop(source.next()));
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(room.join(&source, Options::default()).await);
    }
    let shares = || {
        room.fanout
            .doors
            .iter()
            .map(|door| door.viewers.load(Ordering::Relaxed))
    };
    assert_eq!(shares().collect::<Vec<_>>(), [4, 4, 4]);
    clients.truncate(6);
    room.until(|room| room.viewers.total() == 6).await;
    assert_eq!(room.metrics.closed_by(Closed::Left), 6);
}

#[tokio::test]
async fn who_takes_nothing_is_closed_and_slows_nobody() {
    let (room, mut source) = (
        Room::new(1, Duration::from_secs(1)).await,
        Source::default(),
    );
    (0..30).for_each(|_| drop(source.next()));
    let _stalled = room.join(&source, Options::default()).await;
    let mut quick = room.join(&source, Options::default()).await;
    let mut received = Vec::new();
    // More than the kernel keeps for both ends.
    let feeding = async {
        for last in (1_000..).step_by(1_000) {
            while source.made.len() <= last {
                drop(source.next());
            }
            until_frame(&mut quick, &mut received, last).await;
            received.clear();
            if room.metrics.closed_by(Closed::Stalled) == 1 {
                return;
            }
        }
    };
    timeout(2 * WITHIN, feeding).await.expect("it is closed");
    assert_eq!(room.viewers.total(), 1);
}

#[tokio::test]
async fn a_stream_that_always_has_frames_lets_others_be_served() {
    let room = Room::with(1, Duration::ZERO, WITHIN).await;
    let mut flood = Source::default();
    (0..30).for_each(|_| drop(flood.next()));
    let _flooded = room.join(&flood, Options::default()).await;
    let over = Arc::new(AtomicBool::new(false));
    let until = over.clone();
    let flooding = thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            drop(flood.next());
        }
    });
    let mut source = Source::default();
    (0..30).for_each(|_| drop(source.next()));
    let mut client = room.join(&source, Options::default()).await;
    until_frame(&mut client, &mut Vec::new(), 29).await;
    room.until(|room| room.metrics.egress_bytes.get() > 0).await;
    over.store(true, Ordering::Relaxed);
    flooding.join().unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_viewers() {
    let (room, mut source) = (Room::new(2, WITHIN).await, Source::default());
    (0..30).for_each(|_| drop(source.next()));
    let mut client = room.join(&source, Options::default()).await;
    until_frame(&mut client, &mut Vec::new(), 29).await;
    assert!(!room.drain.clone().finish(Duration::from_millis(100)).await);
    let mut rest = Vec::new();
    let _ = timeout(WITHIN, client.read_to_end(&mut rest))
        .await
        .unwrap();
    room.until(|room| room.viewers.total() == 0).await;
    let other = Room::new(2, WITHIN).await;
    assert!(other.drain.finish(WITHIN).await);
}

#[tokio::test]
async fn viewers_who_understand_it_are_asked_to_leave_and_others_never() {
    let (room, mut source) = (Room::new(1, WITHIN).await, Source::default());
    (0..30).for_each(|_| drop(source.next()));
    let weir = Options {
        weir: true,
        ..Options::default()
    };
    let mut one = room.join(&source, weir).await;
    let mut other = room.join(&source, Options::default()).await;
    let (mut asked, mut plain) = (Vec::new(), Vec::new());
    until_frame(&mut one, &mut asked, 29).await;
    until_frame(&mut other, &mut plain, 29).await;
    room.until(|room| {
        room.viewers.relieve(Moves::DRAIN, Duration::from_secs(1));
        room.metrics.asked_for(Moves::DRAIN.why) > 0
    })
    .await;
    (0..30).for_each(|_| drop(source.next()));
    until_frame(&mut one, &mut asked, 59).await;
    until_frame(&mut other, &mut plain, 59).await;
    assert!(media(&asked).iter().any(Tag::asks));
    assert!(!media(&plain).iter().any(Tag::asks));
    assert_eq!(frames(&asked), frames(&plain));
    assert_eq!(room.viewers.total(), 2);
}
