//! Minutes of a world of three metros, under each rule.

use std::sync::Arc;

use super::*;
use crate::network::Matrix;
use crate::policies::weir::Nothing;
use crate::world::prices::Prices;
use crate::world::{generate, scenario};
use scheduler::policy::Policies;

/// Three metros, one far from the others, each with two networks and two edges.
fn small() -> (World, Prices) {
    let mut text = "version = 1\n[time]\ndays = 1\nhistory_days = 1\n[demand]\nmean_gbps = 12\n\
                    [streams]\ncount = 60\n[edges]\ncapacity_over_peak = 1.6\n[events]\n\
                    crowd_metro = 0\narea = 0\nmetro = 0\nworld = 0\nregion_outage = 0\n"
        .to_owned();
    for (name, lat, lon) in [
        ("paris", 48.9, 2.3),
        ("frankfurt", 50.1, 8.7),
        ("tokyo", 35.7, 139.7),
    ] {
        text += &format!(
            "[[metro]]\nname = \"{name}\"\narea = \"x\"\nlat = {lat}\nlon = {lon}\nutc_offset_h = 1\n\
             million = 5\n"
        );
    }
    for (name, ms) in [("fibre", 3), ("cable", 9)] {
        text += &format!("[[network]]\nname = \"{name}\"\naccess_ms = {ms}\n");
    }
    let scenario = scenario::parse("small", &text).unwrap();
    generate::generate(&scenario, &Matrix::default(), 1)
}

fn window() -> Window {
    Window {
        minutes: 8.0,
        warm_up_min: 3.0,
        viewers: 3_000.0,
        kill_min: 2.0,
        dead_min: 2.0,
        drain_min: 5.0,
        crowd_min: 4.0,
        ..Window::default()
    }
}

fn played(kind: Kind, window: &Window, (world, prices): &(World, Prices)) -> (Quality, Books) {
    let setup = Setup {
        setting: Setting {
            world,
            tariffs: &prices.tariffs,
            policies: Arc::new(Policies::default()),
            foresight: Arc::new(Nothing),
        },
        window,
        players: &Players::default(),
        streams: &Streams::default(),
        motion: Motion::of_players(600.0, 0.8),
        seed: 7,
        trace: None,
    };
    play(&setup, kind, &mut |_, _| true).unwrap()
}

#[test]
fn every_viewer_and_every_bit_is_accounted_for_under_each_rule() {
    let world = small();
    for kind in Kind::ALL.into_iter().filter(|kind| plays(*kind)) {
        let (quality, books) = played(kind, &window(), &world);
        let ended = books.left + books.refused + books.lost + books.there;
        assert_eq!(books.came, ended, "{kind}: {books:?}");
        assert_eq!(books.asked_by_viewers, books.asked_of_edges, "{kind}");
        assert!(books.most_sent <= 1.0 + 1e-9, "{kind}: {books:?}");
        assert_eq!(books.barred, 0, "{kind}");
        let it = quality.figures;
        assert!(
            (2_000..4_000).contains(&it.viewers),
            "{kind}: {}",
            it.viewers
        );
        assert!(
            it.rtt_ms_p50 > 3.0 && it.rtt_ms_p50 <= it.rtt_ms_p95 && it.rtt_ms_p95 <= it.rtt_ms_p99
        );
        assert!(
            it.start_up_s_p50 > 0.0
                && it.egress_gb > 0.0
                && it.relay_gb > 0.0
                && it.relay_gb < it.egress_gb
        );
        assert_eq!(
            (quality.minutes.len(), quality.edges.len()),
            (8, world.0.edges.len())
        );
        assert_eq!(quality.kills.len(), 1);
        assert!(quality.kills[0].viewers > 0, "{kind}");
        assert_eq!(
            played(kind, &window(), &world),
            (quality, books),
            "{kind}: the same again"
        );
    }
}

#[test]
fn the_scheduler_loses_nobody_brings_back_who_was_thrown_out_and_empties_what_is_drained() {
    let world = small();
    let (quality, books) = played(Kind::Weir, &window(), &world);
    assert_eq!(
        (books.lost, books.in_vain, books.refused),
        (0, 0, 0),
        "{:?}",
        quality.figures
    );
    let again_s = quality.kills[0].again_s_p99.unwrap();
    assert!((3.0..15.0).contains(&again_s), "{again_s}");
    assert_eq!(quality.figures.overload_edge_s, 0);
    // The drained edge keeps players that nobody can move.
    let lines = quality.edges.iter().map(|line| &line.steps_mbps);
    let fell = lines.filter(|line| line[4] > 50.0 && line[7] < 0.4 * line[4]);
    assert_eq!(fell.count(), 1, "{:?}", quality.edges);
    assert!(quality.figures.moved > 50, "{}", quality.figures.moved);
    let (nearest, books) = played(Kind::B1, &window(), &world);
    assert_eq!((nearest.figures.moved, books.in_vain), (0, 0));
}

#[test]
fn old_loads_make_a_herd_of_who_goes_where_there_is_least_and_not_of_ours() {
    let world = small();
    let old = Window {
        telemetry_s: 30,
        kill_min: -1.0,
        drain_min: -1.0,
        crowd_min: -1.0,
        ..window()
    };
    let uneven = |kind| played(kind, &old, &world).0.figures.max_over_mean;
    let (herd, two, ours) = (uneven(Kind::B2), uneven(Kind::B2p), uneven(Kind::Weir));
    assert!(herd > two, "{herd} {two} {ours}");
}

#[test]
fn names_that_resolvers_keep_lead_to_a_dead_edge_and_on_to_the_next() {
    let world = small();
    let all_by_dns = Window {
        dns: 1.0,
        dns_keep_min: 60.0,
        ..window()
    };
    let (quality, books) = played(Kind::Weir, &all_by_dns, &world);
    let direct = played(Kind::Weir, &window(), &world).0;
    assert_eq!(
        books.came,
        books.left + books.refused + books.lost + books.there
    );
    assert!(quality.figures.start_up_s_p95 > direct.figures.start_up_s_p95);
}
