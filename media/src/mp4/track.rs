//! What a track's description says in any MP4 file: its decoder, its clock, its picture's size.

use super::{Error, entry};
use crate::codec::TrackConfig;
use mp4_atom::{
    Dinf, Dref, DrefEntry, FourCC, Hdlr, Mdhd, Mdia, Minf, Smhd, Stbl, Stsd, Tkhd, Trak, Url, Vmhd,
};

/// The description of a track with this id, clock (ticks a second) and sample table; no edits, and
/// all durations 0.
pub(crate) fn describe(
    config: &TrackConfig,
    track_id: u32,
    timescale: u32,
    samples: Stbl,
) -> Result<Trak, Error> {
    let codecs = vec![entry::write(config)?];
    let info = config.info()?;
    let video = config.codec.is_video();
    let tkhd = Tkhd {
        track_id,
        enabled: true,
        in_movie: true,
        volume: u8::from(!video).into(),
        width: u16::try_from(info.width).unwrap_or(u16::MAX).into(),
        height: u16::try_from(info.height).unwrap_or(u16::MAX).into(),
        ..Default::default()
    };
    let (handler, name) = if video {
        (b"vide", "video")
    } else {
        (b"soun", "sound")
    };
    let hdlr = Hdlr {
        handler: FourCC::new(handler),
        name: name.into(),
    };
    let mdhd = Mdhd {
        timescale,
        language: "und".into(),
        ..Default::default()
    };
    let dref = Dref {
        entries: vec![DrefEntry::Url(Url::default())],
    };
    let minf = Minf {
        vmhd: video.then(Vmhd::default),
        smhd: (!video).then(Smhd::default),
        dinf: Dinf { dref },
        stbl: Stbl {
            stsd: Stsd { codecs },
            ..samples
        },
        ..Default::default()
    };
    Ok(Trak {
        tkhd,
        mdia: Mdia { mdhd, hdlr, minf },
        ..Default::default()
    })
}
