//! The real session at one end of a pipe, the real client at the other.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cluster::config::Secret;
use cluster::plan::Plan;
use cluster::token::gate::Audience;
use cluster::token::{self, Demand, Gate};
use media::codec::{Codec, TrackConfig};
use media::flv::tag;
use media::frame::{Frame, Kind, TrackId};
use media::timestamp::Timestamp;
use relay::cache::Cache;
use tokio::io::{DuplexStream, ReadBuf};
use tokio::sync::watch;
use transport::clock::Clock;
use transport::drain::Drain;

use super::super::client;
use super::super::client::{Client, Url};
use super::*;
use crate::live::{Registry, Rules};
use crate::meter::Meter;

/// What the connections of a test share; everybody may play, one at a time.
fn shared(publish: Demand) -> Arc<Shared> {
    let config = token::Config {
        publish,
        play: Audience::Open,
        ..token::Config::default()
    };
    let secret = Secret::new("a secret of the tests");
    let meter = Arc::new(Meter::default());
    let rules = Rules {
        grace: Duration::from_secs(5),
        takeover_after: Duration::from_secs(1),
        terms: crate::config::Hls::default().terms(),
        max_publishers: 10,
    };
    let cache = Cache::new(1 << 20);
    let admission = Admission {
        node: cluster::node::NodeId::parse("origin-1").unwrap(),
        gate: Gate::load(&config, &secret).unwrap(),
        plan: watch::Sender::new(Arc::new(Plan::default())).subscribe(),
        registry: Registry::new(rules, Clock::system(), cache, meter.clone()),
        meter,
        drain: Drain::new(),
    };
    let session = session::Config::default();
    Arc::new(Shared {
        admission,
        session,
        players: Connections::new(1, 1),
    })
}

/// A client with its end of the pipe.
struct Peer {
    client: Client,
    socket: DuplexStream,
    outbox: Outbox,
}

impl Peer {
    fn new(shared: &Arc<Shared>, url: &str, role: client::Role) -> Self {
        let (near, far) = tokio::io::duplex(64 << 10);
        let address = "192.0.2.1:5".parse().unwrap();
        tokio::spawn(Connection::new(shared.clone(), address).run(far));
        let url = Url::parse(url).unwrap();
        let client = Client::new(url, role, 1, now());
        Self {
            client,
            socket: near,
            outbox: Outbox::default(),
        }
    }

    /// Talks until something happens that is not the connection coming to be.
    async fn event(&mut self) -> client::Event {
        let mut input = BytesMut::new();
        loop {
            self.flush().await;
            while let Some(output) = self.client.poll_output() {
                match output {
                    client::Output::Send(bytes) => self.outbox.push(bytes),
                    client::Output::Event(client::Event::Connected) => {}
                    client::Output::Event(event) => return event,
                    client::Output::Deadline(_) => {}
                }
            }
            self.flush().await;
            let read = self.socket.read_buf(&mut input).await.unwrap();
            assert!(read > 0, "closed without a word");
            self.client
                .handle_input(now(), input.split().freeze())
                .unwrap();
        }
    }

    async fn flush(&mut self) {
        while !self.outbox.is_empty() {
            self.outbox.write_some(&mut self.socket).await.unwrap();
        }
    }

    /// Sends video whose key frames are at these times.
    async fn send(&mut self, times_ms: &[i64]) {
        let record = Bytes::from_static(&[1, 0x64, 0, 0x1f, 0xff, 0xe0, 0]);
        let config = TrackConfig::new(Codec::H264, record);
        let catalog = media::codec::Catalog {
            tracks: vec![config.clone()],
            frame_rate: Some(25.0),
        };
        let hevc = Hevc::Enhanced;
        let metadata = flv::metadata_body(&catalog, hevc);
        let header = flv::sequence_header(&config, hevc).unwrap();
        self.client
            .send_media(tag::SCRIPT, Timestamp::ZERO, &[], metadata);
        self.client
            .send_media(tag::VIDEO, Timestamp::ZERO, &[], header);
        for ms in times_ms {
            let frame = frame(*ms);
            let head = flv::body_head(Codec::H264, &frame, hevc);
            self.client
                .send_media(tag::VIDEO, frame.dts, &head, frame.payload);
        }
        while let Some(output) = self.client.poll_output() {
            if let client::Output::Send(bytes) = output {
                self.outbox.push(bytes);
            }
        }
        self.flush().await;
    }

    /// The next picture's time, other messages skipped.
    async fn picture(&mut self) -> i64 {
        loop {
            match self.event().await {
                client::Event::Media(media) => {
                    let event = flv::parse(media.tag_type, media.timestamp, media.body);
                    if let Ok(flv::Event::Frame(_, frame)) = event {
                        return frame.dts.as_millis();
                    }
                }
                client::Event::Playing => {}
                event => panic!("{event:?}"),
            }
        }
    }
}

/// A key frame: one IDR slice.
fn frame(ms: i64) -> Frame {
    Frame {
        track: TrackId::VIDEO,
        kind: Kind::Key,
        dts: Timestamp::from_millis(ms),
        cts: Timestamp::ZERO,
        duration: None,
        payload: Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]),
    }
}

fn refusal(event: &client::Event) -> &str {
    match event {
        client::Event::Refused { code, .. } => code,
        event => panic!("{event:?}"),
    }
}

const URL: &str = "rtmp://origin/live/x";

#[tokio::test]
async fn what_is_published_can_be_played_from_zero_on() {
    let shared = shared(Demand::Open);
    let mut publisher = Peer::new(&shared, URL, client::Role::Publish);
    assert_eq!(publisher.event().await, client::Event::Published);
    publisher.send(&[5_000]).await;
    let mut announced = shared.admission.registry.announced();
    announced
        .wait_for(|streams| !streams.is_empty())
        .await
        .unwrap();

    let mut player = Peer::new(&shared, URL, client::Role::Play);
    assert_eq!(player.picture().await, 0);
    publisher.send(&[5_040]).await;
    assert_eq!(player.picture().await, 40);

    let mut second = Peer::new(&shared, URL, client::Role::Play);
    assert_eq!(
        refusal(&second.event().await),
        "NetStream.Play.Failed",
        "one place only"
    );
}

#[tokio::test]
async fn the_end_of_a_stream_is_told_to_its_players() {
    let shared = shared(Demand::Open);
    let mut publisher = Peer::new(&shared, URL, client::Role::Publish);
    publisher.event().await;
    publisher.send(&[0]).await;
    let mut announced = shared.admission.registry.announced();
    announced
        .wait_for(|streams| !streams.is_empty())
        .await
        .unwrap();
    let mut player = Peer::new(&shared, URL, client::Role::Play);
    player.picture().await;

    let key = cluster::stream::StreamKey::parse("live/x").unwrap();
    let kicks = vec![cluster::plan::Kick {
        key,
        until_ms: u64::MAX,
    }];
    let plan = Plan::new(
        cluster::plan::Mark::default(),
        Vec::new(),
        Vec::new(),
        kicks,
    );
    shared.admission.registry.sweep(&plan);
    assert_eq!(player.event().await, client::Event::Closed);
    assert_eq!(
        refusal(&publisher.event().await),
        "NetStream.Publish.BadName"
    );
}

#[tokio::test]
async fn refusals_say_why() {
    let open = shared(Demand::Open);
    let mut first = Peer::new(&open, URL, client::Role::Publish);
    first.event().await;
    let mut draining = shared(Demand::Open);
    Arc::get_mut(&mut draining).unwrap().admission.drain.start();
    let closed = shared(Demand::Required);
    let rows = [
        (
            &open,
            URL,
            client::Role::Publish,
            "NetStream.Publish.BadName",
        ),
        (
            &open,
            "rtmp://origin/a/b/c",
            client::Role::Publish,
            "NetStream.Publish.BadName",
        ),
        (
            &closed,
            URL,
            client::Role::Publish,
            "NetStream.Publish.Denied",
        ),
        (
            &closed,
            "rtmp://origin/live/x?token=a.b.c",
            client::Role::Publish,
            "NetStream.Publish.Denied",
        ),
        (
            &draining,
            URL,
            client::Role::Publish,
            "NetStream.Publish.Rejected",
        ),
        (
            &open,
            "rtmp://origin/live/y",
            client::Role::Play,
            "NetStream.Play.StreamNotFound",
        ),
    ];
    for (shared, url, role, code) in rows {
        let event = Peer::new(shared, url, role).event().await;
        assert_eq!(refusal(&event), code, "{url}");
    }
    assert_eq!(open.admission.meter.take_refused().values().sum::<u64>(), 3);
}

#[tokio::test]
async fn a_signed_token_opens_the_door() {
    let shared = shared(Demand::Required);
    let key = cluster::stream::StreamKey::parse("live/x").unwrap();
    let claims = token::Claims::new(key.into(), token::Action::Publish, u64::MAX / 2);
    let url = format!("{URL}?token={}", shared.admission.gate.sign(&claims));
    let mut publisher = Peer::new(&shared, &url, client::Role::Publish);
    assert_eq!(publisher.event().await, client::Event::Published);
}

#[tokio::test(start_paused = true)]
async fn a_player_that_takes_nothing_is_closed() {
    let shared = shared(Demand::Open);
    let address = "192.0.2.1:5".parse().unwrap();
    let (near, far) = tokio::io::duplex(16);
    let running = tokio::spawn(Connection::new(shared, address).run(far));
    // The answer to a handshake does not fit into the pipe, and nobody empties it.
    let (_reader, mut writer) = tokio::io::split(near);
    let hello = [&[3][..], &[0; 1536]].concat();
    writer.write_all(&hello).await.unwrap();
    let ended = running.await.unwrap();
    assert!(
        matches!(ended, Err(Error::Stalled | Error::Session(_))),
        "{ended:?}"
    );
}

/// A peer that takes nothing, not even the end.
struct Deaf;

impl AsyncRead for Deaf {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn parting_waits_for_nobody_for_long() {
    let (reader, writer) = tokio::io::split(Deaf);
    let parted = tokio::time::timeout(2 * PARTING, part(reader, writer)).await;
    parted.expect("in time").unwrap();
}
