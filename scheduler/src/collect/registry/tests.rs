//! Nodes that report, fall silent, restart and leave, and the streams and orders that go with them.

use cluster::plan::Mark;
use cluster::region::Region;

use super::*;
use crate::snapshot::fixture::{FRANKFURT, sample, stream};

fn registry() -> Registry {
    let before = Plan::new(
        Mark {
            epoch: 3,
            revision: 0,
        },
        vec![],
        vec![],
        vec![],
    );
    Registry::new(before, BTreeSet::new(), Vec::new())
}

fn edge(seq: u64) -> Sample {
    Sample {
        seq,
        ..sample("edge", Role::Edge, FRANKFURT)
    }
}

fn origin(seq: u64, streams: &[&str]) -> Sample {
    let streams = streams.iter().map(|key| stream(key, "origin")).collect();
    Sample {
        seq,
        streams,
        ..sample("origin", Role::Origin, FRANKFURT)
    }
}

fn take(registry: &mut Registry, now: u64, sample: Sample) {
    let peer = sample.node.id.clone();
    registry.take(now, peer.as_str(), vec![sample]).unwrap();
}

fn health(registry: &mut Registry) -> Health {
    registry.snapshot(0).node("edge").unwrap().health
}

#[test]
fn three_missed_heartbeats_take_a_node_out_within_three_seconds() {
    let mut registry = registry();
    take(&mut registry, 0, edge(0));
    let mut now = 0;
    while health(&mut registry) == Health::Up {
        now += TICK_MS;
        registry.tick(now);
    }
    assert!((2_500..=3_000).contains(&now), "{now}");
    take(&mut registry, now + 500, edge(1));
    assert_eq!(health(&mut registry), Health::Up);
}

#[test]
fn a_scheduler_that_slept_calls_nobody_silent() {
    let mut registry = registry();
    take(&mut registry, 0, edge(0));
    registry.tick(100);
    registry.tick(60_000);
    assert_eq!(health(&mut registry), Health::Up);
    (60_000..63_100)
        .step_by(100)
        .for_each(|now| registry.tick(now));
    assert_eq!(health(&mut registry), Health::Down);
}

#[test]
fn states_and_drains_show_at_once() {
    for (state, drained, expected) in [
        (State::Serving, false, Health::Up),
        (State::Serving, true, Health::Draining),
        (State::Draining, false, Health::Draining),
        (State::Leaving, false, Health::Down),
        (State::Leaving, true, Health::Down),
    ] {
        let mut registry = registry();
        let id = NodeId::parse("edge").unwrap();
        if drained {
            registry.drain(0, id.clone());
        }
        take(&mut registry, 0, Sample { state, ..edge(0) });
        assert_eq!(health(&mut registry), expected, "{state:?} {drained}");
        assert_eq!(registry.undrain(0, &id), drained);
        let undrained = if drained && state == State::Serving {
            Health::Up
        } else {
            expected
        };
        assert_eq!(health(&mut registry), undrained);
    }
}

#[test]
fn reports_that_cannot_be_right_are_refused() {
    let url = |url: &str| {
        let mut sample = edge(0);
        sample.node.public_url = url.to_owned();
        vec![sample]
    };
    let rows = [
        (vec![], Err(Refused::Batch)),
        (vec![edge(0); MAX_BATCH + 1], Err(Refused::Batch)),
        (vec![edge(0), origin(0, &[])], Err(Refused::Identity)),
        (vec![edge(0), edge(1)], Ok(())),
        (url("https://[2001:db8::1]:8443"), Ok(())),
        (url("http://edge/"), Err(Refused::PublicUrl)),
        (url("http://"), Err(Refused::PublicUrl)),
        (url("ftp://edge"), Err(Refused::PublicUrl)),
        (url("javascript:alert(1)"), Err(Refused::PublicUrl)),
        (url("http://a@b"), Err(Refused::PublicUrl)),
        (url("http://a\r\nSet-Cookie: x"), Err(Refused::PublicUrl)),
        (url("http://a?b"), Err(Refused::PublicUrl)),
    ];
    for (samples, expected) in rows {
        let url = samples.first().map(|sample| sample.node.public_url.clone());
        let taken = registry().take(0, "edge", samples).map(|_| ());
        assert_eq!(taken, expected, "{url:?}");
    }
    assert_eq!(
        registry().take(0, "other", vec![edge(0)]),
        Err(Refused::Identity)
    );
}

#[test]
fn what_is_kept_of_a_sample_is_bounded_whatever_was_sent() {
    let mut registry = registry();
    let viewers = |n| cluster::sample::StreamViewers {
        key: StreamKey::parse(&format!("live/{n}")).unwrap(),
        viewers: 1,
        joins: 0,
        leaves: 0,
    };
    let mut long = edge(0);
    long.viewers = (0..3_000).map(viewers).collect();
    take(&mut registry, 0, long);
    let snapshot = registry.snapshot(0);
    let view = snapshot.node("edge").unwrap();
    assert_eq!(view.sample.viewers.len(), cluster::sample::MAX_WATCHED);
    assert_eq!(view.viewers, 3_000, "all are counted");
}

#[test]
fn nodes_are_bounded_and_numbered_apart() {
    let mut registry = registry();
    for n in 0..MAX_NODES {
        take(
            &mut registry,
            0,
            sample(&format!("n{n}"), Role::Edge, FRANKFURT),
        );
    }
    let more = sample("more", Role::Edge, FRANKFURT);
    assert_eq!(
        registry.take(0, "more", vec![more]),
        Err(Refused::TooManyNodes)
    );
    let numbers = registry
        .snapshot(0)
        .nodes
        .iter()
        .map(|view| view.number)
        .collect::<BTreeSet<_>>();
    assert!(numbers.len() == MAX_NODES && !numbers.contains(&0));
}

fn on_air(registry: &mut Registry) -> Vec<String> {
    let snapshot = registry.snapshot(0);
    let mut keys: Vec<_> = snapshot.streams.keys().map(|key| key.to_string()).collect();
    let planned: Vec<_> = snapshot
        .plan
        .streams
        .iter()
        .map(|it| it.key.to_string())
        .collect();
    keys.sort();
    assert_eq!(keys, planned);
    keys
}

#[test]
fn a_stream_ends_with_its_publisher_but_outlives_its_origins_restart() {
    let mut registry = registry();
    take(&mut registry, 0, origin(5, &["live/a", "live/b"]));
    assert_eq!(on_air(&mut registry), ["live/a", "live/b"]);
    take(&mut registry, 1_000, origin(6, &["live/a"]));
    assert_eq!(
        on_air(&mut registry),
        ["live/a"],
        "the origin lives and lists it no more"
    );

    take(&mut registry, 2_000, origin(0, &[]));
    take(&mut registry, 3_000, origin(1, &[]));
    registry.tick(3_100);
    assert_eq!(
        on_air(&mut registry),
        ["live/a"],
        "the origin was restarted"
    );
    take(&mut registry, 4_000, origin(2, &["live/a"]));
    take(&mut registry, 5_000, origin(3, &[]));
    assert_eq!(
        on_air(&mut registry),
        [""; 0],
        "the publisher came back and left"
    );
}

#[test]
fn streams_of_an_origin_that_stays_away_end_after_a_while() {
    let mut registry = registry();
    take(&mut registry, 0, origin(5, &["live/a"]));
    let ended = (0..60_000).step_by(100).find(|now| {
        registry.tick(*now);
        on_air(&mut registry).is_empty()
    });
    let ended = ended.unwrap();
    assert!((LINGER_MS..LINGER_MS + 4_000).contains(&ended), "{ended}");
}

#[test]
fn an_origin_can_only_list_streams_of_its_own_and_the_higher_epoch_wins() {
    let mut registry = registry();
    let claim = |origin: &str, by: &str, epoch| {
        let streams = vec![StreamRecord {
            epoch,
            ..stream("live/a", origin)
        }];
        Sample {
            streams,
            ..sample(by, Role::Origin, FRANKFURT)
        }
    };
    let owner = |registry: &mut Registry| {
        registry
            .snapshot(0)
            .stream("live/a")
            .map(|record| record.origin.to_string())
    };
    take(&mut registry, 0, claim("one", "two", 1));
    assert_eq!(owner(&mut registry), None);
    take(&mut registry, 0, claim("one", "one", 2));
    take(&mut registry, 0, claim("two", "two", 1));
    assert_eq!(owner(&mut registry).as_deref(), Some("one"));
    take(&mut registry, 0, claim("two", "two", 3));
    assert_eq!(owner(&mut registry).as_deref(), Some("two"));
}

#[test]
fn an_edge_settles_when_it_has_been_up_for_a_while() {
    let mut registry = registry();
    let mut settled = |now: u64, state: State| {
        let sample = Sample {
            state,
            seq: now,
            ..sample("fra", Role::Edge, FRANKFURT)
        };
        registry.take(now, "fra", vec![sample]).unwrap();
        registry.tick(now);
        registry.snapshot(0).node("fra").unwrap().settled
    };
    let mut steps = (0..120_000).step_by(500);
    let first = steps.find(|now| settled(*now, State::Serving)).unwrap();
    assert!((SETTLE_MS..SETTLE_MS + 1_000).contains(&first), "{first}");
    assert!(!settled(first + 500, State::Draining));
    assert!(!settled(first + 1_000, State::Serving));
}

#[test]
fn a_plan_names_the_rungs_of_streams_on_air() {
    let mut registry = registry();
    let key = |text: &str| StreamKey::parse(text).unwrap();
    let rungs = vec![key("live/a"), key("live/a_480")];
    let ladders = Ladders::from([
        (key("live/a"), rungs.clone()),
        (key("live/gone"), rungs.clone()),
    ]);
    registry.climb(ladders, Labels::new());
    take(&mut registry, 0, origin(5, &["live/a", "live/b"]));
    let snapshot = registry.snapshot(0);
    let planned = |text: &str| snapshot.plan.stream(&key(text)).map(|it| it.rungs.clone());
    assert_eq!(planned("live/a"), Some(rungs.clone()));
    assert_eq!(planned("live/b"), Some(Vec::new()));
    assert_eq!(planned("live/gone"), None);
    assert_eq!(snapshot.rungs(&key("live/a")), rungs);
}

#[test]
fn the_revision_moves_only_when_the_content_does() {
    let mut registry = registry();
    let mark = |registry: &mut Registry| registry.snapshot(1_000).plan.mark;
    let start = mark(&mut registry);
    assert_eq!(
        start,
        Mark {
            epoch: 3,
            revision: 0
        }
    );

    take(&mut registry, 0, edge(0));
    assert_eq!(mark(&mut registry).revision, 1);
    let mut quiet = edge(1);
    quiet.egress_bps = 77;
    take(&mut registry, 1_000, quiet);
    registry.tick(1_100);
    assert_eq!(mark(&mut registry).revision, 1, "load is no part of a plan");

    take(&mut registry, 1_200, origin(0, &["live/a"]));
    assert_eq!(mark(&mut registry).revision, 2);
    registry.kick(Kick {
        key: StreamKey::parse("live/a").unwrap(),
        until_ms: 2_000,
    });
    assert_eq!(mark(&mut registry).revision, 3);
    assert_eq!(registry.snapshot(1_999).plan.kicks.len(), 1);
    let after = registry.snapshot(2_000);
    assert_eq!(
        (after.plan.kicks.len(), after.plan.mark.revision),
        (0, 4),
        "the kick is over"
    );
}

#[test]
fn a_node_long_gone_is_forgotten() {
    let mut registry = registry();
    take(&mut registry, 0, edge(0));
    (0..SILENCE_MS + FORGET_MS + 200)
        .step_by(100)
        .for_each(|now| registry.tick(now));
    assert!(registry.snapshot(0).nodes.is_empty());
}

#[test]
fn what_was_sent_before_a_sample_is_counted_by_the_sample() {
    let mut registry = registry();
    take(&mut registry, 0, edge(0));
    registry
        .snapshot(0)
        .node("edge")
        .unwrap()
        .sent
        .add(1_000_000);
    let load = |registry: &mut Registry| registry.snapshot(0).node("edge").unwrap().load().worst();
    assert_eq!(load(&mut registry), 0.001);
    take(&mut registry, 1_000, edge(1));
    assert_eq!(load(&mut registry), 0.0);
}

#[test]
fn a_plan_tells_edges_to_let_viewers_go_while_they_drain_or_carry_too_much() {
    let mut registry = registry();
    let mut carrying = |seq, viewers, state| {
        let mut sample = edge(seq);
        sample.other_viewers = viewers;
        sample.state = state;
        take(&mut registry, seq * 1000, sample);
        let plan = registry.snapshot(0).plan;
        let order = plan.moves_of(&NodeId::parse("edge").unwrap());
        (plan.mark.revision, order.map(|it| (it.permille, it.why)))
    };
    use cluster::moves::Why::{Drain, Overload};
    for (viewers, state, revision, order) in [
        (1_000, State::Serving, 1, None),
        (1_001, State::Serving, 2, Some((20, Overload))),
        (1_010, State::Serving, 2, Some((20, Overload))),
        (2_000, State::Serving, 3, Some((250, Overload))),
        (1_000, State::Serving, 4, None),
        (1_000, State::Draining, 5, Some((125, Drain))),
        (900, State::Draining, 5, Some((125, Drain))),
    ] {
        let seen = carrying(revision, viewers, state);
        assert_eq!(seen, (revision, order), "{viewers} {state:?}");
    }
}

#[test]
fn an_external_pathway_is_known_without_samples() {
    let row = "id = \"cloud\"\nurl = \"http://cdn/{app}/{stream}\"\neverywhere = true\n\
               egress_mbps = 1000\nstay = \"20m\"";
    let mut registry = registry();
    take(&mut registry, 0, edge(0));
    let pathways = crate::pathway::pathways(&[toml::from_str(row).unwrap()]).unwrap();
    registry.link(0, pathways).unwrap();
    let snapshot = registry.snapshot(0);
    let cloud = snapshot.node("cloud").unwrap();
    assert!(cloud.is_edge && cloud.is_everywhere() && cloud.health == Health::Up);
    assert_eq!(snapshot.plan.nodes.len(), 1, "nodes are not told of it");
    let france = Region::parse("FR").unwrap();
    let sent: u64 = (0..100).map(|_| cloud.expect(france, 1_000_000)).sum();
    assert_eq!(sent, 100_000_000);

    let viewers = |registry: &mut Registry, now| {
        registry.tick(now);
        let snapshot = registry.snapshot(0);
        let cloud = snapshot.node("cloud").unwrap();
        assert_eq!(cloud.health, Health::Up, "it is never silent");
        (
            cloud.viewers,
            (cloud.load().egress.unwrap() * 1000.0).round(),
        )
    };
    assert_eq!(viewers(&mut registry, 100), (100, 100.0));
    for seconds in 1..1_200 {
        registry.tick(100 + seconds * 1_000);
    }
    assert_eq!(viewers(&mut registry, 1_200_100).0, 37, "a mean stay later");

    let samples = registry.report(7);
    assert_eq!(samples[0].regions[0].region, france);
    let told = (
        samples[0].total_viewers(),
        samples[0].egress_bps,
        samples[0].at_ms,
    );
    assert_eq!((told.0, told.1 / 1_000_000, told.2), (37, 36, 7));
    assert_eq!(registry.report(8)[0].seq, 2);

    registry.drain(1_200_100, NodeId::parse("cloud").unwrap());
    assert_eq!(
        registry.snapshot(0).node("cloud").unwrap().health,
        Health::Draining
    );
    let sample = sample("cloud", Role::Edge, FRANKFURT);
    let said = registry.take(1_200_200, "cloud", vec![sample]);
    assert_eq!(said.unwrap_err(), Refused::Pathway);
}

#[test]
fn an_external_pathway_that_does_not_answer_takes_nobody_until_it_does() {
    let row = "id = \"cloud\"\nurl = \"http://cdn/{app}/{stream}\"\neverywhere = true\n\
               egress_mbps = 1000";
    let cloud = NodeId::parse("cloud").unwrap();
    let pathways = crate::pathway::pathways(&[toml::from_str(row).unwrap()]).unwrap();
    let mut registry = registry();
    registry.link(0, pathways).unwrap();
    let health = |registry: &mut Registry, from: u64, to: u64| {
        (from..to).step_by(100).for_each(|now| registry.tick(now));
        registry.snapshot(0).node("cloud").unwrap().health
    };
    assert_eq!(health(&mut registry, 100, 20_000), Health::Up);
    registry.probed(20_000, &cloud, false);
    assert_eq!(health(&mut registry, 20_100, 23_100), Health::Down);
    // It is not forgotten, however long that lasts.
    assert_eq!(health(&mut registry, 23_100, 1_000_000), Health::Down);
    registry.probed(1_000_000, &cloud, true);
    assert_eq!(
        registry.snapshot(0).node("cloud").unwrap().health,
        Health::Up
    );
    registry.probed(1_000_000, &NodeId::parse("nobody").unwrap(), true);
}
