//! Opus: the identification header (RFC 7845 5.1), which Enhanced RTMP uses as its sequence header.

use super::{Error, Info};

/// Reads the channel count; Opus always plays at 48 kHz.
pub(super) fn info(record: &[u8]) -> Result<Info, Error> {
    let body = record
        .strip_prefix(b"OpusHead")
        .ok_or(Error::Invalid("no OpusHead magic"))?;
    let [version, channels, _, _, ..] = body else {
        return Err(Error::Truncated);
    };
    if body.len() < LENGTH {
        return Err(Error::Truncated);
    }
    if version >> 4 != 0 || *channels == 0 {
        return Err(Error::Invalid("OpusHead version or channels"));
    }
    let channels = u32::from(*channels);
    Ok(Info {
        codec_string: "opus".into(),
        sample_rate: 48000,
        channels,
        ..Info::default()
    })
}

/// Samples of a packet at 48 kHz (RFC 6716 3.1, 3.2); none in an empty or malformed one.
pub(super) fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        silk @ 0..12 => [480, 960, 1920, 2880][usize::from(silk % 4)],
        hybrid @ 12..16 => [480, 960][usize::from(hybrid % 2)],
        celt => [120, 240, 480, 960][usize::from(celt % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 63),
    };
    let samples = frame * frames;
    (1..=LONGEST).contains(&samples).then_some(samples)
}

/// Samples of the longest packet, 120 ms.
const LONGEST: u32 = 5760;

/// Bytes after the magic: version, channels, pre-skip, input rate, gain, mapping family.
const LENGTH: usize = 11;
