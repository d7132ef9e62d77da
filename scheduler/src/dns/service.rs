//! The sockets of the name server: one loop for UDP, a bounded number of connections for TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use transport::accept::{Listener, unmap};
use transport::drain::Drain;
use transport::limit::Connections;

use super::directory::Directory;
use super::limit::{Limit, Verdict};
use super::{Config, From, Over, Zone, truncated};

/// A name server that listens.
pub struct Server {
    udp: UdpSocket,
    tcp: Listener,
    limit: Limit,
    answerer: Arc<Answerer>,
}

/// What answers, however a query came.
struct Answerer {
    zone: Zone,
    directory: Arc<Directory>,
    meter: Meter,
}

impl Server {
    /// Binds both sockets to one port. `serial` is the zone's.
    pub async fn load(
        config: &Config,
        directory: Directory,
        serial: u32,
        registry: &mut Registry,
    ) -> Result<Self> {
        config.check()?;
        let listens = || format!("[scheduler.dns] listen {}", config.listen);
        let udp = UdpSocket::bind(config.listen).await.with_context(listens)?;
        let tcp = Listener::bind(udp.local_addr()?).with_context(listens)?;
        let answerer = Answerer {
            zone: Zone::new(config, serial)?,
            directory: Arc::new(directory),
            meter: Meter::register(registry),
        };
        Ok(Self {
            udp,
            tcp,
            limit: Limit::new(config.rate, rand::random()),
            answerer: Arc::new(answerer),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Answers until the drain stops.
    pub fn run(self, drain: &Drain) {
        let Self {
            udp,
            tcp,
            limit,
            answerer,
        } = self;
        drain.background(answerer.directory.clone().run());
        drain.background(answer_datagrams(udp, limit, answerer.clone()));
        drain.background(take_connections(tcp, answerer, drain.clone()));
    }
}

async fn answer_datagrams(socket: UdpSocket, mut limit: Limit, answerer: Arc<Answerer>) {
    let started = Instant::now();
    let mut bytes = vec![0; MAX_QUERY_BYTES];
    loop {
        let (length, peer) = match socket.recv_from(&mut bytes).await {
            Ok(received) => received,
            // What an earlier answer met on its way (ICMP); the socket is sound.
            Err(error) => {
                tracing::debug!(%error, "a datagram was not received");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let query = &bytes[..length];
        let address = unmap(peer).ip();
        let now_ms = started.elapsed().as_millis() as u64;
        let answer = match limit.check(now_ms, address) {
            Verdict::Answer => answerer.answer(query, address, Over::Udp),
            Verdict::Truncate => {
                answerer.meter.count(Over::Udp, "limited");
                truncated(query)
            }
            Verdict::Drop => {
                answerer.meter.count(Over::Udp, "dropped");
                None
            }
        };
        if let Some(answer) = answer
            && let Err(error) = socket.send_to(&answer, peer).await
        {
            tracing::debug!(%error, "an answer was not sent");
        }
    }
}

async fn take_connections(listener: Listener, answerer: Arc<Answerer>, drain: Drain) {
    let room = Connections::new(MAX_CONNECTIONS, MAX_PER_ADDRESS);
    loop {
        let (stream, peer) = listener.accept().await;
        // The one too many is closed: resolvers ask another server, or again.
        let Ok(place) = room.try_acquire(peer.ip()) else {
            answerer.meter.count(Over::Tcp, "no_room");
            continue;
        };
        let answerer = answerer.clone();
        drain.background(async move {
            let served = serve(stream, peer.ip(), &answerer).await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection of the name server ended");
            }
            drop(place);
        });
    }
}

/// Messages with their length before them (RFC 1035, section 4.2.2), one after another.
async fn serve(mut stream: TcpStream, peer: IpAddr, answerer: &Answerer) -> io::Result<()> {
    let mut bytes = vec![0; MAX_QUERY_BYTES];
    for _ in 0..MAX_QUERIES {
        let Ok(length) = timeout(IDLE, stream.read_u16()).await else {
            return Ok(());
        };
        let length = usize::from(match length {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        });
        let Some(query) = bytes.get_mut(..length) else {
            answerer.meter.count(Over::Tcp, "too_long");
            return Ok(());
        };
        timeout(IDLE, stream.read_exact(query)).await??;
        let Some(answer) = answerer.answer(query, peer, Over::Tcp) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
    Ok(())
}

impl Answerer {
    fn answer(&self, query: &[u8], peer: IpAddr, over: Over) -> Option<Vec<u8>> {
        let begun = Instant::now();
        let from = From {
            peer,
            over,
            random: rand::random(),
        };
        let answer = self
            .zone
            .answer(query, &from, &|wish| self.directory.edges(wish));
        self.meter.seconds.observe(begun.elapsed().as_secs_f64());
        let outcome = answer.as_ref().map_or("ignored", |answer| answer.outcome);
        self.meter.count(over, outcome);
        answer.map(|answer| answer.bytes)
    }
}

/// The metrics `weir_scheduler_dns_*`.
struct Meter {
    queries: Family<Outcome, Counter>,
    seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    over: &'static str,
    outcome: &'static str,
}

impl Meter {
    fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("weir_scheduler_dns");
        let meter = Self {
            queries: Family::default(),
            seconds: Histogram::new(exponential_buckets(FASTEST_S, 2.0, BUCKETS)),
        };
        let help = "Queries of the name server by what carried them and by outcome";
        registry.register("queries", help, meter.queries.clone());
        let seconds = meter.seconds.clone();
        let help = "Time to read, decide and write an answer";
        registry.register_with_unit("answer", help, Unit::Seconds, seconds);
        meter
    }

    fn count(&self, over: Over, outcome: &'static str) {
        let over = over.as_str();
        self.queries.get_or_create(&Outcome { over, outcome }).inc();
    }
}

/// One question with its options is far shorter.
const MAX_QUERY_BYTES: usize = 4_096;

/// Resolvers ask by TCP when they must; each costs a task and its buffer.
const MAX_CONNECTIONS: usize = 256;

/// Nobody keeps the others out: a resolver that asks much by TCP uses a few connections.
const MAX_PER_ADDRESS: usize = 32;

/// A connection that lives longer is dialled anew, so that nobody keeps a place for ever.
const MAX_QUERIES: usize = 100;

/// What a resolver may take between its questions (RFC 7766, section 6.2.3: seconds).
const IDLE: Duration = Duration::from_secs(5);

/// From 1 microsecond in 14 doublings to 8 milliseconds, as for redirects.
const FASTEST_S: f64 = 1e-6;
const BUCKETS: u16 = 14;
