//! The WebSocket's two halves over a pipe: messages, pings, goodbyes and breaches.

use super::*;
use crate::fixture::{FRAMES, Feed};
use crate::meter::Metrics;
use crate::playback::Options;
use crate::upstream::Lease;
use crate::viewer::{Protocol, Viewers};
use media::flv::{Demuxer, Event};
use tokio::io::DuplexStream;

const TERMS: Terms = Terms {
    skip_after: Duration::from_secs(3),
    queue: 8 << 20,
    close_after: Duration::from_secs(20),
};

/// A viewer's end.
struct Socket(DuplexStream);

impl Socket {
    /// The server's next frame.
    async fn read(&mut self) -> (u8, Vec<u8>) {
        let (first, length) = (
            self.0.read_u8().await.unwrap(),
            self.0.read_u8().await.unwrap(),
        );
        let length = match length {
            126 => u64::from(self.0.read_u16().await.unwrap()),
            127 => self.0.read_u64().await.unwrap(),
            short => short.into(),
        };
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        assert_eq!(first & 0xf0, 0x80, "final, and nothing reserved");
        (first & 0x0f, payload)
    }

    /// Sends a short frame; a mask of zeros is one too.
    async fn write(&mut self, code: Code, payload: &[u8]) {
        let head = [0x80 | code as u8, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        self.0.write_all(&[&head, payload].concat()).await.unwrap();
    }
}

/// A viewer's socket, and what is counted at the other side.
fn connect(feed: &Feed) -> (Socket, Metrics) {
    let metrics = Metrics::default();
    let place = crate::fixture::place(&Viewers::new(metrics.clone()));
    let viewer = place.watch(Protocol::WebSocket, Lease::default());
    let tags = Tags::new(feed.consumer.clone(), Options::default(), TERMS);
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(play(ours, tags, viewer, TERMS));
    (Socket(theirs), metrics)
}

/// Reads until so many pictures came.
async fn pictures(socket: &mut Socket, demuxer: &mut Demuxer, count: usize) {
    let mut seen = 0;
    while seen < count {
        let (code, payload) = socket.read().await;
        assert_eq!(code, Code::Binary as u8);
        demuxer.push(&payload);
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
    feed.track.end();
    let goodbye = (Code::Close as u8, CLOSE_NORMAL.to_vec());
    assert_eq!(socket.read().await, goodbye);
    tokio::task::yield_now().await;
    assert_eq!(metrics.closed_by(Closed::Ended), 1);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_between_messages() {
    let feed = Feed::new();
    let (mut socket, _) = connect(&feed);
    socket.write(Code::Text, b"of no interest").await;
    socket.write(Code::Ping, b"are you there").await;
    let pong = (Code::Pong as u8, b"are you there".to_vec());
    assert_eq!(socket.read().await, pong);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_answered() {
    let feed = Feed::new();
    let (mut socket, metrics) = connect(&feed);
    let going_away = 1001_u16.to_be_bytes();
    socket.write(Code::Close, &going_away).await;
    let goodbye = (Code::Close as u8, going_away.to_vec());
    assert_eq!(socket.read().await, goodbye);
    tokio::task::yield_now().await;
    assert_eq!(
        (metrics.closed_by(Closed::Left), metrics.viewers.get()),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn what_breaks_the_protocol_ends_the_viewer() {
    let feed = Feed::new();
    let (mut socket, metrics) = connect(&feed);
    socket.0.write_all(&[0xFF; 64]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (metrics.closed_by(Closed::Left), metrics.viewers.get()),
        (1, 0)
    );
}
