//! Sans-IO: what to expect of a stream that has just begun: the shape of its publisher's past shows, as far as its own
//! age does not say more.
//!
//! A show's shape is its load over its peak, by age. The height is taken from the past first and from the show itself
//! more and more: `w = n / (n + n0)` with `n0` of twenty minutes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The shape and height of shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// `ln(1 + peak)`, in the mean.
    peak: f64,
    /// Load over peak in each slot since the start, in the mean.
    shape: Vec<f64>,
    shows: u32,
}

/// Past shows by publisher, and of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Templates {
    all: Template,
    publishers: BTreeMap<String, (u64, Template)>,
    learned: u64,
}

/// Seconds of a slot of a shape.
pub const SLOT_S: u32 = 60;
/// Slots of a shape: four hours; what is on air for longer is forecast by itself long since.
const SLOTS: usize = 240;
/// Publishers that are remembered; beyond it the one that has been away for longest is forgotten.
pub const MAX_PUBLISHERS: usize = 4096;
/// Slots after which a show says as much of itself as its past does.
const TRUST: f64 = 20.0;
/// Share of the newest show in a mean of many.
const LEAST_PACE: f64 = 0.2;

impl Template {
    fn learn(&mut self, show: &[f64]) {
        let peak = show
            .iter()
            .copied()
            .filter(|v| v.is_finite())
            .fold(0.0, f64::max);
        if peak <= 0.0 {
            return;
        }
        self.shows = self.shows.saturating_add(1);
        let pace = (1.0 / f64::from(self.shows)).max(LEAST_PACE);
        self.peak += pace * (libm::log1p(peak) - self.peak);
        let length = show.len().min(SLOTS).max(self.shape.len());
        // After its end a show has no load.
        self.shape.resize(length, 0.0);
        for (nth, share) in self.shape.iter_mut().enumerate() {
            let value = show.get(nth).copied().unwrap_or(0.0);
            if value.is_finite() {
                *share += pace * (value / peak - *share);
            }
        }
    }

    fn at(&self, slot: usize) -> f64 {
        let last = self.shape.len().saturating_sub(1);
        self.shape
            .get(slot.min(last))
            .copied()
            .unwrap_or(1.0)
            .max(LEAST_SHARE)
    }

    /// The load in slot `then` of a show that has `now` in slot `age`.
    fn expect(&self, now: f64, age: usize, then: usize) -> f64 {
        let own = libm::log1p(now.max(0.0) / self.at(age));
        let trust = age as f64 / (age as f64 + TRUST);
        let height = libm::expm1(trust * own + (1.0 - trust) * self.peak);
        height * self.at(then)
    }
}

/// A show in its first slot is not nothing.
const LEAST_SHARE: f64 = 0.02;

impl Templates {
    /// Learns a show that has ended: its load in each slot from its start on.
    pub fn learn(&mut self, publisher: &str, show: &[f64]) {
        self.all.learn(show);
        self.learned += 1;
        let (at, template) = self.publishers.entry(publisher.to_owned()).or_default();
        *at = self.learned;
        template.learn(show);
        if self.publishers.len() > MAX_PUBLISHERS {
            let oldest = self.publishers.iter().min_by_key(|(_, (at, _))| *at);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.publishers.remove(&oldest);
            }
        }
    }

    /// The load `ahead_s` from now of a publisher's show that began `age_s` ago and has `now`; none without any past.
    pub fn expect(&self, publisher: &str, now: f64, age_s: u32, ahead_s: u32) -> Option<f64> {
        let own = self.publishers.get(publisher).map(|(_, template)| template);
        let own = own.filter(|template| template.shows > 0);
        let template = own.unwrap_or(&self.all);
        let age = (age_s / SLOT_S) as usize;
        let then = (age_s.saturating_add(ahead_s) / SLOT_S) as usize;
        (template.shows > 0).then(|| template.expect(now, age, then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour that rises for ten minutes to a peak and stays there.
    fn show(peak: f64) -> Vec<f64> {
        (0..60)
            .map(|minute| peak * (f64::from(minute + 1) / 10.0).min(1.0))
            .collect()
    }

    #[test]
    fn a_publishers_past_tells_its_next_show() {
        let mut templates = Templates::default();
        assert_eq!(templates.expect("a", 5.0, 60, 600), None);
        (0..3).for_each(|_| templates.learn("a", &show(1000.0)));
        templates.learn("b", &show(10.0));
        let peak = templates.expect("a", 100.0, 0, 600).unwrap();
        assert!((peak - 1000.0).abs() < 5.0, "{peak}");
        let small = templates.expect("b", 1.0, 0, 600).unwrap();
        assert!((small - 10.0).abs() < 1.0, "{small}");
        let other = templates.expect("c", 1.0, 0, 600).unwrap();
        assert!(other > 20.0, "the mean of all: {other}");
    }

    #[test]
    fn a_show_that_goes_otherwise_is_believed_with_age() {
        let mut templates = Templates::default();
        templates.learn("a", &show(1000.0));
        let after = |minutes: u32| templates.expect("a", 100.0, minutes * 60, 300).unwrap();
        assert!(after(10) > after(20) && after(20) > after(50));
        assert!(after(50) < 250.0, "{}", after(50));
    }

    #[test]
    fn publishers_are_bounded_and_nonsense_is_survived() {
        let mut templates = Templates::default();
        for nth in 0..MAX_PUBLISHERS + 10 {
            templates.learn(&nth.to_string(), &[1.0]);
        }
        assert_eq!(templates.publishers.len(), MAX_PUBLISHERS);
        assert!(!templates.publishers.contains_key("0"));
        templates.learn("x", &[f64::NAN, f64::INFINITY, -1.0]);
        templates.learn("x", &[]);
        assert!(
            templates
                .expect("x", 1.0, u32::MAX, u32::MAX)
                .unwrap()
                .is_finite()
        );
    }
}
