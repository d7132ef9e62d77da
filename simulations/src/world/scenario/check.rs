//! Sans-IO: whether a scenario makes sense, and where in its text it does not.

use std::collections::HashSet;

use toml::de::{DeTable, DeValue};

use super::Scenario;
use crate::table::Fault;

/// A fault of the text's form: an unknown key, a value of the wrong kind.
pub(super) fn told(file: &str, text: &str, error: &toml::de::Error) -> Fault {
    let start = error.span().map_or(0, |span| span.start);
    let line = line_at(text, start);
    let message = error.message().replace('\n', ", ");
    let Some(rest) = message.strip_prefix("unknown field `") else {
        let key = key_of(text, start);
        let problem = if key.is_empty() || message.starts_with("missing") {
            message
        } else {
            format!("{key}: {message}")
        };
        let remedy = "compare with `weir simulate init -`, which prints every key";
        return Fault::new((file, line), problem, remedy);
    };
    let (key, known) = rest.split_once('`').unwrap_or((rest, ""));
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let close = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, key), *name))
        .min();
    let remedy = match close {
        Some((distance, name)) if distance <= CLOSE => format!("did you mean {name}?"),
        _ => format!("remove it, or name one of {}", known.join(", ")),
    };
    Fault::new((file, line), format!("key {key} is not known"), remedy)
}

fn line_at(text: &str, byte: usize) -> usize {
    1 + text
        .bytes()
        .take(byte)
        .filter(|byte| *byte == b'\n')
        .count()
}

/// The key, with its table, of the line that a byte is in.
fn key_of(text: &str, byte: usize) -> String {
    let before = &text[..text.len().min(byte)];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let own = text[start..].split(['=', '\n']).next().unwrap_or("").trim();
    let table = before.rfind("\n[").map(|at| {
        let head = text[at + 1..].lines().next().unwrap_or("");
        head.trim().trim_matches(['[', ']'])
    });
    match table {
        Some(table) if !own.starts_with('[') => format!("{table}.{own}"),
        _ => own.trim_matches(['[', ']']).to_owned(),
    }
}

/// The first thing that makes no sense.
pub(super) fn check(file: &str, text: &str, scenario: &Scenario) -> Result<(), Fault> {
    let checker = Checker { file, text };
    if scenario.version != 1 {
        let problem = format!("version = {} is not known", scenario.version);
        return Err(checker.fault("version", problem, "write version = 1"));
    }
    checker.ranges(scenario)?;
    checker.window(scenario)?;
    checker.players(scenario)?;
    checker.calendar(scenario)?;
    checker.names(scenario)?;
    checker.prices(scenario)
}

struct Checker<'a> {
    file: &'a str,
    text: &'a str,
}

impl Checker<'_> {
    fn fault(&self, key: &str, problem: String, remedy: impl Into<String>) -> Fault {
        Fault::new((self.file, self.line(key)), problem, remedy)
    }

    /// The line of a key such as `edge.0.metro`; 0 of one that is not there.
    fn line(&self, key: &str) -> usize {
        let Ok(root) = DeTable::parse(self.text) else {
            return 0;
        };
        let mut table = Some(root.get_ref());
        let mut line = 0;
        let mut steps = key.split('.').peekable();
        while let Some(step) = steps.next() {
            let Some(value) = table.and_then(|table| table.get(step)) else {
                return line;
            };
            line = line_at(self.text, value.span().start);
            table = match value.get_ref() {
                DeValue::Table(table) => Some(table),
                DeValue::Array(rows) => {
                    let nth = steps.peek().and_then(|step| step.parse::<usize>().ok());
                    let row = nth.and_then(|nth| rows.get(nth));
                    if let Some(row) = row {
                        steps.next();
                        line = line_at(self.text, row.span().start);
                    }
                    row.and_then(|row| match row.get_ref() {
                        DeValue::Table(table) => Some(table),
                        _ => None,
                    })
                }
                _ => None,
            };
        }
        line
    }

    fn within(&self, key: &str, value: f64, (least, most): (f64, f64)) -> Result<(), Fault> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        let problem = format!("{key} = {value} is out of range");
        let remedy = format!("give a number from {least} to {most}");
        Err(self.fault(key, problem, remedy))
    }

    fn ranges(&self, it: &Scenario) -> Result<(), Fault> {
        let (demand, events, prices) = (&it.demand, &it.events, &it.prices);
        let (rtt, edges, streams) = (&it.rtt, &it.edges, &it.streams);
        for (key, value, range) in [
            ("time.days", f64::from(it.time.days), (1.0, 31.0)),
            (
                "time.history_days",
                f64::from(it.time.history_days),
                (1.0, 60.0),
            ),
            ("demand.mean_gbps", demand.mean_gbps, (1e-3, 1e7)),
            ("demand.night", demand.night, (0.01, 10.0)),
            ("demand.noon", demand.noon, (0.0, 10.0)),
            ("demand.evening", demand.evening, (0.0, 10.0)),
            ("demand.weekend_noon", demand.weekend_noon, (0.0, 10.0)),
            (
                "demand.weekend_evening",
                demand.weekend_evening,
                (0.0, 10.0),
            ),
            ("demand.noise", demand.noise, (0.0, 1.0)),
            ("demand.viewer_mbps", demand.viewer_mbps, (0.01, 1000.0)),
            ("demand.session_min", demand.session_min, (0.1, 10_000.0)),
            ("rtt.ms_per_100km", rtt.ms_per_100km, (0.0, 100.0)),
            ("rtt.base_ms", rtt.base_ms, (0.0, 1000.0)),
            ("rtt.peering_ms", rtt.peering_ms, (0.0, 1000.0)),
            ("edges.per_metro", f64::from(edges.per_metro), (0.0, 100.0)),
            (
                "edges.per_large_metro",
                f64::from(edges.per_large_metro),
                (0.0, 100.0),
            ),
            (
                "edges.capacity_over_peak",
                edges.capacity_over_peak,
                (0.01, 1000.0),
            ),
            ("streams.count", f64::from(streams.count), (1.0, 1e6)),
            ("streams.zipf", streams.zipf, (0.0, 5.0)),
            ("streams.global", streams.global, (0.0, 1.0)),
            ("streams.at_home", streams.at_home, (0.0, 1e6)),
            ("streams.in_area", streams.in_area, (0.0, 1e6)),
            ("streams.elsewhere", streams.elsewhere, (1e-6, 1e6)),
            ("streams.of_global", streams.of_global, (1e-6, 1e6)),
            ("relay.usd_per_gb", it.relay.usd_per_gb, (0.0, 10_000.0)),
            ("events.area", events.area, (0.0, 100.0)),
            ("events.metro", events.metro, (0.0, 100.0)),
            ("events.world", events.world, (0.0, 1000.0)),
            ("events.cancelled", events.cancelled, (0.0, 1.0)),
            ("events.crowd_metro", events.crowd_metro, (0.0, 100.0)),
            ("events.crowd_area", events.crowd_area, (0.0, 100.0)),
            ("events.region_outage", events.region_outage, (0.0, 100.0)),
            ("events.edge_outage", events.edge_outage, (0.0, 1000.0)),
            ("prices.usd_elsewhere", prices.usd_elsewhere, (0.0, 1000.0)),
            ("prices.metro_spread", prices.metro_spread, (0.0, 5.0)),
            ("prices.edge_spread", prices.edge_spread, (0.0, 5.0)),
            ("prices.commit_chance", prices.commit_chance, (0.0, 1.0)),
            ("prices.commit_share", prices.commit_share, (0.0, 1.0)),
            ("prices.gb_per_mbps", prices.gb_per_mbps, (1.0, 330.0)),
            ("players.hls", it.players.hls, (0.0, 1.0)),
            ("players.flv", it.players.flv, (0.0, 1.0)),
            ("players.plain", it.players.plain, (0.0, 1.0)),
            ("players.session", it.players.session, (0.0, 1.0)),
            ("players.low_latency", it.players.low_latency, (0.0, 1.0)),
        ] {
            self.within(key, value, range)?;
        }
        Ok(())
    }

    fn window(&self, it: &Scenario) -> Result<(), Fault> {
        let (window, days) = (&it.window, f64::from(it.time.days));
        for (key, value, range) in [
            ("window.day", f64::from(window.day), (0.0, days - 1.0)),
            ("window.hour", window.hour, (0.0, 23.99)),
            ("window.minutes", window.minutes, (1.0, 1440.0)),
            ("window.warm_up_min", window.warm_up_min, (1.0, 120.0)),
            ("window.viewers", window.viewers, (0.0, 2e7)),
            (
                "window.schedulers",
                f64::from(window.schedulers),
                (1.0, 16.0),
            ),
            (
                "window.telemetry_s",
                f64::from(window.telemetry_s),
                (1.0, 30.0),
            ),
            ("window.heartbeat_loss", window.heartbeat_loss, (0.0, 0.5)),
            ("window.dns", window.dns, (0.0, 1.0)),
            ("window.dns_keep_min", window.dns_keep_min, (0.0, 1440.0)),
            ("window.patience_s", window.patience_s, (1.0, 600.0)),
            ("window.kill_min", window.kill_min, (-1.0, 1440.0)),
            ("window.notice_s", window.notice_s, (0.0, 60.0)),
            ("window.dead_min", window.dead_min, (0.1, 1440.0)),
            ("window.drain_min", window.drain_min, (-1.0, 1440.0)),
            ("window.crowd_min", window.crowd_min, (-1.0, 1440.0)),
            ("window.crowd", window.crowd, (0.0, 10.0)),
            ("window.crowd_s", f64::from(window.crowd_s), (1.0, 3600.0)),
        ] {
            self.within(key, value, range)?;
        }
        Ok(())
    }

    fn players(&self, it: &Scenario) -> Result<(), Fault> {
        let all = it.players.movable() + it.players.plain;
        if (all - 1.0).abs() > 1e-6 {
            let problem = format!("the parts of [players] sum to {all:.3}");
            let problem = problem.trim_end_matches('0').to_owned();
            return Err(self.fault("players", problem, "make them 1"));
        }
        Ok(())
    }

    fn calendar(&self, it: &Scenario) -> Result<(), Fault> {
        let slot = it.time.slot_s;
        if slot < 30 || 300 % slot != 0 {
            let problem = format!("time.slot_s = {slot} is no part of 300");
            return Err(self.fault("time.slot_s", problem, "say 30, 60, 100, 150 or 300"));
        }
        if super::super::folder::day_s(&it.time.start).is_none() {
            let problem = format!("time.start = {:?} is no day", it.time.start);
            return Err(self.fault("time.start", problem, "write it as 2026-01-05"));
        }
        for (nth, event) in it.event.iter().enumerate() {
            let key = |name: &str| format!("event.{nth}.{name}");
            let days = f64::from(it.time.days);
            self.within(&key("day"), event.day.into(), (0.0, days - 1.0))?;
            self.within(&key("hour"), event.hour, (0.0, 24.0))?;
            self.within(&key("minutes"), event.minutes, (1.0, 1e5))?;
            self.within(&key("multiplier"), event.multiplier, (0.0, 1000.0))?;
            let ahead = event.announced_h.unwrap_or(0.0);
            self.within(&key("announced_h"), ahead, (0.0, 1e4))?;
        }
        for (nth, outage) in it.outage.iter().enumerate() {
            let key = |name: &str| format!("outage.{nth}.{name}");
            self.within(&key("hour"), outage.hour, (0.0, 24.0))?;
            self.within(&key("minutes"), outage.minutes, (0.0, 1e5))?;
        }
        Ok(())
    }

    fn names(&self, it: &Scenario) -> Result<(), Fault> {
        for (list, empty) in [
            ("metro", it.metro.is_empty()),
            ("network", it.network.is_empty()),
        ] {
            if empty {
                let remedy = "add one; `weir simulate init -` prints many";
                return Err(self.fault(list, format!("there is no [[{list}]]"), remedy));
            }
        }
        for (nth, metro) in it.metro.iter().enumerate() {
            let key = |name: &str| format!("metro.{nth}.{name}");
            self.within(&key("lat"), metro.lat, (-90.0, 90.0))?;
            self.within(&key("lon"), metro.lon, (-180.0, 180.0))?;
            self.within(&key("utc_offset_h"), metro.utc_offset_h, (-12.0, 14.0))?;
            self.within(&key("million"), metro.million, (1e-6, 1e4))?;
        }
        for (nth, network) in it.network.iter().enumerate() {
            let key = |name: &str| format!("network.{nth}.{name}");
            self.within(&key("access_ms"), network.access_ms, (0.0, 1000.0))?;
            self.within(&key("share"), network.share, (1e-6, 1e6))?;
        }
        for (nth, edge) in it.edge.iter().enumerate() {
            let key = |name: &str| format!("edge.{nth}.{name}");
            self.within(&key("capacity_mbps"), edge.capacity_mbps, (1e-3, 1e9))?;
            self.within(&key("lat"), edge.lat.unwrap_or(0.0), (-90.0, 90.0))?;
            self.within(&key("lon"), edge.lon.unwrap_or(0.0), (-180.0, 180.0))?;
        }
        let metros: Vec<&str> = it.metro.iter().map(|it| it.name.as_str()).collect();
        let areas: Vec<&str> = it.metro.iter().map(|it| it.area.as_str()).collect();
        let edges: Vec<&str> = it.edge.iter().map(|it| it.name.as_str()).collect();
        let networks: Vec<&str> = it.network.iter().map(|it| it.name.as_str()).collect();
        for (kind, names) in [("metro", &metros), ("edge", &edges), ("network", &networks)] {
            let mut seen = HashSet::new();
            if let Some(nth) = names.iter().position(|name| !seen.insert(*name)) {
                let problem = format!("{kind} {:?} is there twice", names[nth]);
                return Err(self.fault(&format!("{kind}.{nth}.name"), problem, "rename one"));
            }
        }
        for (nth, edge) in it.edge.iter().enumerate() {
            self.known(
                &format!("edge.{nth}.metro"),
                ("metro", &edge.metro),
                &metros,
            )?;
        }
        for (nth, event) in it.event.iter().enumerate() {
            if let Some(metro) = &event.metro {
                self.known(&format!("event.{nth}.metro"), ("metro", metro), &metros)?;
            }
            if let Some(area) = &event.area {
                self.known(&format!("event.{nth}.area"), ("area", area), &areas)?;
            }
        }
        for (nth, outage) in it.outage.iter().enumerate() {
            self.known(
                &format!("outage.{nth}.edge"),
                ("edge", &outage.edge),
                &edges,
            )?;
        }
        for area in it.prices.usd.keys() {
            self.known(&format!("prices.usd.{area}"), ("area", area), &areas)?;
        }
        Ok(())
    }

    fn known(&self, key: &str, (kind, name): (&str, &str), all: &[&str]) -> Result<(), Fault> {
        if all.contains(&name) {
            return Ok(());
        }
        let mut shown: Vec<&str> = all.to_vec();
        shown.dedup();
        shown.truncate(MOST_SHOWN);
        let remedy = match (kind, shown.is_empty()) {
            ("edge", true) => "give it an [[edge]]: made edges have no name beforehand".to_owned(),
            _ => format!("name one of the file's: {}", shown.join(", ")),
        };
        Err(self.fault(key, format!("{key}: {kind} {name:?} is not known"), remedy))
    }

    fn prices(&self, it: &Scenario) -> Result<(), Fault> {
        let prices = &it.prices;
        if !["p95", "daily_peak", "volume"].contains(&prices.model.as_str()) {
            let problem = format!("prices.model = {:?} is not known", prices.model);
            return Err(self.fault("prices.model", problem, "say p95, daily_peak or volume"));
        }
        for (area, usd) in &prices.usd {
            self.within(&format!("prices.usd.{area}"), *usd, (0.0, 1000.0))?;
        }
        let (rates, shares) = (&it.streams.bitrates_kbps, &it.streams.bitrate_shares);
        let positive = |all: &[f64]| all.iter().all(|it| (1e-9..1e9).contains(it));
        if rates.is_empty() || rates.len() != shares.len() || !positive(rates) || !positive(shares)
        {
            let problem = "streams.bitrates_kbps and bitrate_shares do not fit".to_owned();
            let remedy = "give each bit rate a share, all above 0";
            return Err(self.fault("streams.bitrates_kbps", problem, remedy));
        }
        scheduler::price::Prices::new(&it.price)
            .map(drop)
            .map_err(|error| {
                self.fault(
                    "price",
                    format!("{error:#}"),
                    "see [[price]] in docs/configuration.md",
                )
            })
    }
}

/// Slips of the finger between a key and a known one.
const CLOSE: usize = 2;
const MOST_SHOWN: usize = 12;
