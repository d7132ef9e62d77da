//! `onMetaData`, read and written.
//!
//! What encoders write there is a hint at best: values that no real source could have are dropped,
//! and the configuration records rule where both speak.

use super::Hevc;
use crate::amf::Value;
use crate::codec::{Catalog, Codec, sane_frame_rate};

/// The hints of `onMetaData` that are worth keeping; each is there only if it is believable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Width of the picture.
    pub width: Option<u32>,
    /// Height of the picture.
    pub height: Option<u32>,
    /// Pictures a second.
    pub frame_rate: Option<f64>,
    /// Whether there will be pictures.
    pub has_video: Option<bool>,
    /// Whether there will be sound.
    pub has_audio: Option<bool>,
    /// The program that made the stream.
    pub encoder: Option<String>,
}

impl Metadata {
    /// Reads the object or array that follows the name.
    ///
    /// Encoders that name any codec name those of all tracks,
    /// so that a missing name then means a missing track.
    pub(super) fn read(value: &Value) -> Self {
        let presence = |flag: &str, codec: &str, other: &str| match value.get(flag) {
            Some(Value::Boolean(present)) => Some(*present),
            _ if value.get(codec).is_some() => Some(true),
            _ if value.get(other).is_some() => Some(false),
            _ => None,
        };
        Self {
            width: dimension(value.get("width")),
            height: dimension(value.get("height")),
            frame_rate: value
                .get("framerate")
                .and_then(Value::as_f64)
                .and_then(sane_frame_rate),
            has_video: presence("hasVideo", VIDEO_CODEC, AUDIO_CODEC),
            has_audio: presence("hasAudio", AUDIO_CODEC, VIDEO_CODEC),
            encoder: value
                .get("encoder")
                .and_then(Value::as_str)
                .map(str::to_owned),
        }
    }
}

/// The array that follows the name, for these tracks.
pub(super) fn describe(catalog: &Catalog, hevc: Hevc) -> Value {
    let mut members: Vec<(String, Value)> = Vec::new();
    let mut put = |name: &str, value: Value| members.push((name.to_owned(), value));
    if let Some(video) = catalog.video() {
        let info = video.info().unwrap_or_default();
        if info.width > 0 && info.height > 0 {
            put("width", f64::from(info.width).into());
            put("height", f64::from(info.height).into());
        }
        if let Some(rate) = catalog.frame_rate {
            put("framerate", rate.into());
        }
        put(VIDEO_CODEC, codec_number(video.codec, hevc).into());
    }
    if let Some(audio) = catalog.audio() {
        let info = audio.info().unwrap_or_default();
        if info.sample_rate > 0 {
            put("audiosamplerate", f64::from(info.sample_rate).into());
            put("stereo", (info.channels == 2).into());
        }
        put(AUDIO_CODEC, codec_number(audio.codec, hevc).into());
    }
    put("encoder", "Weir".into());
    Value::EcmaArray(members)
}

/// The legacy id where the track is written the legacy way,
/// else the FourCC as a number (Enhanced RTMP, "Metadata").
fn codec_number(codec: Codec, hevc: Hevc) -> f64 {
    match super::tag::legacy_id(codec, hevc) {
        Some(id) => f64::from(id),
        None => f64::from(u32::from_be_bytes(codec.fourcc())),
    }
}

/// A picture side between one sample and what the codecs can describe.
fn dimension(value: Option<&Value>) -> Option<u32> {
    let side = value?.as_f64()?;
    (1.0..=65536.0).contains(&side).then_some(side as u32)
}

const VIDEO_CODEC: &str = "videocodecid";
const AUDIO_CODEC: &str = "audiocodecid";
