//! Publishers that come, fall silent, return and are cut off, in virtual time.

use bytes::Bytes;
use cluster::plan::{Kick, Mark};
use media::codec::Codec;
use media::frame::{Kind, TrackId};
use media::timestamp::Timestamp;
use relay::group::{End, Group};
use tokio::time::advance;

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A registry whose clock stands at a known time.
fn registry(max_publishers: usize, cache_bytes: usize) -> Arc<Registry> {
    let rules = Rules {
        grace: MS(5_000),
        takeover_after: MS(1_000),
        terms: crate::config::Hls::default().terms(),
        max_publishers,
    };
    let clock = Clock::manual(1_700_000_000_000_000);
    Registry::new(rules, clock, Cache::new(cache_bytes), Arc::default())
}

fn key() -> StreamKey {
    StreamKey::parse("live/x").unwrap()
}

fn claim(registry: &Arc<Registry>) -> Result<Publisher, Refused> {
    registry.claim(&key(), "192.0.2.1:5".to_owned())
}

/// Announces a video track and sends key frames at these times.
fn send(publisher: &Publisher, times_ms: &[i64]) -> Result<(), Lost> {
    let metadata = flv::Metadata {
        has_video: Some(true),
        frame_rate: Some(25.0),
        ..flv::Metadata::default()
    };
    publisher.push(flv::Event::Metadata(metadata))?;
    let config = TrackConfig::new(Codec::H264, Bytes::from_static(b"record"));
    publisher.push(flv::Event::Config(config))?;
    for ms in times_ms {
        let frame = Frame {
            track: TrackId::VIDEO,
            kind: Kind::Key,
            dts: Timestamp::from_millis(*ms),
            cts: Timestamp::ZERO,
            duration: None,
            payload: Bytes::from_static(&[0; 1_000]),
        };
        publisher.push(flv::Event::Frame(Codec::H264, frame))?;
    }
    Ok(())
}

fn newest(registry: &Registry) -> Group {
    registry.track(&key()).unwrap().latest().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_announced_with_its_first_group_and_until_the_grace_is_over() {
    let registry = registry(10, 1 << 20);
    let publisher = claim(&registry).unwrap();
    assert!(registry.announced().borrow().is_empty());
    send(&publisher, &[0]).unwrap();
    assert_eq!(registry.announced().borrow()[0].stream, "live/x");
    let track = registry.track(&key()).unwrap();

    drop(publisher);
    advance(MS(4_900)).await;
    registry.sweep(&Plan::default());
    assert!(!track.is_ended());
    advance(MS(200)).await;
    registry.sweep(&Plan::default());
    assert!(track.is_ended());
    assert!(registry.announced().borrow().is_empty());
    assert!(registry.track(&key()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_comes_back_in_time_continues_the_stream() {
    let registry = registry(10, 1 << 20);
    let first = claim(&registry).unwrap();
    send(&first, &[0]).unwrap();
    let before = newest(&registry);
    drop(first);
    assert_eq!(before.end(), Some(End::Finished), "whole as far as it goes");
    advance(MS(4_000)).await;

    let second = claim(&registry).unwrap();
    registry.sweep(&Plan::default());
    send(&second, &[0]).unwrap();
    let after = newest(&registry);
    assert_eq!(after.header().epoch, before.header().epoch);
    assert_eq!(after.header().number, before.header().number + 1);
    assert!(after.header().discontinuity);
}

#[tokio::test(start_paused = true)]
async fn a_silent_publisher_gives_way_and_a_live_one_does_not() {
    let registry = registry(10, 1 << 20);
    let first = claim(&registry).unwrap();
    send(&first, &[0]).unwrap();
    advance(MS(900)).await;
    assert_eq!(claim(&registry).unwrap_err(), Refused::Busy);
    advance(MS(200)).await;

    let second = claim(&registry).unwrap();
    first.lost().await;
    assert_eq!(send(&first, &[40]), Err(Lost));
    send(&second, &[0]).unwrap();
    drop(first);
    send(&second, &[40]).unwrap();
    assert_eq!(registry.meter.takeovers.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kick_ends_the_stream_at_once() {
    let registry = registry(10, 1 << 20);
    let publisher = claim(&registry).unwrap();
    send(&publisher, &[0]).unwrap();
    let track = registry.track(&key()).unwrap();
    let kick = |until_ms| {
        let kicks = vec![Kick {
            key: key(),
            until_ms,
        }];
        Plan::new(Mark::default(), Vec::new(), Vec::new(), kicks)
    };
    registry.sweep(&kick(1_700_000_000_000));
    assert!(!track.is_ended(), "that order is over");
    registry.sweep(&kick(1_700_000_000_001));
    assert!(track.is_ended());
    publisher.lost().await;
    assert_eq!(send(&publisher, &[40]), Err(Lost));
}

#[tokio::test(start_paused = true)]
async fn the_next_life_of_a_stream_has_greater_numbers() {
    let registry = registry(10, 1 << 20);
    let publisher = claim(&registry).unwrap();
    send(&publisher, &[0, 40]).unwrap();
    let before = newest(&registry).header().clone();
    drop(publisher);
    advance(MS(6_000)).await;
    registry.sweep(&Plan::default());

    // The registry's wall clock has stood still meanwhile.
    let publisher = claim(&registry).unwrap();
    send(&publisher, &[0]).unwrap();
    let after = newest(&registry).header().clone();
    assert!(after.epoch > before.epoch);
    assert!(after.number > before.number && after.first_msn > before.first_msn);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_never_sent_a_frame_leaves_nothing() {
    let registry = registry(1, 1 << 20);
    let other = StreamKey::parse("live/y").unwrap();
    let publisher = claim(&registry).unwrap();
    let full = registry.claim(&other, String::new());
    assert_eq!(full.unwrap_err(), Refused::Full);
    drop(publisher);
    registry.sweep(&Plan::default());
    assert!(registry.claim(&other, String::new()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_cache_without_room_costs_frames_and_nothing_else() {
    let registry = registry(10, 100);
    let publisher = claim(&registry).unwrap();
    send(&publisher, &[0, 40]).unwrap();
    assert!(registry.track(&key()).unwrap().latest().is_none());
    assert_eq!(registry.meter.groups.get(), 2, "each group is tried");
}

#[tokio::test(start_paused = true)]
async fn records_tell_tracks_and_bit_rate() {
    let registry = registry(10, 1 << 20);
    let origin = NodeId::parse("origin-1").unwrap();
    let publisher = claim(&registry).unwrap();
    assert!(registry.records(&origin).is_empty(), "not on air yet");
    send(&publisher, &[0, 40, 80, 120]).unwrap();
    advance(MS(1_000)).await;
    registry.sweep(&Plan::default());
    let record = registry.records(&origin).remove(0);
    assert_eq!((record.key, record.bitrate_bps), (key(), 32_000));
    assert_eq!(record.started_ms, 1_700_000_000_000);
    assert_eq!(record.tracks[0].codec, "h264");
    assert_eq!(record.publisher, "192.0.2.1:5");
}

#[tokio::test(start_paused = true)]
async fn discontinuities_are_counted_above_those_of_the_last_life() {
    let before = registry(1, 1 << 20);
    let publisher = claim(&before).unwrap();
    send(&publisher, &[0, 40]).unwrap();
    let given_out = before.discontinuities();
    assert_eq!(newest(&before).header().discontinuities, given_out);
    // Restarted within the same hour, which the clock alone would not tell.
    let after = registry(1, 1 << 20);
    after.begin_above(given_out);
    let publisher = claim(&after).unwrap();
    send(&publisher, &[0]).unwrap();
    assert!(newest(&after).header().discontinuities > given_out);
    assert!(after.discontinuities() > given_out);
}
