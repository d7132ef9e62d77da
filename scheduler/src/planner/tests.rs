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
    let geo = Geo::load(geo::Config::default(), &Place::default()).unwrap();
    look(&survey::Survey {
        snapshot: world,
        outlook: &Outlook::default(),
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
        sample.viewers = vec![watched("live/small", 2), watched("live/x", 300)];
        sample.node.place.name = "Paris".to_owned();
        sample.regions = vec![RegionLoad {
            region: Region::parse("FR").unwrap(),
            viewers: 302,
            egress_bps: 302_000_000,
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
}

fn view_of_new() -> crate::snapshot::NodeView {
    view(10, sample("new", Role::Edge, PARIS))
}
