//! From samples to a market: regions with their demand, edges with their prices.

use cluster::sample::RegionLoad;

use super::*;
use crate::geo;
use crate::snapshot::fixture::{FRANKFURT, PARIS, VIRGINIA, sample, snapshot, view};
use cluster::node::{Place, Role};
use cluster::region::Region;

fn world() -> Snapshot {
    let edge = |number: u16, id: &str, city, viewers: u32| {
        let mut sample = sample(id, Role::Edge, city);
        sample.regions = vec![RegionLoad {
            region: Region::parse("FR").unwrap(),
            viewers,
            egress_bps: u64::from(viewers) * 3_000_000,
            refused: 5,
            ..RegionLoad::default()
        }];
        view(number, sample)
    };
    snapshot(vec![
        edge(7, "fra", FRANKFURT, 40),
        edge(8, "par", PARIS, 10),
        edge(9, "iad", VIRGINIA, 0),
    ])
}

fn survey<T>(world: &Snapshot, look: impl FnOnce(&survey::Survey<'_>) -> T) -> T {
    expecting(&Outlook::default(), world, look)
}

fn expecting<T>(
    outlook: &Outlook,
    world: &Snapshot,
    look: impl FnOnce(&survey::Survey<'_>) -> T,
) -> T {
    let geo = Geo::load(geo::Config::default(), &Place::default()).unwrap();
    look(&survey::Survey {
        snapshot: world,
        outlook,
        geo: &geo,
        prices: &Prices::default(),
        waiting: &Default::default(),
    })
}

#[test]
fn demand_is_those_who_watch_and_those_who_wait_at_any_edge() {
    let (view, numbers, accounts) = survey(&world(), |survey| survey.view(&Accounts::default(), 0));
    assert_eq!(numbers, [7, 8, 9]);
    assert_eq!(accounts.len(), 3);
    let demand = &view.demands[0];
    assert_eq!((view.demands.len(), demand.region.as_str()), (1, "FR"));
    // 50 who watch and 15 who wait, 3 Mbit/s each.
    assert_eq!(demand.now_bps, 195e6);
    let nearest: Vec<usize> = demand.paths.iter().map(|path| path.edge).collect();
    assert_eq!(nearest, [1, 0, 2]);
}

#[test]
fn who_came_since_the_forecast_was_made_is_not_expected_again() {
    // 50 watch and 15 wait.
    for (now, median, factor) in [
        (65.0, 130.0, 2.0),
        (13.0, 130.0, 2.0),
        (13.0, 26.0, 1.0),
        (100.0, 50.0, 0.5),
    ] {
        let outlook = Outlook::of_region("FR", now, (5, median, [2.0 * median; 3]));
        let (view, ..) = expecting(&outlook, &world(), |survey| {
            survey.view(&Accounts::default(), 0)
        });
        let said = view.demands[0].outlook;
        assert_eq!(
            (said.median, said.quantiles),
            (factor, [2.0 * factor; 3]),
            "{median} where there were {now}"
        );
    }
}

#[test]
fn edges_that_take_nobody_are_no_part_of_a_plan() {
    let mut world = world();
    world.nodes[1].health = Health::Draining;
    world.nodes[2].health = Health::Down;
    let (view, numbers, _) = survey(&world, |survey| survey.view(&Accounts::default(), 0));
    assert_eq!((view.edges.len(), numbers), (1, vec![7]));
    assert_eq!(
        view.demands[0].now_bps, 180e6,
        "who watches at a draining edge counts"
    );
}

#[test]
fn steering_goes_by_what_was_planned() {
    let mut world = world();
    let (view, numbers, _) = survey(&world, |survey| survey.view(&Accounts::default(), 0));
    let planned = trade(&view, &world.policies, None);
    let market = Arc::new(market(&view, &planned, &numbers, 1_000));
    world.follow(&market, 2_000);
    let near = world.reach(Region::parse("FR").unwrap()).unwrap();
    assert_eq!(
        near.iter().map(|near| near.node).collect::<Vec<_>>(),
        [1, 0, 2]
    );
    assert!(world.nodes.iter().all(|view| view.quote.is_some()));

    let mut more = world.nodes.clone();
    more.push(view_of_new());
    let mut world = snapshot(more);
    world.follow(&market, 2_000);
    assert!(
        world.reach(Region::parse("FR").unwrap()).is_none(),
        "a new edge is not left out"
    );
}

#[test]
fn what_nodes_pay_for_bits_to_other_nodes_is_known_to_who_lays_streams() {
    let mut world = world();
    let row = "node = \"fra\"\nusd_per_mbps_month = 1\nrelay_usd_per_gb = 0.01";
    let row = toml::from_str(row).unwrap();
    let relays = relays(&world, &Prices::new(&[row]).unwrap(), 2.0);
    assert_eq!(relays, [(7, 1.0 + 0.01 * 324.0 / 2.0)].into());
    let (view, numbers, _) = survey(&world, |survey| survey.view(&Accounts::default(), 0));
    let planned = trade(&view, &world.policies, None);
    let market = market(&view, &planned, &numbers, 1_000);
    world.follow(&Arc::new(Market { relays, ..market }), 2_000);
    let costs: Vec<f64> = world.nodes.iter().map(|view| view.relay_cost).collect();
    assert_eq!(costs, [2.62, 1.0, 1.0]);
}

#[test]
fn a_small_stream_is_at_home_at_one_edge_of_a_place_and_a_large_one_where_it_is_watched() {
    let key = |text: &str| cluster::stream::StreamKey::parse(text).unwrap();
    let mut samples: Vec<_> = ["a", "b", "c"]
        .map(|id| sample(id, Role::Edge, PARIS))
        .into();
    for sample in &mut samples {
        let watched = |name: &str, viewers| cluster::sample::StreamViewers {
            key: key(name),
            viewers,
            joins: 0,
            leaves: 0,
        };
        sample.viewers = vec![watched("live/small", 3), watched("live/x", 300)];
        sample.node.place.name = "Paris".to_owned();
        sample.regions = vec![RegionLoad {
            region: Region::parse("FR").unwrap(),
            viewers: 303,
            egress_bps: 303_000_000,
            ..RegionLoad::default()
        }];
    }
    samples.push(sample("origin", Role::Origin, FRANKFURT));
    let nodes = (1..).zip(samples).map(|(number, it)| view(number, it));
    let mut world = snapshot(nodes.collect());
    let small = Arc::new(crate::snapshot::fixture::stream("live/small", "origin"));
    Arc::make_mut(&mut world.streams).insert(small.key.clone(), small);
    let (view, _, _) = survey(&world, |survey| survey.view(&Accounts::default(), 0));
    let planned = trade(&view, &world.policies, None);
    let homes = homes::homes(&mut Paths::default(), &world, (&view, &planned));
    assert_eq!(homes[&key("live/small")].buckets, 1);
    assert!(homes[&key("live/x")].buckets > 10, "{homes:?}");
    assert!(homes[&key("live/x")].open.len() >= homes[&key("live/small")].open.len());

    let coming = Outlook::of_region("FR", 909.0, (5, 90_900.0, [90_900.0; 3]));
    let (view, ..) = expecting(&coming, &world, |survey| {
        survey.view(&Accounts::default(), 0)
    });
    let homes = homes::homes(&mut Paths::default(), &world, (&view, &planned));
    assert!(
        homes[&key("live/small")].buckets > 1,
        "it is laid for who is coming: {homes:?}"
    );
}

fn view_of_new() -> crate::snapshot::NodeView {
    view(10, sample("new", Role::Edge, PARIS))
}
