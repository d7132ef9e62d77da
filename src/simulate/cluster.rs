//! `--from URL`: a running cluster's edges, prices, ways and past demand, as tables of one's own.
//!
//! The tables are written beside the report, so that the same run can be made again when the cluster has moved on.

use super::From;
use crate::admin::Options;
use anyhow::{Context, Result, ensure};
use scheduler::history::Values;
use scheduler::plan::billing::BillingModel;
use scheduler::planner::export::World;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// Fetches what is asked for into a folder, and asks for the tables there instead.
pub async fn fetch(from: &mut From, folder: &Path) -> Result<()> {
    let Some(url) = from.cluster.take() else {
        return Ok(());
    };
    let admin = Options::at(url, from.admin_token.take());
    let world: World = admin.get("/api/v1/world").await?;
    let mut demand = Demand::default();
    for place in world.regions.iter().take(MOST_REGIONS) {
        let series = format!("region/{}/egress_bps", place.region);
        let series: String = form_urlencoded::byte_serialize(series.as_bytes()).collect();
        let past_s = PAST_S / world.scale;
        let path = format!("/api/v1/history?series={series}&ring=coarse&from=-{past_s}");
        // A region may be known by its joins alone.
        if let Ok(values) = admin.get::<Values>(&path).await {
            demand.put(place.region.as_str(), &values, world.scale);
        }
    }
    ensure!(
        !demand.regions.is_empty(),
        "the history of the scheduler has no traffic of a region yet; it takes three days of it"
    );
    let folder = folder.join("from");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |name: &str, text: String| -> Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    from.edges = Some(write("nodes.csv", nodes(&world, demand.most()))?);
    from.prices = Some(write("prices.csv", prices(&world))?.display().to_string());
    from.regions = Some(write("regions.csv", regions(&world))?);
    from.rtt = Some(write("rtt.csv", ways(&world))?);
    from.demand = Some(write("demand.csv", demand.table())?);
    eprintln!(
        "{} edges and {} regions read; their tables are in {}",
        world.edges.len(),
        demand.regions.len(),
        folder.display()
    );
    Ok(())
}

/// What regions were sent, by step of the history.
#[derive(Default)]
struct Demand {
    step_s: i64,
    regions: Vec<String>,
    /// By step, Mbit/s of each region; NaN where nothing is known.
    rows: BTreeMap<i64, Vec<f64>>,
}

impl Demand {
    fn put(&mut self, region: &str, values: &Values, scale: f64) {
        let step_s = (values.step_ms * scale / 1000.0).round().max(1.0);
        let first = (values.first_ms as f64 * scale / 1000.0 / step_s).round() as i64;
        self.step_s = step_s as i64;
        let at = self.regions.len();
        self.regions.push(region.to_owned());
        for (step, value) in (first..).zip(&values.values) {
            let row = self.rows.entry(step).or_default();
            row.resize(row.len().max(at + 1), f64::NAN);
            row[at] = value.unwrap_or(f64::NAN) / 1e6;
        }
    }

    /// The most that all regions together asked for.
    fn most(&self) -> f64 {
        let sum = |row: &Vec<f64>| row.iter().filter(|it| it.is_finite()).sum::<f64>();
        self.rows.values().map(sum).fold(0.0, f64::max)
    }

    /// A row a step and a column a region; where nothing is known, it is as before.
    fn table(&self) -> String {
        let mut text = format!("time,{}\n", self.regions.join(","));
        let steps = self.rows.keys();
        let (Some(first), Some(last)) = (steps.clone().min(), steps.max()) else {
            return text;
        };
        let mut known = vec![0.0; self.regions.len()];
        for step in *first..=*last {
            for (known, value) in known
                .iter_mut()
                .zip(self.rows.get(&step).into_iter().flatten())
            {
                if value.is_finite() {
                    *known = *value;
                }
            }
            let _ = write!(text, "{}", step * self.step_s);
            for value in &known {
                let _ = write!(text, ",{value:.4}");
            }
            text.push('\n');
        }
        text
    }
}

/// Edges; one without a limit can carry everything.
fn nodes(world: &World, most_mbps: f64) -> String {
    let mut text = "edge,lat,lon,capacity_mbps,metro,country\n".to_owned();
    for edge in &world.edges {
        let mbps = edge
            .capacity_bps
            .map_or(most_mbps.max(1.0), |bps| bps / 1e6);
        let country = edge.country.as_deref().unwrap_or("");
        let metro = quoted(&edge.metro);
        let _ = writeln!(
            text,
            "{},{},{},{mbps},{metro},{country}",
            edge.id, edge.lat, edge.lon
        );
    }
    text
}

fn prices(world: &World) -> String {
    let mut text =
        "edge,usd_per_mbps_month,usd_per_gb,model,commit_mbps,commit_gb,overage,port_usd,\
         relay_usd_per_gb\n"
            .to_owned();
    for edge in &world.edges {
        let it = &edge.tariff;
        let model = match it.model {
            BillingModel::P95 => "p95",
            BillingModel::DailyPeak => "daily_peak",
            BillingModel::Volume => "volume",
            BillingModel::Flat => "flat",
        };
        let _ = writeln!(
            text,
            "{},{},{},{model},{},{},{},{},{}",
            edge.id,
            it.usd_per_mbps_month,
            it.usd_per_gb,
            it.commit_mbps,
            it.commit_gb,
            it.overage,
            it.port_usd,
            it.relay_usd_per_gb
        );
    }
    text
}

fn regions(world: &World) -> String {
    let mut text = "region,lat,lon\n".to_owned();
    for place in &world.regions {
        let _ = writeln!(text, "{},{},{}", place.region, place.lat, place.lon);
    }
    text
}

/// What was measured, and what the scheduler reckons with elsewhere.
fn ways(world: &World) -> String {
    let mut text = "region,edge,rtt_ms\n".to_owned();
    for place in &world.regions {
        for way in &place.ways {
            let _ = writeln!(text, "{},{},{}", place.region, way.edge, way.rtt_ms);
        }
    }
    text
}

/// A name in a table, whatever it holds.
fn quoted(name: &str) -> String {
    format!(
        "\"{}\"",
        name.replace('"', "\"\"").replace(['\n', '\r'], " ")
    )
}

/// Calendar seconds: a month that is billed, and the week before it.
const PAST_S: f64 = 38.0 * 86_400.0;
/// As many as are planned for.
const MOST_REGIONS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_of_regions_that_came_and_went_is_one_table() {
        let values = |first_ms, values: &[Option<f64>]| Values {
            series: String::new(),
            first_ms,
            step_ms: 300_000.0,
            values: values.to_vec(),
        };
        let mut demand = Demand::default();
        demand.put("DE", &values(600_000, &[Some(2e6), None, Some(3e6)]), 1.0);
        demand.put("FR", &values(900_000, &[Some(1e6)]), 1.0);
        assert_eq!(
            demand.table(),
            "time,DE,FR\n600,2.0000,0.0000\n900,2.0000,1.0000\n1200,3.0000,1.0000\n"
        );
        assert_eq!(demand.most(), 3.0);
        assert_eq!(quoted("Frankfurt, \"FRA\""), "\"Frankfurt, \"\"FRA\"\"\"");
    }
}
