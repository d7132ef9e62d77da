//! What is counted of policies: changes and refusals, versions, candidates.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

use super::ledger::Action;

/// The metrics `weir_policy_*`; clones are the same metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    changes: Family<Done, Counter>,
    /// The version that holds.
    pub(super) version: Gauge,
    /// Share of the regions in which a candidate holds.
    pub(super) canary_share: Gauge<f64, AtomicU64>,
    /// Whether a candidate plans beside the active policies.
    pub(super) shadow: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Done {
    action: &'static str,
}

impl Meter {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("weir_policy");
        let meter = Self::default();
        registry.register(
            "changes",
            "What was done with policies",
            meter.changes.clone(),
        );
        registry.register(
            "version",
            "Version of the policies in force",
            meter.version.clone(),
        );
        let help = "Share of the regions in which a candidate holds";
        registry.register("canary_share", help, meter.canary_share.clone());
        let help = "Whether a candidate plans beside the active policies";
        registry.register("shadow", help, meter.shadow.clone());
        // From the start, so that an alert on refusals sees the first one.
        let from_start = [Action::Refused, Action::CanaryFailed];
        from_start
            .into_iter()
            .for_each(|action| drop(meter.of(action)));
        meter
    }

    pub(super) fn count(&self, action: Action) {
        self.of(action).inc();
    }

    fn of(&self, action: Action) -> Counter {
        let action = action.as_str();
        Counter::clone(&self.changes.get_or_create(&Done { action }))
    }
}
