//! Encoder and window together, as sender and receiver of one stream.

use std::iter::once;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::wire::{Block, PROBE, Parity};

const LIMIT: usize = 1400;

/// A pace that has seen a loss of some per cent, and has credit.
fn lossy(now: Instant) -> Pace {
    let mut pace = Pace::default();
    for second in 0..50 {
        pace.measure(
            now + Duration::from_millis(40) * second,
            u64::from(second) * 14,
            u64::from(second / 2),
        );
    }
    for _ in 0..100 {
        pace.earn(20_000);
    }
    pace
}

fn bytes(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at * at / 7 + at * 13) as u8)
        .collect::<Vec<u8>>()
        .into()
}

/// The parity of a stream's first bytes, ahead of any loss, and the probes behind it.
fn parity_of(payload: &Bytes, path: Path) -> (Vec<Parity>, usize) {
    let now = Instant::now();
    let mut pace = lossy(now);
    let mut encoder = Encoder::new(3);
    let (head, tail) = (
        payload.slice(..payload.len() / 3),
        payload.slice(payload.len() / 3..),
    );
    encoder.push(&[head, tail]);
    encoder.sent(now, &pace);
    let (mut datagrams, mut probes) = (Vec::new(), 0);
    for _ in 0..100 {
        let Some(due) = encoder.due(path.rtt) else {
            break;
        };
        for datagram in encoder.poll(due, path, &mut pace) {
            match Parity::decode(&datagram).unwrap() {
                Some(parity) => datagrams.push(parity),
                None => probes += usize::from(datagram[0] == PROBE),
            }
            assert!(datagram.len() <= path.limit);
        }
    }
    assert_eq!(encoder.due(path.rtt), None);
    (datagrams, probes)
}

fn path() -> Path {
    Path {
        rtt: Duration::from_millis(50),
        lost: 7,
        limit: LIMIT,
    }
}

/// What is read when `lost` bytes do not arrive but the parity does.
fn received(
    payload: &Bytes,
    lost: impl IntoIterator<Item = Range<usize>>,
    parity: Vec<Parity>,
) -> Vec<u8> {
    let mut window = Window::new(0);
    let mut read = Vec::new();
    let mut at = 0;
    for lost in lost.into_iter().chain(once(payload.len()..payload.len())) {
        for piece in payload[at..lost.start.max(at)].chunks(1200) {
            let offset = piece.as_ptr() as u64 - payload.as_ptr() as u64;
            window.insert(offset, piece).unwrap();
            read.extend_from_slice(window.readable());
            window.advance(usize::MAX);
        }
        at = at.max(lost.end);
    }
    for parity in parity {
        window.repair(parity);
        read.extend_from_slice(window.readable());
        window.advance(usize::MAX);
    }
    read
}

#[test]
fn any_lost_packet_of_a_frame_is_repaired() {
    let payload = bytes(20_000);
    let (parity, probes) = parity_of(&payload, path());
    assert_eq!(probes, 1);
    for start in (0..18_600).step_by(97) {
        let read = received(&payload, once(start..start + LIMIT + 10), parity.clone());
        assert_eq!(read, payload, "lost from {start}");
    }
    let end = payload.len() - 700..payload.len();
    assert_eq!(received(&payload, once(end), parity), payload);
}

#[test]
fn a_small_frame_is_repeated() {
    let payload = bytes(300);
    let (parity, _) = parity_of(&payload, path());
    assert_eq!(parity.len(), 1);
    assert_eq!(parity[0].bytes, payload);
    assert_eq!(received(&payload, once(0..300), parity), payload);
}

#[test]
fn a_key_frame_larger_than_a_block_is_covered_in_several() {
    let payload = bytes(400_000);
    let (parity, _) = parity_of(&payload, path());
    let mut blocks: Vec<Block> = parity.iter().map(|parity| parity.block).collect();
    blocks.dedup();
    assert!(blocks.len() >= 3);
    assert_eq!(
        (blocks[0].start, blocks.last().unwrap().end() <= 400_000),
        (0, true)
    );
    assert!(blocks.iter().all(Block::is_valid));
}

#[test]
fn losses_beyond_the_parity_are_answered_once_they_are_known() {
    let now = Instant::now();
    let mut pace = lossy(now);
    let mut encoder = Encoder::new(3);
    let payload = bytes(20_000);
    encoder.push(std::slice::from_ref(&payload));
    encoder.sent(now, &pace);
    let mut at_time = Vec::new();
    while let Some(due) = encoder.due(path().rtt) {
        // Six packets are known to be lost after a round trip.
        let lost = if due >= now + Duration::from_millis(50) {
            13
        } else {
            7
        };
        let datagrams = encoder.poll(due, Path { lost, ..path() }, &mut pace);
        let parity = datagrams
            .iter()
            .filter_map(|datagram| Parity::decode(datagram).unwrap());
        let rows: Vec<usize> = parity
            .filter(|parity| parity.column == 0)
            .map(|parity| parity.row)
            .collect();
        if !rows.is_empty() {
            at_time.push(((due - now).as_millis(), rows));
        }
    }
    let mut rows = at_time[0].1.len();
    let mut expected = vec![(5, (0..rows).collect::<Vec<usize>>())];
    for (at, least) in [(54, 0), (62, 0), (70, 1)] {
        let more = 6_usize.saturating_sub(rows).div_ceil(2).max(least);
        expected.push((at, (rows..rows + more).collect()));
        rows += more;
    }
    expected.retain(|(_, rows)| !rows.is_empty());
    assert_eq!(at_time, expected);
}

#[test]
fn a_frame_that_a_burst_may_end_is_followed_by_probes() {
    let now = Instant::now();
    let mut pace = Pace::default();
    for frame in 0..50 {
        let lost = u64::from(frame / 10 * 4);
        pace.measure(
            now + Duration::from_millis(40) * frame,
            u64::from(frame) * 14,
            lost,
        );
    }
    let mut encoder = Encoder::new(3);
    encoder.push(&[bytes(20_000)]);
    encoder.sent(now, &pace);
    let mut probes = Vec::new();
    while let Some(due) = encoder.due(path().rtt) {
        for datagram in encoder.poll(due, path(), &mut pace) {
            assert_eq!(datagram[..], [PROBE]);
            probes.push((due - now).as_millis());
        }
    }
    assert_eq!(probes, [2, 4, 6, 8, 10]);
}

#[test]
fn a_peer_without_datagrams_costs_nothing() {
    let (parity, probes) = parity_of(&bytes(20_000), Path { limit: 0, ..path() });
    assert_eq!((parity.len(), probes), (0, 0));
}

#[test]
fn what_is_read_and_settled_is_forgotten() {
    let payload = bytes(3_000_000);
    let mut window = Window::new(0);
    for (index, piece) in payload.chunks(1200).enumerate() {
        window.insert(index as u64 * 1200, piece).unwrap();
        assert_eq!(window.readable(), piece);
        window.advance(usize::MAX);
        assert!(window.memory() <= 1 << 20);
    }
    let settled = Parity {
        stream: 3,
        block: Block {
            start: 2_999_000,
            length: 1000,
            width: 1000,
        },
        row: 0,
        column: 0,
        bytes: Bytes::from_static(&[0; 1000]),
    };
    window.repair(settled);
    window.advance(usize::MAX);
    assert!(window.memory() <= 64 << 10);
}

#[test]
fn a_hole_does_not_hold_more_than_its_bound() {
    let mut window = Window::new(0);
    let piece = [0; 1000];
    let mut offset = 5000;
    while window.insert(offset, &piece) == Ok(()) {
        offset += 1000;
        assert!(offset <= 17 << 20);
    }
    assert!(window.memory() <= 40 << 20);
    let mut window = Window::new(0);
    assert!((0..10_000).any(|index| window.insert(index * 3 + 1, &[1]).is_err()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_repaired_is_what_was_sent(
        length in 1..150_000_usize,
        packet in 1000..LIMIT + 10,
        lost in prop::collection::btree_set(0..150_usize, 0..12),
        taken in any::<u64>(),
    ) {
        let payload = bytes(length);
        let (parity, _) = parity_of(&payload, path());
        let arrived = parity.iter().enumerate().filter(|(at, _)| taken >> (at % 64) & 1 == 1);
        let parity: Vec<Parity> = arrived.map(|(_, parity)| parity.clone()).collect();
        let lost = lost.into_iter().map(|at| at * packet..((at + 1) * packet).min(length));
        let lost: Vec<_> = lost.filter(|lost| lost.start < length).collect();
        let whole = |part: &&Parity| part.column == 0 && part.block.width == part.bytes.len();
        let rows = parity.iter().filter(whole).count();
        let one_block = parity.iter().all(|part| part.block == parity[0].block);
        let enough = lost.len() <= rows && one_block;
        let read = received(&payload, lost, parity);
        prop_assert_eq!(&read[..], &payload[..read.len()]);
        if enough && length <= MAX_ROWS * 1000 {
            prop_assert_eq!(read.len(), length);
        }
    }

    #[test]
    fn no_parity_makes_a_window_panic_or_read_what_is_not_there(
        pieces in prop::collection::vec((0..9000_u64, 1..900_usize), 0..12),
        parities in prop::collection::vec(
            (
                0..9000_u64,
                1..9000_usize,
                1..1500_usize,
                0..MAX_PARITY,
                0..1500_usize,
                1..1400_usize,
            ),
            0..12,
        ),
        keep in 0..4000_usize,
    ) {
        let mut window = Window::new(100);
        let mut parities = parities.into_iter();
        for (offset, length) in pieces {
            let _ = window.insert(offset, &vec![1; length]);
            if let Some((start, length, width, row, column, bytes)) = parities.next() {
                let parity = Parity {
                    stream: 3,
                    block: Block { start, length, width },
                    row,
                    column,
                    bytes: vec![9; bytes].into(),
                };
                if let Ok(Some(parity)) = Parity::decode(&parity.encode().unwrap()) {
                    window.repair(parity);
                }
            }
            window.advance(keep);
            prop_assert!(window.readable().is_empty());
        }
    }

    #[test]
    fn any_datagram_is_read_or_refused(datagram in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Parity::decode(&Bytes::from(datagram.clone()));
        let parity = Bytes::from([&[1][..], &datagram].concat());
        if let Ok(Some(parity)) = Parity::decode(&parity) {
            prop_assert!(parity.block.is_valid());
            prop_assert!(parity.column + parity.bytes.len() <= parity.block.width);
            prop_assert!(parity.row < MAX_PARITY);
            prop_assert_eq!(Parity::decode(&parity.encode().unwrap()), Ok(Some(parity)));
        }
    }
}
