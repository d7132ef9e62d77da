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

/// Bytes after the magic: version, channels, pre-skip, input rate, gain, mapping family.
const LENGTH: usize = 11;
