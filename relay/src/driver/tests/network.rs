//! A network in memory and in virtual time: datagrams are delayed, lost, reordered and squeezed by
//! a seed.

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
use tokio::time::{Instant, Sleep};

/// What every path does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) delay: Duration,
    /// Up to this much is added at random: what is more than the gap between two datagrams reorders
    /// them.
    pub(super) jitter: Duration,
    pub(super) loss_percent: u64,
    pub(super) rate_bps: u64,
}

/// What a full link queues before it drops, as time.
const QUEUE: Duration = Duration::from_millis(150);

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss_percent: 0,
            rate_bps: 100_000_000,
        }
    }
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
    busy_until: HashMap<(SocketAddr, SocketAddr), Instant>,
    inboxes: HashMap<SocketAddr, Inbox>,
    start: Instant,
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
            busy_until: HashMap::new(),
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

    /// What happens to datagrams to `addr` from now on.
    pub(super) fn set_link(&self, addr: SocketAddr, link: Link) {
        self.0.lock().links.insert(addr, link);
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
        let link = self.links.get(&to).copied().unwrap_or(self.link);
        let lost = self.draw() % 100 < link.loss_percent;
        let jitter = Duration::from_nanos(self.draw() % (link.jitter.as_nanos() as u64 + 1));
        let busy_until = self.busy_until.entry((from, to)).or_insert(now);
        let begin = now.max(*busy_until);
        let cut = |addr: &SocketAddr| self.inboxes.get(addr).is_none_or(|inbox| inbox.cut);
        if lost || begin - now > QUEUE || cut(&from) || cut(&to) {
            return;
        }
        let bits = bytes.len() as u64 * 8;
        *busy_until = begin + Duration::from_nanos(bits * 1_000_000_000 / link.rate_bps);
        let at = *busy_until + link.delay + jitter;
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
