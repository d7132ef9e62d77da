//! Hot: takes one group's stream from a peer into its track.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{RecvStream, VarInt};

use crate::group;
use crate::track;
use crate::wire::{self, Event, GroupDecoder, Stop};

/// Pieces taken from quinn in one call; a piece is at most a datagram.
const PIECES: usize = 32;

/// Where the groups of each subscription go.
pub(super) type Tracks = Arc<Mutex<HashMap<u64, track::Producer>>>;

/// Takes the stream until it ends, is reset or is not wanted; an error is a breach of the protocol.
pub(super) async fn receive(mut stream: RecvStream, tracks: Tracks) -> Result<(), wire::Error> {
    let mut group = Incoming {
        decoder: GroupDecoder::default(),
        producer: None,
    };
    let mut pieces: [Bytes; PIECES] = std::array::from_fn(|_| Bytes::new());
    loop {
        match stream.read_chunks(&mut pieces).await {
            Ok(Some(count)) => {
                for piece in &mut pieces[..count] {
                    if let Err(stop) = group.take(&std::mem::take(piece), &tracks)? {
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
}

impl Incoming {
    fn take(&mut self, piece: &[u8], tracks: &Tracks) -> Result<Result<(), Stop>, wire::Error> {
        let mut input = piece;
        while let Some(event) = self.decoder.read(&mut input)? {
            let done = match event {
                Event::Header {
                    subscription,
                    header,
                } => self.open(subscription, header, tracks),
                Event::Frame(frame) => self.push(frame),
            };
            if done.is_err() {
                return Ok(done);
            }
        }
        Ok(Ok(()))
    }

    fn open(
        &mut self,
        subscription: u64,
        header: group::Header,
        tracks: &Tracks,
    ) -> Result<(), Stop> {
        let tracks = tracks.lock();
        let track = tracks.get(&subscription).ok_or(Stop::Unknown)?;
        self.producer = Some(track.open_group(header).map_err(|_| Stop::Stale)?);
        Ok(())
    }

    fn push(&mut self, frame: media::frame::Frame) -> Result<(), Stop> {
        let producer = self.producer.as_mut().ok_or(Stop::Unknown)?;
        producer.push(frame).map_err(|_| Stop::Full)
    }

    fn finish(self) -> Result<(), wire::Error> {
        if !self.decoder.may_end() {
            return Err(wire::Error::Truncated);
        }
        if let Some(producer) = self.producer {
            producer.finish();
        }
        Ok(())
    }
}
