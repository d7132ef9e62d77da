//! The WebSocket's two halves over a pipe: messages, pings, goodbyes and breaches.

use super::*;
use crate::fixture::{FRAMES, Feed};
use crate::meter::Metrics;
use crate::upstream::Lease;
use crate::viewer::{Protocol, Viewers};
use cluster::stream::StreamKey;
use fastwebsockets::{Payload, WebSocket};
use media::flv::{Demuxer, Event, Hevc};
use tokio::io::DuplexStream;

const TERMS: Terms = Terms {
    latency: Duration::from_millis(100),
    skip_after: Duration::from_secs(3),
    close_after: Duration::from_secs(20),
};

/// A viewer's socket, and what is counted at the other side.
fn connect(feed: &Feed) -> (WebSocket<DuplexStream>, Metrics) {
    let metrics = Metrics::default();
    let stream = StreamKey::parse("live/x").unwrap();
    let place = Viewers::new(metrics.clone())
        .enter(&stream, |_| Ok::<_, ()>(()))
        .unwrap();
    let viewer = place.watch(Protocol::WebSocket, Lease::default());
    let tags = Tags::new(feed.consumer.clone(), Hevc::Enhanced, TERMS.skip_after);
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(play(ours, tags, viewer, TERMS));
    (WebSocket::after_handshake(theirs, Role::Client), metrics)
}

/// Reads until so many pictures came.
async fn pictures(socket: &mut WebSocket<DuplexStream>, demuxer: &mut Demuxer, count: usize) {
    let mut seen = 0;
    while seen < count {
        let message = socket.read_frame().await.unwrap();
        assert_eq!(message.opcode, OpCode::Binary);
        demuxer.push(&message.payload);
        while let Some(event) = demuxer.next().unwrap() {
            seen += usize::from(matches!(event, Event::Frame(..)));
        }
    }
    assert_eq!(seen, count);
}

#[tokio::test(start_paused = true)]
async fn tags_come_in_binary_messages_until_the_stream_ends() {
    let mut feed = Feed::new();
    feed.group();
    let (mut socket, metrics) = connect(&feed);
    let mut demuxer = Demuxer::new();
    pictures(&mut socket, &mut demuxer, FRAMES).await;
    feed.group();
    pictures(&mut socket, &mut demuxer, FRAMES).await;
    socket.set_auto_close(false);
    feed.track.end();
    let goodbye = socket.read_frame().await.unwrap();
    assert_eq!(
        (goodbye.opcode, &*goodbye.payload),
        (OpCode::Close, &CLOSE_NORMAL[..])
    );
    tokio::task::yield_now().await;
    assert_eq!(metrics.closed_by(Closed::Ended), 1);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_between_messages() {
    let feed = Feed::new();
    let (mut socket, _) = connect(&feed);
    let ping = Frame::new(
        true,
        OpCode::Ping,
        None,
        Payload::Borrowed(b"are you there"),
    );
    socket.write_frame(ping).await.unwrap();
    let pong = socket.read_frame().await.unwrap();
    assert_eq!(
        (pong.opcode, &*pong.payload),
        (OpCode::Pong, &b"are you there"[..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_answered() {
    let feed = Feed::new();
    let (mut socket, metrics) = connect(&feed);
    socket.set_auto_close(false);
    socket.write_frame(Frame::close(1001, b"")).await.unwrap();
    assert_eq!(socket.read_frame().await.unwrap().opcode, OpCode::Close);
    tokio::task::yield_now().await;
    assert_eq!(
        (metrics.closed_by(Closed::Left), metrics.viewers.get()),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn what_breaks_the_protocol_ends_the_viewer() {
    let feed = Feed::new();
    let (socket, metrics) = connect(&feed);
    socket.into_inner().write_all(&[0xFF; 64]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (metrics.closed_by(Closed::Left), metrics.viewers.get()),
        (1, 0)
    );
}

#[test]
fn heads_are_as_long_as_needed() {
    let rows: [(usize, &[u8]); 5] = [
        (0, &[0x82, 0]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (0xFFFF, &[0x82, 126, 0xFF, 0xFF]),
        (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ];
    for (length, expected) in rows {
        assert_eq!(head(OpCode::Binary, length), expected, "{length}");
    }
}
