//! AV1: av1C (AV1 in ISOBMFF 2.3.3) and the sequence header OBU in it (AV1 5.3 and 5.5).

use super::bits::Bits;
use super::{Error, Info};

/// Reads an av1C record: profile, level and depth from its
/// head, the size from the sequence header in `configOBUs`.
///
/// The sequence header may be missing there; the size
/// is then 0 and known from the first frame only.
pub(super) fn info(record: &[u8]) -> Result<Info, Error> {
    let [marker, profile_level, flags, _, obus @ ..] = record else {
        return Err(Error::Truncated);
    };
    if *marker != 0x81 {
        return Err(Error::Invalid("av1C marker or version"));
    }
    let (profile, level) = (profile_level >> 5, profile_level & 0x1F);
    let tier = if flags & 0x80 == 0 { 'M' } else { 'H' };
    let depth = match (flags & 0x40 != 0, flags & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    let (width, height) = sequence_header(obus)?.map_or(Ok((0, 0)), size)?;
    let codec_string = format!("av01.{profile}.{level:02}{tier}.{depth:02}");
    Ok(Info {
        codec_string,
        width,
        height,
        ..Info::default()
    })
}

/// The payload of the first sequence header OBU (5.3.1, 5.3.2).
fn sequence_header(mut obus: &[u8]) -> Result<Option<&[u8]>, Error> {
    while let Some((&header, rest)) = obus.split_first() {
        let extension = usize::from(header >> 2 & 1);
        let rest = rest.get(extension..).ok_or(Error::Truncated)?;
        let (length, rest) = if header & 2 != 0 {
            leb128(rest)?
        } else {
            (rest.len(), rest)
        };
        let (payload, rest) = rest.split_at_checked(length).ok_or(Error::Truncated)?;
        if header >> 3 & 0xF == SEQUENCE_HEADER {
            return Ok(Some(payload));
        }
        obus = rest;
    }
    Ok(None)
}

/// leb128(), 4.10.5: at most eight bytes.
fn leb128(data: &[u8]) -> Result<(usize, &[u8]), Error> {
    let mut value = 0u64;
    for (index, &byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let value = usize::try_from(value).map_err(|_| Error::Invalid("OBU size"))?;
            return Ok((value, &data[index + 1..]));
        }
    }
    Err(Error::Truncated)
}

/// `max_frame_width_minus_1` and its sister (5.5.1), past everything that stands before them.
fn size(payload: &[u8]) -> Result<(u32, u32), Error> {
    let mut bits = Bits::new(payload);
    bits.skip(3 + 1)?; // seq_profile, still_picture
    if bits.bit()? {
        bits.skip(5)?; // reduced_still_picture_header: seq_level_idx[0] alone
    } else {
        skip_operating_points(&mut bits)?;
    }
    let width_bits = bits.read(4)? + 1;
    let height_bits = bits.read(4)? + 1;
    Ok((bits.read(width_bits)? + 1, bits.read(height_bits)? + 1))
}

fn skip_operating_points(bits: &mut Bits<'_>) -> Result<(), Error> {
    let mut decoder_model = None;
    if bits.bit()? {
        bits.skip(32 + 32)?; // num_units_in_display_tick, time_scale
        if bits.bit()? {
            bits.ue()?; // num_ticks_per_picture_minus_1, uvlc() has the shape of ue(v)
        }
        if bits.bit()? {
            decoder_model = Some(bits.read(5)? as usize + 1); // buffer_delay_length_minus_1
            bits.skip(32 + 5 + 5)?;
        }
    }
    let initial_display_delay = bits.bit()?;
    let points = bits.read(5)? + 1;
    for _ in 0..points {
        bits.skip(12)?; // operating_point_idc
        let level = bits.read(5)?;
        bits.skip(usize::from(level > 7))?; // seq_tier
        if let Some(delay_bits) = decoder_model
            && bits.bit()?
        {
            bits.skip(2 * delay_bits + 1)?; // operating_parameters_info(), 5.5.5
        }
        if initial_display_delay && bits.bit()? {
            bits.skip(4)?;
        }
    }
    Ok(())
}

/// `obu_type` OBU_SEQUENCE_HEADER.
const SEQUENCE_HEADER: u8 = 1;
