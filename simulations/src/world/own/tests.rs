//! A planner's tables are read, and what is wrong with them is told by line.

use super::*;

const NODES: &str = "node,lat,lon,capacity_mbps,metro\nfra-1,50.1,8.7,10000,frankfurt\n\
                     fra-2,50.1,8.6,5000,frankfurt\nnyc-1,40.7,-74,8000,\n";
const PRICES: &str = "node,usd_per_mbps_month\nfra-1,0.5\nfra-2,1\nnyc-1,0.7\n";

fn tables<'a>(edges: &'a str, prices: &'a str, demand: &'a str) -> Tables<'a> {
    Tables {
        edges: ("nodes.csv", edges),
        prices: ("prices.csv", prices),
        demand: ("demand.csv", demand),
        regions: None,
        rtt: None,
    }
}

/// Hours of four days, one region each for a country, a state and an edge's metro.
fn wide() -> String {
    let hour = |hour: i64| format!("{},{},200,300\n", 1_767_571_200 + 3600 * hour, 100 + hour);
    let rows: String = (0..96).map(hour).collect();
    format!("time,DE,US-NY,frankfurt\n{rows}")
}

#[test]
fn hours_of_demand_become_slots_of_bills() {
    let demand = wide();
    let (world, prices) = read(&tables(NODES, PRICES, &demand)).unwrap();
    assert_eq!(world.time.step_s, 300);
    assert_eq!((world.time.slots, world.time.billed_from), (4 * 288, 288));
    assert_eq!(world.demand(11), [100.0, 200.0, 300.0]);
    assert_eq!(world.demand(12)[0], 101.0);
    assert_eq!(world.edges.len(), prices.tariffs.len());
    let nearest = |region: usize| {
        world.edges[world.paths(region)[0].edge as usize]
            .name
            .as_str()
    };
    assert_eq!((nearest(1), nearest(2)), ("nyc-1", "fra-1"));
    assert!(world.paths(0)[0].rtt_ms < 20.0 && world.paths(0)[2].rtt_ms > 80.0);
}

#[test]
fn long_demand_is_the_same_as_wide() {
    let wide = wide();
    let long: String =
        wide.lines()
            .skip(1)
            .fold("ts,region,demand_mbps\n".to_owned(), |all, row| {
                let cells: Vec<&str> = row.split(',').collect();
                let names = ["DE", "US-NY", "frankfurt"];
                let rows = names.iter().zip(&cells[1..]);
                let rows: String = rows
                    .map(|(name, mbps)| format!("{},{name},{mbps}\n", cells[0]))
                    .collect();
                all + &rows
            });
    let one = read(&tables(NODES, PRICES, &wide)).unwrap();
    assert_eq!(one, read(&tables(NODES, PRICES, &long)).unwrap());
}

#[test]
fn regions_of_ones_own_have_a_table_of_their_own() {
    let demand = wide().replace("DE,", "cmcc,");
    let mut tables = tables(NODES, PRICES, &demand);
    assert!(read(&tables).unwrap_err().to_string().contains("--regions"));
    tables.regions = Some(("regions.csv", "region,lat,lon,access_ms\ncmcc,31,121,20\n"));
    let (world, _) = read(&tables).unwrap();
    assert_eq!(
        (world.regions[0].at.lat, world.regions[0].access_ms),
        (31.0, 20.0)
    );
}

#[test]
fn tables_that_miss_say_where_and_what_to_do() {
    let demand = wide();
    let gap = demand.replacen("1767578400,102,200,300\n", "", 1);
    let twice = format!("{demand}1767571200,1,2,3\n");
    for (edges, prices, demand, said) in [
        (
            "node,lat,lon\na,1,2\n",
            PRICES,
            &*demand,
            "nodes.csv: line 1: column capacity_mbps is missing",
        ),
        (
            "node,lat,lon,capacity_mbps\na,95,2,1\n",
            PRICES,
            &demand,
            "nodes.csv: line 2: lat = 95 is out of range",
        ),
        (
            "node,lat,lon,capacity_mbps\na,5,2,1\na,5,2,1\n",
            PRICES,
            &demand,
            "line 3: edge \"a\" is there twice",
        ),
        (
            NODES,
            "node,usd_per_gb\nfra-1,1\n",
            &demand,
            "prices.csv: line 2: usd_per_mbps_month_p95 is missing",
        ),
        (NODES, PRICES, "slot,DE\n0,1\n", "give three days at least"),
        (NODES, PRICES, "when,DE\n0,1\n", "name one column slot"),
        (
            NODES,
            PRICES,
            "slot,DE\n0,1\n2,1\n",
            "demand.csv: line 3: 2 does not follow on 0",
        ),
        (
            NODES,
            PRICES,
            "slot,DE\n0,x\n",
            "demand.csv: line 2: DE = \"x\" is no number",
        ),
        (
            NODES,
            PRICES,
            "time,DE\nnow,1\n",
            "line 2: time = \"now\" is no time; write 2026-01-05T00:00:00Z",
        ),
        (
            NODES,
            PRICES,
            "time,DE\n0,1\n70,1\n",
            "its rows are 70 seconds apart",
        ),
        (
            NODES,
            PRICES,
            "slot,region\n0,DE\n",
            "column region or mbps is missing",
        ),
        (NODES, PRICES, &gap, "does not follow on"),
        (NODES, PRICES, &twice, "its time is there twice"),
    ] {
        let error = read(&tables(edges, prices, demand))
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}\nnot {said}");
    }
}

#[test]
fn times_that_are_known_come_before_those_by_distance() {
    let demand = wide();
    let mut tables = tables(NODES, PRICES, &demand);
    let text = "region,edge,rtt_ms\nDE,nyc-1,3.5\nnowhere,nyc-1,9\n";
    tables.rtt = Some(("rtt.csv", text));
    let (world, _) = read(&tables).unwrap();
    assert_eq!((world.paths(0)[0].edge, world.paths(0)[0].rtt_ms), (2, 3.5));
    assert!(world.paths(0)[1].rtt_ms > 3.5, "by distance");
    tables.rtt = Some(("rtt.csv", "region,edge,rtt_ms\nDE,nyc,3.5\n"));
    let error = read(&tables).unwrap_err().to_string();
    assert!(
        error.contains("rtt.csv: line 2: edge \"nyc\" is not known"),
        "{error}"
    );
}
