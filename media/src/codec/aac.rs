//! AAC: AudioSpecificConfig (ISO 14496-3 1.6.2.1).

use super::bits::Bits;
use super::{Error, Info};

/// Reads object type, sampling rate and channels.
///
/// With explicit SBR or PS signalling the rate is the extension's, which is what is played.
pub(super) fn info(record: &[u8]) -> Result<Info, Error> {
    let mut bits = Bits::new(record);
    let object_type = object_type(&mut bits)?;
    let mut sample_rate = sampling_rate(&mut bits)?;
    let channels = channels(bits.read(4)?)?;
    if matches!(object_type, SBR | PS) {
        sample_rate = sampling_rate(&mut bits)?;
    }
    let codec_string = format!("mp4a.40.{object_type}");
    Ok(Info {
        codec_string,
        sample_rate,
        channels,
        ..Info::default()
    })
}

/// Samples of a packet at the rate that is played (ISO 14496-3 4.4.1, 4.6.18.2.5): the core's, twice
/// as many under explicit SBR.
pub(super) fn samples(record: &[u8]) -> Result<u32, Error> {
    let mut bits = Bits::new(record);
    let mut object = object_type(&mut bits)?;
    let core = sampling_rate(&mut bits)?;
    let mut played = core;
    channels(bits.read(4)?)?;
    if matches!(object, SBR | PS) {
        played = sampling_rate(&mut bits)?;
        object = object_type(&mut bits)?;
    }
    // Encoders may leave the rest out when it is all zeros.
    let short = bits.bit().unwrap_or(false);
    let samples = match (object, short) {
        (LOW_DELAY | ENHANCED_LOW_DELAY, false) => 512,
        (LOW_DELAY | ENHANCED_LOW_DELAY, true) => 480,
        (_, false) => 1024,
        (_, true) => 960,
    };
    Ok(if played > core { 2 * samples } else { samples })
}

fn object_type(bits: &mut Bits<'_>) -> Result<u32, Error> {
    match bits.read(5)? {
        0 => Err(Error::Invalid("AAC object type 0")),
        31 => Ok(32 + bits.read(6)?),
        value => Ok(value),
    }
}

fn sampling_rate(bits: &mut Bits<'_>) -> Result<u32, Error> {
    let rate = match bits.read(4)? as usize {
        15 => bits.read(24)?,
        index => *RATES
            .get(index)
            .ok_or(Error::Invalid("AAC sampling frequency index"))?,
    };
    if rate == 0 {
        Err(Error::Invalid("AAC sampling frequency 0"))
    } else {
        Ok(rate)
    }
}

/// Table 1.19; 0 means that a program config element says it, which is left unread.
fn channels(configuration: u32) -> Result<u32, Error> {
    match configuration {
        0..=6 => Ok(configuration),
        7 | 12 | 14 => Ok(8),
        11 => Ok(7),
        13 => Ok(24),
        _ => Err(Error::Invalid("AAC channel configuration")),
    }
}

/// Table 1.18.
const RATES: [u32; 13] = [
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
];

/// Object type of explicit spectral band replication.
const SBR: u32 = 5;

/// Object type of AAC-LD.
const LOW_DELAY: u32 = 23;

/// Object type of AAC-ELD.
const ENHANCED_LOW_DELAY: u32 = 39;

/// Object type of explicit parametric stereo.
const PS: u32 = 29;
