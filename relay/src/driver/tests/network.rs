//! A network in memory and in virtual time: datagrams are delayed, lost, reordered and squeezed by
//! a seed.
//!
//! Everything between the same two addresses shares one queue in each direction, so two connections
//! of one endpoint to another compete as two flows through a bottleneck do. Which datagrams a link
//! loses is str0m-netem's model; rate, queue and delay are ours, because netem counts what is under
//! way on the line as queued, which makes no bottleneck of a given depth, and lets no datagram
//! overtake another by its delay.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller};
use str0m_netem::{GilbertElliot, Input, LossModel, Netem, NetemConfig, Output};
use str0m_netem::{Probability, RandomLoss};
use tokio::time::{Instant, Sleep};

/// What every path does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) delay: Duration,
    /// Up to this much is added at random: what is more than the gap between two datagrams reorders
    /// them.
    pub(super) jitter: Duration,
    /// Of all datagrams, before they reach the queue.
    pub(super) loss_percent: u64,
    /// How many are lost in a row on average: 1 is at random, more is Gilbert and Elliott's model.
    pub(super) burst: u16,
    pub(super) rate_bps: u64,
    /// What a full link queues before it drops, as time at its rate.
    pub(super) queue: Duration,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss_percent: 0,
            burst: 1,
            rate_bps: 100_000_000,
            queue: Duration::from_millis(150),
        }
    }
}

impl Link {
    fn loss(&self) -> LossModel {
        let share = self.loss_percent as f32 / 100.0;
        if self.burst <= 1 {
            return RandomLoss::new(Probability::new(share)).into();
        }
        let bad = f32::from(self.burst);
        let good = bad * (1.0 - share) / share;
        GilbertElliot::new()
            .good_duration(good)
            .bad_duration(bad)
            .into()
    }
}

/// What became of the datagrams to an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sent: u64,
    /// By the link's loss.
    pub(super) lost: u64,
    /// By a full queue.
    pub(super) overflowed: u64,
    /// The longest wait in the queue since the tally was last taken.
    pub(super) queued: Duration,
}

#[derive(Debug)]
pub(super) struct Network(Mutex<State>);

#[derive(Debug)]
struct State {
    link: Link,
    /// Links to some addresses that differ from the others.
    links: HashMap<SocketAddr, Link>,
    random: u64,
    sent: u64,
    trace: u64,
    paths: HashMap<(SocketAddr, SocketAddr), Path>,
    tallies: HashMap<SocketAddr, Tally>,
    inboxes: HashMap<SocketAddr, Inbox>,
    start: Instant,
}

/// One direction between two addresses.
struct Path {
    losses: Netem<[u8; 0]>,
    busy_until: Instant,
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "busy until {:?}", self.busy_until)
    }
}

impl Path {
    fn loses(&mut self, now: Instant) -> bool {
        self.losses.handle_input(Input::Packet(now.into_std(), []));
        !matches!(self.losses.poll_output(), Some(Output::Packet(_)))
    }
}

#[derive(Debug, Default)]
struct Inbox {
    datagrams: BinaryHeap<Reverse<Datagram>>,
    waker: Option<Waker>,
    cut: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    at: Instant,
    number: u64,
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl Network {
    pub(super) fn new(seed: u64, link: Link) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            link,
            links: HashMap::new(),
            random: seed,
            sent: 0,
            trace: 0,
            paths: HashMap::new(),
            tallies: HashMap::new(),
            inboxes: HashMap::new(),
            start: Instant::now(),
        })))
    }

    pub(super) fn socket(self: &Arc<Self>, addr: SocketAddr) -> Arc<Socket> {
        self.0.lock().inboxes.insert(addr, Inbox::default());
        Arc::new(Socket {
            addr,
            network: self.clone(),
            sleep: Mutex::new(None),
        })
    }

    /// Nothing leaves or reaches `addr` any more.
    pub(super) fn cut(&self, addr: SocketAddr) {
        self.0.lock().inboxes.entry(addr).or_default().cut = true;
    }

    /// What happens to datagrams to `addr` from now on;
    /// what is in a queue leaves it at the old rate.
    pub(super) fn set_link(&self, addr: SocketAddr, link: Link) {
        let mut state = self.0.lock();
        state.links.insert(addr, link);
        let seed = state.draw();
        for ((_, to), path) in &mut state.paths {
            if *to == addr {
                path.losses
                    .set_config(NetemConfig::new().loss(link.loss()).seed(seed));
            }
        }
    }

    /// What became of the datagrams to `addr`.
    pub(super) fn tally(&self, addr: SocketAddr) -> Tally {
        let mut state = self.0.lock();
        let tally = state.tallies.entry(addr).or_default();
        let taken = *tally;
        tally.queued = Duration::ZERO;
        taken
    }

    /// Datagrams sent, and a digest of when, between whom and how long each was.
    pub(super) fn trace(&self) -> (u64, u64) {
        let state = self.0.lock();
        (state.sent, state.trace)
    }
}

impl State {
    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = Instant::now();
        self.sent += 1;
        let elapsed = (now - self.start).as_nanos() as u64;
        for value in [
            elapsed,
            from.port().into(),
            to.port().into(),
            bytes.len() as u64,
        ] {
            self.trace = mix(self.trace ^ value);
        }
        let Some(at) = self.arrival(now, (from, to), bytes.len()) else {
            return;
        };
        let number = self.sent;
        let inbox = self.inboxes.entry(to).or_default();
        inbox.datagrams.push(Reverse(Datagram {
            at,
            number,
            from,
            bytes: bytes.to_vec(),
        }));
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }

    /// When a datagram that is sent now gets to its end, if it does.
    fn arrival(
        &mut self,
        now: Instant,
        ends: (SocketAddr, SocketAddr),
        size: usize,
    ) -> Option<Instant> {
        let link = self.links.get(&ends.1).copied().unwrap_or(self.link);
        let (jitter, seed) = (self.draw(), self.draw());
        let cut = |addr: &SocketAddr| self.inboxes.get(addr).is_none_or(|inbox| inbox.cut);
        let cut = cut(&ends.0) || cut(&ends.1);
        let tally = self.tallies.entry(ends.1).or_default();
        let path = self.paths.entry(ends).or_insert_with(|| Path {
            losses: Netem::new(NetemConfig::new().loss(link.loss()).seed(seed)),
            busy_until: now,
        });
        tally.sent += 1;
        if path.loses(now) || cut {
            tally.lost += 1;
            return None;
        }
        let begin = now.max(path.busy_until);
        if begin - now > link.queue {
            tally.overflowed += 1;
            return None;
        }
        tally.queued = tally.queued.max(begin - now);
        let bits = size as u64 * 8;
        path.busy_until = begin + Duration::from_nanos(bits * 1_000_000_000 / link.rate_bps);
        let jitter = jitter % (link.jitter.as_nanos() as u64 + 1);
        Some(path.busy_until + link.delay + Duration::from_nanos(jitter))
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[derive(Debug)]
pub(super) struct Socket {
    addr: SocketAddr,
    network: Arc<Network>,
    sleep: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        for datagram in transmit.contents.chunks(size) {
            self.network
                .0
                .lock()
                .send(self.addr, transmit.destination, datagram);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut state = self.network.0.lock();
            let inbox = state.inboxes.entry(self.addr).or_default();
            let next = inbox.datagrams.peek().map(|Reverse(datagram)| datagram.at);
            if next.is_some_and(|at| at <= Instant::now())
                && let Some(Reverse(datagram)) = inbox.datagrams.pop()
            {
                bufs[0][..datagram.bytes.len()].copy_from_slice(&datagram.bytes);
                meta[0] = RecvMeta {
                    addr: datagram.from,
                    len: datagram.bytes.len(),
                    stride: datagram.bytes.len(),
                    ..RecvMeta::default()
                };
                return Poll::Ready(Ok(1));
            }
            inbox.waker = Some(cx.waker().clone());
            drop(state);
            let Some(at) = next else { return Poll::Pending };
            let mut sleep = self.sleep.lock();
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            sleep.as_mut().reset(at);
            if Future::poll(sleep.as_mut(), cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// The simulated socket always takes a datagram; a full link drops it.
#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Tasks and timers of tokio, whose clock the test has paused.
#[derive(Debug)]
pub(super) struct VirtualTime;

impl Runtime for VirtualTime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(tokio::time::sleep_until(Instant::from_std(at)))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}
