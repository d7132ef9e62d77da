//! The tracks of a stream, as one bounded blob that travels with each group.

use super::{Codec, Error, TrackConfig};
use crate::frame::TrackId;
use bytes::{Buf, BufMut};

/// Every track of a stream, and what is known of the whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// The tracks, at most one of each id.
    pub tracks: Vec<TrackConfig>,
    /// Pictures a second, when the source says so.
    pub frame_rate: Option<f64>,
}

impl Catalog {
    /// The most tracks that are taken: a video and an audio track, with room for renditions.
    pub const MAX_TRACKS: usize = 16;

    /// The track of this id.
    pub fn track(&self, id: TrackId) -> Option<&TrackConfig> {
        self.tracks.iter().find(|track| track.id == id)
    }

    /// The video track.
    pub fn video(&self) -> Option<&TrackConfig> {
        self.track(TrackId::VIDEO)
    }

    /// The audio track.
    pub fn audio(&self) -> Option<&TrackConfig> {
        self.track(TrackId::AUDIO)
    }

    /// The track whose frames open groups and cut segments: video, else audio.
    pub fn leading(&self) -> TrackId {
        match self.video() {
            Some(_) => TrackId::VIDEO,
            None => TrackId::AUDIO,
        }
    }

    /// Puts a track in place of the one with its id; true when that changed anything.
    pub fn set(&mut self, config: TrackConfig) -> bool {
        match self.tracks.iter_mut().find(|track| track.id == config.id) {
            Some(track) if *track == config => return false,
            Some(track) => *track = config,
            None => self.tracks.push(config),
        }
        true
    }

    /// Appends: frame rate `f64` (0 = unknown), count `u8`,
    /// then per track id `u8`, FourCC, length `u16`, record.
    ///
    /// Tracks beyond `MAX_TRACKS` and records beyond `MAX_RECORD` are a bug of the caller.
    pub fn encode(&self, buf: &mut impl BufMut) {
        debug_assert!(self.tracks.len() <= Self::MAX_TRACKS);
        buf.put_f64(self.frame_rate.unwrap_or(0.0));
        buf.put_u8(self.tracks.len() as u8);
        for track in &self.tracks {
            debug_assert!(track.record.len() <= TrackConfig::MAX_RECORD);
            buf.put_u8(track.id.0);
            buf.put_slice(&track.codec.fourcc());
            buf.put_u16(track.record.len() as u16);
            buf.put_slice(&track.record);
        }
    }

    /// Reads what `encode` wrote and leaves the rest of
    /// the buffer; memory is bounded by the two constants.
    pub fn decode(buf: &mut impl Buf) -> Result<Self, Error> {
        let frame_rate = buf.try_get_f64().map_err(|_| Error::Truncated)?;
        let count = usize::from(buf.try_get_u8().map_err(|_| Error::Truncated)?);
        if count > Self::MAX_TRACKS {
            return Err(Error::TooLarge("tracks"));
        }
        let mut catalog = Self {
            tracks: Vec::new(),
            frame_rate: sane_frame_rate(frame_rate),
        };
        for _ in 0..count {
            let track = decode_track(buf)?;
            if catalog.track(track.id).is_some() {
                return Err(Error::Invalid("two tracks of one id"));
            }
            catalog.tracks.push(track);
        }
        Ok(catalog)
    }
}

fn decode_track(buf: &mut impl Buf) -> Result<TrackConfig, Error> {
    let id = TrackId(buf.try_get_u8().map_err(|_| Error::Truncated)?);
    let mut fourcc = [0; 4];
    buf.try_copy_to_slice(&mut fourcc)
        .map_err(|_| Error::Truncated)?;
    let codec = Codec::from_fourcc(fourcc).ok_or(Error::Invalid("unknown codec"))?;
    let length = usize::from(buf.try_get_u16().map_err(|_| Error::Truncated)?);
    if length > TrackConfig::MAX_RECORD {
        return Err(Error::TooLarge("record"));
    }
    if buf.remaining() < length {
        return Err(Error::Truncated);
    }
    Ok(TrackConfig {
        id,
        codec,
        record: buf.copy_to_bytes(length),
    })
}

/// A frame rate that a real source could have; metadata is full of zeros, NaN and 1e300.
pub(crate) fn sane_frame_rate(value: f64) -> Option<f64> {
    (value > 0.0 && value <= MAX_FRAME_RATE).then_some(value)
}

/// Above any camera's rate; some encoders write their time base (90000) in its place.
const MAX_FRAME_RATE: f64 = 1000.0;
