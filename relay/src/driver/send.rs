//! Hot: sends the groups of one subscription, each on its own stream.
//!
//! One task follows the track for the subscription; the groups it sends are futures of that task,
//! so a frame wakes one task per subscriber. Heads and payloads go to quinn as references, several
//! frames to a call. A subscriber that does not keep up blocks its own streams only, until they are
//! late and reset.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use media::timestamp::Timestamp;
use quinn::{SendStream, VarInt, WriteError};
use tracing::debug;

use super::parity::Line;
use super::{now, until};
use crate::group::{End, Group, Key};
use crate::repair::Encoder;
use crate::session::{PAST_AT_ONCE, PAST_PRIORITY, Past, Sending, Standing, Verdict};
use crate::track::{Changes, Consumer};
use crate::wire::{self, Reset};

/// Frames handed to quinn in one call: a quarter of a second of video with sound.
const BATCH: usize = 16;

/// Memory taken at once for frame heads: those of some seconds.
const HEADS: usize = 4096;

/// Sends groups until the track is over; says which was the last.
pub(super) async fn feed(
    line: &Line,
    subscription: u64,
    track: &Consumer,
    after: Option<Key>,
) -> Option<Key> {
    let mut changes = track.changes();
    let mut sending = Sending::new(after);
    let mut streams = FuturesUnordered::new();
    loop {
        for group in sending.due(track) {
            streams.push(send(line, subscription, group, Watch::new(track)));
        }
        if streams.is_empty() && track.is_over(sending.done()) {
            return sending.last();
        }
        tokio::select! {
            biased;
            () = changes.changed() => {}
            Some((key, end)) = streams.next(), if !streams.is_empty() => {
                debug!(subscription, ?key, ?end, "group stream ended");
            }
        }
    }
}

/// Sends groups of the past, a few at a time, until none is left or their time is over; says how
/// many the peer took or did not want.
pub(super) async fn feed_past(
    line: &Line,
    subscription: u64,
    track: &Consumer,
    mut past: Past,
) -> u64 {
    let mut over = std::pin::pin!(until(Some(past.until())));
    let mut streams = FuturesUnordered::new();
    let mut groups = 0;
    loop {
        while streams.len() < PAST_AT_ONCE
            && let Some(group) = past.next(track)
        {
            streams.push(send_past(line, subscription, group, track));
        }
        tokio::select! {
            biased;
            // What is still on its way is reset.
            () = &mut over => return groups,
            ending = streams.next() => match ending {
                Some(Ending::Delivered | Ending::Stopped) => groups += 1,
                Some(Ending::Reset(reset)) => debug!(subscription, ?reset, "past not sent"),
                None => return groups,
            }
        }
    }
}

async fn send_past(line: &Line, subscription: u64, group: Group, track: &Consumer) -> Ending {
    // The places are never closed.
    let _place = line.past.acquire().await;
    send(line, subscription, group, Watch::past(track)).await.1
}

/// How a group's stream came to its end.
#[derive(Debug)]
enum Ending {
    Delivered,
    Reset(Reset),
    /// The peer wants no more of it, or is gone.
    Stopped,
}

async fn send(line: &Line, subscription: u64, group: Group, mut watch: Watch) -> (Key, Ending) {
    let key = group.key();
    let opened = loop {
        tokio::select! {
            biased;
            event = watch.next(key) => if let Event::Late = event {
                return (key, Ending::Reset(Reset::Late));
            },
            opened = line.connection.open_uni() => break opened,
        }
    };
    let Ok(stream) = opened else {
        return (key, Ending::Stopped);
    };
    obey(&stream, Some(Event::Priority(watch.priority)));
    let mut stream = GroupStream(Some(stream));
    let ending = stream.carry(line, subscription, &group, &mut watch).await;
    stream.end(&ending);
    (key, ending)
}

/// A stream that is reset when it is dropped before its end: quinn would finish it, and the peer
/// take the group for whole.
struct GroupStream(Option<SendStream>);

impl GroupStream {
    async fn carry(
        &mut self,
        line: &Line,
        subscription: u64,
        group: &Group,
        watch: &mut Watch,
    ) -> Ending {
        let Some(stream) = &mut self.0 else {
            return Ending::Stopped;
        };
        let batch = match Batch::new(subscription, group) {
            Ok(batch) => batch,
            Err(error) => return failed(group, &error),
        };
        let in_time = watch.standing.is_some();
        let mut carrier = Carrier::new(line, stream, batch, in_time);
        match carrier.carry(group, watch).await {
            Ok(ending) => ending,
            Err(Failure::Stopped) => Ending::Stopped,
            Err(Failure::Encode(error)) => failed(group, &error),
        }
    }

    fn end(&mut self, ending: &Ending) {
        let Some(mut stream) = self.0.take() else {
            return;
        };
        if let Ending::Reset(reset) = ending {
            // A stream that is gone already needs no reset.
            let _ = stream.reset(VarInt::from_u32(*reset as u32));
        }
    }
}

impl Drop for GroupStream {
    fn drop(&mut self) {
        self.end(&Ending::Reset(Reset::Gone));
    }
}

enum Failure {
    Stopped,
    Encode(wire::Error),
}

impl From<WriteError> for Failure {
    fn from(_: WriteError) -> Self {
        Self::Stopped
    }
}

fn failed(group: &Group, error: &wire::Error) -> Ending {
    debug!(key = ?group.key(), %error, "group not sent");
    Ending::Reset(Reset::Aborted)
}

/// Carries one group's frames to quinn, and their parity behind them.
struct Carrier<'a> {
    line: &'a Line,
    stream: &'a mut SendStream,
    batch: Batch,
    parity: Encoder,
    /// It is live, not of the past.
    in_time: bool,
}

impl<'a> Carrier<'a> {
    fn new(line: &'a Line, stream: &'a mut SendStream, batch: Batch, in_time: bool) -> Self {
        let parity = Encoder::new(VarInt::from(stream.id()).into_inner());
        let mut carrier = Self {
            line,
            stream,
            batch,
            parity,
            in_time,
        };
        carrier.cover();
        carrier
    }

    async fn carry(&mut self, group: &Group, watch: &mut Watch) -> Result<Ending, Failure> {
        loop {
            let event = tokio::select! {
                biased;
                written = self.stream.write_chunks(self.batch.unwritten()),
                    if !self.batch.is_empty() => {
                        self.written(written?.chunks);
                        None
                    }
                () = until(self.line.due(&self.parity)) => {
                    self.line.repair(&mut self.parity);
                    None
                }
                event = watch.next(group.key()) => Some(event),
            };
            if let Some(ending) = obey(self.stream, event) {
                return Ok(ending);
            }
            if self.batch.is_empty() && !self.fill(group)? {
                break;
            }
        }
        if group.end() == Some(End::Aborted) {
            return Ok(Ending::Reset(Reset::Aborted));
        }
        self.stream.finish().map_err(|_| Failure::Stopped)?;
        self.delivered(group.key(), watch).await
    }

    /// Waits until the peer has it all.
    async fn delivered(&mut self, key: Key, watch: &mut Watch) -> Result<Ending, Failure> {
        let mut stopped = std::pin::pin!(self.stream.stopped());
        loop {
            let event = tokio::select! {
                biased;
                stopped = &mut stopped => match stopped {
                    Ok(None) => return Ok(Ending::Delivered),
                    Ok(Some(_)) | Err(_) => return Err(Failure::Stopped),
                },
                () = until(self.line.due(&self.parity)) => {
                    self.line.repair(&mut self.parity);
                    None
                }
                event = watch.next(key) => Some(event),
            };
            if let Some(ending) = obey(self.stream, event) {
                return Ok(ending);
            }
        }
    }

    fn fill(&mut self, group: &Group) -> Result<bool, Failure> {
        let more = self.batch.fill(group).map_err(Failure::Encode)?;
        self.cover();
        Ok(more)
    }

    /// What nobody waits for gets no parity.
    fn cover(&mut self) {
        if self.in_time {
            self.line.cover(&mut self.parity, self.batch.unwritten());
        }
    }

    fn written(&mut self, chunks: usize) {
        self.batch.written(chunks);
        if self.batch.is_empty() {
            self.line.sent(&mut self.parity);
        }
    }
}

fn obey(stream: &SendStream, event: Option<Event>) -> Option<Ending> {
    match event {
        Some(Event::Late) => return Some(Ending::Reset(Reset::Late)),
        Some(Event::Priority(priority)) => {
            // A stream that is gone needs no priority.
            let _ = stream.set_priority(priority);
        }
        Some(Event::Grown) | None => {}
    }
    None
}

/// Frames on their way to quinn.
pub(super) struct Batch {
    chunks: Vec<Bytes>,
    /// Chunks that quinn took.
    taken: usize,
    /// Heads are split off one allocation.
    heads: BytesMut,
    next: usize,
    previous: Timestamp,
}

impl Batch {
    pub(super) fn new(subscription: u64, group: &Group) -> Result<Self, wire::Error> {
        let mut heads = BytesMut::with_capacity(HEADS);
        wire::encode_header(&mut heads, subscription, group.header())?;
        let chunks = vec![heads.split().freeze()];
        Ok(Self {
            chunks,
            taken: 0,
            heads,
            next: 0,
            previous: Timestamp::ZERO,
        })
    }

    /// Takes the next frames; false when the group ended before them.
    pub(super) fn fill(&mut self, group: &Group) -> Result<bool, wire::Error> {
        self.chunks.clear();
        self.taken = 0;
        // Asked before looking for frames: what is there afterwards is all.
        let ended = group.end().is_some();
        for frame in group.frames(self.next).take(BATCH) {
            wire::encode_frame(&mut self.heads, frame, self.previous)?;
            self.chunks
                .extend([self.heads.split().freeze(), frame.payload.clone()]);
            self.previous = frame.dts;
            self.next += 1;
        }
        Ok(!ended || !self.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.taken == self.chunks.len()
    }

    pub(super) fn unwritten(&mut self) -> &mut [Bytes] {
        &mut self.chunks[self.taken..]
    }

    fn written(&mut self, chunks: usize) {
        self.taken += chunks;
    }
}

/// Tells the sender of a group what became of its track.
struct Watch {
    track: Consumer,
    changes: Changes,
    /// None of a group of the past, which is never late and has one priority.
    standing: Option<Standing>,
    begun: Option<u64>,
    priority: i32,
    late: Option<std::time::Instant>,
}

enum Event {
    /// Frames may have come, or the end.
    Grown,
    /// The group's place among the newer ones changed.
    Priority(i32),
    /// The group is not worth sending any more.
    Late,
}

impl Watch {
    fn new(track: &Consumer) -> Self {
        Self {
            track: track.clone(),
            changes: track.changes(),
            standing: Some(Standing::default()),
            begun: None,
            priority: 0,
            late: None,
        }
    }

    fn past(track: &Consumer) -> Self {
        Self {
            standing: None,
            priority: PAST_PRIORITY,
            ..Self::new(track)
        }
    }

    /// What is new; at first the group's priority. Cancel-safe.
    async fn next(&mut self, key: Key) -> Event {
        if self.begun.is_some() {
            tokio::select! {
                biased;
                () = self.changes.changed() => {}
                () = until(self.late) => self.begun = None,
            }
        }
        let begun = self.track.begun();
        let same = self.begun.replace(begun) == Some(begun);
        let Some(standing) = self.standing.as_mut().filter(|_| !same) else {
            return Event::Grown;
        };
        match standing.judge(now(), self.track.newer_than(key)) {
            Verdict::Late => Event::Late,
            Verdict::Send { priority, late } => {
                (self.priority, self.late) = (priority, late);
                Event::Priority(priority)
            }
        }
    }
}
