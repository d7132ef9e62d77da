//! Sans-IO: made-up frames at a bitrate, where no clip is at hand or none has the right rate.
//!
//! They have the shape of H.264 and AAC, with NAL units and kinds of frames as an encoder makes
//! them, and noise inside: everything carries them, nothing decodes them.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use media::{
    codec::{Catalog, Codec, TrackConfig},
    frame::{Frame, Kind, TrackId},
    mp4::Movie,
    timestamp::Timestamp,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{str::FromStr, time::Duration};

/// Bits a second, written `500k` or `2M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let units = [("k", 1_000), ("M", 1_000_000)];
        let mut found = units.iter().filter_map(|(unit, scale)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*scale)
        });
        let bps = found.next().context("write it as `500k` or `2M`")?;
        ensure!((MIN_BPS..=MAX_BPS).contains(&bps), "from 64k to 400M");
        Ok(Self(bps))
    }
}

/// What is made up.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bits a second of pictures and sound together, stamps and framing not counted.
    pub rate: Rate,
    /// Pictures a second, 1 to 240.
    pub fps: u32,
    /// From one key frame to the next.
    pub gop: Duration,
}

/// Whole groups of [`LENGTH`] or a little more, to be sent round and round.
pub fn movie(shape: Shape) -> Result<Movie> {
    ensure!((1..=240).contains(&shape.fps), "--fps: 1 to 240");
    let per_gop = (shape.gop.as_secs_f64() * f64::from(shape.fps)).round() as u32;
    ensure!(
        per_gop >= 1 && shape.gop <= LENGTH,
        "--gop: from one picture to {} s",
        LENGTH.as_secs()
    );
    let groups = (LENGTH.as_secs_f64() / shape.gop.as_secs_f64()).ceil() as u32;
    let audio_bps = AUDIO_BPS.min(shape.rate.0 / 4);
    let bytes_per_gop = (shape.rate.0 - audio_bps) * u64::from(per_gop) / u64::from(8 * shape.fps);
    let unit = bytes_per_gop / u64::from(KEY_WEIGHT + per_gop - 1);
    ensure!(
        unit * u64::from(KEY_WEIGHT) <= Frame::MAX_PAYLOAD as u64,
        "a key frame of that rate is larger than {} MiB: make --gop shorter or --fps higher",
        Frame::MAX_PAYLOAD >> 20
    );
    let mut noise = SmallRng::seed_from_u64(SEED);
    let pictures = groups * per_gop;
    let mut frames: Vec<_> = (0..pictures)
        .map(|number| picture(number, shape.fps, per_gop, unit as usize, &mut noise))
        .collect();
    let end = micros(pictures, shape.fps);
    let packet = (audio_bps * AAC_SAMPLES / AAC_HZ / 8) as usize;
    let packets = (0..).map(|number| micros(number * AAC_SAMPLES as u32, AAC_HZ as u32));
    for dts in packets.take_while(|dts| *dts < end) {
        let duration = micros(AAC_SAMPLES as u32, AAC_HZ as u32).min(end - dts);
        let payload = random(packet, &mut noise).into();
        frames.push(frame(TrackId::AUDIO, Kind::Key, dts, duration, payload));
    }
    frames.sort_by_key(|frame| frame.dts);
    let mut catalog = Catalog {
        frame_rate: Some(f64::from(shape.fps)),
        ..Catalog::default()
    };
    catalog.set(TrackConfig::new(Codec::H264, Bytes::from_static(&AVCC)));
    catalog.set(TrackConfig::new(Codec::Aac, Bytes::from_static(&AAC_LC)));
    Ok(Movie { catalog, frames })
}

/// A key frame, or one of the others, of which every second is referred to by none.
fn picture(number: u32, fps: u32, per_gop: u32, unit: usize, noise: &mut SmallRng) -> Frame {
    let (kind, header, weight) = match number % per_gop {
        0 => (Kind::Key, 0x65, KEY_WEIGHT as usize),
        odd if odd % 2 == 1 => (Kind::Disposable, 0x01, 1),
        _ => (Kind::Reference, 0x41, 1),
    };
    let size = (unit * weight).saturating_sub(4).max(2);
    let mut payload = (size as u32).to_be_bytes().to_vec();
    payload.push(header);
    payload.extend(random(size - 1, noise));
    let dts = micros(number, fps);
    let duration = micros(number + 1, fps) - dts;
    frame(TrackId::VIDEO, kind, dts, duration, payload.into())
}

fn frame(track: TrackId, kind: Kind, dts: Timestamp, duration: Timestamp, payload: Bytes) -> Frame {
    Frame {
        track,
        kind,
        dts,
        cts: Timestamp::ZERO,
        duration: Some(duration),
        payload,
    }
}

/// Without zeros, so that nothing in it needs emulation prevention (H.264 7.4.1.1).
fn random(size: usize, noise: &mut SmallRng) -> Vec<u8> {
    let mut bytes = vec![0; size];
    noise.fill_bytes(&mut bytes);
    bytes.iter_mut().for_each(|byte| *byte |= 0x10);
    bytes
}

fn micros(number: u32, per_second: u32) -> Timestamp {
    Timestamp::from_micros(i64::from(number) * 1_000_000 / i64::from(per_second))
}

/// Below, there is no room for pictures; above, no key frame would fit.
const MIN_BPS: u64 = 64_000;
const MAX_BPS: u64 = 400_000_000;
/// What is made: long enough that rounds do not look alike, short enough to be kept in memory.
const LENGTH: Duration = Duration::from_secs(10);
/// Of the sound, as usual for stereo; a quarter of the whole where that is less.
const AUDIO_BPS: u64 = 128_000;
/// A key frame is about so many times as large as another picture.
const KEY_WEIGHT: u32 = 6;
/// ISO 14496-3: samples in a packet of AAC-LC.
const AAC_SAMPLES: u64 = 1024;
const AAC_HZ: u64 = 48_000;
/// AudioSpecificConfig: AAC-LC, 48 kHz, stereo (ISO 14496-3 1.6.2.1).
const AAC_LC: [u8; 2] = [0x11, 0x90];
/// The same frames in every run.
const SEED: u64 = 264;
/// An avcC record (ISO 14496-15 5.3.3) of Main profile, 1280 by 720.
const AVCC: [u8; 41] = [
    0x01, 0x4d, 0x40, 0x1f, 0xff, 0xe1, 0x00, 0x19, 0x67, 0x4d, 0x40, 0x1f, 0xd9, 0x00, 0x50, 0x05,
    0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x24,
    0x80, 0x01, 0x00, 0x05, 0x68, 0xeb, 0xc3, 0xcb, 0x20,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn made(rate: &str, fps: u32, gop_ms: u64) -> Result<Movie> {
        movie(Shape {
            rate: rate.parse()?,
            fps,
            gop: Duration::from_millis(gop_ms),
        })
    }

    #[test]
    fn what_is_made_has_the_rate_and_the_shape_asked_for() {
        for (rate, bps, fps, gop_ms) in [
            ("1M", 1e6, 25, 2000),
            ("4M", 4e6, 30, 1000),
            ("500k", 5e5, 50, 3000),
            ("20M", 2e7, 24, 10_000),
        ] {
            let movie = made(rate, fps, gop_ms).unwrap();
            let bytes: usize = movie.frames.iter().map(|frame| frame.payload.len()).sum();
            let of = |track| movie.frames.iter().filter(move |f| f.track == track);
            let seconds = of(TrackId::VIDEO).count() as f64 / f64::from(fps);
            let made_bps = bytes as f64 * 8.0 / seconds;
            assert!((made_bps / bps - 1.0).abs() < 0.02, "{rate}: {made_bps}");
            let keys = of(TrackId::VIDEO).filter(|f| f.kind == Kind::Key).count();
            assert_eq!(keys as f64, (seconds * 1000.0 / gop_ms as f64).round());
            assert_eq!(movie.frames[0].kind, Kind::Key);
            assert!(movie.frames.is_sorted_by_key(|frame| frame.dts));
        }
    }

    #[test]
    fn the_codecs_agree_about_kinds_and_sizes() {
        let movie = made("1M", 25, 1000).unwrap();
        let video = movie.catalog.video().unwrap();
        let info = video.info().unwrap();
        assert_eq!((info.width, info.height), (1280, 720));
        for frame in movie.frames.iter().filter(|f| f.track == TrackId::VIDEO) {
            let container = match frame.kind {
                Kind::Key => Kind::Key,
                _ => Kind::Reference,
            };
            assert_eq!(Codec::H264.kind(&frame.payload, container), frame.kind);
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        for rate in [
            "",
            "M",
            "1",
            "10k",
            "500M",
            "1G",
            "-1M",
            "18446744073709551615M",
        ] {
            assert!(rate.parse::<Rate>().is_err(), "{rate}");
        }
        for (rate, fps, gop_ms) in [
            ("1M", 0, 1000),
            ("1M", 500, 1000),
            ("1M", 25, 0),
            ("1M", 25, 60_000),
            ("400M", 1, 10_000),
        ] {
            assert!(made(rate, fps, gop_ms).is_err(), "{rate} {fps} {gop_ms}");
        }
    }
}
