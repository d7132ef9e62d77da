//! Sans-IO: fragmented MP4 as a player reads it (ISO/IEC 14496-12): an initialisation segment, then parts of `moof` and
//! `mdat`.
//!
//! Reads what muxers of CMAF write (ISO/IEC 23000-19): defaults in `tfhd`, offsets from the `moof`. It is written apart
//! from the muxer so that a mistake there is seen here.

use bytes::Bytes;
use media::{
    codec::Codec,
    frame::{Frame, Kind},
    timestamp::Timestamp,
};
use std::ops::Range;

/// What an initialisation segment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Init {
    tracks: Vec<Track>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Track {
    id: u32,
    timescale: u32,
    codec: Codec,
}

/// One `moof` with its `mdat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// `mfhd`: counts up from fragment to fragment.
    pub sequence: u32,
    /// The samples, track by track.
    pub samples: Vec<Sample>,
    /// Where each track goes on: its codec, and its decoding time before and behind the fragment, in its own units.
    pub spans: Vec<(Codec, Range<u64>)>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How it is coded.
    pub codec: Codec,
    /// Whether decoding can start here.
    pub is_key: bool,
    /// Decoding time.
    pub dts: Timestamp,
    /// From decoding to presentation.
    pub cts: Timestamp,
    /// Its bytes.
    pub payload: Bytes,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A box ends behind what holds it, or holds less than it must.
    #[error("a part has a broken {0}")]
    Broken(&'static str),
    /// It must be there.
    #[error("a part has no {0}")]
    Missing(&'static str),
    /// No track of the initialisation segment.
    #[error("a part has a track that the initialisation segment does not name")]
    Track,
    /// Samples and `mdat` are not the same bytes.
    #[error("a part's samples do not fill its mdat")]
    Size,
}

impl Init {
    /// Reads an initialisation segment; tracks whose codec is unknown are left out.
    pub fn read(bytes: &Bytes) -> Result<Self, Error> {
        let top = boxes(bytes)?;
        find(&top, b"ftyp").ok_or(Error::Missing("ftyp"))?;
        let moov = boxes(find(&top, b"moov").ok_or(Error::Missing("moov"))?)?;
        let traks = moov.iter().filter(|(kind, _)| kind == b"trak");
        let tracks: Result<Vec<_>, _> = traks.map(|(_, trak)| track(trak)).collect();
        let tracks: Vec<_> = tracks?.into_iter().flatten().collect();
        match tracks.is_empty() {
            true => Err(Error::Missing("trak")),
            false => Ok(Self { tracks }),
        }
    }

    /// Reads a part or a segment: any number of fragments.
    pub fn fragments(&self, bytes: &Bytes) -> Result<Vec<Fragment>, Error> {
        let mut fragments = Vec::new();
        let mut moof = None;
        for (kind, body) in boxes(bytes)? {
            match &kind {
                b"moof" => moof = Some(body),
                b"mdat" => {
                    let moof = moof.take().ok_or(Error::Missing("moof"))?;
                    fragments.push(self.fragment(&moof, &body)?);
                }
                _ => {}
            }
        }
        match (moof, fragments.is_empty()) {
            (Some(_), _) => Err(Error::Missing("mdat")),
            (_, true) => Err(Error::Missing("moof")),
            _ => Ok(fragments),
        }
    }

    fn fragment(&self, moof: &Bytes, mdat: &Bytes) -> Result<Fragment, Error> {
        let inner = boxes(moof)?;
        let mut mfhd = Reader::full(find(&inner, b"mfhd").ok_or(Error::Missing("mfhd"))?, "mfhd")?;
        let mut fragment = Fragment {
            sequence: mfhd.u32()?,
            samples: Vec::new(),
            spans: Vec::new(),
        };
        let mut used = 0;
        for (_, traf) in inner.iter().filter(|(kind, _)| kind == b"traf") {
            used += self.traf(traf, moof.len() + HEADER, mdat, &mut fragment)?;
        }
        match used == mdat.len() {
            true => Ok(fragment),
            false => Err(Error::Size),
        }
    }

    /// Reads a track's samples and gives how many bytes they have; `moof` is the length of the whole box.
    fn traf(
        &self,
        traf: &Bytes,
        moof: usize,
        mdat: &Bytes,
        into: &mut Fragment,
    ) -> Result<usize, Error> {
        let inner = boxes(traf)?;
        let defaults = Defaults::read(find(&inner, b"tfhd").ok_or(Error::Missing("tfhd"))?)?;
        let track = self.tracks.iter().find(|track| track.id == defaults.track);
        let track = track.ok_or(Error::Track)?;
        let mut tfdt = Reader::full(find(&inner, b"tfdt").ok_or(Error::Missing("tfdt"))?, "tfdt")?;
        let start = match tfdt.version {
            0 => u64::from(tfdt.u32()?),
            _ => tfdt.u64()?,
        };
        let (mut time, mut used) = (start, 0);
        for (_, trun) in inner.iter().filter(|(kind, _)| kind == b"trun") {
            let mut run = Run::read(trun, &defaults)?;
            let data = usize::try_from(run.offset).ok();
            let mut at = data
                .and_then(|offset| offset.checked_sub(moof + HEADER))
                .ok_or(Error::Size)?;
            for _ in 0..run.count {
                let entry = run.next()?;
                let end = at
                    .checked_add(entry.size as usize)
                    .filter(|end| *end <= mdat.len());
                let end = end.ok_or(Error::Size)?;
                into.samples.push(Sample {
                    codec: track.codec,
                    is_key: entry.flags & NON_SYNC == 0,
                    dts: track.timestamp(time as i64),
                    cts: track.timestamp(entry.cts),
                    payload: mdat.slice(at..end),
                });
                time = time.saturating_add(u64::from(entry.duration));
                used += entry.size as usize;
                at = end;
            }
        }
        into.spans.push((track.codec, start..time));
        Ok(used)
    }
}

impl Sample {
    /// The frame that it carries.
    pub fn frame(&self) -> Frame {
        Frame {
            track: self.codec.track(),
            kind: if self.is_key {
                Kind::Key
            } else {
                Kind::Reference
            },
            dts: self.dts,
            cts: self.cts,
            duration: None,
            payload: self.payload.clone(),
        }
    }
}

impl Track {
    fn timestamp(&self, units: i64) -> Timestamp {
        let us = i128::from(units) * 1_000_000 / i128::from(self.timescale);
        Timestamp::from_micros(i64::try_from(us).unwrap_or(i64::MAX))
    }
}

/// `trak`: who it is, how it counts, how it is coded.
fn track(trak: &Bytes) -> Result<Option<Track>, Error> {
    let inner = boxes(trak)?;
    let mut tkhd = Reader::full(find(&inner, b"tkhd").ok_or(Error::Missing("tkhd"))?, "tkhd")?;
    tkhd.skip(if tkhd.version == 0 { 8 } else { 16 })?;
    let id = tkhd.u32()?;
    let mdia = boxes(find(&inner, b"mdia").ok_or(Error::Missing("mdia"))?)?;
    let mut mdhd = Reader::full(find(&mdia, b"mdhd").ok_or(Error::Missing("mdhd"))?, "mdhd")?;
    mdhd.skip(if mdhd.version == 0 { 8 } else { 16 })?;
    let timescale = mdhd.u32()?;
    let minf = boxes(find(&mdia, b"minf").ok_or(Error::Missing("minf"))?)?;
    let stbl = boxes(find(&minf, b"stbl").ok_or(Error::Missing("stbl"))?)?;
    let mut stsd = Reader::full(find(&stbl, b"stsd").ok_or(Error::Missing("stsd"))?, "stsd")?;
    stsd.skip(8)?; // entries, and the size of the first
    let codec = codec(stsd.u32()?.to_be_bytes());
    if timescale == 0 {
        return Err(Error::Broken("mdhd"));
    }
    Ok(codec.map(|codec| Track {
        id,
        timescale,
        codec,
    }))
}

/// Sample entries have more names than codecs.
fn codec(name: [u8; 4]) -> Option<Codec> {
    match &name {
        b"avc3" => Some(Codec::H264),
        b"hev1" => Some(Codec::H265),
        _ => Codec::from_fourcc(name),
    }
}

/// `tfhd`: what samples are unless `trun` says otherwise.
struct Defaults {
    track: u32,
    duration: u32,
    size: u32,
    flags: u32,
}

impl Defaults {
    fn read(tfhd: &Bytes) -> Result<Self, Error> {
        let mut tfhd = Reader::full(tfhd, "tfhd")?;
        let track = tfhd.u32()?;
        tfhd.skip(if tfhd.has(0x1) { 8 } else { 0 })?;
        tfhd.skip(if tfhd.has(0x2) { 4 } else { 0 })?;
        Ok(Self {
            track,
            duration: tfhd.optional(0x8)?.unwrap_or(0),
            size: tfhd.optional(0x10)?.unwrap_or(0),
            flags: tfhd.optional(0x20)?.unwrap_or(0),
        })
    }
}

/// `trun`, sample by sample.
struct Run<'a> {
    reader: Reader<'a>,
    defaults: &'a Defaults,
    count: u32,
    offset: u32,
    first_flags: Option<u32>,
}

struct Entry {
    duration: u32,
    size: u32,
    flags: u32,
    cts: i64,
}

impl<'a> Run<'a> {
    fn read(trun: &'a Bytes, defaults: &'a Defaults) -> Result<Self, Error> {
        let mut reader = Reader::full(trun, "trun")?;
        let count = reader.u32()?;
        if count > MAX_SAMPLES {
            return Err(Error::Broken("trun"));
        }
        let offset = reader.optional(0x1)?.ok_or(Error::Missing("data offset"))?;
        let first_flags = reader.optional(0x4)?;
        Ok(Self {
            reader,
            defaults,
            count,
            offset,
            first_flags,
        })
    }

    fn next(&mut self) -> Result<Entry, Error> {
        let reader = &mut self.reader;
        let duration = reader.optional(0x100)?.unwrap_or(self.defaults.duration);
        let size = reader.optional(0x200)?.unwrap_or(self.defaults.size);
        let flags = reader.optional(0x400)?.or(self.first_flags.take());
        let cts = reader.optional(0x800)?.unwrap_or(0);
        let is_signed = reader.version != 0;
        self.first_flags = None;
        Ok(Entry {
            duration,
            size,
            flags: flags.unwrap_or(self.defaults.flags),
            cts: if is_signed {
                i64::from(cts as i32)
            } else {
                i64::from(cts)
            },
        })
    }
}

/// The fields of a full box, from left to right.
struct Reader<'a> {
    rest: &'a [u8],
    version: u8,
    flags: u32,
    name: &'static str,
}

impl<'a> Reader<'a> {
    fn full(body: &'a Bytes, name: &'static str) -> Result<Self, Error> {
        let mut reader = Self {
            rest: body,
            version: 0,
            flags: 0,
            name,
        };
        let head = reader.u32()?;
        reader.version = (head >> 24) as u8;
        reader.flags = head & 0xFF_FFFF;
        Ok(reader)
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    fn optional(&mut self, flag: u32) -> Result<Option<u32>, Error> {
        self.has(flag).then(|| self.u32()).transpose()
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Error> {
        self.rest = self.rest.get(bytes..).ok_or(Error::Broken(self.name))?;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, Error> {
        let (four, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(Error::Broken(self.name))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*four))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }
}

type Name = [u8; 4];

/// The boxes side by side in these bytes: their names and bodies.
fn boxes(bytes: &Bytes) -> Result<Vec<(Name, Bytes)>, Error> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let head = bytes[at..]
            .first_chunk::<HEADER>()
            .ok_or(Error::Broken("box"))?;
        let [s0, s1, s2, s3, name @ ..] = *head;
        let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
        let end = at
            .checked_add(size)
            .filter(|end| size >= HEADER && *end <= bytes.len());
        let end = end.ok_or(Error::Broken("box"))?;
        found.push((name, bytes.slice(at + HEADER..end)));
        at = end;
    }
    Ok(found)
}

fn find<'a>(boxes: &'a [(Name, Bytes)], name: &Name) -> Option<&'a Bytes> {
    boxes
        .iter()
        .find(|(kind, _)| kind == name)
        .map(|(_, body)| body)
}

/// Size and name.
const HEADER: usize = 8;
/// More than a segment of any length that we cut has.
const MAX_SAMPLES: u32 = 100_000;
/// `sample_is_non_sync_sample` (8.8.3.1).
const NON_SYNC: u32 = 0x1_0000;

#[cfg(test)]
mod tests;
