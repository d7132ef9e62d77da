//! Any bytes as an FLV stream: never a panic, the same events whatever the pieces, and every frame
//! and record that comes out can be looked into and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::flv::{Demuxer, Error, Event, Hevc, Muxer, sequence_header};

fuzz_target!(|data: &[u8]| {
    let Some((&chunk, stream)) = data.split_first() else {
        return;
    };
    let whole = demux(stream, stream.len());
    assert_eq!(whole, demux(stream, usize::from(chunk)));
    for event in whole.into_iter().flatten() {
        match event {
            Event::Config(track) => {
                let _ = track.info();
                let _ = sequence_header(&track, Hevc::Enhanced);
            }
            Event::Frame(codec, frame) => {
                let tag = Muxer::default().tag(codec, &frame, 0);
                assert_eq!(tag.payload.as_ptr(), frame.payload.as_ptr());
            }
            _ => {}
        }
    }
});

fn demux(stream: &[u8], chunk: usize) -> Vec<Result<Event, Error>> {
    let mut demuxer = Demuxer::new();
    let mut events = Vec::new();
    for piece in stream.chunks(chunk.max(1)) {
        demuxer.push(piece);
        while let Some(event) = demuxer.next().transpose() {
            let over = matches!(event, Err(Error::NotFlv | Error::TooLarge("tag")));
            events.push(event);
            if over {
                return events;
            }
        }
    }
    events
}
