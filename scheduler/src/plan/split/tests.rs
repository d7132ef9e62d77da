//! Properties of splits, on problems small and odd.

use proptest::prelude::*;

use super::*;

fn supply(level: f64, beyond: f64, limit: f64) -> Supply {
    Supply {
        level,
        beyond,
        limit,
        weight: 1.0,
    }
}

fn shut(problem: &Problem) -> Vec<Burst> {
    vec![Burst::Shut; problem.supplies.len()]
}

fn problem(demand: &[f64], offers: &[&[(u32, f64)]], supplies: Vec<Supply>) -> Problem {
    let mut starts = vec![0];
    let mut flat = Vec::new();
    for region in offers {
        flat.extend(region.iter().map(|(edge, cost)| Offer {
            edge: *edge,
            cost: *cost,
        }));
        starts.push(flat.len() as u32);
    }
    Problem {
        demand: demand.to_vec(),
        starts,
        offers: flat,
        supplies,
    }
}

/// Every region may go to most edges, and together they have `room` times what is demanded.
fn roomy(room: f64) -> impl Strategy<Value = Problem> {
    let edges = prop::collection::vec((0.2..1.0_f64, 0.0..1.0_f64, 0.0..3.0_f64), 3..8);
    let costs = prop::collection::vec(
        (0.01..1e3_f64, prop::collection::vec(0.1..2.0_f64, 8)),
        1..20,
    );
    (edges, costs).prop_map(move |(edges, regions)| {
        let demand: Vec<f64> = regions.iter().map(|(demand, _)| *demand).collect();
        let weights: f64 = edges.iter().map(|edge| edge.0).sum();
        let total: f64 = demand.iter().sum();
        let supply = |(weight, level, beyond): &(f64, f64, f64)| {
            let limit = weight / weights * total * room;
            supply(level * limit, *beyond, limit)
        };
        let offers: Vec<Vec<(u32, f64)>> = regions
            .iter()
            .map(|(_, costs)| (0..edges.len()).map(|e| (e as u32, costs[e])).collect())
            .collect();
        let offers: Vec<&[(u32, f64)]> = offers.iter().map(Vec::as_slice).collect();
        problem(&demand, &offers, edges.iter().map(supply).collect())
    })
}

fn odd() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(-1.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE),
        Just(1e-200),
        Just(1e200),
        0.0..2.0_f64,
        1e6..1e12_f64,
    ]
}

/// Anything that the types allow, offers to edges that are not there among it.
fn strange() -> impl Strategy<Value = Problem> {
    let supplies = prop::collection::vec((odd(), odd(), odd(), odd()), 0..5);
    let offers = prop::collection::vec((0_u32..6, odd()), 0..12);
    let demand = prop::collection::vec(odd(), 0..6);
    let starts = prop::collection::vec(0_u32..15, 0..7);
    (supplies, offers, demand, starts).prop_map(|(supplies, offers, demand, mut starts)| Problem {
        demand,
        starts: {
            starts.sort_unstable();
            starts
        },
        offers: offers
            .into_iter()
            .map(|(edge, cost)| Offer { edge, cost })
            .collect(),
        supplies: supplies
            .into_iter()
            .map(|(level, beyond, limit, weight)| Supply {
                level,
                beyond,
                limit,
                weight,
            })
            .collect(),
    })
}

/// What any split of usable demand costs at least, by prices, reckoned once more and plainly.
fn least_by(problem: &Problem, prices: &[f64]) -> f64 {
    let regions = problem.demand.iter().enumerate().map(|(region, demand)| {
        let offers = problem.offers_of(region).map(|at| problem.offers[at]);
        let costs = offers.map(|offer| offer.cost + prices[offer.edge as usize]);
        demand * costs.fold(f64::INFINITY, f64::min)
    });
    let edges = problem.supplies.iter().zip(prices).map(|(supply, price)| {
        let at_limit = supply.beyond * (supply.limit - supply.level) - price * supply.limit;
        (-price * supply.level).min(at_limit).min(0.0)
    });
    regions.sum::<f64>() + edges.sum::<f64>()
}

fn check_shares(problem: &Problem, split: &Split) {
    assert_eq!(split.shares.len(), problem.offers.len());
    for region in 0..problem.demand.len() {
        let range = problem.offers_of(region);
        let sum: f64 = split.shares[range.clone()].iter().sum();
        let offers = &problem.offers[range.clone()];
        let usable = |offer: &Offer| asked(offer, &split.prices, &problem.supplies).is_finite();
        let whole = f64::from(u8::from(offers.iter().any(usable)));
        assert!((sum - whole).abs() < 1e-9, "{sum} is not {whole}");
        let mut again = vec![f64::NAN; offers.len()];
        shares(
            offers,
            &split.prices,
            &problem.supplies,
            split.tau,
            &mut again,
        );
        assert_eq!(again, split.shares[range], "the prices say the same");
    }
}

proptest! {
    #[test]
    fn with_room_to_spare_nothing_overflows_and_the_gap_closes(problem in roomy(1.3)) {
        let split = split(&problem, None);
        prop_assert_eq!(split.overload, 0.0);
        prop_assert!(split.gap() <= 0.01, "gap {}", split.gap());
        prop_assert!(split.bound <= split.cost);
        prop_assert!(least_by(&problem, &split.prices) <= split.cost * (1.0 + 1e-9));
        check_shares(&problem, &split);
    }

    #[test]
    fn a_warm_start_comes_to_the_same_cost(problem in roomy(1.3)) {
        let cold = split(&problem, None);
        let warm = split(&problem, Some(&cold.prices));
        prop_assert_eq!(warm.overload, 0.0);
        let apart = (warm.cost / cold.cost - 1.0).abs();
        prop_assert!(apart <= warm.gap().max(cold.gap()) + 1e-9, "{} {}", warm.cost, cold.cost);
    }

    #[test]
    fn without_room_the_bound_still_holds(problem in roomy(0.8)) {
        let split = split(&problem, None);
        prop_assert!(split.overload > 0.0);
        prop_assert!(split.bound <= split.cost);
        prop_assert!(least_by(&problem, &split.prices) <= split.cost * (1.0 + 1e-9));
        check_shares(&problem, &split);
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(problem in roomy(1.1)) {
        let bytes = || {
            let split = concentrate(&problem, &mut shut(&problem), None);
            let all = split.prices.iter().chain(&split.shares).chain(&split.loads);
            all.map(|number| number.to_bits()).collect::<Vec<_>>()
        };
        prop_assert_eq!(bytes(), bytes());
    }

    #[test]
    fn strange_input_gives_finite_output(
        problem in strange(),
        start in prop::collection::vec(odd(), 0..5),
    ) {
        for split in [
            split(&problem, Some(&start)),
            concentrate(&problem, &mut shut(&problem), None),
        ] {
            let all = split.prices.iter().chain(&split.shares).chain(&split.loads);
            prop_assert!(all.copied().all(f64::is_finite), "{split:?}");
            let sums = [split.cost, split.bound, split.overload, split.tau, split.gap()];
            prop_assert!(sums.iter().all(|number| number.is_finite()), "{split:?}");
            prop_assert!(split.bound <= split.cost);
            check_shares(&problem, &split);
        }
    }
}

#[test]
fn the_cheaper_edge_is_filled_to_its_level_then_the_other() {
    let offers: &[(u32, f64)] = &[(0, 1.0), (1, 1.5)];
    let supplies = vec![supply(60.0, 2.0, 100.0), supply(100.0, 0.0, 100.0)];
    let found = split(&problem(&[50.0, 50.0], &[offers, offers], supplies), None);
    assert!((found.loads[0] - 60.0).abs() < 1.0, "{found:?}");
    assert!((found.prices[0] - 0.5).abs() < 0.05, "{found:?}");
    assert!(found.prices[1] < 0.05, "{found:?}");
}

#[test]
fn beyond_its_level_an_edge_is_used_when_it_is_worth_that() {
    let offers: &[(u32, f64)] = &[(0, 1.0), (1, 3.0)];
    for (beyond, load) in [(1.0, 90.0), (3.0, 60.0)] {
        let supplies = vec![supply(60.0, beyond, 1000.0), supply(100.0, 0.0, 100.0)];
        let found = split(&problem(&[90.0], &[offers], supplies), None);
        assert!((found.loads[0] - load).abs() < 1.0, "{beyond}: {found:?}");
    }
}

#[test]
fn equals_share_by_weight() {
    let mut supplies = vec![supply(1e9, 0.0, 1e9); 2];
    supplies[1].weight = 3.0;
    let found = split(&problem(&[1e6], &[&[(0, 1.0), (1, 1.0)]], supplies), None);
    assert!((found.shares[1] - 0.75).abs() < 0.01, "{found:?}");
}

#[test]
fn one_edge_goes_far_beyond_its_level_rather_than_both_a_little() {
    let offers: &[(u32, f64)] = &[(0, 1.0), (1, 1.0)];
    let supplies = vec![supply(50.0, 1.0, 100.0), supply(50.0, 1.05, 100.0)];
    let problem = problem(&[130.0], &[offers], supplies);
    let found = concentrate(&problem, &mut shut(&problem), None);
    let beyond = found.loads.iter().filter(|load| **load > 51.0).count();
    assert_eq!(beyond, 1, "{found:?}");
    assert_eq!(found.overload, 0.0);
}

#[test]
fn an_edge_that_is_beyond_its_level_stays_so_rather_than_another() {
    let offers: &[(u32, f64)] = &[(0, 1.0), (1, 1.0)];
    let supplies = vec![supply(50.0, 1.0, 100.0), supply(50.0, 1.2, 100.0)];
    let problem = problem(&[130.0], &[offers], supplies);
    for (was, stays) in [(0, 0), (1, 1)] {
        let mut bursts = vec![Burst::Shut; 2];
        bursts[was] = Burst::Open;
        let found = concentrate(&problem, &mut bursts, None);
        assert!(found.loads[stays] > 75.0, "{found:?}");
        assert_eq!(
            (bursts[stays], bursts[1 - stays]),
            (Burst::Open, Burst::Shut)
        );
    }
}

#[test]
fn an_edge_whose_bits_are_billed_is_as_dear_beyond_its_level_as_it_says() {
    let offers: &[(u32, f64)] = &[(0, 1.0), (1, 3.0)];
    let supplies = vec![supply(50.0, 1.0, 100.0), supply(100.0, 0.0, 100.0)];
    let problem = problem(&[90.0], &[offers], supplies);
    for (burst, load) in [
        (Burst::Never, 90.0),
        (Burst::Shut, 50.0),
        (Burst::Open, 90.0),
    ] {
        let found = concentrate(&problem, &mut [burst, Burst::Never], None);
        assert!((found.loads[0] - load).abs() < 1.0, "{burst:?}: {found:?}");
    }
}

#[test]
fn an_edge_without_a_limit_takes_what_is_left() {
    let supplies = vec![
        supply(10.0, 0.0, 10.0),
        supply(f64::INFINITY, 0.0, f64::INFINITY),
        supply(0.0, 0.0, 0.0),
    ];
    let offers: &[(u32, f64)] = &[(0, 1.0), (1, 2.0), (2, 0.5)];
    let found = split(&problem(&[100.0], &[offers], supplies), None);
    assert!((found.loads[1] - 90.0).abs() < 0.5, "{found:?}");
    assert_eq!(found.loads[2], 0.0);
    assert_eq!(found.overload, 0.0);
}

#[test]
fn regions_and_edges_may_be_none() {
    let empty = split(&Problem::default(), None);
    assert_eq!((empty.cost, empty.bound, empty.overload), (0.0, 0.0, 0.0));
    let unserved = split(&problem(&[5.0], &[&[]], vec![]), None);
    assert_eq!(unserved.overload, 5.0);
}
