//! Sans-IO: forecasts of one series while it grows: each step every expert speaks, the mixture and the quantiles learn
//! what became of what was said, and new forecasts for all horizons come out.

use std::collections::VecDeque;

use crate::calendar::{Clock, Events};
use crate::conformal::Band;
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

/// The online state of one series.
#[derive(Clone, Debug)]
pub struct Forecaster {
    past: History,
    holt: Grid,
    lanes: Vec<Lane>,
    row: Vec<f32>,
}

/// One horizon.
#[derive(Clone, Debug)]
struct Lane {
    ahead: usize,
    rls: Rls,
    mix: Mix,
    /// Mean absolute error of late, in `ln`.
    error: f32,
    /// Outside and inside announced events.
    bands: [Vec<Band>; 2],
    /// What was said in the last `ahead` steps, oldest first.
    pending: VecDeque<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    step: i64,
    now: f32,
    said: Said,
    few: Box<[f64]>,
    median: f32,
    raw: [f32; QUANTILES.len()],
    corrections: [f32; QUANTILES.len()],
    in_event: bool,
}

impl Forecaster {
    /// Of a series that has not begun, for horizons of so many steps.
    pub fn new(clock: Clock, aheads: &[usize]) -> Self {
        let mut few = Vec::new();
        features::few(&History::new(clock), 1, &mut few);
        let every = (3 * clock.day).div_ceil(MOST_SCORES).max(1);
        let room = (3 * clock.day / every).max(LEAST_SCORES);
        let band = |quantile| Band::new(f64::from(quantile), room, every as u32);
        let bands = || QUANTILES.map(band).to_vec();
        let lane = |ahead: &usize| Lane {
            ahead: *ahead,
            rls: Rls::new(few.len()),
            mix: Mix::default(),
            error: 0.0,
            bands: [bands(), bands()],
            pending: VecDeque::new(),
        };
        Self {
            past: History::new(clock),
            holt: Grid::new(aheads),
            lanes: aheads.iter().map(lane).collect(),
            row: Vec::new(),
        }
    }

    /// Takes the value of the next step (NaN: unknown) and forecasts, with what was learned, where something was.
    pub fn update(
        &mut self,
        (step, value): (i64, f64),
        flow: Option<Flow>,
        events: &Events,
        learned: &[Learned],
    ) -> Vec<Forecast> {
        let before = self.past.step();
        self.past.push(step, value);
        if self.past.age() == 0 || self.past.step() <= before && self.past.age() > 1 {
            return Vec::new();
        }
        self.learn();
        self.holt.push(self.past.now(), self.past.is_known());
        let mut row = std::mem::take(&mut self.row);
        features::shared(&self.past, &mut row);
        let mut forecasts = Vec::with_capacity(self.lanes.len());
        for nth in 0..self.lanes.len() {
            let ahead = self.lanes[nth].ahead;
            let learned = learned.iter().find(|learned| learned.ahead == ahead);
            if learned.is_some() {
                features::own(&self.past, events, ahead, &mut row);
            }
            forecasts.push(self.speak(
                nth,
                (flow, events),
                learned.map(|learned| (learned, &row[..])),
            ));
        }
        self.row = row;
        forecasts
    }

    /// Learns what became of what was said for this step.
    fn learn(&mut self) {
        let (now, step, known) = (self.past.now(), self.past.step(), self.past.is_known());
        for lane in &mut self.lanes {
            while let Some(said) = lane.pending.front() {
                let due = said.step + lane.ahead as i64;
                if due > step {
                    break;
                }
                if due == step && known {
                    lane.rls.learn(&said.few, f64::from(now - said.now));
                    lane.mix.learn(&said.said, now);
                    lane.error += 0.01 * ((now - said.median).abs() - lane.error);
                    let bands = &mut lane.bands[usize::from(said.in_event)];
                    for (nth, band) in bands.iter_mut().enumerate() {
                        band.learn(now - said.raw[nth], said.corrections[nth]);
                    }
                }
                lane.pending.pop_front();
            }
        }
    }

    /// One horizon's forecast.
    fn speak(
        &mut self,
        nth: usize,
        (flow, events): (Option<Flow>, &Events),
        learned: Option<(&Learned, &[f32])>,
    ) -> Forecast {
        let (past, lane) = (&self.past, &mut self.lanes[nth]);
        let (ahead, now, clock) = (lane.ahead, past.now(), past.clock());
        let mut few = Vec::new();
        features::few(past, ahead, &mut few);
        let mut said = [f32::NAN; Expert::ALL.len()];
        let mut say = |expert: Expert, value: Option<f32>| {
            said[expert as usize] = value.unwrap_or(f32::NAN);
        };
        say(Expert::Persistence, Some(naive::persistence(past)));
        say(Expert::Holt, Some(self.holt.forecast(nth)));
        say(Expert::SeasonalDay, naive::seasonal(past, clock.day, ahead));
        say(
            Expert::SeasonalWeek,
            naive::seasonal(past, clock.week, ahead),
        );
        say(Expert::ScaledDay, naive::scaled(past, clock.day, ahead));
        say(Expert::ScaledWeek, naive::scaled(past, clock.week, ahead));
        say(
            Expert::Profile,
            features::mean_movement(past, ahead).map(|moved| now + moved),
        );
        let online = lane
            .rls
            .predict(&few)
            .map(|moved| moved.clamp(LEAST_FACTOR_LN, MOST_FACTOR_LN));
        say(Expert::Rls, online.map(|moved| now + moved as f32));
        let line = learned.and_then(|(learned, row)| Some((learned.line.as_ref()?, row)));
        say(
            Expert::Ridge,
            line.map(|(line, row)| now + line.predict(row)),
        );
        say(
            Expert::Trees,
            learned.map(|(learned, row)| now + learned.median.predict(row)),
        );
        let seconds = ahead as f64 * f64::from(clock.step_s);
        say(
            Expert::BirthDeath,
            flow.and_then(|flow| birth_death(now, flow, seconds)),
        );
        let highest = past.recent(clock.day).iter().copied().fold(now, f32::max);
        // Nothing grows beyond this within an hour but what was announced, and trees know that.
        said.iter_mut()
            .for_each(|value| *value = value.clamp(0.0, highest + MOST_GROWTH_LN));
        let median = lane.mix.say(&said);
        let usual = lane.error.max(LEAST_WIDTH);
        let mut raw = [median + usual; QUANTILES.len()];
        if let Some((learned, row)) = learned {
            for (raw, forest) in raw.iter_mut().zip(&learned.quantiles) {
                *raw = now + forest.predict(row);
            }
        }
        let (from, to) = (
            clock.second(past.step()),
            clock.second(past.step() + ahead as i64),
        );
        let in_event = events.is_on(from, to);
        let correction = |nth: usize| lane.bands[usize::from(in_event)][nth].correction();
        let corrections: [f32; QUANTILES.len()] = std::array::from_fn(correction);
        let mut forecast = Forecast {
            ahead,
            median: level(median),
            quantiles: std::array::from_fn(|nth| level(raw[nth] + corrections[nth])),
            raw: raw.map(level),
            experts: said.map(level),
        };
        let mut least = forecast.median;
        for quantile in &mut forecast.quantiles {
            least = quantile.max(least);
            *quantile = least;
        }
        if past.is_known() {
            let few = few.into_boxed_slice();
            let step = past.step();
            lane.pending.push_back(Pending {
                step,
                now,
                said,
                few,
                median,
                raw,
                corrections,
                in_event,
            });
        }
        forecast
    }

    /// Its past.
    pub fn past(&self) -> &History {
        &self.past
    }

    /// The weight of each expert for the `nth` horizon, as of now.
    pub fn weights(&self, nth: usize) -> Option<[f64; Expert::ALL.len()]> {
        let lane = self.lanes.get(nth)?;
        Some(lane.mix.weights(&lane.pending.back()?.said))
    }
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
const LEAST_FACTOR_LN: f64 = -1.609_437_912_434_100_3;
const MOST_FACTOR_LN: f64 = 1.609_437_912_434_100_3;
/// Ten times the highest of the last day.
const MOST_GROWTH_LN: f32 = std::f32::consts::LN_10;
/// What is perfectly forecast still has some width.
const LEAST_WIDTH: f32 = 1e-4;
/// Scores that a quantile is corrected by: three days of five minutes; longer memories are slow, shorter ones noisy.
const MOST_SCORES: usize = 864;
const LEAST_SCORES: usize = 200;
