//! Manifests as values: who is first, how clones are described, when players ask again.

use cluster::plan::Health;
use serde_json::json;

use super::*;
use crate::geo::{Located, Point, Source};
use crate::snapshot::NodeView;
use crate::snapshot::fixture::{FRANKFURT, PARIS, SHANGHAI, VIRGINIA, edge, snapshot};
use crate::steer::{Viewer, steer};

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

fn key(text: &str) -> StreamKey {
    StreamKey::parse(text).unwrap()
}

fn world() -> Vec<NodeView> {
    vec![
        edge(1, "fra", FRANKFURT),
        edge(2, "iad", VIRGINIA),
        edge(3, "sha", SHANGHAI),
    ]
}

/// What a player in Paris whose playlist is of `fra` is answered when it plays from `playing`.
fn answer(nodes: Vec<NodeView>, playing: &str, asked: u8, random: u64) -> Manifest {
    let snapshot = snapshot(nodes);
    let point = Point {
        lat: PARIS.0,
        lon: PARIS.1,
    };
    let located = Located {
        point,
        country: None,
        region: cluster::region::Region::UNKNOWN,
        source: Source::Database,
    };
    let viewer = Viewer {
        playing: snapshot.node(playing).map(|view| view.number),
        ..Viewer::new(located, 1, 0)
    };
    let decision = steer(&snapshot, &viewer);
    let (stream, base) = (key("live/x"), id("fra"));
    let trail = Trail {
        stream: &stream,
        session: "S.S.S",
        base: &base,
        ip: None,
        exclude: "",
        asked,
        now_s: 0,
    };
    let rungs = [key("live/x"), key("live/x_480")];
    let playing = NodeId::parse(playing).ok();
    let at = (&snapshot, &decision);
    manifest(at, &trail, &rungs, playing.as_ref(), random)
}

fn ids(manifest: &Manifest) -> Vec<&str> {
    manifest.priority.iter().map(NodeId::as_str).collect()
}

#[test]
fn the_manifest_reads_as_the_specification_says() {
    let mut nodes = world();
    let sample = std::sync::Arc::make_mut(&mut nodes[2].sample);
    sample.node.public_url = "http://sha.example.com:8080".into();
    let manifest = serde_json::to_value(answer(nodes, "fra", 0, 1)).unwrap();
    let expect = json!({
        "VERSION": 1,
        "TTL": 7,
        "RELOAD-URI": "/steering/live/x?session=S.S.S&base=fra",
        "PATHWAY-PRIORITY": ["fra", "iad", "sha"],
        "PATHWAY-CLONES": [
            {"BASE-ID": "fra", "ID": "iad", "URI-REPLACEMENT": {"HOST": "iad.example.com"}},
            {"BASE-ID": "fra", "ID": "sha", "URI-REPLACEMENT": {"PER-VARIANT-URIS": {
                "live/x": "http://sha.example.com:8080/live/x/media.m3u8?session=S.S.S",
                "live/x_480": "http://sha.example.com:8080/live/x_480/media.m3u8?session=S.S.S",
            }}},
        ],
    });
    assert_eq!(manifest, expect);
}

#[test]
fn players_at_a_nearly_full_edge_are_asked_more_often() {
    let mut nodes = world();
    assert!(TTL_S.contains(&answer(nodes.clone(), "fra", 0, 3).ttl_s));
    nodes[0].egress_bps = nodes[0].capacity.egress_bps / 10 * 9;
    assert!((0..9).all(|random| {
        let manifest = answer(nodes.clone(), "fra", 0, random);
        FULL_TTL_S.contains(&manifest.ttl_s)
    }));
}

#[test]
fn a_player_moves_when_its_edge_drains_or_dies_and_is_asked_sooner_until_it_has() {
    for health in [Health::Draining, Health::Down] {
        let mut nodes = world();
        nodes[0].health = health;
        let manifest = answer(nodes.clone(), "fra", 0, 7);
        assert_eq!(ids(&manifest), ["iad", "sha"]);
        assert!(MOVE_TTL_S.contains(&manifest.ttl_s));
        assert!(manifest.reload_uri.ends_with("&asked=1"), "{manifest:?}");
        // The base stays what the player's playlist has, whether it can be used or not.
        assert!(
            manifest
                .clones
                .iter()
                .all(|clone| clone.base.as_str() == "fra")
        );

        let moved = answer(nodes.clone(), "iad", 1, 7);
        assert_eq!(moved.priority[0].as_str(), "iad");
        assert!(TTL_S.contains(&moved.ttl_s) && !moved.reload_uri.contains("asked"));

        let stubborn = answer(nodes, "fra", MAX_ASKED, 7);
        assert!(TTL_S.contains(&stubborn.ttl_s), "{stubborn:?}");
    }
}

#[test]
fn a_base_that_nobody_knows_any_more_is_replaced_in_full() {
    let mut nodes = world();
    nodes.remove(0);
    let manifest = answer(nodes, "iad", 0, 0);
    let whole = |clone: &Clone| matches!(clone.replacement, Replacement::PerVariant(_));
    assert_eq!(
        (ids(&manifest), manifest.clones.len()),
        (vec!["iad", "sha"], 2)
    );
    assert!(manifest.clones.iter().all(whole), "{manifest:?}");
}

#[test]
fn of_many_edges_the_last_pathway_is_the_one_with_the_most_room() {
    let near = (2..=6).map(|n| edge(n, &format!("near-{n}"), FRANKFURT));
    let mut nodes: Vec<_> = std::iter::once(edge(1, "fra", FRANKFURT))
        .chain(near)
        .collect();
    nodes.iter_mut().for_each(|node| node.viewers = 500);
    nodes.push(edge(7, "sha", SHANGHAI));
    nodes.push(edge(8, "iad", VIRGINIA));
    nodes[7].viewers = 100;
    let manifest = answer(nodes, "fra", 0, 0);
    assert_eq!(manifest.priority.len(), 5);
    assert_eq!((ids(&manifest)[0], ids(&manifest)[4]), ("fra", "sha"));
}

#[test]
fn the_times_to_live_spread_by_a_fifth() {
    for range in [TTL_S, FULL_TTL_S, MOVE_TTL_S] {
        let ttl_s = |random| spread(range.clone(), random);
        let all: std::collections::BTreeSet<u32> = (0..100).map(ttl_s).collect();
        assert_eq!(all, range.collect());
    }
}

#[test]
fn a_trail_repeats_what_the_player_came_with_and_nothing_that_needs_escaping() {
    let (stream, base) = (key("live/x"), id("fra"));
    let trail = Trail {
        stream: &stream,
        session: "S",
        base: &base,
        ip: Some("2001:db8::1".parse().unwrap()),
        exclude: "iad,\"&x=1,,sha,a b",
        asked: 2,
        now_s: 0,
    };
    assert_eq!(
        trail.uri(),
        "/steering/live/x?session=S&base=fra&ip=2001:db8::1&exclude=iad,sha&asked=2"
    );
}

#[test]
fn a_host_is_all_that_a_host_replacement_may_change() {
    for (one, other, same) in [
        ("https://a", "https://b", true),
        ("https://a:1", "https://b:1", true),
        ("https://a:1", "https://b:2", false),
        ("https://a", "https://b:2", false),
        ("http://a", "https://b", false),
        ("http://[2001:db8::1]", "http://[2001:db8::2]", true),
        ("http://[2001:db8::1]:80", "http://[2001:db8::2]:81", false),
        ("http://[2001:db8::1]", "http://b", true),
    ] {
        let [one, other] = [one, other].map(|url| Address::of(url).unwrap());
        assert_eq!(one.differs_by_host(&other), same, "{one:?} {other:?}");
    }
    assert_eq!(Address::of("http://[::1]:80").unwrap().host, "[::1]");
}
