//! What goals of a day are set from: the past that the history keeps.

use crate::history::History;
use crate::plan::goals::{Goals, PAST_DAYS, Past};
use crate::plan::view::View;
use crate::policy::Policies;

/// Sets the goals of a new day and writes them into the view. Blocks.
pub(super) fn follow(goals: &mut Goals, history: &History, view: &mut View, policies: &Policies) {
    let day_s = i64::from(history.time().day_s());
    let past = |view: &View| past(history, view, day_s);
    goals.follow(view, policies, day_s, past);
}

/// What the view's regions were sent lately; a gap is nothing. Blocks.
fn past(history: &History, view: &View, day_s: i64) -> Past {
    let ring = history.billing_ring();
    let slot_s = i64::from(history.step_s(ring));
    let now = view.at_s.div_euclid(slot_s);
    let from = now - PAST_DAYS * day_s / slot_s;
    let slots = (now - from) as usize;
    let mut first = slots;
    let mut all = Vec::with_capacity(view.demands.len());
    for demand in &view.demands {
        let mut values = vec![0.0; slots];
        let name = format!("region/{}/egress_bps", demand.region);
        let known = history.series(&name, ring, from * slot_s..now * slot_s);
        match known {
            Ok(Some(series)) => {
                for (slot, value) in (series.first..).zip(&series.values) {
                    let at = usize::try_from(slot - from).ok().filter(|at| *at < slots);
                    if let (Some(at), false) = (at, value.is_nan()) {
                        values[at] = *value as f32;
                        first = first.min(at);
                    }
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, series = name, "levels miss a region's past"),
        }
        all.push(values);
    }
    all.iter_mut()
        .for_each(|values| drop(values.drain(..first)));
    Past {
        demand: all,
        day: (day_s / slot_s).max(1) as usize,
    }
}
