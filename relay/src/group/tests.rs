//! One group: appending, ending, aborting, and its limits.

use bytes::Bytes;
use media::frame::{Kind, TrackId};
use media::timestamp::Timestamp;

use super::*;
use crate::cache::Cache;

fn frame(payload: Bytes) -> Frame {
    Frame {
        track: TrackId::VIDEO,
        kind: Kind::Key,
        dts: Timestamp::ZERO,
        cts: Timestamp::ZERO,
        duration: None,
        payload,
    }
}

fn header() -> Header {
    Header {
        epoch: 1,
        number: 1,
        wallclock_us: 0,
        first_msn: 0,
        first_part: 1,
        discontinuities: 0,
        segment_max: Timestamp::from_millis(6_000),
        part_target: Timestamp::from_millis(400),
        config_id: 0,
        discontinuity: false,
        catalog: Arc::default(),
    }
}

fn producer(budget: usize) -> Producer {
    let (track, _) = track::new(&Cache::new(budget), None).unwrap();
    track.open_group(header()).unwrap()
}

#[test]
fn a_payload_is_referenced_never_copied() {
    let mut producer = producer(1 << 20);
    let payload = Bytes::from(vec![7; 100]);
    let pointer = payload.as_ptr();
    producer.push(frame(payload)).unwrap();
    let group = producer.group().clone();
    assert_eq!(group.frame(0).unwrap().payload.as_ptr(), pointer);
    assert_eq!(group.frames(0).next().unwrap().payload.as_ptr(), pointer);
}

#[test]
fn a_group_ends_as_its_producer_says() {
    let finished = producer(1 << 20);
    let group = finished.group().clone();
    assert_eq!(group.end(), None);
    finished.finish();
    assert_eq!(group.end(), Some(End::Finished));
    let dropped = producer(1 << 20);
    let group = dropped.group().clone();
    drop(dropped);
    assert_eq!(group.end(), Some(End::Aborted));
}

#[test]
fn a_group_counts_payloads_slots_and_itself() {
    let mut producer = producer(1 << 20);
    assert_eq!(producer.group().bytes(), 0);
    for _ in 0..3 {
        producer.push(frame(Bytes::from_static(&[0; 50]))).unwrap();
    }
    assert_eq!(producer.group().bytes(), GROUP_COST + 3 * (50 + FRAME_COST));
}

#[test]
fn a_group_takes_so_many_frames_and_bytes() {
    let big = Bytes::from(vec![0; 16 << 20]);
    for (payload, fit) in [
        (Bytes::new(), MAX_FRAMES),
        (big, MAX_BYTES / (16 << 20) - 1),
    ] {
        let mut producer = producer(1 << 30);
        for index in 0..fit {
            assert_eq!(
                producer.push(frame(payload.clone())),
                Ok(()),
                "frame {index}"
            );
        }
        assert_eq!(producer.push(frame(payload)), Err(Refused::Full));
        assert_eq!(producer.group().end(), Some(End::Aborted));
        assert_eq!(producer.group().len(), fit);
    }
}

#[test]
fn readers_see_a_prefix_while_another_thread_writes() {
    let mut producer = producer(1 << 26);
    let group = producer.group().clone();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let group = group.clone();
            std::thread::spawn(move || {
                let mut seen = 0;
                loop {
                    let end = group.end();
                    for frame in group.frames(seen) {
                        assert_eq!(frame.payload[..], (seen as u32).to_be_bytes());
                        seen += 1;
                    }
                    if end.is_some() {
                        return seen;
                    }
                }
            })
        })
        .collect();
    for index in 0..20_000_u32 {
        producer
            .push(frame(Bytes::copy_from_slice(&index.to_be_bytes())))
            .unwrap();
    }
    producer.finish();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 20_000);
    }
}
