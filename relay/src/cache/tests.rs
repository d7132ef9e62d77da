//! The byte budget: what is dropped first, and that it always holds.

use bytes::Bytes;
use media::frame::{Frame, Kind, TrackId};
use media::timestamp::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::group::{self, End, FRAME_COST, GROUP_COST, Header, Key, Refused};

/// What a group of one such frame counts for.
const ONE: usize = 1000 + FRAME_COST + GROUP_COST;

fn frame() -> Frame {
    Frame {
        track: TrackId::VIDEO,
        kind: Kind::Key,
        dts: Timestamp::ZERO,
        cts: Timestamp::ZERO,
        duration: None,
        payload: Bytes::from(vec![0; 1000]),
    }
}

fn open(track: &track::Producer, number: u64) -> group::Producer {
    track.open_group(header(number, 0)).unwrap()
}

/// A group that began at the second of its number.
fn open_at(track: &track::Producer, number: u64) -> group::Producer {
    track.open_group(header(number, number)).unwrap()
}

fn whole_at(track: &track::Producer, number: u64) {
    let mut group = open_at(track, number);
    group.push(frame()).unwrap();
    group.finish();
}

fn header(number: u64, at_s: u64) -> Header {
    Header {
        epoch: 1,
        number,
        wallclock_us: at_s * 1_000_000,
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

/// A group with one frame, finished.
fn whole(track: &track::Producer, number: u64) {
    let mut group = open(track, number);
    group.push(frame()).unwrap();
    group.finish();
}

fn numbers(track: &track::Producer) -> Vec<u64> {
    let mut numbers: Vec<u64> = track
        .consumer()
        .recent(usize::MAX)
        .iter()
        .map(|group| group.key().number)
        .collect();
    numbers.reverse();
    numbers
}

fn track(cache: &Cache) -> track::Producer {
    track::new(cache, None).unwrap().0
}

#[test]
fn the_oldest_closed_group_of_all_tracks_goes_first() {
    let cache = Cache::new(4 * ONE);
    let (a, b) = (track(&cache), track(&cache));
    whole(&a, 1);
    whole(&b, 1);
    whole(&b, 2);
    whole(&a, 2);
    assert_eq!(cache.bytes(), 4 * ONE);
    whole(&b, 3);
    assert_eq!((numbers(&a), numbers(&b)), (vec![2], vec![1, 2, 3]));
    whole(&b, 4);
    assert_eq!((numbers(&a), numbers(&b)), (vec![2], vec![2, 3, 4]));
    assert_eq!(cache.bytes(), 4 * ONE);
}

#[test]
fn the_newest_group_of_a_live_track_stays_and_that_of_an_ended_one_does_not() {
    let cache = Cache::new(3 * ONE);
    let (quiet, busy) = (track(&cache), track(&cache));
    whole(&quiet, 1);
    for number in 0..10 {
        whole(&busy, number);
    }
    assert_eq!((numbers(&quiet), numbers(&busy)), (vec![1], vec![8, 9]));
    let consumer = quiet.consumer();
    quiet.end();
    whole(&busy, 10);
    assert!(consumer.latest().is_none());
    assert_eq!(numbers(&busy), [8, 9, 10]);
}

#[test]
fn a_group_that_is_still_written_goes_only_when_nothing_closed_is_left() {
    let cache = Cache::new(3 * ONE);
    let track = track(&cache);
    let mut slow = open(&track, 1);
    slow.push(frame()).unwrap();
    whole(&track, 2);
    whole(&track, 3);
    whole(&track, 4);
    assert_eq!(numbers(&track), [1, 3, 4], "2 is older than 3 and closed");
    let mut newest = open(&track, 5);
    newest.push(frame()).unwrap();
    newest.push(frame()).unwrap();
    assert_eq!(numbers(&track), [1, 5], "nothing closed is left");
    newest.push(frame()).unwrap();
    newest.push(frame()).unwrap();
    newest.push(frame()).unwrap();
    newest.push(frame()).unwrap();
    while numbers(&track).contains(&1) {
        newest.push(frame()).unwrap();
    }
    assert_eq!(slow.group().end(), Some(End::Aborted));
    assert_eq!(slow.push(frame()), Err(Refused::Dropped));
}

#[test]
fn what_comes_of_the_past_displaces_nothing_younger() {
    let cache = Cache::new(3 * ONE);
    let (a, b) = (track(&cache), track(&cache));
    whole_at(&a, 5);
    whole_at(&a, 9);
    whole_at(&b, 4);
    let mut old = open_at(&a, 3);
    assert_eq!(old.push(frame()), Err(Refused::Budget));
    assert_eq!((numbers(&a), numbers(&b)), (vec![5, 9], vec![4]));
    whole_at(&b, 7);
    assert_eq!((numbers(&a), numbers(&b)), (vec![9], vec![4, 7]));
    whole_at(&a, 8);
    let oldest = "the oldest by the origin's clock gave way";
    assert_eq!(
        (numbers(&a), numbers(&b)),
        (vec![8, 9], vec![7]),
        "{oldest}"
    );
}

#[test]
fn an_aborted_group_gives_its_place_and_its_bytes_to_a_whole_one() {
    let cache = Cache::new(10 * ONE);
    let track = track(&cache);
    let mut cut = open(&track, 1);
    cut.push(frame()).unwrap();
    drop(cut);
    whole(&track, 2);
    let mut late = open(&track, 1);
    late.push(frame()).unwrap();
    late.push(frame()).unwrap();
    let key = Key {
        epoch: 1,
        number: 1,
    };
    assert_eq!(
        track.consumer().group(key).unwrap().len(),
        1,
        "not before it is whole"
    );
    drop(late);
    assert_eq!(cache.bytes(), 2 * ONE, "one that is cut again is forgotten");
    let mut late = open(&track, 1);
    late.push(frame()).unwrap();
    late.push(frame()).unwrap();
    late.finish();
    assert_eq!(track.consumer().group(key).unwrap().len(), 2);
    assert_eq!(numbers(&track), [1, 2]);
    assert_eq!(cache.bytes(), 2 * ONE + 1000 + FRAME_COST);
    assert!(track.open_group(header(1, 0)).is_err(), "a whole one stays");
}

#[test]
fn a_group_that_alone_exceeds_the_budget_is_dropped() {
    let cache = Cache::new(2 * ONE);
    let track = track(&cache);
    let mut group = open(&track, 1);
    let refused = loop {
        if let Err(refused) = group.push(frame()) {
            break refused;
        }
    };
    assert_eq!(refused, Refused::Budget);
    assert_eq!(group.group().end(), Some(End::Aborted));
    assert!(numbers(&track).is_empty());
    assert_eq!(cache.bytes(), 0);
    drop(group);
    whole(&track, 2);
    assert_eq!(numbers(&track), [2], "the next one has the room");
}

#[test]
fn a_dropped_group_can_be_read_to_its_end_and_is_counted_as_held() {
    let cache = Cache::new(2 * ONE);
    let track = track(&cache);
    whole(&track, 1);
    let held = track
        .consumer()
        .group(Key {
            epoch: 1,
            number: 1,
        })
        .unwrap();
    whole(&track, 2);
    whole(&track, 3);
    assert_eq!(numbers(&track), [2, 3]);
    assert_eq!((cache.bytes(), cache.held_bytes()), (2 * ONE, ONE));
    assert_eq!((held.len(), held.end()), (1, Some(End::Finished)));
    drop(held);
    assert_eq!(cache.held_bytes(), 0);
}

#[test]
fn a_track_that_is_gone_gives_everything_back() {
    let cache = Cache::new(10 * ONE);
    let producer = track(&cache);
    whole(&producer, 1);
    whole(&producer, 2);
    drop(producer);
    assert_eq!((cache.bytes(), cache.held_bytes()), (0, 0));
}

#[test]
fn a_cache_carries_so_many_tracks() {
    let cache = Cache::new(1);
    let mut tracks: Vec<_> = (0..MAX_TRACKS).map(|_| track(&cache)).collect();
    assert!(track::new(&cache, None).is_err());
    tracks.pop();
    assert!(track::new(&cache, None).is_ok());
}

proptest! {
    /// Whatever is opened, written, closed and ended, the budget holds and nothing is lost count
    /// of.
    #[test]
    fn the_budget_holds(steps in prop::collection::vec((0..3_usize, 0..6_u8), 1..200)) {
        let cache = Cache::new(5 * ONE);
        let mut tracks: Vec<_> = (0..3).map(|_| Some(track(&cache))).collect();
        let mut groups: Vec<Option<group::Producer>> = vec![None, None, None];
        for (number, (index, step)) in steps.into_iter().enumerate() {
            let Some(track) = tracks[index].clone() else { continue };
            match step {
                0 | 1 => groups[index] = Some(open(&track, number as u64)),
                2..5 => {
                    let pushed = groups[index].as_mut().map(|group| group.push(frame()));
                    if let Some(Err(_)) = pushed {
                        groups[index] = None;
                    }
                }
                _ if number % 7 == 0 => tracks[index] = None,
                _ => groups[index].take().into_iter().for_each(group::Producer::finish),
            }
            prop_assert!(cache.bytes() <= 5 * ONE);
            let live: usize = tracks
                .iter()
                .flatten()
                .flat_map(|track| track.consumer().recent(usize::MAX))
                .map(|group| group.bytes())
                .sum();
            prop_assert!(live <= cache.bytes());
        }
        drop((tracks, groups));
        prop_assert_eq!((cache.bytes(), cache.held_bytes()), (0, 0));
    }
}
