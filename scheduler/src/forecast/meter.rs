//! What forecasts were worth, as metrics.

use std::time::Duration;

use models::train::QUANTILES;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::subject::Kind;
use super::tally::Score;
use crate::history::Subject;

type Ratio = Gauge<f64, std::sync::atomic::AtomicU64>;

/// The metrics `weir_forecast_*`; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    error: Family<At, Ratio>,
    naive: Family<At, Ratio>,
    coverage: Family<Quantile, Ratio>,
    drift: Family<OfKind, Counter>,
    surges: Family<OfKind, Counter>,
    series: Gauge,
    events: Gauge,
    age: Gauge,
    training: Ratio,
    trainings: Family<Outcome, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct At {
    kind: &'static str,
    horizon: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Quantile {
    kind: &'static str,
    horizon: String,
    quantile: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Meter {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let meter = Self::default();
        let registry = registry.sub_registry_with_prefix("weir_forecast");
        let help = "Weighted absolute percentage error of the last day, as a share";
        registry.register("error_ratio", help, meter.error.clone());
        let help = "The same of a forecast that says as much as now";
        registry.register("persistence_error_ratio", help, meter.naive.clone());
        let help = "Share of the last day's values that were at most the quantile";
        registry.register("coverage_ratio", help, meter.coverage.clone());
        let help = "Times that a series changed its ways";
        registry.register("drift", help, meter.drift.clone());
        registry.register("surges", "Unannounced crowds noticed", meter.surges.clone());
        registry.register("series", "Series that are forecast", meter.series.clone());
        registry.register("events", "Announced events not over", meter.events.clone());
        let age = meter.age.clone();
        registry.register_with_unit(
            "model_age",
            "Since the model was trained",
            Unit::Seconds,
            age,
        );
        let training = meter.training.clone();
        let help = "How long the last training took";
        registry.register_with_unit("training", help, Unit::Seconds, training);
        let help = "Trainings by outcome";
        registry.register("trainings", help, meter.trainings.clone());
        for outcome in ["done", "failed"] {
            let _ = meter.trainings.get_or_create(&Outcome { outcome });
        }
        for kind in Kind::ALL.map(Kind::as_str) {
            let _ = meter.drift.get_or_create(&OfKind { kind });
        }
        for kind in [Kind::Region, Kind::Stream].map(Kind::as_str) {
            let _ = meter.surges.get_or_create(&OfKind { kind });
        }
        meter
    }

    /// The scores of the last day; horizons in calendar seconds, by their number.
    pub(super) fn show(&self, scores: &[((Kind, usize), Score)], horizons_s: &[u32]) {
        for ((kind, nth), score) in scores {
            let horizon = horizons_s.get(*nth).map(u32::to_string).unwrap_or_default();
            let kind = kind.as_str();
            let at = At {
                kind,
                horizon: horizon.clone(),
            };
            if let (Some(error), Some(naive)) = (score.wape(), score.naive_wape()) {
                self.error.get_or_create(&at).set(error);
                self.naive.get_or_create(&at).set(naive);
            }
            for (nth, quantile) in QUANTILES.iter().enumerate() {
                let labels = Quantile {
                    kind,
                    horizon: horizon.clone(),
                    quantile: quantile.to_string(),
                };
                let coverage = score.coverage(nth).unwrap_or_default();
                self.coverage.get_or_create(&labels).set(coverage);
            }
        }
    }

    pub(super) fn size(&self, series: usize, events: usize) {
        self.series.set(i64::try_from(series).unwrap_or(i64::MAX));
        self.events.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    pub(super) fn drifts(&self, kind: Kind, count: u64) {
        let counter = self.drift.get_or_create(&OfKind {
            kind: kind.as_str(),
        });
        counter.inc_by(count.saturating_sub(counter.get()));
    }

    pub(super) fn surge(&self, subject: &Subject) {
        let kind = match subject {
            Subject::Region(_) => Kind::Region,
            Subject::Stream(_) => Kind::Stream,
        };
        let kind = kind.as_str();
        self.surges.get_or_create(&OfKind { kind }).inc();
    }

    pub(super) fn age(&self, seconds: i64) {
        self.age.set(seconds);
    }

    pub(super) fn trained(&self, took: Option<Duration>) {
        let outcome = match took {
            Some(took) => {
                self.training.set(took.as_secs_f64());
                "done"
            }
            None => "failed",
        };
        self.trainings.get_or_create(&Outcome { outcome }).inc();
    }
}
