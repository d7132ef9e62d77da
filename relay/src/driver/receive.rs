//! Hot: takes one group's stream from a peer into its track.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{RecvStream, VarInt};

use crate::group;
use crate::track;
use crate::wire::{self, Event, GroupDecoder, Stop};

/// Pieces taken from quinn in one call; a piece is at most a datagram.
const PIECES: usize = 32;

/// Memory of payloads that one connection is still gathering, which no cache counts yet: a key
/// frame of 256 KiB for each of a thousand streams at once.
const MAX_GATHERING: usize = 256 << 20;

/// Where the groups of a connection go.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// By subscription.
    pub(super) tracks: Mutex<HashMap<u64, track::Producer>>,
    gathering: AtomicUsize,
}

/// Takes the stream until it ends, is reset or is not wanted; an error is a breach of the protocol.
pub(super) async fn receive(
    mut stream: RecvStream,
    intake: Arc<Intake>,
) -> Result<(), wire::Error> {
    let mut group = Incoming {
        decoder: GroupDecoder::default(),
        producer: None,
        gathering: 0,
        intake,
    };
    let mut pieces: [Bytes; PIECES] = std::array::from_fn(|_| Bytes::new());
    loop {
        match stream.read_chunks(&mut pieces).await {
            Ok(Some(count)) => {
                for piece in &mut pieces[..count] {
                    if let Err(stop) = group.take(&std::mem::take(piece))? {
                        // A stream that ended meanwhile needs no stop.
                        let _ = stream.stop(VarInt::from_u32(stop as u32));
                        return Ok(());
                    }
                }
            }
            Ok(None) => return group.finish(),
            // Reset by the peer, or lost with the connection: what is missing will not come.
            Err(_) => return Ok(()),
        }
    }
}

struct Incoming {
    decoder: GroupDecoder,
    producer: Option<group::Producer>,
    /// What the decoder holds, as counted in the intake.
    gathering: usize,
    intake: Arc<Intake>,
}

impl Incoming {
    fn take(&mut self, piece: &[u8]) -> Result<Result<(), Stop>, wire::Error> {
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
        Ok(self.count(self.decoder.memory()))
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
        let tracks = self.intake.tracks.lock();
        let track = tracks.get(&subscription).ok_or(Stop::Unknown)?;
        self.producer = Some(track.open_group(header).map_err(|_| Stop::Stale)?);
        Ok(())
    }

    fn push(&mut self, frame: media::frame::Frame) -> Result<(), Stop> {
        let producer = self.producer.as_mut().ok_or(Stop::Unknown)?;
        producer.push(frame).map_err(|_| Stop::Full)
    }

    fn finish(mut self) -> Result<(), wire::Error> {
        if !self.decoder.may_end() {
            return Err(wire::Error::Truncated);
        }
        if let Some(producer) = self.producer.take() {
            producer.finish();
        }
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
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
            decoder: GroupDecoder::default(),
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
