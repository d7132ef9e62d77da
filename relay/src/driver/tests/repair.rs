//! How late a stream's frames are over links that lose packets, and what that costs.

use super::*;
use crate::congestion;

/// 4 Mbit/s: 25 pictures a second, a key frame of seven times the others each two seconds.
const PICTURES: usize = 50;
const KEY: usize = 122_500;
const OTHER: usize = 17_900;

/// What `transport::quic` sets, as far as it matters here.
fn transport(parity: bool) -> quinn::TransportConfig {
    let mut acks = quinn::AckFrequencyConfig::default();
    acks.max_ack_delay(Some(Duration::from_millis(5)));
    let mut transport = quinn::TransportConfig::default();
    transport
        .ack_frequency_config(Some(acks))
        .packet_threshold(16)
        .datagram_receive_buffer_size(parity.then_some(256 << 10))
        .datagram_send_buffer_size(256 << 10)
        .keep_alive_interval(Some(Duration::from_secs(1)));
    congestion::controlled(transport)
}

/// What runs showed.
#[derive(Debug, Default)]
struct Shown {
    /// One-way times of the frames after the first seconds, in milliseconds.
    late_ms: Vec<f64>,
    lost: usize,
    payload: u64,
    parity: u64,
    repaired: u64,
}

impl Shown {
    fn add(&mut self, other: Self) {
        self.late_ms.extend(other.late_ms);
        self.lost += other.lost;
        self.payload += other.payload;
        self.parity += other.parity;
        self.repaired += other.repaired;
    }

    /// Once the times are sorted.
    fn quantile(&self, q: f64) -> f64 {
        self.late_ms[((self.late_ms.len() - 1) as f64 * q) as usize]
    }

    fn parity_share(&self) -> f64 {
        self.parity as f64 / self.payload as f64
    }
}

/// Sends `groups` groups, of which the first two are to learn what the link loses.
async fn show(seed: u64, link: Link, parity: bool, groups: usize) -> Shown {
    let world = World::new(seed, link);
    let origin = world.node_at("origin", world.endpoint_with(transport(parity)));
    let edge = world.node_at("edge", world.endpoint_with(transport(parity)));
    let (source, copy) = (new_track(), new_track());
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    let _subscription = edge.follow(&peer, &copy).await;
    let sent = Arc::new(Mutex::new(HashMap::new()));
    let arrived = tokio::spawn(arrivals(copy.consumer(), sent.clone()));
    for number in 0..groups {
        let mut group = source.open_group(header(1, number as u64)).unwrap();
        for index in 0..PICTURES {
            let size = if index == 0 { KEY } else { OTHER };
            sent.lock().insert((number, index), Instant::now());
            let payload: Vec<u8> = (0..size)
                .map(|at| (at * 31 + index * 7 + number) as u8)
                .collect();
            group
                .push(Frame {
                    track: TrackId::VIDEO,
                    kind: if index == 0 {
                        Kind::Key
                    } else {
                        Kind::Reference
                    },
                    dts: Timestamp::from_millis((number * PICTURES + index) as i64 * 40),
                    cts: Timestamp::ZERO,
                    duration: None,
                    payload: Bytes::from(payload),
                })
                .unwrap();
            sleep(EVERY).await;
        }
        group.finish();
    }
    sleep(Duration::from_secs(1)).await;
    let stats = peer.stats();
    copy.end();
    let mut arrived = arrived.await.unwrap();
    arrived.retain(|((number, _), _)| *number >= 2);
    Shown {
        lost: (groups - 2) * PICTURES - arrived.len(),
        late_ms: arrived.into_iter().map(|(_, late)| late).collect(),
        payload: (groups * (KEY + (PICTURES - 1) * OTHER)) as u64,
        parity: stats.parity_bytes,
        repaired: stats.repaired_bytes,
    }
}

type Place = (usize, usize);

async fn arrivals(
    track: track::Consumer,
    sent: Arc<Mutex<HashMap<Place, Instant>>>,
) -> Vec<(Place, f64)> {
    let mut reader = Reader::new(track, reader::Start::Latest);
    let mut group = 0;
    let mut arrivals = Vec::new();
    while let Some(item) = reader.next().await {
        match item {
            Item::Group(next) => group = next.key().number as usize,
            Item::Frame { number, frame } => {
                let place = (group, number as usize);
                let right =
                    |(at, byte): (usize, &u8)| *byte == (at * 31 + place.1 * 7 + place.0) as u8;
                assert!(
                    frame.payload.iter().enumerate().all(right),
                    "{place:?} has wrong bytes"
                );
                let late = sent.lock()[&place].elapsed();
                arrivals.push((place, late.as_secs_f64() * 1e3));
            }
            Item::Gap => {}
        }
    }
    arrivals
}

/// Three runs of twenty groups each.
async fn shows(link: Link, parity: bool) -> Shown {
    let mut all = Shown::default();
    for seed in 1..=3 {
        all.add(show(seed, link, parity, 22).await);
    }
    all.late_ms.sort_by(f64::total_cmp);
    all
}

/// 50 ms there and back.
fn far(loss_percent: u64) -> Link {
    Link {
        delay: Duration::from_millis(25),
        loss_percent,
        ..Link::default()
    }
}

/// Loss in per cent, in bursts of so many, the p99 in milliseconds, parity as a share of the stream.
const LOSSES: [(u64, u16, f64, f64); 6] = [
    (1, 1, 90.0, 0.075),
    (3, 1, 100.0, 0.06),
    (5, 1, 110.0, 0.11),
    (1, 4, 90.0, 0.03),
    (3, 4, 120.0, 0.05),
    (5, 4, 150.0, 0.09),
];

#[tokio::test(start_paused = true)]
async fn frames_are_in_time_over_links_that_lose_packets() {
    for (loss_percent, burst, p99, most) in LOSSES {
        let link = Link {
            burst,
            ..far(loss_percent)
        };
        let shown = shows(link, true).await;
        let (median, late) = (shown.quantile(0.5), shown.quantile(0.99));
        let what = format!("{loss_percent} % in {burst}: {median} ms, {late} ms");
        assert_eq!(shown.lost, 0, "{what}");
        assert!(late <= p99 && median <= 40.0, "{what}");
        assert!(
            shown.parity_share() <= most,
            "{what}: {}",
            shown.parity_share()
        );
        assert!(shown.repaired > 0, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_loses_nothing_carries_no_parity() {
    let shown = shows(far(0), true).await;
    assert_eq!((shown.lost, shown.parity), (0, 0));
    assert!(shown.quantile(0.5) <= 30.0, "5 ms more than the link's");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_datagrams_gets_its_frames_all_the_same() {
    let shown = shows(far(3), false).await;
    assert_eq!((shown.lost, shown.parity), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn reordering_is_not_taken_for_loss() {
    let link = Link {
        jitter: Duration::from_millis(2),
        ..far(0)
    };
    let shown = shows(link, true).await;
    assert_eq!(shown.lost, 0);
    assert!(shown.quantile(0.99) <= 50.0);
    assert!(shown.parity_share() <= 0.02, "{}", shown.parity_share());
}

#[tokio::test(start_paused = true)]
async fn datagrams_that_mean_nothing_are_counted_and_dropped() {
    let world = World::new(1, far(0));
    let (origin, edge) = (world.endpoint(), world.node("edge"));
    let addr = origin.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let connection = origin.accept().await.unwrap().await.unwrap();
        let (mut send, _receive) = connection.accept_bi().await.unwrap();
        let welcome = Message::Welcome {
            version: wire::VERSIONS[0],
            node: "origin".to_owned(),
        };
        send.write_all(&bytes_of(&[welcome])).await.unwrap();
        // Empty, cut short, of an unknown type, of an unknown stream, of an impossible block.
        for datagram in [
            &[][..],
            &[1, 3],
            &[9, 9],
            &[1, 3, 0, 4, 4, 0, 0, 7],
            &[1, 3, 0, 1, 4, 0, 0, 7],
        ] {
            connection
                .send_datagram(Bytes::copy_from_slice(datagram))
                .unwrap();
        }
        connection.closed().await;
    });
    let peer = Peer::connect(&edge.endpoint, addr, "edge").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(peer.stats().refused_parity, 3);
    drop(peer);
    timeout(Duration::from_secs(10), serving)
        .await
        .unwrap()
        .unwrap();
}
