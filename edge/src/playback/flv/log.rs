//! Sans-IO: Hot: the FLV stream of viewers who started together, as one append-only list of tags.
//!
//! A place in it is a number of bytes since its start, so a viewer is a socket and a number. Heads and trailers lie in
//! one buffer, a trailer right before the next head; payloads stay in their groups, which the log holds as long as it
//! has a tag of theirs. What all viewers have passed is trimmed. Who is where, and what slow viewers lose, is the
//! cursor's business.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use bytes::Bytes;
use media::flv::tag::TRAILER_LEN;
use media::frame::{self, Frame};
use relay::group::{Group, Key};

use crate::playback::lag::Lag;
use crate::playback::scribe::Scribe;
use crate::playback::{Options, Resume};

/// A stream that is being written.
#[derive(Debug)]
pub(super) struct Log {
    scribe: Scribe,
    resume: Option<Resume>,
    entries: VecDeque<Entry>,
    heads: Heads,
    /// Those of the entries, the oldest first.
    groups: VecDeque<Group>,
    /// Groups that were let go before the first of `groups`.
    groups_gone: u32,
    start: Option<Key>,
    end: u64,
    /// Where the newest place to go on decoding begins.
    newest_key: Option<u64>,
    clock_ms: u64,
    last_ms: u32,
}

/// A tag, or several that always go together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where it begins.
    pub(super) at: u64,
    head_at: u64,
    /// Media time since the start of the log: it goes on where the tags' own time starts anew.
    clock_ms: u64,
    head_len: u32,
    payload_len: u32,
    group: u32,
    frame: u32,
    at_ms: u32,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a tag is, to who must leave some out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Header, metadata, sequence headers: never left out.
    Script,
    /// An `onWeir` tag, which belongs to the frame after it.
    Mark,
    /// A frame of sound.
    Sound,
    /// A picture.
    Picture(frame::Kind),
}

impl Entry {
    /// Where the next one begins.
    pub(super) fn end(&self) -> u64 {
        self.at + u64::from(self.head_len + self.payload_len) + self.trailer_len()
    }

    fn trailer_len(&self) -> u64 {
        match self.kind {
            Kind::Script | Kind::Mark => 0,
            Kind::Sound | Kind::Picture(_) => TRAILER_LEN as u64,
        }
    }
}

impl Log {
    /// An empty log of a stream as these viewers want it.
    pub(super) fn new(wish: &Options) -> Self {
        Self {
            scribe: Scribe::new(wish),
            resume: wish.resume,
            entries: VecDeque::new(),
            heads: Heads::default(),
            groups: VecDeque::new(),
            groups_gone: 0,
            start: None,
            end: 0,
            newest_key: None,
            clock_ms: 0,
            last_ms: 0,
        }
    }

    /// The group that it started in.
    pub(super) fn start(&self) -> Option<Key> {
        self.start
    }

    /// Where the next tag will begin.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Where the oldest tag that is still there begins.
    pub(super) fn floor(&self) -> u64 {
        self.entries.front().map_or(self.end, |entry| entry.at)
    }

    /// Where the newest key frame begins, or the newest group of a stream without pictures.
    pub(super) fn newest_key(&self) -> Option<u64> {
        self.newest_key
    }

    /// Whether `onWeir` tags are written.
    pub(super) fn marks(&self) -> bool {
        self.scribe.marks()
    }

    /// Whether the stream has pictures.
    pub(super) fn has_pictures(&self) -> bool {
        self.scribe.has_pictures()
    }

    /// Appends a frame, which is number `number` of `group`; one that the viewers have already is left out.
    pub(super) fn append(&mut self, group: &Group, number: u32, frame: &Frame) {
        if self
            .resume
            .is_some_and(|resume| resume.has(group.key(), number))
        {
            return;
        }
        let enters = self.groups.back().map(Group::key) != Some(group.key());
        if enters || self.start.is_none() {
            self.enter(group, number);
        }
        let Some(envelope) = self.scribe.envelope(frame) else {
            return;
        };
        let kind = match self.is_picture(frame) {
            true => Kind::Picture(frame.kind),
            false => Kind::Sound,
        };
        let decodes = kind == Kind::Picture(frame::Kind::Key);
        if decodes || enters && !self.has_pictures() {
            self.newest_key = Some(self.end);
        }
        // Tags' times may start anew with an epoch; interleaving makes small steps back.
        self.clock_ms += u64::from(envelope.at_ms.saturating_sub(self.last_ms));
        self.last_ms = self.last_ms.max(envelope.at_ms);
        let head_at = self.heads.put(&envelope.head);
        self.heads.put(&envelope.trailer);
        self.push(Entry {
            at: self.end,
            head_at,
            clock_ms: self.clock_ms,
            head_len: envelope.head.len() as u32,
            payload_len: frame.payload.len() as u32,
            group: self.group_number(),
            frame: number,
            at_ms: envelope.at_ms,
            kind,
        });
    }

    fn is_picture(&self, frame: &Frame) -> bool {
        frame.track == frame::TrackId::VIDEO
    }

    fn enter(&mut self, group: &Group, number: u32) {
        self.start.get_or_insert(group.key());
        self.groups.push_back(group.clone());
        if let Some(config) = self.scribe.enter(group, number) {
            self.push_script(&config, Kind::Script, number);
        }
        // The stream's own times start anywhere, and anew with an epoch.
        let now_ms = self.scribe.now_ms();
        self.last_ms = now_ms;
        if self.marks() {
            let mark = self.scribe.mark(group.key(), number, now_ms);
            self.push_script(&mark, Kind::Mark, number);
        }
    }

    fn push_script(&mut self, tags: &[u8], kind: Kind, frame: u32) {
        let head_at = self.heads.put(tags);
        self.push(Entry {
            at: self.end,
            head_at,
            clock_ms: self.clock_ms,
            head_len: tags.len() as u32,
            payload_len: 0,
            group: self.group_number(),
            frame,
            at_ms: self.last_ms,
            kind,
        });
    }

    fn push(&mut self, entry: Entry) {
        self.end = entry.end();
        self.entries.push_back(entry);
    }

    /// The number of the newest group.
    fn group_number(&self) -> u32 {
        self.groups_gone + self.groups.len() as u32 - 1
    }

    fn group(&self, entry: &Entry) -> &Group {
        &self.groups[(entry.group - self.groups_gone) as usize]
    }

    fn payload(&self, entry: &Entry) -> &Bytes {
        let frame = self.group(entry).frames(entry.frame as usize).next();
        &frame.expect("frames never leave their group").payload
    }

    /// The entries from the one at or around `at` on.
    pub(super) fn entries(&self, at: u64) -> impl Iterator<Item = &Entry> {
        let first = self.entries.partition_point(|entry| entry.end() <= at);
        self.entries.range(first..)
    }

    /// How far `at` is behind.
    pub(super) fn lag(&self, at: u64) -> Lag {
        let entry = self.entries(at).next();
        Lag {
            ms: entry.map_or(0, |entry| self.clock_ms - entry.clock_ms),
            bytes: self.end - at,
        }
    }

    /// The `onWeir` tag for a viewer who goes on at this entry.
    pub(super) fn mark(&self, entry: &Entry) -> Bytes {
        let group = self.group(entry).key();
        self.scribe.mark(group, entry.frame, entry.at_ms)
    }

    /// The tag that asks a viewer to find another edge.
    pub(super) fn asking(&self) -> Bytes {
        self.scribe.asking()
    }

    /// The bytes of a stretch, in as few slices as they lie in memory.
    pub(super) fn slices<'a>(&'a self, range: Range<u64>, out: &mut Vec<IoSlice<'a>>) {
        let clip = |at: u64, len: u64| {
            let from = range.start.clamp(at, at + len) - at;
            from..range.end.clamp(at + from, at + len) - at
        };
        // Heads and trailers that follow each other, not yet given out.
        let mut run = 0..0;
        for entry in self.entries(range.start).take_while(|e| e.at < range.end) {
            let (head, payload) = (u64::from(entry.head_len), u64::from(entry.payload_len));
            extend(&mut run, clip(entry.at, head), entry.head_at);
            let inner = clip(entry.at + head, payload);
            if !inner.is_empty() {
                self.flush(&mut run, out);
                let inner = inner.start as usize..inner.end as usize;
                out.push(IoSlice::new(&self.payload(entry)[inner]));
            }
            let trailer = clip(entry.at + head + payload, entry.trailer_len());
            extend(&mut run, trailer, entry.head_at + head);
        }
        self.flush(&mut run, out);
    }

    fn flush<'a>(&'a self, run: &mut Range<u64>, out: &mut Vec<IoSlice<'a>>) {
        if !run.is_empty() {
            out.push(IoSlice::new(self.heads.slice(run.clone())));
        }
        *run = 0..0;
    }

    /// What is missing of the tag around `at`, kept apart from the log, and where the next one begins.
    pub(super) fn tear(&self, at: u64) -> Option<([Bytes; 3], u64)> {
        let entry = self.entries(at).next().filter(|entry| entry.at < at)?;
        let gone = (at - entry.at) as usize;
        let head_len = entry.head_len as usize;
        let heads = |from: usize, to: usize| {
            let at = entry.head_at;
            let range = at + from.min(to) as u64..at + to as u64;
            Bytes::copy_from_slice(self.heads.slice(range))
        };
        let head = heads(gone, head_len);
        let payload = match entry.payload_len as usize {
            0 => Bytes::new(),
            len => self
                .payload(entry)
                .slice(gone.saturating_sub(head_len).min(len)..),
        };
        let written = gone.saturating_sub(head_len + entry.payload_len as usize);
        let end = head_len + entry.trailer_len() as usize;
        Some(([head, payload, heads(head_len + written, end)], entry.end()))
    }

    /// Lets go of the tags that end at `to` or before.
    pub(super) fn trim(&mut self, to: u64) {
        while self.entries.front().is_some_and(|entry| entry.end() <= to) {
            self.entries.pop_front();
        }
        let (heads, groups) = match self.entries.front() {
            Some(entry) => (entry.head_at, entry.group),
            // The newest group stays: its next frame may be on its way.
            None => (
                self.heads.end(),
                self.groups_gone + (self.groups.len() as u32).max(1) - 1,
            ),
        };
        self.heads.trim(heads);
        self.groups.drain(..(groups - self.groups_gone) as usize);
        self.groups_gone = groups;
    }

    /// Gives back memory that only a long list needed.
    pub(super) fn shrink(&mut self) {
        self.entries.shrink_to(self.entries.len() * 2);
        self.heads.shrink();
    }
}

/// Adds a part of an entry to the run of heads and trailers; `base` is where its byte 0 lies.
fn extend(run: &mut Range<u64>, part: Range<u64>, base: u64) {
    if part.is_empty() {
        return;
    }
    debug_assert!(
        run.is_empty() || run.end == base + part.start,
        "a hole between heads"
    );
    if run.is_empty() {
        run.start = base + part.start;
    }
    run.end = base + part.end;
}

/// A buffer that grows at its end and is trimmed at its start.
#[derive(Debug, Default)]
struct Heads {
    bytes: Vec<u8>,
    /// Bytes that were there before the first of `bytes`.
    gone: u64,
    /// How many of `bytes` are trimmed.
    dead: usize,
}

impl Heads {
    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.end();
        self.bytes.extend_from_slice(bytes);
        at
    }

    fn end(&self) -> u64 {
        self.gone + self.bytes.len() as u64
    }

    fn slice(&self, range: Range<u64>) -> &[u8] {
        &self.bytes[(range.start - self.gone) as usize..(range.end - self.gone) as usize]
    }

    /// Moves the rest only when it is the smaller part, so that each byte is moved about once.
    fn trim(&mut self, to: u64) {
        self.dead = (to - self.gone) as usize;
        if self.dead * 2 >= self.bytes.len() {
            self.bytes.drain(..self.dead);
            self.gone = to;
            self.dead = 0;
        }
    }

    fn shrink(&mut self) {
        self.bytes.shrink_to(self.bytes.len() * 2);
    }
}

#[cfg(test)]
mod tests;
