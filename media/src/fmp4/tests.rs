//! Frames, and the boxes that must come of them.

use super::*;
use crate::codec::tests::track;
use mp4_atom::{Any, Decode, DecodeMaybe};
use proptest::prelude::*;

fn catalog(codecs: &[Codec]) -> Catalog {
    Catalog {
        tracks: codecs.iter().map(|codec| track(*codec)).collect(),
        frame_rate: None,
    }
}

fn frame(codec: Codec, kind: Kind, dts_ms: i64, bytes: usize) -> Frame {
    Frame {
        track: codec.track(),
        kind,
        dts: Timestamp::from_millis(dts_ms),
        cts: Timestamp::ZERO,
        duration: None,
        payload: vec![dts_ms as u8; bytes].into(),
    }
}

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// The fragment's index and its media.
fn parse(pieces: &[Bytes]) -> (Moof, Vec<u8>) {
    let bytes = pieces.concat();
    let mut rest = &bytes[..];
    let moof = Moof::decode(&mut rest).unwrap();
    let length = bytes.len() - rest.len();
    assert_eq!(&rest[4..8], b"mdat");
    assert_eq!(rest[..4], (rest.len() as u32).to_be_bytes());
    for run in moof.traf.iter().flat_map(|traf| &traf.trun) {
        assert!(run.data_offset.unwrap() as usize >= length + MDAT_HEAD);
    }
    (moof, bytes)
}

fn entries(traf: &Traf) -> Vec<TrunEntry> {
    traf.trun[0].samples.iter().collect()
}

fn start(traf: &Traf) -> u64 {
    traf.tfdt.as_ref().unwrap().base_media_decode_time
}

#[test]
fn the_init_segment_describes_each_track_and_promises_fragments() {
    use Codec::{Aac, Av1, H264, H265, Opus};
    type Row = (&'static [Codec], &'static [(u32, u32)]);
    let rows: [Row; 7] = [
        (&[H264, Aac], &[(1, 90_000), (2, 48_000)]),
        (&[H265, Aac], &[(1, 90_000), (2, 48_000)]),
        (&[Av1, Opus], &[(1, 90_000), (2, 48_000)]),
        (&[H264], &[(1, 90_000)]),
        (&[Av1], &[(1, 90_000)]),
        (&[Aac], &[(2, 48_000)]),
        (&[Opus], &[(2, 48_000)]),
    ];
    for (codecs, expect) in rows {
        let bytes = init(&catalog(codecs)).unwrap();
        let mut rest = &bytes[..];
        Ftyp::decode(&mut rest).unwrap();
        let moov = Moov::decode(&mut rest).unwrap();
        assert!(rest.is_empty());
        let tracks = moov
            .trak
            .iter()
            .map(|trak| (trak.tkhd.track_id, trak.mdia.mdhd.timescale));
        assert_eq!(tracks.collect::<Vec<_>>(), expect, "{codecs:?}");
        let promised = moov.mvex.unwrap().trex;
        assert_eq!(promised.len(), expect.len());
        assert_eq!(bytes, init(&catalog(codecs)).unwrap());
    }
}

#[test]
fn what_hls_cannot_carry_is_an_error_that_names_the_codec() {
    let rows: [(&[Codec], &str); 6] = [
        (&[Codec::Vp8], "vp8 is not written to MP4"),
        (&[Codec::Vp9, Codec::Aac], "vp9 is not written to MP4"),
        (&[Codec::H264, Codec::Mp3], "mp3 is not written to MP4"),
        (&[Codec::Ac3], "ac3 is not written to MP4"),
        (&[Codec::Flac], "flac is not written to MP4"),
        (&[], "MP4 index: the catalog names no track"),
    ];
    for (codecs, expect) in rows {
        let catalog = catalog(codecs);
        assert_eq!(init(&catalog).unwrap_err().to_string(), expect);
        let part = part(&catalog, 1, [].iter(), ms(0));
        assert_eq!(part.unwrap_err().to_string(), expect);
    }
}

#[test]
fn pictures_keep_their_times_and_kinds() {
    let mut frames = [
        frame(Codec::H264, Kind::Key, 1000, 10),
        frame(Codec::H264, Kind::Reference, 1033, 20),
        frame(Codec::H264, Kind::Disposable, 1067, 30),
    ];
    frames[1].cts = ms(67);
    frames[2].cts = ms(-33);
    let pieces = part(
        &catalog(&[Codec::H264]),
        (7 << 32) + 9,
        frames.iter(),
        ms(1100),
    );
    let (moof, _) = parse(&pieces.unwrap());
    assert_eq!(moof.mfhd.sequence_number, 9, "as far as the field goes");
    let traf = &moof.traf[0];
    assert_eq!((traf.tfhd.track_id, start(traf)), (1, 90_000));
    let expect = [
        (2970, 10, 0x0200_0000, 0),
        (3060, 20, 0x0101_0000, 67 * 90),
        (2970, 30, 0x0181_0000, -33 * 90),
    ];
    let expect = expect.map(|(duration, size, flags, cts)| TrunEntry {
        duration: Some(duration),
        size: Some(size),
        flags: Some(flags),
        cts: Some(cts),
    });
    assert_eq!(entries(traf), expect);
}

#[test]
fn each_run_points_at_its_own_payloads() {
    let frames = [
        frame(Codec::Aac, Kind::Key, 1, 100),
        frame(Codec::H264, Kind::Key, 2, 9000),
        frame(Codec::Aac, Kind::Key, 22, 100),
        frame(Codec::H264, Kind::Reference, 42, 200),
    ];
    let pieces = part(
        &catalog(&[Codec::H264, Codec::Aac]),
        1,
        frames.iter(),
        ms(80),
    )
    .unwrap();
    let large = pieces
        .iter()
        .find(|piece| piece.as_ptr() == frames[1].payload.as_ptr());
    assert!(large.is_some(), "a large payload is referenced");
    assert_eq!(pieces.len(), 3, "the small ones around it are gathered");
    let (moof, bytes) = parse(&pieces);
    for (traf, times) in moof.traf.iter().zip([[2, 42], [1, 22]]) {
        let mut at = traf.trun[0].data_offset.unwrap() as usize;
        for (entry, time) in entries(traf).iter().zip(times) {
            let size = entry.size.unwrap() as usize;
            assert!(bytes[at..at + size].iter().all(|byte| *byte == time));
            at += size;
        }
    }
}

#[test]
fn a_part_without_pictures_or_sound_leaves_the_track_out() {
    let both = catalog(&[Codec::H264, Codec::Opus]);
    for (codec, id) in [(Codec::H264, 1), (Codec::Opus, 2)] {
        let frames = [frame(codec, Kind::Key, 0, 5)];
        let (moof, _) = parse(&part(&both, 1, frames.iter(), ms(40)).unwrap());
        let ids: Vec<_> = moof.traf.iter().map(|traf| traf.tfhd.track_id).collect();
        assert_eq!(ids, [id]);
    }
}

/// Time stamps of 48 kHz AAC in samples, and where and how long the packets must be.
#[test]
fn packets_follow_each_other_but_for_holes() {
    let rows: [(&[i64], i64, &[i64]); 7] = [
        (&[0, 1008, 2016, 3072], 0, &[1024; 4]),
        (&[960, 1968, 3072], 1024, &[1024; 3]),
        // Stamped in pairs, as some encoders send them.
        (&[0, 0, 2048, 2048], 0, &[1024; 4]),
        // One packet is lost, then two.
        (&[0, 1024, 3072, 4096], 0, &[1024, 2048, 1024, 1024]),
        (&[0, 3072, 3120, 4144], 0, &[3072, 1024, 1024, 1024]),
        // A clock that stands still.
        (&[500, 500, 500], 500, &[1024; 3]),
        (&[], 0, &[]),
    ];
    for (stamps, start, durations) in rows {
        let packets = stamps.iter().map(|stamp| sound::Packet {
            stamp: *stamp,
            samples: 1024,
        });
        let expect = (start, durations.to_vec());
        assert_eq!(sound::place(packets), expect, "{stamps:?}");
    }
}

#[test]
fn times_outside_of_the_fields_are_held_at_their_ends() {
    let mut wild = frame(Codec::H264, Kind::Key, -50, 5);
    wild.cts = Timestamp::from_micros(i64::MAX);
    let late = frame(Codec::H264, Kind::Reference, 1 << 40, 5);
    let catalog = catalog(&[Codec::H264]);
    let pieces = part(&catalog, 1, [&wild, &late].into_iter(), ms(0)).unwrap();
    let (moof, _) = parse(&pieces);
    assert_eq!(start(&moof.traf[0]), 0);
    let entries = entries(&moof.traf[0]);
    assert_eq!(entries[0].cts, Some(i32::MAX.into()));
    assert_eq!(entries[0].duration, Some(u32::MAX));
    assert_eq!(entries[1].duration, Some(0));
}

/// The parts of a steady stream of AAC whose stamps are in milliseconds: (start, length).
fn steady(rate: u32, first: u64, per_part: &[usize]) -> Vec<(u64, u64)> {
    let mut config = track(Codec::Aac);
    // LC, stereo; the rate's index in ISO 14496-3 table 1.18.
    let index = if rate == 48_000 { 3u8 } else { 4 };
    config.record = vec![0x10 | index >> 1, index << 7 | 0x10].into();
    let catalog = Catalog {
        tracks: vec![config],
        frame_rate: None,
    };
    let mut number = first;
    let part = |count: &usize| {
        let frames: Vec<_> = (0..*count)
            .map(|_| {
                let at = number * 1024 * 1000 / u64::from(rate);
                number += 1;
                frame(Codec::Aac, Kind::Key, at as i64, 3)
            })
            .collect();
        let (moof, _) = parse(&part(&catalog, 1, frames.iter(), ms(0)).unwrap());
        let length = entries(&moof.traf[0])
            .iter()
            .map(|entry| u64::from(entry.duration.unwrap()))
            .sum();
        (start(&moof.traf[0]), length)
    };
    per_part.iter().map(part).collect()
}

proptest! {
    #[test]
    fn parts_of_steady_sound_join(
        rate in prop::sample::select(vec![44_100u32, 48_000]),
        first in 0u64..1_000_000,
        per_part in prop::collection::vec(1usize..20, 2..10),
    ) {
        let parts = steady(rate, first, &per_part);
        for (pair, counts) in parts.windows(2).zip(per_part.windows(2)) {
            let seam = (pair[1].0 as i64 - (pair[0].0 + pair[0].1) as i64).abs();
            // Of three or more packets at 48 kHz one is stamped without loss.
            let most = match counts.iter().min() {
                Some(3..) if rate == 48_000 => 16,
                Some(8..) => 12,
                _ => 49,
            };
            prop_assert!(seam <= most, "{} samples between {:?}", seam, pair);
        }
    }

    #[test]
    fn any_frames_make_a_part_that_parses(
        frames in prop::collection::vec(
            (any::<bool>(), 0u8..3, any::<i64>(), any::<i64>(), 0usize..6000),
            0..40,
        ),
        end in any::<i64>(),
        number in any::<u64>(),
    ) {
        let kinds = [Kind::Disposable, Kind::Reference, Kind::Key];
        let frames: Vec<_> = frames
            .into_iter()
            .map(|(video, kind, dts, cts, bytes)| {
                let codec = if video { Codec::Av1 } else { Codec::Opus };
                Frame {
                    dts: Timestamp::from_micros(dts),
                    cts: Timestamp::from_micros(cts),
                    ..frame(codec, kinds[usize::from(kind)], 0, bytes)
                }
            })
            .collect();
        let catalog = catalog(&[Codec::Av1, Codec::Opus]);
        let end = Timestamp::from_micros(end);
        let pieces = part(&catalog, number, frames.iter(), end).unwrap();
        prop_assert_eq!(&pieces, &part(&catalog, number, frames.iter(), end).unwrap());
        let bytes = pieces.concat();
        let mut rest = &bytes[..];
        let boxes = std::iter::from_fn(|| Any::decode_maybe(&mut rest).unwrap());
        prop_assert_eq!(boxes.count(), 2);
        let media: usize = frames.iter().map(|frame| frame.payload.len()).sum();
        prop_assert!(bytes.len() >= media + MDAT_HEAD);
    }
}
