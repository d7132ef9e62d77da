//! Hot: the one writer of a stream on a worker: follows the track, and walks its viewers.
//!
//! Frames are gathered until the budget's time has passed since the last writes, by the timer alone; a stream that is
//! silent for longer wakes the writer at its next frame. Viewers who do not keep up are visited in between, while
//! there are some, in portions that keep nobody else waiting. It ends with its last viewer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use relay::group::{Group, Key};
use relay::reader::{Item, Reader, Start};
use relay::track::Consumer;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::log::Log;
use super::row::{Chair, Row};
use super::tally::Tally;
use super::worker::Seated;
use crate::playback::{Options, Resume, Terms};

/// What the writers of a worker share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) terms: Terms,
    /// How long to gather at the moment.
    pub(super) latency: Cell<Duration>,
    pub(super) tally: RefCell<Tally>,
}

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    desk: Rc<Desk>,
    track: Consumer,
    reader: Reader,
    /// An item that was waited for and not yet taken.
    next: Option<Item<()>>,
    over: bool,
    /// The group that is read, and how many of its frames were.
    group: Option<(Group, u32)>,
    rows: Vec<Row>,
    /// Whose late viewers are visited first.
    turn: usize,
    /// When frames were last given out.
    written: Instant,
    /// When late viewers were last visited, or when it is time again at once.
    visited: Option<Instant>,
}

/// Why a writer acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Frames,
    Late,
}

impl Writer {
    pub(super) fn new(desk: Rc<Desk>, track: Consumer) -> Self {
        Self {
            desk,
            reader: Reader::new(track.clone(), Start::Latest),
            track,
            next: None,
            over: false,
            group: None,
            rows: Vec::new(),
            turn: 0,
            written: Instant::now(),
            visited: None,
        }
    }

    /// Serves the viewers that come, until there are none.
    pub(super) async fn run(mut self, mut seats: mpsc::Receiver<Seated>) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.pull();
        loop {
            tokio::select! {
                Some(seat) = seats.recv() => {
                    let until = self.desk.tally.borrow().bytes + PORTION_BYTES;
                    self.admit(seat);
                    for _ in 1..SEATS_AT_ONCE {
                        if self.desk.tally.borrow().bytes >= until {
                            break;
                        }
                        let Ok(seat) = seats.try_recv() else { break };
                        self.admit(seat);
                    }
                }
                due = self.due() => self.act(due),
                _ = sweep.tick() => self.sweep(),
            }
            // When the core has more to do than it can, something is always due; yet the runtime must hear of sockets
            // with room again, and other streams and newcomers have their turn.
            tokio::task::yield_now().await;
            // Nothing is awaited between this look and the end of `seats`: no viewer is lost.
            if self.rows.is_empty() && seats.is_empty() {
                return;
            }
        }
    }

    /// Waits for what is to be done next. Cancel-safe.
    async fn due(&mut self) -> Due {
        let rest = self.written + self.desk.latency.get();
        let visit = self.next_visit();
        if Instant::now() < rest {
            match visit.filter(|visit| *visit < rest) {
                Some(visit) => {
                    sleep_until(visit).await;
                    return Due::Late;
                }
                None => sleep_until(rest).await,
            }
        }
        let late = async {
            match visit {
                Some(visit) => sleep_until(visit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.peek() => Due::Frames,
            () = late => Due::Late,
        }
    }

    /// When late viewers are to be looked at again, if there are some.
    fn next_visit(&self) -> Option<Instant> {
        let late = self.rows.iter().any(Row::has_late);
        late.then(|| self.visited.map_or_else(Instant::now, |at| at + VISIT))
    }

    /// Waits for something to read. Cancel-safe.
    async fn peek(&mut self) {
        if self.next.is_some() {
            return;
        }
        if self.over {
            return std::future::pending().await;
        }
        self.next = self.reader.next_place().await;
        self.over = self.next.is_none();
    }

    fn act(&mut self, due: Due) {
        if due == Due::Frames {
            self.written = Instant::now();
            self.pull();
            let mut tally = self.desk.tally.borrow_mut();
            self.rows.iter_mut().for_each(|row| row.write(&mut tally));
        }
        self.visit();
        let newest = self.newest();
        for row in &mut self.rows {
            row.trim(row.log.start() == newest);
        }
        self.clear();
    }

    /// Gives late viewers a portion.
    fn visit(&mut self) {
        let mut tally = self.desk.tally.borrow_mut();
        let until = tally.bytes + PORTION_BYTES;
        let terms = &self.desk.terms;
        // Rows stay in order: those who came first are written to first, so that a crowd delays nobody before it.
        let from = self.turn.min(self.rows.len());
        let turns = (from..self.rows.len()).chain(0..from);
        let rows = &mut self.rows;
        let unfinished = { turns }.find(|turn| !rows[*turn].visit_late(terms, &mut tally, until));
        self.turn = unfinished.unwrap_or(0);
        self.visited = unfinished.is_none().then(Instant::now);
    }

    fn sweep(&mut self) {
        let mut tally = self.desk.tally.borrow_mut();
        for row in &mut self.rows {
            row.ask(&mut tally);
            row.sweep(&self.desk.terms);
        }
        drop(tally);
        self.rows.shrink_to(self.rows.len() * 2);
        self.clear();
    }

    fn clear(&mut self) {
        if self.over && self.next.is_none() {
            self.rows.iter_mut().for_each(Row::end);
        }
        self.rows.retain(|row| !row.is_empty());
    }

    /// Appends what there is to read to the logs.
    fn pull(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..ITEMS_AT_ONCE {
            let item = match self.next.take() {
                Some(item) => item,
                None if self.over => return,
                None => match self.reader.poll_place(&mut cx) {
                    Poll::Ready(Some(item)) => item,
                    Poll::Ready(None) => {
                        self.over = true;
                        return;
                    }
                    Poll::Pending => return,
                },
            };
            self.take(item);
        }
    }

    fn take(&mut self, item: Item<()>) {
        match (item, &mut self.group) {
            (Item::Group(group), current) => *current = Some((group, 0)),
            (Item::Frame { number, .. }, Some((group, read))) => {
                let frame = group.frames(number as usize).next();
                let frame = frame.expect("the reader saw it");
                for row in &mut self.rows {
                    row.log.append(group, number, frame);
                }
                *read = number + 1;
            }
            (Item::Frame { .. } | Item::Gap, _) => {}
        }
    }

    fn newest(&self) -> Option<Key> {
        self.group.as_ref().map(|(group, _)| group.key())
    }

    fn admit(&mut self, seat: Seated) {
        let wish = Options {
            resume: seat.wish.resume.filter(|resume| self.is_near(resume)),
            ..seat.wish
        };
        let newest = self.newest();
        let joinable = |row: &Row| {
            let same = wish.resume.is_some() || row.log.start() == newest;
            row.wish == wish && same && row.log.floor() == 0
        };
        let index = self.rows.iter().position(joinable).unwrap_or_else(|| {
            let mut row = Row::new(wish);
            self.fill(&mut row.log, wish.resume);
            self.rows.push(row);
            self.rows.len() - 1
        });
        let chair = Chair::new(seat.socket, seat.viewer, seat.guard, seat.taken);
        let mut tally = self.desk.tally.borrow_mut();
        self.rows[index].join(chair, seat.head, &self.desk.terms, &mut tally);
    }

    fn is_near(&self, resume: &Resume) -> bool {
        let newest = self.group.as_ref();
        newest.is_some_and(|(newest, _)| resume.is_near(&self.track, newest))
    }

    /// Puts what was read before into a new log: the newest group, or what a viewer missed.
    fn fill(&self, log: &mut Log, resume: Option<Resume>) {
        let Some((newest, read)) = &self.group else {
            return;
        };
        let mut older = resume.and_then(|resume| resume.next(&self.track));
        while let Some(group) = older.filter(|group| group.key() < newest.key()) {
            append(log, &group, u32::MAX);
            older = self.track.next_after(group.key());
        }
        append(log, newest, *read);
    }
}

/// Appends the frames of a group below number `to`.
fn append(log: &mut Log, group: &Group, to: u32) {
    for (number, frame) in (0..to).zip(group.frames(0)) {
        log.append(group, number, frame);
    }
}

/// How often it is seen to who has gone: writes tell sooner.
const SWEEP: Duration = Duration::from_secs(1);
/// Between two looks at viewers who do not keep up: a fast one catches up at 50 Mbit/s and more.
const VISIT: Duration = Duration::from_millis(20);
/// Bytes for late viewers, or for newcomers, before others have their turn: a millisecond or two of a core.
const PORTION_BYTES: u64 = 2 << 20;
/// Frames read before they are written: a group of many seconds, which a stream that comes again brings at once.
const ITEMS_AT_ONCE: usize = 4_096;
/// Newcomers before others have their turn: some milliseconds, in which their first group is written. Where a walk
/// of thousands of viewers takes 100 ms, a crowd of 600 a second finds its way in between.
const SEATS_AT_ONCE: usize = 64;
