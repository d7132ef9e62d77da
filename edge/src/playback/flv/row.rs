//! Hot: the viewers of one log, and the writes to their sockets.
//!
//! Those who keep up are all at the same place: what was appended since is laid out once, and each is given the same
//! write vector; that costs a viewer no wake-up, no allocation and no copy. Those who do not are visited one by one, by
//! their cursors. A socket that is full costs no system call until the kernel says that there is room again.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::cursor::Cursor;
use super::log::Log;
use super::tally::Tally;
use crate::playback::asking::Looked;
use crate::playback::tags::Pieces;
use crate::playback::{Options, Terms};
use crate::viewer::{Closed, Viewer};

/// Viewers who started together.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) wish: Options,
    pub(super) log: Log,
    /// Where those are who keep up.
    level_at: u64,
    level: Vec<Chair>,
    late: Vec<Late>,
    /// Whose turn it is of those.
    turn: usize,
    /// Who was asked to find another edge.
    asked: Looked,
}

/// A viewer.
#[derive(Debug)]
pub(super) struct Chair {
    socket: TcpStream,
    sent: u64,
    /// Bytes of those that its region knows of.
    told: u64,
    person: Box<Person>,
}

/// What is not looked at while writing.
pub(super) struct Person {
    viewer: Viewer,
    _guard: Box<dyn Send>,
    _seat: Taken,
}

/// Counts a viewer of a worker from the hand-over on.
#[derive(Debug)]
pub(super) struct Taken(Arc<AtomicU32>);

/// A viewer who does not keep up at the moment.
#[derive(Debug)]
struct Late {
    chair: Chair,
    cursor: Cursor,
    /// When it last took a byte.
    taken: Instant,
    /// When it last got a whole picture.
    pleased: Instant,
    /// Whether its socket keeps little.
    curbed: bool,
}

impl Row {
    pub(super) fn new(wish: Options) -> Self {
        Self {
            log: Log::new(&wish),
            wish,
            level_at: 0,
            level: Vec::new(),
            late: Vec::new(),
            turn: 0,
            asked: Looked::default(),
        }
    }

    /// Takes a viewer in at the beginning, to whom `head` is written first.
    pub(super) fn join(&mut self, chair: Chair, head: Bytes, terms: &Terms, tally: &mut Tally) {
        let mut own = Pieces::default();
        own.push(head);
        let cursor = Cursor::join(own, 0, &self.log);
        let mut late = Late::new(chair, cursor);
        match late.visit(&self.log, terms, tally) {
            Ok(()) => self.late.push(late),
            Err(_) => late.chair.leave(Closed::Left),
        }
    }

    /// Whether nobody is there.
    pub(super) fn is_empty(&self) -> bool {
        self.level.is_empty() && self.late.is_empty()
    }

    /// Whether some do not keep up.
    pub(super) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Gives what was appended to those who keep up.
    pub(super) fn write(&mut self, tally: &mut Tally) {
        let end = self.log.end();
        if self.level_at < end && !self.level.is_empty() {
            self.write_level(end, tally);
        }
        self.level_at = end;
    }

    fn write_level(&mut self, end: u64, tally: &mut Tally) {
        let mut slices = Vec::new();
        self.log.slices(self.level_at..end, &mut slices);
        let total = (end - self.level_at) as usize;
        let mut index = 0;
        while let Some(chair) = self.level.get_mut(index) {
            let written = match chair.socket.try_write_vectored(&slices) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => {
                    self.level.swap_remove(index).leave(Closed::Left);
                    continue;
                }
            };
            chair.sent += written as u64;
            tally.bytes += written as u64;
            if written == total {
                index += 1;
                continue;
            }
            let cursor = Cursor::late(self.level_at + written as u64);
            let chair = self.level.swap_remove(index);
            self.late.push(Late::new(chair, cursor));
        }
    }

    /// Gives those who do not keep up as much as they take, until `until` bytes were written in all.
    /// Whether everybody had a turn; the others are first when it is called again.
    pub(super) fn visit_late(&mut self, terms: &Terms, tally: &mut Tally, until: u64) -> bool {
        while let Some(late) = self.late.get_mut(self.turn) {
            if tally.bytes >= until {
                return false;
            }
            let visited = late.visit(&self.log, terms, tally);
            if visited.is_err() {
                self.late.swap_remove(self.turn).chair.leave(Closed::Left);
            } else if self.level_at == self.log.end() && late.cursor.is_level(&self.log) {
                self.level.push(self.late.swap_remove(self.turn).chair);
            } else {
                self.turn += 1;
            }
        }
        self.turn = 0;
        true
    }

    /// Asks those whose turn it is to find another edge; only who understands it has turns.
    pub(super) fn ask(&mut self, tally: &mut Tally) {
        let mut chairs = self
            .level
            .iter()
            .chain(self.late.iter().map(|it| &it.chair));
        let Some(turn) = chairs.next().map(|it| it.person.viewer.turn()) else {
            return;
        };
        let passed = self.asked.until(turn);
        let Some(passed) = passed.filter(|_| self.log.marks()) else {
            return;
        };
        let is_asked = |chair: &Chair| passed.has(chair.person.viewer.id());
        let tag = self.log.asking();
        for late in self.late.iter_mut().filter(|it| is_asked(&it.chair)) {
            if late.cursor.say(tag.clone(), &self.log) {
                late.chair.person.viewer.asked(turn.why);
            }
        }
        let mut index = 0;
        while let Some(chair) = self.level.get_mut(index) {
            if !is_asked(chair) {
                index += 1;
                continue;
            }
            chair.person.viewer.asked(turn.why);
            let written = match chair.socket.try_write(&tag) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => {
                    self.level.swap_remove(index).leave(Closed::Left);
                    continue;
                }
            };
            chair.sent += written as u64;
            tally.bytes += written as u64;
            if written == tag.len() {
                index += 1;
                continue;
            }
            let cursor = Cursor::owing(tag.slice(written..), self.level_at);
            let chair = self.level.swap_remove(index);
            self.late.push(Late::new(chair, cursor));
        }
    }

    /// Lets go of what nobody needs; `joinable` keeps the beginning for those who come.
    pub(super) fn trim(&mut self, joinable: bool) {
        if !joinable {
            let late = self.late.iter().map(|late| late.cursor.at());
            let floor = late.fold(self.level_at, u64::min);
            self.log.trim(floor);
        }
    }

    /// Closes who is hopeless or has gone, once in a while.
    pub(super) fn sweep(&mut self, terms: &Terms) {
        let late = self.late.iter_mut().map(|late| &mut late.chair);
        self.level.iter_mut().chain(late).for_each(Chair::tell);
        let now = Instant::now();
        let hopeless = |late: &mut Late| late.hopeless(now, terms.close_after);
        for (late, why) in extract(&mut self.late, hopeless) {
            late.chair.leave(why);
        }
        let gone = |chair: &mut Chair| chair.has_gone().then_some(Closed::Left);
        for (chair, why) in extract(&mut self.level, gone) {
            chair.leave(why);
        }
        let gone = |late: &mut Late| late.chair.has_gone().then_some(Closed::Left);
        for (late, why) in extract(&mut self.late, gone) {
            late.chair.leave(why);
        }
        self.log.shrink();
        self.level.shrink_to(self.level.len() * 2);
        self.late.shrink_to(self.late.len() * 2);
    }

    /// Closes those who have all of a stream that ended.
    pub(super) fn end(&mut self) {
        for chair in self.level.drain(..) {
            chair.leave(Closed::Ended);
        }
        let log = &self.log;
        let through = |late: &mut Late| late.cursor.is_through(log).then_some(Closed::Ended);
        for (late, why) in extract(&mut self.late, through) {
            late.chair.leave(why);
        }
    }
}

/// Takes out those for whom there is a reason.
fn extract<T>(
    all: &mut Vec<T>,
    mut reason: impl FnMut(&mut T) -> Option<Closed>,
) -> Vec<(T, Closed)> {
    let mut out = Vec::new();
    let mut index = 0;
    while let Some(one) = all.get_mut(index) {
        match reason(one) {
            Some(why) => out.push((all.swap_remove(index), why)),
            None => index += 1,
        }
    }
    out
}

impl Late {
    fn new(chair: Chair, cursor: Cursor) -> Self {
        let now = Instant::now();
        Self {
            chair,
            cursor,
            taken: now,
            pleased: now,
            curbed: false,
        }
    }

    /// Writes as much as the socket takes, up to a few bursts.
    fn visit(&mut self, log: &Log, terms: &Terms, tally: &mut Tally) -> io::Result<()> {
        for _ in 0..BURSTS {
            let skips = tally.dropped.skips;
            self.cursor.judge(log, terms, &mut tally.dropped);
            if tally.dropped.skips > skips {
                self.chair.person.viewer.stall();
            }
            if self.cursor.is_slow() && !self.curbed {
                self.curbed = true;
                let _ = SockRef::from(&self.chair.socket).set_tcp_notsent_lowat(CURBED_BYTES);
            }
            if self.cursor.is_through(log) {
                // Nothing is owed to it.
                (self.taken, self.pleased) = (Instant::now(), Instant::now());
                break;
            }
            match self.write(log, tally) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes one burst; whether all of it was taken. Nothing is laid out while the socket is full.
    fn write(&mut self, log: &Log, tally: &mut Tally) -> io::Result<bool> {
        let Self { chair, cursor, .. } = self;
        let (plan, written, all) = chair.socket.try_io(Interest::WRITABLE, || {
            let plan = cursor.plan(log);
            let mut slices = Vec::new();
            cursor.slices(log, &plan, &mut slices);
            let total: usize = slices.iter().map(|slice| slice.len()).sum();
            let written = chair.socket.try_write_vectored(&slices)?;
            Ok((plan, written, written == total))
        })?;
        if chair.sent == 0 {
            chair.person.viewer.first();
        }
        chair.sent += written as u64;
        tally.bytes += written as u64;
        let now = Instant::now();
        self.taken = now;
        if cursor.commit(log, plan, written, &mut tally.dropped) {
            self.pleased = now;
        }
        Ok(all)
    }

    fn hopeless(&self, now: Instant, close_after: Duration) -> Option<Closed> {
        if now - self.taken >= close_after {
            return Some(Closed::Stalled);
        }
        (now - self.pleased >= close_after).then_some(Closed::Slow)
    }
}

impl Chair {
    /// A viewer whose socket is this worker's.
    pub(super) fn new(
        socket: TcpStream,
        viewer: Viewer,
        guard: Box<dyn Send>,
        seat: Taken,
    ) -> Self {
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES);
        Self {
            socket,
            sent: 0,
            told: 0,
            person: Box::new(Person {
                viewer,
                _guard: guard,
                _seat: seat,
            }),
        }
    }

    /// Counts a viewer who ends, and closes its socket.
    pub(super) fn leave(self, why: Closed) {
        self.person.viewer.end(self.sent - self.told, why);
    }

    /// Counts what was written since to the viewer's region.
    fn tell(&mut self) {
        self.person.viewer.count(self.sent - self.told);
        self.told = self.sent;
    }

    /// Whether the viewer closed its side; what it says is read and forgotten.
    fn has_gone(&mut self) -> bool {
        let mut said = [0; SAID_BYTES];
        match self.socket.try_read(&mut said) {
            Ok(length) => length == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.viewer.fmt(f)
    }
}

impl Taken {
    /// Counts one more.
    pub(super) fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Unsent bytes that the kernel keeps for a viewer: a second of an ordinary stream, so that a lag shows here and not
/// in megabytes of socket buffer, while one round of acknowledgements finds enough to send.
const UNSENT_BYTES: u32 = 256 << 10;
/// Those for a viewer who was slow: what is in the kernel cannot be left out any more.
const CURBED_BYTES: u32 = 16 << 10;
/// Bursts in one visit: the newest group of an ordinary stream, and not so much that others wait for it.
const BURSTS: usize = 4;
/// A viewer says nothing after its request; what it does say is taken slowly.
const SAID_BYTES: usize = 1 << 10;
