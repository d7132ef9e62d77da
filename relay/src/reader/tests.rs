//! Readers of tracks that grow, lose groups, stall and end.

use std::sync::Arc;

use bytes::Bytes;
use media::frame::{Kind, TrackId};
use tokio::time::timeout;

use super::*;
use crate::cache::Cache;
use crate::group::{self, Header};
use crate::track::{self, Producer};

fn track() -> Producer {
    track::new(&Cache::new(1 << 20), None).unwrap().0
}

fn open(track: &Producer, epoch: u64, number: u64) -> group::Producer {
    let header = Header {
        epoch,
        number,
        wallclock_us: 0,
        first_msn: 0,
        first_part: 1,
        discontinuities: 0,
        segment_max: Timestamp::from_millis(6_000),
        part_target: Timestamp::from_millis(400),
        config_id: 0,
        discontinuity: false,
        catalog: Arc::default(),
    };
    track.open_group(header).unwrap()
}

/// Appends frames whose decoding times, in seconds, are given.
fn push(group: &mut group::Producer, seconds: &[i64]) {
    for second in seconds {
        let frame = Frame {
            track: TrackId::VIDEO,
            kind: Kind::Key,
            dts: Timestamp::from_millis(second * 1000),
            cts: Timestamp::ZERO,
            duration: None,
            payload: Bytes::new(),
        };
        group.push(frame).unwrap();
    }
}

fn whole(track: &Producer, epoch: u64, number: u64, frames: usize) {
    let mut group = open(track, epoch, number);
    push(&mut group, &vec![0; frames]);
    group.finish();
}

/// The next item in short, `-` when there is none for longer than any patience.
async fn next(reader: &mut Reader) -> String {
    match timeout(4 * PATIENCE, reader.next()).await {
        Err(_) => "-".to_owned(),
        Ok(None) => "end".to_owned(),
        Ok(Some(Item::Gap)) => "gap".to_owned(),
        Ok(Some(Item::Frame { number, .. })) => number.to_string(),
        Ok(Some(Item::Group(group))) => format!("{}/{}", group.key().epoch, group.key().number),
    }
}

async fn expect(reader: &mut Reader, items: &str) {
    for item in items.split(' ') {
        assert_eq!(next(reader).await, item, "of {items}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_starts_at_the_beginning_of_the_newest_group_and_goes_on_to_the_end() {
    let track = track();
    let mut reader = Reader::new(track.consumer(), Start::Latest);
    expect(&mut reader, "-").await;
    whole(&track, 1, 1, 2);
    let mut late = open(&track, 1, 2);
    push(&mut late, &[1, 2]);
    expect(&mut reader, "1/2 0 1 -").await;
    push(&mut late, &[3]);
    expect(&mut reader, "2 -").await;
    late.finish();
    whole(&track, 1, 3, 1);
    track.end();
    expect(&mut reader, "1/3 0 end end").await;
}

#[tokio::test(start_paused = true)]
async fn it_starts_after_a_frame_where_the_group_is_cached_else_at_the_next_group() {
    let track = track();
    whole(&track, 1, 3, 3);
    whole(&track, 1, 4, 2);
    let rows = [
        (Start::After(1, 3, 0), "1/3 1 2 1/4 0 1 -"),
        (Start::After(1, 3, 2), "1/4 0 1 -"),
        (Start::After(1, 2, 9), "1/3 0 1 2 1/4"),
        (Start::After(1, 3, u32::MAX), "1/4 0"),
        (Start::After(0, 99, 0), "1/3 0"),
        (Start::After(1, 1, 0), "gap 1/3 0"),
        (Start::After(1, 4, 1), "-"),
    ];
    for (start, items) in rows {
        expect(&mut Reader::new(track.consumer(), start), items).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_aborted_group_ends_in_a_gap() {
    let track = track();
    let mut group = open(&track, 1, 1);
    push(&mut group, &[0, 1]);
    let mut reader = Reader::new(track.consumer(), Start::Latest);
    expect(&mut reader, "1/1 0 1 -").await;
    drop(group);
    expect(&mut reader, "gap -").await;
    whole(&track, 1, 2, 1);
    expect(&mut reader, "1/2 0").await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_group_is_left_once_newer_frames_waited_long_enough() {
    let track = track();
    let mut stalled = open(&track, 1, 1);
    push(&mut stalled, &[0]);
    let mut reader = Reader::new(track.consumer(), Start::Latest);
    expect(&mut reader, "1/1 0 -").await;
    whole(&track, 1, 2, 1);
    let waiting = Instant::now();
    expect(&mut reader, "gap").await;
    assert!(waiting.elapsed() >= PATIENCE && waiting.elapsed() < 2 * PATIENCE);
    expect(&mut reader, "1/2 0").await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_the_older_group_renews_patience() {
    let track = track();
    let mut slow = open(&track, 1, 1);
    push(&mut slow, &[0]);
    whole(&track, 1, 2, 1);
    let mut reader = Reader::new(track.consumer(), Start::After(1, 0, 0));
    expect(&mut reader, "1/1 0").await;
    for number in 1..4 {
        assert!(timeout(PATIENCE * 9 / 10, reader.next()).await.is_err());
        push(&mut slow, &[0]);
        expect(&mut reader, &number.to_string()).await;
    }
    slow.finish();
    expect(&mut reader, "1/2 0").await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_group_is_waited_for_and_then_told() {
    let rows = [(true, "1/2 0 1/3 0"), (false, "gap 1/3 0")];
    for (comes, items) in rows {
        let track = track();
        whole(&track, 1, 1, 1);
        let mut reader = Reader::new(track.consumer(), Start::Latest);
        expect(&mut reader, "1/1 0").await;
        whole(&track, 1, 3, 1);
        assert!(timeout(PATIENCE / 2, reader.next()).await.is_err());
        if comes {
            whole(&track, 1, 2, 1);
        }
        expect(&mut reader, items).await;
    }
}

#[tokio::test(start_paused = true)]
async fn groups_that_were_dropped_are_not_waited_for() {
    let cache = Cache::new(2 * (group::GROUP_COST + group::FRAME_COST));
    let (track, consumer) = track::new(&cache, None).unwrap();
    whole(&track, 1, 1, 1);
    let mut reader = Reader::new(consumer, Start::Latest);
    expect(&mut reader, "1/1 0").await;
    for number in 2..6 {
        whole(&track, 1, number, 1);
    }
    let waiting = Instant::now();
    expect(&mut reader, "gap 1/4 0 1/5 0").await;
    assert_eq!(waiting.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_greater_epoch_comes_after_without_a_wait() {
    let track = track();
    whole(&track, 1, 100, 1);
    let mut reader = Reader::new(track.consumer(), Start::Latest);
    expect(&mut reader, "1/100 0 -").await;
    whole(&track, 2, 7, 1);
    let waiting = Instant::now();
    expect(&mut reader, "2/7 0").await;
    assert_eq!(waiting.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn it_knows_its_lag_and_skips() {
    let track = track();
    let mut old = open(&track, 1, 1);
    push(&mut old, &[0, 1, 2]);
    let mut reader = Reader::new(track.consumer(), Start::Latest);
    assert_eq!(reader.lag(), Duration::ZERO);
    expect(&mut reader, "1/1 0").await;
    assert_eq!(reader.lag(), Duration::from_secs(2));
    assert!(!reader.skip_to_latest());
    let mut new = open(&track, 1, 3);
    push(&mut new, &[6, 7]);
    assert_eq!(reader.lag(), Duration::from_secs(7));
    assert!(reader.skip_to_latest());
    expect(&mut reader, "1/3").await;
    assert_eq!(reader.lag(), Duration::from_secs(1));
    expect(&mut reader, "0 1 -").await;
    assert_eq!(reader.lag(), Duration::ZERO);
    push(&mut open(&track, 2, 1), &[0]);
    assert_eq!(
        reader.lag(),
        Duration::ZERO,
        "another epoch, another time line"
    );
}

#[tokio::test(start_paused = true)]
async fn a_track_that_ends_without_a_group_is_over() {
    let track = track();
    let mut reader = Reader::new(track.consumer(), Start::Latest);
    expect(&mut reader, "-").await;
    let empty = open(&track, 1, 1);
    track.end();
    expect(&mut reader, "-").await;
    drop(empty);
    expect(&mut reader, "end").await;
}
