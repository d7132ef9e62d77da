//! Sans-IO: a search for policy parameters: what to try next, and what was best.
//!
//! A pattern search: around the best settings so far each parameter is moved up and down by a step;
//! what helped alone is tried together; when nothing helps, steps are halved. Settings that break a
//! bound are worse than all that keep it. Each trial is the production planner in a simulated month,
//! with the levels that it finds each night by playing the past again
//! ([`scheduler::plan::levels::fit`]): nothing is judged by another rule than it will live by.

use std::fmt;
use std::str::FromStr;

use scheduler::plan::levels::Knobs;
use scheduler::policy::Policy;
use scheduler::policy::keys::Key;

use crate::report::Cell;

/// A parameter that is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// Its key in a policy.
    pub key: &'static str,
    least: f64,
    most: f64,
    step: Step,
}

/// By how much a parameter is moved first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// So much more or less.
    Sum(f64),
    /// So many times more or less.
    Factor(f64),
}

/// Those that have an effect in simulations.
pub const KNOBS: [Knob; 6] = [
    knob("billing.burst_credit", (0.05, 0.8), Step::Factor(2.0)),
    knob("billing.level_scale", (0.5, 2.0), Step::Factor(1.1)),
    knob("billing.burst_reserve", (0.0, 0.2), Step::Sum(0.05)),
    knob(
        "rtt.max_extra_vs_nearest_ms",
        (2.0, 200.0),
        Step::Factor(1.5),
    ),
    knob("headroom.util_max", (0.6, 0.97), Step::Sum(0.04)),
    knob("weights.risk", (0.5, 100.0), Step::Factor(2.0)),
];

/// Two of them that share the free slots.
const CREDIT: usize = 0;
const RESERVE: usize = 2;

const fn knob(key: &'static str, (least, most): (f64, f64), step: Step) -> Knob {
    Knob {
        key,
        least,
        most,
        step,
    }
}

impl Knob {
    /// The number of the knob of that key.
    pub fn find(key: &str) -> Result<usize, String> {
        let found = KNOBS.iter().position(|knob| knob.key == key);
        found.ok_or_else(|| {
            let keys: Vec<&str> = KNOBS.iter().map(|knob| knob.key).collect();
            format!("{key:?} is not searched: there are {}", keys.join(", "))
        })
    }

    fn moved(&self, value: f64, steps: f64) -> f64 {
        let moved = match self.step {
            Step::Sum(step) => value + steps * step,
            Step::Factor(factor) => value * libm::pow(factor, steps),
        };
        // Four digits say enough, and read well in a file.
        let digits = 1e4 / libm::pow(10.0, libm::ceil(libm::log10(moved.abs().max(1e-9))));
        let moved = libm::round(moved * digits) / digits;
        moved.clamp(self.least.min(value), self.most.max(value))
    }
}

/// A value for each of [`KNOBS`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings([f64; KNOBS.len()]);

impl Settings {
    /// Those of a policy.
    pub fn of(policy: &Policy) -> Self {
        let value = |knob: Knob| {
            let key = Key::find(knob.key);
            let value = key.and_then(|key| (key.read)(policy).as_f64());
            // A credit may be left to the planner.
            value.unwrap_or(Knobs::default().burst_credit)
        };
        Self(KNOBS.map(value))
    }

    /// Keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        KNOBS.map(|knob| knob.key).into_iter().zip(self.0)
    }

    /// Those that differ from others.
    pub fn beside(&self, other: &Self) -> impl Iterator<Item = (&'static str, f64)> {
        let before = other.0;
        let differs =
            move |(at, _): &(usize, (&str, f64))| before[*at].to_bits() != self.0[*at].to_bits();
        let all = self.iter().enumerate();
        all.filter(differs).map(|(_, pair)| pair)
    }

    fn moved(mut self, knob: usize, steps: f64) -> Self {
        self.0[knob] = KNOBS[knob].moved(self.0[knob], steps);
        // More than all free slots is no policy.
        self.0[CREDIT] = self.0[CREDIT].min(1.0 - self.0[RESERVE]);
        self
    }
}

/// What a month of a world can be judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The bill, as a share of B1's.
    Cost,
    /// Round-trip time that half of the traffic has at most, milliseconds.
    RttP50,
    /// The same of 95 %.
    RttP95,
    /// The same of 99 %.
    RttP99,
    /// The mean above the nearest edge, milliseconds.
    RttExtra,
    /// Minutes in which an edge was sent more than it can carry.
    Overload,
    /// Viewers that are moved, percent a minute.
    Moved,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Cost,
        Self::RttP50,
        Self::RttP95,
        Self::RttP99,
        Self::RttExtra,
        Self::Overload,
        Self::Moved,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::RttP50 => "rtt_p50",
            Self::RttP95 => "rtt_p95",
            Self::RttP99 => "rtt_p99",
            Self::RttExtra => "rtt_extra",
            Self::Overload => "overload",
            Self::Moved => "moved",
        }
    }

    /// What it is of a rule where B1 has the other cell.
    pub fn of(self, cell: &Cell, b1: &Cell) -> f64 {
        let it = &cell.figures;
        match self {
            Self::Cost if b1.figures.usd > 0.0 => it.usd / b1.figures.usd,
            Self::Cost => 1.0,
            Self::RttP50 => it.rtt_ms_p50,
            Self::RttP95 => it.rtt_ms_p95,
            Self::RttP99 => it.rtt_ms_p99,
            Self::RttExtra => it.extra_rtt_ms,
            Self::Overload => it.overload_edge_min,
            Self::Moved => 100.0 * it.moved_per_min,
        }
    }
}

impl FromStr for Measure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str);
            format!("no measure {text:?}: there are {}", all.join(", "))
        })
    }
}

/// What may not be passed in any world: `rtt_p95<=40`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Of what.
    pub measure: Measure,
    /// The most.
    pub most: f64,
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once("<=");
        let parts = parts.map(|(name, most)| (name.trim(), most.trim().parse::<f64>()));
        match parts {
            Some((name, Ok(most))) if most.is_finite() => Ok(Self {
                measure: name.parse()?,
                most,
            }),
            _ => Err(format!("{text:?} is no bound; write one as rtt_p95<=40")),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}<={}", self.measure.as_str(), self.most)
    }
}

/// How good settings are; the lesser is better.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Score {
    /// By how much bounds are broken, as parts of them, in the worst world.
    pub broken: f64,
    /// The objective, in the mean of worlds.
    pub value: f64,
}

impl Score {
    /// Of worlds, each the planner's cell with B1's.
    pub fn new(objective: Measure, bounds: &[Bound], worlds: &[(&Cell, &Cell)]) -> Self {
        let over = |bound: &Bound, (cell, b1): &(&Cell, &Cell)| {
            let over = bound.measure.of(cell, b1) - bound.most;
            (over / bound.most.abs().max(1.0)).max(0.0)
        };
        let worst = |bound: &Bound| worlds.iter().map(|it| over(bound, it)).fold(0.0, f64::max);
        let sum: f64 = worlds.iter().map(|(cell, b1)| objective.of(cell, b1)).sum();
        Self {
            broken: bounds.iter().map(worst).sum(),
            value: sum / worlds.len().max(1) as f64,
        }
    }
}

/// The search; its tries come in rounds, and those of a round do not hang on each other.
#[derive(Clone, Debug)]
pub struct Search {
    knobs: Vec<usize>,
    left: usize,
    /// Of what is moved first, the part that is moved now.
    part: f64,
    best: Settings,
    /// All tries, in their order, with how good they were once that is known.
    tried: Vec<(Settings, Option<Score>)>,
    /// Tries of the round before, each with the knob it moved and by how much; nothing for tries
    /// of several.
    round: Vec<(usize, Option<(usize, f64)>)>,
}

impl Search {
    /// From these settings, over some of [`KNOBS`], with so many tries.
    pub fn new(base: Settings, knobs: Vec<usize>, tries: usize) -> Self {
        Self {
            knobs,
            left: tries,
            part: 1.0,
            best: base,
            tried: Vec::new(),
            round: Vec::new(),
        }
    }

    /// What to try next; nothing at the end. All that was asked for before must have been told.
    pub fn round(&mut self) -> Vec<Settings> {
        if self.tried.is_empty() {
            return self.propose(vec![(self.best, None)]);
        }
        let helped = self.helped();
        let improved = self.settle();
        if helped.len() > 1 {
            let together = helped
                .iter()
                .fold(self.around(), |it, (knob, steps)| it.moved(*knob, *steps));
            let tries = self.propose(vec![(together, None)]);
            if !tries.is_empty() {
                return tries;
            }
        }
        if !improved && self.round.iter().any(|(_, moved)| moved.is_some()) {
            self.part /= 2.0;
        }
        while self.part >= LEAST_PART && self.left > 0 {
            let part = self.part;
            let both = |knob: &usize| [(*knob, part), (*knob, -part)];
            let moves = self.knobs.iter().flat_map(both);
            let tries =
                moves.map(|(knob, steps)| (self.best.moved(knob, steps), Some((knob, steps))));
            let tries = self.propose(tries.collect());
            if !tries.is_empty() {
                return tries;
            }
            self.part /= 2.0;
        }
        Vec::new()
    }

    /// Tells how good a try was.
    pub fn tell(&mut self, settings: &Settings, score: Score) {
        for (_, told) in self.tried.iter_mut().filter(|(it, _)| it == settings) {
            *told = Some(score);
        }
    }

    /// The best so far.
    pub fn best(&self) -> Settings {
        self.best
    }

    /// All tries with what they came to.
    pub fn tried(&self) -> impl Iterator<Item = (&Settings, Score)> {
        let told = self.tried.iter();
        told.filter_map(|(settings, score)| Some((settings, (*score)?)))
    }

    /// Takes what was not tried before, as many as may still be.
    fn propose(&mut self, tries: Vec<(Settings, Option<(usize, f64)>)>) -> Vec<Settings> {
        let mut round = Vec::new();
        for (settings, moved) in tries {
            let known = self.tried.iter().any(|(it, _)| *it == settings);
            if !known && self.left > 0 {
                self.left -= 1;
                round.push((self.tried.len(), moved));
                self.tried.push((settings, None));
            }
        }
        if !round.is_empty() {
            self.round = round;
        }
        let from = self.round.iter().map(|(at, _)| self.tried[*at]);
        from.filter(|(_, score)| score.is_none())
            .map(|(settings, _)| settings)
            .collect()
    }

    /// What the moves of the last round were around.
    fn around(&self) -> Settings {
        self.best_of(self.tried.len() - self.round.len())
    }

    /// The best of the first tries.
    fn best_of(&self, count: usize) -> Settings {
        let scored = self.tried[..count.max(1)].iter();
        let scored = scored.filter_map(|(settings, score)| Some((settings, (*score)?)));
        let best = scored.fold(None, |best: Option<(&Settings, Score)>, it| match best {
            Some(best) if best.1 <= it.1 => Some(best),
            _ => Some(it),
        });
        best.map_or(self.best, |(settings, _)| *settings)
    }

    /// The moves of the last round that were better than what they were moved from, one a knob.
    fn helped(&self) -> Vec<(usize, f64)> {
        let around = self.around();
        let score = |of: &Settings| self.tried.iter().find(|(it, _)| it == of)?.1;
        let Some(before) = score(&around) else {
            return Vec::new();
        };
        let mut helped: Vec<(usize, f64, Score)> = Vec::new();
        for (at, moved) in &self.round {
            let Some(((knob, steps), score)) = moved.zip(self.tried[*at].1) else {
                continue;
            };
            if score >= before {
                continue;
            }
            match helped.iter_mut().find(|it| it.0 == knob) {
                Some(it) if it.2 <= score => {}
                Some(it) => *it = (knob, steps, score),
                None => helped.push((knob, steps, score)),
            }
        }
        helped.into_iter().map(|it| (it.0, it.1)).collect()
    }

    /// Takes the best of all tries; whether it is another one than before.
    fn settle(&mut self) -> bool {
        let before = self.best;
        self.best = self.best_of(self.tried.len());
        self.best != before
    }
}

/// Of the first steps; finer ones tell chance from chance.
const LEAST_PART: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a bowl around 0.4 and 1.3, and says what it found in how many tries.
    fn found(bowl: impl Fn(&Settings) -> Score, tries: usize) -> (Settings, usize) {
        let base = Settings::of(&Policy::default());
        let mut search = Search::new(base, vec![0, 1], tries);
        loop {
            let round = search.round();
            if round.is_empty() {
                return (search.best(), search.tried().count());
            }
            for settings in round {
                search.tell(&settings, bowl(&settings));
            }
        }
    }

    fn bowl(settings: &Settings) -> Score {
        let [credit, scale] = [settings.0[0], settings.0[1]].map(libm::log);
        let value =
            libm::pow(credit - libm::log(0.4), 2.0) + libm::pow(scale - libm::log(1.3), 2.0);
        Score { broken: 0.0, value }
    }

    #[test]
    fn the_bottom_of_a_bowl_is_found_within_the_tries() {
        let (best, tries) = found(bowl, 60);
        assert!((best.0[0] - 0.4).abs() < 0.05, "{best:?}");
        assert!((best.0[1] - 1.3).abs() < 0.05, "{best:?}");
        assert!(tries < 60, "{tries}: it ends when steps are small");
        let (best, tries) = found(bowl, 6);
        assert_eq!(tries, 6);
        assert!(bowl(&best) < bowl(&Settings::of(&Policy::default())));
        assert_eq!(found(bowl, 1), (Settings::of(&Policy::default()), 1));
    }

    #[test]
    fn what_breaks_a_bound_is_never_best_while_something_keeps_it() {
        let bounded = |settings: &Settings| Score {
            broken: (settings.0[1] - 1.1).max(0.0),
            ..bowl(settings)
        };
        let (best, _) = found(bounded, 60);
        assert!(best.0[1] <= 1.1 && best.0[1] > 1.05, "{best:?}");
    }

    #[test]
    fn settings_are_a_policys_and_stay_within_what_policies_allow() {
        let base = Settings::of(&Policy::default());
        assert_eq!(base.0[0], 0.2, "left to the planner");
        assert_eq!(base.0[3], 25.0);
        for (nth, knob) in KNOBS.iter().enumerate() {
            for steps in [-50.0, 50.0] {
                let moved = base.moved(nth, steps);
                assert!((knob.least..=knob.most).contains(&moved.0[nth]), "{knob:?}");
                assert_eq!(moved.beside(&base).count(), 1);
            }
        }
        assert_eq!(base.moved(1, 1.0).0[1], 1.1);
        assert_eq!(base.moved(1, 2.0).0[1], 1.21);
    }

    #[test]
    fn bounds_are_read_as_they_are_written() {
        let bound: Bound = "rtt_p95 <= 40".parse().unwrap();
        assert_eq!(bound.to_string(), "rtt_p95<=40");
        for (text, said) in [
            ("rtt_p95<40", "write one as"),
            ("rtt_p95<=x", "write one as"),
            ("rtt<=40", "there are cost, rtt_p50"),
        ] {
            assert!(text.parse::<Bound>().unwrap_err().contains(said), "{text}");
        }
        assert!(
            Knob::find("billing.level")
                .unwrap_err()
                .contains("level_scale")
        );
        assert_eq!(Knob::find("weights.risk"), Ok(5));
    }
}
