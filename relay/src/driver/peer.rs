//! The dialler's shell: a handle that asks, and the task that owns the connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint, VarInt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::receive::{Destination, Intake, Lasts};
use super::{Announced, Control, Error, SERVER_NAME, WINDOW, close, closed, lost, now, until};
use crate::group::Key;
use crate::session::client::{Client, Input, Output};
use crate::session::{HELLO_WITHIN, LATE_GROUPS, MAX_SUBSCRIPTIONS};
use crate::track;
use crate::wire::{self, Refusal, Start};

/// How long a peer may take to answer a subscription: longer than it gives its own source.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// How long the track waits for the last group of a stream that ended, or whoever asked for those
/// of the past: they were sent before the message that says so.
const LAST_GROUP_WITHIN: Duration = Duration::from_secs(2);

/// Subscriptions that are being asked for at one time; the next one waits.
const MAX_ASKING: usize = 64;

/// Streams that the peer may have open: all that all subscriptions can have.
const MAX_STREAMS: u32 = (MAX_SUBSCRIPTIONS * LATE_GROUPS) as u32;

/// A node we dialled, to subscribe at; a clone is the same connection, which closes with the last.
#[derive(Clone, Debug)]
pub struct Peer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Connection,
    node: String,
    intake: Arc<Intake>,
    asks: mpsc::Sender<Ask>,
    announced: watch::Receiver<Arc<Vec<Announced>>>,
}

#[derive(Debug)]
struct Ask {
    stream: String,
    hops: Vec<String>,
    start: Start,
    into: track::Producer,
    /// Cancelled when nobody wants the subscription any more.
    dropped: CancellationToken,
    answer: Answer,
}

/// The nodes it comes through, and what tells of its end.
type Answer = oneshot::Sender<Result<(Vec<String>, oneshot::Receiver<()>), Refusal>>;

impl Peer {
    /// Dials `addr` and says hello as `node`.
    pub async fn connect(endpoint: &Endpoint, addr: SocketAddr, node: &str) -> Result<Self, Error> {
        let connecting = endpoint.connect(addr, SERVER_NAME)?;
        let connected = timeout(HELLO_WITHIN, connecting)
            .await
            .map_err(|_| Error::Timeout)?;
        let connection = connected.map_err(lost)?;
        match Self::open(&connection, node).await {
            Ok(peer) => Ok(peer),
            Err(error) => {
                close(&connection, &error);
                Err(error)
            }
        }
    }

    async fn open(connection: &Connection, node: &str) -> Result<Self, Error> {
        connection.set_receive_window(VarInt::from_u32(WINDOW));
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(MAX_STREAMS));
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(0));
        let session = Client::new(node, now());
        let opened = timeout(HELLO_WITHIN, connection.open_bi()).await;
        let streams = opened.map_err(|_| Error::Timeout)?.map_err(lost)?;
        let (asks, asked) = mpsc::channel(MAX_ASKING);
        let (announced, announcements) = watch::channel(Arc::default());
        let control = Control::new(streams);
        let mut driver = Driver::new(connection.clone(), session, control, announced);
        let node = driver.open().await?;
        let intake = driver.intake.clone();
        tokio::spawn(driver.run(asked));
        let connection = connection.clone();
        Ok(Self(Arc::new(Shared {
            connection,
            node,
            intake,
            asks,
            announced: announcements,
        })))
    }

    /// The peer's name.
    pub fn remote_node(&self) -> &str {
        &self.0.node
    }

    /// Asks for a stream, whose groups go `into` a track; `hops` are the nodes that will get it
    /// from this one.
    ///
    /// The track ends only when the peer says that the stream ended: after a loss the caller
    /// subscribes elsewhere into the same track. A subscription for the past ends by itself, and
    /// never its track.
    pub async fn subscribe(
        &self,
        stream: &str,
        hops: &[String],
        start: Start,
        into: track::Producer,
    ) -> Result<Subscription, SubscribeError> {
        let (answer, answered) = oneshot::channel();
        let (stream, hops) = (stream.to_owned(), hops.to_vec());
        let dropped = CancellationToken::new();
        let ask = Ask {
            stream,
            hops,
            start,
            into,
            dropped: dropped.clone(),
            answer,
        };
        let _unsubscribe = dropped.drop_guard();
        let asking = async {
            self.0
                .asks
                .send(ask)
                .await
                .map_err(|_| SubscribeError::Lost)?;
            let (hops, ended) = answered.await.map_err(|_| SubscribeError::Lost)??;
            Ok(Subscription {
                hops,
                ended,
                _unsubscribe,
            })
        };
        timeout(ANSWER_WITHIN, asking)
            .await
            .unwrap_or(Err(SubscribeError::Timeout))
    }

    /// The streams that the peer announced.
    pub fn announced(&self) -> watch::Receiver<Arc<Vec<Announced>>> {
        self.0.announced.clone()
    }

    /// What the path is like now.
    pub fn stats(&self) -> PathStats {
        let stats = self.0.connection.stats();
        let path = stats.path;
        let counts = &self.0.intake.counts;
        PathStats {
            parity_bytes: counts.parity.load(Ordering::Relaxed),
            repaired_bytes: counts.repaired.load(Ordering::Relaxed),
            refused_parity: counts.refused.load(Ordering::Relaxed),
            received_bytes: stats.udp_rx.bytes,
            rtt: path.rtt,
            sent_packets: path.sent_packets,
            lost_packets: path.lost_packets,
        }
    }

    /// Waits until the connection is gone, and says why.
    pub async fn closed(&self) -> Error {
        lost(self.0.connection.closed().await)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        close(&self.connection, &Error::Done);
    }
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The peer said no.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The connection is gone.
    #[error("connection lost")]
    Lost,
    /// The peer did not answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// What a path is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStats {
    /// Bytes of UDP received.
    pub received_bytes: u64,
    /// Bytes of parity among them.
    pub parity_bytes: u64,
    /// Bytes of groups that parity gave before, or instead of, their retransmission.
    pub repaired_bytes: u64,
    /// Datagrams that could not be read, or were more than could wait.
    pub refused_parity: u64,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets of ours that were lost.
    pub lost_packets: u64,
}

/// A stream that comes from a peer; dropped, it is unsubscribed.
#[derive(Debug)]
pub struct Subscription {
    hops: Vec<String>,
    ended: oneshot::Receiver<()>,
    _unsubscribe: DropGuard,
}

impl Subscription {
    /// The nodes it comes through, the origin first, the peer last.
    pub fn hops(&self) -> &[String] {
        &self.hops
    }

    /// Waits until no more groups will come; once. Cancel-safe.
    pub async fn ended(&mut self) -> Why {
        match (&mut self.ended).await {
            Ok(()) => Why::Ended,
            Err(_) => Why::Lost,
        }
    }
}

/// Why no more groups come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The stream ended, and its track with it; or all came of the past that was asked for.
    Ended,
    /// The connection is gone; the track goes on.
    Lost,
}

/// The task that owns the connection.
struct Driver {
    connection: Connection,
    session: Client,
    control: Control,
    announced: watch::Sender<Arc<Vec<Announced>>>,
    intake: Arc<Intake>,
    asking: HashMap<u64, Answer>,
    ended: HashMap<u64, oneshot::Sender<()>>,
    dropped: JoinSet<u64>,
    receiving: JoinSet<Result<(), wire::Error>>,
    ending: JoinSet<()>,
    next_id: u64,
    wake: Option<Instant>,
}

impl Driver {
    fn new(
        connection: Connection,
        session: Client,
        control: Control,
        announced: watch::Sender<Arc<Vec<Announced>>>,
    ) -> Self {
        Self {
            connection,
            session,
            control,
            announced,
            intake: Arc::default(),
            asking: HashMap::new(),
            ended: HashMap::new(),
            dropped: JoinSet::new(),
            receiving: JoinSet::new(),
            ending: JoinSet::new(),
            next_id: 0,
            wake: None,
        }
    }

    /// Says hello and waits for the peer's name.
    async fn open(&mut self) -> Result<String, Error> {
        loop {
            if let Some(node) = self.carry_out().await? {
                return Ok(node);
            }
            let input = tokio::select! {
                biased;
                message = self.control.read() => Input::Message(message?),
                () = until(self.wake) => Input::Timeout,
            };
            self.session.handle_input(input);
        }
    }

    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        if let Err(error) = self.serve(&mut asked).await {
            debug!(%error, "relay connection ended");
            // Streams that ended before the connection did end their tracks; each waits for a
            // bounded time.
            while self.ending.join_next().await.is_some() {}
            close(&self.connection, &error);
        }
    }

    async fn serve(&mut self, asked: &mut mpsc::Receiver<Ask>) -> Result<(), Error> {
        loop {
            self.carry_out().await?;
            let input = tokio::select! {
                biased;
                Some(ended) = self.ending.join_next() => {
                    ended.map_err(Error::Task)?;
                    continue;
                }
                Some(dropped) = self.dropped.join_next() => {
                    self.forget(dropped.map_err(Error::Task)?)
                }
                Some(ask) = asked.recv() => self.ask(ask),
                Some(received) = self.receiving.join_next() => {
                    received.map_err(Error::Task)?.map_err(Error::Protocol)?;
                    continue;
                }
                stream = self.connection.accept_uni() => {
                    let stream = stream.map_err(lost)?;
                    self.receiving.spawn(self.intake.open(stream));
                    continue;
                }
                datagram = self.connection.read_datagram() => {
                    self.intake.datagram(&datagram.map_err(lost)?);
                    continue;
                }
                message = self.control.read() => Input::Message(message?),
            };
            self.session.handle_input(input);
        }
    }

    fn ask(&mut self, ask: Ask) -> Input {
        let id = self.next_id;
        self.next_id += 1;
        let into = Destination {
            track: ask.into,
            done: 0,
            lasts: match ask.start {
                Start::Past { .. } => Lasts::Past,
                Start::Latest | Start::After(_) => Lasts::Live,
            },
        };
        self.intake.tracks.lock().insert(id, into);
        self.asking.insert(id, ask.answer);
        self.dropped.spawn(async move {
            ask.dropped.cancelled().await;
            id
        });
        Input::Subscribe {
            id,
            stream: ask.stream,
            hops: ask.hops,
            start: ask.start,
        }
    }

    /// The subscription was dropped by its owner.
    fn forget(&mut self, id: u64) -> Input {
        self.intake.tracks.lock().remove(&id);
        self.asking.remove(&id);
        self.ended.remove(&id);
        Input::Unsubscribe(id)
    }

    /// Does what the session wants; the peer's name when it is first known.
    async fn carry_out(&mut self) -> Result<Option<String>, Error> {
        let mut name = None;
        let mut announced = false;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => self.control.write(bytes).await?,
                Output::Open(node) => name = Some(node),
                Output::Accepted(id, hops) => self.accepted(id, hops),
                Output::Refused(id, refusal) => self.refused(id, refusal),
                Output::Ended(id, last, groups) => self.end(id, last, groups),
                Output::Announced => announced = true,
                Output::Wake(at) => self.wake = at,
                Output::Close(code) => return Err(closed(code)),
            }
        }
        if announced {
            self.announced
                .send_replace(Arc::new(self.session.announced()));
        }
        Ok(name)
    }

    fn accepted(&mut self, id: u64, hops: Vec<String>) {
        let Some(answer) = self.asking.remove(&id) else {
            return;
        };
        let (ended, ends) = oneshot::channel();
        self.ended.insert(id, ended);
        // Nobody there to take it: the drop unsubscribes.
        let _ = answer.send(Ok((hops, ends)));
    }

    fn refused(&mut self, id: u64, refusal: Refusal) {
        self.intake.tracks.lock().remove(&id);
        if let Some(answer) = self.asking.remove(&id) {
            // Nobody there any more to hear it: nothing is lost.
            let _ = answer.send(Err(refusal));
        }
    }

    /// Ends the track once its last group is whole; the past ends by itself once all is taken.
    fn end(&mut self, id: u64, last: Option<Key>, groups: u64) {
        let ended = self.ended.remove(&id);
        let found = self.intake.tracks.lock().get(&id).map(Destination::ends);
        let Some((track, lasts)) = found else {
            return;
        };
        let intake = self.intake.clone();
        self.ending.spawn(async move {
            let last = async {
                match (lasts, last) {
                    (Lasts::Live, Some(last)) => closed_group(&track, last).await,
                    (Lasts::Live, None) => {}
                    (Lasts::Past, _) => intake.taken(id, groups).await,
                }
            };
            // Without its last group the track ends all the same.
            let _ = timeout(LAST_GROUP_WITHIN, last).await;
            intake.tracks.lock().remove(&id);
            if lasts == Lasts::Live {
                track.end();
            }
            // The owner may have dropped the subscription.
            let _ = ended.map(|ended| ended.send(()));
        });
    }
}

async fn closed_group(track: &track::Producer, key: Key) {
    let consumer = track.consumer();
    let mut changes = consumer.changes();
    while consumer
        .group(key)
        .is_none_or(|group| group.end().is_none())
    {
        changes.changed().await;
    }
}
