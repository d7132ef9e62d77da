//! Sans-IO: a group's stream: its header, then head and payload of each frame.
//!
//! Hot: every frame that a node gets from another passes here. A payload is gathered here once,
//! into memory of exactly its size: QUIC delivers it in pieces of a datagram, and a slice of a
//! received datagram would keep the whole datagram (and its neighbours of one receive call) in the
//! cache without being counted.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use media::codec::Catalog;
use media::frame::{Frame, Kind, TrackId};
use media::timestamp::Timestamp;

use super::varint;
use super::{Error, GROUP_STREAM, MAX_FRAME_HEAD, MAX_HEADER, MAX_PAYLOAD, MAX_SEGMENT};
use crate::group::Header;

const DISCONTINUITY: u64 = 1;

/// Six numbers of at most eight bytes.
const FRAME_HEAD: usize = 48;

/// Memory that a payload's claimed length alone can take; more is taken as bytes arrive.
const TRUSTED: usize = 64 << 10;

/// Appends the beginning of a group's stream.
pub fn encode_header(out: &mut BytesMut, subscription: u64, header: &Header) -> Result<(), Error> {
    let mut body = Vec::new();
    let flags = if header.discontinuity {
        DISCONTINUITY
    } else {
        0
    };
    let Header {
        epoch,
        number,
        wallclock_us,
        first_msn,
        first_part,
        discontinuities,
        config_id,
        ..
    } = *header;
    check_lengths(header)?;
    for value in [
        subscription,
        epoch,
        number,
        wallclock_us,
        first_msn,
        first_part,
        discontinuities,
        header.segment_max.as_micros() as u64,
        header.part_target.as_micros() as u64,
        config_id.into(),
        flags,
    ] {
        varint::write(&mut body, value)?;
    }
    let mut catalog = Vec::new();
    header.catalog.encode(&mut catalog);
    varint::write_bytes(&mut body, &catalog)?;
    if body.len() > MAX_HEADER {
        return Err(Error::TooLong("group header"));
    }
    varint::write(out, GROUP_STREAM)?;
    varint::write_bytes(out, &body)
}

/// Appends a frame's head, to be followed by its payload; `previous` is the decoding time of the
/// frame before it in the group, zero for the first.
pub fn encode_frame(out: &mut BytesMut, frame: &Frame, previous: Timestamp) -> Result<(), Error> {
    if frame.payload.len() > MAX_PAYLOAD {
        return Err(Error::TooLong("payload"));
    }
    let mut body = [0; FRAME_HEAD];
    let mut rest = &mut body[..];
    varint::write(&mut rest, frame.track.0.into())?;
    varint::write(&mut rest, kind_code(frame.kind))?;
    varint::write_signed(&mut rest, (frame.dts - previous).as_micros())?;
    varint::write_signed(&mut rest, frame.cts.as_micros())?;
    let duration = frame
        .duration
        .map_or(0, |duration| duration.as_micros().max(0) as u64 + 1);
    varint::write(&mut rest, duration)?;
    varint::write(&mut rest, frame.payload.len() as u64)?;
    let length = FRAME_HEAD - rest.remaining_mut();
    varint::write_bytes(out, &body[..length])
}

/// What a group's stream says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// First of all, whose group it is.
    Header {
        /// The subscription it answers.
        subscription: u64,
        /// The group.
        header: Header,
    },
    /// The next frame.
    Frame(Frame),
}

/// Reads a group's stream as its bytes arrive.
#[derive(Debug, Default)]
pub struct GroupDecoder {
    state: State,
    /// The length and body that is being gathered.
    block: Vec<u8>,
    previous: Timestamp,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Type,
    Header,
    Head,
    Payload {
        frame: Frame,
        bytes: Vec<u8>,
        length: usize,
    },
}

impl GroupDecoder {
    /// Takes bytes off the front until something is complete; `None` when all were taken.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        loop {
            match &mut self.state {
                State::Type => {
                    let Some(kind) = self.number(input) else {
                        return Ok(None);
                    };
                    if kind != GROUP_STREAM {
                        return Err(Error::Invalid("stream type"));
                    }
                    self.state = State::Header;
                }
                State::Header => {
                    let Some(mut body) = self.body(input, MAX_HEADER)? else {
                        return Ok(None);
                    };
                    let event = read_header(&mut body)?;
                    self.next_block();
                    return Ok(Some(event));
                }
                State::Head => {
                    let previous = self.previous;
                    let Some(mut body) = self.body(input, MAX_FRAME_HEAD)? else {
                        return Ok(None);
                    };
                    let (frame, length) = read_head(&mut body, previous)?;
                    self.next_block();
                    self.previous = frame.dts;
                    let bytes = Vec::with_capacity(length.min(TRUSTED));
                    self.state = State::Payload {
                        frame,
                        bytes,
                        length,
                    };
                }
                State::Payload { bytes, length, .. } => {
                    gather(bytes, *length, input);
                    if bytes.len() < *length {
                        return Ok(None);
                    }
                    return Ok(self.take_frame());
                }
            }
        }
    }

    /// Whether the stream may end here: after the header, not inside a frame.
    pub fn may_end(&self) -> bool {
        matches!(self.state, State::Head) && self.block.is_empty()
    }

    /// Memory taken for what is not complete yet.
    pub fn memory(&self) -> usize {
        let payload = match &self.state {
            State::Payload { bytes, .. } => bytes.capacity(),
            _ => 0,
        };
        self.block.capacity() + payload
    }

    fn take_frame(&mut self) -> Option<Event> {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Payload { frame, bytes, .. } => Some(Event::Frame(Frame {
                payload: Bytes::from(bytes),
                ..frame
            })),
            _ => None,
        }
    }

    fn next_block(&mut self) {
        self.block.clear();
        self.state = State::Head;
    }

    /// A number by itself.
    fn number(&mut self, input: &mut &[u8]) -> Option<u64> {
        loop {
            if let Ok(value) = varint::read(&mut &self.block[..]) {
                self.block.clear();
                return Some(value);
            }
            self.block.push(*input.split_off_first()?);
        }
    }

    /// A counted body, once it is complete.
    fn body(&mut self, input: &mut &[u8], max: usize) -> Result<Option<&[u8]>, Error> {
        loop {
            let mut block = &self.block[..];
            let missing = match varint::read(&mut block) {
                Ok(length) if length > max as u64 => return Err(Error::TooLong("head")),
                Ok(length) => length as usize - block.len(),
                Err(_) => 1,
            };
            if missing == 0 {
                break;
            }
            if input.is_empty() {
                return Ok(None);
            }
            let take = missing.min(input.len());
            let (taken, rest) = input.split_at(take);
            self.block.extend_from_slice(taken);
            *input = rest;
        }
        let prefix = varint::length(self.block[0]);
        Ok(Some(&self.block[prefix..]))
    }
}

/// Moves bytes of a payload from `input`, taking memory for no more than twice what is there and
/// never for more than the payload.
fn gather(bytes: &mut Vec<u8>, length: usize, input: &mut &[u8]) {
    let (taken, rest) = input.split_at(input.len().min(length - bytes.len()));
    if bytes.capacity() - bytes.len() < taken.len() {
        let wanted = (2 * bytes.len()).max(bytes.len() + taken.len()).min(length);
        bytes.reserve_exact(wanted - bytes.len());
    }
    bytes.extend_from_slice(taken);
    *input = rest;
}

fn read_header(body: &mut &[u8]) -> Result<Event, Error> {
    let subscription = varint::read(body)?;
    let (epoch, number) = (varint::read(body)?, varint::read(body)?);
    let (wallclock_us, first_msn) = (varint::read(body)?, varint::read(body)?);
    let (first_part, discontinuities) = (varint::read(body)?, varint::read(body)?);
    let (segment_max, part_target) = (read_length(body)?, read_length(body)?);
    let config_id = varint::read(body)?
        .try_into()
        .map_err(|_| Error::TooLong("config id"))?;
    let discontinuity = varint::read(body)? & DISCONTINUITY != 0;
    let mut blob = varint::read_bytes(body, MAX_HEADER, "catalog")?;
    let catalog = Catalog::decode(&mut blob).map_err(|_| Error::Invalid("catalog"))?;
    let catalog = Arc::new(catalog);
    let header = Header {
        epoch,
        number,
        wallclock_us,
        first_msn,
        first_part,
        discontinuities,
        segment_max,
        part_target,
        config_id,
        discontinuity,
        catalog,
    };
    check_lengths(&header)?;
    Ok(Event::Header {
        subscription,
        header,
    })
}

/// Microseconds; what a number can hold is a time.
fn read_length(body: &mut &[u8]) -> Result<Timestamp, Error> {
    Ok(Timestamp::from_micros(varint::read(body)? as i64))
}

/// Playlists are laid out by these.
fn check_lengths(header: &Header) -> Result<(), Error> {
    let valid = Timestamp::ZERO < header.part_target
        && header.part_target <= header.segment_max
        && header.segment_max <= MAX_SEGMENT;
    valid.then_some(()).ok_or(Error::Invalid("segment length"))
}

/// A frame without its payload, and the payload's length.
fn read_head(body: &mut &[u8], previous: Timestamp) -> Result<(Frame, usize), Error> {
    let track = varint::read(body)?
        .try_into()
        .map_err(|_| Error::Invalid("track"))?;
    let kind = kind_from(varint::read(body)?)?;
    let dts = previous + Timestamp::from_micros(varint::read_signed(body)?);
    let cts = Timestamp::from_micros(varint::read_signed(body)?);
    let duration = varint::read(body)?.checked_sub(1);
    let duration = duration.map(|us| Timestamp::from_micros(us as i64));
    let length = varint::read(body)?;
    if length > MAX_PAYLOAD as u64 {
        return Err(Error::TooLong("payload"));
    }
    let frame = Frame {
        track: TrackId(track),
        kind,
        dts,
        cts,
        duration,
        payload: Bytes::new(),
    };
    Ok((frame, length as usize))
}

fn kind_code(kind: Kind) -> u64 {
    match kind {
        Kind::Disposable => 0,
        Kind::Reference => 1,
        Kind::Key => 2,
    }
}

fn kind_from(code: u64) -> Result<Kind, Error> {
    match code {
        0 => Ok(Kind::Disposable),
        1 => Ok(Kind::Reference),
        2 => Ok(Kind::Key),
        _ => Err(Error::Invalid("kind")),
    }
}
