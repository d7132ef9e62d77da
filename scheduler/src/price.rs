//! The `[[price]]` rows of the configuration: what the traffic of which nodes costs.
//!
//! The first row whose pattern matches a node's name counts; a node without a row has the default
//! tariff, so that without rows all edges are equally dear. Rows that cannot mean what they say are
//! refused. Not here: bills ([`crate::plan::billing`]) and what a plan makes of prices.

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::glob::Glob;
use crate::plan::billing::{BillingModel, Tariff};

/// One `[[price]]`: the contract of one node, or of all whose names match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Price")]
pub struct Row {
    /// The node's name, or a pattern: `"edge-fra-*"`. The first row that matches counts.
    pub node: String,
    /// The metropolis where it stands: of nodes of one metro the plan can lose any. Left out, the
    /// name of the node's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metro: Option<String>,
    /// What is counted: `"p95"`, the month's 95th percentile of five-minute means; `"daily_peak"`,
    /// the mean of the days' highest five minutes; `"volume"`, bytes; `"flat"`, nothing.
    #[serde(default)]
    pub model: BillingModel,
    /// USD per Mbit/s and month, for `p95` and `daily_peak`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_mbps_month: Option<f64>,
    /// USD per 1e9 bytes, for `volume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_gb: Option<f64>,
    /// Mbit/s that are billed at least, for `p95` and `daily_peak`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_mbps: Option<f64>,
    /// GB a month that are billed at least, for `volume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_gb: Option<f64>,
    /// What lies above the commit costs this many times the price; 1 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overage: Option<f64>,
    /// USD a month for the port, whatever flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_usd: Option<f64>,
    /// USD per 1e9 bytes that this node sends to other nodes; 0 when left out. Streams take other
    /// ways where that costs less; it is in no bill of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay_usd_per_gb: Option<f64>,
}

/// What is known of the price of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quote<'a> {
    /// Its contract.
    pub tariff: Tariff,
    /// Where it stands, when the row says so.
    pub metro: Option<&'a str>,
}

/// All rows, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices(Vec<(Glob, Option<String>, Tariff)>);

impl Prices {
    /// The rows in their order, when each makes sense and can count.
    pub fn new(rows: &[Row]) -> Result<Self> {
        ensure!(
            rows.len() <= MAX_ROWS,
            "[[price]]: at most {MAX_ROWS} rows; patterns such as \"edge-fra-*\" save some"
        );
        let mut prices = Self::default();
        for (at, row) in rows.iter().enumerate() {
            let name = || format!("[[price]] row {} (node = {:?})", at + 1, row.node);
            let glob = Glob::parse(&row.node).with_context(|| {
                format!(
                    "{}: node is a name or a pattern such as \"edge-fra-*\"",
                    name()
                )
            })?;
            let hidden = |(before, ..): &(Glob, Option<String>, Tariff)| {
                before == &glob
                    || (glob.is_literal() && before.matches(glob.as_str()))
                    || before.as_str() == "*"
            };
            if let Some(before) = prices.0.iter().position(hidden) {
                bail!(
                    "{} never counts: row {} (node = {:?}) matches first; put it above that row",
                    name(),
                    before + 1,
                    rows[before].node
                );
            }
            let tariff = row.tariff().with_context(name)?;
            prices.0.push((glob, row.metro.clone(), tariff));
        }
        Ok(prices)
    }

    /// Of the first row that matches, or the default's.
    pub fn of(&self, node: &str) -> Quote<'_> {
        self.named(node).unwrap_or(Quote {
            tariff: Tariff::default(),
            metro: None,
        })
    }

    /// Of the first row that matches.
    pub fn named(&self, node: &str) -> Option<Quote<'_>> {
        let (_, metro, tariff) = self.0.iter().find(|(glob, ..)| glob.matches(node))?;
        Some(Quote {
            tariff: *tariff,
            metro: metro.as_deref(),
        })
    }
}

impl Row {
    fn tariff(&self) -> Result<Tariff> {
        use BillingModel::{DailyPeak, Flat, P95, Volume};
        let by_rate: &[BillingModel] = &[P95, DailyPeak];
        let by_bytes: &[BillingModel] = &[Volume];
        let counted: &[BillingModel] = &[P95, DailyPeak, Volume];
        let any: &[BillingModel] = &[P95, DailyPeak, Volume, Flat];
        for (key, value, models, most) in [
            (
                "usd_per_mbps_month",
                self.usd_per_mbps_month,
                by_rate,
                MAX_USD,
            ),
            ("usd_per_gb", self.usd_per_gb, by_bytes, MAX_USD),
            ("commit_mbps", self.commit_mbps, by_rate, MAX_MBPS),
            ("commit_gb", self.commit_gb, by_bytes, MAX_GB),
            ("overage", self.overage, counted, MAX_OVERAGE),
            ("port_usd", self.port_usd, any, MAX_PORT_USD),
            ("relay_usd_per_gb", self.relay_usd_per_gb, any, MAX_USD),
        ] {
            let Some(value) = value else { continue };
            ensure!(
                (0.0..=most).contains(&value),
                "{key} = {value} must be 0 to {most}"
            );
            ensure!(
                models.contains(&self.model),
                "{key} says nothing with model = {:?}: remove it, or name {}",
                name(self.model),
                models
                    .iter()
                    .map(|model| format!("{:?}", name(*model)))
                    .collect::<Vec<_>>()
                    .join(" or ")
            );
        }
        let needed = match self.model {
            P95 | DailyPeak => ("usd_per_mbps_month", self.usd_per_mbps_month),
            Volume => ("usd_per_gb", self.usd_per_gb),
            Flat => ("port_usd", self.port_usd),
        };
        ensure!(
            needed.1.is_some(),
            "model = {:?} needs {}",
            name(self.model),
            needed.0
        );
        ensure!(
            self.overage.is_none() || self.commit_mbps.or(self.commit_gb).is_some(),
            "overage says nothing without commit_mbps or commit_gb: name what it is above"
        );
        ensure!(
            self.metro
                .as_ref()
                .is_none_or(|metro| !metro.trim().is_empty()),
            "metro is empty: name the place or remove it"
        );
        Ok(Tariff {
            model: self.model,
            usd_per_mbps_month: self.usd_per_mbps_month.unwrap_or(0.0),
            usd_per_gb: self.usd_per_gb.unwrap_or(0.0),
            commit_mbps: self.commit_mbps.unwrap_or(0.0),
            commit_gb: self.commit_gb.unwrap_or(0.0),
            overage: self.overage.unwrap_or(1.0),
            port_usd: self.port_usd.unwrap_or(0.0),
            relay_usd_per_gb: self.relay_usd_per_gb.unwrap_or(0.0),
        })
    }
}

/// As the file spells it.
fn name(model: BillingModel) -> &'static str {
    match model {
        BillingModel::P95 => "p95",
        BillingModel::DailyPeak => "daily_peak",
        BillingModel::Volume => "volume",
        BillingModel::Flat => "flat",
    }
}

/// Twice as many as a cluster has nodes: a longer file is made by a program that can use patterns.
const MAX_ROWS: usize = 1_000;
/// Larger ones are slips of units; the dearest transit costs about 100 USD, the dearest GB 1 USD.
const MAX_USD: f64 = 10_000.0;
const MAX_MBPS: f64 = 1e9;
const MAX_GB: f64 = 1e12;
const MAX_OVERAGE: f64 = 100.0;
const MAX_PORT_USD: f64 = 1e9;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        price: Vec<Row>,
    }

    fn read(text: &str) -> Result<Prices> {
        let file: File = toml::from_str(text)?;
        Prices::new(&file.price)
    }

    #[test]
    fn the_first_row_that_matches_counts() {
        let prices = read(
            "[[price]]\nnode = \"edge-fra-1\"\nmetro = \"Frankfurt\"\nusd_per_mbps_month = 0.5\n\
             commit_mbps = 1000\noverage = 1.5\n\
             [[price]]\nnode = \"edge-fra-*\"\nmodel = \"daily_peak\"\nusd_per_mbps_month = 2\n\
             [[price]]\nnode = \"cloud-*\"\nmodel = \"volume\"\nusd_per_gb = 0.02\n\
             relay_usd_per_gb = 0.01\n\
             [[price]]\nnode = \"*\"\nmodel = \"flat\"\nport_usd = 900\n",
        )
        .unwrap();
        for (node, model, usd, metro) in [
            ("edge-fra-1", BillingModel::P95, 0.75, Some("Frankfurt")),
            ("edge-fra-2", BillingModel::DailyPeak, 2.0, None),
            ("cloud-a", BillingModel::Volume, 0.02 * 324.0, None),
            ("edge-par-1", BillingModel::Flat, 0.0, None),
        ] {
            let quote = prices.of(node);
            let found = (quote.tariff.model, quote.tariff.marginal_usd(), quote.metro);
            assert_eq!(found, (model, usd, metro), "{node}");
        }
        assert_eq!(prices.of("cloud-a").tariff.relay_usd_per_gb, 0.01);
        assert_eq!(Prices::default().of("x").tariff, Tariff::default());
    }

    #[test]
    fn rows_that_make_no_sense_are_refused_and_the_message_says_what_to_do() {
        let row = |text: &str| format!("[[price]]\n{}\n", text.replace("; ", "\n"));
        let p95 = "node = \"a\"; usd_per_mbps_month = 1";
        for (text, said) in [
            (row("model = \"p95\""), "missing field `node`"),
            (
                row("node = \"\"; usd_per_mbps_month = 1"),
                "node is a name or a pattern",
            ),
            (
                row("node = \"a\"; model = \"p96\""),
                "unknown variant `p96`",
            ),
            (
                row("node = \"a\"; usd_per_mb = 1"),
                "unknown field `usd_per_mb`",
            ),
            (
                row("node = \"a\""),
                "row 1 (node = \"a\"): model = \"p95\" needs usd_per_mbps_month",
            ),
            (
                row("node = \"a\"; model = \"volume\""),
                "model = \"volume\" needs usd_per_gb",
            ),
            (
                row("node = \"a\"; model = \"flat\""),
                "model = \"flat\" needs port_usd",
            ),
            (
                row("node = \"a\"; model = \"volume\"; usd_per_mbps_month = 1"),
                "with model = \"volume\": remove it, or name \"p95\" or \"daily_peak\"",
            ),
            (
                row(&format!("{p95}; usd_per_gb = 1")),
                "usd_per_gb says nothing with model = \"p95\": remove it, or name \"volume\"",
            ),
            (
                row("node = \"a\"; usd_per_mbps_month = -1"),
                "usd_per_mbps_month = -1 must be 0 to",
            ),
            (
                row("node = \"a\"; usd_per_mbps_month = nan"),
                "usd_per_mbps_month = NaN must be",
            ),
            (
                row("node = \"a\"; usd_per_mbps_month = inf"),
                "usd_per_mbps_month = inf must be",
            ),
            (
                row(&format!("{p95}; overage = 2")),
                "overage says nothing without commit_mbps",
            ),
            (row(&format!("{p95}; metro = \" \"")), "metro is empty"),
            (
                row(p95).repeat(2),
                "row 2 (node = \"a\") never counts: row 1 (node = \"a\")",
            ),
            (
                row("node = \"*\"; usd_per_mbps_month = 1") + &row(p95),
                "row 2 (node = \"a\") never counts: row 1 (node = \"*\")",
            ),
            (
                row("node = \"a*\"; usd_per_mbps_month = 1") + &row(p95),
                "put it above that row",
            ),
        ] {
            let error = read(&text).unwrap_err();
            assert!(
                format!("{error:#}").contains(said),
                "{text}\n{error:#}\nnot {said}"
            );
        }
        let many: String = (0..=MAX_ROWS)
            .map(|n| row(&format!("node = \"a{n}\"; usd_per_mbps_month = 1")))
            .collect();
        assert!(format!("{:#}", read(&many).unwrap_err()).contains("at most 1000 rows"));
    }
}
