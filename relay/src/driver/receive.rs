//! Hot: takes one group's stream from a peer into its track.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{RecvStream, VarInt};
use tokio::sync::{Notify, mpsc};

use crate::group;
use crate::repair::{Overrun, Window};
use crate::track;
use crate::wire::{self, Event, GroupDecoder, Parity, Stop};

/// Pieces taken from quinn in one call; a piece is at most a datagram.
const PIECES: usize = 32;

/// Memory of payloads that one connection is still gathering, which no cache counts yet: a key
/// frame of 256 KiB for each of a thousand streams at once.
const MAX_GATHERING: usize = 256 << 20;

/// What read pieces are kept for parity that may come, of all streams of a connection: beyond it
/// what is read is forgotten at once, and parity repairs only what was not read yet.
const MAX_KEPT: usize = MAX_GATHERING / 4;

/// Parity that waits for its stream's task: that of a large key frame, each row in two datagrams.
const MAX_PARITY_QUEUED: usize = 64;

/// Where the groups of a connection go.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// By subscription.
    pub(super) tracks: Mutex<HashMap<u64, Destination>>,
    /// Told when a group of some subscription was taken, or is not wanted.
    pub(super) settled: Notify,
    gathering: AtomicUsize,
    /// Who takes the parity of a stream.
    parity: Mutex<HashMap<u64, mpsc::Sender<Parity>>>,
    /// Whether the peer sends any: from then on streams are read in pieces and kept for a while.
    repairs: AtomicBool,
    pub(super) counts: Counts,
}

/// Where the groups of one subscription go.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) track: track::Producer,
    /// Groups that were taken whole, or are not wanted.
    pub(super) done: u64,
    pub(super) lasts: Lasts,
}

impl Destination {
    /// What ends when the subscription does.
    pub(super) fn ends(&self) -> (track::Producer, Lasts) {
        (self.track.clone(), self.lasts)
    }
}

/// What the end of a subscription ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// The stream, and its track with it.
    Live,
    /// What was asked of the past; the track goes on.
    Past,
}

/// What parity was good for on a connection.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Bytes of parity received.
    pub(super) parity: AtomicU64,
    /// Bytes of streams that it gave.
    pub(super) repaired: AtomicU64,
    /// Datagrams that could not be read or were too many.
    pub(super) refused: AtomicU64,
}

impl Intake {
    /// Takes a stream that the peer opened; the future is the task that reads it.
    pub(super) fn open(
        self: &Arc<Self>,
        stream: RecvStream,
    ) -> impl Future<Output = Result<(), wire::Error>> + use<> {
        let id = VarInt::from(stream.id()).into_inner();
        let (sender, parity) = mpsc::channel(MAX_PARITY_QUEUED);
        self.parity.lock().insert(id, sender);
        let group = Incoming {
            stream: id,
            offset: 0,
            decoder: GroupDecoder::default(),
            subscription: None,
            producer: None,
            gathering: 0,
            intake: self.clone(),
        };
        receive(stream, group, parity)
    }

    /// Hands a datagram to its stream; what cannot be read, or comes too late, is dropped.
    pub(super) fn datagram(&self, datagram: &Bytes) {
        self.repairs.store(true, Ordering::Relaxed);
        let length = datagram.len() as u64;
        self.counts.parity.fetch_add(length, Ordering::Relaxed);
        let taken = match Parity::decode(datagram) {
            Ok(Some(parity)) => match self.parity.lock().get(&parity.stream) {
                Some(stream) => stream.try_send(parity).is_ok(),
                // All of the stream was there before.
                None => true,
            },
            Ok(None) => true,
            Err(_) => false,
        };
        if !taken {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until so many groups of a subscription were taken, or are not wanted.
    pub(super) async fn taken(&self, subscription: u64, groups: u64) {
        let done = || {
            let tracks = self.tracks.lock();
            tracks
                .get(&subscription)
                .is_none_or(|into| into.done >= groups)
        };
        loop {
            let settled = self.settled.notified();
            if done() {
                return;
            }
            settled.await;
        }
    }

    fn keeps(&self) -> usize {
        if self.gathering.load(Ordering::Relaxed) < MAX_KEPT {
            usize::MAX
        } else {
            0
        }
    }
}

/// What became of a stream.
enum Outcome {
    Whole,
    /// Reset by the peer, or lost with the connection: what is missing will not come.
    Cut,
    Unwanted(Stop),
}

/// Takes the stream until it ends, is reset or is not wanted; an error is a breach of the protocol.
async fn receive(
    mut stream: RecvStream,
    mut group: Incoming,
    mut parity: mpsc::Receiver<Parity>,
) -> Result<(), wire::Error> {
    let outcome = match in_order(&mut stream, &mut group, &mut parity).await? {
        Read::To(outcome) => outcome,
        Read::UpTo(parity_due) => {
            let mut window = Window::new(group.offset);
            parity_due.into_iter().for_each(|due| window.repair(due));
            in_pieces(&mut stream, &mut group, &mut parity, window).await?
        }
    };
    match outcome {
        Outcome::Whole => group.finish()?,
        Outcome::Cut => return Ok(()),
        Outcome::Unwanted(stop) => {
            // A stream that ended meanwhile needs no stop.
            let _ = stream.stop(VarInt::from_u32(stop as u32));
        }
    }
    group.done();
    Ok(())
}

/// How far a stream was read in order.
enum Read {
    To(Outcome),
    /// Up to the first parity, after which order would only wait for what can be repaired.
    UpTo(Option<Parity>),
}

async fn in_order(
    stream: &mut RecvStream,
    group: &mut Incoming,
    parity: &mut mpsc::Receiver<Parity>,
) -> Result<Read, wire::Error> {
    if group.intake.repairs.load(Ordering::Relaxed) {
        return Ok(Read::UpTo(None));
    }
    let mut pieces: [Bytes; PIECES] = std::array::from_fn(|_| Bytes::new());
    loop {
        let read = tokio::select! {
            biased;
            first = parity.recv() => return Ok(Read::UpTo(first)),
            read = stream.read_chunks(&mut pieces) => read,
        };
        let count = match read {
            Ok(Some(count)) => count,
            Ok(None) => return Ok(Read::To(Outcome::Whole)),
            Err(_) => return Ok(Read::To(Outcome::Cut)),
        };
        for piece in &mut pieces[..count] {
            if let Err(stop) = group.take(&std::mem::take(piece), 0)? {
                return Ok(Read::To(Outcome::Unwanted(stop)));
            }
        }
    }
}

async fn in_pieces(
    stream: &mut RecvStream,
    group: &mut Incoming,
    parity: &mut mpsc::Receiver<Parity>,
    mut window: Window,
) -> Result<Outcome, wire::Error> {
    loop {
        let read = tokio::select! {
            biased;
            Some(parity) = parity.recv() => {
                window.repair(parity);
                let repaired = window.take_repaired() as u64;
                group.intake.counts.repaired.fetch_add(repaired, Ordering::Relaxed);
                Ok(())
            }
            read = stream.read_chunk(usize::MAX, false) => match read {
                Ok(Some(chunk)) => window.insert(chunk.offset, &chunk.bytes),
                Ok(None) => return Ok(Outcome::Whole),
                Err(_) => return Ok(Outcome::Cut),
            },
        };
        let taken = match read {
            Ok(()) => group.take(window.readable(), window.memory())?,
            Err(Overrun) => Err(Stop::Full),
        };
        if let Err(stop) = taken {
            return Ok(Outcome::Unwanted(stop));
        }
        window.advance(group.intake.keeps());
    }
}

struct Incoming {
    stream: u64,
    /// Bytes of the stream that were taken.
    offset: u64,
    decoder: GroupDecoder,
    subscription: Option<u64>,
    producer: Option<group::Producer>,
    /// What is held of the stream, as counted in the intake.
    gathering: usize,
    intake: Arc<Intake>,
}

impl Incoming {
    /// Takes the next bytes of the stream, beside which `held` bytes of it are in memory.
    fn take(&mut self, piece: &[u8], held: usize) -> Result<Result<(), Stop>, wire::Error> {
        self.offset += piece.len() as u64;
        let mut input = piece;
        while let Some(event) = self.decoder.read(&mut input)? {
            let done = match event {
                Event::Header {
                    subscription,
                    header,
                } => self.open(subscription, header),
                Event::Frame(frame) => self.push(frame),
            };
            if done.is_err() {
                return Ok(done);
            }
        }
        Ok(self.count(self.decoder.memory() + held))
    }

    /// Counts what is being gathered; above the bound the group is not taken.
    fn count(&mut self, memory: usize) -> Result<(), Stop> {
        let (before, counter) = (self.gathering, &self.intake.gathering);
        self.gathering = memory;
        counter.fetch_sub(before, Ordering::Relaxed);
        let sum = counter.fetch_add(memory, Ordering::Relaxed) + memory;
        if sum > MAX_GATHERING {
            Err(Stop::Full)
        } else {
            Ok(())
        }
    }

    fn open(&mut self, subscription: u64, header: group::Header) -> Result<(), Stop> {
        self.subscription = Some(subscription);
        let tracks = self.intake.tracks.lock();
        let into = tracks.get(&subscription).ok_or(Stop::Unknown)?;
        let opened = into.track.open_group(header);
        self.producer = Some(opened.map_err(|_| Stop::Stale)?);
        Ok(())
    }

    fn push(&mut self, frame: media::frame::Frame) -> Result<(), Stop> {
        let producer = self.producer.as_mut().ok_or(Stop::Unknown)?;
        producer.push(frame).map_err(|_| Stop::Full)
    }

    fn finish(&mut self) -> Result<(), wire::Error> {
        if !self.decoder.may_end() {
            return Err(wire::Error::Truncated);
        }
        if let Some(producer) = self.producer.take() {
            producer.finish();
        }
        Ok(())
    }

    /// Nothing more is to come of this group.
    fn done(self) {
        let mut tracks = self.intake.tracks.lock();
        let into = self.subscription.and_then(|id| tracks.get_mut(&id));
        if let Some(into) = into {
            into.done += 1;
            self.intake.settled.notify_waiters();
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.intake.parity.lock().remove(&self.stream);
        self.intake
            .gathering
            .fetch_sub(self.gathering, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_gathers_is_bounded_and_given_back() {
        let intake = Arc::new(Intake::default());
        let incoming = || Incoming {
            stream: 0,
            offset: 0,
            decoder: GroupDecoder::default(),
            subscription: None,
            producer: None,
            gathering: 0,
            intake: intake.clone(),
        };
        let (mut first, mut second) = (incoming(), incoming());
        assert_eq!(first.count(MAX_GATHERING - 10), Ok(()));
        assert_eq!(second.count(10), Ok(()));
        assert_eq!(second.count(11), Err(Stop::Full));
        assert_eq!(first.count(100), Ok(()));
        assert_eq!(second.count(11), Ok(()));
        drop((first, second));
        assert_eq!(intake.gathering.load(Ordering::Relaxed), 0);
    }
}
