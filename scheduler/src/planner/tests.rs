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

fn view_of_new() -> crate::snapshot::NodeView {
    view(10, sample("new", Role::Edge, PARIS))
}
