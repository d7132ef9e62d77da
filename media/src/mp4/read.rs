//! A file to frames: the sample tables (ISO 14496-12
//! 8.6, 8.7) unrolled, and times laid on one line.

use super::{Error, Movie, entry};
use crate::codec::{Catalog, TrackConfig};
use crate::frame::{Frame, Kind};
use crate::timestamp::Timestamp;
use bytes::{Buf, Bytes};
use mp4_atom::{Decode, Edts, Moov, Stbl, StscEntry, StszSamples, Trak};

/// Reads a file made by ffmpeg or [`super::write`].
///
/// The edit lists' start offsets are applied; what an edit
/// list would cut off is kept, as it is needed to decode.
pub fn read(file: Bytes) -> Result<Movie, Error> {
    let moov = find_moov(&file)?;
    let moov = Moov::decode(&mut &moov[..])?;
    if moov.mvex.is_some() {
        return Err(Error::NotProgressive("it is fragmented"));
    }
    let mut movie = Movie {
        catalog: Catalog::default(),
        frames: Vec::new(),
    };
    for trak in &moov.trak {
        let Some(sample_entry) = trak.mdia.minf.stbl.stsd.codecs.first() else {
            continue;
        };
        let Some(config) = entry::read(sample_entry)? else {
            continue;
        };
        if movie.catalog.track(config.id).is_some() {
            continue;
        }
        let track = Track {
            trak,
            movie_scale: moov.mvhd.timescale,
            config: &config,
        };
        movie.frames.extend(track.frames(&file)?);
        if config.codec.is_video() {
            movie.catalog.frame_rate = track.frame_rate();
        }
        movie.catalog.tracks.push(config);
    }
    if movie.catalog.tracks.is_empty() {
        return Err(Error::NotProgressive("no track can be carried"));
    }
    movie.frames.sort_by_key(|frame| frame.dts);
    if let Some(start) = movie.frames.first().map(|frame| frame.dts) {
        movie
            .frames
            .iter_mut()
            .for_each(|frame| frame.dts = frame.dts - start);
    }
    Ok(movie)
}

/// The `moov` box with its head, among the boxes of the file (4.2).
fn find_moov(file: &Bytes) -> Result<Bytes, Error> {
    let mut rest = file.clone();
    while rest.len() >= 8 {
        let mut head = rest.clone();
        let short = head.get_u32();
        let kind = head.get_u32().to_be_bytes();
        let size = match short {
            0 => rest.len() as u64,
            1 => head.try_get_u64().map_err(|_| Error::Index("box head"))?,
            size => u64::from(size),
        };
        let size = usize::try_from(size).map_err(|_| Error::Index("box size"))?;
        if size < 8 || size > rest.len() {
            return Err(Error::Index("box size"));
        }
        let whole = rest.split_to(size);
        if &kind == b"moov" {
            return Ok(whole);
        }
    }
    Err(Error::NotProgressive("no moov box"))
}

/// One track, with what is needed to read its tables.
struct Track<'a> {
    trak: &'a Trak,
    movie_scale: u32,
    config: &'a TrackConfig,
}

impl Track<'_> {
    fn frames(&self, file: &Bytes) -> Result<Vec<Frame>, Error> {
        let table = self.table();
        let sizes = sizes(&table.stsz.samples)?;
        let payloads = self.payloads(file, &sizes)?;
        let scale = self.trak.mdia.mdhd.timescale;
        let shift = self.shift(scale)?;
        let times = table
            .stts
            .entries
            .iter()
            .map(|run| (run.sample_count, run.sample_delta));
        let mut deltas = unroll(times).chain(std::iter::repeat(0));
        let offsets = table.ctts.iter().flat_map(|table| &table.entries);
        let offsets = offsets.map(|run| (run.sample_count, run.sample_offset));
        let mut offsets = unroll(offsets).chain(std::iter::repeat(0));
        let sync = table.stss.as_ref().map(|table| &table.entries);
        let mut ticks = 0;
        let mut frames = Vec::with_capacity(payloads.len());
        for (number, payload) in (1..).zip(payloads) {
            let delta = i64::from(deltas.next().unwrap_or(0));
            let offset: i64 = offsets.next().unwrap_or(0);
            let key = sync.is_none_or(|sync| sync.binary_search(&number).is_ok());
            let dts = micros(ticks, scale);
            frames.push(Frame {
                track: self.config.id,
                kind: self.kind(&payload, key),
                dts: dts + shift,
                cts: micros(ticks + offset, scale) - dts,
                duration: (delta > 0).then(|| micros(ticks + delta, scale) - dts),
                payload,
            });
            ticks += delta;
        }
        Ok(frames)
    }

    fn kind(&self, payload: &[u8], sync: bool) -> Kind {
        let container = if sync { Kind::Key } else { Kind::Reference };
        self.config.codec.kind(payload, container)
    }

    /// Each sample's bytes, found through its chunk (8.7.4, 8.7.5).
    fn payloads(&self, file: &Bytes, sizes: &[u32]) -> Result<Vec<Bytes>, Error> {
        let table = self.table();
        let mut sizes = sizes.iter();
        let mut payloads = Vec::with_capacity(sizes.len());
        for (offset, count) in self
            .chunk_offsets()
            .zip(samples_per_chunk(&table.stsc.entries))
        {
            let mut at = usize::try_from(offset).map_err(|_| OUTSIDE)?;
            for &size in sizes.by_ref().take(count as usize) {
                let size = size as usize;
                if size > Frame::MAX_PAYLOAD {
                    return Err(Error::Index("a sample is too large"));
                }
                let end = at
                    .checked_add(size)
                    .filter(|end| *end <= file.len())
                    .ok_or(OUTSIDE)?;
                payloads.push(file.slice(at..end));
                at = end;
            }
        }
        if sizes.len() > 0 {
            return Err(Error::Index("samples without a chunk"));
        }
        Ok(payloads)
    }

    fn chunk_offsets(&self) -> impl Iterator<Item = u64> {
        let table = self.table();
        let short = table
            .stco
            .iter()
            .flat_map(|table| &table.entries)
            .map(|&at| u64::from(at));
        let long = table.co64.iter().flat_map(|table| &table.entries).copied();
        short.chain(long)
    }

    /// What the edit list (8.6.6) adds to each time: an empty
    /// edit delays, a later start of the media advances.
    fn shift(&self, scale: u32) -> Result<Timestamp, Error> {
        if scale == 0 || self.movie_scale == 0 {
            return Err(Error::Index("a time scale of 0"));
        }
        let Some(Edts { elst: Some(list) }) = &self.trak.edts else {
            return Ok(Timestamp::ZERO);
        };
        let mut shift = Timestamp::ZERO;
        for edit in &list.entries {
            match edit.media_time {
                None => shift += micros(clamp(edit.segment_duration), self.movie_scale),
                Some(start) => return Ok(shift - micros(clamp(start), scale)),
            }
        }
        Ok(shift)
    }

    /// Mean pictures a second.
    fn frame_rate(&self) -> Option<f64> {
        let runs = || self.table().stts.entries.iter();
        let count: f64 = runs().map(|run| f64::from(run.sample_count)).sum();
        let ticks: f64 = runs()
            .map(|run| f64::from(run.sample_count) * f64::from(run.sample_delta))
            .sum();
        crate::codec::sane_frame_rate(count * f64::from(self.trak.mdia.mdhd.timescale) / ticks)
    }

    fn table(&self) -> &Stbl {
        &self.trak.mdia.minf.stbl
    }
}

fn sizes(samples: &StszSamples) -> Result<Vec<u32>, Error> {
    let sizes = match samples {
        StszSamples::Different { sizes } if sizes.len() <= MAX_SAMPLES => sizes.clone(),
        StszSamples::Identical { count, size } if *count as usize <= MAX_SAMPLES => {
            vec![*size; *count as usize]
        }
        _ => return Err(Error::Index("too many samples")),
    };
    Ok(sizes)
}

/// The number of samples of chunk 1, 2, 3 and so on;
/// each entry rules up to the next one's first chunk.
fn samples_per_chunk(entries: &[StscEntry]) -> impl Iterator<Item = u32> {
    let mut entries = entries.iter().peekable();
    let mut count = 0;
    (1..u32::MAX).map(move |chunk| {
        while let Some(entry) = entries.next_if(|entry| entry.first_chunk <= chunk) {
            count = entry.samples_per_chunk;
        }
        count
    })
}

/// A run-length coded table, one value per sample.
fn unroll<T: Copy>(runs: impl Iterator<Item = (u32, T)>) -> impl Iterator<Item = T> {
    runs.flat_map(|(count, value)| std::iter::repeat_n(value, count as usize))
}

/// Ticks of a clock to microseconds, rounded to the nearest.
fn micros(ticks: i64, scale: u32) -> Timestamp {
    let scale = i128::from(scale);
    let us = (i128::from(ticks) * 1_000_000 + scale / 2).div_euclid(scale);
    Timestamp::from_micros(us.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Three hours of video at 90 frames a second: a clip,
/// and a bound on what a hostile index unfolds to.
const MAX_SAMPLES: usize = 1 << 20;

const OUTSIDE: Error = Error::Index("a sample lies outside the file");
