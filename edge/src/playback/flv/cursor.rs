//! Sans-IO: Hot: where a viewer who is not at the end of its log is, and what it loses so as not to stay behind.
//!
//! A tag that was begun is finished first. Half the bound behind, pictures that no other refers to are left out. At
//! the bound all pictures up to the newest key frame are, or up to the next one when none is there, while sound goes
//! on; sound that is itself too far behind goes to the key frame as well. The lag that a viewer came with, which is
//! the newest group or what it missed before it resumed, does not count until it was caught up once.
//! What is written stays in order and decodable: after a lost reference no picture comes before a key frame.

use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, Bytes};
use media::frame;

use super::log::{Entry, Kind, Log};
use crate::playback::Terms;
use crate::playback::dropped::Dropped;
use crate::playback::lag::Lag;
use crate::playback::tags::Pieces;

/// A viewer's place.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Goes before all else: a response's head, the rest of a torn tag.
    own: Pieces,
    at: u64,
    /// The lag that does not count.
    grace: Lag,
    /// Pictures before this are left out.
    pictures_from: u64,
    /// Sound before this is, too.
    sound_from: u64,
    /// Disposable pictures are left out.
    sparing: bool,
    /// Something was left out since the viewer was told where it is.
    lost: bool,
}

/// What to write next.
#[derive(Debug, Default)]
pub(super) struct Plan(Vec<Stretch>);

#[derive(Debug)]
struct Stretch {
    /// Tells the viewer where it goes on.
    mark: Option<Bytes>,
    range: Range<u64>,
}

impl Cursor {
    /// A viewer who comes in at `at`, to whom `own` is written first.
    pub(super) fn join(own: Pieces, at: u64, log: &Log) -> Self {
        Self {
            own,
            at,
            grace: log.lag(at),
            ..Self::default()
        }
    }

    /// A viewer who kept up until it came to `at`.
    pub(super) fn late(at: u64) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    /// A viewer who kept up until it came to `at`, to whom `own` is written first.
    pub(super) fn owing(own: Bytes, at: u64) -> Self {
        let mut late = Self::late(at);
        late.own.push(own);
        late
    }

    /// Writes a tag between two others, once the stream has begun; whether it has.
    pub(super) fn say(&mut self, tag: Bytes, log: &Log) -> bool {
        let has_begun = self.at > 0;
        if has_begun {
            self.tear(log);
            self.own.push(tag);
        }
        has_begun
    }

    /// Where it is.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether it has all there is, as those have who keep up.
    pub(super) fn is_level(&self, log: &Log) -> bool {
        !self.own.has_remaining() && self.at == log.end() && !self.lost && !self.is_shedding()
    }

    /// Whether it has all that it will get of a log that does not grow any more.
    pub(super) fn is_through(&self, log: &Log) -> bool {
        !self.own.has_remaining() && self.at == log.end()
    }

    /// Whether half the bound was reached.
    pub(super) fn is_slow(&self) -> bool {
        self.sparing || self.is_shedding()
    }

    fn is_shedding(&self) -> bool {
        self.pictures_from > self.at
    }

    /// Decides what is left out, and passes it as far as it stands next.
    pub(super) fn judge(&mut self, log: &Log, terms: &Terms, dropped: &mut Dropped) {
        let lag = log.lag(self.at);
        let full = Lag::bound(terms);
        if !lag.exceeds(&full.part(1, 2)) {
            self.grace = Lag::default();
        }
        self.sparing = lag.exceeds(&full.part(1, 2).plus(&self.grace));
        let key = log.newest_key().filter(|key| *key >= self.at);
        let over = lag.exceeds(&full.plus(&self.grace)) && log.has_pictures();
        if over && !self.is_shedding() && key != Some(self.at) {
            self.tear(log);
            self.pictures_from = NEXT_KEY;
            dropped.skips += 1;
        }
        if self.is_shedding() {
            self.pictures_from = key.unwrap_or(self.pictures_from);
        }
        self.judge_sound(log, lag, &full, key, dropped);
        self.pass(log, dropped);
    }

    /// Sound alone may be twice as far behind: it is written faster than it plays once pictures are left out.
    fn judge_sound(
        &mut self,
        log: &Log,
        lag: Lag,
        full: &Lag,
        key: Option<u64>,
        dropped: &mut Dropped,
    ) {
        let bound = full.part(2, 1).plus(&self.grace);
        if !lag.exceeds(&bound) || self.sound_from > self.at {
            return;
        }
        let kept = log.entries(self.at).filter(|entry| self.keeps(entry));
        let bytes = kept.map(|entry| entry.end() - entry.at).sum();
        let alone = Lag { bytes, ..lag };
        if alone.exceeds(&bound) && (self.is_shedding() || !log.has_pictures()) {
            self.tear(log);
            self.sound_from = key.unwrap_or(log.end());
            dropped.skips += u64::from(!log.has_pictures());
        }
    }

    /// Keeps what is missing of a tag that was begun, so that the log need not.
    fn tear(&mut self, log: &Log) {
        if let Some((pieces, next)) = log.tear(self.at) {
            pieces.into_iter().for_each(|piece| self.own.push(piece));
            self.at = next;
        }
    }

    fn keeps(&self, entry: &Entry) -> bool {
        if entry.at < self.at {
            return true;
        }
        match entry.kind {
            Kind::Script | Kind::Mark => true,
            Kind::Sound => entry.at >= self.sound_from,
            Kind::Picture(frame::Kind::Disposable) if self.sparing => false,
            Kind::Picture(_) => entry.at >= self.pictures_from.max(self.sound_from),
        }
    }

    /// Passes what is left out and stands next.
    fn pass(&mut self, log: &Log, dropped: &mut Dropped) {
        let (mut at, mut lost) = (self.at, self.lost);
        for (entry, kept) in self.walk(log) {
            if kept {
                break;
            }
            (at, lost) = (entry.end(), log.marks());
            match entry.kind {
                Kind::Script | Kind::Mark => {}
                Kind::Sound => dropped.sound += 1,
                Kind::Picture(kind) => dropped.picture(kind),
            }
        }
        (self.at, self.lost) = (at, lost);
    }

    /// The entries that come next, and which of them are written: a mark only with the frame that it tells of.
    fn walk<'a>(&'a self, log: &'a Log) -> impl Iterator<Item = (&'a Entry, bool)> {
        let mut entries = log.entries(self.at).peekable();
        std::iter::from_fn(move || {
            let entry = entries.next()?;
            let kept = match entry.kind {
                Kind::Mark if entry.at >= self.at => {
                    entries.peek().is_none_or(|next| self.keeps(next))
                }
                _ => self.keeps(entry),
            };
            Some((entry, kept))
        })
    }

    /// What to write next, about [`BURST`] bytes at most.
    pub(super) fn plan(&self, log: &Log) -> Plan {
        let (mut plan, mut lost, mut bytes) = (Vec::<Stretch>::new(), self.lost, 0);
        for (entry, kept) in self.walk(log) {
            if !kept {
                lost = log.marks();
                continue;
            }
            let from = entry.at.max(self.at);
            let is_frame = !matches!(entry.kind, Kind::Script | Kind::Mark);
            let mark = (lost && is_frame && entry.at >= self.at).then(|| log.mark(entry));
            if is_frame || entry.kind == Kind::Mark {
                lost = false;
            }
            match plan.last_mut().filter(|_| mark.is_none()) {
                Some(last) if last.range.end == from => last.range.end = entry.end(),
                _ => plan.push(Stretch {
                    mark,
                    range: from..entry.end(),
                }),
            }
            bytes += entry.end() - from;
            if bytes >= BURST {
                break;
            }
        }
        Plan(plan)
    }

    /// The plan's bytes after those that go before.
    pub(super) fn slices<'a>(&'a self, log: &'a Log, plan: &'a Plan, out: &mut Vec<IoSlice<'a>>) {
        self.own.slices(out);
        for Stretch { mark, range } in &plan.0 {
            out.extend(mark.iter().map(|mark| IoSlice::new(mark)));
            log.slices(range.clone(), out);
        }
    }

    /// Goes on by what was written of the plan; says whether a picture was completed, or sound where there are none.
    pub(super) fn commit(
        &mut self,
        log: &Log,
        plan: Plan,
        written: usize,
        dropped: &mut Dropped,
    ) -> bool {
        let own = self.own.remaining().min(written);
        self.own.advance(own);
        let (mut left, mut completed) = (written - own, false);
        for Stretch { mark, range } in plan.0 {
            if left == 0 {
                break;
            }
            self.pass(log, dropped);
            debug_assert_eq!(self.at, range.start, "the plan is of this place");
            if let Some(mut mark) = mark {
                let taken = mark.len().min(left);
                mark.advance(taken);
                self.own.push(mark);
                left -= taken;
            }
            self.lost = false;
            completed |= self.advance(log, range, &mut left);
        }
        self.pass(log, dropped);
        completed
    }

    fn advance(&mut self, log: &Log, range: Range<u64>, left: &mut usize) -> bool {
        let taken = (*left as u64).min(range.end - range.start);
        *left -= taken as usize;
        let from = std::mem::replace(&mut self.at, range.start + taken);
        let wanted = |entry: &Entry| match entry.kind {
            Kind::Picture(_) => true,
            Kind::Sound => !log.has_pictures(),
            Kind::Script | Kind::Mark => false,
        };
        let passed = log.entries(from).take_while(|e| e.end() <= self.at);
        passed.into_iter().any(wanted)
    }
}

/// Pictures are left out until a key frame comes.
const NEXT_KEY: u64 = u64::MAX;

/// What one viewer is given before the next has its turn: a key frame of an ordinary stream, so that in a crowd of
/// newcomers each has a picture soon.
const BURST: u64 = 128 << 10;

#[cfg(test)]
mod tests;
