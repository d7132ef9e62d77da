//! Sans-IO: forecasts of one series while it grows: each step every expert speaks, the mixture and the quantiles learn
//! what became of what was said, and new forecasts for all horizons come out.

use std::collections::VecDeque;

use crate::calendar::{Clock, Events};
use crate::conformal::Band;
use crate::drift::{Holding, PageHinkley};
use crate::features;
use crate::history::History;
use crate::holt::Grid;
use crate::mix::{Expert, Mix, Said};
use crate::naive;
use crate::rls::Rls;
use crate::train::{Learned, QUANTILES};

/// Who came and went in the last step; the only sign of a crowd before it is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// Joins a second, refused ones among them.
    pub joins_per_s: f64,
    /// Leaves a second.
    pub leaves_per_s: f64,
}

/// What is expected at one horizon, in the unit of the series.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// How many steps ahead.
    pub ahead: usize,
    /// The middle: as likely more as less.
    pub median: f64,
    /// One for each of [`QUANTILES`], never below the median.
    pub quantiles: [f64; QUANTILES.len()],
    /// The same before they were corrected by what came of earlier ones.
    pub raw: [f64; QUANTILES.len()],
    /// What each expert says; NaN of one that has nothing to say.
    pub experts: [f64; Expert::ALL.len()],
}

/// What is known beside the series itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who came and went.
    pub flow: Option<Flow>,
    /// Announced events.
    pub events: &'a Events,
    /// What was learned, for some of the horizons or none.
    pub learned: &'a [Learned],
}

/// The online state of one series.
#[derive(Clone, Debug)]
pub struct Forecaster {
    past: History,
    holt: Grid,
    lanes: Vec<Lane>,
    /// The lane whose errors tell of drift: the farthest within an hour. Horizons err by different amounts.
    watched: Option<usize>,
    drift: PageHinkley,
    drifts: Drifts,
    row: Vec<f32>,
}

/// How often a series changed its ways, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drifts {
    /// How often.
    pub count: u64,
    /// The step at which it was noticed last.
    pub last: Option<i64>,
}

/// One horizon.
#[derive(Clone, Debug)]
struct Lane {
    ahead: usize,
    rls: Rls,
    mix: Mix,
    /// Mean absolute error of late, in `ln`.
    error: f32,
    /// Whether the quantile of 0.9 has held of late.
    holding: Holding,
    /// By [`Mood`].
    bands: [Vec<Band>; 2],
    /// What was said in the last `ahead` steps, oldest first.
    pending: VecDeque<Pending>,
}

/// What corrections are learned apart for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Calm,
    /// An announced event is on.
    Event,
}

#[derive(Clone, Debug)]
struct Pending {
    step: i64,
    now: f32,
    said: Said,
    few: Box<[f64]>,
    outlook: Outlook,
}

/// What a lane speaks from.
struct Sight<'a> {
    past: &'a History,
    /// The most that is forecast, in `ln(1 + y)`.
    most: f32,
    /// What Holt says of its horizon.
    holt: f32,
    context: Context<'a>,
    /// What was learned for its horizon, and the row to ask it by.
    learned: Option<(&'a Learned, &'a [f32])>,
}

/// A forecast in `ln(1 + y)`.
#[derive(Clone, Copy, Debug)]
struct Outlook {
    mood: Mood,
    median: f32,
    raw: [f32; QUANTILES.len()],
    corrections: [f32; QUANTILES.len()],
}

impl Forecaster {
    /// Of a series that has not begun, for horizons of so many steps.
    pub fn new(clock: Clock, aheads: &[usize]) -> Self {
        let within = |(_, ahead): &(usize, &usize)| **ahead <= clock.hour_steps();
        let farthest = aheads.iter().enumerate().filter(within);
        Self {
            watched: farthest
                .max_by_key(|(_, ahead)| **ahead)
                .map(|(nth, _)| nth),
            past: History::new(clock),
            holt: Grid::new(aheads),
            lanes: aheads
                .iter()
                .map(|ahead| Lane::new(clock, *ahead))
                .collect(),
            drift: PageHinkley::default(),
            drifts: Drifts::default(),
            row: Vec::new(),
        }
    }

    /// Takes the value of a step (NaN: unknown) and forecasts every horizon; nothing for a step that is past already.
    pub fn update(&mut self, (step, value): (i64, f64), context: Context<'_>) -> Vec<Forecast> {
        if !self.past.push(step, value) {
            return Vec::new();
        }
        self.learn();
        self.holt.push(self.past.now(), self.past.is_known());
        let mut row = std::mem::take(&mut self.row);
        features::shared(&self.past, &mut row);
        let most = most(&self.past);
        let mut forecasts = Vec::with_capacity(self.lanes.len());
        for (nth, lane) in self.lanes.iter_mut().enumerate() {
            let mut learned = context.learned.iter();
            let learned = learned.find(|learned| learned.ahead == lane.ahead);
            if learned.is_some() {
                features::own(&self.past, context.events, lane.ahead, &mut row);
            }
            let sight = Sight {
                past: &self.past,
                most,
                holt: self.holt.forecast(nth),
                context,
                learned: learned.map(|learned| (learned, &row[..])),
            };
            forecasts.push(lane.speak(&sight));
        }
        self.row = row;
        forecasts
    }

    /// Learns what became of what was said for this step.
    fn learn(&mut self) {
        for (nth, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(error) = lane.learn(&self.past)
                && self.watched == Some(nth)
                && self.drift.push(f64::from(error))
            {
                self.drifts.count += 1;
                self.drifts.last = Some(self.past.step());
            }
        }
    }

    /// Its past.
    pub fn past(&self) -> &History {
        &self.past
    }

    /// How often it changed its ways.
    pub fn drifts(&self) -> Drifts {
        self.drifts
    }

    /// Whether the quantile of 0.9 of the `nth` horizon has held for the last hour.
    pub fn holds(&self, nth: usize) -> bool {
        self.lanes.get(nth).is_none_or(|lane| lane.holding.holds())
    }

    /// The weight of each expert for the `nth` horizon, as of now.
    pub fn weights(&self, nth: usize) -> Option<[f64; Expert::ALL.len()]> {
        let lane = self.lanes.get(nth)?;
        Some(lane.mix.weights(&lane.pending.back()?.said))
    }
}

impl Lane {
    fn new(clock: Clock, ahead: usize) -> Self {
        let mut few = Vec::new();
        features::few(&History::new(clock), ahead, &mut few);
        let every = (3 * clock.day).div_ceil(MOST_SCORES).max(1);
        let room = (3 * clock.day / every).max(LEAST_SCORES);
        let band = |quantile| Band::new(f64::from(quantile), room, every as u32);
        let bands = || QUANTILES.map(band).to_vec();
        Self {
            ahead,
            rls: Rls::new(few.len()),
            mix: Mix::default(),
            error: 0.0,
            holding: Holding::new(clock.hour_steps().max(LEAST_HOUR)),
            bands: [bands(), bands()],
            pending: VecDeque::new(),
        }
    }

    /// Learns what became of what was said for this step; the median's absolute error in `ln`.
    fn learn(&mut self, past: &History) -> Option<f32> {
        let (now, step) = (past.now(), past.step());
        let mut error = None;
        while let Some(said) = self.pending.front() {
            let due = said.step + self.ahead as i64;
            if due > step {
                break;
            }
            if due == step && past.is_known() {
                self.rls.learn(&said.few, f64::from(now - said.now));
                self.mix.learn(&said.said, now);
                let outlook = said.outlook;
                for (nth, band) in self.bands[outlook.mood as usize].iter_mut().enumerate() {
                    band.learn(now - outlook.raw[nth], outlook.corrections[nth]);
                }
                self.holding
                    .push(now > outlook.raw[0] + outlook.corrections[0]);
                let wrong = (now - outlook.median).abs();
                self.error += ERROR_PACE * (wrong - self.error);
                error = Some(wrong);
            }
            self.pending.pop_front();
        }
        error
    }

    /// What is expected now.
    fn speak(&mut self, sight: &Sight<'_>) -> Forecast {
        let past = sight.past;
        let mut few = Vec::with_capacity(self.rls.columns());
        features::few(past, self.ahead, &mut few);
        let said = self.voices(sight, &few);
        let outlook = self.outlook(sight, &said);
        let corrected =
            |nth: usize| level((outlook.raw[nth] + outlook.corrections[nth]).min(sight.most));
        let median = level(outlook.median);
        let mut quantiles: [f64; QUANTILES.len()] = std::array::from_fn(corrected);
        let mut least = median;
        for quantile in &mut quantiles {
            least = quantile.max(least);
            *quantile = least;
        }
        if past.is_known() {
            let (step, now, few) = (past.step(), past.now(), few.into_boxed_slice());
            self.pending.push_back(Pending {
                step,
                now,
                said,
                few,
                outlook,
            });
        }
        let (raw, experts) = (outlook.raw.map(level), said.map(level));
        Forecast {
            ahead: self.ahead,
            median,
            quantiles,
            raw,
            experts,
        }
    }

    /// What each expert says.
    fn voices(&self, sight: &Sight<'_>, few: &[f64]) -> Said {
        let (past, learned, flow) = (sight.past, sight.learned, sight.context.flow);
        let (ahead, now, clock) = (self.ahead, past.now(), past.clock());
        let online = self.rls.predict(few);
        let online = online.map(|moved| moved.clamp(-MOST_MOVE_LN, MOST_MOVE_LN) as f32);
        let line = learned.and_then(|(learned, row)| Some(learned.line.as_ref()?.predict(row)));
        let trees = learned.map(|(learned, row)| learned.median.predict(row));
        let seconds = ahead as f64 * f64::from(clock.step_s);
        let mut said = [f32::NAN; Expert::ALL.len()];
        let pairs = [
            (Expert::Persistence, Some(naive::persistence(past))),
            (Expert::Holt, Some(sight.holt)),
            (Expert::SeasonalDay, naive::seasonal(past, clock.day, ahead)),
            (
                Expert::SeasonalWeek,
                naive::seasonal(past, clock.week, ahead),
            ),
            (Expert::ScaledDay, naive::scaled(past, clock.day, ahead)),
            (Expert::ScaledWeek, naive::scaled(past, clock.week, ahead)),
            (
                Expert::Profile,
                features::mean_movement(past, ahead).map(|moved| now + moved),
            ),
            (Expert::Rls, online.map(|moved| now + moved)),
            (Expert::Ridge, line.map(|moved| now + moved)),
            (Expert::Trees, trees.map(|moved| now + moved)),
            (
                Expert::BirthDeath,
                flow.and_then(|flow| birth_death(now, flow, seconds)),
            ),
        ];
        for (expert, value) in pairs {
            if let Some(value) = value {
                said[expert as usize] = value.clamp(0.0, sight.most);
            }
        }
        said
    }

    /// What they come to together.
    fn outlook(&self, sight: &Sight<'_>, said: &Said) -> Outlook {
        let past = sight.past;
        let median = self.mix.say(said);
        let mut raw = [median + self.error.max(LEAST_WIDTH); QUANTILES.len()];
        if let Some((learned, row)) = sight.learned {
            for (raw, forest) in raw.iter_mut().zip(&learned.quantiles) {
                *raw = past.now() + forest.predict(row);
            }
        }
        let clock = past.clock();
        let (from, to) = (past.step(), past.step() + self.ahead as i64);
        let in_event = sight
            .context
            .events
            .is_on(clock.second(from), clock.second(to));
        let mood = if in_event { Mood::Event } else { Mood::Calm };
        let bands = &self.bands[mood as usize];
        // Kept in single precision, what repeats exactly would lie a rounding above its quantiles.
        let corrections = std::array::from_fn(|nth| {
            let correction = bands[nth].correction();
            correction + ROUNDING * (raw[nth] + correction).abs().max(1.0)
        });
        Outlook {
            mood,
            median,
            raw,
            corrections,
        }
    }
}

/// The most that is forecast, in `ln(1 + y)`.
fn most(past: &History) -> f32 {
    let day = past.recent(past.clock().day).iter();
    day.copied().fold(past.now(), f32::max) + MOST_GROWTH_LN
}

/// From `ln(1 + y)` to `y`.
fn level(value: f32) -> f64 {
    let level = libm::expm1(f64::from(value));
    if level < 0.0 { 0.0 } else { level }
}

/// Those who stay of who is here, and those who stay of who joins: `y e^(-h/tau) + lambda tau (1 - e^(-h/tau))`.
fn birth_death(now: f32, flow: Flow, seconds: f64) -> Option<f32> {
    let here = level(now);
    let (joins, leaves) = (flow.joins_per_s, flow.leaves_per_s);
    if !(joins >= 0.0 && leaves >= 0.0) || here < 1.0 {
        return None;
    }
    let stay_s = (here / leaves.max(1e-9)).clamp(1.0, LONGEST_STAY_S);
    let left = libm::exp(-seconds / stay_s);
    Some(libm::log1p(here * left + joins * stay_s * (1.0 - left)) as f32)
}

/// Viewers who stay for longer than a day are no viewers.
const LONGEST_STAY_S: f64 = 86_400.0;
/// The online line stays between a fifth and five times the present: it can diverge.
const MOST_MOVE_LN: f64 = 1.609_437_912_434_100_3;
/// Nothing grows beyond ten times the highest of the last day: what is meant to was announced, and comes by the trees.
const MOST_GROWTH_LN: f32 = std::f32::consts::LN_10;
/// Share of a value by which a sum of a few single-precision numbers may be off.
const ROUNDING: f32 = 4e-7;
/// Weight of the newest error in their mean.
const ERROR_PACE: f32 = 0.01;
/// What is perfectly forecast still has some width.
const LEAST_WIDTH: f32 = 1e-4;
/// Steps of the hour in which quantiles have to hold at least: fewer say nothing about a tenth.
const LEAST_HOUR: usize = 36;
/// Scores that a quantile is corrected by: three days of five minutes; longer memories are slow, shorter ones noisy.
const MOST_SCORES: usize = 864;
const LEAST_SCORES: usize = 200;

#[cfg(test)]
mod tests;
