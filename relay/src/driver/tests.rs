//! Two and three nodes over an emulated network, in virtual time.

mod congestion;
mod network;
mod past;
mod repair;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use media::codec::Catalog;
use media::frame::{Frame, Kind, TrackId};
use media::timestamp::Timestamp;
use parking_lot::Mutex;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Endpoint, EndpointConfig};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cache::Cache;
use crate::group::{End, Header, Key};
use crate::reader::{self, Item, Reader};
use crate::wire::{self, ALPN, Start};
use network::{Link, Network, VirtualTime};

const STREAM: &str = "live/x";

/// One certificate for all nodes of a test.
struct Tls {
    server: Arc<QuicServerConfig>,
    client: Arc<QuicClientConfig>,
}

impl Tls {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let names = vec![SERVER_NAME.to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .der()
            .clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        server.alpn_protocols = vec![ALPN.to_vec()];
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![ALPN.to_vec()];
        Self {
            server: Arc::new(server.try_into().unwrap()),
            client: Arc::new(client.try_into().unwrap()),
        }
    }
}

/// The network, and what its nodes share.
struct World {
    network: Arc<Network>,
    tls: Tls,
    nodes: Mutex<u16>,
}

impl World {
    fn new(seed: u64, link: Link) -> Self {
        Self {
            network: Network::new(seed, link),
            tls: Tls::new(),
            nodes: Mutex::new(0),
        }
    }

    fn endpoint(&self) -> Endpoint {
        let mut transport = quinn::TransportConfig::default();
        transport
            .max_idle_timeout(Some(Duration::from_secs(4).try_into().unwrap()))
            .keep_alive_interval(Some(Duration::from_secs(1)));
        self.endpoint_with(crate::congestion::controlled(transport))
    }

    fn endpoint_with(&self, transport: quinn::TransportConfig) -> Endpoint {
        let mut nodes = self.nodes.lock();
        *nodes += 1;
        let socket = self
            .network
            .socket(SocketAddr::from(([10, 0, 0, 1], *nodes)));
        let mut config = EndpointConfig::default();
        config.rng_seed(Some([*nodes as u8; 32]));
        let transport = Arc::new(transport);
        let mut server = quinn::ServerConfig::with_crypto(self.tls.server.clone());
        server.transport_config(transport.clone());
        let mut client = quinn::ClientConfig::new(self.tls.client.clone());
        client.transport_config(transport);
        let runtime = Arc::new(VirtualTime);
        let mut endpoint =
            Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime).unwrap();
        endpoint.set_default_client_config(client);
        endpoint
    }

    fn node(&self, name: &'static str) -> Arc<Node> {
        self.node_at(name, self.endpoint())
    }

    fn node_at(&self, name: &'static str, endpoint: Endpoint) -> Arc<Node> {
        let node = Arc::new(Node {
            name,
            endpoint,
            streams: Mutex::default(),
            announced: watch::channel(Arc::default()).0,
            shutdown: CancellationToken::new(),
            outcomes: Mutex::default(),
        });
        tokio::spawn(node.clone().accept());
        node
    }
}

/// A node that serves what was put into it.
struct Node {
    name: &'static str,
    endpoint: Endpoint,
    streams: Mutex<HashMap<String, Served>>,
    announced: watch::Sender<Arc<Vec<Announced>>>,
    shutdown: CancellationToken,
    /// How each served connection ended.
    outcomes: Mutex<Vec<Result<(), Error>>>,
}

impl Node {
    async fn accept(self: Arc<Self>) {
        while let Some(incoming) = self.endpoint.accept().await {
            let node = self.clone();
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else {
                    return;
                };
                let outcome =
                    serve(connection, node.name, node.clone(), node.shutdown.clone()).await;
                node.outcomes.lock().push(outcome);
            });
        }
    }

    fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    fn serve_track(&self, track: track::Consumer, hops: &[String]) {
        self.streams.lock().insert(
            STREAM.to_owned(),
            Served {
                track,
                hops: hops.to_vec(),
                lease: None,
            },
        );
    }

    async fn dial(&self, peer: &Node) -> Peer {
        Peer::connect(&self.endpoint, peer.addr(), self.name)
            .await
            .unwrap()
    }

    /// Subscribes at a peer and serves what comes.
    async fn follow(&self, peer: &Peer, track: &track::Producer) -> Subscription {
        let subscribed = peer
            .subscribe(STREAM, &[], Start::Latest, track.clone())
            .await;
        let subscription = subscribed.unwrap();
        self.serve_track(track.consumer(), subscription.hops());
        subscription
    }
}

impl Source for Node {
    fn subscribe<'a>(
        &'a self,
        stream: &'a str,
        _: &'a [String],
        _: Start,
    ) -> Boxed<'a, Result<Served, Refusal>> {
        let served = self.streams.lock().get(stream).cloned();
        Box::pin(async move { served.ok_or(Refusal::NotFound) })
    }

    fn announced(&self) -> watch::Receiver<Arc<Vec<Announced>>> {
        self.announced.subscribe()
    }
}

fn new_track() -> track::Producer {
    track::new(&Cache::new(64 << 20), None).unwrap().0
}

/// A stream as a publisher makes it.
#[derive(Clone, Copy)]
struct Show {
    epoch: u64,
    groups: u64,
    frames: usize,
    size: usize,
}

const EVERY: Duration = Duration::from_millis(40);

const SHOW: Show = Show {
    epoch: 1,
    groups: 8,
    frames: 25,
    size: 1000,
};

impl Show {
    fn payload(&self, number: u64, index: usize) -> Bytes {
        let byte = (self.epoch * 31 + number * 7 + index as u64) as u8;
        let size = if index == 0 { 8 * self.size } else { self.size };
        Bytes::from(vec![byte; size])
    }

    async fn publish(self, track: &track::Producer) {
        for number in 0..self.groups {
            let mut group = track.open_group(header(self.epoch, number)).unwrap();
            for index in 0..self.frames {
                let dts = (number as i64 * self.frames as i64 + index as i64) * 40;
                group
                    .push(Frame {
                        track: TrackId::VIDEO,
                        kind: if index == 0 {
                            Kind::Key
                        } else {
                            Kind::Reference
                        },
                        dts: Timestamp::from_millis(dts),
                        cts: Timestamp::ZERO,
                        duration: None,
                        payload: self.payload(number, index),
                    })
                    .unwrap();
                sleep(EVERY).await;
            }
            group.finish();
        }
    }
}

fn picture(at: Duration) -> Frame {
    Frame {
        dts: Timestamp::from_micros(at.as_micros() as i64),
        ..big_picture(0, 100)
    }
}

fn big_picture(index: usize, size: usize) -> Frame {
    Frame {
        track: TrackId::VIDEO,
        kind: if index == 0 {
            Kind::Key
        } else {
            Kind::Reference
        },
        dts: Timestamp::from_millis(index as i64 * 40),
        cts: Timestamp::ZERO,
        duration: None,
        payload: Bytes::from(vec![index as u8; size]),
    }
}

fn header(epoch: u64, number: u64) -> Header {
    Header {
        epoch,
        number,
        wallclock_us: 1_700_000_000_000_000 + number * 1_000_000,
        first_msn: number,
        first_part: 1,
        discontinuities: 0,
        segment_max: Timestamp::from_millis(6_000),
        part_target: Timestamp::from_millis(400),
        config_id: 0,
        discontinuity: false,
        catalog: Arc::new(Catalog::default()),
    }
}

/// Everything that a reader meets until the track ends, in short: group keys, frame counts, gaps.
async fn read_all(track: track::Consumer) -> Vec<String> {
    let mut reader = Reader::new(track, reader::Start::Latest);
    let mut seen: Vec<String> = Vec::new();
    let mut frames = 0;
    while let Some(item) = reader.next().await {
        match item {
            Item::Frame { number, .. } => {
                assert_eq!(number, frames, "frames come in order");
                frames += 1;
                continue;
            }
            Item::Group(group) => {
                let Key { epoch, number } = group.key();
                seen.push(format!("{epoch}/{number}"));
            }
            Item::Gap => seen.push("gap".to_owned()),
        }
        frames = 0;
    }
    seen
}

fn groups_of(show: Show) -> Vec<String> {
    (0..show.groups)
        .map(|number| format!("{}/{number}", show.epoch))
        .collect()
}

/// Publishes `SHOW` over a link to an edge; what its reader saw, and the network's trace.
async fn play(seed: u64, link: Link) -> (Vec<String>, track::Consumer, (u64, u64)) {
    let world = World::new(seed, link);
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    let mut subscription = edge.follow(&peer, &copy).await;
    let track = copy.consumer();
    let reading = tokio::spawn(read_all(track.clone()));
    SHOW.publish(&source).await;
    source.end();
    assert_eq!(subscription.ended().await, Why::Ended);
    (reading.await.unwrap(), track, world.network.trace())
}

#[tokio::test(start_paused = true)]
async fn all_groups_arrive_whole_over_loss_and_reordering() {
    for (loss_percent, jitter_ms) in [(0, 0), (1, 0), (1, 30), (5, 5), (5, 30)] {
        let jitter = Duration::from_millis(jitter_ms);
        let link = Link {
            loss_percent,
            jitter,
            ..Link::default()
        };
        let (seen, track, _) = play(loss_percent + jitter_ms, link).await;
        assert_eq!(
            seen,
            groups_of(SHOW),
            "loss {loss_percent} %, jitter {jitter_ms} ms"
        );
        for number in 0..SHOW.groups {
            let group = track.group(Key { epoch: 1, number }).unwrap();
            assert_eq!(
                (group.len(), group.end()),
                (SHOW.frames, Some(End::Finished))
            );
            for (index, frame) in group.frames(0).enumerate() {
                assert_eq!(frame.payload, SHOW.payload(number, index));
                assert_eq!(
                    frame.dts.as_millis(),
                    (number as i64 * 25 + index as i64) * 40
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_trace() {
    let jitter = Duration::from_millis(20);
    let link = Link {
        loss_percent: 3,
        jitter,
        ..Link::default()
    };
    let (_, _, first) = play(7, link).await;
    let (_, _, again) = play(7, link).await;
    let (_, _, other) = play(8, link).await;
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_gets_the_newest_groups_and_loses_only_its_own() {
    let world = World::new(1, Link::default());
    let (origin, fast, slow) = (world.node("origin"), world.node("fast"), world.node("slow"));
    world.network.set_link(
        slow.addr(),
        Link {
            rate_bps: 1_000_000,
            ..Link::default()
        },
    );
    let show = Show {
        groups: 20,
        size: 8000,
        ..SHOW
    };
    let (source, quick, lagging) = (new_track(), new_track(), new_track());
    origin.serve_track(source.consumer(), &[]);
    let (peer, other) = (fast.dial(&origin).await, slow.dial(&origin).await);
    let _subscriptions = (
        fast.follow(&peer, &quick).await,
        slow.follow(&other, &lagging).await,
    );
    let reading = tokio::spawn(read_all(quick.consumer()));
    let (track, copy) = (source.consumer(), lagging.consumer());
    let lags = tokio::spawn(async move {
        let mut lags = Vec::new();
        while !copy.is_ended() {
            sleep(Duration::from_millis(500)).await;
            let number = |track: &track::Consumer| track.latest().map_or(0, |g| g.key().number);
            lags.push(number(&track) - number(&copy));
        }
        lags
    });
    show.publish(&source).await;
    let newest = source.consumer().latest().unwrap().key();
    source.end();
    assert_eq!(
        reading.await.unwrap(),
        groups_of(show),
        "the fast edge misses nothing"
    );
    let lags = lags.await.unwrap();
    assert!(lags.iter().all(|lag| *lag <= 1), "newest first: {lags:?}");
    let groups = lagging.consumer().recent(usize::MAX);
    assert_eq!(groups[0].key(), newest);
    assert_eq!(
        groups[0].end(),
        Some(End::Finished),
        "nothing follows the last: it gets through"
    );
    let late = groups
        .iter()
        .filter(|group| group.end() == Some(End::Aborted))
        .count();
    assert!(
        late > 10,
        "late groups are reset: {late} of {}",
        groups.len()
    );
    for whole in groups
        .iter()
        .filter(|group| group.end() == Some(End::Finished))
    {
        assert_eq!(whole.len(), show.frames);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_three_carries_everything_and_names_its_hops() {
    let jitter = Duration::from_millis(10);
    let world = World::new(
        3,
        Link {
            loss_percent: 1,
            jitter,
            ..Link::default()
        },
    );
    let (origin, middle, last) = (
        world.node("origin"),
        world.node("middle"),
        world.node("last"),
    );
    let (source, near, far) = (new_track(), new_track(), new_track());
    origin.serve_track(source.consumer(), &[]);
    let (up, upper) = (last.dial(&middle).await, middle.dial(&origin).await);
    assert_eq!(
        (up.remote_node(), upper.remote_node()),
        ("middle", "origin")
    );
    let first = middle.follow(&upper, &near).await;
    let mut second = last.follow(&up, &far).await;
    assert_eq!(first.hops(), ["origin"]);
    assert_eq!(second.hops(), ["origin", "middle"]);
    let reading = tokio::spawn(read_all(far.consumer()));
    SHOW.publish(&source).await;
    source.end();
    assert_eq!(second.ended().await, Why::Ended);
    assert_eq!(reading.await.unwrap(), groups_of(SHOW));
    assert!(up.stats().rtt >= Duration::from_millis(40) && up.stats().sent_packets > 0);
}

#[tokio::test(start_paused = true)]
async fn loops_are_refused() {
    let world = World::new(4, Link::default());
    let (a, b) = (world.node("a"), world.node("b"));
    let track = new_track();
    let peer = b.dial(&a).await;
    let ask = async |hops: &[&str]| {
        let hops: Vec<String> = hops.iter().map(|hop| (*hop).to_owned()).collect();
        peer.subscribe(STREAM, &hops, Start::Latest, track.clone())
            .await
            .map(drop)
    };
    a.serve_track(track.consumer(), &["origin".to_owned()]);
    assert_eq!(ask(&["c"]).await, Ok(()));
    let refused = Err(SubscribeError::Refused(Refusal::Loop));
    assert_eq!(
        ask(&["a"]).await,
        refused,
        "it would come back to the acceptor"
    );
    assert_eq!(
        ask(&["origin"]).await,
        refused,
        "it would come back to who had it before"
    );
    assert_eq!(
        ask(&["x"; wire::MAX_HOPS]).await,
        refused,
        "too long a path"
    );
    a.serve_track(track.consumer(), &["origin".to_owned(), "b".to_owned()]);
    assert_eq!(ask(&[]).await, refused, "it came through the dialler");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_there_is_refused() {
    let world = World::new(5, Link::default());
    let (a, b) = (world.node("a"), world.node("b"));
    let peer = b.dial(&a).await;
    for stream in [STREAM, "no blanks in names", ""] {
        let refused = peer
            .subscribe(stream, &[], Start::Latest, new_track())
            .await
            .map(drop);
        assert_eq!(
            refused,
            Err(SubscribeError::Refused(Refusal::NotFound)),
            "{stream:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_restarts_goes_on_in_the_same_track() {
    let world = World::new(6, Link::default());
    let (old, new, edge) = (
        world.node("origin"),
        world.node("origin"),
        world.node("edge"),
    );
    let copy = new_track();
    let reading = tokio::spawn(read_all(copy.consumer()));

    let source = new_track();
    old.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&old).await;
    let mut subscription = edge.follow(&peer, &copy).await;
    let cut = async {
        sleep(Duration::from_millis(2500)).await;
        world.network.cut(old.addr());
    };
    tokio::join!(SHOW.publish(&source), cut);
    assert_eq!(subscription.ended().await, Why::Lost);
    assert!(!copy.consumer().is_ended());

    let show = Show {
        epoch: 2,
        groups: 3,
        ..SHOW
    };
    let source = new_track();
    new.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&new).await;
    let mut subscription = edge.follow(&peer, &copy).await;
    show.publish(&source).await;
    source.end();
    assert_eq!(subscription.ended().await, Why::Ended);
    let seen = reading.await.unwrap();
    assert_eq!(seen, ["1/0", "1/1", "1/2", "gap", "2/0", "2/1", "2/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_resumes_after_a_group() {
    let world = World::new(7, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    SHOW.publish(&source).await;
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    let after = Start::After(Key {
        epoch: 1,
        number: 5,
    });
    let mut subscription = peer
        .subscribe(STREAM, &[], after, copy.clone())
        .await
        .unwrap();
    source.end();
    assert_eq!(subscription.ended().await, Why::Ended);
    let keys: Vec<u64> = copy
        .consumer()
        .recent(usize::MAX)
        .iter()
        .map(|group| group.key().number)
        .collect();
    assert_eq!(keys, [7, 6]);
}

#[tokio::test(start_paused = true)]
async fn a_late_joiner_gets_the_newest_group_from_its_beginning() {
    let world = World::new(8, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    origin.serve_track(source.consumer(), &[]);
    let join = async {
        sleep(Duration::from_millis(2500)).await;
        let peer = edge.dial(&origin).await;
        let subscription = edge.follow(&peer, &copy).await;
        let mut reader = Reader::new(copy.consumer(), reader::Start::Latest);
        let joined = Instant::now();
        assert!(matches!(reader.next().await, Some(Item::Group(group)) if group.key().number == 2));
        assert!(matches!(
            reader.next().await,
            Some(Item::Frame { number: 0, .. })
        ));
        assert!(joined.elapsed() < Duration::from_millis(200));
        (peer, subscription)
    };
    tokio::join!(SHOW.publish(&source), join);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_subscription_stops_the_stream_and_nothing_else() {
    let world = World::new(9, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    let subscription = edge.follow(&peer, &copy).await;
    let leave = async {
        sleep(Duration::from_millis(1500)).await;
        drop(subscription);
        sleep(Duration::from_millis(200)).await;
        let group = copy.consumer().latest().unwrap();
        assert_eq!((group.key().number, group.end()), (1, Some(End::Aborted)));
    };
    tokio::join!(SHOW.publish(&source), leave);
    assert_eq!(copy.consumer().latest().unwrap().key().number, 1);
    edge.follow(&peer, &new_track()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_held_as_long_as_the_subscription() {
    let world = World::new(8, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, track) = (new_track(), new_track());
    let lease: Lease = Arc::new(());
    let served = Served {
        track: source.consumer(),
        hops: Vec::new(),
        lease: Some(lease.clone()),
    };
    origin.streams.lock().insert(STREAM.to_owned(), served);
    let peer = edge.dial(&origin).await;
    let subscription = edge.follow(&peer, &track).await;
    origin.streams.lock().clear();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(Arc::strong_count(&lease), 2, "the subscriber's");
    drop(subscription);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&lease), 1, "the connection goes on");
}

#[tokio::test(start_paused = true)]
async fn a_draining_node_refuses_and_closes_when_the_last_stream_ended() {
    let world = World::new(10, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    let mut subscription = edge.follow(&peer, &copy).await;
    origin.shutdown.cancel();
    let refused = async {
        sleep(Duration::from_millis(500)).await;
        let refused = peer
            .subscribe(STREAM, &[], Start::Latest, new_track())
            .await
            .map(drop);
        assert_eq!(refused, Err(SubscribeError::Refused(Refusal::Draining)));
    };
    tokio::join!(SHOW.publish(&source), refused);
    source.end();
    assert_eq!(subscription.ended().await, Why::Ended);
    assert_eq!(copy.consumer().latest().unwrap().key().number, 7);
    assert!(matches!(peer.closed().await, Error::Done));
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(origin.outcomes.lock()[..], [Ok(())]));
}

#[tokio::test(start_paused = true)]
async fn announcements_follow_what_the_source_has() {
    let world = World::new(11, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let stream = |name: &str, hops: &[&str]| Announced {
        stream: name.to_owned(),
        epoch: 1,
        hops: hops.iter().map(|hop| (*hop).to_owned()).collect(),
    };
    let steps: [(Vec<Announced>, Vec<Announced>); 3] = [
        (
            vec![stream("live/a", &[]), stream("live/mine", &["edge"])],
            vec![stream("live/a", &["origin"])],
        ),
        (
            vec![stream("live/a", &["far"]), stream("live/b", &[])],
            vec![
                stream("live/a", &["far", "origin"]),
                stream("live/b", &["origin"]),
            ],
        ),
        (vec![], vec![]),
    ];
    let peer = edge.dial(&origin).await;
    for (has, told) in steps {
        origin.announced.send_replace(Arc::new(has));
        sleep(Duration::from_millis(200)).await;
        assert_eq!(**peer.announced().borrow(), told);
    }
}

/// A connection that speaks QUIC and the test's bytes.
async fn raw(world: &World, node: &Node) -> quinn::Connection {
    world
        .endpoint()
        .connect(node.addr(), SERVER_NAME)
        .unwrap()
        .await
        .unwrap()
}

fn bytes_of(messages: &[Message]) -> BytesMut {
    let mut bytes = BytesMut::new();
    messages
        .iter()
        .for_each(|message| message.encode(&mut bytes).unwrap());
    bytes
}

fn hello() -> Message {
    Message::Hello {
        versions: wire::VERSIONS.to_vec(),
        node: "raw".to_owned(),
    }
}

fn code_of(error: quinn::ConnectionError) -> u64 {
    match error {
        quinn::ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
        error => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_dialler_loses_its_own_connection_and_no_other() {
    let subscribe = |id| Message::Subscribe {
        id,
        stream: STREAM.to_owned(),
        hops: vec!["raw".to_owned()],
        start: Start::Latest,
    };
    let other = Message::Hello {
        versions: vec![7, 99],
        node: "raw".to_owned(),
    };
    let (id, last, groups) = (1, None, 0);
    let ended = Message::Ended { id, last, groups };
    let rows: Vec<(&str, Vec<u8>, Close)> = vec![
        (
            "no version in common",
            bytes_of(&[other]).to_vec(),
            Close::Version,
        ),
        ("silence", vec![], Close::Timeout),
        ("garbage", vec![0xff; 100], Close::Protocol),
        (
            "an endless message",
            [&[3, 0x80, 1, 0, 0][..], &[9; 9000]].concat(),
            Close::Protocol,
        ),
        (
            "no hello",
            bytes_of(&[subscribe(1)]).to_vec(),
            Close::Protocol,
        ),
        (
            "two hellos",
            bytes_of(&[hello(), hello()]).to_vec(),
            Close::Protocol,
        ),
        (
            "a number used twice",
            bytes_of(&[hello(), subscribe(1), subscribe(1)]).to_vec(),
            Close::Protocol,
        ),
        (
            "the acceptor's message",
            bytes_of(&[hello(), ended]).to_vec(),
            Close::Protocol,
        ),
    ];
    let world = World::new(12, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    let mut subscription = edge.follow(&peer, &copy).await;
    let reading = tokio::spawn(read_all(copy.consumer()));
    let attack = async {
        for (what, bytes, close) in rows {
            let connection = raw(&world, &origin).await;
            let (mut send, _receive) = connection.open_bi().await.unwrap();
            let _ = send.write_all(&bytes).await;
            assert_eq!(code_of(connection.closed().await), close as u64, "{what}");
        }
    };
    tokio::join!(SHOW.publish(&source), attack);
    source.end();
    assert_eq!(subscription.ended().await, Why::Ended);
    assert_eq!(reading.await.unwrap(), groups_of(SHOW));
}

/// What an acceptor does wrong: its messages, the bytes of a group, and what the dialler says to it.
type Bad = (&'static str, Vec<Message>, Vec<u8>, &'static str);

fn bad_acceptors() -> [Bad; 7] {
    let welcome = |version| Message::Welcome {
        version,
        node: "bad".to_owned(),
    };
    let accepted = |hops: &[&str]| Message::Accepted {
        id: 0,
        hops: hops.iter().map(|hop| (*hop).to_owned()).collect(),
    };
    let group = |what, bytes: &[u8]| {
        let messages = vec![welcome(wire::VERSIONS[0]), accepted(&["bad"])];
        (what, messages, bytes.to_vec(), "Lost")
    };
    let message = |what, messages, outcome| (what, messages, vec![], outcome);
    let looped = vec![welcome(wire::VERSIONS[0]), accepted(&["edge", "bad"])];
    [
        message("a version of its own", vec![welcome(9)], "connect: Version"),
        message("out of turn", vec![hello()], "connect: OutOfTurn"),
        message(
            "no answer",
            vec![welcome(wire::VERSIONS[0])],
            "subscribe: Timeout",
        ),
        message("a loop", looped, "subscribe: Refused(Loop)"),
        group("not a group", &[9]),
        group("an endless header", &[1, 0xc0, 9, 9, 9, 9, 9, 9, 9]),
        group("a cut header", &[1, 20, 0, 1]),
    ]
}

/// Takes one connection, says the messages and the group, and waits for the end.
async fn accept_badly(bad: Endpoint, messages: Vec<Message>, group: Vec<u8>) {
    let connection = bad.accept().await.unwrap().await.unwrap();
    let (mut send, mut receive) = connection.accept_bi().await.unwrap();
    let mut buffer = [0; 100];
    receive.read(&mut buffer).await.unwrap();
    send.write_all(&bytes_of(&messages[..1])).await.unwrap();
    if messages.len() > 1 {
        receive.read(&mut buffer).await.unwrap();
        send.write_all(&bytes_of(&messages[1..])).await.unwrap();
    }
    if !group.is_empty() {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&group).await.unwrap();
        let _ = stream.finish();
    }
    connection.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_acceptor_costs_the_dialler_one_connection() {
    for (what, messages, group, outcome) in bad_acceptors() {
        let world = World::new(13, Link::default());
        let (bad, edge) = (world.endpoint(), world.node("edge"));
        let addr = bad.local_addr().unwrap();
        let serving = tokio::spawn(accept_badly(bad, messages, group));
        let track = new_track();
        let said = match Peer::connect(&edge.endpoint, addr, "edge").await {
            Err(error) => format!("connect: {error:?}"),
            Ok(peer) => match peer
                .subscribe(STREAM, &[], Start::Latest, track.clone())
                .await
            {
                Err(error) => format!("subscribe: {error:?}"),
                Ok(mut subscription) => format!("{:?}", subscription.ended().await),
            },
        };
        assert_eq!(said, outcome, "{what}");
        assert!(!track.consumer().is_ended(), "{what}");
        timeout(Duration::from_secs(10), serving)
            .await
            .expect("closed by the edge")
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_to_quic_is_the_payload_itself() {
    let track = new_track();
    let mut group = track.open_group(header(1, 0)).unwrap();
    let payload = SHOW.payload(0, 0);
    let frame = Frame {
        track: TrackId::VIDEO,
        kind: Kind::Key,
        dts: Timestamp::ZERO,
        cts: Timestamp::ZERO,
        duration: None,
        payload: payload.clone(),
    };
    group.push(frame).unwrap();
    let mut batch = send::Batch::new(0, group.group()).unwrap();
    assert!(batch.fill(group.group()).unwrap());
    let chunks = batch.unwritten();
    assert_eq!(chunks.len(), 2);
    assert_eq!(chunks[1].as_ptr(), payload.as_ptr());
}
