//! Frames to a file: index first, one chunk per sample, in the order given.

use super::{Error, track};
use crate::codec::{Catalog, TrackConfig};
use crate::frame::{Frame, Kind};
use crate::timestamp::Timestamp;
use bytes::{BufMut, Bytes, BytesMut};
use mp4_atom::{
    Co64, Ctts, CttsEntry, Edts, Elst, ElstEntry, Encode, FourCC, Ftyp, Moov, Mvhd, Stbl, Stsc,
    StscEntry, Stss, Stsz, StszSamples, Stts, SttsEntry, Trak,
};

/// Writes a file whose presentation starts with the frame that is shown or heard first.
///
/// Decoding times within a track may not go back. Frames
/// of tracks that the catalog does not name are left out.
pub fn write(catalog: &Catalog, frames: &[Frame]) -> Result<Bytes, Error> {
    let mut tracks: Vec<_> = catalog.tracks.iter().map(Track::new).collect();
    let mut media = BytesMut::new();
    for frame in frames {
        let of_frame = |track: &&mut Track<'_>| track.config.id == frame.track;
        if let Some(track) = tracks.iter_mut().find(of_frame) {
            track.samples.push((frame, media.len() as u64));
            media.put_slice(&frame.payload);
        }
    }
    // The index is as long whatever the offsets in it are.
    let base = index(&tracks, 0)?.len() as u64 + MDAT_HEAD;
    let mut out = index(&tracks, base)?;
    out.put_u32(1); // the size follows in 64 bits
    out.put_slice(b"mdat");
    out.put_u64(MDAT_HEAD + media.len() as u64);
    out.put(media);
    Ok(out.freeze())
}

/// `ftyp` and `moov` of a file whose samples begin at `base`.
fn index(tracks: &[Track<'_>], base: u64) -> Result<BytesMut, Error> {
    let start = tracks
        .iter()
        .filter_map(Track::start)
        .min()
        .unwrap_or_default();
    let mut trak = Vec::new();
    for (number, track) in (1..).zip(tracks) {
        trak.push(track.atom(number, start, base)?);
    }
    let duration = trak
        .iter()
        .map(|trak| trak.tkhd.duration)
        .max()
        .unwrap_or(0);
    let mvhd = Mvhd {
        timescale: SCALE,
        duration,
        rate: 1.into(),
        volume: 1.into(),
        next_track_id: trak.len() as u32 + 1,
        ..Default::default()
    };
    let mut out = Vec::new();
    let brands = vec![FourCC::new(b"iso6"), FourCC::new(b"mp41")];
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 0,
        compatible_brands: brands,
    };
    ftyp.encode(&mut out)?;
    Moov {
        mvhd,
        trak,
        ..Default::default()
    }
    .encode(&mut out)?;
    Ok(BytesMut::from(&out[..]))
}

/// One track's samples, each with its place in the media.
struct Track<'a> {
    config: &'a TrackConfig,
    samples: Vec<(&'a Frame, u64)>,
}

impl<'a> Track<'a> {
    fn new(config: &'a TrackConfig) -> Self {
        Self {
            config,
            samples: Vec::new(),
        }
    }

    /// The earliest presentation time.
    fn start(&self) -> Option<Timestamp> {
        self.samples.iter().map(|(frame, _)| frame.pts()).min()
    }

    fn atom(&self, number: u32, movie_start: Timestamp, base: u64) -> Result<Trak, Error> {
        let stts = self.decoding_times()?;
        let ticks = stts.entries.iter();
        let duration = ticks
            .map(|run| u64::from(run.sample_count) * u64::from(run.sample_delta))
            .sum();
        let edts = self.edit(movie_start, duration);
        let presented = edts.elst.iter().flat_map(|list| &list.entries);
        let presented = presented.map(|edit| edit.segment_duration).sum();
        let stbl = self.table(stts, base)?;
        let mut trak = track::describe(self.config, number, SCALE, stbl)?;
        trak.tkhd.duration = presented;
        trak.mdia.mdhd.duration = duration;
        trak.edts = Some(edts);
        Ok(trak)
    }

    fn table(&self, stts: Stts, base: u64) -> Result<Stbl, Error> {
        let frames = || self.samples.iter().map(|(frame, _)| *frame);
        let chunk = StscEntry {
            first_chunk: 1,
            samples_per_chunk: 1,
            sample_description_index: 1,
        };
        let keys = (1..)
            .zip(frames())
            .filter(|(_, frame)| frame.kind == Kind::Key);
        let keys: Vec<u32> = keys.map(|(number, _)| number).collect();
        let offsets = runs(frames().map(|frame| frame.cts.as_micros())).into_iter();
        let offsets: Vec<_> = offsets
            .map(|(sample_count, sample_offset)| CttsEntry {
                sample_count,
                sample_offset,
            })
            .collect();
        let reordered = offsets.iter().any(|run| run.sample_offset != 0);
        let sizes = frames().map(|frame| frame.payload.len() as u32).collect();
        Ok(Stbl {
            stts,
            ctts: reordered.then_some(Ctts { entries: offsets }),
            stss: (keys.len() < self.samples.len()).then_some(Stss { entries: keys }),
            stsc: Stsc {
                entries: vec![chunk],
            },
            stsz: Stsz {
                samples: StszSamples::Different { sizes },
            },
            co64: Some(Co64 {
                entries: self.samples.iter().map(|(_, at)| base + at).collect(),
            }),
            ..Default::default()
        })
    }

    /// How long each sample lasts until the next; the last
    /// one as long as it says, or as the one before it.
    fn decoding_times(&self) -> Result<Stts, Error> {
        let mut deltas = Vec::with_capacity(self.samples.len());
        for pair in self.samples.windows(2) {
            let delta = (pair[1].0.dts - pair[0].0.dts).as_micros();
            let delta = u32::try_from(delta).map_err(|_| Error::Index("decoding times go back"))?;
            deltas.push(delta);
        }
        if let Some((last, _)) = self.samples.last() {
            let said = last
                .duration
                .and_then(|duration| duration.as_micros().try_into().ok());
            let before = deltas.last().copied().unwrap_or(0);
            deltas.push(said.unwrap_or(before));
        }
        let entries = runs(deltas.into_iter()).into_iter();
        let entries = entries
            .map(|(sample_count, sample_delta)| SttsEntry {
                sample_count,
                sample_delta,
            })
            .collect();
        Ok(Stts { entries })
    }

    /// Waits until the track's own start, then shows it from its first presentation time on.
    fn edit(&self, movie_start: Timestamp, duration: u64) -> Edts {
        let Some(start) = self.start() else {
            return Edts::default();
        };
        let wait = (start - movie_start).as_micros();
        let first = self
            .samples
            .first()
            .map(|(frame, _)| frame.dts)
            .unwrap_or_default();
        let media_time = (start - first).as_micros().max(0);
        let edit = |segment_duration, media_time| ElstEntry {
            segment_duration,
            media_time,
            media_rate: 1.into(),
        };
        let wait = (wait > 0).then(|| edit(wait as u64, None));
        let play = edit(duration, Some(media_time as u64));
        Edts {
            elst: Some(Elst {
                entries: wait.into_iter().chain([play]).collect(),
            }),
        }
    }
}

/// Run-length coding: how often each value stands in a row.
fn runs<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<(u32, T)> {
    let mut out: Vec<(u32, T)> = Vec::new();
    for value in values {
        match out.last_mut() {
            Some(last) if last.1 == value => last.0 += 1,
            _ => out.push((1, value)),
        }
    }
    out
}

/// Ticks a second of every clock in the file: a `Timestamp` as it is.
const SCALE: u32 = 1_000_000;

/// Bytes of the `mdat` box before its samples, its size being given in 64 bits.
const MDAT_HEAD: u64 = 16;
