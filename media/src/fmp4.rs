//! Hot: fragmented MP4 (ISO 14496-12, ISO 23000-19) for HLS: an init segment, and parts of frames.
//!
//! Picture and sound share one file: track 1 and track 2. A part is one `moof` and one `mdat`; a
//! segment is its parts, one after the other. Bytes follow from the arguments alone, so that any
//! edge makes the same ones. Payloads are referenced, only small ones are gathered.
//!
//! Time is the stream's own time line: `tfdt` counts from the epoch's start, in ticks of 1/90000 s
//! for pictures and in samples for sound. Edit lists and offsets are not needed.
//!
//! Sound lasts as its codec says, not as milliseconds (RTMP's time stamps) tell: a part's packets
//! follow each other without a hole, and the row of them stands where its latest packet, counted
//! back, puts it. Milliseconds rounded down are early by up to one; the latest is early by least,
//! so that parts of a steady stream join within some samples, without memory from part to part.

mod sound;

use crate::codec::{Catalog, Codec, TrackConfig};
use crate::frame::{Frame, Kind, TrackId};
pub use crate::mp4::Error;
use crate::mp4::track;
use crate::timestamp::Timestamp;
use bytes::{BufMut, Bytes};
use mp4_atom::{
    Encode, FourCC, Ftyp, Mfhd, Moof, Moov, Mvex, Mvhd, Stbl, Stco, Tfdt, Tfhd, Traf, Trex, Trun,
    TrunEntry,
};

/// The init segment (EXT-X-MAP) of these tracks: picture and sound, or one of them.
///
/// H.264, H.265, AV1, AAC and Opus; others are an error that names the codec.
pub fn init(catalog: &Catalog) -> Result<Bytes, Error> {
    let lanes = lanes(catalog)?;
    let mut moov = Moov {
        mvhd: Mvhd {
            timescale: PICTURE_CLOCK,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: NEXT_TRACK,
            ..Default::default()
        },
        ..Default::default()
    };
    let mut mvex = Mvex::default();
    for lane in lanes {
        // Empty tables: all samples are in the parts.
        let samples = Stbl {
            stco: Some(Stco::default()),
            ..Default::default()
        };
        let trak = track::describe(lane.config, lane.id(), lane.clock, samples)?;
        moov.trak.push(trak);
        mvex.trex.push(Trex {
            track_id: lane.id(),
            default_sample_description_index: 1,
            ..Default::default()
        });
    }
    moov.mvex = Some(mvex);
    let brands = [b"iso6", b"mp41"].map(FourCC::new);
    let ftyp = Ftyp {
        major_brand: brands[0],
        minor_version: 0,
        compatible_brands: brands.to_vec(),
    };
    let mut out = Vec::new();
    ftyp.encode(&mut out)?;
    moov.encode(&mut out)?;
    Ok(out.into())
}

/// The part of this number: its frames in group order, to be sent one after the other.
///
/// The last picture is shown until `end`, which is when the next part begins, or
/// [`Cutter::end`](crate::segment::Cutter::end) for the last part of a group.
pub fn part<'a>(
    catalog: &Catalog,
    number: u64,
    frames: impl Iterator<Item = &'a Frame> + Clone,
    end: Timestamp,
) -> Result<Vec<Bytes>, Error> {
    let mut runs = Vec::new();
    for lane in lanes(catalog)? {
        let samples = frames.clone().filter(|f| f.track == lane.config.id);
        let samples: Vec<_> = samples.collect();
        if !samples.is_empty() {
            runs.push(lane.run(samples, end)?);
        }
    }
    let head = head(number, &runs)?;
    let payloads = runs.iter().flat_map(|run| &run.samples);
    Ok(gather(head, payloads.map(|frame| &frame.payload)))
}

/// A track and the ticks a second of its clock.
struct Lane<'a> {
    config: &'a TrackConfig,
    clock: u32,
}

/// What a part holds of a track.
struct Run<'a> {
    track_id: u32,
    start: u64,
    samples: Vec<&'a Frame>,
    entries: Vec<TrunEntry>,
}

fn lanes(catalog: &Catalog) -> Result<Vec<Lane<'_>>, Error> {
    let configs = [catalog.video(), catalog.audio()];
    let lanes: Vec<_> = configs
        .into_iter()
        .flatten()
        .map(Lane::new)
        .collect::<Result<_, _>>()?;
    if lanes.is_empty() {
        return Err(Error::Index("the catalog names no track"));
    }
    Ok(lanes)
}

impl<'a> Lane<'a> {
    fn new(config: &'a TrackConfig) -> Result<Self, Error> {
        let clock = match config.codec {
            Codec::H264 | Codec::H265 | Codec::Av1 => PICTURE_CLOCK,
            Codec::Aac | Codec::Opus => config.info()?.sample_rate,
            codec => return Err(Error::Codec(codec)),
        };
        Ok(Self { config, clock })
    }

    fn id(&self) -> u32 {
        u32::from(self.config.id.0) + 1
    }

    fn run(&self, samples: Vec<&'a Frame>, end: Timestamp) -> Result<Run<'a>, Error> {
        let (start, entries) = if self.config.id == TrackId::VIDEO {
            self.pictures(&samples, end)
        } else {
            self.packets(&samples)
        };
        Ok(Run {
            track_id: self.id(),
            start: u64::try_from(start).unwrap_or(0),
            entries,
            samples,
        })
    }

    /// Start and entries of pictures: each is shown until the next.
    fn pictures(&self, frames: &[&Frame], end: Timestamp) -> (i64, Vec<TrunEntry>) {
        let next = frames.iter().skip(1).map(|frame| frame.dts).chain([end]);
        let entry = |(frame, next): (&&Frame, Timestamp)| {
            let at = self.ticks(frame.dts);
            let cts = (self.ticks(frame.pts()) - at).clamp(i32::MIN.into(), i32::MAX.into());
            TrunEntry {
                duration: Some(duration(self.ticks(next) - at)),
                size: Some(frame.payload.len() as u32),
                flags: Some(flags(frame.kind)),
                cts: Some(cts),
            }
        };
        let entries = frames.iter().zip(next).map(entry).collect();
        (self.ticks(frames[0].dts), entries)
    }

    /// Start and entries of packets of sound.
    fn packets(&self, frames: &[&Frame]) -> (i64, Vec<TrunEntry>) {
        let packet = |frame: &&Frame| sound::Packet {
            stamp: self.ticks(frame.dts),
            samples: self.config.samples(&frame.payload).unwrap_or(SAMPLES),
        };
        let (start, durations) = sound::place(frames.iter().map(packet));
        let entry = |(frame, ticks): (&&Frame, i64)| TrunEntry {
            duration: Some(duration(ticks)),
            size: Some(frame.payload.len() as u32),
            ..Default::default()
        };
        (start, frames.iter().zip(durations).map(entry).collect())
    }

    fn ticks(&self, at: Timestamp) -> i64 {
        let ticks = i128::from(at.as_micros()) * i128::from(self.clock);
        let ticks = (ticks + SECOND / 2).div_euclid(SECOND);
        ticks.clamp(-FAR, FAR) as i64
    }
}

/// A sample's duration; one that would be negative is 0.
fn duration(ticks: i64) -> u32 {
    ticks.clamp(0, u32::MAX.into()) as u32
}

/// Sample flags (ISO 14496-12 8.8.3.1) of a picture.
fn flags(kind: Kind) -> u32 {
    match kind {
        Kind::Key => ALONE,
        Kind::Reference => DEPENDS | NOT_SYNC,
        Kind::Disposable => DEPENDS | NOT_SYNC | DISPOSABLE,
    }
}

/// `moof`, and the head of the `mdat` with all payloads of the first track, then of the second.
fn head(number: u64, runs: &[Run<'_>]) -> Result<Vec<u8>, Error> {
    // The box is as long whatever the offsets in it are.
    let mut out = Vec::new();
    fragment(number, runs, 0)?.encode(&mut out)?;
    let length = out.len() + MDAT_HEAD;
    out.clear();
    fragment(number, runs, length)?.encode(&mut out)?;
    let media: usize = runs.iter().map(Run::bytes).sum();
    out.put_u32(u32::try_from(media + MDAT_HEAD).map_err(|_| TOO_LARGE)?);
    out.put_slice(b"mdat");
    Ok(out)
}

fn fragment(number: u64, runs: &[Run<'_>], mut offset: usize) -> Result<Moof, Error> {
    let mut traf = Vec::new();
    for run in runs {
        let tfhd = Tfhd {
            track_id: run.track_id,
            default_sample_flags: Some(ALONE),
            default_base_is_moof: true,
            ..Default::default()
        };
        let trun = Trun {
            data_offset: Some(i32::try_from(offset).map_err(|_| TOO_LARGE)?),
            samples: run.entries.clone().into(),
        };
        traf.push(Traf {
            tfhd,
            tfdt: Some(Tfdt {
                base_media_decode_time: run.start,
            }),
            trun: vec![trun],
            ..Default::default()
        });
        offset += run.bytes();
    }
    // The field has 32 bits and only has to grow within a presentation; part numbers wrap in it.
    let mfhd = Mfhd {
        sequence_number: number as u32,
    };
    Ok(Moof { mfhd, traf })
}

impl Run<'_> {
    fn bytes(&self) -> usize {
        self.samples.iter().map(|frame| frame.payload.len()).sum()
    }
}

/// The head and the payloads, with small neighbours in one piece.
fn gather<'a>(head: Vec<u8>, payloads: impl Iterator<Item = &'a Bytes>) -> Vec<Bytes> {
    let mut out = Vec::new();
    let mut open = head;
    for payload in payloads {
        if payload.len() < GATHER {
            open.extend_from_slice(payload);
            continue;
        }
        out.push(std::mem::take(&mut open).into_boxed_slice().into());
        out.push(payload.clone());
    }
    out.push(open.into_boxed_slice().into());
    out.retain(|piece: &Bytes| !piece.is_empty());
    out
}

/// Ticks a second for pictures: MPEG's own clock, which holds milliseconds without rounding.
const PICTURE_CLOCK: u32 = 90_000;

/// Microseconds, of which a `Timestamp` counts.
const SECOND: i128 = 1_000_000;

/// Times beyond this many ticks are held here, so that sums of some cannot overflow.
const FAR: i128 = 1 << 60;

/// Sound is track 2, whether there is a picture or not.
const NEXT_TRACK: u32 = 3;

/// sample_depends_on 2: on no other; it is a sync sample.
const ALONE: u32 = 2 << 24;

/// sample_depends_on 1: on others.
const DEPENDS: u32 = 1 << 24;

/// sample_is_depended_on 2: by no other.
const DISPOSABLE: u32 = 2 << 22;

/// sample_is_non_sync_sample.
const NOT_SYNC: u32 = 1 << 16;

/// Bytes of an `mdat` box before its samples.
const MDAT_HEAD: usize = 8;

/// A payload below this is copied together with its neighbours: a piece of its own costs more on
/// its way to each viewer.
const GATHER: usize = 4096;

/// Samples of a packet that does not say how long it lasts: Opus's usual 20 ms.
const SAMPLES: u32 = 960;

const TOO_LARGE: Error = Error::Index("the part is too large");

#[cfg(test)]
mod tests;
