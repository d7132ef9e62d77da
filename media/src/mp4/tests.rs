//! Files written here and by others, read back frame by frame.

use super::*;
use crate::codec::TrackConfig;
use crate::codec::tests::track;
use crate::frame::{Kind, TrackId};
use crate::timestamp::Timestamp;
use bytes::Bytes;
use proptest::prelude::*;

/// Made by ffmpeg 5.1: three pictures of H.264 with a B-frame at 25 a second, AAC at 8 kHz, and an
/// edit list for each; a fixture because writing it needs an encoder.
const TINY: &[u8] = include_bytes!("tiny.mp4");

#[test]
fn a_file_of_ffmpeg_is_read_as_ffprobe_reads_it() {
    let movie = read(Bytes::from_static(TINY)).unwrap();
    let infos: Vec<_> = movie
        .catalog
        .tracks
        .iter()
        .map(|t| t.info().unwrap())
        .collect();
    assert_eq!((infos[0].width, infos[0].height), (16, 16));
    assert_eq!((infos[1].sample_rate, infos[1].channels), (8000, 1));
    assert_eq!(movie.catalog.frame_rate, Some(25.0));
    let rows = movie.frames.iter().map(|frame| {
        let ms = [frame.dts, frame.cts, frame.duration.unwrap()].map(Timestamp::as_millis);
        (frame.track, frame.kind, ms, frame.payload.len())
    });
    // ffprobe starts the sound at -128 ms, the samples that the encoder needed to get going.
    use Kind::{Disposable, Key, Reference};
    let (video, audio) = (TrackId::VIDEO, TrackId::AUDIO);
    let expect = [
        (audio, Key, [0, 0, 128], 188),
        (video, Key, [88, 40, 40], 148),
        (video, Reference, [128, 80, 40], 12),
        (audio, Key, [128, 0, 100], 185),
        (video, Disposable, [168, 0, 40], 11),
    ];
    assert_eq!(rows.collect::<Vec<_>>(), expect);
    let file = TINY.as_ptr_range();
    assert!(
        movie
            .frames
            .iter()
            .all(|frame| file.contains(&frame.payload.as_ptr()))
    );
}

#[test]
fn a_movie_comes_back_as_it_was_written() {
    let movie = read(Bytes::from_static(TINY)).unwrap();
    let again = read(write(&movie.catalog, &movie.frames).unwrap()).unwrap();
    assert_eq!(again, movie);
}

#[test]
fn every_codec_that_is_written_keeps_its_record() {
    for codec in [
        Codec::H264,
        Codec::H265,
        Codec::Av1,
        Codec::Aac,
        Codec::Opus,
    ] {
        let catalog = Catalog {
            tracks: vec![track(codec)],
            frame_rate: None,
        };
        let movie = read(write(&catalog, &[frame(codec, 0, 0)]).unwrap()).unwrap();
        assert_eq!(movie.catalog.tracks, catalog.tracks);
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let write = |track, frames: &[Frame]| {
        write(
            &Catalog {
                tracks: vec![track],
                frame_rate: None,
            },
            frames,
        )
    };
    let mp3 = write(track(Codec::Mp3), &[]);
    assert!(matches!(mp3, Err(Error::Codec(Codec::Mp3))), "{mp3:?}");
    let empty = write(TrackConfig::new(Codec::Aac, Bytes::new()), &[]);
    assert!(matches!(empty, Err(Error::Record(_))), "{empty:?}");
    let back = write(
        track(Codec::Aac),
        &[frame(Codec::Aac, 2, 0), frame(Codec::Aac, 1, 0)],
    );
    assert!(matches!(back, Err(Error::Index(_))), "{back:?}");
}

#[test]
fn what_is_no_progressive_file_is_an_error() {
    let check = |file: &[u8], message: &str| {
        let error = read(Bytes::copy_from_slice(file)).unwrap_err();
        assert_eq!(error.to_string(), message);
    };
    check(b"", "not a progressive MP4 file: no moov box");
    check(b"\0\0\0\x08free", "not a progressive MP4 file: no moov box");
    check(b"\0\0\0\x07moov", "MP4 index: box size");
    check(b"\0\0\0\x01moov\0\0", "MP4 index: box head");
    check(&TINY[..TINY.len() - 200], "MP4 index: box size");
    let nothing = write(&Catalog::default(), &[]).unwrap();
    check(
        &nothing,
        "not a progressive MP4 file: no track can be carried",
    );
}

fn frame(codec: Codec, dts_ms: i64, cts_ms: i64) -> Frame {
    let [dts, cts] = [dts_ms, cts_ms].map(Timestamp::from_millis);
    let payload = Bytes::from_static(b"\0\0\0\x02\x65\x88");
    Frame {
        track: codec.track(),
        kind: Kind::Key,
        dts,
        cts,
        duration: None,
        payload,
    }
}

proptest! {
    #[test]
    fn times_come_back_as_they_were_written(
        steps in prop::collection::vec((0i64..100, 0i64..200, any::<bool>()), 1..30),
    ) {
        let mut now = 0;
        let frames: Vec<_> = steps.into_iter().map(|(step, cts, video)| {
            now += step;
            if video { frame(Codec::H264, now, cts) } else { frame(Codec::Aac, now, 0) }
        }).collect();
        let tracks = vec![track(Codec::H264), track(Codec::Aac)];
        let catalog = Catalog { tracks, frame_rate: None };
        let movie = read(write(&catalog, &frames).unwrap()).unwrap();
        let start = frames[0].dts;
        for id in [TrackId::VIDEO, TrackId::AUDIO] {
            let of = |frames: &[Frame], start| -> Vec<_> {
                let of = frames.iter().filter(|frame| frame.track == id);
                of.map(|frame| (frame.dts - start, frame.cts, frame.payload.clone())).collect()
            };
            prop_assert_eq!(of(&movie.frames, Timestamp::ZERO), of(&frames, start));
        }
    }

    #[test]
    fn a_damaged_file_is_read_without_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut file = TINY.to_vec();
        for (at, value) in damage {
            let at = at.index(file.len());
            file[at] = value;
        }
        if cut {
            file.truncate(length.index(file.len()));
        }
        let _ = read(file.into());
    }
}
