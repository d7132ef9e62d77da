//! Sans-IO: the mixture of experts by Hedge (Freund and Schapire, 1997), with errors that fade.

use serde::{Deserialize, Serialize};

/// Who forecasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expert {
    /// As much as now.
    Persistence,
    /// Damped Holt.
    Holt,
    /// As yesterday.
    SeasonalDay,
    /// As last week.
    SeasonalWeek,
    /// As yesterday, scaled to now.
    ScaledDay,
    /// As last week, scaled to now.
    ScaledWeek,
    /// As the last seven days went on, in the mean.
    Profile,
    /// The line that follows each step.
    Rls,
    /// The trained line.
    Ridge,
    /// The trained trees.
    Trees,
    /// Who stays and who joins.
    BirthDeath,
}

impl Expert {
    /// All of them, in the order of arrays.
    pub const ALL: [Expert; 11] = [
        Expert::Persistence,
        Expert::Holt,
        Expert::SeasonalDay,
        Expert::SeasonalWeek,
        Expert::ScaledDay,
        Expert::ScaledWeek,
        Expert::Profile,
        Expert::Rls,
        Expert::Ridge,
        Expert::Trees,
        Expert::BirthDeath,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Expert::Persistence => "persistence",
            Expert::Holt => "holt",
            Expert::SeasonalDay => "seasonal_day",
            Expert::SeasonalWeek => "seasonal_week",
            Expert::ScaledDay => "scaled_day",
            Expert::ScaledWeek => "scaled_week",
            Expert::Profile => "profile",
            Expert::Rls => "rls",
            Expert::Ridge => "ridge",
            Expert::Trees => "trees",
            Expert::BirthDeath => "birth_death",
        }
    }

    /// Whether it needs no training: a model has to beat it.
    pub fn is_naive(self) -> bool {
        self <= Expert::ScaledWeek
    }
}

/// A value an expert; NaN of one that has nothing to say.
pub type Said = [f32; Expert::ALL.len()];

/// The weights of the experts for one horizon.
#[derive(Clone, Debug)]
pub struct Mix {
    losses: [f64; Expert::ALL.len()],
    /// How much each was heard lately, on the same scale.
    heard: [f64; Expert::ALL.len()],
    /// The mean error of late of who has a say.
    usual: f64,
    steps: u64,
}

const DECAY: f64 = 0.995;
/// How sharply a larger loss lowers a weight.
const EAGER: f64 = 12.0;
/// Experts this many times worse than the best have no say.
const WORST: f64 = 1.5;
/// How many usual errors an error counts for at most: one spike does not decide for days.
const CLIP: f64 = 10.0;
/// Share of the load that an error may always count for, so that what was perfect can begin to err.
const SOME: f64 = 1e-3;
/// What an expert must have been heard for before it counts, in steps.
const PROBATION: f64 = 10.0;

impl Default for Mix {
    fn default() -> Self {
        Self {
            losses: [0.0; Expert::ALL.len()],
            heard: [0.0; Expert::ALL.len()],
            usual: 0.0,
            steps: 0,
        }
    }
}

impl Mix {
    /// Learns what came of what was said; both in `ln(1 + y)`, errors count in `y`.
    pub fn learn(&mut self, said: &Said, truth: f32) {
        let level = libm::expm1(f64::from(truth));
        let error = |value: f32| (libm::expm1(f64::from(value)) - level).abs();
        let own = error(self.say(said));
        let bound = if self.steps < 50 {
            f64::MAX
        } else {
            CLIP * self.usual + SOME * (1.0 + level)
        };
        self.steps += 1;
        let pace = (1.0 / self.steps as f64).max(0.01);
        self.usual += pace * (own.min(2.0 * bound) - self.usual);
        for (nth, value) in said.iter().enumerate() {
            self.losses[nth] *= DECAY;
            self.heard[nth] *= DECAY;
            if value.is_finite() {
                self.losses[nth] += error(*value).min(bound);
                self.heard[nth] += 1.0;
            }
        }
    }

    /// The weights of those who said something; they sum to one.
    pub fn weights(&self, said: &Said) -> [f64; Expert::ALL.len()] {
        let speaks = |nth: usize| said[nth].is_finite() && self.heard[nth] >= PROBATION;
        // A mean loss, so that who was heard for less time is not favoured.
        let loss = |nth: usize| self.losses[nth] / self.heard[nth];
        let speakers = || (0..said.len()).filter(|nth| speaks(*nth));
        let mut weights = [0.0; Expert::ALL.len()];
        let least = speakers().map(loss).fold(f64::MAX, f64::min);
        let count = speakers().count();
        if count == 0 {
            // Nobody is known yet: the present is the safest.
            weights[Expert::Persistence as usize] = 1.0;
            return weights;
        }
        let kept = |nth: &usize| loss(*nth) <= WORST * least + LITTLE;
        let mean = speakers().filter(kept).map(loss).sum::<f64>()
            / speakers().filter(kept).count().max(1) as f64;
        for nth in speakers().filter(kept) {
            weights[nth] = libm::exp(-EAGER * (loss(nth) - least) / (mean + LITTLE));
        }
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        weights
    }

    /// What they say together, in `ln(1 + y)`.
    pub fn say(&self, said: &Said) -> f32 {
        let weights = self.weights(said);
        let terms = weights
            .iter()
            .zip(said)
            .filter(|(weight, _)| **weight > 0.0);
        terms
            .map(|(weight, value)| weight * f64::from(*value))
            .sum::<f64>() as f32
    }
}

/// Keeps perfect experts from a division by zero.
const LITTLE: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(Expert, f32)]) -> Said {
        let mut said = [f32::NAN; Expert::ALL.len()];
        pairs
            .iter()
            .for_each(|(expert, value)| said[*expert as usize] = *value);
        said
    }

    #[test]
    fn the_better_expert_is_believed_and_a_bad_one_dropped() {
        let mut mix = Mix::default();
        let now = said(&[
            (Expert::Persistence, 1.0),
            (Expert::Holt, 2.0),
            (Expert::Rls, 9.0),
        ]);
        (0..50).for_each(|_| mix.learn(&now, 1.9));
        let weights = mix.weights(&now);
        assert!(weights[Expert::Holt as usize] > 0.99);
        assert_eq!(weights[Expert::Rls as usize], 0.0);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_good_is_forgotten() {
        let mut mix = Mix::default();
        let now = said(&[(Expert::Persistence, 1.0), (Expert::Holt, 2.0)]);
        (0..2000).for_each(|_| mix.learn(&now, 1.0));
        (0..1000).for_each(|_| mix.learn(&now, 2.0));
        assert!(mix.say(&now) > 1.9);
    }

    #[test]
    fn nobody_known_is_persistence_and_perfection_is_finite() {
        let mut mix = Mix::default();
        let now = said(&[(Expert::Persistence, 1.0), (Expert::Holt, 2.0)]);
        assert_eq!(mix.say(&now), 1.0);
        let zero = said(&[(Expert::Persistence, 0.0), (Expert::Holt, 0.0)]);
        (0..100).for_each(|_| mix.learn(&zero, 0.0));
        assert_eq!(mix.say(&zero), 0.0);
    }
}
