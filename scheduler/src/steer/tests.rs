//! Decisions as tables: who wins, why each other edge lost, and how viewers spread.

use super::*;
use crate::geo::{Point, Source};
use crate::snapshot::fixture::{
    FRANKFURT, PARIS, SHANGHAI, VIRGINIA, edge, sample, snapshot, view,
};
use crate::snapshot::{NodeView, Snapshot, hash};

fn viewer((lat, lon): (f64, f64)) -> Viewer<'static> {
    let located = Located {
        point: Point { lat, lon },
        country: None,
        region: cluster::region::Region::UNKNOWN,
        source: Source::Database,
    };
    Viewer {
        located,
        key: hash(b"viewer"),
        kept: None,
        playing: None,
        exclude: "",
    }
}

fn world(change: impl FnOnce(&mut [NodeView])) -> Snapshot {
    let mut nodes = vec![
        edge(1, "fra", FRANKFURT),
        edge(2, "iad", VIRGINIA),
        edge(3, "sha", SHANGHAI),
    ];
    change(&mut nodes);
    nodes.push(view(
        4,
        sample("origin", cluster::node::Role::Origin, FRANKFURT),
    ));
    snapshot(nodes)
}

fn ids<'a>(snapshot: &'a Snapshot, decision: &Decision) -> Vec<&'a str> {
    decision
        .edges()
        .map(|edge| snapshot.nodes[edge.node].node().id.as_str())
        .collect()
}

#[test]
fn the_nearest_usable_edge_wins_and_each_other_one_says_why_it_lost() {
    use Reason::*;
    type Change = fn(&mut [NodeView]);
    let full: Change = |nodes| nodes[0].viewers = 950;
    let busy: Change = |nodes| nodes[0].egress_bps = 950_000_000;
    let unlimited: Change = |nodes| {
        nodes[0].capacity = cluster::node::Capacity::default();
        nodes[0].viewers = 1_000_000;
    };
    let rows: [(&str, Change, &str, [Option<Reason>; 3]); 8] = [
        ("all well", |_| (), "", [None, Some(Farther), Some(Farther)]),
        (
            "down",
            |n| n[0].health = Health::Down,
            "",
            [Some(Down), None, Some(Farther)],
        ),
        (
            "drain",
            |n| n[0].health = Health::Draining,
            "",
            [Some(Draining), None, Some(Farther)],
        ),
        (
            "excluded",
            |_| (),
            "x,fra",
            [Some(Excluded), None, Some(Farther)],
        ),
        (
            "two excluded",
            |_| (),
            "fra,iad",
            [Some(Excluded), Some(Excluded), None],
        ),
        (
            "viewers",
            full,
            "",
            [Some(ViewersFull), None, Some(Farther)],
        ),
        ("egress", busy, "", [Some(EgressFull), None, Some(Farther)]),
        (
            "no limit",
            unlimited,
            "",
            [None, Some(Farther), Some(Farther)],
        ),
    ];
    for (name, change, exclude, lost) in rows {
        check_reasons(name, &world(change), exclude, &lost);
    }
}

/// A viewer in Paris: why each edge loses, and that the others can be used.
fn check_reasons(name: &str, snapshot: &Snapshot, exclude: &str, lost: &[Option<Reason>]) {
    let viewer = Viewer {
        exclude,
        ..viewer(PARIS)
    };
    let decision = steer(snapshot, &viewer);
    let seen: Vec<_> = decision.candidates.iter().map(|it| it.lost).collect();
    assert_eq!(seen, lost, "{name}");
    assert_eq!(decision.chosen().unwrap().lost, None, "{name}");
    let usable = |lost: &Option<Reason>| matches!(lost, None | Some(Reason::Farther));
    let count = lost.iter().filter(|lost| usable(lost)).count();
    assert_eq!(decision.edges().count(), count, "{name}");
    for candidate in &decision.candidates {
        let scored = candidate.score.is_some();
        assert_eq!(scored, usable(&candidate.lost), "{name}");
    }
}

#[test]
fn fallbacks_go_from_near_to_far() {
    let snapshot = world(|_| ());
    for (city, order) in [
        (FRANKFURT, ["fra", "iad", "sha"]),
        (VIRGINIA, ["iad", "fra", "sha"]),
        (SHANGHAI, ["sha", "fra", "iad"]),
    ] {
        assert_eq!(ids(&snapshot, &steer(&snapshot, &viewer(city))), order);
    }
}

#[test]
fn no_edge_is_chosen_when_none_is_usable() {
    let empty = snapshot(Vec::new());
    assert!(steer(&empty, &viewer(PARIS)).chosen().is_none());
    let down = world(|nodes| nodes.iter_mut().for_each(|node| node.health = Health::Down));
    let decision = steer(&down, &viewer(PARIS));
    assert!(decision.chosen().is_none() && decision.candidates.len() == 3);
}

#[test]
fn an_approximate_place_is_marked() {
    for (source, approximate) in [(Source::Zone, false), (Source::Country, true)] {
        let mut viewer = viewer(PARIS);
        viewer.located.source = source;
        assert_eq!(steer(&world(|_| ()), &viewer).approximate, approximate);
    }
}

fn equal(count: u16) -> Snapshot {
    snapshot(
        (1..=count)
            .map(|n| edge(n, &format!("edge-{n}"), FRANKFURT))
            .collect(),
    )
}

#[test]
fn of_equally_near_edges_two_are_drawn_and_the_less_loaded_wins() {
    let snapshot = equal(5);
    let first = steer(&snapshot, &viewer(PARIS));
    let count = |decision: &Decision, reason| {
        decision
            .candidates
            .iter()
            .filter(|candidate| candidate.lost == Some(reason))
            .count()
    };
    assert_eq!(
        (
            count(&first, Reason::Busier),
            count(&first, Reason::NotDrawn)
        ),
        (1, 3)
    );
    assert_eq!(first.edges().count(), 4);

    let winner = first.chosen().unwrap().node;
    snapshot.nodes[winner].sent.add(1_000_000);
    let second = steer(&snapshot, &viewer(PARIS));
    assert_eq!(
        second.candidates[winner].lost,
        Some(Reason::Busier),
        "own counters count at once"
    );
}

#[test]
fn a_kept_viewer_stays_whatever_the_load_until_its_edge_is_unusable_or_no_longer_nearest() {
    let mut snapshot = equal(5);
    snapshot.nodes.push(edge(9, "far", SHANGHAI));
    let kept = Viewer {
        kept: Some(3),
        ..viewer(PARIS)
    };
    let at = |number: u16| usize::from(number) - 1;

    for viewers in [0, 900, 999] {
        snapshot.nodes[at(3)].viewers = viewers;
        let decision = steer(&snapshot, &kept);
        assert_eq!(
            (decision.chosen().unwrap().node, decision.held),
            (at(3), Some(Hold::Kept)),
            "{viewers}"
        );
        let others = decision
            .candidates
            .iter()
            .filter(|it| it.lost == Some(Reason::KeptElsewhere));
        assert_eq!((others.count(), decision.edges().count()), (4, 4));
    }
    snapshot.nodes[at(3)].health = Health::Down;
    let decision = steer(&snapshot, &kept);
    assert!(decision.held.is_none() && decision.chosen().unwrap().node != at(3));

    let far = Viewer {
        kept: Some(9),
        ..viewer(PARIS)
    };
    let decision = steer(&snapshot, &far);
    assert!(decision.held.is_none() && decision.candidates[5].lost == Some(Reason::Farther));
}

#[test]
fn a_running_player_leaves_its_edge_only_for_a_reason() {
    type Change = fn(&mut [NodeView]);
    // To Paris, Frankfurt is 18 ms nearer than the edge of the middle, and 29 ms than the rim's.
    const MIDDLE: (f64, f64) = (52.2, 21.0);
    const RIM: (f64, f64) = (60.2, 24.9);
    let rows: [(&str, Change, &str, u16, bool); 12] = [
        ("well", |_| (), "", 1, true),
        ("one slack farther", |_| (), "", 2, true),
        ("two slacks farther", |_| (), "", 3, false),
        (
            "farther, the nearer ones just came up",
            |nodes| nodes.iter_mut().for_each(|node| node.settled = false),
            "",
            3,
            true,
        ),
        ("draining", |n| n[1].health = Health::Draining, "", 2, false),
        ("down", |n| n[1].health = Health::Down, "", 2, false),
        ("excluded", |_| (), "middle", 2, false),
        ("full for new ones", |n| n[1].viewers = 990, "", 2, true),
        ("at its capacity", |n| n[1].viewers = 1_000, "", 2, true),
        ("far beyond it", |n| n[1].viewers = 100_000, "", 2, false),
        (
            "far beyond it, by egress",
            |n| n[1].egress_bps = 100_000_000_000,
            "",
            2,
            false,
        ),
        ("unknown", |_| (), "", 77, false),
    ];
    for (case, change, exclude, playing, stays) in rows {
        let mut nodes = vec![
            edge(1, "fra", FRANKFURT),
            edge(2, "middle", MIDDLE),
            edge(3, "rim", RIM),
        ];
        change(&mut nodes);
        let snapshot = snapshot(nodes);
        let player = Viewer {
            playing: Some(playing),
            exclude,
            ..viewer(PARIS)
        };
        let decision = steer(&snapshot, &player);
        let chosen = snapshot.nodes[decision.chosen().unwrap().node].number;
        assert_eq!(chosen == playing, stays, "{case}: {chosen}");
        assert_eq!(decision.held == Some(Hold::Playing), stays, "{case}");
    }
}

#[test]
fn an_overloaded_edge_gives_away_the_share_that_is_too_much() {
    let mut nodes = vec![edge(1, "fra", FRANKFURT), edge(2, "iad", VIRGINIA)];
    nodes[0].viewers = 1_500;
    let snapshot = snapshot(nodes);
    let moves = |key: u64| {
        let player = Viewer {
            playing: Some(1),
            key: mix(key),
            ..viewer(PARIS)
        };
        let decision = steer(&snapshot, &player);
        let moved = decision.candidates[0].lost == Some(Reason::Overloaded);
        assert_eq!(decision.chosen().unwrap().node, usize::from(moved));
        moved
    };
    let moved = (1..=3_000).filter(|key| moves(*key)).count();
    assert!(
        (900..1_100).contains(&moved),
        "{moved} of 3000, not a third"
    );
    assert!((1..100).all(|key| moves(key) == moves(key)));
}

#[test]
fn draws_follow_the_weights() {
    let mut snapshot = equal(4);
    snapshot.nodes[0].capacity.egress_bps *= 7;
    let first = (0..10_000).filter(|&n| {
        let decision = steer(
            &snapshot,
            &Viewer {
                key: mix(n),
                ..viewer(PARIS)
            },
        );
        let best = decision
            .candidates
            .iter()
            .min_by(|a, b| a.rank.draw.total_cmp(&b.rank.draw));
        best.unwrap().node == 0
    });
    let share = first.count() as f64 / 10_000.0;
    assert!((share - 0.7).abs() < 0.03, "{share}");
}

/// Viewers come and go for 20 minutes of virtual time while telemetry is renewed every 30 s.
#[test]
fn loads_stay_even_with_telemetry_thirty_seconds_old() {
    const EDGES: usize = 100;
    const JOINS_PER_S: usize = 200;
    const SESSION_S: u64 = 300;
    let mut snapshot = equal(EDGES as u16);
    let mut viewers = [0u32; EDGES];
    let mut leaving: std::collections::BTreeMap<u64, Vec<usize>> = Default::default();
    let mut random = 1u64;
    let mut worst = 0f32;
    for second in 0..1_200u64 {
        for edge in leaving.remove(&second).unwrap_or_default() {
            viewers[edge] -= 1;
        }
        if second % 30 == 0 {
            for (view, viewers) in snapshot.nodes.iter_mut().zip(viewers) {
                view.viewers = viewers;
                view.counted = view.sent.count();
            }
        }
        for _ in 0..JOINS_PER_S {
            random = mix(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
            let decision = steer(
                &snapshot,
                &Viewer {
                    key: random,
                    ..viewer(PARIS)
                },
            );
            let edge = decision.chosen().unwrap().node;
            snapshot.nodes[edge].sent.add(0);
            viewers[edge] += 1;
            let uniform = (mix(random) >> 11) as f64 / (1u64 << 53) as f64;
            let stay = (-(1.0 - uniform).ln() * SESSION_S as f64) as u64 + 1;
            leaving.entry(second + stay).or_default().push(edge);
        }
        if second >= 600 {
            let mean = viewers.iter().sum::<u32>() as f32 / EDGES as f32;
            worst = worst.max(*viewers.iter().max().unwrap() as f32 / mean);
        }
    }
    assert!(worst <= 1.1, "max/mean {worst}");
}
