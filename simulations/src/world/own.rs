//! A planner's own numbers: edges, prices and demand as three tables, and regions as a fourth.
//!
//! Demand is wide (a column a region) or long (a row a time and region). Times are slots, Unix
//! seconds or RFC 3339; what is coarser than a bill's five minutes holds for all of them. Where a
//! region is follows from the table of regions, from columns lat and lon of long demand, from an
//! edge's metro of that name, or from a country's or state's code.

use std::collections::BTreeMap;

use cluster::node::Place;
use scheduler::geo;
use scheduler::plan::billing::SLOT_S;

use super::prices::{self, Prices};
use super::{Edge, Metro, Path, Point, Region, Stream, Time, World, folder};
use crate::network::Fit;
use crate::table::{Column, Fault, Row, Table};

/// The tables: each a file's name and its text.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// Of edges.
    pub edges: (&'a str, &'a str),
    /// Of their prices.
    pub prices: (&'a str, &'a str),
    /// Of demand.
    pub demand: (&'a str, &'a str),
    /// Of regions, where that is needed.
    pub regions: Option<(&'a str, &'a str)>,
    /// Of round-trip times between regions and edges, where they are known.
    pub rtt: Option<(&'a str, &'a str)>,
}

/// The world of these tables.
pub fn read(tables: &Tables<'_>) -> Result<(World, Prices), Fault> {
    let mut world = World {
        name: "own".to_owned(),
        ..World::default()
    };
    edges(tables.edges, &mut world)?;
    let mut places = places(&world);
    if let Some(regions) = tables.regions {
        list(regions, &mut places)?;
    }
    let asked = Asked::read(tables.demand, &mut places)?;
    asked.enter(tables.demand.0, &mut world)?;
    for name in asked.names() {
        let Some((at, access_ms)) = place(&places, name) else {
            let problem = format!("where region {name:?} is, is not known");
            let remedy = "give --regions a table with columns region, lat, lon; or name regions by \
                          a country's or state's code (DE, US-CA) or an edge's metro";
            return Err(Fault::new((tables.demand.0, 1), problem, remedy));
        };
        let metro = nearest(&world, at);
        world.regions.push(Region {
            name: name.to_owned(),
            metro,
            at,
            access_ms,
        });
    }
    for region in &world.regions {
        world.metros[region.metro].weight += 1.0;
    }
    let times = match tables.rtt {
        Some(table) => times(table, &world)?,
        None => BTreeMap::new(),
    };
    let path = |region: &Region, (at, edge): (usize, &Edge)| {
        let known = times.get(&(region.name.clone(), at)).copied();
        let reckoned = || Fit::MEASURED.rtt_ms(region.at.km_to(edge.at)) + region.access_ms;
        Path {
            edge: at as u32,
            rtt_ms: known.unwrap_or_else(reckoned),
        }
    };
    let paths = |region: &Region| {
        let edges = world.edges.iter().enumerate();
        edges.map(|edge| path(region, edge)).collect()
    };
    let paths = world.regions.iter().map(paths).collect();
    world.route(paths);
    world.streams = streams(world.metros.len());
    let names: Vec<&str> = world.edges.iter().map(|edge| edge.name.as_str()).collect();
    let prices = prices::read("own", tables.prices, &names)?;
    Ok((world, prices))
}

/// Times that are known, by region and number of the edge.
fn times(
    (file, text): (&str, &str),
    world: &World,
) -> Result<BTreeMap<(String, usize), f64>, Fault> {
    let mut times = BTreeMap::new();
    for row in Table::read(file, text, TIMES)?.rows() {
        let (region, edge) = (row.name("region")?, row.name("edge")?);
        let at = world.edges.iter().position(|it| it.name == edge);
        let at = at.ok_or_else(|| {
            let problem = format!("edge {edge:?} is not known");
            row.fault(
                problem,
                "remove the row, or add the edge to the list of edges",
            )
        })?;
        // A region that asks for nothing may have its times all the same.
        times.insert((region.to_owned(), at), row.number("rtt_ms", 0.0..=1e5)?);
    }
    Ok(times)
}

fn edges((file, text): (&str, &str), world: &mut World) -> Result<(), Fault> {
    let table = Table::read(file, text, EDGES)?;
    for row in table.rows() {
        let name = row.name("edge")?.to_owned();
        if world.edges.iter().any(|edge| edge.name == name) {
            let problem = format!("edge {name:?} is there twice");
            return Err(row.fault(problem, "rename or remove one"));
        }
        let at = Point {
            lat: row.number("lat", -90.0..=90.0)?,
            lon: row.number("lon", -180.0..=180.0)?,
        };
        let metro = Some(row.text("metro")).filter(|metro| !metro.is_empty());
        let metro = metro.unwrap_or(&name).to_owned();
        let known = world.metros.iter().position(|it| it.name == metro);
        let metro = known.unwrap_or_else(|| {
            let country = Some(row.text("country").to_owned()).filter(|code| !code.is_empty());
            world.metros.push(Metro {
                name: metro,
                country,
                area: "all".to_owned(),
                at,
                utc_offset_h: 0.0,
                weight: 0.0,
            });
            world.metros.len() - 1
        });
        let capacity_mbps = row.number("capacity_mbps", 1e-3..=1e9)?;
        let ingress_mbps = row.optional("ingress_mbps", 0.0..=1e9)?;
        world.edges.push(Edge {
            name,
            metro,
            at,
            capacity_mbps,
            ingress_mbps: ingress_mbps.unwrap_or(capacity_mbps),
        });
    }
    Ok(())
}

/// Where regions are, with the milliseconds of their access networks.
type Places = BTreeMap<String, (Point, f64)>;

fn places(world: &World) -> Places {
    let metros = world.metros.iter();
    metros
        .map(|metro| (metro.name.clone(), (metro.at, ACCESS_MS)))
        .collect()
}

fn list((file, text): (&str, &str), places: &mut Places) -> Result<(), Fault> {
    for row in Table::read(file, text, REGIONS)?.rows() {
        let at = Point {
            lat: row.number("lat", -90.0..=90.0)?,
            lon: row.number("lon", -180.0..=180.0)?,
        };
        let access_ms = row.optional("access_ms", 0.0..=1e4)?.unwrap_or(ACCESS_MS);
        places.insert(row.name("region")?.to_owned(), (at, access_ms));
    }
    Ok(())
}

/// A region's place: as given, or the centre of a country or state of that code.
fn place(places: &Places, name: &str) -> Option<(Point, f64)> {
    let given = places.get(name).copied();
    given.or_else(|| {
        let nowhere = geo::Point {
            lat: -90.0,
            lon: 123.0,
        };
        let config = geo::Config {
            default: Some(nowhere),
            ..geo::Config::default()
        };
        let geo = geo::Geo::load(config, &Place::default()).ok()?;
        let code = cluster::region::Region::parse(&name.to_ascii_uppercase())?;
        let centre = geo.centre(code);
        let at = Point {
            lat: centre.lat,
            lon: centre.lon,
        };
        (centre != nowhere).then_some((at, ACCESS_MS))
    })
}

fn nearest(world: &World, at: Point) -> usize {
    let metros = 0..world.metros.len();
    let km = |metro: &usize| world.metros[*metro].at.km_to(at);
    metros.min_by(|a, b| km(a).total_cmp(&km(b))).unwrap_or(0)
}

/// Demand as it was read: by time and then region.
#[derive(Debug, Default)]
struct Asked {
    names: Vec<String>,
    /// By time, with the line it was read from.
    rows: BTreeMap<i64, (usize, Vec<f32>)>,
    /// Whether times count slots.
    slots: bool,
}

impl Asked {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    fn read((file, text): (&str, &str), places: &mut Places) -> Result<Self, Fault> {
        let table = Table::open(file, text, DEMAND)?;
        let mut asked = Self {
            slots: table.has("slot"),
            ..Self::default()
        };
        if table.has("slot") == table.has("time") {
            let remedy = "name one column slot (0, 1, 2 ...) or time (2026-01-05T00:00:00Z)";
            let problem = "it has no column for the time, or two";
            return Err(Fault::new((file, 1), problem, remedy));
        }
        if table.has("region") != table.has("mbps") {
            let problem = "column region or mbps is missing";
            let remedy = "give long demand both; wide demand has a column a region and neither";
            return Err(Fault::new((file, 1), problem, remedy));
        }
        if table.has("region") {
            asked.long(&table, places)?;
        } else {
            asked.names = table.others().map(str::to_owned).collect();
            for row in table.rows() {
                let values = row.others(&(0.0..=MAX_MBPS))?;
                let values = values.into_iter().map(|it| it as f32).collect();
                let at = asked.time(&row)?;
                if asked.rows.insert(at, (row.line, values)).is_some() {
                    return Err(row.fault("its time is there twice", "remove one of the rows"));
                }
            }
        }
        if asked.names.is_empty() {
            let remedy = "add a column a region, or columns region and mbps";
            return Err(Fault::new((file, 1), "it has no region", remedy));
        }
        Ok(asked)
    }

    fn long(&mut self, table: &Table, places: &mut Places) -> Result<(), Fault> {
        let mut known = BTreeMap::new();
        for row in table.rows() {
            let region = row.name("region")?;
            let next = known.len();
            let at = *known.entry(region.to_owned()).or_insert(next);
            if at == self.names.len() {
                self.names.push(region.to_owned());
            }
            let lat = row.optional("lat", -90.0..=90.0)?;
            let lon = row.optional("lon", -180.0..=180.0)?;
            if let (Some(lat), Some(lon)) = (lat, lon) {
                places.insert(region.to_owned(), (Point { lat, lon }, ACCESS_MS));
            }
            let mbps = row.number("mbps", 0.0..=MAX_MBPS)?;
            let time = self.time(&row)?;
            let (_, values) = self.rows.entry(time).or_insert((row.line, Vec::new()));
            values.resize(values.len().max(at + 1), f32::NAN);
            if !values[at].is_nan() {
                let problem = format!("region {region:?} has a value for this time already");
                return Err(row.fault(problem, "remove one of the rows"));
            }
            values[at] = mbps as f32;
        }
        // What a time does not name was not asked for.
        for (_, values) in self.rows.values_mut() {
            values.resize(self.names.len(), 0.0);
            values
                .iter_mut()
                .filter(|it| it.is_nan())
                .for_each(|it| *it = 0.0);
        }
        Ok(())
    }

    fn time(&self, row: &Row<'_>) -> Result<i64, Fault> {
        if self.slots {
            return row.number("slot", 0.0..=1e9).map(|slot| slot as i64);
        }
        let text = row.name("time")?;
        let seconds = text.parse::<i64>().ok();
        let seconds = seconds.or_else(|| folder::unix_s(text));
        seconds.ok_or_else(|| {
            let remedy = "write 2026-01-05T00:00:00Z or Unix seconds";
            row.fault(format!("time = {text:?} is no time"), remedy)
        })
    }

    /// Writes it into the world, in slots of five minutes or of a part of that.
    fn enter(&self, file: &str, world: &mut World) -> Result<(), Fault> {
        let times: Vec<(i64, usize)> = self.rows.iter().map(|(at, row)| (*at, row.0)).collect();
        let bill_s = i64::from(SLOT_S);
        let step_s = match times[..] {
            _ if self.slots => bill_s,
            [(first, _), (second, _), ..] => second - first,
            _ => bill_s,
        };
        let between = if self.slots { 1 } else { step_s };
        for pair in times.windows(2) {
            if pair[1].0 - pair[0].0 != between {
                let problem = format!("{} does not follow on {}", pair[1].0, pair[0].0);
                let remedy = "give every step a row, all equally far apart";
                return Err(Fault::new((file, pair[1].1), problem, remedy));
            }
        }
        let fits = step_s >= 30 && (bill_s % step_s == 0 || step_s % bill_s == 0);
        if !fits {
            let problem = format!("its rows are {step_s} seconds apart");
            let remedy = "make that 30, 60, 100, 150 or 300, or a multiple of 300";
            return Err(Fault::new(
                (file, times.get(1).map_or(0, |it| it.1)),
                problem,
                remedy,
            ));
        }
        let times_each = (step_s / bill_s).max(1) as usize;
        for (_, values) in self.rows.values() {
            for _ in 0..times_each {
                world.demand.extend(values);
            }
        }
        let step_s = step_s.min(bill_s) as u32;
        let slots = world.demand.len() / self.names.len();
        let day = (86_400 / step_s) as usize;
        let days = slots / day;
        if days < LEAST_DAYS {
            let problem = format!("it has {slots} slots of {step_s} seconds: {days} whole days");
            let remedy = "give three days at least: the first are history, the others are billed";
            return Err(Fault::new((file, 0), problem, remedy));
        }
        let history = (days / 3).clamp(1, 7).max(days.saturating_sub(MOST_BILLED));
        let first = times.first().map_or(0, |it| it.0);
        world.time = Time {
            step_s,
            start_s: if self.slots { 0 } else { first },
            slots: days * day,
            billed_from: history * day,
        };
        world.demand.truncate(days * day * self.names.len());
        Ok(())
    }
}

/// As in the scenario that the repository ships, alike in all metros.
fn streams(metros: usize) -> Vec<Stream> {
    let all: f64 = (1..=STREAMS).map(|nth| 1.0 / nth as f64).sum();
    let stream = |nth: usize| Stream {
        bitrate_kbps: 3000.0,
        popularity: 1.0 / nth as f64 / all,
        home: nth % metros.max(1),
        is_global: true,
    };
    (1..=STREAMS).map(stream).collect()
}

/// Of a region of which nothing else is known: a cable network's.
const ACCESS_MS: f64 = 8.0;
const MAX_MBPS: f64 = 1e9;
const LEAST_DAYS: usize = 3;
const MOST_BILLED: usize = 31;
const STREAMS: usize = 1000;

const EDGES: &[Column] = &[
    Column::required("edge").or(&["node", "name"]),
    Column::required("lat").or(&["latitude"]),
    Column::required("lon").or(&["lng", "longitude"]),
    Column::required("capacity_mbps"),
    Column::optional("metro").or(&["city"]),
    Column::optional("country"),
    Column::optional("ingress_mbps"),
];
const REGIONS: &[Column] = &[
    Column::required("region").or(&["name"]),
    Column::required("lat").or(&["latitude"]),
    Column::required("lon").or(&["lng", "longitude"]),
    Column::optional("access_ms"),
];
const TIMES: &[Column] = &[
    Column::required("region"),
    Column::required("edge").or(&["node"]),
    Column::required("rtt_ms"),
];
const DEMAND: &[Column] = &[
    Column::optional("slot"),
    Column::optional("time").or(&["ts", "timestamp"]),
    Column::optional("region"),
    Column::optional("mbps").or(&["demand_mbps"]),
    Column::optional("lat"),
    Column::optional("lon"),
];

#[cfg(test)]
mod tests;
