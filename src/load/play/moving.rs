//! A viewer of FLV who goes where its edge sends it, as the page's player does: it asks the scheduler when the edge
//! wants it to leave, opens the other connection while the first plays on, and goes over where both have the same frame.

use super::{
    response::Body,
    splice::{Inlet, Place, Splice},
    stall::Stalls,
    target::Target,
    worker::{MAX_REDIRECTS, PATIENCE, Viewer, Worker, broken},
};
use crate::load::delays::record;
use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::future::LocalBoxFuture;
use std::{net::IpAddr, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout},
};

/// What such a viewer knows.
#[derive(Debug)]
pub struct Trip {
    splice: Splice,
    /// When a frame came last.
    last: Instant,
    /// Whether the next frame is the first of another edge.
    moved: bool,
    /// Since when it may stand still because of a move, and how often it had before.
    since: Option<(Instant, Stalls)>,
}

/// A connection that plays, or is to.
pub struct Line {
    socket: TcpStream,
    body: Body,
    /// What of the stream was read already.
    held: Vec<u8>,
    inlet: Inlet,
    /// The id of the edge.
    edge: String,
    /// Whom it was dialled by.
    target: Target,
    /// The first frame, of a connection that is to play.
    begins: Option<Place>,
    opened: Instant,
}

impl Trip {
    /// Before the first frame.
    pub fn new() -> Self {
        Self {
            splice: Splice::default(),
            last: Instant::now(),
            moved: false,
            since: None,
        }
    }
}

impl Line {
    /// A connection whose answer's head was read, `raw` behind it, too.
    pub fn new(
        target: &Target,
        socket: TcpStream,
        (mut body, edge): (Body, String),
        mut raw: &[u8],
    ) -> Result<Self> {
        let mut held = Vec::new();
        while let Some(data) = body.next(&mut raw)? {
            held.extend_from_slice(data);
        }
        Ok(Self {
            socket,
            body,
            held,
            inlet: Inlet::default(),
            edge,
            target: target.clone(),
            begins: None,
            opened: Instant::now(),
        })
    }

    /// Reads until it is known with which frame it begins.
    async fn find(&mut self, worker: &Worker) -> Result<()> {
        let mut scout = Inlet::default();
        let mut seen = 0;
        loop {
            scout.push(&mut Splice::default(), &self.held[seen..], |_| {})?;
            seen = self.held.len();
            self.begins = scout.begins();
            if self.begins.is_some() {
                return Ok(());
            }
            ensure!(seen < MAX_BEGINNING, "no position");
            let mut raw = Vec::new();
            ensure!(worker.read(&self.socket, &mut raw).await? > 0, "it ended");
            let mut raw = &raw[..];
            while let Some(data) = self.body.next(&mut raw)? {
                self.held.extend_from_slice(data);
            }
        }
    }
}

/// Plays from there to the end of the last connection.
pub async fn play(viewer: &mut Viewer<'_>, mut line: Line) -> Result<()> {
    while let Some(next) = stay(viewer, line).await? {
        line = next;
        viewer.plays_from(&line.edge, &line.target);
        viewer.count(|moves| moves.moved += 1);
        viewer.trip.moved = true;
    }
    Ok(())
}

/// Plays until the connection ends or another one goes on.
async fn stay(viewer: &mut Viewer<'_>, mut line: Line) -> Result<Option<Line>> {
    let (worker, mut next) = (viewer.worker, None::<Line>);
    let mut looking = None::<LocalBoxFuture<'_, Result<Option<Line>>>>;
    let held = std::mem::take(&mut line.held);
    viewer.take_spliced(&mut line.inlet, &held)?;
    loop {
        if line.inlet.was_asked() && looking.is_none() && next.is_none() {
            let (target, from) = viewer.question(&line.edge)?;
            looking = Some(Box::pin(look(worker, target, from, line.edge.clone())));
        }
        if next.as_ref().is_some_and(|next| viewer.meets(next)) {
            return Ok(next);
        }
        if next
            .take_if(|next| next.opened.elapsed() > MEET_WITHIN)
            .is_some()
        {
            viewer.count(|moves| moves.failed += 1);
        }
        let Line {
            socket,
            body,
            inlet,
            ..
        } = &mut line;
        let read = tokio::select! {
            found = found(&mut looking) => {
                looking = None;
                next = viewer.judge(found);
                continue;
            }
            read = viewer.read(socket, |viewer, mut raw| {
                while let Some(data) = body.next(&mut raw)? {
                    viewer.take_spliced(inlet, data)?;
                }
                Ok(())
            }) => read,
        };
        if matches!(read, Ok(1..)) && !body.is_over() {
            continue;
        }
        if let Some(looking) = looking {
            next = viewer.judge(looking.await);
        }
        return match next {
            Some(next) => Ok(Some(next)),
            None => read.map(|_| None),
        };
    }
}

/// What comes of looking; never anything when nobody looks.
async fn found(
    looking: &mut Option<LocalBoxFuture<'_, Result<Option<Line>>>>,
) -> Result<Option<Line>> {
    match looking {
        Some(looking) => looking.await,
        None => std::future::pending().await,
    }
}

/// Asks where to play, and opens a connection there; nothing when it is where the viewer is.
async fn look(
    worker: &Worker,
    target: Target,
    from: Option<IpAddr>,
    edge: String,
) -> Result<Option<Line>> {
    let looking = async {
        let mut target = target;
        for _ in 0..MAX_REDIRECTS {
            ensure!(!target.tls, "moves are followed over http alone");
            let mut socket = worker.dial(&target, from).await?;
            let request = target.request(&worker.header_lines()?);
            socket.write_all(request.as_bytes()).await.map_err(broken)?;
            let mut held = Vec::new();
            let head = worker.head(&socket, &mut held).await?;
            match head.status {
                204 => return Ok(None),
                300..400 => {
                    let location = head.location.context("a redirect to nowhere")?;
                    target = target.redirected(&location)?;
                }
                200 if head.server == edge => return Ok(None),
                200 => {
                    let raw = &held[head.length..];
                    let mut line = Line::new(&target, socket, (head.body, head.server), raw)?;
                    line.find(worker).await?;
                    return Ok(Some(line));
                }
                status => bail!("status {status}"),
            }
        }
        bail!("redirected more than {MAX_REDIRECTS} times")
    };
    let looked = timeout(PATIENCE, looking).await;
    looked.map_err(|_| anyhow!("no answer in time"))?
}

impl Viewer<'_> {
    /// Whom to ask where to go, and from which address; the viewer is asked to leave that edge.
    fn question(&mut self, edge: &str) -> Result<(Target, Option<IpAddr>)> {
        let now = self.start.elapsed();
        let stalls = self.watch.stalls(now);
        self.trip.since.get_or_insert((Instant::now(), stalls));
        self.count(|moves| moves.asked += 1);
        let (target, from) = self.target();
        let resume = self.trip.splice.last.map(|last| format!("resume={last}&"));
        let query = format!("{}playing={edge}", resume.unwrap_or_default());
        Ok((target.with(&query)?, from))
    }

    /// What comes of a question.
    fn judge(&mut self, found: Result<Option<Line>>) -> Option<Line> {
        match found {
            Ok(Some(line)) => return Some(line),
            Ok(None) => self.count(|moves| moves.stayed += 1),
            Err(_) => self.count(|moves| moves.failed += 1),
        }
        None
    }

    fn meets(&self, next: &Line) -> bool {
        let begins = next.begins;
        begins.is_some_and(|place| self.trip.splice.meets(place))
    }

    /// Takes bytes of the stream that came over one of its connections.
    fn take_spliced(&mut self, inlet: &mut Inlet, data: &[u8]) -> Result<()> {
        let at = self.now();
        let mut desk = self.worker.desk.open();
        let mut watched = Ok(());
        let on = |bytes: &[u8]| {
            if watched.is_ok() {
                watched = self.watch.take(at, bytes, &mut desk.0);
            }
        };
        let frames = inlet.push(&mut self.trip.splice, data, on)?;
        watched?;
        if frames > 0 {
            let now = Instant::now();
            let gap = now - std::mem::replace(&mut self.trip.last, now);
            if std::mem::take(&mut self.trip.moved) {
                record(&mut desk.0.moves.gap, gap);
            }
        }
        drop(desk);
        let over = |(since, _): &mut (Instant, Stalls)| since.elapsed() > COST_WITHIN;
        if let Some((_, before)) = self.trip.since.take_if(over) {
            self.charge(before);
        }
        Ok(())
    }

    /// Counts what its last move cost, before it leaves.
    pub fn settle(&mut self) {
        if let Some((_, before)) = self.trip.since.take() {
            self.charge(before);
        }
    }

    fn charge(&mut self, before: Stalls) {
        let after = self.watch.stalls(self.start.elapsed());
        self.count(|moves| {
            moves.stalls += after.count - before.count;
            moves.stalled += after.time.saturating_sub(before.time);
        });
    }

    fn count(&self, count: impl FnOnce(&mut super::tally::Moves)) {
        count(&mut self.worker.desk.open().0.moves);
    }
}

/// Longer than a player's buffer: who waits so long for two edges to meet stays.
const MEET_WITHIN: Duration = Duration::from_secs(3);
/// For so long after it was asked what stands still counts as the move's.
const COST_WITHIN: Duration = Duration::from_secs(5);
/// Metadata and sequence headers are a few kilobytes; what was read behind them may be a group.
const MAX_BEGINNING: usize = 4 << 20;
