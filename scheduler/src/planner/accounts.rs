//! What each edge's traffic has cost in the billing period so far, and up to where more is free.

use std::collections::HashMap;
use std::sync::Arc;

use cluster::node::NodeId;

use crate::history::History;
use crate::plan::billing::{Bill, BillingModel, GB_PER_MBPS_MONTH, MAX_SLOTS, Tariff};
use crate::price::Prices;
use crate::snapshot::{NodeView, Snapshot};

/// The running bills, by node.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    bills: HashMap<NodeId, Arc<Bill>>,
    /// The last slot that was entered.
    entered: i64,
    period: i64,
}

/// The bill of one edge, as the plan and the operator see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Its contract.
    pub tariff: Tariff,
    /// The running bill.
    pub bill: Arc<Bill>,
    /// Bits per second up to which traffic costs nothing more.
    pub level_bps: f64,
    /// USD that the period costs already.
    pub usd_so_far: f64,
    /// USD that it comes to if it goes on so.
    pub usd_expected: f64,
    /// Slots that may still be above the level for nothing.
    pub free_slots: usize,
    /// Slots of the period, and those that are over.
    pub slots: (usize, usize),
}

impl Accounts {
    /// Enters the slots that are over; at a new period, or of a new node, all since its start.
    /// Blocks.
    pub(super) fn follow(&mut self, history: &History, snapshot: &Snapshot, at_s: i64) {
        let ring = history.billing_ring();
        let slot_s = i64::from(history.step_s(ring));
        let late = late_slots(slot_s as f64 / history.time().scale());
        let period_s = history.time().billing_period_s();
        let slots = (period_s / slot_s).clamp(1, MAX_SLOTS as i64);
        let now = at_s.div_euclid(slot_s);
        let period = now.div_euclid(slots);
        let first = period * slots;
        if period != self.period {
            self.bills.clear();
        }
        let known: Vec<&NodeView> = snapshot.nodes.iter().filter(|it| it.is_edge).collect();
        self.bills
            .retain(|id, _| known.iter().any(|view| view.node().id == *id));
        for view in known {
            let id = &view.node().id;
            let from = if self.bills.contains_key(id) {
                (self.entered - late).max(first)
            } else {
                first
            };
            let bill = self.bills.entry(id.clone());
            let bill = bill.or_insert_with(|| Arc::new(Bill::new(first, slots as usize)));
            if now == self.entered && bill.elapsed() > 0 {
                continue;
            }
            let name = format!("node/{id}/egress_bps");
            let seconds = from * slot_s..now * slot_s;
            match history.series(&name, ring, seconds) {
                Ok(Some(series)) => {
                    let bill = Arc::make_mut(bill);
                    for (slot, value) in (series.first..).zip(&series.values) {
                        // A gap carried nothing that anyone knows of.
                        bill.push(slot, if value.is_nan() { 0.0 } else { *value });
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, %id, "a bill misses slots"),
            }
        }
        (self.entered, self.period) = (now, period);
    }

    /// The account of an edge.
    pub(super) fn of(&self, view: &NodeView, prices: &Prices) -> Account {
        let tariff = tariff(view, prices);
        let bill = self.bills.get(&view.node().id).cloned();
        let bill = bill.unwrap_or_else(|| Arc::new(Bill::new(0, 1)));
        let level_bps = bill.level(&tariff);
        Account {
            tariff,
            level_bps,
            usd_so_far: bill.usd_so_far(&tariff),
            usd_expected: bill.usd_expected(&tariff),
            free_slots: bill.free_slots_left(level_bps).unwrap_or(0),
            slots: (bill.elapsed() + bill.remaining(), bill.elapsed()),
            bill,
        }
    }
}

/// The contract of an edge. An external pathway that no row names is billed by volume and dearer
/// than what none names: no slot of it is free, so that edges with room go first.
fn tariff(view: &NodeView, prices: &Prices) -> Tariff {
    let id = view.node().id.as_str();
    let tariff = prices.of(id).tariff;
    if view.pathway.is_none() || prices.named(id).is_some() {
        return tariff;
    }
    Tariff {
        model: BillingModel::Volume,
        usd_per_gb: UNNAMED * tariff.marginal_usd() / GB_PER_MBPS_MONTH,
        ..tariff
    }
}

/// What a vendor takes beside an operator's own transit, when nothing is said.
const UNNAMED: f64 = 3.0;

/// Slots of so many real seconds that are read again, because samples that waited at a node come
/// late: the one that ended last, and those of a minute, which is what a node keeps.
fn late_slots(slot_s: f64) -> i64 {
    1 + (LATE_S / slot_s).ceil().max(1.0) as i64
}

const LATE_S: f64 = 60.0;
