//! Demand by region and load by node for `/metrics`, as a Prometheus server may keep them.
//!
//! Read from the newest samples when it is scraped, so that what is gone leaves no label behind. At
//! most [`MAX_REGIONS`] regions are told apart; the rest are `other`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cluster::plan::Health;
use cluster::region::{MAX_REGIONS, Region};
use cluster::sample::{RegionLoad, Sample};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::History;
use crate::snapshot::Snapshot;

/// Joins and leaves since the start, by region.
#[derive(Debug, Default)]
pub(super) struct Passed(HashMap<Region, (u64, u64)>);

impl Passed {
    /// Counts those of a sample.
    pub(super) fn take(&mut self, sample: &Sample) {
        for load in &sample.regions {
            let full = self.0.len() + 1 >= MAX_REGIONS && !self.0.contains_key(&load.region);
            let region = if full { Region::OTHER } else { load.region };
            let (joins, leaves) = self.0.entry(region).or_default();
            *joins += u64::from(load.joins);
            *leaves += u64::from(load.leaves);
        }
    }
}

/// What is shown.
pub(crate) struct Exposition {
    snapshot: Arc<ArcSwap<Snapshot>>,
    history: Arc<History>,
}

impl Exposition {
    /// Registers it as `weir_region_*` and `weir_node_*`.
    pub(crate) fn register(
        registry: &mut Registry,
        snapshot: Arc<ArcSwap<Snapshot>>,
        history: Arc<History>,
    ) {
        let registry = registry.sub_registry_with_prefix("weir");
        registry.register_collector(Box::new(Self { snapshot, history }));
    }

    /// The load of each region now, most viewers first.
    fn regions(&self, snapshot: &Snapshot) -> Vec<RegionLoad> {
        let mut regions: HashMap<Region, RegionLoad> = HashMap::new();
        let mut add = |load: &RegionLoad| {
            let none = RegionLoad {
                region: load.region,
                ..RegionLoad::default()
            };
            regions.entry(load.region).or_insert(none).add(load);
        };
        let alive = snapshot
            .nodes
            .iter()
            .filter(|view| view.health != Health::Down);
        alive
            .flat_map(|view| &view.sample.regions)
            .for_each(&mut add);
        for (region, refused) in self.history.refused() {
            add(&RegionLoad {
                region,
                refused,
                ..RegionLoad::default()
            });
        }
        let mut regions: Vec<_> = regions.into_values().collect();
        regions.sort_by_key(|load| (Reverse(load.viewers), load.region));
        if regions.len() > MAX_REGIONS {
            let mut other = RegionLoad {
                region: Region::OTHER,
                ..RegionLoad::default()
            };
            regions
                .drain(MAX_REGIONS - 1..)
                .for_each(|rest| other.add(&rest));
            regions.retain(|load| {
                let is_other = load.region == Region::OTHER;
                is_other.then(|| other.add(load));
                !is_other
            });
            regions.push(other);
        }
        regions
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.snapshot.load();
        let regions = self.regions(&snapshot);
        let demand = |load: &RegionLoad| f64::from(load.viewers) + f64::from(load.refused);
        let help = "Viewers there are and those turned away who wait, by region";
        let gauges = regions.iter().map(|load| (load.region, demand(load)));
        gauge(
            &mut encoder,
            ("region_demand_viewers", help),
            "region",
            gauges,
        )?;
        let gauges = regions
            .iter()
            .map(|load| (load.region, load.viewers.into()));
        let help = "Viewers connected, by region";
        gauge(&mut encoder, ("region_viewers", help), "region", gauges)?;
        let gauges = regions
            .iter()
            .map(|load| (load.region, load.egress_bps as f64 / 8.0));
        let help = "Bytes per second sent to viewers, by region";
        gauge(
            &mut encoder,
            ("region_egress_bytes_per_second", help),
            "region",
            gauges,
        )?;
        let passed = self.history.passed();
        let help = "Viewers who began to watch, by region";
        let joins = passed
            .0
            .iter()
            .map(|(region, (joins, _))| (*region, *joins));
        counter(&mut encoder, ("region_joins", help), joins)?;
        let help = "Viewers who went, by region";
        let leaves = passed
            .0
            .iter()
            .map(|(region, (_, leaves))| (*region, *leaves));
        counter(&mut encoder, ("region_leaves", help), leaves)?;
        let alive = || {
            snapshot
                .nodes
                .iter()
                .filter(|view| view.health != Health::Down)
        };
        let cpu = alive().map(|view| (&view.node().id, f64::from(view.sample.cpu)));
        gauge(
            &mut encoder,
            ("node_cpu_ratio", "Share of a node's cores in use"),
            "node",
            cpu,
        )?;
        let egress = alive().map(|view| (&view.node().id, view.egress_bps as f64 / 8.0));
        let help = "Bytes per second that a node sends";
        gauge(
            &mut encoder,
            ("node_egress_bytes_per_second", help),
            "node",
            egress,
        )
    }
}

fn gauge<K: fmt::Display>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &str,
    values: impl Iterator<Item = (K, f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (key, value) in values {
        let labels = [(label, key.to_string())];
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: impl Iterator<Item = (Region, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (region, value) in values {
        let labels = [("region", region.as_str())];
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
