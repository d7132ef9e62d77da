//! What holds of every way, whatever the cluster; and tables of what should be chosen.

use proptest::prelude::*;

use super::*;

/// A cluster made up from a number: some origins, edges in metros of zones, hubs in some of them.
struct World {
    nodes: Vec<Node>,
    rtt_ms: Vec<f32>,
    starts: Vec<u32>,
    offers: Vec<Offer>,
    origins: u32,
    viewers: Vec<Vec<(u32, f32)>>,
    carriers: Vec<Vec<u32>>,
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % bound.max(1)
    }

    fn unit(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }
}

impl World {
    fn new(seed: u64, edges: u32, regions: u32, streams: u32) -> Self {
        let mut dice = Dice(seed);
        let origins = 1 + dice.below(2) as u32;
        let zones = 1 + dice.below(4) as u32;
        let node = |at: u32, dice: &mut Dice| {
            let metro = dice.below(8) as u32;
            let is_edge = at >= origins;
            let health = match dice.below(10) {
                0 => Health::Down,
                1 => Health::Draining,
                _ => Health::Up,
            };
            Node {
                seed: mix(seed ^ u64::from(at)),
                weight: 1.0,
                price: if is_edge { dice.unit() * 2.0 } else { 0.0 },
                relay: 1.0,
                zone: if is_edge { metro % zones } else { zones },
                metro,
                hub: is_edge && dice.below(5) == 0,
                relays: !is_edge || dice.below(8) > 0,
                health,
            }
        };
        let nodes: Vec<Node> = (0..origins + edges).map(|at| node(at, &mut dice)).collect();
        let all = nodes.len();
        let rtt_ms = (0..all * all)
            .map(|_| (dice.unit() * 200.0) as f32)
            .collect();
        let (mut starts, mut offers) = (vec![0], Vec::new());
        for _ in 0..regions {
            let mut near: Vec<u32> = (0..8)
                .map(|_| origins + dice.below(edges.into()) as u32)
                .collect();
            near.sort_unstable();
            near.dedup();
            near.retain(|_| edges > 0);
            offers.extend(near.into_iter().map(|edge| Offer {
                edge,
                cost: dice.unit() * 3.0,
            }));
            starts.push(offers.len() as u32);
        }
        let mut viewers = Vec::new();
        let mut carriers = Vec::new();
        for _ in 0..streams {
            let size = 1 << dice.below(11);
            let mut here: Vec<(u32, f32)> = (0..dice.below(6))
                .map(|_| (dice.below(regions.into()) as u32, dice.below(size) as f32))
                .collect();
            here.sort_by_key(|it| it.0);
            here.dedup_by_key(|it| it.0);
            here.retain(|_| regions > 0);
            viewers.push(here);
            let mut carry: Vec<u32> = (0..dice.below(4))
                .map(|_| origins + dice.below(edges.into()) as u32)
                .collect();
            carry.retain(|_| edges > 0);
            carriers.push(carry);
        }
        Self {
            nodes,
            rtt_ms,
            starts,
            offers,
            origins,
            viewers,
            carriers,
        }
    }

    fn ground(&self) -> Ground<'_> {
        Ground {
            nodes: &self.nodes,
            rtt_ms: &self.rtt_ms,
            starts: &self.starts,
            offers: &self.offers,
        }
    }

    fn streams(&self) -> Vec<Stream<'_>> {
        let stream = |at: usize| Stream {
            seed: mix(at as u64 + 1),
            origin: at as u32 % self.origins,
            viewers: &self.viewers[at],
            carriers: &self.carriers[at],
            allowed: None,
            replicas: 1,
            consolidate_below: 30.0,
            cold: Cold::Off,
        };
        (0..self.viewers.len()).map(stream).collect()
    }

    fn lay(&self, paths: &mut Paths) -> Vec<Arc<Laid>> {
        paths.lay(&self.ground(), &self.streams(), &Terms::default())
    }

    /// What holds of all that was laid.
    fn check(&self, laid: &[Arc<Laid>]) {
        for (stream, laid) in self.streams().iter().zip(laid) {
            let dead = self.nodes[stream.origin as usize].health == Health::Down;
            assert!(!dead || laid.ways.is_empty());
            for way in &laid.ways {
                self.check_way(stream, laid, way);
            }
            for &edge in &laid.open {
                assert_eq!(self.nodes[edge as usize].health, Health::Up);
                assert!(dead || laid.way(edge).is_some(), "no way to {edge}");
            }
            self.check_zones(laid);
        }
    }

    fn check_way(&self, stream: &Stream<'_>, laid: &Laid, way: &Way) {
        let (mut at, mut hops) = (*way, 1);
        while at.parent != stream.origin {
            let parent = &self.nodes[at.parent as usize];
            assert_eq!((parent.health, parent.relays), (Health::Up, true), "{at:?}");
            at = *laid.way(at.parent).expect("a parent has a way");
            hops += 1;
            assert!(hops <= MAX_DEPTH, "a circle, or too deep");
        }
        assert_eq!(way.depth, hops);
        assert_ne!(way.standby, Some(way.parent));
        assert_ne!(way.standby, Some(way.node));
        let standby = way.standby.map(|at| self.nodes[at as usize].health);
        assert_ne!(standby, Some(Health::Down));
    }

    /// What enters a zone with a hub enters it once.
    fn check_zones(&self, laid: &Laid) {
        let zones = self.nodes.iter().map(|node| node.zone).max().unwrap_or(0);
        for zone in 0..=zones {
            let is_hub = |node: &Node| node.hub && node.relays && node.health == Health::Up;
            if self
                .nodes
                .iter()
                .any(|node| node.zone == zone && is_hub(node))
            {
                let zone_of = |node: u32| self.nodes[node as usize].zone;
                let enters = |way: &&Way| zone_of(way.node) == zone && zone_of(way.parent) != zone;
                assert!(laid.ways.iter().filter(enters).count() <= 1, "zone {zone}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_way_leads_from_the_origin_once_into_each_zone(
        seed: u64, edges in 0u32..40, regions in 0u32..20
    ) {
        let world = World::new(seed, edges, regions, 30);
        let (mut paths, mut again) = (Paths::default(), Paths::default());
        let laid = world.lay(&mut paths);
        world.check(&laid);
        prop_assert_eq!(&world.lay(&mut again), &laid, "the same once more");
        world.check(&world.lay(&mut paths));
    }

    #[test]
    fn whoever_dies_is_left_by_its_children(seed: u64, victim in 0usize..40) {
        let mut world = World::new(seed, 38, 20, 30);
        let mut paths = Paths::default();
        let before = world.lay(&mut paths);
        let victim = victim % world.nodes.len();
        world.nodes[victim].health = Health::Down;
        let after = world.lay(&mut paths);
        world.check(&after);
        for (before, after) in before.iter().zip(&after) {
            for way in before.ways.iter().filter(|way| way.parent == victim as u32) {
                prop_assert_ne!(after.way(way.node).map(|way| way.parent), Some(victim as u32));
            }
        }
    }

    #[test]
    fn ways_outlive_a_change_of_indices(seed: u64) {
        let mut world = World::new(seed, 20, 10, 20);
        let mut paths = Paths::default();
        let before = world.lay(&mut paths);
        let (hub, relays, health) = (false, false, Health::Up);
        let newcomer = Node { seed: 1, hub, relays, health, ..world.nodes[0] };
        world.nodes.insert(0, newcomer);
        paths.follow(&world.nodes);
        for (stream, before) in world.streams().iter().zip(&before) {
            let after = &paths.known[&stream.seed].laid;
            let moved = |way: &Way| Way {
                node: way.node + 1,
                parent: way.parent + 1,
                standby: way.standby.map(|standby| standby + 1),
                ..*way
            };
            let expected: Vec<Way> = before.ways.iter().map(moved).collect();
            prop_assert_eq!(&after.ways, &expected);
            let open: Vec<u32> = before.open.iter().map(|edge| edge + 1).collect();
            prop_assert_eq!(&after.open, &open);
        }
    }
}

/// An origin and edges of one zone, each in a metro of its own.
fn small(edges: u32) -> World {
    let node = |at: u32| Node {
        seed: mix(u64::from(at)),
        weight: 1.0,
        price: 0.0,
        relay: 1.0,
        zone: 0,
        metro: at,
        hub: false,
        relays: true,
        health: Health::Up,
    };
    let all = edges as usize + 1;
    World {
        nodes: (0..=edges).map(node).collect(),
        rtt_ms: vec![10.0; all * all],
        starts: vec![0],
        offers: Vec::new(),
        origins: 1,
        viewers: vec![Vec::new()],
        carriers: vec![Vec::new()],
    }
}

#[test]
fn a_second_edge_of_a_metro_pays_only_above_the_tail() {
    // Two regions, each a bit nearer to its own edge.
    let mut world = small(2);
    world.starts = vec![0, 2, 4];
    let offer = |edge, cost| Offer { edge, cost };
    world.offers = vec![offer(1, 0.0), offer(2, 0.05), offer(1, 0.05), offer(2, 0.0)];
    let open = |world: &World| world.lay(&mut Paths::default())[0].open.len();
    for (viewers, one_metro, two_metros) in [
        (1.0, 1, 1),
        (20.0, 1, 1),
        (25.0, 1, 2),
        (29.0, 1, 2),
        (45.0, 2, 2),
    ] {
        world.viewers = vec![vec![(0, viewers), (1, viewers)]];
        world.nodes[2].metro = 1;
        assert_eq!(open(&world), one_metro, "{viewers} viewers, one metro");
        world.nodes[2].metro = 2;
        assert_eq!(open(&world), two_metros, "{viewers} viewers, two metros");
    }
    world.viewers = vec![Vec::new()];
    assert_eq!(open(&world), 0, "nobody watches");
}

#[test]
fn small_streams_spread_over_equal_edges_by_their_room() {
    let mut world = small(3);
    world.starts = vec![0, 3];
    world.offers = (1..4).map(|edge| Offer { edge, cost: 0.2 }).collect();
    world.nodes[3].weight = 2.0;
    world.nodes.iter_mut().for_each(|node| node.metro = 0);
    let viewers = &[(0, 3.0)];
    let stream = |seed| Stream {
        seed: mix(seed),
        viewers,
        ..world.streams()[0]
    };
    let streams: Vec<Stream<'_>> = (0..4_000).map(stream).collect();
    let laid = Paths::default().lay(&world.ground(), &streams, &Terms::default());
    let at = |edge: u32| laid.iter().filter(|laid| laid.open == [edge]).count() as f64;
    for (edge, share) in [(1, 0.25), (2, 0.25), (3, 0.5)] {
        assert!((at(edge) / 4_000.0 - share).abs() < 0.03, "{}", at(edge));
    }
}

#[test]
fn replicas_and_cold_streams_are_as_the_policy_says() {
    let mut world = small(3);
    world.starts = vec![0, 3];
    world.offers = (1..4)
        .map(|edge| Offer {
            edge,
            cost: f64::from(edge) * 0.1,
        })
        .collect();
    world.viewers = vec![vec![(0, 1.0)]];
    let base = world.streams()[0];
    let lay =
        |stream| Paths::default().lay(&world.ground(), &[stream], &Terms::default())[0].clone();
    assert_eq!(lay(base).open, [1]);
    assert_eq!(
        lay(Stream {
            replicas: 2,
            ..base
        })
        .open,
        [1, 2]
    );
    assert_eq!(
        lay(Stream {
            replicas: 9,
            ..base
        })
        .open,
        [1, 2, 3]
    );
    let mask = [true, false, true, true];
    let allowed = Some(&mask[..]);
    assert_eq!(lay(Stream { allowed, ..base }).open, [2]);
    let viewers = &[(0, 100.0)];
    let large = Stream { viewers, ..base };
    assert_eq!(
        (lay(large).open.clone(), lay(large).buckets),
        (vec![1, 2, 3], 3)
    );
    assert_eq!(
        lay(Stream {
            cold: Cold::Zone,
            ..large
        })
        .open,
        [1]
    );
}

#[test]
fn an_edge_near_another_takes_from_it_what_comes_from_far_away() {
    let mut world = small(2);
    world.carriers = vec![vec![1, 2]];
    let set =
        |world: &mut World, from: usize, to: usize, rtt: f32| world.rtt_ms[from * 3 + to] = rtt;
    for (from, to, rtt) in [(0, 1, 150.0), (0, 2, 160.0), (1, 2, 5.0), (2, 1, 5.0)] {
        set(&mut world, from, to, rtt);
    }
    let mut paths = Paths::default();
    let parents = |laid: &[Arc<Laid>]| {
        laid[0]
            .ways
            .iter()
            .map(|way| way.parent)
            .collect::<Vec<_>>()
    };
    assert_eq!(parents(&world.lay(&mut paths)), [0, 1]);
    // A little better is not worth a move.
    set(&mut world, 0, 2, 149.0);
    world.carriers = vec![vec![2, 1]];
    assert_eq!(parents(&world.lay(&mut paths)), [0, 1]);
    set(&mut world, 0, 2, 20.0);
    world.carriers = vec![vec![1, 2]];
    assert_eq!(parents(&world.lay(&mut paths)), [2, 0]);
    // One that drains keeps its way and has no children.
    world.nodes[2].health = Health::Draining;
    assert_eq!(parents(&world.lay(&mut paths)), [0, 0]);
}

#[test]
fn a_large_stream_has_a_second_parent_ready() {
    let mut world = small(6);
    for (at, node) in world.nodes.iter_mut().enumerate().skip(1) {
        node.zone = 1 + (at as u32 - 1) / 3;
        node.hub = matches!(at, 1 | 2 | 4);
    }
    world.carriers = vec![vec![3, 5, 6]];
    world.starts = vec![0, 0];
    world.viewers = vec![vec![(0, 1000.0)]];
    let laid = world.lay(&mut Paths::default());
    let [first, second] = if laid[0].way(1).is_some() {
        [1, 2]
    } else {
        [2, 1]
    };
    let way = |node: u32| {
        laid[0]
            .way(node)
            .map(|way| (way.parent, way.standby))
            .unwrap()
    };
    assert_eq!(way(3), (first, Some(second)), "the other hub of the zone");
    assert_eq!(way(5), (4, Some(0)), "the zone's only hub, else the origin");
    assert_eq!(way(4), (0, Some(first)), "a hub: the other zone's");
    world.viewers = vec![vec![(0, 10.0)]];
    let laid = world.lay(&mut Paths::default());
    assert!(laid[0].ways.iter().all(|way| way.standby.is_none()));
}

#[test]
fn a_stream_is_left_alone_until_much_has_changed_for_many_of_its_viewers() {
    let offer = |edge, cost| Offer { edge, cost };
    let mut world = small(2);
    world.starts = vec![0, 2, 4];
    world.offers = vec![offer(1, 0.1), offer(2, 0.5), offer(1, 0.5), offer(2, 0.1)];
    world.viewers = vec![vec![(0, 100.0), (1, 5.0)]];
    let mut paths = Paths::default();
    let mut last = world.lay(&mut paths).remove(0);
    let mut is_left_alone = |world: &World| {
        let laid = world.lay(&mut paths).remove(0);
        let same = Arc::ptr_eq(&laid, &last);
        last = laid;
        same
    };
    world.viewers[0][0].1 = 115.0;
    assert!(is_left_alone(&world), "some more viewers");
    world.offers[2].cost = 0.9;
    assert!(is_left_alone(&world), "other prices where few watch");
    world.offers[0].cost = 0.105;
    assert!(is_left_alone(&world), "a price that hardly moved");
    world.viewers[0][0].1 = 150.0;
    assert!(!is_left_alone(&world), "many more viewers");
    world.offers[0].cost = 0.9;
    assert!(!is_left_alone(&world), "other prices where most watch");
    world.nodes[1].health = Health::Draining;
    assert!(!is_left_alone(&world), "another node");
}
