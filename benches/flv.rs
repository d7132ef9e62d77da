//! FLV muxing and demuxing, beside a plain copy of the same bytes.

use bytes::Bytes;
use media::{
    codec::Codec,
    flv::{Demuxer, Hevc, Muxer},
    frame::{Frame, Kind, TrackId},
    timestamp::Timestamp,
};
use std::{hint::black_box, time::Instant};

/// A second of 5 Mbit/s video at 25 pictures a second, one key frame, and audio packets between.
fn second() -> Vec<(Codec, Frame)> {
    let frame = |track, kind, ms, size: usize| Frame {
        track,
        kind,
        dts: Timestamp::from_millis(ms),
        cts: Timestamp::ZERO,
        duration: None,
        payload: Bytes::from(vec![0x5a; size]),
    };
    let mut frames = Vec::new();
    for picture in 0..25 {
        let (kind, size) = if picture == 0 {
            (Kind::Key, 120_000)
        } else {
            (Kind::Reference, 21_000)
        };
        frames.push((Codec::H264, frame(TrackId::VIDEO, kind, picture * 40, size)));
        frames.push((
            Codec::Aac,
            frame(TrackId::AUDIO, Kind::Key, picture * 40, 300),
        ));
        frames.push((
            Codec::Aac,
            frame(TrackId::AUDIO, Kind::Key, picture * 40 + 20, 300),
        ));
    }
    frames
}

/// Runs `work`, which handles this many bytes and frames, for a second; GB/s and million frames/s.
fn measure(name: &str, bytes: usize, frames: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed().as_secs_f64() < 1.0 {
        work();
        rounds += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let gbytes = (bytes * rounds) as f64 / seconds / 1e9;
    let mframes = (frames * rounds) as f64 / seconds / 1e6;
    println!("{name:<28} {gbytes:>9.2} GB/s {mframes:>9.2} M frames/s");
    gbytes
}

fn main() {
    let frames = second();
    let muxer = Muxer::new(Hevc::Enhanced);
    let mut file = muxer.start(&Default::default()).to_vec();
    for (codec, frame) in &frames {
        for piece in muxer.frame(*codec, frame, frame.dts.as_millis() as u32) {
            file.extend_from_slice(&piece);
        }
    }
    println!("flv: {} frames, {} bytes", frames.len(), file.len());
    measure(
        "mux (payload by reference)",
        file.len(),
        frames.len(),
        || {
            for (codec, frame) in &frames {
                black_box(muxer.tag(*codec, frame, frame.dts.as_millis() as u32));
            }
        },
    );
    let demuxed = measure("demux from 64 KiB reads", file.len(), frames.len(), || {
        let mut demuxer = Demuxer::new();
        for piece in file.chunks(64 << 10) {
            demuxer.push(piece);
            while let Some(event) = demuxer.next().expect("we wrote it") {
                black_box(event);
            }
        }
    });
    let copied = measure("floor: one copy", file.len(), frames.len(), || {
        for piece in file.chunks(64 << 10) {
            black_box(Bytes::copy_from_slice(piece));
        }
    });
    println!("demux / one copy: {:.2} times the time", copied / demuxed);
}
