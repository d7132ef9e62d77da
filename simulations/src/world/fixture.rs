//! Small worlds for tests.

use scheduler::plan::billing::Tariff;

use super::{Edge, Metro, Path, Point, Region, Stream, Time, World, generate, scenario};
use crate::network::Matrix;

/// A place whose second day has two hours of three times the demand, announced six hours before.
pub(crate) fn announced(days: u32) -> World {
    let text = format!(
        "version = 1\n[time]\ndays = {days}\nhistory_days = 3\n[events]\narea = 0\nmetro = 0\n\
         world = 0\ncrowd_metro = 0\ncrowd_area = 0\nregion_outage = 0\n\
         [[event]]\nday = 1\nhour = 12.0\nminutes = 120\nmultiplier = 3.0\nannounced_h = 6\n\
         [[metro]]\nname = \"a\"\narea = \"x\"\nlat = 1\nlon = 2\nutc_offset_h = 0\nmillion = 1\n\
         [[network]]\nname = \"n\"\naccess_ms = 5\n"
    );
    let scenario = scenario::parse("small", &text).expect("the scenario is sound");
    generate::generate(&scenario, &Matrix::default(), 1).0
}

/// Two regions of one metro, two edges, one slot of history and four that are billed: small
/// enough to follow with a pencil.
pub(crate) fn pencil() -> (World, Vec<Tariff>) {
    let at = |lon| Point { lat: 0.0, lon };
    let edge = |name: &str, lon, capacity_mbps| Edge {
        name: name.to_owned(),
        metro: 0,
        at: at(lon),
        capacity_mbps,
        ingress_mbps: capacity_mbps,
    };
    let region = |name: &str, lon| Region {
        name: name.to_owned(),
        metro: 0,
        at: at(lon),
        access_ms: 1.0,
    };
    let mut world = World {
        name: "pencil".to_owned(),
        time: Time {
            step_s: 300,
            start_s: 0,
            slots: 5,
            billed_from: 1,
        },
        metros: vec![Metro {
            name: "metro".to_owned(),
            country: None,
            area: "area".to_owned(),
            at: at(0.0),
            utc_offset_h: 0.0,
            weight: 1.0,
        }],
        regions: vec![region("r0", 0.0), region("r1", 0.1)],
        edges: vec![edge("a", 1.0, 100.0), edge("b", 0.2, 200.0)],
        demand: vec![
            50.0, 80.0, // history
            50.0, 80.0, 60.0, 80.0, 50.0, 100.0, 50.0, 80.0,
        ],
        streams: vec![Stream {
            bitrate_kbps: 2000.0,
            popularity: 1.0,
            home: 0,
            is_global: false,
        }],
        ..World::default()
    };
    let path = |(edge, rtt_ms)| Path { edge, rtt_ms };
    world.route(vec![
        [(0, 5.0), (1, 10.0)].map(path).to_vec(),
        [(0, 6.0), (1, 20.0)].map(path).to_vec(),
    ]);
    let tariff = |usd_per_mbps_month, commit_mbps| Tariff {
        usd_per_mbps_month,
        commit_mbps,
        ..Tariff::default()
    };
    (world, vec![tariff(2.0, 0.0), tariff(1.0, 70.0)])
}
