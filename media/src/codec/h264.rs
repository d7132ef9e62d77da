//! H.264: avcC (ISO 14496-15 5.3.3), sequence parameter
//! sets (H.264 7.3.2.1.1) and NAL headers (7.3.1).

use super::bits::{Bits, nal_units, unescape};
use super::{Error, Info};
use crate::frame::Kind;

/// Reads an avcC record: profile and level from its
/// head, the size from its first sequence parameter set.
pub(super) fn info(record: &[u8]) -> Result<Info, Error> {
    let [version, profile, compatibility, level, _, sets, rest @ ..] = record else {
        return Err(Error::Truncated);
    };
    if *version != 1 {
        return Err(Error::Invalid("avcC version is not 1"));
    }
    if sets & 0x1F == 0 {
        return Err(Error::Invalid("avcC has no sequence parameter set"));
    }
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(Error::Truncated)?;
    let sps = rest
        .get(..usize::from(u16::from_be_bytes(*length)))
        .ok_or(Error::Truncated)?;
    let (width, height) = size(sps)?;
    let codec_string = format!("avc1.{profile:02X}{compatibility:02X}{level:02X}");
    Ok(Info {
        codec_string,
        width,
        height,
        ..Info::default()
    })
}

/// An IDR slice makes a key frame; a picture whose slices
/// all have `nal_ref_idc` 0 is referred to by none.
pub(super) fn kind(payload: &[u8], container: Kind) -> Kind {
    if container == Kind::Key {
        return container;
    }
    let heads = nal_units(payload).filter_map(|nal| nal.first());
    let mut disposable = None;
    for head in heads.filter(|&head| (1..=5).contains(&(head & 0x1F))) {
        if head & 0x1F == 5 {
            return Kind::Key;
        }
        disposable = Some(disposable.unwrap_or(true) && head & 0x60 == 0);
    }
    if disposable == Some(true) {
        Kind::Disposable
    } else {
        container
    }
}

/// Width and height after cropping, of a sequence parameter set NAL unit.
fn size(nal: &[u8]) -> Result<(u32, u32), Error> {
    let rbsp = unescape(nal);
    let mut bits = Bits::new(&rbsp);
    bits.skip(8)?;
    let profile = bits.read(8)?;
    bits.skip(16)?;
    bits.ue()?; // seq_parameter_set_id
    let chroma = if HIGH_PROFILES.contains(&profile) {
        chroma_format(&mut bits)?
    } else {
        1
    };
    bits.ue()?; // log2_max_frame_num_minus4
    skip_picture_order(&mut bits)?;
    bits.ue()?; // max_num_ref_frames
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let width_in_mbs = u64::from(bits.ue()?) + 1;
    let height_in_map_units = u64::from(bits.ue()?) + 1;
    let frame_mbs_only = bits.bit()?;
    if !frame_mbs_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    let [left, right, top, bottom] = if bits.bit()? {
        [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?].map(u64::from)
    } else {
        [0; 4]
    };
    // Equations 7-19 to 7-22: offsets are in chroma
    // samples, and in field lines for interlaced video.
    let fields = if frame_mbs_only { 1 } else { 2 };
    let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma == 1 { 2 } else { 1 } * fields;
    let width = (width_in_mbs * 16).checked_sub((left + right) * unit_x);
    let height = (height_in_map_units * 16 * fields).checked_sub((top + bottom) * unit_y);
    super::picture_size(width, height)
}

/// `chroma_format_idc`, past the bit depths and scaling
/// lists that follow it; 0 also for three separate planes.
fn chroma_format(bits: &mut Bits<'_>) -> Result<u32, Error> {
    let chroma = bits.ue()?;
    let separate = chroma == 3 && bits.bit()?;
    bits.ue()?; // bit_depth_luma_minus8
    bits.ue()?; // bit_depth_chroma_minus8
    bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
    if bits.bit()? {
        for list in 0..if chroma == 3 { 12 } else { 8 } {
            if bits.bit()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok(if separate { 0 } else { chroma })
}

/// 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, size: usize) -> Result<(), Error> {
    let mut last = 8;
    for _ in 0..size {
        let next = (last + i64::from(bits.se()?)).rem_euclid(256);
        if next == 0 {
            break;
        }
        last = next;
    }
    Ok(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Result<(), Error> {
    match bits.ue()? {
        0 => {
            bits.ue()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.se()?; // offset_for_non_ref_pic
            bits.se()?; // offset_for_top_to_bottom_field
            let cycle = bits.ue()?;
            if cycle > 255 {
                return Err(Error::Invalid("picture order cycle is too long"));
            }
            for _ in 0..cycle {
                bits.se()?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Profiles whose parameter sets say the chroma format (7.3.2.1.1).
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
