//! Sans-IO: Hot: makes the parity of a group's stream.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{MAX_PARITY, MAX_ROWS, MAX_WIDTH, Pace, code};
use crate::wire::{Block, PROBE, Parity};

/// How long after the last frame its parity leaves: a burst of losses does not take both, audio and
/// video of one instant share a block, and its acknowledgement tells early that the frame's last
/// packet was lost. A probe follows after as long again, for the case that the parity is lost too.
const LINGER: Duration = Duration::from_millis(5);

/// Between a frame whose tail a burst may have taken and its first probe, and between two: enough of
/// them are acknowledged by the time that an eighth of a round trip more would tell.
const PROBE_EVERY: Duration = Duration::from_millis(2);

/// Blocks of fewer rows wait for more: parity of one row of sound costs as much as the sound.
const FEW: usize = 4;

/// How long bytes wait, for more or for the line: later a retransmission is there before the parity.
const HOLD: Duration = Duration::from_millis(40);

/// What a row is wider than the largest datagram, whose head is longer than that of a packet of the
/// stream: a row must cover what any packet carries.
const WIDER: usize = 10;

/// A datagram smaller than this is not worth its head.
const SMALLEST_LIMIT: usize = 512;

/// Bytes of IP, UDP, QUIC and parity heads around a run of a row.
const OVERHEAD: usize = 70;

/// Blocks that are watched for losses: two round trips of frames.
const MAX_WATCHED: usize = 16;

/// What the path is like.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Packets lost since the connection began.
    pub lost: u64,
    /// Bytes of the largest datagram; 0 when the peer takes none.
    pub limit: usize,
}

/// The bytes of one stream that are not yet covered, when they are to be, and the blocks that may
/// need more than they got.
#[derive(Debug)]
pub struct Encoder {
    stream: u64,
    /// The offset of the first byte held.
    start: u64,
    held: usize,
    chunks: VecDeque<Bytes>,
    oldest: Option<Instant>,
    flush: Option<Instant>,
    probe: Option<Instant>,
    probed: usize,
    watched: VecDeque<Watched>,
}

/// A block that was sent; when its losses become known, and exceed its parity, it gets more beside
/// the retransmission.
#[derive(Debug)]
struct Watched {
    block: Block,
    chunks: Vec<Bytes>,
    /// Parity rows sent.
    rows: usize,
    sent: Instant,
    /// What the connection had lost before losses of this block could be known.
    lost_before: Option<u64>,
    /// How many of them answered losses.
    answers: usize,
    /// How many of [`LOOKS`] are over.
    looks: usize,
}

/// When a block's losses are looked at, in eighths of a round trip after it was sent, and what is
/// added: before any can be known, when three later packets were acknowledged, when time alone
/// tells (RFC 9002, section 6.1), and when probes told of the last packets.
const LOOKS: [(u32, Duration); 4] = [
    (7, Duration::ZERO),
    (8, Duration::from_millis(4)),
    (9, Duration::from_millis(6)),
    (9, Duration::from_millis(14)),
];

impl Watched {
    fn due(&self, rtt: Duration) -> Instant {
        let (eighths, more) = LOOKS[self.looks];
        self.sent + rtt * eighths / 8 + more
    }

    /// How many more parity rows it needs: a few, as what was lost is retransmitted as well; after a
    /// burst one more at last, as another may have taken those and the retransmission.
    fn look(&mut self, lost: u64) -> usize {
        self.looks += 1;
        let before = *self.lost_before.get_or_insert(lost);
        let beyond = (lost - before).saturating_sub(self.rows as u64) as usize;
        let again = usize::from(self.looks == LOOKS.len() && self.answers > 1);
        let more = beyond.div_ceil(2).max(again);
        more.min(MAX_MORE).min(MAX_PARITY - self.rows)
    }
}

/// Parity rows added at one look.
const MAX_MORE: usize = 4;

impl Encoder {
    /// The stream has nothing yet.
    pub fn new(stream: u64) -> Self {
        Self {
            stream,
            start: 0,
            held: 0,
            chunks: VecDeque::new(),
            oldest: None,
            flush: None,
            probe: None,
            probed: 0,
            watched: VecDeque::new(),
        }
    }

    /// Takes what the stream sends next, by reference.
    pub fn push(&mut self, chunks: &[Bytes]) {
        self.held += chunks.iter().map(Bytes::len).sum::<usize>();
        self.chunks.extend(chunks.iter().cloned());
    }

    /// Leaves what the stream sends next uncovered.
    pub fn skip(&mut self, chunks: &[Bytes]) {
        self.clear();
        self.start += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
    }

    /// All that was pushed is on its way.
    pub fn sent(&mut self, now: Instant, pace: &Pace) {
        if self.held > 0 {
            self.oldest.get_or_insert(now);
            self.flush = Some(now + LINGER);
        }
        if self.held > 0 && pace.is_bursty() {
            (self.probe, self.probed) = (Some(now + PROBE_EVERY), 0);
        }
    }

    /// Whether nothing will be due until more is sent.
    pub fn is_idle(&self) -> bool {
        self.watched.is_empty() && self.flush.is_none() && self.probe.is_none()
    }

    /// When to [`poll`](Self::poll).
    pub fn due(&self, rtt: Duration) -> Option<Instant> {
        let watched = self.watched.iter().map(|watched| watched.due(rtt));
        watched.chain(self.flush).chain(self.probe).min()
    }

    /// The datagrams that are due, as far as there is credit for them.
    pub fn poll(&mut self, now: Instant, path: Path, pace: &mut Pace) -> Vec<Bytes> {
        let mut datagrams = Vec::new();
        self.look(now, path, pace, &mut datagrams);
        if self.flush.take_if(|due| *due <= now).is_some() {
            self.cover(now, path, pace, &mut datagrams);
        }
        if self.probe.take_if(|due| *due <= now).is_some() {
            datagrams.push(Bytes::from_static(&[PROBE]));
            self.probed += 1;
            self.probe = (self.probed < pace.probes()).then(|| now + PROBE_EVERY);
        }
        datagrams
    }

    fn look(&mut self, now: Instant, path: Path, pace: &mut Pace, datagrams: &mut Vec<Bytes>) {
        for watched in &mut self.watched {
            if watched.due(path.rtt) > now {
                continue;
            }
            let more = watched.look(path.lost);
            let rows = watched.rows..watched.rows + pace.overspend(more, cost(watched.block));
            if !rows.is_empty() {
                watched.answers += rows.len();
                watched.rows = rows.end;
                datagrams.extend(parity(self.stream, watched, rows, path.limit));
                (self.probe, self.probed) = (Some(now + LINGER), 0);
            }
        }
        self.watched.retain(|watched| watched.looks < LOOKS.len());
    }

    fn cover(&mut self, now: Instant, path: Path, pace: &mut Pace, datagrams: &mut Vec<Bytes>) {
        let width = self.held.min(path.limit + WIDER).min(MAX_WIDTH);
        if path.limit < SMALLEST_LIMIT || width == 0 {
            return self.clear();
        }
        let last = self.oldest.map_or(now, |oldest| oldest + HOLD);
        if now < last && !pace.is_clear() {
            self.flush = Some(last.min(now + LINGER));
            return;
        }
        if !pace.is_clear() {
            return self.clear();
        }
        if now < last && self.held < FEW * width {
            self.flush = Some(last);
            return;
        }
        let before = datagrams.len();
        let blocks = self.held.div_ceil(MAX_ROWS * width);
        let length = self.held.div_ceil(blocks);
        while self.held > 0 {
            let length = length.min(self.held);
            let block = Block {
                start: self.start,
                length,
                width: width.min(length),
            };
            let rows = pace.spend(block.rows(), cost(block));
            let watched = Watched {
                block,
                chunks: self.take(length),
                rows,
                sent: self.oldest.unwrap_or(now),
                lost_before: None,
                answers: 0,
                looks: 0,
            };
            datagrams.extend(parity(self.stream, &watched, 0..rows, path.limit));
            self.watched.push_back(watched);
        }
        let crowd = self.watched.len().saturating_sub(MAX_WATCHED);
        self.watched.drain(..crowd);
        if datagrams.len() > before {
            (self.probe, self.probed) = (Some(now + LINGER), 0);
        } else if !pace.is_bursty() {
            (self.probe, self.probed) = (Some(now), 0);
        }
        self.oldest = None;
    }

    fn clear(&mut self) {
        self.start += self.held as u64;
        self.chunks.clear();
        (self.held, self.oldest, self.flush) = (0, None, None);
    }

    fn take(&mut self, length: usize) -> Vec<Bytes> {
        let mut missing = length;
        let mut taken = Vec::new();
        while let Some(chunk) = self.chunks.front_mut().filter(|_| missing > 0) {
            let piece = chunk.split_to(missing.min(chunk.len()));
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
            missing -= piece.len();
            taken.push(piece);
        }
        self.start += length as u64;
        self.held -= length;
        taken
    }
}

/// What a parity row costs on the line.
fn cost(block: Block) -> usize {
    block.width + OVERHEAD
}

/// Parity rows of a block.
fn sums(watched: &Watched, rows: Range<usize>) -> Vec<Vec<u8>> {
    let width = watched.block.width;
    let mut sums = vec![vec![0; width]; rows.len()];
    let mut at = 0;
    for chunk in &watched.chunks {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let (row, column) = (at / width, at % width);
            let (run, after) = rest.split_at(rest.len().min(width - column));
            for (parity, sum) in rows.clone().zip(&mut sums) {
                code::add(&mut sum[column..], run, code::coefficient(parity, row));
            }
            at += run.len();
            rest = after;
        }
    }
    sums
}

/// Parity rows as datagrams, the few bytes that do not fit last: together they fill one packet.
fn parity(stream: u64, watched: &Watched, rows: Range<usize>, limit: usize) -> Vec<Bytes> {
    let mut datagrams = Vec::new();
    let mut ends = Vec::new();
    for (row, bytes) in rows.clone().zip(sums(watched, rows)) {
        let mut parity = Parity {
            stream,
            block: watched.block,
            row,
            column: 0,
            bytes: Bytes::from(bytes),
        };
        let Ok(head) = parity.encode_head() else {
            continue;
        };
        let room = limit.saturating_sub(head.len());
        if parity.bytes.len() > room {
            let end = parity.bytes.split_off(room);
            ends.push(Parity {
                column: room,
                bytes: end,
                ..parity.clone()
            });
        }
        datagrams.push(parity);
    }
    let all = datagrams.into_iter().chain(ends);
    all.filter_map(|parity| parity.encode().ok()).collect()
}
