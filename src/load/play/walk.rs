//! Sans-IO: walks through FLV without keeping payloads, looking only at the first bytes of each.
//!
//! A tag is told when its last byte is there. Memory is one [`HEAD`], reused from tag to tag. The
//! whole reading, payloads included, is `media::flv::Demuxer`'s.

use crate::load::stamp::{self, Stamp};
use bytes::{Buf, BytesMut};
use media::{
    codec::Codec,
    flv::{
        Error, Event, parse,
        tag::{AUDIO, HEADER_LEN, SCRIPT, TRAILER_LEN, VIDEO},
    },
    frame::{Frame, Kind},
    timestamp::Timestamp,
};

/// Takes bytes in pieces of any size.
#[derive(Debug, Default)]
pub struct Walk {
    started: bool,
    /// The beginning of what is being read, as far as it came.
    held: BytesMut,
    /// Bytes to pass before the next tag.
    skip: usize,
    /// What the bytes that are being passed are.
    pending: Option<Seen>,
}

/// What a tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Frames so coded follow.
    Config(Codec),
    /// A frame.
    Frame(Sight),
}

/// What can be seen of a frame from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// How it is coded.
    pub codec: Codec,
    /// Whether decoding can start here.
    pub is_key: bool,
    /// Decoding time.
    pub dts: Timestamp,
    /// What its publisher wrote into it.
    pub stamp: Option<Stamp>,
}

impl Walk {
    /// Passes through bytes and tells what ends in them.
    pub fn push(&mut self, mut bytes: &[u8], mut see: impl FnMut(Seen)) -> Result<(), Error> {
        loop {
            let passed = self.skip.min(bytes.len());
            bytes = &bytes[passed..];
            self.skip -= passed;
            if self.skip > 0 {
                return Ok(());
            }
            if let Some(seen) = self.pending.take() {
                see(seen);
            }
            let wanted = self.wanted()?;
            if self.held.len() >= wanted {
                self.begin()?;
                continue;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = (wanted - self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
        }
    }

    /// How many bytes must be held before more can be said.
    fn wanted(&self) -> Result<usize, Error> {
        if !self.started {
            return Ok(FLV_HEADER);
        }
        let Some(header) = self.held.first_chunk::<HEADER_LEN>() else {
            return Ok(HEADER_LEN);
        };
        let size = size(header);
        if size > MAX_TAG {
            return Err(Error::TooLarge("tag"));
        }
        match header[0] {
            VIDEO => Ok(HEADER_LEN + size.min(HEAD)),
            AUDIO => Ok(HEADER_LEN + size.min(AUDIO_HEAD)),
            SCRIPT => Ok(HEADER_LEN),
            other => Err(Error::TagType(other)),
        }
    }

    /// Reads what is held: the stream's header, or the first bytes of a tag.
    fn begin(&mut self) -> Result<(), Error> {
        if !self.started {
            let header = &self.held[..FLV_HEADER];
            // Signature and version, and the usual DataOffset (E.2).
            if header[..4] != *b"FLV\x01" || header[5..9] != [0, 0, 0, 9] {
                return Err(Error::NotFlv);
            }
            self.started = true;
            self.held.clear();
            return Ok(());
        }
        let mut body = self.held.split();
        let header = *body.first_chunk::<HEADER_LEN>().expect("it was waited for");
        body.advance(HEADER_LEN);
        self.skip = size(&header) - body.len() + TRAILER_LEN;
        let [kind, _, _, _, t2, t1, t0, t3, ..] = header;
        let dts = Timestamp::from_millis(i64::from(u32::from_be_bytes([t3, t2, t1, t0])));
        if kind != SCRIPT {
            self.pending = match parse(kind, dts, body.freeze())? {
                Event::Config(config) => Some(Seen::Config(config.codec)),
                Event::Frame(codec, frame) => Some(Seen::Frame(Sight::new(codec, &frame))),
                _ => None,
            };
        }
        // No reference into it is left, so that this makes nothing new.
        self.held.reserve(HEADER_LEN + HEAD);
        Ok(())
    }
}

impl Sight {
    /// What can be seen of a frame; its payload may be cut short.
    pub fn new(codec: Codec, frame: &Frame) -> Self {
        Self {
            codec,
            is_key: frame.kind == Kind::Key,
            dts: frame.dts,
            stamp: stamp::find(codec, &frame.payload),
        }
    }
}

fn size(header: &[u8; HEADER_LEN]) -> usize {
    u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize
}

/// The stream's header with the first PreviousTagSize (E.2).
const FLV_HEADER: usize = 9 + TRAILER_LEN;
/// Room for parameter sets and an encoder's banner before the stamp.
pub const HEAD: usize = 2048;
/// Flags, FourCC and a little more.
const AUDIO_HEAD: usize = 16;
/// As the demuxer has it.
const MAX_TAG: usize = Frame::MAX_PAYLOAD + 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use media::{
        codec::{Catalog, TrackConfig},
        flv::{Demuxer, Hevc, Muxer},
    };
    use proptest::prelude::*;

    /// A stream of both tracks: payload sizes, one picture to two packets of sound.
    fn stream(sizes: &[u16]) -> Vec<u8> {
        let record = Bytes::from_static(&[0x12, 0x10]);
        let mut catalog = Catalog::default();
        catalog.set(TrackConfig::new(Codec::H264, vec![1; 3000].into()));
        catalog.set(TrackConfig::new(Codec::Aac, record));
        let muxer = Muxer::new(Hevc::Enhanced);
        let mut out = muxer.start(&catalog).to_vec();
        for (number, size) in sizes.iter().enumerate() {
            let codec = [Codec::H264, Codec::Aac][usize::from(number % 3 != 0)];
            let kind = [Kind::Reference, Kind::Key][usize::from(number % 4 == 0)];
            let frame = Frame {
                track: codec.track(),
                kind: if codec == Codec::Aac { Kind::Key } else { kind },
                dts: Timestamp::from_millis(number as i64 * 0x0010_0001),
                cts: Timestamp::ZERO,
                duration: None,
                payload: payload(codec, u32::from(*size) + 1, number as u32),
            };
            for bytes in muxer.frame(codec, &frame, frame.dts.as_millis() as u32) {
                out.extend_from_slice(&bytes);
            }
        }
        out
    }

    fn payload(codec: Codec, size: u32, number: u32) -> Bytes {
        let mut unit = vec![0x41; size as usize];
        if codec == Codec::H264 {
            unit.splice(0..0, size.to_be_bytes());
        }
        stamp::insert(codec, &unit.into(), 1_000_000 + u64::from(number), number)
    }

    fn walk(bytes: &[u8], piece: usize) -> Result<Vec<Seen>, Error> {
        let (mut walk, mut seen) = (Walk::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            walk.push(piece, |it| seen.push(it))?;
        }
        Ok(seen)
    }

    fn demux(bytes: &[u8]) -> Vec<Seen> {
        let (mut demuxer, mut seen) = (Demuxer::new(), Vec::new());
        demuxer.push(bytes);
        while let Some(event) = demuxer.next().unwrap() {
            match event {
                Event::Config(config) => seen.push(Seen::Config(config.codec)),
                Event::Frame(codec, frame) => seen.push(Seen::Frame(Sight::new(codec, &frame))),
                _ => {}
            }
        }
        seen
    }

    #[test]
    fn a_frame_is_told_when_its_last_byte_is_there() {
        let bytes = stream(&[5000, 100]);
        assert_eq!(walk(&bytes, 1).unwrap().len(), 4);
        assert_eq!(walk(&bytes[..bytes.len() - 1], 4096).unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_flv_is_refused() {
        let mut table = vec![b"HTTP/1.1 400 Bad".to_vec()];
        let mut odd = stream(&[10]);
        odd[13] = 7;
        table.push(odd);
        let mut huge = stream(&[]);
        huge.extend_from_slice(&[VIDEO, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0]);
        table.push(huge);
        for bytes in table {
            assert!(walk(&bytes, 5).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_walk_sees_what_the_demuxer_sees(
            sizes in proptest::collection::vec(any::<u16>(), 0..12),
            piece in 1..9000usize,
        ) {
            let bytes = stream(&sizes);
            prop_assert_eq!(walk(&bytes, piece).unwrap(), demux(&bytes));
        }

        #[test]
        fn garbage_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            piece in 1..50usize,
        ) {
            let _ = walk(&[&stream(&[]), &bytes[..]].concat(), piece);
            let _ = walk(&bytes, piece);
        }
    }
}
