//! What an edge shares and fetches, counted by hand.

use super::*;

const BITRATES: [u64; 2] = [1_000_000, 3_000_000];

fn viewer(player: Player) -> Viewer {
    Viewer {
        player,
        ..Viewer::NOBODY
    }
}

fn edge(capacity_bps: u64) -> Edge {
    Edge::new(capacity_bps, (2, 1), &BITRATES)
}

fn rate(class: usize) -> Rate {
    Rate {
        class,
        bps: BITRATES[class],
        stream_bps: BITRATES[class],
        relay_bps: BITRATES[class],
        start_ms: 0,
    }
}

#[test]
fn what_there_is_is_shared_max_min_and_buffers_bridge_the_rest() {
    // One viewer of 1 Mbit/s and three of 3 share 7: the small one gets all, the others 2 each.
    let mut edge = edge(7_000_000);
    let mut small = viewer(Player::Session);
    let mut large = [Player::Session, Player::Flv, Player::Hls].map(viewer);
    edge.enter(0, 0, &mut small, rate(0));
    for (at, viewer) in large.iter_mut().enumerate() {
        viewer.stream = 1;
        edge.enter(0, at as u32 + 1, viewer, rate(1));
    }
    assert_eq!(edge.share(BITRATES[1]), 2.0 / 3.0);
    for second in 1..=6 {
        let said = edge.tick(second * 1000);
        assert_eq!((said.asked, said.sent, said.overloaded), (10e6, 7e6, true));
    }
    // A third is missing: two seconds in six.
    let stalled = large.map(|viewer| edge.stalled_s(&viewer, 1));
    assert!((stalled[0] - 1.8).abs() < 1e-5 && (stalled[1] - 1.0).abs() < 1e-5);
    assert_eq!((stalled[2], edge.stalled_s(&small, 0)), (0.0, 0.0));
    // One goes; the next episode starts with full buffers.
    let (moved, stalled_s) = edge.leave(6000, &large[0], rate(1));
    assert_eq!(moved, Some(3));
    large[2].seat = 1;
    assert!((stalled_s - 1.8).abs() < 1e-5);
    assert!(!edge.tick(7000).overloaded);
    let mut late = viewer(Player::Session);
    late.stream = 1;
    assert!(!edge.enter(7000, 9, &mut late, rate(1)));
    for second in 8..=10 {
        edge.tick(second * 1000);
    }
    let after = edge.stalled_s(&large[1], 1);
    assert!(
        (after - 1.0).abs() < 1e-5,
        "a second missed is in the buffer: {after}"
    );
    assert!((edge.stalled_s(&late, 1) - 0.8).abs() < 1e-5);
}

#[test]
fn a_stream_is_fetched_once_and_kept_for_a_while_after_its_last_viewer() {
    let mut edge = edge(100_000_000);
    let (mut one, mut two) = (viewer(Player::Flv), viewer(Player::Flv));
    assert!(edge.enter(0, 0, &mut one, rate(0)));
    assert!(!edge.enter(500, 1, &mut two, rate(0)));
    edge.leave(2000, &one, rate(0));
    two.seat = 0;
    edge.leave(3000, &two, rate(0));
    edge.tick(4000);
    assert_eq!((edge.relay_bps, edge.relayed), (1_000_000, 4_000_000_000));
    assert_eq!(edge.asked, 1_000_000 * (2000 + 2500));
    // Who comes within ten seconds finds it there; then they begin anew.
    assert!(!edge.enter(12_000, 0, &mut two, rate(0)));
    edge.leave(12_500, &two, rate(0));
    edge.tick(22_000);
    assert_eq!(edge.relay_bps, 1_000_000);
    edge.tick(23_000);
    assert_eq!((edge.relay_bps, edge.relayed), (0, 23_000_000_000));
    assert!(edge.enter(24_000, 0, &mut one, rate(0)));
}

#[test]
fn hls_brings_the_streams_past_and_its_sessions_count_for_a_while_after_they_ended() {
    let mut edge = edge(100_000_000);
    let (mut one, mut two) = (viewer(Player::Flv), viewer(Player::Hls));
    edge.enter(0, 0, &mut one, rate(0));
    edge.enter(10_000, 1, &mut two, rate(0));
    // Ten seconds came, and fifty before them.
    assert_eq!(edge.relayed, 60_000_000_000);
    edge.leave(11_000, &one, rate(0));
    two.seat = 0;
    edge.leave(12_000, &two, rate(0));
    edge.tick(31_000);
    assert_eq!(
        (edge.counted(), edge.streams[0], edge.regions[0]),
        (1, 1, (1, 0))
    );
    edge.tick(32_000);
    assert_eq!(
        (edge.counted(), edge.streams[0], edge.regions[0]),
        (0, 0, (0, 0))
    );
    edge.tick(41_000);
    assert_eq!(edge.relay_bps, 1_000_000);
    edge.tick(42_000);
    assert_eq!(edge.relay_bps, 0);
}

#[test]
fn a_newcomer_is_sent_some_of_the_stream_at_once_and_the_dead_take_nothing_in() {
    let mut edge = edge(100_000_000);
    let mut one = viewer(Player::Flv);
    let rate = Rate {
        start_ms: 500,
        ..rate(0)
    };
    edge.enter(0, 0, &mut one, rate);
    assert_eq!(edge.start(rate), 500_000_000);
    assert_eq!(edge.tick(1000).asked, 1_500_000.0);
    edge.leave(1000, &one, rate);
    edge.die();
    assert_eq!((edge.tick(2000).relayed, edge.relay_bps), (0.0, 0));
}
