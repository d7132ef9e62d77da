//! Sans-IO: scenarios of demand for levels, from what was demanded.

/// Demand that is to be expected for a part of the time.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Part of all slots; of all scenarios they sum to 1.
    pub weight: f64,
    /// By region, bits per second.
    pub demand: Vec<f64>,
}

/// Scenarios of the last days: each twelfth of the day, with its busiest fifth apart.
///
/// `history` is by region, a value a slot, oldest first; `day` is how many slots a day has. A day
/// weighs `fading` times what the one after it does.
pub fn scenarios(history: &[Vec<f32>], day: usize, fading: f64) -> Vec<Scenario> {
    let slots = history.iter().map(Vec::len).min().unwrap_or(0);
    let day = day.max(1);
    let last = slots.saturating_sub(1) / day;
    let weight = |slot: usize| libm::pow(fading.clamp(0.0, 1.0), (last - slot / day) as f64);
    let total = |slot: usize| -> f64 { history.iter().map(|by| f64::from(by[slot])).sum() };
    let mut found = Vec::new();
    for part in 0..PARTS {
        let of_part = |slot: &usize| slot % day * PARTS / day == part;
        let mut slots: Vec<(f64, usize)> = (0..slots)
            .filter(of_part)
            .map(|slot| (total(slot), slot))
            .collect();
        slots.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let (busy, calm) = slots.split_at(slots.len() / BUSY_ONE_IN);
        for slots in [busy, calm] {
            let whole: f64 = slots.iter().map(|(_, slot)| weight(*slot)).sum();
            if whole > 0.0 {
                let mean = |by: &Vec<f32>| {
                    let sum = slots.iter().map(|(_, at)| f64::from(by[*at]) * weight(*at));
                    sum.sum::<f64>() / whole
                };
                found.push(Scenario {
                    weight: whole,
                    demand: history.iter().map(mean).collect(),
                });
            }
        }
    }
    let whole: f64 = found.iter().map(|scenario| scenario.weight).sum();
    found
        .iter_mut()
        .for_each(|scenario| scenario.weight /= whole);
    found
}

/// Parts of a day: two hours each, with two scenarios.
const PARTS: usize = 12;
/// The busiest slots of a part are those that free slots are for.
const BUSY_ONE_IN: usize = 5;
