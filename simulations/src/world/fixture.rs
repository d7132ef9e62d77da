//! Small worlds for tests.

use scheduler::plan::billing::Tariff;

use super::{Edge, Metro, Path, Point, Region, Stream, Time, World};

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
