//! A thread of viewers: each a task that reads its own socket into the thread's one buffer.
//!
//! Nothing is made per frame. `https` goes through the HTTP client instead, which costs more.
//! What viewers see is counted in the thread's [`Tally`], which the main thread takes now and then;
//! the lock is never contended for longer than that.

use super::{
    Protocol,
    again::Again,
    hls::{self, Pace},
    moving::{self, Line, Trip},
    response::{Body, Head},
    tally::Tally,
    target::Target,
    watch::{Moment, Plan, Watch},
};
use crate::load::profile::Visit;
use anyhow::{Context, Result, anyhow, bail};
use futures_util::TryStreamExt;
use http_body_util::BodyExt;
use media::mp4::Movie;
use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use transport::{clock::unix_us, http::Client};

/// What all viewers have in common.
pub struct Crowd {
    /// Whom to ask; viewers take them in turn.
    pub targets: Vec<Target>,
    /// From where; viewers take them in turn, and none means any.
    pub from: Vec<IpAddr>,
    /// Header lines of each request.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// For `https`.
    pub client: Client,
    /// What to do with what comes.
    pub plan: Plan,
    /// How many there are.
    pub viewers: usize,
    /// When each comes and goes, earliest first, instead of `viewers` who all stay for `duration`.
    pub visits: Option<Vec<Visit>>,
    /// Over how long they join.
    pub ramp: Duration,
    /// What they ask for; by each URL's ending when left out.
    pub protocol: Option<Protocol>,
    /// Whether those whose connection breaks ask again.
    pub reconnects: bool,
    /// How long each watches.
    pub duration: Duration,
    /// When the first one starts.
    pub start: Instant,
    /// Whether the first one keeps what it gets.
    pub keep: bool,
    /// All leave at once.
    pub over: CancellationToken,
}

impl Crowd {
    /// How long it takes, from the first to the last.
    pub fn length(&self) -> Duration {
        let even = self.ramp + self.duration;
        self.visits.as_ref().map_or(even, |visits| {
            let ends = visits.iter().map(|visit| visit.comes + visit.stays);
            ends.max().unwrap_or_default()
        })
    }

    /// What one of them asks for, and whom.
    fn target(&self, number: usize) -> (&Target, Protocol) {
        let target = &self.targets[number % self.targets.len()];
        let usual = || Protocol::of(&target.url);
        (target, self.protocol.unwrap_or_else(usual))
    }

    /// How many come in all.
    fn count(&self) -> usize {
        self.visits.as_ref().map_or(self.viewers, Vec::len)
    }

    /// When one of them comes and goes.
    fn visit(&self, number: usize) -> Visit {
        let share = number as f64 / self.viewers as f64;
        let even = || Visit {
            comes: self.ramp.mul_f64(share),
            stays: self.duration,
        };
        self.visits
            .as_ref()
            .map_or_else(even, |visits| visits[number])
    }
}

/// What a thread of viewers shares with the main thread.
#[derive(Clone, Default)]
pub struct Desk(Arc<Mutex<(Tally, Option<Movie>)>>);

impl Desk {
    /// Takes what was counted since the last time.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut self.open().0)
    }

    /// Takes what the first viewer kept.
    pub fn kept(&self) -> Option<Movie> {
        self.open().1.take()
    }

    /// The counts, for as long as the guard lives.
    pub fn open(&self) -> MutexGuard<'_, (Tally, Option<Movie>)> {
        // Counting cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a thread of viewers runs in.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_BETWEEN_POLLS)
        .build()
}

/// Runs viewer `first` and every `step`th after it, until all have left.
pub fn run(runtime: &Runtime, crowd: Arc<Crowd>, (first, step): (usize, usize), desk: Desk) {
    let worker = Rc::new(Worker {
        crowd,
        desk,
        buffer: RefCell::new(vec![0; READ_BYTES]),
        addresses: RefCell::default(),
    });
    LocalSet::new().block_on(runtime, worker.all(first, step));
}

/// A thread of viewers.
pub struct Worker {
    /// What they have in common.
    pub crowd: Arc<Crowd>,
    /// Where they count.
    pub desk: Desk,
    buffer: RefCell<Vec<u8>>,
    /// Names that were looked up.
    addresses: RefCell<HashMap<(String, u16), SocketAddr>>,
}

impl Worker {
    async fn all(self: Rc<Self>, first: usize, step: usize) {
        let mut viewers = JoinSet::new();
        for number in (first..self.crowd.count()).step_by(step) {
            let visit = self.crowd.visit(number);
            let comes = sleep_until(self.crowd.start + visit.comes);
            if self.crowd.over.run_until_cancelled(comes).await.is_none() {
                break;
            }
            let worker = self.clone();
            viewers.spawn_local(async move { worker.view(number, visit.stays).await });
            while viewers.try_join_next().is_some() {}
        }
        while viewers.join_next().await.is_some() {}
    }

    /// One viewer from its first connection to its end.
    async fn view(&self, number: usize, stays: Duration) {
        self.desk.open().0.started += 1;
        let mut watch = Watch::new(&self.crowd.plan);
        if self.crowd.keep && number == 0 {
            watch = watch.keeping();
        }
        let mut viewer = Viewer {
            worker: self,
            number,
            start: Instant::now(),
            watch,
            trip: Trip::new(),
            edge: String::new(),
            again: Again::default(),
        };
        let end = viewer.start + stays;
        let watching = timeout_at(end, viewer.play());
        let watched = self.crowd.over.run_until_cancelled(watching).await;
        let error = match watched {
            Some(Err(_)) if !viewer.watch.has_joined() => Some("no picture in time".into()),
            None | Some(Err(_)) => None,
            Some(Ok(Err(error))) => Some(format!("{error:#}")),
            Some(Ok(Ok(()))) => Some("the stream ended".into()),
        };
        viewer.settle();
        let long = viewer.start.elapsed();
        let mut desk = self.desk.open();
        if let Some(movie) = viewer.watch.finish(long, &mut desk.0) {
            desk.1 = Some(movie);
        }
        desk.0.left += 1;
        if let Some(error) = error {
            desk.0.fail(error);
        }
    }

    /// Header lines of each request.
    pub fn header_lines(&self) -> Result<String> {
        let mut lines = String::new();
        for (name, value) in &self.crowd.headers {
            lines += &format!("{name}: {}\r\n", value.to_str()?);
        }
        Ok(lines)
    }

    /// A connection to the target.
    pub async fn dial(&self, target: &Target, from: Option<IpAddr>) -> Result<TcpStream> {
        let address = self.address(target, from).await?;
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(from) = from {
            socket.bind((from, 0).into())?;
        }
        timeout(PATIENCE, socket.connect(address))
            .await
            .map_err(|_| anyhow!("no connection in time"))?
            .map_err(|error| anyhow!("cannot connect: {}", error.kind()))
    }

    /// Reads until there is a whole head; `held` may then have some of the body, too.
    pub async fn head(&self, socket: &TcpStream, held: &mut Vec<u8>) -> Result<Head> {
        let reading = async {
            while self.read(socket, held).await? > 0 {
                if let Some(head) = Head::read(held)? {
                    return Ok(head);
                }
            }
            bail!("closed without an answer")
        };
        let read = timeout(PATIENCE, reading).await;
        read.map_err(|_| anyhow!("no answer in time"))?
    }

    /// Reads once and keeps what came; 0 at the end.
    pub async fn read(&self, socket: &TcpStream, held: &mut Vec<u8>) -> Result<usize> {
        loop {
            socket.readable().await.map_err(broken)?;
            let mut buffer = self.buffer.borrow_mut();
            match socket.try_read(&mut buffer) {
                Ok(length) => {
                    held.extend_from_slice(&buffer[..length]);
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }

    /// An address of the target, of the family from which it is dialled.
    async fn address(&self, target: &Target, from: Option<IpAddr>) -> Result<SocketAddr> {
        if let Ok(ip) = target.host.parse() {
            return Ok(SocketAddr::new(ip, target.port));
        }
        let name = (target.host.clone(), target.port);
        if let Some(address) = self.addresses.borrow().get(&name) {
            return Ok(*address);
        }
        let mut found = tokio::net::lookup_host((target.host.as_str(), target.port))
            .await
            .map_err(|_| anyhow!("{} has no address", target.host))?;
        let fits = |address: &SocketAddr| from.is_none_or(|ip| ip.is_ipv4() == address.is_ipv4());
        let address = found
            .find(fits)
            .with_context(|| format!("{} has no address of that family", target.host))?;
        let mut known = self.addresses.borrow_mut();
        if known.len() < MAX_NAMES {
            known.insert(name, address);
        }
        Ok(address)
    }
}

/// One of them.
pub struct Viewer<'a> {
    /// Its thread.
    pub worker: &'a Worker,
    number: usize,
    /// When it started.
    pub start: Instant,
    /// What it looks at.
    pub watch: Watch,
    /// Of one who goes where its edge sends it.
    pub trip: Trip,
    /// The id of the edge that it plays from, where it is known.
    pub edge: String,
    again: Again,
}

impl Viewer<'_> {
    /// Plays; where connections break it asks again, if it is one who does.
    async fn play(&mut self) -> Result<()> {
        loop {
            let played = self.play_once().await;
            if !self.worker.crowd.reconnects {
                return played;
            }
            let now = self.start.elapsed();
            let edge = std::mem::take(&mut self.edge);
            let pause = self.again.failed(&edge, now, rand::random());
            self.worker.desk.open().0.breaks += u64::from(self.watch.has_joined());
            self.settle();
            self.trip = Trip::new();
            self.watch.breaks(&self.worker.crowd.plan, now);
            sleep(pause).await;
        }
    }

    async fn play_once(&mut self) -> Result<()> {
        let (_, protocol) = self.worker.crowd.target(self.number);
        match protocol {
            Protocol::Flv => self.follow().await,
            Protocol::LlHls => hls::follow(self, Pace::Parts).await,
            Protocol::Hls => hls::follow(self, Pace::Segments).await,
        }
    }

    /// Whom it asks first, and from which address.
    pub fn target(&mut self) -> (Target, Option<IpAddr>) {
        let crowd = &self.worker.crowd;
        let target = crowd.target(self.number).0.clone();
        // Another step than the targets', so that each target is asked from each address.
        let turn = self.number / crowd.targets.len();
        let from = crowd.from.get(turn % crowd.from.len().max(1)).copied();
        let without = self.again.query(self.start.elapsed());
        let target = target.with(&without).unwrap_or(target);
        if !self.moves() || target.has("session") {
            return (target, from);
        }
        // Whom the scheduler moves it chooses by session.
        let session = format!("session=load-{}-{}", std::process::id(), self.number);
        let named = target.with(&session);
        (named.unwrap_or(target), from)
    }

    /// Whether it goes where its edge sends it.
    fn moves(&self) -> bool {
        let (target, protocol) = self.worker.crowd.target(self.number);
        protocol == Protocol::Flv && target.has("weir=1")
    }

    /// It plays from that edge, which was found at this address.
    pub fn plays_from(&mut self, edge: &str, target: &Target) {
        edge.clone_into(&mut self.edge);
        self.again.connected(self.start.elapsed());
        self.served_by(target);
    }

    async fn follow(&mut self) -> Result<()> {
        let (mut target, from) = self.target();
        for _ in 0..MAX_REDIRECTS {
            let location = match target.tls {
                true => self.ask_client(&target).await?,
                false => self.ask(&target, from).await?,
            };
            let Some(location) = location else {
                return Ok(());
            };
            target = target.redirected(&location)?;
        }
        bail!("redirected more than {MAX_REDIRECTS} times")
    }

    /// Asks over a socket of its own; gives where it is redirected to, or reads to the end.
    async fn ask(&mut self, target: &Target, from: Option<IpAddr>) -> Result<Option<String>> {
        let mut socket = self.worker.dial(target, from).await?;
        let request = target.request(&self.worker.header_lines()?);
        socket.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut held = Vec::new();
        let head = self.worker.head(&socket, &mut held).await?;
        if let Some(location) = self.decide(head.status, head.location)? {
            return Ok(Some(location));
        }
        self.plays_from(&head.server, target);
        if self.moves() {
            let line = Line::new(
                target,
                socket,
                (head.body, head.server),
                &held[head.length..],
            )?;
            moving::play(self, line).await?;
            return Ok(None);
        }
        let mut body = head.body;
        self.take(&mut body, &held[head.length..])?;
        drop(held);
        while !body.is_over() {
            let got = self.read(&socket, |viewer, bytes| viewer.take(&mut body, bytes));
            if got.await? == 0 {
                break;
            }
        }
        Ok(None)
    }

    /// Reads once into the thread's buffer and hands on what came; 0 at the end.
    pub async fn read(
        &mut self,
        socket: &TcpStream,
        mut then: impl FnMut(&mut Self, &[u8]) -> Result<()>,
    ) -> Result<usize> {
        loop {
            socket.readable().await.map_err(broken)?;
            let mut buffer = self.worker.buffer.borrow_mut();
            match socket.try_read(&mut buffer) {
                Ok(length) => {
                    then(self, &buffer[..length])?;
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }

    fn take(&mut self, body: &mut Body, mut bytes: &[u8]) -> Result<()> {
        let at = self.now();
        let mut desk = self.worker.desk.open();
        while let Some(data) = body.next(&mut bytes)? {
            self.watch.take(at, data, &mut desk.0)?;
        }
        Ok(())
    }

    /// The same through the HTTP client.
    async fn ask_client(&mut self, target: &Target) -> Result<Option<String>> {
        let crowd = &self.worker.crowd;
        let mut request = http::Request::get(&target.url);
        for (name, value) in &crowd.headers {
            request = request.header(name, value);
        }
        let answer = crowd.client.open(request.body(Default::default())?).await;
        let answer = answer.map_err(without_url)?;
        let location = answer.headers().get(http::header::LOCATION);
        let location = location.and_then(|to| to.to_str().ok().map(Into::into));
        if let Some(location) = self.decide(answer.status().as_u16(), location)? {
            return Ok(Some(location));
        }
        self.plays_from("", target);
        let mut data = answer.into_body().into_data_stream();
        while let Some(chunk) = data.try_next().await? {
            self.take(&mut Body::ToEnd, &chunk)?;
        }
        Ok(None)
    }

    /// Where an answer leads; nothing when its body is the stream.
    fn decide(&self, status: u16, location: Option<String>) -> Result<Option<String>> {
        match status {
            300..400 => location.context("a redirect to nowhere").map(Some),
            200..300 => Ok(None),
            _ => bail!("status {status}"),
        }
    }

    fn served_by(&self, target: &Target) {
        let mut desk = self.worker.desk.open();
        *desk.0.edges.entry(target.authority.clone()).or_default() += 1;
    }

    /// The moment.
    pub fn now(&self) -> Moment {
        Moment {
            since_start: self.start.elapsed(),
            unix_us: unix_us(),
        }
    }
}

/// What broke, without whose connection it was.
pub fn broken(error: io::Error) -> anyhow::Error {
    anyhow!("the connection broke: {}", error.kind())
}

/// The same for every viewer, and without the tokens that URLs carry.
pub fn without_url(error: transport::http::ClientError) -> anyhow::Error {
    match error {
        transport::http::ClientError::Connection { reason, .. } => anyhow!(reason),
        transport::http::ClientError::Timeout { .. } => anyhow!("no answer in time"),
        _ => anyhow!("the request cannot be sent"),
    }
}

/// More than any honest chain: redirector, then an edge that is full.
pub const MAX_REDIRECTS: usize = 5;
/// A server that has not answered by then is as good as gone.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Several frames of a fast stream in one call, and still within a core's second cache.
const READ_BYTES: usize = 128 << 10;
/// Reads between looks at what else came: a look costs as much as a read.
const TASKS_BETWEEN_POLLS: u32 = 256;
/// Far more edges than one redirector names.
const MAX_NAMES: usize = 1024;
