//! Sample entries: a configuration record in the box of its codec, and out of it.
//!
//! H.264, H.265: ISO 14496-15. AV1: AV1 in ISOBMFF. AAC: ISO 14496-14. Opus: Opus in ISOBMFF 4.3.

use super::Error;
use crate::codec::{Codec, Info, TrackConfig};
use bytes::{Buf, BufMut, Bytes};
use mp4_atom::{Atom, Codec as Entry, esds};

/// The track that a sample entry describes; none if its codec cannot be carried.
pub(super) fn read(entry: &Entry) -> Result<Option<TrackConfig>, Error> {
    let (codec, record) = match entry {
        Entry::Avc1(avc1) if avc1.avcc.length_size == 4 => (Codec::H264, body(&avc1.avcc)?),
        Entry::Hvc1(hvc1) if hvc1.hvcc.length_size_minus_one == 3 => {
            (Codec::H265, body(&hvc1.hvcc)?)
        }
        Entry::Hev1(hev1) if hev1.hvcc.length_size_minus_one == 3 => {
            (Codec::H265, body(&hev1.hvcc)?)
        }
        Entry::Av01(av01) => (Codec::Av1, body(&av01.av1c)?),
        Entry::Opus(opus) => (Codec::Opus, opus_head(body(&opus.dops)?)?),
        Entry::Mp4a(mp4a) if mp4a.esds.es_desc.dec_config.object_type_indication == AAC => {
            let specific = mp4a.esds.es_desc.dec_config.dec_specific.as_ref();
            (
                Codec::Aac,
                specific
                    .map(|specific| specific.raw.clone())
                    .unwrap_or_default(),
            )
        }
        _ => return Ok(None),
    };
    if record.len() > TrackConfig::MAX_RECORD {
        return Err(Error::Index("configuration record is too large"));
    }
    Ok(Some(TrackConfig::new(codec, record.into())))
}

/// The sample entry of a track.
pub(super) fn write(track: &TrackConfig) -> Result<Entry, Error> {
    let info = track.info()?;
    let record = &mut &track.record[..];
    Ok(match track.codec {
        Codec::H264 => Entry::Avc1(mp4_atom::Avc1 {
            visual: visual(&info),
            avcc: mp4_atom::Avcc::decode_body(record)?,
            ..Default::default()
        }),
        Codec::H265 => Entry::Hvc1(mp4_atom::Hvc1 {
            visual: visual(&info),
            hvcc: mp4_atom::Hvcc::decode_body(record)?,
            ..Default::default()
        }),
        Codec::Av1 => Entry::Av01(mp4_atom::Av01 {
            visual: visual(&info),
            av1c: mp4_atom::Av1c::decode_body(record)?,
            ..Default::default()
        }),
        Codec::Opus => Entry::Opus(mp4_atom::Opus {
            audio: audio(&info),
            dops: mp4_atom::Dops::decode_body(&mut &opus_box(&track.record)[..])?,
            btrt: None,
        }),
        Codec::Aac => Entry::Mp4a(mp4_atom::Mp4a {
            audio: audio(&info),
            esds: elementary_stream(&track.record),
            btrt: None,
            taic: None,
        }),
        codec => return Err(Error::Codec(codec)),
    })
}

/// A box without its head.
fn body(atom: &impl Atom) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    atom.encode_body(&mut out)?;
    Ok(out)
}

/// dOps to the identification header of RFC 7845: the
/// same fields in the other byte order, and version 1.
fn opus_head(dops: Vec<u8>) -> Result<Vec<u8>, Error> {
    let mut dops = Bytes::from(dops);
    if dops.len() < OPUS_FIXED {
        return Err(Error::Index("dOps is too short"));
    }
    dops.advance(1); // version 0
    let mut out = b"OpusHead\x01".to_vec();
    out.put_u8(dops.get_u8()); // channels
    out.put_u16_le(dops.get_u16()); // pre-skip
    out.put_u32_le(dops.get_u32()); // input sample rate
    out.put_i16_le(dops.get_i16()); // gain
    out.put(dops); // mapping family and table
    Ok(out)
}

/// The identification header, which `info` has found complete, to dOps.
fn opus_box(head: &Bytes) -> Vec<u8> {
    let mut head = head.slice(b"OpusHead\x01".len()..);
    let mut out = vec![0]; // version
    out.put_u8(head.get_u8());
    out.put_u16(head.get_u16_le());
    out.put_u32(head.get_u32_le());
    out.put_i16(head.get_i16_le());
    out.put(head);
    out
}

fn visual(info: &Info) -> mp4_atom::Visual {
    mp4_atom::Visual {
        data_reference_index: 1,
        width: info.width.try_into().unwrap_or(u16::MAX),
        height: info.height.try_into().unwrap_or(u16::MAX),
        ..Default::default()
    }
}

fn audio(info: &Info) -> mp4_atom::Audio {
    mp4_atom::Audio {
        data_reference_index: 1,
        channel_count: info.channels as u16,
        sample_size: 16,
        // The field has 16 bits; players take higher rates from the record.
        sample_rate: u16::try_from(info.sample_rate).unwrap_or(0).into(),
    }
}

fn elementary_stream(record: &Bytes) -> mp4_atom::Esds {
    let specific = esds::DecoderSpecific {
        raw: record.to_vec(),
        ..Default::default()
    };
    let dec_config = esds::DecoderConfig {
        object_type_indication: AAC,
        stream_type: AUDIO_STREAM,
        dec_specific: Some(specific),
        ..Default::default()
    };
    let es_desc = esds::EsDescriptor {
        es_id: 1,
        dec_config,
        ..Default::default()
    };
    mp4_atom::Esds { es_desc }
}

/// objectTypeIndication of MPEG-4 audio (ISO 14496-1 table 5).
const AAC: u8 = 0x40;

/// streamType of sound (ISO 14496-1 table 6).
const AUDIO_STREAM: u8 = 5;

/// Bytes of dOps up to the mapping family.
const OPUS_FIXED: usize = 11;
