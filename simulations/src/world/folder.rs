//! Worlds as folders of tables: world.json, metros, regions, edges, rtt, streams, events, prices
//! and a compressed demand.csv, each file as its first line names it.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path as File, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::prices::{self, Prices};
use super::{Edge, Event, Metro, Path, Point, Region, Stream, Time, World};
use crate::table::{Column, Fault, Row, Table};

/// What `world.json` says that matters; the rest of it describes.
#[derive(Debug, Deserialize)]
struct About {
    name: String,
    step_s: u32,
    slots: usize,
    first_billed_slot: usize,
    start_utc: String,
}

/// The folders of worlds at a path: itself, or those in it, by name.
pub fn worlds_at(path: &File) -> Result<Vec<PathBuf>> {
    if path.join(ABOUT).is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        if folder.join(ABOUT).is_file() {
            found.push(folder);
        }
    }
    found.sort();
    ensure!(
        !found.is_empty(),
        "{} holds no world: a world is a folder with {ABOUT}, edges.csv, regions.csv, rtt.csv and \
         demand.csv.gz",
        path.display()
    );
    Ok(found)
}

/// Reads a world and all its price files, by name.
pub fn read(folder: &File) -> Result<(World, Vec<Prices>)> {
    let files = Files { folder };
    let about: About = serde_json::from_str(&files.text(ABOUT)?)
        .with_context(|| format!("{} is not as expected", folder.join(ABOUT).display()))?;
    let start_s = unix_s(&about.start_utc).with_context(|| {
        format!(
            "{ABOUT}: start_utc = {:?} is not as in 2026-01-05T00:00:00Z",
            about.start_utc
        )
    })?;
    ensure!(
        about.step_s > 0 && about.first_billed_slot < about.slots,
        "{ABOUT}: first_billed_slot must come before slots, and step_s be more than 0"
    );
    let mut world = World {
        name: about.name,
        time: Time {
            step_s: about.step_s,
            start_s,
            slots: about.slots,
            billed_from: about.first_billed_slot,
        },
        ..World::default()
    };
    let metros = files.table("metros.csv", METROS)?;
    world.metros = metros.rows().map(metro).collect::<Result<_, Fault>>()?;
    let places: HashMap<&str, usize> = (world.metros.iter().enumerate())
        .map(|(at, metro)| (metro.name.as_str(), at))
        .collect();
    let regions = files.table("regions.csv", REGIONS)?;
    world.regions = (regions.rows())
        .map(|row| region(row, &places))
        .collect::<Result<_, Fault>>()?;
    let edges = files.table("edges.csv", EDGES)?;
    world.edges = (edges.rows())
        .map(|row| edge(row, &places))
        .collect::<Result<_, Fault>>()?;
    let streams = files.table("streams.csv", STREAMS)?;
    world.streams = (streams.rows())
        .map(|row| stream(row, &places))
        .collect::<Result<_, Fault>>()?;
    let events = files.table_or_none("events.csv", EVENTS)?;
    let rows = events.iter().flat_map(Table::rows);
    world.events = (rows.map(|row| event(row, &world.metros))).collect::<Result<_, Fault>>()?;
    let paths = paths(&files.table("rtt.csv", RTT)?, &world)?;
    world.route(paths);
    world.demand = files.demand(&world)?;
    let prices = files.prices(&world)?;
    Ok((world, prices))
}

/// Unix seconds of a time such as `2026-01-05T00:00:00Z`.
pub(super) fn unix_s(text: &str) -> Option<i64> {
    let time: toml::value::Datetime = text.parse().ok()?;
    let (date, time) = (time.date?, time.time?);
    let second = i64::from(time.second.unwrap_or(0));
    Some(((days(date) * 24 + i64::from(time.hour)) * 60 + i64::from(time.minute)) * 60 + second)
}

/// Unix seconds at which a day such as `2026-01-05` begins.
pub(super) fn day_s(text: &str) -> Option<i64> {
    let day: toml::value::Datetime = text.parse().ok()?;
    day.time.is_none().then_some(days(day.date?) * 86_400)
}

/// Days since 1970 in the Gregorian calendar (Howard Hinnant's count, with years from March).
fn days(date: toml::value::Date) -> i64 {
    let (month, year) = (i64::from(date.month), i64::from(date.year));
    let year = if month <= 2 { year - 1 } else { year };
    let since_march = (month + 9) % 12;
    let of_year = (153 * since_march + 2) / 5 + i64::from(date.day) - 1;
    let of_era = year.rem_euclid(400);
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    year.div_euclid(400) * 146_097 + of_era - 719_468
}

fn metro(row: Row<'_>) -> Result<Metro, Fault> {
    Ok(Metro {
        name: row.name("metro")?.to_owned(),
        country: Some(row.text("country").to_owned()).filter(|code| !code.is_empty()),
        area: row.name("area")?.to_owned(),
        at: point(&row)?,
        utc_offset_h: row.number("utc_offset_h", -12.0..=14.0)?,
        weight: row.number("internet_users_weight", 0.0..=1e6)?,
    })
}

fn point(row: &Row<'_>) -> Result<Point, Fault> {
    Ok(Point {
        lat: row.number("lat", -90.0..=90.0)?,
        lon: row.number("lon", -180.0..=180.0)?,
    })
}

fn known(row: &Row<'_>, column: &str, at: &HashMap<&str, usize>) -> Result<usize, Fault> {
    let name = row.name(column)?;
    at.get(name).copied().ok_or_else(|| {
        let problem = format!("{column} {name:?} is not known");
        row.fault(problem, "name one of its own table, or add it there")
    })
}

fn region(row: Row<'_>, metros: &HashMap<&str, usize>) -> Result<Region, Fault> {
    Ok(Region {
        name: row.name("region")?.to_owned(),
        metro: known(&row, "metro", metros)?,
        at: point(&row)?,
        access_ms: row.optional("access_ms", 0.0..=1e4)?.unwrap_or(0.0),
    })
}

fn edge(row: Row<'_>, metros: &HashMap<&str, usize>) -> Result<Edge, Fault> {
    let capacity_mbps = row.number("capacity_mbps", 0.0..=1e9)?;
    let ingress_mbps = row.optional("ingress_mbps", 0.0..=1e9)?;
    Ok(Edge {
        name: row.name("edge")?.to_owned(),
        metro: known(&row, "metro", metros)?,
        at: point(&row)?,
        capacity_mbps,
        ingress_mbps: ingress_mbps.unwrap_or(capacity_mbps),
    })
}

fn stream(row: Row<'_>, metros: &HashMap<&str, usize>) -> Result<Stream, Fault> {
    let is_global = match row.text("affinity") {
        "home" => false,
        "global" => true,
        other => {
            let problem = format!("affinity = {other:?} is not known");
            return Err(row.fault(problem, "say home or global"));
        }
    };
    Ok(Stream {
        bitrate_kbps: row.number("bitrate_kbps", 1.0..=1e6)?,
        popularity: row.number("popularity", 0.0..=1.0)?,
        home: known(&row, "home_metro", metros)?,
        is_global,
    })
}

fn event(row: Row<'_>, metros: &[Metro]) -> Result<Event, Fault> {
    let (scope, target) = (row.text("scope"), row.text("target"));
    let touched = |metro: &Metro| match scope {
        "world" => true,
        "area" => metro.area == target,
        _ => metro.name == target,
    };
    if !["world", "area", "metro"].contains(&scope) {
        let problem = format!("scope = {scope:?} is not known");
        return Err(row.fault(problem, "say world, area or metro"));
    }
    let touched: Vec<usize> = (0..metros.len())
        .filter(|at| touched(&metros[*at]))
        .collect();
    if touched.is_empty() {
        let problem = format!("{scope} {target:?} has no metro");
        return Err(row.fault(problem, "name one of metros.csv"));
    }
    Ok(Event {
        start: row.number("start_slot", 0.0..=1e9)? as usize,
        slots: row.number("duration_slots", 0.0..=1e9)? as usize,
        metros: touched,
        multiplier: row.number("multiplier", 0.0..=1e3)?,
        announced: row.number("announced_at_slot", 0.0..=1e9)? as usize,
    })
}

fn paths(table: &Table, world: &World) -> Result<Vec<Vec<Path>>, Fault> {
    let regions = world.regions.iter().enumerate();
    let regions: HashMap<&str, usize> = regions.map(|(at, it)| (it.name.as_str(), at)).collect();
    let edges = world.edges.iter().enumerate();
    let edges: HashMap<&str, usize> = edges.map(|(at, it)| (it.name.as_str(), at)).collect();
    let mut paths = vec![Vec::new(); world.regions.len()];
    for row in table.rows() {
        let (region, edge) = (
            known(&row, "region", &regions)?,
            known(&row, "edge", &edges)?,
        );
        let rtt_ms = row.number("rtt_ms", 0.0..=1e5)?;
        paths[region].push(Path {
            edge: edge as u32,
            rtt_ms,
        });
    }
    if let Some(at) = paths.iter().position(Vec::is_empty) {
        let problem = format!("region {:?} reaches no edge", world.regions[at].name);
        return Err(Fault::new(("rtt.csv", 0), problem, "add a row for it"));
    }
    Ok(paths)
}

struct Files<'a> {
    folder: &'a File,
}

impl Files<'_> {
    fn text(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn shown(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn table(&self, name: &str, columns: &[Column]) -> Result<Table> {
        Ok(Table::open(&self.shown(name), &self.text(name)?, columns)?)
    }

    /// The table of a file that may be absent, or have a head and nothing else.
    fn table_or_none(&self, name: &str, columns: &[Column]) -> Result<Option<Table>> {
        if !self.folder.join(name).is_file() || self.text(name)?.lines().count() < 2 {
            return Ok(None);
        }
        self.table(name, columns).map(Some)
    }

    fn demand(&self, world: &World) -> Result<Vec<f32>> {
        let name = "demand.csv.gz";
        let file = fs::File::open(self.folder.join(name));
        let file = file.with_context(|| format!("cannot read {}", self.shown(name)))?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .with_context(|| format!("{} is not gzip of a text", self.shown(name)))?;
        let shown = self.shown(name);
        let table = Table::open(&shown, &text, &[Column::required("slot")])?;
        let names: Vec<&str> = world.regions.iter().map(|it| it.name.as_str()).collect();
        let fault = |problem: String, remedy: &str| Fault::new((&shown, 1), problem, remedy);
        if !table.others().eq(names.iter().copied()) {
            let problem = "its columns are not the regions of regions.csv".to_owned();
            return Err(fault(problem, "name them in that order, after slot").into());
        }
        let mut demand = Vec::with_capacity(world.time.slots * names.len());
        for (slot, row) in table.rows().enumerate() {
            if row.number("slot", 0.0..=1e9)? as usize != slot {
                let problem = format!("slot {} is not {slot}", row.text("slot"));
                return Err(row.fault(problem, "give every slot a row, in order").into());
            }
            let values = row.others(&(0.0..=1e9))?;
            demand.extend(values.into_iter().map(|value| value as f32));
        }
        let slots = demand.len() / names.len();
        ensure!(
            slots == world.time.slots,
            "{shown} has {slots} slots, and {ABOUT} says {}: make them agree",
            world.time.slots
        );
        Ok(demand)
    }

    fn prices(&self, world: &World) -> Result<Vec<Prices>> {
        let edges: Vec<&str> = world.edges.iter().map(|it| it.name.as_str()).collect();
        let mut names = Vec::new();
        for entry in fs::read_dir(self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("prices") && name.ends_with(".csv") {
                names.push(name);
            }
        }
        names.sort();
        let read = |name: String| {
            let short = name.trim_start_matches("prices").trim_start_matches('_');
            let short = short.trim_end_matches(".csv").to_owned();
            let text = self.text(&name)?;
            Ok(prices::read(&short, (&self.shown(&name), &text), &edges)?)
        };
        names.into_iter().map(read).collect()
    }
}

const ABOUT: &str = "world.json";
const METROS: &[Column] = &[
    Column::required("metro"),
    Column::optional("country"),
    Column::required("area"),
    Column::required("lat"),
    Column::required("lon"),
    Column::required("utc_offset_h"),
    Column::required("internet_users_weight"),
];
const REGIONS: &[Column] = &[
    Column::required("region"),
    Column::required("metro"),
    Column::required("lat"),
    Column::required("lon"),
    Column::optional("access_ms"),
];
const EDGES: &[Column] = &[
    Column::required("edge"),
    Column::required("metro"),
    Column::required("lat"),
    Column::required("lon"),
    Column::required("capacity_mbps"),
    Column::optional("ingress_mbps"),
];
const RTT: &[Column] = &[
    Column::required("region"),
    Column::required("edge"),
    Column::required("rtt_ms"),
];
const STREAMS: &[Column] = &[
    Column::required("bitrate_kbps"),
    Column::required("popularity"),
    Column::required("home_metro"),
    Column::required("affinity"),
];
const EVENTS: &[Column] = &[
    Column::required("start_slot"),
    Column::required("duration_slots"),
    Column::required("scope"),
    Column::required("target"),
    Column::required("multiplier"),
    Column::required("announced_at_slot"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("2026-01-05T00:00:00Z", Some(1_767_571_200)),
            ("2024-02-29T23:59:59Z", Some(1_709_251_199)),
            ("yesterday", None),
        ] {
            assert_eq!(unix_s(text), seconds, "{text}");
        }
    }
}
