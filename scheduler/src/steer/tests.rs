//! Decisions as tables: who wins, why each other edge lost, and how viewers spread.

use std::sync::Arc;

use super::*;
use crate::geo::{Point, Source};
use crate::glob::Glob;
use crate::market::{Market, Quote};
use crate::policy::{Placement, Policies};
use crate::snapshot::fixture::{
    FRANKFURT, PARIS, SHANGHAI, VIRGINIA, edge, sample, snapshot, view,
};
use crate::snapshot::{NodeView, Snapshot, hash};
use crate::usage::Ledger;

fn viewer((lat, lon): (f64, f64)) -> Viewer<'static> {
    let located = Located {
        point: Point { lat, lon },
        country: None,
        region: cluster::region::Region::UNKNOWN,
        source: Source::Database,
    };
    Viewer::new(located, hash(b"viewer"), 0)
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

fn ids<'a>(snapshot: &'a Snapshot, decision: &Decision<'_>) -> Vec<&'a str> {
    decision
        .edges()
        .map(|edge| snapshot.nodes[edge.node].node().id.as_str())
        .collect()
}

#[test]
fn the_nearest_usable_edge_wins_and_each_other_one_says_why_it_lost() {
    use Reason::*;
    type Change = fn(&mut [NodeView]);
    let full: Change = |nodes| nodes[0].viewers = 970;
    let busy: Change = |nodes| nodes[0].egress_bps = 970_000_000;
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
        let scored = candidate.cost.is_some();
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

fn count(decision: &Decision<'_>, reason: Reason) -> usize {
    let lost = decision.candidates.iter().map(|it| it.lost);
    lost.filter(|lost| *lost == Some(reason)).count()
}

#[test]
fn of_equally_near_edges_one_is_drawn_and_one_ahead_of_its_share_lets_the_next_go_first() {
    let mut snapshot = equal(5);
    for node in &mut snapshot.nodes {
        node.capacity = cluster::node::Capacity::default();
        node.egress_bps = 10_000_000_000;
    }
    let first = steer(&snapshot, &viewer(PARIS));
    assert_eq!(count(&first, Reason::NotDrawn), 4);
    assert_eq!(first.edges().count(), 4);
    let chances: f64 = first.candidates.iter().map(|it| it.chance).sum();
    assert!((chances - 1.0).abs() < 1e-9, "{chances}");

    let winner = first.chosen().unwrap().node;
    for _ in 0..210 {
        snapshot.nodes[winner].sent.add(1_000_000);
    }
    let second = steer(&snapshot, &viewer(PARIS));
    assert_eq!(second.candidates[winner].lost, Some(Reason::AheadOfShare));
    assert_eq!(count(&second, Reason::NotDrawn), 3);
}

/// Ten edges of different prices around one place; the chances that a plan would give.
fn priced(prices: &[f64]) -> Snapshot {
    let mut snapshot = equal(prices.len() as u16);
    for node in &mut snapshot.nodes {
        node.capacity.egress_bps = 100_000_000_000;
        node.capacity.viewers = 0;
    }
    let quote = |(nth, price): (usize, &f64)| {
        let quote = Quote {
            money: *price,
            planned_bps: 1e9,
            ..Quote::default()
        };
        (nth as u16 + 1, quote)
    };
    let market = Market {
        made_ms: 1,
        quotes: prices.iter().enumerate().map(quote).collect(),
        ..Market::default()
    };
    snapshot.follow(&Arc::new(market), 1);
    snapshot
}

#[test]
fn splits_are_within_a_hundredth_of_their_chances() {
    let prices = [1.0, 1.02, 1.04, 1.06, 1.1, 1.15];
    let snapshot = priced(&prices);
    let mut sent = [0u32; 6];
    let mut chances = [0.0; 6];
    for n in 0..20_000 {
        let decision = steer(
            &snapshot,
            &Viewer {
                key: mix(n),
                ..viewer(PARIS)
            },
        );
        sent[decision.chosen().unwrap().node] += 1;
        for candidate in decision.candidates.iter() {
            chances[candidate.node] += candidate.chance / 20_000.0;
        }
        decision.count(&snapshot, 1_000_000);
    }
    assert!(
        chances.windows(2).all(|pair| pair[0] > pair[1]),
        "{chances:?}"
    );
    for (sent, chance) in sent.iter().zip(chances) {
        let share = f64::from(*sent) / 20_000.0;
        assert!((share - chance).abs() < 0.01, "{share} for {chance}");
    }
}

#[test]
fn an_edge_that_is_much_dearer_is_a_fallback() {
    let snapshot = priced(&[1.0, 1.0, 1.0, 2.0]);
    let decision = steer(&snapshot, &viewer(PARIS));
    assert_eq!(count(&decision, Reason::NotDrawn), 2);
    assert_eq!(decision.candidates[3].lost, Some(Reason::Dearer));
    assert_eq!(ids(&snapshot, &decision)[3], "edge-4");
}

#[test]
fn a_cheaper_edge_within_the_slack_is_worth_a_longer_way_but_none_beyond_it() {
    // Paris is 14 ms from Frankfurt, and Virginia more than a hundred farther.
    for (price, far_price, expected) in [(1.0, 0.2, "par"), (2.0, 1.0, "fra"), (9.0, 0.0, "fra")] {
        let mut snapshot = snapshot(vec![
            edge(1, "fra", FRANKFURT),
            edge(2, "iad", VIRGINIA),
            edge(3, "par", PARIS),
        ]);
        let quote = |money| Quote {
            money,
            ..Quote::default()
        };
        let quotes = [(1, quote(1.0)), (2, quote(far_price)), (3, quote(price))];
        let market = Market {
            made_ms: 1,
            quotes: quotes.into(),
            ..Market::default()
        };
        snapshot.follow(&Arc::new(market), 1);
        let decision = steer(&snapshot, &viewer(PARIS));
        assert_eq!(
            ids(&snapshot, &decision)[0],
            expected,
            "{price} {far_price}"
        );
    }
}

#[test]
fn a_failed_edge_moves_only_its_own_viewers_to_several_heirs() {
    let mut snapshot = equal(8);
    let at = |snapshot: &Snapshot| -> Vec<usize> {
        let viewer = |n| Viewer {
            key: mix(n),
            ..viewer(PARIS)
        };
        let chosen = |n| steer(snapshot, &viewer(n)).chosen().unwrap().node;
        (0..4_000).map(chosen).collect()
    };
    let before = at(&snapshot);
    snapshot.nodes[2].health = Health::Down;
    let after = at(&snapshot);
    let mut heirs = [0u32; 8];
    for (before, after) in before.iter().zip(after) {
        if *before == 2 {
            heirs[after] += 1;
        } else {
            assert_eq!(*before, after, "who plays elsewhere stays");
        }
    }
    let moved: u32 = heirs.iter().sum();
    assert_eq!(heirs[2], 0);
    assert!(heirs.iter().all(|heir| *heir < moved / 4), "{heirs:?}");
}

#[test]
fn viewers_of_a_small_stream_stay_together_and_at_home() {
    let key = StreamKey::parse("live/x").unwrap();
    let mut snapshot = priced(&[1.0; 6]);
    let mut market = Market::clone(&snapshot.market);
    let home = Home {
        open: vec![4],
        buckets: 1,
    };
    market.homes.insert(key.clone(), Arc::new(home));
    snapshot.follow(&Arc::new(market), 1);
    for n in 0..40 {
        let viewer = Viewer {
            stream: Some(&key),
            key: mix(n),
            ..viewer(PARIS)
        };
        let decision = steer(&snapshot, &viewer);
        let chosen = decision.chosen().unwrap();
        assert_eq!(snapshot.nodes[chosen.node].number, 4, "viewer {n}");
        assert!(chosen.affinity > 0.0);
        decision.count(&snapshot, 1_000_000);
    }
}

#[test]
fn an_edge_with_no_plan_or_no_chance_leaves_the_others_their_shares() {
    let mut snapshot = priced(&[1.0; 4]);
    snapshot.nodes[3].quote.as_mut().unwrap().planned_bps = 0.0;
    let loads = [2_000_000_000, 1_000_000_000, 1_000_000_000, 1_000_000];
    for (view, load) in snapshot.nodes.iter_mut().zip(loads) {
        view.egress_bps = load;
    }
    let decision = steer(&snapshot, &viewer(PARIS));
    let chance = |at: usize| decision.candidates[at].chance;
    assert!(
        chance(0) < 0.8 * chance(1),
        "what carries too much gets less"
    );
    assert!((chance(1) - chance(2)).abs() < 1e-9);
    for view in &mut snapshot.nodes {
        view.capacity.egress_bps = 1;
        (view.capacity.viewers, view.egress_bps) = (0, 0);
        view.quote.as_mut().unwrap().scarcity = f64::MAX;
    }
    let decision = steer(&snapshot, &viewer(PARIS));
    let chances = decision.candidates.iter().map(|it| it.chance);
    assert!(chances.clone().all(|it| it > 0.0) && (chances.sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn a_policy_at_its_cap_takes_nobody_new_and_keeps_who_is_there() {
    let key = StreamKey::parse("live/x").unwrap();
    let at = |cap: Option<u64>, watching: u32, kept| {
        let mut sample = sample("fra", cluster::node::Role::Edge, FRANKFURT);
        sample.viewers = vec![cluster::sample::StreamViewers {
            key: key.clone(),
            viewers: watching,
            joins: 0,
            leaves: 0,
        }];
        let mut snapshot = snapshot(vec![view(1, sample)]);
        let mut policy = Policy::default();
        policy.caps.viewers = cap;
        snapshot.policies = Arc::new(Policies::new(Vec::new(), policy));
        snapshot.usage = Ledger::default().tally(&snapshot, 0);
        let viewer = Viewer {
            stream: Some(&key),
            kept,
            ..viewer(PARIS)
        };
        let decision = steer(&snapshot, &viewer);
        (decision.chosen().is_some(), decision.candidates[0].lost)
    };
    let refused = (false, Some(Reason::Capped));
    assert_eq!(at(None, 50, None), (true, None));
    assert_eq!(at(Some(51), 50, None), (true, None));
    assert_eq!(at(Some(50), 50, None), refused);
    assert_eq!(at(Some(50), 50, Some(1)), (true, None));
}

#[test]
fn policies_keep_viewers_off_edges_and_say_so() {
    let glob = |text| Glob::parse(text).unwrap();
    let placement = |change: fn(&mut Placement, Glob)| {
        let mut policy = Policy::default();
        change(&mut policy.placement, glob("fra"));
        Policies::new(Vec::new(), policy)
    };
    type Change = fn(&mut Placement, Glob);
    let rows: [(Change, Reason, usize); 3] = [
        (|it, fra| it.deny = vec![fra], Reason::Denied, 1),
        (|it, fra| it.allow = vec![fra], Reason::NotAllowed, 2),
        (|it, _| it.countries = vec![*b"DE"], Reason::Residency, 3),
    ];
    for (change, reason, barred) in rows {
        let mut snapshot = world(|_| ());
        snapshot.policies = Arc::new(placement(change));
        let decision = steer(&snapshot, &viewer(PARIS));
        assert_eq!(count(&decision, reason), barred, "{reason:?}");
        assert_eq!(decision.edges().count(), 3 - barred);
    }
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
    // To Paris, Frankfurt is 29 ms nearer than the edge of the middle, and 69 ms than the rim's.
    const MIDDLE: (f64, f64) = (60.2, 24.9);
    const RIM: (f64, f64) = (31.8, 35.2);
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
        ("full for new ones", |n| n[1].viewers = 980, "", 2, true),
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
fn an_overloaded_edge_gives_away_what_is_too_much_and_some_more_and_later_others() {
    let mut nodes = vec![edge(1, "fra", FRANKFURT), edge(2, "iad", VIRGINIA)];
    nodes[0].viewers = 1_500;
    let snapshot = snapshot(nodes);
    let moves = |key: u64, now_s: u64| {
        let player = Viewer {
            playing: Some(1),
            key: mix(key),
            now_s,
            ..viewer(PARIS)
        };
        let decision = steer(&snapshot, &player);
        let moved = decision.candidates[0].lost == Some(Reason::Overloaded);
        assert_eq!(decision.chosen().unwrap().node, usize::from(moved));
        moved
    };
    let moved = (1..=3_000).filter(|key| moves(*key, 0)).count();
    assert!((1_150..1_400).contains(&moved), "{moved} of 3000");
    assert!((1..100).all(|key| moves(key, 0) == moves(key, SHED_S - 1)));
    let others = |key: &u64| moves(*key, SHED_S) && !moves(*key, 0);
    assert!((1..=3_000).filter(others).count() > 500);
}

#[test]
fn draws_follow_the_weights() {
    let mut snapshot = equal(4);
    snapshot.nodes[0].capacity.egress_bps *= 7;
    let first = (0..10_000).filter(|&n| {
        let viewer = Viewer {
            key: mix(n),
            ..viewer(PARIS)
        };
        steer(&snapshot, &viewer).chosen().unwrap().node == 0
    });
    let share = first.count() as f64 / 10_000.0;
    assert!((share - 0.7).abs() < 0.03, "{share}");
}

#[test]
fn some_explore_edges_within_the_slack_when_the_policy_says_so() {
    let mut snapshot = priced(&[1.0, 3.0]);
    let policy = Policy {
        explore: 0.1,
        ..Policy::default()
    };
    snapshot.policies = Arc::new(Policies::new(Vec::new(), policy));
    let explored = (0..10_000).filter(|&n| {
        let decision = steer(
            &snapshot,
            &Viewer {
                key: mix(n),
                ..viewer(PARIS)
            },
        );
        let dear = decision.chosen().unwrap().node == 1;
        assert!(!dear || decision.explored);
        dear
    });
    let share = explored.count() as f64 / 10_000.0;
    assert!((share - 0.05).abs() < 0.01, "half of a tenth, not {share}");
}

#[test]
fn few_players_a_minute_move_for_money() {
    let snapshot = priced(&[1.0, 3.0]);
    let moved = |minute: u64| {
        let moves = |n: &u64| {
            let player = Viewer {
                key: mix(*n),
                kept: Some(2),
                playing: Some(2),
                now_s: minute * 60,
                ..viewer(PARIS)
            };
            steer(&snapshot, &player).held.is_none()
        };
        (0..10_000).filter(moves).count()
    };
    let (first, second) = (moved(1), moved(2));
    assert!(
        (150..250).contains(&first) && (150..250).contains(&second),
        "{first} {second}"
    );
}

/// Max over mean load when viewers come and go for ten minutes of virtual time, steered by four
/// schedulers that know each edge's load of `age_s` ago and what they sent themselves.
fn herding(age_s: u64) -> f32 {
    const EDGES: usize = 10;
    const REPLICAS: usize = 4;
    const JOINS_PER_S: usize = 200;
    const SESSION_S: u64 = 150;
    let mut replicas: Vec<Snapshot> = (0..REPLICAS).map(|_| priced(&[1.0; EDGES])).collect();
    let mut viewers = [0u32; EDGES];
    let mut leaving: std::collections::BTreeMap<u64, Vec<usize>> = Default::default();
    let mut random = 1u64;
    let mut worst = 0f32;
    for second in 0..600u64 {
        for edge in leaving.remove(&second).unwrap_or_default() {
            viewers[edge] -= 1;
        }
        if second % age_s == 0 {
            for view in replicas.iter_mut().flat_map(|it| it.nodes.iter_mut()) {
                let viewers = viewers[usize::from(view.number) - 1];
                view.egress_bps = u64::from(viewers) * 1_000_000;
                view.counted = view.sent.count();
            }
        }
        for nth in 0..JOINS_PER_S {
            random = mix(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
            let snapshot = &replicas[nth % REPLICAS];
            let decision = steer(
                snapshot,
                &Viewer {
                    key: random,
                    ..viewer(PARIS)
                },
            );
            let edge = decision.chosen().unwrap().node;
            decision.count(snapshot, 1_000_000);
            viewers[edge] += 1;
            let uniform = (mix(random) >> 11) as f64 / (1u64 << 53) as f64;
            let stay = (-(1.0 - uniform).ln() * SESSION_S as f64) as u64 + 1;
            leaving.entry(second + stay).or_default().push(edge);
        }
        if second >= 300 {
            let mean = viewers.iter().sum::<u32>() as f32 / EDGES as f32;
            worst = worst.max(*viewers.iter().max().unwrap() as f32 / mean);
        }
    }
    worst
}

#[test]
fn loads_stay_even_however_old_telemetry_is() {
    for age_s in [5, 30, 120] {
        let worst = herding(age_s);
        assert!(worst <= 1.1, "max/mean {worst} at {age_s} s");
    }
}
