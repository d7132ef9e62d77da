//! Tracks: order, windows, evictions and endings.

use bytes::Bytes;
use media::frame::{Frame, Kind, TrackId};
use media::timestamp::Timestamp;

use super::*;
use crate::group::End;

fn header(epoch: u64, number: u64) -> Header {
    Header {
        epoch,
        number,
        wallclock_us: number * 1_000_000,
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

fn begin(track: &Producer, epoch: u64, number: u64) -> group::Producer {
    let mut group = track.open_group(header(epoch, number)).unwrap();
    group
        .push(Frame {
            track: TrackId::VIDEO,
            kind: Kind::Key,
            dts: Timestamp::ZERO,
            cts: Timestamp::ZERO,
            duration: None,
            payload: Bytes::new(),
        })
        .unwrap();
    group
}

fn track(window: Option<Duration>) -> (Producer, Consumer) {
    new(&Cache::new(1 << 20), window).unwrap()
}

fn keys(consumer: &Consumer) -> Vec<(u64, u64)> {
    let groups = consumer.recent(usize::MAX);
    groups
        .iter()
        .rev()
        .map(|group| (group.key().epoch, group.key().number))
        .collect()
}

fn key(epoch: u64, number: u64) -> Key {
    Key { epoch, number }
}

#[test]
fn groups_stand_in_order_however_they_open() {
    let (track, consumer) = track(None);
    let _groups: Vec<_> = [(2, 1), (1, 9), (2, 3), (1, 8), (2, 2)]
        .map(|(e, n)| begin(&track, e, n))
        .into();
    assert_eq!(keys(&consumer), [(1, 8), (1, 9), (2, 1), (2, 2), (2, 3)]);
    assert_eq!(consumer.latest().unwrap().key(), key(2, 3));
    assert_eq!(consumer.next_after(key(1, 9)).unwrap().key(), key(2, 1));
    assert_eq!(consumer.newer_than(key(1, 9)), 3);
    assert!(consumer.next_after(key(2, 3)).is_none());
    assert!(consumer.group(key(2, 4)).is_none());
}

#[test]
fn a_group_without_frames_is_passed_over() {
    let (track, consumer) = track(None);
    let _empty = track.open_group(header(1, 1)).unwrap();
    assert!(consumer.latest().is_none());
    let _first = begin(&track, 1, 2);
    let _newer = track.open_group(header(1, 3)).unwrap();
    assert_eq!(keys(&consumer), [(1, 2)]);
    assert!(consumer.group(key(1, 3)).is_some());
}

#[test]
fn a_key_never_comes_back() {
    let (track, _consumer) = track(Some(Duration::ZERO));
    begin(&track, 1, 5).finish();
    assert_eq!(
        track.open_group(header(1, 5)).err(),
        Some(Stale),
        "it is there"
    );
    begin(&track, 1, 7).finish();
    assert_eq!(
        track.open_group(header(1, 5)).err(),
        Some(Stale),
        "it was dropped"
    );
    assert_eq!(
        track.open_group(header(1, 4)).err(),
        Some(Stale),
        "one after it was dropped"
    );
    assert!(track.open_group(header(1, 6)).is_ok(), "it was never there");
}

#[test]
fn the_window_drops_what_ended_before_it() {
    let (track, consumer) = track(Some(Duration::from_secs(2)));
    for number in 0..10 {
        begin(&track, 1, number).finish();
    }
    assert_eq!(keys(&consumer), [(1, 7), (1, 8), (1, 9)]);
}

#[test]
fn a_track_holds_so_many_groups() {
    let (track, consumer) = track(None);
    for number in 0..2 * MAX_GROUPS as u64 {
        let _ = track.open_group(header(1, number)).unwrap();
    }
    begin(&track, 1, 1_000_000).finish();
    assert!(consumer.group(key(1, MAX_GROUPS as u64)).is_none());
    assert!(consumer.group(key(1, MAX_GROUPS as u64 + 1)).is_some());
}

#[test]
fn a_track_ends_with_its_last_producer_and_open_groups_go_on() {
    let (track, consumer) = track(None);
    let second = track.clone();
    drop(track);
    assert!(!consumer.is_ended());
    let group = begin(&second, 1, 1);
    drop(second);
    assert!(consumer.is_ended());
    assert_eq!(consumer.latest().unwrap().end(), None);
    assert!(!consumer.is_over(None));
    group.finish();
    assert_eq!(consumer.latest().unwrap().end(), Some(End::Finished));
    assert!(consumer.is_over(Some(key(1, 1))));
}

#[test]
fn an_ended_track_opens_no_group() {
    let (track, _consumer) = track(None);
    track.clone().end();
    assert_eq!(track.open_group(header(1, 1)).err(), Some(Stale));
}

#[tokio::test]
async fn every_change_is_told_even_between_two_looks() {
    let (track, consumer) = track(None);
    let mut changes = consumer.changes();
    let group = begin(&track, 1, 1);
    changes.changed().await;
    group.finish();
    changes.changed().await;
    track.end();
    changes.changed().await;
    let quiet = std::future::poll_fn(|cx| Poll::Ready(changes.poll_changed(cx).is_pending()));
    assert!(quiet.await);
}
