//! The congestion controller over the emulated network: bulk, rivals, live, changes of the path.

use std::sync::atomic::{AtomicU64, Ordering};

use quinn::{AckFrequencyConfig, Connection, TransportConfig};
use tokio::sync::mpsc;

use super::network::Tally;
use super::*;

/// Whose window a flow follows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Us,
    Cubic,
}

/// As `transport`'s between nodes, as far as it matters here.
fn settings(by: By) -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(Duration::from_millis(5)));
    let mut settings = TransportConfig::default();
    settings
        .receive_window(WINDOW.into())
        .stream_receive_window(WINDOW.into())
        .send_window(WINDOW.into())
        .ack_frequency_config(Some(acks))
        .packet_threshold(16)
        .initial_rtt(Duration::from_millis(100));
    match by {
        By::Us => crate::congestion::controlled(settings),
        By::Cubic => settings,
    }
}

/// Two nodes; what flows from the first to the second passes the link, the way back is clean.
struct Line {
    world: World,
    from: Endpoint,
    to: Endpoint,
    link: Link,
}

impl Line {
    fn new(seed: u64, link: Link) -> Self {
        let back = Link {
            loss_percent: 0,
            ..link
        };
        let world = World::new(seed, back);
        let (from, to) = (
            world.endpoint_with(settings(By::Us)),
            world.endpoint_with(settings(By::Us)),
        );
        let line = Self {
            world,
            from,
            to,
            link,
        };
        line.change(link);
        line
    }

    fn addr(&self) -> SocketAddr {
        self.to.local_addr().unwrap()
    }

    fn change(&self, link: Link) {
        self.world.network.set_link(self.addr(), link);
    }

    fn tally(&self) -> Tally {
        self.world.network.tally(self.addr())
    }

    async fn connect(&self, by: By) -> (Connection, Connection) {
        let mut client = quinn::ClientConfig::new(self.world.tls.client.clone());
        client.transport_config(Arc::new(settings(by)));
        let dialled = self
            .from
            .connect_with(client, self.addr(), SERVER_NAME)
            .unwrap();
        let (dialled, accepted) =
            tokio::join!(dialled, async { self.to.accept().await.unwrap().await });
        (dialled.unwrap(), accepted.unwrap())
    }

    async fn bulk(&self, by: By) -> Flow {
        let (from, to) = self.connect(by).await;
        let mut send = from.open_uni().await.unwrap();
        tokio::spawn(async move {
            let chunk = Bytes::from(vec![7; 1 << 16]);
            while send.write_chunk(chunk.clone()).await.is_ok() {}
        });
        let received = Arc::new(AtomicU64::new(0));
        let count = received.clone();
        tokio::spawn(async move {
            let mut receive = to.accept_uni().await.unwrap();
            while let Ok(Some(chunk)) = receive.read_chunk(1 << 16, true).await {
                count.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            }
        });
        Flow { from, received }
    }
}

/// A transfer without an end.
struct Flow {
    from: Connection,
    received: Arc<AtomicU64>,
}

impl Flow {
    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Goodput over the next seconds.
    async fn mbps(&self, seconds: u64) -> f64 {
        let before = self.received();
        sleep(Duration::from_secs(seconds)).await;
        (self.received() - before) as f64 * 8e-6 / seconds as f64
    }

    /// The share of packets that a full queue dropped or that were sent twice without need.
    fn wasted_percent(&self, tally: Tally) -> f64 {
        let deemed = self.from.stats().path.lost_packets;
        let needless = deemed.saturating_sub(tally.lost + tally.overflowed);
        (tally.overflowed + needless) as f64 * 100.0 / tally.sent as f64
    }
}

/// 100 Mbit/s, 80 ms; the queue in hundredths of the bandwidth-delay product.
fn long_link(loss_percent: u64, burst: u16, queue: u32) -> Link {
    Link {
        delay: Duration::from_millis(40),
        loss_percent,
        burst,
        queue: Duration::from_millis(80) * queue / 100,
        ..Link::default()
    }
}

/// 20 Mbit/s, 50 ms, a queue of one bandwidth-delay product; so little jitter that each seed differs
/// and nothing is reordered.
fn shared_link() -> Link {
    Link {
        delay: Duration::from_millis(25),
        jitter: Duration::from_micros(200),
        rate_bps: 20_000_000,
        queue: Duration::from_millis(50),
        ..Link::default()
    }
}

async fn fills_and_wastes_little(link: Link) {
    for seed in 1..=2 {
        let line = Line::new(seed, link);
        let flow = line.bulk(By::Us).await;
        let goodput = flow.mbps(8).await;
        let wasted = flow.wasted_percent(line.tally());
        println!("seed {seed}, {link:?}: {goodput:.1} Mbit/s, wasted {wasted:.2} %");
        assert!(goodput >= 80.0, "seed {seed}, {link:?}: {goodput} Mbit/s");
        assert!(wasted < 5.0, "seed {seed}, {link:?}: wasted {wasted} %");
    }
}

#[tokio::test(start_paused = true)]
async fn one_percent_of_loss_leaves_the_link_full_whatever_its_queue() {
    for queue in [50, 100, 200] {
        fills_and_wastes_little(long_link(1, 1, queue)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn more_loss_leaves_the_link_full() {
    for loss in [3, 5, 10] {
        fills_and_wastes_little(long_link(loss, 1, 100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bursts_of_loss_leave_the_link_full() {
    for loss in [1, 3, 5] {
        fills_and_wastes_little(long_link(loss, 5, 100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn reordering_is_not_taken_for_loss() {
    for jitter_us in [500, 1000, 2000] {
        fills_and_wastes_little(Link {
            jitter: Duration::from_micros(jitter_us),
            ..long_link(1, 1, 100)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_start_does_not_overshoot() {
    for queue in [50, 100, 200] {
        let line = Line::new(1, long_link(0, 1, queue));
        let _flow = line.bulk(By::Us).await;
        for _ in 0..4 {
            sleep(Duration::from_millis(500)).await;
            let Tally {
                sent, overflowed, ..
            } = line.tally();
            println!("queue {queue} %: {overflowed} of {sent}");
            assert!(
                overflowed * 20 < sent,
                "queue {queue} %: {overflowed} of {sent}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn alone_it_keeps_the_queue_short() {
    for link in [long_link(0, 1, 200), shared_link()] {
        let line = Line::new(1, link);
        let flow = line.bulk(By::Us).await;
        sleep(Duration::from_secs(3)).await;
        line.tally();
        let goodput = flow.mbps(10).await;
        let Tally {
            queued, overflowed, ..
        } = line.tally();
        println!("{link:?}: {goodput:.1} Mbit/s, queue {queued:?}");
        assert!(queued <= link.delay, "half a round trip: {queued:?}");
        assert_eq!(overflowed, 0);
        assert!(goodput * 1e6 > 0.9 * link.rate_bps as f64, "{goodput}");
    }
}

/// Goodputs of two flows over a minute, each started after so many seconds.
async fn beside(seed: u64, flows: [(By, u64); 2]) -> [f64; 2] {
    let line = Line::new(seed, shared_link());
    let start = async |(by, after): (By, u64)| {
        sleep(Duration::from_secs(after)).await;
        line.bulk(by).await
    };
    let (one, two) = if flows[0].1 == flows[1].1 {
        let one = start(flows[0]).await;
        (one, start((flows[1].0, 0)).await)
    } else {
        tokio::join!(start(flows[0]), start(flows[1]))
    };
    let (one, two) = tokio::join!(one.mbps(60), two.mbps(60));
    println!("seed {seed}: {flows:?} get {one:.1} and {two:.1} Mbit/s");
    [one, two]
}

#[tokio::test(start_paused = true)]
async fn beside_cubic_each_gets_its_part() {
    for (seed, ours, cubics) in [
        (1, 0, 0),
        (2, 0, 0),
        (3, 0, 3),
        (4, 0, 7),
        (5, 3, 0),
        (6, 7, 0),
    ] {
        let shares = beside(seed, [(By::Us, ours), (By::Cubic, cubics)]).await;
        let sum = shares[0] + shares[1];
        assert!(sum > 18.0, "seed {seed}: {sum} of 20 Mbit/s");
        for share in shares {
            assert!(share > 0.3 * sum, "seed {seed}: {shares:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_of_ours_share_equally() {
    for (seed, later) in [(1, 0), (2, 3), (3, 10)] {
        let [one, two] = beside(seed, [(By::Us, 0), (By::Us, later)]).await;
        assert!((one - two).abs() < 0.1 * (one + two), "{one} and {two}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slower_path_is_learned_within_a_second_and_a_faster_one_in_three() {
    let line = Line::new(1, long_link(0, 1, 100));
    let flow = line.bulk(By::Us).await;
    sleep(Duration::from_secs(4)).await;
    line.change(Link {
        rate_bps: 10_000_000,
        queue: Duration::from_millis(800),
        ..line.link
    });
    // What was under way, a tenth of a second of the old rate, takes a second of the new one.
    sleep(Duration::from_millis(1500)).await;
    line.tally();
    assert!(flow.mbps(5).await > 8.5);
    let queued = line.tally().queued;
    assert!(queued < Duration::from_millis(50), "{queued:?}");
    line.change(line.link);
    sleep(Duration::from_secs(3)).await;
    let goodput = flow.mbps(3).await;
    assert!(goodput > 80.0, "{goodput}");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_was_dead_is_full_again_soon() {
    for dead_ms in [300, 1000, 3000] {
        let line = Line::new(1, long_link(1, 1, 100));
        let flow = line.bulk(By::Us).await;
        sleep(Duration::from_secs(4)).await;
        line.change(Link {
            loss_percent: 100,
            ..line.link
        });
        sleep(Duration::from_millis(dead_ms)).await;
        line.change(line.link);
        // The next probe comes within the time that the link was dead (RFC 9002 section 6.2.1).
        sleep(Duration::from_millis(dead_ms) + Duration::from_millis(1500)).await;
        let goodput = flow.mbps(3).await;
        assert!(goodput > 80.0, "dead for {dead_ms} ms: {goodput}");
    }
}

const KEY_BYTES: u64 = 150_000;
const SECONDS: u64 = 30;

/// Plays 4 Mbit/s live, each frame on a stream of its own; how long each key frame took on its way,
/// and the window at the end.
async fn live(seed: u64, link: Link) -> (Vec<Duration>, u64) {
    let line = Line::new(seed, link);
    let (from, to) = line.connect(By::Us).await;
    let (arrived, mut arrivals) = mpsc::channel(100);
    let sender = from.clone();
    tokio::spawn(async move {
        for number in 0..SECONDS * 25 {
            let key = number % 50 == 0;
            let size = if key { KEY_BYTES } else { 17_000 };
            let mut send = sender.open_uni().await.unwrap();
            tokio::spawn(async move {
                let frame = Bytes::from(vec![u8::from(key); size as usize]);
                send.write_chunk(frame).await.unwrap();
                send.finish().unwrap();
                send.stopped().await.unwrap();
            });
            sleep(EVERY).await;
        }
    });
    let start = Instant::now();
    tokio::spawn(async move {
        while let Ok(mut receive) = to.accept_uni().await {
            let arrived = arrived.clone();
            tokio::spawn(async move {
                let number = receive.id().index() as u32;
                let frame = receive.read_to_end(KEY_BYTES as usize).await.unwrap();
                let took = start.elapsed() - number * EVERY;
                if frame[0] == 1 {
                    arrived.send((number, took)).await.unwrap();
                }
            });
        }
    });
    let mut keys = Vec::new();
    while keys.len() < SECONDS as usize / 2 {
        keys.push(arrivals.recv().await.unwrap());
    }
    keys.sort();
    (
        keys.into_iter().map(|(_, took)| took).collect(),
        from.stats().path.cwnd,
    )
}

#[tokio::test(start_paused = true)]
async fn a_key_frame_leaves_as_fast_as_the_link_takes_it() {
    for rate_bps in [20_000_000, 100_000_000] {
        for (seed, loss_percent, burst) in [(1, 0, 1), (2, 1, 1), (3, 3, 1), (4, 5, 1), (5, 3, 5)] {
            let link = Link {
                rate_bps,
                loss_percent,
                burst,
                jitter: Duration::ZERO,
                ..shared_link()
            };
            let (keys, window) = live(seed, link).await;
            let on_the_link = Duration::from_micros(KEY_BYTES * 8_000_000 / rate_bps);
            let least = link.delay + on_the_link;
            println!(
                "{} Mbit/s, loss {loss_percent} %: {keys:?}",
                rate_bps / 1_000_000
            );
            // The window has grown to its work during the first key frames.
            let mut keys = keys[5..].to_vec();
            keys.sort();
            // A lost packet is noticed and repeated after a round trip and an eighth.
            let repair = Duration::from_millis(if loss_percent == 0 { 10 } else { 75 });
            let median = keys[keys.len() / 2];
            assert!(median < least + repair, "loss {loss_percent} %: {median:?}");
            assert!(window > KEY_BYTES, "loss {loss_percent} %: window {window}");
        }
    }
}
