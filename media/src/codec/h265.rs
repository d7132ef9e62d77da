//! H.265: hvcC (ISO 14496-15 8.3.3), sequence parameter
//! sets (H.265 7.3.2.2) and NAL headers (7.3.1.2).
//!
//! Disposability assumes a stream of one temporal layer,
//! which is what encoders make unless told otherwise.

use super::bits::{Bits, nal_units, unescape};
use super::{Error, Info};
use crate::frame::Kind;
use std::fmt::Write;

/// Reads an hvcC record: profile, tier and level from its
/// head, the size from its first sequence parameter set.
pub(super) fn info(record: &[u8]) -> Result<Info, Error> {
    let (head, arrays) = record.split_first_chunk::<HEAD>().ok_or(Error::Truncated)?;
    if head[0] != 1 {
        return Err(Error::Invalid("hvcC version is not 1"));
    }
    let sps = find_sps(arrays, head[22])?;
    let (width, height) = size(sps)?;
    Ok(Info {
        codec_string: codec_string(head),
        width,
        height,
        ..Info::default()
    })
}

/// An IRAP picture is a key frame; a sub-layer non-reference
/// picture (7.4.2.2, table 7-1) is referred to by none.
pub(super) fn kind(payload: &[u8], container: Kind) -> Kind {
    if container == Kind::Key {
        return container;
    }
    let types = nal_units(payload)
        .filter_map(|nal| nal.first())
        .map(|head| head >> 1 & 0x3F);
    match types.filter(|&kind| kind < 32).max() {
        Some(16..=23) => Kind::Key,
        Some(kind) if kind < 16 && kind % 2 == 0 => Kind::Disposable,
        _ => container,
    }
}

/// ISO 14496-15 annex E.3: profile space and id, compatibility
/// flags in reverse, tier and level, constraint bytes.
fn codec_string(head: &[u8; HEAD]) -> String {
    let space = ["", "A", "B", "C"][usize::from(head[1] >> 6)];
    let tier = if head[1] & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = u32::from_be_bytes([head[2], head[3], head[4], head[5]]).reverse_bits();
    let mut out = format!(
        "hvc1.{space}{}.{compatibility:X}.{tier}{}",
        head[1] & 0x1F,
        head[12]
    );
    let constraints = &head[6..12];
    let used = constraints
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        write!(out, ".{byte:X}").expect("writing to a String cannot fail");
    }
    out
}

fn find_sps(mut arrays: &[u8], count: u8) -> Result<&[u8], Error> {
    for _ in 0..count {
        let [kind, high, low, rest @ ..] = arrays else {
            return Err(Error::Truncated);
        };
        arrays = rest;
        for _ in 0..u16::from_be_bytes([*high, *low]) {
            let (length, rest) = arrays.split_first_chunk::<2>().ok_or(Error::Truncated)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (nal, rest) = rest.split_at_checked(length).ok_or(Error::Truncated)?;
            if kind & 0x3F == SPS {
                return Ok(nal);
            }
            arrays = rest;
        }
    }
    Err(Error::Invalid("hvcC has no sequence parameter set"))
}

/// Width and height after the conformance window, of a sequence parameter set NAL unit.
fn size(nal: &[u8]) -> Result<(u32, u32), Error> {
    let rbsp = unescape(nal);
    let mut bits = Bits::new(&rbsp);
    bits.skip(16 + 4)?; // NAL header, sps_video_parameter_set_id
    let sub_layers = bits.read(3)? as usize;
    bits.skip(1)?; // sps_temporal_id_nesting_flag
    skip_profile_tier_level(&mut bits, sub_layers)?;
    bits.ue()?; // sps_seq_parameter_set_id
    let chroma = bits.ue()?;
    let separate = chroma == 3 && bits.bit()?;
    let width = u64::from(bits.ue()?);
    let height = u64::from(bits.ue()?);
    let [left, right, top, bottom] = if bits.bit()? {
        [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?].map(u64::from)
    } else {
        [0; 4]
    };
    // Table 6-1: SubWidthC and SubHeightC.
    let unit_x = if !separate && matches!(chroma, 1 | 2) {
        2
    } else {
        1
    };
    let unit_y = if !separate && chroma == 1 { 2 } else { 1 };
    let width = width.checked_sub((left + right) * unit_x);
    let height = height.checked_sub((top + bottom) * unit_y);
    super::picture_size(width, height)
}

/// 7.3.3: 88 bits of profile and 8 of level, then the same for each sub-layer that says so.
fn skip_profile_tier_level(bits: &mut Bits<'_>, sub_layers: usize) -> Result<(), Error> {
    bits.skip(88 + 8)?;
    if sub_layers == 0 {
        return Ok(());
    }
    let flags = bits.read(16)?; // two for each of eight sub-layers, unused ones reserved
    for layer in 0..sub_layers {
        let shift = 14 - 2 * layer;
        bits.skip(if flags >> shift & 2 != 0 { 88 } else { 0 })?;
        bits.skip(if flags >> shift & 1 != 0 { 8 } else { 0 })?;
    }
    Ok(())
}

/// Bytes of hvcC before its arrays.
const HEAD: usize = 23;

/// `nal_unit_type` SPS_NUT.
const SPS: u8 = 33;
